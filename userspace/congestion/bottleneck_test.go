package congestion

import (
	"math"
	"math/rand/v2"
	"time"
)

// bottleneck is a path in virtual time: a link of some rate with a queue, a
// delay behind it, random loss behind that, and the way back.
type bottleneck struct {
	rate   float64 // packets per second
	queue  int     // packets
	rtt    time.Duration
	loss   float64
	mark   int           // queue from which packets are marked, 0 for never
	jitter time.Duration // most that is added to a round trip
	pass   time.Duration // acknowledgements are looked at this often

	outage  [2]time.Duration // nothing gets through between these
	reroute time.Duration    // from then on the round trip is longer by
	detour  time.Duration

	flows []*flow

	now         uint64
	free        float64 // when the link is free
	last        uint64  // arrival
	slot, extra uint64
	rng         *rand.Rand
	events      eventHeap
	count       uint64
	delays      []uint64 // of packets in the queue
}

// bdp is what the path holds without a queue.
func bdp(rate float64, rtt time.Duration) float64 { return rate * rtt.Seconds() }

type event struct {
	at     uint64
	order  uint64
	flow   int
	kind   eventKind
	seq    uint32
	sent   uint64 // order of the transmission
	left   uint64 // when it was sent
	marked bool
}

type eventKind int

const (
	wake eventKind = iota
	arrive
	process
)

type eventHeap []event

func (h eventHeap) less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].order < h[j].order
}

func (h *eventHeap) push(e event) {
	*h = append(*h, e)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.less(i, up) {
			return
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (h *eventHeap) pop() event {
	s := *h
	e := s[0]
	last := len(s) - 1
	s[0] = s[last]
	s = s[:last]
	*h = s
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if s.less(child, least) {
				least = child
			}
		}
		if least == i {
			return e
		}
		s[i], s[least] = s[least], s[i]
		i = least
	}
}

// flow is a sender with what reliability.Sender knows of its packets.
type flow struct {
	cc    Controller
	index int // of bottleneck.flows
	pacer Pacer
	start time.Duration
	every time.Duration // between packets of an application; 0 for a transfer
	total int           // packets of the transfer, 0 for no end
	ahead int           // the peer's window, 0 for no end

	first    uint32 // sequence
	packets  []flowPacket
	una      int
	flying   []transmission
	waiting  []int
	inFlight int
	order    uint64
	acked    uint64 // order
	limited  bool

	srtt, rttvar, minRTT uint64
	backoff              uint
	doubted              bool // the newest timeout may be undone
	wakeAt               uint64
	heard                uint64 // when something came back

	delivered     uint64
	deliveredTime uint64
	firstSent     uint64
	appLimited    uint64 // Delivered up to which samples are limited

	acks       []event
	delays     []uint64
	processing bool

	lost, sent, timeouts uint64
	done                 uint64
}

type flowPacket struct {
	sent, order                         uint64
	delivered, deliveredTime, firstSent uint64
	appLimited, acked, lost             bool
	sends                               int
}

type transmission struct {
	at    int
	order uint64
}

func (b *bottleneck) push(e event) {
	b.count++
	e.order = b.count
	b.events.push(e)
}

// run lets d pass.
func (b *bottleneck) run(d time.Duration) {
	if b.rng == nil {
		b.rng = rand.New(rand.NewPCG(1, 2))
		for i, f := range b.flows {
			f.index = i
			f.wakeAt = uint64(f.start)
			b.push(event{at: f.wakeAt, flow: f.index, kind: wake})
		}
	}
	end := b.now + uint64(d)
	for len(b.events) > 0 && b.events[0].at <= end {
		e := b.events.pop()
		b.now = e.at
		f := b.flows[e.flow]
		switch e.kind {
		case wake:
			if e.at != f.wakeAt {
				continue
			}
			f.wakeAt = 0
			b.expire(f)
			b.fill(f)
		case arrive:
			f.acks = append(f.acks, e)
			if !f.processing {
				f.processing = true
				at := b.now
				if pass := uint64(b.pass); pass > 0 {
					at = (at + pass - 1) / pass * pass
				}
				b.push(event{at: at, flow: f.index, kind: process})
			}
		case process:
			f.processing = false
			b.ack(f)
			b.expire(f)
			b.fill(f)
		}
	}
	b.now = end
}

// fill sends whatever may leave.
func (b *bottleneck) fill(f *flow) {
	if b.now < uint64(f.start) {
		return
	}
	next := uint64(math.MaxUint64)
	for len(f.packets) == 0 || f.srtt > 0 || len(f.waiting) > 0 { // the handshake is alone
		i := -1
		if len(f.waiting) > 0 {
			i = f.waiting[0]
		} else if len(f.packets)-f.una < f.peerWindow() {
			switch {
			case f.every > 0:
				due := uint64(f.start) + uint64(len(f.packets))*uint64(f.every)
				if due <= b.now {
					i = len(f.packets)
				} else {
					next = min(next, due)
				}
			case f.total == 0 || len(f.packets) < f.total:
				i = len(f.packets)
			}
		}
		if i < 0 {
			if f.inFlight < f.cc.Window() {
				f.appLimited = max(f.delivered+uint64(f.inFlight), 1)
			}
			break
		}
		if f.inFlight >= f.cc.Window() && !(len(f.waiting) > 0 && i == f.una) {
			f.limited = true
			break
		}
		if at := f.pacer.Next(b.now, f.cc.PacingRate()); at > b.now {
			f.limited = true
			next = min(next, at)
			break
		}
		f.pacer.OnSend(b.now, f.cc.PacingRate())
		if len(f.waiting) > 0 {
			f.waiting = f.waiting[1:]
		} else {
			f.packets = append(f.packets, flowPacket{})
		}
		b.send(f, i)
	}
	next = min(next, f.deadline())
	if next != math.MaxUint64 && (f.wakeAt == 0 || next < f.wakeAt) {
		f.wakeAt = max(next, b.now)
		b.push(event{at: f.wakeAt, flow: f.index, kind: wake})
	}
}

func (b *bottleneck) send(f *flow, i int) {
	p := &f.packets[i]
	f.cc.OnSend(b.now, f.inFlight)
	if f.inFlight == 0 {
		f.firstSent, f.deliveredTime = b.now, b.now
	}
	f.order++
	p.order, p.sent, p.lost = f.order, b.now, false
	p.sends++
	p.delivered, p.deliveredTime, p.firstSent = f.delivered, f.deliveredTime, f.firstSent
	p.appLimited = f.appLimited != 0
	f.flying = append(f.flying, transmission{i, f.order})
	f.inFlight++
	f.sent++

	// The link.
	if b.now >= uint64(b.outage[0]) && b.now < uint64(b.outage[1]) {
		return
	}
	now := float64(b.now)
	queued := int((max(b.free, now) - now) * b.rate / 1e9)
	if queued > b.queue {
		return
	}
	b.free = max(b.free, now) + 1e9/b.rate
	b.delays = append(b.delays, uint64(b.free-now))
	if f.every > 0 {
		f.delays = append(f.delays, uint64(b.free-now))
	}
	if b.rng.Float64() < b.loss {
		return
	}
	at := uint64(b.free) + uint64(b.rtt)
	if b.reroute > 0 && b.now >= uint64(b.reroute) {
		at += uint64(b.detour)
	}
	if b.jitter > 0 {
		// Jitter comes in slots, and a late packet holds up those behind it.
		if slot := at / uint64(10*time.Millisecond); slot != b.slot {
			b.slot, b.extra = slot, b.rng.Uint64N(uint64(b.jitter))
		}
		at = max(at+b.extra, b.last)
		b.last = at
	}
	b.push(event{at: at, flow: f.index, kind: arrive, seq: uint32(i), sent: f.order, left: b.now, marked: b.mark > 0 && queued >= b.mark})
}

// oldest returns the transmission in flight that is the oldest.
func (f *flow) oldest() (transmission, bool) {
	for len(f.flying) > 0 {
		t := f.flying[0]
		p := &f.packets[t.at]
		if !p.acked && !p.lost && p.order == t.order {
			return t, true
		}
		f.flying = f.flying[1:]
	}
	return transmission{}, false
}

// peerWindow returns how far ahead of the oldest packet the peer takes others.
func (f *flow) peerWindow() int {
	if f.ahead == 0 {
		return math.MaxInt
	}
	return f.ahead
}

func (f *flow) timeout() uint64 {
	if f.srtt == 0 {
		return uint64(time.Second) << f.backoff
	}
	return (f.srtt + max(uint64(20*time.Millisecond), 4*f.rttvar)) << f.backoff
}

func (b *bottleneck) ack(f *flow) {
	a := Ack{Now: b.now}
	newest, have, marked := flowPacket{}, false, false
	for _, e := range f.acks {
		p := &f.packets[e.seq]
		if e.marked {
			marked = true
		}
		if p.acked {
			continue
		}
		p.acked = true
		a.Packets++
		if p.lost {
			for i, w := range f.waiting {
				if w == int(e.seq) {
					f.waiting = append(f.waiting[:i:i], f.waiting[i+1:]...)
					break
				}
			}
		} else {
			f.inFlight--
		}
		f.delivered++
		f.deliveredTime = b.now
		if seq := f.first + e.seq; a.Packets == 1 || int32(seq-a.Newest) > 0 {
			a.Newest = seq
		}
		a.RTT = b.now - e.left
		f.sample(a.RTT)
		if f.doubted && (p.lost || p.order != e.sent) {
			f.doubted = false
			f.cc.Undo(b.now)
		}
		if p.order == e.sent {
			f.acked = max(f.acked, p.order)
			if !have || p.order > newest.order {
				newest, have = *p, true
			}
		}
	}
	f.acks = f.acks[:0]
	for f.una < len(f.packets) && f.packets[f.una].acked {
		f.una++
	}
	if f.total > 0 && f.una == f.total && f.done == 0 {
		f.done = b.now
	}
	if a.Packets > 0 {
		f.backoff = 0
		if f.appLimited != 0 && f.delivered > f.appLimited {
			f.appLimited = 0
		}
		if have {
			a.PriorDelivered = newest.delivered
			a.AppLimited = newest.appLimited
			took := max(newest.sent-newest.firstSent, f.deliveredTime-newest.deliveredTime)
			f.firstSent = newest.sent
			if took >= f.minRTT && took > 0 {
				a.Rate = float64(f.delivered-newest.delivered) * 1e9 / float64(took)
			}
		}
		a.InFlight, a.Limited, f.limited = f.inFlight, f.limited, false
		a.SmoothedRTT, a.MinRTT = f.srtt, f.minRTT
		a.Delivered = f.delivered
		f.cc.OnAck(&a)
	}
	if marked {
		f.cc.OnMark(b.now, f.first+uint32(len(f.packets)))
	}
	if a.Packets > 0 {
		f.heard = b.now
	}
	l := Loss{Now: b.now, Next: f.first + uint32(len(f.packets))}
	for t, ok := f.oldest(); ok && t.order < f.acked; t, ok = f.oldest() {
		if t.order+3 > f.acked && b.now < f.packets[t.at].sent+f.reorder() {
			break
		}
		f.lose(t, &l)
	}
	f.report(&l)
}

func (f *flow) reorder() uint64 { return f.srtt * 9 / 8 }

// deadline returns when the oldest packet in flight is lost if nothing comes.
func (f *flow) deadline() uint64 {
	t, ok := f.oldest()
	if !ok {
		return math.MaxUint64
	}
	sent := f.packets[t.at].sent
	if t.order < f.acked {
		return sent + f.reorder()
	}
	return max(sent, f.heard) + f.timeout()
}

func (f *flow) lose(t transmission, l *Loss) {
	f.packets[t.at].lost = true
	f.waiting = append(f.waiting, t.at)
	f.inFlight--
	f.lost++
	if seq := f.first + uint32(t.at); l.Packets == 0 || int32(seq-l.Newest) > 0 {
		l.Newest = seq
	}
	l.Packets++
}

func (f *flow) report(l *Loss) {
	if l.Packets > 0 {
		l.InFlight = f.inFlight
		f.cc.OnLoss(l)
	}
}

func (b *bottleneck) expire(f *flow) {
	if b.now < f.deadline() {
		return
	}
	l := Loss{Now: b.now, Next: f.first + uint32(len(f.packets))}
	for t, ok := f.oldest(); ok && t.order < f.acked && b.now >= f.packets[t.at].sent+f.reorder(); t, ok = f.oldest() {
		f.lose(t, &l)
	}
	if l.Packets > 0 {
		f.report(&l)
		return
	}
	for t, ok := f.oldest(); ok; t, ok = f.oldest() {
		f.lose(t, &l)
	}
	f.backoff = min(f.backoff+1, 6)
	f.timeouts++
	f.doubted = true
	f.cc.OnTimeout(b.now, l.Next)
}

func (f *flow) sample(rtt uint64) {
	if f.srtt == 0 {
		f.srtt, f.rttvar, f.minRTT = rtt, rtt/2, rtt
		return
	}
	f.minRTT = min(f.minRTT, rtt)
	diff := max(f.srtt, rtt) - min(f.srtt, rtt)
	f.rttvar += diff/4 - f.rttvar/4
	f.srtt += rtt/8 - f.srtt/8
}

// jain is Jain's index of fairness: 1 where all get the same.
func jain(xs []float64) float64 {
	var sum, squares float64
	for _, x := range xs {
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(xs)) * squares)
}
