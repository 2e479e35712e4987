package game

import (
	"math/rand/v2"
	"testing"

	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
)

// Clients send whatever they like, in any order, while letters take their time and
// rooms move: nothing panics that is not the game's, and nothing is left when they
// are gone.
func FuzzNode(f *testing.F) {
	f.Add(uint64(1), []byte{0, 1, 0, 0x10, 4, 1, 2, 3, 4, 0xff, 3})
	hello := connect(message.Connect{Game: "relay", Name: "x", Room: 1})
	f.Add(uint64(2), append([]byte{3, 1, 2, message.TypeConnect, byte(len(hello))}, hello...))
	ask := listing("relay")
	f.Add(uint64(4), append([]byte{0, 0, 42, 2, message.TypeListRooms, byte(len(ask))}, ask...))
	f.Add(uint64(3), []byte{2, 0, 1, 2, 1, 1, 2, 2, 1, 0x12, 1, 3, 9, 3, 1, 4, 1, 3})
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		opts := relays()
		opts.Kinds[0].Limits = Limits{}
		opts.Kinds[0].MaxPlayers = 3
		w := newWorld(t, 3, opts)
		w.rng = rand.New(rand.NewPCG(seed, 1))
		w.slow, w.lossy = seed%7*ms, seed%2 == 0
		var all []*peer
		for i := range 6 {
			all = append(all, w.connect(i%3))
		}
		next := func() byte {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return b
		}
		for len(script) > 0 {
			op := next()
			p := all[op%6]
			switch op / 6 % 8 {
			case 0:
				p.join("relay", uint32(next()%4))
			case 1:
				p.leave()
			case 2:
				w.run(uint64(next()) * ms)
			case 3:
				if r := w.room(uint32(next() % 4)); r != nil && !r.closing && len(r.players) > 0 {
					if to := int(next() % 3); to != r.node.self {
						r.node.move(r, to)
					}
				}
			case 4:
				p.node.Close(p)
				p.node.Open(p)
			case 5:
				p.say(typeSay, number(uint32(next())))
			case 6:
				p.say(typeFail, []byte{next()})
			default:
				m := session.Message{Mode: session.Mode(next() % 4), Type: next()}
				n := min(int(next()), len(script))
				m.Payload, script = script[:n], script[n:]
				p.node.Message(p, m)
			}
		}
		for _, p := range all {
			p.node.Close(p)
		}
		w.settle()
		w.run(100 * ms)
		w.idle()
		if w.total(metrics.GamePanics) != w.total(metrics.RefusedInternal) {
			// Each was in a handler.
			t.Errorf("%d panics, %d refusals", w.total(metrics.GamePanics), w.total(metrics.RefusedInternal))
		}
	})
}
