package wire

import (
	"encoding/binary"
	"net/netip"
)

// FrameVerdict says what ParseFrame made of a frame. All but FrameUDP name a
// frame that is none of ours, by the gate's pass_* counters.
type FrameVerdict uint8

const (
	FrameUDP FrameVerdict = iota
	FrameNotIP
	FrameVLANDepth
	FrameFragment
	FrameIP6Extension
	FrameNotUDP
)

// String returns the verdict as the gate's counter is named.
func (v FrameVerdict) String() string {
	switch v {
	case FrameUDP:
		return "udp"
	case FrameNotIP:
		return "pass_not_ip"
	case FrameVLANDepth:
		return "pass_vlan_depth"
	case FrameFragment:
		return "pass_fragment"
	case FrameIP6Extension:
		return "pass_ip6_extension"
	case FrameNotUDP:
		return "pass_not_udp"
	}
	return "unknown"
}

const (
	ethernetSize = 14
	vlanSize     = 4
	maxVLANs     = 2
	ipv4Size     = 20
	ipv6Size     = 40
	udpSize      = 8

	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100
	etherQinQ = 0x88a8

	ecnMask = 3
	ecnECT0 = 2
	ecnCE   = 3

	protoUDP      = 17
	protoFragment = 44
)

// Frame locates the parts of an Ethernet frame that carries UDP. Offsets count
// from the frame's first byte.
type Frame struct {
	// Key has the frame's source as the client and its destination as the
	// server.
	Key Key

	VLANs   int // tags
	L3      int // IP header
	L4      int // UDP header
	Payload int // UDP payload

	// PayloadLen is the UDP payload's length by the UDP header, 0 when
	// BadLength. The frame may be longer than its packet.
	PayloadLen int

	IPv6 bool

	// Group is set when the destination is a group or broadcast address, of
	// Ethernet or of IP.
	Group bool

	// CE is set when the IP header carries Congestion Experienced (RFC 3168).
	CE bool

	// BadLength is set when the UDP length is less than its header or not
	// the IP payload's length.
	BadLength bool
}

// Src returns the source address, IPv4 unmapped.
func (f *Frame) Src() netip.AddrPort { return f.Key.ClientAddrPort() }

// Dst returns the destination address, IPv4 unmapped.
func (f *Frame) Dst() netip.AddrPort { return f.Key.ServerAddrPort() }

// ParseFrame locates UDP over IPv4 or IPv6 in the Ethernet frame b, behind at
// most two VLAN tags. f is complete only when the verdict is FrameUDP.
func ParseFrame(b []byte) (f Frame, v FrameVerdict) {
	if len(b) < ethernetSize {
		return f, FrameNotIP
	}
	f.Group = b[0]&1 != 0
	f.L3 = ethernetSize
	etherType := binary.BigEndian.Uint16(b[12:])
	for etherType == etherVLAN || etherType == etherQinQ {
		if f.VLANs == maxVLANs {
			return f, FrameVLANDepth
		}
		f.VLANs++
		f.L3 += vlanSize
		if len(b) < f.L3 {
			return f, FrameNotIP
		}
		etherType = binary.BigEndian.Uint16(b[f.L3-2:])
	}
	switch etherType {
	case etherIPv4:
		v = f.parseIPv4(b)
	case etherIPv6:
		v = f.parseIPv6(b)
	default:
		v = FrameNotIP
	}
	return f, v
}

func (f *Frame) parseIPv4(b []byte) FrameVerdict {
	ip := b[f.L3:]
	if len(ip) < ipv4Size {
		return FrameNotIP
	}
	size := int(ip[0]&0x0f) * 4
	if ip[0]>>4 != 4 || size < ipv4Size {
		return FrameNotUDP
	}
	if len(ip) < size {
		return FrameNotIP
	}
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if total < size || total > len(ip) {
		return FrameNotUDP
	}
	const moreOrOffset = 0x3fff
	if binary.BigEndian.Uint16(ip[6:])&moreOrOffset != 0 {
		return FrameFragment
	}
	if ip[9] != protoUDP {
		return FrameNotUDP
	}
	f.CE = ip[1]&ecnMask == ecnCE
	f.Key.Client = mapped(ip[12:16])
	f.Key.Server = mapped(ip[16:20])
	// 224.0.0.0/4 and all above it, the limited broadcast included.
	f.Group = f.Group || ip[16] >= 224
	return f.parseUDP(b, f.L3+size, total-size)
}

func (f *Frame) parseIPv6(b []byte) FrameVerdict {
	f.IPv6 = true
	ip := b[f.L3:]
	if len(ip) < ipv6Size {
		return FrameNotIP
	}
	if ip[0]>>4 != 6 {
		return FrameNotUDP
	}
	length := int(binary.BigEndian.Uint16(ip[4:]))
	if length > len(ip)-ipv6Size {
		return FrameNotUDP
	}
	switch ip[6] {
	case protoUDP:
	case protoFragment:
		return FrameFragment
	case 0, 43, 51, 60, 135, 139, 140:
		return FrameIP6Extension
	default:
		return FrameNotUDP
	}
	f.CE = ip[1]>>4&ecnMask == ecnCE // the traffic class lies across two bytes
	copy(f.Key.Client[:], ip[8:24])
	copy(f.Key.Server[:], ip[24:40])
	f.Group = f.Group || ip[24] == 0xff
	return f.parseUDP(b, f.L3+ipv6Size, length)
}

// parseUDP reads the UDP header at l4, in an IP payload of length bytes.
func (f *Frame) parseUDP(b []byte, l4, length int) FrameVerdict {
	if len(b) < l4+udpSize {
		return FrameNotUDP
	}
	udp := b[l4 : l4+udpSize]
	f.L4 = l4
	f.Payload = l4 + udpSize
	f.Key.ClientPort = binary.BigEndian.Uint16(udp[0:])
	f.Key.ServerPort = binary.BigEndian.Uint16(udp[2:])
	udpLen := int(binary.BigEndian.Uint16(udp[4:]))
	if udpLen < udpSize || udpLen != length {
		f.BadLength = true
		return FrameUDP
	}
	f.PayloadLen = udpLen - udpSize
	return FrameUDP
}

// ChecksumValid reports whether the UDP checksum of frame, which ParseFrame
// located as f without BadLength, is there and right.
func (f *Frame) ChecksumValid(frame []byte) bool {
	udp := frame[f.L4 : f.Payload+f.PayloadLen]
	if udp[6]|udp[7] == 0 {
		return false
	}
	addresses := frame[f.L3+12 : f.L3+20]
	if f.IPv6 {
		addresses = frame[f.L3+8 : f.L3+40]
	}
	sum := uint32(onesSum(addresses)) + protoUDP + uint32(len(udp)) + uint32(onesSum(udp))
	return foldSum(sum) == 0xffff
}

func mapped(addr []byte) (a [16]byte) {
	a[10], a[11] = 0xff, 0xff
	copy(a[12:], addr[:4])
	return a
}
