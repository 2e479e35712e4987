package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudp/child"
	"github.com/xrudp/xrudp/loader/lab/impair"
	"github.com/xrudp/xrudp/userspace/client"
)

// botsPatience is how long interrupted bots may take to come to their verdict.
const botsPatience = 40 * time.Second

type runOptions struct {
	duration time.Duration
	bots     int
	game     string
	rate     float64
	mode     string
	profile  client.Profile
	path     pathFlags
	flags    []string // of the server, besides
}

// runResult is the report of a run.
type runResult struct {
	Serving child.Serving `json:"serving"`
	Bots    played        `json:"bots"`
	Server  child.Summary `json:"server"`
	// KernelShare is the part of the accepted reliable data packets that the
	// kernel acknowledged.
	KernelShare float64 `json:"kernel_share"`
	// Path is what a bad one did.
	Path *pathResult `json:"path,omitempty"`
}

// runCommand is the demonstration: a server, bots, and a report.
func runCommand(ctx context.Context, args []string, out io.Writer) error {
	var opts runOptions
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.DurationVar(&opts.duration, "duration", 0, "how long the bots play; 0: until interrupted")
	fs.IntVar(&opts.bots, "bots", 64, "how many bots play")
	game := addGameFlag(fs)
	record := fs.String("record", "", "folder for a recording of each room's game, which `xrudp replay` verifies")
	addRateFlag(fs, &opts.rate)
	fs.StringVar(&opts.mode, "mode", "auto", "of the server: auto, xdp, native, generic or udp")
	asJSON := fs.Bool("json", false, "print one JSON object at the end and nothing else")
	addProfileFlag(fs, &opts.profile)
	opts.path = addPathFlags(fs)
	if err := parse(fs, args); err != nil {
		return err
	}
	opts.game, opts.flags = *game, []string{"--truth"}
	if *record != "" {
		opts.flags = append(opts.flags, "--record-dir", *record)
	}
	spoiled, err := opts.path.conditions()
	if err != nil {
		return err
	}
	notes := out
	if *asJSON {
		notes = io.Discard
	}
	var spoil *impair.Options
	if opts.path.given() {
		spoil = &impair.Options{ToServer: spoiled, ToClient: spoiled}
	}
	at, err := newPlace(spoil)
	if err != nil {
		return err
	}
	fmt.Fprintf(notes, "network: %v\n", at)
	result, err := play(ctx, opts, at, notes)
	if err = errors.Join(err, at.close()); err != nil {
		return err
	}
	if *asJSON {
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

// play runs server and bots until the bots have their verdict. Both have ended
// when it returns.
func play(ctx context.Context, opts runOptions, at *place, notes io.Writer) (r runResult, err error) {
	status := child.Lines(func(line string) { fmt.Fprintf(notes, "server %s\n", line) })
	s, err := at.start(ctx, opts.mode, status, notes, opts.flags...)
	if err != nil {
		return r, err
	}
	r.Serving = s.serving
	fmt.Fprintf(notes, "server: %s\n", describe(r.Serving))
	if at.stage != nil {
		fmt.Fprintf(notes, "path: %v\n", opts.path)
	}
	found, err := playBots(ctx, opts, at, s, notes)
	if err != nil {
		s.finish()
		return r, err
	}
	r.Bots, r.Path = found.played, found.Path
	if at.stage != nil {
		r.Path = &pathResult{opts.path.String(), at.stage.Stats(impair.ToServer), at.stage.Stats(impair.ToClient)}
	}
	if r.Server, err = s.finish(); err != nil {
		return r, err
	}
	if r.Server.ReliableAccepted > 0 {
		r.KernelShare = float64(r.Server.KernelAcked) / float64(r.Server.ReliableAccepted)
	}
	return r, nil
}

// playBots runs `xrudp bots` on the clients' side and returns its verdict. An
// interrupt reaches the bots first, who then leave in order.
func playBots(ctx context.Context, opts runOptions, at *place, s *server, notes io.Writer) (result botsResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return result, fmt.Errorf("find this program: %w", err)
	}
	args := []string{
		"bots", "--json", "--game", opts.game, "--server", s.at(opts.profile), "--profile", opts.profile.String(), "--bots", strconv.Itoa(opts.bots),
		"--duration", opts.duration.String(), "--rate", strconv.FormatFloat(opts.rate, 'g', -1, 64),
	}
	if at.stage == nil {
		args = append(args, opts.path.arguments()...)
	}
	cmd := exec.Command(self, args...)
	var verdict bytes.Buffer
	cmd.Stdout = &verdict
	var last string
	cmd.Stderr = child.Lines(func(line string) {
		last = line
		fmt.Fprintln(notes, line)
	})
	p, err := child.Start(cmd, at.clients())
	if err != nil {
		return result, err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		_ = p.Stop(botsPatience)
	case <-s.Done():
		_ = p.Stop(time.Second) // there is nothing left to wait for
		return result, s.Died()
	}
	if json.Unmarshal(verdict.Bytes(), &result) != nil {
		return result, fmt.Errorf("bots came to no verdict: %s", last)
	}
	return result, nil
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

// writeRun prints the report for people.
func writeRun(out io.Writer, r runResult) {
	fmt.Fprintf(out, "\nserver: %s\n", describe(r.Serving))
	fmt.Fprintf(out, "  reliable data packets        %d accepted, %d acknowledged in the kernel: %.2f%%\n",
		r.Server.ReliableAccepted, r.Server.KernelAcked, 100*r.KernelShare)
	r.Path.write(out)
	writePlayed(out, r.Bots)
}
