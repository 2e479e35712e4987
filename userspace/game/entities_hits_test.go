package game

import (
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/snapshot"
)

func TestHitsAreWhatTheShooterSaw(t *testing.T) {
	w, l, all := one(t, 2, WorldOptions[body]{})
	shooter, target := l.room.players[0], all[1].own.ID
	millis := func(back uint64) uint32 { return uint32((w.now - back) / ms) }
	// It walks along at 6 units a second.
	walk := func(ticks int) {
		for range ticks {
			l.world.State(target).At[0] += 0.1
			w.run(tickTime)
			all[0].hear()
		}
	}
	walk(60)
	was := func(back uint64) Vec {
		at, ok := l.world.PositionAt(target, time.Duration(w.now-back))
		if !ok {
			t.Fatal("was not there")
		}
		return at
	}
	aim := func(back uint64) bool {
		at := was(back)
		return l.world.Hit(shooter, target, millis(back), Vec{at[0], 0, -5}, Vec{at[0], 0, 5}, 0.3)
	}
	if !aim(0) || !aim(60*ms) || !aim(120*ms) {
		t.Error("misses where the target was seen")
	}
	if at := was(120 * ms); l.world.Hit(shooter, target, millis(0), Vec{at[0], 0, -5}, Vec{at[0], 0, 5}, 0.3) {
		t.Error("hits where the target was not seen")
	}
	if aim(240 * ms) {
		t.Error("hits what is older than what the shooter has, and its delay")
	}
	// One that has nothing new may look farther back, up to the greatest rewind.
	all[0].lossy = 1
	walk(12)
	if !aim(240 * ms) {
		t.Error("misses what a slow shooter saw")
	}
	if aim(330 * ms) {
		t.Error("hits beyond the greatest rewind")
	}
	if aim(0) {
		t.Error("a slow shooter hits what it cannot have seen")
	}
	if l.world.Hit(shooter, ID{Slot: 77}, millis(0), Vec{}, Vec{}, 1e6) {
		t.Error("hits what there is not")
	}
	l.world.State(target).At = Vec{1000}
	all[0].lossy = 0
	walk(6)
	if at := l.world.State(target).At; l.world.Hit(shooter, target, millis(0), at, at, 10) {
		t.Error("hits what it does not see")
	}
}

// What has gone out of sight is still shown for a moment by the client of who saw it,
// and is hit where it was.
func TestHitsWhatHasGone(t *testing.T) {
	tests := []struct {
		name string
		gone func(*body)
	}{
		{"away", func(b *body) { b.At[0] = 1000 }},
		{"hidden", func(b *body) { b.Ghost = true }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, l, all := one(t, 2, WorldOptions[body]{})
			shooter, target := l.room.players[0], all[1].own.ID
			hidden, _ := l.world.Add(body{At: Vec{5}, Ghost: true})
			wait := func(ticks int) {
				for range ticks {
					w.run(tickTime)
					all[0].hear()
				}
			}
			aim := func(id ID, at Vec, back uint64) bool {
				return l.world.Hit(shooter, id, uint32((w.now-back)/ms), Vec{at[0], 0, -5}, Vec{at[0], 0, 5}, 0.3)
			}
			l.world.State(target).At = Vec{7}
			wait(30)
			tt.gone(l.world.State(target))
			wait(7)
			if slices.ContainsFunc(all[0].receiver.View(nil, all[0].schema.Time(uint32(w.now/tickTime))), func(s snapshot.Seen[body]) bool { return s.ID == target }) {
				t.Fatal("is still told of it")
			}
			if !aim(target, Vec{7}, 140*ms) {
				t.Error("misses what its client shows")
			}
			if at := l.world.State(target).At; aim(target, at, 0) {
				t.Error("hits where it did not see it")
			}
			if aim(hidden, Vec{5}, 140*ms) {
				t.Error("hits what it never saw")
			}
			wait(6)
			if aim(target, l.world.State(target).At, 60*ms) {
				t.Error("hits what was gone by then")
			}
			l.world.State(target).At, l.world.State(target).Ghost = Vec{7}, false
			wait(15)
			if l.world.Remove(target); aim(target, Vec{7}, 140*ms) {
				t.Error("hits what was removed")
			}
		})
	}
}
