package game

import (
	"reflect"
	"testing"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/wire"
)

// list asks for the rooms of a game and returns the answer.
func (p *peer) list(game string) (rooms []message.RoomInfo) {
	p.world.t.Helper()
	p.got = nil
	p.say(message.TypeListRooms, listing(game))
	all := p.take(message.TypeRooms)
	if len(all) != 1 {
		p.world.t.Fatalf("%d answers to ListRooms", len(all))
	}
	var c message.Codec
	payload, err := c.Expand(all[0], message.MaxPayload)
	if err != nil {
		p.world.t.Fatal(err)
	}
	var m message.Rooms
	if err := message.Parse(payload, &m); err != nil || m.Game != game {
		p.world.t.Fatalf("got %+v, %v", m, err)
	}
	return m.Rooms
}

func TestListRooms(t *testing.T) {
	opts := relays()
	opts.Kinds[0].MaxPlayers = 3
	opts.Kinds = append(opts.Kinds, Kind{Name: "other", New: newRelay, Limits: opts.Kinds[0].Limits})
	each(t, opts, func(t *testing.T, w *world) {
		var all []*peer
		enter := func(game string, room uint32) *peer {
			p := w.connect(len(all) % len(w.nodes))
			all = append(all, p)
			p.join(game, room)
			w.settle()
			return p
		}
		asks := w.connect(len(w.nodes) - 1)
		expect := func(game string, want ...message.RoomInfo) {
			t.Helper()
			w.run(listFor)
			if got := asks.list(game); len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Errorf("%s: listed %v, want %v", game, got, want)
			}
		}
		expect("relay")
		enter("relay", 9) // by its number: not for everybody
		expect("relay")
		for range 7 {
			enter("relay", 0)
		}
		enter("other", 0)
		expect("relay", message.RoomInfo{Room: 3, Players: 1, Places: 3},
			message.RoomInfo{Room: 1, Players: 3, Places: 3}, message.RoomInfo{Room: 2, Players: 3, Places: 3})
		expect("other", message.RoomInfo{Room: 1, Players: 1, Places: 1000})

		// The fullest with a seat is the first.
		all[1].leave()
		all[2].leave()
		all[4].leave()
		w.settle()
		expect("relay", message.RoomInfo{Room: 2, Players: 2, Places: 3},
			message.RoomInfo{Room: 1, Players: 1, Places: 3}, message.RoomInfo{Room: 3, Players: 1, Places: 3})

		// Neither moving nor being asked for by its number makes a room another.
		if r := w.nodes[0].rooms[0]; len(w.nodes) > 1 {
			r.node.move(r, 1)
		}
		enter("relay", 2)
		w.settle()
		expect("relay", message.RoomInfo{Room: 1, Players: 1, Places: 3},
			message.RoomInfo{Room: 3, Players: 1, Places: 3}, message.RoomInfo{Room: 2, Players: 3, Places: 3})

		// One that closes takes nobody.
		all[7].say(typeFail, []byte{4})
		w.settle()
		expect("relay", message.RoomInfo{Room: 1, Players: 1, Places: 3}, message.RoomInfo{Room: 2, Players: 3, Places: 3})
		for _, p := range append(all, asks) {
			p.node.Close(p)
		}
		w.settle()
		w.idle()
	})
}

// The directory is asked now and then only, whatever clients do.
func TestListIsKept(t *testing.T) {
	w := newWorld(t, 1, relays())
	p, other := w.connect(0), w.connect(0)
	steps := []struct {
		after uint64
		want  int
	}{{0, 0}, {listFor - 1, 0}, {1, 1}}
	for i, step := range steps {
		w.run(step.after)
		if got := len(p.list("relay")); got != step.want {
			t.Errorf("asked %d times: %d rooms, want %d", i+1, got, step.want)
		}
		other.join("relay", 0)
	}
}

// There may be more rooms than fit an answer, and more than the client takes.
func TestLongLists(t *testing.T) {
	tests := []struct {
		name    string
		rooms   int
		largest int
		want    int
	}{
		{"all", message.MaxRooms, 0, message.MaxRooms},
		{"more", message.MaxRooms + 1, 0, message.MaxRooms},
		{"one_packet", message.MaxRooms, wire.MaxPayload, message.MaxRooms / 2},
		{"hardly_anything", 3, 30, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := relays()
			opts.Kinds[0].MaxPlayers = 1
			w := newWorld(t, 1, opts)
			for range tt.rooms {
				w.connect(0).join("relay", 0)
			}
			p := w.connect(0)
			p.largest = tt.largest
			rooms := p.list("relay")
			if len(rooms) != tt.want || p.closed != 0 {
				t.Errorf("%d rooms, closed %v; want %d", len(rooms), p.closed, tt.want)
			}
			for i, r := range rooms {
				if r.Room != uint32(i+1) {
					t.Fatalf("room %d is the %d of the list", r.Room, i+1)
				}
			}
		})
	}
}
