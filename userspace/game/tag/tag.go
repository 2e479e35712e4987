// Package tag is the game that docs/games.md writes: one player is it until it
// comes close to another, and who is it for a minute in all loses.
package tag

import (
	"math"
	"time"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
)

const (
	stride = 1.0 // units that one move goes at most
	reach  = 1.5 // units
	enough = time.Minute

	channel = 1 // of what the game says
)

// Kind is the game of tag, for game.Options.
var Kind = game.Kind{
	Name: "tag", New: newTag, MaxPlayers: 16, TickRate: 10,
	Limits: game.Limits{Actions: game.Rate{PerSecond: 20, Burst: 20}},
}

// tag is one room.
type tag struct {
	room *game.Room
	it   *game.Player // nil in an empty room
}

// runner is what the room knows of a player.
type runner struct {
	x, y, z float64
	it      time.Duration // in all
}

func newTag(r *game.Room) game.Logic {
	t := &tag{room: r}
	game.On(r, t.move)
	game.Subscribe(r, func(e Tagged) { r.Broadcast(session.ReliableOrdered, channel, &e) })
	return t
}

// Join implements game.Logic. The first player is it; others are told who is.
func (t *tag) Join(p *game.Player) error {
	p.Value = new(runner)
	if t.it == nil {
		t.it = p
	}
	p.Send(session.ReliableOrdered, channel, &Tagged{Player: t.it.ID()})
	return nil
}

// Leave implements game.Logic.
func (t *tag) Leave(p *game.Player, _ game.Why) {
	if p != t.it {
		return
	}
	t.it = nil
	if rest := t.room.Players(); len(rest) > 0 {
		t.it = rest[0]
		game.Publish(t.room, Tagged{Player: t.it.ID()})
	}
}

// Tick implements game.Logic.
func (t *tag) Tick(tick game.Tick) {
	it := t.it.Value.(*runner)
	if it.it += tick.Step; it.it >= enough {
		t.room.Broadcast(session.ReliableOrdered, channel, &Lost{Player: t.it.ID()})
		t.room.Close()
	}
}

// move takes a step, which may be the one that tags somebody.
func (t *tag) move(p *game.Player, m *message.PlayerAction) error {
	if m.Action != message.Move {
		return message.ErrType
	}
	to := &runner{x: float64(m.X), y: float64(m.Y), z: float64(m.Z)}
	self := p.Value.(*runner)
	if self.from(to) > stride {
		t.room.Violation()
		return game.Refuse(message.ErrMove, "one step at a time")
	}
	self.x, self.y, self.z = to.x, to.y, to.z
	if p != t.it {
		return nil
	}
	for _, other := range t.room.Players() {
		if other != p && self.from(other.Value.(*runner)) <= reach {
			t.it = other
			game.Publish(t.room, Tagged{Player: other.ID(), By: p.ID()})
			break
		}
	}
	return nil
}

// from is the distance between two.
func (r *runner) from(o *runner) float64 {
	return math.Hypot(math.Hypot(r.x-o.x, r.y-o.y), r.z-o.z)
}
