package e2e

import (
	"slices"
	"testing"

	"github.com/xrudp/xrudp/userspace/session"
)

// committed names a packet in the memory that outlives a server.
type committed struct {
	session uint64
	seq     uint32
}

// crash is what a killed server left.
type crash struct {
	kept map[committed]bool // acknowledged and not released
}

// verdict sums up a record that was found right.
type verdict struct {
	messages, acked  int
	large            int // acknowledged messages larger than a packet
	largeSaved       int // such, handed over by the next process
	largeRepeats     int // such, handed over again
	sessions         int
	repeats, packets int // messages handed over again, and packets they were in
	whole            int // of these packets, handed over completely before
}

type message struct{ client, index uint32 }

// checkRecord compares what the handlers were given with what the clients sent
// and saw acknowledged. crashes[i] lies between epochs i and i+1. With all,
// every message sent has to be there, not only those acknowledged.
func checkRecord(t *testing.T, path string, players []*player, crashes []crash, workers int, all bool) (v verdict) {
	t.Helper()
	entries, err := readRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	c := checker{
		t: t, players: make(map[uint32]*player), crashes: crashes,
		seen: make(map[message]entry), owners: make(map[uint64]owner),
		last: make(map[spot]uint32), lastOf: make(map[spotOf]uint32),
		first: make(map[beginning]uint32), again: make(map[repeat]bool),
	}
	for _, p := range players {
		c.players[p.id] = p
		for _, m := range p.messages {
			at := beginning{p.id, m.session, m.lane}
			if _, ok := c.first[at]; !ok {
				c.first[at] = m.ordinal
			}
		}
	}
	for i := range entries {
		if c.entry(&entries[i]); t.Failed() {
			t.Fatalf("at entry %d of %d: %+v", i, len(entries), entries[i])
		}
	}
	v.messages, v.sessions, v.repeats, v.packets = len(entries), len(c.owners), c.repeats, len(c.again)
	v.largeSaved, v.largeRepeats = c.largeSaved, c.largeRepeats
	for _, p := range players {
		v.acked += p.acked
		v.large += p.largeAcked
		for i, m := range p.messages {
			_, there := c.seen[message{p.id, uint32(i)}]
			switch {
			case there:
			case m.acked:
				t.Errorf("player %d: message %d of session %d, packet %d, was acknowledged and never handed over", p.id, i, m.session, m.seq)
			case all:
				t.Errorf("player %d: message %d of session %d, packet %d, was never handed over", p.id, i, m.session, m.seq)
			default:
				continue
			}
			if t.Failed() && !there {
				return v
			}
		}
	}
	v.whole = c.whole(workers)
	return v
}

type (
	owner struct {
		client  uint32
		session int
	}
	spot struct {
		session uint64
		lane    lane
	}
	spotOf struct {
		spot
		epoch uint32
	}
	beginning struct {
		client  uint32
		session int
		lane    lane
	}
	repeat struct {
		committed
		epoch uint32
	}
)

type checker struct {
	t       *testing.T
	players map[uint32]*player
	crashes []crash
	seen    map[message]entry // newest
	owners  map[uint64]owner
	last    map[spot]uint32   // ordinal handed over for the first time
	lastOf  map[spotOf]uint32 // ordinal handed over by one process
	first   map[beginning]uint32
	again   map[repeat]bool
	earlier map[message]uint32 // first epoch
	repeats int

	largeSaved, largeRepeats int
}

// entry checks one entry against those before it.
func (c *checker) entry(e *entry) {
	p := c.players[e.client]
	if p == nil || int(e.index) >= len(p.messages) {
		c.t.Error("nobody sent this")
		return
	}
	m := p.messages[e.index]
	l := lane{e.mode, e.channel}
	// Which packet brought a chunk that was in two is for the path to decide.
	from := m.seq == e.seq || m.moved && slices.Contains(p.packets[packet{m.session, e.seq}], e.index)
	if m.session == 0 || m.lane != l || m.ordinal != e.ordinal || !from {
		c.t.Errorf("sent as %+v", m)
	}
	of := owner{e.client, m.session}
	if known, ok := c.owners[e.session]; ok && known != of {
		c.t.Errorf("session belongs to %+v, message to %+v", known, of)
	}
	c.owners[e.session] = of
	before, repeated := c.seen[message{e.client, e.index}]
	c.seen[message{e.client, e.index}] = *e
	switch large := m.flying != nil; {
	case repeated:
		c.repeated(e, &before)
		if large {
			c.largeRepeats++
		}
	case large && e.recovered:
		c.largeSaved++
	}
	if l.mode == session.ReliableOrdered {
		c.order(e, spot{e.session, l}, repeated)
	}
}

// repeated checks that what is handed over twice was in flight at a crash.
func (c *checker) repeated(e, before *entry) {
	c.repeats++
	at := committed{e.session, e.seq}
	switch {
	case e.epoch <= before.epoch:
		c.t.Errorf("handed over twice by process %d", e.epoch)
	case !e.recovered || before.session != e.session || before.seq != e.seq:
		c.t.Errorf("handed over before as %+v", *before)
	case !c.crashes[e.epoch-1].kept[at]:
		c.t.Error("handed over again, although it was released before the crash")
	}
	c.again[repeat{at, e.epoch}] = true
	if c.earlier == nil {
		c.earlier = make(map[message]uint32)
	}
	if _, ok := c.earlier[message{e.client, e.index}]; !ok {
		c.earlier[message{e.client, e.index}] = before.epoch
	}
}

// order checks an ordered message. Without a crash there are no gaps.
func (c *checker) order(e *entry, at spot, repeated bool) {
	if last, ok := c.lastOf[spotOf{at, e.epoch}]; ok && e.ordinal <= last {
		c.t.Errorf("follows %d of its channel in the same process", last)
	}
	c.lastOf[spotOf{at, e.epoch}] = e.ordinal
	if repeated {
		return
	}
	last, ok := c.last[at]
	owner := c.owners[e.session]
	due := c.first[beginning{owner.client, owner.session, at.lane}]
	if ok {
		due = last + 1
	}
	if e.ordinal < due || e.ordinal > due && !e.recovered {
		c.t.Errorf("the next of its channel is %d", due)
	}
	c.last[at] = e.ordinal
}

// whole counts packets that came again although every message in them had been
// handed over. A worker releases a packet right after its last message, and
// then what that message set free: at most two are between the two steps.
func (c *checker) whole(workers int) (sum int) {
	perCrash := make(map[uint32]int)
	for r := range c.again {
		owner := c.owners[r.session]
		complete := true
		for _, index := range c.players[owner.client].packets[packet{owner.session, r.seq}] {
			first, ok := c.earlier[message{owner.client, index}]
			complete = complete && ok && first < r.epoch
		}
		if complete {
			perCrash[r.epoch]++
			sum++
		}
	}
	for epoch, n := range perCrash {
		if n > 2*workers {
			c.t.Errorf("%d complete packets came again after crash %d, of %d workers", n, epoch, workers)
		}
	}
	return sum
}
