package play

import (
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

const (
	clockFast   = 100 * time.Millisecond // between the first requests
	clockSlow   = time.Second
	clockEnough = 8 // answers, until it asks slowly
)

// clock keeps the server's time.
type clock struct {
	snapshot.Clock
	limit time.Duration // times of ticks begin anew there
	next  time.Duration
	taken int
}

func (c *clock) forget() { c.Clock, c.taken, c.next = snapshot.Clock{}, 0, 0 }

// due returns what to ask when it is time to.
func (c *clock) due(now time.Duration) (sent uint64, ok bool) {
	if now < c.next {
		return 0, false
	}
	c.next = now + clockFast
	if c.taken >= clockEnough {
		c.next = now + clockSlow
	}
	return uint64(now / time.Microsecond), true
}

func (c *clock) answered(a message.ClockAnswer, arrival time.Duration) {
	const most = uint64(1) << 53 // µs that fit a time.Duration
	if a.Answered >= most || a.Sent > uint64(arrival/time.Microsecond) {
		return
	}
	server := time.Duration(a.Received+(a.Answered-a.Received)/2) * time.Microsecond
	if c.Sample(time.Duration(a.Sent)*time.Microsecond, arrival, server) {
		c.taken++
	}
}

// at is the server's time as snapshots count it.
func (c *clock) at(now time.Duration) (time.Duration, bool) {
	t, ok := c.Now(now)
	if !ok {
		return 0, false
	}
	if t %= c.limit; t < 0 {
		t += c.limit
	}
	return t, true
}
