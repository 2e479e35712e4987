package congestion

// rounds tells round trips apart: one ends when a packet that was sent after
// its beginning is acknowledged.
type rounds struct {
	end uint64 // Delivered when it began
}

// over reports whether a ends a round, and begins the next.
func (r *rounds) over(a *Ack) bool {
	if a.PriorDelivered < r.end {
		return false
	}
	r.end = a.Delivered
	return true
}

// lowest is the least sample of the newest one to two spans. A round trip that
// is long throughout shows a queue; one that is long at times shows jitter.
type lowest struct {
	current, before uint64 // 0 for none
	began           uint64
	samples         int // of current
}

// leastSamples is how many samples a span has at least, however long it takes.
const leastSamples = 8

func (l *lowest) add(now, sample, span uint64) {
	if l.samples >= leastSamples && now-l.began >= span {
		l.before, l.current, l.samples = l.current, 0, 0
	}
	if l.samples == 0 {
		l.current, l.began = sample, now
	}
	l.current = min(l.current, sample)
	l.samples++
}

// value returns the least sample, 0 before there are enough.
func (l *lowest) value() uint64 {
	if l.before == 0 {
		if l.samples < leastSamples {
			return 0
		}
		return l.current
	}
	return min(l.current, l.before)
}

// recent returns the least sample of the span that is not over, or of the one
// before where that has too few.
func (l *lowest) recent() uint64 {
	if l.samples < leastSamples {
		return l.before
	}
	return l.current
}

// lossCount estimates the share of packets that get lost.
type lossCount struct {
	lost, all float64
}

// memory is how many packets a lossCount looks back on: enough to tell 1% of
// loss from 2%.
const memory = 1024

func (c *lossCount) add(lost, arrived int) {
	c.lost += float64(lost)
	c.all += float64(lost + arrived)
	if c.all > memory {
		c.lost *= memory / c.all
		c.all = memory
	}
}

func (c *lossCount) share() float64 {
	if c.all == 0 {
		return 0
	}
	return c.lost / c.all
}
