package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

const patience = 10 * time.Second

func withPatience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, address string, opts Options) *Conn {
	t.Helper()
	c, err := Dial(withPatience(t), address, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func expectEvent(t *testing.T, c *Conn, want Event) {
	t.Helper()
	select {
	case got := <-c.Events():
		if got != want {
			t.Fatalf("event %v (%v), want %v (%v)", got.Kind, got.Reason, want.Kind, want.Reason)
		}
	case <-time.After(patience):
		t.Fatalf("no event, want %v", want.Kind)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("%s: not within %v", what, patience)
}

func TestEcho(t *testing.T) {
	server := newServer(t, "")
	for _, noSACK := range []bool{false, true} {
		for _, mode := range []Mode{Unreliable, UnreliableSequenced, ReliableOrdered, ReliableUnordered} {
			t.Run(fmt.Sprintf("%v_nosack_%v", mode, noSACK), func(t *testing.T) {
				c := dial(t, server.address(), Options{NoSACK: noSACK})
				payload := make([]byte, c.MaxPayload())
				for i := range payload {
					payload[i] = byte(i)
				}
				if err := c.Send(mode, 9, 7, payload); err != nil {
					t.Fatal(err)
				}
				m, err := c.Receive(withPatience(t))
				if err != nil {
					t.Fatal(err)
				}
				if m.Mode != mode || m.Channel != 9 || m.Type != 7 || !bytes.Equal(m.Payload, payload) {
					t.Errorf("received %v %d %d with %d bytes, want what was sent", m.Mode, m.Channel, m.Type, len(m.Payload))
				}
			})
		}
	}
}

// lossy is a socket that loses, repeats and delays datagrams in both
// directions.
type lossy struct {
	net.Conn
	mu   sync.Mutex
	rng  *rand.Rand
	held []byte
}

func (l *lossy) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.rng.IntN(10) {
	case 0, 1: // lost
	case 2: // twice
		l.Conn.Write(b)
		l.Conn.Write(b)
	case 3: // behind the next one
		l.held = append([]byte(nil), b...)
	default:
		l.Conn.Write(b)
		if l.held != nil {
			l.Conn.Write(l.held)
			l.held = nil
		}
	}
	return len(b), nil
}

func (l *lossy) Read(b []byte) (int, error) {
	for {
		n, err := l.Conn.Read(b)
		l.mu.Lock()
		lost := err == nil && l.rng.IntN(5) == 0
		l.mu.Unlock()
		if !lost {
			return n, err
		}
	}
}

func dialLossy(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	return &lossy{Conn: conn, rng: rand.New(rand.NewPCG(1, 2))}, nil
}

// Every reliable message comes back once and in order, whatever the network
// does, and Close leaves nothing behind.
func TestLossyNetwork(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{DialUDP: dialLossy, HandshakeTimeout: patience})
	const messages = 300
	go func() {
		for i := range uint32(messages) {
			payload := binary.BigEndian.AppendUint32(nil, i)
			for {
				err := c.Send(ReliableOrdered, 1, 1, payload)
				if err == nil {
					break
				}
				if !errors.Is(err, ErrWouldBlock) {
					t.Errorf("send %d: %v", i, err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for i := range uint32(messages) {
		m, err := c.Receive(withPatience(t))
		if err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint32(m.Payload); got != i {
			t.Fatalf("received message %d, want %d", got, i)
		}
	}
	if c.Stats().Retransmitted == 0 {
		t.Error("nothing was sent twice: the network was not lossy")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestHandler(t *testing.T) {
	server := newServer(t, "")
	const rounds = 50
	done := make(chan struct{})
	c := dial(t, server.address(), Options{Handler: func(c *Conn, m Message) {
		n := m.Payload[0]
		if n == rounds {
			close(done)
			return
		}
		if err := c.Send(m.Mode, m.Channel, m.Type, []byte{n + 1}); err != nil {
			t.Error(err)
		}
	}})
	if err := c.Send(ReliableOrdered, 0, 1, []byte{0}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the exchange stopped")
	}
}

func TestReceiveContext(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Receive(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Receive = %v, want %v", err, context.Canceled)
	}
}

func TestDialNobodyThere(t *testing.T) {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mute := socket.LocalAddr().String()
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := closed.LocalAddr().String()
	closed.Close()
	defer socket.Close()

	tests := []struct {
		name, address string
		timeout       time.Duration // of the handshake
		cancel        time.Duration // of the context
		want          error
	}{
		{"silent", mute, 50 * time.Millisecond, 0, ErrClosed},
		{"refusing", refusing, 50 * time.Millisecond, 0, ErrClosed},
		{"cancelled", mute, 0, 50 * time.Millisecond, context.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			ctx := withPatience(t)
			if tt.cancel > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.cancel)
				defer cancel()
			}
			started := time.Now()
			_, err := Dial(ctx, tt.address, Options{HandshakeTimeout: tt.timeout, Reconnect: true})
			if !errors.Is(err, tt.want) {
				t.Errorf("Dial = %v, want %v", err, tt.want)
			}
			if waited := time.Since(started); waited < 50*time.Millisecond {
				t.Errorf("gave up after %v: believed an ICMP error", waited)
			}
			eventually(t, "goroutine ends", func() bool { return runtime.NumGoroutine() <= before })
		})
	}
}

func TestDialServerFull(t *testing.T) {
	server := newServer(t, "")
	server.do(func(uint64) { server.full = true })
	_, err := Dial(withPatience(t), server.address(), Options{})
	var closed *ClosedError
	if !errors.As(err, &closed) || closed.Reason != wire.ReasonFull {
		t.Errorf("Dial = %v, want %v", err, wire.ReasonFull)
	}
}

func TestDialBadOptions(t *testing.T) {
	tests := []struct {
		name string
		opts Options
		want string
	}{
		{"negative_timeout", Options{IdleTimeout: -1}, "idle timeout"},
		{"crossed_limits", Options{ReconnectMin: time.Minute, ReconnectMax: time.Second}, "below the minimum"},
		{"negative_inbox", Options{Inbox: -1}, "negative limit"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Dial(withPatience(t), "127.0.0.1:1", tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Dial = %v, want %q", err, tt.want)
			}
		})
	}
}

// Close delivers what was sent before, even while the network loses packets.
func TestCloseFlushes(t *testing.T) {
	server := newServer(t, "")
	const messages = 200
	var received int
	var reason wire.Reason
	server.do(func(uint64) {
		server.message = func(s *session.Session, m session.Message) { received++ }
	})
	c := dial(t, server.address(), Options{DialUDP: dialLossy, HandshakeTimeout: patience, CloseTimeout: patience})
	for range messages {
		if err := c.Send(ReliableUnordered, 1, 1, make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ReliableOrdered, 1, 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Send after Close = %v, want %v", err, ErrClosed)
	}
	eventually(t, "everything arrives", func() (all bool) {
		server.do(func(uint64) {
			all = received == messages
			for _, p := range server.peers {
				reason = p.Reason()
			}
		})
		return all
	})
	if received > messages {
		t.Errorf("%d messages arrived, want %d", received, messages)
	}
	if reason != wire.ReasonClosed {
		t.Errorf("the server was told %v, want %v", reason, wire.ReasonClosed)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

func TestCloseTimeout(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{CloseTimeout: 50 * time.Millisecond})
	server.silent.Store(true)
	if err := c.Close(); err == nil {
		t.Error("Close = nil although the server is silent")
	}
}

func TestReceiveUnblocksOnClose(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{})
	failed := make(chan error, 1)
	go func() {
		_, err := c.Receive(context.Background())
		failed <- err
	}()
	c.Close()
	select {
	case err := <-failed:
		var closed *ClosedError
		if !errors.As(err, &closed) || closed.Reason != wire.ReasonClosed {
			t.Errorf("Receive = %v, want %v", err, wire.ReasonClosed)
		}
	case <-time.After(patience):
		t.Fatal("Receive still waits")
	}
}

// A server that closes is heard at once and in order, and its FIN is
// acknowledged.
func TestServerCloses(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{})
	expectEvent(t, c, Event{Kind: EventOpened})
	server.do(func(uint64) {
		for _, p := range server.peers {
			if err := p.Send(session.ReliableOrdered, 0, 1, []byte("goodbye")); err != nil {
				t.Error(err)
			}
			p.Session.Close(wire.ReasonKicked)
		}
	})
	m, err := c.Receive(withPatience(t))
	if err != nil || string(m.Payload) != "goodbye" {
		t.Fatalf("Receive = %q, %v", m.Payload, err)
	}
	_, err = c.Receive(withPatience(t))
	var closed *ClosedError
	if !errors.As(err, &closed) || closed.Reason != wire.ReasonKicked {
		t.Errorf("Receive = %v, want %v", err, wire.ReasonKicked)
	}
	expectEvent(t, c, Event{EventClosed, wire.ReasonKicked})
	if _, ok := <-c.Events(); ok {
		t.Error("Events is still open")
	}
	eventually(t, "server forgets the session", func() (gone bool) {
		server.do(func(uint64) { gone = len(server.peers) == 0 })
		return gone
	})
}

func TestReconnectAfterRestart(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{Reconnect: true, ReconnectMin: 10 * time.Millisecond})
	expectEvent(t, c, Event{Kind: EventOpened})
	for range 3 {
		server.do(server.restart)
		expectEvent(t, c, Event{EventClosed, wire.ReasonRestarted})
		expectEvent(t, c, Event{Kind: EventReconnected})
		if err := c.Send(ReliableOrdered, 1, 1, []byte("again")); err != nil {
			t.Fatal(err)
		}
		if m, err := c.Receive(withPatience(t)); err != nil || string(m.Payload) != "again" {
			t.Fatalf("Receive = %q, %v", m.Payload, err)
		}
	}
	if n := c.Stats().Reconnects; n != 3 {
		t.Errorf("%d reconnects counted, want 3", n)
	}
}

// A server that vanishes shows as idle timeout, ICMP errors or not, and is
// found again when it is back.
func TestReconnectAfterSilence(t *testing.T) {
	server := newServer(t, "")
	address := server.address()
	c := dial(t, address, Options{
		Reconnect: true, ReconnectMin: 10 * time.Millisecond, ReconnectMax: 50 * time.Millisecond,
		IdleTimeout: 200 * time.Millisecond, KeepaliveInterval: 50 * time.Millisecond,
		HandshakeTimeout: 100 * time.Millisecond,
	})
	expectEvent(t, c, Event{Kind: EventOpened})
	server.stop()
	expectEvent(t, c, Event{EventClosed, wire.ReasonIdle})
	if err := c.Send(ReliableOrdered, 1, 1, nil); !errors.Is(err, ErrReconnecting) {
		t.Errorf("Send while disconnected = %v, want %v", err, ErrReconnecting)
	}
	time.Sleep(300 * time.Millisecond) // some attempts in vain
	newServer(t, address)
	expectEvent(t, c, Event{Kind: EventReconnected})
}

func TestReconnectGivesUp(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{
		Reconnect: true, ReconnectAttempts: 2, ReconnectMin: time.Millisecond, ReconnectMax: time.Millisecond,
		IdleTimeout: 100 * time.Millisecond, KeepaliveInterval: 50 * time.Millisecond,
		HandshakeTimeout: 20 * time.Millisecond,
	})
	server.silent.Store(true)
	_, err := c.Receive(withPatience(t))
	var closed *ClosedError
	if !errors.As(err, &closed) || closed.Reason != wire.ReasonHandshakeTimeout {
		t.Errorf("Receive = %v, want the handshake timeout", err)
	}
}

func TestCloseWhileReconnecting(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{
		Reconnect: true, ReconnectMin: time.Hour, ReconnectMax: time.Hour,
	})
	expectEvent(t, c, Event{Kind: EventOpened})
	server.do(server.restart)
	expectEvent(t, c, Event{EventClosed, wire.ReasonRestarted})
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Close waits for the pause to end")
	}
}

// A reader that falls asleep closes the window; nothing is lost or taken
// beyond the limit.
func TestInboxLimit(t *testing.T) {
	server := newServer(t, "")
	const limit, messages = 64, 400
	c := dial(t, server.address(), Options{Inbox: limit})
	go func() {
		for i := range uint32(messages) {
			payload := binary.BigEndian.AppendUint32(make([]byte, 0, 600), i)[:600]
			for errors.Is(c.Send(ReliableOrdered, 1, 1, payload), ErrWouldBlock) {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	eventually(t, "inbox fills", func() bool { return c.inbox.room() == 0 })
	time.Sleep(100 * time.Millisecond)
	if n := int(c.inbox.size.Load()); n > limit+wire.MaxMessages {
		t.Errorf("%d messages wait, limit %d", n, limit)
	}
	for i := range uint32(messages) {
		m, err := c.Receive(withPatience(t))
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if got := binary.BigEndian.Uint32(m.Payload); got != i {
			t.Fatalf("received message %d, want %d", got, i)
		}
	}
}

// What a full inbox has no room for is told from what it always takes, however
// small it is.
func TestCarriesData(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{})
	expectEvent(t, c, Event{Kind: EventOpened})
	block := wire.AckBlock{Present: true, Words: 4, Bitmap: [4]uint64{0: 1, 3: 1}}
	message := wire.AppendMessage([]byte{0}, wire.Message{Type: 1, Payload: []byte("x")})
	tests := []struct {
		name  string
		flags wire.Flags
		body  []byte
		want  bool
	}{
		{"acknowledgement", wire.FlagACK, []byte{0}, false},
		{"selective_acknowledgement", wire.FlagACK, block.AppendTo(nil), false},
		{"broken_block", wire.FlagACK, []byte{9, 9}, false},
		{"reset", wire.FlagACK | wire.FlagRST, []byte{1}, false},
		{"unreliable", wire.FlagACK, message, true},
		{"unreliable_behind_a_block", wire.FlagACK, append(block.AppendTo(nil), message[1:]...), true},
		{"reliable", wire.FlagACK | wire.FlagPSH, message, true},
		{"keepalive", wire.FlagACK | wire.FlagPSH, []byte{0}, true},
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tt := range tests {
		if got := c.carriesData(&wire.Header{Flags: tt.flags}, tt.body); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	server := newServer(t, "")
	c := dial(t, server.address(), Options{})
	const senders, messages = 4, 100
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for range messages {
				for errors.Is(c.Send(ReliableUnordered, 1, 1, []byte("x")), ErrWouldBlock) {
					time.Sleep(time.Millisecond)
				}
				c.Stats()
			}
		})
		all.Go(func() {
			for range messages {
				if _, err := c.Receive(withPatience(t)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	for range 3 {
		all.Go(func() { c.Close() })
	}
	all.Wait()
}

func TestNoGoroutineLeft(t *testing.T) {
	server := newServer(t, "")
	before := runtime.NumGoroutine()
	var conns []*Conn
	for range 20 {
		conns = append(conns, dial(t, server.address(), Options{}))
	}
	for _, c := range conns {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}
