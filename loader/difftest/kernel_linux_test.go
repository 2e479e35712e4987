package difftest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Offsets in struct config that change between sequences.
const (
	configMaxDatagram   = 24
	configFeatures      = 28
	configCookieCurrent = 32
	configControlBytes  = 52
	configSessionBudget = 56
)

// sessionEntry is struct session.
type sessionEntry struct {
	_                                                      uint32 // lock
	slot                                                   uint32
	id                                                     uint64
	worker, features, clientISN, rcvNxt, rcvHigh, replayHi uint32
	replayBits                                             uint64
	packets, bytes, committed, duplicates, rejected        uint64
	marked, token                                          uint32
	rcvBits                                                [16]uint64
}

func (e *sessionEntry) state() gate.SessionState {
	return gate.SessionState{
		Slot: e.slot, ID: e.id, Worker: e.worker, Features: e.features, ClientISN: e.clientISN,
		Window:     reliability.ReceiveWindow{Next: e.rcvNxt, High: e.rcvHigh, Bits: e.rcvBits},
		ReplayHigh: e.replayHi, ReplayBits: e.replayBits,
		Packets: e.packets, Bytes: e.bytes, Committed: e.committed,
		Duplicates: e.duplicates, Rejected: e.rejected, Marked: e.marked != 0,
		Token: e.token,
	}
}

// testRun is the attribute of BPF_PROG_TEST_RUN in union bpf_attr.
type testRun struct {
	progFD, retval          uint32
	sizeIn, sizeOut         uint32
	dataIn, dataOut         uint64
	repeat, duration        uint32
	ctxSizeIn, ctxSizeOut   uint32
	ctxIn, ctxOut           uint64
	flags, cpu, batch, tail uint32
}

// mapLookup is the attribute of BPF_MAP_LOOKUP_ELEM.
type mapLookup struct {
	mapFD, pad        uint32
	key, value, flags uint64
}

const lookupLocked = 4 // BPF_F_LOCK

// kernel is the XDP program, run by hand. One locked thread uses it: the
// program's CPU is the thread's.
type kernel struct {
	gate    *loader.Gate
	memory  commit.Memory
	unmap   []func() error
	sockets []int

	run    testRun
	in     [4096]byte
	out    [4096]byte
	stats  mapLookup
	zero   uint32   // the key of stats
	counts []uint64 // per possible CPU, OutcomeMax each
	was    [gate.OutcomeMax]uint64
	entry  sessionEntry
	lookup mapLookup
	key    [wire.KeySize]byte
	cpu    int
}

// geometry of the shared memory. Few slots fill up, many let windows grow.
func geometry(slots int) commit.Geometry {
	return commit.Geometry{Workers: 2, CPUs: max(ebpf.MustPossibleCPU(), 2), Slots: slots, MaxSessions: 128}
}

// newKernel loads the program, or skips the test. It locks the goroutine to
// its thread.
func newKernel(t testing.TB, slots int) *kernel {
	t.Helper()
	requireXDP(t)
	g, err := loader.Load(loader.Options{Geometry: geometry(slots), Ports: servedPorts, CompactPorts: compactPorts})
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{gate: g, counts: make([]uint64, int(gate.OutcomeMax)*ebpf.MustPossibleCPU())}
	t.Cleanup(func() {
		if err := k.close(); err != nil {
			t.Error(err)
		}
	})
	if err := k.start(); err != nil {
		t.Fatal(err)
	}
	return k
}

// requireXDP skips the test, with the reason, where programs cannot be loaded.
func requireXDP(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		labtest.Unavailable(t, "loading XDP programs needs root")
	}
}

func (k *kernel) start() error {
	if err := k.mmap(); err != nil {
		return err
	}
	if n := k.gate.Map("sessions").ValueSize(); n != uint32(unsafe.Sizeof(k.entry)) {
		return fmt.Errorf("struct session has %d bytes, its mirror %d", n, unsafe.Sizeof(k.entry))
	}
	for _, addr := range localAddrs {
		key := addr.As16()
		if err := k.gate.Map("local_addrs").Put(key, uint8(1)); err != nil {
			return fmt.Errorf("add local address: %w", err)
		}
	}
	k.run = testRun{
		progFD:  uint32(k.gate.Program().FD()),
		dataIn:  address(&k.in[0]),
		dataOut: address(&k.out[0]),
	}
	k.stats = mapLookup{
		mapFD: uint32(k.gate.Map("stats").FD()),
		key:   address(&k.zero),
		value: address(&k.counts[0]),
	}
	k.lookup = mapLookup{
		mapFD: uint32(k.gate.Map("sessions").FD()),
		key:   address(&k.key[0]),
		value: address(&k.entry),
		flags: lookupLocked,
	}
	return nil
}

// address is for memory on the heap, which does not move.
func address[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// mmap maps the shared arrays once more, as plain bytes.
func (k *kernel) mmap() error {
	sizes := k.gate.Geometry().Sizes()
	for _, m := range []struct {
		name string
		size int
		to   *[]byte
	}{
		{"flows", sizes.Flows, &k.memory.Flows},
		{"dirty", sizes.Dirty, &k.memory.Dirty},
		{"commit_ctl", sizes.Ctl, &k.memory.Ctl},
		{"commit_fill", sizes.Fill, &k.memory.Fill},
		{"commit_ready", sizes.Ready, &k.memory.Ready},
		{"commit_slots", sizes.Slots, &k.memory.Slots},
		{"worker_ctl", sizes.Workers, &k.memory.Workers},
	} {
		b, err := unix.Mmap(k.gate.Map(m.name).FD(), 0, m.size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return fmt.Errorf("map %s: %w", m.name, err)
		}
		*m.to = b
		k.unmap = append(k.unmap, func() error { return unix.Munmap(b) })
	}
	return nil
}

func (k *kernel) close() error {
	errs := []error{k.steerToSockets(false)}
	for _, unmap := range k.unmap {
		errs = append(errs, unmap())
	}
	return errors.Join(append(errs, k.gate.Close())...)
}

// onCPU moves the calling thread, and with it the program, to a CPU. The
// caller locked the thread.
func (k *kernel) onCPU(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("move to CPU %d: %w", cpu, err)
	}
	k.cpu = cpu
	// The new CPU's counters are the ones to watch.
	_, err := k.outcome()
	if errors.Is(err, errOutcomes) {
		err = nil
	}
	return err
}

// configure writes what changes between sequences.
func (k *kernel) configure(c gate.Config, keys gate.CookieKeys) error {
	config := k.gate.Map("config")
	b, err := config.LookupBytes(uint32(0))
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	binary.NativeEndian.PutUint32(b[configMaxDatagram:], uint32(c.MaxDatagram))
	binary.NativeEndian.PutUint32(b[configFeatures:], c.Features)
	binary.NativeEndian.PutUint32(b[configCookieCurrent:], keys.Current)
	binary.NativeEndian.PutUint32(b[configControlBytes:], c.ControlBytes)
	binary.NativeEndian.PutUint32(b[configSessionBudget:], uint32(c.SessionBudget))
	if err := config.Put(uint32(0), b); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	for i := range keys.Keys {
		if err := k.gate.Map("cookie_keys").Put(uint32(i), &keys.Keys[i]); err != nil {
			return fmt.Errorf("write cookie secret: %w", err)
		}
	}
	return k.steerToSockets(c.Sockets)
}

// steerToSockets gives every worker a socket on queue 0, where test runs
// arrive, or takes it away.
func (k *kernel) steerToSockets(on bool) error {
	if on == (len(k.sockets) > 0) {
		return nil
	}
	xsks := k.gate.Map("xsks")
	if !on {
		var errs []error
		for worker, fd := range k.sockets {
			errs = append(errs, xsks.Delete(uint32(worker)), unix.Close(fd))
		}
		k.sockets = nil
		return errors.Join(errs...)
	}
	for worker := range k.gate.Geometry().Workers {
		fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW, 0)
		if err != nil {
			return fmt.Errorf("open AF_XDP socket: %w", err)
		}
		k.sockets = append(k.sockets, fd)
		if err := xsks.Update(uint32(worker), uint32(fd), ebpf.UpdateAny); err != nil {
			return fmt.Errorf("register AF_XDP socket: %w", err)
		}
	}
	return nil
}

var errOutcomes = errors.New("not exactly one outcome counted")

// frame runs the program once over k.in[:n]. out aliases k.out.
func (k *kernel) frame(n int) (verdict gate.Verdict, outcome gate.Outcome, out []byte, err error) {
	k.run.sizeIn, k.run.sizeOut = uint32(n), uint32(len(k.out))
	k.run.repeat = 1
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_TEST_RUN, uintptr(unsafe.Pointer(&k.run)), unsafe.Sizeof(k.run))
	if errno != 0 {
		return 0, 0, nil, fmt.Errorf("run program on %d bytes: %w", n, errno)
	}
	outcome, err = k.outcome()
	return gate.Verdict(k.run.retval), outcome, k.out[:k.run.sizeOut], err
}

// outcome returns the one counter that moved since it was called last.
func (k *kernel) outcome() (out gate.Outcome, err error) {
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_LOOKUP_ELEM, uintptr(unsafe.Pointer(&k.stats)), unsafe.Sizeof(k.stats))
	if errno != 0 {
		return 0, fmt.Errorf("read counters: %w", errno)
	}
	first := k.cpu * int(gate.OutcomeMax)
	now := (*[gate.OutcomeMax]uint64)(k.counts[first:])
	moved := uint64(0)
	for i := range now {
		if d := now[i] - k.was[i]; d != 0 {
			out = gate.Outcome(i)
			moved += d
		}
	}
	k.was = *now
	if moved != 1 {
		return out, fmt.Errorf("%w: %d", errOutcomes, moved)
	}
	return out, nil
}

// session reads a session's entry.
func (k *kernel) session(key *wire.Key) (s gate.SessionState, ok bool, err error) {
	key.Put(&k.key)
	_, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_LOOKUP_ELEM, uintptr(unsafe.Pointer(&k.lookup)), unsafe.Sizeof(k.lookup))
	switch errno {
	case 0:
		return k.entry.state(), true, nil
	case unix.ENOENT:
		return s, false, nil
	}
	return s, false, fmt.Errorf("read session: %w", errno)
}

// pin locks the goroutine to its thread until the test ends, and gives the
// thread its CPUs back then.
func pin(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.SchedSetaffinity(0, &all); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
}

// usableCPUs lists the CPUs the process may run on, two at most.
func usableCPUs() []int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return []int{0}
	}
	var cpus []int
	for cpu := 0; cpu < ebpf.MustPossibleCPU() && len(cpus) < 2; cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

var servedPorts = []uint16{9000, 40001}

// compactPorts speak the compact profile.
var compactPorts = []uint16{9002}

// profileOf is what a port speaks.
func profileOf(key *wire.Key) wire.Profile {
	if slices.Contains(compactPorts, key.ServerPort) {
		return wire.Compact
	}
	return wire.Standard
}

var localAddrs = []netip.Addr{
	netip.MustParseAddr("192.0.2.1"),
	netip.MustParseAddr("2001:db8::1"),
	// Ours as far as the map says, so that what is a group or not decides.
	netip.MustParseAddr("224.0.0.1"),
	netip.MustParseAddr("240.0.0.1"),
	netip.MustParseAddr("255.255.255.255"),
	netip.MustParseAddr("ff02::1"),
}
