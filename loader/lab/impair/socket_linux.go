package impair

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batch       = 64
	frameBuffer = 16 << 20

	// Ethernet header and one VLAN tag.
	linkHeader = 18
)

// socket moves frames of one interface. It does not see those that it sent.
type socket struct {
	fd   int
	rx   frames
	tx   frames
	used int // of tx, waiting for flush
	size int // of one buffer

	tooLong, unsent uint64
}

// frames are the messages of one system call.
type frames struct {
	headers []unix.Mmsghdr
	iovs    []unix.Iovec
	memory  []byte
}

func newFrames(size int) frames {
	f := frames{
		headers: make([]unix.Mmsghdr, batch),
		iovs:    make([]unix.Iovec, batch),
		memory:  make([]byte, batch*size),
	}
	for i := range f.headers {
		f.iovs[i].Base = &f.memory[i*size]
		f.iovs[i].SetLen(size)
		f.headers[i].Hdr.Iov = &f.iovs[i]
		f.headers[i].Hdr.SetIovlen(1)
	}
	return f
}

// openSocket opens a socket on an interface of the thread's namespace.
func openSocket(index, mtu int) (*socket, error) {
	// Without a protocol it receives nothing until it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	for _, o := range []struct {
		name                 string
		level, option, value int
	}{
		{"PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{"SO_RCVBUFFORCE", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, frameBuffer},
		{"SO_SNDBUFFORCE", unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, frameBuffer},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set %s: %w", o.name, err)
		}
	}
	address := &unix.SockaddrLinklayer{Protocol: network(unix.ETH_P_ALL), Ifindex: index}
	if err := unix.Bind(fd, address); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind packet socket: %w", err)
	}
	size := mtu + linkHeader
	return &socket{fd: fd, size: size, rx: newFrames(size), tx: newFrames(size)}, nil
}

// network puts a number into network order.
func network(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// receive calls f for up to a batch of frames and returns how many came. They
// are f's until it returns.
func (s *socket) receive(f func(frame []byte)) (n int, err error) {
	got, errno := s.call(unix.SYS_RECVMMSG, s.rx.headers)
	if errno != 0 && errno != unix.EAGAIN {
		return 0, os.NewSyscallError("recvmmsg", errno)
	}
	for i := range s.rx.headers[:got] {
		h := &s.rx.headers[i]
		if h.Hdr.Flags&unix.MSG_TRUNC != 0 {
			s.tooLong++
			continue
		}
		f(s.rx.memory[i*s.size:][:h.Len])
	}
	return got, nil
}

// send queues a copy of a frame.
func (s *socket) send(frame []byte) {
	if s.used == batch {
		s.flush()
	}
	n := copy(s.tx.memory[s.used*s.size:][:s.size], frame)
	s.tx.iovs[s.used].SetLen(n)
	s.used++
}

// flush sends what is queued. A frame that the interface refuses does not keep
// the others.
func (s *socket) flush() {
	for sent := 0; sent < s.used; {
		n, errno := s.call(unix.SYS_SENDMMSG, s.tx.headers[sent:s.used])
		sent += n
		if errno != 0 {
			s.unsent++
			sent++
		}
	}
	s.used = 0
}

// call is sendmmsg or recvmmsg.
func (s *socket) call(trap uintptr, headers []unix.Mmsghdr) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(trap, uintptr(s.fd),
			uintptr(unsafe.Pointer(&headers[0])), uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// missed returns how many frames found no room since the last call.
func (s *socket) missed() uint64 {
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return uint64(stats.Drops)
}

func (s *socket) close() error { return unix.Close(s.fd) }
