package commit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"unsafe"

	"github.com/xrudp/xrudp/userspace/wire"
)

func withTransfers(pages int) Geometry {
	g := small()
	g.TransferBytes = pages * TransferPage
	return g
}

// large is a message to be put, in chunks.
type large struct {
	session  uint64
	reliable bool
	channel  uint8
	id       uint16
	first    wire.Fragment
	size     int
}

func newLarge(n uint32, size, chunk int) large {
	return large{
		session: 1000 + uint64(n), reliable: n%2 == 0, channel: uint8(n), id: uint16(n * 3), size: size,
		first: wire.Fragment{
			Transfer: n, Total: uint16((size + chunk - 1) / chunk), Chunk: uint16(chunk), Type: uint8(1 + n%200),
		},
	}
}

func (l *large) payload() []byte { return l.bytes(0, l.size) }

func (l *large) bytes(from, to int) []byte {
	b := make([]byte, 0, to-from)
	for i := from; i < to; i++ {
		b = append(b, byte(i*7)+byte(l.first.Transfer)+byte(i>>8))
	}
	return b
}

func (l *large) chunk(index uint16) []byte {
	from := int(index) * int(l.first.Chunk)
	return l.bytes(from, min(from+int(l.first.Chunk), l.size))
}

func (l *large) open(t *Transfers) (uint32, bool) {
	return t.Open(l.session, l.reliable, l.channel, l.id, l.first)
}

func (l *large) mustOpen(t *testing.T, tr *Transfers) uint32 {
	t.Helper()
	handle, ok := l.open(tr)
	if !ok {
		t.Fatalf("no room for %d bytes with %d in use", l.size, tr.Used())
	}
	return handle
}

func (l *large) put(t *Transfers, handle uint32, index uint16) bool {
	return t.Put(handle, index, 500+uint32(index), l.chunk(index))
}

// found is l as Recover yields it.
func (l *large) found(handle uint32, received int, sequence uint32) Transfer {
	return Transfer{
		Handle: handle, Session: l.session, Reliable: l.reliable, Channel: l.channel, ID: l.id,
		First: l.first, Received: received, Sequence: sequence,
	}
}

func viewBytes(table []transfer) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(table))), len(table)*int(unsafe.Sizeof(transfer{})))
}

func recovered(t *Transfers) []Transfer { return slices.Collect(t.Recover()) }

func TestTransferFromFirstToLastChunk(t *testing.T) {
	tests := []struct{ size, chunk, pages int }{
		{2, 1, 1},
		{1025, 1024, 1},
		{4032, 64, 1},
		{4033, 64, 2},
		{100_000, 1024, 25},
		{1_000_000, 1024, 245},
		{65535, 1, 18},
	}
	r := newRegions(t, withTransfers(256))
	tr := r.Transfers(1)
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d_by_%d", tt.size, tt.chunk), func(t *testing.T) {
			l := newLarge(5, tt.size, tt.chunk)
			handle := l.mustOpen(t, tr)
			if tr.Used() != tt.pages*TransferPage {
				t.Errorf("%d bytes in use, want %d pages", tr.Used(), tt.pages)
			}
			payload := l.payload()
			for _, i := range rand.Perm(int(l.first.Total)) {
				from := i * tt.chunk
				if !tr.Put(handle, uint16(i), uint32(i)-3, payload[from:min(from+tt.chunk, tt.size)]) {
					t.Fatalf("chunk %d is there already", i)
				}
				if tr.Put(handle, uint16(i), 99, payload[from:min(from+tt.chunk, tt.size)]) {
					t.Fatalf("chunk %d is new again", i)
				}
			}
			if !bytes.Equal(tr.Payload(handle), payload) {
				t.Error("another message came out")
			}
			want := l.found(handle, int(l.first.Total), uint32(l.first.Total)-4)
			if got := recovered(tr); len(got) != 1 || got[0].Sequence != want.Sequence || fmt.Sprint(got[0]) != fmt.Sprint(want) {
				t.Errorf("recovered %+v, want %+v", got, want)
			}
			tr.Free(handle)
			if tr.Used() != 0 || len(recovered(tr)) != 0 {
				t.Errorf("%d bytes in use after Free", tr.Used())
			}
		})
	}
}

func TestTransfersOfWorkersAreApart(t *testing.T) {
	r := newRegions(t, withTransfers(2))
	first, second := r.Transfers(0), r.Transfers(1)
	a, b := newLarge(0, 8000, 1000), newLarge(1, 8000, 1000)
	ha, hb := a.mustOpen(t, first), b.mustOpen(t, second)
	for i := range a.first.Total {
		a.put(first, ha, i)
		b.put(second, hb, i)
	}
	if !bytes.Equal(first.Payload(ha), a.payload()) || !bytes.Equal(second.Payload(hb), b.payload()) {
		t.Error("one worker's message lies in another's memory")
	}
	if _, ok := a.open(first); ok {
		t.Error("more memory than configured")
	}
	first.Free(ha)
	a.mustOpen(t, first)
}

func TestTransfersWithoutMemory(t *testing.T) {
	g := withTransfers(0)
	tr := newRegions(t, g).Transfers(1)
	l := newLarge(0, 2, 1)
	if _, ok := l.open(tr); ok || len(recovered(tr)) != 0 || g.LargestTransfer() != 0 {
		t.Error("room for a message in no memory")
	}
}

func TestLargestTransferFits(t *testing.T) {
	for _, pages := range []int{2, 3, 7, 8, 9, 256, 300} {
		g := withTransfers(pages)
		size := g.LargestTransfer()
		for _, chunk := range []int{1, 2, 63, 500, 512, 1024, 1443} {
			if total := (size + chunk - 1) / chunk; total < 2 || total > 65535 {
				continue
			}
			tr := newRegions(t, g).Transfers(0)
			l := newLarge(0, size, chunk)
			if _, ok := l.open(tr); !ok {
				t.Errorf("%d pages: %d bytes in chunks of %d do not fit", pages, size, chunk)
			}
		}
		if size < pages*TransferPage*8/9-TransferPage {
			t.Errorf("%d pages: only %d bytes fit", pages, size)
		}
	}
}

func TestTransferMisuse(t *testing.T) {
	tr := newRegions(t, withTransfers(8)).Transfers(0)
	l := newLarge(0, 250, 100)
	handle := l.mustOpen(t, tr)
	freed := l.mustOpen(t, tr)
	tr.Free(freed)
	tests := []struct {
		name string
		do   func()
	}{
		{"index", func() { tr.Put(handle, 3, 0, make([]byte, 100)) }},
		{"short", func() { tr.Put(handle, 0, 0, make([]byte, 99)) }},
		{"long", func() { tr.Put(handle, 0, 0, make([]byte, 101)) }},
		{"long_last", func() { tr.Put(handle, 2, 0, make([]byte, 101)) }},
		{"empty_last", func() { tr.Put(handle, 2, 0, nil) }},
		{"unfinished", func() { tr.Payload(handle) }},
		{"twice", func() { tr.Free(freed) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			tt.do()
		})
	}
}

// The process dies between any two stores of Open, Put and Free. Beside the
// transfer that it happens to, another is there all the time.
func TestTransfersAfterDeath(t *testing.T) {
	l := newLarge(4, 2500, 1000)
	whole := func(t *Transfers) uint32 {
		handle, _ := l.open(t)
		for i := range uint16(3) {
			l.put(t, handle, i)
		}
		return handle
	}
	// begun is what Open stores before the state is set.
	begun := func(t *Transfers, steps int) uint32 {
		handle := uint32(1)
		// What an older transfer left in the pages.
		for i := range t.pages[TransferPage:] {
			t.pages[TransferPage+i] = 0xff
		}
		if steps > 0 {
			t.openFields(handle, l.session, l.channel, l.id, l.first)
		}
		if steps > 1 {
			t.openBitmap(handle)
		}
		if steps > 2 {
			t.openState(handle, l.reliable)
		}
		return handle
	}
	// half is what Put stores of chunk index, behind those before it.
	half := func(t *Transfers, index uint16, steps int) {
		handle, _ := l.open(t)
		for i := range index {
			l.put(t, handle, i)
		}
		b := l.chunk(index)
		if steps == 0 {
			t.putData(handle, index, b[:len(b)/2])
			return
		}
		t.putData(handle, index, b)
		if steps > 1 {
			t.putFields(handle, index, 500+uint32(index), len(b))
		}
		if steps > 2 {
			t.putBit(handle, index)
		}
	}
	tests := []struct {
		name     string
		do       func(t *Transfers)
		received int // -1: nothing is left of it
	}{
		{"open_nothing", func(t *Transfers) { begun(t, 0) }, -1},
		{"open_fields", func(t *Transfers) { begun(t, 1) }, -1},
		{"open_bitmap", func(t *Transfers) { begun(t, 2) }, -1},
		{"open_state", func(t *Transfers) { begun(t, 3) }, 0},
		{"first_half_copied", func(t *Transfers) { half(t, 0, 0) }, 0},
		{"first_copied", func(t *Transfers) { half(t, 0, 1) }, 0},
		{"first_fields", func(t *Transfers) { half(t, 0, 2) }, 0},
		{"first_bit", func(t *Transfers) { half(t, 0, 3) }, 1},
		{"last_half_copied", func(t *Transfers) { half(t, 2, 0) }, 2},
		{"last_copied", func(t *Transfers) { half(t, 2, 1) }, 2},
		{"last_fields", func(t *Transfers) { half(t, 2, 2) }, 2},
		{"last_bit", func(t *Transfers) { half(t, 2, 3) }, 3},
		{"whole", func(t *Transfers) { whole(t) }, 3},
		{"freed", func(t *Transfers) { t.Free(whole(t)) }, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := withTransfers(8)
			path := filepath.Join(t.TempDir(), "commit")
			r, _, closeFile, err := OpenFile(path, g)
			if err != nil {
				t.Fatal(err)
			}
			dead := r.Transfers(0)
			other := newLarge(7, 2900, 1000)
			ho := other.mustOpen(t, dead)
			other.put(dead, ho, 1)
			tt.do(dead)
			if err := closeFile(); err != nil {
				t.Fatal(err)
			}

			r, _, closeFile, err = OpenFile(path, g)
			if err != nil {
				t.Fatal(err)
			}
			defer closeFile()
			tr := r.Transfers(0)
			if tr.Refused() != 0 {
				t.Errorf("%d transfers refused", tr.Refused())
			}
			got := recovered(tr)
			want := []string{fmt.Sprint(other.found(ho, 1, 501))}
			if tt.received >= 0 {
				if len(got) < 2 {
					t.Fatalf("found %+v", got)
				}
				want = append(want, fmt.Sprint(l.found(ho+1, tt.received, got[1].Sequence)))
			}
			if len(got) != len(want) || fmt.Sprint(got[0]) != want[0] || fmt.Sprint(got[len(got)-1]) != want[len(want)-1] {
				t.Fatalf("found %+v, want %v", got, want)
			}
			if tt.received >= 0 {
				// Its slot was not given back: the chunk is offered again.
				for i := range uint16(3) {
					if fresh := l.put(tr, ho+1, i); fresh == (int(i) < tt.received) {
						t.Errorf("chunk %d new: %v", i, fresh)
					}
				}
				if !bytes.Equal(tr.Payload(ho+1), l.payload()) || recovered(tr)[1].Sequence != 502 {
					t.Error("another message came out")
				}
				tr.Free(ho + 1)
			}
			other.put(tr, ho, 0)
			other.put(tr, ho, 2)
			if !bytes.Equal(tr.Payload(ho), other.payload()) {
				t.Error("the other message came to harm")
			}
			tr.Free(ho)
			if tr.Used() != 0 {
				t.Errorf("%d bytes in use", tr.Used())
			}
		})
	}
}

func TestTransfersRefuseNonsense(t *testing.T) {
	tests := []struct {
		name   string
		damage func(tr *Transfers, d *transfer)
	}{
		{"state", func(_ *Transfers, d *transfer) { d.state = 3 }},
		{"total", func(_ *Transfers, d *transfer) { d.total = 1 }},
		{"no_chunk", func(_ *Transfers, d *transfer) { d.chunk = 0 }},
		{"last", func(_ *Transfers, d *transfer) { d.last = d.chunk + 1 }},
		{"type_0", func(_ *Transfers, d *transfer) { d.kind = 0 }},
		{"type_control", func(_ *Transfers, d *transfer) { d.kind = wire.TypeControl }},
		{"few_pages", func(_ *Transfers, d *transfer) { d.pages-- }},
		{"no_pages", func(_ *Transfers, d *transfer) { d.pages = 0 }},
		{"more_chunks", func(_ *Transfers, d *transfer) { d.total *= 8 }},
		{"beyond_the_end", func(_ *Transfers, d *transfer) { d.total, d.pages = 100, 25 }},
		{"bit_beyond_total", func(tr *Transfers, d *transfer) { tr.bitmap(2)[0] |= 1 << d.total }},
		{"bit_in_the_next_word", func(tr *Transfers, _ *transfer) { tr.bitmap(2)[1] = 1 }},
		{"last_without_size", func(tr *Transfers, d *transfer) { tr.bitmap(2)[0] |= 1 << (d.total - 1) }},
		{"over_another", func(tr *Transfers, d *transfer) {
			tr.table[1] = *d
			tr.bitmap(1)[0] = 0
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := withTransfers(20)
			m, _ := carve(g, func(n int) []byte { return make([]byte, n) })
			r, err := NewRegions(g, m)
			if err != nil {
				t.Fatal(err)
			}
			tr := r.Transfers(1)
			before, l := newLarge(1, 5000, 1000), newLarge(2, 30_000, 1000)
			before.mustOpen(t, tr)
			handle := l.mustOpen(t, tr)
			tr.Free(0)
			tt.damage(tr, &tr.table[handle])

			tr = r.Transfers(1)
			// What overlaps is settled in favour of the one that comes first.
			left := 0
			if tt.name == "over_another" {
				left = 1
			}
			if tr.Refused() != 1 || len(recovered(tr)) != left {
				t.Fatalf("%d refused, found %+v", tr.Refused(), recovered(tr))
			}
			for _, found := range recovered(tr) {
				tr.Free(found.Handle)
			}
			if all := newLarge(3, 19*TransferPage, 512); tr.Used() != 0 {
				t.Errorf("%d bytes in use", tr.Used())
			} else if _, ok := all.open(tr); !ok {
				t.Error("pages are lost")
			}
		})
	}
}

// FuzzTransfersMemory takes over memory of any content.
func FuzzTransfersMemory(f *testing.F) {
	f.Add([]byte{}, []byte{})
	tr := newRegions(f, withTransfers(6)).Transfers(0)
	for n := range uint32(3) {
		l := newLarge(n, 5000, 700)
		handle, _ := l.open(tr)
		l.put(tr, handle, 7)
		l.put(tr, handle, 2)
	}
	r := newRegions(f, withTransfers(6))
	f.Add(slices.Clone(viewBytes(tr.table)), slices.Clone(tr.pages))
	f.Fuzz(func(t *testing.T, table, pages []byte) {
		clear(r.transfers)
		clear(r.transferPages)
		copy(viewBytes(r.transfers), table)
		copy(r.transferPages, pages)
		tr := r.Transfers(0)
		used := 0
		for found := range tr.Recover() {
			missing := 0
			for i := range found.First.Total {
				size := int(found.First.Chunk)
				if tr.Put(found.Handle, i, 0, make([]byte, size)) {
					missing++
				}
			}
			if found.Received+missing != int(found.First.Total) {
				t.Fatalf("%+v: %d chunks were missing", found, missing)
			}
			used += int(tr.table[found.Handle].pages)
			if len(tr.Payload(found.Handle)) < int(found.First.Total)-1 {
				t.Fatalf("%+v: payload of %d bytes", found, len(tr.Payload(found.Handle)))
			}
			tr.Free(found.Handle)
		}
		if used > len(tr.table) || tr.Used() != 0 {
			t.Fatalf("%d pages were in use, %d bytes are", used, tr.Used())
		}
	})
}

// modelTransfer is an open transfer of FuzzTransfers.
type modelTransfer struct {
	large
	handle uint32
	has    map[uint16]bool
}

// FuzzTransfers opens, fills and frees transfers, with a death now and then,
// against a model that knows what each must hold.
func FuzzTransfers(f *testing.F) {
	f.Add([]byte{0, 9, 0, 200, 1, 3, 1, 4, 3, 0, 0, 90, 1, 77, 2, 0, 3, 0, 1, 1})
	f.Add([]byte{0, 255, 0, 255, 0, 1, 2, 0, 0, 255, 4, 1, 1, 5, 1, 6, 3, 0, 5, 1})
	f.Fuzz(func(t *testing.T, ops []byte) {
		const pages = 12
		r := newRegions(t, withTransfers(pages))
		tr := r.Transfers(0)
		var open []*modelTransfer
		for n := uint32(0); len(ops) >= 2; ops, n = ops[2:], n+1 {
			arg := int(ops[1])
			var one *modelTransfer
			if len(open) > 0 {
				one = open[arg%len(open)]
			}
			switch ops[0] % 6 {
			case 0:
				m := &modelTransfer{large: newLarge(n, 101+arg*90, 60+arg%40), has: map[uint16]bool{}}
				handle, ok := m.open(tr)
				if ok != roomFor(open, pages, pagesFor(m.first.Total, m.first.Chunk)) {
					t.Fatalf("open %d of %d bytes: %v with %v", n, m.size, ok, open)
				}
				if m.handle = handle; ok {
					open = append(open, m)
				}
			case 1, 2:
				if one == nil {
					continue
				}
				for i := range one.first.Total {
					if index := (i + uint16(arg)) % one.first.Total; ops[0]%6 == 2 || i < 3 {
						if fresh := one.put(tr, one.handle, index); fresh == one.has[index] {
							t.Fatalf("chunk %d of %d is new: %v", index, one.first.Transfer, fresh)
						}
						one.has[index] = true
					}
				}
			case 3:
				if one != nil {
					tr.Free(one.handle)
					open = slices.DeleteFunc(open, func(m *modelTransfer) bool { return m == one })
				}
			case 4: // dies inside Put
				if one != nil {
					if index := uint16(arg) % one.first.Total; !one.has[index] {
						tr.putData(one.handle, index, one.chunk(index))
						tr.putFields(one.handle, index, 0, len(one.chunk(index)))
					}
				}
				tr = r.Transfers(0)
			case 5:
				tr = r.Transfers(0)
			}
			checkTransfers(t, tr, open)
		}
	})
}

// roomFor reports whether n pages in a row are free.
func roomFor(open []*modelTransfer, pages, n int) bool {
	run := 0
	for page := range pages {
		run++
		for _, m := range open {
			if first := int(m.handle); page >= first && page < first+pagesFor(m.first.Total, m.first.Chunk) {
				run = 0
			}
		}
		if run == n {
			return true
		}
	}
	return false
}

func checkTransfers(t *testing.T, tr *Transfers, open []*modelTransfer) {
	t.Helper()
	pages := 0
	byHandle := map[uint32]*modelTransfer{}
	for _, m := range open {
		pages += pagesFor(m.first.Total, m.first.Chunk)
		byHandle[m.handle] = m
	}
	if tr.Used() != pages*TransferPage || tr.Refused() != 0 {
		t.Fatalf("%d bytes in use and %d refused, want %d pages", tr.Used(), tr.Refused(), pages)
	}
	for found := range tr.Recover() {
		m := byHandle[found.Handle]
		if m == nil || fmt.Sprint(found) != fmt.Sprint(m.found(found.Handle, len(m.has), found.Sequence)) {
			t.Fatalf("found %+v, want %+v", found, m)
		}
		delete(byHandle, found.Handle)
		if found.Received == int(m.first.Total) && !bytes.Equal(tr.Payload(found.Handle), m.payload()) {
			t.Fatalf("transfer %d holds another message", found.First.Transfer)
		}
	}
	if len(byHandle) != 0 {
		t.Fatalf("not found: %v", byHandle)
	}
}

func TestTransfersDoNotAllocate(t *testing.T) {
	tr := newRegions(t, withTransfers(64)).Transfers(0)
	l := newLarge(2, 100_000, 1000)
	data := make([]byte, 1000)
	if n := testing.AllocsPerRun(100, func() {
		handle, _ := l.open(tr)
		for i := range l.first.Total {
			tr.Put(handle, i, 0, data)
		}
		tr.Payload(handle)
		tr.Free(handle)
	}); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}

func BenchmarkTransfersPut(b *testing.B) {
	tr := newRegions(b, withTransfers(512)).Transfers(0)
	l := newLarge(2, 1_000_000, 1000)
	data := make([]byte, 1000)
	handle, _ := l.open(tr)
	b.SetBytes(1000)
	for i := uint16(0); b.Loop(); i++ {
		if i == l.first.Total {
			tr.Free(handle)
			handle, _ = l.open(tr)
			i = 0
		}
		tr.Put(handle, i, 0, data)
	}
}
