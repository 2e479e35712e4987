package plaza

import (
	"hash/crc32"
	"math"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
)

// Name is what clients ask for in Connect.
const Name = "plaza"

// Movement rules, as MESSAGES.md gives them.
const (
	maxSpeed     = 100.0   // units per second
	tolerance    = 1.1     // on speed
	jitterSlack  = 10.0    // units
	savedSeconds = 2.0     // unused movement kept
	worldLimit   = 1000000 // largest coordinate
)

// Broadcast schedule: rounds of those who moved per second, and nanoseconds
// between rounds of all.
const (
	roundsPerSecond = 20
	fullInterval    = 1_000_000_000
)

// Options are those of a server on which the plaza is played.
func Options() game.Options {
	return game.Options{
		Kinds: []game.Kind{{
			Name: Name, New: newRoom, TickRate: roundsPerSecond, MaxPlayers: 65536,
			Limits: game.Limits{
				Positions: game.Unlimited, Actions: game.Unlimited,
				Large: game.Unlimited, Other: game.Unlimited,
			},
		}},
		Direct: direct,
	}
}

// direct makes the handlers of what needs no room.
func direct() map[uint8]func(*game.Client, session.Message) error {
	var answer []byte
	reply := func(c *game.Client, m session.Message, typ uint8, payload []byte) {
		c.Send(session.Outgoing{
			Mode: m.Mode, Channel: m.Channel, Type: typ, Priority: session.High, Payload: payload,
		})
	}
	return map[uint8]func(*game.Client, session.Message) error{
		TypeEcho: func(c *game.Client, m session.Message) error {
			if len(m.Payload) > MaxEcho {
				return message.ErrTooLarge
			}
			reply(c, m, TypeEchoed, m.Payload)
			return nil
		},
		TypeBuild: func(c *game.Client, m session.Message) error {
			if !m.Mode.Reliable() {
				return message.ErrState
			}
			build, err := ParseBuild(m.Payload)
			if err != nil {
				return message.ErrMalformed
			}
			built := Built{Number: build.Number, Sum: crc32.ChecksumIEEE(build.Plan), Plan: build.Plan}
			answer = built.AppendTo(answer[:0])
			reply(c, m, TypeBuilt, answer)
			return nil
		},
	}
}

// room is the state of one room.
type room struct {
	room     *game.Room
	moved    bool // somebody did since the last round
	round    uint32
	nextFull uint64 // when a round is to carry all players
	entries  []Placed
	encoded  []byte
}

// player is what the room knows of one.
type player struct {
	position Position
	placed   bool // has sent a position
	moved    bool // since the last round
	budget   float64
	movedAt  uint64
}

func newRoom(r *game.Room) game.Logic {
	p := &room{room: r, nextFull: r.Now() + fullInterval, entries: make([]Placed, 0, MaxPositions)}
	r.Handle(TypePosition, p.position)
	r.Handle(TypeChat, func(from *game.Player, m session.Message) error {
		if _, err := ParseChat(m.Payload); err != nil {
			return message.ErrMalformed
		}
		return p.relay(from, &m, ChannelChat, TypeChatFrom)
	})
	r.Handle(TypeAction, func(from *game.Player, m session.Message) error {
		if _, err := ParseAction(m.Payload); err != nil {
			return message.ErrMalformed
		}
		return p.relay(from, &m, ChannelAction, TypeActionFrom)
	})
	return p
}

// Join implements game.Logic. The others learn of a player before its connection
// is answered, so that what follows the answer reaches all of them.
func (r *room) Join(p *game.Player) error {
	p.Value = &player{}
	r.tell(TypeJoined, p)
	return nil
}

// Leave implements game.Logic.
func (r *room) Leave(p *game.Player, _ game.Why) { r.tell(TypeLeft, p) }

func (r *room) tell(typ uint8, p *game.Player) {
	r.encoded = AppendPlayer(r.encoded[:0], p.ID())
	r.send(session.ReliableOrdered, ChannelRoom, typ)
}

// send sends what was encoded to everyone in the room.
func (r *room) send(mode session.Mode, channel, typ uint8) {
	r.room.BroadcastMessage(session.Outgoing{
		Mode: mode, Channel: channel, Type: typ, Priority: session.High, Payload: r.encoded,
	})
}

// NextTick implements game.Paced: the next round where somebody moved, else when
// all are told where everyone is.
func (r *room) NextTick() uint64 {
	if r.moved {
		return 0
	}
	return r.nextFull
}

// move takes a claimed position and reports whether it broke no rule.
func (p *player) move(to Position, now uint64) bool {
	if !legal(to.X) || !legal(to.Y) || !legal(to.Z) {
		return false
	}
	if !p.placed {
		p.placed, p.moved = true, true
		p.position, p.movedAt = to, now
		return true
	}
	elapsed := float64(now-p.movedAt) / 1e9
	p.movedAt = now
	p.budget = min(p.budget+elapsed*maxSpeed*tolerance, savedSeconds*maxSpeed*tolerance)

	dx := float64(to.X) - float64(p.position.X)
	dy := float64(to.Y) - float64(p.position.Y)
	dz := float64(to.Z) - float64(p.position.Z)
	distance := math.Sqrt(dx*dx + dy*dy + dz*dz)
	if distance == 0 {
		return true
	}
	p.moved = true
	allowed := p.budget + jitterSlack
	if distance <= allowed {
		// The slack is a debt that later movement pays back.
		p.budget -= distance
		p.position = to
		return true
	}
	scale := allowed / distance
	p.position.X += float32(dx * scale)
	p.position.Y += float32(dy * scale)
	p.position.Z += float32(dz * scale)
	p.budget -= allowed
	return false
}

// legal is false for NaN as well.
func legal(v float32) bool { return v >= -worldLimit && v <= worldLimit }

// Tick implements game.Logic: it sends one round of positions to everyone.
func (r *room) Tick(t game.Tick) {
	r.moved = false
	r.round++
	full := t.Now >= r.nextFull
	if full {
		r.nextFull = t.Now + fullInterval
	}
	r.entries = r.entries[:0]
	for _, p := range r.room.Players() {
		state := p.Value.(*player)
		if !state.placed || !state.moved && !full {
			continue
		}
		state.moved = false
		r.entries = append(r.entries, Placed{p.ID(), state.position})
		if len(r.entries) == MaxPositions {
			r.sendRound()
			r.entries = r.entries[:0]
		}
	}
	if len(r.entries) > 0 {
		r.sendRound()
	}
}

func (r *room) sendRound() {
	r.encoded = AppendPositions(r.encoded[:0], r.round, r.entries)
	r.send(session.UnreliableSequenced, ChannelPosition, TypePositions)
}

// position applies a position message of a player.
func (r *room) position(p *game.Player, m session.Message) error {
	to, err := ParsePosition(m.Payload)
	if err != nil {
		return message.ErrMalformed
	}
	state := p.Value.(*player)
	if !state.move(to, r.room.Now()) {
		r.room.Violation()
	}
	r.moved = r.moved || state.moved
	return nil
}

// relay sends a chat or action that was checked to everyone in the room.
func (r *room) relay(p *game.Player, m *session.Message, channel, typ uint8) error {
	if !m.Mode.Reliable() {
		return message.ErrState
	}
	r.encoded = append(AppendPlayer(r.encoded[:0], p.ID()), m.Payload...)
	r.send(session.ReliableOrdered, channel, typ)
	return nil
}
