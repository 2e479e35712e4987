package snapshot

import "time"

// Seen is an entity as a client sees it.
type Seen[T any] struct {
	ID    ID
	State T
}

// View appends to dst what is to be seen when the server's time is now: the
// world Delay earlier. States are interpolated between the snapshots around
// that moment. Where there is none after it, positions move on by their
// velocity for Extrapolation at most, and then stay; so do those of an entity that
// Jump says is put elsewhere.
//
// An entity is there from the first snapshot that has it until the first that
// has not.
func (r *Receiver[T]) View(dst []Seen[T], now time.Duration) []Seen[T] {
	at := now - r.slew(now)
	newest := len(r.kept) - 1
	for newest >= 0 && r.time(r.kept[newest].tick) > at {
		newest--
	}
	if newest < 0 {
		return dst
	}
	for i := range r.kept[newest].entries {
		id := r.kept[newest].entries[i].id
		dst = append(dst, Seen[T]{ID: id})
		r.state(&dst[len(dst)-1].State, id, i, newest, at)
	}
	return dst
}

// slew moves the delay towards what it shall be, and returns it.
func (r *Receiver[T]) slew(now time.Duration) time.Duration {
	if !r.views {
		r.delay, r.views = r.opts.Delay, true
	} else {
		step := max(now-r.viewed, 0) / 10
		r.delay += min(max(r.opts.Delay-r.delay, -step), step)
	}
	r.viewed = now
	return r.delay
}

// Newest returns the tick of the newest snapshot.
func (r *Receiver[T]) Newest() (tick uint32, ok bool) {
	if len(r.kept) == 0 {
		return 0, false
	}
	return r.kept[len(r.kept)-1].tick, true
}

// Latest sets state to that of an entity in the newest snapshot, neither delayed
// nor extrapolated, and returns the tick that it is of. ok is false, and state as it
// was, when the entity is not in it.
func (r *Receiver[T]) Latest(id ID, state *T) (tick uint32, ok bool) {
	if len(r.kept) == 0 {
		return 0, false
	}
	s := r.kept[len(r.kept)-1]
	i := s.index(id, 0)
	if i < 0 {
		return 0, false
	}
	w := len(r.schema.words)
	r.schema.dequantise(state, s.rows[i*2*w:][:w], 0)
	return s.entries[i].version, true
}

// Delay is how far the last view was behind the server's time, or the first will be.
func (r *Receiver[T]) Delay() time.Duration {
	if !r.views {
		return r.opts.Delay
	}
	return r.delay
}

func (r *Receiver[T]) time(tick uint32) time.Duration { return r.schema.Time(tick) }

// state makes the state of an entity, which is number i of snapshot newest, at
// a time between that snapshot and the next.
//
// A snapshot that had no room for an entity repeats what its baseline had, and
// an older one may have newer words of it; so versions count, not snapshots.
func (r *Receiver[T]) state(state *T, id ID, i, newest int, at time.Duration) {
	w := len(r.schema.words)
	s := r.kept[newest]
	from, version := s.rows[i*2*w:][:w], s.entries[i].version
	for k := newest - 1; k >= 0 && int32(r.kept[k].tick-version) > 0; k-- {
		if j := r.kept[k].index(id, i); j >= 0 && int32(r.kept[k].entries[j].version-version) > 0 {
			from, version = r.kept[k].rows[j*2*w:][:w], r.kept[k].entries[j].version
		}
	}
	for k := newest + 1; k < len(r.kept); k++ {
		j := r.kept[k].index(id, i)
		if j < 0 {
			break
		}
		to := r.kept[k].entries[j].version
		if r.time(to) <= at {
			continue
		}
		start, row := r.time(version), r.kept[k].rows[j*2*w:][:w]
		if r.opts.Jump > 0 && r.schema.distance(from, row) > r.opts.Jump*(r.time(to)-start).Seconds() {
			break
		}
		r.schema.interpolate(state, from, row, float64(at-start)/float64(r.time(to)-start))
		return
	}
	ahead := min(at-r.time(version), r.opts.Extrapolation)
	r.schema.dequantise(state, from, ahead.Seconds())
}

// index finds an entity, which is number near or not far from it; -1 when it
// is not there.
func (s *received) index(id ID, near int) int {
	n := len(s.entries)
	near = min(near, n-1)
	for d := 0; near-d >= 0 || near+d < n; d++ {
		if i := near - d; i >= 0 && i < n && s.entries[i].id == id {
			return i
		}
		if i := near + d; i >= 0 && i < n && s.entries[i].id == id {
			return i
		}
	}
	return -1
}
