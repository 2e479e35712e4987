package message

import (
	"encoding/binary"
	"math"
)

// Sizes of the fixed layouts, in bytes.
const (
	PositionSize      = 20 // of a PositionUpdate without time and orientation
	PositionFullSize  = 40 // of one with them
	PositionAckSize   = 5
	GameStateAckSize  = 8
	GameStateSyncHead = 20 // the bits of the snapshot follow
	ClockRequestSize  = 12
	ClockAnswerSize   = 28
)

// The flag of GameStateAck.
const gameStateWantsFull = 0x01

// Quaternion is an orientation: x, y, z and w.
type Quaternion [4]float32

// PositionUpdate says where the sender is.
type PositionUpdate struct {
	Sequence uint32 // the sender's own running number, wraps
	X, Y, Z  float32

	// Full tells whether Time and Orientation are there.
	Full        bool
	Time        uint32 // ms of the server's clock, as the sender reckons it, modulo 2^32
	Orientation Quaternion
}

// AppendTo appends the payload to b. It panics when a number is infinite or NaN.
func (p PositionUpdate) AppendTo(b []byte) []byte {
	if !finite(p.X, p.Y, p.Z) || p.Full && !finite(p.Orientation[:]...) {
		panic("message: position that is infinite or NaN")
	}
	b = append(b, TypePositionUpdate)
	b = binary.BigEndian.AppendUint32(b, p.Sequence)
	b = appendFloats(append(b, 0, 0, 0), p.X, p.Y, p.Z)
	if p.Full {
		b = binary.BigEndian.AppendUint32(b, p.Time)
		b = appendFloats(b, p.Orientation[:]...)
	}
	return b
}

// PositionView reads a PositionUpdate in place: it is the payload, as long as that is
// valid.
type PositionView []byte

// ViewPosition checks the payload of a PositionUpdate. Its numbers are finite, and
// that is all that is known of them: a quaternion need not have the length 1.
func ViewPosition(payload []byte) (PositionView, error) {
	if len(payload) != PositionSize && len(payload) != PositionFullSize {
		return nil, ErrLength
	}
	// The type and the three bytes of zeros are looked at together.
	head := binary.BigEndian.Uint64(payload)
	if head>>56 != TypePositionUpdate {
		return nil, ErrType
	}
	if head&0xffffff != 0 {
		return nil, ErrField
	}
	v := PositionView(payload)
	if x, y, z := v.At(); !finite(x, y, z) {
		return nil, ErrNumber
	}
	if v.Full() {
		if q := v.Orientation(); !finite(q[0], q[1], q[2], q[3]) {
			return nil, ErrNumber
		}
	}
	return v, nil
}

// Sequence is the sender's running number.
func (v PositionView) Sequence() uint32 { return binary.BigEndian.Uint32(v[1:]) }

// At is the position.
func (v PositionView) At() (x, y, z float32) {
	_ = v[PositionSize-1]
	return floatAt(v[8:]), floatAt(v[12:]), floatAt(v[16:])
}

// Full tells whether Time and Orientation are there.
func (v PositionView) Full() bool { return len(v) == PositionFullSize }

// Time is in milliseconds of the server's clock, modulo 2^32. It panics unless Full.
func (v PositionView) Time() uint32 { return binary.BigEndian.Uint32(v[20:]) }

// Orientation panics unless Full.
func (v PositionView) Orientation() Quaternion {
	_ = v[PositionFullSize-1]
	return Quaternion{floatAt(v[24:]), floatAt(v[28:]), floatAt(v[32:]), floatAt(v[36:])}
}

// Update returns a copy of what v shows.
func (v PositionView) Update() PositionUpdate {
	p := PositionUpdate{Sequence: v.Sequence(), Full: v.Full()}
	p.X, p.Y, p.Z = v.At()
	if p.Full {
		p.Time, p.Orientation = v.Time(), v.Orientation()
	}
	return p
}

// AppendPositionAck appends the payload that acknowledges the PositionUpdate with that
// sequence, and all before it.
func AppendPositionAck(b []byte, sequence uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, TypePositionAck), sequence)
}

// ParsePositionAck reads the payload of a PositionAck.
func ParsePositionAck(payload []byte) (sequence uint32, err error) {
	if err := checkFixed(payload, TypePositionAck, PositionAckSize); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(payload[1:]), nil
}

// GameStateAck says which snapshot is the newest that the client can decode deltas
// against.
type GameStateAck struct {
	WantsFull bool   // there is none, or it is of no use: the next one has to be complete
	Snapshot  uint32 // 0 with WantsFull
}

// AppendTo appends the payload to b.
func (a GameStateAck) AppendTo(b []byte) []byte {
	flags := byte(0)
	if a.WantsFull {
		if a.Snapshot != 0 {
			panic("message: acknowledges a snapshot and wants a complete one")
		}
		flags = gameStateWantsFull
	}
	return binary.BigEndian.AppendUint32(append(b, TypeGameStateAck, flags, 0, 0), a.Snapshot)
}

// ParseGameStateAck reads the payload of a GameStateAck.
func ParseGameStateAck(payload []byte) (GameStateAck, error) {
	if err := checkFixed(payload, TypeGameStateAck, GameStateAckSize); err != nil {
		return GameStateAck{}, err
	}
	a := GameStateAck{payload[1] == gameStateWantsFull, binary.BigEndian.Uint32(payload[4:])}
	if payload[1]&^gameStateWantsFull != 0 || payload[2] != 0 || payload[3] != 0 ||
		a.WantsFull && a.Snapshot != 0 {
		return GameStateAck{}, ErrField
	}
	return a, nil
}

// GameStateSync is the head of a snapshot.
type GameStateSync struct {
	// Age is how many numbers before this snapshot the one is that it is a delta
	// against; 0 in a complete one.
	Age      uint16
	Snapshot uint32 // number, wraps
	Input    uint32 // sequence of the receiver's newest PositionUpdate in it
	Time     uint64 // µs of the server's clock
}

// Base is the number of the snapshot that this one is a delta against; ok is false
// for a complete one.
func (s GameStateSync) Base() (number uint32, ok bool) {
	return s.Snapshot - uint32(s.Age), s.Age != 0
}

// AppendTo appends the head to b. The bits of the snapshot go behind it.
func (s GameStateSync) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, TypeGameStateSync, 0), s.Age)
	b = binary.BigEndian.AppendUint32(b, s.Snapshot)
	b = binary.BigEndian.AppendUint32(b, s.Input)
	return binary.BigEndian.AppendUint64(b, s.Time)
}

// ParseGameStateSync reads the head of a snapshot. Bits is the rest of the payload.
func ParseGameStateSync(payload []byte) (s GameStateSync, bits []byte, err error) {
	if len(payload) < GameStateSyncHead {
		return s, nil, ErrLength
	}
	if payload[0] != TypeGameStateSync {
		return s, nil, ErrType
	}
	if payload[1] != 0 {
		return s, nil, ErrField
	}
	s = GameStateSync{
		Age:      binary.BigEndian.Uint16(payload[2:]),
		Snapshot: binary.BigEndian.Uint32(payload[4:]),
		Input:    binary.BigEndian.Uint32(payload[8:]),
		Time:     binary.BigEndian.Uint64(payload[12:]),
	}
	return s, payload[GameStateSyncHead:], nil
}

// ClockRequest asks for the time of the server.
type ClockRequest struct {
	Sent uint64 // µs of the client's clock, which only the client understands
}

// AppendTo appends the payload to b.
func (r ClockRequest) AppendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint64(append(b, TypeClockRequest, 0, 0, 0), r.Sent)
}

// ParseClockRequest reads the payload of a ClockRequest.
func ParseClockRequest(payload []byte) (ClockRequest, error) {
	if err := checkFixed(payload, TypeClockRequest, ClockRequestSize); err != nil {
		return ClockRequest{}, err
	}
	if payload[1] != 0 || payload[2] != 0 || payload[3] != 0 {
		return ClockRequest{}, ErrField
	}
	return ClockRequest{binary.BigEndian.Uint64(payload[4:])}, nil
}

// ClockAnswer answers a ClockRequest, as in RFC 5905 section 8.
type ClockAnswer struct {
	Sent     uint64 // of the request
	Received uint64 // µs of the server's clock when the request came
	Answered uint64 // and when this left, not before Received
}

// AppendTo appends the payload to b. It panics when it was answered before it was
// received.
func (a ClockAnswer) AppendTo(b []byte) []byte {
	if a.Answered < a.Received {
		panic("message: answered before it was received")
	}
	b = binary.BigEndian.AppendUint64(append(b, TypeClockAnswer, 0, 0, 0), a.Sent)
	b = binary.BigEndian.AppendUint64(b, a.Received)
	return binary.BigEndian.AppendUint64(b, a.Answered)
}

// ParseClockAnswer reads the payload of a ClockAnswer.
func ParseClockAnswer(payload []byte) (ClockAnswer, error) {
	if err := checkFixed(payload, TypeClockAnswer, ClockAnswerSize); err != nil {
		return ClockAnswer{}, err
	}
	if payload[1] != 0 || payload[2] != 0 || payload[3] != 0 {
		return ClockAnswer{}, ErrField
	}
	a := ClockAnswer{
		Sent:     binary.BigEndian.Uint64(payload[4:]),
		Received: binary.BigEndian.Uint64(payload[12:]),
		Answered: binary.BigEndian.Uint64(payload[20:]),
	}
	if a.Answered < a.Received {
		return ClockAnswer{}, ErrNumber
	}
	return a, nil
}

func checkFixed(payload []byte, typ uint8, size int) error {
	if len(payload) != size {
		return ErrLength
	}
	if payload[0] != typ {
		return ErrType
	}
	return nil
}

func appendFloats(b []byte, all ...float32) []byte {
	for _, f := range all {
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

func floatAt(b []byte) float32 { return math.Float32frombits(binary.BigEndian.Uint32(b)) }

// finite tells whether no number is infinite or NaN, which have all bits of the
// exponent set.
func finite(all ...float32) bool {
	const exponent = 0xff << 23
	for _, f := range all {
		if math.Float32bits(f)&exponent == exponent {
			return false
		}
	}
	return true
}
