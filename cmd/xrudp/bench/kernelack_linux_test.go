package bench

import (
	"context"
	"testing"

	"github.com/xrudp/xrudp/loader/lab/labtest"
)

func TestKernelAck(t *testing.T) {
	labtest.Root(t)
	r, err := KernelAck(context.Background(), KernelAckOptions{Rounds: 2, Packets: 300_000, Sessions: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.Committed < uint64(r.Packets) || r.Committed > r.Sent {
		t.Errorf("%d packets committed of %d sent", r.Committed, r.Sent)
	}
	if r.Consumed != r.Committed {
		t.Errorf("%d packets read from the rings, want the %d committed", r.Consumed, r.Committed)
	}
	if answered := r.Committed + r.Duplicates; r.Arrived > answered || r.Arrived < answered*95/100 {
		t.Errorf("%d ACKs arrived of %d sent", r.Arrived, answered)
	}
	if r.Ratio <= 0 || r.Ratio > 1.5 {
		t.Errorf("ratio %.3f makes no sense", r.Ratio)
	}
}
