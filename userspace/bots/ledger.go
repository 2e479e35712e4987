// Package bots plays the game from the outside and checks what the server
// promises: every relayed reliable message arrives at every player once, and
// in the order in which its sender sent it.
//
// All bots of a check live in one process, so they share what to expect.
package bots

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// Stream is one of the ordered sequences of messages that a bot sends.
type Stream uint8

const (
	Chat Stream = iota
	Action
	Plan
	streams
)

// String returns the lower-case name of the stream.
func (s Stream) String() string {
	switch s {
	case Chat:
		return "chat"
	case Action:
		return "action"
	case Plan:
		return "plan"
	default:
		return "unknown"
	}
}

// maxGaps bounds how many missing numbers one inbox remembers for a stream,
// so that a hostile or broken server cannot grow a ledger.
const maxGaps = 1 << 16

// Ledger holds what bots sent and what each of them received. Bots are
// numbered from 0, messages of a stream from 1.
//
// Send and Cancel belong to the goroutine of the sending bot, Inbox's Receive
// to that of the receiving one. Outstanding may be called from anywhere at any
// time, Faults once everything came to rest.
type Ledger struct {
	sent    [][streams]atomic.Uint32
	inboxes []Inbox
}

// Inbox is what one bot received.
type Inbox struct {
	ledger    *Ledger
	next      [][streams]uint32 // by sender: the number due
	missing   map[place]struct{}
	faults    Faults
	delivered atomic.Uint64 // distinct messages
	closed    atomic.Bool
}

type place struct {
	sender int
	stream Stream
	number uint32
}

// Faults counts broken promises. The zero value is a clean record.
type Faults struct {
	Lost       uint64 `json:"lost"`       // never arrived
	Duplicated uint64 `json:"duplicated"` // arrived again
	Reordered  uint64 `json:"reordered"`  // arrived after a later one
	Corrupted  uint64 `json:"corrupted"`  // not what was sent
	Unknown    uint64 `json:"unknown"`    // never sent by anyone
}

// Clean reports whether no promise was broken.
func (f Faults) Clean() bool { return f == Faults{} }

// String lists the counts that are not zero, or says "none".
func (f Faults) String() string {
	var parts []string
	for _, c := range []struct {
		name  string
		count uint64
	}{
		{"lost", f.Lost}, {"duplicated", f.Duplicated}, {"reordered", f.Reordered},
		{"corrupted", f.Corrupted}, {"unknown", f.Unknown},
	} {
		if c.count != 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.count, c.name))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// Add adds the counts of o.
func (f *Faults) Add(o Faults) {
	f.Lost += o.Lost
	f.Duplicated += o.Duplicated
	f.Reordered += o.Reordered
	f.Corrupted += o.Corrupted
	f.Unknown += o.Unknown
}

// NewLedger returns the ledger of n bots. What one sends is expected at all.
func NewLedger(n int) *Ledger {
	l := &Ledger{sent: make([][streams]atomic.Uint32, n), inboxes: make([]Inbox, n)}
	for i := range l.inboxes {
		in := &l.inboxes[i]
		in.ledger = l
		in.missing = make(map[place]struct{})
		in.next = make([][streams]uint32, n)
		for sender := range in.next {
			for s := range in.next[sender] {
				in.next[sender][s] = 1
			}
		}
	}
	return l
}

// Send enters a message that the bot is about to send and returns its number.
func (l *Ledger) Send(bot int, s Stream) uint32 { return l.sent[bot][s].Add(1) }

// Cancel takes back the newest message of Send: it was not sent after all.
func (l *Ledger) Cancel(bot int, s Stream) { l.sent[bot][s].Add(^uint32(0)) }

// Sent is the number of messages entered.
func (l *Ledger) Sent() uint64 {
	var n uint64
	for bot := range l.sent {
		for s := range l.sent[bot] {
			n += uint64(l.sent[bot][s].Load())
		}
	}
	return n
}

// Delivered is the number of distinct messages received, counted at each
// receiver.
func (l *Ledger) Delivered() uint64 {
	var n uint64
	for i := range l.inboxes {
		n += l.inboxes[i].delivered.Load()
	}
	return n
}

// Outstanding is the number of deliveries still expected, at bots that may
// still receive.
func (l *Ledger) Outstanding() uint64 {
	sent := l.Sent()
	var n uint64
	for i := range l.inboxes {
		if in := &l.inboxes[i]; !in.closed.Load() {
			n += sent - min(sent, in.delivered.Load())
		}
	}
	return n
}

// Inbox returns the inbox of a bot.
func (l *Ledger) Inbox(bot int) *Inbox { return &l.inboxes[bot] }

// Faults adds up what went wrong. A message that did not arrive by now counts
// as lost.
func (l *Ledger) Faults() Faults {
	var sum Faults
	for i := range l.inboxes {
		in := &l.inboxes[i]
		sum.Add(in.faults)
		sum.Lost += uint64(len(in.missing))
		for sender := range in.next {
			for s, next := range in.next[sender] {
				if sent := l.sent[sender][s].Load(); sent >= next {
					sum.Lost += uint64(sent - next + 1)
				}
			}
		}
	}
	return sum
}

// Receive enters a message that arrived. intact says whether its content is
// what its sender sends under that number.
func (in *Inbox) Receive(sender int, s Stream, number uint32, intact bool) {
	if sender < 0 || sender >= len(in.next) || s >= streams || number == 0 ||
		number > in.ledger.sent[sender][s].Load() {
		in.faults.Unknown++
		return
	}
	if !intact {
		in.faults.Corrupted++
	}
	due := &in.next[sender][s]
	switch {
	case number == *due:
		*due++
	case number > *due:
		in.skip(sender, s, *due, number)
		*due = number + 1
	default:
		at := place{sender, s, number}
		if _, ok := in.missing[at]; !ok {
			in.faults.Duplicated++
			return
		}
		delete(in.missing, at)
		in.faults.Reordered++
	}
	in.delivered.Add(1)
}

// skip remembers the numbers from due up to number, so that a late arrival can
// be told from a duplicate.
func (in *Inbox) skip(sender int, s Stream, due, number uint32) {
	for n := due; n < number; n++ {
		if len(in.missing) >= maxGaps {
			in.faults.Lost += uint64(number - n)
			return
		}
		in.missing[place{sender, s, n}] = struct{}{}
	}
}

// Close says that the bot receives nothing more, so nobody waits for it. What
// it still misses counts as lost.
func (in *Inbox) Close() { in.closed.Store(true) }
