package session

import (
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// firstInbox is the number of packets an inbox has room for at first.
const firstInbox = 16

// inbox keeps reliable packets until all their messages were handed over. A
// packet stays where it is: at a server in its commit slot, at a client in a
// copy from the pool.
type inbox struct {
	ring []heldPacket // by sequence
	held int
}

// heldPacket is in use while waiting is not zero.
type heldPacket struct {
	body    []byte
	copied  *reliability.Packet // owns body, nil at a server
	ref     Ref                 // of the commit slot
	waiting uint8               // messages still to be handed over, and its reader
}

// farPacket is a committed packet that is not looked into yet: it is further
// ahead than a receive window, or the session is being recovered.
type farPacket struct {
	seq   uint32
	ref   Ref
	flags wire.Flags
	body  []byte
}

func (b *inbox) at(seq uint32) *heldPacket { return &b.ring[seq&uint32(len(b.ring)-1)] }

// put makes room for packet seq, next being the first sequence that may still
// be in use, and counts its reader as waiting.
func (b *inbox) put(next, seq uint32, ref Ref, body []byte) {
	if span := int(seq-next) + 1; span > len(b.ring) {
		b.grow(next, span)
	}
	*b.at(seq) = heldPacket{body: body, ref: ref, waiting: 1}
	b.held++
}

func (b *inbox) grow(next uint32, span int) {
	size := max(firstInbox, len(b.ring))
	for size < span {
		size *= 2
	}
	old := *b
	b.ring = make([]heldPacket, size)
	for i := range uint32(len(old.ring)) {
		*b.at(next + i) = *old.at(next + i)
	}
}

// receive takes a reliable packet that is Fresh: hands over what it can, keeps
// the rest, and follows the window.
func (s *Session) receive(seq uint32, flags wire.Flags, body []byte, ref Ref) {
	next := s.rcv.Next
	s.inbox.put(next, seq, ref, body)
	var ok bool
	if flags&wire.FlagFIN != 0 {
		ok = s.noteFin(seq, body)
	} else {
		ok = s.readMessages(seq, body)
	}
	if s.Over() {
		return
	}
	if !ok || s.finSeen && int32(seq-s.finSeq) > 0 {
		s.Abort(wire.ReasonProtocol)
		return
	}
	s.rcv.Mark(seq)
	s.settle(seq)
	// Whatever lies before the first gap must have been handed over: with
	// nothing missing before it, it can wait for nothing any more.
	for ; next != s.rcv.Next; next++ {
		if s.inbox.at(next).waiting != 0 {
			s.Abort(wire.ReasonProtocol)
			return
		}
	}
	if s.finSeen && int32(s.rcv.Next-s.finSeq) > 0 && s.state < Draining {
		s.end(Lingering, s.finWhy)
		s.deadline = s.now + uint64(LingerTime)
		s.ackDue = !s.server
	}
}

// noteFin remembers where the peer's messages end.
func (s *Session) noteFin(seq uint32, body []byte) bool {
	why, err := wire.ParseReason(body)
	if err != nil || s.finSeen || int32(s.rcv.High-seq) > 0 {
		return false
	}
	s.finSeen, s.finSeq, s.finWhy = true, seq, why
	return true
}

// readMessages hands over what is due in the body of packet seq and makes the
// rest wait. It returns false when the peer broke the protocol. The callback
// may end the session.
func (s *Session) readMessages(seq uint32, body []byte) bool {
	for rest := body; len(rest) > 0; {
		offset := len(body) - len(rest)
		m, tail, err := wire.ParseMessage(rest)
		if err != nil || m.Type >= wire.TypeControl {
			return false
		}
		rest = tail
		if m.Channel&wire.Unordered != 0 {
			s.deliver(ReliableUnordered, seq, &m)
			if s.Over() {
				return true
			}
			continue
		}
		switch s.order.Classify(m.Channel, m.ID) {
		case reliability.Due:
			s.order.Advance(m.Channel)
			s.deliver(ReliableOrdered, seq, &m)
			if s.Over() || s.deliverHeld(m.Channel) {
				return true
			}
		case reliability.Early:
			s.order.Hold(m.Channel, m.ID, reliability.Place{Sequence: seq, Offset: uint16(offset)})
			s.inbox.at(seq).waiting++
		case reliability.Illegal:
			return false
		}
	}
	return true
}

// deliverHeld hands over the held messages of channel that became due. It
// reports whether the session ended meanwhile.
func (s *Session) deliverHeld(channel uint8) (over bool) {
	for {
		at, ok := s.order.Take(channel)
		if !ok {
			return false
		}
		s.order.Advance(channel)
		held := s.inbox.at(at.Sequence)
		// The message was parsed when it was put here.
		m, _, _ := wire.ParseMessage(held.body[at.Offset:])
		s.deliver(ReliableOrdered, at.Sequence, &m)
		if s.Over() {
			return true
		}
		if held.waiting--; held.waiting == 0 {
			s.release(held)
		}
	}
}

func (s *Session) deliver(mode Mode, seq uint32, m *wire.Message) {
	s.stats.MessagesIn++
	s.cfg.Message(s, Message{
		Mode:     mode,
		Channel:  m.Channel &^ wire.Unordered,
		Type:     m.Type,
		ID:       m.ID,
		Sequence: seq,
		Payload:  m.Payload,
	})
}

// settle ends the reading of packet seq: it is given back, or kept for the
// messages that wait.
func (s *Session) settle(seq uint32) {
	held := s.inbox.at(seq)
	if held.waiting--; held.waiting == 0 {
		s.release(held)
		return
	}
	if !s.server {
		p := s.cfg.Pool.Get()
		_ = append(p.Room(), held.body...)
		p.Extend(len(held.body))
		held.body, held.copied = p.Body(), p
	}
}

func (s *Session) release(held *heldPacket) {
	copied, ref := held.copied, held.ref
	*held = heldPacket{}
	s.inbox.held--
	if copied != nil {
		s.cfg.Pool.Put(copied)
	}
	if s.server {
		s.cfg.Release(s, ref)
	}
}

// releaseAll gives back every packet that the session keeps.
func (s *Session) releaseAll() {
	for i := range s.inbox.ring {
		if held := &s.inbox.ring[i]; held.waiting != 0 {
			s.release(held)
		}
	}
	for _, p := range s.far {
		s.cfg.Release(s, p.ref)
	}
	clear(s.far)
	s.far = s.far[:0]
}

// receiveUnreliable hands over the messages of an unreliable packet, whose
// framing the caller has checked.
func (s *Session) receiveUnreliable(seq uint32, body []byte) {
	for len(body) > 0 && !s.Over() {
		m, rest, err := wire.ParseMessage(body)
		if err != nil {
			return
		}
		body = rest
		if m.Type >= wire.TypeControl {
			continue
		}
		if m.Channel&wire.Unordered != 0 {
			s.deliver(Unreliable, seq, &m)
			continue
		}
		next := &s.newest[m.Channel]
		if int16(m.ID-*next) < 0 {
			s.stats.Superseded++
			continue
		}
		*next = m.ID + 1
		s.deliver(UnreliableSequenced, seq, &m)
	}
}
