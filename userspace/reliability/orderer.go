package reliability

import (
	"math/bits"
	"math/rand/v2"
)

const (
	// Channels is the number of channels of a session.
	Channels = 128
	// MaxAhead is how far the id of an ordered message may lie ahead of the
	// one that is due. Senders keep fewer messages outstanding.
	MaxAhead = 16384
)

// Order says what an Orderer makes of a message's id.
type Order uint8

const (
	// Due is the next id of its channel: hand it over, then call Advance.
	Due Order = iota
	// Early waits for others: call Hold.
	Early
	// Illegal was handed over before, is held already or lies too far ahead.
	// Packets are received once, so only a peer that breaks the protocol sends
	// such a message.
	Illegal
)

// Place is where a held message lies: which packet, and at which byte of its
// body. It is a reference, the Orderer copies no payload.
type Place struct {
	Sequence uint32
	Offset   uint16
	Large    uint8 // Large.Ref of a large message whose last chunk lies there, or 0
}

// Orderer puts the ordered messages of each channel into the order of their
// ids, which count from 0. A gap in one channel holds back no other.
//
// The zero value is ready.
type Orderer struct {
	next [Channels]uint16

	// A chained hash table by channel and id. Peers choose the keys, so the
	// multiplier is random: a chain is short whatever they send.
	multiplier uint32
	shift      uint8   // leaves as many bits as there are buckets
	buckets    []int32 // index + 1 of the first node
	nodes      []heldMessage
	unused     int32 // index + 1 of the first unused node
	held       int
}

type heldMessage struct {
	key   uint32
	next  int32 // index + 1 of the next node of the chain or of the unused ones
	place Place
}

// Classify says what to do with message id of channel.
func (o *Orderer) Classify(channel uint8, id uint16) Order {
	ahead := id - o.next[channel]
	switch {
	case ahead == 0:
		return Due
	case ahead > MaxAhead:
		return Illegal
	case o.held > 0 && *o.find(holdKey(channel, id)) != 0:
		return Illegal
	}
	return Early
}

// Advance makes the next id of channel due: the caller handed over the one
// that was.
func (o *Orderer) Advance(channel uint8) { o.next[channel]++ }

// Hold remembers where a message that is Early lies.
func (o *Orderer) Hold(channel uint8, id uint16, at Place) {
	if o.held >= len(o.buckets) {
		o.grow()
	}
	link := o.find(holdKey(channel, id))
	index := o.unused
	node := &o.nodes[index-1]
	o.unused = node.next
	*node = heldMessage{key: holdKey(channel, id), place: at}
	*link = index
	o.held++
}

// Take returns the place of the message of channel that is due, if it is
// held, and forgets it. The caller hands it over, then calls Advance.
func (o *Orderer) Take(channel uint8) (at Place, ok bool) {
	if o.held == 0 {
		return Place{}, false
	}
	return o.unlink(o.find(holdKey(channel, o.next[channel])))
}

// Forget removes message id of channel and returns its place, if it was held.
func (o *Orderer) Forget(channel uint8, id uint16) (at Place, ok bool) {
	if o.held == 0 {
		return Place{}, false
	}
	return o.unlink(o.find(holdKey(channel, id)))
}

// unlink makes the node that link points to unused, if there is one.
func (o *Orderer) unlink(link *int32) (at Place, ok bool) {
	index := *link
	if index == 0 {
		return Place{}, false
	}
	node := &o.nodes[index-1]
	*link = node.next
	node.next = o.unused
	o.unused = index
	o.held--
	return node.place, true
}

// Held returns how many messages are held.
func (o *Orderer) Held() int { return o.held }

func holdKey(channel uint8, id uint16) uint32 { return uint32(channel)<<16 | uint32(id) }

// find returns the link that points to the node of key, or the end of the
// chain it would be in.
func (o *Orderer) find(key uint32) *int32 {
	// The top bits of the product are a universal hash of the key.
	link := &o.buckets[key*o.multiplier>>o.shift]
	for *link != 0 && o.nodes[*link-1].key != key {
		link = &o.nodes[*link-1].next
	}
	return link
}

// grow doubles the table.
func (o *Orderer) grow() {
	if o.multiplier == 0 {
		o.multiplier = rand.Uint32() | 1
	}
	was := len(o.nodes)
	size := max(32, 2*was)
	nodes := make([]heldMessage, size)
	copy(nodes, o.nodes)
	o.nodes = nodes
	o.buckets = make([]int32, size)
	o.shift = uint8(33 - bits.Len(uint(size)))
	// All old nodes are in use, or there would be no need to grow.
	for i := range was {
		o.nodes[i].next = 0
		*o.find(o.nodes[i].key) = int32(i + 1)
	}
	for i := was; i < size; i++ {
		o.nodes[i].next = o.unused
		o.unused = int32(i + 1)
	}
}
