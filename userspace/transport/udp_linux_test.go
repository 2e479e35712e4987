package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/wire"
)

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
)

func listen(t testing.TB, opts UDPOptions) []*UDP {
	t.Helper()
	if len(opts.Ports) == 0 {
		opts.Ports = []uint16{0}
	}
	us, err := ListenUDP(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, u := range us {
			u.Close()
		}
	})
	return us
}

// port is that of a transport's only socket.
func port(u *UDP) uint16 { return u.Addrs()[0].Port() }

// dial connects an ordinary socket, from source when that is valid.
func dial(t testing.TB, source netip.Addr, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	var local *net.UDPAddr
	if source.IsValid() {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	c, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func addrOf(c *net.UDPConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func write(t testing.TB, c *net.UDPConn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// read returns the next datagram, or fails the test.
func read(t testing.TB, c *net.UDPConn) []byte {
	t.Helper()
	b := make([]byte, 2048)
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// wait returns once one of the transport's descriptors is readable.
func wait(t testing.TB, us ...*UDP) {
	t.Helper()
	var fds []unix.PollFd
	for _, u := range us {
		for _, fd := range u.FDs() {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	for {
		n, err := unix.Poll(fds, 2000)
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Poll(fds, 2000)
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("nothing to receive: %d, %v", n, err)
		}
		return
	}
}

// receive collects n datagrams, payloads and all.
func receive(t testing.TB, u *UDP, n int) []Datagram {
	t.Helper()
	var all []Datagram
	ds := make([]Datagram, 7)
	for got := 0; len(all) < n; {
		if got < len(ds) {
			wait(t, u)
		}
		var err error
		if got, err = u.Receive(ds); err != nil {
			t.Fatal(err)
		}
		for _, d := range ds[:got] {
			d.Payload = bytes.Clone(d.Payload)
			all = append(all, d)
		}
		u.Release()
	}
	if len(all) > n {
		t.Fatalf("received %d, want %d", len(all), n)
	}
	return all
}

// send queues a datagram.
func send(t testing.TB, u *UDP, r *Route, payload []byte) {
	t.Helper()
	b := u.Buffer(r)
	if len(b) != MaxDatagram {
		t.Fatalf("buffer of %d bytes", len(b))
	}
	u.Commit(copy(b, payload))
}

func flush(t testing.TB, u *UDP) {
	t.Helper()
	if err := u.Flush(); err != nil {
		t.Fatal(err)
	}
}

// The key names the address that was addressed, and the answer leaves from it,
// even where the socket serves every address.
func TestUDPAnswersFromTheAddressAddressed(t *testing.T) {
	second := netip.MustParseAddr("127.0.0.2")
	tests := []struct {
		name   string
		listen netip.Addr
		to     netip.Addr
	}{
		{"any_ipv4", netip.Addr{}, loopback4},
		{"any_second_ipv4", netip.Addr{}, second},
		{"any_ipv6", netip.Addr{}, loopback6},
		{"unspecified_ipv4", netip.IPv4Unspecified(), second},
		{"unspecified_ipv6", netip.IPv6Unspecified(), loopback6},
		{"one_ipv4", second, second},
		{"one_ipv6", loopback6, loopback6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := listen(t, UDPOptions{Address: tt.listen})[0]
			to := netip.AddrPortFrom(tt.to, port(u))
			c := dial(t, netip.Addr{}, to)
			write(t, c, []byte("ping"))

			d := receive(t, u, 1)[0]
			if want := wire.MakeKey(addrOf(c), to); d.Key != want {
				t.Errorf("key %v -> %v, want %v -> %v", d.Key.ClientAddrPort(), d.Key.ServerAddrPort(),
					want.ClientAddrPort(), want.ServerAddrPort())
			}
			if string(d.Payload) != "ping" || d.Gated || d.Frame != nil {
				t.Errorf("payload %q, gated %t, frame %v", d.Payload, d.Gated, d.Frame)
			}
			// A connected socket takes answers from its peer alone.
			var r Route
			u.Route(&d, &r)
			send(t, u, &r, []byte("pong"))
			flush(t, u)
			if got := read(t, c); string(got) != "pong" {
				t.Errorf("answer %q", got)
			}
		})
	}
}

// A route made from a key alone suffices, as for a session that was recovered.
func TestUDPSendsByKeyAlone(t *testing.T) {
	u := listen(t, UDPOptions{})[0]
	c := dial(t, netip.Addr{}, netip.AddrPortFrom(loopback4, port(u)))
	send(t, u, &Route{Key: wire.MakeKey(addrOf(c), netip.AddrPortFrom(loopback4, port(u)))}, []byte("hello"))
	flush(t, u)
	if got := read(t, c); string(got) != "hello" {
		t.Errorf("got %q", got)
	}
}

func TestUDPServesSeveralPorts(t *testing.T) {
	u := listen(t, UDPOptions{Ports: []uint16{0, 0}})[0]
	for i, addr := range u.Addrs() {
		c := dial(t, netip.Addr{}, netip.AddrPortFrom(loopback4, addr.Port()))
		write(t, c, []byte{byte(i)})
		d := receive(t, u, 1)[0]
		if d.Key.ServerPort != addr.Port() || d.Payload[0] != byte(i) {
			t.Errorf("port %d: key has %d, payload %v", addr.Port(), d.Key.ServerPort, d.Payload)
		}
		var r Route
		u.Route(&d, &r)
		send(t, u, &r, d.Payload)
		flush(t, u)
		if got := read(t, c); got[0] != byte(i) {
			t.Errorf("port %d answers %v", addr.Port(), got)
		}
	}
}

// The workers of one server share a port, and nobody else does.
func TestUDPPortIsTaken(t *testing.T) {
	first := listen(t, UDPOptions{Address: netip.MustParseAddr("127.0.0.1"), Ports: []uint16{0}, Workers: 2})
	port := first[0].Addrs()[0].Port()
	for _, addr := range []string{"127.0.0.1", "0.0.0.0", "::"} {
		others, err := ListenUDP(UDPOptions{Address: netip.MustParseAddr(addr), Ports: []uint16{port}, Workers: 1})
		if !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("a second server on %s: %v", addr, err)
		}
		for _, u := range others {
			u.Close()
		}
	}
}

// Workers share a port; each client stays with one of them.
func TestUDPSpreadsClientsOverWorkers(t *testing.T) {
	const workers, clients, rounds = 2, 32, 3
	us := listen(t, UDPOptions{Workers: workers})
	to := netip.AddrPortFrom(loopback4, port(us[0]))
	owner := make(map[wire.Key]int)
	served := make([]int, workers)
	conns := make([]*net.UDPConn, clients)
	for i := range conns {
		conns[i] = dial(t, netip.Addr{}, to)
	}
	ds := make([]Datagram, 2*clients)
	for range rounds {
		for _, c := range conns {
			write(t, c, []byte("x"))
		}
		for got := 0; got < clients; {
			wait(t, us...)
			for w, u := range us {
				n, err := u.Receive(ds)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range ds[:n] {
					if old, ok := owner[d.Key]; ok && old != w {
						t.Errorf("client %v moved from worker %d to %d", d.Key.ClientAddrPort(), old, w)
					}
					owner[d.Key] = w
				}
				served[w] += n
				got += n
				u.Release()
			}
		}
	}
	if served[0] == 0 || served[1] == 0 || served[0]+served[1] != clients*rounds {
		t.Errorf("workers served %v of %d", served, clients*rounds)
	}
}

// Datagrams joined by one socket arrive whole at the other, whether or not
// either side joins or splits.
func TestUDPOffloads(t *testing.T) {
	sizes := []int{1200, 1200, 1200, 700, 1200, 40, 40, 40, 0, 40, 41, 1}
	tests := []struct {
		name     string
		from, to bool // offloads
		addr     netip.Addr
	}{
		{"none", false, false, loopback4},
		{"joined_to_split", true, true, loopback4},
		{"joined_to_plain", true, false, loopback4},
		{"plain_to_split", false, true, loopback4},
		{"joined_to_split_ipv6", true, true, loopback6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from := listen(t, UDPOptions{Address: tt.addr, NoOffload: !tt.from, Batch: 8})[0]
			to := listen(t, UDPOptions{Address: tt.addr, NoOffload: !tt.to, Batch: 8})[0]
			if info := from.Info(); tt.from && !info.GSO {
				t.Skip("kernel without UDP_SEGMENT")
			}
			if info := to.Info(); tt.to && !info.GRO {
				t.Skip("kernel without UDP_GRO")
			}
			r := &Route{Key: wire.MakeKey(
				netip.AddrPortFrom(tt.addr, port(to)), netip.AddrPortFrom(tt.addr, port(from)))}
			payload := func(i int) []byte {
				b := bytes.Repeat([]byte{byte(i + 1)}, sizes[i])
				return b
			}
			for i := range sizes {
				send(t, from, r, payload(i))
			}
			flush(t, from)
			for i, d := range receive(t, to, len(sizes)) {
				if !bytes.Equal(d.Payload, payload(i)) {
					t.Errorf("datagram %d has %d bytes %x..., want %d of %x",
						i, len(d.Payload), d.Payload[:min(4, len(d.Payload))], sizes[i], i+1)
				}
				if want := wire.MakeKey(r.Key.ServerAddrPort(), r.Key.ClientAddrPort()); d.Key != want {
					t.Errorf("datagram %d has key %v", i, d.Key)
				}
			}
			tx, rx := from.Stats(), to.Stats()
			if joined := tx.TxSegmented > 0; joined != tt.from {
				t.Errorf("%d datagrams left joined", tx.TxSegmented)
			}
			if split := rx.RxSegmented > 0; split != (tt.from && tt.to) {
				t.Errorf("%d datagrams arrived joined", rx.RxSegmented)
			}
			if tx.TxPackets != uint64(len(sizes)) || rx.RxPackets != uint64(len(sizes)) || tx.TxBytes != rx.RxBytes {
				t.Errorf("sent %d with %d bytes, received %d with %d",
					tx.TxPackets, tx.TxBytes, rx.RxPackets, rx.RxBytes)
			}
		})
	}
}

// A long run to one client takes few system calls, and messages stay within
// what the kernel joins.
func TestUDPJoinsWithinLimits(t *testing.T) {
	for _, size := range []int{20, 1200} {
		t.Run(fmt.Sprintf("size_%d", size), func(t *testing.T) {
			const count = 200
			from := listen(t, UDPOptions{Address: loopback4, Batch: count})[0]
			to := listen(t, UDPOptions{Address: loopback4})[0]
			if !from.Info().GSO {
				t.Skip("kernel without UDP_SEGMENT")
			}
			r := &Route{Key: wire.MakeKey(to.Addrs()[0], from.Addrs()[0])}
			b := make([]byte, size)
			for i := range count {
				binary.BigEndian.PutUint32(b, uint32(i))
				send(t, from, r, b)
			}
			flush(t, from)
			for i, d := range receive(t, to, count) {
				if got := binary.BigEndian.Uint32(d.Payload); got != uint32(i) || len(d.Payload) != size {
					t.Fatalf("datagram %d carries %d in %d bytes", i, got, len(d.Payload))
				}
			}
			if st := from.Stats(); st.TxCalls != 1 || st.TxErrors != 0 || st.TxSegmented != count {
				t.Errorf("%d calls, %d errors, %d joined; want 1, 0, %d", st.TxCalls, st.TxErrors, st.TxSegmented, count)
			}
		})
	}
}

// What one client's route refuses does not keep others from their datagrams.
func TestUDPSkipsWhatTheKernelRefuses(t *testing.T) {
	u := listen(t, UDPOptions{Address: loopback4})[0]
	c := dial(t, netip.Addr{}, u.Addrs()[0])
	good := &Route{Key: wire.MakeKey(addrOf(c), u.Addrs()[0])}
	tests := []struct {
		name string
		key  wire.Key
	}{
		// EACCES: the socket may not broadcast.
		{"broadcast", wire.MakeKey(netip.MustParseAddrPort("255.255.255.255:9"), u.Addrs()[0])},
		// EINVAL: not an address of this host.
		{"foreign_source", wire.MakeKey(addrOf(c), netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), port(u)))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := u.Stats()
			send(t, u, good, []byte("before"))
			send(t, u, &Route{Key: tt.key}, []byte("lost"))
			send(t, u, &Route{Key: tt.key}, []byte("LOST"))
			send(t, u, good, []byte("after"))
			flush(t, u)
			for _, want := range []string{"before", "after"} {
				if got := read(t, c); string(got) != want {
					t.Errorf("client got %q, want %q", got, want)
				}
			}
			st := u.Stats()
			if got := st.TxErrors - before.TxErrors; got != 2 {
				t.Errorf("%d errors counted, want 2", got)
			}
			if got := st.TxPackets - before.TxPackets; got != 2 {
				t.Errorf("%d packets counted, want 2", got)
			}
		})
	}
}

// An ICMP error about something sent is counted and stops nothing.
func TestUDPIgnoresICMPErrors(t *testing.T) {
	u := listen(t, UDPOptions{Address: loopback4})[0]
	if err := unix.SetsockoptInt(u.FDs()[0], unix.IPPROTO_IP, unix.IP_RECVERR, 1); err != nil {
		t.Fatal(err)
	}
	gone := dial(t, netip.Addr{}, u.Addrs()[0])
	addr := addrOf(gone)
	gone.Close()
	send(t, u, &Route{Key: wire.MakeKey(addr, u.Addrs()[0])}, []byte("anyone?"))
	flush(t, u)

	c := dial(t, netip.Addr{}, u.Addrs()[0])
	write(t, c, []byte("ping"))
	d := receive(t, u, 1)[0]
	if string(d.Payload) != "ping" {
		t.Errorf("received %q", d.Payload)
	}
	if got := u.Stats().RxErrors; got == 0 {
		t.Error("the error was not counted")
	}
}

func TestUDPBufferRefusesForeignRoutes(t *testing.T) {
	u := listen(t, UDPOptions{Address: loopback4})[0]
	client4 := netip.AddrPortFrom(loopback4, 9)
	tests := []struct {
		name string
		key  wire.Key
	}{
		{"other_port", wire.MakeKey(client4, netip.AddrPortFrom(loopback4, port(u)^1))},
		{"other_family", wire.MakeKey(netip.AddrPortFrom(loopback6, 9), netip.AddrPortFrom(loopback6, port(u)))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if u.Buffer(&Route{Key: tt.key}) != nil {
				t.Error("got a buffer")
			}
		})
	}
}

// A batch larger than the caller's slice is handed out over several calls, and
// memory is not reused before Release.
func TestUDPReceiveInParts(t *testing.T) {
	const count = 60
	from := listen(t, UDPOptions{Address: loopback4, Batch: count})[0]
	to := listen(t, UDPOptions{Address: loopback4, Batch: 2})[0]
	r := &Route{Key: wire.MakeKey(to.Addrs()[0], from.Addrs()[0])}
	for i := range count {
		send(t, from, r, []byte{byte(i), byte(i), byte(i)})
	}
	flush(t, from)

	var all []Datagram
	ds := make([]Datagram, 4)
	for n, next := 0, 0; next < count; {
		if n < len(ds) {
			wait(t, to)
		}
		for range 3 {
			var err error
			if n, err = to.Receive(ds); err != nil {
				t.Fatal(err)
			}
			all = append(all, ds[:n]...)
		}
		for _, d := range all {
			if !bytes.Equal(d.Payload, []byte{byte(next), byte(next), byte(next)}) {
				t.Fatalf("datagram %d is %v", next, d.Payload)
			}
			next++
		}
		all = all[:0]
		to.Release()
	}
}

// Datagrams lost to a full socket buffer are counted.
func TestUDPCountsDrops(t *testing.T) {
	u := listen(t, UDPOptions{Address: loopback4, ReceiveBuffer: 4096, NoOffload: true})[0]
	c := dial(t, netip.Addr{}, u.Addrs()[0])
	b := make([]byte, 1200)
	for range 50 {
		write(t, c, b)
	}
	ds := make([]Datagram, 64)
	var received int
	for {
		n, err := u.Receive(ds)
		if err != nil {
			t.Fatal(err)
		}
		u.Release()
		if n == 0 {
			break
		}
		received += n
	}
	// The kernel tells of drops with the next datagram.
	write(t, c, b)
	received += len(receive(t, u, 1))
	if got := u.Stats().RxDropped; received == 51 || got != uint64(51-received) {
		t.Errorf("%d of 51 received, %d counted as dropped", received, got)
	}
}

func TestUDPOversizeIsInvalid(t *testing.T) {
	u := listen(t, UDPOptions{Address: loopback4, NoOffload: true})[0]
	c := dial(t, netip.Addr{}, u.Addrs()[0])
	write(t, c, make([]byte, plainSize+1))
	write(t, c, []byte("small"))
	if d := receive(t, u, 1)[0]; string(d.Payload) != "small" {
		t.Errorf("received %d bytes", len(d.Payload))
	}
	if got := u.Stats().RxInvalid; got != 1 {
		t.Errorf("RxInvalid is %d, want 1", got)
	}
}

func TestUDPMulticastIsInvalid(t *testing.T) {
	tests := []struct {
		name string
		addr string
		want bool
	}{
		{"unicast", "192.0.2.1", false},
		{"multicast", "224.0.0.1", true},
		{"broadcast", "255.255.255.255", true},
		{"unicast_ipv6", "2001:db8::1", false},
		{"multicast_ipv6", "ff02::1", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := netip.MustParseAddr(tt.addr).As16()
			if got := isGroup(&a); got != tt.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

func TestUDPBindsToDevice(t *testing.T) {
	u := listen(t, UDPOptions{Device: "lo"})[0]
	c := dial(t, netip.Addr{}, netip.AddrPortFrom(loopback4, port(u)))
	write(t, c, []byte("ping"))
	d := receive(t, u, 1)[0]
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if int(d.Interface) != lo.Index {
		t.Errorf("interface %d, want %d", d.Interface, lo.Index)
	}
	if _, err := ListenUDP(UDPOptions{Device: "no-such-device", Ports: []uint16{0}}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("unknown device: %v", err)
	}
}

func TestUDPClosed(t *testing.T) {
	u := listen(t, UDPOptions{})[0]
	if err := u.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Receive(make([]Datagram, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	if err := u.Flush(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("flush: %v", err)
	}
	if err := u.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

func TestUDPOptionsAreChecked(t *testing.T) {
	ports := []uint16{0}
	tests := []struct {
		name string
		opts UDPOptions
	}{
		{"no_port", UDPOptions{}},
		{"negative_workers", UDPOptions{Ports: ports, Workers: -1}},
		{"batch_too_large", UDPOptions{Ports: ports, Batch: maxUDPBatch + 1}},
		{"negative_buffer", UDPOptions{Ports: ports, ReceiveBuffer: -1}},
		{"zone", UDPOptions{Ports: ports, Address: netip.MustParseAddr("fe80::1%lo")}},
		{"multicast", UDPOptions{Ports: ports, Address: netip.MustParseAddr("224.0.0.1")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if us, err := ListenUDP(tt.opts); err == nil {
				us[0].Close()
				t.Error("accepted")
			}
		})
	}
}

func TestUDPDoesNotAllocate(t *testing.T) {
	for _, addr := range []netip.Addr{loopback4, loopback6} {
		a := listen(t, UDPOptions{Address: addr})[0]
		b := listen(t, UDPOptions{Address: addr})[0]
		r := &Route{Key: wire.MakeKey(b.Addrs()[0], a.Addrs()[0])}
		ds := make([]Datagram, 16)
		var back Route
		if n := testing.AllocsPerRun(50, func() {
			for i := range 16 {
				a.Buffer(r)
				a.Commit(100 + i%4)
			}
			if err := a.Flush(); err != nil {
				t.Fatal(err)
			}
			for got := 0; got < 16; {
				n, err := b.Receive(ds)
				if err != nil {
					t.Fatal(err)
				}
				for i := range n {
					b.Route(&ds[i], &back)
				}
				got += n
				b.Release()
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations per pass", addr, n)
		}
	}
}

func BenchmarkUDP(b *testing.B) {
	for _, plain := range []bool{false, true} {
		name := "offload"
		if plain {
			name = "plain"
		}
		b.Run(name, func(b *testing.B) {
			const batch = 64
			from := listen(b, UDPOptions{Address: loopback4, NoOffload: plain})[0]
			to := listen(b, UDPOptions{Address: loopback4, NoOffload: plain})[0]
			r := &Route{Key: wire.MakeKey(to.Addrs()[0], from.Addrs()[0])}
			ds := make([]Datagram, batch)
			b.ReportAllocs()
			for b.Loop() {
				for range batch {
					from.Buffer(r)
					from.Commit(64)
				}
				flush(b, from)
				for got := 0; got < batch; {
					n, err := to.Receive(ds)
					if err != nil {
						b.Fatal(err)
					}
					got += n
					to.Release()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/packet")
		})
	}
}
