package gate

import (
	"encoding/binary"
	"math/bits"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// rttMax bounds what is believed of a round trip, in microseconds.
const rttMax = 60_000_000

// packet is one packet on its way through the gate.
type packet struct {
	key     wire.Key
	session *SessionState // nil without one
	payload []byte        // of UDP
	now     uint64
	cpu     int

	head  wire.Header
	body  []byte // what is left to read
	block wire.AckBlock
	fresh bool // head.Ack is not older than what is known

	worker  int
	wake    bool
	reply   []byte
	replied int // bytes of reply in use
}

// decide judges a datagram whose lengths agree, and answers it.
func (g *Gate) decide(p *packet) Outcome {
	out := g.admit(p)
	if s := p.session; s != nil {
		g.account(s, p, out)
	}
	return out
}

// account counts a packet of a session.
func (g *Gate) account(s *SessionState, p *packet, out Outcome) {
	switch {
	case out == TXSYNAck:
	case out.Verdict() == Drop && out != AbsorbAck && out != AbsorbAckStale:
		s.Rejected++
	default:
		s.Packets++
		s.Bytes += uint64(len(p.payload))
	}
}

// admit checks what every packet has to satisfy.
func (g *Gate) admit(p *packet) Outcome {
	switch {
	case len(p.payload) < wire.HeaderSize:
		return DropTruncated
	case len(p.payload) > g.cfg.MaxDatagram:
		return DropOversize
	}
	head, body, err := wire.ParseHeader(p.payload)
	if err != nil {
		return DropTruncated
	}
	p.head, p.body = head, body
	switch {
	case !head.Flags.LegalAtServer():
		return DropFlags
	case !wire.Verify(p.payload):
		return DropChecksum
	case head.Flags == wire.FlagSYN:
		return g.syn(p)
	case p.session == nil:
		return g.stranger(p)
	}
	return g.known(p)
}

// syn answers a SYN with a cookie, whether or not there is a session.
func (g *Gate) syn(p *packet) Outcome {
	if len(p.payload) < wire.MinSYN {
		return DropSYNLength
	}
	asked, err := wire.ParseSYNOptions(p.body)
	if err != nil {
		return DropSYNOption
	}
	cookie := g.keys.Make(&p.key, p.head.Sequence)
	answer := wire.Options{
		Cookie:    cookie,
		HasCookie: true,
		SACK:      asked.SACK && g.cfg.Features&FeatureSACK != 0,
		MTU:       uint16(g.cfg.MaxDatagram),
	}
	p.replied = len(wire.AppendSYNACK(p.reply[:0], p.head.Sequence, answer, p.now/1000))
	return TXSYNAck
}

// stranger judges a packet of no session: only a HELLO may open one.
func (g *Gate) stranger(p *packet) Outcome {
	if p.head.Flags != wire.FlagACK|wire.FlagPSH || len(p.body) == 0 || p.body[0] != wire.TypeHello {
		return DropNoSession
	}
	if !wire.IsHello(p.body) {
		return DropHello
	}
	if !g.cookieHolds(p) {
		return DropCookie
	}
	return g.hello(p, p.worker)
}

// cookieHolds checks the cookie of a HELLO, and sets p.worker to the worker it
// chooses.
func (g *Gate) cookieHolds(p *packet) bool {
	cookie := binary.BigEndian.Uint64(p.body[wire.MessageHeaderSize+2:])
	p.worker = int(cookie >> 1 % uint64(g.geometry.Workers))
	return g.keys.Check(cookie, &p.key, p.head.Sequence-1) &&
		p.head.Ack == wire.CookieSequence(cookie)+1
}

func (g *Gate) hello(p *packet, worker int) Outcome {
	p.worker = worker
	return g.steer(RedirectHello, PassHello)
}

// steer chooses between a worker's socket and the host stack.
func (g *Gate) steer(socket, stack Outcome) Outcome {
	if g.cfg.Sockets {
		return socket
	}
	return stack
}

// known judges a packet of a session.
func (g *Gate) known(p *packet) Outcome {
	s := p.session
	p.worker = int(s.Worker)
	flow := g.regions.Flow(s.Slot)
	if !p.checkAck(flow) {
		if g.reborn(p) {
			return g.hello(p, int(s.Worker))
		}
		return DropAck
	}
	switch {
	case p.head.Flags&wire.FlagRST != 0:
		return g.reset(p)
	case p.head.Flags&wire.FlagPSH != 0:
		return g.reliable(p, flow)
	}
	return g.unreliable(p, flow)
}

// checkAck reports whether the packet acknowledges what was sent.
func (p *packet) checkAck(flow *commit.Flow) bool {
	known, _ := flow.Load()
	next := flow.SndNxt()
	ack := p.head.Ack
	if next-ack <= next-known.Ack {
		p.fresh = true
		return true
	}
	behind := known.Ack - ack
	return behind != 0 && behind <= wire.ReceiveWindow
}

// reborn reports whether the packet is the HELLO of a client that started
// again on the port of a session.
func (g *Gate) reborn(p *packet) bool {
	return p.head.Flags == wire.FlagACK|wire.FlagPSH && wire.IsHello(p.body) &&
		p.head.Sequence-1 != p.session.ClientISN && g.cookieHolds(p)
}

// reset passes a plausible RST on.
func (g *Gate) reset(p *packet) Outcome {
	distance := p.head.Sequence - p.session.Window.Next + wire.ReceiveWindow
	if distance > 2*wire.ReceiveWindow || len(p.body) != wire.ReasonSize {
		return DropReset
	}
	return g.steer(RedirectReset, PassReset)
}

// reliable commits a reliable packet and acknowledges it, or acknowledges it
// again.
func (g *Gate) reliable(p *packet, flow *commit.Flow) Outcome {
	s := p.session
	if p.head.Sequence == s.ClientISN+1 {
		return g.duplicate(p, flow)
	}
	class := s.Window.Classify(p.head.Sequence)
	switch class {
	case reliability.Duplicate:
		return g.duplicate(p, flow)
	case reliability.Outside:
		if g.reborn(p) {
			return g.hello(p, int(s.Worker))
		}
		return DropSequence
	}
	if !p.takeBlock(flow) {
		return DropAckBlock
	}
	fin := p.head.Flags&wire.FlagFIN != 0
	switch {
	case len(p.body) == 0 && !fin:
		p.absorb(g, flow)
		g.acknowledge(p, flow)
		return TXKeepalive
	case fin:
		if len(p.body) != wire.ReasonSize {
			return DropMessage
		}
	default:
		if _, err := wire.CheckMessages(p.body); err != nil {
			return DropMessage
		}
	}
	return g.commit(p, flow)
}

func (g *Gate) duplicate(p *packet, flow *commit.Flow) Outcome {
	p.session.Duplicates++
	g.acknowledge(p, flow)
	return TXAckDuplicate
}

// commit keeps the packet, and only then acknowledges it.
func (g *Gate) commit(p *packet, flow *commit.Flow) Outcome {
	s := p.session
	w := g.writer(p)
	slot, ok := w.Reserve()
	if !ok {
		return DropRingFull
	}
	if p.head.Sequence != s.Window.Next && w.Free()*2 < g.geometry.Slots {
		return DropRingPressure
	}
	slot.Received = p.now
	slot.SessionID = s.ID
	slot.SessionSlot = s.Slot
	slot.Sequence = p.head.Sequence
	slot.Timestamp = p.head.Timestamp
	slot.Length = uint16(copy(slot.Data[:], p.body))
	slot.Flags = uint8(p.head.Flags)

	s.Window.Mark(p.head.Sequence)
	s.Committed++
	p.absorb(g, flow)
	p.wake = w.Publish()
	g.acknowledge(p, flow)
	return TXAck
}

func (g *Gate) writer(p *packet) *commit.Writer {
	return g.writers[g.geometry.Ring(p.cpu, int(p.session.Worker))]
}

// acknowledge writes the acknowledgement of what the session received.
func (g *Gate) acknowledge(p *packet, flow *commit.Flow) {
	s := p.session
	b := wire.Header{
		Sequence:  flow.SndNxt(),
		Ack:       s.Window.Next,
		Flags:     wire.FlagACK,
		Window:    uint16(min(wire.ReceiveWindow, g.writer(p).Free())),
		Timestamp: p.now / 1000,
	}.AppendTo(p.reply[:0])
	if s.Features&FeatureSACK != 0 {
		block := wire.AckBlock{Present: true, Echo: p.head.Timestamp}
		block.Words = s.Window.Sack(&block.Bitmap)
		b = block.AppendTo(b)
	}
	wire.Seal(b)
	p.replied = len(b)
}

// unreliable absorbs a pure acknowledgement, or passes messages on.
func (g *Gate) unreliable(p *packet, flow *commit.Flow) Outcome {
	if !p.takeBlock(flow) {
		return DropAckBlock
	}
	if len(p.body) == 0 {
		p.absorb(g, flow)
		if p.fresh {
			return AbsorbAck
		}
		return AbsorbAckStale
	}
	if _, err := wire.CheckMessages(p.body); err != nil {
		return DropMessage
	}
	if !p.session.unseen(p.head.Sequence) {
		return DropReplay
	}
	p.absorb(g, flow)
	return g.steer(RedirectData, PassData)
}

// unseen records an unreliable sequence, and is false when it was seen before
// or is too old to tell.
func (s *SessionState) unseen(seq uint32) bool {
	ahead := wire.SeqDiff(seq, s.ReplayHigh)
	if ahead > 0 {
		s.ReplayBits = s.ReplayBits<<uint32(ahead) | 1
		s.ReplayHigh = seq
		return true
	}
	behind := uint32(-ahead)
	if behind >= wire.ReplayWindow || s.ReplayBits>>behind&1 != 0 {
		return false
	}
	s.ReplayBits |= 1 << behind
	return true
}

// takeBlock reads the acknowledgement block of a session that has them, and
// checks that it selects nothing that was never sent.
func (p *packet) takeBlock(flow *commit.Flow) bool {
	if p.session.Features&FeatureSACK == 0 {
		return true
	}
	rest, err := wire.ParseAckBlock(p.body, &p.block)
	if err != nil {
		return false
	}
	p.body = rest
	if p.block.Words == 0 {
		return true
	}
	last := p.block.Words - 1
	highest := p.head.Ack + 1 + uint32(64*last+bits.Len64(p.block.Bitmap[last])-1)
	return wire.SeqLess(highest, flow.SndNxt())
}

// absorb tells the worker what the packet says about the other direction.
func (p *packet) absorb(g *Gate, flow *commit.Flow) {
	known, _ := flow.Load()
	known.LastSeen = p.now
	if p.fresh {
		known.Ack = p.head.Ack
		known.Window = p.head.Window
		known.SackWords = p.block.Words
		known.Sack = p.block.Bitmap
		if rtt := p.now/1000 - p.block.Echo - uint64(p.block.Delay); p.block.Echo != 0 && rtt-1 < rttMax-1 {
			known.RTTMicros = uint32(rtt)
			known.RTTCount++
		}
	}
	flow.Store(&known)
	if p.fresh {
		g.regions.MarkDirty(p.session.Slot)
	}
}
