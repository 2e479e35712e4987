package worker

import (
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// stand is a world whose worker stands still until a greedy client has used up
// its budget and came to a stand with more to send.
type stand struct {
	*world
	rec      **recorder
	greedy   *peer
	commits  int // of the greedy client
	refused  int // of its packets, for the budget
	probes   int
	lastData uint64 // when a packet of its messages came to the gate
}

const (
	standBudget   = 64
	standDelay    = 50 * time.Millisecond
	standMessages = 500
)

func newStand(t *testing.T) *stand {
	t.Helper()
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: standDelay}, handler: handler, kernel: true, budget: standBudget})
	s := &stand{world: w, rec: rec, greedy: w.opened(0)}
	w.onOutcome = func(p *peer, _ []byte, out gate.Outcome) {
		if p != s.greedy {
			return
		}
		switch out {
		case gate.TXAck:
			s.commits++
			s.lastData = w.net.Now()
		case gate.DropSessionBudget:
			s.refused++
		case gate.TXKeepalive:
			s.probes++
		default:
		}
	}
	w.stalled = true
	for n := range uint32(standMessages) {
		// One message per packet.
		if err := s.greedy.send(session.ReliableOrdered, 0, 1, append(number(n), make([]byte, 500)...)); err != nil {
			t.Fatal(err)
		}
	}
	w.run(5 * time.Second)
	return s
}

// A session that its worker does not come to is stopped by the window it is
// shown, and takes no room from others.
func TestBudgetStopsOneSession(t *testing.T) {
	s := newStand(t)
	if s.commits != standBudget {
		t.Errorf("%d packets kept of one session, want %d", s.commits, standBudget)
	}
	if s.probes == 0 {
		t.Error("the client did not come to a stand")
	}
	s.stalled = false
	other := s.opened(0)
	s.stalled = true
	for n := range uint32(40) {
		if err := other.send(session.ReliableOrdered, 0, 1, append(number(n), make([]byte, 500)...)); err != nil {
			t.Fatal(err)
		}
		s.run(time.Millisecond)
	}
	s.run(4 * standDelay)
	if got := other.engine.Stats(); got.InFlight != 0 || got.Retransmitted != 0 || got.Queued != 0 {
		t.Errorf("the other session is held up: %+v", got)
	}
}

// A client at a stand is told of room when there is some, and goes on within a
// round trip.
func TestWindowUpdateRestartsClient(t *testing.T) {
	s := newStand(t)
	refused, probes := s.refused, s.probes
	s.resume()
	resumed := s.net.Now()
	commits := s.commits
	s.until(2*standDelay+5*time.Millisecond, "data within a round trip", func() bool { return s.commits > commits })
	if s.probes != probes {
		t.Error("it took a probe")
	}
	s.until(time.Minute, "delivery", func() bool { return len((*s.rec).messages) == standMessages })
	if took := time.Duration(s.net.Now() - resumed); took > 12*2*standDelay {
		t.Errorf("%d messages in windows of %d took %v", standMessages, standBudget, took)
	}
	if s.refused != refused {
		t.Errorf("%d packets were sent in vain", s.refused-refused)
	}
}

// Updates that are lost are repeated, and not for ever.
func TestWindowUpdateIsRepeated(t *testing.T) {
	s := newStand(t)
	probes := s.probes
	s.greedy.down.Link.Loss = 1
	s.resume()
	s.run(50 * time.Millisecond)
	s.greedy.down.Link.Loss = 0
	commits := s.commits
	s.until(time.Second, "data", func() bool { return s.commits > commits })
	if s.probes != probes {
		t.Error("it took a probe")
	}
}

// A client that has nothing to send is left in peace.
func TestWindowUpdatesEnd(t *testing.T) {
	handler, rec := recording()
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: standDelay}, handler: handler, kernel: true, budget: standBudget})
	p := w.opened(0)
	w.stalled = true
	for n := range uint32(standBudget) {
		// Two do not share a packet.
		if err := p.send(session.ReliableOrdered, 0, 1, append(number(n), make([]byte, 700)...)); err != nil {
			t.Fatal(err)
		}
	}
	w.run(500 * time.Millisecond)
	flow := (*rec).last.flow
	if got := flow.Advertised(); got != 0 {
		t.Fatalf("window of %d with the budget spent", got)
	}
	sent := p.down.Sent
	// Nothing comes from the client that the gate would answer.
	p.lose = func(wire.Header) bool { return true }
	w.resume()
	w.run(900 * time.Millisecond)
	if got := p.down.Sent - sent; got < 3 {
		t.Errorf("%d packets before the first keepalive", got)
	}
	w.run(8 * time.Second)
	if got := p.down.Sent - sent; got > windowUpdates+9 {
		t.Errorf("%d packets in 9 s, keepalives included", got)
	}
	if got := flow.Released(); got != standBudget {
		t.Errorf("%d packets released as the gate knows it", got)
	}
}
