// Command xrudpd is the server: it attaches the XDP gate where it can, and runs
// games behind it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/xrudp/xrudp/userspace/commit"
)

const usage = `usage: xrudpd [run] [flags]                  serve until SIGINT or SIGTERM
       xrudpd check --iface NAME [--json]  what this machine and interface can do
       xrudpd version

Flags of run:
`

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(dispatch(os.Args[1:])) }

func dispatch(args []string) int {
	command := "run"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	var err error
	switch command {
	case "run":
		err = run(args)
	case "check":
		err = check(args)
	case "version":
		fmt.Println(version())
	case "help":
		help(os.Stdout)
	default:
		err = usageError(fmt.Sprintf("%q is not a command; known are run, check, version and help", command))
	}
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &wrong):
		fmt.Fprintln(os.Stderr, "xrudpd:", err)
		return exitUsage
	default:
		fmt.Fprintln(os.Stderr, "xrudpd:", err)
		return exitFailed
	}
}

// usageError is a mistake in how the command was called.
type usageError string

func (e usageError) Error() string { return string(e) }

// parse reads flags and refuses anything else.
func parse(fs *flag.FlagSet, args []string) error {
	fs.SetOutput(io.Discard)
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		help(os.Stdout)
		return err
	case err != nil:
		return usageError(err.Error())
	case fs.NArg() > 0:
		return usageError(fmt.Sprintf("argument %q is unexpected; flags begin with --", fs.Arg(0)))
	}
	return nil
}

func help(w io.Writer) {
	fmt.Fprint(w, usage)
	fs := runFlags(new(options))
	fs.SetOutput(w)
	fs.PrintDefaults()
}

func version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("xrudpd %s, %s, %s/%s, memory schema %d", v, runtime.Version(), runtime.GOOS, runtime.GOARCH, commit.SchemaVersion)
}
