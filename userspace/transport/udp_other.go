//go:build !linux

package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/xrudp/xrudp/userspace/wire"
)

// MaxWhole is the largest UDP payload for which a host needs no fragments.
const MaxWhole = wire.MaxDatagram

// UDP is a Batch over net.UDPConn, for platforms without a better way. One
// goroutine per socket reads ahead.
//
// A socket that serves every address cannot tell which one was addressed: the
// server address of its keys is the unspecified one.
type UDP struct {
	conns   []*net.UDPConn
	ready   chan packet
	free    chan []byte
	held    [][]byte // handed out, until Release
	out     []byte
	queue   []outgoing
	queued  []byte
	route   *Route
	stats   Stats
	closing chan struct{}
}

// packet is a datagram read ahead.
type packet struct {
	buffer []byte
	length int
	key    wire.Key
}

// outgoing is a queued datagram, the next length bytes of UDP.queued.
type outgoing struct {
	key    wire.Key
	length int
}

const plainSize = 2048

// ProbeUDP finds nothing: the sockets of this platform are not shared.
func ProbeUDP(UDPOptions) error { return nil }

// ListenUDP opens the sockets of one worker. Several workers, devices and
// offloads need Linux.
func ListenUDP(opts UDPOptions) ([]*UDP, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("listen on udp: %w", err)
	}
	opts = opts.withDefaults()
	if opts.Workers > 1 || opts.Device != "" {
		return nil, fmt.Errorf("listen on udp: several workers or a device: %w (requires Linux)", ErrNotSupported)
	}
	u := &UDP{
		ready:   make(chan packet, opts.Batch),
		free:    make(chan []byte, 2*opts.Batch),
		out:     make([]byte, MaxDatagram),
		closing: make(chan struct{}),
	}
	for range cap(u.free) {
		u.free <- make([]byte, plainSize)
	}
	for _, port := range opts.Ports {
		addr := netip.AddrPortFrom(opts.Address, port)
		if !opts.Address.IsValid() {
			addr = netip.AddrPortFrom(netip.IPv6Unspecified(), port)
		}
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
		if err != nil {
			u.Close()
			return nil, fmt.Errorf("listen on udp: %w", err)
		}
		_ = conn.SetReadBuffer(opts.ReceiveBuffer)
		_ = conn.SetWriteBuffer(opts.SendBuffer)
		u.conns = append(u.conns, conn)
		go u.read(conn)
	}
	return []*UDP{u}, nil
}

func (u *UDP) read(conn *net.UDPConn) {
	server := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	for {
		var b []byte
		select {
		case b = <-u.free:
		case <-u.closing:
			return
		}
		n, client, err := conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			u.free <- b
			continue
		}
		select {
		case u.ready <- packet{b, n, wire.MakeKey(client, server)}:
		case <-u.closing:
			return
		}
	}
}

// Addrs returns the address of each socket, in the order of the ports.
func (u *UDP) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, len(u.conns))
	for i, c := range u.conns {
		addrs[i] = c.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return addrs
}

// Info reports what the sockets obtained.
func (u *UDP) Info() UDPInfo { return UDPInfo{IPv4: true, IPv6: true} }

// Receive implements Batch.
func (u *UDP) Receive(ds []Datagram) (n int, err error) {
	for n < len(ds) {
		select {
		case p := <-u.ready:
			u.held = append(u.held, p.buffer)
			ds[n] = Datagram{Payload: p.buffer[:p.length:p.length], Key: p.key}
			n++
			u.stats.RxPackets++
			u.stats.RxBytes += uint64(p.length)
			continue
		case <-u.closing:
			return n, net.ErrClosed
		default:
		}
		break
	}
	if n > 0 {
		u.stats.RxBatches++
	}
	return n, nil
}

// Route implements Batch.
func (u *UDP) Route(d *Datagram, r *Route) { *r = Route{Key: d.Key} }

// Release implements Batch.
func (u *UDP) Release() {
	for _, b := range u.held {
		u.free <- b
	}
	u.held = u.held[:0]
}

// Buffer implements Batch.
func (u *UDP) Buffer(r *Route) []byte {
	u.route = nil
	if u.conn(r.Key.ServerPort) == nil {
		return nil
	}
	u.route = r
	return u.out
}

func (u *UDP) conn(port uint16) *net.UDPConn {
	for _, c := range u.conns {
		if uint16(c.LocalAddr().(*net.UDPAddr).Port) == port {
			return c
		}
	}
	return nil
}

// Commit implements Batch.
func (u *UDP) Commit(n int) {
	if u.route == nil {
		panic("transport: Commit without Buffer")
	}
	u.queued = append(u.queued, u.out[:n]...)
	u.queue = append(u.queue, outgoing{u.route.Key, n})
	u.route = nil
}

// Flush implements Batch.
func (u *UDP) Flush() error {
	rest := u.queued
	for i := range u.queue {
		o := &u.queue[i]
		_, err := u.conn(o.key.ServerPort).WriteToUDPAddrPort(rest[:o.length], o.key.ClientAddrPort())
		rest = rest[o.length:]
		u.stats.TxCalls++
		switch {
		case err == nil:
			u.stats.TxPackets++
			u.stats.TxBytes += uint64(o.length)
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			u.stats.TxErrors++
		}
	}
	u.queue, u.queued = u.queue[:0], u.queued[:0]
	return nil
}

// FDs implements Batch. There is nothing to wait for: Receive is to be called
// at intervals.
func (u *UDP) FDs() []int { return nil }

// Stats implements Batch.
func (u *UDP) Stats() Stats { return u.stats }

// Close implements Batch.
func (u *UDP) Close() error {
	select {
	case <-u.closing:
		return nil
	default:
		close(u.closing)
	}
	var errs []error
	for _, c := range u.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
