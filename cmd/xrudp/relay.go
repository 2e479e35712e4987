package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudp/bench"
	"github.com/xrudp/xrudp/loader/lab"
)

func benchRelay(ctx context.Context, args []string, out io.Writer) error {
	var opts bench.RelayOptions
	fs := flag.NewFlagSet("bench relay", flag.ContinueOnError)
	fs.DurationVar(&opts.Duration, "duration", 3*time.Second, "how long each room is measured")
	fs.IntVar(&opts.Max, "max", 2048, "players in the largest room that is tried")
	fs.DurationVar(&opts.Limit, "limit", 4*time.Minute, "how long to go on trying rooms")
	asJSON := fs.Bool("json", false, "print one JSON object and nothing else")
	if err := parse(fs, args); err != nil {
		return err
	}
	servers := &relayServers{cpu: min(1, runtime.NumCPU()-1)}
	var err error
	servers.place, err = placeIn(lab.Options{
		ThreadedNAPI: true, NAPICPU: servers.cpu, ThreadedClient: true, TXQueue: 10_000,
	})
	if err != nil {
		return err
	}
	result, err := bench.Relay(ctx, servers, opts)
	if err = errors.Join(err, servers.place.close()); err != nil {
		return err
	}
	return printResult(out, result, *asJSON)
}

// relayServers runs one server after the other, each on one CPU. The players have
// CPU 0.
type relayServers struct {
	place *place
	cpu   int
}

// Start implements bench.RelayServers.
func (r *relayServers) Start(ctx context.Context, t bench.Transport) (*bench.RelayServer, error) {
	mode := string(t)
	if t == bench.TransportXDP {
		if r.place.lab == nil {
			return nil, fmt.Errorf("%w: %w", bench.ErrTransport, r.place.why)
		}
		mode = "native"
	}
	// Each would warn of the same. What ends one is in its error. An overloaded
	// server does not get through to its players.
	s, err := r.place.start(ctx, mode, nil, io.Discard,
		"--workers", "1", "--cpus", strconv.Itoa(r.cpu), "--max-sessions", "8192", "--shutdown-timeout", "500ms")
	if err != nil {
		return nil, err
	}
	stop := func() error { _, err := s.finish(); return err }
	if err := bench.Pin(s.PID(), r.cpu); err != nil {
		return nil, errors.Join(err, stop())
	}
	return &bench.RelayServer{
		Address: s.address,
		CPUTime: func() time.Duration { return bench.CPUTime(s.PID()) + r.kernel(true) },
		Stop:    stop,
	}, nil
}

// In implements bench.RelayServers.
func (r *relayServers) In(f func() error) error {
	if r.place.lab == nil {
		return f()
	}
	return r.place.lab.Client.Do(f)
}

// Kernel implements bench.RelayServers.
func (r *relayServers) Kernel() time.Duration { return r.kernel(false) }

// kernel is the CPU time of the threads that receive at one end of the lab.
func (r *relayServers) kernel(server bool) time.Duration {
	switch {
	case r.place.lab == nil:
		return 0
	case server:
		return bench.ThreadCPUTime(r.place.lab.Server.NAPIThreads)
	}
	return bench.ThreadCPUTime(r.place.lab.Client.NAPIThreads)
}
