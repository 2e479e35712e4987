package reliability

import (
	"math/bits"

	"github.com/xrudp/xrudp/userspace/wire"
)

// Heap is a Memory that ends with the process. It bounds nothing itself: the
// limit of its one Reassembler does. The zero value is ready.
type Heap struct {
	messages []heapMessage
	unused   []uint32
	buffers  buffers
}

type heapMessage struct {
	data  []byte
	there []uint64 // bit i: chunk i
	chunk int
	end   int // of the last chunk, 0 until it is there
	total uint16
}

// Open makes room for the message of which f is a chunk.
func (h *Heap) Open(_ uint64, _ bool, _ uint8, _ uint16, f wire.Fragment) (handle uint32, ok bool) {
	if len(h.unused) == 0 {
		h.messages = append(h.messages, heapMessage{})
		h.unused = append(h.unused, uint32(len(h.messages)-1))
	}
	last := len(h.unused) - 1
	handle = h.unused[last]
	h.unused = h.unused[:last]
	m := &h.messages[handle]
	m.total, m.chunk, m.end = f.Total, int(f.Chunk), 0
	m.data = h.buffers.get(int(f.Total) * int(f.Chunk))
	words := (int(f.Total) + 63) / 64
	if cap(m.there) < words {
		m.there = make([]uint64, words)
	}
	m.there = m.there[:words]
	clear(m.there)
	return handle, true
}

// Put copies a chunk, and is false when it is there already.
func (h *Heap) Put(handle uint32, index uint16, _ uint32, data []byte) bool {
	m := &h.messages[handle]
	word, bit := &m.there[index/64], uint64(1)<<(index%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	at := int(index) * m.chunk
	copy(m.data[at:], data)
	if index == m.total-1 {
		m.end = at + len(data)
	}
	return true
}

// Payload returns a message that is complete. It is valid until Free.
func (h *Heap) Payload(handle uint32) []byte {
	m := &h.messages[handle]
	return m.data[:m.end:m.end]
}

// Free forgets a message.
func (h *Heap) Free(handle uint32) {
	m := &h.messages[handle]
	h.buffers.put(m.data)
	m.data = nil
	h.unused = append(h.unused, handle)
}

const (
	// Buffers are powers of two in size.
	smallestBuffer = 12 // 4 KiB
	largestBuffer  = 32

	// buffersKept bounds the bytes of unused buffers that are kept for later.
	buffersKept = 4 << 20
)

// buffers is a pool of byte slices. The zero value is ready.
type buffers struct {
	free [largestBuffer - smallestBuffer + 1][][]byte // by size
	kept int
}

// get returns n bytes of any content.
func (p *buffers) get(n int) []byte {
	class := max(smallestBuffer, bits.Len(uint(n-1)))
	free := &p.free[class-smallestBuffer]
	if last := len(*free) - 1; last >= 0 {
		b := (*free)[last]
		*free = (*free)[:last]
		p.kept -= cap(b)
		return b[:n]
	}
	return make([]byte, n, 1<<class)
}

// put takes back what get returned.
func (p *buffers) put(b []byte) {
	if p.kept+cap(b) > buffersKept {
		return
	}
	free := &p.free[bits.Len(uint(cap(b)-1))-smallestBuffer]
	*free = append(*free, b)
	p.kept += cap(b)
}
