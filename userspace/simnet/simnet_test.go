package simnet

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// trace sends numbered packets and returns what arrived when.
func trace(seed uint64, link Link, packets int) (string, *Pipe) {
	n := New(seed, 1000)
	var out bytes.Buffer
	p := n.NewPipe(link, func(k Packet) { fmt.Fprintf(&out, "%d:%x ", n.Now(), k.Data) })
	for i := range packets {
		n.At(1000+uint64(i)*1000, func() { p.Send([]byte{byte(i >> 8), byte(i)}) })
	}
	n.Run(uint64(time.Minute))
	return out.String(), p
}

func TestPerfectLink(t *testing.T) {
	got, p := trace(1, Link{Delay: 5}, 3)
	if want := "1005:0000 2005:0001 3005:0002 "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if p.Sent != 3 || p.Delivered != 3 || p.InFlight() != 0 {
		t.Errorf("%+v", p)
	}
}

func TestSeedRepeats(t *testing.T) {
	link := Link{
		Delay: time.Microsecond, Jitter: 10 * time.Microsecond,
		Loss: 0.2, Duplicate: 0.2, Corrupt: 0.2, Reorder: 0.2, ReorderDelay: time.Millisecond,
	}
	first, _ := trace(7, link, 500)
	again, _ := trace(7, link, 500)
	other, _ := trace(8, link, 500)
	if first != again {
		t.Error("the same seed gave another result")
	}
	if first == other {
		t.Error("another seed gave the same result")
	}
}

func TestStepSetsTheClockToTheEnd(t *testing.T) {
	n := New(1, 10)
	ran := false
	n.At(30, func() { ran = true })
	if n.Step(20) || n.Now() != 20 || ran {
		t.Errorf("now %d, ran %v", n.Now(), ran)
	}
	if !n.Step(30) || n.Now() != 30 || !ran {
		t.Errorf("now %d, ran %v", n.Now(), ran)
	}
}

// TestTimersAgainstModel sets, moves and stops timers at random and compares
// what fires with a list that is searched from end to end.
func TestTimersAgainstModel(t *testing.T) {
	n := New(1, 0)
	rng := n.Rand()
	type setting struct{ at, order uint64 }
	model := map[int]setting{}
	var timers []*Timer
	fired := -1
	for i := range 50 {
		timers = append(timers, n.NewTimer(func() { fired = i }))
	}
	for order := range uint64(20000) {
		switch i := rng.IntN(len(timers)); rng.IntN(4) {
		case 0:
			timers[i].Stop()
			delete(model, i)
		case 1:
			want, first := -1, setting{at: Never}
			for i, s := range model {
				if s.at < first.at || s.at == first.at && s.order < first.order {
					want, first = i, s
				}
			}
			if n.Next() != first.at {
				t.Fatalf("next at %d, want %d", n.Next(), first.at)
			}
			fired = -1
			if want >= 0 {
				n.Step(first.at)
			}
			if fired != want {
				t.Fatalf("timer %d fired, want %d", fired, want)
			}
			delete(model, want)
		default:
			at := n.Now() + rng.Uint64N(100)
			timers[i].Set(at)
			if timers[i].When() != at {
				t.Fatalf("timer set for %d fires at %d", at, timers[i].When())
			}
			model[i] = setting{at, order}
		}
	}
	for i, timer := range timers {
		if _, set := model[i]; set != (timer.When() != Never) {
			t.Errorf("timer %d is set: %v", i, !set)
		}
	}
}

// game is a path such as a player has, and a flow of 20 packets/s over it.
func game(n *Network) *Pipe {
	p := n.NewPipe(Link{
		Delay: 25 * time.Millisecond, Jitter: 5 * time.Millisecond, Shape: Normal, Loss: 0.005,
		Bursts: Bursts(0.01, 3), Duplicate: 0.001, Corrupt: 0.001, Reorder: 0.001, ReorderDelay: 10 * time.Millisecond,
	}, func(Packet) {})
	p.Bottleneck = n.NewBottleneck(Rate{PerSecond: 250_000, Overhead: UDPOverhead, Queue: Limit{Bytes: 64 << 10}})
	payload := make([]byte, 100)
	var tick func()
	tick = func() {
		p.Send(payload)
		n.At(n.Now()+uint64(50*time.Millisecond), tick)
	}
	tick()
	return p
}

func TestSteadyTrafficAllocatesNothing(t *testing.T) {
	n := New(1, 0)
	p := game(n)
	n.Run(uint64(10 * time.Minute))
	if allocs := testing.AllocsPerRun(10, func() { n.Run(n.Now() + uint64(time.Minute)) }); allocs != 0 {
		t.Errorf("%g allocations per minute of traffic", allocs)
	}
	if p.Delivered < 20*60*19 {
		t.Errorf("only %d packets arrived", p.Delivered)
	}
}

func BenchmarkThinFlow(b *testing.B) {
	n := New(1, 0)
	p := game(n)
	b.ReportAllocs()
	for b.Loop() {
		n.Run(n.Now() + uint64(time.Second))
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "virtual-s/s")
	b.ReportMetric(float64(p.Sent)/b.Elapsed().Seconds(), "packets/s")
}
