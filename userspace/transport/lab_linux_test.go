package transport

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Datagrams that exceed the MTU are refused, joined or not: none leaves in
// fragments. Those that fit pass.
func TestUDPSmallMTU(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	var from, to *UDP
	err := l.Server.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMTU(lo, 1000); err != nil {
			return err
		}
		from = listen(t, UDPOptions{Address: loopback4})[0]
		to = listen(t, UDPOptions{Address: loopback4})[0]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &Route{Key: wire.MakeKey(to.Addrs()[0], from.Addrs()[0])}
	payload := bytes.Repeat([]byte{7}, 1000)
	const fits = 1000 - 28
	for _, n := range []int{fits + 1, fits + 1, fits, fits + 1} {
		send(t, from, r, payload[:n])
	}
	flush(t, from)
	if d := receive(t, to, 1)[0]; !bytes.Equal(d.Payload, payload[:fits]) {
		t.Errorf("datagram of %d bytes", len(d.Payload))
	}
	if st := from.Stats(); st.TxPackets != 1 || st.TxErrors != 3 || st.TxSegmented != 0 {
		t.Errorf("%d sent, %d errors, %d joined", st.TxPackets, st.TxErrors, st.TxSegmented)
	}
}

// Link-local clients are answered through the interface they are behind.
func TestUDPLinkLocal(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	server, client := netip.MustParseAddr("fe80::aa"), netip.MustParseAddr("fe80::bb")
	add := func(end *lab.End, addr netip.Addr) error {
		dev, err := netlink.LinkByName(end.Interface)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(dev, &netlink.Addr{
			IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(64, 128)},
			Flags: unix.IFA_F_NODAD,
		})
	}
	var u *UDP
	if err := l.Server.Do(func() error {
		u = listen(t, UDPOptions{})[0]
		return add(&l.Server, server)
	}); err != nil {
		t.Fatal(err)
	}
	var c *net.UDPConn
	if err := l.Client.Do(func() error {
		if err := add(&l.Client, client); err != nil {
			return err
		}
		zone := l.Client.Interface
		c = dial(t, client.WithZone(zone), netip.AddrPortFrom(server.WithZone(zone), port(u)))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	write(t, c, []byte("ping"))
	d := receive(t, u, 1)[0]
	if d.Key.ClientAddrPort().Addr() != client || d.Key.ServerAddrPort().Addr() != server || int(d.Interface) != l.Server.Index {
		t.Errorf("key %v -> %v on interface %d", d.Key.ClientAddrPort(), d.Key.ServerAddrPort(), d.Interface)
	}
	var r Route
	u.Route(&d, &r)
	send(t, u, &r, []byte("pong"))
	flush(t, u)
	if got := read(t, c); string(got) != "pong" {
		t.Errorf("answer %q; %+v", got, u.Stats())
	}
}
