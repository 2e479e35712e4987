package play

import (
	"time"

	"github.com/xrudp/xrudp/userspace/message"
)

const (
	// claimsKept is how many claims are remembered until the server has judged
	// them: more than a second of the fastest.
	claimsKept = 128

	// claimAgain is when who stands still says so again.
	claimAgain = 500 * time.Millisecond
)

// claims is where the player is, and what it told the server of that.
type claims struct {
	interval    time.Duration
	placed      bool
	at          Vec
	orientation message.Quaternion
	changed     bool // since the last claim

	sequence uint32 // of the newest claim
	first    uint32 // of this entity
	acked    uint32
	sent     [claimsKept]Vec // by sequence
	next     time.Duration
	last     time.Duration
}

// forget goes on for another entity. Sequences run on, so that a late answer does
// not count.
func (c *claims) forget() {
	c.placed, c.changed = false, false
	c.orientation = message.Quaternion{3: 1}
	c.first = c.sequence + 1
}

// place puts the player where the server has it.
func (c *claims) place(at Vec) { c.placed, c.at, c.changed = true, at, true }

func (c *claims) move(at Vec, orientation message.Quaternion) {
	if !c.placed {
		return
	}
	c.changed = c.changed || at != c.at || orientation != c.orientation
	c.at, c.orientation = at, orientation
}

func (c *claims) acknowledged(sequence uint32) {
	if int32(sequence-c.acked) > 0 && int32(sequence-c.sequence) <= 0 {
		c.acked = sequence
	}
}

// due returns the next claim when it is time for one.
func (c *claims) due(now time.Duration) (u message.PositionUpdate, ok bool) {
	if !c.placed || now < c.next {
		return u, false
	}
	if c.next += c.interval; c.next <= now {
		c.next = now + c.interval
	}
	if !c.changed && c.acked == c.sequence && now-c.last < claimAgain {
		return u, false
	}
	c.sequence++
	c.sent[c.sequence%claimsKept] = c.at
	c.changed, c.last = false, now
	return message.PositionUpdate{
		Sequence: c.sequence, X: c.at[0], Y: c.at[1], Z: c.at[2], Orientation: c.orientation,
	}, true
}

// correct takes where the server has the player once it has taken the claim whose
// sequence ends in input. What was claimed since is moved along, as is the player.
func (c *claims) correct(at Vec, input uint16, tolerance float32) (by Vec, ok bool) {
	sequence := c.sequence - uint32(uint16(c.sequence)-input)
	if c.sequence-sequence >= claimsKept || int32(sequence-c.first) < 0 {
		return by, false
	}
	for k := range by {
		by[k] = at[k] - c.sent[sequence%claimsKept][k]
	}
	if length(by) <= float64(tolerance) {
		return by, false
	}
	for s := sequence; int32(c.sequence-s) >= 0; s++ {
		add(&c.sent[s%claimsKept], by)
	}
	add(&c.at, by)
	c.changed = true
	return by, true
}

func add(v *Vec, by Vec) {
	for k := range v {
		v[k] += by[k]
	}
}
