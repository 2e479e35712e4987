package game

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/game/space"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// body is the state of an entity in tests.
type body struct {
	At, Velocity Vec
	Facing       [4]float32
	Ghost        bool
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func bodySchema(t testing.TB) *snapshot.Schema[body] {
	place := snapshot.Range{Min: -2000, Max: 2000, Resolution: 0.01}
	speed := snapshot.Range{Min: -100, Max: 100, Resolution: 0.1}
	axis := func(k int) snapshot.Field[body] {
		return snapshot.Axis(func(b *body) *float32 { return &b.At[k] }, place,
			func(b *body) *float32 { return &b.Velocity[k] }, speed)
	}
	s, err := snapshot.NewSchema(time.Second/60, axis(0), axis(1), axis(2),
		snapshot.Quat(func(b *body) *[4]float32 { return &b.Facing }, 9),
		snapshot.Bool(func(b *body) *bool { return &b.Ghost }))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newBodies(t testing.TB, r *Room, o WorldOptions[body]) *World[body] {
	o.Schema = bodySchema(t)
	o.Position = func(b *body) *Vec { return &b.At }
	o.Velocity = func(b *body) *Vec { return &b.Velocity }
	o.Orientation = func(b *body) *[4]float32 { return &b.Facing }
	return NewWorld(r, o)
}

// plain is a room of bodies, in which each player has one. It keeps what was at
// every tick.
type plain struct {
	room  *Room
	world *World[body]
	truth map[uint32]map[ID]body
	deny  error
	added ID
	rules []space.Violation
	panic bool // over violations
}

func newPlain(t testing.TB, o WorldOptions[body]) (opts Options, last func() *plain) {
	var l *plain
	return Options{Connects: Unlimited, KeepRooms: true, Kinds: []Kind{{
		Name: "plain",
		New: func(r *Room) Logic {
			l = &plain{room: r, truth: map[uint32]map[ID]body{}}
			o.Violated = func(_ *Player, rule space.Violation) {
				if l.rules = append(l.rules, rule); l.panic {
					panic("violated")
				}
			}
			if o.Hidden == nil {
				o.Hidden = func(_ *Player, id ID) bool { return l.world.State(id).Ghost }
			}
			l.world = newBodies(t, r, o)
			r.OnTickEnd(l.note)
			return l
		},
		Limits: Limits{Positions: Unlimited, Actions: Unlimited, Large: Unlimited, Other: Unlimited},
	}}}, func() *plain { return l }
}

func (l *plain) note(t Tick) {
	now := map[ID]body{}
	l.world.All(func(id ID, b *body) { now[id] = *b })
	l.truth[uint32(t.Now/l.room.interval)] = now
}

func (l *plain) Join(p *Player) error {
	id, ok := l.world.Add(body{Facing: [4]float32{3: 1}})
	if !ok {
		return message.ErrRoom
	}
	l.world.Assign(p, id)
	l.added = id
	return l.deny
}

func (l *plain) Leave(p *Player, _ Why) {
	if id, ok := l.world.Entity(p); ok {
		l.world.Remove(id)
	}
}

func (l *plain) Tick(Tick) {}

// viewerPeer is a peer with the client's half of a World, without clocks.
type viewerPeer struct {
	*peer
	schema   *snapshot.Schema[body]
	receiver *snapshot.Receiver[body]
	joined   message.Connected
	own      message.Assigned
	at       Vec
	sequence uint32
	acks     []uint32
	inputs   []uint16
	sizes    []int
	lossy    float64
	check    func(tick uint32, seen []snapshot.Seen[body])
	seen     []snapshot.Seen[body]
}

func (w *world) view(node int, schema *snapshot.Schema[body]) *viewerPeer {
	v := &viewerPeer{peer: w.connect(node), schema: schema}
	v.join("plain", 1)
	return v
}

// hear takes what came, and acknowledges snapshots.
func (v *viewerPeer) hear() {
	t := v.world.t
	t.Helper()
	got := v.got
	v.got = nil
	for _, m := range got {
		if !m.Mode.Reliable() && v.world.rng.Float64() < v.lossy {
			continue
		}
		var err error
		switch m.Type {
		case message.TypeConnected:
			err = message.Parse(m.Payload, &v.joined)
			v.receiver = snapshot.NewReceiver(v.schema, snapshot.ReceiverOptions{Delay: -1, Extrapolation: -1})
		case message.TypeAssigned:
			v.own, err = message.ParseAssigned(m.Payload)
		case message.TypePositionAck:
			var sequence uint32
			sequence, err = message.ParsePositionAck(m.Payload)
			v.acks = append(v.acks, sequence)
		case message.TypeGameStateSync:
			v.snapshot(m.Payload)
		case message.TypeRefused:
		default:
			t.Fatalf("got type %#x", m.Type)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (v *viewerPeer) snapshot(payload []byte) {
	t := v.world.t
	t.Helper()
	head, b, err := message.ParseGameStateSync(payload)
	if err != nil {
		t.Fatal(err)
	}
	v.inputs = append(v.inputs, head.Input)
	v.sizes = append(v.sizes, len(payload))
	if snapshot.StreamOf(b) != message.Stream(v.joined.Player, v.joined.Room) {
		t.Fatalf("snapshot of stream %d", snapshot.StreamOf(b))
	}
	tick, err := v.receiver.Receive(b)
	if err != nil && !errors.Is(err, snapshot.ErrNoBaseline) {
		t.Fatal(err)
	}
	if err == nil && v.check != nil {
		v.seen = v.receiver.View(v.seen[:0], v.schema.Time(tick))
		v.check(tick, v.seen)
	}
	if a, ok := v.receiver.Ack(); ok && v.world.rng.Float64() >= v.lossy {
		v.sayLoose(message.TypeGameStateAck, message.AppendGameStateAck(nil, a))
	}
}

func (v *viewerPeer) sayLoose(typ uint8, payload []byte) {
	v.node.Message(v.peer, session.Message{Mode: session.UnreliableSequenced, Type: typ, Payload: payload})
}

// claim says where the player is.
func (v *viewerPeer) claim(at Vec) {
	v.sequence++
	v.at = at
	if v.world.rng.Float64() < v.lossy {
		return
	}
	v.sayLoose(message.TypePositionUpdate, message.PositionUpdate{
		Sequence: v.sequence, X: at[0], Y: at[1], Z: at[2], Full: true,
		Time: uint32(v.world.now / 1e6), Orientation: message.Quaternion{3: 1},
	}.AppendTo(nil))
}

func far(a, b Vec) float64 {
	d := vecSub(a, b)
	return math.Sqrt(float64(d[0])*float64(d[0]) + float64(d[1])*float64(d[1]) + float64(d[2])*float64(d[2]))
}

const tickTime = uint64(time.Second) / 60

// TestWorldTellsWhatIsNear has players walk, come and go while messages get lost and
// the room moves between nodes. Every snapshot of every player is what there was at
// its tick: all within the radius, nothing beyond the other one, no ghosts.
func TestWorldTellsWhatIsNear(t *testing.T) {
	for _, tt := range []struct {
		name  string
		nodes int
		lossy float64
	}{{"alone", 1, 0}, {"loss", 1, 0.3}, {"moves", 3, 0.1}} {
		t.Run(tt.name, func(t *testing.T) {
			opts, last := newPlain(t, WorldOptions[body]{})
			w := newWorld(t, tt.nodes, opts)
			w.slow = 3 * ms
			schema := bodySchema(t)
			var players []*viewerPeer
			compared, moves := 0, 0
			join := func() {
				v := w.view(len(players)%tt.nodes, schema)
				v.lossy = tt.lossy
				v.check = func(tick uint32, seen []snapshot.Seen[body]) {
					truth := last().truth[tick]
					own, ok := truth[v.own.ID]
					if !ok || v.own.None {
						return
					}
					shown := map[ID]bool{}
					for _, s := range seen {
						b, ok := truth[s.ID]
						if !ok {
							t.Fatalf("tick %d: sees %v, which is not there", tick, s.ID)
						}
						if d := far(own.At, b.At); d > 55+1e-3 {
							t.Fatalf("tick %d: sees %v, %.2f away", tick, s.ID, d)
						}
						if b.Ghost && s.ID != v.own.ID {
							t.Fatalf("tick %d: sees the ghost %v", tick, s.ID)
						}
						if d := far(s.State.At, b.At); d > 0.01 {
							t.Fatalf("tick %d: %v is %.3f off", tick, s.ID, d)
						}
						shown[s.ID] = true
						compared++
					}
					for id, b := range truth {
						if far(own.At, b.At) < 50-1e-3 && !shown[id] && (!b.Ghost || id == v.own.ID) {
							t.Fatalf("tick %d: does not see %v, %.2f away", tick, id, far(own.At, b.At))
						}
					}
				}
				players = append(players, v)
			}
			for range 20 {
				join()
			}
			w.settle()
			for n := range 1200 {
				for _, v := range players {
					v.hear()
					if v.own.None || v.receiver == nil {
						continue
					}
					at := v.at
					at[0] = min(max(at[0]+(w.rng.Float32()-0.4)*1.2, -90), 90)
					at[2] = min(max(at[2]+(w.rng.Float32()-0.5)*1.2, -90), 90)
					v.claim(at)
				}
				switch {
				case n%50 == 7:
					i := w.rng.IntN(len(players))
					players[i].leave()
					w.settle()
					players[i].got = nil
					players = slices.Delete(players, i, i+1)
					join()
				case n%11 == 3:
					// Some turn into ghosts, some back.
					last().world.All(func(_ ID, b *body) { b.Ghost = w.rng.IntN(5) == 0 })
				case n%31 == 5 && tt.nodes > 1:
					if r := last().room; r.node != nil {
						if to := w.rng.IntN(tt.nodes); to != r.node.self {
							r.node.move(r, to)
							moves++
						}
					}
				}
				w.run(tickTime)
			}
			if compared < 20_000 || tt.nodes > 1 && moves == 0 {
				t.Errorf("%d compared, %d moves", compared, moves)
			}
			for _, v := range players {
				v.leave()
			}
			w.settle()
			w.idle()
			if n := last().world.Len(); n != 0 {
				t.Errorf("%d entities are left", n)
			}
		})
	}
}

// one returns a world of one node with players at the origin.
func one(t *testing.T, players int, o WorldOptions[body]) (*world, *plain, []*viewerPeer) {
	t.Helper()
	opts, last := newPlain(t, o)
	w := newWorld(t, 1, opts)
	schema := bodySchema(t)
	var all []*viewerPeer
	for range players {
		all = append(all, w.view(0, schema))
	}
	w.run(10 * tickTime)
	for _, v := range all {
		v.hear()
	}
	return w, last(), all
}

// A hook that panics over one player or entity costs the others nothing.
func TestPanicsOfHooks(t *testing.T) {
	var own ID // of the first player
	always := false
	w, l, all := one(t, 3, WorldOptions[body]{Hidden: func(p *Player, id ID) bool {
		if always || p.ID() == 1 && own.Generation != 0 {
			panic("hidden")
		}
		return false
	}})
	own = all[0].own.ID
	seen := make([]int, len(all))
	for i, v := range all {
		v.check = func(_ uint32, s []snapshot.Seen[body]) { seen[i] = len(s) }
	}
	l.panic = true
	for tick := range 2 * maxTickPanics {
		for _, v := range all {
			v.claim(Vec{1000 + float32(tick)})
		}
		w.run(tickTime)
		for _, v := range all {
			v.hear()
		}
	}
	if want := []int{1, 3, 3}; !slices.Equal(seen, want) {
		t.Errorf("players see %v entities, want %v", seen, want)
	}
	if want := len(all) * 2 * maxTickPanics; len(l.rules) != want {
		t.Errorf("told of %d violations, want %d", len(l.rules), want)
	}
	for i, v := range all {
		if b := l.world.State(v.own.ID); b == nil || b.At == (Vec{}) {
			t.Errorf("player %d is %+v", i, b)
		}
	}

	// Who panics over everything is not asked for ever.
	for range 8 {
		l.world.Add(body{Facing: [4]float32{3: 1}, At: l.world.State(own).At})
	}
	always = true
	before := w.total(metrics.GamePanics)
	w.run(3 * tickTime)
	if n := w.total(metrics.GamePanics) - before; n != 3*maxTickPanics {
		t.Errorf("%d panics in three ticks, want %d", n, 3*maxTickPanics)
	}
	if len(l.room.Players()) != 3 {
		t.Errorf("%d players are left", len(l.room.Players()))
	}
}

func TestEntitiesAndTheirOwners(t *testing.T) {
	w, l, all := one(t, 3, WorldOptions[body]{MaxEntities: 5})
	a, b := l.room.players[0], l.room.players[1]
	idA, idB := all[0].own.ID, all[1].own.ID
	if p := l.world.Owner(idA); p != a {
		t.Errorf("owner %v", p)
	}
	if !l.world.Assign(a, idB) || l.world.Owner(idB) != a || l.world.Owner(idA) != nil {
		t.Error("a does not move b's entity")
	}
	if id, ok := l.world.Entity(b); ok {
		t.Errorf("b moves %v", id)
	}
	w.settle()
	all[0].hear()
	all[1].hear()
	if all[0].own.ID != idB || !all[1].own.None {
		t.Errorf("told %+v and %+v", all[0].own, all[1].own)
	}
	all[1].claim(Vec{5})
	all[1].say(message.TypePositionUpdate, message.PositionUpdate{Sequence: 9}.AppendTo(nil))
	w.run(tickTime)
	if codes := all[1].refused(); !slices.Equal(codes, []message.Error{message.ErrState}) {
		t.Errorf("refused with %v", codes)
	}

	for range 2 {
		if _, ok := l.world.Add(body{}); !ok {
			t.Fatal("no place")
		}
	}
	if id, ok := l.world.Add(body{}); ok {
		t.Errorf("%v is one too many", id)
	}
	l.world.Remove(idA)
	l.world.Remove(idA)
	again, ok := l.world.Add(body{At: Vec{7}})
	if !ok || again.Slot != idA.Slot || again == idA || l.world.Has(idA) || l.world.State(idA) != nil {
		t.Errorf("%v after %v", again, idA)
	}
	if l.world.Assign(b, idA) || l.world.Len() != 5 {
		t.Error("a removed entity is assigned, or counts")
	}
}

func TestGenerationsRunOver(t *testing.T) {
	_, l, _ := one(t, 1, WorldOptions[body]{MaxEntities: 2})
	for range 1<<16 + 2 {
		id, ok := l.world.Add(body{})
		if !ok || id == (ID{}) || id.Generation == 0 || !l.world.Has(id) {
			t.Fatalf("added %v, %v", id, ok)
		}
		l.world.Remove(id)
		if l.world.Has(id) || l.world.Has(ID{}) {
			t.Fatalf("%v is still there", id)
		}
	}
}

func TestEntitiesAgainstAModel(t *testing.T) {
	w, l, _ := one(t, 1, WorldOptions[body]{MaxEntities: 50})
	model := map[ID]float32{}
	var ids []ID
	l.world.All(func(id ID, b *body) { model[id] = b.At[0] })
	for n := range 2000 {
		if w.rng.IntN(2) == 0 {
			if id, ok := l.world.Add(body{At: Vec{float32(n)}}); ok {
				model[id] = float32(n)
				ids = append(ids, id)
			}
		} else if len(ids) > 0 {
			i := w.rng.IntN(len(ids))
			l.world.Remove(ids[i])
			delete(model, ids[i])
			ids = slices.Delete(ids, i, i+1)
		}
		got := map[ID]float32{}
		l.world.All(func(id ID, b *body) { got[id] = b.At[0] })
		if !maps.Equal(got, model) || l.world.Len() != len(model) {
			t.Fatalf("step %d: %v, want %v", n, got, model)
		}
	}
}

func TestSpectators(t *testing.T) {
	w, l, all := one(t, 2, WorldOptions[body]{MaxVisible: 60, MaxEntities: 60})
	var ids []ID
	for n := range 40 {
		id, _ := l.world.Add(body{At: Vec{float32(10 * n)}, Ghost: n == 1})
		ids = append(ids, id)
	}
	p := l.room.players[1]
	newest := func() (places []float32) {
		w.run(6 * tickTime)
		all[1].check = func(_ uint32, seen []snapshot.Seen[body]) { all[1].seen = seen }
		all[1].hear()
		for _, s := range all[1].seen {
			places = append(places, s.State.At[0])
		}
		slices.Sort(places)
		return places
	}
	l.world.Watch(p, Vec{300})
	if got := newest(); len(got) != 11 || got[0] != 250 || got[10] != 350 {
		t.Errorf("sees %v from 300", got)
	}
	l.world.Remove(ids[30])
	if got := newest(); len(got) != 10 {
		t.Errorf("sees %v", got)
	}
	l.world.WatchAll(p)
	// The players and the others, but for the ghost and who was removed.
	if got := newest(); len(got) != 2+38 || slices.Contains(got, 10) {
		t.Errorf("sees %v", got)
	}
	// Who loses its entity looks on from there.
	l.world.Assign(p, ids[20])
	l.world.Remove(ids[20])
	if got := newest(); len(got) != 10 || got[0] != 150 || got[9] != 250 {
		t.Errorf("sees %v after its end", got)
	}
}

func TestWatchAllOfMoreThanIsTold(t *testing.T) {
	_, l, _ := one(t, 1, WorldOptions[body]{MaxVisible: 60, MaxEntities: 61})
	defer func() {
		if recover() == nil {
			t.Error("a player watches more than it is told of")
		}
	}()
	l.world.WatchAll(l.room.players[0])
}

// In a crowd a player sees the nearest: who comes up to it appears, and who is pushed
// out is gone, but nobody comes and goes who just stands there.
func TestCrowd(t *testing.T) {
	const most = 20
	w, l, all := one(t, 1, WorldOptions[body]{MaxVisible: most, Radius: 100})
	var ids []ID
	for n := range 2 * most {
		id, _ := l.world.Add(body{At: Vec{20 + float32(n)}, Facing: [4]float32{3: 1}})
		ids = append(ids, id)
	}
	all[0].check = func(uint32, []snapshot.Seen[body]) {}
	sees := func() (seen []int) {
		for range 12 {
			w.run(tickTime)
			all[0].hear()
		}
		for _, s := range all[0].seen {
			if s.ID != all[0].own.ID {
				seen = append(seen, slices.Index(ids, s.ID))
			}
		}
		slices.Sort(seen)
		return seen
	}
	first := sees()
	if len(first) != most-1 || first[len(first)-1] != most-2 {
		t.Fatalf("sees %v", first)
	}
	// The next one outside is a little nearer now, and then much nearer.
	l.world.State(ids[most-1]).At = Vec{37.5}
	if got := sees(); !slices.Equal(got, first) {
		t.Errorf("sees %v", got)
	}
	l.world.State(ids[most-1]).At = Vec{2}
	if got := sees(); len(got) != most-1 || got[len(got)-1] != most-1 || slices.Contains(got, most-2) {
		t.Errorf("sees %v", got)
	}
	now := time.Duration(w.now)
	if !l.world.Saw(l.room.players[0], ids[most-1], now) || l.world.Saw(l.room.players[0], ids[most-2], now) {
		t.Error("is told of others than it sees")
	}
}

func TestSnapshotsAreSpreadAndThinned(t *testing.T) {
	w, l, all := one(t, 12, WorldOptions[body]{})
	count := func(ticks int) (least, most, total int) {
		least = math.MaxInt
		for range ticks {
			w.run(tickTime)
			n := 0
			for _, v := range all {
				n += len(v.take(message.TypeGameStateSync))
			}
			least, most, total = min(least, n), max(most, n), total+n
		}
		return least, most, total
	}
	if least, most, total := count(60); least != 4 || most != 4 || total != 240 {
		t.Errorf("%d to %d a tick, %d in a second", least, most, total)
	}
	l.room.node.level = 3
	l.room.node.calm = -1000
	if _, most, total := count(60); most > 2 || total != 24 {
		t.Errorf("thinned by 10: up to %d a tick, %d in a second", most, total)
	}
}

func TestBudgetHolds(t *testing.T) {
	w, l, all := one(t, 1, WorldOptions[body]{Budget: 20 * 120})
	var near ID
	for n := range 80 {
		id, _ := l.world.Add(body{At: Vec{float32(n)*0.5 + 1}, Facing: [4]float32{3: 1}})
		if n == 0 {
			near = id
		}
	}
	v := all[0]
	v.sizes = nil
	first := false
	v.check = func(_ uint32, seen []snapshot.Seen[body]) {
		if !first {
			first = true
			if !slices.ContainsFunc(seen, func(s snapshot.Seen[body]) bool { return s.ID == near }) {
				t.Error("the nearest does not come first")
			}
		}
	}
	for range 120 {
		l.world.All(func(_ ID, b *body) { b.At[2] = w.rng.Float32() })
		w.run(tickTime)
		v.hear()
	}
	if got := slices.Max(v.sizes); got > 120 {
		t.Errorf("a snapshot of %d bytes", got)
	}
	if len(v.seen) < 70 {
		t.Errorf("sees %d", len(v.seen))
	}
}

func TestRefusedAfterAssign(t *testing.T) {
	w, l, _ := one(t, 1, WorldOptions[body]{})
	l.deny = message.ErrDenied
	v := w.view(0, bodySchema(t))
	w.settle()
	if codes := v.refused(); len(codes) != 1 {
		t.Errorf("refused %v", codes)
	}
	refused := l.added
	if p := l.world.Owner(refused); p != nil {
		t.Errorf("player %d moves an entity", p.ID())
	}
	l.deny = nil
	next := w.view(0, bodySchema(t))
	w.settle()
	l.world.Remove(refused)
	w.run(6 * tickTime)
	next.hear()
	next.claim(Vec{1})
	w.run(tickTime)
	if b := l.world.State(next.own.ID); b == nil || b.At != (Vec{1}) {
		t.Errorf("the next one is %+v", b)
	}
	if next.own.None || !l.world.Has(next.own.ID) || len(next.inputs) == 0 {
		t.Errorf("the next one has %+v and %d snapshots", next.own, len(next.inputs))
	}
}

func TestWorldOptionsThatMakeNoSense(t *testing.T) {
	position := func(b *body) *Vec { return &b.At }
	slow, _ := snapshot.NewSchema(time.Second/30, snapshot.Bool(func(b *body) *bool { return &b.Ghost }))
	for _, tt := range []struct {
		name string
		opts WorldOptions[body]
	}{
		{"nothing", WorldOptions[body]{}},
		{"no_position", WorldOptions[body]{Schema: bodySchema(t)}},
		{"other_ticks", WorldOptions[body]{Schema: slow, Position: position}},
		{"too_many", WorldOptions[body]{Schema: bodySchema(t), Position: position, MaxEntities: 1<<16 + 1}},
		{"leave_before_enter", WorldOptions[body]{Schema: bodySchema(t), Position: position, Leave: 20}},
		{"sees_nothing", WorldOptions[body]{Schema: bodySchema(t), Position: position, MaxVisible: -1}},
		{"from_the_future", WorldOptions[body]{Schema: bodySchema(t), Position: position, Delay: -time.Second}},
		{"rewind_for_ever", WorldOptions[body]{Schema: bodySchema(t), Position: position, MaxRewind: time.Minute}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opts := relays()
			opts.Kinds[0].New = func(r *Room) Logic {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				NewWorld(r, tt.opts)
				return newRelay(r)
			}
			newWorld(t, 1, opts).connect(0).join("relay", 0)
		})
	}
}

// FuzzWorldMessages gives a room what a hostile client may send.
func FuzzWorldMessages(f *testing.F) {
	f.Add(message.PositionUpdate{Sequence: 1, X: 1e30}.AppendTo(nil))
	f.Add(message.PositionUpdate{Sequence: 2, Full: true, Time: 1 << 31}.AppendTo(nil))
	f.Add(message.AppendGameStateAck(nil, snapshot.Ack{Lost: true}))
	f.Add(message.AppendGameStateAck(nil, snapshot.Ack{Tick: 1 << 31}))
	opts, last := newPlain(f, WorldOptions[body]{})
	schema := bodySchema(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) == 0 {
			return
		}
		w := newWorld(t, 1, opts)
		v := w.view(0, schema)
		w.run(5 * tickTime)
		v.hear()
		v.sayLoose(payload[0], payload)
		v.say(payload[0], payload)
		w.run(5 * tickTime)
		v.hear()
		b := last().world.State(v.own.ID)
		if b == nil {
			return // it left
		}
		if far(b.At, Vec{}) > 30.01 || far(b.Velocity, Vec{}) > 100.01 {
			t.Errorf("is %+v", *b)
		}
		if n := b.Facing; math.Abs(float64(n[0]*n[0]+n[1]*n[1]+n[2]*n[2]+n[3]*n[3])-1) > 0.03 {
			t.Errorf("faces %v", n)
		}
		if p := w.total(metrics.GamePanics); p != 0 {
			t.Errorf("%d panics", p)
		}
	})
}
