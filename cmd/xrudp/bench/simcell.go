package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/congestion"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/simworld"
	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	simLink     = 20_000_000 / 8        // bytes per second
	simRTT      = 50 * time.Millisecond // where only one is measured
	simTransfer = 1 << 20               // bytes

	// What fits into a datagram, and a queue of packets of that size.
	simPacket    = wire.MaxDatagram + simnet.UDPOverhead
	simLeastRoom = 20 * simPacket

	simSmall    = 64 // payload of a small message
	simSmallGap = 50 * time.Millisecond

	// The channels that messages travel on.
	simSmallChannel = 0
	simBulkChannel  = 1
	simType         = 1
)

func simControllers() []string { return congestion.Names() }

// simController makes controllers that do not draw alike.
func simController(name string) func() congestion.Controller {
	seed := uint64(0)
	return func() congestion.Controller {
		seed++
		// The name is one of simControllers.
		c, _ := congestion.New(name, congestion.Params{Seed: seed})
		return c
	}
}

// simSession has patience for paths on which sessions would rather end.
func simSession(controller string, minRTO time.Duration) session.Config {
	return session.Config{
		HandshakeTimeout: time.Minute, IdleTimeout: time.Minute,
		MinRTO: minRTO, Congestion: simController(controller),
	}
}

// simCell is a world whose flows share one bottleneck in each direction.
type simCell struct {
	*simworld.World
	up, down *simnet.Bottleneck
	link     simnet.Link
	session  session.Config
	toClient bool
	flows    []*simFlow
}

// simFlow is one session. Its messages are counted where they arrive.
type simFlow struct {
	*simworld.Peer
	cell          *simCell
	bytes         uint64          // of bulk payload that was handed over
	took          []time.Duration // by small messages sent from since until before
	since, before uint64
	mode          session.Mode     // of bulk data
	urgency       session.Priority // of small messages
	small         [simSmall]byte
}

// newCell returns a cell without flows. The queue holds what is on its way in
// one round trip, and never less than 20 packets.
func newCell(o *SimOptions, controller string, rtt time.Duration, loss float64) *simCell {
	const slots = 4096 // as xrudpd takes
	c := &simCell{
		World:    simworld.New(simworld.Config{Seed: o.Seed, Slots: slots}),
		link:     simnet.Link{Delay: rtt / 2, Loss: loss},
		session:  simSession(controller, 0),
		toClient: o.ToClient,
	}
	queue := max(int(simLink*rtt.Seconds()), simLeastRoom)
	rate := simnet.Rate{PerSecond: simLink, Overhead: simnet.UDPOverhead, Queue: simnet.Limit{Bytes: queue}}
	c.up, c.down = c.Net.NewBottleneck(rate), c.Net.NewBottleneck(rate)
	return c
}

// bottleneck is the one that bulk data passes.
func (c *simCell) bottleneck() *simnet.Bottleneck {
	if c.toClient {
		return c.down
	}
	return c.up
}

// add lets another flow begin.
func (c *simCell) add() *simFlow {
	f := &simFlow{Peer: c.Add(c.link, c.link), cell: c, mode: session.ReliableOrdered, urgency: session.High, before: simnet.Never}
	f.Up.Bottleneck, f.Down.Bottleneck = c.up, c.down
	f.ClientConfig, f.ServerConfig = c.session, c.session
	f.OnClient, f.OnServer = f.receive, f.receive
	c.flows = append(c.flows, f)
	f.Dial(uint32(7919 * len(c.flows)))
	return f
}

// open runs until the flow's session is.
func (f *simFlow) open() *simFlow {
	for f.Client.State() != session.Open || f.Server == nil {
		if !f.cell.Net.Step(simworld.Start + uint64(time.Hour)) {
			panic("bench: a session did not open")
		}
	}
	return f
}

func (f *simFlow) receive(m session.Message) {
	if m.Channel == simBulkChannel {
		f.bytes += uint64(len(m.Payload))
		return
	}
	if sent := binary.BigEndian.Uint64(m.Payload); sent >= f.since && sent < f.before {
		f.took = append(f.took, time.Duration(f.cell.Net.Now()-sent))
	}
}

// run lets the time pass.
func (c *simCell) run(d time.Duration) { c.Net.Run(c.Net.Now() + uint64(d)) }

// sender returns the end that sends bulk data.
func (f *simFlow) sender() *session.Session {
	if f.cell.toClient {
		return f.Server
	}
	return f.Client
}

// queued lets what was given to an end leave.
func (f *simFlow) queued(end *session.Session) {
	if end == f.Client {
		f.PumpClient()
		return
	}
	f.cell.SchedulePass()
}

// simRefill is how often bulk data is queued: often enough for a queue that
// never runs dry.
const simRefill = 5 * time.Millisecond

// pour keeps the sending queue filled with bulk data for ever.
func (f *simFlow) pour() {
	end := f.sender()
	bulk := make([]byte, end.MaxPayload())
	var refill func()
	refill = func() {
		for end.Send(f.mode, simBulkChannel, simType, bulk) == nil {
		}
		f.queued(end)
		f.cell.Net.At(f.cell.Net.Now()+uint64(simRefill), refill)
	}
	refill()
}

// chat has an end send small messages for ever, on average one each
// simSmallGap. Their moments vary, so that those of the two ends do not keep
// in step. One that finds the queue full tries again, and its time counts from
// the first try.
func (f *simFlow) chat(end *session.Session) {
	n := f.cell.Net
	due := n.Now()
	var say func()
	say = func() {
		binary.BigEndian.PutUint64(f.small[:], due)
		m := session.Outgoing{
			Mode: session.ReliableOrdered, Channel: simSmallChannel, Type: simType, Priority: f.urgency, Payload: f.small[:],
		}
		switch err := end.SendMessage(m); {
		case err == nil:
			due += uint64(simSmallGap)/2 + n.Rand().Uint64N(uint64(simSmallGap))
			f.queued(end)
			n.At(due, say)
		case errors.Is(err, session.ErrWouldBlock):
			n.At(n.Now()+uint64(time.Millisecond), say)
		default:
			panic(fmt.Sprintf("bench: small message: %v", err))
		}
	}
	say()
}

// goodput is delivered payload per second as a share of the link.
func goodput(bytes uint64, d time.Duration) float64 {
	return float64(bytes) / d.Seconds() / simLink
}

// watchQueue samples the bottleneck until the result is called.
func (c *simCell) watchQueue() func() SimQueue {
	var waits, packets []float64
	b, on := c.bottleneck(), true
	var look func()
	look = func() {
		if !on {
			return
		}
		n, _ := b.Queue()
		waits, packets = append(waits, inMS(b.Wait())), append(packets, float64(n))
		c.Net.At(c.Net.Now()+uint64(time.Millisecond), look)
	}
	look()
	return func() SimQueue {
		on = false
		return SimQueue{
			QueueMean: round(mean(waits), 3), QueueP99: round(quantile(waits, 0.99), 3),
			QueueMeanPackets: round(mean(packets), 2), QueueP99Packets: quantile(packets, 0.99),
		}
	}
}

// run measures one cell: bulk data first, then small messages on a path that
// has nothing else on it.
func (r *SimRow) run(o *SimOptions, plan *simPlan) {
	rtt := fromMS(r.RTT)
	c := newCell(o, r.Controller, rtt, r.Loss)
	f := c.add().open()
	f.pour()
	c.run(max(plan.warmUp, 20*rtt))
	bytes, before := f.bytes, f.sender().Stats()
	queue := c.watchQueue()
	c.run(plan.bulk)
	after := f.sender().Stats()
	r.GoodputShare = round(goodput(f.bytes-bytes, plan.bulk), 4)
	r.ResentShare = round(ratio(after.Retransmitted-before.Retransmitted, after.PacketsOut-before.PacketsOut), 4)
	r.SimQueue = queue()

	took := chatter(newCell(o, r.Controller, rtt, r.Loss), plan.latency)
	r.Messages = len(took)
	r.LatencyP50, r.LatencyP99 = milliseconds(took, 0.5), milliseconds(took, 0.99)
}

// chatter has both ends of one flow send small messages for so long, and
// returns how long those that were sent after the first second took.
func chatter(c *simCell, d time.Duration) []time.Duration {
	f := c.add().open()
	f.since = c.Net.Now() + uint64(time.Second)
	f.chat(f.Client)
	f.chat(f.Server)
	c.run(d)
	return f.took
}

// run measures flows that begin within the same second.
func (r *SimFairness) run(o *SimOptions, plan *simPlan) {
	c := newCell(o, r.Controller, fromMS(r.RTT), 0)
	for range r.Flows {
		c.add().open().pour()
		c.run(time.Duration(c.Net.Rand().Uint64N(uint64(2 * time.Second / time.Duration(r.Flows)))))
	}
	c.run(2 * plan.warmUp)
	before := make([]uint64, len(c.flows))
	for i, f := range c.flows {
		before[i] = f.bytes
	}
	c.run(plan.share)
	var sum, squares float64
	for i, f := range c.flows {
		share := goodput(f.bytes-before[i], plan.share)
		r.Shares = append(r.Shares, round(share, 4))
		sum, squares = sum+share, squares+share*share
	}
	r.Jain = round(sum*sum/(float64(r.Flows)*squares), 4)
	r.GoodputShare = round(sum, 4)
}

// run measures four flows, whose sum a marking queue keeps from filling it.
func (r *SimMarks) run(o *SimOptions, plan *simPlan) {
	c := newCell(o, r.Controller, fromMS(r.RTT), 0)
	if r.Marking {
		for _, b := range []*simnet.Bottleneck{c.up, c.down} {
			rate := b.Rate()
			rate.Mark.Bytes = rate.Queue.Bytes / 4
			b.SetRate(rate)
		}
	}
	const flows = 4
	for range flows {
		f := c.add()
		f.Up.ECN, f.Down.ECN = true, true
		f.open().pour()
	}
	c.run(2 * plan.warmUp)
	before := c.sums()
	queue := c.watchQueue()
	c.run(plan.share)
	after := c.sums()
	r.GoodputShare = round(goodput(after.bytes-before.bytes, plan.share), 4)
	r.DroppedShare = round(ratio(after.dropped-before.dropped, after.sent-before.sent), 4)
	r.MarkedShare = round(ratio(after.marked-before.marked, after.sent-before.sent), 4)
	r.SimQueue = queue()
}

// sums are what became of bulk data of all flows.
type sums struct{ bytes, sent, dropped, marked uint64 }

func (c *simCell) sums() (s sums) {
	for _, f := range c.flows {
		pipe := f.Up
		if c.toClient {
			pipe = f.Down
		}
		s.bytes += f.bytes
		s.sent += pipe.Sent
		s.dropped += pipe.Dropped
		s.marked += pipe.Marked
	}
	return s
}

// Goodput after an outage is looked at in windows of simWindow, one each
// simStep.
const (
	simWindow  = 250 * time.Millisecond
	simStep    = 10 * time.Millisecond
	simForever = 30 * time.Second
)

// run repeats an outage that is up to a fifth shorter and longer: what ends it
// for the session is a timer, and would come at the same moment each time.
func (r *SimOutage) run(o *SimOptions, plan *simPlan) {
	var all []float64
	for i := range plan.outageRuns {
		took := r.once(o, plan, fromMS(r.Outage)*time.Duration(80+40*i/max(plan.outageRuns-1, 1))/100)
		if took < 0 {
			took = math.Inf(1)
		}
		all = append(all, took)
	}
	finite := func(v float64) float64 {
		if math.IsInf(v, 1) {
			return -1
		}
		return v
	}
	r.Recovery, r.RecoveryWorst = finite(median(all)), finite(slices.Max(all))
}

func (r *SimOutage) once(o *SimOptions, plan *simPlan, outage time.Duration) float64 {
	c := newCell(o, r.Controller, fromMS(r.RTT), 0)
	f := c.add().open()
	// Messages that wait for others would seem to arrive in bursts.
	f.mode = session.ReliableUnordered
	f.pour()
	c.run(2 * plan.warmUp)
	before := f.bytes
	c.run(plan.bulk)
	want := 0.9 * goodput(f.bytes-before, plan.bulk)

	f.Up.Link.Loss, f.Down.Link.Loss = 1, 1
	c.run(outage)
	f.Up.Link.Loss, f.Down.Link.Loss = 0, 0
	ended := c.Net.Now()
	past := []uint64{f.bytes}
	for c.Net.Now() < ended+uint64(simForever) {
		c.run(simStep)
		past = append(past, f.bytes)
		first := len(past) - 1 - int(simWindow/simStep)
		if first >= 0 && goodput(f.bytes-past[first], simWindow) >= want {
			return inMS(time.Duration(c.Net.Now() - ended))
		}
	}
	return -1
}

// run sends one transfer after the other beside small messages.
func (r *SimTransfer) run(o *SimOptions, plan *simPlan) {
	cell := func() (*simCell, *simFlow) {
		c := newCell(o, r.Controller, fromMS(r.RTT), r.Loss)
		f := c.add().open()
		f.urgency = session.Critical
		f.chat(f.sender())
		c.run(time.Second)
		f.since = c.Net.Now()
		return c, f
	}
	c, f := cell()
	c.run(plan.latency)
	r.AloneP50, r.AloneP99 = milliseconds(f.took, 0.5), milliseconds(f.took, 0.99)

	c, f = cell()
	var durations []time.Duration
	large := session.Outgoing{
		Mode: session.ReliableOrdered, Channel: simBulkChannel, Type: simType, Priority: session.Low, Payload: make([]byte, simTransfer),
	}
	for range plan.transfers {
		began, done := c.Net.Now(), f.bytes+simTransfer
		f.since, f.before = began, simnet.Never
		if err := f.sender().SendMessage(large); err != nil {
			panic(fmt.Sprintf("bench: large message: %v", err))
		}
		for f.queued(f.sender()); f.bytes < done; c.run(time.Millisecond) {
		}
		ended := c.Net.Now()
		durations = append(durations, time.Duration(ended-began))
		f.before = ended
		c.run(2 * time.Second)
	}
	r.Duration = milliseconds(durations, 0.5)
	r.DuringP50, r.DuringP99 = milliseconds(f.took, 0.5), milliseconds(f.took, 0.99)
	r.RiseP99 = round(r.DuringP99/r.AloneP99-1, 4)
}

// run measures small messages with a floor of the retransmission timeout, on a
// path whose delay varies by a tenth.
func (r *SimFloor) run(o *SimOptions, plan *simPlan) {
	rtt := fromMS(r.RTT)
	c := newCell(o, o.Controllers[0], rtt, r.Loss)
	c.session = simSession(o.Controllers[0], fromMS(r.Floor))
	c.link.Jitter, c.link.Shape, c.link.InOrder = rtt/20, simnet.Normal, true
	took := chatter(c, plan.latency)
	r.LatencyP50, r.LatencyP99 = milliseconds(took, 0.5), milliseconds(took, 0.99)
	f := c.flows[0]
	client, server := f.Client.Stats(), f.Server.Stats()
	messages := client.MessagesOut + server.MessagesOut
	r.Early = round(ratio(client.Early+server.Early, messages), 4)
	r.Again = round(ratio(c.Gate.Stats()[gate.TXAckDuplicate]+client.Duplicates, messages), 4)
}

// run follows the recorded path twice.
func (r *SimTraced) run(o *SimOptions) {
	c := newCell(o, r.Controller, 2*o.Trace[0].Delay, 0)
	f := c.add().open()
	end := o.Trace[len(o.Trace)-1].At
	lasts := end - o.Trace[0].At
	pipe, other := f.Up, f.Down
	if o.ToClient {
		pipe, other = other, pipe
	}
	other.Bottleneck = nil // acknowledgements share delay and loss only
	pipe.Follow(o.Trace, true)
	other.Follow(o.Trace, true)
	f.pour()
	c.run(end)
	before, queue := f.bytes, c.watchQueue()
	c.run(lasts)
	var capacity float64
	for i, s := range o.Trace[:len(o.Trace)-1] {
		capacity += float64(s.Rate) * (o.Trace[i+1].At - s.At).Seconds()
	}
	r.GoodputShare = round(float64(f.bytes-before)/capacity, 4)
	r.SimQueue = queue()
}

// show records the first seconds of bulk data.
func show(o *SimOptions, controller string) simShown {
	c := newCell(o, controller, simRTT, 0)
	f := c.add().open()
	s := simShown{controller: controller, start: c.Net.Now(), recorder: new(simnet.Recorder)}
	if o.ToClient {
		f.Down.Recorder = s.recorder
	} else {
		f.Up.Recorder = s.recorder
	}
	f.pour()
	c.run(6 * time.Second)
	return s
}

// milliseconds is a quantile of durations.
func milliseconds(d []time.Duration, q float64) float64 {
	values := make([]float64, len(d))
	for i, v := range d {
		values[i] = inMS(v)
	}
	return round(quantile(values, q), 3)
}

// quantile sorts values and returns the smallest that a share q does not
// exceed, 0 where there are none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(int(math.Ceil(q*float64(len(values)))), len(values))-1]
}

func mean(values []float64) (m float64) {
	for _, v := range values {
		m += v
	}
	return m / float64(max(len(values), 1))
}

func ratio(n, of uint64) float64 { return float64(n) / float64(max(of, 1)) }

func round(v float64, digits int) float64 {
	f := math.Pow10(digits)
	return math.Round(v*f) / f
}
