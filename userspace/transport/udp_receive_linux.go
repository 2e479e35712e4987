package transport

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	// A joined message is as long as an IP packet can be.
	joinedSize = 1 << 16

	// Without joining, a longer datagram than this is not ours anyway.
	plainSize = 2048

	// Control messages: an address, a segment size, a drop counter and the
	// traffic class.
	controlSize = 160
)

// Of the traffic class (RFC 3168 section 5).
const (
	ecnMask = 3
	ecnECT0 = 2
	ecnCE   = 3
)

// receiver holds the messages of recvmmsg. Those of [next:filled] have not been
// handed out, or only in part; those below next wait for release.
type receiver struct {
	headers []unix.Mmsghdr
	iovs    []unix.Iovec
	names   []unix.RawSockaddrInet6 // an IPv4 address fits
	control []byte
	buffers []byte
	size    int // of one buffer

	filled, next int
	message      message // headers[next], when offset is not 0
	offset       int     // what of it has been handed out

	overflow uint32 // the kernel's last count of drops
}

// message is what the kernel said about one message.
type message struct {
	key     wire.Key
	device  uint32
	segment int // bytes of each datagram but the last, 0 when not joined
	ce      bool
}

func (r *receiver) init(s *udpSocket, batch int) {
	r.size = plainSize
	if s.gro {
		r.size = joinedSize
	}
	r.headers = make([]unix.Mmsghdr, batch)
	r.iovs = make([]unix.Iovec, batch)
	r.names = make([]unix.RawSockaddrInet6, batch)
	r.control = aligned(batch * controlSize)
	r.buffers = make([]byte, batch*r.size)
	for i := range r.headers {
		r.iovs[i].Base = &r.buffers[i*r.size]
		r.iovs[i].SetLen(r.size)
		h := &r.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.control[i*controlSize]
	}
}

// aligned returns n bytes that control messages may be laid over.
func aligned(n int) []byte {
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
}

func (r *receiver) release() {
	if r.next == r.filled {
		r.next, r.filled = 0, 0
	}
}

// receive hands out what earlier calls left over, then asks the kernel.
func (s *udpSocket) receive(ds []Datagram) (n int, err error) {
	n = s.deliver(ds)
	if n < len(ds) {
		if err := s.recvmmsg(len(ds) - n); err != nil {
			return n, err
		}
		n += s.deliver(ds[n:])
	}
	if n > 0 {
		s.stats.RxBatches++
	}
	return n, nil
}

// recvmmsg takes up to n messages into free buffers.
func (s *udpSocket) recvmmsg(n int) error {
	r := &s.rx
	free := r.headers[r.filled:]
	if len(free) > n {
		free = free[:n]
	}
	if len(free) == 0 {
		return nil
	}
	for i := range free {
		h := &free[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSize)
		h.Flags = 0
	}
	for {
		got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd),
			uintptr(unsafe.Pointer(&free[0])), uintptr(len(free)), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			r.filled += int(got)
			return nil
		case errno == unix.EAGAIN:
			return nil
		case errno == unix.EINTR:
		case fatal(errno):
			return net.ErrClosed
		default:
			// An ICMP error of something sent earlier. It is reported
			// once and is no reason to stop.
			s.stats.RxErrors++
			return nil
		}
	}
}

// deliver hands out messages, splitting those that arrived joined.
func (s *udpSocket) deliver(ds []Datagram) (n int) {
	r := &s.rx
	for n < len(ds) && r.next < r.filled {
		length := int(r.headers[r.next].Len)
		if r.offset == 0 && !s.begin(&r.headers[r.next].Hdr, length) {
			s.stats.RxInvalid++
			r.next++
			continue
		}
		end := length
		if r.message.segment > 0 && r.offset+r.message.segment < length {
			end = r.offset + r.message.segment
		}
		if r.offset > 0 || end < length {
			s.stats.RxSegmented++
		}
		base := r.next * r.size
		d := &ds[n]
		*d = Datagram{
			Payload:   r.buffers[base+r.offset : base+end : base+end],
			Key:       r.message.key,
			Interface: r.message.device,
			CE:        r.message.ce,
		}
		n++
		s.stats.RxPackets++
		s.stats.RxBytes += uint64(len(d.Payload))
		r.offset = end
		if end == length {
			r.offset = 0
			r.next++
		}
	}
	return n
}

// begin reads what the kernel said about the message next in line, and reports
// whether it can be answered.
func (s *udpSocket) begin(h *unix.Msghdr, length int) bool {
	r := &s.rx
	r.message = message{}
	m := &r.message
	if h.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return false
	}
	m.key.ServerPort = s.local.Port()
	name := &r.names[r.next]
	m.key.ClientPort = swapPort(name.Port)
	if s.v6 {
		m.key.Client = name.Addr
	} else {
		mapInto(&m.key.Client, (*unix.RawSockaddrInet4)(unsafe.Pointer(name)).Addr)
	}
	found := s.parseControl(r.control[r.next*controlSize:][:h.Controllen], m)
	return found && m.key.ClientPort != 0 && !isGroup(&m.key.Server)
}

// parseControl reads control messages, and reports whether the packet's
// destination was among them.
func (s *udpSocket) parseControl(b []byte, m *message) (found bool) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		size := int(h.Len)
		if size < unix.SizeofCmsghdr || size > len(b) {
			return found
		}
		data := b[unix.SizeofCmsghdr:size]
		switch {
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			m.key.Server, m.device, found = info.Addr, info.Ifindex, true
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0]))
			mapInto(&m.key.Server, info.Addr)
			m.device, found = uint32(info.Ifindex), true
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			m.segment = int(*(*int32)(unsafe.Pointer(&data[0])))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			m.ce = data[0]&ecnMask == ecnCE
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			m.ce = *(*int32)(unsafe.Pointer(&data[0]))&ecnMask == ecnCE
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			total := *(*uint32)(unsafe.Pointer(&data[0]))
			s.stats.RxDropped += uint64(total - s.rx.overflow)
			s.rx.overflow = total
		}
		b = b[min(unix.CmsgSpace(size-unix.SizeofCmsghdr), len(b)):]
	}
	return found
}

func mapInto(a *[16]byte, v4 [4]byte) {
	*a = [16]byte{10: 0xff, 11: 0xff, 12: v4[0], 13: v4[1], 14: v4[2], 15: v4[3]}
}

// isGroup reports whether a is a multicast or broadcast address, from which
// nothing can be answered.
func isGroup(a *[16]byte) bool {
	if !isMapped(a) {
		return a[0] == 0xff
	}
	return a[12]>>4 == 0xe || [4]byte(a[12:]) == [4]byte{255, 255, 255, 255}
}
