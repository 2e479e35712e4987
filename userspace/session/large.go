package session

import (
	"slices"

	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	// transferReserve is the part of the peer's window that large messages
	// leave to others.
	transferReserve = 4

	// behindCost is what a message that waits behind a large one takes beside its
	// payload, in bytes.
	behindCost = 256

	// starving is after how long without a chunk a large message that is begun
	// goes before more urgent ones, in nanoseconds: the peer gives up one that
	// stands still.
	starving = uint64(1e9)

	// retryChunk is how long chunks without memory wait before they are offered
	// again, in nanoseconds: so long for each receive window of them, since a peer
	// can make a packet's worth of very small ones.
	retryChunk = uint64(20e6)
)

// transfer is a message that is larger than a packet: it waits, is cut into
// packets, or has packets that are not acknowledged. Or it is a small one that
// waits behind such a message.
type transfer struct {
	message Outgoing // its payload a copy, and nil once it is begun
	size    int
	cost    int // of Config.LargeQueue
	id      uint16
	expires uint64 // 0: never

	begun   bool
	large   bool                  // its packets may be larger than any path carries
	passed  bool                  // what is behind it left, or may
	skipped bool                  // a SKIP in a packet of its own stands for it
	out     *reliability.Outgoing // while there are chunks to send
	chunkAt uint64                // when the last of them was cut
	pending reliability.Pending

	// What was sent in its ordered or sequenced channel after it. It leaves
	// after the last chunk, and once none can move to a later packet any more,
	// since a receiver that has every packet up to an ordered message must be
	// able to hand it over.
	behind []*transfer
}

// cut reports whether all chunks are on their way.
func (t *transfer) cut() bool { return t.begun && t.out == nil }

// outLarge is what a session has to send in more than one packet.
type outLarge struct {
	transfers  []*transfer
	queued     int               // bytes of all of them, and of what waits behind them
	unfinished int               // bytes of the reliable ones that are begun
	moved      reliability.Queue // chunks that their packets turned out too large for
	numbers    [2]uint32         // of the next transfer, unreliable and reliable
	pool       reliability.OutgoingPool
}

// isOrdered reports whether messages of the mode keep their order.
func isOrdered(m Mode) bool { return m == ReliableOrdered || m == UnreliableSequenced }

// chunkSize is how many bytes of a large message go into a packet of any path.
func (s *Session) chunkSize() int {
	return min(reliability.ChunkFor(s.bodyMax), reliability.DefaultChunk)
}

// largeBody is how many bytes of chunks go into a packet of this path. What a
// server writes has no bitmap.
func (s *Session) largeBody() int {
	n := s.mtu.current() - s.cfg.Profile.Overhead()
	if s.server {
		n += 8 * wire.AckWordsMax
	}
	return n
}

// pairSize returns the size of chunks of which two fill a packet of this path, so
// that one fits any, where t gains by that. Of unreliable packets nobody hears that
// the path does not carry them any more. And what is behind t has to wait for a
// round trip: of many small messages in a row it would make a slow flow.
func (s *Session) pairSize(t *transfer) (size int, ok bool) {
	if s.mtu.current() <= s.mtu.base || !t.message.Mode.Reliable() {
		return 0, false
	}
	const trips = 4 // which shorter ones make up for
	if len(t.behind) > 0 && t.size < trips*s.snd.Controller().Window()*reliability.DefaultChunk {
		return 0, false
	}
	size = reliability.ChunkFor(s.largeBody() / 2)
	return size, t.size <= reliability.MaxChunks*size
}

// sendLarge queues a message that does not fit a packet.
func (s *Session) sendLarge(o *Outgoing) error {
	if len(o.Payload) > s.MaxMessage() {
		return ErrTooLarge
	}
	return s.addTransfer(o, s.inFront(o))
}

// inFront returns the large message that a message of its channel has to wait
// behind, nil if there is none.
func (s *Session) inFront(o *Outgoing) *transfer {
	for _, t := range s.large.transfers {
		if !t.passed && isOrdered(o.Mode) && t.message.Mode == o.Mode && t.message.Channel == o.Channel {
			return t
		}
	}
	return nil
}

// addTransfer has o wait, behind another of its channel if there is one.
func (s *Session) addTransfer(o *Outgoing, before *transfer) error {
	t := &transfer{message: *o, size: len(o.Payload), cost: len(o.Payload)}
	if before != nil {
		t.cost += behindCost
	}
	if s.large.queued+t.cost > s.cfg.LargeQueue {
		return ErrWouldBlock
	}
	t.id = s.nextID(o)
	t.message.Payload = slices.Clone(o.Payload)
	if o.Lifetime > 0 && o.Mode.Reliable() {
		t.expires = s.now + uint64(o.Lifetime)
	}
	s.large.queued += t.cost
	if before != nil {
		before.behind = append(before.behind, t)
	} else {
		s.large.transfers = append(s.large.transfers, t)
	}
	return nil
}

// nextTransfer returns the large message whose chunk may be sent now: the most
// urgent, and of those of one priority the one that was sent first. They come
// one after the other, so that each is complete as early as can be and few
// wait at the peer. What may not be overtaken leaves before them.
func (s *Session) nextTransfer() *transfer {
	var best *transfer
	full := false // the peer has no room for another one
	open := slices.ContainsFunc(s.large.transfers, func(t *transfer) bool {
		return t.begun && !t.cut() && t.message.Mode.Reliable()
	})
	for _, t := range s.large.transfers {
		if t.begun && !t.cut() && s.now >= t.chunkAt+starving {
			best = t
			break
		}
		if t.cut() || best != nil && t.message.Priority >= best.message.Priority {
			continue
		}
		if t.begun {
			best = t
			continue
		}
		if open && t.message.Mode.Reliable() && !s.mayPreempt(t) {
			continue
		}
		full = full || t.message.Mode.Reliable() && s.large.unfinished+t.size > s.peerReassembly
		if _, behind := s.out.waiting(t.message.Mode, t.message.Channel); !full && !behind {
			best = t
		}
	}
	if best == nil {
		return nil
	}
	if !s.mayTransfer(best) {
		s.out.held = true
		return nil
	}
	return best
}

// mayPreempt reports whether t may go before one that is begun. Where the peer
// has no memory for it, its chunks wait in their packets, and must leave room for
// those of the other, which ends the wait.
func (s *Session) mayPreempt(t *transfer) bool {
	return t.size/s.chunkSize() < (s.peerWindow-s.snd.Outstanding())/transferReserve
}

// mayTransfer asks what bounds a chunk. Some of the peer's window stays for
// small messages.
func (s *Session) mayTransfer(t *transfer) bool {
	if s.budget.next(s.now) > s.now {
		return false
	}
	if !t.message.Mode.Reliable() {
		return s.snd.MayFly(s.now)
	}
	window := min(s.peerWindow, reliability.WindowSize)
	window -= window / transferReserve
	if !s.snd.MaySendMessages(2, window, reliability.Bulk, s.now) {
		s.noteBlocked()
		return false
	}
	return true
}

// chunk takes the next chunk of t into a packet, or two where they fit in. It is
// nil where there is none because the lifetime of t is over.
func (s *Session) chunk(t *transfer) (p *reliability.Packet, reliable bool) {
	reliable = t.message.Mode.Reliable()
	if t.expires != 0 && s.now >= t.expires {
		s.abandonTransfer(t)
		return nil, reliable
	}
	if !t.begun {
		s.begin(t)
	}
	t.chunkAt = s.now
	p = s.cfg.Pool.Get()
	room := s.bodyMax
	if t.large {
		room = max(room, s.largeBody())
	}
	for size := t.out.NextSize(); size > 0 && p.Messages < 2 && p.Len()+size <= room; size = t.out.NextSize() {
		t.out.Next(p.Room())
		p.Extend(size)
		p.Messages++
		if t.expires != 0 {
			p.SetExpiry(t.expires)
		}
	}
	if reliable {
		p.Bulk = true
		p.Pending = &t.pending
		t.pending.Packets++
		if p.Large = p.Len() > s.bodyMax; p.Large {
			t.pending.Large++
		}
	} else {
		s.snd.Paced(p.Len(), s.now)
	}
	if t.out.Remaining() == 0 {
		s.endCut(t)
	}
	return p, reliable
}

func (s *Session) begin(t *transfer) {
	o := &t.message
	kind := index(o.Mode.Reliable())
	t.begun = true
	channel := o.Channel
	if !isOrdered(o.Mode) {
		channel |= wire.Unordered
	}
	size := s.chunkSize()
	if pair, ok := s.pairSize(t); ok {
		size, t.large = pair, true
	}
	t.out = s.large.pool.New(s.large.numbers[kind], channel, t.id, o.Type, o.Payload, size)
	s.large.numbers[kind]++
	o.Payload = nil
	if o.Mode.Reliable() {
		s.large.unfinished += t.size
	}
}

// endCut follows the last chunk of t, or its end before that.
func (s *Session) endCut(t *transfer) {
	if t.out != nil {
		s.large.pool.Put(t.out)
		t.out = nil
	}
	s.sweepTransfers()
}

// pass lets go what waited behind t.
func (s *Session) pass(t *transfer) {
	t.passed = true
	for i, b := range t.behind {
		if b.size > s.MaxPayload() {
			b.behind = append(b.behind, t.behind[i+1:]...)
			s.large.transfers = append(s.large.transfers, b)
			break
		}
		s.large.queued -= b.cost
		o := b.message
		if b.expires != 0 {
			o.Lifetime = max(1, s.until(b.expires))
		}
		s.enqueue(&o, b.id)
	}
	t.behind = nil
}

// sweepTransfers lets pass what large messages do not hold back any more, and
// forgets those that nothing is left to do about. While anything before its last
// chunk is missing at the peer, a message may wait there, in memory that another
// one cannot have.
func (s *Session) sweepTransfers() {
	for i := 0; i < len(s.large.transfers); i++ {
		// A SKIP stands for all chunks, wherever they are.
		if t := s.large.transfers[i]; t.cut() && !t.passed && (t.skipped || t.pending.Large == 0) {
			s.pass(t)
		}
	}
	una := s.snd.Una()
	s.large.transfers = slices.DeleteFunc(s.large.transfers, func(t *transfer) bool {
		if !t.cut() || t.pending.Packets > 0 || t.pending.Sent && int32(una-t.pending.Last) <= 0 {
			return false
		}
		s.large.queued -= t.cost
		if t.message.Mode.Reliable() {
			s.large.unfinished -= t.size
		}
		return true
	})
}

// abandonTransfer gives up a large message whose lifetime is over before its
// last chunk left. What the peer has of it, it forgets by the SKIP.
func (s *Session) abandonTransfer(t *transfer) {
	s.stats.Abandoned++
	t.skipped = true
	o := &t.message
	skip := wire.Message{Type: wire.TypeSkip, Channel: o.Channel, ID: t.id}
	if !t.begun {
		t.begun = true
		s.large.unfinished += t.size
		o.Payload = nil
	}
	if o.Mode == ReliableUnordered {
		skip.Channel |= wire.Unordered
	}
	t.expires = 0
	// In a packet of its channel's, since others may follow.
	priority := s.out.choose(o.Mode, o.Channel, o.Priority)
	s.pack(1, priority, skip)
	if isOrdered(o.Mode) {
		s.out.place[1][o.Channel] = place{priority: priority, number: s.out.lanes[1][priority].pushed}
	}
	s.endCut(t)
}

// chunkExpired returns the type of message that takes the place of a chunk in p,
// which is to be sent again though the chunk does not matter any more.
//
// Once all chunks have left, what follows in the channel may have as well, and
// the message may be complete. A SKIP in the place of every chunk that the peer
// may miss is what it finds in time, and only if it misses one.
func (s *Session) chunkExpired(p *reliability.Packet) uint8 {
	// A transfer is kept for as long as packets of it are.
	t := s.large.transfers[slices.IndexFunc(s.large.transfers, func(t *transfer) bool { return &t.pending == p.Pending })]
	switch {
	case !t.cut():
		s.abandonTransfer(t)
	case t.expires != 0:
		s.stats.Abandoned++
		t.expires = 0
	}
	if t.skipped {
		return wire.TypePad
	}
	return wire.TypeSkip
}

// shrink makes p, which is sent again, fit any path. A chunk may leave it for a
// later packet.
func (s *Session) shrink(p *reliability.Packet) {
	switch {
	case p.Probe:
		p.Probe = false
		s.mtu.missed(s.now)
	case !p.Large:
	case p.Len() > s.bodyMax:
		q := s.cfg.Pool.Get()
		p.Split(q)
		s.large.moved.Push(q)
	default: // the time of its chunks is over
		p.Large = false
		p.Pending.Large--
		s.sweepTransfers()
	}
}

// nextMoved sends a chunk that left its packet, nil if there is none or it has to
// wait.
func (s *Session) nextMoved() *reliability.Packet {
	p := s.large.moved.Front()
	if p == nil || s.budget.next(s.now) > s.now {
		return nil
	}
	if !s.snd.MaySend(p, s.peerWindow, reliability.Paced, s.now) {
		s.noteBlocked()
		return nil
	}
	s.large.moved.Pop()
	s.snd.Send(p, s.now)
	p.Pending.Large--
	s.sweepTransfers()
	return p
}

// drain forgets every large message.
func (l *outLarge) drain(pool *reliability.Pool) {
	l.moved.Drain(pool)
	for _, t := range l.transfers {
		if t.out != nil {
			l.pool.Put(t.out)
		}
	}
	clear(l.transfers)
	l.transfers = l.transfers[:0]
	l.queued, l.unfinished = 0, 0
}
