package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/metrics"
)

// childEnv holds the setup of a server that this binary is to be.
const childEnv = "XRUDP_E2E_SERVER"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := serve(text, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// status is what a child answers to each line.
type status struct {
	Reused   bool
	Stalled  uint64
	Outcomes [gate.OutcomeMax]uint64
	Workers  metrics.Snapshot
}

// serve is the life of a child: it answers each line with its status. A line
// "stall <duration>" makes a handler sleep, "stall-large <duration>" one that got
// a message larger than a packet; the end of input is the end.
func serve(text string, in io.Reader, out io.Writer) error {
	var cfg setup
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	s, err := openServer(cfg)
	if err != nil {
		return err
	}
	answer := func() error {
		st := status{Reused: s.reused, Stalled: s.log.stalled.Load()}
		var err error
		if st.Outcomes, err = s.outcomes(); err != nil {
			return err
		}
		s.group.Collect(&st.Workers)
		return json.NewEncoder(out).Encode(&st)
	}
	if err := answer(); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if what, d, ok := strings.Cut(lines.Text(), " "); ok {
			length, err := time.ParseDuration(d)
			if err != nil {
				return err
			}
			s.log.large.Store(what == "stall-large")
			s.log.stall.Store(int64(length))
		}
		if err := answer(); err != nil {
			return err
		}
	}
	if err := s.stop(3 * time.Second); err != nil {
		return err
	}
	return s.close()
}

// child is a server in a process of its own.
type child struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	stderr  strings.Builder
	started status
	gone    bool
}

// start runs a server, in the namespace unless that is nil, and waits until it
// serves.
func start(t *testing.T, ns *lab.Namespace, cfg setup) *child {
	t.Helper()
	text, err := json.Marshal(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(path)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	c.cmd.Stderr = &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	run := c.cmd.Start
	if ns != nil {
		run = func() error { return ns.Start(c.cmd) }
	}
	if err := run(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	c.started = c.read()
	return c
}

func (c *child) read() (s status) {
	c.t.Helper()
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		c.kill()
		c.t.Fatalf("server: %v: %s", err, c.stderr.String())
	}
	return s
}

// ask sends a line and returns the answer.
func (c *child) ask(format string, args ...any) status {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		c.t.Fatalf("server: %v", err)
	}
	return c.read()
}

// stall makes the handler of the next message sleep, of those larger than a
// packet with large, and returns when it does.
func (c *child) stall(length time.Duration, large bool) {
	c.t.Helper()
	before := c.ask("status").Stalled
	command := "stall"
	if large {
		command = "stall-large"
	}
	c.ask("%s %v", command, length)
	eventually(c.t, "a stalled handler", func() bool { return c.ask("status").Stalled > before })
}

// kill ends the server in the midst of whatever it does.
func (c *child) kill() {
	if !c.gone {
		c.gone = true
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// quit has the server end in order.
func (c *child) quit() {
	c.t.Helper()
	c.gone = true
	_ = c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("server: %v: %s", err, c.stderr.String())
	}
}
