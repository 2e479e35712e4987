// Package simnet is a network in virtual time for tests: it loses, delays,
// reorders, duplicates and corrupts packets by a seed, so that a failure can
// be repeated and minutes of loss pass in milliseconds.
package simnet

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// Link describes one direction of a path. The zero value is perfect: no delay,
// nothing lost.
type Link struct {
	Delay  time.Duration // of every packet
	Jitter time.Duration // added at random, up to this; packets overtake one another

	Loss      float64 // probability that a packet is lost
	Duplicate float64 // that it arrives twice
	Corrupt   float64 // that one of its bytes is changed
	Reorder   float64 // that it is held back by ReorderDelay

	ReorderDelay time.Duration

	// BurstLoss is the probability that a lost packet starts a burst, in which
	// everything is lost for BurstTime.
	BurstLoss float64
	BurstTime time.Duration
}

// Network is a set of pipes and timers that share a virtual clock. It is not
// safe for concurrent use.
type Network struct {
	rng    *rand.Rand
	now    uint64
	events events
	order  uint64
	free   [][]byte
}

// New returns a network whose clock shows start, in nanoseconds. Everything
// that happens in it follows from seed and the calls made.
func New(seed, start uint64) *Network {
	return &Network{rng: rand.New(rand.NewPCG(seed, 0x5eed)), now: start}
}

// Now returns the virtual time in nanoseconds.
func (n *Network) Now() uint64 { return n.now }

// Rand returns the network's source of chance.
func (n *Network) Rand() *rand.Rand { return n.rng }

// At calls f once the clock shows t, at once where it already does.
func (n *Network) At(t uint64, f func()) {
	n.push(event{at: max(t, n.now), call: f})
}

// Run lets everything happen that happens until the clock shows end.
func (n *Network) Run(end uint64) {
	for n.Step(end) {
	}
}

// Step lets one thing happen, if one happens until end; otherwise the clock
// is set to end and the result is false.
func (n *Network) Step(end uint64) bool {
	if len(n.events) == 0 || n.events[0].at > end {
		n.now = max(n.now, end)
		return false
	}
	e := heap.Pop(&n.events).(event)
	n.now = e.at
	if e.call != nil {
		e.call()
		return true
	}
	e.pipe.inFlight--
	e.pipe.Delivered++
	e.pipe.receive(e.packet)
	n.free = append(n.free, e.packet[:0])
	return true
}

// Pipe carries packets in one direction.
type Pipe struct {
	Link Link // may be changed at any time

	Sent, Lost, Duplicated, Corrupted, Delivered uint64

	net      *Network
	receive  func(packet []byte)
	blackout uint64
	inFlight int
}

// NewPipe returns a pipe at whose end receive is called. The packet belongs to
// receive until it returns.
func (n *Network) NewPipe(link Link, receive func(packet []byte)) *Pipe {
	return &Pipe{Link: link, net: n, receive: receive}
}

// InFlight returns how many packets are on their way.
func (p *Pipe) InFlight() int { return p.inFlight }

// Send puts a copy of packet into the pipe.
func (p *Pipe) Send(packet []byte) {
	n := p.net
	p.Sent++
	if n.now < p.blackout {
		p.Lost++
		return
	}
	if n.chance(p.Link.Loss) {
		p.Lost++
		if n.chance(p.Link.BurstLoss) {
			p.blackout = n.now + uint64(p.Link.BurstTime)
		}
		return
	}
	p.launch(packet)
	if n.chance(p.Link.Duplicate) {
		p.Duplicated++
		p.launch(packet)
	}
}

func (p *Pipe) launch(packet []byte) {
	n := p.net
	var b []byte
	if last := len(n.free) - 1; last >= 0 {
		b, n.free = n.free[last], n.free[:last]
	}
	b = append(b, packet...)
	if len(b) > 0 && n.chance(p.Link.Corrupt) {
		p.Corrupted++
		b[n.rng.IntN(len(b))] ^= byte(1 + n.rng.IntN(255))
	}
	at := n.now + uint64(p.Link.Delay)
	if p.Link.Jitter > 0 {
		at += n.rng.Uint64N(uint64(p.Link.Jitter))
	}
	if n.chance(p.Link.Reorder) {
		at += uint64(p.Link.ReorderDelay)
	}
	p.inFlight++
	n.push(event{at: at, pipe: p, packet: b})
}

// chance is true with probability q. It takes no number from the source where
// the outcome is certain, so that adding a kind of trouble leaves the others
// as they were.
func (n *Network) chance(q float64) bool {
	return q > 0 && n.rng.Float64() < q
}

type event struct {
	at, order uint64
	call      func()
	pipe      *Pipe
	packet    []byte
}

func (n *Network) push(e event) {
	n.order++
	e.order = n.order
	heap.Push(&n.events, e)
}

// events is a heap by time; what happens at the same time happens in the order
// in which it was planned.
type events []event

func (h events) Len() int { return len(h) }

func (h events) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].order < h[j].order
}

func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h *events) Push(x any) { *h = append(*h, x.(event)) }

func (h *events) Pop() any {
	old := *h
	last := len(old) - 1
	e := old[last]
	old[last] = event{}
	*h = old[:last]
	return e
}
