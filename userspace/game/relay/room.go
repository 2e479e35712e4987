package relay

import (
	"math"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/session"
)

// Name is what clients ask for in Connect.
const Name = "relay"

// TickRate is how many times per second the room passes on what was published.
const TickRate = 30

// maxRound is how many bytes of blocks one tick carries: less than a session
// keeps of what its client did not get yet.
const maxRound = 224 << 10

// Kind is the kind of room, for the options of a server.
func Kind() game.Kind {
	return game.Kind{Name: Name, New: newRoom, TickRate: TickRate, MaxPlayers: 4096}
}

// room collects what is published, in blocks ready to be sent.
type room struct {
	room   *game.Room
	blocks []byte // one behind the other
	ends   []int  // of all blocks but the last, in blocks
	round  []session.Outgoing
}

func newRoom(r *game.Room) game.Logic {
	p := &room{room: r}
	r.Handle(TypePublish, p.publish)
	return p
}

// Join implements game.Logic.
func (r *room) Join(*game.Player) error { return nil }

// Leave implements game.Logic.
func (r *room) Leave(*game.Player, game.Why) {}

// NextTick implements game.Paced.
func (r *room) NextTick() uint64 {
	if len(r.blocks) > 0 {
		return 0
	}
	return math.MaxUint64
}

// publish adds a message to the last block, or begins another.
func (r *room) publish(p *game.Player, m session.Message) error {
	if m.Mode.Reliable() {
		return message.ErrState
	}
	data, err := ParsePublish(m.Payload)
	if err != nil {
		return err
	}
	if len(r.blocks)+blockHead+entryHead+len(data) > maxRound {
		return message.ErrRate
	}
	begin := 0
	if n := len(r.ends); n > 0 {
		begin = r.ends[n-1]
	}
	if len(r.blocks)-begin+entryHead+len(data) > MaxBlock {
		begin = len(r.blocks)
		r.ends = append(r.ends, begin)
	}
	r.blocks = append(r.blocks[:begin], appendEntry(r.blocks[begin:], Entry{p.ID(), data})...)
	return nil
}

// Tick implements game.Logic: it sends all blocks to everyone.
func (r *room) Tick(game.Tick) {
	r.round = r.round[:0]
	begin := 0
	r.ends = append(r.ends, len(r.blocks))
	for _, end := range r.ends {
		r.round = append(r.round, session.Outgoing{
			Mode: session.Unreliable, Type: TypeBlock, Priority: session.High, Payload: r.blocks[begin:end],
		})
		begin = end
	}
	r.room.BroadcastMessages(r.round)
	r.blocks, r.ends = r.blocks[:0], r.ends[:0]
}
