package game

import (
	"slices"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
)

// On has f called for every message of M's type that a player of the room sends.
// It belongs into Kind.New. The message is valid until f returns. An error reaches
// the sender as message.Refused, see Refusal.
//
//	game.On(r, func(p *game.Player, m *message.PlayerAction) error { ... })
func On[M any, P interface {
	*M
	message.Message
}](r *Room, f func(p *Player, m P) error) {
	m := P(new(M))
	r.register(m.Kind(), func(p *Player, raw session.Message) (number uint32, err error) {
		if _, err := r.node.parse(raw.Payload, r.kind.MaxMessage, m); err != nil {
			return 0, err
		}
		switch m := any(m).(type) {
		case *message.PlayerAction:
			number = m.Number
		case *message.ReliableCommand:
			number = m.Number
		}
		return number, f(p, m)
	})
}

// Handle has f called for every message of that type, which is left as it came:
// for fixed layouts such as PositionUpdate. It belongs into Kind.New. The payload
// is valid until f returns.
func (r *Room) Handle(typ uint8, f func(p *Player, m session.Message) error) {
	r.register(typ, func(p *Player, m session.Message) (uint32, error) { return 0, f(p, m) })
}

func (r *Room) register(typ uint8, f handler) {
	switch typ {
	case message.TypeConnect, message.TypeDisconnect, message.TypeClockRequest, message.TypeListRooms:
		panic("game: a type of message that no room sees")
	}
	if r.handlers[typ] != nil {
		panic("game: two handlers for one type of message")
	}
	r.handlers[typ] = f
}

// OnTickStart has f called before each Logic.Tick, in the order of registration:
// where positions that came since the last tick are applied.
func (r *Room) OnTickStart(f func(Tick)) { r.tickStarts = append(r.tickStarts, f) }

// OnTickEnd has f called after each Logic.Tick: where snapshots are made.
func (r *Room) OnTickEnd(f func(Tick)) { r.tickEnds = append(r.tickEnds, f) }

// OnJoin has f called for each player that Logic.Join let in, right after it and
// before the answer to Connect.
func (r *Room) OnJoin(f func(*Player)) { r.joins = append(r.joins, f) }

// OnLeave has f called for each player that leaves, before Logic.Leave.
func (r *Room) OnLeave(f func(*Player)) { r.leaves = append(r.leaves, f) }

// Number is what clients call the room.
func (r *Room) Number() uint32 { return r.number }

// Now is the time in nanoseconds. It does not change during a call, and never
// goes back, though the clocks of two workers are not read at the same time.
func (r *Room) Now() uint64 {
	r.latest = max(r.latest, r.node.host.Now())
	return r.latest
}

// Players lists the players in order of joining. The slice is valid until the
// call into the logic returns.
func (r *Room) Players() []*Player { return r.players }

// Indices is one more than the greatest Player.Index so far.
func (r *Room) Indices() int { return r.indices }

// Broadcast sends a message to every player, encoded once. It panics where m is
// not legal.
func (r *Room) Broadcast(mode session.Mode, channel uint8, m message.Message) {
	o := r.outgoing(mode, channel, m)
	r.cast(&o)
}

// SendTo is Broadcast to some players.
func (r *Room) SendTo(players []*Player, mode session.Mode, channel uint8, m message.Message) {
	o := r.outgoing(mode, channel, m)
	for _, p := range players {
		p.SendMessage(o)
	}
}

// BroadcastMessage is Broadcast for a payload that is encoded already. A player
// who cannot take a reliable message since its queue is full is disconnected.
func (r *Room) BroadcastMessage(o session.Outgoing) { r.cast(&o) }

// BroadcastMessages is BroadcastMessage for several unreliable messages. It is
// cheaper where there is much to say to many: what one player gets is sent before
// that of the next is made. It panics where one is reliable.
func (r *Room) BroadcastMessages(all []session.Outgoing) {
	for i := range all {
		if all[i].Mode.Reliable() {
			panic("game: reliable message among many")
		}
	}
	for node := range r.links {
		if r.links[node].players > 0 {
			r.castAll(node, all)
		}
	}
}

// Violation counts a message that broke the rules of the game but is not worth
// a refusal, such as a movement that was cut short.
func (r *Room) Violation() { r.node.violation() }

// Close ends the room once the call into the logic returns. Its players are told,
// and Logic.Leave is called for each.
func (r *Room) Close() { r.closing = true }

// ID identifies the player in its room. It is never 0, nor used again there.
func (p *Player) ID() uint32 { return p.id }

// Index is a small number that no other player of the room has. It is given to
// another after this one left.
func (p *Player) Index() int { return p.index }

// Name is what the player wants to be called: 1 to message.MaxName bytes without
// control characters. Others may have the same.
func (p *Player) Name() string { return p.name }

// Token is that of Connect. It is valid within Logic.Join only.
func (p *Player) Token() []byte { return p.token }

// Session is the number of the connection's session, see worker.Session.ID.
func (p *Player) Session() uint64 { return p.session }

// Room is where the player is.
func (p *Player) Room() *Room { return p.room }

// Send sends a message to the player. It panics where m is not legal.
func (p *Player) Send(mode session.Mode, channel uint8, m message.Message) {
	p.SendMessage(p.room.outgoing(mode, channel, m))
}

// SendMessage is Send for a payload that is encoded already; it is copied. A
// player who cannot take a reliable message since its queue is full is
// disconnected; an unreliable one is then lost.
func (p *Player) SendMessage(o session.Outgoing) {
	switch {
	case p.left:
	case p.joins:
		o.Payload = slices.Clone(o.Payload)
		p.early = append(p.early, o)
	default:
		l := letterOf(letterSend, &o)
		l.handle = p.at.handle
		p.room.say(p.at.node, &l, o.Payload, o.Mode.Reliable())
	}
}

// Kick removes the player once the call into the logic returns. It is told the
// reason, as explained at Refusal, and may come back.
func (p *Player) Kick(reason error) {
	if p.out || p.left {
		return
	}
	p.out = true
	p.code, p.text = explain(reason)
	p.room.kicked = append(p.room.kicked, p)
}
