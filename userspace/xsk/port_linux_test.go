package xsk

import (
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

func TestPortReceives(t *testing.T) {
	d, k := newFake(t, Options{Queues: 2, Workers: 2, RXFrames: 8, TXFrames: 8})
	p := d.ports[1]
	for i := range 5 {
		k.deliver(i%2, 1, uint64(i))
	}
	ds := make([]transport.Datagram, 16)
	n, err := p.Receive(ds)
	if n != 5 || err != nil {
		t.Fatalf("received %d, %v; want 5", n, err)
	}
	for i, want := range []uint64{0, 2, 4, 1, 3} {
		got := ds[i]
		if number := binary.BigEndian.Uint64(got.Payload); number != want {
			t.Errorf("datagram %d carries %d, want %d", i, number, want)
		}
		if got.Key != wire.MakeKey(testClient, testServer) || !got.Gated || int(got.Queue) != int(want)%2 {
			t.Errorf("datagram %d: key %v, gated %t, queue %d", i, got.Key, got.Gated, got.Queue)
		}
	}
	if a := checkAccount(t, d); a.Held != 5 {
		t.Errorf("%d frames held, want 5", a.Held)
	}
	p.Release()
	if a := checkAccount(t, d); a.Held != 0 || a.Returning != 3 {
		t.Errorf("after release %d held and %d returning, want 0 and 3", a.Held, a.Returning)
	}
	settle(t, d)
	checkHome(t, d)
}

func TestPortDropsWhatIsNotUDP(t *testing.T) {
	d, k := newFake(t, Options{Queues: 1, RXFrames: 8, TXFrames: 8})
	k.deliver(0, 0, 1)
	entry := &d.ports[0].lanes[0].rx.entries[(^uint32(0)-3)&7]
	d.mem[entry.addr+12] = 0xff // the Ethernet type
	k.deliver(0, 0, 2)

	ds := make([]transport.Datagram, 4)
	n, _ := d.ports[0].Receive(ds)
	if n != 1 || binary.BigEndian.Uint64(ds[0].Payload) != 2 {
		t.Errorf("received %d datagrams, first %v; want number 2 alone", n, ds[0].Payload)
	}
	if got := d.ports[0].stats.RxInvalid; got != 1 {
		t.Errorf("RxInvalid is %d, want 1", got)
	}
	settle(t, d)
	checkHome(t, d)
}

func TestPortTellsMarks(t *testing.T) {
	d, k := newFake(t, Options{Queues: 1, RXFrames: 8, TXFrames: 8})
	ds := make([]transport.Datagram, 4)
	for ecn := range byte(4) {
		head := d.ports[0].lanes[0].rx.producer.Load()
		k.deliver(0, 0, 1)
		entry := &d.ports[0].lanes[0].rx.entries[head&7]
		const offClass = 14 + 1
		d.mem[entry.addr+offClass] = ecn
		if n, _ := d.ports[0].Receive(ds); n != 1 || ds[0].CE != (ecn == 3) {
			t.Errorf("ECN field %d: %d datagrams, CE %v", ecn, n, ds[0].CE)
		}
		d.ports[0].Release()
	}
	settle(t, d)
	checkHome(t, d)
}

// A route learned from a frame leads back to its sender.
func TestPortAnswers(t *testing.T) {
	d, k := newFake(t, Options{Queues: 2, RXFrames: 8, TXFrames: 8})
	p := d.ports[0]
	k.deliver(1, 0, 7)
	ds := make([]transport.Datagram, 4)
	if n, _ := p.Receive(ds); n != 1 {
		t.Fatalf("received %d", n)
	}
	var r transport.Route
	p.Route(&ds[0], &r)
	p.Release()

	k.queues[1].hold = true
	if !submit(p, &r, 70) {
		t.Fatal("no buffer")
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := k.queues[1].sent; !slices.Equal(got, []uint64{70}) {
		t.Fatalf("queue 1 sent %v, want 70", got)
	}
	addr := k.queues[1].inFlight[0]
	f, _ := wire.ParseFrame(d.mem[addr : addr+256])
	if f.Src() != testServer || f.Dst() != testClient {
		t.Errorf("answer goes from %s to %s", f.Src(), f.Dst())
	}
	if class := d.mem[addr+uint64(f.L3)+1]; class != 2 {
		t.Errorf("traffic class %#x, want ECT(0)", class)
	}
	if (addr+uint64(f.Payload))%payloadOffset != 0 {
		t.Errorf("payload at %#x is not on a cache line", addr+uint64(f.Payload))
	}
	k.complete(k.queues[1])
	settle(t, d)
	checkHome(t, d)
}

func TestBufferRefusesForeignRoutes(t *testing.T) {
	d, _ := newFake(t, Options{Queues: 1, RXFrames: 8, TXFrames: 8})
	tests := []struct {
		name  string
		route *transport.Route
	}{
		{"no_template", &transport.Route{Key: wire.MakeKey(testClient, testServer)}},
		{"no_such_queue", testRoute(1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d.ports[0].Buffer(tt.route) != nil {
				t.Error("got a buffer")
			}
		})
	}
}

// One wake-up sends 32 frames; Flush has to go on.
func TestFlushSendsUntilDrained(t *testing.T) {
	d, k := newFake(t, Options{Queues: 1, RXFrames: 8, TXFrames: 256})
	p := d.ports[0]
	for i := range 200 {
		if !submit(p, testRoute(0), uint64(i)) {
			t.Fatalf("no buffer for %d", i)
		}
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := len(k.queues[0].sent); got != 200 {
		t.Errorf("sent %d of 200", got)
	}
	checkHome(t, d)
}

func TestWakeupErrors(t *testing.T) {
	tests := []struct {
		name   string
		errnos []syscall.Errno
		want   error
		sent   int // by the first Flush
	}{
		{"transient", []syscall.Errno{unix.EAGAIN}, nil, 3},
		{"busy", []syscall.Errno{unix.EBUSY}, nil, 3},
		{"no_buffers", []syscall.Errno{unix.ENOBUFS}, nil, 3},
		{"interrupted", []syscall.Errno{unix.EINTR}, nil, 3},
		{"stalled", []syscall.Errno{unix.EAGAIN, unix.EBUSY}, nil, 0},
		{"interface_down", []syscall.Errno{unix.ENETDOWN}, nil, 0},
		{"interface_gone", []syscall.Errno{unix.ENXIO}, ErrGone, 0},
		{"unknown", []syscall.Errno{unix.EPERM}, unix.EPERM, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, k := newFake(t, Options{Queues: 1, RXFrames: 8, TXFrames: 8})
			p := d.ports[0]
			for i := range 3 {
				submit(p, testRoute(0), uint64(i))
			}
			k.errnos = tt.errnos
			if err := p.Flush(); !errors.Is(err, tt.want) {
				t.Errorf("flush: %v, want %v", err, tt.want)
			}
			checkAccount(t, d)
			if got := len(k.queues[0].sent); got != tt.sent {
				t.Errorf("sent %d, want %d", got, tt.sent)
			}
			if tt.want != nil {
				return
			}
			settle(t, d)
			if got := k.queues[0].sent; !slices.Equal(got, []uint64{0, 1, 2}) {
				t.Errorf("sent %v in the end", got)
			}
			checkHome(t, d)
		})
	}
}

// A queue that completes nothing may take half of the frames, no more.
func TestStuckQueueLeavesFramesToOthers(t *testing.T) {
	d, k := newFake(t, Options{Queues: 2, RXFrames: 8, TXFrames: 16})
	p := d.ports[0]
	k.budget = 0 // the device takes nothing
	n := 0
	for submit(p, testRoute(0), 0) {
		n++
	}
	if n != 8 {
		t.Errorf("a stuck queue took %d of 16 frames, want 8", n)
	}
	k.budget = 32
	for i := range 8 {
		if !submit(p, testRoute(1), uint64(i)) {
			t.Fatalf("no buffer for frame %d of the other queue", i)
		}
	}
	settle(t, d)
	checkHome(t, d)
}

func TestLostCompletions(t *testing.T) {
	const timeout = time.Second
	d, k := newFake(t, Options{Queues: 1, RXFrames: 8, TXFrames: 8, CompletionTimeout: timeout})
	now := uint64(time.Hour)
	d.now = func() uint64 { return now }
	p := d.ports[0]
	q := k.queues[0]
	q.hold = true
	for i := range 8 {
		submit(p, testRoute(0), uint64(i))
	}
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if p.Buffer(testRoute(0)) != nil {
		t.Fatal("got a buffer with every frame in flight")
	}
	if a := checkAccount(t, d); a.Kernel != 8 {
		t.Fatalf("%d frames with the kernel, want 8", a.Kernel)
	}

	now += uint64(timeout)
	if p.Buffer(testRoute(0)) != nil {
		t.Fatal("frames were given up before the timeout")
	}
	now++
	if p.Buffer(testRoute(0)) == nil {
		t.Fatal("no frame was given up after the timeout")
	}
	if got := p.stats.TxLost; got != 8 {
		t.Errorf("TxLost is %d, want 8", got)
	}
	checkAccount(t, d)

	// The completions come after all, and must not double the frames.
	q.hold = false
	k.complete(q)
	settle(t, d)
	checkHome(t, d)
}

// While completions trickle in, nothing is lost, however long it takes.
func TestSlowCompletionsAreNotLost(t *testing.T) {
	const timeout = time.Second
	d, k := newFake(t, Options{Queues: 1, RXFrames: 8, TXFrames: 8, CompletionTimeout: timeout})
	now := uint64(time.Hour)
	d.now = func() uint64 { return now }
	p, q := d.ports[0], k.queues[0]
	q.hold = true
	for i := range 8 {
		submit(p, testRoute(0), uint64(i))
	}
	for len(q.inFlight) > 1 || p.stats.TxCalls == 0 {
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
		now += uint64(timeout)
		q.completion.give(q.inFlight[0])
		q.inFlight = q.inFlight[1:]
	}
	if p.stats.TxLost != 0 {
		t.Errorf("%d frames were given up", p.stats.TxLost)
	}
	k.complete(q)
	settle(t, d)
	checkHome(t, d)
}

// A worker that returns frames wakes a sleeping owner before the kernel has
// run out of them.
func TestOwnerIsWokenForFrames(t *testing.T) {
	d, k := newFake(t, Options{Queues: 1, Workers: 3, RXFrames: 16, TXFrames: 8})
	ds := make([]transport.Datagram, 1)
	for round := range 3 {
		delivered := 0
		for !readable(t, d.ports[0].bell) {
			worker := 1 + delivered%2
			if !k.deliver(0, worker, 0) {
				t.Fatalf("round %d: the kernel has no frame left after %d, and the owner sleeps", round, delivered)
			}
			delivered++
			if n, _ := d.ports[worker].Receive(ds); n != 1 {
				t.Fatal("nothing received")
			}
			d.ports[worker].Release()
		}
		if delivered < 4 {
			t.Errorf("round %d: owner was woken after %d frames of 16 already", round, delivered)
		}
		if n, _ := d.ports[0].Receive(ds); n != 0 {
			t.Fatalf("owner received %d", n)
		}
		if readable(t, d.ports[0].bell) {
			t.Error("bell still rings after the owner's pass")
		}
	}
	settle(t, d)
	checkHome(t, d)
}

// A worker short of TX frames wakes the owner of the completion ring that has
// them.
func TestOwnerIsWokenForCompletions(t *testing.T) {
	d, _ := newFake(t, Options{Queues: 1, Workers: 2, RXFrames: 8, TXFrames: 8})
	p := d.ports[1]
	sent := 0
	for submit(p, testRoute(0), 0) {
		sent++
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if sent != 8 {
		t.Fatalf("sent %d, want 8", sent)
	}
	if !readable(t, d.ports[0].bell) {
		t.Fatal("owner was not woken")
	}
	if _, err := d.ports[0].Receive(nil); err != nil {
		t.Fatal(err)
	}
	if p.Buffer(testRoute(0)) == nil {
		t.Error("no buffer after the owner's pass")
	}
	settle(t, d)
	checkHome(t, d)
}

func readable(t *testing.T, fd int) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll(fds, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// FuzzDevice runs sequences of calls and events over two queues and three
// workers, and looks for every frame after each.
func FuzzDevice(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add([]byte{0x00, 0x10, 0x20, 0x30, 0x01, 0x11, 0x02, 0x12, 0x03, 0x13, 0x33, 0x04, 0x14})
	f.Add([]byte{0x06, 0x13, 0x13, 0x13, 0x13, 0x13, 0x14, 0x17, 0x13, 0x17, 0x13, 0x06, 0x05})
	f.Fuzz(func(t *testing.T, ops []byte) {
		const workers, queues = 3, 2
		d, k := newFake(t, Options{Queues: queues, Workers: workers, RXFrames: 4, TXFrames: 4,
			CompletionTimeout: time.Second})
		now := uint64(time.Hour)
		d.now = func() uint64 { return now }
		ds := make([]transport.Datagram, 3)
		for step, op := range ops {
			p := d.ports[int(op>>4)%workers]
			queue := int(op>>6) % queues
			switch op & 15 {
			case 0, 1:
				k.deliver(queue, p.worker, uint64(step))
			case 2:
				if _, err := p.Receive(ds); err != nil {
					t.Fatal(err)
				}
			case 3:
				p.Release()
			case 4, 5:
				submit(p, testRoute(queue), uint64(step))
			case 6:
				if err := p.Flush(); err != nil {
					t.Fatal(err)
				}
			case 7:
				k.queues[queue].hold = true
			case 8:
				k.queues[queue].hold = false
				k.complete(k.queues[queue])
			case 9:
				now += uint64(time.Second) + 1
			case 10:
				k.errnos = append(k.errnos, unix.ENOBUFS)
			case 11:
				p.Buffer(testRoute(queue)) // and no Commit
			case 12:
				k.budget = 1 + step%3
			}
			if err := d.Account().Check(); err != nil {
				t.Fatalf("step %d, op %#x: %v", step, op, err)
			}
		}
		k.errnos = nil
		k.budget = 32
		for _, q := range k.queues {
			q.hold = false
			k.complete(q)
		}
		settle(t, d)
		checkHome(t, d)
	})
}

// Three workers and the kernel run at once. Numbers arrive in order per ring,
// and in the end every frame is back.
func TestDeviceConcurrently(t *testing.T) {
	const workers, queues, count = 3, 2, 5000
	d, k := newFake(t, Options{Queues: queues, Workers: workers, RXFrames: 64, TXFrames: 64})

	var wg sync.WaitGroup
	for _, p := range d.ports {
		wg.Go(func() {
			ds := make([]transport.Datagram, 8)
			var next [queues]uint64
			var r transport.Route
			for next[0]+next[1] < queues*count {
				n, err := p.Receive(ds)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range n {
					q, number := ds[i].Queue, binary.BigEndian.Uint64(ds[i].Payload)
					if number != next[q] {
						t.Errorf("worker %d got %d on queue %d, want %d", p.worker, number, q, next[q])
						return
					}
					next[q]++
					p.Route(&ds[i], &r)
					submit(p, &r, number)
				}
				p.Release()
				if err := p.Flush(); err != nil {
					t.Error(err)
					return
				}
				if n == 0 {
					runtime.Gosched()
				}
			}
			// Others need what this one gives back, as from a worker
			// that sleeps and is woken.
			for range 100 {
				_, _ = p.Receive(nil)
				runtime.Gosched()
			}
		})
	}
	for q := range queues {
		wg.Go(func() {
			deadline := time.Now().Add(20 * time.Second)
			for number := range uint64(count) {
				for w := range workers {
					for !k.deliver(q, w, number) {
						if time.Now().After(deadline) {
							t.Errorf("queue %d starves at %d", q, number)
							return
						}
						runtime.Gosched()
					}
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	settle(t, d)
	checkHome(t, d)
}

func TestPortDoesNotAllocate(t *testing.T) {
	d, k := newFake(t, Options{Queues: 2, Workers: 2, RXFrames: 64, TXFrames: 64})
	ds := make([]transport.Datagram, 32)
	r := testRoute(1)
	for _, q := range k.queues {
		q.sent = make([]uint64, 0, 1<<20)
		q.inFlight = make([]uint64, 0, 64)
	}
	if n := testing.AllocsPerRun(100, func() {
		for i := range 16 {
			k.deliver(i%2, 0, 1)
			k.deliver(i%2, 1, 1)
		}
		for _, p := range d.ports {
			n, _ := p.Receive(ds)
			for i := range n {
				p.Route(&ds[i], r)
				submit(p, r, 1)
			}
			p.Release()
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations per pass", n)
	}
}

func BenchmarkPortEcho(b *testing.B) {
	d, k := newFake(b, Options{Queues: 1})
	p := d.ports[0]
	ds := make([]transport.Datagram, 32)
	var r transport.Route
	for range 32 {
		k.deliver(0, 0, 1)
	}
	n, _ := p.Receive(ds)
	p.Route(&ds[0], &r)
	p.Release()
	q := k.queues[0]
	rx := &q.rx[0]
	d.wakeTX = func(int) syscall.Errno {
		for {
			e, ok := q.tx[0].take()
			if !ok {
				return 0
			}
			q.completion.give(e.addr)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		for range n {
			addr, _ := q.fill.take()
			rx.give(descriptor{addr: addr + unix.XDP_PACKET_HEADROOM, length: 50})
		}
		got, _ := p.Receive(ds)
		for range got {
			p.Buffer(&r)
			p.Commit(64)
		}
		p.Release()
		if err := p.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/packet")
}

// In copy mode frames leave as soon as there are as many as one call sends.
func TestCopiedFramesDoNotWaitForFlush(t *testing.T) {
	for _, tt := range []struct {
		name     string
		zeroCopy bool
		want     int
	}{{"copy", false, copyBatch}, {"zero_copy", true, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			d, k := newFake(t, Options{Queues: 1, RXFrames: 8, TXFrames: 128})
			d.report.ZeroCopy = tt.zeroCopy
			p, q := d.ports[0], k.queues[0]
			for i := range copyBatch + 1 {
				submit(p, testRoute(0), uint64(i))
			}
			if len(q.sent) != tt.want {
				t.Errorf("%d frames left before Flush, want %d", len(q.sent), tt.want)
			}
			settle(t, d)
			if len(q.sent) != copyBatch+1 {
				t.Errorf("%d frames left, want %d", len(q.sent), copyBatch+1)
			}
		})
	}
}
