package worker

import (
	"testing"

	"github.com/xrudp/xrudp/userspace/session"
)

func TestFlushDoesNotWaitForThePass(t *testing.T) {
	b := newBench(t)
	before := b.lane.sent
	if err := b.session.Send(session.Unreliable, 0, 1, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	if b.lane.sent != before {
		t.Fatal("Send sends by itself")
	}
	b.session.Flush()
	if got := b.lane.sent - before; got != 1 {
		t.Errorf("%d packets sent by Flush, want 1", got)
	}
	b.worker.pass(b.now)
	if got := b.lane.sent - before; got != 1 {
		t.Errorf("%d packets sent in all, want 1", got)
	}
}

// What has no room leaves soon after there is some, though nothing arrives.
func TestFullTransportIsTriedAgainSoon(t *testing.T) {
	b := newBench(t)
	b.lane.full = true
	if err := b.session.Send(session.Unreliable, 0, 1, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	b.session.Flush()
	b.worker.pass(b.now)
	before := b.lane.sent
	const soon = 200_000 // ns
	if at := b.worker.nextDeadline(); at > b.now+soon {
		t.Errorf("the worker wants to wake up in %d ns, want %d at most", at-b.now, soon)
	}
	b.lane.full = false
	b.worker.pass(b.worker.nextDeadline())
	if got := b.lane.sent - before; got != 1 {
		t.Errorf("%d packets sent, want 1", got)
	}
}
