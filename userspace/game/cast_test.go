package game

import (
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
)

const typeShout, typeShouted = 0x10, 0x90

// shouter sends two messages to everyone, when asked to and with each tick.
type shouter struct{ room *Room }

func newShouter(r *Room) Logic {
	s := shouter{r}
	r.Handle(typeShout, func(*Player, session.Message) error { s.shout(); return nil })
	return s
}

func (s shouter) Join(*Player) error { return nil }
func (s shouter) Leave(*Player, Why) {}
func (s shouter) Tick(Tick)          { s.shout() }

func (s shouter) shout() {
	one := session.Outgoing{Type: typeShouted, Payload: []byte{1}}
	other := session.Outgoing{Type: typeShouted, Payload: []byte{2}}
	s.room.BroadcastMessages([]session.Outgoing{one, other})
}

// flushPeer notes in what order it is told things, and all others.
type flushPeer struct {
	*peer
	name  string
	order *[]string
}

func (p *flushPeer) Flush() { *p.order = append(*p.order, p.name+" flush") }

func (p *flushPeer) SendMessage(o session.Outgoing) error {
	if o.Type == typeShouted {
		*p.order = append(*p.order, p.name+string('0'+rune(o.Payload[0])))
	}
	return nil
}

func TestBroadcastMessages(t *testing.T) {
	w := newWorld(t, 2, Options{Kinds: []Kind{{Name: "shout", New: newShouter}}, KeepRooms: true})
	var order []string
	ask, err := message.Append(nil, &message.Connect{Game: "shout", Room: 1, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	join := func(name string, node int) *flushPeer {
		p := &flushPeer{&peer{world: w, node: w.nodes[node]}, name, &order}
		p.node.Open(p)
		p.node.Message(p, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: ask})
		w.settle()
		return p
	}
	a := join("a", 0)
	join("b", 0)
	join("far", 1)

	order = nil
	a.node.Tick(a.node.NextTick())
	if want := []string{"a1", "a2", "a flush", "b1", "b2", "b flush"}; !slices.Equal(order, want) {
		t.Errorf("a tick tells %v, want %v", order, want)
	}
	order = nil
	w.settle()
	if want := []string{"far1", "far2"}; !slices.Equal(order, want) {
		t.Errorf("the other node tells %v, want %v", order, want)
	}

	// A session that is in the middle of a message must not be asked to send.
	order = nil
	a.node.Message(a, session.Message{Mode: session.Unreliable, Type: typeShout})
	if want := []string{"a1", "a2", "b1", "b2"}; !slices.Equal(order, want) {
		t.Errorf("a message tells %v, want %v", order, want)
	}
}

func TestBroadcastMessagesTakesNoReliableOnes(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a reliable message was taken")
		}
	}()
	new(Room).BroadcastMessages([]session.Outgoing{{Mode: session.ReliableOrdered}})
}
