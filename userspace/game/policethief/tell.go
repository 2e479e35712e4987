package policethief

import (
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
)

// tell sends events to those they are for, in order: those in a row that are for the
// same are one message.
func (t *room) tell(events []rules.Event) {
	for len(events) > 0 {
		first := &events[0]
		n := 1
		for n < min(len(events), protocol.MaxEvents) && events[n].Audience == first.Audience &&
			events[n].Team == first.Team && events[n].To == first.To {
			n++
		}
		t.events.Events = t.events.Events[:0]
		for i := range events[:n] {
			t.events.Events = append(t.events.Events, protocol.EventOf(&events[i]))
		}
		t.send(first)
		events = events[n:]
	}
}

// send sends what is in t.events to those of whom first tells.
func (t *room) send(first *rules.Event) {
	to := t.to[:0]
	for _, m := range t.members {
		state, ok := t.game.Player(m.id)
		if m.player == nil || !ok || !first.For(m.id, state.Role) {
			continue
		}
		for i := range t.events.Events {
			m.tally[first.Audience].Add(&t.events.Events[i])
		}
		to = append(to, m.player)
	}
	t.to = to
	if first.Audience == rules.ToAll {
		t.room.Broadcast(session.ReliableOrdered, protocol.Channel, &t.events)
		return
	}
	t.room.SendTo(to, session.ReliableOrdered, protocol.Channel, &t.events)
}

// inform tells all what all know, and each what it alone knows, when it has changed.
func (t *room) inform() {
	s := protocol.StateOf(t.game.State(), t.base)
	same := t.told
	same.Tick = s.Tick
	if s != same || s.Tick-t.told.Tick >= uint32(t.cfg.TickRate) {
		t.told = s
		t.room.Broadcast(session.ReliableOrdered, protocol.Channel, &t.told)
	}
	for _, m := range t.members {
		if m.player != nil {
			t.informOne(m)
		}
	}
}

// private is what a player alone is told.
type private struct {
	role, wish   rules.Role
	status       rules.Status
	carrying     rules.ItemKind
	score, total int32
	own          rules.Own
}

func (t *room) informOne(m *member) {
	own, _ := t.game.Own(m.id)
	s := &m.state
	p := private{s.Role, s.Wish, s.Status, s.Carrying, s.Score, s.Total, own}
	// It changes with every tick that it is used; four times a second is enough.
	p.own.Shelter /= uint32(max(t.cfg.TickRate/4, 1))
	if m.informed && p == m.own {
		return
	}
	m.informed, m.own = true, p
	t.own = protocol.Own{
		Role: uint8(s.Role), Wish: uint8(s.Wish), Status: uint16(s.Status), Carrying: uint8(s.Carrying),
		Score: s.Score, Total: s.Total, Shelter: own.Shelter, ReadyAt: append(t.own.ReadyAt[:0], own.ReadyAt[:]...),
	}
	m.player.Send(session.ReliableOrdered, protocol.Channel, &t.own)
}

// momentsKept is how many ticks the truth is remembered for.
const momentsKept = 512

// moment is what was at one tick, as protocol.Moment has it.
type moment struct {
	tick  uint32
	known bool
	data  []byte
}

// remember notes what is at this tick.
func (t *room) remember() {
	t.fact.Tick, t.fact.Entities = t.now, t.fact.Entities[:0]
	t.world.All(func(id game.ID, e *protocol.Entity) {
		at, _ := protocol.PosOf(e.At)
		t.fact.Entities = append(t.fact.Entities, protocol.Fact{
			ID: id, Kind: e.Kind, Number: e.Number, At: at, Role: e.Role, Status: e.Status, Carrying: e.Carrying,
		})
	})
	m := &t.truth[t.now%momentsKept]
	m.tick, m.known, m.data = t.now, true, t.fact.AppendTo(m.data[:0])
}

func (t *room) tellTruth(p *game.Player, ask *protocol.AskTruth) error {
	t.answer = t.answer[:0]
	for tick := ask.From; ; tick++ {
		if m := &t.truth[tick%momentsKept]; m.known && m.tick == tick {
			t.answer = append(t.answer, m.data...)
		}
		if tick == ask.To {
			break
		}
	}
	if len(t.answer) == 0 {
		return message.ErrState
	}
	p.Send(session.ReliableOrdered, protocol.Channel, &protocol.Truth{Data: t.answer})
	return nil
}

func (t *room) tellSums(p *game.Player, _ *protocol.AskSums) error {
	m := p.Value.(*member)
	p.Send(session.ReliableOrdered, protocol.Channel, &protocol.Sums{
		All: m.tally[rules.ToAll], Team: m.tally[rules.ToTeam], One: m.tally[rules.ToOne],
	})
	return nil
}
