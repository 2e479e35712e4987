package timerwheel

import (
	"math/rand/v2"
	"testing"
)

const tick = uint64(1e6)

func TestWheelFiresWithinTwoTicks(t *testing.T) {
	tests := []struct {
		name  string
		start uint64
		in    uint64
	}{
		{"next_tick", 5 * tick, tick},
		{"same_tick", 5*tick + 1, 1},
		{"past", 5 * tick, 0},
		{"last_slot", 5 * tick, 58 * tick},
		{"second_level", 5 * tick, 59 * tick},
		{"level_border", 63 * tick, 4033 * tick},
		{"fourth_level", 12345 * tick, 300_000 * tick},
		{"beyond_the_span", 77 * tick, 3 * span * tick},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := New[int](tt.start, tick)
			var timer Timer[int]
			due := tt.start + tt.in
			w.Set(&timer, due)
			fired := uint64(0)
			for now := tt.start; timer.IsSet(); now = w.Next() {
				if now > due+2*tick {
					t.Fatalf("not fired %d ticks late", (now-due)/tick)
				}
				w.Advance(now, func(*Timer[int]) { fired = now })
			}
			if fired < due || fired > due+2*tick {
				t.Errorf("fired at %d, due at %d", fired, due)
			}
		})
	}
}

// TestWheelAgainstModel moves, stops and fires timers at random and compares
// with a plain list of due times.
func TestWheelAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		now := rng.Uint64N(1 << 45)
		w := New[int](now, tick)
		timers := make([]Timer[int], 50)
		due := map[int]uint64{}
		for i := range timers {
			timers[i].Value = i
		}
		set := func(i int) {
			at := now + rng.Uint64N(1<<(10+rng.Uint64N(36)))
			w.Set(&timers[i], at)
			due[i] = at
		}
		for range 3000 {
			i := rng.IntN(len(timers))
			switch rng.IntN(4) {
			case 0, 1:
				set(i)
			case 2:
				w.Stop(&timers[i])
				delete(due, i)
			case 3:
				now += rng.Uint64N(1 << (10 + rng.Uint64N(30)))
				w.Advance(now, func(timer *Timer[int]) {
					at, ok := due[timer.Value]
					if !ok || at > now {
						t.Fatalf("seed %d: timer %d fired at %d, due %d %v", seed, timer.Value, now, at, ok)
					}
					delete(due, timer.Value)
					if rng.IntN(3) == 0 {
						set(rng.IntN(len(timers)))
					}
				})
				for i, at := range due {
					if at+2*tick <= now {
						t.Fatalf("seed %d: timer %d is %d ns late", seed, i, now-at)
					}
				}
			}
			if w.Len() != len(due) {
				t.Fatalf("seed %d: %d timers set, want %d", seed, w.Len(), len(due))
			}
			for _, at := range due {
				if next := w.Next(); next > max(at, now)+2*tick {
					t.Fatalf("seed %d: Next() = %d, after %d", seed, next, at)
				}
			}
		}
	}
}

func TestWheelDoesNotAllocate(t *testing.T) {
	w := New[int](0, tick)
	timers := make([]Timer[int], 64)
	now := uint64(0)
	fire := func(*Timer[int]) {}
	if n := testing.AllocsPerRun(1000, func() {
		for i := range timers {
			w.Set(&timers[i], now+uint64(i)*tick*7)
		}
		now += 5 * tick
		w.Advance(now, fire)
	}); n != 0 {
		t.Errorf("%v allocations per round", n)
	}
}

func BenchmarkWheelSet(b *testing.B) {
	w := New[int](0, tick)
	timers := make([]Timer[int], 1<<14)
	i := 0
	for b.Loop() {
		w.Set(&timers[i%len(timers)], uint64(i)*1000+300*tick)
		i++
	}
}
