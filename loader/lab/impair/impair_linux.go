package impair

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader/lab"
)

// Stage carries frames between the ends of a lab until its context is done, or
// it or the lab is closed. Its methods may be called concurrently.
type Stage struct {
	path  *path
	start time.Time
	wake  int // eventfd: end
	done  chan struct{}
	err   error // once done

	// mu guards the sockets, which the stage's thread holds while it works.
	mu     sync.Mutex
	sides  [2]*socket // by the direction of what they send
	missed [2]uint64  // by direction, as found by the last look

	end    sync.Once
	detach func() bool // of the context
}

// Start begins to carry frames between the ends of a lab that has a middle.
func Start(ctx context.Context, l *lab.Lab, opts Options) (*Stage, error) {
	if l.Middle == nil {
		return nil, errors.New("start impairment: the lab has no middle")
	}
	s := &Stage{start: time.Now(), wake: -1, done: make(chan struct{})}
	s.path = newPath(opts, 0, s)
	if err := s.open(l); err != nil {
		s.close()
		return nil, fmt.Errorf("start impairment: %w", err)
	}
	go s.run()
	s.detach = context.AfterFunc(ctx, s.stop)
	return s, nil
}

func (s *Stage) open(l *lab.Lab) (err error) {
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("open eventfd: %w", err)
	}
	return l.Middle.Do(func() (err error) {
		if s.sides[ToServer], err = openSocket(l.Middle.Server.Index, l.MTU); err != nil {
			return err
		}
		s.sides[ToClient], err = openSocket(l.Middle.Client.Index, l.MTU)
		return err
	})
}

// Set changes a direction for frames sent from now on.
func (s *Stage) Set(d Direction, c Conditions) { s.path.set(d, c) }

// Stats returns what was counted so far.
func (s *Stage) Stats(d Direction) Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	from, to := s.sides[1-d], s.sides[d]
	return Stats{PathStats: s.path.stats(d), Missed: s.missed[d], TooLong: from.tooLong, Unsent: to.unsent}
}

// look reads the counters that the kernel resets as it is asked.
func (s *Stage) look() {
	select {
	case <-s.done: // the sockets are closed
		return
	default:
	}
	for d := range s.sides {
		s.missed[d] += s.sides[1-d].missed()
	}
}

// run is the stage's thread. It ends with the goroutine, because it does not
// go back to what it was.
func (s *Stage) run() {
	runtime.LockOSThread()
	urgent()
	err := s.carry()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look()
	s.err = errors.Join(err, s.close())
	close(s.done)
}

// urgent lets the thread run before those that keep a CPU busy, and to the
// microsecond, as far as the host allows it. A real-time policy would be
// throttled: what the network stack does with a frame counts as the thread's time.
func urgent() {
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL, Nice: -20,
		Runtime: uint64(100 * time.Microsecond), // a slice, since Linux 6.12
		Flags:   unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

// carry moves frames and sleeps while there are none to move.
func (s *Stage) carry() error {
	fds := []unix.PollFd{
		{Fd: int32(s.wake), Events: unix.POLLIN},
		{Fd: int32(s.sides[0].fd), Events: unix.POLLIN},
		{Fd: int32(s.sides[1].fd), Events: unix.POLLIN},
	}
	for {
		next, err := s.pass()
		if err != nil {
			return err
		}
		var timeout *unix.Timespec
		if next != Never {
			t := unix.NsecToTimespec(max(0, int64(next-s.now())))
			timeout = &t
		}
		if _, err := unix.Ppoll(fds, timeout, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("ppoll", err)
		}
		if fds[0].Revents != 0 {
			return nil
		}
	}
}

func (s *Stage) now() uint64 { return uint64(time.Since(s.start)) }

// pass takes up to a batch from either side, sends what is due, and returns
// when the next is.
func (s *Stage) pass() (next uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.sides {
		now := s.now()
		_, err := s.sides[1-d].receive(func(frame []byte) {
			s.path.send(now, Direction(d), frame)
		})
		if err != nil {
			return 0, err
		}
	}
	next = s.path.run(s.now())
	for _, side := range s.sides {
		side.flush()
	}
	return next, nil
}

// stop asks the thread to end.
func (s *Stage) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
	default:
		_, _ = unix.Write(s.wake, binary.NativeEndian.AppendUint64(nil, 1))
	}
}

// close closes what is open.
func (s *Stage) close() error {
	var errs []error
	if s.wake >= 0 {
		errs = append(errs, unix.Close(s.wake))
	}
	for _, side := range s.sides {
		if side != nil {
			errs = append(errs, side.close())
		}
	}
	return errors.Join(errs...)
}

// Close ends the stage and returns why it ended before. What is on its way is
// lost. It may be called more than once.
func (s *Stage) Close() error {
	s.end.Do(func() {
		s.detach()
		s.stop()
	})
	<-s.done
	return s.err
}
