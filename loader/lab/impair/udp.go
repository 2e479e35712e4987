package impair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/xrudp/xrudp/userspace/simnet"
)

// maxDatagram is more than any peer sends.
const maxDatagram = 2048

// socketBuffer is wanted of every socket, in bytes; the host may allow less.
const socketBuffer = 4 << 20

// UDP stands between clients and a server: it takes datagrams on an address of
// its own and passes them on over a bad path, and the answers back. Towards
// the server each client has a socket. Its methods may be called concurrently.
type UDP struct {
	path   *path
	start  time.Time
	server *net.UDPAddr
	outer  *net.UDPConn // to the clients
	wake   chan struct{}
	done   chan struct{}
	work   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	byAddr  map[netip.AddrPort]uint32
	clients []client
}

// client is known by its index, which travels in front of its datagrams.
type client struct {
	address netip.AddrPort
	inner   *net.UDPConn // to the server
}

const indexSize = 4

func (u *UDP) overhead() int       { return simnet.UDPOverhead - indexSize }
func (u *UDP) spared([]byte) int   { return indexSize }
func (u *UDP) capable([]byte) bool { return false } // the sockets hide it
func (u *UDP) mark([]byte)         {}

// ListenUDP opens a relay to the server on the loopback interface.
func ListenUDP(server string, opts Options) (*UDP, error) {
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		return nil, fmt.Errorf("relay to %s: %w", server, err)
	}
	outer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("relay to %s: %w", server, err)
	}
	enlarge(outer)
	u := &UDP{
		start: time.Now(), server: to, outer: outer,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		byAddr: make(map[netip.AddrPort]uint32),
	}
	u.path = newPath(opts, 0, u)
	u.work.Go(u.keepTime)
	u.work.Go(u.fromClients)
	return u, nil
}

// enlarge makes room for bursts, as far as the host lets it.
func enlarge(conn *net.UDPConn) {
	_ = conn.SetReadBuffer(socketBuffer)
	_ = conn.SetWriteBuffer(socketBuffer)
}

// Addr is where clients find the relay.
func (u *UDP) Addr() netip.AddrPort { return u.outer.LocalAddr().(*net.UDPAddr).AddrPort() }

// Set changes a direction for datagrams sent from now on.
func (u *UDP) Set(d Direction, c Conditions) { u.path.set(d, c) }

// Stats returns what was counted so far.
func (u *UDP) Stats(d Direction) PathStats { return u.path.stats(d) }

func (u *UDP) now() uint64 { return uint64(time.Since(u.start)) }

// keepTime delivers what is due.
func (u *UDP) keepTime() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-u.done:
			return
		case <-u.wake:
		case <-timer.C:
		}
		now := u.now()
		if next := u.path.run(now); next != Never {
			timer.Reset(time.Duration(next - now))
		}
	}
}

// send puts a datagram on its way, behind the client's index.
func (u *UDP) send(d Direction, index uint32, b []byte) {
	binary.NativeEndian.PutUint32(b, index)
	u.path.send(u.now(), d, b)
	select {
	case u.wake <- struct{}{}: // the next one due may be this
	default:
	}
}

// deliver sends a datagram that has arrived. What the system refuses is lost.
func (u *UDP) deliver(d Direction, b []byte) {
	u.mu.Lock()
	c := u.clients[binary.NativeEndian.Uint32(b)]
	u.mu.Unlock()
	if d == ToServer {
		_, _ = c.inner.Write(b[indexSize:])
	} else {
		_, _ = u.outer.WriteToUDPAddrPort(b[indexSize:], c.address)
	}
}

// fromClients reads what clients send until the relay closes. An ICMP error of
// something sent earlier is no reason to stop.
func (u *UDP) fromClients() {
	buf := make([]byte, indexSize+maxDatagram)
	for {
		n, from, err := u.outer.ReadFromUDPAddrPort(buf[indexSize:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if index, ok := u.client(from); ok {
			u.send(ToServer, index, buf[:indexSize+n])
		}
	}
}

// client returns the index of a client, new or not. A datagram for which no
// socket can be had is lost.
func (u *UDP) client(address netip.AddrPort) (index uint32, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if index, ok := u.byAddr[address]; ok || u.closed {
		return index, ok
	}
	inner, err := net.DialUDP("udp", nil, u.server)
	if err != nil {
		return 0, false
	}
	enlarge(inner)
	index = uint32(len(u.clients))
	u.byAddr[address] = index
	u.clients = append(u.clients, client{address, inner})
	u.work.Go(func() { u.fromServer(index, inner) })
	return index, true
}

// fromServer reads what the server sends to one client.
func (u *UDP) fromServer(index uint32, inner *net.UDPConn) {
	buf := make([]byte, indexSize+maxDatagram)
	for {
		n, err := inner.Read(buf[indexSize:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			u.send(ToClient, index, buf[:indexSize+n])
		}
	}
}

// Close ends the relay. What is on its way is lost. A second Close does
// nothing.
func (u *UDP) Close() error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil
	}
	u.closed = true
	close(u.done)
	errs := []error{u.outer.Close()}
	for _, c := range u.clients {
		errs = append(errs, c.inner.Close())
	}
	u.mu.Unlock()
	u.work.Wait()
	return errors.Join(errs...)
}
