package bench

import (
	"fmt"
	"io"
	"time"
)

// The path of the comparison, the same both ways.
const (
	tcpBandwidth   = 50_000_000 // bits per second
	tcpRTT         = 50 * time.Millisecond
	tcpBulkLoss    = 0.01
	tcpMessageLoss = 0.05
)

// Small messages of the comparison.
const (
	tcpMessageSize = 64
	tcpMessageRate = 20 // per second and connection
	// tcpFlows is how many connections send small messages side by side, so
	// that one message in a hundred is more than a handful.
	tcpFlows = 10
)

// Names of the kernel's sides in TCPResult. Those of xrudp are "xrudp_" and
// the controller's name.
const (
	sideCubic = "tcp_cubic"
	sideBBR   = "tcp_bbr"
)

func sideOf(controller string) string { return "xrudp_" + controller }

// TCPOptions adjust TCP. The zero value works.
type TCPOptions struct {
	// Duration is how long either measurement of each side sends in all.
	// Default 20 s.
	Duration time.Duration
	// Rounds is over how many turns of every side that is spread. Default 4.
	Rounds int
	// WarmUp is how long bulk data flows before each measurement. Default 2 s.
	WarmUp time.Duration
}

func (o *TCPOptions) fillDefaults() {
	if o.Duration == 0 {
		o.Duration = 20 * time.Second
	}
	if o.Rounds == 0 {
		o.Rounds = 4
	}
	if o.WarmUp == 0 {
		o.WarmUp = 2 * time.Second
	}
}

func (o *TCPOptions) validate() error {
	switch {
	case o.Rounds < 1 || o.Rounds > 1000:
		return fmt.Errorf("%d rounds: not from 1 to 1000", o.Rounds)
	case o.Duration < time.Duration(o.Rounds)*100*time.Millisecond:
		return fmt.Errorf("duration %v: less than 100ms for each of %d rounds", o.Duration, o.Rounds)
	case o.WarmUp < 0:
		return fmt.Errorf("warm-up %v: negative", o.WarmUp)
	}
	return nil
}

// TCPResult compares xrudp, by congestion controller, with the kernel's TCP on
// the same bad path. All values are medians of the rounds.
type TCPResult struct {
	// Goodput is the payload of bulk data that reached the server's
	// application, with 1% loss.
	Goodput map[string]float64 `json:"goodput_bits_per_second"`
	// Ratio is that of xrudp with each controller to TCP Cubic's.
	Ratio map[string]float64 `json:"ratio_to_tcp_cubic"`

	// Latencies are those of reliable messages of 64 bytes, 20 per second and
	// connection, from Send to the server's application, with 5% loss.
	LatencyP50 map[string]float64 `json:"latency_p50_ms"`
	LatencyP99 map[string]float64 `json:"latency_p99_ms"`

	Targets []TCPTarget `json:"targets"`

	// Rounds in the order in which they were measured.
	GoodputRounds map[string][]float64 `json:"goodput_rounds"`
	P50Rounds     map[string][]float64 `json:"latency_p50_rounds"`
	P99Rounds     map[string][]float64 `json:"latency_p99_rounds"`
	Messages      map[string]int       `json:"messages"`         // that arrived
	Missing       map[string]int       `json:"messages_missing"` // that did not in time

	RTT         float64 `json:"rtt_ms"`
	Bandwidth   float64 `json:"bandwidth_bits_per_second"`
	BulkLoss    float64 `json:"bulk_loss"`
	MessageLoss float64 `json:"message_loss"`
	Seconds     float64 `json:"seconds_per_side"`

	// Overload counts frames that were lost because the machine could not
	// follow. It has to be 0.
	Overload   uint64  `json:"frames_lost_by_overload"`
	DefaultTCP string  `json:"default_tcp"` // of this kernel
	Machine    Machine `json:"machine"`

	sides []string // in the order of measuring
}

// TCPTarget is something promised.
type TCPTarget struct {
	Name string  `json:"name"`
	Want float64 `json:"want"`
	Got  float64 `json:"got"`
	Met  bool    `json:"met"`
}

// Promises about goodput, as multiples of TCP Cubic's by controller, and about
// the slowest messages, as a share of TCP Cubic's p99.
var tcpGoodputTargets = []struct {
	controller string
	ratio      float64
}{{"bbr", 2}, {"adaptive", 1.54}}

const tcpLatencyTarget = 0.5

// sum takes the medians of the rounds and judges the targets.
func (r *TCPResult) sum(controllers []string) {
	r.Goodput, r.LatencyP50, r.LatencyP99 = medians(r.GoodputRounds), medians(r.P50Rounds), medians(r.P99Rounds)
	r.Ratio = make(map[string]float64)
	for _, c := range controllers {
		r.Ratio[c] = r.Goodput[sideOf(c)] / r.Goodput[sideCubic]
	}
	for _, t := range tcpGoodputTargets {
		if got, ok := r.Ratio[t.controller]; ok {
			r.Targets = append(r.Targets, TCPTarget{
				Name: "goodput with " + t.controller + ", as a multiple of TCP Cubic's, at least",
				Want: t.ratio, Got: got, Met: got >= t.ratio,
			})
		}
	}
	for _, c := range controllers {
		got := r.LatencyP99[sideOf(c)] / r.LatencyP99[sideCubic]
		r.Targets = append(r.Targets, TCPTarget{
			Name: "p99 of messages with " + c + ", as a share of TCP Cubic's, below",
			Want: tcpLatencyTarget, Got: got, Met: got < tcpLatencyTarget,
		})
	}
}

func medians(rounds map[string][]float64) map[string]float64 {
	m := make(map[string]float64)
	for side, values := range rounds {
		m[side] = median(values)
	}
	return m
}

// Write prints r for people.
func (r *TCPResult) Write(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.Machine)
	fmt.Fprintf(w, "%.0f ms round trip, %.0f Mbit/s with a queue of as much; %.0f s of each, in turns; TCP here is %s by default\n\n",
		r.RTT, r.Bandwidth/1e6, r.Seconds, r.DefaultTCP)
	fmt.Fprintf(w, "%-16s %14s %14s %12s %12s %10s %8s\n", "", "goodput,", "of TCP", "message,", "message,", "messages", "missing")
	fmt.Fprintf(w, "%-16s %14s %14s %12s %12s\n", "",
		fmt.Sprintf("%g%% lost", 100*r.BulkLoss), "Cubic's", "p50", "p99")
	for _, side := range r.sides {
		fmt.Fprintf(w, "%-16s %7.2f Mbit/s %14.2f %9.1f ms %9.1f ms %10d %8d\n", side, r.Goodput[side]/1e6,
			r.Goodput[side]/r.Goodput[sideCubic], r.LatencyP50[side], r.LatencyP99[side], r.Messages[side], r.Missing[side])
	}
	fmt.Fprintf(w, "\nmessages: %d bytes, %d per second, %g%% lost\n", tcpMessageSize, tcpMessageRate, 100*r.MessageLoss)
	for _, t := range r.Targets {
		verdict := "MISSED"
		if t.Met {
			verdict = "met"
		}
		fmt.Fprintf(w, "%-64s %5.2f: %.2f, %s\n", t.Name, t.Want, t.Got, verdict)
	}
	if r.Overload > 0 {
		fmt.Fprintf(w, "NOT VALID: the machine was too busy and lost %d frames by itself\n", r.Overload)
	}
}
