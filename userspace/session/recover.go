package session

import (
	"cmp"
	"slices"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Recovery is what is known of a session whose server process died.
type Recovery struct {
	ID                   uint64
	Key                  wire.Key
	ClientISN, ServerISN uint32
	Token                uint32 // of RST
	SndNxt               uint32 // next reliable sequence the dead process would have sent
}

// NewRecovered returns the server's end of a session of a dead process. It
// hands over the reliable messages that were acknowledged but perhaps not
// handed over, and can then only be stopped: what was on its way to the client
// is gone.
//
// The owner gives it every packet found, in any order, by Committed, which
// hands over nothing yet. Recover then delivers what is complete; from there
// on Committed delivers what arrives in sequence. Stop and FlushHeld deliver
// the rest.
func NewRecovered(cfg Config, r Recovery, now uint64) *Session {
	s := newSession(cfg, now)
	s.server = true
	s.state = Open
	s.recovering = true
	s.id, s.key, s.token = r.ID, r.Key, r.Token
	s.rcv.Reset(r.ClientISN + 2)
	s.openSending(r.ServerISN, r.SndNxt, 0)
	s.in.Init(s.id, s.cfg.Memory, nil, s.cfg.Reassembly, uint64(s.cfg.ReassemblyTimeout))
	return s
}

// Adopt takes a large message, complete or not, that the dead process left in
// the Memory. The owner calls it before Recover. It is false when the session
// has no use for the message, which is the owner's to free then.
func (s *Session) Adopt(t commit.Transfer) bool {
	if !t.Reliable || !s.recovering || s.collected {
		return false
	}
	c := reliability.Chunk{Reliable: true, Channel: t.Channel, ID: t.ID, Sequence: t.Sequence, Fragment: t.First}
	switch m, what := s.in.Adopt(t.Handle, c, t.Received, s.now); what {
	case reliability.ChunkKept:
		return true
	case reliability.ChunkCompletes:
		s.far = append(s.far, farPacket{seq: m.Sequence, large: m.Ref})
		return true
	default:
		return false
	}
}

// Recover hands over, in order of sequence, what was collected before rcvNxt,
// the next sequence that the gate expects. All packets before it were
// committed, so one that is missing was handed over by the dead process.
//
// rcvNxt must have been read before the rings were drained for the last time,
// or a packet between the two is handed over late.
func (s *Session) Recover(rcvNxt uint32) {
	if s.collected || s.Over() {
		return
	}
	s.collected = true
	s.rcv.Reset(rcvNxt)
	s.sortFar()
	s.deliverFar(func(p farPacket) bool { return int32(p.seq-s.rcv.Next) < 0 })
	s.advanceFar()
}

// FlushHeld ends Draining: it hands over, in order of sequence, what lies
// beyond a gap, and closes the session. The missing packets were never
// acknowledged. The owner calls it when it knows that the gate acknowledges
// nothing more, and after everything that the gate had was given to Committed.
func (s *Session) FlushHeld() {
	if s.state != Draining {
		return
	}
	// What is in the inbox lies within the window, and far is what lies beyond.
	s.flushInbox()
	s.sortFar()
	s.deliverFar(func(farPacket) bool { return true })
	if s.state == Draining {
		s.resetDue = s.tellPeer
		s.end(Closed, s.reason)
	}
}

// flushInbox hands over the messages that wait for others, packet by packet.
func (s *Session) flushInbox() {
	for seq := s.inboxFirst(); s.inbox.held > 0 && seq != s.rcv.High; seq++ {
		held := s.inbox.at(seq)
		if held.waiting == 0 {
			continue
		}
		for rest := held.body; len(rest) > 0; {
			// The message was parsed when it was put here.
			m, tail, _ := wire.ParseMessage(rest)
			rest = tail
			s.flushMessage(seq, &m)
			if s.Over() {
				return
			}
		}
		s.release(held)
	}
}

// flushMessage hands over a message of packet seq unless that was done when it
// came.
func (s *Session) flushMessage(seq uint32, m *wire.Message) {
	if m.Channel&wire.Unordered == 0 {
		if at, ok := s.order.Forget(m.Channel, m.ID); ok {
			// Of a message in chunks, m need not be what was held.
			whole, _, _ := wire.ParseMessage(s.inbox.at(at.Sequence).body[at.Offset:])
			s.handOverPlace(at, &whole)
			return
		}
	}
	if m.Type == wire.TypeFragment {
		s.lateChunk(seq, m)
	}
}

// lateChunk takes a chunk of a session that is at its end: where there is no
// memory that outlives the process, such as does not will do.
func (s *Session) lateChunk(seq uint32, m *wire.Message) {
	f, err := wire.ParseFragment(m.Payload)
	if err != nil {
		return
	}
	c := reliability.Chunk{Reliable: true, Channel: m.Channel, ID: m.ID, Sequence: seq, Fragment: f}
	from := &s.in.Reassembler
	large, what := from.Take(c, s.now)
	if what == reliability.ChunkWaits {
		if s.in.spare == nil {
			s.in.spare = new(reliability.Reassembler)
			order := &s.order
			if s.recovering {
				order = nil
			}
			s.in.spare.Init(s.id, new(reliability.Heap), order, s.cfg.Reassembly, 0)
		}
		from = s.in.spare
		large, what = from.Take(c, s.now)
	}
	if what == reliability.ChunkCompletes {
		s.deliverLarge(from, reliableMode(m.Channel), &large)
	}
}

// recover takes a packet of a session that is being recovered.
func (s *Session) recover(p farPacket) {
	s.far = append(s.far, p)
	if !s.collected {
		return
	}
	s.sortFar()
	// A packet before Next was marked by the gate before it was published:
	// late is better than never.
	s.deliverFar(func(p farPacket) bool { return int32(p.seq-s.rcv.Next) < 0 })
	s.advanceFar()
}

// advanceFar hands over what follows Next without a gap.
func (s *Session) advanceFar() {
	s.deliverFar(func(p farPacket) bool {
		if p.seq != s.rcv.Next {
			return false
		}
		s.rcv.Reset(p.seq + 1)
		return true
	})
}

// deliverFar hands over packets in order of sequence for as long as due says
// so.
func (s *Session) deliverFar(due func(farPacket) bool) {
	for len(s.far) > 0 && !s.Over() {
		last := len(s.far) - 1
		p := s.far[last]
		if !due(p) {
			return
		}
		s.far[last] = farPacket{}
		s.far = s.far[:last]
		if p.large != 0 {
			m := s.in.Message(p.large)
			s.deliverLarge(&s.in.Reassembler, reliableMode(m.Channel), &m)
			continue
		}
		s.deliverWhole(p)
		s.cfg.Release(s, p.ref)
	}
}

// deliverWhole hands over every message of p in the order they were sent. The
// dead process may have handed over some of them; the handler tells by id and
// sequence.
func (s *Session) deliverWhole(p farPacket) {
	if p.flags&wire.FlagFIN != 0 {
		return
	}
	for rest := p.body; len(rest) > 0 && !s.Over(); {
		m, tail, err := wire.ParseMessage(rest)
		if err != nil {
			return
		}
		rest = tail
		switch {
		case m.Type < wire.TypeControl:
			s.deliver(reliableMode(m.Channel), p.seq, &m)
		case m.Type == wire.TypeFragment && !s.deliverAdopted(p.seq, &m):
			s.lateChunk(p.seq, &m)
		}
	}
}

// deliverAdopted hands over the adopted message whose last chunk is m, in packet
// seq, if there is one.
func (s *Session) deliverAdopted(seq uint32, m *wire.Message) bool {
	for i := len(s.far) - 1; i >= 0 && s.far[i].seq == seq && s.far[i].large != 0; i-- {
		large := s.in.Message(s.far[i].large)
		if large.Channel == m.Channel && large.ID == m.ID {
			s.far = slices.Delete(s.far, i, i+1)
			s.deliverLarge(&s.in.Reassembler, reliableMode(m.Channel), &large)
			return true
		}
	}
	return false
}

// sortFar puts what comes first last: a packet before the large messages that
// it completes.
func (s *Session) sortFar() {
	slices.SortFunc(s.far, func(a, b farPacket) int {
		return cmp.Or(cmp.Compare(int32(b.seq-s.rcv.Next), int32(a.seq-s.rcv.Next)), cmp.Compare(b.large, a.large))
	})
}
