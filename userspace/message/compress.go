package message

import (
	"encoding/binary"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// CompressAbove is the size of a payload in bytes up to which it is not compressed.
const CompressAbove = 512

// No byte of an LZ4 block stands for more than this many bytes.
const maxRatio = 255

// Codec compresses payloads and undoes it, in memory of its own that it uses again
// and again. The zero value is ready. Not for concurrent use: a worker has one.
type Codec struct {
	lz4    lz4.Compressor
	packed []byte
	plain  []byte
}

// Compress returns the shorter of payload and its compressed form; payloads with a
// fixed layout and those of up to CompressAbove bytes stay as they are. It is for
// reliable messages. The result aliases payload, or c until the next Compress.
func (c *Codec) Compress(payload []byte) []byte {
	if len(payload) <= CompressAbove || fixed(payload[0]) || payload[1] != encodingPlain {
		return payload
	}
	// The buffer is one byte short of the payload, so what does not fit is no gain.
	c.packed = slices.Grow(c.packed[:0], len(payload)-1)[:len(payload)-1]
	n, err := c.lz4.CompressBlock(payload[plainHead:], c.packed[lz4Head:])
	if err != nil || n == 0 {
		return payload
	}
	c.packed[0], c.packed[1] = payload[0], encodingLZ4
	binary.BigEndian.PutUint32(c.packed[2:], uint32(len(payload)-plainHead))
	return c.packed[:lz4Head+n]
}

// Expand returns payload as it was before Compress. The result has at most limit
// bytes; nothing is allocated for one that would have more. It aliases payload, or c
// until the next Expand.
func (c *Codec) Expand(payload []byte, limit int) ([]byte, error) {
	if len(payload) == 0 {
		return nil, ErrLength
	}
	if len(payload) > limit {
		return nil, ErrTooLarge
	}
	if fixed(payload[0]) {
		return payload, nil
	}
	if len(payload) < plainHead {
		return nil, ErrLength
	}
	switch payload[1] {
	case encodingPlain:
		return payload, nil
	case encodingLZ4:
	default:
		return nil, ErrEncoding
	}
	if len(payload) <= lz4Head {
		return nil, ErrLength
	}

	block := payload[lz4Head:]
	announced := uint64(binary.BigEndian.Uint32(payload[2:]))
	total := announced + plainHead
	switch {
	case total > uint64(limit):
		return nil, ErrTooLarge
	case total <= CompressAbove, total <= uint64(len(payload)), announced > maxRatio*uint64(len(block)):
		return nil, ErrCompressed
	}
	c.plain = slices.Grow(c.plain[:0], int(total))[:total]
	n, err := lz4.UncompressBlock(block, c.plain[plainHead:])
	if err != nil || uint64(n) != announced {
		return nil, ErrCompressed
	}
	c.plain[0], c.plain[1] = payload[0], encodingPlain
	return c.plain, nil
}
