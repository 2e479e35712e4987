package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudp/bench"
)

func benchCommand(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "kernel-ack":
			return benchKernelAck(ctx, args[1:], out)
		case "echo":
			return benchEcho(ctx, args[1:], out)
		case "relay":
			return benchRelay(ctx, args[1:], out)
		case "room":
			return benchRoom(ctx, args[1:], out)
		case "sim":
			return benchSim(ctx, args[1:], out)
		case "tcp":
			return benchTCP(ctx, args[1:], out)
		}
	}
	fmt.Fprint(os.Stderr, "usage: xrudp bench <measurement> [flags]\n\n"+
		"  kernel-ack  packets per second acknowledged in XDP, beside bare XDP_TX\n"+
		"  echo        round trips to the kernel and to a worker, XDP beside UDP sockets\n"+
		"  relay       the largest room in which everyone hears everyone, XDP beside UDP sockets\n"+
		"  room        ticks and snapshots of rooms of 250 to 4,000 players who all move\n"+
		"  sim         goodput, latency, fairness and queues on simulated paths\n"+
		"  tcp         goodput and latency beside the kernel's TCP, on one bad path\n")
	return errUsage
}

func benchKernelAck(ctx context.Context, args []string, out io.Writer) error {
	var opts bench.KernelAckOptions
	fs := flag.NewFlagSet("bench kernel-ack", flag.ContinueOnError)
	fs.IntVar(&opts.Sessions, "sessions", 64, "clients that send in turn, a power of two")
	fs.IntVar(&opts.Rounds, "rounds", 5, "how often each side is measured")
	fs.IntVar(&opts.Packets, "packets", 2_000_000, "packets per measurement")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if err := parse(fs, args); err != nil {
		return err
	}
	result, err := bench.KernelAck(ctx, opts)
	if err != nil {
		return err
	}
	return printResult(out, result, *asJSON)
}

func benchRoom(ctx context.Context, args []string, out io.Writer) error {
	var opts bench.RoomOptions
	fs := flag.NewFlagSet("bench room", flag.ContinueOnError)
	fs.DurationVar(&opts.Duration, "duration", 10*time.Second, "how long each room is measured")
	fs.Uint64Var(&opts.Seed, "seed", 1, "of the players' walks")
	fs.IntVar(&opts.Seen, "seen", 30, "how many others are within a player's sight, about; the nearest 256 are told of")
	sizes := fs.String("players", "", "sizes of rooms, separated by commas (default 250,500,1000,2000,4000)")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *sizes != "" {
		for size := range strings.SplitSeq(*sizes, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(size))
			if err != nil {
				return fmt.Errorf("%q is not a number of players", size)
			}
			opts.Players = append(opts.Players, n)
		}
	}
	result, err := bench.Room(ctx, opts)
	if err != nil {
		return err
	}
	return printResult(out, result, *asJSON)
}

func benchSim(ctx context.Context, args []string, out io.Writer) error {
	var opts bench.SimOptions
	fs := flag.NewFlagSet("bench sim", flag.ContinueOnError)
	fs.Uint64Var(&opts.Seed, "seed", 1, "the same seed gives the same numbers")
	controllers := fs.String("controllers", "", "congestion controllers to compare, separated by commas (default all)")
	fs.BoolVar(&opts.ToClient, "to-client", false, "send bulk data from the server to the client")
	fs.BoolVar(&opts.Quick, "quick", false, "a smaller grid, and less time for each cell")
	trace := fs.String("trace", "", "also run over the recorded path in this `file`")
	folder := fs.String("out", "", "write the report, plots and packets into this `folder`")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if err := parse(fs, args); err != nil {
		return err
	}
	if *controllers != "" {
		opts.Controllers = strings.Split(*controllers, ",")
	}
	if *trace != "" {
		var err error
		if opts.Trace, err = bench.ReadTrace(*trace); err != nil {
			return err
		}
	}
	result, err := bench.Sim(ctx, opts)
	if err != nil {
		return err
	}
	if *folder != "" {
		if err := result.WriteFiles(*folder); err != nil {
			return err
		}
	}
	switch {
	case *asJSON:
		return printJSON(out, result)
	case *folder == "":
		result.Write(out)
	}
	return nil
}

func benchTCP(ctx context.Context, args []string, out io.Writer) error {
	var opts bench.TCPOptions
	fs := flag.NewFlagSet("bench tcp", flag.ContinueOnError)
	fs.DurationVar(&opts.Duration, "duration", 20*time.Second, "how long either measurement of each side sends in all")
	fs.IntVar(&opts.Rounds, "rounds", 4, "turns of every side that this is spread over")
	fs.DurationVar(&opts.WarmUp, "warm-up", 2*time.Second, "how long bulk data flows before each measurement")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if err := parse(fs, args); err != nil {
		return err
	}
	result, err := bench.TCP(ctx, opts)
	if err != nil {
		return err
	}
	return printResult(out, result, *asJSON)
}

// printResult writes what a bench measured, as one JSON object or to be read.
func printResult(out io.Writer, result interface{ Write(io.Writer) }, asJSON bool) error {
	if asJSON {
		return printJSON(out, result)
	}
	result.Write(out)
	return nil
}
