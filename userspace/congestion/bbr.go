package congestion

import (
	"math"
	"math/rand/v2"
	"time"
)

// Of draft-ietf-ccwg-bbr, section 2, unless said otherwise.
const (
	bbrStartupGain  = 2.77
	bbrDrainGain    = 0.35
	bbrDownGain     = 0.9
	bbrUpGain       = 1.25
	bbrWindowGain   = 2.0
	bbrUpWindowGain = 2.25
	bbrProbeRTTGain = 0.5  // of the window
	bbrMargin       = 0.99 // of the bandwidth that pacing leaves unused
	bbrHeadroom     = 0.85 // of the most in flight, left to others in Cruise
	bbrBeta         = 0.7
	bbrMarkBeta     = 0.85
	bbrLoss         = 0.02 // share of loss that a queue may cause
	// bbrRandomLoss is what is answered without a queue as well. The draft has
	// no such exception from bbrLoss.
	bbrRandomLoss = 0.2

	bbrFullGrowth = 1.25 // of the bandwidth per round trip while there is more
	bbrFullRounds = 3
	bbrUpGrowth   = 1.1

	bbrMinRTTAge     = uint64(10 * time.Second)
	bbrProbeRTTEvery = uint64(5 * time.Second)
	bbrProbeRTTFor   = uint64(200 * time.Millisecond)
	bbrProbeWait     = uint64(2 * time.Second) // and up to a second more
	bbrRenoRounds    = 63

	// bbrLeastRounds keeps paths that hold next to nothing from being probed
	// all the time.
	bbrLeastRounds = 8
	// bbrSpell is for how many round trips a burst of acknowledgements counts
	// at least.
	bbrSpell = 5

	// What is in flight beyond a fair share: a packet per so much of the
	// shortest round trip, within bounds.
	bbrEqualShare = uint64(8 * time.Millisecond)
	bbrEqualLeast = 4.0
	bbrEqualMost  = 32.0
	bbrYieldShare = 32
	bbrYieldLeast = uint64(3 * time.Millisecond / 2)

	// A queue shows where round trips are this much longer: a share of the
	// shortest, and at least so much.
	bbrQueueShare = 8
	bbrQueueLeast = uint64(2 * time.Millisecond)
)

type bbrPhase uint8

const (
	bbrStartup bbrPhase = iota
	bbrDrain
	bbrDown
	bbrCruise
	bbrRefill
	bbrUp
	bbrProbeRTT
)

// BBR models the path by its bandwidth and its shortest round trip, paces at
// the one and keeps in flight what the product of both asks for
// (draft-ietf-ccwg-bbr, in packets). Loss counts where a queue shows, or where
// it is too much to be random.
//
// Use NewBBR.
type BBR struct {
	p   Params
	rng rand.PCG
	bbrState

	saved    bbrState // before the newest congestion event
	undoable bool
	events   uint64

	rounds   rounds
	smoothed uint64
	inFlight int
	standing lowest
	losses   lossCount
	arrived  float64 // in this round trip and, half as much each, in those before
	lost     float64

	bandwidth [2]float64 // of this cycle of probing and the one before
	latest    float64    // of this round trip
	volume    float64    // delivered during the newest packet's flight

	shortest   uint64 // round trip
	shortestAt uint64
	probed     uint64 // the same since the newest look for it
	probedAt   uint64

	full       float64 // bandwidth that others must exceed to count as growth
	fullRounds int

	share   float64 // of the bottleneck while a queue stands, +Inf without
	crowded bool    // a queue stood since the newest ProbeRTT

	// Acknowledgements that come in bursts need more in flight.
	burst      float64
	burstBegan uint64
	extra      [2]float64 // the most of this spell and of the one before
	spell      int        // round trips left of it
}

// bbrState is what a congestion event changes.
type bbrState struct {
	phase  bbrPhase
	filled bool // Startup found the bandwidth
	window int
	before int // window to come back to from ProbeRTT

	// Bounds, +Inf for none: of the time since the newest probe, and of what
	// probes found.
	bandwidthLow float64
	inflightLow  float64
	inflightHigh float64

	since  uint64 // the phase began
	passed int    // round trips of the phase
	cycle  uint64 // when Down began
	wait   uint64 // from then to the next probe
	cycled int    // round trips since then
	step   float64

	holdUntil uint64 // end of ProbeRTT, 0 until the window is down
	holdRound uint64 // Delivered when it was

	recovering bool
	silent     bool   // nothing came since the newest timeout
	recovery   uint32 // packets from here on were sent after the answer
}

// NewBBR returns a BBR with its initial window. p is valid.
func NewBBR(p Params) *BBR {
	p = p.withDefaults()
	c := &BBR{p: p}
	c.rng.Seed(p.Seed, 0)
	c.window = p.InitialWindow
	c.inflightHigh, c.share = math.Inf(1), math.Inf(1)
	c.forget()
	return c
}

// Name implements Controller.
func (c *BBR) Name() string { return "bbr" }

// Window implements Controller.
func (c *BBR) Window() int { return c.window }

// Events implements Controller.
func (c *BBR) Events() uint64 { return c.events }

// PacingRate implements Controller.
func (c *BBR) PacingRate() float64 {
	rate := c.gain() * c.modelled()
	if !c.filled && c.smoothed > 0 {
		// A few packets of an application say little about the path.
		rate = max(rate, float64(c.p.InitialWindow)*1e9/float64(c.smoothed))
	}
	return rate
}

// gain returns what to make of the bandwidth in this phase.
func (c *BBR) gain() float64 {
	gain := bbrMargin
	switch c.phase {
	case bbrStartup:
		return bbrStartupGain
	case bbrDrain:
		return bbrDrainGain
	case bbrDown:
		gain = bbrDownGain
	case bbrUp:
		gain = bbrUpGain
	case bbrCruise:
		if c.yielding() {
			gain = bbrUpGain // the window limits, so that small shares can grow
		}
	case bbrRefill, bbrProbeRTT:
	}
	// The bandwidth is what arrives. What is lost at random takes its share of
	// the bottleneck as well.
	if !c.queued() {
		gain /= 1 - min(c.losses.share(), bbrRandomLoss)
	}
	return gain
}

// most returns the bandwidth of the path in packets per second, 0 before it is
// known.
func (c *BBR) most() float64 { return max(c.bandwidth[0], c.bandwidth[1]) }

// modelled returns the bandwidth to use.
func (c *BBR) modelled() float64 { return min(c.most(), c.bandwidthLow) }

// holds returns how many packets the path holds, times gain.
func (c *BBR) holds(gain float64) float64 {
	return gain * c.most() * float64(c.shortest) / 1e9
}

// queued reports whether packets of late stood in a queue.
func (c *BBR) queued() bool {
	return c.standing.value() > c.shortest+max(c.shortest/bbrQueueShare, bbrQueueLeast)
}

// OnSend implements Controller.
func (c *BBR) OnSend(now uint64, inFlight int) {
	if inFlight == 0 && c.phase == bbrProbeRTT {
		c.leaveProbeRTT(now) // the pause did what ProbeRTT is for
	}
}

// OnAck implements Controller.
func (c *BBR) OnAck(a *Ack) {
	c.smoothed, c.inFlight, c.silent = a.SmoothedRTT, a.InFlight, false
	if c.recovering && int32(a.Newest-c.recovery) >= 0 {
		c.recovering = false
	}
	over := c.rounds.over(a)
	if over {
		c.arrived, c.lost, c.latest = c.arrived/2, c.lost/2, 0
	}
	c.arrived += float64(a.Packets)
	c.losses.add(0, a.Packets)
	c.measure(a)
	if over {
		c.endRound(a)
	}
	phase := c.phase
	c.advance(a)
	if phase != bbrProbeRTT || c.phase == phase {
		c.resize(a) // the window that was before ProbeRTT is enough
	}
}

func (c *BBR) measure(a *Ack) {
	if a.Rate > 0 {
		c.latest = max(c.latest, a.Rate)
		c.volume = float64(a.Delivered - min(a.PriorDelivered, a.Delivered))
		if !a.AppLimited || a.Rate > c.most() {
			c.bandwidth[0] = max(c.bandwidth[0], a.Rate)
		}
	}
	if a.RTT > 0 {
		c.standing.add(a.Now, a.RTT, a.SmoothedRTT/2)
		if c.probed == 0 || a.RTT <= c.probed {
			c.probed, c.probedAt = a.RTT, a.Now
		}
		aged := a.Now-c.shortestAt > bbrMinRTTAge
		if aged && c.probed > c.shortest*3/2 {
			c.cycled = math.MaxInt // another path: probe it at once
		}
		if c.shortest == 0 || c.probed <= c.shortest || aged {
			c.shortest, c.shortestAt = c.probed, c.probedAt
		}
	}
	expected := c.modelled() * float64(a.Now-c.burstBegan) / 1e9
	if c.burst <= expected {
		c.burst, c.burstBegan, expected = 0, a.Now, 0
	}
	c.burst = min(c.burst+float64(a.Packets), expected+float64(c.window))
	c.extra[0] = max(c.extra[0], c.burst-expected)
}

func (c *BBR) endRound(a *Ack) {
	c.passed++
	c.cycled++
	if c.spell--; c.spell < 0 {
		c.extra[1], c.extra[0], c.spell = c.extra[0], 0, bbrSpell
	}
	if c.phase == bbrDown && c.passed == 1 && !a.AppLimited {
		// All that the probe sent is acknowledged: its cycle is over.
		c.bandwidth[1], c.bandwidth[0] = c.bandwidth[0], 0
	}
	if a.AppLimited {
		return
	}
	growth := bbrFullGrowth
	if c.phase == bbrUp {
		growth = bbrUpGrowth
	}
	if c.most() >= c.full*growth {
		c.full, c.fullRounds = c.most(), 0
		return
	}
	c.fullRounds++
	c.filled = c.filled || c.fullRounds >= bbrFullRounds
	c.yield()
}

// yield leaves the bottleneck to others while a queue stands: what is in flight
// beyond what arrives per shortest round trip is the same for every session, so
// that they get the same of it (FAST TCP, Wei et al. 2006).
func (c *BBR) yield() {
	if c.phase != bbrCruise && c.phase != bbrDown || c.standing.value() <= c.shortest+max(c.shortest/bbrYieldShare, bbrYieldLeast) {
		c.share = math.Inf(1)
		return
	}
	c.crowded = true
	equal := min(max(float64(c.shortest/bbrEqualShare), bbrEqualLeast), bbrEqualMost)
	if c.phase == bbrDown {
		equal = 0 // so that the queue drains, and all see the shortest round trip
	}
	c.share = max(c.latest*float64(c.shortest)/1e9+equal+max(c.extra[0], c.extra[1]), c.holds(bbrProbeRTTGain))
}

// yielding reports whether the window is that of a fair share.
func (c *BBR) yielding() bool { return !math.IsInf(c.share, 1) }

// enter begins a phase, and a round trip with it.
func (c *BBR) enter(phase bbrPhase, a *Ack) {
	c.phase, c.since, c.passed = phase, a.Now, 0
	c.rounds.end = a.Delivered
}

// advance moves on to the next phase where it is time.
func (c *BBR) advance(a *Ack) {
	inFlight := float64(a.InFlight)
	switch c.phase {
	case bbrStartup:
		if c.filled {
			c.enter(bbrDrain, a)
		}
	case bbrDrain:
		if inFlight <= c.holds(1) {
			c.down(a.Now)
			c.enter(bbrDown, a)
		}
	case bbrDown:
		switch {
		case c.due(a.Now):
			c.refill(a)
		case inFlight <= min(c.holds(1), c.headroom(), c.share):
			c.enter(bbrCruise, a)
		}
	case bbrCruise:
		if c.yielding() && a.Limited && float64(c.window) >= math.Floor(c.inflightHigh) {
			c.inflightHigh += float64(a.Packets) / float64(c.window)
		}
		if c.due(a.Now) {
			c.refill(a)
		}
	case bbrRefill:
		if c.passed > 0 {
			// What the probe sends shows after a round trip.
			c.full, c.fullRounds, c.step = c.most(), -1, 1
			c.enter(bbrUp, a)
		}
	case bbrUp:
		c.raise(a)
		long := a.Now-c.since >= c.shortest && inFlight >= c.holds(bbrUpGain)
		if (long || c.queued()) && c.fullRounds > 0 || c.fullRounds >= bbrFullRounds {
			c.down(a.Now)
			c.enter(bbrDown, a)
		}
	case bbrProbeRTT:
		c.holdProbeRTT(a)
		return
	}
	// Sessions of one host look at the same times, so that together they empty
	// the queue.
	if a.Now/bbrProbeRTTEvery != c.probedAt/bbrProbeRTTEvery && a.Now-c.probedAt > bbrProbeRTTEvery/2 {
		least := c.probeRTTWindow()
		if a.InFlight <= least && !a.Limited {
			// Nothing of this session's stands in a queue.
			c.probed, c.probedAt = max(c.standing.value(), 1), a.Now
			return
		}
		c.before, c.holdUntil, c.probed = c.window, 0, 0
		c.enter(bbrProbeRTT, a)
	}
}

// down begins a cycle of probing.
func (c *BBR) down(now uint64) {
	r := c.rng.Uint64()
	c.cycle, c.cycled = now, int(r&1)
	c.wait = bbrProbeWait + (r>>1)%uint64(time.Second)
}

// due reports whether to probe for bandwidth again: by the clock, or after as
// many round trips as Reno would take to need as much.
func (c *BBR) due(now uint64) bool {
	return now-c.cycle >= c.wait ||
		c.cycled >= min(int(c.holds(1)), c.window, bbrRenoRounds) && c.cycled > bbrLeastRounds
}

func (c *BBR) refill(a *Ack) {
	c.forget()
	c.enter(bbrRefill, a)
}

// raise lifts the bound on what is in flight while it holds the probe back,
// twice as fast each round trip.
func (c *BBR) raise(a *Ack) {
	if !a.Limited || float64(c.window) < math.Floor(c.inflightHigh) {
		return
	}
	c.inflightHigh += c.step * float64(a.Packets) / float64(c.window)
	c.step += c.step * float64(a.Packets) / float64(c.window)
}

// headroom returns what Cruise keeps in flight: a little is left to others.
func (c *BBR) headroom() float64 {
	if c.yielding() {
		return c.inflightHigh
	}
	return bbrHeadroom * c.inflightHigh
}

// forget lifts the bounds that losses since the newest probe set.
func (c *BBR) forget() {
	c.bandwidthLow, c.inflightLow = math.Inf(1), math.Inf(1)
}

func (c *BBR) probeRTTWindow() int {
	if c.crowded || c.losses.share() > bbrLoss {
		return c.p.MinWindow // together with others, who have to do the same
	}
	return c.p.clamp(int(min(c.holds(bbrProbeRTTGain), MaxWindow)))
}

func (c *BBR) holdProbeRTT(a *Ack) {
	switch {
	case c.holdUntil == 0:
		if a.InFlight <= c.probeRTTWindow() {
			c.holdUntil, c.holdRound = a.Now+bbrProbeRTTFor, a.Delivered
		}
	case a.Now >= c.holdUntil && a.PriorDelivered >= c.holdRound:
		c.leaveProbeRTT(a.Now)
	}
}

func (c *BBR) leaveProbeRTT(now uint64) {
	c.probedAt, c.crowded = now, false
	c.window = max(c.window, c.before)
	c.forget()
	c.phase, c.since, c.passed = bbrStartup, now, 0
	if c.filled {
		c.down(now)
		c.phase = bbrCruise
	}
}

// resize moves the window towards what the model asks for.
func (c *BBR) resize(a *Ack) {
	gain := bbrWindowGain
	if c.phase == bbrUp {
		gain = bbrUpWindowGain
	}
	target := float64(c.p.MaxWindow)
	if bandwidth := c.modelled(); bandwidth > 0 {
		target = gain*bandwidth*float64(c.shortest)/1e9 + max(c.extra[0], c.extra[1])
	}
	window := float64(c.window)
	// A window that the application does not fill does not grow.
	if a.Limited && window < target {
		window += float64(a.Packets)
	}
	if c.filled {
		window = min(window, target)
	}
	switch c.phase {
	case bbrStartup, bbrDrain:
	case bbrDown:
		window = min(window, c.inflightHigh, c.share)
	case bbrRefill, bbrUp:
		window = min(window, c.inflightHigh)
	case bbrCruise:
		window = min(window, c.headroom(), c.share)
	case bbrProbeRTT:
		window = min(window, c.headroom(), float64(c.probeRTTWindow()))
	}
	c.window = c.p.clamp(int(min(window, c.inflightLow)))
}

// OnLoss implements Controller.
func (c *BBR) OnLoss(l *Loss) {
	if c.recovering && int32(l.Newest-c.recovery) < 0 {
		return
	}
	c.lost += float64(l.Packets)
	c.losses.add(l.Packets, 0)
	share := bbrRandomLoss
	if c.queued() {
		share = bbrLoss
	}
	// By three standard deviations, since round trips hold few packets.
	expected := share * (c.arrived + c.lost)
	if c.lost > expected+3*math.Sqrt(expected)+1 {
		c.answer(l.Now, l.Next, l.InFlight+l.Packets, bbrBeta)
	}
}

// OnMark implements Controller.
func (c *BBR) OnMark(now uint64, next uint32) {
	if !c.recovering {
		c.answer(now, next, c.inFlight, bbrMarkBeta)
	}
}

// answer bounds the model after a congestion event that inFlight packets met.
func (c *BBR) answer(now uint64, next uint32, inFlight int, beta float64) {
	c.saved, c.undoable = c.bbrState, true
	c.events++
	c.recovering, c.recovery = true, next
	high := max(bbrHeadroom*float64(inFlight), beta*min(c.holds(1), float64(c.window)))
	switch {
	case c.phase == bbrStartup:
		c.filled = true
		c.inflightHigh = max(high, c.holds(1))
	case c.phase == bbrRefill, c.phase == bbrUp:
		c.inflightHigh = high
		c.down(now)
		c.phase, c.since, c.passed = bbrDown, now, 0
	case c.phase == bbrDown && c.passed == 0:
		c.inflightHigh = high // the newest probe's
	default:
		c.bandwidthLow = max(c.latest, beta*c.modelled())
		c.inflightLow = max(c.volume, beta*min(c.inflightLow, float64(c.window)))
	}
}

// OnTimeout implements Controller. The model of the path stays, since an outage
// says nothing about it.
func (c *BBR) OnTimeout(_ uint64, next uint32) {
	if c.silent {
		c.recovery = next
		return
	}
	c.saved, c.undoable = c.bbrState, true
	c.events++
	c.window = c.p.MinWindow
	c.recovering, c.silent, c.recovery = true, true, next
}

// Undo implements Controller.
func (c *BBR) Undo(uint64) {
	if !c.undoable {
		return
	}
	c.undoable = false
	c.events--
	window := c.window
	c.bbrState = c.saved
	c.window = max(c.window, window)
}
