package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game/plaza"
)

// EchoOptions adjust Echo. The zero value works.
type EchoOptions struct {
	// Sessions is how many clients are connected. Default 1000.
	Sessions int
	// Rate is how many reliable messages of 64 bytes each sends per second.
	// Default 20.
	Rate float64
	// Duration is how long either transport is measured in all. Default 10 s.
	Duration time.Duration
	// Rounds is over how many turns of each transport that is spread. Default
	// 2.
	Rounds int
}

func (o *EchoOptions) fillDefaults() {
	if o.Sessions == 0 {
		o.Sessions = 1000
	}
	if o.Rate == 0 {
		o.Rate = 20
	}
	if o.Duration == 0 {
		o.Duration = 10 * time.Second
	}
	if o.Rounds == 0 {
		o.Rounds = 2
	}
}

func (o *EchoOptions) validate() error {
	switch {
	case o.Sessions < 1 || o.Sessions > 20000:
		return fmt.Errorf("%d sessions: not from 1 to 20000", o.Sessions)
	case o.Rate < 0 || o.Rate > 10000:
		return fmt.Errorf("rate %g: not from 0 to 10000 per second", o.Rate)
	case o.Duration < 0 || o.Rounds < 1:
		return errors.New("negative duration, or no rounds")
	}
	return nil
}

// Transport is a way for a server to receive, as EchoResult names it.
type Transport string

const (
	TransportXDP Transport = "xdp"
	TransportUDP Transport = "udp"
)

// EchoServers is where Echo finds its servers and clients.
type EchoServers interface {
	// Start runs a server with the transport and returns its address and what
	// stops it. The error is ErrTransport where the machine cannot.
	Start(ctx context.Context, t Transport) (address string, stop func() error, err error)
	// Dial opens a client's socket.
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// ErrTransport says that a transport cannot be had here.
var ErrTransport = errors.New("transport unavailable")

// EchoResult compares round trips over two transports.
type EchoResult struct {
	XDP *EchoSide `json:"xdp,omitempty"`
	UDP *EchoSide `json:"udp,omitempty"`

	// WhyNot says why a transport is missing.
	WhyNot string `json:"why_not,omitempty"`

	Sessions int     `json:"sessions"`
	Rate     float64 `json:"rate"`
	Machine  Machine `json:"machine"`
}

// EchoSide is what was measured of one transport.
type EchoSide struct {
	// Ack is the time from sending a reliable packet to the first
	// acknowledgement that covers it, which over XDP the kernel sends.
	Ack Distribution `json:"ack"`
	// Echo is the time until the worker's answer to a message is handed to
	// the client's application.
	Echo Distribution `json:"echo"`

	Sent     uint64  `json:"messages_sent"`
	Missing  uint64  `json:"messages_not_echoed"`
	Resent   uint64  `json:"packets_retransmitted"`
	Seconds  float64 `json:"seconds"`
	Achieved float64 `json:"messages_per_second"`
	acks     []time.Duration
	echoes   []time.Duration
}

// Echo measures round trips of reliable messages, over XDP and over ordinary
// sockets in turns.
func Echo(ctx context.Context, servers EchoServers, opts EchoOptions) (*EchoResult, error) {
	opts.fillDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	r := &EchoResult{Sessions: opts.Sessions, Rate: opts.Rate, Machine: ThisMachine()}
	sides := map[Transport]*EchoSide{}
	for range opts.Rounds {
		for _, t := range []Transport{TransportXDP, TransportUDP} {
			if t == TransportXDP && r.WhyNot != "" {
				continue
			}
			turn, err := echoTurn(ctx, servers, t, opts)
			if errors.Is(err, ErrTransport) {
				r.WhyNot = err.Error()
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("measure round trips over %s: %w", t, err)
			}
			if sides[t] == nil {
				sides[t] = new(EchoSide)
			}
			sides[t].add(turn)
		}
	}
	r.XDP, r.UDP = sides[TransportXDP], sides[TransportUDP]
	for _, side := range sides {
		side.Ack, side.Echo = distribution(side.acks), distribution(side.echoes)
		side.Achieved = float64(side.Sent) / side.Seconds
	}
	return r, nil
}

func (s *EchoSide) add(turn *EchoSide) {
	s.acks = append(s.acks, turn.acks...)
	s.echoes = append(s.echoes, turn.echoes...)
	s.Sent += turn.Sent
	s.Missing += turn.Missing
	s.Resent += turn.Resent
	s.Seconds += turn.Seconds
}

// echoTurn starts a server, measures, and stops it.
func echoTurn(ctx context.Context, servers EchoServers, t Transport, opts EchoOptions) (side *EchoSide, err error) {
	address, stop, err := servers.Start(ctx, t)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := stop(); err == nil {
			err = stopErr
		}
	}()
	load := &echoLoad{opts: opts, acks: samples{off: true}, echoes: samples{off: true}}
	defer load.close()
	if err := load.connect(ctx, servers, address); err != nil {
		return nil, err
	}
	return load.run(ctx)
}

// echoLoad is the clients of one turn.
type echoLoad struct {
	opts   EchoOptions
	conns  []*client.Conn
	acks   samples
	echoes samples
	start  time.Time

	mu       sync.Mutex
	received uint64
}

func (l *echoLoad) connect(ctx context.Context, servers EchoServers, address string) error {
	l.start = time.Now()
	l.conns = make([]*client.Conn, l.opts.Sessions)
	errs := make([]error, l.opts.Sessions)
	turns := make(chan struct{}, 32)
	var all sync.WaitGroup
	for i := range l.conns {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			l.conns[i], errs[i] = client.Dial(ctx, address, client.Options{
				HandshakeTimeout: 15 * time.Second,
				IdleTimeout:      15 * time.Second,
				Handler:          l.echoed,
				DialUDP: func(ctx context.Context, address string) (net.Conn, error) {
					conn, err := servers.Dial(ctx, address)
					if err != nil {
						return nil, err
					}
					return &tap{Conn: conn, acks: &l.acks}, nil
				},
			})
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// echoed takes an answer, which says when its question was asked.
func (l *echoLoad) echoed(_ *client.Conn, m client.Message) {
	if m.Type != plaza.TypeEchoed || len(m.Payload) != echoPayload {
		return
	}
	l.echoes.add(time.Since(l.start) - time.Duration(binary.BigEndian.Uint64(m.Payload)))
	l.mu.Lock()
	l.received++
	l.mu.Unlock()
}

const (
	echoPayload = 64
	echoWarmUp  = 500 * time.Millisecond
)

func (l *echoLoad) run(ctx context.Context) (*EchoSide, error) {
	if _, err := l.send(ctx, echoWarmUp); err != nil {
		return nil, err
	}
	l.settle()
	l.mu.Lock()
	l.received = 0
	l.mu.Unlock()
	l.acks.measure(true)
	l.echoes.measure(true)

	started := time.Now()
	sent, err := l.send(ctx, l.opts.Duration/time.Duration(l.opts.Rounds))
	if err != nil {
		return nil, err
	}
	side := &EchoSide{Sent: sent, Seconds: time.Since(started).Seconds()}
	l.settle()
	l.mu.Lock()
	side.Missing = sent - min(sent, l.received)
	l.mu.Unlock()
	l.acks.measure(false)
	l.echoes.measure(false)
	side.acks, side.echoes = l.acks.all, l.echoes.all
	for _, c := range l.conns {
		side.Resent += c.Stats().Retransmitted
	}
	return side, nil
}

// send has the sessions send in turn, evenly spread over the time.
func (l *echoLoad) send(ctx context.Context, d time.Duration) (sent uint64, err error) {
	started := time.Now()
	payload := make([]byte, echoPayload)
	perSecond := l.opts.Rate * float64(l.opts.Sessions)
	for next := 0; ; next++ {
		due := time.Duration(float64(next) / perSecond * float64(time.Second))
		if due >= d {
			return sent, nil
		}
		for time.Since(started) < due {
			time.Sleep(100 * time.Microsecond)
		}
		binary.BigEndian.PutUint64(payload, uint64(time.Since(l.start)))
		conn := l.conns[next%len(l.conns)]
		switch err := conn.Send(client.ReliableOrdered, 1, plaza.TypeEcho, payload); {
		case err == nil:
			sent++
		case !errors.Is(err, client.ErrWouldBlock):
			return sent, err
		}
		if err := ctx.Err(); err != nil {
			return sent, err
		}
	}
}

// settle waits until no more answers come.
func (l *echoLoad) settle() {
	const quiet = 300 * time.Millisecond
	for before := ^uint64(0); ; time.Sleep(quiet) {
		l.mu.Lock()
		now := l.received
		l.mu.Unlock()
		if now == before {
			return
		}
		before = now
	}
}

func (l *echoLoad) close() {
	var all sync.WaitGroup
	for _, c := range l.conns {
		if c != nil {
			all.Go(func() { c.Close() })
		}
	}
	all.Wait()
}

// Write prints r for people.
func (r *EchoResult) Write(w io.Writer) {
	fmt.Fprintf(w, "%s\n", r.Machine)
	fmt.Fprintf(w, "%d sessions, %g reliable messages of %d bytes per second each\n\n", r.Sessions, r.Rate, echoPayload)
	fmt.Fprintf(w, "%-28s %9s %9s %9s %9s %10s\n", "round trip, us", "p50", "p99", "p99.9", "max", "samples")
	for _, side := range []struct {
		name string
		of   *EchoSide
	}{{"XDP", r.XDP}, {"UDP", r.UDP}} {
		if side.of == nil {
			continue
		}
		for _, row := range []struct {
			name string
			d    Distribution
		}{{"acknowledgement", side.of.Ack}, {"echo by a worker", side.of.Echo}} {
			fmt.Fprintf(w, "%-28s %9.0f %9.0f %9.0f %9.0f %10d\n", side.name+" "+row.name,
				row.d.P50, row.d.P99, row.d.P999, row.d.Max, row.d.Samples)
		}
	}
	fmt.Fprintln(w)
	if r.WhyNot != "" {
		fmt.Fprintf(w, "%s\n", r.WhyNot)
	}
}
