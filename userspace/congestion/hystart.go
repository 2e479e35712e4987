package congestion

import (
	"math"
	"time"
)

// Of RFC 9406, section 4.3.
const (
	hystartLeast   = uint64(4 * time.Millisecond)
	hystartMost    = uint64(16 * time.Millisecond)
	hystartShare   = 8 // of the round trip
	hystartSamples = 8
	hystartDivisor = 4
	hystartRounds  = 5
)

const never = uint64(math.MaxUint64)

// hystart ends the first slow start before it overfills the bottleneck
// (HyStart++, RFC 9406): where round trips get longer, growth becomes a quarter
// as fast, and where that lasts for five of them, slow start is over.
//
// Pacing spreads what is sent, so growth per acknowledgement is not limited.
type hystart struct {
	rounds       rounds
	last, newest uint64 // shortest round trip of the round before and of this one
	samples      int    // in this round
	conservative int    // rounds left of growing slowly, 0 for none
	baseline     uint64 // newest when that began
}

// grow takes an acknowledgement in slow start. It returns by how much the
// window may grow, and whether slow start is over.
func (h *hystart) grow(a *Ack) (growth float64, over bool) {
	if h.rounds.over(a) {
		h.last, h.newest, h.samples = h.newest, never, 0
		if h.last == 0 {
			h.last = never
		}
		if h.conservative > 0 {
			if h.conservative--; h.conservative == 0 {
				return 0, true
			}
		}
	}
	if a.RTT > 0 {
		h.newest = min(h.newest, a.RTT)
		h.samples++
	}
	if h.samples >= hystartSamples {
		switch {
		case h.conservative > 0:
			if h.newest < h.baseline {
				h.conservative = 0 // it was jitter
			}
		case h.last != never && h.newest >= h.last+min(max(h.last/hystartShare, hystartLeast), hystartMost):
			h.conservative, h.baseline = hystartRounds, h.newest
		}
	}
	if h.conservative > 0 {
		return float64(a.Packets) / hystartDivisor, false
	}
	return float64(a.Packets), false
}
