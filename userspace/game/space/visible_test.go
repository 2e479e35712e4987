package space

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/snapshot"
)

// TestVisibleFollowsDistances moves entities about, replaces some, and compares the
// set of one viewer with the rule: in at the radius, out beyond the other one.
func TestVisibleFollowsDistances(t *testing.T) {
	const capacity, enter, leave = 60, 50, 55
	rng := rand.New(rand.NewPCG(9, 9))
	g, s := NewGrid(leave, XZ), NewSets(capacity, capacity)
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
	s := NewSets(4, 4)
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

// TestCrowdsAreLimited has entities walk at random around a viewer who is told of a few
// only: of those that matter most, but for who is told of already, and as long as
// nobody else matters a quarter more.
func TestCrowdsAreLimited(t *testing.T) {
	const capacity, most = 40, 12
	rng := rand.New(rand.NewPCG(3, 9))
	s := NewSets(capacity, most)
	generations := make([]uint16, capacity)
	weights := make([]float32, capacity)
	for slot := range weights {
		weights[slot] = 1 + rng.Float32()
	}
	weight := func(id snapshot.ID) float32 { return weights[id.Slot] }
	var v Visible
	changes, crowded := 0, 0
	for range 2000 {
		var slots []uint32
		for slot := range weights {
			weights[slot] = max(weights[slot]+rng.Float32()*0.02-0.01, 0.1)
			if rng.IntN(500) == 0 {
				generations[slot]++
				weights[slot] = 1 + rng.Float32()
			}
			if slot < 10 || rng.IntN(300) != 0 {
				slots = append(slots, uint32(slot))
			}
		}
		former := slices.Clone(v.IDs())
		s.Update(&v, slots[:30], slots[30:], generations, nil)
		near := slices.Clone(v.IDs())
		s.Limit(&v, weight)
		if len(v.IDs()) != most {
			t.Fatalf("%d are told of", len(v.IDs()))
		}
		least := float32(math.MaxFloat32)
		for _, id := range v.IDs() {
			w := weight(id)
			if slices.Contains(former, id) {
				w *= stay
			} else {
				changes++
			}
			least = min(least, w)
		}
		for _, id := range near {
			w := weight(id)
			if slices.Contains(former, id) {
				w *= stay
			}
			if !slices.Contains(v.IDs(), id) && w > least {
				t.Fatalf("%v weighs %v and is left out for %v", id, w, least)
			}
		}
		crowded++
	}
	if changes < 20 || changes > crowded {
		t.Errorf("%d changes", changes)
	}
}

func TestGreatest(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	for range 3000 {
		a := make([]float32, 1+rng.IntN(50))
		kinds := 1 + rng.IntN(60) // often many are the same
		for i := range a {
			a[i] = float32(rng.IntN(kinds) - 10)
		}
		sorted := slices.Clone(a)
		slices.Sort(sorted)
		k := 1 + rng.IntN(len(a))
		if got, want := greatest(slices.Clone(a), k), sorted[len(a)-k]; got != want {
			t.Fatalf("number %d of %v is %g, want %g", k, a, got, want)
		}
	}
}

// TestEqualsAreLimited has entities that all matter the same: who is told of stays.
func TestEqualsAreLimited(t *testing.T) {
	s := NewSets(9, 4)
	generations := make([]uint16, 9)
	alike := func(snapshot.ID) float32 { return 1 }
	var v Visible
	for _, step := range []struct{ near, want []uint32 }{
		{[]uint32{5, 6, 7, 8, 0, 1}, []uint32{5, 6, 7, 8}},
		{[]uint32{0, 1, 2, 3, 4, 8, 7, 6, 5}, []uint32{8, 7, 6, 5}},
		{[]uint32{0, 1, 2, 3, 8, 6}, []uint32{0, 1, 8, 6}},
	} {
		s.Update(&v, step.near, nil, generations, nil)
		s.Limit(&v, alike)
		var got []uint32
		for _, id := range v.IDs() {
			got = append(got, uint32(id.Slot))
		}
		if !slices.Equal(got, step.want) {
			t.Fatalf("of %v are left %v, want %v", step.near, got, step.want)
		}
	}
}

func TestLimitAllocatesNothing(t *testing.T) {
	s := NewSets(40, 12)
	generations := make([]uint16, 40)
	var slots []uint32
	for slot := range generations {
		slots = append(slots, uint32(slot))
	}
	weight := func(id snapshot.ID) float32 { return float32(id.Slot) }
	var v Visible
	if n := testing.AllocsPerRun(100, func() {
		s.Update(&v, slots, nil, generations, nil)
		s.Limit(&v, weight)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestVisibleHasWhatItLists(t *testing.T) {
	var v Visible
	NewSets(4, 4).Update(&v, []uint32{1, 2}, nil, []uint16{0, 7, 8, 9}, nil)
	for id, want := range map[snapshot.ID]bool{
		{Slot: 1, Generation: 7}: true, {Slot: 2, Generation: 8}: true,
		{Slot: 1, Generation: 8}: false, {Slot: 2, Generation: 7}: false, {Slot: 3, Generation: 9}: false,
	} {
		if v.Has(id) != want {
			t.Errorf("has %v: %v", id, !want)
		}
	}
	if v.Clear(); v.Has(snapshot.ID{Slot: 1, Generation: 7}) {
		t.Error("has something although it was cleared")
	}
}
