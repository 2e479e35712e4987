package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Profile is a way to write packets. Both are read into the same Header,
// AckBlock and messages, and everything behind that is shared. The zero value
// is Standard.
type Profile uint8

const (
	Standard Profile = iota
	Compact          // a header of 8 bytes, and UDP's checksum instead of its own
)

// String returns the profile's name.
func (p Profile) String() string {
	switch p {
	case Standard:
		return "standard"
	case Compact:
		return "compact"
	}
	return "unknown"
}

// ParseProfile is the reverse of String.
func ParseProfile(name string) (Profile, error) {
	for p := Standard; p <= Compact; p++ {
		if p.String() == name {
			return p, nil
		}
	}
	return 0, fmt.Errorf("profile %q: want %q or %q", name, Standard, Compact)
}

// Overhead is the most bytes that a packet of the profile has in front of its
// messages.
func (p Profile) Overhead() int {
	if p == Compact {
		return compactHeaderSize + compactAckSize + compactEchoSize + 8*AckWordsMax
	}
	return HeaderSize + AckBlockMax
}

// ServerSequence returns the server's initial sequence that goes with cookie.
func (p Profile) ServerSequence(cookie uint64) uint32 {
	if p == Compact {
		return uint32(uint16(CookieSequence(cookie)))
	}
	return CookieSequence(cookie)
}

// ClientSequence makes a client's initial sequence out of random bits.
func (p Profile) ClientSequence(random uint32) uint32 {
	if p == Compact {
		return uint32(uint16(random))
	}
	return random
}

// ResetToken returns what a RST of a session that cookie opened has to know.
// It means nothing in the standard profile.
func (p Profile) ResetToken(cookie uint64) uint32 {
	if p == Compact {
		return uint32(cookie >> 32)
	}
	return 0
}

// ParseHeader reads what a packet begins with. It judges neither flags nor
// checksum; numbers are complete only after Expand, but those of the handshake
// are. The body, which the acknowledgement block begins, aliases b.
func (p Profile) ParseHeader(b []byte) (h Header, body []byte, err error) {
	if p == Compact {
		return parseCompactHeader(b)
	}
	return ParseHeader(b)
}

// LegalAtServer reports whether a client may send a packet with such flags.
func (p Profile) LegalAtServer(h *Header) bool {
	if p == Compact {
		return h.legalCompact(FlagSYN)
	}
	return h.Flags.LegalAtServer()
}

// LegalAtClient reports whether a server may send a packet with such flags.
func (p Profile) LegalAtClient(h *Header) bool {
	if p == Compact {
		return h.legalCompact(FlagSYN | FlagACK)
	}
	return h.Flags.LegalAtClient()
}

// Verify reports whether the packet b carries its own checksum. In the compact
// profile that is UDP's, which whoever took it out of its frame has verified.
func (p Profile) Verify(b []byte) bool { return p == Compact || Verify(b) }

// IsHello reports whether a packet claims to return a cookie: ParseHello
// tells whether it does. The first byte of such a body is neither a legal
// acknowledgement block nor a legal message of a session.
func (p Profile) IsHello(h *Header, body []byte) bool {
	return h.Flags == FlagACK|FlagPSH && len(body) > 0 && body[0] == TypeHello && h.says == 0 && !h.Fragment
}

// Reference is what the 16-bit numbers of a compact packet lie near.
type Reference struct {
	Reliable   uint32 // next reliable sequence expected
	Unreliable uint32 // highest unreliable sequence seen
	Ack        uint32 // oldest reliable sequence that is not acknowledged
}

// Expand completes the numbers of a packet of a session that is no HELLO.
func (p Profile) Expand(h *Header, ref Reference) {
	if p != Compact {
		return
	}
	near := ref.Unreliable
	if h.Flags&(FlagPSH|FlagRST) != 0 {
		near = ref.Reliable
	}
	h.Sequence = expand(uint16(h.Sequence), near)
	if h.Flags&FlagACK != 0 {
		h.Ack = expand(uint16(h.Ack), ref.Ack)
	}
}

// expand returns the number nearest to near whose low 16 bits are given.
func expand(low uint16, near uint32) uint32 {
	return near + uint32(int32(int16(low-uint16(near))))
}

// ParseBlock reads the acknowledgement block of a packet of a session, with
// SACK or without, and returns what follows it. The block says nothing where
// there is none.
func (p Profile) ParseBlock(h *Header, sack bool, body []byte, a *AckBlock) (rest []byte, err error) {
	switch {
	case p == Compact:
		return parseCompactBlock(h, sack, body, a)
	case sack:
		return ParseAckBlock(body, a)
	}
	*a = AckBlock{}
	return body, nil
}

// RoundTrip returns the microseconds that block a, which arrived at now,
// measures, 0 if it does not. Implausible ones are for the caller to refuse.
func (p Profile) RoundTrip(now uint64, a *AckBlock) uint64 {
	if a.Echo == 0 {
		return 0
	}
	rtt := now - a.Echo - uint64(a.Delay)
	if p == Compact {
		return uint64(uint32(rtt))
	}
	return rtt
}

var errFragmentFlag = errors.New("check messages: flag of fragments and messages disagree")

// CheckMessages is the function CheckMessages, and checks what the header says
// of the messages.
func (p Profile) CheckMessages(h *Header, body []byte) (n int, err error) {
	n, fragment, err := checkMessages(body)
	if err == nil && p == Compact && fragment != h.Fragment {
		return 0, errFragmentFlag
	}
	return n, err
}

// AppendPacket appends a finished packet of a session: not one of the
// handshake, and no RST. Sessions without SACK have no block, which is nil
// then. What a compact packet without flag ACK has no room for is left out. The
// body is messages, or the reason of a FIN.
func (p Profile) AppendPacket(b []byte, h Header, a *AckBlock, body []byte) []byte {
	if p == Compact {
		return appendCompactPacket(b, &h, a, body)
	}
	start := len(b)
	b = h.AppendTo(b)
	if a != nil {
		b = a.AppendTo(b)
	}
	b = append(b, body...)
	Seal(b[start:])
	return b
}

// AppendReset appends a finished RST with the numbers and the time of h.
func (p Profile) AppendReset(b []byte, h Header, why Reason, token uint32) []byte {
	h.Flags = FlagACK | FlagRST
	if p == Compact {
		b = appendCompactHeader(b, &h, 0)
		return binary.BigEndian.AppendUint32(append(b, byte(why)), token)
	}
	return p.AppendPacket(b, h, nil, []byte{byte(why)})
}

// ParseReset reads the body of a RST, whose header ParseHeader read.
func (p Profile) ParseReset(h *Header, body []byte, token uint32) (Reason, error) {
	if p == Compact {
		const size = ReasonSize + 4
		if h.says != 0 || len(body) != size || binary.BigEndian.Uint32(body[ReasonSize:]) != token {
			return 0, errToken
		}
		body = body[:ReasonSize]
	}
	return ParseReason(body)
}

var errToken = errors.New("read reset: not a reason and the session's token")

// AppendSYN appends a finished SYN, padded to MinSYN. opts carries no cookie.
func (p Profile) AppendSYN(b []byte, isn uint32, opts Options, timestamp uint64) []byte {
	if p != Compact {
		return AppendSYN(b, isn, opts, timestamp)
	}
	if opts.HasCookie {
		panic("wire: cookie in a syn")
	}
	start := len(b)
	b = appendCompactHeader(b, &Header{Sequence: isn, Flags: FlagSYN, Timestamp: timestamp}, 0)
	b = opts.appendTo(b)
	for len(b)-start < MinSYN {
		b = append(b, OptionPad)
	}
	return b
}

// AppendSYNACK appends the finished answer to the SYN whose sequence was
// clientISN. opts carries the cookie, which fixes the server's sequence.
func (p Profile) AppendSYNACK(b []byte, clientISN uint32, opts Options, timestamp uint64) []byte {
	if p != Compact {
		return AppendSYNACK(b, clientISN, opts, timestamp)
	}
	if !opts.HasCookie {
		panic("wire: syn-ack without a cookie")
	}
	b = appendCompactHeader(b, &Header{
		Sequence:  p.ServerSequence(opts.Cookie),
		Ack:       clientISN + 1,
		Flags:     FlagSYN | FlagACK,
		Window:    ReceiveWindow,
		Timestamp: timestamp,
	}, 0)
	return opts.appendTo(b)
}

// ParseSYNACK reads a whole SYN|ACK. The caller has found its flags legal,
// verifies it, and compares its numbers with its own and the cookie's.
func (p Profile) ParseSYNACK(packet []byte) (h Header, opts Options, err error) {
	if p != Compact {
		return ParseSYNACK(packet)
	}
	h, body, err := parseCompactHeader(packet)
	if err != nil {
		return Header{}, Options{}, err
	}
	if h.Flags != FlagSYN|FlagACK || h.says != 0 {
		return Header{}, Options{}, errSYNACK
	}
	if opts, err = parseReplyOptions(body); err != nil {
		return Header{}, Options{}, err
	}
	return h, opts, nil
}

// AppendHello appends the finished packet that completes a handshake. opts
// carries the cookie of the SYN|ACK.
func (p Profile) AppendHello(b []byte, clientISN, serverISN uint32, opts Options, timestamp uint64) []byte {
	if p != Compact {
		return AppendHello(b, clientISN, serverISN, opts, timestamp)
	}
	if !opts.HasCookie {
		panic("wire: hello without a cookie")
	}
	b = appendCompactHeader(b, &Header{
		Sequence:  clientISN + 1,
		Ack:       serverISN + 1,
		Flags:     FlagACK | FlagPSH,
		Window:    ReceiveWindow,
		Timestamp: timestamp,
	}, 0)
	return appendHelloMessage(b, opts)
}
