package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// What all sessions of the measurement have in common.
const (
	ackPort       = 7777
	ackClientPort = 20000
	ackClientISN  = 1000
	ackServerISN  = 5000
	ackWarmUp     = 100_000
)

// generatorCPU makes the packets and, since a veth delivers on the sender's
// CPU, runs the gate; consumerCPU reads the commit rings.
const generatorCPU, consumerCPU = 0, 1

// KernelAck measures how many reliable packets per second the gate commits and
// acknowledges, and how many a bare XDP_TX returns, in turns on the same veth
// pair. It needs root. A done ctx ends it between two rounds.
func KernelAck(ctx context.Context, opts KernelAckOptions) (*KernelAckResult, error) {
	opts.fillDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	b := &ackBench{opts: opts}
	result, err := b.run(ctx)
	if closeErr := b.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("measure acknowledgements: %w", err)
	}
	return result, nil
}

type ackBench struct {
	opts      KernelAckOptions
	lab       *lab.Lab
	gate      *loader.Gate
	generator *loader.Generator
	counting  link.Link
	consumer  *consumer
}

func (b *ackBench) run(ctx context.Context) (*KernelAckResult, error) {
	if err := b.build(); err != nil {
		return nil, err
	}
	for _, at := range []func(int) (float64, error){b.measureGate, b.measureEcho} {
		if _, err := at(ackWarmUp); err != nil {
			return nil, err
		}
	}
	r := &KernelAckResult{Sessions: b.opts.Sessions, Packets: b.opts.Packets, Machine: ThisMachine()}
	before, err := b.totals()
	if err != nil {
		return nil, err
	}
	var echoed uint64
	for range b.opts.Rounds {
		acked, err := b.measureGate(b.opts.Packets)
		if err != nil {
			return nil, err
		}
		r.Acked = append(r.Acked, acked)

		start, err := b.generator.Counts()
		if err != nil {
			return nil, err
		}
		bare, err := b.measureEcho(b.opts.Packets)
		if err != nil {
			return nil, err
		}
		r.XDPTX = append(r.XDPTX, bare)
		end, err := b.generator.Counts()
		if err != nil {
			return nil, err
		}
		echoed += end.Sent - start.Sent
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	b.consumer.settle()
	after, err := b.totals()
	if err != nil {
		return nil, err
	}
	r.AckedPerSecond, r.XDPTXPerSecond = median(r.Acked), median(r.XDPTX)
	r.Ratio = r.AckedPerSecond / r.XDPTXPerSecond
	r.Sent = after.counts.Sent - before.counts.Sent - echoed
	r.Arrived = after.counts.ACKs - before.counts.ACKs
	r.Consumed = after.consumed - before.consumed
	r.Outcomes = make(map[string]uint64)
	for i := range after.outcomes {
		if n := after.outcomes[i] - before.outcomes[i]; n != 0 {
			r.Outcomes[gate.Outcome(i).String()] = n
		}
	}
	r.Committed = r.Outcomes[gate.TXAck.String()]
	r.Duplicates = r.Outcomes[gate.TXAckDuplicate.String()]
	if r.Consumed < r.Committed {
		return nil, fmt.Errorf("%d packets acknowledged, but only %d in the commit rings", r.Committed, r.Consumed)
	}
	return r, nil
}

// build sets up the network, the programs and the sessions.
func (b *ackBench) build() (err error) {
	// The counting program takes the place of the lab's own on that end.
	if b.lab, err = lab.New(lab.Options{PlainClient: true}); err != nil {
		return err
	}
	b.gate, err = loader.Load(loader.Options{
		Ports:    []uint16{ackPort},
		Geometry: commit.Geometry{Slots: 8192},
	})
	if err != nil {
		return err
	}
	server := netip.AddrPortFrom(b.lab.Server.IPv4, ackPort)
	client := netip.AddrPortFrom(b.lab.Client.IPv4, ackClientPort)
	b.generator, err = loader.NewGenerator(loader.GeneratorOptions{
		Sessions:  b.opts.Sessions,
		Interface: b.lab.Client.Index,
		ClientMAC: b.lab.Client.MAC, ServerMAC: b.lab.Server.MAC,
		Client: client, Server: server,
		Sequence: ackClientISN + 2, Ack: ackServerISN + 1,
	})
	if err != nil {
		return err
	}
	if err := b.openSessions(client, server); err != nil {
		return err
	}
	err = b.lab.Client.Do(func() (err error) {
		b.counting, err = b.generator.AttachCount(b.lab.Client.Index)
		return err
	})
	if err != nil {
		return err
	}
	b.consumer = consume(b.gate.Regions(), b.opts.Sessions)
	return nil
}

// openSessions does what a worker does after the HELLO of each client.
func (b *ackBench) openSessions(client, server netip.AddrPort) error {
	regions := b.gate.Regions()
	for ring := range b.gate.Geometry().Rings() {
		if _, err := commit.Recover(regions, ring); err != nil {
			return err
		}
	}
	for i := range b.opts.Sessions {
		key := wire.MakeKey(netip.AddrPortFrom(client.Addr(), client.Port()+uint16(i)), server)
		regions.Flow(uint32(i)).Open(&commit.FlowInfo{
			ID: uint64(i) + 1, Key: key, ClientISN: ackClientISN, ServerISN: ackServerISN,
			SndNxt: ackServerISN + 1, Opened: 1,
		}, wire.ReceiveWindow)
		err := b.gate.Sessions().Create(key, gate.SessionInit{
			ID: uint64(i) + 1, Slot: uint32(i), Features: gate.FeatureSACK,
			ClientISN: ackClientISN, ServerISN: ackServerISN,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// measureGate sends n packets to the gate and returns how many per second it
// acknowledged for the first time.
func (b *ackBench) measureGate(n int) (float64, error) {
	attach := func(ifindex int) (link.Link, error) {
		return link.AttachXDP(link.XDPOptions{
			Program: b.gate.Program(), Interface: ifindex, Flags: link.XDPDriverMode,
		})
	}
	before, err := b.gate.Stats()
	if err != nil {
		return 0, err
	}
	seconds, err := b.send(n, attach)
	if err != nil {
		return 0, err
	}
	after, err := b.gate.Stats()
	if err != nil {
		return 0, err
	}
	acked := after[gate.TXAck] - before[gate.TXAck]
	if acked == 0 {
		return 0, errors.New("the gate acknowledged nothing")
	}
	return float64(acked) / seconds, nil
}

// measureEcho sends n packets to the bare echo and returns how many per second
// came back.
func (b *ackBench) measureEcho(n int) (float64, error) {
	before, err := b.generator.Counts()
	if err != nil {
		return 0, err
	}
	seconds, err := b.send(n, b.generator.AttachEcho)
	if err != nil {
		return 0, err
	}
	after, err := b.generator.Counts()
	if err != nil {
		return 0, err
	}
	return float64(after.Arrived-before.Arrived) / seconds, nil
}

// send generates n packets with a program on the server's end, and returns how
// long it took.
func (b *ackBench) send(n int, attach func(ifindex int) (link.Link, error)) (seconds float64, err error) {
	var attached link.Link
	err = b.lab.Server.Do(func() (err error) {
		attached, err = attach(b.lab.Server.Index)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("attach to the server's end: %w", err)
	}
	defer attached.Close()
	err = b.lab.Client.Do(func() error {
		return onCPU(generatorCPU, func() error {
			started := time.Now()
			err := b.generator.Run(uint32(n))
			seconds = time.Since(started).Seconds()
			return err
		})
	})
	return seconds, err
}

type ackTotals struct {
	counts   loader.GeneratorCounts
	outcomes [gate.OutcomeMax]uint64
	consumed uint64
}

func (b *ackBench) totals() (t ackTotals, err error) {
	b.consumer.settle()
	t.consumed = b.consumer.read.Load()
	if t.counts, err = b.generator.Counts(); err != nil {
		return t, err
	}
	t.outcomes, err = b.gate.Stats()
	return t, err
}

func (b *ackBench) close() error {
	var errs []error
	if b.consumer != nil {
		b.consumer.close()
	}
	if b.counting != nil {
		errs = append(errs, b.counting.Close())
	}
	if b.generator != nil {
		errs = append(errs, b.generator.Close())
	}
	if b.gate != nil {
		errs = append(errs, b.gate.Close())
	}
	if b.lab != nil {
		errs = append(errs, b.lab.Close())
	}
	return errors.Join(errs...)
}

// consumer reads the commit rings as a worker does, on a CPU of its own.
type consumer struct {
	regions  *commit.Regions
	released []uint32 // by session

	read atomic.Uint64
	idle atomic.Uint64 // passes that found nothing
	stop atomic.Bool
	done chan struct{}
}

func consume(regions *commit.Regions, sessions int) *consumer {
	c := &consumer{regions: regions, released: make([]uint32, sessions), done: make(chan struct{})}
	var readers []*commit.Reader
	for ring := range regions.Geometry().Rings() {
		readers = append(readers, regions.Reader(ring))
	}
	go func() {
		defer close(c.done)
		_ = onCPU(consumerCPU%runtime.NumCPU(), func() error {
			c.drain(readers)
			return nil
		})
	}()
	return c
}

func (c *consumer) drain(readers []*commit.Reader) {
	nap := unix.NsecToTimespec(int64(20 * time.Microsecond))
	for !c.stop.Load() {
		n := uint64(0)
		for _, r := range readers {
			for slot, at, ok := r.Next(); ok; slot, at, ok = r.Next() {
				session := slot.SessionSlot
				r.Release(at)
				c.count(session)
				n++
			}
		}
		if n == 0 {
			c.idle.Add(1)
			_ = unix.Nanosleep(&nap, nil)
		}
		c.read.Add(n)
	}
}

// count tells the gate of what was given back, as rarely as a worker does.
func (c *consumer) count(session uint32) {
	c.released[session]++
	if n := c.released[session]; n%uint32(c.regions.Geometry().SessionBudget()/8) == 0 {
		c.regions.Flow(session).SetReleased(n)
	}
}

// settle returns when the rings were found empty.
func (c *consumer) settle() {
	for from := c.idle.Load(); c.idle.Load() < from+2; {
		time.Sleep(time.Millisecond)
	}
}

func (c *consumer) close() {
	c.stop.Store(true)
	<-c.done
}

// onCPU runs f on a thread bound to a CPU, which is the caller's own as far as
// namespaces go.
func onCPU(cpu int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return os.NewSyscallError("sched_setaffinity", err)
	}
	defer unix.SchedSetaffinity(0, &before)
	return f()
}
