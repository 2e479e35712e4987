// Package commit holds the memory that outlives a server: the commit rings
// that carry acknowledged packets from the gate to a worker, the flows through
// which both tell one another about the other direction, and the large messages
// that a worker is putting together.
//
// The layouts are those of headers/maps.h. The memory is a set of pinned BPF
// arrays where XDP is the gate, a file or plain memory where userspace/gate
// is. Whatever is read from it may have been written by a process that died
// half-way, so indices are masked and bound-checked and never trusted.
package commit

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// SchemaVersion is SCHEMA_VERSION of headers/maps.h: the version of every
// layout in this package.
const SchemaVersion = 3

// Bounds on a Geometry.
const (
	MaxWorkers  = 64
	MaxCPUs     = 4096
	MaxSlots    = 1 << 20 // per ring
	MaxSessions = 1 << 24
)

// ErrGeometry marks a geometry or a region that does not fit the layout.
var ErrGeometry = errors.New("geometry out of bounds")

// Geometry says how many of everything there are.
type Geometry struct {
	Workers     int // sessions are spread over this many
	CPUs        int // commit rings per worker
	Slots       int // per ring, a power of two
	MaxSessions int // a multiple of 64 × Workers

	// TransferBytes is the memory of each worker for large messages while they
	// arrive, a multiple of TransferPage. Without it none are taken.
	TransferBytes int
}

// Validate reports what is wrong with g, wrapping ErrGeometry.
func (g Geometry) Validate() error {
	switch {
	case g.Workers < 1 || g.Workers > MaxWorkers:
		return fmt.Errorf("%d workers, want 1 to %d: %w", g.Workers, MaxWorkers, ErrGeometry)
	case g.CPUs < 1 || g.CPUs > MaxCPUs:
		return fmt.Errorf("%d CPUs, want 1 to %d: %w", g.CPUs, MaxCPUs, ErrGeometry)
	case g.Slots < 2 || g.Slots > MaxSlots || g.Slots&(g.Slots-1) != 0:
		return fmt.Errorf("%d slots per ring, want a power of two from 2 to %d: %w", g.Slots, MaxSlots, ErrGeometry)
	case g.MaxSessions < 1 || g.MaxSessions > MaxSessions || g.MaxSessions%(64*g.Workers) != 0:
		return fmt.Errorf("%d sessions, want a multiple of %d up to %d: %w",
			g.MaxSessions, 64*g.Workers, MaxSessions, ErrGeometry)
	case g.TransferBytes < 0 || g.TransferBytes > MaxTransferBytes || g.TransferBytes%TransferPage != 0:
		return fmt.Errorf("%d bytes for large messages, want a multiple of %d up to %d: %w",
			g.TransferBytes, TransferPage, MaxTransferBytes, ErrGeometry)
	}
	return nil
}

// minSessionBudget is the least budget that a client can keep a window open
// with.
const minSessionBudget = 64

// SessionBudget returns how many reliable packets of one session may wait for
// its worker where nothing else is said: half of a ring, and 64 at least.
func (g Geometry) SessionBudget() int { return max(g.Slots/2, minSessionBudget) }

// Rings returns the number of commit rings.
func (g Geometry) Rings() int { return g.CPUs * g.Workers }

// Ring returns the number of the ring that carries packets from cpu to worker.
func (g Geometry) Ring(cpu, worker int) int { return cpu*g.Workers + worker }

// SessionsPerWorker returns how many flows each worker owns: worker w owns
// [w×n, (w+1)×n).
func (g Geometry) SessionsPerWorker() int { return g.MaxSessions / g.Workers }

// Sizes holds the length in bytes of each region.
type Sizes struct {
	Flows, Dirty, Ctl, Fill, Ready, Slots, Workers, Transfers, TransferPages int
}

// Sizes returns the length of each region.
func (g Geometry) Sizes() Sizes {
	return Sizes{
		Flows:   g.MaxSessions * int(unsafe.Sizeof(Flow{})),
		Dirty:   g.MaxSessions / 8,
		Ctl:     g.Rings() * int(unsafe.Sizeof(ringCtl{})),
		Fill:    g.Rings() * g.Slots * 8,
		Ready:   g.Rings() * g.Slots * 8,
		Slots:   g.Rings() * g.Slots * int(unsafe.Sizeof(Slot{})),
		Workers: g.Workers * int(unsafe.Sizeof(workerCtl{})),

		Transfers:     g.Workers * g.transferPages() * int(unsafe.Sizeof(transfer{})),
		TransferPages: g.Workers * g.transferPages() * TransferPage,
	}
}

// Memory is the raw memory of each region. Each starts on a cache line or
// better and is at least as long as Geometry.Sizes says; it stays mapped for
// as long as anything made from it is in use.
type Memory struct {
	Flows, Dirty, Ctl, Fill, Ready, Slots, Workers, Transfers, TransferPages []byte
}

// Regions is a typed view of shared memory. Its methods say who may call
// them; making readers and writers is safe from anywhere.
type Regions struct {
	geometry Geometry
	flows    []Flow
	dirty    []uint64
	ctl      []ringCtl
	fill     []uint64
	ready    []uint64
	slots    []Slot
	workers  []workerCtl

	transfers     []transfer
	transferPages []byte
}

// ringCtl is struct commit_ctl: free-running indices of one ring.
type ringCtl struct {
	readyHead uint64 // producer: published slots
	fillTail  uint64 // producer: slots taken
	fillSeen  uint64 // the XDP program's own: fillHead when it last looked
	_         [13]uint64
	fillHead  uint64 // consumer: slots offered
	readyTail uint64 // consumer: slots picked up
	_         [14]uint64
}

// workerCtl is struct worker_ctl.
type workerCtl struct {
	asleep uint32
	_      uint32
	_      [7]uint64
}

// Sizes of the shared structs; a difference does not compile.
var (
	_ = [1]byte{}[unsafe.Sizeof(Flow{})-384]
	_ = [1]byte{}[unsafe.Sizeof(Slot{})-1536]
	_ = [1]byte{}[unsafe.Sizeof(ringCtl{})-256]
	_ = [1]byte{}[unsafe.Sizeof(workerCtl{})-64]
)

const cacheLine = 64

// NewRegions lays typed views over m, which it neither clears nor repairs.
func NewRegions(g Geometry, m Memory) (*Regions, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	r := &Regions{geometry: g}
	s := g.Sizes()
	var err error
	r.flows, err = view[Flow]("flows", m.Flows, s.Flows, err)
	r.dirty, err = view[uint64]("dirty", m.Dirty, s.Dirty, err)
	r.ctl, err = view[ringCtl]("commit_ctl", m.Ctl, s.Ctl, err)
	r.fill, err = view[uint64]("commit_fill", m.Fill, s.Fill, err)
	r.ready, err = view[uint64]("commit_ready", m.Ready, s.Ready, err)
	r.slots, err = view[Slot]("commit_slots", m.Slots, s.Slots, err)
	r.workers, err = view[workerCtl]("worker_ctl", m.Workers, s.Workers, err)
	r.transfers, err = view[transfer]("transfers", m.Transfers, s.Transfers, err)
	r.transferPages, err = view[byte]("transfer_pages", m.TransferPages, s.TransferPages, err)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// view retypes the first size bytes of b unless an earlier view failed.
func view[T any](name string, b []byte, size int, earlier error) ([]T, error) {
	if earlier != nil {
		return nil, earlier
	}
	if size == 0 {
		return nil, nil
	}
	if len(b) < size {
		return nil, fmt.Errorf("%s: %d bytes, want %d: %w", name, len(b), size, ErrGeometry)
	}
	p := unsafe.Pointer(unsafe.SliceData(b))
	if uintptr(p)%cacheLine != 0 {
		return nil, fmt.Errorf("%s: not on a cache line: %w", name, ErrGeometry)
	}
	var t T
	return unsafe.Slice((*T)(p), size/int(unsafe.Sizeof(t))), nil
}

// NewMemory returns fresh, zeroed regions in the memory of this process: for
// tests, and for servers that need not survive themselves. Every ring's slots
// are free.
func NewMemory(g Geometry) (*Regions, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	_, size := carve(g, func(int) []byte { return nil })
	all := make([]byte, size+cacheLine)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(all)))) & (cacheLine - 1)
	all = all[skip:]
	at := 0
	m, _ := carve(g, func(n int) []byte {
		b := all[at : at+n : at+n]
		at += n
		return b
	})
	r, err := NewRegions(g, m)
	if err != nil {
		return nil, err
	}
	r.repair()
	return r, nil
}

// carve asks take for the memory of each region in turn, in whole pages, and
// returns the sum of what it asked for.
func carve(g Geometry, take func(n int) []byte) (m Memory, size int) {
	s := g.Sizes()
	next := func(n int) []byte {
		n = (n + pageSize - 1) &^ (pageSize - 1)
		size += n
		return take(n)
	}
	m.Flows = next(s.Flows)
	m.Dirty = next(s.Dirty)
	m.Ctl = next(s.Ctl)
	m.Fill = next(s.Fill)
	m.Ready = next(s.Ready)
	m.Slots = next(s.Slots)
	m.Workers = next(s.Workers)
	m.Transfers = next(s.Transfers)
	m.TransferPages = next(s.TransferPages)
	return m, size
}

// pageSize is a multiple of the page size of every supported machine, so that
// a state file does not depend on which one wrote it.
const pageSize = 64 << 10

// Geometry returns the geometry the regions were made with.
func (r *Regions) Geometry() Geometry { return r.geometry }

// Flow returns the flow of a session slot. It panics when slot is out of
// range: slot numbers from shared memory are checked with Owner first.
func (r *Regions) Flow(slot uint32) *Flow { return &r.flows[slot] }

// Owner returns the worker that owns a session slot, and false when there is
// no such slot.
func (r *Regions) Owner(slot uint32) (worker int, ok bool) {
	if int64(slot) >= int64(r.geometry.MaxSessions) {
		return 0, false
	}
	return int(slot) / r.geometry.SessionsPerWorker(), true
}

// MarkDirty tells the owner of a session slot that XDP's half of the flow
// changed. The gate calls it, after the change.
func (r *Regions) MarkDirty(slot uint32) {
	atomic.OrUint64(&r.dirty[slot/64], 1<<(slot%64))
}

// TakeDirty calls f for every session slot of worker marked since the last
// call. Only the worker itself calls it.
//
//	gate                         worker
//	change flow                  swap word with 0  -> bit seen
//	set bit in word              read flow
//
// A change behind the swap sets the bit again, so that none is missed; one
// between swap and read is seen twice.
func (r *Regions) TakeDirty(worker int, f func(slot uint32)) {
	words := r.geometry.SessionsPerWorker() / 64
	first := worker * words
	own := r.dirty[first : first+words]
	for i := range own {
		if atomic.LoadUint64(&own[i]) == 0 {
			continue
		}
		word := atomic.SwapUint64(&own[i], 0)
		base := uint32(first+i) * 64
		for ; word != 0; word &= word - 1 {
			f(base + uint32(bits.TrailingZeros64(word)))
		}
	}
}

// SetAsleep says that the worker is about to wait for its doorbell. It looks
// at its rings once more before it waits, and calls ClearAsleep when it found
// something or woke up. Only the worker itself calls either.
//
//	worker                       gate
//	asleep = 1                   publish slot
//	full barrier                 full barrier
//	look at ready_head           swap asleep with 0 -> was 1: ring
//
// Each side writes before it reads, so at least one sees the other.
func (r *Regions) SetAsleep(worker int) { atomic.StoreUint32(&r.workers[worker].asleep, 1) }

// ClearAsleep takes SetAsleep back.
func (r *Regions) ClearAsleep(worker int) { atomic.StoreUint32(&r.workers[worker].asleep, 0) }

// Wake reports whether the worker waited for its doorbell, which the caller
// then rings. It may be called from anywhere.
func (r *Regions) Wake(worker int) bool {
	return atomic.SwapUint32(&r.workers[worker].asleep, 0) == 1
}
