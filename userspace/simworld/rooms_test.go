package simworld_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/play"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/simworld"
	"github.com/xrudp/xrudp/userspace/snapshot"
	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	tickTime = time.Second / 60
	walking  = 8.0 // units a second
)

// walker is the state of a player.
type walker struct {
	At, Velocity game.Vec
	Facing       [4]float32
	Ghost        bool
}

func walkerSchema(t testing.TB) *snapshot.Schema[walker] {
	place := snapshot.Range{Min: -1000, Max: 1000, Resolution: 0.01}
	speed := snapshot.Range{Min: -100, Max: 100, Resolution: 0.05}
	axis := func(k int) snapshot.Field[walker] {
		return snapshot.Axis(func(w *walker) *float32 { return &w.At[k] }, place,
			func(w *walker) *float32 { return &w.Velocity[k] }, speed)
	}
	s, err := snapshot.NewSchema(tickTime, axis(0), axis(1), axis(2),
		snapshot.Quat(func(w *walker) *[4]float32 { return &w.Facing }, 9),
		snapshot.Bool(func(w *walker) *bool { return &w.Ghost }))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// arena is a room of walkers. It keeps what was at every tick.
type arena struct {
	world *game.World[walker]
	truth map[uint64]map[game.ID]walker // by tick of the server's clock
	owner map[game.ID]uint32
	hits  int
}

func newArena(schema *snapshot.Schema[walker], r *game.Room) *arena {
	a := &arena{truth: map[uint64]map[game.ID]walker{}, owner: map[game.ID]uint32{}}
	a.world = game.NewWorld(r, game.WorldOptions[walker]{
		Schema:      schema,
		Position:    func(w *walker) *game.Vec { return &w.At },
		Velocity:    func(w *walker) *game.Vec { return &w.Velocity },
		Orientation: func(w *walker) *[4]float32 { return &w.Facing },
		Hidden: func(_ *game.Player, id game.ID) bool {
			return a.world.State(id).Ghost
		},
	})
	r.OnTickEnd(func(t game.Tick) {
		now := map[game.ID]walker{}
		a.world.All(func(id game.ID, w *walker) { now[id] = *w })
		a.truth[t.Now/uint64(tickTime)] = now
	})
	game.On(r, func(p *game.Player, m *message.PlayerAction) error {
		target := game.ID{Slot: uint16(m.Target >> 16), Generation: uint16(m.Target)}
		if a.world.Hit(p, target, m.Time, game.Vec{float32(m.X), float32(m.Y), float32(m.Z)},
			game.Vec{float32(m.X), float32(m.Y), float32(m.Z)}, 0.5) {
			a.hits++
		}
		return nil
	})
	return a
}

func (a *arena) Join(p *game.Player) error {
	n := len(a.owner)
	id, ok := a.world.Add(walker{
		At: game.Vec{float32(n%4) * 30, 0, float32(n/4) * 30}, Facing: [4]float32{3: 1}, Ghost: n == 5,
	})
	if !ok {
		return message.ErrRoom
	}
	a.owner[id] = p.ID()
	a.world.Assign(p, id)
	return nil
}

func (a *arena) Leave(p *game.Player, _ game.Why) {
	if id, ok := a.world.Entity(p); ok {
		a.world.Remove(id)
	}
}

func (a *arena) Tick(game.Tick) {}

// at is an entity at a time between two ticks.
func (a *arena) at(id game.ID, at time.Duration) (w walker, ok bool) {
	tick := uint64(at / tickTime)
	from, ok := a.truth[tick][id]
	if !ok {
		return w, false
	}
	to, ok := a.truth[tick+1][id]
	if !ok {
		return from, true
	}
	f := float32(float64(at%tickTime) / float64(tickTime))
	for k := range from.At {
		from.At[k] += (to.At[k] - from.At[k]) * f
	}
	return from, true
}

func apart(a, b game.Vec) float64 {
	sum := 0.0
	for k := range a {
		sum += float64(a[k]-b[k]) * float64(a[k]-b[k])
	}
	return math.Sqrt(sum)
}

// hall is a server of rooms in a simworld.
type hall struct {
	*simworld.World
	node  *game.Node
	timer *simnet.Timer
	count metrics.Set
}

func (h *hall) Now() uint64            { return h.Net.Now() }
func (h *hall) Clock() uint64          { return h.Net.Now() }
func (h *hall) Mail(int, []byte, bool) { panic("a letter to nobody") }

// ring sets the timer to the next tick.
func (h *hall) ring() {
	if at := h.node.NextTick(); at != h.timer.When() {
		h.timer.Set(at)
	}
}

// seat is a client's end of a connection and the server's.
type seat struct {
	*simworld.Peer
	hall   *hall
	skew   time.Duration // what its clock is behind
	value  any
	opened bool
	player *play.Player[walker]
	events chan client.Event

	heading  float64
	placed   bool
	happened []play.Event
	seen     []snapshot.Seen[walker]
	offs     []float64 // of what was seen from what was
}

func (s *seat) now() time.Duration { return time.Duration(s.hall.Net.Now()) - s.skew }

// The server's end.

func (s *seat) ID() uint64        { return s.Server.ID() }
func (s *seat) Value() any        { return s.value }
func (s *seat) SetValue(v any)    { s.value = v }
func (s *seat) Recovered() bool   { return false }
func (s *seat) Close(wire.Reason) { panic("the server closed a session") }
func (s *seat) SendMessage(o session.Outgoing) error {
	s.hall.SchedulePass()
	return s.Server.SendMessage(o)
}

// clientEnd is a seat as a play.Conn.
type clientEnd struct{ *seat }

func (c clientEnd) Events() <-chan client.Event { return c.events }
func (c clientEnd) Close() error                { return nil }
func (c clientEnd) SendMessage(o session.Outgoing) error {
	err := c.Client.SendMessage(o)
	c.PumpClient()
	return err
}

func newHall(t testing.TB, seed uint64, kind game.Kind) *hall {
	h := &hall{World: simworld.New(simworld.Config{Seed: seed, Slots: 1024})}
	h.node = game.NewNode(game.NewDirectory(game.Options{
		Kinds:    []game.Kind{kind},
		Panicked: func(_ uint32, v any, stack []byte) { t.Errorf("%v\n%s", v, stack) },
	}), h, 0, 1, &h.count)
	h.timer = h.Net.NewTimer(func() {
		h.node.Tick(h.Net.Now())
		h.ring()
		h.SchedulePass()
	})
	return h
}

func (h *hall) sit(schema *snapshot.Schema[walker], link simnet.Link, skew time.Duration) *seat {
	s := &seat{Peer: h.Add(link, link), hall: h, skew: skew, events: make(chan client.Event, 4)}
	s.player = play.New(clientEnd{s}, play.Options[walker]{
		Schema: schema, Position: func(w *walker) *play.Vec { return &w.At },
	})
	s.OnClient = func(m session.Message) {
		s.player.Deliver(s.now(), client.Message{Mode: m.Mode, Channel: m.Channel, Type: m.Type, Payload: m.Payload})
	}
	s.OnServer = func(m session.Message) {
		if !s.opened {
			s.opened = true
			h.node.Open(s)
		}
		h.node.Message(s, m)
		h.ring()
	}
	s.Dial(uint32(len(h.Readers)) + 7)
	return s
}

// TestPlayersSeeTheRoom has players walk about in a room behind bad networks. What
// each of them sees is what there was at the server a moment before, nothing that is
// far away, and never a ghost.
func TestPlayersSeeTheRoom(t *testing.T) {
	schema := walkerSchema(t)
	for _, tt := range []struct {
		name string
		link simnet.Link
		off  float64 // 19 of 20 places are no farther off
		most float64
	}{
		{"near", simnet.Link{Delay: 5 * time.Millisecond}, 0.15, 1.2},
		{"jitter", simnet.Link{Delay: 30 * time.Millisecond, Jitter: 10 * time.Millisecond}, 0.2, 1.5},
		{"loss", simnet.Link{Delay: 40 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.05, Duplicate: 0.01}, 0.4, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var room *arena
			h := newHall(t, 11, game.Kind{Name: "arena", New: func(r *game.Room) game.Logic {
				room = newArena(schema, r)
				return room
			}})
			var seats []*seat
			for i := range 16 {
				seats = append(seats, h.sit(schema, tt.link, time.Duration(i)*time.Minute))
			}
			h.Net.Run(h.Net.Now() + uint64(2*time.Second))
			for _, s := range seats {
				if err := s.player.Join(play.Join{Game: "arena", Name: "walker"}); err != nil {
					t.Fatal(err)
				}
			}
			frame := uint64(time.Second / 60)
			for n := range 60 * 20 {
				h.Net.Run(h.Net.Now() + frame)
				for _, s := range seats {
					s.frame(t, room, n > 120)
				}
			}
			var offs []float64
			for _, s := range seats {
				if !s.placed {
					t.Fatal("a player has no place")
				}
				offs = append(offs, s.offs...)
			}
			slices.Sort(offs)
			if len(offs) < 20_000 {
				t.Fatalf("%d entities seen", len(offs))
			}
			high, most := offs[len(offs)*19/20], offs[len(offs)-1]
			t.Logf("%d seen, median %.3f, 95th percentile %.3f, most %.3f off", len(offs), offs[len(offs)/2], high, most)
			if high > tt.off || most > tt.most {
				t.Errorf("95th percentile %.3f, most %.3f off", high, most)
			}
			t.Logf("%+v", seats[0].player.Stats())
			if v := h.count.Get(metrics.Violations); v != 0 {
				t.Errorf("%d violations by who walked", v)
			}
			// Everybody stands still, and is where it believes to be.
			for range 120 {
				h.Net.Run(h.Net.Now() + frame)
				for _, s := range seats {
					s.player.Update(s.now())
				}
			}
			for _, s := range seats {
				at, _ := s.player.At()
				id, ok := s.player.Own()
				if state := room.world.State(id); !ok || state == nil || apart(at, state.At) > 0.1 {
					t.Errorf("a player believes to be at %v, and is %+v", at, state)
				}
			}
		})
	}
}

// frame is what a client does 60 times a second.
func (s *seat) frame(t *testing.T, room *arena, check bool) {
	t.Helper()
	for _, e := range s.player.Update(s.now()) {
		switch e.Kind {
		case play.Joined, play.Assigned:
		case play.Placed:
			s.placed = true
		case play.Corrected:
			t.Errorf("corrected by %v", e.By)
		default:
			t.Errorf("%v: %+v", e.Kind, e)
		}
	}
	at, ok := s.player.At()
	if !ok {
		return
	}
	rng := s.hall.Net.Rand()
	if rng.IntN(60) == 0 {
		s.heading = rng.Float64() * 2 * math.Pi
	}
	if at[0]*at[0]+at[2]*at[2] > 100*100 {
		s.heading = math.Atan2(-float64(at[2]), -float64(at[0]))
	}
	at[0] += float32(math.Cos(s.heading) * walking / 60)
	at[2] += float32(math.Sin(s.heading) * walking / 60)
	half := s.heading / 2
	s.player.Move(at, message.Quaternion{0, float32(math.Sin(half)), 0, float32(math.Cos(half))})

	s.seen = s.player.View(s.seen[:0])
	if !check {
		return
	}
	own, _ := s.player.Own()
	when := time.Duration(s.hall.Net.Now()) - s.lag()
	viewer, _ := room.at(own, when)
	for _, e := range s.seen {
		truth, ok := room.at(e.ID, when)
		if !ok {
			t.Fatalf("sees %v, which was not there", e.ID)
		}
		if truth.Ghost && e.ID != own {
			t.Fatalf("sees the ghost %v", e.ID)
		}
		s.offs = append(s.offs, apart(e.State.At, truth.At))
		if d := apart(viewer.At, truth.At); d > 55+2*walking*0.5 {
			t.Errorf("sees %v, %.1f away", e.ID, d)
		}
	}
}

// lag is how far the client's view is behind the server.
func (s *seat) lag() time.Duration {
	now := uint32(s.hall.Net.Now() / uint64(time.Millisecond))
	return time.Duration(now-s.player.Saw()) * time.Millisecond
}

// sitting has players join an arena, and lets them settle.
func sitting(t *testing.T, seed uint64, players int, link simnet.Link) (*hall, *arena, []*seat) {
	t.Helper()
	schema := walkerSchema(t)
	var room *arena
	h := newHall(t, seed, game.Kind{Name: "arena", New: func(r *game.Room) game.Logic {
		room = newArena(schema, r)
		return room
	}})
	var seats []*seat
	for range players {
		seats = append(seats, h.sit(schema, link, time.Minute))
	}
	h.Net.Run(h.Net.Now() + uint64(2*time.Second))
	for _, s := range seats {
		if err := s.player.Join(play.Join{Game: "arena", Name: "walker"}); err != nil {
			t.Fatal(err)
		}
	}
	frames(h, seats, 120, func(s *seat) {})
	for _, s := range seats {
		if _, ok := s.player.At(); !ok {
			t.Fatal("a player has no place")
		}
	}
	return h, room, seats
}

// frames lets time pass, and calls f for every player in each frame.
func frames(h *hall, seats []*seat, n int, f func(s *seat)) {
	for range n {
		h.Net.Run(h.Net.Now() + uint64(time.Second/60))
		for _, s := range seats {
			s.happened = append(s.happened, s.player.Update(s.now())...)
			f(s)
		}
	}
}

// TestShotsHitWhatIsSeen has one player shoot at another that runs, always at what
// it sees.
func TestShotsHitWhatIsSeen(t *testing.T) {
	link := simnet.Link{Delay: 40 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.02}
	h, room, seats := sitting(t, 5, 2, link)
	shooter, target := seats[0], seats[1]
	id, _ := target.player.Own()
	shots, angle := 0, 0.0
	frames(h, seats, 600, func(s *seat) {
		at, _ := s.player.At()
		if s == target {
			angle += 0.02
			at[0] += float32(math.Cos(angle) * 20 / 60)
			at[2] += float32(math.Sin(angle) * 20 / 60)
			s.player.Move(at, message.Quaternion{})
			return
		}
		s.seen = s.player.View(s.seen[:0])
		i := slices.IndexFunc(s.seen, func(e snapshot.Seen[walker]) bool { return e.ID == id })
		if i < 0 || h.Net.Rand().IntN(10) != 0 {
			return
		}
		aim := s.seen[i].State.At
		shots++
		err := shooter.player.Send(client.ReliableOrdered, 1, &message.PlayerAction{
			Action: message.Attack, Time: s.player.Saw(), Target: uint32(id.Slot)<<16 | uint32(id.Generation),
			X: message.Float(aim[0]), Y: message.Float(aim[1]), Z: message.Float(aim[2]),
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%d shots, %d hits", shots, room.hits)
	// An action that was lost and sent again may be too old when it comes.
	if shots < 40 || room.hits < shots*9/10 {
		t.Errorf("%d shots, %d hits", shots, room.hits)
	}
}

// TestCheatsAreCorrected has a player go too far, and another be put elsewhere: both
// end up where the server has them, and go on from there.
func TestCheatsAreCorrected(t *testing.T) {
	h, room, seats := sitting(t, 6, 2, simnet.Link{Delay: 40 * time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.05})
	cheat, moved := seats[0], seats[1]
	id, _ := moved.player.Own()
	at, _ := cheat.player.At()
	at[0] += 400
	cheat.player.Move(at, message.Quaternion{})
	room.world.Teleport(id, game.Vec{-300, 0, -300})
	frames(h, seats, 240, func(s *seat) {
		at, _ := s.player.At()
		at[2] += 5.0 / 60
		s.player.Move(at, message.Quaternion{})
	})
	frames(h, seats, 60, func(*seat) {})
	for _, s := range seats {
		corrected := 0
		for _, e := range s.happened {
			if e.Kind == play.Corrected {
				corrected++
			}
		}
		own, _ := s.player.Own()
		at, _ := s.player.At()
		if state := room.world.State(own); apart(at, state.At) > 0.1 || corrected == 0 || corrected > 20 {
			t.Errorf("believes to be at %v after %d corrections, and is at %v", at, corrected, state.At)
		}
	}
	own, _ := cheat.player.Own()
	if x := room.world.State(own).At[0]; x > 100 {
		t.Errorf("the cheat got to %v", x)
	}
	if at := room.world.State(id).At; at[0] != -300 || at[2] < -295 {
		t.Errorf("who was moved is at %v", at)
	}
}
