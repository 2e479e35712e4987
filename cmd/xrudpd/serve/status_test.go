package serve

import (
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
)

func TestStatusLine(t *testing.T) {
	before := &Status{}
	before.Gate[gate.TXAck] = 1000
	now := &Status{At: before.At.Add(2 * time.Second), acks: "kernel acks", batches: "AF_XDP batches"}
	now.Gate[gate.TXAck] = 1510
	now.Gate[gate.RedirectData] = 2552
	now.Gate[gate.PassOtherPort] = 2
	now.Gate[gate.AbsorbAck] = 28000
	now.Gate[gate.AbsorbAckStale] = 58
	now.Gate[gate.DropReplay] = 6
	now.Gate[gate.AbortedReply] = 4
	want := "packets/s 15566: tx 255, redirect 1276, pass 1, absorbed 14029, drop 3, aborted 2" +
		" | kernel acks/s 255 | AF_XDP batches/s in 0 out 0 | messages/s 0 | sessions 0 | rtt p50 - p99 -"
	if got := now.Line(before); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
