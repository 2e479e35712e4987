package session

import (
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/wire"
)

// FuzzPathMTU plays a path whose MTU changes, that loses probes, and on which
// sizes come into doubt. Whatever was found has arrived once; and once the path
// stays as it is, the search finds the largest of its sizes that passes.
func FuzzPathMTU(f *testing.F) {
	f.Add(uint16(1472), uint16(1472), []byte{0, 1, 0, 1})
	f.Add(uint16(1472), uint16(1252), []byte{0, 1, 2, 40, 4, 0, 0, 0, 0, 0, 3, 200, 0})
	f.Add(uint16(1300), uint16(1231), []byte{0, 0, 0, 0, 4, 2, 100, 0, 0})
	f.Add(uint16(900), uint16(1472), []byte{0, 4, 0})
	f.Fuzz(func(t *testing.T, limit, path uint16, in []byte) {
		own := min(max(int(limit), wire.MinDatagram), wire.MaxDatagramLimit)
		carries := int(path) % (wire.MaxDatagramLimit + 1)
		var m pathMTU
		m.init(own)
		base := min(own, wire.MaxDatagram)
		arrived := map[int]bool{base: true}
		now, failed := uint64(1e9), map[int]int{}
		probe := func(lose bool) (sent bool) {
			size := m.next(now)
			if size == 0 {
				return false
			}
			if size <= base || size > own || m.doubted && size != m.size || !m.doubted && size <= m.size {
				t.Fatalf("probe of %d bytes, %+v", size, m)
			}
			m.sent(size)
			if m.next(now) != 0 {
				t.Fatal("two probes at a time")
			}
			holes := m.holes
			if size <= carries && !lose {
				arrived[size], failed[size] = true, 0
				m.arrived(now)
				if m.current() != size {
					t.Fatalf("%d passed: %+v", size, m)
				}
			} else {
				failed[size]++
				m.missed(now)
			}
			if m.holes != holes && failed[size] < maxProbes {
				t.Fatalf("black hole after %d losses", failed[size])
			}
			return true
		}
		doubt := func() {
			if !m.doubted {
				clear(failed)
			}
			m.doubt()
		}
		for len(in) > 1 {
			op, arg := in[0], in[1]
			in = in[2:]
			switch op % 5 {
			case 0:
				probe(arg%4 == 0)
			case 1:
				now += uint64(arg) * uint64(time.Second) * 10
			case 2:
				carries = wire.MaxDatagram + int(arg)*2
			case 3:
				doubt()
			case 4: // while a probe is under way
				if size := m.next(now); size != 0 {
					m.sent(size)
					doubt()
					failed[size]++
					holes := m.holes
					if m.missed(now); m.holes != holes && failed[size] < maxProbes {
						t.Fatalf("black hole after %d losses", failed[size])
					}
				}
			}
			if got := m.current(); !arrived[got] || got > own || m.size < base {
				t.Fatalf("%d bytes were never seen to pass: %+v", got, m)
			}
		}
		// From here on nothing is lost that passes.
		want := base
		for _, size := range append(pathSizes[:], own) {
			if size <= min(carries, own) {
				want = max(want, size)
			}
		}
		if m.size > max(carries, base) {
			m.doubt()
		}
		for range 3 { // a rest, and one search from the beginning
			now += raiseAfter
			for n := 0; probe(false); n++ {
				if n > maxProbes*(len(pathSizes)+2) {
					t.Fatalf("no end to the search: %+v", m)
				}
			}
		}
		if m.current() != want {
			t.Fatalf("path MTU %d, want %d: %+v", m.current(), want, m)
		}
	})
}

// TestSearchAfterBlackHole stays below what ceased to pass, and comes back to it in
// the end.
func TestSearchAfterBlackHole(t *testing.T) {
	var m pathMTU
	now := uint64(1e9)
	m.init(1472)
	lose := func(size int) {
		t.Helper()
		for range maxProbes {
			if got := m.next(now); got != size {
				t.Fatalf("probe of %d bytes, want %d", got, size)
			}
			m.sent(size)
			m.missed(now)
		}
	}
	m.sent(m.next(now))
	m.arrived(now)
	if m.current() != 1472 || m.next(now+raiseAfter) != 0 {
		t.Fatalf("%+v", m)
	}
	m.doubt()
	if m.current() != wire.MaxDatagram {
		t.Errorf("%d bytes in doubt", m.current())
	}
	lose(1472)
	if m.holes != 1 || m.current() != wire.MaxDatagram || m.next(now+holeRest-1) != 0 {
		t.Errorf("after the probes: %+v", m)
	}
	now += holeRest
	for _, size := range []int{1392, 1312, 1252, 1232} {
		lose(size)
	}
	if m.next(now+raiseAfter-1) != 0 || m.next(now+raiseAfter) != 1472 {
		t.Errorf("after the search: %+v", m)
	}
}
