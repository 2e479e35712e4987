package bots

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/space"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	rooms "github.com/xrudp/xrudp/userspace/play"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/snapshot"
	"github.com/xrudp/xrudp/userspace/worker"
)

// What actions do in a minefield, by their item.
const (
	mineAnswer = iota // it comes back
	mineRule          // breaks a rule of the game
	minePanic
	mineEvent // panics in a subscriber
	mineHide  // makes Hidden panic over the sender
	mineTicks // as many ticks panic as there may be in a row
)

// minefield is a field in which a player can make everything panic.
type minefield struct {
	field
	room  *game.Room
	bad   map[uint32]bool // players over whom hooks panic
	ticks int             // still to panic
}

type blast struct{}

func newMinefield(schema *snapshot.Schema[walker], r *game.Room) game.Logic {
	f := &minefield{room: r, bad: map[uint32]bool{}}
	f.world = game.NewWorld(r, game.WorldOptions[walker]{
		Schema: schema, Position: func(s *walker) *game.Vec { return &s.At },
		Hidden: func(p *game.Player, _ game.ID) bool {
			if f.bad[p.ID()] {
				panic("hidden")
			}
			return false
		},
		Violated: func(p *game.Player, _ space.Violation) {
			if f.bad[p.ID()] {
				panic("violated")
			}
		},
	})
	game.Subscribe(r, func(blast) { panic("event") })
	game.On(r, func(p *game.Player, m *message.PlayerAction) error {
		switch m.Item {
		case mineRule:
			return game.Refuse(100, "not with me")
		case minePanic:
			panic("handler")
		case mineEvent:
			game.Publish(r, blast{})
		case mineHide:
			f.bad[p.ID()] = true
		case mineTicks:
			f.ticks = 9
		}
		p.Send(session.ReliableOrdered, 1, m)
		return nil
	})
	return f
}

func (f *minefield) Join(p *game.Player) error {
	if p.Name() == "join" {
		panic("join")
	}
	return f.field.Join(p)
}

func (f *minefield) Leave(p *game.Player, why game.Why) {
	f.field.Leave(p, why)
	if p.Name() == "leave" {
		panic("leave")
	}
}

func (f *minefield) Tick(game.Tick) {
	if f.ticks > 0 {
		f.ticks--
		panic("tick")
	}
}

// foe is a connection that says what it likes.
type foe struct {
	*client.Conn
	t   *testing.T
	ctx context.Context
}

func (f *foe) say(mode client.Mode, typ uint8, payload []byte) {
	f.t.Helper()
	for {
		err := f.Send(mode, 0, typ, payload)
		if err == nil {
			return
		}
		if !errors.Is(err, client.ErrWouldBlock) || f.ctx.Err() != nil {
			f.t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// hear returns the next message of a type.
func (f *foe) hear(typ uint8) []byte {
	f.t.Helper()
	for {
		m, err := f.Receive(f.ctx)
		if err != nil {
			f.t.Fatalf("waiting for %#x: %v", typ, err)
		}
		if m.Type == typ {
			return m.Payload
		}
	}
}

func (f *foe) refused() (m message.Refused) {
	f.t.Helper()
	if err := message.Parse(f.hear(message.TypeRefused), &m); err != nil {
		f.t.Fatal(err)
	}
	return m
}

func payloadOf(t testing.TB, m message.Message) []byte {
	t.Helper()
	b, err := message.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// named is a Connect with a name that need not be legal, of less than 32 bytes.
func named(t testing.TB, name string) []byte {
	b := payloadOf(t, &message.Connect{Game: "mines", Name: "#"})
	return bytes.Replace(b, []byte("\xa1#"), append([]byte{0xa0 | byte(len(name))}, name...), 1)
}

// squeezed has a payload compressed, by whatever size it announces.
func squeezed(announced uint32, block []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{message.TypePlayerAction, 1}, announced)
	return append(b, block...)
}

// Whatever a client sends to a server over UDP: it is told what was wrong, that is
// counted by its reason, and the others play on.
func TestHostileClients(t *testing.T) {
	schema := walkerSchema(t)
	var counts atomic.Pointer[metrics.Set]
	kind := game.Kind{
		Name: "mines", New: func(r *game.Room) game.Logic { return newMinefield(schema, r) }, MaxPlayers: 4,
		Limits: game.Limits{Actions: game.Rate{PerSecond: 20, Burst: 20}},
	}
	newer := game.Kind{Name: "newer", New: kind.New, Version: 7}
	inner := worker.Game(game.Options{
		Kinds: []game.Kind{kind, newer}, Panicked: func(uint32, any, []byte) {},
	})
	address := newServer(t, func(w *worker.Worker) worker.Handler {
		counts.Store(w.Metrics())
		return inner(w)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	witness, err := rooms.Dial(ctx, address, client.Options{}, rooms.Options[walker]{
		Schema: schema, Position: func(s *walker) *game.Vec { return &s.At },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = witness.Close() }()
	answers := uint32(0)
	rooms.On(witness, func(m *message.PlayerAction) error { answers = m.Number; return nil })
	// plays waits until the witness has heard from the game, and of its world.
	number := uint32(0)
	plays := func(t *testing.T) {
		t.Helper()
		number++
		if err := witness.Send(client.ReliableOrdered, 1, &message.PlayerAction{Number: number, Action: message.Interact}); err != nil {
			t.Fatal(err)
		}
		before := witness.Stats().Snapshots
		for answers != number || witness.Stats().Snapshots == before {
			for _, e := range witness.Update(witness.Now()) {
				if e.Kind == rooms.Left || e.Kind == rooms.Disconnected || e.Kind == rooms.Refused {
					t.Fatalf("the witness is %v: %+v", e.Kind, e)
				}
			}
			if ctx.Err() != nil {
				t.Fatal("the others do not play on")
			}
			time.Sleep(time.Millisecond)
		}
	}
	if err := witness.Join(rooms.Join{Game: "mines", Name: "witness"}); err != nil {
		t.Fatal(err)
	}
	plays(t)

	nan := float32(math.NaN())
	position := func(x float32, full bool, q message.Quaternion) []byte {
		b := message.PositionUpdate{Sequence: 1, Full: full, Orientation: message.Quaternion{3: 1}}.AppendTo(nil)
		binary.BigEndian.PutUint32(b[8:], math.Float32bits(x))
		if full {
			for i, c := range q {
				binary.BigEndian.PutUint32(b[24+4*i:], math.Float32bits(c))
			}
		}
		return b
	}
	action := payloadOf(t, &message.PlayerAction{Number: 5, Action: message.Move, X: 1})
	mine := func(item uint32) []byte {
		return payloadOf(t, &message.PlayerAction{Number: 5, Action: message.Move, Item: item})
	}
	infinite := bytes.Replace(action, []byte{0xca, 0x3f, 0x80, 0, 0}, []byte{0xca, 0x7f, 0x80, 0, 0}, 1)
	nested := func(depth int) []byte {
		return append([]byte{message.TypePlayerAction, 0}, bytes.Repeat([]byte{0x91}, depth)...)
	}
	connect := func(m message.Connect) []byte { return payloadOf(t, &m) }
	const outside, inside = false, true
	tests := []struct {
		name    string
		in      bool
		typ     uint8
		payload []byte
		code    message.Error
		count   metrics.Counter
	}{
		{"unknown_type", inside, 0x6f, []byte{0x6f, 0, 0x80}, message.ErrType, metrics.RefusedTypes},
		{"reserved_type", inside, 0x70, nil, message.ErrType, metrics.RefusedTypes},
		{"type_of_the_server", inside, message.TypeGameStateSync, make([]byte, 40), message.ErrType, metrics.RefusedTypes},
		{"type_of_another_message", inside, message.TypePlayerAction, []byte{0x05, 0, 0x80}, message.ErrType, metrics.RefusedTypes},
		{"no_bytes", inside, message.TypePlayerAction, nil, message.ErrLength, metrics.Rejected},
		{"position_too_short", inside, message.TypePositionUpdate, make([]byte, 19), message.ErrLength, metrics.Rejected},
		{"position_too_long", inside, message.TypePositionUpdate, make([]byte, 41), message.ErrLength, metrics.Rejected},
		{"ack_too_short", inside, message.TypeGameStateAck, []byte{message.TypeGameStateAck}, message.ErrLength, metrics.Rejected},
		{"outside", outside, message.TypePlayerAction, action, message.ErrState, metrics.RefusedState},
		{"position_outside", outside, message.TypePositionUpdate, position(1, false, message.Quaternion{}), message.ErrState, metrics.RefusedState},
		{"disconnect_outside", outside, message.TypeDisconnect, payloadOf(t, &message.Disconnect{}), message.ErrState, metrics.RefusedState},
		{"nan", inside, message.TypePositionUpdate, position(nan, false, message.Quaternion{}), message.ErrNumber, metrics.Rejected},
		{"infinite", inside, message.TypePositionUpdate, position(float32(math.Inf(-1)), true, message.Quaternion{3: 1}), message.ErrNumber, metrics.Rejected},
		{"nan_rotation", inside, message.TypePositionUpdate, position(1, true, message.Quaternion{nan}), message.ErrNumber, metrics.Rejected},
		{"infinite_action", inside, message.TypePlayerAction, infinite, message.ErrNumber, metrics.Rejected},
		{"bomb_of_4_gib", inside, message.TypePlayerAction, squeezed(math.MaxUint32, make([]byte, 600)), message.ErrTooLarge, metrics.Rejected},
		{"bomb_too_dense", inside, message.TypePlayerAction, squeezed(60000, make([]byte, 200)), message.ErrCompressed, metrics.Rejected},
		{"bomb_broken", inside, message.TypePlayerAction, squeezed(60000, bytes.Repeat([]byte{0xff}, 600)), message.ErrCompressed, metrics.Rejected},
		{"nested", inside, message.TypePlayerAction, nested(60000), message.ErrDepth, metrics.Rejected},
		{"nested_deeper", inside, message.TypePlayerAction, nested(300_000), message.ErrTooLarge, metrics.Rejected},
		{"nested_a_million_deep", inside, message.TypePlayerAction, new(message.Codec).Compress(nested(1_000_000)), message.ErrTooLarge, metrics.Rejected},
		{"many_announced", inside, message.TypePlayerAction, []byte{message.TypePlayerAction, 0, 0xdf, 0xff, 0xff, 0xff, 0xff}, message.ErrMalformed, metrics.Rejected},
		{"no_messagepack", inside, message.TypePlayerAction, []byte{message.TypePlayerAction, 0, 0xc1}, message.ErrMalformed, metrics.Rejected},
		{"rule", inside, message.TypePlayerAction, mine(mineRule), 100, metrics.RefusedByGame},
		{"panic", inside, message.TypePlayerAction, mine(minePanic), message.ErrInternal, metrics.RefusedInternal},
		{"panic_over_event", inside, message.TypePlayerAction, mine(mineEvent), message.ErrInternal, metrics.RefusedInternal},
		{"panic_on_join", outside, message.TypeConnect, connect(message.Connect{Game: "mines", Name: "join"}), message.ErrInternal, metrics.RefusedInternal},
		{"no_such_game", inside, message.TypeConnect, connect(message.Connect{Game: "chess", Name: "x"}), message.ErrRoom, metrics.RefusedJoins},
		{"other_version", outside, message.TypeConnect, connect(message.Connect{Game: "newer", Name: "x"}), message.ErrVersion, metrics.RefusedJoins},
		{"connect_too_large", outside, message.TypeConnect, append(connect(message.Connect{Game: "mines", Name: "x"}), make([]byte, 300_000)...), message.ErrTooLarge, metrics.Rejected},
		{"name_control", outside, message.TypeConnect, named(t, "a\x1b[31m"), message.ErrText, metrics.Rejected},
		{"name_line", outside, message.TypeConnect, named(t, "two\nlines"), message.ErrName, metrics.Rejected},
		{"name_utf8", outside, message.TypeConnect, named(t, "a\xff\xfe"), message.ErrText, metrics.Rejected},
		{"name_bidi", outside, message.TypeConnect, named(t, "a\u202eb"), message.ErrName, metrics.Rejected},
		{"name_invisible", outside, message.TypeConnect, named(t, "a\u200bb"), message.ErrName, metrics.Rejected},
		{"name_empty", outside, message.TypeConnect, named(t, ""), message.ErrName, metrics.Rejected},
		{"list_of_no_game", outside, message.TypeListRooms, payloadOf(t, &message.ListRooms{Game: "chess"}), message.ErrRoom, metrics.RefusedJoins},
	}
	enter := func(t *testing.T, name string, in bool) *foe {
		conn, err := client.Dial(ctx, address, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		f := &foe{conn, t, ctx}
		if in {
			f.say(client.ReliableOrdered, message.TypeConnect, connect(message.Connect{Game: "mines", Name: name}))
			f.hear(message.TypeConnected)
		}
		return f
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := enter(t, "foe", tt.in)
			before := counts.Load().Get(tt.count)
			f.say(client.ReliableOrdered, tt.typ, tt.payload)
			if m := f.refused(); m.Code != tt.code || m.Type != tt.typ {
				t.Errorf("refused %#x with %v, want %v", m.Type, m.Code, tt.code)
			}
			if got := counts.Load().Get(tt.count); got != before+1 {
				t.Errorf("%v went from %d to %d", tt.count, before, got)
			}
			plays(t)
		})
	}

	until := func(t *testing.T, c metrics.Counter, want uint64) {
		t.Helper()
		for counts.Load().Get(c) < want {
			if ctx.Err() != nil {
				t.Fatalf("%v is %d, want %d", c, counts.Load().Get(c), want)
			}
			time.Sleep(time.Millisecond)
		}
	}
	t.Run("claims", func(t *testing.T) {
		f := enter(t, "foe", inside)
		f.hear(message.TypeAssigned)
		for i, claim := range []message.PositionUpdate{
			{X: 90}, {X: 3e38}, {Full: true, Time: 1 << 30, Orientation: message.Quaternion{3: 1}},
			{Full: true, Orientation: message.Quaternion{9, 9, 9, 9}},
		} {
			before := counts.Load().Get(metrics.Violations)
			claim.Sequence = uint32(i + 1)
			f.say(client.ReliableOrdered, message.TypePositionUpdate, claim.AppendTo(nil))
			until(t, metrics.Violations, before+1)
			plays(t)
		}
	})
	t.Run("spam", func(t *testing.T) {
		f := enter(t, "foe", inside)
		before := counts.Load().Get(metrics.RefusedRate)
		for range 500 {
			f.say(client.ReliableOrdered, message.TypePlayerAction, action)
		}
		if m := f.refused(); m.Code != message.ErrRate {
			t.Errorf("refused with %v", m.Code)
		}
		// It has 20 at once and 20 a second, however long this takes.
		until(t, metrics.RefusedRate, before+1)
		plays(t)
	})
	t.Run("panics_of_hooks", func(t *testing.T) {
		f := enter(t, "leave", inside)
		before := counts.Load().Get(metrics.GamePanics)
		f.say(client.ReliableOrdered, message.TypePlayerAction, mine(mineHide))
		f.hear(message.TypePlayerAction)
		for i := range uint32(12) {
			broken := counts.Load().Get(metrics.Violations)
			f.say(client.ReliableOrdered, message.TypePositionUpdate, message.PositionUpdate{Sequence: i + 1, X: 3e38}.AppendTo(nil))
			until(t, metrics.Violations, broken+1)
		}
		until(t, metrics.GamePanics, before+13)
		plays(t)
		f.say(client.ReliableOrdered, message.TypeDisconnect, payloadOf(t, &message.Disconnect{}))
		f.say(client.ReliableOrdered, message.TypePlayerAction, action)
		if m := f.refused(); m.Code != message.ErrState {
			t.Errorf("refused with %v", m.Code)
		}
		plays(t)
	})
	t.Run("panics_of_ticks", func(t *testing.T) {
		f := enter(t, "foe", inside)
		before := counts.Load().Get(metrics.GamePanics)
		f.say(client.ReliableOrdered, message.TypePlayerAction, mine(mineTicks))
		until(t, metrics.GamePanics, before+9)
		plays(t)
	})
	t.Run("full", func(t *testing.T) {
		var codes []message.Error
		for range 4 {
			f := enter(t, "foe", outside)
			f.say(client.ReliableOrdered, message.TypeConnect, connect(message.Connect{Game: "mines", Name: "foe", Room: 1}))
			for code := message.Error(0); code == 0; {
				m, err := f.Receive(ctx)
				if err != nil {
					t.Fatal(err)
				}
				switch m.Type {
				case message.TypeConnected:
					code = 255
				case message.TypeRefused:
					var r message.Refused
					if err := message.Parse(m.Payload, &r); err != nil {
						t.Fatal(err)
					}
					code = r.Code
				default:
					continue
				}
				codes = append(codes, code)
			}
		}
		if !slices.Contains(codes, message.ErrRoom) {
			t.Errorf("a room for four takes five: %v", codes)
		}
		plays(t)
	})
	if n := counts.Load().Get(metrics.RoomsClosed); n > 1 {
		t.Errorf("%d rooms were closed", n)
	}
}
