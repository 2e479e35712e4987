package wire

import (
	"encoding/binary"
	"errors"
)

// The compact profile: sequence u16, flags u8, priority u8, timestamp u32, and
// with flag ACK: the first byte of a block, ack u16, window u16. If that says
// anything, echo u32, delay u16 and the bitmap follow.
const (
	compactHeaderSize = 8
	compactAckSize    = 5
	compactEchoSize   = 6

	// compactDelayUnit is what the delay is counted in, in microseconds.
	compactDelayUnit = 16
	compactDelayMax  = 0xffff * compactDelayUnit
)

// Flag bits on the wire.
const (
	compactACK  = 0x01
	compactSYN  = 0x02
	compactFIN  = 0x04
	compactRST  = 0x08
	compactFRAG = 0x10
	compactURG  = 0x20
	compactREL  = 0x40
	compactECE  = 0x80

	compactCWR      = 0x80 // of the priority byte
	compactPriority = 0x03 // of the priority byte
)

var compactFlags = [...]struct {
	bit  uint8
	flag Flags
}{
	{compactACK, FlagACK}, {compactSYN, FlagSYN}, {compactFIN, FlagFIN}, {compactRST, FlagRST},
	{compactURG, FlagURG}, {compactREL, FlagPSH}, {compactECE, FlagECE},
}

var errCompactHeader = errors.New("read header: packet shorter than 8 bytes, or 13 with an acknowledgement")

func parseCompactHeader(b []byte) (h Header, body []byte, err error) {
	if len(b) < compactHeaderSize {
		return Header{}, nil, errCompactHeader
	}
	h.Sequence = uint32(binary.BigEndian.Uint16(b))
	for _, f := range compactFlags {
		if b[2]&f.bit != 0 {
			h.Flags |= f.flag
		}
	}
	if b[3]&compactCWR != 0 {
		h.Flags |= FlagCWR
	}
	h.Fragment = b[2]&compactFRAG != 0
	h.Priority = b[3] & compactPriority
	h.odd = b[3]&^(compactCWR|compactPriority) != 0
	h.Timestamp = uint64(binary.BigEndian.Uint32(b[4:]))
	body = b[compactHeaderSize:]
	if h.Flags&FlagACK == 0 {
		return h, body, nil
	}
	if len(body) < compactAckSize {
		return Header{}, nil, errCompactHeader
	}
	h.says = body[0]
	h.Ack = uint32(binary.BigEndian.Uint16(body[1:]))
	h.Window = binary.BigEndian.Uint16(body[3:])
	body = body[compactAckSize:]
	switch {
	case Compact.IsHello(&h, body):
		h.Sequence, h.Ack = behind(h.Sequence), behind(h.Ack)
	case h.Flags&FlagSYN != 0:
		h.Ack = behind(h.Ack)
	}
	return h, body, nil
}

// behind returns the number behind the 16-bit one that comes before low: 0 is
// behind 0xffff and stands for 0x10000.
func behind(low uint32) uint32 { return (low-1)&0xffff + 1 }

// legalCompact reports whether the flags are legal; those of the handshake are
// syn.
func (h *Header) legalCompact(syn Flags) bool {
	switch {
	case h.odd:
		return false
	case h.Flags&(FlagSYN|FlagRST) != 0:
		return (h.Flags == syn || h.Flags == FlagACK|FlagRST) && h.Priority == 0 && !h.Fragment
	case h.Flags&FlagECE != 0 && h.Flags&FlagACK == 0:
		return false
	case h.Flags&FlagFIN != 0:
		return h.Flags&FlagPSH != 0 && h.Flags&FlagURG == 0 && !h.Fragment
	}
	return true
}

func parseCompactBlock(h *Header, sack bool, body []byte, a *AckBlock) (rest []byte, err error) {
	*a = AckBlock{}
	if h.says == 0 {
		return body, nil
	}
	offset, words, ok := ackRange(h.says)
	if !sack || !ok {
		return nil, errAckWords
	}
	if len(body) < compactEchoSize+8*words {
		return nil, errAckTruncated
	}
	a.Present = true
	a.Echo = uint64(binary.BigEndian.Uint32(body))
	a.Delay = uint32(binary.BigEndian.Uint16(body[4:])) * compactDelayUnit
	return a.readWords(body[compactEchoSize:], offset, words)
}

// appendCompactHeader appends the header and, with flag ACK, the front of a
// block with the given first byte.
func appendCompactHeader(b []byte, h *Header, says byte) []byte {
	if h.Priority > compactPriority {
		panic("wire: priority above 3")
	}
	flags, priority := uint8(0), h.Priority
	for _, f := range compactFlags {
		if h.Flags&f.flag != 0 {
			flags |= f.bit
		}
	}
	if h.Flags&FlagCWR != 0 {
		priority |= compactCWR
	}
	if h.Fragment {
		flags |= compactFRAG
	}
	b = binary.BigEndian.AppendUint16(b, uint16(h.Sequence))
	b = append(b, flags, priority)
	b = binary.BigEndian.AppendUint32(b, uint32(h.Timestamp))
	if h.Flags&FlagACK == 0 {
		return b
	}
	b = append(b, says)
	b = binary.BigEndian.AppendUint16(b, uint16(h.Ack))
	return binary.BigEndian.AppendUint16(b, h.Window)
}

func appendCompactPacket(b []byte, h *Header, a *AckBlock, body []byte) []byte {
	h.Fragment = h.Flags&FlagFIN == 0 && hasFragment(body)
	if h.Flags&FlagACK == 0 || a == nil || !a.Present {
		b = appendCompactHeader(b, h, 0)
		return append(b, body...)
	}
	b = appendCompactHeader(b, h, a.says())
	echo, delay := uint32(a.Echo), a.Delay
	if delay > compactDelayMax {
		echo, delay = 0, 0 // it measures nothing
	}
	b = binary.BigEndian.AppendUint32(b, echo)
	b = binary.BigEndian.AppendUint16(b, uint16(delay/compactDelayUnit))
	for _, word := range a.Bitmap[:a.Words] {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return append(b, body...)
}

// hasFragment reports whether there is a TypeFragment among messages.
func hasFragment(body []byte) bool {
	for len(body) >= MessageHeaderSize {
		if body[0] == TypeFragment {
			return true
		}
		body = body[min(len(body), MessageHeaderSize+int(binary.BigEndian.Uint16(body[4:]))):]
	}
	return false
}
