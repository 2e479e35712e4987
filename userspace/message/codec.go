package message

import (
	"math"
	"reflect"

	"github.com/tinylib/msgp/msgp"
)

// Message is a message in MessagePack: those of this package, and those that a game
// generates with msgp and gives a type of its own (OfGame). One that is a Checker too
// is checked after reading and before writing.
type Message interface {
	msgp.Marshaler
	msgp.Unmarshaler
	msgp.Sizer

	// Kind is the type, the same for all values.
	Kind() uint8
}

// Checker is a Message not all of whose values are legal. Check returns an Error.
type Checker interface{ Check() error }

// The encoding byte, the second of a payload that has no fixed layout.
const (
	encodingPlain = 0 // MessagePack follows
	encodingLZ4   = 1 // size u32 of the MessagePack, and one LZ4 block that holds it

	plainHead = 2 // bytes before the MessagePack
	lz4Head   = 6 // bytes before the block
)

// Append appends the payload of m to b. On an error it returns b as it was. What it
// appends Parse accepts.
func Append(b []byte, m Message) ([]byte, error) {
	typ := m.Kind()
	if !legalType(typ) {
		return b, ErrType
	}
	if err := check(m); err != nil {
		return b, err
	}
	start := len(b)
	out := append(msgp.Require(b, plainHead+m.Msgsize()), typ, encodingPlain)
	out, err := m.MarshalMsg(out)
	if err != nil {
		return b, asError(err)
	}
	if len(out)-start > MaxPayload {
		return b, ErrTooLarge
	}
	if err := checkValue(out[start+plainHead:]); err != nil {
		return b, err
	}
	return out, nil
}

// Parse reads a payload that is not compressed into a message, which is set to zero
// first: what the sender left out is zero. Binary fields of the messages of this
// package alias the payload.
//
// Whatever the payload is, the decoder of a game meets nothing that is nested deeper
// than MaxDepth, and no array or map that announces more values than there are; how
// much memory each of up to MaxValues takes is the game's business.
func Parse(payload []byte, into Message) error {
	typ := into.Kind()
	switch {
	case len(payload) < plainHead:
		return ErrLength
	case len(payload) > MaxPayload:
		return ErrTooLarge
	case payload[0] != typ || !legalType(typ):
		return ErrType
	case payload[1] != encodingPlain:
		return ErrEncoding
	}
	body := payload[plainHead:]
	if err := checkValue(body); err != nil {
		return err
	}
	if v := reflect.ValueOf(into); v.Kind() == reflect.Pointer {
		v.Elem().SetZero()
	}
	rest, err := into.UnmarshalMsg(body)
	if err != nil {
		return asError(err)
	}
	if len(rest) > 0 {
		return ErrTrailing
	}
	return check(into)
}

func check(m Message) error {
	if c, ok := m.(Checker); ok {
		return c.Check()
	}
	return nil
}

// legalType tells whether messages of type typ may be MessagePack.
func legalType(typ uint8) bool {
	switch typ {
	case TypeConnect, TypeDisconnect, TypePlayerAction, TypeReliableCommand,
		TypeLargeDataTransfer, TypeMediaStream, TypeListRooms, TypeConnected, TypeRooms, TypeRefused:
		return true
	}
	return OfGame(typ)
}

// Float is a number that is written as float32 and read from any number: some
// languages have one kind of number only, and write 1.0 as the integer 1.
type Float float32

// MarshalMsg implements msgp.Marshaler.
func (f Float) MarshalMsg(b []byte) ([]byte, error) {
	return msgp.AppendFloat32(b, float32(f)), nil
}

// UnmarshalMsg implements msgp.Unmarshaler. Numbers are rounded to the nearest
// float32, and refused beyond its range.
func (f *Float) UnmarshalMsg(b []byte) ([]byte, error) {
	var wide float64
	var rest []byte
	var err error
	switch msgp.NextType(b) {
	case msgp.IntType:
		var n int64
		n, rest, err = msgp.ReadInt64Bytes(b)
		wide = float64(n)
	case msgp.UintType:
		var n uint64
		n, rest, err = msgp.ReadUint64Bytes(b)
		wide = float64(n)
	default:
		wide, rest, err = msgp.ReadFloat64Bytes(b)
	}
	if err != nil {
		return b, err
	}
	if math.IsInf(float64(float32(wide)), 0) {
		return b, ErrNumber
	}
	*f = Float(wide)
	return rest, nil
}

// Msgsize implements msgp.Sizer.
func (Float) Msgsize() int { return msgp.Float32Size }
