package bots

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/worker"
)

// newServer runs the game over UDP sockets of the loopback interface and
// returns its address. handler makes what runs on the worker.
func newServer(t *testing.T, handler func(*worker.Worker) worker.Handler) string {
	t.Helper()
	return newServerWith(t, handler, 512<<10)
}

// newServerWith is newServer with what is granted in option CONTROL.
func newServerWith(t *testing.T, handler func(*worker.Worker) worker.Handler, control uint32) string {
	t.Helper()
	regions, err := commit.NewMemory(commit.Geometry{
		Workers: 1, CPUs: 1, Slots: 1024, MaxSessions: 256, TransferBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1}, {K0: 2}}}
	g, err := gate.New(gate.Config{Features: gate.FeatureSACK, ControlBytes: control}, regions, keys)
	if err != nil {
		t.Fatal(err)
	}
	local := netip.MustParseAddr("127.0.0.1")
	sockets, err := transport.ListenUDP(transport.UDPOptions{Address: local, Ports: []uint16{0}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := worker.NewGroup([]worker.Options{{
		Regions: regions, Transport: sockets[0], Gate: g, NoPin: true,
		Handler: handler, Logger: zerolog.Nop(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return sockets[0].Addrs()[0].String()
}

func play(t *testing.T, opts Options) Result {
	t.Helper()
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBotsClean(t *testing.T) {
	address := newServer(t, worker.Game(plaza.Options()))
	r := play(t, Options{Server: address, Bots: 12, Rooms: 2, Duration: time.Second, Rate: 30})
	if !r.Clean {
		t.Errorf("not clean: %+v", r)
	}
	if r.Sent < 12*20 || r.Expected != r.Sent*6 {
		t.Errorf("%d messages sent, %d deliveries expected, want at least %d and six for each", r.Sent, r.Expected, 12*20)
	}
	if r.Positions < 12*10 {
		t.Errorf("%d positions seen, want more", r.Positions)
	}
	if r.Plans != 12 || r.Returned != 12 {
		t.Errorf("%d plans sent and %d returned, want one of each bot", r.Plans, r.Returned)
	}
}

// A server that takes nothing larger than a packet gets plans that fit one.
func TestBotsCleanWithoutLargeMessages(t *testing.T) {
	address := newServerWith(t, worker.Game(plaza.Options()), 0)
	r := play(t, Options{Server: address, Bots: 3, Duration: 500 * time.Millisecond})
	if !r.Clean || r.Returned != 3 {
		t.Errorf("not clean, or plans are missing: %+v", r)
	}
}

// lossy loses one datagram in ten in either direction.
type lossy struct {
	net.Conn
	down, up *rand.Rand // Read and Write run at the same time
}

func dialLossy(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	return &lossy{conn, rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(1, 2))}, nil
}

func (l *lossy) Read(b []byte) (int, error) {
	for {
		n, err := l.Conn.Read(b)
		if err != nil || l.down.IntN(10) != 0 {
			return n, err
		}
	}
}

func (l *lossy) Write(b []byte) (int, error) {
	if l.up.IntN(10) == 0 {
		return len(b), nil
	}
	return l.Conn.Write(b)
}

func TestBotsCleanUnderLoss(t *testing.T) {
	address := newServer(t, worker.Game(plaza.Options()))
	r := play(t, Options{
		Server: address, Bots: 6, Duration: time.Second, Rate: 30,
		Client: client.Options{DialUDP: dialLossy, CloseTimeout: 10 * time.Second},
	})
	if !r.Clean {
		t.Errorf("not clean: %+v", r)
	}
	if r.Retransmitted == 0 {
		t.Error("nothing was sent again: nothing was lost")
	}
}

// sabotage is the game, but for what it does to some messages.
type sabotage struct {
	worker.Handler
	plans  bool // of builds, else of all others
	count  atomic.Uint32
	meddle func(n uint32, s *worker.Session, m session.Message, relay func(session.Message))
}

func (h *sabotage) Message(s *worker.Session, m session.Message) {
	if !m.Mode.Reliable() || m.Channel == 0 || (m.Type == plaza.TypeBuild) != h.plans {
		h.Handler.Message(s, m)
		return
	}
	h.meddle(h.count.Add(1), s, m, func(m session.Message) { h.Handler.Message(s, m) })
}

// A server that breaks a promise once is found out. On a busy machine more may
// be late than what never comes.
func TestBotsFindFaults(t *testing.T) {
	tests := []struct {
		name   string
		plans  bool
		meddle func(n uint32, s *worker.Session, m session.Message, relay func(session.Message))
		found  func(r Result) bool
	}{
		{
			name: "lost",
			meddle: func(n uint32, _ *worker.Session, m session.Message, relay func(session.Message)) {
				if n != 5 {
					relay(m)
				}
			},
			found: func(r Result) bool { return r.Faults.Lost >= 3 && r.Faults == Faults{Lost: r.Faults.Lost} },
		},
		{
			name: "twice",
			meddle: func(n uint32, _ *worker.Session, m session.Message, relay func(session.Message)) {
				relay(m)
				if n == 5 {
					relay(m)
				}
			},
			found: func(r Result) bool { return r.Faults == Faults{Lost: r.Faults.Lost, Duplicated: 3} },
		},
		{
			name: "corrupted",
			meddle: func(n uint32, _ *worker.Session, m session.Message, relay func(session.Message)) {
				if n == 5 {
					m.Payload = append([]byte(nil), m.Payload...)
					m.Payload[5] ^= 1
				}
				relay(m)
			},
			found: func(r Result) bool { return r.Faults == Faults{Lost: r.Faults.Lost, Corrupted: 3} },
		},
		{
			name: "plan_lost", plans: true,
			meddle: func(n uint32, _ *worker.Session, m session.Message, relay func(session.Message)) {
				if n != 2 {
					relay(m)
				}
			},
			found: func(r Result) bool {
				return r.Faults.Lost >= 1 && r.Faults == Faults{Lost: r.Faults.Lost} && r.Returned < r.Plans
			},
		},
		{
			name: "plan_corrupted", plans: true,
			meddle: func(n uint32, _ *worker.Session, m session.Message, relay func(session.Message)) {
				if n == 2 {
					m.Payload = append([]byte(nil), m.Payload...)
					m.Payload[20_000] ^= 1
				}
				relay(m)
			},
			found: func(r Result) bool { return r.Faults == Faults{Lost: r.Faults.Lost, Corrupted: 1} },
		},
		{
			name: "kicked",
			meddle: func(n uint32, s *worker.Session, m session.Message, relay func(session.Message)) {
				relay(m)
				if n == 5 {
					s.Close(client.Reason(8))
				}
			},
			found: func(r Result) bool { return r.Disconnected == 1 && r.Reasons["kicked"] == 1 },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address := newServer(t, func(w *worker.Worker) worker.Handler {
				return &sabotage{Handler: worker.Game(plaza.Options())(w), plans: tt.plans, meddle: tt.meddle}
			})
			r := play(t, Options{
				Server: address, Bots: 3, Duration: 500 * time.Millisecond, Rate: 50,
				DrainTimeout: 300 * time.Millisecond,
			})
			if r.Clean || !tt.found(r) {
				t.Errorf("not found out: %+v", r)
			}
		})
	}
}
