package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/wire"
)

// MaxWhole is the largest UDP payload that a UDP sends in one piece or not at all.
const MaxWhole = MaxDatagram

// UDP is a Batch over ordinary sockets, one for each port.
type UDP struct {
	sockets []*udpSocket
	fds     []int
	first   int // socket that Receive asks first

	route  *Route     // of the last Buffer
	sender *udpSocket // of the last Buffer
	closed bool
}

// udpSocket is one socket with everything a system call on it needs.
type udpSocket struct {
	fd    int
	local netip.AddrPort
	v6    bool // AF_INET6; IPv4 addresses are mapped
	v4    bool // takes IPv4
	gro   bool
	stats Stats

	rx receiver
	tx sender
}

// ProbeUDP reports whether the ports of opts can be had, by binding them for a
// moment. The sockets of workers share their ports, and would share them with
// those of another process too, which then lost packets to this one.
func ProbeUDP(opts UDPOptions) error {
	for _, port := range opts.Ports {
		s, err := bindUDP(&opts, port, false)
		if err != nil {
			return fmt.Errorf("listen on udp: %w", err)
		}
		unix.Close(s.fd)
	}
	return nil
}

// ListenUDP opens the sockets of opts.Workers workers.
func ListenUDP(opts UDPOptions) ([]*UDP, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("listen on udp: %w", err)
	}
	if err := ProbeUDP(opts); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	ports := append([]uint16(nil), opts.Ports...)

	all := make([]*UDP, opts.Workers)
	for w := range all {
		u := new(UDP)
		all[w] = u
		for i, port := range ports {
			s, err := openUDP(&opts, port)
			if err != nil {
				for _, u := range all[:w+1] {
					u.Close()
				}
				return nil, fmt.Errorf("listen on udp: %w", err)
			}
			ports[i] = s.local.Port()
			u.sockets = append(u.sockets, s)
			u.fds = append(u.fds, s.fd)
		}
	}
	return all, nil
}

func openUDP(opts *UDPOptions, port uint16) (*udpSocket, error) {
	s, err := bindUDP(opts, port, true)
	if err != nil {
		return nil, err
	}
	if err := s.configure(opts); err != nil {
		unix.Close(s.fd)
		return nil, err
	}
	s.rx.init(s, opts.Batch)
	s.tx.init(s, opts.Batch)
	return s, nil
}

// bindUDP opens and binds a socket, which others may share. Without an address
// it serves both families, or IPv4 alone on a kernel without IPv6.
func bindUDP(opts *UDPOptions, port uint16, shared bool) (*udpSocket, error) {
	s := &udpSocket{fd: -1}
	addr := opts.Address.Unmap()
	anyAddr := !opts.Address.IsValid() || addr == netip.IPv6Unspecified()
	s.v6 = anyAddr || addr.Is6()
	s.v4 = anyAddr || addr.Is4()
	if anyAddr {
		addr = netip.IPv6Unspecified()
	}

	domain := unix.AF_INET
	if s.v6 {
		domain = unix.AF_INET6
	}
	const kind = unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := unix.Socket(domain, kind, unix.IPPROTO_UDP)
	if errors.Is(err, unix.EAFNOSUPPORT) && anyAddr {
		s.v6, addr = false, netip.IPv4Unspecified()
		fd, err = unix.Socket(unix.AF_INET, kind, unix.IPPROTO_UDP)
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s.fd = fd
	if err := s.bind(opts, netip.AddrPortFrom(addr, port), shared); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind %s: %w", netip.AddrPortFrom(addr, port), err)
	}
	return s, nil
}

func (s *udpSocket) bind(opts *UDPOptions, addr netip.AddrPort, shared bool) error {
	if shared {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("set SO_REUSEPORT: %w", err)
		}
	}
	if opts.Device != "" {
		if err := unix.BindToDevice(s.fd, opts.Device); err != nil {
			return fmt.Errorf("bind to device %s: %w", opts.Device, err)
		}
	}
	var sa unix.Sockaddr
	if s.v6 {
		only := 1
		if s.v4 {
			only = 0
		}
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return fmt.Errorf("set IPV6_V6ONLY: %w", err)
		}
		sa = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	} else {
		sa = &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	if err := unix.Bind(s.fd, sa); err != nil {
		return err
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch bound := bound.(type) {
	case *unix.SockaddrInet4:
		s.local = netip.AddrPortFrom(addr.Addr(), uint16(bound.Port))
	case *unix.SockaddrInet6:
		s.local = netip.AddrPortFrom(addr.Addr(), uint16(bound.Port))
	}
	return nil
}

// configure sets what bind does not need. Sizes of buffers, offloads and path
// MTU behaviour are taken as far as the kernel gives them.
func (s *udpSocket) configure(opts *UDPOptions) error {
	set := func(level, option, value int, name string) error {
		if err := unix.SetsockoptInt(s.fd, level, option, value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
		return nil
	}
	var err error
	if s.v6 {
		// An IPv6 socket reports the destination of IPv4 packets, too.
		err = set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO")
	} else {
		err = set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1, "IP_PKTINFO")
	}
	if err == nil {
		err = set(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1, "SO_RXQ_OVFL")
	}
	if err == nil {
		err = s.setBuffer(unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, opts.ReceiveBuffer)
	}
	if err == nil {
		err = s.setBuffer(unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, opts.SendBuffer)
	}
	if err != nil {
		return err
	}

	// Forged ICMP errors must not lower the path MTU for a client, and packets
	// that probe it must not be fragmented. Everything sent is ECN-capable, as
	// with QUIC (RFC 9000 section 13.4). An IPv6 socket needs both families'
	// options, for IPv4 packets that it takes.
	if s.v6 {
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, ecnECT0)
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	}
	if s.v4 {
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TOS, ecnECT0)
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	}
	if !opts.NoOffload {
		s.gro = unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
		_, err := unix.GetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.tx.gso = err == nil
	}
	return nil
}

// setBuffer prefers the privileged option, which ignores the host's limit.
func (s *udpSocket) setBuffer(force, plain, size int) error {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, plain, size); err != nil {
		return fmt.Errorf("set socket buffer to %d: %w", size, err)
	}
	return nil
}

// Addrs returns the address of each socket, in the order of the ports.
func (u *UDP) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(u.sockets))
	for i, s := range u.sockets {
		addrs[i] = s.local
	}
	return addrs
}

// Info reports what the sockets obtained; they are all alike.
func (u *UDP) Info() UDPInfo {
	s := u.sockets[0]
	info := UDPInfo{GRO: s.gro, GSO: s.tx.gso, IPv4: s.v4, IPv6: s.v6}
	info.ReceiveBuffer, _ = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	info.SendBuffer, _ = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return info
}

// Receive implements Batch.
func (u *UDP) Receive(ds []Datagram) (n int, err error) {
	if u.closed {
		return 0, net.ErrClosed
	}
	for i := range u.sockets {
		s := u.sockets[(u.first+i)%len(u.sockets)]
		got, err := s.receive(ds[n:])
		n += got
		if err != nil {
			return n, err
		}
	}
	u.first = (u.first + 1) % len(u.sockets)
	return n, nil
}

// Route implements Batch.
func (u *UDP) Route(d *Datagram, r *Route) {
	*r = Route{Key: d.Key, Interface: d.Interface}
}

// Release implements Batch.
func (u *UDP) Release() {
	for _, s := range u.sockets {
		s.rx.release()
	}
}

// Buffer implements Batch. It sends what is queued when there is no room for
// more.
func (u *UDP) Buffer(r *Route) []byte {
	u.route, u.sender = nil, nil
	for _, s := range u.sockets {
		if s.local.Port() == r.Key.ServerPort && s.reaches(&r.Key) {
			u.route, u.sender = r, s
			return s.tx.buffer(s)
		}
	}
	return nil
}

// reaches reports whether the socket's family can carry packets of key.
func (s *udpSocket) reaches(key *wire.Key) bool {
	if isMapped(&key.Client) {
		return s.v4
	}
	return s.v6
}

// Commit implements Batch.
func (u *UDP) Commit(n int) {
	if u.sender == nil {
		panic("transport: Commit without Buffer")
	}
	u.sender.tx.commit(u.sender, u.route, n)
	u.route, u.sender = nil, nil
}

// Flush implements Batch.
func (u *UDP) Flush() error {
	if u.closed {
		return net.ErrClosed
	}
	for _, s := range u.sockets {
		if err := s.tx.flush(s); err != nil {
			return err
		}
	}
	return nil
}

// FDs implements Batch.
func (u *UDP) FDs() []int { return u.fds }

// Stats implements Batch.
func (u *UDP) Stats() Stats {
	var sum Stats
	for _, s := range u.sockets {
		sum.add(&s.stats)
	}
	return sum
}

// Close implements Batch. What is queued and not flushed is lost.
func (u *UDP) Close() error {
	if u.closed {
		return nil
	}
	u.closed = true
	var errs []error
	for _, s := range u.sockets {
		errs = append(errs, unix.Close(s.fd))
	}
	return errors.Join(errs...)
}

func isMapped(a *[16]byte) bool {
	return [12]byte(a[:12]) == [12]byte{10: 0xff, 11: 0xff}
}

// fatal reports whether a socket is of no more use after err.
func fatal(err unix.Errno) bool {
	return err == unix.EBADF || err == unix.ENOTSOCK || err == unix.EFAULT
}

// swapPort converts between host order and the network order of a raw socket
// address.
func swapPort(p uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}
