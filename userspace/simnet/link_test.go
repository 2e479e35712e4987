package simnet

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// arrival is what became of the packets of one flow.
type arrival struct {
	number int
	took   time.Duration
	data   []byte
}

// send sends numbered packets of 16 bytes, one each gap, and returns what
// arrived in the order in which it did.
func send(seed uint64, link Link, packets int, gap time.Duration) ([]arrival, *Pipe) {
	n := New(seed, 0)
	var got []arrival
	p := n.NewPipe(link, nil)
	p.receive = func(k Packet) {
		number := int(k.Data[0])<<16 | int(k.Data[1])<<8 | int(k.Data[2])
		got = append(got, arrival{number, time.Duration(n.Now()) - time.Duration(number)*gap, slices.Clone(k.Data)})
	}
	for i := range packets {
		n.Run(uint64(i) * uint64(gap))
		data := make([]byte, 16)
		data[0], data[1], data[2] = byte(i>>16), byte(i>>8), byte(i)
		p.Send(data)
	}
	n.Run(n.Now() + uint64(time.Hour))
	return got, p
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > tolerance {
		t.Errorf("%s: got %g, want %g±%g", what, got, want, tolerance)
	}
}

func TestTroubleHappensAsOftenAsAsked(t *testing.T) {
	const packets = 100_000
	_, p := send(3, Link{Loss: 0.05, Duplicate: 0.03, Corrupt: 0.02}, packets, 1000)
	// Four standard deviations of a binomial distribution.
	check := func(what string, got uint64, of, q float64) {
		t.Helper()
		near(t, what, float64(got)/of, q, 4*math.Sqrt(q*(1-q)/of))
	}
	check("lost", p.Lost, packets, 0.05)
	check("duplicated", p.Duplicated, float64(packets-p.Lost), 0.03)
	check("corrupted", p.Corrupted, float64(p.Delivered), 0.02)
}

func TestBurstsOfGilbertAndElliott(t *testing.T) {
	tests := []struct {
		loss, length float64
	}{{0.01, 1}, {0.01, 4}, {0.05, 10}, {0.2, 3}}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%g_by_%g", tt.loss, tt.length), func(t *testing.T) {
			const packets = 500_000
			chain := Bursts(tt.loss, tt.length)
			near(t, "loss of the chain", chain.Loss(), tt.loss, 1e-12)
			got, p := send(1, Link{Bursts: chain}, packets, 1000)

			bursts, next := 0, 0
			for _, a := range got {
				if a.number != next {
					bursts++
				}
				next = a.number + 1
			}
			// A burst's length is geometric: its standard deviation is at most
			// its mean.
			spread := 4 * tt.length / math.Sqrt(float64(bursts))
			near(t, "length of a burst", float64(p.Lost)/float64(bursts), tt.length, spread)
			near(t, "loss", float64(p.Lost)/packets, tt.loss, tt.loss*6*math.Sqrt(1/float64(bursts)))
		})
	}
	// Both states may lose some.
	chain := GilbertElliott{Worsen: 0.02, Recover: 0.1, Good: 0.01, Bad: 0.3}
	_, p := send(2, Link{Bursts: chain}, 200_000, 1000)
	near(t, "loss in both states", float64(p.Lost)/200_000, chain.Loss(), 0.004)
	near(t, "loss of a chain that stays good", GilbertElliott{Good: 0.1}.Loss(), 0.1, 0)
}

func TestBurstInTime(t *testing.T) {
	_, p := send(4, Link{Loss: 0.01, BurstLoss: 1, BurstTime: 50 * time.Microsecond}, 1000, time.Microsecond)
	if p.Lost < 200 {
		t.Errorf("lost %d of 1000, bursts did not happen", p.Lost)
	}
}

func TestJitterHasItsShape(t *testing.T) {
	const delay, jitter = 100 * time.Millisecond, 10 * time.Millisecond
	const packets = 200_000
	tests := []struct {
		name                   string
		shape                  Shape
		mean, deviation, p999  float64 // of delay - 100 ms, in jitters
		least, most, tolerance float64
	}{
		{"uniform", Uniform, 0.5, math.Sqrt(1.0 / 12), 0.999, 0, 1, 0.01},
		{"normal", Normal, 0, 1, 3.09, -6, 6, 0.1},
		// The variance of shape 3 exists, but its estimate hardly converges.
		{"pareto", Pareto, 0.5, math.NaN(), 9, 0, 1e4, 0.7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := send(5, Link{Delay: delay, Jitter: jitter, Shape: tt.shape}, packets, time.Second)
			var sum, squares float64
			var all []float64
			for _, a := range got {
				x := float64(a.took-delay) / float64(jitter)
				sum, squares, all = sum+x, squares+x*x, append(all, x)
			}
			slices.Sort(all)
			mean := sum / packets
			near(t, "mean", mean, tt.mean, 0.02)
			if !math.IsNaN(tt.deviation) {
				near(t, "standard deviation", math.Sqrt(squares/packets-mean*mean), tt.deviation, 0.01)
			}
			near(t, "99.9th percentile", all[packets*999/1000], tt.p999, tt.tolerance)
			if all[0] < tt.least || all[packets-1] > tt.most {
				t.Errorf("from %g to %g", all[0], all[packets-1])
			}
		})
	}
	got, _ := send(5, Link{Delay: jitter, Jitter: 10 * jitter, Shape: Normal}, 1000, time.Second)
	for _, a := range got {
		if a.took < 0 {
			t.Fatalf("a packet arrived %v before it was sent", -a.took)
		}
	}
}

func TestOrder(t *testing.T) {
	overtaken := func(got []arrival) (n int) {
		highest := -1
		for _, a := range got {
			if a.number < highest {
				n++
			}
			highest = max(highest, a.number)
		}
		return n
	}
	link := Link{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond}
	got, _ := send(6, link, 10_000, time.Millisecond)
	if n := overtaken(got); n < 5000 {
		t.Errorf("jitter reordered only %d packets", n)
	}
	for _, shape := range []Shape{Uniform, Normal, Pareto} {
		link := Link{
			Delay: link.Delay, Jitter: link.Jitter, Shape: shape, InOrder: true,
			Reorder: 0.1, ReorderDelay: 30 * time.Millisecond, Duplicate: 0.1,
		}
		got, _ := send(6, link, 10_000, time.Millisecond)
		if n := overtaken(got); n != 0 {
			t.Errorf("shape %d: %d packets overtaken in spite of InOrder", shape, n)
		}
		if len(got) < 10_900 {
			t.Errorf("shape %d: %d packets arrived", shape, len(got))
		}
	}
	// Without jitter, those that are held back are overtaken and no others.
	got, _ = send(7, Link{Delay: 5, Reorder: 0.1, ReorderDelay: 1500 * time.Microsecond}, 50_000, time.Millisecond)
	near(t, "share reordered", float64(overtaken(got))/50_000, 0.09, 0.005) // not if the next one is held back too
}

func TestCorruptionReachesEveryBit(t *testing.T) {
	got, p := send(8, Link{Corrupt: 1}, 20_000, time.Microsecond)
	if p.Corrupted != 20_000 {
		t.Errorf("%d packets corrupted", p.Corrupted)
	}
	var seen [16]byte
	for _, a := range got {
		changed := 0
		for i, b := range a.data[3:] { // behind the number
			seen[3+i] |= b
			if b != 0 {
				changed++
			}
		}
		if changed > 1 {
			t.Fatalf("%d bytes of a packet changed", changed)
		}
	}
	for i, bits := range seen[3:] {
		if bits != 0xff {
			t.Errorf("byte %d: bits %08b were changed", 3+i, bits)
		}
	}
}

// TestPipesDoNotDisturbEachOther: what one pipe loses does not depend on what
// is sent through another.
func TestPipesDoNotDisturbEachOther(t *testing.T) {
	lost := func(other bool) (out []bool) {
		n := New(9, 0)
		a, b := n.NewPipe(Link{Loss: 0.5}, func(Packet) {}), n.NewPipe(Link{Loss: 0.5}, func(Packet) {})
		for range 100 {
			if other {
				b.Send(nil)
			}
			before := a.Lost
			a.Send(nil)
			out = append(out, a.Lost != before)
		}
		if slices.Equal(out, make([]bool, 100)) {
			t.Error("nothing was lost")
		}
		return out
	}
	if !slices.Equal(lost(false), lost(true)) {
		t.Error("the traffic of one pipe changed what another lost")
	}
}

func TestNoPacketIsForgotten(t *testing.T) {
	for seed := range uint64(50) {
		n := New(seed, 0)
		rng := n.Rand()
		b := n.NewBottleneck(Rate{PerSecond: 1 + rng.Uint64N(1e6), Overhead: rng.IntN(50), Queue: Limit{Packets: rng.IntN(20)}})
		var pipes []*Pipe
		delivered := map[*Pipe]uint64{}
		for range 3 {
			var p *Pipe
			p = n.NewPipe(Link{
				Delay: time.Millisecond, Jitter: time.Duration(rng.IntN(1e7)), Shape: Shape(rng.IntN(3)), InOrder: rng.IntN(2) == 0,
				Loss: rng.Float64() / 4, Bursts: Bursts(rng.Float64()/4, 3), Duplicate: rng.Float64(),
				Corrupt: rng.Float64(), Reorder: rng.Float64(), ReorderDelay: time.Millisecond,
			}, func(Packet) { delivered[p]++ })
			p.Bottleneck = b
			pipes = append(pipes, p)
		}
		check := func() {
			t.Helper()
			for i, p := range pipes {
				if p.Sent+p.Duplicated != p.Dropped+p.Lost+p.Delivered+uint64(p.InFlight()) || p.Delivered != delivered[p] {
					t.Fatalf("seed %d, pipe %d: %d in flight, %d arrived, %+v", seed, i, p.InFlight(), delivered[p], p)
				}
			}
		}
		for range 1000 {
			pipes[rng.IntN(3)].Send(make([]byte, rng.IntN(1000)))
			n.Run(n.Now() + rng.Uint64N(2e6))
			check()
		}
		n.Run(n.Now() + uint64(time.Hour))
		check()
		for _, p := range pipes {
			if p.InFlight() != 0 {
				t.Fatalf("seed %d: %d still in flight", seed, p.InFlight())
			}
		}
		if packets, bytes := b.Queue(); packets != 0 || bytes != 0 {
			t.Fatalf("seed %d: the bottleneck holds %d packets, %d bytes", seed, packets, bytes)
		}
	}
}
