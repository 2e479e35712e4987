package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// player is a client that joined a room and keeps what it hears.
type player struct {
	*peer
	id        uint32
	chats     map[uint32][]uint32 // numbers by sender
	positions map[uint32]plaza.Position
	said      uint32
}

// untilHeard runs the world until every player has heard that many messages.
func (w *world) untilHeard(all []*player, messages int) {
	w.t.Helper()
	w.until(time.Minute, "delivery", func() bool {
		return !slices.ContainsFunc(all, func(p *player) bool {
			n := 0
			for _, numbers := range p.chats {
				n += len(numbers)
			}
			return n < messages
		})
	})
}

// wantOrder checks that player i heard every message once and in order.
func (p *player) wantOrder(i int) {
	p.world.t.Helper()
	for sender, numbers := range p.chats {
		for n, got := range numbers {
			if got != uint32(n+1) {
				p.world.t.Fatalf("player %d: message %d of %d is number %d", i, n+1, sender, got)
			}
		}
	}
}

func (w *world) join(worker int, room uint32) *player {
	p := &player{peer: w.dial(worker), chats: map[uint32][]uint32{}, positions: map[uint32]plaza.Position{}}
	p.onGot = func(m session.Message) {
		switch m.Type {
		case message.TypeConnected:
			var c message.Connected
			if err := message.Parse(m.Payload, &c); err != nil {
				w.t.Error(err)
			}
			p.id = c.Player
		case plaza.TypeChatFrom:
			chat, err := plaza.ParseChatFrom(m.Payload)
			if err != nil {
				w.t.Error(err)
			}
			p.chats[chat.Sender] = append(p.chats[chat.Sender], chat.Number)
		case plaza.TypePositions:
			all, err := plaza.ParsePositions(m.Payload)
			if err != nil {
				w.t.Error(err)
			}
			for i := range all.Len() {
				placed := all.At(i)
				p.positions[placed.Player] = placed.Position
			}
		}
	}
	w.until(10*time.Second, "opening", p.open)
	if err := p.send(session.ReliableOrdered, 0, message.TypeConnect, connect(w.t, room)); err != nil {
		w.t.Fatal(err)
	}
	w.until(10*time.Second, "the answer to Connect", func() bool { return p.id != 0 })
	return p
}

// connect is the payload that asks for a room of the plaza.
func connect(t testing.TB, room uint32) []byte {
	t.Helper()
	b, err := message.Append(nil, &message.Connect{Game: plaza.Name, Name: "x", Room: room})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// One room, players on every worker, a bad path: each hears everything once and
// in order.
func TestOneRoomAcrossWorkers(t *testing.T) {
	for _, workers := range []int{1, 2, 3} {
		t.Run(fmt.Sprint("workers_", workers), func(t *testing.T) {
			const players, messages = 6, 50
			w := newWorld(t, worldConfig{seed: uint64(workers), workers: workers, link: lossy, handler: Game(plaza.Options())})
			var all []*player
			for i := range players {
				all = append(all, w.join(i%workers, 1))
			}
			var feed func()
			feed = func() {
				for i, p := range all {
					if p.said == messages {
						return
					}
					p.said++
					if err := p.send(session.ReliableOrdered, 1, plaza.TypeChat, plaza.Chat{Number: p.said, Text: []byte("x")}.AppendTo(nil)); err != nil {
						t.Fatal(err)
					}
					at := plaza.Position{X: float32(i), Y: float32(p.said) / 10}
					if err := p.send(session.UnreliableSequenced, 0, plaza.TypePosition, at.AppendTo(nil)); err != nil {
						t.Fatal(err)
					}
				}
				w.net.At(w.net.Now()+20*ms, feed)
			}
			feed()
			w.untilHeard(all, players*messages)
			w.run(3 * time.Second)
			for i, p := range all {
				if len(p.chats) != players || len(p.positions) != players {
					t.Errorf("player %d heard %d players and saw %d, want %d", i, len(p.chats), len(p.positions), players)
				}
				p.wantOrder(i)
				for other, o := range all {
					at := p.positions[o.id]
					if at.X != float32(other) || at.Y < messages/10-1 {
						t.Errorf("player %d sees player %d at %+v", i, other, at)
					}
				}
			}
		})
	}
}

// While a worker does not read its mail nothing is lost and nobody takes more
// than the mailbox holds: the others leave packets in their rings.
func TestMailboxFull(t *testing.T) {
	w := newWorld(t, worldConfig{workers: 2, handler: Game(plaza.Options()), kernel: true})
	owner, far := w.join(0, 2), w.join(1, 2)
	_ = owner
	near, stopped := w.group.workers[1], w.group.workers[0]
	total := uint32(0)
	for total < 3*mailboxSize {
		for range 30 {
			total++
			if err := far.send(session.ReliableOrdered, 1, plaza.TypeChat, plaza.Chat{Number: total, Text: []byte("x")}.AppendTo(nil)); err != nil {
				total--
				break
			}
		}
		// Only the sender's worker runs.
		end := w.net.Now() + 5*ms
		for w.net.Step(end) {
			w.passAt[0] = 1
		}
		if w.net.Now()-startTime > uint64(5*time.Minute) {
			break
		}
	}
	box := near.post[0]
	if box.full.Len() != mailboxSize || !near.pressed {
		t.Fatalf("%d letters in the mailbox, pressed %v; want it full", box.full.Len(), near.pressed)
	}
	if len(box.waiting) > ringBatch*wire.MaxMessages {
		t.Errorf("%d letters wait", len(box.waiting))
	}
	w.passAt[0] = 0
	w.passBy(0, w.net.Now())
	w.until(time.Minute, "delivery", func() bool { return len(far.chats[far.id]) == int(total) })
	for n, got := range far.chats[far.id] {
		if got != uint32(n+1) {
			t.Fatalf("message %d is number %d", n+1, got)
		}
	}
	if stopped.failure != nil || near.pressed {
		t.Errorf("failure %v, pressed %v", stopped.failure, near.pressed)
	}
}

// Where nobody moves the room is quiet: once a second everyone is told where all
// are. One that moves is heard of in the next round.
func TestQuietRoomHardlyTicks(t *testing.T) {
	w := newWorld(t, worldConfig{link: simnet.Link{Delay: time.Millisecond}, handler: Game(plaza.Options())})
	k := w.group.workers[0]
	ticks := func(d time.Duration) uint64 {
		k.publish()
		before := k.Metrics().Get(metrics.Ticks)
		w.run(d)
		k.publish()
		return k.Metrics().Get(metrics.Ticks) - before
	}
	w.opened(0)
	if got := ticks(10 * time.Second); got != 0 {
		t.Errorf("%d ticks for a client in no room", got)
	}
	a, b := w.join(0, 1), w.join(0, 1)
	move := func(x float32) {
		if err := a.send(session.UnreliableSequenced, 0, plaza.TypePosition, plaza.Position{X: x}.AppendTo(nil)); err != nil {
			t.Fatal(err)
		}
	}
	move(1)
	w.run(time.Second)
	if got := ticks(10 * time.Second); got < 9 || got > 11 {
		t.Errorf("%d ticks in 10 s for a room where nobody moves", got)
	}
	for range 5 {
		w.run(321 * time.Millisecond)
		at := b.positions[a.id].X + 1
		move(at)
		w.run(60 * time.Millisecond)
		if got := b.positions[a.id].X; got != at {
			t.Errorf("60 ms after it moved a player is seen at %v, not at %v", got, at)
		}
	}
}

// A client that makes a handler panic over and over does not fill the log.
func TestPanicsFillNoLog(t *testing.T) {
	var log bytes.Buffer
	opts := plaza.Options()
	inner := opts.Kinds[0].New
	opts.Kinds[0].New = func(r *game.Room) game.Logic {
		r.Handle(0x20, func(*game.Player, session.Message) error { panic("again") })
		return inner(r)
	}
	w := newWorld(t, worldConfig{
		link: simnet.Link{Delay: time.Millisecond}, handler: Game(opts), log: zerolog.New(&log),
	})
	p := w.join(0, 1)
	panics := func() uint64 { return w.group.workers[0].Metrics().Get(metrics.GamePanics) }
	w.run(time.Second - time.Duration(w.net.Now()%uint64(time.Second)))
	for range 3 {
		before := panics()
		for range 50 {
			if err := p.send(session.ReliableOrdered, 3, 0x20, nil); err != nil {
				t.Fatal(err)
			}
		}
		w.run(time.Second)
		if got := panics() - before; got != 50 {
			t.Fatalf("%d panics, want 50", got)
		}
	}
	// The seconds of the log are those of the wall.
	type line struct{ Panic string }
	lines := 0
	for text := range bytes.Lines(log.Bytes()) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatal(err)
		}
		if l.Panic != "again" {
			t.Errorf("logged %s", text)
		}
		lines++
	}
	if lines < panicsPerSecond || lines == 150 {
		t.Errorf("%d lines for 150 panics", lines)
	}
}

// burning is a room whose ticks take time.
type burning struct {
	game.Logic
	burn func()
}

func (b *burning) Tick(t game.Tick) {
	b.burn()
	b.Logic.Tick(t)
}

// ticking notes which worker ticks.
type ticking struct {
	*gameHandler
	worker  int
	current *int
}

func (h *ticking) Tick(now uint64) {
	*h.current = h.worker
	h.gameHandler.Tick(now)
}

// A worker that is too busy hands rooms over while they are played in, on a bad
// path: each player hears everything once and in order.
func TestRoomsMoveWhilePlayed(t *testing.T) {
	const rooms, messages = 6, 200
	var w *world
	var current int
	full := false
	opts := plaza.Options()
	inner := opts.Kinds[0].New
	opts.Kinds[0].New = func(r *game.Room) game.Logic {
		return &burning{inner(r), func() {
			// Those of the first worker, where every other room is made.
			if full && r.Number()%2 == 1 {
				w.worked[current] += 12 * ms
			}
		}}
	}
	handler := Game(opts)
	w = newWorld(t, worldConfig{seed: 3, workers: 2, link: lossy, handler: func(k *Worker) Handler {
		return &ticking{handler(k).(*gameHandler), k.Index(), &current}
	}})
	var all []*player
	for room := range uint32(rooms) {
		all = append(all, w.join(0, room+1), w.join(1, room+1))
	}
	full = true
	var feed func()
	feed = func() {
		for _, p := range all {
			if p.said == messages {
				return
			}
			p.said++
			if err := p.send(session.ReliableOrdered, 1, plaza.TypeChat, plaza.Chat{Number: p.said, Text: []byte("x")}.AppendTo(nil)); err != nil {
				t.Fatal(err)
			}
		}
		w.net.At(w.net.Now()+30*ms, feed)
	}
	feed()
	w.untilHeard(all, 2*messages)
	w.run(time.Second)
	for i, p := range all {
		if len(p.chats) != 2 {
			t.Errorf("player %d heard %d players, want 2", i, len(p.chats))
		}
		for sender, numbers := range p.chats {
			if len(numbers) != messages {
				t.Errorf("player %d heard %d messages of %d, want %d", i, len(numbers), sender, messages)
			}
		}
		p.wantOrder(i)
	}
	if got := w.group.workers[0].Metrics().Get(metrics.RoomsMoved); got == 0 {
		t.Error("no room moved")
	}
}
