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
	large uint8 // in place of a packet, a large message that is complete
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
	s.inbox.put(s.inboxFirst(), seq, ref, body)
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
	// nothing missing before it, it can wait for nothing any more but memory.
	for ; next != s.rcv.Next; next++ {
		if s.inbox.at(next).waiting != 0 && len(s.in.waiting) == 0 {
			s.Abort(wire.ReasonProtocol)
			return
		}
	}
	s.followFin()
}

// followFin ends the session once everything up to the peer's FIN was handed
// over.
func (s *Session) followFin() {
	if s.finSeen && int32(s.rcv.Next-s.finSeq) > 0 && s.state < Draining && len(s.in.waiting) == 0 {
		s.end(Lingering, s.finWhy)
		s.deadline = s.now + uint64(maxLinger)
		s.ackDue = !s.server
	}
}

// inboxFirst returns the first sequence that may be held.
func (s *Session) inboxFirst() uint32 {
	if len(s.in.waiting) > 0 && wire.SeqLess(s.in.oldest, s.rcv.Next) {
		return s.in.oldest
	}
	return s.rcv.Next
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
		if err != nil || m.Type >= wire.TypeControl && !s.control {
			return false
		}
		rest = tail
		switch m.Type {
		case wire.TypePad:
			continue
		case wire.TypeSkipped:
			s.confirmed(&m)
			if s.Over() {
				return true
			}
			continue
		case wire.TypeFragment:
			if !s.takeChunk(seq, offset, &m) {
				return false
			}
			if s.Over() {
				return true
			}
			continue
		case wire.TypeSkip:
			if !s.skipTransfer(seq, &m) {
				continue
			}
		}
		if m.Channel&wire.Unordered != 0 {
			s.handOver(ReliableUnordered, seq, &m)
			if s.Over() {
				return true
			}
			continue
		}
		switch s.order.Classify(m.Channel, m.ID) {
		case reliability.Due:
			s.order.Advance(m.Channel)
			s.handOver(ReliableOrdered, seq, &m)
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
		s.handOverPlace(at, &m)
		if s.Over() {
			return true
		}
		if held.waiting--; held.waiting == 0 {
			s.release(held)
		}
	}
}

// handOver delivers a reliable message whose turn it is, or notes that there
// is none.
func (s *Session) handOver(mode Mode, seq uint32, m *wire.Message) {
	if m.Type == wire.TypeSkip {
		s.skipped(m)
		return
	}
	s.deliver(mode, seq, m)
}

// handOverPlace does so with a message that was held at a place: m, which lies
// there, or the large one that m completed.
func (s *Session) handOverPlace(at reliability.Place, m *wire.Message) {
	if at.Large == 0 {
		s.handOver(ReliableOrdered, at.Sequence, m)
		return
	}
	large := s.in.Message(at.Large)
	s.deliverLarge(&s.in.Reassembler, ReliableOrdered, &large)
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
		if p.large == 0 {
			s.cfg.Release(s, p.ref)
		}
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
		switch {
		case m.Type == wire.TypeFragment:
			s.takeUnreliableChunk(seq, &m)
		case m.Type >= wire.TypeControl:
		case m.Channel&wire.Unordered != 0:
			s.deliver(Unreliable, seq, &m)
		case s.isNewest(&m):
			s.deliver(UnreliableSequenced, seq, &m)
		}
	}
}

// isNewest reports whether m is later than all sequenced messages of its
// channel so far, and notes it if so.
func (s *Session) isNewest(m *wire.Message) bool {
	next := &s.newest[m.Channel]
	if int16(m.ID-*next) < 0 {
		s.stats.Superseded++
		return false
	}
	*next = m.ID + 1
	return true
}
