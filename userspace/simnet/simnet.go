// Package simnet is a network in virtual time: pipes that lose, delay,
// reorder, duplicate and corrupt packets by a seed, and bottlenecks with a
// rate, a queue and ECN marks, which pipes may share. A failure can be
// repeated, and minutes pass in milliseconds.
//
// Everything in a Network belongs to one goroutine. In steady state nothing
// allocates.
package simnet

import (
	"math"
	"math/rand/v2"
)

// Never is the time of what does not happen.
const Never = uint64(math.MaxUint64)

// Network is a set of pipes, bottlenecks and timers that share a virtual
// clock. It is not safe for concurrent use.
type Network struct {
	seed   uint64
	rng    *rand.Rand
	now    uint64
	events events
	pipes  uint64 // made so far

	freePackets []*packet
	freeTimers  []*Timer // of At
}

// New returns a network whose clock shows start, in nanoseconds. Everything
// that happens in it follows from seed and the calls made.
func New(seed, start uint64) *Network {
	return &Network{seed: seed, rng: rand.New(rand.NewPCG(seed, 0x5eed)), now: start}
}

// Now returns the virtual time in nanoseconds.
func (n *Network) Now() uint64 { return n.now }

// Rand returns a source of chance for the network's owner. Pipes have their
// own, so what happens in one does not depend on the traffic of others.
func (n *Network) Rand() *rand.Rand { return n.rng }

// At calls f once the clock shows t, at once where it already does.
func (n *Network) At(t uint64, f func()) {
	var timer *Timer
	if last := len(n.freeTimers) - 1; last >= 0 {
		timer, n.freeTimers = n.freeTimers[last], n.freeTimers[:last]
	} else {
		timer = n.NewTimer(nil)
		timer.once = true
	}
	timer.call = f
	timer.Set(t)
}

// Run lets everything happen that happens until the clock shows end.
func (n *Network) Run(end uint64) {
	for n.Step(end) {
	}
}

// Step lets one thing happen, if one happens until end; otherwise the clock
// is set to end and the result is false.
func (n *Network) Step(end uint64) bool {
	if n.Next() > end {
		n.now = max(n.now, end)
		return false
	}
	e := n.events.pop()
	n.now = max(n.now, e.at)
	if e.packet != nil {
		e.packet.pipe.deliver(e.packet)
		return true
	}
	call := e.timer.call
	if e.timer.once {
		e.timer.call = nil
		n.freeTimers = append(n.freeTimers, e.timer)
	}
	call()
	return true
}

// Next returns when the next thing happens, Never if nothing is planned. An
// owner that keeps the clock with real time sleeps until then.
func (n *Network) Next() uint64 {
	if len(n.events.heap) == 0 {
		return Never
	}
	return n.events.heap[0].at
}

// Timer calls a function at a time that may be moved. It fires once each time
// it was set.
type Timer struct {
	net  *Network
	call func()
	once bool // of At
	pos  int  // in the heap, -1 while not set
}

// NewTimer returns a timer that calls f. It is not set yet.
func (n *Network) NewTimer(f func()) *Timer { return &Timer{net: n, call: f, pos: -1} }

// Set has the timer fire when the clock shows t, at once where it already
// does, and at no earlier setting. Never stops it.
func (t *Timer) Set(at uint64) {
	t.Stop()
	if at != Never {
		t.net.events.push(event{at: max(at, t.net.now), timer: t})
	}
}

// Stop keeps the timer from firing. It may be called for one that is not set.
func (t *Timer) Stop() {
	if t.pos >= 0 {
		t.net.events.remove(t.pos)
	}
}

// When returns when the timer fires, Never if it is not set.
func (t *Timer) When() uint64 {
	if t.pos < 0 {
		return Never
	}
	return t.net.events.heap[t.pos].at
}
