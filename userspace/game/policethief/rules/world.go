package rules

// Measures of every world. Cells are squares; a wall keeps clear of the edge of
// its cell, so that the borders of cells are streets and every place can be
// reached.
const (
	CellSize     = 10 * Unit
	PlayerRadius = Unit / 2
	JailRadius   = 3 * Unit
	SafeRadius   = 3 * Unit

	wallMargin = Unit + Unit/2
)

// World is the map of a game. It does not change, and may be shared.
type World struct {
	cells int
	walls []Rect // one for each cell, by rows; empty where there is none
	stops []Rect // the same for the centres of players: grown by PlayerRadius

	Jail    Vec   // centre of the jail
	Station Vec   // where police begin
	Safe    []Vec // centres of safe houses
}

// NewWorld draws the world of cells by cells squares that belongs to a seed.
func NewWorld(cells int, seed uint32) *World {
	w := &World{cells: cells, walls: make([]Rect, cells*cells), stops: make([]Rect, cells*cells)}
	r := random(seed)

	middle := cells / 2
	w.Jail = w.centre(middle, middle)
	w.Station = w.centre(middle-1, middle)
	open := map[int]bool{middle*cells + middle: true, middle*cells + middle - 1: true}
	for range max(2, cells*cells/36) {
		cell := r.below(cells * cells)
		if !open[cell] {
			open[cell] = true
			w.Safe = append(w.Safe, w.centre(cell%cells, cell/cells))
		}
	}

	for cell := range w.walls {
		if open[cell] || r.below(8) < 3 {
			continue
		}
		corner := Vec{Coord(cell%cells) * CellSize, Coord(cell/cells) * CellSize}
		near, far := wallMargin, CellSize-wallMargin
		w.walls[cell] = Rect{
			corner.Add(Vec{r.between(near, near+3*Unit), r.between(near, near+3*Unit)}),
			corner.Add(Vec{r.between(far-3*Unit, far), r.between(far-3*Unit, far)}),
		}
		w.stops[cell] = w.walls[cell].grow(PlayerRadius)
	}
	return w
}

func (w *World) centre(x, y int) Vec {
	return Vec{Coord(x)*CellSize + CellSize/2, Coord(y)*CellSize + CellSize/2}
}

// Size is the length of a side: coordinates go from 0 to Size.
func (w *World) Size() Coord { return Coord(w.cells) * CellSize }

// Walls appends all walls to dst.
func (w *World) Walls(dst []Rect) []Rect {
	for _, r := range w.walls {
		if !r.empty() {
			dst = append(dst, r)
		}
	}
	return dst
}

// Clamp returns the place inside the world that is nearest to p.
func (w *World) Clamp(p Vec) Vec {
	low, high := PlayerRadius, w.Size()-PlayerRadius
	return Vec{min(max(p.X, low), high), min(max(p.Y, low), high)}
}

// Free reports whether the centre of a player may be at p: inside the world, and
// not in a wall.
func (w *World) Free(p Vec) bool {
	if w.Clamp(p) != p {
		return false
	}
	x, y := w.cell(p)
	return !w.stops[y*w.cells+x].contains(p)
}

// Slide returns where a player comes to who sets out from a free place towards
// to: as far as walls and the edge of the world allow, and along them where they
// are in the way. The result is a free place, and no farther from from than to is.
func (w *World) Slide(from, to Vec) Vec {
	to = w.Clamp(to)
	if w.clear(w.stops, from, to) {
		return to
	}
	corner := w.along(from, to.X, true)
	a := w.along(corner, to.Y, false)
	corner = w.along(from, to.Y, false)
	b := w.along(corner, to.X, true)
	if b.Sub(to).square() < a.Sub(to).square() {
		return b
	}
	return a
}

// Passable reports whether a player can walk straight from a to b.
func (w *World) Passable(a, b Vec) bool { return w.clear(w.stops, a, w.Clamp(b)) }

// Sight reports whether no wall is between a and b.
func (w *World) Sight(a, b Vec) bool { return w.clear(w.walls, w.Clamp(a), w.Clamp(b)) }

// Sheltered reports whether p is in a safe house.
func (w *World) Sheltered(p Vec) bool {
	for _, s := range w.Safe {
		if within(p, s, SafeRadius) {
			return true
		}
	}
	return false
}

// along moves p along one axis until c or the first stop.
func (w *World) along(p Vec, c Coord, horizontal bool) Vec {
	to := Vec{p.X, c}
	if horizontal {
		to = Vec{c, p.Y}
	}
	x0, y0 := w.cell(Vec{min(p.X, to.X), min(p.Y, to.Y)})
	x1, y1 := w.cell(Vec{max(p.X, to.X), max(p.Y, to.Y)})
	for y := y0; y <= y1; y++ {
		for x := x0; x <= x1; x++ {
			r := w.stops[y*w.cells+x]
			if r.empty() || !r.crosses(p, to) {
				continue
			}
			switch {
			case horizontal && p.X <= r.Min.X:
				to.X = r.Min.X
			case horizontal:
				to.X = r.Max.X
			case p.Y <= r.Min.Y:
				to.Y = r.Min.Y
			default:
				to.Y = r.Max.Y
			}
		}
	}
	return to
}

// clear reports whether none of rects is between a and b, which are inside.
func (w *World) clear(rects []Rect, a, b Vec) bool {
	x0, y0 := w.cell(Vec{min(a.X, b.X), min(a.Y, b.Y)})
	x1, y1 := w.cell(Vec{max(a.X, b.X), max(a.Y, b.Y)})
	for y := y0; y <= y1; y++ {
		for x := x0; x <= x1; x++ {
			if r := rects[y*w.cells+x]; !r.empty() && r.crosses(a, b) {
				return false
			}
		}
	}
	return true
}

// cell is the column and row of p, which is inside the world.
func (w *World) cell(p Vec) (x, y int) { return int(p.X / CellSize), int(p.Y / CellSize) }

// Corner is the crossing of streets nearest to p.
func (w *World) Corner(p Vec) Vec {
	p = w.Clamp(p)
	return w.Clamp(Vec{(p.X + CellSize/2) / CellSize * CellSize, (p.Y + CellSize/2) / CellSize * CellSize})
}

// place draws a free place.
func (w *World) place(r *random) Vec {
	p := w.Clamp(Vec{r.between(0, w.Size()), r.between(0, w.Size())})
	if !w.Free(p) {
		return w.Corner(p)
	}
	return p
}

// jailCell is the place in the jail for the nth player.
func (w *World) jailCell(n int) Vec {
	return w.Jail.Add(Vec{Coord(n%8*2-7) * Unit / 4, Coord(n/8*2-7) * Unit / 4})
}
