package simworld_test

import (
	"slices"
	"testing"
	"time"

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
