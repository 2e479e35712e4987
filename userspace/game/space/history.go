package space

import (
	"time"

	"github.com/xrudp/xrudp/userspace/snapshot"
)

// History is where entities were at the newest ticks. Its memory is fixed.
type History struct {
	capacity int
	count    int // ticks recorded, at most len(times)
	newest   int
	times    []time.Duration
	places   []place // of each tick, by slot
}

// place is where a tenant of a slot was.
type place struct {
	at         Vec
	generation uint16
	present    bool
}

// NewHistory returns a history of that many ticks, for entities in slots below
// capacity.
func NewHistory(ticks, capacity int) *History {
	if ticks < 1 || capacity < 1 {
		panic("space: history of nothing")
	}
	return &History{
		capacity: capacity, newest: ticks - 1,
		times: make([]time.Duration, ticks), places: make([]place, ticks*capacity),
	}
}

// Begin starts a tick, which is later than the one before, and forgets the oldest.
func (h *History) Begin(at time.Duration) {
	if h.count > 0 && at <= h.times[h.newest] {
		panic("space: a tick that does not come after the last one")
	}
	h.newest = (h.newest + 1) % len(h.times)
	h.count = min(h.count+1, len(h.times))
	h.times[h.newest] = at
	clear(h.tick(h.newest))
}

// Set notes where an entity is in the tick begun last.
func (h *History) Set(id snapshot.ID, at Vec) {
	h.tick(h.newest)[id.Slot] = place{at, id.Generation, true}
}

func (h *History) tick(i int) []place { return h.places[i*h.capacity:][:h.capacity] }

// At returns where an entity was at a time, between two ticks on the line between
// where it was at both. It tells that it does not know when the entity was not
// there, or had not come yet, or when the time is before all that is remembered.
// After the last tick everything stays where it is.
func (h *History) At(id snapshot.ID, at time.Duration) (p Vec, ok bool) {
	if int(id.Slot) >= h.capacity {
		return p, false
	}
	later := -1 // the tick after the one looked at
	for back := range h.count {
		i := (h.newest - back + len(h.times)) % len(h.times)
		if h.times[i] > at {
			later = i
			continue
		}
		from := &h.tick(i)[id.Slot]
		if !from.present || from.generation != id.Generation {
			return p, false
		}
		if later < 0 {
			return from.at, true
		}
		to := &h.tick(later)[id.Slot]
		if !to.present || to.generation != id.Generation {
			return from.at, true
		}
		f := float32(float64(at-h.times[i]) / float64(h.times[later]-h.times[i]))
		for k := range p {
			p[k] = from.at[k] + (to.at[k]-from.at[k])*f
		}
		return p, true
	}
	return p, false
}
