package snapshot

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// player is a state like those of games: a place in a world of 2,000 by 2,000
// units, where it heads and what it does.
type player struct {
	X, Y, Z    float32
	VX, VY, VZ float32
	Yaw        float32
	Health     uint8
	Crouching  bool
	Armed      bool
	Action     uint8
}

const tickRate = 60

func playerSchema(t testing.TB) *Schema[player] {
	t.Helper()
	ground := Range{-1000, 1000, 1.0 / 64}
	height := Range{0, 128, 1.0 / 64}
	speed := Range{-16, 16, 1.0 / 32}
	s, err := NewSchema(time.Second/tickRate,
		Axis(func(p *player) *float32 { return &p.X }, ground, func(p *player) *float32 { return &p.VX }, speed),
		Axis(func(p *player) *float32 { return &p.Y }, ground, func(p *player) *float32 { return &p.VY }, speed),
		Axis(func(p *player) *float32 { return &p.Z }, height, func(p *player) *float32 { return &p.VZ }, speed),
		Angle(func(p *player) *float32 { return &p.Yaw }, 10),
		Int(func(p *player) *uint8 { return &p.Health }, 0, 100),
		Bool(func(p *player) *bool { return &p.Crouching }),
		Bool(func(p *player) *bool { return &p.Armed }),
		Int(func(p *player) *uint8 { return &p.Action }, 0, 7),
	)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// gait is how a crowd changes direction.
type gait uint8

const (
	// strolls walk straight for half a second to three, then turn within a
	// quarter.
	strolls gait = iota
	// wanders are always turning, at a rate that drifts.
	wanders
	// jitters turn by chance at every tick.
	jitters
)

// crowd moves players about a square, from a seed.
type crowd struct {
	rng     *rand.Rand
	gait    gait
	half    float64
	walkers []walker
}

type walker struct {
	player
	x, y, heading, speed float64
	rate                 float64 // radians per second
	left                 int     // ticks to the next change
}

func newCrowd(seed uint64, n int, half float64, g gait) *crowd {
	c := &crowd{rng: rand.New(rand.NewPCG(seed, 1)), gait: g, half: half, walkers: make([]walker, n)}
	for i := range c.walkers {
		w := &c.walkers[i]
		w.x, w.y = c.rng.Float64()*2*half-half, c.rng.Float64()*2*half-half
		w.heading = c.rng.Float64() * 2 * math.Pi
		w.speed = 3 + 3*c.rng.Float64()
		w.Health = 100
	}
	return c
}

func (c *crowd) step() {
	const dt = 1.0 / tickRate
	for i := range c.walkers {
		w := &c.walkers[i]
		switch c.gait {
		case strolls:
			if w.left--; w.left <= 0 {
				if w.rate != 0 {
					w.rate, w.left = 0, 30+c.rng.IntN(150)
				} else {
					w.rate, w.left = (c.rng.Float64()*2-1)*2*math.Pi, 15
				}
			}
		case wanders:
			w.rate = 0.99*w.rate + 0.2*c.rng.NormFloat64()
		case jitters:
			w.rate = 6 * c.rng.NormFloat64()
		}
		w.heading += w.rate * dt
		if math.Abs(w.x) > c.half && w.x*math.Cos(w.heading) > 0 || math.Abs(w.y) > c.half && w.y*math.Sin(w.heading) > 0 {
			w.heading = math.Atan2(-w.y, -w.x)
		}
		vx, vy := w.speed*math.Cos(w.heading), w.speed*math.Sin(w.heading)
		w.x += vx * dt
		w.y += vy * dt
		w.X, w.Y, w.VX, w.VY = float32(w.x), float32(w.y), float32(vx), float32(vy)
		w.Yaw = float32(w.heading)
		if c.rng.IntN(300) == 0 {
			w.Health -= min(w.Health, uint8(c.rng.IntN(20)))
			w.Armed = !w.Armed
			w.Action = uint8(c.rng.IntN(8))
		}
	}
}

func (c *crowd) record(h *History[player], tick uint32) {
	h.Begin(tick)
	for i := range c.walkers {
		h.Set(ID{Slot: uint16(i)}, &c.walkers[i].player)
	}
}

// around appends the nearest of the crowd within reach of one.
func (c *crowd) around(dst []ID, of int, reach float64) []ID {
	me := &c.walkers[of]
	for i := range c.walkers {
		w := &c.walkers[i]
		if i != of && math.Hypot(w.x-me.x, w.y-me.y) < reach {
			dst = append(dst, ID{Slot: uint16(i)})
		}
	}
	return dst
}

// sizes plays four seconds of a crowd of which some are clients, 20 snapshots a
// second whose acknowledgement is there when lag more were sent, and returns
// what they take in all: as changes, and each of them whole.
func sizes(t testing.TB, g gait, lag int) (delta, full, entities int) {
	const clients, interval, seconds = 10, 3, 4
	s := playerSchema(t)
	c := newCrowd(7, 1000, 250, g)
	h := NewHistory(s, 1000)
	senders := make([]*Sender, clients)
	receivers := make([]*Receiver[player], clients)
	acks := make([][]Ack, clients)
	for i := range senders {
		senders[i] = NewSender(h, SenderOptions{})
		receivers[i] = NewReceiver(s, ReceiverOptions{})
	}
	whole := NewSender(h, SenderOptions{})
	var b []byte
	var visible []ID
	for tick := uint32(1); tick <= seconds*tickRate; tick++ {
		c.step()
		if tick%interval != 0 {
			continue
		}
		c.record(h, tick)
		for i, sender := range senders {
			if len(acks[i]) > lag {
				sender.Acknowledge(acks[i][len(acks[i])-1-lag])
			}
			visible = c.around(visible[:0], i, 50)
			b = sender.Append(b[:0], visible, nil, 1100)
			if _, err := receivers[i].Receive(b); err != nil {
				t.Fatal(err)
			}
			ack, _ := receivers[i].Ack()
			acks[i] = append(acks[i], ack)
			if tick > tickRate {
				delta += len(b)
				entities += len(visible)
				whole.Reset()
				full += len(whole.Append(nil, visible, nil, 1100))
			}
		}
	}
	return delta, full, entities
}

func TestDeltasAreSmall(t *testing.T) {
	tests := []struct {
		name string
		gait gait
		lag  int
		min  float64
	}{
		{"strolls", strolls, 0, 10},
		{"strolls_late", strolls, 1, 8},
		{"wanders", wanders, 0, 5},
		{"wanders_late", wanders, 1, 4},
		{"jitters", jitters, 0, 3.3},
		{"jitters_late", jitters, 1, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			delta, full, entities := sizes(t, tt.gait, tt.lag)
			const clientSnapshots = 10 * 20 * 3
			ratio := float64(full) / float64(delta)
			t.Logf("%.1f bytes a snapshot of %.1f entities, %.1f whole: %.1f times; %.1f bits per entity",
				float64(delta)/clientSnapshots, float64(entities)/clientSnapshots, float64(full)/clientSnapshots, ratio, float64(delta)*8/float64(entities))
			if ratio < tt.min {
				t.Errorf("whole snapshots are %.2f times as large as deltas; want %.1f", ratio, tt.min)
			}
		})
	}
}

func TestEveryEntityIsAsInTheHistory(t *testing.T) {
	s := playerSchema(t)
	c := newCrowd(3, 200, 100, wanders)
	h := NewHistory(s, 200)
	sender, receiver := NewSender(h, SenderOptions{}), NewReceiver(s, ReceiverOptions{})
	var visible []ID
	for tick := uint32(3); tick < 600; tick += 3 {
		c.step()
		c.record(h, tick)
		visible = c.around(visible[:0], 0, 50)
		b := sender.Append(nil, visible, nil, 1100)
		if _, err := receiver.Receive(b); err != nil {
			t.Fatalf("tick %d: %v", tick, err)
		}
		got := receiver.kept[len(receiver.kept)-1]
		if len(got.entries) != len(visible) {
			t.Fatalf("tick %d: %d entities, want %d", tick, len(got.entries), len(visible))
		}
		w := len(s.words)
		for i, e := range got.entries {
			if want := h.core.row(e.id, h.core.ordinal); !slices.Equal(got.rows[i*2*w:][:w], want) {
				t.Fatalf("tick %d: entity %d is %v, want %v", tick, i, got.rows[i*2*w:][:w], want)
			}
		}
		if a, ok := receiver.Ack(); ok && tick%2 == 0 {
			sender.Acknowledge(a)
		}
	}
}
