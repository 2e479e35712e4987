package congestion

import (
	"math"
	"testing"
)

func driveCubic(t *testing.T, p Params) (*driver, *Cubic) {
	d := drive(t, "cubic", p)
	return d, d.a.(*Cubic)
}

func TestCubicSlowStart(t *testing.T) {
	tests := []struct {
		name string
		do   func(d *driver)
		want int
	}{
		{"doubles", func(d *driver) { d.round(true); d.round(true) }, 4 * InitialWindow},
		{"longer_round_trips", func(d *driver) {
			d.round(true)
			d.roundAt(d.rtt+20*msec, true) // eight samples are taken before growth slows down
		}, 2*InitialWindow + hystartSamples - 1 + (2*InitialWindow-hystartSamples+1)/4},
		{"jitter", func(d *driver) {
			d.round(true)
			d.roundAt(d.rtt+20*msec, true)
			window := d.a.Window()
			d.round(true)
			if got := d.a.Window(); got < 2*window-hystartSamples {
				panic("growth stays slow")
			}
		}, 329},
		{"slightly_longer", func(d *driver) { d.round(true); d.roundAt(d.rtt+5*msec, true) }, 4 * InitialWindow},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, c := driveCubic(t, Params{})
			tt.do(d)
			if got := c.Window(); got < tt.want-8 || got > tt.want {
				t.Errorf("window %d, want %d", got, tt.want)
			}
		})
	}
	t.Run("ends", func(t *testing.T) {
		d, c := driveCubic(t, Params{InitialWindow: 16})
		d.round(true)
		for i := range uint64(8) {
			d.roundAt(d.rtt+20*msec+i*msec, true)
		}
		if !c.found || c.threshold >= MaxWindow {
			t.Errorf("window %d still in slow start", c.Window())
		}
	})
}

// TestCubicFunction compares the window after a loss with the formula of RFC
// 9438 section 4.2, on a path where Reno would be slower.
func TestCubicFunction(t *testing.T) {
	d, c := driveCubic(t, Params{})
	d.rtt = 100 * msec
	for c.Window() < 400 {
		d.round(true)
	}
	most := c.window
	d.lose(1)
	if got, want := c.window, most*cubicBeta; got != want {
		t.Fatalf("window %v after a loss, want %v", got, want)
	}
	d.round(true) // recovery; the epoch begins
	k := math.Cbrt(most * (1 - cubicBeta) / cubicC)
	began := d.now
	for range int(2*k*10) - 2 {
		d.round(true)
		since := float64(d.now-began)/1e9 + float64(d.rtt)/1e9
		want := min(cubicC*math.Pow(since-k, 3)+most, MaxWindow)
		if got := c.window; math.Abs(got-want) > 0.02*want+2 {
			t.Fatalf("window %v after %v s, want %v", got, since, want)
		}
	}
	if c.window < most*1.2 {
		t.Errorf("window %v never passes %v", c.window, most)
	}
}

// TestCubicReno has a path so short that Reno is faster than the cubic
// function: by alpha packets per round trip until the window is back.
func TestCubicReno(t *testing.T) {
	d, c := driveCubic(t, Params{})
	d.rtt = msec
	d.round(true)
	most := c.window
	d.lose(1)
	d.round(true)
	after := c.window
	for range 30 {
		d.round(true)
	}
	if got, want := c.window-after, 30*cubicAlpha; math.Abs(got-want) > 2 {
		t.Errorf("grew by %v packets in 30 round trips, want %v", got, want)
	}
	for c.window < most+1 {
		d.round(true)
	}
	after = c.window
	for range 30 {
		d.round(true)
	}
	if got := c.window - after; math.Abs(got-30) > 2 {
		t.Errorf("grew by %v packets in 30 round trips beyond the old window, want 30", got)
	}
}

func TestCubicAnswers(t *testing.T) {
	tests := []struct {
		name   string
		do     func(d *driver)
		share  float64 // of the window before
		events uint64
	}{
		{"loss", func(d *driver) { d.lose(1) }, cubicBeta, 1},
		{"once_per_flight", func(d *driver) { d.lose(1); d.lose(1) }, cubicBeta, 1},
		{"mark", func(d *driver) { d.a.OnMark(d.now, d.next) }, cubicMarkBeta, 1},
		{"mark_and_loss", func(d *driver) { d.a.OnMark(d.now, d.next); d.lose(1) }, cubicMarkBeta, 1},
		{"undone", func(d *driver) { d.lose(1); d.a.Undo(d.now) }, 1, 0},
		{"losses_of_a_timed_out_flight", func(d *driver) {
			d.a.OnTimeout(d.now, d.next)
			d.lose(1)
		}, float64(MinWindow) / 256, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, c := driveCubic(t, Params{})
			d.round(true)
			d.round(true)
			before := c.window
			tt.do(d)
			if c.window != tt.share*before || c.Events() != tt.events {
				t.Errorf("window %v, %d events, want %v and %d", c.window, c.Events(), tt.share*before, tt.events)
			}
		})
	}
}

func TestCubicFastConvergence(t *testing.T) {
	d, c := driveCubic(t, Params{})
	d.round(true)
	d.lose(1)
	d.round(true)
	before := c.window
	d.lose(1) // below the window of the loss before
	if got, want := c.most, before*(1+cubicBeta)/2; got != want {
		t.Errorf("heads for %v, want %v", got, want)
	}
	d.a.Undo(d.now)
	if c.most != 2*InitialWindow {
		t.Errorf("heads for %v after undo, want %d", c.most, 2*InitialWindow)
	}
}

// TestCubicPause has the application pause in the middle of an epoch: the
// window must not jump to where the cubic function got meanwhile.
func TestCubicPause(t *testing.T) {
	d, c := driveCubic(t, Params{})
	d.round(true)
	d.round(true)
	d.lose(1)
	d.round(true)
	d.round(true)
	before := c.window
	for range 200 {
		d.round(false)
	}
	if c.window != before {
		t.Errorf("window %v grew from %v during the pause", c.window, before)
	}
	d.round(true)
	if c.window > before+8 {
		t.Errorf("window %v after the pause, %v before", c.window, before)
	}
}

func TestCubicRestart(t *testing.T) {
	d, c := driveCubic(t, Params{})
	for range 3 {
		d.round(true)
	}
	before := c.window
	d.a.OnTimeout(d.now, d.next+1<<20) // nothing acknowledged ends the recovery
	for range 3 {
		d.round(true)
	}
	if want := 8 * MinWindow; c.Window() != want {
		t.Errorf("window %d after three round trips, want %d by slow start", c.Window(), want)
	}
	for range 3 {
		d.round(true)
	}
	if want := before * cubicBeta; c.window < want || c.window > want+6 {
		t.Errorf("window %v, want slow start to end at %v", c.window, want)
	}
}
