// Package simworld runs clients and a server in a simnet: whole sessions, the
// real gate over real commit rings, and as little of a worker as it takes.
// Nothing in it reads a clock, so a run follows from its seed.
package simworld

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Start is what the clock of a new world shows, in nanoseconds.
const Start = uint64(time.Hour)

const serverPort = 9000

// Config says what a World is made of. The zero value works.
type Config struct {
	Seed uint64

	// Slots is the size of each commit ring, a power of two. 0 means 64.
	Slots int
	// CPUs is how many the gate runs on, at random. 0 means 1.
	CPUs int
	// Sessions is how many may be opened over the life of the world. 0 means
	// 64.
	Sessions int
	// Profile is what everybody speaks.
	Profile wire.Profile
	// TransferBytes is the server's memory for large messages, in whole
	// commit.TransferPage. 0 means that each session has its own, which does
	// not outlive the process.
	TransferBytes int
	// WorkerDelay is the longest time from an arrival to the worker's pass.
	WorkerDelay time.Duration
}

// World is a server and the clients that talk to it. It belongs to one
// goroutine. What cannot happen panics.
type World struct {
	Net       *simnet.Network
	Regions   *commit.Regions
	Gate      *gate.Gate
	Readers   []*commit.Reader  // of each commit ring
	Transfers *commit.Transfers // nil without Config.TransferBytes
	Paused    bool              // no worker runs, only the gate

	cfg    Config
	peers  []*Peer
	byID   map[uint64]*Peer
	opened uint32
	pass   *simnet.Timer
	buf    [wire.MaxDatagramLimit]byte
	reply  [gate.MaxReply]byte
}

// Peer is one client, the path to it, and the server's end of its session.
type Peer struct {
	Key      wire.Key
	Up, Down *simnet.Pipe
	Client   *session.Session // nil before Dial
	Server   *session.Session // nil before it opened; the newest one

	// Of sessions that are opened from now on. Message, Release and
	// ReceiveWindow are the world's.
	ClientConfig, ServerConfig session.Config

	// Called for every message that an end hands over.
	OnClient, OnServer func(m session.Message)

	world *World
	isns  map[uint32]bool // of clients that had a session

	replayHigh uint32        // highest unreliable sequence of the session, roughly
	wake       *simnet.Timer // of the client
}

// New returns a world without peers.
func New(cfg Config) *World {
	cfg.Slots = max(cfg.Slots, 64)
	cfg.CPUs = max(cfg.CPUs, 1)
	if cfg.Sessions == 0 {
		cfg.Sessions = 64
	}
	w := &World{cfg: cfg, Net: simnet.New(cfg.Seed, Start), byID: map[uint64]*Peer{}}
	w.pass = w.Net.NewTimer(w.work)
	var err error
	w.Regions, err = commit.NewMemory(commit.Geometry{Workers: 1, CPUs: cfg.CPUs, Slots: cfg.Slots, MaxSessions: cfg.Sessions, TransferBytes: cfg.TransferBytes})
	must(err)
	w.RecoverRings()
	gateConfig := gate.Config{Features: gate.FeatureSACK, ControlBytes: 4 << 20}
	if cfg.TransferBytes > 0 {
		w.Transfers = w.Regions.Transfers(0)
		gateConfig.ControlBytes = uint32(w.Regions.Geometry().LargestTransfer() / 2)
	}
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: cfg.Seed, K1: 1}, {K0: cfg.Seed, K1: 2}}}
	if cfg.Profile == wire.Compact {
		gateConfig.CompactPorts = []uint16{serverPort}
	}
	w.Gate, err = gate.New(gateConfig, w.Regions, keys)
	must(err)
	return w
}

func must(err error) {
	if err != nil {
		panic(fmt.Errorf("simworld: %w", err))
	}
}

// RecoverRings prepares the rings as a starting process does, and returns
// which slots a former one left behind, by ring.
func (w *World) RecoverRings() [][]uint32 {
	var held [][]uint32
	w.Readers = nil
	for ring := range w.Regions.Geometry().Rings() {
		left, err := commit.Recover(w.Regions, ring)
		must(err)
		held = append(held, left)
		w.Readers = append(w.Readers, w.Regions.Reader(ring))
	}
	return held
}

// Add returns a peer with a path of its own. It has no session yet.
func (w *World) Add(up, down simnet.Link) *Peer {
	n := len(w.peers)
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + n>>8)}), uint16(5000+n))
	p := &Peer{
		world:    w,
		Key:      wire.MakeKey(client, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 1}), serverPort)),
		isns:     map[uint32]bool{},
		OnClient: func(session.Message) {},
		OnServer: func(session.Message) {},
	}
	p.Up = w.Net.NewPipe(up, p.AtServer)
	p.Down = w.Net.NewPipe(down, p.AtClient)
	p.wake = w.Net.NewTimer(func() {
		p.Client.Tick(w.Net.Now())
		p.PumpClient()
	})
	w.peers = append(w.peers, p)
	return p
}

// Dial has a new client open a session. It replaces a former client on the
// same port.
func (p *Peer) Dial(isn uint32) {
	cfg := p.ClientConfig
	cfg.Profile = p.world.cfg.Profile
	cfg.Message = func(_ *session.Session, m session.Message) { p.OnClient(m) }
	p.Client = session.NewClient(cfg, isn, p.world.Net.Now())
	p.PumpClient()
}

// PumpClient sends what the client wants to send and sets its timer. It is
// called after each use of Client.
func (p *Peer) PumpClient() {
	w, now := p.world, p.world.Net.Now()
	for n := p.Client.Fill(w.buf[:], now); n > 0; n = p.Client.Fill(w.buf[:], now) {
		p.Up.Send(w.buf[:n])
	}
	if at := p.Client.NextTimeout(); at != p.wake.When() {
		p.wake.Set(at)
	}
}

// AtClient takes a packet that arrived at the client's socket.
func (p *Peer) AtClient(k simnet.Packet) {
	// A packet that another session's server sent is dropped by the error.
	_ = p.Client.MarkedPacket(k.Data, k.Marked, p.world.Net.Now())
	p.PumpClient()
}

// AtServer takes a packet that arrived at the server's device.
func (p *Peer) AtServer(k simnet.Packet) {
	w := p.world
	cpu := w.Net.Rand().IntN(w.cfg.CPUs)
	r := w.Gate.Datagram(p.Key, k.Data, k.Marked, w.Net.Now(), cpu, w.reply[:])
	switch r.Outcome {
	case gate.PassHello:
		p.Hello(k.Data)
	case gate.PassData:
		if !w.Paused && p.Server != nil {
			h, body := p.parse(k.Data)
			var block wire.AckBlock
			body, err := w.cfg.Profile.ParseBlock(&h, p.Server.SACK(), body, &block)
			must(err)
			if wire.SeqLess(p.replayHigh, h.Sequence) {
				p.replayHigh = h.Sequence
			}
			p.Server.MarkedUnreliable(h, body, k.Marked, w.Net.Now())
		}
	case gate.PassReset:
		if !w.Paused && p.Server != nil {
			h, body := p.parse(k.Data)
			why, err := w.cfg.Profile.ParseReset(&h, body, w.Regions.Flow(p.Server.Owner.(uint32)).Info().Token)
			must(err)
			p.Server.Reset(why)
		}
	default:
	}
	if len(r.Reply) > 0 {
		p.Down.Send(r.Reply)
	}
	w.SchedulePass()
}

// parse reads what the gate let through.
func (p *Peer) parse(packet []byte) (wire.Header, []byte) {
	h, body, err := p.world.cfg.Profile.ParseHeader(packet)
	must(err)
	p.world.cfg.Profile.Expand(&h, wire.Reference{
		Reliable: p.Server.RcvNxt(), Unreliable: p.replayHigh,
		Ack: p.world.Regions.Flow(p.Server.Owner.(uint32)).Ack(),
	})
	return h, body
}

// Hello opens a session for a HELLO that the gate let through. That of a
// client that started again replaces the old one.
func (p *Peer) Hello(packet []byte) {
	w := p.world
	if w.Paused {
		return
	}
	h, body, _ := w.cfg.Profile.ParseHeader(packet)
	opts, err := wire.ParseHello(body)
	// One that comes late or twice must not bring a former session back.
	if err != nil || p.isns[h.Sequence-1] {
		return
	}
	p.isns[h.Sequence-1] = true
	if p.Server != nil {
		p.Server.Reset(wire.ReasonSuperseded)
		p.Settle(p.Server)
		w.Regions.Flow(p.Server.Owner.(uint32)).Free()
	}
	now, slot := w.Net.Now(), w.opened
	w.opened++
	o := session.Opening{
		ID: uint64(w.opened), Key: p.Key, ClientISN: h.Sequence - 1, ServerISN: h.Ack - 1,
		Token:  w.cfg.Profile.ResetToken(opts.Cookie),
		Window: h.Window, Timestamp: h.Timestamp, SACK: opts.SACK, MTU: opts.MTU,
		Control: opts.HasControl, MaxHeld: opts.Control,
	}
	p.Server = session.NewServer(p.server(), o, now)
	p.Server.Owner = slot
	w.byID[o.ID] = p
	w.Regions.Flow(slot).Open(&commit.FlowInfo{
		ID: o.ID, Key: o.Key, ClientISN: o.ClientISN, ServerISN: o.ServerISN, Token: o.Token, SndNxt: p.Server.SndNxt(), Opened: now,
	}, h.Window)
	init := gate.SessionInit{ID: o.ID, Slot: slot, ClientISN: o.ClientISN, ServerISN: o.ServerISN, Token: o.Token}
	p.replayHigh = o.ClientISN
	if p.Server.SACK() {
		init.Features = gate.FeatureSACK
	}
	must(w.Gate.Create(p.Key, init))
	w.SchedulePass()
}

// server returns the configuration of a server's session.
func (p *Peer) server() session.Config {
	cfg := p.ServerConfig
	cfg.Profile = p.world.cfg.Profile
	cfg.Message = func(_ *session.Session, m session.Message) { p.OnServer(m) }
	cfg.Release = p.world.release
	cfg.ReceiveWindow = p.world.room
	if w := p.world; w.Transfers != nil {
		cfg.Memory, cfg.Reassembly = w.Transfers, w.Regions.Geometry().LargestTransfer()/2
	}
	return cfg
}

// Recover does what a starting process does with a session that a dead one
// left: it becomes Server, with what the gate had committed.
func (p *Peer) Recover() {
	w := p.world
	slot := p.Server.Owner.(uint32)
	info := w.Regions.Flow(slot).Info()
	held := w.RecoverRings()
	if w.Transfers != nil {
		w.Transfers = w.Regions.Transfers(0)
	}
	p.Server = session.NewRecovered(p.server(), session.Recovery{
		ID: info.ID, Key: info.Key, ClientISN: info.ClientISN, ServerISN: info.ServerISN, Token: info.Token, SndNxt: info.SndNxt,
	}, w.Net.Now())
	p.Server.Owner = slot
	p.adopt()
	for ring, left := range held {
		for _, idx := range left {
			w.committed(ring, idx, w.Readers[ring].Slot(idx))
		}
	}
}

// adopt gives Server the large messages that a former process left, and frees
// what is of no use to it.
func (p *Peer) adopt() {
	if p.world.Transfers == nil {
		return
	}
	for t := range p.world.Transfers.Recover() {
		if t.Session != p.Server.ID() || !p.Server.Adopt(t) {
			p.world.Transfers.Free(t.Handle)
		}
	}
}

// Settle ends the draining of a session of the peer: the gate forgets it, and
// what it committed is handed over.
func (p *Peer) Settle(s *session.Session) {
	p.world.Gate.Delete(p.Key)
	p.world.Drain()
	s.FlushHeld()
}

// room is what the server advertises.
func (w *World) room() int {
	room := w.Readers[0].Free()
	for _, r := range w.Readers[1:] {
		room = min(room, r.Free())
	}
	return room
}

func (w *World) release(s *session.Session, r session.Ref) {
	flow := w.Regions.Flow(s.Owner.(uint32))
	flow.SetReleased(flow.Released() + 1)
	if !w.Readers[r>>32].Release(uint32(r)) {
		panic(fmt.Sprintf("simworld: slot %x released twice", r))
	}
}

// SchedulePass lets the worker run soon. It is called after each use of a
// Server.
func (w *World) SchedulePass() {
	at := w.Net.Now()
	if w.cfg.WorkerDelay > 0 {
		at += w.Net.Rand().Uint64N(uint64(w.cfg.WorkerDelay))
	}
	w.passBy(at)
}

func (w *World) passBy(at uint64) {
	if at < w.pass.When() {
		w.pass.Set(at)
	}
}

// work is one pass of a worker.
func (w *World) work() {
	if w.Paused {
		return
	}
	w.Drain()
	w.Regions.TakeDirty(0, func(uint32) {})
	next := reliability.Never
	for _, p := range w.peers {
		if p.Server != nil {
			p.serve()
			next = min(next, p.Server.NextTimeout())
		}
	}
	w.passBy(next)
}

// serve is what a pass does for one session.
func (p *Peer) serve() {
	w, s, now := p.world, p.Server, p.world.Net.Now()
	flow := w.Regions.Flow(s.Owner.(uint32))
	if state, ok := flow.Load(); ok {
		s.AckState(state, now)
	}
	s.Tick(now)
	if s.State() == session.Draining {
		p.Settle(s)
	}
	for n := s.Fill(w.buf[:], now); n > 0; n = s.Fill(w.buf[:], now) {
		flow.SetSndNxt(s.SndNxt())
		p.Down.Send(w.buf[:n])
	}
	if s.State() == session.Closed {
		w.Gate.Delete(p.Key)
	}
}

// Drain hands the committed packets to their sessions.
func (w *World) Drain() {
	for ring, r := range w.Readers {
		for slot, idx, ok := r.Next(); ok; slot, idx, ok = r.Next() {
			w.committed(ring, idx, slot)
		}
	}
}

func (w *World) committed(ring int, idx uint32, slot *commit.Slot) {
	p := w.byID[slot.SessionID]
	if p == nil || p.Server.ID() != slot.SessionID {
		w.Readers[ring].Release(idx)
		return
	}
	ref := session.Ref(ring)<<32 | session.Ref(idx)
	p.Server.Committed(ref, slot.Sequence, wire.Flags(slot.Flags), slot.Body(), w.Net.Now())
}
