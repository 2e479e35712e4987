package simworld_test

import (
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/simworld"
	"github.com/xrudp/xrudp/userspace/wire"
)

// TestClientStartsAgainOnTheSamePort: the new session takes over while
// packets of the old one are still on their way.
func TestClientStartsAgainOnTheSamePort(t *testing.T) {
	for seed := range seeds(t) / 2 {
		cfg := randomWorld(seed)
		cfg.forceISN = false
		cfg.profile = wire.Standard // numbers of 16 bits do not keep sessions apart
		w := newWorld(t, cfg)
		w.open()
		for restart := range uint32(3) {
			old := w.Server
			talkBriefly(w)
			// What the old client left behind reaches the old session or
			// nobody; only the new one's messages are counted.
			id := w.Server.ID()
			w.OnServer = func(m session.Message) {
				if w.Server.ID() != id {
					w.toServer.receive(m)
				}
			}
			w.OnClient = w.toClient.receive
			w.toServer.init(w, "to server")
			w.toClient.init(w, "to client")
			w.Dial(cfg.clientISN + 77777*(restart+1))
			w.until(time.Minute, "opening again", func() bool {
				return w.Server != old && w.Client.State() == session.Open
			})
			if old.State() != session.Closed || old.Reason() != wire.ReasonSuperseded {
				w.fatalf("old session %v (%v)", old.State(), old.Reason())
			}
			talkBriefly(w)
			w.until(10*time.Minute, "delivery", func() bool { return w.toServer.missing == 0 && w.toClient.missing == 0 })
			w.OnServer = w.toServer.receive
		}
	}
}

// talkBriefly sends in both directions and does not wait for it to arrive.
func talkBriefly(w *world) {
	rng := w.Net.Rand()
	for range 40 {
		o, size := anything(rng, w.Client, 3)
		w.toServer.say(w.Client, o, size)
		o, size = anything(rng, w.Server, 3)
		w.toClient.say(w.Server, o, size)
	}
	w.PumpClient()
	w.SchedulePass()
}

// TestServerPauses: while no worker runs, the gate goes on acknowledging until
// its rings are full; then the client waits for room.
func TestServerPauses(t *testing.T) {
	for seed := range seeds(t) / 4 {
		cfg := randomWorld(seed)
		cfg.slots = 64
		w := newWorld(t, cfg)
		w.open()
		w.Paused = true
		sent := 0
		for range 300 {
			if w.toServer.send(w.Client, session.ReliableOrdered, uint8(sent%5), w.Client.MaxPayload()) {
				sent++
			}
			w.PumpClient()
			w.Net.Run(w.Net.Now() + 10e6)
		}
		w.Net.Run(w.Net.Now() + 5e9)
		room := 0 // on any CPU that a packet may come to
		for _, r := range w.Readers {
			room += r.Free()
		}
		before := w.Client.Stats().PacketsOut
		w.Net.Run(w.Net.Now() + 10e9)
		if out := w.Client.Stats().PacketsOut - before; room == 0 && out > 200 {
			w.fatalf("%d packets in 10 s to a server without room", out)
		}
		w.Paused = false
		w.SchedulePass()
		w.until(10*time.Minute, "delivery after the pause", func() bool { return w.toServer.missing == 0 })
	}
}

// TestServerCrash kills the server's process and continues with another one:
// whatever the gate acknowledged must have been handed over by one of them.
func TestServerCrash(t *testing.T) {
	for seed := range seeds(t) {
		cfg := randomWorld(seed)
		cfg.forceISN = false
		cfg.transfers = max(cfg.transfers, 64*commit.TransferPage)
		w := newWorld(t, cfg)
		w.open()
		type name struct {
			mode    session.Mode
			channel uint8
			id      uint16
		}
		acknowledged := map[name]uint32{} // to the packet that carried it
		chunks := map[name]int{}          // of large ones, acknowledged
		delivered := map[name]uint32{}
		w.onCommit = func(seq uint32, body []byte) {
			for len(body) > 1 {
				m, rest, err := wire.ParseMessage(body)
				if err != nil {
					break
				}
				body = rest
				n := name{session.ReliableOrdered, m.Channel, m.ID}
				if m.Channel&wire.Unordered != 0 {
					n = name{session.ReliableUnordered, m.Channel &^ wire.Unordered, m.ID}
				}
				switch {
				case m.Type < wire.TypeControl:
					acknowledged[n] = seq
				case m.Type == wire.TypeFragment:
					f, err := wire.ParseFragment(m.Payload)
					if err != nil {
						w.fatalf("%v", err)
					}
					// No packet is committed twice.
					if chunks[n]++; chunks[n] == int(f.Total) {
						acknowledged[n] = seq
					}
				}
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
		w.OnServer = seen(false)
		w.toServer.from = nil
		rng := w.Net.Rand()
		speak := func(rounds int) {
			for range rounds {
				for range 1 + rng.IntN(6) {
					o, size := anything(rng, w.Client, 5)
					w.toServer.say(w.Client, o, size)
				}
				w.PumpClient()
				w.Net.Run(w.Net.Now() + rng.Uint64N(10e6))
			}
		}
		speak(20 + rng.IntN(60))

		// The process dies; the gate lives on.
		w.Paused = true
		speak(rng.IntN(40))
		w.OnServer = seen(true)
		w.Recover()
		speak(rng.IntN(20))
		rcvNxt := w.rcvNxt()
		w.Drain()
		w.Server.Recover(rcvNxt)
		speak(rng.IntN(20))
		w.Drain()
		w.Server.Close(wire.ReasonRestarted)
		w.Settle(w.Server)

		for n, seq := range acknowledged {
			if _, ok := delivered[n]; !ok {
				w.fatalf("message %+v of packet %d was acknowledged and not handed over", n, seq)
			}
		}
		w.Paused = false
		w.sendRestarted()
		w.until(time.Minute, "end of the client", func() bool {
			if w.Client.State() != session.Closed {
				// The reset may be lost; a restarted server answers strangers
				// no more than before.
				w.Net.Run(w.Net.Now() + 1e9)
			}
			return w.Client.State() == session.Closed || w.Down.Lost > 0 || w.Down.Corrupted > 0
		})
		if w.Client.State() == session.Closed && w.Client.Reason() != wire.ReasonRestarted {
			w.fatalf("client ended by %v", w.Client.Reason())
		}
		for i, r := range w.Readers {
			if r.Free() != w.cfg.slots {
				w.fatalf("ring %d: %d of %d slots free at the end", i, r.Free(), w.cfg.slots)
			}
		}
		if w.Transfers.Used() != 0 {
			w.fatalf("%d bytes taken by large messages at the end", w.Transfers.Used())
		}
	}
}

func (w *world) rcvNxt() uint32 {
	state, ok := w.Gate.Session(w.Key)
	if !ok {
		w.fatalf("gate forgot the session")
	}
	return state.Window.Next
}

func (w *world) sendRestarted() {
	var buf [wire.MaxDatagramLimit]byte
	n := w.Server.Fill(buf[:], w.Net.Now())
	if n == 0 {
		w.fatalf("no reset to send")
	}
	w.Down.Send(buf[:n])
	if w.Server.Fill(buf[:], w.Net.Now()) != 0 {
		w.fatalf("more than one reset")
	}
}

// TestIdleSessionsStayOpen: hours pass with keepalives only.
func TestIdleSessionsStayOpen(t *testing.T) {
	const hours = 3
	w := newWorld(t, worldConfig{seed: 1, up: simnet.Link{Delay: 20 * time.Millisecond, Loss: 0.1}, down: simnet.Link{Delay: 20 * time.Millisecond}})
	w.open()
	began := time.Now()
	w.Net.Run(w.Net.Now() + uint64(hours*time.Hour))
	t.Logf("%.0f virtual seconds per second", hours*3600/time.Since(began).Seconds())
	if w.Client.State() != session.Open || w.Server.State() != session.Open {
		w.fatalf("client %v (%v), server %v (%v)", w.Client.State(), w.Client.Reason(), w.Server.State(), w.Server.Reason())
	}
	if out := w.Client.Stats().PacketsOut; out < hours*3600/2 || out > hours*3600*3 {
		t.Errorf("client sent %d packets in %d idle hours", out, hours)
	}
}

// TestPathDies: both ends notice, after the idle timeout.
func TestPathDies(t *testing.T) {
	w := newWorld(t, worldConfig{seed: 2})
	w.open()
	w.Up.Link.Loss, w.Down.Link.Loss = 1, 1
	w.toServer.send(w.Client, session.ReliableOrdered, 0, 100)
	w.toClient.send(w.Server, session.ReliableOrdered, 0, 100)
	w.PumpClient()
	w.SchedulePass()
	began := w.Net.Now()
	w.until(time.Minute, "idle timeout", func() bool {
		return w.Client.State() == session.Closed && w.Server.State() == session.Closed
	})
	if took := time.Duration(w.Net.Now() - began); took < 9*time.Second || took > 12*time.Second {
		t.Errorf("took %v", took)
	}
	if w.Client.Reason() != wire.ReasonIdle || w.Server.Reason() != wire.ReasonIdle {
		t.Errorf("%v, %v", w.Client.Reason(), w.Server.Reason())
	}
	if out := w.Client.Stats().PacketsOut; out > 40 {
		t.Errorf("client sent %d packets into the void", out)
	}
}

// TestServerNeverAnswers: SYNs back off and stop.
func TestServerNeverAnswers(t *testing.T) {
	w := newWorld(t, worldConfig{seed: 3, down: simnet.Link{Loss: 1}})
	w.until(time.Minute, "handshake timeout", func() bool { return w.Client.State() == session.Closed })
	if w.Client.Reason() != session.ReasonHandshakeTimeout {
		t.Error(w.Client.Reason())
	}
	if took := time.Duration(w.Net.Now() - simworld.Start); took != 5*time.Second {
		t.Errorf("took %v", took)
	}
	if w.Up.Sent < 4 || w.Up.Sent > 8 {
		t.Errorf("%d SYNs", w.Up.Sent)
	}
	if w.Server != nil {
		t.Error("a session opened")
	}
}

// TestAbortReachesThePeer in either direction.
func TestAbortReachesThePeer(t *testing.T) {
	for _, fromServer := range []bool{false, true} {
		w := newWorld(t, worldConfig{seed: 4, up: simnet.Link{Delay: time.Millisecond}, down: simnet.Link{Delay: time.Millisecond}})
		w.open()
		ending, other := w.Client, w.Server
		if fromServer {
			ending, other = other, ending
		}
		ending.Abort(wire.ReasonKicked)
		w.PumpClient()
		w.SchedulePass()
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
	w.Net.Run(w.Net.Now() + 1e9)
	w.Server.Close(wire.ReasonShuttingDown)
	w.Up.Link.Loss = 1
	w.SchedulePass()
	w.until(time.Second, "FIN", func() bool { return w.Client.State() == session.Lingering })
	w.Net.Run(w.Net.Now() + 1e9)
	if w.Server.State() != session.Closing {
		t.Fatal(w.Server.State())
	}
	w.Up.Link.Loss = 0
	w.until(2*time.Second, "acknowledgement of the FIN", func() bool { return w.Server.State() == session.Closed })
	w.until(4*time.Second, "end of lingering", func() bool { return w.Client.State() == session.Closed })
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
		for !w.toServer.send(w.Client, session.ReliableOrdered, 0, 1100) {
			w.Net.Run(w.Net.Now() + 1e6)
		}
		w.PumpClient()
	}
	w.until(10*time.Minute, "delivery", func() bool { return w.toServer.missing == 0 })
	if w.Gate.Stats()[gate.DropRingPressure] == 0 {
		t.Error("the ring was never under pressure: the test tests nothing")
	}
}

// trickle has both ends send a small ordered message at a steady rate and
// returns how long those to the server took, sorted.
func trickle(w *world, messages int, pace time.Duration) []time.Duration {
	var took []time.Duration
	sentAt := make([]uint64, 0, messages)
	w.OnServer = func(m session.Message) {
		w.toServer.receive(m)
		took = append(took, time.Duration(w.Net.Now()-sentAt[m.ID]))
	}
	for range messages {
		sentAt = append(sentAt, w.Net.Now())
		w.toServer.send(w.Client, session.ReliableOrdered, 0, 60)
		w.toClient.send(w.Server, session.ReliableOrdered, 0, 60)
		w.PumpClient()
		w.SchedulePass()
		w.Net.Run(w.Net.Now() + uint64(pace))
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
		c, s := w.Client.Stats(), w.Server.Stats()
		if c.Retransmitted+s.Retransmitted > 20 {
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
