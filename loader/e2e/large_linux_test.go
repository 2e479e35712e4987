package e2e

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/wire"
)

var allModes = []string{string(loader.ModeNative), string(loader.ModeGeneric), modeUDP}

// sayAll sends messages of these sizes on a lane, after which it has sent from
// messages already.
func (p *player) sayAll(o client.Outgoing, from uint32, sizes ...int) {
	p.t.Helper()
	for i, size := range sizes {
		o.Payload = make([]byte, size)
		if !p.say(o, from+uint32(i)) {
			p.t.Fatalf("player %d: message %d was not taken", p.id, i)
		}
	}
}

// TestLarge sends messages of a megabyte both ways, with small ones before and
// behind them.
func TestLarge(t *testing.T) {
	for _, mode := range allModes {
		t.Run(mode, func(t *testing.T) {
			if testing.Short() && mode == string(loader.ModeGeneric) {
				t.Skip("short")
			}
			w := newWorld(t, mode, commit.Geometry{Workers: 1, Slots: 1024, MaxSessions: 64})
			server := w.start()
			w.join(2, netip.AddrPort{})
			total := 0
			for i, l := range lanes {
				sizes := []int{20, 200_000, 30, 40, 5000, 50}
				if i == 0 || i == len(lanes)-1 { // one ordered, one not
					sizes[1] = 1 << 20
				}
				for _, p := range w.players {
					p.sayAll(client.Outgoing{Mode: l.mode, Channel: l.channel, Type: kindEcho, Priority: client.Normal}, 0, sizes...)
				}
				total += len(sizes)
			}
			for _, p := range w.players {
				eventually(t, "echoes", func() bool { return p.count(p.returned) >= total })
				if up, down := p.conn.Stats().PathMTU, p.count(func() int { return p.largest }); up != wire.MaxDatagramLimit || down != up {
					t.Errorf("player %d: packets of up to %d bytes left, up to %d came", p.id, up, down)
				}
			}
			w.leave()
			server.quit()
			v := w.check(true)
			t.Logf("%+v", v)
			if v.messages != 2*total || v.large != 2*2*len(lanes) || v.repeats != 0 {
				t.Errorf("%+v, want %d messages, once each", v, 2*total)
			}
			for _, p := range w.players {
				p.checkEchoes(total)
			}
		})
	}
}

// TestPriorities has a client with little bandwidth send most of what it has
// before something more important.
func TestPriorities(t *testing.T) {
	for _, mode := range allModes {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, mode, commit.Geometry{Workers: 1, Slots: 1024, MaxSessions: 64})
			w.tune = func(o *client.Options) { o.Bandwidth, o.SendQueue = 200_000, 1<<20 }
			server := w.start()
			w.join(1, netip.AddrPort{})
			p := w.players[0]
			send := func(channel uint8, priority client.Priority, sizes ...int) {
				p.sayAll(client.Outgoing{
					Mode: client.ReliableOrdered, Channel: channel, Type: kindPlain, Priority: priority,
				}, 0, sizes...)
			}
			send(1, client.Low, 100_000)
			send(2, client.Low, slices.Repeat([]int{1000}, 30)...)
			send(3, client.Normal, slices.Repeat([]int{1000}, 30)...)
			send(4, client.High, slices.Repeat([]int{1000}, 30)...)
			send(5, client.Critical, 100)
			w.leave()
			server.quit()
			w.check(true)
			entries, err := readRecord(w.setup.Record)
			if err != nil {
				t.Fatal(err)
			}
			// The sum of the places of a channel's messages says how early they came.
			place, count := make(map[uint8]int), make(map[uint8]int)
			for i, e := range entries {
				place[e.channel] += i
				count[e.channel]++
			}
			for channel := range place {
				place[channel] /= count[channel]
			}
			if place[5] > 10 || place[4] >= place[3] || place[3] >= place[2] || place[2] >= place[1] {
				t.Errorf("messages of channels 5, 4, 3, 2 and 1 came in places %d, %d, %d, %d and %d on average",
					place[5], place[4], place[3], place[2], place[1])
			}
		})
	}
}

// TestLifetimes stalls the server for longer than messages matter. In the end
// each was either handed over or is known not to be.
func TestLifetimes(t *testing.T) {
	for _, mode := range allModes {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, mode, commit.Geometry{Workers: 1, Slots: 64, MaxSessions: 64})
			w.tune = func(o *client.Options) { o.SendQueue = 1 << 20 }
			server := w.start()
			w.join(2, netip.AddrPort{})
			next := uint32(0)
			send := func(o client.Outgoing, sizes ...int) {
				o.Type, o.Priority = kindPlain, client.Normal
				for _, l := range lanes {
					o.Mode, o.Channel = l.mode, l.channel
					for _, p := range w.players {
						p.sayAll(o, next, sizes...)
					}
				}
				next += uint32(len(sizes))
			}
			server.ask("stall %v", 500*time.Millisecond)
			send(client.Outgoing{}, 100)
			eventually(t, "a stalled handler", func() bool { return server.ask("status").Stalled > 0 })
			send(client.Outgoing{Lifetime: 100 * time.Millisecond}, append(slices.Repeat([]int{1000}, 30), 30_000, 100, 1000)...)
			send(client.Outgoing{}, 200, 5000)

			all := len(lanes) * int(next)
			for _, p := range w.players {
				eventually(t, "news of every message", func() bool {
					return w.fates(p, func(map[lane][]uint32) {}) >= all
				})
			}
			w.leave()
			server.quit()
			for _, p := range w.players {
				w.fates(p, func(handedOver map[lane][]uint32) {
					for _, l := range lanes {
						got, gone := handedOver[l], p.gaveUp[l]
						t.Logf("player %d, %+v: %d handed over, %d given up", p.id, l, len(got), len(gone))
						if l.mode == client.ReliableOrdered && !slices.IsSorted(got) {
							t.Errorf("player %d, %+v: handed over in the order %d", p.id, l, got)
						}
						for ordinal := range next {
							there, given := slices.Contains(got, ordinal), slices.Contains(gone, uint16(ordinal))
							if there == given || given && (ordinal == 0 || ordinal >= next-2) {
								t.Errorf("player %d, %+v: message %d handed over %v, given up %v", p.id, l, ordinal, there, given)
							}
						}
						if len(got)+len(gone) != int(next) {
							t.Errorf("player %d, %+v: %d messages handed over and %d given up of %d", p.id, l, len(got), len(gone), next)
						}
						if len(gone) == 0 {
							t.Errorf("player %d, %+v: none was given up", p.id, l)
						}
					}
				})
			}
		})
	}
}

// fates returns of how many messages of p it is known what became of them, and
// shows the ordinals of those that were handed over.
func (w *world) fates(p *player, look func(handedOver map[lane][]uint32)) (n int) {
	w.t.Helper()
	entries, err := readRecord(w.setup.Record)
	if err != nil {
		w.t.Fatal(err)
	}
	handedOver := make(map[lane][]uint32)
	for _, e := range entries {
		if e.client == p.id {
			l := lane{e.mode, e.channel}
			handedOver[l] = append(handedOver[l], e.ordinal)
			n++
		}
	}
	look(handedOver)
	return n + p.count(func() (given int) {
		for _, ids := range p.gaveUp {
			given += len(ids)
		}
		return given
	})
}
