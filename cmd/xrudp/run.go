package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudp/child"
	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/userspace/bots"
)

// How long the children may take to begin and to end.
const (
	startPatience = 30 * time.Second
	botsPatience  = 40 * time.Second
	stopPatience  = 20 * time.Second
)

const labPort = 7777

type runOptions struct {
	duration time.Duration
	bots     int
	rate     float64
	mode     string
	asJSON   bool
}

// runResult is the report of a run.
type runResult struct {
	Serving child.Serving `json:"serving"`
	Bots    bots.Result   `json:"bots"`
	Server  child.Summary `json:"server"`
	// KernelShare is the part of the accepted reliable data packets that the
	// kernel acknowledged.
	KernelShare float64 `json:"kernel_share"`
}

// runCommand is the demonstration: a server, bots, and a report.
func runCommand(ctx context.Context, args []string, out io.Writer) error {
	var opts runOptions
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.DurationVar(&opts.duration, "duration", 0, "how long the bots play; 0: until interrupted")
	fs.IntVar(&opts.bots, "bots", 64, "how many bots play")
	fs.Float64Var(&opts.rate, "rate", 4, "reliable messages of each bot per second")
	fs.StringVar(&opts.mode, "mode", "auto", "of the server: auto, xdp, native, generic or udp")
	fs.BoolVar(&opts.asJSON, "json", false, "print one JSON object at the end and nothing else")
	if err := parse(fs, args); err != nil {
		return err
	}
	notes := out
	if opts.asJSON {
		notes = io.Discard
	}
	place, err := newPlace(opts.mode, notes)
	if err != nil {
		return err
	}
	result, err := play(ctx, opts, place, notes)
	if err = errors.Join(err, place.close()); err != nil {
		return err
	}
	if opts.asJSON {
		if err := printJSON(out, result); err != nil {
			return err
		}
	} else {
		writeRun(out, result)
	}
	if !result.Bots.Clean {
		return errNotClean
	}
	return nil
}

// place is where server and clients meet: a veth pair between two network
// namespaces, or the loopback interface.
type place struct {
	lab     *lab.Lab // nil on the loopback interface
	address string   // of the server
	flags   []string // of xrudpd
}

// newPlace builds a lab where that is possible and sockets were not asked for.
func newPlace(mode string, notes io.Writer) (*place, error) {
	why := "sockets were asked for"
	if mode != "udp" {
		l, err := newLab()
		if err == nil {
			fmt.Fprintf(notes, "network: a veth pair between two namespaces, XDP on the server's end\n")
			return &place{
				lab:     l,
				address: net.JoinHostPort(l.Server.IPv4.String(), strconv.Itoa(labPort)),
				flags:   []string{"--iface", l.Server.Interface, "--listen", ":" + strconv.Itoa(labPort), "--mode", mode},
			}, nil
		}
		if mode != "auto" || !errors.Is(err, lab.ErrUnavailable) {
			return nil, err
		}
		why = err.Error()
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(notes, "network: the loopback interface with UDP sockets, without XDP: %s\n", why)
	address := net.JoinHostPort("127.0.0.1", port)
	return &place{address: address, flags: []string{"--listen", address, "--mode", "udp"}}, nil
}

func newLab() (*lab.Lab, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: attaching XDP programs needs root", lab.ErrUnavailable)
	}
	if err := lab.MountBPFFS(); err != nil {
		return nil, fmt.Errorf("%w: %w", lab.ErrUnavailable, err)
	}
	return lab.New(lab.Options{})
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

func (p *place) serverSide() *lab.Namespace {
	if p.lab == nil {
		return nil
	}
	return p.lab.Server.Namespace
}

func (p *place) clientSide() *lab.Namespace {
	if p.lab == nil {
		return nil
	}
	return p.lab.Client.Namespace
}

func (p *place) close() error {
	if p.lab == nil {
		return nil
	}
	return p.lab.Close()
}

// play runs server and bots until the bots have their verdict. Both have ended
// when it returns.
func play(ctx context.Context, opts runOptions, at *place, notes io.Writer) (r runResult, err error) {
	instance := "run-" + strconv.Itoa(os.Getpid())
	// There is nothing left pinned after a server that ended in order.
	defer func() { err = errors.Join(err, loader.Remove(loader.DefaultPinRoot, instance)) }()
	server, err := child.StartServer(child.ServerOptions{
		Namespace: at.serverSide(),
		Flags:     append([]string{"--instance", instance, "--status"}, at.flags...),
		Status:    child.Lines(func(line string) { fmt.Fprintf(notes, "server %s\n", line) }),
		Log:       notes,
	})
	if err != nil {
		return r, err
	}
	finished := false
	defer func() {
		if !finished {
			_, stopErr := server.Finish(stopPatience)
			err = errors.Join(err, stopErr)
		}
	}()

	starting, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if r.Serving, err = server.Ready(starting); err != nil {
		return r, err
	}
	fmt.Fprintf(notes, "server: %s\n", describe(r.Serving))
	if r.Bots, err = playBots(ctx, opts, at, server, notes); err != nil {
		return r, err
	}
	finished = true
	if r.Server, err = server.Finish(stopPatience); err != nil {
		return r, err
	}
	if r.Server.ReliableAccepted > 0 {
		r.KernelShare = float64(r.Server.KernelAcked) / float64(r.Server.ReliableAccepted)
	}
	return r, nil
}

func describe(s child.Serving) string {
	text := "mode " + s.Mode
	if s.Mode != "udp" {
		text += ", AF_XDP " + s.AFXDP
	}
	if len(s.Reasons) > 0 {
		text += " (" + strings.Join(s.Reasons, "; ") + ")"
	}
	return text
}

// playBots runs `xrudp bots` on the client's side and returns its verdict. An
// interrupt reaches the bots first, who then leave in order.
func playBots(ctx context.Context, opts runOptions, at *place, server *child.Server, notes io.Writer) (bots.Result, error) {
	var result bots.Result
	self, err := os.Executable()
	if err != nil {
		return result, fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.Command(self, "bots", "--json",
		"--server", at.address, "--bots", strconv.Itoa(opts.bots),
		"--duration", opts.duration.String(), "--rate", strconv.FormatFloat(opts.rate, 'g', -1, 64))
	var verdict bytes.Buffer
	cmd.Stdout = &verdict
	cmd.Stderr = notes
	p, err := child.Start(cmd, at.clientSide())
	if err != nil {
		return result, err
	}
	var end error
	select {
	case <-p.Done():
		end = p.Err()
	case <-ctx.Done():
		end = p.Stop(botsPatience)
	case <-server.Done():
		return result, errors.Join(server.Died(), p.Stop(botsPatience))
	}
	if json.Unmarshal(verdict.Bytes(), &result) != nil {
		return result, errors.Join(errors.New("bots came to no verdict"), end)
	}
	return result, nil
}

// writeRun prints the report for people.
func writeRun(out io.Writer, r runResult) {
	fmt.Fprintf(out, "\nserver: %s\n", describe(r.Serving))
	fmt.Fprintf(out, "  reliable data packets        %d accepted, %d acknowledged in the kernel: %.2f%%\n",
		r.Server.ReliableAccepted, r.Server.KernelAcked, 100*r.KernelShare)
	writeVerdict(out, r.Bots)
}
