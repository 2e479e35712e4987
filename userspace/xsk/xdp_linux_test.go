package xsk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

const testPort = 7000

// steering is an XDP program that redirects UDP over IPv4 to testPort. The
// first byte of the payload names the worker.
type steering struct {
	workers int
	sockets *ebpf.Map
	program *ebpf.Program
	link    link.Link
}

func (s *steering) Register(queue, worker, fd int) error {
	return s.sockets.Put(uint32(queue*s.workers+worker), uint32(fd))
}

// attach attaches the program. It must run in the interface's namespace.
func attach(iface string, queues, workers int, flags link.XDPAttachFlags) (s *steering, err error) {
	s = &steering{workers: workers}
	s.sockets, err = ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(queues * workers),
	})
	if err != nil {
		return nil, err
	}
	const pass = 2
	networkOrder := func(v uint16) int32 {
		var b [2]byte
		binary.BigEndian.PutUint16(b[:], v)
		return int32(binary.NativeEndian.Uint16(b[:]))
	}
	s.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP,
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadMem(asm.R2, asm.R6, 0, asm.Word), // data
			asm.LoadMem(asm.R3, asm.R6, 4, asm.Word), // data_end
			asm.Mov.Reg(asm.R4, asm.R2),
			asm.Add.Imm(asm.R4, 43),
			asm.JGT.Reg(asm.R4, asm.R3, "pass"),
			asm.LoadMem(asm.R5, asm.R2, 12, asm.Half),
			asm.JNE.Imm(asm.R5, networkOrder(0x0800), "pass"),
			asm.LoadMem(asm.R5, asm.R2, 23, asm.Byte),
			asm.JNE.Imm(asm.R5, unix.IPPROTO_UDP, "pass"),
			asm.LoadMem(asm.R5, asm.R2, 36, asm.Half),
			asm.JNE.Imm(asm.R5, networkOrder(testPort), "pass"),
			asm.LoadMem(asm.R7, asm.R2, 42, asm.Byte),
			asm.LoadMem(asm.R2, asm.R6, 16, asm.Word), // rx_queue_index
			asm.Mul.Imm(asm.R2, int32(workers)),
			asm.Add.Reg(asm.R2, asm.R7),
			asm.LoadMapPtr(asm.R1, s.sockets.FD()),
			asm.Mov.Imm(asm.R3, pass),
			asm.FnRedirectMap.Call(),
			asm.Return(),
			asm.Mov.Imm(asm.R0, pass).WithSymbol("pass"),
			asm.Return(),
		},
		License: "Apache-2.0",
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.link, err = link.AttachXDP(link.XDPOptions{Program: s.program, Interface: dev.Index, Flags: flags})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *steering) Close() error {
	var errs []error
	if s.link != nil {
		errs = append(errs, s.link.Close())
	}
	if s.program != nil {
		errs = append(errs, s.program.Close())
	}
	return errors.Join(append(errs, s.sockets.Close())...)
}

// network is a lab with a Device on the server's end.
type network struct {
	*lab.Lab
	t        *testing.T
	opts     Options
	steering *steering
	dev      *Device
	ports    []*Port
}

// newNetwork builds a lab with the steering program attached.
func newNetwork(t *testing.T, opts Options) *network {
	t.Helper()
	n := &network{t: t, Lab: labtest.New(t, lab.Options{Queues: max(opts.Queues, 1)})}
	opts.Interface = n.Server.Interface
	n.opts = opts.withDefaults()
	n.do(func() (err error) {
		n.steering, err = attach(n.Server.Interface, max(opts.Queues, 1), n.opts.Workers, link.XDPDriverMode)
		return err
	})
	t.Cleanup(func() {
		if err := n.steering.Close(); err != nil {
			t.Errorf("detach: %v", err)
		}
	})
	return n
}

// do runs f in the server's namespace.
func (n *network) do(f func() error) {
	n.t.Helper()
	if err := n.Server.Do(f); err != nil {
		n.t.Fatal(err)
	}
}

// open opens the device.
func (n *network) open() {
	n.t.Helper()
	n.do(func() (err error) {
		if n.dev, err = New(n.opts); err == nil {
			n.ports, err = n.dev.Bind(n.steering)
		}
		return err
	})
	dev := n.dev
	n.t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			n.t.Errorf("close device: %v", err)
		}
	})
}

// deleteInterface removes the server's end.
func (n *network) deleteInterface() {
	n.t.Helper()
	n.do(func() error {
		dev, err := netlink.LinkByName(n.Server.Interface)
		if err != nil {
			return err
		}
		return netlink.LinkDel(dev)
	})
}

// dial returns a client socket that is connected to the server.
func (n *network) dial() *net.UDPConn {
	n.t.Helper()
	var conn *net.UDPConn
	err := n.Client.Do(func() (err error) {
		to := netip.AddrPortFrom(n.Server.IPv4, testPort)
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		n.t.Fatal(err)
	}
	return conn
}

// datagram is a payload for a worker.
func datagram(worker int, number uint32) []byte {
	b := make([]byte, 32)
	b[0] = byte(worker)
	binary.BigEndian.PutUint32(b[1:], number)
	return b
}

func number(payload []byte) uint32 { return binary.BigEndian.Uint32(payload[1:]) }

func mustWrite(t *testing.T, c *net.UDPConn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, c *net.UDPConn) []byte {
	t.Helper()
	b := make([]byte, 2048)
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// await waits until a port has something to do.
func await(p *Port, timeout time.Duration) bool {
	var fds []unix.PollFd
	for _, fd := range p.FDs() {
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	deadline := time.Now().Add(timeout)
	for {
		n, err := unix.Poll(fds, int(timeout/time.Millisecond))
		for errors.Is(err, unix.EINTR) {
			n, err = unix.Poll(fds, int(timeout/time.Millisecond))
		}
		if err != unix.EINTR || time.Now().After(deadline) {
			return n > 0
		}
	}
}

// receiveSome receives until count datagrams came, without a release.
func receiveSome(t *testing.T, p *Port, count int) []transport.Datagram {
	t.Helper()
	ds := make([]transport.Datagram, count)
	for got := 0; got < count; {
		if !await(p, 2*time.Second) {
			t.Fatalf("received %d of %d; %+v", got, count, p.Stats())
		}
		n, err := p.Receive(ds[got:])
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	return ds
}

// echo answers count datagrams.
func echo(p *Port, count int) error {
	ds := make([]transport.Datagram, 16)
	var r transport.Route
	for got := 0; got < count; {
		if !await(p, 5*time.Second) {
			return fmt.Errorf("worker %d received %d of %d: %+v", p.worker, got, count, p.Stats())
		}
		n, err := p.Receive(ds)
		if err != nil {
			return err
		}
		for i := range n {
			p.Route(&ds[i], &r)
			b := p.Buffer(&r)
			if b == nil {
				return fmt.Errorf("worker %d: no buffer: %+v", p.worker, p.dev.Account())
			}
			p.Commit(copy(b, ds[i].Payload))
		}
		p.Release()
		if err := p.Flush(); err != nil {
			return err
		}
		got += n
	}
	return nil
}

func TestXDPEcho(t *testing.T) {
	tests := []struct {
		name string
		opts Options
	}{
		{"default", Options{}},
		{"copy", Options{Copy: true}},
		{"busy_poll", Options{BusyPoll: BusyPoll{Duration: 20 * time.Microsecond}}},
		{"large_frames", Options{FrameSize: 4096}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNetwork(t, tt.opts)
			n.open()
			c := n.dial()
			const count = 50
			for i := range uint32(count) {
				mustWrite(t, c, datagram(0, i))
			}
			p := n.ports[0]
			ds := receiveSome(t, p, count)
			local := c.LocalAddr().(*net.UDPAddr).AddrPort()
			key := wire.MakeKey(local, netip.AddrPortFrom(n.Server.IPv4, testPort))
			var r transport.Route
			for i, d := range ds {
				if d.Key != key || number(d.Payload) != uint32(i) || !d.Gated {
					t.Fatalf("datagram %d: key %v, number %d, gated %t", i, d.Key, number(d.Payload), d.Gated)
				}
				p.Route(&d, &r)
				p.Commit(copy(p.Buffer(&r), d.Payload))
			}
			p.Release()
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
			for i := range uint32(count) {
				if got := number(mustRead(t, c)); got != i {
					t.Fatalf("answer %d is number %d", i, got)
				}
			}
			settle(t, n.dev)
			checkHome(t, n.dev)
			if st := p.Stats(); st.RxPackets != count || st.TxPackets != count || st.RxDropped+st.TxInvalid != 0 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// A veth has no zero-copy mode: the report says so, and a requirement fails.
func TestXDPReportsTheModeRefused(t *testing.T) {
	n := newNetwork(t, Options{})
	n.open()
	r := n.dev.Report()
	if r.ZeroCopy || len(r.Refused) != 1 || r.Refused[0].Mode != "zero-copy" || !errors.Is(r.Refused[0].Err, unix.EOPNOTSUPP) {
		t.Errorf("report %+v", r)
	}
	if err := n.dev.Close(); err != nil {
		t.Fatal(err)
	}
	opts := n.opts
	opts.RequireZeroCopy = true
	n.do(func() error {
		d, err := New(opts)
		if err != nil {
			return err
		}
		if _, err := d.Bind(n.steering); !errors.Is(err, ErrNotSupported) {
			t.Errorf("zero-copy required of a veth: %v", err)
		}
		return nil
	})
}

func TestXDPHugePages(t *testing.T) {
	n := newNetwork(t, Options{})
	n.open()
	opts := n.opts
	opts.RequireHugePages = true
	n.do(func() error {
		d, err := New(opts)
		if err == nil {
			err = d.Close()
		}
		r := n.dev.Report()
		if r.HugePages {
			return err
		}
		if len(r.Warnings) == 0 {
			t.Error("no warning about small pages")
		}
		return nil
	})
}

// While nothing is released the kernel runs out of frames, drops, and says so.
// The RX ring never is what is full.
func TestXDPStarvation(t *testing.T) {
	tests := []struct {
		name    string
		receive bool // and hold
	}{
		{"nothing_read", false},
		{"nothing_released", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const frames, excess = 64, 40
			n := newNetwork(t, Options{RXFrames: frames})
			n.open()
			c := n.dial()
			p := n.ports[0]
			for i := range uint32(frames) {
				mustWrite(t, c, datagram(0, i))
			}
			if tt.receive {
				receiveSome(t, p, frames)
			}
			for i := range uint32(excess) {
				mustWrite(t, c, datagram(0, 1000+i))
			}
			waitFor(t, "drops", func() bool { return p.Stats().RxDropped == excess })
			st := p.Stats()
			if st.RingFull != 0 || st.FillEmpty == 0 {
				t.Errorf("%d lost to a full RX ring, %d looks at an empty fill ring", st.RingFull, st.FillEmpty)
			}
			a := checkAccount(t, n.dev)
			if tt.receive && a.Held != frames || !tt.receive && a.RX != frames {
				t.Errorf("account %+v", a)
			}

			settle(t, n.dev)
			checkHome(t, n.dev)
			mustWrite(t, c, datagram(0, 7))
			if got := number(receiveSome(t, p, 1)[0].Payload); got != 7 {
				t.Errorf("after the drought number %d came", got)
			}
		})
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// A batch is larger than what one system call sends, and every frame is used
// several times.
func TestXDPSendsLargeBatches(t *testing.T) {
	n := newNetwork(t, Options{TXFrames: 256})
	n.open()
	c := n.dial()
	p := n.ports[0]
	mustWrite(t, c, datagram(0, 0))
	d := receiveSome(t, p, 1)[0]
	var r transport.Route
	p.Route(&d, &r)
	p.Release()

	const batch, rounds = 256, 8
	for round := range rounds {
		for i := range batch {
			b := p.Buffer(&r)
			if b == nil {
				t.Fatalf("round %d: no buffer for %d: %+v", round, i, n.dev.Account())
			}
			p.Commit(copy(b, datagram(0, uint32(round*batch+i))))
		}
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
		for i := range batch {
			if got := number(mustRead(t, c)); got != uint32(round*batch+i) {
				t.Fatalf("round %d: answer %d is number %d", round, i, got)
			}
		}
	}
	settle(t, n.dev)
	checkHome(t, n.dev)
}

// Two workers with sockets on two queues get their own datagrams from both,
// and answer on the queue that each came from.
func TestXDPMatrix(t *testing.T) {
	const workers, queues, clients, each = 2, 2, 16, 100
	n := newNetwork(t, Options{Queues: queues, Workers: workers, RXFrames: 256, TXFrames: 256})
	n.open()
	if n.dev.Queues() != queues {
		t.Fatalf("%d queues", n.dev.Queues())
	}
	var wg sync.WaitGroup
	for _, p := range n.ports {
		wg.Go(func() {
			if err := echo(p, clients*each/workers); err != nil {
				t.Error(err)
			}
		})
	}
	// A client waits for its answer, so that nothing is lost.
	for range clients {
		c := n.dial()
		wg.Go(func() {
			b := make([]byte, 64)
			for i := range uint32(each) {
				if _, err := c.Write(datagram(int(i)%workers, i)); err != nil {
					t.Error(err)
					return
				}
				_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
				if m, err := c.Read(b); err != nil || number(b[:m]) != i {
					t.Errorf("client %s: answer %d: %v", c.LocalAddr(), i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, p := range n.ports {
		for q := range p.lanes {
			if p.lanes[q].received == 0 {
				t.Errorf("worker %d received nothing from queue %d", p.worker, q)
			}
		}
	}
	settle(t, n.dev)
	checkHome(t, n.dev)
}

// Queues are taken again at once after they were given up.
func TestXDPRebind(t *testing.T) {
	n := newNetwork(t, Options{Queues: 2, Workers: 2, RXFrames: 64, TXFrames: 64})
	c := n.dial()
	for i := range uint32(5) {
		n.open()
		mustWrite(t, c, datagram(1, i))
		if got := number(receiveSome(t, n.ports[1], 1)[0].Payload); got != i {
			t.Fatalf("round %d: number %d came", i, got)
		}
		for _, p := range n.ports {
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.ports[0].Receive(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("receive after close: %v", err)
		}
	}
}

// refuser registers nothing.
type refuser struct{ after int }

var errRefused = errors.New("refused")

func (r *refuser) Register(int, int, int) error {
	if r.after--; r.after < 0 {
		return errRefused
	}
	return nil
}

// A failure half way leaves nothing behind.
func TestXDPBindFailure(t *testing.T) {
	n := newNetwork(t, Options{Queues: 2, Workers: 2, RXFrames: 64, TXFrames: 64})
	n.do(func() error {
		d, err := New(n.opts)
		if err != nil {
			return err
		}
		if _, err := d.Bind(&refuser{after: 2}); !errors.Is(err, errRefused) {
			t.Errorf("bind: %v", err)
		}

		opts := n.opts
		opts.Queues = 3 // the third does not exist
		if d, err = New(opts); err != nil {
			return err
		}
		if _, err := d.Bind(n.steering); err == nil {
			t.Error("bound a queue that does not exist")
		}
		return nil
	})
	n.open()
	c := n.dial()
	mustWrite(t, c, datagram(0, 9))
	if got := number(receiveSome(t, n.ports[0], 1)[0].Payload); got != 9 {
		t.Errorf("number %d came", got)
	}
}

// One port is closed while the other waits, which goes on to receive.
func TestXDPCloseOfOnePort(t *testing.T) {
	n := newNetwork(t, Options{Workers: 2, RXFrames: 64, TXFrames: 64})
	n.open()
	c := n.dial()
	done := make(chan error)
	go func() { done <- echo(n.ports[0], 1) }()
	if err := n.ports[1].Close(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, c, datagram(0, 3))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := number(mustRead(t, c)); got != 3 {
		t.Errorf("answer is number %d", got)
	}
}

// A port whose interface goes says so, within some empty receives or with the
// next look at its statistics.
func TestXDPInterfaceGoes(t *testing.T) {
	for _, stats := range []bool{false, true} {
		t.Run(fmt.Sprintf("stats_%t", stats), func(t *testing.T) {
			n := newNetwork(t, Options{RXFrames: 64, TXFrames: 64})
			n.open()
			p := n.ports[0]
			if _, err := p.Receive(nil); err != nil {
				t.Fatal(err)
			}
			n.deleteInterface()
			if stats {
				p.Stats()
			} else {
				for range idleCheck - 2 {
					_, _ = p.Receive(nil)
				}
			}
			if _, err := p.Receive(nil); !errors.Is(err, ErrGone) {
				t.Errorf("receive: %v, want %v", err, ErrGone)
			}
			if err := p.Flush(); !errors.Is(err, ErrGone) {
				t.Errorf("flush: %v, want %v", err, ErrGone)
			}
			checkAccount(t, n.dev)
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Sending finds out by itself that the interface is gone.
func TestXDPSendAfterInterfaceWent(t *testing.T) {
	n := newNetwork(t, Options{RXFrames: 64, TXFrames: 64})
	n.open()
	n.deleteInterface()
	p := n.ports[0]
	if !submit(p, testRoute(0), 1) {
		t.Fatal("no buffer")
	}
	if err := p.Flush(); !errors.Is(err, ErrGone) {
		t.Errorf("flush: %v, want %v", err, ErrGone)
	}
	checkAccount(t, n.dev)
}

// What is sent while the interface is down leaves when it is up again.
func TestXDPInterfaceDownAndUp(t *testing.T) {
	n := newNetwork(t, Options{RXFrames: 64, TXFrames: 64})
	n.open()
	c := n.dial()
	p := n.ports[0]
	mustWrite(t, c, datagram(0, 0))
	d := receiveSome(t, p, 1)[0]
	var r transport.Route
	p.Route(&d, &r)
	p.Release()
	set := func(change func(netlink.Link) error) {
		n.do(func() error {
			dev, err := netlink.LinkByName(n.Server.Interface)
			if err != nil {
				return err
			}
			return change(dev)
		})
	}
	set(netlink.LinkSetDown)
	p.Commit(copy(p.Buffer(&r), datagram(0, 1)))
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if a := checkAccount(t, n.dev); a.TX != 1 {
		t.Errorf("account %+v, want one frame in the TX ring", a)
	}
	set(netlink.LinkSetUp)
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := number(mustRead(t, c)); got != 1 {
		t.Errorf("number %d came", got)
	}
	settle(t, n.dev)
	checkHome(t, n.dev)
}

// On lo, in generic mode, what a port sends comes back to it.
func TestXDPGenericLoopback(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	err := l.Server.Do(func() error {
		s, err := attach("lo", 1, 1, link.XDPGenericMode)
		if err != nil {
			return err
		}
		defer s.Close()
		d, err := New(Options{Interface: "lo", RXFrames: 64, TXFrames: 64})
		if err != nil {
			return err
		}
		defer d.Close()
		ports, err := d.Bind(s)
		if err != nil {
			return err
		}
		loopback := netip.MustParseAddr("127.0.0.1")
		from, to := netip.AddrPortFrom(loopback, 5000), netip.AddrPortFrom(loopback, testPort)
		r := transport.Route{
			Key:      wire.MakeKey(to, from),
			Template: wire.MakeFrameTemplate(make([]byte, 12), from, to),
		}
		p := ports[0]
		for i := range uint32(40) {
			p.Commit(copy(p.Buffer(&r), datagram(0, i)))
		}
		if err := p.Flush(); err != nil {
			return err
		}
		for i, got := range receiveSome(t, p, 40) {
			if number(got.Payload) != uint32(i) || got.Key != wire.MakeKey(from, to) {
				t.Errorf("datagram %d is number %d with key %v", i, number(got.Payload), got.Key)
			}
		}
		settle(t, d)
		checkHome(t, d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestXDPDoesNotAllocate(t *testing.T) {
	n := newNetwork(t, Options{})
	n.open()
	c := n.dial()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	p := n.ports[0]
	ds := make([]transport.Datagram, 32)
	payload := datagram(0, 1)
	in := make([]byte, 64)
	var r transport.Route
	err = raw.Control(func(fd uintptr) {
		if allocs := testing.AllocsPerRun(50, func() {
			for range 8 {
				if _, err := unix.Write(int(fd), payload); err != nil {
					t.Fatal(err)
				}
			}
			for got := 0; got < 8; {
				n, err := p.Receive(ds)
				if err != nil {
					t.Fatal(err)
				}
				for i := range n {
					p.Route(&ds[i], &r)
					p.Commit(copy(p.Buffer(&r), ds[i].Payload))
				}
				p.Release()
				got += n
			}
			if err := p.Flush(); err != nil {
				t.Fatal(err)
			}
			for {
				if _, err := unix.Read(int(fd), in); err != nil {
					break
				}
			}
		}); allocs != 0 {
			t.Errorf("%v allocations per pass", allocs)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	tests := []struct {
		name string
		opts Options
	}{
		{"no_interface", Options{Queues: 1}},
		{"negative_queues", Options{Interface: "lo", Queues: -1}},
		{"negative_workers", Options{Interface: "lo", Queues: 1, Workers: -1}},
		{"rx_frames_not_a_power_of_two", Options{Interface: "lo", Queues: 1, RXFrames: 511}},
		{"tx_frames_not_a_power_of_two", Options{Interface: "lo", Queues: 1, TXFrames: 1000}},
		{"one_tx_frame", Options{Interface: "lo", Queues: 1, TXFrames: 1}},
		{"frame_size", Options{Interface: "lo", Queues: 1, FrameSize: 1024}},
		{"contradiction", Options{Interface: "lo", Queues: 1, Copy: true, RequireZeroCopy: true}},
		{"busy_poll_nanoseconds", Options{Interface: "lo", Queues: 1, BusyPoll: BusyPoll{Duration: 1500}}},
		{"busy_poll_budget", Options{Interface: "lo", Queues: 1, BusyPoll: BusyPoll{Budget: 1 << 16}}},
		{"unknown_interface", Options{Interface: "no-such-device", Queues: 1}},
		{"queues_of_unknown_interface", Options{Interface: "no-such-device"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d, err := New(tt.opts); err == nil {
				d.Close()
				t.Error("accepted")
			}
		})
	}
}
