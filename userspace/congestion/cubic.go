package congestion

import "math"

const (
	cubicC        = 0.4 // packets per second³
	cubicBeta     = 0.7
	cubicMarkBeta = 0.85 // RFC 8511, section 3
	// cubicAlpha makes the Reno-friendly window grow on average as Reno's,
	// which shrinks by more.
	cubicAlpha = 3 * (1 - cubicBeta) / (1 + cubicBeta)
)

// Cubic is the algorithm of RFC 9438, in packets, with the slow start of RFC
// 9406. It takes every loss for congestion.
//
// Use NewCubic.
type Cubic struct {
	p Params
	cubicWindow

	saved    cubicWindow // before the newest congestion event
	undoable bool
	events   uint64

	smoothed uint64
	heard    uint64 // when the newest acknowledgement came
}

// cubicWindow is what a congestion event changes.
type cubicWindow struct {
	window    float64
	threshold float64 // slow start ends here
	start     hystart
	found     bool // the threshold was: slow start is no longer the first

	most  float64 // window at the newest congestion event: W_max
	prior float64 // the same without fast convergence: cwnd_prior

	// The epoch is the time of growth since the newest congestion event.
	growing bool
	epoch   uint64  // when it began
	plateau float64 // seconds from then until the window is back at most: K
	reno    float64 // what Reno would have: W_est

	recovering bool
	restarting bool   // recovering: from a timeout, by slow start
	silent     bool   // nothing came since the newest timeout
	recovery   uint32 // packets from here on were sent after the answer
}

// NewCubic returns a Cubic with its initial window. p is valid.
func NewCubic(p Params) *Cubic {
	p = p.withDefaults()
	return &Cubic{p: p, cubicWindow: cubicWindow{
		window:    float64(p.InitialWindow),
		threshold: float64(p.MaxWindow),
	}}
}

// Name implements Controller.
func (c *Cubic) Name() string { return "cubic" }

// Window implements Controller.
func (c *Cubic) Window() int { return int(c.window) }

// Events implements Controller.
func (c *Cubic) Events() uint64 { return c.events }

// PacingRate implements Controller: a window per round trip, with room for it to
// double in slow start and to grow afterwards.
func (c *Cubic) PacingRate() float64 {
	if c.smoothed == 0 {
		return 0
	}
	gain := 1.2
	if c.window < c.threshold {
		gain = 2
	}
	return gain * c.window * 1e9 / float64(c.smoothed)
}

// OnSend implements Controller.
func (c *Cubic) OnSend(uint64, int) {}

// OnAck implements Controller.
func (c *Cubic) OnAck(a *Ack) {
	c.smoothed, c.silent = a.SmoothedRTT, false
	idle := a.Now - c.heard
	c.heard = a.Now
	if c.recovering && int32(a.Newest-c.recovery) >= 0 {
		c.recovering, c.restarting = false, false
	}
	switch {
	case !a.Limited:
		// What the application does not fill must not grow, and the time that
		// this takes is no time of the epoch (RFC 9438 section 5.8).
		c.epoch += idle
	case c.recovering && !c.restarting:
	case c.window < c.threshold:
		c.slowStart(a)
	default:
		c.avoid(a)
	}
}

func (c *Cubic) slowStart(a *Ack) {
	growth, over := float64(a.Packets), false
	if !c.found {
		growth, over = c.start.grow(a)
	}
	c.window = min(c.window+growth, c.threshold)
	if over {
		c.threshold, c.found = c.window, true
	}
}

// avoid grows the window along the cubic function around most, or as Reno would
// where that is faster.
func (c *Cubic) avoid(a *Ack) {
	if !c.growing {
		c.growing, c.epoch, c.reno = true, a.Now, c.window
		if c.window < c.most {
			c.plateau = math.Cbrt((c.most - c.window) / cubicC)
		} else {
			c.most, c.plateau = c.window, 0
		}
	}
	acked := float64(a.Packets)
	alpha := cubicAlpha
	if c.reno >= c.prior {
		alpha = 1
	}
	c.reno += alpha * acked / c.window
	since := float64(a.Now-min(c.epoch, a.Now)) / 1e9
	grown := c.window
	if c.at(since) < c.reno {
		grown = max(grown, c.reno)
	} else {
		target := min(max(c.at(since+float64(c.smoothed)/1e9), c.window), 1.5*c.window)
		grown += (target - c.window) * acked / c.window
	}
	c.set(min(grown, c.window+acked))
}

// at returns the cubic function so many seconds into the epoch.
func (c *Cubic) at(seconds float64) float64 {
	d := seconds - c.plateau
	return cubicC*d*d*d + c.most
}

func (c *Cubic) set(window float64) {
	c.window = min(max(window, float64(c.p.MinWindow)), float64(c.p.MaxWindow))
}

// OnLoss implements Controller.
func (c *Cubic) OnLoss(l *Loss) {
	// What a timeout took for lost as well is not lost once more.
	if c.recovering && int32(l.Newest-c.recovery) < 0 && (c.silent || !c.restarting) {
		return
	}
	c.answer(l.Next, cubicBeta)
}

// OnMark implements Controller.
func (c *Cubic) OnMark(_ uint64, next uint32) {
	if !c.recovering {
		c.answer(next, cubicMarkBeta)
	}
}

// OnTimeout implements Controller.
func (c *Cubic) OnTimeout(_ uint64, next uint32) {
	if c.silent {
		c.recovery = next
		return
	}
	c.answer(next, cubicBeta)
	c.set(0)
	c.restarting, c.silent = true, true
}

// answer shrinks the window by factor beta.
func (c *Cubic) answer(next uint32, beta float64) {
	c.saved, c.undoable = c.cubicWindow, true
	c.events++
	c.prior = c.window
	if c.window < c.most {
		// A window that does not get back to where it was leaves room for
		// others: fast convergence.
		c.most = c.window * (1 + beta) / 2
	} else {
		c.most = c.window
	}
	c.set(c.window * beta)
	c.threshold, c.found, c.growing = c.window, true, false
	c.recovering, c.restarting, c.recovery = true, false, next
}

// Undo implements Controller.
func (c *Cubic) Undo(uint64) {
	if !c.undoable {
		return
	}
	c.undoable = false
	c.events--
	window := c.window
	c.cubicWindow = c.saved
	c.window = max(c.window, window)
}
