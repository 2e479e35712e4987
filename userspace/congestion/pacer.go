package congestion

import "time"

// What a pacer lets leave at once after a pause is burstPackets or what the
// rate gives in burstTime, whichever is more: timers come late by about a
// millisecond, and small bursts cost bottlenecks nothing.
const (
	burstPackets = 10
	burstTime    = uint64(2 * time.Millisecond)
)

// maxInterval bounds the wait between packets at rates next to nothing.
const maxInterval = uint64(time.Second)

// Pacer spreads packets over time. The zero value lets the first burst leave
// at once. Times are nanoseconds and rates packets per second, 0 for no limit.
// One goroutine owns it.
//
// It is a virtual scheduler: the time at which the newest packet was due moves
// on by one interval per packet, however late the packet left, and lags behind
// the clock by no more than a burst. So a late timer is made up for, and the
// rate is kept over time.
type Pacer struct {
	due     uint64 // of the newest packet
	started bool
}

// Next returns when the next packet may leave: not later than now means at
// once. A change of the rate counts from the newest packet on.
func (p *Pacer) Next(now uint64, rate float64) uint64 {
	gap := interval(rate)
	if gap == 0 || !p.started {
		return now
	}
	return p.due + gap
}

// OnSend reports that a packet left at now.
func (p *Pacer) OnSend(now uint64, rate float64) {
	gap := interval(rate)
	lag := max(burstPackets*gap, burstTime) - gap
	if gap == 0 {
		lag = 0
	}
	due := p.due + gap
	if oldest := now - min(now, lag); !p.started || due < oldest {
		due = oldest
	}
	p.started = true
	p.due = due
}

// interval returns the time between packets, 0 where there is no limit.
func interval(rate float64) uint64 {
	if !(rate > 0) {
		return 0
	}
	return uint64(min(1e9/rate+0.5, float64(maxInterval)))
}
