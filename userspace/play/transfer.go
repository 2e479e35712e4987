package play

import (
	"cmp"
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/message"
)

// TransferOptions bound what a Player takes of what servers send in parts. The zero
// value works.
type TransferOptions struct {
	// MaxSize is how much memory all that is on its way may take, in bytes.
	// Default 16 MiB.
	MaxSize int

	// MaxOpen is how many may be on their way at once. The oldest makes way for
	// another. Default 4.
	MaxOpen int

	// Channel is where parts are confirmed, reliable ordered. Default 2.
	Channel uint8
}

// Transfer is something large that the server has sent.
type Transfer struct {
	ID   uint32 // the server's number for it
	Name string // not a path
	Data []byte
}

// confirmEvery is the least time from one confirmation to the next, so that they are
// few beside what else a player says.
const confirmEvery = 100 * time.Millisecond

// maxGaps bounds how scattered the parts may be that came so far.
const maxGaps = 1024

// OnTransfer has f called, from within Update, for everything that the server sent in
// message.LargeDataTransfer once all of it is there. The data is f's own. Parts that
// cannot be are dropped and counted in Stats.PartsRefused.
func (p *Player[T]) OnTransfer(o TransferOptions, f func(Transfer)) {
	o.MaxSize = cmp.Or(o.MaxSize, 16<<20)
	o.MaxOpen = cmp.Or(o.MaxOpen, 4)
	o.Channel = cmp.Or(o.Channel, 2)
	p.transfers = &transfers{maxSize: uint64(o.MaxSize), maxOpen: o.MaxOpen, channel: o.Channel}
	On(p, func(m *message.LargeDataTransfer) error {
		if p.stay != inside {
			return nil
		}
		done, err := p.transfers.take(m)
		if err != nil {
			p.stats.PartsRefused++
			return nil
		}
		if done != nil {
			if !p.confirm(done) && len(p.transfers.late) < o.MaxOpen {
				p.transfers.late = append(p.transfers.late, done)
			}
			data := done.data
			done.data = nil
			f(Transfer{ID: done.id, Name: done.name, Data: data})
		}
		return nil
	})
}

// confirmDue tells the server how much came since it was told last.
func (p *Player[T]) confirmDue() {
	t := p.transfers
	if t == nil || len(t.open)+len(t.late) == 0 || p.now < t.next {
		return
	}
	t.next = p.now + confirmEvery
	t.late = slices.DeleteFunc(t.late, p.confirm)
	for _, x := range t.open {
		if x.have > x.told {
			p.confirm(x)
		}
	}
}

// confirm reports whether there was room for it.
func (p *Player[T]) confirm(x *assembly) bool {
	err := p.Send(client.ReliableOrdered, p.transfers.channel, &message.LargeDataTransfer{
		ID: x.id, Name: x.name, Size: x.size, Offset: x.have,
	})
	if err == nil {
		x.told = x.have
	}
	return err == nil
}

// transfers puts together what comes in parts.
type transfers struct {
	maxSize uint64
	maxOpen int
	channel uint8

	open []*assembly // oldest first
	late []*assembly // complete, and the server does not know
	size uint64      // of all that are open
	next time.Duration
}

// assembly is something of which parts came.
type assembly struct {
	id   uint32
	name string
	size uint64
	data []byte
	have uint64 // bytes
	told uint64 // to the server
	came []span // in order, none touches the next
}

// span is from one offset to another.
type span struct{ from, to uint64 }

// take adds a part. It returns what is complete with it.
func (t *transfers) take(m *message.LargeDataTransfer) (*assembly, error) {
	switch {
	case m.Sum != m.Checksum():
		return nil, message.ErrField
	case len(m.Data) == 0 && m.Size > 0:
		return nil, message.ErrLength
	case m.Size > t.maxSize:
		return nil, message.ErrTooLarge
	}
	x := t.find(m.ID)
	if x != nil && (x.name != m.Name || x.size != m.Size) {
		return nil, message.ErrField
	}
	if x == nil {
		for len(t.open) == t.maxOpen || t.size+m.Size > t.maxSize {
			t.drop(t.open[0])
		}
		x = &assembly{id: m.ID, name: m.Name, size: m.Size, data: make([]byte, m.Size)}
		t.open = append(t.open, x)
		t.size += m.Size
	}
	if err := x.add(m.Offset, m.Data); err != nil {
		return nil, err
	}
	if x.have < m.Size {
		return nil, nil
	}
	t.drop(x)
	return x, nil
}

func (t *transfers) find(id uint32) *assembly {
	for _, x := range t.open {
		if x.id == id {
			return x
		}
	}
	return nil
}

func (t *transfers) drop(x *assembly) {
	t.size -= x.size
	t.open = slices.DeleteFunc(t.open, func(o *assembly) bool { return o == x })
}

// add puts data in its place, unless some of it has come before.
func (x *assembly) add(offset uint64, data []byte) error {
	s := span{offset, offset + uint64(len(data))}
	i, _ := slices.BinarySearchFunc(x.came, s, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	joinsLeft, joinsRight := false, false
	if i > 0 {
		if x.came[i-1].to > s.from {
			return message.ErrNumber
		}
		joinsLeft = x.came[i-1].to == s.from
	}
	if i < len(x.came) {
		if x.came[i].from < s.to {
			return message.ErrNumber
		}
		joinsRight = x.came[i].from == s.to
	}
	switch {
	case joinsLeft && joinsRight:
		x.came[i-1].to = x.came[i].to
		x.came = slices.Delete(x.came, i, i+1)
	case joinsLeft:
		x.came[i-1].to = s.to
	case joinsRight:
		x.came[i].from = s.from
	case len(x.came) == maxGaps:
		return message.ErrTooLarge
	default:
		x.came = slices.Insert(x.came, i, s)
	}
	copy(x.data[s.from:], data)
	x.have += uint64(len(data))
	return nil
}
