package worker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/internal/monotime"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// serve runs a group over UDP on the loopback interface.
func serve(t *testing.T, workers int, handler func(*Worker) Handler) (*Group, netip.AddrPort) {
	t.Helper()
	regions, err := commit.NewMemory(commit.Geometry{Workers: workers, CPUs: 1, Slots: 256, MaxSessions: 64 * workers})
	if err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	port := freePort(t)
	sockets, err := transport.ListenUDP(transport.UDPOptions{Address: loopback, Ports: []uint16{port}, Workers: workers})
	if err != nil {
		t.Fatal(err)
	}
	var options []Options
	for i := range workers {
		g, err := gate.New(gate.Config{Features: gate.FeatureSACK}, regions, gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1}, {K0: 2}}})
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, Options{
			Index: i, Regions: regions, Transport: sockets[i], Gate: g, Handler: handler, NoPin: true, Logger: zerolog.Nop(),
		})
	}
	group, err := NewGroup(options)
	if err != nil {
		t.Fatal(err)
	}
	group.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = group.Shutdown(ctx)
		for _, s := range sockets {
			_ = s.Close()
		}
	})
	return group, netip.AddrPortFrom(loopback, port)
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// caller is a client on a real socket, driven by the test.
type caller struct {
	t      *testing.T
	conn   *net.UDPConn
	engine *session.Session
	got    []session.Message
	buf    [2048]byte
}

func call(t *testing.T, to netip.AddrPort) *caller {
	t.Helper()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &caller{t: t, conn: conn}
	cfg := session.Config{Message: func(_ *session.Session, m session.Message) {
		m.Payload = slices.Clone(m.Payload)
		c.got = append(c.got, m)
	}}
	c.engine = session.NewClient(cfg, uint32(monotime.Now()), monotime.Now())
	return c
}

// step sends what is to be sent and waits a little for an answer.
func (c *caller) step() {
	for n := c.engine.Fill(c.buf[:], monotime.Now()); n > 0; n = c.engine.Fill(c.buf[:], monotime.Now()) {
		// A server that is gone refuses; the session's timeout says so.
		_, _ = c.conn.Write(c.buf[:n])
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(2 * time.Millisecond)); err != nil {
		c.t.Fatal(err)
	}
	for {
		n, err := c.conn.Read(c.buf[:])
		if err != nil {
			break
		}
		_ = c.engine.Packet(c.buf[:n], monotime.Now())
	}
	c.engine.Tick(monotime.Now())
}

// until steps every caller until cond holds.
func until(t *testing.T, what string, cond func() bool, callers ...*caller) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
		for _, c := range callers {
			c.step()
		}
	}
}

func TestGroupOverUDP(t *testing.T) {
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint("workers_", workers), func(t *testing.T) {
			group, addr := serve(t, workers, Game(plaza.Options()))
			var all []*caller
			for range 6 {
				all = append(all, call(t, addr))
			}
			until(t, "opening", func() bool {
				return !slices.ContainsFunc(all, func(c *caller) bool { return c.engine.State() != session.Open })
			}, all...)
			has := func(typ uint8, n int) func() bool {
				return func() bool {
					return !slices.ContainsFunc(all, func(c *caller) bool {
						count := 0
						for _, m := range c.got {
							if m.Type == typ {
								count++
							}
						}
						return count < n
					})
				}
			}
			for _, c := range all {
				if err := c.engine.Send(session.ReliableOrdered, 0, message.TypeConnect, connect(t, 1)); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "the answer to Connect", has(message.TypeConnected, 1), all...)
			for n := range uint32(5) {
				for _, c := range all {
					if err := c.engine.Send(session.ReliableOrdered, 1, plaza.TypeChat, plaza.Chat{Number: n, Text: []byte("x")}.AppendTo(nil)); err != nil {
						t.Fatal(err)
					}
				}
			}
			until(t, "the chat", has(plaza.TypeChatFrom, 5*len(all)), all...)

			var seen atomic.Int32
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if err := group.Each(ctx, func(w *Worker) { seen.Add(int32(len(w.Sessions()))) }); err != nil {
				t.Fatal(err)
			}
			if got := seen.Load(); got != int32(len(all)) {
				t.Errorf("%d sessions, want %d", got, len(all))
			}

			ended := make(chan error, 1)
			go func() { ended <- group.Shutdown(ctx) }()
			// Clients go on: the server waits for their acknowledgements.
			start := time.Now()
			until(t, "the end", func() bool {
				select {
				case err := <-ended:
					if err != nil {
						t.Error(err)
					}
					return true
				default:
					return false
				}
			}, all...)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("shutting down took %v", took)
			}
			for _, c := range all {
				if c.engine.Reason() != wire.ReasonShuttingDown {
					t.Errorf("client was told %v", c.engine.Reason())
				}
			}
		})
	}
}

// A handler that panics ends the group with an error; the process decides what
// becomes of it.
func TestPanicEndsGroup(t *testing.T) {
	group, _ := serve(t, 2, Game(plaza.Options()))
	group.workers[1].Do(func() { panic("boom") })
	select {
	case <-group.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the group runs on")
	}
	if err := group.Err(); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("error %v", err)
	}
}

// onCPU is the time a thread has run, in nanoseconds.
func onCPU(t *testing.T, thread int) (ns uint64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/schedstat", thread))
	if err != nil {
		t.Skipf("no scheduler statistics: %v", err)
	}
	if _, err := fmt.Sscan(string(text), &ns); err != nil {
		t.Fatal(err)
	}
	return ns
}

// An idle server sleeps: without sessions for good, with an idle one between
// signs of life and the rounds of its room. The bound is many times what a quiet
// machine shows.
func TestIdleCPU(t *testing.T) {
	const bound = 0.01
	group, addr := serve(t, 1, Game(plaza.Options()))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	thread := 0
	if err := group.Each(ctx, func(*Worker) { thread = threadID() }); err != nil {
		t.Fatal(err)
	}
	share := func(what string, d time.Duration) {
		t.Helper()
		runtime.GC()
		before := onCPU(t, thread)
		time.Sleep(d)
		if got := float64(onCPU(t, thread)-before) / float64(d); got > bound {
			t.Errorf("%s the worker used %.2f%% of a CPU", what, got*100)
		} else {
			t.Logf("%s: %.3f%% of a CPU", what, got*100)
		}
	}
	share("without sessions", time.Second)
	c := call(t, addr)
	until(t, "opening", func() bool { return c.engine.State() == session.Open }, c)
	share("with an idle session", time.Second)
	send := func(mode session.Mode, typ uint8, payload []byte) {
		if err := c.engine.Send(mode, 0, typ, payload); err != nil {
			t.Fatal(err)
		}
	}
	send(session.ReliableOrdered, message.TypeConnect, connect(t, 1))
	until(t, "the answer to Connect", func() bool { return len(c.got) > 0 }, c)
	send(session.Unreliable, plaza.TypePosition, plaza.Position{}.AppendTo(nil))
	c.step()
	share("with a player that stands still", time.Second)
}
