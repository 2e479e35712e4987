package session

import (
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// NextTimeout returns when Tick must be called at the latest. It moves with
// every other call; reliability.Never says that nothing is to come.
func (s *Session) NextTimeout() uint64 {
	switch s.state {
	case SynSent, HelloSent:
		return min(s.deadline, s.hs.retryAt)
	case Open, Closing:
		at := min(s.idleAt(), s.keepaliveAt(), s.snd.Deadline(), s.releaseAt(), s.reassemblyAt())
		if s.blocked {
			at = min(at, s.windowProbeAt())
		}
		return at
	case Lingering:
		return s.lingerUntil()
	case Draining, Closed:
	}
	return s.deadline
}

// Tick does what is due by the clock. A call before NextTimeout does no harm.
// At a server AckState comes first, or a client may seem silent that is not.
func (s *Session) Tick(now uint64) {
	s.now = max(s.now, now)
	switch s.state {
	case SynSent, HelloSent:
		s.tickHandshake()
	case Open, Closing:
		s.tickOpen()
	case Lingering:
		if s.now >= s.lingerUntil() {
			s.end(Closed, s.reason)
		}
	case Draining:
	case Closed:
		if s.now >= s.deadline {
			s.deadline = reliability.Never
			s.resetDue = true
		}
	}
}

func (s *Session) lingerUntil() uint64 {
	return min(s.lastHeard+uint64(LingerTime), s.deadline)
}

func (s *Session) tickOpen() {
	if s.now >= s.idleAt() {
		s.Stop(s.idleReason())
		return
	}
	if s.now >= s.snd.Deadline() {
		s.snd.OnDeadline(s.now)
	}
	if s.now >= s.reassemblyAt() {
		if s.tickReassembly(); s.state > Closing {
			return
		}
	}
	switch {
	case s.blocked && s.now >= s.windowProbeAt():
		s.probes++
		s.probeDue = true
	case s.now >= s.keepaliveAt():
		s.probeDue = true
	}
}

// reassemblyAt returns when something is due about large messages that arrive.
func (s *Session) reassemblyAt() uint64 {
	at := s.in.Deadline()
	if len(s.in.waiting) > 0 {
		at = min(at, s.in.retryAt)
	}
	return at
}

func (s *Session) tickReassembly() {
	if len(s.in.waiting) > 0 && s.now >= s.in.retryAt {
		s.retryChunks()
	}
	switch {
	case s.state > Closing:
	case s.in.OnDeadline(s.now):
		s.Abort(wire.ReasonProtocol)
	case len(s.in.waiting) > 0 && s.now >= s.in.since+uint64(s.cfg.ReassemblyTimeout):
		// What holds the memory may itself wait for what has none. What was
		// acknowledged is handed over from where it lies.
		s.Stop(wire.ReasonFull)
	}
}

// idleReason says why a session ends that was without life for too long. One
// that is closing and heard of its peer, or is owed no more than the answer to
// its FIN, has reached its end.
func (s *Session) idleReason() wire.Reason {
	if s.state == Closing {
		heard := s.now < s.lastHeard+uint64(s.cfg.IdleTimeout)
		said := s.out.empty() && s.out.fin == nil && s.snd.Outstanding() == 1
		if heard || said {
			return s.closeWhy
		}
	}
	return wire.ReasonIdle
}

// idleAt returns when the session has been without life for too long; a
// closing one must also make progress.
func (s *Session) idleAt() uint64 {
	last := s.lastHeard
	if s.state == Closing {
		last = min(last, s.lastAdvance)
	}
	return last + uint64(s.cfg.IdleTimeout)
}

// keepaliveAt returns when the peer is asked for a sign of life.
func (s *Session) keepaliveAt() uint64 {
	if s.probeDue || s.recovering {
		return reliability.Never
	}
	return max(s.lastHeard, s.lastProbe) + uint64(s.cfg.KeepaliveInterval)
}

// windowProbeAt returns when a peer without room is asked again, with the
// retransmission timeout doubled each time up to the keepalive interval.
func (s *Session) windowProbeAt() uint64 {
	if s.probeDue {
		return reliability.Never
	}
	wait := s.snd.RTT.RTO() << min(s.probes, 16)
	return s.lastProbe + min(wait, uint64(s.cfg.KeepaliveInterval))
}
