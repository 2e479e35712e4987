package worker

import (
	"time"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// A session whose end may leave something acknowledged behind goes through
// these steps; the engine calls it draining:
//
//	out of the gate's table    nothing more is acknowledged
//	settleTime                 CPUs inside the gate publish their last packets
//	commit rings drained       all that was acknowledged is here
//	FlushHeld                  what waits for a gap is handed over
//	Handler.Close, RST
//
// Only Session.Abort and a client that breaks the protocol cut this short.

// settleTime is how long after its removal from the gate's table packets of a
// session may still come out of a commit ring: a CPU that found the entry just
// before finishes in much less.
const settleTime = uint64(20 * time.Millisecond)

// settle begins the end of a session if it has come to drain. It comes before
// any other step, which may be due for the grace of a recovered session.
func (w *Worker) settle(s *Session) {
	if s.engine.State() == session.Draining && !s.detached {
		w.detach(s)
		s.finish = w.now + settleTime
	}
}

// detach makes the gate forget a session, unless the client has another by now:
// of two that a dead process left, the older one's entry is gone already.
func (w *Worker) detach(s *Session) {
	if s.detached {
		return
	}
	s.detached = true
	if state, ok, err := w.opts.Sessions.Session(s.key); err == nil && ok && state.ID != s.ID() {
		return
	}
	if err := w.opts.Sessions.Delete(s.key); err != nil {
		w.log.Error().Err(err).Uint64("session", s.ID()).Msg("session stays in the gate's table")
	}
}

// advanceEnd takes the step that is due, if one is.
func (w *Worker) advanceEnd(s *Session) {
	w.settle(s)
	switch {
	case s.finish == 0 || w.now < s.finish:
	case s.engine.State() != session.Draining:
		s.finish = 0
		s.engine.Stop(wire.ReasonRestarted)
	case w.pressed && !w.leaving:
		// The rings hold what may be this session's.
		s.finish = w.now + wheelTick
	default:
		w.drainAll()
		s.engine.FlushHeld()
	}
}

// noRoomPause is how long the RST of a session that is gone waits for a
// transport without room, and noRoomTries how often.
const (
	noRoomPause = uint64(200 * time.Millisecond)
	noRoomTries = 10
)

// repeatReset tells the client of a session that is gone once more, unless it
// came back.
func (w *Worker) repeatReset(s *Session) {
	s.engine.Tick(w.now)
	if s.lane == nil || w.byKey[s.key] != nil {
		return
	}
	buf := w.buffer(s.lane, &s.route)
	if buf == nil {
		if s.noRoom++; s.noRoom < noRoomTries {
			w.wheel.Set(&s.timer, w.now+noRoomPause)
		}
		return
	}
	if n := s.engine.Fill(buf, w.now); n > 0 {
		s.lane.Commit(n)
		w.sent++
	}
	w.wheel.Set(&s.timer, s.engine.NextTimeout())
}
