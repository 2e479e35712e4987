package bench

import (
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// KernelAckOptions adjust KernelAck. The zero value works.
type KernelAckOptions struct {
	// Sessions is how many clients send in turn, a power of two. Default 64.
	Sessions int
	// Rounds is how often either side is measured, in turns. Default 5.
	Rounds int
	// Packets is how many each measurement sends. Default 2,000,000.
	Packets int
}

func (o *KernelAckOptions) fillDefaults() {
	if o.Sessions == 0 {
		o.Sessions = 64
	}
	if o.Rounds == 0 {
		o.Rounds = 5
	}
	if o.Packets == 0 {
		o.Packets = 2_000_000
	}
}

func (o *KernelAckOptions) validate() error {
	switch {
	case o.Sessions < 1 || o.Sessions > 4096 || bits.OnesCount(uint(o.Sessions)) != 1:
		return fmt.Errorf("%d sessions: not a power of two up to 4096", o.Sessions)
	case o.Rounds < 1:
		return errors.New("no rounds")
	case o.Packets < 1 || o.Packets > 1<<31:
		return fmt.Errorf("%d packets: not from 1 to 2^31", o.Packets)
	}
	return nil
}

// KernelAckResult compares the gate, which commits and acknowledges reliable
// packets of 64 bytes payload, with a program that does nothing but XDP_TX.
// Rates are medians of the rounds.
type KernelAckResult struct {
	AckedPerSecond float64 `json:"acked_per_second"`
	XDPTXPerSecond float64 `json:"xdp_tx_per_second"`
	Ratio          float64 `json:"ratio"`

	// Rounds in the order in which they were measured.
	Acked []float64 `json:"acked_rounds"`
	XDPTX []float64 `json:"xdp_tx_rounds"`

	Sessions int `json:"sessions"`
	Packets  int `json:"packets_per_round"`

	// Sums over all rounds of the gate.
	Sent       uint64            `json:"sent"`
	Committed  uint64            `json:"committed"`        // acknowledged for the first time
	Arrived    uint64            `json:"acks_arrived"`     // at the client's end
	Duplicates uint64            `json:"acked_again"`      // of packets sent again
	Consumed   uint64            `json:"read_by_consumer"` // from the commit rings
	Outcomes   map[string]uint64 `json:"outcomes"`

	Machine Machine `json:"machine"`
}

// Write prints r for people.
func (r *KernelAckResult) Write(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.Machine)
	fmt.Fprintf(w, "%d sessions, %d packets of 64 bytes per round, %d rounds in turns, one veth pair\n\n",
		r.Sessions, r.Packets, len(r.Acked))
	fmt.Fprintf(w, "%-34s %14s\n", "", "per second")
	fmt.Fprintf(w, "%-34s %14.0f\n", "committed and acknowledged in XDP", r.AckedPerSecond)
	fmt.Fprintf(w, "%-34s %14.0f\n", "bare XDP_TX of the same packets", r.XDPTXPerSecond)
	fmt.Fprintf(w, "%-34s %14.3f\n\n", "ratio", r.Ratio)
	fmt.Fprintf(w, "%d sent, %d committed, %d acknowledged again, %d ACKs arrived, %d read from the rings\n",
		r.Sent, r.Committed, r.Duplicates, r.Arrived, r.Consumed)
}
