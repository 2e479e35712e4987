package client

import (
	"math"
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// never is a time that does not come.
const never = math.MaxUint64

// core is a connection without its socket, goroutine and clock: one session
// after the other, the pauses between them, and what there is to report. Its
// owner moves packets and says what time it is. It is not safe for concurrent
// use.
type core struct {
	opts    Options
	random  func() uint64
	window  func() int // packets there is room for; nil: always enough
	session *session.Session

	// attempt counts sessions, the first being 1. Each wants a socket of its
	// own: the address may have changed meanwhile.
	attempt int
	failed  int         // attempts in a row that led to nothing
	retryAt uint64      // while waiting for the next attempt, else never
	opened  bool        // the session was open
	closing bool        // the application asked for the end
	over    bool        // there will be no other session
	reason  wire.Reason // of the last session that ended

	reconnects uint64
	events     []Event

	// Messages that arrived since the last take, the payloads of small ones in
	// arena.
	messages []Message
	arena    []byte

	abandoned []abandoned // since the last takeAbandoned
}

// abandoned is a message that the server does without.
type abandoned struct {
	mode    Mode
	channel uint8
	id      uint16
}

func newCore(opts Options, random func() uint64, window func() int, now uint64) *core {
	c := &core{opts: opts, random: random, window: window}
	c.start(now)
	return c
}

// start opens the next session.
func (c *core) start(now uint64) {
	c.attempt++
	c.retryAt = never
	c.opened = false
	c.session = session.NewClient(session.Config{
		Profile:           c.opts.Profile,
		MaxDatagram:       maxDatagram,
		HandshakeTimeout:  c.opts.HandshakeTimeout,
		IdleTimeout:       c.opts.IdleTimeout,
		KeepaliveInterval: c.opts.KeepaliveInterval,
		MinRTO:            c.opts.MinRTO,
		MaxRTO:            c.opts.MaxRTO,
		SendQueue:         c.opts.SendQueue,
		Bandwidth:         c.opts.Bandwidth,
		Reassembly:        c.opts.Reassembly,
		Congestion:        c.opts.Congestion,
		NoSACK:            c.opts.NoSACK,
		ReceiveWindow:     c.window,
		Message:           c.arrived,
		Abandoned:         c.gaveUp,
	}, uint32(c.random()), now)
}

// arrived keeps a message until the owner takes it. Delivering it at once
// would run the application's code within the session.
func (c *core) arrived(_ *session.Session, m session.Message) {
	kept := Message{Mode: m.Mode, Channel: m.Channel, Type: m.Type}
	if kept.Payload = m.Payload; kept.large() {
		kept.Payload = slices.Clone(m.Payload)
	} else {
		at := len(c.arena)
		c.arena = append(c.arena, m.Payload...)
		kept.Payload = c.arena[at:len(c.arena):len(c.arena)]
	}
	c.messages = append(c.messages, kept)
}

// gaveUp keeps the news for the owner, for the same reason.
func (c *core) gaveUp(_ *session.Session, mode Mode, channel uint8, id uint16) {
	if c.opts.Abandoned != nil {
		c.abandoned = append(c.abandoned, abandoned{mode, channel, id})
	}
}

// takeAbandoned returns what was abandoned since the last call.
func (c *core) takeAbandoned() []abandoned {
	a := c.abandoned
	c.abandoned = nil
	return a
}

// take returns what arrived since the last call, valid until the next packet.
func (c *core) take() []Message {
	m := c.messages
	c.messages = c.messages[:0]
	c.arena = c.arena[:0]
	return m
}

// packet handles one datagram from the server. What is wrong with it is
// counted by the session.
func (c *core) packet(b []byte, marked bool, now uint64) {
	_ = c.session.MarkedPacket(b, marked, now)
	c.follow(now)
}

// advance does what is due.
func (c *core) advance(now uint64) {
	if !c.waiting() {
		c.session.Tick(now)
		c.follow(now)
	} else if now >= c.retryAt {
		c.start(now)
	}
}

// follow reports what became of the session.
func (c *core) follow(now uint64) {
	if !c.opened && c.session.State() >= session.Open && !c.session.Over() {
		c.opened = true
		c.failed = 0
		kind := EventOpened
		if c.attempt > 1 {
			kind = EventReconnected
			c.reconnects++
		}
		c.events = append(c.events, Event{Kind: kind})
	}
	if c.session.Over() && !c.waiting() && !c.over {
		c.ended(now)
	}
}

// ended follows the end of a session with a pause, or with the end of all.
func (c *core) ended(now uint64) {
	c.reason = c.session.Reason()
	if c.opened {
		c.events = append(c.events, Event{Kind: EventClosed, Reason: c.reason})
	}
	if !c.opened {
		c.failed++
	}
	if !c.again() {
		c.over = true
		return
	}
	c.retryAt = now + uint64(c.pause())
}

// again says whether another session may do better.
func (c *core) again() bool {
	if !c.opts.Reconnect || c.closing || c.attempt == 1 && !c.opened {
		return false
	}
	if c.opts.ReconnectAttempts > 0 && c.failed >= c.opts.ReconnectAttempts {
		return false
	}
	switch c.reason {
	case wire.ReasonIdle, wire.ReasonRestarted, wire.ReasonShuttingDown:
		return true
	case wire.ReasonFull, wire.ReasonHandshakeTimeout:
		return !c.opened
	default:
		return false
	}
}

// pause is how long to wait before the next attempt.
func (c *core) pause() time.Duration {
	d := c.opts.ReconnectMax
	if c.failed < 32 {
		d = min(d, c.opts.ReconnectMin<<c.failed)
	}
	if d < c.opts.ReconnectMin { // the shift overflowed
		d = c.opts.ReconnectMax
	}
	spread := d / 2
	if spread > 0 {
		d += time.Duration(c.random()%uint64(spread)) - spread/2
	}
	return d
}

// finished reports whether there is nothing left to do. A session that the
// server closed still acknowledges for a while that it heard so.
func (c *core) finished() bool {
	return c.over && (c.closing || c.session.State() == session.Closed)
}

func (c *core) waiting() bool { return c.retryAt != never }

// fill writes the next packet to send to b and returns its length, 0 when
// there is none. A session that is over acknowledges so, and resets, in the
// pause before the next one too.
func (c *core) fill(b []byte, now uint64) int { return c.session.Fill(b, now) }

// deadline is when advance has something to do.
func (c *core) deadline() uint64 {
	if c.waiting() {
		return c.retryAt
	}
	return c.session.NextTimeout()
}

// send queues a message.
func (c *core) send(o Outgoing) error {
	switch {
	case c.over || c.closing:
		return c.closedError()
	case c.waiting() || !c.opened:
		return ErrReconnecting
	}
	return c.session.SendMessage(o)
}

// close begins the end.
func (c *core) close(now uint64) {
	c.closing = true
	if c.waiting() {
		c.retryAt = never
		c.over = true
		return
	}
	if !c.over {
		c.session.Close(wire.ReasonClosed)
		c.follow(now)
	}
}

// abort ends at once; the server is told by the next fill.
func (c *core) abort(now uint64) {
	c.closing = true
	if c.over || c.waiting() {
		c.close(now)
		return
	}
	c.session.Abort(wire.ReasonClosed)
	c.follow(now)
}

// drain returns the events since the last call.
func (c *core) drain() []Event {
	e := c.events
	c.events = nil
	return e
}

func (c *core) closedError() error { return &ClosedError{Reason: c.reason} }
