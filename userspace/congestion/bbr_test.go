package congestion

import (
	"math"
	"testing"
	"time"
)

func driveBBR(t *testing.T, p Params) (*driver, *BBR) {
	d := drive(t, "bbr", p)
	return d, d.a.(*BBR)
}

// TestBBRPhases follows a transfer on a quiet path through all phases.
func TestBBRPhases(t *testing.T) {
	b := link(10, 50*time.Millisecond, 4, 0)
	c := b.transfer(t, "bbr", 0).cc.(*BBR)
	var order []bbrPhase
	var filledAt uint64
	for b.now < uint64(12*time.Second) {
		b.run(time.Millisecond)
		if n := len(order); n == 0 || order[n-1] != c.phase {
			order = append(order, c.phase)
		}
		if c.filled && filledAt == 0 {
			filledAt = b.now
			if got := c.most(); got < 0.95*b.rate || got > 1.05*b.rate {
				t.Errorf("bandwidth %v found, want %v", got, b.rate)
			}
		}
	}
	if filledAt == 0 || filledAt > uint64(time.Second) {
		t.Errorf("path filled at %v", time.Duration(filledAt))
	}
	next := map[bbrPhase][]bbrPhase{
		bbrStartup:  {bbrDrain},
		bbrDrain:    {bbrDown},
		bbrDown:     {bbrCruise, bbrRefill, bbrProbeRTT},
		bbrCruise:   {bbrRefill, bbrProbeRTT},
		bbrRefill:   {bbrUp, bbrProbeRTT},
		bbrUp:       {bbrDown, bbrProbeRTT},
		bbrProbeRTT: {bbrCruise},
	}
	seen := map[bbrPhase]bool{order[0]: true}
	for i, phase := range order[1:] {
		legal := false
		for _, p := range next[order[i]] {
			legal = legal || p == phase
		}
		if !legal {
			t.Errorf("phase %d after %d", phase, order[i])
		}
		seen[phase] = true
	}
	for phase := bbrStartup; phase <= bbrUp; phase++ {
		if !seen[phase] {
			t.Errorf("phase %d never came: %v", phase, order)
		}
	}
	// The shortest round trip is that of the path and one packet.
	if want := uint64(50*time.Millisecond) + uint64(1e9/b.rate); c.shortest < want || c.shortest > want+100 {
		t.Errorf("shortest round trip %v, want %v", time.Duration(c.shortest), time.Duration(want))
	}
}

// TestBBRPacing checks the rate of each phase against its gain.
func TestBBRPacing(t *testing.T) {
	tests := []struct {
		name  string
		phase bbrPhase
		want  float64
	}{
		{"startup", bbrStartup, bbrStartupGain},
		{"drain", bbrDrain, bbrDrainGain},
		{"down", bbrDown, bbrDownGain},
		{"cruise", bbrCruise, bbrMargin},
		{"refill", bbrRefill, bbrMargin},
		{"up", bbrUp, bbrUpGain},
		{"probe_rtt", bbrProbeRTT, bbrMargin},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, c := driveBBR(t, Params{})
			c.filled, c.bandwidth[1], c.phase = true, 1000, tt.phase
			if got := c.PacingRate(); got != 1000*tt.want {
				t.Errorf("rate %v, want %v", got, 1000*tt.want)
			}
		})
	}
	t.Run("makes_up_for_random_loss", func(t *testing.T) {
		_, c := driveBBR(t, Params{})
		c.filled, c.bandwidth[1], c.phase = true, 900, bbrCruise
		c.losses.add(10, 90)
		if got, want := c.PacingRate(), 1000*bbrMargin; math.Abs(got-want) > 1e-6 {
			t.Errorf("rate %v, want %v", got, want)
		}
	})
	t.Run("low_bound", func(t *testing.T) {
		_, c := driveBBR(t, Params{})
		c.filled, c.bandwidth[1], c.bandwidthLow, c.phase = true, 1000, 500, bbrCruise
		if got, want := c.PacingRate(), 500*bbrMargin; got != want {
			t.Errorf("rate %v, want %v", got, want)
		}
	})
}

func TestBBRLoss(t *testing.T) {
	tests := []struct {
		name   string
		lost   int // of a flight of 64
		queue  uint64
		events uint64
	}{
		{"random", 6, 0, 0},
		{"with_a_queue", 10, 20 * msec, 1},
		{"few_with_a_queue", 1, 20 * msec, 0},
		{"most", 60, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, c := driveBBR(t, Params{})
			d.round(false)
			d.roundAt(d.rtt+tt.queue, false)
			d.roundAt(d.rtt+tt.queue, false)
			d.lose(tt.lost)
			d.lose(tt.lost) // of the same flight
			if c.Events() != tt.events || c.filled != (tt.events > 0) {
				t.Errorf("%d events, startup over: %v, want %d", c.Events(), c.filled, tt.events)
			}
		})
	}
}

// TestBBRBounds has a congestion event in each phase.
func TestBBRBounds(t *testing.T) {
	tests := []struct {
		name      string
		phase     bbrPhase
		low, high bool
		then      bbrPhase
	}{
		{"startup", bbrStartup, false, true, bbrStartup},
		{"up", bbrUp, false, true, bbrDown},
		{"refill", bbrRefill, false, true, bbrDown},
		{"down", bbrDown, false, true, bbrDown},
		{"cruise", bbrCruise, true, false, bbrCruise},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, c := driveBBR(t, Params{})
			d.round(true)
			c.phase, c.passed = tt.phase, 0
			before := c.bbrState
			d.a.OnMark(d.now, d.next)
			if c.phase != tt.then {
				t.Errorf("phase %d, want %d", c.phase, tt.then)
			}
			if low := !math.IsInf(c.inflightLow, 1) && !math.IsInf(c.bandwidthLow, 1); low != tt.low {
				t.Errorf("bounds %v, %v", c.inflightLow, c.bandwidthLow)
			}
			if high := !math.IsInf(c.inflightHigh, 1); high != tt.high {
				t.Errorf("bound %v", c.inflightHigh)
			}
			c.Undo(d.now)
			if c.bbrState != before || c.Events() != 0 {
				t.Errorf("%+v after undo, want %+v", c.bbrState, before)
			}
		})
	}
}

// TestBBRProbeRTT has round trips that never get as short as the shortest
// again.
func TestBBRProbeRTT(t *testing.T) {
	d, c := driveBBR(t, Params{})
	for range 10 {
		d.round(true)
	}
	before := c.Window()
	least := before
	d.rtt += msec / 2
	for start := d.now; d.now < start+bbrProbeRTTEvery+3*bbrProbeRTTFor; {
		d.round(true)
		if c.phase == bbrProbeRTT {
			least = min(least, c.Window())
		}
	}
	if least > before/2 {
		t.Errorf("window %d at least, %d before", least, before)
	}
	if c.phase == bbrProbeRTT || c.Window() < before {
		t.Errorf("phase %d, window %d afterwards, want %d", c.phase, c.Window(), before)
	}
	for start := d.now; d.now < start+2*bbrMinRTTAge; {
		d.round(true)
	}
	if c.shortest != d.rtt {
		t.Errorf("shortest round trip %v, want %v", time.Duration(c.shortest), time.Duration(d.rtt))
	}
}

// TestBBRProbeRTTSparesGames has an application that fills nothing: its window
// must not suffer from the look for the shortest round trip.
func TestBBRProbeRTTSparesGames(t *testing.T) {
	d, c := driveBBR(t, Params{})
	d.round(false)
	d.rtt += msec
	for start := d.now; d.now < start+2*bbrProbeRTTEvery; {
		d.now += d.rtt
		d.delivered++
		d.next++
		d.ack = Ack{Now: d.now, Packets: 1, Newest: d.next - 1, RTT: d.rtt, SmoothedRTT: d.rtt, MinRTT: d.rtt,
			Rate: 20, AppLimited: true, Delivered: d.delivered, PriorDelivered: d.delivered - 1}
		c.OnAck(&d.ack)
		if c.Window() < InitialWindow {
			t.Fatalf("window %d in phase %d", c.Window(), c.phase)
		}
	}
}

func TestBBRSeed(t *testing.T) {
	waits := map[uint64]bool{}
	for seed := range uint64(10) {
		_, c := driveBBR(t, Params{Seed: seed})
		_, same := driveBBR(t, Params{Seed: seed})
		c.down(0)
		same.down(0)
		if c.wait != same.wait || c.cycled != same.cycled {
			t.Errorf("seed %d: waits %d and %d", seed, c.wait, same.wait)
		}
		if c.wait < bbrProbeWait || c.wait >= bbrProbeWait+uint64(time.Second) {
			t.Errorf("wait %v", time.Duration(c.wait))
		}
		waits[c.wait] = true
	}
	if len(waits) < 9 {
		t.Errorf("%d different waits for 10 seeds", len(waits))
	}
}
