package serve

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/metrics"
)

// Summary is what a server did in its life, for programs.
type Summary struct {
	Mode  string `json:"mode"`
	AFXDP string `json:"af_xdp"`

	// ReliableAccepted counts reliable data packets taken for the first time,
	// KernelAcked those of them that the XDP program acknowledged.
	ReliableAccepted uint64 `json:"reliable_accepted"`
	KernelAcked      uint64 `json:"kernel_acked"`

	// Absorbed counts pure acknowledgements that the gate took over.
	Absorbed uint64 `json:"absorbed"`

	Gate    map[string]uint64 `json:"gate"` // counters that are not zero
	Workers map[string]uint64 `json:"workers"`

	// RoomTicks is how long ticks of rooms took, nil without any.
	RoomTicks *TickTimes `json:"room_ticks,omitempty"`
}

// TickTimes describes how long ticks took.
type TickTimes struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	Max   float64 `json:"max_us"`
}

func tickTimes(d *metrics.Distribution) *TickTimes {
	if d.Count() == 0 {
		return nil
	}
	return &TickTimes{
		Count: d.Count(),
		P50:   float64(d.Quantile(0.5)) / 1e3,
		P99:   float64(d.Quantile(0.99)) / 1e3,
		Max:   float64(d.Max()) / 1e3,
	}
}

// Summary counts from an earlier status on: the counters of a former process
// may go on in this one. It may be called until Close.
func (s *Server) Summary(since *Status) (*Summary, error) {
	now, err := s.Status()
	if err != nil {
		return nil, err
	}
	sum := &Summary{
		Mode: s.report.Mode, AFXDP: s.report.AFXDP,
		ReliableAccepted: now.Gate[gate.TXAck] - since.Gate[gate.TXAck],
		Absorbed:         now.absorbed() - since.absorbed(),
		Gate:             make(map[string]uint64),
		Workers:          make(map[string]uint64),
	}
	if s.xdp != nil {
		sum.KernelAcked = sum.ReliableAccepted
	}
	for i, n := range now.Gate {
		if n -= since.Gate[i]; n > 0 {
			sum.Gate[gate.Outcome(i).String()] = n
		}
	}
	workers := now.Workers.Since(&since.Workers)
	workers.Each(func(c metrics.Counter, n uint64) {
		if n > 0 {
			sum.Workers[c.String()] = n
		}
	})
	sum.RoomTicks = tickTimes(&workers.Tick)
	return sum, nil
}

// WriteFile writes the summary as one JSON object.
func (s *Summary) WriteFile(path string) error {
	b, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write summary: %w", err)
	}
	return nil
}
