package session

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/congestion"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// narrow is a controller with a window and a rate of the test's.
type narrow struct {
	unpaced
	window int
	rate   float64
}

func (n *narrow) Window() int         { return n.window }
func (n *narrow) PacingRate() float64 { return cmp.Or(n.rate, 1e9) }

func (n *narrow) config() Config {
	return Config{Congestion: func() congestion.Controller { return n }}
}

func (p *pair) queue(o Outgoing) {
	p.t.Helper()
	if o.Type == 0 {
		o.Type = 1
	}
	if err := p.c.SendMessage(o); err != nil {
		p.t.Fatal(err)
	}
}

// filler is a payload that leaves no room for another in its packet.
func (p *pair) filler(mark byte) []byte {
	b := make([]byte, p.c.MaxPayload())
	b[0] = mark
	return b
}

// drainMarks lets everything leave and returns the first bytes of what arrived.
func (p *pair) marks() (s string) {
	for _, m := range p.fromClient {
		s += string(m.Payload[:1])
	}
	return s
}

func TestPrioritiesShareTheWindow(t *testing.T) {
	n := &narrow{window: 0}
	p := newPair(t, n.config(), Config{})
	for _, priority := range []Priority{Low, Normal, High, Critical} {
		for range 40 {
			p.queue(Outgoing{Mode: ReliableUnordered, Priority: priority, Payload: p.filler("chnl"[priority])})
		}
	}
	p.exchange()
	// Critical messages have a reserve beyond a window of nothing.
	if got := p.marks(); got != strings.Repeat("c", shares[Critical]) {
		t.Errorf("into a window of nothing: %q", got)
	}
	p.fromClient = nil
	n.window = 1
	for len(p.fromClient) < 160-shares[Critical] {
		p.after(1 * ms)
	}
	share := strings.Repeat("h", 8) + strings.Repeat("n", 4) + "l"
	if got := p.marks(); !strings.HasPrefix(got, share+strings.Repeat("c", 16)+share+strings.Repeat("c", 8)+share) {
		t.Errorf("order %q", got)
	}
}

// TestSharesHoldWherePacketsLeaveOneByOne: what is held back keeps its turn.
func TestSharesHoldWherePacketsLeaveOneByOne(t *testing.T) {
	n := &narrow{window: 1000, rate: 1000}
	p := newPair(t, n.config(), Config{})
	for _, priority := range []Priority{High, Normal, Low} {
		for range 70 {
			p.queue(Outgoing{Mode: ReliableUnordered, Priority: priority, Payload: p.filler("chnl"[priority])})
		}
	}
	p.queue(Outgoing{Mode: ReliableUnordered, Priority: Low, Payload: append([]byte("L"), blob(100_000, 1)...)})
	p.after(80 * ms)
	got := p.marks()
	for mark, want := range map[string]int{"h": 30, "n": 15, "l": 4} {
		if strings.Count(got, mark) < want {
			t.Errorf("less than %d of %q: %q", want, mark, got)
		}
	}
	if got := p.s.Stats().Reassembly.Chunks[reliability.ChunkKept]; got < 15 {
		t.Errorf("%d chunks", got)
	}
}

func TestMessagesWaitForCompany(t *testing.T) {
	tests := []struct {
		name     string
		priority Priority
		wait     uint64 // ms
	}{
		{"critical", Critical, 0}, {"high", High, 0}, {"normal", Normal, 5}, {"low", Low, 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, mode := range []Mode{Unreliable, ReliableOrdered} {
				p := newPair(t, Config{}, Config{})
				p.queue(Outgoing{Mode: mode, Priority: tt.priority, Payload: []byte("x")})
				p.exchange()
				start := p.now
				for len(p.fromClient) == 0 && p.now < start+100*ms {
					if at := p.c.NextTimeout(); at <= p.now {
						t.Fatalf("%v: timer at %d ms of the past", mode, (p.now-at)/ms)
					}
					p.now = p.c.NextTimeout()
					p.c.Tick(p.now)
					p.exchange()
				}
				if got := (p.now - start) / ms; got != tt.wait {
					t.Errorf("%v: left after %d ms, want %d", mode, got, tt.wait)
				}
			}
		})
	}
	t.Run("together", func(t *testing.T) {
		p := newPair(t, Config{}, Config{})
		for _, priority := range []Priority{Low, Normal, High, Critical} {
			p.queue(Outgoing{Mode: ReliableUnordered, Priority: priority, Payload: []byte{"chnl"[priority]}})
		}
		before := p.packets
		p.exchange()
		if p.packets != before+1 || p.marks() != "chnl" {
			t.Errorf("%d packets, %q", p.packets-before, p.marks())
		}
	})
	t.Run("full", func(t *testing.T) {
		p := newPair(t, Config{}, Config{})
		for range 3 {
			p.queue(Outgoing{Mode: ReliableUnordered, Priority: Low, Payload: p.filler('l')})
		}
		p.exchange()
		if len(p.fromClient) != 3 {
			t.Errorf("%d of 3 full packets left", len(p.fromClient))
		}
	})
}

// TestOrderCountsMoreThanPriority: within an ordered channel nothing overtakes.
func TestOrderCountsMoreThanPriority(t *testing.T) {
	for _, mode := range []Mode{ReliableOrdered, UnreliableSequenced} {
		n := &narrow{window: 0}
		p := newPair(t, n.config(), Config{})
		var want []string
		for i := range 60 {
			text := fmt.Sprint(i)
			want = append(want, text)
			p.queue(Outgoing{Mode: mode, Channel: 3, Priority: Priority(i*7) % 4, Payload: []byte(text)})
			if i%10 == 0 {
				p.queue(Outgoing{Mode: mode, Channel: 4, Priority: Low, Payload: make([]byte, 900)})
			}
		}
		n.window = 64
		p.after(200 * ms)
		var got []string
		for _, m := range p.fromClient {
			if m.Channel == 3 {
				got = append(got, string(m.Payload))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v: got %v", mode, got)
		}
		if p.s.State() != Open {
			t.Errorf("server %v (%v)", p.s.State(), p.s.Reason())
		}
	}
}

func TestCriticalPacketsAreUrgent(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	for _, mode := range []Mode{ReliableOrdered, Unreliable} {
		for _, priority := range []Priority{High, Critical} {
			p.queue(Outgoing{Mode: mode, Priority: priority, Payload: []byte("x")})
			var buf [wire.MaxDatagramLimit]byte
			n := p.c.Fill(buf[:], p.now)
			h, _, _ := wire.ParseHeader(buf[:n])
			if got := h.Flags&wire.FlagURG != 0; got != (priority == Critical) || n == 0 {
				t.Errorf("%v %v: flags %v", mode, priority, h.Flags)
			}
		}
	}
}

// TestJoinedCriticalMessagesAreUrgent: those that ran out of their share and
// leave with others.
func TestJoinedCriticalMessagesAreUrgent(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.c.out.credit = [priorities + 1]int{0, 1, 1, 1, 1}
	for _, priority := range []Priority{High, Critical} {
		p.queue(Outgoing{Mode: ReliableUnordered, Priority: priority, Payload: []byte("x")})
	}
	var buf [wire.MaxDatagramLimit]byte
	n := p.c.Fill(buf[:], p.now)
	if h, _, _ := wire.ParseHeader(buf[:n]); h.Flags&wire.FlagURG == 0 || !p.c.out.empty() {
		t.Errorf("flags %v, %d bytes left", h.Flags, p.c.Queued())
	}
}

// TestIDsStayWithinReach however many tiny messages are on their way, and in
// whatever lanes they waited.
func TestIDsStayWithinReach(t *testing.T) {
	n := &narrow{window: 2000}
	p := newPair(t, n.config(), Config{})
	p.block[p.c.SndNxt()] = true
	for i := range reliability.MaxAhead - 1 {
		p.queue(Outgoing{Mode: ReliableOrdered, Channel: 1, Priority: Low})
		if i%1000 == 0 {
			p.exchange()
		}
	}
	p.after(21 * ms)
	p.queue(Outgoing{Mode: ReliableOrdered, Channel: 2, Priority: High})
	for range 31 {
		p.queue(Outgoing{Mode: ReliableOrdered, Channel: 1, Priority: Low})
	}
	p.after(100 * ms)
	if p.s.State() != Open {
		t.Fatalf("server %v (%v)", p.s.State(), p.s.Reason())
	}
	clear(p.block)
	p.after(3000 * ms)
	if len(p.fromClient) != reliability.MaxAhead+31 || p.s.State() != Open {
		t.Errorf("%d arrived, server %v (%v)", len(p.fromClient), p.s.State(), p.s.Reason())
	}
}

// TestSkipIsAnsweredWhileClosing and with a full queue, since the peer waits to
// hear of it.
func TestSkipIsAnsweredWhileClosing(t *testing.T) {
	for _, closing := range []bool{false, true} {
		n := &narrow{window: 0}
		p := newPair(t, Config{}, n.config())
		for p.s.Send(ReliableUnordered, 1, 1, make([]byte, 1000)) == nil {
		}
		if closing {
			p.s.Close(wire.ReasonClosed)
		}
		p.room = 0
		p.queue(Outgoing{Mode: ReliableOrdered, Priority: High, Lifetime: 100 * time.Millisecond, Payload: []byte("a")})
		p.after(500 * ms)
		p.room = 1024
		p.after(500 * ms)
		if got := p.s.Stats().Skipped; got != 1 {
			t.Fatalf("%d skipped", got)
		}
		n.window = 64
		p.after(2000 * ms)
		if got := p.c.Stats().AbandonedConfirmed; got != 1 || closing != p.c.Over() {
			t.Errorf("closing %v: %d confirmed, client %v", closing, got, p.c.State())
		}
	}
}

func TestBandwidthIsKept(t *testing.T) {
	const rate = 100_000
	p := newPair(t, Config{Bandwidth: rate}, Config{})
	start := p.c.Stats().BytesOut
	for range 1000 {
		for range 8 {
			_ = p.c.SendMessage(Outgoing{Mode: Unreliable, Type: 1, Priority: High, Payload: make([]byte, 200)})
			_ = p.c.SendMessage(Outgoing{Mode: ReliableUnordered, Type: 1, Priority: Normal, Payload: make([]byte, 200)})
		}
		p.after(ms)
		if at := p.c.NextTimeout(); p.c.Queued() > 0 && at > p.now+13*ms {
			t.Fatal("nothing wakes the session up to go on")
		}
	}
	got := p.c.Stats().BytesOut - start
	if got < rate*95/100 || got > rate*110/100 {
		t.Errorf("%d bytes in a second, want about %d", got, rate)
	}
	p.fromClient = nil
	p.queue(Outgoing{Mode: ReliableUnordered, Priority: Critical, Payload: []byte("now")})
	p.exchange()
	if !slices.ContainsFunc(p.fromClient, func(m Message) bool { return string(m.Payload) == "now" }) {
		t.Error("a critical message waits for the budget")
	}
}

// TestLifetimes: whatever happens to a message with a lifetime, both ends agree
// on it, and the channel goes on.
func TestLifetimes(t *testing.T) {
	type outcome struct {
		delivered string
		abandoned uint64
	}
	tests := []struct {
		name string
		mode Mode
		do   func(p *pair, n *narrow)
		want outcome
	}{
		{"in_time", ReliableOrdered, func(p *pair, n *narrow) {}, outcome{"a b ", 0}},
		{"lost_once_but_not_over", ReliableOrdered, func(p *pair, n *narrow) {
			p.lose[p.c.SndNxt()] = true
		}, outcome{"a b ", 0}},
		{"lost_until_it_is_over", ReliableOrdered, func(p *pair, n *narrow) {
			p.room = 0
			p.exchange()
			p.after(600 * ms)
			p.room = 1024
		}, outcome{"b ", 1}},
		{"lost_until_it_is_over_unordered", ReliableUnordered, func(p *pair, n *narrow) {
			p.room = 0
			p.exchange()
			p.after(600 * ms)
			p.room = 1024
		}, outcome{"b ", 1}},
		{"over_before_it_was_sent", ReliableOrdered, func(p *pair, n *narrow) {
			n.window = 0
			p.after(600 * ms)
			n.window = 64
		}, outcome{"b ", 1}},
		{"over_before_it_was_sent_unordered", ReliableUnordered, func(p *pair, n *narrow) {
			n.window = 0
			p.after(600 * ms)
			n.window = 64
		}, outcome{"b ", 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := &narrow{window: 64}
			cfg := n.config()
			var confirmed []uint16
			cfg.Abandoned = func(_ *Session, mode Mode, channel uint8, id uint16) {
				if mode != tt.mode || channel != 5 {
					t.Errorf("abandoned: %v %d", mode, channel)
				}
				confirmed = append(confirmed, id)
			}
			p := newPair(t, cfg, Config{})
			p.queue(Outgoing{Mode: tt.mode, Channel: 5, Priority: High, Lifetime: 500 * time.Millisecond, Payload: []byte("a")})
			p.queue(Outgoing{Mode: tt.mode, Channel: 5, Priority: High, Payload: []byte("b")})
			tt.do(p, n)
			p.after(3000 * ms)
			c, s := p.c.Stats(), p.s.Stats()
			if got := (outcome{texts(p.fromClient), c.Abandoned}); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if c.AbandonedConfirmed != tt.want.abandoned || len(confirmed) != int(tt.want.abandoned) {
				t.Errorf("%d of %d confirmed; the peer skipped %d", c.AbandonedConfirmed, c.Abandoned, s.Skipped)
			}
			if c.Queued != 0 || c.InFlight != 0 || p.s.State() != Open {
				t.Errorf("not drained: %+v, server %v", c, p.s.State())
			}
		})
	}
	t.Run("peer_that_knows_of_none", func(t *testing.T) {
		p := newPair(t, Config{Reassembly: -1}, Config{})
		p.room = 0
		p.queue(Outgoing{Mode: ReliableOrdered, Priority: High, Lifetime: 100 * time.Millisecond, Payload: []byte("a")})
		p.after(1000 * ms)
		p.room = 1024
		p.after(3000 * ms)
		if got := texts(p.fromClient); got != "a " {
			t.Errorf("got %q", got)
		}
	})
	t.Run("original_arrived_after_all", func(t *testing.T) {
		p := newPair(t, Config{}, Config{})
		p.loseDown = true
		p.queue(Outgoing{Mode: ReliableOrdered, Priority: High, Lifetime: 100 * time.Millisecond, Payload: []byte("a")})
		p.after(1500 * ms)
		p.loseDown = false
		p.after(4000 * ms)
		c := p.c.Stats()
		if got := texts(p.fromClient); got != "a " || c.AbandonedConfirmed != 0 || p.s.Stats().Skipped != 0 {
			t.Errorf("got %q, %d confirmed", got, c.AbandonedConfirmed)
		}
	})
}

// TestAbandonedEndsTheSession from within the callback, wherever that is called.
func TestAbandonedEndsTheSession(t *testing.T) {
	tests := []struct {
		name string
		mode Mode
		do   func(p *pair, n *narrow)
		want string // at the server
	}{
		{"from_fill", ReliableUnordered, func(p *pair, n *narrow) {
			n.window = 0
			p.after(600 * ms)
			n.window = 64
		}, ""},
		{"from_packet", ReliableOrdered, func(p *pair, n *narrow) {
			p.room = 0
			p.exchange()
			p.after(600 * ms)
			p.room = 1024
		}, "b "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := &narrow{window: 64}
			cfg := n.config()
			cfg.Abandoned = func(s *Session, _ Mode, _ uint8, _ uint16) { s.Abort(wire.ReasonClosed) }
			p := newPair(t, cfg, Config{})
			p.s.cfg.Message = func(s *Session, m Message) {
				p.keep(&p.fromClient, m)
				p.send(s, ReliableOrdered, 1, "behind the confirmation")
			}
			p.queue(Outgoing{Mode: tt.mode, Channel: 5, Priority: High, Lifetime: 500 * time.Millisecond, Payload: []byte("a")})
			p.queue(Outgoing{Mode: tt.mode, Channel: 5, Priority: High, Payload: []byte("b")})
			tt.do(p, n)
			p.after(3000 * ms)
			if got := texts(p.fromClient); got != tt.want || len(p.fromServer) != 0 {
				t.Errorf("the server got %q, the client %q", got, texts(p.fromServer))
			}
			if c := p.c.Stats(); p.c.State() != Closed || c.InFlight != 0 {
				t.Errorf("client %v, %d packets in flight", p.c.State(), c.InFlight)
			}
		})
	}
}

func TestRecoveredSessionsSendNothing(t *testing.T) {
	s := NewRecovered(Config{}, Recovery{ID: 1, ClientISN: 98, ServerISN: 40, SndNxt: 41}, 1000*ms)
	for _, size := range []int{1, 100_000} {
		if err := s.Send(ReliableOrdered, 0, 1, make([]byte, size)); !errors.Is(err, ErrNotOpen) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if s.Queued() != 0 {
		t.Errorf("%d bytes queued", s.Queued())
	}
	// Nor do they hand over what was not acknowledged.
	if s.Adopt(commit.Transfer{First: wire.Fragment{Total: 2, Chunk: 1}, Received: 1}) {
		t.Error("an unreliable message was adopted")
	}
}
