package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// TestTinyRing has a ring of 8 slots and handlers that stall. What finds no
// slot is not acknowledged, the window says so, and later everything arrives.
func TestTinyRing(t *testing.T) {
	for _, mode := range []string{string(loader.ModeNative), modeUDP} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, mode, commit.Geometry{Workers: 1, Slots: 8, MaxSessions: 64})
			server := w.start()
			w.join(3, netip.AddrPort{})
			for _, p := range w.players {
				p.play(w.dice.Uint64(), kindPlain, 0)
			}
			narrow := wire.ReceiveWindow
			stalls := 3
			if testing.Short() {
				stalls = 1
			}
			for range stalls {
				for _, p := range w.players {
					from := p.count(func() int { return p.acked })
					eventually(t, "progress", func() bool { return p.count(func() int { return p.acked }) > from+100 })
					p.mu.Lock()
					p.window = wire.ReceiveWindow
					p.mu.Unlock()
				}
				server.stall(300*time.Millisecond, false)
				for _, p := range w.players {
					from := p.count(func() int { return p.acked })
					eventually(t, "progress", func() bool { return p.count(func() int { return p.acked }) > from+100 })
					narrow = min(narrow, p.count(func() int { return p.window }))
				}
			}
			full := server.ask("status").Outcomes[gate.DropRingFull]
			w.leave()
			server.quit()
			v := w.check(true)
			t.Logf("%d packets found the ring full, smallest window %d: %+v", full, narrow, v)
			if full == 0 {
				t.Errorf("no packet counted as %v", gate.DropRingFull)
			}
			if narrow != 0 {
				t.Errorf("smallest window advertised is %d", narrow)
			}
			if v.repeats != 0 {
				t.Errorf("%d messages came twice", v.repeats)
			}
		})
	}
}
