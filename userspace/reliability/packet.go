package reliability

import "github.com/xrudp/xrudp/userspace/wire"

// BodySize is the room in a Packet: a datagram less its header.
const BodySize = wire.MaxDatagram - wire.HeaderSize

// poolKeep bounds how many unused packets a Pool keeps for later.
const poolKeep = 4096

// Packet is the body of a packet: one on its way out, kept until it was
// acknowledged, or the copy of one that waits for its turn to be handed over.
type Packet struct {
	Messages int  // in the body
	Final    bool // the body is the reason of a FIN

	length int
	body   [BodySize]byte

	// Of the Sender.
	seq   uint32
	sends uint32 // transmissions
	lost  bool   // waits for its retransmission
	order uint64 // number of the newest transmission
	sent  uint64 // time of the newest transmission

	prev, next *Packet
}

// Body returns the bytes in use. They alias the packet.
func (p *Packet) Body() []byte { return p.body[:p.length] }

// Room returns an empty slice over the rest of the body, to be appended to
// within its capacity and then passed to Extend.
func (p *Packet) Room() []byte { return p.body[p.length:p.length:BodySize] }

// Extend takes n bytes that were appended to Room into the body.
func (p *Packet) Extend(n int) { p.length += n }

// Len returns the number of bytes in use.
func (p *Packet) Len() int { return p.length }

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
	p.Messages, p.Final, p.length = 0, false, 0
	p.sends, p.lost = 0, false
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
