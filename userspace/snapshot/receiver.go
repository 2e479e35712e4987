package snapshot

import (
	"errors"
	"slices"
	"time"
)

// Why a snapshot was not taken. The errors of Receive are these and no others.
var (
	ErrMalformed  = errors.New("snapshot is malformed")
	ErrNoBaseline = errors.New("snapshot changes one that is not here")
	ErrOld        = errors.New("snapshot is older than all that are kept")
	ErrTooMany    = errors.New("snapshot has too many entities")
)

// ReceiverOptions are the limits of a Receiver. Zero values mean the defaults.
type ReceiverOptions struct {
	// MaxEntities is how many entities a snapshot may hold; 256 by default.
	MaxEntities int

	// Delay is how far views are behind the server's time; 100 ms by default,
	// and none when negative.
	Delay time.Duration

	// Extrapolation is how far positions go on without news; 50 ms by default,
	// and none when negative.
	Extrapolation time.Duration

	// Jump is the speed, in units per second, above which an entity did not go
	// from one position to the next but was put there: it is seen to go on where
	// it was, for Extrapolation, until it is there. 0 has it go however far.
	Jump float64

	// Keep is how many snapshots are kept, at least 2; 100 by default, and at
	// most. Fewer take less memory. What changes one that is gone cannot be
	// read, so those of a round trip must be among them, and those of Delay.
	Keep int
}

// Receiver puts together the world that a server's Sender tells of, and shows
// it at any moment between snapshots. It belongs to one goroutine. Its memory
// is bounded by as many snapshots of MaxEntities as it keeps.
type Receiver[T any] struct {
	schema *Schema[T]
	opts   ReceiverOptions

	stream uint8
	kept   []*received // by tick, oldest first
	spare  *received
	lost   bool

	delay  time.Duration // of views; on its way to that of opts
	viewed time.Duration // the server's time at the last view
	views  bool          // there was one
}

// received is the world at one snapshot.
type received struct {
	tick    uint32
	partial bool // something to be seen is missing, or older
	entries []receivedEntry
	rows    []int32 // of each entry: its row, then the one before
}

type receivedEntry struct {
	id      ID
	version uint32 // tick of its row
	span    uint16 // ticks between its rows; 0: none before, or too long
}

// NewReceiver returns a receiver that has nothing yet.
func NewReceiver[T any](schema *Schema[T], o ReceiverOptions) *Receiver[T] {
	if o.MaxEntities <= 0 {
		o.MaxEntities = 256
	}
	if o.Delay == 0 {
		o.Delay = 100 * time.Millisecond
	}
	if o.Extrapolation == 0 {
		o.Extrapolation = 50 * time.Millisecond
	}
	if o.Keep == 0 {
		o.Keep = Keep
	}
	o.Keep = min(max(o.Keep, 2), Keep)
	o.Delay, o.Extrapolation = max(o.Delay, 0), max(o.Extrapolation, 0)
	return &Receiver[T]{schema: schema, opts: o, spare: &received{}}
}

// SetDelay changes how far views are behind the server's time. They get there
// by running a tenth faster or slower.
func (r *Receiver[T]) SetDelay(d time.Duration) { r.opts.Delay = max(d, 0) }

// StreamOf returns the stream of a snapshot that is not empty.
func StreamOf(b []byte) uint8 { return b[0] % streams }

// Receive takes one snapshot, and returns its tick. It does not keep b. A copy
// of one that is here changes nothing. After an error what was here before is
// as it was; ErrNoBaseline also makes Ack ask for a full snapshot.
//
// A full snapshot of another stream replaces everything.
func (r *Receiver[T]) Receive(b []byte) (tick uint32, err error) {
	if len(b) <= headerDelta {
		return 0, ErrMalformed
	}
	in := bitReader{b: b}
	full, partial, stream := in.bit(), in.bit(), uint8(in.read(6))
	var base *received
	if full {
		tick = uint32(in.read(32))
	} else {
		low, distance := uint16(in.read(16)), uint32(in.read(16))
		if distance == 0 || distance > maxDistance {
			return 0, ErrMalformed
		}
		if stream == r.stream {
			base = r.find(low - uint16(distance))
		}
		if base == nil {
			return 0, r.noBaseline(low, stream)
		}
		tick = base.tick + distance
	}
	at := 0
	if !full || stream == r.stream {
		var here bool
		at, here = slices.BinarySearchFunc(r.kept, tick, func(s *received, t uint32) int { return int(int32(s.tick - t)) })
		switch {
		case here:
			return tick, nil
		case at == 0 && len(r.kept) == r.opts.Keep:
			return tick, ErrOld
		}
	}

	s := r.spare
	*s = received{tick: tick, partial: partial, entries: s.entries[:0], rows: s.rows[:0]}
	if err := r.read(s, base, &in, partial); err != nil {
		return 0, err
	}
	if stream != r.stream {
		clear(r.kept)
		r.kept, r.stream, at = r.kept[:0], stream, 0
	}
	r.lost = r.lost && !full
	r.spare = nil
	if len(r.kept) == r.opts.Keep {
		r.spare = r.kept[0]
		r.kept = slices.Delete(r.kept, 0, 1)
		at--
	}
	if r.spare == nil {
		r.spare = &received{}
	}
	r.kept = slices.Insert(r.kept, at, s)
	return tick, nil
}

// noBaseline judges a snapshot that changes one that is not here. Late ones are
// nothing to worry about.
func (r *Receiver[T]) noBaseline(low uint16, stream uint8) error {
	if n := len(r.kept); n > 0 && (stream != r.stream || int16(low-uint16(r.kept[n-1].tick)) <= 0) {
		return ErrOld
	}
	r.lost = true
	return ErrNoBaseline
}

// Ack is what to tell the server, and whether there is something to tell.
func (r *Receiver[T]) Ack() (a Ack, ok bool) {
	if r.lost {
		return Ack{Stream: r.stream, Lost: true}, true
	}
	if len(r.kept) == 0 {
		return Ack{}, false
	}
	return Ack{Stream: r.stream, Tick: r.kept[len(r.kept)-1].tick}, true
}

// find returns the newest snapshot whose tick ends in low.
func (r *Receiver[T]) find(low uint16) *received {
	for i := len(r.kept) - 1; i >= 0; i-- {
		if uint16(r.kept[i].tick) == low {
			return r.kept[i]
		}
	}
	return nil
}

// read parses what follows the header.
func (r *Receiver[T]) read(s, base *received, in *bitReader, partial bool) error {
	l := &r.schema.layout
	w := len(l.words)
	if base != nil {
		for i := range base.entries {
			if err := r.readKnown(s, base, i, in, partial); err != nil {
				return err
			}
		}
	}
	for in.bit() {
		id := ID{Slot: uint16(in.read(16)), Generation: uint16(in.read(16))}
		if slices.ContainsFunc(s.entries, func(e receivedEntry) bool { return e.id.Slot == id.Slot }) {
			return ErrMalformed
		}
		if len(s.entries) == r.opts.MaxEntities {
			return ErrTooMany
		}
		rows := s.add(receivedEntry{id: id, version: s.tick}, w)
		if !l.readRow(in, rows[:w]) {
			return ErrMalformed
		}
		copy(rows[w:], rows[:w])
	}
	if !in.done() {
		return ErrMalformed
	}
	return nil
}

// readKnown reads what became of an entity of the baseline.
func (r *Receiver[T]) readKnown(s, base *received, i int, in *bitReader, partial bool) error {
	l := &r.schema.layout
	w := len(l.words)
	from := base.entries[i]
	rows := base.rows[i*2*w:][:2*w]

	off := in.bit()
	switch {
	case !off && partial:
		copy(s.add(from, w), rows)
		return nil
	case !off:
	case in.bit():
		return nil
	case partial:
		off = in.bit()
	}

	age := s.tick - from.version
	p := predictor{base: rows[:w], ahead: int64(min(age, maxAhead))}
	if off && from.span != 0 && in.bit() {
		p.prev, p.span = rows[w:], int64(from.span)
		off = in.bit()
	}
	if age > maxAhead {
		age = 0
	}
	to := s.add(receivedEntry{id: from.id, version: s.tick, span: uint16(age)}, w)
	copy(to[w:], rows[:w])
	if !l.readDelta(in, to[:w], &p, off) {
		return ErrMalformed
	}
	return nil
}

// add appends an entry and returns its two rows.
func (s *received) add(e receivedEntry, w int) []int32 {
	s.entries = append(s.entries, e)
	n := len(s.rows)
	s.rows = slices.Grow(s.rows, 2*w)[:n+2*w]
	return s.rows[n:]
}
