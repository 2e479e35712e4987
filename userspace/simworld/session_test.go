package simworld_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// seeds returns how many worlds a property is tried in: XRUDP_SEEDS, or a
// number that keeps the tests quick.
func seeds(t *testing.T) uint64 {
	if v := os.Getenv("XRUDP_SEEDS"); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			t.Fatalf("read XRUDP_SEEDS: %v", err)
		}
		return n
	}
	if testing.Short() {
		return 20
	}
	return 200
}

// randomWorld draws a world from its seed: links from perfect to terrible, in
// both directions, and every kind of peer.
func randomWorld(seed uint64) worldConfig {
	rng := simnet.New(seed, 0).Rand()
	link := func() simnet.Link {
		trouble := rng.Float64() * rng.Float64()
		l := simnet.Link{
			Delay:        time.Duration(rng.IntN(100)) * time.Millisecond,
			Jitter:       time.Duration(rng.IntN(30)) * time.Millisecond,
			Loss:         0.4 * trouble,
			Duplicate:    0.2 * rng.Float64() * trouble,
			Corrupt:      0.1 * rng.Float64() * trouble,
			Reorder:      0.2 * rng.Float64(),
			ReorderDelay: time.Duration(rng.IntN(200)) * time.Millisecond,
		}
		if rng.IntN(3) == 0 {
			l.BurstLoss, l.BurstTime = 0.1, time.Duration(rng.IntN(300))*time.Millisecond
		}
		return l
	}
	cfg := worldConfig{
		seed: seed, up: link(), down: link(),
		clientISN:   rng.Uint32(),
		slots:       64 << rng.IntN(6),
		cpus:        1 + rng.IntN(3),
		workerDelay: time.Duration(rng.IntN(10)) * time.Millisecond,
	}
	patient := session.Config{IdleTimeout: time.Minute, HandshakeTimeout: time.Minute}
	cfg.client, cfg.server = patient, patient
	if rng.IntN(4) == 0 {
		cfg.client.NoSACK = true
	}
	if rng.IntN(4) == 0 {
		cfg.client.MaxDatagram = wire.MinDatagram + rng.IntN(600)
	}
	if rng.IntN(2) == 0 {
		cfg.forceISN = true
		cfg.serverISN = -uint32(rng.IntN(300))
		cfg.clientISN = -uint32(rng.IntN(300))
	}
	if rng.IntN(3) == 0 {
		// Numbers of 16 bits wrap anyway; UDP keeps damaged packets back.
		cfg.profile, cfg.forceISN = wire.Compact, false
		cfg.up.Corrupt, cfg.down.Corrupt = 0, 0
		if rng.IntN(2) == 0 {
			cfg.clientISN = 0xffff - uint32(rng.IntN(300))
		}
	}
	return cfg
}

// talk sends messages of every mode in both directions for a while.
func talk(w *world, total int, pace time.Duration) {
	rng := w.Net.Rand()
	channels := 1 + rng.IntN(6)
	var step func()
	step = func() {
		for range 1 + rng.IntN(8) {
			st, from := &w.toServer, w.Client
			if rng.IntN(2) == 0 {
				st, from = &w.toClient, w.Server
			}
			size := rng.IntN(40)
			if rng.IntN(10) == 0 {
				size = rng.IntN(from.MaxPayload())
			}
			if st.send(from, session.Mode(rng.IntN(4)), uint8(rng.IntN(channels)*25), size) {
				total--
			}
		}
		w.PumpClient()
		w.SchedulePass()
		if total > 0 {
			w.Net.At(w.Net.Now()+rng.Uint64N(uint64(pace)), step)
		}
	}
	step()
	w.until(10*time.Minute, "sending", func() bool { return total <= 0 })
}

// TestEveryMessageArrives is the promise of exactly once, in order.
func TestEveryMessageArrives(t *testing.T) {
	for seed := range seeds(t) {
		w := newWorld(t, randomWorld(seed))
		w.open()
		talk(w, 1500, time.Duration(1+w.Net.Rand().IntN(30))*time.Millisecond)
		w.until(10*time.Minute, "delivery", func() bool { return w.toServer.missing == 0 && w.toClient.missing == 0 })
		if w.Client.State() != session.Open || w.Server.State() != session.Open {
			w.fatalf("client %v (%v), server %v (%v)", w.Client.State(), w.Client.Reason(), w.Server.State(), w.Server.Reason())
		}
		closeWorld(w)
		if t.Failed() {
			return
		}
	}
}

// closeWorld closes from either end with messages still queued, which must
// arrive first.
func closeWorld(w *world) {
	w.t.Helper()
	closing, other, st := w.Client, w.Server, &w.toServer
	if w.Net.Rand().IntN(2) == 0 {
		closing, other, st = w.Server, w.Client, &w.toClient
	}
	for range 20 {
		st.send(closing, session.ReliableOrdered, 7, 300)
	}
	closing.Close(wire.ReasonKicked)
	w.PumpClient()
	w.SchedulePass()
	w.until(5*time.Minute, "closing", func() bool {
		return closing.State() == session.Closed && other.State() == session.Closed
	})
	if st.missing != 0 || closing.Reason() != wire.ReasonKicked || other.Reason() != wire.ReasonKicked {
		w.fatalf("%d messages missing at the end; %v, %v", st.missing, closing.Reason(), other.Reason())
	}
	for i, r := range w.Readers {
		if r.Free() != w.cfg.slots {
			w.fatalf("ring %d: %d of %d slots free at the end", i, r.Free(), w.cfg.slots)
		}
	}
}
