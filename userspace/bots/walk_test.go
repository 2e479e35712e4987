package bots

import (
	"math"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/game"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// square is a plaza with one bot, whose time goes when told to.
type square struct {
	now      uint64
	value    any
	bot      player
	farthest float64 // that it was seen from where it began
}

func (s *square) Now() uint64            { return s.now }
func (s *square) Clock() uint64          { return s.now }
func (s *square) Mail(int, []byte, bool) {}

func (*square) ID() uint64        { return 1 }
func (*square) Recovered() bool   { return false }
func (*square) Close(wire.Reason) {}
func (s *square) Value() any      { return s.value }
func (s *square) SetValue(v any)  { s.value = v }

func (s *square) SendMessage(o session.Outgoing) error {
	s.bot.receive(o.Type, o.Payload)
	if o.Type == plaza.TypePositions {
		m, err := plaza.ParsePositions(o.Payload)
		if err != nil {
			return err
		}
		at := m.At(0).Position
		s.farthest = max(s.farthest, math.Hypot(float64(at.X), float64(at.Y)))
	}
	return nil
}

// However late what a bot says arrives, the server has it where its path is.
func TestWalkOverStallingPath(t *testing.T) {
	tests := []struct {
		name     string
		from, to time.Duration // what is sent then arrives at the end
	}{
		{"none", 0, 0},
		{"from_the_start", 0, 1500 * time.Millisecond},
		{"soon", 60 * time.Millisecond, 900 * time.Millisecond},
		{"later", 3 * time.Second, 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &square{now: 1e12}
			s.bot = player{room: &room{id: 1, ledger: NewLedger(1)}}
			node := game.NewNode(game.NewDirectory(plaza.Options()), s, 0, 1, new(metrics.Set))
			node.Open(s)
			ask, err := message.Append(nil, &message.Connect{Game: plaza.Name, Name: "bot", Room: 1})
			if err != nil {
				t.Fatal(err)
			}
			node.Message(s, session.Message{Mode: session.ReliableOrdered, Type: message.TypeConnect, Payload: ask})
			s.bot.room.ready.Store(&map[uint32]int{s.bot.id.Load(): 0})

			const step = 10 * time.Millisecond
			var late [][]byte
			claim := func(b []byte) {
				node.Message(s, session.Message{Mode: session.UnreliableSequenced, Type: plaza.TypePosition, Payload: b})
			}
			for at := time.Duration(0); at < 8*time.Second; at += step {
				if at >= tt.to {
					for _, b := range late {
						claim(b)
					}
					late = nil
				}
				if at%(50*time.Millisecond) == 0 {
					if b := s.bot.goal(at).AppendTo(nil); at >= tt.from && at < tt.to {
						late = append(late, b)
					} else {
						claim(b)
					}
				}
				if s.now += uint64(step); node.NextTick() <= s.now {
					node.Tick(s.now)
				}
			}
			if s.bot.implausible != 0 || s.bot.malformed != 0 || s.bot.positions < 100 {
				t.Errorf("%d of %d positions implausible, %d malformed", s.bot.implausible, s.bot.positions, s.bot.malformed)
			}
			if s.farthest < 30 {
				t.Errorf("came %.1f units far", s.farthest)
			}
		})
	}
}
