package rules

import (
	"math"
	"testing"
)

func TestStreetsAreFree(t *testing.T) {
	for seed := range uint32(50) {
		for _, cells := range []int{4, 7, 12} {
			w := NewWorld(cells, seed)
			for x := range cells {
				for y := range cells {
					at := w.Corner(Vec{Coord(x) * CellSize, Coord(y) * CellSize})
					east := w.Corner(Vec{Coord(x+1) * CellSize, Coord(y) * CellSize})
					north := w.Corner(Vec{Coord(x) * CellSize, Coord(y+1) * CellSize})
					if !w.Free(at) || !w.Passable(at, east) || !w.Passable(at, north) {
						t.Fatalf("seed %d: the way from %v is blocked", seed, at)
					}
				}
			}
			for _, p := range append(append([]Vec{}, w.Safe...), w.Jail, w.Station) {
				if !w.Free(p) || !w.Passable(p, p.Add(Vec{JailRadius, 0})) {
					t.Errorf("seed %d: %v is not free", seed, p)
				}
			}
			for n := range MaxPlayers {
				if p := w.jailCell(n); !within(p, w.Jail, JailRadius) {
					t.Errorf("place %d of the jail is outside: %v", n, p)
				}
			}
		}
	}
}

func TestWorldsDiffer(t *testing.T) {
	a, b := NewWorld(12, 1).Walls(nil), NewWorld(12, 2).Walls(nil)
	if len(a) < 20 || len(a) == len(b) && a[0] == b[0] {
		t.Errorf("%d and %d walls", len(a), len(b))
	}
}

func TestCoordOf(t *testing.T) {
	tests := []struct {
		name  string
		units float32
		want  Coord
		ok    bool
	}{
		{"zero", 0, 0, true},
		{"one", 1, Unit, true},
		{"fraction", -2.5, -640, true},
		{"half_to_even", 0.5 / 256, 0, true},
		{"largest", 4096, MaxCoord, true},
		{"too_large", 4096.1, 0, false},
		{"infinite", float32(math.Inf(-1)), 0, false},
		{"no_number", float32(math.NaN()), 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, ok := CoordOf(tt.units); got != tt.want || ok != tt.ok {
				t.Errorf("%d, %v; want %d, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
	for c := -MaxCoord; c <= MaxCoord; c += 12345 {
		if got, ok := CoordOf(c.Units()); !ok || got != c {
			t.Fatalf("%d comes back as %d", c, got)
		}
	}
}

func TestLength(t *testing.T) {
	for _, tt := range []struct {
		v    Vec
		want Coord
	}{
		{Vec{}, 0}, {Vec{3, 4}, 5}, {Vec{-1, 1}, 2}, {Vec{MaxCoord, 0}, MaxCoord},
		{Vec{2 * MaxCoord, -2 * MaxCoord}, 2965821},
	} {
		if got := tt.v.Length(); got != tt.want {
			t.Errorf("length of %v is %d, want %d", tt.v, got, tt.want)
		}
		if got := tt.v.Limit(2).square(); got > 4 {
			t.Errorf("%v limited is still %d long, squared", tt.v, got)
		}
	}
}

// FuzzSlide walks through worlds and compares with steps so small that nothing
// can be jumped over.
func FuzzSlide(f *testing.F) {
	f.Add(uint32(1), int32(1000), int32(1000), int32(5000), int32(900))
	f.Add(uint32(7), int32(0), int32(9000), int32(20000), int32(-9000))
	f.Fuzz(func(t *testing.T, seed uint32, x, y, toX, toY int32) {
		w := NewWorld(8, seed)
		from := w.Clamp(Vec{Coord(x % int32(w.Size())), Coord(y % int32(w.Size()))})
		if !w.Free(from) {
			from = w.Corner(from)
		}
		to := Vec{Coord(toX % int32(MaxCoord)), Coord(toY % int32(MaxCoord))}
		at := w.Slide(from, to)
		if !w.Free(at) {
			t.Fatalf("from %v towards %v to %v, which is not free", from, to, at)
		}
		if at.Sub(from).square() > to.Sub(from).square() {
			t.Fatalf("from %v towards %v to %v, which is farther", from, to, at)
		}
		if !w.Passable(from, to) {
			return
		}
		if at != w.Clamp(to) {
			t.Fatalf("from %v towards %v to %v, with nothing in the way", from, to, at)
		}
		steps := int64(max(1, at.Sub(from).Length()))
		for i := range steps {
			if p := from.Add(at.Sub(from).scale(i, steps)); !w.free(p, 2) {
				t.Fatalf("straight from %v to %v through %v", from, at, p)
			}
		}
	})
}
