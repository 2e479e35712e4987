package simd

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// The models compute in double precision and round each step to single, which
// gives what single precision would: the product of two float32 is exact, and 53
// bits are enough to round a sum or a difference twice.

func exactly(v float64) float32 { return float32(v) }

func modelSquaredDistance(a, b [3]float32) float32 {
	var square [3]float32
	for axis := range square {
		d := exactly(float64(a[axis]) - float64(b[axis]))
		square[axis] = exactly(float64(d) * float64(d))
	}
	return exactly(float64(exactly(float64(square[0])+float64(square[1]))) + float64(square[2]))
}

func modelSquare(v float32) float32 { return exactly(float64(v) * float64(v)) }

func (p *Points) at(i int) [3]float32 { return [3]float32{p.X[i], p.Y[i], p.Z[i]} }

func modelWithin(points *Points, ids []uint32, spans []Span, area Area) (near, far []uint32) {
	for _, s := range spans {
		for i := s.Start; i < s.End; i++ {
			d := modelSquaredDistance(points.at(int(i)), [3]float32{area.X, area.Y, area.Z})
			switch {
			case d <= modelSquare(area.Inner):
				near = append(near, ids[i])
			case d <= modelSquare(area.Outer):
				far = append(far, ids[i])
			}
		}
	}
	return near, far
}

func modelValidate(claimed, before *Points, allowed []float32, limit float32) (ok, inRange []uint64) {
	ok, inRange = make([]uint64, Words(len(allowed))), make([]uint64, Words(len(allowed)))
	for i, a := range allowed {
		fits := true
		for _, c := range claimed.at(i) {
			wide := float64(c)
			fits = fits && !math.IsInf(wide, 0) && math.Abs(wide) <= float64(limit)
		}
		if fits {
			inRange[i/64] |= 1 << (i % 64)
			if modelSquaredDistance(claimed.at(i), before.at(i)) <= modelSquare(a) {
				ok[i/64] |= 1 << (i % 64)
			}
		}
	}
	return ok, inRange
}

// sameBits compares arrays of numbers, where a NaN equals only itself.
func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(v, w float32) bool {
		return math.Float32bits(v) == math.Float32bits(w)
	})
}

func (p *Points) equal(q *Points) bool {
	return sameBits(p.X, q.X) && sameBits(p.Y, q.Y) && sameBits(p.Z, q.Z)
}

// memory is where a test has its arrays: of n elements, at a place that the test
// is about.
type memory interface {
	floats(n int) []float32
	words(n int) []uint64
	numbers(n int) []uint32 // with a capacity of n
	bytes(n int) []byte
	spans(n int) []Span
}

// heap is ordinary memory, shifted by some elements.
type heap struct{ offset int }

func (h heap) floats(n int) []float32 { return make([]float32, h.offset+n)[h.offset:] }
func (h heap) words(n int) []uint64   { return make([]uint64, h.offset+n)[h.offset:] }
func (h heap) numbers(n int) []uint32 { return make([]uint32, h.offset+n)[h.offset:] }
func (h heap) bytes(n int) []byte     { return make([]byte, h.offset+n)[h.offset:] }
func (h heap) spans(n int) []Span     { return make([]Span, h.offset+n)[h.offset:] }

func points(m memory, n int) Points { return Points{X: m.floats(n), Y: m.floats(n), Z: m.floats(n)} }

var special = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 3, 4, 5, -5, 50, 60, 100, -100,
	float32(math.Inf(1)), float32(math.Inf(-1)),
	float32(math.NaN()), math.Float32frombits(0xff800001), math.Float32frombits(0x7fbfffff),
	math.SmallestNonzeroFloat32, math.Float32frombits(0x007fffff), math.Float32frombits(0x00800000),
	math.MaxFloat32, -math.MaxFloat32, 1.8446743e19, 1.8446744e19,
	math.Nextafter32(100, 200), math.Nextafter32(5, 6), math.Nextafter32(5, 4),
}

// source makes numbers of all kinds.
type source struct{ *rand.Rand }

func newSource(seed uint64) source { return source{rand.New(rand.NewPCG(seed, 1))} }

func (s source) number() float32 {
	switch s.IntN(8) {
	case 0:
		return special[s.IntN(len(special))]
	case 1:
		return math.Float32frombits(s.Uint32())
	case 2:
		return float32(s.IntN(13) - 6)
	default:
		return float32(s.NormFloat64() * 50)
	}
}

func (s source) fill(a []float32) {
	for i := range a {
		a[i] = s.number()
	}
}

func (s source) fillPoints(p *Points) {
	s.fill(p.X)
	s.fill(p.Y)
	s.fill(p.Z)
}

// area has balls that hold a good part of what number makes.
func (s source) area() Area {
	a := Area{X: s.number(), Y: s.number(), Z: s.number(), Inner: 70, Outer: 90}
	switch s.IntN(4) {
	case 0:
		a.X, a.Y, a.Z = 0, 0, 0
	case 1:
		a.Inner, a.Outer = float32(math.Abs(float64(s.number()))), float32(math.Abs(float64(s.number())))
	}
	return a
}

// cut makes spans of all lengths out of n points, some of them empty.
func (s source) cut(m memory, n int) []Span {
	ends := []uint32{0}
	for end := 0; end < n; {
		end += s.IntN(n - end + 1)
		ends = append(ends, uint32(end))
	}
	spans := m.spans(len(ends) - 1)
	for i := range spans {
		spans[i] = Span{ends[i], ends[i+1]}
	}
	return spans
}

func checkWithin(t *testing.T, s source, m memory, n int) {
	t.Helper()
	in, ids := points(m, n), m.numbers(n)
	s.fillPoints(&in)
	for i := range ids {
		ids[i] = s.Uint32()
	}
	spans, area := s.cut(m, n), s.area()
	room := 0
	for _, span := range spans {
		room += int(span.End - span.Start)
	}
	hits := Hits{Near: m.numbers(1 + room + slack), Far: m.numbers(room + slack)}
	hits.Near[0] = 77
	hits.Near, hits.Far = hits.Near[:1], hits.Far[:0]

	Within(&hits, &in, ids, spans, &area)
	wantNear, wantFar := modelWithin(&in, ids, spans, area)
	if !slices.Equal(hits.Near, append([]uint32{77}, wantNear...)) || !slices.Equal(hits.Far, wantFar) {
		t.Fatalf("%d points in %v, %+v:\nnear %v\nwant %v after 77\n far %v\nwant %v",
			n, spans, area, hits.Near, wantNear, hits.Far, wantFar)
	}
}

func checkDecode(t *testing.T, s source, m memory, n int) {
	t.Helper()
	records, got, want := m.bytes(n*RecordSize), points(m, n), NewPoints(n)
	for i := range records {
		records[i] = byte(s.Uint32())
	}
	s.fillPoints(&want)
	for i := range n {
		for axis, v := range want.at(i) {
			binary.BigEndian.PutUint32(records[i*RecordSize+8+4*axis:], math.Float32bits(v))
		}
	}
	Decode(&got, records)
	if !got.equal(&want) {
		t.Fatalf("%d records:\n got %v\nwant %v", n, got, want)
	}
}

func checkValidate(t *testing.T, s source, m memory, n int) {
	t.Helper()
	claimed, before, allowed := points(m, n), points(m, n), m.floats(n)
	s.fillPoints(&claimed)
	s.fillPoints(&before)
	for i := range allowed {
		if s.IntN(2) == 0 {
			before.X[i], before.Y[i], before.Z[i] = claimed.X[i]+3, claimed.Y[i]-4, claimed.Z[i]
		}
		allowed[i] = 5
		if s.IntN(2) == 0 {
			allowed[i] = float32(math.Abs(float64(s.number())))
		}
	}
	limit := s.number()
	if s.IntN(2) == 0 {
		limit = 100
	}
	ok, inRange := m.words(Words(n)), m.words(Words(n))
	for i := range ok {
		ok[i], inRange[i] = s.Uint64(), s.Uint64()
	}

	Validate(ok, inRange, &claimed, &before, allowed, limit)
	wantOK, wantRange := modelValidate(&claimed, &before, allowed, limit)
	if !slices.Equal(ok, wantOK) || !slices.Equal(inRange, wantRange) {
		t.Fatalf("%d points, limit %v:\n      ok %x\n    want %x\nin range %x\n    want %x",
			n, limit, ok, wantOK, inRange, wantRange)
	}
}

func checkMove(t *testing.T, s source, m memory, n int) {
	t.Helper()
	to, from, mask := points(m, n), points(m, n), m.words(Words(n))
	s.fillPoints(&to)
	s.fillPoints(&from)
	for i := range mask {
		mask[i] = s.Uint64()
	}
	want := Points{X: slices.Clone(to.X), Y: slices.Clone(to.Y), Z: slices.Clone(to.Z)}
	for i := range n {
		if mask[i/64]&(1<<(i%64)) != 0 {
			want.X[i], want.Y[i], want.Z[i] = from.X[i], from.Y[i], from.Z[i]
		}
	}
	Move(&to, &from, mask)
	if !to.equal(&want) {
		t.Fatalf("%d points, mask %x:\n got %v\nwant %v", n, mask, to, want)
	}
}

func modelFletcher(b []byte) (sum1, sum2 uint8) {
	for _, v := range b {
		sum1 += v
		sum2 += sum1
	}
	return sum1, sum2
}

func checkFletcher(t *testing.T, s source, m memory, n int) {
	t.Helper()
	b := m.bytes(n)
	full := s.IntN(4) == 0
	for i := range b {
		if b[i] = 0xff; !full {
			b[i] = byte(s.Uint32())
		}
	}
	sum1, sum2 := Fletcher(b)
	if want1, want2 := modelFletcher(b); uint8(sum1) != want1 || uint8(sum2) != want2 {
		t.Fatalf("%d bytes, all ones %v: sums %#02x and %#02x, want %#02x and %#02x", n, full, uint8(sum1), uint8(sum2), want1, want2)
	}
}

func checkAll(t *testing.T, s source, m memory, n int) {
	t.Helper()
	checkFletcher(t, s, m, n)
	checkFletcher(t, s, m, 24*n)
	checkWithin(t, s, m, n)
	checkDecode(t, s, m, n)
	checkValidate(t, s, m, n)
	checkMove(t, s, m, n)
}

func TestLongestFletcher(t *testing.T) {
	forEachImplementation(t, func(t *testing.T) {
		for range 10 {
			checkFletcher(t, newSource(9), heap{}, 65507)
		}
	})
}

func TestMatchesModel(t *testing.T) {
	forEachImplementation(t, func(t *testing.T) {
		s := newSource(1)
		for offset := range 9 {
			for n := range 71 {
				for range 4 {
					checkAll(t, s, heap{offset}, n)
				}
			}
		}
		for range 20 {
			checkAll(t, s, heap{}, 71+s.IntN(1000))
		}
	})
}

func FuzzMatchesModel(f *testing.F) {
	for n := range 20 {
		f.Add(uint64(n), uint8(n%9), uint16(7*n))
	}
	f.Fuzz(func(t *testing.T, seed uint64, offset uint8, n uint16) {
		forEachImplementation(t, func(t *testing.T) {
			checkAll(t, newSource(seed), heap{int(offset % 9)}, int(n%512))
		})
	})
}

// FuzzBits lets the fuzzer choose the numbers themselves.
func FuzzBits(f *testing.F) {
	var seed []byte
	for _, v := range special {
		seed = binary.BigEndian.AppendUint32(seed, math.Float32bits(v))
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		want1, want2 := modelFletcher(data)
		forEachImplementation(t, func(t *testing.T) {
			if sum1, sum2 := Fletcher(data); uint8(sum1) != want1 || uint8(sum2) != want2 {
				t.Fatalf("sums %#x and %#x, want %#02x and %#02x", sum1, sum2, want1, want2)
			}
		})
		n := len(data) / RecordSize
		data = data[:n*RecordSize]
		ids, spans := make([]uint32, n), []Span{{0, uint32(n)}}
		claimed, before := NewPoints(n), NewPoints(n)
		allowed := make([]float32, n)
		for i := range n {
			r := data[i*RecordSize:]
			ids[i] = uint32(i)
			before.X[i] = math.Float32frombits(binary.BigEndian.Uint32(r))
			allowed[i] = math.Float32frombits(binary.BigEndian.Uint32(r[4:]))
		}
		ok, inRange := make([]uint64, Words(n)), make([]uint64, Words(n))
		forEachImplementation(t, func(t *testing.T) {
			Decode(&claimed, data)
			var area Area
			limit := float32(100)
			if n > 0 {
				limit = allowed[0]
				area = Area{claimed.X[0], claimed.Y[0], claimed.Z[0], allowed[n/2], allowed[n-1]}
			}
			Validate(ok, inRange, &claimed, &before, allowed, limit)
			wantOK, wantRange := modelValidate(&claimed, &before, allowed, limit)
			if !slices.Equal(ok, wantOK) || !slices.Equal(inRange, wantRange) {
				t.Fatalf("ok %x, want %x; in range %x, want %x", ok, wantOK, inRange, wantRange)
			}
			var hits Hits
			Within(&hits, &claimed, ids, spans, &area)
			wantNear, wantFar := modelWithin(&claimed, ids, spans, area)
			if !slices.Equal(hits.Near, wantNear) || !slices.Equal(hits.Far, wantFar) {
				t.Fatalf("got %v, want %v and %v", hits, wantNear, wantFar)
			}
		})
	})
}

func TestSurfaceBelongsToBall(t *testing.T) {
	up, down := math.Nextafter32(4, 5), math.Nextafter32(4, 3)
	tests := []struct {
		name      string
		y         float32
		near, far bool
	}{
		{"inside", down, true, false},
		{"on_the_inner_surface", 4, true, false},
		{"just_outside", up, false, true},
		{"on_the_outer_surface", 5.196152, false, true},
		{"outside_of_both", 5.2, false, false},
	}
	forEachImplementation(t, func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				const n = 11
				p, ids, allowed := NewPoints(n), make([]uint32, n), make([]float32, n)
				for i := range n {
					p.X[i], p.Y[i], allowed[i] = 3, tt.y, 5
				}
				var hits Hits
				Within(&hits, &p, ids, []Span{{0, n}}, &Area{Inner: 5, Outer: 6})
				near, far := len(hits.Near), len(hits.Far)
				if (near == n) != tt.near || (far == n) != tt.far || near+far > n {
					t.Errorf("%d near, %d far", near, far)
				}
				origin := NewPoints(n)
				ok, inRange := make([]uint64, 1), make([]uint64, 1)
				Validate(ok, inRange, &p, &origin, allowed, 100)
				if (ok[0] == 1<<n-1) != tt.near {
					t.Errorf("moves within what is allowed: %b", ok[0])
				}
			})
		}
	})
}

// Squares that are added in another order, or without rounding each, come out a bit
// larger for some points. On these, which are on the surface, it decides.
func TestRounding(t *testing.T) {
	sum := func(a, b float32) float32 { return exactly(float64(a) + float64(b)) }
	fused := func(v, to float32) float32 { return exactly(float64(v)*float64(v) + float64(to)) }
	tests := []struct {
		name     string
		distance func(x, y, z float32) float32
	}{
		{"x_last", func(x, y, z float32) float32 {
			return sum(modelSquare(x), sum(modelSquare(y), modelSquare(z)))
		}},
		{"y_last", func(x, y, z float32) float32 {
			return sum(modelSquare(y), sum(modelSquare(x), modelSquare(z)))
		}},
		{"x_fused", func(x, y, z float32) float32 { return sum(fused(x, modelSquare(y)), modelSquare(z)) }},
		{"y_fused", func(x, y, z float32) float32 { return sum(fused(y, modelSquare(x)), modelSquare(z)) }},
		{"z_fused", func(x, y, z float32) float32 { return fused(z, sum(modelSquare(x), modelSquare(y))) }},
	}
	const n = 64
	forEachImplementation(t, func(t *testing.T) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				s := newSource(2)
				p, origin, radii := NewPoints(n), NewPoints(n), make([]float32, n)
				for i := 0; i < n; {
					x, y, z := 1+s.Float32(), 1+s.Float32(), 1+s.Float32()
					apart := modelSquaredDistance([3]float32{x, y, z}, [3]float32{})
					r := exactly(math.Sqrt(float64(apart)))
					if apart < tt.distance(x, y, z) && modelSquare(r) == apart {
						p.X[i], p.Y[i], p.Z[i], radii[i] = x, y, z, r
						i++
					}
				}
				ids := make([]uint32, n)
				for i, r := range radii {
					for _, length := range []int{1, 8} { // a tail, and a whole block
						start := uint32(min(i, n-length))
						spans, area := []Span{{start, start + uint32(length)}}, Area{Inner: r, Outer: r}
						var hits Hits
						Within(&hits, &p, ids, spans, &area)
						if want, _ := modelWithin(&p, ids, spans, area); len(hits.Near) != len(want) {
							t.Errorf("%d of %d points within the radius of point %d, want %d", len(hits.Near), length, i, len(want))
						}
					}
				}
				ok, inRange := make([]uint64, 1), make([]uint64, 1)
				Validate(ok, inRange, &p, &origin, radii, 100)
				if ok[0] != math.MaxUint64 {
					t.Errorf("ok %b", ok[0])
				}
			})
		}
	})
}

func TestMisuse(t *testing.T) {
	four := NewPoints(4)
	three := Points{X: four.X[:3], Y: four.Y[:3], Z: four.Z[:3]}
	uneven := Points{X: make([]float32, 4), Y: make([]float32, 4), Z: make([]float32, 3)}
	one, two := make([]uint64, 1), make([]uint64, 2)
	ids, allowed := make([]uint32, 4), make([]float32, 4)
	tests := []struct {
		name string
		call func()
	}{
		{"within_fewer_ids", func() { Within(&Hits{}, &four, ids[:3], nil, &Area{}) }},
		{"within_uneven", func() { Within(&Hits{}, &uneven, ids, nil, &Area{}) }},
		{"within_span_too_long", func() { Within(&Hits{}, &four, ids, []Span{{0, 5}}, &Area{}) }},
		{"within_span_of_the_capacity", func() { Within(&Hits{}, &three, ids[:3], []Span{{0, 4}}, &Area{}) }},
		{"within_span_reversed", func() { Within(&Hits{}, &four, ids, []Span{{2, 1}}, &Area{}) }},
		{"decode_fewer_points", func() { Decode(&three, make([]byte, 4*RecordSize)) }},
		{"decode_half_a_record", func() { Decode(&three, make([]byte, 4*RecordSize-1)) }},
		{"validate_fewer_claimed", func() { Validate(one, one, &three, &four, allowed, 1) }},
		{"validate_fewer_before", func() { Validate(one, one, &four, &three, allowed, 1) }},
		{"validate_longer_mask", func() { Validate(two, one, &four, &four, allowed, 1) }},
		{"validate_no_mask", func() { Validate(one, nil, &four, &four, allowed, 1) }},
		{"move_uneven", func() { Move(&uneven, &four, one) }},
		{"move_fewer_points", func() { Move(&four, &three, one) }},
		{"move_no_mask", func() { Move(&four, &three, nil) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			tt.call()
		})
	}
}

// crowd is a field of players in rows of cells as wide as the outer radius, and
// the spans that each of them has to look at: the cells around its own.
type crowd struct {
	points Points
	ids    []uint32
	spans  [][]Span
	areas  []Area
}

// newCrowd has about so many players within 50 units of each.
func newCrowd(players, neighbours int) crowd {
	s := newSource(3)
	const inner, outer = 50, 60
	side := math.Sqrt(float64(players) * math.Pi * inner * inner / float64(neighbours))
	cells := max(1, int(side/outer))
	cellOf := func(v float32) int { return min(int(float64(v)/side*float64(cells)), cells-1) }

	c := crowd{points: NewPoints(players)}
	inCell := make([][][3]float32, cells*cells)
	for range players {
		p := [3]float32{float32(s.Float64() * side), 2 * s.Float32(), float32(s.Float64() * side)}
		cell := cellOf(p[2])*cells + cellOf(p[0])
		inCell[cell] = append(inCell[cell], p)
	}
	starts := []uint32{0}
	for _, cell := range inCell {
		for _, p := range cell {
			i := len(c.ids)
			c.points.X[i], c.points.Y[i], c.points.Z[i] = p[0], p[1], p[2]
			c.ids = append(c.ids, uint32(i))
			c.areas = append(c.areas, Area{p[0], p[1], p[2], inner, outer})
		}
		starts = append(starts, uint32(len(c.ids)))
	}
	for _, a := range c.areas {
		row, column := cellOf(a.Z), cellOf(a.X)
		var spans []Span
		for r := max(row-1, 0); r <= min(row+1, cells-1); r++ {
			first, last := max(column-1, 0), min(column+1, cells-1)
			spans = append(spans, Span{starts[r*cells+first], starts[r*cells+last+1]})
		}
		c.spans = append(c.spans, spans)
	}
	return c
}

// batch is what arrives in a pass: most claims are honest.
type batch struct {
	records         []byte
	claimed, before Points
	allowed         []float32
	ok, inRange     []uint64
}

func newBatch(n int) batch {
	s := newSource(4)
	b := batch{
		records: make([]byte, n*RecordSize), claimed: NewPoints(n), before: NewPoints(n),
		allowed: make([]float32, n), ok: make([]uint64, Words(n)), inRange: make([]uint64, Words(n)),
	}
	for i := range n {
		b.allowed[i] = 5
		b.before.X[i], b.before.Y[i], b.before.Z[i] = 500*s.Float32(), s.Float32(), 500*s.Float32()
		for axis, v := range b.before.at(i) {
			if s.IntN(50) == 0 {
				v += 10
			}
			v += s.Float32()
			binary.BigEndian.PutUint32(b.records[i*RecordSize+8+4*axis:], math.Float32bits(v))
		}
	}
	return b
}

func (b *batch) apply() {
	Decode(&b.claimed, b.records)
	Validate(b.ok, b.inRange, &b.claimed, &b.before, b.allowed, 1e6)
	Move(&b.before, &b.claimed, b.ok)
}

func TestNoAllocations(t *testing.T) {
	c, b := newCrowd(300, 30), newBatch(300)
	var hits Hits
	forEachImplementation(t, func(t *testing.T) {
		i := 0
		if n := testing.AllocsPerRun(100, func() {
			hits.Near, hits.Far = hits.Near[:0], hits.Far[:0]
			Within(&hits, &c.points, c.ids, c.spans[i%300], &c.areas[i%300])
			b.apply()
			Fletcher(b.records)
			i++
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func BenchmarkWithin(b *testing.B) {
	// Players move between two queries. If the same came again and again, the
	// processor would know the answers by heart.
	steps := make([]float32, 4099)
	s := newSource(5)
	for i := range steps {
		steps[i] = 20*s.Float32() - 10
	}
	for _, neighbours := range []int{4, 12, 30, 60} {
		c := newCrowd(1000, neighbours)
		looked := 0
		for _, spans := range c.spans {
			looked += count(spans, len(c.ids))
		}
		var hits Hits
		b.Run(fmt.Sprintf("points_%d", looked/len(c.ids)), func(b *testing.B) {
			forEachImplementation(b, func(b *testing.B) {
				i, step := 0, 0
				for b.Loop() {
					area := c.areas[i]
					area.X += steps[step]
					hits.Near, hits.Far = hits.Near[:0], hits.Far[:0]
					Within(&hits, &c.points, c.ids, c.spans[i], &area)
					if i++; i == len(c.spans) {
						i = 0
					}
					if step++; step == len(steps) {
						step = 0
					}
				}
			})
		})
	}
}

func BenchmarkPositions(b *testing.B) {
	for _, n := range []int{32, 128, 1000} {
		in := newBatch(n)
		in.apply()
		steps := []struct {
			name string
			run  func()
		}{
			{"decode", func() { Decode(&in.claimed, in.records) }},
			{"validate", func() { Validate(in.ok, in.inRange, &in.claimed, &in.before, in.allowed, 1e6) }},
			{"move", func() { Move(&in.before, &in.claimed, in.ok) }},
			{"all", in.apply},
		}
		for _, step := range steps {
			b.Run(fmt.Sprintf("%s_%d", step.name, n), func(b *testing.B) {
				forEachImplementation(b, func(b *testing.B) {
					for b.Loop() {
						step.run()
					}
				})
			})
		}
	}
}

func BenchmarkFletcher(b *testing.B) {
	s := newSource(7)
	for _, n := range []int{40, 64, 96, 128, 256, 1200, 1472} {
		packet := make([]byte, n)
		for i := range packet {
			packet[i] = byte(s.Uint32())
		}
		b.Run(fmt.Sprintf("bytes_%d", n), func(b *testing.B) {
			forEachImplementation(b, func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					Fletcher(packet)
				}
			})
		})
	}
}
