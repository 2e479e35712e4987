package heist

import (
	"math/rand/v2"
	"slices"
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

// arena is a server and its bots, whose time goes when told to.
type arena struct {
	t     *testing.T
	now   uint64
	began uint64
	seed  uint64
	rng   *rand.Rand
	delay time.Duration
	loss  float64 // of what may be lost
	nodes []*node
	count *metrics.Set
	seats []*seat
	came  int // bots so far

	working *node         // that does what is due
	owner   *node         // of the room, when it ticked last
	labour  time.Duration // that a tick of it takes

	recordings [][]byte
	replays    replays
}

// node is one worker of the server, and the host of its game.
type node struct {
	*game.Node
	arena *arena
	spent uint64   // ns of work in this pass, of which the arena's time knows nothing
	slow  uint64   // ns that its letters take at most
	take  []uint64 // ns that they take for now, by the node they are for
	post  [][]parcel
}

func (n *node) Now() uint64   { return n.arena.now }
func (n *node) Clock() uint64 { return n.arena.now + n.spent }

func (n *node) Mail(to int, letter []byte, _ bool) {
	// Some ways are slow for a while, and others fast: letters overtake those that
	// went another way.
	if n.slow > 0 && n.arena.rng.IntN(40) == 0 {
		n.take[to] = n.arena.rng.Uint64N(n.slow)
	}
	due := n.arena.now + n.take[to]
	q := &n.post[to]
	if last := len(*q) - 1; last >= 0 {
		due = max(due, (*q)[last].due)
	}
	*q = append(*q, parcel{due, session.Outgoing{Payload: append([]byte(nil), letter...)}})
}

// labour is a room whose ticks take time.
type labour struct {
	game.Logic
	arena *arena
}

func (l *labour) Tick(t game.Tick) {
	l.Logic.Tick(t)
	l.arena.owner = l.arena.working
	l.arena.owner.spent += uint64(l.arena.labour)
}

// seat is one bot with its connection.
type seat struct {
	arena *arena
	node  *node
	token byte
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
	a := newServer(t, seed, 1, o, game.Options{})
	a.enter(bots)
	return a
}

// newServer returns an arena without bots.
func newServer(t *testing.T, seed uint64, nodes int, o policethief.Options, opts game.Options) *arena {
	a := &arena{
		t: t, now: 1e12, began: 1e12, rng: rand.New(rand.NewPCG(seed, 2)), delay: 20 * time.Millisecond,
		count: new(metrics.Set), seed: seed,
	}
	o.Seed = func() uint64 { return seed }
	o.Record = func(_ uint32, recording []byte) { a.recordings = append(a.recordings, recording) }
	kind := policethief.Kind(o)
	begin := kind.New
	kind.New = func(r *game.Room) game.Logic { return &labour{begin(r), a} }
	opts.Kinds = append(opts.Kinds, kind)
	opts.Panicked = func(_ uint32, v any, stack []byte) { t.Errorf("panic: %v\n%s", v, stack) }
	dir := game.NewDirectory(opts)
	for i := range nodes {
		// They do not look around at the same time.
		a.now = a.began + uint64(2*time.Second)*uint64(i)/uint64(nodes)
		n := &node{arena: a, take: make([]uint64, nodes), post: make([][]parcel, nodes)}
		n.Node = game.NewNode(dir, n, i, nodes, a.count)
		a.nodes = append(a.nodes, n)
	}
	return a
}

// enter has more bots come.
func (a *arena) enter(bots int) {
	for range bots {
		a.come(byte(a.came))
	}
}

// come has a bot come, to the node after that of the last.
func (a *arena) come(token byte) {
	i := a.came
	a.came++
	s := &seat{arena: a, node: a.nodes[i%len(a.nodes)], token: token, ended: make(chan client.Event, 1)}
	s.bot = newBot(play.New(end{s}, options()), a.seed<<16+uint64(i), time.Second, &a.replays)
	a.seats = append(a.seats, s)
	s.node.Open(s)
	if err := s.bot.play.Join(play.Join{Game: protocol.Name, Version: protocol.Version, Name: "bot", Token: []byte{token}}); err != nil {
		a.t.Fatal(err)
	}
}

// leave has a bot's connection end, and returns the bot's token.
func (a *arena) leave(i int) (token byte) {
	s := a.seats[i]
	s.node.Close(s)
	a.seats = slices.Delete(a.seats, i, i+1)
	return s.token
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
	// No part of a tick: views are of all moments between two.
	const step = 16666666 * 10 / 37
	for stop := a.now + uint64(d); a.now < stop; a.now += step {
		a.work()
		at := time.Duration(a.now - a.began)
		for i, s := range a.seats {
			pass(a.now, &s.up, func(o session.Outgoing) {
				if s.acked != nil && o.Type == 0x08 {
					s.acked(o.Payload)
				}
				s.node.Message(s, session.Message{Mode: o.Mode, Channel: o.Channel, Type: o.Type, Payload: o.Payload})
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
			if (a.now/step+uint64(i))%8 == 0 {
				s.bot.step(at)
			}
		}
	}
}

// work has every node take its letters and run what is due.
func (a *arena) work() {
	for to, n := range a.nodes {
		a.working, n.spent = n, 0
		for from, other := range a.nodes {
			pass(a.now, &other.post[to], func(o session.Outgoing) { n.Node.Mail(from, o.Payload) })
		}
		if n.NextTick() <= a.now {
			n.Tick(a.now)
		}
	}
}

// finish ends the check and returns what came of it.
func (a *arena) finish() Result {
	for _, s := range a.seats {
		s.bot.finish(time.Duration(a.now - a.began))
	}
	a.labour = 0
	a.run(time.Second + 6*a.delay)
	for _, n := range a.nodes {
		a.run(4 * time.Duration(n.slow))
	}
	var r Result
	for i, s := range a.seats {
		r.add(s.bot, i == 0)
	}
	for _, s := range a.seats {
		s.node.Close(s)
	}
	r.judge()
	return r
}
