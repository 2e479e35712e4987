package worker

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
)

// big returns a payload of n bytes that shows where it is damaged.
func big(n int, seed uint32) []byte {
	b := make([]byte, 0, n+4)
	for i := uint32(0); len(b) < n; i++ {
		b = append(b, number(seed+i*2654435761)...)
	}
	return b[:n]
}

// answering sends every message back by SendMessage, and keeps what was
// abandoned.
type answering struct {
	*recorder
	t         *testing.T
	abandoned []uint16
}

func (a *answering) Message(s *Session, m session.Message) {
	a.recorder.Message(s, m)
	err := s.SendMessage(session.Outgoing{
		Mode: m.Mode, Channel: m.Channel, Type: m.Type, Priority: session.Normal, Payload: m.Payload,
	})
	if err != nil {
		a.t.Error(err)
	}
}

func (a *answering) Abandoned(s *Session, mode session.Mode, channel uint8, id uint16) {
	if s != a.last || mode != session.ReliableOrdered || channel != 3 {
		a.t.Errorf("abandoned: %v %d", mode, channel)
	}
	a.abandoned = append(a.abandoned, id)
	if err := s.Send(session.ReliableOrdered, channel, 1, number(uint32(id))); err != nil {
		a.t.Error(err)
	}
}

func newAnswering(t *testing.T) (func(w *Worker) Handler, *answering) {
	a := &answering{t: t}
	make, rec := recording()
	return func(w *Worker) Handler {
		make(w)
		a.recorder = *rec
		return a
	}, a
}

func TestLargeMessagesBothWays(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, a := newAnswering(t)
		w := newWorld(t, worldConfig{
			link: simnet.Link{Delay: 5 * time.Millisecond, Loss: 0.01}, handler: handler, kernel: kernel,
		})
		p := w.opened(0)
		if got, want := a.last.MaxMessage(), 1<<20; got < want {
			t.Errorf("the client takes %d bytes, want %d", got, want)
		}
		if got := p.engine.MaxMessage(); got != int(Reassembly(w.regions.Geometry())) {
			t.Errorf("the server takes %d bytes", got)
		}
		if err := a.last.SendMessage(session.Outgoing{Type: 1, Payload: make([]byte, a.last.MaxMessage()+1)}); !errors.Is(err, session.ErrTooLarge) {
			t.Errorf("more than that: %v", err)
		}
		var want [][]byte
		for i, size := range []int{10, 300_000, 20, 5000, 100_000, 30} {
			want = append(want, big(size, uint32(i)))
			if err := p.send(session.ReliableOrdered, 3, 7, want[i]); err != nil {
				t.Fatal(err)
			}
		}
		w.until(time.Minute, "answers", func() bool { return len(p.got) == len(want) })
		for i, m := range p.got {
			if !bytes.Equal(m.Payload, want[i]) {
				t.Errorf("answer %d has %d bytes and is not what was sent", i, len(m.Payload))
			}
		}
		w.run(time.Second)
		if used := w.group.workers[0].transfers.Used(); used != 0 {
			t.Errorf("%d bytes are still taken by large messages", used)
		}
	})
}

// Who sends hears of a message whose lifetime was over before it arrived.
func TestAbandonedIsTold(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		handler, a := newAnswering(t)
		w := newWorld(t, worldConfig{link: simnet.Link{Delay: 5 * time.Millisecond}, handler: handler, kernel: kernel})
		p := w.opened(0)
		p.down.Link.Loss = 1
		for _, o := range []session.Outgoing{
			{Payload: []byte("stays")},
			{Lifetime: 100 * time.Millisecond, Payload: []byte("over")},
			{Lifetime: 100 * time.Millisecond, Payload: big(50_000, 1)},
		} {
			o.Mode, o.Channel, o.Type = session.ReliableOrdered, 3, 1
			if err := a.last.SendMessage(o); err != nil {
				t.Fatal(err)
			}
		}
		w.run(500 * time.Millisecond)
		p.down.Link.Loss = 0
		w.until(10*time.Second, "confirmation", func() bool { return len(a.abandoned) == 2 && len(p.got) == 3 })
		if !slices.Equal(a.abandoned, []uint16{1, 2}) {
			t.Errorf("messages %d were abandoned, want 1 and 2", a.abandoned)
		}
		if string(p.got[0].Payload) != "stays" {
			t.Errorf("received %q first", p.got[0].Payload)
		}
	})
}
