package plaza

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// Message types, clients' first. MESSAGES.md describes them.
const (
	TypePosition = 0x10
	TypeChat     = 0x11
	TypeAction   = 0x12
	TypeEcho     = 0x13
	TypeBuild    = 0x14

	TypeJoined     = 0x90
	TypeLeft       = 0x91
	TypePositions  = 0x92
	TypeChatFrom   = 0x93
	TypeActionFrom = 0x94
	TypeEchoed     = 0x95
	TypeBuilt      = 0x96
)

// Channels that the server's messages use, and clients should.
const (
	ChannelRoom     = 0 // joined and left, reliable
	ChannelPosition = 0 // unreliable sequenced, a space of its own
	ChannelChat     = 1
	ChannelAction   = 2
	ChannelBuild    = 3
)

// Limits of payloads.
const (
	MaxChat      = 512
	MaxAction    = 256
	MaxEcho      = 1024
	MaxPositions = 64 // in one message
	MaxPlan      = 65536

	placedSize = 16
)

var errLength = errors.New("wrong length")

// Position says where the sender is.
type Position struct{ X, Y, Z float32 }

// Chat is text for everyone in the room.
type Chat struct {
	Number uint32 // the sender's own running number
	Text   []byte // UTF-8
}

// Action is an event for everyone in the room.
type Action struct {
	Number uint32 // the sender's own running number
	Kind   uint16
	Data   []byte
}

// Build asks for something to be built after a plan, which may need many
// packets.
type Build struct {
	Number uint32 // the sender's own running number
	Plan   []byte
}

// Built answers a Build.
type Built struct {
	Number uint32
	Sum    uint32 // CRC-32 (IEEE) of the plan as it arrived at the server
	Plan   []byte
}

// ChatFrom is a relayed Chat.
type ChatFrom struct {
	Sender uint32
	Chat
}

// ActionFrom is a relayed Action.
type ActionFrom struct {
	Sender uint32
	Action
}

// Placed is one entry of Positions.
type Placed struct {
	Player uint32
	Position
}

// Positions is a parsed positions message. It aliases the message.
type Positions struct {
	Round   uint32
	entries []byte
}

// Len is the number of entries.
func (p Positions) Len() int { return len(p.entries) / placedSize }

// At returns entry i.
func (p Positions) At(i int) Placed {
	b := p.entries[i*placedSize : (i+1)*placedSize]
	return Placed{binary.BigEndian.Uint32(b), position(b[4:])}
}

func position(b []byte) Position {
	return Position{
		math.Float32frombits(binary.BigEndian.Uint32(b)),
		math.Float32frombits(binary.BigEndian.Uint32(b[4:])),
		math.Float32frombits(binary.BigEndian.Uint32(b[8:])),
	}
}

// AppendTo appends the payload to b.
func (m Position) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(m.X))
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(m.Y))
	return binary.BigEndian.AppendUint32(b, math.Float32bits(m.Z))
}

// AppendTo appends the payload to b. The text must be UTF-8 of 1 to MaxChat
// bytes.
func (m Chat) AppendTo(b []byte) []byte {
	if !legalText(m.Text) {
		panic("plaza: chat text is not 1 to 512 bytes of UTF-8")
	}
	b = binary.BigEndian.AppendUint32(b, m.Number)
	return append(b, m.Text...)
}

// AppendTo appends the payload to b. Data must not exceed MaxAction bytes.
func (m Action) AppendTo(b []byte) []byte {
	if len(m.Data) > MaxAction {
		panic("plaza: action data exceeds 256 bytes")
	}
	b = binary.BigEndian.AppendUint32(b, m.Number)
	b = binary.BigEndian.AppendUint16(b, m.Kind)
	return append(b, m.Data...)
}

// AppendTo appends the payload to b. The plan must be of 1 to MaxPlan bytes.
func (m Build) AppendTo(b []byte) []byte {
	if !legalPlan(m.Plan) {
		panic("plaza: plan is not of 1 to 65536 bytes")
	}
	return append(binary.BigEndian.AppendUint32(b, m.Number), m.Plan...)
}

// AppendTo appends the payload to b, as Build.AppendTo does.
func (m Built) AppendTo(b []byte) []byte {
	if !legalPlan(m.Plan) {
		panic("plaza: plan is not of 1 to 65536 bytes")
	}
	b = binary.BigEndian.AppendUint32(b, m.Number)
	b = binary.BigEndian.AppendUint32(b, m.Sum)
	return append(b, m.Plan...)
}

func legalPlan(plan []byte) bool { return len(plan) > 0 && len(plan) <= MaxPlan }

// AppendTo appends the payload to b, as Chat.AppendTo does.
func (m ChatFrom) AppendTo(b []byte) []byte {
	return m.Chat.AppendTo(binary.BigEndian.AppendUint32(b, m.Sender))
}

// AppendTo appends the payload to b, as Action.AppendTo does.
func (m ActionFrom) AppendTo(b []byte) []byte {
	return m.Action.AppendTo(binary.BigEndian.AppendUint32(b, m.Sender))
}

// AppendPlayer appends the payload of joined and left.
func AppendPlayer(b []byte, player uint32) []byte {
	return binary.BigEndian.AppendUint32(b, player)
}

// AppendPositions appends the payload of a positions message, of 1 to
// MaxPositions entries.
func AppendPositions(b []byte, round uint32, all []Placed) []byte {
	if len(all) == 0 || len(all) > MaxPositions {
		panic("plaza: a positions message has 1 to 64 entries")
	}
	b = binary.BigEndian.AppendUint32(b, round)
	for i := range all {
		b = binary.BigEndian.AppendUint32(b, all[i].Player)
		b = all[i].Position.AppendTo(b)
	}
	return b
}

// ParsePosition reads the payload of a position, with whatever coordinates.
func ParsePosition(b []byte) (Position, error) {
	if len(b) != 12 {
		return Position{}, fmt.Errorf("parse position: %w", errLength)
	}
	return position(b), nil
}

// ParseChat reads the payload of a chat. Its text aliases b.
func ParseChat(b []byte) (Chat, error) {
	if len(b) < 4 {
		return Chat{}, fmt.Errorf("parse chat: %w", errLength)
	}
	if !legalText(b[4:]) {
		return Chat{}, errText
	}
	return Chat{binary.BigEndian.Uint32(b), b[4:]}, nil
}

var errText = errors.New("parse chat: text is not 1 to 512 bytes of UTF-8")

func legalText(text []byte) bool {
	return len(text) > 0 && len(text) <= MaxChat && utf8.Valid(text)
}

// ParseAction reads the payload of an action. Its data aliases b.
func ParseAction(b []byte) (Action, error) {
	if len(b) < 6 || len(b) > 6+MaxAction {
		return Action{}, fmt.Errorf("parse action: %w", errLength)
	}
	return Action{binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:]), b[6:]}, nil
}

// ParseBuild reads the payload of a build. Its plan aliases b.
func ParseBuild(b []byte) (Build, error) {
	if len(b) < 4 || !legalPlan(b[4:]) {
		return Build{}, fmt.Errorf("parse build: %w", errLength)
	}
	return Build{binary.BigEndian.Uint32(b), b[4:]}, nil
}

// ParseBuilt reads the payload of a built. Its plan aliases b.
func ParseBuilt(b []byte) (Built, error) {
	if len(b) < 8 || !legalPlan(b[8:]) {
		return Built{}, fmt.Errorf("parse built: %w", errLength)
	}
	return Built{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), b[8:]}, nil
}

// ParsePlayer reads the payload of joined and left.
func ParsePlayer(b []byte) (uint32, error) {
	if len(b) != 4 {
		return 0, fmt.Errorf("parse player: %w", errLength)
	}
	return binary.BigEndian.Uint32(b), nil
}

// ParseChatFrom reads the payload of a relayed chat. Its text aliases b.
func ParseChatFrom(b []byte) (ChatFrom, error) {
	if len(b) < 4 {
		return ChatFrom{}, fmt.Errorf("parse relayed chat: %w", errLength)
	}
	chat, err := ParseChat(b[4:])
	if err != nil {
		return ChatFrom{}, err
	}
	return ChatFrom{binary.BigEndian.Uint32(b), chat}, nil
}

// ParseActionFrom reads the payload of a relayed action. Its data aliases b.
func ParseActionFrom(b []byte) (ActionFrom, error) {
	if len(b) < 4 {
		return ActionFrom{}, fmt.Errorf("parse relayed action: %w", errLength)
	}
	action, err := ParseAction(b[4:])
	if err != nil {
		return ActionFrom{}, err
	}
	return ActionFrom{binary.BigEndian.Uint32(b), action}, nil
}

// ParsePositions reads the payload of a positions message, which the result
// aliases.
func ParsePositions(b []byte) (Positions, error) {
	n := len(b) - 4
	if n < placedSize || n > MaxPositions*placedSize || n%placedSize != 0 {
		return Positions{}, fmt.Errorf("parse positions: %w", errLength)
	}
	return Positions{binary.BigEndian.Uint32(b), b[4:]}, nil
}
