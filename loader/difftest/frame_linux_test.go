package difftest

import (
	"encoding/binary"

	"github.com/xrudp/xrudp/userspace/wire"
)

// link is how a peer's packets are wrapped.
type link struct {
	tags    int // of VLAN, the outer one 802.1ad when there are two
	v6      bool
	options int // bytes of IPv4 options, a multiple of 4 up to 40
	ecn     byte
}

const (
	etherSize = 14
	tagSize   = 4
	ip4Size   = 20
	ip6Size   = 40
	udpSize   = 8
)

// wrap builds the frame that carries payload from key's client to its server.
// It is appended to b.
func wrap(b []byte, l link, key *wire.Key, payload []byte) []byte {
	b = append(b, 0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2)
	for i := range l.tags {
		proto := uint16(0x8100)
		if i == 0 && l.tags > 1 {
			proto = 0x88a8
		}
		b = binary.BigEndian.AppendUint16(b, proto)
		b = append(b, 0x20, byte(10+i))
	}
	length := udpSize + len(payload)
	if l.v6 {
		b = append(b, 0x86, 0xdd, 0x6b, 0xcd|l.ecn<<4, 0xef, 0x12)
		b = binary.BigEndian.AppendUint16(b, uint16(length))
		b = append(b, 17, 57)
		b = append(append(b, key.Client[:]...), key.Server[:]...)
	} else {
		header := ip4Size + l.options
		b = append(b, 0x08, 0x00, 0x40|byte(header/4), 0xb8|l.ecn)
		b = binary.BigEndian.AppendUint16(b, uint16(header+length))
		b = append(b, 0xde, 0xad, 0, 0, 57, 17, 0, 0)
		b = append(append(b, key.Client[12:]...), key.Server[12:]...)
		for i := range l.options {
			b = append(b, byte(0x44+i))
		}
	}
	b = binary.BigEndian.AppendUint16(b, key.ClientPort)
	b = binary.BigEndian.AppendUint16(b, key.ServerPort)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = append(b, 0, 0)
	return append(b, payload...)
}

// checksum fills in the UDP checksum of a frame made by wrap, as long as its
// lengths make sense.
func checksum(frame []byte) {
	f, v := wire.ParseFrame(frame)
	if v != wire.FrameUDP || f.BadLength {
		return
	}
	udp := frame[f.L4 : f.Payload+f.PayloadLen]
	udp[6], udp[7] = 0, 0
	addresses := frame[f.L3+12 : f.L3+20]
	if f.IPv6 {
		addresses = frame[f.L3+8 : f.L3+40]
	}
	sum := uint32(17 + len(udp))
	for _, b := range [][]byte{addresses, udp} {
		for i, c := range b {
			sum += uint32(c) << (8 * (1 - i%2))
		}
	}
	sum = sum>>16 + sum&0xffff
	sum = ^(sum>>16 + sum) & 0xffff
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], uint16(sum))
}

// layout finds the headers of a frame made by wrap.
func (l link) l3() int { return etherSize + l.tags*tagSize }

func (l link) udp() int {
	if l.v6 {
		return l.l3() + ip6Size
	}
	return l.l3() + ip4Size + l.options
}

func (l link) payload() int { return l.udp() + udpSize }

// resize makes the lengths in a frame made by wrap say that n bytes of UDP
// payload follow, whatever does.
func (l link) resize(frame []byte, n int) {
	length := udpSize + n
	if l.v6 {
		binary.BigEndian.PutUint16(frame[l.l3()+4:], uint16(length))
	} else {
		binary.BigEndian.PutUint16(frame[l.l3()+2:], uint16(ip4Size+l.options+length))
	}
	binary.BigEndian.PutUint16(frame[l.udp()+4:], uint16(length))
}

// mutate spoils a frame made by wrap, and returns it.
func mutate(d *dice, l link, frame []byte) []byte {
	switch d.n(16) {
	case 0: // cut off
		frame = frame[:etherSize+d.n(len(frame)-etherSize+1)]
	case 1: // Ethernet padding
		pad := make([]byte, 1+d.n(60))
		if d.one(2) {
			d.fill(pad)
		}
		frame = append(frame, pad...)
	case 2: // bits in the headers
		for range 1 + d.n(3) {
			frame[d.n(min(len(frame), l.payload()+wire.HeaderSize))] ^= 1 << d.n(8)
		}
	case 3: // bits behind
		frame[d.n(len(frame))] ^= 1 << d.n(8)
	case 4: // UDP length
		at := l.udp() + 4
		was := binary.BigEndian.Uint16(frame[at:])
		binary.BigEndian.PutUint16(frame[at:], pick(d, was-1, was+1, 0, 7, 8, uint16(d.u32())))
	case 5: // IP length
		at := l.l3() + 2
		if l.v6 {
			at += 2
		}
		was := binary.BigEndian.Uint16(frame[at:])
		binary.BigEndian.PutUint16(frame[at:], pick(d, was-1, was+1, 0, 19, 20, 28, uint16(d.u32())))
	case 6: // version, header length; flow label
		frame[l.l3()] = byte(d.n(256))
	case 7: // IPv4 fragments; IPv6 next header
		if l.v6 {
			frame[l.l3()+6] = pick(d, byte(0), 6, 17, 43, 44, 50, 51, 58, 59, 60, 135, 139, 140, 253)
		} else {
			binary.BigEndian.PutUint16(frame[l.l3()+6:], pick(d, uint16(0x2000), 0x4000, 0x8000, 1, 0x1fff, uint16(d.u32())))
		}
	case 8: // IPv4 protocol
		if !l.v6 {
			frame[l.l3()+9] = pick(d, byte(1), 6, 17, 136)
		}
	case 9: // Ethernet groups
		frame[0] = pick(d, byte(0x01), 0xff, 0x33, 0x03)
	case 10: // to somebody else
		addr := pick(d, otherAddrs...)
		if to := addr.As16(); l.v6 {
			copy(frame[l.l3()+24:], to[:])
		} else {
			copy(frame[l.l3()+16:], to[12:])
		}
	case 11: // to another port, or from one
		at := l.udp() + 2*d.n(2)
		binary.BigEndian.PutUint16(frame[at:], pick(d, 0, servedPorts[0], servedPorts[1], uint16(d.u32())))
	case 12: // more tags
		tags := make([]byte, 0, 3*tagSize)
		for range 1 + d.n(3) {
			tags = append(tags, pick(d, []byte{0x81, 0x00}, []byte{0x88, 0xa8})...)
			tags = append(tags, byte(d.n(256)), byte(d.n(256)))
		}
		frame = append(frame[:12:12], append(tags, frame[12:]...)...)
	case 13: // another EtherType
		binary.BigEndian.PutUint16(frame[l.l3()-2:], pick(d, uint16(0x0800), 0x86dd, 0x0806, 0x8100, 0x88a8, 0x9100, 1500))
	case 14: // a shorter datagram with fitting lengths
		n := d.n(len(frame) - l.payload() + 1)
		frame = frame[:l.payload()+n]
		l.resize(frame, n)
		if n >= wire.HeaderSize && d.one(2) {
			wire.Seal(frame[l.payload():])
		}
	case 15: // a shorter datagram with the rest as padding
		n := d.n(len(frame) - l.payload() + 1)
		l.resize(frame, n)
		if n >= wire.HeaderSize && d.one(2) {
			wire.Seal(frame[l.payload() : l.payload()+n])
		}
	}
	return frame
}
