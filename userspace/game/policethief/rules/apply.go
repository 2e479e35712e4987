package rules

import "time"

// Apply does what an input asks for, or says why not. A refused input changes
// nothing, but for a Move that is corrected.
func (g *Game) Apply(in Input) Refusal {
	if in.Kind == KindJoin {
		return g.join(in.Player, in.Role)
	}
	p := g.find(in.Player)
	if p == nil || p.away {
		return NotJoined
	}
	switch in.Kind {
	case KindLeave:
		g.leave(p)
		return Accepted
	case KindReady:
		return g.setReady(p, in.On, Lobby)
	case KindRematch:
		return g.setReady(p, in.On, Results)
	case KindRole:
		return g.chooseRole(p, in.Role)
	case KindMove:
		return g.move(p, in)
	case KindAction:
		return g.act(p, in)
	default:
		return Malformed
	}
}

func (g *Game) join(id PlayerID, wish Role) Refusal {
	if id == 0 || wish >= roles {
		return Malformed
	}
	if p := g.find(id); p != nil {
		if !p.away {
			return AlreadyJoined
		}
		// Who comes back has what was left; the wish may be new.
		p.away, p.number = false, 0
		if g.room(wish) {
			p.wish = wish
		}
		g.emit(Event{Kind: PlayerReturned, Player: id, Role: p.wish})
		return Accepted
	}
	if !g.room(wish) {
		return GameFull
	}
	slot := 0
	for g.slots[slot].id != 0 {
		slot++
	}
	g.used = max(g.used, slot+1)
	g.index[id] = slot
	p := &g.slots[slot]
	*p = player{id: id, wish: wish}
	if wish == Spectator {
		p.role = Spectator
	}
	g.emit(Event{Kind: PlayerJoined, Player: id, Role: wish})
	return Accepted
}

// room reports whether there is room for one more who wishes so.
func (g *Game) room(wish Role) bool {
	players, spectators := 0, 0
	for i := range g.slots[:g.used] {
		switch p := &g.slots[i]; {
		case p.id == 0:
		case p.wish == Spectator:
			spectators++
		default:
			players++
		}
	}
	if wish == Spectator {
		return spectators < g.cfg.MaxSpectators
	}
	return players < g.cfg.MaxPlayers
}

func (g *Game) leave(p *player) {
	g.emit(Event{Kind: PlayerLeft, Player: p.id})
	if !p.plays() {
		g.remove(g.index[p.id])
		return
	}
	p.away, p.ready, p.vel = true, false, Vec{}
}

func (g *Game) setReady(p *player, on bool, phase Phase) Refusal {
	switch {
	case g.phase != phase:
		return WrongPhase
	case p.wish == Spectator:
		return Spectating
	}
	p.ready = on
	return Accepted
}

func (g *Game) chooseRole(p *player, wish Role) Refusal {
	if wish >= roles {
		return Malformed
	}
	if (wish == Spectator) != (p.wish == Spectator) && !g.room(wish) {
		return GameFull
	}
	p.wish = wish
	if wish == Spectator {
		p.ready = false
	}
	if !p.plays() {
		p.role = NoRole
		if wish == Spectator {
			p.role = Spectator
		}
	}
	return Accepted
}

// mayAct is what moves and actions have in common.
func (g *Game) mayAct(p *player) Refusal {
	switch {
	case !p.plays():
		return Spectating
	case g.phase != Chase && !(g.phase == Hide && p.role == Thief):
		return WrongPhase
	case p.jailed:
		return InJail
	}
	return Accepted
}

func (g *Game) move(p *player, in Input) (answer Refusal) {
	if !in.Pos.legal() || !in.Vel.legal() {
		return Malformed
	}
	if why := g.mayAct(p); why != Accepted {
		return why
	}

	step := in.Pos.Sub(p.pos)
	if g.cost(step) > p.allowance {
		answer = TooFast
		step = step.Limit(Coord(p.allowance / int64(g.cfg.TickRate)))
	}
	to := p.pos.Add(step)
	end := g.world.Slide(p.pos, to)
	vel := in.Vel.Limit(g.cfg.Speed(p.role, g.status(p)))
	if end != to {
		vel = Vec{}
		if answer == Accepted {
			answer = Blocked
		}
	}
	if answer != Accepted {
		p.corrections++
	}
	p.allowance -= g.cost(end.Sub(p.pos))
	p.pos, p.vel, p.yaw = end, vel, in.Yaw
	p.moved, p.movedAt = true, g.tick
	return answer
}

// cost is what a movement takes from the allowance.
func (g *Game) cost(step Vec) int64 { return int64(step.Length()) * int64(g.cfg.TickRate) }

func (g *Game) act(p *player, in Input) Refusal {
	if in.Action == 0 || in.Action >= actionKinds || !in.Pos.legal() {
		return Malformed
	}
	if !p.plays() {
		return Spectating
	}
	if g.phase != Chase {
		return WrongPhase
	}
	if p.jailed {
		return InJail
	}
	switch in.Action {
	case Capture, Dash, Net:
		if p.role != Police {
			return NotYourRole
		}
	case Free, Sprint, Vanish:
		if p.role != Thief {
			return NotYourRole
		}
	default:
	}
	if g.tick < p.readyAt[in.Action] {
		return OnCooldown
	}

	var why Refusal
	switch in.Action {
	case Capture:
		why = g.capture(p, in)
	case Free:
		why = g.free(p, in.Target)
	case PickUp:
		why = g.pickUp(p, in.Item)
	case UseItem:
		why = g.useItem(p)
	case Net:
		why = g.net(p, in)
	case Dash:
		g.boost(p, Dash, DashTime)
	case Sprint:
		g.boost(p, Sprint, SprintTime)
	case Vanish:
		g.affect(p, hidden, VanishTime)
		g.tellTeam(Thief, Event{Kind: SkillUsed, Player: p.id, Action: Vanish})
	default:
	}
	if cool := in.Action.Cooldown(); why == Accepted && cool > 0 {
		p.readyAt[in.Action] = g.tick + g.cfg.Ticks(cool)
	}
	return why
}

func (g *Game) boost(p *player, skill ActionKind, d time.Duration) {
	g.affect(p, boosted, d)
	g.emit(Event{Kind: SkillUsed, Player: p.id, Action: skill})
}

// target finds the thief that an action of p is aimed at, who was at pos.
func (g *Game) target(p *player, id PlayerID, pos Vec, reach Coord) (*player, Refusal) {
	t := g.find(id)
	if t == nil || t.away || t.role != Thief {
		return nil, NoSuchPlayer
	}
	if t.jailed {
		return nil, TargetJailed
	}
	if g.lasts(t, immune) {
		return nil, TargetImmune
	}
	// Nobody has been farther away than what the fastest thief covers in the
	// time that the server may look back.
	fastest := int64(g.cfg.Speed(Thief, Boosted|Booted))
	span := fastest*int64(g.cfg.Ticks(g.cfg.Rewind))/int64(g.cfg.TickRate) + fastest/4
	if !within(p.pos, pos, reach) || !within(t.pos, pos, Coord(span)) {
		return nil, TooFar
	}
	if !g.world.Sight(p.pos, pos) {
		return nil, WallBetween
	}
	return t, Accepted
}

func (g *Game) capture(p *player, in Input) Refusal {
	t, why := g.target(p, in.Target, in.Pos, g.cfg.Reach)
	if why != Accepted {
		return why
	}
	if g.sheltered(t) {
		return TargetSheltered
	}
	t.jailed, t.carrying, t.until = true, NoItem, [effects]uint32{}
	t.pos, t.vel = g.world.jailCell(g.index[t.id]%MaxPlayers), Vec{}
	g.score(p, CapturePoints)
	g.emit(Event{
		Kind: Captured, Player: p.id, Target: t.id, Pos: p.pos, TargetPos: in.Pos, Points: CapturePoints,
	})
	return Accepted
}

func (g *Game) free(p *player, id PlayerID) Refusal {
	if !within(p.pos, g.world.Jail, FreeReach) {
		return TooFar
	}
	if g.tick < g.doorUntil {
		return DoorShut
	}
	t := g.find(id)
	if id == 0 {
		for i := range g.slots[:g.used] {
			if t = &g.slots[i]; t.jailed && !t.away {
				break
			}
		}
		if t == nil || !t.jailed || t.away {
			return NobodyJailed
		}
	}
	if t == nil || !t.jailed {
		return NoSuchPlayer
	}
	g.doorUntil = g.tick + g.cfg.Ticks(DoorTime)
	g.release(p, t)
	return Accepted
}

func (g *Game) release(p, t *player) {
	t.jailed = false
	t.allowance = 0
	g.affect(t, immune, ImmuneTime)
	g.score(p, FreePoints)
	g.emit(Event{Kind: Freed, Player: p.id, Target: t.id, Pos: p.pos, Points: FreePoints})
}

func (g *Game) pickUp(p *player, id ItemID) Refusal {
	if id == 0 || int(id) > len(g.items) {
		return NoSuchItem
	}
	it := &g.items[id-1]
	switch {
	case it.Taken || it.Kind.byTouch():
		return NoSuchItem
	case !it.Kind.For(p.role):
		return NotYourRole
	case p.carrying != NoItem:
		return HandsFull
	case !within(p.pos, it.Pos, PickReach):
		return TooFar
	}
	it.Taken, p.carrying = true, it.Kind
	g.tell(p, Event{Kind: PickedUp, Player: p.id, Item: id, ItemKind: it.Kind})
	return Accepted
}

func (g *Game) useItem(p *player) Refusal {
	switch p.carrying {
	case NoItem:
		return HandsEmpty
	case Smoke:
		g.eachThief(func(t *player) {
			if within(p.pos, t.pos, SmokeReach) {
				g.affect(t, hidden, SmokeTime)
			}
		})
	case Radar:
		g.eachThief(func(t *player) { g.affect(t, revealed, RadarTime) })
	case LockPick:
		if !within(p.pos, g.world.Jail, FreeReach) {
			return TooFar
		}
		jailed := 0
		for i := range g.slots[:g.used] {
			if t := &g.slots[i]; t.jailed {
				g.release(p, t)
				jailed++
			}
		}
		if jailed == 0 {
			return NobodyJailed
		}
	default:
	}
	g.tellTeam(p.role, Event{Kind: ItemUsed, Player: p.id, ItemKind: p.carrying})
	p.carrying = NoItem
	return Accepted
}

// eachThief calls f with every thief who is not in jail.
func (g *Game) eachThief(f func(*player)) {
	for i := range g.slots[:g.used] {
		if t := &g.slots[i]; t.role == Thief && !t.jailed {
			f(t)
		}
	}
}

func (g *Game) net(p *player, in Input) Refusal {
	t, why := g.target(p, in.Target, in.Pos, NetReach)
	if why != Accepted {
		return why
	}
	if !g.sees(p, t) {
		return NoSuchPlayer
	}
	g.affect(t, netted, NetTime)
	g.emit(Event{Kind: SkillUsed, Player: p.id, Action: Net, Target: t.id})
	return Accepted
}
