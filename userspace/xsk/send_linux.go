package xsk

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/transport"
)

// stallLimit is how many wake-ups in a row may send nothing before the rest is
// left for the next Flush.
const stallLimit = 2

// copyBatch is how many frames one system call sends in copy mode.
const copyBatch = 32

// Buffer implements transport.Batch. A route that was not learned from a frame
// has no template, and no buffer here.
func (p *Port) Buffer(r *transport.Route) []byte {
	p.route = nil
	if r.Template.Len == 0 || int(r.Queue) >= len(p.lanes) || p.closed {
		return nil
	}
	l := &p.lanes[r.Queue]
	if len(p.free) == 0 || l.tx.full() {
		p.makeRoom(l)
		if len(p.free) == 0 || l.tx.full() {
			p.stats.TxNoBuffer++
			return nil
		}
	}
	p.route = r
	start := p.address(p.free[len(p.free)-1]) + payloadOffset
	end := start + transport.MaxDatagram
	return p.dev.mem[start:end:end]
}

// makeRoom tries to get a frame, and room in the TX ring of l.
func (p *Port) makeRoom(l *lane) {
	if l.tx.full() {
		l.tx.publish()
		// An error shows again in Flush.
		_ = p.kick(l)
	}
	p.reap()
	p.relieve()
}

// address returns where TX frame number i of the port begins.
func (p *Port) address(i uint32) uint64 {
	return p.txBase + uint64(i)*uint64(p.dev.opts.FrameSize)
}

// Commit implements transport.Batch.
func (p *Port) Commit(n int) {
	r := p.route
	if r == nil {
		panic("xsk: Commit without Buffer")
	}
	if n < 0 || n > transport.MaxDatagram {
		panic("xsk: commit of more than a datagram")
	}
	p.route = nil
	last := len(p.free) - 1
	i := p.free[last]
	p.free = p.free[:last]

	t := &r.Template
	start := p.address(i) + payloadOffset - uint64(t.Len)
	length := t.Build(p.dev.mem[start:start+uint64(t.Len+n)], n)

	l := &p.lanes[r.Queue]
	p.frames[i] = txFrame{busy: true, queue: r.Queue, index: l.tx.head}
	l.tx.put(descriptor{addr: start, length: uint32(length)})
	l.inFlight++
	p.stats.TxPackets++
	p.stats.TxBytes += uint64(n)
	if l.tx.head-l.tx.sent == copyBatch && !p.dev.report.ZeroCopy {
		// It takes no more calls than to wait for Flush, and the kernel finds the
		// frames in the cache.
		l.tx.publish()
		_ = p.kick(l)
		p.reap()
	}
}

// Flush implements transport.Batch. Frames the device does not take at once
// stay in the TX ring for a later Flush.
func (p *Port) Flush() error {
	if p.closed {
		return net.ErrClosed
	}
	if p.gone {
		return ErrGone
	}
	for i := range p.lanes {
		l := &p.lanes[i]
		if l.inFlight == 0 {
			continue
		}
		l.tx.publish()
		if err := p.kick(l); err != nil {
			return err
		}
	}
	p.reap()
	p.relieve()
	return nil
}

// kick has the kernel send until the TX ring is empty: in copy mode one system
// call sends copyBatch frames, and says EAGAIN for the rest. Only the ring tells
// whether there was progress.
func (p *Port) kick(l *lane) error {
	for stalls := 0; stalls < stallLimit; {
		before := l.tx.pending()
		if before == 0 || !l.tx.wakeup() {
			return nil
		}
		errno := p.dev.wakeTX(l.fd)
		p.stats.TxCalls++
		switch errno {
		case 0, unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.EINTR:
		case unix.ENETDOWN: // until the interface is up again
			p.stats.TxErrors++
			return nil
		case unix.ENXIO:
			p.gone = true
			return ErrGone
		default:
			return sendError(errno)
		}
		if p.dev.report.ZeroCopy {
			return nil // the driver sends in its own time
		}
		if l.tx.pending() == before {
			// Perhaps for want of room in the completion ring.
			p.reap()
			stalls++
		}
	}
	return nil
}

// sendError wraps an errno that no kernel is known to return here.
type sendError syscall.Errno

func (e sendError) Error() string { return "wake TX: " + syscall.Errno(e).Error() }
func (e sendError) Unwrap() error { return syscall.Errno(e) }

// reap takes sent frames from the completion rings this port owns, and from
// the owners of the others.
func (p *Port) reap() {
	for _, q := range p.owned {
		if q.completion.ready() > 0 {
			p.sortOut(q)
		}
	}
	for _, done := range p.takeOver {
		for {
			addr, ok := done.Pop()
			if !ok {
				break
			}
			p.completed(addr)
		}
	}
}

// sortOut hands what is in a completion ring to the workers it belongs to. It
// stops at one who has all it can hold, which takes late completions.
func (p *Port) sortOut(q *queue) {
	o := &p.dev.opts
	base := uint64(o.Queues * o.RXFrames * o.FrameSize)
	perWorker := uint64(o.TXFrames * o.FrameSize)
	for n := q.completion.ready(); n > 0; n-- {
		addr := q.completion.peek()
		worker := int((addr - base) / perWorker)
		if worker == p.worker {
			p.completed(addr)
		} else if !p.handOver[worker].Push(addr) {
			break
		}
		q.completion.advance()
	}
	q.completion.release()
}

// completed takes back a TX frame.
//
// The completion of a frame that was given up as lost may come late. The frame
// is free by then, or in a TX ring anew: either shows that it is not meant.
func (p *Port) completed(addr uint64) {
	i := uint32((addr - p.txBase) / uint64(p.dev.opts.FrameSize))
	f := &p.frames[i]
	if !f.busy || p.overdue && !p.taken(f) {
		return
	}
	p.lanes[f.queue].progress = true
	p.release(i)
}

// taken reports whether the kernel has taken a busy frame from its TX ring.
func (p *Port) taken(f *txFrame) bool {
	return int32(p.lanes[f.queue].tx.consumer.Load()-f.index) > 0
}

func (p *Port) release(i uint32) {
	f := &p.frames[i]
	f.busy = false
	p.lanes[f.queue].inFlight--
	p.free = append(p.free, i)
}

// relieve acts when less than half of the TX frames are free: it wakes owners
// of completion rings that may hold some, and gives up frames whose completion
// is overdue. With enough frames nothing here is worth a look at the clock.
func (p *Port) relieve() {
	if len(p.free) >= len(p.frames)/2 {
		p.pressed = false
		return
	}
	now := p.dev.now()
	timeout := uint64(p.dev.opts.CompletionTimeout)
	for i := range p.lanes {
		l := &p.lanes[i]
		if l.inFlight == 0 {
			continue
		}
		if !p.pressed || l.progress {
			l.progress = false
			l.since = now
		}
		waiting := l.queue.completion.waiting()
		if waiting && l.queue.owner != p.worker {
			p.wake(l.queue.owner)
		}
		if !waiting && now-l.since > timeout {
			l.since = now
			p.giveUp(uint16(i))
		}
	}
	p.pressed = true
}

// giveUp frees the frames of a queue that the kernel took from the TX ring and
// never completed. Those still in the ring are the kernel's.
func (p *Port) giveUp(queue uint16) {
	for i := range p.frames {
		f := &p.frames[i]
		if f.busy && f.queue == queue && p.taken(f) {
			p.release(uint32(i))
			p.stats.TxLost++
			p.overdue = true
		}
	}
}
