package snapshot

// Entry is an entity as a snapshot tells of it.
type Entry[T any] struct {
	ID ID

	// Tick is what State is of: that of the snapshot, or an earlier one where the
	// snapshot had no room for the entity.
	Tick  uint32
	State T
}

// Contents appends the entities of the newest snapshot to dst, neither delayed nor
// extrapolated, and returns its tick and whether it told of everything that its
// receiver was to see. ok is false when there is no snapshot.
func (r *Receiver[T]) Contents(dst []Entry[T]) (entries []Entry[T], tick uint32, whole, ok bool) {
	if len(r.kept) == 0 {
		return dst, 0, false, false
	}
	s := r.kept[len(r.kept)-1]
	w := len(r.schema.words)
	for i := range s.entries {
		e := &s.entries[i]
		dst = append(dst, Entry[T]{ID: e.id, Tick: e.version})
		r.schema.dequantise(&dst[len(dst)-1].State, s.rows[i*2*w:][:w], 0)
	}
	return dst, s.tick, !s.partial, true
}
