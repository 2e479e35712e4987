package game

import (
	"math"
	"slices"

	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
)

// Movement rules, as MESSAGES.md gives them.
const (
	maxSpeed     = 100.0   // units per second
	tolerance    = 1.1     // on speed
	jitterSlack  = 10.0    // units
	savedSeconds = 2.0     // unused movement kept
	worldLimit   = 1000000 // largest coordinate
)

// Broadcast schedule in nanoseconds: rounds of those who moved, and of all.
const (
	roundInterval = 50_000_000
	fullInterval  = 1_000_000_000
)

// address is where a player is connected: a node, and its name for the player.
type address struct {
	node   int
	handle uint32
}

// room is the authoritative state of one room, at the node that owns it.
type room struct {
	id      uint32
	players map[address]*player
	order   []*player // the same, in order of joining
	at      []int     // players per node
	nextID  uint32

	round    uint32
	nextFull uint64 // when a round is to carry all players
}

type player struct {
	address
	id uint32

	position Position
	placed   bool // has sent a position
	moved    bool // since the last round
	budget   float64
	movedAt  uint64
}

func newRoom(id uint32, nodes int, now uint64) *room {
	return &room{id: id, players: map[address]*player{}, at: make([]int, nodes), nextFull: now + fullInterval}
}

func (r *room) add(at address) *player {
	r.nextID++
	p := &player{address: at, id: r.nextID}
	r.players[at] = p
	r.order = append(r.order, p)
	r.at[at.node]++
	return p
}

func (r *room) remove(p *player) {
	delete(r.players, p.address)
	r.order = slices.DeleteFunc(r.order, func(o *player) bool { return o == p })
	r.at[p.node]--
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

// broadcast sends one round of positions to everyone in the room.
func (r *room) broadcast(n *Node, now uint64) {
	r.round++
	full := now >= r.nextFull
	if full {
		r.nextFull = now + fullInterval
	}
	entries := n.entries[:0]
	for _, p := range r.order {
		if !p.placed || !p.moved && !full {
			continue
		}
		p.moved = false
		entries = append(entries, Placed{p.id, p.position})
		if len(entries) == MaxPositions {
			r.sendRound(n, entries)
			entries = entries[:0]
		}
	}
	if len(entries) > 0 {
		r.sendRound(n, entries)
	}
}

func (r *room) sendRound(n *Node, entries []Placed) {
	payload := AppendPositions(n.encoded[:0], r.round, entries)
	n.cast(r, session.UnreliableSequenced, ChannelPosition, TypePositions, payload)
}

// positionClaimed applies a position message of a player.
func (r *room) positionClaimed(n *Node, p *player, claim []byte) {
	to, err := ParsePosition(claim)
	if err != nil {
		n.count.Add(metrics.Rejected, 1)
		return
	}
	if !p.move(to, n.host.Now()) {
		n.count.Add(metrics.Violations, 1)
	}
	n.moved = n.moved || p.moved
}

// relay sends a chat or action to everyone in the room. The payload was
// checked where it arrived.
func (r *room) relay(n *Node, p *player, channel, typ uint8, payload []byte) {
	b := AppendPlayer(n.encoded[:0], p.id)
	b = append(b, payload...)
	n.cast(r, session.ReliableOrdered, channel, typ, b)
}
