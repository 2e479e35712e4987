package congestion

import (
	"testing"
	"time"
)

func driveAdaptive(t *testing.T, p Params) (*driver, *Adaptive) {
	d := drive(t, "adaptive", p)
	return d, d.a.(*Adaptive)
}

// queued makes every packet of a round wait for wait.
func (d *driver) queued(wait time.Duration) { d.roundAt(d.rtt+uint64(wait), true) }

func TestAdaptiveGrowth(t *testing.T) {
	tests := []struct {
		name string
		do   func(d *driver)
		want int
	}{
		{"doubles", func(d *driver) { d.round(true) }, 2 * InitialWindow},
		{"doubles_again", func(d *driver) { d.round(true); d.round(true) }, 4 * InitialWindow},
		{"up_to_the_threshold", func(d *driver) { d.round(true); d.round(true); d.round(true) }, MaxWindow / 2},
		{"no_further_than_the_maximum", func(d *driver) {
			for range 200 {
				d.round(true)
			}
		}, MaxWindow},
		{"one_packet_per_round_trip", func(d *driver) {
			d.a.OnMark(d.now, d.next) // 51 packets
			d.round(true)             // recovery
			d.round(true)
			d.round(true)
		}, 53},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, c := driveAdaptive(t, Params{})
			tt.do(d)
			if got := c.Window(); got < tt.want-1 || got > tt.want {
				t.Errorf("window %d, want %d", got, tt.want)
			}
		})
	}
}

func TestAdaptiveLoss(t *testing.T) {
	const long = 60 * time.Millisecond // more than twice what may stand
	tests := []struct {
		name   string
		do     func(d *driver)
		want   float64 // share of the window before
		events uint64
	}{
		{"random", func(d *driver) { d.lose(1) }, 1, 0},
		{"many_at_once", func(d *driver) { d.lose(20) }, 0.5, 1},
		{"once_per_flight", func(d *driver) { d.lose(20); d.lose(20) }, 0.5, 1},
		{"further_loss_in_recovery", func(d *driver) {
			d.lose(20)
			d.round(true)
			d.lose(60)
		}, 0.5 * 0.75, 2},
		{"after_recovery", func(d *driver) {
			d.lose(20)
			d.round(true)
			d.round(true)
			d.lose(20)
		}, 0.25, 2},
		{"mark", func(d *driver) { d.a.OnMark(d.now, d.next) }, 0.8, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, c := driveAdaptive(t, Params{})
			d.round(true)
			d.round(true)
			before := float64(c.Window())
			tt.do(d)
			if got := float64(c.Window()); got > tt.want*before || got < tt.want*before-1 {
				t.Errorf("window %v, want %v", got, tt.want*before)
			}
			if c.Events() != tt.events {
				t.Errorf("%d events, want %d", c.Events(), tt.events)
			}
		})
	}
	t.Run("with_a_queue", func(t *testing.T) {
		d, c := driveAdaptive(t, Params{})
		for range 10 {
			d.round(false)
		}
		for range 3 {
			d.roundAt(d.rtt+uint64(long), false)
		}
		d.lose(1)
		if c.Window() != InitialWindow/2 || c.Events() != 1 {
			t.Errorf("window %d, %d events after a loss with a queue, want %d and one", c.Window(), c.Events(), InitialWindow/2)
		}
	})
}

func TestAdaptiveLossRate(t *testing.T) {
	// One of every so many packets is lost, without a queue.
	tests := []struct {
		name  string
		every int
		falls bool
	}{
		{"one_percent", 100, false},
		{"half_a_percent", 200, false},
		{"four_percent", 25, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, c := driveAdaptive(t, Params{MaxWindow: 128})
			lost, sent := 0, 0
			for range 200 {
				d.round(true)
				sent += c.Window()
				for ; lost*tt.every < sent; lost++ {
					d.lose(1)
				}
			}
			if falls := c.Events() > 0; falls != tt.falls {
				t.Errorf("%d events", c.Events())
			}
			// What does not go away with a smaller window is the path's.
			if c.Window() != 128 {
				t.Errorf("window %d in the end, want all", c.Window())
			}
		})
	}
}

func TestAdaptiveQueue(t *testing.T) {
	tests := []struct {
		name  string
		rtt   time.Duration
		queue time.Duration
		p     Params
		falls bool
	}{
		{"short", 50 * time.Millisecond, 3 * time.Millisecond, Params{}, false},
		{"long", 50 * time.Millisecond, 8 * time.Millisecond, Params{}, true},
		{"long_path", 300 * time.Millisecond, 0, Params{}, false},
		{"long_path_and_queue", 300 * time.Millisecond, 40 * time.Millisecond, Params{}, true},
		{"lower_threshold", 50 * time.Millisecond, 3 * time.Millisecond, Params{RTTThreshold: 2 * time.Millisecond}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, c := driveAdaptive(t, tt.p)
			d.rtt = uint64(tt.rtt)
			d.round(true)
			d.round(true)
			before := c.Window()
			for range 3 {
				d.queued(tt.queue)
			}
			if falls := c.Window() < before; falls != tt.falls {
				t.Errorf("window %d after %d", c.Window(), before)
			}
			if c.Events() != 0 {
				t.Errorf("%d events without a loss", c.Events())
			}
		})
	}
}

func TestAdaptiveRouteChange(t *testing.T) {
	d, c := driveAdaptive(t, Params{})
	for range 4 {
		d.round(true)
	}
	before := c.Window()
	for range 10 {
		d.queued(100 * time.Millisecond) // whatever the window
	}
	if c.Window() < before {
		t.Errorf("window %d on a longer path, want %d or more", c.Window(), before)
	}
}

func TestAdaptiveShortestRoundTripAges(t *testing.T) {
	d, c := driveAdaptive(t, Params{})
	d.round(true)
	d.rtt += 2 * msec // too little for a queue
	for range int(adaptiveMinAge/d.rtt) + 5 {
		d.round(true)
	}
	if c.shortest != d.rtt {
		t.Errorf("shortest round trip %v, want %v", time.Duration(c.shortest), time.Duration(d.rtt))
	}
}

func TestAdaptiveUndo(t *testing.T) {
	d, c := driveAdaptive(t, Params{})
	d.round(true)
	before := c.adaptiveWindow
	d.lose(20)
	if c.window == before.window {
		t.Fatal("window stays")
	}
	c.Undo(d.now)
	if c.adaptiveWindow != before || c.Events() != 0 {
		t.Errorf("%+v and %d events after undo, want %+v", c.adaptiveWindow, c.Events(), before)
	}

	// Losses that changed nothing leave nothing to undo, least of all what
	// earlier ones changed.
	d.lose(20)
	for range 3 {
		d.round(true)
	}
	window := c.window
	d.lose(1)
	c.Undo(d.now)
	if c.window != window || c.Events() != 1 {
		t.Errorf("window %d, %d events, want %d and one", c.window, c.Events(), window)
	}
}
