package worker

import (
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// endings are the ways in which a session ends and owes its handler what was
// acknowledged.
var endings = []struct {
	name string
	end  func(w *world, p *peer, s *Session)
	want wire.Reason
}{
	{"idle", func(w *world, p *peer, _ *Session) { p.up.Link.Loss = 1 }, wire.ReasonIdle},
	{"reset_by_client", func(w *world, p *peer, _ *Session) {
		p.engine.Abort(wire.ReasonClosed)
		p.pump()
	}, wire.ReasonClosed},
	{"superseded", func(w *world, p *peer, _ *Session) { p.connect() }, wire.ReasonSuperseded},
	{"shutdown", func(w *world, _ *peer, _ *Session) {
		w.group.workers[0].Do(func() { w.group.workers[0].leave(time.Minute) })
	}, wire.ReasonShuttingDown},
	{"shutdown_at_once", func(w *world, _ *peer, _ *Session) {
		w.group.workers[0].Do(func() { w.group.workers[0].leave(0) })
	}, wire.ReasonShuttingDown},
	{"closed_by_handler", func(w *world, _ *peer, s *Session) {
		w.group.workers[0].Do(func() { s.Close(wire.ReasonKicked) })
	}, wire.ReasonKicked},
	{"closed_into_the_void", func(w *world, p *peer, s *Session) {
		p.up.Link.Loss = 1
		w.group.workers[0].Do(func() { s.Close(wire.ReasonKicked) })
	}, wire.ReasonKicked},
}

// A gap never fills, and the session ends: what was acknowledged beyond the gap
// is handed over, in order, before the end.
func TestEndDeliversBeyondGap(t *testing.T) {
	for _, tt := range endings {
		t.Run(tt.name, func(t *testing.T) {
			bothGates(t, func(t *testing.T, kernel bool) {
				handler, rec := recording()
				w := newWorld(t, worldConfig{
					link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: kernel,
					config: session.Config{IdleTimeout: 3 * time.Second},
				})
				p := w.opened(0)
				s := (*rec).last
				gap := p.engine.SndNxt()
				p.lose = func(h wire.Header) bool { return h.Flags&wire.FlagPSH != 0 && h.Sequence == gap }
				// The last two come in one burst with the end, while the worker
				// stands still.
				for n := range uint32(6) {
					if n == 4 {
						w.run(100 * time.Millisecond)
						w.stalled = kernel
					}
					if err := p.send(session.ReliableOrdered, 0, 1, append(number(n), make([]byte, 700)...)); err != nil {
						t.Fatal(err)
					}
				}
				if len((*rec).messages) != 0 {
					t.Fatal("the gap holds nothing back")
				}
				acked := p.acked
				tt.end(w, p, s)
				w.run(20 * time.Millisecond)
				w.resume()
				w.until(10*time.Second, "the end", func() bool { return (*rec).closed[s.ID()] != 0 })
				if got := (*rec).closed[s.ID()]; got != tt.want {
					t.Errorf("closed: %v, want %v", got, tt.want)
				}
				var got []uint32
				seen := map[uint32]bool{}
				for _, m := range (*rec).messages {
					got = append(got, m.number)
					seen[m.sequence] = true
				}
				// What a link that went dead swallowed was not acknowledged.
				if !slices.IsSorted(got) || len(got) < 3 || got[0] != 1 {
					t.Errorf("messages %v", got)
				}
				for seq := range acked {
					if !seen[seq] {
						t.Errorf("packet %d was acknowledged and not delivered", seq)
					}
				}
				w.run(5 * time.Second)
				if held := heldSlots(w); held != 0 {
					t.Errorf("%d commit slots were not given back", held)
				}
				if state, ok := w.gates[0].Session(p.key); ok && state.ID == s.ID() {
					t.Error("the gate still knows the session")
				}
			})
		})
	}
}

// A CPU that found the session just before it left the gate's table still
// commits and acknowledges.
func TestEndTakesLateCommits(t *testing.T) {
	for _, tt := range endings {
		t.Run(tt.name, func(t *testing.T) {
			handler, rec := recording()
			w := newWorld(t, worldConfig{
				link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: true,
				config: session.Config{IdleTimeout: 3 * time.Second},
			})
			p := w.opened(0)
			s := (*rec).last
			state, _ := w.gates[0].Session(p.key)
			k := w.group.workers[0]
			body := wire.AppendMessage(nil, wire.Message{Type: 1, Channel: 9, Payload: number(42)})
			inner := k.opts.Sessions
			k.opts.Sessions = lateCommit{inner, func() {
				k.opts.Sessions = inner
				w.net.At(w.net.Now()+10*ms, func() { w.publish(s.ID(), s.slot, state.Window.Next, body) })
			}}
			tt.end(w, p, s)
			w.passBy(0, w.net.Now())
			w.until(10*time.Second, "the end", func() bool { return (*rec).closed[s.ID()] != 0 })
			if got := (*rec).messages; len(got) != 1 || got[0].number != 42 {
				t.Errorf("messages %+v", got)
			}
			w.run(time.Second)
			if held := heldSlots(w); held != 0 {
				t.Errorf("%d commit slots were not given back", held)
			}
		})
	}
}

// While letters wait for another worker nothing is taken from the rings, and a
// session that has something in them does not end.
func TestEndWaitsForRings(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{workers: 2, link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: true})
	// The last handler made is that of worker 1.
	p := w.opened(1)
	s := (*rec).last
	k := s.worker
	if k != (*rec).worker {
		t.Fatal("the session is another worker's")
	}
	for range mailboxSize + 1 {
		k.Mail(1-k.Index(), []byte("letter"), true)
	}
	k.sendMail()
	if err := p.send(session.ReliableOrdered, 0, 1, number(7)); err != nil {
		t.Fatal(err)
	}
	p.engine.Abort(wire.ReasonClosed)
	p.pump()
	// The other worker stands still, so that the letters stay.
	for end := w.net.Now() + 200*ms; w.net.Now() < end; {
		w.passAt[1-k.Index()] = 1
		w.run(5 * time.Millisecond)
	}
	if len((*rec).closed) != 0 || !k.pressed {
		t.Fatalf("closed %v, waiting for room: %v", (*rec).closed, k.pressed)
	}
	w.passAt[1-k.Index()] = 0
	w.resume()
	w.until(time.Second, "the end", func() bool { return (*rec).closed[s.ID()] != 0 })
	if len((*rec).messages) != 1 {
		t.Errorf("%d messages, want 1", len((*rec).messages))
	}
}

// The RST of a session that was aborted comes again, since nobody answers a
// client that missed it.
func TestResetIsRepeated(t *testing.T) {
	tests := []struct {
		name   string
		outage time.Duration
		resets uint64 // sent, all told
		told   bool
	}{
		{"first_lost", 100 * time.Millisecond, 3, true},
		{"second_lost", 500 * time.Millisecond, 3, true},
		{"all_lost", 2 * time.Second, 3, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bothGates(t, func(t *testing.T, kernel bool) {
				handler, rec := recording()
				w := newWorld(t, worldConfig{link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: kernel})
				p := w.opened(0)
				s := (*rec).last
				before := s.Stats().PacketsOut
				p.down.Link.Loss = 1
				w.group.workers[0].Do(func() { s.Abort(wire.ReasonKicked) })
				w.passBy(0, w.net.Now())
				w.run(tt.outage)
				p.down.Link.Loss = 0
				w.run(1200 * time.Millisecond)
				if told := p.engine.Reason() == wire.ReasonKicked; told != tt.told {
					t.Errorf("the client ended with %v", p.engine.Reason())
				}
				if got := s.Stats().PacketsOut - before; got != tt.resets {
					t.Errorf("%d resets, want %d", got, tt.resets)
				}
				if n := w.group.workers[0].wheel.Len(); n != 0 {
					t.Errorf("%d timers are left", n)
				}
			})
		})
	}
}

// A client that came back is not told about its former session.
func TestResetIsNotRepeatedToWhoCameBack(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler})
	p := w.opened(0)
	s := (*rec).last
	before := s.Stats().PacketsOut
	w.group.workers[0].Do(func() { s.Abort(wire.ReasonKicked) })
	w.passBy(0, w.net.Now())
	w.run(20 * time.Millisecond)
	p.connect()
	w.until(100*time.Millisecond, "opening again", p.open)
	w.run(2 * time.Second)
	if got := s.Stats().PacketsOut - before; got != 1 || !p.open() {
		t.Errorf("%d resets; open: %v", got, p.open())
	}
}

// The same for the session of a former process.
func TestResetOfRecoveredIsRepeated(t *testing.T) {
	handler, _ := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: true})
	p := w.opened(0)
	w.crash()
	p.down.Link.Loss = 1
	w.start()
	w.run(150 * time.Millisecond)
	p.down.Link.Loss = 0
	w.run(150 * time.Millisecond)
	if p.engine.Reason() != wire.ReasonRestarted {
		t.Errorf("the client ended with %v", p.engine.Reason())
	}
}

// A transport that has no room for good keeps no session from its timeouts, nor
// the handler from what was acknowledged, nor the worker from sleeping.
func TestStuckTransport(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{
		link: simnet.Link{Delay: time.Millisecond}, handler: handler,
		config: session.Config{IdleTimeout: 3 * time.Second},
	})
	p := w.opened(0)
	id := (*rec).last.ID()
	k := w.group.workers[0]
	for _, s := range k.byKey {
		if err := s.Send(session.ReliableOrdered, 0, 1, []byte("stuck")); err != nil {
			t.Fatal(err)
		}
	}
	w.lanes[0].stuck = true
	p.up = w.net.NewPipe(simnet.Link{Loss: 1}, func(simnet.Packet) {})
	w.passBy(0, w.net.Now())
	w.until(10*time.Second, "the idle timeout", func() bool { return (*rec).closed[id] != 0 })
	if (*rec).closed[id] != wire.ReasonIdle || heldSlots(w) != 0 {
		t.Errorf("closed %v, %d slots held", (*rec).closed[id], heldSlots(w))
	}
	w.run(time.Second)
	if len(k.active) != 0 || p.engine.Over() {
		t.Errorf("%d sessions are left, the client is %v", len(k.active), p.engine.State())
	}
	w.lanes[0].stuck = false
	w.until(time.Second, "the client's end", p.engine.Over)
	w.run(10 * time.Second)
	if n := k.wheel.Len(); n != 0 {
		t.Errorf("%d timers are left", n)
	}
}

// A worker that cannot end a session in time says so: what is in memory is not
// to be thrown away.
func TestUnfinishedIsAFailure(t *testing.T) {
	handler, _ := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: handler})
	w.opened(0)
	k := w.group.workers[0]
	k.leave(0)
	for range 3 {
		if k.finished() {
			t.Fatal("finished with a session")
		}
	}
	k.now = k.leaveBy + 2*uint64(time.Second)
	if !k.finished() || k.failure == nil {
		t.Errorf("failure %v", k.failure)
	}
}
