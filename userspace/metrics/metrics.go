// Package metrics counts what workers do, cheaply enough for the data path:
// one writer per set, readers anywhere, no allocation and no lock.
package metrics

import "sync/atomic"

// cacheLine is twice the line size, against adjacent-line prefetch.
const cacheLine = 128

// Counter names one number in a Set.
type Counter uint8

// What a worker counts. Names are labels in status output.
const (
	Passes             Counter = iota // of the run loop
	Sleeps                            // passes that ended in epoll_wait
	Commits                           // reliable packets taken from commit rings
	Datagrams                         // datagrams received, all lanes
	Gated                             // of these, judged by the Go gate
	GateDrops                         // of these, dropped by the Go gate
	Ungated                           // came around the gate in the kernel, and refused
	Strays                            // datagrams that belong to no session here
	HellosMalformed                   // HELLO with options that make no sense
	HellosSpent                       // late copy of a HELLO that opened a session
	FlowUpdates                       // dirty bits handled
	Transmitted                       // datagrams sent
	BatchesIn                         // receives that brought something
	BatchesOut                        // flushes that sent something
	Unsent                            // datagrams not sent for want of a buffer
	TransportErrors                   // receive or flush failures
	SessionsOpened                    // by a handshake
	SessionsRefused                   // HELLO answered with "server full"
	SessionsClosed                    // for whatever reason
	SessionsSuperseded                // replaced by a client that started anew
	SessionsRecovered                 // found in memory left by a former process
	Messages                          // delivered to the handler
	MailSent                          // to other workers
	MailReceived                      // from other workers
	MailWaited                        // found no room at first
	MailDropped                       // found no room and need not arrive
	Ticks                             // of the application
	Rejected                          // application messages refused as malformed
	Violations                        // positions refused or clamped
	RefusedTypes                      // application messages of unknown types
	RefusedState                      // that make no sense now, such as outside a room
	RefusedRate                       // more than a player may send
	RefusedJoins                      // no room, or no place in it
	RefusedByGame                     // by the rules of a game
	RefusedInternal                   // since their handler panicked
	GamePanics                        // caught in the code of games
	RoomsOpened                       // by this node
	RoomsClosed                       // at this node
	RoomsMoved                        // to another node
	LettersForwarded                  // to a room that moved
	TicksLost                         // of rooms, too late to be made up for
	Transfers                         // of large data to players, begun
	TransfersStalled                  // given up since the player confirmed nothing
	FramesRelayed                     // of media, to each who got one
	FramesDropped                     // of media, to nobody: too many, late, or after one that is missing
	FramesHeld                        // of video, from each who lacks those before
	counters
)

var names = [counters]string{
	Passes:             "passes",
	Sleeps:             "sleeps",
	Commits:            "commits",
	Datagrams:          "datagrams",
	Gated:              "gated",
	GateDrops:          "gate_drops",
	Ungated:            "ungated",
	Strays:             "strays",
	HellosMalformed:    "hellos_malformed",
	HellosSpent:        "hellos_spent",
	FlowUpdates:        "flow_updates",
	Transmitted:        "transmitted",
	BatchesIn:          "batches_in",
	BatchesOut:         "batches_out",
	Unsent:             "unsent",
	TransportErrors:    "transport_errors",
	SessionsOpened:     "sessions_opened",
	SessionsRefused:    "sessions_refused",
	SessionsClosed:     "sessions_closed",
	SessionsSuperseded: "sessions_superseded",
	SessionsRecovered:  "sessions_recovered",
	Messages:           "messages",
	MailSent:           "mail_sent",
	MailReceived:       "mail_received",
	MailWaited:         "mail_waited",
	MailDropped:        "mail_dropped",
	Ticks:              "ticks",
	Rejected:           "rejected",
	Violations:         "violations",
	RefusedTypes:       "refused_types",
	RefusedState:       "refused_state",
	RefusedRate:        "refused_rate",
	RefusedJoins:       "refused_joins",
	RefusedByGame:      "refused_by_game",
	RefusedInternal:    "refused_internal",
	GamePanics:         "game_panics",
	RoomsOpened:        "rooms_opened",
	RoomsClosed:        "rooms_closed",
	RoomsMoved:         "rooms_moved",
	LettersForwarded:   "letters_forwarded",
	TicksLost:          "ticks_lost",
	Transfers:          "transfers",
	TransfersStalled:   "transfers_stalled",
	FramesRelayed:      "frames_relayed",
	FramesDropped:      "frames_dropped",
	FramesHeld:         "frames_held",
}

// String is the counter's label.
func (c Counter) String() string { return names[c] }

// Set is the counters of one worker and its distributions of times.
// Only that worker may call Add and Record; anyone may read.
type Set struct {
	_      [cacheLine]byte
	values [counters]atomic.Uint64
	_      [cacheLine]byte

	// RTT holds round-trip times in microseconds.
	RTT Histogram
	_   [cacheLine]byte

	// Tick holds how long ticks of rooms took, in nanoseconds.
	Tick Histogram
	_    [cacheLine]byte
}

// Add increases a counter. A plain read and an atomic store are enough with a
// single writer, and cheaper than an atomic addition.
func (s *Set) Add(c Counter, n uint64) {
	s.values[c].Store(s.values[c].Load() + n)
}

// Get reads a counter.
func (s *Set) Get(c Counter) uint64 { return s.values[c].Load() }

// Snapshot is a copy of one or more sets. The zero value is empty.
type Snapshot struct {
	Values [counters]uint64
	RTT    Distribution
	Tick   Distribution
}

// Collect adds the present content of set to the snapshot. Counters are read
// one by one: each is right, but they are not of the same instant.
func (s *Snapshot) Collect(set *Set) {
	for i := range s.Values {
		s.Values[i] += set.values[i].Load()
	}
	s.RTT.Collect(&set.RTT)
	s.Tick.Collect(&set.Tick)
}

// Since is what happened between before and s.
func (s *Snapshot) Since(before *Snapshot) Snapshot {
	d := *s
	for i := range d.Values {
		d.Values[i] -= before.Values[i]
	}
	d.RTT.Subtract(&before.RTT)
	d.Tick.Subtract(&before.Tick)
	return d
}

// Get reads a counter.
func (s *Snapshot) Get(c Counter) uint64 { return s.Values[c] }

// Each calls f for every counter, in a fixed order.
func (s *Snapshot) Each(f func(c Counter, value uint64)) {
	for i, v := range s.Values {
		f(Counter(i), v)
	}
}
