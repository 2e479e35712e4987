package bots

import (
	"math"
	"testing"

	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/message"
)

// relay is a room without a network: what one bot sends, every bot gets.
type relay struct {
	room    *room
	players []*player
}

func newRelay(bots int) *relay {
	r := &relay{room: &room{id: 7, ledger: NewLedger(bots)}}
	all := make(map[uint32]int)
	for bot := range bots {
		p := &player{room: r.room, bot: bot}
		id := uint32(100 + bot)
		p.receive(message.TypeConnected, connected(id, 7))
		all[id] = bot
		r.players = append(r.players, p)
	}
	r.room.ready.Store(&all)
	return r
}

// message is what the server relays of the next message of a bot.
func (r *relay) message(bot int, s Stream) (kind uint8, payload []byte) {
	number := r.room.ledger.Send(bot, s)
	id := r.players[bot].id.Load()
	if s == Chat {
		m := plaza.Chat{Number: number, Text: appendChat(nil, bot, number)}
		return plaza.TypeChatFrom, plaza.ChatFrom{Sender: id, Chat: m}.AppendTo(nil)
	}
	m := plaza.Action{Number: number, Kind: actionKind(bot, number), Data: appendAction(nil, bot, number)}
	return plaza.TypeActionFrom, plaza.ActionFrom{Sender: id, Action: m}.AppendTo(nil)
}

func TestPlayerInjectedFaults(t *testing.T) {
	tests := []struct {
		name  string
		relay func(to *player, kind uint8, messages [][]byte)
		want  Faults
	}{
		{
			name: "clean",
			relay: func(to *player, kind uint8, messages [][]byte) {
				for _, m := range messages {
					to.receive(kind, m)
				}
			},
		},
		{
			name: "lost",
			relay: func(to *player, kind uint8, messages [][]byte) {
				for _, m := range messages[1:] {
					to.receive(kind, m)
				}
			},
			want: Faults{Lost: 1},
		},
		{
			name: "duplicated",
			relay: func(to *player, kind uint8, messages [][]byte) {
				for _, m := range append(messages, messages[0]) {
					to.receive(kind, m)
				}
			},
			want: Faults{Duplicated: 1},
		},
		{
			name: "reordered",
			relay: func(to *player, kind uint8, messages [][]byte) {
				messages[0], messages[1] = messages[1], messages[0]
				for _, m := range messages {
					to.receive(kind, m)
				}
			},
			want: Faults{Reordered: 1},
		},
		{
			name: "corrupted",
			relay: func(to *player, kind uint8, messages [][]byte) {
				last := messages[len(messages)-1]
				last[len(last)-1] ^= 1
				for _, m := range messages {
					to.receive(kind, m)
				}
			},
			want: Faults{Corrupted: 1},
		},
		{
			name: "wrong_sender",
			relay: func(to *player, kind uint8, messages [][]byte) {
				messages[0][3] = 200
				for _, m := range messages {
					to.receive(kind, m)
				}
			},
			want: Faults{Unknown: 1, Lost: 1},
		},
	}
	for _, s := range []Stream{Chat, Action} {
		for _, tt := range tests {
			t.Run(s.String()+"_"+tt.name, func(t *testing.T) {
				r := newRelay(2)
				var messages [][]byte
				var kind uint8
				for range 5 {
					var m []byte
					kind, m = r.message(0, s)
					r.players[0].receive(kind, m)
					messages = append(messages, m)
				}
				tt.relay(r.players[1], kind, messages)
				if got := r.room.ledger.Faults(); got != tt.want {
					t.Errorf("Faults() = %v, want %v", got, tt.want)
				}
			})
		}
	}
}

func TestPlayerPositions(t *testing.T) {
	on := func(bot int, seconds float64) plaza.Placed {
		return plaza.Placed{Player: uint32(100 + bot), Position: pathOf(bot).at(seconds)}
	}
	astray := on(1, 5)
	astray.X += 2
	buried := on(1, 5)
	buried.Z = 3
	nowhere := on(1, 5)
	nowhere.Y = float32(math.NaN())
	type round struct {
		number uint32
		placed []plaza.Placed
	}
	tests := []struct {
		name   string
		rounds []round
		want   uint64
	}{
		{"on_course", []round{{1, []plaza.Placed{on(0, 0), on(1, 0)}}, {2, []plaza.Placed{on(0, 0.05), on(1, 500)}}}, 0},
		{"one_round_in_two_messages", []round{{1, []plaza.Placed{on(0, 0)}}, {1, []plaza.Placed{on(1, 0)}}}, 0},
		{"round_wraps", []round{{1<<31 - 1, []plaza.Placed{on(0, 0)}}, {1<<32 - 2, []plaza.Placed{on(0, 0)}}, {0, []plaza.Placed{on(1, 0)}}}, 0},
		{"round_goes_back", []round{{2, []plaza.Placed{on(0, 0)}}, {1, []plaza.Placed{on(1, 0)}}}, 1},
		{"off_course", []round{{1, []plaza.Placed{on(0, 0), astray}}}, 1},
		{"off_the_ground", []round{{1, []plaza.Placed{buried}}}, 1},
		{"not_a_number", []round{{1, []plaza.Placed{nowhere}}}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newRelay(2).players[0]
			for _, r := range tt.rounds {
				p.receive(plaza.TypePositions, plaza.AppendPositions(nil, r.number, r.placed))
			}
			if p.implausible != tt.want {
				t.Errorf("%d implausible positions, want %d", p.implausible, tt.want)
			}
			if p.malformed != 0 {
				t.Errorf("%d malformed messages, want none", p.malformed)
			}
		})
	}
}

func TestPlayerMalformed(t *testing.T) {
	tests := []struct {
		name    string
		kind    uint8
		payload []byte
	}{
		{"unknown_type", 0x99, nil},
		{"short_chat", plaza.TypeChatFrom, []byte{1, 2, 3}},
		{"short_action", plaza.TypeActionFrom, []byte{1, 2, 3}},
		{"empty_positions", plaza.TypePositions, []byte{0, 0, 0, 1}},
		{"short_joined", plaza.TypeJoined, []byte{1}},
		{"another_room", message.TypeConnected, connected(5, 8)},
		{"connected_again", message.TypeConnected, connected(100, 7)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newRelay(1).players[0]
			p.receive(tt.kind, tt.payload)
			if p.malformed != 1 {
				t.Errorf("%d malformed messages, want 1", p.malformed)
			}
		})
	}
}

func TestPathSpeed(t *testing.T) {
	for bot := range 100 {
		p := pathOf(bot)
		if at := p.at(0); math.Hypot(float64(at.X), float64(at.Y)) > 1e-3 {
			t.Errorf("bot %d starts at %v, want the origin", bot, at)
		}
		a, b := p.at(1), p.at(1.05)
		speed := math.Hypot(float64(b.X-a.X), float64(b.Y-a.Y)) / 0.05
		if speed < 0.9*walkingSpeed || speed > 1.01*walkingSpeed {
			t.Errorf("bot %d walks at %.1f units per second, want about %.0f", bot, speed, walkingSpeed)
		}
	}
}

func TestPlayerReceiveAllocations(t *testing.T) {
	r := newRelay(2)
	p := r.players[1]
	kind, m := r.message(0, Action)
	if n := testing.AllocsPerRun(100, func() { p.receive(kind, m) }); n != 0 {
		t.Errorf("receive allocates %.1f times, want 0", n)
	}
}

// connected is the payload that answers Connect.
func connected(player, room uint32) []byte {
	m := message.Connected{Player: player, Room: room, Ticks: 20, Snapshots: 20}
	b, err := message.Append(nil, &m)
	if err != nil {
		panic(err)
	}
	return b
}
