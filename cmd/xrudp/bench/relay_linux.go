package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/game/relay"
	"github.com/xrudp/xrudp/userspace/message"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	relayPatience = 10 * time.Second // for everyone to be in the room
	relayLate     = time.Second      // how long the last messages may take
	relayInterval = time.Second / relayRate
	relaySweep    = 10 * time.Millisecond // between looks at timers

	// Kept samples of staleness, and their resolution.
	stalenessStep  = 50 * time.Microsecond
	stalenessSteps = int(2 * time.Second / stalenessStep)
)

// relayLoad has players in one room and measures. All of them run on one thread,
// bound to a CPU, each a session of its own on a socket of its own.
func relayLoad(ctx context.Context, servers RelayServers, server *RelayServer, players int, opts RelayOptions) (room *RelayRoom, err error) {
	l := &relayGenerator{ctx: ctx, started: time.Now(), players: make([]relayPlayer, players)}
	err = onCPU(generatorCPU, func() error {
		defer l.close()
		if err := l.open(servers, server.Address); err != nil {
			return err
		}
		room, err = l.measure(servers, server, opts)
		return err
	})
	return room, err
}

// relayGenerator is the players of one room.
type relayGenerator struct {
	ctx     context.Context
	started time.Time
	players []relayPlayer
	joined  int
	ended   int
	poll    int
	events  []unix.EpollEvent
	in      receiver
	out     [wire.MaxDatagram]byte
	payload []byte

	publishing bool
	published  int           // messages, in turns of all players
	first      time.Duration // when the first of them was due
	nextSweep  time.Duration

	// Only what is published from since until the end counts.
	since, until   time.Duration
	counted        int // messages published
	arrived        uint64
	staleness      []uint32 // arrived messages by stalenessStep
	packets, bytes uint64
}

// relayPlayer is one player.
type relayPlayer struct {
	fd      int
	session *session.Session
	asked   bool
	joined  bool
	ended   bool
}

func (l *relayGenerator) now() time.Duration { return time.Since(l.started) }

// open makes sockets and sessions.
func (l *relayGenerator) open(servers RelayServers, address string) (err error) {
	for i := range l.players {
		l.players[i].fd = -1
	}
	if l.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		l.poll = -1
		return os.NewSyscallError("epoll_create1", err)
	}
	l.events = make([]unix.EpollEvent, 64)
	l.staleness = make([]uint32, stalenessSteps+1)
	l.payload = relay.AppendPublish(nil, make([]byte, relayData))
	l.in.init()
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	pool := new(reliability.Pool)
	return servers.In(func() error {
		for i := range l.players {
			p := &l.players[i]
			if p.fd, err = dialRaw(at); err != nil {
				return err
			}
			event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
			if err := unix.EpollCtl(l.poll, unix.EPOLL_CTL_ADD, p.fd, &event); err != nil {
				return os.NewSyscallError("epoll_ctl", err)
			}
			p.session = session.NewClient(session.Config{
				Pool: pool, Message: l.message, HandshakeTimeout: relayPatience, IdleTimeout: relayPatience,
			}, rand.Uint32(), clock(l.now()))
			p.session.Owner = p
		}
		return nil
	})
}

// dialRaw opens a socket that the Go runtime knows nothing of.
func dialRaw(to netip.AddrPort) (int, error) {
	family, name := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	if to.Addr().Is4() {
		family, name = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	// A burst is the whole room's. Without the privilege it is as large as the
	// system allows.
	const buffer = 8 << 20
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	// Datagrams joined by the kernel cost much less. Old kernels cannot.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	if err := unix.Connect(fd, name); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// measure runs the room. One that does not come about is too large.
func (l *relayGenerator) measure(servers RelayServers, server *RelayServer, opts RelayOptions) (*RelayRoom, error) {
	n := len(l.players)
	room := &RelayRoom{Players: n}
	if err := l.run(relayPatience, func() bool { return l.joined == n || l.ended > 0 }); err != nil {
		return nil, err
	}
	if l.joined < n {
		room.Failed = fmt.Sprintf("%d of %d players came in", l.joined, n)
		return room, nil
	}
	l.publishing, l.first = true, l.now()
	if err := l.run(opts.WarmUp, nil); err != nil {
		return nil, err
	}

	l.since = l.now()
	l.until = l.since + opts.Duration
	l.packets, l.bytes = 0, 0
	used, serverUsed := l.used(servers), server.CPUTime()
	if err := l.run(opts.Duration, nil); err != nil {
		return nil, err
	}
	passed := l.now() - l.since
	room.GeneratorCPU = (l.used(servers) - used).Seconds() / passed.Seconds()
	room.ServerCPU = (server.CPUTime() - serverUsed).Seconds() / passed.Seconds()
	room.PacketsPerSecond = float64(l.packets) / passed.Seconds()
	room.BytesPerSecond = float64(l.bytes) / passed.Seconds()

	// Others go on publishing: the last messages have it no easier than the rest.
	if err := l.run(relayLate, func() bool { return l.arrived == uint64(l.counted*n) }); err != nil {
		return nil, err
	}
	if l.ended > 0 {
		room.Failed = fmt.Sprintf("%d of %d players were lost", l.ended, n)
	}
	if expected := l.counted * n; expected > 0 {
		room.Delivered = float64(l.arrived) / float64(expected)
	}
	room.MessagesPerSecond = float64(l.arrived) / opts.Duration.Seconds()
	room.StalenessP50, room.StalenessP99 = l.percentile(0.5), l.percentile(0.99)
	return room, nil
}

// used is the CPU time of the generator so far.
func (l *relayGenerator) used(servers RelayServers) time.Duration {
	return threadTime() + servers.Kernel()
}

// percentile returns a percentile of staleness in milliseconds, the upper end of
// its step.
func (l *relayGenerator) percentile(q float64) float64 {
	rank, seen := uint64(q*float64(l.arrived)), uint64(0)
	for i, n := range l.staleness {
		if seen += uint64(n); seen > rank {
			return (time.Duration(i+1) * stalenessStep).Seconds() * 1e3
		}
	}
	return 0
}

// run plays for d, or until done.
func (l *relayGenerator) run(d time.Duration, done func() bool) error {
	for now, end := l.now(), l.now()+d; now < end && (done == nil || !done()); now = l.now() {
		if now >= l.nextSweep {
			l.nextSweep = now + relaySweep
			if err := l.ctx.Err(); err != nil {
				return err
			}
			l.sweep(now)
		}
		now = l.publish(now)
		wait := time.Millisecond
		if l.publishing {
			wait = max(min(l.due()-now, wait), 0)
		}
		n, err := l.wait(wait)
		if err != nil {
			return err
		}
		for _, event := range l.events[:n] {
			if err := l.receive(&l.players[event.Fd]); err != nil {
				return err
			}
			l.publish(l.now())
		}
	}
	return nil
}

// wait waits until there is something to receive, but not for long.
func (l *relayGenerator) wait(d time.Duration) (int, error) {
	milliseconds := int(d / time.Millisecond)
	n, err := unix.EpollWait(l.poll, l.events, milliseconds)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	if n == 0 && milliseconds == 0 && d > 0 {
		nap := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&nap, nil)
	}
	return n, os.NewSyscallError("epoll_wait", err)
}

// sweep does what time asks of sessions.
func (l *relayGenerator) sweep(now time.Duration) {
	for i := range l.players {
		p := &l.players[i]
		if at := clock(now); p.session.NextTimeout() <= at {
			p.session.Tick(at)
		}
		l.attend(p, now)
	}
}

// due is when the next message is to be published: the players take turns, spread
// over the interval.
func (l *relayGenerator) due() time.Duration {
	return l.first + time.Duration(l.published)*relayInterval/time.Duration(len(l.players))
}

// publish publishes what is due.
func (l *relayGenerator) publish(now time.Duration) time.Duration {
	for l.publishing && l.due() <= now {
		p := &l.players[l.published%len(l.players)]
		l.published++
		binary.BigEndian.PutUint64(l.payload[1:], uint64(now))
		if l.counts(now) {
			l.counted++
		}
		// What is not taken counts as published, and did not arrive.
		_ = p.session.Send(session.Unreliable, 0, relay.TypePublish, l.payload)
		l.send(p, now)
		now = l.now()
	}
	return now
}

func (l *relayGenerator) counts(at time.Duration) bool { return at >= l.since && at < l.until }

// attend follows what became of a session.
func (l *relayGenerator) attend(p *relayPlayer, now time.Duration) {
	if p.session.Over() && !p.ended {
		p.ended = true
		l.ended++
	}
	if p.session.State() == session.Open && !p.asked {
		p.asked = true
		ask, err := message.Append(nil, &message.Connect{Game: relay.Name, Room: 1, Name: "bench"})
		if err == nil {
			_ = p.session.Send(session.ReliableOrdered, 0, message.TypeConnect, ask)
		}
	}
	l.send(p, now)
}

// send sends what a session has to send. What the kernel does not take is lost.
func (l *relayGenerator) send(p *relayPlayer, now time.Duration) {
	for n := p.session.Fill(l.out[:], clock(now)); n > 0; n = p.session.Fill(l.out[:], clock(now)) {
		_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(p.fd), uintptr(unsafe.Pointer(&l.out[0])), uintptr(n))
	}
}

// receive takes what waits at a player's socket.
func (l *relayGenerator) receive(p *relayPlayer) error {
	for {
		n, err := l.in.receive(p.fd)
		if err != nil {
			return err
		}
		now := l.now()
		for i := range n {
			b, segment := l.in.message(i)
			for len(b) > 0 {
				one := b[:min(segment, len(b))]
				b = b[len(one):]
				l.packets++
				l.bytes += uint64(len(one))
				_ = p.session.Packet(one, clock(now))
			}
		}
		if n < receiveBatch {
			l.attend(p, now)
			return nil
		}
	}
}

// message takes a message of the server.
func (l *relayGenerator) message(s *session.Session, m session.Message) {
	switch m.Type {
	case relay.TypeBlock:
		l.block(m.Payload)
	case message.TypeConnected:
		if p := s.Owner.(*relayPlayer); !p.joined {
			p.joined = true
			l.joined++
		}
	}
}

// block takes what others published. The time is that of the present moment, not
// that at which the packet came to the socket.
func (l *relayGenerator) block(payload []byte) {
	b, err := relay.ParseBlock(payload)
	if err != nil {
		return
	}
	now := l.now()
	for e, ok := b.Next(); ok; e, ok = b.Next() {
		at := time.Duration(binary.BigEndian.Uint64(e.Data))
		if !l.counts(at) {
			continue
		}
		l.arrived++
		l.staleness[min(int((now-at)/stalenessStep), stalenessSteps)]++
	}
}

// close has the server forget the players.
func (l *relayGenerator) close() {
	for i := range l.players {
		p := &l.players[i]
		if p.fd < 0 {
			continue
		}
		if p.session != nil {
			p.session.Abort(wire.ReasonClosed)
			l.send(p, l.now())
		}
		unix.Close(p.fd)
	}
	if l.poll >= 0 {
		unix.Close(l.poll)
	}
}

const (
	receiveBatch = 16
	receiveSize  = 64 << 10 // as much as the kernel joins
)

// receiver holds the messages of recvmmsg: a datagram each, or several of one
// size that the kernel has joined.
type receiver struct {
	headers [receiveBatch]unix.Mmsghdr
	iovs    [receiveBatch]unix.Iovec
	control [receiveBatch]struct {
		header unix.Cmsghdr
		size   uint64
	}
	buffers []byte
}

func (r *receiver) init() {
	r.buffers = make([]byte, receiveBatch*receiveSize)
	for i := range r.headers {
		r.iovs[i].Base = &r.buffers[i*receiveSize]
		r.iovs[i].SetLen(receiveSize)
		h := &r.headers[i].Hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.control[i]))
	}
}

// receive fills the messages from a socket and returns how many there are.
func (r *receiver) receive(fd int) (int, error) {
	for i := range r.headers {
		r.headers[i].Hdr.SetControllen(int(unsafe.Sizeof(r.control[i])))
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.headers)),
		receiveBatch, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EAGAIN, unix.EINTR, unix.ECONNREFUSED:
		return 0, nil
	}
	return 0, os.NewSyscallError("recvmmsg", errno)
}

// message returns message i, and the size of all datagrams in it but the last.
func (r *receiver) message(i int) (b []byte, segment int) {
	h := &r.headers[i]
	b = r.buffers[i*receiveSize:][:h.Len]
	c := &r.control[i]
	if int(h.Hdr.Controllen) >= int(unsafe.Sizeof(c.header)) && c.header.Level == unix.IPPROTO_UDP && c.header.Type == unix.UDP_GRO {
		return b, max(int(*(*int32)(unsafe.Pointer(&c.size))), 1)
	}
	return b, max(len(b), 1)
}
