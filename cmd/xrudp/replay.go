package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/xrudp/xrudp/userspace/game/policethief/rules"
)

// replayResult is what came of a recording.
type replayResult struct {
	File     string `json:"file"`
	Ticks    uint32 `json:"ticks"`
	Rounds   uint32 `json:"rounds"`
	Events   uint64 `json:"events"`
	Captures uint64 `json:"captures"`
	Hash     string `json:"hash"`
}

// replayCommand plays recordings of Police and Thief again, and fails where one comes
// out otherwise.
func replayCommand(_ context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("replay", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "print one JSON object for each recording")
	fs.SetOutput(os.Stderr)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if fs.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "xrudp replay: name the recordings, as xrudpd --record-dir made them")
		return errUsage
	}
	for _, path := range fs.Args() {
		r, err := replay(path)
		if err != nil {
			return fmt.Errorf("replay %s: %w", path, err)
		}
		if *asJSON {
			err = printJSON(out, r)
		} else {
			_, err = fmt.Fprintf(out, "%s: %d ticks, %d rounds, %d events, %d captures; the same again, state %s\n",
				r.File, r.Ticks, r.Rounds, r.Events, r.Captures, r.Hash)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func replay(path string) (r replayResult, err error) {
	recording, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	again, err := rules.NewReplay(recording)
	if err != nil {
		return r, err
	}
	r.Ticks, err = again.Run(func(e *rules.Event) {
		r.Events++
		switch {
		case e.Kind == rules.Captured:
			r.Captures++
		case e.Kind == rules.PhaseBegan && e.Phase == rules.Countdown:
			r.Rounds++
		}
	})
	if err != nil {
		return r, err
	}
	r.File = path
	r.Hash = fmt.Sprintf("%016x", again.Game().Hash())
	return r, nil
}
