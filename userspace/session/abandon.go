package session

import (
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// skippedReserve is the room that SKIPPED has beyond Config.SendQueue, in bytes:
// a peer has no more messages than that outstanding.
const skippedReserve = reliability.MaxAhead * wire.MessageHeaderSize

// abandon gives up the messages of p whose lifetime is over. In a packet that
// was sent before, and in an ordered channel, SKIP takes their place; others
// vanish, and the packet may be empty then.
func (s *Session) abandon(p *reliability.Packet, sent bool) {
	if s.now < p.Expires() {
		return
	}
	p.Expire(s.now, func(m wire.Message) (wire.Message, bool) {
		m.Payload = nil
		if m.Type == wire.TypeFragment {
			m.Type = s.chunkExpired(p)
			return m, true
		}
		m.Type = wire.TypeSkip
		s.stats.Abandoned++
		if !sent && m.Channel&wire.Unordered != 0 {
			s.confirmed(&m)
			return m, false
		}
		return m, true
	})
}

// confirmed tells the owner that the peer does without the message that m is
// or stands for. It cannot do so with more than were given up.
func (s *Session) confirmed(m *wire.Message) {
	if s.stats.AbandonedConfirmed == s.stats.Abandoned {
		return
	}
	s.stats.AbandonedConfirmed++
	s.cfg.Abandoned(s, reliableMode(m.Channel), m.Channel&^wire.Unordered, m.ID)
}

// skipped takes a SKIP in place of a message. The peer cannot know which of
// the two arrived until it is told.
func (s *Session) skipped(m *wire.Message) {
	s.stats.Skipped++
	open := s.state == Open || s.state == Closing && s.out.fin != nil
	if !open || s.recovering || s.out.bytes[1] >= s.cfg.SendQueue+skippedReserve {
		return
	}
	s.pack(index(true), High, wire.Message{Type: wire.TypeSkipped, Channel: m.Channel, ID: m.ID})
}

// skipTransfer has a SKIP of packet seq drop what is there of a large message,
// and reports whether there is still something to skip: the message may have
// been complete.
func (s *Session) skipTransfer(seq uint32, m *wire.Message) bool {
	if m.Channel&wire.Unordered == 0 && s.order.Classify(m.Channel, m.ID) == reliability.Illegal {
		return false
	}
	return s.in.Abandon(m.Channel, m.ID, seq)
}

// reliableMode returns the mode of a reliable message by its channel byte.
func reliableMode(channel uint8) Mode {
	if channel&wire.Unordered != 0 {
		return ReliableUnordered
	}
	return ReliableOrdered
}
