package spsc

import (
	"runtime"
	"testing"
	"unsafe"
)

func TestQueueKeepsOrder(t *testing.T) {
	q := New[int](4)
	next := 0
	for i := range 1000 {
		for range i % 6 {
			if q.Push(next) {
				next++
			} else if q.Len() != q.Cap() {
				t.Fatalf("push of %d refused with %d of %d queued", next, q.Len(), q.Cap())
			}
		}
		want := next - q.Len()
		for {
			v, ok := q.Pop()
			if !ok {
				break
			}
			if v != want {
				t.Fatalf("popped %d, want %d", v, want)
			}
			want++
		}
		if want != next {
			t.Fatalf("popped up to %d of %d", want, next)
		}
	}
}

func TestNewRefusesOtherCapacities(t *testing.T) {
	for _, capacity := range []int{-1, 0, 3, 12} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("capacity %d was accepted", capacity)
				}
			}()
			New[int](capacity)
		}()
	}
}

// FuzzQueue drives a queue beside a slice. The first byte places the indices,
// so that they wrap.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0})
	f.Add([]byte{3, 1, 0, 1, 0, 1, 0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) == 0 {
			return
		}
		q := New[uint32](4)
		start := -uint32(ops[0])
		q.pushed, q.tailSeen, q.popped, q.headSeen = start, start, start, start
		q.head.Store(start)
		q.tail.Store(start)

		var model []uint32
		for i, op := range ops[1:] {
			v := uint32(i)
			if op&1 == 1 {
				ok := q.Push(v)
				if want := len(model) < q.Cap(); ok != want {
					t.Fatalf("step %d: push %t, want %t", i, ok, want)
				}
				if ok {
					model = append(model, v)
				}
			} else {
				got, ok := q.Pop()
				if want := len(model) > 0; ok != want {
					t.Fatalf("step %d: pop %t, want %t", i, ok, want)
				}
				if ok {
					if got != model[0] {
						t.Fatalf("step %d: popped %d, want %d", i, got, model[0])
					}
					model = model[1:]
				}
			}
			if q.Len() != len(model) {
				t.Fatalf("step %d: length %d, want %d", i, q.Len(), len(model))
			}
			at := 0
			q.Each(func(v uint32) {
				if v != model[at] {
					t.Fatalf("step %d: element %d is %d, want %d", i, at, v, model[at])
				}
				at++
			})
		}
	})
}

// The race detector sees an element that is handed over without an order.
func TestQueueBetweenGoroutines(t *testing.T) {
	const count = 100_000
	q := New[*uint64](64)
	go func() {
		for i := uint64(0); i < count; {
			v := i
			if q.Push(&v) {
				i++
			} else {
				runtime.Gosched()
			}
		}
	}()
	for want := uint64(0); want < count; {
		v, ok := q.Pop()
		if !ok {
			runtime.Gosched()
			continue
		}
		if *v != want {
			t.Fatalf("popped %d, want %d", *v, want)
		}
		want++
	}
}

func TestSidesShareNoCacheLine(t *testing.T) {
	var q Queue[int]
	head := unsafe.Offsetof(q.tailSeen) / cacheLine
	tail := unsafe.Offsetof(q.tail) / cacheLine
	if tail < head+2 {
		t.Errorf("consumer's line %d is not clear of the producer's line %d and its neighbour", tail, head)
	}
}

func TestQueueDoesNotAllocate(t *testing.T) {
	q := New[uint64](8)
	if n := testing.AllocsPerRun(100, func() {
		q.Push(1)
		q.Pop()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkQueue(b *testing.B) {
	q := New[uint64](1024)
	for b.Loop() {
		q.Push(1)
		q.Pop()
	}
}
