// Package spsc is a lock-free queue between one producer and one consumer.
package spsc

import (
	"fmt"
	"sync/atomic"
)

const cacheLine = 64

// Queue is a bounded queue. One goroutine may push while another pops.
//
// Indices run freely and wrap. Each side keeps a copy of the other's index and
// reads the shared one only when the copy says full or empty:
//
//	producer                 consumer
//	buf[head] = v            see head (acquire)
//	head++ (release)  ---->  v = buf[tail]
//	see tail (acquire) <---- tail++ (release)
//
// The release on head publishes the element; the release on tail lets the
// producer overwrite it.
type Queue[T any] struct {
	buf  []T
	mask uint32

	_    [cacheLine]byte
	head atomic.Uint32 // elements pushed
	// The producer's own.
	pushed   uint32 // head, without the atomic load
	tailSeen uint32

	_    [2*cacheLine - 12]byte
	tail atomic.Uint32 // elements popped
	// The consumer's own.
	popped   uint32
	headSeen uint32

	_ [2*cacheLine - 12]byte
}

// New returns a queue of capacity elements, a power of two up to 2^31. It
// panics on any other.
func New[T any](capacity int) *Queue[T] {
	if capacity <= 0 || capacity > 1<<31 || capacity&(capacity-1) != 0 {
		panic(fmt.Sprintf("spsc: capacity %d is not a power of two", capacity))
	}
	return &Queue[T]{buf: make([]T, capacity), mask: uint32(capacity - 1)}
}

// Cap returns how many elements fit.
func (q *Queue[T]) Cap() int { return len(q.buf) }

// Len returns how many elements are queued. Seen from the producer the queue
// may hold fewer by the time it returns, seen from the consumer more.
func (q *Queue[T]) Len() int {
	tail := q.tail.Load()
	return int(q.head.Load() - tail)
}

// Push appends v and reports whether there was room. Only the producer may
// call it.
func (q *Queue[T]) Push(v T) bool {
	if q.pushed-q.tailSeen == uint32(len(q.buf)) {
		q.tailSeen = q.tail.Load()
		if q.pushed-q.tailSeen == uint32(len(q.buf)) {
			return false
		}
	}
	q.buf[q.pushed&q.mask] = v
	q.pushed++
	q.head.Store(q.pushed)
	return true
}

// Pop removes the oldest element. Only the consumer may call it.
func (q *Queue[T]) Pop() (v T, ok bool) {
	if q.popped == q.headSeen {
		q.headSeen = q.head.Load()
		if q.popped == q.headSeen {
			return v, false
		}
	}
	i := q.popped & q.mask
	v = q.buf[i]
	var zero T
	q.buf[i] = zero // let go of what an element points to
	q.popped++
	q.tail.Store(q.popped)
	return v, true
}

// Each calls f for every queued element, oldest first. Neither side may be
// active.
func (q *Queue[T]) Each(f func(T)) {
	head := q.head.Load()
	for i := q.tail.Load(); i != head; i++ {
		f(q.buf[i&q.mask])
	}
}
