package wire

import (
	"encoding/binary"

	"github.com/xrudp/xrudp/userspace/internal/simd"
)

// Checksum returns the checksum of the packet b, whose own checksum field
// counts as zero. It panics if b is shorter than a header.
func Checksum(b []byte) uint16 {
	_ = b[HeaderSize-1]
	sum1, sum2 := simd.Fletcher(b)

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
