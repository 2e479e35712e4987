package game

import (
	"hash/crc32"
	"math"
	"slices"

	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Peer is one client's connection. Its methods are called from the worker's
// thread only, and Close does not call back before it returns.
type Peer interface {
	Send(mode session.Mode, channel, typ uint8, payload []byte) error
	Close(why wire.Reason)
	Recovered() bool

	// Value holds what SetValue was given last, nil at first.
	Value() any
	SetValue(any)
}

// Host is the worker a node runs on.
type Host interface {
	// Now is the time of the present pass, in nanoseconds.
	Now() uint64

	// Mail hands a copy of letter to the node of another worker, in order.
	// A letter that must arrive waits when there is no room; another is then
	// dropped.
	Mail(to int, letter []byte, must bool)
}

// Node is the game on one worker. It serves the players connected there and
// owns the rooms whose number modulo the number of nodes is its own; nodes
// talk to one another by letters, so nothing here takes a lock.
//
//	player's node                     room's node
//	join, position, chat  --letter--> room: check, number, fan out
//	players of the room   <--letter-- one per node, whatever its players
//
// All methods are called from the worker's thread.
type Node struct {
	self, nodes int
	host        Host
	count       *metrics.Set

	rooms     []*room          // owned here
	roomByID  map[uint32]*room // the same
	nextRound uint64
	nextFull  uint64 // the earliest of the rooms'
	moved     bool   // somebody did since the last round

	halls   map[uint32]*hall   // by room: its players connected here
	members map[uint32]*member // in a room, by handle
	handle  uint32             // given out last

	entries []Placed
	encoded []byte
	built   []byte
	letter  []byte
}

// member is a player connected here.
type member struct {
	peer   Peer
	kicked bool

	in     bool // has asked for room and not left it
	room   uint32
	handle uint32 // of this stay
}

// hall is the players of one room connected here, in order of joining.
type hall struct{ members []*member }

// NewNode returns the game for worker self of nodes workers.
func NewNode(host Host, self, nodes int, count *metrics.Set) *Node {
	return &Node{
		self: self, nodes: nodes, host: host, count: count,
		roomByID: map[uint32]*room{},
		halls:    map[uint32]*hall{},
		members:  map[uint32]*member{},
		entries:  make([]Placed, 0, MaxPositions),
		encoded:  make([]byte, 0, wire.MaxPayload),
		letter:   make([]byte, 0, MaxLetter),
	}
}

// NextTick is when Tick has something to do: at the next round where somebody
// moved, else when all are told where everyone is.
func (n *Node) NextTick() uint64 {
	switch {
	case len(n.rooms) == 0:
		return math.MaxUint64
	case n.moved:
		return n.nextRound
	}
	return max(n.nextRound, n.nextFull)
}

// Open takes a new client in.
func (n *Node) Open(p Peer) {
	if p.Recovered() {
		// Left by a former server, whose rooms are gone; it ends at once.
		return
	}
	p.SetValue(&member{peer: p})
}

// Close forgets a client.
func (n *Node) Close(p Peer) {
	m, ok := p.Value().(*member)
	if !ok {
		return
	}
	n.leave(m)
	p.SetValue(nil)
}

// Message handles one message of a client.
func (n *Node) Message(p Peer, msg session.Message) {
	m, ok := p.Value().(*member)
	if !ok || m.kicked {
		return
	}
	if !n.dispatch(m, msg) {
		n.count.Add(metrics.Rejected, 1)
	}
}

// dispatch reports whether the message was acceptable.
func (n *Node) dispatch(m *member, msg session.Message) bool {
	switch msg.Type {
	case TypeJoin:
		join, err := ParseJoin(msg.Payload)
		if err != nil {
			return false
		}
		n.leave(m)
		// A handle of its own for each stay, so that a late answer to an
		// earlier one finds nobody.
		n.handle++
		m.in, m.room, m.handle = true, join.Room, n.handle
		n.members[m.handle] = m
		n.toRoom(m, letterJoin, 0, nil, true)
		return true
	case TypeLeave:
		if len(msg.Payload) != 0 || !m.in {
			return false
		}
		n.leave(m)
		return true
	case TypePosition:
		if _, err := ParsePosition(msg.Payload); err != nil || !m.in {
			return false
		}
		n.toRoom(m, letterPosition, 0, msg.Payload, false)
		return true
	case TypeChat:
		if _, err := ParseChat(msg.Payload); err != nil || !m.in || !msg.Mode.Reliable() {
			return false
		}
		n.toRoom(m, letterChat, ChannelChat, msg.Payload, true)
		return true
	case TypeAction:
		if _, err := ParseAction(msg.Payload); err != nil || !m.in || !msg.Mode.Reliable() {
			return false
		}
		n.toRoom(m, letterAction, ChannelAction, msg.Payload, true)
		return true
	case TypeBuild:
		build, err := ParseBuild(msg.Payload)
		if err != nil || !msg.Mode.Reliable() {
			return false
		}
		built := Built{Number: build.Number, Sum: crc32.ChecksumIEEE(build.Plan), Plan: build.Plan}
		n.built = built.AppendTo(n.built[:0])
		n.send(m, msg.Mode, msg.Channel, TypeBuilt, n.built)
		return true
	case TypeEcho:
		if len(msg.Payload) > MaxEcho {
			return false
		}
		n.send(m, msg.Mode, msg.Channel, TypeEchoed, msg.Payload)
		return true
	default:
		return false
	}
}

// leave takes a member out of its room, if it is in one. Nothing of that room
// reaches it afterwards.
func (n *Node) leave(m *member) {
	if !m.in {
		return
	}
	m.in = false
	delete(n.members, m.handle)
	if h := n.halls[m.room]; h != nil {
		h.members = slices.DeleteFunc(h.members, func(o *member) bool { return o == m })
		if len(h.members) == 0 {
			delete(n.halls, m.room)
		}
	}
	n.toRoom(m, letterLeave, 0, nil, true)
}

// send gives a message to one member. A client that cannot take a reliable
// one is lost to its room, since the room cannot wait for it.
func (n *Node) send(m *member, mode session.Mode, channel, typ uint8, payload []byte) {
	if m.kicked {
		return
	}
	if err := m.peer.Send(mode, channel, typ, payload); err != nil && mode.Reliable() {
		m.kicked = true
		m.peer.Close(wire.ReasonKicked)
	}
}

// Tick runs the rooms owned here.
func (n *Node) Tick(now uint64) {
	if now < n.nextRound {
		return
	}
	n.nextRound += roundInterval
	if n.nextRound <= now {
		n.nextRound = now + roundInterval
	}
	n.moved = false
	n.nextFull = math.MaxUint64
	for _, r := range n.rooms {
		r.broadcast(n, now)
		n.nextFull = min(n.nextFull, r.nextFull)
	}
}

// cast sends a message to everyone in a room owned here.
func (n *Node) cast(r *room, mode session.Mode, channel, typ uint8, payload []byte) {
	for node, players := range r.at {
		switch {
		case players == 0:
		case node == n.self:
			n.deliver(r.id, mode, channel, typ, payload)
		default:
			l := letter{kind: letterCast, mode: mode, channel: channel, typ: typ, room: r.id}
			n.mail(node, &l, payload, mode.Reliable())
		}
	}
}

// deliver gives a message of a room to its members connected here.
func (n *Node) deliver(room uint32, mode session.Mode, channel, typ uint8, payload []byte) {
	h := n.halls[room]
	if h == nil {
		return
	}
	for _, m := range h.members {
		n.send(m, mode, channel, typ, payload)
	}
}

// toRoom brings what a member did to the node that owns its room.
func (n *Node) toRoom(m *member, kind, channel uint8, payload []byte, must bool) {
	owner := int(m.room % uint32(n.nodes))
	l := letter{kind: kind, channel: channel, room: m.room, handle: m.handle}
	if owner == n.self {
		n.atRoom(n.self, &l, payload)
		return
	}
	n.mail(owner, &l, payload, must)
}

// atRoom applies what a player did to a room owned here.
func (n *Node) atRoom(from int, l *letter, payload []byte) {
	at := address{from, l.handle}
	r := n.roomByID[l.room]
	if l.kind == letterJoin {
		n.join(r, l.room, at)
		return
	}
	if r == nil {
		return
	}
	p := r.players[at]
	if p == nil {
		return
	}
	switch l.kind {
	case letterLeave:
		r.remove(p)
		if len(r.order) == 0 {
			n.dropRoom(r)
			return
		}
		n.cast(r, session.ReliableOrdered, ChannelRoom, TypeLeft, AppendPlayer(n.encoded[:0], p.id))
	case letterPosition:
		r.positionClaimed(n, p, payload)
	case letterChat:
		r.relay(n, p, ChannelChat, TypeChatFrom, payload)
	case letterAction:
		r.relay(n, p, ChannelAction, TypeActionFrom, payload)
	}
}

// join adds a player, opening the room when r is nil. The others learn of it
// before its welcome, so that what follows the welcome reaches all of them.
func (n *Node) join(r *room, id uint32, at address) {
	if r == nil {
		r = newRoom(id, n.nodes, n.host.Now())
		if len(n.rooms) == 0 {
			n.nextFull = r.nextFull
		}
		n.rooms = append(n.rooms, r)
		n.roomByID[id] = r
	}
	p := r.add(at)
	n.cast(r, session.ReliableOrdered, ChannelRoom, TypeJoined, AppendPlayer(n.encoded[:0], p.id))
	welcome := Welcome{Player: p.id, Room: r.id, Present: uint32(len(r.order))}
	l := letter{kind: letterWelcome, room: r.id, handle: at.handle}
	payload := welcome.AppendTo(n.encoded[:0])
	if at.node == n.self {
		n.welcome(&l, payload)
		return
	}
	n.mail(at.node, &l, payload, true)
}

func (n *Node) dropRoom(r *room) {
	n.rooms = slices.DeleteFunc(n.rooms, func(o *room) bool { return o == r })
	delete(n.roomByID, r.id)
}

// welcome lets a member into the hall of its room, unless it left meanwhile.
func (n *Node) welcome(l *letter, payload []byte) {
	m := n.members[l.handle]
	if m == nil {
		return
	}
	h := n.halls[l.room]
	if h == nil {
		h = &hall{}
		n.halls[l.room] = h
	}
	h.members = append(h.members, m)
	n.send(m, session.ReliableOrdered, ChannelRoom, TypeWelcome, payload)
}
