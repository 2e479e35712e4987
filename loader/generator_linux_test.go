package loader

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf/link"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	firstSequence = uint32(0xfffffffe) // wraps within the test
	serverISN     = 99
)

func newGenerator(t *testing.T, opts GeneratorOptions) *Generator {
	t.Helper()
	opts.Sequence, opts.Ack = firstSequence, serverISN+1
	g, err := NewGenerator(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func TestGeneratorPackets(t *testing.T) {
	labtest.Root(t)
	const sessions = 2
	client := netip.MustParseAddrPort("10.99.0.2:20000")
	server := netip.MustParseAddrPort("10.99.0.1:7777")
	g := newGenerator(t, GeneratorOptions{
		Sessions: sessions, Interface: 1, Client: client, Server: server,
		ClientMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, ServerMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	})
	for i := range uint32(6) {
		action, out, err := g.objects.Generate.Test(g.data)
		if err != nil {
			t.Fatal(err)
		}
		if action != 4 { // XDP_REDIRECT
			t.Fatalf("packet %d: action %d, want redirect", i, action)
		}
		frame, verdict := wire.ParseFrame(out)
		if verdict != wire.FrameUDP || frame.BadLength {
			t.Fatalf("packet %d: frame is %v, bad length %v", i, verdict, frame.BadLength)
		}
		from := netip.AddrPortFrom(client.Addr(), client.Port()+uint16(i%sessions))
		if frame.Src() != from || frame.Dst() != server {
			t.Errorf("packet %d: %v to %v, want %v to %v", i, frame.Src(), frame.Dst(), from, server)
		}
		payload := out[frame.Payload:][:frame.PayloadLen]
		if !wire.Verify(payload) {
			t.Errorf("packet %d: wrong checksum", i)
		}
		h, body, err := wire.ParseHeader(payload)
		if err != nil {
			t.Fatal(err)
		}
		if want := firstSequence + i/sessions; h.Sequence != want || h.Ack != serverISN+1 {
			t.Errorf("packet %d: sequence %d ack %d, want %d and %d", i, h.Sequence, h.Ack, want, serverISN+1)
		}
		if h.Flags != wire.FlagACK|wire.FlagPSH {
			t.Errorf("packet %d: flags %v", i, h.Flags)
		}
		var block wire.AckBlock
		rest, err := wire.ParseAckBlock(body, &block)
		if err != nil {
			t.Fatal(err)
		}
		m, rest, err := wire.ParseMessage(rest)
		if err != nil || len(rest) != 0 {
			t.Fatalf("packet %d: parse message: %v, %d bytes left", i, err, len(rest))
		}
		if len(m.Payload) != GeneratorPayload || uint32(m.ID) != i/sessions {
			t.Errorf("packet %d: message %d of %d bytes, want %d of %d", i, m.ID, len(m.Payload), i/sessions, GeneratorPayload)
		}
	}
}

// After a window without an ACK a session starts over from the last one.
func TestGeneratorGoesBack(t *testing.T) {
	labtest.Root(t)
	g := newGenerator(t, GeneratorOptions{
		Sessions: 1, Interface: 1,
		Client:    netip.MustParseAddrPort("10.99.0.2:20000"),
		Server:    netip.MustParseAddrPort("10.99.0.1:7777"),
		ClientMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, ServerMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	})
	_, first, err := g.objects.Generate.Test(g.data)
	if err != nil {
		t.Fatal(err)
	}
	const window = 256
	for i := 1; i <= window; i++ {
		_, out, err := g.objects.Generate.Test(g.data)
		if err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(out, first); same != (i == window) {
			t.Fatalf("packet %d is the first one again: %v", i, same)
		}
	}
}

func TestGeneratorEcho(t *testing.T) {
	l := labtest.New(t, lab.Options{PlainClient: true})
	g := newGenerator(t, GeneratorOptions{
		Sessions: 64, Interface: l.Client.Index,
		Client:    netip.AddrPortFrom(l.Client.IPv4, 20000),
		Server:    netip.AddrPortFrom(l.Server.IPv4, 7777),
		ClientMAC: l.Client.MAC, ServerMAC: l.Server.MAC,
	})
	for _, at := range []struct {
		end    *lab.End
		attach func(int) (link.Link, error)
	}{{&l.Client, g.AttachCount}, {&l.Server, g.AttachEcho}} {
		err := at.end.Do(func() error {
			attached, err := at.attach(at.end.Index)
			if err == nil {
				t.Cleanup(func() { attached.Close() })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	const packets = 100_000
	if err := l.Client.Do(func() error { return g.Run(packets) }); err != nil {
		t.Fatal(err)
	}
	n, err := g.Counts()
	if err != nil {
		t.Fatal(err)
	}
	if n.Sent != packets || n.Arrived < packets*9/10 || n.ACKs != 0 {
		t.Errorf("counts = %+v, want %d sent, nearly all of them back and no ACK", n, packets)
	}
}

func TestGeneratorOptions(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	good := GeneratorOptions{
		Sessions: 8, Interface: 1, ClientMAC: mac, ServerMAC: mac,
		Client: netip.MustParseAddrPort("10.0.0.1:65528"), Server: netip.MustParseAddrPort("10.0.0.2:1"),
	}
	tests := []struct {
		name  string
		edit  func(*GeneratorOptions)
		valid bool
	}{
		{"as_given", func(*GeneratorOptions) {}, true},
		{"no_session", func(o *GeneratorOptions) { o.Sessions = 0 }, false},
		{"not_a_power_of_two", func(o *GeneratorOptions) { o.Sessions = 6 }, false},
		{"too_many", func(o *GeneratorOptions) { o.Sessions = 8192 }, false},
		{"ports_run_out", func(o *GeneratorOptions) { o.Sessions = 16 }, false},
		{"ipv6", func(o *GeneratorOptions) { o.Client = netip.MustParseAddrPort("[::1]:1") }, false},
		{"no_hardware_address", func(o *GeneratorOptions) { o.ServerMAC = nil }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.edit(&o)
			if err := o.validate(); (err == nil) != tt.valid {
				t.Errorf("validate() = %v, want valid %v", err, tt.valid)
			}
		})
	}
}
