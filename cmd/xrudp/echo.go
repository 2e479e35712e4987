package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudp/bench"
)

func benchEcho(ctx context.Context, args []string, out io.Writer) error {
	var opts bench.EchoOptions
	fs := flag.NewFlagSet("bench echo", flag.ContinueOnError)
	fs.IntVar(&opts.Sessions, "sessions", 1000, "clients")
	fs.Float64Var(&opts.Rate, "rate", 20, "messages of each per second")
	fs.DurationVar(&opts.Duration, "duration", 10*time.Second, "how long each transport is measured")
	fs.IntVar(&opts.Rounds, "rounds", 2, "turns that this is spread over")
	asJSON := fs.Bool("json", false, "print one JSON object and nothing else")
	if err := parse(fs, args); err != nil {
		return err
	}
	at, err := newPlace(nil)
	if err != nil {
		return err
	}
	servers := &echoServers{place: at, log: os.Stderr}
	if *asJSON {
		servers.log = io.Discard
	}
	result, err := bench.Echo(ctx, servers, opts)
	if err = errors.Join(err, at.close()); err != nil {
		return err
	}
	return printResult(out, result, *asJSON)
}

// echoServers runs one server after the other in one place.
type echoServers struct {
	place *place
	log   io.Writer
}

// Start implements bench.EchoServers.
func (e *echoServers) Start(ctx context.Context, t bench.Transport) (address string, stop func() error, err error) {
	if t == bench.TransportXDP && e.place.lab == nil {
		return "", nil, fmt.Errorf("%w: %w", bench.ErrTransport, e.place.why)
	}
	s, err := e.place.start(ctx, string(t), nil, e.log)
	if err != nil {
		return "", nil, err
	}
	return s.address, func() error { _, err := s.finish(); return err }, nil
}

// Dial implements bench.EchoServers.
func (e *echoServers) Dial(ctx context.Context, address string) (net.Conn, error) {
	return e.place.dial(ctx, address)
}
