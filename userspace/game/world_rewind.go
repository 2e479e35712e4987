package game

import (
	"math"
	"time"
)

// rewindFor is how long positions are remembered.
const rewindFor = time.Second

// extrapolation is how far clients go on without news, and what Rewind allows for
// clocks that do not agree.
const extrapolation = 50 * time.Millisecond

// Sees reports whether a player was told of an entity in its newest snapshot, if
// that had room for it.
func (w *World[T]) Sees(p *Player, id ID) bool {
	v := w.known(p)
	return v != nil && v.known.Has(id)
}

// Rewind returns when it was that a player saw what it says it saw, in ms of the
// server's clock modulo 2^32, as in PlayerAction. It does not believe in more than
// MaxRewind, nor in what is not between the newest snapshot that the player has and
// Delay before it.
func (w *World[T]) Rewind(p *Player, saw uint32) time.Duration {
	now := time.Duration(w.room.Now())
	v := w.known(p)
	if v == nil || !v.ackedAny {
		return now
	}
	at := now + time.Duration(int32(saw-uint32(now/time.Millisecond)))*time.Millisecond
	first := max(now-w.opts.MaxRewind, v.acked-w.opts.Delay-extrapolation)
	last := max(min(now, v.acked+extrapolation), first)
	return min(max(at, first), last)
}

// PositionAt returns where an entity was at a time that Rewind gave, and false when
// it was not there.
func (w *World[T]) PositionAt(id ID, at time.Duration) (Vec, bool) {
	return w.past.At(id, at)
}

// Hit reports whether a shot on the way between two points passes a target within
// radius of where the player saw it. Who is not told of a target does not hit it.
func (w *World[T]) Hit(p *Player, target ID, saw uint32, from, to Vec, radius float32) bool {
	if !w.Has(target) || !w.Sees(p, target) {
		return false
	}
	at, ok := w.PositionAt(target, w.Rewind(p, saw))
	return ok && distance(at, from, to) <= float64(radius)
}

// distance is that of a point from the line between two others.
func distance(p, from, to Vec) float64 {
	var along, length float64
	for k := range p {
		d := float64(to[k] - from[k])
		along += float64(p[k]-from[k]) * d
		length += d * d
	}
	f := 0.0
	if length > 0 {
		f = min(max(along/length, 0), 1)
	}
	sum := 0.0
	for k := range p {
		d := float64(p[k]-from[k]) - f*float64(to[k]-from[k])
		sum += d * d
	}
	return math.Sqrt(sum)
}
