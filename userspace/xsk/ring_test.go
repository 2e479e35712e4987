package xsk

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

var testOffsets = ringOffsets{producer: 0, consumer: 64, flags: 128, entries: 192}

// ringMemory is memory as the kernel maps it.
func ringMemory(size int, entry uintptr) []byte {
	words := make([]uint64, (192+size*int(entry))/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
}

// kernelRing is the kernel's end of a ring, which knows nothing of copies of
// indices.
type kernelRing[T any] struct{ ring[T] }

func (k *kernelRing[T]) take() (v T, ok bool) {
	tail := k.consumer.Load()
	if tail == k.producer.Load() {
		return v, false
	}
	v = k.entries[tail&k.mask]
	k.consumer.Store(tail + 1)
	return v, true
}

func (k *kernelRing[T]) give(v T) bool {
	head := k.producer.Load()
	if head-k.consumer.Load() == uint32(len(k.entries)) {
		return false
	}
	k.entries[head&k.mask] = v
	k.producer.Store(head + 1)
	return true
}

func (k *kernelRing[T]) len() int { return int(k.producer.Load() - k.consumer.Load()) }

// start moves both indices, so that they wrap soon.
func (k *kernelRing[T]) start(at uint32) {
	k.producer.Store(at)
	k.consumer.Store(at)
}

// FuzzProducer drives the user's end of a fill or TX ring beside a model.
func FuzzProducer(f *testing.F) {
	f.Add(uint8(2), []byte{0, 0, 1, 2, 0, 0, 1, 2, 2, 2})
	f.Add(uint8(200), []byte{0, 0, 0, 0, 0, 1, 2, 0, 3})
	f.Fuzz(func(t *testing.T, back uint8, ops []byte) {
		const size = 4
		mem := ringMemory(size, 8)
		kernel := kernelRing[uint64]{makeRing[uint64](mem, testOffsets, size)}
		kernel.start(-uint32(back))
		p := makeProducer[uint64](mem, testOffsets, size)

		var unpublished, published []uint64
		for step, op := range ops {
			switch op % 4 {
			case 0:
				full := len(unpublished)+len(published) == size
				if got := p.full(); got != full {
					t.Fatalf("step %d: full %t, want %t", step, got, full)
				}
				if !full {
					p.put(uint64(step))
					unpublished = append(unpublished, uint64(step))
				}
			case 1:
				p.publish()
				published = append(published, unpublished...)
				unpublished = nil
			case 2:
				got, ok := kernel.take()
				if ok != (len(published) > 0) {
					t.Fatalf("step %d: the kernel got an entry: %t, with %d published", step, ok, len(published))
				}
				if ok {
					if got != published[0] {
						t.Fatalf("step %d: the kernel got %d, want %d", step, got, published[0])
					}
					published = published[1:]
				}
			case 3:
				if got := p.pending(); got != uint32(len(published)) {
					t.Fatalf("step %d: %d pending, want %d", step, got, len(published))
				}
			}
		}
	})
}

// FuzzConsumer drives the user's end of a completion or RX ring beside a
// model.
func FuzzConsumer(f *testing.F) {
	f.Add(uint8(2), []byte{0, 0, 1, 2, 0, 0, 1, 2, 1})
	f.Add(uint8(200), []byte{0, 0, 0, 0, 0, 1, 1, 2, 0, 3})
	f.Fuzz(func(t *testing.T, back uint8, ops []byte) {
		const size = 4
		mem := ringMemory(size, unsafe.Sizeof(descriptor{}))
		kernel := kernelRing[descriptor]{makeRing[descriptor](mem, testOffsets, size)}
		kernel.start(-uint32(back))
		c := makeConsumer[descriptor](mem, testOffsets, size)

		var unread []descriptor
		unreleased := 0
		for step, op := range ops {
			switch op % 4 {
			case 0:
				e := descriptor{addr: uint64(step), length: uint32(op)}
				ok := kernel.give(e)
				if want := len(unread)+unreleased < size; ok != want {
					t.Fatalf("step %d: room for the kernel %t, want %t", step, ok, want)
				}
				if ok {
					unread = append(unread, e)
				}
			case 1:
				n := c.ready()
				if n > uint32(len(unread)) || n == 0 && len(unread) > 0 {
					t.Fatalf("step %d: %d ready of %d", step, n, len(unread))
				}
				if n > 0 {
					if got := c.peek(); got != unread[0] {
						t.Fatalf("step %d: got %v, want %v", step, got, unread[0])
					}
					c.advance()
					unread = unread[1:]
					unreleased++
				}
			case 2:
				c.release()
				unreleased = 0
			case 3:
				if got, want := c.waiting(), len(unread)+unreleased > 0; got != want {
					t.Fatalf("step %d: waiting %t, want %t", step, got, want)
				}
			}
		}
	})
}

func TestWakeup(t *testing.T) {
	mem := ringMemory(4, 8)
	p := makeProducer[uint64](mem, testOffsets, 4)
	if p.wakeup() {
		t.Error("wake-up wanted by a ring whose flag is clear")
	}
	(*atomic.Uint32)(unsafe.Pointer(&mem[testOffsets.flags])).Store(needWakeup)
	if !p.wakeup() {
		t.Error("no wake-up wanted by a ring whose flag is set")
	}
}

// The race detector sees an entry that is read without order after its write.
func TestRingsBetweenGoroutines(t *testing.T) {
	const size, count = 64, 50_000
	up, down := ringMemory(size, 8), ringMemory(size, 8)
	p := makeProducer[uint64](up, testOffsets, size)
	c := makeConsumer[uint64](down, testOffsets, size)

	// The kernel returns what it gets.
	go func() {
		in := kernelRing[uint64]{makeRing[uint64](up, testOffsets, size)}
		out := kernelRing[uint64]{makeRing[uint64](down, testOffsets, size)}
		for moved := 0; moved < count; {
			v, ok := in.take()
			for ok && !out.give(v) {
				runtime.Gosched()
			}
			if ok {
				moved++
			} else {
				runtime.Gosched()
			}
		}
	}()

	sent, got := uint64(0), uint64(0)
	deadline := time.Now().Add(20 * time.Second)
	for got < count {
		if time.Now().After(deadline) {
			t.Fatalf("stuck at %d of %d", got, count)
		}
		for sent < count && !p.full() {
			p.put(sent)
			sent++
		}
		p.publish()
		n := c.ready()
		for range n {
			if v := c.peek(); v != got {
				t.Fatalf("got %d, want %d", v, got)
			}
			c.advance()
			got++
		}
		c.release()
		if n == 0 {
			runtime.Gosched()
		}
	}
}
