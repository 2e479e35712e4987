package reliability

import "time"

// Bounds on what a round-trip estimate makes of its samples.
const (
	// InitialRTO applies before the first sample. RFC 6298 says one second;
	// players wait less, and one needless packet costs little.
	InitialRTO = uint64(300 * time.Millisecond)
	// maxBackoff keeps the shift in RTO from overflowing.
	maxBackoff = 10
	// clockGranularity is the smallest reordering delay that counts.
	clockGranularity = uint64(time.Millisecond)
	// minLifetime is how long the least round trip counts at most, and half of it
	// at least: routes change.
	minLifetime = uint64(10 * time.Second)
	// answerTime is what the timeout leaves beyond the round trip at least: a
	// client that looks at its socket once per frame of 1/60 s takes so long
	// to answer, and its acknowledgements do not count the wait as round trip.
	answerTime = uint64(20 * time.Millisecond)
)

// RTT estimates the round trip and derives the retransmission timeout from it
// as RFC 6298 does. All durations are nanoseconds.
//
// Init sets the bounds; the zero value has none.
type RTT struct {
	Smoothed uint64
	Variance uint64
	Latest   uint64
	Min      uint64 // of about the last ten seconds
	Samples  uint64

	recentMin uint64 // since minSince
	minSince  uint64

	deviation uint64 // smoothed from sample to sample
	widest    uint64 // of it, since variedAt
	variedAt  uint64

	floor, ceiling uint64
	backoff        uint
}

// Init forgets all samples and bounds the timeout.
func (r *RTT) Init(floor, ceiling uint64) {
	*r = RTT{floor: floor, ceiling: ceiling}
}

// Cap lowers the ceiling of the timeout.
func (r *RTT) Cap(ceiling uint64) { r.ceiling = min(r.ceiling, ceiling) }

// Sample takes one measurement, made now.
func (r *RTT) Sample(rtt, now uint64) {
	r.Samples++
	r.Latest = rtt
	if r.Samples == 1 {
		r.Smoothed, r.Variance = rtt, rtt/2
		r.deviation, r.widest, r.variedAt = rtt/2, rtt/2, now
		r.Min, r.recentMin, r.minSince = rtt, rtt, now
		return
	}
	r.sampleMin(rtt, now)
	r.sampleVariance(max(r.Smoothed, rtt)-min(r.Smoothed, rtt), now)
	r.Smoothed += rtt/8 - r.Smoothed/8
}

// sampleVariance follows a growing deviation at once and a shrinking one once
// per round trip: RFC 6298 has one sample per round trip in mind, and with one
// per packet the variance would forget within a fraction of it (RFC 7323
// appendix G).
func (r *RTT) sampleVariance(diff, now uint64) {
	r.deviation += diff/4 - r.deviation/4
	r.widest = max(r.widest, r.deviation)
	r.Variance = max(r.Variance, r.widest)
	if now-min(now, r.variedAt) >= r.Smoothed {
		r.Variance -= (r.Variance - r.widest) / 2
		r.widest, r.variedAt = r.deviation, now
	}
}

// sampleMin keeps the least sample of this half of minLifetime and the one
// before.
func (r *RTT) sampleMin(rtt, now uint64) {
	r.recentMin = min(r.recentMin, rtt)
	r.Min = min(r.Min, rtt)
	if now-min(now, r.minSince) >= minLifetime/2 {
		r.Min = r.recentMin
		r.recentMin, r.minSince = rtt, now
	}
}

// RTO returns the timeout with the current back-off.
func (r *RTT) RTO() uint64 {
	rto := InitialRTO
	if r.Samples > 0 {
		rto = r.Smoothed + max(answerTime, 4*r.Variance)
	}
	return min(max(rto, r.floor)<<r.backoff, r.ceiling)
}

// Backoff doubles the timeout until ResetBackoff.
func (r *RTT) Backoff() { r.backoff = min(r.backoff+1, maxBackoff) }

// ResetBackoff ends the back-off: new data was acknowledged.
func (r *RTT) ResetBackoff() { r.backoff = 0 }
