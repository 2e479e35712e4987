package space

import "github.com/xrudp/xrudp/userspace/snapshot"

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
	stamp uint32
	notes []setNote
}

// setNote is the tenant of a slot that the present viewer knew.
type setNote struct {
	stamp      uint32
	generation uint16
}

// NewSets returns the means to update sets of entities in slots below capacity.
func NewSets(capacity int) *Sets { return &Sets{notes: make([]setNote, capacity)} }

// Update makes v the entities that are near, and those in between that it had: so
// who stands on the border does not come and go. generations has that of each
// slot's present tenant. An entity that admit rejects is not in v; nil admits all.
func (s *Sets) Update(v *Visible, near, between []uint32, generations []uint16, admit func(snapshot.ID) bool) {
	if len(between) > 0 {
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
		if s.notes[slot] == (setNote{s.stamp, id.Generation}) && (admit == nil || admit(id)) {
			v.ids = append(v.ids, id)
		}
	}
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
