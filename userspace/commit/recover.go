package commit

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// ErrCorrupt marks a ring whose indices no working gate and worker can have
// left.
var ErrCorrupt = errors.New("commit ring is corrupt")

// Recover takes a ring over from a consumer that is gone, while its producer
// may be at work. It returns the slots that were picked up but not released:
// the caller delivers and releases them through Reader. Slots in the ready
// queue come by Reader.Next as ever, and slots that belonged to neither side
// are given back to the producer. A zeroed ring gets all its slots.
//
//	producer                      recovery
//	ready_head + 1                F = fill_tail
//	fill_tail + 1                 P = ready_head
//
// A slot taken before F is in the ready queue before P. One taken since is in
// fill from F on. What is in neither is not the producer's, and does not
// change while it is looked at.
func Recover(r *Regions, n int) (held []uint32, err error) {
	ring := r.ring(n)
	slots := ring.mask + 1
	taken := atomic.LoadUint64(&ring.ctl.fillTail)
	published := atomic.LoadUint64(&ring.ctl.readyHead)
	offered := atomic.LoadUint64(&ring.ctl.fillHead)
	picked := atomic.LoadUint64(&ring.ctl.readyTail)

	// One more than the ring holds is a release between the producer's two
	// publications: first and last entry are the same slot.
	if offered-taken == slots+1 {
		taken++
	}
	if offered-taken > slots || published-picked > slots {
		return nil, fmt.Errorf("ring %d: fill %d to %d, ready %d to %d: %w",
			n, taken, offered, picked, published, ErrCorrupt)
	}
	inRing := make([]bool, slots)
	if !mark(inRing, ring.ready, picked, published) {
		return nil, fmt.Errorf("ring %d: slot twice in ready queue: %w", n, ErrCorrupt)
	}
	inFill := make([]bool, slots)
	if !mark(inFill, ring.fill, taken, offered) {
		return nil, fmt.Errorf("ring %d: slot twice in fill queue: %w", n, ErrCorrupt)
	}
	for i := range ring.slots {
		if inRing[i] || inFill[i] {
			continue
		}
		if atomic.LoadUint32(&ring.slots[i].state) == slotCommitted {
			held = append(held, uint32(i))
			continue
		}
		atomic.StoreUint32(&ring.slots[i].state, slotFree)
		ring.fill[offered&ring.mask] = uint64(i)
		offered++
	}
	atomic.StoreUint64(&ring.ctl.fillHead, offered)
	return held, nil
}

// mark sets the slots named by queue[from:to), and is false when one is named
// twice or is out of range.
func mark(set []bool, queue []uint64, from, to uint64) bool {
	mask := uint64(len(queue) - 1)
	for ; from != to; from++ {
		slot := queue[from&mask]
		if slot > mask || set[slot] {
			return false
		}
		set[slot] = true
	}
	return true
}

// repair makes sense of regions that nobody uses, after the process that was
// gate and worker in one died anywhere. Only slot states and the order of the
// ready queue are believed; both queues are laid out anew. A slot that was
// filled but never published was not acknowledged, and counts as held.
func (r *Regions) repair() {
	for i := range r.flows {
		r.flows[i].calm()
	}
	for i := range r.workers {
		r.workers[i].asleep = 0
	}
	queued := make([]bool, r.geometry.Slots)
	for n := range r.ctl {
		ring := r.ring(n)
		clear(queued)
		ring.relayReady(queued)
		ring.relayFill()
	}
}

// relayReady keeps what is committed of the ready queue, each slot once, and
// marks it in queued.
func (r *ring) relayReady(queued []bool) {
	from, to := r.ctl.readyTail, r.ctl.readyHead
	if to-from > r.mask+1 {
		from = to
	}
	kept := from
	for ; from != to; from++ {
		slot := r.ready[from&r.mask]
		if slot > r.mask || queued[slot] || r.slots[slot].state != slotCommitted {
			continue
		}
		queued[slot] = true
		r.ready[kept&r.mask] = slot
		kept++
	}
	r.ctl.readyHead = kept
	r.ctl.readyTail = kept - uint64(countTrue(queued))
}

// relayFill offers every slot that is not committed.
func (r *ring) relayFill() {
	r.ctl.fillTail, r.ctl.fillHead = 0, 0
	for i := range r.slots {
		if r.slots[i].state == slotCommitted {
			continue
		}
		r.slots[i].state = slotFree
		r.fill[r.ctl.fillHead] = uint64(i)
		r.ctl.fillHead++
	}
}

func countTrue(set []bool) (n int) {
	for _, b := range set {
		if b {
			n++
		}
	}
	return n
}
