package message

import (
	"encoding/binary"
	"math"

	"github.com/xrudp/xrudp/userspace/snapshot"
)

// Sizes of the fixed layouts, in bytes.
const (
	PositionSize      = 20 // of a PositionUpdate without time and orientation
	PositionFullSize  = 40 // of one with them
	PositionAckSize   = 5
	AssignedSize      = 6
	GameStateAckSize  = 1 + snapshot.AckSize
	GameStateSyncHead = 3 // the snapshot follows
	ClockRequestSize  = 12
	ClockAnswerSize   = 28
)

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

// AppendGameStateAck appends the payload that acknowledges snapshots.
func AppendGameStateAck(b []byte, a snapshot.Ack) []byte {
	return a.AppendTo(append(b, TypeGameStateAck))
}

// ParseGameStateAck reads the payload of a GameStateAck.
func ParseGameStateAck(payload []byte) (snapshot.Ack, error) {
	if err := checkFixed(payload, TypeGameStateAck, GameStateAckSize); err != nil {
		return snapshot.Ack{}, err
	}
	a, err := snapshot.ParseAck(payload[1:])
	if err != nil {
		return snapshot.Ack{}, ErrField
	}
	return a, nil
}

// GameStateSync is the head of a snapshot, which says the rest about itself.
type GameStateSync struct {
	// Input is the low half of the sequence of the receiver's newest
	// PositionUpdate in it; 0 before the first.
	Input uint16
}

// AppendTo appends the head to b. The snapshot goes behind it.
func (s GameStateSync) AppendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint16(append(b, TypeGameStateSync), s.Input)
}

// ParseGameStateSync reads the head of a snapshot, which is the rest of the payload.
func ParseGameStateSync(payload []byte) (s GameStateSync, snapshot []byte, err error) {
	if len(payload) <= GameStateSyncHead {
		return s, nil, ErrLength
	}
	if payload[0] != TypeGameStateSync {
		return s, nil, ErrType
	}
	return GameStateSync{binary.BigEndian.Uint16(payload[1:])}, payload[GameStateSyncHead:], nil
}

// Stream is what the snapshots bear that a player gets in a room, by the numbers of
// Connected: so what is late from another room is told apart.
func Stream(player, room uint32) uint8 {
	return uint8((player*2654435761 ^ room*2246822519) >> 26)
}

// Assigned tells a player which entity it moves.
type Assigned struct {
	None bool // it moves nothing
	ID   snapshot.ID
}

// AppendTo appends the payload to b.
func (a Assigned) AppendTo(b []byte) []byte {
	if a.None {
		return append(b, TypeAssigned, 0, 0, 0, 0, 0)
	}
	b = binary.BigEndian.AppendUint16(append(b, TypeAssigned, 1), a.ID.Slot)
	return binary.BigEndian.AppendUint16(b, a.ID.Generation)
}

// ParseAssigned reads the payload of an Assigned.
func ParseAssigned(payload []byte) (Assigned, error) {
	if err := checkFixed(payload, TypeAssigned, AssignedSize); err != nil {
		return Assigned{}, err
	}
	a := Assigned{payload[1] == 0, snapshot.ID{
		Slot: binary.BigEndian.Uint16(payload[2:]), Generation: binary.BigEndian.Uint16(payload[4:]),
	}}
	if payload[1] > 1 || a.None && a.ID != (snapshot.ID{}) {
		return Assigned{}, ErrField
	}
	return a, nil
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
