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

// TestBudget has a player flood a worker that stands still. Its own window
// closes; what another sends meanwhile is acknowledged all the same.
func TestBudget(t *testing.T) {
	w := newWorld(t, string(loader.ModeNative), commit.Geometry{Workers: 1, Slots: 512, MaxSessions: 64})
	s := w.open()
	w.join(2, netip.AddrPort{})
	greedy, other := w.players[0], w.players[1]
	greedy.play(w.dice.Uint64(), kindPlain, 0)
	eventually(t, "progress", func() bool { return greedy.count(func() int { return greedy.acked }) > 500 })
	greedy.mu.Lock()
	greedy.window = wire.ReceiveWindow
	greedy.mu.Unlock()

	s.log.stall.Store(int64(2 * time.Second))
	eventually(t, "a stalled handler", func() bool { return s.log.stall.Load() == 0 })
	began := time.Now()
	eventually(t, "a closed window", func() bool { return greedy.count(func() int { return greedy.window }) == 0 })
	handled := w.recorded()
	const messages = 40
	other.play(w.dice.Uint64(), kindPlain, messages)
	eventually(t, "acknowledgements", func() bool { return other.count(func() int { return other.acked }) == messages })
	if now := w.recorded(); now > handled+1 {
		t.Skipf("the worker went on after %v: the machine is too slow to tell", time.Since(began))
	}

	from := greedy.count(func() int { return greedy.acked })
	eventually(t, "progress", func() bool { return greedy.count(func() int { return greedy.acked }) > from+500 })
	w.leave()
	counted, err := s.outcomes()
	if err != nil {
		t.Fatal(err)
	}
	if counted[gate.DropRingFull] != 0 {
		t.Errorf("%d packets found the ring full: one session took it all", counted[gate.DropRingFull])
	}
	if err := s.stop(time.Second); err != nil {
		t.Error(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if v := w.check(true); v.repeats != 0 {
		t.Errorf("%d messages came twice", v.repeats)
	}
}
