package space

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// cloud is points by slot.
type cloud struct {
	slots   []uint32
	x, y, z []float32
}

func (c *cloud) add(p Vec) {
	c.slots = append(c.slots, uint32(len(c.slots))*3+1)
	c.x, c.y, c.z = append(c.x, p[0]), append(c.y, p[1]), append(c.z, p[2])
}

// near is Grid.Near, the slow way.
func (c *cloud) near(centre Vec, inner, outer float32) (near, between []uint32) {
	for i, slot := range c.slots {
		dx, dy, dz := c.x[i]-centre[0], c.y[i]-centre[1], c.z[i]-centre[2]
		d := float32(float32(dx*dx)+float32(dy*dy)) + float32(dz*dz)
		if d <= inner*inner {
			near = append(near, slot)
		} else if d <= outer*outer {
			between = append(between, slot)
		}
	}
	return near, between
}

func scatter(rng *rand.Rand, n int, middle Vec, size float32) *cloud {
	c := &cloud{}
	for range n {
		p := middle
		for k := range p {
			p[k] += (rng.Float32() - 0.5) * size
		}
		if rng.IntN(20) == 0 { // on a border of cells
			p[0], p[2] = float32(math.Round(float64(p[0]/10))*10), float32(math.Round(float64(p[2]/10))*10)
		}
		c.add(p)
	}
	return c
}

func sorted(a []uint32) []uint32 {
	a = slices.Clone(a)
	slices.Sort(a)
	return a
}

func TestGridFindsWhatIsNear(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, plane := range []Plane{XZ, XY} {
		g := NewGrid(55, plane)
		for _, tt := range []struct {
			name   string
			n      int
			middle Vec
			size   float32
		}{
			{"none", 0, Vec{}, 1},
			{"one", 1, Vec{}, 1},
			{"crowd", 300, Vec{}, 20},
			{"field", 2000, Vec{}, 800},
			{"far_field", 1000, Vec{1e6, 0, -1e6}, 500},
			{"everywhere", 1000, Vec{}, 2e6},
			{"beyond_cells", 50, Vec{1e30, 0, 1e30}, 100},
			{"high", 500, Vec{-3000, 1000, 77}, 400},
		} {
			t.Run(fmt.Sprintf("%v_%s", plane, tt.name), func(t *testing.T) {
				c := scatter(rng, tt.n, tt.middle, tt.size)
				c.add(Vec{nan, 0, 0})
				c.add(Vec{0, inf, -inf})
				g.Rebuild(c.slots, c.x, c.y, c.z)
				for q := range 200 {
					centre := scatter(rng, 1, tt.middle, tt.size)
					at := Vec{centre.x[0], centre.y[0], centre.z[0]}
					if q%2 == 0 {
						i := rng.IntN(len(c.slots))
						at = Vec{c.x[i], c.y[i], c.z[i]}
					}
					inner := []float32{0, 10, 50, 300}[q%4]
					outer := inner * []float32{1, 1.1, 3}[q%3]
					near, between := g.Near(at, inner, outer)
					wantNear, wantBetween := c.near(at, inner, outer)
					if !slices.Equal(sorted(near), sorted(wantNear)) || !slices.Equal(sorted(between), sorted(wantBetween)) {
						t.Fatalf("around %v within %v and %v:\n got %v, %v\nwant %v, %v", at, inner, outer, near, between, wantNear, wantBetween)
					}
				}
			})
		}
	}
}

// The distance is rounded to 10, and the point is in another cell than one at 0.
func TestGridAllowsForRounding(t *testing.T) {
	g := NewGrid(10, XZ)
	g.Rebuild([]uint32{7}, []float32{-1e-9}, []float32{0}, []float32{0})
	if near, _ := g.Near(Vec{10}, 10, 10); len(near) != 1 {
		t.Error("not found")
	}
}

func TestGridIsTheSameTwice(t *testing.T) {
	c := scatter(rand.New(rand.NewPCG(4, 4)), 1000, Vec{}, 600)
	a, b := NewGrid(50, XZ), NewGrid(50, XZ)
	a.Rebuild(c.slots, c.x, c.y, c.z)
	b.Rebuild(c.slots, c.x, c.y, c.z)
	nearA, farA := a.Near(Vec{1, 2, 3}, 60, 70)
	nearB, farB := b.Near(Vec{1, 2, 3}, 60, 70)
	if !slices.Equal(nearA, nearB) || !slices.Equal(farA, farB) || len(nearA) == 0 {
		t.Errorf("%v, %v and %v, %v", nearA, farA, nearB, farB)
	}
}

func TestGridIsBounded(t *testing.T) {
	c := scatter(rand.New(rand.NewPCG(5, 4)), 100_000, Vec{}, 2e6)
	g := NewGrid(1, XZ)
	g.Rebuild(c.slots, c.x, c.y, c.z)
	if len(g.starts) > maxSide*maxSide+1 {
		t.Errorf("%d cells", len(g.starts))
	}
	if n := testing.AllocsPerRun(5, func() {
		g.Rebuild(c.slots[:50_000], c.x, c.y, c.z)
		g.Near(Vec{1e6, 0, 0}, 1e5, 1e5)
		g.Rebuild(c.slots, c.x, c.y, c.z)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a query costs follows from how many are near, not from how many there are.
func BenchmarkNear(b *testing.B) {
	for _, n := range []int{1000, 16_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			size := float32(math.Sqrt(float64(n) / 30 * math.Pi * 50 * 50))
			c := scatter(rand.New(rand.NewPCG(6, 4)), n, Vec{}, size)
			for i := range c.y {
				c.y[i] = 0
			}
			g := NewGrid(55, XZ)
			g.Rebuild(c.slots, c.x, c.y, c.z)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				i = (i + 1) % n
				g.Near(Vec{c.x[i], 0, c.z[i]}, 50, 55)
			}
		})
	}
}

func BenchmarkRebuild1000(b *testing.B) {
	c := scatter(rand.New(rand.NewPCG(6, 4)), 1000, Vec{}, 512)
	g := NewGrid(55, XZ)
	b.ReportAllocs()
	for b.Loop() {
		g.Rebuild(c.slots, c.x, c.y, c.z)
	}
}

func TestCellsWithoutASize(t *testing.T) {
	for _, cell := range []float32{0, -1, float32(math.NaN()), float32(math.Inf(1))} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("cells of %v", cell)
				}
			}()
			NewGrid(cell, XZ)
		}()
	}
}
