package serve

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/cmd/xrudpd/config"
	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/worker"
	"github.com/xrudp/xrudp/userspace/xsk"
)

// settings are those of a small server in a lab.
func settings(t testing.TB, mode string) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Instance = fmt.Sprintf("test-%d", os.Getpid())
	cfg.Interface = lab.ServerInterface
	cfg.Mode = mode
	cfg.Workers = 1
	cfg.MaxSessions = 64
	cfg.CommitSlots = 256
	cfg.StateDir = t.TempDir()
	return cfg
}

// open opens a server inside the lab.
func open(t testing.TB, l *lab.Lab, cfg config.Config) (s *Server, err error) {
	t.Helper()
	t.Cleanup(func() { _ = loader.Remove(loader.DefaultPinRoot, cfg.Instance) })
	doErr := l.Server.Do(func() error {
		s, err = Open(cfg, worker.Game(plaza.Options()), zerolog.Nop())
		return nil
	})
	if doErr != nil {
		t.Fatal(doErr)
	}
	if err == nil {
		t.Cleanup(func() { _ = s.Close() }) // of a test that ends before finish
	}
	return s, err
}

// serve opens and starts a server that has to.
func serve(t testing.TB, l *lab.Lab, cfg config.Config) *Server {
	t.Helper()
	s, err := open(t, l, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	return s
}

// play connects from the client's side and has every kind of message echoed.
func play(t *testing.T, l *lab.Lab) {
	t.Helper()
	playFrom(t, l.Client, l.Server.IPv4)
}

func dial(ctx context.Context, t *testing.T, from lab.End, server netip.Addr) (conn *client.Conn) {
	t.Helper()
	err := from.Do(func() (err error) {
		conn, err = client.Dial(ctx, netip.AddrPortFrom(server, 7777).String(), client.Options{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func playFrom(t *testing.T, from lab.End, server netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn := dial(ctx, t, from, server)
	defer conn.Close()
	for _, mode := range []client.Mode{client.ReliableOrdered, client.Unreliable} {
		if err := conn.Send(mode, 0, plaza.TypeEcho, []byte("ping")); err != nil {
			t.Fatal(err)
		}
		m, err := conn.Receive(ctx)
		if err != nil || m.Type != plaza.TypeEchoed || m.Mode != mode || string(m.Payload) != "ping" {
			t.Fatalf("%v echo: %+v, %v", mode, m, err)
		}
	}
}

func finish(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestModes(t *testing.T) {
	tests := []struct {
		mode, want string
		afxdp      bool
	}{
		{config.ModeAuto, "native", true},
		{config.ModeXDP, "native", true},
		{config.ModeNative, "native", true},
		{config.ModeGeneric, "generic", true},
		{config.ModeUDP, "udp", false},
	}
	for _, tt := range tests {
		t.Run(tt.mode, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			cfg := settings(t, tt.mode)
			s, err := open(t, l, cfg)
			if err != nil {
				t.Fatal(err)
			}
			first := status(t, s)
			s.Start()
			play(t, l)
			now := status(t, s)
			r := s.Report()
			if r.Mode != tt.want || (r.AFXDP != "none") != tt.afxdp {
				t.Errorf("mode %q with AF_XDP %q, want %q: %v", r.Mode, r.AFXDP, tt.want, r.Reasons)
			}
			if tt.afxdp {
				if now.Gate[gate.TXAck] == 0 || now.Gate[gate.RedirectData] == 0 || now.Gate[gate.PassData] != 0 {
					t.Errorf("the program acknowledged %d, redirected %d and passed %d packets",
						now.Gate[gate.TXAck], now.Gate[gate.RedirectData], now.Gate[gate.PassData])
				}
			}
			if line := now.Line(first); !strings.Contains(line, "sessions ") {
				t.Errorf("status line %q", line)
			}
			finish(t, s)
			if _, err := os.Stat(filepath.Join(loader.DefaultPinRoot, cfg.Instance)); err == nil {
				t.Error("pins are left behind")
			}
		})
	}
}

// nowhere takes sockets and steers nothing to them.
type nowhere struct{}

func (nowhere) Register(_, _, _ int) error { return nil }

// With the queue's AF_XDP socket taken by another, the program stays and the
// rest comes through the host's stack.
func TestXDPWithoutAFXDP(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	err := l.Server.Do(func() error {
		other, err := xsk.New(xsk.Options{Interface: lab.ServerInterface})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = other.Close() })
		_, err = other.Bind(nowhere{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := settings(t, config.ModeAuto)
	s := serve(t, l, cfg)
	play(t, l)
	now := status(t, s)
	if r := s.Report(); r.Mode != "native" || r.AFXDP != "none" || len(r.Reasons) == 0 {
		t.Errorf("got %+v", r)
	}
	if now.Gate[gate.TXAck] == 0 || now.Gate[gate.PassData] == 0 || now.Gate[gate.RedirectData] != 0 {
		t.Errorf("the program acknowledged %d, redirected %d and passed %d packets",
			now.Gate[gate.TXAck], now.Gate[gate.RedirectData], now.Gate[gate.PassData])
	}
	finish(t, s)

	cfg.Require = []string{config.RequireXSK}
	if s, err := open(t, l, cfg); err == nil {
		finish(t, s)
		t.Error("opened without the AF_XDP sockets that are required")
	}
	if _, err := os.Stat(filepath.Join(loader.DefaultPinRoot, cfg.Instance)); err == nil {
		t.Error("pins are left behind by a server that did not start")
	}
}

// A server that cannot start leaves nothing, whatever it was to keep.
func TestFailedStartLeavesNothing(t *testing.T) {
	tests := []struct {
		name, message string
		change        func(*config.Config)
	}{
		{"port_taken", "address already in use", func(c *config.Config) { c.Listen = ":7778" }},
		{"zero_copy", "zero", func(c *config.Config) { c.Require = []string{config.RequireZeroCopy} }},
		{"cpu", "CPU 1023", func(c *config.Config) { c.CPUs = []int{1023} }},
	}
	l := labtest.New(t, lab.Options{})
	err := l.Server.Do(func() error {
		conn, err := net.ListenPacket("udp", ":7778")
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := settings(t, config.ModeNative)
			cfg.Keep = true
			tt.change(&cfg)
			if _, err := open(t, l, cfg); err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v", err)
			}
			if _, err := os.Stat(filepath.Join(loader.DefaultPinRoot, cfg.Instance)); err == nil {
				t.Error("pins are left behind")
			}
		})
	}
}

// A server over UDP that follows one over XDP takes the program off, which
// would go on answering handshakes with secrets of its own.
func TestUDPAfterXDP(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	cfg := settings(t, config.ModeNative)
	cfg.Keep = true
	s := serve(t, l, cfg)
	over := cfg
	over.Mode, over.Keep, over.Listen = config.ModeUDP, false, ":7779"
	if _, err := open(t, l, over); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("the same instance twice: %v", err)
	}
	finish(t, s)

	over.Listen = cfg.Listen
	s = serve(t, l, over)
	if w := s.Report().Warnings; len(w) != 1 || !strings.Contains(w[0], "detached") {
		t.Errorf("warnings %q", w)
	}
	play(t, l)
	finish(t, s)
	if _, err := os.Stat(filepath.Join(loader.DefaultPinRoot, cfg.Instance, "commit_slots")); err != nil {
		t.Errorf("what the program acknowledged is gone: %v", err)
	}
}

// One address is not served by a program that serves all of them.
func TestAddressMeansSockets(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	cfg := settings(t, config.ModeAuto)
	cfg.Listen = netip.AddrPortFrom(l.Server.IPv4, 7777).String()
	s := serve(t, l, cfg)
	play(t, l)
	if r := s.Report(); r.Mode != "udp" || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "address") {
		t.Errorf("got %+v", r)
	}
	finish(t, s)
}

// AF_XDP sockets reach as many queues as the program's map of them.
func TestManyQueues(t *testing.T) {
	if testing.Short() {
		t.Skip("closing so many sockets takes seconds")
	}
	l := labtest.New(t, lab.Options{Queues: loader.MaxQueues + 2})
	cfg := settings(t, config.ModeNative)
	s := serve(t, l, cfg)
	play(t, l)
	if r := s.Report(); r.AFXDP != "copy" || !slices.ContainsFunc(r.Warnings, func(w string) bool {
		return strings.Contains(w, "64 of 66 receive queues")
	}) {
		t.Errorf("got %+v", r)
	}
	finish(t, s)
	cfg.Require = []string{config.RequireXSK}
	if _, err := open(t, l, cfg); err == nil || !strings.Contains(err.Error(), "66 receive queues") {
		t.Errorf("AF_XDP sockets on every queue are required: %v", err)
	}
}

// On a loopback device the program acknowledges as anywhere, and the socket of
// the host's stack takes the place of AF_XDP.
func TestLoopback(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	cfg := settings(t, config.ModeXDP)
	cfg.Interface = "lo"
	s := serve(t, l, cfg)
	playFrom(t, l.Server, netip.MustParseAddr("127.0.0.1"))
	playFrom(t, l.Server, netip.IPv6Loopback())
	now := status(t, s)
	if r := s.Report(); r.Mode != "generic" || r.AFXDP != "none" || !slices.ContainsFunc(r.Reasons, func(why string) bool {
		return strings.Contains(why, "loopback device")
	}) {
		t.Errorf("got %+v", r)
	}
	if now.Gate[gate.TXAck] < 2 || now.Gate[gate.PassHello] != 2 {
		t.Errorf("the program acknowledged %d packets and passed %d HELLOs", now.Gate[gate.TXAck], now.Gate[gate.PassHello])
	}
	finish(t, s)
}

// After a failure the program is gone and the maps are not: what lies in them
// is for the next server.
func TestFailureKeepsWhatWasAcknowledged(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	cfg := settings(t, config.ModeNative)
	s := serve(t, l, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.group.Each(ctx, func(*worker.Worker) { panic("boom") })
	<-s.Done()
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("error %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	folder := filepath.Join(loader.DefaultPinRoot, cfg.Instance)
	if _, err := os.Stat(filepath.Join(folder, "link")); err == nil {
		t.Error("the program is still attached")
	}
	if _, err := os.Stat(filepath.Join(folder, "commit_slots")); err != nil {
		t.Errorf("the maps are gone: %v", err)
	}
	s = serve(t, l, cfg)
	if !s.Report().Reused {
		t.Error("the next server begins anew")
	}
	play(t, l)
	finish(t, s)
}

func status(t testing.TB, s *Server) *Status {
	t.Helper()
	now, err := s.Status()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// The workers of a server on which nothing happens sleep. How long a pass takes
// is the machine's affair, so the test counts them; BenchmarkIdleServer has the
// time.
func TestIdleServerSleeps(t *testing.T) {
	const passesPerSecond = 20
	for _, mode := range []string{config.ModeNative, config.ModeUDP} {
		t.Run(mode, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			s := serve(t, l, settings(t, mode))
			defer finish(t, s)
			count := func(what string) {
				t.Helper()
				time.Sleep(200 * time.Millisecond)
				before := status(t, s)
				time.Sleep(time.Second)
				now := status(t, s)
				passes := float64(now.Workers.Get(metrics.Passes) - before.Workers.Get(metrics.Passes))
				if rate := passes / now.At.Sub(before.At).Seconds(); rate > passesPerSecond {
					t.Errorf("%s the workers made %.0f passes per second, want at most %d", what, rate, passesPerSecond)
				}
			}
			count("without sessions")
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			defer dial(ctx, t, l.Client, l.Server.IPv4).Close()
			count("with an idle session")
		})
	}
}

// cpuTime is how long this process ran.
func cpuTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdleServer is the share of a CPU that a server takes on which
// nothing happens, as seconds of nothing.
func BenchmarkIdleServer(b *testing.B) {
	for _, mode := range []string{config.ModeNative, config.ModeUDP} {
		b.Run(mode, func(b *testing.B) {
			l := labtest.New(b, lab.Options{})
			s := serve(b, l, settings(b, mode))
			defer finish(b, s)
			began := cpuTime(b)
			for b.Loop() {
				time.Sleep(time.Second)
			}
			b.ReportMetric(float64(cpuTime(b)-began)/float64(b.Elapsed())*100, "%cpu")
		})
	}
}

// attribute reads a setting of the server's device.
func attribute(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/sys/class/net", lab.ServerInterface, name))
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(text))
}

func TestBusyPoll(t *testing.T) {
	tests := []struct {
		name               string
		crashed, poll      bool
		irqs, flushTimeout string
	}{
		{"polls", false, true, "2", "200000"},
		{"polls_after_crash", true, true, "2", "200000"},
		{"sleeps_after_crash", true, false, "0", "0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := labtest.New(t, lab.Options{})
			cfg := settings(t, config.ModeNative)
			cfg.BusyPoll = tt.poll
			t.Cleanup(func() { _ = loader.Remove(loader.DefaultPinRoot, cfg.Instance) })
			want := func(irqs, flushTimeout string) {
				t.Helper()
				if a, b := attribute(t, "napi_defer_hard_irqs"), attribute(t, "gro_flush_timeout"); a != irqs || b != flushTimeout {
					t.Errorf("napi_defer_hard_irqs %s, gro_flush_timeout %s, want %s and %s", a, b, irqs, flushTimeout)
				}
			}
			var s *Server
			err := l.Server.DoWithSysfs(func() (err error) {
				if tt.crashed {
					// What a server that was killed leaves behind.
					if err := loader.DeferInterrupts(cfg.Interface, filepath.Join(cfg.StateDir, cfg.Instance+".interrupts")); err != nil {
						return err
					}
				}
				s, err = Open(cfg, worker.Game(plaza.Options()), zerolog.Nop())
				want(tt.irqs, tt.flushTimeout)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range s.Report().Warnings {
				if strings.Contains(w, "poll") {
					t.Error(w)
				}
			}
			s.Start()
			play(t, l)
			err = l.Server.DoWithSysfs(func() error {
				finish(t, s)
				want("0", "0")
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Where /sys shows another namespace the server polls all the same, and says
// what is missing, once.
func TestBusyPollWithoutSysfs(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	cfg := settings(t, config.ModeNative)
	cfg.BusyPoll = true
	s, err := open(t, l, cfg)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, w := range s.Report().Warnings {
		if strings.Contains(w, "defer interrupts") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("warnings %q", s.Report().Warnings)
	}
	s.Start()
	play(t, l)
	finish(t, s)
}

func TestUDPState(t *testing.T) {
	cfg := config.Default()
	cfg.Mode, cfg.Listen, cfg.StateDir, cfg.MaxSessions, cfg.CommitSlots = config.ModeUDP, "127.0.0.1:47113", t.TempDir(), 64, 64
	cfg.Workers = 1
	s, err := Open(cfg, worker.Game(plaza.Options()), zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if r := s.Report(); r.KeptIn == "" || r.Reused || len(r.Warnings) != 0 {
		t.Errorf("first: %+v", r)
	}
	if _, err := Open(cfg, worker.Game(plaza.Options()), zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("the same instance twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// Left by a server that crashed, and of another shape: that is used, since
	// packets may lie in it.
	cfg.Workers = 2
	left, _, release, err := commit.OpenFile(filepath.Join(cfg.StateDir, cfg.Instance+".state"), cfg.Geometry(1, 1))
	if err != nil || left == nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(cfg, worker.Game(plaza.Options()), zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if r := s.Report(); r.Geometry.Workers != 1 || !r.Reused || len(r.Warnings) != 1 {
		t.Errorf("second: %+v", r)
	}
	s.Start()
	finish(t, s)

	// A clean exit leaves nothing, so the configured shape applies.
	if s, err = Open(cfg, worker.Game(plaza.Options()), zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if r := s.Report(); r.Geometry.Workers != 2 || r.Reused {
		t.Errorf("after a clean exit: %+v", r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// Of another version: not served beside it, not lost.
	path := filepath.Join(cfg.StateDir, cfg.Instance+".state")
	if _, _, release, err = commit.OpenFile(path, cfg.Geometry(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xee}, 8); err != nil { // the schema, behind the magic
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cfg, worker.Game(plaza.Options()), zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "schema") {
		t.Errorf("a file of another schema: %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file of another schema is gone: %v", err)
	}

	// Nowhere to write: served all the same, and said.
	cfg.StateDir = "/proc/nowhere"
	if s, err = Open(cfg, worker.Game(plaza.Options()), zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	if r := s.Report(); r.KeptIn != "" || len(r.Warnings) != 1 {
		t.Errorf("third: %+v", r)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
