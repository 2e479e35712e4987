package client

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// A SYN that is not answered is sent again without ECN-capability.
func TestUnansweredSYNIsUnmarked(t *testing.T) {
	server, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	prepare(server)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := Dial(ctx, server.LocalAddr().String(), Options{}); err == nil {
			t.Error("connected to nobody")
		}
	}()
	if err := server.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf, control := make([]byte, 2048), make([]byte, controlSize)
	for i, want := range []byte{ecnECT0, 0, 0} {
		_, used, _, _, err := server.ReadMsgUDPAddrPort(buf, control)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := syscall.ParseSocketControlMessage(control[:used])
		if err != nil || len(messages) != 1 || messages[0].Data[0] != want {
			t.Errorf("SYN %d has %v, %v; want class %d", i, messages, err, want)
		}
	}
	cancel()
	<-done
}

// Marks of Congestion Experienced are told from other datagrams, and what a
// prepared socket sends can be marked.
func TestMarks(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			to := netip.AddrPortFrom(netip.MustParseAddr(address), 0)
			peer, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(to))
			if err != nil {
				t.Skipf("listen: %v", err)
			}
			defer peer.Close()
			prepare(peer) // to see what comes
			socket, err := net.Dial("udp", peer.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			prepare(socket)

			deadline := time.Now().Add(2 * time.Second)
			buf, control := make([]byte, 64), make([]byte, controlSize)
			if err := peer.SetReadDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			if err := socket.SetReadDeadline(deadline); err != nil {
				t.Fatal(err)
			}
			if _, err := socket.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			_, used, _, from, err := peer.ReadMsgUDPAddrPort(buf, control)
			if err != nil {
				t.Fatal(err)
			}
			messages, err := syscall.ParseSocketControlMessage(control[:used])
			if err != nil || len(messages) != 1 || messages[0].Data[0] != ecnECT0 {
				t.Errorf("sent with %v, %v; want ECT(0)", messages, err)
			}
			raw, err := peer.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			for class := range 4 {
				err := raw.Control(func(fd uintptr) {
					_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TOS, class)
					_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_TCLASS, class)
				})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := peer.WriteToUDPAddrPort([]byte("y"), from); err != nil {
					t.Fatal(err)
				}
				if n, marked, _ := read(socket, buf, control, 0); n != 1 || marked != (class == ecnCE) {
					t.Errorf("class %d: %d bytes, marked %v", class, n, marked)
				}
			}
		})
	}
}

// What a client receives with Congestion Experienced makes the server give way.
func TestMarksReachTheServer(t *testing.T) {
	for _, class := range []int{ecnECT0, ecnCE} {
		server := newServer(t, "")
		raw, err := server.socket.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		err = raw.Control(func(fd uintptr) {
			if err := syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TOS, class); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		c := dial(t, server.address(), Options{})
		marks := func() (n uint64) {
			server.do(func(uint64) {
				for _, p := range server.peers {
					n = p.Stats().Marks
				}
			})
			return n
		}
		exchange := func() {
			if err := c.Send(ReliableOrdered, 1, 1, []byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Receive(withPatience(t)); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 {
			exchange()
		}
		if class == ecnCE {
			eventually(t, "the server hears of marks", func() bool {
				exchange()
				return marks() > 0
			})
		} else if got := marks(); got != 0 {
			t.Errorf("the server heard of %d marks, and there were none", got)
		}
	}
}

func TestReadMarkedDoesNotAllocate(t *testing.T) {
	peer, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	socket, err := net.Dial("udp4", peer.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	prepare(socket)
	from := socket.LocalAddr().(*net.UDPAddr).AddrPort()
	payload, buf, control := make([]byte, 100), make([]byte, maxPacket), make([]byte, controlSize)
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := peer.WriteToUDPAddrPort(payload, from); err != nil {
			t.Fatal(err)
		}
		if n, _, err := readMarked(socket, buf, control); n != len(payload) || err != nil {
			t.Fatal(n, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for each packet", allocs)
	}
}
