package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// TestKill kills the server under load, again and again. Whatever the clients
// saw acknowledged has to reach a handler, and nothing twice but what was in
// flight. Over XDP packets go on being acknowledged while there is no server.
// A message larger than a packet counts as acknowledged when all of its packets
// are.
func TestKill(t *testing.T) {
	tests := []struct {
		name, mode string
	}{
		{"native", string(loader.ModeNative)},
		{"generic", string(loader.ModeGeneric)},
		{"udp", modeUDP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if testing.Short() && tt.mode == string(loader.ModeGeneric) {
				t.Skip("short")
			}
			w := newWorld(t, tt.mode, commit.Geometry{Workers: 2, Slots: 1024, MaxSessions: 128})
			server := w.start()
			w.join(4, netip.AddrPort{})
			for _, p := range w.players {
				// A sender faster than the handlers fills the rings, and what is
				// full takes nothing more once the server is dead.
				if tt.mode != modeUDP {
					p.pause = 5 * time.Millisecond
				}
				p.large = 100
				p.play(w.dice.Uint64(), kindPlain, 0)
			}
			// The last one in the midst of a large message.
			rounds, short := 6, testing.Short()
			if short {
				rounds = 2
			}
			var away uint64
			saved := 0
			for round := range rounds {
				var acks uint64
				var s int
				if server, acks, s = w.crash(server, busyIn(round)); t.Failed() {
					t.FailNow()
				}
				away += acks
				saved += s
			}
			for _, p := range w.players {
				eventually(t, "progress", func() bool { return p.count(func() int { return p.fresh }) > 0 })
			}
			w.leave()
			server.quit()
			if tt.mode != modeUDP && (away == 0 || saved == 0) {
				t.Errorf("%d packets acknowledged without a server, %d messages saved", away, saved)
			}
			v := w.check(false)
			if v.large == 0 || tt.mode != modeUDP && v.largeSaved == 0 || !short && v.largeRepeats == 0 {
				t.Errorf("%d large messages acknowledged, %d of them handed over by the next server, %d again",
					v.large, v.largeSaved, v.largeRepeats)
			}
			t.Logf("%d kills, %d packets acknowledged without a server, %d acknowledged messages handed over by the next one: %+v",
				rounds, away, saved, v)
			if v.repeats == 0 {
				t.Error("no message was handed over again: the handler was not killed in the midst of a packet")
			}
			if v.sessions != len(w.players)*(rounds+1) {
				t.Errorf("%d sessions, want %d", v.sessions, len(w.players)*(rounds+1))
			}
		})
	}
}

// busy says what the handlers are doing when the server is killed.
type busy uint8

const (
	anything  busy = iota
	inMessage      // one has a message, and does not return
	inLarge        // one larger than a packet
)

func busyIn(round int) busy {
	switch {
	case round == 5:
		return inLarge
	case round%2 == 1:
		return inMessage
	}
	return anything
}

// crash kills the server while every player sends. It starts another one after a
// while, and waits until every player has a session with it. It returns how
// many packets the gate acknowledged meanwhile, and how many messages that were
// acknowledged when the next server began had not been handed over.
func (w *world) crash(server *child, busy busy) (next *child, acks uint64, saved int) {
	t := w.t
	t.Helper()
	told := make([]int, len(w.players))
	for i, p := range w.players {
		eventually(t, "progress", func() bool { return p.count(func() int { return p.fresh }) > 500 })
		told[i] = p.count(func() int { return len(p.events) })
	}
	time.Sleep(time.Duration(w.dice.IntN(150)) * time.Millisecond)
	if busy != anything {
		server.stall(time.Minute, busy == inLarge)
		time.Sleep(20 * time.Millisecond)
	}
	server.kill()
	var before, after [gate.OutcomeMax]uint64
	if w.lab != nil {
		before = w.outcomes()
	}
	recorded := w.recorded()
	time.Sleep(time.Duration(200+w.dice.IntN(600)) * time.Millisecond)
	if w.lab != nil {
		after = w.outcomes()
	}
	saved = w.unrecorded()
	if now := w.recorded(); now != recorded {
		t.Errorf("%d messages recorded without a server", now-recorded)
	}
	w.crashes = append(w.crashes, crash{kept: w.kept()})
	next = w.start()
	if !next.started.Reused {
		t.Error("the next server found nothing")
	}
	for i, p := range w.players {
		eventually(t, "reconnecting", func() bool { return p.count(func() int { return len(p.events) }) >= told[i]+2 })
		p.mu.Lock()
		got := p.events[told[i]:]
		if len(got) != 2 || got[0].Kind != client.EventClosed || got[1].Kind != client.EventReconnected {
			t.Errorf("player %d was told %v", p.id, got)
		}
		if why := got[0].Reason; why != wire.ReasonRestarted {
			t.Errorf("player %d was told %q", p.id, why)
		}
		p.mu.Unlock()
	}
	return next, after[gate.TXAck] - before[gate.TXAck], saved
}

// unrecorded counts messages that are acknowledged and not handed over.
func (w *world) unrecorded() (n int) {
	w.t.Helper()
	entries, err := readRecord(w.setup.Record)
	if err != nil {
		w.t.Fatal(err)
	}
	there := make(map[message]bool, len(entries))
	for _, e := range entries {
		there[message{e.client, e.index}] = true
	}
	for _, p := range w.players {
		p.mu.Lock()
		for i, m := range p.messages {
			if m.acked && !there[message{p.id, uint32(i)}] {
				n++
			}
		}
		p.mu.Unlock()
	}
	return n
}
