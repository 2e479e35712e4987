package snapshot

import (
	"encoding/binary"
	"math/bits"
)

// bitWriter appends bits to a byte slice, the most significant first. Its
// owner calls flush when it is done.
type bitWriter struct {
	b    []byte
	acc  uint64 // the newest bits, at the low end
	held uint   // how many of acc count, below 64
	n    int    // written in all
}

// write appends the low n bits of v, n at most 64. The others must be zero.
func (w *bitWriter) write(v uint64, n uint) {
	w.n += int(n)
	if w.held+n < 64 {
		w.acc = w.acc<<n | v
		w.held += n
		return
	}
	rest := w.held + n - 64
	w.b = binary.BigEndian.AppendUint64(w.b, w.acc<<(n-rest)|v>>rest)
	w.acc, w.held = v&(1<<rest-1), rest
}

// golomb appends v as an exponential Golomb code of order k: as many zeros as
// v>>k+1 has bits after its first, then that number, of 32 bits at most, then the low
// k bits of v.
func (w *bitWriter) golomb(v uint64, k uint) {
	head := v>>k + 1
	n := uint(bits.Len64(head))
	w.write(head, 2*n-1) // the zeros stand before it already
	w.write(v&(1<<k-1), k)
}

// append copies the first n bits of src, which a bitWriter has written and
// flushed.
func (w *bitWriter) append(src []byte, n int) {
	for ; n >= 32; n -= 32 {
		w.write(uint64(binary.BigEndian.Uint32(src)), 32)
		src = src[4:]
	}
	for ; n >= 8; n -= 8 {
		w.write(uint64(src[0]), 8)
		src = src[1:]
	}
	if n > 0 {
		w.write(uint64(src[0])>>(8-n), uint(n))
	}
}

// reset forgets what was written and keeps the memory.
func (w *bitWriter) reset() { *w = bitWriter{b: w.b[:0]} }

// flush completes the last byte with zeros.
func (w *bitWriter) flush() []byte {
	for acc := w.acc << (64 - w.held); w.held > 0; acc <<= 8 {
		w.b = append(w.b, byte(acc>>56))
		w.held -= min(w.held, 8)
	}
	w.acc = 0
	return w.b
}

// bitReader reads what a bitWriter wrote. Past the end it reads zeros and
// remembers.
type bitReader struct {
	b     []byte
	acc   uint64 // unread bits, at the high end
	have  uint   // how many
	short bool
}

func (r *bitReader) fill() {
	if len(r.b) >= 4 {
		r.acc |= uint64(binary.BigEndian.Uint32(r.b)) << (32 - r.have)
		r.have += 32
		r.b = r.b[4:]
		return
	}
	for ; len(r.b) > 0; r.b = r.b[1:] {
		r.acc |= uint64(r.b[0]) << (56 - r.have)
		r.have += 8
	}
}

// read returns the next n bits, n at most 32.
func (r *bitReader) read(n uint) uint64 {
	if r.have < n {
		r.fill()
		if r.have < n {
			r.short = true
			r.have = n
		}
	}
	v := r.acc >> (64 - n)
	r.acc <<= n
	r.have -= n
	return v
}

func (r *bitReader) bit() bool { return r.read(1) != 0 }

// golomb reads a code of order k whose first part has at most 32 bits, as
// those of all values that schemas allow have.
func (r *bitReader) golomb(k uint) (v uint64, ok bool) {
	if r.have < 32 {
		r.fill()
	}
	zeros := uint(bits.LeadingZeros64(r.acc | 1))
	if zeros > 31 {
		return 0, false
	}
	r.read(zeros)
	head := r.read(zeros + 1)
	return (head-1)<<k | r.read(k), true
}

// done reports whether what is left is padding: zeros, and less than a byte.
func (r *bitReader) done() bool {
	return !r.short && len(r.b) == 0 && r.have < 8 && r.acc == 0
}

// zigzag maps small numbers of either sign to small ones without.
func zigzag(v int64) uint64   { return uint64(v<<1 ^ v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
