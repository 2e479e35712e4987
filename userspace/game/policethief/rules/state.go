package rules

import "time"

// Phase is a stage of a round.
type Phase uint8

const (
	Lobby Phase = iota
	Countdown
	Hide
	Chase
	Results
	phases
)

var phaseNames = [phases]string{"lobby", "countdown", "hide", "chase", "results"}

func (p Phase) String() string { return name(phaseNames[:], p) }

// Role is what a member of the game is.
type Role uint8

const (
	NoRole    Role = iota // waits for a round; as a wish, has none
	Police                // catches
	Thief                 // flees
	Spectator             // looks on
	roles
)

var roleNames = [roles]string{"none", "police", "thief", "spectator"}

func (r Role) String() string { return name(roleNames[:], r) }

// Reason is why a round ended.
type Reason uint8

const (
	NotOver   Reason = iota
	AllCaught        // no thief is free
	TimeUp           // the end of the chase: half of the thieves are free, or not
	AllLooted        // thieves have the coins they need
	Abandoned        // a side has gone
	reasons
)

var reasonNames = [reasons]string{"not over", "all caught", "time up", "all looted", "abandoned"}

func (r Reason) String() string { return name(reasonNames[:], r) }

// Status is a set of what is the case with a player.
type Status uint16

const (
	Jailed    Status = 1 << iota
	Away             // has left in mid-round
	IsReady          // for the round, or a rematch
	Boosted          // dashes or sprints
	Booted           // wears boots
	Netted           // is slowed by a net
	Hidden           // seen by the other side only from close by
	Revealed         // seen by the other side from everywhere
	Immune           // just freed
	Sheltered        // in a safe house, and may not be captured
)

// ItemKind is what an item is.
type ItemKind uint8

const (
	NoItem   ItemKind = iota
	Coin              // thieves, by touch: points, and loot
	Boots             // anyone, by touch: speed
	Smoke             // thieves carry it; used, it hides those around
	LockPick          // thieves carry it; used at the jail, it frees all
	Radar             // police carry it; used, it reveals all thieves
	itemKinds
)

var itemNames = [itemKinds]string{"nothing", "coin", "boots", "smoke", "lock pick", "radar"}

func (k ItemKind) String() string { return name(itemNames[:], k) }

// For reports whether those of role may have items of the kind.
func (k ItemKind) For(role Role) bool {
	switch k {
	case Coin, Smoke, LockPick:
		return role == Thief
	case Radar:
		return role == Police
	case Boots:
		return role == Police || role == Thief
	default:
		return false
	}
}

func (k ItemKind) byTouch() bool { return k == Coin || k == Boots }

// Item lies in the world, or has lain there.
type Item struct {
	ID    ItemID
	Kind  ItemKind
	Taken bool
	Pos   Vec
}

// Points that score.
const (
	CapturePoints = 100
	FreePoints    = 50
	CoinPoints    = 10
	SurvivePoints = 100
	WinPoints     = 50
)

// Reaches, beside Config.Reach of a capture.
const (
	TouchReach  = Unit              // of what comes by touch
	PickReach   = 2 * Unit          // of other items
	FreeReach   = JailRadius + Unit // from the centre of the jail
	NetReach    = 7 * Unit
	SmokeReach  = 5 * Unit
	NoticeReach = 3 * Unit // the hidden are seen from here
	SightReach  = 30 * Unit
)

// How long effects last.
const (
	DashTime    = 800 * time.Millisecond
	SprintTime  = 1500 * time.Millisecond
	VanishTime  = 3 * time.Second
	SmokeTime   = 4 * time.Second
	NetTime     = 1000 * time.Millisecond
	BootsTime   = 6 * time.Second
	RadarTime   = 4 * time.Second
	ImmuneTime  = 3 * time.Second
	ShelterTime = 5 * time.Second // in safe houses, in a round
	DoorTime    = 3 * time.Second // from one freeing to the next, of whoever
)

// Cooldown is how long a player waits between uses of an action, and zero for
// those that need no waiting.
func (a ActionKind) Cooldown() time.Duration {
	switch a {
	case Capture:
		return 500 * time.Millisecond
	case Dash:
		return 8 * time.Second
	case Net:
		return 15 * time.Second
	case Sprint:
		return 10 * time.Second
	case Vanish:
		return 20 * time.Second
	default:
		return 0
	}
}

// State is what all know of a game.
type State struct {
	Tick  uint32
	Round uint32 // counts from 1; 0 before the first
	Phase Phase
	Until uint32 // tick at which the phase ends; 0 for never

	Winner Role // of the last round
	Reason Reason

	Coins     int32 // collected
	CoinsGoal int32 // with which thieves win

	DoorUntil uint32 // tick from which the next thief can be freed

	MapSeed uint32 // NewWorld draws the world from it
}

// PlayerState is what those who see a player know.
type PlayerState struct {
	ID     PlayerID
	Role   Role
	Wish   Role // from the next round on
	Status Status

	Pos Vec
	Vel Vec    // per second
	Yaw uint16 // in 1/65536 of a turn

	Carrying    ItemKind
	Score       int32  // of the round
	Total       int32  // of all rounds, this one included
	Corrections uint32 // of claimed positions: who sees a new one moves to Pos
}

// Own is what a player alone knows of itself.
type Own struct {
	ReadyAt [actionKinds]uint32 // tick from which an ActionKind may be used
	Shelter uint32              // ticks left in safe houses
}

// View is what one player sees of a game.
type View struct {
	State
	Self    PlayerState
	Own     Own
	Players []PlayerState // others who can be seen
	Items   []Item        // which can be seen
	World   *World
	Config  *Config
}

// State returns what all know.
func (g *Game) State() State {
	return State{
		Tick: g.tick, Round: g.round, Phase: g.phase, Until: g.until,
		Winner: g.winner, Reason: g.reason,
		Coins: g.coins, CoinsGoal: g.coinsGoal, DoorUntil: g.doorUntil, MapSeed: g.mapSeed,
	}
}

// Player returns one player, present or away.
func (g *Game) Player(id PlayerID) (PlayerState, bool) {
	if p := g.find(id); p != nil {
		return g.public(p), true
	}
	return PlayerState{}, false
}

// Own returns what the player alone knows.
func (g *Game) Own(id PlayerID) (Own, bool) {
	if p := g.find(id); p != nil {
		return Own{p.readyAt, p.shelter}, true
	}
	return Own{}, false
}

// Players appends all members to dst, in an order that does not change while
// they stay.
func (g *Game) Players(dst []PlayerState) []PlayerState {
	for i := range g.slots[:g.used] {
		if p := &g.slots[i]; p.id != 0 {
			dst = append(dst, g.public(p))
		}
	}
	return dst
}

// Items lists the items of the round so far. The slice belongs to the game and is
// valid until the next Step.
func (g *Game) Items() []Item { return g.items }

// World returns the world of the game.
func (g *Game) World() *World { return g.world }

// Config returns the configuration, with defaults filled in.
func (g *Game) Config() Config { return g.cfg }

// Sees reports whether one member sees the other: their own side and those in
// jail from everywhere, the other side within SightReach where no wall is
// between, unless it is away. Those who are not in the round see all, and are
// seen by none.
func (g *Game) Sees(viewer, other PlayerID) bool {
	v, o := g.find(viewer), g.find(other)
	return v != nil && o != nil && g.sees(v, o)
}

func (g *Game) sees(v, o *player) bool {
	if v == o || !v.plays() || v.role == o.role {
		return true
	}
	if !o.plays() || o.away {
		return false
	}
	if o.jailed || g.lasts(o, revealed) {
		return true
	}
	reach := SightReach
	if g.lasts(o, hidden) {
		reach = NoticeReach
	}
	return within(v.pos, o.pos, reach) && g.world.Sight(v.pos, o.pos)
}

// Hears reports whether one member hears what the other says: everybody does between
// rounds. In a round its players hear their own side, in jail or not, and those who are
// not in it hear all.
func (g *Game) Hears(listener, speaker PlayerID) bool {
	l, s := g.find(listener), g.find(speaker)
	switch {
	case l == nil || s == nil:
		return false
	case g.phase == Lobby || g.phase == Results || !l.plays():
		return true
	default:
		return l.role == s.role
	}
}

// Watches reports whether one member may see through the other's eyes: those who are
// not in the round, through those of its players.
func (g *Game) Watches(viewer, other PlayerID) bool {
	v, o := g.find(viewer), g.find(other)
	return v != nil && o != nil && !v.plays() && o.plays()
}

// View fills v with what a player sees, reusing its slices, and reports whether
// there is such a player. Items are seen within SightReach.
func (g *Game) View(id PlayerID, v *View) bool {
	p := g.find(id)
	if p == nil {
		return false
	}
	v.State, v.Self, v.World, v.Config = g.State(), g.public(p), g.world, &g.cfg
	v.Own = Own{p.readyAt, p.shelter}
	v.Players, v.Items = v.Players[:0], v.Items[:0]
	for i := range g.slots[:g.used] {
		if o := &g.slots[i]; o.id != 0 && o != p && g.sees(p, o) {
			v.Players = append(v.Players, g.public(o))
		}
	}
	for _, it := range g.items {
		if !it.Taken && (!p.plays() || within(p.pos, it.Pos, SightReach)) {
			v.Items = append(v.Items, it)
		}
	}
	return true
}

func (g *Game) public(p *player) PlayerState {
	return PlayerState{
		ID: p.id, Role: p.role, Wish: p.wish, Status: g.status(p),
		Pos: p.pos, Vel: p.vel, Yaw: p.yaw,
		Carrying: p.carrying, Score: p.score, Total: p.total, Corrections: p.corrections,
	}
}

var effectStatus = [effects]Status{
	boosted: Boosted, booted: Booted, netted: Netted, hidden: Hidden, revealed: Revealed, immune: Immune,
}

func (g *Game) status(p *player) Status {
	var s Status
	if p.jailed {
		s |= Jailed
	}
	if p.away {
		s |= Away
	}
	if p.ready {
		s |= IsReady
	}
	if g.sheltered(p) {
		s |= Sheltered
	}
	for e, of := range effectStatus {
		if g.lasts(p, effect(e)) {
			s |= of
		}
	}
	return s
}

// Hash is a digest of the whole state: games that differ in anything that ever
// matters differ in it.
func (g *Game) Hash() uint64 {
	h := digest(14695981039346656037)
	h.add(uint64(g.random), uint64(g.tick), uint64(g.round), uint64(g.phase), uint64(g.until),
		uint64(g.winner), uint64(g.reason), uint64(g.coins), uint64(g.coinsGoal), uint64(g.mapSeed),
		uint64(g.coinsToLay), uint64(g.coinsLaid), uint64(g.doorUntil),
		uint64(g.numbers[0]), uint64(g.numbers[Police]), uint64(g.numbers[Thief]))
	for i := range g.slots[:g.used] {
		p := &g.slots[i]
		h.add(uint64(p.id))
		if p.id == 0 {
			continue
		}
		h.add(uint64(p.role)|uint64(p.wish)<<8|uint64(g.status(p))<<16|uint64(p.carrying)<<32|uint64(p.yaw)<<40|bit(p.moved)<<56,
			p.pos.word(), p.vel.word(), uint64(p.movedAt), uint64(p.allowance),
			uint64(p.shelter), uint64(p.beenPolice), uint64(p.score), uint64(p.total),
			uint64(p.corrections), uint64(p.number))
		for _, t := range p.until {
			h.add(uint64(t))
		}
		for _, t := range p.readyAt {
			h.add(uint64(t))
		}
	}
	for _, it := range g.items {
		h.add(uint64(it.ID)|uint64(it.Kind)<<16|bit(it.Taken)<<32, it.Pos.word())
	}
	return uint64(h)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (v Vec) word() uint64 { return uint64(uint32(v.X))<<32 | uint64(uint32(v.Y)) }

// digest mixes words as FNV-1a mixes bytes, and folds the high half down, which
// multiplication alone never does.
type digest uint64

func (d *digest) add(words ...uint64) {
	for _, w := range words {
		h := (uint64(*d) ^ w) * 0x9fb21c651e98df25
		*d = digest(h ^ h>>32)
	}
}
