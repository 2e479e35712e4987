package commit

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/xrudp/xrudp/userspace/wire"
)

func TestFlowCarriesBothHalves(t *testing.T) {
	r := newRegions(t, small())
	f := r.Flow(7)
	if f.IsOpen() {
		t.Error("a zeroed flow is open")
	}
	info := FlowInfo{
		ID: 1 << 60, ClientISN: 3, ServerISN: 4, Token: 8, SndNxt: 5, Opened: 6,
		Key: wire.Key{Client: [16]byte{1, 15: 2}, Server: [16]byte{3, 15: 4}, ClientPort: 0x1234, ServerPort: 0xabcd},
	}
	f.Open(&info, 99)
	if !f.IsOpen() || f.Info() != info {
		t.Errorf("info %+v, want %+v", f.Info(), info)
	}
	got, ok := f.Load()
	if want := (FlowState{Ack: 5, SackHigh: 5, Window: 99, LastSeen: 6, Advertised: wire.ReceiveWindow}); !ok || got != want {
		t.Errorf("opened with %+v", got)
	}
	want := FlowState{
		Ack: 0xfffffff0, Window: 0x8001, SackHigh: 5, Sack: [SackWords]uint64{1, 2, 15: 1 << 63},
		RTTMicros: 77, RTTCount: 8, LastSeen: 1 << 50, Echo: 1 << 31, ECE: 9, Advertised: 10,
	}
	f.Store(&want)
	if got, ok := f.Load(); !ok || got != want {
		t.Errorf("Load() = %+v, want %+v", got, want)
	}
	if f.Info() != info {
		t.Error("Store changed the worker's half")
	}
	want.SackHigh, want.Sack = want.Ack, [SackWords]uint64{}
	f.Store(&want)
	if got, ok := f.Load(); !ok || got != want || f.sack != want.Sack {
		t.Errorf("Load() = %+v, want nothing selected; %x", got, f.sack)
	}
	f.Store(&FlowState{Ack: 1, SackHigh: 9, Sack: [SackWords]uint64{1 << 8}})
	f.SetSndNxt(50)
	if f.SndNxt() != 50 {
		t.Error("SetSndNxt did not")
	}
	f.SetReleased(51)
	f.Advertise(52)
	if f.Released() != 51 || f.Advertised() != 52 || f.SndNxt() != 50 {
		t.Errorf("released %d, advertised %d", f.Released(), f.Advertised())
	}
	if f.Open(&info, 99); f.Released() != 0 || f.sack != [SackWords]uint64{} {
		t.Error("a session begins with what another released, or had selected")
	}
	f.Free()
	if f.IsOpen() {
		t.Error("open after Free")
	}
}

func TestFlowPortsAreInNetworkOrder(t *testing.T) {
	k := packKey(wire.Key{ClientPort: 0x1234, ServerPort: 0xabcd})
	if k.clientPort != [2]byte{0x12, 0x34} || k.serverPort != [2]byte{0xab, 0xcd} {
		t.Errorf("ports %x %x", k.clientPort, k.serverPort)
	}
}

func TestLoadGivesUpOnAChangeThatDoesNotEnd(t *testing.T) {
	r := newRegions(t, small())
	f := r.Flow(0)
	f.version = 7
	if _, ok := f.Load(); ok {
		t.Error("read a flow in the middle of a change")
	}
	r.repair()
	if _, ok := f.Load(); !ok {
		t.Error("repair left the change open")
	}
}

// Every field of a state stored here is derived from one number, so that a
// torn copy shows.
func stateOf(n uint32) FlowState {
	return FlowState{
		Ack: n, Window: uint16(n), SackHigh: n + 1, LastSeen: uint64(n) << 20,
		Sack: [SackWords]uint64{uint64(n), ^uint64(n), uint64(n) << 7, 15: uint64(n) * 3}, RTTMicros: ^n, RTTCount: n / 2,
		Echo: n << 3, ECE: n * 5, Advertised: n + 1,
	}
}

func TestLoadIsNeverTorn(t *testing.T) {
	r := newRegions(t, small())
	f := r.Flow(0)
	first := stateOf(0)
	f.Store(&first)
	const changes = 50_000
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range uint32(changes) {
			s := stateOf(n)
			f.Store(&s)
		}
	})
	for last := uint32(0); last < changes-1; {
		s, ok := f.Load()
		if !ok {
			continue
		}
		if s != stateOf(s.Ack) {
			t.Fatalf("torn copy %+v", s)
		}
		if s.Ack < last {
			t.Fatalf("went back from %d to %d", last, s.Ack)
		}
		last = s.Ack
	}
	wg.Wait()
}

func TestTakeDirtyGivesEachWorkerItsOwn(t *testing.T) {
	g := small()
	r := newRegions(t, g)
	marked := []uint32{0, 1, 63, 64, 127, 128, 200, 255}
	for _, slot := range marked {
		r.MarkDirty(slot)
		r.MarkDirty(slot)
	}
	var got []uint32
	for worker := range g.Workers {
		r.TakeDirty(worker, func(slot uint32) {
			if owner, _ := r.Owner(slot); owner != worker {
				t.Errorf("slot %d came to worker %d", slot, worker)
			}
			got = append(got, slot)
		})
	}
	if !slices.Equal(got, marked) {
		t.Errorf("took %v, want %v", got, marked)
	}
	r.TakeDirty(0, func(slot uint32) { t.Errorf("slot %d is still dirty", slot) })
}

func TestOwnerOfNoSlot(t *testing.T) {
	r := newRegions(t, small())
	for _, slot := range []uint32{256, 1 << 31, 0xffffffff} {
		if _, ok := r.Owner(slot); ok {
			t.Errorf("slot %d has an owner", slot)
		}
	}
}

// No mark is lost between one goroutine that marks and one that takes.
func TestDirtyConcurrently(t *testing.T) {
	r := newRegions(t, small())
	const marks = 20_000
	var published [128]uint32 // guarded by the bitmap's ordering
	var wg sync.WaitGroup
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(5, 6))
		for n := range uint32(marks) {
			slot := rng.Uint32N(128)
			r.Flow(slot).SetSndNxt(n)
			published[slot] = n
			r.MarkDirty(slot)
		}
		r.Flow(0).SetSndNxt(marks)
		published[0] = marks
		r.MarkDirty(0)
	})
	var seen [128]uint32
	for seen[0] != marks {
		r.TakeDirty(0, func(slot uint32) { seen[slot] = r.Flow(slot).SndNxt() })
	}
	wg.Wait()
	r.TakeDirty(0, func(slot uint32) { seen[slot] = r.Flow(slot).SndNxt() })
	if seen != published {
		t.Error("a mark was lost")
	}
}
