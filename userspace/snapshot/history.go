package snapshot

// Keep is how many snapshots a History remembers, and a Receiver unless told
// otherwise.
const Keep = 100

// maxDistance is how many ticks back a baseline may be.
const maxDistance = 1<<12 - 1

// ID names an entity: the slot it lives in, and which of the slot's tenants it
// is. An owner of slots gives each new tenant another generation than the last
// one's, which need not be zero.
type ID struct {
	Slot       uint16
	Generation uint16
}

// History holds the states of a room's entities at its newest snapshots, at
// most Keep of them. Its memory is fixed: Keep times capacity rows.
//
// A History, and all Senders made for it, belong to one goroutine.
type History[T any] struct {
	schema *Schema[T]
	core   history
}

// history is what a Sender needs, whatever the type of the states.
type history struct {
	*layout
	capacity int
	ordinal  uint32 // of the newest snapshot, 0 before the first
	ticks    [Keep]uint32
	tenants  [Keep][]tenant // by slot
	rows     [Keep][]int32  // by slot

	cache   deltas
	scratch scratch

	// What senders note by slot while they encode. A note counts when it
	// bears the present stamp.
	stamp uint32
	notes []note

	res []int32
}

// tenant is the generation in a slot, as told apart from an empty slot.
type tenant struct {
	generation uint16
	present    bool
}

type note struct {
	stamp uint32
	index int32
}

// NewHistory returns an empty history for entities in slots below capacity,
// which is at most 65,536.
func NewHistory[T any](schema *Schema[T], capacity int) *History[T] {
	if capacity < 1 || capacity > 1<<16 {
		panic("snapshot: history of no slots, or more than 65,536")
	}
	h := &History[T]{schema: schema}
	c := &h.core
	c.layout = &schema.layout
	c.capacity = capacity
	w := len(schema.words)
	tenants := make([]tenant, Keep*capacity)
	rows := make([]int32, Keep*capacity*w)
	for i := range Keep {
		c.tenants[i] = tenants[i*capacity : (i+1)*capacity]
		c.rows[i] = rows[i*capacity*w : (i+1)*capacity*w]
	}
	c.notes = make([]note, capacity)
	c.res = make([]int32, w)
	c.cache.init(capacity)
	return h
}

// Begin starts the snapshot of a tick, which is later than the one before. It
// holds no entities yet.
func (h *History[T]) Begin(tick uint32) {
	c := &h.core
	if c.ordinal > 0 && int32(tick-c.ticks[c.ordinal%Keep]) <= 0 {
		panic("snapshot: a tick that does not come after the last one")
	}
	c.ordinal++
	c.ticks[c.ordinal%Keep] = tick
	clear(c.tenants[c.ordinal%Keep])
	c.cache.bytes = c.cache.bytes[:0]
}

// Set adds an entity to the snapshot begun last, or changes it there, before
// anything of that snapshot is sent. It does not keep state.
func (h *History[T]) Set(id ID, state *T) {
	c := &h.core
	at := c.ordinal % Keep
	c.tenants[at][id.Slot] = tenant{id.Generation, true}
	w := len(c.words)
	h.schema.quantise(c.rows[at][int(id.Slot)*w:][:w], state)
}

// row returns an entity's words at a snapshot, nil when it was not there or
// the snapshot is gone.
func (h *history) row(id ID, ordinal uint32) []int32 {
	at := ordinal % Keep
	if !h.kept(ordinal) || int(id.Slot) >= h.capacity || h.tenants[at][id.Slot] != (tenant{id.Generation, true}) {
		return nil
	}
	w := len(h.words)
	return h.rows[at][int(id.Slot)*w:][:w]
}

// kept reports whether a snapshot is still remembered. Ordinals start at 1.
func (h *history) kept(ordinal uint32) bool {
	return ordinal != 0 && h.ordinal-ordinal < Keep
}

func (h *history) tick(ordinal uint32) uint32 { return h.ticks[ordinal%Keep] }

// mark begins a new set of notes.
func (h *history) mark() {
	h.stamp++
	if h.stamp == 0 {
		clear(h.notes)
		h.stamp = 1
	}
}

func (h *history) put(slot uint16, index int) { h.notes[slot] = note{h.stamp, int32(index)} }

func (h *history) find(slot uint16) (index int, ok bool) {
	if int(slot) >= h.capacity || h.notes[slot].stamp != h.stamp {
		return 0, false
	}
	return int(h.notes[slot].index), true
}

// entry is an entity as a client has it, or as one will.
type entry struct {
	id      ID
	version uint32 // ordinal of the snapshot its row is of
	former  uint32 // of the row before, when span is not 0
	span    uint16 // ticks between the two; 0: none, or too many
}

// deltas are changes of entities from versions that clients have to the
// present one. Clients that are equally far away have the same, so that what
// was encoded for one serves the others.
type deltas struct {
	ways  []delta // cacheWays to a slot
	bytes []byte  // of those too long for a delta
	enc   bitWriter
	alt   bitWriter
}

const cacheWays = 4

// delta is an encoded change: bits at the low end of short, or, when there are 64
// or more, from there on in deltas.bytes.
type delta struct {
	from  entry
	to    uint32 // ordinal
	bits  uint32
	short uint64
}

func (d *deltas) init(capacity int) {
	d.ways = make([]delta, capacity*cacheWays)
	d.bytes = make([]byte, 0, capacity*8)
}

// delta encodes the change of an entity from what a client has, whose version
// is kept, to the newest snapshot, which has it. The result is good until the
// next call; no bits mean that the prediction is right.
func (h *history) delta(from *entry) *delta {
	way := &h.cache.ways[int(from.id.Slot)*cacheWays+int(from.version%cacheWays)]
	if way.to != h.ordinal || way.from != *from {
		h.encode(way, from)
	}
	return way
}

// encode makes a delta.
func (h *history) encode(d *delta, from *entry) {
	c := &h.cache
	row := h.row(from.id, h.ordinal)
	p := predictor{
		base:  h.row(from.id, from.version),
		ahead: int64(min(h.tick(h.ordinal)-h.tick(from.version), maxAhead)),
	}
	*d = delta{from: *from, to: h.ordinal}
	off := h.residuals(h.res, row, &p)
	if off == 0 {
		return
	}
	best := &c.enc
	best.reset()
	if from.span != 0 {
		best.write(0, 1)
	}
	h.writeResiduals(best, h.res, row, off)
	// Where no such word is off that the curve has another opinion of, it is worse.
	if p.prev = h.former(from); p.prev != nil && off&h.curved != 0 {
		p.span = int64(from.span)
		c.alt.reset()
		off = h.curve(h.res, row, &p, off)
		c.alt.write(0b10|flag(off != 0), 2)
		if off != 0 {
			h.writeResiduals(&c.alt, h.res, row, off)
		}
		if c.alt.n < best.n {
			best = &c.alt
		}
	}
	d.bits = uint32(best.n)
	if best.n < 64 {
		d.short = best.acc
		return
	}
	d.short = uint64(len(c.bytes))
	c.bytes = append(c.bytes, best.flush()...)
}

// appendDelta appends what was encoded.
func (h *history) appendDelta(w *bitWriter, d *delta) {
	if d.bits < 64 {
		w.write(d.short, uint(d.bits))
		return
	}
	w.append(h.cache.bytes[d.short:], int(d.bits))
}

func (h *history) former(from *entry) []int32 {
	if from.span == 0 {
		return nil
	}
	return h.row(from.id, from.former)
}
