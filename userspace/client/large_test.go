package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// blob returns a payload that shows where it is damaged.
func blob(size int, seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestLargeMessages(t *testing.T) {
	server := newServer(t, "")
	for _, mode := range []Mode{ReliableOrdered, ReliableUnordered} {
		t.Run(fmt.Sprintf("mode_%d", mode), func(t *testing.T) {
			c := dial(t, server.address(), Options{})
			if got := c.MaxMessage(); got != maxHeld {
				t.Errorf("MaxMessage = %d, want %d", got, maxHeld)
			}
			if err := c.Send(mode, 2, 7, make([]byte, maxHeld+1)); !errors.Is(err, ErrTooLarge) {
				t.Errorf("Send of more = %v, want %v", err, ErrTooLarge)
			}
			sizes := []int{10, 1_000_000, 20, 40_000}
			missing := map[int]uint64{}
			for i, size := range sizes {
				missing[size] = uint64(i)
				if err := c.Send(mode, 2, 7, blob(size, uint64(i))); err != nil {
					t.Fatal(err)
				}
			}
			for i := range sizes {
				m, err := c.Receive(withPatience(t))
				if err != nil {
					t.Fatal(err)
				}
				seed, ok := missing[len(m.Payload)]
				if !ok || m.Mode != mode || m.Channel != 2 || m.Type != 7 || !bytes.Equal(m.Payload, blob(len(m.Payload), seed)) {
					t.Fatalf("message %d: %v %d %d, %d bytes", i, m.Mode, m.Channel, m.Type, len(m.Payload))
				}
				if mode == ReliableOrdered && int(seed) != i {
					t.Errorf("message %d came in place %d", seed, i)
				}
				delete(missing, len(m.Payload))
			}
		})
	}
	t.Run("declined", func(t *testing.T) {
		c := dial(t, server.address(), Options{Reassembly: -1})
		if got := c.MaxMessage(); got != c.MaxPayload() {
			t.Errorf("MaxMessage = %d, want %d", got, c.MaxPayload())
		}
	})
}

// Large messages that nobody receives close the window, as many small ones do.
func TestWindowCountsLargeMessages(t *testing.T) {
	server := newServer(t, "")
	const limit, size, messages = 256, 100_000, 10
	c := dial(t, server.address(), Options{Inbox: limit})
	server.do(func(uint64) {
		for _, p := range server.peers {
			for i := range uint64(messages) {
				if err := p.Send(session.ReliableOrdered, 1, 1, blob(size, i)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	eventually(t, "inbox fills", func() bool { return c.inbox.room() == 0 })
	held := func() (n int64) {
		c.inbox.mu.Lock()
		defer c.inbox.mu.Unlock()
		for _, m := range c.inbox.messages[c.inbox.head:] {
			n += int64(len(m.Payload))
		}
		return n
	}
	// What fills it is one message more than there is room for.
	if got := held(); got > limit*wire.MaxDatagram+size {
		t.Errorf("%d bytes wait", got)
	}
	for i := range uint64(messages) {
		m, err := c.Receive(withPatience(t))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Payload, blob(size, i)) {
			t.Fatalf("message %d: %d bytes, not what was sent", i, len(m.Payload))
		}
	}
	if got := c.inbox.size.Load(); got != 0 {
		t.Errorf("an empty inbox counts %d", got)
	}
}

// spy notes the widest window that a client tells.
type spy struct {
	net.Conn
	window atomic.Int64
}

func (s *spy) Write(b []byte) (int, error) {
	if h, _, err := wire.ParseHeader(b); err == nil {
		s.window.Store(max(s.window.Load(), int64(h.Window)))
	}
	return s.Conn.Write(b)
}

// A client whose inbox was full says so when there is room again: here no
// packet comes that would make it say anything.
func TestWindowReopens(t *testing.T) {
	server := newServer(t, "")
	const limit = 256
	var socket *spy
	c := dial(t, server.address(), Options{
		Inbox: limit, IdleTimeout: time.Hour, KeepaliveInterval: time.Hour,
		DialUDP: func(ctx context.Context, address string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "udp", address)
			socket = &spy{Conn: conn}
			return socket, err
		},
	})
	server.do(func(uint64) {
		for _, p := range server.peers {
			for range 2 * limit {
				if err := p.Send(session.ReliableOrdered, 1, 1, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	eventually(t, "inbox fills", func() bool { return c.inbox.room() == 0 })
	server.silent.Store(true)
	eventually(t, "client is told of everything sent", func() bool {
		before := c.Stats().Acks
		time.Sleep(20 * time.Millisecond)
		return c.Stats().Acks == before
	})
	c.mu.Lock()
	socket.window.Store(0)
	c.mu.Unlock()
	for range limit / 4 {
		if _, err := c.Receive(withPatience(t)); err != nil {
			t.Fatal(err)
		}
	}
	if got := socket.window.Load(); got != 0 {
		t.Errorf("a window of %d was told with most of the inbox taken", got)
	}
	for range limit / 2 {
		if _, err := c.Receive(withPatience(t)); err != nil {
			t.Fatal(err)
		}
	}
	if got := int(socket.window.Load()); got < packets(limit)/2 {
		t.Errorf("a window of %d was told with room for %d packets", got, c.inbox.room())
	}
	server.silent.Store(false) // for Close
}

func TestAbandoned(t *testing.T) {
	server := newServer(t, "")
	type message struct {
		mode    Mode
		channel uint8
		id      uint16
	}
	got := make(chan message, 10)
	c := dial(t, server.address(), Options{Abandoned: func(c *Conn, mode Mode, channel uint8, id uint16) {
		if err := c.Send(ReliableOrdered, 9, 1, []byte("instead")); err != nil {
			t.Error(err)
		}
		got <- message{mode, channel, id}
	}})
	if err := c.Send(ReliableOrdered, 4, 1, []byte("stays")); err != nil {
		t.Fatal(err)
	}
	server.silent.Store(true)
	for i, o := range []Outgoing{
		{Mode: ReliableOrdered, Payload: []byte("over")},
		{Mode: ReliableOrdered, Payload: make([]byte, 100_000)},
		{Mode: ReliableUnordered, Payload: []byte("over")},
	} {
		o.Channel, o.Type, o.Priority, o.Lifetime = 4, 1, Normal, 50*time.Millisecond
		if err := c.SendMessage(o); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	time.Sleep(100 * time.Millisecond) // until they are over
	server.silent.Store(false)
	want := map[message]bool{
		{ReliableOrdered, 4, 1}: true, {ReliableOrdered, 4, 2}: true, {ReliableUnordered, 4, 0}: true,
	}
	for len(want) > 0 {
		select {
		case m := <-got:
			if !want[m] {
				t.Fatalf("abandoned: %v, or twice", m)
			}
			delete(want, m)
		case <-time.After(patience):
			t.Fatalf("not told: %v", want)
		}
	}
	for range 3 {
		m, err := c.Receive(withPatience(t))
		if err != nil {
			t.Fatal(err)
		}
		if text := string(m.Payload); text != "stays" && text != "instead" {
			t.Errorf("received %q", text)
		}
	}
}

func TestCoreKeepsTheBandwidth(t *testing.T) {
	const rate, size, messages = 20_000, 900, 20
	w := newWorld(t, 1, simnet.Link{Delay: 20 * time.Millisecond}, Options{Bandwidth: rate, MinRTO: 400 * time.Millisecond})
	w.run(time.Second)
	if got := w.core.session.Stats().RTO; got < 400*time.Millisecond {
		t.Errorf("a retransmission timeout of %v, the minimum is 400 ms", got)
	}
	w.trace = nil
	for i := range uint32(messages) {
		payload := binary.BigEndian.AppendUint32(make([]byte, 0, size), i)[:size]
		if err := w.core.send(Outgoing{Mode: ReliableUnordered, Type: 1, Priority: Normal, Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	w.pump()
	w.run(time.Second * messages * size / rate / 2)
	if n := len(w.trace); n < messages/3 || n > messages/2+2 {
		t.Errorf("%d of %d messages in half the time that they take", n, messages)
	}
	w.run(time.Second)
	if n := len(w.trace); n != messages {
		t.Errorf("%d of %d messages", n, messages)
	}
}
