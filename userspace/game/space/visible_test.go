package space

import (
	"math/rand/v2"
	"testing"

	"github.com/xrudp/xrudp/userspace/snapshot"
)

// TestVisibleFollowsDistances moves entities about, replaces some, and compares the
// set of one viewer with the rule: in at the radius, out beyond the other one.
func TestVisibleFollowsDistances(t *testing.T) {
	const capacity, enter, leave = 60, 50, 55
	rng := rand.New(rand.NewPCG(9, 9))
	g, s := NewGrid(leave, XZ), NewSets(capacity)
	generations := make([]uint16, capacity)
	at := make([]Vec, capacity)
	var viewers [3]Visible
	var models [3]map[snapshot.ID]bool
	for i := range models {
		models[i] = map[snapshot.ID]bool{}
	}
	stayed := 0
	for step := range 3000 {
		c := &cloud{}
		for slot := range at {
			if rng.IntN(100) == 0 {
				generations[slot]++
				at[slot] = Vec{rng.Float32() * 200, 0, rng.Float32() * 200}
			}
			at[slot][0] += rng.Float32()*6 - 3
			at[slot][2] += rng.Float32()*6 - 3
			if rng.IntN(10) != 0 { // the others are not there
				c.slots = append(c.slots, uint32(slot))
				c.x, c.y, c.z = append(c.x, at[slot][0]), append(c.y, at[slot][1]), append(c.z, at[slot][2])
			}
		}
		g.Rebuild(c.slots, c.x, c.y, c.z)
		hidden := snapshot.ID{Slot: uint16(step % capacity), Generation: generations[step%capacity]}
		for i := range viewers {
			centre := Vec{float32(50 * i), 0, 100}
			near, between := g.Near(centre, enter, leave)
			s.Update(&viewers[i], near, between, generations, func(id snapshot.ID) bool { return id != hidden })

			want := map[snapshot.ID]bool{}
			wantNear, wantBetween := c.near(centre, enter, leave)
			for _, slot := range wantNear {
				want[snapshot.ID{Slot: uint16(slot), Generation: generations[slot]}] = true
			}
			for _, slot := range wantBetween {
				if id := (snapshot.ID{Slot: uint16(slot), Generation: generations[slot]}); models[i][id] {
					want[id] = true
					stayed++
				}
			}
			delete(want, hidden)
			if len(viewers[i].IDs()) != len(want) {
				t.Fatalf("step %d: %v, want %v", step, viewers[i].IDs(), want)
			}
			for id := range want {
				if !viewers[i].Has(id) {
					t.Fatalf("step %d: without %v", step, id)
				}
			}
			models[i] = want
		}
	}
	if stayed == 0 {
		t.Error("nobody was between the radii")
	}
	viewers[0].Clear()
	if len(viewers[0].IDs()) != 0 {
		t.Error("not empty")
	}
}

func TestStampsWrapAround(t *testing.T) {
	s := NewSets(4)
	generations := make([]uint16, 4)
	var v Visible
	s.Update(&v, []uint32{1}, nil, generations, nil)
	s.stamp = ^uint32(0)
	s.notes[2] = setNote{stamp: 1} // of long ago
	s.Update(&v, nil, []uint32{1, 2}, generations, nil)
	if len(v.IDs()) != 1 || v.IDs()[0].Slot != 1 {
		t.Errorf("%v", v.IDs())
	}
}
