package wire

import (
	"encoding/binary"
	"errors"
)

const (
	MessageHeaderSize = 6

	// MaxMessages is the most messages one packet carries.
	MaxMessages = 32

	// MaxPayload is the largest message payload that fits a packet of
	// MaxDatagram bytes whatever its acknowledgement block.
	MaxPayload = MaxDatagram - HeaderSize - AckBlockMax - MessageHeaderSize

	// TypeControl and the types above it belong to the transport.
	TypeControl = 0xf0

	// TypeHello is the one message of a HELLO.
	TypeHello = 0xf0

	// TypeFragment is one chunk of a larger message: a Fragment. Like the
	// types below it travels in sessions that agreed on OptionControl.
	TypeFragment = 0xf1

	// TypeSkip takes the place of a message that its sender gave up. It has no
	// payload; channel and id are the message's.
	TypeSkip = 0xf2

	// TypeSkipped answers a TypeSkip that was taken for the message.
	TypeSkipped = 0xf3

	// TypePad is a message that nobody reads.
	TypePad = 0xf4

	// Unordered is the bit of Message.Channel that asks for delivery without
	// regard to the order of ids.
	Unordered = 0x80
)

// Message is one message of a packet.
type Message struct {
	Type    uint8 // 0 is illegal; TypeControl and above are the transport's
	Channel uint8 // low seven bits the channel's number; Unordered
	ID      uint16
	Payload []byte // aliases the packet it was read from
}

var (
	errMessageTruncated = errors.New("read message: truncated")
	errMessageType      = errors.New("read message: type 0")
	errMessageControl   = errors.New("check messages: type is not one of a session")
	errMessageNone      = errors.New("check messages: no message")
	errMessageMany      = errors.New("check messages: more than 32")
)

// AppendMessage appends m. It panics on type 0 and on a payload longer than
// the length field can say.
func AppendMessage(b []byte, m Message) []byte {
	if m.Type == 0 {
		panic("wire: message type 0")
	}
	if len(m.Payload) > 0xffff {
		panic("wire: message payload exceeds 65,535 bytes")
	}
	b = append(b, m.Type, m.Channel)
	b = binary.BigEndian.AppendUint16(b, m.ID)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Payload)))
	return append(b, m.Payload...)
}

// ParseMessage reads the message at the front of b. Payload and rest alias b.
func ParseMessage(b []byte) (m Message, rest []byte, err error) {
	if len(b) < MessageHeaderSize {
		return Message{}, nil, errMessageTruncated
	}
	if b[0] == 0 {
		return Message{}, nil, errMessageType
	}
	end := MessageHeaderSize + int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < end {
		return Message{}, nil, errMessageTruncated
	}
	m = Message{
		Type:    b[0],
		Channel: b[1],
		ID:      binary.BigEndian.Uint16(b[2:]),
		Payload: b[MessageHeaderSize:end:end],
	}
	return m, b[end:], nil
}

// CheckMessages returns how many messages body holds when they are what a
// packet inside a session may carry: 1 to MaxMessages messages, of application
// types or TypeFragment to TypePad, which fill the body exactly.
func CheckMessages(body []byte) (n int, err error) {
	n, _, err = checkMessages(body)
	return n, err
}

func checkMessages(body []byte) (n int, fragment bool, err error) {
	if len(body) == 0 {
		return 0, false, errMessageNone
	}
	for len(body) > 0 {
		if n == MaxMessages {
			return 0, false, errMessageMany
		}
		m, rest, err := ParseMessage(body)
		if err != nil {
			return 0, false, err
		}
		if m.Type == TypeControl || m.Type > TypePad {
			return 0, false, errMessageControl
		}
		fragment = fragment || m.Type == TypeFragment
		body = rest
		n++
	}
	return n, fragment, nil
}
