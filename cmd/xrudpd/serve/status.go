package serve

import (
	"fmt"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/metrics"
)

// Status is the counters of a server at one time.
type Status struct {
	At      time.Time
	Gate    [gate.OutcomeMax]uint64
	Workers metrics.Snapshot

	// acks and batches say in a line whose these are.
	acks, batches string
}

// Status reads every counter. It may be called until Close, from one goroutine.
func (s *Server) Status() (*Status, error) {
	now := &Status{At: time.Now(), acks: "acks", batches: "batches"}
	s.group.Collect(&now.Workers)
	if s.report.AFXDP != "none" {
		now.batches = "AF_XDP batches"
	}
	if s.xdp == nil {
		s.group.CollectOutcomes(&now.Gate)
		return now, nil
	}
	counters, err := s.xdp.Stats()
	if err != nil {
		return nil, err
	}
	now.acks, now.Gate = "kernel acks", counters
	return now, nil
}

// absorbed is how many packets the gate took the effect of and kept from
// everybody.
func (s *Status) absorbed() uint64 {
	return s.Gate[gate.AbsorbAck] + s.Gate[gate.AbsorbAckStale]
}

// Sessions is how many there are.
func (s *Status) Sessions() uint64 {
	m := &s.Workers
	return m.Get(metrics.SessionsOpened) + m.Get(metrics.SessionsRecovered) - m.Get(metrics.SessionsClosed)
}

// Line describes what happened since an earlier status, in one line.
func (s *Status) Line(before *Status) string {
	seconds := s.At.Sub(before.At).Seconds()
	rate := func(n uint64) string { return fmt.Sprintf("%.0f", float64(n)/seconds) }

	var verdicts [gate.Redirect + 1]uint64
	var all uint64
	for i, n := range s.Gate {
		d := n - before.Gate[i]
		all += d
		verdicts[gate.Outcome(i).Verdict()] += d
	}
	// Dropped by verdict only: the effect of these is kept.
	absorbed := s.absorbed() - before.absorbed()
	verdicts[gate.Drop] -= absorbed
	acks := s.Gate[gate.TXAck] - before.Gate[gate.TXAck]
	w := s.Workers.Since(&before.Workers)

	return fmt.Sprintf("packets/s %s: tx %s, redirect %s, pass %s, absorbed %s, drop %s, aborted %s"+
		" | %s/s %s | %s/s in %s out %s | messages/s %s | sessions %d | rtt p50 %s p99 %s",
		rate(all), rate(verdicts[gate.TX]), rate(verdicts[gate.Redirect]), rate(verdicts[gate.Pass]),
		rate(absorbed), rate(verdicts[gate.Drop]), rate(verdicts[gate.Aborted]),
		s.acks, rate(acks), s.batches, rate(w.Get(metrics.BatchesIn)), rate(w.Get(metrics.BatchesOut)),
		rate(w.Get(metrics.Messages)), s.Sessions(), micros(&w.RTT, 0.5), micros(&w.RTT, 0.99))
}

// micros is a quantile of round-trip times, or a dash without any.
func micros(d *metrics.Distribution, q float64) string {
	if d.Count() == 0 {
		return "-"
	}
	return (time.Duration(d.Quantile(q)) * time.Microsecond).String()
}
