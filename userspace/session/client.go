package session

import (
	"time"

	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// synRetry is the first wait for an answer to a SYN or HELLO; it doubles.
const synRetry = uint64(250 * time.Millisecond)

// Drop says why a packet was not taken. It is the error of Packet and indexes
// Stats.Dropped.
type Drop uint8

const (
	DropTruncated Drop = iota // shorter than a header
	DropOversize              // longer than MaxDatagram
	DropFlags                 // combination that no server sends
	DropChecksum
	DropHandshake // does not fit the state of the handshake
	DropAck       // acknowledges what was never sent
	DropAckBlock  // malformed, or selects what was never sent
	DropSequence  // outside the receive window
	DropReplay    // unreliable packet seen before or too old
	DropMessage   // message framing
	DropReset     // RST outside the window or malformed
	DropOver      // the session is over
	DropMax
)

var dropNames = [DropMax]string{
	"truncated", "oversize", "flags", "checksum", "handshake", "acknowledgement",
	"acknowledgement block", "sequence", "replay", "message framing", "reset", "session over",
}

// Error returns the reason in words.
func (d Drop) Error() string { return "drop packet: " + dropNames[min(d, DropMax-1)] }

// handshake is a client's state until the session is open.
type handshake struct {
	isn       uint32
	serverISN uint32
	opts      wire.Options // of the SYN|ACK
	sendDue   bool
	tries     uint
	sentAt    uint64
	retryAt   uint64
}

// NewClient returns the client's end of a session that is still to be opened.
// isn is the sequence of its SYN and should be random; a client that connects
// again from the same port must choose another one.
func NewClient(cfg Config, isn uint32, now uint64) *Session {
	s := newSession(cfg, now)
	s.state = SynSent
	s.deadline = now + uint64(s.cfg.HandshakeTimeout)
	s.hs = handshake{isn: s.cfg.Profile.ClientSequence(isn), sendDue: true, retryAt: reliability.Never}
	return s
}

func (s *Session) fillHandshake(b []byte) int {
	h := &s.hs
	if !h.sendDue {
		return 0
	}
	h.sendDue = false
	h.sentAt = s.now
	h.retryAt = s.now + min(s.handshakeRTO()<<min(h.tries, 8), uint64(s.cfg.MaxRTO))
	h.tries++
	opts := wire.Options{
		SACK: !s.cfg.NoSACK, MTU: uint16(s.cfg.MaxDatagram),
		HasControl: s.cfg.Reassembly > 0, Control: uint32(max(s.cfg.Reassembly, 0)),
	}
	if s.state == SynSent {
		return len(s.cfg.Profile.AppendSYN(b, h.isn, opts, s.now/1000))
	}
	opts.Cookie, opts.HasCookie = h.opts.Cookie, true
	opts.SACK = s.sack
	if opts.HasControl = s.control; !s.control {
		opts.Control = 0
	}
	return len(s.cfg.Profile.AppendHello(b, h.isn, h.serverISN, opts, s.now/1000))
}

// handshakeRTO is the first wait. The HELLO has the round trip of the SYN to
// go by.
func (s *Session) handshakeRTO() uint64 {
	if s.snd.RTT.Samples > 0 {
		return s.snd.RTT.RTO()
	}
	return synRetry
}

func (s *Session) tickHandshake() {
	if s.now >= s.deadline {
		s.Abort(ReasonHandshakeTimeout)
		return
	}
	if s.now >= s.hs.retryAt {
		s.hs.retryAt = reliability.Never
		s.hs.sendDue = true
	}
}

// Packet takes a UDP payload that arrived from the server. The error is a Drop
// when the packet changed nothing; sessions go on after any of them. payload
// is not used after the call.
func (s *Session) Packet(payload []byte, now uint64) error {
	return s.MarkedPacket(payload, false, now)
}

// MarkedPacket is Packet for owners who see the IP header: marked says that it
// bore Congestion Experienced (RFC 3168).
func (s *Session) MarkedPacket(payload []byte, marked bool, now uint64) error {
	if drop, dropped := s.packet(payload, now); dropped {
		s.stats.Dropped[drop]++
		return drop
	}
	s.ece = s.ece || marked
	return nil
}

func (s *Session) packet(payload []byte, now uint64) (Drop, bool) {
	s.now = max(s.now, now)
	if len(payload) > s.cfg.MaxDatagram {
		return DropOversize, true
	}
	h, body, err := s.cfg.Profile.ParseHeader(payload)
	if err != nil {
		return DropTruncated, true
	}
	if !s.cfg.Profile.LegalAtClient(&h) {
		return DropFlags, true
	}
	if !s.cfg.Profile.Verify(payload) {
		return DropChecksum, true
	}
	switch {
	case s.state == Closed:
		return DropOver, true
	case h.Flags&wire.FlagSYN != 0:
		return s.packetSYNACK(payload)
	case s.state == SynSent:
		return DropHandshake, true
	}
	s.cfg.Profile.Expand(&h, wire.Reference{
		Reliable: s.rcv.Next, Unreliable: s.replay.High, Ack: s.snd.Una(),
	})
	switch {
	case h.Flags&wire.FlagRST != 0:
		return s.packetReset(&h, body)
	case s.state == HelloSent:
		if h.Flags&wire.FlagACK == 0 || h.Ack != s.hs.isn+2 {
			return DropHandshake, true
		}
	}
	return s.packetSession(&h, body)
}

// packetSYNACK takes the answer to the SYN. A second one, to a SYN sent again,
// changes nothing: the HELLO is on its way.
func (s *Session) packetSYNACK(payload []byte) (Drop, bool) {
	if s.state != SynSent {
		return DropHandshake, true
	}
	h, opts, err := s.cfg.Profile.ParseSYNACK(payload)
	if err != nil || h.Ack != s.hs.isn+1 || h.Sequence != s.cfg.Profile.ServerSequence(opts.Cookie) {
		return DropHandshake, true
	}
	s.heard(s.now)
	if s.hs.tries == 1 {
		s.sampleRTT(s.now - s.hs.sentAt)
	}
	s.state = HelloSent
	s.token = s.cfg.Profile.ResetToken(opts.Cookie)
	s.hs.opts, s.hs.serverISN = opts, h.Sequence
	s.hs.tries = 0
	s.hs.sendDue, s.hs.retryAt = true, reliability.Never
	s.sack = opts.SACK && !s.cfg.NoSACK
	s.control = opts.HasControl && s.cfg.Reassembly > 0
	s.openReassembly()
	s.peerReassembly = int(opts.Control)
	s.setMaxDatagram(opts.MaxDatagram(s.cfg.MaxDatagram))
	s.rcv.Reset(h.Sequence + 1)
	s.replay.Reset(h.Sequence)
	// Until the session is open, the HELLO is all that was sent.
	s.openSending(s.hs.isn, s.hs.isn+2, h.Window)
	return 0, false
}

func (s *Session) openClient() {
	s.state = Open
	s.deadline = reliability.Never
	if s.hs.tries == 1 && s.snd.RTT.Samples == 0 {
		s.sampleRTT(s.now - s.hs.sentAt)
	}
}

func (s *Session) packetReset(h *wire.Header, body []byte) (Drop, bool) {
	why, err := s.cfg.Profile.ParseReset(h, body, s.token)
	fits := h.Sequence-s.rcv.Next+wire.ReceiveWindow <= 2*wire.ReceiveWindow
	if err != nil || !fits || s.ackAge(h.Ack) == ackForged {
		return DropReset, true
	}
	s.Reset(why)
	return 0, false
}

// packetSession takes a packet of an established session, in the order of the
// gate's checks.
func (s *Session) packetSession(h *wire.Header, body []byte) (Drop, bool) {
	age := ackStale // as good as none
	if h.Flags&wire.FlagACK != 0 {
		age = s.ackAge(h.Ack)
	}
	if age == ackForged {
		return DropAck, true
	}
	var block wire.AckBlock
	body, err := s.cfg.Profile.ParseBlock(h, s.sack, body, &block)
	if err != nil {
		return DropAckBlock, true
	}
	ack := reliability.Ack{Next: h.Ack, Words: block.Offset + block.Words}
	copy(ack.Sack[block.Offset:], block.Bitmap[:block.Words])
	if !s.snd.Sent(&ack) {
		return DropAckBlock, true
	}
	reliable := h.Flags&wire.FlagPSH != 0
	class := reliability.Fresh
	if reliable {
		class = s.classify(h.Sequence)
	}
	if drop, dropped := s.checkBody(h, body, class); dropped {
		return drop, true
	}
	if s.state == HelloSent {
		s.openClient()
	}
	s.heard(s.now)
	s.noteMark(h.Flags, false)
	if h.Flags&wire.FlagECE != 0 && age == ackFresh && s.state < Draining {
		s.snd.Marked(s.now)
	}
	s.takeAck(&ack, age, h.Window, &block)
	switch {
	case s.state == Closed:
	case !reliable:
		if !s.Over() {
			s.receiveUnreliable(h.Sequence, body)
		}
	case len(body) == 0:
		s.oweAck(h.Sequence, h.Timestamp)
	case class == reliability.Duplicate:
		s.stats.Duplicates++
		s.oweAck(h.Sequence, h.Timestamp)
	case !s.Over():
		s.oweAck(h.Sequence, h.Timestamp)
		s.receive(h.Sequence, h.Flags, body, 0)
	}
	return 0, false
}

// checkBody judges what follows the acknowledgement block. That of a
// duplicate is not examined.
func (s *Session) checkBody(h *wire.Header, body []byte, class reliability.Class) (Drop, bool) {
	fin := h.Flags&wire.FlagFIN != 0
	switch {
	case class == reliability.Outside:
		return DropSequence, true
	case len(body) == 0 && (h.Fragment || h.Flags&(wire.FlagACK|wire.FlagPSH) == 0):
		return DropMessage, true // a flag of messages, or nothing at all
	case class == reliability.Duplicate, len(body) == 0 && !fin:
	case fin:
		// Another reason than those that travel is for receive to judge.
		if !wire.IsReason(body) {
			return DropMessage, true
		}
	default:
		if _, err := s.cfg.Profile.CheckMessages(h, body); err != nil {
			return DropMessage, true
		}
		if h.Flags&wire.FlagPSH == 0 && !s.replay.Accept(h.Sequence) {
			return DropReplay, true
		}
	}
	return 0, false
}

func (s *Session) takeAck(ack *reliability.Ack, age ackAge, window uint16, block *wire.AckBlock) {
	if age != ackFresh || s.state == Lingering {
		return
	}
	ack.At = s.now
	ack.Echo, ack.Echoed = uint32(block.Echo), block.Echo != 0
	// A packet that the network doubled brings no second sample.
	if block.Echo != 0 && block.Echo != s.sampled {
		s.sampled = block.Echo
		if elapsed := int64(s.cfg.Profile.RoundTrip(s.now/1000, block)); elapsed > 0 {
			ack.RTT = s.sampleRTT(uint64(elapsed) * 1000)
		}
	}
	s.acknowledged(ack, window)
}

// ackAge says what an acknowledgement number is worth.
type ackAge uint8

const (
	ackFresh  ackAge = iota // not older than what is known
	ackStale                // older: the packet is good, the number says nothing
	ackForged               // acknowledges what was never sent
)

func (s *Session) ackAge(ack uint32) ackAge {
	una, next := s.snd.Una(), s.snd.Next()
	switch {
	case next-ack <= next-una:
		return ackFresh
	case una-ack <= wire.ReceiveWindow:
		return ackStale
	}
	return ackForged
}
