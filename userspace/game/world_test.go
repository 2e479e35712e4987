package game

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

const ms = uint64(time.Millisecond)

// world is a number of nodes whose letters take random times, in order between
// any two.
type world struct {
	t     testing.TB
	rng   *rand.Rand
	now   uint64
	spent []uint64 // ns that each node has worked, of which Now knows nothing
	dir   *Directory
	nodes []*Node
	count []*metrics.Set
	post  map[[2]int][]sent
	slow  uint64 // longest delay of a letter
	lossy bool   // letters that need not arrive do not
}

type sent struct {
	at     uint64
	letter []byte
}

// host is one node's view of the world.
type host struct {
	*world
	self int
}

func (h host) Now() uint64 { return h.now }

func (h host) Clock() uint64 { return h.now + h.spent[h.self] }

func (h host) Mail(to int, letter []byte, must bool) {
	if to == h.self || len(letter) > MaxLetter {
		h.t.Fatalf("letter of %d bytes from node %d to %d", len(letter), h.self, to)
	}
	if !must && h.lossy && h.rng.IntN(2) == 0 {
		return
	}
	at := h.now
	if h.slow > 0 {
		at += h.rng.Uint64N(h.slow)
	}
	lane := [2]int{h.self, to}
	if q := h.post[lane]; len(q) > 0 {
		at = max(at, q[len(q)-1].at)
	}
	h.post[lane] = append(h.post[lane], sent{at, bytes.Clone(letter)})
}

func newWorld(t testing.TB, nodes int, opts Options) *world {
	w := &world{t: t, now: 1e12, rng: rand.New(rand.NewPCG(uint64(nodes), 7)), post: map[[2]int][]sent{}}
	w.dir = NewDirectory(opts)
	w.spent = make([]uint64, nodes)
	for i := range nodes {
		count := new(metrics.Set)
		w.count = append(w.count, count)
		w.nodes = append(w.nodes, NewNode(w.dir, host{w, i}, i, nodes, count))
	}
	return w
}

// step delivers the next letter or runs the next ticks, whichever is first, but
// nothing that is due after end. It reports whether there was anything.
func (w *world) step(end uint64) bool {
	at, first := uint64(math.MaxUint64), [2]int{}
	for from := range w.nodes {
		for to := range w.nodes {
			lane := [2]int{from, to}
			if q := w.post[lane]; len(q) > 0 && q[0].at < at {
				at, first = q[0].at, lane
			}
		}
	}
	for i, n := range w.nodes {
		if due := n.NextTick(); due < at {
			at, first = due, [2]int{i, i}
		}
	}
	if at > end {
		return false
	}
	w.now = max(w.now, at)
	if first[0] == first[1] {
		w.nodes[first[0]].Tick(w.now)
		return true
	}
	l := w.post[first][0]
	w.post[first] = w.post[first][1:]
	w.nodes[first[1]].Mail(first[0], l.letter)
	return true
}

func (w *world) run(d uint64) {
	end := w.now + d
	for w.step(end) {
	}
	w.now = max(w.now, end)
}

// settle lets every letter arrive.
func (w *world) settle() {
	for {
		left := 0
		for _, q := range w.post {
			left += len(q)
		}
		if left == 0 {
			return
		}
		w.step(math.MaxUint64)
	}
}

func (w *world) total(c metrics.Counter) (n uint64) {
	for _, set := range w.count {
		n += set.Get(c)
	}
	return n
}

// idle fails the test if anything of a game is left.
func (w *world) idle() {
	w.t.Helper()
	for i, n := range w.nodes {
		if n.NextTick() != math.MaxUint64 || len(n.halls)+len(n.clients)+len(n.rooms)+len(n.roomByID)+len(n.waiting) != 0 {
			w.t.Errorf("node %d has %d halls, %d clients, %d rooms, %d rooms waited for, next tick %d",
				i, len(n.halls), len(n.clients), len(n.rooms), len(n.waiting), n.NextTick())
		}
	}
	if len(w.dir.rooms)+len(w.dir.named) != 0 {
		w.t.Errorf("the directory has %d rooms and %d names", len(w.dir.rooms), len(w.dir.named))
	}
	for i := range w.dir.nodes {
		if n := &w.dir.nodes[i]; n.seats != 0 || n.rooms != 0 {
			w.t.Errorf("the directory counts %d seats and %d rooms at node %d", n.seats, n.rooms, i)
		}
	}
}

// peer is a client that keeps what it is sent.
type peer struct {
	world     *world
	node      *Node
	value     any
	recovered bool
	got       []session.Message
	closed    wire.Reason
	refuse    error
	largest   int // payload that it takes, if not 0
}

func (p *peer) ID() uint64            { return 77 }
func (p *peer) Value() any            { return p.value }
func (p *peer) SetValue(v any)        { p.value = v }
func (p *peer) Recovered() bool       { return p.recovered }
func (p *peer) Close(why wire.Reason) { p.closed = why }

func (p *peer) SendMessage(o session.Outgoing) error {
	if p.refuse != nil {
		return p.refuse
	}
	if p.largest != 0 && len(o.Payload) > p.largest {
		return session.ErrTooLarge
	}
	p.got = append(p.got, session.Message{Mode: o.Mode, Channel: o.Channel, Type: o.Type, Payload: bytes.Clone(o.Payload)})
	return nil
}

func (w *world) connect(node int) *peer {
	p := &peer{world: w, node: w.nodes[node]}
	p.node.Open(p)
	return p
}

func (p *peer) say(typ uint8, payload []byte) {
	p.node.Message(p, session.Message{Mode: session.ReliableOrdered, Type: typ, Payload: payload})
}

func (p *peer) sayMessage(m message.Message) {
	p.world.t.Helper()
	b, err := message.Append(nil, m)
	if err != nil {
		p.world.t.Fatal(err)
	}
	p.say(m.Kind(), b)
}

func (p *peer) join(game string, room uint32) {
	p.sayMessage(&message.Connect{Game: game, Room: room, Name: "bot"})
}

func (p *peer) leave() { p.sayMessage(&message.Disconnect{}) }

// take returns the payloads of a type received since the last call, dropping
// everything else.
func (p *peer) take(typ uint8) (payloads [][]byte) {
	for _, m := range p.got {
		if m.Type == typ {
			payloads = append(payloads, m.Payload)
		}
	}
	p.got = nil
	return payloads
}

// connected returns the last answer to Connect.
func (p *peer) connected() (m message.Connected) {
	p.world.t.Helper()
	all := p.take(message.TypeConnected)
	if len(all) == 0 {
		p.world.t.Fatal("no answer to Connect")
	}
	if err := message.Parse(all[len(all)-1], &m); err != nil {
		p.world.t.Fatal(err)
	}
	return m
}

// refused returns the codes of refusals since the last call.
func (p *peer) refused() (codes []message.Error) {
	for _, b := range p.take(message.TypeRefused) {
		var m message.Refused
		if err := message.Parse(b, &m); err != nil {
			p.world.t.Fatal(err)
		}
		codes = append(codes, m.Code)
	}
	return codes
}

// Types of the relay.
const (
	typeSay    = 0x10 // number, to all
	typeAsk    = 0x11 // number, to the sender
	typeFail   = 0x12 // an error, a panic or a kick, by the first byte
	typeLoose  = 0x13 // number, to all, as it came
	typeSaid   = 0x90 // player, number, how many were said before
	typeAnswer = 0x91
	typeHeard  = 0x92
)

// relay is a room that says again what it is told, with numbers of its own.
type relay struct {
	room  *Room
	said  uint32
	joins int
	left  map[Why]int
	ticks []Tick
	deny  error
	panic bool
	work  func(*Room) // of a tick
}

func (l *relay) Join(p *Player) error {
	l.joins++
	if l.panic {
		panic("join")
	}
	return l.deny
}

func (l *relay) Leave(_ *Player, why Why) { l.left[why]++ }

func (l *relay) Tick(t Tick) {
	l.ticks = append(l.ticks, t)
	if l.work != nil {
		l.work(l.room)
	}
	if l.panic {
		panic("tick")
	}
}

var errPlain = errors.New("secret")

func newRelay(r *Room) Logic {
	l := &relay{room: r, left: map[Why]int{}}
	r.Handle(typeSay, func(p *Player, m session.Message) error {
		b := binary.BigEndian.AppendUint32(nil, p.ID())
		b = append(b, m.Payload[:4]...)
		l.said++
		b = binary.BigEndian.AppendUint32(b, l.said)
		// The rest makes it as long as it came.
		b = append(b, m.Payload[4:]...)
		r.BroadcastMessage(session.Outgoing{Mode: session.ReliableOrdered, Channel: 1, Type: typeSaid, Payload: b})
		return nil
	})
	r.Handle(typeAsk, func(p *Player, m session.Message) error {
		p.SendMessage(session.Outgoing{Mode: session.ReliableOrdered, Channel: 1, Type: typeAnswer, Payload: m.Payload})
		return nil
	})
	r.Handle(typeLoose, func(p *Player, m session.Message) error {
		b := binary.BigEndian.AppendUint32(nil, p.ID())
		b = append(b, m.Payload...)
		r.BroadcastMessage(session.Outgoing{Mode: session.Unreliable, Type: typeHeard, Payload: b})
		return nil
	})
	r.Handle(typeFail, func(p *Player, m session.Message) error {
		switch m.Payload[0] {
		case 0:
			return errPlain
		case 1:
			return message.ErrMove
		case 2:
			panic("handler")
		case 3:
			p.Kick(Refuse(message.ErrDenied, "out"))
		case 4:
			r.Close()
		}
		return nil
	})
	return l
}

// relays are options with a kind "relay".
func relays() Options {
	return Options{Kinds: []Kind{{
		Name: "relay", New: newRelay,
		Limits: Limits{Positions: Unlimited, Actions: Unlimited, Large: Unlimited, Other: Unlimited},
	}}, Connects: Unlimited}
}

// room returns the only room with that number, wherever it is, nil on its way.
func (w *world) room(number uint32) *Room {
	for _, n := range w.nodes {
		for _, r := range n.rooms {
			if r.number == number {
				return r
			}
		}
	}
	return nil
}

func each(t *testing.T, opts Options, f func(t *testing.T, w *world)) {
	t.Helper()
	for _, tt := range []struct {
		name  string
		nodes int
	}{{"one_node", 1}, {"two_nodes", 2}, {"three_nodes", 3}} {
		t.Run(tt.name, func(t *testing.T) { f(t, newWorld(t, tt.nodes, opts)) })
	}
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
