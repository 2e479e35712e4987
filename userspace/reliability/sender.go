package reliability

import (
	"math"
	"math/bits"

	"github.com/xrudp/xrudp/userspace/congestion"
)

const (
	// maxProbes is how many packets are sent again for want of an answer
	// before the want itself counts as a timeout.
	maxProbes = congestion.MinWindow

	// lossyShare is the share of lost packets from which on small packets are
	// sent twice, and lossMemory the packets over which it is taken.
	lossyShare = 0.004
	lossMemory = 256

	// unknownPath is how many packets it takes for a path to be known. Until
	// then it counts as one that loses.
	unknownPath = 16

	// earlySize is the largest body that is sent twice, in bytes, and earlySlots
	// how many packets can wait for that.
	earlySize  = 256
	earlySlots = 32

	// A second copy leaves an eighth of a round trip after the first, within
	// these bounds: copies that leave together are lost together.
	earlyLeast = uint64(2e6)
	earlyMost  = uint64(20e6)

	// firstRing is the number of packets a Sender has room for at first.
	firstRing = 16
)

// Never is the deadline of a timer that is not running.
const Never = uint64(math.MaxUint64)

// Sender is the sending half of a reliable sequence space: it keeps packets
// until they were acknowledged and decides which ones to send again, and when
// any may leave.
//
// Loss is found in the order of transmission, not of sequence, so that the
// loss of a retransmission is found in the same way as that of a first
// transmission (RACK, RFC 8985). A packet is lost when transmissions after it
// arrived and either enough of them did, or enough time has passed; both
// thresholds follow the reordering that is seen. Where nothing comes back
// after a timeout, the packet is sent again as a probe, which is no congestion
// event by itself; if the probes are not answered either, everything in flight
// is lost, and the timeout doubles (RFC 6298).
//
// Where the path loses, or is not known yet, and little is in flight, nothing
// that is sent later would show a loss in time. There small packets are sent a
// second time before it is known whether the first came; urgent ones always.
//
// What turns out to have arrived before it was sent again (Eifel, RFC 3522)
// takes back what its loss did to the congestion window.
type Sender struct {
	RTT   RTT
	Count SenderCount

	// Cumulative says that the peer acknowledges only what arrived in
	// sequence. Of packets behind a gap nothing is known then, so only the
	// oldest can be lost: the others follow one by one as the peer's answers
	// uncover them (NewReno, RFC 6582).
	Cumulative bool

	cc    congestion.Controller
	pacer congestion.Pacer
	bulk  congestion.Background // below what cc allows
	pool  *Pool

	una, next uint32
	ring      []slot // by sequence
	messages  int    // in packets from una on
	flying    Queue  // in the order of their newest transmission
	waiting   Queue  // lost, to be sent again

	order  uint64 // of the newest transmission
	acked  uint64 // highest order known to have arrived
	ackRTT uint64 // round trip of that transmission
	lossAt uint64 // when the next overtaken packet is lost

	reordering reordering
	episode    episode
	lossShare  float64 // of packets, how many had to be sent again
	judged     float64 // packets that it is of, up to lossMemory

	early      [earlySlots]earlyPacket // that are to be sent twice, a ring
	earlyNext  uint32                  // the oldest of them
	earlyCount uint32

	largeAcked uint64 // highest order of a Large packet that arrived
	largeLost  int    // Large packets sent after it and lost

	probes   int    // sent since something was acknowledged last
	probedAt uint64 // when the newest of them was
	timedOut bool   // nothing was acknowledged since the timeout

	limited bool   // a window or the pacer held a packet back
	heldTo  uint64 // when the pacer lets the next packet go

	marking bool   // the marks of a flight were answered
	marked  uint32 // packets from here on were sent after that
	reduced bool   // the peer is to be told so

	// Of the delivery rate, draft-cheng-iccrg-delivery-rate-estimation-02.
	delivered   uint64 // packets
	deliveredAt uint64
	firstSent   uint64 // when the newest acknowledged packet had been sent
	idleUntil   uint64 // packets delivered before this one were limited by the application

	// What the controller is told, here because an interface's arguments
	// would be allocated.
	ackTold  congestion.Ack
	lossTold congestion.Loss
}

// SenderCount counts what happened to a Sender.
type SenderCount struct {
	Lost     uint64 // packets taken for lost
	Spurious uint64 // of these, those that had arrived
	Early    uint64 // small packets sent twice
	Probes   uint64 // packets sent again for want of an answer
	Timeouts uint64 // probes left unanswered
	Marks    uint64 // acknowledgements that told of congestion marks
}

// slot is one sequence number from una on.
type slot struct {
	packet   *Packet // nil once it was acknowledged
	messages int
}

// earlyPacket is a packet that is to be sent a second time, unless it was
// acknowledged or sent again meanwhile.
type earlyPacket struct {
	seq   uint32
	order uint64
	at    uint64
}

// Init starts the space at sequence first. Packets come from and return to
// pool.
func (s *Sender) Init(first uint32, cc congestion.Controller, pool *Pool) {
	s.cc, s.pool = cc, pool
	s.una, s.next = first, first
	s.lossAt = Never
	s.reordering.reset()
}

// Una returns the oldest sequence that the peer did not acknowledge.
func (s *Sender) Una() uint32 { return s.una }

// Next returns the sequence of the next new packet.
func (s *Sender) Next() uint32 { return s.next }

// InFlight returns how many packets are neither acknowledged nor lost.
func (s *Sender) InFlight() int { return s.flying.Len() }

// Waiting returns how many are lost and not sent again yet.
func (s *Sender) Waiting() int { return s.waiting.Len() }

// Outstanding returns how many sequences are not acknowledged cumulatively.
func (s *Sender) Outstanding() int { return int(s.next - s.una) }

// Controller returns the congestion controller, nil before Init.
func (s *Sender) Controller() congestion.Controller { return s.cc }

// Urgency says what may hold a packet back.
type Urgency uint8

const (
	// Paced packets keep to the congestion window and leave one by one.
	Paced Urgency = iota
	// Urgent packets leave at once, up to congestion.MinWindow of them beyond
	// the congestion window.
	Urgent
	// Bulk packets are Paced ones that make way for latency-critical packets.
	Bulk
)

// MaySend reports whether p may be sent for the first time now, window being
// what the peer advertised.
func (s *Sender) MaySend(p *Packet, window int, u Urgency, now uint64) bool {
	return s.MaySendMessages(p.Messages, window, u, now)
}

// MaySendMessages is MaySend for a packet of so many messages that is still to
// be made.
func (s *Sender) MaySendMessages(messages, window int, u Urgency, now uint64) bool {
	// With more messages outstanding, the id of an ordered one could lie so
	// far ahead that the peer must take it for illegal.
	if s.Outstanding() >= min(window, WindowSize) || messages > s.Room() {
		return false
	}
	if u == Urgent {
		return s.flying.Len() < s.cc.Window()+congestion.MinWindow
	}
	return s.MayFly(now) && (u != Bulk || s.mayFill(now))
}

// mayFill asks the rate of bulk data for a packet that could leave otherwise.
func (s *Sender) mayFill(now uint64) bool {
	at := s.bulk.Next(now)
	if at <= now {
		return true
	}
	s.hold(at, now)
	// The window follows what is used of it, and no further.
	s.limited = s.limited || 5*s.flying.Len() >= 4*s.cc.Window()
	s.idleUntil = s.delivered + uint64(max(s.flying.Len(), 1))
	return false
}

// hold notes when something that waits may leave, the earliest of it.
func (s *Sender) hold(at, now uint64) {
	if s.heldTo <= now || at < s.heldTo {
		s.heldTo = at
	}
}

// Room returns how many messages the next packet may have.
func (s *Sender) Room() int { return MaxAhead - s.messages }

// Free reports whether congestion window and pacer let a packet go now.
func (s *Sender) Free(now uint64) bool {
	return s.flying.Len() < s.cc.Window() && s.pacer.Next(now, s.rate()) <= now
}

// MayFly reports whether the congestion window and the pacer let go a packet
// that waits. Of unreliable ones large messages ask, and tell Paced.
func (s *Sender) MayFly(now uint64) bool {
	if s.flying.Len() >= s.cc.Window() || !s.mayPace(now) {
		s.limited = true
		return false
	}
	return true
}

// rate returns how many packets per second the pacer lets go, 0 for as many as
// want to. What the controller cannot say before its first acknowledgement the
// handshake's round trip does.
func (s *Sender) rate() float64 {
	if rate := s.cc.PacingRate(); rate > 0 || s.RTT.Smoothed == 0 {
		return rate
	}
	return float64(s.cc.Window()) * 1e9 / float64(s.RTT.Smoothed)
}

func (s *Sender) mayPace(now uint64) bool {
	at := s.pacer.Next(now, s.rate())
	if at > now {
		s.hold(at, now)
	}
	return at <= now
}

// Paced tells that it went, with so many bytes.
func (s *Sender) Paced(size int, now uint64) {
	s.pacer.OnSend(now, s.rate())
	s.bulk.OnOther(size)
}

// Critical tells that a latency-critical packet goes now, as Send does of Urgent
// ones: for a while bulk data makes way (congestion.Background).
func (s *Sender) Critical(now uint64) { s.bulk.Critical(now) }

// Resume has held packets tried again.
func (s *Sender) Resume() { s.heldTo = 0 }

// HeldTo returns when the pacer lets go a packet that it held back, Never
// where none is.
func (s *Sender) HeldTo() uint64 {
	if s.heldTo == 0 {
		return Never
	}
	return s.heldTo
}

// Idle notes that there is nothing more to send: the rate at which packets
// arrive is the application's from here on, not the path's.
func (s *Sender) Idle() {
	if s.cc != nil && s.waiting.Len() == 0 && s.flying.Len() < s.cc.Window() {
		s.idleUntil = s.delivered + uint64(max(s.flying.Len(), 1))
	}
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
	if p.Pending != nil {
		p.Pending.Sent, p.Pending.Last = true, p.seq
	}
	s.fly(p, now)
	s.planEarly(p)
	return p.seq
}

// Retransmit returns the next packet to send again now, nil if there is none
// or it is held back: by the congestion window, the pacer, or window, which
// the peer advertised. The packet stays with the Sender.
//
// The oldest packet is sent whatever the windows. With a small congestion
// window full of packets that cannot be acknowledged before it, nothing else
// would ever move; and a peer without room is asked by it whether there is
// room again. So are probes.
func (s *Sender) Retransmit(window int, now uint64) *Packet {
	p := s.waiting.Front()
	if p == nil {
		return nil
	}
	if oldest := s.at(s.una).packet; oldest != nil && oldest.lost {
		p = oldest
	} else if int(p.seq-s.una) >= window || p.why == whyLost && !s.MayFly(now) {
		return nil
	}
	s.waiting.remove(p)
	p.lost = false
	s.fly(p, now)
	return p
}

// LargeLost returns how many Large packets were lost that were sent after the
// newest one that is known to have arrived, and after ForgetLarge.
func (s *Sender) LargeLost() int { return s.largeLost }

// ForgetLarge begins to count anew.
func (s *Sender) ForgetLarge() { s.largeLost, s.largeAcked = 0, s.order }

func (s *Sender) fly(p *Packet, now uint64) {
	if s.flying.Len() == 0 && s.waiting.Len() == 0 {
		s.firstSent, s.deliveredAt = now, now
	}
	s.order++
	p.order, p.sent = s.order, now
	p.sends++
	p.delivered, p.deliveredAt, p.firstSent = s.delivered, s.deliveredAt, s.firstSent
	p.idle = s.idleUntil > s.delivered
	s.pacer.OnSend(now, s.rate())
	s.cc.OnSend(now, s.flying.Len())
	if p.Urgent {
		s.Critical(now)
	}
	p.pulse = congestion.Pulse{}
	switch {
	case !p.Bulk:
	case p.sends == 1:
		p.pulse = s.bulk.OnSend(now, p.length, s.RTT.Smoothed, s.RTT.Min)
	default:
		s.bulk.OnOther(p.length)
	}
	s.flying.Push(p)
}

// Ack is what a peer said about the packets it has.
type Ack struct {
	Next  uint32            // everything before it arrived
	Words int               // of Sack in use
	Sack  [SackWords]uint64 // bit i of word w: Next + 1 + 64w + i arrived

	At     uint64 // when it arrived; 0 means when it is looked at
	RTT    uint64 // the sample that came with it, 0 if none did
	Echo   uint32 // low bits of the timestamp that it answers, microseconds
	Echoed bool   // Echo is known
}

// Acked sums up what an Ack changed.
type Acked struct {
	Packets int    // acknowledged for the first time
	Probe   bool   // one of them is a Probe: its datagram arrived
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

// taking is what is learned while one Ack is taken.
type taking struct {
	ack    *Ack
	at     uint64
	out    Acked
	newest uint32 // highest sequence
	again  bool   // something sent more than once was acknowledged

	acked uint64 // known before

	proven    int    // probes that were needed: their packets had been lost
	provenSeq uint32 // the newest of them
	spurious  int    // losses that were none

	// Of the packet transmitted last.
	order, sent, delivered, deliveredAt, firstSent uint64
	idle                                           bool
	pulse                                          congestion.Pulse
}

// OnAck takes an acknowledgement that is Valid, and is looked at now.
func (s *Sender) OnAck(a *Ack, now uint64) Acked {
	t := taking{ack: a, at: a.At, newest: s.una, acked: s.acked}
	if t.at == 0 || t.at > now {
		t.at = now
	}
	for s.una != a.Next {
		s.take(&t, s.una)
		s.messages -= s.at(s.una).messages
		s.una++
	}
	for w := range a.Words {
		for set := a.Sack[w]; set != 0; set &= set - 1 {
			s.take(&t, a.Next+1+uint32(64*w+bits.TrailingZeros64(set)))
		}
	}
	// An acknowledgement that a retransmission set free measures the wait for
	// that, not the path (Karn's rule, over the whole range).
	t.out.HasRTT = t.out.HasRTT && !t.again
	if t.out.Packets == 0 {
		return t.out
	}
	s.probes = 0
	s.RTT.ResetBackoff()
	s.excuse(&t, now)
	s.timedOut = false
	s.tell(&t, now)
	if t.proven > 0 {
		s.Count.Lost += uint64(t.proven)
		s.lost(t.proven, t.provenSeq, t.order, now)
	}
	s.findLost(now)
	return t.out
}

// take frees packet seq and learns how far transmissions got.
func (s *Sender) take(t *taking, seq uint32) {
	at := s.at(seq)
	p := at.packet
	if p == nil {
		return
	}
	at.packet = nil
	t.out.Packets++
	t.newest = seq
	t.again = t.again || p.sends > 1
	if p.sends == 1 {
		t.out.RTT, t.out.HasRTT = t.at-min(t.at, p.sent), true
	}
	newest := s.answers(t, p)
	lost := 0.0
	switch p.why {
	case whyNew, whySmall:
	case whyLost:
		if lost = 1; !newest {
			lost = 0
			t.spurious++
			s.reordering.grow(s.acked - min(s.acked, p.lostOrder))
		}
	case whyEarly, whyProbe:
		if newest && (!t.ack.Echoed || t.ack.Echo == uint32(p.sent/1000)) {
			lost = 1
			t.proven++
			t.provenSeq = seq
		}
	}
	t.out.Probe = t.out.Probe || p.Probe
	if p.Large && p.order > s.largeAcked {
		s.largeAcked, s.largeLost = p.order, 0
	}
	if !p.Probe && p.why != whySmall {
		s.judged = min(s.judged+1, lossMemory)
		s.lossShare += (lost - s.lossShare) / s.judged
	}
	if newest && p.order > s.acked {
		s.acked = p.order
		s.ackRTT = t.at - min(t.at, p.sent)
	} else if p.sends == 1 && p.order < t.acked && !p.Probe {
		s.reordering.see(t.acked - p.order)
	}
	if p.order > t.order {
		t.pulse = p.pulse
		t.order, t.sent, t.delivered, t.deliveredAt, t.firstSent, t.idle =
			p.order, p.sent, p.delivered, p.deliveredAt, p.firstSent, p.idle
	}
	if p.lost {
		s.waiting.remove(p)
	} else {
		s.flying.remove(p)
	}
	if p.Pending != nil {
		p.Pending.Packets--
		if p.Large {
			p.Pending.Large--
		}
	}
	s.pool.Put(p)
	s.delivered++
	s.deliveredAt = t.at
}

// answers reports whether the newest transmission of p may be what was
// acknowledged. An answer to something that was sent before it, or where the echo
// is not known one that came much sooner than any round trip (RFC 8985 section
// 6.2), is to an earlier one.
func (s *Sender) answers(t *taking, p *Packet) bool {
	switch {
	case p.lost:
		return false
	case p.sends == 1:
		return true
	case t.ack.Echoed:
		return int32(t.ack.Echo-uint32(p.sent/1000)) >= 0
	}
	return t.at-min(t.at, p.sent) >= s.RTT.Min*3/4
}

// excuse takes back congestion events whose losses were none.
func (s *Sender) excuse(t *taking, now uint64) {
	if t.spurious == 0 {
		return
	}
	s.Count.Spurious += uint64(t.spurious)
	if s.timedOut {
		// The path was slow, not dead: what was sent before the timeout is
		// still on its way.
		s.episode.lost = 0
		s.flying.merge(&s.waiting)
	} else {
		s.episode.lost = max(s.episode.lost-t.spurious, 0)
	}
	if s.episode.lost == 0 && s.episode.open {
		s.episode.open = false
		s.cc.Undo(now)
	}
}

// tell gives the controller what it has to know.
func (s *Sender) tell(t *taking, now uint64) {
	a := &s.ackTold
	*a = congestion.Ack{
		Now: now, Packets: t.out.Packets, Newest: t.newest, InFlight: s.flying.Len(), Limited: s.limited,
		RTT: t.ack.RTT, SmoothedRTT: s.RTT.Smoothed, MinRTT: s.RTT.Min,
		AppLimited: t.idle, Delivered: s.delivered, PriorDelivered: t.delivered,
	}
	s.firstSent = t.sent
	interval := max(t.sent-min(t.sent, t.firstSent), t.at-min(t.at, t.deliveredAt))
	// A shorter interval is an artefact of acknowledgements that came together.
	if interval > 0 && interval >= s.RTT.Min {
		a.Rate = float64(s.delivered-t.delivered) * 1e9 / float64(interval)
	}
	s.cc.OnAck(a)
	s.limited = false
	// The sample is of that packet, and not of a later one that was answered
	// before.
	if a.RTT > 0 && (!t.ack.Echoed || t.ack.Echo == uint32(t.sent/1000)) {
		s.bulk.OnAck(now, t.pulse, t.sent, a.RTT)
	}
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
	s.lossAt = Never
	count, newest, order := 0, uint32(0), uint64(0)
	for p := s.oldest(); p != nil && p.order < s.acked; {
		next := p.next
		if s.Cumulative {
			next = nil
		}
		if !s.overtaken(p, now) {
			break
		}
		if !p.Probe {
			if count == 0 || int32(p.seq-newest) > 0 {
				newest = p.seq
			}
			count++
			order = p.order
		}
		s.lose(p)
		p = next
	}
	if count > 0 {
		s.lost(count, newest, order, now)
	}
}

// overtakenAt returns when p, which later transmissions overtook, is lost.
func (s *Sender) overtakenAt(p *Packet) uint64 {
	return p.sent + max(s.ackRTT, s.RTT.Smoothed) + s.reordering.delay(&s.RTT)
}

// overtaken reports whether p is lost, later transmissions having arrived; if
// not yet, it sees to it that it is looked at again in time.
func (s *Sender) overtaken(p *Packet, now uint64) bool {
	if s.acked-p.order >= s.reordering.packets {
		return true
	}
	at := s.overtakenAt(p)
	if now >= at {
		return true
	}
	s.lossAt = min(s.lossAt, at)
	return false
}

// lose has p wait for its retransmission.
func (s *Sender) lose(p *Packet) {
	s.again(p, whyLost)
	if !p.Probe {
		p.lostOrder = p.order
		s.Count.Lost++
	}
}

// lost answers the loss of count packets, order being the newest of their
// transmissions.
func (s *Sender) lost(count int, newest uint32, order, now uint64) {
	if order > s.episode.end {
		s.reordering.forget()
		s.episode.end = s.order
	}
	events := s.cc.Events()
	s.lossTold = congestion.Loss{Now: now, Packets: count, Newest: newest, Next: s.next, InFlight: s.flying.Len()}
	s.cc.OnLoss(&s.lossTold)
	// What the controller takes for part of an event before it is undone with
	// that, and what it does not answer needs no undoing.
	if s.cc.Events() != events {
		s.episode.open, s.episode.lost = true, 0
	}
	s.episode.lost += count
}

// Marked takes the peer's word that packets arrived marked Congestion
// Experienced. It is answered once per flight (RFC 3168 section 6.1.2).
func (s *Sender) Marked(now uint64) {
	s.Count.Marks++
	if s.marking && int32(s.una-s.marked) < 0 {
		return
	}
	s.marking, s.marked = true, s.next
	s.reduced = true
	s.cc.OnMark(now, s.next)
}

// Reduced reports, once per flight, that marks were answered (CWR).
func (s *Sender) Reduced() bool {
	was := s.reduced
	s.reduced = false
	return was
}

// Deadline returns when OnDeadline must be called, Never while nothing is in
// flight.
func (s *Sender) Deadline() uint64 {
	p := s.oldest()
	if p == nil {
		return Never
	}
	return min(s.answerBy(p), s.lossAt, s.earlyAt())
}

// answerBy returns when p, in flight the longest, has to be answered. Of what later
// transmissions overtook, the time for reordering has to be over too.
func (s *Sender) answerBy(p *Packet) uint64 {
	sent := p.sent
	if s.probes >= maxProbes {
		sent = max(sent, s.probedAt)
	}
	if p.order < s.acked {
		return max(sent+s.RTT.RTO(), s.overtakenAt(p))
	}
	return sent + s.RTT.RTO()
}

// planEarly has p sent twice where that makes sense: the path loses as far as is
// known, p is small, and it is urgent or there is too little in flight to show
// its loss, with no queue that a second copy would make longer.
func (s *Sender) planEarly(p *Packet) {
	lossy := s.lossShare >= lossyShare || s.judged < unknownPath
	if !lossy || p.Probe || p.length > earlySize || s.earlyCount == earlySlots {
		return
	}
	queue := s.RTT.Smoothed > 2*s.RTT.Min+earlyMost
	if !p.Urgent && (queue || s.flying.Len() > congestion.MinWindow) {
		return
	}
	s.early[(s.earlyNext+s.earlyCount)%earlySlots] = earlyPacket{
		seq: p.seq, order: p.order, at: p.sent + min(max(s.RTT.Smoothed/8, earlyLeast), earlyMost),
	}
	s.earlyCount++
}

// earlyAt returns when the next second copy is due, Never where none is.
func (s *Sender) earlyAt() uint64 {
	for s.earlyCount > 0 {
		e := &s.early[s.earlyNext%earlySlots]
		if int32(e.seq-s.una) >= 0 {
			if p := s.at(e.seq).packet; p != nil && p.order == e.order && !p.lost {
				return e.at
			}
		}
		s.earlyNext++
		s.earlyCount--
	}
	return Never
}

// OnDeadline finds out what is lost by the clock.
func (s *Sender) OnDeadline(now uint64) {
	s.findLost(now)
	for now >= s.earlyAt() {
		s.again(s.at(s.early[s.earlyNext%earlySlots].seq).packet, whyEarly)
		s.Count.Early++
	}
	for p := s.oldest(); p != nil && now >= s.answerBy(p); p = s.oldest() {
		if p.Probe {
			s.again(p, whySmall)
			continue
		}
		if p.why == whyProbe && s.probes > 0 || s.timedOut || s.probes >= maxProbes {
			s.timeout(now)
			return
		}
		s.again(p, whyProbe)
		s.probes++
		s.probedAt = now
		s.Count.Probes++
	}
}

// again has p wait to be sent again, whether it is known to be lost or not.
func (s *Sender) again(p *Packet, y why) {
	if p.Probe {
		y = whySmall
	}
	if p.Large && p.order > s.largeAcked {
		s.largeLost++
	}
	s.flying.remove(p)
	p.lost, p.why = true, y
	s.waiting.Push(p)
}

// timeout takes everything in flight for lost: not even probes were answered.
func (s *Sender) timeout(now uint64) {
	s.Count.Timeouts++
	s.RTT.Backoff()
	s.timedOut = true
	s.probes = 0
	s.episode = episode{open: true, end: s.order}
	for p := s.oldest(); p != nil; p = s.oldest() {
		if !p.Probe {
			s.episode.lost++
		}
		s.lose(p)
	}
	s.lossAt = Never
	s.cc.OnTimeout(now, s.next)
}

// Close returns every packet to the pool.
func (s *Sender) Close() {
	s.flying.Drain(s.pool)
	s.waiting.Drain(s.pool)
	clear(s.ring)
	s.una, s.messages = s.next, 0
	s.lossAt, s.heldTo, s.earlyCount = Never, 0, 0
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
