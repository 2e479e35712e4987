package xsk

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// fakeKernel is the other side of a device whose rings are plain memory.
type fakeKernel struct {
	t      testing.TB
	dev    *Device
	queues []*fakeQueue

	mu     sync.Mutex // as the kernel's, around sending
	errnos []syscall.Errno
	budget int // frames a wake-up sends
}

type fakeQueue struct {
	fill       kernelRing[uint64]
	completion kernelRing[uint64]
	rx         []kernelRing[descriptor] // by worker
	tx         []kernelRing[descriptor]
	spare      []uint64 // taken from fill, and not used
	hold       bool     // completions are held back
	inFlight   []uint64
	sent       []uint64 // numbers in the payloads, in order
}

var (
	testClient = netip.MustParseAddrPort("192.0.2.1:5000")
	testServer = netip.MustParseAddrPort("192.0.2.2:7000")
	testLink   = []byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
)

// newFake makes a device over a fake kernel, in the state after Bind.
func newFake(t testing.TB, opts Options) (*Device, *fakeKernel) {
	t.Helper()
	opts.Interface = "fake"
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		t.Fatal(err)
	}
	d := layOut(opts, ringMemory(opts.frames()*opts.FrameSize, 1))
	if err := d.hangBells(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range d.ports {
			unix.Close(p.bell)
		}
	})
	k := &fakeKernel{t: t, dev: d, budget: 32}
	for _, q := range d.queues {
		f := &fakeQueue{}
		k.queues = append(k.queues, f)
		fill := ringMemory(opts.RXFrames, 8)
		f.fill.ring = makeRing[uint64](fill, testOffsets, opts.RXFrames)
		f.fill.start(^uint32(0) - 5)
		q.fill = makeProducer[uint64](fill, testOffsets, opts.RXFrames)
		completion := ringMemory(opts.completionRing(), 8)
		f.completion.ring = makeRing[uint64](completion, testOffsets, opts.completionRing())
		f.completion.start(^uint32(0) - 7)
		q.completion = makeConsumer[uint64](completion, testOffsets, opts.completionRing())
		for _, p := range d.ports {
			rx := ringMemory(opts.RXFrames, unsafe.Sizeof(descriptor{}))
			f.rx = append(f.rx, kernelRing[descriptor]{makeRing[descriptor](rx, testOffsets, opts.RXFrames)})
			f.rx[p.worker].start(^uint32(0) - 3)
			tx := ringMemory(opts.txRing(), unsafe.Sizeof(descriptor{}))
			f.tx = append(f.tx, kernelRing[descriptor]{makeRing[descriptor](tx, testOffsets, opts.txRing())})
			f.tx[p.worker].start(^uint32(0) - 9)
			f.tx[p.worker].flags.Store(needWakeup)
			p.lanes[q.id].socket = &socket{
				fd: q.id*opts.Workers + p.worker,
				rx: makeConsumer[descriptor](rx, testOffsets, opts.RXFrames),
				tx: makeProducer[descriptor](tx, testOffsets, opts.txRing()),
			}
		}
		d.post(q)
	}
	d.wakeTX = k.send
	d.wakeRX = func(int) syscall.Errno { return 0 }
	return d, k
}

// deliver puts a frame into the RX ring of a queue and worker, and reports
// whether there was a frame for it.
func (k *fakeKernel) deliver(queue, worker int, number uint64) bool {
	q := k.queues[queue]
	var addr uint64
	if n := len(q.spare); n > 0 {
		addr, q.spare = q.spare[n-1], q.spare[:n-1]
	} else {
		var ok bool
		if addr, ok = q.fill.take(); !ok {
			return false
		}
	}
	addr += unix.XDP_PACKET_HEADROOM
	n := buildFrame(k.dev.mem[addr:], number)
	if !q.rx[worker].give(descriptor{addr: addr, length: uint32(n)}) {
		k.t.Error("RX ring is full")
		q.spare = append(q.spare, addr-unix.XDP_PACKET_HEADROOM)
		return false
	}
	return true
}

var frameFromClient = wire.MakeFrameTemplate(testLink, testClient, testServer)

func buildFrame(mem []byte, number uint64) int {
	t := &frameFromClient
	binary.BigEndian.PutUint64(mem[t.Len:], number)
	return t.Build(mem[:t.Len+8], 8)
}

// send is sendto: it takes up to budget frames from the TX ring.
func (k *fakeKernel) send(fd int) syscall.Errno {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.errnos) > 0 {
		errno := k.errnos[0]
		k.errnos = k.errnos[1:]
		return errno
	}
	q := k.queues[fd/k.dev.opts.Workers]
	tx := &q.tx[fd%k.dev.opts.Workers]
	for range k.budget {
		if q.completion.len()+len(q.inFlight) >= len(q.completion.entries) {
			return unix.EAGAIN
		}
		e, ok := tx.take()
		if !ok {
			return 0
		}
		frame := k.dev.mem[e.addr : e.addr+uint64(e.length)]
		f, verdict := wire.ParseFrame(frame)
		if verdict != wire.FrameUDP || f.BadLength || f.PayloadLen < 8 {
			k.t.Errorf("sent a frame that is %s: %x", verdict, frame)
		} else {
			q.sent = append(q.sent, binary.BigEndian.Uint64(frame[f.Payload:]))
		}
		q.inFlight = append(q.inFlight, e.addr)
		if !q.hold {
			k.complete(q)
		}
	}
	return unix.EAGAIN
}

// complete returns every frame in flight.
func (k *fakeKernel) complete(q *fakeQueue) {
	for _, addr := range q.inFlight {
		if !q.completion.give(addr) {
			k.t.Error("completion ring is full")
		}
	}
	q.inFlight = q.inFlight[:0]
}

// testRoute is the answer to a frame from the client on a queue.
func testRoute(queue int) *transport.Route {
	return &transport.Route{
		Key:      wire.MakeKey(testClient, testServer),
		Template: wire.MakeFrameTemplate(testLink, testServer, testClient),
		Queue:    uint16(queue),
	}
}

// submit queues one datagram, and reports whether there was a buffer.
func submit(p *Port, r *transport.Route, number uint64) bool {
	b := p.Buffer(r)
	if b == nil {
		return false
	}
	binary.BigEndian.PutUint64(b, number)
	p.Commit(8)
	return true
}

// checkAccount fails the test unless every frame is in one place.
func checkAccount(t testing.TB, d *Device) Account {
	t.Helper()
	a := d.Account()
	if err := a.Check(); err != nil {
		t.Fatal(err)
	}
	return a
}

// checkHome fails the test unless every frame is where it began.
func checkHome(t testing.TB, d *Device) {
	t.Helper()
	o := &d.opts
	want := Account{Frames: o.frames(), Fill: o.Queues * o.RXFrames, Free: o.Workers * o.TXFrames}
	if got := checkAccount(t, d); got != want {
		t.Errorf("frames are not all back:\n got %+v\nwant %+v", got, want)
	}
}

// settle has every port return what it holds.
func settle(t testing.TB, d *Device) {
	t.Helper()
	ds := make([]transport.Datagram, 16)
	for range 4 {
		for _, p := range d.ports {
			for {
				n, err := p.Receive(ds)
				if err != nil {
					t.Fatal(err)
				}
				p.Release()
				if n == 0 {
					break
				}
			}
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
