package rules

// ViolationKind is a rule that was not kept.
type ViolationKind uint8

const (
	EventMissing   ViolationKind = iota + 1
	EventTwice                   // or out of order
	TickBackwards                // time ran backwards
	PhaseOrder                   // a phase that does not follow, or a round with another number
	TimerWrong                   // a phase of another length than configured
	RoleWrong                    // police or thief did what is the other's, or a role changed in the round
	ReachExceeded                // a capture or freeing from too far, or through a wall
	CapturedTwice                // without having been freed
	NotJailed                    // freed without having been captured
	JailedActed                  // captured, freed, collected, or moved while in jail
	CooldownBroken               // a skill used again too early
	SpeedExceeded                // moved farther than the role allows
	OutOfBounds                  // in a wall, outside the world, or jailed elsewhere
	ScoreWrong                   // points that do not add up
	ResultWrong                  // a winner for a reason that is not the case
	Eavesdropped                 // told what is for others
	violationKinds
)

var violationNames = [violationKinds]string{
	"none", "event missing", "event twice", "tick backwards", "phase order", "timer wrong",
	"role wrong", "reach exceeded", "captured twice", "not jailed", "jailed acted",
	"cool-down broken", "speed exceeded", "out of bounds", "score wrong", "result wrong", "eavesdropped",
}

func (k ViolationKind) String() string { return name(violationNames[:], k) }

// Violation is a rule that was seen not to be kept.
type Violation struct {
	Kind   ViolationKind
	Tick   uint32
	Player PlayerID // 0 if it concerns none
}

// maxViolations is how many are kept; all are counted.
const maxViolations = 256

// Verifier checks what one member of a game is told. It starts anew with each
// joining. Events and states may be fed in any relation to each other, since they
// come by different ways, but each in their order.
//
// A Verifier allows for what it cannot have seen. It reports nothing about an
// honest server.
type Verifier struct {
	cfg       Config
	self      PlayerID
	tolerance Coord

	violations []Violation
	count      int

	all, team, own uint32 // next number of each audience; 0 before the first

	known     bool // phase, from an event
	whole     bool // every event of this round was seen
	phase     Phase
	round     uint32
	until     uint32
	tick      uint32 // of the last event
	over      bool   // RoundOver was seen in this round
	won       Role   // of those who Won
	coins     int32
	thieves   int
	collected map[ItemID]bool
	members   map[PlayerID]*member

	world      *World
	mapSeed    uint32
	stateTick  uint32
	stateRound uint32
}

// member is what a Verifier knows of a player.
type member struct {
	role   Role // in the round, as drawn
	away   bool
	jailed bool
	score  int32
	total  int32 // of the rounds before this one
	fresh  bool  // total is known
	usedAt [actionKinds]uint32

	seen      bool // in a state
	seenAt    uint32
	seenRound uint32
	seenPhase Phase
	last      PlayerState
	allowance int64
}

// NewVerifier checks what the player self is told of a game with this
// configuration. Positions in states may be off by tolerance.
func NewVerifier(cfg Config, self PlayerID, tolerance Coord) *Verifier {
	return &Verifier{
		cfg: cfg.withDefaults(), self: self, tolerance: tolerance, own: 1,
		collected: make(map[ItemID]bool), members: make(map[PlayerID]*member),
	}
}

// Violations returns the first violations, and how many there were in all.
func (v *Verifier) Violations() (first []Violation, count int) { return v.violations, v.count }

func (v *Verifier) report(kind ViolationKind, tick uint32, id PlayerID) {
	if v.count++; len(v.violations) < maxViolations {
		v.violations = append(v.violations, Violation{kind, tick, id})
	}
}

// member returns what is known of id, at first nothing.
func (v *Verifier) member(id PlayerID) *member {
	m := v.members[id]
	if m == nil {
		m = &member{}
		// A server that names more players than a game can have is not remembered.
		if len(v.members) < 2*maxMembers {
			v.members[id] = m
		}
	}
	return m
}

// Event checks the next event that the player is told.
func (v *Verifier) Event(e Event) {
	if !v.addressed(&e) {
		v.report(Eavesdropped, e.Tick, e.Player)
		return
	}
	if !v.numbered(&e) {
		return
	}
	if e.Tick < v.tick {
		v.report(TickBackwards, e.Tick, 0)
	}
	v.tick = e.Tick

	switch e.Kind {
	case PlayerJoined:
		*v.member(e.Player) = member{fresh: true}
	case PlayerReturned:
		v.member(e.Player).away = false
	case PlayerLeft:
		if m := v.member(e.Player); m.role == NoRole && v.known {
			delete(v.members, e.Player)
		} else {
			m.away = true
		}
	case PhaseBegan:
		v.phaseBegan(&e)
	case TimerSet:
		if v.known && (e.Phase != Lobby || v.phase != Lobby) {
			v.report(PhaseOrder, e.Tick, 0)
		}
		if e.Until != 0 && e.Until != e.Tick+v.cfg.phase(Lobby) {
			v.report(TimerWrong, e.Tick, 0)
		}
		v.until = e.Until
	case RoleDrawn:
		m := v.member(e.Player)
		if v.known && v.phase != Countdown || m.role != NoRole || e.Role != Police && e.Role != Thief {
			v.report(RoleWrong, e.Tick, e.Player)
		}
		if m.role = e.Role; e.Role == Thief {
			v.thieves++
		}
	case Captured:
		v.captured(&e)
	case Freed:
		v.freed(&e)
	case Collected:
		v.acts(&e, Thief, 0)
		if v.collected[e.Item] {
			v.report(ScoreWrong, e.Tick, e.Player)
		}
		if len(v.collected) < 1<<10 {
			v.collected[e.Item] = true
		}
		v.coins++
		v.scores(&e, CoinPoints)
	case SkillUsed:
		role := Thief
		if e.Action == Dash || e.Action == Net {
			role = Police
		}
		v.acts(&e, role, e.Action)
	case ItemUsed:
		v.acts(&e, e.Team, UseItem)
		if !e.ItemKind.For(e.Team) {
			v.report(RoleWrong, e.Tick, e.Player)
		}
	case Survived:
		if v.whole && v.member(e.Player).jailed {
			v.report(ResultWrong, e.Tick, e.Player)
		}
		v.scores(&e, SurvivePoints)
	case Won:
		role := v.member(e.Player).role
		if v.won != NoRole && v.won != role {
			v.report(ResultWrong, e.Tick, e.Player)
		}
		v.won = role
		v.scores(&e, WinPoints)
	case RoundOver:
		v.roundOver(&e)
	case Scored:
		m := v.member(e.Player)
		if v.whole && e.Points != m.score || m.fresh && e.Total != m.total+e.Points {
			v.report(ScoreWrong, e.Tick, e.Player)
		}
		m.score, m.total, m.fresh = e.Points, e.Total-e.Points, true
	default:
	}
}

// addressed reports whether e may be told to this player, as far as is known.
func (v *Verifier) addressed(e *Event) bool {
	m := v.members[v.self]
	return !v.whole || m == nil || e.For(v.self, m.role)
}

// numbered checks the number of e, and reports whether e is new.
func (v *Verifier) numbered(e *Event) bool {
	next := &v.all
	switch e.Audience {
	case ToTeam:
		next = &v.team
	case ToOne:
		next = &v.own
	default:
	}
	switch behind := int32(e.Number - *next); {
	case *next == 0 || behind == 0:
	case behind < 0:
		v.report(EventTwice, e.Tick, 0)
		return false
	default:
		v.report(EventMissing, e.Tick, 0)
		v.lost()
	}
	*next = e.Number + 1
	return true
}

// lost forgets what an event that was not seen may have changed.
func (v *Verifier) lost() {
	v.known, v.whole = false, false
	for _, m := range v.members {
		m.fresh = false
	}
}

// follows reports whether a phase may come after another.
func follows(before, after Phase) bool {
	switch after {
	case Lobby:
		return before == Countdown || before == Results
	case Countdown:
		return before == Lobby || before == Results
	case Hide:
		return before == Countdown
	case Chase:
		return before == Hide
	case Results:
		return before == Hide || before == Chase
	default:
		return false
	}
}

func (v *Verifier) phaseBegan(e *Event) {
	if e.Phase >= phases {
		v.report(PhaseOrder, e.Tick, 0)
		return
	}
	until := uint32(0)
	if e.Phase != Lobby {
		until = e.Tick + v.cfg.phase(e.Phase)
	}
	if e.Until != until {
		v.report(TimerWrong, e.Tick, 0)
	}

	if v.known {
		round := v.round
		if e.Phase == Countdown {
			round++
		}
		if !follows(v.phase, e.Phase) || e.Round != round || e.Phase == Results && !v.over {
			v.report(PhaseOrder, e.Tick, 0)
		}
		early := e.Tick < v.until && (e.Phase == Hide || e.Phase == Chase)
		if late := v.until != 0 && e.Tick > v.until; early || late {
			v.report(TimerWrong, e.Tick, 0)
		}
	}
	v.known, v.phase, v.round, v.until = true, e.Phase, e.Round, e.Until

	if e.Phase != Countdown && e.Phase != Lobby {
		return
	}
	for id, m := range v.members {
		if m.away {
			delete(v.members, id)
			continue
		}
		*m = member{
			total: m.total + m.score, fresh: m.fresh,
			seen: m.seen, seenAt: m.seenAt, seenRound: m.seenRound, seenPhase: m.seenPhase,
			last: m.last, allowance: m.allowance,
		}
	}
	clear(v.collected)
	v.coins, v.thieves, v.over, v.won = 0, 0, false, NoRole
	if e.Phase == Countdown {
		v.whole, v.team = true, 1
	}
}

// acts checks what all deeds have in common: the phase, the role, that the player
// is not in jail, and the cool-down.
func (v *Verifier) acts(e *Event, role Role, action ActionKind) *member {
	m := v.member(e.Player)
	if v.known && v.phase != Chase {
		v.report(PhaseOrder, e.Tick, e.Player)
	}
	if m.role != role && (v.whole || m.role != NoRole) {
		v.report(RoleWrong, e.Tick, e.Player)
	}
	if v.whole && m.jailed {
		v.report(JailedActed, e.Tick, e.Player)
	}
	if action < actionKinds {
		cool := action.Cooldown()
		if last := m.usedAt[action]; cool > 0 && last != 0 && e.Tick < last+v.cfg.Ticks(cool) {
			v.report(CooldownBroken, e.Tick, e.Player)
		}
		m.usedAt[action] = e.Tick
	}
	return m
}

func (v *Verifier) scores(e *Event, points int32) {
	if e.Points != points {
		v.report(ScoreWrong, e.Tick, e.Player)
	}
	v.member(e.Player).score += e.Points
}

func (v *Verifier) captured(e *Event) {
	v.acts(e, Police, Capture)
	t := v.member(e.Target)
	if t.role != Thief && (v.whole || t.role != NoRole) {
		v.report(RoleWrong, e.Tick, e.Target)
	}
	if v.whole && t.jailed {
		v.report(CapturedTwice, e.Tick, e.Target)
	}
	t.jailed = true
	if !within(e.Pos, e.TargetPos, v.cfg.Reach) || v.world != nil && !v.world.Sight(e.Pos, e.TargetPos) {
		v.report(ReachExceeded, e.Tick, e.Player)
	}
	v.scores(e, CapturePoints)
}

func (v *Verifier) freed(e *Event) {
	// A lock pick frees many at once, at no cool-down.
	v.acts(e, Thief, 0)
	t := v.member(e.Target)
	if v.whole && !t.jailed {
		v.report(NotJailed, e.Tick, e.Target)
	}
	t.jailed = false
	if v.world != nil && !within(e.Pos, v.world.Jail, FreeReach) {
		v.report(ReachExceeded, e.Tick, e.Player)
	}
	v.scores(e, FreePoints)
}

func (v *Verifier) roundOver(e *Event) {
	if v.known && v.phase != Chase && (v.phase != Hide || e.Reason != Abandoned) {
		v.report(PhaseOrder, e.Tick, 0)
	}
	free, caught := 0, 0
	for _, m := range v.members {
		switch {
		case m.role != Thief || m.away:
		case m.jailed:
			caught++
		default:
			free++
		}
	}
	fits := v.won == NoRole || v.won == e.Role
	switch e.Reason {
	case AllCaught:
		fits = fits && e.Role == Police && (!v.whole || free == 0)
	case AllLooted:
		fits = fits && e.Role == Thief && (!v.whole || v.coins >= v.cfg.lootGoal(v.thieves))
	case TimeUp:
		fits = fits && (!v.whole || e.Role == winnerAtEnd(free, caught))
		if v.known && e.Tick != v.until {
			v.report(TimerWrong, e.Tick, 0)
		}
	case Abandoned:
	default:
		fits = false
	}
	if !fits {
		v.report(ResultWrong, e.Tick, 0)
	}
	v.over = true
}

// State checks the next state that the player is told, and the players it shows.
func (v *Verifier) State(s State, players []PlayerState) {
	if s.Tick < v.stateTick || s.Round < v.stateRound {
		v.report(TickBackwards, s.Tick, 0)
		return
	}
	if s.Phase >= phases {
		v.report(PhaseOrder, s.Tick, 0)
		return
	}
	if v.world == nil || v.mapSeed != s.MapSeed {
		v.world, v.mapSeed = NewWorld(v.cfg.Cells, s.MapSeed), s.MapSeed
	}
	timed := s.Phase != Lobby
	if timed && s.Until == 0 || s.Until != 0 && (s.Until <= s.Tick || s.Until-s.Tick > v.cfg.phase(s.Phase)) ||
		timed && v.known && v.phase == s.Phase && v.round == s.Round && v.until != s.Until {
		v.report(TimerWrong, s.Tick, 0)
	}
	for i := range players {
		v.player(&s, &players[i])
	}
	v.stateTick, v.stateRound = s.Tick, s.Round
}

func (v *Verifier) player(s *State, p *PlayerState) {
	m := v.member(p.ID)
	before, elapsed, phase := m.last, s.Tick-m.seenAt, m.seenPhase
	again := m.seen && m.seenRound == s.Round && before.Role == p.Role
	m.seen, m.seenAt, m.seenRound, m.seenPhase, m.last = true, s.Tick, s.Round, s.Phase, *p
	if p.Role != Police && p.Role != Thief || s.Phase == Lobby {
		return
	}

	// The lobby has the number of the round before, which has been added up by then.
	sameRound := v.known && v.round == s.Round && v.phase != Lobby
	if sameRound && v.whole && m.role != NoRole && m.role != p.Role {
		v.report(RoleWrong, s.Tick, p.ID)
	}
	if sameRound && m.fresh && p.Total-p.Score != m.total || again && p.Score < before.Score {
		v.report(ScoreWrong, s.Tick, p.ID)
	}
	if p.Status&Jailed != 0 {
		if !within(p.Pos, v.world.Jail, JailRadius+v.tolerance) {
			v.report(OutOfBounds, s.Tick, p.ID)
		}
	} else if !v.world.free(p.Pos, v.tolerance) {
		v.report(OutOfBounds, s.Tick, p.ID)
	}
	if !again || elapsed > uint32(v.cfg.TickRate) || replaced(before.Status, p.Status) {
		// New, out of sight for long, or moved by the rules: nothing to compare with.
		m.allowance = v.cfg.burst(v.cfg.Speed(p.Role, p.Status))
		return
	}

	moved := max(0, p.Pos.Sub(before.Pos).Length()-2*v.tolerance)
	if before.Status&p.Status&Jailed != 0 {
		if moved > 0 {
			v.report(JailedActed, s.Tick, p.ID)
		}
		return
	}
	// What changed in between is allowed for: the faster of both speeds counts.
	effects := (before.Status|p.Status)&(Boosted|Booted) | before.Status&p.Status&Netted
	if elapsed > uint32(v.cfg.TickRate)/2 {
		effects = Boosted | Booted
	}
	speed := v.cfg.Speed(p.Role, effects)
	frozen := s.Phase == Countdown || s.Phase == Results || s.Phase == Hide && p.Role == Police
	if frozen && phase == s.Phase {
		speed = 0
	}
	m.allowance += int64(speed)*int64(elapsed) - int64(moved)*int64(v.cfg.TickRate)
	if m.allowance < 0 || frozen && phase == s.Phase && moved > 0 {
		v.report(SpeedExceeded, s.Tick, p.ID)
		m.allowance = 0
	}
	if speed > 0 {
		m.allowance = min(m.allowance, v.cfg.burst(speed))
	}
}

// free is Free with a tolerance.
func (w *World) free(p Vec, tolerance Coord) bool {
	c := w.Clamp(p)
	if !within(c, p, 2*tolerance) {
		return false
	}
	x, y := w.cell(c)
	stop := w.stops[y*w.cells+x]
	return stop.empty() || !stop.grow(-tolerance).contains(c)
}

// replaced reports whether a player was taken to the jail since it was seen before.
func replaced(before, now Status) bool {
	if now&Jailed != 0 {
		return before&Jailed == 0
	}
	// Captured and freed within one state.
	return before&(Jailed|Immune) == 0 && now&Immune != 0
}
