package reliability

import "testing"

// TestReorderingIsBounded: whatever a path or a peer does to the order of
// packets, losses are found in the end.
func TestReorderingIsBounded(t *testing.T) {
	var r reordering
	r.reset()
	for range 100 {
		r.grow(1 << 40)
	}
	if r.packets != maxThreshold || r.steps != maxDelaySteps {
		t.Errorf("%d packets, %d quarters of a round trip", r.packets, r.steps)
	}
	var rtt RTT
	rtt.Min, rtt.Smoothed = 40*ms, 50*ms
	if got := r.delay(&rtt); got != 50*ms {
		t.Errorf("a delay of %d ms, more than a round trip", got/ms)
	}
	r.reset()
	if got := r.delay(&rtt); got != 10*ms {
		t.Errorf("a delay of %d ms where nothing was reordered", got/ms)
	}
	rtt.Min, rtt.Smoothed = 1000, 1000
	if got := r.delay(&rtt); got != clockGranularity {
		t.Errorf("a delay of %d ns", got)
	}
}

func TestReorderingIsForgotten(t *testing.T) {
	var r reordering
	r.reset()
	r.grow(20)
	calm := func(n int) {
		for range n {
			r.forget()
		}
	}
	calm(reorderingMemory - 1)
	r.grow(20) // begins again
	calm(reorderingMemory - 1)
	if r.packets != 21 || r.steps != 3 {
		t.Fatalf("%d packets, %d steps before the time", r.packets, r.steps)
	}
	calm(1)
	if r.packets != packetThreshold || r.steps != 1 {
		t.Errorf("%d packets, %d steps", r.packets, r.steps)
	}
}

// TestReorderingOutlivesOneFlight: the losses of one flight are one congestion
// event, in however many acknowledgements they are found, and also where a
// timeout began it that was none.
func TestReorderingOutlivesOneFlight(t *testing.T) {
	lossy := func(f *flight) {
		var arrived []uint32
		for n := uint32(1); n < 60; n += 2 {
			arrived = append(arrived, n)
			f.ack(0, arrived...)
		}
	}
	t.Run("losses", func(t *testing.T) {
		f := newFlight(t, 7)
		f.s.reordering.packets = 5
		f.send(60)
		if lossy(f); f.cc.losses < 20 || f.s.reordering.packets != 5 {
			t.Errorf("%d losses, threshold %d", f.cc.losses, f.s.reordering.packets)
		}
	})
	t.Run("timeout_that_was_none", func(t *testing.T) {
		f := newFlight(t, 7)
		f.send(60)
		for f.cc.timeouts == 0 {
			f.again()
			f.now = f.s.Deadline()
			f.s.OnDeadline(f.now)
		}
		f.s.reordering = reordering{packets: 5, steps: 1}
		if lossy(f); f.s.reordering.calm > 1 {
			t.Errorf("counts for %d congestion events", f.s.reordering.calm)
		}
	})
}
