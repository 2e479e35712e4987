package transport

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// setsockopt sets an option of an ordinary socket.
func setsockopt(t *testing.T, c *net.UDPConn, level, option, value int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, value) }); err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Fatal(failed)
	}
}

// Marks of Congestion Experienced come up, in either family and on either kind
// of socket, and what is sent can be marked.
func TestUDPMarks(t *testing.T) {
	tests := []struct {
		name   string
		listen netip.Addr
		from   netip.Addr
	}{
		{"ip4", loopback4, loopback4},
		{"ip6", loopback6, loopback6},
		{"ip4_on_both", netip.Addr{}, loopback4},
		{"ip6_on_both", netip.Addr{}, loopback6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := listen(t, UDPOptions{Address: tt.listen})[0]
			c := dial(t, tt.from, netip.AddrPortFrom(tt.from, port(u)))
			level, class, want := unix.IPPROTO_IP, unix.IP_TOS, unix.IP_RECVTOS
			if tt.from.Is6() {
				level, class, want = unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_RECVTCLASS
			}
			setsockopt(t, c, level, want, 1)
			var route Route
			for ecn := range 4 {
				setsockopt(t, c, level, class, 0xb8|ecn)
				write(t, c, []byte("x"))
				d := receive(t, u, 1)[0]
				if d.CE != (ecn == ecnCE) {
					t.Errorf("ECN field %d: CE = %v", ecn, d.CE)
				}
				u.Route(&d, &route)
			}
			send(t, u, &route, []byte("answer"))
			flush(t, u)
			if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
				t.Fatal(err)
			}
			b, control := make([]byte, 64), make([]byte, 64)
			_, n, _, _, err := c.ReadMsgUDP(b, control)
			if err != nil {
				t.Fatal(err)
			}
			messages, err := unix.ParseSocketControlMessage(control[:n])
			if err != nil || len(messages) != 1 {
				t.Fatalf("%d control messages, %v", len(messages), err)
			}
			if got := messages[0].Data[0]; got != ecnECT0 {
				t.Errorf("sent with class %#x, want ECT(0)", got)
			}
		})
	}
}
