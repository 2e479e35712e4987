package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudp/child"
	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/impair"
	"github.com/xrudp/xrudp/userspace/client"
)

// How long a server may take to begin and to end.
const (
	startPatience = 30 * time.Second
	stopPatience  = 20 * time.Second
)

const labPort, labCompactPort = 7777, 7778

// place is where servers and clients meet: a veth pair between two network
// namespaces or, where there can be none, the loopback interface.
type place struct {
	lab     *lab.Lab      // nil on the loopback interface
	stage   *impair.Stage // what spoils the lab's path, nil for nothing
	why     error         // there is no lab
	servers int           // started so far
}

// newPlace finds a place. In a lab that is to have a stage, spoil says what it
// does; on the loopback interface nothing does.
func newPlace(spoil *impair.Options) (*place, error) {
	p, err := placeIn(lab.Options{Middle: spoil != nil})
	if err != nil || p.lab == nil || spoil == nil {
		return p, err
	}
	// It outlives an interrupt, after which the bots still have to leave.
	if p.stage, err = impair.Start(context.Background(), p.lab, *spoil); err != nil {
		return nil, errors.Join(err, p.lab.Close())
	}
	return p, nil
}

// placeIn finds a place without a stage.
func placeIn(opts lab.Options) (*place, error) {
	if os.Geteuid() != 0 {
		return &place{why: errors.New("network namespaces and XDP need root")}, nil
	}
	if err := lab.MountBPFFS(); err != nil {
		return &place{why: err}, nil
	}
	l, err := lab.New(opts)
	if errors.Is(err, lab.ErrUnavailable) {
		return &place{why: err}, nil
	}
	if err != nil {
		return nil, err
	}
	return &place{lab: l}, nil
}

// String says where one is, and why not better.
func (p *place) String() string {
	switch {
	case p.stage != nil:
		return "veth pairs between three network namespaces, the one in the middle spoiling the path"
	case p.lab != nil:
		return "a veth pair between two network namespaces"
	}
	return fmt.Sprintf("the loopback interface, with UDP sockets in place of XDP: %v", p.why)
}

func (p *place) close() error {
	if p.lab == nil {
		return nil
	}
	var err error
	if p.stage != nil {
		err = p.stage.Close()
	}
	return errors.Join(err, p.lab.Close())
}

// clients is the namespace of the clients, nil for this process's own.
func (p *place) clients() *lab.Namespace {
	if p.lab == nil {
		return nil
	}
	return p.lab.Client.Namespace
}

// dial opens a client's socket.
func (p *place) dial(ctx context.Context, address string) (conn net.Conn, err error) {
	dial := func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "udp", address)
		return err
	}
	if p.lab == nil {
		err = dial()
	} else {
		err = p.lab.Client.Do(dial)
	}
	return conn, err
}

// server is a server in a place.
type server struct {
	*child.Server
	address string
	compact string // address of the compact profile
	serving child.Serving
	remove  func() error
}

// at is the address where the server speaks a profile.
func (s *server) at(profile client.Profile) string {
	if profile == client.Compact {
		return s.compact
	}
	return s.address
}

// start runs a server in the given mode and returns when it serves. Without a
// lab only sockets can be had. status and log may be nil; flags are further ones of
// the server.
func (p *place) start(ctx context.Context, mode string, status, log io.Writer, flags ...string) (*server, error) {
	p.servers++
	instance := fmt.Sprintf("run-%d-%d", os.Getpid(), p.servers)
	s := &server{remove: func() error { return nil }}
	opts := child.ServerOptions{Status: status, Log: log, Flags: append([]string{"--instance", instance}, flags...)}
	if status != nil {
		opts.Flags = append(opts.Flags, "--status")
	}
	switch {
	case p.lab != nil:
		s.address = net.JoinHostPort(p.lab.Server.IPv4.String(), strconv.Itoa(labPort))
		s.compact = net.JoinHostPort(p.lab.Server.IPv4.String(), strconv.Itoa(labCompactPort))
		// What a server that was killed leaves in the kernel.
		s.remove = func() error { return loader.Remove(loader.DefaultPinRoot, instance) }
		opts.Namespace = p.lab.Server.Namespace
		opts.Flags = append(opts.Flags, "--mode", mode,
			"--iface", p.lab.Server.Interface, "--listen", ":"+strconv.Itoa(labPort),
			"--compact-listen", ":"+strconv.Itoa(labCompactPort))
	case mode == "auto" || mode == "udp":
		for _, address := range []*string{&s.address, &s.compact} {
			port, err := freePort()
			if err != nil {
				return nil, err
			}
			*address = net.JoinHostPort("127.0.0.1", port)
		}
		opts.Flags = append(opts.Flags, "--mode", "udp", "--listen", s.address, "--compact-listen", s.compact)
	default:
		return nil, fmt.Errorf("run server in mode %s: %w", mode, p.why)
	}
	var err error
	if s.Server, err = child.StartServer(opts); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if s.serving, err = s.Ready(ctx); err != nil {
		s.finish()
		return nil, err
	}
	return s, nil
}

// finish stops the server and removes what it left.
func (s *server) finish() (child.Summary, error) {
	sum, err := s.Finish(stopPatience)
	return sum, errors.Join(err, s.remove())
}

// freePort returns a port that nobody used a moment ago.
func freePort() (string, error) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer conn.Close()
	_, port, err := net.SplitHostPort(conn.LocalAddr().String())
	return port, err
}
