package space

import (
	"math"

	"github.com/xrudp/xrudp/userspace/internal/simd"
)

// Plane says which two coordinates the cells of a Grid divide. The third is only
// looked at for distances.
type Plane uint8

// Planes.
const (
	XZ Plane = iota // y is up
	XY              // z is up, or there is none
)

const (
	minSide = 4   // a neighbourhood of three cells does not meet itself
	maxSide = 256 // cells in a row of the table

	// maxCell is as far as cells are told apart.
	maxCell = 1 << 30
)

// Grid finds the points within a radius. Its cells lie in a table of fixed size
// that repeats itself: a far cell shares its place with near ones, which costs some
// comparisons and no memory.
//
// Points are sorted by cell, so the cells of one row that a query looks at are one
// run of memory.
type Grid struct {
	plane Plane
	cell  float32
	per   float32 // cells in one unit

	side   int      // of the table, a power of two
	starts []uint32 // of each cell in points, and the end
	cells  []uint32 // of each point, as it was given
	points simd.Points
	all    simd.Points // as large as ever needed
	slots  []uint32

	spans []simd.Span
	hits  simd.Hits
}

// NewGrid returns a grid without points. The cell is the length of a cell's side;
// queries with a radius up to it look at nine cells.
func NewGrid(cell float32, plane Plane) *Grid {
	if !(cell > 0) || math.IsInf(float64(cell), 0) {
		panic("space: cells without a size")
	}
	g := &Grid{plane: plane, cell: cell, per: 1 / cell}
	g.Rebuild(nil, nil, nil, nil)
	return g
}

// Rebuild replaces all points: slots[i] is at x[i], y[i], z[i]. It keeps nothing of
// what it is given. A coordinate that is not a number is never found.
func (g *Grid) Rebuild(slots []uint32, x, y, z []float32) {
	n := len(slots)
	x, y, z = x[:n], y[:n], z[:n]
	g.resize(n)
	u, v := x, z
	if g.plane == XY {
		v = y
	}
	counts := g.starts[1:]
	clear(g.starts)
	for i := range slots {
		c := uint32(g.index(g.cellOf(u[i]), g.cellOf(v[i])))
		g.cells[i] = c
		counts[c]++
	}
	// Counting sort: starts[c+1] goes from the start of c to its end, which is where
	// c+1 starts.
	sum := uint32(0)
	for c, n := range counts {
		counts[c] = sum
		sum += n
	}
	p := &g.points
	for i, c := range g.cells {
		to := counts[c]
		counts[c]++
		p.X[to], p.Y[to], p.Z[to] = x[i], y[i], z[i]
		g.slots[to] = slots[i]
	}
}

// resize makes room for n points, and about as many cells.
func (g *Grid) resize(n int) {
	if n > len(g.all.X) {
		g.all = simd.NewPoints(n + n/4)
	}
	g.points = simd.Points{X: g.all.X[:n], Y: g.all.Y[:n], Z: g.all.Z[:n]}
	if cap(g.slots) < n {
		g.slots, g.cells = make([]uint32, n+n/4), make([]uint32, n+n/4)
	}
	g.slots, g.cells = g.slots[:n], g.cells[:n]
	side := minSide
	for side < maxSide && side*side < n {
		side *= 2
	}
	// It does not shrink, or a crowd that comes and goes would allocate.
	if side > g.side {
		g.side = side
		g.starts = make([]uint32, side*side+1)
	}
}

// cellOf is which cell a coordinate is in, along one axis.
func (g *Grid) cellOf(at float32) int {
	f := math.Floor(float64(at * g.per))
	if !(f > -maxCell) {
		return -maxCell
	}
	return int(min(f, maxCell))
}

// reach is the first and the last cell that are within a radius, along one axis. It
// looks a little farther, since distances are rounded.
func (g *Grid) reach(at, radius float32) (first, last int) {
	const rounding = 1e-6
	radius += rounding * (radius + float32(math.Abs(float64(at))))
	return g.cellOf(at - radius), g.cellOf(at + radius)
}

// index is a cell's place in the table.
func (g *Grid) index(u, v int) int {
	mask := g.side - 1
	return (v&mask)*g.side + u&mask
}

// Near returns the slots of the points that are at most inner away from the
// centre, and of those that are farther but at most outer away; the order is the
// same for the same points. Both are valid until the next call.
func (g *Grid) Near(centre Vec, inner, outer float32) (near, far []uint32) {
	g.hits.Near, g.hits.Far = g.hits.Near[:0], g.hits.Far[:0]
	if outer >= 0 {
		g.look(centre, outer)
		simd.Within(&g.hits, &g.points, g.slots, g.spans, &simd.Area{
			X: centre[0], Y: centre[1], Z: centre[2], Inner: min(inner, outer), Outer: outer,
		})
	}
	return g.hits.Near, g.hits.Far
}

// look notes the runs of points around a centre.
func (g *Grid) look(centre Vec, radius float32) {
	g.spans = g.spans[:0]
	u, v := centre[0], centre[2]
	if g.plane == XY {
		v = centre[1]
	}
	u0, u1 := g.reach(u, radius)
	v0, v1 := g.reach(v, radius)
	if u1-u0 >= g.side {
		u0, u1 = 0, g.side-1
	}
	if v1-v0 >= g.side {
		v0, v1 = 0, g.side-1
	}
	mask := g.side - 1
	a, b := u0&mask, u1&mask
	for c := v0; c <= v1; c++ {
		row := (c & mask) * g.side
		if a <= b {
			g.span(row+a, row+b)
		} else {
			g.span(row, row+b)
			g.span(row+a, row+mask)
		}
	}
}

// span notes the points of some cells in a row, both included.
func (g *Grid) span(first, last int) {
	s := simd.Span{Start: g.starts[first], End: g.starts[last+1]}
	if s.Start == s.End {
		return
	}
	if n := len(g.spans); n > 0 && g.spans[n-1].End == s.Start {
		g.spans[n-1].End = s.End
		return
	}
	g.spans = append(g.spans, s)
}
