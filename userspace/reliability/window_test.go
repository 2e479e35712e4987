package reliability

import (
	"math/rand/v2"
	"testing"

	"github.com/xrudp/xrudp/userspace/wire"
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
	for seq := range m.held {
		i := seq - m.next - 1
		dst[i/64] |= 1 << (i % 64)
		words = max(words, int(i/64)+1)
	}
	return dst, words
}

// report is the block of the four words of sack that end with last.
func (m *modelWindow) report(last int) (b wire.AckBlock) {
	sack, _ := m.sack()
	last = max(last, 3)
	words, offset := sack[last-3:last+1], last-3
	for len(words) > 0 && words[len(words)-1] == 0 {
		words = words[:len(words)-1]
	}
	for len(words) > 0 && words[0] == 0 {
		words, offset = words[1:], offset+1
	}
	if b.Words = copy(b.Bitmap[:], words); b.Words > 0 {
		b.Offset = offset
	}
	return b
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
	last := 0
	if ahead := seq - m.next - 1; ahead < WindowSize {
		last = int(ahead / 64)
	}
	if got := w.Word(seq); got != last {
		t.Fatalf("Word(next%+d) = %d, want %d", int32(seq-m.next), got, last)
	}
	for _, last := range []int{last, int(seq % SackWords)} {
		b := wire.AckBlock{Present: true, Echo: 5, Offset: 1, Words: 4, Bitmap: [4]uint64{1, 2, 3, 4}}
		w.Report(last, &b)
		want := m.report(last)
		if want.Present, want.Echo = true, 5; b != want {
			t.Fatalf("Report(%d) = %+v, want %+v", last, b, want)
		}
		b.AppendTo(nil)
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
		{"fifth_word", 63, []uint32{257}, 0, 5},
		{"last_of_the_window", 100, []uint32{1023}, 0, 16},
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
	var block wire.AckBlock
	if n := testing.AllocsPerRun(100, func() {
		seq := w.Next
		w.Mark(seq + 1)
		w.Sack(&dst)
		w.Report(w.Word(seq+1), &block)
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
