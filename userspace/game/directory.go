package game

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/xrudp/xrudp/userspace/message"
)

// Directory is what the nodes of a server know together: which rooms there are,
// who owns them, who has a seat. A mutex guards it; it is asked when somebody
// joins or leaves, and when a room is made, closed or moved, never for a message.
//
// All methods may be called from anywhere.
type Directory struct {
	opts  Options
	kinds map[string]*Kind

	mu    sync.Mutex
	rooms map[uint32]*entry
	named map[roomName]*entry // those that take players
	last  uint32              // room number given out
	nodes []nodeEntry
}

// roomName is how clients name a room.
type roomName struct {
	kind   string
	number uint32
}

// entry is a room as the directory has it.
type entry struct {
	id     uint32 // never used again
	kind   *Kind
	number uint32 // as clients have it
	public bool   // for whoever asks for any
	owner  int
	seats  int // players and those on their way

	// transit is the room on its way to a new owner, nil when it has arrived.
	transit *Room

	// sent is the last number that each node gave to a letter to the room,
	// for those without a hall.
	sent []uint32
}

// nodeEntry is what placement goes by.
type nodeEntry struct {
	load  atomic.Uint32 // millionths of its time spent in ticks
	seats int
	rooms int
}

// seat is the right to join a room.
type seat struct {
	room  uint32
	kind  *Kind
	owner int
	sent  uint32
}

// NewDirectory returns the directory for the nodes of one server. It panics if
// the options make no sense.
func NewDirectory(opts Options) *Directory {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		panic("game: " + err.Error())
	}
	d := &Directory{
		opts: opts, kinds: map[string]*Kind{},
		rooms: map[uint32]*entry{}, named: map[roomName]*entry{},
	}
	for i := range opts.Kinds {
		d.kinds[opts.Kinds[i].Name] = &opts.Kinds[i]
	}
	return d
}

// enroll makes room for the nodes.
func (d *Directory) enroll(nodes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch len(d.nodes) {
	case 0:
		d.nodes = make([]nodeEntry, nodes)
	case nodes:
	default:
		panic(fmt.Sprintf("game: %d nodes share a directory for %d", nodes, len(d.nodes)))
	}
}

// reserve takes a seat for a client of node in a room of the kind: the one with
// that number, made if there is none, or for 0 any that is for everybody.
func (d *Directory) reserve(node int, kind string, number uint32) (seat, error) {
	k := d.kinds[kind]
	if k == nil {
		return seat{}, Refuse(message.ErrRoom, "no such game")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var e *entry
	if number != 0 {
		if e = d.named[roomName{kind, number}]; e != nil && e.seats >= k.MaxPlayers {
			return seat{}, Refuse(message.ErrRoom, "room is full")
		}
	} else {
		e = d.match(k)
	}
	if e == nil {
		if len(d.rooms) >= d.opts.MaxRooms {
			return seat{}, Refuse(message.ErrRoom, "server has no more rooms")
		}
		e = d.create(k, number)
	}
	e.seats++
	d.nodes[e.owner].seats++
	return seat{e.id, k, e.owner, e.sent[node]}, nil
}

// match finds the fullest room with a seat that is for everybody.
func (d *Directory) match(k *Kind) (best *entry) {
	for _, e := range d.named {
		if e.kind != k || !e.public || e.seats >= k.MaxPlayers {
			continue
		}
		if best == nil || e.seats > best.seats || e.seats == best.seats && e.id < best.id {
			best = e
		}
	}
	return best
}

// list returns the rooms of a kind that are for everybody, those with a seat
// first, and of these the fullest.
func (d *Directory) list(k *Kind) []message.RoomInfo {
	all := []message.RoomInfo{}
	d.mu.Lock()
	for _, e := range d.named {
		if e.kind == k && e.public {
			all = append(all, message.RoomInfo{Room: e.number, Players: uint32(e.seats), Places: uint32(k.MaxPlayers)})
		}
	}
	d.mu.Unlock()
	full := func(r *message.RoomInfo) int { return int(r.Players / r.Places) }
	slices.SortFunc(all, func(a, b message.RoomInfo) int {
		return cmp.Or(cmp.Compare(full(&a), full(&b)), cmp.Compare(b.Players, a.Players), cmp.Compare(a.Room, b.Room))
	})
	return all[:min(len(all), message.MaxRooms)]
}

// create makes a room on the least loaded node. Without a number it is for
// everybody.
func (d *Directory) create(k *Kind, number uint32) *entry {
	d.last++
	e := &entry{
		id: d.last, kind: k, number: number, public: number == 0,
		owner: d.leastLoaded(), sent: make([]uint32, len(d.nodes)),
	}
	for e.number = max(number, 1); e.public && d.named[e.name()] != nil; {
		e.number++
	}
	d.rooms[e.id] = e
	d.named[e.name()] = e
	d.nodes[e.owner].rooms++
	return e
}

func (e *entry) name() roomName { return roomName{e.kind.Name, e.number} }

// leastLoaded goes by time spent in twentieths, then by players, then by rooms:
// load is known only after a while.
func (d *Directory) leastLoaded() (best int) {
	const twentieth = 1e6 / 20
	for i := 1; i < len(d.nodes); i++ {
		a, b := &d.nodes[i], &d.nodes[best]
		loadA, loadB := a.load.Load()/twentieth, b.load.Load()/twentieth
		if loadA != loadB {
			if loadA < loadB {
				best = i
			}
			continue
		}
		if a.seats < b.seats || a.seats == b.seats && a.rooms < b.rooms {
			best = i
		}
	}
	return best
}

// release gives a seat back.
func (d *Directory) release(room uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.rooms[room]; e != nil {
		e.seats--
		d.nodes[e.owner].seats--
	}
}

// shut keeps new players out of a room.
func (d *Directory) shut(room uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.rooms[room]; e != nil {
		d.unname(e)
	}
}

// closeIfEmpty forgets a room for which nobody has a seat, and reports whether
// it did.
func (d *Directory) closeIfEmpty(room uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.rooms[room]
	if e == nil || e.seats > 0 {
		return e == nil
	}
	delete(d.rooms, room)
	d.unname(e)
	d.nodes[e.owner].rooms--
	return true
}

// unname takes a room from those that can be asked for. By then another may
// have its number.
func (d *Directory) unname(e *entry) {
	if d.named[e.name()] == e {
		delete(d.named, e.name())
	}
}

// park notes the last number that node gave to a letter to the room, until it
// writes the next.
func (d *Directory) park(room uint32, node int, sent uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.rooms[room]; e != nil {
		e.sent[node] = sent
	}
}

// locate says who owns a room, and whether it is still on its way there.
func (d *Directory) locate(room uint32) (owner int, moving bool, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.rooms[room]
	if e == nil {
		return 0, false, false
	}
	return e.owner, e.transit != nil, true
}

// describe returns what a room is made of.
func (d *Directory) describe(room uint32) (k *Kind, number uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.rooms[room]
	return e.kind, e.number
}

// hand puts a room on its way to a new owner.
func (d *Directory) hand(r *Room, to int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.rooms[r.id]
	d.nodes[e.owner].seats -= e.seats
	d.nodes[e.owner].rooms--
	d.nodes[to].seats += e.seats
	d.nodes[to].rooms++
	e.owner, e.transit = to, r
}

// take picks a room up.
func (d *Directory) take(room uint32) *Room {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.rooms[room]
	r := e.transit
	e.transit = nil
	return r
}

// idlest returns the node with the least load but self, in millionths.
func (d *Directory) idlest(self int) (node int, load uint32) {
	node = -1
	for i := range d.nodes {
		if i == self {
			continue
		}
		if l := d.nodes[i].load.Load(); node < 0 || l < load {
			node, load = i, l
		}
	}
	return node, load
}
