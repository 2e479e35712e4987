package game

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/snapshot"
	"github.com/xrudp/xrudp/userspace/wire"
)

// crowd is a room of players who walk about, on a node of its own. Each claims a
// position at every tick, and acknowledges snapshots after a while.
type crowd struct {
	now     uint64
	node    *Node
	count   metrics.Set
	world   *World[body]
	walkers []*walker
	delayed []late // acknowledgements, by time
	buf     []byte
	bytes   int
	sent    int
	rng     *rand.Rand
}

type late struct {
	tick    uint64
	walker  *walker
	payload [message.GameStateAckSize]byte
}

// walker is a peer.
type walker struct {
	crowd    *crowd
	value    any
	at       Vec
	velocity Vec
	sequence uint32
}

func (w *walker) ID() uint64        { return 1 }
func (w *walker) Value() any        { return w.value }
func (w *walker) SetValue(v any)    { w.value = v }
func (w *walker) Recovered() bool   { return false }
func (w *walker) Close(wire.Reason) {}

func (w *walker) SendMessage(o session.Outgoing) error {
	if o.Type != message.TypeGameStateSync {
		return nil
	}
	c := w.crowd
	c.bytes += len(o.Payload)
	c.sent++
	tick := uint32(c.world.tick)
	a := snapshot.Ack{Stream: snapshot.StreamOf(o.Payload[message.GameStateSyncHead:]), Tick: tick}
	l := late{tick: c.world.tick + 4, walker: w}
	message.AppendGameStateAck(l.payload[:0], a)
	c.delayed = append(c.delayed, l)
	return nil
}

func (c *crowd) Now() uint64            { return c.now }
func (c *crowd) Clock() uint64          { return c.now }
func (c *crowd) Mail(int, []byte, bool) {}

// newCrowd spreads n players so that each sees about 30 others.
func newCrowd(t testing.TB, n int) *crowd {
	c := &crowd{now: 1e12}
	side := float32(math.Sqrt(float64(n) / 30 * math.Pi * 50 * 50))
	opts := Options{Kinds: []Kind{{
		Name: "crowd", MaxPlayers: n, New: func(r *Room) Logic {
			c.world = newBodies(t, r, WorldOptions[body]{})
			return &crowdLogic{world: c.world, side: side}
		},
		Limits: Limits{Positions: Unlimited, Actions: Unlimited, Large: Unlimited, Other: Unlimited},
	}}}
	c.node = NewNode(NewDirectory(opts), c, 0, 1, &c.count)
	rng := newRand(uint64(n))
	c.rng = rng
	for i := range n {
		w := &walker{crowd: c}
		c.walkers = append(c.walkers, w)
		c.node.Open(w)
		b, err := message.Append(nil, &message.Connect{Game: "crowd", Name: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		c.node.Message(w, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: b})
		p := c.world.room.players[len(c.world.room.players)-1]
		id, _ := c.world.Entity(p)
		w.at = Vec{rng.Float32() * side, 0, rng.Float32() * side}
		c.world.State(id).At = w.at
	}
	for range 200 {
		c.claim(side)
		c.tick()
	}
	return c
}

type crowdLogic struct {
	world *World[body]
	side  float32
}

func (l *crowdLogic) Join(p *Player) error {
	id, ok := l.world.Add(body{Facing: [4]float32{3: 1}})
	if !ok {
		return message.ErrRoom
	}
	l.world.Assign(p, id)
	return nil
}

func (l *crowdLogic) Leave(*Player, Why) {}
func (l *crowdLogic) Tick(Tick)          {}

// claim has everybody say where it is, and acknowledge what it got.
func (c *crowd) claim(side float32) {
	for _, w := range c.walkers {
		if c.rng.IntN(40) == 0 {
			angle := c.rng.Float64() * 2 * math.Pi
			w.velocity = Vec{float32(5 * math.Cos(angle)), 0, float32(5 * math.Sin(angle))}
		}
		for k := range w.at {
			w.at[k] += w.velocity[k] / 60
			w.at[k] = min(max(w.at[k], 0), side)
		}
		w.sequence++
		half := math.Atan2(float64(w.velocity[2]), float64(w.velocity[0])) / 2
		c.buf = message.PositionUpdate{
			Sequence: w.sequence, X: w.at[0], Y: w.at[1], Z: w.at[2],
			Full: true, Time: uint32(c.now / 1e6), Orientation: message.Quaternion{1: float32(math.Sin(half)), 3: float32(math.Cos(half))},
		}.AppendTo(c.buf[:0])
		c.node.Message(w, session.Message{Mode: session.UnreliableSequenced, Type: message.TypePositionUpdate, Payload: c.buf})
	}
	n := 0
	for n < len(c.delayed) && c.delayed[n].tick <= c.world.tick {
		l := &c.delayed[n]
		c.node.Message(l.walker, session.Message{Mode: session.UnreliableSequenced, Type: message.TypeGameStateAck, Payload: l.payload[:]})
		n++
	}
	c.delayed = slices.Delete(c.delayed, 0, n)
}

func (c *crowd) tick() {
	c.now = c.node.NextTick()
	c.node.Tick(c.now)
}

// BenchmarkWorldTick is a tick of players who all move: positions, areas of
// interest, deltas, and messages as far as sessions. Claims come in between and do
// not count.
func BenchmarkWorldTick(b *testing.B) {
	for _, n := range []int{250, 500, 1000, 2000, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			side := float32(math.Sqrt(float64(n) / 30 * math.Pi * 50 * 50))
			c := newCrowd(b, n)
			c.bytes, c.sent = 0, 0
			var took []time.Duration
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				c.claim(side)
				b.StartTimer()
				started := time.Now()
				c.tick()
				took = append(took, time.Since(started))
			}
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(c.bytes)/float64(max(c.sent, 1)), "B/snapshot")
			seen := 0
			for _, v := range c.world.viewers {
				seen += len(v.known.IDs()) - 1
			}
			b.ReportMetric(float64(seen)/float64(n), "seen")
		})
	}
}

func TestWorldDoesNotAllocate(t *testing.T) {
	tests := []struct {
		name  string
		side  float32 // that they walk on
		ticks int
	}{
		// What is kept of a player grows with the greatest crowd that it saw.
		{"coming_and_going", 500, 1},
		{"all_see_all", 30, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCrowd(t, 100)
			walk := func(ticks int) {
				for range ticks {
					c.claim(tt.side)
					c.tick()
				}
			}
			walk(600)
			sent := c.sent
			if n := testing.AllocsPerRun(200/tt.ticks, func() { walk(tt.ticks) }); n != 0 {
				t.Errorf("%v allocations in %d ticks", n, tt.ticks)
			}
			if got := c.sent - sent; got < 200*100/3 {
				t.Errorf("%d snapshots", got)
			}
		})
	}
}
