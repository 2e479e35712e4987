package game

import (
	"math"
	"runtime/debug"
	"time"

	"github.com/xrudp/xrudp/userspace/metrics"
)

const (
	// measureEvery is how long a node counts before it judges its load.
	measureEvery = uint64(250 * time.Millisecond)

	// easeAfter is how many times in a row the load has to be low before a node
	// thins out less.
	easeAfter = 8

	// balanceEvery is how often a node looks for another to take a room.
	balanceEvery = uint64(2 * time.Second)
)

// thinnings are what rooms are asked to make one round of, by level.
var thinnings = [...]int{1, 2, 4, 10}

// gauge measures how busy a node is.
type gauge struct {
	busy     uint64 // ns in ticks since
	since    uint64
	lost     uint64 // ticks since then
	level    int    // of thinnings
	calm     int    // low loads in a row
	balanced uint64 // when last
}

func newGauge(now uint64) gauge { return gauge{since: now, balanced: now} }

func (n *Node) thinning() int { return thinnings[n.level] }

// NextTick is when Tick has something to do.
func (n *Node) NextTick() uint64 { return n.next }

// Tick runs the rooms that are due.
func (n *Node) Tick(now uint64) {
	if now < n.next {
		return
	}
	n.ticking = true
	for _, r := range n.rooms {
		if !r.gone {
			n.lost += r.run(now)
		}
	}
	n.ticking = false
	if !n.swept {
		n.sweep()
	}
	n.measure(now)
	n.next = math.MaxUint64
	for _, r := range n.rooms {
		n.next = min(n.next, r.due())
	}
}

// measure judges the load, tells the others of it, and does what it calls for.
func (n *Node) measure(now uint64) {
	passed := now - n.since
	if passed < measureEvery {
		return
	}
	load := float64(n.busy) / float64(passed)
	n.count.Add(metrics.TicksLost, n.lost)
	switch {
	case load > n.opts.Budget || n.lost > 0:
		n.calm = 0
		n.level = min(n.level+1, len(thinnings)-1)
	case load > n.opts.Budget/2 || n.level == 0:
		n.calm = 0
	default:
		if n.calm++; n.calm == easeAfter {
			n.calm = 0
			n.level--
		}
	}
	own := &n.dir.nodes[n.self].load
	// Half of what it was, against a single bad tick.
	smooth := own.Load()/2 + uint32(min(load, 4)*1e6/2)
	own.Store(smooth)
	n.busy, n.lost, n.since = 0, 0, now
	if now-n.balanced >= balanceEvery {
		n.balance(now, smooth)
	}
}

// panicked counts and reports a panic of code that is not the framework's.
func (n *Node) panicked(room uint32, value any) {
	n.count.Add(metrics.GamePanics, 1)
	n.opts.Panicked(room, value, debug.Stack())
}

func (n *Node) violation() { n.count.Add(metrics.Violations, 1) }
