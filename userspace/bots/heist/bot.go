package heist

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game/policethief/brain"
	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/play"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// tickRate is that of all presets of the game.
const tickRate = 60

var (
	schema   = protocol.NewSchema(tickRate)
	interval = protocol.Interval(tickRate)
)

// patience is how long a bot waits until it says the same again.
const patience = 250 * time.Millisecond

// bot plays, and checks what it is told. It has no clock of its own, and belongs to
// one goroutine, but for glance.
type bot struct {
	play  *play.Player[protocol.Entity]
	mind  *brain.Brain
	every time.Duration // between samples
	glance

	// What it was told.
	self    rules.PlayerID
	truth   bool // the server tells it
	cfg     rules.Config
	base    uint32
	own     protocol.Own
	knowing bool // own counts
	states  []protocol.State
	world   *rules.World
	seed    uint32
	checker *rules.Verifier
	tally   [rules.ToOne + 1]protocol.Tally

	// What it saw.
	receiver *snapshot.Receiver[protocol.Entity]
	shots    []*shot // oldest first
	spare    []*shot
	checked  int // of shots
	samples  samples

	// What it does.
	view   rules.View
	seen   []snapshot.Seen[protocol.Entity]
	inputs []rules.Input
	said   map[rules.Input]time.Duration
	number uint32

	recordings recordings
	media      media
	at         time.Duration // of the step

	ending time.Duration // when it began to finish; 0: not yet
	asked  bool          // for sums
	heard  bool          // the sums
	done   bool

	found findings
}

// glance is what others may read at any time.
type glance struct {
	inside   atomic.Bool
	gone     atomic.Bool
	phase    atomic.Uint32
	round    atomic.Uint32
	left     atomic.Int64 // ticks of the phase
	captures atomic.Uint64
	freed    atomic.Uint64
	events   atomic.Uint64
}

// shot is a snapshot as it came.
type shot struct {
	tick    uint32
	whole   bool
	entries []snapshot.Entry[protocol.Entity]
}

// find returns an entity of the shot, nil when it is not in it.
func (s *shot) find(id snapshot.ID) *snapshot.Entry[protocol.Entity] {
	for i := range s.entries {
		if s.entries[i].ID == id {
			return &s.entries[i]
		}
	}
	return nil
}

// newBot returns a bot that plays by p.
func newBot(p *play.Player[protocol.Entity], seed uint64, every time.Duration, r *replays) *bot {
	b := &bot{play: p, mind: brain.New(seed), every: every, said: make(map[rules.Input]time.Duration)}
	b.recordings.replays = r
	play.On(p, b.welcome)
	play.On(p, func(*protocol.Named) error { return nil })
	play.On(p, b.state)
	play.On(p, b.happened)
	play.On(p, func(m *protocol.Own) error {
		readyAt := append(b.own.ReadyAt[:0], m.ReadyAt...)
		b.own, b.knowing = *m, true
		b.own.ReadyAt = readyAt
		return nil
	})
	play.On(p, b.tellTruth)
	play.On(p, b.sums)
	play.On(p, b.watching)
	play.On(p, b.frame)
	p.OnSnapshot(b.snapshot)
	p.OnTransfer(play.TransferOptions{MaxSize: rules.MaxRound, Channel: protocol.ChannelData}, b.recording)
	return b
}

// options are those of a bot's play.Player.
func options() play.Options[protocol.Entity] {
	return play.Options[protocol.Entity]{
		Schema: schema, MaxEntities: protocol.MaxVisible,
		Position: func(e *protocol.Entity) *play.Vec { return &e.At },
		Jump:     100, // nobody runs like that, but the rules put people into jail
	}
}

// step does what is due.
func (b *bot) step(now time.Duration) {
	b.at = now
	for _, e := range b.play.Update(now) {
		switch e.Kind {
		case play.Joined:
			b.inside.Store(true)
		case play.Refused:
			if e.Type == message.TypeConnect {
				b.lose("refused: " + e.Text)
			}
			b.refused(e.Code)
			b.noRecording(e)
		case play.Left:
			b.lose("put out: " + e.Text)
		case play.Disconnected:
			why := "connection lost"
			var closed *client.ClosedError
			if errors.As(e.Err, &closed) {
				why = closed.Reason.String()
			} else if e.Err != nil {
				why = e.Err.Error()
			}
			b.lose(why)
		case play.Corrected:
			b.found.Corrections++
		default:
		}
	}
	if b.self == 0 || b.gone.Load() {
		return
	}
	b.judge()
	b.sample(now)
	b.askRecording()
	b.speak(now)
	if b.ending == 0 {
		b.decide(now)
		return
	}
	if b.asked || b.samples.waiting || b.recordings.pending {
		return
	}
	if b.done = !b.truth; b.truth {
		b.asked = b.play.Send(client.ReliableOrdered, protocol.Channel, &protocol.AskSums{}) == nil
	}
}

// refused counts what was refused, by the reason.
func (b *bot) refused(code message.Error) {
	why := code.Error()
	if code >= protocol.RefusalCode {
		why = rules.Refusal(code - protocol.RefusalCode).String()
	}
	if b.found.Refusals == nil {
		b.found.Refusals = make(map[string]uint64)
	}
	b.found.Refused++
	b.found.Refusals[why]++
}

// finish has the bot play no more, but sum up. done says when it has.
func (b *bot) finish(now time.Duration) {
	if b.ending == 0 {
		b.ending = max(now, 1)
		b.samples.next = now
	}
}

func (b *bot) lose(why string) {
	if b.gone.Swap(true) || b.done {
		return
	}
	b.found.lost = why
}

func (b *bot) welcome(m *protocol.Welcome) error {
	if b.self != 0 || m.Player == 0 {
		return message.ErrState
	}
	b.self, b.truth, b.base, b.cfg = rules.PlayerID(m.Player), m.Truth, m.Base, m.Config.Rules()
	b.checker = rules.NewVerifier(b.cfg, b.self, 0)
	return nil
}

// now returns the game's tick.
func (b *bot) now() uint32 {
	at, _ := b.play.Time()
	return uint32(at/interval) - b.base
}

// statesKept is more than change in the time of a sample.
const statesKept = 256

func (b *bot) state(m *protocol.State) error {
	if len(b.states) == statesKept {
		b.states = append(b.states[:0], b.states[1:]...)
	}
	b.states = append(b.states, *m)
	b.base = m.Base
	b.judgeVoices(m)
	b.phase.Store(uint32(m.Phase))
	b.round.Store(m.Round)
	b.left.Store(int64(m.Until) - int64(m.Tick))
	if b.world == nil || b.seed != m.MapSeed {
		b.world, b.seed = rules.NewWorld(b.cfg.Cells, m.MapSeed), m.MapSeed
	}
	return nil
}

func (b *bot) happened(m *protocol.Events) error {
	if b.self == 0 {
		return message.ErrState
	}
	for i := range m.Events {
		e := m.Events[i].Rules()
		if e.Audience > rules.ToOne {
			return message.ErrField
		}
		b.tally[e.Audience].Add(&m.Events[i])
		b.checker.Event(e)
		if e.Audience == rules.ToAll {
			b.account(&m.Events[i], &e)
			b.side(&e)
		}
		b.events.Add(1)
		switch e.Kind {
		case rules.RoundOver:
			b.found.Rounds++
			switch e.Role {
			case rules.Police:
				b.found.PoliceWon++
			case rules.Thief:
				b.found.ThievesWon++
			default:
			}
		case rules.Captured:
			b.captures.Add(1)
		case rules.Freed:
			b.freed.Add(1)
		default:
		}
	}
	return nil
}

// decide has the mind do something.
func (b *bot) decide(now time.Duration) {
	if len(b.states) == 0 || !b.knowing || b.looksOn() {
		return
	}
	v := &b.view
	v.State = b.states[len(b.states)-1].Rules()
	v.Tick = b.now()
	v.World, v.Config = b.world, &b.cfg
	o := &b.own
	v.Self = rules.PlayerState{
		ID: b.self, Role: rules.Role(o.Role), Wish: rules.Role(o.Wish), Status: rules.Status(o.Status),
		Carrying: rules.ItemKind(o.Carrying), Score: o.Score, Total: o.Total,
	}
	copy(v.Own.ReadyAt[:], o.ReadyAt)
	v.Own.Shelter = o.Shelter
	at, placed := b.play.At()
	if playing(v.Self.Role) && v.Phase != rules.Lobby && v.Phase != rules.Results && !placed {
		return
	}
	v.Self.Pos, _ = protocol.PosOf(at)
	v.Self.Pos = b.world.Clamp(v.Self.Pos)
	b.seen = b.play.View(b.seen[:0])
	v.Players, v.Items = v.Players[:0], v.Items[:0]
	for i := range b.seen {
		switch e := &b.seen[i].State; {
		case e.Kind != rules.NoItem:
			v.Items = append(v.Items, e.Item())
		case rules.PlayerID(e.Number) != b.self:
			v.Players = append(v.Players, e.Player())
		}
	}
	b.inputs = b.mind.Decide(v, b.inputs[:0])
	for _, in := range b.inputs {
		b.say(now, in)
	}
}

// say tells the server what the mind wants, but the same not again and again.
func (b *bot) say(now time.Duration, in rules.Input) {
	if in.Kind == rules.KindMove {
		b.play.Move(protocol.Place(in.Pos), protocol.Turn(in.Yaw))
		return
	}
	key := rules.Input{Kind: in.Kind, Action: in.Action}
	if last, ok := b.said[key]; ok && now-last < patience {
		return
	}
	b.said[key] = now
	sent := false
	switch in.Kind {
	case rules.KindReady:
		sent = b.command(protocol.CommandReady, msgp.AppendBool(nil, in.On))
	case rules.KindRematch:
		sent = b.command(protocol.CommandRematch, msgp.AppendBool(nil, in.On))
	case rules.KindAction:
		b.number++
		sent = b.send(b.action(in))
	default:
	}
	if sent {
		b.found.Said++
	}
}

// command sends a command, and reports whether there was room for it.
func (b *bot) command(name string, args []byte) bool {
	b.number++
	return b.send(&message.ReliableCommand{Number: b.number, Command: name, Args: args})
}

// send sends a reliable message to the game, and reports whether there was room for it.
func (b *bot) send(m message.Message) bool {
	if b.play.Send(client.ReliableOrdered, protocol.Channel, m) != nil {
		b.found.PutOff++
		return false
	}
	return true
}

func (b *bot) action(in rules.Input) *message.PlayerAction {
	a := &message.PlayerAction{
		Number: b.number, Time: b.play.Saw(), Target: uint32(in.Target), Item: uint32(in.Item),
	}
	switch in.Action {
	case rules.Capture:
		a.Action = message.Attack
	case rules.Free, rules.PickUp:
		a.Action = message.Interact
	case rules.UseItem:
		a.Action = message.UseItem
	default:
		a.Action, a.Item = message.Cast, uint32(in.Action)
	}
	return a
}

func playing(role rules.Role) bool { return role == rules.Police || role == rules.Thief }
