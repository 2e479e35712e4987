package xsk

import (
	"sync/atomic"
	"unsafe"
)

// The rings are single-producer single-consumer queues shared with the kernel,
// with free-running 32-bit indices. Each side owns one index:
//
//	producer                        consumer
//	free = size - (head - tail)     ready = head - tail
//	entry[head & mask] = v          v = entry[tail & mask]
//	head += n   (release)  ------>  read head   (acquire)
//	read tail   (acquire)  <------  tail += n   (release)
//
// The release of head publishes the entries before it. The release of tail
// lets the producer overwrite entries, so it comes after they were read. In
// sync/atomic a Store is at least a release and a Load an acquire; they pair
// with smp_store_release and smp_load_acquire in net/xdp/xsk_queue.h.
//
// Both sides keep a copy of the other's index and look at the shared one, a
// cache line that the other CPU writes, only when the copy does not suffice.

// descriptor is struct xdp_desc.
type descriptor struct {
	addr   uint64
	length uint32
	_      uint32 // options
}

// ringOffsets is struct xdp_ring_offset.
type ringOffsets struct {
	producer, consumer, entries, flags uint64
}

const needWakeup = 1 // XDP_RING_NEED_WAKEUP

// ring is what both kinds share.
type ring[T any] struct {
	producer, consumer, flags *atomic.Uint32
	entries                   []T
	mask                      uint32
}

func makeRing[T any](mem []byte, off ringOffsets, size int) ring[T] {
	var entry T
	_ = mem[off.entries+uint64(size)*uint64(unsafe.Sizeof(entry))-1]
	return ring[T]{
		producer: (*atomic.Uint32)(unsafe.Pointer(&mem[off.producer])),
		consumer: (*atomic.Uint32)(unsafe.Pointer(&mem[off.consumer])),
		flags:    (*atomic.Uint32)(unsafe.Pointer(&mem[off.flags])),
		entries:  unsafe.Slice((*T)(unsafe.Pointer(&mem[off.entries])), size),
		mask:     uint32(size - 1),
	}
}

// wakeup reports whether the kernel waits for a system call to go on with the
// ring. sync/atomic orders this load after a preceding publish, so that an
// entry is either seen by the kernel or its wish to be woken is seen here.
func (r *ring[T]) wakeup() bool { return r.flags.Load()&needWakeup != 0 }

// each calls f for the entries between two indices.
func (r *ring[T]) each(tail, head uint32, f func(T)) {
	for i := tail; i != head; i++ {
		f(r.entries[i&r.mask])
	}
}

// producer is the user's end of a fill or TX ring.
type producer[T any] struct {
	ring[T]
	head     uint32 // next to write; entries before it may be unpublished
	sent     uint32 // published head
	tailSeen uint32
}

func makeProducer[T any](mem []byte, off ringOffsets, size int) producer[T] {
	p := producer[T]{ring: makeRing[T](mem, off, size)}
	p.head = p.producer.Load()
	p.sent = p.head
	p.tailSeen = p.consumer.Load()
	return p
}

// full reports whether there is no room for another entry.
func (p *producer[T]) full() bool {
	if p.head-p.tailSeen < uint32(len(p.entries)) {
		return false
	}
	p.tailSeen = p.consumer.Load()
	return p.head-p.tailSeen == uint32(len(p.entries))
}

// put writes an entry, for which there must be room.
func (p *producer[T]) put(v T) {
	p.entries[p.head&p.mask] = v
	p.head++
}

// publish shows the kernel every entry put so far.
func (p *producer[T]) publish() {
	if p.sent != p.head {
		p.sent = p.head
		p.producer.Store(p.head)
	}
}

// pending is how many published entries the kernel has not taken.
func (p *producer[T]) pending() uint32 {
	p.tailSeen = p.consumer.Load()
	return p.sent - p.tailSeen
}

// consumer is the user's end of a completion or RX ring.
type consumer[T any] struct {
	ring[T]
	tail     uint32 // next to read
	headSeen uint32
}

func makeConsumer[T any](mem []byte, off ringOffsets, size int) consumer[T] {
	c := consumer[T]{ring: makeRing[T](mem, off, size)}
	c.tail = c.consumer.Load()
	c.headSeen = c.producer.Load()
	return c
}

// ready is how many entries can be read, looking for more when there is none.
func (c *consumer[T]) ready() uint32 {
	if c.headSeen == c.tail {
		c.headSeen = c.producer.Load()
	}
	return c.headSeen - c.tail
}

// peek returns the oldest entry, which must be ready.
func (c *consumer[T]) peek() T { return c.entries[c.tail&c.mask] }

// advance goes on to the next entry.
func (c *consumer[T]) advance() { c.tail++ }

// release gives the entries read so far back to the kernel.
func (c *consumer[T]) release() { c.consumer.Store(c.tail) }

// waiting reports whether entries wait to be read. Unlike the other methods it
// may be called by anyone.
func (c *consumer[T]) waiting() bool { return c.producer.Load() != c.consumer.Load() }
