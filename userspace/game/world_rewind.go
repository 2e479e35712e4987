package game

import (
	"math"
	"slices"
	"time"
)

// rewindFor is how long positions are remembered.
const rewindFor = time.Second

// extrapolation is how far clients go on without news, and what Rewind allows for
// clocks that do not agree.
const extrapolation = 50 * time.Millisecond

// told is what a player was told of at a tick.
type told struct {
	any bool
	at  time.Duration
	ids []ID
}

// note remembers what a player is told of now, for as long as Rewind goes back.
func (w *World[T]) note(v *viewer) {
	if v.told == nil {
		back := w.opts.MaxRewind + extrapolation
		v.told = make([]told, 2+int(back*time.Duration(w.room.kind.SnapshotRate)/time.Second))
	}
	v.last = (v.last + 1) % len(v.told)
	t := &v.told[v.last]
	*t = told{true, time.Duration(w.tick * w.room.interval), append(t.ids[:0], v.known.IDs()...)}
}

// Saw reports whether a player was told of an entity at a time that Rewind gave, or
// since then, if the snapshots had room for it. Its client may show what has meanwhile
// gone out of sight.
func (w *World[T]) Saw(p *Player, id ID, at time.Duration) bool {
	v := w.known(p)
	if v == nil {
		return false
	}
	for back := range v.told {
		t := &v.told[(v.last-back+len(v.told))%len(v.told)]
		if !t.any {
			return false
		}
		if slices.Contains(t.ids, id) {
			return true
		}
		// This one was in force then.
		if t.at <= at-extrapolation {
			return false
		}
	}
	return false
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
// radius of where the player saw it. Who was not told of a target does not hit it.
func (w *World[T]) Hit(p *Player, target ID, saw uint32, from, to Vec, radius float32) bool {
	then := w.Rewind(p, saw)
	if !w.Has(target) || !w.Saw(p, target, then) {
		return false
	}
	at, ok := w.PositionAt(target, then)
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
