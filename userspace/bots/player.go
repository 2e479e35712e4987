package bots

import (
	"bytes"
	"hash/crc32"
	"sync/atomic"
	"time"

	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/message"
)

// room is what the bots of one room share.
type room struct {
	id     uint32
	ledger *Ledger
	ready  atomic.Pointer[map[uint32]int] // bot by player id, once all are in
}

// player is what one bot knows and checks, without any network. Its methods
// belong to the goroutine that hands the bot its messages.
type player struct {
	room  *room
	bot   int     // in the room
	plans *Ledger // of what comes back to this bot alone
	id    atomic.Uint32
	round uint32
	shown atomic.Bool   // its own position came back
	stood time.Duration // how long it waited for that

	positions   uint64 // received, entries
	implausible uint64
	malformed   uint64
	want        []byte
}

// receive checks one message from the server.
func (p *player) receive(kind uint8, payload []byte) {
	switch kind {
	case message.TypeConnected:
		p.connected(payload)
	case plaza.TypeJoined, plaza.TypeLeft:
		if _, err := plaza.ParsePlayer(payload); err != nil {
			p.malformed++
		}
	case plaza.TypePositions:
		p.seePositions(payload)
	case plaza.TypeChatFrom:
		m, err := plaza.ParseChatFrom(payload)
		if err != nil {
			p.malformed++
			return
		}
		sender := p.sender(m.Sender)
		var want [plaza.MaxChat]byte
		intact := sender >= 0 && bytes.Equal(m.Text, appendChat(want[:0], sender, m.Number))
		p.room.ledger.Inbox(p.bot).Receive(sender, Chat, m.Number, intact)
	case plaza.TypeActionFrom:
		m, err := plaza.ParseActionFrom(payload)
		if err != nil {
			p.malformed++
			return
		}
		sender := p.sender(m.Sender)
		var want [plaza.MaxAction]byte
		intact := sender >= 0 && m.Kind == actionKind(sender, m.Number) &&
			bytes.Equal(m.Data, appendAction(want[:0], sender, m.Number))
		p.room.ledger.Inbox(p.bot).Receive(sender, Action, m.Number, intact)
	case plaza.TypeBuilt:
		m, err := plaza.ParseBuilt(payload)
		if err != nil {
			p.malformed++
			return
		}
		p.want = appendPlan(p.want[:0], p.bot, m.Number, len(m.Plan))
		intact := bytes.Equal(m.Plan, p.want) && m.Sum == crc32.ChecksumIEEE(p.want)
		p.plans.Inbox(0).Receive(0, Plan, m.Number, intact)
	default:
		p.malformed++
	}
}

func (p *player) connected(payload []byte) {
	var m message.Connected
	err := message.Parse(payload, &m)
	if err != nil || m.Room != p.room.id || p.id.Load() != 0 {
		p.malformed++
		return
	}
	p.id.Store(m.Player)
}

// goal is where the bot wants to be, at a time since the start. It stays where it began
// until the server has shown it there: what it may walk counts from when its first
// position arrived, which may be late.
func (p *player) goal(at time.Duration) plaza.Position {
	if !p.shown.Load() {
		p.stood = at
	}
	return pathOf(p.bot).at((at - p.stood).Seconds())
}

// sender returns the bot behind a player id, -1 when there is none.
func (p *player) sender(id uint32) int {
	if all := p.room.ready.Load(); all != nil {
		if bot, ok := (*all)[id]; ok {
			return bot
		}
	}
	return -1
}

// seePositions checks that rounds never go back and that everyone is where
// their path can take them.
func (p *player) seePositions(payload []byte) {
	m, err := plaza.ParsePositions(payload)
	if err != nil {
		p.malformed++
		return
	}
	if int32(m.Round-p.round) < 0 {
		p.implausible++
		return
	}
	p.round = m.Round
	for i := range m.Len() {
		placed := m.At(i)
		p.positions++
		if placed.Player == p.id.Load() {
			p.shown.Store(true)
		}
		if sender := p.sender(placed.Player); sender >= 0 && !pathOf(sender).holds(placed.Position) {
			p.implausible++
		}
	}
}

// appendChat appends what a bot says under a number.
func appendChat(b []byte, bot int, number uint32) []byte {
	b = append(b, "bot "...)
	b = appendNumber(b, uint32(bot))
	b = append(b, " speaking, message "...)
	b = appendNumber(b, number)
	return b
}

func appendNumber(b []byte, n uint32) []byte {
	if n >= 10 {
		b = appendNumber(b, n/10)
	}
	return append(b, '0'+byte(n%10))
}

// scramble is the finalizer of MurmurHash3.
func scramble(bot int, number uint32) uint32 {
	h := uint32(bot)*0x9e3779b1 ^ number
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

func actionKind(bot int, number uint32) uint16 { return uint16(scramble(bot, number)) }

// appendAction appends the data of a bot's action: of every length a game is
// likely to use, with content that gives away a shifted or mixed-up copy.
func appendAction(b []byte, bot int, number uint32) []byte {
	h := scramble(bot, number)
	for i := range h >> 16 % 128 {
		b = append(b, byte(h)+byte(i)*7)
	}
	return b
}

// planSize is how large plans are where the server takes that.
const planSize = 32 << 10

// appendPlan appends the plan of a bot's build.
func appendPlan(b []byte, bot int, number uint32, size int) []byte {
	h := scramble(bot, number)
	for i := range size {
		b = append(b, byte(h>>(i>>10%4*8))+byte(i)*7)
	}
	return b
}
