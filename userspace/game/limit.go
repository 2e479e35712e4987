package game

import (
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// bucket is what is left of a Rate.
type bucket struct {
	spent float64
	at    uint64
}

// take reports whether one more is within the rate.
func (b *bucket) take(r Rate, now uint64) bool { return b.takeSome(r, now, 1) }

// takeSome reports whether some more, all of them, are within the rate.
func (b *bucket) takeSome(r Rate, now uint64, n float64) bool {
	if r.PerSecond <= 0 {
		return true
	}
	burst := r.Burst
	if burst == 0 {
		burst = r.PerSecond
	}
	b.spent = max(0, b.spent-float64(now-b.at)/1e9*r.PerSecond)
	b.at = now
	if b.spent+n > max(burst, 1) {
		return false
	}
	b.spent += n
	return true
}

// class is what a message counts as.
type class uint8

const (
	positions class = iota
	actions
	large
	media
	other
	classes
)

func classOf(m *session.Message) class {
	switch {
	case len(m.Payload) > wire.MaxPayload:
		return large
	case m.Type == message.TypeMediaStream:
		return media
	case !m.Mode.Reliable():
		return positions
	case m.Type == message.TypePlayerAction:
		return actions
	default:
		return other
	}
}

func (l *Limits) of(c class) Rate {
	switch c {
	case positions:
		return l.Positions
	case actions:
		return l.Actions
	case large:
		return l.Large
	case media:
		return l.Media
	default:
		return l.Other
	}
}

// refusals is how often a client is told of what it does wrong.
var refusals = Rate{PerSecond: 10, Burst: 20}
