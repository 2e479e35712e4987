package session

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// told gives the client a pure acknowledgement of its server's.
func (p *pair) told(flags wire.Flags, ack uint32, window uint16, block wire.AckBlock) error {
	b := wire.Header{
		Sequence: p.s.SndNxt(), Ack: ack, Flags: wire.FlagACK | flags, Window: window, Timestamp: p.now / 1000,
	}.AppendTo(nil)
	b = block.AppendTo(b)
	wire.Seal(b)
	return p.c.Packet(b, p.now)
}

// fly has the client send n packets that nobody answers.
func (p *pair) fly(n int) {
	for range n {
		p.send(p.c, ReliableUnordered, 0, "x")
		p.c.Fill(p.buf[:], p.now)
	}
}

// TestStaleAcknowledgements: what is older than what is known is a good packet
// whose number, window, bitmap and congestion mark say nothing. Beyond the reach
// of any window it is forged.
func TestStaleAcknowledgements(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	for range wire.ReceiveWindow + 10 {
		p.send(p.c, ReliableUnordered, 0, "x")
		p.exchange()
	}
	p.fly(3)
	una, window := p.c.snd.Una(), p.c.peerWindow
	p.now += 50 * ms
	tests := []struct {
		name   string
		behind uint32
		want   error
	}{
		{"next_to_last", 1, nil},
		{"a_window_ago", wire.ReceiveWindow, nil},
		{"longer_ago", wire.ReceiveWindow + 1, DropAck},
		{"very_long_ago", 1 << 31, DropAck},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := p.c.Stats()
			block := wire.AckBlock{Present: true, Echo: p.now/1000 - 10}
			if tt.behind == 1 {
				block.Words, block.Bitmap[0] = 1, 1<<1 // of what flies
			}
			if err := p.told(wire.FlagECE, una-tt.behind, 1, block); !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			st := p.c.Stats()
			if p.c.snd.Una() != una || st.InFlight != 3 || p.c.peerWindow != window {
				t.Errorf("una moved by %d, %d in flight, window %d", p.c.snd.Una()-una, st.InFlight, p.c.peerWindow)
			}
			if st.Acks != before.Acks || st.Marks != before.Marks || st.SRTT != before.SRTT {
				t.Errorf("%d acknowledgements, %d marks, round trip %v", st.Acks-before.Acks, st.Marks-before.Marks, st.SRTT)
			}
			if heard := p.c.lastHeard == p.now; heard != (tt.want == nil) {
				t.Errorf("a sign of life: %v", heard)
			}
			p.now += ms
		})
	}
	t.Run("reset_that_acknowledges_the_unsent", func(t *testing.T) {
		h := wire.Header{Sequence: p.s.SndNxt(), Ack: p.c.SndNxt() + 1, Timestamp: 1}
		if err := p.c.Packet(wire.Standard.AppendReset(nil, h, wire.ReasonKicked, 0), p.now); !errors.Is(err, DropReset) {
			t.Errorf("got %v", err)
		}
		if p.c.State() != Open {
			t.Errorf("client %v", p.c.State())
		}
	})
}

// TestEchoCountsOnce: a packet that the network doubled, or a peer that repeats
// an echo for ever, measures one round trip.
func TestEchoCountsOnce(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.now += ms
	p.fly(1)
	echo := p.now / 1000
	p.now += 20 * ms
	before := p.c.snd.RTT.Samples
	for range 100 {
		if err := p.told(0, p.c.snd.Una(), 100, wire.AckBlock{Present: true, Echo: echo}); err != nil {
			t.Fatal(err)
		}
		p.now += 20 * ms
	}
	if got := p.c.snd.RTT.Samples - before; got != 1 {
		t.Errorf("%d samples", got)
	}
}

// TestRepeatedSYNMeasuresNothing: which of them was answered is not known.
func TestRepeatedSYNMeasuresNothing(t *testing.T) {
	for _, again := range []bool{false, true} {
		c := NewClient(Config{}, 500, 1000*ms)
		var buf [wire.MaxDatagram]byte
		now := 1000 * ms
		c.Fill(buf[:], now)
		if again {
			now = c.NextTimeout()
			c.Tick(now)
			if c.Fill(buf[:], now) == 0 {
				t.Fatal("the SYN is not sent again")
			}
		}
		now += ms
		answer := wire.AppendSYNACK(nil, 500, wire.Options{Cookie: 4000, HasCookie: true}, 1)
		if err := c.Packet(answer, now); err != nil {
			t.Fatal(err)
		}
		if measured := c.Stats().SRTT != 0; measured == again {
			t.Errorf("sent again %v, measured %v", again, measured)
		}
	}
}

// TestMarksCountOnce: at a server what the gate counted once is told once,
// however often the flow changes for other reasons, and a round trip of nothing
// is none.
func TestMarksCountOnce(t *testing.T) {
	now := 1000 * ms
	s := NewServer(Config{}, Opening{ClientISN: 98, ServerISN: 40, Window: 100, SACK: true}, now)
	f := commit.FlowState{Ack: s.snd.Una(), SackHigh: s.snd.Una(), Window: 100, ECE: 1, RTTMicros: 40_000, RTTCount: 1}
	for range 5 {
		now += ms
		f.LastSeen = now
		s.AckState(f, now)
	}
	if st := s.Stats(); st.Marks != 1 || st.SRTT != 40*time.Millisecond || s.snd.RTT.Samples != 1 {
		t.Errorf("%d marks, round trip %v from %d samples", st.Marks, st.SRTT, s.snd.RTT.Samples)
	}
	f.RTTMicros, f.RTTCount = 0, 2
	s.AckState(f, now)
	if s.snd.RTT.Samples != 1 {
		t.Error("a round trip of nothing was believed")
	}
}

// TestMarkLastsUntilHeeded: packets that are not marked do not end an episode,
// and the peer may say so in an unreliable packet.
func TestMarkLastsUntilHeeded(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.send(p.s, Unreliable, 0, "x")
	n := p.s.Fill(p.buf[:], p.now)
	if err := p.c.MarkedPacket(p.buf[:n], true, p.now); err != nil {
		t.Fatal(err)
	}
	p.send(p.s, Unreliable, 0, "x")
	p.exchange()
	if !p.c.ece {
		t.Fatal("forgot the mark when a packet came without one")
	}
	// The gate tells the server of the client's ECE.
	p.flow.ECE++
	p.s.AckState(p.flow, p.now)
	p.send(p.s, Unreliable, 0, "x")
	n = p.s.Fill(p.buf[:], p.now)
	if h, _, err := wire.ParseHeader(p.buf[:n]); err != nil || h.Flags != wire.FlagACK|wire.FlagCWR {
		t.Fatalf("flags %v, %v", h.Flags, err)
	}
	if p.down(p.buf[:n]); p.c.ece {
		t.Error("goes on saying so")
	}
	p.send(p.s, Unreliable, 0, "x")
	n = p.s.Fill(p.buf[:], p.now)
	if h, _, _ := wire.ParseHeader(p.buf[:n]); h.Flags != wire.FlagACK {
		t.Errorf("flags %v on the next", h.Flags)
	}
}

// TestFlagOfFragments: in the compact profile it goes with a FRAGMENT, and with
// nothing else.
func TestFlagOfFragments(t *testing.T) {
	const cookie = 4000
	now := 1000 * ms
	c := NewClient(Config{Profile: wire.Compact}, 500, now)
	var buf [wire.MaxDatagram]byte
	c.Fill(buf[:], now)
	if err := c.Packet(wire.Compact.AppendSYNACK(nil, 500, wire.Options{Cookie: cookie, HasCookie: true}, 1), now); err != nil {
		t.Fatal(err)
	}
	c.Fill(buf[:], now)
	h := wire.Header{Sequence: cookie/2 + 1, Ack: 502, Flags: wire.FlagACK, Window: 100, Timestamp: 2}
	confirm := wire.Compact.AppendPacket(nil, h, nil, nil)
	h.Flags |= wire.FlagPSH
	h.Sequence--
	keepalive := wire.Compact.AppendPacket(nil, h, nil, nil)
	for _, b := range [][]byte{confirm, keepalive} {
		b[2] |= 0x10
		if err := c.Packet(b, now); !errors.Is(err, DropMessage) || c.State() == Open {
			t.Errorf("%x: %v, client %v", b, err, c.State())
		}
		b[2] &^= 0x10
	}
	for _, b := range [][]byte{confirm, keepalive} {
		if err := c.Packet(b, now); err != nil || c.State() != Open {
			t.Errorf("%x: %v, client %v", b, err, c.State())
		}
	}
}

// TestClosingLastsWhileThereIsProgress, and no longer, however much the peer has
// to say.
func TestClosingLastsWhileThereIsProgress(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.loseDown = true
	p.fly(5)
	p.c.Close(wire.ReasonClosed)
	ack, slow := p.c.snd.Una(), uint64(p.c.cfg.IdleTimeout)*3/4
	answer := func() {
		for end := p.now + slow; p.now < end; p.now += 10 * ms {
			p.c.Tick(p.now)
			for p.c.Fill(p.buf[:], p.now) > 0 {
			}
		}
		if err := p.told(0, ack, 100, wire.AckBlock{}); err != nil && p.c.State() != Closed {
			t.Fatal(err)
		}
	}
	for range 5 {
		ack++
		if answer(); p.c.State() != Closing {
			t.Fatalf("client %v with %d to go", p.c.State(), p.c.snd.Outstanding())
		}
	}
	answer()
	if answer(); p.c.State() != Closed {
		t.Errorf("client %v without progress", p.c.State())
	}
}

// TestFullWindowIsNotProbed while something is in flight: its retransmission
// asks as well.
func TestFullWindowIsNotProbed(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	if err := p.told(0, p.c.snd.Una(), 3, wire.AckBlock{}); err != nil {
		t.Fatal(err)
	}
	p.fly(3)
	p.send(p.c, ReliableUnordered, 0, "no room")
	sent := 0
	for end := p.now + 900*ms; p.now < end; p.now += ms {
		p.c.Tick(p.now)
		for n := p.c.Fill(p.buf[:], p.now); n > 0; n = p.c.Fill(p.buf[:], p.now) {
			h, body, err := wire.ParseHeader(p.buf[:n])
			if err != nil || len(body) < 2 {
				t.Fatalf("sent %+v without messages", h)
			}
			sent++
		}
	}
	if sent == 0 || p.c.snd.Outstanding() != 3 {
		t.Errorf("%d packets sent, %d outstanding", sent, p.c.snd.Outstanding())
	}
}

// TestResetIsRepeatedThreeTimes by a server: nobody answers for it later.
func TestResetIsRepeatedThreeTimes(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.s.Abort(wire.ReasonKicked)
	sent := 0
	for range 100 {
		for n := p.s.Fill(p.buf[:], p.now); n > 0; n = p.s.Fill(p.buf[:], p.now) {
			sent++
		}
		if p.now = p.s.NextTimeout(); p.now == reliability.Never {
			break
		}
		p.s.Tick(p.now)
	}
	if sent != 3 || p.now != reliability.Never {
		t.Errorf("%d resets", sent)
	}
}

// TestSequencedIDsWrap: 0 is newer than 65,535.
func TestSequencedIDsWrap(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	for _, id := range []uint16{0x7ffe, 0xfffd, 0xffff, 0xfffe, 0, 0xffff, 1} {
		p.s.Unreliable(wire.Header{}, wire.AppendMessage(nil, wire.Message{Type: 1, ID: id, Payload: []byte{'x'}}), p.now)
	}
	if st := p.s.Stats(); len(p.fromClient) != 5 || st.Superseded != 2 {
		t.Errorf("%d messages, %d superseded", len(p.fromClient), st.Superseded)
	}
}

// TestMarksOfUnreliablePackets: a client that sends nothing reliable, and so is
// never acknowledged by the gate, hears of congestion from the server's packets,
// until it says that it heeds that.
func TestMarksOfUnreliablePackets(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	message := wire.AppendMessage(nil, wire.Message{Type: 1, Channel: wire.Unordered})
	says := func() wire.Flags {
		p.send(p.s, Unreliable, 0, "x")
		n := p.s.Fill(p.buf[:], p.now)
		h, _, err := wire.ParseHeader(p.buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		p.down(p.buf[:n])
		return h.Flags & wire.FlagECE
	}
	if says() != 0 {
		t.Fatal("congestion without a mark")
	}
	for _, reliable := range []bool{false, true} {
		before := p.c.Stats().Marks
		p.s.MarkedUnreliable(wire.Header{Flags: wire.FlagACK}, message, true, p.now)
		p.s.Unreliable(wire.Header{Flags: wire.FlagACK}, message, p.now)
		for n := range uint64(2) {
			if says() == 0 || p.c.Stats().Marks != before+1+n {
				t.Errorf("packet %d: the client heard of %d marks", n, p.c.Stats().Marks-before)
			}
		}
		p.send(p.c, map[bool]Mode{false: Unreliable, true: ReliableOrdered}[reliable], 0, "x")
		if p.exchange(); says() != 0 {
			t.Errorf("reliable %v: goes on after the client gave way", reliable)
		}
	}
}

// TestHandshakeTakesOnlyItsAnswers: numbers that belong to another handshake
// neither answer a SYN nor open a session.
func TestHandshakeTakesOnlyItsAnswers(t *testing.T) {
	const cookie = 4000
	now := 1000 * ms
	c := NewClient(Config{}, 500, now)
	var buf [wire.MaxDatagram]byte
	c.Fill(buf[:], now)
	offer := wire.Options{Cookie: cookie, HasCookie: true, SACK: true}
	for _, isn := range []uint32{499, 501, 500 + 1<<16} {
		if err := c.Packet(wire.AppendSYNACK(nil, isn, offer, 1), now); !errors.Is(err, DropHandshake) || c.State() != SynSent {
			t.Errorf("answer to %d: %v, client %v", isn, err, c.State())
		}
	}
	if err := c.Packet(wire.AppendSYNACK(nil, 500, offer, 1), now); err != nil {
		t.Fatal(err)
	}
	c.Fill(buf[:], now)
	for _, ack := range []uint32{501, 503, 500, 502 + 1<<16, 502} {
		h := wire.Header{Sequence: cookie/2 + 1, Ack: ack, Flags: wire.FlagACK, Window: 100, Timestamp: 2}
		err := c.Packet(wire.Standard.AppendPacket(nil, h, &wire.AckBlock{}, nil), now)
		if opens := ack == 502; opens != (c.State() == Open) || opens != (err == nil) {
			t.Errorf("acknowledgement %d: %v, client %v", ack, err, c.State())
		}
	}
}

// TestSilenceIsProbedOncePerInterval, whatever comes of it.
func TestSilenceIsProbedOncePerInterval(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	sent := 0
	for end := p.now + 5500*ms; p.now < end; p.now += ms {
		p.c.Tick(p.now)
		for p.c.Fill(p.buf[:], p.now) > 0 {
			sent++
		}
	}
	if sent < 4 || sent > 6 {
		t.Errorf("%d packets in 5.5 s of silence", sent)
	}
}

// TestLingeringEnds after a minute, though the peer goes on asking.
func TestLingeringEnds(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.s.Close(wire.ReasonClosed)
	p.exchange()
	if p.c.State() != Lingering {
		t.Fatalf("client %v", p.c.State())
	}
	began := p.now
	for p.c.State() == Lingering && p.now < began+2*uint64(maxLinger) {
		p.now += 1000 * ms
		p.c.heard(p.now)
		p.c.Tick(p.now)
	}
	if took := p.now - began; took != uint64(maxLinger) {
		t.Errorf("client %v after %d s", p.c.State(), took/1e9)
	}
}

// TestSYNBacksOff: a server that does not answer is asked ever less often.
func TestSYNBacksOff(t *testing.T) {
	const began = 1000 * ms
	c := NewClient(Config{}, 500, began)
	var buf [wire.MaxDatagram]byte
	var at []uint64
	for now := began; c.State() == SynSent; now = c.NextTimeout() {
		c.Tick(now)
		for c.Fill(buf[:], now) > 0 {
			at = append(at, (now-began)/ms)
		}
	}
	if want := []uint64{0, 250, 750, 1750, 3750}; !slices.Equal(at, want) {
		t.Errorf("SYNs after %v ms, want %v", at, want)
	}
}

// TestCompactSaysWhatMayHaveBeenMissed: compact packets acknowledge for a
// retransmission timeout after what they acknowledge, while there is a gap, and for
// as long as congestion is to be told. A server's do until its client was heard.
func TestCompactSaysWhatMayHaveBeenMissed(t *testing.T) {
	const cookie = 4000
	now := 1000 * ms
	var buf [wire.MaxDatagram]byte
	acks := func(s *Session) bool {
		t.Helper()
		if err := s.Send(Unreliable, 0, 1, nil); err != nil {
			t.Fatal(err)
		}
		h, _, err := wire.Compact.ParseHeader(buf[:s.Fill(buf[:], now)])
		if err != nil || !wire.Compact.LegalAtServer(&h) || h.Flags&(wire.FlagPSH|wire.FlagSYN) != 0 {
			t.Fatalf("sent %+v, %v", h, err)
		}
		return h.Flags&wire.FlagACK != 0
	}
	c := NewClient(Config{Profile: wire.Compact}, 500, now)
	c.Fill(buf[:], now)
	offer := wire.Options{Cookie: cookie, HasCookie: true, SACK: true}
	if err := c.Packet(wire.Compact.AppendSYNACK(nil, 500, offer, 1), now); err != nil {
		t.Fatal(err)
	}
	c.Fill(buf[:], now)
	message := wire.AppendMessage(nil, wire.Message{Type: 1, Channel: wire.Unordered})
	give := func(seq uint32, flags wire.Flags, marked bool) {
		t.Helper()
		h := wire.Header{Sequence: cookie/2 + seq, Ack: 502, Flags: wire.FlagACK | flags, Window: 100, Timestamp: 2}
		if err := c.MarkedPacket(wire.Compact.AppendPacket(nil, h, &wire.AckBlock{}, message), marked, now); err != nil {
			t.Fatal(err)
		}
	}
	give(1, wire.FlagPSH, false)
	for range 3 {
		if !acks(c) {
			t.Error("does not acknowledge what came just now")
		}
	}
	now += uint64(c.Stats().RTO)
	if acks(c) {
		t.Error("acknowledges what came long ago")
	}
	give(1, 0, true)
	for range 2 {
		if now += 1000 * ms; !acks(c) {
			t.Error("does not tell of congestion")
		}
	}
	give(2, wire.FlagCWR, false)
	if acks(c) {
		t.Error("goes on after the server gave way")
	}
	give(3, wire.FlagPSH, false)
	now += 3000 * ms
	for range 2 {
		if !acks(c) {
			t.Error("does not tell of a gap")
		}
	}

	s := NewServer(Config{Profile: wire.Compact}, Opening{ClientISN: 98, ServerISN: 40, Window: 100, SACK: true}, now)
	for range 3 {
		if now += 1000 * ms; !acks(s) {
			t.Error("a server does not confirm the HELLO")
		}
	}
	s.Unreliable(wire.Header{}, message, now)
	if acks(s) {
		t.Error("a server goes on confirming the HELLO")
	}
}
