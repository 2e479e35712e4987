package commit

import "sync/atomic"

// MaxBody is the most bytes a Slot holds.
const MaxBody = 1472

// Slot states.
const (
	slotFree      = 0
	slotCommitted = 1
)

// Slot is struct commit_slot: one reliable packet, from its acknowledgement
// until the handler had it.
type Slot struct {
	Received    uint64 // ns, CLOCK_MONOTONIC
	SessionID   uint64
	SessionSlot uint32
	Sequence    uint32
	Timestamp   uint64 // of the client, microseconds
	Length      uint16 // of Data in use; Body checks it
	Flags       uint8  // of the packet
	_           uint8
	state       uint32
	Data        [MaxBody]byte // body behind the acknowledgement block
	_           [24]byte
}

// Body returns the data in use. It aliases the slot.
func (s *Slot) Body() []byte { return s.Data[:min(int(s.Length), MaxBody)] }

// ring is the part of a commit ring that both ends look at.
//
// A slot's way round, each arrow taken by the side named over it:
//
//	        gate                  worker                 worker
//	fill ---------> filled, ready ------> read (or held) ------> fill
//
// What orders the two sides:
//
//	gate                            worker
//	load fill_head                  load ready_head
//	read fill[fill_tail]            read ready[ready_tail]
//	write slot                      ready_tail + 1
//	state = COMMITTED               read slot
//	write ready[ready_head]         state = FREE
//	ready_head + 1        (publish) write fill[fill_head]
//	fill_tail + 1                   fill_head + 1             (publish)
//
// sync/atomic is sequentially consistent: whoever loads an index published by
// the other side sees everything written before.
type ring struct {
	ctl   *ringCtl
	fill  []uint64
	ready []uint64
	slots []Slot
	mask  uint64
}

func (r *Regions) ring(n int) ring {
	slots := r.geometry.Slots
	return ring{
		ctl:   &r.ctl[n],
		fill:  r.fill[n*slots : (n+1)*slots],
		ready: r.ready[n*slots : (n+1)*slots],
		slots: r.slots[n*slots : (n+1)*slots],
		mask:  uint64(slots - 1),
	}
}

// Writer is the producing end of one commit ring. One goroutine uses it.
type Writer struct {
	ring
	workers *workerCtl
	taken   uint64 // slot number of the last Reserve
}

// Writer returns the producing end of a ring.
func (r *Regions) Writer(n int) *Writer {
	return &Writer{ring: r.ring(n), workers: &r.workers[n%r.geometry.Workers]}
}

// Free returns how many slots can be reserved now: none where the indices
// make no sense.
func (w *Writer) Free() int {
	n := atomic.LoadUint64(&w.ctl.fillHead) - atomic.LoadUint64(&w.ctl.fillTail)
	if n > w.mask+1 {
		return 0
	}
	return int(n)
}

// Reserve returns the next free slot for filling, and false when there is
// none. Nothing has happened until Publish: the next Reserve returns the same
// slot.
func (w *Writer) Reserve() (*Slot, bool) {
	if w.Free() == 0 {
		return nil, false
	}
	w.taken = w.fill[atomic.LoadUint64(&w.ctl.fillTail)&w.mask] & w.mask
	return &w.slots[w.taken], true
}

// Publish commits the slot returned by Reserve: from here on the packet may
// be acknowledged. It reports whether the worker has to be woken.
func (w *Writer) Publish() (wake bool) {
	w.publishState()
	w.publishReady()
	w.publishTaken()
	return atomic.SwapUint32(&w.workers.asleep, 0) == 1
}

func (w *Writer) publishState() {
	atomic.StoreUint32(&w.slots[w.taken].state, slotCommitted)
}

func (w *Writer) publishReady() {
	head := atomic.LoadUint64(&w.ctl.readyHead)
	w.ready[head&w.mask] = w.taken
	atomic.StoreUint64(&w.ctl.readyHead, head+1)
}

func (w *Writer) publishTaken() {
	atomic.StoreUint64(&w.ctl.fillTail, atomic.LoadUint64(&w.ctl.fillTail)+1)
}

// Reader is the consuming end of one commit ring. One goroutine uses it.
type Reader struct {
	ring
	head uint64 // readyHead when it was last looked at
}

// Reader returns the consuming end of a ring. Recover comes first where
// another process may have used the ring.
func (r *Regions) Reader(n int) *Reader {
	rd := &Reader{ring: r.ring(n)}
	rd.head = atomic.LoadUint64(&rd.ctl.readyTail)
	return rd
}

// Next picks up the next committed slot, which stays the caller's until
// Release. Entries that name no committed slot are passed over: they cannot
// come from a working gate.
func (r *Reader) Next() (s *Slot, idx uint32, ok bool) {
	tail := atomic.LoadUint64(&r.ctl.readyTail)
	if tail == r.head {
		// The producer writes this line for every packet: it is taken from it
		// once per batch.
		head := atomic.LoadUint64(&r.ctl.readyHead)
		if head-tail > r.mask+1 {
			return nil, 0, false
		}
		r.head = head
	}
	for ; tail != r.head; tail++ {
		idx = uint32(r.ready[tail&r.mask] & r.mask)
		atomic.StoreUint64(&r.ctl.readyTail, tail+1)
		s = &r.slots[idx]
		if atomic.LoadUint32(&s.state) == slotCommitted {
			return s, idx, true
		}
	}
	return nil, 0, false
}

// Slot returns a slot that Next or Recover named. It panics when idx is out
// of range.
func (r *Reader) Slot(idx uint32) *Slot { return &r.slots[idx] }

// Release gives a slot back to the gate once every message in it was handed
// over. It is false, and does nothing, when the slot is not committed. It
// panics when idx is out of range.
func (r *Reader) Release(idx uint32) bool {
	if !r.releaseState(idx) {
		return false
	}
	r.releaseFill(idx)
	r.releasePublish()
	return true
}

func (r *Reader) releaseState(idx uint32) bool {
	return atomic.CompareAndSwapUint32(&r.slots[idx].state, slotCommitted, slotFree)
}

func (r *Reader) releaseFill(idx uint32) {
	r.fill[atomic.LoadUint64(&r.ctl.fillHead)&r.mask] = uint64(idx)
}

func (r *Reader) releasePublish() {
	atomic.StoreUint64(&r.ctl.fillHead, atomic.LoadUint64(&r.ctl.fillHead)+1)
}

// Pending returns how many committed slots Next has yet to pick up.
func (r *Reader) Pending() int {
	n := atomic.LoadUint64(&r.ctl.readyHead) - atomic.LoadUint64(&r.ctl.readyTail)
	if n > r.mask+1 {
		return 0
	}
	return int(n)
}

// Free returns how many slots the gate can still fill. While the gate is
// between its two publications there seems to be one too many, which is cut.
func (r *Reader) Free() int {
	n := atomic.LoadUint64(&r.ctl.fillHead) - atomic.LoadUint64(&r.ctl.fillTail)
	return int(min(n, r.mask+1))
}
