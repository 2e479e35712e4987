package game

import (
	"time"

	"github.com/xrudp/xrudp/userspace/game/space"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// ownWeight puts a player's own entity before all others.
const ownWeight = 1e6

// claim takes a PositionUpdate until the next tick.
func (w *World[T]) claim(p *Player, m session.Message) error {
	view, err := message.ViewPosition(m.Payload)
	if err != nil {
		return err
	}
	v := w.viewer(p)
	if v == nil || !v.owner {
		return message.ErrState
	}
	c := space.Claim{Record: m.Payload, Void: v.held}
	if view.Full() {
		c.Timed, c.Time, c.Orientation = true, view.Time(), view.Orientation()
	}
	w.movement.Claim(p.index, w.room.Now(), &c)
	return nil
}

// acknowledge takes a GameStateAck.
func (w *World[T]) acknowledge(p *Player, m session.Message) error {
	a, err := message.ParseGameStateAck(m.Payload)
	if err != nil {
		return err
	}
	v := w.viewer(p)
	if v == nil || v.sender.Acknowledge(a) != snapshot.AckAccepted || a.Lost {
		return nil
	}
	// Ticks are counted modulo 2^32 there.
	tick := w.tick - uint64(uint32(w.tick)-a.Tick)
	v.ackedAny, v.acked = true, time.Duration(tick*w.room.interval)
	if v.held && v.acked >= v.heldUntil {
		v.held = false
	}
	return nil
}

// start applies what was claimed since the last tick.
func (w *World[T]) start(t Tick) {
	moved, broken := w.movement.Apply(t.Now, w.at)
	for i := range moved {
		w.move(&moved[i], time.Duration(t.Now))
	}
	for _, b := range broken {
		w.room.Violation()
		if v := w.viewers[b.Mover]; w.opts.Violated != nil && !v.left {
			w.opts.Violated(v.player, b.Rule)
		}
	}
}

// position is where a mover is before it moves.
func (w *World[T]) position(mover int) (Vec, bool) {
	v := w.viewers[mover]
	if v == nil || v.left || !v.owner {
		return Vec{}, false
	}
	return *w.opts.Position(&w.states[v.id.Slot]), true
}

func (w *World[T]) move(m *space.Moved, now time.Duration) {
	v := w.viewers[m.Mover]
	state := &w.states[v.id.Slot]
	*w.opts.Position(state) = m.At
	if m.Timed && w.opts.Orientation != nil {
		*w.opts.Orientation(state) = m.Orientation
	}
	if w.opts.Velocity != nil {
		w.measure(v, state, m, now)
	}
}

func vecSub(a, b Vec) (d Vec) {
	for k := range d {
		d[k] = a[k] - b[k]
	}
	return d
}

// end tells everybody whose turn it is what there is to see.
func (w *World[T]) end(t Tick) {
	tick := t.Now / w.room.interval
	if w.ticked && tick <= w.tick {
		// The room was empty in between, and nobody has seen it.
		return
	}
	w.tick, w.ticked = tick, true
	w.history.Begin(uint32(tick))
	w.past.Begin(time.Duration(tick * w.room.interval))
	w.x, w.y, w.z = w.x[:0], w.y[:0], w.z[:0]
	for _, slot := range w.live {
		state := &w.states[slot]
		id := ID{Slot: uint16(slot), Generation: w.generations[slot]}
		at := *w.opts.Position(state)
		w.history.Set(id, state)
		w.past.Set(id, at)
		w.x, w.y, w.z = append(w.x, at[0]), append(w.y, at[1]), append(w.z, at[2])
	}
	w.grid.Rebuild(w.live, w.x, w.y, w.z)

	// Each has its turn at another tick than its neighbours.
	rate, all := uint64(w.room.kind.SnapshotRate), uint64(w.room.kind.TickRate*max(t.Thinning, 1))
	for _, p := range w.room.players {
		if (t.Number+uint64(p.index))*rate%all < rate {
			v := w.viewer(p)
			w.rest(v, time.Duration(t.Now))
			w.confirm(v)
			w.show(v)
		}
	}
}

// confirm tells a player which of its claims was applied last. It goes into the
// packet of the snapshot that shows what came of it.
func (w *World[T]) confirm(v *viewer) {
	sequence, ok := w.movement.Newest(v.player.index)
	if !ok || v.heard && sequence == v.input {
		return
	}
	v.heard, v.input = true, sequence
	w.buf = message.AppendPositionAck(w.buf[:0], sequence)
	v.player.SendMessage(session.Outgoing{
		Mode: session.UnreliableSequenced, Channel: ChannelPositionAck, Type: message.TypePositionAck,
		Priority: session.High, Payload: w.buf,
	})
}

// show sends a player what it sees.
func (w *World[T]) show(v *viewer) {
	visible := w.look(v)
	w.buf = message.GameStateSync{Input: w.inputOf(v)}.AppendTo(w.buf[:0])
	head := len(w.buf)
	w.buf = v.sender.Append(w.buf, visible, w.weigh, w.opts.Budget/w.room.kind.SnapshotRate-head)
	if len(w.buf) == head {
		return
	}
	v.player.SendMessage(session.Outgoing{
		Mode: session.UnreliableSequenced, Channel: ChannelSnapshot, Type: message.TypeGameStateSync,
		Priority: session.High, Payload: w.buf,
	})
}

func (w *World[T]) inputOf(v *viewer) uint16 {
	if !v.heard {
		return 0
	}
	return uint16(v.input)
}

// look finds what a player sees. It is valid until the next call.
func (w *World[T]) look(v *viewer) []ID {
	w.viewing = v
	switch v.sees {
	case seesNothing:
		v.known.Clear()
	case seesAround:
		if v.owner {
			v.from = *w.opts.Position(&w.states[v.id.Slot])
		}
		near, between := w.grid.Near(v.from, w.opts.Radius, w.opts.Leave)
		w.sets.Update(&v.known, near, between, w.generations, w.admit)
	case seesAll:
		w.sets.Update(&v.known, w.live, nil, w.generations, w.admit)
	}
	w.sets.Limit(&v.known, w.weigh)
	w.note(v)
	return v.known.IDs()
}

// weight says how much an entity matters to the player that look was for.
func (w *World[T]) weight(id ID) float32 {
	v := w.viewing
	switch {
	case v.sees == seesAll:
		return 1
	case v.owner && id == v.id:
		return ownWeight
	}
	i := w.places[id.Slot]
	x, y, z := w.x[i]-v.from[0], w.y[i]-v.from[1], w.z[i]-v.from[2]
	return 1 / (1 + 16/(w.opts.Radius*w.opts.Radius)*(x*x+y*y+z*z))
}
