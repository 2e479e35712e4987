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
	Min      uint64
	Samples  uint64

	floor, ceiling uint64
	backoff        uint
}

// Init forgets all samples and bounds the timeout.
func (r *RTT) Init(floor, ceiling uint64) {
	*r = RTT{floor: floor, ceiling: ceiling}
}

// Sample takes one measurement.
func (r *RTT) Sample(rtt uint64) {
	r.Samples++
	r.Latest = rtt
	if r.Samples == 1 {
		r.Smoothed, r.Variance, r.Min = rtt, rtt/2, rtt
		return
	}
	r.Min = min(r.Min, rtt)
	diff := max(r.Smoothed, rtt) - min(r.Smoothed, rtt)
	r.Variance += diff/4 - r.Variance/4
	r.Smoothed += rtt/8 - r.Smoothed/8
}

// RTO returns the timeout with the current back-off.
func (r *RTT) RTO() uint64 { return r.rto(r.backoff) }

// previousRTO returns the timeout before it was doubled last.
func (r *RTT) previousRTO() uint64 { return r.rto(max(r.backoff, 1) - 1) }

func (r *RTT) rto(backoff uint) uint64 {
	rto := InitialRTO
	if r.Samples > 0 {
		rto = r.Smoothed + max(answerTime, 4*r.Variance)
	}
	return min(max(rto, r.floor)<<backoff, r.ceiling)
}

// Backoff doubles the timeout until ResetBackoff.
func (r *RTT) Backoff() { r.backoff = min(r.backoff+1, maxBackoff) }

// ResetBackoff ends the back-off: new data was acknowledged.
func (r *RTT) ResetBackoff() { r.backoff = 0 }

// reorderDelay is how long after the round trip of a later packet an earlier
// one still counts as merely reordered (RFC 9002 section 6.1.2).
func (r *RTT) reorderDelay() uint64 {
	return max(max(r.Smoothed, r.Latest)*9/8, clockGranularity)
}
