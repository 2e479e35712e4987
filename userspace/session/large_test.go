package session

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/reliability"
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
	for _, mode := range []Mode{Unreliable, UnreliableSequenced, ReliableOrdered, ReliableUnordered} {
		for _, size := range []int{0, 1, reliability.DefaultChunk * 2, reliability.DefaultChunk*2 + 1, 100_000} {
			t.Run(fmt.Sprintf("%v_%d", strings.ReplaceAll(mode.String(), "-", "_"), size), func(t *testing.T) {
				p := newPair(t, Config{}, Config{})
				if size < 2 {
					size += p.c.MaxPayload()
				}
				want := blob(size, 3)
				for _, from := range []*Session{p.c, p.s} {
					if err := from.Send(mode, 7, 9, want); err != nil {
						t.Fatal(err)
					}
				}
				p.after(3000 * ms)
				for _, got := range [][]Message{p.fromClient, p.fromServer} {
					if len(got) != 1 || got[0].Mode != mode || got[0].Channel != 7 || got[0].Type != 9 ||
						got[0].ID != 0 || !bytes.Equal(got[0].Payload, want) {
						t.Fatalf("%d messages", len(got))
					}
				}
				if p.c.Queued() != 0 || p.s.Queued() != 0 || len(p.bodies) != 0 || p.s.Stats().HeldLarge != 0 {
					t.Errorf("left: %d, %d queued, %d packets held", p.c.Queued(), p.s.Queued(), len(p.bodies))
				}
			})
		}
	}
}

// TestLargeMessagesKeepTheOrder of their channel, with what is before and
// behind them, and hold back no other channel.
func TestLargeMessagesKeepTheOrder(t *testing.T) {
	for _, mode := range []Mode{ReliableOrdered, UnreliableSequenced} {
		p := newPair(t, Config{}, Config{})
		sizes := []int{10, 50_000, 20, 30, 3000, 2000, 40, 70_000}
		for i, size := range sizes {
			p.queue(Outgoing{Mode: mode, Channel: 2, Priority: Priority(i % 4), Payload: blob(size, uint64(i))})
		}
		p.queue(Outgoing{Mode: mode, Channel: 3, Priority: High, Payload: []byte("other")})
		p.exchange()
		if !bytes.Contains([]byte(texts(p.fromClient)), []byte("other")) {
			t.Errorf("%v: another channel waits", mode)
		}
		p.after(3000 * ms)
		n := 0
		for _, m := range p.fromClient {
			if m.Channel != 2 {
				continue
			}
			if int(m.ID) != n || !bytes.Equal(m.Payload, blob(sizes[n], uint64(n))) {
				t.Fatalf("%v: message %d of %d bytes in place %d", mode, m.ID, len(m.Payload), n)
			}
			n++
		}
		if n != len(sizes) {
			t.Errorf("%v: %d of %d arrived", mode, n, len(sizes))
		}
		if p.s.State() != Open || p.c.Queued() != 0 {
			t.Errorf("%v: server %v (%v), %d bytes queued", mode, p.s.State(), p.s.Reason(), p.c.Queued())
		}
	}
}

func TestLargeMessagesAreRefused(t *testing.T) {
	old := newPair(t, Config{Reassembly: -1}, Config{})
	if err := old.c.Send(ReliableOrdered, 0, 1, make([]byte, old.c.MaxPayload()+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("towards a peer that knows none: %v", err)
	}
	p := newPair(t, Config{LargeQueue: 100_000}, Config{})
	if err := p.c.Send(ReliableOrdered, 1, 1, make([]byte, 100_001)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("larger than the queue: %v", err)
	}
	for _, size := range []int{60_000, 40_000 - behindCost} {
		if err := p.c.Send(ReliableOrdered, 0, 1, make([]byte, size)); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if err := p.c.Send(ReliableOrdered, 1, 1, make([]byte, 2000)); !errors.Is(err, ErrWouldBlock) {
		t.Errorf("queue full: %v", err)
	}
	if err := p.c.Send(ReliableOrdered, 1, 1, make([]byte, 100)); err != nil {
		t.Errorf("a small message waits for none: %v", err)
	}
	if err := p.c.Send(ReliableOrdered, 0, 1, make([]byte, 100)); !errors.Is(err, ErrWouldBlock) {
		t.Errorf("behind a large one of its channel: %v", err)
	}
	p.after(3000 * ms)
	if err := p.c.Send(ReliableOrdered, 0, 1, make([]byte, 90_000)); err != nil {
		t.Errorf("once it is empty: %v", err)
	}
	empty := 0
	for ; p.c.Send(ReliableOrdered, 0, 1, nil) == nil; empty++ {
		if empty > 1000 {
			t.Fatal("any number of empty messages waits")
		}
	}
	p.after(3000 * ms)
	if p.c.Queued() != 0 {
		t.Errorf("%d bytes queued in the end", p.c.Queued())
	}
}

// TestLargeMessagesAreNumberedAsSent, also where smaller ones leave earlier.
func TestLargeMessagesAreNumberedAsSent(t *testing.T) {
	for _, mode := range []Mode{Unreliable, UnreliableSequenced, ReliableOrdered, ReliableUnordered} {
		p := newPair(t, Config{}, Config{})
		sizes := []int{50_000, 20_000, 30, 40}
		for i, size := range sizes {
			p.queue(Outgoing{Mode: mode, Channel: 2, Priority: Low, Payload: blob(size, uint64(i))})
		}
		p.after(3000 * ms)
		for _, m := range p.fromClient {
			if int(m.ID) >= len(sizes) || len(m.Payload) != sizes[m.ID] {
				t.Errorf("%v: message of %d bytes has number %d", mode, len(m.Payload), m.ID)
			}
		}
		if len(p.fromClient) != len(sizes) {
			t.Errorf("%v: %d messages", mode, len(p.fromClient))
		}
	}
}

// noMemory refuses the first so many messages.
type noMemory struct {
	reliability.Heap
	refuse int
}

func (m *noMemory) Open(session uint64, reliable bool, channel uint8, id uint16, f wire.Fragment) (uint32, bool) {
	if m.refuse > 0 {
		m.refuse--
		return 0, false
	}
	return m.Heap.Open(session, reliable, channel, id, f)
}

// TestLargeMessagesWaitForMemory in their packets, and nothing that was
// acknowledged is lost whatever becomes of the session.
func TestLargeMessagesWaitForMemory(t *testing.T) {
	tests := []struct {
		name string
		do   func(p *pair)
	}{
		{"until_there_is_some", func(p *pair) { p.after(2000 * ms) }},
		{"closed_by_the_client", func(p *pair) { p.c.Close(wire.ReasonClosed); p.after(2000 * ms) }},
		{"reset_by_the_client", func(p *pair) { p.c.Abort(wire.ReasonClosed); p.after(50 * ms) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			memory := &noMemory{refuse: 40}
			p := newPair(t, Config{}, Config{Memory: memory})
			want := blob(20_000, 8)
			p.queue(Outgoing{Mode: ReliableOrdered, Channel: 1, Priority: High, Payload: want})
			p.queue(Outgoing{Mode: ReliableOrdered, Channel: 1, Priority: High, Payload: []byte("behind")})
			p.exchange()
			if len(p.bodies) < 20 || len(p.fromClient) != 0 {
				t.Fatalf("%d packets held, %d messages", len(p.bodies), len(p.fromClient))
			}
			tt.do(p)
			if len(p.fromClient) != 2 || !bytes.Equal(p.fromClient[0].Payload, want) || string(p.fromClient[1].Payload) != "behind" {
				t.Fatalf("%d messages; server %v (%v)", len(p.fromClient), p.s.State(), p.s.Reason())
			}
			if len(p.bodies) != 0 {
				t.Errorf("%d packets held in the end", len(p.bodies))
			}
		})
	}
}

// oneAtATime has room for one message.
type oneAtATime struct {
	reliability.Heap
	taken bool
}

func (m *oneAtATime) Open(session uint64, reliable bool, channel uint8, id uint16, f wire.Fragment) (uint32, bool) {
	if m.taken {
		return 0, false
	}
	m.taken = true
	return m.Heap.Open(session, reliable, channel, id, f)
}

func (m *oneAtATime) Free(handle uint32) {
	m.taken = false
	m.Heap.Free(handle)
}

// TestLargeMessagesDoNotLockEachOther: one that has no memory at the peer and
// takes all its packets would keep that one from being completed which has.
func TestLargeMessagesDoNotLockEachOther(t *testing.T) {
	n := &narrow{window: 1000}
	p := newPair(t, n.config(), Config{Memory: new(oneAtATime)})
	step := func() {
		p.now += ms
		p.c.Tick(p.now)
		p.s.Tick(p.now)
		for k := p.c.Fill(p.buf[:], p.now); k > 0; k = p.c.Fill(p.buf[:], p.now) {
			p.room = 64 - len(p.bodies)
			p.up(p.buf[:k])
		}
	}
	p.room = 64
	p.send(p.c, Unreliable, 0, "tell the room")
	step()
	p.queue(Outgoing{Mode: ReliableUnordered, Priority: Low, Payload: blob(60_000, 1)})
	p.up(p.buf[:p.c.Fill(p.buf[:], p.now)])
	for i := range 5 {
		p.queue(Outgoing{Mode: ReliableUnordered, Priority: Critical, Payload: blob(5000*(1+i*i), 2)})
	}
	for range 3000 {
		step()
	}
	if len(p.fromClient) != 7 || p.s.State() != Open {
		t.Errorf("%d of 7 messages, %d packets held, server %v (%v)", len(p.fromClient), len(p.bodies), p.s.State(), p.s.Reason())
	}
}

// TestMemoryIsGivenInOrder: a message that others have to wait for is not kept
// waiting by them.
func TestMemoryIsGivenInOrder(t *testing.T) {
	memory := &oneAtATime{taken: true}
	got := ""
	s := NewServer(Config{
		Memory:  memory,
		Message: func(_ *Session, m Message) { got += string(m.Payload) + " " },
	}, Opening{ClientISN: 98, SACK: true, Control: true, MaxHeld: 1 << 20}, ms)
	chunk := func(seq, transfer uint32, index uint16, data string) {
		f := wire.Fragment{Transfer: transfer, Index: index, Total: 2, Chunk: 1, Data: []byte(data)}
		s.Committed(Ref(seq), seq, wire.FlagACK|wire.FlagPSH, fragment(f, 0, uint16(transfer)), ms)
	}
	chunk(100, 0, 0, "a")
	memory.taken = false
	chunk(102, 1, 0, "c")
	chunk(103, 1, 1, "d")
	s.Tick(30 * ms)
	chunk(101, 0, 1, "b")
	s.Tick(60 * ms)
	if got != "ab cd " || s.Stats().HeldPackets != 0 {
		t.Errorf("got %q, %d packets held", got, s.Stats().HeldPackets)
	}
}

// TestNoMemoryForLongEndsTheSession, but what was acknowledged is handed over.
func TestNoMemoryForLongEndsTheSession(t *testing.T) {
	p := newPair(t, Config{}, Config{Memory: &noMemory{refuse: 1 << 30}, ReassemblyTimeout: time.Second})
	want := blob(20_000, 8)
	p.queue(Outgoing{Mode: ReliableOrdered, Channel: 1, Priority: High, Payload: want})
	p.queue(Outgoing{Mode: ReliableOrdered, Channel: 1, Priority: High, Payload: []byte("behind")})
	p.after(900 * ms)
	if p.s.State() != Open || len(p.fromClient) != 0 {
		t.Fatalf("server %v, %d messages", p.s.State(), len(p.fromClient))
	}
	p.after(200 * ms)
	if p.s.State() != Closed || p.s.Reason() != wire.ReasonFull || p.c.Reason() != wire.ReasonFull {
		t.Errorf("server %v (%v), client %v", p.s.State(), p.s.Reason(), p.c.Reason())
	}
	if len(p.fromClient) != 2 || !bytes.Equal(p.fromClient[0].Payload, want) || len(p.bodies) != 0 {
		t.Errorf("%d messages, %d packets held", len(p.fromClient), len(p.bodies))
	}
}

// TestStalledTransferEndsTheSession: a reliable message whose chunks cease to
// come can never be handed over.
func TestStalledTransferEndsTheSession(t *testing.T) {
	p := newPair(t, Config{}, Config{ReassemblyTimeout: time.Second})
	n := &narrow{window: 5}
	p.c.snd.Init(p.c.SndNxt(), n, p.c.cfg.Pool)
	p.queue(Outgoing{Mode: ReliableOrdered, Priority: High, Payload: blob(500_000, 1)})
	for range 5 {
		p.up(p.buf[:p.c.Fill(p.buf[:], p.now)])
	}
	n.window = 0
	p.after(500 * ms)
	if p.s.State() != Open {
		t.Fatalf("server %v after half the time", p.s.State())
	}
	p.after(600 * ms)
	if p.s.State() != Closed || p.s.Reason() != wire.ReasonProtocol {
		t.Errorf("server %v (%v)", p.s.State(), p.s.Reason())
	}
}

// TestLargeLifetimes: a large message that is given up on its way leaves
// nothing behind, and the channel goes on.
func TestLargeLifetimes(t *testing.T) {
	for _, mode := range []Mode{ReliableOrdered, ReliableUnordered} {
		for _, begun := range []bool{false, true} {
			n := &narrow{window: 0}
			cfg := n.config()
			abandoned := 0
			cfg.Abandoned = func(*Session, Mode, uint8, uint16) { abandoned++ }
			p := newPair(t, cfg, Config{})
			p.queue(Outgoing{Mode: mode, Channel: 4, Priority: High, Lifetime: 300 * time.Millisecond, Payload: blob(100_000, 1)})
			p.queue(Outgoing{Mode: mode, Channel: 4, Priority: High, Payload: []byte("behind")})
			if begun {
				p.lose[p.c.SndNxt()+1] = true
				n.window = 10
				p.room = 1024
				var buf [wire.MaxDatagramLimit]byte
				for range 10 {
					k := p.c.Fill(buf[:], p.now)
					p.up(buf[:k])
				}
				n.window = 0
			}
			p.after(400 * ms)
			n.window = 64
			p.after(3000 * ms)
			if got := texts(p.fromClient); got != "behind " {
				t.Fatalf("%v, begun %v: got %d messages", mode, begun, len(p.fromClient))
			}
			c, s := p.c.Stats(), p.s.Stats()
			if c.Abandoned != 1 || abandoned != 1 || s.Skipped != 1 || s.HeldLarge != 0 || c.Queued != 0 || p.s.State() != Open {
				t.Errorf("%v, begun %v: %d abandoned, %d confirmed, %d skipped, %d bytes held, %d queued, server %v",
					mode, begun, c.Abandoned, abandoned, s.Skipped, s.HeldLarge, c.Queued, p.s.State())
			}
		}
	}
}

// TestLargeLifetimeAfterTheLastChunk: once all chunks and what follows them are
// on their way, the message is handed over or given up, never both or neither.
func TestLargeLifetimeAfterTheLastChunk(t *testing.T) {
	want := blob(10_000, 1)
	for _, mode := range []Mode{ReliableOrdered, ReliableUnordered} {
		for _, arrives := range []bool{false, true} {
			p := newPair(t, Config{}, Config{})
			first := p.c.SndNxt()
			p.block[first+1], p.block[first+4] = !arrives, !arrives
			p.block[first+10], p.block[first+11] = !arrives, !arrives // behind the last chunk
			p.loseDown = arrives
			p.queue(Outgoing{Mode: mode, Channel: 4, Priority: High, Lifetime: 300 * time.Millisecond, Payload: want})
			p.queue(Outgoing{Mode: mode, Channel: 4, Priority: High, Payload: []byte("behind")})
			p.after(1500 * ms)
			p.loseDown = false
			p.block[first+1], p.block[first+4] = false, false
			p.after(200 * ms)
			clear(p.block)
			p.after(3000 * ms)
			if p.s.State() != Open {
				t.Fatalf("%v: server %v (%v)", mode, p.s.State(), p.s.Reason())
			}
			got, confirmed := len(p.fromClient), uint64(1)
			if arrives {
				got, confirmed = got-1, 0
			}
			c, s := p.c.Stats(), p.s.Stats()
			if got != 1 || c.Abandoned != 1 || c.AbandonedConfirmed != confirmed || s.Skipped != confirmed || s.HeldLarge != 0 || c.Queued != 0 {
				t.Errorf("%v, arrives %v: %d messages, %d abandoned, %d confirmed, %d skipped, %d bytes held, %d queued",
					mode, arrives, len(p.fromClient), c.Abandoned, c.AbandonedConfirmed, s.Skipped, s.HeldLarge, c.Queued)
			}
		}
	}
}

// TestLargeMessageWaitsForWhatIsBeforeIt in its channel, and waits for company.
func TestLargeMessageWaitsForWhatIsBeforeIt(t *testing.T) {
	for _, mode := range []Mode{ReliableOrdered, UnreliableSequenced} {
		p := newPair(t, Config{}, Config{})
		p.queue(Outgoing{Mode: mode, Channel: 1, Priority: Low, Payload: blob(500, 1)})
		p.queue(Outgoing{Mode: mode, Channel: 1, Priority: High, Payload: blob(3000, 2)})
		p.queue(Outgoing{Mode: mode, Channel: 2, Priority: Low, Payload: blob(2048, 3)})
		p.exchange()
		if len(p.fromClient) != 1 || p.fromClient[0].Channel != 2 {
			t.Errorf("%v: %d messages at once, want that of the other channel", mode, len(p.fromClient))
		}
		p.after(30 * ms)
		if p.s.State() != Open || len(p.fromClient) != 3 || p.fromClient[1].ID != 0 || p.fromClient[2].ID != 1 {
			t.Errorf("%v: server %v (%v), %d messages", mode, p.s.State(), p.s.Reason(), len(p.fromClient))
		}
	}
}

// TestBegunLargeMessageGoesOn beside others that are more urgent, without end.
func TestBegunLargeMessageGoesOn(t *testing.T) {
	n := &narrow{window: 4, rate: 200}
	p := newPair(t, n.config(), Config{ReassemblyTimeout: 5 * time.Second})
	p.queue(Outgoing{Mode: ReliableUnordered, Channel: 1, Priority: Low, Payload: blob(10_000, 1)})
	p.exchange()
	for range 15_000 {
		if p.c.Queued() < 100_000 {
			p.queue(Outgoing{Mode: ReliableUnordered, Priority: High, Payload: blob(50_000, 2)})
		}
		p.after(ms)
	}
	if p.s.State() != Open {
		t.Errorf("server %v (%v)", p.s.State(), p.s.Reason())
	}
	if !slices.ContainsFunc(p.fromClient, func(m Message) bool { return m.Channel == 1 }) {
		t.Error("the message never arrives")
	}
}

// TestFlushHeldSkipsWhatWasGivenUp, also where a chunk of it lies in a packet
// that is held for another message.
func TestFlushHeldSkipsWhatWasGivenUp(t *testing.T) {
	var got []Message
	released := 0
	s := NewServer(Config{
		Message: func(_ *Session, m Message) { got = append(got, m) },
		Release: func(*Session, Ref) { released++ },
	}, Opening{ClientISN: 100, SACK: true, Control: true, MaxHeld: 1 << 20}, ms)
	chunk := wire.AppendFragment(nil, wire.Fragment{Total: 2, Chunk: 5, Type: 1, Data: []byte("chunk")})
	body := wire.AppendMessage(nil, wire.Message{Type: wire.TypeFragment, ID: 1, Payload: chunk})
	body = wire.AppendMessage(body, wire.Message{Type: 1, ID: 3, Payload: []byte("held")})
	s.Committed(1, 104, wire.FlagACK|wire.FlagPSH, body, ms)
	s.Committed(2, 105, wire.FlagACK|wire.FlagPSH, wire.AppendMessage(nil, wire.Message{Type: wire.TypeSkip, ID: 1}), ms)
	s.Stop(wire.ReasonClosed)
	s.FlushHeld()
	if len(got) != 1 || string(got[0].Payload) != "held" || released != 2 || s.Stats().HeldLarge != 0 {
		t.Errorf("got %+v, %d of 2 packets released, %d bytes held", got, released, s.Stats().HeldLarge)
	}
}

// TestRecoverKeepsTheOrder of what lies in one packet with the last chunk of a
// message that was complete and waited.
func TestRecoverKeepsTheOrder(t *testing.T) {
	chunks := []wire.Fragment{
		{Total: 2, Index: 0, Chunk: 2, Type: 1, Data: []byte("la")},
		{Total: 2, Index: 1, Chunk: 2, Type: 1, Data: []byte("st")},
	}
	var memory reliability.Heap
	handle, _ := memory.Open(5, true, 0, 7, chunks[0])
	for i, f := range chunks {
		memory.Put(handle, uint16(i), uint32(100+i), f.Data)
	}
	got, released := "", 0
	s := NewRecovered(Config{
		Memory:  &memory,
		Message: func(_ *Session, m Message) { got += string(m.Payload) + " " },
		Release: func(*Session, Ref) { released++ },
	}, Recovery{ID: 5, ClientISN: 98, ServerISN: 40, SndNxt: 60}, ms)
	s.Adopt(commit.Transfer{Handle: handle, Session: 5, Reliable: true, ID: 7, First: chunks[0], Received: 2, Sequence: 101})
	body := wire.AppendMessage(nil, wire.Message{Type: 1, ID: 6, Payload: []byte("before")})
	body = wire.AppendMessage(body, wire.Message{Type: wire.TypeFragment, ID: 7, Payload: wire.AppendFragment(nil, chunks[1])})
	body = wire.AppendMessage(body, wire.Message{Type: 1, ID: 8, Payload: []byte("behind")})
	s.Committed(1, 101, wire.FlagACK|wire.FlagPSH, body, ms)
	s.Recover(102)
	if got != "before last behind " || released != 1 || s.Stats().HeldLarge != 0 {
		t.Errorf("got %q, %d of 1 released, %d bytes held", got, released, s.Stats().HeldLarge)
	}
}

// TestUnreliableLargeMessagesKeepToTheWindow: while reliable packets fill it,
// nothing of an unreliable large message leaves.
func TestUnreliableLargeMessagesKeepToTheWindow(t *testing.T) {
	n := &narrow{window: 4}
	p := newPair(t, n.config(), Config{})
	p.loseDown = true
	p.queue(Outgoing{Mode: ReliableOrdered, Payload: blob(1000, 1)})
	for range 3 {
		p.queue(Outgoing{Mode: ReliableUnordered, Priority: High, Payload: blob(1000, 1)})
	}
	p.after(ms)
	before := p.packets
	p.queue(Outgoing{Mode: Unreliable, Payload: blob(100_000, 1)})
	p.after(ms)
	if n := p.packets - before; n != 0 {
		t.Errorf("%d packets beyond the congestion window", n)
	}
	p.loseDown = false
	p.after(2000 * ms)
	if got := p.fromClient; len(got) != 5 || len(got[4].Payload) != 100_000 {
		t.Errorf("%d messages", len(got))
	}
}

// TestLargeMessagesLeaveRoomForSmallOnes: while a large message fills window
// and pacer, a small one leaves with the next packet.
func TestLargeMessagesLeaveRoomForSmallOnes(t *testing.T) {
	n := &narrow{window: 8}
	p := newPair(t, n.config(), Config{})
	p.queue(Outgoing{Mode: ReliableOrdered, Channel: 1, Priority: Critical, Payload: blob(1_000_000, 1)})
	p.after(5 * ms)
	p.room = 12 // of which large messages take no more than nine
	p.loseDown = true
	p.after(ms)
	p.loseDown = false
	for i := range 50 {
		text := fmt.Sprint(i)
		p.queue(Outgoing{Mode: ReliableUnordered, Priority: Low, Payload: []byte(text)})
		p.after(21 * ms)
		if got := p.fromClient; len(got) == 0 || string(got[len(got)-1].Payload) != text {
			t.Fatalf("message %d waits behind the large one", i)
		}
	}
}
