package plaza

import (
	"bytes"
	"errors"
	"hash/crc32"
	"math"
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// roundInterval is nanoseconds between rounds.
const roundInterval = 1_000_000_000 / roundsPerSecond

// world is a number of nodes whose letters travel when told to.
type world struct {
	now   uint64
	nodes []*game.Node
	count []*metrics.Set
	post  []sent // on their way
	lossy bool   // letters that need not arrive do not
}

type sent struct {
	from, to int
	letter   []byte
}

// host is one node's view of the world.
type host struct {
	*world
	self int
}

func (h host) Now() uint64   { return h.now }
func (h host) Clock() uint64 { return h.now }

func (h host) Mail(to int, letter []byte, must bool) {
	if !must && h.lossy {
		return
	}
	h.post = append(h.post, sent{h.self, to, bytes.Clone(letter)})
}

func newWorld(nodes int) *world {
	w := &world{now: 1e12}
	dir := game.NewDirectory(Options())
	for i := range nodes {
		count := new(metrics.Set)
		w.count = append(w.count, count)
		w.nodes = append(w.nodes, game.NewNode(dir, host{w, i}, i, nodes, count))
	}
	return w
}

// settle lets every letter arrive.
func (w *world) settle() {
	for len(w.post) > 0 {
		l := w.post[0]
		w.post = w.post[1:]
		w.nodes[l.to].Mail(l.from, l.letter)
	}
}

func (w *world) total(c metrics.Counter) (n uint64) {
	for _, set := range w.count {
		n += set.Get(c)
	}
	return n
}

// peer is a client that keeps what it is sent.
type peer struct {
	node   *game.Node
	value  any
	got    []session.Message
	closed wire.Reason
	refuse error
}

func (p *peer) Value() any            { return p.value }
func (p *peer) SetValue(v any)        { p.value = v }
func (p *peer) Recovered() bool       { return false }
func (p *peer) Close(why wire.Reason) { p.closed = why }

func (p *peer) ID() uint64 { return 1 }

func (p *peer) SendMessage(o session.Outgoing) error {
	if p.refuse != nil {
		return p.refuse
	}
	p.got = append(p.got, session.Message{Mode: o.Mode, Channel: o.Channel, Type: o.Type, Payload: bytes.Clone(o.Payload)})
	return nil
}

func (w *world) connect(node int) *peer {
	p := &peer{node: w.nodes[node]}
	p.node.Open(p)
	return p
}

func (p *peer) say(typ uint8, payload []byte) {
	mode := session.ReliableOrdered
	if typ == TypePosition {
		mode = session.UnreliableSequenced
	}
	p.node.Message(p, session.Message{Mode: mode, Type: typ, Payload: payload})
}

func (p *peer) join(room uint32) {
	p.say(message.TypeConnect, encode(&message.Connect{Game: Name, Room: room, Name: "x"}))
}

func encode(m message.Message) []byte {
	b, err := message.Append(nil, m)
	if err != nil {
		panic(err)
	}
	return b
}

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

// player returns the id from the last answer to Connect.
func (p *peer) player(t *testing.T) uint32 {
	t.Helper()
	all := p.take(message.TypeConnected)
	if len(all) == 0 {
		t.Fatal("no answer to Connect")
	}
	var c message.Connected
	if err := message.Parse(all[len(all)-1], &c); err != nil {
		t.Fatal(err)
	}
	return c.Player
}

func each(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	for _, tt := range []struct {
		name  string
		nodes int
	}{{"one_node", 1}, {"two_nodes", 2}, {"three_nodes", 3}} {
		t.Run(tt.name, func(t *testing.T) { f(t, newWorld(tt.nodes)) })
	}
}

func TestRelay(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var all []*peer
		var ids []uint32
		for i := range 6 {
			p := w.connect(i % len(w.nodes))
			p.join(5)
			w.settle()
			ids = append(ids, p.player(t))
			all = append(all, p)
		}
		outsider := w.connect(0)
		outsider.join(6)
		w.settle()
		for _, p := range all {
			p.got = nil
		}
		outsider.got = nil

		for n := range uint32(3) {
			for i, p := range all {
				p.say(TypeChat, Chat{n, []byte{'a' + byte(i)}}.AppendTo(nil))
				p.say(TypeAction, Action{n, uint16(i), []byte{byte(n)}}.AppendTo(nil))
			}
		}
		w.settle()

		for i, p := range all {
			chats, actions := map[uint32][]uint32{}, map[uint32][]uint32{}
			for _, m := range p.got {
				if m.Mode != session.ReliableOrdered {
					t.Errorf("peer %d got type %#x as %v", i, m.Type, m.Mode)
				}
				switch m.Type {
				case TypeChatFrom:
					c, err := ParseChatFrom(m.Payload)
					if err != nil || m.Channel != ChannelChat || c.Text[0] != 'a'+byte(slices.Index(ids, c.Sender)) {
						t.Errorf("peer %d got chat %+v on channel %d, %v", i, c, m.Channel, err)
					}
					chats[c.Sender] = append(chats[c.Sender], c.Number)
				case TypeActionFrom:
					a, err := ParseActionFrom(m.Payload)
					if err != nil || m.Channel != ChannelAction || int(a.Kind) != slices.Index(ids, a.Sender) {
						t.Errorf("peer %d got action %+v on channel %d, %v", i, a, m.Channel, err)
					}
					actions[a.Sender] = append(actions[a.Sender], a.Number)
				default:
					t.Errorf("peer %d got type %#x", i, m.Type)
				}
			}
			for _, id := range ids {
				if want := []uint32{0, 1, 2}; !slices.Equal(chats[id], want) || !slices.Equal(actions[id], want) {
					t.Errorf("peer %d got chats %v and actions %v of player %d, want %v", i, chats[id], actions[id], id, want)
				}
			}
		}
		if len(outsider.got) != 0 {
			t.Errorf("a player of another room got %d messages", len(outsider.got))
		}
	})
}

func TestJoinAndLeave(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		last := len(w.nodes) - 1
		a, b := w.connect(0), w.connect(last)
		a.join(1)
		w.settle()
		idA := a.player(t)
		b.join(1)
		w.settle()
		idB := b.player(t)
		if idB == idA {
			t.Fatalf("two players are number %d", idA)
		}
		joined := a.take(TypeJoined)
		if len(joined) != 1 || !bytes.Equal(joined[0], AppendPlayer(nil, idB)) {
			t.Errorf("joined: got %x", joined)
		}

		// Moving to another room leaves the first.
		b.join(2)
		w.settle()
		left := a.take(TypeLeft)
		if len(left) != 1 || !bytes.Equal(left[0], AppendPlayer(nil, idB)) {
			t.Errorf("left: got %x", left)
		}
		b.got = nil
		a.say(TypeChat, Chat{1, []byte("x")}.AppendTo(nil))
		w.settle()
		if len(b.got) != 0 {
			t.Errorf("chat of a room that was left arrived: %v", b.got)
		}

		b.node.Close(b)
		a.node.Close(a)
		w.settle()
		for i, n := range w.nodes {
			if n.NextTick() != math.MaxUint64 {
				t.Errorf("node %d still has a room", i)
			}
		}
	})
}

func TestPositions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const players = MaxPositions + 10
		var all []*peer
		for i := range players {
			p := w.connect(i % len(w.nodes))
			p.join(3)
			all = append(all, p)
		}
		w.settle()
		for i, p := range all {
			p.say(TypePosition, Position{float32(i), 1, 2}.AppendTo(nil))
			p.got = nil
		}
		w.settle()

		round := func() {
			w.now += roundInterval
			for _, n := range w.nodes {
				n.Tick(w.now)
			}
			w.settle()
		}
		seen := func(p *peer) (count int) {
			for _, b := range p.take(TypePositions) {
				m, err := ParsePositions(b)
				if err != nil {
					t.Fatal(err)
				}
				count += m.Len()
				for i := range m.Len() {
					if at := m.At(i); at.Y != 1 || at.Z != 2 {
						t.Errorf("placed at %+v", at)
					}
				}
			}
			return count
		}
		round()
		for i, p := range all {
			if got := seen(p); got != players {
				t.Fatalf("peer %d saw %d players, want %d", i, got, players)
			}
		}

		// Nobody moved: silence but for the full round once per second.
		total := 0
		for range fullInterval / roundInterval {
			round()
			total += seen(all[7])
		}
		if total != players {
			t.Errorf("in a second without movement a peer was told of %d players, want %d", total, players)
		}
	})
}

func TestTickKeepsTwentyRounds(t *testing.T) {
	w := newWorld(1)
	p := w.connect(0)
	p.join(1)
	// 60 Hz for a second.
	for i := range 60 {
		w.now += 16_666_667
		p.say(TypePosition, Position{float32(i) * 0.1, 0, 0}.AppendTo(nil))
		w.nodes[0].Tick(w.now)
	}
	if got := len(p.take(TypePositions)); got < 19 || got > 21 {
		t.Errorf("%d rounds in a second, want 20", got)
	}
}

func TestMovement(t *testing.T) {
	type claim struct {
		after float64 // seconds
		to    Position
		fair  bool
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	tests := []struct {
		name   string
		claims []claim
		end    Position
	}{
		{"first_is_anywhere", []claim{{0, Position{5000, 0, 0}, true}}, Position{5000, 0, 0}},
		{"first_outside_world", []claim{{0, Position{2e6, 0, 0}, false}}, Position{}},
		{"not_finite", []claim{
			{0, Position{1, 1, 1}, true},
			{1, Position{nan, 0, 0}, false}, {1, Position{0, inf, 0}, false}, {1, Position{0, 0, -inf}, false},
		}, Position{1, 1, 1}},
		{"at_speed", []claim{
			{0, Position{}, true}, {0.05, Position{5, 0, 0}, true}, {0.05, Position{10, 0, 0}, true},
		}, Position{10, 0, 0}},
		{"late_then_two_at_once", []claim{
			{0, Position{}, true}, {0.1, Position{5, 0, 0}, true}, {0, Position{10, 0, 0}, true},
		}, Position{10, 0, 0}},
		{"diagonal_counts_in_full", []claim{{0, Position{}, true}, {1, Position{100, 100, 0}, false}}, Position{84.85, 84.85, 0}},
		{"teleport_is_cut_short", []claim{{0, Position{}, true}, {1, Position{0, 1000, 0}, false}}, Position{0, 120, 0}},
		{"silence_saves_two_seconds", []claim{{0, Position{}, true}, {60, Position{0, 0, 6000}, false}}, Position{0, 0, 230}},
		{"slack_is_not_renewed", []claim{
			{0, Position{}, true}, {0, Position{10, 0, 0}, true}, {0, Position{11, 0, 0}, false},
		}, Position{10, 0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var p player
			now := uint64(1e12)
			for i, c := range tt.claims {
				now += uint64(c.after * 1e9)
				if got := p.move(c.to, now); got != c.fair {
					t.Errorf("claim %d: fair is %v, want %v", i, got, c.fair)
				}
			}
			off := math.Abs(float64(p.position.X-tt.end.X)) + math.Abs(float64(p.position.Y-tt.end.Y)) +
				math.Abs(float64(p.position.Z-tt.end.Z))
			if !(off < 0.1) {
				t.Errorf("ends at %+v, want %+v", p.position, tt.end)
			}
		})
	}
}

// Whatever is claimed, a player never covers more than speed, tolerance and
// slack allow.
func FuzzMovement(f *testing.F) {
	f.Add([]byte{0, 0, 10, 200, 1, 255, 3, 3})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var p player
		now := uint64(1e12)
		p.move(Position{}, now)
		start := now
		for len(steps) >= 4 {
			now += uint64(steps[0]) * 4e6
			p.move(Position{float32(int8(steps[1])) * 50, float32(int8(steps[2])) * 50, float32(int8(steps[3])) * 50}, now)
			steps = steps[4:]
			d := math.Sqrt(float64(p.position.X*p.position.X + p.position.Y*p.position.Y + p.position.Z*p.position.Z))
			if limit := float64(now-start)/1e9*maxSpeed*tolerance + jitterSlack + 0.5; d > limit {
				t.Fatalf("covered %v in %v s, at most %v is possible", d, float64(now-start)/1e9, limit)
			}
		}
	})
}

func TestRejected(t *testing.T) {
	chat := Chat{1, []byte("x")}.AppendTo(nil)
	tests := []struct {
		name string
		in   bool // has joined a room
		msg  session.Message
		why  metrics.Counter
	}{
		{"unknown_type", true, session.Message{Type: 0x50}, metrics.RefusedTypes},
		{"server_type", true, session.Message{Type: TypeChatFrom, Mode: session.ReliableOrdered, Payload: chat}, metrics.RefusedTypes},
		{"chat_outside", false, session.Message{Type: TypeChat, Mode: session.ReliableOrdered, Payload: chat}, metrics.RefusedState},
		{"chat_unreliable", true, session.Message{Type: TypeChat, Mode: session.Unreliable, Payload: chat}, metrics.RefusedState},
		{"chat_malformed", true, session.Message{Type: TypeChat, Mode: session.ReliableOrdered, Payload: []byte{1}}, metrics.Rejected},
		{"action_outside", false, session.Message{Type: TypeAction, Mode: session.ReliableOrdered, Payload: make([]byte, 6)}, metrics.RefusedState},
		{"action_malformed", true, session.Message{Type: TypeAction, Mode: session.ReliableOrdered, Payload: []byte{1}}, metrics.Rejected},
		{"position_outside", false, session.Message{Type: TypePosition, Payload: make([]byte, 12)}, metrics.RefusedState},
		{"position_malformed", true, session.Message{Type: TypePosition, Payload: make([]byte, 11)}, metrics.Rejected},
		{"build_unreliable", true, session.Message{Type: TypeBuild, Mode: session.Unreliable, Payload: make([]byte, 5)}, metrics.RefusedState},
		{"build_malformed", true, session.Message{Type: TypeBuild, Mode: session.ReliableOrdered, Payload: make([]byte, 4)}, metrics.Rejected},
		{"echo_too_long", false, session.Message{Type: TypeEcho, Payload: make([]byte, MaxEcho+1)}, metrics.Rejected},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(1)
			p := w.connect(0)
			if tt.in {
				p.join(1)
			}
			p.got = nil
			p.node.Message(p, tt.msg)
			if got := w.total(tt.why); got != 1 {
				t.Errorf("%v is %d, want 1", tt.why, got)
			}
			if got := len(p.take(message.TypeRefused)); got != 0 != tt.msg.Mode.Reliable() {
				t.Errorf("told %d times", got)
			}
		})
	}
}

func TestEcho(t *testing.T) {
	w := newWorld(1)
	p := w.connect(0)
	for _, mode := range []session.Mode{session.Unreliable, session.UnreliableSequenced, session.ReliableOrdered, session.ReliableUnordered} {
		p.got = nil
		p.node.Message(p, session.Message{Mode: mode, Channel: 9, Type: TypeEcho, Payload: []byte("ping")})
		if len(p.got) != 1 || p.got[0].Mode != mode || p.got[0].Channel != 9 ||
			p.got[0].Type != TypeEchoed || string(p.got[0].Payload) != "ping" {
			t.Errorf("%v: got %+v", mode, p.got)
		}
	}
}

func TestBuild(t *testing.T) {
	w := newWorld(1)
	p, other := w.connect(0), w.connect(0)
	p.join(1)
	other.join(1)
	p.got, other.got = nil, nil
	plan := bytes.Repeat([]byte("plan"), MaxPlan/4)
	for number := range uint32(2) {
		p.node.Message(p, session.Message{
			Mode: session.ReliableOrdered, Channel: ChannelBuild, Type: TypeBuild, Payload: Build{number, plan}.AppendTo(nil),
		})
	}
	all := p.take(TypeBuilt)
	if len(all) != 2 {
		t.Fatalf("%d answers to 2 plans", len(all))
	}
	for number, payload := range all {
		m, err := ParseBuilt(payload)
		if err != nil || m.Number != uint32(number) || !bytes.Equal(m.Plan, plan) || m.Sum != crc32.ChecksumIEEE(plan) {
			t.Errorf("plan %d came back as %d with %d bytes, sum %#x, %v", number, m.Number, len(m.Plan), m.Sum, err)
		}
	}
	if len(other.got) != 0 {
		t.Errorf("somebody else got %v", other.got)
	}
}

// A client whose queue is full loses unreliable messages, and is disconnected
// over reliable ones. The others do not notice.
func TestSlowPeerIsKicked(t *testing.T) {
	w := newWorld(1)
	slow, other := w.connect(0), w.connect(0)
	slow.join(1)
	other.join(1)
	other.say(TypePosition, Position{}.AppendTo(nil))
	slow.refuse = errors.New("full")
	w.now += roundInterval
	w.nodes[0].Tick(w.now)
	if slow.closed != 0 {
		t.Fatalf("closed over an unreliable message: %v", slow.closed)
	}
	other.got = nil
	other.say(TypeChat, Chat{1, []byte("x")}.AppendTo(nil))
	if slow.closed != wire.ReasonKicked {
		t.Errorf("reason %v, want kicked", slow.closed)
	}
	if got := len(other.take(TypeChatFrom)); got != 1 {
		t.Errorf("the other got %d chats, want 1", got)
	}
}

func TestMessageAllocatesNothing(t *testing.T) {
	w := newWorld(1)
	var last *sink
	for range 8 {
		last = &sink{}
		w.nodes[0].Open(last)
		w.nodes[0].Message(last, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: encode(&message.Connect{Game: Name, Room: 1, Name: "x"})})
	}
	chat := session.Message{Mode: session.ReliableOrdered, Type: TypeChat, Payload: Chat{1, []byte("hello")}.AppendTo(nil)}
	move := session.Message{Mode: session.UnreliableSequenced, Type: TypePosition, Payload: Position{1, 2, 3}.AppendTo(nil)}
	if n := testing.AllocsPerRun(200, func() {
		w.nodes[0].Message(last, chat)
		w.nodes[0].Message(last, move)
		w.now += roundInterval
		w.nodes[0].Tick(w.now)
	}); n != 0 {
		t.Errorf("allocations per message: got %v, want 0", n)
	}
	if last.sent == 0 {
		t.Error("nothing was sent")
	}
}

// sink is a client that counts.
type sink struct {
	value any
	sent  int
}

func (s *sink) Value() any        { return s.value }
func (s *sink) SetValue(v any)    { s.value = v }
func (s *sink) Recovered() bool   { return false }
func (s *sink) ID() uint64        { return 1 }
func (s *sink) Close(wire.Reason) {}
func (s *sink) SendMessage(session.Outgoing) error {
	s.sent++
	return nil
}
