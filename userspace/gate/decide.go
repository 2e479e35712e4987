package gate

import (
	"encoding/binary"
	"math/bits"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	// rttMax bounds what is believed of a round trip, in microseconds.
	rttMax = 60_000_000

	// replayJumpMax is how far ahead an unreliable packet may be.
	replayJumpMax = wire.ReceiveWindow * 64
)

// packet is one packet on its way through the gate.
type packet struct {
	key     wire.Key
	session *SessionState // nil without one
	profile wire.Profile  // of the port
	payload []byte        // of UDP
	intact  bool          // its UDP checksum is right, or nobody's business
	ce      bool          // of the IP header
	now     uint64
	cpu     int

	head  wire.Header
	body  []byte // what is left to read
	block wire.AckBlock

	worker  int
	wake    bool
	reply   []byte
	replied int // bytes of reply in use
}

// decide judges a datagram of ours whose lengths agree, and answers it.
func (g *Gate) decide(p *packet) Outcome {
	out := g.admit(p)
	if p.session != nil && out.rejects() {
		p.session.Rejected++
	}
	return out
}

// rejects reports whether a packet of ours was found bad.
func (o Outcome) rejects() bool {
	return o >= DropUDPLength && o <= DropRingPressure || o == DropSessionBudget
}

// admit checks what every packet has to satisfy.
func (g *Gate) admit(p *packet) Outcome {
	var err error
	if p.head, p.body, err = p.profile.ParseHeader(p.payload); err != nil {
		return DropTruncated
	}
	switch {
	case len(p.payload) > g.cfg.MaxDatagram:
		return DropOversize
	case !p.profile.LegalAtServer(&p.head):
		return DropFlags
	case !p.intact || !p.profile.Verify(p.payload):
		return DropChecksum
	case p.head.Flags == wire.FlagSYN:
		return g.syn(p)
	case p.session != nil:
		return g.known(p)
	case p.isHello():
		return g.hello(p)
	}
	return DropNoSession
}

// syn answers a SYN from the secret alone: nothing is kept for strangers, and
// a session is left as it is.
func (g *Gate) syn(p *packet) Outcome {
	if len(p.payload) < wire.MinSYN {
		return DropSYNLength
	}
	asked, err := wire.ParseSYNOptions(p.body)
	if err != nil {
		return DropSYNOption
	}
	answer := wire.Options{
		Cookie:    g.keys.Make(p.profile, &p.key, p.head.Sequence),
		HasCookie: true,
		SACK:      asked.SACK && g.cfg.Features&FeatureSACK != 0,
		MTU:       uint16(g.cfg.MaxDatagram),
	}
	if asked.HasControl && g.cfg.ControlBytes != 0 {
		answer.Control, answer.HasControl = g.cfg.ControlBytes, true
	}
	p.replied = len(p.profile.AppendSYNACK(p.reply[:0], p.head.Sequence, answer, p.now/1000))
	return TXSYNAck
}

// isHello reports whether the packet claims to return a cookie, which can be
// told inside a session too.
func (p *packet) isHello() bool { return p.profile.IsHello(&p.head, p.body) }

// hello checks a HELLO. Where the client has a session it started anew, and
// the session's worker is told; otherwise its address chooses a worker.
func (g *Gate) hello(p *packet) Outcome {
	if !wire.IsHello(p.body) {
		return DropHello
	}
	cookie := binary.BigEndian.Uint64(p.body[wire.MessageHeaderSize+2:])
	if !g.keys.Check(p.profile, cookie, &p.key, p.head.Sequence-1) ||
		p.head.Ack != p.profile.ServerSequence(cookie)+1 {
		return DropCookie
	}
	if p.session != nil {
		p.worker = int(p.session.Worker)
	} else {
		p.worker = int(p.key.Hash() % uint32(g.geometry.Workers))
	}
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
	p.worker = int(p.session.Worker)
	flow := g.regions.Flow(p.session.Slot)
	if p.isHello() {
		if p.head.Sequence != p.session.ClientISN+1 {
			return g.hello(p)
		}
		g.reacknowledge(p, flow, ackStale, true)
		return TXAckDuplicate
	}
	p.profile.Expand(&p.head, wire.Reference{
		Reliable: p.session.Window.Next, Unreliable: p.session.ReplayHigh, Ack: flow.Ack(),
	})
	kind := ackStale // as good as none
	if p.head.Flags&wire.FlagACK != 0 {
		kind = relate(flow, p.head.Ack)
	}
	switch {
	case kind == ackForged:
		return DropAck
	case p.head.Flags&wire.FlagRST != 0:
		return g.reset(p)
	case !p.takeBlock(flow):
		return DropAckBlock
	case p.head.Flags&wire.FlagPSH != 0:
		return g.reliable(p, flow, kind)
	}
	return g.unreliable(p, flow, kind)
}

// ackKind says how an acknowledgement number relates to what was sent.
type ackKind uint8

const (
	ackFresh  ackKind = iota
	ackStale          // older than what is known: the packet is fine all the same
	ackForged         // of what was never sent
)

func relate(flow *commit.Flow, ack uint32) ackKind {
	una, next := flow.Ack(), flow.SndNxt()
	switch {
	case next-ack <= next-una:
		return ackFresh
	case una-ack <= wire.ReceiveWindow:
		return ackStale
	}
	return ackForged
}

// takeBlock reads the acknowledgement block of a session that has them, and
// checks that it selects nothing that was never sent.
func (p *packet) takeBlock(flow *commit.Flow) bool {
	sack := p.session.Features&FeatureSACK != 0
	rest, err := p.profile.ParseBlock(&p.head, sack, p.body, &p.block)
	if err != nil {
		return false
	}
	p.body = rest
	if p.block.Words == 0 {
		return true
	}
	last := p.block.Words - 1
	highest := p.head.Ack + uint32(64*(p.block.Offset+last)+bits.Len64(p.block.Bitmap[last]))
	return wire.SeqLess(highest, flow.SndNxt())
}

// reset passes a plausible RST on.
func (g *Gate) reset(p *packet) Outcome {
	distance := p.head.Sequence - p.session.Window.Next + wire.ReceiveWindow
	_, err := p.profile.ParseReset(&p.head, p.body, p.session.Token)
	if err != nil || distance > 2*wire.ReceiveWindow {
		return DropReset
	}
	p.session.Packets++
	p.session.Bytes += uint64(len(p.payload))
	return g.steer(RedirectReset, PassReset)
}

// reliable commits a reliable packet and acknowledges it, or acknowledges it
// again.
func (g *Gate) reliable(p *packet, flow *commit.Flow, kind ackKind) Outcome {
	window := &p.session.Window
	fin := p.head.Flags&wire.FlagFIN != 0
	if len(p.body) == 0 && !fin {
		if p.head.Sequence-window.Next+wire.ReceiveWindow >= 2*wire.ReceiveWindow {
			return DropSequence
		}
		if p.head.Fragment {
			return DropMessage
		}
		g.reacknowledge(p, flow, kind, false)
		return TXKeepalive
	}
	switch window.Classify(p.head.Sequence) {
	case reliability.Outside:
		return DropSequence
	case reliability.Duplicate:
		g.reacknowledge(p, flow, kind, true)
		return TXAckDuplicate
	case reliability.Fresh:
	}
	if fin {
		if !wire.IsReason(p.body) {
			return DropMessage
		}
	} else if _, err := p.profile.CheckMessages(&p.head, p.body); err != nil {
		return DropMessage
	}
	return g.commit(p, flow, kind)
}

// commit keeps the packet, and only then acknowledges it. Nothing changes
// before a slot is certain.
func (g *Gate) commit(p *packet, flow *commit.Flow, kind ackKind) Outcome {
	s := p.session
	w := g.writer(p)
	if w.Free() == 0 {
		return DropRingFull
	}
	if p.head.Sequence != s.Window.Next && w.Free()*2 < g.geometry.Slots {
		return DropRingPressure
	}
	budget := g.budgetLeft(s, flow)
	if budget == 0 || p.head.Sequence != s.Window.Next && budget*2 < g.cfg.SessionBudget {
		return DropSessionBudget
	}
	slot, ok := w.Reserve()
	if !ok {
		return DropRingFull
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
	g.accept(p, flow, kind)
	p.wake = w.Publish()
	g.acknowledge(p, flow)
	return TXAck
}

// budgetLeft is how many more of a session's packets may wait for its worker.
func (g *Gate) budgetLeft(s *SessionState, flow *commit.Flow) int {
	waiting := int32(uint32(s.Committed) - flow.Released())
	return max(0, g.cfg.SessionBudget-max(0, int(waiting)))
}

func (g *Gate) writer(p *packet) *commit.Writer {
	return g.writers[g.geometry.Ring(p.cpu, int(p.session.Worker))]
}

// reacknowledge answers duplicates and keepalives from what is already known.
func (g *Gate) reacknowledge(p *packet, flow *commit.Flow, kind ackKind, duplicate bool) {
	if duplicate {
		p.session.Duplicates++
	}
	g.accept(p, flow, kind)
	g.acknowledge(p, flow)
}

// acknowledge writes the acknowledgement of what the session received.
func (g *Gate) acknowledge(p *packet, flow *commit.Flow) {
	s := p.session
	window := min(wire.ReceiveWindow, g.writer(p).Free(), g.budgetLeft(s, flow))
	flow.Advertise(uint32(window))
	flags := wire.FlagACK
	if s.Marked {
		flags |= wire.FlagECE
	}
	h := wire.Header{
		Sequence:  flow.SndNxt(),
		Ack:       s.Window.Next,
		Flags:     flags,
		Window:    uint16(window),
		Timestamp: p.now / 1000,
	}
	if s.Features&FeatureSACK == 0 {
		p.replied = len(p.profile.AppendPacket(p.reply[:0], h, nil, nil))
		return
	}
	block := wire.AckBlock{Present: true, Echo: p.head.Timestamp}
	s.Window.Report(s.Window.Word(p.head.Sequence), &block)
	p.replied = len(p.profile.AppendPacket(p.reply[:0], h, &block, nil))
}

// unreliable absorbs a pure acknowledgement, or passes messages on.
func (g *Gate) unreliable(p *packet, flow *commit.Flow, kind ackKind) Outcome {
	if len(p.body) == 0 && p.head.Flags&wire.FlagACK != 0 && !p.head.Fragment {
		g.accept(p, flow, kind)
		if kind == ackFresh {
			return AbsorbAck
		}
		return AbsorbAckStale
	}
	if _, err := p.profile.CheckMessages(&p.head, p.body); err != nil {
		return DropMessage
	}
	if !p.session.unseen(p.head.Sequence) {
		return DropReplay
	}
	g.accept(p, flow, kind)
	return g.steer(RedirectData, PassData)
}

// unseen records an unreliable sequence, and is false when it was seen before,
// is too old to tell, or too far ahead to be believed.
func (s *SessionState) unseen(seq uint32) bool {
	ahead := wire.SeqDiff(seq, s.ReplayHigh)
	if ahead > replayJumpMax {
		return false
	}
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

// accept counts a packet and tells the worker what it acknowledges.
func (g *Gate) accept(p *packet, flow *commit.Flow, kind ackKind) {
	p.session.Packets++
	p.session.Bytes += uint64(len(p.payload))
	// A packet may end one episode of congestion and begin the next.
	if p.head.Flags&wire.FlagCWR != 0 {
		p.session.Marked = false
	}
	if p.ce {
		p.session.Marked = true
	}
	var state commit.FlowState
	flow.Peek(&state)
	state.LastSeen = p.now
	changed := kind == ackFresh && p.absorb(&state)
	flow.Store(&state)
	if changed {
		g.regions.MarkDirty(p.session.Slot)
	}
}

// absorb updates state by a fresh acknowledgement, and reports whether the
// worker has something to look at.
func (p *packet) absorb(state *commit.FlowState) (changed bool) {
	news := false
	if p.head.Ack != state.Ack {
		pass(state, p.head.Ack)
		changed, news = true, true
	}
	if p.block.Words > 0 {
		news = p.selects(state) || news
		changed = true
	}
	if p.head.Window != state.Window {
		state.Window = p.head.Window
		changed = true
	}
	// What repeats the news does not tell what brought it.
	if news {
		state.Echo = uint32(p.block.Echo)
	}
	if rtt := p.profile.RoundTrip(p.now/1000, &p.block); rtt-1 < rttMax-1 {
		state.RTTMicros = uint32(rtt)
		state.RTTCount++
		changed = true
	}
	if p.head.Flags&wire.FlagECE != 0 {
		state.ECE++
		changed = true
	}
	return changed
}

// pass sets the acknowledgement number, and forgets what was selected up to it.
func pass(state *commit.FlowState, ack uint32) {
	switch {
	case state.SackHigh == state.Ack:
		state.SackHigh = ack
	case wire.SeqDiff(state.SackHigh, ack) <= 1:
		state.Sack = [commit.SackWords]uint64{}
		state.SackHigh = ack
	default:
		for seq := state.Ack + 1; seq != ack+1; seq++ {
			state.Sack[seq/64%commit.SackWords] &^= 1 << (seq % 64)
		}
	}
	state.Ack = ack
}

// selects takes over the packets that the block selects, and reports whether
// one is new.
func (p *packet) selects(state *commit.FlowState) (news bool) {
	for w, set := range p.block.Bitmap[:p.block.Words] {
		first := p.head.Ack + 1 + uint32(64*(p.block.Offset+w))
		for ; set != 0; set &= set - 1 {
			seq := first + uint32(bits.TrailingZeros64(set))
			word, bit := &state.Sack[seq/64%commit.SackWords], uint64(1)<<(seq%64)
			news = news || *word&bit == 0
			*word |= bit
			if wire.SeqLess(state.SackHigh, seq+1) {
				state.SackHigh = seq + 1
			}
		}
	}
	return news
}
