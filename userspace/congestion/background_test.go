package congestion

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// fifo is a bottleneck that a Background's packets pass one after the other,
// without end. Times are nanoseconds.
type fifo struct {
	b      Background
	now    uint64
	rtt    uint64  // without a queue
	rate   float64 // packets per second
	jitter time.Duration
	rng    *rand.Rand

	free     uint64 // when the bottleneck is
	arrived  uint64 // newest answer
	smoothed uint64
	flying   []fifoPacket
	longest  uint64 // wait in the queue since it was reset
	sent     int
}

type fifoPacket struct {
	at          Pulse
	sent, heard uint64
}

func newFIFO(rate float64, rtt time.Duration) *fifo {
	return &fifo{now: 1e9, rtt: uint64(rtt), smoothed: uint64(rtt), rate: rate, rng: rand.New(rand.NewPCG(1, 2))}
}

// run lets bulk data leave for so long, beside critical packets.
func (f *fifo) run(d time.Duration) {
	for end := f.now + uint64(d); f.now < end; {
		f.b.Critical(f.now)
		next := max(f.b.Next(f.now), f.now)
		if len(f.flying) > 0 && f.flying[0].heard <= next {
			p := f.flying[0]
			f.flying = f.flying[1:]
			f.now = max(f.now, p.heard)
			rtt := f.now - p.sent
			f.smoothed += rtt/8 - f.smoothed/8
			f.b.OnAck(f.now, p.at, p.sent, rtt)
			continue
		}
		f.now = next
		f.send()
	}
}

func (f *fifo) send() {
	leaves := max(f.free, f.now)
	f.longest = max(f.longest, leaves-f.now)
	f.free = leaves + uint64(1e9/f.rate)
	jitter := math.Abs(f.rng.NormFloat64()) * float64(f.jitter)
	f.arrived = max(f.arrived+1, f.free+f.rtt+uint64(jitter))
	f.flying = append(f.flying, fifoPacket{at: f.b.OnSend(f.now, 1200, f.smoothed, f.rtt), sent: f.now, heard: f.arrived})
	f.sent++
}

// over runs for a while, and returns the share of the bottleneck that was used
// and the longest wait.
func (f *fifo) over(d time.Duration) (share float64, longest time.Duration) {
	f.sent, f.longest = 0, 0
	f.run(d)
	return float64(f.sent) / d.Seconds() / f.rate, time.Duration(f.longest)
}

// TestBackgroundFindsTheBottleneck: without ever having queued more than a pulse
// does, be the path short or long, slow or fast.
func TestBackgroundFindsTheBottleneck(t *testing.T) {
	for _, rtt := range []time.Duration{5, 20, 50, 100, 300} {
		for _, rate := range []float64{100, 500, 2000, 10_000, 100_000} {
			rtt := rtt * time.Millisecond
			f := newFIFO(rate, rtt)
			packet := time.Duration(1e9 / rate)
			// The first packets leave before anything is known of the path.
			f.run(time.Second + 20*rtt)
			f.longest = 0
			share, longest := f.over(10 * time.Second)
			t.Logf("%v at %v packets/s: %.3f of it, waits of %v", rtt, rate, share, longest)
			if share < 0.85 || share > 0.96 {
				t.Errorf("%v at %v packets/s: %.3f of it", rtt, rate, share)
			}
			if most := 2*packet + max(rtt/pulseShare, time.Millisecond); longest > most {
				t.Errorf("%v at %v packets/s: waits of %v, want at most %v", rtt, rate, longest, most)
			}
		}
	}
}

// TestBackgroundFollows: what changes on the path does not stop it, and leaves
// no queue behind.
func TestBackgroundFollows(t *testing.T) {
	tests := []struct {
		name   string
		change func(f *fifo)
		least  float64
		wait   time.Duration
	}{
		{"slower", func(f *fifo) { f.rate = 500 }, 0.8, 5 * time.Millisecond},
		{"faster", func(f *fifo) { f.rate = 8000 }, 0.8, 4 * time.Millisecond},
		{"longer", func(f *fifo) { f.rtt += 40 * msec }, 0.8, 4 * time.Millisecond},
		{"shorter", func(f *fifo) { f.rtt -= 30 * msec }, 0.8, 4 * time.Millisecond},
		{"jitter", func(f *fifo) { f.jitter = 3 * time.Millisecond }, 0.4, 25 * time.Millisecond},
		{"pause", func(f *fifo) { f.now += 2 * backgroundAge }, 0.85, 4 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFIFO(2000, 50*time.Millisecond)
			f.run(5 * time.Second)
			tt.change(f)
			f.run(8 * time.Second)
			share, longest := f.over(20 * time.Second)
			t.Logf("%.3f of the bottleneck, waits of %v", share, longest)
			if share < tt.least || longest > tt.wait {
				t.Errorf("%.3f of the bottleneck, waits of %v", share, longest)
			}
		})
	}
}

// TestBackgroundBeginsGently: the first round trip is not a burst.
func TestBackgroundBeginsGently(t *testing.T) {
	f := newFIFO(500, 20*time.Millisecond)
	if _, longest := f.over(time.Second); longest > 20*time.Millisecond {
		t.Errorf("waits of %v", longest)
	}
}

func TestBackgroundActive(t *testing.T) {
	var b Background
	now := 3600 * 1000 * msec
	for range 100 {
		if b.Active(now) || b.Next(now) != now || b.OnSend(now, 1200, 50*msec, 50*msec) != (Pulse{}) {
			t.Fatal("bulk data alone makes way")
		}
	}
	b.Critical(now)
	b.OnSend(now, 1200, 50*msec, 50*msec)
	if at := b.Next(now); !b.Active(now) || at < now+500_000 || at > now+20*msec {
		t.Errorf("the second packet leaves after %d us", (at-now)/1000)
	}
	if now += backgroundFor; b.Active(now) || b.Next(now) > now {
		t.Error("bulk data makes way for ever")
	}
}

// TestBackgroundCountsRepeats: what is sent again leaves less for the rest.
func TestBackgroundCountsRepeats(t *testing.T) {
	last := func(again bool) uint64 {
		var b Background
		now := 1000 * msec
		for range 100 {
			b.Critical(now)
			if b.OnSend(now, 1200, 50*msec, 50*msec); again {
				b.OnOther(1200)
			}
			now = b.Next(now)
		}
		return now - 1000*msec
	}
	if once, twice := last(false), last(true); twice < once*19/10 || twice > once*21/10 {
		t.Errorf("100 packets take %d ms, with as many repeats %d ms", once/msec, twice/msec)
	}
}

func TestBackgroundDoesNotAllocate(t *testing.T) {
	f := newFIFO(2000, 50*time.Millisecond)
	f.run(time.Second)
	now := f.now
	if n := testing.AllocsPerRun(1000, func() {
		f.b.Critical(now)
		at := f.b.OnSend(now, 1200, 50*msec, 50*msec)
		f.b.OnOther(1200)
		f.b.OnAck(now, at, now-50*msec, 50*msec)
		now = f.b.Next(now)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

// FuzzBackground plays a path that answers as it likes. However it does, bulk
// data goes on, and a pulse is no burst.
func FuzzBackground(f *testing.F) {
	f.Add([]byte{0, 50, 1, 50, 0, 50, 1, 52, 2, 10, 0, 50, 1, 60, 3, 0})
	f.Add([]byte{4, 255, 0, 255, 1, 0, 1, 0, 1, 0, 5, 255, 0, 1, 1, 255, 2, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var b Background
		now := uint64(1)
		var places []Pulse
		var sent []uint64
		for ; len(ops) >= 2; ops = ops[2:] {
			arg := uint64(ops[1])
			b.Critical(now)
			switch ops[0] % 6 {
			case 0:
				if b.Next(now) <= now {
					places, sent = append(places, b.OnSend(now, int(arg)*5, arg*msec, arg*msec/2)), append(sent, now)
				}
			case 1:
				if len(places) > 0 {
					i := int(arg) % len(places)
					b.OnAck(now, places[i], sent[i], now-sent[i])
				}
			case 2:
				now += arg * 100_000
			case 3:
				b.OnOther(1200)
			case 4: // a run of pulses that come back later and later, or earlier
				for i := range arg % 32 {
					now = max(now, b.Next(now))
					at := b.OnSend(now, 1200, 20*msec, 20*msec)
					b.OnAck(now+20*msec, at, now, 20*msec+i*arg*1000)
				}
			case 5: // what never was
				b.OnAck(now, Pulse{uint32(arg) << 24, uint32(arg)}, now-arg, arg<<56)
			}
			if !(b.rate >= 0 && b.rate <= backgroundMost) {
				t.Fatalf("rate %v", b.rate)
			}
			if b.rate == 0 {
				continue
			}
			if wait := b.Next(now); wait > now && wait-now > uint64(4*pulseMost*1e9/backgroundLeast) {
				t.Fatalf("bulk data waits for %d ms", (wait-now)/msec)
			}
		}
	})
}
