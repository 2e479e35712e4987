package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudp/bench"
	"github.com/xrudp/xrudp/cmd/xrudp/child"
	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
)

func benchEcho(ctx context.Context, args []string, out io.Writer) error {
	var opts bench.EchoOptions
	fs := flag.NewFlagSet("bench echo", flag.ContinueOnError)
	fs.IntVar(&opts.Sessions, "sessions", 1000, "clients")
	fs.Float64Var(&opts.Rate, "rate", 20, "messages of each per second")
	fs.DurationVar(&opts.Duration, "duration", 10*time.Second, "how long each transport is measured")
	fs.IntVar(&opts.Rounds, "rounds", 2, "turns that this is spread over")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if err := parse(fs, args); err != nil {
		return err
	}
	servers := &echoServers{log: os.Stderr}
	if *asJSON {
		servers.log = io.Discard
	}
	var err error
	if servers.lab, err = newLab(); err != nil {
		if !errors.Is(err, lab.ErrUnavailable) {
			return err
		}
		servers.why = err
	}
	result, err := bench.Echo(ctx, servers, opts)
	if servers.lab != nil {
		err = errors.Join(err, servers.lab.Close())
	}
	if err != nil {
		return err
	}
	if *asJSON {
		return printJSON(out, result)
	}
	result.Write(out)
	return nil
}

// echoServers runs one xrudpd after the other, in a lab or, without XDP, on
// the loopback interface.
type echoServers struct {
	lab    *lab.Lab
	why    error // there is none
	log    io.Writer
	served int
}

// Start implements bench.EchoServers.
func (e *echoServers) Start(ctx context.Context, t bench.Transport) (address string, stop func() error, err error) {
	var flags []string
	var inside *lab.Namespace
	switch {
	case e.lab != nil:
		inside = e.lab.Server.Namespace
		address = net.JoinHostPort(e.lab.Server.IPv4.String(), strconv.Itoa(labPort))
		flags = []string{"--iface", e.lab.Server.Interface, "--listen", ":" + strconv.Itoa(labPort), "--mode", string(t)}
	case t == bench.TransportXDP:
		return "", nil, fmt.Errorf("%w: %w", bench.ErrTransport, e.why)
	default:
		port, err := freePort()
		if err != nil {
			return "", nil, err
		}
		address = net.JoinHostPort("127.0.0.1", port)
		flags = []string{"--listen", address, "--mode", "udp"}
	}
	e.served++
	instance := fmt.Sprintf("echo-%d-%d", os.Getpid(), e.served)
	server, err := child.StartServer(child.ServerOptions{
		Namespace: inside,
		Flags:     append([]string{"--instance", instance}, flags...),
		Log:       e.log,
	})
	if err != nil {
		return "", nil, err
	}
	stop = func() error {
		_, err := server.Finish(stopPatience)
		return errors.Join(err, loader.Remove(loader.DefaultPinRoot, instance))
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if _, err := server.Ready(ctx); err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return address, stop, nil
}

// Dial implements bench.EchoServers.
func (e *echoServers) Dial(ctx context.Context, address string) (conn net.Conn, err error) {
	dial := func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "udp", address)
		return err
	}
	if e.lab == nil {
		err = dial()
	} else {
		err = e.lab.Client.Do(dial)
	}
	return conn, err
}
