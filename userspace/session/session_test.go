package session

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

func TestHandshake(t *testing.T) {
	var got []string
	cfg := Config{Message: func(_ *Session, m Message) { got = append(got, string(m.Payload)) }}
	now := 1000 * ms
	c := NewClient(cfg, 100, now)
	buf := make([]byte, wire.MaxDatagramLimit)
	n := c.Fill(buf, now)
	h, opts, err := wire.ParseSYN(buf[:n])
	if err != nil || h.Sequence != 100 || !opts.SACK || !wire.Verify(buf[:n]) {
		t.Fatalf("SYN: %+v %+v %v", h, opts, err)
	}
	if c.Fill(buf, now) != 0 {
		t.Fatal("a second SYN at once")
	}
	if err := c.Send(Unreliable, 0, 1, nil); !errors.Is(err, ErrNotOpen) {
		t.Errorf("Send before opening: %v", err)
	}
	now += 20 * ms
	reply := wire.AppendSYNACK(nil, 100, wire.Options{Cookie: 4000, HasCookie: true, SACK: true, MTU: 1200}, now/1000)
	other := append([]byte(nil), reply...)
	other[3]++ // another sequence than the cookie's
	wire.Seal(other)
	if err := c.Packet(other, now); !errors.Is(err, DropHandshake) || c.State() != SynSent {
		t.Fatalf("SYN|ACK with another sequence: %v, %v", err, c.State())
	}
	if err := c.Packet(reply, now); err != nil || c.State() != HelloSent {
		t.Fatalf("SYN|ACK: %v, %v", err, c.State())
	}
	if err := c.Packet(reply, now); !errors.Is(err, DropHandshake) {
		t.Errorf("second SYN|ACK: %v", err)
	}
	n = c.Fill(buf, now)
	h, body, err := wire.ParseHeader(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	hello, err := wire.ParseHello(body)
	if err != nil || hello.Cookie != 4000 || !hello.SACK || h.Sequence != 101 || h.Ack != 2001 {
		t.Fatalf("HELLO: %+v %+v %v", h, hello, err)
	}
	first := append([]byte(nil), body...)
	now = c.NextTimeout()
	c.Tick(now)
	if n = c.Fill(buf, now); string(buf[wire.HeaderSize:n]) != string(first) {
		t.Fatal("the HELLO is not sent again")
	}
	s := NewServer(cfg, Opening{
		ID: 1, ClientISN: h.Sequence - 1, ServerISN: h.Ack - 1,
		Window: h.Window, Timestamp: h.Timestamp, SACK: hello.SACK, MTU: hello.MTU,
	}, now)
	if err := s.Send(ReliableOrdered, 3, 1, []byte("welcome")); err != nil {
		t.Fatal(err)
	}
	now += 10 * ms
	for n = s.Fill(buf, now); n > 0; n = s.Fill(buf, now) {
		if err := c.Packet(buf[:n], now); err != nil {
			t.Fatal(err)
		}
	}
	if c.State() != Open || len(got) != 1 || got[0] != "welcome" {
		t.Fatalf("client %v, got %q", c.State(), got)
	}
}

func TestHandshakeIsRefused(t *testing.T) {
	now := 1000 * ms
	c := NewClient(Config{}, 100, now)
	buf := make([]byte, wire.MaxDatagramLimit)
	c.Fill(buf, now)
	if err := c.Packet(AppendReset(nil, wire.Standard, 2001, 101, wire.ReasonFull, 0, now), now); !errors.Is(err, DropHandshake) {
		t.Errorf("reset before any answer: %v", err)
	}
	_ = c.Packet(wire.AppendSYNACK(nil, 100, wire.Options{Cookie: 4000, HasCookie: true}, now/1000), now)
	h, _, _ := wire.ParseHeader(buf[:c.Fill(buf, now)])
	if err := c.Packet(AppendReset(nil, wire.Standard, h.Ack, h.Sequence+1, wire.ReasonFull, 0, now), now); err != nil {
		t.Fatal(err)
	}
	if c.State() != Closed || c.Reason() != wire.ReasonFull || c.Fill(buf, now) != 0 {
		t.Errorf("%v (%v)", c.State(), c.Reason())
	}
}

func TestSendRefuses(t *testing.T) {
	p := newPair(t, Config{SendQueue: 4000}, Config{})
	tests := []struct {
		name    string
		channel uint8
		kind    uint8
		size    int
		want    error
	}{
		{"largest", 0, 1, p.c.MaxPayload(), nil},
		{"too_large", 0, 1, p.c.MaxMessage() + 1, ErrTooLarge},
		{"empty", 127, 1, 0, nil},
		{"channel", 128, 1, 1, errChannel},
		{"type_zero", 0, 0, 1, errType},
		{"control_type", 0, wire.TypeControl, 1, errType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := p.c.Send(ReliableOrdered, tt.channel, tt.kind, make([]byte, tt.size)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			p.exchange()
		})
	}
	t.Run("queue_full", func(t *testing.T) {
		n := 0
		for p.c.Send(ReliableOrdered, 0, 1, make([]byte, 100)) == nil {
			n++
		}
		if n != 4000/106 {
			t.Errorf("%d messages in a queue of 4000 bytes", n)
		}
		if err := p.c.Send(ReliableOrdered, 0, 1, make([]byte, 100)); !errors.Is(err, ErrWouldBlock) {
			t.Error(err)
		}
		if err := p.c.Send(Unreliable, 0, 1, make([]byte, 100)); err != nil {
			t.Errorf("the unreliable queue is another one: %v", err)
		}
		p.exchange()
		if err := p.c.Send(ReliableOrdered, 0, 1, make([]byte, 100)); err != nil {
			t.Errorf("after sending: %v", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		p.c.Close(wire.ReasonClosed)
		if err := p.c.Send(Unreliable, 0, 1, nil); !errors.Is(err, ErrNotOpen) {
			t.Error(err)
		}
	})
}

func TestSmallMessagesShareAPacket(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.exchange()
	before := p.packets
	for range 32 {
		p.send(p.c, ReliableOrdered, 1, "position")
	}
	p.exchange()
	if got := p.packets - before; got != 1 {
		t.Errorf("%d packets for 32 small messages", got)
	}
	if len(p.fromClient) != 32 {
		t.Errorf("%d arrived", len(p.fromClient))
	}
	p.send(p.c, ReliableOrdered, 1, "more")
	for range 32 {
		p.send(p.c, ReliableOrdered, 1, "than fits")
	}
	before = p.packets
	p.exchange()
	if got := p.packets - before; got != 2 {
		t.Errorf("%d packets for 33 messages", got)
	}
}

func TestGapInOneChannelHoldsBackNoOther(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	first := p.c.SndNxt()
	p.lose[first] = true
	p.send(p.c, ReliableOrdered, 1, "a1")
	p.exchange()
	p.send(p.c, ReliableOrdered, 1, "a2")
	p.send(p.c, ReliableOrdered, 2, "b1")
	p.send(p.c, ReliableUnordered, 1, "u1")
	p.exchange()
	if got := texts(p.fromClient); got != "b1 u1 " {
		t.Errorf("with a gap: %q", got)
	}
	if len(p.bodies) != 1 {
		t.Errorf("%d packets held, want the one with a2", len(p.bodies))
	}
	p.after(400 * ms)
	if got := texts(p.fromClient); got != "b1 u1 a1 a2 " {
		t.Errorf("in the end: %q", got)
	}
	if len(p.bodies) != 0 {
		t.Errorf("%d packets held in the end", len(p.bodies))
	}
}

func TestFastRetransmit(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.lose[p.c.SndNxt()] = true
	for range 4 {
		p.send(p.c, ReliableOrdered, 0, "x")
		p.exchange()
	}
	if st := p.c.Stats(); st.Retransmitted != 1 || len(p.fromClient) != 4 {
		t.Errorf("%d sent again, %d arrived, without any time passing", st.Retransmitted, len(p.fromClient))
	}
}

func TestTimeoutBacksOff(t *testing.T) {
	p := newPair(t, Config{MaxRTO: time.Second}, Config{})
	p.loseDown = true
	p.send(p.c, ReliableOrdered, 0, "x")
	p.exchange()
	var at []uint64
	last := p.c.Stats().Retransmitted
	start := p.now
	for range 4000 {
		p.after(ms)
		if n := p.c.Stats().Retransmitted; n != last {
			last = n
			at = append(at, (p.now-start)/ms)
		}
	}
	if len(at) < 5 {
		t.Fatalf("sent again at %v ms", at)
	}
	for i := 1; i < 4; i++ {
		before, after := at[i]-at[i-1], at[i+1]-at[i]
		if after < 2*before-2 || after > 2*before+2 {
			t.Errorf("sent again at %v ms: not doubling", at)
			break
		}
	}
	if n := len(at); at[n-1]-at[n-2] > 1001 {
		t.Errorf("sent again at %v ms: above the ceiling", at)
	}
}

func TestPeerWithoutRoom(t *testing.T) {
	p := newPair(t, Config{KeepaliveInterval: time.Second}, Config{})
	p.room = 0
	p.send(p.s, ReliableOrdered, 0, "no room")
	p.exchange()
	before := p.packets
	p.send(p.c, ReliableOrdered, 0, "waits")
	p.after(200 * ms)
	if probes := p.packets - before; probes < 2 || probes > 4 {
		t.Errorf("%d probes in 200 ms", probes)
	}
	before = p.packets
	p.after(5000 * ms)
	if probes := p.packets - before; probes < 5 || probes > 10 {
		t.Errorf("%d probes in the next 5 s", probes)
	}
	if len(p.fromClient) != 0 {
		t.Fatalf("arrived without room: %q", texts(p.fromClient))
	}
	if p.c.State() != Open {
		t.Fatalf("client %v (%v)", p.c.State(), p.c.Reason())
	}
	p.room = 10
	p.after(1100 * ms)
	if got := texts(p.fromClient); got != "waits " {
		t.Errorf("with room again: %q", got)
	}
	// The next time probing starts anew.
	p.room = 0
	p.send(p.s, ReliableOrdered, 0, "no room")
	p.exchange()
	p.send(p.c, ReliableOrdered, 0, "again")
	p.after(20 * ms)
	p.room = 10
	p.after(40 * ms)
	if got := texts(p.fromClient); got != "waits again " {
		t.Errorf("with room soon: %q", got)
	}
}

func TestWindowOfThePeerIsKept(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.room = 3
	p.send(p.c, ReliableOrdered, 0, "learn")
	p.exchange()
	p.loseDown = true
	before := p.packets
	for range 50 {
		p.send(p.c, ReliableOrdered, 0, strings.Repeat("x", 1000))
	}
	p.exchange()
	if sent := p.packets - before; sent != 3 {
		t.Errorf("%d packets into a window of 3", sent)
	}
}

func TestClientSaysWhatArrivedBehindAGap(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.loseDown = true
	p.send(p.s, ReliableOrdered, 0, "1")
	p.exchange()
	p.loseDown = false
	for range 4 {
		p.send(p.s, ReliableOrdered, 0, "x")
		p.exchange()
	}
	if st := p.s.Stats(); st.Retransmitted != 1 || len(p.fromServer) != 5 {
		t.Errorf("%d sent again, %d arrived, without any time passing", st.Retransmitted, len(p.fromServer))
	}
}

func TestHeldAcknowledgementIsNoRoundTrip(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	for range 100 {
		p.send(p.s, ReliableOrdered, 0, "x")
		n := p.s.Fill(p.buf[:], p.now)
		p.now += 2 * ms // on its way
		p.down(p.buf[:n])
		p.now += 15 * ms // until the client's next frame
		p.exchange()
	}
	if rtt := p.s.Stats().SRTT; rtt < time.Millisecond || rtt > 3*time.Millisecond {
		t.Errorf("round trip of 2 ms measured as %v", rtt)
	}
}

func TestKeepaliveOnlyWhenSilent(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.exchange()
	before := p.packets
	p.after(5500 * ms)
	if sent := p.packets - before; sent < 4 || sent > 12 {
		t.Errorf("%d packets of a silent client in 5.5 s", sent)
	}
	for range 50 {
		p.send(p.s, UnreliableSequenced, 0, "snapshot")
		p.after(20 * ms)
	}
	before = p.packets
	for range 50 {
		p.send(p.s, Unreliable, 0, "snapshot")
		p.after(20 * ms)
	}
	// The client hears the server; the server hears nothing and asks.
	if sent := p.packets - before; sent > 3 {
		t.Errorf("%d packets of a client that is spoken to", sent)
	}
	if p.s.State() != Open || p.c.State() != Open {
		t.Errorf("%v, %v", p.s.State(), p.c.State())
	}
}

func TestSequencedDropsWhatIsLate(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	h := func(seq uint32) wire.Header { return wire.Header{Sequence: seq, Flags: wire.FlagACK} }
	body := func(channel uint8, id uint16, text string) []byte {
		return wire.AppendMessage(nil, wire.Message{Type: 1, Channel: channel, ID: id, Payload: []byte(text)})
	}
	p.s.Unreliable(h(1), body(5, 3, "new"), p.now)
	p.s.Unreliable(h(2), body(5, 2, "late"), p.now)
	p.s.Unreliable(h(3), body(6, 0, "other"), p.now)
	p.s.Unreliable(h(4), body(5|wire.Unordered, 2, "unreliable"), p.now)
	p.s.Unreliable(h(5), body(5, 3, "again"), p.now)
	p.s.Unreliable(h(6), body(5, 4, "newer"), p.now)
	if got := texts(p.fromClient); got != "new other unreliable newer " {
		t.Errorf("got %q", got)
	}
	if got := p.s.Stats().Superseded; got != 2 {
		t.Errorf("%d superseded", got)
	}
}

func TestCloseDeliversWhatIsQueued(t *testing.T) {
	tests := []struct {
		name       string
		fromServer bool
	}{{"client", false}, {"server", true}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, Config{}, Config{})
			closing, other, got := p.c, p.s, &p.fromClient
			if tt.fromServer {
				closing, other, got = p.s, p.c, &p.fromServer
			}
			p.send(closing, ReliableOrdered, 0, "last")
			p.send(closing, Unreliable, 0, "words")
			closing.Close(wire.ReasonShuttingDown)
			if closing.State() != Closing || closing.Reason() != 0 {
				t.Errorf("%v (%v)", closing.State(), closing.Reason())
			}
			p.after(100 * ms)
			if closing.State() != Closed || closing.Reason() != wire.ReasonShuttingDown {
				t.Errorf("closing end: %v (%v)", closing.State(), closing.Reason())
			}
			if other.State() != Lingering || other.Reason() != wire.ReasonShuttingDown {
				t.Errorf("other end: %v (%v)", other.State(), other.Reason())
			}
			if len(*got) != 2 {
				t.Errorf("arrived: %q", texts(*got))
			}
			p.after(uint64(LingerTime) + ms)
			if other.State() != Closed || other.Reason() != wire.ReasonShuttingDown {
				t.Errorf("other end at last: %v (%v)", other.State(), other.Reason())
			}
		})
	}
}

func TestBothCloseAtOnce(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.c.Close(wire.ReasonClosed)
	p.s.Close(wire.ReasonKicked)
	p.after(uint64(LingerTime) + 100*ms)
	if p.c.State() != Closed || p.s.State() != Closed {
		t.Errorf("%v, %v", p.c.State(), p.s.State())
	}
}

func TestClosingGivesUpWithoutProgress(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.room = 0
	p.send(p.c, ReliableOrdered, 0, "never arrives")
	p.c.Close(wire.ReasonClosed)
	p.after(12000 * ms)
	if p.c.State() != Closed || p.c.Reason() != wire.ReasonClosed {
		t.Errorf("%v (%v)", p.c.State(), p.c.Reason())
	}
	if p.s.State() != Closed || p.s.Reason() != wire.ReasonClosed {
		t.Errorf("server %v (%v)", p.s.State(), p.s.Reason())
	}
}

func TestCallbackMayEndTheSession(t *testing.T) {
	for _, end := range []func(s *Session){
		func(s *Session) { s.Abort(wire.ReasonKicked) },
		func(s *Session) { s.Reset(wire.ReasonSuperseded) },
		func(s *Session) { s.Close(wire.ReasonKicked) },
	} {
		p := newPair(t, Config{}, Config{})
		p.lose[p.c.SndNxt()] = true
		p.send(p.c, ReliableOrdered, 0, "1")
		p.exchange()
		for range 3 {
			p.send(p.c, ReliableOrdered, 0, "2")
		}
		p.exchange()
		calls := 0
		p.s.cfg.Message = func(s *Session, _ Message) {
			calls++
			end(s)
		}
		p.after(500 * ms)
		if p.s.State() < Closing || calls == 0 {
			t.Errorf("%v after %d calls", p.s.State(), calls)
		}
		if p.s.State() == Closed && len(p.bodies) != 0 {
			t.Errorf("%d packets not released", len(p.bodies))
		}
	}
}

func TestProtocolErrors(t *testing.T) {
	message := func(channel uint8, id uint16) []byte {
		return wire.AppendMessage(nil, wire.Message{Type: 1, Channel: channel, ID: id, Payload: []byte("m")})
	}
	type packet struct {
		seq   uint32 // relative to the first
		flags wire.Flags
		body  []byte
	}
	const psh = wire.FlagACK | wire.FlagPSH
	tests := []struct {
		name    string
		packets []packet
		want    State
	}{
		{"id_skipped", []packet{{0, psh, message(0, 1)}}, Closed},
		{"id_skipped_behind_a_gap", []packet{{1, psh, message(0, 2)}, {0, psh, message(0, 0)}}, Closed},
		{"id_of_another_packet", []packet{{1, psh, message(0, 1)}, {0, psh, message(0, 0)}}, Open},
		{"id_again", []packet{{0, psh, message(0, 0)}, {1, psh, message(0, 0)}}, Closed},
		{"id_held_twice", []packet{{1, psh, message(0, 1)}, {2, psh, message(0, 1)}}, Closed},
		{"id_far_ahead", []packet{{1, psh, message(0, 16384)}}, Open},
		{"id_too_far_ahead", []packet{{1, psh, message(0, 16385)}}, Closed},
		{"id_behind", []packet{{1, psh, message(0, 65535)}}, Closed},
		{"unordered_id_is_free", []packet{{0, psh, message(wire.Unordered, 999)}}, Open},
		{"truncated", []packet{{0, psh, message(0, 0)[:6]}}, Closed},
		{"control_type", []packet{{0, psh, []byte{0xf1, 0, 0, 0, 0, 0}}}, Closed},
		{"message_behind_fin", []packet{{0, psh | wire.FlagFIN, []byte{1}}, {1, psh, message(0, 0)}}, Lingering},
		{"message_behind_early_fin", []packet{{1, psh | wire.FlagFIN, []byte{1}}, {2, psh, message(0, 0)}}, Closed},
		{"fin_before_message", []packet{{2, psh, message(0, 1)}, {1, psh | wire.FlagFIN, []byte{1}}}, Closed},
		{"two_fins", []packet{{1, psh | wire.FlagFIN, []byte{1}}, {2, psh | wire.FlagFIN, []byte{1}}}, Closed},
		{"fin_without_reason", []packet{{0, psh | wire.FlagFIN, nil}}, Closed},
		{"fin_waits_for_messages", []packet{{1, psh | wire.FlagFIN, []byte{1}}, {0, psh, message(0, 0)}}, Lingering},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			released := map[Ref]int{}
			s := NewServer(Config{Release: func(_ *Session, ref Ref) { released[ref]++ }}, Opening{ClientISN: 98, SACK: true}, ms)
			for i, p := range tt.packets {
				s.Committed(Ref(i), 100+p.seq, p.flags, p.body, 2*ms)
			}
			if s.State() != tt.want {
				t.Fatalf("%v (%v), want %v", s.State(), s.Reason(), tt.want)
			}
			if tt.want == Open {
				return
			}
			for i := range tt.packets {
				if released[Ref(i)] != 1 {
					t.Errorf("packet %d released %d times", i, released[Ref(i)])
				}
			}
			if tt.want != Closed {
				return
			}
			if s.Reason() != wire.ReasonProtocol {
				t.Error(s.Reason())
			}
			var buf [wire.MaxDatagramLimit]byte
			n := s.Fill(buf[:], 3*ms)
			h, body, err := wire.ParseHeader(buf[:n])
			if err != nil || h.Flags != wire.FlagACK|wire.FlagRST || len(body) != 1 || wire.Reason(body[0]) != wire.ReasonProtocol {
				t.Errorf("reset: %+v %x %v", h, body, err)
			}
		})
	}
}

func TestCommittedFarAhead(t *testing.T) {
	// A ring that is drained late makes others seem far ahead.
	released := 0
	var got []uint16
	s := NewServer(Config{
		Message: func(_ *Session, m Message) { got = append(got, m.ID) },
		Release: func(*Session, Ref) { released++ },
	}, Opening{ClientISN: 98, SACK: true}, ms)
	commit := func(n uint32) {
		body := wire.AppendMessage(nil, wire.Message{Type: 1, ID: uint16(n)})
		s.Committed(Ref(n), 100+n, wire.FlagACK|wire.FlagPSH, body, 2*ms)
	}
	for n := uint32(3000); n > 1500; n-- {
		commit(n)
	}
	for n := uint32(0); n <= 1500; n++ {
		commit(n)
	}
	if len(got) != 3001 || released != 3001 || s.State() != Open {
		t.Fatalf("%d messages, %d released, %v", len(got), released, s.State())
	}
	for i, id := range got {
		if int(id) != i {
			t.Fatalf("message %d has id %d", i, id)
		}
	}
}

func TestRecover(t *testing.T) {
	tests := []struct {
		name                   string
		before                 []uint32 // found, in this order
		rcvNxt                 uint32
		after                  []uint32 // committed later
		atRecover, atEnd, rest string
	}{
		{"in_order", []uint32{0, 1, 2}, 3, nil, "0 1 2 ", "", ""},
		{"any_order", []uint32{2, 0, 1}, 3, nil, "0 1 2 ", "", ""},
		{"delivered_before_the_crash", []uint32{5, 3}, 6, nil, "3 5 ", "", ""},
		{"real_gap", []uint32{4, 1, 5}, 2, nil, "1 ", "", "4 5 "},
		{"gap_fills", []uint32{4, 1}, 2, []uint32{3, 2, 5}, "1 ", "2 3 4 5 ", ""},
		{"gap_fills_in_part", []uint32{4, 6}, 3, []uint32{3}, "", "3 4 ", "6 "},
		{"published_late", []uint32{3}, 3, []uint32{2}, "3 ", "2 ", ""},
		{"nothing_left", nil, 7, []uint32{7}, "", "7 ", ""},
		{"wrap", []uint32{^uint32(0), 0}, 1, []uint32{1}, " 0 ", "1 ", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []Message
			released := map[Ref]int{}
			s := NewRecovered(Config{
				Message: func(_ *Session, m Message) {
					m.Payload = append([]byte(nil), m.Payload...)
					got = append(got, m)
				},
				Release: func(_ *Session, ref Ref) { released[ref]++ },
			}, Recovery{ID: 5, ClientISN: 98, ServerISN: 40, SndNxt: 60}, ms)
			commit := func(n uint32) {
				text := string(rune('0' + n))
				if n == ^uint32(0) {
					text = ""
				}
				body := wire.AppendMessage(nil, wire.Message{Type: 1, ID: uint16(n + 700), Payload: []byte(text)})
				s.Committed(Ref(n), n, wire.FlagACK|wire.FlagPSH, body, 2*ms)
			}
			step := func(what, want string) {
				t.Helper()
				if texts(got) != want {
					t.Errorf("%s: %q, want %q", what, texts(got), want)
				}
				got = nil
			}
			for _, n := range tt.before {
				commit(n)
			}
			step("before", "")
			s.Recover(tt.rcvNxt)
			step("recover", tt.atRecover)
			for _, n := range tt.after {
				commit(n)
			}
			step("after", tt.atEnd)
			s.Close(wire.ReasonRestarted)
			step("close", "")
			s.FlushHeld()
			step("flush", tt.rest)
			for _, n := range append(tt.before, tt.after...) {
				if released[Ref(n)] != 1 {
					t.Errorf("packet %d released %d times", n, released[Ref(n)])
				}
			}
			if err := s.Send(ReliableOrdered, 0, 1, nil); !errors.Is(err, ErrNotOpen) {
				t.Errorf("Send: %v", err)
			}
			var buf [wire.MaxDatagramLimit]byte
			n := s.Fill(buf[:], 3*ms)
			if h, body, err := wire.ParseHeader(buf[:n]); err != nil || h.Sequence != 60 || len(body) != 1 || wire.Reason(body[0]) != wire.ReasonRestarted {
				t.Errorf("reset: %+v %x %v", h, body, err)
			}
		})
	}
}

// A FIN for a reason that never travels is a breach of the protocol, not to be
// waited for again.
func TestFinWithLocalReason(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	b := wire.Header{
		Sequence: p.s.SndNxt(), Ack: p.window.Next, Flags: wire.FlagACK | wire.FlagPSH | wire.FlagFIN,
		Window: 100, Timestamp: p.now / 1000,
	}.AppendTo(nil)
	b = append(b, 0, byte(wire.ReasonLocal))
	wire.Seal(b)
	if err := p.c.Packet(b, p.now); err != nil {
		t.Errorf("packet: %v", err)
	}
	if p.c.State() != Closed || p.c.Reason() != wire.ReasonProtocol {
		t.Errorf("client %v, reason %v", p.c.State(), p.c.Reason())
	}
}

// Only a packet that is right throughout confirms the HELLO.
func TestDroppedPacketOpensNothing(t *testing.T) {
	c := NewClient(Config{Message: func(*Session, Message) {}}, 500, 1000*ms)
	var buf [wire.MaxDatagramLimit]byte
	c.Fill(buf[:], 1000*ms)
	const cookie = 4000
	if err := c.Packet(wire.AppendSYNACK(nil, 500, wire.Options{Cookie: cookie, HasCookie: true, SACK: true}, 1), 1001*ms); err != nil {
		t.Fatal(err)
	}
	c.Fill(buf[:], 1001*ms)
	packet := func(flags wire.Flags, body ...byte) []byte {
		h := wire.Header{Sequence: cookie/2 + 1, Ack: 502, Flags: wire.FlagACK | flags, Window: 100, Timestamp: 2}
		b := append(h.AppendTo(nil), body...)
		wire.Seal(b)
		return b
	}
	for _, b := range [][]byte{packet(0), packet(0, 9), packet(wire.FlagPSH, 0, 1, 2), packet(wire.FlagPSH|wire.FlagFIN, 0)} {
		if err := c.Packet(b, 1002*ms); err == nil || c.State() != HelloSent {
			t.Errorf("packet %x: %v, client %v", b[wire.HeaderSize:], err, c.State())
		}
	}
	if err := c.Packet(packet(0, 0), 1003*ms); err != nil || c.State() != Open {
		t.Errorf("an acknowledgement: %v, client %v", err, c.State())
	}
}

// TestAcknowledgementsTellEveryArrival: what arrives anywhere in the window is
// told at once, by several acknowledgements if need be.
func TestAcknowledgementsTellEveryArrival(t *testing.T) {
	tests := []struct {
		name   string
		before []uint32 // told already, beyond the next expected
		seqs   []uint32
		acks   int
	}{
		{"one", nil, []uint32{1}, 1},
		{"far_ahead", nil, []uint32{1000}, 1},
		{"duplicate_behind", []uint32{5, 900}, []uint32{5}, 1},
		{"within_four_words", nil, []uint32{700, 701, 893}, 1},
		{"both_ends", nil, []uint32{1023, 2}, 2},
		{"all_over", nil, []uint32{130, 2, 300, 500, 700, 900, 1023}, 4},
		{"behind_and_far_ahead", []uint32{1, 600}, []uint32{0, 900}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, Config{}, Config{})
			next, message := p.s.SndNxt(), wire.AppendMessage([]byte{0}, wire.Message{Type: 1, Channel: wire.Unordered})
			buf := make([]byte, wire.MaxDatagramLimit)
			told := func() (acks int) {
				for n := p.c.Fill(buf, p.now); n > 0; n = p.c.Fill(buf, p.now) {
					p.up(buf[:n])
					acks++
				}
				return acks
			}
			receive := func(seqs []uint32) {
				for _, d := range seqs {
					h := wire.Header{Sequence: next + d, Ack: p.window.Next, Flags: wire.FlagACK | wire.FlagPSH, Window: 100, Timestamp: p.now / 1000}
					packet := append(h.AppendTo(nil), message...)
					wire.Seal(packet)
					if err := p.c.Packet(packet, p.now); err != nil {
						t.Fatal(err)
					}
				}
			}
			receive(tt.before)
			told()
			p.flow.SackHigh, p.flow.Sack = p.flow.Ack, [commit.SackWords]uint64{}
			receive(tt.seqs)
			if acks := told(); acks != tt.acks {
				t.Errorf("%d acknowledgements, want %d", acks, tt.acks)
			}
			for _, d := range tt.seqs {
				seq := next + d
				if wire.SeqLess(seq, p.flow.Ack) {
					continue
				}
				if p.flow.Sack[seq/64%commit.SackWords]>>(seq%64)&1 == 0 {
					t.Errorf("arrival of packet %d is not told", d)
				}
			}
		})
	}
}

func TestPacketDrops(t *testing.T) {
	header := func(p *pair) wire.Header {
		return wire.Header{
			Sequence: p.s.SndNxt(), Ack: p.window.Next, Flags: wire.FlagACK,
			Window: 100, Timestamp: p.now / 1000,
		}
	}
	message := wire.AppendMessage([]byte{0}, wire.Message{Type: 1, Channel: wire.Unordered})
	tests := []struct {
		name string
		make func(p *pair) (wire.Header, []byte)
		want error
	}{
		{"good", func(p *pair) (wire.Header, []byte) { return header(p), []byte{0} }, nil},
		{"flags", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Flags = wire.FlagPSH
			return h, []byte{0}
		}, DropFlags},
		{"syn_ack_when_open", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Flags = wire.FlagSYN | wire.FlagACK
			return h, nil
		}, DropHandshake},
		{"ack_of_the_unsent", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Ack++
			return h, []byte{0}
		}, DropAck},
		{"no_block", func(p *pair) (wire.Header, []byte) { return header(p), nil }, DropAckBlock},
		{"block_selects_the_unsent", func(p *pair) (wire.Header, []byte) {
			block := wire.AckBlock{Present: true, Words: 1, Bitmap: [4]uint64{1}}
			return header(p), block.AppendTo(nil)
		}, DropAckBlock},
		{"block_with_offset_selects_the_unsent", func(p *pair) (wire.Header, []byte) {
			block := wire.AckBlock{Present: true, Offset: 15, Words: 1, Bitmap: [4]uint64{1}}
			return header(p), block.AppendTo(nil)
		}, DropAckBlock},
		{"outside", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Flags |= wire.FlagPSH
			h.Sequence += wire.ReceiveWindow
			return h, message
		}, DropSequence},
		{"framing", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Flags |= wire.FlagPSH
			return h, message[:4]
		}, DropMessage},
		{"fin_without_reason", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Flags |= wire.FlagPSH | wire.FlagFIN
			return h, []byte{0}
		}, DropMessage},
		{"unreliable", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Sequence = p.c.replay.High + 1
			return h, message
		}, nil},
		{"replay", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Sequence = p.c.replay.High
			return h, message
		}, DropReplay},
		{"reset_outside", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Flags |= wire.FlagRST
			h.Sequence += wire.ReceiveWindow + 1
			return h, []byte{1}
		}, DropReset},
		{"reset_without_reason", func(p *pair) (wire.Header, []byte) {
			h := header(p)
			h.Flags |= wire.FlagRST
			return h, nil
		}, DropReset},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, Config{}, Config{})
			h, body := tt.make(p)
			b := append(h.AppendTo(nil), body...)
			wire.Seal(b)
			err := p.c.Packet(b, p.now)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			var drop Drop
			if errors.As(err, &drop) && p.c.Stats().Dropped[drop] != 1 {
				t.Errorf("%d counted", p.c.Stats().Dropped[drop])
			}
			if p.c.State() != Open {
				t.Errorf("client %v", p.c.State())
			}
			b[len(b)-1] ^= 1
			if err := p.c.Packet(b, p.now); !errors.Is(err, DropChecksum) && !errors.Is(tt.want, DropFlags) {
				t.Errorf("corrupted: %v", err)
			}
		})
	}
	p := newPair(t, Config{}, Config{})
	if err := p.c.Packet(make([]byte, 20), p.now); !errors.Is(err, DropTruncated) {
		t.Error(err)
	}
	if err := p.c.Packet(make([]byte, wire.MaxDatagramLimit+1), p.now); !errors.Is(err, DropOversize) {
		t.Error(err)
	}
	p.c.Abort(wire.ReasonClosed)
	h := header(p)
	b := append(h.AppendTo(nil), 0)
	wire.Seal(b)
	if err := p.c.Packet(b, p.now); !errors.Is(err, DropOver) {
		t.Error(err)
	}
}

func TestBaseOnlyPeers(t *testing.T) {
	for _, cfg := range [][2]Config{{{NoSACK: true}, {}}, {{}, {NoSACK: true}}} {
		if cfg[1].NoSACK {
			continue // the server's gate would not offer it either
		}
		p := newPair(t, cfg[0], cfg[1])
		if p.s.SACK() || p.c.SACK() {
			t.Fatal("SACK agreed")
		}
		p.lose[p.c.SndNxt()+1] = true
		for range 20 {
			p.send(p.c, ReliableOrdered, 0, "up")
			p.send(p.s, ReliableOrdered, 0, "down")
			p.after(5 * ms)
		}
		p.after(1000 * ms)
		if len(p.fromClient) != 20 || len(p.fromServer) != 20 {
			t.Errorf("%d up, %d down", len(p.fromClient), len(p.fromServer))
		}
		if p.c.Stats().SRTT == 0 && p.s.Stats().SRTT == 0 {
			t.Error("no round trip measured")
		}
	}
}

func TestSmallPeersGetSmallPackets(t *testing.T) {
	p := newPair(t, Config{MaxDatagram: 600}, Config{})
	if got := p.s.MaxPayload(); got != 600-wire.HeaderSize-wire.AckBlockMax-wire.MessageHeaderSize {
		t.Errorf("largest payload %d", got)
	}
	for range 50 {
		p.send(p.s, ReliableUnordered, 3, strings.Repeat("x", 100))
	}
	p.exchange()
	if len(p.fromServer) != 50 {
		t.Errorf("%d arrived", len(p.fromServer))
	}
	p = newPair(t, Config{MaxDatagram: wire.MinDatagram}, Config{})
	p.send(p.s, ReliableOrdered, 3, strings.Repeat("x", 5000))
	p.after(100 * ms) // what is too large is an error there
	if len(p.fromServer) != 1 {
		t.Errorf("%d large messages arrived", len(p.fromServer))
	}
}

func TestSessionDoesNotAllocate(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.keepMessages = false
	// What is kept of a packet must outlive it: sessions hold bodies here.
	p.s.cfg.Release = func(*Session, Ref) {}
	payload := make([]byte, 200)
	n := 0
	round := func() {
		for mode := range Mode(4) {
			n++
			o := Outgoing{Mode: mode, Channel: 1, Type: 1, Priority: Priority(n / 4 % 4), Payload: payload}
			if n%3 == 0 {
				o.Lifetime = time.Duration(n%7) * time.Second
			}
			_ = p.c.SendMessage(o)
			_ = p.s.SendMessage(o)
		}
		p.after(3 * ms)
	}
	clear(p.bodies)
	for range 100 {
		round()
		clear(p.bodies)
	}
	if n := testing.AllocsPerRun(500, func() {
		round()
		clear(p.bodies)
	}); n != 0 {
		t.Errorf("%v allocations per round of 8 messages", n)
	}
	if p.s.Stats().MessagesIn < 2000 || p.c.Stats().MessagesIn < 2000 {
		t.Errorf("%d and %d messages arrived", p.s.Stats().MessagesIn, p.c.Stats().MessagesIn)
	}
}

// TestHoldingDoesNotAllocate loses one packet in ten on the way to the client.
func TestHoldingDoesNotAllocate(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.keepMessages = false
	p.s.cfg.Release = func(*Session, Ref) {}
	payload := make([]byte, 200)
	n := 0
	round := func() {
		for range 10 {
			n++
			_ = p.s.Send(ReliableOrdered, 1, 1, payload)
			p.loseDown = n%10 == 0
			p.exchange()
			p.loseDown = false
		}
		p.after(50 * ms)
	}
	for range 50 {
		round()
	}
	before := p.c.Stats()
	if a := testing.AllocsPerRun(50, round); a != 0 {
		t.Errorf("%v allocations per loss", a)
	}
	if st := p.s.Stats(); st.Retransmitted+st.Early < 50 || p.c.Stats().MessagesIn == before.MessagesIn {
		t.Errorf("%+v", p.s.Stats())
	}
}

// TestGivingUpDoesNotAllocate: messages whose lifetime is over before they can
// leave, or before they arrive.
func TestGivingUpDoesNotAllocate(t *testing.T) {
	for _, mode := range []Mode{ReliableOrdered, ReliableUnordered} {
		p := newPair(t, Config{}, Config{})
		p.keepMessages = false
		p.s.cfg.Release = func(*Session, Ref) {}
		payload := make([]byte, 200)
		round := func() {
			o := Outgoing{Mode: mode, Channel: 1, Type: 1, Priority: High, Lifetime: time.Millisecond, Payload: payload}
			p.room = 0
			_ = p.c.SendMessage(o)
			p.after(50 * ms)
			p.room = 1024
			p.after(50 * ms)
			clear(p.bodies)
		}
		for range 70 {
			round()
		}
		if a := testing.AllocsPerRun(100, round); a != 0 {
			t.Errorf("%v: %v allocations for each message", mode, a)
		}
		if got := p.c.Stats().AbandonedConfirmed; got < 100 {
			t.Errorf("%v: %d confirmed", mode, got)
		}
	}
}

// TestLostLargePacketsDoNotAllocate, though each leaves a chunk to another.
func TestLostLargePacketsDoNotAllocate(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.keepMessages = false
	n := &narrow{window: 8, rate: 4000}
	p.s.snd.Init(p.s.SndNxt(), n, p.s.cfg.Pool)
	_ = p.s.Send(ReliableOrdered, 1, 1, make([]byte, 20_000))
	p.after(100 * ms)
	if got := p.s.Stats().PathMTU; got != wire.MaxDatagramLimit {
		t.Fatalf("path MTU %d", got)
	}
	_ = p.s.Send(ReliableOrdered, 1, 1, make([]byte, 1_000_000))
	rounds := 0
	round := func() {
		rounds++
		p.loseDown = rounds%8 == 0
		p.after(ms)
	}
	for range 50 {
		round()
	}
	before := p.s.Stats()
	if a := testing.AllocsPerRun(100, round); a != 0 {
		t.Errorf("%v allocations per millisecond", a)
	}
	if st := p.s.Stats(); st.Retransmitted < before.Retransmitted+10 || st.Queued == 0 || st.PathMTU != before.PathMTU {
		t.Errorf("%+v", st)
	}
}

// TestChunksDoNotAllocate: a large message costs memory when it is sent and when
// it begins to arrive, not for each of its packets.
func TestChunksDoNotAllocate(t *testing.T) {
	for _, mode := range []Mode{Unreliable, ReliableOrdered} {
		p := newPair(t, Config{}, Config{})
		p.keepMessages = false
		p.s.cfg.Release = func(*Session, Ref) {}
		n := &narrow{window: 8, rate: 4000}
		for _, s := range []*Session{p.c, p.s} {
			s.snd.Init(s.SndNxt(), n, s.cfg.Pool)
			if err := s.Send(mode, 1, 1, make([]byte, 1_000_000)); err != nil {
				t.Fatal(err)
			}
		}
		round := func() {
			p.after(ms)
			clear(p.bodies)
		}
		for range 50 {
			round()
		}
		before := p.c.Stats()
		if a := testing.AllocsPerRun(100, round); a != 0 {
			t.Errorf("%v: %v allocations per millisecond", mode, a)
		}
		if got := p.c.Stats(); got.Reassembly.Chunks[reliability.ChunkKept] < before.Reassembly.Chunks[reliability.ChunkKept]+200 {
			t.Errorf("%v: chunks %v", mode, got.Reassembly.Chunks)
		}
		p.after(1000 * ms)
		if c, s := p.c.Stats(), p.s.Stats(); c.MessagesIn != 1 || s.MessagesIn != 1 {
			t.Errorf("%v: %d and %d messages", mode, c.MessagesIn, s.MessagesIn)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	p := newPair(b, Config{}, Config{})
	p.keepMessages = false
	p.s.cfg.Release = func(*Session, Ref) {}
	payload := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		p.now += ms / 10
		_ = p.c.Send(ReliableOrdered, 1, 1, payload)
		_ = p.s.Send(ReliableOrdered, 1, 1, payload)
		p.exchange()
		clear(p.bodies)
	}
}

// TestMarksAreEchoedAndHeeded: a client echoes Congestion Experienced until the
// server says that it gave way, and gives way itself to the server's echo.
func TestMarksAreEchoedAndHeeded(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	var buf [wire.MaxDatagramLimit]byte
	p.send(p.s, Unreliable, 0, "from the server")
	n := p.s.Fill(buf[:], p.now)
	if err := p.c.MarkedPacket(buf[:n], true, p.now); err != nil {
		t.Fatal(err)
	}
	flags := func(s *Session) wire.Flags {
		n := s.Fill(buf[:], p.now)
		h, _, err := wire.ParseHeader(buf[:n])
		if err != nil {
			t.Fatal("nothing to send")
		}
		return h.Flags
	}
	for range 3 {
		p.send(p.c, Unreliable, 0, "x")
		if f := flags(p.c); f&wire.FlagECE == 0 {
			t.Fatalf("flags %v after a mark", f)
		}
	}
	h := wire.Header{Sequence: p.s.unreliableNext, Ack: p.c.SndNxt(), Flags: wire.FlagACK | wire.FlagCWR | wire.FlagECE, Window: 100}
	packet := wire.AppendMessage(append(h.AppendTo(nil), 0), wire.Message{Type: 1, Channel: wire.Unordered})
	wire.Seal(packet)
	if err := p.c.Packet(packet, p.now); err != nil {
		t.Fatal(err)
	}
	p.send(p.c, ReliableOrdered, 0, "x")
	if f := flags(p.c); f&(wire.FlagECE|wire.FlagCWR) != wire.FlagCWR {
		t.Errorf("flags %v after the server gave way and asked for it", f)
	}
	p.send(p.c, ReliableOrdered, 0, "x")
	if f := flags(p.c); f&wire.FlagCWR != 0 {
		t.Errorf("flags %v on the second packet", f)
	}
	if st := p.c.Stats(); st.Marks != 1 {
		t.Errorf("%d marks counted", st.Marks)
	}
}
