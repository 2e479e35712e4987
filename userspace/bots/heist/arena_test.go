package heist

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/policethief"
	"github.com/xrudp/xrudp/userspace/game/policethief/protocol"
	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/play"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// short is a game whose rounds take ten seconds.
func short() rules.Config {
	c := rules.Fast()
	c.Lobby, c.Countdown, c.Hide = time.Second/2, time.Second/2, time.Second
	c.Chase, c.Results = 7*time.Second, time.Second/2
	return c
}

// arena is a server of one node and its bots, whose time goes when told to.
type arena struct {
	t     *testing.T
	now   uint64
	began uint64
	rng   *rand.Rand
	delay time.Duration
	loss  float64 // of what may be lost
	node  *game.Node
	count *metrics.Set
	seats []*seat

	recordings [][]byte
}

func (a *arena) Now() uint64            { return a.now }
func (a *arena) Clock() uint64          { return a.now }
func (a *arena) Mail(int, []byte, bool) {}

// seat is one bot with its connection.
type seat struct {
	arena *arena
	value any
	bot   *bot
	ended chan client.Event
	up    []parcel // to the server
	down  []parcel

	// meddle, where set, makes other messages of what the server sends.
	meddle func(session.Outgoing) []session.Outgoing
	acked  func(payload []byte) // hears of GameStateAck
}

type parcel struct {
	due     uint64
	message session.Outgoing
}

func newArena(t *testing.T, seed uint64, bots int, o policethief.Options) *arena {
	a := &arena{
		t: t, now: 1e12, began: 1e12, rng: rand.New(rand.NewPCG(seed, 2)), delay: 20 * time.Millisecond,
		count: new(metrics.Set),
	}
	o.Seed = func() uint64 { return seed }
	o.Record = func(_ uint32, recording []byte) { a.recordings = append(a.recordings, recording) }
	panicked := func(_ uint32, v any, stack []byte) { t.Errorf("panic: %v\n%s", v, stack) }
	dir := game.NewDirectory(game.Options{Kinds: []game.Kind{policethief.Kind(o)}, Panicked: panicked})
	a.node = game.NewNode(dir, a, 0, 1, a.count)
	for i := range bots {
		s := &seat{arena: a, ended: make(chan client.Event, 1)}
		s.bot = newBot(play.New(end{s}, options()), seed<<16+uint64(i), time.Second)
		a.seats = append(a.seats, s)
		a.node.Open(s)
		if err := s.bot.play.Join(play.Join{Game: protocol.Name, Version: protocol.Version, Name: "bot", Token: []byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

func (*seat) ID() uint64                             { return 1 }
func (*seat) Recovered() bool                        { return false }
func (s *seat) Close(wire.Reason)                    { s.ended <- client.Event{Kind: client.EventClosed} }
func (s *seat) Value() any                           { return s.value }
func (s *seat) SetValue(v any)                       { s.value = v }
func (s *seat) SendMessage(o session.Outgoing) error { s.send(&s.down, o); return nil }

// end is the bot's end of the connection.
type end struct{ *seat }

func (e end) SendMessage(o client.Outgoing) error { e.send(&e.up, o); return nil }
func (e end) Events() <-chan client.Event         { return e.ended }
func (e end) Close() error                        { return nil }

// send has a message arrive later, if it does.
func (s *seat) send(to *[]parcel, o session.Outgoing) {
	a := s.arena
	if !o.Mode.Reliable() && a.rng.Float64() < a.loss {
		return
	}
	o.Payload = append([]byte(nil), o.Payload...)
	*to = append(*to, parcel{a.now + uint64(a.delay), o})
}

// pass takes what has arrived.
func pass(now uint64, from *[]parcel, take func(session.Outgoing)) {
	for len(*from) > 0 && (*from)[0].due <= now {
		o := (*from)[0].message
		*from = (*from)[1:]
		take(o)
	}
}

// run plays for some time.
func (a *arena) run(d time.Duration) {
	const step = 16666666 / 2
	for stop := a.now + uint64(d); a.now < stop; a.now += step {
		if a.node.NextTick() <= a.now {
			a.node.Tick(a.now)
		}
		at := time.Duration(a.now - a.began)
		for i, s := range a.seats {
			pass(a.now, &s.up, func(o session.Outgoing) {
				if s.acked != nil && o.Type == 0x08 {
					s.acked(o.Payload)
				}
				a.node.Message(s, session.Message{Mode: o.Mode, Channel: o.Channel, Type: o.Type, Payload: o.Payload})
			})
			pass(a.now, &s.down, func(o session.Outgoing) {
				all := []session.Outgoing{o}
				if s.meddle != nil {
					all = s.meddle(o)
				}
				for _, o := range all {
					s.bot.play.Deliver(at, client.Message{Mode: o.Mode, Channel: o.Channel, Type: o.Type, Payload: o.Payload})
				}
			})
			if (a.now/step+uint64(i))%4 == 0 {
				s.bot.step(at)
			}
		}
	}
}

// finish ends the check and returns what came of it.
func (a *arena) finish() Result {
	for _, s := range a.seats {
		s.bot.finish(time.Duration(a.now - a.began))
	}
	a.run(time.Second)
	var r Result
	for i, s := range a.seats {
		r.add(s.bot, i == 0)
	}
	for _, s := range a.seats {
		a.node.Close(s)
	}
	r.judge()
	return r
}
