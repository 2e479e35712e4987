package reliability

import (
	"github.com/xrudp/xrudp/userspace/congestion"
	"github.com/xrudp/xrudp/userspace/wire"
)

// BodySize is the room in a Packet. No body is larger, whatever its header.
const BodySize = wire.MaxDatagramLimit

// poolKeep bounds how many unused packets a Pool keeps for later.
const poolKeep = 4096

// Packet is the body of a packet: one on its way out, kept until it was
// acknowledged, or the copy of one that waits for its turn to be handed over.
type Packet struct {
	Messages int   // in the body
	Final    bool  // the body is the reason of a FIN
	Bulk     bool  // it makes way for latency-critical ones
	Urgent   bool  // it jumped the queue
	Priority uint8 // of the queue that it left

	// Large says that the packet may prove too large for the path. Pending is set
	// then, and Split makes it smaller.
	Large bool
	// Probe says that the datagram was filled up to a size in question (RFC
	// 8899). Sent again it is not, and its loss says nothing of congestion. Who
	// sends it again takes this back.
	Probe bool

	// Pending counts the packet until it is acknowledged, where it is set.
	Pending *Pending

	length int
	body   [BodySize]byte

	// When messages cease to matter: the earliest, 0 where none does, and each.
	expires uint64
	expiry  [wire.MaxMessages]uint64

	// Of the Sender.
	seq   uint32
	sends uint32           // transmissions
	lost  bool             // waits for its retransmission
	why   why              // it is sent, newest or next
	idle  bool             // sent while the application, not the path, set the pace
	order uint64           // number of the newest transmission
	sent  uint64           // time of the newest transmission
	pulse congestion.Pulse // of the first transmission

	lostOrder uint64 // of the transmission that was taken for lost last

	// Of the delivery rate, when it was sent.
	delivered, deliveredAt, firstSent uint64

	prev, next *Packet
}

// why says for what reason a packet is sent.
type why uint8

const (
	whyNew   why = iota
	whyEarly     // the path loses, and the packet is small
	whyProbe     // want of an answer
	whyLost      // others overtook it, or nothing was answered
	whySmall     // it was lost as a Probe
)

// Pending is an account of packets that belong together.
type Pending struct {
	Packets int    // made and not acknowledged
	Large   int    // of them, those that are Large, or from Split and not sent
	Sent    bool   // Last means something
	Last    uint32 // the highest of their sequences
}

// Body returns the bytes in use. They alias the packet.
func (p *Packet) Body() []byte { return p.body[:p.length] }

// Room returns an empty slice over the rest of the body, to be appended to
// within its capacity and then passed to Extend.
func (p *Packet) Room() []byte { return p.body[p.length:p.length:BodySize] }

// Extend takes n bytes that were appended to Room into the body.
func (p *Packet) Extend(n int) { p.length += n }

// Early reports whether the packet is sent again before anything speaks for its
// loss.
func (p *Packet) Early() bool { return p.why == whyEarly }

// Len returns the number of bytes in use.
func (p *Packet) Len() int { return p.length }

// Append adds m, which must fit, to the body.
func (p *Packet) Append(m wire.Message) {
	wire.AppendMessage(p.Room(), m)
	p.Extend(wire.MessageHeaderSize + len(m.Payload))
	if p.expires != 0 {
		p.expiry[p.Messages] = 0
	}
	p.Messages++
}

// SetExpiry has the message appended last cease to matter at the given time.
func (p *Packet) SetExpiry(at uint64) {
	if p.expires == 0 {
		clear(p.expiry[:])
	}
	p.expiry[p.Messages-1] = at
	p.expires = min(p.Expires(), at)
}

// Expires returns when the first message ceases to matter, Never if none does.
func (p *Packet) Expires() uint64 {
	if p.expires == 0 {
		return Never
	}
	return p.expires
}

// Expire calls f for each message that ceased to matter by now. What f returns,
// which may be smaller, takes its place, and nothing where f returns false.
func (p *Packet) Expire(now uint64, f func(m wire.Message) (wire.Message, bool)) {
	rest, kept, length := p.Body(), 0, 0
	p.expires = 0
	for i := range p.Messages {
		// The message was written by Append.
		m, tail, _ := wire.ParseMessage(rest)
		rest = tail
		at := p.expiry[i]
		if at != 0 && at <= now {
			at = 0
			var stays bool
			if m, stays = f(m); !stays {
				continue
			}
		}
		// It moves forward, if at all, and payloads are copied as a whole.
		length += len(wire.AppendMessage(p.body[length:length:BodySize], m))
		p.expiry[kept] = at
		kept++
		if at != 0 {
			p.expires = min(p.Expires(), at)
		}
	}
	p.Messages, p.length = kept, length
}

// Join appends the messages of q if they fit into a body of limit bytes, and
// reports whether they did.
func (p *Packet) Join(q *Packet, limit int) bool {
	if p.Messages+q.Messages > wire.MaxMessages || p.length+q.length > limit {
		return false
	}
	if p.expires != 0 || q.expires != 0 {
		if p.expires == 0 {
			clear(p.expiry[:])
		}
		for i := range q.Messages {
			p.expiry[p.Messages+i] = 0
			if q.expires != 0 {
				p.expiry[p.Messages+i] = q.expiry[i]
			}
		}
		p.expires = min(p.Expires(), q.Expires())
	}
	p.length += copy(p.body[p.length:], q.Body())
	p.Messages += q.Messages
	return true
}

// Split moves all messages but the first of a Large packet to q, which is empty.
// They matter whatever their time, since nothing tells whether the peer has them
// from p.
func (p *Packet) Split(q *Packet) {
	_, rest, _ := wire.ParseMessage(p.Body())
	q.length = copy(q.body[:], rest)
	q.Messages, p.Messages = p.Messages-1, 1
	p.length -= q.length
	p.Large = false
	q.Priority, q.Pending = p.Priority, p.Pending
	q.Pending.Packets++
}

// Sequence returns the number the packet was first sent with.
func (p *Packet) Sequence() uint32 { return p.seq }

// Pool is a free list of packets, shared by sessions of one owner. The zero
// value is ready.
type Pool struct {
	free *Packet
	kept int
}

// Get returns an empty packet.
func (l *Pool) Get() *Packet {
	p := l.free
	if p == nil {
		return new(Packet)
	}
	l.free = p.next
	l.kept--
	p.next = nil
	return p
}

// Put takes back a packet that is on no list.
func (l *Pool) Put(p *Packet) {
	if l.kept >= poolKeep {
		return
	}
	p.Messages, p.Final, p.Urgent, p.Bulk, p.Priority, p.Pending, p.length, p.expires = 0, false, false, false, 0, nil, 0, 0
	p.Large, p.Probe = false, false
	p.sends, p.lost, p.why = 0, false, whyNew
	p.prev, p.next = nil, l.free
	l.free = p
	l.kept++
}

// Queue is a first-in first-out list of packets. The zero value is empty.
type Queue struct {
	head, tail *Packet
	count      int
}

// Push appends p.
func (q *Queue) Push(p *Packet) {
	p.prev, p.next = q.tail, nil
	if q.tail == nil {
		q.head = p
	} else {
		q.tail.next = p
	}
	q.tail = p
	q.count++
}

// Pop takes the oldest packet, nil if there is none.
func (q *Queue) Pop() *Packet {
	p := q.head
	if p != nil {
		q.remove(p)
	}
	return p
}

// Front returns the oldest packet, nil if there is none.
func (q *Queue) Front() *Packet { return q.head }

// Back returns the newest packet, nil if there is none.
func (q *Queue) Back() *Packet { return q.tail }

// Len returns the number of packets.
func (q *Queue) Len() int { return q.count }

// Drain moves every packet to the pool.
func (q *Queue) Drain(pool *Pool) {
	for p := q.Pop(); p != nil; p = q.Pop() {
		pool.Put(p)
	}
}

// merge moves the packets of from into q, both in the order of transmission.
// None of them is lost any more.
func (q *Queue) merge(from *Queue) {
	at := q.head
	for p := from.Pop(); p != nil; p = from.Pop() {
		p.lost = false
		// from need not be in order throughout.
		before := q.tail
		if at != nil {
			before = at.prev
		}
		if before != nil && before.order > p.order {
			at = q.head
		}
		for at != nil && at.order < p.order {
			at = at.next
		}
		q.insert(p, at)
	}
}

// insert puts p in front of next, at the end where that is nil.
func (q *Queue) insert(p, next *Packet) {
	if next == nil {
		q.Push(p)
		return
	}
	p.prev, p.next = next.prev, next
	if next.prev == nil {
		q.head = p
	} else {
		next.prev.next = p
	}
	next.prev = p
	q.count++
}

func (q *Queue) remove(p *Packet) {
	if p.prev == nil {
		q.head = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		q.tail = p.prev
	} else {
		p.next.prev = p.prev
	}
	p.prev, p.next = nil, nil
	q.count--
}
