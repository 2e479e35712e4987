package game

import (
	"encoding/binary"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Kinds of letters between nodes: what a player did, for the owner of its
// room, and what comes back.
const (
	letterJoin = iota + 1
	letterLeave
	letterPosition
	letterChat
	letterAction

	letterWelcome // for one player
	letterCast    // for every player of a room
)

// letter is the head of what nodes send one another. It never leaves the
// process, so its layout is nobody else's concern.
type letter struct {
	kind    uint8
	mode    session.Mode // of a cast
	channel uint8
	typ     uint8
	room    uint32
	handle  uint32 // of the player at its own node
}

const letterSize = 12

// MaxLetter is the largest letter a node writes.
const MaxLetter = letterSize + wire.MaxPayload

// mail sends a letter to another node.
func (n *Node) mail(to int, l *letter, payload []byte, must bool) {
	b := append(n.letter[:0], l.kind, uint8(l.mode), l.channel, l.typ)
	b = binary.NativeEndian.AppendUint32(b, l.room)
	b = binary.NativeEndian.AppendUint32(b, l.handle)
	n.host.Mail(to, append(b, payload...), must)
}

// Mail handles a letter from the node of worker from.
func (n *Node) Mail(from int, b []byte) {
	l := letter{
		kind: b[0], mode: session.Mode(b[1]), channel: b[2], typ: b[3],
		room:   binary.NativeEndian.Uint32(b[4:]),
		handle: binary.NativeEndian.Uint32(b[8:]),
	}
	payload := b[letterSize:]
	switch l.kind {
	case letterWelcome:
		n.welcome(&l, payload)
	case letterCast:
		n.deliver(l.room, l.mode, l.channel, l.typ, payload)
	default:
		n.atRoom(from, &l, payload)
	}
}
