package policethief

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/play"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/snapshot"
	"github.com/xrudp/xrudp/userspace/wire"
)

const tick = 16666666 // ns

// table is a server of one node, whose time goes when told to.
type table struct {
	t      *testing.T
	now    uint64
	count  metrics.Set
	node   *game.Node
	room   *room // the newest
	guests []*guest
}

func (tb *table) Now() uint64            { return tb.now }
func (tb *table) Clock() uint64          { return tb.now }
func (tb *table) Mail(int, []byte, bool) {}

func newTable(t *testing.T, o Options) *table {
	tb := &table{t: t, now: 60000 * tick}
	o.Seed = func() uint64 { return 1 }
	k := Kind(o)
	begin := k.New
	k.New = func(r *game.Room) game.Logic {
		l := begin(r)
		tb.room = l.(*room)
		return l
	}
	panicked := func(_ uint32, v any, stack []byte) { t.Errorf("panic: %v\n%s", v, stack) }
	tb.node = game.NewNode(game.NewDirectory(game.Options{Kinds: []game.Kind{k}, Panicked: panicked}), tb, 0, 1, &tb.count)
	return tb
}

// run lets some ticks pass.
func (tb *table) run(ticks int) {
	for range ticks {
		tb.now += tick
		tb.node.Tick(tb.now)
		for _, g := range tb.guests {
			g.update()
		}
	}
}

// guest is a player on a connection that takes no time.
type guest struct {
	table  *table
	value  any
	events chan client.Event
	play   *play.Player[protocol.Entity]
	seen   []snapshot.Seen[protocol.Entity]

	self    rules.PlayerID
	names   map[uint32]string
	own     protocol.Own
	kinds   []rules.EventKind
	states  []protocol.State
	truth   int // bytes
	sums    *protocol.Sums
	refused []play.Event
	left    bool
}

func (*guest) ID() uint64        { return 1 }
func (*guest) Recovered() bool   { return false }
func (*guest) Close(wire.Reason) {}
func (g *guest) Value() any      { return g.value }
func (g *guest) SetValue(v any)  { g.value = v }
func (g *guest) SendMessage(o session.Outgoing) error {
	g.play.Deliver(time.Duration(g.table.now), client.Message{Mode: o.Mode, Channel: o.Channel, Type: o.Type, Payload: o.Payload})
	return nil
}

// end is the guest's end of the connection.
type end struct{ g *guest }

func (e end) SendMessage(o client.Outgoing) error {
	e.g.table.node.Message(e.g, session.Message{Mode: o.Mode, Channel: o.Channel, Type: o.Type, Payload: o.Payload})
	return nil
}
func (e end) Events() <-chan client.Event { return e.g.events }
func (end) Close() error                  { return nil }

func (tb *table) come(name, token string) *guest {
	g := &guest{table: tb, names: map[uint32]string{}}
	g.play = play.New(end{g}, play.Options[protocol.Entity]{
		Schema: protocol.NewSchema(60), Position: func(e *protocol.Entity) *play.Vec { return &e.At },
		MaxEntities: protocol.MaxVisible,
	})
	play.On(g.play, func(m *protocol.Welcome) error {
		g.self = rules.PlayerID(m.Player)
		for _, o := range m.Members {
			g.names[o.Player] = o.Name
		}
		return nil
	})
	play.On(g.play, func(m *protocol.Named) error {
		g.names[m.Player] = m.Name
		return nil
	})
	play.On(g.play, func(m *protocol.Own) error {
		g.own = *m
		return nil
	})
	play.On(g.play, func(m *protocol.State) error {
		g.states = append(g.states, *m)
		return nil
	})
	play.On(g.play, func(m *protocol.Events) error {
		for i := range m.Events {
			g.kinds = append(g.kinds, rules.EventKind(m.Events[i].Kind))
		}
		return nil
	})
	play.On(g.play, func(m *protocol.Truth) error {
		g.truth = len(m.Data)
		return nil
	})
	play.On(g.play, func(m *protocol.Sums) error {
		g.sums = &protocol.Sums{All: m.All, Team: m.Team, One: m.One}
		return nil
	})
	tb.node.Open(g)
	tb.guests = append(tb.guests, g)
	g.do(g.play.Join(play.Join{Game: protocol.Name, Version: protocol.Version, Name: name, Token: []byte(token)}))
	return g
}

func (g *guest) quit() {
	g.table.node.Close(g)
	for i, o := range g.table.guests {
		if o == g {
			g.table.guests = append(g.table.guests[:i:i], g.table.guests[i+1:]...)
		}
	}
}

func (g *guest) do(err error) {
	g.table.t.Helper()
	if err != nil {
		g.table.t.Fatal(err)
	}
	g.update()
}

func (g *guest) update() {
	for _, e := range g.play.Update(time.Duration(g.table.now)) {
		switch e.Kind {
		case play.Refused:
			g.refused = append(g.refused, e)
		case play.Left:
			g.left = true
		default:
		}
	}
	g.seen = g.play.View(g.seen[:0])
}

func (g *guest) command(name string, args []byte) {
	g.table.t.Helper()
	g.do(g.play.Send(client.ReliableOrdered, protocol.Channel, &message.ReliableCommand{Command: name, Args: args}))
}

func (g *guest) ready() { g.command(protocol.CommandReady, msgp.AppendBool(nil, true)) }

func (g *guest) act(a message.PlayerAction) {
	g.table.t.Helper()
	a.Time = g.play.Saw()
	g.do(g.play.Send(client.ReliableOrdered, protocol.Channel, &a))
}

// code is of the newest refusal.
func (g *guest) code() message.Error {
	if len(g.refused) == 0 {
		return 0
	}
	return g.refused[len(g.refused)-1].Code
}

// until runs until the game has come to a phase.
func (tb *table) until(p rules.Phase) {
	tb.t.Helper()
	for range 2000 {
		if tb.room.game.State().Phase == p {
			return
		}
		tb.run(1)
	}
	tb.t.Fatalf("never came to %v", p)
}

// begin has two come and play, and returns them by their roles.
func begin(t *testing.T, o Options) (tb *table, police, thief *guest) {
	tb = newTable(t, o)
	a, b := tb.come("ada", "secret of ada"), tb.come("bob", "secret of bob")
	a.ready()
	b.ready()
	tb.until(rules.Chase)
	tb.run(2)
	police, thief = a, b
	if rules.Role(a.own.Role) == rules.Thief {
		police, thief = b, a
	}
	if rules.Role(police.own.Role) != rules.Police || rules.Role(thief.own.Role) != rules.Thief {
		t.Fatalf("roles %d and %d", a.own.Role, b.own.Role)
	}
	return tb, police, thief
}

func TestLobby(t *testing.T) {
	tb := newTable(t, Options{Rules: rules.Fast()})
	a := tb.come("ada", "")
	b := tb.come("bob", "")
	tb.run(2)
	if a.names[uint32(b.self)] != "bob" || b.names[uint32(a.self)] != "ada" || a.self == b.self {
		t.Errorf("names %v and %v", a.names, b.names)
	}
	if len(a.kinds) != 2 || len(b.kinds) != 2 {
		t.Errorf("events %v and %v", a.kinds, b.kinds)
	}
	a.command(protocol.CommandRole, msgp.AppendUint8(nil, uint8(rules.Thief)))
	a.ready()
	b.ready()
	tb.run(2)
	if a.own.Wish != uint8(rules.Thief) || a.own.Role != uint8(rules.Thief) || b.own.Role != uint8(rules.Police) {
		t.Errorf("wishes %d, roles %d and %d", a.own.Wish, a.own.Role, b.own.Role)
	}
	if last := a.states[len(a.states)-1]; last.Phase != uint8(rules.Countdown) || last.Round != 1 {
		t.Errorf("state %+v", last)
	}
	// All know the state anew each second.
	tb.until(rules.Hide)
	tb.run(1)
	n := len(a.states)
	tb.run(61)
	if got := len(a.states) - n; got < 1 || got > 2 {
		t.Errorf("%d states in a second", got)
	}
	if len(a.refused)+len(b.refused) > 0 {
		t.Errorf("refused %v %v", a.refused, b.refused)
	}
}

// Who comes again with its token is who it was, also in place of a connection that
// nobody has missed yet; a name does as long as nobody bears it.
func TestRejoin(t *testing.T) {
	secret := func(g *guest) string { return "secret of " + g.names[uint32(g.self)] }
	t.Run("after_leaving", func(t *testing.T) {
		tb, police, thief := begin(t, Options{Rules: rules.Fast()})
		at, _ := tb.room.game.Player(thief.self)
		thief.quit()
		tb.run(5)
		if state, _ := tb.room.game.Player(thief.self); state.Status&rules.Away == 0 {
			t.Error("still there")
		}
		again := tb.come("bob again", secret(thief))
		tb.run(10)
		state, _ := tb.room.game.Player(again.self)
		if again.self != thief.self || again.own.Role != uint8(rules.Thief) || state.Pos != at.Pos {
			t.Errorf("came back as %d, %+v", again.self, state)
		}
		if _, ok := again.play.At(); !ok {
			t.Error("came back without a place")
		}
		if n := len(police.kinds); !slices.Contains(police.kinds, rules.PlayerLeft) || police.kinds[n-1] != rules.PlayerReturned {
			t.Errorf("told %v", police.kinds)
		}
	})
	t.Run("in_place_of_itself", func(t *testing.T) {
		tb, _, thief := begin(t, Options{Rules: rules.Fast()})
		again := tb.come("bob again", secret(thief))
		tb.run(2)
		if !thief.left || again.self != thief.self || again.own.Role != uint8(rules.Thief) {
			t.Errorf("left %v, came back as %d", thief.left, again.self)
		}
	})
	t.Run("by_itself", func(t *testing.T) {
		tb, police, thief := begin(t, Options{Rules: rules.Fast()})
		at, _ := tb.room.game.Player(thief.self)
		self := thief.self
		tb.node.Close(thief)
		thief.events = make(chan client.Event, 2)
		thief.events <- client.Event{Kind: client.EventClosed, Reason: wire.ReasonIdle}
		tb.run(5)
		if state, _ := tb.room.game.Player(self); state.Status&rules.Away == 0 || len(thief.seen) > 0 {
			t.Errorf("still there: %+v, sees %v", state, thief.seen)
		}
		tb.node.Open(thief)
		thief.events <- client.Event{Kind: client.EventReconnected}
		tb.run(30)
		state, _ := tb.room.game.Player(self)
		if thief.self != self || thief.own.Role != uint8(rules.Thief) || state.Status&rules.Away != 0 || state.Pos != at.Pos {
			t.Errorf("came back as %d, %+v", thief.self, state)
		}
		if _, ok := thief.play.At(); !ok || !slices.ContainsFunc(thief.seen, func(s snapshot.Seen[protocol.Entity]) bool { return s.State.Number == uint16(self) }) {
			t.Errorf("came back without a place, and sees %v", thief.seen)
		}
		if n := len(police.kinds); police.kinds[n-1] != rules.PlayerReturned {
			t.Errorf("told %v", police.kinds)
		}
	})
	t.Run("after_the_round", func(t *testing.T) {
		tb, _, thief := begin(t, Options{Rules: rules.Fast()})
		thief.quit()
		tb.until(rules.Lobby)
		tb.run(1)
		if n := len(tb.room.members); n != 1 {
			t.Errorf("%d members", n)
		}
		if again := tb.come("bob again", secret(thief)); again.self == thief.self {
			t.Error("came back as if nothing had been")
		}
	})
	t.Run("by_name", func(t *testing.T) {
		tb := newTable(t, Options{Rules: rules.Fast()})
		a, b := tb.come("ada", ""), tb.come("bob", "")
		a.ready()
		b.ready()
		tb.until(rules.Hide)
		other := tb.come("bob", "")
		b.quit()
		again := tb.come("bob", "")
		tb.run(2)
		if other.self == b.self || again.self != b.self {
			t.Errorf("were %d, %d and %d", b.self, other.self, again.self)
		}
	})
}

// Who finds the game full looks on, as long as there is a place for that.
// Numbers of players run over, past those who are there.
func TestNumbersRunOver(t *testing.T) {
	tb := newTable(t, Options{})
	first := tb.come("first", "")
	tb.run(1)
	tb.room.lastID = 1<<16 - 2
	ids := []rules.PlayerID{first.self}
	for _, name := range []string{"a", "b", "c"} {
		g := tb.come(name, "")
		tb.run(1)
		ids = append(ids, g.self)
	}
	if want := []rules.PlayerID{1, 1<<16 - 1, 2, 3}; !slices.Equal(ids, want) {
		t.Errorf("players are %v, want %v", ids, want)
	}
}

func TestFullGame(t *testing.T) {
	cfg := rules.Fast()
	cfg.MaxPlayers, cfg.MaxSpectators = 2, 1
	tb := newTable(t, Options{Rules: cfg})
	a, b, c := tb.come("a", ""), tb.come("b", ""), tb.come("c", "")
	tb.run(2)
	if c.own.Role != uint8(rules.Spectator) {
		t.Errorf("role %d", c.own.Role)
	}
	a.ready()
	b.ready()
	tb.until(rules.Chase)
	tb.run(20)
	if len(c.seen) < 3 { // both, and items
		t.Errorf("the spectator sees %v", c.seen)
	}
	// The directory gives it a room of its own.
	first := tb.room
	if tb.come("d", ""); tb.room == first {
		t.Error("a fourth came in")
	}
}

func TestRefusals(t *testing.T) {
	rule := func(r rules.Refusal) message.Error { return message.Error(protocol.RefusalCode + uint8(r)) }
	tests := []struct {
		name string
		do   func(police, thief *guest) *guest // returns who is refused
		want message.Error
	}{
		{"unknown_command", func(p, _ *guest) *guest { p.command("fly", nil); return p }, message.ErrName},
		{"ready_without_value", func(p, _ *guest) *guest { p.command(protocol.CommandReady, nil); return p }, message.ErrField},
		{"ready_too_much", func(p, _ *guest) *guest {
			p.command(protocol.CommandReady, []byte{0x92, 0xc3, 0xc3})
			return p
		}, message.ErrField},
		{"ready_too_late", func(p, _ *guest) *guest { p.ready(); return p }, rule(rules.WrongPhase)},
		{"rematch_too_early", func(p, _ *guest) *guest {
			p.command(protocol.CommandRematch, msgp.AppendBool(nil, true))
			return p
		}, rule(rules.WrongPhase)},
		{"no_such_role", func(p, _ *guest) *guest { p.command(protocol.CommandRole, msgp.AppendUint8(nil, 9)); return p }, rule(rules.Malformed)},
		{"role_is_no_number", func(p, _ *guest) *guest { p.command(protocol.CommandRole, msgp.AppendBool(nil, true)); return p }, message.ErrField},
		{"move_by_action", func(p, _ *guest) *guest { p.act(message.PlayerAction{Action: message.Move}); return p }, message.ErrField},
		{"no_such_skill", func(p, _ *guest) *guest { p.act(message.PlayerAction{Action: message.Cast, Item: 77}); return p }, message.ErrField},
		{"capture_by_cast", func(p, th *guest) *guest {
			p.act(message.PlayerAction{Action: message.Cast, Item: uint32(rules.Capture), Target: uint32(th.self)})
			return p
		}, message.ErrField},
		{"target_out_of_range", func(p, _ *guest) *guest {
			p.act(message.PlayerAction{Action: message.Attack, Target: 1 << 16})
			return p
		}, message.ErrNumber},
		{"capture_of_nobody", func(p, _ *guest) *guest {
			p.act(message.PlayerAction{Action: message.Attack, Target: 99})
			return p
		}, rule(rules.NoSuchPlayer)},
		{"capture_from_afar", func(p, th *guest) *guest {
			p.act(message.PlayerAction{Action: message.Attack, Target: uint32(th.self)})
			return p
		}, rule(rules.TooFar)},
		{"capture_by_thief", func(p, th *guest) *guest {
			th.act(message.PlayerAction{Action: message.Attack, Target: uint32(p.self)})
			return th
		}, rule(rules.NotYourRole)},
		{"net_from_afar", func(p, th *guest) *guest {
			p.act(message.PlayerAction{Action: message.Cast, Item: uint32(rules.Net), Target: uint32(th.self)})
			return p
		}, rule(rules.TooFar)},
		{"dash_by_thief", func(_, th *guest) *guest {
			th.act(message.PlayerAction{Action: message.Cast, Item: uint32(rules.Dash)})
			return th
		}, rule(rules.NotYourRole)},
		{"dash_twice", func(p, _ *guest) *guest {
			p.act(message.PlayerAction{Action: message.Cast, Item: uint32(rules.Dash)})
			if p.code() != 0 {
				return p
			}
			p.act(message.PlayerAction{Action: message.Cast, Item: uint32(rules.Dash)})
			return p
		}, rule(rules.OnCooldown)},
		{"free_from_afar", func(_, th *guest) *guest { th.act(message.PlayerAction{Action: message.Interact}); return th }, rule(rules.TooFar)},
		{"pick_up_nothing", func(_, th *guest) *guest {
			th.act(message.PlayerAction{Action: message.Interact, Item: 60000})
			return th
		}, rule(rules.NoSuchItem)},
		{"use_nothing", func(_, th *guest) *guest { th.act(message.PlayerAction{Action: message.UseItem}); return th }, rule(rules.HandsEmpty)},
		{"truth", func(p, _ *guest) *guest {
			p.do(p.play.Send(client.ReliableOrdered, protocol.Channel, &protocol.AskTruth{}))
			return p
		}, message.ErrType},
		{"sums", func(p, _ *guest) *guest {
			p.do(p.play.Send(client.ReliableOrdered, protocol.Channel, &protocol.AskSums{}))
			return p
		}, message.ErrType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, police, thief := begin(t, Options{Rules: rules.Fast()})
			if got := tt.do(police, thief).code(); got != tt.want {
				t.Errorf("code %d (%v), want %d", got, got, tt.want)
			}
		})
	}
}

// The thief is where the officer saw it when it acted, not where it has come to since.
func TestCaptureLooksBack(t *testing.T) {
	tb, police, thief := begin(t, Options{Rules: rules.Fast()})
	var past [][3]float32 // of the thief, by tick
	for range 60 {
		state, _ := tb.room.game.Player(thief.self)
		to := tb.room.game.World().Slide(state.Pos, state.Pos.Add(rules.Vec{X: 20}))
		if to == state.Pos {
			to = tb.room.game.World().Slide(state.Pos, state.Pos.Add(rules.Vec{Y: 20}))
		}
		thief.play.Move(protocol.Place(to), protocol.Turn(0))
		tb.run(1)
		state, _ = tb.room.game.Player(thief.self)
		past = append(past, protocol.Place(state.Pos))
	}
	player := tb.room.known("token secret of " + police.names[uint32(police.self)]).player
	for _, back := range []int{0, 3, 9} {
		saw := uint32((tb.now - uint64(back)*tick) / uint64(time.Millisecond))
		got := protocol.Place(tb.room.where(player, thief.self, saw))
		want := past[len(past)-1-back]
		off := math.Hypot(float64(got[0]-want[0]), float64(got[2]-want[2]))
		if off > 0.05 {
			t.Errorf("%d ticks back the thief was at %v, not %v", back, got, want)
		}
	}
	if past[len(past)-1] == past[len(past)-10] {
		t.Error("the thief stands still")
	}
}

// A claim that the rules do not believe takes the player as far as they do, and the
// world shows that.
func TestClaimsAreJudged(t *testing.T) {
	tb, police, thief := begin(t, Options{Rules: rules.Fast()})
	before, _ := tb.room.game.Player(thief.self)
	thief.play.Move([3]float32{before.Pos.X.Units() + 30, 0, before.Pos.Y.Units() + 30}, protocol.Turn(1<<14))
	tb.run(3)
	after, _ := tb.room.game.Player(thief.self)
	went := after.Pos.Sub(before.Pos).Length()
	if most := tb.room.cfg.Speed(rules.Thief, 0)/4 + rules.Unit; went > most {
		t.Errorf("went %v units, %v is possible", went.Units(), most.Units())
	}
	if after.Corrections == 0 || tb.count.Get(metrics.Violations) == 0 {
		t.Error("nothing was corrected")
	}
	if after.Yaw != 1<<14 {
		t.Errorf("yaw %d", after.Yaw)
	}
	m := tb.room.known("token secret of " + thief.names[uint32(thief.self)])
	if e := tb.room.world.State(m.entity); e.At != protocol.Place(after.Pos) {
		t.Errorf("the world has it at %v, the rules at %v", e.At, after.Pos)
	}
	if at, _ := police.play.At(); at[1] != 0 {
		t.Errorf("off the ground: %v", at)
	}
}

func TestTruth(t *testing.T) {
	tb, police, _ := begin(t, Options{Rules: rules.Fast(), Truth: true})
	tb.run(30)
	now := uint32(tb.now / tick)
	ask := func(from, to uint32) {
		police.truth = 0
		police.do(police.play.Send(client.ReliableOrdered, protocol.Channel, &protocol.AskTruth{From: from, To: to}))
	}
	ask(now-3, now)
	four := police.truth
	ask(now, now)
	if one := police.truth; one == 0 || four < 4*one-200 {
		t.Errorf("%d bytes for four ticks, %d for one", four, one)
	}
	if ask(now+1, now+2); police.truth != 0 || police.code() != message.ErrState {
		t.Errorf("%d bytes of the future, code %v", police.truth, police.code())
	}
	tb.run(60)
	if ask(now-momentsKept, now-momentsKept); police.truth != 0 {
		t.Error("another tick than the one asked for")
	}
	police.do(police.play.Send(client.ReliableOrdered, protocol.Channel, &protocol.AskSums{}))
	if police.sums == nil || police.sums.All.Count != uint64(len(police.kinds)) {
		t.Errorf("sums %+v for %d events", police.sums, len(police.kinds))
	}
}

// Events reach those whom they are for, and nobody else, in their order.
func TestAudiences(t *testing.T) {
	tb, police, thief := begin(t, Options{Rules: rules.Fast()})
	other := tb.come("eve", "")
	tb.run(1)
	for _, g := range tb.guests {
		g.kinds = nil
	}
	tb.room.tell([]rules.Event{
		{Kind: rules.ItemUsed, Audience: rules.ToTeam, Team: rules.Police},
		{Kind: rules.SkillUsed, Audience: rules.ToTeam, Team: rules.Thief},
		{Kind: rules.Freed},
		{Kind: rules.PickedUp, Audience: rules.ToOne, To: thief.self},
		{Kind: rules.Collected, Audience: rules.ToOne, To: police.self},
		{Kind: rules.Won},
		{Kind: rules.Scored},
	})
	for _, g := range tb.guests {
		g.update()
	}
	tests := []struct {
		name string
		got  []rules.EventKind
		want []rules.EventKind
	}{
		{"police", police.kinds, []rules.EventKind{rules.ItemUsed, rules.Freed, rules.Collected, rules.Won, rules.Scored}},
		{"thief", thief.kinds, []rules.EventKind{rules.SkillUsed, rules.Freed, rules.PickedUp, rules.Won, rules.Scored}},
		{"looks_on", other.kinds, []rules.EventKind{rules.Freed, rules.Won, rules.Scored}},
	}
	for _, tt := range tests {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s was told %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

// A room that all have left begins anew, and hands out what was played.
func TestRecording(t *testing.T) {
	var recordings [][]byte
	tb, police, thief := begin(t, Options{Rules: rules.Fast(), Record: func(_ uint32, b []byte) { recordings = append(recordings, b) }})
	tb.run(60)
	police.quit()
	if tb.run(1); len(recordings) != 0 {
		t.Error("recorded too early")
	}
	hash := tb.room.game
	thief.quit()
	if len(recordings) != 1 {
		t.Fatalf("%d recordings", len(recordings))
	}
	if tb.room.game == hash || len(tb.room.members) != 0 || tb.room.world.Len() != 0 {
		t.Error("the game goes on without anybody")
	}
	again, err := rules.NewReplay(recordings[0])
	if err == nil {
		_, err = again.Run(nil)
	}
	if err != nil || again.Game().Hash() != hash.Hash() {
		t.Errorf("replay: %v", err)
	}
	recordings[0][len(recordings[0])-1]++
	again, err = rules.NewReplay(recordings[0])
	if err == nil {
		_, err = again.Run(nil)
	}
	if err == nil {
		t.Error("a recording that was changed replays")
	}
}

// Ticks that the server lost pass in the game all the same.
func TestLostTicks(t *testing.T) {
	tb, _, thief := begin(t, Options{Rules: rules.Fast()})
	before, base := tb.room.game.State().Tick, thief.states[len(thief.states)-1].Base
	tb.now += 100 * tick
	tb.run(2)
	if got := tb.room.game.State().Tick - before; got != 102 {
		t.Errorf("%d ticks passed, want 102", got)
	}
	tb.run(61)
	if got := thief.states[len(thief.states)-1].Base; got != base {
		t.Errorf("base %d became %d", base, got)
	}
}

// Whoever is in the room gets the recording of the last round, and of none before.
func TestRecordingIsSent(t *testing.T) {
	tb, police, _ := begin(t, Options{Rules: rules.Fast()})
	looker := tb.come("eve", "secret of eve")
	var got []play.Transfer
	for _, g := range []*guest{police, looker} {
		g.play.OnTransfer(play.TransferOptions{Channel: protocol.ChannelData}, func(x play.Transfer) { got = append(got, x) })
	}
	police.command(protocol.CommandRecording, nil)
	if code := police.code(); code != message.ErrState {
		t.Errorf("before the end of a round: %v", code)
	}
	tb.until(rules.Results)
	police.command(protocol.CommandRecording, msgp.AppendUint8(nil, 1))
	if code := police.code(); code != message.ErrField {
		t.Errorf("with an argument: %v", code)
	}
	police.command(protocol.CommandRecording, msgp.AppendNil(nil))
	looker.command(protocol.CommandRecording, nil)
	looker.command(protocol.CommandRecording, nil)
	if code := looker.code(); code != message.ErrRate {
		t.Errorf("twice: %v", code)
	}
	tb.run(60)
	if len(got) != 2 || got[0].Name != protocol.RecordingName(1) || len(police.refused) != 2 || len(looker.refused) != 1 {
		t.Fatalf("%d recordings, refused %v and %v", len(got), police.refused, looker.refused)
	}
	for _, x := range got {
		again, err := rules.NewReplay(x.Data)
		if err == nil {
			_, err = again.Run(nil)
		}
		if err != nil || again.Game().State().Phase != rules.Results {
			t.Errorf("replay: %v", err)
		}
	}
}

// A tick in which players move, and nothing happens, allocates nothing.
func TestTickAllocatesNothing(t *testing.T) {
	tests := []struct {
		name   string
		opts   Options
		growth float64 // allocations in 100 ticks
	}{
		{"playing", Options{}, 0},
		{"recorded", Options{Record: func(uint32, []byte) {}}, 3},
		{"truthful", Options{Truth: true}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Rules = rules.Config{Lobby: time.Second, Countdown: time.Second, Hide: time.Second, Chase: time.Hour}
			tb := newTable(t, tt.opts)
			for i := range 16 {
				tb.come(string('a'+rune(i)), "").ready()
			}
			tb.until(rules.Chase)
			tb.run(60)
			steps := 0
			step := func() {
				steps++
				for i, g := range tb.guests {
					at, ok := g.play.At()
					if !ok {
						t.Fatal("a player has no place")
					}
					sin, cos := math.Sincos(float64(steps)/20 + float64(i))
					at[0] += float32(cos) * 0.03
					at[2] += float32(sin) * 0.03
					g.play.Move(at, protocol.Turn(uint16(steps<<8)))
				}
				tb.run(1)
			}
			for range 600 {
				step()
			}
			for _, g := range tb.guests {
				g.states, g.kinds = make([]protocol.State, 0, 100), g.kinds[:0]
			}
			before := tb.guests[0].play.Stats()
			if n := testing.AllocsPerRun(3, func() {
				for range 100 {
					step()
				}
			}); n > tt.growth {
				t.Errorf("%v allocations in 100 ticks", n)
			}
			after := tb.guests[0].play.Stats()
			if after.Snapshots-before.Snapshots < 90 || after.Positions-before.Positions < 140 || after.Corrections-before.Corrections > 5 {
				t.Errorf("little happened: %+v, %+v", before, after)
			}
			for _, g := range tb.guests {
				if len(g.kinds) > 0 {
					t.Errorf("events %v", g.kinds)
				}
			}
		})
	}
}

// What players say and film reaches whom the rules allow, under the speaker's number.
func TestVoiceAndCameras(t *testing.T) {
	tb, police, thief := begin(t, Options{Rules: rules.Fast()})
	looker := tb.come("eve", "secret of eve")
	other := tb.come("ann", "secret of ann")
	type heard struct {
		stream uint16
		media  message.Media
		number uint32
	}
	got := map[*guest][]heard{}
	var told []protocol.Watching
	for _, g := range []*guest{police, thief, looker, other} {
		play.On(g.play, func(m *message.MediaStream) error {
			got[g] = append(got[g], heard{m.Stream, m.Media, m.Number})
			return nil
		})
		play.On(g.play, func(m *protocol.Watching) error {
			told = append(told, *m)
			return nil
		})
	}
	say := func(g *guest, media message.Media, numbers ...uint32) {
		for _, n := range numbers {
			g.do(g.play.Send(client.Unreliable, protocol.ChannelMedia, &message.MediaStream{Media: media, Number: n}))
		}
		tb.run(1)
	}
	expect := func(what string, g *guest, want ...heard) {
		t.Helper()
		if !slices.Equal(got[g], want) {
			t.Errorf("%s: got %v, want %v", what, got[g], want)
		}
		delete(got, g)
	}
	thiefs, lookers := uint16(thief.self), uint16(looker.self)
	tb.run(1)
	say(thief, message.Audio, 1)
	say(looker, message.Audio, 9)
	expect("police", police)
	expect("thief", thief)
	expect("looker", looker, heard{thiefs, message.Audio, 1})
	expect("other", other, heard{thiefs, message.Audio, 1}, heard{lookers, message.Audio, 9})

	watch := func(g *guest, id rules.PlayerID) {
		g.command(protocol.CommandWatch, msgp.AppendUint32(nil, uint32(id)))
	}
	say(thief, message.KeyFrame, 5)
	watch(looker, thief.self)
	watch(police, thief.self)
	say(thief, message.PredictedFrame, 6)
	say(thief, message.KeyFrame, 7)
	say(thief, message.PredictedFrame, 8)
	expect("police", police)
	expect("other", other)
	expect("looker", looker, heard{thiefs, message.KeyFrame, 7}, heard{thiefs, message.PredictedFrame, 8})
	watch(looker, 0)
	say(thief, message.PredictedFrame, 9)
	expect("looker", looker)
	watch(looker, 999)
	if code := looker.code(); code != protocol.RefusalCode+message.Error(rules.NoSuchPlayer) {
		t.Errorf("watching nobody: %v", code)
	}
	looker.command(protocol.CommandWatch, nil)
	if code := looker.code(); code != message.ErrField {
		t.Errorf("watching: %v", code)
	}
	tb.run(1)
	want := []protocol.Watching{{Player: uint32(thief.self), Began: true, Frame: 5}, {Player: uint32(thief.self), Began: true, Frame: 5}, {}}
	if !slices.Equal(told, want) {
		t.Errorf("told %+v, want %+v", told, want)
	}

	tb.until(rules.Results)
	clear(got)
	say(thief, message.Audio, 2)
	expect("police in the results", police, heard{thiefs, message.Audio, 2})
}
