package session

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
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

func (s *script) uint16() uint16 { return uint16(s.byte())<<8 | uint16(s.byte()) }

// controls are the types that mean something to a session, and two that do not.
var controls = [...]uint8{wire.TypeFragment, wire.TypeSkip, wire.TypeSkipped, wire.TypePad, 1, wire.TypeControl}

// body draws messages, legal and not, near to what is expected.
func (s *script) body() (b []byte) {
	for range 1 + s.byte()%4 {
		what, where := s.byte(), s.byte()
		m := wire.Message{Type: controls[int(what)%len(controls)], Channel: where%3 | where&wire.Unordered, ID: uint16(s.byte())}
		switch m.Type {
		case wire.TypeFragment:
			index, total, chunk := uint16(s.byte()%4), 2+uint16(s.byte()%3), uint16(1)
			transfer := s.byte() % 8
			if what >= 0x80 {
				total, chunk = s.uint16(), s.uint16()
			}
			b := binary.BigEndian.AppendUint16([]byte{0, 0, 0, transfer}, index)
			b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, total), chunk)
			m.Payload = append(append(b, 1), make([]byte, min(int(chunk), 1000)+int(what>>6&1))...)
		case 1:
			m.Payload = s.take(int(s.byte()))
		default:
			m.Payload = make([]byte, what>>6&1)
		}
		if len(b)+wire.MessageHeaderSize+len(m.Payload) <= wire.MaxPayload {
			b = wire.AppendMessage(b, m)
		}
	}
	return b
}

// outgoing draws a message to send.
func (s *script) outgoing() Outgoing {
	how := s.byte()
	o := Outgoing{
		Mode: Mode(how % 4), Priority: Priority(how / 4 % 4), Type: 1, Channel: s.byte() % 4,
		Payload: make([]byte, int(s.byte())<<(how/16%8)),
	}
	if how >= 0x80 {
		o.Lifetime = time.Duration(s.byte()) * time.Millisecond
	}
	return o
}

// watched is a Memory that refuses when it is told to, and knows what is open.
type watched struct {
	reliability.Heap
	refuse bool
	open   map[uint32]bool
}

func (w *watched) Open(session uint64, reliable bool, channel uint8, id uint16, f wire.Fragment) (uint32, bool) {
	if w.refuse {
		return 0, false
	}
	handle, ok := w.Heap.Open(session, reliable, channel, id, f)
	w.open[handle] = true
	return handle, ok
}

func (w *watched) Free(handle uint32) {
	if !w.open[handle] {
		panic("freed twice")
	}
	delete(w.open, handle)
	w.Heap.Free(handle)
}

// checkBounds fails when s keeps more than its windows, or anything once it is
// over.
func checkBounds(t *testing.T, s *Session, memory *watched) {
	t.Helper()
	if s.inbox.held > wire.ReceiveWindow || s.snd.Outstanding() > wire.ReceiveWindow {
		t.Fatalf("%d packets held, %d outstanding", s.inbox.held, s.snd.Outstanding())
	}
	if s.in.Bytes() > s.cfg.Reassembly || s.in.Kept() > reliability.MaxTransfers || len(memory.open) != s.in.Kept() {
		t.Fatalf("%d bytes in %d large messages, %d in memory", s.in.Bytes(), s.in.Kept(), len(memory.open))
	}
	if s.Over() && (s.inbox.held != 0 || len(s.far) != 0 || s.snd.InFlight() != 0 || s.Queued() != 0 || s.in.Kept() != 0) {
		t.Fatalf("%v with %d and %d packets held, %d in flight, %d bytes queued, %d large messages",
			s.State(), s.inbox.held, len(s.far), s.snd.InFlight(), s.Queued(), s.in.Kept())
	}
	if next := s.NextTimeout(); next == 0 {
		t.Fatal("timeout at 0")
	}
}

// FuzzPacket gives a client hostile packets whose header is near to what it
// expects and whose checksum is right, and lets it send and wait in between.
// Nothing may panic, no memory may be kept beyond the windows.
func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x12, 0, 0, 20, 0, 1, 1, 0, 0, 0, 0})
	f.Add([]byte{0x12, 1, 0, 9, 0, 1, 1, 0, 1, 0, 1, 'x', 0x12, 0, 0, 9, 0, 1, 1, 0, 0, 0, 1, 'y'})
	f.Add([]byte{0x16, 0, 0, 2, 0, 5, 0x0a, 0, 0, 1, 1})
	f.Add([]byte{0xff, 0, 0xfe, 3, 0x02, 0, 0, 14, 1, 0, 0, 0, 0, 0, 0, 0, 9})
	f.Add([]byte{0xfb, 0xc2, 1, 200, 5, 0xfd, 0xff, 90, 0xfd, 0xfa, 0x12, 0, 0, 9, 1, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0xfa, 0x12, 0, 0, 9, 0, 0, 1, 0, 0, 0, 0, 0, 0xfa, 0x12, 1, 0, 9, 0, 1, 1, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		memory := &watched{open: map[uint32]bool{}}
		p := newPair(t, Config{Memory: memory, Reassembly: 100_000}, Config{})
		c := p.c
		c.cfg.Message = func(s *Session, m Message) {
			if m.Channel >= reliability.Channels || len(m.Payload) > s.cfg.Reassembly || m.Type == 0 || m.Type >= wire.TypeControl {
				t.Fatalf("message %+v", m)
			}
			_ = s.Send(m.Mode, m.Channel, 1, m.Payload)
		}
		var buf [wire.MaxDatagramLimit]byte
		in := script(input)
		packet := func(flags byte, crafted bool) {
			h := wire.Header{
				Sequence:  c.rcv.Next + uint32(int32(int8(in.byte()))),
				Ack:       c.snd.Una() + uint32(int32(int8(in.byte()))),
				Flags:     wire.Flags(flags),
				Window:    uint16(in.byte()),
				Timestamp: p.now / 1000,
			}
			b := h.AppendTo(nil)
			if crafted {
				b = (&wire.AckBlock{}).AppendTo(b)
				b = append(b, in.body()...)
			} else {
				b = append(b, in.take(int(in.byte()))...)
			}
			wire.Seal(b)
			_ = c.MarkedPacket(b, flags&1 != 0, p.now)
		}
		for steps := 0; len(in) > 0 && steps < 500; steps++ {
			switch flags := in.byte(); flags {
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
			case 0xfb:
				_ = c.SendMessage(in.outgoing())
			case 0xfa:
				packet(in.byte(), true)
			case 0xf9:
				memory.refuse = !memory.refuse
			default:
				packet(flags, false)
			}
			checkBounds(t, c, memory)
		}
		c.Reset(wire.ReasonClosed)
		checkBounds(t, c, memory)
	})
}

// FuzzServer gives a server's session what a hostile client gets past the gate:
// any messages in packets of any order, acknowledgements as they please, and
// ends it at any moment, memory being refused at times. Every packet is released
// once and no memory is left taken.
func FuzzServer(f *testing.F) {
	f.Add(false, []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 2, 0, 4, 1})
	f.Add(false, []byte{7, 0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 2, 0, 1, 0, 1, 1, 6, 9, 4, 0, 5, 200})
	f.Add(false, []byte{5, 0x8e, 1, 100, 60, 3, 2, 90, 3, 1, 255, 1, 2, 250, 3})
	f.Add(true, []byte{0, 5, 1, 0, 1, 0, 0, 0, 0, 8, 2, 0, 3, 0, 1, 0, 4, 1})
	f.Fuzz(func(t *testing.T, recovered bool, input []byte) {
		memory := &watched{open: map[uint32]bool{}}
		released := map[Ref]int{}
		cfg := Config{
			Memory: memory, Reassembly: 100_000,
			Release: func(_ *Session, ref Ref) { released[ref]++ },
		}
		in := script(input)
		cfg.Message = func(s *Session, m Message) {
			if m.Channel >= reliability.Channels || len(m.Payload) > s.cfg.Reassembly || m.Type == 0 || m.Type >= wire.TypeControl {
				t.Fatalf("message %+v", m)
			}
			switch m.ID {
			case 40:
				s.Abort(wire.ReasonKicked)
			case 41:
				s.Stop(wire.ReasonKicked)
			case 42:
				s.Reset(wire.ReasonKicked)
			case 43:
				s.Close(wire.ReasonKicked)
			default:
				_ = s.Send(m.Mode, m.Channel, 1, m.Payload)
			}
		}
		cfg.Abandoned = func(s *Session, mode Mode, _ uint8, _ uint16) {
			cfg.Message(s, Message{Mode: mode, Type: 1, ID: uint16(in.byte())})
		}
		now := 1000 * ms
		var s *Session
		if recovered {
			s = NewRecovered(cfg, Recovery{ID: 5, ClientISN: 98, ServerISN: 40, SndNxt: 60}, now)
			fragment := wire.Fragment{Total: 2 + uint16(in.byte()%2), Chunk: 1, Type: 1, Data: []byte("x")}
			handle, _ := memory.Open(5, true, in.byte(), 7, fragment)
			memory.Put(handle, 0, 100, fragment.Data)
			memory.Put(handle, 1, 101, fragment.Data)
			if !s.Adopt(commit.Transfer{Handle: handle, Reliable: true, ID: 7, First: fragment, Received: 2, Sequence: 101}) {
				memory.Free(handle)
			}
		} else {
			s = NewServer(cfg, Opening{ClientISN: 98, ServerISN: 40, Window: 50, SACK: true, Control: true, MaxHeld: 1 << 20}, now)
		}
		var buf [wire.MaxDatagramLimit]byte
		seen := map[uint32]bool{}
		refs := Ref(0)
		for steps := 0; len(in) > 0 && steps < 500; steps++ {
			switch op := in.byte(); op % 12 {
			case 0:
				seq := 100 + uint32(in.byte())<<(op/64)
				flags, body := wire.FlagACK|wire.FlagPSH, in.body()
				// The gate commits no packet twice, and none with bad framing.
				if _, err := wire.CheckMessages(body); err != nil || seen[seq] {
					continue
				}
				seen[seq] = true
				if op == 0xfc {
					flags, body = flags|wire.FlagFIN, []byte{in.byte()}
				}
				s.Committed(refs, seq, flags, body, now)
				refs++
			case 1:
				h, body := wire.Header{Sequence: uint32(in.byte())}, in.body()
				if _, err := wire.CheckMessages(body); err == nil {
					s.Unreliable(h, body, now)
				}
			case 2:
				now += uint64(in.byte()) * 10 * ms
				s.Tick(now)
			case 3:
				for s.Fill(buf[:], now) > 0 {
				}
			case 4:
				state := commit.FlowState{Ack: s.snd.Una() + uint32(int8(in.byte())), Window: uint16(in.byte()), LastSeen: now}
				state.SackHigh = state.Ack + 9
				state.Sack[(state.Ack+1)/64%commit.SackWords] = uint64(in.byte()) << ((state.Ack + 1) % 64)
				state.ECE, state.Echo = uint32(in.byte()), uint32(in.byte())
				s.AckState(state, now)
			case 5:
				_ = s.SendMessage(in.outgoing())
			case 6:
				memory.refuse = !memory.refuse
			case 7:
				if recovered {
					s.Recover(100 + uint32(in.byte()))
				}
			case 8:
				s.FlushHeld()
			case 9, 10, 11:
				switch in.byte() {
				case 0:
					s.Abort(wire.ReasonKicked)
				case 1:
					s.Stop(wire.ReasonKicked)
				case 2:
					s.Reset(wire.ReasonKicked)
				case 3:
					s.Close(wire.ReasonKicked)
				}
			}
			checkBounds(t, s, memory)
		}
		s.Stop(wire.ReasonClosed)
		s.FlushHeld()
		if !s.Over() {
			t.Fatalf("%v after all", s.State())
		}
		checkBounds(t, s, memory)
		for ref := range refs {
			if released[ref] != 1 {
				t.Fatalf("packet %d released %d times", ref, released[ref])
			}
		}
	})
}

// FuzzRawPacket gives a client bytes as they are, in every state.
func FuzzRawPacket(f *testing.F) {
	f.Add(byte(0), wire.AppendSYNACK(nil, 500, wire.Options{Cookie: 8, HasCookie: true, MTU: 548}, 1))
	f.Add(byte(2), []byte("short"))
	f.Fuzz(func(t *testing.T, state byte, packet []byte) {
		c := NewClient(Config{}, 500, ms)
		var buf [wire.MaxDatagramLimit]byte
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
