package tag

import (
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// yard is one node, whose time goes when told to.
type yard struct {
	t    *testing.T
	now  uint64
	node *game.Node
}

func (y *yard) Now() uint64            { return y.now }
func (y *yard) Clock() uint64          { return y.now }
func (y *yard) Mail(int, []byte, bool) {}

func newYard(t *testing.T) *yard {
	y := &yard{t: t, now: 1e12}
	y.node = game.NewNode(game.NewDirectory(game.Options{Kinds: []game.Kind{Kind}}), y, 0, 1, new(metrics.Set))
	return y
}

func (y *yard) run(d time.Duration) {
	for end := y.now + uint64(d); y.node.NextTick() <= end; {
		y.now = y.node.NextTick()
		y.node.Tick(y.now)
	}
}

// child is a client.
type child struct {
	yard   *yard
	value  any
	id     uint32
	tagged []Tagged
	lost   []uint32
	codes  []message.Error
	ended  bool
}

func (*child) ID() uint64        { return 1 }
func (*child) Recovered() bool   { return false }
func (*child) Close(wire.Reason) {}
func (c *child) Value() any      { return c.value }
func (c *child) SetValue(v any)  { c.value = v }

func (c *child) SendMessage(o session.Outgoing) error {
	var connected message.Connected
	var refused message.Refused
	var lost Lost
	var tagged Tagged
	into := map[uint8]message.Message{
		message.TypeConnected: &connected, message.TypeRefused: &refused, TypeLost: &lost,
		TypeTagged: &tagged, message.TypeDisconnect: new(message.Disconnect),
	}[o.Type]
	if err := message.Parse(o.Payload, into); err != nil {
		c.yard.t.Errorf("type %#x: %v", o.Type, err)
	}
	switch o.Type {
	case message.TypeConnected:
		c.id = connected.Player
	case message.TypeRefused:
		c.codes = append(c.codes, refused.Code)
	case TypeTagged:
		c.tagged = append(c.tagged, tagged)
	case TypeLost:
		c.lost = append(c.lost, lost.Player)
	case message.TypeDisconnect:
		c.ended = true
	}
	return nil
}

func (c *child) say(m message.Message) {
	b, err := message.Append(nil, m)
	if err != nil {
		c.yard.t.Fatal(err)
	}
	c.yard.node.Message(c, session.Message{Mode: session.ReliableOrdered, Type: m.Kind(), Payload: b})
}

func (y *yard) join() *child {
	c := &child{yard: y}
	y.node.Open(c)
	c.say(&message.Connect{Game: "tag", Name: "child"})
	return c
}

func (c *child) step(x float32) {
	c.say(&message.PlayerAction{Action: message.Move, X: message.Float(x)})
}

func TestTag(t *testing.T) {
	y := newYard(t)
	a, b := y.join(), y.join()
	for x := range 10 {
		b.step(float32(x + 1))
	}
	for x := range 9 {
		a.step(float32(x + 1))
	}
	b.step(10.5)
	want := []Tagged{{Player: a.id}, {Player: b.id, By: a.id}, {Player: a.id, By: b.id}}
	if !slices.Equal(a.tagged, want) || !slices.Equal(b.tagged, want) {
		t.Errorf("tagged %v and %v, want %v", a.tagged, b.tagged, want)
	}
	a.step(100)
	if !slices.Equal(a.codes, []message.Error{message.ErrMove}) {
		t.Errorf("a leap was refused with %v", a.codes)
	}
}

func TestItLeaves(t *testing.T) {
	y := newYard(t)
	a, b := y.join(), y.join()
	y.node.Close(a)
	if want := []Tagged{{Player: a.id}, {Player: b.id}}; !slices.Equal(b.tagged, want) {
		t.Errorf("tagged %v, want %v", b.tagged, want)
	}
	y.node.Close(b)
	y.run(time.Minute)
}

func TestLoser(t *testing.T) {
	y := newYard(t)
	a, b := y.join(), y.join()
	y.run(59 * time.Second)
	if len(a.lost)+len(b.lost) > 0 {
		t.Error("lost too early")
	}
	y.run(2 * time.Second)
	for _, c := range []*child{a, b} {
		if !slices.Equal(c.lost, []uint32{a.id}) || !c.ended {
			t.Errorf("told that %v lost, ended: %v", c.lost, c.ended)
		}
	}
	if c := y.join(); c.id == 0 || len(c.lost) > 0 {
		t.Error("no new game after that")
	}
}
