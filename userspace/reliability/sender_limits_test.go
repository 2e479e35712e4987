package reliability

import (
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/congestion"
)

// TestSenderKeepsToTheProtocolsWindow, whatever more the peer advertises.
func TestSenderKeepsToTheProtocolsWindow(t *testing.T) {
	f := newFlight(t, ^uint32(0)-500)
	f.cc.window = 5000
	for {
		p := f.pool.Get()
		p.Messages = 1
		if !f.s.MaySend(p, 0xffff, Urgent, f.now) {
			break
		}
		f.s.Send(p, f.now)
	}
	if f.s.Outstanding() != WindowSize || len(f.s.ring) != WindowSize {
		t.Errorf("%d outstanding in a ring of %d", f.s.Outstanding(), len(f.s.ring))
	}
	if f.s.Close(); f.s.Room() != MaxAhead {
		t.Errorf("room for %d messages after the end", f.s.Room())
	}
}

// TestSenderProbesBeyondTheWindow: a window that shrank does not keep back what
// asks whether the path is still there.
func TestSenderProbesBeyondTheWindow(t *testing.T) {
	f := newFlight(t, 7)
	f.send(3)
	f.cc.window = 1
	f.now = f.s.Deadline() + 2
	f.s.OnDeadline(f.now)
	f.wantAgain(0, 1, 2)
}

// TestSenderProbesAnewAfterProgress: neither probes that were answered nor a
// timeout that is over shorten the patience with what is sent later.
func TestSenderProbesAnewAfterProgress(t *testing.T) {
	f := newFlight(t, 7)
	next := uint32(0)
	silence := func() { // until something is done about it
		for was := f.s.Count; f.s.Count.Probes == was.Probes && f.s.Count.Timeouts == was.Timeouts; f.again() {
			f.now = f.s.Deadline() + 2
			f.s.OnDeadline(f.now)
		}
	}
	for range 5 {
		f.send(3)
		next += 3
		silence()
		f.ack(next)
	}
	if f.cc.timeouts != 0 || f.s.Count.Probes != 15 {
		t.Errorf("%d timeouts, %d probes", f.cc.timeouts, f.s.Count.Probes)
	}
	f.send(1)
	next++
	silence()
	silence()
	if f.cc.timeouts != 1 {
		t.Fatalf("%d timeouts after a probe without an answer", f.cc.timeouts)
	}
	f.ack(next)
	f.send(1)
	silence()
	if f.cc.timeouts != 1 || f.s.Count.Probes != 17 {
		t.Errorf("%d timeouts, %d probes", f.cc.timeouts, f.s.Count.Probes)
	}
}

// TestSenderTellsWhetherItWasHeldBack, of each acknowledgement anew: a window
// that nobody uses must not grow.
func TestSenderTellsWhetherItWasHeldBack(t *testing.T) {
	f := newFlight(t, 7)
	f.cc.window = 4
	f.send(4)
	if f.s.MaySend(f.pool.Get(), WindowSize, Paced, f.now) {
		t.Fatal("window of 4 lets a fifth packet go")
	}
	if f.ack(1); !f.cc.last.Limited {
		t.Error("not limited by a full window")
	}
	if f.ack(2); f.cc.last.Limited {
		t.Error("limited though nothing was held back since")
	}
}

// TestSenderBelievesNoRateFasterThanARoundTrip: acknowledgements that come
// together say nothing of the path.
func TestSenderBelievesNoRateFasterThanARoundTrip(t *testing.T) {
	f := newFlight(t, 7)
	f.s.RTT.Sample(40*ms, f.now)
	f.send(8)
	f.now += ms
	if f.ack(4); f.cc.last.Rate != 0 {
		t.Errorf("%v packets/s", f.cc.last.Rate)
	}
	f.now += 40 * ms
	if f.ack(8); f.cc.last.Rate == 0 {
		t.Error("no rate over a round trip")
	}
}

// TestSenderRemembersFewSecondCopies: those of the first packets, whose sequence
// may wrap, and of none that was sent again meanwhile.
func TestSenderRemembersFewSecondCopies(t *testing.T) {
	urgent := func(f *flight, n int) {
		f.s.judged = 0
		for range n {
			p := f.pool.Get()
			p.Messages, p.Urgent = 1, true
			f.s.Send(p, f.now)
			f.now++
		}
	}
	for _, first := range []uint32{7, ^uint32(0) - 2} {
		f := newFlight(t, first)
		urgent(f, earlySlots+8)
		f.now += earlyMost
		f.s.OnDeadline(f.now)
		var want []uint32
		for n := range uint32(earlySlots) {
			want = append(want, n)
		}
		if got := f.again(); !slices.Equal(got, want) {
			t.Errorf("second copies of %v", got)
		}
	}
	f := newFlight(t, 7)
	urgent(f, 5)
	f.ack(0, 2, 3, 4)
	f.wantAgain(0, 1)
	f.now += earlyMost
	f.s.OnDeadline(f.now)
	if f.wantAgain(); f.s.Count.Early != 0 {
		t.Errorf("%d second copies of what was sent twice", f.s.Count.Early)
	}
}

// TestSenderEchoWraps: timestamps are compared with 32 bits.
func TestSenderEchoWraps(t *testing.T) {
	f := newFlight(t, 7)
	f.now = 1000<<32 - 20_000
	f.send(4)
	f.ack(0, 3)
	f.wantAgain(0)
	f.now += 40 * ms
	stamp := f.stamp()
	if stamp > 1<<31 {
		t.Fatal("the clock did not wrap")
	}
	f.send(1)
	f.now += 40 * ms
	if f.echo(stamp, 5); f.s.Count.Spurious != 0 {
		t.Errorf("%d losses taken for spurious", f.s.Count.Spurious)
	}
}

// TestSenderTellsCopiesApartByTime, where no echo does: an answer sooner than
// three quarters of the least round trip is to the first copy.
func TestSenderTellsCopiesApartByTime(t *testing.T) {
	for after, spurious := range map[uint64]uint64{1 * ms: 1, 29 * ms: 1, 30 * ms: 0, 40 * ms: 0} {
		f := newFlight(t, 7)
		f.s.RTT.Sample(40*ms, f.now)
		f.send(4)
		f.ack(0, 1, 2, 3)
		f.wantAgain(0)
		f.now += after - 1 // again() took 1 ns
		if f.ack(4); f.s.Count.Spurious != spurious {
			t.Errorf("after %d ms: %d spurious losses", after/ms, f.s.Count.Spurious)
		}
	}
}

// noting notes the newest loss it is told of.
type noting struct {
	scripted
	loss congestion.Loss
}

func (c *noting) OnLoss(l *congestion.Loss) { c.loss = *l }

// TestSenderNamesTheNewestLoss, on either side of the wrap.
func TestSenderNamesTheNewestLoss(t *testing.T) {
	for _, first := range []uint32{7, ^uint32(0) - 2} {
		f := newFlight(t, first)
		cc := noting{scripted: scripted{window: 64}}
		f.s.Init(first, &cc, &f.pool)
		f.send(9)
		f.ack(0, 6, 7, 8)
		if cc.loss.Packets != 6 || cc.loss.Newest != first+5 || cc.loss.Next != first+9 {
			t.Errorf("first %#x: %+v", first, cc.loss)
		}
	}
}

func TestRTTLimits(t *testing.T) {
	var r RTT
	r.Init(30*ms, 2000*ms)
	for n := range uint64(2000) {
		r.Sample(100*ms, n*100*ms)
	}
	if rto := r.RTO(); rto < 119*ms || rto > 121*ms {
		t.Errorf("%d ms on a steady path of 100 ms: no time to answer, or too much", rto/ms)
	}
	r.Cap(250 * ms)
	r.Cap(500 * ms)
	for range 10 {
		r.Backoff()
	}
	if rto := r.RTO(); rto != 250*ms {
		t.Errorf("%d ms with a ceiling of 250", rto/ms)
	}
}

// TestSecondCopyProvesALoss only where it is what was answered: of a later packet's
// acknowledgement nobody knows which copy came.
func TestSecondCopyProvesALoss(t *testing.T) {
	for _, later := range []bool{false, true} {
		f := newFlight(t, 7)
		f.s.judged = 0
		f.send(1)
		f.now += earlyMost
		f.s.OnDeadline(f.now)
		stamp := f.stamp()
		f.wantAgain(0)
		f.now += 5 * ms
		next := uint32(1)
		if later {
			stamp = f.stamp()
			f.send(1)
			next++
		}
		f.now += 40 * ms
		f.echo(stamp, next)
		if lost := f.s.Count.Lost == 1; lost == later || f.s.Count.Early != 1 {
			t.Errorf("later %v: %d lost, %d second copies", later, f.s.Count.Lost, f.s.Count.Early)
		}
	}
}

// TestPoolKeepsNoMoreThanItsBound, however many sessions end at once.
func TestPoolKeepsNoMoreThanItsBound(t *testing.T) {
	var l Pool
	for range poolKeep + 10 {
		l.Put(new(Packet))
	}
	if l.kept != poolKeep {
		t.Errorf("%d packets kept", l.kept)
	}
}
