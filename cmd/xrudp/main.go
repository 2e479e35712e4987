// Command xrudp plays against a server, checks it and measures it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// command is one sub-command. Its error is printed; errNotClean is a verdict
// that was printed already.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, out io.Writer) error
}

func commands() []command {
	return []command{
		{"run", "a server, bots that check every message, and a report", runCommand},
		{"bots", "play on a server and check what it delivers", botsCommand},
		{"replay", "play recorded games again, and see whether they come out the same", replayCommand},
		{"rooms", "list the rooms of a game on a server", roomsCommand},
		{"bench", "measure: echo, kernel-ack, relay, room, sim, tcp", benchCommand},
		{"version", "print the version", versionCommand},
		{"help", "print this list", helpCommand},
	}
}

// errNotClean ends a command whose verdict is bad.
var errNotClean = errors.New("not clean")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once, but not a copy: timeout(1) sends
	// one to the process and one to its group.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	os.Exit(dispatch(ctx, os.Args[1:], os.Stdout))
}

func dispatch(ctx context.Context, args []string, out io.Writer) int {
	if len(args) == 0 {
		args = []string{"help"}
	}
	name := strings.TrimLeft(args[0], "-")
	for _, c := range commands() {
		if c.name != name && !(c.name == "help" && name == "h") {
			continue
		}
		switch err := c.run(ctx, args[1:], out); {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errNotClean):
			return 1
		case errors.Is(err, errUsage):
			return 2
		default:
			fmt.Fprintf(os.Stderr, "xrudp %s: %v\n", c.name, err)
			return 1
		}
	}
	fmt.Fprintf(os.Stderr, "xrudp: there is no command %q; `xrudp help` lists them\n", args[0])
	return 2
}

// errUsage ends a command that was called wrongly; flag has said how.
var errUsage = errors.New("wrong usage")

// parse reads flags and refuses anything behind them.
func parse(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(os.Stderr)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "xrudp %s: unexpected %q\n", fs.Name(), fs.Arg(0))
		return errUsage
	}
	return nil
}

func helpCommand(_ context.Context, _ []string, out io.Writer) error {
	fmt.Fprint(out, "usage: xrudp <command> [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(out, "  %-8s  %s\n", c.name, c.summary)
	}
	fmt.Fprint(out, "\n`xrudp <command> -h` lists the flags of a command.\n")
	return nil
}

func versionCommand(_ context.Context, args []string, out io.Writer) error {
	if err := parse(flag.NewFlagSet("version", flag.ContinueOnError), args); err != nil {
		return err
	}
	version := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		version = info.Main.Version
	}
	fmt.Fprintf(out, "xrudp %s %s/%s %s\n", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
	return nil
}

// printJSON prints v as one object on one line.
func printJSON(out io.Writer, v any) error {
	return json.NewEncoder(out).Encode(v)
}
