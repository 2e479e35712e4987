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

// Visible is an entity that a client may know of.
type Visible struct {
	ID ID

	// Weight is how much a moment of its age counts beside others' when not
	// all fit; 0 and below count as next to nothing.
	Weight float32
}

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

	tracks []track // entities that were visible to the client last time
}

// scratch is what the Senders of a History need while they encode, one after the
// other: what is shared stays in the cache.
type scratch struct {
	tracks     []track // to be the Sender's
	candidates []candidate
	order      []int32
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
	delta   delta
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

// Append appends the newest snapshot of the history to b as the client shall
// see it, in at most budget bytes. Of the visible entities, in any order, those
// that the history has count, each once. Where not all fit, the ones whose age
// times weight is greatest go first, and the others wait for another snapshot.
//
// It returns b as it was when that snapshot was already appended, or when not
// even its header fits.
func (s *Sender) Append(b []byte, visible []Visible, budget int) []byte {
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
	s.consider(visible)
	s.match(base)
	bits := budget * 8
	partial := !s.chooseAll(base, bits)
	if partial && !s.chooseSome(base, bits) {
		base = nil
		s.match(nil)
		if partial = !s.chooseAll(nil, bits); partial {
			s.chooseSome(nil, bits)
		}
	}

	x := &h.scratch
	x.w = bitWriter{b: b}
	s.writeHeader(base, partial)
	next := s.next()
	next.full = base == nil
	s.writeBase(base, next, partial)
	s.writeNew(next)
	s.unacked = append(s.unacked, next)
	s.tracks = append(s.tracks[:0], x.tracks...)
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

// consider makes the candidates of what is visible.
func (s *Sender) consider(visible []Visible) {
	h := s.h
	x := &h.scratch
	x.tracks, x.candidates = x.tracks[:0], x.candidates[:0]

	h.mark()
	for i := range s.tracks {
		h.put(s.tracks[i].id.Slot, i)
	}
	for _, v := range visible {
		if h.row(v.ID, h.ordinal) == nil {
			continue
		}
		t := track{id: v.ID, sent: h.ordinal - 1}
		if i, ok := h.find(v.ID.Slot); ok && s.tracks[i].id == v.ID {
			t = s.tracks[i]
		}
		x.tracks = append(x.tracks, t)
		x.candidates = append(x.candidates, candidate{
			id: v.ID, pending: t.told, age: max(v.Weight, 1e-9) * float32(h.ordinal-t.sent),
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
			c.delta = h.delta(e)
		}
		x.bases = append(x.bases, at)
	}
}

// chooseAll chooses every candidate, and reports whether all fit.
func (s *Sender) chooseAll(base *world, bits int) bool {
	x := &s.h.scratch
	if len(x.candidates) > s.opts.MaxEntities {
		return false
	}
	bits -= s.fixed(base) + 2*len(x.bases)
	for i := range x.candidates {
		c := &x.candidates[i]
		c.chosen = true
		switch {
		case c.base < 0:
			bits -= s.newBits()
		case c.delta.bits == 0:
			bits++ // 1 instead of 2
		default:
			bits -= int(c.delta.bits)
		}
	}
	return bits >= 0
}

// chooseSome chooses what fits by age. It reports false when there is no room
// for what must be said of the baseline.
func (s *Sender) chooseSome(base *world, bits int) bool {
	x := &s.h.scratch
	bits -= s.fixed(base)
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
		if n := 2 + int(c.delta.bits); bits >= n {
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

// writeBase writes what becomes of the entities of the baseline.
func (s *Sender) writeBase(base, next *world, partial bool) {
	x := &s.h.scratch
	h := s.h
	for j, at := range x.bases {
		e := base.entries[j]
		if at == gone {
			x.w.write(0b11, 2)
			continue
		}
		c := &x.candidates[at]
		switch {
		case !c.chosen:
			x.w.write(0, 1)
			next.entries = append(next.entries, e)
			continue
		case partial:
			x.w.write(0b100|flag(c.delta.bits > 0), 3)
		case c.delta.bits == 0:
			x.w.write(0, 1)
		default:
			x.w.write(0b10, 2)
		}
		x.w.append(h.cache.bytes[c.delta.offset:], int(c.delta.bits))
		span := next.tick - h.tick(e.version)
		if span > maxAhead {
			span = 0
		}
		next.entries = append(next.entries, entry{
			id: e.id, version: next.ordinal, former: e.version, span: uint16(span),
		})
		s.sent(at)
	}
}

// writeNew writes the entities that the baseline has not.
func (s *Sender) writeNew(next *world) {
	x := &s.h.scratch
	h := s.h
	for i := range x.candidates {
		c := &x.candidates[i]
		if c.base >= 0 || !c.chosen {
			continue
		}
		x.w.write(1, 1)
		x.w.write(uint64(c.id.Slot)<<16|uint64(c.id.Generation), 32)
		h.writeRow(&x.w, h.row(c.id, h.ordinal))
		next.entries = append(next.entries, entry{id: c.id, version: next.ordinal})
		s.sent(int32(i))
	}
	x.w.write(0, 1)
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
