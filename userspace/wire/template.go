package wire

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// MaxFrameHeader is the size of the largest header a template holds: Ethernet
// with two VLAN tags, IPv6 and UDP.
const MaxFrameHeader = ethernetSize + maxVLANs*vlanSize + ipv6Size + udpSize

const (
	linkAddresses = ethernetSize - 2
	hopLimit      = 64
	dontFragment  = 0x40 // which lets the IPv4 identification stay 0
)

// FrameTemplate is the headers in front of every UDP payload sent to one peer.
// It is a value: copies are independent.
type FrameTemplate struct {
	// Len is the size of the headers; the UDP payload follows at that
	// offset.
	Len int

	// Bytes holds the headers, lengths and checksums zero.
	Bytes [MaxFrameHeader]byte

	l3, l4 int
	ipSum  uint32 // of the IPv4 header, 0 for IPv6
	udpSum uint32 // of addresses, protocol and ports
}

// MakeFrameTemplate returns headers for packets from src to dst. link holds
// the two Ethernet addresses, destination first, and up to two VLAN tags. src
// and dst are both IPv4 or both IPv6.
func MakeFrameTemplate(link []byte, src, dst netip.AddrPort) FrameTemplate {
	if len(link) < linkAddresses || len(link) > linkAddresses+maxVLANs*vlanSize || len(link)%vlanSize != 0 {
		panic("wire: link header is not two addresses and up to two tags")
	}
	v4 := src.Addr().Is4()
	if v4 != dst.Addr().Is4() {
		panic("wire: addresses of different families")
	}
	var t FrameTemplate
	copy(t.Bytes[:], link)
	from, to := src.Addr().As16(), dst.Addr().As16()
	t.build(len(link), !v4, &from, &to, src.Port(), dst.Port())
	return t
}

// Answer makes t the headers that answer frame, which ParseFrame located as f:
// addresses and ports swapped, VLAN tags kept, IPv4 options dropped.
func (t *FrameTemplate) Answer(frame []byte, f *Frame) {
	*t = FrameTemplate{}
	copy(t.Bytes[0:6], frame[6:12])
	copy(t.Bytes[6:12], frame[0:6])
	link := linkAddresses + f.VLANs*vlanSize
	copy(t.Bytes[linkAddresses:link], frame[linkAddresses:])
	t.build(link, f.IPv6, &f.Key.Server, &f.Key.Client, f.Key.ServerPort, f.Key.ClientPort)
}

// build writes everything behind the first link bytes.
func (t *FrameTemplate) build(link int, v6 bool, src, dst *[16]byte, srcPort, dstPort uint16) {
	t.l3 = link + 2
	ip := t.Bytes[t.l3:]
	var addresses []byte
	if v6 {
		binary.BigEndian.PutUint16(t.Bytes[link:], etherIPv6)
		t.l4 = t.l3 + ipv6Size
		ip[0] = 0x60
		ip[6] = protoUDP
		ip[7] = hopLimit
		copy(ip[8:], src[:])
		copy(ip[24:], dst[:])
		addresses = ip[8:40]
	} else {
		binary.BigEndian.PutUint16(t.Bytes[link:], etherIPv4)
		t.l4 = t.l3 + ipv4Size
		ip[0] = 0x45
		ip[6] = dontFragment
		ip[8] = hopLimit
		ip[9] = protoUDP
		copy(ip[12:], src[12:])
		copy(ip[16:], dst[12:])
		addresses = ip[12:20]
		t.ipSum = uint32(onesSum(ip[:ipv4Size]))
	}
	t.Len = t.l4 + udpSize
	binary.BigEndian.PutUint16(t.Bytes[t.l4:], srcPort)
	binary.BigEndian.PutUint16(t.Bytes[t.l4+2:], dstPort)
	t.udpSum = uint32(onesSum(addresses)) + uint32(srcPort) + uint32(dstPort) + protoUDP
}

// SetECT makes the packets ECN-capable, ECT(0) of RFC 3168. Otherwise routers
// drop them where they would mark others.
func (t *FrameTemplate) SetECT() {
	ip := t.Bytes[t.l3:]
	if t.ipSum != 0 {
		ip[1] = ecnECT0
		t.ipSum = uint32(onesSum(ip[:ipv4Size]))
	} else {
		ip[1] = ecnECT0 << 4
	}
}

// Build writes the headers to the front of frame, where payloadLen bytes of
// UDP payload already lie at frame[t.Len:], and returns the frame's length.
// Lengths and checksums are filled in; the UDP checksum is never 0.
func (t *FrameTemplate) Build(frame []byte, payloadLen int) int {
	end := t.Len + payloadLen
	udpLen := uint16(udpSize + payloadLen)
	copy(frame[:t.Len], t.Bytes[:])

	ip := frame[t.l3:]
	if t.ipSum != 0 {
		total := ipv4Size + udpLen
		binary.BigEndian.PutUint16(ip[2:], total)
		binary.BigEndian.PutUint16(ip[10:], ^foldSum(t.ipSum+uint32(total)))
	} else {
		binary.BigEndian.PutUint16(ip[4:], udpLen)
	}

	udp := frame[t.l4:]
	binary.BigEndian.PutUint16(udp[4:], udpLen)
	// The length counts twice: in the pseudo header and in the UDP header.
	sum := ^foldSum(t.udpSum + 2*uint32(udpLen) + uint32(onesSum(frame[t.Len:end])))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return end
}

// onesSum returns the ones' complement sum of b's big-endian 16-bit words, an
// odd last byte padded with zero.
func onesSum(b []byte) uint16 {
	var sum, carry uint64
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(last[:]), carry)
	}
	sum, carry = bits.Add64(sum, 0, carry)
	sum += carry
	return foldSum(uint32(sum>>48) + uint32(sum>>32&0xffff) + uint32(sum>>16&0xffff) + uint32(sum&0xffff))
}

// foldSum folds the carries of a sum of 16-bit words back into it.
func foldSum(sum uint32) uint16 {
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum)
}
