package reliability

import (
	"testing"
)

// modelOrderer is an Orderer as a plain map.
type modelOrderer struct {
	next map[uint8]uint16
	held map[[2]uint32]Place
}

func (m *modelOrderer) classify(channel uint8, id uint16) Order {
	ahead := int(id) - int(m.next[channel])
	if ahead < 0 {
		ahead += 1 << 16
	}
	if _, ok := m.held[[2]uint32{uint32(channel), uint32(id)}]; ok || ahead > MaxAhead {
		return Illegal
	}
	if ahead == 0 {
		return Due
	}
	return Early
}

// FuzzOrderer offers messages, three bytes each: channel, and how far the id
// lies from the one that is due. Starting ids near the wrap are reached by
// handing over start messages first.
func FuzzOrderer(f *testing.F) {
	f.Add(uint16(0), []byte{0, 0, 1, 0, 0, 2, 0, 0, 0})
	f.Add(uint16(65530), []byte{3, 0, 9, 3, 0, 8, 3, 0, 0, 3, 0, 0, 3, 0, 7, 3, 0, 0})
	f.Add(uint16(9), []byte{1, 64, 0, 1, 64, 1, 1, 255, 255, 2, 0, 5})
	f.Fuzz(func(t *testing.T, start uint16, ops []byte) {
		var o Orderer
		m := modelOrderer{next: map[uint8]uint16{}, held: map[[2]uint32]Place{}}
		for channel := range uint8(4) {
			for range start {
				o.Advance(channel)
			}
			m.next[channel] = start
		}
		for n := uint32(0); len(ops) >= 3; ops, n = ops[3:], n+1 {
			channel := ops[0] % 4
			id := m.next[channel] + uint16(ops[1])<<8 + uint16(ops[2])
			got, want := o.Classify(channel, id), m.classify(channel, id)
			if got != want {
				t.Fatalf("channel %d id %d, due %d: %v, want %v", channel, id, m.next[channel], got, want)
			}
			switch got {
			case Early:
				at := Place{Sequence: n, Offset: id}
				o.Hold(channel, id, at)
				m.held[[2]uint32{uint32(channel), uint32(id)}] = at
			case Due:
				o.Advance(channel)
				m.next[channel]++
				for {
					at, ok := o.Take(channel)
					key := [2]uint32{uint32(channel), uint32(m.next[channel])}
					wantAt, wantOK := m.held[key]
					if at != wantAt || ok != wantOK {
						t.Fatalf("Take(%d) = %v %v, want %v %v", channel, at, ok, wantAt, wantOK)
					}
					if !ok {
						break
					}
					delete(m.held, key)
					o.Advance(channel)
					m.next[channel]++
				}
			case Illegal:
			}
			if o.Held() != len(m.held) {
				t.Fatalf("%d held, want %d", o.Held(), len(m.held))
			}
		}
	})
}

func TestOrdererHoldsManyAndReleasesThemInOrder(t *testing.T) {
	var o Orderer
	const messages = 1000
	for id := uint16(messages); id > 0; id-- {
		for channel := range uint8(Channels) {
			if got := o.Classify(channel, id); got != Early {
				t.Fatalf("channel %d id %d: %v", channel, id, got)
			}
			o.Hold(channel, id, Place{Sequence: uint32(channel), Offset: id})
		}
	}
	for channel := range uint8(Channels) {
		o.Advance(channel)
		for id := uint16(1); id <= messages; id++ {
			if at, ok := o.Take(channel); !ok || at.Offset != id || at.Sequence != uint32(channel) {
				t.Fatalf("channel %d id %d: %v %v", channel, id, at, ok)
			}
			o.Advance(channel)
		}
	}
	if o.Held() != 0 {
		t.Errorf("%d held at the end", o.Held())
	}
}

func TestOrdererDoesNotAllocate(t *testing.T) {
	var o Orderer
	next := uint16(0)
	if n := testing.AllocsPerRun(1000, func() {
		for i := uint16(20); i > 0; i-- {
			o.Hold(1, next+i, Place{})
		}
		o.Advance(1)
		next++
		for _, ok := o.Take(1); ok; _, ok = o.Take(1) {
			o.Advance(1)
			next++
		}
	}); n != 0 {
		t.Errorf("%v allocations per gap", n)
	}
}

func TestOrdererForget(t *testing.T) {
	var o Orderer
	forget := func(channel uint8, id uint16) bool {
		at, ok := o.Forget(channel, id)
		return ok && at.Sequence == 9
	}
	if forget(3, 5) {
		t.Error("forgot what an empty orderer cannot hold")
	}
	o.Hold(3, 5, Place{Sequence: 9})
	if forget(3, 6) || forget(4, 5) || !forget(3, 5) || forget(3, 5) || o.Held() != 0 {
		t.Errorf("%d held", o.Held())
	}
}
