// Package reliability keeps the books of reliable delivery: what arrived,
// what was acknowledged, what must be sent again, what may be handed over.
//
// Nothing here reads a clock, blocks or starts a goroutine, and no type is
// safe for concurrent use: the worker or client that owns a session owns its
// windows.
package reliability

import (
	"math/bits"

	"github.com/xrudp/xrudp/userspace/wire"
)

// WindowSize is the reliable receive window in packets.
const WindowSize = wire.ReceiveWindow

// windowWords is the number of 64-bit words in the ring of a receive window.
const windowWords = WindowSize / 64

// SackWords is the number of bitmap words for a whole window.
const SackWords = wire.AckWindowWords

// Class says what a reliable sequence number means to a receive window.
type Class uint8

const (
	// Fresh is inside the window and was not seen: mark it and keep the packet.
	Fresh Class = iota
	// Duplicate was received before: acknowledge again, do not look inside.
	Duplicate
	// Outside is too far ahead or too far behind to be told apart: drop it.
	Outside
)

// String returns the lower-case name of the class.
func (c Class) String() string {
	switch c {
	case Fresh:
		return "fresh"
	case Duplicate:
		return "duplicate"
	case Outside:
		return "outside"
	}
	return "unknown"
}

// ReceiveWindow records which reliable packets arrived. It is the algorithm
// that the gate runs on the session entry, field by field: Next is rcv_nxt,
// High is rcv_high, Bits is rcv_bits.
//
// The zero value expects sequence 0.
type ReceiveWindow struct {
	Next uint32              // next sequence expected; everything before it arrived
	High uint32              // one past the highest sequence that arrived
	Bits [windowWords]uint64 // bit sequence % WindowSize: arrived beyond Next
}

// Reset makes w expect next, with nothing held beyond it.
func (w *ReceiveWindow) Reset(next uint32) {
	*w = ReceiveWindow{Next: next, High: next}
}

// Classify says what to do with sequence seq. It changes nothing, so that a
// caller can first make sure of a place to keep the packet.
func (w *ReceiveWindow) Classify(seq uint32) Class {
	ahead := seq - w.Next
	if ahead < WindowSize {
		if w.held(seq) {
			return Duplicate
		}
		return Fresh
	}
	if -ahead <= WindowSize {
		return Duplicate
	}
	return Outside
}

// Mark records that seq arrived. The caller has found it Fresh.
func (w *ReceiveWindow) Mark(seq uint32) {
	if seq == w.Next && w.High == w.Next {
		w.Next++
		w.High++
		return
	}
	w.Bits[seq/64%windowWords] |= 1 << (seq % 64)
	if int32(seq+1-w.High) > 0 {
		w.High = seq + 1
	}
	if seq == w.Next {
		w.advance()
	}
}

// advance moves Next over what is held and clears the bits it passes. No bit
// is set at or beyond High, so the walk ends there at the latest.
func (w *ReceiveWindow) advance() {
	for {
		word := &w.Bits[w.Next/64%windowWords]
		shift := w.Next % 64
		run := uint32(bits.TrailingZeros64(^(*word >> shift))) // at most 64 - shift
		if run == 0 {
			return
		}
		*word &^= (1<<run - 1) << shift
		w.Next += run
	}
}

// Sack fills dst with the packets held beyond Next, bit i of word k standing
// for Next+1+64k+i, and returns how many words are left once trailing zero
// words are taken off. Words from there on are zero.
func (w *ReceiveWindow) Sack(dst *[SackWords]uint64) (words int) {
	*dst = [SackWords]uint64{}
	if w.High == w.Next {
		return 0
	}
	for k := range dst {
		if dst[k] = w.word(k); dst[k] != 0 {
			words = k + 1
		}
	}
	return words
}

// word returns word k of what Sack fills in.
func (w *ReceiveWindow) word(k int) uint64 {
	first := w.Next + 1 + 64*uint32(k)
	at, shift := first/64, first%64
	// A shift by 64 yields 0, so an aligned start takes nothing from the next
	// word.
	return w.Bits[at%windowWords]>>shift | w.Bits[(at+1)%windowWords]<<(64-shift)
}

// Word returns the word of Sack that seq has a bit in, 0 where it has none.
func (w *ReceiveWindow) Word(seq uint32) int {
	if beyond := seq - w.Next - 1; beyond < WindowSize {
		return int(beyond / 64)
	}
	return 0
}

// Report fills the bitmap of b with words of Sack: those that end with word
// last, or the first ones if there are none before them.
func (w *ReceiveWindow) Report(last int, b *wire.AckBlock) {
	b.Offset, b.Words, b.Bitmap = 0, 0, [wire.AckWordsMax]uint64{}
	if w.High == w.Next {
		return
	}
	last = max(last, wire.AckWordsMax-1)
	for k := last - wire.AckWordsMax + 1; k <= last; k++ {
		word := w.word(k)
		if word == 0 {
			continue
		}
		if b.Words == 0 {
			b.Offset = k
		}
		b.Words = k - b.Offset + 1
		b.Bitmap[b.Words-1] = word
	}
}

// Pending reports whether something is held beyond a gap.
func (w *ReceiveWindow) Pending() bool { return w.High != w.Next }

func (w *ReceiveWindow) held(seq uint32) bool {
	return w.Bits[seq/64%windowWords]>>(seq%64)&1 != 0
}
