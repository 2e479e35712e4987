package wire

import (
	"encoding/binary"
	"errors"
)

// CookieSequence returns the server's initial sequence that goes with cookie.
func CookieSequence(cookie uint64) uint32 {
	return uint32(cookie >> 1)
}

// CookieKeyIndex returns which of the two cookie secrets made cookie.
func CookieKeyIndex(cookie uint64) int {
	return int(cookie & 1)
}

var (
	errSYN          = errors.New("read syn: other flags or fewer than 64 bytes")
	errSYNACK       = errors.New("read syn-ack: other flags")
	errHelloMessage = errors.New("read hello: not exactly one hello message")
)

// AppendSYN appends a sealed SYN, padded to MinSYN. opts carries no cookie.
func AppendSYN(b []byte, isn uint32, opts Options, timestamp uint64) []byte {
	if opts.HasCookie {
		panic("wire: cookie in a syn")
	}
	start := len(b)
	b = Header{Sequence: isn, Flags: FlagSYN, Window: ReceiveWindow, Timestamp: timestamp}.AppendTo(b)
	b = opts.appendTo(b)
	for len(b)-start < MinSYN {
		b = append(b, OptionPad)
	}
	Seal(b[start:])
	return b
}

// ParseSYN reads a whole SYN. It does not verify the checksum; the
// acknowledgement number means nothing yet and is not examined.
func ParseSYN(packet []byte) (h Header, opts Options, err error) {
	h, body, err := ParseHeader(packet)
	if err != nil {
		return Header{}, Options{}, err
	}
	if h.Flags != FlagSYN || len(packet) < MinSYN {
		return Header{}, Options{}, errSYN
	}
	opts, err = ParseSYNOptions(body)
	if err != nil {
		return Header{}, Options{}, err
	}
	return h, opts, nil
}

// AppendSYNACK appends the sealed answer to the SYN whose sequence was
// clientISN. opts carries the cookie, which fixes the server's sequence.
func AppendSYNACK(b []byte, clientISN uint32, opts Options, timestamp uint64) []byte {
	if !opts.HasCookie {
		panic("wire: syn-ack without a cookie")
	}
	start := len(b)
	b = Header{
		Sequence:  CookieSequence(opts.Cookie),
		Ack:       clientISN + 1,
		Flags:     FlagSYN | FlagACK,
		Window:    ReceiveWindow,
		Timestamp: timestamp,
	}.AppendTo(b)
	b = opts.appendTo(b)
	Seal(b[start:])
	return b
}

// ParseSYNACK reads a whole SYN|ACK. It does not verify the checksum, and the
// caller compares Ack with its own sequence.
func ParseSYNACK(packet []byte) (h Header, opts Options, err error) {
	h, body, err := ParseHeader(packet)
	if err != nil {
		return Header{}, Options{}, err
	}
	if h.Flags != FlagSYN|FlagACK {
		return Header{}, Options{}, errSYNACK
	}
	opts, err = parseReplyOptions(body)
	if err != nil {
		return Header{}, Options{}, err
	}
	return h, opts, nil
}

// AppendHello appends the sealed packet that completes a handshake. opts
// carries the cookie of the SYN|ACK.
func AppendHello(b []byte, clientISN, serverISN uint32, opts Options, timestamp uint64) []byte {
	if !opts.HasCookie {
		panic("wire: hello without a cookie")
	}
	start := len(b)
	b = Header{
		Sequence:  clientISN + 1,
		Ack:       serverISN + 1,
		Flags:     FlagACK | FlagPSH,
		Window:    ReceiveWindow,
		Timestamp: timestamp,
	}.AppendTo(b)
	b = appendHelloMessage(b, opts)
	Seal(b[start:])
	return b
}

func appendHelloMessage(b []byte, opts Options) []byte {
	b = AppendMessage(b, Message{Type: TypeHello})
	list := len(b)
	b = opts.appendTo(b)
	binary.BigEndian.PutUint16(b[list-2:], uint16(len(b)-list))
	return b
}

// IsHello reports whether body has a HELLO's outline: exactly one message, of
// type TypeHello on channel 0 with id 0, whose first option is a cookie. The
// options behind the cookie are not examined.
func IsHello(body []byte) bool {
	return len(body) >= MessageHeaderSize+cookieOptionSize &&
		body[0] == TypeHello && body[1] == 0 &&
		binary.BigEndian.Uint16(body[2:]) == 0 &&
		int(binary.BigEndian.Uint16(body[4:])) == len(body)-MessageHeaderSize &&
		body[6] == OptionCookie && body[7] == cookieSize
}

// ParseHello reads the body of a HELLO, whose header ParseHeader read.
func ParseHello(body []byte) (Options, error) {
	if !IsHello(body) {
		return Options{}, errHelloMessage
	}
	return parseReplyOptions(body[MessageHeaderSize:])
}
