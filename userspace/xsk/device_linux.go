package xsk

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/internal/monotime"
	"github.com/xrudp/xrudp/userspace/internal/numa"
	"github.com/xrudp/xrudp/userspace/internal/spsc"
)

// A queue of a device that was just closed stays taken until the kernel has
// cleaned up.
const (
	rebindTimeout  = 2 * time.Second
	rebindInterval = 5 * time.Millisecond
)

// Device is the AF_XDP side of a network interface.
//
// New allocates the frames. Then the XDP program should be attached, and only
// then should Bind open the sockets: some drivers set their rings up anew when
// a program comes, and lose frames they hold. Bind fills the fill rings before
// it binds for the same reason.
//
// Its methods are for one goroutine, and not while a Port is in use.
type Device struct {
	opts    Options
	ifindex int
	mem     []byte
	queues  []*queue
	ports   []*Port
	open    atomic.Int32 // ports
	report  Report

	// The kernel, for tests to replace.
	wakeTX, wakeRX func(fd int) syscall.Errno
	now            func() uint64
}

// queue is a queue of the interface. Its rings belong to the worker owner.
type queue struct {
	id, owner  int
	fill       producer[uint64]
	completion consumer[uint64]
	posted     uint64 // frames ever put into fill
}

// New allocates the frames of a device.
func New(opts Options) (*Device, error) {
	d, err := newDevice(opts)
	if err != nil {
		return nil, fmt.Errorf("open AF_XDP on %q: %w", opts.Interface, err)
	}
	return d, nil
}

func newDevice(opts Options) (*Device, error) {
	opts = opts.withDefaults()
	if opts.Queues == 0 && opts.Interface != "" {
		n, err := queueCount(opts.Interface)
		if err != nil {
			return nil, err
		}
		opts.Queues = n
	}
	if err := opts.validate(); err != nil {
		return nil, err
	}
	iface, err := net.InterfaceByName(opts.Interface)
	if err != nil {
		return nil, err
	}
	node := numa.Node(opts.Interface)
	mem, huge, warnings, err := allocate(opts.frames()*opts.FrameSize, node, opts.RequireHugePages)
	if err != nil {
		return nil, fmt.Errorf("allocate UMEM: %w", err)
	}
	d := layOut(opts, mem)
	d.ifindex = iface.Index
	d.report = Report{HugePages: huge, Node: node, Warnings: warnings}
	if err := d.hangBells(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// layOut makes a device of mem, without any rings.
func layOut(opts Options, mem []byte) *Device {
	d := &Device{opts: opts, mem: mem, wakeTX: wakeTX, wakeRX: wakeRX, now: monotime.Now}
	for q := range opts.Queues {
		d.queues = append(d.queues, &queue{id: q, owner: q % opts.Workers})
	}
	for w := range opts.Workers {
		d.ports = append(d.ports, newPort(d, w))
	}
	// Frames of every queue may have to go back to the one owner.
	returns := ceilPowerOfTwo(opts.Queues * opts.RXFrames)
	for _, owner := range d.ports {
		for _, p := range d.ports {
			if p == owner || len(owner.owned) == 0 {
				continue
			}
			back := spsc.New[uint64](returns)
			p.giveBack[owner.worker] = back
			owner.takeBack = append(owner.takeBack, back)

			done := spsc.New[uint64](opts.TXFrames)
			owner.handOver[p.worker] = done
			p.takeOver = append(p.takeOver, done)
		}
	}
	return d
}

// hangBells gives each port the descriptor that wakes it.
func (d *Device) hangBells() error {
	for _, p := range d.ports {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return fmt.Errorf("open eventfd: %w", err)
		}
		p.bell = fd
	}
	return nil
}

func ceilPowerOfTwo(n int) int {
	p := 1
	for p < n {
		p <<= 1
	}
	return p
}

// Queues returns how many queues the device serves.
func (d *Device) Queues() int { return d.opts.Queues }

// Report says what the device obtained. It is complete after Bind.
func (d *Device) Report() Report { return d.report }

// mode is a step of the ladder from the best mode down.
type mode struct {
	name  string
	flags uint16
}

// Bind opens a socket for each queue and worker, in the best mode the options
// allow, and registers them. It returns one Port per worker; the last to be
// closed closes the device. After an error the device is closed.
func (d *Device) Bind(r Registrar) ([]*Port, error) {
	if err := d.bind(r); err != nil {
		return nil, fmt.Errorf("bind AF_XDP on %s: %w", d.opts.Interface, errors.Join(err, d.Close()))
	}
	d.open.Store(int32(len(d.ports)))
	return d.ports, nil
}

func (d *Device) bind(r Registrar) error {
	if err := d.bindBest(); err != nil {
		return err
	}
	for _, p := range d.ports {
		for q, l := range p.lanes {
			if err := r.Register(q, p.worker, l.fd); err != nil {
				return fmt.Errorf("register queue %d worker %d: %w", q, p.worker, err)
			}
			p.fds = append(p.fds, l.fd)
		}
		p.fds = append(p.fds, p.bell)
	}
	return nil
}

func (d *Device) bindBest() error {
	zero := mode{"zero-copy", unix.XDP_ZEROCOPY | unix.XDP_USE_NEED_WAKEUP}
	modes := []mode{zero, {"copy", unix.XDP_COPY | unix.XDP_USE_NEED_WAKEUP}}
	switch {
	case d.opts.RequireZeroCopy:
		modes = modes[:1]
	case d.opts.Copy:
		modes = modes[1:]
	}
	var last error
	deadline := time.Now().Add(rebindTimeout)
	for _, m := range modes {
		err := d.bindPatiently(m, deadline)
		if err == nil {
			return nil
		}
		d.report.Refused = append(d.report.Refused, Refusal{m.name, err})
		last = fmt.Errorf("%s mode: %w", m.name, err)
	}
	if d.opts.RequireZeroCopy && errors.Is(last, unix.EOPNOTSUPP) {
		last = fmt.Errorf("%w: %w", last, ErrNotSupported)
	}
	return last
}

// bindPatiently waits for a former owner of the queues to be cleaned away.
func (d *Device) bindPatiently(m mode, deadline time.Time) error {
	for {
		err := d.bindAll(m)
		if err == nil {
			return nil
		}
		if closeErr := d.closeSockets(); closeErr != nil {
			return errors.Join(err, closeErr)
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(rebindInterval)
	}
}

// bindAll opens every socket in one mode. The first shares its UMEM with all;
// the first of each queue, its owner's, shares its rings with that queue's.
func (d *Device) bindAll(m mode) error {
	first := -1
	for _, q := range d.queues {
		leader, err := d.openLane(q, d.ports[q.owner], q)
		if err != nil {
			return err
		}
		if first < 0 {
			if err := leader.registerUMEM(d.mem, d.opts.FrameSize); err != nil {
				return err
			}
		}
		d.post(q)
		if err := leader.bind(d.ifindex, q.id, m.flags, first); err != nil {
			return fmt.Errorf("bind queue %d: %w", q.id, err)
		}
		if first < 0 {
			first = leader.fd
		}
		for _, p := range d.ports {
			if p.worker == q.owner {
				continue
			}
			s, err := d.openLane(q, p, nil)
			if err != nil {
				return err
			}
			if err := s.bind(d.ifindex, q.id, 0, leader.fd); err != nil {
				return fmt.Errorf("bind queue %d for worker %d: %w", q.id, p.worker, err)
			}
		}
	}
	return d.probe()
}

// openLane opens the socket of a queue and a port, with the queue's own rings
// when rings is not nil.
func (d *Device) openLane(q *queue, p *Port, rings *queue) (*socket, error) {
	s, err := openSocket()
	if err != nil {
		return nil, err
	}
	l := &p.lanes[q.id]
	l.socket = s
	if err := s.makeRings(&d.opts, rings); err != nil {
		return nil, err
	}
	s.setTXBudget(d.opts.txRing())
	if d.opts.BusyPoll.Duration != 0 {
		if err := s.setBusyPoll(d.opts.BusyPoll); err != nil {
			// Everything arrives all the same, by interrupts.
			d.report.Warnings = append(d.report.Warnings, fmt.Sprintf("queues are not busy-polled: %v", err))
			d.opts.BusyPoll.Duration = 0
		}
	}
	return s, nil
}

// post puts every frame of a queue into its fill ring.
func (d *Device) post(q *queue) {
	base := q.id * d.opts.RXFrames
	for i := range d.opts.RXFrames {
		q.fill.put(uint64((base + i) * d.opts.FrameSize))
	}
	q.fill.publish()
	q.posted = uint64(d.opts.RXFrames)
}

// probe catches drivers that bind in a mode that does not work: they refuse
// the first wake-up.
func (d *Device) probe() error {
	s := d.ports[d.queues[0].owner].lanes[0].socket
	zeroCopy, err := s.zeroCopy()
	if err != nil {
		return err
	}
	switch errno := d.wakeTX(s.fd); errno {
	case unix.ENXIO, unix.EINVAL, unix.EOPNOTSUPP:
		return fmt.Errorf("wake TX: %w", errno)
	}
	d.report.ZeroCopy = zeroCopy
	return nil
}

// closeSockets unmaps and closes what bindAll opened.
func (d *Device) closeSockets() error {
	var errs []error
	for _, p := range d.ports {
		for i := range p.lanes {
			if s := p.lanes[i].socket; s != nil {
				errs = append(errs, s.close())
				p.lanes[i].socket = nil
			}
		}
	}
	return errors.Join(errs...)
}

// Close closes the sockets and unmaps the frames, whatever the ports are
// doing: none may be in use.
func (d *Device) Close() error {
	if d.mem == nil {
		return nil
	}
	err := d.closeSockets()
	for _, p := range d.ports {
		p.closed = true
		if p.bell >= 0 {
			err = errors.Join(err, unix.Close(p.bell))
			p.bell = -1
		}
	}
	err = errors.Join(err, unix.Munmap(d.mem))
	d.mem = nil
	return err
}
