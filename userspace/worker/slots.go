package worker

import (
	"time"
)

// slotRest is how long a flow slot lies idle after its session left the gate's
// table, so that no CPU is still inside the flow when it is opened again.
const slotRest = uint64(time.Second)

// slotPool hands out the flow slots of one worker, the one that lay idle
// longest first.
type slotPool struct {
	ring []restingSlot // a queue
	head int
	size int
}

type restingSlot struct {
	slot  uint32
	ready uint64 // from when on it may be used
}

// init makes room for n slots.
func (p *slotPool) init(n int) { p.ring = make([]restingSlot, n) }

// put adds a slot that may be used from ready on. Times never go back.
func (p *slotPool) put(slot uint32, ready uint64) {
	p.ring[(p.head+p.size)%len(p.ring)] = restingSlot{slot, ready}
	p.size++
}

// get removes a slot, and is false when none is ready.
func (p *slotPool) get(now uint64) (slot uint32, ok bool) {
	if p.size == 0 || p.ring[p.head].ready > now {
		return 0, false
	}
	slot = p.ring[p.head].slot
	p.head = (p.head + 1) % len(p.ring)
	p.size--
	return slot, true
}
