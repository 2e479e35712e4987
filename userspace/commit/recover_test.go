package commit

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// crash is a point at which producer or consumer stops for good.
type crash struct {
	name string
	do   func(t *testing.T, w *Writer, rd *Reader)

	// What a later process has to be handed, of the sequences 0 to 3 that
	// were committed before, of which 0 was released, 1 is held and 2 and 3
	// are ready. Sequence 4 is what the crash happened to.
	held, ready []uint32
}

var crashes = []crash{
	{"idle", func(*testing.T, *Writer, *Reader) {}, []uint32{1}, []uint32{2, 3}},
	{"producer_after_reserve", func(t *testing.T, w *Writer, _ *Reader) {
		w.Reserve()
	}, []uint32{1}, []uint32{2, 3}},
	{"producer_after_copy", func(t *testing.T, w *Writer, _ *Reader) {
		s, _ := w.Reserve()
		fillSlot(s, 4)
	}, []uint32{1}, []uint32{2, 3}},
	{"producer_after_state", func(t *testing.T, w *Writer, _ *Reader) {
		s, _ := w.Reserve()
		fillSlot(s, 4)
		w.publishState()
	}, []uint32{1, 4}, []uint32{2, 3}},
	{"producer_after_ready", func(t *testing.T, w *Writer, _ *Reader) {
		s, _ := w.Reserve()
		fillSlot(s, 4)
		w.publishState()
		w.publishReady()
	}, []uint32{1}, []uint32{2, 3, 4}},
	{"producer_after_all", func(t *testing.T, w *Writer, _ *Reader) {
		put(w, 4)
	}, []uint32{1}, []uint32{2, 3, 4}},
	{"producer_ready_consumer_released", func(t *testing.T, w *Writer, rd *Reader) {
		s, _ := w.Reserve()
		fillSlot(s, 4)
		w.publishState()
		w.publishReady()
		for range 3 {
			_, idx, _ := rd.Next()
			rd.Release(idx)
		}
	}, []uint32{1}, nil},
	{"consumer_after_next", func(t *testing.T, _ *Writer, rd *Reader) {
		rd.Next()
	}, []uint32{1, 2}, []uint32{3}},
	{"consumer_after_release_state", func(t *testing.T, _ *Writer, rd *Reader) {
		_, idx, _ := rd.Next()
		rd.releaseState(idx)
	}, []uint32{1}, []uint32{3}},
	{"consumer_after_release_fill", func(t *testing.T, _ *Writer, rd *Reader) {
		_, idx, _ := rd.Next()
		rd.releaseState(idx)
		rd.releaseFill(idx)
	}, []uint32{1}, []uint32{3}},
	{"consumer_after_all", func(t *testing.T, _ *Writer, rd *Reader) {
		_, idx, _ := rd.Next()
		rd.Release(idx)
	}, []uint32{1}, []uint32{3}},
}

// takeOver recovers a ring and returns the sequences it hands out. It leaves
// the ring drained.
func takeOver(t *testing.T, r *Regions, n int) (held, ready []uint32) {
	t.Helper()
	idxs, err := Recover(r, n)
	if err != nil {
		t.Fatal(err)
	}
	rd := r.Reader(n)
	for _, idx := range idxs {
		checkSlot(t, rd.Slot(idx), rd.Slot(idx).Sequence)
		held = append(held, rd.Slot(idx).Sequence)
		if !rd.Release(idx) {
			t.Errorf("held slot %d is not committed", idx)
		}
	}
	for {
		s, idx, ok := rd.Next()
		if !ok {
			break
		}
		checkSlot(t, s, s.Sequence)
		ready = append(ready, s.Sequence)
		rd.Release(idx)
	}
	slices.Sort(held)
	return held, ready
}

// useAll puts twice a ring's worth through it: a slot that is lost, or in two
// places, shows.
func useAll(t *testing.T, r *Regions, n int) {
	t.Helper()
	w, rd := r.Writer(n), r.Reader(n)
	for round := range uint32(2) {
		for i := range uint32(r.geometry.Slots) {
			if !put(w, round*1000+i) {
				t.Fatalf("%d of %d slots usable", i, r.geometry.Slots)
			}
		}
		if put(w, 0) {
			t.Fatal("more slots than the ring has")
		}
		for i := range uint32(r.geometry.Slots) {
			s, idx, ok := rd.Next()
			if !ok {
				t.Fatalf("packet %d is gone", i)
			}
			checkSlot(t, s, round*1000+i)
			rd.Release(idx)
		}
	}
}

// The process that was gate and worker dies at every step, with the indices
// at every place in the ring.
func TestRecoverAfterDeathOfBothEnds(t *testing.T) {
	for _, tt := range crashes {
		t.Run(tt.name, func(t *testing.T) {
			for turn := range uint32(2 * small().Slots) {
				g := small()
				m, _ := carve(g, func(n int) []byte { return make([]byte, n) })
				r, err := NewRegions(g, m)
				if err != nil {
					t.Fatal(err)
				}
				r.repair()
				prepare(t, r, 1, turn)
				tt.do(t, r.Writer(1), r.Reader(1))

				later, err := NewRegions(g, m)
				if err != nil {
					t.Fatal(err)
				}
				later.repair()
				held, ready := takeOver(t, later, 1)
				if !slices.Equal(held, tt.held) || !slices.Equal(ready, tt.ready) {
					t.Fatalf("turn %d: held %v, ready %v, want %v and %v", turn, held, ready, tt.held, tt.ready)
				}
				useAll(t, later, 1)
			}
		})
	}
}

// Only the consumer dies: the producer is XDP and goes on, before, during and
// after the recovery.
func TestRecoverBesideALiveProducer(t *testing.T) {
	for _, tt := range crashes {
		if tt.name[0] == 'p' && tt.name != "producer_after_all" {
			continue
		}
		for step := range 4 {
			t.Run(fmt.Sprintf("%s_step_%d", tt.name, step), func(t *testing.T) {
				r := newRegions(t, small())
				prepare(t, r, 1, 5)
				w := r.Writer(1)
				tt.do(t, w, r.Reader(1))

				s, _ := w.Reserve()
				fillSlot(s, 7)
				steps := []func(){w.publishState, w.publishReady, w.publishTaken}
				for _, f := range steps[:step] {
					f()
				}
				held, ready := takeOver(t, r, 1)
				for _, f := range steps[step:] {
					f()
				}
				late, idx, ok := r.Reader(1).Next()
				if ok {
					ready = append(ready, late.Sequence)
					r.Reader(1).Release(idx)
				}
				want := append(slices.Clone(tt.ready), 7)
				if !slices.Equal(held, tt.held) || !slices.Equal(ready, want) {
					t.Fatalf("held %v, ready %v, want %v and %v", held, ready, tt.held, want)
				}
				useAll(t, r, 1)
			})
		}
	}
}

// prepare turns the ring, then leaves 0 released, 1 held, 2 and 3 ready.
func prepare(t *testing.T, r *Regions, n int, turn uint32) {
	t.Helper()
	w, rd := r.Writer(n), r.Reader(n)
	for range turn {
		put(w, 99)
		_, idx, _ := rd.Next()
		rd.Release(idx)
	}
	for seq := range uint32(4) {
		if !put(w, seq) {
			t.Fatal("ring full")
		}
	}
	_, idx, _ := rd.Next()
	rd.Release(idx)
	rd.Next()
}

func TestRecoverZeroedRing(t *testing.T) {
	g := small()
	m, _ := carve(g, func(n int) []byte { return make([]byte, n) })
	r, err := NewRegions(g, m)
	if err != nil {
		t.Fatal(err)
	}
	for n := range g.Rings() {
		if held, err := Recover(r, n); err != nil || held != nil {
			t.Fatalf("Recover = %v, %v", held, err)
		}
		useAll(t, r, n)
	}
}

func TestRecoverTwiceChangesNothing(t *testing.T) {
	r := newRegions(t, small())
	prepare(t, r, 0, 3)
	first, err := Recover(r, 0)
	if err != nil {
		t.Fatal(err)
	}
	before := r.ctl[0]
	second, err := Recover(r, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(first, second) || r.ctl[0] != before {
		t.Errorf("second recovery holds %v, first %v", second, first)
	}
}

func TestRecoverRefusesCorruptRings(t *testing.T) {
	tests := []struct {
		name   string
		damage func(r *ring)
	}{
		{"fill_overfull", func(r *ring) { r.ctl.fillHead += 100 }},
		{"fill_backwards", func(r *ring) { r.ctl.fillTail = r.ctl.fillHead + 1 }},
		{"ready_overfull", func(r *ring) { r.ctl.readyHead += 100 }},
		{"slot_twice_in_fill", func(r *ring) { r.fill[1] = r.fill[2] }},
		{"slot_out_of_range", func(r *ring) { r.fill[1] = 8 }},
		{"slot_twice_ready", func(r *ring) {
			r.ctl.readyHead = 2
			r.ctl.fillTail = 2
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegions(t, small())
			ring := r.ring(0)
			tt.damage(&ring)
			if _, err := Recover(r, 0); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Recover = %v", err)
			}
			r.repair()
			held, ready := takeOver(t, r, 0)
			if len(held)+len(ready) != 0 {
				t.Errorf("repair made packets up: %v %v", held, ready)
			}
			useAll(t, r, 0)
		})
	}
}

// model is a commit ring as plain sets.
type model struct {
	ready []uint32
	held  []uint32
	free  int
	seq   uint32
}

// FuzzRing runs operations on a ring and on a model: commits, pick-ups,
// releases in any order, deaths at any step with recovery.
func FuzzRing(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 1, 2, 0, 3, 2, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 5, 0, 6, 0, 7, 1, 8, 3})
	f.Fuzz(func(t *testing.T, ops []byte) {
		g := Geometry{Workers: 1, CPUs: 1, Slots: 4, MaxSessions: 64}
		r := newRegions(t, g)
		m := model{free: g.Slots}
		idxOf := map[uint32]uint32{}
		w, rd := r.Writer(0), r.Reader(0)
		for _, op := range ops {
			switch op % 8 {
			case 0, 1:
				if ok := put(w, m.seq); ok != (m.free > 0) {
					t.Fatalf("put %v with %d free", ok, m.free)
				} else if ok {
					m.ready = append(m.ready, m.seq)
					m.seq++
					m.free--
				}
			case 2:
				s, idx, ok := rd.Next()
				if ok != (len(m.ready) > 0) {
					t.Fatalf("next %v with %d ready", ok, len(m.ready))
				}
				if ok {
					checkSlot(t, s, m.ready[0])
					m.held = append(m.held, m.ready[0])
					idxOf[m.ready[0]] = idx
					m.ready = m.ready[1:]
				}
			case 3, 4:
				if len(m.held) == 0 {
					continue
				}
				i := int(op/8) % len(m.held)
				if !rd.Release(idxOf[m.held[i]]) {
					t.Fatalf("release of %d refused", m.held[i])
				}
				m.held = slices.Delete(m.held, i, i+1)
				m.free++
			case 5: // the consumer dies releasing
				if len(m.held) == 0 {
					continue
				}
				rd.releaseState(idxOf[m.held[0]])
				if op >= 128 {
					rd.releaseFill(idxOf[m.held[0]])
				}
				m.held = m.held[1:]
				m.free++
				recoverAs(t, r, &m, idxOf)
			case 6: // both die, the producer publishing
				if m.free > 0 {
					s, _ := w.Reserve()
					fillSlot(s, m.seq)
					w.publishState()
					if op >= 128 {
						w.publishReady()
						m.ready = append(m.ready, m.seq)
					} else {
						m.held = append(m.held, m.seq)
					}
					m.seq++
					m.free--
				}
				r.repair()
				recoverAs(t, r, &m, idxOf)
			case 7:
				recoverAs(t, r, &m, idxOf)
			}
			if w.Free() != m.free || rd.Free() != m.free || rd.Pending() != len(m.ready) {
				t.Fatalf("%d free and %d pending, want %d and %d", w.Free(), rd.Pending(), m.free, len(m.ready))
			}
		}
	})
}

func recoverAs(t *testing.T, r *Regions, m *model, idxOf map[uint32]uint32) {
	t.Helper()
	idxs, err := Recover(r, 0)
	if err != nil {
		t.Fatal(err)
	}
	var held []uint32
	for _, idx := range idxs {
		seq := r.Reader(0).Slot(idx).Sequence
		held = append(held, seq)
		idxOf[seq] = idx
	}
	slices.Sort(held)
	want := slices.Sorted(slices.Values(m.held))
	if !slices.Equal(held, want) {
		t.Fatalf("recovered %v, want %v", held, want)
	}
}
