package session

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/congestion"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// inject gives the client a reliable packet of its server's, sequence counting
// from the next one expected at first.
func (p *pair) inject(sequence uint32, body []byte) error {
	b := wire.Header{
		Sequence: sequence, Ack: p.c.snd.Una(), Flags: wire.FlagACK | wire.FlagPSH,
		Window: wire.ReceiveWindow, Timestamp: p.now / 1000,
	}.AppendTo(nil)
	b = append((&wire.AckBlock{}).AppendTo(b), body...)
	wire.Seal(b)
	return p.c.Packet(b, p.now)
}

// fragment is a message with one chunk of a large one.
func fragment(f wire.Fragment, channel uint8, id uint16) []byte {
	f.Type = 1
	return wire.AppendMessage(nil, wire.Message{
		Type: wire.TypeFragment, Channel: channel, ID: id, Payload: wire.AppendFragment(nil, f),
	})
}

// TestTransfersThatNeverEnd: a peer begins large messages and finishes none.
// What is kept is bounded in bytes, in messages and in packets, and the rest is
// refused and counted.
func TestTransfersThatNeverEnd(t *testing.T) {
	tests := []struct {
		name         string
		total, chunk uint16
		kept         int
	}{
		{"tiny_chunks", 2, 1, reliability.MaxTransfers},
		{"huge_totals", 0xffff, 1, (4 << 20) / 0xffff},
		{"large_chunks", 4000, 1000, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, Config{}, Config{})
			first := p.c.rcv.Next
			f := wire.Fragment{Total: tt.total, Chunk: tt.chunk, Data: make([]byte, tt.chunk)}
			for ; f.Transfer < 3000; f.Transfer++ {
				err := p.inject(first+f.Transfer, fragment(f, wire.Unordered, uint16(f.Transfer)))
				if err != nil && !errors.Is(err, DropSequence) {
					t.Fatal(err)
				}
				if st := p.c.Stats(); st.HeldLarge > 4<<20 || p.c.in.Kept() > tt.kept ||
					p.c.inbox.held > wire.ReceiveWindow || len(p.c.inbox.ring) > wire.ReceiveWindow {
					t.Fatalf("%d bytes in %d messages, %d packets held", st.HeldLarge, p.c.in.Kept(), st.HeldPackets)
				}
			}
			if got := p.c.Stats().Dropped[DropSequence]; got < 1500 || p.c.in.Kept() != tt.kept {
				t.Errorf("%d packets dropped, %d messages kept", got, p.c.in.Kept())
			}
			p.now += 11e9
			p.c.lastHeard = p.now
			p.c.Tick(p.now)
			if p.c.State() != Closed || p.c.Reason() != wire.ReasonProtocol || p.c.Stats().HeldLarge != 0 {
				t.Errorf("%v (%v), %d bytes held", p.c.State(), p.c.Reason(), p.c.Stats().HeldLarge)
			}
		})
	}
	t.Run("unreliable", func(t *testing.T) {
		p := newPair(t, Config{}, Config{})
		f := wire.Fragment{Total: 1000, Chunk: 1000, Data: make([]byte, 1000)}
		for ; f.Transfer < 3000; f.Transfer++ {
			h := wire.Header{Sequence: 5000 + f.Transfer}
			p.s.Unreliable(h, fragment(f, wire.Unordered, uint16(f.Transfer)), p.now)
			if st := p.s.Stats(); st.HeldLarge > 4<<20 {
				t.Fatalf("%d bytes held", st.HeldLarge)
			}
		}
		if got := p.s.Stats().Reassembly.Evicted; got < 2900 {
			t.Errorf("%d evicted", got)
		}
	})
	t.Run("larger_than_the_limit", func(t *testing.T) {
		p := newPair(t, Config{}, Config{})
		f := wire.Fragment{Total: 0xffff, Chunk: 1000, Data: make([]byte, 1000)}
		if err := p.inject(p.c.rcv.Next, fragment(f, 0, 0)); err != nil {
			t.Fatal(err)
		}
		if p.c.State() != Closed || p.c.Reason() != wire.ReasonProtocol || p.c.Stats().Reassembly.Chunks[reliability.ChunkTooLarge] != 1 {
			t.Errorf("%v (%v)", p.c.State(), p.c.Reason())
		}
	})
}

// TestSkipFlood: SKIPs cost no more than their answers, and those are bounded
// where they cannot leave.
func TestSkipFlood(t *testing.T) {
	for _, channel := range []uint8{0, wire.Unordered} {
		n := &narrow{window: 0}
		p := newPair(t, n.config(), Config{})
		first, id := p.c.rcv.Next, uint16(0)
		for seq := range uint32(3000) {
			var body []byte
			for range wire.MaxMessages {
				body = wire.AppendMessage(body, wire.Message{Type: wire.TypeSkip, Channel: channel, ID: id})
				id++
			}
			if err := p.inject(first+seq, body); err != nil {
				t.Fatal(err)
			}
		}
		st := p.c.Stats()
		if bound := p.c.cfg.SendQueue + skippedReserve + 10; st.Queued > bound || st.HeldPackets != 0 || st.HeldMessages != 0 {
			t.Errorf("%d bytes of answers wait, more than %d; %d packets held", st.Queued, bound, st.HeldPackets)
		}
		if st.Skipped != 3000*wire.MaxMessages || p.c.State() != Open {
			t.Errorf("%d skipped, %v (%v)", st.Skipped, p.c.State(), p.c.Reason())
		}
	}
}

// TestConfirmationsOfNothing: a peer cannot confirm more than was given up.
func TestConfirmationsOfNothing(t *testing.T) {
	calls := 0
	p := newPair(t, Config{Abandoned: func(*Session, Mode, uint8, uint16) { calls++ }}, Config{})
	for i := range uint32(100) {
		body := wire.AppendMessage(nil, wire.Message{Type: wire.TypeSkipped, ID: uint16(i)})
		if err := p.inject(p.c.rcv.Next, body); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 0 || p.c.Stats().AbandonedConfirmed != 0 {
		t.Errorf("%d calls, %d confirmed", calls, p.c.Stats().AbandonedConfirmed)
	}
}

// TestPeerThatNeverAcknowledges but goes on talking is sent little, and holds no
// more of its sender's memory than a window.
func TestPeerThatNeverAcknowledges(t *testing.T) {
	for _, name := range congestion.Names() {
		cfg := Config{Congestion: controllerOf(t, name)}
		p := newPair(t, cfg, Config{})
		before := p.c.Stats()
		for range 60_000 {
			p.now += ms
			_ = p.c.Send(ReliableOrdered, 0, 1, make([]byte, 500))
			p.c.lastHeard = p.now
			p.c.Tick(p.now)
			for p.c.Fill(p.buf[:], p.now) > 0 {
			}
		}
		st := p.c.Stats()
		if out := st.PacketsOut - before.PacketsOut; out > 400 || st.Queued > p.c.cfg.SendQueue || p.c.snd.Outstanding() > wire.ReceiveWindow {
			t.Errorf("%s: %d packets in a minute, %d bytes queued, %d outstanding", name, out, st.Queued, p.c.snd.Outstanding())
		}
		if st.Timeouts == 0 || p.c.State() != Open {
			t.Errorf("%s: %d timeouts, %v", name, st.Timeouts, p.c.State())
		}
	}
}

func controllerOf(t *testing.T, name string) func() congestion.Controller {
	return func() congestion.Controller {
		c, err := congestion.New(name, congestion.Params{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// TestSplitAcknowledgementsGainNothing: the window grows by packets, in however
// many acknowledgements they come, and never beyond its bound.
func TestSplitAcknowledgementsGainNothing(t *testing.T) {
	for _, name := range congestion.Names() {
		window := func(step uint32) (w int) {
			s := NewServer(Config{Congestion: controllerOf(t, name)}, Opening{ClientISN: 98, ServerISN: 40, Window: 0xffff, SACK: true}, 1000*ms)
			var buf [wire.MaxDatagramLimit]byte
			for now := 1000 * ms; now < 3000*ms; now += 40 * ms {
				for s.Send(ReliableUnordered, 0, 1, make([]byte, 1000)) == nil {
				}
				for s.Fill(buf[:], now) > 0 {
				}
				s.Tick(now)
				for s.snd.Una() != s.snd.Next() {
					ack := s.snd.Una() + min(step, uint32(s.snd.Outstanding()))
					for range 3 { // and again and again
						s.AckState(commit.FlowState{Ack: ack, Window: 0xffff, LastSeen: now + 40*ms}, now+40*ms)
					}
				}
				w = max(w, s.snd.Controller().Window())
				if s.snd.Outstanding() > wire.ReceiveWindow || w > congestion.MaxWindow {
					t.Fatalf("%s: window %d, %d outstanding", name, w, s.snd.Outstanding())
				}
			}
			return w
		}
		if whole, split := window(1000), window(1); split > whole+whole/8 {
			t.Errorf("%s: window %d, with one acknowledgement for each packet %d", name, whole, split)
		}
	}
}

// TestAcknowledgementsThatLie change nothing that they should not.
func TestAcknowledgementsThatLie(t *testing.T) {
	now := 1000 * ms
	s := NewServer(Config{}, Opening{ClientISN: 98, ServerISN: 40, Window: 0xffff, SACK: true}, now)
	var buf [wire.MaxDatagramLimit]byte
	for range 20 {
		_ = s.Send(ReliableUnordered, 0, 1, make([]byte, 1000))
		s.Fill(buf[:], now)
	}
	una := s.snd.Una()
	state := func(ahead uint32) commit.FlowState {
		now += ms
		return commit.FlowState{Ack: una + ahead, SackHigh: una + ahead, Window: 100, LastSeen: now}
	}
	tests := []struct {
		name  string
		lie   func() commit.FlowState
		taken bool
	}{
		{"of_the_future", func() commit.FlowState { return state(21) }, false},
		{"selects_the_future", func() commit.FlowState {
			f := state(0)
			selects(&f, una+41)
			return f
		}, false},
		{"of_the_past", func() commit.FlowState { return state(^uint32(0)) }, false},
		{"round_trip_of_an_hour", func() commit.FlowState {
			f := state(0)
			f.RTTMicros, f.RTTCount = 3600e6, 7
			return f
		}, true},
		{"nothing_where_something_should_be", func() commit.FlowState {
			f := state(0)
			f.SackHigh = una + 1000
			return f
		}, true},
		{"heard_in_the_future", func() commit.FlowState {
			f := state(0)
			f.LastSeen = now + 3600e9
			return f
		}, true},
		{"echo_of_the_future", func() commit.FlowState {
			f := state(0)
			f.Echo = uint32(now/1000) + 1<<30
			return f
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := s.Stats()
			s.AckState(tt.lie(), now)
			st := s.Stats()
			if taken := st.Acks != before.Acks; taken != tt.taken {
				t.Errorf("taken: %v", taken)
			}
			if s.snd.Una() != una || st.SRTT != before.SRTT || st.InFlight != before.InFlight || s.lastHeard > now {
				t.Errorf("una %d, round trip %v, %d in flight", s.snd.Una()-una, st.SRTT, st.InFlight)
			}
		})
	}
	// What was selected once and then denied is not sent again: only its owner
	// is harmed.
	f := state(0)
	for n := range uint32(18) {
		selects(&f, una+2+n)
	}
	s.AckState(f, now)
	for range 1000 {
		now += 10 * ms
		s.AckState(state(0), now)
		s.Tick(now)
		for n := s.Fill(buf[:], now); n > 0; n = s.Fill(buf[:], now) {
			if h, _, _ := wire.ParseHeader(buf[:n]); h.Flags&wire.FlagPSH != 0 && h.Sequence != una && h.Sequence != una+1 && n > 100 {
				t.Fatalf("packet %d sent again", h.Sequence-una)
			}
		}
	}
	if s.State() != Open || s.Stats().Retransmitted > 40 {
		t.Errorf("%v, %d sent again", s.State(), s.Stats().Retransmitted)
	}
}

// TestForgedRoundTrip: an echo from the future brings no sample at a client.
func TestForgedRoundTrip(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	before := p.c.snd.RTT.Samples
	for _, echo := range []uint64{p.now/1000 + 1, p.now/1000 + 1<<40, ^uint64(0), 1} {
		b := wire.Header{Sequence: p.s.SndNxt(), Ack: p.c.snd.Una(), Flags: wire.FlagACK, Window: 9, Timestamp: p.now / 1000}.AppendTo(nil)
		b = (&wire.AckBlock{Present: true, Echo: echo}).AppendTo(b)
		wire.Seal(b)
		if err := p.c.Packet(b, p.now+uint64(2*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.c.snd.RTT.Samples; got != before {
		t.Errorf("%d samples", got-before)
	}
}

// stingy is a Memory that has room when it is told to.
type stingy struct {
	reliability.Heap
	room int
}

func (m *stingy) Open(session uint64, reliable bool, channel uint8, id uint16, f wire.Fragment) (uint32, bool) {
	if m.room == 0 {
		return 0, false
	}
	m.room--
	return m.Heap.Open(session, reliable, channel, id, f)
}

// TestChunksWaitWhileThereIsProgress: those that have no memory wait as long as
// others find some, and no longer.
func TestChunksWaitWhileThereIsProgress(t *testing.T) {
	memory := &stingy{}
	p := newPair(t, Config{Memory: memory}, Config{})
	first := p.c.rcv.Next
	for n := range uint32(3) {
		for index := range uint16(2) {
			f := wire.Fragment{Transfer: n, Total: 2, Chunk: 1, Index: index, Data: make([]byte, 1)}
			if err := p.inject(first+2*n+uint32(index), fragment(f, wire.Unordered, uint16(n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	wait := func() {
		for end := p.now + 8000*ms; p.now < end; p.now += 100 * ms {
			p.c.lastHeard = p.now
			p.c.Tick(p.now)
		}
	}
	for n := range 2 {
		if wait(); p.c.State() != Open || len(p.fromServer) != n {
			t.Fatalf("client %v (%v), %d messages", p.c.State(), p.c.Reason(), len(p.fromServer))
		}
		memory.room = 1
		p.now += 100 * ms
		p.c.Tick(p.now)
	}
	wait()
	if wait(); p.c.State() != Closed || p.c.Reason() != wire.ReasonFull || len(p.fromServer) != 2 {
		t.Errorf("client %v (%v), %d messages", p.c.State(), p.c.Reason(), len(p.fromServer))
	}
}

// TestLargeSequencedMessages that come too late are not handed over, and those
// that came make others late.
func TestLargeSequencedMessages(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	for n, id := range []uint16{7, 5, 8} {
		for index := range uint16(2) {
			f := wire.Fragment{Transfer: uint32(n), Total: 2, Chunk: 1, Index: index, Data: []byte{'a' + byte(n)}}
			p.s.Unreliable(wire.Header{Sequence: 5000}, fragment(f, 0, id), p.now)
		}
	}
	p.s.Unreliable(wire.Header{Sequence: 5000}, wire.AppendMessage(nil, wire.Message{Type: 1, ID: 6}), p.now)
	if got := texts(p.fromClient); got != "aa cc " || p.s.Stats().Superseded != 2 || p.s.Stats().HeldLarge != 0 {
		t.Errorf("%q, %d superseded, %d bytes held", got, p.s.Stats().Superseded, p.s.Stats().HeldLarge)
	}
}

// TestControlMessagesWithoutTheOption are a protocol error in a reliable packet,
// and nothing in an unreliable one.
func TestControlMessagesWithoutTheOption(t *testing.T) {
	f := wire.Fragment{Total: 2, Chunk: 1, Type: 1, Data: make([]byte, 1)}
	for kind, payload := range map[uint8][]byte{
		wire.TypeFragment: wire.AppendFragment(nil, f), wire.TypeSkip: nil, wire.TypeSkipped: nil, wire.TypePad: {0, 0},
	} {
		body := wire.AppendMessage(nil, wire.Message{Type: kind, Payload: payload})
		p := newPair(t, Config{Reassembly: -1}, Config{})
		p.s.control = false
		p.s.Unreliable(wire.Header{Sequence: 5000}, body, p.now)
		h := wire.Header{Sequence: p.c.replay.High + 1, Ack: p.c.snd.Una(), Flags: wire.FlagACK, Window: 9}
		if err := p.c.Packet(wire.Standard.AppendPacket(nil, h, &wire.AckBlock{}, body), p.now); err != nil {
			t.Fatal(err)
		}
		for _, s := range []*Session{p.c, p.s} {
			if st := s.Stats(); s.State() != Open || st.HeldLarge != 0 || st.Skipped != 0 {
				t.Errorf("type %#x, unreliable: %v, %d bytes held, %d skipped", kind, s.State(), st.HeldLarge, st.Skipped)
			}
		}
		if err := p.inject(p.c.rcv.Next, body); err != nil {
			t.Fatal(err)
		}
		p.bodies[1<<40] = body
		p.s.Committed(1<<40, p.s.rcv.Next, wire.FlagACK|wire.FlagPSH, body, p.now)
		for _, s := range []*Session{p.c, p.s} {
			if s.State() != Closed || s.Reason() != wire.ReasonProtocol {
				t.Errorf("type %#x, reliable: %v (%v)", kind, s.State(), s.Reason())
			}
		}
	}
}

// TestLargeMessagesKeepToWhatThePeerHolds, counted until everything up to the
// last chunk was acknowledged, and leave it some of its window.
func TestLargeMessagesKeepToWhatThePeerHolds(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.block[p.c.SndNxt()+3] = true
	p.c.peerReassembly = 150_000
	for range 3 {
		if err := p.c.Send(ReliableUnordered, 0, 1, make([]byte, 60_000)); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		p.now += ms
		p.exchange()
		p.c.Tick(p.now)
		if p.c.large.unfinished > p.c.peerReassembly {
			t.Fatalf("%d bytes under way, the peer holds %d", p.c.large.unfinished, p.c.peerReassembly)
		}
	}
	if p.c.large.unfinished != 120_000 {
		t.Errorf("%d bytes under way", p.c.large.unfinished)
	}

	p = newPair(t, Config{}, Config{})
	p.room = 40
	p.send(p.c, ReliableOrdered, 0, "learn")
	p.exchange()
	p.loseDown = true
	if err := p.c.Send(ReliableUnordered, 0, 1, make([]byte, 400_000)); err != nil {
		t.Fatal(err)
	}
	p.exchange()
	if got := p.c.snd.Outstanding(); got != 30 {
		t.Errorf("%d chunks into a window of 40", got)
	}
	p.send(p.c, ReliableOrdered, 0, "small")
	p.exchange()
	if got := p.c.snd.Outstanding(); got != 31 {
		t.Errorf("%d packets outstanding", got)
	}
}

// TestChunksWithoutMemoryCostLittle: packets full of the smallest chunks, for
// which there is no memory, are looked at again at a bounded rate, and nothing is
// allocated for that.
func TestChunksWithoutMemoryCostLittle(t *testing.T) {
	p := newPair(t, Config{Memory: &stingy{}}, Config{})
	first := p.c.rcv.Next
	f := wire.Fragment{Total: 2, Chunk: 1, Data: make([]byte, 1)}
	for seq := range uint32(900) {
		var body []byte
		for range wire.MaxMessages {
			body = append(body, fragment(f, wire.Unordered, uint16(f.Transfer))...)
			f.Transfer++
		}
		if err := p.inject(first+seq, body); err != nil {
			t.Fatal(err)
		}
		p.now += 100_000
	}
	looked := 0
	look := func() {
		p.now += ms
		p.c.lastHeard = p.now
		if p.now >= p.c.in.retryAt {
			looked += len(p.c.in.waiting)
		}
		p.c.Tick(p.now)
		for p.c.Fill(p.buf[:], p.now) > 0 {
		}
	}
	for range 5000 {
		look()
	}
	if most := 5 * 60 * reliability.WindowSize; looked == 0 || looked > most || p.c.State() != Open {
		t.Errorf("looked at %d chunks in five seconds, at most %d expected; client %v", looked, most, p.c.State())
	}
	if n := testing.AllocsPerRun(1000, look); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestOptimisticAcknowledgements: a peer that acknowledges whatever is sent the
// moment it is sent, and says that it took no time, is sent no more at once than a
// window, and no more in all than the session's bandwidth.
func TestOptimisticAcknowledgements(t *testing.T) {
	for _, name := range congestion.Names() {
		const bandwidth = 500_000
		s := NewServer(Config{Congestion: controllerOf(t, name), Bandwidth: bandwidth},
			Opening{ClientISN: 98, ServerISN: 40, Window: 0xffff, SACK: true}, 1000*ms)
		var buf [wire.MaxDatagram]byte
		samples := uint32(0)
		for now := 1000 * ms; now < 6000*ms; now += ms {
			for s.Send(ReliableUnordered, 0, 1, make([]byte, 1000)) == nil {
			}
			for burst := 0; s.Fill(buf[:], now) > 0; burst++ {
				if burst > wire.ReceiveWindow {
					t.Fatalf("%s: %d packets at once", name, burst)
				}
			}
			samples++
			s.AckState(commit.FlowState{
				Ack: s.snd.Next(), SackHigh: s.snd.Next(), Window: 0xffff, LastSeen: now, RTTMicros: 1, RTTCount: samples,
			}, now)
			s.Tick(now)
			st := s.Stats()
			if st.CongestionWindow > congestion.MaxWindow || math.IsNaN(st.PacingRate) || math.IsInf(st.PacingRate, 0) || st.RTO < 30*time.Millisecond {
				t.Fatalf("%s: window %d, %v packets/s, timeout %v", name, st.CongestionWindow, st.PacingRate, st.RTO)
			}
		}
		if sent := s.Stats().BytesOut; sent > 5*bandwidth+bandwidth/10 || sent < 4*bandwidth {
			t.Errorf("%s: %d bytes in five seconds", name, sent)
		}
	}
}

// TestWindowsThatLie: a window that stays shut costs a probe a second and the
// memory of the queue; one that opens and shuts all the time costs no more packets
// than it lets through, and what there is to send arrives.
func TestWindowsThatLie(t *testing.T) {
	tests := []struct {
		name       string
		window     func(n int) uint16
		packets    uint64 // at most
		everything bool
	}{
		{"shut_for_ever", func(int) uint16 { return 0 }, 80, false},
		{"opens_and_shuts", func(n int) uint16 { return uint16(n % 2 * 0xffff) }, 450, true},
		{"one_packet_now_and_then", func(n int) uint16 { return uint16(1 - min(n%50, 1)) }, 300, false},
		{"wide_then_narrow", func(n int) uint16 { return uint16(0xffff >> (n % 17)) }, 450, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := 1000 * ms
			s := NewServer(Config{}, Opening{ClientISN: 98, ServerISN: 40, Window: tt.window(0), SACK: true}, now)
			for s.Send(ReliableOrdered, 0, 1, make([]byte, 1000)) == nil {
			}
			queued := s.Queued()
			var buf [wire.MaxDatagram]byte
			for n := range 6000 {
				before := s.snd.Next()
				for s.Fill(buf[:], now) > 0 {
				}
				if sent := int(s.snd.Next() - before); sent > s.peerWindow {
					t.Fatalf("%d packets into a window of %d", sent, s.peerWindow)
				}
				now += 10 * ms
				s.AckState(commit.FlowState{Ack: s.snd.Next(), SackHigh: s.snd.Next(), Window: tt.window(n), LastSeen: now}, now)
				s.Tick(now)
				if s.Queued() > queued {
					t.Fatalf("%d bytes queued", s.Queued())
				}
			}
			if st := s.Stats(); st.PacketsOut > tt.packets || s.State() != Open || (s.Queued() == 0) != tt.everything {
				t.Errorf("%d packets in a minute, %d bytes left, %v", st.PacketsOut, s.Queued(), s.State())
			}
		})
	}
}

// TestMarksForEver: a peer that claims congestion in all it says is answered once
// per flight, and never starved.
func TestMarksForEver(t *testing.T) {
	for _, name := range congestion.Names() {
		now := 1000 * ms
		s := NewServer(Config{Congestion: controllerOf(t, name)}, Opening{ClientISN: 98, ServerISN: 40, Window: 0xffff, SACK: true}, now)
		var buf [wire.MaxDatagram]byte
		for n := range uint32(500) {
			for s.Send(ReliableUnordered, 0, 1, make([]byte, 1000)) == nil {
			}
			reduced := 0
			for size := s.Fill(buf[:], now); size > 0; size = s.Fill(buf[:], now) {
				if h, _, _ := wire.ParseHeader(buf[:size]); h.Flags&wire.FlagCWR != 0 {
					reduced++
				}
			}
			if reduced > 1 {
				t.Fatalf("%s: says %d times that it gave way", name, reduced)
			}
			now += 40 * ms
			for part := range uint32(4) { // of a flight
				ack := s.snd.Una() + uint32(s.snd.Outstanding())/(4-part)
				s.AckState(commit.FlowState{
					Ack: ack, SackHigh: ack, Window: 0xffff, LastSeen: now, ECE: 4*n + part + 1, RTTMicros: 40_000, RTTCount: n + 1,
				}, now)
			}
			s.Tick(now)
		}
		st := s.Stats()
		if st.Marks != 2000 || st.CongestionEvents > 500 || st.CongestionWindow < congestion.MinWindow {
			t.Errorf("%s: %d marks, %d events, window %d", name, st.Marks, st.CongestionEvents, st.CongestionWindow)
		}
		if st.PacketsOut < 500*congestion.MinWindow/2 {
			t.Errorf("%s: %d packets in 500 round trips", name, st.PacketsOut)
		}
	}
}
