package game

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// logic returns what runs the room with that number.
func (w *world) logic(number uint32) *relay {
	w.t.Helper()
	r := w.room(number)
	if r == nil {
		w.t.Fatalf("no room %d", number)
	}
	return r.logic.(*relay)
}

// dismissed returns the Disconnects since the last call.
func (p *peer) dismissed() (all []message.Disconnect) {
	for _, b := range p.take(message.TypeDisconnect) {
		var m message.Disconnect
		if err := message.Parse(b, &m); err != nil {
			p.world.t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func TestKick(t *testing.T) {
	each(t, relays(), func(t *testing.T, w *world) {
		w.slow = 5 * ms
		p, other := w.connect(len(w.nodes)-1), w.connect(0)
		other.join("relay", 1)
		w.settle()
		p.join("relay", 1)
		p.say(typeFail, []byte{3})
		// What follows the kick reaches nobody.
		p.say(typeSay, number(1))
		w.settle()
		want := []message.Disconnect{{Code: message.ErrDenied, Text: "out"}}
		if got := p.dismissed(); !slices.Equal(got, want) {
			t.Errorf("told %+v, want %+v", got, want)
		}
		l := w.logic(1)
		if got := len(w.room(1).Players()); got != 1 || l.left[WhyKicked] != 1 || len(other.take(typeSaid)) != 0 {
			t.Errorf("%d players, left %v", got, l.left)
		}
		p.join("relay", 1)
		w.settle()
		p.connected()
		p.say(typeSay, number(1))
		w.settle()
		if got := len(p.take(typeSaid)); got != 1 {
			t.Errorf("back in the room a player hears %d messages, want 1", got)
		}
		other.leave()
		p.node.Close(p)
		w.settle()
		if l.left[WhyLeft] != 1 || l.left[WhyGone] != 1 || l.left[WhyKicked] != 1 {
			t.Errorf("left %v", l.left)
		}
		w.idle()
	})
}

func TestCloseRoom(t *testing.T) {
	each(t, relays(), func(t *testing.T, w *world) {
		var all []*peer
		for i := range 5 {
			p := w.connect(i % len(w.nodes))
			p.join("relay", 1)
			all = append(all, p)
			w.settle()
		}
		l := w.logic(1)
		w.slow = 5 * ms
		late := w.connect(len(w.nodes) - 1)
		all[0].say(typeFail, []byte{4})
		late.join("relay", 1)
		w.settle()
		for i, p := range all {
			if got := p.dismissed(); len(got) != 1 || got[0].Code != message.ErrRoom {
				t.Errorf("peer %d was told %+v", i, got)
			}
		}
		if l.left[WhyClosed] != 5 || l.joins != 5 {
			t.Errorf("%d joined, left %v", l.joins, l.left)
		}
		// The late one is in another room of that number, or was refused.
		if codes := late.refused(); len(codes) == 0 {
			if w.logic(1) == l {
				t.Error("the room that was closed is there")
			}
			late.leave()
			w.settle()
		}
		w.idle()
	})
}

func TestPanics(t *testing.T) {
	var reports []string
	opts := relays()
	opts.Panicked = func(room uint32, value any, stack []byte) {
		if room == 0 || !strings.Contains(string(stack), "world_test.go") {
			t.Errorf("panic in room %d at %s", room, stack)
		}
		reports = append(reports, fmt.Sprint(value))
	}
	w := newWorld(t, 2, opts)
	p, other := w.connect(1), w.connect(0)
	p.join("relay", 1)
	w.settle()
	l := w.logic(1)

	l.panic = true
	other.join("relay", 1)
	w.settle()
	if got := other.refused(); !slices.Equal(got, []message.Error{message.ErrInternal}) {
		t.Errorf("refused with %v", got)
	}
	w.run(uint64(time.Second) / 60 * (maxTickPanics - 1))
	l.panic = false
	w.run(uint64(time.Second) / 60)
	l.panic = true
	w.run(uint64(time.Second) / 60 * (maxTickPanics - 1))
	if w.room(1) == nil || len(p.dismissed()) != 0 {
		t.Fatal("the room closed although a tick went well in between")
	}
	w.run(uint64(time.Second) / 10)
	if got := p.dismissed(); len(got) != 1 {
		t.Errorf("told %+v of the end of the room", got)
	}
	want := append([]string{"join"}, slices.Repeat([]string{"tick"}, 2*maxTickPanics-1)...)
	if !slices.Equal(reports, want) || w.total(metrics.GamePanics) != uint64(len(want)) {
		t.Errorf("%d panics were reported, %d counted, want %d", len(reports), w.total(metrics.GamePanics), len(want))
	}
	w.idle()
}

func TestTicks(t *testing.T) {
	opts := relays()
	opts.Kinds[0].TickRate = 60
	w := newWorld(t, 1, opts)
	p := w.connect(0)
	p.join("relay", 1)
	w.run(uint64(10 * time.Second))
	l := w.logic(1)
	if got := len(l.ticks); got < 599 || got > 601 {
		t.Errorf("%d ticks in 10 s", got)
	}
	step := uint64(time.Second) / 60
	for i, tick := range l.ticks {
		if tick.Number != uint64(i+1) || uint64(tick.Step) != step || tick.Thinning != 1 ||
			i > 0 && tick.Now != l.ticks[i-1].Now+step {
			t.Fatalf("tick %d is %+v", i+1, tick)
		}
	}

	// Some that are late are made up for, the rest is counted.
	for _, tt := range []struct{ late, made, lost uint64 }{{1, 1, 0}, {3, 3, 0}, {10, 3, 7}} {
		lost := func() uint64 { return w.total(metrics.TicksLost) + w.nodes[0].lost }
		ticks, before := len(l.ticks), lost()
		w.now = l.ticks[ticks-1].Now + tt.late*step + step/2
		w.nodes[0].Tick(w.now)
		if got := uint64(len(l.ticks) - ticks); got != tt.made || lost()-before != tt.lost {
			t.Errorf("%d late: %d ticks, %d lost, want %d and %d", tt.late, got, lost()-before, tt.made, tt.lost)
		}
		if due := w.nodes[0].NextTick(); due <= w.now || due > w.now+step {
			t.Errorf("the next tick is %d ns away", int64(due-w.now))
		}
	}
	w.run(uint64(time.Second))
	if got := w.total(metrics.TicksLost); got != 7 {
		t.Errorf("counted %d lost ticks", got)
	}
	p.leave()
	w.idle()
}

func TestLinger(t *testing.T) {
	opts := relays()
	opts.Kinds[0].Linger = 10 * time.Second
	w := newWorld(t, 2, opts)
	p := w.connect(1)
	p.join("relay", 1)
	w.settle()
	l := w.logic(1)
	p.leave()
	w.run(uint64(9 * time.Second))
	ticks := len(l.ticks)
	p.join("relay", 1)
	w.settle()
	if w.logic(1) != l || ticks > 1 {
		t.Fatalf("%d ticks without players, or a new room", ticks)
	}
	p.leave()
	w.settle()
	w.run(uint64(9 * time.Second))
	if w.room(1) == nil {
		t.Error("the room closed too early")
	}
	w.run(uint64(2 * time.Second))
	w.idle()
}

// Where nothing names a room everybody is put into the same until it is full, and
// seats are exact.
func TestAnyRoom(t *testing.T) {
	opts := relays()
	opts.Kinds[0].MaxPlayers = 10
	w := newWorld(t, 3, opts)
	w.slow = 5 * ms
	private := w.connect(0)
	private.join("relay", 1)
	rooms := map[uint32]int{}
	var all []*peer
	for i := range 45 {
		p := w.connect(i % 3)
		p.join("relay", 0)
		all = append(all, p)
	}
	w.settle()
	for _, p := range all {
		rooms[p.connected().Room]++
	}
	if len(rooms) != 5 || rooms[1] != 0 {
		t.Errorf("45 players are in rooms %v", rooms)
	}
	for _, n := range w.nodes {
		if got := len(n.rooms); got != 2 {
			t.Errorf("node %d has %d of 6 rooms", n.self, got)
		}
	}
	all[0].leave()
	w.settle()
	p := w.connect(0)
	p.join("relay", 0)
	w.settle()
	if got := len(p.refused()); got != 0 || len(w.dir.rooms) != 6 {
		t.Errorf("a seat that came free was not given: %d rooms", len(w.dir.rooms))
	}
}

// A node whose ticks take too long has its rooms thin out what they send, step by
// step, and less again once it has time.
func TestOverloadThins(t *testing.T) {
	w := newWorld(t, 1, relays())
	p := w.connect(0)
	p.join("relay", 1)
	l := w.logic(1)
	l.work = func(*Room) { w.spent[0] += 12 * ms }
	w.run(uint64(2 * time.Second))
	var levels []int
	see := func() {
		for _, tick := range l.ticks {
			if len(levels) == 0 || levels[len(levels)-1] != tick.Thinning {
				levels = append(levels, tick.Thinning)
			}
		}
	}
	see()
	if want := []int{1, 2, 4, 10}; !slices.Equal(levels, want) {
		t.Errorf("thinned to %v, want %v", levels, want)
	}
	// At a load that would be too high again.
	l.work = func(*Room) { w.spent[0] += 6 * ms }
	l.ticks = nil
	w.run(uint64(10 * time.Second))
	see()
	if got := levels[len(levels)-1]; got != 10 {
		t.Errorf("thins to %d with hardly any time left", got)
	}
	l.work = nil
	l.ticks, levels = nil, nil
	w.run(uint64(10 * time.Second))
	see()
	if want := []int{10, 4, 2, 1}; !slices.Equal(levels, want) {
		t.Errorf("thinned to %v, want %v", levels, want)
	}
	var d metrics.Distribution
	d.Collect(&w.count[0].Tick)
	if d.Max() < 12*ms {
		t.Errorf("the longest tick took %d ns", d.Max())
	}
}

// A node that is too busy gives rooms away until it is not, no more.
func TestBalance(t *testing.T) {
	w := newWorld(t, 3, relays())
	for room := range uint32(9) {
		p := w.connect(int(room) % 3)
		p.join("relay", room+1)
		w.settle()
		r := w.room(room + 1)
		if r.node != w.nodes[0] {
			r.node.move(r, 0)
			w.settle()
		}
	}
	for room := range uint32(9) {
		w.logic(room + 1).work = func(r *Room) { w.spent[r.node.self] += ms * 3 / 2 }
	}
	w.run(uint64(20 * time.Second))
	for _, n := range w.nodes {
		if got := len(n.rooms); got < 2 || got > 5 {
			t.Errorf("node %d has %d of 9 rooms", n.self, got)
		}
	}
	moved := w.total(metrics.RoomsMoved)
	w.run(uint64(20 * time.Second))
	if got := w.total(metrics.RoomsMoved); got != moved {
		t.Errorf("%d more moves among nodes that are even", got-moved)
	}
}

// One room that is too much for any node stays where it is.
func TestBalanceKeepsLoneRoom(t *testing.T) {
	w := newWorld(t, 2, relays())
	p := w.connect(0)
	p.join("relay", 1)
	w.logic(1).work = func(r *Room) { w.spent[r.node.self] += 14 * ms }
	moved := w.total(metrics.RoomsMoved)
	w.run(uint64(20 * time.Second))
	if got := w.total(metrics.RoomsMoved); got != moved {
		t.Errorf("moved %d times", got-moved)
	}
}

type scored struct{ points int }

func TestEvents(t *testing.T) {
	var heard []string
	opts := relays()
	opts.Kinds[0].New = func(r *Room) Logic {
		game := newRelay(r)
		Subscribe(r, func(e scored) {
			heard = append(heard, fmt.Sprint("a", e.points))
			if e.points == 2 {
				Publish(r, "two")
			}
		})
		Subscribe(r, func(s string) { heard = append(heard, s) })
		Subscribe(r, func(e scored) { heard = append(heard, fmt.Sprint("b", e.points)) })
		Subscribe(r, func(e *scored) { Publish(r, e) })
		r.Handle(0x30, func(_ *Player, m session.Message) error {
			Publish(r, 3.5) // nobody listens
			Publish(r, scored{int(m.Payload[0])})
			return nil
		})
		r.Handle(0x31, func(*Player, session.Message) error { Publish(r, new(scored)); return nil })
		return game
	}
	w := newWorld(t, 1, opts)
	p := w.connect(0)
	p.join("relay", 1)
	p.say(0x30, []byte{1})
	p.say(0x30, []byte{2})
	if want := []string{"a1", "b1", "a2", "two", "b2"}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
	p.got = nil
	p.say(0x31, nil)
	if got := p.refused(); !slices.Equal(got, []message.Error{message.ErrInternal}) {
		t.Errorf("events without an end: %v", got)
	}
	p.say(0x30, []byte{3})
	if got := heard[len(heard)-1]; got != "b3" {
		t.Errorf("after that heard %s", got)
	}
}

// What New registers is called in order, and typed messages arrive as they were
// sent, compressed on the way where they are large.
func TestHooksAndTypedMessages(t *testing.T) {
	var calls []string
	note := func(s string) { calls = append(calls, s) }
	text := strings.Repeat("again and ", 300)
	opts := relays()
	opts.Kinds[0].New = func(r *Room) Logic {
		r.OnJoin(func(p *Player) {
			note(fmt.Sprintf("join %s %s %d", p.Name(), p.Token(), p.Index()))
			p.SendMessage(session.Outgoing{Mode: session.ReliableOrdered, Type: 0x99, Payload: []byte("early")})
		})
		r.OnLeave(func(p *Player) { note(fmt.Sprint("leave ", p.Index())) })
		r.OnTickStart(func(Tick) { note("start") })
		r.OnTickEnd(func(Tick) { note("end") })
		On(r, func(p *Player, m *message.ReliableCommand) error {
			if string(m.Args) != "\xda\x0b\xb8"+text {
				t.Errorf("got %d bytes of arguments", len(m.Args))
			}
			r.Broadcast(session.ReliableOrdered, 2, m)
			p.Send(session.Unreliable, 2, m)
			return nil
		})
		game := newRelay(r).(*relay)
		game.work = func(*Room) { note("tick") }
		return game
	}
	w := newWorld(t, 2, opts)
	for i := range 3 {
		p := w.connect(1)
		p.say(message.TypeConnect, connect(message.Connect{Game: "relay", Room: 1, Name: "ann", Token: []byte{'t', '0' + byte(i)}}))
		w.settle()
		if len(p.got) != 2 || p.got[0].Type != message.TypeConnected || p.got[1].Type != 0x99 {
			t.Fatalf("got %+v", p.got)
		}
		if i == 1 {
			p.leave()
			w.settle()
		}
	}
	p := w.connect(0)
	p.join("relay", 1)
	w.settle()
	if want := []string{"join ann t0 0", "join ann t1 1", "leave 1", "join ann t2 1", "join bot  2"}; !slices.Equal(calls, want) {
		t.Errorf("calls %q, want %q", calls, want)
	}
	calls = nil
	w.run(uint64(time.Second) / 60)
	if want := []string{"start", "tick", "end"}; !slices.Equal(calls, want) {
		t.Errorf("calls %q, want %q", calls, want)
	}

	p.got = nil
	command := &message.ReliableCommand{Number: 3, Command: "sing", Args: append([]byte{0xda, 0x0b, 0xb8}, text...)}
	plain, err := message.Append(nil, command)
	if err != nil {
		t.Fatal(err)
	}
	var codec message.Codec
	for _, payload := range [][]byte{plain, codec.Compress(plain)} {
		p.got = nil
		p.say(message.TypeReliableCommand, payload)
		w.settle()
		if len(p.got) != 2 {
			t.Fatalf("got %d messages", len(p.got))
		}
		for _, m := range p.got {
			if small := len(m.Payload) < 200; small != m.Mode.Reliable() {
				t.Errorf("%v: %d bytes", m.Mode, len(m.Payload))
			}
			var got message.ReliableCommand
			b, err := codec.Expand(m.Payload, math.MaxInt32)
			if err == nil {
				err = message.Parse(b, &got)
			}
			if err != nil || got.Number != 3 || string(got.Args) != string(command.Args) {
				t.Errorf("got %+v, %v", got, err)
			}
		}
	}
}

// What panics in one part of the game keeps nothing from the others.
func TestPanicsOfParts(t *testing.T) {
	var calls []string
	var panics string
	note := func(s string) {
		calls = append(calls, s)
		if s == panics {
			panic(s)
		}
	}
	opts := relays()
	opts.Kinds[0].New = func(r *Room) Logic {
		r.OnJoin(func(*Player) { note("on join") })
		r.OnLeave(func(*Player) { note("on leave") })
		r.OnTickStart(func(Tick) { note("start") })
		r.OnTickEnd(func(Tick) { note("end") })
		Subscribe(r, func(event string) { note(event) })
		On(r, func(*Player, *message.PlayerAction) error {
			Publish(r, "event")
			note("handler")
			return nil
		})
		return &noting{note}
	}
	visit := []string{"join", "on join", "start", "tick", "end", "event", "handler", "on leave", "leave"}
	refused := []string{"join", "on join", "on leave", "leave"}
	tests := []struct {
		panics string
		calls  []string
		codes  []message.Error
	}{
		{"nothing", visit, nil},
		{"join", []string{"join"}, []message.Error{message.ErrInternal}},
		{"on join", refused, []message.Error{message.ErrInternal}},
		{"start", visit, nil},
		{"tick", visit, nil},
		{"end", visit, nil},
		{"event", slices.Concat(visit[:6], visit[7:]), []message.Error{message.ErrInternal}},
		{"handler", visit, []message.Error{message.ErrInternal}},
		{"on leave", visit, nil},
		{"leave", visit, nil},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.panics, " ", "_"), func(t *testing.T) {
			w := newWorld(t, 2, opts)
			p, other := w.connect(1), w.connect(0)
			panics = ""
			other.join("relay", 1)
			w.settle()
			calls, panics = nil, tt.panics
			p.join("relay", 1)
			w.settle()
			if len(w.room(1).Players()) > 1 {
				w.run(uint64(time.Second) / 60)
				p.sayMessage(&message.PlayerAction{Action: message.Move})
				w.settle()
			}
			if got := p.refused(); !slices.Equal(got, tt.codes) {
				t.Errorf("refused with %v, want %v", got, tt.codes)
			}
			p.node.Close(p)
			w.settle()
			if !slices.Equal(calls, tt.calls) {
				t.Errorf("calls %q, want %q", calls, tt.calls)
			}
			want := uint64(1)
			if tt.panics == "nothing" {
				want = 0
			}
			if got := w.total(metrics.GamePanics); got != want {
				t.Errorf("%d panics counted, want %d", got, want)
			}
			other.leave()
			w.settle()
			w.idle()
		})
	}
}

// noting notes what is called.
type noting struct{ note func(string) }

func (n *noting) Join(*Player) error { n.note("join"); return nil }
func (n *noting) Leave(*Player, Why) { n.note("leave") }
func (n *noting) Tick(Tick)          { n.note("tick") }

func TestSteadyStateAllocatesNothing(t *testing.T) {
	w := newWorld(t, 1, relays())
	opts := relays()
	var at [3]float32
	opts.Kinds[0].New = func(r *Room) Logic {
		game := &quiet{}
		r.Handle(message.TypePositionUpdate, func(p *Player, m session.Message) error {
			v, err := message.ViewPosition(m.Payload)
			if err != nil {
				return err
			}
			at[0], at[1], at[2] = v.At()
			return nil
		})
		On(r, func(p *Player, m *message.PlayerAction) error {
			r.Broadcast(session.ReliableOrdered, 1, m)
			Publish(r, scored{1})
			return nil
		})
		Subscribe(r, func(scored) {})
		return game
	}
	w.dir = NewDirectory(opts)
	n := NewNode(w.dir, host{w, 0}, 0, 1, w.count[0])
	w.nodes[0] = n
	var last *sink
	for range 8 {
		last = &sink{}
		n.Open(last)
		n.Message(last, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: connect(message.Connect{Game: "relay", Name: "x"})})
	}
	move := session.Message{Mode: session.UnreliableSequenced, Type: message.TypePositionUpdate, Payload: message.PositionUpdate{X: 1}.AppendTo(nil)}
	payload, err := message.Append(nil, &message.PlayerAction{Action: message.Attack})
	if err != nil {
		t.Fatal(err)
	}
	act := session.Message{Mode: session.ReliableOrdered, Type: message.TypePlayerAction, Payload: payload}
	for _, tt := range []struct {
		name string
		f    func()
	}{
		{"position", func() { n.Message(last, move) }},
		{"broadcast", func() { n.Message(last, act) }},
		{"tick", func() { w.now += 17 * ms; n.Tick(w.now) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := testing.AllocsPerRun(200, tt.f); got != 0 {
				t.Errorf("%v allocations", got)
			}
		})
	}
	if last.sent < 200 || at[0] != 1 || w.count[0].Get(metrics.RefusedByGame) != 0 {
		t.Errorf("%d messages were sent", last.sent)
	}
}

// Letters between nodes are made in memory that is used again.
func TestLettersAllocateNothing(t *testing.T) {
	dir := NewDirectory(relays())
	var nodes [2]*Node
	var hosts [2]*pipe
	for i := range nodes {
		hosts[i] = &pipe{self: i, now: 1e12, nodes: &nodes}
		nodes[i] = NewNode(dir, hosts[i], i, 2, new(metrics.Set))
	}
	peers := [2]*sink{{}, {}}
	for i, p := range peers {
		nodes[i].Open(p)
		nodes[i].Message(p, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: connect(message.Connect{Game: "relay", Room: 1, Name: "x"})})
	}
	say := session.Message{Mode: session.ReliableOrdered, Type: typeAsk, Payload: make([]byte, 3000)}
	if got := testing.AllocsPerRun(200, func() {
		for i, p := range peers {
			nodes[i].Message(p, say)
		}
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	if peers[0].sent < 200 || peers[1].sent < 200 {
		t.Errorf("%d and %d answers", peers[0].sent, peers[1].sent)
	}
}

// pipe hands letters over at once.
type pipe struct {
	self  int
	now   uint64
	nodes *[2]*Node
}

func (p *pipe) Now() uint64   { return p.now }
func (p *pipe) Clock() uint64 { return p.now }

func (p *pipe) Mail(to int, letter []byte, _ bool) { p.nodes[to].Mail(p.self, letter) }

// quiet does nothing.
type quiet struct{}

func (*quiet) Join(*Player) error { return nil }
func (*quiet) Leave(*Player, Why) {}
func (*quiet) Tick(Tick)          {}

// sink is a client that counts.
type sink struct {
	value any
	sent  int
}

func (s *sink) ID() uint64        { return 1 }
func (s *sink) Value() any        { return s.value }
func (s *sink) SetValue(v any)    { s.value = v }
func (s *sink) Recovered() bool   { return false }
func (s *sink) Close(wire.Reason) {}
func (s *sink) SendMessage(session.Outgoing) error {
	s.sent++
	return nil
}
