package bots_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/game/tag"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/internal/monotime"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/play"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/snapshot"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/worker"
)

const (
	soakWorkers = 2
	soakPlayers = 24

	// What may be left in the heap that was not there after the warm-up: tables
	// and buffers of workers still grow towards their bounds then.
	soakBytes   = 1 << 20
	soakObjects = 400

	// A worker is taken for busy by turns, and each tick of a room there for this
	// long, so that it hands rooms over though nobody works hard.
	soakTurn = 3 * time.Second
	soakTick = 8 * time.Millisecond
)

// body is the state of an entity.
type body struct{ At play.Vec }

func bodies(t *testing.T, ticks int) *snapshot.Schema[body] {
	t.Helper()
	axis := func(k int) snapshot.Field[body] {
		return snapshot.Float(func(b *body) *float32 { return &b.At[k] }, snapshot.Range{Min: -500, Max: 500, Resolution: 0.01})
	}
	s, err := snapshot.NewSchema(time.Second/time.Duration(ticks), axis(0), axis(1), axis(2))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// chase is tag in a world: who comes close to the one that is it is the next, and
// the room closes after some.
type chase struct {
	room  *game.Room
	world *game.World[body]
	it    *game.Player
	tags  int
}

const (
	chaseTicks = 30
	chaseReach = 4
	chaseTags  = 60
)

func newChase(schema *snapshot.Schema[body], r *game.Room) game.Logic {
	return &chase{room: r, world: game.NewWorld(r, game.WorldOptions[body]{
		Schema: schema, Position: func(b *body) *play.Vec { return &b.At },
	})}
}

func (c *chase) Join(p *game.Player) error {
	id, ok := c.world.Add(body{play.Vec{float32(p.ID() % 30), 0, float32(p.ID() % 7)}})
	if !ok {
		return message.ErrRoom
	}
	c.world.Assign(p, id)
	if c.it == nil {
		c.it = p
	}
	return nil
}

func (c *chase) Leave(p *game.Player, _ game.Why) {
	if id, ok := c.world.Entity(p); ok {
		c.world.Remove(id)
	}
	if p != c.it {
		return
	}
	c.it = nil
	if rest := c.room.Players(); len(rest) > 0 {
		c.it = rest[0]
	}
}

func (c *chase) Tick(game.Tick) {
	id, _ := c.world.Entity(c.it)
	at := c.world.State(id).At
	for _, p := range c.room.Players() {
		id, _ := c.world.Entity(p)
		to := c.world.State(id).At
		x, z := to[0]-at[0], to[2]-at[2]
		if p == c.it || x*x+z*z > chaseReach*chaseReach {
			continue
		}
		c.room.Broadcast(session.ReliableOrdered, 1, &tag.Tagged{Player: p.ID(), By: c.it.ID()})
		c.it = p
		if c.tags++; c.tags == chaseTags {
			c.room.Close()
		}
		return
	}
}

// soakHandler is the game of one worker. While it ticks the worker's clock may run
// ahead.
type soakHandler struct {
	game interface {
		worker.Handler
		worker.MailHandler
		worker.PacedHandler
	}
	clock *soakClock
}

func (h *soakHandler) Open(s *worker.Session)                       { h.game.Open(s) }
func (h *soakHandler) Message(s *worker.Session, m session.Message) { h.game.Message(s, m) }
func (h *soakHandler) Close(s *worker.Session, why client.Reason)   { h.game.Close(s, why) }
func (h *soakHandler) Mail(from int, letter []byte)                 { h.game.Mail(from, letter) }
func (h *soakHandler) NextTick() uint64                             { return h.game.NextTick() }

func (h *soakHandler) Tick(now uint64) {
	h.clock.ticking = true
	h.game.Tick(now)
	h.clock.ticking, h.clock.ahead = false, 0
}

// soakClock is the clock of one worker, read by its thread.
type soakClock struct {
	worker  uint64
	ticking bool
	ahead   uint64
}

func (c *soakClock) now() uint64 {
	now := monotime.Now()
	if c.ticking && now/uint64(soakTurn)%soakWorkers == c.worker {
		c.ahead += uint64(soakTick)
	}
	return now + c.ahead
}

// soak is a server and what is to be seen of it.
type soak struct {
	t        *testing.T
	group    *worker.Group
	address  string
	handlers [soakWorkers]*soakHandler
	schemas  map[string]*snapshot.Schema[body]
	fresh    map[string]int // tables before anybody came

	joins, rejoins, leaves, closes, vanished  atomic.Uint64
	lists, large, placed, seen, refused, lost atomic.Uint64
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	s := &soak{t: t, schemas: map[string]*snapshot.Schema[body]{
		"chase": bodies(t, chaseTicks), plaza.Name: bodies(t, 20), tag.Kind.Name: bodies(t, 10),
	}}
	opts := plaza.Options()
	opts.Kinds = append(opts.Kinds, tag.Kind, game.Kind{
		Name: "chase", TickRate: chaseTicks, MaxPlayers: 6, Linger: 100 * time.Millisecond,
		New: func(r *game.Room) game.Logic { return newChase(s.schemas["chase"], r) },
	})
	opts.Connects = game.Rate{PerSecond: 20, Burst: 20}
	opts.Panicked = func(room uint32, value any, stack []byte) { t.Errorf("room %d: %v\n%s", room, value, stack) }
	handler := worker.Game(opts)

	regions, err := commit.NewMemory(commit.Geometry{
		Workers: soakWorkers, CPUs: 1, Slots: 1024, MaxSessions: 128 * soakWorkers, TransferBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	sockets, err := transport.ListenUDP(transport.UDPOptions{Address: loopback, Ports: []uint16{0}, Workers: soakWorkers})
	if err != nil {
		t.Fatal(err)
	}
	s.address = sockets[0].Addrs()[0].String()
	var all []worker.Options
	for i := range soakWorkers {
		g, err := gate.New(gate.Config{Features: gate.FeatureSACK, ControlBytes: worker.Reassembly(regions.Geometry())},
			regions, gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1}, {K0: 2}}})
		if err != nil {
			t.Fatal(err)
		}
		clock := &soakClock{worker: uint64(i)}
		all = append(all, worker.Options{
			Index: i, Regions: regions, Transport: sockets[i], Gate: g, NoPin: true, Clock: clock.now, Logger: zerolog.Nop(),
			Session: session.Config{IdleTimeout: 2 * time.Second, KeepaliveInterval: 500 * time.Millisecond},
			Handler: func(w *worker.Worker) worker.Handler {
				h := &soakHandler{clock: clock}
				h.game = handler(w).(interface {
					worker.Handler
					worker.MailHandler
					worker.PacedHandler
				})
				s.handlers[i] = h
				return h
			},
		})
	}
	if s.group, err = worker.NewGroup(all); err != nil {
		t.Fatal(err)
	}
	s.group.Start()
	s.fresh, _ = s.tables()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.group.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *soak) total(c metrics.Counter) uint64 {
	var all metrics.Snapshot
	s.group.Collect(&all)
	return all.Get(c)
}

// vanishing is a socket that one day sends nothing any more.
type vanishing struct {
	net.Conn
	gone atomic.Bool
}

func (v *vanishing) Write(b []byte) (int, error) {
	if v.gone.Load() {
		return len(b), nil
	}
	return v.Conn.Write(b)
}

// walker is somebody who comes and goes, always with the same name and, unless
// somebody else has it, from the same port.
type walker struct {
	*soak
	rng   *rand.Rand
	name  string
	game  string
	local *net.UDPAddr
	stays int
}

// link is the connection of a play.Player that does not exist yet.
type link struct{ *client.Conn }

// live connects and plays for a while, again and again until the time is over.
func (w *walker) live(end <-chan struct{}) {
	for {
		select {
		case <-end:
			return
		default:
			if err := w.stay(end); err != nil {
				w.lost.Add(1)
				w.local = nil
			}
		}
	}
}

// stay is one connection.
func (w *walker) stay(end <-chan struct{}) error {
	var socket *vanishing
	line := new(link)
	p := play.New(line, play.Options[body]{
		Schema: w.schemas[w.game], Position: func(b *body) *play.Vec { return &b.At },
	})
	w.handle(p)
	vanish := w.rng.IntN(4) == 0
	patience := 10 * time.Second
	if vanish {
		patience = time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var err error
	line.Conn, err = client.Dial(ctx, w.address, client.Options{
		CloseTimeout: patience,
		Handler:      func(_ *client.Conn, m client.Message) { p.Deliver(p.Now(), m) },
		DialUDP: func(ctx context.Context, address string) (net.Conn, error) {
			d := net.Dialer{}
			if w.local != nil {
				d.LocalAddr = w.local
			}
			conn, err := d.DialContext(ctx, "udp", address)
			if err != nil {
				return nil, err
			}
			w.local = conn.LocalAddr().(*net.UDPAddr)
			socket = &vanishing{Conn: conn}
			return socket, nil
		},
	})
	if err != nil {
		return err
	}
	if w.stays++; w.stays > 1 {
		w.rejoins.Add(1)
	}
	w.play(p, line.Conn, end)
	if vanish {
		socket.gone.Store(true)
		w.vanished.Add(1)
		_ = line.Close()
		return nil
	}
	w.closes.Add(1)
	return p.Close()
}

// handle hears what rooms say.
func (w *walker) handle(p *play.Player[body]) {
	play.On(p, func(m *message.Rooms) error {
		w.lists.Add(1)
		return nil
	})
	ignore := []uint8{tag.TypeTagged, tag.TypeLost}
	if w.game == plaza.Name {
		ignore = []uint8{plaza.TypeJoined, plaza.TypeLeft, plaza.TypePositions, plaza.TypeChatFrom}
		p.Handle(plaza.TypeBuilt, func(client.Message) error {
			w.large.Add(1)
			return nil
		})
	}
	for _, typ := range ignore {
		p.Handle(typ, func(client.Message) error { return nil })
	}
}

// play does this and that in one room after the other.
func (w *walker) play(p *play.Player[body], conn *client.Conn, end <-chan struct{}) {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	over := time.NewTimer(time.Duration(200+w.rng.IntN(3000)) * time.Millisecond)
	defer over.Stop()
	var seen []snapshot.Seen[body]
	for n := 0; ; n++ {
		for _, e := range p.Update(p.Now()) {
			switch e.Kind {
			case play.Joined:
				w.joins.Add(1)
			case play.Placed:
				w.placed.Add(1)
			case play.Refused:
				w.refused.Add(1)
				if e.Code == message.ErrInternal || e.Code == message.ErrType {
					w.t.Errorf("%s refused: %+v", w.name, e)
				}
			case play.Disconnected:
				return
			default:
			}
		}
		seen = p.View(seen[:0])
		w.seen.Add(uint64(len(seen)))
		w.act(p, conn, n)
		select {
		case <-end:
			return
		case <-over.C:
			return
		case <-ticker.C:
		}
	}
}

// act is one step. A queue that is full only means that less is said.
func (w *walker) act(p *play.Player[body], conn *client.Conn, n int) {
	switch dice := w.rng.IntN(100); {
	case n == 0 || dice < 1:
		// Rooms of their own are made and left behind.
		_ = p.Join(play.Join{Game: w.game, Name: w.name, Room: uint32(w.rng.IntN(6))})
	case dice < 2:
		w.leaves.Add(1)
		_ = p.Leave()
	case dice < 4:
		_ = p.ListRooms(w.game)
	}
	if !p.Inside() {
		return
	}
	step := func() float32 { return w.rng.Float32() - 0.5 }
	switch w.game {
	case "chase":
		if at, ok := p.At(); ok {
			p.Move(play.Vec{at[0] + step(), at[1], at[2] + step()}, message.Quaternion{})
		}
	case tag.Kind.Name:
		if w.rng.IntN(4) == 0 {
			_ = p.Send(client.ReliableOrdered, 1, &message.PlayerAction{
				Number: uint32(n), Action: message.Move, X: message.Float(step()), Z: message.Float(step()),
			})
		}
	default:
		_ = conn.Send(client.UnreliableSequenced, plaza.ChannelPosition, plaza.TypePosition,
			plaza.Position{X: step(), Y: step()}.AppendTo(nil))
		switch w.rng.IntN(20) {
		case 0:
			_ = conn.Send(client.ReliableOrdered, plaza.ChannelChat, plaza.TypeChat, plaza.Chat{Text: []byte("hello")}.AppendTo(nil))
		case 1:
			plan := make([]byte, 1+w.rng.IntN(32<<10))
			_ = conn.Send(client.ReliableOrdered, plaza.ChannelBuild, plaza.TypeBuild, plaza.Build{Plan: plan}.AppendTo(nil))
		}
	}
}

// event is something that happens in every soak, and how often it did.
type event struct {
	what  string
	count uint64
}

func (s *soak) events() []event {
	return []event{
		{"joined", s.joins.Load()}, {"came back", s.rejoins.Load()}, {"left", s.leaves.Load()},
		{"closed", s.closes.Load()}, {"vanished", s.vanished.Load()}, {"superseded", s.total(metrics.SessionsSuperseded)},
		{"lists", s.lists.Load()}, {"large messages", s.large.Load()}, {"placed", s.placed.Load()}, {"seen", s.seen.Load()},
		{"rooms opened", s.total(metrics.RoomsOpened)}, {"rooms moved", s.total(metrics.RoomsMoved)},
	}
}

// round plays with everybody for a time at least, and until everything happened and
// rooms moved.
func (s *soak) round(number uint64, length time.Duration) {
	s.t.Helper()
	end := make(chan struct{})
	var all sync.WaitGroup
	games := []string{"chase", "chase", tag.Kind.Name, plaza.Name}
	for i := range soakPlayers {
		w := &walker{
			soak: s, rng: rand.New(rand.NewPCG(number, uint64(i))),
			name: fmt.Sprintf("walker %d", i), game: games[i%len(games)],
		}
		all.Go(func() { w.live(end) })
	}
	moved := s.total(metrics.RoomsMoved)
	began := time.Now()
	time.Sleep(length)
	missing := func() bool {
		return s.total(metrics.RoomsMoved) == moved || slices.ContainsFunc(s.events(), func(e event) bool { return e.count == 0 })
	}
	for missing() && time.Since(began) < length+time.Minute {
		time.Sleep(50 * time.Millisecond)
	}
	close(end)
	all.Wait()
	if s.total(metrics.RoomsMoved) == moved {
		s.t.Error("no room moved")
	}
}

// remains is what there is when nobody plays.
type remains struct {
	tables      map[string]int // sizes of what workers, their games and the directory keep
	packets     int            // free ones in the workers' pools, not in the following
	bytes       uint64
	objects     uint64
	goroutines  int
	descriptors int
}

// remains waits until nothing is left of any session, or it is clear that something
// will be, and looks.
func (s *soak) remains() (r remains) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		r.tables, r.packets = s.tables()
		r.goroutines = runtime.NumGoroutine()
		if maps.Equal(r.tables, s.fresh) || time.Now().After(deadline) {
			break
		}
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		s.t.Fatal(err)
	}
	r.descriptors = len(open)
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.bytes = m.HeapAlloc - uint64(r.packets)*uint64(reflect.TypeFor[reliability.Packet]().Size())
	r.objects = m.HeapObjects - uint64(r.packets)
	return r
}

// tables counts what lies in every map and list of the workers, the nodes and the
// directory, those included that nobody thought of here, and free packets.
func (s *soak) tables() (all map[string]int, packets int) {
	s.t.Helper()
	all = map[string]int{}
	i := 0
	if err := s.group.Each(context.Background(), func(w *worker.Worker) {
		name := fmt.Sprint(i)
		k := reflect.ValueOf(w).Elem()
		count(all, name, k)
		all[name+".sessions"] = len(w.Sessions())
		packets += int(k.FieldByName("config").FieldByName("Pool").Elem().FieldByName("kept").Int())
		all[name+".transfer_pages"] = int(k.FieldByName("transfers").Elem().FieldByName("free").Int())
		node := reflect.ValueOf(s.handlers[i].game).Elem().FieldByName("Node").Elem()
		count(all, name+".game", node)
		// One for each kind of room that was ever asked for.
		delete(all, name+".game.lists")
		if i++; i < soakWorkers {
			return
		}
		directory := node.FieldByName("dir").Elem()
		mu := (*sync.Mutex)(directory.FieldByName("mu").Addr().UnsafePointer())
		mu.Lock()
		defer mu.Unlock()
		count(all, "directory", directory)
		nodes := directory.FieldByName("nodes")
		for i := range nodes.Len() {
			count(all, fmt.Sprint("directory.", i), nodes.Index(i))
		}
	}); err != nil {
		s.t.Fatal(err)
	}
	return all, packets
}

// count adds the sizes of the maps and lists in a struct, and counters of what
// there is.
func count(all map[string]int, name string, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := name + "." + f.Name
		switch f.Type.Kind() {
		case reflect.Map:
			all[key] = v.Field(i).Len()
		case reflect.Slice:
			if f.Type.Elem().Kind() != reflect.Uint8 {
				all[key] = v.Field(i).Len()
			}
		case reflect.Int:
			if slices.Contains([]string{"sessions", "blocked", "recovering", "seats", "rooms"}, f.Name) {
				all[key] = int(v.Field(i).Int())
			}
		default:
		}
	}
}

// leaks says what there is more of than before.
func (s *soak) leaks(before, after remains) error {
	var all []error
	for name, n := range after.tables {
		if n != s.fresh[name] {
			all = append(all, fmt.Errorf("%s: %d, was %d", name, n, s.fresh[name]))
		}
	}
	for _, c := range []struct {
		what                 string
		before, after, spare int
	}{
		{"bytes of the heap", int(before.bytes), int(after.bytes), soakBytes},
		{"objects of the heap", int(before.objects), int(after.objects), soakObjects},
		{"goroutines", before.goroutines, after.goroutines, 0},
		{"file descriptors", before.descriptors, after.descriptors, 0},
	} {
		if c.after > c.before+c.spare {
			all = append(all, fmt.Errorf("%s: %d, were %d", c.what, c.after, c.before))
		}
	}
	return errors.Join(all...)
}

// Players come, go, vanish and come back, make rooms and abandon them, and rooms
// move between workers. When all are gone the server has what it had before.
// XRUDP_SOAK says for how long.
func TestSoak(t *testing.T) {
	length := 3 * time.Second
	if text := os.Getenv("XRUDP_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	s := newSoak(t)
	s.round(1, min(length, 15*time.Second))
	before := s.remains()
	s.round(2, length)
	after := s.remains()
	if err := s.leaks(before, after); err != nil {
		t.Errorf("left behind:\n%v", err)
	}
	t.Logf("heap %d bytes in %d objects and %d packets, then %d in %d and %d",
		before.bytes, before.objects, before.packets, after.bytes, after.objects, after.packets)
	var log []string
	for _, e := range s.events() {
		log = append(log, fmt.Sprintf("%d %s", e.count, e.what))
		if e.count == 0 {
			t.Errorf("%s: never", e.what)
		}
	}
	t.Logf("%s; %d letters forwarded, %d messages refused, %d connections failed",
		strings.Join(log, ", "), s.total(metrics.LettersForwarded), s.refused.Load(), s.lost.Load())
	if opened, closed := s.total(metrics.RoomsOpened), s.total(metrics.RoomsClosed); opened != closed {
		t.Errorf("%d rooms opened, %d closed", opened, closed)
	}
}
