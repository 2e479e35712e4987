package commit

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"unsafe"
)

func small() Geometry {
	return Geometry{Workers: 2, CPUs: 2, Slots: 8, MaxSessions: 256, TransferBytes: 2 * TransferPage}
}

func newRegions(t testing.TB, g Geometry) *Regions {
	t.Helper()
	r, err := NewMemory(g)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// put commits a packet with the given sequence, and is false on a full ring.
func put(w *Writer, seq uint32) bool {
	s, ok := w.Reserve()
	if !ok {
		return false
	}
	fillSlot(s, seq)
	w.Publish()
	return true
}

func fillSlot(s *Slot, seq uint32) {
	s.Sequence = seq
	s.Length = uint16(8 + seq%64)
	for i := range s.Body() {
		s.Data[i] = byte(seq) + byte(i)
	}
}

func checkSlot(t *testing.T, s *Slot, seq uint32) {
	t.Helper()
	if s.Sequence != seq {
		t.Fatalf("slot holds sequence %d, want %d", s.Sequence, seq)
	}
	if len(s.Body()) != int(8+seq%64) {
		t.Fatalf("slot of %d holds %d bytes", seq, len(s.Body()))
	}
	for i, b := range s.Body() {
		if b != byte(seq)+byte(i) {
			t.Fatalf("slot of %d: byte %d is %#x", seq, i, b)
		}
	}
}

func TestLayout(t *testing.T) {
	var (
		flow Flow
		slot Slot
		ctl  ringCtl
	)
	tests := []struct {
		name      string
		got, want uintptr
	}{
		{"flow.ack", unsafe.Offsetof(flow.ack), 4},
		{"flow.window", unsafe.Offsetof(flow.window), 8},
		{"flow.rtt_us", unsafe.Offsetof(flow.rttUS), 12},
		{"flow.rtt_count", unsafe.Offsetof(flow.rttCount), 16},
		{"flow.last_seen", unsafe.Offsetof(flow.lastSeen), 24},
		{"flow.sack_high", unsafe.Offsetof(flow.sackHigh), 32},
		{"flow.ece", unsafe.Offsetof(flow.ece), 64},
		{"flow.sack", unsafe.Offsetof(flow.sack), 128},
		{"flow.id", unsafe.Offsetof(flow.id), 256},
		{"flow.snd_nxt", unsafe.Offsetof(flow.sndNxt), 264},
		{"flow.state", unsafe.Offsetof(flow.state), 268},
		{"flow.client_isn", unsafe.Offsetof(flow.clientISN), 272},
		{"flow.server_isn", unsafe.Offsetof(flow.serverISN), 276},
		{"flow.key", unsafe.Offsetof(flow.key), 280},
		{"flow.opened", unsafe.Offsetof(flow.opened), 320},
		{"flow.delivered", unsafe.Offsetof(flow.delivered), 328},
		{"commit_slot.session_id", unsafe.Offsetof(slot.SessionID), 8},
		{"commit_slot.session_slot", unsafe.Offsetof(slot.SessionSlot), 16},
		{"commit_slot.sequence", unsafe.Offsetof(slot.Sequence), 20},
		{"commit_slot.timestamp", unsafe.Offsetof(slot.Timestamp), 24},
		{"commit_slot.length", unsafe.Offsetof(slot.Length), 32},
		{"commit_slot.flags", unsafe.Offsetof(slot.Flags), 34},
		{"commit_slot.state", unsafe.Offsetof(slot.state), 36},
		{"commit_slot.data", unsafe.Offsetof(slot.Data), 40},
		{"commit_ctl.fill_tail", unsafe.Offsetof(ctl.fillTail), 8},
		{"commit_ctl.fill_seen", unsafe.Offsetof(ctl.fillSeen), 16},
		{"commit_ctl.fill_head", unsafe.Offsetof(ctl.fillHead), 128},
		{"commit_ctl.ready_tail", unsafe.Offsetof(ctl.readyTail), 136},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s at %d, want %d", tt.name, tt.got, tt.want)
		}
	}
}

func TestGeometryValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Geometry)
		ok     bool
	}{
		{"small", func(*Geometry) {}, true},
		{"no_workers", func(g *Geometry) { g.Workers = 0 }, false},
		{"many_workers", func(g *Geometry) { g.Workers = MaxWorkers + 1 }, false},
		{"no_cpus", func(g *Geometry) { g.CPUs = 0 }, false},
		{"one_slot", func(g *Geometry) { g.Slots = 1 }, false},
		{"slots_no_power_of_two", func(g *Geometry) { g.Slots = 24 }, false},
		{"negative_slots", func(g *Geometry) { g.Slots = -8 }, false},
		{"sessions_share_a_dirty_word", func(g *Geometry) { g.MaxSessions = 64 }, false},
		{"no_transfers", func(g *Geometry) { g.TransferBytes = 0 }, true},
		{"part_of_a_transfer_page", func(g *Geometry) { g.TransferBytes = TransferPage / 2 }, false},
		{"negative_transfers", func(g *Geometry) { g.TransferBytes = -TransferPage }, false},
		{"many_transfers", func(g *Geometry) { g.TransferBytes = MaxTransferBytes + TransferPage }, false},
		{"no_sessions", func(g *Geometry) { g.MaxSessions = 0 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := small()
			tt.change(&g)
			if err := g.Validate(); (err == nil) != tt.ok {
				t.Errorf("Validate(%+v) = %v", g, err)
			}
			if _, err := NewMemory(g); (err == nil) != tt.ok {
				t.Errorf("NewMemory(%+v) = %v", g, err)
			}
		})
	}
}

func TestNewRegionsRefusesShortOrCrookedMemory(t *testing.T) {
	g := small()
	whole, _ := carve(g, func(n int) []byte { return make([]byte, n) })
	tests := []struct {
		name   string
		change func(*Memory)
	}{
		{"short_flows", func(m *Memory) { m.Flows = m.Flows[:g.Sizes().Flows-1] }},
		{"short_workers", func(m *Memory) { m.Workers = m.Workers[:g.Sizes().Workers-1] }},
		{"short_transfers", func(m *Memory) { m.Transfers = m.Transfers[:g.Sizes().Transfers-1] }},
		{"missing_transfer_pages", func(m *Memory) { m.TransferPages = nil }},
		{"missing_ready", func(m *Memory) { m.Ready = nil }},
		{"crooked_slots", func(m *Memory) { m.Slots = append(m.Slots, make([]byte, 64)...)[8:] }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := whole
			tt.change(&m)
			if _, err := NewRegions(g, m); err == nil {
				t.Error("NewRegions took it")
			}
		})
	}
	if _, err := NewRegions(g, whole); err != nil {
		t.Errorf("NewRegions refuses whole memory: %v", err)
	}
}

func TestRingFillsAndEmpties(t *testing.T) {
	g := small()
	r := newRegions(t, g)
	w, rd := r.Writer(3), r.Reader(3)
	for round := range uint32(5) {
		for i := range uint32(g.Slots) {
			if w.Free() != g.Slots-int(i) {
				t.Fatalf("round %d: %d free before packet %d", round, w.Free(), i)
			}
			if !put(w, round*100+i) {
				t.Fatalf("round %d: full at %d", round, i)
			}
		}
		if put(w, 999) {
			t.Fatalf("round %d: a full ring took a packet", round)
		}
		if rd.Pending() != g.Slots {
			t.Fatalf("round %d: %d pending", round, rd.Pending())
		}
		for i := range uint32(g.Slots) {
			s, idx, ok := rd.Next()
			if !ok {
				t.Fatalf("round %d: packet %d missing", round, i)
			}
			checkSlot(t, s, round*100+i)
			if !rd.Release(idx) {
				t.Fatalf("round %d: slot %d not released", round, idx)
			}
			if rd.Release(idx) {
				t.Fatalf("round %d: slot %d released twice", round, idx)
			}
		}
		if _, _, ok := rd.Next(); ok {
			t.Fatalf("round %d: an empty ring gave a packet", round)
		}
	}
	for n := range g.Rings() {
		if n != 3 && (r.Reader(n).Pending() != 0 || r.Writer(n).Free() != g.Slots) {
			t.Errorf("ring %d changed", n)
		}
	}
}

func TestReserveAloneChangesNothing(t *testing.T) {
	r := newRegions(t, small())
	w := r.Writer(0)
	first, _ := w.Reserve()
	second, _ := w.Reserve()
	if first != second || w.Free() != 8 || r.Reader(0).Pending() != 0 {
		t.Error("Reserve took a slot")
	}
}

func TestPublishReportsASleepingWorkerOnce(t *testing.T) {
	r := newRegions(t, small())
	w := r.Writer(small().Ring(1, 1))
	publish := func() bool {
		if _, ok := w.Reserve(); !ok {
			t.Fatal("ring full")
		}
		return w.Publish()
	}
	if publish() {
		t.Error("woke a worker that was awake")
	}
	r.SetAsleep(0)
	if publish() {
		t.Error("woke another worker's")
	}
	r.SetAsleep(1)
	if !publish() {
		t.Error("left a sleeping worker")
	}
	if publish() {
		t.Error("woke twice")
	}
	r.SetAsleep(1)
	r.ClearAsleep(1)
	if r.Wake(1) {
		t.Error("asleep after ClearAsleep")
	}
}

// One goroutine per end of each ring, slots held back and released out of
// order. Run with -race.
func TestProducerAndConsumerConcurrently(t *testing.T) {
	const packets = 20_000
	g := small()
	r := newRegions(t, g)
	var wg sync.WaitGroup
	for ring := range g.Rings() {
		wg.Go(func() {
			w := r.Writer(ring)
			for seq := uint32(0); seq < packets; {
				if put(w, seq) {
					seq++
				} else {
					runtime.Gosched()
				}
			}
		})
		wg.Go(func() {
			rd := r.Reader(ring)
			rng := rand.New(rand.NewPCG(1, uint64(ring)))
			var held []uint32
			for want := uint32(0); want < packets; {
				s, idx, ok := rd.Next()
				if ok {
					checkSlot(t, s, want)
					want++
					held = append(held, idx)
				} else {
					runtime.Gosched()
				}
				if free := rd.Free(); free < 0 || free > g.Slots {
					t.Errorf("%d slots free", free)
				}
				if len(held) > 0 && (!ok || rng.IntN(2) == 0) {
					i := rng.IntN(len(held))
					rd.Release(held[i])
					held[i] = held[len(held)-1]
					held = held[:len(held)-1]
				}
			}
		})
	}
	wg.Wait()
}

func TestSlotBodyIsBounded(t *testing.T) {
	s := Slot{Length: 0xffff}
	if len(s.Body()) != MaxBody {
		t.Errorf("body of %d bytes", len(s.Body()))
	}
}

// scribble overwrites shared memory with what a broken or hostile process may
// leave; every reader has to survive it.
func TestArbitraryMemoryDoesNotPanic(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		g := small()
		m, _ := carve(g, func(n int) []byte { return make([]byte, n) })
		for _, b := range [][]byte{m.Flows, m.Dirty, m.Ctl, m.Fill, m.Ready, m.Workers, m.Slots} {
			for i := 0; i+8 <= len(b); i += 8 {
				switch rng.IntN(4) {
				case 0:
					binary.NativeEndian.PutUint64(b[i:], rng.Uint64())
				case 1:
					binary.NativeEndian.PutUint64(b[i:], rng.Uint64N(16))
				}
			}
		}
		r, err := NewRegions(g, m)
		if err != nil {
			t.Fatal(err)
		}
		use := func() {
			for n := range g.Rings() {
				w, rd := r.Writer(n), r.Reader(n)
				for seq := range uint32(20) {
					put(w, seq)
					if s, idx, ok := rd.Next(); ok {
						_ = s.Body()
						rd.Release(idx)
					}
					_ = rd.Pending() + rd.Free() + w.Free()
				}
			}
			for slot := range uint32(g.MaxSessions) {
				_, _ = r.Flow(slot).Load()
				_ = r.Flow(slot).Info()
			}
			for worker := range g.Workers {
				r.TakeDirty(worker, func(slot uint32) {
					if owner, ok := r.Owner(slot); !ok || owner != worker {
						t.Fatalf("slot %d came to worker %d", slot, worker)
					}
				})
			}
		}
		for n := range g.Rings() {
			held, err := Recover(r, n)
			if err == nil && len(held) > g.Slots {
				t.Fatalf("%d slots held", len(held))
			}
		}
		use()
		// After repair everything has to work again.
		r.repair()
		for n := range g.Rings() {
			held, err := Recover(r, n)
			if err != nil {
				t.Fatalf("recover repaired ring: %v", err)
			}
			drainAll(t, r, n, held)
		}
		use()
	}
}

// drainAll releases everything in a ring and checks that all slots are free.
func drainAll(t *testing.T, r *Regions, n int, held []uint32) {
	t.Helper()
	rd := r.Reader(n)
	for _, idx := range held {
		if !rd.Release(idx) {
			t.Fatalf("held slot %d is not committed", idx)
		}
	}
	for {
		_, idx, ok := rd.Next()
		if !ok {
			break
		}
		rd.Release(idx)
	}
	if free := r.Writer(n).Free(); free != r.geometry.Slots {
		t.Fatalf("ring %d: %d of %d slots free after draining", n, free, r.geometry.Slots)
	}
}

func TestRingDoesNotAllocate(t *testing.T) {
	r := newRegions(t, small())
	w, rd := r.Writer(0), r.Reader(0)
	allocs := testing.AllocsPerRun(1000, func() {
		put(w, 1)
		r.MarkDirty(3)
		_, idx, ok := rd.Next()
		if !ok {
			t.Fatal("nothing there")
		}
		rd.Release(idx)
	})
	if allocs != 0 {
		t.Errorf("%v allocations per packet", allocs)
	}
}

func BenchmarkRing(b *testing.B) {
	r := newRegions(b, Geometry{Workers: 1, CPUs: 1, Slots: 1024, MaxSessions: 64})
	w, rd := r.Writer(0), r.Reader(0)
	b.ReportAllocs()
	for b.Loop() {
		s, _ := w.Reserve()
		s.Length = 64
		w.Publish()
		_, idx, _ := rd.Next()
		rd.Release(idx)
	}
}
