package game

import (
	"encoding/binary"
	"time"

	"github.com/xrudp/xrudp/userspace/session"
)

// Kinds of letters between nodes.
const (
	// What a client did, for its room.
	letterJoin = iota + 1
	letterLeave
	letterMessage

	// What a room says: to one player, or to all on a node.
	letterWelcome
	letterRefuse
	letterSend
	letterEnd
	letterCast
	letterMoved

	// Of nodes among themselves.
	letterTake
	letterPart
)

// letter is the head of what nodes send one another. It never leaves the
// process, so its layout is nobody else's concern.
//
// Letters that must arrive are numbered, from 1 on: those of a node to a room, and
// those of a room to a hall. Both ends of a room's life go by the numbers, so it
// does not matter which way a letter took when the room moved meanwhile.
type letter struct {
	kind     uint8
	mode     session.Mode
	channel  uint8
	typ      uint8
	priority session.Priority
	why      Why
	origin   uint16 // node of the client, whoever forwards the letter
	room     uint32
	hall     uint32 // at the client's node
	handle   uint32 // of the client at its node
	number   uint32 // 0 for one that may be lost
	id       uint16 // of the message
	// lifetime of the message in ms when it goes to a player, the sequence of
	// its packet when it comes from one.
	extra uint32
}

const (
	letterSize = 32
	partSize   = 4

	// MaxLetter is the largest letter a node writes. Others are cut.
	MaxLetter = 1200
)

func (l *letter) appendTo(b []byte) []byte {
	b = append(b, l.kind, uint8(l.mode), l.channel, l.typ, uint8(l.priority), uint8(l.why))
	b = binary.NativeEndian.AppendUint16(b, l.origin)
	b = binary.NativeEndian.AppendUint32(b, l.room)
	b = binary.NativeEndian.AppendUint32(b, l.hall)
	b = binary.NativeEndian.AppendUint32(b, l.handle)
	b = binary.NativeEndian.AppendUint32(b, l.number)
	b = binary.NativeEndian.AppendUint32(b, l.extra)
	return binary.NativeEndian.AppendUint32(b, uint32(l.id))
}

func parseLetter(b []byte) letter {
	return letter{
		kind: b[0], mode: session.Mode(b[1]), channel: b[2], typ: b[3],
		priority: session.Priority(b[4]), why: Why(b[5]),
		origin: binary.NativeEndian.Uint16(b[6:]),
		room:   binary.NativeEndian.Uint32(b[8:]),
		hall:   binary.NativeEndian.Uint32(b[12:]),
		handle: binary.NativeEndian.Uint32(b[16:]),
		number: binary.NativeEndian.Uint32(b[20:]),
		extra:  binary.NativeEndian.Uint32(b[24:]),
		id:     uint16(binary.NativeEndian.Uint32(b[28:])),
	}
}

func (l *letter) outgoing(payload []byte) session.Outgoing {
	return session.Outgoing{
		Mode: l.mode, Channel: l.channel, Type: l.typ, Priority: l.priority,
		Lifetime: time.Duration(l.extra) * time.Millisecond, Payload: payload,
	}
}

// following is the number after n. 0 is no number.
func following(n uint32) uint32 {
	if n++; n == 0 {
		n = 1
	}
	return n
}

// held is a letter that came before its turn.
type held struct {
	from    int
	letter  letter
	payload []byte
}

// takeHeld removes the letter with a number from those that wait.
func takeHeld(all *[]held, number uint32) (h held, ok bool) {
	for i := range *all {
		if h = (*all)[i]; h.letter.number == number {
			(*all)[i] = (*all)[len(*all)-1]
			(*all)[len(*all)-1] = held{}
			*all = (*all)[:len(*all)-1]
			return h, true
		}
	}
	return held{}, false
}

// mail sends a letter to another node, in several parts where it is too large.
func (n *Node) mail(to int, l *letter, payload []byte, must bool) {
	n.letter = append(l.appendTo(n.letter[:0]), payload...)
	if len(n.letter) <= MaxLetter {
		n.host.Mail(to, n.letter, must)
		return
	}
	const room = MaxLetter - partSize
	rest := n.letter
	for index := 0; len(rest) > 0; index++ {
		size := min(room, len(rest))
		last := uint8(0)
		if size == len(rest) {
			last = 1
		}
		b := append(n.part[:0], letterPart, last)
		b = binary.NativeEndian.AppendUint16(b, uint16(index))
		n.host.Mail(to, append(b, rest[:size]...), must)
		rest = rest[size:]
	}
	if cap(n.letter) > keptBuffer {
		n.letter = nil
	}
}

// keptBuffer is how much memory a large letter leaves behind.
const keptBuffer = 256 << 10

// puzzle is a letter of which some parts arrived.
type puzzle struct {
	data []byte
	next uint16
}

// Mail handles a letter from the node of worker from.
func (n *Node) Mail(from int, b []byte) {
	if b[0] == letterPart {
		n.piece(from, b)
		return
	}
	l := parseLetter(b)
	payload := b[letterSize:]
	switch l.kind {
	case letterTake:
		n.take(l.room)
	case letterJoin, letterLeave, letterMessage:
		n.atRoom(from, &l, payload)
	default:
		n.atHall(from, &l, payload)
	}
}

// piece adds a part to the rest of its letter. Parts of a letter come in a row; one
// that may be lost may lack some.
func (n *Node) piece(from int, b []byte) {
	p := &n.puzzles[from]
	last, index := b[1] != 0, binary.NativeEndian.Uint16(b[2:])
	if index == 0 {
		p.data, p.next = p.data[:0], 0
	}
	if index != p.next {
		p.next = ^uint16(0)
		return
	}
	p.next++
	p.data = append(p.data, b[partSize:]...)
	if !last {
		return
	}
	n.Mail(from, p.data)
	p.next = ^uint16(0)
	if cap(p.data) > keptBuffer {
		p.data = nil
	}
}
