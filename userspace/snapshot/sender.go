package snapshot

import (
	"cmp"
	"encoding/binary"
	"slices"
)

const (
	// maxUnacked is how many snapshots a Sender remembers that are not
	// acknowledged: at 20 a second those of 1.6 s.
	maxUnacked = 32

	streams = 64

	headerFull  = 5 // bytes
	headerDelta = 5
)

// SenderOptions are the limits of a Sender. Zero values mean the defaults.
type SenderOptions struct {
	// Stream tells this client's snapshots from those of a former room;
	// below 64. Whoever moves a client counts it up.
	Stream uint8

	// MaxEntities is how many entities the client is told of at most;
	// 256 by default. A Receiver must allow as many.
	MaxEntities int

	// MaxBytes is what a snapshot never exceeds whatever the budget is;
	// 1,100 by default.
	MaxBytes int
}

// Outcome is what an acknowledgement was good for.
type Outcome uint8

const (
	AckAccepted Outcome = iota // newer than all before
	AckStale                   // late, or a copy
	AckUnknown                 // of a snapshot never sent, or given up
)

// Sender makes the snapshots of one client. It belongs to the goroutine of its
// History.
type Sender struct {
	h    *history
	opts SenderOptions

	base    *world   // what the client has for sure; nil: nothing
	unacked []*world // oldest first
	spare   []*world

	// Entities that were visible to the client last time; unless whole, when
	// they are those of the newest snapshot.
	tracks []track
	whole  bool
}

// scratch is what the Senders of a History need while they encode, one after the
// other: what is shared stays in the cache.
type scratch struct {
	tracks     []track // to be the Sender's
	candidates []candidate
	order      []int32
	known      []bool  // of the visible, in turn: the baseline has it
	bases      []int32 // candidate of each entity of the baseline, or gone
	w          bitWriter
}

// world is what a client has once a snapshot reached it.
type world struct {
	ordinal, tick uint32
	full          bool // needs no baseline
	entries       []entry
}

type track struct {
	id   ID
	sent uint32 // ordinal of the newest snapshot it was in, or would have been
	told bool   // was in one
}

type candidate struct {
	id      ID
	base    int32 // its place in the baseline's world; -1: not there
	chosen  bool
	pending bool // was sent, and the client is not known to have it
	age     float32
}

const gone = -1

// NewSender returns the sender of a client that has nothing yet.
func NewSender[T any](h *History[T], o SenderOptions) *Sender {
	if o.MaxEntities <= 0 {
		o.MaxEntities = 256
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1100
	}
	o.Stream %= streams
	return &Sender{h: &h.core, opts: o}
}

// Reset forgets what the client has: the next snapshot is a full one.
func (s *Sender) Reset() {
	s.recall()
	s.spare = append(s.spare, s.unacked...)
	s.unacked = s.unacked[:0]
	if s.base != nil {
		s.spare = append(s.spare, s.base)
		s.base = nil
	}
}

// lost forgets what the client lost, and keeps the full snapshots that are on
// their way to it.
func (s *Sender) lost() {
	s.recall()
	if s.base != nil {
		s.spare = append(s.spare, s.base)
		s.base = nil
	}
	kept := s.unacked[:0]
	for _, w := range s.unacked {
		if w.full {
			kept = append(kept, w)
		} else {
			s.spare = append(s.spare, w)
		}
	}
	s.unacked = kept
}

// Acknowledge takes what the client's Receiver gave. Any bytes will do: what
// does not make sense is told and ignored.
func (s *Sender) Acknowledge(a Ack) Outcome {
	if a.Stream != s.opts.Stream {
		return AckUnknown
	}
	if a.Lost {
		s.lost()
		return AckAccepted
	}
	for i, w := range s.unacked {
		if w.tick != a.Tick {
			continue
		}
		if s.base != nil {
			s.spare = append(s.spare, s.base)
		}
		s.base = w
		s.spare = append(s.spare, s.unacked[:i]...)
		s.unacked = slices.Delete(s.unacked, 0, i+1)
		return AckAccepted
	}
	if s.base != nil && int32(a.Tick-s.base.tick) <= 0 {
		return AckStale
	}
	return AckUnknown
}

// recall makes the tracks of the newest snapshot's world, which may not last.
func (s *Sender) recall() {
	if !s.whole {
		return
	}
	s.whole = false
	w := s.base
	if n := len(s.unacked); n > 0 {
		w = s.unacked[n-1]
	}
	s.tracks = s.tracks[:0]
	for i := range w.entries {
		s.tracks = append(s.tracks, track{id: w.entries[i].id, sent: w.ordinal, told: true})
	}
}

// Append appends the newest snapshot of the history to b as the client shall
// see it, in at most budget bytes. Of the visible entities, in any order, those
// that the history has count, each once. Where not all fit, the ones whose age
// times weight is greatest go first, and the others wait for another snapshot.
// Only then is weight called, once for each; 0 and below count as next to
// nothing, and without a weight all are alike.
//
// It returns b as it was when that snapshot was already appended, or when not
// even its header fits.
func (s *Sender) Append(b []byte, visible []ID, weight func(ID) float32, budget int) []byte {
	h := s.h
	budget = min(budget, s.opts.MaxBytes)
	if h.ordinal == 0 || budget < headerFull+1 {
		return b
	}
	if n := len(s.unacked); n > 0 && s.unacked[n-1].ordinal == h.ordinal ||
		s.base != nil && s.base.ordinal == h.ordinal {
		return b
	}
	base := s.baseline()
	next := s.next()
	x := &h.scratch
	if !s.writeWhole(b, base, next, visible, budget) {
		s.recall()
		s.consider(visible, weight)
		s.match(base)
		switch {
		case s.choose(base, budget):
			s.writePart(b, base, next)
		case s.writeWhole(b, nil, next, visible, budget):
			base = nil
		default:
			base = nil
			s.match(nil)
			s.choose(nil, budget)
			s.writePart(b, nil, next)
		}
	}
	next.full = base == nil
	s.unacked = append(s.unacked, next)
	b = x.w.flush()
	x.w.b = nil
	return b
}

// baseline is the world that the next snapshot is a change of, nil for none.
func (s *Sender) baseline() *world {
	h := s.h
	if s.base == nil || !h.kept(s.base.ordinal) || h.tick(h.ordinal)-s.base.tick > maxDistance {
		return nil
	}
	return s.base
}

// writeWhole writes a snapshot that tells of everything visible, and reports
// whether it fits. This is how nearly all snapshots are, so it is done in one go.
func (s *Sender) writeWhole(b []byte, base, next *world, visible []ID, budget int) bool {
	x := &s.h.scratch
	h := s.h
	n := s.noteVisible(visible)
	if n > s.opts.MaxEntities {
		return false
	}
	x.w = bitWriter{b: b}
	s.writeHeader(base, false)
	next.entries = next.entries[:0]
	bits := budget*8 - 1
	if base != nil {
		n -= s.writeKnown(base, next, bits)
	}
	if x.w.n+n*s.newBits() > bits {
		return false
	}
	if n > 0 {
		for i, id := range visible {
			if j, ok := h.find(id.Slot); ok && j == i && !x.known[i] {
				s.writeNew(next, id)
			}
		}
	}
	x.w.write(0, 1)
	s.whole = true
	return true
}

// noteVisible notes which entities the history has, by their place in visible,
// and counts them.
func (s *Sender) noteVisible(visible []ID) (n int) {
	h := s.h
	x := &h.scratch
	if cap(x.known) < len(visible) {
		x.known = make([]bool, 2*len(visible))
	}
	x.known = x.known[:len(visible)]
	clear(x.known)
	tenants := h.tenants[h.ordinal%Keep]
	h.mark()
	for i, id := range visible {
		if int(id.Slot) >= len(tenants) || tenants[id.Slot] != (tenant{id.Generation, true}) {
			continue
		}
		if note := &h.notes[id.Slot]; note.stamp != h.stamp {
			note.stamp, note.index = h.stamp, int32(i)
			n++
		}
	}
	return n
}

// writeKnown writes what becomes of the entities of the baseline when all that
// is visible is told, and counts those that are. It gives up beyond so many bits.
func (s *Sender) writeKnown(base, next *world, bits int) (n int) {
	h := s.h
	x := &h.scratch
	tenants := h.tenants[h.ordinal%Keep]
	for i := 0; i < len(base.entries) && x.w.n <= bits; i++ {
		e := &base.entries[i]
		at, ok := h.find(e.id.Slot)
		// An entity whose version is forgotten is removed, and is new.
		if !ok || tenants[e.id.Slot].generation != e.id.Generation || !h.kept(e.version) {
			x.w.write(0b11, 2)
			continue
		}
		x.known[at] = true
		n++
		if d := h.delta(e); d.bits == 0 {
			x.w.write(0, 1)
		} else {
			x.w.write(0b10, 2)
			h.appendDelta(&x.w, d)
		}
		next.entries = append(next.entries, h.renewed(e))
	}
	return n
}

// renewed is an entity that a client had as the newest snapshot has it.
func (h *history) renewed(e *entry) entry {
	span := h.tick(h.ordinal) - h.tick(e.version)
	if span > maxAhead {
		span = 0
	}
	return entry{id: e.id, version: h.ordinal, former: e.version, span: uint16(span)}
}

// consider makes the candidates of what is visible.
func (s *Sender) consider(visible []ID, weight func(ID) float32) {
	h := s.h
	x := &h.scratch
	x.tracks, x.candidates = x.tracks[:0], x.candidates[:0]

	h.mark()
	for i := range s.tracks {
		h.put(s.tracks[i].id.Slot, i)
	}
	for _, id := range visible {
		if h.row(id, h.ordinal) == nil {
			continue
		}
		t := track{id: id, sent: h.ordinal - 1}
		if i, ok := h.find(id.Slot); ok && s.tracks[i].id == id {
			t = s.tracks[i]
		}
		w := float32(1)
		if weight != nil {
			w = max(weight(id), 1e-9)
		}
		x.tracks = append(x.tracks, t)
		x.candidates = append(x.candidates, candidate{
			id: id, pending: t.told, age: w * float32(h.ordinal-t.sent),
		})
	}
}

// match finds the candidates in the baseline, and drops copies.
func (s *Sender) match(base *world) {
	x := &s.h.scratch
	h := s.h
	h.mark()
	kept := 0
	for i := range x.candidates {
		c := &x.candidates[i]
		if _, ok := h.find(c.id.Slot); ok {
			continue
		}
		h.put(c.id.Slot, kept)
		c.base = -1
		if kept != i {
			x.candidates[kept], x.tracks[kept] = *c, x.tracks[i]
		}
		kept++
	}
	x.candidates, x.tracks = x.candidates[:kept], x.tracks[:kept]

	x.bases = x.bases[:0]
	if base == nil {
		return
	}
	for j, e := range base.entries {
		at := int32(gone)
		// An entity whose version is forgotten is removed, and is new.
		if i, ok := h.find(e.id.Slot); ok && x.candidates[i].id == e.id && h.kept(e.version) {
			at = int32(i)
			c := &x.candidates[i]
			c.base = int32(j)
			c.pending = false
		}
		x.bases = append(x.bases, at)
	}
}

// choose chooses what fits by age. It reports false when there is no room for
// what must be said of the baseline.
func (s *Sender) choose(base *world, budget int) bool {
	x := &s.h.scratch
	bits := budget*8 - s.fixed(base)
	size := 0
	for _, at := range x.bases {
		bits--
		if at == gone {
			bits--
		} else {
			size++
		}
	}
	if bits < 0 {
		return false
	}
	x.order = x.order[:0]
	for i := range x.candidates {
		x.candidates[i].chosen = false
		x.order = append(x.order, int32(i))
	}
	cs := x.candidates
	slices.SortFunc(x.order, func(a, b int32) int {
		p, q := &cs[a], &cs[b]
		if p.pending != q.pending {
			if p.pending {
				return -1
			}
			return 1
		}
		if p.age != q.age {
			return cmp.Compare(q.age, p.age)
		}
		return cmp.Compare(a, b)
	})
	for _, i := range x.order {
		c := &cs[i]
		if c.base < 0 {
			if size < s.opts.MaxEntities && bits >= s.newBits() {
				bits -= s.newBits()
				size++
				c.chosen = true
			}
			continue
		}
		if n := 2 + int(s.h.delta(&base.entries[c.base]).bits); bits >= n {
			bits -= n
			c.chosen = true
		}
	}
	return true
}

// fixed counts the bits of a snapshot that changes nothing.
func (s *Sender) fixed(base *world) int {
	if base == nil {
		return headerFull*8 + 1
	}
	return headerDelta*8 + 1
}

// newBits counts those of an entity that the client does not have.
func (s *Sender) newBits() int { return 1 + 32 + s.h.full }

func (s *Sender) writeHeader(base *world, partial bool) {
	x := &s.h.scratch
	h := s.h
	tick := h.tick(h.ordinal)
	x.w.write(flag(base == nil)<<7|flag(partial)<<6|uint64(s.opts.Stream), 8)
	if base == nil {
		x.w.write(uint64(tick), 32)
		return
	}
	x.w.write(uint64(tick&0xffff), 16)
	x.w.write(uint64(tick-base.tick), 16)
}

// next returns an empty world for the newest snapshot.
func (s *Sender) next() *world {
	var w *world
	switch n := len(s.spare); {
	case len(s.unacked) == maxUnacked:
		w = s.unacked[0]
		s.unacked = slices.Delete(s.unacked, 0, 1)
	case n > 0:
		w = s.spare[n-1]
		s.spare = s.spare[:n-1]
	default:
		w = &world{}
	}
	*w = world{ordinal: s.h.ordinal, tick: s.h.tick(s.h.ordinal), entries: w.entries[:0]}
	return w
}

// writePart writes a snapshot of what was chosen.
func (s *Sender) writePart(b []byte, base, next *world) {
	x := &s.h.scratch
	h := s.h
	x.w = bitWriter{b: b}
	s.writeHeader(base, true)
	next.entries = next.entries[:0]
	for j, at := range x.bases {
		e := &base.entries[j]
		switch {
		case at == gone:
			x.w.write(0b11, 2)
		case !x.candidates[at].chosen:
			x.w.write(0, 1)
			next.entries = append(next.entries, *e)
		default:
			d := h.delta(e)
			x.w.write(0b100|flag(d.bits > 0), 3)
			h.appendDelta(&x.w, d)
			next.entries = append(next.entries, h.renewed(e))
			s.sent(at)
		}
	}
	for i := range x.candidates {
		if c := &x.candidates[i]; c.base < 0 && c.chosen {
			s.writeNew(next, c.id)
			s.sent(int32(i))
		}
	}
	x.w.write(0, 1)
	s.tracks = append(s.tracks[:0], x.tracks...)
}

// writeNew writes an entity that the baseline has not.
func (s *Sender) writeNew(next *world, id ID) {
	x := &s.h.scratch
	h := s.h
	x.w.write(1, 1)
	x.w.write(uint64(id.Slot)<<16|uint64(id.Generation), 32)
	h.writeRow(&x.w, h.row(id, h.ordinal))
	next.entries = append(next.entries, entry{id: id, version: h.ordinal})
}

func (s *Sender) sent(i int32) {
	t := &s.h.scratch.tracks[i]
	t.sent, t.told = s.h.ordinal, true
}

// Ack is what a client has, or that it has nothing.
type Ack struct {
	Stream uint8  // below 64
	Tick   uint32 // of the newest snapshot received
	Lost   bool   // the client needs a full snapshot; Tick means nothing
}

// AckSize is how many bytes an Ack takes.
const AckSize = 5

// AppendTo appends the acknowledgement as it travels.
func (a Ack) AppendTo(b []byte) []byte {
	b = append(b, byte(flag(a.Lost)<<7)|a.Stream%streams)
	return binary.BigEndian.AppendUint32(b, a.Tick)
}

// ParseAck reads what AppendTo wrote: AckSize bytes and no more.
func ParseAck(b []byte) (Ack, error) {
	if len(b) != AckSize || b[0]&0x40 != 0 {
		return Ack{}, ErrMalformed
	}
	return Ack{Stream: b[0] % streams, Tick: binary.BigEndian.Uint32(b[1:]), Lost: b[0]&0x80 != 0}, nil
}
