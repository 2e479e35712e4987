package rules

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// script turns bytes into inputs and steps, five bytes each.
type script []byte

func (s *script) next() (op [5]byte, ok bool) {
	if len(*s) < len(op) {
		return op, false
	}
	copy(op[:], *s)
	*s = (*s)[len(op):]
	return op, true
}

// input makes an input that is near enough to the game to take effect.
func (g *Game) input(op [5]byte) Input {
	id := PlayerID(op[1] % 10)
	other := PlayerID(op[2] % 10)
	near := g.position(id).Add(Vec{Coord(int8(op[3])) * 4, Coord(int8(op[4])) * 4})
	switch op[0] % 16 {
	case 0, 1:
		return Join(id, Role(op[2]%5))
	case 2:
		return Leave(id)
	case 3, 4:
		return Ready(id, op[2]%4 != 0)
	case 5:
		return ChooseRole(id, Role(op[2]%5))
	case 6:
		return Rematch(id, op[2]%4 != 0)
	case 7:
		return Move(id, Vec{Coord(binary.BigEndian.Uint32(op[1:])), Coord(op[4])}, Vec{}, 1)
	case 8:
		return Take(id, ItemID(op[2]))
	case 9:
		// To where something is going on.
		to := g.world.Jail
		if p := g.find(other); p != nil && op[3]%2 == 0 {
			to = p.pos
		} else if n := len(g.items); n > 0 {
			to = g.items[int(op[4])%n].Pos
		}
		return Move(id, to, Vec{Coord(op[3]), Coord(op[4])}, uint16(op[4])<<8)
	case 10, 11:
		return ActOn(id, ActionKind(op[3]%10), other, g.position(other).Add(Vec{Coord(op[4]), 0}))
	default:
		return Move(id, near, near, uint16(op[2]))
	}
}

// FuzzPlay plays any sequence of inputs and steps, and looks for what may never
// be; the recording of it comes to the same end.
func FuzzPlay(f *testing.F) {
	begin := []byte{}
	for id := byte(1); id < 7; id++ {
		begin = append(begin, 0, id, 0, 0, 0)
	}
	for id := byte(1); id < 7; id++ {
		begin = append(begin, 3, id, 1, 0, 0)
	}
	begin = append(begin, 255, 250, 0, 0, 0)
	f.Add(uint64(1), begin)
	chase := append([]byte{}, begin...)
	for i := range byte(200) {
		chase = append(chase, 9, i%7, i/7, i, i*3, 10, i%7, i%5, i, 0, 12, i%6, i, i*5, i*7, 255, i%20, 0, 0, 0)
	}
	f.Add(uint64(2), chase)

	long := append([]byte{}, begin...)
	r := random(3)
	for range 6000 {
		long = append(long, byte(r.below(250)), byte(r.next()), byte(r.next()), byte(r.next()), byte(r.next()))
	}
	f.Add(uint64(3), long)

	// Police catch and search; thieves free and collect.
	var sides []byte
	for id := byte(1); id < 7; id++ {
		sides = append(sides, 0, id, (id-1)/3+1, 0, 0)
	}
	sides = append(sides, begin[30:]...)
	for i := range byte(40) {
		sides = append(sides, 15, 1+i%3, 4+i/3%3, 150, 1, 15, 4+i%3, 0, 60, 3, 15, 4+i%3, 0, 60, 6*i, 15, 1+i%3, 0, 60, 6*i)
	}
	for seed := range uint64(8) {
		f.Add(seed, sides)
	}

	f.Fuzz(func(t *testing.T, seed uint64, data []byte) {
		cfg := Fast()
		cfg.MaxPlayers, cfg.MaxSpectators, cfg.PerPolice = 6, 2, 2
		g := New(cfg, seed)
		r := NewRecorder(g)
		s := script(data)
		c := newChecker(g)
		for {
			op, ok := s.next()
			if !ok || g.tick > 3000 {
				break
			}
			if op[0] >= 250 {
				for range int(op[1]) + 1 {
					g.Step()
					c.check(t)
				}
				continue
			}
			try := func(in Input) {
				before := g.Hash()
				if why := r.Apply(in); why != Accepted && !why.Corrected() && g.Hash() != before {
					t.Fatalf("%+v is %s, and changes the game", in, why)
				}
				c.check(t)
			}
			if op[0]%16 != 15 {
				try(g.input(op))
				continue
			}
			// After somebody, or to the jail, or to an item, with all means.
			id, other := PlayerID(op[1]%10), PlayerID(op[2]%10)
			for range op[3] / 2 {
				to, item := g.world.Jail, ItemID(0)
				if g.find(other) != nil && op[4]%3 > 0 {
					to = g.position(other)
				} else if n := len(g.items); n > 0 && op[4]%2 == 0 {
					item = g.items[int(op[4])%n].ID
					to = g.items[item-1].Pos
				}
				try(Move(id, to, Vec{}, 0))
				try(ActOn(id, Capture, other, g.position(other)))
				try(ActOn(id, Free, 0, Vec{}))
				try(Take(id, item))
				g.Step()
				c.check(t)
			}
			try(Act(id, UseItem))
		}
		recording, err := r.Finish()
		if err != nil {
			t.Fatal(err)
		}
		if err := play(recording); err != nil {
			t.Fatal(err)
		}
		if number, round := r.Round(); number > 0 {
			if err := play(round); err != nil {
				t.Fatalf("round %d: %v", number, err)
			}
		}
	})
}

// checker follows a game by its events.
type checker struct {
	g       *Game
	numbers [Thief + 1]uint32
	scores  map[PlayerID]int32
	jailed  map[PlayerID]Vec
}

func newChecker(g *Game) *checker {
	return &checker{g: g, scores: map[PlayerID]int32{}, jailed: map[PlayerID]Vec{}}
}

func (c *checker) check(t *testing.T) {
	g := c.g
	for _, e := range g.Events() {
		if e.Audience != ToOne {
			if e.Kind == PhaseBegan && e.Phase == Countdown {
				c.numbers[Police], c.numbers[Thief] = 0, 0
			}
			n := &c.numbers[e.Team]
			if *n++; e.Number != *n || e.Tick != g.tick {
				t.Fatalf("event %d of team %s, want %d", e.Number, e.Team, *n)
			}
		}
		switch e.Kind {
		case PhaseBegan:
			if e.Phase == Countdown || e.Phase == Lobby {
				clear(c.scores)
				clear(c.jailed)
			}
		case Captured:
			if _, twice := c.jailed[e.Target]; twice {
				t.Fatalf("player %d is captured twice", e.Target)
			}
			c.jailed[e.Target] = g.position(e.Target)
		case Freed:
			if _, was := c.jailed[e.Target]; !was {
				t.Fatalf("player %d is freed and was not jailed", e.Target)
			}
			delete(c.jailed, e.Target)
		case Scored:
			if e.Points != c.scores[e.Player] {
				t.Fatalf("player %d scored %d, want %d", e.Player, e.Points, c.scores[e.Player])
			}
			continue
		default:
		}
		c.scores[e.Player] += e.Points
	}

	players, spectators, police, thieves := 0, 0, 0, 0
	for i := range g.slots {
		p := &g.slots[i]
		if p.id == 0 {
			continue
		}
		if at, ok := g.index[p.id]; !ok || at != i || i >= g.used {
			t.Fatalf("player %d is lost", p.id)
		}
		if players++; p.wish == Spectator {
			players--
			spectators++
		}
		if !p.plays() {
			if p.away || p.jailed || p.carrying != NoItem || p.pos != (Vec{}) {
				t.Fatalf("no player of the round, and yet %+v", *p)
			}
			continue
		}
		if p.role == Police {
			police++
		} else {
			thieves++
		}
		if at, jailed := c.jailed[p.id]; jailed != p.jailed || jailed && at != p.pos {
			t.Fatalf("player %d is jailed %v at %v, events say %v at %v", p.id, p.jailed, p.pos, jailed, at)
		}
		if !g.world.Free(p.pos) {
			t.Fatalf("player %d is at %v, which is not free", p.id, p.pos)
		}
		if p.vel.Length() > g.cfg.Speed(p.role, Boosted|Booted) || p.allowance < 0 {
			t.Fatalf("player %d has velocity %v, allowance %d", p.id, p.vel, p.allowance)
		}
		if p.score != c.scores[p.id] || p.total < p.score {
			t.Fatalf("player %d has %d points of %d, events say %d", p.id, p.score, p.total, c.scores[p.id])
		}
		if p.carrying != NoItem && !p.carrying.For(p.role) {
			t.Fatalf("player %d, of %s, carries %s", p.id, p.role, itemNames[p.carrying])
		}
	}
	if players > g.cfg.MaxPlayers || spectators > g.cfg.MaxSpectators || len(g.index) != players+spectators {
		t.Fatalf("%d players, %d spectators, %d in the index", players, spectators, len(g.index))
	}
	if g.phase != Lobby && g.until <= g.tick && g.until+g.cfg.phase(g.phase) < g.tick {
		t.Fatalf("%s until %d goes on at %d", g.phase, g.until, g.tick)
	}
	if (g.phase == Lobby) != (police+thieves == 0) {
		t.Fatalf("%d police and %d thieves in the %s", police, thieves, g.phase)
	}
}

// recorded is a small game and its recording.
func recorded(t testing.TB) []byte {
	_, r := playWhile(func(g *Game, _ *Recorder) bool { return g.tick < 600 })
	r.Apply(Leave(3))
	b, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// playWhile plays a game of five.
func playWhile(more func(*Game, *Recorder) bool) (*Game, *Recorder) {
	g := New(Fast(), 9)
	r := NewRecorder(g)
	for id := PlayerID(1); id <= 5; id++ {
		r.Apply(Join(id, NoRole))
		r.Apply(Ready(id, true))
	}
	for i := 0; more(g, r); i++ {
		for id := PlayerID(1); id <= 5; id++ {
			p, _ := g.Player(id)
			r.Apply(Move(id, p.Pos.Add(Vec{Coord(i%70) - 35, Coord(id) * 9}), Vec{1, 2}, 3))
			r.Apply(ActOn(id, Net, id%5+1, g.position(id%5+1)))
			r.Apply(Rematch(id, true))
		}
		r.Apply(Act(2, Sprint))
		r.Apply(Act(2, Dash))
		g.Step()
	}
	return g, r
}

// recordedRound is the second round of a game, and the game.
func recordedRound(t testing.TB) (*Game, []byte) {
	g, r := playWhile(func(g *Game, r *Recorder) bool {
		number, _ := r.Round()
		return g.tick < 10000 && (number < 2 || g.phase != Countdown)
	})
	number, b := r.Round()
	if number != 2 || b == nil {
		t.Fatalf("round %d of %d bytes, in the %s", number, len(b), g.phase)
	}
	return g, b
}

func play(b []byte) error {
	replay, err := NewReplay(b)
	if err == nil {
		_, err = replay.Run(nil)
	}
	return err
}

// What happened in the game happens again, up to what was done after its last tick.
func TestRunTellsOfEveryEvent(t *testing.T) {
	g := New(Fast(), 5)
	r := NewRecorder(g)
	var want []Event
	apply := func(in Input) {
		t.Helper()
		if why := r.Apply(in); why != Accepted {
			t.Fatal(why)
		}
		want = append(want, g.Events()...)
	}
	for id := PlayerID(1); id <= 3; id++ {
		apply(Join(id, NoRole))
		apply(Ready(id, true))
	}
	for range 500 {
		g.Step()
		want = append(want, g.Events()...)
	}
	before := len(want)
	apply(Leave(2))
	if len(want) == before {
		t.Fatal("nothing happened at the end")
	}
	recording, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	again, err := NewReplay(recording)
	if err != nil {
		t.Fatal(err)
	}
	var got []Event
	ticks, err := again.Run(func(e *Event) { got = append(got, *e) })
	if err != nil || ticks != 500 || !slices.Equal(got, want) {
		t.Errorf("%d ticks, %v, %d events:\n got %+v\nwant %+v", ticks, err, len(got), got, want)
	}
}

func TestReplayRefuses(t *testing.T) {
	good := recorded(t)
	if err := play(good); err != nil {
		t.Fatal(err)
	}
	head := len(recordingMagic)
	tests := []struct {
		name   string
		change func(b []byte) []byte
		want   error
	}{
		{"nothing", func([]byte) []byte { return nil }, ErrRecording},
		{"other_magic", func(b []byte) []byte { b[0]++; return b }, ErrRecording},
		{"no_tick_rate", func(b []byte) []byte { b[head] = 0; return b }, ErrRecording},
		{"high_tick_rate", func(b []byte) []byte { b[head] = 5; return b }, ErrRecording},
		{"longer_than_needed", func(b []byte) []byte {
			return append(append(b[:head:head], b[head]|0x80, 0), b[head+1:]...)
		}, ErrRecording},
		{"cut_short", func(b []byte) []byte { return b[:len(b)-1] }, ErrRecording},
		{"cut_in_the_middle", func(b []byte) []byte { return b[:len(b)/2] }, ErrRecording},
		{"trailing", func(b []byte) []byte { return append(b, 0) }, ErrRecording},
		{"other_end", func(b []byte) []byte { b[len(b)-1]++; return b }, ErrDiverged},
		{"too_large", func([]byte) []byte { return make([]byte, MaxRecording+1) }, ErrTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := play(tt.change(bytes.Clone(good))); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestRecorderIsBounded(t *testing.T) {
	g := New(Fast(), 1)
	r := NewRecorder(g)
	g.tick = MaxRecordingTicks + 1
	r.Apply(Join(1, NoRole))
	if _, err := r.Finish(); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

// FuzzReplay plays what may not be a recording. What is one has a single form.
func FuzzReplay(f *testing.F) {
	good := recorded(f)
	f.Add(good)
	f.Add(good[:200])
	_, round := recordedRound(f)
	f.Add(round)
	f.Add(round[:300])
	f.Fuzz(func(t *testing.T, b []byte) {
		replay, err := NewReplay(b)
		if err != nil {
			return
		}
		g := New(replay.game.cfg, replay.game.seed)
		r := NewRecorder(g)
		end := r.Finish
		if head := len(appendHead(nil, &g.cfg, g.seed)); b[head] == beginsRound {
			g.readStart(&decoder{b: b[head+1:]})
			r.roundBegins(g.seed)
			g.play(g.seed)
			end = func() ([]byte, error) {
				_, round := r.Round()
				return round, nil
			}
		}
		for range 2000 {
			// The same inputs, as Step finds them, to another game.
			for ahead := *replay; ; {
				in, ended, err := ahead.input()
				if err != nil {
					return
				}
				if in == nil && !ended {
					break
				}
				if ended {
					again, err := end()
					if err != nil || !bytes.Equal(again, b) {
						t.Fatalf("%v: a second form:\n%x\n%x", err, b, again)
					}
					return
				}
				twin := *in
				if answer := r.Apply(twin); answer != Accepted && !answer.Corrected() {
					return
				}
				if answer := replay.game.Apply(twin); answer != Accepted && !answer.Corrected() {
					t.Fatalf("%+v is %s the second time", twin, answer)
				}
				replay.rest, replay.at = ahead.rest, ahead.at
			}
			replay.game.Step()
			g.Step()
			replay.game.Events()
			g.Events()
		}
	})
}

// A round plays again without the game that it was part of, and tells nothing of the
// next.
func TestRoundRecording(t *testing.T) {
	g, b := recordedRound(t)
	replay, err := NewReplay(b)
	if err != nil {
		t.Fatal(err)
	}
	if s := replay.Game().State(); s.Round != 2 || s.Phase != Countdown {
		t.Errorf("begins in the %s of round %d", s.Phase, s.Round)
	}
	if drawn := replay.Game().Events(); len(drawn) != 6 || drawn[0].Kind != PhaseBegan || drawn[5].Kind != RoleDrawn {
		t.Errorf("first events: %+v", drawn)
	}
	for more := true; more; {
		if more, err = replay.Step(); err != nil {
			t.Fatal(err)
		}
	}
	again := replay.Game()
	if s := again.State(); s.Round != 2 || s.Phase != Results || s.Winner != g.winner && g.winner != NoRole {
		t.Errorf("ends in the %s of round %d, won by %s", s.Phase, s.Round, s.Winner)
	}
	for again.phase == Results {
		for id := PlayerID(1); id <= 5; id++ {
			again.Apply(Rematch(id, true))
		}
		again.Step()
	}
	if again.round != g.round || again.items[0].Pos == g.items[0].Pos && again.items[1].Pos == g.items[1].Pos {
		t.Error("who has the recording of a round can foresee the next")
	}
}

func TestRoundRecorderIsBounded(t *testing.T) {
	g := New(Fast(), 9)
	r := NewRoundRecorder(g)
	for id := PlayerID(1); id <= 2; id++ {
		r.Apply(Join(id, NoRole))
		r.Apply(Ready(id, true))
	}
	g.Step()
	for g.phase != Results {
		for range 3000 {
			r.Apply(Move(1, g.position(1), Vec{}, 3))
			r.Apply(Move(2, g.position(2), Vec{}, 3))
		}
		if len(r.round.b) > MaxRound {
			t.Fatalf("%d bytes", len(r.round.b))
		}
		g.Step()
	}
	if number, b := r.Round(); number != 1 || b != nil {
		t.Errorf("round %d of %d bytes", number, len(b))
	}
}
