package space

import "github.com/xrudp/xrudp/userspace/snapshot"

// stay is how many times as much as another entity one that is not known has to matter
// to take its place in a full set.
const stay = 1.25

// Visible is the set of entities that one viewer is told of. The zero value is
// empty.
type Visible struct{ ids []snapshot.ID }

// IDs lists the set, in the order of the last Update. It is valid until the next.
func (v *Visible) IDs() []snapshot.ID { return v.ids }

// Has reports whether an entity is in the set.
func (v *Visible) Has(id snapshot.ID) bool {
	for _, other := range v.ids {
		if other == id {
			return true
		}
	}
	return false
}

// Clear empties the set.
func (v *Visible) Clear() { v.ids = v.ids[:0] }

// Sets updates the Visible of many viewers. What it notes meanwhile it needs once
// for all of them.
type Sets struct {
	most  int
	stamp uint32
	notes []setNote

	weights, ranked []float32
}

// setNote is the tenant of a slot that the present viewer knew.
type setNote struct {
	stamp      uint32
	generation uint16
}

// NewSets returns the means to update sets of entities in slots below capacity, and to
// limit them to most.
func NewSets(capacity, most int) *Sets { return &Sets{most: most, notes: make([]setNote, capacity)} }

// Update makes v the entities that are near, and those in between that it had: so
// who stands on the border does not come and go. generations has that of each
// slot's present tenant. An entity that admit rejects is not in v; nil admits all.
func (s *Sets) Update(v *Visible, near, between []uint32, generations []uint16, admit func(snapshot.ID) bool) {
	if len(between) > 0 || len(near) > s.most {
		s.note(v)
	}
	v.ids = v.ids[:0]
	for _, slot := range near {
		id := snapshot.ID{Slot: uint16(slot), Generation: generations[slot]}
		if admit == nil || admit(id) {
			v.ids = append(v.ids, id)
		}
	}
	for _, slot := range between {
		id := snapshot.ID{Slot: uint16(slot), Generation: generations[slot]}
		if s.had(id) && (admit == nil || admit(id)) {
			v.ids = append(v.ids, id)
		}
	}
}

// Limit leaves as many entities as there may be in v, which was updated last: those of
// the greatest weight, in the order in which they were. One that was in v before has to
// matter clearly less than another to make room for it, so that two who are alike do not
// come and go. Weights are numbers.
func (s *Sets) Limit(v *Visible, weight func(snapshot.ID) float32) {
	if len(v.ids) <= s.most {
		return
	}
	s.weights = s.weights[:0]
	for _, id := range v.ids {
		w := weight(id)
		if s.had(id) {
			w *= stay
		}
		s.weights = append(s.weights, w)
	}
	s.ranked = append(s.ranked[:0], s.weights...)
	least := greatest(s.ranked, s.most)
	room := s.most // for those of the least weight
	for _, w := range s.weights {
		if w > least {
			room--
		}
	}
	kept := v.ids[:0]
	for i, w := range s.weights {
		switch {
		case w > least:
		case w == least && room > 0:
			room--
		default:
			continue
		}
		kept = append(kept, v.ids[i])
	}
	v.ids = kept
}

// greatest returns the k-th greatest of a, from 1 on, and changes their order: Hoare's
// quickselect, in three parts.
func greatest(a []float32, k int) float32 {
	for {
		x, y, z := a[0], a[len(a)/2], a[len(a)-1]
		pivot := max(min(x, y), min(max(x, y), z))
		above, at, below := 0, 0, len(a)
		for at < below {
			switch w := a[at]; {
			case w > pivot:
				a[above], a[at] = w, a[above]
				above++
				at++
			case w < pivot:
				below--
				a[at], a[below] = a[below], w
			default:
				at++
			}
		}
		switch {
		case k <= above:
			a = a[:above]
		case k <= below:
			return pivot
		default:
			a, k = a[below:], k-below
		}
	}
}

// had reports whether the set that was noted has an entity.
func (s *Sets) had(id snapshot.ID) bool {
	return s.notes[id.Slot] == setNote{s.stamp, id.Generation}
}

// note marks what v has.
func (s *Sets) note(v *Visible) {
	s.stamp++
	if s.stamp == 0 {
		clear(s.notes)
		s.stamp = 1
	}
	for _, id := range v.ids {
		s.notes[id.Slot] = setNote{s.stamp, id.Generation}
	}
}
