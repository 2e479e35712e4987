package simnet_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

var testKey = wire.MakeKey(netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("192.0.2.2:9000"))

// worldConfig says what a world is made of.
type worldConfig struct {
	seed      uint64
	up, down  simnet.Link
	client    session.Config
	server    session.Config
	clientISN uint32

	// forceISN opens the session with serverISN instead of the cookie's, to
	// have the sequence numbers of the server wrap.
	forceISN  bool
	serverISN uint32

	slots       int           // per commit ring
	cpus        int           // the gate uses them at random
	workerDelay time.Duration // from an arrival to the worker's pass, at most
}

// world is a client and a server joined by two pipes: the real gate over real
// commit rings, and as little of a worker as it takes.
type world struct {
	t   testing.TB
	cfg worldConfig
	net *simnet.Network

	up, down   *simnet.Pipe
	regions    *commit.Regions
	gate       *gate.Gate
	readers    []*commit.Reader
	client     *session.Session
	server     *session.Session // nil before it opened
	servers    int              // opened so far
	isns       map[uint32]bool  // of clients that had a session
	clientWake uint64
	passAt     uint64
	paused     bool // no worker runs

	toServer, toClient stream

	// onCommit sees every packet the gate acknowledged for the first time.
	onCommit func(seq uint32, body []byte)
	// onServerMessage sees every message the server handed over.
	onServerMessage func(m session.Message)
	// onClientMessage sees every message the client handed over.
	onClientMessage func(m session.Message)
}

const startTime = uint64(time.Hour)

func newWorld(t testing.TB, cfg worldConfig) *world {
	t.Helper()
	cfg.slots = max(cfg.slots, 64)
	cfg.cpus = max(cfg.cpus, 1)
	w := &world{t: t, cfg: cfg, net: simnet.New(cfg.seed, startTime), isns: map[uint32]bool{}}
	regions, err := commit.NewMemory(commit.Geometry{Workers: 1, CPUs: cfg.cpus, Slots: cfg.slots, MaxSessions: 64})
	if err != nil {
		t.Fatal(err)
	}
	w.regions = regions
	w.recoverRings()
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: cfg.seed, K1: 1}, {K0: cfg.seed, K1: 2}}}
	w.gate, err = gate.New(gate.Config{Features: gate.FeatureSACK}, regions, keys)
	if err != nil {
		t.Fatal(err)
	}
	w.up = w.net.NewPipe(cfg.up, func(k simnet.Packet) { w.arriveAtServer(k.Data) })
	w.down = w.net.NewPipe(cfg.down, func(k simnet.Packet) { w.arriveAtClient(k.Data) })
	w.toServer.init(w, "to server")
	w.toClient.init(w, "to client")
	w.onServerMessage = w.toServer.receive
	w.onClientMessage = w.toClient.receive
	w.cfg.client.Message = func(_ *session.Session, m session.Message) { w.onClientMessage(m) }
	w.cfg.server.Message = func(_ *session.Session, m session.Message) { w.onServerMessage(m) }
	w.cfg.server.Release = w.release
	w.cfg.server.ReceiveWindow = w.room
	w.dial(cfg.clientISN)
	return w
}

// recoverRings prepares the rings as a starting process does, and returns
// which slots a former one left behind, by ring.
func (w *world) recoverRings() [][]uint32 {
	var held [][]uint32
	w.readers = nil
	for ring := range w.regions.Geometry().Rings() {
		left, err := commit.Recover(w.regions, ring)
		if err != nil {
			w.t.Fatal(err)
		}
		held = append(held, left)
		w.readers = append(w.readers, w.regions.Reader(ring))
	}
	return held
}

// dial replaces the client by a new one on the same port.
func (w *world) dial(isn uint32) {
	w.client = session.NewClient(w.cfg.client, isn, w.net.Now())
	w.clientWake = reliability.Never
	w.pumpClient()
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, %v: %s", w.cfg.seed, time.Duration(w.net.Now()-startTime), fmt.Sprintf(format, args...))
}

// pumpClient sends what the client wants to send and sets its timer.
func (w *world) pumpClient() {
	var buf [wire.MaxDatagram]byte
	for n := w.client.Fill(buf[:], w.net.Now()); n > 0; n = w.client.Fill(buf[:], w.net.Now()) {
		w.up.Send(buf[:n])
	}
	if at := w.client.NextTimeout(); at < w.clientWake {
		w.clientWake = at
		w.net.At(at, func() {
			if w.clientWake > w.net.Now() {
				return
			}
			w.clientWake = reliability.Never
			w.client.Tick(w.net.Now())
			w.pumpClient()
		})
	}
}

func (w *world) arriveAtClient(packet []byte) {
	// A packet that another session's server sent is dropped by the error.
	_ = w.client.Packet(packet, w.net.Now())
	w.pumpClient()
}

func (w *world) arriveAtServer(packet []byte) {
	if w.cfg.forceISN && w.forcedHandshake(packet) {
		return
	}
	var reply [gate.MaxReply]byte
	cpu := w.net.Rand().IntN(w.cfg.cpus)
	r := w.gate.Datagram(testKey, packet, w.net.Now(), cpu, reply[:])
	switch r.Outcome {
	case gate.TXAck:
		if w.onCommit != nil {
			w.onCommit(packetParts(packet, w.server.SACK()))
		}
	case gate.PassHello:
		w.hello(packet)
	case gate.PassData:
		if !w.paused && w.server != nil {
			h, body := w.parts(packet)
			w.server.Unreliable(h, body, w.net.Now())
		}
	case gate.PassReset:
		if !w.paused && w.server != nil {
			_, body, _ := wire.ParseHeader(packet)
			why, err := wire.ParseReason(body)
			if err != nil {
				w.fatalf("gate passed a malformed reset")
			}
			w.server.Reset(why)
		}
	default:
	}
	if len(r.Reply) > 0 {
		w.down.Send(r.Reply)
	}
	w.schedulePass()
}

func (w *world) parts(packet []byte) (wire.Header, []byte) {
	h, body, _ := wire.ParseHeader(packet)
	if w.server.SACK() {
		var block wire.AckBlock
		body, _ = wire.ParseAckBlock(body, &block)
	}
	return h, body
}

func packetParts(packet []byte, sack bool) (uint32, []byte) {
	h, body, _ := wire.ParseHeader(packet)
	if sack {
		var block wire.AckBlock
		body, _ = wire.ParseAckBlock(body, &block)
	}
	return h.Sequence, body
}

// forcedHandshake answers SYN and first HELLO with the chosen sequence.
func (w *world) forcedHandshake(packet []byte) bool {
	if !wire.Verify(packet) {
		return false
	}
	if h, opts, err := wire.ParseSYN(packet); err == nil {
		reply := wire.Options{Cookie: uint64(w.cfg.serverISN) << 1, HasCookie: true, SACK: opts.SACK, MTU: wire.MaxDatagram}
		w.down.Send(wire.AppendSYNACK(nil, h.Sequence, reply, w.net.Now()/1000))
		return true
	}
	_, body, _ := wire.ParseHeader(packet)
	if w.server == nil && wire.IsHello(body) {
		w.hello(packet)
		return true
	}
	return false
}

// hello opens a session; a client that started again replaces the old one.
func (w *world) hello(packet []byte) {
	if w.paused {
		return
	}
	h, body, _ := wire.ParseHeader(packet)
	opts, err := wire.ParseHello(body)
	if err != nil {
		return
	}
	// A HELLO that comes late or twice must not bring a former session back.
	if w.isns[h.Sequence-1] {
		return
	}
	w.isns[h.Sequence-1] = true
	if w.server != nil {
		w.server.Reset(wire.ReasonSuperseded)
		w.settle(w.server)
		w.forget(w.server)
	}
	now := w.net.Now()
	o := session.Opening{
		ID: uint64(w.servers + 1), Key: testKey, ClientISN: h.Sequence - 1, ServerISN: h.Ack - 1,
		Window: h.Window, Timestamp: h.Timestamp, SACK: opts.SACK, MTU: opts.MTU,
	}
	slot := uint32(w.servers)
	w.servers++
	w.server = session.NewServer(w.cfg.server, o, now)
	w.server.Owner = slot
	w.regions.Flow(slot).Open(&commit.FlowInfo{
		ID: o.ID, Key: o.Key, ClientISN: o.ClientISN, ServerISN: o.ServerISN, SndNxt: w.server.SndNxt(), Opened: now,
	}, h.Window)
	init := gate.SessionInit{ID: o.ID, Slot: slot, ClientISN: o.ClientISN, ServerISN: o.ServerISN}
	if w.server.SACK() {
		init.Features = gate.FeatureSACK
	}
	if err := w.gate.Create(testKey, init); err != nil {
		w.fatalf("create session: %v", err)
	}
	w.schedulePass()
}

// settle ends the draining of a session: the gate forgets it, and what it
// committed is handed over.
func (w *world) settle(s *session.Session) {
	w.gate.Delete(testKey)
	w.drain()
	s.FlushHeld()
}

func (w *world) forget(s *session.Session) {
	w.gate.Delete(testKey)
	w.regions.Flow(s.Owner.(uint32)).Free()
}

func (w *world) room() int {
	room := w.readers[0].Free()
	for _, r := range w.readers {
		room = min(room, r.Free())
	}
	return room
}

func ref(ring int, slot uint32) session.Ref { return session.Ref(ring)<<32 | session.Ref(slot) }

func (w *world) release(_ *session.Session, r session.Ref) {
	if !w.readers[r>>32].Release(uint32(r)) {
		w.fatalf("slot %x released twice", r)
	}
}

// schedulePass lets the worker run soon.
func (w *world) schedulePass() {
	at := w.net.Now()
	if w.cfg.workerDelay > 0 {
		at += w.net.Rand().Uint64N(uint64(w.cfg.workerDelay))
	}
	w.passBy(at)
}

func (w *world) passBy(at uint64) {
	if w.passAt > w.net.Now() && w.passAt <= at || at == reliability.Never {
		return
	}
	w.passAt = at
	w.net.At(at, func() {
		if w.passAt == at {
			w.passAt = 0
			w.pass()
		}
	})
}

// pass is one round of a worker.
func (w *world) pass() {
	if w.paused || w.server == nil {
		return
	}
	now := w.net.Now()
	w.drain()
	w.regions.TakeDirty(0, func(uint32) {})
	s := w.server
	flow := w.regions.Flow(s.Owner.(uint32))
	if state, ok := flow.Load(); ok {
		s.AckState(state, now)
	}
	s.Tick(now)
	if s.State() == session.Draining {
		w.settle(s)
	}
	var buf [wire.MaxDatagram]byte
	for n := s.Fill(buf[:], now); n > 0; n = s.Fill(buf[:], now) {
		flow.SetSndNxt(s.SndNxt())
		w.down.Send(buf[:n])
	}
	if s.State() == session.Closed {
		w.gate.Delete(testKey)
	}
	w.passBy(s.NextTimeout())
}

// drain hands the committed packets to their session.
func (w *world) drain() {
	for i, r := range w.readers {
		for slot, idx, ok := r.Next(); ok; slot, idx, ok = r.Next() {
			if w.server == nil || slot.SessionID != w.server.ID() {
				r.Release(idx)
				continue
			}
			w.server.Committed(ref(i, idx), slot.Sequence, wire.Flags(slot.Flags), slot.Body(), w.net.Now())
		}
	}
}

// until runs the world until cond holds and fails after limit.
func (w *world) until(limit time.Duration, what string, cond func() bool) {
	w.t.Helper()
	end := w.net.Now() + uint64(limit)
	for !cond() {
		if !w.net.Step(end) {
			server := "none"
			if w.server != nil {
				server = fmt.Sprintf("%v (%v) %+v", w.server.State(), w.server.Reason(), w.server.Stats())
			}
			w.fatalf("%s did not happen in %v\nclient %v (%v) %+v\nserver %s", what, limit,
				w.client.State(), w.client.Reason(), w.client.Stats(), server)
		}
	}
}

// open runs the world until both ends are open.
func (w *world) open() {
	w.t.Helper()
	w.until(time.Minute, "opening", func() bool {
		return w.server != nil && w.client.State() == session.Open
	})
}

// stream is what one end sends to the other, and the check that it arrives as
// its modes promise. Payloads say what they are.
type stream struct {
	w        *world
	name     string
	sent     [4][reliability.Channels]uint32
	got      [4][reliability.Channels]map[uint32]uint32 // number to sequence of the packet
	last     [4][reliability.Channels]int64
	received int
	missing  int // reliable messages sent and not yet received
}

func (s *stream) init(w *world, name string) {
	*s = stream{w: w, name: name}
	for mode := range s.last {
		for channel := range s.last[mode] {
			s.last[mode][channel] = -1
		}
	}
}

// send queues one message and reports whether there was room.
func (s *stream) send(from *session.Session, mode session.Mode, channel uint8, size int) bool {
	payload := make([]byte, max(size, 8))
	number := &s.sent[mode][channel]
	binary.BigEndian.PutUint32(payload, *number)
	payload[4], payload[5] = byte(mode), channel
	binary.BigEndian.PutUint16(payload[6:], uint16(len(payload)))
	for i := 8; i < len(payload); i++ {
		payload[i] = byte(*number + uint32(i))
	}
	if err := from.Send(mode, channel, 1+channel, payload); errors.Is(err, session.ErrWouldBlock) {
		return false
	} else if err != nil {
		s.w.fatalf("%s: %v in state %v (%v)", s.name, err, from.State(), from.Reason())
	}
	*number++
	if mode.Reliable() {
		s.missing++
	}
	return true
}

func (s *stream) receive(m session.Message) {
	p := m.Payload
	if len(p) < 8 || session.Mode(p[4]) != m.Mode || p[5] != m.Channel || m.Type != 1+m.Channel ||
		int(binary.BigEndian.Uint16(p[6:])) != len(p) {
		s.w.fatalf("%s: message is not what was sent: %+v", s.name, m)
	}
	number := binary.BigEndian.Uint32(p)
	for i := 8; i < len(p); i++ {
		if p[i] != byte(number+uint32(i)) {
			s.w.fatalf("%s: payload differs at %d", s.name, i)
		}
	}
	got := &s.got[m.Mode][m.Channel]
	if *got == nil {
		*got = map[uint32]uint32{}
	}
	if _, again := (*got)[number]; again {
		s.w.fatalf("%s: %v message %d of channel %d came twice", s.name, m.Mode, number, m.Channel)
	}
	(*got)[number] = m.Sequence
	s.received++
	last := &s.last[m.Mode][m.Channel]
	switch m.Mode {
	case session.ReliableOrdered:
		if int64(number) != *last+1 {
			s.w.fatalf("%s: ordered message %d of channel %d after %d", s.name, number, m.Channel, *last)
		}
	case session.UnreliableSequenced:
		if int64(number) <= *last {
			s.w.fatalf("%s: sequenced message %d of channel %d after %d", s.name, number, m.Channel, *last)
		}
	default:
	}
	*last = max(*last, int64(number))
	if m.Mode.Reliable() {
		s.missing--
	}
	if uint32(number) >= s.sent[m.Mode][m.Channel] {
		s.w.fatalf("%s: %v message %d of channel %d was never sent", s.name, m.Mode, number, m.Channel)
	}
}
