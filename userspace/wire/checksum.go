package wire

import "encoding/binary"

// Checksum returns the checksum of the packet b, whose own checksum field
// counts as zero. It panics if b is shorter than a header.
func Checksum(b []byte) uint16 {
	_ = b[HeaderSize-1]
	sum1, sum2 := fletcher(b)

	// Take the checksum field's two bytes out again: byte i of n weighs
	// n-i in sum2.
	hi, lo := uint32(b[offChecksum]), uint32(b[offChecksum+1])
	n := uint32(len(b))
	sum1 -= hi + lo
	sum2 -= hi*(n-offChecksum) + lo*(n-offChecksum-1)

	return uint16(sum2<<8|sum1&0xff) ^ 0xffff
}

// Seal writes the checksum into the finished packet b.
func Seal(b []byte) {
	binary.BigEndian.PutUint16(b[offChecksum:], Checksum(b))
}

// Verify reports whether b carries its own checksum. A packet shorter than a
// header does not.
func Verify(b []byte) bool {
	return len(b) >= HeaderSize && binary.BigEndian.Uint16(b[offChecksum:]) == Checksum(b)
}

// fletcher returns sum1 and sum2 of b. Only their low eight bits reach the
// packet, so only those are exact.
//
// Each step takes eight bytes as four even and four odd 16-bit lanes. total
// holds the sum of each byte position, prefix the sum of the totals before
// each step, so that a byte d steps before the last counts d times in prefix.
// A lane of prefix grows by at most 255+255k in step k after the lanes were
// cut to eight bits, and 16 steps stay below 65,536.
func fletcher(b []byte) (sum1, sum2 uint32) {
	const low = 0x00ff00ff00ff00ff

	var totalEven, totalOdd, prefixEven, prefixOdd uint64
	for len(b) >= 8 {
		steps := min(len(b)/8, 16)
		for range steps {
			x := binary.LittleEndian.Uint64(b)
			prefixEven += totalEven
			prefixOdd += totalOdd
			totalEven += x & low
			totalOdd += x >> 8 & low
			b = b[8:]
		}
		totalEven &= low
		totalOdd &= low
		prefixEven &= low
		prefixOdd &= low
	}

	// The top lane of the product is the sum of the lanes, weighted by the
	// multiplier's lanes in reverse.
	const (
		ones = 0x0001000100010001
		even = 0x0008000600040002
		odd  = 0x0007000500030001
	)
	sum1 = uint32((totalEven + totalOdd) * ones >> 48)
	sum2 = uint32((prefixEven+prefixOdd)*ones>>48)*8 +
		uint32(totalEven*even>>48) + uint32(totalOdd*odd>>48)

	for _, v := range b {
		sum1 += uint32(v)
		sum2 += sum1
	}
	return sum1, sum2
}
