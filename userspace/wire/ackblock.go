package wire

import (
	"encoding/binary"
	"errors"
)

const (
	// AckWordsMax is the most bitmap words an acknowledgement block carries.
	AckWordsMax = 4

	// AckWindowWords is how many of them the receive window has.
	AckWindowWords = ReceiveWindow / 64

	// AckBlockMin is the size of a block that says nothing.
	AckBlockMin = 1

	// AckBlockMax is the size of the largest block.
	AckBlockMax = ackBlockFixed + 8*AckWordsMax

	ackBlockFixed  = 13
	ackOffsetShift = 3
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

	// Offset counts the words of the window that are left out before those of
	// Bitmap.
	Offset int

	// Words counts the words of Bitmap in use; the first and the last of them
	// are not zero.
	Words int

	// Bitmap: bit i of word w is set when reliable packet
	// Ack + 1 + 64 (Offset+w) + i of the header arrived.
	Bitmap [AckWordsMax]uint64
}

var (
	errAckTruncated = errors.New("read acknowledgement block: truncated")
	errAckWords     = errors.New("read acknowledgement block: more than four words, or words beyond the window")
	errAckZero      = errors.New("read acknowledgement block: first or last bitmap word is zero")
)

// says returns the block's first byte. It panics when no parser would take the
// block.
func (a *AckBlock) says() byte {
	if !a.Present {
		return 0
	}
	b := byte(a.Offset<<ackOffsetShift | (1 + a.Words))
	if offset, words, ok := ackRange(b); !ok || offset != a.Offset || words != a.Words || !a.trimmed() {
		panic("wire: acknowledgement block with words that are illegal")
	}
	return b
}

// ackRange reads the first byte of a block that is not empty.
func ackRange(says byte) (offset, words int, ok bool) {
	offset = int(says >> ackOffsetShift)
	words = int(says&(1<<ackOffsetShift-1)) - 1
	return offset, words, words == 0 && offset == 0 ||
		words > 0 && words <= AckWordsMax && offset+words <= AckWindowWords
}

// trimmed reports whether the words in use begin and end with none that is
// zero.
func (a *AckBlock) trimmed() bool {
	return a.Words == 0 || a.Bitmap[0] != 0 && a.Bitmap[a.Words-1] != 0
}

// Size returns the encoded size in bytes.
func (a *AckBlock) Size() int {
	if !a.Present {
		return AckBlockMin
	}
	return ackBlockFixed + 8*a.Words
}

// AppendTo appends the encoded block. It panics when Offset or Words are out of
// range, or the first or the last word in use is zero.
func (a *AckBlock) AppendTo(b []byte) []byte {
	b = append(b, a.says())
	if !a.Present {
		return b
	}
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
	offset, words, ok := ackRange(b[0])
	if !ok {
		return nil, errAckWords
	}
	if len(b) < ackBlockFixed+8*words {
		return nil, errAckTruncated
	}
	a.Present = true
	a.Echo = binary.BigEndian.Uint64(b[1:])
	a.Delay = binary.BigEndian.Uint32(b[9:])
	return a.readWords(b[ackBlockFixed:], offset, words)
}

func (a *AckBlock) readWords(b []byte, offset, words int) (rest []byte, err error) {
	a.Offset, a.Words = offset, words
	for i := range words {
		a.Bitmap[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	if !a.trimmed() {
		*a = AckBlock{}
		return nil, errAckZero
	}
	return b[8*words:], nil
}
