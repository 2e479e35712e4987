package reliability

import (
	"math"
	"math/bits"

	"github.com/xrudp/xrudp/userspace/congestion"
)

// reorderThreshold is how many transmissions after a packet must have been
// acknowledged before it is taken for lost (RFC 9002 section 6.1.1).
const reorderThreshold = 3

// firstRing is the number of packets a Sender has room for at first.
const firstRing = 16

// Never is the deadline of a timer that is not running.
const Never = uint64(math.MaxUint64)

// Sender is the sending half of a reliable sequence space: it keeps packets
// until they were acknowledged and decides which ones to send again.
//
// Loss is found in the order of transmission, not of sequence, so that the
// loss of a retransmission is found in the same way as the loss of a first
// transmission (RFC 8985, RFC 9002): a packet is lost when one sent
// reorderThreshold transmissions later was acknowledged, or when any later one
// was and more than a round trip has passed. Where nothing comes back it is
// lost after the retransmission timeout.
type Sender struct {
	RTT  RTT
	Lost uint64 // packets taken for lost

	// Cumulative says that the peer acknowledges only what arrived in
	// sequence. Of packets behind a gap nothing is known then, so only the
	// oldest can be lost: the others follow one by one as the peer's answers
	// uncover them (NewReno, RFC 6582).
	Cumulative bool

	cc   congestion.Controller
	pool *Pool

	una, next uint32
	ring      []slot // by sequence
	messages  int    // in packets from una on
	flying    Queue  // in the order of their newest transmission
	waiting   Queue  // lost, to be sent again

	order   uint64 // of the newest transmission
	acked   uint64 // highest order known to have arrived
	limited bool   // the congestion window held a packet back

	backedOff uint64 // when the timeout was doubled last
}

// slot is one sequence number from una on.
type slot struct {
	packet   *Packet // nil once it was acknowledged
	messages int
}

// Init starts the space at sequence first. Packets come from and return to
// pool.
func (s *Sender) Init(first uint32, cc congestion.Controller, pool *Pool) {
	s.cc, s.pool = cc, pool
	s.una, s.next = first, first
}

// Una returns the oldest sequence that the peer did not acknowledge.
func (s *Sender) Una() uint32 { return s.una }

// Next returns the sequence of the next new packet.
func (s *Sender) Next() uint32 { return s.next }

// InFlight returns how many packets are neither acknowledged nor lost.
func (s *Sender) InFlight() int { return s.flying.Len() }

// Outstanding returns how many sequences are not acknowledged cumulatively.
func (s *Sender) Outstanding() int { return int(s.next - s.una) }

// CongestionWindow returns the controller's window in packets, 0 before Init.
func (s *Sender) CongestionWindow() int {
	if s.cc == nil {
		return 0
	}
	return s.cc.Window()
}

// MaySend reports whether p may be sent for the first time, window being what
// the peer advertised.
func (s *Sender) MaySend(p *Packet, window int) bool {
	// With more messages outstanding, the id of an ordered one could lie so
	// far ahead that the peer must take it for illegal.
	if s.Outstanding() >= min(window, WindowSize) || s.messages+p.Messages > MaxAhead {
		return false
	}
	return s.mayFly()
}

func (s *Sender) mayFly() bool {
	if s.flying.Len() < s.cc.Window() {
		return true
	}
	s.limited = true
	return false
}

// Send takes p, which is sent now for the first time, and returns its
// sequence. The caller has checked MaySend. p belongs to the Sender until it
// was acknowledged.
func (s *Sender) Send(p *Packet, now uint64) uint32 {
	if s.Outstanding() >= len(s.ring) {
		s.grow()
	}
	p.seq = s.next
	s.next++
	*s.at(p.seq) = slot{packet: p, messages: p.Messages}
	s.messages += p.Messages
	s.fly(p, now)
	return p.seq
}

// Retransmit returns the next packet to send again now, nil if there is none
// or a window is used up: the congestion window, or window, which the peer
// advertised. The packet stays with the Sender.
//
// The oldest packet is sent whatever the windows. With a small congestion
// window full of packets that cannot be acknowledged before it, nothing else
// would ever move; and a peer without room is asked by it whether there is
// room again.
func (s *Sender) Retransmit(window int, now uint64) *Packet {
	if s.waiting.Len() == 0 {
		return nil
	}
	p := s.at(s.una).packet
	if p == nil || !p.lost {
		p = s.waiting.Front()
		if int(p.seq-s.una) >= window || !s.mayFly() {
			return nil
		}
	}
	s.waiting.remove(p)
	p.lost = false
	s.fly(p, now)
	return p
}

func (s *Sender) fly(p *Packet, now uint64) {
	s.order++
	p.order, p.sent = s.order, now
	p.sends++
	s.flying.Push(p)
}

// Ack is what a peer said about the packets it has.
type Ack struct {
	Next  uint32            // everything before it arrived
	Words int               // of Sack in use
	Sack  [SackWords]uint64 // bit i of word w: Next + 1 + 64w + i arrived
}

// Acked sums up what an Ack changed.
type Acked struct {
	Packets int    // acknowledged for the first time
	RTT     uint64 // sample from the newest packet that was sent only once
	HasRTT  bool
}

// Valid reports whether a peer may say a: nothing in it is beyond what was
// sent, and it is not older than what is known.
func (s *Sender) Valid(a *Ack) bool {
	if s.next-a.Next > s.next-s.una {
		return false
	}
	return s.Sent(a)
}

// Sent reports whether all packets selected by a were sent, whatever the age
// of a.
func (s *Sender) Sent(a *Ack) bool {
	// Sequences Next+1 up to next-1 may be selected.
	legal := int64(int32(s.next-a.Next)) - 1
	for w := range a.Words {
		set := a.Sack[w]
		room := legal - int64(64*w)
		if set != 0 && (room <= 0 || room < 64 && set>>uint(room) != 0) {
			return false
		}
	}
	return true
}

// OnAck takes an acknowledgement that is Valid and arrived at now.
func (s *Sender) OnAck(a *Ack, now uint64) Acked {
	var out Acked
	newest := s.una
	again := false // something sent more than once was acknowledged
	take := func(seq uint32) {
		at := s.at(seq)
		p := at.packet
		if p == nil {
			return
		}
		at.packet = nil
		out.Packets++
		newest = seq
		again = again || p.sends > 1
		if p.sends == 1 {
			out.RTT, out.HasRTT = now-min(now, p.sent), true
		}
		s.arrived(p, now)
	}
	for s.una != a.Next {
		take(s.una)
		s.messages -= s.at(s.una).messages
		s.una++
	}
	for w := range a.Words {
		for set := a.Sack[w]; set != 0; set &= set - 1 {
			take(a.Next + 1 + uint32(64*w+bits.TrailingZeros64(set)))
		}
	}
	// An acknowledgement that a retransmission set free measures the wait for
	// that, not the path (Karn's rule, over the whole range).
	out.HasRTT = out.HasRTT && !again
	if out.Packets > 0 {
		s.RTT.ResetBackoff()
		s.cc.OnAck(out.Packets, newest, s.limited)
		s.limited = false
		s.findLost(now)
	}
	return out
}

// arrived frees a packet and learns how far transmissions got.
func (s *Sender) arrived(p *Packet, now uint64) {
	// An answer sooner than any round trip so far is to an earlier
	// transmission and says nothing about the newest (RFC 8985 section 6.2).
	if p.order > s.acked && (p.sends == 1 || now-p.sent >= s.RTT.Min) {
		s.acked = p.order
	}
	if p.lost {
		s.waiting.remove(p)
	} else {
		s.flying.remove(p)
	}
	s.pool.Put(p)
}

// oldest returns the packet in flight that was sent the longest ago, nil if
// there is none that could be lost.
func (s *Sender) oldest() *Packet {
	if !s.Cumulative {
		return s.flying.Front()
	}
	if s.una == s.next {
		return nil
	}
	if p := s.at(s.una).packet; !p.lost {
		return p
	}
	return nil
}

// findLost takes packets for lost that later transmissions overtook.
func (s *Sender) findLost(now uint64) {
	for p := s.oldest(); p != nil && p.order < s.acked; p = s.oldest() {
		if p.order+reorderThreshold > s.acked && now < p.sent+s.RTT.reorderDelay() {
			return
		}
		s.cc.OnLoss(p.seq, s.next)
		s.lose(p)
	}
}

func (s *Sender) lose(p *Packet) {
	s.flying.remove(p)
	p.lost = true
	s.waiting.Push(p)
	s.Lost++
}

// Deadline returns when OnDeadline must be called, Never while nothing is in
// flight.
func (s *Sender) Deadline() uint64 {
	p := s.oldest()
	if p == nil {
		return Never
	}
	at := p.sent + s.timeout(p)
	if p.order < s.acked {
		at = min(at, p.sent+s.RTT.reorderDelay())
	}
	return at
}

// timeout returns how long an answer to p may take. The back-off counts for
// what was sent after it: packets of one flight that is lost as a whole are
// found lost one after the other, and the timeout doubles once.
func (s *Sender) timeout(p *Packet) uint64 {
	if p.sent < s.backedOff {
		return s.RTT.previousRTO()
	}
	return s.RTT.RTO()
}

// OnDeadline takes packets for lost whose time is over.
func (s *Sender) OnDeadline(now uint64) {
	s.findLost(now)
	again := false
	for p := s.oldest(); p != nil && now >= p.sent+s.timeout(p); p = s.oldest() {
		again = again || p.sent >= s.backedOff
		s.lose(p)
	}
	if again {
		s.RTT.Backoff()
		s.backedOff = now
		s.cc.OnTimeout(s.next)
	}
}

// Close returns every packet to the pool.
func (s *Sender) Close() {
	s.flying.Drain(s.pool)
	s.waiting.Drain(s.pool)
	clear(s.ring)
	s.una, s.messages = s.next, 0
}

func (s *Sender) at(seq uint32) *slot { return &s.ring[seq&uint32(len(s.ring)-1)] }

// grow doubles the ring; it never needs to hold more than WindowSize.
func (s *Sender) grow() {
	old := *s
	s.ring = make([]slot, max(firstRing, 2*len(old.ring)))
	for seq := s.una; seq != s.next; seq++ {
		*s.at(seq) = *old.at(seq)
	}
}
