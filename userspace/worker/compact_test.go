package worker

import (
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

func compactWorld(t *testing.T, kernel bool) (*world, **recorder) {
	t.Helper()
	handler, rec := recording()
	w := newWorld(t, worldConfig{
		link: simnet.Link{Delay: time.Millisecond}, handler: handler, kernel: kernel, profile: wire.Compact, max: 64,
	})
	return w, rec
}

func TestCompactMessages(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		w, rec := compactWorld(t, kernel)
		p := w.opened(0)
		(*rec).onMessage = func(s *Session, m session.Message) {
			if err := s.Send(m.Mode, m.Channel, m.Type, m.Payload); err != nil {
				t.Error(err)
			}
		}
		want := 0
		for n := range uint32(300) {
			for mode := session.Unreliable; mode <= session.ReliableUnordered; mode++ {
				if err := p.send(mode, 3, 1, number(n)); err != nil {
					t.Fatal(err)
				}
				want++
			}
			w.run(5 * time.Millisecond)
		}
		w.until(time.Second, "the echo of everything", func() bool { return len(p.got) == want })
	})
}

// A RST with the token ends a session, from either side.
func TestCompactResets(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		w, rec := compactWorld(t, kernel)
		p, q := w.opened(0), w.opened(0)
		(*rec).last.Abort(wire.ReasonKicked)
		w.until(time.Second, "the client's end", q.engine.Over)
		if why := q.engine.Reason(); why != wire.ReasonKicked {
			t.Errorf("the client was told %q", why)
		}
		p.engine.Abort(wire.ReasonClosed)
		p.pump()
		w.until(time.Second, "the server's end", func() bool { return len((*rec).closed) == 2 })
	})
}

// Those who find no room, and those whose server died, are told so with the
// token of their cookie.
func TestCompactTellsTheEnd(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		w, _ := compactWorld(t, kernel)
		p := w.opened(0)
		for range 63 {
			w.opened(0)
		}
		late := w.dial(0)
		w.until(time.Second, "the refusal", late.engine.Over)
		if why := late.engine.Reason(); why != wire.ReasonFull {
			t.Errorf("refused with %q", why)
		}
		w.crash()
		w.start()
		w.until(5*time.Second, "the client's end", p.engine.Over)
		if why := p.engine.Reason(); why != wire.ReasonRestarted {
			t.Errorf("the client was told %q", why)
		}
	})
}

// What came around the XDP program: no reliable packet, and a RST with the
// token only.
func TestCompactByFallback(t *testing.T) {
	w, rec := compactWorld(t, true)
	k := w.group.workers[0]
	p := w.opened(0)
	s := (*rec).last
	message := wire.AppendMessage(nil, wire.Message{Type: 1, Payload: number(9)})
	data := func(flags wire.Flags, seq uint32) []byte {
		return wire.Compact.AppendPacket(nil, wire.Header{Sequence: seq, Ack: s.flow.SndNxt(), Flags: flags}, nil, message)
	}
	next := s.replay.High
	tests := []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"data", data(0, next+1), true},
		{"data_again", data(0, next+1), false},
		{"acknowledging", data(wire.FlagACK, next+2), true},
		{"reliable", data(wire.FlagPSH, s.engine.RcvNxt()), false},
		{"nothing", data(0, next+3)[:8], false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := k.screen(&transport.Datagram{Payload: tt.packet, Key: p.key}); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	w.passedTo = k.opts.Fallback.(*memoryLane)
	for i, token := range []uint32{s.token + 1, s.token} {
		h := wire.Header{Sequence: s.engine.RcvNxt(), Ack: s.flow.SndNxt()}
		p.atServer(wire.Compact.AppendReset(nil, h, wire.ReasonClosed, token))
		w.run(100 * time.Millisecond)
		if ended := len((*rec).closed) == 1; ended != (i == 1) {
			t.Errorf("token %#x: ended %v", token, ended)
		}
	}
}
