package session

import (
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// inLarge is what a session receives in more than one packet.
type inLarge struct {
	reliability.Reassembler

	// Chunks for whose message there was no memory lie in their packets, in
	// the order they came.
	waiting []reliability.Place
	retried []reliability.Place // memory for waiting, of the last retry
	oldest  uint32              // sequence of their packets
	retryAt uint64
	since   uint64 // when one of them found memory last, or the first began to wait

	spare *reliability.Reassembler // see lateChunk
}

// takeChunk takes a FRAGMENT of reliable packet seq, at the given offset of
// its body, and hands over the message that it completes, or holds it until
// its turn comes. It returns false when the peer broke the protocol.
func (s *Session) takeChunk(seq uint32, offset int, m *wire.Message) bool {
	f, err := wire.ParseFragment(m.Payload)
	if err != nil {
		return false
	}
	c := reliability.Chunk{Reliable: true, Channel: m.Channel, ID: m.ID, Sequence: seq, Fragment: f}
	var message reliability.Large
	what := reliability.ChunkWaits
	// Where others wait for memory, nothing goes before them that they may have
	// to wait for in turn.
	if len(s.in.waiting) == 0 || s.in.Open(f.Transfer) {
		message, what = s.in.Take(c, s.now)
	}
	switch {
	case what == reliability.ChunkCompletes:
		return s.takeLarge(seq, offset, &message)
	case what == reliability.ChunkWaits:
		if len(s.in.waiting) == 0 {
			s.in.since, s.in.retryAt = s.now, s.now+retryChunk
		}
		if len(s.in.waiting) == 0 || wire.SeqLess(seq, s.in.oldest) {
			s.in.oldest = seq
		}
		s.in.waiting = append(s.in.waiting, reliability.Place{Sequence: seq, Offset: uint16(offset)})
		s.inbox.at(seq).waiting++
		return true
	}
	return !what.Violation()
}

// takeLarge takes a large message that is complete.
func (s *Session) takeLarge(seq uint32, offset int, m *reliability.Large) bool {
	if m.Channel&wire.Unordered != 0 {
		s.deliverLarge(&s.in.Reassembler, ReliableUnordered, m)
		return true
	}
	switch s.order.Classify(m.Channel, m.ID) {
	case reliability.Due:
		s.order.Advance(m.Channel)
		s.deliverLarge(&s.in.Reassembler, ReliableOrdered, m)
		if !s.Over() {
			s.deliverHeld(m.Channel)
		}
		return true
	case reliability.Early:
		s.order.Hold(m.Channel, m.ID, reliability.Place{Sequence: seq, Offset: uint16(offset), Large: m.Ref})
		s.inbox.at(seq).waiting++
		return true
	case reliability.Illegal:
	}
	s.in.Done(m.Ref)
	return false
}

// deliverLarge hands over a large message and gives its memory back.
func (s *Session) deliverLarge(from *reliability.Reassembler, mode Mode, m *reliability.Large) {
	s.deliver(mode, m.Sequence, &wire.Message{Type: m.Type, Channel: m.Channel, ID: m.ID, Payload: m.Payload})
	// The callback may have ended the session, and Close gave it back then.
	if !s.Over() {
		from.Done(m.Ref)
	}
}

// retryChunks offers chunks again for which there was no memory.
func (s *Session) retryChunks() {
	waiting, since := s.in.waiting, s.in.since
	s.in.waiting, s.in.retried = s.in.retried[:0], waiting
	for _, at := range waiting {
		held := s.inbox.at(at.Sequence)
		m, _, _ := wire.ParseMessage(held.body[at.Offset:])
		ok := s.takeChunk(at.Sequence, int(at.Offset), &m)
		if s.Over() {
			return
		}
		if !ok {
			s.Abort(wire.ReasonProtocol)
			return
		}
		if held.waiting--; held.waiting == 0 {
			s.release(held)
		}
	}
	s.in.since = since
	if len(s.in.waiting) < len(waiting) {
		s.in.since = s.now
	}
	s.in.retryAt = s.now + retryChunk*uint64(1+len(s.in.waiting)/reliability.WindowSize)
	s.takeFar()
	s.followFin()
}

// takeUnreliableChunk takes a FRAGMENT of an unreliable packet.
func (s *Session) takeUnreliableChunk(seq uint32, m *wire.Message) {
	f, err := wire.ParseFragment(m.Payload)
	if err != nil || !s.control {
		return
	}
	large, what := s.in.Take(reliability.Chunk{Channel: m.Channel, ID: m.ID, Sequence: seq, Fragment: f}, s.now)
	if what != reliability.ChunkCompletes {
		return
	}
	mode := Unreliable
	if m.Channel&wire.Unordered == 0 {
		mode = UnreliableSequenced
		if !s.isNewest(m) {
			s.in.Done(large.Ref)
			return
		}
	}
	s.deliverLarge(&s.in.Reassembler, mode, &large)
}
