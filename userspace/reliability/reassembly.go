package reliability

import (
	"math/bits"
	"math/rand/v2"

	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	// MaxTransfers is the most large messages of one session that are kept,
	// begun or complete.
	MaxTransfers = 100

	// TransferTimeout is how long a large message may be without a new chunk,
	// in nanoseconds, unless a Reassembler is told otherwise.
	TransferTimeout = uint64(10e9)
)

// Memory keeps large messages while their chunks arrive. commit.Transfers
// outlives the process, Heap does not.
type Memory interface {
	// Open makes room for the message of which f is a chunk, or is false and
	// changes nothing.
	Open(session uint64, reliable bool, channel uint8, id uint16, f wire.Fragment) (handle uint32, ok bool)

	// Put copies chunk index, which arrived in packet sequence, and is false
	// when it is there already. The data fits what Open was told.
	Put(handle uint32, index uint16, sequence uint32, data []byte) bool

	// Payload returns a message that is complete. It is valid until Free.
	Payload(handle uint32) []byte

	Free(handle uint32)
}

// Chunk is a part of a large message, as a FRAGMENT message carries it.
type Chunk struct {
	Reliable bool          // it came in a reliable packet
	Channel  uint8         // as on the wire, with wire.Unordered
	ID       uint16        // of the whole message
	Sequence uint32        // of the packet
	Fragment wire.Fragment // as wire.ParseFragment returned it
}

// Large is a large message that is complete.
type Large struct {
	Ref      uint8 // for Message and Done
	Reliable bool
	Channel  uint8 // as on the wire, with wire.Unordered
	ID       uint16
	Type     uint8
	Sequence uint32 // the highest of a packet with a chunk of it
	Payload  []byte // valid until Done
}

// Taken says what became of a chunk.
type Taken uint8

const (
	// ChunkKept belongs to a message that is not complete yet.
	ChunkKept Taken = iota
	// ChunkCompletes its message.
	ChunkCompletes
	// ChunkWaits is reliable, and there is no room for its message now, even
	// after unreliable ones gave way. The caller keeps the packet and offers
	// the chunk again.
	ChunkWaits
	// ChunkWithoutRoom is unreliable, and there is no room for its message.
	ChunkWithoutRoom
	// ChunkTwice arrived before.
	ChunkTwice
	// ChunkLate belongs to a message that was complete before or given up.
	ChunkLate
	// ChunkMismatched contradicts another chunk of its message.
	ChunkMismatched
	// ChunkTooLarge belongs to a message beyond the limit.
	ChunkTooLarge

	takenMax
)

// Violation reports whether the peer breaks the protocol with such a chunk,
// provided it is reliable. Of the unreliable ones nothing is expected.
func (t Taken) Violation() bool { return t == ChunkMismatched || t == ChunkTooLarge }

var takenNames = [takenMax]string{
	ChunkKept:        "kept",
	ChunkCompletes:   "completes",
	ChunkWaits:       "waits",
	ChunkWithoutRoom: "without_room",
	ChunkTwice:       "twice",
	ChunkLate:        "late",
	ChunkMismatched:  "mismatched",
	ChunkTooLarge:    "too_large",
}

// String returns the lower-case name.
func (t Taken) String() string {
	if t >= takenMax {
		return "unknown"
	}
	return takenNames[t]
}

// ReassemblyStats counts what a Reassembler did.
type ReassemblyStats struct {
	Chunks  [takenMax]uint64 // by Taken; one that waits counts each time it is offered
	Expired uint64           // unreliable messages that stayed incomplete for too long
	Evicted uint64           // unreliable messages given up, incomplete, for the room
}

// Reassembler puts large messages of one session together.
//
// Room is given to a message as a whole when its first chunk arrives. Where
// there is none, unreliable messages that are incomplete give way, the one
// that waits longest for a chunk first; reliable ones never do.
//
// Its own memory grows with what is under way, up to about 8 KiB, and 56 KiB
// where the peer gives messages up by the thousand. Then nothing is allocated.
type Reassembler struct {
	Stats ReassemblyStats

	session uint64
	memory  Memory
	order   *Orderer
	limit   int
	timeout uint64

	bytes int // of the messages kept
	kept  int // of nodes in use

	// A chained hash table by transfer. Peers choose the keys, so the
	// multiplier is random: a chain is short whatever they send. Complete
	// messages are not in it.
	multiplier uint64
	shift      uint8
	buckets    []nodeRef
	nodes      []assembly
	unused     nodeRef

	classes [2]class
	skips   skips
}

// nodeRef is index + 1 into Reassembler.nodes, 0 for none.
type nodeRef uint8

// assembly is a large message that is kept.
type assembly struct {
	heard    uint64 // when its last new chunk came
	handle   uint32
	transfer uint32
	sequence uint32 // highest of a packet with a chunk of it
	size     int    // bytes, at least
	total    uint16
	chunk    uint16
	received uint16
	id       uint16
	channel  uint8
	kind     uint8
	reliable bool
	state    assemblyState

	chain       nodeRef // of the bucket or of what is unused
	prev, after nodeRef // in the order of heard
}

type assemblyState uint8

const (
	assemblyUnused assemblyState = iota
	assemblyOpen
	assemblyComplete
)

// class is what is kept apart for reliable and unreliable transfers, which
// count for themselves.
type class struct {
	oldest, newest nodeRef // of those incomplete, in the order of heard
	over           history
}

// Init makes the Reassembler ready. It takes messages of up to limit bytes,
// and of all that are kept at a time no more than that. order is the
// session's, which knows what reliable ordered messages are still awaited; nil
// where nobody knows, as in a session of a former process. A timeout of 0 means
// TransferTimeout.
func (r *Reassembler) Init(session uint64, memory Memory, order *Orderer, limit int, timeout uint64) {
	if timeout == 0 {
		timeout = TransferTimeout
	}
	r.session, r.memory, r.order, r.limit, r.timeout = session, memory, order, limit, timeout
}

// Bytes returns the size of the messages that are kept, as far as it is known.
func (r *Reassembler) Bytes() int { return r.bytes }

// Open reports whether there is room for a reliable transfer already.
func (r *Reassembler) Open(transfer uint32) bool { return r.lookup(true, transfer) != 0 }

// Kept returns how many messages are kept, incomplete or until Done.
func (r *Reassembler) Kept() int { return r.kept }

// Take takes a chunk. m is the message when it ChunkCompletes one, which is
// the caller's until Done.
func (r *Reassembler) Take(c Chunk, now uint64) (m Large, what Taken) {
	ref, what := r.take(&c, now)
	r.Stats.Chunks[what]++
	if what == ChunkCompletes {
		m = r.complete(ref)
	}
	return m, what
}

func (r *Reassembler) take(c *Chunk, now uint64) (ref nodeRef, what Taken) {
	f := &c.Fragment
	if sizeOf(f) > int64(r.limit) {
		return 0, ChunkTooLarge
	}
	ref = r.lookup(c.Reliable, f.Transfer)
	if ref == 0 {
		if r.isOver(c) {
			return 0, ChunkLate
		}
		if ref = r.open(c); ref == 0 {
			if c.Reliable {
				return 0, ChunkWaits
			}
			return 0, ChunkWithoutRoom
		}
	}
	a := r.at(ref)
	if a.total != f.Total || a.chunk != f.Chunk || a.kind != f.Type || a.channel != c.Channel || a.id != c.ID {
		return 0, ChunkMismatched
	}
	if !r.memory.Put(a.handle, f.Index, c.Sequence, f.Data) {
		return 0, ChunkTwice
	}
	if a.received == 0 || wire.SeqLess(a.sequence, c.Sequence) {
		a.sequence = c.Sequence
	}
	a.received++
	a.heard = now
	r.unqueue(ref)
	r.queue(ref)
	if a.received == a.total {
		return ref, ChunkCompletes
	}
	return ref, ChunkKept
}

// sizeOf returns how large the message of f is, or at least must be when f is
// not its last chunk.
func sizeOf(f *wire.Fragment) int64 {
	before := int64(f.Total-1) * int64(f.Chunk)
	if f.Index == f.Total-1 {
		return before + int64(len(f.Data))
	}
	return before + 1
}

// isOver reports whether nobody waits for the message of c, of which nothing
// is kept.
func (r *Reassembler) isOver(c *Chunk) bool {
	over := &r.classOf(c.Reliable).over
	switch {
	case !c.Reliable:
		return over.has(c.Fragment.Transfer) || over.forgot(c.Fragment.Transfer)
	case over.has(c.Fragment.Transfer):
		return true
	case c.Channel&wire.Unordered == 0:
		return r.order != nil && r.order.Classify(c.Channel, c.ID) == Illegal
	}
	return r.skips.find(c.Channel, c.ID, c.Sequence)
}

// open makes room for the message of c, or returns 0.
func (r *Reassembler) open(c *Chunk) nodeRef {
	size := int(sizeOf(&c.Fragment))
	for r.kept == MaxTransfers || r.bytes+size > r.limit {
		if !r.evict() {
			return 0
		}
	}
	handle, ok := r.memory.Open(r.session, c.Reliable, c.Channel, c.ID, c.Fragment)
	for !ok {
		if !r.evict() {
			return 0
		}
		handle, ok = r.memory.Open(r.session, c.Reliable, c.Channel, c.ID, c.Fragment)
	}
	return r.add(c, handle, size)
}

// evict gives up the unreliable message that waits longest for a chunk.
func (r *Reassembler) evict() bool {
	ref := r.classOf(false).oldest
	if ref == 0 {
		return false
	}
	r.Stats.Evicted++
	r.drop(ref)
	return true
}

// Adopt goes on with a message that a former process left in the memory, as
// the chunk says which it found there first. It returns ChunkKept or
// ChunkCompletes, or what is wrong with it: then it stays the caller's.
func (r *Reassembler) Adopt(handle uint32, c Chunk, received int, now uint64) (m Large, what Taken) {
	if r.kept == MaxTransfers {
		return m, ChunkWithoutRoom
	}
	if r.lookup(c.Reliable, c.Fragment.Transfer) != 0 {
		return m, ChunkMismatched
	}
	ref := r.add(&c, handle, int(sizeOf(&c.Fragment)))
	a := r.at(ref)
	a.received, a.sequence, a.heard = uint16(received), c.Sequence, now
	if a.received == a.total {
		return r.complete(ref), ChunkCompletes
	}
	return m, ChunkKept
}

// complete takes a message out of what is awaited.
func (r *Reassembler) complete(ref nodeRef) Large {
	a := r.at(ref)
	r.unlink(ref)
	a.state = assemblyComplete
	return r.Message(uint8(ref))
}

// Message returns the complete message of a Ref again. It panics when there is
// none.
func (r *Reassembler) Message(ref uint8) Large {
	a := &r.nodes[ref-1]
	if a.state != assemblyComplete {
		panic("reliability: no complete message there")
	}
	return Large{
		Ref: ref, Reliable: a.reliable, Channel: a.channel, ID: a.id, Type: a.kind,
		Sequence: a.sequence, Payload: r.memory.Payload(a.handle),
	}
}

// Done gives the memory of a complete message back. It panics when there is
// none.
func (r *Reassembler) Done(ref uint8) {
	if r.nodes[ref-1].state != assemblyComplete {
		panic("reliability: no complete message there")
	}
	r.remove(nodeRef(ref))
}

// Abandon drops what is kept of a reliable message that its sender gave up,
// as a SKIP in packet sequence says, and refuses its chunks from now on. It
// reports whether this is news: of an ordered message the Orderer knows,
// which the caller asks first.
func (r *Reassembler) Abandon(channel uint8, id uint16, sequence uint32) bool {
	for ref := r.classOf(true).oldest; ref != 0; ref = r.at(ref).after {
		if a := r.at(ref); a.channel == channel && a.id == id {
			r.drop(ref)
			break
		}
	}
	if channel&wire.Unordered == 0 {
		return true
	}
	if r.skips.find(channel, id, sequence) {
		return false
	}
	r.skips.add(channel, id, sequence)
	return true
}

// Deadline returns when OnDeadline must be called, Never while nothing is
// incomplete.
func (r *Reassembler) Deadline() uint64 {
	at := Never
	for i := range r.classes {
		if ref := r.classes[i].oldest; ref != 0 {
			at = min(at, r.at(ref).heard+r.timeout)
		}
	}
	return at
}

// OnDeadline drops unreliable messages whose time is over. It reports whether
// that of a reliable one is, which is kept: its sender broke the protocol.
func (r *Reassembler) OnDeadline(now uint64) (stalled bool) {
	for ref := r.classOf(false).oldest; ref != 0 && now >= r.at(ref).heard+r.timeout; ref = r.classOf(false).oldest {
		r.Stats.Expired++
		r.drop(ref)
	}
	ref := r.classOf(true).oldest
	return ref != 0 && now >= r.at(ref).heard+r.timeout
}

// Close drops everything.
func (r *Reassembler) Close() {
	for i := range r.nodes {
		switch ref := nodeRef(i + 1); r.nodes[i].state {
		case assemblyOpen:
			r.drop(ref)
		case assemblyComplete:
			r.remove(ref)
		case assemblyUnused:
		}
	}
}

// drop gives up a message that is incomplete.
func (r *Reassembler) drop(ref nodeRef) {
	r.unlink(ref)
	r.remove(ref)
}

func (r *Reassembler) at(ref nodeRef) *assembly { return &r.nodes[ref-1] }

func (r *Reassembler) classOf(reliable bool) *class {
	if reliable {
		return &r.classes[1]
	}
	return &r.classes[0]
}

// add keeps a message in the memory of handle.
func (r *Reassembler) add(c *Chunk, handle uint32, size int) nodeRef {
	if r.unused == 0 {
		r.grow()
	}
	ref := r.unused
	a := r.at(ref)
	r.unused = a.chain
	f := &c.Fragment
	*a = assembly{
		handle: handle, size: size, transfer: f.Transfer, total: f.Total, chunk: f.Chunk, kind: f.Type,
		id: c.ID, channel: c.Channel, reliable: c.Reliable, state: assemblyOpen,
	}
	*r.find(c.Reliable, f.Transfer) = ref
	r.queue(ref)
	r.classOf(c.Reliable).over.see(f.Transfer)
	r.bytes += size
	r.kept++
	return ref
}

// remove gives the memory and the node back.
func (r *Reassembler) remove(ref nodeRef) {
	a := r.at(ref)
	r.memory.Free(a.handle)
	r.bytes -= a.size
	r.kept--
	*a = assembly{chain: r.unused}
	r.unused = ref
}

// unlink takes a message out of the table and the queue, and remembers that
// its transfer is over.
func (r *Reassembler) unlink(ref nodeRef) {
	a := r.at(ref)
	r.unqueue(ref)
	link := r.find(a.reliable, a.transfer)
	*link, a.chain = a.chain, 0
	r.classOf(a.reliable).over.add(a.transfer)
}

func (r *Reassembler) queue(ref nodeRef) {
	a := r.at(ref)
	q := r.classOf(a.reliable)
	a.prev, a.after = q.newest, 0
	if q.newest == 0 {
		q.oldest = ref
	} else {
		r.at(q.newest).after = ref
	}
	q.newest = ref
}

func (r *Reassembler) unqueue(ref nodeRef) {
	a := r.at(ref)
	q := r.classOf(a.reliable)
	if a.prev == 0 {
		q.oldest = a.after
	} else {
		r.at(a.prev).after = a.after
	}
	if a.after == 0 {
		q.newest = a.prev
	} else {
		r.at(a.after).prev = a.prev
	}
}

func (r *Reassembler) lookup(reliable bool, transfer uint32) nodeRef {
	if r.kept == 0 {
		return 0
	}
	return *r.find(reliable, transfer)
}

// find returns the link that points to the node of a transfer, or the end of
// the chain it would be in.
func (r *Reassembler) find(reliable bool, transfer uint32) *nodeRef {
	key := uint64(transfer) << 1
	if reliable {
		key |= 1
	}
	// The top bits of the product are a universal hash of the key.
	link := &r.buckets[key*r.multiplier>>r.shift]
	for *link != 0 {
		if a := r.at(*link); a.transfer == transfer && a.reliable == reliable {
			break
		}
		link = &r.at(*link).chain
	}
	return link
}

// grow doubles the table, all of whose nodes are in use.
func (r *Reassembler) grow() {
	if r.multiplier == 0 {
		r.multiplier = rand.Uint64() | 1
	}
	was := len(r.nodes)
	size := max(4, 2*was)
	nodes := make([]assembly, min(size, MaxTransfers))
	copy(nodes, r.nodes)
	r.nodes = nodes
	r.buckets = make([]nodeRef, size)
	r.shift = uint8(65 - bits.Len(uint(size)))
	for i := range r.nodes {
		a := &r.nodes[i]
		a.chain = 0
		switch {
		case a.state == assemblyOpen:
			*r.find(a.reliable, a.transfer) = nodeRef(i + 1)
		case i >= was:
			a.chain = r.unused
			r.unused = nodeRef(i + 1)
		}
	}
}

// historySize is how far behind the newest transfer it is known which are
// over. Senders begin transfers in order and fill packets with chunks, so of what
// one receive window holds none lies further behind; and of what moved from one
// packet to a later one, none further than twice that.
const historySize = 2 * WindowSize

// history remembers which of the newest transfers are over. The zero value
// expects transfer 0.
type history struct {
	next uint32 // one past the newest transfer seen
	bits [historySize / 64]uint64
}

// see notes that a transfer began.
func (h *history) see(transfer uint32) {
	ahead := transfer - h.next
	if int32(ahead) < 0 {
		return
	}
	if ahead >= historySize {
		clear(h.bits[:])
	} else {
		for ; h.next != transfer; h.next++ {
			h.bits[h.next/64%uint32(len(h.bits))] &^= 1 << (h.next % 64)
		}
	}
	h.next = transfer + 1 // nobody asks for its bit before add
}

// add notes that a transfer that was seen is over.
func (h *history) add(transfer uint32) {
	if h.next-transfer <= historySize {
		h.bits[transfer/64%uint32(len(h.bits))] |= 1 << (transfer % 64)
	}
}

// has reports whether a transfer is known to be over.
func (h *history) has(transfer uint32) bool {
	behind := h.next - transfer
	return behind-1 < historySize && h.bits[transfer/64%uint32(len(h.bits))]>>(transfer%64)&1 != 0
}

// forgot reports whether a transfer is so old that nothing is known of it.
func (h *history) forgot(transfer uint32) bool {
	return int32(transfer-h.next) < 0 && h.next-transfer > historySize
}

// skips remembers the reliable unordered messages that were given up last, as
// far as chunks of them can still arrive. It is a ring, and a chained hash table over
// it: peers choose the keys here too.
type skips struct {
	ring       []skip
	next       int // of ring to be used
	buckets    []uint16
	multiplier uint64
	shift      uint8
}

type skip struct {
	sequence uint32
	id       uint16
	chain    uint16 // index + 1 in the ring of the next one in its bucket
	channel  uint8  // wire.Unordered is set in those in use
}

const (
	// firstSkips is how many are remembered at first, maxSkips at most. With
	// more at a time, the rest of a message that was given up before any of it
	// arrived could be awaited in vain, and one that is skipped chunk by chunk be
	// answered more than once.
	firstSkips = 64
	maxSkips   = 4096
)

// near reports whether a packet lies within a receive window of sequence. Beyond
// that an id can come again.
func (k *skip) near(sequence uint32) bool { return k.sequence-sequence+WindowSize <= 2*WindowSize }

func (s *skips) bucket(channel uint8, id uint16) *uint16 {
	key := uint64(channel)<<16 | uint64(id)
	return &s.buckets[key*s.multiplier>>s.shift]
}

// find reports whether message id of channel was given up by a packet near
// sequence.
func (s *skips) find(channel uint8, id uint16, sequence uint32) bool {
	if s.ring == nil {
		return false
	}
	for at := *s.bucket(channel, id); at != 0; at = s.ring[at-1].chain {
		if k := &s.ring[at-1]; k.channel == channel && k.id == id && k.near(sequence) {
			return true
		}
	}
	return false
}

// add takes the place of the oldest, or makes room where that still counts.
func (s *skips) add(channel uint8, id uint16, sequence uint32) {
	if s.ring == nil || len(s.ring) < maxSkips && s.ring[s.next].channel != 0 && s.ring[s.next].near(sequence) {
		s.grow()
	}
	at := uint16(s.next + 1)
	k := &s.ring[s.next]
	if k.channel != 0 {
		link := s.bucket(k.channel, k.id)
		for *link != at {
			link = &s.ring[*link-1].chain
		}
		*link = k.chain
	}
	head := s.bucket(channel, id)
	*k = skip{sequence: sequence, id: id, channel: channel, chain: *head}
	*head = at
	s.next = (s.next + 1) % len(s.ring)
}

// grow doubles the ring, all of which is in use.
func (s *skips) grow() {
	if s.multiplier == 0 {
		s.multiplier = rand.Uint64() | 1
	}
	old, oldest := s.ring, s.next
	size := max(firstSkips, 2*len(old))
	s.ring, s.buckets, s.next = make([]skip, size), make([]uint16, size), 0
	s.shift = uint8(65 - bits.Len(uint(size)))
	for i := range old {
		k := &old[(oldest+i)%len(old)]
		s.add(k.channel, k.id, k.sequence)
	}
}
