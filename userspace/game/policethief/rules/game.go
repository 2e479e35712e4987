package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// effect is something that lasts for a time.
type effect int

const (
	boosted effect = iota
	booted
	netted
	hidden
	revealed
	immune
	effects
)

// maxMembers is how many slots a game has.
const maxMembers = MaxPlayers + MaxSpectators

// player is a member of the game. The zero value is a free slot.
type player struct {
	id    PlayerID
	away  bool // left in a round
	ready bool // in the lobby for a round, in the results for a rematch
	wish  Role
	role  Role

	pos, vel  Vec
	yaw       uint16
	moved     bool // since the last step
	movedAt   uint32
	allowance int64 // movement left, in Coord times steps per second

	jailed   bool
	until    [effects]uint32
	readyAt  [actionKinds]uint32
	shelter  uint32 // ticks left
	carrying ItemKind

	score, total int32
	corrections  uint32
	beenPolice   uint32 // rounds
	number       uint32 // of the last event to this player
}

// plays reports whether p is in the round, though perhaps away.
func (p *player) plays() bool { return p.role == Police || p.role == Thief }

// Game is one game: its members, its world and the round they play.
type Game struct {
	cfg    Config
	seed   uint64
	world  *World
	random random

	tick, round       uint32
	phase             Phase
	until             uint32
	winner            Role
	reason            Reason
	coins, coinsGoal  int32
	coinsToLay        int // of the round, while they lie or have lain coinsLaid
	coinsLaid         int
	doorUntil         uint32 // the jail stays shut
	mapSeed           uint32
	items             []Item
	slots             [maxMembers]player
	used              int // slots from here on have never been taken
	index             map[PlayerID]int
	numbers           [Thief + 1]uint32 // of the last event to all, and to each team
	events, delivered []Event
	recorder          *Recorder // nil for none
}

// New returns a game with nobody in it. It panics if cfg is not valid.
func New(cfg Config, seed uint64) *Game {
	if err := cfg.Validate(); err != nil {
		panic("policethief: " + err.Error())
	}
	g := &Game{cfg: cfg.withDefaults(), seed: seed, random: random(seed), index: make(map[PlayerID]int)}
	// Half a word of the sequence does not tell those who know the map its state.
	g.mapSeed = uint32(g.random.next() >> 32)
	g.world = NewWorld(g.cfg.Cells, g.mapSeed)
	return g
}

// Events returns what has happened since the last call. The slice is valid until
// the next call.
func (g *Game) Events() []Event {
	happened := g.events
	g.events, g.delivered = g.delivered[:0], happened
	return happened
}

// Step advances the game by one tick.
func (g *Game) Step() {
	g.tick++
	for i := range g.slots[:g.used] {
		if p := &g.slots[i]; p.plays() {
			g.live(p)
		}
	}
	switch g.phase {
	case Lobby:
		g.stepLobby()
	case Results:
		g.stepResults()
	default:
		g.stepRound()
	}
}

// live is what a tick brings to one player of the round.
func (g *Game) live(p *player) {
	speed := g.cfg.Speed(p.role, g.status(p))
	p.allowance = min(p.allowance+int64(speed), g.cfg.burst(speed))
	if p.vel != (Vec{}) && g.tick-p.movedAt > uint32(g.cfg.TickRate)/4 {
		p.vel = Vec{}
	}
	if g.phase == Chase {
		if g.sheltered(p) {
			p.shelter--
		}
		if p.moved {
			g.touch(p)
		}
	}
	p.moved = false
}

// touch collects what lies where p has come to.
func (g *Game) touch(p *player) {
	for i := range g.items {
		it := &g.items[i]
		if it.Taken || !it.Kind.byTouch() || !it.Kind.For(p.role) || !within(it.Pos, p.pos, TouchReach) {
			continue
		}
		it.Taken = true
		if it.Kind == Coin {
			g.coins++
			g.score(p, CoinPoints)
			g.emit(Event{Kind: Collected, Player: p.id, Item: it.ID, ItemKind: Coin, Points: CoinPoints})
			continue
		}
		g.affect(p, booted, BootsTime)
		g.tell(p, Event{Kind: PickedUp, Player: p.id, Item: it.ID, ItemKind: it.Kind})
	}
}

func (g *Game) stepLobby() {
	members, ready := g.count()
	switch {
	case ready >= MinPlayers && (ready == members || g.until != 0 && g.tick >= g.until):
		g.startRound()
	case ready >= MinPlayers && g.until == 0:
		g.setTimer(g.tick + g.cfg.phase(Lobby))
	case ready < MinPlayers && g.until != 0:
		g.setTimer(0)
	}
}

func (g *Game) setTimer(until uint32) {
	g.until = until
	g.emit(Event{Kind: TimerSet, Phase: g.phase, Until: until})
}

// count returns how many present members would play, and how many of them are
// ready.
func (g *Game) count() (members, ready int) {
	for i := range g.slots[:g.used] {
		if p := &g.slots[i]; p.id != 0 && !p.away && p.wish != Spectator {
			members++
			if p.ready {
				ready++
			}
		}
	}
	return members, ready
}

func (g *Game) stepRound() {
	var police, free, caught int
	for i := range g.slots[:g.used] {
		switch p := &g.slots[i]; {
		case p.away || !p.plays():
		case p.role == Police:
			police++
		case p.jailed:
			caught++
		default:
			free++
		}
	}
	switch {
	case police == 0 || free+caught == 0:
		winner := NoRole
		if police > 0 {
			winner = Police
		} else if free+caught > 0 {
			winner = Thief
		}
		if g.phase == Countdown {
			g.toLobby()
			return
		}
		g.finish(winner, Abandoned)
	case g.phase == Chase && free == 0:
		g.finish(Police, AllCaught)
	case g.phase == Chase && g.coins >= g.coinsGoal:
		g.finish(Thief, AllLooted)
	case g.tick < g.until:
		g.layCoins()
	case g.phase == Countdown:
		g.begin(Hide)
	case g.phase == Hide:
		g.begin(Chase)
	default:
		g.finish(winnerAtEnd(free, caught), TimeUp)
	}
}

// winnerAtEnd is who wins when the time is up.
func winnerAtEnd(free, caught int) Role {
	if free >= caught {
		return Thief
	}
	return Police
}

// layCoins lets coins appear one after another, the last after three quarters of
// the chase, so that no number of thieves has them all at once.
func (g *Game) layCoins() {
	if g.phase != Chase {
		return
	}
	length := int(g.cfg.phase(Chase))
	due := 1 + (length-int(g.until-g.tick))*g.coinsToLay*4/(length*3)
	for ; g.coinsLaid < min(due, g.coinsToLay); g.coinsLaid++ {
		g.lay(Coin)
	}
}

func (g *Game) begin(phase Phase) {
	g.phase, g.until = phase, 0
	if phase != Lobby {
		g.until = g.tick + g.cfg.phase(phase)
	}
	g.emit(Event{Kind: PhaseBegan, Phase: phase, Round: g.round, Until: g.until})
}

func (g *Game) finish(winner Role, reason Reason) {
	g.winner, g.reason = winner, reason
	for i := range g.slots[:g.used] {
		p := &g.slots[i]
		p.vel, p.ready = Vec{}, false
		if p.away || !p.plays() {
			continue
		}
		if p.role == Thief && !p.jailed {
			g.score(p, SurvivePoints)
			g.emit(Event{Kind: Survived, Player: p.id, Points: SurvivePoints})
		}
		if p.role == winner {
			g.score(p, WinPoints)
			g.emit(Event{Kind: Won, Player: p.id, Points: WinPoints})
		}
	}
	g.emit(Event{Kind: RoundOver, Role: winner, Reason: reason, Round: g.round})
	for i := range g.slots[:g.used] {
		if p := &g.slots[i]; p.plays() {
			g.emit(Event{Kind: Scored, Player: p.id, Points: p.score, Total: p.total})
		}
	}
	g.begin(Results)
	if g.recorder != nil {
		g.recorder.roundEnds(true)
	}
}

func (g *Game) stepResults() {
	members, ready := g.count()
	switch {
	case g.tick < g.until && (ready < MinPlayers || ready < members):
	case ready >= MinPlayers && 2*ready > members:
		g.startRound()
	default:
		g.toLobby()
	}
}

// toLobby ends a round for good.
func (g *Game) toLobby() {
	for i := range g.slots[:g.used] {
		p := &g.slots[i]
		g.clear(p)
		p.ready = false
	}
	g.removeAway()
	g.items = g.items[:0]
	g.begin(Lobby)
	if g.recorder != nil {
		g.recorder.roundEnds(false)
	}
}

func (g *Game) removeAway() {
	for i := range g.slots[:g.used] {
		if g.slots[i].away {
			g.remove(i)
		}
	}
}

// clear takes p out of the round.
func (g *Game) clear(p *player) {
	if p.id == 0 {
		return
	}
	p.role = NoRole
	if p.wish == Spectator {
		p.role = Spectator
	}
	p.pos, p.vel, p.jailed, p.carrying = Vec{}, Vec{}, false, NoItem
	p.until, p.readyAt = [effects]uint32{}, [actionKinds]uint32{}
	p.shelter, p.allowance, p.score = 0, 0, 0
}

// startRound takes all out of the round before, and plays the next.
func (g *Game) startRound() {
	g.removeAway()
	for i := range g.slots[:g.used] {
		g.clear(&g.slots[i])
	}
	seed := roundSeed(g.seed, g.round+1)
	if g.recorder != nil {
		g.recorder.roundBegins(seed)
	}
	g.play(seed)
}

// roundSeed is what a round is drawn from. Who comes to know it, such as from a
// recording, learns nothing of the seed of the game or of other rounds.
func roundSeed(seed uint64, round uint32) uint64 {
	var b [12]byte
	binary.BigEndian.PutUint64(b[:], seed)
	binary.BigEndian.PutUint32(b[8:], round)
	sum := sha256.Sum256(b[:])
	return binary.BigEndian.Uint64(sum[:])
}

// play draws roles for those who are ready, and puts all in their places.
func (g *Game) play(seed uint64) {
	g.random = random(seed)
	var order [maxMembers]int
	var keys [maxMembers]uint64
	players := 0
	for i := range g.slots[:g.used] {
		p := &g.slots[i]
		if p.id == 0 || !p.ready || p.wish == Spectator {
			continue
		}
		p.ready = false
		// Police are who wish it, then who have been least often, then by lot.
		rank := [roles]uint64{Police: 0, NoRole: 1, Thief: 2}[p.wish]
		key := rank<<62 | uint64(min(p.beenPolice, 1<<20))<<32 | g.random.next()>>32
		at := players
		for ; at > 0 && keys[at-1] > key; at-- {
			keys[at], order[at] = keys[at-1], order[at-1]
		}
		keys[at], order[at] = key, i
		players++
	}
	police := min(max(1, (players+g.cfg.PerPolice/2)/g.cfg.PerPolice), players-1)

	g.round++
	g.winner, g.reason = NoRole, NotOver
	g.numbers[Police], g.numbers[Thief] = 0, 0
	g.coins, g.coinsGoal = 0, g.cfg.lootGoal(players-police)
	g.begin(Countdown)
	for n, i := range order[:players] {
		p := &g.slots[i]
		if p.role = Thief; n < police {
			p.role = Police
			p.beenPolice++
		}
		p.pos = g.start(n, p.role)
		p.shelter = g.cfg.Ticks(ShelterTime)
		g.emit(Event{Kind: RoleDrawn, Player: p.id, Role: p.role})
	}
	g.layOut(police, players-police)
}

// start is where the nth player begins: police at the station, thieves anywhere
// that is not close to it.
func (g *Game) start(n int, role Role) Vec {
	if role == Police {
		return g.world.Station.Add(Vec{Coord(n%8*2-7) * Unit / 4, Coord(n/8*2-7) * Unit / 4})
	}
	var place Vec
	for range 8 {
		place = g.world.place(&g.random)
		if !within(place, g.world.Station, g.world.Size()/4) {
			break
		}
	}
	return place
}

// layOut puts the items of a round into the world, all but the coins.
func (g *Game) layOut(police, thieves int) {
	g.items = g.items[:0]
	for _, lot := range []struct {
		kind ItemKind
		n    int
	}{
		{Boots, 1 + (police+thieves)/6},
		{Smoke, 1 + thieves/6},
		{LockPick, 1 + thieves/8},
		{Radar, 1 + police/4},
	} {
		for range lot.n {
			g.lay(lot.kind)
		}
	}
	g.coinsLaid, g.coinsToLay = 0, coins(thieves)
	g.doorUntil = 0
}

func (g *Game) lay(kind ItemKind) {
	g.items = append(g.items, Item{ID: ItemID(len(g.items) + 1), Kind: kind, Pos: g.world.place(&g.random)})
}

func (g *Game) find(id PlayerID) *player {
	if i, ok := g.index[id]; ok {
		return &g.slots[i]
	}
	return nil
}

func (g *Game) remove(i int) {
	delete(g.index, g.slots[i].id)
	g.slots[i] = player{}
}

func (g *Game) lasts(p *player, e effect) bool { return g.tick < p.until[e] }

func (g *Game) affect(p *player, e effect, d time.Duration) { p.until[e] = g.tick + g.cfg.Ticks(d) }

func (g *Game) sheltered(p *player) bool {
	return p.role == Thief && !p.jailed && p.shelter > 0 && g.world.Sheltered(p.pos)
}

func (g *Game) score(p *player, points int32) {
	p.score += points
	p.total += points
}

// emit tells all.
func (g *Game) emit(e Event) {
	g.numbers[0]++
	e.Number, e.Tick = g.numbers[0], g.tick
	g.events = append(g.events, e)
}

// tellTeam tells the side of role.
func (g *Game) tellTeam(role Role, e Event) {
	g.numbers[role]++
	e.Audience, e.Team = ToTeam, role
	e.Number, e.Tick = g.numbers[role], g.tick
	g.events = append(g.events, e)
}

// tell tells p alone.
func (g *Game) tell(p *player, e Event) {
	p.number++
	e.Audience, e.To = ToOne, p.id
	e.Number, e.Tick = p.number, g.tick
	g.events = append(g.events, e)
}
