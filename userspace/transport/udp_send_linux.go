package transport

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	// Limits of a joined message: UDP_MAX_SEGMENTS of the oldest kernels, and
	// an IP packet less its headers.
	maxSegments = 64
	maxJoined   = 65000

	segmentControl = 24 // CMSG_SPACE of the u16 of UDP_SEGMENT
)

// sender holds the messages of sendmmsg. A message is one datagram, or several
// of the same size to the same client that the kernel or the NIC takes apart.
type sender struct {
	headers  []unix.Mmsghdr
	iovs     []unix.Iovec // one for each datagram
	names    []unix.RawSockaddrInet6
	control  []byte
	messages []outgoing
	buffers  []byte

	queued int // datagrams
	used   int // messages
	gso    bool
}

// outgoing describes a message while it may still grow.
type outgoing struct {
	key     wire.Key
	device  uint32
	first   int // datagram
	count   int
	segment int // size of every datagram but the last
	bytes   int
	info    int // bytes of control in front of UDP_SEGMENT
}

func (t *sender) init(s *udpSocket, batch int) {
	t.headers = make([]unix.Mmsghdr, batch)
	t.iovs = make([]unix.Iovec, batch)
	t.names = make([]unix.RawSockaddrInet6, batch)
	t.control = aligned(batch * controlSize)
	t.messages = make([]outgoing, batch)
	t.buffers = make([]byte, batch*MaxDatagram)
	for i := range t.headers {
		t.iovs[i].Base = &t.buffers[i*MaxDatagram]
		h := &t.headers[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&t.names[i]))
		h.Namelen = unix.SizeofSockaddrInet4
		if s.v6 {
			h.Namelen = unix.SizeofSockaddrInet6
		}
	}
}

func (t *sender) buffer(s *udpSocket) []byte {
	if t.queued == len(t.iovs) && t.flush(s) != nil {
		return nil
	}
	base := t.queued * MaxDatagram
	return t.buffers[base : base+MaxDatagram : base+MaxDatagram]
}

func (t *sender) commit(s *udpSocket, r *Route, n int) {
	if n < 0 || n > MaxDatagram {
		panic("transport: commit of more than a datagram")
	}
	t.iovs[t.queued].SetLen(n)
	if !t.join(r, n) {
		t.begin(s, r, n)
	}
	t.queued++
}

// join adds a datagram of n bytes to the last message, if it may: all but the
// last datagram of a message have the size of the first.
func (t *sender) join(r *Route, n int) bool {
	if !t.gso || t.used == 0 || n == 0 {
		return false
	}
	m := &t.messages[t.used-1]
	if n > m.segment || m.bytes != m.count*m.segment ||
		m.count == maxSegments || m.bytes+n > maxJoined ||
		m.key != r.Key || m.device != r.Interface {
		return false
	}
	m.count++
	m.bytes += n
	return true
}

// begin starts a message with the datagram in line.
func (t *sender) begin(s *udpSocket, r *Route, n int) {
	i := t.used
	t.used++
	m := &t.messages[i]
	*m = outgoing{key: r.Key, device: r.Interface, first: t.queued, count: 1, segment: n, bytes: n}

	name := &t.names[i]
	control := t.control[i*controlSize:][:controlSize]
	if !s.v6 {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(name)) = unix.RawSockaddrInet4{
			Family: unix.AF_INET,
			Port:   swapPort(r.Key.ClientPort),
			Addr:   [4]byte(r.Key.Client[12:]),
		}
		if r.Key.Server != ([16]byte{}) {
			data := putControl(control, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
			*(*unix.Inet4Pktinfo)(data) = unix.Inet4Pktinfo{Spec_dst: [4]byte(r.Key.Server[12:])}
			m.info = unix.CmsgSpace(unix.SizeofInet4Pktinfo)
		}
		return
	}
	*name = unix.RawSockaddrInet6{
		Family: unix.AF_INET6,
		Port:   swapPort(r.Key.ClientPort),
		Addr:   r.Key.Client,
	}
	if isLinkLocal(&r.Key.Client) {
		name.Scope_id = r.Interface
	}
	if r.Key.Server != ([16]byte{}) {
		data := putControl(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
		*(*unix.Inet6Pktinfo)(data) = unix.Inet6Pktinfo{Addr: r.Key.Server, Ifindex: name.Scope_id}
		m.info = unix.CmsgSpace(unix.SizeofInet6Pktinfo)
	}
}

func isLinkLocal(a *[16]byte) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }

// putControl writes the header of a control message to the start of b and
// returns where its n bytes of data belong.
func putControl(b []byte, level, kind int32, n int) unsafe.Pointer {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(n))
	return unsafe.Pointer(&b[unix.SizeofCmsghdr])
}

// seal completes the header of message i, for count datagrams from first on.
func (t *sender) seal(i, first, count int) {
	h, m := &t.headers[i].Hdr, &t.messages[i]
	h.Iov = &t.iovs[first]
	h.SetIovlen(count)
	control := t.control[i*controlSize:][:controlSize]
	length := m.info
	if count > 1 {
		data := putControl(control[length:], unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
		*(*uint16)(data) = uint16(m.segment)
		length += segmentControl
	}
	h.Control = nil
	if length > 0 {
		h.Control = &control[0]
	}
	h.SetControllen(length)
}

// flush sends every message. One that the kernel refuses does not keep the
// others from being sent.
func (t *sender) flush(s *udpSocket) error {
	defer t.reset()
	for i := range t.used {
		t.seal(i, t.messages[i].first, t.messages[i].count)
	}
	for sent := 0; sent < t.used; {
		n, errno := s.sendmmsg(t.headers[sent:t.used])
		for i := range t.messages[sent : sent+n] {
			t.count(s, &t.messages[sent+i])
		}
		sent += n
		switch {
		case errno == 0:
		case fatal(errno):
			return net.ErrClosed
		case errno == unix.EAGAIN || errno == unix.ENOBUFS:
			for _, m := range t.messages[sent:t.used] {
				s.stats.TxDropped += uint64(m.count)
			}
			return nil
		default:
			t.refused(s, sent, errno)
			sent++
		}
	}
	return nil
}

func (t *sender) reset() { t.queued, t.used = 0, 0 }

func (t *sender) count(s *udpSocket, m *outgoing) {
	s.stats.TxPackets += uint64(m.count)
	s.stats.TxBytes += uint64(m.bytes)
	if m.count > 1 {
		s.stats.TxSegmented += uint64(m.count)
	}
}

// refused deals with message i, which the kernel did not take. A joined one
// may fail where its datagrams pass: EIO from a device that cannot fill in
// checksums, EINVAL where a datagram is longer than the route's MTU.
func (t *sender) refused(s *udpSocket, i int, errno unix.Errno) {
	m := &t.messages[i]
	if m.count == 1 {
		s.stats.TxErrors++
		return
	}
	if errno == unix.EIO {
		t.gso = false
	}
	for d := m.first; d < m.first+m.count; d++ {
		t.seal(i, d, 1)
		if n, _ := s.sendmmsg(t.headers[i : i+1]); n == 1 {
			s.stats.TxPackets++
			s.stats.TxBytes += uint64(t.iovs[d].Len)
		} else {
			s.stats.TxErrors++
		}
	}
}

// sendmmsg sends headers until one fails. The error is that of the first
// message not sent.
func (s *udpSocket) sendmmsg(headers []unix.Mmsghdr) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
			uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		s.stats.TxCalls++
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
