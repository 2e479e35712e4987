package worker

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// replay is a transport that brings prepared datagrams again and again, and
// takes what is sent to nowhere.
type replay struct {
	next []transport.Datagram
	sent int
	full bool
	buf  [wire.MaxDatagramLimit]byte
}

func (r *replay) Receive(ds []transport.Datagram) (int, error) {
	n := copy(ds, r.next)
	r.next = r.next[n:]
	return n, nil
}

func (r *replay) Route(d *transport.Datagram, to *transport.Route) { to.Key = d.Key }
func (r *replay) Release()                                         {}
func (r *replay) Commit(int)                                       { r.sent++ }
func (r *replay) Flush() error                                     { return nil }
func (r *replay) FDs() []int                                       { return nil }
func (r *replay) Stats() transport.Stats                           { return transport.Stats{} }
func (r *replay) Close() error                                     { return nil }

func (r *replay) Buffer(*transport.Route) []byte {
	if r.full {
		return nil
	}
	return r.buf[:]
}

// bench is one worker with one session whose client is written out by hand, so
// that each round trip is a fixed set of packets.
type bench struct {
	t        testing.TB
	now      uint64
	clocked  int
	lane     *replay
	worker   *Worker
	regions  *commit.Regions
	key      wire.Key
	seq, uns uint32
	session  *Session
	packets  [3][]byte
	in       [3]transport.Datagram
}

// echoing sends every message back.
type echoing struct{ last *Session }

func (e *echoing) Open(s *Session) { e.last = s }
func (e *echoing) Message(s *Session, m session.Message) {
	if err := s.Send(m.Mode, m.Channel, m.Type, m.Payload); err != nil {
		panic(err)
	}
}
func (e *echoing) Close(*Session, wire.Reason) {}
func (e *echoing) Tick(uint64)                 {}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{t: t, now: startTime, lane: new(replay)}
	var err error
	b.regions, err = commit.NewMemory(commit.Geometry{Workers: 1, CPUs: 1, Slots: 64, MaxSessions: 64})
	if err != nil {
		t.Fatal(err)
	}
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1}, {K0: 2}}}
	g, err := gate.New(gate.Config{Features: gate.FeatureSACK}, b.regions, keys)
	if err != nil {
		t.Fatal(err)
	}
	handler := new(echoing)
	group, err := NewGroup([]Options{{
		Regions: b.regions, Gate: g, Transport: b.lane, NoPin: true, Logger: zerolog.New(b),
		Handler: func(*Worker) Handler { return handler },
		Clock:   func() uint64 { b.clocked++; return b.now },
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(group.close)
	b.worker = group.workers[0]
	if err := b.worker.takeOver(); err != nil {
		t.Fatal(err)
	}

	// The handshake, as a client does it.
	w := newWorld(t, worldConfig{handler: func(*Worker) Handler { return new(echoing) }, link: simnet.Link{Delay: time.Millisecond}})
	b.key = w.dial(0).key
	const isn = 1000
	cookie := keys.Make(wire.Standard, &b.key, isn)
	opts := wire.Options{Cookie: cookie, HasCookie: true, SACK: true}
	b.deliver(wire.AppendHello(nil, isn, wire.CookieSequence(cookie), opts, b.now/1000))
	b.session = handler.last
	if b.session == nil {
		t.Fatal("no session opened")
	}
	b.seq, b.uns = isn+2, isn+1
	for i := range b.packets {
		b.packets[i] = make([]byte, 0, wire.MaxDatagram)
	}
	return b
}

// Write is the log, which nothing here may write to.
func (b *bench) Write(line []byte) (int, error) {
	b.t.Errorf("logged: %s", line)
	return len(line), nil
}

func (b *bench) deliver(packet []byte) {
	b.lane.next = []transport.Datagram{{Payload: packet, Key: b.key}}
	b.worker.pass(b.now)
}

// round is a reliable message, an unreliable one and an acknowledgement of all
// the server sent so far, and the worker's pass over them.
func (b *bench) round() {
	b.now += 1e6
	body := [...]byte{0, 1, 0, 0, 0, 0, 4, 'p', 'i', 'n', 'g'} // empty block, one message
	ack := b.session.flow.SndNxt()
	header := wire.Header{Ack: ack, Window: 1024, Timestamp: b.now / 1000}

	header.Sequence, header.Flags = b.seq, wire.FlagACK|wire.FlagPSH
	// Ordered ids count up; unordered ones need not.
	body[2] = wire.Unordered
	b.packets[0] = append(header.AppendTo(b.packets[0][:0]), body[:]...)
	header.Sequence, header.Flags = b.uns, wire.FlagACK
	b.packets[1] = append(header.AppendTo(b.packets[1][:0]), body[:]...)
	header.Sequence = b.seq + 1
	b.packets[2] = append(header.AppendTo(b.packets[2][:0]), 0)
	b.seq++
	b.uns++
	for i := range b.packets {
		wire.Seal(b.packets[i])
		b.in[i] = transport.Datagram{Payload: b.packets[i], Key: b.key}
	}
	b.lane.next = b.in[:]
	b.worker.pass(b.worker.opts.Clock())
}

func TestPassAllocatesNothing(t *testing.T) {
	b := newBench(t)
	for range 200 {
		b.round()
	}
	before := b.lane.sent
	if n := testing.AllocsPerRun(500, b.round); n != 0 {
		t.Errorf("allocations per round: got %v, want 0", n)
	}
	// An ACK of the gate, and both messages back.
	if got := b.lane.sent - before; got < 3*500 {
		t.Errorf("%d packets left in 500 rounds", got)
	}
	if b.session.engine.Over() {
		t.Errorf("session ended: %v", b.session.engine.Reason())
	}
}

// The clock is read once per pass, whatever the number of packets.
func TestPassReadsClockOnce(t *testing.T) {
	b := newBench(t)
	before := b.clocked
	b.round()
	if got := b.clocked - before; got != 1 {
		t.Errorf("clock read %d times", got)
	}
}

func BenchmarkPass(bb *testing.B) {
	b := newBench(bb)
	bb.ReportAllocs()
	for bb.Loop() {
		b.round()
	}
}
