package brain_test

import (
	"fmt"
	"testing"

	"github.com/xrudp/xrudp/userspace/game/policethief/brain"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
)

// table is a game of bots in one place, each of whom checks what it is told.
type table struct {
	t         *testing.T
	game      *rules.Game
	recorder  *rules.Recorder
	minds     []*brain.Brain
	verifiers []*rules.Verifier
	hashes    []uint64

	think   uint32 // every so many ticks, bots think and see a state
	view    rules.View
	inputs  []rules.Input
	players []rules.PlayerState
	before  []rules.PlayerState
	phase   rules.Phase // before the step

	scores  map[rules.PlayerID]int32 // of the round, by events
	wins    map[rules.Role]int
	reasons map[rules.Reason]int
	kinds   map[rules.EventKind]int
	refused map[rules.Refusal]int
}

func newTable(t *testing.T, cfg rules.Config, seed uint64, players int) *table {
	g := rules.New(cfg, seed)
	tb := &table{
		t: t, game: g, recorder: rules.NewRecorder(g), think: 3,
		scores: map[rules.PlayerID]int32{}, wins: map[rules.Role]int{}, reasons: map[rules.Reason]int{},
		kinds: map[rules.EventKind]int{}, refused: map[rules.Refusal]int{},
	}
	for i := range players {
		tb.minds = append(tb.minds, brain.New(seed<<16+uint64(i)))
		tb.join(i)
	}
	return tb
}

func id(bot int) rules.PlayerID { return rules.PlayerID(bot + 1) }

func (tb *table) join(bot int) {
	tb.t.Helper()
	if why := tb.recorder.Apply(rules.Join(id(bot), rules.NoRole)); why != rules.Accepted {
		tb.t.Fatalf("join: %s", why)
	}
	v := rules.NewVerifier(tb.game.Config(), id(bot), 0)
	if bot < len(tb.verifiers) {
		tb.verifiers[bot] = v
	} else {
		tb.verifiers = append(tb.verifiers, v)
	}
	tb.deliver()
}

// step plays a tick. Bots think at some of them, as servers send snapshots.
func (tb *table) step() {
	tb.t.Helper()
	state := tb.game.State()
	tb.before = tb.game.Players(tb.before[:0])
	tb.phase = state.Phase
	if state.Tick%tb.think == 0 {
		for bot, mind := range tb.minds {
			if tb.game.View(id(bot), &tb.view) && tb.view.Self.Status&rules.Away == 0 {
				tb.inputs = mind.Decide(&tb.view, tb.inputs[:0])
				for _, in := range tb.inputs {
					tb.refused[tb.recorder.Apply(in)]++
				}
			}
		}
	}
	tb.game.Step()
	tb.hashes = append(tb.hashes, tb.game.Hash())
	tb.deliver()
	tb.check()
	if state.Tick%tb.think == 0 {
		for bot, v := range tb.verifiers {
			if tb.game.View(id(bot), &tb.view) && tb.view.Self.Status&rules.Away == 0 {
				v.State(tb.view.State, append(tb.view.Players, tb.view.Self))
			}
		}
	}
}

// deliver hands out what has happened.
func (tb *table) deliver() {
	for _, e := range tb.game.Events() {
		tb.kinds[e.Kind]++
		switch e.Kind {
		case rules.RoleDrawn:
			tb.scores[e.Player] = 0
		case rules.RoundOver:
			tb.wins[e.Role]++
			tb.reasons[e.Reason]++
		case rules.Scored:
			if e.Points != tb.scores[e.Player] {
				tb.t.Errorf("tick %d: player %d scored %d, events say %d", e.Tick, e.Player, e.Points, tb.scores[e.Player])
			}
		default:
			tb.scores[e.Player] += e.Points
		}
		for bot, v := range tb.verifiers {
			if p, ok := tb.game.Player(id(bot)); ok && p.Status&rules.Away == 0 && e.For(p.ID, p.Role) {
				v.Event(e)
			}
		}
	}
}

// check looks for what may never be.
func (tb *table) check() {
	tb.t.Helper()
	state, world := tb.game.State(), tb.game.World()
	tb.players = tb.game.Players(tb.players[:0])
	for i, p := range tb.players {
		if p.Role != rules.Police && p.Role != rules.Thief {
			continue
		}
		if p.Status&rules.Jailed == 0 && !world.Free(p.Pos) {
			tb.t.Errorf("tick %d: player %d is at %v, which is no free place", state.Tick, p.ID, p.Pos)
		}
		if len(tb.before) != len(tb.players) || tb.before[i].ID != p.ID {
			continue
		}
		was := tb.before[i]
		if was.Status&p.Status&rules.Jailed != 0 && was.Pos != p.Pos {
			tb.t.Errorf("tick %d: player %d moved in jail", state.Tick, p.ID)
		}
		if tb.phase == rules.Results && state.Phase == rules.Results && was.Pos != p.Pos {
			tb.t.Errorf("tick %d: player %d moved after the round", state.Tick, p.ID)
		}
	}
}

func (tb *table) finish() {
	tb.t.Helper()
	for bot, v := range tb.verifiers {
		if found, n := v.Violations(); n > 0 {
			tb.t.Errorf("bot %d saw %d violations, first: %s, tick %d, player %d",
				id(bot), n, found[0].Kind, found[0].Tick, found[0].Player)
		}
	}
	recording, err := tb.recorder.Finish()
	if err != nil {
		tb.t.Fatal(err)
	}
	replay, err := rules.NewReplay(recording)
	if err != nil {
		tb.t.Fatal(err)
	}
	for tick := 0; ; tick++ {
		more, err := replay.Step()
		if err != nil {
			tb.t.Fatal(err)
		}
		if !more {
			if tick != len(tb.hashes) {
				tb.t.Errorf("replay of %d ticks, want %d", tick, len(tb.hashes))
			}
			break
		}
		if got := replay.Game().Hash(); got != tb.hashes[tick] {
			tb.t.Fatalf("replay differs at tick %d", tick+1)
		}
	}
}

func TestWholeGames(t *testing.T) {
	wins, kinds := map[rules.Role]int{}, map[rules.EventKind]int{}
	reasons, refused := map[rules.Reason]int{}, map[rules.Refusal]int{}
	rounds := 0
	for _, players := range []int{2, 3, 4, 6, 8, 12, 20, 32, 64} {
		for seed := range uint64(max(2, 24/players)) {
			t.Run(fmt.Sprintf("%d_players_seed_%d", players, seed), func(t *testing.T) {
				cfg := rules.Fast()
				cfg.Cells = 6 + players/10
				if players == 8 && seed == 0 {
					cfg = rules.Config{} // once at full length
				}
				tb := newTable(t, cfg, seed, players)
				// Two rounds, of which the longest have the length of all phases.
				c := tb.game.Config()
				limit := 2 * int(c.Ticks(c.Lobby+c.Countdown+c.Hide+c.Chase+c.Results)+10)
				for range limit {
					if tb.game.State().Round == 3 {
						break
					}
					tb.step()
				}
				if tb.game.State().Round != 3 {
					t.Errorf("two rounds have not ended after %d ticks", limit)
				}
				tb.finish()
				for k, n := range tb.wins {
					wins[k] += n
					rounds += n
				}
				for k, n := range tb.reasons {
					reasons[k] += n
				}
				for k, n := range tb.kinds {
					kinds[k] += n
				}
				for k, n := range tb.refused {
					refused[k] += n
				}
			})
		}
	}
	t.Logf("%d rounds: wins %v, reasons %v", rounds, wins, reasons)
	t.Logf("events %v", kinds)
	t.Logf("answers %v", refused)
	for _, role := range []rules.Role{rules.Police, rules.Thief} {
		if 8*wins[role] < rounds {
			t.Errorf("%s won %d of %d rounds", role, wins[role], rounds)
		}
	}
	for k := rules.PlayerJoined; k <= rules.Scored; k++ {
		if k != rules.PlayerLeft && k != rules.PlayerReturned && k != rules.TimerSet && kinds[k] == 0 {
			t.Errorf("in no game: %s", k)
		}
	}
	for _, why := range []rules.Refusal{rules.Malformed, rules.WrongPhase, rules.Blocked, rules.TooFar, rules.OnCooldown} {
		if refused[why] > 0 {
			t.Errorf("%d of the bots' inputs were refused as %s", refused[why], why)
		}
	}
}

// Players who come and go, in every phase, spoil neither the game nor what others
// are told.
func TestComingAndGoing(t *testing.T) {
	left, returned := 0, 0
	for seed := range uint64(6) {
		cfg := rules.Fast()
		cfg.Lobby = cfg.Countdown
		tb := newTable(t, cfg, seed, 9)
		random := seed
		for tick := range 6000 {
			tb.step()
			if tick%20 != 0 {
				continue
			}
			random = random*6364136223846793005 + 1442695040888963407
			bot := int(random>>33) % len(tb.minds)
			if p, ok := tb.game.Player(id(bot)); !ok || p.Status&rules.Away != 0 {
				tb.join(bot)
			} else if tick%60 == 0 {
				tb.recorder.Apply(rules.Leave(id(bot)))
				tb.deliver()
			}
		}
		left += tb.kinds[rules.PlayerLeft]
		returned += tb.kinds[rules.PlayerReturned]
		if tb.game.State().Round < 3 {
			t.Errorf("seed %d: round %d after 6000 ticks", seed, tb.game.State().Round)
		}
		tb.finish()
	}
	if left == 0 || returned == 0 {
		t.Errorf("%d left, %d came back", left, returned)
	}
}

// The same views lead to the same games.
func TestBotsAreDeterministic(t *testing.T) {
	a, b := newTable(t, rules.Fast(), 4, 7), newTable(t, rules.Fast(), 4, 7)
	for tick := range 1500 {
		a.step()
		b.step()
		if a.hashes[tick] != b.hashes[tick] {
			t.Fatalf("differ at tick %d", tick+1)
		}
	}
}

// Every machine comes to the same end. The hash changes with the rules, the minds
// and the form of the hash, and with nothing else.
func TestGoldenGame(t *testing.T) {
	tb := newTable(t, rules.Fast(), 4, 7)
	for range 1500 {
		tb.step()
	}
	const want uint64 = 0x3cc0a98c2b57fbfa
	if got := tb.game.Hash(); got != want {
		t.Errorf("hash %#x, want %#x", got, want)
	}
}

// Minds that think at every tick, or as rarely as ten times a second, play as well.
func TestBotsThinkAtAnyRate(t *testing.T) {
	for _, every := range []uint32{1, 6} {
		tb := newTable(t, rules.Fast(), 2, 6)
		tb.think = every
		for tb.game.State().Phase != rules.Results && len(tb.hashes) < 3000 {
			tb.step()
		}
		if tb.kinds[rules.Collected] == 0 || tb.game.State().Phase != rules.Results {
			t.Errorf("thinking every %d ticks: %d coins, phase %s", every, tb.kinds[rules.Collected], tb.game.State().Phase)
		}
		tb.finish()
	}
}
