package difftest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// A step is something that happens to both gates.
type step struct {
	kind  stepKind
	frame []byte           // stepFrame
	key   wire.Key         // stepOpen, stepClose
	init  gate.SessionInit // stepOpen
	keys  gate.CookieKeys  // stepCookies
	n     int              // ring, slot or worker
	value uint32           // sequence or index
}

type stepKind uint8

const (
	stepFrame    stepKind = iota // a frame arrives
	stepOpen                     // a worker opens a session
	stepClose                    // and closes it
	stepSndNxt                   // it sends: slot n goes on to value
	stepTake                     // it picks a commit up from ring n
	stepRelease                  // it releases held slot number value of ring n
	stepReleased                 // it says that slot n gave value packets back
	stepDirty                    // worker n looks at its dirty bitmap
	stepSleep                    // worker n goes to sleep
	stepCookies                  // the daemon changes the cookie secrets
)

func (s *step) String() string {
	switch s.kind {
	case stepFrame:
		return fmt.Sprintf("frame %x", s.frame)
	case stepOpen:
		return fmt.Sprintf("open %v to %v %+v", s.key.ClientAddrPort(), s.key.ServerAddrPort(), s.init)
	case stepClose:
		return fmt.Sprintf("close %v to %v", s.key.ClientAddrPort(), s.key.ServerAddrPort())
	case stepSndNxt:
		return fmt.Sprintf("slot %d sends up to %d", s.n, s.value)
	case stepTake:
		return fmt.Sprintf("take from ring %d", s.n)
	case stepRelease:
		return fmt.Sprintf("release %d of ring %d", s.value, s.n)
	case stepReleased:
		return fmt.Sprintf("slot %d released %d", s.n, s.value)
	case stepDirty:
		return fmt.Sprintf("worker %d takes dirty", s.n)
	case stepSleep:
		return fmt.Sprintf("worker %d sleeps", s.n)
	case stepCookies:
		return fmt.Sprintf("cookies %+v", s.keys)
	}
	return "unknown step"
}

// setup is what a sequence starts from.
type setup struct {
	config gate.Config
	keys   gate.CookieKeys
	cpu    int
}

// pair is the XDP program and its twin in the same state.
type pair struct {
	k *kernel

	twin    *gate.Gate
	regions *commit.Regions
	memory  commit.Memory
	out     [gate.MaxReplyFrame]byte

	geometry commit.Geometry
	setup    setup
	open     map[wire.Key]gate.SessionInit
	held     [][]uint32 // per ring
	now      uint64     // the kernel's clock, when it was seen last
	frames   int

	mutant    *mutant // what is wrong with the twin, or nil
	mutantSaw byte

	seen    [gate.OutcomeMax]int // frames, by outcome
	compact [gate.OutcomeMax]int // of these, to a port of the compact profile
}

// mutant makes the twin decide by a changed rule.
type mutant struct {
	name   string
	config func(*gate.Config)
	keys   func(*gate.CookieKeys)
	before func(p *pair, frame []byte) // the twin sees the frame
	after  func(p *pair, frame, reply []byte)
}

func newPair(t testing.TB, slots int) *pair {
	t.Helper()
	pin(t)
	k := newKernel(t, slots)
	p := &pair{k: k, geometry: k.gate.Geometry(), open: make(map[wire.Key]gate.SessionInit)}
	p.memory = ownMemory(p.geometry)
	// Whatever the loader prepared is wiped once; from then on both sides are
	// the same between sequences.
	for i, b := range regionsOf(&k.memory) {
		clear(b)
		clear(regionsOf(&p.memory)[i])
	}
	return p
}

// ownMemory returns zeroed regions of this process.
func ownMemory(g commit.Geometry) (m commit.Memory) {
	sizes := g.Sizes()
	alloc := func(n int) []byte {
		words := make([]uint64, n/8+8)
		b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
		skip := -int(uintptr(unsafe.Pointer(&b[0]))) & 63
		return b[skip : skip+n]
	}
	m.Flows, m.Dirty, m.Ctl = alloc(sizes.Flows), alloc(sizes.Dirty), alloc(sizes.Ctl)
	m.Fill, m.Ready = alloc(sizes.Fill), alloc(sizes.Ready)
	m.Slots, m.Workers = alloc(sizes.Slots), alloc(sizes.Workers)
	m.Transfers, m.TransferPages = alloc(sizes.Transfers), alloc(sizes.TransferPages)
	return m
}

var regionNames = [...]string{"flows", "dirty", "commit_ctl", "commit_fill", "commit_ready", "commit_slots", "worker_ctl"}

func regionsOf(m *commit.Memory) [len(regionNames)][]byte {
	return [...][]byte{m.Flows, m.Dirty, m.Ctl, m.Fill, m.Ready, m.Slots, m.Workers}
}

// reset brings both sides to the beginning of a sequence.
func (p *pair) reset(s setup) error {
	for key := range p.open {
		if err := p.k.gate.Sessions().Delete(key); err != nil {
			return err
		}
	}
	clear(p.open)
	p.setup = s
	cpus := usableCPUs()
	if err := p.k.onCPU(cpus[s.cpu%len(cpus)]); err != nil {
		return err
	}
	if err := p.k.configure(s.config, s.keys); err != nil {
		return err
	}
	for i, b := range regionsOf(&p.k.memory) {
		clear(b)
		clear(regionsOf(&p.memory)[i])
	}
	var err error
	if p.regions, err = commit.NewRegions(p.geometry, p.memory); err != nil {
		return err
	}
	for worker := range p.geometry.Workers {
		p.k.gate.Doorbell(worker).Drain()
	}
	p.held = make([][]uint32, p.geometry.Rings())
	for n := range p.geometry.Rings() {
		_, err := commit.Recover(p.regions, n)
		_, kernelErr := commit.Recover(p.k.gate.Regions(), n)
		if err := errors.Join(err, kernelErr); err != nil {
			return err
		}
	}
	config, keys := s.config, s.keys
	if p.mutant != nil && p.mutant.config != nil {
		p.mutant.config(&config)
	}
	p.mutateKeys(&keys)
	p.twin, err = gate.New(config, p.regions, keys)
	return err
}

func (p *pair) mutateKeys(keys *gate.CookieKeys) {
	if p.mutant != nil && p.mutant.keys != nil {
		p.mutant.keys(keys)
	}
}

// apply does a step to both sides. The error is a disagreement, or wraps
// errHarness.
func (p *pair) apply(s *step) error {
	switch s.kind {
	case stepFrame:
		return p.frame(s.frame)
	case stepOpen:
		return p.openSession(s)
	case stepClose:
		delete(p.open, s.key)
		p.twin.Delete(s.key)
		return harness(p.k.gate.Sessions().Delete(s.key))
	case stepSndNxt:
		p.regions.Flow(uint32(s.n)).SetSndNxt(s.value)
		p.k.gate.Regions().Flow(uint32(s.n)).SetSndNxt(s.value)
	case stepTake:
		return p.take(s.n)
	case stepRelease:
		return p.release(s.n, int(s.value))
	case stepReleased:
		p.regions.Flow(uint32(s.n)).SetReleased(s.value)
		p.k.gate.Regions().Flow(uint32(s.n)).SetReleased(s.value)
	case stepDirty:
		return p.takeDirty(s.n)
	case stepSleep:
		p.regions.SetAsleep(s.n)
		p.k.gate.Regions().SetAsleep(s.n)
	case stepCookies:
		keys := s.keys
		p.mutateKeys(&keys)
		p.twin.SetCookieKeys(keys)
		return harness(p.k.configure(p.setup.config, s.keys))
	}
	return nil
}

// errHarness marks what is no disagreement but a failure of the machinery.
var errHarness = errors.New("harness")

func harness(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errHarness, err)
}

func (p *pair) openSession(s *step) error {
	info := commit.FlowInfo{
		ID: s.init.ID, Key: s.key, ClientISN: s.init.ClientISN, ServerISN: s.init.ServerISN, Token: s.init.Token,
		SndNxt: s.init.ServerISN + 1, Opened: p.now,
	}
	p.regions.Flow(s.init.Slot).Open(&info, wire.ReceiveWindow)
	p.k.gate.Regions().Flow(s.init.Slot).Open(&info, wire.ReceiveWindow)
	p.open[s.key] = s.init
	if err := p.twin.Create(s.key, s.init); err != nil {
		return harness(err)
	}
	return harness(p.k.gate.Sessions().Create(s.key, s.init))
}

func (p *pair) take(ring int) error {
	_, idx, ok := p.regions.Reader(ring).Next()
	_, kernelIdx, kernelOK := p.k.gate.Regions().Reader(ring).Next()
	if idx != kernelIdx || ok != kernelOK {
		return fmt.Errorf("ring %d gives slot %d (%v), the twin's %d (%v)", ring, kernelIdx, kernelOK, idx, ok)
	}
	if ok {
		p.held[ring] = append(p.held[ring], idx)
	}
	return nil
}

func (p *pair) release(ring, i int) error {
	held := p.held[ring]
	if len(held) == 0 {
		return nil
	}
	i %= len(held)
	idx := held[i]
	p.held[ring] = slices.Delete(held, i, i+1)
	ok := p.regions.Reader(ring).Release(idx)
	if kernelOK := p.k.gate.Regions().Reader(ring).Release(idx); !ok || !kernelOK {
		return fmt.Errorf("slot %d of ring %d not released: kernel %v, twin %v", idx, ring, kernelOK, ok)
	}
	return nil
}

func (p *pair) takeDirty(worker int) error {
	var ours, kernels []uint32
	p.regions.TakeDirty(worker, func(slot uint32) { ours = append(ours, slot) })
	p.k.gate.Regions().TakeDirty(worker, func(slot uint32) { kernels = append(kernels, slot) })
	if !slices.Equal(ours, kernels) {
		return fmt.Errorf("worker %d has dirty %v, the twin's %v", worker, kernels, ours)
	}
	return nil
}

// frame runs a frame through both, and compares what both said and did.
func (p *pair) frame(frame []byte) error {
	p.frames++
	f, _ := wire.ParseFrame(frame)
	init, known := p.open[f.Key]
	seen := p.lastSeen(init.Slot)
	slept := p.asleep(init.Worker)

	n := copy(p.k.in[:], frame)
	verdict, outcome, out, err := p.k.frame(n)
	if errors.Is(err, errOutcomes) {
		return err
	}
	if err != nil {
		return harness(err)
	}
	p.seen[outcome]++
	if profileOf(&f.Key) == wire.Compact {
		p.compact[outcome]++
	}
	if err := p.learnNow(known, init.Slot, seen, out, &f, verdict); err != nil {
		return err
	}

	twinOutcome, reply := p.askTwin(frame)
	switch {
	case outcome != twinOutcome:
		return fmt.Errorf("outcome %v, the twin's %v", outcome, twinOutcome)
	case verdict != outcome.Verdict():
		return fmt.Errorf("verdict %v with outcome %v", verdict, outcome)
	case verdict == gate.TX && !bytes.Equal(out, reply):
		return fmt.Errorf("reply\n%x, the twin's\n%x", out, reply)
	case verdict != gate.TX && !bytes.Equal(out, frame):
		return fmt.Errorf("%v changed the frame to\n%x", outcome, out)
	}
	if !known {
		return nil
	}
	if slept && !p.asleep(init.Worker) {
		rung, err := p.bellRung(int(init.Worker))
		if err != nil {
			return err
		}
		if !rung {
			return fmt.Errorf("worker %d was woken without a bell", init.Worker)
		}
		p.k.gate.Doorbell(int(init.Worker)).Drain()
	}
	return p.compareTouched(&f.Key, init)
}

// asleep reports whether a worker sleeps, as the program sees it.
func (p *pair) asleep(worker uint32) bool { return p.k.memory.Workers[worker*workerSize] != 0 }

const workerSize = 64

func (p *pair) bellRung(worker int) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(p.k.gate.Doorbell(worker).FD()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll(fds, 0)
	}
	return n > 0, harness(err)
}

func (p *pair) askTwin(frame []byte) (gate.Outcome, []byte) {
	m := p.mutant
	if m != nil && m.before != nil {
		frame = bytes.Clone(frame)
		m.before(p, frame)
	}
	outcome, reply := p.twin.Frame(frame, p.out[:], p.now, p.k.cpu)
	if m != nil && m.after != nil {
		m.after(p, frame, reply)
	}
	return outcome, reply
}

// lastSeen reads the nanosecond at which the program last heard a session.
func (p *pair) lastSeen(slot uint32) uint64 {
	const offLastSeen = 24
	return binary.NativeEndian.Uint64(p.k.memory.Flows[int(slot)*flowSize+offLastSeen:])
}

const flowSize = 384

// learnNow sets the twin's clock to what the program's clock was. A session
// keeps the nanosecond; a SYN|ACK tells the microsecond, which is all that its
// answer is made of. What leaves neither does not depend on the time.
func (p *pair) learnNow(known bool, slot uint32, seen uint64, out []byte, f *wire.Frame, verdict gate.Verdict) error {
	const offTimestamp, offCompact = 13, 4
	now := p.now
	if last := p.lastSeen(slot); known && last != seen {
		now = last
	} else if verdict == gate.TX && profileOf(&f.Key) == wire.Compact {
		micros := now / 1000
		low := binary.BigEndian.Uint32(out[f.Payload+offCompact:])
		now = (micros + uint64(low-uint32(micros))) * 1000
	} else if verdict == gate.TX {
		now = binary.BigEndian.Uint64(out[f.Payload+offTimestamp:]) * 1000
	}
	if now/1000 < p.now/1000 {
		return fmt.Errorf("the program's clock went back from %d to %d", p.now, now)
	}
	p.now = now
	return nil
}

// compareTouched compares what a frame of a session may have changed.
func (p *pair) compareTouched(key *wire.Key, init gate.SessionInit) error {
	if err := p.compareFlow(init.Slot); err != nil {
		return err
	}
	word := int(init.Slot/64) * 8
	if !bytes.Equal(p.k.memory.Dirty[word:word+8], p.memory.Dirty[word:word+8]) {
		return fmt.Errorf("dirty %x, the twin's %x", p.k.memory.Dirty[word:word+8], p.memory.Dirty[word:word+8])
	}
	if at := init.Worker * workerSize; p.k.memory.Workers[at] != p.memory.Workers[at] {
		return fmt.Errorf("worker %d asleep: %d, the twin's %d", init.Worker, p.k.memory.Workers[at], p.memory.Workers[at])
	}
	if err := p.compareRing(p.geometry.Ring(p.k.cpu, int(init.Worker))); err != nil {
		return err
	}
	if p.frames%4 != 0 {
		return nil
	}
	return p.compareSession(key)
}

func (p *pair) compareFlow(slot uint32) error {
	at := int(slot) * flowSize
	kernels, ours := p.k.memory.Flows[at:at+flowSize], p.memory.Flows[at:at+flowSize]
	if binary.NativeEndian.Uint32(kernels)&1 != 0 {
		return fmt.Errorf("version of flow %d stays odd", slot)
	}
	// How often each writes is not compared.
	if !bytes.Equal(kernels[4:], ours[4:]) {
		state, _ := p.k.gate.Regions().Flow(slot).Load()
		twin, _ := p.regions.Flow(slot).Load()
		return fmt.Errorf("flow %d is %+v, the twin's %+v", slot, state, twin)
	}
	return nil
}

// Layout of struct commit_ctl and struct commit_slot.
const (
	ctlSize    = 256
	ctlSeen    = 16 // fill_seen
	slotSize   = 1536
	slotLength = 32
	slotState  = 36
	slotData   = 40
)

// sameCtl compares the indices of a ring. When the program looked at
// fill_head last is its own affair.
func sameCtl(kernels, ours []byte) bool {
	return bytes.Equal(kernels[:ctlSeen], ours[:ctlSeen]) &&
		bytes.Equal(kernels[ctlSeen+8:], ours[ctlSeen+8:])
}

// sameSlot compares what a slot says: nothing, when it is free.
func sameSlot(kernels, ours []byte) bool {
	state := binary.NativeEndian.Uint32(kernels[slotState:])
	if state != binary.NativeEndian.Uint32(ours[slotState:]) {
		return false
	}
	if state == 0 {
		return true
	}
	used := slotData + int(binary.NativeEndian.Uint16(kernels[slotLength:]))
	return bytes.Equal(kernels[:used], ours[:used])
}

// sameEach compares two regions entry by entry.
func sameEach(kernels, ours []byte, size int, same func(kernels, ours []byte) bool) error {
	for at := 0; at < len(kernels); at += size {
		if !same(kernels[at:at+size], ours[at:at+size]) {
			return fmt.Errorf("entry %d is\n%x, the twin's\n%x", at/size, kernels[at:at+size], ours[at:at+size])
		}
	}
	return nil
}

// compareRing compares a ring's indices and the slot published last.
func (p *pair) compareRing(ring int) error {
	at := ring * ctlSize
	kernels, ours := p.k.memory.Ctl[at:at+ctlSize], p.memory.Ctl[at:at+ctlSize]
	if !sameCtl(kernels, ours) {
		return fmt.Errorf("indices of ring %d are %x, the twin's %x", ring, kernels, ours)
	}
	head := binary.NativeEndian.Uint64(ours)
	if head == 0 {
		return nil
	}
	at = (ring*p.geometry.Slots + int(head-1)&(p.geometry.Slots-1)) * 8
	slot := binary.NativeEndian.Uint64(p.memory.Ready[at:])
	if kernels := binary.NativeEndian.Uint64(p.k.memory.Ready[at:]); slot != kernels {
		return fmt.Errorf("ring %d published slot %d, the twin's %d", ring, kernels, slot)
	}
	at = (ring*p.geometry.Slots + int(slot)) * slotSize
	kernels, ours = p.k.memory.Slots[at:at+slotSize], p.memory.Slots[at:at+slotSize]
	if !sameSlot(kernels, ours) {
		return fmt.Errorf("slot %d of ring %d is\n%x, the twin's\n%x", slot, ring, kernels, ours)
	}
	return nil
}

func (p *pair) compareSession(key *wire.Key) error {
	kernels, ok, err := p.k.session(key)
	if err != nil {
		return harness(err)
	}
	ours, twinOK := p.twin.Session(*key)
	if ok != twinOK || kernels != ours {
		return fmt.Errorf("session is %+v (%v), the twin's %+v (%v)", kernels, ok, ours, twinOK)
	}
	return nil
}

// compareAll compares everything.
func (p *pair) compareAll() error {
	for slot := range uint32(p.geometry.MaxSessions) {
		if err := p.compareFlow(slot); err != nil {
			return err
		}
	}
	for key := range p.open {
		if err := p.compareSession(&key); err != nil {
			return err
		}
	}
	for worker := range p.geometry.Workers {
		rung, err := p.bellRung(worker)
		if err != nil {
			return err
		}
		if rung {
			return fmt.Errorf("the bell of worker %d rang though it did not sleep", worker)
		}
	}
	kernels, ours := regionsOf(&p.k.memory), regionsOf(&p.memory)
	for i, name := range regionNames {
		size, same := 8, bytes.Equal
		switch name {
		case "flows": // compared above
			continue
		case "commit_ctl":
			size, same = ctlSize, sameCtl
		case "commit_slots":
			size, same = slotSize, sameSlot
		}
		if err := sameEach(kernels[i], ours[i], size, same); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
