package rules

import (
	"slices"
	"testing"
	"time"
)

// The members of a staged game.
const (
	cop     PlayerID = 1
	robber  PlayerID = 2
	friend  PlayerID = 3
	watcher PlayerID = 4
	nobody  PlayerID = 99
)

func apply(t *testing.T, g *Game, in Input) {
	t.Helper()
	if why := g.Apply(in); why != Accepted {
		t.Fatalf("%+v: %s", in, why)
	}
}

// until steps until a phase begins.
func until(t *testing.T, g *Game, phase Phase) {
	t.Helper()
	for range 100_000 {
		if g.phase == phase {
			return
		}
		g.Step()
	}
	t.Fatalf("phase %s does not come", phase)
}

func staged(t *testing.T, phase Phase) *Game {
	t.Helper()
	g := New(Config{PerPolice: 3, Cells: 6}, 1)
	apply(t, g, Join(cop, Police))
	apply(t, g, Join(robber, Thief))
	apply(t, g, Join(friend, Thief))
	apply(t, g, Join(watcher, Spectator))
	if phase == Lobby {
		return g
	}
	for id := cop; id <= friend; id++ {
		apply(t, g, Ready(id, true))
	}
	until(t, g, phase)
	return g
}

// put places a player, as no input could.
func put(g *Game, id PlayerID, at Vec) { g.find(id).pos = at }

// street is a crossing in the middle of which nothing is in the way for a cell
// in either direction.
func street(g *Game) Vec { return g.world.Corner(g.world.Jail.Add(Vec{CellSize, 0})) }

// arrest puts a thief into jail.
func arrest(t *testing.T, g *Game, id PlayerID) {
	t.Helper()
	at := street(g)
	put(g, cop, at)
	put(g, id, at.Add(Vec{Unit, 0}))
	apply(t, g, ActOn(cop, Capture, id, at.Add(Vec{Unit, 0})))
	g.find(cop).readyAt = [actionKinds]uint32{}
}

func layBefore(g *Game, id PlayerID, kind ItemKind) ItemID {
	g.items = append(g.items, Item{ID: ItemID(len(g.items) + 1), Kind: kind, Pos: g.find(id).pos})
	return g.items[len(g.items)-1].ID
}

func TestRefusals(t *testing.T) {
	next := street // to make the table short
	tests := []struct {
		name  string
		phase Phase
		set   func(*testing.T, *Game) Input
		want  Refusal
	}{
		{"no_such_kind", Chase, func(*testing.T, *Game) Input { return Input{Kind: inputKinds, Player: cop} }, Malformed},
		{"no_such_action", Chase, func(*testing.T, *Game) Input { return Act(cop, actionKinds) }, Malformed},
		{"no_such_role", Lobby, func(*testing.T, *Game) Input { return ChooseRole(cop, roles) }, Malformed},
		{"nobody_joins", Lobby, func(*testing.T, *Game) Input { return Join(0, NoRole) }, Malformed},
		{"off_the_map", Chase, func(*testing.T, *Game) Input { return Move(cop, Vec{MaxCoord + 1, 0}, Vec{}, 0) }, Malformed},
		{"velocity_off_the_map", Chase, func(*testing.T, *Game) Input { return Move(cop, Vec{}, Vec{0, -MaxCoord - 1}, 0) }, Malformed},
		{"stranger", Chase, func(*testing.T, *Game) Input { return Act(nobody, Dash) }, NotJoined},
		{"away", Chase, func(t *testing.T, g *Game) Input { apply(t, g, Leave(friend)); return Act(friend, Sprint) }, NotJoined},
		{"joins_twice", Chase, func(*testing.T, *Game) Input { return Join(cop, NoRole) }, AlreadyJoined},
		{"full", Lobby, func(t *testing.T, g *Game) Input { g.cfg.MaxPlayers = 3; return Join(nobody, NoRole) }, GameFull},
		{"full_for_the_spectator", Lobby, func(t *testing.T, g *Game) Input {
			g.cfg.MaxPlayers = 3
			return ChooseRole(watcher, Police)
		}, GameFull},
		{"full_of_spectators", Lobby, func(t *testing.T, g *Game) Input {
			g.cfg.MaxSpectators = 1
			return Join(nobody, Spectator)
		}, GameFull},
		{"ready_in_the_chase", Chase, func(*testing.T, *Game) Input { return Ready(cop, true) }, WrongPhase},
		{"rematch_in_the_lobby", Lobby, func(*testing.T, *Game) Input { return Rematch(cop, true) }, WrongPhase},
		{"move_in_the_countdown", Countdown, func(_ *testing.T, g *Game) Input { return Move(robber, g.find(robber).pos, Vec{}, 0) }, WrongPhase},
		{"police_wait_while_thieves_hide", Hide, func(_ *testing.T, g *Game) Input { return Move(cop, g.find(cop).pos, Vec{}, 0) }, WrongPhase},
		{"skill_while_thieves_hide", Hide, func(*testing.T, *Game) Input { return Act(robber, Sprint) }, WrongPhase},
		{"spectator_is_ready", Lobby, func(*testing.T, *Game) Input { return Ready(watcher, true) }, Spectating},
		{"spectator_moves", Chase, func(_ *testing.T, g *Game) Input { return Move(watcher, next(g), Vec{}, 0) }, Spectating},
		{"spectator_acts", Chase, func(*testing.T, *Game) Input { return Act(watcher, Dash) }, Spectating},
		{"late_joiner_acts", Chase, func(t *testing.T, g *Game) Input {
			apply(t, g, Join(nobody, Thief))
			return Act(nobody, Sprint)
		}, Spectating},
		{"thief_captures", Chase, func(_ *testing.T, g *Game) Input { return ActOn(robber, Capture, friend, Vec{}) }, NotYourRole},
		{"police_frees", Chase, func(_ *testing.T, g *Game) Input { return ActOn(cop, Free, robber, Vec{}) }, NotYourRole},
		{"police_sprints", Chase, func(*testing.T, *Game) Input { return Act(cop, Sprint) }, NotYourRole},
		{"police_takes_smoke", Chase, func(_ *testing.T, g *Game) Input { return Take(cop, layBefore(g, cop, Smoke)) }, NotYourRole},
		{"jailed_moves", Chase, func(t *testing.T, g *Game) Input {
			arrest(t, g, robber)
			return Move(robber, g.find(robber).pos.Add(Vec{1, 0}), Vec{}, 0)
		}, InJail},
		{"jailed_sprints", Chase, func(t *testing.T, g *Game) Input { arrest(t, g, robber); return Act(robber, Sprint) }, InJail},
		{"dashes_twice", Chase, func(t *testing.T, g *Game) Input { apply(t, g, Act(cop, Dash)); return Act(cop, Dash) }, OnCooldown},
		{"captures_twice", Chase, func(t *testing.T, g *Game) Input {
			arrest(t, g, robber)
			g.find(cop).readyAt[Capture] = g.tick + 1
			put(g, friend, next(g))
			return ActOn(cop, Capture, friend, next(g))
		}, OnCooldown},
		{"captures_nobody", Chase, func(*testing.T, *Game) Input { return ActOn(cop, Capture, nobody, Vec{}) }, NoSuchPlayer},
		{"captures_itself", Chase, func(_ *testing.T, g *Game) Input { return ActOn(cop, Capture, cop, g.find(cop).pos) }, NoSuchPlayer},
		{"captures_who_has_left", Chase, func(t *testing.T, g *Game) Input {
			apply(t, g, Leave(friend))
			return ActOn(cop, Capture, friend, g.find(friend).pos)
		}, NoSuchPlayer},
		{"frees_who_is_free", Chase, func(_ *testing.T, g *Game) Input {
			put(g, robber, g.world.Jail)
			return ActOn(robber, Free, friend, Vec{})
		}, NoSuchPlayer},
		{"captures_the_jailed", Chase, func(t *testing.T, g *Game) Input {
			arrest(t, g, robber)
			return ActOn(cop, Capture, robber, next(g))
		}, TargetJailed},
		{"captures_the_freed", Chase, func(t *testing.T, g *Game) Input {
			arrest(t, g, robber)
			put(g, friend, g.world.Jail)
			apply(t, g, ActOn(friend, Free, robber, Vec{}))
			return ActOn(cop, Capture, robber, next(g))
		}, TargetImmune},
		{"captures_in_a_safe_house", Chase, func(_ *testing.T, g *Game) Input {
			put(g, cop, g.world.Safe[0])
			put(g, robber, g.world.Safe[0])
			return ActOn(cop, Capture, robber, g.world.Safe[0])
		}, TargetSheltered},
		{"captures_from_afar", Chase, func(_ *testing.T, g *Game) Input {
			put(g, cop, next(g))
			put(g, robber, next(g).Add(Vec{g.cfg.Reach + 1, 0}))
			return ActOn(cop, Capture, robber, next(g).Add(Vec{g.cfg.Reach + 1, 0}))
		}, TooFar},
		{"captures_where_nobody_was", Chase, func(_ *testing.T, g *Game) Input {
			put(g, cop, next(g))
			put(g, robber, next(g).Add(Vec{-CellSize, CellSize}))
			return ActOn(cop, Capture, robber, next(g))
		}, TooFar},
		{"frees_from_afar", Chase, func(t *testing.T, g *Game) Input {
			arrest(t, g, robber)
			put(g, friend, g.world.Jail.Add(Vec{FreeReach + 1, 0}))
			return ActOn(friend, Free, robber, Vec{})
		}, TooFar},
		{"takes_from_afar", Chase, func(_ *testing.T, g *Game) Input {
			put(g, robber, next(g))
			item := layBefore(g, robber, Smoke)
			put(g, robber, next(g).Add(Vec{0, PickReach + 1}))
			return Take(robber, item)
		}, TooFar},
		{"picks_the_lock_from_afar", Chase, func(t *testing.T, g *Game) Input {
			arrest(t, g, robber)
			put(g, friend, next(g))
			g.find(friend).carrying = LockPick
			return Act(friend, UseItem)
		}, TooFar},
		{"captures_through_a_wall", Chase, func(_ *testing.T, g *Game) Input {
			r := g.world.Walls(nil)[0]
			g.cfg.Reach = CellSize
			put(g, cop, Vec{r.Min.X - Unit/2, r.Min.Y + Unit})
			put(g, robber, Vec{r.Max.X + Unit/2, r.Min.Y + Unit})
			return ActOn(cop, Capture, robber, g.find(robber).pos)
		}, WallBetween},
		{"takes_nothing", Chase, func(*testing.T, *Game) Input { return Take(robber, 0) }, NoSuchItem},
		{"takes_what_is_not_there", Chase, func(_ *testing.T, g *Game) Input { return Take(robber, ItemID(len(g.items)+1)) }, NoSuchItem},
		{"takes_a_coin", Chase, func(_ *testing.T, g *Game) Input { return Take(robber, layBefore(g, robber, Coin)) }, NoSuchItem},
		{"takes_twice", Chase, func(t *testing.T, g *Game) Input {
			item := layBefore(g, robber, Smoke)
			apply(t, g, Take(robber, item))
			return Take(robber, item)
		}, NoSuchItem},
		{"takes_too_much", Chase, func(t *testing.T, g *Game) Input {
			apply(t, g, Take(robber, layBefore(g, robber, Smoke)))
			return Take(robber, layBefore(g, robber, LockPick))
		}, HandsFull},
		{"uses_nothing", Chase, func(*testing.T, *Game) Input { return Act(robber, UseItem) }, HandsEmpty},
		{"frees_from_an_empty_jail", Chase, func(_ *testing.T, g *Game) Input {
			put(g, robber, g.world.Jail)
			return ActOn(robber, Free, 0, Vec{})
		}, NobodyJailed},
		{"picks_the_lock_of_an_empty_jail", Chase, func(_ *testing.T, g *Game) Input {
			put(g, robber, g.world.Jail)
			g.find(robber).carrying = LockPick
			return Act(robber, UseItem)
		}, NobodyJailed},
		{"frees_while_the_door_is_shut", Chase, func(t *testing.T, g *Game) Input {
			arrest(t, g, robber)
			put(g, friend, g.world.Jail)
			apply(t, g, ActOn(friend, Free, 0, Vec{}))
			return ActOn(friend, Free, robber, Vec{})
		}, DoorShut},
		{"nets_the_unseen", Chase, func(t *testing.T, g *Game) Input {
			put(g, cop, next(g))
			put(g, robber, next(g).Add(Vec{NoticeReach + 1, 0}))
			apply(t, g, Act(robber, Vanish))
			return ActOn(cop, Net, robber, g.find(robber).pos)
		}, NoSuchPlayer},
	}
	covered := map[Refusal]bool{Accepted: true, TooFast: true, Blocked: true}
	for _, tt := range tests {
		covered[tt.want] = true
		t.Run(tt.name, func(t *testing.T) {
			g := staged(t, tt.phase)
			in := tt.set(t, g)
			g.Events()
			before := g.Hash()
			if got := g.Apply(in); got != tt.want {
				t.Fatalf("got %s, want %s", got, tt.want)
			}
			if g.Hash() != before || len(g.Events()) > 0 {
				t.Error("a refused input changed the game")
			}
		})
	}
	for r := range refusals {
		if !covered[r] {
			t.Errorf("no test is refused as %s", r)
		}
	}
}

func TestMovement(t *testing.T) {
	tests := []struct {
		name string
		from func(*Game) Vec
		to   func(*Game, Vec) Vec
		want Refusal
		end  func(*Game, Vec) Vec
	}{
		{"as_claimed", street, func(g *Game, p Vec) Vec { return p.Add(Vec{g.cfg.ThiefSpeed / 8, 0}) }, Accepted,
			func(g *Game, p Vec) Vec { return p.Add(Vec{g.cfg.ThiefSpeed / 8, 0}) }},
		{"too_fast", street, func(g *Game, p Vec) Vec { return p.Add(Vec{CellSize, 0}) }, TooFast,
			func(g *Game, p Vec) Vec { return p.Add(Vec{g.cfg.ThiefSpeed / 4, 0}) }},
		{"into_a_wall", func(g *Game) Vec {
			r := g.world.Walls(nil)[0]
			return Vec{r.Min.X - Unit, (r.Min.Y + r.Max.Y) / 2}
		}, func(_ *Game, p Vec) Vec { return p.Add(Vec{Unit, 0}) }, Blocked,
			func(_ *Game, p Vec) Vec { return p.Add(Vec{Unit - PlayerRadius, 0}) }},
		{"along_a_wall", func(g *Game) Vec {
			r := g.world.Walls(nil)[0]
			return Vec{r.Min.X - PlayerRadius, (r.Min.Y + r.Max.Y) / 2}
		}, func(_ *Game, p Vec) Vec { return p.Add(Vec{Unit / 2, Unit / 2}) }, Blocked,
			func(_ *Game, p Vec) Vec { return p.Add(Vec{0, Unit / 2}) }},
		{"off_the_edge", func(g *Game) Vec { return g.world.Corner(Vec{}) },
			func(_ *Game, p Vec) Vec { return Vec{-Unit, p.Y} }, Blocked,
			func(g *Game, p Vec) Vec { return p }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := staged(t, Chase)
			p := g.find(robber)
			p.pos = tt.from(g)
			p.allowance = g.cfg.burst(g.cfg.ThiefSpeed)
			from := p.pos
			if got := g.Apply(Move(robber, tt.to(g, from), Vec{}, 7)); got != tt.want {
				t.Errorf("answer %s, want %s", got, tt.want)
			}
			s, _ := g.Player(robber)
			if want := tt.end(g, from); s.Pos != want || s.Yaw != 7 {
				t.Errorf("at %v facing %d, want %v facing 7", s.Pos, s.Yaw, want)
			}
			if corrected := s.Corrections == 1; corrected != tt.want.Corrected() {
				t.Errorf("corrections %d", s.Corrections)
			}
		})
	}
}

// The allowance is neither lost nor gained, whatever the rhythm of the claims.
func TestSpeedLimit(t *testing.T) {
	for _, every := range []int{1, 2, 3, 7, 15} {
		g := staged(t, Chase)
		p := g.find(robber)
		p.allowance, p.pos = 0, street(g)
		begin, refused, way := g.tick, 0, int64(0)
		east := Coord(1)
		for range 20 * g.cfg.TickRate / every {
			for range every {
				g.Step()
			}
			step := Coord(p.allowance / int64(g.cfg.TickRate))
			if Coord(g.world.Corner(street(g)).X)+CellSize-Unit < p.pos.X+step || p.pos.X-step < street(g).X-CellSize+Unit {
				east = -east
			}
			if g.Apply(Move(robber, p.pos.Add(Vec{east * step, 0}), Vec{}, 0)) != Accepted {
				refused++
			}
			way += int64(step)
			p.until = [effects]uint32{}
			for i := range g.items {
				g.items[i].Taken = true
			}
		}
		most := int64(g.cfg.ThiefSpeed) * int64(g.tick-begin) / int64(g.cfg.TickRate)
		if refused > 0 || way > most || way < most-int64(every)-1 {
			t.Errorf("every %d ticks: %d refused, %d of %d covered", every, refused, way, most)
		}
	}
}

func TestSkillsAndItems(t *testing.T) {
	g := staged(t, Chase)
	at := street(g)
	put(g, cop, at)
	put(g, robber, at.Add(Vec{NoticeReach + Unit, 0}))
	put(g, friend, at.Add(Vec{-CellSize, 0}))
	speed := func(id PlayerID) Coord {
		s, _ := g.Player(id)
		return g.cfg.Speed(s.Role, s.Status)
	}
	pass := func(d time.Duration) {
		for range g.cfg.Ticks(d) {
			g.Step()
		}
	}

	apply(t, g, Act(cop, Dash))
	if speed(cop) != g.cfg.PoliceSpeed*3/2 {
		t.Errorf("dashing: %d", speed(cop))
	}
	pass(DashTime)
	if speed(cop) != g.cfg.PoliceSpeed {
		t.Errorf("after a dash: %d", speed(cop))
	}
	apply(t, g, ActOn(cop, Net, robber, g.find(robber).pos))
	if speed(robber) != g.cfg.ThiefSpeed/2 {
		t.Errorf("in a net: %d", speed(robber))
	}
	pass(NetTime)
	item := layBefore(g, robber, Boots)
	apply(t, g, Move(robber, g.find(robber).pos, Vec{}, 0))
	g.Step()
	if speed(robber) != g.cfg.ThiefSpeed*6/5 || !g.items[item-1].Taken {
		t.Errorf("in boots: %d", speed(robber))
	}

	if !g.Sees(cop, robber) {
		t.Error("police do not see a thief before them")
	}
	apply(t, g, Act(robber, Vanish))
	if g.Sees(cop, robber) || !g.Sees(friend, robber) || !g.Sees(watcher, robber) {
		t.Error("who vanished is seen by police, or not by others")
	}
	apply(t, g, Take(cop, layBefore(g, cop, Radar)))
	apply(t, g, Act(cop, UseItem))
	if !g.Sees(cop, robber) {
		t.Error("the radar does not show who vanished")
	}
	pass(RadarTime)
	apply(t, g, Take(robber, layBefore(g, robber, Smoke)))
	apply(t, g, Act(robber, UseItem))
	if g.Sees(cop, robber) {
		t.Error("police see through smoke")
	}

	arrest(t, g, robber)
	put(g, friend, g.world.Jail)
	apply(t, g, Take(friend, layBefore(g, friend, LockPick)))
	g.doorUntil = g.tick + 100
	apply(t, g, Act(friend, UseItem))
	if g.find(robber).jailed {
		t.Error("a lock pick does not open the jail")
	}
}

func TestVelocityGoesStale(t *testing.T) {
	g := staged(t, Chase)
	apply(t, g, Move(robber, g.find(robber).pos, Vec{Unit, 0}, 0))
	for range g.cfg.TickRate / 4 {
		g.Step()
	}
	if g.find(robber).vel != (Vec{Unit, 0}) {
		t.Error("the velocity is gone after a quarter of a second")
	}
	if g.Step(); g.find(robber).vel != (Vec{}) {
		t.Error("who says nothing runs on")
	}
}

func TestTakenItemsAreOutOfView(t *testing.T) {
	g := staged(t, Chase)
	item := layBefore(g, robber, Smoke)
	seen := func() bool {
		var v View
		g.View(robber, &v)
		return slices.ContainsFunc(v.Items, func(it Item) bool { return it.ID == item })
	}
	if !seen() {
		t.Error("an item is not seen")
	}
	if apply(t, g, Take(robber, item)); seen() {
		t.Error("an item that was taken is seen")
	}
}

func TestVerifierLimitsSpeed(t *testing.T) {
	cfg := Config{}.withDefaults()
	tick := cfg.ThiefSpeed / Coord(cfg.TickRate)
	tests := []struct {
		name string
		way  func(i int) Coord // from the beginning, at tick i of 300
		want bool
	}{
		{"at_the_limit", func(i int) Coord { return Coord(i) * tick }, false},
		{"in_bursts", func(i int) Coord { return Coord(i/12*12) * tick }, false},
		{"a_little_faster", func(i int) Coord { return Coord(i) * tick * 11 / 10 }, true},
		{"a_jump_after_a_rest", func(i int) Coord { return Coord(i/200) * 3 * Unit }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := NewVerifier(cfg, cop, 0)
			start := NewWorld(cfg.Cells, 0).Corner(Vec{})
			for i := range 300 {
				at := start.Add(Vec{tt.way(i), 0})
				v.State(State{Tick: uint32(1000 + i), Round: 1, Phase: Chase, Until: 2000},
					[]PlayerState{{ID: robber, Role: Thief, Pos: at}})
			}
			found, n := v.Violations()
			if (n > 0) != tt.want || tt.want && found[0].Kind != SpeedExceeded {
				t.Errorf("%d violations: %v", n, found)
			}
		})
	}
}

// Who comes into sight when nobody may move any more has moved before that.
func TestVerifierComparesPhasesOfSight(t *testing.T) {
	cfg := Config{}.withDefaults()
	v := NewVerifier(cfg, cop, 0)
	start := NewWorld(cfg.Cells, 0).Corner(Vec{})
	see := func(tick uint32, phase Phase, moved Coord) (violations int) {
		s := State{Tick: tick, Round: 1, Phase: phase, Until: 1100}
		v.State(s, []PlayerState{{ID: robber, Role: Thief, Pos: start.Add(Vec{moved, 0})}})
		_, violations = v.Violations()
		return violations
	}
	see(1000, Chase, 0)
	v.State(State{Tick: 1020, Round: 1, Phase: Results, Until: 1100}, nil)
	if n := see(1030, Results, Unit); n != 0 {
		t.Errorf("%d violations of who moved in time", n)
	}
	if n := see(1040, Results, Unit+1); n != 1 {
		t.Errorf("%d violations of who moved after the end", n)
	}
}

func TestVisibilityInView(t *testing.T) {
	g := staged(t, Chase)
	put(g, cop, street(g))
	put(g, robber, street(g).Add(Vec{Unit * 5, 0}))
	var v View
	for _, tt := range []struct {
		name string
		set  func()
		want bool
	}{
		{"in_the_open", func() {}, true},
		{"vanished", func() { apply(t, g, Act(robber, Vanish)) }, false},
	} {
		tt.set()
		g.View(cop, &v)
		seen := false
		for _, p := range v.Players {
			seen = seen || p.ID == robber
		}
		if seen != tt.want {
			t.Errorf("%s: seen %v", tt.name, seen)
		}
	}
	if g.View(nobody, &v) {
		t.Error("a stranger has a view")
	}
}

func TestEndOfRound(t *testing.T) {
	tests := []struct {
		name   string
		play   func(*testing.T, *Game)
		winner Role
		reason Reason
	}{
		{"all_caught", func(t *testing.T, g *Game) { arrest(t, g, robber); arrest(t, g, friend) }, Police, AllCaught},
		{"rest_caught", func(t *testing.T, g *Game) { arrest(t, g, robber); apply(t, g, Leave(friend)) }, Police, AllCaught},
		{"time_up", func(*testing.T, *Game) {}, Thief, TimeUp},
		{"half_caught", func(t *testing.T, g *Game) { arrest(t, g, robber) }, Thief, TimeUp},
		{"looted", func(_ *testing.T, g *Game) { g.coins = g.coinsGoal }, Thief, AllLooted},
		{"police_left", func(t *testing.T, g *Game) { apply(t, g, Leave(cop)) }, Thief, Abandoned},
		{"thieves_left", func(t *testing.T, g *Game) { apply(t, g, Leave(robber)); apply(t, g, Leave(friend)) }, Police, Abandoned},
		{"all_left", func(t *testing.T, g *Game) {
			for id := cop; id <= friend; id++ {
				apply(t, g, Leave(id))
			}
		}, NoRole, Abandoned},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := staged(t, Chase)
			tt.play(t, g)
			until(t, g, Results)
			if s := g.State(); s.Winner != tt.winner || s.Reason != tt.reason {
				t.Errorf("%s won: %s; want %s: %s", s.Winner, s.Reason, tt.winner, tt.reason)
			}
			until(t, g, Lobby)
			for _, p := range g.Players(nil) {
				if p.Status != 0 || p.Score != 0 || p.Role != NoRole && p.ID != watcher {
					t.Errorf("in the lobby: %+v", p)
				}
			}
		})
	}
}

func TestMostThievesCaughtIsPoliceWin(t *testing.T) {
	if winnerAtEnd(2, 2) != Thief || winnerAtEnd(1, 2) != Police {
		t.Error("half of the thieves decide")
	}
}

func TestLobby(t *testing.T) {
	t.Run("starts_when_all_are_ready", func(t *testing.T) {
		g := staged(t, Lobby)
		for id := cop; id <= friend; id++ {
			g.Step()
			if g.phase != Lobby {
				t.Fatal("began early")
			}
			apply(t, g, Ready(id, true))
		}
		if g.Step(); g.phase != Countdown {
			t.Errorf("phase %s", g.phase)
		}
	})
	t.Run("does_not_wait_forever", func(t *testing.T) {
		g := staged(t, Lobby)
		apply(t, g, Ready(cop, true))
		apply(t, g, Ready(robber, true))
		g.Step()
		begin := g.tick
		until(t, g, Countdown)
		if g.tick-begin != g.cfg.Ticks(g.cfg.Lobby) {
			t.Errorf("began after %d ticks", g.tick-begin)
		}
		if p, _ := g.Player(friend); p.Role != NoRole {
			t.Errorf("who was not ready is %s", p.Role)
		}
	})
	t.Run("stops_the_timer", func(t *testing.T) {
		g := staged(t, Lobby)
		apply(t, g, Ready(cop, true))
		apply(t, g, Ready(robber, true))
		g.Step()
		apply(t, g, Leave(robber))
		if g.Step(); g.until != 0 {
			t.Error("the timer runs on")
		}
	})
	t.Run("countdown_falls_back", func(t *testing.T) {
		g := staged(t, Countdown)
		apply(t, g, Leave(cop))
		if g.Step(); g.phase != Lobby || g.find(cop) != nil {
			t.Errorf("phase %s", g.phase)
		}
	})
}

func TestLeaveAndReturn(t *testing.T) {
	g := staged(t, Chase)
	arrest(t, g, robber)
	put(g, friend, g.world.Jail)
	apply(t, g, Leave(robber))
	apply(t, g, Leave(cop))
	if p, ok := g.Player(cop); !ok || p.Status&Away == 0 || p.Score != CapturePoints {
		t.Errorf("away: %+v", p)
	}
	put(g, friend, street(g))
	if g.Sees(friend, cop) {
		t.Error("who is away is seen")
	}
	apply(t, g, Join(cop, NoRole))
	apply(t, g, Join(robber, NoRole))
	if !g.Sees(friend, cop) {
		t.Error("who is back is not seen")
	}
	p, _ := g.Player(cop)
	q, _ := g.Player(robber)
	if p.Role != Police || p.Score != CapturePoints || p.Status&Away != 0 || q.Status&Jailed == 0 {
		t.Errorf("back: %+v, %+v", p, q)
	}
}

func TestRematch(t *testing.T) {
	end := func() *Game {
		g := staged(t, Chase)
		apply(t, g, Join(nobody, NoRole))
		apply(t, g, Join(nobody+1, NoRole))
		apply(t, g, Leave(cop))
		until(t, g, Results)
		return g
	}
	tests := []struct {
		name   string
		voters []PlayerID
		want   Phase
	}{
		{"all", []PlayerID{robber, friend, nobody, nobody + 1}, Countdown},
		{"most", []PlayerID{robber, friend, nobody}, Countdown},
		{"half", []PlayerID{robber, nobody}, Lobby},
		{"one", []PlayerID{robber}, Lobby},
		{"none", nil, Lobby},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := end()
			for _, id := range tt.voters {
				apply(t, g, Rematch(id, true))
			}
			for g.phase == Results {
				g.Step()
			}
			if g.phase != tt.want {
				t.Fatalf("phase %s", g.phase)
			}
			if g.find(cop) != nil {
				t.Error("who left is still there")
			}
			playing := 0
			for _, p := range g.Players(nil) {
				if p.Role == Police || p.Role == Thief {
					playing++
				}
			}
			if tt.want == Countdown && playing != len(tt.voters) {
				t.Errorf("%d play", playing)
			}
		})
	}
}

func TestRolesAreShared(t *testing.T) {
	g := New(Fast(), 3)
	for id := PlayerID(1); id <= 6; id++ {
		apply(t, g, Join(id, NoRole))
		apply(t, g, Ready(id, true))
	}
	been := map[PlayerID]int{}
	for range 3 {
		until(t, g, Countdown)
		for _, p := range g.Players(nil) {
			if p.Role == Police {
				been[p.ID]++
			}
		}
		until(t, g, Results)
		for id := PlayerID(1); id <= 6; id++ {
			apply(t, g, Rematch(id, true))
		}
		g.Step()
	}
	if len(been) != 6 {
		t.Errorf("police in three rounds: %v", been)
	}
}

func TestConfig(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	if err := Fast().Validate(); err != nil {
		t.Error(err)
	}
	for i := range configNumbers(&Config{}) {
		for _, bad := range []int64{-1, 1 << 62} {
			var c Config
			configNumbers(&c)[i].set(bad)
			if c.Validate() == nil {
				t.Errorf("field %d: %d is accepted", i, bad)
			}
		}
	}
}

// Sides hear themselves in a round, and everybody all between rounds; only who is not in
// the round sees through the eyes of those who are.
func TestWhoHearsWhom(t *testing.T) {
	g := staged(t, Chase)
	const looker, late = 90, 91
	apply(t, g, Join(looker, Spectator))
	apply(t, g, Join(late, NoRole))
	arrest(t, g, robber)
	mate := PlayerID(0)
	for _, p := range g.Players(nil) {
		if p.Role == Thief && p.ID != robber {
			mate = p.ID
		}
	}
	tests := []struct {
		name             string
		listener, other  PlayerID
		chase, off, eyes bool
	}{
		{"own_side", robber, mate, true, true, false},
		{"from_jail", mate, robber, true, true, false},
		{"other_side", cop, robber, false, true, false},
		{"thief_of_police", robber, cop, false, true, false},
		{"spectator_of_player", looker, cop, true, true, true},
		{"late_of_player", late, robber, true, true, true},
		{"player_of_spectator", cop, looker, false, true, false},
		{"player_of_late", robber, late, false, true, false},
		{"spectator_of_late", looker, late, true, true, false},
		{"stranger", nobody, cop, false, false, false},
		{"of_stranger", cop, nobody, false, false, false},
	}
	for _, tt := range tests {
		if got := g.Hears(tt.listener, tt.other); got != tt.chase {
			t.Errorf("%s: hears in the chase: %t", tt.name, got)
		}
		if got := g.Watches(tt.listener, tt.other); got != tt.eyes {
			t.Errorf("%s: watches: %t", tt.name, got)
		}
	}
	until(t, g, Results)
	for _, tt := range tests {
		if got := g.Hears(tt.listener, tt.other); got != tt.off {
			t.Errorf("%s: hears in the results: %t", tt.name, got)
		}
	}
}

func TestHashCoversEverything(t *testing.T) {
	changes := map[string]func(*Game, *player){
		"tick":       func(g *Game, _ *player) { g.tick++ },
		"random":     func(g *Game, _ *player) { g.random.next() },
		"round":      func(g *Game, _ *player) { g.round++ },
		"phase":      func(g *Game, _ *player) { g.phase = Results },
		"until":      func(g *Game, _ *player) { g.until++ },
		"winner":     func(g *Game, _ *player) { g.winner = Thief },
		"reason":     func(g *Game, _ *player) { g.reason = TimeUp },
		"coins":      func(g *Game, _ *player) { g.coins++ },
		"coins_goal": func(g *Game, _ *player) { g.coinsGoal++ },
		"to_lay":     func(g *Game, _ *player) { g.coinsToLay++ },
		"laid":       func(g *Game, _ *player) { g.coinsLaid++ },
		"door":       func(g *Game, _ *player) { g.doorUntil++ },
		"numbers":    func(g *Game, _ *player) { g.numbers[Thief]++ },
		"item_taken": func(g *Game, _ *player) { g.items[0].Taken = true },
		"item_moved": func(g *Game, _ *player) { g.items[0].Pos.X++ },
		"away":       func(_ *Game, p *player) { p.away = true },
		"ready":      func(_ *Game, p *player) { p.ready = true },
		"wish":       func(_ *Game, p *player) { p.wish = Police },
		"role":       func(_ *Game, p *player) { p.role = Police },
		"position":   func(_ *Game, p *player) { p.pos.Y++ },
		"velocity":   func(_ *Game, p *player) { p.vel.X-- },
		"yaw":        func(_ *Game, p *player) { p.yaw++ },
		"moved":      func(_ *Game, p *player) { p.moved = true },
		"moved_at":   func(_ *Game, p *player) { p.movedAt++ },
		"allowance":  func(_ *Game, p *player) { p.allowance-- },
		"jailed":     func(_ *Game, p *player) { p.jailed = true },
		"effect":     func(_ *Game, p *player) { p.until[immune]++ },
		"cool_down":  func(_ *Game, p *player) { p.readyAt[Vanish]++ },
		"shelter":    func(_ *Game, p *player) { p.shelter-- },
		"carrying":   func(_ *Game, p *player) { p.carrying = Smoke },
		"score":      func(_ *Game, p *player) { p.score++ },
		"total":      func(_ *Game, p *player) { p.total++ },
		"corrected":  func(_ *Game, p *player) { p.corrections++ },
		"police":     func(_ *Game, p *player) { p.beenPolice++ },
		"number":     func(_ *Game, p *player) { p.number++ },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			g := staged(t, Chase)
			before := g.Hash()
			change(g, g.find(robber))
			if g.Hash() == before {
				t.Error("the hash stays the same")
			}
		})
	}
}

// crowd is a game of 64 in the chase, whose players run round in circles.
func crowd(t testing.TB) (*Game, func()) {
	g := New(Config{}, 5)
	for id := PlayerID(1); id <= MaxPlayers; id++ {
		g.Apply(Join(id, NoRole))
		g.Apply(Ready(id, true))
	}
	for g.phase != Chase {
		g.Step()
	}
	g.Step()
	g.until = 1 << 31
	var players []PlayerState
	return g, func() {
		players = g.Players(players[:0])
		for i, p := range players {
			d := Coord(20)
			if (g.tick/60+uint32(i))%2 == 0 {
				d = -d
			}
			g.Apply(Move(p.ID, p.Pos.Add(Vec{d, d}), Vec{d, d}, 0))
		}
		g.coins = 0
		g.Step()
		g.Events()
		g.Hash()
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	_, step := crowd(t)
	for range 10 {
		step()
	}
	if n := testing.AllocsPerRun(200, step); n != 0 {
		t.Errorf("%v allocations in each step", n)
	}
}

func TestViewAllocatesNothing(t *testing.T) {
	g, step := crowd(t)
	var v View
	view := func() {
		for id := PlayerID(1); id <= MaxPlayers; id++ {
			g.View(id, &v)
		}
	}
	step()
	view()
	if n := testing.AllocsPerRun(20, view); n != 0 {
		t.Errorf("%v allocations for the views of all", n)
	}
}

func BenchmarkStep64(b *testing.B) {
	_, step := crowd(b)
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
}
