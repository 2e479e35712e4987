package session

import (
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// script reads numbers from fuzz input, zero once it is used up.
type script []byte

func (s *script) byte() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *script) take(n int) []byte {
	n = min(n, len(*s))
	b := (*s)[:n]
	*s = (*s)[n:]
	return b
}

// FuzzPacket gives a client hostile packets whose header is near to what it
// expects and whose checksum is right, and lets it send and wait in between.
// Nothing may panic, no memory may be kept beyond the windows.
func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x12, 0, 0, 20, 0, 1, 1, 0, 0, 0, 0})
	f.Add([]byte{0x12, 1, 0, 9, 0, 1, 1, 0, 1, 0, 1, 'x', 0x12, 0, 0, 9, 0, 1, 1, 0, 0, 0, 1, 'y'})
	f.Add([]byte{0x16, 0, 0, 2, 0, 5, 0x0a, 0, 0, 1, 1})
	f.Add([]byte{0xff, 0, 0xfe, 3, 0x02, 0, 0, 14, 1, 0, 0, 0, 0, 0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, input []byte) {
		p := newPair(t, Config{}, Config{})
		c := p.c
		handed := 0
		c.cfg.Message = func(s *Session, m Message) {
			handed++
			if m.Channel >= reliability.Channels || len(m.Payload) > wire.MaxDatagram {
				t.Fatalf("message %+v", m)
			}
			_ = s.Send(m.Mode, m.Channel, 1, m.Payload)
		}
		var buf [wire.MaxDatagram]byte
		in := script(input)
		for steps := 0; len(in) > 0 && steps < 500; steps++ {
			flags := in.byte()
			switch flags {
			case 0xff:
				p.now += uint64(in.byte()) * 10 * ms
				c.Tick(p.now)
			case 0xfe:
				_ = c.Send(Mode(in.byte()%4), in.byte()%128, 1, in.take(int(in.byte())))
			case 0xfd:
				for c.Fill(buf[:], p.now) > 0 {
				}
			case 0xfc:
				c.Close(wire.ReasonClosed)
			default:
				h := wire.Header{
					Sequence:  c.rcv.Next + uint32(int32(int8(in.byte()))),
					Ack:       c.snd.Una() + uint32(int32(int8(in.byte()))),
					Flags:     wire.Flags(flags),
					Window:    uint16(in.byte()),
					Timestamp: p.now / 1000,
				}
				b := append(h.AppendTo(nil), in.take(int(in.byte()))...)
				wire.Seal(b)
				_ = c.Packet(b, p.now)
			}
			if c.inbox.held > wire.ReceiveWindow || c.snd.Outstanding() > wire.ReceiveWindow {
				t.Fatalf("%d packets held, %d outstanding", c.inbox.held, c.snd.Outstanding())
			}
			if c.Over() && (c.inbox.held != 0 || c.snd.InFlight() != 0 || c.Queued() != 0) {
				t.Fatalf("%v with %d held, %d in flight, %d queued", c.State(), c.inbox.held, c.snd.InFlight(), c.Queued())
			}
			if next := c.NextTimeout(); next == 0 {
				t.Fatal("timeout at 0")
			}
		}
		c.Reset(wire.ReasonClosed)
		if c.inbox.held != 0 || c.state != Closed {
			t.Fatalf("%v with %d held", c.State(), c.inbox.held)
		}
	})
}

// FuzzRawPacket gives a client bytes as they are, in every state.
func FuzzRawPacket(f *testing.F) {
	f.Add(byte(0), wire.AppendSYNACK(nil, 500, wire.Options{Cookie: 8, HasCookie: true, MTU: 548}, 1))
	f.Add(byte(2), []byte("short"))
	f.Fuzz(func(t *testing.T, state byte, packet []byte) {
		c := NewClient(Config{}, 500, ms)
		var buf [wire.MaxDatagram]byte
		c.Fill(buf[:], ms)
		if state%2 == 1 {
			c = newPair(t, Config{}, Config{}).c
		}
		sealed := len(packet) >= wire.HeaderSize
		if sealed {
			packet = slices.Clone(packet)
			wire.Seal(packet)
		}
		err := c.Packet(packet, 2*ms)
		if err == nil && !sealed {
			t.Error("took a packet without a header")
		}
		for c.Fill(buf[:], 3*ms) > 0 {
		}
	})
}

// modelInbox is the receiving half of a server session without any cleverness.
type modelInbox struct {
	next    uint32 // sequence
	seen    map[uint32]bool
	due     map[uint8]uint16
	held    []modelMessage
	handed  []modelMessage
	finSeq  uint32
	finSeen bool
	state   State
}

type modelMessage struct {
	seq     uint32
	channel uint8
	id      uint16
	mode    Mode
}

// packet takes one packet.
func (m *modelInbox) packet(seq uint32, fin bool, messages []modelMessage) {
	if fin {
		for s := range m.seen {
			if int32(s-seq) > 0 {
				m.state = Closed
			}
		}
		if m.finSeen {
			m.state = Closed
		}
		m.finSeen, m.finSeq = true, seq
	}
	for _, msg := range messages {
		if m.state != Open {
			return
		}
		m.message(msg)
	}
	if m.state != Open {
		return
	}
	if m.finSeen && int32(seq-m.finSeq) > 0 {
		m.state = Closed
		return
	}
	m.seen[seq] = true
	for m.seen[m.next] {
		m.next++
	}
	for _, h := range m.held {
		if int32(h.seq-m.next) < 0 {
			m.state = Closed
			return
		}
	}
	if m.finSeen && int32(m.next-m.finSeq) > 0 {
		m.state = Lingering
	}
}

func (m *modelInbox) message(msg modelMessage) {
	if msg.mode == ReliableUnordered {
		m.handed = append(m.handed, msg)
		return
	}
	if msg.id-m.due[msg.channel] > reliability.MaxAhead {
		m.state = Closed
		return
	}
	for _, h := range m.held {
		if h.channel == msg.channel && h.id == msg.id {
			m.state = Closed
			return
		}
	}
	m.held = append(m.held, msg)
	for i := 0; i < len(m.held); i++ {
		if h := m.held[i]; h.id == m.due[h.channel] {
			m.handed = append(m.handed, h)
			m.due[h.channel]++
			m.held = slices.Delete(m.held, i, i+1)
			i = -1
		}
	}
}

// FuzzCommitted commits packets in any order, legal and not, and compares
// with the model: what is handed over, what is released, how it ends.
func FuzzCommitted(f *testing.F) {
	f.Add(uint32(100), []byte{0, 1, 0, 0, 1, 2, 0, 1, 1, 1})
	f.Add(^uint32(0), []byte{1, 1, 0, 1, 0, 1, 0, 0})
	f.Add(uint32(7), []byte{3, 0x80, 0, 2, 0, 0, 0, 1, 2, 1, 1, 0, 0x41, 0, 1, 1, 0, 2})
	f.Fuzz(func(t *testing.T, isn uint32, input []byte) {
		var handed []modelMessage
		released := map[Ref]int{}
		s := NewServer(Config{
			Message: func(_ *Session, m Message) {
				handed = append(handed, modelMessage{m.Sequence, m.Channel, m.ID, m.Mode})
			},
			Release: func(_ *Session, ref Ref) { released[ref]++ },
		}, Opening{ClientISN: isn, SACK: true}, ms)
		m := modelInbox{next: isn + 2, seen: map[uint32]bool{}, due: map[uint8]uint16{}, state: Open}
		in := script(input)
		refs := Ref(0)
		for len(in) > 0 && m.state == Open && refs < 300 {
			seq := m.next + uint32(in.byte()%32)
			if m.seen[seq] {
				continue
			}
			kind := in.byte()
			flags := wire.FlagACK | wire.FlagPSH
			var body []byte
			var messages []modelMessage
			if kind == 0x80 {
				flags |= wire.FlagFIN
				body = []byte{byte(wire.ReasonClosed)}
			}
			for range kind % 8 {
				if kind == 0x80 {
					break
				}
				where := in.byte()
				msg := modelMessage{seq: seq, channel: where % 3, mode: ReliableOrdered}
				msg.id = m.due[msg.channel] + uint16(int16(int8(in.byte())))
				channel := msg.channel
				if where&0x40 != 0 {
					msg.mode = ReliableUnordered
					channel |= wire.Unordered
				}
				body = wire.AppendMessage(body, wire.Message{Type: 1, Channel: channel, ID: msg.id})
				messages = append(messages, msg)
			}
			s.Committed(refs, seq, flags, body, 2*ms)
			refs++
			m.packet(seq, kind == 0x80, messages)
			if !slices.Equal(handed, m.handed) {
				t.Fatalf("handed over %v\nwant %v", handed, m.handed)
			}
			if s.State() != m.state {
				t.Fatalf("state %v (%v), want %v", s.State(), s.Reason(), m.state)
			}
			waiting := map[uint32]bool{}
			for _, h := range m.held {
				waiting[h.seq] = true
			}
			if m.state == Open && len(released) != int(refs)-len(waiting) {
				t.Fatalf("%d of %d released, %d wait", len(released), refs, len(waiting))
			}
		}
		s.Reset(wire.ReasonClosed)
		s.FlushHeld()
		if m.state == Open {
			slices.SortStableFunc(m.held, func(a, b modelMessage) int { return int(wire.SeqDiff(a.seq, b.seq)) })
			if want := slices.Concat(m.handed, m.held); !slices.Equal(handed, want) {
				t.Fatalf("with the rest handed over %v\nwant %v", handed, want)
			}
		}
		for ref := range refs {
			if released[ref] != 1 {
				t.Fatalf("packet %d released %d times", ref, released[ref])
			}
		}
	})
}
