package snapshot

import (
	"slices"
	"time"
)

const (
	clockSamples = 8

	// clockWander is what clocks drift apart by, 1 in this many: old samples
	// count as that much less certain.
	clockWander = 5000

	// clockSlew is how fast an error is worked off, 1 in this many.
	clockSlew = 20

	// clockStep is the error from which on the clock is not slewed.
	clockStep = 250 * time.Millisecond
)

// Clock tells a client the server's time from answers to its requests. It
// believes the answer of the least round trip among the newest eight, which
// waited least on its way, as the clock filter of RFC 5905, section 10 does,
// and never runs backwards. The zero value is ready. It belongs to one
// goroutine.
//
// Times of the client are of any clock that does not jump; the server's are
// those of Schema.Time.
type Clock struct {
	samples [clockSamples]clockSample
	taken   int

	target time.Duration // server's time less the client's, as far as is known
	offset time.Duration // the same, as it is told
	local  time.Duration // when it was told last
}

type clockSample struct {
	offset, trip, at time.Duration
}

// Sample takes an answer: when the request left and the answer came, by the
// client's clock, and the server's time in between. It reports false, and
// ignores the sample, when the answer came before the request.
func (c *Clock) Sample(sent, received, server time.Duration) bool {
	trip := received - sent
	if trip < 0 {
		return false
	}
	c.samples[c.taken%clockSamples] = clockSample{server - sent - trip/2, trip, received}
	c.taken++
	best, least := 0, time.Duration(-1)
	for i, s := range c.samples[:min(c.taken, clockSamples)] {
		if d := s.trip/2 + (received-s.at)/clockWander; least < 0 || d < least {
			best, least = i, d
		}
	}
	c.target = c.samples[best].offset
	if c.taken == 1 {
		c.offset, c.local = c.target, received
	}
	return true
}

// RoundTrip returns the least of the newest samples, 0 when there is none.
func (c *Clock) RoundTrip() time.Duration {
	var least time.Duration
	for i, s := range c.samples[:min(c.taken, clockSamples)] {
		if i == 0 || s.trip < least {
			least = s.trip
		}
	}
	return least
}

// Now returns the server's time, and whether it is known. It may run a
// twentieth too fast or too slow to make up for what it was off by. What it was
// too late by a quarter of a second or more it makes up at once, and what it
// was too early by as much it waits for.
func (c *Clock) Now(local time.Duration) (server time.Duration, ok bool) {
	if c.taken == 0 {
		return 0, false
	}
	local = max(local, c.local)
	passed := local - c.local
	c.local = local
	wrong := c.target - c.offset
	switch slew := passed / clockSlew; {
	case wrong >= clockStep:
		c.offset = c.target
	case wrong <= -clockStep:
		c.offset -= min(-wrong, passed)
	default:
		c.offset += min(max(wrong, -slew), slew)
	}
	return local + c.offset, true
}

// Delay suggests how far views should be behind the server's time, so that the
// snapshots on both sides of what is shown are mostly there. The zero value is
// ready. It belongs to one goroutine.
type Delay struct {
	newest  time.Duration
	started bool
	waits   [64]time.Duration
	sorted  [64]time.Duration
	taken   int
}

// Arrived takes the time of a snapshot and when it came, by a Clock. Those that
// others overtook do not count.
func (d *Delay) Arrived(snapshot, now time.Duration) {
	if d.started && snapshot <= d.newest {
		return
	}
	if d.started {
		// Until this moment the former one was the newest.
		d.waits[d.taken%len(d.waits)] = now - d.newest
		d.taken++
	}
	d.newest, d.started = snapshot, true
}

// Suggest returns a delay within which 19 of 20 snapshots came before they
// were needed, at most half a second, and ok when there were enough to say.
func (d *Delay) Suggest() (delay time.Duration, ok bool) {
	n := min(d.taken, len(d.waits))
	if n < len(d.waits)/2 {
		return 0, false
	}
	s := d.sorted[:copy(d.sorted[:], d.waits[:n])]
	slices.Sort(s)
	return min(max(s[n-1-n/20], 0), 500*time.Millisecond), true
}
