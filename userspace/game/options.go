package game

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
)

// Logic is what one room does. All calls come from the thread of the worker
// that owns the room at the time, never from within one another. A panic in one
// of them is caught and counted, and the room goes on.
//
// A Logic must not keep anything that belongs to a worker: its room may move.
type Logic interface {
	// Join lets a player in, or refuses it with an error, as a handler does.
	// The player is among Room.Players already. What is sent to it from here
	// follows the answer to its Connect.
	Join(p *Player) error

	// Leave says that a player is no longer among Room.Players. Nothing can be
	// sent to it. It is not called for one that Join refused.
	Leave(p *Player, why Why)

	// Tick is called at Kind.TickRate while there are players.
	Tick(t Tick)
}

// Paced is a Logic that does not need every tick.
type Paced interface {
	// NextTick is when the next tick is wanted, in nanoseconds as Room.Now has
	// them: 0 for as soon as the rate allows, the greatest uint64 for never. It
	// is asked after every call to the room.
	NextTick() uint64
}

// Tick describes one tick of a room.
type Tick struct {
	Number uint64        // counts from 1
	Now    uint64        // when it was due, in nanoseconds
	Step   time.Duration // the interval between ticks

	// Thinning is how many rounds of state to make one of: 1, or 2, 4 or 10 on
	// a node that is overloaded. 20 snapshots per second then become 10, 5, 2.
	Thinning int
}

// Why says how a player came to leave.
type Why uint8

// Reasons of Logic.Leave.
const (
	WhyLeft   Why = iota // it said so, or went to another room
	WhyGone              // its connection ended
	WhyKicked            // Player.Kick
	WhyClosed            // the room was closed
)

// String returns the reason in lower case.
func (w Why) String() string {
	switch w {
	case WhyLeft:
		return "left"
	case WhyGone:
		return "gone"
	case WhyKicked:
		return "kicked"
	case WhyClosed:
		return "closed"
	default:
		return "unknown"
	}
}

// Kind is a sort of room.
type Kind struct {
	// Name is the game that clients ask for in Connect.
	Name string

	// Version of the game's own messages, which has to be the client's. 0 takes
	// any.
	Version uint32

	// New makes the logic of a room and registers its handlers. It is called
	// when the first player arrives.
	New func(*Room) Logic

	// MaxPlayers of one room, at most 65,536. Default 1000.
	MaxPlayers int

	// TickRate is ticks per second. Default 60.
	TickRate int

	// SnapshotRate is snapshots per second, as clients are told. Default 20, or
	// TickRate where that is less.
	SnapshotRate int

	// MaxMessage is how large a message from a client may be in bytes, once it
	// is decompressed. Default 65536.
	MaxMessage int

	// Linger is how long a room without players stays open. Default: not at
	// all.
	Linger time.Duration

	// Limits of what one player may send.
	Limits Limits
}

const maxPlayers = 1 << 16

// Limits bound what one player sends. What is more is refused and does not reach
// the room.
type Limits struct {
	Positions Rate // unreliable messages, but for media. Default 120 per second, 60 at once
	Actions   Rate // PlayerAction. Default 60 per second, 60 at once
	Large     Rate // larger than a packet. Default 1 per second, 4 at once
	Media     Rate // MediaStream. Default 75 per second, 75 at once
	Other     Rate // Default 30 per second, 60 at once
}

// Rate is a token bucket. One that is not positive per second limits nothing,
// except that the zero value stands for the default.
type Rate struct {
	PerSecond float64
	Burst     float64 // how many at once, at least 1. Default: those of a second
}

// Unlimited is a Rate that limits nothing.
var Unlimited = Rate{PerSecond: -1}

// Options describe the game of a server.
type Options struct {
	// Kinds of rooms that there are.
	Kinds []Kind

	// Direct makes the handlers of messages that need no room, by type, for
	// one node. They are called on the node's thread whether or not the client
	// is in a room.
	Direct func() map[uint8]func(c *Client, m session.Message) error

	// MaxRooms of the server. Default 4096.
	MaxRooms int

	// Connects is how often one client may ask for a room, and how often which
	// there are. Default 2 per second, 10 at once.
	Connects Rate

	// Budget is the fraction of a node's time that ticks may take before rooms
	// are to thin out what they send. Default 0.5.
	Budget float64

	// KeepRooms leaves rooms on the node where they were made. Otherwise a busy
	// node hands some to idle ones.
	KeepRooms bool

	// Panicked hears of panics in the code of a room, 0 for handlers without
	// one, after they were caught. It is called from any node's thread.
	Panicked func(room uint32, value any, stack []byte)
}

func (o Options) withDefaults() Options {
	o.MaxRooms = cmp.Or(o.MaxRooms, 4096)
	o.Connects = cmp.Or(o.Connects, Rate{2, 10})
	o.Budget = cmp.Or(o.Budget, 0.5)
	if o.Panicked == nil {
		o.Panicked = func(uint32, any, []byte) {}
	}
	kinds := make([]Kind, len(o.Kinds))
	copy(kinds, o.Kinds)
	for i := range kinds {
		k := &kinds[i]
		k.MaxPlayers = cmp.Or(k.MaxPlayers, 1000)
		k.TickRate = cmp.Or(k.TickRate, 60)
		k.SnapshotRate = cmp.Or(k.SnapshotRate, min(20, k.TickRate))
		k.MaxMessage = cmp.Or(k.MaxMessage, 65536)
		k.Limits.Positions = cmp.Or(k.Limits.Positions, Rate{120, 60})
		k.Limits.Actions = cmp.Or(k.Limits.Actions, Rate{60, 60})
		k.Limits.Large = cmp.Or(k.Limits.Large, Rate{1, 4})
		k.Limits.Media = cmp.Or(k.Limits.Media, Rate{75, 75})
		k.Limits.Other = cmp.Or(k.Limits.Other, Rate{30, 60})
	}
	o.Kinds = kinds
	return o
}

func (o *Options) validate() error {
	names := map[string]bool{}
	for i := range o.Kinds {
		k := &o.Kinds[i]
		switch {
		case message.CheckName(k.Name) != nil || names[k.Name]:
			return fmt.Errorf("kind %q: its name is taken, or none that clients may ask for", k.Name)
		case k.New == nil:
			return fmt.Errorf("kind %q has no logic", k.Name)
		case k.MaxPlayers < 1 || k.MaxPlayers > maxPlayers || k.TickRate < 1 || k.TickRate > 1000 || k.Linger < 0 ||
			k.SnapshotRate < 1 || k.SnapshotRate > k.TickRate || k.MaxMessage < 1:
			return fmt.Errorf("kind %q: %d players, %d ticks and %d snapshots per second, messages of %d bytes, linger %v",
				k.Name, k.MaxPlayers, k.TickRate, k.SnapshotRate, k.MaxMessage, k.Linger)
		}
		names[k.Name] = true
	}
	if o.MaxRooms < 1 || !(o.Budget > 0) {
		return errors.New("no rooms, or no time for them")
	}
	return nil
}
