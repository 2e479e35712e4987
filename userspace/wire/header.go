// Package wire encodes and decodes what travels in a UDP payload, and the
// Ethernet, IP and UDP headers around it. Functions are of the standard profile
// unless they say otherwise; those of Profile do it in either. PROTOCOL.md is the
// normative text.
//
// Readers trust nothing: they return errors and never panic. Writers trust
// their caller and panic on misuse. Nothing here allocates, blocks or keeps
// state; every function may be called concurrently on distinct buffers.
package wire

import (
	"encoding/binary"
	"errors"
)

// Sizes and limits of the standard profile.
const (
	HeaderSize = 21

	// MaxDatagram is the largest UDP payload to send before path-MTU discovery.
	MaxDatagram = 1200

	// MaxDatagramLimit is the largest UDP payload that is ever sent: what an
	// Ethernet frame carries over IPv4.
	MaxDatagramLimit = 1472

	// MinDatagram is the least limit an MTU option can express: what every
	// IPv4 host must accept (RFC 791) less its IP and UDP headers.
	MinDatagram = 548

	// MinSYN keeps the reply to a SYN smaller than the SYN.
	MinSYN = 64

	// ReceiveWindow is the reliable receive window in packets.
	ReceiveWindow = 1024

	// ReplayWindow is the replay window of the unreliable space in packets.
	ReplayWindow = 64
)

const (
	offSequence  = 0
	offAck       = 4
	offFlags     = 8
	offWindow    = 9
	offChecksum  = 11
	offTimestamp = 13
)

// Flags are the flag bits of a packet header.
type Flags uint8

const (
	FlagSYN Flags = 1 << iota
	FlagACK
	FlagFIN
	FlagRST
	FlagPSH // reliable
	FlagURG
	FlagECE
	FlagCWR
)

// LegalAtServer reports whether a client may send the combination.
func (f Flags) LegalAtServer() bool {
	return f == FlagSYN || f.legalInSession()
}

// LegalAtClient reports whether a server may send the combination.
func (f Flags) LegalAtClient() bool {
	return f == FlagSYN|FlagACK || f.legalInSession()
}

func (f Flags) legalInSession() bool {
	switch f &^ (FlagURG | FlagECE | FlagCWR) {
	case FlagACK, FlagACK | FlagPSH:
		return true
	case FlagACK | FlagPSH | FlagFIN:
		return f&FlagURG == 0
	case FlagACK | FlagRST:
		return f == FlagACK|FlagRST
	}
	return false
}

// String lists the set flags joined by "|", or "0" when there are none.
func (f Flags) String() string {
	if f == 0 {
		return "0"
	}
	names := [...]string{"SYN", "ACK", "FIN", "RST", "PSH", "URG", "ECE", "CWR"}
	s := ""
	for i, name := range names {
		if f>>i&1 == 0 {
			continue
		}
		if s != "" {
			s += "|"
		}
		s += name
	}
	return s
}

// Header is the packet header of either profile, without the checksum, which
// Seal writes and Verify checks over the finished packet.
type Header struct {
	Sequence  uint32
	Ack       uint32 // next reliable sequence expected
	Flags     Flags
	Window    uint16 // packets beyond Ack that the sender has room for
	Timestamp uint64 // microseconds of the sender's clock, 32 bits in compact packets

	// Of compact packets.
	Priority uint8 // 0 critical to 3 low; changes nothing for the receiver
	Fragment bool  // TypeFragment is among the messages; AppendPacket sets it
	says     byte  // what the acknowledgement block begins with
	odd      bool  // bits are set that mean nothing
}

var errHeader = errors.New("read header: packet shorter than 21 bytes")

// AppendTo appends the header with a zero checksum.
func (h Header) AppendTo(b []byte) []byte {
	var space [HeaderSize]byte
	n := len(b)
	b = append(b, space[:]...)
	h.Put(b[n:])
	return b
}

// Put writes the header with a zero checksum to the front of b, which must
// hold at least HeaderSize bytes.
func (h Header) Put(b []byte) {
	_ = b[HeaderSize-1]
	binary.BigEndian.PutUint32(b[offSequence:], h.Sequence)
	binary.BigEndian.PutUint32(b[offAck:], h.Ack)
	b[offFlags] = byte(h.Flags)
	binary.BigEndian.PutUint16(b[offWindow:], h.Window)
	binary.BigEndian.PutUint16(b[offChecksum:], 0)
	binary.BigEndian.PutUint64(b[offTimestamp:], h.Timestamp)
}

// ParseHeader reads the header at the front of b. It judges neither flags nor
// checksum. The body aliases b.
func ParseHeader(b []byte) (h Header, body []byte, err error) {
	if len(b) < HeaderSize {
		return Header{}, nil, errHeader
	}
	h.Sequence = binary.BigEndian.Uint32(b[offSequence:])
	h.Ack = binary.BigEndian.Uint32(b[offAck:])
	h.Flags = Flags(b[offFlags])
	h.Window = binary.BigEndian.Uint16(b[offWindow:])
	h.Timestamp = binary.BigEndian.Uint64(b[offTimestamp:])
	return h, b[HeaderSize:], nil
}
