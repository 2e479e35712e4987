package relay

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

const tickInterval = 1_000_000_000 / TickRate

// world is a number of nodes whose letters arrive when told to.
type world struct {
	now   uint64
	nodes []*game.Node
	count metrics.Set
	post  []sent
}

type sent struct {
	from, to int
	letter   []byte
}

type host struct {
	*world
	self int
}

func (h host) Now() uint64   { return h.now }
func (h host) Clock() uint64 { return h.now }

func (h host) Mail(to int, letter []byte, _ bool) {
	h.post = append(h.post, sent{h.self, to, bytes.Clone(letter)})
}

func newWorld(nodes int) *world {
	w := &world{now: 1e12}
	dir := game.NewDirectory(game.Options{Kinds: []game.Kind{Kind()}})
	for i := range nodes {
		w.nodes = append(w.nodes, game.NewNode(dir, host{w, i}, i, nodes, &w.count))
	}
	return w
}

func (w *world) settle() {
	for len(w.post) > 0 {
		l := w.post[0]
		w.post = w.post[1:]
		w.nodes[l.to].Mail(l.from, l.letter)
	}
}

// tick lets the time of one tick pass.
func (w *world) tick() {
	w.settle()
	w.now += tickInterval
	for _, n := range w.nodes {
		if w.now >= n.NextTick() {
			n.Tick(w.now)
		}
	}
	w.settle()
}

// peer is a client that keeps what it is told.
type peer struct {
	node    *game.Node
	value   any
	id      uint32
	got     []Entry
	refused []message.Error
	other   int // messages of other types, or in other modes
	deaf    bool
}

func (p *peer) ID() uint64        { return 1 }
func (p *peer) Value() any        { return p.value }
func (p *peer) SetValue(v any)    { p.value = v }
func (p *peer) Recovered() bool   { return false }
func (p *peer) Close(wire.Reason) {}

func (p *peer) SendMessage(o session.Outgoing) error {
	switch {
	case p.deaf:
	case o.Type == message.TypeConnected:
		var c message.Connected
		if err := message.Parse(o.Payload, &c); err != nil {
			return err
		}
		p.id = c.Player
	case o.Type == message.TypeRefused:
		var r message.Refused
		if err := message.Parse(o.Payload, &r); err != nil {
			return err
		}
		p.refused = append(p.refused, r.Code)
	case o.Type == TypeBlock && o.Mode == session.Unreliable:
		b, err := ParseBlock(o.Payload)
		if err != nil {
			return err
		}
		for e, ok := b.Next(); ok; e, ok = b.Next() {
			p.got = append(p.got, Entry{e.Player, bytes.Clone(e.Data)})
		}
	default:
		p.other++
	}
	return nil
}

func (w *world) join(t *testing.T, node int) *peer {
	t.Helper()
	p := &peer{node: w.nodes[node]}
	p.node.Open(p)
	connect, err := message.Append(nil, &message.Connect{Game: Name, Room: 1, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	p.node.Message(p, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: connect})
	w.settle()
	if p.id == 0 {
		t.Fatal("no answer to Connect")
	}
	return p
}

func (p *peer) say(mode session.Mode, payload []byte) {
	p.node.Message(p, session.Message{Mode: mode, Type: TypePublish, Payload: payload})
}

func TestEveryMessageReachesEveryoneOnce(t *testing.T) {
	for _, tt := range []struct {
		name           string
		nodes, players int
		data           int
	}{
		{"one_player", 1, 1, 128},
		{"small", 1, 20, 3},
		{"many_blocks", 1, 40, 128},
		{"block_and_a_byte", 1, 40, 135}, // eight entries, and the byte of the type
		{"largest", 1, 20, MaxData},
		{"three_nodes", 3, 40, 128},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(tt.nodes)
			var all []*peer
			for i := range tt.players {
				all = append(all, w.join(t, i%tt.nodes))
			}
			const rounds = 5
			data := make([]byte, tt.data)
			for round := range rounds {
				for _, p := range all {
					data[0], data[tt.data-1] = byte(p.id), byte(round)
					p.say(session.Unreliable, AppendPublish(nil, data))
				}
				w.tick()
			}
			for _, p := range all {
				seen := map[[2]uint32]int{}
				for _, e := range p.got {
					if len(e.Data) != tt.data || e.Data[0] != byte(e.Player) && tt.data > 1 {
						t.Fatalf("player %d got %d bytes of player %d", p.id, len(e.Data), e.Player)
					}
					seen[[2]uint32{e.Player, uint32(e.Data[tt.data-1])}]++
				}
				for _, from := range all {
					for round := range rounds {
						if n := seen[[2]uint32{from.id, uint32(round)}]; n != 1 {
							t.Fatalf("player %d got message %d of player %d %d times", p.id, round, from.id, n)
						}
					}
				}
				if len(p.got) != rounds*tt.players || p.other != 0 {
					t.Errorf("player %d got %d entries and %d other messages", p.id, len(p.got), p.other)
				}
			}
		})
	}
}

func TestTicksOnlyWithSomethingToSay(t *testing.T) {
	w := newWorld(1)
	p := w.join(t, 0)
	if at := w.nodes[0].NextTick(); at < 1<<63 {
		t.Errorf("a silent room ticks at %d", at)
	}
	p.say(session.Unreliable, AppendPublish(nil, []byte("x")))
	if at := w.nodes[0].NextTick(); at > w.now+tickInterval {
		t.Errorf("the next tick is due at %d, now is %d", at, w.now)
	}
	w.tick()
	if at := w.nodes[0].NextTick(); len(p.got) != 1 || at < 1<<63 {
		t.Errorf("%d entries, and the next tick at %d", len(p.got), at)
	}
}

func TestRefuses(t *testing.T) {
	tests := []struct {
		name    string
		mode    session.Mode
		payload []byte
		counter metrics.Counter
	}{
		{"reliable", session.ReliableOrdered, []byte{TypePublish, 1}, metrics.RefusedState},
		{"empty", session.Unreliable, []byte{TypePublish}, metrics.Rejected},
		{"wrong_type_byte", session.Unreliable, []byte{1, 2}, metrics.Rejected},
		{"too_large", session.Unreliable, make([]byte, MaxData+2), metrics.Rejected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(1)
			p := w.join(t, 0)
			if tt.name == "too_large" {
				tt.payload[0] = TypePublish
			}
			p.say(tt.mode, tt.payload)
			w.tick()
			if len(p.got) != 0 || w.count.Get(tt.counter) != 1 {
				t.Errorf("%d entries, and %d counted", len(p.got), w.count.Get(tt.counter))
			}
			if got := len(p.refused) > 0; got != tt.mode.Reliable() {
				t.Errorf("refusals %v of a message in mode %v", p.refused, tt.mode)
			}
		})
	}
}

// TestTickIsBounded has more published than a tick carries.
func TestTickIsBounded(t *testing.T) {
	w := newWorld(1)
	var all []*peer
	for range 10 {
		all = append(all, w.join(t, 0))
	}
	const each = 50
	for i := range uint32(each) {
		for _, p := range all {
			p.say(session.Unreliable, AppendPublish(nil, binary.BigEndian.AppendUint32(make([]byte, MaxData-4), i)))
		}
	}
	w.tick()
	fit := maxRound / (blockHead + entryHead + MaxData)
	if len(all[0].got) != fit {
		t.Errorf("%d entries, want the %d that fit", len(all[0].got), fit)
	}
	if n := w.count.Get(metrics.RefusedRate); n != uint64(10*each-fit) {
		t.Errorf("%d refused, want %d", n, 10*each-fit)
	}
	all[0].got = nil
	all[0].say(session.Unreliable, AppendPublish(nil, []byte("x")))
	w.tick()
	if len(all[0].got) != 1 {
		t.Errorf("%d entries in the next tick, want 1", len(all[0].got))
	}
}

func TestDoesNotAllocate(t *testing.T) {
	w := newWorld(1)
	var all []*peer
	for range 50 {
		p := w.join(t, 0)
		p.deaf = true
		all = append(all, p)
	}
	payload := AppendPublish(nil, make([]byte, 128))
	round := func() {
		for _, p := range all {
			p.say(session.Unreliable, payload)
		}
		w.tick()
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%g allocations per round of %d messages", n, len(all))
	}
}
