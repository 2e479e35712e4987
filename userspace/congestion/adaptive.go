package congestion

import (
	"math"
	"time"
)

const (
	// adaptiveMinAge is for how long the shortest round trip is believed.
	adaptiveMinAge = uint64(10 * time.Second)
	// A queue this long is what a window may stand on: a share of the shortest
	// round trip within bounds.
	adaptiveQueueShare = 16
	adaptiveQueueLeast = uint64(2 * time.Millisecond)
	adaptiveQueueMost  = uint64(16 * time.Millisecond)
	// adaptiveQuiet is how many round trips without a queue show that the
	// threshold no longer says where one begins.
	adaptiveQuiet = 8
	// adaptiveFutile is how many cuts in a row that do not shorten a queue show
	// that it is not this session's.
	adaptiveFutile = 3
	// adaptivePacing leaves the window room to double per round trip; more
	// would only make bursts of it.
	adaptivePacing = 1.25
	// adaptiveTolerance is the most loss that is ever taken for random.
	adaptiveTolerance = 0.1
)

// Adaptive is the default algorithm: it answers to queues and tells random loss
// from congestion.
//
// The window doubles per round trip below the threshold and grows by one packet
// per round trip above it. A congestion event halves it, and takes a quarter of
// it where the flights sent after that meet congestion again. A loss is a
// congestion event when a queue stands or when more is lost than a path loses
// at random; other losses change nothing. A queue alone shrinks the window to
// what the path holds without one, so that other traffic of the game does not
// wait behind a transfer.
//
// Use NewAdaptive.
type Adaptive struct {
	p Params
	adaptiveWindow

	// For Undo: the window before the newest flight with losses, and whether
	// these were a congestion event.
	saved    adaptiveWindow
	undoable bool
	events   uint64

	rounds   rounds
	pressed  bool // something held packets back in this round trip
	smoothed uint64

	shortest   uint64 // round trip without a queue
	shortestAt uint64
	standing   lowest  // round trips of late
	noise      float64 // by how much samples are longer on average
	bandwidth  [2]float64

	// A cut shows in acknowledgements of what was sent after it.
	delivered uint64 // Delivered so far
	settled   uint64 // Delivered at the newest cut
	cuts      int    // in a row
	cutFrom   int    // window before them
	cutRTT    uint64 // standing round trip before them
	ageing    bool   // the newest cut looks for the shortest round trip
	quiet     int    // round trips since a queue stood

	outage    bool   // there was one
	outageEnd uint32 // packets from here on were sent after it was noticed

	losses    lossCount
	tolerance float64 // share of loss that is taken for random
	trial     lossTrial
}

// adaptiveWindow is what a congestion event changes.
type adaptiveWindow struct {
	window    int
	threshold int     // slow start ends here
	credit    float64 // towards the next packet of growth

	recovering bool
	restarting bool   // recovering: from a timeout, by slow start
	wary       bool   // recovering: the flight after the answer comes in
	recovery   uint32 // packets from here on were sent after the answer
	wariness   uint64 // Delivered when wary began
	silent     bool   // nothing came since the newest timeout
}

// lossTrial finds out whether loss without a queue goes away with a smaller
// window. Where it stays it is the path's, not the window's.
type lossTrial struct {
	running bool
	share   float64 // of loss before
	window  int     // before
}

// NewAdaptive returns an Adaptive with its initial window. p is valid.
func NewAdaptive(p Params) *Adaptive {
	p = p.withDefaults()
	return &Adaptive{
		p:              p,
		adaptiveWindow: adaptiveWindow{window: p.InitialWindow, threshold: p.clamp(p.MaxWindow / 2)},
		tolerance:      p.LossThreshold,
		quiet:          4 * adaptiveQuiet, // nothing says that a queue begins at the threshold
	}
}

// Name implements Controller.
func (c *Adaptive) Name() string { return "adaptive" }

// Window implements Controller.
func (c *Adaptive) Window() int { return c.window }

// Events implements Controller. Windows that shrink for a queue alone, without
// loss or mark, do not count.
func (c *Adaptive) Events() uint64 { return c.events }

// PacingRate implements Controller: a window per round trip, with room to grow.
func (c *Adaptive) PacingRate() float64 {
	if c.smoothed == 0 {
		return 0
	}
	return adaptivePacing * float64(c.window) * 1e9 / float64(c.smoothed)
}

// OnSend implements Controller.
func (c *Adaptive) OnSend(uint64, int) {}

// OnAck implements Controller.
func (c *Adaptive) OnAck(a *Ack) {
	c.measure(a)
	c.pressed = c.pressed || a.Limited
	c.losses.add(0, a.Packets)
	c.recover(a)
	c.judgeTrial()
	over := c.rounds.over(a)
	if over {
		c.bandwidth[1], c.bandwidth[0] = c.bandwidth[0], 0
	}
	before := c.window
	switch {
	case c.pressed && a.PriorDelivered >= c.settled:
		c.answerQueue(a)
	case !c.pressed && a.Now-c.shortestAt >= adaptiveMinAge && c.standing.value() > 0:
		c.shortest, c.shortestAt = c.standing.value(), a.Now
	}
	// A window that the application does not fill proves nothing about the
	// path, so it does not grow (RFC 9002 section 7.8).
	if a.Limited && c.window <= before && (!c.recovering || c.restarting) && !c.filling() {
		c.grow(a.Packets)
	}
	if over {
		c.endRound()
	}
}

func (c *Adaptive) measure(a *Ack) {
	c.smoothed, c.delivered = a.SmoothedRTT, a.Delivered
	if a.PriorDelivered >= c.settled {
		c.silent = false
	}
	if a.RTT > 0 {
		// Slow start has no time to wait for a long span.
		span := a.SmoothedRTT
		if c.window < c.threshold {
			span /= 4
		}
		if low := c.standing.value(); low > 0 && c.window >= c.threshold {
			c.noise += (float64(max(a.RTT, low)-low) - c.noise) * float64(min(a.Packets, 16)) / 64
		}
		c.standing.add(a.Now, a.RTT, span)
		if c.shortest == 0 || a.RTT <= c.shortest {
			c.shortest, c.shortestAt = a.RTT, a.Now
		}
	}
	if !a.AppLimited {
		c.bandwidth[0] = max(c.bandwidth[0], a.Rate)
	}
}

// queue returns how long packets of late waited at least.
func (c *Adaptive) queue() uint64 {
	return max(c.standing.value(), c.shortest) - c.shortest
}

// filling reports whether the window must not grow. Slow start stops at the
// first sign of a queue, before it is sure of one.
func (c *Adaptive) filling() bool {
	if c.window < c.threshold {
		return c.standing.recent() > c.shortest+c.allowed()
	}
	return c.queue() > c.allowed()
}

// allowed returns the queue that the window may stand on.
func (c *Adaptive) allowed() uint64 {
	queue := min(max(c.shortest/adaptiveQueueShare, adaptiveQueueLeast), adaptiveQueueMost)
	if c.window < c.threshold {
		queue = min(2*queue, adaptiveQueueMost)
	}
	queue = max(queue, min(uint64(c.noise), c.shortest/2))
	return min(queue, uint64(c.p.RTTThreshold))
}

// recover ends the recovery: the flight sent after an answer has to come back
// as a whole without congestion.
func (c *Adaptive) recover(a *Ack) {
	switch {
	case !c.recovering:
	case c.wary:
		if a.PriorDelivered >= c.wariness {
			c.recovering, c.restarting = false, false
		}
	case int32(a.Newest-c.recovery) >= 0:
		c.wary, c.wariness = true, a.Delivered
		c.losses = lossCount{}
	}
}

func (c *Adaptive) grow(packets int) {
	if c.window < c.threshold {
		c.window = min(c.window+packets, c.threshold)
		return
	}
	// Where no queue shows for long, growth speeds up with time: by as much
	// for sessions with large windows as for those with small ones, so that
	// they go on approaching each other.
	quiet := float64(max(c.quiet-adaptiveQuiet, 0))
	step := max(1, min(quiet*quiet/32, float64(c.window)/4))
	c.credit += step * float64(packets) / float64(c.window)
	whole := math.Floor(c.credit)
	c.credit -= whole
	c.window = c.p.clamp(c.window + int(whole))
}

func (c *Adaptive) endRound() {
	if c.pressed && c.queue() <= c.allowed()/2 {
		c.quiet++
	} else {
		c.quiet = 0
	}
	c.pressed = false
	if c.losses.all >= memory/2 {
		c.tolerance = max(c.p.LossThreshold, min(c.tolerance, 2*c.losses.share()))
	}
}

// answerQueue shrinks the window to what the path holds without a queue, a
// little under it, so that every session at the bottleneck gets to see the
// shortest round trip.
func (c *Adaptive) answerQueue(a *Ack) {
	standing := c.standing.value()
	if standing == 0 {
		return
	}
	old := a.Now-c.shortestAt >= adaptiveMinAge
	switch {
	case c.ageing, c.futile(standing):
		// What stands after a smaller window is the path's own.
		if !c.ageing {
			c.quiet = 8 * adaptiveQuiet // what the new path holds is unknown
		}
		c.ageing, c.cuts = false, 0
		c.shortest, c.shortestAt = standing, a.Now
		c.window = max(c.window, c.cutFrom)
		return
	case c.queue() > c.allowed():
	case old:
		c.ageing = true
	default:
		c.cuts = 0
		return
	}
	if c.cuts == 0 || c.cuts == adaptiveFutile {
		c.cuts, c.cutFrom, c.cutRTT = 0, c.window, standing
		if c.window == c.p.MinWindow {
			if old {
				c.shortest, c.shortestAt = standing, a.Now
			}
			return
		}
	}
	c.cuts++
	fits := float64(c.window) * float64(c.shortest) / float64(standing)
	least := c.window / 2
	if c.window < c.threshold {
		// Round trips lag behind a window that doubles; the delivery rate
		// does so less.
		least = c.window / 4
		if rate := max(c.bandwidth[0], c.bandwidth[1]); rate > 0 {
			fits = min(fits, rate*float64(c.shortest)/1e9)
		}
	}
	c.window = c.p.clamp(max(least, int(fits*7/8)))
	c.threshold = min(c.threshold, c.window)
	c.settle()
}

// futile reports whether several cuts in a row took less than a quarter off the
// round trip of what they take off the round trip of a queue that is this
// session's own.
func (c *Adaptive) futile(standing uint64) bool {
	if c.cuts < adaptiveFutile || 4*c.window > 3*c.cutFrom {
		return false
	}
	expected := float64(c.cutRTT) * (1 - float64(c.window)/float64(c.cutFrom))
	expected = min(expected, float64(c.cutRTT)-float64(c.shortest))
	return float64(c.cutRTT)-float64(standing) < expected/4
}

// OnLoss implements Controller.
func (c *Adaptive) OnLoss(l *Loss) {
	if c.recovering && int32(l.Newest-c.recovery) < 0 && (c.silent || !c.restarting) {
		return
	}
	// What an outage took says nothing of what the path loses.
	if c.outage && int32(l.Newest-c.outageEnd) < 0 {
		return
	}
	c.outage = false
	c.losses.add(l.Packets, 0)
	queued := c.queued()
	if !queued && !c.excessive() {
		if !c.recovering {
			c.undoable = false
		}
		return
	}
	share, before := c.losses.share(), c.window
	c.answer(l.Next, 0.5)
	if !queued && !c.trial.running {
		c.trial = lossTrial{running: true, share: share, window: before}
	}
}

// queued reports whether losses are those of a queue that is full.
func (c *Adaptive) queued() bool {
	return c.queue() > 2*c.allowed() ||
		c.smoothed > c.shortest+uint64(c.p.RTTThreshold)
}

// excessive reports whether more is lost than the tolerance by more than three
// standard deviations.
func (c *Adaptive) excessive() bool {
	share := c.tolerance
	if c.trial.running {
		share = max(share, c.trial.share)
	}
	expected := share * c.losses.all
	return c.losses.lost > expected+3*math.Sqrt(expected)+3
}

// answer shrinks the window once per flight.
func (c *Adaptive) answer(next uint32, factor float64) {
	c.saved, c.undoable = c.adaptiveWindow, true
	c.events++
	if c.recovering {
		factor = 0.75
	}
	c.window = c.p.clamp(int(float64(c.window) * factor))
	c.threshold = c.window
	c.settle()
	c.cuts, c.ageing = 0, false
	c.recovering, c.restarting, c.wary, c.recovery = true, false, false, next
}

// settle makes what was sent from now on show whether a smaller window helps.
func (c *Adaptive) settle() {
	c.settled, c.credit, c.quiet = c.delivered, 0, 0
}

// judgeTrial ends a trial once the loss at the smaller window is known.
func (c *Adaptive) judgeTrial() {
	t := &c.trial
	if !t.running || c.recovering || c.losses.all*t.share < 8 {
		return
	}
	t.running = false
	if share := c.losses.share(); share > t.share/2 {
		c.tolerance = min(max(share, t.share)*1.25, max(adaptiveTolerance, c.p.LossThreshold))
		c.threshold = max(c.threshold, t.window)
	}
}

// OnMark implements Controller. The answer is gentler than to a loss, since a
// mark is set while the queue is still short (RFC 8511).
func (c *Adaptive) OnMark(_ uint64, next uint32) {
	if !c.recovering || c.wary {
		c.answer(next, 0.8)
	}
}

// OnTimeout implements Controller.
func (c *Adaptive) OnTimeout(_ uint64, next uint32) {
	if c.silent {
		c.recovery = next
		return
	}
	c.saved, c.undoable = c.adaptiveWindow, true
	c.events++
	c.outage, c.outageEnd = true, next
	// Silence without a queue before it is an outage or the loss of a last
	// packet, and what the path held is worth going back to.
	if c.queued() {
		c.threshold = c.p.clamp(c.window / 2)
	} else {
		c.threshold = max(c.threshold, c.window)
	}
	c.window = c.p.MinWindow
	c.settle()
	c.cuts, c.ageing, c.silent = 0, false, true
	c.recovering, c.restarting, c.wary, c.recovery = true, true, false, next
}

// Undo implements Controller.
func (c *Adaptive) Undo(uint64) {
	if !c.undoable {
		return
	}
	c.undoable = false
	c.events--
	window := c.window
	c.adaptiveWindow = c.saved
	c.window = max(c.window, window)
	c.trial.running = false
}
