package game

import (
	"math"
	"time"

	"github.com/xrudp/xrudp/userspace/game/space"
)

const (
	// measureOver is how far apart claims are whose difference tells a velocity:
	// their times have whole milliseconds.
	measureOver = 45 * time.Millisecond

	// measureWithin is when they are too far apart to tell.
	measureWithin = 500 * time.Millisecond

	// restAfter is how long one may be silent and go on.
	restAfter = 200 * time.Millisecond
)

// measure is the claim that a velocity is measured from.
type measure struct {
	known bool
	at    Vec
	timed bool
	time  uint32        // ms, as claimed
	tick  time.Duration // when it came
}

// measure tells the velocity of who moves itself, by the times of its claims where
// it gives them.
func (w *World[T]) measure(v *viewer, state *T, m *space.Moved, now time.Duration) {
	s := &v.since
	passed := now - s.tick
	if s.known && s.timed && m.Timed {
		passed = time.Duration(int32(m.Time-s.time)) * time.Millisecond
	}
	switch {
	case s.known && passed >= 0 && passed < measureOver && now-s.tick < measureWithin:
		return
	case s.known && passed > 0 && passed < measureWithin:
		velocity := w.opts.Velocity(state)
		d := vecSub(m.At, s.at)
		for k := range d {
			velocity[k] = d[k] / float32(passed.Seconds())
		}
		limit(velocity, w.opts.Rules.Speed)
	}
	*s = measure{known: true, at: m.At, timed: m.Timed, time: m.Time, tick: now}
}

// rest stops who has claimed nothing for a while.
func (w *World[T]) rest(v *viewer, now time.Duration) {
	if s := &v.since; v.owner && s.known && now-s.tick >= restAfter {
		*w.opts.Velocity(&w.states[v.id.Slot]) = Vec{}
		s.known = false
	}
}

// limit shortens a vector to a length.
func limit(v *Vec, most float32) {
	if n := v[0]*v[0] + v[1]*v[1] + v[2]*v[2]; n > most*most {
		f := most / float32(math.Sqrt(float64(n)))
		for k := range v {
			v[k] *= f
		}
	}
}
