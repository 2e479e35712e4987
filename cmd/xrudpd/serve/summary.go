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
