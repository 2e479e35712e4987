package play

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// Channels of unreliable sequenced messages to the server.
const (
	channelPosition = 127
	channelAck      = 126
)

// channelRoom is where Connect and Disconnect go.
const channelRoom = 0

// ErrOverrun says that the game did not call Update while more and more came.
var ErrOverrun = errors.New("too many messages wait for Update")

// Player is one player at a server.
type Player[T any] struct {
	conn  Conn
	opts  Options[T]
	start time.Time
	now   time.Duration // of the last Update

	queue    queue
	batch    []delivered
	changes  []client.Event
	handlers [256]func(client.Message) error
	taken    func(*snapshot.Receiver[T])
	codec    message.Codec
	events   []Event
	stats    Stats
	buf      []byte

	stay    stay
	asked   int  // for rooms, and may yet be answered
	wanted  Join // the room that it asked for last, by its number once it is known
	wants   bool // it did not leave wanted, nor was it refused or put out
	again   bool // it is to ask anew
	player  uint32
	room    uint32
	stream  uint8
	broken  bool
	arrival time.Duration // of the message being handled

	clock   clock
	delay   snapshot.Delay
	world   *snapshot.Receiver[T]
	owed    bool // an acknowledgement
	own     ID
	owns    bool
	claims  claims
	scratch T

	transfers *transfers // nil for a player who takes none
}

// stay is how far the player has come.
type stay uint8

const (
	outside stay = iota
	joining
	inside
)

// New returns a player on a connection whose messages the caller gives to Deliver.
func New[T any](conn Conn, o Options[T]) *Player[T] {
	o = o.withDefaults()
	p := &Player[T]{conn: conn, opts: o, start: time.Now()}
	p.queue.limit = o.MaxWaiting
	p.clock.limit = o.Schema.Interval() << 32
	p.claims.interval = time.Second / time.Duration(o.Rate)
	p.reset()
	return p
}

// Dial connects to a server, and returns a player who is in no room yet. It sets
// opts.Handler. ctx bounds the attempt and nothing later.
func Dial[T any](ctx context.Context, address string, opts client.Options, o Options[T]) (*Player[T], error) {
	p := New(nil, o)
	opts.Handler = func(_ *client.Conn, m client.Message) { p.Deliver(p.Now(), m) }
	conn, err := client.Dial(ctx, address, opts)
	if err != nil {
		return nil, err
	}
	p.conn = conn
	return p, nil
}

// Now is the time since the player was made, for Update and Deliver. It may be
// called from anywhere.
func (p *Player[T]) Now() time.Duration { return time.Since(p.start) }

// Deliver keeps a message until the next Update; at is when it came, by the clock of
// Update. It copies the payload, and may be called from anywhere.
func (p *Player[T]) Deliver(at time.Duration, m client.Message) { p.queue.put(at, m) }

// Close leaves the room and closes the connection.
func (p *Player[T]) Close() error {
	// It goes out with everything else that was sent.
	_ = p.Leave()
	return p.conn.Close()
}

// On has f called for every message of M's type, from within Update. The message is
// valid until f returns. What f returns is counted as malformed.
//
//	play.On(p, func(m *arena.Scored) error { ... })
func On[M any, P interface {
	*M
	message.Message
}, T any](p *Player[T], f func(m P) error) {
	m := P(new(M))
	p.Handle(m.Kind(), func(raw client.Message) error {
		payload, err := p.codec.Expand(raw.Payload, p.opts.MaxMessage)
		if err != nil {
			return err
		}
		if err := message.Parse(payload, m); err != nil {
			return err
		}
		return f(m)
	})
}

// Handle has f called for every message of that type, which is left as it came. The
// payload is valid until f returns. It panics for a type that has a handler, or that
// Player takes itself.
func (p *Player[T]) Handle(typ uint8, f func(client.Message) error) {
	if p.handlers[typ] != nil || ownType(typ) {
		panic("play: two handlers for one type of message")
	}
	p.handlers[typ] = f
}

// OnSnapshot has f called for every snapshot that was taken, from within Update, with
// all that came so far.
func (p *Player[T]) OnSnapshot(f func(*snapshot.Receiver[T])) { p.taken = f }

func ownType(typ uint8) bool {
	switch typ {
	case message.TypeConnected, message.TypeDisconnect, message.TypeRefused, message.TypeAssigned,
		message.TypePositionAck, message.TypeGameStateSync, message.TypeClockAnswer:
		return true
	}
	return false
}

// Send sends a message to the room, compressed where that is worth it.
func (p *Player[T]) Send(mode client.Mode, channel uint8, m message.Message) error {
	b, err := message.Append(p.buf[:0], m)
	if err != nil {
		return err
	}
	p.buf = b
	if mode.Reliable() {
		b = p.codec.Compress(b)
	}
	return p.conn.SendMessage(client.Outgoing{Mode: mode, Channel: channel, Type: m.Kind(), Priority: client.High, Payload: b})
}

// Join asks for a room. The event Joined or Refused is the answer. The player leaves
// the room it is in.
//
// Where the connection ends and there is another, as client.Options.Reconnect has it,
// the player asks for the room that it was in or had asked for again by itself, unless
// Leave was called meanwhile.
func (p *Player[T]) Join(j Join) error {
	err := p.Send(client.ReliableOrdered, channelRoom, &message.Connect{
		Game: j.Game, Version: j.Version, Name: j.Name, Room: j.Room, Token: j.Token,
	})
	if err != nil {
		return fmt.Errorf("join room: %w", err)
	}
	p.reset()
	p.stay = joining
	p.asked++
	j.Token = slices.Clone(j.Token)
	p.wanted, p.wants, p.again = j, true, false
	return nil
}

// Leave leaves the room, if the player is in one or asked for one.
func (p *Player[T]) Leave() error {
	p.wants, p.again = false, false
	if p.stay == outside && p.asked == 0 {
		return nil
	}
	p.reset()
	p.asked = 0
	return p.Send(client.ReliableOrdered, channelRoom, &message.Disconnect{})
}

// reset forgets the room.
func (p *Player[T]) reset() {
	p.stay, p.player, p.room = outside, 0, 0
	p.owned(ID{}, false)
	p.owed = false
	if t := p.transfers; t != nil {
		t.open, t.late, t.size = nil, nil, 0
	}
	p.delay = snapshot.Delay{}
	p.world = snapshot.NewReceiver(p.opts.Schema, snapshot.ReceiverOptions{
		MaxEntities: p.opts.MaxEntities, Delay: p.opts.Delay, Extrapolation: p.opts.Extrapolation, Jump: p.opts.Jump,
	})
}

func (p *Player[T]) owned(id ID, owns bool) {
	p.own, p.owns = id, owns
	p.claims.forget()
}

// Update handles what came, sends what is due, and returns what happened, until the
// next Update. now is a clock that does not run backwards; that of Dial is Now.
func (p *Player[T]) Update(now time.Duration) []Event {
	p.now = max(now, p.now)
	p.events = p.events[:0]
	// What came before these is in the queue by now.
	p.changes = p.connection(p.changes[:0])
	var dropped uint64
	p.batch, dropped = p.queue.take(p.batch)
	p.stats.Dropped += dropped
	for i := range p.batch {
		p.arrival = min(p.batch[i].at, p.now)
		p.take(p.batch[i].message)
	}
	for _, e := range p.changes {
		p.changed(e)
	}
	if p.queue.overran() && !p.broken {
		p.broken = true
		p.lost(ErrOverrun)
	}
	if !p.broken {
		p.speak()
	}
	return p.events
}

// connection appends what became of the connection.
func (p *Player[T]) connection(dst []client.Event) []client.Event {
	for {
		select {
		case e, ok := <-p.conn.Events():
			if !ok {
				return dst
			}
			dst = append(dst, e)
		default:
			return dst
		}
	}
}

func (p *Player[T]) changed(e client.Event) {
	switch e.Kind {
	case client.EventClosed:
		p.lost(&client.ClosedError{Reason: e.Reason})
	case client.EventReconnected:
		p.again = p.wants
		p.happened(Event{Kind: Reconnected})
	default:
	}
}

func (p *Player[T]) lost(err error) {
	p.reset()
	p.again, p.asked = false, 0
	p.clock.forget()
	p.happened(Event{Kind: Disconnected, Err: err})
}

func (p *Player[T]) happened(e Event) { p.events = append(p.events, e) }

// take handles one message.
func (p *Player[T]) take(m client.Message) {
	p.stats.Messages++
	p.stats.Bytes += uint64(len(m.Payload))
	var err error
	switch m.Type {
	case message.TypeConnected:
		err = p.connected(m.Payload)
	case message.TypeDisconnect:
		err = p.disconnected(m.Payload)
	case message.TypeRefused:
		err = p.refused(m.Payload)
	case message.TypeAssigned:
		err = p.assigned(m.Payload)
	case message.TypePositionAck:
		var sequence uint32
		if sequence, err = message.ParsePositionAck(m.Payload); err == nil {
			p.claims.acknowledged(sequence)
		}
	case message.TypeGameStateSync:
		err = p.snapshot(m.Payload)
	case message.TypeClockAnswer:
		var a message.ClockAnswer
		if a, err = message.ParseClockAnswer(m.Payload); err == nil {
			p.clock.answered(a, p.arrival)
		}
	default:
		f := p.handlers[m.Type]
		if f == nil {
			p.stats.Unknown++
			return
		}
		err = f(m)
	}
	if err != nil {
		p.stats.Malformed++
	}
}

func (p *Player[T]) connected(payload []byte) error {
	var m message.Connected
	if err := message.Parse(payload, &m); err != nil {
		return err
	}
	if p.stay == outside && p.asked == 0 {
		return nil
	}
	// It may answer the second Join in a row, also where the first was refused.
	p.reset()
	p.stay, p.asked = joining, max(p.asked-1, 0)
	if time.Second/time.Duration(m.Ticks) != p.opts.Schema.Interval() {
		// It would take every time for another.
		err := p.Leave()
		p.happened(Event{Kind: Refused, Code: message.ErrVersion, Type: message.TypeConnect})
		return err
	}
	p.stay, p.player, p.room = inside, m.Player, m.Room
	p.wanted.Room, p.wants = m.Room, true
	p.stream = message.Stream(m.Player, m.Room)
	p.happened(Event{Kind: Joined, Player: m.Player, Room: m.Room})
	return nil
}

func (p *Player[T]) disconnected(payload []byte) error {
	var m message.Disconnect
	if err := message.Parse(payload, &m); err != nil {
		return err
	}
	if p.stay == inside {
		p.reset()
		p.wants = false
		p.happened(Event{Kind: Left, Code: m.Code, Text: m.Text})
	}
	return nil
}

func (p *Player[T]) refused(payload []byte) error {
	var m message.Refused
	if err := message.Parse(payload, &m); err != nil {
		return err
	}
	if m.Type == message.TypeConnect {
		// Who is inside was so by the Join before the one that this answers.
		p.asked = max(p.asked-1, 0)
		if p.stay != outside {
			p.reset()
			p.wants = false
		}
	}
	p.happened(Event{Kind: Refused, Code: m.Code, Text: m.Text, Type: m.Type, Number: m.Number})
	return nil
}

func (p *Player[T]) assigned(payload []byte) error {
	a, err := message.ParseAssigned(payload)
	if err != nil || p.stay != inside {
		return err
	}
	p.owned(a.ID, !a.None)
	p.happened(Event{Kind: Assigned})
	return nil
}

// snapshot takes what the room looks like.
func (p *Player[T]) snapshot(payload []byte) error {
	head, b, err := message.ParseGameStateSync(payload)
	if err != nil {
		return err
	}
	p.stats.SnapshotBytes += uint64(len(payload))
	if p.stay != inside || snapshot.StreamOf(b) != p.stream {
		p.stats.SnapshotsLate++
		return nil
	}
	tick, err := p.world.Receive(b)
	switch {
	case err == nil:
		p.stats.Snapshots++
	case errors.Is(err, snapshot.ErrOld):
		p.stats.SnapshotsLate++
		return nil
	case errors.Is(err, snapshot.ErrNoBaseline):
		p.stats.SnapshotsLost++
		p.owed = true
		return nil
	default:
		p.stats.SnapshotsRefused++
		return nil
	}
	p.owed = true
	if at, ok := p.clock.at(p.arrival); ok {
		p.delay.Arrived(p.opts.Schema.Time(tick), at)
		if d, ok := p.delay.Suggest(); ok {
			p.world.SetDelay(max(d, p.opts.Delay))
		}
	}
	p.correct(tick, head.Input)
	if p.taken != nil {
		p.taken(p.world)
	}
	return nil
}

// correct compares where the server has the player with where it was.
func (p *Player[T]) correct(tick uint32, input uint16) {
	if !p.owns {
		return
	}
	if newest, ok := p.world.Latest(p.own, &p.scratch); !ok || newest != tick {
		return
	}
	at := *p.opts.Position(&p.scratch)
	if !p.claims.placed {
		p.claims.place(at)
		p.happened(Event{Kind: Placed})
		return
	}
	if by, ok := p.claims.correct(at, input, p.opts.Tolerance); ok {
		p.stats.Corrections++
		p.happened(Event{Kind: Corrected, By: by})
	}
}

// speak sends what is due.
func (p *Player[T]) speak() {
	if p.again {
		// Where it does not go out there is another Update, or another connection.
		_ = p.Join(p.wanted)
	}
	if sent, ok := p.clock.due(p.now); ok {
		p.buf = message.ClockRequest{Sent: sent}.AppendTo(p.buf[:0])
		p.say(client.Unreliable, 0, message.TypeClockRequest)
	}
	if p.stay != inside {
		return
	}
	if p.owed {
		if a, ok := p.world.Ack(); ok {
			// The stream is that of the room also before the first snapshot.
			a.Stream = p.stream
			p.buf = message.AppendGameStateAck(p.buf[:0], a)
			p.say(client.UnreliableSequenced, channelAck, message.TypeGameStateAck)
		}
		p.owed = false
	}
	p.confirmDue()
	if u, ok := p.claims.due(p.now); ok {
		if at, ok := p.clock.at(p.now); ok {
			u.Full, u.Time = true, uint32(at/time.Millisecond)
		}
		p.buf = u.AppendTo(p.buf[:0])
		p.say(client.UnreliableSequenced, channelPosition, message.TypePositionUpdate)
		p.stats.Positions++
	}
}

// say sends a payload of which nothing is lost when it does not fit: the next one
// says it better.
func (p *Player[T]) say(mode client.Mode, channel, typ uint8) {
	_ = p.conn.SendMessage(client.Outgoing{Mode: mode, Channel: channel, Type: typ, Priority: client.High, Payload: p.buf})
}

// Inside tells whether the player is in a room.
func (p *Player[T]) Inside() bool { return p.stay == inside }

// Own returns the entity that the player moves.
func (p *Player[T]) Own() (id ID, ok bool) { return p.own, p.owns }

// At is where the player is: where it moved to, as corrected by the server. It is
// not known before the event Placed.
func (p *Player[T]) At() (at Vec, ok bool) { return p.claims.at, p.claims.placed }

// Move puts the player somewhere; a quaternion of zeros is none. The server hears of
// it at the next Update that is due. It does nothing before the event Placed. It
// panics when a number is infinite or NaN.
func (p *Player[T]) Move(at Vec, orientation message.Quaternion) {
	for _, f := range [...]float32{at[0], at[1], at[2], orientation[0], orientation[1], orientation[2], orientation[3]} {
		if f-f != 0 {
			panic("play: move to where there is nothing")
		}
	}
	if orientation == (message.Quaternion{}) {
		orientation = message.Quaternion{3: 1}
	}
	p.claims.move(at, orientation)
}

// View appends what is to be seen at the time of the last Update: everything that
// the server told of, the player's own entity included, a little in the past. There
// is nothing while the server's time is not known.
func (p *Player[T]) View(dst []snapshot.Seen[T]) []snapshot.Seen[T] {
	at, ok := p.clock.at(p.now)
	if !ok || p.stay != inside {
		return dst
	}
	return p.world.View(dst, at)
}

// Time returns the server's time at the last Update, modulo 2^32 ticks.
func (p *Player[T]) Time() (t time.Duration, ok bool) { return p.clock.at(p.now) }

// Saw is the time of what View shows, in ms of the server's clock modulo 2^32, as it
// goes into message.PlayerAction.
func (p *Player[T]) Saw() uint32 {
	at, _ := p.clock.at(p.now)
	return uint32((at - p.world.Delay()) / time.Millisecond)
}

// RoundTrip returns the least time to the server and back of late, 0 when it is not
// known.
func (p *Player[T]) RoundTrip() time.Duration { return p.clock.RoundTrip() }

// Stats returns what was counted so far.
func (p *Player[T]) Stats() Stats { return p.stats }

func length(v Vec) float64 {
	return math.Sqrt(float64(v[0])*float64(v[0]) + float64(v[1])*float64(v[1]) + float64(v[2])*float64(v[2]))
}
