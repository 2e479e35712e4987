package game

import (
	"cmp"
	"fmt"
	"time"

	"github.com/xrudp/xrudp/userspace/game/space"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// Channels of unreliable sequenced messages that a World uses, so that they do not
// overtake others.
const (
	ChannelSnapshot    = 127
	ChannelPositionAck = 126
)

// ID names an entity of a World. It is never the same for two that lived at the same
// time, nor soon after one another. The zero ID names none.
type ID = snapshot.ID

// Vec is a position or a direction: x, y and z.
type Vec = space.Vec

// WorldOptions say how a World of entities with states of type T works. Zero values
// mean the defaults.
type WorldOptions[T any] struct {
	// Schema is how states travel, the same as the clients'. Its interval is
	// that of the room's ticks.
	Schema *snapshot.Schema[T]

	// Position is where an entity is. The schema's axes are the same numbers.
	Position func(*T) *Vec

	// Velocity, where set, is made to be that of players who move themselves.
	Velocity func(*T) *Vec

	// Orientation, where set, is made to be what players claim.
	Orientation func(*T) *[4]float32

	// Plane is which coordinates lie on the ground. Default x and z.
	Plane space.Plane

	// MaxEntities at a time, at most 65,536, for which there is memory from the
	// start: 400 bytes for each word of the schema, and 2,000. Default twice
	// Kind.MaxPlayers.
	MaxEntities int

	// Radius is how far players see. Default 50.
	Radius float32

	// Leave is how far away an entity is no longer seen that was. Default a
	// tenth more than Radius.
	Leave float32

	// MaxVisible is how many entities a player is told of at most: in a crowd, of
	// the nearest. Default 256.
	MaxVisible int

	// Budget is bytes of snapshots per second for one player. What does not fit
	// waits, near things the least. Default 22,000.
	Budget int

	// Rules of movement.
	Rules space.Rules

	// Hidden, where set, keeps an entity from a player who is near enough. A
	// player always sees the entity that it moves.
	Hidden func(viewer *Player, id ID) bool

	// Violated, where set, hears of every claim that broke a rule, before
	// Logic.Tick. The room counts it already, see Room.Violation.
	Violated func(p *Player, rule space.Violation)

	// Delay is how far behind players see others, besides what the network
	// takes. Default 100 ms.
	Delay time.Duration

	// MaxRewind is how far Rewind goes back. Default 250 ms.
	MaxRewind time.Duration
}

// World is the entities of a room: who has which state, who sees whom, and what
// everybody is told at which tick. Players claim where they are in PositionUpdate,
// and get snapshots of what is near in GameStateSync; package play is their half.
//
// It belongs to its room, and moves with it.
type World[T any] struct {
	room *Room
	opts WorldOptions[T]

	states      []T // by slot, as everything up to free
	generations []uint16
	alive       []bool
	owners      []*viewer
	free        []uint16
	live        []uint32 // slots in use
	places      []int32  // of a slot in live

	movement *space.Movement
	grid     *space.Grid
	sets     *space.Sets
	past     *space.History
	history  *snapshot.History[T]
	ticked   bool
	tick     uint64 // of history

	viewers []*viewer // by Player.Index
	viewing *viewer   // whom admit is about
	admit   func(ID) bool
	weigh   func(ID) float32
	at      func(mover int) (Vec, bool)

	x, y, z []float32 // of live, at the end of the tick
	buf     []byte
}

// viewer is what a World has of a player.
type viewer struct {
	player *Player
	left   bool
	sender *snapshot.Sender
	sees   sight
	from   Vec
	known  space.Visible
	told   []told // known of late, a ring
	last   int    // of told, the newest

	id    ID
	owner bool // id is what it moves

	heard bool   // input counts
	input uint32 // sequence acknowledged last

	ackedAny bool
	acked    time.Duration // time of the newest snapshot that it has

	// A teleport voids claims until the player knows of it.
	held      bool
	heldUntil time.Duration

	// What velocity is measured from.
	since measure
}

// sight is what a viewer looks at.
type sight uint8

const (
	seesNothing sight = iota
	seesAround        // from, or its entity
	seesAll
)

// NewWorld makes the world of a room. It belongs into Kind.New, and registers the
// handlers of PositionUpdate and GameStateAck. It panics when the options make no
// sense.
func NewWorld[T any](r *Room, o WorldOptions[T]) *World[T] {
	o = o.withDefaults(r.kind)
	step := time.Duration(r.interval)
	w := &World[T]{
		room: r, opts: o,
		states:      make([]T, o.MaxEntities),
		generations: make([]uint16, o.MaxEntities),
		alive:       make([]bool, o.MaxEntities),
		owners:      make([]*viewer, o.MaxEntities),
		places:      make([]int32, o.MaxEntities),
		movement:    space.NewMovement(o.Rules),
		grid:        space.NewGrid(o.Leave, o.Plane),
		sets:        space.NewSets(o.MaxEntities, o.MaxVisible),
		past:        space.NewHistory(int(rewindFor/step)+1, o.MaxEntities),
		history:     snapshot.NewHistory(o.Schema, o.MaxEntities),
	}
	for slot := o.MaxEntities - 1; slot >= 0; slot-- {
		w.free = append(w.free, uint16(slot))
	}
	w.at, w.weigh = w.position, w.weight
	if o.Hidden != nil {
		w.admit = func(id ID) bool {
			v := w.viewing
			return v.owner && v.id == id || !w.hides(v.player, id)
		}
	}
	if o.Violated != nil {
		w.opts.Violated = func(p *Player, rule space.Violation) {
			_ = r.call(func() { o.Violated(p, rule) })
		}
	}
	r.Handle(message.TypePositionUpdate, w.claim)
	r.Handle(message.TypeGameStateAck, w.acknowledge)
	r.OnTickStart(w.start)
	r.OnTickEnd(w.end)
	r.OnJoin(func(p *Player) { w.viewer(p) })
	r.OnLeave(w.leave)
	return w
}

// hides asks WorldOptions.Hidden. What it panics over is hidden.
func (w *World[T]) hides(p *Player, id ID) bool {
	hidden := true
	w.room.ask(func() { hidden = w.opts.Hidden(p, id) })
	return hidden
}

func (o WorldOptions[T]) withDefaults(k *Kind) WorldOptions[T] {
	o.MaxEntities = cmp.Or(o.MaxEntities, min(2*k.MaxPlayers, 1<<16))
	o.Radius = cmp.Or(o.Radius, 50)
	o.Leave = cmp.Or(o.Leave, o.Radius*1.1)
	o.MaxVisible = cmp.Or(o.MaxVisible, 256)
	o.Budget = cmp.Or(o.Budget, 22_000)
	o.Rules = o.Rules.WithDefaults()
	o.Delay = cmp.Or(o.Delay, 100*time.Millisecond)
	o.MaxRewind = cmp.Or(o.MaxRewind, 250*time.Millisecond)
	step := time.Second / time.Duration(k.TickRate)
	switch {
	case o.Schema == nil || o.Position == nil:
		panic("game: world without a schema, or without positions")
	case o.Schema.Interval() != step:
		panic("game: world whose schema has an interval of " + o.Schema.Interval().String() + " where ticks have " + step.String())
	case o.MaxEntities < 1 || o.MaxEntities > 1<<16 || !(o.Radius > 0) || !(o.Leave >= o.Radius) ||
		o.MaxVisible < 1 || o.Budget < 1 || o.Delay < 0 || o.MaxRewind < 0 || o.MaxRewind > rewindFor:
		panic("game: world whose options make no sense")
	}
	return o
}

// Add puts an entity into the world. It reports false when there is no place left.
func (w *World[T]) Add(state T) (id ID, ok bool) {
	n := len(w.free)
	if n == 0 {
		return ID{}, false
	}
	slot := w.free[n-1]
	w.free = w.free[:n-1]
	if w.generations[slot]++; w.generations[slot] == 0 {
		w.generations[slot] = 1
	}
	w.states[slot], w.alive[slot] = state, true
	w.places[slot] = int32(len(w.live))
	w.live = append(w.live, uint32(slot))
	return ID{Slot: slot, Generation: w.generations[slot]}, true
}

// Has reports whether an entity is in the world.
func (w *World[T]) Has(id ID) bool {
	return int(id.Slot) < len(w.alive) && w.alive[id.Slot] && w.generations[id.Slot] == id.Generation
}

// State returns the state of an entity, to be read and changed, or nil when it is
// not in the world. It is valid until the entity is removed. To put a player's
// entity elsewhere use Teleport.
func (w *World[T]) State(id ID) *T {
	if !w.Has(id) {
		return nil
	}
	return &w.states[id.Slot]
}

// Remove takes an entity out of the world. A player who moved it sees from where it
// was.
func (w *World[T]) Remove(id ID) {
	if !w.Has(id) {
		return
	}
	if v := w.owners[id.Slot]; v != nil {
		w.release(v)
	}
	w.alive[id.Slot] = false
	var zero T
	w.states[id.Slot] = zero
	place, last := w.places[id.Slot], w.live[len(w.live)-1]
	w.live[place], w.places[last] = last, place
	w.live = w.live[:len(w.live)-1]
	w.free = append(w.free, id.Slot)
}

// Len is how many entities there are.
func (w *World[T]) Len() int { return len(w.live) }

// All calls f for every entity, in an order that follows from the calls of Add and
// Remove. f may change states, and neither add nor remove.
func (w *World[T]) All(f func(id ID, state *T)) {
	for _, slot := range w.live {
		f(ID{Slot: uint16(slot), Generation: w.generations[slot]}, &w.states[slot])
	}
}

// Assign gives a player an entity to move, from which it sees. Another player who
// moved it moves nothing any more. It reports false when there is no such entity.
func (w *World[T]) Assign(p *Player, id ID) bool {
	v := w.viewer(p)
	if v == nil || !w.Has(id) {
		return false
	}
	if other := w.owners[id.Slot]; other != nil {
		w.release(other)
	}
	if v.owner {
		w.owners[v.id.Slot] = nil
	}
	v.id, v.owner, v.sees = id, true, seesAround
	v.since = measure{}
	// What it claimed of another entity may still be on its way.
	v.held, v.heldUntil = v.heard, time.Duration(w.room.Now())
	w.owners[id.Slot] = v
	w.movement.Enter(p.Index(), w.room.Now())
	v.heard = false
	w.tell(v, message.Assigned{ID: id})
	return true
}

// Entity returns the entity that a player moves, or moved until it left.
func (w *World[T]) Entity(p *Player) (id ID, ok bool) {
	if v := w.known(p); v != nil && v.owner {
		return v.id, true
	}
	return ID{}, false
}

// Owner returns the player who moves an entity, or nil.
func (w *World[T]) Owner(id ID) *Player {
	if v := w.owner(id); v != nil {
		return v.player
	}
	return nil
}

func (w *World[T]) owner(id ID) *viewer {
	if !w.Has(id) {
		return nil
	}
	// Logic.Join may have refused it after Assign.
	if v := w.owners[id.Slot]; v != nil && !v.player.left {
		return v
	}
	return nil
}

// Watch has a player who moves nothing see from a point. One that moves an entity
// gives it up.
func (w *World[T]) Watch(p *Player, from Vec) {
	if v := w.viewer(p); v != nil {
		w.release(v)
		v.sees, v.from = seesAround, from
	}
}

// WatchAll has a player see everything. What does not fit WorldOptions.Budget waits.
// One that moves an entity gives it up. It panics where MaxVisible is less than
// MaxEntities: there would be entities that the player never sees.
func (w *World[T]) WatchAll(p *Player) {
	if w.opts.MaxVisible < w.opts.MaxEntities {
		panic(fmt.Sprintf("game: player watches all %d entities, and is told of %d", w.opts.MaxEntities, w.opts.MaxVisible))
	}
	if v := w.viewer(p); v != nil {
		w.release(v)
		v.sees = seesAll
	}
}

// Teleport puts an entity elsewhere. What its player claimed before it knows is
// void.
func (w *World[T]) Teleport(id ID, to Vec) {
	state := w.State(id)
	if state == nil {
		return
	}
	*w.opts.Position(state) = to
	if v := w.owners[id.Slot]; v != nil {
		// The next snapshot has it.
		v.held, v.heldUntil = true, time.Duration(w.room.Now())
		v.since = measure{}
		w.movement.Void(v.player.Index())
	}
}

// Violations returns how often a player broke a rule since it was assigned an
// entity.
func (w *World[T]) Violations(p *Player, rule space.Violation) int {
	return int(w.movement.Count(p.Index(), rule))
}

// viewer returns what there is of a player, made anew for one that has just come.
func (w *World[T]) viewer(p *Player) *viewer {
	if p.left {
		return nil
	}
	for p.index >= len(w.viewers) {
		w.viewers = append(w.viewers, nil)
	}
	v := w.viewers[p.index]
	if v == nil || v.player != p {
		if v != nil {
			// One that Logic.Join refused has not left.
			w.drop(v)
		}
		v = &viewer{player: p, sender: snapshot.NewSender(w.history, snapshot.SenderOptions{
			Stream: message.Stream(p.id, w.room.number), MaxEntities: w.opts.MaxVisible,
		})}
		w.viewers[p.index] = v
	}
	return v
}

// known returns what there is of a player, also while it leaves.
func (w *World[T]) known(p *Player) *viewer {
	if p.index < len(w.viewers) {
		if v := w.viewers[p.index]; v != nil && v.player == p {
			return v
		}
	}
	return nil
}

// leave keeps what Logic.Leave may ask for.
func (w *World[T]) leave(p *Player) {
	if v := w.known(p); v != nil {
		w.drop(v)
	}
}

func (w *World[T]) drop(v *viewer) {
	if v.left {
		return
	}
	v.left = true
	w.movement.Leave(v.player.index)
	if v.owner && w.owners[v.id.Slot] == v {
		w.owners[v.id.Slot] = nil
	}
}

// release takes a player's entity from it.
func (w *World[T]) release(v *viewer) {
	if !v.owner {
		return
	}
	v.from, v.owner = *w.opts.Position(&w.states[v.id.Slot]), false
	w.owners[v.id.Slot] = nil
	w.movement.Leave(v.player.index)
	w.tell(v, message.Assigned{None: true})
}

func (w *World[T]) tell(v *viewer, a message.Assigned) {
	w.buf = a.AppendTo(w.buf[:0])
	v.player.SendMessage(session.Outgoing{
		Mode: session.ReliableOrdered, Channel: ChannelRoom, Type: message.TypeAssigned,
		Priority: session.High, Payload: w.buf,
	})
}
