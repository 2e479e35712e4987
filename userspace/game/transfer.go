package game

import (
	"cmp"
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
)

// TransferOptions say how a room sends what is large. The zero value works.
type TransferOptions struct {
	// Channel of the transport, which should carry nothing that must not wait.
	// Default 2.
	Channel uint8

	// MaxSize is how large what is sent may be, in bytes. Default 16 MiB, what
	// package play takes.
	MaxSize int

	// Part is how many bytes go into one message. Default 16 KiB.
	Part int

	// Window is how many bytes may be on their way to a player who has not
	// confirmed them yet. Default 256 KiB.
	Window int

	// PartsPerTick is how many parts leave at one tick, to all players together.
	// Default 4.
	PartsPerTick int

	// Patience is how long a player may take to confirm all that is on its way
	// before its transfer is given up. Default 10 s.
	Patience time.Duration
}

func (o TransferOptions) withDefaults() TransferOptions {
	o.Channel = cmp.Or(o.Channel, 2)
	o.MaxSize = cmp.Or(o.MaxSize, 16<<20)
	o.Part = cmp.Or(o.Part, 16<<10)
	o.Window = cmp.Or(o.Window, 256<<10)
	o.PartsPerTick = cmp.Or(o.PartsPerTick, 4)
	o.Patience = cmp.Or(o.Patience, 10*time.Second)
	if o.MaxSize < 0 || o.Part < 1 || o.Part > message.MaxTransfer || o.Window < o.Part || o.PartsPerTick < 1 || o.Patience < 0 {
		panic("game: transfers of impossible sizes")
	}
	return o
}

// Transfers sends players what is too large for one message, such as a map or a
// recording, as message.LargeDataTransfer: with low priority, a few parts at each tick,
// and no more than the player confirms. On a node that is overloaded it waits. It holds
// on to what is sent, but copies none of it.
//
// It takes the room's message.LargeDataTransfer. It belongs to the room, as World does.
type Transfers struct {
	room   *Room
	opts   TransferOptions
	open   []*transfer // in the order of their turns
	lastID uint32
	part   message.LargeDataTransfer
}

// transfer is something on its way to one player.
type transfer struct {
	to        *Player
	id        uint32
	name      string
	data      []byte
	sent      int
	confirmed int
	mark      int    // what has to be confirmed
	since     uint64 // it is waited for
	begun     bool
}

// NewTransfers lets a room send what is large. It belongs into Kind.New, of a logic
// that takes every tick.
func NewTransfers(r *Room, o TransferOptions) *Transfers {
	t := &Transfers{room: r, opts: o.withDefaults()}
	On(r, t.confirmed)
	r.OnTickEnd(t.tick)
	r.OnLeave(func(p *Player) {
		t.open = slices.DeleteFunc(t.open, func(x *transfer) bool { return x.to == p })
	})
	return t
}

// Send begins to send data, which must not change any more, under a name that is legal
// by message.CheckName. It refuses with ErrRate while something is on its way to the
// player.
func (t *Transfers) Send(p *Player, name string, data []byte) error {
	switch {
	case message.CheckName(name) != nil:
		panic("game: transfer with an impossible name")
	case len(data) > t.opts.MaxSize:
		return Refuse(message.ErrTooLarge, "too large to be sent")
	case t.of(p) != nil:
		return Refuse(message.ErrRate, "a transfer is under way")
	}
	t.lastID = following(t.lastID)
	t.open = append(t.open, &transfer{to: p, id: t.lastID, name: name, data: data})
	t.room.node.count.Add(metrics.Transfers, 1)
	return nil
}

func (t *Transfers) of(p *Player) *transfer {
	for _, x := range t.open {
		if x.to == p {
			return x
		}
	}
	return nil
}

// confirmed hears how much of a transfer a player has.
func (t *Transfers) confirmed(p *Player, m *message.LargeDataTransfer) error {
	x := t.of(p)
	switch {
	case len(m.Data) > 0:
		return Refuse(message.ErrDenied, "nobody takes this")
	case x == nil || m.ID != x.id:
		return message.ErrState
	case m.Size != uint64(len(x.data)) || m.Name != x.name:
		return message.ErrField
	case m.Offset > uint64(x.sent) || m.Offset < uint64(x.confirmed):
		return message.ErrNumber
	case m.Offset == uint64(x.confirmed) && len(x.data) > 0:
		return nil
	}
	if x.confirmed = int(m.Offset); x.confirmed >= x.mark {
		x.mark, x.since = x.sent, t.room.Now()
	}
	if x.confirmed == len(x.data) && x.begun {
		t.end(x)
	}
	return nil
}

func (t *Transfers) end(x *transfer) {
	t.open = slices.DeleteFunc(t.open, func(o *transfer) bool { return o == x })
}

// tick sends parts, to one player after the other.
func (t *Transfers) tick(k Tick) {
	if len(t.open) == 0 {
		return
	}
	now := t.room.Now()
	t.open = slices.DeleteFunc(t.open, func(x *transfer) bool {
		waits := x.begun && (x.sent > x.confirmed || len(x.data) == 0)
		stalled := waits && now-x.since > uint64(t.opts.Patience)
		if stalled {
			t.room.node.count.Add(metrics.TransfersStalled, 1)
		}
		return stalled
	})
	if k.Thinning > 1 {
		return
	}
	left := min(t.opts.PartsPerTick, len(t.open))
	for tries := len(t.open); tries > 0 && left > 0; tries-- {
		x := t.open[0]
		copy(t.open, t.open[1:])
		t.open[len(t.open)-1] = x
		if t.sendPart(x) {
			left--
		}
	}
}

// sendPart sends the next part, unless the player has enough to do with the last ones.
func (t *Transfers) sendPart(x *transfer) bool {
	size := min(t.opts.Part, len(x.data)-x.sent)
	if x.begun && (size == 0 || x.sent+size-x.confirmed > t.opts.Window) {
		return false
	}
	m := &t.part
	*m = message.LargeDataTransfer{
		ID: x.id, Name: x.name, Size: uint64(len(x.data)), Offset: uint64(x.sent), Data: x.data[x.sent : x.sent+size],
	}
	m.Sum = m.Checksum()
	o := t.room.outgoing(session.ReliableUnordered, t.opts.Channel, m)
	*m = message.LargeDataTransfer{}
	o.Priority = session.Low
	if x.sent == x.confirmed {
		x.mark, x.since = x.sent+size, t.room.Now()
	}
	x.begun = true
	x.sent += size
	x.to.SendMessage(o)
	return true
}
