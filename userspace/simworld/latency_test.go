package simworld_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/congestion"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
)

// latency has one end send a small ordered message 20 times a second and
// returns how long they took, sorted.
func latency(w *world, down bool, messages int) []time.Duration {
	w.t.Helper()
	sentAt := make([]uint64, 0, messages)
	var took []time.Duration
	note := func(m session.Message) { took = append(took, time.Duration(w.Net.Now()-sentAt[len(took)])) }
	w.OnServer, w.OnClient = note, note
	from := w.Client
	if down {
		from = w.Server
	}
	for range messages {
		sentAt = append(sentAt, w.Net.Now())
		if err := from.Send(session.ReliableOrdered, 0, 1, make([]byte, 64)); err != nil {
			w.t.Fatal(err)
		}
		w.PumpClient()
		w.SchedulePass()
		w.Net.Run(w.Net.Now() + uint64(50*time.Millisecond))
	}
	w.until(time.Minute, "delivery", func() bool { return len(took) == messages })
	slices.Sort(took)
	return took
}

// TestLossCostsARoundTrip: of the small messages of a game, at 5% loss and 50
// ms round trip, 99 in 100 arrive within a round trip and 30 ms of what they
// take without loss.
func TestLossCostsARoundTrip(t *testing.T) {
	p99 := func(down bool, loss float64) time.Duration {
		link := simnet.Link{Delay: 25 * time.Millisecond, Loss: loss}
		w := newWorld(t, worldConfig{seed: 3, up: link, down: link})
		w.open()
		took := latency(w, down, 20_000)
		return took[len(took)*99/100]
	}
	for _, down := range []bool{false, true} {
		free, lossy := p99(down, 0), p99(down, 0.05)
		t.Logf("to client %v: 99th percentile %v, without loss %v", down, lossy, free)
		if lossy > free+80*time.Millisecond {
			t.Errorf("to client %v: 99th percentile %v, without loss %v", down, lossy, free)
		}
	}
}

// TestTransferMakesWay: with any controller, critical messages hardly notice
// that a large message of their session fills the same link, and that one does
// not take long.
func TestTransferMakesWay(t *testing.T) {
	const size, rate = 1 << 20, 20_000_000 / 8
	link := simnet.Link{Delay: 25 * time.Millisecond}
	queue := simnet.Rate{PerSecond: rate, Overhead: simnet.UDPOverhead, Queue: simnet.Limit{Bytes: rate / 20}}
	for _, name := range congestion.Names() {
		t.Run(name, func(t *testing.T) {
			cfg := session.Config{Congestion: func() congestion.Controller {
				c, err := congestion.New(name, congestion.Params{})
				if err != nil {
					t.Fatal(err)
				}
				return c
			}}
			w := newWorld(t, worldConfig{seed: 5, slots: 2048, up: link, down: link, upRate: queue, downRate: queue, client: cfg, server: cfg})
			w.open()
			var took []time.Duration
			large := 0
			w.OnServer = func(m session.Message) {
				if len(m.Payload) == size {
					large++
					return
				}
				took = append(took, time.Duration(w.Net.Now()-binary.BigEndian.Uint64(m.Payload)))
			}
			send := func(channel uint8, priority session.Priority, payload []byte) {
				err := w.Client.SendMessage(session.Outgoing{
					Mode: session.ReliableOrdered, Channel: channel, Type: 1, Priority: priority, Payload: payload,
				})
				if err != nil {
					t.Fatal(err)
				}
				w.PumpClient()
			}
			chat := func(d time.Duration) []time.Duration {
				took = nil
				for end := w.Net.Now() + uint64(d); w.Net.Now() < end && (d > time.Second || large == 0); {
					send(0, session.Critical, binary.BigEndian.AppendUint64(nil, w.Net.Now()))
					w.Net.Run(w.Net.Now() + uint64(7*time.Millisecond))
				}
				slices.Sort(took)
				return took
			}
			alone := chat(5 * time.Second)
			send(1, session.Low, make([]byte, size))
			began := w.Net.Now()
			beside := chat(time.Second)
			lasted := time.Duration(w.Net.Now() - began)
			t.Logf("transfer took %v; latency %v alone, %v beside it", lasted, alone[len(alone)*99/100], beside[len(beside)*99/100])
			if large == 0 {
				t.Fatal("the transfer takes more than a second")
			}
			if most := alone[len(alone)*99/100] * 11 / 10; beside[len(beside)*99/100] > most {
				t.Errorf("latency %v, want at most %v", beside[len(beside)*99/100], most)
			}
		})
	}
}
