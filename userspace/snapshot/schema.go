package snapshot

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Limits of a schema.
const (
	maxWords = 64
	maxWidth = 24 // bits of one word
)

// Range is what a number may be and how finely it travels. What lies outside
// is clamped; NaN counts as Min.
type Range struct {
	Min, Max   float64
	Resolution float64 // step between neighbours; values are off by half of it at most
}

// Field says how one field of T, or a few that belong together, travels. The
// functions below make them.
type Field[T any] struct {
	words []word
	get   func(state *T, row []int32)
	set   func(state *T, row []int32)
	mix   func(state *T, from, to []int32, f float64)

	axis *axis[T]
	err  error
}

type axis[T any] struct {
	pos, vel    func(*T) *float32
	step, rate  float64 // resolutions of position and velocity
	fine, swift float64 // one over them
}

// word is one number of a row.
type word struct {
	lo, hi int32 // inclusive
	width  uint  // bits of hi-lo
	order  uint  // of the Golomb code of its changes
	kind   wordKind
	factor int64 // positions: prediction, see predictShift

	// The field that it belongs to.
	first, size int // words
	field       int // in its group
}

type wordKind uint8

const (
	kindLinear wordKind = iota
	kindAngle           // wraps around from hi to lo
	kindStep            // number that is not interpolated
	kindFlag            // 0 or 1
	kindQuat            // first of four: the largest component's index
	kindPart            // the other three
)

// Axis is one component of a position and of its velocity, in units and units
// per second. Snapshots predict the position from the velocity; views
// extrapolate it.
func Axis[T any](position func(*T) *float32, p Range, velocity func(*T) *float32, v Range) Field[T] {
	vw, verr := linearWord(v)
	pw, perr := linearWord(p)
	vw.order = max(vw.width, 9) - 8
	pw.order = 0
	return Field[T]{
		words: []word{vw, pw},
		axis:  &axis[T]{pos: position, vel: velocity, step: p.Resolution, rate: v.Resolution, fine: 1 / p.Resolution, swift: 1 / v.Resolution},
		err:   errors.Join(verr, perr),
	}
}

// Float is a number that is interpolated.
func Float[T any](at func(*T) *float32, r Range) Field[T] {
	w, err := linearWord(r)
	fine := 1 / r.Resolution
	return Field[T]{
		words: []word{w},
		get:   func(s *T, row []int32) { row[0] = quantise(*at(s), fine, &w) },
		set:   func(s *T, row []int32) { *at(s) = float32(float64(row[0]) * r.Resolution) },
		mix: func(s *T, from, to []int32, f float64) {
			*at(s) = float32(lerp(from[0], to[0], f) * r.Resolution)
		},
		err: err,
	}
}

// Angle is in radians, of any number of turns, and comes back within [0, 2π).
// It travels in the given number of bits and is interpolated along the shorter
// arc.
func Angle[T any](at func(*T) *float32, width int) Field[T] {
	var err error
	if width < 2 || width > 16 {
		err = fmt.Errorf("angle of %d bits: not 2 to 16", width)
	}
	turn := float64(int32(1) << (width & 31))
	w := word{hi: int32(turn) - 1, width: uint(width), order: uint(max(width, 9) - 8), kind: kindAngle}
	step := 2 * math.Pi / turn
	set := func(s *T, q float64) {
		if q < 0 {
			q += turn
		}
		a := float32(q * step)
		if a >= 2*math.Pi {
			a = 0
		}
		*at(s) = a
	}
	return Field[T]{
		words: []word{w},
		get: func(s *T, row []int32) {
			turns := float64(*at(s)) / (2 * math.Pi)
			turns -= math.Floor(turns)
			if !(turns >= 0 && turns <= 1) { // infinite, or no number
				turns = 0
			}
			row[0] = int32(math.RoundToEven(turns*turn)) & w.hi
		},
		set: func(s *T, row []int32) { set(s, float64(row[0])) },
		mix: func(s *T, from, to []int32, f float64) {
			q := float64(from[0]) + float64(w.arc(to[0]-from[0]))*f
			if q >= turn {
				q -= turn
			}
			set(s, q)
		},
		err: err,
	}
}

// Quat is a rotation as a unit quaternion x, y, z, w, of which q and -q are
// the same. The three smaller components travel in the given number of bits
// each; it is interpolated along the great circle.
func Quat[T any](at func(*T) *[4]float32, width int) Field[T] {
	var err error
	if width < 4 || width > 16 {
		err = fmt.Errorf("quaternion of %d bits: not 4 to 16", width)
	}
	top := int32(1)<<(clamp(int64(width), 1, 31)-1) - 1
	part := word{lo: -top, hi: top, width: uint(width), order: uint(max(width, 9) - 8), kind: kindPart}
	step := math.Sqrt2 / 2 / float64(top)
	load := func(row []int32) (q [4]float64) {
		sum, at := 0.0, 1
		for i := range q {
			if i == int(row[0]) {
				continue
			}
			q[i] = float64(row[at]) * step
			sum += q[i] * q[i]
			at++
		}
		q[row[0]] = math.Sqrt(max(0, 1-sum))
		return q
	}
	store := func(s *T, q [4]float64) {
		n := math.Sqrt(q[0]*q[0] + q[1]*q[1] + q[2]*q[2] + q[3]*q[3])
		p := at(s)
		for i := range q {
			p[i] = float32(q[i] / n)
		}
	}
	return Field[T]{
		words: []word{{hi: 3, width: 2, kind: kindQuat}, part, part, part},
		get: func(s *T, row []int32) {
			v := at(s)
			q := [4]float64{float64(v[0]), float64(v[1]), float64(v[2]), float64(v[3])}
			n := math.Sqrt(q[0]*q[0] + q[1]*q[1] + q[2]*q[2] + q[3]*q[3])
			if !(n > 1e-6 && n < 1e6) {
				q, n = [4]float64{3: 1}, 1
			}
			large := 0
			for i := range q {
				if math.Abs(q[i]) > math.Abs(q[large]) {
					large = i
				}
			}
			if q[large] < 0 {
				n = -n
			}
			row[0] = int32(large)
			at := 1
			for i := range q {
				if i != large {
					row[at] = min(top, max(-top, int32(math.RoundToEven(q[i]/n/step))))
					at++
				}
			}
		},
		set: func(s *T, row []int32) { store(s, load(row)) },
		mix: func(s *T, from, to []int32, f float64) { store(s, slerp(load(from), load(to), f)) },
		err: err,
	}
}

// Int is a whole number from min to max, which keeps its value until the next
// snapshot.
func Int[T any, I ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32](at func(*T) *I, min, max I) Field[T] {
	var err error
	if int64(min) >= int64(max) || int64(max)-int64(min) >= 1<<maxWidth ||
		int64(min) < -1<<(maxWidth+2) || int64(max) > 1<<(maxWidth+2) {
		err = fmt.Errorf("integer from %d to %d", min, max)
	}
	w := word{lo: int32(min), hi: int32(max), kind: kindStep}
	w.width = uint(bits.Len32(uint32(w.hi - w.lo)))
	set := func(s *T, row []int32) { *at(s) = I(row[0]) }
	return Field[T]{
		words: []word{w},
		get:   func(s *T, row []int32) { row[0] = int32(clamp(int64(*at(s)), int64(min), int64(max))) },
		set:   set,
		mix:   func(s *T, from, _ []int32, _ float64) { set(s, from) },
		err:   err,
	}
}

// Bool is a flag, which keeps its value until the next snapshot.
func Bool[T any](at func(*T) *bool) Field[T] {
	set := func(s *T, row []int32) { *at(s) = row[0] != 0 }
	return Field[T]{
		words: []word{{hi: 1, width: 1, kind: kindFlag}},
		get: func(s *T, row []int32) {
			row[0] = 0
			if *at(s) {
				row[0] = 1
			}
		},
		set: set,
		mix: func(s *T, from, _ []int32, _ float64) { set(s, from) },
	}
}

// Schema is how states of type T travel. It does not change once it is made,
// and may be used by any number of goroutines. Server and client must have
// made theirs of the same fields in the same order, with the same interval.
type Schema[T any] struct {
	layout
	axes   []axis[T]
	others []Field[T]
}

// layout is what a schema says of rows. A row holds the velocities, then the
// positions, then all other words, each in the order of the fields.
type layout struct {
	interval time.Duration
	axes     int
	words    []word
	full     int // bits of a row that is sent whole
	groups   [3]group
	curved   uint64 // words that are predicted from more than one row
}

// NewSchema returns the schema of the given fields. The interval is what one
// tick lasts: times are ticks times interval.
func NewSchema[T any](interval time.Duration, fields ...Field[T]) (*Schema[T], error) {
	s := &Schema[T]{}
	s.interval = interval
	if interval <= 0 || interval > time.Second {
		return nil, fmt.Errorf("schema: interval %v: not within a second", interval)
	}
	var velocities, positions, others []word
	for i, f := range fields {
		if f.err != nil {
			return nil, fmt.Errorf("schema: field %d: %w", i, f.err)
		}
		if f.axis == nil {
			s.others = append(s.others, f)
			others = append(others, f.words...)
			continue
		}
		v, p := f.words[0], f.words[1]
		factor := f.axis.rate / f.axis.step * interval.Seconds() / 2 * (1 << predictShift)
		if factor >= 1<<28 {
			return nil, fmt.Errorf("schema: field %d: resolution of the velocity is too coarse", i)
		}
		p.factor = int64(math.RoundToEven(factor))
		s.axes = append(s.axes, *f.axis)
		velocities = append(velocities, v)
		positions = append(positions, p)
	}
	s.layout.axes = len(s.axes)
	s.words = append(append(velocities, positions...), others...)
	if len(s.words) == 0 || len(s.words) > maxWords {
		return nil, fmt.Errorf("schema: %d words: not 1 to %d", len(s.words), maxWords)
	}
	s.arrange()
	for _, w := range s.words {
		s.full += int(w.width)
	}
	return s, nil
}

// Interval is what one tick lasts.
func (s *Schema[T]) Interval() time.Duration { return s.interval }

// Time is when a tick is, counted from tick 0.
func (s *Schema[T]) Time(tick uint32) time.Duration { return time.Duration(tick) * s.interval }

// quantise fills row with a state.
func (s *Schema[T]) quantise(row []int32, state *T) {
	n := len(s.axes)
	for i := range s.axes {
		a := &s.axes[i]
		row[i] = quantise(*a.vel(state), a.swift, &s.words[i])
		row[n+i] = quantise(*a.pos(state), a.fine, &s.words[n+i])
	}
	at := 2 * n
	for i := range s.others {
		f := &s.others[i]
		f.get(state, row[at:])
		at += len(f.words)
	}
}

// dequantise makes the state of a row, ahead seconds after it.
func (s *Schema[T]) dequantise(state *T, row []int32, ahead float64) {
	n := len(s.axes)
	for i := range s.axes {
		a := &s.axes[i]
		v := float64(row[i]) * a.rate
		*a.vel(state) = float32(v)
		*a.pos(state) = float32(float64(row[n+i])*a.step + v*ahead)
	}
	at := 2 * n
	for i := range s.others {
		f := &s.others[i]
		f.set(state, row[at:])
		at += len(f.words)
	}
}

// distance is how far apart the positions of two rows are, in units.
func (s *Schema[T]) distance(from, to []int32) float64 {
	sum, n := 0.0, len(s.axes)
	for i := range s.axes {
		d := float64(to[n+i]-from[n+i]) * s.axes[i].step
		sum += d * d
	}
	return math.Sqrt(sum)
}

// interpolate makes the state that is the fraction f of the way between two.
func (s *Schema[T]) interpolate(state *T, from, to []int32, f float64) {
	n := len(s.axes)
	for i := range s.axes {
		a := &s.axes[i]
		*a.vel(state) = float32(lerp(from[i], to[i], f) * a.rate)
		*a.pos(state) = float32(lerp(from[n+i], to[n+i], f) * a.step)
	}
	at := 2 * n
	for i := range s.others {
		o := &s.others[i]
		o.mix(state, from[at:], to[at:], f)
		at += len(o.words)
	}
}

func linearWord(r Range) (word, error) {
	lo, hi := math.RoundToEven(r.Min/r.Resolution), math.RoundToEven(r.Max/r.Resolution)
	const limit = 1 << (maxWidth + 2)
	if !(r.Resolution > 0) || !(lo < hi) || lo < -limit || hi > limit || hi-lo >= 1<<maxWidth {
		return word{}, fmt.Errorf("range %g to %g by %g: not of 2 to 2^%d steps", r.Min, r.Max, r.Resolution, maxWidth)
	}
	w := word{lo: int32(lo), hi: int32(hi), width: uint(bits.Len32(uint32(hi - lo)))}
	w.order = max(w.width, 9) - 8
	return w, nil
}

// quantise counts v in steps, of which there are perUnit in one.
func quantise(v float32, perUnit float64, w *word) int32 {
	q := math.RoundToEven(float64(v) * perUnit)
	if q > float64(w.hi) {
		return w.hi
	}
	if q >= float64(w.lo) {
		return int32(q)
	}
	return w.lo
}

// arc is the shorter way round for a difference of two angles.
func (w *word) arc(d int32) int32 {
	shift := 32 - w.width
	return d << shift >> shift
}

func lerp(a, b int32, f float64) float64 { return float64(a) + float64(b-a)*f }

func slerp(a, b [4]float64, f float64) [4]float64 {
	dot := a[0]*b[0] + a[1]*b[1] + a[2]*b[2] + a[3]*b[3]
	sign := 1.0
	if dot < 0 {
		dot, sign = -dot, -1
	}
	wa, wb := 1-f, f
	// Near to one another the arc is a line, and its sine next to nothing.
	if dot < 0.9999 {
		angle := math.Acos(dot)
		wa, wb = math.Sin((1-f)*angle)/math.Sin(angle), math.Sin(f*angle)/math.Sin(angle)
	}
	for i := range a {
		a[i] = a[i]*wa + b[i]*wb*sign
	}
	return a
}

func clamp(v, lo, hi int64) int64 { return min(max(v, lo), hi) }
