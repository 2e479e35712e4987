package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/cmd/xrudpd/config"
	"github.com/xrudp/xrudp/cmd/xrudpd/serve"
	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/impair"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
	"github.com/xrudp/xrudp/userspace/worker"
)

const (
	tcpPort   = 7777
	bulkChunk = 4096 // of TCP, which cuts as it likes

	// tcpPatience is how long the last messages of a round may take.
	tcpPatience = 15 * time.Second
)

// TCP compares xrudp with the kernel's TCP on one bad path between two network
// namespaces: goodput of bulk data, and latency of small messages. The server
// runs over native XDP and AF_XDP, its clients are those of the SDK. It needs
// root. A done ctx ends it between two turns.
func TCP(ctx context.Context, opts TCPOptions) (*TCPResult, error) {
	opts.fillDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	// Threads that wait in system calls should not have to wait for one that
	// runs Go when they come back: the path would look worse than it is.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 4))

	b := &tcpBench{opts: opts, sink: &sink{start: time.Now()}}
	b.over, b.end = context.WithCancel(context.Background())
	result, err := b.run(ctx)
	if err = errors.Join(err, b.close()); err != nil {
		return nil, fmt.Errorf("compare with TCP: %w", err)
	}
	return result, nil
}

type tcpBench struct {
	opts     TCPOptions
	sink     *sink
	lab      *lab.Lab
	stage    *impair.Stage
	server   *serve.Server
	instance string
	listener net.Listener
	accepted sync.WaitGroup
	over     context.Context // done when TCP connections are to end
	end      context.CancelFunc
}

// side is a transport with a way to connect to the server.
type side struct {
	name string
	dial func(ctx context.Context) (flow, error)
}

// flow is one connection to the server, used by one goroutine.
type flow interface {
	// size is that of a message of bulk data.
	size() int
	// send returns when the transport has taken the message.
	send(ctx context.Context, message []byte) error
	// close gives up what has not arrived.
	close()
}

// sink is the server's application, over either transport.
type sink struct {
	start time.Time
	bytes atomic.Uint64

	mu     sync.Mutex
	since  time.Duration // messages sent before are of a former round
	delays []time.Duration
}

func (s *sink) now() time.Duration { return time.Since(s.start) }

// take takes a message, which if it is small says when it was sent.
func (s *sink) take(payload []byte) {
	s.bytes.Add(uint64(len(payload)))
	if len(payload) != tcpMessageSize {
		return
	}
	now, sent := s.now(), time.Duration(binary.BigEndian.Uint64(payload))
	s.mu.Lock()
	if sent >= s.since {
		s.delays = append(s.delays, now-sent)
	}
	s.mu.Unlock()
}

// begin forgets the messages taken so far, and those still to come of them.
func (s *sink) begin() {
	s.mu.Lock()
	s.since, s.delays = s.now(), nil
	s.mu.Unlock()
}

func (s *sink) taken() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.delays)
}

// The handler of the server: a worker.
func (s *sink) Open(*worker.Session)               {}
func (s *sink) Close(*worker.Session, wire.Reason) {}
func (s *sink) Tick(uint64)                        {}
func (s *sink) NextTick() uint64                   { return math.MaxUint64 }
func (s *sink) Message(_ *worker.Session, m session.Message) {
	s.take(m.Payload)
}

func (b *tcpBench) run(ctx context.Context) (*TCPResult, error) {
	if err := b.build(); err != nil {
		return nil, err
	}
	sides, controllers, err := b.sides()
	if err != nil {
		return nil, err
	}
	r := &TCPResult{
		GoodputRounds: map[string][]float64{}, P50Rounds: map[string][]float64{}, P99Rounds: map[string][]float64{},
		Messages: map[string]int{}, Missing: map[string]int{},
		RTT: tcpRTT.Seconds() * 1e3, Bandwidth: tcpBandwidth, BulkLoss: tcpBulkLoss, MessageLoss: tcpMessageLoss,
		Seconds: b.opts.Duration.Seconds(), Machine: ThisMachine(),
	}
	if r.DefaultTCP, err = b.setting("tcp_congestion_control"); err != nil {
		return nil, err
	}
	for _, s := range sides {
		r.sides = append(r.sides, s.name)
	}
	for range b.opts.Rounds {
		// Another side begins each round, so that none always follows the same.
		sides = append(sides[1:], sides[0])
		b.spoil(tcpBulkLoss)
		for _, s := range sides {
			goodput, err := b.bulk(ctx, s)
			if err == nil {
				err = b.settle(ctx)
			}
			if err != nil {
				return nil, fmt.Errorf("bulk data over %s: %w", s.name, err)
			}
			r.GoodputRounds[s.name] = append(r.GoodputRounds[s.name], goodput)
		}
		b.spoil(tcpMessageLoss)
		for _, s := range sides {
			delays, missing, err := b.messages(ctx, s)
			if err == nil {
				err = b.settle(ctx)
			}
			if err != nil {
				return nil, fmt.Errorf("messages over %s: %w", s.name, err)
			}
			r.P50Rounds[s.name] = append(r.P50Rounds[s.name], milliseconds(delays, 0.5))
			r.P99Rounds[s.name] = append(r.P99Rounds[s.name], milliseconds(delays, 0.99))
			r.Messages[s.name] += len(delays)
			r.Missing[s.name] += missing
		}
	}
	for _, d := range []impair.Direction{impair.ToServer, impair.ToClient} {
		s := b.stage.Stats(d)
		r.Overload += s.Missed + s.Refused + s.Unsent + s.TooLong
	}
	r.sum(controllers)
	return r, nil
}

// build sets up the network and both servers.
func (b *tcpBench) build() (err error) {
	if err := lab.MountBPFFS(); err != nil {
		return err
	}
	if b.lab, err = lab.New(lab.Options{Middle: true}); err != nil {
		return err
	}
	if b.stage, err = impair.Start(context.Background(), b.lab, impair.Options{}); err != nil {
		return err
	}
	// What TCP learned of the path in one round is not for the next.
	for _, ns := range []*lab.Namespace{b.lab.Server.Namespace, b.lab.Client.Namespace} {
		err := ns.Do(func() error { return os.WriteFile(tcpSetting("tcp_no_metrics_save"), []byte("1"), 0) })
		if err != nil {
			return fmt.Errorf("have TCP forget: %w", err)
		}
	}
	b.instance = fmt.Sprintf("bench-%d", os.Getpid())
	cfg := config.Default()
	cfg.Instance, cfg.Interface, cfg.Mode, cfg.Workers = b.instance, b.lab.Server.Interface, config.ModeNative, 1
	cfg.MaxSessions = 256
	err = b.lab.Server.Do(func() (err error) {
		handler := func(*worker.Worker) worker.Handler { return b.sink }
		if b.server, err = serve.Open(cfg, handler, zerolog.Nop()); err != nil {
			return err
		}
		b.listener, err = net.Listen("tcp4", b.address())
		return err
	})
	if err != nil {
		return err
	}
	b.server.Start()
	b.accepted.Go(b.accept)
	return nil
}

func (b *tcpBench) address() string { return netip.AddrPortFrom(b.lab.Server.IPv4, tcpPort).String() }

func tcpSetting(name string) string { return "/proc/sys/net/ipv4/" + name }

// setting reads a setting of TCP on the clients' side.
func (b *tcpBench) setting(name string) (text string, err error) {
	err = b.lab.Client.Do(func() error {
		raw, err := os.ReadFile(tcpSetting(name))
		text = strings.TrimSpace(string(raw))
		return err
	})
	return text, err
}

// accept serves TCP clients until the listener is closed.
func (b *tcpBench) accept() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.accepted.Go(func() {
			defer conn.Close()
			// The reset of a client that left may have been lost.
			defer context.AfterFunc(b.over, func() { conn.Close() })()
			b.receive(bufio.NewReaderSize(conn, 64<<10))
		})
	}
}

// receive takes messages, each behind its length, until the client leaves.
func (b *tcpBench) receive(from io.Reader) {
	var length [4]byte
	var message [bulkChunk]byte
	for {
		if _, err := io.ReadFull(from, length[:]); err != nil {
			return
		}
		payload := message[:min(binary.BigEndian.Uint32(length[:]), bulkChunk)]
		if _, err := io.ReadFull(from, payload); err != nil {
			return
		}
		b.sink.take(payload)
	}
}

// sides lists what is compared, and the controllers of xrudp among it.
func (b *tcpBench) sides() (sides []side, controllers []string, err error) {
	available, err := b.setting("tcp_available_congestion_control")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range []string{sideCubic, sideBBR} {
		algorithm := strings.TrimPrefix(name, "tcp_")
		if slices.Contains(strings.Fields(available), algorithm) {
			sides = append(sides, side{name, func(ctx context.Context) (flow, error) { return b.dialTCP(ctx, algorithm) }})
		} else if name == sideCubic {
			return nil, nil, errors.New("this kernel has no TCP Cubic")
		}
	}
	controllers = simControllers()
	for _, name := range controllers {
		sides = append(sides, side{sideOf(name), func(ctx context.Context) (flow, error) { return b.dialXRUDP(ctx, name) }})
	}
	return sides, controllers, nil
}

// spoil sets how much the path loses, either way.
func (b *tcpBench) spoil(loss float64) {
	const perSecond = tcpBandwidth / 8
	c := impair.Conditions{
		Link: impair.Link{Delay: tcpRTT / 2, Loss: loss},
		Rate: impair.Rate{
			PerSecond: perSecond,
			Queue:     impair.Limit{Bytes: int(tcpRTT.Seconds() * perSecond)},
		},
	}
	b.stage.Set(impair.ToServer, c)
	b.stage.Set(impair.ToClient, c)
}

// settle returns when nothing is on its way any more.
func (b *tcpBench) settle(ctx context.Context) error {
	for {
		if b.stage.Stats(impair.ToServer).OnTheWay+b.stage.Stats(impair.ToClient).OnTheWay == 0 {
			return ctx.Err()
		}
		if err := pause(ctx, nil, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// pause returns after d, or before with an error that came or ctx's.
func pause(ctx context.Context, failed <-chan error, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn is how long each turn of a side lasts.
func (b *tcpBench) turn() time.Duration { return b.opts.Duration / time.Duration(b.opts.Rounds) }

// bulk has one connection send as much as it can, and returns how many bits of
// it arrived per second.
func (b *tcpBench) bulk(ctx context.Context, s side) (float64, error) {
	f, err := s.dial(ctx)
	if err != nil {
		return 0, err
	}
	sending, stop := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for message := make([]byte, f.size()); ; {
			if err := f.send(sending, message); err != nil {
				failed <- err
				return
			}
		}
	}()
	defer func() {
		stop()
		f.close()
		for range failed { // until the sender has ended
		}
	}()
	if err := pause(ctx, failed, b.opts.WarmUp); err != nil {
		return 0, err
	}
	began, before := b.sink.now(), b.sink.bytes.Load()
	if err := pause(ctx, failed, b.turn()); err != nil {
		return 0, err
	}
	return float64(b.sink.bytes.Load()-before) * 8 / (b.sink.now() - began).Seconds(), nil
}

// messages has connections send small messages at a steady pace, and returns
// how long those took that arrived in time, and how many did not.
func (b *tcpBench) messages(ctx context.Context, s side) (delays []time.Duration, missing int, err error) {
	flows := make([]flow, tcpFlows)
	errs := make([]error, tcpFlows)
	var all sync.WaitGroup
	defer func() {
		for _, f := range flows {
			if f != nil {
				all.Go(f.close)
			}
		}
		all.Wait()
	}()
	for i := range flows {
		all.Go(func() { flows[i], errs[i] = s.dial(ctx) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, 0, err
	}
	b.sink.begin()
	const interval = time.Second / tcpMessageRate
	var sent atomic.Uint64
	failed := make(chan error, len(flows))
	end := b.sink.now() + b.turn()
	for i, f := range flows {
		all.Go(func() {
			message := make([]byte, tcpMessageSize)
			for due := b.sink.now() + interval*time.Duration(i)/tcpFlows; due < end; due += interval {
				if pause(ctx, nil, due-b.sink.now()) != nil {
					return
				}
				binary.BigEndian.PutUint64(message, uint64(b.sink.now()))
				if err := f.send(ctx, message); err != nil {
					failed <- err
					return
				}
				sent.Add(1)
			}
		})
	}
	all.Wait()
	for deadline := b.sink.now() + tcpPatience; ; {
		delays = b.sink.taken()
		missing = int(sent.Load()) - len(delays)
		if missing <= 0 || b.sink.now() > deadline {
			return delays, missing, nil
		}
		if err := pause(ctx, failed, 10*time.Millisecond); err != nil {
			return nil, 0, err
		}
	}
}

// dialTCP connects over TCP with a congestion control of the kernel.
func (b *tcpBench) dialTCP(ctx context.Context, algorithm string) (f flow, err error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			set = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, algorithm)
		})
		return errors.Join(err, os.NewSyscallError("set TCP_CONGESTION", set))
	}}
	err = b.lab.Client.Do(func() error {
		conn, err := d.DialContext(ctx, "tcp4", b.address())
		if err == nil {
			f = &tcpFlow{conn: conn.(*net.TCPConn)}
		}
		return err
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The socket may notice the deadline of ctx before ctx itself does.
		err = errors.Join(context.DeadlineExceeded, err)
	}
	return f, err
}

// tcpFlow puts each message behind its length. TCP_NODELAY is Go's default.
type tcpFlow struct {
	conn   *net.TCPConn
	buffer []byte
}

func (f *tcpFlow) size() int { return bulkChunk }

func (f *tcpFlow) send(_ context.Context, message []byte) error {
	f.buffer = binary.BigEndian.AppendUint32(f.buffer[:0], uint32(len(message)))
	f.buffer = append(f.buffer, message...)
	_, err := f.conn.Write(f.buffer)
	return err
}

func (f *tcpFlow) close() {
	_ = f.conn.SetLinger(0) // a reset, and nothing more to send
	_ = f.conn.Close()
}

// dialXRUDP connects by the SDK.
func (b *tcpBench) dialXRUDP(ctx context.Context, controller string) (flow, error) {
	conn, err := client.Dial(ctx, b.address(), client.Options{
		Congestion:       simController(controller),
		HandshakeTimeout: tcpPatience, CloseTimeout: tcpPatience,
		DialUDP: func(ctx context.Context, address string) (conn net.Conn, err error) {
			err = b.lab.Client.Do(func() (err error) {
				var d net.Dialer
				conn, err = d.DialContext(ctx, "udp4", address)
				return err
			})
			return conn, err
		},
	})
	if err != nil {
		return nil, err
	}
	return &xrudpFlow{conn}, nil
}

type xrudpFlow struct{ conn *client.Conn }

func (f *xrudpFlow) size() int { return f.conn.MaxPayload() }

// send tries again where the queue is full, which holds many milliseconds' worth.
func (f *xrudpFlow) send(ctx context.Context, message []byte) error {
	for {
		err := f.conn.Send(client.ReliableOrdered, 0, 1, message)
		if !errors.Is(err, client.ErrWouldBlock) {
			return err
		}
		if err := pause(ctx, nil, time.Millisecond); err != nil {
			return err
		}
	}
}

func (f *xrudpFlow) close() { _ = f.conn.Close() }

func (b *tcpBench) close() error {
	var errs []error
	b.end()
	if b.listener != nil {
		errs = append(errs, b.listener.Close())
		b.accepted.Wait()
	}
	if b.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		errs = append(errs, b.server.Shutdown(ctx), b.server.Close(), loader.Remove(loader.DefaultPinRoot, b.instance))
	}
	if b.stage != nil {
		errs = append(errs, b.stage.Close())
	}
	if b.lab != nil {
		errs = append(errs, b.lab.Close())
	}
	return errors.Join(errs...)
}
