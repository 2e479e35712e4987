package simworld_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/congestion"
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
		if rng.IntN(4) == 0 {
			l.Bursts = simnet.Bursts(0.2*trouble, 1+5*rng.Float64())
		}
		return l
	}
	rate := func() (r simnet.Rate) {
		if rng.IntN(2) == 0 {
			r.PerSecond = 50_000 << rng.IntN(8)
			r.Overhead = simnet.UDPOverhead
			r.Queue.Packets = 10 + rng.IntN(200)
			r.Mark.Packets = 5 + rng.IntN(30)
		}
		return r
	}
	names := congestion.Names()
	controller := func() func() congestion.Controller {
		name, seed := names[rng.IntN(len(names))], rng.Uint64()
		return func() congestion.Controller {
			c, err := congestion.New(name, congestion.Params{Seed: seed})
			if err != nil {
				panic(err)
			}
			return c
		}
	}
	cfg := worldConfig{
		seed: seed, up: link(), down: link(),
		clientISN:   rng.Uint32(),
		slots:       64 << rng.IntN(6),
		cpus:        1 + rng.IntN(3),
		workerDelay: time.Duration(rng.IntN(10)) * time.Millisecond,
		upRate:      rate(), downRate: rate(), ecn: rng.IntN(2) == 0,
		outages: max(0, rng.IntN(6)-3),
	}
	if rng.IntN(2) == 0 {
		cfg.transfers = commit.TransferPage * (4 + rng.IntN(200))
	}
	patient := session.Config{IdleTimeout: time.Minute, HandshakeTimeout: 10 * time.Minute}
	cfg.client, cfg.server = patient, patient
	cfg.client.Congestion, cfg.server.Congestion = controller(), controller()
	if rng.IntN(4) == 0 {
		cfg.client.Bandwidth, cfg.server.Bandwidth = 50_000<<rng.IntN(6), 50_000<<rng.IntN(6)
	}
	if rng.IntN(8) == 0 {
		cfg.client.Reassembly = []int{-1, 20_000}[rng.IntN(2)]
	}
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
	mtu := func() int { return wire.MaxDatagram + rng.IntN(wire.MaxDatagramLimit-wire.MaxDatagram+1) }
	if rng.IntN(2) == 0 {
		cfg.up.MTU, cfg.down.MTU = mtu(), mtu()
	}
	for range max(0, rng.IntN(6)-2) {
		cfg.mtus = append(cfg.mtus, mtu())
	}
	return cfg
}

// talk sends messages of every mode in both directions for a while.
func talk(w *world, total, burst int, pace time.Duration) {
	rng := w.Net.Rand()
	pace = 1 + time.Duration(rng.Int64N(int64(pace)))
	channels := 1 + rng.IntN(6)
	var step func()
	step = func() {
		for range 1 + rng.IntN(burst) {
			st, from := &w.toServer, w.Client
			if rng.IntN(2) == 0 {
				st, from = &w.toClient, w.Server
			}
			o, size := anything(rng, from, channels)
			if st.say(from, o, size) {
				total -= 1 + size/2000
			}
		}
		w.PumpClient()
		w.SchedulePass()
		if total > 0 {
			w.Net.At(w.Net.Now()+rng.Uint64N(uint64(pace)), step)
		}
	}
	step()
	w.until(30*time.Minute, "sending", func() bool { return total <= 0 })
}

// anything draws a message: mostly small ones, some of up to 200 KB, with any
// priority, some with a lifetime.
func anything(rng *rand.Rand, from *session.Session, channels int) (o session.Outgoing, size int) {
	o = session.Outgoing{
		Mode: session.Mode(rng.IntN(4)), Channel: uint8(rng.IntN(channels) * 25),
		Priority: session.Priority(rng.IntN(4)),
	}
	size = rng.IntN(40)
	switch rng.IntN(40) {
	case 0, 1, 2, 3:
		size = rng.IntN(from.MaxPayload())
	case 4:
		size = rng.IntN(min(from.MaxMessage(), 5000))
	case 5:
		if rng.IntN(5) == 0 {
			size = rng.IntN(min(from.MaxMessage(), 200_000))
		}
	}
	if rng.IntN(4) == 0 {
		o.Lifetime = time.Duration(1+rng.IntN(500)) * time.Millisecond
	}
	return o, size
}

// TestEveryMessageArrives is the promise of exactly once, in order.
func TestEveryMessageArrives(t *testing.T) {
	for seed := range seeds(t) {
		cfg := randomWorld(seed)
		total, burst, pace := 1500, 8, 30*time.Millisecond
		if seed%16 == 0 { // more than the path carries
			total, burst, pace = 8000, 80, 3*time.Millisecond
			cfg.client.IdleTimeout, cfg.server.IdleTimeout = 10*time.Minute, 10*time.Minute
		}
		w := newWorld(t, cfg)
		w.open()
		talk(w, total, burst, pace)
		w.until(30*time.Minute, "delivery", func() bool { return w.toServer.missing == 0 && w.toClient.missing == 0 })
		w.until(30*time.Minute, "draining", func() bool { return w.drained(w.Client) && w.drained(w.Server) })
		if w.Client.State() != session.Open || w.Server.State() != session.Open {
			w.fatalf("client %v (%v), server %v (%v)", w.Client.State(), w.Client.Reason(), w.Server.State(), w.Server.Reason())
		}
		closeWorld(w)
		if t.Failed() {
			return
		}
	}
}

// drained reports whether nothing is left of what was said.
func (w *world) drained(s *session.Session) bool {
	st := s.Stats()
	return st.Queued == 0 && st.InFlight == 0 && st.HeldMessages == 0 && st.HeldPackets == 0 && st.HeldLarge == 0
}

// closeWorld closes from either end with messages still queued, which must
// arrive first.
func closeWorld(w *world) {
	w.t.Helper()
	closing, other, st := w.Client, w.Server, &w.toServer
	if w.Net.Rand().IntN(2) == 0 {
		closing, other, st = w.Server, w.Client, &w.toClient
	}
	for i := range 20 {
		st.send(closing, session.ReliableOrdered, uint8(i%3), 300+i/19*(min(closing.MaxMessage(), 10_000)-300))
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
	if w.Transfers != nil && w.Transfers.Used() != 0 {
		w.fatalf("%d bytes taken by large messages at the end", w.Transfers.Used())
	}
}
