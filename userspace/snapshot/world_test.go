package snapshot

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// lossy is a path of messages that get lost, repeated and overtaken.
type lossy struct {
	rng     *rand.Rand
	loss    float64
	queue   []inFlight
	maximum int // steps that a message may take
}

type inFlight struct {
	at int
	b  []byte
}

func (l *lossy) send(now int, b []byte) {
	for l.rng.Float64() >= l.loss {
		l.queue = append(l.queue, inFlight{now + l.rng.IntN(l.maximum+1), slices.Clone(b)})
		if l.rng.Float64() < 0.8 {
			return
		}
	}
}

func (l *lossy) deliver(now int, f func(b []byte)) {
	l.rng.Shuffle(len(l.queue), func(i, j int) { l.queue[i], l.queue[j] = l.queue[j], l.queue[i] })
	l.queue = slices.DeleteFunc(l.queue, func(m inFlight) bool {
		if m.at <= now {
			f(m.b)
		}
		return m.at <= now
	})
}

// model is a room that remembers everything, and one client of it. Its
// entities come and go, in slots that are soon used again.
type model struct {
	t        testing.TB
	schema   *Schema[player]
	h        *History[player]
	sender   *Sender
	receiver *Receiver[player]
	c        *crowd
	rng      *rand.Rand
	budget   int

	tick       uint32
	generation []uint16
	alive      []bool
	visible    []ID
	weights    map[ID]float32
	rows       map[uint32]map[ID][]int32 // by tick
	seen       map[uint32][]ID           // visible at a tick
}

func newModel(t testing.TB, seed uint64, n, budget int) *model {
	m := &model{
		t: t, schema: playerSchema(t), budget: budget,
		rng: rand.New(rand.NewPCG(seed, 2)), c: newCrowd(seed, n, 60, gait(seed%3)),
		generation: make([]uint16, n), alive: make([]bool, n),
		rows: map[uint32]map[ID][]int32{}, seen: map[uint32][]ID{}, weights: map[ID]float32{},
	}
	m.h = NewHistory(m.schema, n)
	m.sender = NewSender(m.h, SenderOptions{MaxEntities: n})
	m.receiver = NewReceiver(m.schema, ReceiverOptions{MaxEntities: n})
	for i := range m.alive {
		m.alive[i] = m.rng.IntN(2) == 0
	}
	m.tick = m.rng.Uint32() - 100 // wraps sometimes
	return m
}

// move lets time pass, unless the world stands still.
func (m *model) move(still bool) {
	m.tick += 1 + m.rng.Uint32N(4)
	if !still {
		m.c.step()
		for i := range m.alive {
			if m.rng.IntN(40) == 0 {
				// A slot may change hands between two snapshots.
				m.alive[i] = !m.alive[i] || m.rng.IntN(3) == 0
				m.generation[i]++
			}
			if m.rng.IntN(100) == 0 {
				w := &m.c.walkers[i]
				w.x, w.y = m.rng.Float64()*2000-1000, m.rng.Float64()*2000-1000
			}
		}
	} else {
		for i := range m.c.walkers {
			w := &m.c.walkers[i]
			w.VX, w.VY = 0, 0
		}
	}
	m.h.Begin(m.tick)
	m.visible = m.visible[:0]
	rows := map[ID][]int32{}
	me := &m.c.walkers[0]
	for i := range m.alive {
		if !m.alive[i] {
			continue
		}
		w := &m.c.walkers[i]
		id := ID{uint16(i), m.generation[i]}
		m.h.Set(id, &w.player)
		rows[id] = slices.Clone(m.h.core.row(id, m.h.core.ordinal))
		if dx, dy := w.x-me.x, w.y-me.y; dx*dx+dy*dy < 60*60 {
			m.visible = append(m.visible, id)
			m.weights[id] = float32(m.rng.IntN(3))
			m.seen[m.tick] = append(m.seen[m.tick], id)
		}
	}
	m.rng.Shuffle(len(m.visible), func(i, j int) { m.visible[i], m.visible[j] = m.visible[j], m.visible[i] })
	m.rows[m.tick] = rows
}

func (m *model) weigh(id ID) float32 { return m.weights[id] }

func (m *model) append() []byte {
	b := m.sender.Append([]byte("before"), m.visible, m.weigh, m.budget)
	if len(b)-len("before") > m.budget {
		m.t.Fatalf("tick %d: %d bytes in a budget of %d", m.tick, len(b)-len("before"), m.budget)
	}
	return b[len("before"):]
}

func (m *model) receive(b []byte) error {
	tick, err := m.receiver.Receive(b)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(m.receiver.kept, func(s *received) bool { return s.tick == tick })
	m.check(m.receiver.kept[i])
	return nil
}

// check compares a received world with what was.
func (m *model) check(s *received) {
	m.t.Helper()
	w := len(m.schema.words)
	for i, e := range s.entries {
		if !slices.Contains(m.seen[s.tick], e.id) {
			m.t.Fatalf("tick %d: %v is not visible", s.tick, e.id)
		}
		if want := m.rows[e.version][e.id]; !slices.Equal(s.rows[2*i*w:][:w], want) {
			m.t.Fatalf("tick %d: %v of tick %d is\n%v, want\n%v", s.tick, e.id, e.version, s.rows[2*i*w:][:w], want)
		}
	}
}

// complete reports whether a received world has all that was visible, as it was.
func (m *model) complete(s *received) bool {
	ids := map[ID]bool{}
	w := len(m.schema.words)
	for i, e := range s.entries {
		if !slices.Equal(s.rows[2*i*w:][:w], m.rows[s.tick][e.id]) {
			return false
		}
		ids[e.id] = true
	}
	want := map[ID]bool{}
	for _, id := range m.seen[s.tick] {
		want[id] = true
	}
	return maps.Equal(ids, want)
}

func TestWorldsAgree(t *testing.T) {
	for seed := range uint64(24) {
		for _, budget := range []int{1100, 120, 40} {
			t.Run(fmt.Sprintf("seed_%d_budget_%d", seed, budget), func(t *testing.T) {
				m := newModel(t, seed, 48, budget)
				rng := rand.New(rand.NewPCG(seed, 3))
				loss := float64(seed%4) * 0.2
				down := &lossy{rng: rng, loss: loss, maximum: int(seed % 7)}
				up := &lossy{rng: rng, loss: loss, maximum: int(seed % 5)}
				const moving, still = 400, 300
				for now := range moving + still {
					stopped := now >= moving
					if stopped {
						down.loss, up.loss = 0, 0
					}
					m.move(stopped)
					down.send(now, m.append())
					down.deliver(now, func(b []byte) {
						if err := m.receive(b); err != nil && !errors.Is(err, ErrOld) && !errors.Is(err, ErrNoBaseline) {
							t.Fatal(err)
						}
					})
					if a, ok := m.receiver.Ack(); ok {
						up.send(now, a.AppendTo(nil))
					}
					up.deliver(now, func(b []byte) {
						a, err := ParseAck(b)
						if err != nil {
							t.Fatal(err)
						}
						m.sender.Acknowledge(a)
					})
				}
				if n := len(m.receiver.kept); n == 0 || !m.complete(m.receiver.kept[n-1]) {
					t.Errorf("the client has not all of a world that stands still")
				}
			})
		}
	}
}
