// Package brain plays Police and Thief: given what a player sees, it decides what
// the player does next. It knows nothing else, reads no clock and draws from its
// own seed, so that the same views lead to the same decisions.
package brain

import "github.com/xrudp/xrudp/userspace/game/policethief/rules"

// Distances at which a player changes its mind.
const (
	danger = 18 * rules.Unit // police this close are fled from
	alarm  = 6 * rules.Unit  // and this close with all means
	dash   = 9 * rules.Unit  // thieves this close are worth a dash
	nearby = rules.Unit      // close enough to a goal
)

// Brain is one player's mind. It belongs to one goroutine.
type Brain struct {
	random uint64
	tick   uint32
	round  uint32
	rest   int64 // movement that did not make a whole Coord, times steps per second

	goal    rules.Vec // of a walk at leisure
	walking bool
	trail   rules.Vec // where a thief was last seen
	hunting bool
	street  rules.Vec // the next corner on the way
	routed  bool
	bold    bool // frees others, or guards the jail, rather than collect or search
}

// New returns a mind with a character of its own.
func New(seed uint64) *Brain { return &Brain{random: seed} }

// Decide appends to dst what the player does, given what it sees. It may be
// called at every tick or less often.
func (b *Brain) Decide(v *rules.View, dst []rules.Input) []rules.Input {
	elapsed := int64(v.Tick - b.tick)
	b.tick = v.Tick
	if v.Round != b.round {
		*b = Brain{random: b.random, tick: b.tick, round: v.Round}
		b.bold = b.below(3) == 0
	}
	me := &v.Self
	if me.Role == rules.Spectator || me.Wish == rules.Spectator {
		return dst
	}
	isReady := me.Status&rules.IsReady != 0
	switch {
	case v.Phase == rules.Lobby && !isReady:
		return append(dst, rules.Ready(me.ID, true))
	case v.Phase == rules.Results && !isReady:
		return append(dst, rules.Rematch(me.ID, true))
	case me.Status&rules.Jailed != 0:
		b.walking, b.routed, b.rest = false, false, 0
		return dst
	}

	var to rules.Vec
	switch {
	case me.Role == rules.Thief && v.Phase == rules.Hide:
		to = b.wander(v)
	case me.Role == rules.Thief && v.Phase == rules.Chase:
		to, dst = b.thief(v, dst)
	case me.Role == rules.Police && v.Phase == rules.Chase:
		to, dst = b.police(v, dst)
	default:
		return dst
	}
	dst = b.collect(v, dst)

	// A late call does not make up for more than the rules let anybody save.
	rate := int64(v.Config.TickRate)
	speed := v.Config.Speed(me.Role, me.Status)
	reach := int64(speed)*min(elapsed, rate/4) + b.rest
	b.rest = reach % rate
	step := b.way(v.World, me.Pos, to).Sub(me.Pos).Limit(rules.Coord(reach / rate))
	at := v.World.Slide(me.Pos, me.Pos.Add(step))
	if at == me.Pos {
		b.walking, b.routed = false, false
	}
	vel := rules.Vec{}
	if length := int64(step.Length()); length > 0 && at == me.Pos.Add(step) {
		vel = rules.Vec{
			X: rules.Coord(int64(step.X) * int64(speed) / length),
			Y: rules.Coord(int64(step.Y) * int64(speed) / length),
		}
	}
	return append(dst, rules.Move(me.ID, at, vel, heading(step, me.Yaw)))
}

func (b *Brain) police(v *rules.View, dst []rules.Input) (rules.Vec, []rules.Input) {
	me := &v.Self
	if t := nearest(v, rules.Thief, rules.Jailed|rules.Immune|rules.Sheltered|rules.Away); t != nil {
		apart := t.Pos.Sub(me.Pos).Length()
		sight := v.World.Sight(me.Pos, t.Pos)
		if apart <= v.Config.Reach && sight && ready(v, rules.Capture) {
			dst = append(dst, rules.ActOn(me.ID, rules.Capture, t.ID, t.Pos))
		}
		if apart <= rules.NetReach && apart > v.Config.Reach && sight && ready(v, rules.Net) {
			dst = append(dst, rules.ActOn(me.ID, rules.Net, t.ID, t.Pos))
		}
		if apart <= dash && apart > v.Config.Reach && ready(v, rules.Dash) {
			dst = append(dst, rules.Act(me.ID, rules.Dash))
		}
		b.walking, b.hunting = false, true
		b.trail = v.World.Clamp(rules.Vec{X: t.Pos.X + t.Vel.X/2, Y: t.Pos.Y + t.Vel.Y/2})
		if !v.World.Free(b.trail) || apart < 3*rules.Unit {
			b.trail = t.Pos
		}
		return b.trail, dst
	}
	if me.Carrying == rules.Radar {
		dst = append(dst, rules.Act(me.ID, rules.UseItem))
	}
	if b.hunting {
		if me.Pos.Sub(b.trail).Length() > nearby {
			return b.trail, dst
		}
		b.hunting, b.walking = false, false
	}
	if b.bold && jailed(v) && me.Pos.Sub(v.World.Jail).Length() > 2*rules.CellSize {
		return v.World.Jail, dst
	}
	return b.wander(v), dst
}

func (b *Brain) thief(v *rules.View, dst []rules.Input) (rules.Vec, []rules.Input) {
	me := &v.Self
	enemy := nearest(v, rules.Police, rules.Away)
	apart := danger + 1
	if enemy != nil {
		apart = enemy.Pos.Sub(me.Pos).Length()
	}

	atJail := me.Pos.Sub(v.World.Jail).Length() <= rules.FreeReach
	if atJail && jailed(v) {
		switch {
		case me.Carrying == rules.LockPick:
			dst = append(dst, rules.Act(me.ID, rules.UseItem))
		case v.Tick >= v.DoorUntil:
			dst = append(dst, rules.ActOn(me.ID, rules.Free, 0, rules.Vec{}))
		}
	}

	if apart <= danger {
		b.walking = false
		hidden := me.Status&(rules.Hidden|rules.Immune) != 0
		if apart <= alarm && !hidden {
			switch {
			case ready(v, rules.Sprint):
				dst = append(dst, rules.Act(me.ID, rules.Sprint))
			case me.Carrying == rules.Smoke:
				dst = append(dst, rules.Act(me.ID, rules.UseItem))
			case ready(v, rules.Vanish):
				dst = append(dst, rules.Act(me.ID, rules.Vanish))
			}
		}
		if me.Status&rules.Sheltered != 0 && v.Own.Shelter > uint32(v.Config.TickRate)/2 {
			return me.Pos, dst
		}
		return b.flee(v), dst
	}

	helps := b.bold || me.Carrying == rules.LockPick
	if helps && jailed(v) && (enemy == nil || enemy.Pos.Sub(v.World.Jail).Length() > danger) {
		b.walking = false
		return v.World.Jail, dst
	}
	var coin *rules.Item
	for i := range v.Items {
		it := &v.Items[i]
		if it.Kind.For(rules.Thief) && (it.Kind == rules.Coin || it.Kind == rules.Boots || me.Carrying == rules.NoItem) &&
			(coin == nil || closer(me.Pos, it.Pos, coin.Pos)) {
			coin = it
		}
	}
	if coin != nil {
		b.walking = false
		return coin.Pos, dst
	}
	return b.wander(v), dst
}

// flee looks in sixteen directions for the place farthest from all police, and
// prefers one that they do not see.
func (b *Brain) flee(v *rules.View) rules.Vec {
	me := &v.Self
	best, bestScore := me.Pos, int64(-1)
	for _, d := range compass {
		to := v.World.Slide(me.Pos, me.Pos.Add(rules.Vec{X: d.X * 6, Y: d.Y * 6}))
		score := int64(1 << 40)
		covered := true
		for i := range v.Players {
			p := &v.Players[i]
			if p.Role != rules.Police || p.Status&rules.Away != 0 {
				continue
			}
			apart := int64(to.Sub(p.Pos).Length())
			score = min(score, apart)
			covered = covered && !v.World.Sight(to, p.Pos)
		}
		if covered {
			score += int64(3 * rules.Unit)
		}
		if v.World.Sheltered(to) && v.Own.Shelter > uint32(v.Config.TickRate) {
			score += int64(5 * rules.Unit)
		}
		if score > bestScore {
			best, bestScore = to, score
		}
	}
	return best
}

// collect takes what lies within reach and does not come by itself.
func (b *Brain) collect(v *rules.View, dst []rules.Input) []rules.Input {
	me := &v.Self
	if me.Carrying != rules.NoItem || v.Phase != rules.Chase {
		return dst
	}
	for i := range v.Items {
		it := &v.Items[i]
		if it.Kind != rules.Coin && it.Kind != rules.Boots && it.Kind.For(me.Role) &&
			it.Pos.Sub(me.Pos).Length() <= rules.PickReach {
			return append(dst, rules.Take(me.ID, it.ID))
		}
	}
	return dst
}

// wander walks to a corner of streets, and then to another.
func (b *Brain) wander(v *rules.View) rules.Vec {
	if !b.walking || v.Self.Pos.Sub(b.goal).Length() <= nearby {
		side := int(v.World.Size() / rules.Unit)
		b.goal = v.World.Corner(rules.Vec{
			X: rules.Coord(b.below(side)) * rules.Unit, Y: rules.Coord(b.below(side)) * rules.Unit,
		})
		b.walking = true
	}
	return b.goal
}

// way returns where to walk straight to on the way from a place to another: the
// goal itself where nothing is in the way, or else a corner of streets. The
// streets between neighbouring corners are always free.
func (b *Brain) way(w *rules.World, from, to rules.Vec) rules.Vec {
	if from.Sub(to).Length() <= 2*rules.CellSize && w.Passable(from, to) {
		b.routed = false
		return to
	}
	if b.routed && from.Sub(b.street).Length() > rules.Unit/4 && w.Passable(from, b.street) {
		return b.street
	}

	low := rules.Vec{X: from.X / rules.CellSize * rules.CellSize, Y: from.Y / rules.CellSize * rules.CellSize}
	if here := w.Corner(from); from.Sub(here).Length() <= rules.Unit/4 {
		low = here.Sub(rules.Vec{X: rules.CellSize, Y: rules.CellSize})
		low = w.Corner(low)
	}
	best, bestCost := from, int64(1<<40)
	for dx := range rules.Coord(3) {
		for dy := range rules.Coord(3) {
			corner := w.Corner(low.Add(rules.Vec{X: dx * rules.CellSize, Y: dy * rules.CellSize}))
			if from.Sub(corner).Length() <= rules.Unit/4 || !w.Passable(from, corner) {
				continue
			}
			// Along the streets, distances are those of a taxi.
			cost := int64(from.Sub(corner).Length()) + taxi(corner, to)
			if cost < bestCost {
				best, bestCost = corner, cost
			}
		}
	}
	b.street, b.routed = best, true
	return best
}

func taxi(a, b rules.Vec) int64 {
	d := a.Sub(b)
	return int64(max(d.X, -d.X)) + int64(max(d.Y, -d.Y))
}

func (b *Brain) below(n int) int {
	b.random = b.random*6364136223846793005 + 1442695040888963407
	return int(b.random >> 33 * uint64(n) >> 31)
}

// ready reports whether the player's action has cooled down.
func ready(v *rules.View, a rules.ActionKind) bool { return v.Tick >= v.Own.ReadyAt[a] }

// jailed reports whether a thief who could be freed is in jail.
func jailed(v *rules.View) bool {
	for i := range v.Players {
		if s := v.Players[i].Status; s&rules.Jailed != 0 && s&rules.Away == 0 {
			return true
		}
	}
	return false
}

// nearest returns the nearest visible player of a role with none of the statuses.
func nearest(v *rules.View, role rules.Role, without rules.Status) *rules.PlayerState {
	var found *rules.PlayerState
	for i := range v.Players {
		p := &v.Players[i]
		if p.Role == role && p.Status&without == 0 &&
			(found == nil || closer(v.Self.Pos, p.Pos, found.Pos)) {
			found = p
		}
	}
	return found
}

// closer reports whether a is closer to p than b is.
func closer(p, a, b rules.Vec) bool { return a.Sub(p).Length() < b.Sub(p).Length() }

// compass has sixteen directions of a unit's length each, counterclockwise from
// the X axis.
var compass = [16]rules.Vec{
	{X: 256, Y: 0}, {X: 237, Y: 98}, {X: 181, Y: 181}, {X: 98, Y: 237},
	{X: 0, Y: 256}, {X: -98, Y: 237}, {X: -181, Y: 181}, {X: -237, Y: 98},
	{X: -256, Y: 0}, {X: -237, Y: -98}, {X: -181, Y: -181}, {X: -98, Y: -237},
	{X: 0, Y: -256}, {X: 98, Y: -237}, {X: 181, Y: -181}, {X: 237, Y: -98},
}

// heading is the direction of the compass nearest to d, as a yaw.
func heading(d rules.Vec, otherwise uint16) uint16 {
	best, most := otherwise, int64(0)
	for i, c := range compass {
		if along := int64(d.X)*int64(c.X) + int64(d.Y)*int64(c.Y); along > most {
			best, most = uint16(i<<12), along
		}
	}
	return best
}
