package reliability

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/wire"
)

// parts is a large message, cut.
type parts struct {
	reliable bool
	channel  uint8
	id       uint16
	transfer uint32
	size     int
	chunk    int
}

// packetOf returns the sequence of the packet with chunk index.
func packetOf(index int) uint32 { return uint32(index) - 2 }

// part returns chunk index of p.
func (p parts) part(index int) Chunk {
	return Chunk{
		Reliable: p.reliable, Channel: p.channel, ID: p.id, Sequence: packetOf(index),
		Fragment: wire.Fragment{
			Transfer: p.transfer, Index: uint16(index), Total: uint16(p.total()), Chunk: uint16(p.chunk), Type: 7,
			Data: p.payload()[index*p.chunk : min((index+1)*p.chunk, p.size)],
		},
	}
}

func (p parts) total() int { return (p.size + p.chunk - 1) / p.chunk }

func (p parts) payload() []byte {
	b := make([]byte, p.size)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8) ^ byte(p.transfer*31)
	}
	return b
}

// unreliable and reliable messages of five chunks each.
func unreliable(transfer uint32) parts {
	return parts{channel: 3 | wire.Unordered, id: uint16(transfer), transfer: transfer, size: 450, chunk: 100}
}

func reliable(transfer uint32) parts {
	p := unreliable(transfer)
	p.reliable = true
	return p
}

const testLimit = 100_000

func newReassembler(limit int) *Reassembler {
	r := new(Reassembler)
	r.Init(1, new(Heap), new(Orderer), limit, 1000)
	return r
}

func takes(t *testing.T, r *Reassembler, c Chunk, now uint64, want Taken) Large {
	t.Helper()
	m, what := r.Take(c, now)
	if what != want {
		t.Fatalf("chunk %d of transfer %d: %v, want %v", c.Fragment.Index, c.Fragment.Transfer, what, want)
	}
	return m
}

// takesAll gives every chunk, the first last.
func takesAll(t *testing.T, r *Reassembler, p parts) Large {
	t.Helper()
	for i := p.total() - 1; i > 0; i-- {
		takes(t, r, p.part(i), 0, ChunkKept)
	}
	m := takes(t, r, p.part(0), 0, ChunkCompletes)
	want := Large{
		Ref: m.Ref, Reliable: p.reliable, Channel: p.channel, ID: p.id, Type: 7,
		Sequence: packetOf(p.total() - 1), Payload: p.payload(),
	}
	if fmt.Sprint(m) != fmt.Sprint(want) {
		t.Fatalf("another message came out: %+v", m)
	}
	return m
}

func TestReassemblerPutsMessagesTogether(t *testing.T) {
	tests := []struct {
		name string
		parts
	}{
		{"unreliable", unreliable(0)},
		{"reliable", reliable(0)},
		{"ordered", parts{reliable: true, channel: 3, transfer: 9, size: 2049, chunk: 1024}},
		{"two_bytes", parts{size: 2, chunk: 1}},
		{"whole_chunks", parts{size: 5120, chunk: 1024}},
		{"at_the_limit", parts{reliable: true, size: testLimit, chunk: 999}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newReassembler(testLimit)
			m := takesAll(t, r, tt.parts)
			if r.Kept() != 1 || r.Deadline() != Never {
				t.Errorf("%d kept, deadline %d", r.Kept(), r.Deadline())
			}
			if again := r.Message(m.Ref); fmt.Sprint(again) != fmt.Sprint(m) {
				t.Errorf("another message came out later: %+v", again)
			}
			r.Done(m.Ref)
			if r.Kept() != 0 || r.Bytes() != 0 {
				t.Errorf("%d kept with %d bytes after Done", r.Kept(), r.Bytes())
			}
			takes(t, r, tt.part(0), 0, ChunkLate)
		})
	}
}

func TestReassemblerRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(c *Chunk)
		want   Taken
	}{
		{"total", func(c *Chunk) { c.Fragment.Total++ }, ChunkMismatched},
		{"chunk", func(c *Chunk) { c.Fragment.Chunk--; c.Fragment.Data = c.Fragment.Data[1:] }, ChunkMismatched},
		{"type", func(c *Chunk) { c.Fragment.Type++ }, ChunkMismatched},
		{"channel", func(c *Chunk) { c.Channel++ }, ChunkMismatched},
		{"unordered", func(c *Chunk) { c.Channel ^= wire.Unordered }, ChunkMismatched},
		{"id", func(c *Chunk) { c.ID++ }, ChunkMismatched},
		{"twice", func(c *Chunk) { c.Fragment.Index = 2 }, ChunkTwice},
		{"too_large", func(c *Chunk) { c.Fragment.Total = 65535 }, ChunkTooLarge},
		{"last_too_large", func(c *Chunk) { c.Fragment.Index, c.Fragment.Total = 10, 11 }, ChunkTooLarge},
		{"another_class", func(c *Chunk) { c.Reliable = !c.Reliable }, ChunkKept},
		{"another_transfer", func(c *Chunk) { c.Fragment.Transfer++ }, ChunkKept},
	}
	for _, class := range []struct {
		name string
		parts
	}{{"unreliable", unreliable(4)}, {"reliable", reliable(4)}} {
		for _, tt := range tests {
			t.Run(class.name+"_"+tt.name, func(t *testing.T) {
				r := newReassembler(1099)
				takes(t, r, class.part(2), 0, ChunkKept)
				c := class.part(1)
				tt.change(&c)
				takes(t, r, c, 0, tt.want)
				if v := tt.want.Violation(); v != (tt.want == ChunkMismatched || tt.want == ChunkTooLarge) {
					t.Errorf("violation %v", v)
				}
				if r.Stats.Chunks[tt.want] == 0 {
					t.Error("not counted")
				}
				for _, i := range []int{0, 1, 3} {
					takes(t, r, class.part(i), 0, ChunkKept)
				}
				if m := takes(t, r, class.part(4), 0, ChunkCompletes); !bytes.Equal(m.Payload, class.payload()) {
					t.Error("another message came out")
				}
			})
		}
	}
}

func TestReassemblerKeepsToItsBounds(t *testing.T) {
	t.Run("reliable_messages_wait", func(t *testing.T) {
		r := newReassembler(testLimit)
		for n := range uint32(MaxTransfers) {
			takes(t, r, reliable(n).part(0), 0, ChunkKept)
		}
		takes(t, r, reliable(MaxTransfers).part(0), 0, ChunkWaits)
		takes(t, r, unreliable(0).part(0), 0, ChunkWithoutRoom)
		for i := 1; i < 4; i++ {
			takes(t, r, reliable(0).part(i), 0, ChunkKept)
		}
		m := takes(t, r, reliable(0).part(4), 0, ChunkCompletes)
		takes(t, r, reliable(MaxTransfers).part(0), 0, ChunkWaits)
		r.Done(m.Ref)
		takes(t, r, reliable(MaxTransfers).part(0), 0, ChunkKept)
	})
	t.Run("bytes", func(t *testing.T) {
		r := newReassembler(1000)
		takes(t, r, reliable(0).part(0), 0, ChunkKept)
		takes(t, r, reliable(1).part(0), 0, ChunkKept)
		takes(t, r, reliable(2).part(0), 0, ChunkWaits)
		if r.Bytes() != 802 {
			t.Errorf("%d bytes kept", r.Bytes())
		}
	})
	t.Run("unreliable_messages_give_way", func(t *testing.T) {
		r := newReassembler(1000)
		takes(t, r, unreliable(0).part(0), 1, ChunkKept)
		takes(t, r, unreliable(1).part(0), 2, ChunkKept)
		takes(t, r, unreliable(0).part(1), 3, ChunkKept)
		takes(t, r, unreliable(2).part(0), 4, ChunkKept)
		takes(t, r, unreliable(1).part(1), 5, ChunkLate)
		takes(t, r, unreliable(0).part(2), 6, ChunkKept)
		takes(t, r, reliable(0).part(0), 7, ChunkKept)
		takes(t, r, reliable(1).part(0), 8, ChunkKept)
		takes(t, r, unreliable(3).part(0), 9, ChunkWithoutRoom)
		if r.Stats.Evicted != 3 || r.Kept() != 2 {
			t.Errorf("%d evicted, %d kept", r.Stats.Evicted, r.Kept())
		}
	})
	t.Run("complete_messages_stay", func(t *testing.T) {
		r := newReassembler(1000)
		m := takesAll(t, r, unreliable(0))
		takes(t, r, reliable(0).part(0), 0, ChunkKept)
		takes(t, r, reliable(1).part(0), 0, ChunkWaits)
		if !bytes.Equal(r.Message(m.Ref).Payload, unreliable(0).payload()) {
			t.Error("a complete message gave way")
		}
	})
}

// A worker's memory can be full while the session's bounds are not reached.
func TestReassemblerWithoutMemory(t *testing.T) {
	g := commit.Geometry{Workers: 1, CPUs: 1, Slots: 2, MaxSessions: 64, TransferBytes: 2 * commit.TransferPage}
	regions, err := commit.NewMemory(g)
	if err != nil {
		t.Fatal(err)
	}
	memory := regions.Transfers(0)
	var r, other Reassembler
	r.Init(1, memory, new(Orderer), testLimit, 0)
	other.Init(2, memory, new(Orderer), testLimit, 0)

	takes(t, &other, unreliable(0).part(0), 0, ChunkKept)
	takes(t, &r, unreliable(0).part(0), 0, ChunkKept)
	takes(t, &r, unreliable(1).part(0), 0, ChunkKept) // for the first one
	takes(t, &r, reliable(0).part(0), 0, ChunkKept)   // for the second one
	before := r
	takes(t, &r, reliable(1).part(0), 0, ChunkWaits)
	before.Stats.Chunks[ChunkWaits]++
	if r.Stats != before.Stats || r.Kept() != 1 || r.Bytes() != before.Bytes() {
		t.Error("a chunk that waits changed something")
	}
	takes(t, &r, unreliable(2).part(0), 0, ChunkWithoutRoom)
	other.Close()
	takes(t, &r, reliable(1).part(0), 0, ChunkKept)
	r.Close()
	if memory.Used() != 0 || r.Kept() != 0 || r.Bytes() != 0 || r.Deadline() != Never {
		t.Errorf("%d bytes in use, %d messages kept", memory.Used(), r.Kept())
	}
}

func TestReassemblerTimeouts(t *testing.T) {
	r := newReassembler(testLimit)
	if r.Deadline() != Never {
		t.Errorf("deadline %d with nothing to wait for", r.Deadline())
	}
	takes(t, r, unreliable(0).part(0), 100, ChunkKept)
	takes(t, r, unreliable(1).part(0), 200, ChunkKept)
	takes(t, r, reliable(0).part(0), 300, ChunkKept)
	takes(t, r, unreliable(0).part(1), 400, ChunkKept)
	takes(t, r, unreliable(1).part(0), 500, ChunkTwice) // no progress
	if r.Deadline() != 1200 {
		t.Errorf("deadline %d", r.Deadline())
	}
	if r.OnDeadline(1199); r.Kept() != 3 {
		t.Error("dropped too early")
	}
	if r.OnDeadline(1200) || r.Kept() != 2 || r.Stats.Expired != 1 || r.Deadline() != 1300 {
		t.Errorf("%d kept, %d expired, deadline %d", r.Kept(), r.Stats.Expired, r.Deadline())
	}
	takes(t, r, unreliable(1).part(1), 1250, ChunkLate)
	if !r.OnDeadline(1300) || r.Kept() != 2 {
		t.Error("a reliable message stalls, and nobody says so")
	}
	if !r.OnDeadline(1400) || r.Kept() != 1 || r.Stats.Expired != 2 {
		t.Errorf("%d kept, %d expired", r.Kept(), r.Stats.Expired)
	}
	takes(t, r, reliable(0).part(1), 1500, ChunkKept)
	if r.OnDeadline(1500) || r.Deadline() != 2500 {
		t.Errorf("deadline %d after a chunk", r.Deadline())
	}
}

func TestReassemblerAbandons(t *testing.T) {
	ordered := reliable(0)
	ordered.channel = 3
	t.Run("begun", func(t *testing.T) {
		r := newReassembler(testLimit)
		p := reliable(0)
		takes(t, r, p.part(0), 0, ChunkKept)
		takes(t, r, reliable(1).part(0), 0, ChunkKept)
		if !r.Abandon(p.channel, p.id, packetOf(2)) || r.Kept() != 1 {
			t.Errorf("%d kept", r.Kept())
		}
		if r.Abandon(p.channel, p.id, packetOf(4)) {
			t.Error("given up twice")
		}
		takes(t, r, p.part(1), 0, ChunkLate)
	})
	t.Run("before_any_chunk", func(t *testing.T) {
		r := newReassembler(testLimit)
		p := reliable(0)
		if !r.Abandon(p.channel, p.id, packetOf(2)) {
			t.Error("no news")
		}
		takes(t, r, p.part(1), 0, ChunkLate)
		// The id comes again, beyond what could have been on its way.
		c := p.part(0)
		c.Sequence = packetOf(3 + WindowSize)
		takes(t, r, c, 0, ChunkKept)
	})
	t.Run("ordered_before_any_chunk", func(t *testing.T) {
		r := newReassembler(testLimit)
		if !r.Abandon(ordered.channel, ordered.id, packetOf(2)) {
			t.Error("no news")
		}
		r.order.Advance(ordered.channel)
		takes(t, r, ordered.part(1), 0, ChunkLate)
	})
	t.Run("ordered_by_nobody_knows_whom", func(t *testing.T) {
		r := newReassembler(testLimit)
		r.order = nil
		p := ordered
		p.id = MaxAhead + 1
		takes(t, r, p.part(1), 0, ChunkKept)
	})
	t.Run("ordered_and_held", func(t *testing.T) {
		r := newReassembler(testLimit)
		p := ordered
		p.id = 2
		r.order.Hold(p.channel, p.id, Place{})
		takes(t, r, p.part(1), 0, ChunkLate)
	})
	t.Run("complete", func(t *testing.T) {
		r := newReassembler(testLimit)
		m := takesAll(t, r, ordered)
		r.Abandon(ordered.channel, ordered.id, packetOf(10))
		if !bytes.Equal(r.Message(m.Ref).Payload, ordered.payload()) {
			t.Error("a complete message is gone")
		}
	})
	t.Run("an_unreliable_one_is_another", func(t *testing.T) {
		r := newReassembler(testLimit)
		p := unreliable(0)
		takes(t, r, p.part(0), 0, ChunkKept)
		r.Abandon(p.channel, p.id, packetOf(2))
		takes(t, r, p.part(1), 0, ChunkKept)
	})
	t.Run("many", func(t *testing.T) {
		r := newReassembler(testLimit)
		for n := range uint32(3 * maxSkips) {
			if !r.Abandon(wire.Unordered, uint16(n), n/wire.MaxMessages) {
				t.Fatal("no news")
			}
		}
		for n := uint32(2 * maxSkips); n < 3*maxSkips; n++ {
			if r.Abandon(wire.Unordered, uint16(n), n/wire.MaxMessages) {
				t.Fatalf("message %d given up twice", n)
			}
		}
		p := reliable(0)
		p.channel, p.id = wire.Unordered, 3*maxSkips-1
		takes(t, r, p.part(1), 0, ChunkLate)
		if len(r.skips.ring) != maxSkips {
			t.Errorf("%d remembered", len(r.skips.ring))
		}
	})
	t.Run("many_one_after_the_other", func(t *testing.T) {
		r := newReassembler(testLimit)
		for n := range uint32(10 * maxSkips) {
			if id := uint16(n % 2000); !r.Abandon(wire.Unordered|uint8(id)%3, id, ^uint32(0)-500+n) {
				t.Fatalf("message %d was given up before", n)
			}
		}
		if got := len(r.skips.ring); got > 2*WindowSize {
			t.Errorf("%d remembered, of which %d count", got, WindowSize)
		}
	})
}

// Reliable messages are not refused for their age: one may have waited for
// room while many others came and went. Of unreliable ones nothing is expected.
func TestReassemblerOldTransfers(t *testing.T) {
	r := newReassembler(testLimit)
	for n := uint32(1); n < 2*historySize; n++ {
		r.Done(takesAll(t, r, reliable(n)).Ref)
		r.Done(takesAll(t, r, unreliable(n)).Ref)
	}
	takes(t, r, reliable(0).part(0), 0, ChunkKept)
	takes(t, r, unreliable(0).part(0), 0, ChunkLate)
	for n := uint32(historySize); n < 2*historySize; n++ {
		takes(t, r, unreliable(n).part(0), 0, ChunkLate)
		takes(t, r, reliable(n).part(0), 0, ChunkLate)
	}

	// The end of an old one is not taken for that of a newer one.
	takes(t, r, reliable(3*historySize+1).part(0), 0, ChunkKept)
	for i := 1; i < 4; i++ {
		takes(t, r, reliable(0).part(i), 0, ChunkKept)
	}
	takes(t, r, reliable(0).part(4), 0, ChunkCompletes)
	takes(t, r, reliable(3*historySize).part(0), 0, ChunkKept)
}

// A process dies, and the next one finishes what it began: from the memory
// and from slots that were not given back.
func TestReassemblerGoesOnAfterDeath(t *testing.T) {
	g := commit.Geometry{Workers: 1, CPUs: 1, Slots: 2, MaxSessions: 64, TransferBytes: 64 * commit.TransferPage}
	regions, err := commit.NewMemory(g)
	if err != nil {
		t.Fatal(err)
	}
	var dead Reassembler
	dead.Init(42, regions.Transfers(0), new(Orderer), testLimit, 0)
	begun, whole := reliable(5), reliable(6)
	takes(t, &dead, begun.part(1), 0, ChunkKept)
	takes(t, &dead, begun.part(3), 0, ChunkKept)
	takes(t, &dead, unreliable(2).part(0), 0, ChunkKept)
	takesAll(t, &dead, whole)

	memory := regions.Transfers(0)
	var r Reassembler
	r.Init(42, memory, new(Orderer), testLimit, 1000)
	completed := 0
	for found := range memory.Recover() {
		if !found.Reliable {
			memory.Free(found.Handle)
			continue
		}
		c := Chunk{Reliable: true, Channel: found.Channel, ID: found.ID, Sequence: found.Sequence, Fragment: found.First}
		m, what := r.Adopt(found.Handle, c, found.Received, 500)
		if what == ChunkCompletes {
			completed++
			if !bytes.Equal(m.Payload, whole.payload()) || m.Sequence != packetOf(4) || m.ID != whole.id || m.Channel != whole.channel {
				t.Errorf("adopted %+v", m)
			}
			r.Done(m.Ref)
		} else if _, again := r.Adopt(found.Handle, c, found.Received, 500); again != ChunkMismatched {
			t.Errorf("adopted twice: %v", again)
		}
	}
	if completed != 1 || r.Kept() != 1 || r.Deadline() != 1500 {
		t.Fatalf("%d complete, %d kept, deadline %d", completed, r.Kept(), r.Deadline())
	}
	takes(t, &r, begun.part(3), 0, ChunkTwice)
	takes(t, &r, whole.part(0), 0, ChunkLate)
	takes(t, &r, begun.part(0), 0, ChunkKept)
	takes(t, &r, begun.part(2), 0, ChunkKept)
	if m := takes(t, &r, begun.part(4), 0, ChunkCompletes); !bytes.Equal(m.Payload, begun.payload()) {
		t.Error("another message came out")
	}
}

func TestReassemblerAdoptsNoMoreThanItKeeps(t *testing.T) {
	r := newReassembler(testLimit)
	for n := range uint32(MaxTransfers + 1) {
		c := reliable(n).part(0)
		handle, _ := r.memory.Open(1, true, c.Channel, c.ID, c.Fragment)
		want := ChunkKept
		if n == MaxTransfers {
			want = ChunkWithoutRoom
		}
		if _, what := r.Adopt(handle, c, 1, 0); what != want {
			t.Fatalf("message %d: %v, want %v", n, what, want)
		}
	}
}

func TestReassemblerPanicsOnMisuse(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *Reassembler, ref uint8)
	}{
		{"message_incomplete", func(r *Reassembler, ref uint8) { r.Message(3 - ref) }},
		{"done_incomplete", func(r *Reassembler, ref uint8) { r.Done(3 - ref) }},
		{"done_twice", func(r *Reassembler, ref uint8) { r.Done(ref); r.Done(ref) }},
		{"message_after_done", func(r *Reassembler, ref uint8) { r.Done(ref); r.Message(ref) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newReassembler(testLimit)
			m := takesAll(t, r, reliable(0))
			takes(t, r, reliable(1).part(0), 0, ChunkKept)
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			tt.do(r, m.Ref)
		})
	}
}

func TestTakenHasNames(t *testing.T) {
	seen := map[string]bool{}
	for what := range takenMax {
		if name := what.String(); name == "" || seen[name] {
			t.Errorf("%d is called %s", what, name)
		} else {
			seen[name] = true
		}
	}
	if takenMax.String() != "unknown" {
		t.Error("a name for nothing")
	}
}

// tight is a Memory with room for a number of chunks.
type tight struct {
	Heap
	room  int
	taken map[uint32]int
}

func (m *tight) Open(session uint64, reliable bool, channel uint8, id uint16, f wire.Fragment) (uint32, bool) {
	if int(f.Total) > m.room {
		return 0, false
	}
	handle, _ := m.Heap.Open(session, reliable, channel, id, f)
	m.room -= int(f.Total)
	m.taken[handle] = int(f.Total)
	return handle, true
}

func (m *tight) Free(handle uint32) {
	m.room += m.taken[handle]
	delete(m.taken, handle)
	m.Heap.Free(handle)
}

// modelReassembler is a Reassembler as plain lists.
type modelReassembler struct {
	limit, room int
	open        []*modelAssembly // in the order of heard
	complete    map[uint8]*modelAssembly
	over        map[string]bool
	next        map[bool]uint32
	skipped     []Chunk
	stats       ReassemblyStats
}

type modelAssembly struct {
	Chunk
	key    string
	heard  uint64
	size   int
	chunks map[uint16][]byte
	high   uint32
}

func (a *modelAssembly) payload() (b []byte) {
	for i := range a.Fragment.Total {
		b = append(b, a.chunks[i]...)
	}
	return b
}

func (m *modelReassembler) drop(a *modelAssembly) {
	m.open = slices.DeleteFunc(m.open, func(b *modelAssembly) bool { return a == b })
	m.over[a.key] = true
	m.room += int(a.Fragment.Total)
}

func (m *modelReassembler) bytes() (n int) {
	for _, a := range m.open {
		n += a.size
	}
	for _, a := range m.complete {
		n += a.size
	}
	return n
}

func (m *modelReassembler) take(c Chunk, now uint64) (*modelAssembly, Taken) {
	f := c.Fragment
	size := int(f.Total-1)*int(f.Chunk) + 1
	if f.Index == f.Total-1 {
		size += len(f.Data) - 1
	}
	if size > m.limit {
		return nil, ChunkTooLarge
	}
	key := fmt.Sprint(c.Reliable, f.Transfer)
	at := slices.IndexFunc(m.open, func(a *modelAssembly) bool { return a.key == key })
	if at < 0 {
		behind := int64(int32(m.next[c.Reliable] - f.Transfer))
		if m.over[key] && behind <= historySize || !c.Reliable && behind > historySize {
			return nil, ChunkLate
		}
		if c.Reliable && slices.ContainsFunc(m.skipped, func(s Chunk) bool {
			d := int64(int32(s.Sequence - c.Sequence))
			return s.Channel == c.Channel && s.ID == c.ID && d >= -WindowSize && d <= WindowSize
		}) {
			return nil, ChunkLate
		}
		for len(m.open)+len(m.complete) == MaxTransfers || m.bytes()+size > m.limit || int(f.Total) > m.room {
			victim := slices.IndexFunc(m.open, func(a *modelAssembly) bool { return !a.Reliable })
			switch {
			case victim >= 0:
				m.drop(m.open[victim])
				m.stats.Evicted++
			case c.Reliable:
				return nil, ChunkWaits
			default:
				return nil, ChunkWithoutRoom
			}
		}
		m.room -= int(f.Total)
		m.open = append(m.open, &modelAssembly{Chunk: c, key: key, size: size, high: c.Sequence, heard: now, chunks: map[uint16][]byte{}})
		at = len(m.open) - 1
		if int32(f.Transfer-m.next[c.Reliable]) >= 0 {
			m.next[c.Reliable] = f.Transfer + 1
		}
	}
	a := m.open[at]
	g := a.Fragment
	if g.Total != f.Total || g.Chunk != f.Chunk || g.Type != f.Type || a.Channel != c.Channel || a.ID != c.ID {
		return nil, ChunkMismatched
	}
	if a.chunks[f.Index] != nil {
		return nil, ChunkTwice
	}
	a.chunks[f.Index] = bytes.Clone(f.Data)
	a.heard = now
	if int32(c.Sequence-a.high) > 0 {
		a.high = c.Sequence
	}
	m.open = append(slices.Delete(m.open, at, at+1), a)
	if len(a.chunks) == int(f.Total) {
		m.open = m.open[:len(m.open)-1]
		m.over[key] = true
		return a, ChunkCompletes
	}
	return nil, ChunkKept
}

// FuzzReassembler takes four bytes for each operation: which, and of what.
func FuzzReassembler(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 5, 0, 0, 0, 0, 0, 1, 0})
	f.Add([]byte{0, 1, 0, 0, 0, 1, 1, 1, 0, 3, 0, 2, 6, 1, 0, 0, 0, 1, 1, 0, 0, 130, 0, 0, 0, 130, 1, 0, 7, 255, 0, 0, 7, 255, 0, 0})
	var many []byte
	for n := range byte(250) {
		many = append(many, n%5, n*7, n*3, n, 0, n*7, n*3+1, n*5, 5+n%3, n*11, n, n)
	}
	f.Add(many)
	f.Fuzz(func(t *testing.T, ops []byte) { compareOperations(t, ops[:min(len(ops), 4000)]) })
}

func TestReassemblerAgainstModel(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 1))
		ops := make([]byte, 4*300)
		// Few transfers finish, many get into one another's way.
		transfers := []int{4, 24, 256}[seed%3]
		for i := range ops {
			ops[i] = byte(rng.Uint32())
			switch {
			case i%4 == 0 && rng.IntN(10) < 7:
				ops[i] = byte(rng.IntN(4))
			case i%4 == 1 && ops[i-1]%8 != 7:
				ops[i] = byte(rng.IntN(transfers))
			}
		}
		compareOperations(t, ops)
	}
}

// compareOperations runs operations on a Reassembler and on a model.
func compareOperations(t *testing.T, ops []byte) {
	t.Helper()
	const limit, room = 300, 70
	memory := &tight{room: room, taken: map[uint32]int{}}
	var r Reassembler
	r.Init(1, memory, new(Orderer), limit, 1000)
	m := modelReassembler{
		limit: limit, room: room, complete: map[uint8]*modelAssembly{}, over: map[string]bool{}, next: map[bool]uint32{},
	}
	now := uint64(0)
	for n := uint32(0); len(ops) >= 4; ops, n = ops[4:], n+1 {
		what, which, index, extra := ops[0]%8, ops[1], ops[2], ops[3]
		switch {
		case what < 5:
			c := fuzzChunk(what, which, index, extra)
			c.Sequence = n
			got, taken := r.Take(c, now)
			a, want := m.take(c, now)
			m.stats.Chunks[want]++
			if taken != want {
				t.Fatalf("op %d: %+v: %v, want %v", n, c, taken, want)
			}
			if a != nil {
				m.complete[got.Ref] = a
			}
		case what == 5:
			for ref, a := range m.complete {
				r.Done(ref)
				m.room += int(a.Fragment.Total)
				delete(m.complete, ref)
				break
			}
		case what == 6:
			c := fuzzChunk(0, which|1, index, extra)
			c.Sequence = n
			news := r.Abandon(c.Channel, c.ID, n)
			at := slices.IndexFunc(m.open, func(a *modelAssembly) bool {
				return a.Reliable && a.Channel == c.Channel && a.ID == c.ID
			})
			if at >= 0 {
				m.drop(m.open[at])
			}
			known := slices.ContainsFunc(m.skipped, func(s Chunk) bool { return s.Channel == c.Channel && s.ID == c.ID })
			if news == known {
				t.Fatalf("op %d: abandoned %+v: %v", n, c, news)
			}
			if !known {
				m.skipped = append(m.skipped, c)
			}
		case what == 7:
			now += 10 * uint64(which)
			stalled := r.OnDeadline(now)
			want := false
			for _, a := range slices.Clone(m.open) {
				if a.heard+1000 > now {
					continue
				}
				if want = want || a.Reliable; !a.Reliable {
					m.drop(a)
					m.stats.Expired++
				}
			}
			if stalled != want {
				t.Fatalf("op %d: stalled %v, want %v", n, stalled, want)
			}
		}
		compareReassembler(t, &r, &m)
	}
	r.Close()
	if memory.room != room || r.Kept() != 0 || r.Bytes() != 0 {
		t.Fatalf("room for %d of %d chunks after Close, %d kept", memory.room, room, r.Kept())
	}
}

// fuzzChunk returns a chunk of one of few transfers, what none of them has
// where hostile is 4.
func fuzzChunk(hostile, which, index, extra byte) Chunk {
	transfer := uint32(which >> 1 & 31)
	if which >= 128 {
		transfer *= 700
	}
	p := parts{
		reliable: which&1 != 0, channel: wire.Unordered | byte(transfer%3), id: uint16(transfer % 50), transfer: transfer,
		chunk: 1 + int(transfer)*7%23, size: 20 + int(transfer)*5%90,
	}
	if p.size <= p.chunk {
		p.size = p.chunk + 1
	}
	c := p.part(int(index) % p.total())
	if hostile != 4 {
		return c
	}
	switch extra % 6 {
	case 0:
		c.Fragment.Total += uint16(extra)
	case 1:
		c.Fragment.Type++
	case 2:
		c.ID += uint16(extra)
	case 3:
		c.Channel ^= extra&3 | wire.Unordered
		c.Channel |= wire.Unordered
	case 4:
		c.Fragment.Total = 2 + uint16(extra)
		c.Fragment.Index = 0
		c.Fragment.Data = make([]byte, c.Fragment.Chunk)
	case 5:
		c.Fragment.Transfer += uint32(extra) << 20
	}
	if c.Fragment.Index == c.Fragment.Total-1 {
		return c
	}
	c.Fragment.Data = append(bytes.Clone(c.Fragment.Data), make([]byte, 100)...)[:c.Fragment.Chunk]
	return c
}

func compareReassembler(t *testing.T, r *Reassembler, m *modelReassembler) {
	t.Helper()
	deadline := Never
	for _, a := range m.open {
		deadline = min(deadline, a.heard+1000)
	}
	if r.Kept() != len(m.open)+len(m.complete) || r.Bytes() != m.bytes() || r.Deadline() != deadline || r.Stats != m.stats {
		t.Fatalf("%d kept of %d bytes, deadline %d, %+v; want %d, %d, %d, %+v", r.Kept(), r.Bytes(), r.Deadline(), r.Stats,
			len(m.open)+len(m.complete), m.bytes(), deadline, m.stats)
	}
	for ref, a := range m.complete {
		got := r.Message(ref)
		want := Large{
			Ref: ref, Reliable: a.Reliable, Channel: a.Channel, ID: a.ID, Type: a.Fragment.Type,
			Sequence: a.high, Payload: a.payload(),
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("message %+v, want %+v", got, want)
		}
	}
}

func TestReassemblerDoesNotAllocate(t *testing.T) {
	regions, err := commit.NewMemory(commit.Geometry{
		Workers: 1, CPUs: 1, Slots: 2, MaxSessions: 64, TransferBytes: 64 * commit.TransferPage,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, memory := range map[string]Memory{"heap": new(Heap), "transfers": regions.Transfers(0)} {
		t.Run(name, func(t *testing.T) {
			var r Reassembler
			r.Init(1, memory, new(Orderer), testLimit, 0)
			p := parts{reliable: true, channel: 1 | wire.Unordered, size: 20_000, chunk: 1000}
			chunks := make([]Chunk, p.total())
			for i := range chunks {
				chunks[i] = p.part(i)
			}
			transfer := uint32(0)
			if n := testing.AllocsPerRun(100, func() {
				for _, c := range chunks {
					c.Fragment.Transfer = transfer
					if m, what := r.Take(c, 0); what == ChunkCompletes {
						r.Done(m.Ref)
					}
				}
				transfer++
				r.Abandon(wire.Unordered, uint16(transfer), transfer)
				r.OnDeadline(0)
			}); n != 0 {
				t.Errorf("%v allocations per message", n)
			}
			if r.Stats.Chunks[ChunkCompletes] != uint64(transfer) {
				t.Errorf("%d of %d complete", r.Stats.Chunks[ChunkCompletes], transfer)
			}
		})
	}
}

func BenchmarkReassemblerTake(b *testing.B) {
	var r Reassembler
	r.Init(1, new(Heap), new(Orderer), 1<<20, 0)
	c := parts{reliable: true, channel: wire.Unordered, size: 1_000_000, chunk: 1000}.part(0)
	b.SetBytes(1000)
	for b.Loop() {
		m, what := r.Take(c, 0)
		if c.Fragment.Index++; what == ChunkCompletes {
			r.Done(m.Ref)
			c.Fragment.Index = 0
			c.Fragment.Transfer++
		}
	}
}
