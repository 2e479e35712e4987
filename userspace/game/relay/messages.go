package relay

import (
	"encoding/binary"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Types of messages.
const (
	TypePublish = 0x10 // from a client
	TypeBlock   = 0x90 // from the server
)

const (
	// MaxData is how much one message may publish, in bytes.
	MaxData = 1024

	// MaxBlock is the size of the largest block in bytes: what fits into one
	// packet to anybody.
	MaxBlock = wire.MaxPayload

	blockHead = 1
	entryHead = 6
)

// AppendPublish appends a publish message. It panics where the data is empty or
// larger than MaxData.
func AppendPublish(b, data []byte) []byte {
	if len(data) == 0 || len(data) > MaxData {
		panic("relay: nothing to publish, or too much")
	}
	return append(append(b, TypePublish), data...)
}

// ParsePublish returns the data of a publish message, which alias it. The error
// is a message.Error.
func ParsePublish(b []byte) ([]byte, error) {
	switch {
	case len(b) < 2 || b[0] != TypePublish:
		return nil, message.ErrMalformed
	case len(b) > 1+MaxData:
		return nil, message.ErrTooLarge
	}
	return b[1:], nil
}

// Entry is what one player published.
type Entry struct {
	Player uint32
	Data   []byte // 1 to MaxData bytes
}

// appendEntry appends to a block, and begins it where b is empty.
func appendEntry(b []byte, e Entry) []byte {
	if len(b) == 0 {
		b = append(b, TypeBlock)
	}
	b = binary.BigEndian.AppendUint32(b, e.Player)
	b = binary.BigEndian.AppendUint16(b, uint16(len(e.Data)))
	return append(b, e.Data...)
}

// Block reads a block message, entry by entry.
type Block struct{ rest []byte }

// ParseBlock checks a block as a whole. Its entries alias b. The error is a
// message.Error.
func ParseBlock(b []byte) (Block, error) {
	if len(b) <= blockHead || len(b) > MaxBlock || b[0] != TypeBlock {
		return Block{}, message.ErrMalformed
	}
	for rest := b[blockHead:]; len(rest) > 0; {
		if len(rest) < entryHead {
			return Block{}, message.ErrMalformed
		}
		n := int(binary.BigEndian.Uint16(rest[4:]))
		if n == 0 || n > MaxData || n > len(rest)-entryHead {
			return Block{}, message.ErrMalformed
		}
		rest = rest[entryHead+n:]
	}
	return Block{b[blockHead:]}, nil
}

// Next returns the next entry, false behind the last.
func (b *Block) Next() (e Entry, ok bool) {
	if len(b.rest) == 0 {
		return Entry{}, false
	}
	end := entryHead + int(binary.BigEndian.Uint16(b.rest[4:]))
	e = Entry{Player: binary.BigEndian.Uint32(b.rest), Data: b.rest[entryHead:end:end]}
	b.rest = b.rest[end:]
	return e, true
}
