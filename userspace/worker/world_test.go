package worker

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	startTime = uint64(time.Hour)
	ms        = uint64(time.Millisecond)

	// worldTransfers is a worker's memory for large messages in bytes.
	worldTransfers = 1 << 20
)

var serverAddr = netip.MustParseAddrPort("192.0.2.2:9000")

// world is workers and clients joined by pipes in virtual time: the real gate,
// rings, sessions and worker, without threads and sockets.
type world struct {
	worked  []uint64 // ns of work by worker, which only its Clock shows
	t       testing.TB
	net     *simnet.Network
	regions *commit.Regions
	gates   []*gate.Gate
	group   *Group
	lanes   []*memoryLane
	passAt  []uint64 // planned, 0 when none is
	stalled bool     // workers do not run, gates do
	clients []*peer
	byKey   map[wire.Key]*peer
	link    simnet.Link
	handler func(w *Worker) Handler
	config  session.Config
	profile wire.Profile
	budget  int
	log     zerolog.Logger

	// kernel keeps the gates' sessions when workers are replaced, as a gate in
	// the kernel does.
	kernel bool

	// passedTo takes what a gate in the kernel redirects, as the host's stack
	// delivers it: unlabelled. nil: the worker's AF_XDP socket takes it.
	passedTo *memoryLane

	// onOutcome sees what the gate decided.
	onOutcome func(p *peer, packet []byte, out gate.Outcome)
}

type worldConfig struct {
	seed    uint64
	workers int
	slots   int
	max     int // sessions
	link    simnet.Link
	handler func(w *Worker) Handler
	config  session.Config
	kernel  bool
	profile wire.Profile
	budget  int // of a session, 0: the default
	log     zerolog.Logger
}

func newWorld(t testing.TB, c worldConfig) *world {
	t.Helper()
	c.workers = max(c.workers, 1)
	if c.slots == 0 {
		c.slots = 1024
	}
	if c.max == 0 {
		c.max = 64 * c.workers
	}
	w := &world{
		t: t, net: simnet.New(c.seed, startTime), byKey: map[wire.Key]*peer{},
		link: c.link, handler: c.handler, config: c.config, kernel: c.kernel,
		profile: c.profile, budget: c.budget, log: c.log, worked: make([]uint64, c.workers),
	}
	g := commit.Geometry{
		Workers: c.workers, CPUs: 1, Slots: c.slots, MaxSessions: c.max, TransferBytes: worldTransfers,
	}
	var err error
	if w.regions, err = commit.NewMemory(g); err != nil {
		t.Fatal(err)
	}
	for i := range c.workers {
		w.gates = append(w.gates, w.newGate())
		w.lanes = append(w.lanes, &memoryLane{world: w, worker: i})
	}
	w.passAt = make([]uint64, c.workers)
	w.start()
	return w
}

func (w *world) newGate() *gate.Gate {
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1, K1: 2}, {K0: 3, K1: 4}}}
	g, err := gate.New(gate.Config{
		Features: gate.FeatureSACK, SessionBudget: w.budget, CompactPorts: w.compactPorts(),
		ControlBytes: Reassembly(w.regions.Geometry()),
	}, w.regions, keys)
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

func (w *world) compactPorts() []uint16 {
	if w.profile == wire.Compact {
		return []uint16{serverAddr.Port()}
	}
	return nil
}

// start makes the workers, as a starting process does.
func (w *world) start() {
	var options []Options
	for i := range w.lanes {
		o := Options{
			Index: i, Regions: w.regions, Transport: w.lanes[i], Handler: w.handler, NoPin: true,
			Session: w.config, Clock: func() uint64 { return w.net.Now() + w.worked[i] }, Logger: w.log, SessionBudget: w.budget,
			CompactPorts: w.compactPorts(),
		}
		if w.kernel {
			o.Sessions = ownGate{w.gates[i]}
			o.Fallback = &memoryLane{world: w, worker: i}
		} else {
			o.Gate = w.gates[i]
		}
		options = append(options, o)
	}
	var err error
	if w.group, err = NewGroup(options); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.group.close)
	for i, k := range w.group.workers {
		k.now = w.net.Now()
		if err := k.takeOver(); err != nil {
			w.t.Fatal(err)
		}
		w.passBy(i, w.net.Now())
	}
}

// crash abandons the workers where they are, and with them the gates unless
// these are in the kernel. What was received and not looked at is gone.
func (w *world) crash() {
	for i, lane := range w.lanes {
		lane.inbound = nil
		lane.queued = nil
		if !w.kernel {
			w.gates[i] = w.newGate()
		}
	}
	w.group = nil
}

// passBy plans a pass of a worker.
func (w *world) passBy(worker int, at uint64) {
	if at == reliability.Never || w.passAt[worker] != 0 && w.passAt[worker] <= at {
		return
	}
	w.passAt[worker] = at
	w.net.At(at, func() {
		if w.passAt[worker] != at {
			return
		}
		w.passAt[worker] = 0
		if !w.stalled && w.group != nil {
			w.pass(worker)
		}
	})
}

func (w *world) pass(worker int) {
	k := w.group.workers[worker]
	if !w.survives(k) {
		w.crash()
		return
	}
	for i, other := range w.group.workers {
		if other.hasMail() {
			w.passBy(i, w.net.Now())
		}
	}
	w.passBy(worker, k.nextDeadline())
}

// crashed is what a handler panics with to have the process die there.
type crashed struct{}

// survives makes passes until there is nothing to do, and is false when the
// process died within.
func (w *world) survives(k *Worker) (alive bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(crashed); !ok {
				panic(p)
			}
			alive = false
		}
	}()
	for k.pass(w.net.Now()) {
		if k.failure != nil {
			w.t.Fatal(k.failure)
		}
	}
	return true
}

// resume lets stalled workers run again.
func (w *world) resume() {
	w.stalled = false
	for i := range w.lanes {
		w.passBy(i, w.net.Now())
	}
}

func (w *world) run(d time.Duration) { w.net.Run(w.net.Now() + uint64(d)) }

// until runs the world until cond holds.
func (w *world) until(limit time.Duration, what string, cond func() bool) {
	w.t.Helper()
	end := w.net.Now() + uint64(limit)
	for !cond() {
		if !w.net.Step(end) {
			var clients string
			for i, p := range w.clients {
				clients += fmt.Sprintf("\nclient %d: %v (%v) %+v", i, p.engine.State(), p.engine.Reason(), p.engine.Stats())
			}
			w.t.Fatalf("%s did not happen in %v%s", what, limit, clients)
		}
	}
}

// memoryLane is the transport of one worker.
type memoryLane struct {
	world   *world
	worker  int
	inbound []transport.Datagram
	queued  []outgoing
	current wire.Key
	buf     [wire.MaxDatagramLimit]byte
	limit   int // packets queued at most, 0: any number
	stuck   bool
	serves  func(wire.Key) bool // nil: everybody
	free    [][]byte
	seen    int // handed out by Receive, to be given back by Release
}

type outgoing struct {
	key    wire.Key
	packet []byte
}

func (l *memoryLane) Receive(ds []transport.Datagram) (int, error) {
	n := copy(ds, l.inbound)
	l.seen += n
	l.inbound = append(l.inbound[:0], l.inbound[n:]...)
	return n, nil
}

func (l *memoryLane) Route(d *transport.Datagram, r *transport.Route) { r.Key = d.Key }

func (l *memoryLane) Release() { l.seen = 0 }

func (l *memoryLane) Buffer(r *transport.Route) []byte {
	if l.stuck || l.limit > 0 && len(l.queued) >= l.limit || l.serves != nil && !l.serves(r.Key) {
		return nil
	}
	l.current = r.Key
	return l.buf[:]
}

func (l *memoryLane) Commit(n int) {
	var b []byte
	if last := len(l.free) - 1; last >= 0 {
		b, l.free = l.free[last], l.free[:last]
	}
	l.queued = append(l.queued, outgoing{l.current, append(b[:0], l.buf[:n]...)})
}

func (l *memoryLane) Flush() error {
	for _, o := range l.queued {
		if p := l.world.byKey[o.key]; p != nil {
			p.down.Send(o.packet)
		}
		l.free = append(l.free, o.packet)
	}
	l.queued = l.queued[:0]
	return nil
}

func (l *memoryLane) FDs() []int             { return nil }
func (l *memoryLane) Stats() transport.Stats { return transport.Stats{} }
func (l *memoryLane) Close() error           { return nil }

// peer is a client.
type peer struct {
	world    *world
	number   int
	key      wire.Key
	worker   int // whose lane its packets come to
	engine   *session.Session
	up, down *simnet.Pipe
	wake     uint64
	got      []session.Message        // with payloads of their own
	acked    map[uint32]bool          // reliable sequences the server acknowledged in this session
	ackedTo  uint32                   // and everything up to here
	lose     func(h wire.Header) bool // on the way up; nil: nothing more than the link does
	onGot    func(m session.Message)
	onUp     func(packet []byte) // of what reaches the server
	marked   bool                // it comes with Congestion Experienced
}

// dial adds a client. Its packets come to worker's lane.
func (w *world) dial(worker int) *peer {
	n := len(w.clients)
	p := &peer{world: w, number: n, worker: worker}
	client := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), uint16(5000+n/256))
	p.key = wire.MakeKey(client, serverAddr)
	p.up = w.net.NewPipe(w.link, func(k simnet.Packet) { p.atServer(k.Data) })
	p.down = w.net.NewPipe(w.link, func(k simnet.Packet) { p.atClient(k.Data) })
	w.clients = append(w.clients, p)
	w.byKey[p.key] = p
	p.connect()
	return p
}

// opened adds a client and waits until its session is open.
func (w *world) opened(worker int) *peer {
	w.t.Helper()
	p := w.dial(worker)
	w.until(time.Second, "opening", p.open)
	return p
}

// connect starts a new session from the client's port.
func (p *peer) connect() {
	cfg := session.Config{Profile: p.world.profile, Message: func(_ *session.Session, m session.Message) {
		if p.onGot != nil {
			p.onGot(m)
			return
		}
		m.Payload = append([]byte(nil), m.Payload...)
		p.got = append(p.got, m)
	}}
	p.wake = reliability.Never
	isn := p.world.profile.ClientSequence(p.world.net.Rand().Uint32())
	p.acked, p.ackedTo = map[uint32]bool{}, isn+1
	p.engine = session.NewClient(cfg, isn, p.world.net.Now())
	p.pump()
}

func (p *peer) open() bool { return p.engine.State() == session.Open }

// pump sends what the client has to send and sets its timer.
func (p *peer) pump() {
	net := p.world.net
	var buf [wire.MaxDatagramLimit]byte
	for n := p.engine.Fill(buf[:], net.Now()); n > 0; n = p.engine.Fill(buf[:], net.Now()) {
		p.up.Send(buf[:n])
	}
	if at := p.engine.NextTimeout(); at < p.wake {
		p.wake = at
		net.At(at, func() {
			if p.wake > net.Now() {
				return
			}
			p.wake = reliability.Never
			p.engine.Tick(net.Now())
			p.pump()
		})
	}
}

func (p *peer) atClient(packet []byte) {
	p.noteAcks(packet)
	// What a former session's server sent is dropped by the error.
	_ = p.engine.Packet(packet, p.world.net.Now())
	p.pump()
}

// noteAcks remembers what a packet of the server acknowledges.
func (p *peer) noteAcks(packet []byte) {
	h, body, err := p.world.profile.ParseHeader(packet)
	p.world.profile.Expand(&h, wire.Reference{Ack: p.ackedTo + 1})
	if err != nil || !p.world.profile.Verify(packet) || h.Flags&wire.FlagACK == 0 || h.Flags&(wire.FlagSYN|wire.FlagRST) != 0 {
		return
	}
	if h.Ack-1-p.ackedTo > wire.ReceiveWindow {
		return // older, or of another session
	}
	for p.ackedTo != h.Ack-1 {
		p.ackedTo++
		p.acked[p.ackedTo] = true
	}
	var block wire.AckBlock
	if _, err := p.world.profile.ParseBlock(&h, true, body, &block); err != nil {
		return
	}
	for i := range uint32(64 * block.Words) {
		if block.Bitmap[i/64]>>(i%64)&1 != 0 {
			p.acked[h.Ack+1+64*uint32(block.Offset)+i] = true
		}
	}
}

// atServer is the wire's end at the server: a gate in the kernel decides at
// once, one in the worker when that runs.
func (p *peer) atServer(packet []byte) {
	w := p.world
	if p.onUp != nil {
		p.onUp(packet)
	}
	if p.lose != nil {
		if h, _, err := wire.ParseHeader(packet); err == nil && p.lose(h) {
			return
		}
	}
	d := transport.Datagram{Payload: append([]byte(nil), packet...), Key: p.key, CE: p.marked}
	if w.kernel {
		var reply [gate.MaxReply]byte
		r := w.gates[p.worker].Datagram(p.key, packet, p.marked, w.net.Now(), 0, reply[:])
		if w.onOutcome != nil {
			w.onOutcome(p, packet, r.Outcome)
		}
		if len(r.Reply) > 0 {
			p.down.Send(r.Reply)
		}
		if v := r.Outcome.Verdict(); v != gate.Pass && v != gate.Redirect {
			if r.Outcome == gate.TXAck {
				w.passBy(p.worker, w.net.Now())
			}
			return
		}
		d.Gated = true
	}
	if w.group == nil {
		return
	}
	if w.passedTo != nil {
		d.Gated = false
		w.passedTo.inbound = append(w.passedTo.inbound, d)
		w.passBy(p.worker, w.net.Now())
		return
	}
	w.lanes[p.worker].inbound = append(w.lanes[p.worker].inbound, d)
	w.passBy(p.worker, w.net.Now())
}

// send queues a message and sends it.
func (p *peer) send(mode session.Mode, channel, typ uint8, payload []byte) error {
	err := p.engine.Send(mode, channel, typ, payload)
	p.pump()
	return err
}

// number encodes a counter as a payload.
func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// recorder is a handler that keeps what it is told.
type recorder struct {
	worker   *Worker
	opened   []uint64
	restored []uint64 // of these, recovered
	closed   map[uint64]wire.Reason
	messages []record
	ticks    int
	last     *Session // opened last

	onMessage func(s *Session, m session.Message)
}

type record struct {
	session  uint64
	sequence uint32
	mode     session.Mode
	channel  uint8
	number   uint32
}

func (r *recorder) Open(s *Session) {
	r.opened = append(r.opened, s.ID())
	r.last = s
	if s.Recovered() {
		r.restored = append(r.restored, s.ID())
	}
}

func (r *recorder) Message(s *Session, m session.Message) {
	if _, over := r.closed[s.ID()]; over {
		panic("message after the session's end")
	}
	if r.onMessage != nil {
		r.onMessage(s, m)
	}
	rec := record{s.ID(), m.Sequence, m.Mode, m.Channel, 0}
	if len(m.Payload) >= 4 {
		rec.number = binary.BigEndian.Uint32(m.Payload)
	}
	r.messages = append(r.messages, rec)
}

func (r *recorder) Close(s *Session, why wire.Reason) {
	if _, twice := r.closed[s.ID()]; twice {
		panic("session closed twice")
	}
	r.closed[s.ID()] = why
}

func (r *recorder) Tick(uint64) { r.ticks++ }

// recording returns a handler factory and the recorder that it makes last.
func recording() (func(w *Worker) Handler, **recorder) {
	r := new(*recorder)
	return func(w *Worker) Handler {
		*r = &recorder{worker: w, closed: map[uint64]wire.Reason{}}
		return *r
	}, r
}
