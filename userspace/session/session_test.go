package session

import (
	"testing"

	"github.com/xrudp/xrudp/userspace/wire"
)

const ms = uint64(1e6)

func TestHandshake(t *testing.T) {
	now := uint64(1e9)
	var got []string
	cfg := Config{Message: func(_ *Session, m Message) { got = append(got, string(m.Payload)) }}
	c := NewClient(cfg, 100, now)
	buf := make([]byte, wire.MaxDatagram)
	n := c.Fill(buf, now)
	h, opts, err := wire.ParseSYN(buf[:n])
	if err != nil || h.Sequence != 100 || !opts.SACK {
		t.Fatalf("SYN: %+v %+v %v", h, opts, err)
	}
	if c.Fill(buf, now) != 0 {
		t.Fatal("a second SYN at once")
	}
	now += 20 * ms
	reply := wire.AppendSYNACK(nil, 100, wire.Options{Cookie: 4000, HasCookie: true, SACK: true, MTU: 1200}, now/1000)
	if err := c.Packet(reply, now); err != nil || c.State() != HelloSent {
		t.Fatalf("SYN|ACK: %v, %v", err, c.State())
	}
	n = c.Fill(buf, now)
	h, body, err := wire.ParseHeader(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	hello, err := wire.ParseHello(body)
	if err != nil || hello.Cookie != 4000 || !hello.SACK || h.Sequence != 101 || h.Ack != 2001 {
		t.Fatalf("HELLO: %+v %+v %v", h, hello, err)
	}
	s := NewServer(cfg, Opening{
		ID: 1, ClientISN: h.Sequence - 1, ServerISN: h.Ack - 1,
		Window: h.Window, Timestamp: h.Timestamp, SACK: hello.SACK, MTU: hello.MTU,
	}, now)
	if err := s.Send(ReliableOrdered, 3, 1, []byte("welcome")); err != nil {
		t.Fatal(err)
	}
	now += 10 * ms
	for n = s.Fill(buf, now); n > 0; n = s.Fill(buf, now) {
		if err := c.Packet(buf[:n], now); err != nil {
			t.Fatal(err)
		}
	}
	if c.State() != Open || len(got) != 1 || got[0] != "welcome" {
		t.Fatalf("client %v, got %q", c.State(), got)
	}
}
