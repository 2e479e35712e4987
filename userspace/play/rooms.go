package play

import (
	"fmt"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/message"
)

// ListRooms asks which rooms of a game there are for everybody, from within one as
// well as before Join. The answer comes to a handler of message.Rooms, or is the event
// Refused with the type message.TypeListRooms. It may be a quarter of a second old.
//
//	play.On(p, func(m *message.Rooms) error { ... })
func (p *Player[T]) ListRooms(game string) error {
	if err := p.Send(client.ReliableOrdered, channelRoom, &message.ListRooms{Game: game}); err != nil {
		return fmt.Errorf("list rooms: %w", err)
	}
	return nil
}
