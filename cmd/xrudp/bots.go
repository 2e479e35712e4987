package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/xrudp/xrudp/loader/lab/impair"
	"github.com/xrudp/xrudp/userspace/bots"
	"github.com/xrudp/xrudp/userspace/client"
)

// botsResult is what the bots found, and what their path did.
type botsResult struct {
	bots.Result
	Path *pathResult `json:"path,omitempty"`
}

func botsCommand(ctx context.Context, args []string, out io.Writer) error {
	var opts bots.Options
	fs := flag.NewFlagSet("bots", flag.ContinueOnError)
	fs.StringVar(&opts.Server, "server", "127.0.0.1:7777", "address of the server")
	fs.IntVar(&opts.Bots, "bots", 64, "how many play")
	fs.IntVar(&opts.Rooms, "rooms", 0, "rooms they spread over; 0: one for every 64")
	fs.DurationVar(&opts.Duration, "duration", 20*time.Second, "how long they play; 0: until interrupted")
	addRateFlag(fs, &opts.Rate)
	fs.Float64Var(&opts.PositionRate, "positions", 20, "positions of each per second")
	asJSON := fs.Bool("json", false, "print the verdict as one JSON object")
	quiet := fs.Bool("quiet", false, "no line per second")
	var profile client.Profile
	addProfileFlag(fs, &profile)
	path := addPathFlags(fs)
	if err := parse(fs, args); err != nil {
		return err
	}
	spoiled, err := path.conditions()
	if err != nil {
		return err
	}
	// 0 would stand for the default.
	for _, rate := range []*float64{&opts.Rate, &opts.PositionRate} {
		if *rate == 0 {
			*rate = -1
		}
	}
	// On a path that loses much, beginning and end take their time.
	opts.Client = client.Options{Profile: profile, HandshakeTimeout: 15 * time.Second, CloseTimeout: 15 * time.Second}
	server := opts.Server
	var relay *impair.UDP
	if path.given() {
		relay, err = impair.ListenUDP(server, impair.Options{ToServer: spoiled, ToClient: spoiled})
		if err != nil {
			return err
		}
		defer relay.Close()
		opts.Server = relay.Addr().String()
		fmt.Fprintf(os.Stderr, "path: %v, by a relay on %s\n", path, opts.Server)
	}
	check, err := bots.New(opts)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	if !*quiet {
		go reportProgress(check, opts.Bots, done)
	}
	result := botsResult{}
	result.Result, err = check.Run(ctx)
	close(done)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return errors.New("interrupted before every bot had joined")
		}
		return err
	}
	result.Server = server
	if relay != nil {
		result.Path = &pathResult{
			Conditions: path.String(),
			ToServer:   impair.Stats{PathStats: relay.Stats(impair.ToServer)},
			ToClients:  impair.Stats{PathStats: relay.Stats(impair.ToClient)},
		}
	}
	if *asJSON {
		if err := printJSON(out, result); err != nil {
			return err
		}
	} else {
		writeVerdict(out, result.Result)
		result.Path.write(out)
	}
	if !result.Clean {
		return errNotClean
	}
	return nil
}

// reportProgress prints a line per second to standard error, so that the
// verdict stands alone on standard output.
func reportProgress(check *bots.Check, total int, done <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for second := 1; ; second++ {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		p := check.Progress()
		fmt.Fprintf(os.Stderr, "bots   %3ds  %d/%d playing  %d sent  %d delivered\n",
			second, p.Playing, total, p.Sent, p.Delivered)
	}
}

// writeVerdict prints a result for people.
func writeVerdict(out io.Writer, r bots.Result) {
	fmt.Fprintf(out, "%d bots in %d rooms on %s, %.1f s\n", r.Bots, r.Rooms, r.Server, r.Seconds)
	fmt.Fprintf(out, "  reliable messages sent       %d\n", r.Sent)
	fmt.Fprintf(out, "  deliveries                   %d of %d\n", r.Received, r.Expected)
	fmt.Fprintf(out, "  plans of 32 KiB returned     %d of %d\n", r.Returned, r.Plans)
	fmt.Fprintf(out, "  faults                       %v\n", r.Faults)
	fmt.Fprintf(out, "  positions seen               %d, %d implausible\n", r.Positions, r.Implausible)
	fmt.Fprintf(out, "  packets sent                 %d, %d of them again\n", r.PacketsOut, r.Retransmitted)
	fmt.Fprintf(out, "  round trip, smoothed         %.0f us\n", r.RTTMicros)
	for reason, n := range r.Reasons {
		fmt.Fprintf(out, "  disconnected                 %d: %s\n", n, reason)
	}
	if r.Malformed > 0 {
		fmt.Fprintf(out, "  malformed messages           %d\n", r.Malformed)
	}
	if r.WouldBlock > 0 {
		fmt.Fprintf(out, "  messages put off             %d: the send queue was full\n", r.WouldBlock)
	}
	if r.Unflushed > 0 {
		fmt.Fprintf(out, "  bots that could not leave    %d\n", r.Unflushed)
	}
	verdict := "CLEAN: every reliable message arrived once and in order at every bot"
	if !r.Clean {
		verdict = "NOT CLEAN"
	}
	fmt.Fprintf(out, "  verdict                      %s\n", verdict)
}
