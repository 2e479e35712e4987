package client

import (
	"net"
	"syscall"
	"unsafe"

	"github.com/xrudp/xrudp/userspace/wire"
)

// maxDatagram is what prepare keeps whole.
const maxDatagram = wire.MaxDatagramLimit

// controlSize has room for the traffic class of either family.
const controlSize = 64

// Of the traffic class (RFC 3168 section 5).
const (
	ecnMask = 3
	ecnECT0 = 2
	ecnCE   = 3
)

// prepare makes what a socket sends ECN-capable, as with QUIC (RFC 9000 section
// 13.4), and never fragmented, and has it tell the marks of what it receives.
// A socket that cannot do so is good all the same.
func prepare(socket net.Conn) {
	set(socket, []option{
		{syscall.IPPROTO_IP, syscall.IP_TOS, ecnECT0},
		{syscall.IPPROTO_IP, syscall.IP_RECVTOS, 1},
		{syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_PROBE},
		{syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, ecnECT0},
		{syscall.IPPROTO_IPV6, syscall.IPV6_RECVTCLASS, 1},
		{syscall.IPPROTO_IPV6, syscall.IPV6_MTU_DISCOVER, syscall.IPV6_PMTUDISC_PROBE},
	})
}

// unmark takes ECN-capability back: some networks drop what has it.
func unmark(socket net.Conn) {
	set(socket, []option{
		{syscall.IPPROTO_IP, syscall.IP_TOS, 0},
		{syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, 0},
	})
}

type option struct{ level, name, value int }

func set(socket net.Conn, options []option) {
	c, ok := socket.(*net.UDPConn)
	if !ok {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for _, o := range options {
			_ = syscall.SetsockoptInt(int(fd), o.level, o.name, o.value)
		}
	})
}

// readMarked reads a datagram. marked says that it arrived with Congestion
// Experienced, where the socket can tell.
func readMarked(socket net.Conn, buf, control []byte) (n int, marked bool, err error) {
	c, ok := socket.(*net.UDPConn)
	if !ok {
		n, err = socket.Read(buf)
		return n, false, err
	}
	n, used, _, _, err := c.ReadMsgUDPAddrPort(buf, control)
	return n, err == nil && isMarked(control[:used]), err
}

// isMarked looks for Congestion Experienced in control messages.
func isMarked(b []byte) bool {
	for len(b) >= syscall.SizeofCmsghdr {
		h := (*syscall.Cmsghdr)(unsafe.Pointer(&b[0]))
		size := int(h.Len)
		if size < syscall.SizeofCmsghdr || size > len(b) {
			return false
		}
		data := b[syscall.SizeofCmsghdr:size]
		switch {
		case h.Level == syscall.IPPROTO_IP && h.Type == syscall.IP_TOS && len(data) >= 1:
			return data[0]&ecnMask == ecnCE
		case h.Level == syscall.IPPROTO_IPV6 && h.Type == syscall.IPV6_TCLASS && len(data) >= 4:
			return *(*int32)(unsafe.Pointer(&data[0]))&ecnMask == ecnCE
		}
		b = b[min(syscall.CmsgSpace(len(data)), len(b)):]
	}
	return false
}
