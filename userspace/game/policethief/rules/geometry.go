package rules

import "math"

// Coord is a length, a coordinate or a speed per second, in 1/256 of a unit.
type Coord int32

// Unit is the Coord of one unit.
const Unit Coord = 256

// MaxCoord bounds the coordinates of inputs, either way: 4096 units.
const MaxCoord Coord = 4096 * Unit

// CoordOf rounds a length in units to the nearest Coord. It refuses what is not
// a number or is larger than MaxCoord.
func CoordOf(units float32) (c Coord, ok bool) {
	// Scaling by a power of two is exact; so is rounding.
	scaled := math.RoundToEven(float64(units) * float64(Unit))
	if !(scaled >= -float64(MaxCoord) && scaled <= float64(MaxCoord)) {
		return 0, false
	}
	return Coord(scaled), true
}

// Units is the length in units, exact for every coordinate up to MaxCoord.
func (c Coord) Units() float32 { return float32(c) / float32(Unit) }

// Vec is a position or a velocity on the plane.
type Vec struct{ X, Y Coord }

// Add returns v+w.
func (v Vec) Add(w Vec) Vec { return Vec{v.X + w.X, v.Y + w.Y} }

// Sub returns v-w.
func (v Vec) Sub(w Vec) Vec { return Vec{v.X - w.X, v.Y - w.Y} }

// Length is the length of v, rounded up.
func (v Vec) Length() Coord {
	square := v.square()
	root := int64(math.Sqrt(float64(square)))
	for root*root > square {
		root--
	}
	for root*root < square {
		root++
	}
	return Coord(root)
}

// Limit returns v, made no longer than limit by scaling.
func (v Vec) Limit(limit Coord) Vec {
	length := v.Length()
	if length <= limit {
		return v
	}
	return v.scale(int64(limit), int64(length))
}

func (v Vec) square() int64 { return int64(v.X)*int64(v.X) + int64(v.Y)*int64(v.Y) }

// scale returns v*num/den, rounded towards zero.
func (v Vec) scale(num, den int64) Vec {
	return Vec{Coord(int64(v.X) * num / den), Coord(int64(v.Y) * num / den)}
}

func (v Vec) legal() bool {
	return v.X >= -MaxCoord && v.X <= MaxCoord && v.Y >= -MaxCoord && v.Y <= MaxCoord
}

func within(a, b Vec, reach Coord) bool {
	return a.Sub(b).square() <= int64(reach)*int64(reach)
}

// Rect is an upright rectangle. Its edge does not belong to it: a point on the
// edge touches it and is outside.
type Rect struct{ Min, Max Vec }

func (r Rect) empty() bool { return r.Min.X >= r.Max.X }

func (r Rect) grow(by Coord) Rect {
	return Rect{Vec{r.Min.X - by, r.Min.Y - by}, Vec{r.Max.X + by, r.Max.Y + by}}
}

func (r Rect) contains(p Vec) bool {
	return p.X > r.Min.X && p.X < r.Max.X && p.Y > r.Min.Y && p.Y < r.Max.Y
}

// crosses reports whether the segment from a to b passes through r.
func (r Rect) crosses(a, b Vec) bool {
	if max(a.X, b.X) <= r.Min.X || min(a.X, b.X) >= r.Max.X ||
		max(a.Y, b.Y) <= r.Min.Y || min(a.Y, b.Y) >= r.Max.Y {
		return false
	}
	if a == b {
		return true
	}
	// The bounding boxes overlap, so only the line between a and b may part
	// them: it does where all corners are on one side.
	d := b.Sub(a)
	side := func(x, y Coord) int64 { return int64(d.X)*int64(y-a.Y) - int64(d.Y)*int64(x-a.X) }
	s1, s2 := side(r.Min.X, r.Min.Y), side(r.Min.X, r.Max.Y)
	s3, s4 := side(r.Max.X, r.Min.Y), side(r.Max.X, r.Max.Y)
	return min(s1, s2, s3, s4) < 0 && max(s1, s2, s3, s4) > 0
}

// random is a splitmix64 sequence.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (r *random) below(n int) int { return int(r.next() >> 32 * uint64(n) >> 32) }

func (r *random) between(low, high Coord) Coord { return low + Coord(r.below(int(high-low)+1)) }
