package client

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/internal/monotime"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// backend is a server of gate and sessions without network or clock. It
// answers every message with itself.
type backend struct {
	tb        testing.TB
	regions   *commit.Regions
	gate      *gate.Gate
	reader    *commit.Reader
	transfers *commit.Transfers
	peers     map[wire.Key]*peer
	slots     []*peer
	ids       uint64
	full      bool // refuses new sessions
	message   func(*session.Session, session.Message)
	send      func(key wire.Key, packet []byte)
	reply     [gate.MaxReply]byte
	out       [2048]byte
}

// maxHeld is what a backend holds of a session's unfinished large messages, in
// bytes.
const maxHeld = 2 << 20

type peer struct {
	*session.Session
	key  wire.Key
	slot uint32
}

func newBackend(tb testing.TB, send func(wire.Key, []byte)) *backend {
	tb.Helper()
	const sessions = 64
	regions, err := commit.NewMemory(commit.Geometry{
		Workers: 1, CPUs: 1, Slots: 256, MaxSessions: sessions, TransferBytes: 4 << 20,
	})
	if err != nil {
		tb.Fatal(err)
	}
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1, K1: 2}, {K0: 3, K1: 4}}}
	g, err := gate.New(gate.Config{Features: gate.FeatureSACK, ControlBytes: maxHeld}, regions, keys)
	if err != nil {
		tb.Fatal(err)
	}
	b := &backend{
		tb: tb, regions: regions, gate: g, reader: regions.Reader(0),
		peers: make(map[wire.Key]*peer), slots: make([]*peer, sessions), send: send,
		transfers: regions.Transfers(0),
	}
	b.message = func(s *session.Session, m session.Message) {
		if err := s.Send(m.Mode, m.Channel, m.Type, m.Payload); err != nil {
			tb.Errorf("echo: %v", err)
		}
	}
	return b
}

// datagram takes what arrived from key.
func (b *backend) datagram(key wire.Key, payload []byte, now uint64) {
	r := b.gate.Datagram(key, payload, false, now, 0, b.reply[:])
	if len(r.Reply) > 0 {
		b.send(key, r.Reply)
	}
	p := b.peers[key]
	switch {
	case r.Outcome == gate.PassHello:
		b.hello(key, payload, now)
	case p == nil:
	case r.Outcome == gate.PassReset:
		_, body, err := wire.ParseHeader(payload)
		b.check(err)
		p.Reset(wire.Reason(body[0]))
	case r.Outcome == gate.PassData:
		h, body, err := wire.ParseHeader(payload)
		b.check(err)
		if p.SACK() {
			body, err = wire.ParseAckBlock(body, new(wire.AckBlock))
			b.check(err)
		}
		p.Unreliable(h, body, now)
	}
}

// check fails the test when the gate let something through that does not
// parse.
func (b *backend) check(err error) {
	if err != nil {
		b.tb.Errorf("gate passed a packet: %v", err)
	}
}

func (b *backend) hello(key wire.Key, payload []byte, now uint64) {
	h, body, err := wire.ParseHeader(payload)
	b.check(err)
	opts, err := wire.ParseHello(body)
	if err != nil {
		return
	}
	if b.full {
		b.send(key, session.AppendReset(nil, wire.Standard, h.Ack, h.Sequence+1, wire.ReasonFull, 0, now))
		return
	}
	if old := b.peers[key]; old != nil {
		b.forget(old)
	}
	slot := uint32(0)
	for b.slots[slot] != nil {
		slot++
	}
	b.ids++
	p := &peer{key: key, slot: slot, Session: session.NewServer(session.Config{
		Memory:     b.transfers,
		Reassembly: maxHeld,
		Message:    b.message,
		Release: func(_ *session.Session, ref session.Ref) {
			flow := b.regions.Flow(slot)
			flow.SetReleased(flow.Released() + 1)
			b.reader.Release(uint32(ref))
		},
	}, session.Opening{
		ID: b.ids, Key: key, ClientISN: h.Sequence - 1, ServerISN: h.Ack - 1,
		Window: h.Window, Timestamp: h.Timestamp, SACK: opts.SACK, MTU: opts.MTU,
		Control: opts.HasControl, MaxHeld: opts.Control,
	}, now)}
	b.regions.Flow(slot).Open(&commit.FlowInfo{
		ID: b.ids, Key: key, ClientISN: h.Sequence - 1, ServerISN: h.Ack - 1, SndNxt: p.SndNxt(), Opened: now,
	}, h.Window)
	init := gate.SessionInit{ID: b.ids, Slot: slot, ClientISN: h.Sequence - 1, ServerISN: h.Ack - 1}
	if p.SACK() {
		init.Features = gate.FeatureSACK
	}
	if err := b.gate.Create(key, init); err != nil {
		b.tb.Errorf("create session: %v", err)
	}
	b.peers[key], b.slots[slot] = p, p
}

// forget is a crash as far as one session is concerned.
func (b *backend) forget(p *peer) {
	b.gate.Delete(p.key)
	b.regions.Flow(p.slot).Free()
	delete(b.peers, p.key)
	b.slots[p.slot] = nil
}

// restart ends every session the way a new process does.
func (b *backend) restart(now uint64) {
	for _, p := range b.peers {
		p.Abort(wire.ReasonRestarted)
	}
	b.pass(now)
}

// pass is one turn of a worker.
func (b *backend) pass(now uint64) {
	for {
		slot, at, ok := b.reader.Next()
		if !ok {
			break
		}
		if p := b.slots[slot.SessionSlot]; p != nil && p.ID() == slot.SessionID {
			p.Committed(session.Ref(at), slot.Sequence, wire.Flags(slot.Flags), slot.Body(), now)
		} else {
			b.reader.Release(at)
		}
	}
	b.regions.TakeDirty(0, func(uint32) {})
	for _, p := range b.peers {
		flow := b.regions.Flow(p.slot)
		if state, ok := flow.Load(); ok {
			p.AckState(state, now)
		}
		p.Tick(now)
		p.FlushHeld()
		for {
			n := p.Fill(b.out[:], now)
			if n == 0 {
				break
			}
			flow.SetSndNxt(p.SndNxt())
			b.send(p.key, b.out[:n])
		}
		if p.State() == session.Closed {
			b.forget(p)
		}
	}
}

// testServer is a backend behind a UDP socket of the loopback interface.
type testServer struct {
	*backend
	socket *net.UDPConn
	mu     sync.Mutex // of the backend
	silent atomic.Bool
	done   chan struct{}
}

// newServer starts a server; address may be empty.
func newServer(t *testing.T, address string) *testServer {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	addr := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
	socket, err := net.ListenUDP("udp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{socket: socket, done: make(chan struct{})}
	s.backend = newBackend(t, func(key wire.Key, packet []byte) {
		if !s.silent.Load() {
			s.socket.WriteToUDPAddrPort(packet, key.ClientAddrPort())
		}
	})
	go s.run()
	t.Cleanup(s.stop)
	return s
}

func (s *testServer) address() string { return s.socket.LocalAddr().String() }

func (s *testServer) stop() {
	s.socket.Close()
	<-s.done
}

func (s *testServer) run() {
	defer close(s.done)
	local := s.socket.LocalAddr().(*net.UDPAddr).AddrPort()
	buf := make([]byte, 2048)
	for {
		s.socket.SetReadDeadline(time.Now().Add(time.Millisecond))
		n, from, err := s.socket.ReadFromUDPAddrPort(buf)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		s.mu.Lock()
		now := monotime.Now()
		if err == nil && !s.silent.Load() {
			s.datagram(wire.MakeKey(from, local), buf[:n], now)
		}
		s.pass(now)
		s.mu.Unlock()
	}
}

// do runs f while the server rests.
func (s *testServer) do(f func(now uint64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(monotime.Now())
}
