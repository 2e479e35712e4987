package simnet

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReadTrace(t *testing.T) {
	got, err := ReadTrace(strings.NewReader("# a train\n\n0 8000 20 0\n100.5\t0 20 0.5 # tunnel\n 2000 800 120 100\n"))
	want := []Step{
		{At: 0, Rate: 1_000_000, Delay: 20 * time.Millisecond},
		{At: 100500 * time.Microsecond, Rate: 0, Delay: 20 * time.Millisecond, Loss: 0.005},
		{At: 2 * time.Second, Rate: 100_000, Delay: 120 * time.Millisecond, Loss: 1},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestReadTraceRefuses(t *testing.T) {
	tests := []struct{ name, text string }{
		{"too_few", "0 1 2"},
		{"too_many", "0 1 2 3 4"},
		{"no_number", "0 fast 2 3"},
		{"negative", "0 -1 2 3"},
		{"not_a_number", "NaN 1 2 3"},
		{"infinite", "0 Inf 2 3"},
		{"loss", "0 1 2 100.1"},
		{"time_stands", "5 1 2 3\n5 1 2 3"},
		{"time_returns", "5 1 2 3\n4 1 2 3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ReadTrace(strings.NewReader(tt.text)); err == nil {
				t.Errorf("read %v", got)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	trace := []Step{
		{At: 10, Rate: 1e9, Delay: 1},
		{At: 20, Rate: 0, Delay: 2, Loss: 1},
		{At: 50, Rate: 2e9, Delay: 3},
	}
	tests := []struct {
		name   string
		repeat bool
		want   []time.Duration // delay at 105, 115, 125, 155, 165 ...
	}{
		{"once", false, []time.Duration{9, 1, 2, 3, 3, 3, 3}},
		{"repeated", true, []time.Duration{9, 1, 2, 1, 2, 1, 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := New(1, 100)
			p := n.NewPipe(Link{Delay: 9}, func(Packet) {})
			p.Bottleneck = n.NewBottleneck(Rate{PerSecond: 5, Overhead: 7})
			p.Follow(trace, tt.repeat)
			var got []time.Duration
			for _, at := range []uint64{105, 115, 125, 155, 165, 195, 205} {
				n.Run(at)
				got = append(got, p.Link.Delay)
				if rate := p.Bottleneck.Rate(); rate.Overhead != 7 || rate.Stalled != (p.Link.Delay == 2) || rate.Stalled != (p.Link.Loss == 1) {
					t.Errorf("at %d: %+v, %+v", at, rate, p.Link)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("delays %v, want %v", got, tt.want)
			}
		})
	}
	n := New(1, 0)
	p := n.NewPipe(Link{Delay: 9}, func(Packet) {})
	timer := p.Follow(trace, true)
	n.Run(15)
	timer.Stop()
	n.Run(1000)
	if p.Link.Delay != 1 {
		t.Errorf("delay %v after Stop", p.Link.Delay)
	}
}

func TestRecorder(t *testing.T) {
	n := New(1, 5e9)
	p := n.NewPipe(Link{Delay: 2 * time.Millisecond}, func(Packet) {})
	p.Recorder, p.ECN = new(Recorder), true
	p.Bottleneck = n.NewBottleneck(Rate{PerSecond: 1e5, Overhead: 42, Queue: Limit{Packets: 2}, Mark: Limit{Packets: 1}})
	for range 3 {
		p.Send(make([]byte, 58))
	}
	n.Run(5_001_500_000)
	p.Link.Loss = 1
	n.Run(6e9)
	p.Link.Loss, p.Link.Duplicate = 0, 1
	p.Send(nil)
	n.Run(7e9)
	var csv bytes.Buffer
	if err := p.Recorder.WriteCSV(&csv, 5e9); err != nil {
		t.Fatal(err)
	}
	const want = `time_s,event,bytes,delay_ms,queue_packets,queue_bytes,marked
0.000000000,sent,58,0.000000,0,0,false
0.000000000,sent,58,0.000000,1,100,false
0.000000000,sent,58,0.000000,2,200,false
0.000000000,dropped,58,0.000000,2,200,false
0.002000000,lost,58,2.000000,0,0,true
0.003000000,delivered,58,3.000000,0,0,false
1.000000000,sent,0,0.000000,0,0,false
1.000420000,duplicated,0,0.420000,0,0,false
1.002420000,delivered,0,2.420000,0,0,false
1.002420000,delivered,0,2.420000,0,0,false
`
	if csv.String() != want {
		t.Errorf("got\n%swant\n%s", csv.String(), want)
	}
}

// TestSameSeedSameTrace, to the nanosecond, and another for another seed.
func TestSameSeedSameTrace(t *testing.T) {
	run := func(seed uint64) uint64 {
		n := New(seed, 0)
		p := game(n)
		p.Recorder, p.ECN = new(Recorder), true
		p.Follow([]Step{{Rate: 1e5}, {At: time.Second, Delay: time.Second}, {At: 2 * time.Second, Rate: 1e4, Loss: 0.2}, {At: 10 * time.Second}}, true)
		n.Run(uint64(time.Minute))
		h := fnv.New64a()
		for _, e := range p.Recorder.Events {
			fmt.Fprintln(h, e)
		}
		if len(p.Recorder.Events) < 2000 {
			t.Fatalf("%d events", len(p.Recorder.Events))
		}
		return h.Sum64()
	}
	first, again, other := run(1), run(1), run(2)
	if first != again {
		t.Error("the same seed gave another trace")
	}
	if first == other {
		t.Error("another seed gave the same trace")
	}
}
