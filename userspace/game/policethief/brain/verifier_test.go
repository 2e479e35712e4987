package brain_test

import (
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
)

// told is one thing that a player is told: an event, or a state.
type told struct {
	event   rules.Event
	state   rules.State
	players []rules.PlayerState // of a state
}

func (m *told) isState() bool { return m.players != nil }

// transcript is all that a spectator is told of two rounds.
func transcript(t *testing.T) (rules.Config, []told) {
	t.Helper()
	cfg := rules.Fast()
	tb := newTable(t, cfg, 11, 7)
	const watcher = rules.PlayerID(100)
	tb.recorder.Apply(rules.Join(watcher, rules.Spectator))
	var all []told
	for tb.game.State().Round < 3 {
		tb.inputs = tb.inputs[:0]
		for bot, mind := range tb.minds {
			tb.game.View(id(bot), &tb.view)
			tb.inputs = mind.Decide(&tb.view, tb.inputs)
		}
		for _, in := range tb.inputs {
			// Results last a while.
			if in.Kind != rules.KindRematch || tb.game.State().Tick%50 == 0 {
				tb.game.Apply(in)
			}
		}
		tb.game.Step()
		for _, e := range tb.game.Events() {
			if e.For(watcher, rules.Spectator) {
				all = append(all, told{event: e})
			}
		}
		all = append(all, told{state: tb.game.State(), players: tb.game.Players(nil)})
	}
	return cfg, all
}

func judge(cfg rules.Config, all []told) ([]rules.Violation, int) {
	v := rules.NewVerifier(cfg, 100, 0)
	for _, m := range all {
		if m.isState() {
			v.State(m.state, m.players)
		} else {
			v.Event(m.event)
		}
	}
	return v.Violations()
}

func TestVerifierFindsTampering(t *testing.T) {
	cfg, honest := transcript(t)
	if found, n := judge(cfg, honest); n > 0 {
		t.Fatalf("%d violations in an honest game, first: %s, tick %d, player %d",
			n, found[0].Kind, found[0].Tick, found[0].Player)
	}

	// change alters the first thing told that is of a kind and to which alter
	// applies.
	event := func(kind rules.EventKind, alter func(all []told, i int) []told) func([]told) []told {
		return func(all []told) []told {
			for i, m := range all {
				if !m.isState() && m.event.Kind == kind {
					return alter(all, i)
				}
			}
			return nil
		}
	}
	edit := func(kind rules.EventKind, change func(e *rules.Event)) func([]told) []told {
		return event(kind, func(all []told, i int) []told { change(&all[i].event); return all })
	}
	state := func(change func(before, now *told) bool) func([]told) []told {
		return func(all []told) []told {
			var before *told
			for i := range all {
				if m := &all[i]; m.isState() {
					if before != nil && change(before, m) {
						return all
					}
					before = m
				}
			}
			return nil
		}
	}
	player := func(phase rules.Phase, fits func(before, now *rules.PlayerState) bool, change func(p *rules.PlayerState)) func([]told) []told {
		return state(func(before, now *told) bool {
			for i := range now.players {
				if now.state.Phase == phase && before.state.Phase == phase && fits(&before.players[i], &now.players[i]) {
					change(&now.players[i])
					return true
				}
			}
			return false
		})
	}
	// again inserts a copy of an event a tick later, as the next in number.
	again := func(all []told, i int) []told {
		e := all[i].event
		all = slices.Insert(all, i+1, told{event: e})
		for j := i + 1; j < len(all); j++ {
			if !all[j].isState() {
				all[j].event.Number++
			}
		}
		return all
	}
	free := func(before, now *rules.PlayerState) bool {
		return now.Role == rules.Thief && (before.Status|now.Status)&rules.Jailed == 0
	}
	inJail := func(before, now *rules.PlayerState) bool { return before.Status&now.Status&rules.Jailed != 0 }

	tests := []struct {
		name   string
		tamper func(all []told) []told
		want   rules.ViolationKind
	}{
		{"event_missing", event(rules.Collected, func(all []told, i int) []told { return slices.Delete(all, i, i+1) }), rules.EventMissing},
		{"event_twice", event(rules.Collected, func(all []told, i int) []told { return slices.Insert(all, i, all[i]) }), rules.EventTwice},
		{"told_what_is_for_one", edit(rules.Collected, func(e *rules.Event) { e.Audience, e.To = rules.ToOne, 1 }), rules.Eavesdropped},
		{"told_what_is_for_a_team", edit(rules.Collected, func(e *rules.Event) { e.Audience, e.Team = rules.ToTeam, rules.Thief }), rules.Eavesdropped},
		{"time_runs_backwards", edit(rules.Collected, func(e *rules.Event) { e.Tick = 1 }), rules.TickBackwards},
		{"state_runs_backwards", state(func(_, now *told) bool {
			now.state.Tick -= 2
			return now.state.Phase == rules.Chase
		}), rules.TickBackwards},
		{"phase_out_of_order", edit(rules.PhaseBegan, func(e *rules.Event) {
			if e.Phase == rules.Countdown {
				e.Phase = rules.Chase
			}
		}), rules.PhaseOrder},
		{"phase_that_is_none", edit(rules.PhaseBegan, func(e *rules.Event) { e.Phase = 200 }), rules.PhaseOrder},
		{"state_of_no_phase", state(func(_, now *told) bool { now.state.Phase = 200; return true }), rules.PhaseOrder},
		{"wrong_round", edit(rules.PhaseBegan, func(e *rules.Event) { e.Round += 2 }), rules.PhaseOrder},
		{"long_phase", edit(rules.PhaseBegan, func(e *rules.Event) { e.Until += 60 }), rules.TimerWrong},
		{"long_state", state(func(_, now *told) bool {
			now.state.Until++
			return now.state.Phase == rules.Chase
		}), rules.TimerWrong},
		{"phase_without_end", state(func(_, now *told) bool {
			now.state.Until = 0
			return now.state.Phase == rules.Hide
		}), rules.TimerWrong},
		{"role_of_the_other_side", edit(rules.Captured, func(e *rules.Event) { e.Player, e.Target = e.Target, e.Player }), rules.RoleWrong},
		{"role_drawn_twice", event(rules.RoleDrawn, again), rules.RoleWrong},
		{"role_changed", player(rules.Chase, free, func(p *rules.PlayerState) { p.Role = rules.Police }), rules.RoleWrong},
		{"captured_from_afar", edit(rules.Captured, func(e *rules.Event) { e.Pos.X += 3 * rules.Unit }), rules.ReachExceeded},
		{"freed_from_afar", edit(rules.Freed, func(e *rules.Event) { e.Pos.X += 10 * rules.Unit }), rules.ReachExceeded},
		{"captured_twice", event(rules.Captured, again), rules.CapturedTwice},
		{"captured_too_often", event(rules.Captured, again), rules.CooldownBroken},
		{"freed_twice", event(rules.Freed, again), rules.NotJailed},
		{"skill_used_twice", event(rules.SkillUsed, again), rules.CooldownBroken},
		{"jailed_collects", event(rules.Captured, func(all []told, i int) []told {
			thief := all[i].event.Target
			for j := i; j < len(all); j++ {
				if e := &all[j].event; !all[j].isState() && e.Kind == rules.Collected {
					e.Player = thief
					return all
				}
			}
			return nil
		}), rules.JailedActed},
		{"jailed_moves", player(rules.Chase, inJail, func(p *rules.PlayerState) { p.Pos.X++ }), rules.JailedActed},
		{"too_fast", player(rules.Chase, free, func(p *rules.PlayerState) {
			p.Pos.X += 5 * rules.Unit
		}), rules.SpeedExceeded},
		{"moves_after_the_round", player(rules.Results, free, func(p *rules.PlayerState) { p.Pos.X++ }), rules.SpeedExceeded},
		{"outside_the_world", player(rules.Chase, free, func(p *rules.PlayerState) { p.Pos.X = -1 }), rules.OutOfBounds},
		{"jailed_elsewhere", player(rules.Chase, inJail, func(p *rules.PlayerState) { p.Pos.X += 4 * rules.Unit }), rules.OutOfBounds},
		{"points_too_many", edit(rules.Collected, func(e *rules.Event) { e.Points *= 10 }), rules.ScoreWrong},
		{"coin_twice", event(rules.Collected, func(all []told, i int) []told { return again(all, i)[:i+2] }), rules.ScoreWrong},
		{"loser_wins", event(rules.Won, func(all []told, i int) []told {
			winner := &all[i].event.Player
			for _, m := range all[:i] {
				if e := m.event; !m.isState() && e.Kind == rules.Captured {
					if *winner == e.Player {
						*winner = e.Target
					} else {
						*winner = e.Player
					}
					return all
				}
			}
			return nil
		}), rules.ResultWrong},
		{"phase_cut_short", func(all []told) []told {
			all = slices.DeleteFunc(all, func(m told) bool { return m.isState() })
			for i := range all {
				if e := &all[i].event; e.Kind == rules.PhaseBegan && e.Phase == rules.Chase {
					e.Tick, e.Until = e.Tick-5, e.Until-5
					return all[:i+1]
				}
			}
			return nil
		}, rules.TimerWrong},
		{"result_too_high", edit(rules.Scored, func(e *rules.Event) { e.Points++; e.Total++ }), rules.ScoreWrong},
		{"total_too_high", func(all []told) []told {
			for i := range slices.Backward(all) {
				if e := &all[i].event; !all[i].isState() && e.Kind == rules.Scored {
					e.Total++
					return all
				}
			}
			return nil
		}, rules.ScoreWrong},
		{"score_falls", player(rules.Chase, func(before, _ *rules.PlayerState) bool { return before.Score > 0 },
			func(p *rules.PlayerState) { p.Score--; p.Total-- }), rules.ScoreWrong},
		{"other_winner", edit(rules.RoundOver, func(e *rules.Event) { e.Role = rules.Police + rules.Thief - e.Role }), rules.ResultWrong},
		{"other_reason", edit(rules.RoundOver, func(e *rules.Event) {
			if e.Reason != rules.AllLooted {
				e.Reason = rules.AllLooted
			} else {
				e.Reason = rules.AllCaught
			}
		}), rules.ResultWrong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := slices.Clone(honest)
			for i := range all {
				all[i].players = slices.Clone(all[i].players)
			}
			if all = tt.tamper(all); all == nil {
				t.Fatal("the game has nothing to tamper with")
			}
			found, _ := judge(cfg, all)
			if !slices.ContainsFunc(found, func(v rules.Violation) bool { return v.Kind == tt.want }) {
				t.Errorf("found %v, want %s", found, tt.want)
			}
		})
	}
}

// Who joins in the middle of a round finds nothing wrong with it.
func TestVerifierComesLate(t *testing.T) {
	cfg, honest := transcript(t)
	for from := 0; from < len(honest); from += len(honest) / 40 {
		if found, n := judge(cfg, honest[from:]); n > 0 {
			t.Fatalf("from %d: %d violations, first: %s, tick %d, player %d",
				from, n, found[0].Kind, found[0].Tick, found[0].Player)
		}
	}
}

// Positions that are rounded, and states that come rarely, are no violations.
func TestVerifierTolerates(t *testing.T) {
	cfg, honest := transcript(t)
	const grid = 16
	v := rules.NewVerifier(cfg, 100, grid)
	for i, m := range honest {
		switch {
		case !m.isState():
			v.Event(m.event)
		case i%7 == 0:
			for j := range m.players {
				p := &m.players[j]
				p.Pos.X, p.Pos.Y = (p.Pos.X+grid/2)/grid*grid, (p.Pos.Y+grid/2)/grid*grid
			}
			v.State(m.state, m.players)
		}
	}
	if found, n := v.Violations(); n > 0 {
		t.Errorf("%d violations, first: %s, tick %d, player %d", n, found[0].Kind, found[0].Tick, found[0].Player)
	}
}
