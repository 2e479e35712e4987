package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/wire"
)

// wireTap sends frames with whatever source, and sees the answers.
type wireTap struct {
	w    *world
	fd   int
	link []byte
}

func newWireTap(w *world) *wireTap {
	w.t.Helper()
	f := &wireTap{w: w, link: append(bytes.Clone(w.lab.Server.MAC), w.lab.Client.MAC...)}
	const protocol = unix.ETH_P_IP>>8 | unix.ETH_P_IP<<8&0xff00 // in network order
	err := w.lab.Client.Do(func() (err error) {
		if f.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol); err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(f.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.Bind(f.fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: w.lab.Client.Index}),
		)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { unix.Close(f.fd) })
	return f
}

func (f *wireTap) send(src netip.AddrPort, payload []byte) {
	f.w.t.Helper()
	template := wire.MakeFrameTemplate(f.link, src, f.w.setup.Address)
	var frame [wire.MaxFrameHeader + wire.MaxDatagram]byte
	copy(frame[template.Len:], payload)
	if _, err := unix.Write(f.fd, frame[:template.Build(frame[:], len(payload))]); err != nil {
		f.w.t.Fatal(err)
	}
}

// answers takes what came back, and returns how many packets and the size of
// the largest payload.
func (f *wireTap) answers() (n, largest int) {
	var frame [2048]byte
	for {
		size, err := unix.Read(f.fd, frame[:])
		if err != nil {
			return n, largest
		}
		if parsed, v := wire.ParseFrame(frame[:size]); v == wire.FrameUDP && parsed.Src() == f.w.setup.Address {
			n++
			largest = max(largest, parsed.PayloadLen)
		}
	}
}

// flood is n packets of one kind and what becomes of them.
type flood struct {
	name    string
	outcome gate.Outcome
	packet  func(i int) (netip.AddrPort, []byte)
}

// run sends the flood in portions that the queue of a veth holds, so that
// every packet counts.
func (f *wireTap) run(t *testing.T, fl flood, n int) {
	t.Helper()
	before := f.w.outcomes()
	f.answers()
	replies, smallest := 0, wire.MaxDatagram
	for sent := 0; sent < n; {
		for range min(64, n-sent) {
			src, payload := fl.packet(sent)
			smallest = min(smallest, len(payload))
			f.send(src, payload)
			sent++
		}
		eventually(t, fmt.Sprintf("%d packets counted as %v", sent, fl.outcome), func() bool {
			return f.w.outcomes()[fl.outcome]-before[fl.outcome] >= uint64(sent)
		})
		got, largest := f.answers()
		replies += got
		if largest > smallest {
			t.Fatalf("%s: answer of %d bytes to %d", fl.name, largest, smallest)
		}
	}
	if got := f.w.outcomes()[fl.outcome] - before[fl.outcome]; got != uint64(n) {
		t.Errorf("%s: %d packets counted as %v, want %d", fl.name, got, fl.outcome, n)
	}
	if fl.outcome.Verdict() != gate.TX && replies > 8 { // keepalives of players
		t.Errorf("%s: %d answers", fl.name, replies)
	}
	if fl.outcome.Verdict() == gate.TX && replies == 0 {
		t.Errorf("%s: no answers seen", fl.name)
	}
}

// stranger is the i-th of many addresses.
func stranger(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, byte(1 + i/250%250), byte(1 + i%250)}), uint16(1024+i%60000))
}

func sealed(h wire.Header, body []byte) []byte {
	b := append(h.AppendTo(nil), body...)
	wire.Seal(b)
	return b
}

// resident is the memory of a process in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(string(bytes.Fields(b)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// TestFloods sends what strangers and forgers send. It costs the server
// neither memory nor a session nor a wake-up.
func TestFloods(t *testing.T) {
	w := newWorld(t, string(loader.ModeNative), commit.Geometry{Workers: 1, Slots: 64, MaxSessions: 64})
	server := w.start()
	tap := newWireTap(w)
	n := 4000
	if testing.Short() {
		n = 1000
	}

	message := wire.AppendMessage([]byte{0}, wire.Message{Type: 1, Payload: make([]byte, 40)})
	fromStranger := func(b func(i int) []byte) func(int) (netip.AddrPort, []byte) {
		return func(i int) (netip.AddrPort, []byte) { return stranger(i), b(i) }
	}
	strangers := []flood{
		{"syn", gate.TXSYNAck, fromStranger(func(i int) []byte {
			return wire.AppendSYN(nil, uint32(i), wire.Options{SACK: true, MTU: 1200}, 1)
		})},
		{"short_syn", gate.DropSYNLength, fromStranger(func(i int) []byte {
			return sealed(wire.Header{Sequence: uint32(i), Flags: wire.FlagSYN}, nil)
		})},
		{"checksum", gate.DropChecksum, fromStranger(func(i int) []byte {
			b := wire.AppendSYN(nil, uint32(i), wire.Options{}, 1)
			b[11] ^= 1
			return b
		})},
		{"data", gate.DropNoSession, fromStranger(func(i int) []byte {
			return sealed(wire.Header{Sequence: uint32(i), Flags: wire.FlagACK | wire.FlagPSH}, message)
		})},
		{"ack", gate.DropNoSession, fromStranger(func(i int) []byte {
			return sealed(wire.Header{Sequence: uint32(i), Flags: wire.FlagACK}, []byte{0})
		})},
		{"hello", gate.DropCookie, fromStranger(func(i int) []byte {
			o := wire.Options{Cookie: uint64(i) << 20, HasCookie: true}
			return wire.AppendHello(nil, uint32(i), wire.CookieSequence(o.Cookie), o, 1)
		})},
		{"flags", gate.DropFlags, fromStranger(func(i int) []byte {
			return sealed(wire.Header{Sequence: uint32(i), Flags: wire.FlagSYN | wire.FlagFIN}, nil)
		})},
		{"truncated", gate.DropTruncated, fromStranger(func(int) []byte { return make([]byte, 20) })},
	}
	tap.run(t, strangers[0], 64)
	server.ask("status")
	before, memory := server.ask("status"), resident(t, server.cmd.Process.Pid)
	began := time.Now()
	for _, fl := range strangers {
		tap.run(t, fl, n)
	}
	after, grown := server.ask("status"), resident(t, server.cmd.Process.Pid)-memory
	did := after.Workers.Since(&before.Workers)
	// An idle worker looks around every 5 s.
	allowed := uint64(2 + 2*time.Since(began)/(5*time.Second))
	if did.Get(metrics.Passes) > allowed || did.Get(metrics.Datagrams) != 0 || did.Get(metrics.SessionsOpened) != 0 {
		t.Errorf("strangers made the worker do %d passes, take %d datagrams and open %d sessions",
			did.Get(metrics.Passes), did.Get(metrics.Datagrams), did.Get(metrics.SessionsOpened))
	}
	if grown > 4<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
	t.Logf("%d packets of strangers in %v: %d passes, memory %+d bytes", n*len(strangers), time.Since(began),
		did.Get(metrics.Passes), grown)

	// Forged and copied packets of a session. The player is quiet.
	w.join(1, netip.AddrPort{})
	p := w.players[0]
	p.play(1, kindPlain, 50)
	p.sender.Wait()
	eventually(t, "acknowledgement", func() bool { return p.count(func() int { return p.acked }) == 50 })
	if err := p.conn.Send(client.Unreliable, 0, kindPlain, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	victim := p.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	victim = netip.AddrPortFrom(victim.Addr().Unmap(), victim.Port())
	last, loose := bytes.Clone(p.last), bytes.Clone(p.loose)
	h, _, err := wire.ParseHeader(last)
	if err != nil || len(loose) == 0 {
		t.Fatalf("packets to copy: %v, %d bytes", err, len(loose))
	}
	fromVictim := func(change func(h *wire.Header, i int), body []byte) func(int) (netip.AddrPort, []byte) {
		return func(i int) (netip.AddrPort, []byte) {
			forged := h
			change(&forged, i)
			return victim, sealed(forged, body)
		}
	}
	forgeries := []flood{
		{"copied", gate.TXAckDuplicate, func(int) (netip.AddrPort, []byte) { return victim, last }},
		{"copied_unreliable", gate.DropReplay, func(int) (netip.AddrPort, []byte) { return victim, loose }},
		{"ack", gate.DropAck, fromVictim(func(h *wire.Header, i int) {
			h.Flags, h.Ack = wire.FlagACK, h.Ack+1000+uint32(i)
		}, []byte{0})},
		{"sequence", gate.DropSequence, fromVictim(func(h *wire.Header, i int) { h.Sequence += 5000 + uint32(i) }, message)},
		{"reset", gate.DropReset, fromVictim(func(h *wire.Header, i int) {
			h.Flags, h.Sequence = wire.FlagACK|wire.FlagRST, h.Sequence+5000+uint32(i)
		}, []byte{byte(wire.ReasonClosed)})},
	}
	eventually(t, "quiet", func() bool {
		m := server.ask("status").Workers
		return m.Get(metrics.Datagrams) >= 2 && m.Get(metrics.Messages) >= 51
	})
	before, memory = server.ask("status"), resident(t, server.cmd.Process.Pid)
	for _, fl := range forgeries {
		tap.run(t, fl, n)
	}
	after, grown = server.ask("status"), resident(t, server.cmd.Process.Pid)-memory
	did = after.Workers.Since(&before.Workers)
	if did.Get(metrics.Datagrams) != 0 || did.Get(metrics.Commits) != 0 || did.Get(metrics.SessionsClosed) != 0 {
		t.Errorf("forgeries made the worker take %d datagrams and %d packets and close %d sessions",
			did.Get(metrics.Datagrams), did.Get(metrics.Commits), did.Get(metrics.SessionsClosed))
	}
	// A few come from the keepalives of either side.
	if did.Get(metrics.FlowUpdates) > 40 {
		t.Errorf("forgeries made %d flow updates", did.Get(metrics.FlowUpdates))
	}
	if grown > 4<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
	t.Logf("%d forged packets: %d flow updates, memory %+d bytes", n*len(forgeries), did.Get(metrics.FlowUpdates), grown)

	// Service goes on, for the victim and for others.
	w.join(1, netip.AddrPort{})
	if err := p.conn.Send(client.ReliableOrdered, 3, kindEcho, make([]byte, labelSize)); err == nil {
		eventually(t, "echo", func() bool { return p.count(p.returned) == 1 })
	} else {
		t.Error(err)
	}
	w.leave()
	server.quit()
}
