package reliability

import (
	"encoding/binary"
	"fmt"

	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	// DefaultChunk is the bytes of a large message that go into one packet
	// where nothing is known of the path.
	DefaultChunk = 1024

	// MinChunk is the fewest, MaxChunk what the length of a message can say. The
	// smallest packets that peers agree on hold more.
	MinChunk = 256
	MaxChunk = 0xffff - wire.FragmentHeaderSize

	// MaxChunks is the most chunks a large message has.
	MaxChunks = 0xffff

	// chunkOverhead is what a chunk takes in a packet beside its data.
	chunkOverhead = wire.MessageHeaderSize + wire.FragmentHeaderSize
)

// ChunkFor returns the size of chunks for packets whose messages take up to
// body bytes, MinChunk if that is too little.
func ChunkFor(body int) int { return max(MinChunk, min(body-chunkOverhead, MaxChunk)) }

// Outgoing is a large message on its way out, cut into chunks of one size. It
// keeps a copy of the payload until the pool gets it back.
//
// Transfers of a session are begun in the order of their numbers: the first
// chunk of one is sent before the first chunk of the next.
type Outgoing struct {
	transfer uint32
	channel  uint8
	kind     uint8
	id       uint16
	chunk    int
	next     int // first byte that was not produced
	payload  []byte

	unused *Outgoing // of the pool
}

// Next appends the next chunk to b as a FRAGMENT message, of NextSize bytes.
// It panics when there is none.
func (o *Outgoing) Next(b []byte) []byte {
	if o.next == len(o.payload) {
		panic("reliability: no chunk is left")
	}
	end := min(o.next+o.chunk, len(o.payload))
	b = wire.AppendMessage(b, wire.Message{Type: wire.TypeFragment, Channel: o.channel, ID: o.id})
	start := len(b)
	b = wire.AppendFragment(b, wire.Fragment{
		Transfer: o.transfer,
		Index:    uint16(o.next / o.chunk),
		Total:    uint16(o.Total()),
		Chunk:    uint16(o.chunk),
		Type:     o.kind,
		Data:     o.payload[o.next:end],
	})
	// The length ends the message's header, and is known only now.
	binary.BigEndian.PutUint16(b[start-2:], uint16(len(b)-start))
	o.next = end
	return b
}

// NextSize returns the bytes that Next appends, 0 when all chunks were
// produced.
func (o *Outgoing) NextSize() int {
	left := min(o.chunk, len(o.payload)-o.next)
	if left == 0 {
		return 0
	}
	return chunkOverhead + left
}

// Total returns the number of chunks.
func (o *Outgoing) Total() int { return (len(o.payload) + o.chunk - 1) / o.chunk }

// Remaining returns the number of chunks that were not produced yet.
func (o *Outgoing) Remaining() int { return (len(o.payload) - o.next + o.chunk - 1) / o.chunk }

// OutgoingPool makes Outgoing messages and keeps unused memory for later. The
// zero value is ready; sessions of one owner share one.
type OutgoingPool struct {
	unused  *Outgoing
	buffers buffers
}

// New copies a payload that does not fit one chunk. transfer counts the large
// messages of the session, reliable and unreliable ones by themselves; channel
// has wire.Unordered where that is meant. It panics when chunk is not from
// MinChunk to MaxChunk, and when the payload has less than two chunks or more
// than MaxChunks of that size.
func (p *OutgoingPool) New(transfer uint32, channel uint8, id uint16, kind uint8, payload []byte, chunk int) *Outgoing {
	if chunk < MinChunk || chunk > MaxChunk || len(payload) <= chunk || len(payload) > MaxChunks*chunk {
		panic(fmt.Sprintf("reliability: %d bytes in chunks of %d", len(payload), chunk))
	}
	o := p.unused
	if o == nil {
		o = new(Outgoing)
	} else {
		p.unused = o.unused
	}
	copied := p.buffers.get(len(payload))
	copy(copied, payload)
	*o = Outgoing{transfer: transfer, channel: channel, id: id, kind: kind, chunk: chunk, payload: copied}
	return o
}

// Put takes back a message that is not needed any more: all of it was
// produced, or it was given up.
func (p *OutgoingPool) Put(o *Outgoing) {
	p.buffers.put(o.payload)
	*o = Outgoing{unused: p.unused}
	p.unused = o
}
