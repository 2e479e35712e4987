package e2e

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/session"
)

// relay stands between one client and the server. What happens to the n-th
// packet of a direction depends on the seed alone.
type relay struct {
	t                     *testing.T
	outer, inner          *net.UDPConn // to the client, to the server
	client                atomic.Pointer[netip.AddrPort]
	work                  sync.WaitGroup
	lost, doubled, behind atomic.Uint64
}

// newRelay opens a relay in the namespace, or in this one if that is nil.
func newRelay(t *testing.T, ns *lab.Namespace, server netip.AddrPort, seed uint64) *relay {
	t.Helper()
	r := &relay{t: t}
	open := func() (err error) {
		if r.outer, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			return err
		}
		r.inner, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(server))
		return err
	}
	run := open
	if ns != nil {
		run = func() error { return ns.Do(open) }
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	r.work.Go(func() {
		r.carry(rand.New(rand.NewPCG(seed, 0)), r.outer, func(b []byte) { _, _ = r.inner.Write(b) })
	})
	r.work.Go(func() {
		r.carry(rand.New(rand.NewPCG(seed, 1)), r.inner, func(b []byte) {
			if to := r.client.Load(); to != nil {
				_, _ = r.outer.WriteToUDPAddrPort(b, *to)
			}
		})
	})
	t.Cleanup(func() {
		r.outer.Close()
		r.inner.Close()
		r.work.Wait()
	})
	return r
}

func (r *relay) address() netip.AddrPort { return r.outer.LocalAddr().(*net.UDPAddr).AddrPort() }

// carry moves packets from a socket until that is closed: of 100, 8 are lost,
// 8 come twice and 15 up to 12 ms late.
func (r *relay) carry(dice *rand.Rand, from *net.UDPConn, send func([]byte)) {
	var buf [2048]byte
	for {
		n, sender, err := from.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			return
		}
		if from == r.outer {
			r.client.Store(&sender)
		}
		fate, delay := dice.IntN(100), time.Duration(dice.IntN(12_000))*time.Microsecond
		switch {
		case fate < 8:
			r.lost.Add(1)
			continue
		case fate < 16:
			r.doubled.Add(1)
			late := slices.Clone(buf[:n])
			time.AfterFunc(delay, func() { send(late) })
		case fate < 31:
			r.behind.Add(1)
			late := slices.Clone(buf[:n])
			time.AfterFunc(delay, func() { send(late) })
			continue
		}
		send(buf[:n])
	}
}

// TestBadPath loses, doubles and delays packets both ways. Messages and their
// echoes arrive once each, in order.
func TestBadPath(t *testing.T) {
	for _, mode := range []string{string(loader.ModeNative), modeUDP} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, mode, commit.Geometry{Workers: 2, Slots: 256, MaxSessions: 128})
			server := w.start()
			messages := 3000
			if testing.Short() {
				messages = 800
			}
			var relays []*relay
			for range 3 {
				r := newRelay(t, w.clientSide(), w.setup.Address, w.dice.Uint64())
				relays = append(relays, r)
				w.join(1, r.address())
			}
			for _, p := range w.players {
				p.large = 100
				p.play(w.dice.Uint64(), kindEcho, messages)
			}
			for _, p := range w.players {
				eventually(t, "echoes", func() bool {
					return p.count(func() int { return p.returned() }) >= messages
				})
			}
			w.leave()
			server.quit()
			v := w.check(true)
			var lost, doubled, behind uint64
			for _, r := range relays {
				lost, doubled, behind = lost+r.lost.Load(), doubled+r.doubled.Load(), behind+r.behind.Load()
			}
			t.Logf("%d packets lost, %d doubled, %d late: %+v", lost, doubled, behind, v)
			if lost == 0 || doubled == 0 || behind == 0 {
				t.Error("the path was good")
			}
			if v.messages != 3*messages || v.repeats != 0 {
				t.Errorf("%d messages handed over, %d of them again, want %d once", v.messages, v.repeats, 3*messages)
			}
			for _, p := range w.players {
				p.checkEchoes(messages)
			}
		})
	}
}

func (p *player) returned() (n int) {
	for _, ordinals := range p.echoed {
		n += len(ordinals)
	}
	return n
}

// checkEchoes wants every message back once, ordered ones in order.
func (p *player) checkEchoes(messages int) {
	p.t.Helper()
	if n := p.returned(); n != messages {
		p.t.Errorf("player %d: %d messages came back, want %d", p.id, n, messages)
	}
	for l, ordinals := range p.echoed {
		if l.mode == session.ReliableUnordered {
			slices.Sort(ordinals)
		}
		for i, ordinal := range ordinals {
			if int(ordinal) != i {
				p.t.Errorf("player %d: %d came back on %+v in place of %d", p.id, ordinal, l, i)
				break
			}
		}
	}
}
