// Package client connects a game client to an xrudp server over an ordinary
// UDP socket. It builds on every system that Go supports.
//
//	conn, err := client.Dial(ctx, "game.example.com:7777", client.Options{})
//	...
//	err = conn.Send(client.ReliableOrdered, 1, typeChat, []byte("hello"))
//	m, err := conn.Receive(ctx)
package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/xrudp/xrudp/userspace/internal/monotime"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Mode says what is promised about a message.
type Mode = session.Mode

const (
	Unreliable          = session.Unreliable
	UnreliableSequenced = session.UnreliableSequenced
	ReliableOrdered     = session.ReliableOrdered
	ReliableUnordered   = session.ReliableUnordered
)

// Outgoing is a message to be sent, with its priority and its lifetime.
type Outgoing = session.Outgoing

// Priority says which of the messages that wait leave first, and how long a
// message waits for company.
type Priority = session.Priority

const (
	Critical = session.Critical
	High     = session.High
	Normal   = session.Normal
	Low      = session.Low
)

// Reason says why a session ended.
type Reason = wire.Reason

// Profile is a way to write packets. A server speaks one on each of its ports.
type Profile = wire.Profile

const (
	Standard = wire.Standard
	Compact  = wire.Compact // smaller headers, but see PROTOCOL.md section 21.7
)

// Errors of Send and Receive. The end of the connection is a *ClosedError,
// which wraps ErrClosed.
var (
	ErrClosed       = errors.New("connection closed")
	ErrReconnecting = errors.New("send message: reconnecting")
	ErrWouldBlock   = session.ErrWouldBlock
	ErrTooLarge     = session.ErrTooLarge
)

// ClosedError says why a connection ended.
type ClosedError struct{ Reason Reason }

func (e *ClosedError) Error() string { return fmt.Sprintf("connection closed: %v", e.Reason) }

// Unwrap returns ErrClosed.
func (e *ClosedError) Unwrap() error { return ErrClosed }

// Message is one message from the server.
type Message struct {
	Mode    Mode
	Channel uint8
	Type    uint8
	// Payload belongs to the caller of Receive. A Handler has it until it
	// returns.
	Payload []byte
}

// large reports whether m came in more than one packet. Its payload is then its
// own.
func (m *Message) large() bool { return len(m.Payload) > wire.MaxDatagram }

// EventKind says what an Event is about.
type EventKind uint8

const (
	// EventOpened is the first event of every connection.
	EventOpened EventKind = iota + 1

	// EventClosed: the session ended, for the reason given. If the connection
	// reconnects, it is followed by EventReconnected.
	EventClosed

	// EventReconnected: a new session is open. The server knows nothing of the
	// old one. What was sent there and not acknowledged may or may not have
	// been delivered, and what the server was about to send is lost: the
	// application has to agree with it anew.
	EventReconnected
)

// String returns the kind in lower case.
func (k EventKind) String() string {
	switch k {
	case EventOpened:
		return "opened"
	case EventClosed:
		return "closed"
	case EventReconnected:
		return "reconnected"
	}
	return "unknown"
}

// Event is a change of the connection's state.
type Event struct {
	Kind   EventKind
	Reason Reason // of EventClosed
}

// Stats describe a connection. Counters belong to the present session.
type Stats struct {
	session.Stats
	Reconnects uint64 // sessions after the first that opened
	Refused    uint64 // packets not taken because the inbox was full
}

// pendingEvents is how many events wait for a reader of Events.
const pendingEvents = 16

// maxPacket is more than any server sends.
const maxPacket = 2048

// Conn is a connection to a server. Its methods may be called concurrently.
//
// One goroutine per connection receives and keeps time; it ends with Close, or
// when the connection ends for good. A connection that ended still has to be
// closed.
type Conn struct {
	address string
	opts    Options
	events  chan Event
	ended   chan struct{} // closed when nothing more will be received
	done    chan struct{} // closed when the goroutine ends
	opened  chan struct{} // closed when the first session opens

	mu      sync.Mutex
	core    *core
	socket  net.Conn
	of      int    // core.attempt that socket belongs to
	wake    uint64 // the read deadline set
	out     [maxPacket]byte
	refused uint64
	stop    context.CancelFunc // of dialling

	inbox inbox
}

// Dial connects to a server and returns when the session is open. ctx bounds
// the attempt and nothing later.
func Dial(ctx context.Context, address string, opts Options) (*Conn, error) {
	opts.fillDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	socket, err := opts.DialUDP(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	prepare(socket)
	background, stop := context.WithCancel(context.Background())
	c := &Conn{
		address: address,
		opts:    opts,
		events:  make(chan Event, pendingEvents),
		ended:   make(chan struct{}),
		done:    make(chan struct{}),
		opened:  make(chan struct{}),
		socket:  socket,
		of:      1,
		wake:    never,
		stop:    stop,
	}
	var window func() int
	if opts.Handler == nil {
		c.inbox.init(opts.Inbox)
		window = c.inbox.window
	}
	c.core = newCore(opts, rand.Uint64, window, monotime.Now())
	go c.run(background)

	select {
	case <-c.opened:
		return c, nil
	case <-c.ended:
		c.Close()
		return nil, fmt.Errorf("dial %s: %w", address, c.closedError())
	case <-ctx.Done():
		c.abort()
		return nil, fmt.Errorf("dial %s: %w", address, ctx.Err())
	}
}

// Send queues a message of High priority and sends what the network may take
// now. The payload is copied, and may be as large as MaxMessage. ErrWouldBlock
// says that the queue is full: an unreliable message is best forgotten, a
// reliable one sent again later.
func (c *Conn) Send(mode Mode, channel, kind uint8, payload []byte) error {
	return c.SendMessage(Outgoing{Mode: mode, Channel: channel, Type: kind, Priority: High, Payload: payload})
}

// SendMessage is Send with a priority and a lifetime. Options.Abandoned hears of
// messages that the server does without since their lifetime was over.
func (c *Conn) SendMessage(o Outgoing) error {
	now := monotime.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.core.send(o); err != nil {
		return err
	}
	c.flush(now)
	c.setWake(now)
	return nil
}

// Receive returns the next message. It waits until there is one, ctx is done,
// or the connection ended and everything received before was returned. It is
// of no use with Options.Handler.
func (c *Conn) Receive(ctx context.Context) (Message, error) {
	for {
		if m, ok := c.inbox.pop(); ok {
			if c.inbox.reopened() {
				c.tellWindow()
			}
			return m, nil
		}
		select {
		case <-c.inbox.more:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		case <-c.ended:
			if m, ok := c.inbox.pop(); ok {
				return m, nil
			}
			return Message{}, c.closedError()
		}
	}
}

// tellWindow tells the server that there is room again: it may have nothing
// under way that would be answered.
func (c *Conn) tellWindow() {
	now := monotime.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.core.session.TellWindow()
	c.flush(now)
	c.setWake(now)
}

func (c *Conn) closedError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.core.closedError()
}

// Events returns the channel on which changes of state are told, the same one
// at each call. It is closed after the last. Who does not read it misses the
// oldest events but nothing else.
func (c *Conn) Events() <-chan Event { return c.events }

// Stats returns what was counted so far.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Stats: c.core.session.Stats(), Reconnects: c.core.reconnects, Refused: c.refused}
}

// MaxMessage returns the size in bytes of the largest payload that the server
// takes and Send accepts.
func (c *Conn) MaxMessage() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.core.session.MaxMessage()
}

// MaxPayload returns the size in bytes of the largest payload that fits a packet.
func (c *Conn) MaxPayload() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.core.session.MaxPayload()
}

// LocalAddr returns the address of the present socket.
func (c *Conn) LocalAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.socket.LocalAddr()
}

// Close ends the connection: what was sent is delivered, the server is told,
// and the goroutine has ended when Close returns. An error says that the
// server did not acknowledge everything within Options.CloseTimeout. A second
// Close does nothing.
func (c *Conn) Close() error {
	now := monotime.Now()
	c.mu.Lock()
	first := !c.core.closing
	c.core.close(now)
	c.flush(now)
	c.interrupt()
	c.mu.Unlock()

	patience := time.NewTimer(c.opts.CloseTimeout)
	defer patience.Stop()
	select {
	case <-c.done:
		return nil
	case <-patience.C:
		c.abort()
		if !first {
			return nil
		}
		return fmt.Errorf("close connection: not everything was acknowledged within %v", c.opts.CloseTimeout)
	}
}

// abort ends the connection without waiting for the server.
func (c *Conn) abort() {
	now := monotime.Now()
	c.mu.Lock()
	c.core.abort(now)
	c.flush(now)
	c.interrupt()
	c.mu.Unlock()
	<-c.done
}

// interrupt makes the goroutine look around at once.
func (c *Conn) interrupt() {
	c.stop()
	c.wake = 0
	c.socket.SetReadDeadline(time.Unix(1, 0))
}

// run is the connection's goroutine.
func (c *Conn) run(dialling context.Context) {
	defer close(c.done)
	defer c.stop()
	buf, control := make([]byte, maxPacket), make([]byte, controlSize)
	told, marked := false, false
	n, failures := 0, 0
	for {
		now := monotime.Now()
		c.mu.Lock()
		if n > 0 {
			c.receive(buf[:n], marked, now)
		}
		c.core.advance(now)
		now = c.redial(dialling, now)
		messages := c.core.take()
		if c.opts.Handler == nil {
			c.inbox.push(messages) // so that the window counts them
		}
		c.flush(now)
		events, gaveUp := c.core.drain(), c.core.takeAbandoned()
		c.setWake(now)
		socket := c.socket
		over, finished := c.core.over, c.core.finished()
		c.mu.Unlock()

		c.hand(messages, gaveUp)
		clear(messages)
		c.tell(events)
		if over && !told {
			told = true
			close(c.events)
			close(c.ended)
		}
		if finished {
			socket.Close()
			return
		}
		n, marked, failures = read(socket, buf, control, failures)
	}
}

// read waits for a datagram or the deadline. failures counts errors in a row.
//
// ICMP errors come up here, "connection refused" above all. They are forged
// too easily to be believed: if the server is gone, its silence tells. But a
// socket that is really broken must not keep a CPU busy.
func read(socket net.Conn, buf, control []byte, failures int) (n int, marked bool, failed int) {
	n, marked, err := readMarked(socket, buf, control)
	switch {
	case err == nil:
		return n, marked, 0
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, false, failures
	}
	if failures >= 8 {
		time.Sleep(10 * time.Millisecond)
	}
	return 0, false, failures + 1
}

// receive hands a datagram to the session, unless it carries data and there is
// no room: the server sends it again.
func (c *Conn) receive(b []byte, marked bool, now uint64) {
	if c.opts.Handler == nil && c.inbox.full() {
		if h, body, err := c.opts.Profile.ParseHeader(b); err == nil && c.carriesData(&h, body) {
			c.refused++
			return
		}
	}
	c.core.packet(b, marked, now)
}

func (c *Conn) carriesData(h *wire.Header, body []byte) bool {
	switch {
	case !c.core.opened || h.Flags&wire.FlagRST != 0:
		return false
	case h.Flags&wire.FlagPSH != 0:
		return true
	}
	var block wire.AckBlock
	body, _ = c.opts.Profile.ParseBlock(h, c.core.session.SACK(), body, &block)
	return len(body) > 0
}

// redial gives the core a socket when it began another session, and returns the
// time after that. Where it fails the old one stays, and the session runs into
// its handshake timeout.
func (c *Conn) redial(ctx context.Context, now uint64) uint64 {
	if c.of == c.core.attempt {
		return now
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.opts.HandshakeTimeout)
	socket, err := c.opts.DialUDP(ctx, c.address)
	cancel()
	c.mu.Lock()
	c.of = c.core.attempt
	if err == nil {
		c.socket.Close()
		prepare(socket)
		c.socket = socket
		c.wake = never
	}
	return monotime.Now()
}

// flush sends what there is to send. Datagrams that the system refuses count
// as lost.
func (c *Conn) flush(now uint64) {
	if c.of != c.core.attempt {
		return // the socket for this session is still to be opened
	}
	for {
		n := c.core.fill(c.out[:], now)
		if n == 0 {
			return
		}
		if s := c.core.session; s.State() == session.SynSent && s.Stats().PacketsOut == 2 {
			unmark(c.socket) // the first SYN was not answered
		}
		_, _ = c.socket.Write(c.out[:n])
	}
}

// setWake makes a read end when the core has something to do. A deadline that
// is too early costs one turn of the loop, setting it at every packet more.
func (c *Conn) setWake(now uint64) {
	at := c.core.deadline()
	if len(c.core.abandoned) > 0 {
		at = now // for the goroutine to tell
	}
	if at == c.wake || at > c.wake && c.wake > now {
		return
	}
	c.wake = at
	if at == never {
		c.socket.SetReadDeadline(time.Time{})
		return
	}
	c.socket.SetReadDeadline(time.Now().Add(time.Duration(at - min(at, now))))
}

// hand gives the application what it asked to be called for.
func (c *Conn) hand(messages []Message, gaveUp []abandoned) {
	if c.opts.Handler != nil {
		for _, m := range messages {
			c.opts.Handler(c, m)
		}
	}
	for _, a := range gaveUp {
		c.opts.Abandoned(c, a.mode, a.channel, a.id)
	}
}

// tell reports events; the oldest give way.
func (c *Conn) tell(events []Event) {
	for _, e := range events {
		if e.Kind == EventOpened {
			close(c.opened)
		}
		for sent := false; !sent; {
			select {
			case c.events <- e:
				sent = true
			default:
				select {
				case <-c.events:
				default:
				}
			}
		}
	}
}
