package play

import (
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// Vec is a position: x, y and z.
type Vec = [3]float32

// ID names an entity.
type ID = snapshot.ID

// Conn is what a Player needs of a connection. *client.Conn is one.
type Conn interface {
	SendMessage(client.Outgoing) error
	Events() <-chan client.Event
	Close() error
}

// Options say how a Player of states of type T works. Zero values mean the defaults.
type Options[T any] struct {
	// Schema is how states travel, the same as the server's.
	Schema *snapshot.Schema[T]

	// Position is where an entity is, as at the server.
	Position func(*T) *Vec

	// MaxEntities is how many there may be in a snapshot. Default 256, as at the
	// server.
	MaxEntities int

	// Rate is how many positions are sent per second. Default 30.
	Rate int

	// Tolerance is how far, in units, the server may have the player elsewhere
	// before it is corrected. It is more than what Schema rounds off. Default 0.1.
	Tolerance float32

	// Delay is how far the view is behind the server at least; it grows as the
	// network demands. Default 100 ms.
	Delay time.Duration

	// Extrapolation is how far entities go on without news. Default 50 ms.
	Extrapolation time.Duration

	// Jump is the speed, in units per second, above which an entity was put elsewhere
	// by the server and did not go there: it is not seen on the way. Default none.
	Jump float64

	// MaxMessage is how large a message may be once it is decompressed, in
	// bytes. Default message.MaxPayload.
	MaxMessage int

	// MaxWaiting bounds the messages that wait for Update. Beyond it unreliable
	// ones are lost, and a reliable one ends the connection. Default 16,384.
	MaxWaiting int
}

func (o Options[T]) withDefaults() Options[T] {
	if o.Schema == nil || o.Position == nil {
		panic("play: no schema, or no positions")
	}
	if o.Rate <= 0 {
		o.Rate = 30
	}
	if !(o.Tolerance > 0) {
		o.Tolerance = 0.1
	}
	if o.Delay <= 0 {
		o.Delay = 100 * time.Millisecond
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = message.MaxPayload
	}
	if o.MaxWaiting <= 0 {
		o.MaxWaiting = 16384
	}
	return o
}

// Join says which room a player wants to be in.
type Join struct {
	Game    string // name of the kind of room
	Version uint32 // of the game's own messages
	Name    string // what others see
	Room    uint32 // 0 for any with a seat
	Token   []byte // what proves who the player is, for the game
}

// Event is something that happened to the player.
type Event struct {
	Kind EventKind

	// Of Joined.
	Player, Room uint32

	// Of Refused and Left. Type and Number are of the message that was refused.
	Code   message.Error
	Text   string
	Type   uint8
	Number uint32

	// By is how far the player was put elsewhere. Of Corrected.
	By Vec

	// Of Disconnected: an error of client, or ErrOverrun.
	Err error
}

// EventKind says what an Event is about.
type EventKind uint8

// Kinds of events.
const (
	Joined       EventKind = iota + 1 // the player is in a room
	Refused                           // a message came to nothing; of TypeConnect: no room
	Left                              // the server took the player out of its room
	Assigned                          // the player moves another entity than before, or none
	Placed                            // the player's entity is there: At has its position
	Corrected                         // the server has the player elsewhere
	Disconnected                      // the connection ended, and the player is in no room
	Reconnected                       // it is there again; a player who was in a room asks for it anew
)

// String returns the kind in lower case.
func (k EventKind) String() string {
	switch k {
	case Joined:
		return "joined"
	case Refused:
		return "refused"
	case Left:
		return "left"
	case Assigned:
		return "assigned"
	case Placed:
		return "placed"
	case Corrected:
		return "corrected"
	case Disconnected:
		return "disconnected"
	case Reconnected:
		return "reconnected"
	default:
		return "unknown"
	}
}

// Stats count what a Player did since it was made.
type Stats struct {
	Messages         uint64 // received
	Bytes            uint64 // of their payloads
	Snapshots        uint64 // taken
	SnapshotBytes    uint64 // of all payloads with snapshots
	SnapshotsLate    uint64 // of no use any more, or of another room
	SnapshotsLost    uint64 // changes of something that is not here
	SnapshotsRefused uint64 // malformed, or too large
	Malformed        uint64 // other messages that could not be read
	Unknown          uint64 // of types without a handler
	Dropped          uint64 // since too many waited for Update
	Positions        uint64 // sent
	Corrections      uint64
	PartsRefused     uint64 // of what is large, that do not fit the others
}
