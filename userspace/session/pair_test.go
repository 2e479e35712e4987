package session

import (
	"testing"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/congestion"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

const ms = uint64(1e6)

// pair joins a client and a server without delay. Between them stands what a
// test needs of a gate: window, acknowledgements, the flow.
type pair struct {
	t      testing.TB
	now    uint64
	c, s   *Session
	window reliability.ReceiveWindow
	flow   commit.FlowState
	isn    uint32

	room     int             // advertised by the gate
	lose     map[uint32]bool // reliable packets of the client to lose once
	block    map[uint32]bool // and always
	loseDown bool            // everything the server sends
	bodies   map[Ref][]byte  // committed and not released

	fromClient, fromServer []Message // payloads copied
	packets                int       // that the client sent
	keepMessages           bool

	buf    [wire.MaxDatagramLimit]byte
	ackBuf [wire.HeaderSize + wire.AckBlockMax]byte
}

// unpaced is a controller that lets 64 packets fly and has no opinion else.
type unpaced struct{}

func (unpaced) Name() string             { return "unpaced" }
func (unpaced) Window() int              { return congestion.InitialWindow }
func (unpaced) PacingRate() float64      { return 1e9 }
func (unpaced) OnSend(uint64, int)       {}
func (unpaced) OnAck(*congestion.Ack)    {}
func (unpaced) OnLoss(*congestion.Loss)  {}
func (unpaced) OnMark(uint64, uint32)    {}
func (unpaced) OnTimeout(uint64, uint32) {}
func (unpaced) Undo(uint64)              {}
func (unpaced) Events() uint64           { return 0 }

func newPair(t testing.TB, client, server Config) *pair {
	p := &pair{
		t: t, now: 1000 * ms, isn: 500, room: wire.ReceiveWindow,
		lose: map[uint32]bool{}, block: map[uint32]bool{}, bodies: map[Ref][]byte{}, keepMessages: true,
	}
	client.Message = func(_ *Session, m Message) { p.keep(&p.fromServer, m) }
	server.Message = func(_ *Session, m Message) { p.keep(&p.fromClient, m) }
	server.ReceiveWindow = func() int { return p.room }
	server.Release = func(_ *Session, ref Ref) {
		if _, ok := p.bodies[ref]; !ok {
			t.Fatalf("ref %d released twice", ref)
		}
		delete(p.bodies, ref)
	}
	for _, cfg := range []*Config{&client, &server} {
		if cfg.Congestion == nil {
			cfg.Congestion = func() congestion.Controller { return unpaced{} }
		}
	}
	var buf [wire.MaxDatagramLimit]byte
	p.c = NewClient(client, p.isn, p.now)
	n := p.c.Fill(buf[:], p.now)
	_, opts, err := wire.ParseSYN(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	const cookie = 4000
	reply := wire.AppendSYNACK(nil, p.isn, wire.Options{
		Cookie: cookie, HasCookie: true, SACK: opts.SACK, MTU: opts.MTU, HasControl: opts.HasControl, Control: 1 << 20,
	}, p.now/1000)
	p.now += ms
	if err := p.c.Packet(reply, p.now); err != nil {
		t.Fatal(err)
	}
	n = p.c.Fill(buf[:], p.now)
	h, body, _ := wire.ParseHeader(buf[:n])
	hello, err := wire.ParseHello(body)
	if err != nil {
		t.Fatal(err)
	}
	p.s = NewServer(server, Opening{
		ID: 9, ClientISN: p.isn, ServerISN: cookie / 2, Window: h.Window,
		Timestamp: h.Timestamp, SACK: hello.SACK, MTU: hello.MTU, Control: hello.HasControl, MaxHeld: hello.Control,
	}, p.now)
	p.window.Reset(p.isn + 2)
	p.flow = commit.FlowState{Ack: p.s.SndNxt(), Window: h.Window, LastSeen: p.now}
	p.exchange()
	if p.c.State() != Open {
		t.Fatalf("client %v", p.c.State())
	}
	return p
}

func (p *pair) keep(to *[]Message, m Message) {
	if p.keepMessages {
		m.Payload = append([]byte(nil), m.Payload...)
		*to = append(*to, m)
	}
}

// exchange lets both ends send what they want to send, once.
func (p *pair) exchange() {
	buf := &p.buf
	for range 2 {
		for n := p.c.Fill(buf[:], p.now); n > 0; n = p.c.Fill(buf[:], p.now) {
			p.packets++
			p.up(buf[:n])
		}
		p.s.AckState(p.flow, p.now)
		// The gate of a pair commits within the call, so nothing is under way.
		p.s.FlushHeld()
		for n := p.s.Fill(buf[:], p.now); n > 0; n = p.s.Fill(buf[:], p.now) {
			p.down(buf[:n])
		}
	}
}

// after lets time pass in steps of a millisecond.
func (p *pair) after(d uint64) {
	for end := p.now + d; p.now < end; {
		p.now += ms
		p.s.AckState(p.flow, p.now)
		p.c.Tick(p.now)
		p.s.Tick(p.now)
		p.exchange()
	}
}

func (p *pair) down(packet []byte) {
	if p.loseDown || p.c.Over() {
		return
	}
	if err := p.c.Packet(packet, p.now); err != nil {
		p.t.Fatalf("client: %v", err)
	}
}

// up is the gate.
func (p *pair) up(packet []byte) {
	h, body, err := wire.ParseHeader(packet)
	if err != nil || !wire.Verify(packet) || !h.Flags.LegalAtServer() {
		p.t.Fatalf("client sent %x", packet)
	}
	if h.Flags&wire.FlagRST != 0 {
		why, err := wire.ParseReason(body)
		if err != nil {
			p.t.Fatal(err)
		}
		p.s.Reset(why)
		return
	}
	p.flow.LastSeen = p.now
	if wire.IsHello(body) {
		p.ack(h.Timestamp)
		return
	}
	var block wire.AckBlock
	if p.s.SACK() {
		if body, err = wire.ParseAckBlock(body, &block); err != nil {
			p.t.Fatalf("client sent %x: %v", packet, err)
		}
	}
	if wire.SeqLess(p.flow.Ack, h.Ack) {
		p.flow.Ack, p.flow.SackHigh = h.Ack, h.Ack
		p.flow.Sack = [commit.SackWords]uint64{}
	}
	p.flow.Window = h.Window
	for i := range 64 * uint32(block.Words) {
		if seq := h.Ack + 1 + 64*uint32(block.Offset) + i; block.Bitmap[i/64]>>(i%64)&1 != 0 {
			selects(&p.flow, seq)
		}
	}
	if block.Echo != 0 {
		p.flow.RTTMicros = uint32(p.now/1000-block.Echo) - block.Delay
		p.flow.RTTCount++
	}
	switch {
	case h.Flags&wire.FlagPSH == 0:
		if len(body) > 0 {
			p.s.Unreliable(h, body, p.now)
		}
	case len(body) == 0, p.window.Classify(h.Sequence) == reliability.Duplicate:
		p.ack(h.Timestamp)
	case p.lose[h.Sequence] || p.block[h.Sequence] || p.room == 0:
		delete(p.lose, h.Sequence)
	default:
		p.window.Mark(h.Sequence)
		ref := Ref(h.Sequence)
		kept := body
		if p.keepMessages {
			kept = append([]byte(nil), body...)
		}
		p.bodies[ref] = kept
		p.s.Committed(ref, h.Sequence, h.Flags, kept, p.now)
		p.ack(h.Timestamp)
	}
}

// selects has the client say that seq arrived.
func selects(f *commit.FlowState, seq uint32) {
	f.Sack[seq/64%commit.SackWords] |= 1 << (seq % 64)
	f.SackHigh = max(f.SackHigh, seq+1)
}

func (p *pair) ack(echo uint64) {
	b := wire.Header{
		Sequence: p.s.SndNxt(), Ack: p.window.Next, Flags: wire.FlagACK,
		Window: uint16(p.room), Timestamp: p.now / 1000,
	}.AppendTo(p.ackBuf[:0])
	if p.s.SACK() {
		block := wire.AckBlock{Present: true, Echo: echo}
		p.window.Report(0, &block)
		b = block.AppendTo(b)
	}
	wire.Seal(b)
	p.down(b)
}

func (p *pair) send(from *Session, mode Mode, channel uint8, text string) {
	p.t.Helper()
	if err := from.Send(mode, channel, 1, []byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

func texts(messages []Message) (s string) {
	for _, m := range messages {
		s += string(m.Payload) + " "
	}
	return s
}
