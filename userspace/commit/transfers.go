package commit

import (
	"iter"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/xrudp/xrudp/userspace/wire"
)

// TransferPage is the unit in which Transfers gives out memory, in bytes.
const TransferPage = 4096

// MaxTransferBytes bounds Geometry.TransferBytes.
const MaxTransferBytes = 1 << 30

// States of a transfer. What is not free names its kind.
const (
	transferFree       = 0
	transferReliable   = 1
	transferUnreliable = 2
)

// transfer is struct transfer: a large message while its chunks arrive. Entry
// n of the table describes the one whose first page is n.
//
// The pages hold a bitmap of the chunks that are there, in whole cache lines,
// and behind it the message. Only the bitmap says what was received; the rest
// is checked against it before a later process believes it.
type transfer struct {
	session   uint64
	id        uint32
	sequence  uint32 // highest of a packet with a chunk of it
	pages     uint32
	state     uint32
	total     uint16 // chunks
	chunk     uint16 // bytes of each but the last
	last      uint16 // bytes of the last, 0 until it is there
	received  uint16 // chunks
	messageID uint16
	channel   uint8
	kind      uint8
	_         uint32
}

var _ = [1]byte{}[unsafe.Sizeof(transfer{})-40]

// Transfer is a large message that a former process left.
type Transfer struct {
	Handle   uint32
	Session  uint64
	Reliable bool
	Channel  uint8
	ID       uint16        // of the message
	First    wire.Fragment // what all chunks of it have in common
	Received int           // chunks
	Sequence uint32        // highest of a packet with a chunk of it
}

// Transfers is one worker's memory for large messages while they arrive. A
// chunk that was Put outlives the process like the commit slot it came in,
// which can then be given back. Only the worker itself uses it.
//
// A message gets all its memory when it is opened, in one piece, so that one
// that was begun can always be finished.
type Transfers struct {
	table []transfer
	pages []byte

	taken   []uint64 // bit n: page n
	free    int      // pages
	tooMany int      // pages that were not to be had since the last Free
	refused int
}

// Transfers takes over a worker's memory for large messages as a former
// process may have left it: what makes no sense is freed, the rest is for
// Recover.
func (r *Regions) Transfers(worker int) *Transfers {
	n := r.geometry.transferPages()
	t := &Transfers{
		table: r.transfers[worker*n : (worker+1)*n],
		pages: r.transferPages[worker*n*TransferPage : (worker+1)*n*TransferPage],
		taken: make([]uint64, (n+63)/64),
		free:  n, tooMany: n + 1,
	}
	end := 0 // of the transfers found so far
	for i := range t.table {
		d := &t.table[i]
		if atomic.LoadUint32(&d.state) == transferFree {
			continue
		}
		if i < end || !t.repair(uint32(i)) {
			atomic.StoreUint32(&d.state, transferFree)
			t.refused++
			continue
		}
		end = i + int(d.pages)
		t.take(i, int(d.pages))
	}
	return t
}

// repair reports whether an entry describes a transfer, and puts right what a
// process that died inside Put left behind.
func (t *Transfers) repair(handle uint32) bool {
	d := &t.table[handle]
	switch {
	case d.state != transferReliable && d.state != transferUnreliable:
		return false
	case d.total < 2 || d.chunk == 0 || d.last > d.chunk:
		return false
	case d.kind == 0 || d.kind >= wire.TypeControl:
		return false
	case int(d.pages) != pagesFor(d.total, d.chunk) || int(d.pages) > len(t.table)-int(handle):
		return false
	}
	received := 0
	for i, word := range t.bitmap(handle) {
		if legal := max(0, int(d.total)-64*i); legal < 64 && word>>legal != 0 {
			return false
		}
		received += bits.OnesCount64(word)
	}
	if d.last == 0 && t.has(handle, d.total-1) {
		return false
	}
	d.received = uint16(received)
	return true
}

// Recover yields what a former process left. The caller frees what it has no
// use for, at once or later.
func (t *Transfers) Recover() iter.Seq[Transfer] {
	return func(yield func(Transfer) bool) {
		for i := range t.table {
			d := &t.table[i]
			if d.state == transferFree {
				continue
			}
			found := Transfer{
				Handle: uint32(i), Session: d.session, Reliable: d.state == transferReliable,
				Channel: d.channel, ID: d.messageID,
				First:    wire.Fragment{Transfer: d.id, Total: d.total, Chunk: d.chunk, Type: d.kind},
				Received: int(d.received), Sequence: d.sequence,
			}
			if !yield(found) {
				return
			}
		}
	}
}

// Refused returns how many transfers of a former process made no sense.
func (t *Transfers) Refused() int { return t.refused }

// Used returns the bytes taken by transfers.
func (t *Transfers) Used() int { return (len(t.table) - t.free) * TransferPage }

// LargestTransfer returns the size in bytes of the largest message that a
// worker has room for while no other is open, whatever its chunks.
func (g Geometry) LargestTransfer() int {
	// A bit for each chunk of at least a byte. The last page makes up for
	// what the bitmap and the last chunk are short of their full size.
	return max(0, g.transferPages()-1) * TransferPage / 9 * 8
}

func (g Geometry) transferPages() int { return g.TransferBytes / TransferPage }

// Open makes room for the message of which f is a chunk, and is false when
// there is not enough now; nothing has changed then. f is one that
// wire.ParseFragment accepts.
func (t *Transfers) Open(session uint64, reliable bool, channel uint8, id uint16, f wire.Fragment) (handle uint32, ok bool) {
	n := pagesFor(f.Total, f.Chunk)
	first, ok := t.find(n)
	if !ok {
		return 0, false
	}
	t.take(first, n)
	handle = uint32(first)
	t.openFields(handle, session, channel, id, f)
	t.openBitmap(handle)
	t.openState(handle, reliable)
	return handle, true
}

func (t *Transfers) openFields(handle uint32, session uint64, channel uint8, id uint16, f wire.Fragment) {
	d := &t.table[handle]
	d.session, d.id, d.messageID = session, f.Transfer, id
	d.total, d.chunk, d.kind, d.channel = f.Total, f.Chunk, f.Type, channel
	d.pages = uint32(pagesFor(f.Total, f.Chunk))
	d.last, d.received, d.sequence = 0, 0, 0
}

func (t *Transfers) openBitmap(handle uint32) { clear(t.bitmap(handle)) }

// openState comes last: up to here the entry is free, whatever is in it.
func (t *Transfers) openState(handle uint32, reliable bool) {
	state := uint32(transferUnreliable)
	if reliable {
		state = transferReliable
	}
	atomic.StoreUint32(&t.table[handle].state, state)
}

// Put copies chunk index, which arrived in packet sequence, and is false when
// it is there already. From its return on the chunk is kept. It panics when
// the data does not fit the transfer.
func (t *Transfers) Put(handle uint32, index uint16, sequence uint32, data []byte) bool {
	d := &t.table[handle]
	if index >= d.total || len(data) > int(d.chunk) || len(data) == 0 || index < d.total-1 && len(data) < int(d.chunk) {
		panic("commit: chunk does not fit its transfer")
	}
	if t.has(handle, index) {
		return false
	}
	t.putData(handle, index, data)
	t.putFields(handle, index, sequence, len(data))
	t.putBit(handle, index)
	d.received++
	return true
}

func (t *Transfers) putData(handle uint32, index uint16, data []byte) {
	copy(t.data(handle)[int(index)*int(t.table[handle].chunk):], data)
}

func (t *Transfers) putFields(handle uint32, index uint16, sequence uint32, size int) {
	d := &t.table[handle]
	if d.received == 0 || wire.SeqLess(d.sequence, sequence) {
		d.sequence = sequence
	}
	if index == d.total-1 {
		d.last = uint16(size)
	}
}

func (t *Transfers) putBit(handle uint32, index uint16) {
	word := &t.bitmap(handle)[index/64]
	atomic.StoreUint64(word, *word|1<<(index%64))
}

// Payload returns the message, all of whose chunks were Put. It aliases the
// shared memory and is valid until Free. It panics when a chunk is missing.
func (t *Transfers) Payload(handle uint32) []byte {
	d := &t.table[handle]
	if d.received != d.total {
		panic("commit: payload of an unfinished transfer")
	}
	end := int(d.total-1)*int(d.chunk) + int(d.last)
	return t.data(handle)[:end:end]
}

// Free gives the memory of a transfer back. It panics when there is none.
func (t *Transfers) Free(handle uint32) {
	d := &t.table[handle]
	if d.state == transferFree {
		panic("commit: transfer freed twice")
	}
	atomic.StoreUint32(&d.state, transferFree)
	t.give(int(handle), int(d.pages))
}

// bitmapSize returns the bytes in front of the message.
func bitmapSize(total uint16) int {
	return (int(total) + 8*cacheLine - 1) / (8 * cacheLine) * cacheLine
}

func pagesFor(total, chunk uint16) int {
	size := uint64(bitmapSize(total)) + uint64(total)*uint64(chunk)
	return int((size + TransferPage - 1) / TransferPage)
}

func (t *Transfers) bitmap(handle uint32) []uint64 {
	p := unsafe.Pointer(&t.pages[int(handle)*TransferPage])
	return unsafe.Slice((*uint64)(p), bitmapSize(t.table[handle].total)/8)
}

// data returns the room for the message.
func (t *Transfers) data(handle uint32) []byte {
	d := &t.table[handle]
	at := int(handle)*TransferPage + bitmapSize(d.total)
	return t.pages[at : at+int(d.total)*int(d.chunk)]
}

func (t *Transfers) has(handle uint32, index uint16) bool {
	return t.bitmap(handle)[index/64]>>(index%64)&1 != 0
}

// find returns the first run of n free pages.
func (t *Transfers) find(n int) (first int, ok bool) {
	if n > t.free || n >= t.tooMany {
		return 0, false
	}
	for first = t.next(0, 0); first+n <= len(t.table); first = t.next(first, 0) {
		end := t.next(first, ^uint64(0))
		if end-first >= n {
			return first, true
		}
		first = end
	}
	t.tooMany = n
	return 0, false
}

// next returns the first page from at on that is free, or taken when flip is
// all ones; one past the last when there is none.
func (t *Transfers) next(at int, flip uint64) int {
	for skip := at % 64; at < len(t.table); skip = 0 {
		if word := ^(t.taken[at/64] ^ flip) >> skip; word != 0 {
			return min(at+bits.TrailingZeros64(word), len(t.table))
		}
		at += 64 - skip
	}
	return len(t.table)
}

func (t *Transfers) take(first, n int) {
	for i := first; i < first+n; i++ {
		t.taken[i/64] |= 1 << (i % 64)
	}
	t.free -= n
}

func (t *Transfers) give(first, n int) {
	for i := first; i < first+n; i++ {
		t.taken[i/64] &^= 1 << (i % 64)
	}
	t.free += n
	t.tooMany = len(t.table) + 1
}
