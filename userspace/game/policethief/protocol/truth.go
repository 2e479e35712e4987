package protocol

import (
	"encoding/binary"

	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/snapshot"
)

// Moment is everything that there was at one tick of snapshots, whoever saw it.
type Moment struct {
	Tick     uint32
	Entities []Fact
}

// Fact is an entity at a Moment.
type Fact struct {
	ID       snapshot.ID
	Kind     rules.ItemKind // rules.NoItem for players
	Number   uint16
	At       rules.Vec
	Role     rules.Role
	Status   rules.Status
	Carrying rules.ItemKind
}

const (
	momentHead = 6  // tick u32, facts u16
	factSize   = 19 // slot, generation, number u16; kind u8; x, y i32; role u8, status u16, carrying u8
)

// maxFacts is more than there can be.
const maxFacts = 1024

// AppendTo appends the moment as Truth.Data has it.
func (m *Moment) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, m.Tick)
	b = binary.BigEndian.AppendUint16(b, uint16(len(m.Entities)))
	for i := range m.Entities {
		f := &m.Entities[i]
		b = binary.BigEndian.AppendUint16(b, f.ID.Slot)
		b = binary.BigEndian.AppendUint16(b, f.ID.Generation)
		b = binary.BigEndian.AppendUint16(b, f.Number)
		b = append(b, byte(f.Kind))
		b = binary.BigEndian.AppendUint32(b, uint32(f.At.X))
		b = binary.BigEndian.AppendUint32(b, uint32(f.At.Y))
		b = append(b, byte(f.Role))
		b = binary.BigEndian.AppendUint16(b, uint16(f.Status))
		b = append(b, byte(f.Carrying))
	}
	return b
}

// ParseMoment reads the moment that b begins with, into memory of m that is used
// again, and returns the rest.
func ParseMoment(b []byte, m *Moment) (rest []byte, err error) {
	m.Entities = m.Entities[:0]
	if len(b) < momentHead {
		return b, message.ErrLength
	}
	m.Tick = binary.BigEndian.Uint32(b)
	n := int(binary.BigEndian.Uint16(b[4:]))
	b = b[momentHead:]
	if n > maxFacts || len(b) < n*factSize {
		return b, message.ErrLength
	}
	for range n {
		m.Entities = append(m.Entities, Fact{
			ID:     snapshot.ID{Slot: binary.BigEndian.Uint16(b), Generation: binary.BigEndian.Uint16(b[2:])},
			Number: binary.BigEndian.Uint16(b[4:]), Kind: rules.ItemKind(b[6]),
			At: rules.Vec{
				X: rules.Coord(binary.BigEndian.Uint32(b[7:])), Y: rules.Coord(binary.BigEndian.Uint32(b[11:])),
			},
			Role: rules.Role(b[15]), Status: rules.Status(binary.BigEndian.Uint16(b[16:])), Carrying: rules.ItemKind(b[18]),
		})
		b = b[factSize:]
	}
	return b, nil
}
