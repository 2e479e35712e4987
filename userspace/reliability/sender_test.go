package reliability

import (
	"cmp"
	"math/rand/v2"
	"testing"

	"github.com/xrudp/xrudp/userspace/congestion"
)

// scripted is a controller whose window and rate a test sets, and which notes
// what it is told.
type scripted struct {
	window  int
	rate    float64 // 0: any
	unknown bool    // rate is

	acked, losses, lost, timeouts, marks, undone int
	last                                         congestion.Ack
}

func (c *scripted) Name() string              { return "scripted" }
func (c *scripted) Window() int               { return c.window }
func (c *scripted) OnSend(uint64, int)        {}
func (c *scripted) OnMark(uint64, uint32)     { c.marks++ }
func (c *scripted) OnTimeout(uint64, uint32)  { c.timeouts++ }
func (c *scripted) Undo(uint64)               { c.undone++ }
func (c *scripted) Events() uint64            { return uint64(c.losses + c.timeouts) }
func (c *scripted) OnAck(a *congestion.Ack)   { c.acked += a.Packets; c.last = *a }
func (c *scripted) OnLoss(l *congestion.Loss) { c.losses++; c.lost += l.Packets }

func (c *scripted) PacingRate() float64 {
	if c.unknown {
		return 0
	}
	return cmp.Or(c.rate, 1e9)
}

// flight is a Sender with helpers; packets are numbered from 0.
type flight struct {
	t     *testing.T
	s     Sender
	cc    scripted
	pool  Pool
	first uint32
	now   uint64
}

func newFlight(t *testing.T, first uint32) *flight {
	f := &flight{t: t, first: first, now: 1000 * ms}
	f.s.RTT.Init(30*ms, 2000*ms)
	f.cc.window = congestion.InitialWindow
	f.s.Init(first, &f.cc, &f.pool)
	f.s.judged = lossMemory // a path that is known not to lose
	return f
}

func (f *flight) send(n int) {
	for range n {
		p := f.pool.Get()
		p.Messages = 1
		if !f.s.MaySend(p, WindowSize, Paced, f.now) {
			f.t.Fatal("may not send")
		}
		f.s.Send(p, f.now)
		f.now++
	}
}

// ack acknowledges everything before next, and what is selected.
func (f *flight) ack(next uint32, selected ...uint32) Acked {
	a := f.selecting(next, selected)
	if !f.s.Valid(&a) {
		f.t.Fatalf("acknowledgement %d %v is not valid", next, selected)
	}
	return f.s.OnAck(&a, f.now)
}

// selecting makes the acknowledgement of everything before next, and of what is
// selected.
func (f *flight) selecting(next uint32, selected []uint32) Ack {
	a := Ack{Next: f.first + next}
	for _, n := range selected {
		bit := n - next - 1
		a.Sack[bit/64] |= 1 << (bit % 64)
		a.Words = max(a.Words, int(bit/64)+1)
	}
	return a
}

// again returns the packets that are sent again now.
func (f *flight) again() (numbers []uint32) {
	for p := f.s.Retransmit(WindowSize, f.now); p != nil; p = f.s.Retransmit(WindowSize, f.now) {
		numbers = append(numbers, p.Sequence()-f.first)
		f.now++
	}
	return numbers
}

func (f *flight) wantAgain(want ...uint32) {
	f.t.Helper()
	got := f.again()
	if len(got) != len(want) {
		f.t.Fatalf("sent again %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			f.t.Fatalf("sent again %v, want %v", got, want)
		}
	}
}

func TestSenderFindsLoss(t *testing.T) {
	tests := []struct {
		name string
		do   func(f *flight)
	}{
		{"nothing_lost", func(f *flight) {
			f.send(5)
			f.ack(5)
			f.wantAgain()
		}},
		{"two_later_are_not_enough", func(f *flight) {
			f.send(5)
			f.ack(0, 1, 2)
			f.wantAgain()
		}},
		{"three_later", func(f *flight) {
			f.send(5)
			f.ack(0, 3)
			f.wantAgain(0)
		}},
		{"several", func(f *flight) {
			f.send(10)
			f.ack(1, 2, 5, 9)
			f.wantAgain(1, 3, 4, 6)
		}},
		{"reordered_for_a_round_trip", func(f *flight) {
			f.s.RTT.Sample(40*ms, f.now)
			f.send(2)
			f.now += 40 * ms
			f.ack(0, 1)
			f.wantAgain()
			f.now += 9 * ms
			f.s.OnDeadline(f.now)
			f.wantAgain()
			f.now += 2 * ms
			if f.s.Deadline() > f.now {
				t.Fatal("no deadline for the reordered packet")
			}
			f.s.OnDeadline(f.now)
			f.wantAgain(0)
		}},
		{"lost_retransmission", func(f *flight) {
			f.s.RTT.Sample(40*ms, f.now)
			f.send(4)
			f.now += 40 * ms
			f.ack(0, 3)
			f.wantAgain(0)
			f.send(3)
			f.now += 40 * ms
			f.ack(1, 3, 6) // 0 arrived, 1 and 2 are lost
			f.wantAgain(1, 2)
			f.send(3)
			f.now += 40 * ms
			f.ack(1, 2, 3, 4, 5, 6, 9)
			f.wantAgain(1)
		}},
		{"answer_to_the_original_says_nothing_of_the_retransmission", func(f *flight) {
			f.s.RTT.Sample(40*ms, f.now)
			f.send(8)
			f.now += 40 * ms
			f.ack(0, 3) // 0 lost, 1 and 2 late
			f.wantAgain(0)
			f.ack(1, 3) // so soon that it is the original 0
			f.wantAgain()
		}},
		{"timeout", func(f *flight) {
			f.send(3)
			f.now = f.s.Deadline() + 2
			f.s.OnDeadline(f.now)
			f.wantAgain(0, 1, 2)
			if f.s.RTT.RTO() != InitialRTO || f.cc.timeouts != 0 {
				t.Errorf("RTO %d after probes", f.s.RTT.RTO())
			}
			f.now = f.s.Deadline() + 2
			f.s.OnDeadline(f.now)
			f.wantAgain(0, 1, 2)
			if f.s.RTT.RTO() != 2*InitialRTO || f.cc.timeouts != 1 {
				t.Errorf("RTO %d after a timeout", f.s.RTT.RTO())
			}
			f.ack(1)
			if f.s.RTT.RTO() != InitialRTO {
				t.Errorf("RTO %d after progress", f.s.RTT.RTO())
			}
		}},
		{"cumulative_knows_of_the_oldest_only", func(f *flight) {
			f.s.Cumulative = true
			f.s.RTT.Sample(40*ms, f.now)
			f.send(6)
			f.now = f.s.Deadline()
			f.s.OnDeadline(f.now)
			f.wantAgain(0)
			f.now += 40 * ms
			f.ack(3) // 3 is missing, 4 and 5 may have arrived
			f.wantAgain(3)
			f.now += 40 * ms
			f.ack(6)
			f.wantAgain()
		}},
		{"oldest_is_sent_into_a_full_window", func(f *flight) {
			f.s.Cumulative = true
			f.send(congestion.InitialWindow)
			for range 5 {
				f.now = f.s.Deadline()
				f.s.OnDeadline(f.now)
				f.wantAgain(0)
			}
		}},
		{"a_lost_flight_backs_off_once", func(f *flight) {
			for range 12 {
				f.send(1)
				f.now += 20 * ms
			}
			probed := 0
			for f.cc.timeouts == 0 {
				probed += len(f.again())
				f.now = f.s.Deadline()
				f.s.OnDeadline(f.now)
			}
			if probed != maxProbes {
				f.t.Errorf("%d probes", probed)
			}
			// The last probe was sent 140 ms after the first.
			if took := f.now - 1000*ms; took < 2*InitialRTO || took > 2*InitialRTO+150*ms {
				f.t.Errorf("timeout after %d ms", took/ms)
			}
			f.wantAgain(0, 8, 9, 10, 11, 1, 2, 3, 4, 5, 6, 7)
			if f.s.RTT.RTO() != 2*InitialRTO {
				f.t.Errorf("RTO %d ms", f.s.RTT.RTO()/ms)
			}
		}},
		{"acknowledged_while_waiting", func(f *flight) {
			f.send(5)
			f.ack(0, 3, 4) // 0 and 1 lost
			f.ack(1, 3, 4)
			f.wantAgain(1)
		}},
	}
	for _, tt := range tests {
		for _, first := range []uint32{7, ^uint32(0) - 2} {
			t.Run(tt.name, func(t *testing.T) { tt.do(newFlight(t, first)) })
		}
	}
}

// stamp is the timestamp of what is sent now, as a peer echoes it.
func (f *flight) stamp() uint32 { return uint32(f.now / 1000) }

// echo acknowledges everything before next as the answer to timestamp.
func (f *flight) echo(timestamp, next uint32, selected ...uint32) Acked {
	a := f.selecting(next, selected)
	a.Echo, a.Echoed = timestamp, true
	return f.s.OnAck(&a, f.now)
}

func TestSenderTakesBackSpuriousLosses(t *testing.T) {
	tests := []struct {
		name             string
		undone, spurious int
		do               func(f *flight)
	}{
		{"needed", 0, 0, func(f *flight) {
			f.send(4)
			f.now += 40 * ms
			f.ack(0, 3)
			f.wantAgain(0)
			again := f.stamp()
			f.now += 40 * ms
			f.echo(again, 1, 3)
		}},
		{"arrived_before_it_was_sent_again", 1, 3, func(f *flight) {
			f.send(6)
			f.now += 40 * ms
			f.ack(0, 5)
			f.ack(0, 3, 4, 5)
			f.now += ms
			f.ack(6)
			f.wantAgain()
		}},
		{"answer_to_the_original", 1, 1, func(f *flight) {
			original := f.stamp()
			f.send(4)
			f.now += 40 * ms
			f.ack(0, 3)
			f.wantAgain(0)
			f.now += 60 * ms
			f.echo(original, 1, 3)
		}},
		{"one_of_two", 0, 1, func(f *flight) {
			original := f.stamp()
			f.send(5)
			f.now += 40 * ms
			f.ack(0, 2, 3, 4)
			f.wantAgain(0, 1)
			again := f.stamp()
			f.now += 60 * ms
			f.echo(original, 1, 2, 3, 4)
			f.echo(again+1, 5)
		}},
		{"after_a_timeout", 1, 1, func(f *flight) {
			original := f.stamp()
			f.send(20)
			for f.cc.timeouts == 0 {
				f.again()
				f.now = f.s.Deadline()
				f.s.OnDeadline(f.now)
			}
			f.cc.window = 1
			f.wantAgain(0)
			f.cc.window = 64
			f.now += 5 * ms
			f.echo(original, 1)
			f.wantAgain() // what had not been sent again yet is on its way
			if f.s.InFlight() != 19 {
				f.t.Errorf("%d in flight", f.s.InFlight())
			}
		}},
		{"a_probe_changed_nothing", 0, 0, func(f *flight) {
			original := f.stamp()
			f.send(1)
			f.now = f.s.Deadline()
			f.s.OnDeadline(f.now)
			f.wantAgain(0)
			f.now += ms
			f.echo(original, 1)
			if f.cc.lost != 0 {
				f.t.Errorf("%d lost", f.cc.lost)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFlight(t, 5)
			f.s.RTT.Sample(40*ms, f.now)
			tt.do(f)
			if f.cc.undone != tt.undone || f.s.Count.Spurious != uint64(tt.spurious) {
				t.Errorf("%d events undone, %d spurious losses, want %d, %d",
					f.cc.undone, f.s.Count.Spurious, tt.undone, tt.spurious)
			}
		})
	}
}

// TestSenderProbeThatWasNeeded is a loss, though no timeout.
func TestSenderProbeThatWasNeeded(t *testing.T) {
	f := newFlight(t, 0)
	f.s.RTT.Sample(40*ms, f.now)
	f.send(1)
	f.now = f.s.Deadline()
	f.s.OnDeadline(f.now)
	f.wantAgain(0)
	again := f.stamp()
	f.now += 40 * ms
	f.echo(again, 1)
	if f.cc.lost != 1 || f.cc.timeouts != 0 || f.s.Count.Lost != 1 || f.s.Count.Probes != 1 {
		t.Errorf("controller heard of %d losses, %d timeouts; %+v", f.cc.lost, f.cc.timeouts, f.s.Count)
	}
}

// TestSenderAdaptsToReordering: once packets were seen to be overtaken by many,
// as many do not make a loss any more, until the path has behaved for a while.
func TestSenderAdaptsToReordering(t *testing.T) {
	f := newFlight(t, 0)
	f.s.RTT.Sample(40*ms, f.now)
	base := uint32(0)
	overtaken := func(by uint32) int {
		f.send(int(by) + 1)
		f.now += 40 * ms
		var later []uint32
		for n := range by {
			later = append(later, base+1+n)
		}
		f.ack(base, later...)
		again := len(f.again())
		f.now += ms
		base += by + 1
		f.echo(0, base)
		return again
	}
	if overtaken(6) == 0 {
		t.Fatal("not taken for lost at first")
	}
	if overtaken(6) != 0 {
		t.Error("taken for lost though the path is known to reorder so")
	}
	for range reorderingMemory {
		f.send(12)
		f.now += 40 * ms
		f.ack(base, base+1, base+2, base+3, base+4, base+5, base+6, base+7, base+8, base+9, base+10, base+11)
		f.again()
		again := f.stamp()
		f.now += 50 * ms
		base += 12
		f.echo(again, base)
	}
	if overtaken(6) == 0 {
		t.Error("reordering is not forgotten")
	}
}

// TestSenderSeesTheWholeWindow: what is missing shows wherever it is.
func TestSenderSeesTheWholeWindow(t *testing.T) {
	f := newFlight(t, ^uint32(0)-500)
	f.cc.window = congestion.MaxWindow
	f.s.RTT.Sample(40*ms, f.now)
	f.send(1000)
	f.now += 40 * ms
	selected := []uint32{}
	for n := uint32(1); n < 1000; n++ {
		if n != 100 && n != 300 && n != 900 {
			selected = append(selected, n)
		}
	}
	f.ack(0, selected...)
	f.wantAgain(0, 100, 300, 900)
}

func TestSenderPaces(t *testing.T) {
	f := newFlight(t, 0)
	f.cc.rate = 1000
	p := f.pool.Get()
	sent := 0
	for end := f.now + 100*ms; f.now < end; f.now += 100_000 {
		for f.s.MaySend(p, WindowSize, Paced, f.now) {
			f.s.Send(f.pool.Get(), f.now)
			sent++
			f.s.OnAck(&Ack{Next: f.s.Next()}, f.now)
		}
		if at := f.s.HeldTo(); at <= f.now || at > f.now+ms {
			t.Fatalf("held for %d us", (at-f.now)/1000)
		}
	}
	if sent < 100 || sent > 115 {
		t.Errorf("%d packets in 100 ms at 1000 per second", sent)
	}
	if !f.s.MaySend(p, WindowSize, Urgent, f.now) {
		t.Error("an urgent packet waits for the pacer")
	}
	f.cc.window = 0
	f.sendAnyway(congestion.MinWindow)
	if f.s.MaySend(p, WindowSize, Urgent, f.now) {
		t.Error("urgent packets know no bound")
	}
}

// Before the first acknowledgement all that is known is the round trip of the
// handshake: the first window leaves over one like it.
func TestSenderPacesTheFirstWindow(t *testing.T) {
	f := newFlight(t, 0)
	f.cc.unknown = true
	f.s.RTT.Sample(congestion.InitialWindow*ms, f.now)
	for n := range congestion.InitialWindow {
		p := f.pool.Get()
		for !f.s.MaySend(p, WindowSize, Paced, f.now) {
			f.now = f.s.HeldTo()
			f.s.Resume()
		}
		f.s.Send(p, f.now)
		// A pacer makes up for ten packets that it could have sent.
		if at := int((f.now - 1000*ms) / ms); at > n || at < n-10 {
			t.Fatalf("packet %d leaves after %d ms", n, at)
		}
	}
}

// sendAnyway sends n packets whatever the window says.
func (f *flight) sendAnyway(n int) {
	for range n {
		f.s.Send(f.pool.Get(), f.now)
	}
}

func TestSenderMeasuresTheDeliveryRate(t *testing.T) {
	f := newFlight(t, 0)
	f.s.RTT.Sample(20*ms, f.now)
	// One packet each ms, each acknowledged after 20 ms.
	for n := uint32(0); n < 100; n++ {
		f.send(1)
		f.now += ms - 1
		if n >= 20 {
			f.ack(n - 19)
		}
	}
	if r := f.cc.last.Rate; r < 990 || r > 1010 || f.cc.last.AppLimited {
		t.Errorf("%+v", f.cc.last)
	}
	f.s.Idle()
	f.send(1)
	f.now += 20 * ms
	f.ack(101)
	if !f.cc.last.AppLimited {
		t.Errorf("not known as limited by the application: %+v", f.cc.last)
	}
}

// TestSenderAnswersMarks once per flight, and tells the peer as often.
func TestSenderAnswersMarks(t *testing.T) {
	f := newFlight(t, ^uint32(0)-3)
	told := 0
	for n := uint32(0); n < 40; n++ {
		f.send(1)
		f.s.Marked(f.now)
		if f.s.Reduced() {
			told++
		}
		if n%10 == 9 {
			f.ack(n + 1)
		}
	}
	if f.cc.marks != 4 || told != 4 || f.s.Count.Marks != 40 {
		t.Errorf("controller heard %d times, peer %d times, of %d marks", f.cc.marks, told, f.s.Count.Marks)
	}
}

func TestSenderValidatesAcknowledgements(t *testing.T) {
	tests := []struct {
		name  string
		next  uint32
		sack  [SackWords]uint64
		words int
		valid bool
	}{
		{"nothing_new", 0, [SackWords]uint64{}, 0, true},
		{"all", 10, [SackWords]uint64{}, 0, true},
		{"beyond", 11, [SackWords]uint64{}, 0, false},
		{"before", ^uint32(0), [SackWords]uint64{}, 0, false},
		{"selects_the_last", 0, [SackWords]uint64{1 << 8}, 1, true},
		{"selects_beyond", 0, [SackWords]uint64{1 << 9}, 1, false},
		{"selects_far_beyond", 0, [SackWords]uint64{0, 0, 0, 1}, 4, false},
		{"selects_the_end_of_the_window", 0, [SackWords]uint64{15: 1 << 62}, 16, false},
		{"all_and_more_selected", 10, [SackWords]uint64{1}, 1, false},
	}
	for _, tt := range tests {
		for _, first := range []uint32{50, ^uint32(0) - 4} {
			t.Run(tt.name, func(t *testing.T) {
				f := newFlight(t, first)
				f.send(10)
				a := Ack{Next: first + tt.next, Words: tt.words, Sack: tt.sack}
				if got := f.s.Valid(&a); got != tt.valid {
					t.Errorf("Valid = %v", got)
				}
			})
		}
	}
}

func TestSenderSamplesOnlyWhatWasSentOnce(t *testing.T) {
	f := newFlight(t, 0)
	f.send(2)
	f.now += 10 * ms
	if out := f.ack(1); !out.HasRTT || out.RTT < 10*ms || out.RTT > 11*ms || out.Packets != 1 {
		t.Errorf("%+v", out)
	}
	f.now = f.s.Deadline()
	f.s.OnDeadline(f.now)
	f.again()
	f.send(1)
	f.now += 10 * ms
	if out := f.ack(3); out.HasRTT || out.Packets != 2 {
		t.Errorf("sample over a retransmission: %+v", out)
	}
}

func TestSenderLimits(t *testing.T) {
	f := newFlight(t, 0)
	p := f.pool.Get()
	if f.s.MaySend(p, 0, Paced, f.now) {
		t.Error("peer without room")
	}
	f.send(congestion.InitialWindow)
	if f.s.MaySend(p, WindowSize, Paced, f.now) {
		t.Error("congestion window exceeded")
	}
	f.ack(60)
	if f.s.MaySend(p, 4, Paced, f.now) || !f.s.MaySend(p, 5, Paced, f.now) {
		t.Error("peer with room for one more packet")
	}
}

func TestSenderSparesAPeerWithoutRoom(t *testing.T) {
	f := newFlight(t, 0)
	f.send(10)
	f.now += InitialRTO + ms
	f.s.OnDeadline(f.now)
	if p := f.s.Retransmit(0, f.now); p == nil || p.Sequence() != 0 {
		t.Fatalf("the oldest packet does not ask for room: %+v", p)
	}
	if p := f.s.Retransmit(0, f.now); p != nil {
		t.Errorf("packet %d sent again without room", p.Sequence())
	}
	if p := f.s.Retransmit(2, f.now); p == nil || p.Sequence() != 1 {
		t.Errorf("room for two: %+v", p)
	}
	if p := f.s.Retransmit(2, f.now); p != nil {
		t.Errorf("packet %d sent again with room for two", p.Sequence())
	}
}

// TestSenderKeepsIDsWithinReach: all messages could be of one channel, and the
// first of them be missing.
func TestSenderKeepsIDsWithinReach(t *testing.T) {
	f := newFlight(t, 0)
	f.cc.window = congestion.MaxWindow
	fill := func() (messages int) {
		for {
			p := f.pool.Get()
			p.Messages = 32
			if !f.s.MaySend(p, WindowSize, Paced, f.now) {
				return messages
			}
			f.s.Send(p, f.now)
			messages += 32
		}
	}
	if got := fill(); got != MaxAhead {
		t.Errorf("%d messages outstanding, want %d", got, MaxAhead)
	}
	f.ack(0, 1, 2, 3)
	if got := fill(); got != 0 {
		t.Errorf("%d more though the first is missing", got)
	}
	f.ack(10)
	if got := fill(); got != 320 {
		t.Errorf("%d more for 10 packets acknowledged", got)
	}
}

// TestSenderAgainstModel loses packets and acknowledgements at random. Every
// packet must arrive in the end, and what was acknowledged is never sent again.
func TestSenderAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		f := newFlight(t, rng.Uint32())
		if seed%2 == 0 {
			f.first = ^uint32(0) - 100
			f.s.Init(f.first, &f.cc, &f.pool)
		}
		var rcv ReceiveWindow
		rcv.Reset(f.first)
		loss := rng.Float64() * 0.5
		acked := map[uint32]bool{}
		transmit := func(p *Packet) {
			if acked[p.Sequence()] {
				t.Fatalf("seed %d: packet %d sent after it was acknowledged", seed, p.Sequence()-f.first)
			}
			if rng.Float64() >= loss && rcv.Classify(p.Sequence()) == Fresh {
				rcv.Mark(p.Sequence())
			}
		}
		const total = 2000
		for sent := 0; rcv.Next != f.first+total; {
			f.now += rng.Uint64N(5 * ms)
			for p := f.s.Retransmit(WindowSize, f.now); p != nil; p = f.s.Retransmit(WindowSize, f.now) {
				transmit(p)
			}
			for range rng.IntN(10) {
				p := f.pool.Get()
				if sent == total || !f.s.MaySend(p, WindowSize, Paced, f.now) {
					f.pool.Put(p)
					break
				}
				f.s.Send(p, f.now)
				sent++
				transmit(p)
			}
			if rng.Float64() >= loss {
				a := Ack{Next: rcv.Next}
				a.Words = rcv.Sack(&a.Sack)
				if !f.s.Valid(&a) {
					t.Fatalf("seed %d: true acknowledgement not valid", seed)
				}
				f.s.OnAck(&a, f.now)
				for seq := f.first; seq != rcv.Next; seq++ {
					acked[seq] = true
				}
				for i := range uint32(64 * SackWords) {
					if a.Sack[i/64]>>(i%64)&1 != 0 {
						acked[a.Next+1+i] = true
					}
				}
			}
			if f.s.Outstanding() > 0 && f.s.InFlight() == 0 && f.s.waiting.Len() == 0 && f.s.una != rcv.Next {
				t.Fatalf("seed %d: packets outstanding that nothing will send", seed)
			}
			f.s.OnDeadline(f.now)
			if f.now > 3600*1000*ms {
				t.Fatalf("seed %d: no progress", seed)
			}
		}
	}
}

func TestSenderDoesNotAllocate(t *testing.T) {
	f := newFlight(t, 0)
	again := 0
	round := func() {
		f.send(8)
		a := Ack{Next: f.s.Una(), Words: 1, Sack: [SackWords]uint64{15}}
		f.s.OnAck(&a, f.now)
		for f.s.Retransmit(WindowSize, f.now) != nil {
			again++
		}
		a = Ack{Next: f.s.Next()}
		f.s.OnAck(&a, f.now)
		f.s.OnDeadline(f.now)
	}
	round()
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations per round", n)
	}
	if again == 0 {
		t.Error("nothing was sent again")
	}
}

func TestSenderCloseReturnsPackets(t *testing.T) {
	f := newFlight(t, 0)
	f.send(6)
	f.ack(0, 3)
	f.s.Close()
	if f.pool.kept != 6 || f.s.InFlight() != 0 || f.s.Outstanding() != 0 || f.s.Deadline() != Never {
		t.Errorf("%d packets in the pool, %d in flight", f.pool.kept, f.s.InFlight())
	}
}

// TestSenderSendsSmallPacketsTwice where the path loses and little is in flight,
// and knows by the echo which copy arrived.
func TestSenderSendsSmallPacketsTwice(t *testing.T) {
	lossy := func(t *testing.T) *flight {
		f := newFlight(t, 9)
		f.s.RTT.Sample(40*ms, f.now)
		f.s.lossShare = 0.05
		return f
	}
	tests := []struct {
		name string
		do   func(f *flight)
		want []uint32
	}{
		{"once_each", func(f *flight) { f.send(2) }, []uint32{0, 1}},
		{"path_without_loss", func(f *flight) { f.s.lossShare = 0.003; f.send(2) }, nil},
		{"much_in_flight", func(f *flight) { f.send(12) }, []uint32{0, 1, 2, 3, 4, 5, 6, 7}},
		{"urgent", func(f *flight) {
			f.s.RTT.Smoothed = 101 * ms
			f.sendAnyway(50)
			f.now -= 13 * ms
			p := f.pool.Get()
			p.Messages, p.Urgent = 1, true
			f.s.Send(p, f.now)
			f.now += 7 * ms
		}, []uint32{50}},
		{"long_queue", func(f *flight) { f.s.RTT.Smoothed = 101 * ms; f.send(1) }, nil},
		{"too_soon", func(f *flight) { f.send(1); f.now -= 8 * ms }, nil},
		{"unknown_path", func(f *flight) { f.s.lossShare, f.s.judged = 0, unknownPath-1; f.send(1) }, []uint32{0}},
		{"large", func(f *flight) {
			p := f.pool.Get()
			p.Extend(earlySize + 1)
			f.s.Send(p, f.now)
		}, nil},
		{"arrived", func(f *flight) { f.send(1); f.ack(1) }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := lossy(t)
			tt.do(f)
			f.now += 6 * ms
			f.s.OnDeadline(f.now)
			f.wantAgain(tt.want...)
			f.now += 6 * ms
			f.s.OnDeadline(f.now)
			f.wantAgain()
		})
	}

	for _, second := range []bool{false, true} {
		f := lossy(t)
		stamp := f.stamp()
		f.send(1)
		if f.s.Deadline() > f.now+6*ms {
			t.Error("no timer for the second copy")
		}
		f.now += 5 * ms
		f.s.OnDeadline(f.now)
		if second {
			stamp = f.stamp()
		}
		f.wantAgain(0)
		f.now += 40 * ms
		share := f.s.lossShare
		f.echo(stamp, 1)
		if lost := f.cc.lost == 1; lost != second || f.s.Count.Spurious != 0 || f.cc.undone != 0 || (f.s.lossShare > share) != second {
			t.Errorf("answer to the second copy %v: %d lost, %+v, share %v", second, f.cc.lost, f.s.Count, f.s.lossShare)
		}
	}

	// Neither copy arrives: then it is probed as ever, and no timeout yet.
	f := lossy(t)
	f.send(1)
	for f.s.Count.Probes == 0 {
		f.now = f.s.Deadline()
		f.s.OnDeadline(f.now)
		f.again()
	}
	if f.cc.timeouts != 0 || f.s.Count.Early != 1 || f.now > 1000*ms+200*ms {
		t.Errorf("%d timeouts, %+v after %d ms", f.cc.timeouts, f.s.Count, f.now/ms-1000)
	}
}

// TestSenderKeepsOnWhileAnswersCome: a probe that is lost as well is sent once
// more, and a packet that others overtook has its time for reordering, however
// short the timeout. Neither is a timeout while other packets are acknowledged.
func TestSenderKeepsOnWhileAnswersCome(t *testing.T) {
	f := newFlight(t, 0)
	for range 40 { // without variance the timeout is 60 ms
		f.s.RTT.Sample(40*ms, f.now)
		f.now += 40 * ms
	}
	f.s.reordering.steps, f.s.reordering.packets = 8, maxThreshold
	f.send(1)
	for n := uint32(1); n < 60; n++ {
		f.send(1)
		f.now += 10 * ms
		f.s.OnDeadline(f.now)
		f.again()
		if n >= 4 {
			var selected []uint32
			for k := uint32(1); k <= n-3; k++ {
				selected = append(selected, k)
			}
			f.echo(f.stamp()-40_000, 0, selected...)
		}
	}
	if f.s.Count.Timeouts != 0 || f.s.Count.Spurious != 0 || f.s.Count.Probes != 0 || f.s.Count.Lost == 0 {
		t.Errorf("%+v", f.s.Count)
	}
}

// TestSenderBelievesTheEcho rather than its idea of the shortest round trip:
// small packets are faster than large ones.
func TestSenderBelievesTheEcho(t *testing.T) {
	f := newFlight(t, 0)
	f.s.RTT.Sample(40*ms, f.now)
	f.send(4)
	f.now += 40 * ms
	f.ack(0, 3)
	f.wantAgain(0)
	again := f.stamp()
	f.now += 39 * ms
	f.echo(again, 1, 3)
	if f.s.Count.Spurious != 0 || f.cc.undone != 0 {
		t.Errorf("%+v", f.s.Count)
	}
}
