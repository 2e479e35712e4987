package game

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xrudp/xrudp/userspace/message"
)

// However many nodes ask at the same time, no room has more players than it may,
// and nothing is left when all are gone.
func TestDirectoryUnderConcurrency(t *testing.T) {
	const nodes, limit = 4, 3
	opts := relays()
	opts.Kinds[0].MaxPlayers = limit
	opts.MaxRooms = 20
	d := NewDirectory(opts)
	d.enroll(nodes)
	var taken [10000]atomic.Int32 // by room
	var refused atomic.Int32
	var all sync.WaitGroup
	for node := range nodes {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(node), 1))
			var seats []seat
			for range 3000 {
				if len(seats) < 12 && rng.IntN(2) == 0 {
					s, err := d.reserve(node, "relay", uint32(rng.IntN(8)))
					if err != nil {
						if code, _ := explain(err); code != message.ErrRoom {
							t.Errorf("reserve: %v", err)
						}
						refused.Add(1)
						continue
					}
					if n := taken[s.room].Add(1); n > limit {
						t.Errorf("room %d has %d players", s.room, n)
					}
					seats = append(seats, s)
				} else if len(seats) > 0 {
					i := rng.IntN(len(seats))
					s := seats[i]
					seats = append(seats[:i], seats[i+1:]...)
					d.locate(s.room)
					d.describe(s.room)
					if rng.IntN(10) == 0 {
						d.shut(s.room)
					}
					d.park(s.room, node, 7)
					d.nodes[node].load.Store(rng.Uint32N(1e6))
					taken[s.room].Add(-1)
					d.release(s.room)
					d.closeIfEmpty(s.room)
				}
			}
			for _, s := range seats {
				taken[s.room].Add(-1)
				d.release(s.room)
				d.closeIfEmpty(s.room)
			}
		})
	}
	all.Wait()
	if len(d.rooms)+len(d.named) != 0 || refused.Load() == 0 {
		t.Errorf("%d rooms and %d names are left, %d times refused", len(d.rooms), len(d.named), refused.Load())
	}
	for i := range d.nodes {
		if n := &d.nodes[i]; n.seats != 0 || n.rooms != 0 {
			t.Errorf("node %d has %d seats and %d rooms left", i, n.seats, n.rooms)
		}
	}
}

func TestDirectoryRejectsOptions(t *testing.T) {
	tests := []struct {
		name string
		opts Options
	}{
		{"no_name", Options{Kinds: []Kind{{New: newRelay}}}},
		{"name_that_nobody_may_ask_for", Options{Kinds: []Kind{{Name: "a\n", New: newRelay}}}},
		{"too_many_players", Options{Kinds: []Kind{{Name: "a", New: newRelay, MaxPlayers: 1<<16 + 1}}}},
		{"name_twice", Options{Kinds: []Kind{{Name: "a", New: newRelay}, {Name: "a", New: newRelay}}}},
		{"no_logic", Options{Kinds: []Kind{{Name: "a"}}}},
		{"tick_rate", Options{Kinds: []Kind{{Name: "a", New: newRelay, TickRate: 1001}}}},
		{"more_snapshots_than_ticks", Options{Kinds: []Kind{{Name: "a", New: newRelay, TickRate: 10, SnapshotRate: 20}}}},
		{"no_players", Options{Kinds: []Kind{{Name: "a", New: newRelay, MaxPlayers: -1}}}},
		{"no_budget", Options{Budget: -1}},
		{"no_rooms", Options{MaxRooms: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			NewDirectory(tt.opts)
		})
	}
}

// A room is made where the load is least, in twentieths of a node's time; where it is
// the same, where fewest players are, then where fewest rooms are.
func TestLeastLoaded(t *testing.T) {
	type load struct{ time, seats, rooms int }
	tests := []struct {
		name  string
		nodes []load
		want  int
	}{
		{"alone", []load{{900_000, 5, 5}}, 0},
		{"time_first", []load{{400_000, 0, 0}, {100_000, 9, 9}, {300_000, 0, 0}}, 1},
		{"time_last", []load{{400_000, 0, 0}, {300_000, 0, 0}, {100_000, 9, 9}}, 2},
		{"about_the_same_time", []load{{110_000, 9, 0}, {140_000, 3, 0}}, 1},
		{"players", []load{{0, 4, 0}, {0, 3, 9}, {0, 5, 0}}, 1},
		{"rooms", []load{{0, 4, 2}, {0, 4, 1}, {0, 4, 3}}, 1},
		{"same", []load{{0, 1, 1}, {0, 1, 1}}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := NewDirectory(relays())
			d.enroll(len(tt.nodes))
			for i, l := range tt.nodes {
				d.nodes[i].load.Store(uint32(l.time))
				d.nodes[i].seats, d.nodes[i].rooms = l.seats, l.rooms
			}
			if got := d.leastLoaded(); got != tt.want {
				t.Errorf("node %d, want %d", got, tt.want)
			}
		})
	}
}
