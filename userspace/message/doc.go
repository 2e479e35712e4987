// Package message holds what server and clients say to each other about a game:
// the payloads of the transport's messages. SCHEMA.md describes them for other
// languages; this package is the implementation.
//
// What is sent many times per second has a fixed layout and is read in place.
// Everything else is MessagePack, and games add types of their own to it. Reading
// trusts nothing: whatever a payload holds, it costs a bounded amount of memory and
// time, and what is wrong with it has a number, an Error.
package message

// Types of messages. The first byte of every payload is the same number as the type
// in the header of the transport's message.
const (
	TypePositionUpdate    = 0x01 // fixed
	TypeConnect           = 0x02
	TypeDisconnect        = 0x03
	TypePlayerAction      = 0x04
	TypeReliableCommand   = 0x05
	TypeLargeDataTransfer = 0x06
	TypeMediaStream       = 0x07
	TypeGameStateAck      = 0x08 // fixed
	TypeClockRequest      = 0x09 // fixed
	TypeListRooms         = 0x0a

	TypePositionAck   = 0x81 // fixed
	TypeConnected     = 0x82
	TypeAssigned      = 0x83 // fixed
	TypeGameStateSync = 0x88 // fixed
	TypeClockAnswer   = 0x89 // fixed
	TypeRooms         = 0x8a
	TypeRefused       = 0x8f
)

// OfGame tells whether messages of type typ are a game's own.
func OfGame(typ uint8) bool {
	return typ >= 0x10 && typ <= 0x6f || typ >= 0x90 && typ <= 0xdf
}

// fixed tells whether payloads of type typ have a fixed layout. All others are an
// encoding byte and MessagePack.
func fixed(typ uint8) bool {
	switch typ {
	case TypePositionUpdate, TypePositionAck, TypeGameStateAck, TypeGameStateSync,
		TypeAssigned, TypeClockRequest, TypeClockAnswer:
		return true
	}
	return false
}
