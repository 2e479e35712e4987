package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
)

// world is where a server and its clients are.
type world struct {
	t       *testing.T
	lab     *lab.Lab // nil without namespaces
	setup   setup
	dice    *rand.Rand
	players []*player
	crashes []crash
	tune    func(*client.Options) // of players; may be nil
}

const port = 7777

// newWorld prepares a server with the geometry, without CPUs, in the mode.
func newWorld(t *testing.T, mode string, g commit.Geometry) *world {
	t.Helper()
	seed := uint64(os.Getpid())<<32 | uint64(rand.Uint32())
	if text := os.Getenv("XRUDP_E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 0, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %#x", seed)
	if g.TransferBytes == 0 {
		g.TransferBytes = 4 << 20
	}
	dir := t.TempDir()
	w := &world{t: t, dice: rand.New(rand.NewPCG(seed, 0)), setup: setup{
		Mode: mode, Geometry: g, TickRate: 60,
		Record: filepath.Join(dir, "record"), State: filepath.Join(dir, "state"),
	}}
	if mode == modeUDP {
		w.setup.Geometry.CPUs = 1
		w.setup.Address = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t))
		return w
	}
	w.lab = labtest.New(t, lab.Options{})
	w.setup.Geometry.CPUs = possibleCPUs(t)
	w.setup.Interface = lab.ServerInterface
	w.setup.Address = netip.AddrPortFrom(w.lab.Server.IPv4, port)
	w.setup.PinRoot = fmt.Sprintf("/sys/fs/bpf/xrudp-e2e-%d", os.Getpid())
	t.Cleanup(func() {
		_ = loader.Remove(w.setup.PinRoot, instance)
		_ = os.Remove(w.setup.PinRoot)
	})
	return w
}

func possibleCPUs(t *testing.T) int {
	t.Helper()
	n, err := ebpf.PossibleCPU()
	if err != nil {
		t.Fatal(err)
	}
	return n
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

func (w *world) serverSide() *lab.Namespace {
	if w.lab == nil {
		return nil
	}
	return w.lab.Server.Namespace
}

func (w *world) clientSide() *lab.Namespace {
	if w.lab == nil {
		return nil
	}
	return w.lab.Client.Namespace
}

// start runs the server in a process of its own.
func (w *world) start() *child {
	w.t.Helper()
	w.setup.Epoch = uint32(len(w.crashes))
	return start(w.t, w.serverSide(), w.setup)
}

// join connects n players to address, or to the server if that is not valid.
func (w *world) join(n int, address netip.AddrPort) {
	w.t.Helper()
	if !address.IsValid() {
		address = w.setup.Address
	}
	for range n {
		w.players = append(w.players, w.newPlayer(uint32(len(w.players)), address))
	}
	w.t.Cleanup(w.leave)
}

// leave has every player close its connection.
func (w *world) leave() {
	w.t.Helper()
	for _, p := range w.players {
		p.halt()
	}
	var all sync.WaitGroup
	for _, p := range w.players {
		all.Go(p.leave)
	}
	all.Wait()
}

// check checks the record.
func (w *world) check(all bool) verdict {
	w.t.Helper()
	return checkRecord(w.t, w.setup.Record, w.players, w.crashes, w.setup.Geometry.Workers, all)
}

// recorded is how many messages the handlers wrote down.
func (w *world) recorded() int {
	info, err := os.Stat(w.setup.Record)
	if err != nil {
		return 0
	}
	return int(info.Size() / entrySize)
}

// kept lists what is in the memory of a dead server, in a copy of it: packets,
// and by the last of theirs large messages that are complete.
func (w *world) kept() map[committed]bool {
	w.t.Helper()
	var r *commit.Regions
	if w.setup.Mode == modeUDP {
		r = w.copyFile()
	} else {
		r = w.copyMaps()
	}
	kept := make(map[committed]bool)
	for n := range w.setup.Geometry.Rings() {
		held, err := commit.Recover(r, n)
		if err != nil {
			w.t.Fatalf("world: %v", err)
		}
		ring := r.Reader(n)
		for _, index := range held {
			s := ring.Slot(index)
			kept[committed{s.SessionID, s.Sequence}] = true
		}
		for {
			s, _, ok := ring.Next()
			if !ok {
				break
			}
			kept[committed{s.SessionID, s.Sequence}] = true
		}
	}
	for n := range w.setup.Geometry.Workers {
		for m := range r.Transfers(n).Recover() {
			if m.Reliable && m.Received == int(m.First.Total) {
				kept[committed{m.Session, m.Sequence}] = true
			}
		}
	}
	return kept
}

func (w *world) copyFile() *commit.Regions {
	w.t.Helper()
	b, err := os.ReadFile(w.setup.State)
	if err != nil {
		w.t.Fatalf("world: %v", err)
	}
	path := filepath.Join(w.t.TempDir(), "copy")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatalf("world: %v", err)
	}
	r, _, release, err := commit.OpenFile(path, w.setup.Geometry)
	if err != nil {
		w.t.Fatalf("world: %v", err)
	}
	w.t.Cleanup(func() { _ = release() })
	return r
}

// copyMaps copies indices first: whatever the gate adds meanwhile lies beyond
// them.
func (w *world) copyMaps() *commit.Regions {
	w.t.Helper()
	sizes := w.setup.Geometry.Sizes()
	m := commit.Memory{
		Ctl:     w.copyMap("commit_ctl", sizes.Ctl),
		Fill:    w.copyMap("commit_fill", sizes.Fill),
		Ready:   w.copyMap("commit_ready", sizes.Ready),
		Slots:   w.copyMap("commit_slots", sizes.Slots),
		Flows:   aligned(sizes.Flows),
		Dirty:   aligned(sizes.Dirty),
		Workers: aligned(sizes.Workers),

		Transfers:     w.copyMap("transfers", sizes.Transfers),
		TransferPages: w.copyMap("transfer_pages", sizes.TransferPages),
	}
	r, err := commit.NewRegions(w.setup.Geometry, m)
	if err != nil {
		w.t.Fatalf("world: %v", err)
	}
	return r
}

func (w *world) pinned(name string) *ebpf.Map {
	w.t.Helper()
	path := filepath.Join(w.setup.PinRoot, instance, name)
	// Not read-only: the kernel maps no memory of a map opened so.
	m, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		w.t.Fatalf("world: %v", err)
	}
	return m
}

func (w *world) copyMap(name string, size int) []byte {
	w.t.Helper()
	m := w.pinned(name)
	defer m.Close()
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		w.t.Fatalf("map %s of %d: %v", name, size, err)
	}
	out := aligned(size)
	copy(out, b)
	if err := unix.Munmap(b); err != nil {
		w.t.Fatalf("map %s of %d: %v", name, size, err)
	}
	return out
}

// aligned returns memory that starts on a cache line.
func aligned(size int) []byte {
	b := make([]byte, size+64)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & 63
	return b[skip : skip+size]
}

// outcomes reads the counters of the XDP program, with or without a server.
func (w *world) outcomes() (sum [gate.OutcomeMax]uint64) {
	w.t.Helper()
	m := w.pinned("stats")
	defer m.Close()
	var perCPU [][gate.OutcomeMax]uint64
	if err := m.Lookup(uint32(0), &perCPU); err != nil {
		w.t.Fatalf("world: %v", err)
	}
	for _, counters := range perCPU {
		for i, n := range counters {
			sum[i] += n
		}
	}
	return sum
}
