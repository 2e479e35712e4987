package worker

import (
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/wire"
)

// unhurried is a handler that never has anything to do by itself.
type unhurried struct{ *recorder }

func (unhurried) NextTick() uint64 { return ^uint64(0) }

// TestWaitingForNobodyCostsLittle: acknowledgements that a gate in the kernel
// absorbs are looked out for often while they come, and seldom where the client is
// silent. A gate in the worker is not looked after at all.
func TestWaitingForNobodyCostsLittle(t *testing.T) {
	bothGates(t, func(t *testing.T, kernel bool) {
		record, rec := recording()
		handler := func(w *Worker) Handler {
			record(w)
			return unhurried{*rec}
		}
		w := newWorld(t, worldConfig{link: simnet.Link{Delay: 20 * time.Millisecond}, handler: handler, kernel: kernel})
		p := w.opened(0)
		w.run(100 * time.Millisecond)
		k := w.group.workers[0]
		looks := func(d time.Duration) uint64 {
			k.publish()
			before := k.Metrics().Get(metrics.Passes)
			w.run(d)
			k.publish()
			return k.Metrics().Get(metrics.Passes) - before
		}
		send := func() {
			o := session.Outgoing{Mode: session.ReliableOrdered, Type: 1, Payload: big(300_000, 1)}
			if err := (*rec).last.SendMessage(o); err != nil {
				t.Fatal(err)
			}
			w.resume()
		}
		send()
		began := w.net.Now()
		w.until(time.Second, "message", func() bool { return len(p.got) == 1 })
		if took := w.net.Now() - began; took > 300*ms {
			t.Errorf("300 kB took %d ms", took/ms)
		}
		w.run(500 * time.Millisecond)
		if got := looks(900 * time.Millisecond); got > 10 {
			t.Errorf("%d passes in a second with nothing to do", got)
		}

		p.lose = func(wire.Header) bool { return true }
		send()
		w.run(500 * time.Millisecond)
		most := uint64(100)
		if kernel {
			most = 1200 // one every millisecond would be 4000
		}
		if got := looks(4 * time.Second); got > most {
			t.Errorf("%d passes in four seconds of silence", got)
		}
		if k.blocked != 1 {
			t.Errorf("%d sessions wait", k.blocked)
		}
	})
}
