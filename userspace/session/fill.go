package session

import (
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Fill writes the next packet worth sending now into buf, which holds at least
// Config.MaxDatagram bytes, and returns its size: 0 when there is nothing to send.
// The owner calls it until then after each batch of input and after Tick.
func (s *Session) Fill(buf []byte, now uint64) int {
	s.now = max(s.now, now)
	n := 0
	switch s.state {
	case SynSent, HelloSent:
		n = s.fillHandshake(buf[:0])
	case Open, Closing:
		n = s.fillOpen(buf[:0])
	case Lingering:
		if s.ackDue {
			n = s.fillAck(buf[:0])
		}
	case Draining, Closed:
	}
	if n == 0 && s.resetDue {
		s.resetDue = false
		s.planReset()
		n = len(AppendReset(buf[:0], s.cfg.Profile, s.snd.Next(), s.rcv.Next, s.reason, s.token, s.now))
	}
	if n > 0 {
		s.stats.PacketsOut++
		s.stats.BytesOut += uint64(n)
	}
	return n
}

// resetGaps is how long after a server's RST it comes again. A client that
// missed all of them finds out by its idle timeout.
var resetGaps = [...]time.Duration{200 * time.Millisecond, 800 * time.Millisecond}

// planReset has a server's RST repeated: nobody answers what the client sends
// to a session that is gone.
func (s *Session) planReset() {
	if s.server && s.resets < len(resetGaps) {
		s.deadline = s.now + uint64(resetGaps[s.resets])
		s.resets++
	}
}

// fillOpen writes what matters most: what the peer misses, then what is new,
// then acknowledgements and probes, which other packets make needless.
func (s *Session) fillOpen(b []byte) int {
	s.snd.Resume()
	s.watchPath()
	if p := s.snd.Retransmit(s.peerWindow, s.now); p != nil {
		if !p.Early() {
			s.stats.Retransmitted++
		}
		s.abandon(p, true)
		s.shrink(p)
		return s.fillReliable(b, p, 0)
	}
	if p := s.nextMoved(); p != nil {
		return s.fillReliable(b, p, 0)
	}
	if n := s.fillProbe(b); n > 0 {
		return n
	}
	for {
		p, reliable := s.nextPacket()
		switch {
		case p == nil:
			return s.fillRest(b)
		case !reliable:
			return s.fillUnreliable(b, p)
		}
		if s.abandon(p, false); s.state >= Draining {
			s.cfg.Pool.Put(p)
			return 0
		}
		if p.Messages == 0 && !p.Final {
			s.cfg.Pool.Put(p)
			continue
		}
		s.snd.Send(p, s.now)
		if s.snd.Reduced() {
			return s.fillReliable(b, p, wire.FlagCWR)
		}
		return s.fillReliable(b, p, 0)
	}
}

// fillRest writes what there is to say without messages.
func (s *Session) fillRest(b []byte) int {
	if s.out.empty() && s.large.moved.Len() == 0 && !slices.ContainsFunc(s.large.transfers, func(t *transfer) bool { return !t.cut() }) {
		s.snd.Idle()
	}
	if s.probeDue {
		s.probeDue = false
		s.lastProbe = s.now
		return s.fillPacket(b, s.snd.Next()-1, wire.FlagACK|wire.FlagPSH, 0, nil, 0)
	}
	if s.ackDue || s.windowDue {
		return s.fillAck(b)
	}
	return 0
}

// TellWindow has the next Fill say how much room there is, with an
// acknowledgement if nothing else is to be sent.
func (s *Session) TellWindow() { s.windowDue = s.state == Open || s.state == Closing }

// noteBlocked starts probing a peer that has no room. With packets in flight
// their retransmission tells when there is room again.
func (s *Session) noteBlocked() {
	if s.blocked || s.snd.InFlight() > 0 || s.snd.Outstanding() < s.peerWindow {
		return
	}
	s.blocked = true
	s.lastProbe = s.now
}

func (s *Session) fillReliable(b []byte, p *reliability.Packet, flags wire.Flags) int {
	flags |= wire.FlagACK | wire.FlagPSH
	switch {
	case p.Final:
		flags |= wire.FlagFIN
	case p.Urgent:
		flags |= wire.FlagURG
	}
	return s.fillPacket(b, p.Sequence(), flags, p.Priority, p.Body(), 0)
}

func (s *Session) fillUnreliable(b []byte, p *reliability.Packet) int {
	flags := wire.FlagACK
	if p.Urgent {
		flags |= wire.FlagURG
		s.snd.Critical(s.now)
	}
	if s.snd.Reduced() {
		flags |= wire.FlagCWR
	}
	seq := s.unreliableNext
	s.unreliableNext++
	n := s.fillPacket(b, seq, flags, p.Priority, p.Body(), 0)
	s.cfg.Pool.Put(p)
	return n
}

func (s *Session) fillAck(b []byte) int {
	return s.fillPacket(b, s.snd.Next(), wire.FlagACK, 0, nil, 0)
}

// fillPacket writes one packet of an open session. Where size is not 0, body is
// a PAD that fills it up to that.
func (s *Session) fillPacket(b []byte, seq uint32, flags wire.Flags, priority uint8, body []byte, size int) int {
	if s.ece {
		flags |= wire.FlagECE
	}
	h := wire.Header{
		Sequence:  seq,
		Ack:       s.rcv.Next,
		Flags:     flags,
		Window:    s.receiveWindow(),
		Timestamp: s.now / 1000,
		Priority:  priority,
	}
	var block *wire.AckBlock
	more := false
	switch {
	case len(body) > 0 && flags&wire.FlagFIN == 0 && !s.owesAck():
		h.Flags &^= wire.FlagACK
	case s.sack:
		more = s.fillBlock(&s.block)
		block = &s.block
	}
	b = s.cfg.Profile.AppendPacket(b, h, block, body)
	if size > len(b) {
		p := s.cfg.Pool.Get()
		p.Append(wire.Message{Type: wire.TypePad, Payload: padding[:size-len(b)]})
		b = s.cfg.Profile.AppendPacket(b[:0], h, block, p.Body())
		s.cfg.Pool.Put(p)
	}
	s.ackDue, s.windowDue = more, false
	s.budget.spend(len(b), s.now)
	return len(b)
}

// owesAck reports whether a packet with messages is to acknowledge. Those of
// the standard profile do. Compact ones do as long as the peer may miss what
// was said last: a client that does not know the session to be open, or the
// sender of what arrived within the last retransmission timeout.
func (s *Session) owesAck() bool {
	switch {
	case s.cfg.Profile == wire.Standard, s.ackDue, s.windowDue, s.ece:
		return true
	case s.server:
		return s.lastHeard == s.began
	}
	return s.rcv.Pending() || s.now < s.echoedAt+s.snd.RTT.RTO()
}

// fillBlock says what arrived, and reports whether there is more to say: a block
// tells of every packet that arrived since the last one, unless they lie far
// apart. At a server the gate does, and knows better; only the confirmation of
// the HELLO is left to the worker.
func (s *Session) fillBlock(block *wire.AckBlock) (more bool) {
	*block = wire.AckBlock{}
	if s.ackDue {
		block.Present = true
		block.Echo = s.echo
		block.Delay = uint32(min((s.now-s.echoedAt)/1000, 1<<32-1))
	}
	if s.server || !s.rcv.Pending() {
		return false
	}
	block.Present = true
	last := s.rcv.Word(s.owedHigh)
	if s.ackDue {
		const room = wire.AckWordsMax - 1
		for first := s.rcv.Word(s.owedLow); first+room < last; first += room + 1 {
			if s.rcv.Report(first+room, block); block.Words > 0 {
				s.owedLow = s.rcv.Next + 1 + 64*uint32(first+room+1)
				return true
			}
		}
	}
	s.rcv.Report(last, block)
	return false
}

func (s *Session) receiveWindow() uint16 {
	if s.cfg.ReceiveWindow == nil {
		return wire.ReceiveWindow
	}
	return uint16(min(max(s.cfg.ReceiveWindow(), 0), wire.ReceiveWindow))
}

// AppendReset appends a sealed RST. It serves owners who refuse a client for
// whom they have no session: sequence is then the HELLO's acknowledgement and
// ack the HELLO's sequence plus one, and token that of its cookie.
func AppendReset(b []byte, p wire.Profile, sequence, ack uint32, why wire.Reason, token uint32, now uint64) []byte {
	return p.AppendReset(b, wire.Header{Sequence: sequence, Ack: ack, Timestamp: now / 1000}, why, token)
}
