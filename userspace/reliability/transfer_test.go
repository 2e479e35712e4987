package reliability

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/wire"
)

// produce returns every chunk of o, parsed again.
func produce(t *testing.T, o *Outgoing) (chunks []Chunk) {
	t.Helper()
	for o.Remaining() > 0 {
		if len(chunks)+o.Remaining() != o.Total() {
			t.Fatalf("%d chunks produced, %d remain of %d", len(chunks), o.Remaining(), o.Total())
		}
		size := o.NextSize()
		b := o.Next(make([]byte, 3, 3+size))
		if len(b) != 3+size {
			t.Fatalf("%d bytes appended, NextSize was %d", len(b)-3, size)
		}
		m, rest, err := wire.ParseMessage(b[3:])
		if err != nil || len(rest) != 0 || m.Type != wire.TypeFragment {
			t.Fatalf("chunk %d: %+v, %d bytes behind it, %v", len(chunks), m, len(rest), err)
		}
		f, err := wire.ParseFragment(m.Payload)
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, Chunk{Reliable: true, Channel: m.Channel, ID: m.ID, Fragment: f})
	}
	if o.NextSize() != 0 {
		t.Errorf("a chunk of %d bytes follows the last", o.NextSize())
	}
	return chunks
}

func TestOutgoingArrives(t *testing.T) {
	tests := []struct{ size, chunk, total int }{
		{513, 512, 2},
		{1024, 512, 2},
		{1025, 512, 3},
		{1_000_000, DefaultChunk, 977},
		{65535 * 512, 512, 65535},
		{70_000, MaxChunk, 2},
	}
	var pool OutgoingPool
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d_by_%d", tt.size, tt.chunk), func(t *testing.T) {
			payload := make([]byte, tt.size)
			for i := range payload {
				payload[i] = byte(rand.Uint32())
			}
			o := pool.New(7, 9|wire.Unordered, 300, 44, payload, tt.chunk)
			if o.Total() != tt.total {
				t.Errorf("%d chunks, want %d", o.Total(), tt.total)
			}
			want := bytes.Clone(payload)
			clear(payload) // it was copied
			chunks := produce(t, o)
			pool.Put(o)

			var r Reassembler
			r.Init(1, new(Heap), new(Orderer), tt.size, 0)
			for n, i := range rand.Perm(len(chunks)) {
				m, what := r.Take(chunks[i], 0)
				if last := n == len(chunks)-1; last != (what == ChunkCompletes) || !last && what != ChunkKept {
					t.Fatalf("chunk %d: %v", i, what)
				}
				if what == ChunkCompletes && (!bytes.Equal(m.Payload, want) || m.Type != 44 || m.ID != 300 || m.Channel != 9|wire.Unordered) {
					t.Error("another message arrived")
				}
			}
		})
	}
}

func TestOutgoingPanicsOnMisuse(t *testing.T) {
	var pool OutgoingPool
	tests := []struct {
		name string
		do   func()
	}{
		{"small_chunk", func() { pool.New(0, 0, 0, 1, make([]byte, 2000), MinChunk-1) }},
		{"large_chunk", func() { pool.New(0, 0, 0, 1, make([]byte, 70_000), MaxChunk+1) }},
		{"one_chunk", func() { pool.New(0, 0, 0, 1, make([]byte, 1024), 1024) }},
		{"many_chunks", func() { pool.New(0, 0, 0, 1, make([]byte, 65535*512+1), 512) }},
		{"beyond_the_last", func() {
			o := pool.New(0, 0, 0, 1, make([]byte, 600), 512)
			o.Next(o.Next(o.Next(nil)))
		}},
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

func TestOutgoingMessagesAreApart(t *testing.T) {
	var pool OutgoingPool
	payloads := [][]byte{bytes.Repeat([]byte{1}, 600), bytes.Repeat([]byte{2}, 700), bytes.Repeat([]byte{3}, 800)}
	for range 3 {
		var out []*Outgoing
		for i, payload := range payloads {
			out = append(out, pool.New(uint32(i), 0, 0, 1, payload, 2*MinChunk))
		}
		for i, o := range out {
			chunks := produce(t, o)
			if got := slices.Concat(chunks[0].Fragment.Data, chunks[1].Fragment.Data); !bytes.Equal(got, payloads[i]) {
				t.Errorf("message %d became another", i)
			}
		}
		for _, o := range out {
			pool.Put(o)
		}
	}
}

func TestChunkFor(t *testing.T) {
	tests := []struct{ body, want int }{
		{0, 256},
		{482, 465},
		{600, 583},
		{1131, 1114},
		{1 << 20, 65524},
	}
	for _, tt := range tests {
		got := ChunkFor(tt.body)
		if got != tt.want {
			t.Errorf("%d bytes: chunks of %d, want %d", tt.body, got, tt.want)
		}
		var pool OutgoingPool
		o := pool.New(0, 0, 0, 1, make([]byte, 2*got), got)
		if tt.body > 400 && tt.body < 1<<16 && o.NextSize() != tt.body {
			t.Errorf("%d bytes: a chunk takes %d", tt.body, o.NextSize())
		}
	}
}

func TestOutgoingDoesNotAllocate(t *testing.T) {
	var pool OutgoingPool
	payload, b := make([]byte, 100_000), make([]byte, 0, 2000)
	if n := testing.AllocsPerRun(100, func() {
		o := pool.New(1, 2, 3, 4, payload, DefaultChunk)
		for o.Remaining() > 0 {
			o.Next(b)
		}
		pool.Put(o)
	}); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}

func TestBuffersKeepNoMoreThanTheirBound(t *testing.T) {
	var p buffers
	var taken [][]byte
	for range 10 {
		taken = append(taken, p.get(1<<20-5), p.get(1), p.get(5000))
	}
	for _, b := range taken {
		p.put(b)
	}
	p.put(p.get(buffersKept + 1))
	keeps := func() (n int) {
		for _, free := range p.free {
			for _, b := range free {
				n += cap(b)
			}
		}
		return n
	}
	if n := keeps(); n != p.kept || n > buffersKept || n < buffersKept*3/4 {
		t.Errorf("%d bytes kept, %d counted", n, p.kept)
	}
	for _, n := range []int{1, 4096, 4097, 5000, 1 << 20, 3 << 20} {
		if b := p.get(n); len(b) != n {
			t.Errorf("%d bytes instead of %d", len(b), n)
		}
	}
	if n := keeps(); n != p.kept {
		t.Errorf("%d bytes kept, %d counted", n, p.kept)
	}
}
