package wire

import (
	"encoding/binary"
	"errors"
)

// FragmentHeaderSize is the size of what precedes the data in the payload of
// a TypeFragment message.
const FragmentHeaderSize = 11

// Fragment is the payload of a TypeFragment message: one chunk of a message
// that is too large for a packet. Channel and id of the whole message are
// those of the message that carries it.
type Fragment struct {
	Transfer uint32 // counts large messages of the direction and reliability, wraps
	Index    uint16 // of this chunk, below Total
	Total    uint16 // chunks of the message, 2 or more
	Chunk    uint16 // bytes of data in every chunk but the last, 1 or more
	Type     uint8  // of the whole message, an application's
	Data     []byte // aliases the packet it was read from
}

var (
	errFragmentTruncated = errors.New("read fragment: truncated")
	errFragmentTotal     = errors.New("read fragment: fewer than two chunks, or index beyond the last")
	errFragmentSize      = errors.New("read fragment: data does not fit the chunk size")
	errFragmentType      = errors.New("read fragment: not an application type")
)

// check reports why no sender writes f.
func (f *Fragment) check() error {
	switch {
	case f.Total < 2 || f.Index >= f.Total:
		return errFragmentTotal
	case len(f.Data) == 0 || len(f.Data) > int(f.Chunk):
		return errFragmentSize
	case f.Index < f.Total-1 && len(f.Data) != int(f.Chunk):
		return errFragmentSize
	case f.Type == 0 || f.Type >= TypeControl:
		return errFragmentType
	}
	return nil
}

// AppendFragment appends f as the payload of a message. It panics when f is
// not one that ParseFragment accepts.
func AppendFragment(b []byte, f Fragment) []byte {
	if err := f.check(); err != nil {
		panic("wire: " + err.Error())
	}
	b = binary.BigEndian.AppendUint32(b, f.Transfer)
	b = binary.BigEndian.AppendUint16(b, f.Index)
	b = binary.BigEndian.AppendUint16(b, f.Total)
	b = binary.BigEndian.AppendUint16(b, f.Chunk)
	b = append(b, f.Type)
	return append(b, f.Data...)
}

// ParseFragment reads the payload of a TypeFragment message. Data aliases it.
func ParseFragment(payload []byte) (Fragment, error) {
	if len(payload) < FragmentHeaderSize {
		return Fragment{}, errFragmentTruncated
	}
	f := Fragment{
		Transfer: binary.BigEndian.Uint32(payload),
		Index:    binary.BigEndian.Uint16(payload[4:]),
		Total:    binary.BigEndian.Uint16(payload[6:]),
		Chunk:    binary.BigEndian.Uint16(payload[8:]),
		Type:     payload[10],
		Data:     payload[FragmentHeaderSize:len(payload):len(payload)],
	}
	if err := f.check(); err != nil {
		return Fragment{}, err
	}
	return f, nil
}
