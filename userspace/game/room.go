package game

import (
	"encoding/binary"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
)

// Room is one room. It belongs to the node that owns it: a Logic uses it from
// within its calls only.
type Room struct {
	node   *Node
	id     uint32 // in the directory
	number uint32
	kind   *Kind
	logic  Logic
	paced  Paced // nil for a logic that takes every tick

	handlers   [256]handler
	topics     map[reflect.Type]any
	nesting    int
	tickStarts []func(Tick)
	tickEnds   []func(Tick)
	joins      []func(*Player)
	leaves     []func(*Player)

	players []*Player // in order of joining
	seated  map[address]*Player
	links   []link // by node
	lastID  uint32
	free    []int // indices of players who left
	indices int   // given out at most

	interval uint64
	next     uint64 // when a tick is due
	ticks    uint64
	panics   int // ticks in a row
	cost     uint64
	emptied  uint64 // when the last player left
	latest   uint64 // of Now

	asked     uint64 // in which tick
	askPanics int    // of hooks that answer

	kicked  []*Player // during a call into the logic
	closing bool
	shut    bool // and the directory knows
	gone    bool
}

// handler takes a message of a player. number is the message's own, where it has
// one, for a refusal.
type handler func(p *Player, m session.Message) (number uint32, err error)

// link is what a room has of one node.
type link struct {
	players int
	hall    uint32
	sent    uint32 // number of the last letter to the hall
	got     uint32 // and from the node
	held    []held // from the node, before their turn
}

// address is where a player is connected: a node, and its name for the player.
type address struct {
	node   int
	handle uint32
}

// Player is somebody in a room. It belongs to the room, and is of no use after
// Logic.Leave.
type Player struct {
	room    *Room
	at      address
	id      uint32
	index   int
	session uint64
	name    string
	token   []byte

	early []session.Outgoing // to follow the answer to Connect
	joins bool
	out   bool // kicked
	left  bool
	code  message.Error // of the kick
	text  string

	// Value is the logic's own.
	Value any
}

// maxTickPanics is how many ticks in a row may panic before the room is closed.
const maxTickPanics = 10

// maxCatchUp is how many ticks that are late a room makes up for at once.
const maxCatchUp = 3

// open makes the room that the directory has placed here.
func (n *Node) open(id uint32) *Room {
	kind, number := n.dir.describe(id)
	r := &Room{
		node: n, id: id, number: number, kind: kind,
		topics: map[reflect.Type]any{}, seated: map[address]*Player{},
		links:    make([]link, n.nodes),
		interval: uint64(time.Second) / uint64(kind.TickRate),
		emptied:  n.host.Now(),
	}
	n.adopt(r)
	n.count.Add(metrics.RoomsOpened, 1)
	if err := r.make(); err != nil {
		r.closing = true
	}
	return r
}

func (r *Room) make() (err error) {
	defer r.rescue(&err)
	if r.logic = r.kind.New(r); r.logic == nil {
		panic("game: room without logic")
	}
	r.paced, _ = r.logic.(Paced)
	return nil
}

// adopt makes the node the owner of a room.
func (n *Node) adopt(r *Room) {
	r.node = n
	n.rooms = append(n.rooms, r)
	n.roomByID[r.id] = r
}

// disown is the opposite.
func (n *Node) disown(r *Room) {
	delete(n.roomByID, r.id)
	n.swept = false
	if !n.ticking {
		n.sweep()
	}
}

// sweep removes the rooms that are no longer here.
func (n *Node) sweep() {
	n.rooms = slices.DeleteFunc(n.rooms, func(r *Room) bool { return r.node != n || r.gone })
	n.swept = true
	if len(n.rooms) == 0 {
		n.next = math.MaxUint64
		n.dir.nodes[n.self].load.Store(0)
	}
}

// rescue makes an error of a panic. It is deferred around every call into the
// logic.
func (r *Room) rescue(err *error) {
	if v := recover(); v != nil {
		r.nesting = 0
		r.node.panicked(r.id, v)
		*err = errPanic
	}
}

// call calls into what is not the framework's.
func (r *Room) call(f func()) (err error) {
	defer r.rescue(&err)
	f()
	return nil
}

// ask calls a hook that answers for one player or entity at a time. It is not called
// any more in a tick in which that has panicked again and again.
func (r *Room) ask(f func()) {
	if r.asked != r.ticks {
		r.asked, r.askPanics = r.ticks, 0
	}
	if r.askPanics < maxTickPanics && r.call(f) != nil {
		r.askPanics++
	}
}

// arrive takes a letter of a client, in its turn. What may be lost is only taken
// where it came straight from the client's node, and so in order.
func (r *Room) arrive(l *letter, payload []byte) {
	k := &r.links[l.origin]
	switch {
	case l.number == 0:
		r.receive(l, payload)
	case l.number != following(k.got):
		k.held = append(k.held, held{letter: *l, payload: slices.Clone(payload)})
		return
	default:
		k.got = l.number
		r.receive(l, payload)
		for len(k.held) > 0 {
			next, ok := takeHeld(&k.held, following(k.got))
			if !ok {
				break
			}
			k.got = next.letter.number
			r.receive(&next.letter, next.payload)
		}
	}
	r.settle()
}

// receive does what a letter says.
func (r *Room) receive(l *letter, payload []byte) {
	at := address{int(l.origin), l.handle}
	if l.kind == letterJoin {
		r.join(at, l, payload)
		return
	}
	p := r.seated[at]
	if p == nil || p.out {
		return
	}
	if l.kind == letterLeave {
		r.remove(p, l.why)
		return
	}
	m := session.Message{
		Mode: l.mode, Channel: l.channel, Type: l.typ, ID: l.id, Sequence: l.extra, Payload: payload,
	}
	if number, err := r.handle(p, &m); err != nil {
		r.refuse(p, &m, number, err)
	}
}

func (r *Room) handle(p *Player, m *session.Message) (number uint32, err error) {
	f := r.handlers[m.Type]
	if f == nil {
		return 0, message.ErrType
	}
	defer r.rescue(&err)
	return f(p, *m)
}

// refuse has the player's node tell it why nothing came of a message.
func (r *Room) refuse(p *Player, m *session.Message, number uint32, err error) {
	code, text := explain(err)
	r.node.count.Add(reasonOf(code), 1)
	if !m.Mode.Reliable() {
		return
	}
	l := letter{kind: letterRefuse, mode: m.Mode, typ: m.Type, handle: p.at.handle, extra: number}
	r.say(p.at.node, &l, r.note(code, text), true)
}

// note is the payload of letters that refuse or end something.
func (r *Room) note(code message.Error, text string) []byte {
	r.node.noted = append(append(r.node.noted[:0], byte(code)), text...)
	return r.node.noted
}

// say sends a letter to a node.
func (r *Room) say(node int, l *letter, payload []byte, must bool) {
	k := &r.links[node]
	l.room, l.hall = r.id, k.hall
	if must {
		k.sent = following(k.sent)
		l.number = k.sent
	}
	n := r.node
	if node == n.self {
		n.atHall(node, l, payload)
		return
	}
	n.mail(node, l, payload, must)
}

// appendJoin is the payload of letterJoin.
func appendJoin(b []byte, session uint64, connect []byte) []byte {
	return append(binary.NativeEndian.AppendUint64(b, session), connect...)
}

func (r *Room) join(at address, l *letter, payload []byte) {
	k := &r.links[at.node]
	if k.hall != l.hall {
		// The players of the hall before are gone.
		k.hall, k.sent = l.hall, 0
	}
	var ask message.Connect
	// The player's node has parsed it already.
	_ = message.Parse(payload[8:], &ask)
	r.lastID++
	p := &Player{
		room: r, at: at, id: r.lastID, index: r.takeIndex(), joins: true,
		session: binary.NativeEndian.Uint64(payload), name: ask.Name, token: ask.Token,
	}
	if len(r.players) == 0 {
		r.next = r.beat()
	}
	r.players = append(r.players, p)
	r.seated[at] = p
	k.players++
	if let, err := r.admit(p); err != nil {
		r.forget(p)
		if let {
			r.farewell(p, WhyKicked)
		}
		code, text := explain(err)
		r.node.count.Add(reasonOf(code), 1)
		r.say(at.node, &letter{kind: letterEnd, typ: message.TypeConnect, handle: at.handle}, r.note(code, text), true)
		return
	}
	p.token = nil
	r.welcome(p)
}

// beat is when the next tick is due of a room that wakes up. Rooms of one rate
// tick together, so that the worker wakes up once for all.
func (r *Room) beat() uint64 {
	now := r.Now()
	return (now + r.interval - 1) / r.interval * r.interval
}

// admit asks the logic, and then those who hung themselves in; let is what the
// logic said.
func (r *Room) admit(p *Player) (let bool, err error) {
	switch {
	case r.logic == nil:
		return false, errPanic
	case r.closing:
		return false, Refuse(message.ErrRoom, "room is closed")
	}
	if caught := r.call(func() { err = r.logic.Join(p) }); caught != nil {
		err = caught
	}
	if err != nil {
		return false, err
	}
	for _, f := range r.joins {
		if err := r.call(func() { f(p) }); err != nil {
			return true, err
		}
	}
	return true, nil
}

// welcome answers Connect, and sends what was to follow.
func (r *Room) welcome(p *Player) {
	n := r.node
	n.encode(&message.Connected{
		Player: p.id, Room: r.number, Ticks: uint16(r.kind.TickRate),
		Snapshots: uint16(r.kind.SnapshotRate), Time: r.Now() / 1000,
	})
	r.say(p.at.node, &letter{
		kind: letterWelcome, mode: session.ReliableOrdered, channel: ChannelRoom,
		typ: message.TypeConnected, priority: session.High, handle: p.at.handle,
	}, n.encoded, true)
	p.joins = false
	for _, o := range p.early {
		p.SendMessage(o)
	}
	p.early = nil
}

// takeIndex returns the smallest index that was given back, or a new one.
func (r *Room) takeIndex() int {
	if len(r.free) == 0 {
		r.indices++
		return r.indices - 1
	}
	best := 0
	for i, index := range r.free {
		if index < r.free[best] {
			best = i
		}
	}
	index := r.free[best]
	r.free = slices.Delete(r.free, best, best+1)
	return index
}

// forget takes a player out of the room.
func (r *Room) forget(p *Player) {
	p.left = true
	delete(r.seated, p.at)
	r.players = slices.DeleteFunc(r.players, func(o *Player) bool { return o == p })
	r.links[p.at.node].players--
	r.free = append(r.free, p.index)
	if len(r.players) == 0 {
		r.emptied = r.Now()
	}
	r.node.dir.release(r.id)
}

// remove is forget for one that had joined.
func (r *Room) remove(p *Player, why Why) {
	r.forget(p)
	r.farewell(p, why)
}

// farewell tells everybody, also where one of them panics.
func (r *Room) farewell(p *Player, why Why) {
	for _, f := range r.leaves {
		_ = r.call(func() { f(p) })
	}
	_ = r.call(func() { r.logic.Leave(p, why) })
}

// end is remove for one that does not know yet.
func (r *Room) end(p *Player, why Why, code message.Error, text string) {
	l := letter{kind: letterEnd, typ: message.TypeDisconnect, handle: p.at.handle}
	r.say(p.at.node, &l, r.note(code, text), true)
	r.remove(p, why)
}

// settle does what had to wait until the calls into the logic returned, and sees
// when the room is to be looked at next.
func (r *Room) settle() {
	for len(r.kicked) > 0 {
		p := r.kicked[0]
		r.kicked = r.kicked[1:]
		if !p.left {
			r.end(p, WhyKicked, p.code, p.text)
		}
	}
	r.kicked = r.kicked[:0]
	if r.closing && !r.shut {
		r.shut = true
		r.node.dir.shut(r.id)
		for len(r.players) > 0 {
			r.end(r.players[0], WhyClosed, message.ErrRoom, "room is closed")
		}
	}
	if len(r.players) == 0 {
		r.closeIfOver()
	}
	if !r.gone {
		r.node.next = min(r.node.next, r.due())
	}
}

// closeIfOver closes a room in which nobody is, and to which nobody is under way.
func (r *Room) closeIfOver() {
	n := r.node
	if r.gone || !r.closing && r.Now() < r.emptied+uint64(r.kind.Linger) || !n.dir.closeIfEmpty(r.id) {
		return
	}
	r.gone = true
	n.disown(r)
	n.count.Add(metrics.RoomsClosed, 1)
}

// due is when the room is to be looked at.
func (r *Room) due() uint64 {
	if len(r.players) == 0 {
		if r.kind.Linger == 0 || r.closing {
			return math.MaxUint64 // at the next letter
		}
		return r.emptied + uint64(r.kind.Linger)
	}
	if r.paced == nil {
		return r.next
	}
	return max(r.next, r.wanted())
}

func (r *Room) wanted() (at uint64) {
	var err error
	defer r.rescue(&err)
	return r.paced.NextTick()
}

// run does what is due. lost is how many ticks were not made up for.
func (r *Room) run(now uint64) (lost uint64) {
	due := r.due()
	if now < due {
		return 0
	}
	switch {
	case len(r.players) == 0:
	case r.paced != nil:
		// Its ticks are not steps of anything, so none is owed.
		r.next += r.interval
		if r.next <= now {
			r.next = now + r.interval
		}
		r.tick(due)
	default:
		for range maxCatchUp {
			if r.next > now || r.closing || len(r.players) == 0 {
				break
			}
			r.next += r.interval
			r.tick(r.next - r.interval)
		}
		lost = r.giveUp(now, 0)
	}
	r.settle()
	return lost
}

// giveUp gives up ticks that are due, but for so many of the latest, and returns how
// many.
func (r *Room) giveUp(now, keep uint64) (lost uint64) {
	if now < r.next {
		return 0
	}
	if due := (now-r.next)/r.interval + 1; due > keep {
		lost = due - keep
		r.next += lost * r.interval
	}
	return lost
}

func (r *Room) tick(at uint64) {
	n := r.node
	started := n.host.Clock()
	r.ticks++
	err := r.callTick(Tick{
		Number: r.ticks, Now: at, Step: time.Duration(r.interval), Thinning: n.thinning(),
	})
	spent := n.host.Clock() - started
	n.count.Tick.Record(spent)
	n.busy += spent
	r.cost += spent
	if err == nil {
		r.panics = 0
		return
	}
	if r.panics++; r.panics == maxTickPanics {
		r.closing = true
	}
}

// callTick makes one tick. A panic in one part of it costs that part.
func (r *Room) callTick(t Tick) (err error) {
	part := func(f func(Tick)) {
		if caught := r.call(func() { f(t) }); caught != nil {
			err = caught
		}
	}
	for _, f := range r.tickStarts {
		part(f)
	}
	part(r.logic.Tick)
	for _, f := range r.tickEnds {
		part(f)
	}
	return err
}

// cast sends a message to everyone in the room.
func (r *Room) cast(o *session.Outgoing) {
	for node := range r.links {
		if r.links[node].players > 0 {
			l := letterOf(letterCast, o)
			r.say(node, &l, o.Payload, o.Mode.Reliable())
		}
	}
}

// castAll sends unreliable messages to everyone at one node. Those of its own are
// served one after the other.
func (r *Room) castAll(node int, all []session.Outgoing) {
	if n := r.node; node == n.self {
		if h := n.halls[r.id]; h != nil && h.id == r.links[node].hall && h.owner == node {
			n.serve(h, all)
		}
		return
	}
	for i := range all {
		l := letterOf(letterCast, &all[i])
		r.say(node, &l, all[i].Payload, false)
	}
}

func letterOf(kind uint8, o *session.Outgoing) letter {
	return letter{
		kind: kind, mode: o.Mode, channel: o.Channel, typ: o.Type, priority: o.Priority,
		extra: uint32(o.Lifetime / time.Millisecond),
	}
}

// encode makes a payload of m, in memory that is used again.
func (n *Node) encode(m message.Message) {
	b, err := message.Append(n.encoded[:0], m)
	if err != nil {
		panic("game: " + err.Error())
	}
	n.encoded = b
}

// outgoing makes a message of m, compressed where that is worth it.
func (r *Room) outgoing(mode session.Mode, channel uint8, m message.Message) session.Outgoing {
	n := r.node
	n.encode(m)
	o := session.Outgoing{Mode: mode, Channel: channel, Type: m.Kind(), Priority: session.High, Payload: n.encoded}
	if mode.Reliable() {
		o.Payload = n.codec.Compress(o.Payload)
	}
	return o
}
