package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xrudp/xrudp/userspace/simnet"
)

// SimOptions adjust Sim. The zero value works.
type SimOptions struct {
	// Seed decides every draw: the same seed gives the same result on every
	// machine. Default 1.
	Seed uint64
	// Controllers are compared. Default all there are.
	Controllers []string
	// ToClient has bulk data flow from the server to the client.
	ToClient bool
	// Quick measures fewer cells, and each for less time.
	Quick bool
	// Trace is a recorded path to run over as well.
	Trace []simnet.Step
}

func (o *SimOptions) fillDefaults() {
	if o.Seed == 0 {
		o.Seed = 1
	}
	if len(o.Controllers) == 0 {
		o.Controllers = simControllers()
	}
}

func (o *SimOptions) validate() error {
	for _, name := range o.Controllers {
		if !slices.Contains(simControllers(), name) {
			return fmt.Errorf("controller %q: there are %v", name, simControllers())
		}
	}
	if len(o.Trace) == 1 {
		return errors.New("trace of one step: the last one only says when it ends")
	}
	return nil
}

// simPlan is what is measured, and for how long.
type simPlan struct {
	losses []float64
	rtts   []time.Duration
	// The warm-up takes at least 20 round trips as well.
	warmUp, bulk, latency time.Duration
	share                 time.Duration // of fairness
	outages               []time.Duration
	outageRuns            int
	transfers             int
	floors                []time.Duration
	floorRTTs             []time.Duration
	floorLosses           []float64
}

func (o *SimOptions) plan() simPlan {
	const ms = time.Millisecond
	if o.Quick {
		return simPlan{
			losses: []float64{0, 0.02},
			rtts:   []time.Duration{20 * ms, 50 * ms},
			warmUp: 3 * time.Second, bulk: 3 * time.Second, latency: 10 * time.Second, share: 4 * time.Second,
			outages: []time.Duration{time.Second}, outageRuns: 1,
			transfers: 2,
			floors:    []time.Duration{30 * ms, 200 * ms}, floorRTTs: []time.Duration{20 * ms}, floorLosses: []float64{0.05},
		}
	}
	return simPlan{
		losses: []float64{0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1},
		rtts:   []time.Duration{5 * ms, 20 * ms, 50 * ms, 100 * ms, 200 * ms, 300 * ms},
		warmUp: 10 * time.Second, bulk: 30 * time.Second, latency: 150 * time.Second, share: 20 * time.Second,
		outages: []time.Duration{time.Second, 3 * time.Second}, outageRuns: 9,
		transfers: 100,
		floors:    []time.Duration{10 * ms, 30 * ms, 100 * ms, 200 * ms},
		floorRTTs: []time.Duration{5 * ms, 50 * ms, 150 * ms}, floorLosses: []float64{0.01, 0.05},
	}
}

// SimResult is what sessions of this engine do on simulated paths.
type SimResult struct {
	Seed           uint64 `json:"seed"`
	Direction      string `json:"direction"` // of bulk data
	LinkBitsPerSec uint64 `json:"link_bits_per_second"`

	Rows      []SimRow      `json:"rows"`
	Fairness  []SimFairness `json:"fairness"`
	Marks     []SimMarks    `json:"marks"`
	Outages   []SimOutage   `json:"outages"`
	Transfers []SimTransfer `json:"transfers"`
	Floors    []SimFloor    `json:"rto_floors"`
	Traced    []SimTraced   `json:"trace,omitempty"`

	plan  simPlan
	shown []simShown
}

// SimRow is one cell of controller, loss and round trip. Loss strikes both
// directions.
type SimRow struct {
	Controller  string  `json:"controller"`
	Loss        float64 `json:"loss"` // probability
	LossPercent float64 `json:"loss_percent"`
	RTT         float64 `json:"rtt_ms"`

	// Of one flow of bulk data: payload delivered, as a share of the link's
	// rate, packets sent more than once, as a share of those that carried
	// data, and what it builds up at the bottleneck.
	GoodputShare float64 `json:"goodput_share"`
	ResentShare  float64 `json:"resent_share"`
	SimQueue

	// Of reliable ordered messages of 64 bytes, 20 per second each way, on a
	// path of their own: from Send to the handler.
	LatencyP50 float64 `json:"latency_p50_ms"`
	LatencyP99 float64 `json:"latency_p99_ms"`
	Messages   int     `json:"latency_messages"`
}

// SimQueue says how full the bottleneck's queue was over time.
type SimQueue struct {
	QueueMean        float64 `json:"queue_mean_ms"`
	QueueP99         float64 `json:"queue_p99_ms"`
	QueueMeanPackets float64 `json:"queue_mean_packets"`
	QueueP99Packets  float64 `json:"queue_p99_packets"`
}

// SimFairness says how flows share one bottleneck.
type SimFairness struct {
	Controller   string    `json:"controller"`
	Flows        int       `json:"flows"`
	RTT          float64   `json:"rtt_ms"`
	Jain         float64   `json:"jain"`
	GoodputShare float64   `json:"goodput_share"` // of all together
	Shares       []float64 `json:"shares"`
}

// SimMarks says what it is worth to be told of a queue instead of losing
// packets to it.
type SimMarks struct {
	Controller   string  `json:"controller"`
	RTT          float64 `json:"rtt_ms"`
	Marking      bool    `json:"marking"` // beyond a quarter of the queue
	GoodputShare float64 `json:"goodput_share"`
	DroppedShare float64 `json:"dropped_share"` // of packets, by the full queue
	MarkedShare  float64 `json:"marked_share"`
	SimQueue
}

// SimOutage says how long after an outage a flow has its goodput back.
type SimOutage struct {
	Controller string  `json:"controller"`
	Outage     float64 `json:"outage_ms"`
	RTT        float64 `json:"rtt_ms"`
	// From the end of the outage to the end of the first quarter of a second
	// with 90% of the goodput before; -1 where that takes over 30 s. Median
	// and worst of several runs, whose outages are up to a fifth shorter and
	// longer.
	Recovery      float64 `json:"recovery_ms"`
	RecoveryWorst float64 `json:"recovery_worst_ms"`
}

// SimTransfer says what a transfer does to small messages beside it.
type SimTransfer struct {
	Controller string  `json:"controller"`
	Loss       float64 `json:"loss"`
	RTT        float64 `json:"rtt_ms"`
	Bytes      int     `json:"bytes"`
	Duration   float64 `json:"transfer_ms"` // median
	AloneP50   float64 `json:"alone_p50_ms"`
	AloneP99   float64 `json:"alone_p99_ms"`
	DuringP50  float64 `json:"during_p50_ms"`
	DuringP99  float64 `json:"during_p99_ms"`
	RiseP99    float64 `json:"rise_p99"` // of the 99th percentile, as a share of it
}

// SimFloor says what a floor of the retransmission timeout costs and gives.
type SimFloor struct {
	Floor      float64 `json:"floor_ms"`
	Loss       float64 `json:"loss"`
	RTT        float64 `json:"rtt_ms"`
	LatencyP50 float64 `json:"latency_p50_ms"`
	LatencyP99 float64 `json:"latency_p99_ms"`
	// Shares of the packets that carried messages: Early ones were sent twice
	// at once because the path loses, and Again ones arrived although they had
	// arrived before, early copies included.
	Early float64 `json:"early_share"`
	Again float64 `json:"again_share"`
}

// SimTraced is a flow of bulk data over the recorded path.
type SimTraced struct {
	Controller   string  `json:"controller"`
	GoodputShare float64 `json:"goodput_share"` // of what the trace let pass
	SimQueue
}

// simShown is a run of which a picture is drawn.
type simShown struct {
	controller string
	start      uint64
	recorder   *simnet.Recorder
}

// Sim runs clients, the Go gate and the server's sessions in virtual time over
// simulated paths. It uses all CPUs; what it returns does not depend on them.
func Sim(ctx context.Context, opts SimOptions) (*SimResult, error) {
	opts.fillDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	r := &SimResult{Seed: opts.Seed, Direction: "to_server", LinkBitsPerSec: 8 * simLink, plan: opts.plan()}
	if opts.ToClient {
		r.Direction = "to_client"
	}
	if err := parallel(ctx, r.jobs(&opts)); err != nil {
		return nil, err
	}
	return r, nil
}

// jobs makes room for every result and returns what fills it in.
func (r *SimResult) jobs(o *SimOptions) (jobs []func()) {
	// Long ones first, so that no CPU is left with one at the end.
	r.Fairness = make([]SimFairness, 0, 2*len(o.Controllers))
	for _, name := range o.Controllers {
		for _, flows := range []int{2, 8} {
			r.Fairness = append(r.Fairness, SimFairness{Controller: name, Flows: flows, RTT: inMS(simRTT)})
		}
	}
	for i := range r.Fairness {
		jobs = append(jobs, func() { r.Fairness[i].run(o, &r.plan) })
	}
	for _, name := range o.Controllers {
		for _, marking := range []bool{false, true} {
			r.Marks = append(r.Marks, SimMarks{Controller: name, RTT: inMS(simRTT), Marking: marking})
		}
	}
	for i := range r.Marks {
		jobs = append(jobs, func() { r.Marks[i].run(o, &r.plan) })
	}
	for _, name := range o.Controllers {
		for _, d := range r.plan.outages {
			r.Outages = append(r.Outages, SimOutage{Controller: name, Outage: inMS(d), RTT: inMS(simRTT)})
		}
	}
	for i := range r.Outages {
		jobs = append(jobs, func() { r.Outages[i].run(o, &r.plan) })
	}
	for _, name := range o.Controllers {
		for _, loss := range []float64{0, 0.01} {
			r.Transfers = append(r.Transfers, SimTransfer{Controller: name, Loss: loss, RTT: inMS(simRTT), Bytes: simTransfer})
		}
	}
	for i := range r.Transfers {
		jobs = append(jobs, func() { r.Transfers[i].run(o, &r.plan) })
	}
	r.shown = make([]simShown, len(o.Controllers))
	for i, name := range o.Controllers {
		jobs = append(jobs, func() { r.shown[i] = show(o, name) })
	}
	if len(o.Trace) > 0 {
		r.Traced = make([]SimTraced, len(o.Controllers))
		for i, name := range o.Controllers {
			r.Traced[i].Controller = name
			jobs = append(jobs, func() { r.Traced[i].run(o) })
		}
	}
	for _, name := range o.Controllers {
		for _, rtt := range r.plan.rtts {
			for _, loss := range r.plan.losses {
				r.Rows = append(r.Rows, SimRow{Controller: name, Loss: loss, LossPercent: percent(loss), RTT: inMS(rtt)})
			}
		}
	}
	for i := range r.Rows {
		jobs = append(jobs, func() { r.Rows[i].run(o, &r.plan) })
	}
	for _, floor := range r.plan.floors {
		for _, rtt := range r.plan.floorRTTs {
			for _, loss := range r.plan.floorLosses {
				r.Floors = append(r.Floors, SimFloor{Floor: inMS(floor), RTT: inMS(rtt), Loss: loss})
			}
		}
	}
	for i := range r.Floors {
		jobs = append(jobs, func() { r.Floors[i].run(o, &r.plan) })
	}
	return jobs
}

// ReadTrace reads a recorded path from a file.
func ReadTrace(name string) ([]simnet.Step, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	defer f.Close()
	return simnet.ReadTrace(f)
}

// parallel runs jobs on all CPUs.
func parallel(ctx context.Context, jobs []func()) error {
	var next atomic.Int64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(jobs)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				jobs[i]()
			}
		})
	}
	all.Wait()
	return ctx.Err()
}

func inMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func fromMS(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// percent is loss without the noise of binary fractions.
func percent(loss float64) float64 { return float64(int64(loss*1e5+0.5)) / 1e3 }
