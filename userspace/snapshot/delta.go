package snapshot

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

// groups are words that tend to change together: velocities, positions,
// others. Each ends where the next begins.
func (l *layout) groups() [3]int {
	return [3]int{l.axes, 2 * l.axes, len(l.words)}
}

// residuals fills res with those of all words, where p has no prev.
func (l *layout) residuals(res, row []int32, p *predictor) {
	words, base := l.words, p.base
	res, row, base = res[:len(words)], row[:len(words)], base[:len(words)]
	n := l.axes
	for i := range words[:n] {
		res[i] = row[i] - base[i]
		at := n + i
		res[at] = row[at] - int32(p.moved(&words[at], at, row[i], base[i]))
	}
	for i := 2 * n; i < len(words); i++ {
		res[i] = row[i] - base[i]
		if res[i] != 0 && words[i].kind == kindAngle {
			res[i] = words[i].arc(res[i])
		}
	}
}

// curve changes the residuals to those of a p that has prev, and is the same
// otherwise.
func (l *layout) curve(res, row []int32, p *predictor) {
	for i := range l.words {
		if l.curved(i) {
			res[i] = l.residual(row, i, p)
		}
	}
}

// curved reports whether prev makes a difference to the prediction of a word.
func (l *layout) curved(i int) bool {
	return i < l.axes || i >= 2*l.axes && l.words[i].kind <= kindAngle
}

// writeResiduals writes what the prediction is off by, and it is.
//
// A group, and a field within it, has a flag that says whether it is off,
// unless it must be: the last one when none before it was.
func (l *layout) writeResiduals(w *bitWriter, res, row []int32) {
	some, at := false, 0
	for _, end := range l.groups() {
		if at == end {
			continue
		}
		off := anyOff(res[at:end])
		if some || end < len(l.words) {
			w.write(flag(off), 1)
		}
		if off {
			l.writeGroup(w, res, row, at, end)
			some = true
		}
		at = end
	}
}

// bends reports whether a word is off that the steady prediction has another
// opinion of.
func (l *layout) bends(res []int32) bool {
	for i, d := range res {
		if d != 0 && l.curved(i) {
			return true
		}
	}
	return false
}

func (l *layout) writeGroup(w *bitWriter, res, row []int32, at, end int) {
	some := false
	for at < end {
		c := &l.words[at]
		next := at + 1
		if c.kind == kindQuat {
			next = at + 4
		}
		off := anyOff(res[at:next])
		if some || next < end {
			w.write(flag(off), 1)
		}
		switch {
		case !off || c.kind == kindFlag:
		case c.kind == kindQuat:
			l.writeQuat(w, res, row, at)
		default:
			w.golomb(zigzag(int64(res[at]))-1, c.order)
		}
		some = some || off
		at = next
	}
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
	some, at := false, 0
	for _, end := range l.groups() {
		if at == end {
			continue
		}
		groupOff := off && (!some && end == len(l.words) || r.bit())
		if !groupOff {
			for i := at; i < end; i++ {
				row[i] = l.guess(row, i, p)
			}
		} else if !l.readGroup(r, row, p, at, end) {
			return false
		}
		some = some || groupOff
		at = end
	}
	return !r.short
}

func (l *layout) readGroup(r *bitReader, row []int32, p *predictor, at, end int) bool {
	some := false
	for at < end {
		c := &l.words[at]
		next := at + 1
		if c.kind == kindQuat {
			next = at + 4
		}
		off := !some && next == end || r.bit()
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

func anyOff(res []int32) bool {
	for _, d := range res {
		if d != 0 {
			return true
		}
	}
	return false
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
