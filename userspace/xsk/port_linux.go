package xsk

import (
	"errors"
	"net"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/internal/spsc"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// ErrGone is returned once the network interface has been removed.
var ErrGone = errors.New("network interface is gone")

const (
	// Payloads start here in a transmit frame, on a cache line behind the
	// largest headers.
	payloadOffset = 128

	// Receives without a frame after which a socket is asked for errors.
	idleCheck = 256
)

// Headers and payload fit a frame; a difference does not compile.
var (
	_ = [payloadOffset - wire.MaxFrameHeader]byte{}
	_ = [defaultFrameSize - payloadOffset - transport.MaxDatagram]byte{}
)

// Port is the transport.Batch of one worker: its sockets on every queue of a
// Device.
//
// One goroutine owns it. Before that goroutine sleeps it must call Release,
// and its wait must end when one of FDs is readable: the port may hold what
// others run out of.
type Port struct {
	dev    *Device
	worker int
	lanes  []lane
	owned  []*queue
	closed bool
	gone   bool
	idle   int // receives without a frame
	first  int // lane that Receive begins with
	stats  transport.Stats

	held []uint64 // RX frames handed out, until Release

	free    []uint32  // TX frames, by number within the port's own
	frames  []txFrame // state of each
	txBase  uint64    // address of the first
	route   *transport.Route
	pressed bool // short of TX frames
	overdue bool // completions may come for frames given up

	// By worker, nil for those without. Frames of foreign queues go to their
	// owner through giveBack, TX frames of others through handOver.
	giveBack []*spsc.Queue[uint64]
	handOver []*spsc.Queue[uint64]
	takeBack []*spsc.Queue[uint64] // from the others' giveBack
	takeOver []*spsc.Queue[uint64]

	bell int // eventfd that others ring
	fds  []int

	_    [128]byte
	rung atomic.Bool // whoever sets it writes to bell
	_    [128]byte
}

// lane is a port's side of a queue.
type lane struct {
	*socket
	queue    *queue
	inFlight int    // TX frames submitted and not completed
	progress bool   // a completion came since the last look
	since    uint64 // when progress was last seen, in pressed times
	received uint64 // RX frames
}

// txFrame is the state of a transmit frame.
type txFrame struct {
	busy  bool
	queue uint16
	index uint32 // of its entry in the TX ring
}

func newPort(d *Device, worker int) *Port {
	o := &d.opts
	p := &Port{
		dev:      d,
		worker:   worker,
		bell:     -1,
		lanes:    make([]lane, o.Queues),
		held:     make([]uint64, 0, o.Queues*o.RXFrames),
		free:     make([]uint32, 0, o.TXFrames),
		frames:   make([]txFrame, o.TXFrames),
		txBase:   uint64((o.Queues*o.RXFrames + worker*o.TXFrames) * o.FrameSize),
		giveBack: make([]*spsc.Queue[uint64], o.Workers),
		handOver: make([]*spsc.Queue[uint64], o.Workers),
	}
	for i := range o.TXFrames {
		p.free = append(p.free, uint32(o.TXFrames-1-i))
	}
	for i, q := range d.queues {
		p.lanes[i].queue = q
		if q.owner == worker {
			p.owned = append(p.owned, q)
		}
	}
	return p
}

// Receive implements transport.Batch. Frames that carry no UDP are counted and
// dropped.
func (p *Port) Receive(ds []transport.Datagram) (n int, err error) {
	if p.closed {
		return 0, net.ErrClosed
	}
	// Frames for the kernel come first: while it has none, it drops.
	p.collect()
	for i := range p.lanes {
		l := &p.lanes[(p.first+i)%len(p.lanes)]
		n += p.receive(l, ds[n:])
	}
	p.first = (p.first + 1) % len(p.lanes)
	if n > 0 {
		p.idle = 0
		p.stats.RxBatches++
		return n, nil
	}
	return 0, p.whenIdle()
}

// receive takes frames from one RX ring.
func (p *Port) receive(l *lane, ds []transport.Datagram) (n int) {
	ready := l.rx.ready()
	if ready == 0 {
		return 0
	}
	taken := uint32(0)
	for ; taken < ready && n < len(ds); taken++ {
		entry := l.rx.peek()
		l.rx.advance()
		p.held = append(p.held, entry.addr)
		frame := p.dev.mem[entry.addr : entry.addr+uint64(entry.length) : entry.addr+uint64(entry.length)]
		f, verdict := wire.ParseFrame(frame)
		if verdict != wire.FrameUDP || f.BadLength || f.Group {
			p.stats.RxInvalid++
			continue
		}
		end := f.Payload + f.PayloadLen
		d := &ds[n]
		d.Payload = frame[f.Payload:end:end]
		d.Key = f.Key
		d.Gated, d.CE = true, f.CE
		d.Frame = frame
		d.Queue = uint16(l.queue.id)
		d.Interface = uint32(p.dev.ifindex)
		n++
		p.stats.RxBytes += uint64(f.PayloadLen)
	}
	l.rx.release()
	l.received += uint64(taken)
	p.stats.RxPackets += uint64(n)
	return n
}

// whenIdle does what a pass without frames has time for.
func (p *Port) whenIdle() error {
	if p.dev.opts.BusyPoll.Duration != 0 {
		for _, q := range p.owned {
			p.dev.wakeRX(p.lanes[q.id].fd)
		}
	}
	if p.idle++; p.idle >= idleCheck {
		p.idle = 0
		p.lookForError()
	}
	if p.gone {
		return ErrGone
	}
	return nil
}

// lookForError asks the kernel for the one error it reports here, the removal
// of the interface. That does not end a wait for the socket.
func (p *Port) lookForError() {
	e, err := unix.GetsockoptInt(p.lanes[0].fd, unix.SOL_SOCKET, unix.SO_ERROR)
	p.gone = p.gone || err == nil && e == int(unix.ENETDOWN)
}

// Route implements transport.Batch.
func (p *Port) Route(d *transport.Datagram, r *transport.Route) {
	f, verdict := wire.ParseFrame(d.Frame)
	if verdict != wire.FrameUDP {
		panic("xsk: route of a datagram from elsewhere")
	}
	r.Key = d.Key
	r.Queue = d.Queue
	r.Interface = d.Interface
	r.Template.Answer(d.Frame, &f)
	r.Template.SetECT()
}

// Release implements transport.Batch.
func (p *Port) Release() {
	if len(p.held) == 0 {
		return
	}
	size := uint64(p.dev.opts.FrameSize)
	perQueue := size * uint64(p.dev.opts.RXFrames)
	for _, addr := range p.held {
		q := p.dev.queues[addr/perQueue]
		addr -= addr % size
		if q.owner == p.worker {
			q.fill.put(addr)
			q.posted++
		} else if !p.giveBack[q.owner].Push(addr) {
			panic("xsk: more frames than there are")
		}
	}
	p.held = p.held[:0]
	p.fill()
	for owner, back := range p.giveBack {
		if back != nil && back.Len() >= p.dev.ringAt() {
			p.wake(owner)
		}
	}
}

// ringAt is how many frames wait for an owner before it is woken. Were all the
// other workers to keep one less, the kernel would have half of a queue left.
func (d *Device) ringAt() int {
	return max(d.opts.RXFrames/2/max(d.opts.Workers-1, 1), 1)
}

// fill publishes what was put into the fill rings, and wakes a driver that
// waits for it: also for what it had not begun to wait for the last time.
func (p *Port) fill() {
	for _, q := range p.owned {
		q.fill.publish()
		if q.fill.wakeup() {
			p.dev.wakeRX(p.lanes[q.id].fd)
		}
	}
}

// collect takes in what the kernel and other workers have for this port.
func (p *Port) collect() {
	p.answerBell()
	for _, back := range p.takeBack {
		for {
			addr, ok := back.Pop()
			if !ok {
				break
			}
			q := p.dev.queues[addr/uint64(p.dev.opts.FrameSize*p.dev.opts.RXFrames)]
			q.fill.put(addr)
			q.posted++
		}
	}
	p.fill()
	p.reap()
}

// wake rings the bell of another worker, once until that answers.
func (p *Port) wake(worker int) {
	other := p.dev.ports[worker]
	if other.rung.Swap(true) {
		return
	}
	count := [8]byte{1} // not 0, in either byte order
	_, _ = unix.Write(other.bell, count[:])
	p.stats.Wakeups++
}

// answerBell makes the bell ready to ring again. Whoever set rung is about to
// write; only after that write was read may the next one ring, or the
// descriptor would stay readable with nobody to see it. Frames that were
// pushed without ringing, because rung was set, are visible after it is
// cleared.
func (p *Port) answerBell() {
	if !p.rung.Load() {
		return
	}
	var count [8]byte
	if _, err := unix.Read(p.bell, count[:]); err == nil {
		p.rung.Store(false)
	}
}

// FDs implements transport.Batch.
func (p *Port) FDs() []int { return p.fds }

// Stats implements transport.Batch. It makes a system call per queue, and
// notices when the interface is gone.
func (p *Port) Stats() transport.Stats {
	st := p.stats
	if p.closed {
		return st
	}
	p.lookForError()
	for i := range p.lanes {
		l := &p.lanes[i]
		kernel, err := l.statistics()
		if err != nil {
			continue
		}
		st.RxDropped += kernel.Rx_dropped + kernel.Rx_ring_full
		st.RingFull += kernel.Rx_ring_full
		st.TxInvalid += kernel.Tx_invalid_descs
		if l.queue.owner == p.worker {
			// Every socket of a queue reports this one.
			st.FillEmpty += kernel.Rx_fill_ring_empty_descs
		}
	}
	return st
}

// Close implements transport.Batch. The device lives until its last port is
// closed; until then frames that the XDP program steers here are lost.
func (p *Port) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	if p.dev.open.Add(-1) > 0 {
		return nil
	}
	return p.dev.Close()
}

var _ transport.Batch = (*Port)(nil)
