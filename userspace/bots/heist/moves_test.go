package heist

import (
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/policethief"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Bots play whole rounds and find nothing to object to while the room moves from
// node to node, however long letters take between them and whatever is lost of what
// may be.
func TestRoundsWhileRoomMoves(t *testing.T) {
	tests := []struct {
		name    string
		nodes   int
		letters time.Duration // take that long at most
		delay   time.Duration
		loss    float64
	}{
		{"two_nodes", 2, 0, 10 * time.Millisecond, 0},
		{"slow_letters", 4, 60 * time.Millisecond, 20 * time.Millisecond, 0},
		{"moved_on_before_letters_come", 4, 700 * time.Millisecond, 10 * time.Millisecond, 0},
		{"far_and_lossy", 3, 100 * time.Millisecond, 60 * time.Millisecond, 0.1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newHaunted(t, 15, tt.nodes, policethief.Options{Rules: short(), Truth: true})
			a.delay, a.loss = tt.delay, tt.loss
			for _, n := range a.nodes {
				n.slow = uint64(tt.letters)
			}
			a.enter(12)
			for n := range 6 {
				a.run(4 * time.Second)
				// Some come and go, also in the middle of a round, or come back.
				token := a.leave(1 + a.rng.IntN(len(a.seats)-1))
				if n%2 == 0 {
					a.enter(1)
					continue
				}
				a.run(time.Duration(a.rng.Int64N(int64(time.Second))))
				a.come(token)
			}
			a.run(2 * time.Second)
			moved := a.count.Get(metrics.RoomsMoved)
			r := a.finish()
			if !r.Clean {
				t.Errorf("not clean: %+v", r)
			}
			f := &r.Game
			if f.Rounds < 2 || f.Compared == 0 || f.Viewed == 0 || r.Received == 0 {
				t.Errorf("little happened: %+v", r)
			}
			if f.Snapshots < 26*15*12/2 {
				t.Errorf("%d snapshots", f.Snapshots)
			}
			// Where letters take no time players notice nothing.
			if tt.letters == 0 && f.Corrections > 20*12 {
				t.Errorf("%d corrections", f.Corrections)
			}
			if moved < 10 {
				t.Errorf("the room moved %d times", moved)
			}
		})
	}
}

// newHaunted returns an arena whose room gets no rest: on the node that has it others
// make so much work that the node soon hands on the one that makes most, which is it.
func newHaunted(t *testing.T, seed uint64, nodes int, o policethief.Options) *arena {
	opts := game.Options{
		Budget: 100, // what is thinned out is no concern here
		Kinds:  []game.Kind{{Name: "ghost"}},
	}
	var a *arena
	opts.Kinds[0].New = func(*game.Room) game.Logic { return ghost{a} }
	a = newServer(t, seed, nodes, o, opts)
	a.labour = 5 * time.Millisecond
	for i := range 6 * nodes {
		n := a.nodes[i%nodes]
		b, err := message.Append(nil, &message.Connect{Game: "ghost", Room: 1 + uint32(i), Name: "ghost"})
		if err != nil {
			t.Fatal(err)
		}
		p := new(deaf)
		n.Open(p)
		n.Message(p, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: b})
	}
	a.run(time.Second)
	return a
}

// ghost is the logic of a room that makes work.
type ghost struct{ arena *arena }

func (ghost) Join(*game.Player) error      { return nil }
func (ghost) Leave(*game.Player, game.Why) {}
func (g ghost) Tick(game.Tick) {
	if n := g.arena.working; n == g.arena.owner {
		n.spent += uint64(4 * time.Millisecond)
	}
}

// deaf is a client that takes everything.
type deaf struct{ value any }

func (*deaf) ID() uint64                         { return 2 }
func (*deaf) Recovered() bool                    { return false }
func (*deaf) Close(wire.Reason)                  {}
func (d *deaf) Value() any                       { return d.value }
func (d *deaf) SetValue(v any)                   { d.value = v }
func (*deaf) SendMessage(session.Outgoing) error { return nil }
