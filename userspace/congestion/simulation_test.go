package congestion

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const packetBits = 8 * 1200

// packets returns how many packets of 1200 bytes a link carries per second.
func packets(mbit float64) float64 { return mbit * 1e6 / packetBits }

// measured is what flows made of a bottleneck.
type measured struct {
	share    float64 // of the rate, delivered
	fairness float64
	lost     float64 // share of what was sent
	median   time.Duration
	high     time.Duration // 99th percentile of the queue
}

// measure lets the flows of b run for warm, then for d, and looks at the
// latter.
func measure(b *bottleneck, warm, d time.Duration) measured {
	b.run(warm)
	before := make([]flow, len(b.flows))
	for i, f := range b.flows {
		before[i] = *f
	}
	b.delays = nil
	b.run(d)
	var m measured
	var got []float64
	var sum, lost, sent float64
	for i, f := range b.flows {
		n := float64(f.delivered - before[i].delivered)
		got = append(got, n)
		sum += n
		lost += float64(f.lost - before[i].lost)
		sent += float64(f.sent - before[i].sent)
	}
	slices.Sort(b.delays)
	m.share = sum / (b.rate * d.Seconds())
	m.fairness = jain(got)
	m.lost = lost / max(sent, 1)
	if n := len(b.delays); n > 0 {
		m.median, m.high = time.Duration(b.delays[n/2]), time.Duration(b.delays[n*99/100])
	}
	return m
}

// link returns a bottleneck whose queue is so many times what its path holds.
func link(mbit float64, rtt time.Duration, queue, loss float64) *bottleneck {
	rate := packets(mbit)
	return &bottleneck{rate: rate, rtt: rtt, loss: loss, queue: int(max(queue*bdp(rate, rtt), 4))}
}

func (b *bottleneck) transfer(t testing.TB, name string, start time.Duration) *flow {
	f := &flow{cc: algorithm(t, name, Params{Seed: uint64(len(b.flows))}), start: start}
	b.flows = append(b.flows, f)
	return f
}

// ms prints a duration in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1e3) }

// tables reports whether whole tables are wanted, which take their time.
func tables() bool { return testing.Verbose() && !testing.Short() }

// some returns all of xs where a table of them is to be printed, every other
// one elsewhere.
func some[T any](xs []T) []T {
	if tables() {
		return xs
	}
	var out []T
	for i := 0; i < len(xs); i += 2 {
		out = append(out, xs[i])
	}
	return out
}

func TestShare(t *testing.T) {
	losses := []float64{0, 0.001, 0.01, 0.02, 0.05, 0.1}
	// The least share of the rate by loss, on paths that the window can fill.
	least := map[string][]float64{
		"adaptive": {0.70, 0.70, 0.65, 0.60, 0.35, 0.35},
		"cubic":    {0.70, 0, 0, 0, 0, 0},
		"bbr":      {0.90, 0.90, 0.90, 0.85, 0.80, 0.70},
	}
	each(t, func(t *testing.T, name string) {
		text := fmt.Sprintf("%-8s %5s %5s  %s   at no loss: queue p50, p99 ms, lost %%\n", "Mbit/s", "rtt", "queue", "share at 0, 0.1, 1, 2, 5, 10 % of loss")
		for _, mbit := range []float64{10, 50} {
			for _, rtt := range some([]time.Duration{5, 20, 50, 100, 300}) {
				rtt *= time.Millisecond
				for _, queue := range some([]float64{0.25, 1, 4}) {
					line := fmt.Sprintf("%-8v %5s %5v ", mbit, ms(rtt), queue)
					var clean measured
					for i, loss := range losses {
						if !tables() && i%2 == 1 {
							continue
						}
						b := link(mbit, rtt, queue, loss)
						b.transfer(t, name, 0)
						m := measure(b, 0, 10*time.Second)
						if i == 0 {
							clean = m
						}
						line += fmt.Sprintf(" %5.1f", 100*m.share)
						fits := bdp(b.rate, rtt)*4/3 < MaxWindow && rtt <= 100*time.Millisecond
						if fits && m.share < least[name][i] {
							t.Errorf("%v Mbit/s, %v, queue of %v: share %.2f at loss %v, want %v or more", mbit, rtt, queue, m.share, loss, least[name][i])
						}
					}
					text += fmt.Sprintf("%s   %6s %6s %5.2f\n", line, ms(clean.median), ms(clean.high), 100*clean.lost)
				}
			}
		}
		t.Log("\n" + text)
	})
}

func TestFairness(t *testing.T) {
	// Cubic takes minutes to converge where the queue is long, and bbr where
	// the round trip is.
	least := func(name string, rtt time.Duration) float64 {
		switch {
		case name == "cubic", name == "bbr" && rtt > 50*time.Millisecond:
			return 0.7
		}
		return 0.9
	}
	each(t, func(t *testing.T, name string) {
		text := fmt.Sprintf("%-6s %5s %5s %5s   %s\n", "flows", "rtt", "queue", "loss", "fairness, share, queue p50, p99 ms, lost %")
		for _, flows := range some([]int{8, 2}) {
			for _, rtt := range some([]time.Duration{20, 50, 100}) {
				rtt *= time.Millisecond
				for _, queue := range some([]float64{0.25, 1, 4}) {
					for _, loss := range some([]float64{0, 0.01}) {
						b := link(50, rtt, queue, loss)
						for i := range flows {
							b.transfer(t, name, time.Duration(i)*time.Second)
						}
						m := measure(b, 15*time.Second, 20*time.Second)
						text += fmt.Sprintf("%-6d %5s %5v %5v   %.3f %.3f %6s %6s %5.2f\n", flows, ms(rtt), queue, loss, m.fairness, m.share, ms(m.median), ms(m.high), 100*m.lost)
						if m.fairness < least(name, rtt) {
							t.Errorf("%d flows, %v, queue of %v, loss %v: fairness %.3f", flows, rtt, queue, loss, m.fairness)
						}
					}
				}
			}
		}
		t.Log("\n" + text)
	})
}

// shareAfter logs what share of the link f gets in each of so many half seconds, and
// returns the last.
func shareAfter(t *testing.T, b *bottleneck, f *flow, halves int, rtt time.Duration) (share float64) {
	t.Helper()
	text := ""
	for range halves {
		before := f.delivered
		b.run(500 * time.Millisecond)
		share = float64(f.delivered-before) / b.rate * 2
		text += fmt.Sprintf(" %3.0f", 100*share)
	}
	t.Logf("rtt %s ms: share per half second after it:%s", ms(rtt), text)
	return share
}

// TestOutage has nothing get through for a second.
func TestOutage(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		for _, rtt := range []time.Duration{20, 50, 150} {
			rtt *= time.Millisecond
			b := link(50, rtt, 1, 0)
			f := b.transfer(t, name, 0)
			b.outage = [2]time.Duration{5 * time.Second, 6 * time.Second}
			b.run(6 * time.Second)
			share := shareAfter(t, b, f, 10, rtt)
			if share < 0.7 {
				t.Errorf("rtt %v: share %.2f after five seconds", rtt, share)
			}
		}
	})
}

// TestReroute makes the round trip longer by 100 ms.
func TestReroute(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		for _, rtt := range []time.Duration{20, 50} {
			rtt *= time.Millisecond
			b := link(50, rtt, 1, 0)
			f := b.transfer(t, name, 0)
			b.reroute, b.detour = 5*time.Second, 100*time.Millisecond
			b.run(5 * time.Second)
			share := shareAfter(t, b, f, 24, rtt)
			// bbr believes in the shorter round trip for ten seconds.
			if share < 0.4 {
				t.Errorf("rtt %v: share %.2f after twelve seconds", rtt, share)
			}
		}
	})
}

// TestJitter adds up to 5 ms of it and has acknowledgements looked at once per
// millisecond.
func TestJitter(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		b := link(50, 50*time.Millisecond, 1, 0)
		b.jitter, b.pass = 5*time.Millisecond, time.Millisecond
		b.transfer(t, name, 0)
		m := measure(b, 2*time.Second, 10*time.Second)
		t.Logf("share %.2f", m.share)
		if m.share < 0.6 {
			t.Errorf("share %.2f", m.share)
		}
	})
}

// TestPasses has acknowledgements looked at once per millisecond on paths that
// are not much longer.
func TestPasses(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		for _, rtt := range []time.Duration{200 * time.Microsecond, 2 * time.Millisecond, 10 * time.Millisecond} {
			b := link(100, rtt, 1, 0)
			b.queue, b.pass = 1000, time.Millisecond
			b.transfer(t, name, 0)
			m := measure(b, 2*time.Second, 4*time.Second)
			t.Logf("rtt %v: share %.2f", rtt, m.share)
			if m.share < 0.85 {
				t.Errorf("rtt %v: share %.2f", rtt, m.share)
			}
		}
	})
}

// TestAgainstCubic has random loss and no queue: what the adaptive algorithm
// exists for.
func TestAgainstCubic(t *testing.T) {
	for _, mbit := range []float64{10, 50} {
		var share [2]float64
		for i, name := range []string{"adaptive", "cubic"} {
			b := link(mbit, 50*time.Millisecond, 1, 0.01)
			b.transfer(t, name, 0)
			share[i] = measure(b, 2*time.Second, 10*time.Second).share
		}
		if share[0] < 2*share[1] {
			t.Errorf("%v Mbit/s: share %.2f, cubic has %.2f", mbit, share[0], share[1])
		}
	}
}

// TestBesideTransfer has messages of a game share the bottleneck with
// a transfer of 1 MB.
func TestBesideTransfer(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		text := fmt.Sprintf("%-6s %5s   %s\n", "Mbit/s", "rtt", "transfer ms, queue that messages meet: p50, p99 in % of the round trip")
		for _, mbit := range []float64{10, 50, 200} {
			for _, rtt := range []time.Duration{20, 50, 100} {
				rtt *= time.Millisecond
				b := link(mbit, rtt, 4, 0)
				game := b.transfer(t, name, 0)
				game.every = 5 * time.Millisecond
				bulk := b.transfer(t, name, time.Second)
				bulk.total = 874
				b.run(time.Second)
				game.delays = nil
				for bulk.done == 0 && b.now < uint64(time.Minute) {
					b.run(5 * time.Millisecond)
				}
				slices.Sort(game.delays)
				n := len(game.delays)
				median := time.Duration(game.delays[n/2])
				high := time.Duration(game.delays[n*99/100])
				text += fmt.Sprintf("%-6v %5s   %6.0f %6.1f %6.1f\n", mbit, ms(rtt), float64(bulk.done)/1e6-1000,
					100*float64(median)/float64(rtt), 100*float64(high)/float64(rtt))
				if name == "adaptive" && median > rtt/4 {
					t.Errorf("%v Mbit/s, %v: messages wait %v", mbit, rtt, median)
				}
				if bulk.done == 0 {
					t.Errorf("%v Mbit/s, %v: no end", mbit, rtt)
				}
			}
		}
		t.Log("\n" + text)
	})
}
