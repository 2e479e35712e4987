// Package policethief puts the game Police and Thief on the framework of package
// game. RULES.md tells the game to those who play it; package rules is its referee,
// package protocol what players and rooms say to each other, package brain players.
//
// A room is a rules.Game, and a game.World that shows it: where players claim to be
// goes through the world to the rules, and what the rules make of it back into the
// world. What a room does follows from its seed, from what its players send, and from
// when.
package policethief

import (
	"math/rand/v2"
	"slices"

	"github.com/tinylib/msgp/msgp"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/game/space"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
)

// Options of a Kind. The zero value works.
type Options struct {
	// Name of the kind. Default protocol.Name.
	Name string

	// Rules of the game.
	Rules rules.Config

	// Truth answers AskTruth and AskSums. It shows players what is hidden from
	// them, and is for checking servers.
	Truth bool

	// Record, where set, gets the recording of each game when its last player has
	// left, from a worker's thread: it must not block. The recording is its own.
	Record func(room uint32, recording []byte)

	// Seed begins each game. Default rand.Uint64.
	Seed func() uint64
}

// Kind returns the game as a sort of room. It panics if the rules are not valid.
func Kind(o Options) game.Kind {
	if o.Name == "" {
		o.Name = protocol.Name
	}
	if o.Seed == nil {
		o.Seed = rand.Uint64
	}
	cfg := rules.New(o.Rules, 0).Config()
	return game.Kind{
		Name: o.Name, Version: protocol.Version, TickRate: cfg.TickRate,
		MaxPlayers: cfg.MaxPlayers + cfg.MaxSpectators,
		New:        func(r *game.Room) game.Logic { return newRoom(r, o, cfg) },
	}
}

// maxMade is how many ticks that the server lost the game makes up for at once.
const maxMade = 3600

// room is one game.
type room struct {
	room  *game.Room
	opts  Options
	cfg   rules.Config
	world *game.World[protocol.Entity]
	data  *game.Transfers
	media *game.Streams

	game     *rules.Game
	recorder *rules.Recorder
	begun    bool   // base counts
	base     uint32 // tick of the world at the game's tick 0
	now      uint32 // tick of the world

	members []*member // of the game, in order of joining
	lastID  uint16    // as entities have it
	items   []game.ID // by number from 1; the zero ID is none
	round   uint32    // of items

	told  protocol.State // last
	own   protocol.Own   // told one
	truth []moment       // by tick, see remember

	events protocol.Events
	to     []*game.Player
	fact   protocol.Moment
	answer []byte
}

// member is a member of the game, present or away.
type member struct {
	id       rules.PlayerID
	identity string // empty: whoever comes back is another
	player   *game.Player
	state    rules.PlayerState
	watched  rules.PlayerID // whose camera it gets; 0: nobody's

	entity game.ID
	placed bool
	at     rules.Vec  // where the world has been told that it is
	turn   [4]float32 // that was judged last

	own      private // told last
	informed bool    // own counts
	tally    [rules.ToOne + 1]protocol.Tally
}

func newRoom(r *game.Room, o Options, cfg rules.Config) game.Logic {
	t := &room{room: r, opts: o, cfg: cfg}
	// The rules judge speed; the world only what nobody can be.
	fastest := max(cfg.Speed(rules.Police, rules.Boosted|rules.Booted), cfg.Speed(rules.Thief, rules.Boosted|rules.Booted))
	t.world = game.NewWorld(r, game.WorldOptions[protocol.Entity]{
		Schema:      protocol.NewSchema(cfg.TickRate),
		Position:    func(e *protocol.Entity) *game.Vec { return &e.At },
		Velocity:    func(e *protocol.Entity) *game.Vec { return &e.Vel },
		Orientation: func(e *protocol.Entity) *[4]float32 { return &e.Turn },
		MaxEntities: protocol.MaxVisible, MaxVisible: protocol.MaxVisible,
		Radius: protocol.Interest, Leave: protocol.Leave,
		Rules:  space.Rules{Speed: fastest.Units(), Limit: rules.MaxCoord.Units()},
		Hidden: t.hidden, MaxRewind: cfg.Rewind,
	})
	t.data = game.NewTransfers(r, game.TransferOptions{Channel: protocol.ChannelData, MaxSize: rules.MaxRound})
	t.media = game.NewStreams(r, game.StreamOptions{
		Hears: t.hears, Stream: func(p *game.Player) uint16 { return uint16(p.Value.(*member).id) },
		Media:   []message.Media{message.Audio, message.KeyFrame, message.PredictedFrame},
		Channel: protocol.ChannelMedia, MaxFrame: protocol.MaxFrame,
		// Eight who speak to all others.
		Deliveries: game.Rate{PerSecond: 8 * 50 * float64(cfg.MaxPlayers+cfg.MaxSpectators)},
	})
	game.On(r, t.act)
	game.On(r, t.command)
	if o.Truth {
		t.truth = make([]moment, momentsKept)
		game.On(r, t.tellTruth)
		game.On(r, t.tellSums)
	}
	t.reset()
	return t
}

// reset begins a game with nobody in it.
func (t *room) reset() {
	t.game = rules.New(t.cfg, t.opts.Seed())
	if t.opts.Record != nil {
		t.recorder = rules.NewRecorder(t.game)
	} else {
		t.recorder = rules.NewRoundRecorder(t.game)
	}
	for _, m := range t.members {
		t.remove(m)
	}
	t.members = t.members[:0]
	t.clearItems()
	t.begun, t.round, t.told = false, 0, protocol.State{}
}

func (t *room) apply(in rules.Input) rules.Refusal { return t.recorder.Apply(in) }

// refusal is the error of a Refusal, nil of none.
func refusal(why rules.Refusal) error {
	if why == rules.Accepted {
		return nil
	}
	return game.Refuse(message.Error(protocol.RefusalCode+uint8(why)), why.String())
}

// Join implements game.Logic. Who comes with the token of somebody takes its place;
// without one the name does, as long as its owner is away.
func (t *room) Join(p *game.Player) error {
	identity := "name " + p.Name()
	if token := p.Token(); len(token) > 0 {
		identity = "token " + string(token)
	}
	m := t.known(identity)
	switch {
	case m == nil:
	case m.player == nil:
	case len(p.Token()) > 0:
		m.player.Kick(game.Refuse(message.ErrState, "joined again"))
		t.leave(m)
		m = t.known(identity)
	default:
		m, identity = nil, ""
	}
	if m == nil {
		m = &member{id: t.nextID(), identity: identity}
	}
	// Who finds all places taken may still look on.
	why := t.apply(rules.Join(m.id, rules.NoRole))
	if why == rules.GameFull {
		why = t.apply(rules.Join(m.id, rules.Spectator))
	}
	if why != rules.Accepted {
		return game.Refuse(message.ErrRoom, why.String())
	}
	if !slices.Contains(t.members, m) {
		t.members = append(t.members, m)
	}
	m.player, m.watched, m.informed, m.tally = p, 0, false, [rules.ToOne + 1]protocol.Tally{}
	p.Value = m
	t.world.WatchAll(p)
	t.welcome(m)
	t.room.Broadcast(session.ReliableOrdered, protocol.Channel, &protocol.Named{Player: uint32(m.id), Name: p.Name()})
	return nil
}

// nextID returns a number that nobody has. They run over: who comes and goes, or is
// refused, uses one up each time.
func (t *room) nextID() rules.PlayerID {
	for {
		t.lastID++
		id := rules.PlayerID(t.lastID)
		if id != 0 && !slices.ContainsFunc(t.members, func(m *member) bool { return m.id == id }) {
			return id
		}
	}
}

func (t *room) known(identity string) *member {
	for _, m := range t.members {
		if m.identity == identity {
			return m
		}
	}
	return nil
}

func (t *room) welcome(m *member) {
	if !t.begun {
		t.begun = true
		// The next tick is the game's first.
		t.base = t.worldTick(t.room.Now()) - t.game.State().Tick
	}
	w := protocol.Welcome{
		Player: uint32(m.id), Base: t.base, Truth: t.opts.Truth, Config: protocol.ConfigOf(t.cfg),
	}
	for _, o := range t.members {
		if o.player == nil {
			continue
		}
		state, _ := t.game.Player(o.id)
		w.Members = append(w.Members, protocol.Member{Player: uint32(o.id), Name: o.player.Name(), Total: state.Total})
	}
	m.player.Send(session.ReliableOrdered, protocol.Channel, &w)
	s := protocol.StateOf(t.game.State(), t.base)
	m.player.Send(session.ReliableOrdered, protocol.Channel, &s)
}

// Leave implements game.Logic.
func (t *room) Leave(p *game.Player, _ game.Why) {
	if m := p.Value.(*member); m.player == p {
		t.leave(m)
	}
	for _, m := range t.members {
		if m.player != nil {
			return
		}
	}
	if t.opts.Record != nil {
		// Too long a game leaves none.
		if recording, err := t.recorder.Finish(); err == nil {
			t.opts.Record(t.room.Number(), recording)
		}
	}
	t.reset()
}

// leave takes a member out of the game, who may come back.
func (t *room) leave(m *member) {
	t.apply(rules.Leave(m.id))
	t.remove(m)
	m.player = nil
	t.forget()
}

// forget drops those of whom the rules know nothing any more.
func (t *room) forget() {
	t.members = slices.DeleteFunc(t.members, func(m *member) bool {
		_, ok := t.game.Player(m.id)
		return !ok
	})
}

// remove takes a member's entity out of the world.
func (t *room) remove(m *member) {
	if m.placed {
		m.placed = false
		t.world.Remove(m.entity)
	}
}

func (t *room) worldTick(now uint64) uint32 {
	return uint32(now / uint64(protocol.Interval(t.cfg.TickRate)))
}

// Tick implements game.Logic.
func (t *room) Tick(tick game.Tick) {
	t.now = t.worldTick(tick.Now)
	for _, m := range t.members {
		if m.placed && m.player != nil {
			t.claim(m)
		}
	}
	due := t.now - t.base - t.game.State().Tick
	if !t.begun || due < 1 || due > maxMade {
		t.begun, due = true, 1
		t.base = t.now - t.game.State().Tick - 1
	}
	for range due {
		t.game.Step()
		t.tell(t.game.Events())
	}
	t.show()
	t.inform()
	if t.opts.Truth {
		t.remember()
	}
}

// claim has the rules judge where the world lets a player be.
func (t *room) claim(m *member) {
	e := t.world.State(m.entity)
	if e.At == protocol.Place(m.at) && e.Turn == m.turn {
		return
	}
	m.turn = e.Turn
	at, ok := protocol.PosOf(e.At)
	vel, fine := protocol.PosOf(e.Vel)
	if !ok || !fine {
		t.room.Violation()
		return
	}
	if t.apply(rules.Move(m.id, at, vel, protocol.YawOf(e.Turn))).Corrected() {
		t.room.Violation()
	}
	if state, ok := t.game.Player(m.id); ok {
		m.at = state.Pos
	}
}

// show brings the world in line with the rules.
func (t *room) show() {
	t.forget()
	for _, m := range t.members {
		m.state, _ = t.game.Player(m.id)
		there := m.player != nil && plays(m.state.Role)
		if m.placed && !there {
			t.remove(m)
			if m.player != nil {
				t.world.WatchAll(m.player)
			}
		}
		if there {
			t.showPlayer(m)
		}
	}
	t.showItems()
}

func plays(role rules.Role) bool { return role == rules.Police || role == rules.Thief }

func (t *room) showPlayer(m *member) {
	s := &m.state
	e := protocol.Entity{
		Number: uint16(m.id), At: protocol.Place(s.Pos), Vel: protocol.Place(s.Vel),
		Turn: protocol.Turn(s.Yaw), Yaw: protocol.Radians(s.Yaw),
		Role: s.Role, Status: s.Status, Carrying: s.Carrying, Score: s.Score, Total: s.Total,
	}
	if !m.placed {
		if m.entity, m.placed = t.world.Add(e); !m.placed {
			return
		}
		t.world.Assign(m.player, m.entity)
		m.turn = e.Turn
	} else if s.Pos != m.at {
		// The rules have put it elsewhere.
		t.world.Teleport(m.entity, e.At)
	}
	m.at = s.Pos
	state := t.world.State(m.entity)
	e.Turn = state.Turn
	*state = e
}

func (t *room) showItems() {
	items := t.game.Items()
	if round := t.game.State().Round; round != t.round || len(items) < len(t.items) {
		t.round = round
		t.clearItems()
	}
	for i := range items {
		it := &items[i]
		if i == len(t.items) {
			id := game.ID{}
			if !it.Taken {
				id, _ = t.world.Add(protocol.Entity{Kind: it.Kind, Number: uint16(it.ID), At: protocol.Place(it.Pos)})
			}
			t.items = append(t.items, id)
		}
		if it.Taken && t.items[i] != (game.ID{}) {
			t.world.Remove(t.items[i])
			t.items[i] = game.ID{}
		}
	}
}

func (t *room) clearItems() {
	for _, id := range t.items {
		t.world.Remove(id)
	}
	t.items = t.items[:0]
}

// hidden keeps from players what the rules do not let them see.
func (t *room) hidden(viewer *game.Player, id game.ID) bool {
	m := viewer.Value.(*member)
	e := t.world.State(id)
	switch {
	case e == nil:
		return true
	case e.Kind == rules.NoItem:
		return !t.game.Sees(m.id, rules.PlayerID(e.Number))
	default:
		at, _ := protocol.PosOf(e.At)
		return plays(m.state.Role) && at.Sub(m.state.Pos).Length() > rules.SightReach
	}
}

// act takes what a player does beyond moving.
func (t *room) act(p *game.Player, a *message.PlayerAction) error {
	m := p.Value.(*member)
	if a.Target >= 1<<16 || a.Item >= 1<<16 {
		return message.ErrNumber
	}
	target := rules.PlayerID(a.Target)
	switch a.Action {
	case message.Attack:
		return refusal(t.apply(rules.ActOn(m.id, rules.Capture, target, t.where(p, target, a.Time))))
	case message.UseItem:
		return refusal(t.apply(rules.Act(m.id, rules.UseItem)))
	case message.Interact:
		if a.Item != 0 {
			return refusal(t.apply(rules.Take(m.id, rules.ItemID(a.Item))))
		}
		return refusal(t.apply(rules.ActOn(m.id, rules.Free, target, rules.Vec{})))
	case message.Cast:
		switch skill := rules.ActionKind(a.Item); skill {
		case rules.Net:
			return refusal(t.apply(rules.ActOn(m.id, skill, target, t.where(p, target, a.Time))))
		case rules.Dash, rules.Sprint, rules.Vanish:
			return refusal(t.apply(rules.Act(m.id, skill)))
		default:
		}
	default:
	}
	return message.ErrField
}

// where is where a player saw another when it acted.
func (t *room) where(p *game.Player, target rules.PlayerID, saw uint32) rules.Vec {
	state, _ := t.game.Player(target)
	for _, m := range t.members {
		if m.id != target || !m.placed {
			continue
		}
		if at, ok := t.world.PositionAt(m.entity, t.world.Rewind(p, saw)); ok {
			if then, ok := protocol.PosOf(at); ok {
				return then
			}
		}
	}
	return state.Pos
}

// hears says who gets what a player says or films.
func (t *room) hears(listener, speaker *game.Player, media message.Media) bool {
	l, s := listener.Value.(*member), speaker.Value.(*member)
	if media == message.Audio {
		return t.game.Hears(l.id, s.id)
	}
	return l.watched == s.id && t.game.Watches(l.id, s.id)
}

// watch has a member get the camera of another.
func (t *room) watch(m *member, other rules.PlayerID) error {
	answer := protocol.Watching{Player: uint32(other)}
	if other != 0 {
		i := slices.IndexFunc(t.members, func(o *member) bool { return o.id == other && o.player != nil })
		if i < 0 {
			return refusal(rules.NoSuchPlayer)
		}
		answer.Frame, answer.Began = t.media.Restart(m.player, t.members[i].player)
	}
	m.watched = other
	m.player.Send(session.ReliableOrdered, protocol.Channel, &answer)
	return nil
}

// command takes what a player says about rounds, and what it asks for.
func (t *room) command(p *game.Player, c *message.ReliableCommand) error {
	m := p.Value.(*member)
	switch c.Command {
	case protocol.CommandReady, protocol.CommandRematch:
		on, rest, err := msgp.ReadBoolBytes(c.Args)
		if err != nil || len(rest) > 0 {
			return message.ErrField
		}
		if c.Command == protocol.CommandReady {
			return refusal(t.apply(rules.Ready(m.id, on)))
		}
		return refusal(t.apply(rules.Rematch(m.id, on)))
	case protocol.CommandRole:
		role, rest, err := msgp.ReadUint8Bytes(c.Args)
		if err != nil || len(rest) > 0 {
			return message.ErrField
		}
		return refusal(t.apply(rules.ChooseRole(m.id, rules.Role(role))))
	case protocol.CommandRecording:
		if len(c.Args) > 0 && !msgp.IsNil(c.Args) {
			return message.ErrField
		}
		round, recording := t.recorder.Round()
		if recording == nil {
			return game.Refuse(message.ErrState, "no recording")
		}
		return t.data.Send(p, protocol.RecordingName(round), recording)
	case protocol.CommandWatch:
		other, rest, err := msgp.ReadUint32Bytes(c.Args)
		if err != nil || len(rest) > 0 {
			return message.ErrField
		}
		return t.watch(m, rules.PlayerID(other))
	default:
		return game.Refuse(message.ErrName, "no such command")
	}
}
