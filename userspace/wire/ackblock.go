package wire

import (
	"encoding/binary"
	"errors"
)

const (
	// AckWordsMax is the most bitmap words an acknowledgement block carries.
	AckWordsMax = 4

	// AckBlockMin is the size of a block that says nothing.
	AckBlockMin = 1

	// AckBlockMax is the size of the largest block.
	AckBlockMax = ackBlockFixed + 8*AckWordsMax

	ackBlockFixed = 13
)

// AckBlock opens the body of every packet of a session that negotiated SACK,
// except HELLO and RST.
type AckBlock struct {
	// Present is false for the one-byte block that says nothing; the other
	// fields are then zero.
	Present bool

	// Echo is the timestamp of the packet that caused the acknowledgement,
	// or 0.
	Echo uint64

	// Delay is how long the acknowledgement was held, in microseconds.
	Delay uint32

	// Words counts the words of Bitmap in use; the last of them is not zero.
	Words int

	// Bitmap: bit i of word w is set when reliable packet Ack+1+64w+i of the
	// header arrived.
	Bitmap [AckWordsMax]uint64
}

var (
	errAckTruncated = errors.New("read acknowledgement block: truncated")
	errAckWords     = errors.New("read acknowledgement block: more than five words")
	errAckTrailing  = errors.New("read acknowledgement block: last bitmap word is zero")
)

// Trim sets Words to what Bitmap needs.
func (a *AckBlock) Trim() {
	a.Words = AckWordsMax
	for a.Words > 0 && a.Bitmap[a.Words-1] == 0 {
		a.Words--
	}
}

// Size returns the encoded size in bytes.
func (a *AckBlock) Size() int {
	if !a.Present {
		return AckBlockMin
	}
	return ackBlockFixed + 8*a.Words
}

// AppendTo appends the encoded block. It panics when Words is out of range or
// the last word in use is zero.
func (a *AckBlock) AppendTo(b []byte) []byte {
	if !a.Present {
		return append(b, 0)
	}
	if a.Words > 0 && a.Bitmap[a.Words-1] == 0 {
		panic("wire: acknowledgement block ends in a zero word")
	}
	b = append(b, byte(1+a.Words))
	b = binary.BigEndian.AppendUint64(b, a.Echo)
	b = binary.BigEndian.AppendUint32(b, a.Delay)
	for _, word := range a.Bitmap[:a.Words] {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b
}

// ParseAckBlock reads the block at the front of b into a. The rest aliases b.
func ParseAckBlock(b []byte, a *AckBlock) (rest []byte, err error) {
	*a = AckBlock{}
	if len(b) == 0 {
		return nil, errAckTruncated
	}
	if b[0] == 0 {
		return b[1:], nil
	}
	words := int(b[0]) - 1
	if words > AckWordsMax {
		return nil, errAckWords
	}
	size := ackBlockFixed + 8*words
	if len(b) < size {
		return nil, errAckTruncated
	}
	if words > 0 && binary.BigEndian.Uint64(b[size-8:]) == 0 {
		return nil, errAckTrailing
	}
	a.Present = true
	a.Echo = binary.BigEndian.Uint64(b[1:])
	a.Delay = binary.BigEndian.Uint32(b[9:])
	a.Words = words
	for i := range words {
		a.Bitmap[i] = binary.BigEndian.Uint64(b[ackBlockFixed+8*i:])
	}
	return b[size:], nil
}
