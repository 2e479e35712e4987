package serve

import (
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/metrics"
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

func TestTickTimes(t *testing.T) {
	var d metrics.Distribution
	if got := tickTimes(&d); got != nil {
		t.Errorf("without ticks got %+v", got)
	}
	var set metrics.Set
	for range 99 {
		set.Tick.Record(32_000)
	}
	set.Tick.Record(64_000_000)
	var s metrics.Snapshot
	s.Collect(&set)
	if got, want := *tickTimes(&s.Tick), (TickTimes{Count: 100, P50: 32, P99: 32, Max: 64_000}); got.Count != want.Count ||
		got.Max != want.Max || got.P50 < want.P50 || got.P50 > want.P50*1.05 || got.P99 != got.P50 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if rest := s.Since(&s); tickTimes(&rest.Tick) != nil {
		t.Error("ticks since now")
	}
}
