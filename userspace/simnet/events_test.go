package simnet_test

import (
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// TestClientStartsAgainOnTheSamePort: the new session takes over while
// packets of the old one are still on their way.
func TestClientStartsAgainOnTheSamePort(t *testing.T) {
	for seed := range seeds(t) / 2 {
		cfg := randomWorld(seed)
		cfg.forceISN = false
		w := newWorld(t, cfg)
		w.open()
		for restart := range uint32(3) {
			old := w.server
			talkBriefly(w)
			// What the old client left behind reaches the old session or
			// nobody; only the new one's messages are counted.
			id := w.server.ID()
			w.onServerMessage = func(m session.Message) {
				if w.server.ID() != id {
					w.toServer.receive(m)
				}
			}
			w.onClientMessage = w.toClient.receive
			w.toServer.init(w, "to server")
			w.toClient.init(w, "to client")
			w.dial(cfg.clientISN + 77777*(restart+1))
			w.until(time.Minute, "opening again", func() bool {
				return w.server != old && w.client.State() == session.Open
			})
			if old.State() != session.Closed || old.Reason() != wire.ReasonSuperseded {
				w.fatalf("old session %v (%v)", old.State(), old.Reason())
			}
			talkBriefly(w)
			w.until(10*time.Minute, "delivery", func() bool { return w.toServer.missing == 0 && w.toClient.missing == 0 })
			w.onServerMessage = w.toServer.receive
		}
	}
}

// talkBriefly sends in both directions and does not wait for it to arrive.
func talkBriefly(w *world) {
	for i := range 40 {
		mode := session.Mode(i % 4)
		w.toServer.send(w.client, mode, uint8(i%3), 100)
		w.toClient.send(w.server, mode, uint8(i%3), 100)
	}
	w.pumpClient()
	w.schedulePass()
}

// TestServerPauses: while no worker runs, the gate goes on acknowledging until
// its rings are full; then the client waits for room.
func TestServerPauses(t *testing.T) {
	for seed := range seeds(t) / 4 {
		cfg := randomWorld(seed)
		cfg.slots = 64
		w := newWorld(t, cfg)
		w.open()
		w.paused = true
		sent := 0
		for range 300 {
			if w.toServer.send(w.client, session.ReliableOrdered, uint8(sent%5), w.client.MaxPayload()) {
				sent++
			}
			w.pumpClient()
			w.net.Run(w.net.Now() + 10e6)
		}
		w.net.Run(w.net.Now() + 5e9)
		room := 0 // on any CPU that a packet may come to
		for _, r := range w.readers {
			room += r.Free()
		}
		before := w.client.Stats().PacketsOut
		w.net.Run(w.net.Now() + 10e9)
		if out := w.client.Stats().PacketsOut - before; room == 0 && out > 200 {
			w.fatalf("%d packets in 10 s to a server without room", out)
		}
		w.paused = false
		w.schedulePass()
		w.until(10*time.Minute, "delivery after the pause", func() bool { return w.toServer.missing == 0 })
	}
}

// TestServerCrash kills the server's process and continues with another one:
// whatever the gate acknowledged must have been handed over by one of them.
func TestServerCrash(t *testing.T) {
	for seed := range seeds(t) {
		cfg := randomWorld(seed)
		cfg.forceISN = false
		w := newWorld(t, cfg)
		w.open()
		type name struct {
			mode    session.Mode
			channel uint8
			id      uint16
		}
		acknowledged := map[name]uint32{} // to the packet that carried it
		delivered := map[name]uint32{}
		w.onCommit = func(seq uint32, body []byte) {
			for len(body) > 1 {
				m, rest, err := wire.ParseMessage(body)
				if err != nil {
					break
				}
				n := name{session.ReliableOrdered, m.Channel, m.ID}
				if m.Channel&wire.Unordered != 0 {
					n = name{session.ReliableUnordered, m.Channel &^ wire.Unordered, m.ID}
				}
				acknowledged[n] = seq
				body = rest
			}
		}
		last := map[uint8]int{}
		seen := func(again bool) func(m session.Message) {
			return func(m session.Message) {
				if !m.Mode.Reliable() {
					return
				}
				n := name{m.Mode, m.Channel, m.ID}
				if seq, twice := delivered[n]; twice && (!again || seq != m.Sequence) {
					w.fatalf("message %+v came twice, in packets %d and %d", n, seq, m.Sequence)
				} else if !twice && m.Mode == session.ReliableOrdered {
					if at, ok := last[m.Channel]; ok && int(m.ID) <= at {
						w.fatalf("ordered message %+v after %d", n, at)
					}
					last[m.Channel] = int(m.ID)
				}
				delivered[n] = m.Sequence
			}
		}
		w.onServerMessage = seen(false)
		rng := w.net.Rand()
		speak := func(rounds int) {
			for range rounds {
				for range 1 + rng.IntN(6) {
					w.toServer.send(w.client, session.Mode(2+rng.IntN(2)), uint8(rng.IntN(5)), rng.IntN(400))
				}
				w.pumpClient()
				w.net.Run(w.net.Now() + rng.Uint64N(10e6))
			}
		}
		speak(20 + rng.IntN(60))

		// The process dies; the gate lives on.
		w.paused = true
		speak(rng.IntN(40))
		dead := w.server
		w.onServerMessage = seen(true)
		w.recover(dead)
		speak(rng.IntN(20))
		rcvNxt := w.rcvNxt()
		w.drain()
		w.server.Recover(rcvNxt)
		speak(rng.IntN(20))
		w.drain()
		w.server.Close(wire.ReasonRestarted)
		w.settle(w.server)

		for n, seq := range acknowledged {
			if _, ok := delivered[n]; !ok {
				w.fatalf("message %+v of packet %d was acknowledged and not handed over", n, seq)
			}
		}
		w.paused = false
		w.sendRestarted()
		w.until(time.Minute, "end of the client", func() bool {
			if w.client.State() != session.Closed {
				// The reset may be lost; a restarted server answers strangers
				// no more than before.
				w.net.Run(w.net.Now() + 1e9)
			}
			return w.client.State() == session.Closed || w.down.Lost > 0 || w.down.Corrupted > 0
		})
		if w.client.State() == session.Closed && w.client.Reason() != wire.ReasonRestarted {
			w.fatalf("client ended by %v", w.client.Reason())
		}
		for i, r := range w.readers {
			if r.Free() != w.cfg.slots {
				w.fatalf("ring %d: %d of %d slots free at the end", i, r.Free(), w.cfg.slots)
			}
		}
	}
}

// recover does what a starting process does with what a dead one left.
func (w *world) recover(dead *session.Session) {
	slot := dead.Owner.(uint32)
	info := w.regions.Flow(slot).Info()
	held := w.recoverRings()
	w.server = session.NewRecovered(w.cfg.server, session.Recovery{
		ID: info.ID, Key: info.Key, ClientISN: info.ClientISN, ServerISN: info.ServerISN, SndNxt: info.SndNxt,
	}, w.net.Now())
	w.server.Owner = slot
	for ring, left := range held {
		for _, idx := range left {
			s := w.readers[ring].Slot(idx)
			w.server.Committed(ref(ring, idx), s.Sequence, wire.Flags(s.Flags), s.Body(), w.net.Now())
		}
	}
}

func (w *world) rcvNxt() uint32 {
	state, ok := w.gate.Session(testKey)
	if !ok {
		w.fatalf("gate forgot the session")
	}
	return state.Window.Next
}

func (w *world) sendRestarted() {
	var buf [wire.MaxDatagram]byte
	n := w.server.Fill(buf[:], w.net.Now())
	if n == 0 {
		w.fatalf("no reset to send")
	}
	w.down.Send(buf[:n])
	if w.server.Fill(buf[:], w.net.Now()) != 0 {
		w.fatalf("more than one reset")
	}
}

// TestIdleSessionsStayOpen: hours pass with keepalives only.
func TestIdleSessionsStayOpen(t *testing.T) {
	const hours = 3
	w := newWorld(t, worldConfig{seed: 1, up: simnet.Link{Delay: 20 * time.Millisecond, Loss: 0.1}, down: simnet.Link{Delay: 20 * time.Millisecond}})
	w.open()
	began := time.Now()
	w.net.Run(w.net.Now() + uint64(hours*time.Hour))
	t.Logf("%.0f virtual seconds per second", hours*3600/time.Since(began).Seconds())
	if w.client.State() != session.Open || w.server.State() != session.Open {
		w.fatalf("client %v (%v), server %v (%v)", w.client.State(), w.client.Reason(), w.server.State(), w.server.Reason())
	}
	if out := w.client.Stats().PacketsOut; out < hours*3600/2 || out > hours*3600*3 {
		t.Errorf("client sent %d packets in %d idle hours", out, hours)
	}
}

// TestPathDies: both ends notice, after the idle timeout.
func TestPathDies(t *testing.T) {
	w := newWorld(t, worldConfig{seed: 2})
	w.open()
	w.up.Link.Loss, w.down.Link.Loss = 1, 1
	w.toServer.send(w.client, session.ReliableOrdered, 0, 100)
	w.toClient.send(w.server, session.ReliableOrdered, 0, 100)
	w.pumpClient()
	w.schedulePass()
	began := w.net.Now()
	w.until(time.Minute, "idle timeout", func() bool {
		return w.client.State() == session.Closed && w.server.State() == session.Closed
	})
	if took := time.Duration(w.net.Now() - began); took < 9*time.Second || took > 12*time.Second {
		t.Errorf("took %v", took)
	}
	if w.client.Reason() != wire.ReasonIdle || w.server.Reason() != wire.ReasonIdle {
		t.Errorf("%v, %v", w.client.Reason(), w.server.Reason())
	}
	if out := w.client.Stats().PacketsOut; out > 40 {
		t.Errorf("client sent %d packets into the void", out)
	}
}

// TestServerNeverAnswers: SYNs back off and stop.
func TestServerNeverAnswers(t *testing.T) {
	w := newWorld(t, worldConfig{seed: 3, down: simnet.Link{Loss: 1}})
	w.until(time.Minute, "handshake timeout", func() bool { return w.client.State() == session.Closed })
	if w.client.Reason() != session.ReasonHandshakeTimeout {
		t.Error(w.client.Reason())
	}
	if took := time.Duration(w.net.Now() - startTime); took != 5*time.Second {
		t.Errorf("took %v", took)
	}
	if w.up.Sent < 4 || w.up.Sent > 8 {
		t.Errorf("%d SYNs", w.up.Sent)
	}
	if w.server != nil {
		t.Error("a session opened")
	}
}

// TestAbortReachesThePeer in either direction.
func TestAbortReachesThePeer(t *testing.T) {
	for _, fromServer := range []bool{false, true} {
		w := newWorld(t, worldConfig{seed: 4, up: simnet.Link{Delay: time.Millisecond}, down: simnet.Link{Delay: time.Millisecond}})
		w.open()
		ending, other := w.client, w.server
		if fromServer {
			ending, other = other, ending
		}
		ending.Abort(wire.ReasonKicked)
		w.pumpClient()
		w.schedulePass()
		w.until(time.Second, "reset", func() bool { return other.State() == session.Closed })
		if other.Reason() != wire.ReasonKicked || ending.Reason() != wire.ReasonKicked {
			t.Errorf("%v, %v", ending.Reason(), other.Reason())
		}
	}
}

// TestLostFIN: the one who was closed acknowledges the FIN for as long as it
// comes.
func TestLostFINAcknowledgement(t *testing.T) {
	w := newWorld(t, worldConfig{seed: 5, up: simnet.Link{Delay: time.Millisecond}, down: simnet.Link{Delay: time.Millisecond}})
	w.open()
	w.net.Run(w.net.Now() + 1e9)
	w.server.Close(wire.ReasonShuttingDown)
	w.up.Link.Loss = 1
	w.schedulePass()
	w.until(time.Second, "FIN", func() bool { return w.client.State() == session.Lingering })
	w.net.Run(w.net.Now() + 1e9)
	if w.server.State() != session.Closing {
		t.Fatal(w.server.State())
	}
	w.up.Link.Loss = 0
	w.until(2*time.Second, "acknowledgement of the FIN", func() bool { return w.server.State() == session.Closed })
	w.until(4*time.Second, "end of lingering", func() bool { return w.client.State() == session.Closed })
}

// TestSmallRingUnderReordering: out-of-order packets are refused while slots
// are scarce, and everything arrives all the same.
func TestSmallRingUnderReordering(t *testing.T) {
	w := newWorld(t, worldConfig{
		seed: 6, slots: 64,
		up: simnet.Link{Delay: 20 * time.Millisecond, Loss: 0.2, Jitter: 20 * time.Millisecond},
	})
	w.open()
	for range 2000 {
		for !w.toServer.send(w.client, session.ReliableOrdered, 0, 1100) {
			w.net.Run(w.net.Now() + 1e6)
		}
		w.pumpClient()
	}
	w.until(10*time.Minute, "delivery", func() bool { return w.toServer.missing == 0 })
	if w.gate.Stats()[gate.DropRingPressure] == 0 {
		t.Error("the ring was never under pressure: the test tests nothing")
	}
}

// trickle has both ends send a small ordered message at a steady rate and
// returns how long those to the server took, sorted.
func trickle(w *world, messages int, pace time.Duration) []time.Duration {
	var took []time.Duration
	sentAt := make([]uint64, 0, messages)
	w.onServerMessage = func(m session.Message) {
		w.toServer.receive(m)
		took = append(took, time.Duration(w.net.Now()-sentAt[m.ID]))
	}
	for range messages {
		sentAt = append(sentAt, w.net.Now())
		w.toServer.send(w.client, session.ReliableOrdered, 0, 60)
		w.toClient.send(w.server, session.ReliableOrdered, 0, 60)
		w.pumpClient()
		w.schedulePass()
		w.net.Run(w.net.Now() + uint64(pace))
	}
	w.until(time.Minute, "delivery", func() bool { return w.toServer.missing == 0 && w.toClient.missing == 0 })
	slices.Sort(took)
	return took
}

// TestNothingIsSentAgainWithoutLoss, whatever the round trip and its jitter,
// and with a worker that looks at its rings once per frame.
func TestNothingIsSentAgainWithoutLoss(t *testing.T) {
	for _, delay := range []time.Duration{0, 2 * time.Millisecond, 30 * time.Millisecond, 150 * time.Millisecond} {
		link := simnet.Link{Delay: delay, Jitter: 1 + delay/4}
		w := newWorld(t, worldConfig{seed: 7, up: link, down: link, workerDelay: 16 * time.Millisecond})
		w.open()
		trickle(w, 1000, 33*time.Millisecond)
		c, s := w.client.Stats(), w.server.Stats()
		if c.Retransmitted+s.Retransmitted > 4 {
			t.Errorf("delay %v: %d of 1000 sent again by the client, %d by the server", delay, c.Retransmitted, s.Retransmitted)
		}
	}
}

// TestLossCostsLittleTime: a lost message arrives a few round trips later, also
// where the peer cannot say what arrived behind the gap.
func TestLossCostsLittleTime(t *testing.T) {
	tests := []struct {
		name   string
		noSACK bool
		delay  time.Duration
		p99    time.Duration
	}{
		{"near", false, 5 * time.Millisecond, 60 * time.Millisecond},
		{"far", false, 100 * time.Millisecond, 450 * time.Millisecond},
		{"near_base_only", true, 5 * time.Millisecond, 80 * time.Millisecond},
		{"far_base_only", true, 100 * time.Millisecond, 800 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			link := simnet.Link{Delay: tt.delay, Jitter: tt.delay / 10, Loss: 0.03}
			cfg := session.Config{NoSACK: tt.noSACK}
			w := newWorld(t, worldConfig{seed: 8, up: link, down: link, client: cfg})
			w.open()
			took := trickle(w, 3000, 50*time.Millisecond)
			if p99 := took[len(took)*99/100]; p99 > tt.p99 {
				t.Errorf("one message in a hundred takes %v, want at most %v", p99, tt.p99)
			}
		})
	}
}
