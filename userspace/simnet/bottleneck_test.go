package simnet

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// through returns a pipe over a bottleneck, and the times at which packets
// came out of it.
func through(n *Network, rate Rate) (*Pipe, *[]uint64) {
	var out []uint64
	p := n.NewPipe(Link{}, func(Packet) { out = append(out, n.Now()) })
	p.Bottleneck = n.NewBottleneck(rate)
	return p, &out
}

// TestRateIsExact: over a busy period nothing is rounded away.
func TestRateIsExact(t *testing.T) {
	const rate, packets = 999_983, 10_000
	n := New(1, 0)
	p, out := through(n, Rate{PerSecond: rate, Overhead: UDPOverhead})
	sum := 0
	var want []uint64
	for i := range packets {
		size := i % 1000
		p.Send(make([]byte, size))
		sum += size + UDPOverhead
		want = append(want, uint64(sum)*1e9/rate)
	}
	n.Run(uint64(time.Hour))
	if !slices.Equal(*out, want) {
		for i := range want {
			if (*out)[i] != want[i] {
				t.Fatalf("packet %d left at %d, want %d", i, (*out)[i], want[i])
			}
		}
	}
}

func TestWaitIsExact(t *testing.T) {
	n := New(1, 0)
	p, out := through(n, Rate{PerSecond: 1e6})
	for i := range 200 {
		n.Run(uint64(i) * 700_000) // 1000 bytes take 1 ms
		before := p.Bottleneck.Wait()
		if want := time.Duration(i) * 300 * time.Microsecond; before != want {
			t.Fatalf("packet %d is told to wait %v, want %v", i, before, want)
		}
		p.Send(make([]byte, 1000))
	}
	n.Run(uint64(time.Second))
	for i, at := range *out {
		if want := uint64(i+1) * 1e6; at != want {
			t.Fatalf("packet %d left at %d, want %d", i, at, want)
		}
	}
}

func TestQueueAndMarkLimits(t *testing.T) {
	tests := []struct {
		name                    string
		rate                    Rate
		ecn                     bool
		dropped, marked, queued int
	}{
		{"no_limit", Rate{PerSecond: 1e6}, true, 0, 0, 100},
		{"packets", Rate{PerSecond: 1e6, Queue: Limit{Packets: 30}}, false, 70, 0, 30},
		{"bytes", Rate{PerSecond: 1e6, Overhead: 10, Queue: Limit{Bytes: 3299}}, false, 71, 0, 29},
		{"both", Rate{PerSecond: 1e6, Queue: Limit{Packets: 30, Bytes: 2000}}, false, 80, 0, 20},
		{"marks", Rate{PerSecond: 1e6, Queue: Limit{Packets: 30}, Mark: Limit{Packets: 12}}, true, 70, 18, 30},
		{"marks_by_bytes", Rate{PerSecond: 1e6, Mark: Limit{Bytes: 9000}}, true, 0, 10, 100},
		{"not_capable", Rate{PerSecond: 1e6, Mark: Limit{Packets: 12}}, false, 0, 0, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := New(1, 0)
			var arrived []bool
			p := n.NewPipe(Link{}, func(k Packet) { arrived = append(arrived, k.Marked) })
			p.Bottleneck, p.ECN = n.NewBottleneck(tt.rate), tt.ecn
			for range 100 {
				p.Send(make([]byte, 100))
			}
			packets, bytes := p.Bottleneck.Queue()
			if p.Dropped != uint64(tt.dropped) || p.Marked != uint64(tt.marked) || packets != tt.queued || bytes != tt.queued*(100+tt.rate.Overhead) {
				t.Errorf("%d dropped, %d marked, %d packets of %d bytes queued", p.Dropped, p.Marked, packets, bytes)
			}
			n.Run(uint64(time.Minute))
			for i, marked := range arrived {
				if want := i >= tt.queued-tt.marked; marked != want {
					t.Errorf("packet %d marked: %v", i, marked)
				}
			}
			if len(arrived) != tt.queued {
				t.Errorf("%d arrived", len(arrived))
			}
			p.Send(nil)
			n.Run(n.Now() + uint64(time.Minute))
			if arrived[len(arrived)-1] {
				t.Error("a packet was marked by an empty queue")
			}
		})
	}
}

func TestRateChanges(t *testing.T) {
	const ms = uint64(time.Millisecond)
	tests := []struct {
		name   string
		change func(b *Bottleneck, n *Network)
		want   []uint64 // ms, of packets that take 100 ms each at first
	}{
		{"none", func(*Bottleneck, *Network) {}, []uint64{100, 200, 300}},
		{"doubled", func(b *Bottleneck, n *Network) {
			n.At(150*ms, func() { b.SetRate(Rate{PerSecond: 20_000}) })
		}, []uint64{100, 175, 225}},
		{"halved_twice", func(b *Bottleneck, n *Network) {
			n.At(50*ms, func() { b.SetRate(Rate{PerSecond: 5_000}) })
			n.At(100*ms, func() { b.SetRate(Rate{PerSecond: 2_500}) })
		}, []uint64{200, 600, 1000}},
		{"stalled", func(b *Bottleneck, n *Network) {
			n.At(150*ms, func() { b.SetRate(Rate{PerSecond: 10_000, Stalled: true}) })
			n.At(450*ms, func() { b.SetRate(Rate{PerSecond: 10_000}) })
		}, []uint64{100, 500, 600}},
		{"lifted", func(b *Bottleneck, n *Network) {
			n.At(150*ms, func() { b.SetRate(Rate{}) })
		}, []uint64{100, 150, 150}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := New(1, 0)
			p, out := through(n, Rate{PerSecond: 10_000})
			tt.change(p.Bottleneck, n)
			for range 3 {
				p.Send(make([]byte, 1000))
			}
			n.Run(uint64(time.Minute))
			for i := range *out {
				(*out)[i] /= ms
			}
			if !slices.Equal(*out, tt.want) {
				t.Errorf("left at %v, want %v", *out, tt.want)
			}
		})
	}
}

func TestNoRateHoldsNothingUp(t *testing.T) {
	n := New(1, 0)
	p, out := through(n, Rate{})
	for i := range 5 {
		n.Run(uint64(i))
		p.Send(nil)
	}
	n.Run(10)
	if want := []uint64{0, 1, 2, 3, 4}; !slices.Equal(*out, want) {
		t.Errorf("left at %v, want %v", *out, want)
	}
}

// TestFlowsShare: packets of several pipes leave in the order in which they
// came, one at a time.
func TestFlowsShare(t *testing.T) {
	n := New(1, 0)
	b := n.NewBottleneck(Rate{PerSecond: 1000, Queue: Limit{Packets: 4}})
	var out []string
	var pipes []*Pipe
	for i := range 3 {
		p := n.NewPipe(Link{}, func(k Packet) { out = append(out, fmt.Sprint(i, "@", n.Now()/1e9)) })
		p.Bottleneck = b
		pipes = append(pipes, p)
	}
	for _, i := range []int{2, 0, 0, 1, 1} {
		pipes[i].Send(make([]byte, 1000))
	}
	n.Run(uint64(time.Minute))
	if want := []string{"2@1", "0@2", "0@3", "1@4"}; !slices.Equal(out, want) {
		t.Errorf("left %v, want %v", out, want)
	}
	if pipes[1].Dropped != 1 {
		t.Errorf("%d dropped", pipes[1].Dropped)
	}
}
