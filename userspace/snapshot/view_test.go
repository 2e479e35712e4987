package snapshot

import (
	"math"
	"slices"
	"testing"
	"time"
)

// A player at 6 units per second along X, in snapshots every 3 ticks, which
// are 50 ms.
func walk(t *testing.T, r *Receiver[player], s *Schema[player], present ...bool) {
	t.Helper()
	h := NewHistory(s, 4)
	sender := NewSender(h, SenderOptions{})
	for i, there := range present {
		tick := uint32(60 + 3*i)
		h.Begin(tick)
		var visible []ID
		if there {
			h.Set(ID{1, 1}, &player{X: 6 * float32(s.Time(tick).Seconds()), VX: 6, Health: uint8(i)})
			visible = []ID{{1, 1}}
		}
		if _, err := r.Receive(sender.Append(nil, visible, nil, 1100)); err != nil {
			t.Fatal(err)
		}
		a, _ := r.Ack()
		sender.Acknowledge(a)
	}
}

func TestViewIsBetweenSnapshots(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name    string
		present []bool
		now     time.Duration // of snapshot 0 plus
		there   bool
		at      time.Duration // what time the position is of
		health  uint8
	}{
		{"before_the_first", []bool{true, true}, 99 * ms, false, 0, 0},
		{"at_the_first", []bool{true, true}, 100 * ms, true, 0, 0},
		{"between", []bool{true, true}, 120 * ms, true, 20 * ms, 0},
		{"at_the_second", []bool{true, true}, 150 * ms, true, 50 * ms, 1},
		{"after_the_last", []bool{true, true}, 190 * ms, true, 90 * ms, 1},
		{"long_after", []bool{true, true}, 900 * ms, true, 100 * ms, 1},
		{"before_it_appears", []bool{false, true}, 149 * ms, false, 0, 0},
		{"when_it_appears", []bool{false, true}, 150 * ms, true, 50 * ms, 1},
		{"before_it_goes", []bool{true, true, false}, 199 * ms, true, 99 * ms, 1},
		{"when_it_goes", []bool{true, true, false}, 200 * ms, false, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := playerSchema(t)
			r := NewReceiver(s, ReceiverOptions{})
			walk(t, r, s, tt.present...)
			seen := r.View(nil, s.Time(60)+tt.now)
			if len(seen) != int(flag(tt.there)) {
				t.Fatalf("%d entities are seen", len(seen))
			}
			if !tt.there {
				return
			}
			want := 6 * (s.Time(60) + tt.at).Seconds()
			if got := seen[0]; got.ID != (ID{1, 1}) || math.Abs(float64(got.State.X)-want) > 1.0/64 || got.State.Health != tt.health {
				t.Errorf("seen %+v, want X %.3f and health %d", got, want, tt.health)
			}
		})
	}
}

func TestViewOptions(t *testing.T) {
	s := playerSchema(t)
	r := NewReceiver(s, ReceiverOptions{Delay: -1, Extrapolation: -1})
	walk(t, r, s, true, true)
	last := s.Time(63)
	for _, now := range []time.Duration{last, last + time.Second} {
		if got, want := r.View(nil, now)[0].State.X, 6*last.Seconds(); math.Abs(float64(got)-want) > 1.0/64 {
			t.Errorf("X is %v, want %v", got, want)
		}
	}
	if tick, ok := r.Newest(); !ok || tick != 63 {
		t.Errorf("newest snapshot %d, want 63", tick)
	}
}

// An entity that is put elsewhere is never seen on the way, whatever was lost.
func TestViewJumps(t *testing.T) {
	const ms = time.Millisecond
	s := playerSchema(t)
	h := NewHistory(s, 4)
	sender := NewSender(h, SenderOptions{})
	never, jumps := NewReceiver(s, ReceiverOptions{}), NewReceiver(s, ReceiverOptions{Jump: 100})
	for tick := uint32(60); tick < 90; tick += 3 {
		x := 6 * float32(s.Time(tick).Seconds())
		if tick >= 75 {
			x += 30
		}
		h.Begin(tick)
		h.Set(ID{1, 1}, &player{X: x, Y: 5, VX: 6})
		b := sender.Append(nil, []ID{{1, 1}}, nil, 1100)
		if tick == 72 {
			continue // lost
		}
		for _, r := range []*Receiver[player]{never, jumps} {
			if _, err := r.Receive(b); err != nil {
				t.Fatal(err)
			}
		}
		a, _ := jumps.Ack()
		sender.Acknowledge(a)
	}
	between := 0
	for now := s.Time(60); now < s.Time(87); now += ms {
		want := 6 * now.Seconds()
		switch {
		case now >= s.Time(75):
			want += 30
		case now > s.Time(69)+50*ms:
			want = 6 * (s.Time(69) + 50*ms).Seconds() // stands
		}
		seen := jumps.View(nil, now+100*ms)[0].State
		if math.Abs(float64(seen.X)-want) > 1.0/32 || seen.Y != 5 {
			t.Errorf("seen at %g, %g after %v, want %g", seen.X, seen.Y, now-s.Time(60), want)
		}
		if x := float64(never.View(nil, now+100*ms)[0].State.X); x > want+1 && x < want+29 {
			between++
		}
	}
	if between < 80 {
		t.Errorf("without a limit it is seen on the way %d times", between)
	}
}

func TestAChangeOfTheDelayDoesNotJump(t *testing.T) {
	s := playerSchema(t)
	r := NewReceiver(s, ReceiverOptions{})
	present := make([]bool, 90)
	for i := range present {
		present[i] = true
	}
	walk(t, r, s, present...)
	last := float32(0)
	now := s.Time(60) + 500*time.Millisecond
	for i := range 200 {
		if i == 20 {
			r.SetDelay(200 * time.Millisecond)
		}
		x := r.View(nil, now)[0].State.X
		if step := x - last; last != 0 && (step < 0.05 || step > 0.07) {
			t.Fatalf("view %d: moved by %v", i, step)
		}
		last = x
		now += 10 * time.Millisecond
	}
	if want := 6 * (now - 210*time.Millisecond).Seconds(); math.Abs(float64(last)-want) > 1.0/32 {
		t.Errorf("X is %v in the end, want %v", last, want)
	}
}

// An entity that was not chosen keeps its version: what is seen of it is
// between two versions, and never goes back to one that a snapshot repeats.
func TestViewUnderATightBudget(t *testing.T) {
	d := newDesk(t, SenderOptions{})
	ids := slots(40)
	var acks []Ack
	last := make([]int, len(ids))
	for i := range 250 {
		d.receive(d.snapshot(50, ids...))
		a, _ := d.receiver.Ack()
		acks = append(acks, a)
		if i >= 4 {
			d.sender.Acknowledge(acks[i-4])
		}
		if i < 100 {
			continue
		}
		for _, e := range d.receiver.View(nil, d.h.schema.Time(d.tick)) {
			if v := e.State.V; v < last[e.ID.Slot] {
				t.Fatalf("snapshot %d: slot %d goes back from %d to %d", i, e.ID.Slot, last[e.ID.Slot], v)
			}
			last[e.ID.Slot] = e.State.V
		}
	}
	if slices.Contains(last, 0) {
		t.Errorf("some are never seen: %v", last)
	}
}
