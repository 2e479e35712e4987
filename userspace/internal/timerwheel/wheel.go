// Package timerwheel keeps timers of which most are moved before they fire,
// as those of sessions are: setting, moving and stopping one costs the same
// whatever their number, and nothing allocates.
package timerwheel

import (
	"math"
	"math/bits"
)

const (
	slotBits = 6
	slots    = 1 << slotBits
	levels   = 6
	// span is how many ticks ahead a timer can be placed. One further ahead
	// waits in the last slot and is placed again from there.
	span = 1 << (slotBits * levels)
)

// Never is what Next returns when no timer is set.
const Never = uint64(math.MaxUint64)

// Timer is one timer of a Wheel. The zero value with a Value is ready; it must
// not be copied while it is set.
type Timer[T any] struct {
	Value T

	when       uint64 // tick
	place      *slot[T]
	level      uint8
	index      uint8
	prev, next *Timer[T]
}

// IsSet reports whether the timer waits to fire.
func (t *Timer[T]) IsSet() bool { return t.place != nil }

type slot[T any] struct{ head *Timer[T] }

// Wheel is a hierarchical timer wheel. A timer fires up to two ticks late and
// never early. A Wheel is not safe for concurrent use.
type Wheel[T any] struct {
	tick    uint64 // ns
	elapsed uint64 // ticks
	used    [levels]uint64
	slots   [levels][slots]slot[T]
	count   int
}

// New returns a wheel at time now whose hand moves every tick nanoseconds.
func New[T any](now, tick uint64) *Wheel[T] {
	if tick == 0 {
		panic("timerwheel: tick of 0")
	}
	return &Wheel[T]{tick: tick, elapsed: now / tick}
}

// Len returns how many timers are set.
func (w *Wheel[T]) Len() int { return w.count }

// Set makes t fire at the given time, whether it was set before or not. A time
// that has passed fires in the next Advance that moves the hand. Never stops
// the timer.
func (w *Wheel[T]) Set(t *Timer[T], at uint64) {
	w.Stop(t)
	if at == Never {
		return
	}
	t.when = at / w.tick
	if at%w.tick != 0 {
		t.when++
	}
	w.place(t)
	w.count++
}

// Stop keeps t from firing. It may be called for one that is not set.
func (w *Wheel[T]) Stop(t *Timer[T]) {
	if t.place == nil {
		return
	}
	w.remove(t)
	w.count--
}

// Advance moves the hand to now and calls fire for each timer that is due, in
// the order of their ticks. fire may set and stop any timer.
func (w *Wheel[T]) Advance(now uint64, fire func(*Timer[T])) {
	target := now / w.tick
	for {
		level, index, at := w.earliest()
		if level < 0 || at > target {
			break
		}
		w.elapsed = at
		s := &w.slots[level][index]
		for t := s.head; t != nil; t = s.head {
			w.remove(t)
			if t.when > w.elapsed {
				w.place(t)
				continue
			}
			w.count--
			fire(t)
		}
	}
	w.elapsed = max(w.elapsed, target)
}

// Next returns a time before which no timer is due. It is exact for timers
// that are near and early for those far ahead.
func (w *Wheel[T]) Next() uint64 {
	level, _, at := w.earliest()
	if level < 0 {
		return Never
	}
	return at * w.tick
}

// place puts t into the slot of its tick: at the lowest level whose slots
// still tell that tick from the current one.
func (w *Wheel[T]) place(t *Timer[T]) {
	when := min(max(t.when, w.elapsed+1), w.elapsed+span-1)
	if t.when < when {
		t.when = when
	}
	level := (63 - bits.LeadingZeros64((when^w.elapsed)|(slots-1))) / slotBits
	// A carry out of the highest level would point beyond it.
	level = min(level, levels-1)
	index := when >> (slotBits * level) % slots
	s := &w.slots[level][index]
	t.place, t.level, t.index = s, uint8(level), uint8(index)
	t.prev, t.next = nil, s.head
	if s.head != nil {
		s.head.prev = t
	}
	s.head = t
	w.used[level] |= 1 << index
}

func (w *Wheel[T]) remove(t *Timer[T]) {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		t.place.head = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.place.head == nil {
		w.used[t.level] &^= 1 << t.index
	}
	t.place, t.prev, t.next = nil, nil, nil
}

// earliest returns the first slot in use and the tick at which it begins; the
// level is -1 when there is none. Slots of a lower level come before those of
// a higher one.
func (w *Wheel[T]) earliest() (level, index int, at uint64) {
	for level := range levels {
		used := w.used[level]
		if used == 0 {
			continue
		}
		shift := slotBits * level
		current := w.elapsed >> shift
		// The slot of the current tick is used up, so the search begins
		// behind it and may come back to it from the next turn.
		ahead := bits.TrailingZeros64(bits.RotateLeft64(used, -int((current+1)%slots))) + 1
		at := (current + uint64(ahead)) << shift
		return level, int(current+uint64(ahead)) % slots, at
	}
	return -1, 0, 0
}
