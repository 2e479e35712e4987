package simnet

import (
	"math"
	"math/rand/v2"
	"time"
)

// Shape is how the jitter of packets is distributed.
type Shape uint8

const (
	// Uniform jitter is added to the delay, from 0 up to Link.Jitter.
	Uniform Shape = iota
	// Normal jitter lies around the delay, Link.Jitter being its standard
	// deviation. No packet arrives before it was sent.
	Normal
	// Pareto jitter is added to the delay: half of Link.Jitter on average, and
	// for one packet in a thousand more than nine times Link.Jitter (Lomax
	// distribution of shape 3).
	Pareto
)

// Link describes one direction of a path. The zero value is perfect: no delay,
// nothing lost.
type Link struct {
	Delay  time.Duration // of every packet
	Jitter time.Duration // how much the delay varies
	Shape  Shape         // how the jitter is distributed

	// InOrder keeps packets from overtaking one another by jitter or Reorder.
	InOrder bool

	Loss      float64 // probability that a packet is lost
	Duplicate float64 // that it arrives twice
	Corrupt   float64 // that one of its bytes is changed
	Reorder   float64 // that it is held back by ReorderDelay

	ReorderDelay time.Duration

	// MTU is the size in bytes above which packets are lost, 0 for none.
	MTU int

	// Bursts loses packets besides those of Loss, in bursts counted in packets.
	Bursts GilbertElliott

	// BurstLoss is the probability that a packet lost by Loss starts a burst,
	// in which everything is lost for BurstTime.
	BurstLoss float64
	BurstTime time.Duration
}

// GilbertElliott is a path that is in one of two states, good at first. The
// zero value loses nothing.
type GilbertElliott struct {
	Worsen  float64 // p: probability that a packet in the good state ends it
	Recover float64 // r: that a packet in the bad state ends it
	Good    float64 // probability that a packet in the good state is lost
	Bad     float64 // that one in the bad state is
}

// Bursts returns the chain that loses the share loss of all packets, below 1,
// in bursts of length packets on average, at least 1.
func Bursts(loss, length float64) GilbertElliott {
	r := 1 / length
	return GilbertElliott{Worsen: min(r*loss/(1-loss), 1), Recover: r, Bad: 1}
}

// Loss returns the share of packets that the chain loses in the long run.
func (g GilbertElliott) Loss() float64 {
	if g.Worsen == 0 {
		return g.Good
	}
	bad := g.Worsen / (g.Worsen + g.Recover)
	return bad*g.Bad + (1-bad)*g.Good
}

// Packet is what arrives at the end of a Pipe.
type Packet struct {
	Data   []byte // belongs to the receiver until it returns
	Marked bool   // Congestion Experienced
}

// Pipe carries packets in one direction: first through its bottleneck, if it
// has one, then over its link.
type Pipe struct {
	// These may be changed at any time. Packets that are on their way already
	// keep what they met.
	Link       Link
	Bottleneck *Bottleneck // nil for none; several pipes may share one
	ECN        bool        // packets are ECN-capable: a bottleneck may mark them
	Recorder   *Recorder   // notes what happens to each packet; nil for none

	// Counters. Sent + Duplicated = Dropped + Lost + Delivered + InFlight().
	Sent, Dropped, Lost, Duplicated, Corrupted, Marked, Delivered uint64

	net      *Network
	rng      *rand.Rand
	receive  func(p Packet)
	bad      bool   // state of the chain
	blackout uint64 // end of a burst in time
	latest   uint64 // arrival planned so far
	inFlight int
}

// packet is one that is on its way.
type packet struct {
	pipe   *Pipe
	data   []byte
	size   int // at the bottleneck, overhead included
	sent   uint64
	marked bool
}

// NewPipe returns a pipe at whose end receive is called.
func (n *Network) NewPipe(link Link, receive func(p Packet)) *Pipe {
	n.pipes++
	rng := rand.New(rand.NewPCG(n.seed, n.pipes*0x9e3779b97f4a7c15))
	return &Pipe{Link: link, net: n, rng: rng, receive: receive}
}

// InFlight returns how many packets are on their way, those in a queue
// included.
func (p *Pipe) InFlight() int { return p.inFlight }

// Send puts a copy of data into the pipe.
func (p *Pipe) Send(data []byte) {
	p.Sent++
	p.inFlight++
	k := p.net.packet(p, data)
	p.note(Sent, k)
	if p.Bottleneck != nil {
		p.Bottleneck.take(k)
		return
	}
	p.travel(k)
}

// travel takes a packet that has left the bottleneck.
func (p *Pipe) travel(k *packet) {
	if p.Link.MTU > 0 && len(k.data) > p.Link.MTU || p.loses() {
		p.Lost++
		p.end(Lost, k)
		return
	}
	if p.chance(p.Link.Duplicate) {
		p.Duplicated++
		p.inFlight++
		again := p.net.packet(p, k.data)
		again.sent, again.marked = k.sent, k.marked
		p.note(Duplicated, again)
		p.launch(k)
		p.launch(again)
		return
	}
	p.launch(k)
}

func (p *Pipe) loses() bool {
	now := p.net.now
	if now < p.blackout {
		return true
	}
	if p.chance(p.Link.Loss) {
		if p.chance(p.Link.BurstLoss) {
			p.blackout = now + uint64(p.Link.BurstTime)
		}
		return true
	}
	g := &p.Link.Bursts
	if p.bad {
		p.bad = !p.chance(g.Recover)
	} else {
		p.bad = p.chance(g.Worsen)
	}
	if p.bad {
		return p.chance(g.Bad)
	}
	return p.chance(g.Good)
}

func (p *Pipe) launch(k *packet) {
	if len(k.data) > 0 && p.chance(p.Link.Corrupt) {
		p.Corrupted++
		k.data[p.rng.IntN(len(k.data))] ^= byte(1 + p.rng.IntN(255))
	}
	at := p.net.now + p.delay()
	if p.Link.InOrder {
		at = max(at, p.latest)
	}
	p.latest = max(p.latest, at)
	p.net.events.push(event{at: at, packet: k})
}

func (p *Pipe) delay() uint64 {
	delay, jitter := float64(p.Link.Delay), float64(p.Link.Jitter)
	if jitter > 0 {
		switch p.Link.Shape {
		case Uniform:
			delay += float64(p.rng.Uint64N(uint64(p.Link.Jitter)))
		case Normal:
			delay += jitter * p.rng.NormFloat64()
		case Pareto:
			delay += jitter * (math.Cbrt(1/(1-p.rng.Float64())) - 1)
		}
	}
	if p.chance(p.Link.Reorder) {
		delay += float64(p.Link.ReorderDelay)
	}
	return uint64(max(delay, 0))
}

// deliver hands k to the receiver.
func (p *Pipe) deliver(k *packet) {
	p.Delivered++
	p.note(Delivered, k)
	p.inFlight--
	p.receive(Packet{Data: k.data, Marked: k.marked})
	p.net.recycle(k)
}

// end drops k for the reason given.
func (p *Pipe) end(why Kind, k *packet) {
	p.note(why, k)
	p.inFlight--
	p.net.recycle(k)
}

func (p *Pipe) note(kind Kind, k *packet) {
	if p.Recorder != nil {
		p.Recorder.note(kind, k)
	}
}

// chance is true with probability q. It takes no number from the source where
// the outcome is certain, so that adding a kind of trouble leaves the others
// as they were.
func (p *Pipe) chance(q float64) bool {
	return q > 0 && (q >= 1 || p.rng.Float64() < q)
}

func (n *Network) packet(p *Pipe, data []byte) *packet {
	var k *packet
	if last := len(n.freePackets) - 1; last >= 0 {
		k, n.freePackets = n.freePackets[last], n.freePackets[:last]
	} else {
		k = new(packet)
	}
	k.pipe, k.data, k.sent, k.marked = p, append(k.data[:0], data...), n.now, false
	return k
}

func (n *Network) recycle(k *packet) { n.freePackets = append(n.freePackets, k) }
