package worker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// lossy is a path on which everything goes wrong now and then.
var lossy = simnet.Link{
	Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond,
	Loss: 0.1, Duplicate: 0.05, Corrupt: 0.02, Reorder: 0.05, ReorderDelay: 50 * time.Millisecond,
}

// bothGates runs a test with the gate in the worker and in the kernel.
func bothGates(t *testing.T, f func(t *testing.T, kernel bool)) {
	t.Helper()
	t.Run("own_gate", func(t *testing.T) { f(t, false) })
	t.Run("kernel_gate", func(t *testing.T) { f(t, true) })
}

func TestHandshakeAndEcho(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, rec := recording()
		w := newWorld(t, worldConfig{link: simnet.Link{Delay: 10 * time.Millisecond}, handler: handler, kernel: kernel})
		(*rec).onMessage = func(s *Session, m session.Message) {
			if err := s.Send(m.Mode, m.Channel, m.Type, m.Payload); err != nil {
				t.Error(err)
			}
		}
		p := w.opened(0)
		modes := []session.Mode{session.Unreliable, session.UnreliableSequenced, session.ReliableOrdered, session.ReliableUnordered}
		for _, mode := range modes {
			if err := p.send(mode, 3, 7, number(uint32(mode))); err != nil {
				t.Fatal(err)
			}
		}
		w.until(time.Second, "echo", func() bool { return len(p.got) == len(modes) })
		for _, m := range p.got {
			if m.Channel != 3 || m.Type != 7 || m.Payload[3] != byte(m.Mode) {
				t.Errorf("got %+v", m)
			}
		}
		if !(*rec).last.Remote().IsValid() || (*rec).last.Remote() != p.key.ClientAddrPort() {
			t.Errorf("remote %v, want %v", (*rec).last.Remote(), p.key.ClientAddrPort())
		}
		k := w.group.workers[0]
		w.run(200 * time.Millisecond)
		k.publish()
		if got := k.Metrics().Get(metrics.Messages); got != 4 {
			t.Errorf("messages counted: %d", got)
		}
		var rtt metrics.Distribution
		if rtt.Collect(&k.Metrics().RTT); rtt.Count() == 0 {
			t.Error("no round trip was recorded")
		}
	})
}

// Thousands of messages in both directions over a bad path arrive once and in
// order.
func TestReliableBothWaysOverLoss(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		const total = 2000
		for seed := range uint64(3) {
			handler, rec := recording()
			w := newWorld(t, worldConfig{seed: seed, link: lossy, handler: handler, kernel: kernel})
			var clients []*peer
			back := map[int][]uint32{}
			for i := range 3 {
				p := w.dial(0)
				p.onGot = func(m session.Message) {
					back[i] = append(back[i], uint32(m.Payload[0])<<24|uint32(m.Payload[1])<<16|uint32(m.Payload[2])<<8|uint32(m.Payload[3]))
				}
				clients = append(clients, p)
			}
			(*rec).onMessage = func(s *Session, m session.Message) {
				if err := s.Send(m.Mode, m.Channel, m.Type, m.Payload); err != nil {
					t.Fatal(err)
				}
			}
			for _, p := range clients {
				w.until(10*time.Second, "opening", p.open)
			}
			sent := 0
			var feed func()
			feed = func() {
				for range 20 {
					if sent == total {
						return
					}
					for _, p := range clients {
						if err := p.send(session.ReliableOrdered, 1, 1, number(uint32(sent))); err != nil {
							t.Fatal(err)
						}
					}
					sent++
				}
				w.net.At(w.net.Now()+10*ms, feed)
			}
			feed()
			w.until(2*time.Minute, "delivery", func() bool {
				return len(back[0]) >= total && len(back[1]) >= total && len(back[2]) >= total
			})
			for i := range clients {
				for n, got := range back[i] {
					if got != uint32(n) {
						t.Fatalf("seed %d: client %d got %d as message %d", seed, i, got, n)
					}
				}
				if len(back[i]) != total {
					t.Errorf("seed %d: client %d got %d messages, want %d", seed, i, len(back[i]), total)
				}
			}
			if held := heldSlots(w); held != 0 {
				t.Errorf("seed %d: %d commit slots were not given back", seed, held)
			}
		}
	})
}

// heldSlots counts commit slots that neither the gate nor a queue has.
func heldSlots(w *world) (held int) {
	for _, k := range w.group.workers {
		for _, ring := range k.rings {
			held += w.regions.Geometry().Slots - ring.Free() - ring.Pending()
		}
	}
	return held
}

func TestCloseByClient(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, rec := recording()
		w := newWorld(t, worldConfig{link: lossy, seed: 4, handler: handler, kernel: kernel})
		p := w.dial(0)
		w.until(10*time.Second, "opening", p.open)
		id := (*rec).last.ID()
		p.engine.Close(wire.ReasonClosed)
		p.pump()
		w.until(10*time.Second, "closing", func() bool { return (*rec).closed[id] == wire.ReasonClosed && p.engine.Over() })

		// The entry stays so that a FIN that comes again is acknowledged again.
		if _, ok := w.gates[0].Session(p.key); !ok && p.engine.State() != session.Closed {
			t.Error("the gate forgot the session while the client waits")
		}
		w.run(4 * time.Second)
		if _, ok := w.gates[0].Session(p.key); ok {
			t.Error("the gate still knows the session")
		}
		if k := w.group.workers[0]; k.sessions != 0 || len(k.byKey) != 0 || k.wheel.Len() != 0 || len(k.active) != 0 {
			t.Errorf("left: %d sessions, %d keys, %d timers", k.sessions, len(k.byKey), k.wheel.Len())
		}
	})
}

func TestCloseByServer(t *testing.T) {
	tests := []struct {
		name  string
		close func(s *Session)
		want  wire.Reason
	}{
		{"in_order", func(s *Session) { s.Close(wire.ReasonKicked) }, wire.ReasonKicked},
		{"at_once", func(s *Session) { s.Abort(wire.ReasonProtocol) }, wire.ReasonProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			handler, rec := recording()
			w := newWorld(t, worldConfig{link: simnet.Link{Delay: 10 * time.Millisecond}, handler: handler})
			p := w.opened(0)
			s := (*rec).last
			w.group.workers[0].Do(func() {
				if err := s.Send(session.ReliableOrdered, 0, 1, number(1)); err != nil {
					t.Error(err)
				}
				tt.close(s)
				if len((*rec).closed) != 0 {
					t.Error("the handler was called from within")
				}
			})
			w.passBy(0, w.net.Now())
			w.until(10*time.Second, "closing", p.engine.Over)
			w.run(time.Second)
			if p.engine.Reason() != tt.want || (*rec).closed[s.ID()] != tt.want {
				t.Errorf("client: %v, handler: %v, want %v", p.engine.Reason(), (*rec).closed[s.ID()], tt.want)
			}
			if tt.name == "in_order" && len(p.got) != 1 {
				t.Error("what was queued before the close did not arrive")
			}
			if _, ok := w.gates[0].Session(p.key); ok {
				t.Error("the gate still knows the session")
			}
		})
	}
}

func TestResetByClient(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, rec := recording()
		w := newWorld(t, worldConfig{link: simnet.Link{Delay: 10 * time.Millisecond}, handler: handler, kernel: kernel})
		p := w.opened(0)
		// Data and RST in one burst: what was acknowledged is delivered.
		if err := p.send(session.ReliableOrdered, 0, 1, number(1)); err != nil {
			t.Fatal(err)
		}
		p.engine.Abort(wire.ReasonClosed)
		p.pump()
		w.run(time.Second)
		if (*rec).closed[(*rec).last.ID()] != wire.ReasonClosed || len((*rec).messages) != 1 {
			t.Errorf("closed %v, %d messages", (*rec).closed, len((*rec).messages))
		}
	})
}

func TestIdleClientIsDropped(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: 10 * time.Millisecond}, handler: handler, config: session.Config{IdleTimeout: 3 * time.Second}})
	p := w.opened(0)
	id := (*rec).last.ID()
	w.run(10 * time.Second)
	if len((*rec).closed) != 0 {
		t.Fatal("a client that only keeps alive was dropped")
	}
	p.up.Link.Loss = 1
	w.until(5*time.Second, "the end", func() bool { return (*rec).closed[id] == wire.ReasonIdle })
	if _, ok := w.gates[0].Session(p.key); ok {
		t.Error("the gate still knows the session")
	}
}

func TestServerFull(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler, max: 64})
	for range 64 {
		w.dial(0)
	}
	w.run(time.Second)
	late := w.dial(0)
	w.until(time.Second, "refusal", late.engine.Over)
	if late.engine.Reason() != wire.ReasonFull {
		t.Errorf("reason %v, want server full", late.engine.Reason())
	}
	if len((*rec).opened) != 64 {
		t.Errorf("%d sessions opened", len((*rec).opened))
	}

	// A slot serves again, but not at once: the gate may still be inside.
	first := w.clients[0]
	first.engine.Close(wire.ReasonClosed)
	first.pump()
	w.until(10*time.Second, "removal", func() bool { return w.group.workers[0].sessions == 63 })
	removed := w.net.Now()
	late.connect()
	w.run(100 * time.Millisecond)
	if late.engine.Reason() != wire.ReasonFull {
		t.Errorf("%v ms after its session ended a flow was used again", (w.net.Now()-removed)/ms)
	}
	w.run(time.Second)
	late.connect()
	w.until(time.Second, "opening", late.open)
}

func TestClientStartsAnew(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, rec := recording()
		w := newWorld(t, worldConfig{link: simnet.Link{Delay: 10 * time.Millisecond}, handler: handler, kernel: kernel})
		p := w.opened(0)
		old := (*rec).last.ID()
		if err := p.send(session.ReliableOrdered, 0, 1, number(1)); err != nil {
			t.Fatal(err)
		}
		p.connect()
		w.until(time.Second, "opening again", p.open)
		if err := p.send(session.ReliableOrdered, 0, 1, number(2)); err != nil {
			t.Fatal(err)
		}
		w.run(time.Second)
		if (*rec).closed[old] != wire.ReasonSuperseded {
			t.Errorf("old session: %v", (*rec).closed[old])
		}
		got := (*rec).messages
		if len(got) != 2 || got[0].session != old || got[0].number != 1 || got[1].session == old || got[1].number != 2 {
			t.Errorf("messages %+v", got)
		}
		if k := w.group.workers[0]; k.sessions != 1 || len(k.byKey) != 1 {
			t.Errorf("%d sessions", k.sessions)
		}
	})
}

// A HELLO that arrives together with packets of the session it replaces does
// not take their delivery away.
func TestClientStartsAnewWhileWorkerStandsStill(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: 10 * time.Millisecond}, handler: handler, kernel: true})
	p := w.opened(0)
	w.stalled = true
	for n := range uint32(5) {
		if err := p.send(session.ReliableOrdered, 0, 1, number(n)); err != nil {
			t.Fatal(err)
		}
	}
	w.run(50 * time.Millisecond)
	p.connect()
	w.run(50 * time.Millisecond)
	w.resume()
	w.until(time.Second, "opening again", p.open)
	if got := len((*rec).messages); got != 5 || len((*rec).closed) != 1 {
		t.Errorf("%d messages, want 5; %d sessions closed, want 1", got, len((*rec).closed))
	}
}

// A client that sends and is sent nothing reliable hears of congestion.
func TestMarksOfUnreliablePackets(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, rec := recording()
		w := newWorld(t, worldConfig{link: simnet.Link{Delay: 10 * time.Millisecond}, handler: handler, kernel: kernel})
		(*rec).onMessage = func(s *Session, m session.Message) {
			if err := s.Send(m.Mode, m.Channel, m.Type, m.Payload); err != nil {
				t.Error(err)
			}
		}
		p := w.opened(0)
		for marks := range uint64(2) {
			if got := p.engine.Stats().Marks; got != marks {
				t.Errorf("%d marks heard of, want %d", got, marks)
			}
			p.marked = marks == 0
			if err := p.send(session.Unreliable, 0, 1, number(1)); err != nil {
				t.Fatal(err)
			}
			w.run(100 * time.Millisecond)
		}
		if err := p.send(session.Unreliable, 0, 1, number(1)); err != nil {
			t.Fatal(err)
		}
		w.run(100 * time.Millisecond)
		if got := p.engine.Stats().Marks; got != 1 {
			t.Errorf("%d marks heard of after the client gave way", got)
		}
	})
}

// Copies of a HELLO that are on their way together open one session.
func TestRepeatedHello(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, rec := recording()
		link := simnet.Link{Delay: 10 * time.Millisecond, Duplicate: 1}
		w := newWorld(t, worldConfig{link: link, handler: handler, kernel: kernel})
		w.opened(0)
		w.run(time.Second)
		if len((*rec).opened) != 1 || len((*rec).closed) != 0 {
			t.Errorf("%d opened, %d closed", len((*rec).opened), len((*rec).closed))
		}
	})
}

// The handler ticks at its rate while there are sessions, and never without.
func TestTickOnlyWithSessions(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler})
	w.run(5 * time.Second)
	if (*rec).ticks != 0 {
		t.Errorf("%d ticks without a session", (*rec).ticks)
	}
	if at := w.group.workers[0].nextDeadline(); at <= w.net.Now()+1000*ms {
		t.Errorf("an idle worker wants to wake up in %v", time.Duration(at-w.net.Now()))
	}
	w.opened(0)
	before := (*rec).ticks
	w.run(2 * time.Second)
	if got := (*rec).ticks - before; got < 118 || got > 122 {
		t.Errorf("%d ticks in two seconds, want 120", got)
	}
}

// With the transport out of buffers packets wait; none is lost.
func TestTransportWithoutRoom(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler})
	var clients []*peer
	for range 5 {
		clients = append(clients, w.dial(0))
	}
	w.run(time.Second)
	w.lanes[0].limit = 2
	for _, p := range clients {
		for n := range uint32(50) {
			if err := p.send(session.ReliableOrdered, 0, 1, number(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.run(time.Second)
	if got := len((*rec).messages); got != 250 {
		t.Errorf("%d messages, want 250", got)
	}
}

// A tiny ring and a worker that stands still: the gate acknowledges what fits,
// and everything it acknowledged is delivered.
func TestAcknowledgedIsSubsetOfDelivered(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			handler, rec := recording()
			w := newWorld(t, worldConfig{seed: seed, slots: 8, link: simnet.Link{Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.05}, handler: handler, kernel: true})
			acked := map[uint32]bool{}
			full := 0
			w.onOutcome = func(_ *peer, packet []byte, out gate.Outcome) {
				h, _, _ := wire.ParseHeader(packet)
				switch out {
				case gate.TXAck:
					acked[h.Sequence] = true
				case gate.DropRingFull, gate.DropRingPressure:
					full++
				default:
				}
			}
			p := w.dial(0)
			w.until(10*time.Second, "opening", p.open)
			for round := range 20 {
				w.stalled = true
				for n := range uint32(40) {
					// One message per packet.
					if err := p.send(session.ReliableOrdered, 0, 1, append(number(uint32(round)*40+n), make([]byte, 700)...)); err != nil {
						t.Fatal(err)
					}
				}
				w.run(time.Duration(w.net.Rand().IntN(100)) * time.Millisecond)
				w.resume()
				w.run(time.Duration(w.net.Rand().IntN(300)) * time.Millisecond)
			}
			w.until(time.Minute, "delivery", func() bool { return len((*rec).messages) >= 800 })
			if full == 0 {
				t.Error("the ring never was full")
			}
			delivered := map[uint32]bool{}
			for n, m := range (*rec).messages {
				if m.number != uint32(n) {
					t.Fatalf("message %d came as number %d", m.number, n)
				}
				delivered[m.sequence] = true
			}
			for seq := range acked {
				if !delivered[seq] {
					t.Errorf("packet %d was acknowledged and not delivered", seq)
				}
			}
		})
	}
}

// Closing with the server: clients hear the reason, and the group has nothing
// left.
func TestLeave(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: lossy, seed: 9, handler: handler})
	var clients []*peer
	for range 10 {
		clients = append(clients, w.dial(0))
	}
	w.until(10*time.Second, "opening", func() bool {
		return !slices.ContainsFunc(clients, func(p *peer) bool { return !p.open() })
	})
	k := w.group.workers[0]
	k.Do(func() { k.leave(time.Minute) })
	w.passBy(0, w.net.Now())
	w.until(20*time.Second, "the end", k.finished)
	for i, p := range clients {
		w.until(10*time.Second, "the client's end", p.engine.Over)
		if p.engine.Reason() != wire.ReasonShuttingDown {
			t.Errorf("client %d: %v", i, p.engine.Reason())
		}
	}
	if len((*rec).closed) != 10 {
		t.Errorf("%d sessions closed", len((*rec).closed))
	}
	late := w.dial(0)
	w.until(10*time.Second, "refusal", late.engine.Over)
	if late.engine.Reason() != wire.ReasonShuttingDown {
		t.Errorf("late client: %v", late.engine.Reason())
	}
}

// A shutdown without any time left still hands over what was acknowledged.
func TestLeaveAtOnce(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler, kernel: true})
	p := w.opened(0)
	w.stalled = true
	for n := range uint32(5) {
		if err := p.send(session.ReliableOrdered, 0, 1, number(n)); err != nil {
			t.Fatal(err)
		}
	}
	w.run(50 * time.Millisecond)
	k := w.group.workers[0]
	k.Do(func() { k.leave(0) })
	w.resume()
	w.until(time.Second, "the end", k.finished)
	if got := len((*rec).messages); got != 5 {
		t.Errorf("%d messages, want 5", got)
	}
	w.until(time.Second, "the client's end", p.engine.Over)
}
