package impair

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

const ms = uint64(time.Millisecond)

// parcels is a carrier whose packets begin with what is to be spared.
type parcels struct {
	head   int
	arrive func(d Direction, b []byte)
}

func (p *parcels) deliver(d Direction, b []byte) { p.arrive(d, b) }
func (p *parcels) overhead() int                 { return 100 }
func (p *parcels) spared([]byte) int             { return p.head }
func (p *parcels) capable(b []byte) bool         { return b[0] == 'e' }
func (p *parcels) mark(b []byte)                 { b[0] = 'E' }

func TestPathDelivers(t *testing.T) {
	type arrival struct {
		d  Direction
		at uint64
		b  string
	}
	var got []arrival
	now := 5 * ms
	c := &parcels{arrive: func(d Direction, b []byte) { got = append(got, arrival{d, now, string(b)}) }}
	p := newPath(Options{
		ToServer: Conditions{Link: Link{Delay: 2 * time.Millisecond}},
		ToClient: Conditions{Link: Link{Delay: time.Millisecond}},
	}, now, c)

	p.send(now, ToServer, []byte("up"))
	p.send(now, ToClient, []byte("down"))
	for _, want := range []uint64{6 * ms, 7 * ms, Never} {
		next := p.run(now)
		if next != want {
			t.Errorf("at %d the next is due at %d, want %d", now, next, want)
		}
		now = next
	}
	want := []arrival{{ToClient, 6 * ms, "down"}, {ToServer, 7 * ms, "up"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("arrivals %v, want %v", got, want)
	}
}

func TestPathCounts(t *testing.T) {
	const n = 10000
	link := Link{Loss: 0.1, Duplicate: 0.1, Corrupt: 0.1, Delay: time.Millisecond}
	head, body := []byte("head"), []byte("body")
	packet := append(bytes.Clone(head), body...)
	var arrived, damaged uint64
	p := newPath(Options{ToServer: Conditions{Link: link}, Seed: 1}, 0, &parcels{
		head: len(head),
		arrive: func(_ Direction, b []byte) {
			arrived++
			if !bytes.HasPrefix(b, head) {
				t.Errorf("%q: what was to be spared is damaged", b)
			}
			if !bytes.HasSuffix(b, body) {
				damaged++
			}
		},
	})
	for i := range uint64(n) {
		p.send(i*ms/10, ToServer, packet)
	}
	s := p.stats(ToServer)
	if s.OnTheWay == 0 || s.Sent+s.Duplicated != s.Lost+s.Delivered+s.OnTheWay {
		t.Errorf("packets do not add up: %+v", s)
	}
	p.run(uint64(time.Hour))
	s = p.stats(ToServer)
	if s.Sent != n || s.Sent+s.Duplicated != s.Lost+s.Delivered || s.Delivered != arrived || s.Corrupted != damaged {
		t.Errorf("%d arrived, %d of them damaged: %+v", arrived, damaged, s)
	}
	for name, count := range map[string]uint64{"lost": s.Lost, "duplicated": s.Duplicated, "corrupted": s.Corrupted} {
		if count < n/12 || count > n/8 {
			t.Errorf("%s: %d of %d, asked for a tenth", name, count, n)
		}
	}
	if other := p.stats(ToClient); other != (PathStats{}) {
		t.Errorf("the other direction: %+v", other)
	}
}

// A rate counts what the carrier adds to packets, and its queue marks those
// that can be marked.
func TestPathRate(t *testing.T) {
	var got []string
	p := newPath(Options{ToServer: Conditions{Rate: Rate{
		PerSecond: 200_000, Queue: Limit{Packets: 4}, Mark: Limit{Packets: 2},
	}}}, 0, &parcels{arrive: func(_ Direction, b []byte) { got = append(got, string(b[:1])) }})
	for _, kind := range []string{"e", "x", "e", "x", "e"} {
		p.send(0, ToServer, append([]byte(kind), make([]byte, 99)...))
	}
	if next := p.run(0); next != ms {
		t.Errorf("200 bytes of 200,000 a second leave after %v, want 1ms", time.Duration(next))
	}
	p.run(10 * ms)
	if s := p.stats(ToServer); s.Dropped != 1 || s.Marked != 1 || s.Delivered != 4 {
		t.Errorf("%+v", s)
	}
	if want := []string{"e", "x", "E", "x"}; !slices.Equal(got, want) {
		t.Errorf("arrivals %q, want %q", got, want)
	}
}

func TestPathLimit(t *testing.T) {
	arrived := 0
	p := newPath(Options{ToServer: Conditions{Link: Link{Delay: time.Second}}, Limit: 3}, 0,
		&parcels{arrive: func(Direction, []byte) { arrived++ }})
	for range 5 {
		p.send(0, ToServer, []byte("x"))
	}
	if s := p.stats(ToServer); s.Sent != 5 || s.Refused != 2 || s.OnTheWay != 3 {
		t.Errorf("%+v", s)
	}
	p.run(uint64(time.Second))
	p.send(uint64(time.Second), ToServer, []byte("x"))
	if s := p.stats(ToServer); arrived != 3 || s.Refused != 2 || s.OnTheWay != 1 {
		t.Errorf("%d arrived: %+v", arrived, s)
	}
}

func TestPathSet(t *testing.T) {
	arrived := 0
	p := newPath(Options{}, 0, &parcels{arrive: func(Direction, []byte) { arrived++ }})
	for _, tt := range []struct {
		loss float64
		want int
	}{{1, 0}, {0, 10}, {1, 10}} {
		p.set(ToServer, Conditions{Link: Link{Loss: tt.loss}})
		for range 10 {
			p.send(0, ToServer, []byte("x"))
		}
		p.run(0)
		if arrived != tt.want {
			t.Errorf("with loss %g, %d arrived, want %d", tt.loss, arrived, tt.want)
		}
	}
}

func TestPathAllocates(t *testing.T) {
	p := newPath(Options{ToServer: Conditions{Link: Link{Delay: time.Millisecond}}}, 0,
		&parcels{arrive: func(Direction, []byte) {}})
	now, packet := uint64(0), make([]byte, 1200)
	if n := testing.AllocsPerRun(1000, func() {
		p.send(now, ToServer, packet)
		now += ms / 4
		p.run(now)
	}); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}
