package message

import (
	"hash/crc32"

	"github.com/tinylib/msgp/msgp"
)

//go:generate go tool msgp -io=false -tests=false -o messages_gen.go

// Structs are maps with string keys. What a reader does not know it skips, and what a
// sender left out is zero.
//
//msgp:noduplicates
//msgp:replace Action with:uint8
//msgp:replace Media with:uint8
//msgp:replace Error with:uint8

// Limits of single fields. The tags below repeat those of binary data.
const (
	MaxNote     = 256     // bytes of a text for people
	MaxToken    = 2048    // bytes
	MaxData     = 1024    // bytes of data of a PlayerAction
	MaxArgs     = 65536   // bytes of the arguments of a ReliableCommand
	MaxTransfer = 4193280 // bytes of one LargeDataTransfer
	MaxMedia    = 262144  // bytes of one MediaStream
	MaxAsk      = 8192    // bytes of a Connect, Disconnect or ListRooms that a server takes
	MaxRooms    = 256     // rooms in one Rooms
)

// Connect is the first message of a client.
type Connect struct {
	Game    string `msg:"game"`    // name of the game
	Version uint32 `msg:"version"` // of the game's own messages
	Name    string `msg:"name"`    // what the others see
	Room    uint32 `msg:"room"`
	// Token proves who the player is; what is in it the game decides. It aliases the
	// payload.
	Token []byte `msg:"token,omitempty,zerocopy,limit=2048"`
}

// Connected answers Connect.
type Connected struct {
	Player    uint32 `msg:"player"` // identifies the client in the room
	Room      uint32 `msg:"room"`
	Ticks     uint16 `msg:"ticks"`     // per second
	Snapshots uint16 `msg:"snapshots"` // per second
	Time      uint64 `msg:"time"`      // µs of the server's clock
}

// Disconnect says that the sender leaves, or that the receiver has to.
type Disconnect struct {
	Code Error  `msg:"code"` // 0 when nothing is wrong
	Text string `msg:"text,omitempty"`
}

// PlayerAction is something that a player wants to do.
type PlayerAction struct {
	Number uint32 `msg:"number"` // the sender's own running number, wraps
	Action Action `msg:"action"`
	Time   uint32 `msg:"time"` // ms of the server's clock of what the player saw, modulo 2^32
	Target uint32 `msg:"target,omitempty"`
	Item   uint32 `msg:"item,omitempty"`
	X      Float  `msg:"x"`
	Y      Float  `msg:"y"`
	Z      Float  `msg:"z"`
	// Data is the game's own. It aliases the payload.
	Data []byte `msg:"data,omitempty,zerocopy,limit=1024"`
}

// ReliableCommand is a command by its name, with whatever arguments it takes.
type ReliableCommand struct {
	Number  uint32 `msg:"number"` // the sender's own running number, wraps
	Command string `msg:"command"`
	// Args is one MessagePack value, or empty, which stands for nil.
	Args msgp.Raw `msg:"args"`
}

// LargeDataTransfer is a part of something large, such as a map or a replay. One that
// the receiver sends back, without data, confirms that it has Offset bytes of the whole.
type LargeDataTransfer struct {
	ID     uint32 `msg:"id"`   // of the whole, the sender's choice
	Name   string `msg:"name"` // not a path: receivers do not open files by it
	Size   uint64 `msg:"size"` // bytes of the whole
	Offset uint64 `msg:"offset"`
	Sum    uint32 `msg:"sum"` // CRC-32C (Castagnoli) of Data
	// Data aliases the payload.
	Data []byte `msg:"data,zerocopy,limit=4193280"`
}

// MediaStream is one frame of video or audio.
type MediaStream struct {
	Stream uint16 `msg:"stream"`
	Media  Media  `msg:"media"`
	Number uint32 `msg:"number"` // of the frame in its stream, wraps
	Time   uint64 `msg:"time"`   // µs since the stream began
	// Data aliases the payload.
	Data []byte `msg:"data,zerocopy,limit=262144"`
}

// ListRooms asks which rooms of a game there are.
type ListRooms struct {
	Game string `msg:"game"`
}

// Rooms answers ListRooms.
type Rooms struct {
	Game  string     `msg:"game"`
	Rooms []RoomInfo `msg:"rooms,limit=256"`
}

// RoomInfo is one room that is for everybody.
type RoomInfo struct {
	Room    uint32 `msg:"room"`    // as Connect has it
	Players uint32 `msg:"players"` // those on their way there are counted
	Places  uint32 `msg:"places"`  // for players, in all
}

// Refused tells the sender of a message why nothing came of it.
type Refused struct {
	Code   Error  `msg:"code"`
	Type   uint8  `msg:"type"`   // of the message
	Number uint32 `msg:"number"` // of the message, where it has one
	Text   string `msg:"text,omitempty"`
}

// Kind is the type of the message.
func (*Connect) Kind() uint8 { return TypeConnect }

// Kind is the type of the message.
func (*Connected) Kind() uint8 { return TypeConnected }

// Kind is the type of the message.
func (*Disconnect) Kind() uint8 { return TypeDisconnect }

// Kind is the type of the message.
func (*PlayerAction) Kind() uint8 { return TypePlayerAction }

// Kind is the type of the message.
func (*ReliableCommand) Kind() uint8 { return TypeReliableCommand }

// Kind is the type of the message.
func (*LargeDataTransfer) Kind() uint8 { return TypeLargeDataTransfer }

// Kind is the type of the message.
func (*MediaStream) Kind() uint8 { return TypeMediaStream }

// Kind is the type of the message.
func (*ListRooms) Kind() uint8 { return TypeListRooms }

// Kind is the type of the message.
func (*Rooms) Kind() uint8 { return TypeRooms }

// Kind is the type of the message.
func (*Refused) Kind() uint8 { return TypeRefused }

// Check implements Checker.
func (m *Connect) Check() error {
	if err := CheckName(m.Game); err != nil {
		return err
	}
	if len(m.Token) > MaxToken {
		return ErrTooLarge
	}
	return CheckName(m.Name)
}

// Check implements Checker.
func (m *Connected) Check() error {
	if m.Ticks == 0 || m.Snapshots == 0 {
		return ErrField
	}
	return nil
}

// Check implements Checker.
func (m *Disconnect) Check() error { return checkNote(m.Text) }

// Check implements Checker.
func (m *PlayerAction) Check() error {
	if m.Action < Move || m.Action > Cast {
		return ErrField
	}
	if len(m.Data) > MaxData {
		return ErrTooLarge
	}
	return nil
}

// Check implements Checker.
func (m *ReliableCommand) Check() error {
	if len(m.Args) > MaxArgs {
		return ErrTooLarge
	}
	return CheckName(m.Command)
}

// Check implements Checker.
func (m *LargeDataTransfer) Check() error {
	if len(m.Data) > MaxTransfer {
		return ErrTooLarge
	}
	if m.Offset > m.Size || uint64(len(m.Data)) > m.Size-m.Offset {
		return ErrNumber
	}
	return CheckName(m.Name)
}

// Checksum is what Sum should be.
func (m *LargeDataTransfer) Checksum() uint32 { return crc32.Checksum(m.Data, castagnoli) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Check implements Checker.
func (m *MediaStream) Check() error {
	if m.Media < KeyFrame || m.Media > Audio {
		return ErrField
	}
	if len(m.Data) > MaxMedia {
		return ErrTooLarge
	}
	return nil
}

// Check implements Checker.
func (m *ListRooms) Check() error { return CheckName(m.Game) }

// Check implements Checker.
func (m *Rooms) Check() error {
	if len(m.Rooms) > MaxRooms {
		return ErrTooLarge
	}
	return CheckName(m.Game)
}

// Check implements Checker.
func (m *Refused) Check() error {
	if m.Code == 0 {
		return ErrField
	}
	return checkNote(m.Text)
}

func checkNote(s string) error {
	if len(s) > MaxNote {
		return ErrTooLarge
	}
	return nil
}
