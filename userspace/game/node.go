package game

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Peer is one client's connection. Its methods are called from the worker's
// thread only, and Close does not call back before it returns.
type Peer interface {
	ID() uint64
	SendMessage(session.Outgoing) error
	Close(why wire.Reason)
	Recovered() bool

	// Value holds what SetValue was given last, nil at first.
	Value() any
	SetValue(any)
}

// Flusher is a Peer that can send what it was given before the worker's pass ends,
// so that its memory serves the next peer. Flush is called within Node.Tick only.
type Flusher interface {
	Flush()
}

// Host is the worker a node runs on.
type Host interface {
	// Now is the time of the present pass, in nanoseconds of a clock that all
	// workers share.
	Now() uint64

	// Clock is the time in nanoseconds, for measuring.
	Clock() uint64

	// Mail hands a copy of letter to the node of another worker, in order.
	// A letter that must arrive waits when there is no room; another is then
	// dropped.
	Mail(to int, letter []byte, must bool)
}

// Node is the game on one worker. It serves the clients connected there and owns
// the rooms that the directory says; nodes talk to one another by letters, so
// nothing on the path of a message takes a lock.
//
// All methods are called from the worker's thread.
type Node struct {
	self  int
	nodes int
	dir   *Directory
	opts  *Options
	host  Host
	count *metrics.Set

	direct  map[uint8]func(*Client, session.Message) error
	clients map[uint32]*Client // in a room or on their way, by handle
	handle  uint32             // given out last
	halls   map[uint32]*hall   // by room
	hallID  uint32             // given out last

	rooms    []*Room // owned here
	roomByID map[uint32]*Room
	waiting  map[uint32][]held // letters for rooms on their way here
	ticking  bool
	swept    bool   // no room was dropped since rooms was looked through
	next     uint64 // no tick is due before

	lists map[*Kind]list // told to clients

	gauge
	codec   message.Codec
	encoded []byte
	answer  []byte
	noted   []byte
	letter  []byte
	part    []byte
	joining []byte
	puzzles []puzzle // by node
}

// Client is a connection to this node.
type Client struct {
	node   *Node
	peer   Peer
	flush  Flusher // nil where the peer is none
	kicked bool

	hall    *hall  // of the room that it asked for and did not leave
	handle  uint32 // of this stay
	inside  bool   // the room has let it in
	spent   [classes]bucket
	asked   bucket // for rooms
	listed  bucket
	scolded bucket // with Refused
}

// hall is the clients of one room that are connected here.
type hall struct {
	id      uint32
	room    uint32 // id
	kind    *Kind
	owner   int // of the room, by the last letter from it
	clients []*Client
	stays   int // clients, and those not inside yet

	sent uint32 // number of the last letter to the room
	got  uint32 // and from it
	held []held // from the room, before their turn
}

// NewNode returns the game for worker self of nodes workers, which share the
// directory.
func NewNode(dir *Directory, host Host, self, nodes int, count *metrics.Set) *Node {
	dir.enroll(nodes)
	n := &Node{
		self: self, nodes: nodes, dir: dir, opts: &dir.opts, host: host, count: count,
		clients:  map[uint32]*Client{},
		halls:    map[uint32]*hall{},
		roomByID: map[uint32]*Room{},
		waiting:  map[uint32][]held{},
		lists:    map[*Kind]list{},
		next:     math.MaxUint64,
		gauge:    newGauge(host.Now()),
		letter:   make([]byte, 0, MaxLetter),
		part:     make([]byte, 0, MaxLetter),
		puzzles:  make([]puzzle, nodes),
	}
	if n.opts.Direct != nil {
		n.direct = n.opts.Direct()
	}
	return n
}

// Open takes a new client in.
func (n *Node) Open(p Peer) {
	if p.Recovered() {
		// Left by a former server, whose rooms are gone; it ends at once.
		return
	}
	c := &Client{node: n, peer: p}
	c.flush, _ = p.(Flusher)
	p.SetValue(c)
}

// Close forgets a client.
func (n *Node) Close(p Peer) {
	c, ok := p.Value().(*Client)
	if !ok {
		return
	}
	n.leave(c, WhyGone)
	p.SetValue(nil)
}

// Message handles one message of a client.
func (n *Node) Message(p Peer, m session.Message) {
	c, ok := p.Value().(*Client)
	if !ok || c.kicked {
		return
	}
	if err := n.dispatch(c, &m); err != nil {
		code, text := explain(err)
		n.count.Add(reasonOf(code), 1)
		n.refuse(c, m.Mode, m.Type, 0, code, text)
	}
}

func (n *Node) dispatch(c *Client, m *session.Message) error {
	switch m.Type {
	case message.TypeConnect:
		return n.connect(c, m)
	case message.TypeDisconnect:
		if _, err := n.parse(m.Payload, message.MaxAsk, new(message.Disconnect)); err != nil {
			return err
		}
		if c.hall == nil {
			return message.ErrState
		}
		n.leave(c, WhyLeft)
		return nil
	case message.TypeClockRequest:
		return n.tellTime(c, m)
	case message.TypeListRooms:
		return n.tellRooms(c, m)
	}
	if f := n.direct[m.Type]; f != nil {
		return n.callDirect(f, c, m)
	}
	if c.hall == nil {
		return message.ErrState
	}
	kind := classOf(m)
	if !c.spent[kind].take(c.hall.kind.Limits.of(kind), n.host.Now()) {
		return message.ErrRate
	}
	if len(m.Payload) > c.hall.kind.MaxMessage {
		return message.ErrTooLarge
	}
	l := letter{
		kind: letterMessage, mode: m.Mode, channel: m.Channel, typ: m.Type,
		id: m.ID, extra: m.Sequence,
	}
	n.toRoom(c, &l, m.Payload, m.Mode.Reliable())
	return nil
}

// callDirect runs a handler that needs no room.
func (n *Node) callDirect(f func(*Client, session.Message) error, c *Client, m *session.Message) (err error) {
	defer n.rescue(&err)
	return f(c, *m)
}

func (n *Node) rescue(err *error) {
	if v := recover(); v != nil {
		n.panicked(0, v)
		*err = errPanic
	}
}

// parse reads a message, and returns its payload as it was before it was compressed, of
// so many bytes at most.
func (n *Node) parse(payload []byte, limit int, into message.Message) ([]byte, error) {
	payload, err := n.codec.Expand(payload, limit)
	if err != nil {
		return nil, err
	}
	return payload, message.Parse(payload, into)
}

// connect takes a client to a room.
func (n *Node) connect(c *Client, m *session.Message) error {
	if !m.Mode.Reliable() {
		return message.ErrState
	}
	// Whatever becomes of it: who sends it has turned its back on its room.
	n.leave(c, WhyLeft)
	var ask message.Connect
	payload, err := n.parse(m.Payload, message.MaxAsk, &ask)
	if err != nil {
		return err
	}
	if !c.asked.take(n.opts.Connects, n.host.Now()) {
		return message.ErrRate
	}
	if k := n.dir.kinds[ask.Game]; k != nil && k.Version != 0 && k.Version != ask.Version {
		return message.ErrVersion
	}
	s, err := n.dir.reserve(n.self, ask.Game, ask.Room)
	if err != nil {
		return err
	}
	h := n.halls[s.room]
	if h == nil {
		n.hallID++
		h = &hall{id: n.hallID, room: s.room, kind: s.kind, owner: s.owner, sent: s.sent}
		n.halls[s.room] = h
	}
	h.stays++
	// A handle of its own for each stay, so that a late answer to an earlier
	// one finds nobody.
	for n.handle = following(n.handle); n.clients[n.handle] != nil; {
		n.handle = following(n.handle)
	}
	c.hall, c.handle = h, n.handle
	c.spent = [classes]bucket{}
	n.clients[c.handle] = c
	n.joining = appendJoin(n.joining[:0], c.peer.ID(), payload)
	n.toRoom(c, &letter{kind: letterJoin}, n.joining, true)
	return nil
}

// tellTime answers at once: what a client makes of the answer depends on how
// little time passes.
func (n *Node) tellTime(c *Client, m *session.Message) error {
	ask, err := message.ParseClockRequest(m.Payload)
	if err != nil {
		return err
	}
	if !c.spent[positions].take(Rate{PerSecond: 20, Burst: 20}, n.host.Now()) {
		return message.ErrRate
	}
	now := n.host.Now() / 1000
	n.answer = message.ClockAnswer{
		Sent: ask.Sent, Received: now, Answered: max(now, n.host.Clock()/1000),
	}.AppendTo(n.answer[:0])
	c.Send(session.Outgoing{
		Mode: session.Unreliable, Channel: m.Channel, Type: message.TypeClockAnswer,
		Priority: session.High, Payload: n.answer,
	})
	return nil
}

// list is the rooms of a kind as they were at a time.
type list struct {
	at    uint64
	rooms []message.RoomInfo
}

// listFor is how long a list is told before it is made again: the directory is
// locked meanwhile.
const listFor = uint64(250 * time.Millisecond)

// tellRooms answers with the rooms that there are, or as many of them as the client
// takes in one message.
func (n *Node) tellRooms(c *Client, m *session.Message) error {
	var ask message.ListRooms
	if _, err := n.parse(m.Payload, message.MaxAsk, &ask); err != nil {
		return err
	}
	if !c.listed.take(n.opts.Connects, n.host.Now()) {
		return message.ErrRate
	}
	k := n.dir.kinds[ask.Game]
	if k == nil {
		return Refuse(message.ErrRoom, "no such game")
	}
	known, ok := n.lists[k]
	if now := n.host.Now(); !ok || now-known.at >= listFor {
		known = list{now, n.dir.list(k)}
		n.lists[k] = known
	}
	for rooms := known.rooms; ; rooms = rooms[:len(rooms)/2] {
		n.encode(&message.Rooms{Game: k.Name, Rooms: rooms})
		err := c.peer.SendMessage(session.Outgoing{
			Mode: session.ReliableOrdered, Channel: ChannelRoom, Type: message.TypeRooms,
			Priority: session.High, Payload: n.codec.Compress(n.encoded),
		})
		if len(rooms) == 0 || !errors.Is(err, session.ErrTooLarge) {
			c.sent(session.ReliableOrdered, err)
			return nil
		}
	}
}

// refuse tells a client why nothing came of a message, unless that could be
// lost anyway.
func (n *Node) refuse(c *Client, mode session.Mode, typ uint8, number uint32, code message.Error, text string) {
	// Who asked for a room waits for the answer.
	if !mode.Reliable() || typ != message.TypeConnect && !c.scolded.take(refusals, n.host.Now()) {
		return
	}
	m := message.Refused{Code: code, Type: typ, Number: number, Text: text}
	b, err := message.Append(n.answer[:0], &m)
	if err != nil {
		m.Text = ""
		b, _ = message.Append(n.answer[:0], &m)
	}
	n.answer = b
	c.Send(session.Outgoing{
		Mode: session.ReliableOrdered, Channel: ChannelRoom, Type: message.TypeRefused,
		Priority: session.High, Payload: b,
	})
}

// ChannelRoom carries Connected, Disconnect and Refused.
const ChannelRoom = 0

// Send gives a message to the client. One that cannot take a reliable message
// is disconnected with the reason kicked: nobody can wait for it.
func (c *Client) Send(o session.Outgoing) {
	if c.kicked {
		return
	}
	c.sent(o.Mode, c.peer.SendMessage(o))
}

func (c *Client) sent(mode session.Mode, err error) {
	if err != nil && mode.Reliable() {
		c.kicked = true
		c.peer.Close(wire.ReasonKicked)
	}
}

// leave takes a client out of its room, if it is in one. Nothing of that room
// reaches it afterwards.
func (n *Node) leave(c *Client, why Why) {
	if c.hall == nil {
		return
	}
	n.hide(c)
	n.toRoom(c, &letter{kind: letterLeave, why: why}, nil, true)
	n.depart(c)
}

// hide keeps what a room says from a client.
func (n *Node) hide(c *Client) {
	delete(n.clients, c.handle)
	if c.inside {
		c.inside = false
		c.hall.clients = slices.DeleteFunc(c.hall.clients, func(o *Client) bool { return o == c })
	}
}

// depart ends the stay of a hidden client, and the hall after the last.
func (n *Node) depart(c *Client) {
	h := c.hall
	c.hall = nil
	if h.stays--; h.stays == 0 {
		delete(n.halls, h.room)
		n.dir.park(h.room, n.self, h.sent)
	}
}

// toRoom brings what a client did to the node that owns its room.
func (n *Node) toRoom(c *Client, l *letter, payload []byte, must bool) {
	h := c.hall
	l.origin, l.room, l.hall, l.handle = uint16(n.self), h.room, h.id, c.handle
	if must {
		h.sent = following(h.sent)
		l.number = h.sent
	}
	if h.owner == n.self {
		n.atRoom(n.self, l, payload)
		return
	}
	n.mail(h.owner, l, payload, must)
}

// atHall takes a letter from a room, in its turn. One that may be lost counts
// only where it comes from the owner that the numbered ones came from: so a room
// that moved does not go back in time.
func (n *Node) atHall(from int, l *letter, payload []byte) {
	h := n.halls[l.room]
	switch {
	case h == nil || h.id != l.hall:
	case l.number == 0:
		if from == h.owner {
			n.hear(h, l, payload)
		}
	case l.number != following(h.got):
		h.held = append(h.held, held{from, *l, slices.Clone(payload)})
	default:
		h.got, h.owner = l.number, from
		n.hear(h, l, payload)
		for len(h.held) > 0 {
			next, ok := takeHeld(&h.held, following(h.got))
			if !ok {
				return
			}
			h.got, h.owner = next.letter.number, next.from
			n.hear(h, &next.letter, next.payload)
		}
	}
}

// hear does what a letter from a room says.
func (n *Node) hear(h *hall, l *letter, payload []byte) {
	switch l.kind {
	case letterCast:
		o := l.outgoing(payload)
		for _, c := range h.clients {
			c.Send(o)
		}
		return
	case letterMoved:
		return
	}
	c := n.clients[l.handle]
	if c == nil || c.hall != h {
		return
	}
	switch l.kind {
	case letterWelcome:
		c.inside = true
		h.clients = append(h.clients, c)
		c.Send(l.outgoing(payload))
	case letterSend:
		c.Send(l.outgoing(payload))
	case letterRefuse:
		n.refuse(c, l.mode, l.typ, l.extra, message.Error(payload[0]), string(payload[1:]))
	case letterEnd:
		n.hide(c)
		n.depart(c)
		if l.typ == message.TypeConnect {
			n.refuse(c, session.ReliableOrdered, l.typ, 0, message.Error(payload[0]), string(payload[1:]))
			return
		}
		n.dismiss(c, message.Error(payload[0]), string(payload[1:]))
	}
}

// serve sends messages to everyone in a hall, client by client.
func (n *Node) serve(h *hall, all []session.Outgoing) {
	for _, c := range h.clients {
		for i := range all {
			c.Send(all[i])
		}
		// Elsewhere a session may be waiting for the call to return.
		if n.ticking && c.flush != nil {
			c.flush.Flush()
		}
	}
}

// dismiss tells a client that it is no longer in its room.
func (n *Node) dismiss(c *Client, code message.Error, text string) {
	b, err := message.Append(n.answer[:0], &message.Disconnect{Code: code, Text: text})
	if err != nil {
		b, _ = message.Append(n.answer[:0], &message.Disconnect{Code: code})
	}
	n.answer = b
	c.Send(session.Outgoing{
		Mode: session.ReliableOrdered, Channel: ChannelRoom, Type: message.TypeDisconnect,
		Priority: session.High, Payload: b,
	})
}

// atRoom takes a letter to a room, in its turn, or passes it on.
func (n *Node) atRoom(from int, l *letter, payload []byte) {
	r := n.roomByID[l.room]
	if r == nil {
		if r = n.elsewhere(from, l, payload); r == nil {
			return
		}
	}
	r.arrive(l, payload)
}

// elsewhere takes a letter for a room that is not here, and returns the room if
// the letter opened it.
func (n *Node) elsewhere(from int, l *letter, payload []byte) *Room {
	if l.number == 0 {
		return nil
	}
	owner, moving, ok := n.dir.locate(l.room)
	switch {
	case !ok:
	case owner != n.self:
		n.count.Add(metrics.LettersForwarded, 1)
		n.mail(owner, l, payload, true)
	case moving:
		n.waiting[l.room] = append(n.waiting[l.room], held{from, *l, slices.Clone(payload)})
	default:
		return n.open(l.room)
	}
	return nil
}
