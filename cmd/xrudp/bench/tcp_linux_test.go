package bench

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/xrudp/xrudp/loader/lab/labtest"
)

func TestTCP(t *testing.T) {
	labtest.Root(t)
	r, err := TCP(context.Background(), TCPOptions{
		Rounds: 3, Duration: 1500 * time.Millisecond, WarmUp: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", raw)
	if len(r.sides) < 2 || r.sides[0] != "tcp_cubic" {
		t.Errorf("sides %v", r.sides)
	}
	for _, side := range r.sides {
		// No more than the path carries, but for what waited behind a gap when
		// the short turn began, and on its way for half a round trip.
		if g := r.Goodput[side]; g < 1e4 || g > 2*tcpBandwidth {
			t.Errorf("goodput of %s is %g", side, g)
		}
		if p50, p99 := r.LatencyP50[side], r.LatencyP99[side]; p50 < 25 || p99 < p50 {
			t.Errorf("latencies of %s are %g and %g ms", side, p50, p99)
		}
		if r.Messages[side] < 50 || r.Missing[side] > r.Messages[side]/10 {
			t.Errorf("%s: %d messages, %d missing", side, r.Messages[side], r.Missing[side])
		}
	}
	if r.Overload != 0 {
		t.Errorf("%d frames were lost by overload", r.Overload)
	}
}

func TestTCPInterrupted(t *testing.T) {
	labtest.Root(t)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := TCP(ctx, TCPOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}
