package worker

import (
	"runtime"
	"time"

	"github.com/xrudp/xrudp/userspace/internal/numa"
	"github.com/xrudp/xrudp/userspace/internal/timerwheel"
)

// Bounds of spinning before a sleep.
const (
	minSpin = uint64(5 * time.Microsecond)
	maxSpin = uint64(60 * time.Microsecond)
)

// maxSleep bounds a sleep that nothing limits, against whatever could be
// missed.
const maxSleep = uint64(5 * time.Second)

// spinner decides how long a worker that found nothing to do looks on before
// it sleeps. Waking up costs tens of microseconds, so after a sleep that was
// shorter than that the worker looks on for longer next time; after a long one
// it stops doing so, and an idle server costs nothing.
type spinner struct {
	length uint64 // ns
	since  uint64 // when the worker ran out of work, 0 while it has some
}

// tired reports whether it is time to sleep.
func (s *spinner) tired(now uint64) bool {
	if s.since == 0 {
		s.since = now
	}
	return now-s.since >= s.length
}

// slept learns from a sleep.
func (s *spinner) slept(length uint64) {
	s.since = 0
	switch {
	case length < maxSpin:
		s.length = min(max(2*s.length, minSpin), maxSpin)
	case length > 10*maxSpin:
		s.length = 0
	default:
		s.length /= 2
	}
}

// run is the worker's thread. It returns when the worker was shut down, or
// with the error that ended it.
func (w *Worker) run() error {
	runtime.LockOSThread()
	// A thread that was pinned is not given to other goroutines: it ends with
	// this one, which does not unlock it.
	if w.opts.NoPin {
		defer runtime.UnlockOSThread()
	} else if err := numa.Pin(w.opts.CPU); err != nil {
		w.log.Warn().Err(err).Msg("worker not pinned")
	}
	w.now = w.opts.Clock()
	if err := w.takeOver(); err != nil {
		return err
	}
	for {
		now := w.opts.Clock()
		busy := w.pass(now)
		switch {
		case w.failure != nil:
			w.publish()
			return w.failure
		case w.finished():
			w.publish()
			return w.failure
		case busy:
			w.spin.since = 0
		case w.opts.BusyPoll:
		case w.spin.tired(now):
			w.sleep()
		}
	}
}

// sleep waits until something arrives or is due. The order closes the gap
// between the last look and the wait: whoever publishes something afterwards
// sees that the worker sleeps, and rings.
func (w *Worker) sleep() {
	w.publish()
	until := w.nextDeadline()
	w.regions.SetAsleep(w.opts.Index)
	if until > w.now && !w.pending() {
		timeout := maxSleep
		if until != timerwheel.Never {
			timeout = min(timeout, until-w.now)
		}
		w.sleeps++
		w.poller.wait(timeout)
		if w.opts.Doorbell != nil {
			w.opts.Doorbell.Drain()
		}
		w.spin.slept(w.opts.Clock() - w.now)
	}
	w.regions.ClearAsleep(w.opts.Index)
}

// pending reports whether something arrived by shared memory. What arrives by
// a descriptor ends the wait by itself.
func (w *Worker) pending() bool {
	if w.called.Load() || w.hasMail() {
		return true
	}
	if w.pressed {
		return false
	}
	for _, ring := range w.rings {
		if ring.Pending() > 0 {
			return true
		}
	}
	return false
}
