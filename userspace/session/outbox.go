package session

import (
	"time"

	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Priority says which of the messages that wait leave first, and how long a
// message waits for company.
type Priority uint8

const (
	// Critical messages leave with the next Fill whatever the pacer and the
	// bandwidth budget say, and up to congestion.MinWindow packets of them
	// beyond the congestion window. Their packets carry URG.
	Critical Priority = iota
	// High messages leave with the next Fill, together with what was sent
	// since the last one. Send uses it.
	High
	// Normal messages wait up to Config.HoldNormal for a packet to fill up.
	Normal
	// Low messages wait up to Config.HoldLow.
	Low
)

const priorities = int(Low) + 1

// String returns the priority in lower case.
func (p Priority) String() string {
	switch p {
	case Critical:
		return "critical"
	case High:
		return "high"
	case Normal:
		return "normal"
	case Low:
		return "low"
	}
	return "unknown"
}

// ofTransfers is the class of chunks of large messages, behind those of small
// ones by their priorities.
const ofTransfers = priorities

// shares is how many packets of each class may leave in a row while others
// wait: nothing starves, whatever is sent above it.
var shares = [priorities + 1]int{16, 8, 4, 1, 4}

// lane is a queue of messages that were not sent yet, packed into packets.
// Only the newest of them has room for more.
type lane struct {
	packets reliability.Queue
	pushed  uint64 // packets so far
	due     uint64 // when the newest one leaves though it is not full
}

// outbox is what a session has to send and did not send yet.
type outbox struct {
	lanes  [2][priorities]lane // unreliable and reliable
	bytes  [2]int
	credit [priorities + 1]int // of shares
	held   bool                // a packet could not leave when a class had its turn
	fin    *reliability.Packet

	// Where the newest message of an ordered or sequenced channel waits. While
	// it does, those that follow wait behind it: order counts more than
	// priority.
	place [2][reliability.Channels]place
}

type place struct {
	priority Priority
	number   uint64 // of the packet, by lane.pushed; 0: none
}

func index(reliable bool) int {
	if reliable {
		return 1
	}
	return 0
}

// empty reports whether no message waits.
func (o *outbox) empty() bool { return o.bytes[0] == 0 && o.bytes[1] == 0 }

func (o *outbox) drain(pool *reliability.Pool) {
	for i := range o.lanes {
		for p := range o.lanes[i] {
			o.lanes[i][p].packets.Drain(pool)
		}
		o.bytes[i] = 0
	}
	if o.fin != nil {
		pool.Put(o.fin)
		o.fin = nil
	}
}

// choose returns the priority by which a message really travels.
func (o *outbox) choose(mode Mode, channel uint8, want Priority) Priority {
	if at, waits := o.waiting(mode, channel); waits {
		return at
	}
	return want
}

// waiting reports whether messages wait that one of the channel may not
// overtake, and in which lane.
func (o *outbox) waiting(mode Mode, channel uint8) (at Priority, waits bool) {
	if !isOrdered(mode) {
		return 0, false
	}
	kind := index(mode.Reliable())
	p := &o.place[kind][channel]
	l := &o.lanes[kind][p.priority]
	return p.priority, p.number > l.pushed-uint64(l.packets.Len())
}

// Outgoing is a message to be sent.
type Outgoing struct {
	Mode     Mode
	Channel  uint8 // 0 to 127
	Type     uint8 // 1 to 239
	Priority Priority

	// Lifetime is how long a reliable message matters. Once it is over the
	// message is not sent any more: the peer is told to do without, and confirms
	// it. 0 means as long as the session lasts, as does any lifetime towards a
	// peer that does not know of them.
	Lifetime time.Duration

	Payload []byte // copied
}

// Send queues a message of High priority. See SendMessage.
func (s *Session) Send(mode Mode, channel, kind uint8, payload []byte) error {
	return s.SendMessage(Outgoing{Mode: mode, Channel: channel, Type: kind, Priority: High, Payload: payload})
}

// SendMessage queues a message; the payload is copied. Small messages that
// wait together leave together. A message never overtakes an earlier one of
// its ordered or sequenced channel, whatever their priorities. It does not
// allocate once the session's pool has grown to what the traffic needs.
func (s *Session) SendMessage(o Outgoing) error {
	switch {
	case s.state != Open || s.recovering:
		return ErrNotOpen
	case o.Channel >= reliability.Channels:
		return errChannel
	case o.Type == 0 || o.Type >= wire.TypeControl:
		return errType
	case o.Priority > Low:
		return errPriority
	}
	var err error
	if len(o.Payload) > s.MaxPayload() {
		err = s.sendLarge(&o)
	} else {
		err = s.sendSmall(&o)
	}
	if err == nil {
		s.stats.MessagesOut++
	}
	return err
}

func (s *Session) sendSmall(o *Outgoing) error {
	if before := s.inFront(o); before != nil {
		return s.addTransfer(o, before)
	}
	if s.out.bytes[index(o.Mode.Reliable())]+wire.MessageHeaderSize+len(o.Payload) > s.cfg.SendQueue {
		return ErrWouldBlock
	}
	s.enqueue(o, s.nextID(o))
	return nil
}

// nextID numbers a message.
func (s *Session) nextID(o *Outgoing) uint16 {
	id := &s.sendIDs[o.Mode][o.Channel]
	*id++
	return *id - 1
}

// enqueue packs a message of the application, which is known to fit.
func (s *Session) enqueue(o *Outgoing, id uint16) {
	kind := index(o.Mode.Reliable())
	priority := s.out.choose(o.Mode, o.Channel, o.Priority)
	m := wire.Message{Type: o.Type, Channel: o.Channel, ID: id, Payload: o.Payload}
	ordered := isOrdered(o.Mode)
	if !ordered {
		m.Channel |= wire.Unordered
	}
	p := s.pack(kind, priority, m)
	if ordered {
		s.out.place[kind][o.Channel] = place{priority: priority, number: s.out.lanes[kind][priority].pushed}
	}
	if o.Lifetime > 0 && o.Mode.Reliable() && s.control {
		p.SetExpiry(s.now + uint64(o.Lifetime))
	}
}

// pack adds m to the newest packet of a lane, or begins another, and returns
// the packet.
func (s *Session) pack(kind int, priority Priority, m wire.Message) *reliability.Packet {
	l := &s.out.lanes[kind][priority]
	size := wire.MessageHeaderSize + len(m.Payload)
	p := l.packets.Back()
	if p == nil || p.Messages == wire.MaxMessages || p.Len()+size > s.bodyMax {
		p = s.cfg.Pool.Get()
		l.packets.Push(p)
		l.pushed++
		l.due = s.now + s.hold(priority)
	}
	p.Append(m)
	s.out.bytes[kind] += size
	return p
}

// hold returns how long a message may wait for others.
func (s *Session) hold(p Priority) uint64 {
	switch p {
	case Normal:
		return uint64(s.cfg.HoldNormal)
	case Low:
		return uint64(s.cfg.HoldLow)
	default:
		return 0
	}
}

// ready reports whether a packet of l may leave: it is full, or has waited
// long enough.
func (s *Session) ready(l *lane) bool {
	switch l.packets.Len() {
	case 0:
		return false
	case 1:
		p := l.packets.Back()
		return s.now >= l.due || s.state == Closing ||
			p.Messages == wire.MaxMessages || p.Len()+wire.MessageHeaderSize >= s.bodyMax
	}
	return true
}

// nextPacket takes the packet that is to leave now, nil if there is none.
func (s *Session) nextPacket() (p *reliability.Packet, reliable bool) {
	if s.out.empty() && len(s.large.transfers) == 0 {
		return s.nextFin(), true
	}
	s.out.held = false
	spent := false // somebody's share
	for class := range shares {
		if s.out.credit[class] == 0 {
			spent = true
		} else if p, reliable := s.fromClass(class); p != nil {
			s.out.credit[class]--
			return p, reliable
		}
	}
	if !spent {
		return nil, false
	}
	if s.out.held && !(s.budget.next(s.now) <= s.now && s.snd.Free(s.now)) {
		// It stays the turn of those with a share left. Only what nothing holds
		// back goes before them.
		return s.popUnreliable(), false
	}
	s.out.credit = shares
	for class := range shares {
		if p, reliable := s.fromClass(class); p != nil {
			s.out.credit[class]--
			return p, reliable
		}
	}
	return nil, false
}

// popUnreliable takes an unreliable packet that may leave now, nil if none may.
func (s *Session) popUnreliable() *reliability.Packet {
	for priority := Critical; priority <= Low; priority++ {
		if kind, ok := s.candidate(priority); ok && kind == 0 {
			return s.pop(kind, priority)
		}
	}
	return nil
}

// fromClass takes the packet of a class that may leave now, nil if none may.
func (s *Session) fromClass(class int) (p *reliability.Packet, reliable bool) {
	if class != ofTransfers {
		kind, ok := s.candidate(Priority(class))
		if !ok {
			return nil, false
		}
		return s.pop(kind, Priority(class)), kind == 1
	}
	for t := s.nextTransfer(); t != nil; t = s.nextTransfer() {
		if p, reliable = s.chunk(t); p != nil {
			s.join(p, index(reliable))
			p.Priority = uint8(Low)
			return p, reliable
		}
	}
	return nil, false
}

// candidate says from which lane of a priority a packet may leave now.
func (s *Session) candidate(p Priority) (kind int, ok bool) {
	l := &s.out.lanes[1][p]
	unreliable := s.ready(&s.out.lanes[0][p])
	switch {
	case !unreliable && !s.ready(l):
		return 0, false
	case p != Critical && s.budget.next(s.now) > s.now:
		s.out.held = true
		return 0, false
	case unreliable:
		return 0, true
	}
	urgency := reliability.Paced
	if p == Critical {
		urgency = reliability.Urgent
	}
	if !s.snd.MaySend(l.packets.Front(), s.peerWindow, urgency, s.now) {
		s.out.held = true
		s.noteBlocked()
		return 0, false
	}
	return 1, true
}

// until returns how long it is until then.
func (s *Session) until(at uint64) time.Duration {
	return time.Duration(max(at, s.now) - s.now)
}

// nextFin takes the FIN once nothing else waits.
func (s *Session) nextFin() *reliability.Packet {
	p := s.out.fin
	if p == nil {
		return nil
	}
	if !s.snd.MaySend(p, s.peerWindow, reliability.Urgent, s.now) {
		s.noteBlocked()
		return nil
	}
	s.out.fin = nil
	return p
}

// pop takes the oldest packet of a lane, and with it the newest of others
// where they fit in.
func (s *Session) pop(kind int, priority Priority) *reliability.Packet {
	p := s.take(kind, priority)
	p.Priority, p.Urgent = uint8(priority), priority == Critical
	s.join(p, kind)
	return p
}

// join adds the newest packets of lanes to p where they fit in.
func (s *Session) join(p *reliability.Packet, kind int) {
	for other := range s.out.lanes[kind] {
		l := &s.out.lanes[kind][other]
		if l.packets.Len() != 1 {
			continue
		}
		q := l.packets.Front()
		if kind == 1 && p.Messages+q.Messages > s.snd.Room() || !p.Join(q, s.bodyMax) {
			continue
		}
		p.Urgent = p.Urgent || Priority(other) == Critical
		s.cfg.Pool.Put(s.take(kind, Priority(other)))
	}
}

func (s *Session) take(kind int, priority Priority) *reliability.Packet {
	p := s.out.lanes[kind][priority].packets.Pop()
	s.out.bytes[kind] -= p.Len()
	return p
}

// releaseAt returns when a packet leaves that is held back now: by a lane, by
// the pacer or by the bandwidth budget. What waits for the peer waits for a
// packet.
func (s *Session) releaseAt() uint64 {
	at := s.snd.HeldTo()
	if s.out.empty() && len(s.large.transfers) == 0 {
		return at
	}
	if budget := s.budget.next(s.now); budget > s.now {
		at = min(at, budget)
	}
	for kind := range s.out.lanes {
		for p := range s.out.lanes[kind] {
			l := &s.out.lanes[kind][p]
			if l.packets.Len() == 1 && l.due > s.now {
				at = min(at, l.due)
			}
		}
	}
	return at
}

// budget bounds the bytes that a session sends per second. The zero value has
// no bound.
type budget struct {
	rate uint64 // bytes per second
	due  uint64 // when what was sent so far is paid for
}

// budgetBurst is how much may be sent ahead, in time.
const budgetBurst = uint64(20 * time.Millisecond)

// next returns when something may be sent.
func (b *budget) next(now uint64) uint64 {
	if b.rate == 0 || b.due <= now+budgetBurst {
		return now
	}
	return b.due - budgetBurst
}

// spend notes n bytes that leave now.
func (b *budget) spend(n int, now uint64) {
	if b.rate != 0 {
		b.due = max(b.due, now) + uint64(n)*uint64(time.Second)/b.rate
	}
}
