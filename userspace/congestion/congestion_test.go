package congestion

import (
	"math"
	"strings"
	"testing"
	"time"
)

func algorithm(t testing.TB, name string, p Params) Controller {
	t.Helper()
	a, err := New(name, p)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// each runs test for every algorithm.
func each(t *testing.T, test func(t *testing.T, name string)) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

func TestNew(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		a := algorithm(t, name, Params{})
		if a.Name() != name || a.Window() != InitialWindow || a.Events() != 0 || a.PacingRate() != 0 {
			t.Errorf("%s with window %d, %d events, rate %v", a.Name(), a.Window(), a.Events(), a.PacingRate())
		}
	})
	if a := algorithm(t, "", Params{}); a.Name() != Names()[0] {
		t.Errorf("default is %s", a.Name())
	}
	if _, err := New("reno", Params{}); err == nil || !strings.Contains(err.Error(), `"reno"`) {
		t.Errorf("unknown name: %v", err)
	}
}

func TestParams(t *testing.T) {
	tests := []struct {
		name string
		p    Params
		want []string // in the error, in this order; none for a valid p
	}{
		{"defaults", Params{}, nil},
		{"low_maximum", Params{MaxWindow: 4}, nil},
		{"high_minimum", Params{MinWindow: 100}, nil},
		{"maximum_beyond_protocol", Params{MaxWindow: 1025}, []string{"max_window is 1025", "4 to 1024"}},
		{"minimum_too_low", Params{MinWindow: 3}, []string{"min_window is 3", "4 packets to max_window, 1024"}},
		{"minimum_over_maximum", Params{MinWindow: 20, MaxWindow: 10}, []string{"min_window is 20", "max_window, 10"}},
		{"initial_under_minimum", Params{InitialWindow: 7}, []string{"initial_window is 7", "min_window, 8, to max_window, 1024"}},
		{"threshold_too_short", Params{RTTThreshold: time.Microsecond}, []string{"rtt_threshold is 1µs", "1ms to 10s"}},
		{"loss_over_half", Params{LossThreshold: 0.6}, []string{"loss_threshold is 0.6", "0.5"}},
		{"loss_not_a_number", Params{LossThreshold: math.NaN()}, []string{"loss_threshold is NaN"}},
		{"all", Params{InitialWindow: -1, MinWindow: -1, MaxWindow: -1, RTTThreshold: -1, LossThreshold: -1},
			[]string{"max_window", "min_window", "rtt_threshold", "loss_threshold"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.p.Validate()
			if (err == nil) != (tt.want == nil) {
				t.Fatalf("error %v", err)
			}
			text := ""
			if err != nil {
				text = err.Error()
			}
			for _, want := range tt.want {
				i := strings.Index(text, want)
				if i < 0 {
					t.Fatalf("%q lacks %q", text, want)
				}
				text = text[i:]
			}
			if _, newErr := New("", tt.p); (newErr == nil) != (err == nil) {
				t.Errorf("New says %v", newErr)
			}
		})
	}
}

// driver feeds an algorithm a path without queue: every packet takes rtt.
type driver struct {
	a         Controller
	now, rtt  uint64
	next      uint32 // sequence
	delivered uint64
	ack       Ack
	loss      Loss
}

func drive(t testing.TB, name string, p Params) *driver {
	return &driver{a: algorithm(t, name, p), now: 1e9, rtt: 50 * msec, next: math.MaxUint32 - 100}
}

// round lets a window of packets leave and come back one by one.
func (d *driver) round(limited bool) { d.roundAt(d.rtt, limited) }

func (d *driver) roundAt(rtt uint64, limited bool) {
	n := d.a.Window()
	prior := d.delivered
	for i := range n {
		d.a.OnSend(d.now, i)
	}
	start := d.next
	d.next += uint32(n)
	d.now += rtt
	for i := range n {
		d.delivered++
		d.ack = Ack{
			Now: d.now, Packets: 1, Newest: start + uint32(i), InFlight: n - 1 - i, Limited: limited,
			RTT: rtt, SmoothedRTT: rtt, MinRTT: d.rtt,
			Rate: float64(n) * 1e9 / float64(rtt), AppLimited: !limited,
			Delivered: d.delivered, PriorDelivered: prior,
		}
		d.a.OnAck(&d.ack)
	}
}

// lose reports n packets of the newest flight lost.
func (d *driver) lose(n int) {
	d.loss = Loss{Now: d.now, Packets: n, Newest: d.next - 1, Next: d.next}
	d.a.OnLoss(&d.loss)
}

func TestApplicationLimited(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		d := drive(t, name, Params{})
		for range 20 {
			d.round(false)
		}
		if got := d.a.Window(); got != InitialWindow {
			t.Errorf("window %d after rounds that the application did not fill, want %d", got, InitialWindow)
		}
	})
}

func TestMarksOfOneFlight(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		d := drive(t, name, Params{})
		d.round(true)
		d.round(true)
		d.a.OnMark(d.now, d.next)
		window := d.a.Window()
		d.a.OnMark(d.now, d.next)
		if got := d.a.Window(); d.a.Events() != 1 || got != window {
			t.Errorf("%d events, window %d after %d, want one event", d.a.Events(), got, window)
		}
		d.round(true)
		d.round(true)
		d.a.OnMark(d.now, d.next)
		if d.a.Events() != 2 {
			t.Errorf("%d events, want another for the next flight", d.a.Events())
		}
	})
}

// TestSequenceWraps has a congestion event right before or after the sequence
// wraps, and an acknowledgement from beyond that.
func TestSequenceWraps(t *testing.T) {
	tests := []struct {
		name   string
		next   uint32 // at the event
		newest uint32
		events uint64 // after another mark
	}{
		{"newer", math.MaxUint32 - 10, 5, 2},
		{"older", 5, math.MaxUint32 - 10, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, name string) {
				d := drive(t, name, Params{})
				d.round(true)
				d.a.OnMark(d.now, tt.next)
				if int32(tt.newest-tt.next) < 0 {
					d.loss = Loss{Now: d.now, Packets: 60, Newest: tt.newest, Next: tt.next}
					d.a.OnLoss(&d.loss) // of the flight that was marked
				}
				for range 2 {
					d.now += d.rtt
					prior := d.delivered
					d.delivered += 10
					d.ack = Ack{Now: d.now, Packets: 10, Newest: tt.newest, Limited: true, RTT: d.rtt, SmoothedRTT: d.rtt,
						MinRTT: d.rtt, Delivered: d.delivered, PriorDelivered: prior}
					d.a.OnAck(&d.ack)
				}
				d.a.OnMark(d.now, tt.next+30)
				if got := d.a.Events(); got != tt.events {
					t.Errorf("%d events, want %d", got, tt.events)
				}
			})
		})
	}
}

func TestTimeoutAndUndo(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		d := drive(t, name, Params{})
		d.round(true)
		before := d.a.Window()
		d.a.Undo(d.now) // nothing to undo
		if d.a.Window() != before || d.a.Events() != 0 {
			t.Errorf("undo of nothing: window %d, %d events", d.a.Window(), d.a.Events())
		}
		d.a.OnTimeout(d.now, d.next)
		d.a.OnTimeout(d.now+d.rtt, d.next) // of the same flight
		if d.a.Window() != MinWindow || d.a.Events() != 1 {
			t.Errorf("window %d, %d events after a timeout, want %d and one", d.a.Window(), d.a.Events(), MinWindow)
		}
		d.a.Undo(d.now)
		if d.a.Window() != before || d.a.Events() != 0 {
			t.Errorf("window %d, %d events after undo, want %d and none", d.a.Window(), d.a.Events(), before)
		}
		d.a.Undo(d.now)
		if d.a.Window() != before || d.a.Events() != 0 {
			t.Errorf("second undo: window %d, %d events", d.a.Window(), d.a.Events())
		}
	})
}

func TestAlgorithmDoesNotAllocate(t *testing.T) {
	each(t, func(t *testing.T, name string) {
		d := drive(t, name, Params{})
		if n := testing.AllocsPerRun(100, func() {
			d.round(true)
			d.lose(3)
			d.a.OnMark(d.now, d.next)
			d.a.OnTimeout(d.now, d.next)
			d.a.Undo(d.now)
			if d.a.PacingRate() < 0 || d.a.Events() > 1e9 {
				t.Error("impossible")
			}
		}); n != 0 {
			t.Errorf("%v allocations per round", n)
		}
	})
}

func BenchmarkAlgorithm(b *testing.B) {
	for _, name := range Names() {
		b.Run(name, func(b *testing.B) {
			d := drive(b, name, Params{MaxWindow: 100})
			b.ReportAllocs()
			for n := 0; n < b.N; n += d.a.Window() {
				d.round(true) // one operation per acknowledged packet
			}
		})
	}
}

// FuzzAlgorithm makes any calls, honest or not, and checks what always holds.
func FuzzAlgorithm(f *testing.F) {
	f.Add(byte(0), []byte{0, 10, 1, 0, 200, 1, 1, 3, 2, 0, 3, 0, 4, 0, 0, 9})
	f.Add(byte(1), []byte{0, 255, 0, 255, 0, 255, 1, 255, 0, 64, 4, 0, 2, 0, 0, 64})
	f.Add(byte(2), []byte{5, 255, 0, 255, 5, 255, 0, 255, 5, 255, 3, 255, 0, 64, 4, 0, 2, 0, 0, 64})
	f.Fuzz(func(t *testing.T, which byte, ops []byte) {
		names := Names()
		p := Params{MinWindow: 4 + int(which)/4%8, MaxWindow: 1024 >> (which / 32 % 4), Seed: uint64(which)}
		d := drive(t, names[int(which)%len(names)], p)
		// Where the window ever was, undoing and probing may bring it back to.
		highest := d.a.Window()
		events := uint64(0)
		for ; len(ops) >= 2; ops = ops[2:] {
			arg := int(ops[1])
			before := d.a.Window()
			allowed := 0
			switch ops[0] % 8 {
			case 0, 6, 7:
				prior := d.delivered - min(d.delivered, uint64(before))
				d.delivered += uint64(arg)
				rtt := d.rtt + uint64(ops[0])*msec
				d.a.OnAck(&Ack{
					Now: d.now, Packets: arg, Newest: d.next - uint32(ops[0]), InFlight: before - min(before, arg),
					Limited: ops[0]&128 == 0, RTT: rtt * uint64(ops[0]>>6), SmoothedRTT: rtt, MinRTT: d.rtt,
					Rate: float64(arg) * 1e9 / float64(rtt), AppLimited: ops[0]&64 == 0,
					Delivered: d.delivered, PriorDelivered: prior,
				})
				allowed = arg
			case 1:
				d.lose(arg)
			case 2:
				d.a.OnMark(d.now, d.next)
			case 3:
				d.a.OnTimeout(d.now, d.next)
			case 4:
				d.a.Undo(d.now)
			case 5:
				d.now += uint64(arg) * uint64(arg) * msec
				for i := range arg % 16 {
					d.a.OnSend(d.now, i)
					d.next++
				}
			}
			window := d.a.Window()
			if window < p.MinWindow || window > p.MaxWindow {
				t.Fatalf("window %d outside of %d..%d", window, p.MinWindow, p.MaxWindow)
			}
			if window > max(highest, before+allowed) {
				t.Fatalf("window grew from %d to %d for %d packets, highest was %d", before, window, allowed, highest)
			}
			highest = max(highest, window)
			if rate := d.a.PacingRate(); !(rate >= 0) || math.IsInf(rate, 0) {
				t.Fatalf("rate %v", rate)
			}
			if n := d.a.Events(); n > events+1 || n+1 < events {
				t.Fatalf("%d events after %d", n, events)
			} else {
				events = n
			}
		}
	})
}
