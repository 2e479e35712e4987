package snapshot

import "math/bits"

const (
	predictShift = 24 // fraction bits of word.factor
	maxAhead     = 63 // ticks over which a change is predicted, at most
)

// predictor guesses the words of a row from those the client has. Server and
// client compute the same integers.
type predictor struct {
	base  []int32
	prev  []int32 // nil: what base is, it stays
	ahead int64   // ticks from base to the row, at most maxAhead
	span  int64   // ticks from prev to base
}

// held guesses that a word, other than a position, goes on as it did between
// prev and base.
func (p *predictor) held(w *word, i int) int64 {
	b := int64(p.base[i])
	if p.prev == nil || w.kind > kindAngle {
		return b
	}
	d := b - int64(p.prev[i])
	if d == 0 {
		return b
	}
	if w.kind == kindAngle {
		d = int64(w.arc(int32(d)))
		return (b + divide(d*p.ahead, p.span)) & int64(w.hi)
	}
	return clamp(b+divide(d*p.ahead, p.span), int64(w.lo), int64(w.hi))
}

// moved guesses a position from the velocities at both ends.
func (p *predictor) moved(w *word, i int, velocity, former int32) int64 {
	way := (int64(former) + int64(velocity)) * p.ahead * w.factor
	return clamp(int64(p.base[i])+(way+1<<(predictShift-1))>>predictShift, int64(w.lo), int64(w.hi))
}

// divide rounds to the nearest, halves up.
func divide(a, b int64) int64 {
	a = 2*a + b
	b *= 2
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// residual is how far the value of word i is from its prediction; row holds
// the words before it.
func (l *layout) residual(row []int32, i int, p *predictor) int32 {
	w := &l.words[i]
	d := row[i] - l.guess(row, i, p)
	if w.kind == kindAngle {
		d = w.arc(d)
	}
	return d
}

// guess predicts word i of a row of which the words before it are known.
func (l *layout) guess(row []int32, i int, p *predictor) int32 {
	if v := i - l.axes; v >= 0 && v < l.axes {
		return int32(p.moved(&l.words[i], i, row[v], p.base[v]))
	}
	return int32(p.held(&l.words[i], i))
}

// group is words that tend to change together: velocities, positions, others.
type group struct {
	from, to int    // words
	words    uint64 // the same as bits
	fields   int
}

// arrange sorts the words into groups and fields.
func (l *layout) arrange() {
	n := l.axes
	ends := [...]int{n, 2 * n, len(l.words)}
	from := 0
	for g, to := range ends {
		l.groups[g] = group{from: from, to: to, words: span(from, to)}
		for i := from; i < to; {
			w := &l.words[i]
			size := 1
			if w.kind == kindQuat {
				size = 4
			}
			for j := i; j < i+size; j++ {
				l.words[j].first, l.words[j].size, l.words[j].field = i, size, l.groups[g].fields
			}
			if g == 0 || g == 2 && w.kind <= kindAngle {
				l.curved |= 1 << i
			}
			l.groups[g].fields++
			i += size
		}
		from = to
	}
}

// span has the bits from one to before another.
func span(from, to int) uint64 { return 1<<to - 1<<from }

// residuals fills res with those of all words, where p has no prev, and returns
// which are not zero.
func (l *layout) residuals(res, row []int32, p *predictor) (off uint64) {
	words, base := l.words, p.base
	res, row, base = res[:len(words)], row[:len(words)], base[:len(words)]
	n := l.axes
	for i := range words[:n] {
		d := row[i] - base[i]
		res[i] = d
		off |= flag(d != 0) << i
		at := n + i
		d = row[at] - int32(p.moved(&words[at], at, row[i], base[i]))
		res[at] = d
		off |= flag(d != 0) << at
	}
	for i := 2 * n; i < len(words); i++ {
		d := row[i] - base[i]
		if d != 0 && words[i].kind == kindAngle {
			d = words[i].arc(d)
		}
		res[i] = d
		off |= flag(d != 0) << i
	}
	return off
}

// curve changes residuals to those of a p that is the same but has prev, and
// returns which are not zero.
func (l *layout) curve(res, row []int32, p *predictor, off uint64) uint64 {
	off &^= l.curved
	for m := l.curved; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		d := l.residual(row, i, p)
		res[i] = d
		off |= flag(d != 0) << i
	}
	return off
}

// writeResiduals writes what the prediction is off by, and it is.
//
// A group, and a field within it, has a flag that says whether it is off,
// unless it must be: the last one when none before it was.
func (l *layout) writeResiduals(w *bitWriter, res, row []int32, off uint64) {
	some := false
	for i := range l.groups {
		g := &l.groups[i]
		if g.fields == 0 {
			continue
		}
		in := off & g.words
		if some || g.to < len(l.words) {
			w.write(flag(in != 0), 1)
		}
		if in != 0 {
			l.writeGroup(w, res, row, g, in)
			some = true
		}
	}
}

func (l *layout) writeGroup(w *bitWriter, res, row []int32, g *group, off uint64) {
	done := 0 // fields
	for off != 0 {
		at := bits.TrailingZeros64(off)
		c := &l.words[at]
		if skipped := uint(c.field - done); done == 0 && c.field == g.fields-1 {
			w.write(0, skipped)
		} else {
			w.write(1, skipped+1)
		}
		switch c.kind {
		case kindFlag:
		case kindQuat, kindPart:
			l.writeQuat(w, res, row, c.first)
		default:
			w.golomb(zigzag(int64(res[at]))-1, c.order)
		}
		done = c.field + 1
		off &^= span(c.first, c.first+c.size)
	}
	w.write(0, uint(g.fields-done))
}

// writeQuat writes a quaternion that changed: the differences when its largest
// component is where it was, else all of it.
func (l *layout) writeQuat(w *bitWriter, res, row []int32, at int) {
	w.write(flag(res[at] != 0), 1)
	if res[at] != 0 {
		for i := at; i < at+4; i++ {
			w.write(uint64(row[i]-l.words[i].lo), l.words[i].width)
		}
		return
	}
	some := false
	for i := at + 1; i < at+4; i++ {
		if some || i < at+3 {
			w.write(flag(res[i] != 0), 1)
		}
		if res[i] != 0 {
			w.golomb(zigzag(int64(res[i]))-1, l.words[i].order)
			some = true
		}
	}
}

// readDelta fills row by prediction and, when it is off, what
// writeResiduals wrote. It reports whether all words are within their ranges.
func (l *layout) readDelta(r *bitReader, row []int32, p *predictor, off bool) bool {
	some := false
	for i := range l.groups {
		g := &l.groups[i]
		if g.fields == 0 {
			continue
		}
		groupOff := off && (!some && g.to == len(l.words) || r.bit())
		if !groupOff {
			for i := g.from; i < g.to; i++ {
				row[i] = l.guess(row, i, p)
			}
		} else if !l.readGroup(r, row, p, g) {
			return false
		}
		some = some || groupOff
	}
	return !r.short
}

func (l *layout) readGroup(r *bitReader, row []int32, p *predictor, g *group) bool {
	some := false
	for at := g.from; at < g.to; {
		c := &l.words[at]
		next := at + c.size
		off := !some && next == g.to || r.bit()
		ok := true
		switch {
		case !off:
			for i := at; i < next; i++ {
				row[i] = l.guess(row, i, p)
			}
		case c.kind == kindFlag:
			row[at] = 1 - l.guess(row, at, p)
		case c.kind == kindQuat:
			ok = l.readQuat(r, row, p, at)
		default:
			ok = l.readResidual(r, row, p, at)
		}
		if !ok {
			return false
		}
		some = some || off
		at = next
	}
	return true
}

func (l *layout) readQuat(r *bitReader, row []int32, p *predictor, at int) bool {
	if r.bit() {
		return l.readWords(r, row, at, at+4) && row[at] != p.base[at]
	}
	row[at] = p.base[at]
	some := false
	for i := at + 1; i < at+4; i++ {
		off := !some && i == at+3 || r.bit()
		if !off {
			row[i] = l.guess(row, i, p)
		} else if !l.readResidual(r, row, p, i) {
			return false
		}
		some = some || off
	}
	return true
}

func (l *layout) readResidual(r *bitReader, row []int32, p *predictor, i int) bool {
	c := &l.words[i]
	z, ok := r.golomb(c.order)
	v := int64(l.guess(row, i, p)) + unzigzag(z+1)
	if c.kind == kindAngle {
		row[i] = int32(v) & c.hi
		// The longer way round is not how it is written.
		return ok && l.residual(row, i, p) == int32(unzigzag(z+1))
	}
	row[i] = int32(v)
	return ok && v >= int64(c.lo) && v <= int64(c.hi)
}

// writeRow writes a row whole.
func (l *layout) writeRow(w *bitWriter, row []int32) {
	for i := range l.words {
		w.write(uint64(row[i]-l.words[i].lo), l.words[i].width)
	}
}

// readRow reads what writeRow wrote and reports whether all words are within
// their ranges.
func (l *layout) readRow(r *bitReader, row []int32) bool {
	return l.readWords(r, row, 0, len(l.words)) && !r.short
}

func (l *layout) readWords(r *bitReader, row []int32, at, end int) bool {
	for i := at; i < end; i++ {
		c := &l.words[i]
		v := int64(r.read(c.width)) + int64(c.lo)
		if v > int64(c.hi) {
			return false
		}
		row[i] = int32(v)
	}
	return true
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
