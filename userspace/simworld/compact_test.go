package simworld_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// TestCompactIsSmaller has a game's traffic in both profiles, and counts bytes.
func TestCompactIsSmaller(t *testing.T) {
	var up, down [2]float64 // bytes a packet
	for profile := range up {
		w := newWorld(t, worldConfig{
			seed: 7, profile: wire.Profile(profile), up: simnet.Link{Delay: 20 * time.Millisecond}, down: simnet.Link{Delay: 20 * time.Millisecond},
		})
		w.open()
		for range 600 {
			w.toServer.send(w.Client, session.UnreliableSequenced, 1, 12)
			w.toClient.send(w.Server, session.Unreliable, 1, 12)
			if w.Net.Rand().IntN(20) == 0 {
				w.toClient.send(w.Server, session.ReliableOrdered, 2, 20)
			}
			w.PumpClient()
			w.SchedulePass()
			w.Net.Run(w.Net.Now() + uint64(16*time.Millisecond))
		}
		client, server := w.Client.Stats(), w.Server.Stats()
		up[profile] = float64(client.BytesOut) / float64(client.PacketsOut)
		down[profile] = float64(server.BytesOut) / float64(server.PacketsOut)
	}
	t.Logf("bytes a packet: up %.1f, down %.1f", up, down)
	// 13 bytes of header and the byte of an empty block.
	if saved := down[0] - down[1]; saved < 13.5 {
		t.Errorf("%.1f bytes saved a packet of the server", saved)
	}
	if saved := up[0] - up[1]; saved < 12 {
		t.Errorf("%.1f bytes saved a packet of the client", saved)
	}
}

// TestCompactLargeMessages: packets with fragments say so, or the gate drops
// them.
func TestCompactLargeMessages(t *testing.T) {
	w := newWorld(t, worldConfig{
		profile: wire.Compact, up: simnet.Link{Delay: 5 * time.Millisecond, Loss: 0.02}, down: simnet.Link{Delay: 5 * time.Millisecond, Loss: 0.02},
		slots: 1024, clientISN: 0xffff - 40,
	})
	w.open()
	want := bytes.Repeat([]byte("large message "), 10_000)
	got := map[string][]byte{}
	w.OnServer = func(m session.Message) { got["server"] = bytes.Clone(m.Payload) }
	w.OnClient = func(m session.Message) { got["client"] = bytes.Clone(m.Payload) }
	for _, s := range []*session.Session{w.Client, w.Server} {
		if err := s.Send(session.ReliableOrdered, 1, 9, want); err != nil {
			t.Fatal(err)
		}
	}
	w.PumpClient()
	w.SchedulePass()
	w.until(time.Minute, "delivery", func() bool { return len(got) == 2 })
	for end, payload := range got {
		if !bytes.Equal(payload, want) {
			t.Errorf("the %s got %d bytes, want %d", end, len(payload), len(want))
		}
	}
}

// TestCompactNumbersWrap: sequence numbers of 16 bits go round with a window's
// worth of packets outstanding, on a path that loses, repeats and reorders, and
// those of unreliable packets with them.
func TestCompactNumbersWrap(t *testing.T) {
	link := simnet.Link{
		Delay: 10 * time.Millisecond, Jitter: 2 * time.Millisecond,
		Loss: 0.002, Duplicate: 0.05, Reorder: 0.02, ReorderDelay: 10 * time.Millisecond,
	}
	w := newWorld(t, worldConfig{seed: 5, profile: wire.Compact, up: link, down: link, slots: 4096, clientISN: 0xffff})
	w.open()
	const messages = 80_000 // each as large as a packet
	most := 0
	full := func(s *session.Session, to *stream) {
		for to.sent[session.ReliableUnordered][0] < messages && to.send(s, session.ReliableUnordered, 0, 1120) {
			to.send(s, session.Unreliable, 0, 8)
		}
		most = max(most, s.Stats().InFlight)
	}
	w.until(10*time.Minute, "delivery", func() bool {
		if w.Client.Stats().Queued < 64<<10 {
			full(w.Client, &w.toServer)
		}
		if w.Server.Stats().Queued < 64<<10 {
			full(w.Server, &w.toClient)
		}
		return w.toServer.sent[session.ReliableUnordered][0] == messages && w.toClient.sent[session.ReliableUnordered][0] == messages &&
			w.toServer.missing == 0 && w.toClient.missing == 0
	})
	for _, s := range []*stream{&w.toServer, &w.toClient} {
		if got := len(s.got[session.Unreliable][0]); got < messages*9/10 {
			t.Errorf("%s: %d of %d unreliable messages arrived", s.name, got, messages)
		}
	}
	if most < 500 {
		t.Errorf("%d packets in flight at most", most)
	}
	dropped := w.Client.Stats().Dropped
	for drop := range session.DropMax {
		if dropped[drop] > 0 && drop != session.DropReplay {
			t.Errorf("%d packets: %v", dropped[drop], drop)
		}
	}
	if st := w.Gate.Stats(); st[gate.DropAck]+st[gate.DropSequence]+st[gate.DropMessage]+st[gate.DropAckBlock] > 0 {
		t.Errorf("gate: %d, %d, %d, %d dropped", st[gate.DropAck], st[gate.DropSequence], st[gate.DropMessage], st[gate.DropAckBlock])
	}
}
