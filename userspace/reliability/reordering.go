package reliability

const (
	// packetThreshold is how many transmissions after a packet must have
	// arrived before it is lost, where no reordering was seen (RFC 9002
	// section 6.1.1).
	packetThreshold = 3
	// maxThreshold bounds it where there was.
	maxThreshold = 256
	// maxDelaySteps bounds the reordering delay, in quarters of a round trip.
	maxDelaySteps = 16
	// reorderingMemory is how many congestion events without a spurious loss
	// it takes for reordering to be forgotten (RFC 8985 section 6.2.4).
	reorderingMemory = 16
)

// reordering is what a path was seen to do to the order of packets, and how
// patient that makes a Sender.
type reordering struct {
	packets uint64 // a packet that so many overtook is lost
	steps   uint64 // of the delay
	calm    int    // congestion events since the last spurious loss
}

func (r *reordering) reset() { *r = reordering{packets: packetThreshold, steps: 1} }

// see notes that a packet came after others that were sent up to distance
// transmissions later.
func (r *reordering) see(distance uint64) {
	r.packets = min(max(r.packets, distance+1), maxThreshold)
}

// grow notes that one was taken for lost too soon.
func (r *reordering) grow(distance uint64) {
	r.see(distance)
	r.steps = min(r.steps+1, maxDelaySteps)
	r.calm = 0
}

// forget counts a congestion event.
func (r *reordering) forget() {
	r.calm++
	if r.calm >= reorderingMemory {
		r.reset()
	}
}

// delay returns how long after the round trip of a later packet an earlier one
// still counts as merely late: a quarter of the least round trip for each step,
// and no more than a round trip (RFC 8985 section 6.2).
func (r *reordering) delay(rtt *RTT) uint64 {
	return max(min(r.steps*rtt.Min/4, rtt.Smoothed), clockGranularity)
}

// episode is a congestion event: the losses of one flight.
type episode struct {
	end  uint64 // transmissions up to this one belong to the newest flight with losses
	open bool   // the controller gave way, and that can be undone
	lost int    // since then, less those that turned out to have arrived
}
