// Package simd holds the loops over many positions that the game runs every tick:
// who is near whom, and which of the claimed positions are believed; and the one over
// the bytes of every packet.
//
// Each kernel is written twice, in Go, which is the specification, and for AVX2.
// Both give the same results bit for bit: for positions that means single precision,
// the same order of operations, no fused multiplication and addition, denormals as they
// are. The build tag purego leaves only Go.
//
// Functions keep nothing of what they are given and may run concurrently on
// memory that does not overlap. None may be given the same memory twice, unless
// both are only read. They panic when lengths do not fit together.
package simd

import "slices"

//go:generate go run -C _asm . -out ../kernels_amd64.s -stubs ../stubs_amd64.go -pkg simd

// Points are positions as arrays of equal length: one index is one point.
type Points struct {
	X, Y, Z []float32
}

// NewPoints returns n points at the origin.
func NewPoints(n int) Points {
	all := make([]float32, 3*n)
	return Points{X: all[:n:n], Y: all[n : 2*n : 2*n], Z: all[2*n:]}
}

// have panics unless p has n points.
func (p *Points) have(n int) {
	if len(p.X) != n || len(p.Y) != n || len(p.Z) != n {
		panic("simd: arrays of different lengths")
	}
}

// Span is a run of indices from Start up to but without End.
type Span struct {
	Start, End uint32
}

// Area is two balls around one centre. Radii are not negative.
type Area struct {
	X, Y, Z      float32
	Inner, Outer float32
}

// Hits are what Within found.
type Hits struct {
	Near, Far []uint32
}

// Within looks at the points in spans and appends to hits.Near the ids of those in
// the inner ball, surfaces included, and to hits.Far the ids of those that are only
// in the outer one, in the order of the spans. A point with a coordinate that is not
// a number is in neither.
//
// It makes room in hits for all that is looked at, and overwrites spare capacity
// beyond what it appends.
func Within(hits *Hits, points *Points, ids []uint32, spans []Span, area *Area) {
	points.have(len(ids))
	total := count(spans, len(ids))
	if total == 0 {
		return
	}
	if room := total + slack; cap(hits.Near)-len(hits.Near) < room || cap(hits.Far)-len(hits.Far) < room {
		hits.grow(room)
	}
	within(hits, points, ids, spans, area)
}

// count is how many points spans hold, each of them below n.
func count(spans []Span, n int) int {
	total := 0
	for _, s := range spans {
		if s.Start > s.End || uint64(s.End) > uint64(n) {
			panic("simd: span outside of the points")
		}
		total += int(s.End - s.Start)
	}
	return total
}

//go:noinline
func (h *Hits) grow(room int) {
	h.Near, h.Far = slices.Grow(h.Near, room), slices.Grow(h.Far, room)
}

// RecordSize is the length in bytes of a position message.
const RecordSize = 20

// Decode reads position messages that lie one behind the other. Of each it takes
// the coordinates, big-endian single precision at offsets 8, 12 and 16.
func Decode(to *Points, records []byte) {
	n := len(records) / RecordSize
	to.have(n)
	if len(records)%RecordSize != 0 {
		panic("simd: incomplete record")
	}
	decode(to, records)
}

// Words is how many words hold n bits.
func Words(n int) int { return (n + 63) / 64 }

// Validate judges claimed positions and sets or clears one bit for each:
//
//   - in inRange, whether all coordinates are finite and at most limit in magnitude;
//   - in ok, whether besides it is at most allowed[i], which is not negative, away
//     from where it was before.
//
// The masks have Words(len(allowed)) words; bits beyond the last point are cleared.
func Validate(ok, inRange []uint64, claimed, before *Points, allowed []float32, limit float32) {
	n := len(allowed)
	claimed.have(n)
	before.have(n)
	if len(ok) != Words(n) || len(inRange) != Words(n) {
		panic("simd: masks of the wrong length")
	}
	validate(ok, inRange, claimed, before, allowed, limit)
}

// Move copies the points whose bits are set in mask, which has a word for every 64
// points. It may write the others too, as they are.
func Move(to, from *Points, mask []uint64) {
	n := len(to.X)
	to.have(n)
	from.have(n)
	if len(mask) != Words(n) {
		panic("simd: masks of the wrong length")
	}
	move(to, from, mask)
}

// Fletcher returns the sum of the bytes of b and the sum of the sums up to each byte,
// both modulo 256 in their low eight bits; the others mean nothing. It is the checksum
// of PROTOCOL.md without its dressing, after Fletcher (1982).
func Fletcher(b []byte) (sum1, sum2 uint32) { return fletcher(b) }
