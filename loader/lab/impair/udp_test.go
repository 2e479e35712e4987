package impair

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// echo answers every datagram until the test ends.
func echo(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, maxDatagram)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(b[:n], from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

func dial(t *testing.T, u *UDP) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp", u.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func relayTo(t *testing.T, server string, opts Options) *UDP {
	t.Helper()
	u, err := ListenUDP(server, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

func TestUDPRelay(t *testing.T) {
	const there, back = 8 * time.Millisecond, 4 * time.Millisecond
	u := relayTo(t, echo(t), Options{
		ToServer: Conditions{Link: Link{Delay: there}}, ToClient: Conditions{Link: Link{Delay: back}},
	})
	var clients []net.Conn
	for range 3 {
		clients = append(clients, dial(t, u))
	}
	b := make([]byte, maxDatagram)
	for round := range 10 {
		started := time.Now()
		for i, c := range clients {
			if _, err := fmt.Fprintf(c, "%d from %d", round, i); err != nil {
				t.Fatal(err)
			}
		}
		for i, c := range clients {
			c.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, err := c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(b[:n]), fmt.Sprintf("%d from %d", round, i); got != want {
				t.Errorf("client %d received %q, want %q", i, got, want)
			}
			if trip := time.Since(started); trip < there+back {
				t.Errorf("a round trip took %v, want %v at least", trip, there+back)
			}
		}
	}
	for _, d := range []Direction{ToServer, ToClient} {
		if s := u.Stats(d); s.Sent != 30 || s.Delivered != 30 {
			t.Errorf("direction %d: %+v", d, s)
		}
	}
}

func TestUDPRelaySet(t *testing.T) {
	u := relayTo(t, echo(t), Options{})
	c := dial(t, u)
	u.Set(ToServer, Conditions{Link: Link{Loss: 1}})
	if _, err := c.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); u.Stats(ToServer).Lost == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing lost: %+v", u.Stats(ToServer))
		}
	}
	u.Set(ToServer, Conditions{})
	if _, err := c.Write([]byte("kept")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxDatagram)
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(b); err != nil || string(b[:n]) != "kept" {
		t.Errorf("received %q, %v", b[:n], err)
	}
}

func TestUDPRelayCloses(t *testing.T) {
	u := relayTo(t, echo(t), Options{ToClient: Conditions{Link: Link{Delay: time.Hour}}})
	c := dial(t, u)
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := u.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestUDPRelayNeedsServer(t *testing.T) {
	if _, err := ListenUDP("nowhere", Options{}); err == nil {
		t.Error("a server without a port is taken")
	}
}
