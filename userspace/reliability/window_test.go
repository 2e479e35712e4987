package reliability

import (
	"math/rand/v2"
	"testing"
)

// modelWindow is the receive window as a set of sequence numbers.
type modelWindow struct {
	next, high uint32
	held       map[uint32]bool
}

func newModelWindow(next uint32) *modelWindow {
	return &modelWindow{next: next, high: next, held: map[uint32]bool{}}
}

func (m *modelWindow) classify(seq uint32) Class {
	ahead := int64(int32(seq - m.next))
	switch {
	case ahead >= 0 && ahead < WindowSize && !m.held[seq]:
		return Fresh
	case ahead >= -WindowSize && ahead < WindowSize:
		return Duplicate
	}
	return Outside
}

func (m *modelWindow) mark(seq uint32) {
	m.held[seq] = true
	if int32(seq-m.high) >= 0 {
		m.high = seq + 1
	}
	for m.held[m.next] {
		delete(m.held, m.next)
		m.next++
	}
}

func (m *modelWindow) sack() (dst [SackWords]uint64, words int) {
	for i := range uint32(64 * SackWords) {
		if m.held[m.next+1+i] {
			dst[i/64] |= 1 << (i % 64)
			words = int(i/64) + 1
		}
	}
	return dst, words
}

func compareWindow(t *testing.T, w *ReceiveWindow, m *modelWindow, seq uint32) {
	t.Helper()
	got, want := w.Classify(seq), m.classify(seq)
	if got != want {
		t.Fatalf("Classify(next%+d) = %v, want %v", int32(seq-m.next), got, want)
	}
	if got == Fresh {
		w.Mark(seq)
		m.mark(seq)
	}
	if w.Next != m.next || w.High != m.high {
		t.Fatalf("after next%+d: next %d high %d, want %d %d", int32(seq-m.next), w.Next, w.High, m.next, m.high)
	}
	if w.Pending() != (len(m.held) > 0) {
		t.Fatalf("Pending() = %v with %d held", w.Pending(), len(m.held))
	}
	var dst [SackWords]uint64
	words := w.Sack(&dst)
	wantDst, wantWords := m.sack()
	if dst != wantDst || words != wantWords {
		t.Fatalf("Sack = %x %d, want %x %d", dst, words, wantDst, wantWords)
	}
}

func TestReceiveWindow(t *testing.T) {
	tests := []struct {
		name  string
		start uint32
		seqs  []uint32 // relative to start
		next  uint32   // relative to start
		words int
	}{
		{"in_order", 7, []uint32{0, 1, 2}, 3, 0},
		{"gap", 7, []uint32{1, 2}, 0, 1},
		{"gap_filled", 7, []uint32{1, 2, 0}, 3, 0},
		{"second_gap_stays", 7, []uint32{1, 3, 0}, 2, 1},
		{"wrap", ^uint32(0) - 1, []uint32{3, 2, 1, 0}, 4, 0},
		{"fourth_word", 63, []uint32{200}, 0, 4},
		{"beyond_the_bitmap", 63, []uint32{257}, 0, 0},
		{"last_of_the_window", 100, []uint32{1023}, 0, 0},
		{"outside", 100, []uint32{1024}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w ReceiveWindow
			w.Reset(tt.start)
			m := newModelWindow(tt.start)
			for _, d := range tt.seqs {
				compareWindow(t, &w, m, tt.start+d)
			}
			var dst [SackWords]uint64
			if words := w.Sack(&dst); words != tt.words || w.Next != tt.start+tt.next {
				t.Errorf("next start+%d words %d, want start+%d %d", w.Next-tt.start, words, tt.next, tt.words)
			}
		})
	}
}

func TestReceiveWindowAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		start := rng.Uint32()
		if seed%2 == 0 {
			start = ^uint32(0) - 500
		}
		var w ReceiveWindow
		w.Reset(start)
		m := newModelWindow(start)
		for range 3000 {
			reach := []int{4, 80, 1100, 3000}[rng.IntN(4)]
			compareWindow(t, &w, m, m.next+uint32(rng.IntN(2*reach)-reach/4))
		}
	}
}

// FuzzReceiveWindow reads two bytes as a distance from the next sequence.
func FuzzReceiveWindow(f *testing.F) {
	f.Add(uint32(0), []byte{0, 0, 0, 1, 0, 0})
	f.Add(^uint32(0), []byte{4, 0, 3, 255, 0, 0, 252, 0, 251, 255})
	f.Fuzz(func(t *testing.T, start uint32, ops []byte) {
		var w ReceiveWindow
		w.Reset(start)
		m := newModelWindow(start)
		for ; len(ops) >= 2; ops = ops[2:] {
			d := int16(uint16(ops[0])<<8 | uint16(ops[1]))
			compareWindow(t, &w, m, m.next+uint32(int32(d)))
		}
	})
}

func TestReceiveWindowDoesNotAllocate(t *testing.T) {
	var w ReceiveWindow
	var dst [SackWords]uint64
	if n := testing.AllocsPerRun(100, func() {
		seq := w.Next
		w.Mark(seq + 1)
		w.Sack(&dst)
		w.Mark(seq)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func BenchmarkReceiveWindowInOrder(b *testing.B) {
	var w ReceiveWindow
	for b.Loop() {
		if w.Classify(w.Next) == Fresh {
			w.Mark(w.Next)
		}
	}
}
