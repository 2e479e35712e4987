package game

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
)

// stay is a peer's time in a room, and what it expects.
type stay struct {
	*peer
	in     bool
	player uint32 // 0 before the answer
	said   uint32
	asked  uint32

	heardAll  uint32 // the room's own number
	heardSelf uint32
	answered  uint32
	loose     map[uint32]uint32 // last unreliable one heard, by sender
	sentLoose uint32
}

// check goes through what the peer got since the last call.
func (s *stay) check() error {
	for _, m := range s.got {
		if s.player == 0 && m.Type != message.TypeConnected && m.Type != message.TypeRefused {
			return fmt.Errorf("type %#x before the answer to Connect", m.Type)
		}
		if !s.in {
			return fmt.Errorf("type %#x outside the room", m.Type)
		}
		switch m.Type {
		case message.TypeConnected:
			var c message.Connected
			if err := message.Parse(m.Payload, &c); err != nil {
				return err
			}
			if s.player != 0 {
				return fmt.Errorf("connected again as %+v", c)
			}
			s.player = c.Player
		case message.TypeDisconnect:
			s.in = false
		case message.TypeRefused:
			var r message.Refused
			if err := message.Parse(m.Payload, &r); err != nil {
				return err
			}
			if r.Type != message.TypeConnect || r.Code != message.ErrRoom {
				return fmt.Errorf("refused: %+v", r)
			}
			s.in = false
		case typeSaid:
			from, n := binary.BigEndian.Uint32(m.Payload), binary.BigEndian.Uint32(m.Payload[4:])
			all := binary.BigEndian.Uint32(m.Payload[8:])
			if s.heardAll != 0 && all != s.heardAll+1 {
				return fmt.Errorf("message %d of the room after %d", all, s.heardAll)
			}
			s.heardAll = all
			if from == s.player {
				if n != s.heardSelf+1 {
					return fmt.Errorf("own message %d after %d", n, s.heardSelf)
				}
				s.heardSelf = n
			}
		case typeAnswer:
			n := binary.BigEndian.Uint32(m.Payload)
			if n != s.answered+1 {
				return fmt.Errorf("answer %d after %d", n, s.answered)
			}
			s.answered = n
		case typeHeard:
			from, n := binary.BigEndian.Uint32(m.Payload), binary.BigEndian.Uint32(m.Payload[4:])
			if n <= s.loose[from] {
				return fmt.Errorf("unreliable message %d of player %d after %d", n, from, s.loose[from])
			}
			s.loose[from] = n
		default:
			return fmt.Errorf("got type %#x", m.Type)
		}
	}
	s.got = s.got[:0]
	return nil
}

// Rooms move at random while players join, leave, speak, ask and are kicked, rooms
// are closed, and letters take their time: each message arrives once and in order, both ways, and nothing is
// left in the end.
func TestMovesLoseNothing(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			nodes := 2 + rng.IntN(4)
			w := newWorld(t, nodes, relays())
			w.rng = rng
			w.slow = []uint64{1, 5 * ms, 100 * ms}[rng.IntN(3)]
			w.lossy = rng.IntN(2) == 0
			ends := seed%2 == 0 // of stays and rooms, not asked for by the player
			var all []*stay
			for range 3 + rng.IntN(10) {
				all = append(all, &stay{peer: w.connect(rng.IntN(nodes))})
			}
			check := func() {
				t.Helper()
				for i, s := range all {
					if err := s.check(); err != nil {
						t.Fatalf("peer %d at node %d: %v", i, s.node.self, err)
					}
				}
			}
			for range 3000 {
				s := all[rng.IntN(len(all))]
				switch k := rng.IntN(40); {
				case k == 0 && !s.in:
					*s = stay{peer: s.peer, in: true, loose: map[uint32]uint32{}}
					s.join("relay", 1+uint32(rng.IntN(2)))
				case k == 1 && s.in:
					s.leave()
					s.in = false
				case k == 2:
					if r := w.room(1 + uint32(rng.IntN(2))); r != nil && !r.closing {
						if to := rng.IntN(nodes); w.nodes[to] != r.node {
							r.node.move(r, to)
						}
					}
				case k == 3:
					w.run(rng.Uint64N(20 * ms))
				case k < 15:
					w.step(w.now + 20*ms)
				case !s.in:
				case k == 15 && ends && rng.IntN(20) == 0:
					s.say(typeFail, []byte{3 + byte(rng.IntN(2))})
				case k < 25:
					s.said++
					s.say(typeSay, number(s.said))
				case k < 30:
					s.sentLoose++
					s.node.Message(s.peer, session.Message{Mode: session.Unreliable, Type: typeLoose, Payload: number(s.sentLoose)})
				default:
					s.asked++
					s.say(typeAsk, number(s.asked))
				}
				check()
			}
			w.settle()
			check()
			for i, s := range all {
				if s.in && (s.player == 0 || s.heardSelf != s.said || s.answered != s.asked) {
					t.Errorf("peer %d is player %d, heard %d of its %d messages and %d of %d answers",
						i, s.player, s.heardSelf, s.said, s.answered, s.asked)
				}
				if s.in {
					s.leave()
				}
			}
			w.settle()
			w.idle()
			if got := w.total(metrics.RoomsMoved); got < 10 {
				t.Errorf("rooms moved %d times only", got)
			}
			if n := w.total(metrics.GamePanics); n != 0 {
				t.Errorf("%d panics", n)
			}
		})
	}
}

// The ticks that a room misses on its way are lost, and the node that gets it does not
// take that for too much work.
func TestMoveIsNoOverload(t *testing.T) {
	w := newWorld(t, 2, relays())
	p := w.connect(0)
	p.join("relay", 1)
	w.settle()
	l := w.logic(1)
	step := uint64(time.Second) / 60
	for _, late := range []uint64{0, 2, 3, 4, 40} {
		w.run(uint64(time.Second))
		lost := w.total(metrics.TicksLost)
		r := w.room(1)
		from := r.node.self
		r.node.move(r, 1-from)
		q := w.post[[2]int{from, 1 - from}]
		q[len(q)-1].at = l.ticks[len(l.ticks)-1].Now + late*step + step/2
		before := len(l.ticks)
		w.run(uint64(time.Second))
		if r.node != w.nodes[1-from] {
			t.Fatal("the room did not arrive")
		}
		got, want := w.total(metrics.TicksLost)-lost, max(late, maxCatchUp)-maxCatchUp
		if got != want {
			t.Errorf("%d late: %d ticks lost, want %d", late, got, want)
		}
		for i := before; i < len(l.ticks); i++ {
			skipped := uint64(0)
			if i == before {
				skipped = want
			}
			if tick := l.ticks[i]; tick.Now != l.ticks[i-1].Now+step*(1+skipped) || tick.Thinning != 1 {
				t.Fatalf("%d late: tick %+v after %+v", late, tick, l.ticks[i-1])
			}
		}
	}
}
