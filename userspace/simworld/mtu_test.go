package simworld_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// bulk is a world in which one end sends large messages, one at a time.
type bulk struct {
	*world
	from    *session.Session
	stream  *stream
	way     *simnet.Pipe
	largest int // datagram that arrived
}

func newBulk(t *testing.T, cfg worldConfig, toServer bool) *bulk {
	b := &bulk{world: newWorld(t, cfg)}
	look := func(arrive func(simnet.Packet)) func(simnet.Packet) {
		return func(k simnet.Packet) {
			b.largest = max(b.largest, len(k.Data))
			arrive(k)
		}
	}
	if toServer {
		b.Up = b.Net.NewPipe(cfg.up, look(b.arriveAtServer))
		b.Up.Bottleneck = b.Net.NewBottleneck(cfg.upRate)
	} else {
		b.Down = b.Net.NewPipe(cfg.down, look(b.AtClient))
		b.Down.Bottleneck = b.Net.NewBottleneck(cfg.downRate)
	}
	b.open()
	if b.from, b.stream, b.way = b.Server, &b.toClient, b.Down; toServer {
		b.from, b.stream, b.way = b.Client, &b.toServer, b.Up
	}
	return b
}

func (b *bulk) send(mode session.Mode, size int) {
	b.t.Helper()
	if !b.stream.send(b.from, mode, 1, size) {
		b.fatalf("not taken")
	}
	b.PumpClient()
	b.SchedulePass()
}

func (b *bulk) arrived() {
	b.t.Helper()
	b.until(5*time.Minute, "arrival", func() bool { return b.stream.missing == 0 })
}

// eachWay runs f over both profiles, in both directions.
func eachWay(t *testing.T, f func(t *testing.T, profile wire.Profile, toServer bool)) {
	for _, profile := range []wire.Profile{wire.Standard, wire.Compact} {
		for _, toServer := range []bool{false, true} {
			name := profile.String() + "_to_client"
			if toServer {
				name = profile.String() + "_to_server"
			}
			t.Run(name, func(t *testing.T) { f(t, profile, toServer) })
		}
	}
}

// TestPathMTU: large messages find out what the path carries, and make use of it.
func TestPathMTU(t *testing.T) {
	tests := []struct{ mtu, own, want int }{
		{mtu: 0, want: 1472},
		{mtu: 1472, want: 1472},
		{mtu: 1464, want: 1464},
		{mtu: 1400, want: 1392},
		{mtu: 1252, want: 1252},
		{mtu: 1231, want: 1200},
		{mtu: 1200, want: 1200},
		{mtu: 0, own: 1300, want: 1300},
		{mtu: 1290, own: 1300, want: 1272},
		{mtu: 0, own: 1100, want: 1100},
	}
	link := simnet.Link{Delay: 20 * time.Millisecond}
	eachWay(t, func(t *testing.T, profile wire.Profile, toServer bool) {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%d_%d", tt.mtu, tt.own), func(t *testing.T) {
				cfg := worldConfig{up: link, down: link, profile: profile, slots: 1024}
				cfg.up.MTU, cfg.down.MTU = tt.mtu, tt.mtu
				cfg.client.MaxDatagram = tt.own
				b := newBulk(t, cfg, toServer)
				for range 30 {
					b.send(session.ReliableOrdered, 50_000)
					b.arrived()
				}
				st := b.from.Stats()
				if st.PathMTU != tt.want || st.BlackHoles != 0 {
					t.Errorf("path MTU %d, want %d; %d black holes", st.PathMTU, tt.want, st.BlackHoles)
				}
				if b.largest > max(tt.want, wire.MinDatagram) || tt.want > wire.MaxDatagram && b.largest < tt.want {
					t.Errorf("largest packet %d, want %d", b.largest, tt.want)
				}
				if st.CongestionEvents != 0 || st.Lost != 0 {
					t.Errorf("probes count as loss: %d events, %d lost", st.CongestionEvents, st.Lost)
				}
				probes := st.PathProbes
				b.send(session.ReliableOrdered, 50_000)
				b.arrived()
				if again := b.from.Stats().PathProbes; again != probes || again > 16 {
					t.Errorf("%d probes, then %d", probes, again)
				}
			})
		}
	})
}

// TestPathMTUSavesPackets: a message takes fewer of them where they may be larger.
func TestPathMTUSavesPackets(t *testing.T) {
	link := simnet.Link{Delay: 20 * time.Millisecond}
	eachWay(t, func(t *testing.T, profile wire.Profile, toServer bool) {
		b := newBulk(t, worldConfig{up: link, down: link, profile: profile, slots: 1024}, toServer)
		packets := func() uint64 {
			sent := b.way.Sent
			b.send(session.ReliableOrdered, 1_000_000)
			b.arrived()
			return b.way.Sent - sent
		}
		if first, second := packets(), packets(); second > first*4/5 {
			t.Errorf("%d packets, then %d", first, second)
		}
	})
}

// TestBlackHole narrows the path in mid-transfer. Every message arrives once, the
// congestion window gives way once, and later the path is searched again.
func TestBlackHole(t *testing.T) {
	for _, mtu := range []int{1252, 1200} {
		for _, small := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d_small_%v", mtu, small), func(t *testing.T) {
				eachWay(t, func(t *testing.T, profile wire.Profile, toServer bool) {
					link := simnet.Link{Delay: 20 * time.Millisecond}
					b := newBulk(t, worldConfig{up: link, down: link, profile: profile, slots: 1024}, toServer)
					b.send(session.ReliableOrdered, 200_000)
					b.arrived()
					if got := b.from.Stats().PathMTU; got != wire.MaxDatagramLimit {
						t.Fatalf("path MTU %d", got)
					}
					b.send(session.ReliableOrdered, 3_000_000)
					b.send(session.ReliableOrdered, 40)
					b.send(session.ReliableOrdered, 3000)
					b.Net.At(b.Net.Now()+100e6, func() { b.way.Link.MTU = mtu })
					for i := range 100 {
						b.Net.At(b.Net.Now()+uint64(i)*20e6, func() {
							if small {
								b.send(session.ReliableUnordered, 40)
							}
						})
					}
					b.arrived()
					st := b.from.Stats()
					if st.BlackHoles != 1 || st.PathMTU != wire.MaxDatagram || st.CongestionEvents > 1 {
						t.Errorf("%d black holes, path MTU %d, %d congestion events", st.BlackHoles, st.PathMTU, st.CongestionEvents)
					}
					b.Net.Run(b.Net.Now() + uint64(20*time.Second))
					for range 20 {
						b.send(session.ReliableOrdered, 50_000)
						b.arrived()
					}
					if got := b.from.Stats().PathMTU; got != mtu {
						t.Errorf("path MTU %d after another search, want %d", got, mtu)
					}
					if b.from.Stats().Queued != 0 {
						b.until(time.Minute, "draining", func() bool { return b.drained(b.from) })
					}
				})
			})
		}
	}
}

// TestRandomLossIsNoBlackHole, nor is what a burst or an outage loses.
func TestRandomLossIsNoBlackHole(t *testing.T) {
	tests := []struct {
		name string
		link simnet.Link
	}{
		{"5_percent", simnet.Link{Loss: 0.05}},
		{"10_percent", simnet.Link{Loss: 0.1}},
		{"bursts", simnet.Link{Bursts: simnet.Bursts(0.05, 4)}},
		{"outages", simnet.Link{BurstLoss: 1, BurstTime: 300 * time.Millisecond, Loss: 0.0005}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			doubts := uint64(0)
			for seed := range uint64(10) {
				tt.link.Delay = 20 * time.Millisecond
				b := newBulk(t, worldConfig{seed: seed, up: tt.link, down: tt.link, slots: 1024}, seed%2 == 0)
				for range 30 {
					b.send(session.ReliableUnordered, 100_000)
					b.send(session.ReliableOrdered, 30_000)
					b.send(session.ReliableOrdered, 100)
					b.arrived()
				}
				st := b.from.Stats()
				if st.BlackHoles != 0 || b.largest != wire.MaxDatagramLimit {
					t.Errorf("seed %d: %d black holes, %d probes, largest packet %d", seed, st.BlackHoles, st.PathProbes, b.largest)
				}
				doubts += st.PathProbes
			}
			t.Logf("%d probes", doubts)
		})
	}
}
