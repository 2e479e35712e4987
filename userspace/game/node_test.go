package game

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
)

func TestJoinSayLeave(t *testing.T) {
	each(t, relays(), func(t *testing.T, w *world) {
		w.slow = 20 * ms
		var all []*peer
		var ids []uint32
		for i := range 6 {
			p := w.connect(i % len(w.nodes))
			p.join("relay", 5)
			w.settle()
			c := p.connected()
			if c.Room != 5 || c.Ticks != 60 || c.Snapshots != 20 || slices.Contains(ids, c.Player) {
				t.Errorf("connected as %+v", c)
			}
			ids = append(ids, c.Player)
			all = append(all, p)
		}
		outsider := w.connect(0)
		outsider.join("relay", 6)
		w.settle()
		for _, p := range append(all, outsider) {
			p.got = nil
		}
		for n := range uint32(3) {
			for _, p := range all {
				p.say(typeSay, number(n))
			}
		}
		w.settle()
		for i, p := range all {
			heard := map[uint32][]uint32{}
			for k, b := range p.take(typeSaid) {
				from := binary.BigEndian.Uint32(b)
				heard[from] = append(heard[from], binary.BigEndian.Uint32(b[4:]))
				if got := binary.BigEndian.Uint32(b[8:]); got != uint32(k+1) {
					t.Errorf("peer %d: message %d of the room is its %d", i, k+1, got)
				}
			}
			for _, id := range ids {
				if want := []uint32{0, 1, 2}; !slices.Equal(heard[id], want) {
					t.Errorf("peer %d heard %v of player %d, want %v", i, heard[id], id, want)
				}
			}
		}
		if len(outsider.got) != 0 {
			t.Errorf("a player of another room got %d messages", len(outsider.got))
		}

		all[0].leave()
		all[1].say(typeSay, number(9))
		w.settle()
		if len(all[0].got) != 0 || len(all[1].take(typeSaid)) != 1 {
			t.Errorf("after leaving: got %v", all[0].got)
		}
		for _, p := range append(all, outsider) {
			p.node.Close(p)
		}
		w.settle()
		w.idle()
	})
}

// A client that connects again while letters are under way is in the room once,
// and hears nothing of the stays before.
func TestConnectAgainBeforeAnswer(t *testing.T) {
	each(t, relays(), func(t *testing.T, w *world) {
		w.slow = 20 * ms
		owner := w.connect(0)
		owner.join("relay", 1)
		w.settle()
		p := w.connect(len(w.nodes) - 1)
		p.join("relay", 1)
		p.leave()
		p.join("relay", 1)
		p.join("relay", 1)
		w.settle()
		if got := len(p.take(message.TypeConnected)); len(w.nodes) > 1 && got != 1 {
			t.Errorf("connected %d times, want once", got)
		}
		p.say(typeSay, number(1))
		w.settle()
		if got := len(p.take(typeSaid)); got != 1 {
			t.Errorf("own message arrived %d times", got)
		}
		if got := len(w.room(1).Players()); got != 2 {
			t.Errorf("%d players, want 2", got)
		}
	})
}

func TestLargeMessagesCrossNodes(t *testing.T) {
	w := newWorld(t, 2, relays())
	a, b := w.connect(0), w.connect(1)
	a.join("relay", 1)
	b.join("relay", 1)
	w.settle()
	payload := make([]byte, 50_000)
	for i := range payload {
		payload[i] = byte(i * 7 >> 3)
	}
	for _, p := range []*peer{a, b} {
		a.got, b.got = nil, nil
		p.say(typeSay, payload)
		p.say(typeSay, number(1))
		w.settle()
		for _, q := range []*peer{a, b} {
			said := q.take(typeSaid)
			if len(said) != 2 || len(said[0]) != len(payload)+8 || !slices.Equal(said[0][12:], payload[4:]) {
				t.Errorf("got %d messages", len(said))
			}
		}
	}

	// Where parts of an unreliable one are lost so is the rest, and nothing else.
	w.lossy = true
	for range 50 {
		p := b
		if w.room(1).node == w.nodes[1] {
			p = a
		}
		p.got = nil
		p.node.Message(p, session.Message{Mode: session.Unreliable, Type: typeLoose, Payload: payload[:4000]})
		p.say(typeSay, number(2))
		w.settle()
		var said int
		for _, m := range p.got {
			switch m.Type {
			case typeHeard:
				if !slices.Equal(m.Payload[4:], payload[:4000]) {
					t.Fatal("parts of different letters were put together")
				}
			case typeSaid:
				said++
			}
		}
		if said != 1 {
			t.Fatalf("reliable message arrived %d times", said)
		}
	}
}
