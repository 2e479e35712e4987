package loader

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/rs/zerolog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// loaded returns a gate that is attached to nothing.
func loaded(t *testing.T) *Gate {
	t.Helper()
	labtest.Root(t)
	g, err := Load(Options{
		Geometry: commit.Geometry{Workers: 2, CPUs: PresentCPUs(), Slots: 64, MaxSessions: 256},
		Ports:    []uint16{7777, 7778},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func testKey(port uint16) wire.Key {
	return wire.MakeKey(
		netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port),
		netip.MustParseAddrPort("10.0.0.1:7777"),
	)
}

func TestConfigIsWritten(t *testing.T) {
	g := loaded(t)
	var c gateConfig
	if err := g.Map(mapConfig).Lookup(uint32(0), &c); err != nil {
		t.Fatal(err)
	}
	if c.SchemaVersion != commit.SchemaVersion || c.Workers != 2 || c.CommitSlots != 64 || c.MaxSessions != 256 || c.TransferPages != 256 ||
		c.MaxDatagram != wire.MaxDatagramLimit || c.SessionBudget != 64 || c.Features != gate.FeatureSACK {
		t.Errorf("config %+v", c)
	}
	raw, err := g.Map(mapConfig).LookupBytes(uint32(0))
	if err != nil {
		t.Fatal(err)
	}
	if ports := raw[unsafe.Offsetof(c.Ports):][:8]; [8]byte(ports) != [8]byte{7777 >> 8, 7777 & 255, 1, 0, 7778 >> 8, 7778 & 255, 1, 0} {
		t.Errorf("ports % x", ports)
	}
	secrets := readSecrets(t, g)
	if secrets[0] == (gateCookieKey{}) || secrets[1] == (gateCookieKey{}) || secrets[0] == secrets[1] {
		t.Errorf("secrets %v", secrets)
	}
}

func TestRotateCookies(t *testing.T) {
	g := loaded(t)
	for range 3 {
		before, current := readSecrets(t, g), g.config.CookieCurrent
		if err := g.RotateCookies(); err != nil {
			t.Fatal(err)
		}
		after := readSecrets(t, g)
		if after[current] != before[current] {
			t.Error("the newest secret was replaced")
		}
		if after[1-current] == before[1-current] {
			t.Error("the older secret stays")
		}
		var c gateConfig
		if err := g.Map(mapConfig).Lookup(uint32(0), &c); err != nil || c.CookieCurrent != 1-current {
			t.Errorf("current is %d, %v, want %d", c.CookieCurrent, err, 1-current)
		}
	}
}

func TestSessions(t *testing.T) {
	g := loaded(t)
	s := g.Sessions()
	init := gate.SessionInit{ID: 7, Slot: 3, Worker: 0, Features: gate.FeatureSACK, ClientISN: 100, ServerISN: 200}
	if err := s.Create(testKey(1), init); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(testKey(1), init); !errors.Is(err, gate.ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	if err := s.Create(testKey(2), init); err != nil {
		t.Fatal(err)
	}
	got, ok, err := s.Session(testKey(1))
	if want := gate.NewSessionState(init); !ok || err != nil || got != want {
		t.Errorf("session %+v, %v, %v, want %+v", got, ok, err, want)
	}
	seen := map[wire.Key]bool{}
	if err := s.All(func(k wire.Key, state gate.SessionState) bool {
		seen[k] = state.ID == 7
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || !seen[testKey(1)] || !seen[testKey(2)] {
		t.Errorf("sessions %v", seen)
	}
	for range 2 {
		if err := s.Delete(testKey(1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := s.Session(testKey(1)); ok || err != nil {
		t.Errorf("deleted session: %v, %v", ok, err)
	}
}

func TestStatsSumCPUs(t *testing.T) {
	g := loaded(t)
	before, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if before != [gate.OutcomeMax]uint64{} {
		t.Errorf("fresh counters %v", before)
	}
	frame := make([]byte, 64) // ethertype 0: not IP
	if _, err := g.Program().Run(&ebpf.RunOptions{Data: frame, Repeat: 5}); err != nil {
		t.Fatal(err)
	}
	after, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if after[gate.PassNotIP] != 5 {
		t.Errorf("%s is %d, want 5", gate.PassNotIP, after[gate.PassNotIP])
	}
}

func TestRegionsAreShared(t *testing.T) {
	g := loaded(t)
	g.Regions().Flow(9).SetSndNxt(77)
	var flow gateFlow
	if err := g.Map(mapFlows).Lookup(uint32(9), &flow); err != nil {
		t.Fatal(err)
	}
	if flow.SndNxt != 77 {
		t.Errorf("the program sees snd_nxt %d, want 77", flow.SndNxt)
	}
	g.Regions().SetAsleep(1)
	var ctl gateWorkerCtl
	if err := g.Map(mapWorkerCtl).Lookup(uint32(1), &ctl); err != nil {
		t.Fatal(err)
	}
	if ctl.Asleep != 1 {
		t.Error("the program sees worker 1 awake")
	}
}

func TestRegister(t *testing.T) {
	g := loaded(t)
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		labtest.Unavailable(t, "AF_XDP: "+err.Error())
	}
	defer unix.Close(fd)
	tests := []struct {
		name          string
		queue, worker int
		fits          bool
	}{
		{"first", 0, 0, true},
		{"last", MaxQueues - 1, 1, true},
		{"queue_beyond", MaxQueues, 0, false},
		{"worker_beyond", 0, 2, false},
		{"negative", -1, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := g.Register(tt.queue, tt.worker, fd)
			// A socket without rings is refused, but only at an index that exists.
			if reached := errors.Is(err, unix.EBADF) || errors.Is(err, unix.EOPNOTSUPP) || err == nil; reached != tt.fits {
				t.Errorf("register: %v, in range is %v", err, tt.fits)
			}
		})
	}
}

func TestDoorbell(t *testing.T) {
	g := loaded(t)
	bell := g.Doorbell(1)
	readable := func() bool {
		t.Helper()
		fds := []unix.PollFd{{Fd: int32(bell.FD()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Poll(fds, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		return n == 1 && fds[0].Revents&unix.POLLIN != 0
	}
	if readable() {
		t.Fatal("a new doorbell rings")
	}
	for range 300 { // more than the ring holds
		ring(t, bell.ring)
		if !readable() {
			t.Fatal("the doorbell does not ring")
		}
		bell.Drain()
		if readable() {
			t.Fatal("the doorbell still rings")
		}
	}
}

// ring does to a ring buffer what the gate does.
func ring(t *testing.T, m *ebpf.Map) {
	t.Helper()
	prog, err := ebpf.NewProgram(ringProgram(m))
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	if ret, err := prog.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil || ret != 0 {
		t.Fatalf("ring: %d, %v", ret, err)
	}
}

func TestAddressesAreFollowed(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	opts := testOptions(t, l.Server.Interface)
	g, _ := mustOpen(t, l, opts)
	defer g.Close()
	ours := func(addr netip.Addr) bool {
		key := addr.As16()
		var v uint8
		return g.Map(mapLocalAddrs).Lookup(&key, &v) == nil
	}
	for _, addr := range []netip.Addr{l.Server.IPv4, l.Server.IPv6, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()} {
		if !ours(addr) {
			t.Errorf("%s is not ours after open", addr)
		}
	}
	if ours(l.Client.IPv4) {
		t.Errorf("%s is the client's", l.Client.IPv4)
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Maintain(ctx, zerolog.New(zerolog.NewTestWriter(t)))
	}()
	defer func() { cancel(); <-done }()

	added := netip.MustParseAddr("10.99.0.77")
	change := func(f func(netlink.Link, *netlink.Addr) error) {
		t.Helper()
		err := l.Server.Do(func() error {
			dev, err := netlink.LinkByName(l.Server.Interface)
			if err != nil {
				return err
			}
			addr, err := netlink.ParseAddr(added.String() + "/32")
			if err != nil {
				return err
			}
			return f(dev, addr)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); ours(added) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: ours is %v, want %v", added, !want, want)
			}
		}
	}
	change(netlink.AddrAdd)
	eventually(true)
	change(netlink.AddrDel)
	eventually(false)
}

func ringProgram(m *ebpf.Map) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R1, 1),
			asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord),
			asm.LoadMapPtr(asm.R1, m.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP),
			asm.Add.Imm(asm.R2, -8),
			asm.Mov.Imm(asm.R3, 8),
			asm.Mov.Imm(asm.R4, 0),
			asm.FnRingbufOutput.Call(),
			asm.Return(),
		},
	}
}
