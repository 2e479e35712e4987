package worker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// A process that dies anywhere, also in the middle of a batch, loses nothing
// it acknowledged: the next one hands it over, under the same session and
// sequence where it may be a repetition.
func TestCrashLosesNothingAcknowledged(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		repeated, gaps := 0, 0
		for seed := range uint64(40) {
			t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
				r, g := crashOnce(t, seed, kernel)
				repeated += r
				gaps += g
			})
		}
		if repeated == 0 {
			t.Error("no crash fell between a message and the release of its packet")
		}
		if kernel && gaps == 0 {
			t.Error("no crash left a packet beyond a gap")
		}
	})
}

// crashOnce returns how many messages came again, and how many packets of the
// dead process waited for a gap.
func crashOnce(t *testing.T, seed uint64, kernel bool) (repeated, waiting int) {
	handler, rec := recording()
	link := simnet.Link{Delay: 10 * time.Millisecond, Jitter: 15 * time.Millisecond, Loss: 0.1}
	w := newWorld(t, worldConfig{seed: seed, link: link, handler: handler, kernel: kernel})
	const clients, channels = 3, 3
	for range clients {
		w.dial(0)
	}
	w.until(10*time.Second, "opening", func() bool {
		return !slices.ContainsFunc(w.clients, func(p *peer) bool { return !p.open() })
	})
	ids := map[string]uint64{}
	for _, s := range w.group.workers[0].bySlot {
		if s != nil {
			ids[s.Remote().String()] = s.ID()
		}
	}
	old := *rec
	dieAt := w.net.Rand().IntN(300)
	old.onMessage = func(*Session, session.Message) {
		// The handler had the message; its effect counts, then lights out.
		if len(old.messages) == dieAt {
			defer panic(crashed{})
		}
	}
	numbers := [clients][channels]uint32{}
	var feed func()
	feed = func() {
		for i, p := range w.clients {
			if !p.open() {
				continue
			}
			for range 1 + w.net.Rand().IntN(3) {
				channel := uint8(w.net.Rand().IntN(channels))
				if p.send(session.ReliableOrdered, channel, 1, number(numbers[i][channel])) == nil {
					numbers[i][channel]++
				}
			}
		}
		w.net.At(w.net.Now()+5*ms, feed)
	}
	feed()
	w.until(10*time.Second, "the crash", func() bool { return w.group == nil })
	waiting = w.regions.Geometry().Slots - w.regions.Reader(0).Free() - w.regions.Reader(0).Pending()

	// In the meantime clients go on, and a gate in the kernel does too.
	w.run(time.Duration(w.net.Rand().IntN(400)) * time.Millisecond)
	w.start()
	next := *rec
	w.until(20*time.Second, "the clients' end", func() bool {
		return !slices.ContainsFunc(w.clients, func(p *peer) bool { return !p.engine.Over() })
	})
	w.run(2 * time.Second)

	if len(next.restored) != clients || len(next.closed) != clients {
		t.Errorf("%d sessions recovered, %d closed, want %d", len(next.restored), len(next.closed), clients)
	}
	for _, p := range w.clients {
		id := ids[p.key.ClientAddrPort().String()]
		if next.closed[id] != wire.ReasonRestarted {
			t.Errorf("client %d: handler was told %v", p.number, next.closed[id])
		}
		repeated += checkDelivered(t, p, id, old.messages, next.messages)
	}
	if held := heldSlots(w); held != 0 {
		t.Errorf("%d commit slots were not given back", held)
	}
	if k := w.group.workers[0]; k.sessions != 0 || k.recovering != 0 {
		t.Errorf("%d sessions are left, %d of them recovering", k.sessions, k.recovering)
	}
	return repeated, waiting - 1
}

// checkDelivered compares what two processes delivered of a session with what
// its client was promised, and returns how many messages came twice.
func checkDelivered(t *testing.T, p *peer, id uint64, before, after []record) (repeated int) {
	t.Helper()
	seen := map[record]bool{}
	packets := map[uint32]bool{}
	last := map[uint8]int64{}
	for i, r := range slices.Concat(before, after) {
		if r.session != id {
			continue
		}
		if seen[r] {
			if i < len(before) {
				t.Fatalf("client %d: %+v came twice within one process", p.number, r)
			}
			repeated++
			continue
		}
		seen[r] = true
		packets[r.sequence] = true
		if prev, ok := last[r.channel]; ok && int64(r.number) <= prev {
			t.Fatalf("client %d: number %d of channel %d came after %d", p.number, r.number, r.channel, prev)
		}
		last[r.channel] = int64(r.number)
	}
	for seq := range p.acked {
		if !packets[seq] {
			t.Errorf("client %d: packet %d was acknowledged and its messages are lost", p.number, seq)
		}
	}
	return repeated
}

// A client is told of the restart however much it had sent: the RST has to
// acknowledge what is recent enough to be believed.
func TestCrashTellsClients(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, rec := recording()
		w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler, kernel: kernel})
		p := w.opened(0)
		const total = 3 * wire.ReceiveWindow
		sent := uint32(0)
		w.until(time.Minute, "messages", func() bool {
			for sent < total && p.send(session.ReliableOrdered, 0, 1, append(number(sent), make([]byte, 600)...)) == nil {
				sent++
			}
			return len((*rec).messages) == total
		})
		w.crash()
		w.start()
		w.until(time.Second, "the client's end", p.engine.Over)
		if why := p.engine.Reason(); why != wire.ReasonRestarted {
			t.Errorf("the client was told %q", why)
		}
		if got := len((*rec).messages); got != 0 {
			t.Errorf("%d messages came again", got)
		}
	})
}

// A recovered session whose client no transport reaches any more keeps nobody
// else from being served.
func TestUnreachableAfterCrash(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler})
	p := w.opened(0)
	id := (*rec).last.ID()
	w.crash()
	w.lanes[0].serves = func(key wire.Key) bool { return key != p.key }
	w.start()
	q := w.dial(0)
	w.until(15*time.Millisecond, "opening beside it", q.open)
	w.until(time.Second, "the end of the recovered session", func() bool { return (*rec).closed[id] == wire.ReasonRestarted })
	if k := w.group.workers[0]; k.sessions != 1 || len(k.active) != 0 {
		t.Errorf("%d sessions, %d to be attended to", k.sessions, len(k.active))
	}
}

// What comes back within the pass that ends a recovered session's grace does not
// cut short what the gate may still acknowledge.
func TestEndOfGraceSettles(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: true})
	p := w.opened(0)
	id := (*rec).last.ID()
	state, _ := w.gates[0].Session(p.key)
	// One packet waits for another, so that there is a grace.
	body := wire.AppendMessage(nil, wire.Message{Type: 1, ID: 1, Payload: number(1)})
	w.publish(id, 0, state.Window.Next+1, body)
	w.crash()
	w.start()
	k := w.group.workers[0]
	w.publishLate(k, id, state.Window.Next, 0)
	var s *Session
	for _, s = range k.byKey {
	}
	w.net.At(s.finish, func() {
		k.pass(s.finish - 1)
		s.engine.Reset(wire.ReasonRestarted) // as by a HELLO
		k.pass(s.finish)
		w.passBy(0, w.net.Now())
	})
	w.run(3 * time.Second)
	if got := (*rec).messages; len(got) != 2 || (*rec).closed[id] != wire.ReasonRestarted {
		t.Errorf("messages %+v, closed %v", got, (*rec).closed)
	}
}

// Numbers of sessions are not used again, also where the clock was set back.
func TestIDsGoOn(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler})
	w.opened(0)
	const future = uint64(1) << 62
	w.regions.Flow(63).Open(&commit.FlowInfo{ID: future}, 0)
	w.regions.Flow(63).Free()
	w.crash()
	w.start()
	q := w.dial(0)
	w.until(time.Second, "opening anew", q.open)
	if id := (*rec).last.ID(); id <= future {
		t.Errorf("session %d after session %d", id, future)
	}
}

// Crashes one after the other, also during recovery.
func TestCrashDuringRecovery(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			handler, rec := recording()
			w := newWorld(t, worldConfig{seed: seed, link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: true})
			p := w.dial(0)
			w.until(10*time.Second, "opening", p.open)
			id := (*rec).last.ID()
			w.stalled = true
			const total = 100
			for n := range uint32(total) {
				if err := p.send(session.ReliableOrdered, 0, 1, append(number(n), make([]byte, 600)...)); err != nil {
					t.Fatal(err)
				}
			}
			w.run(200 * time.Millisecond)
			w.stalled = false
			var before []record
			for range 3 {
				before = append(before, (*rec).messages...)
				w.crash()
				inner := handler
				w.handler = func(k *Worker) Handler {
					h := inner(k)
					dieAt := w.net.Rand().IntN(30)
					(*rec).onMessage = func(*Session, session.Message) {
						if len((*rec).messages) == dieAt {
							defer panic(crashed{})
						}
					}
					return h
				}
				func() {
					defer func() {
						if p := recover(); p != nil && p != (crashed{}) {
							panic(p)
						}
					}()
					w.start()
				}()
			}
			before = append(before, (*rec).messages...)
			w.crash()
			w.handler = handler
			w.start()
			w.until(10*time.Second, "the client's end", p.engine.Over)
			w.run(time.Second)

			delivered := map[uint32]uint32{} // number to sequence
			for _, r := range append(before, (*rec).messages...) {
				if seq, again := delivered[r.number]; r.session != id || again && seq != r.sequence {
					t.Fatalf("%+v repeats sequence %d", r, seq)
				}
				delivered[r.number] = r.sequence
			}
			for n := range uint32(total) {
				if _, ok := delivered[n]; !ok {
					t.Errorf("message %d is lost", n)
				}
			}
		})
	}
}

// A client that reconnects from the same port while its old session is being
// recovered: the old messages come first.
func TestReconnectDuringRecovery(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: true})
	p := w.opened(0)
	old := (*rec).last.ID()
	w.stalled = true
	for n := range uint32(3) {
		if err := p.send(session.ReliableOrdered, 0, 1, append(number(n), make([]byte, 600)...)); err != nil {
			t.Fatal(err)
		}
	}
	w.run(100 * time.Millisecond)
	w.stalled = false
	w.crash()
	w.start()
	p.connect()
	w.until(time.Second, "opening again", p.open)
	w.run(2 * time.Second)
	if got := len((*rec).messages); got != 3 || (*rec).closed[old] == 0 {
		t.Errorf("%d messages of the old session, closed %v", got, (*rec).closed[old])
	}
	if !p.open() {
		t.Errorf("the new session ended: %v", p.engine.Reason())
	}
}

// lateCommit is a table from which an entry vanishes while a CPU that has found
// it is still committing a packet.
type lateCommit struct {
	Sessions
	commit func()
}

func (l lateCommit) Delete(key wire.Key) error {
	err := l.Sessions.Delete(key)
	l.commit()
	return err
}

// publish commits a packet as a gate does that is past all its checks.
func (w *world) publish(id uint64, flow, sequence uint32, body []byte) {
	ring := w.regions.Writer(0)
	slot, ok := ring.Reserve()
	if !ok {
		w.t.Fatal("ring is full")
	}
	slot.SessionID, slot.SessionSlot, slot.Sequence = id, flow, sequence
	slot.Flags = uint8(wire.FlagACK | wire.FlagPSH)
	slot.Length = uint16(copy(slot.Data[:], body))
	ring.Publish()
}

// publishLate commits message n soon after the gate was told to forget its
// session.
func (w *world) publishLate(k *Worker, id uint64, sequence, n uint32) {
	body := wire.AppendMessage(nil, wire.Message{Type: 1, Payload: number(n)})
	k.opts.Sessions = lateCommit{k.opts.Sessions, func() {
		w.net.At(w.net.Now()+2*ms, func() { w.publish(id, 0, sequence, body) })
	}}
}

func TestRecoveryTakesLateCommits(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: true})
	p := w.opened(0)
	id := (*rec).last.ID()
	state, _ := w.gates[0].Session(p.key)
	w.crash()
	w.start()
	w.publishLate(w.group.workers[0], id, state.Window.Next, 42)
	w.run(time.Second)
	if got := (*rec).messages; len(got) != 1 || got[0].number != 42 {
		t.Errorf("messages %+v", got)
	}
	if (*rec).closed[id] != wire.ReasonRestarted {
		t.Errorf("closed: %v", (*rec).closed)
	}
}

// Without a gap a recovered session waits for nothing.
func TestRecoveryIsPrompt(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: true})
	p := w.opened(0)
	w.stalled = true
	if err := p.send(session.ReliableOrdered, 0, 1, number(1)); err != nil {
		t.Fatal(err)
	}
	w.run(50 * time.Millisecond)
	w.stalled = false
	w.crash()
	w.start()
	if got := len((*rec).messages); got != 1 {
		t.Errorf("%d messages at once, want 1", got)
	}
	w.run(100 * time.Millisecond)
	if !p.engine.Over() {
		t.Error("the client waits to be told")
	}
}

// A packet that nobody owns any more does not take a slot away for good.
func TestStrayCommitIsReleased(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{handler: handler})
	body := wire.AppendMessage(nil, wire.Message{Type: 1, Payload: number(1)})
	w.publish(77, 3, 5, body)
	w.publish(78, 1<<31, 5, body)
	w.group.workers[0].pass(w.net.Now())
	if held := heldSlots(w); held != 0 || len((*rec).messages) != 0 {
		t.Errorf("%d slots held, %d messages", held, len((*rec).messages))
	}
}
