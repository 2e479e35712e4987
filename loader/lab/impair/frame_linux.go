package impair

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Lengths of headers.
const (
	ipv4Header = 20
	ipv6Header = 40
)

// Code points of the ECN field (RFC 3168 section 5).
const (
	ecnMask = 3 // also Congestion Experienced
	notECT  = 0
)

// internet returns the IP packet in a frame and its version, 0 if there is
// none.
func internet(frame []byte) (packet []byte, version int) {
	if len(frame) < ethernetHeader {
		return nil, 0
	}
	packet = frame[ethernetHeader:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		if len(packet) >= ipv4Header {
			return packet, 4
		}
	case unix.ETH_P_IPV6:
		if len(packet) >= ipv6Header {
			return packet, 6
		}
	}
	return nil, 0
}

// deliver sends a frame that has arrived.
func (s *Stage) deliver(d Direction, frame []byte) { s.sides[d].send(frame) }

func (s *Stage) overhead() int { return 0 }

// spared leaves out of corruption what no checksum of the payload covers. What
// is not IP stays whole.
func (s *Stage) spared(frame []byte) int {
	packet, version := internet(frame)
	switch version {
	case 4:
		return ethernetHeader + int(packet[0]&0x0f)*4
	case 6:
		return ethernetHeader + ipv6Header
	}
	return len(frame)
}

// traffic reads the traffic class, the DS and ECN fields together.
func traffic(packet []byte, version int) byte {
	if version == 6 {
		return packet[0]<<4 | packet[1]>>4
	}
	return packet[1]
}

func (s *Stage) capable(frame []byte) bool {
	packet, version := internet(frame)
	return version != 0 && traffic(packet, version)&ecnMask != notECT
}

func (s *Stage) mark(frame []byte) {
	packet, version := internet(frame)
	if version == 6 {
		packet[1] |= ecnMask << 4
		return
	}
	// The checksum follows as by RFC 1624: HC' = ~(~HC + ~m + m').
	word := packet[0:2]
	before := binary.BigEndian.Uint16(word)
	packet[1] |= ecnMask
	sum := uint32(^binary.BigEndian.Uint16(packet[10:])) + uint32(^before) + uint32(binary.BigEndian.Uint16(word))
	sum = sum&0xffff + sum>>16
	sum += sum >> 16
	binary.BigEndian.PutUint16(packet[10:], ^uint16(sum))
}
