package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Types of messages.
const (
	kindPlain = 1
	kindEcho  = 2 // comes back
)

// labelSize is how many bytes of a payload say which message it is.
const labelSize = 12

// putLabel labels a payload, and fills up one that needs several packets so that
// isWhole holds.
func putLabel(b []byte, client, index, ordinal uint32) {
	binary.NativeEndian.PutUint32(b, client)
	binary.NativeEndian.PutUint32(b[4:], index)
	binary.NativeEndian.PutUint32(b[8:], ordinal)
	if len(b) <= wire.MaxDatagram {
		return
	}
	for at := labelSize; at+4 <= len(b); at += 4 {
		binary.NativeEndian.PutUint32(b[at:], index+uint32(at))
	}
}

// isWhole reports whether a payload is as putLabel left it.
func isWhole(b []byte) bool {
	if len(b) <= wire.MaxDatagram {
		return true
	}
	_, index, _ := parseLabel(b)
	for at := labelSize; at+4 <= len(b); at += 4 {
		if binary.NativeEndian.Uint32(b[at:]) != index+uint32(at) {
			return false
		}
	}
	return true
}

func parseLabel(b []byte) (client, index, ordinal uint32) {
	return binary.NativeEndian.Uint32(b), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:])
}

// lane is where messages have an order.
type lane struct {
	mode    session.Mode
	channel uint8
}

var lanes = []lane{
	{session.ReliableOrdered, 0}, {session.ReliableOrdered, 1}, {session.ReliableOrdered, 127},
	{session.ReliableUnordered, 0}, {session.ReliableUnordered, 5},
}

// sent is what is known of one message of a player.
type sent struct {
	lane    lane
	ordinal uint32
	session int    // the player's, from 1 on; 0 while it waits to be sent
	seq     uint32 // of the last packet with a part of it
	acked   bool   // the server said on the wire that it has it

	// Of a message in several packets: those still to be sent, and those that
	// are on their way.
	unsent int
	flying map[uint32]bool
	moved  bool // a chunk left its packet for a later one
}

// packet names a reliable packet of a player.
type packet struct {
	session int
	seq     uint32
}

// player is a client that keeps books.
type player struct {
	pause  time.Duration // after every 32 messages
	large  int           // one message in so many is larger than a packet; 0: none
	t      *testing.T
	id     uint32
	conn   *client.Conn
	stop   chan struct{}
	sender sync.WaitGroup
	reader sync.WaitGroup

	mu       sync.Mutex
	sessions int
	messages []sent
	packets  map[packet][]uint32 // indices of messages
	acked    int                 // messages
	fresh    int                 // of these, in the present session

	largeAcked int // messages larger than a packet

	largest int    // packet that came from the server
	window  int    // smallest one advertised since it was set
	last    []byte // newest reliable packet with messages
	loose   []byte // newest unreliable one
	events  []client.Event
	echoed  map[lane][]uint32 // ordinals that came back
	gaveUp  map[lane][]uint16 // numbers of messages that the server does without
	open    int               // messages larger than a packet that wait or are not acknowledged
}

// newPlayer connects a player, from the clients' namespace where there is one.
func (w *world) newPlayer(id uint32, server netip.AddrPort) *player {
	t, ns := w.t, w.clientSide()
	t.Helper()
	p := &player{
		t: t, id: id, stop: make(chan struct{}),
		packets: make(map[packet][]uint32), echoed: make(map[lane][]uint32), window: wire.ReceiveWindow,
		gaveUp: make(map[lane][]uint16),
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	opts := client.Options{
		Handler:      p.arrived,
		Abandoned:    p.abandoned,
		Reconnect:    true,
		ReconnectMin: 20 * time.Millisecond, ReconnectMax: 200 * time.Millisecond,
		CloseTimeout: 5 * time.Second,
		SendQueue:    32 << 10,
		DialUDP: func(ctx context.Context, address string) (conn net.Conn, err error) {
			dial := func() error {
				var d net.Dialer
				conn, err = d.DialContext(ctx, "udp", address)
				return err
			}
			if ns == nil {
				err = dial()
			} else {
				err = ns.Do(dial)
			}
			if err != nil {
				return nil, err
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.sessions++
			p.fresh, p.open = 0, 0
			return &tap{Conn: conn, player: p, session: p.sessions, begun: make(map[uint32]uint32)}, nil
		},
	}
	if w.tune != nil {
		w.tune(&opts)
	}
	conn, err := client.Dial(ctx, server.String(), opts)
	if err != nil {
		t.Fatal(err)
	}
	p.conn = conn
	p.reader.Go(func() {
		for e := range conn.Events() {
			p.mu.Lock()
			p.events = append(p.events, e)
			p.mu.Unlock()
		}
	})
	return p
}

// leave stops sending and closes the connection, which waits until everything
// is acknowledged.
func (p *player) leave() {
	p.t.Helper()
	if p.conn == nil {
		return
	}
	p.halt()
	if err := p.conn.Close(); err != nil && !p.t.Failed() {
		p.t.Errorf("player %d: %v", p.id, err)
	}
	p.reader.Wait()
	p.conn = nil
}

// halt stops sending.
func (p *player) halt() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.sender.Wait()
}

// play sends n messages as fast as it may, or until halt if n is 0.
func (p *player) play(seed uint64, kind uint8, n int) {
	p.sender.Go(func() {
		dice := rand.New(rand.NewPCG(seed, uint64(p.id)))
		next := make(map[lane]uint32)
		var small [400]byte
		big := make([]byte, 200<<10)
		for count := 0; n == 0 || count < n; count++ {
			if p.pause > 0 && count%32 == 31 {
				select {
				case <-p.stop:
					return
				case <-time.After(p.pause):
				}
			}
			l := lanes[dice.IntN(len(lanes))]
			b := small[:labelSize+dice.IntN(len(small)-labelSize)]
			if p.large > 0 && dice.IntN(p.large) == 0 && p.count(func() int { return p.open }) < 4 {
				b = big[:2000+dice.IntN(len(big)-2000)]
			}
			if !p.say(client.Outgoing{Mode: l.mode, Channel: l.channel, Type: kind, Priority: client.High, Payload: b}, next[l]) {
				return
			}
			next[l]++
		}
	})
}

// say labels and sends one message as soon as there is room, with the ordinal of
// its lane, and reports whether it did.
func (p *player) say(o client.Outgoing, ordinal uint32) bool {
	p.mu.Lock()
	index := uint32(len(p.messages))
	p.messages = append(p.messages, sent{lane: lane{o.Mode, o.Channel}, ordinal: ordinal})
	if len(o.Payload) > wire.MaxDatagram {
		p.open++
	}
	p.mu.Unlock()
	putLabel(o.Payload, p.id, index, ordinal)
	if p.send(o) {
		return true
	}
	p.mu.Lock()
	p.messages = p.messages[:index] // not taken
	p.mu.Unlock()
	return false
}

func (p *player) send(o client.Outgoing) bool {
	for {
		err := p.conn.SendMessage(o)
		switch {
		case err == nil:
			return true
		case errors.Is(err, client.ErrWouldBlock), errors.Is(err, client.ErrReconnecting), errors.Is(err, session.ErrNotOpen):
		default:
			p.t.Errorf("player %d: %v", p.id, err)
			return false
		}
		select {
		case <-p.stop:
			return false
		case <-time.After(300 * time.Microsecond):
		}
	}
}

// arrived is the client's handler.
func (p *player) arrived(_ *client.Conn, m client.Message) {
	if len(m.Payload) < labelSize {
		p.t.Errorf("player %d: payload of %d bytes", p.id, len(m.Payload))
		return
	}
	_, index, ordinal := parseLabel(m.Payload)
	if !isWhole(m.Payload) {
		p.t.Errorf("player %d: message %d is damaged", p.id, index)
	}
	l := lane{m.Mode, m.Channel}
	p.mu.Lock()
	p.echoed[l] = append(p.echoed[l], ordinal)
	p.mu.Unlock()
}

// abandoned is the client's callback.
func (p *player) abandoned(_ *client.Conn, mode client.Mode, channel uint8, id uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := lane{mode, channel}
	p.gaveUp[l] = append(p.gaveUp[l], id)
}

// count calls f with the books held still.
func (p *player) count(f func() int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return f()
}

// tap is the socket of one session. It notes which message is in which packet,
// and what the server acknowledges, without the session's help.
type tap struct {
	net.Conn
	player  *player
	session int
	una     uint32 // everything before was acknowledged
	next    uint32
	begun   map[uint32]uint32 // index of the message of each transfer
}

func (c *tap) Write(b []byte) (int, error) {
	c.player.mu.Lock()
	c.wrote(b)
	c.player.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tap) wrote(b []byte) {
	h, body, err := wire.ParseHeader(b)
	if err != nil || h.Flags&wire.FlagPSH == 0 {
		if err == nil && h.Flags == wire.FlagACK && len(body) > wire.AckBlockMax {
			c.player.loose = append(c.player.loose[:0], b...)
		}
		return
	}
	if wire.IsHello(body) {
		c.una, c.next = h.Sequence, h.Sequence+1
		return
	}
	var block wire.AckBlock
	body, err = wire.ParseAckBlock(body, &block)
	if err != nil {
		c.player.t.Errorf("player %d: sends %v", c.player.id, err)
		return
	}
	if len(body) == 0 {
		return // a probe
	}
	if wire.SeqLess(h.Sequence, c.next) {
		c.wroteAgain(packet{c.session, h.Sequence}, body)
		return
	}
	c.next = h.Sequence + 1
	if h.Flags&wire.FlagFIN != 0 {
		return
	}
	c.player.last = append(c.player.last[:0], b...)
	at := packet{c.session, h.Sequence}
	for len(body) > 0 {
		m, rest, err := wire.ParseMessage(body)
		if err != nil {
			c.player.t.Errorf("player %d: sends %v", c.player.id, err)
			return
		}
		body = rest
		switch {
		case m.Type == wire.TypeFragment:
			c.wroteChunk(at, m.Payload)
		case m.Type < wire.TypeControl && len(m.Payload) >= labelSize:
			_, index, _ := parseLabel(m.Payload)
			c.wroteMessage(at, index)
		}
	}
}

// wroteAgain notes that a chunk has left a packet that is sent again, for another
// that is still to be sent.
func (c *tap) wroteAgain(at packet, body []byte) {
	indices := c.player.packets[at]
	if len(indices) != 2 || indices[0] != indices[1] {
		return // not two chunks of a message
	}
	if m, rest, err := wire.ParseMessage(body); err == nil && m.Type == wire.TypeFragment && len(rest) == 0 {
		c.player.packets[at] = indices[:1]
		s := &c.player.messages[indices[0]]
		s.unsent++
		s.moved = true
	}
}

func (c *tap) wroteMessage(at packet, index uint32) *sent {
	c.player.packets[at] = append(c.player.packets[at], index)
	s := &c.player.messages[index]
	s.session, s.seq = at.session, at.seq
	return s
}

func (c *tap) wroteChunk(at packet, payload []byte) {
	f, err := wire.ParseFragment(payload)
	if err != nil {
		c.player.t.Errorf("player %d: sends %v", c.player.id, err)
		return
	}
	if f.Index == 0 {
		_, c.begun[f.Transfer], _ = parseLabel(f.Data)
	}
	s := c.wroteMessage(at, c.begun[f.Transfer])
	if f.Index == 0 {
		s.unsent, s.flying = int(f.Total), make(map[uint32]bool)
	}
	s.unsent--
	s.flying[at.seq] = true
}

func (c *tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil {
		c.player.mu.Lock()
		c.read(b[:n])
		c.player.mu.Unlock()
	}
	return n, err
}

// read notes what the server acknowledges, by whatever packet.
func (c *tap) read(b []byte) {
	c.player.largest = max(c.player.largest, len(b))
	h, body, err := wire.ParseHeader(b)
	if err != nil || !wire.Verify(b) || h.Flags&wire.FlagACK == 0 || h.Flags&wire.FlagSYN != 0 || c.next == 0 {
		return
	}
	if int32(h.Ack-c.next) > 0 {
		c.player.t.Errorf("player %d: %d acknowledged, which was never sent: the next is %d", c.player.id, h.Ack-1, c.next)
		return
	}
	for ; wire.SeqLess(c.una, h.Ack); c.una++ {
		c.player.acknowledged(packet{c.session, c.una})
	}
	if h.Flags&wire.FlagRST != 0 {
		return
	}
	c.player.window = min(c.player.window, int(h.Window))
	var block wire.AckBlock
	if _, err := wire.ParseAckBlock(body, &block); err != nil {
		c.player.t.Errorf("player %d: received %v", c.player.id, err)
		return
	}
	for i := range uint32(64 * block.Words) {
		if block.Bitmap[i/64]>>(i%64)&1 != 0 {
			c.player.acknowledged(packet{c.session, h.Ack + 1 + 64*uint32(block.Offset) + i})
		}
	}
}

func (p *player) acknowledged(at packet) {
	for _, index := range p.packets[at] {
		s := &p.messages[index]
		delete(s.flying, at.seq)
		if s.acked || s.unsent+len(s.flying) > 0 {
			continue
		}
		s.acked = true
		p.acked++
		p.fresh++
		if s.flying != nil {
			p.open = max(0, p.open-1)
			p.largeAcked++
		}
	}
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(12 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: did not happen in 12 s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
