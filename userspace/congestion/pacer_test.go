package congestion

import (
	"math"
	"testing"
	"time"
)

const msec = uint64(time.Millisecond)

// leave sends n packets from now on, each when the pacer says so and the owner,
// who comes late by late, gets to it.
func leave(p *Pacer, now uint64, n int, rate float64, late uint64) uint64 {
	for range n {
		if at := p.Next(now, rate); at > now {
			now = at + late
		}
		p.OnSend(now, rate)
	}
	return now
}

func TestPacerBurst(t *testing.T) {
	tests := []struct {
		name string
		rate float64
		want int
	}{
		{"ten_packets", 1000, 10},
		{"two_milliseconds", 20000, 40},
		{"no_limit", 0, 1000},
		{"not_a_number", math.NaN(), 1000},
		{"next_to_nothing", 1e-9, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p Pacer
			now := 3600 * 1000 * msec
			n := 0
			for ; n < 1000 && p.Next(now, tt.rate) <= now; n++ {
				p.OnSend(now, tt.rate)
			}
			if n != tt.want {
				t.Errorf("burst of %d packets, want %d", n, tt.want)
			}
		})
	}
	t.Run("clock_at_zero", func(t *testing.T) {
		var p Pacer
		if p.Next(0, 1000) != 0 {
			t.Error("the first packet waits")
		}
		p.OnSend(0, 1000)
		if got := p.Next(0, 1000); got != msec {
			t.Errorf("the second packet waits until %d", got)
		}
	})
}

func TestPacerKeepsRate(t *testing.T) {
	for _, late := range []uint64{0, msec} {
		for _, rate := range []float64{100, 1000, 5208, 33333, 1e6} {
			var p Pacer
			start := 1000 * msec
			n := int(rate)
			took := leave(&p, start, n, rate, late) - start
			if want := uint64(1e9); took > want+2*late || took < want-want/90-12*uint64(1e9/rate) {
				t.Errorf("rate %v, owner late by %d: %d packets took %d ns, want about %d", rate, late, n, took, want)
			}
		}
	}
}

func TestPacerPause(t *testing.T) {
	var p Pacer
	const rate = 1000
	now := leave(&p, 1000*msec, 100, rate, 0)
	now += 5000 * msec
	n := 0
	for ; p.Next(now, rate) <= now; n++ {
		p.OnSend(now, rate)
	}
	if n != burstPackets {
		t.Errorf("%d packets at once after a pause, want %d", n, burstPackets)
	}
}

func TestPacerFollowsRate(t *testing.T) {
	var p Pacer
	now := leave(&p, 1000*msec, 100, 10, 0)
	if at := p.Next(now, 1e5); at > now+msec {
		t.Errorf("packet waits %d ns for a rate that no longer counts", at-now)
	}
}
