package space

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/snapshot"
)

func TestHistoryAgainstAllThatWas(t *testing.T) {
	const ticks, capacity = 8, 5
	rng := rand.New(rand.NewPCG(3, 3))
	h := NewHistory(ticks, capacity)
	type moment struct {
		at    time.Duration
		where map[snapshot.ID]Vec
	}
	var all []moment
	if _, ok := h.At(snapshot.ID{}, time.Hour); ok {
		t.Error("something was before anything")
	}
	generations := make([]uint16, capacity)
	now := time.Second
	for range 400 {
		now += time.Duration(1+rng.IntN(30)) * time.Millisecond
		h.Begin(now)
		m := moment{now, map[snapshot.ID]Vec{}}
		for slot := range generations {
			switch rng.IntN(10) {
			case 0:
				continue
			case 1:
				generations[slot]++
			}
			id := snapshot.ID{Slot: uint16(slot), Generation: generations[slot]}
			m.where[id] = Vec{rng.Float32() * 10, rng.Float32(), -rng.Float32()}
			h.Set(id, m.where[id])
		}
		all = append(all, m)
		if len(all) > ticks {
			all = all[1:]
		}
		for range 20 {
			slot := rng.IntN(capacity + 1)
			id := snapshot.ID{Slot: uint16(slot), Generation: uint16(rng.IntN(3))}
			if slot < capacity {
				id.Generation = generations[slot] - uint16(rng.IntN(2))
			}
			at := now - time.Duration(rng.IntN(300))*time.Millisecond/2 + 20*time.Millisecond
			var want Vec
			known := false
			for i, m := range all {
				if m.at > at {
					break
				}
				want, known = m.where[id]
				if i+1 < len(all) && all[i+1].at > at && known {
					if to, ok := all[i+1].where[id]; ok {
						f := float64(at-m.at) / float64(all[i+1].at-m.at)
						for k := range want {
							want[k] += float32(float64(to[k]-want[k]) * f)
						}
					}
				}
			}
			got, ok := h.At(id, at)
			if ok != known {
				t.Fatalf("%v at %v: known %v, want %v", id, at, ok, known)
			}
			for k := range got {
				if ok && math.Abs(float64(got[k]-want[k])) > 1e-4 {
					t.Fatalf("%v at %v: %v, want %v", id, at, got, want)
				}
			}
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a tick came twice")
		}
	}()
	h.Begin(now)
}
