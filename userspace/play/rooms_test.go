package play_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/play"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// wire keeps what a player says.
type wire struct {
	sent   []client.Outgoing
	refuse error
}

func (w *wire) Events() <-chan client.Event { return nil }
func (w *wire) Close() error                { return nil }

func (w *wire) SendMessage(o client.Outgoing) error {
	o.Payload = append([]byte(nil), o.Payload...)
	w.sent = append(w.sent, o)
	return w.refuse
}

func newLister(t *testing.T, w *wire) *play.Player[play.Vec] {
	t.Helper()
	schema, err := snapshot.NewSchema(time.Second/60,
		snapshot.Float(func(v *play.Vec) *float32 { return &v[0] }, snapshot.Range{Min: -1, Max: 1, Resolution: 0.1}))
	if err != nil {
		t.Fatal(err)
	}
	return play.New(w, play.Options[play.Vec]{Schema: schema, Position: func(v *play.Vec) *play.Vec { return v }})
}

func deliver(t *testing.T, p *play.Player[play.Vec], m message.Message) []play.Event {
	t.Helper()
	payload, err := message.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	var c message.Codec
	p.Deliver(0, client.Message{Mode: client.ReliableOrdered, Type: m.Kind(), Payload: c.Compress(payload)})
	return p.Update(time.Millisecond)
}

func TestListRooms(t *testing.T) {
	w := new(wire)
	p := newLister(t, w)
	var got []message.RoomInfo
	play.On(p, func(m *message.Rooms) error {
		got = append(got, m.Rooms...)
		return nil
	})
	if err := p.ListRooms("arena"); err != nil {
		t.Fatal(err)
	}
	var asked message.ListRooms
	if o := w.sent[0]; o.Mode != client.ReliableOrdered || o.Type != message.TypeListRooms {
		t.Errorf("sent %+v", o)
	}
	if err := message.Parse(w.sent[0].Payload, &asked); err != nil || asked.Game != "arena" {
		t.Errorf("asked for %+v, %v", asked, err)
	}
	// Enough of them to be compressed.
	want := make([]message.RoomInfo, message.MaxRooms)
	for i := range want {
		want[i] = message.RoomInfo{Room: uint32(i + 1), Players: 1, Places: 16}
	}
	if events := deliver(t, p, &message.Rooms{Game: "arena", Rooms: want}); len(events) != 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("heard of %d rooms, events %v", len(got), events)
	}
}

func TestListRoomsRefused(t *testing.T) {
	w := new(wire)
	p := newLister(t, w)
	if err := p.ListRooms(""); !errors.Is(err, message.ErrName) || len(w.sent) != 0 {
		t.Errorf("without a game: %v", err)
	}
	w.refuse = client.ErrWouldBlock
	if err := p.ListRooms("arena"); !errors.Is(err, client.ErrWouldBlock) {
		t.Errorf("with a full queue: %v", err)
	}
	// A player on the way to a room gets there nevertheless.
	w.refuse = nil
	if err := p.Join(play.Join{Game: "arena", Name: "x"}); err != nil {
		t.Fatal(err)
	}
	refused := &message.Refused{Code: message.ErrRate, Type: message.TypeListRooms}
	if events := deliver(t, p, refused); len(events) != 1 || events[0].Kind != play.Refused || events[0].Type != message.TypeListRooms {
		t.Errorf("events %v", events)
	}
	if deliver(t, p, &message.Connected{Player: 1, Room: 2, Ticks: 60, Snapshots: 20, Time: 1}); !p.Inside() {
		t.Error("not in the room")
	}
}
