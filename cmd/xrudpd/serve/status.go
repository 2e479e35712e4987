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
}

// Status reads every counter. It may be called until Close, from one goroutine.
func (s *Server) Status() (*Status, error) {
	now := &Status{At: time.Now()}
	s.group.Collect(&now.Workers)
	if s.xdp == nil {
		s.group.CollectOutcomes(&now.Gate)
		return now, nil
	}
	counters, err := s.xdp.Stats()
	if err != nil {
		return nil, err
	}
	now.Gate = counters
	return now, nil
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
	var all, absorbed uint64
	for i, n := range s.Gate {
		d := n - before.Gate[i]
		all += d
		switch out := gate.Outcome(i); out {
		case gate.AbsorbAck, gate.AbsorbAckStale:
			// Dropped by verdict only: its effect is kept.
			absorbed += d
		default:
			verdicts[out.Verdict()] += d
		}
	}
	acks := s.Gate[gate.TXAck] - before.Gate[gate.TXAck]
	w := s.Workers.Since(&before.Workers)

	return fmt.Sprintf("packets/s %s (tx %s absorb %s redirect %s pass %s drop %s aborted %s), acks/s %s, "+
		"messages/s %s, batches/s in %s out %s, sessions %d, rtt p50 %s p99 %s",
		rate(all), rate(verdicts[gate.TX]), rate(absorbed), rate(verdicts[gate.Redirect]),
		rate(verdicts[gate.Pass]), rate(verdicts[gate.Drop]), rate(verdicts[gate.Aborted]), rate(acks),
		rate(w.Get(metrics.Messages)), rate(w.Get(metrics.BatchesIn)), rate(w.Get(metrics.BatchesOut)),
		s.Sessions(), micros(&w.RTT, 0.5), micros(&w.RTT, 0.99))
}

// micros is a quantile of round-trip times, or a dash without any.
func micros(d *metrics.Distribution, q float64) string {
	if d.Count() == 0 {
		return "-"
	}
	return (time.Duration(d.Quantile(q)) * time.Microsecond).String()
}
