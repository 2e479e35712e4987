package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudp/child"
	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/impair"
	"github.com/xrudp/xrudp/loader/lab/labtest"
	"github.com/xrudp/xrudp/userspace/client"
	"github.com/xrudp/xrudp/userspace/game/plaza"
	"github.com/xrudp/xrudp/userspace/message"
)

var xrudp string // the program, with xrudpd beside it

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "xrudp-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	xrudp = filepath.Join(dir, "xrudp")
	code := 1
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/", "github.com/xrudp/xrudp/cmd/...").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// prepare returns a command that runs xrudp with a temporary folder of its
// own, which tells whether it cleaned up.
func prepare(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	cmd = exec.Command(xrudp, args...)
	temp := t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	t.Cleanup(func() {
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("left in the temporary folder: %v, %v", left, err)
		}
	})
	return cmd, stdout, stderr
}

// expectNoPins fails if an instance of a run is still pinned.
func expectNoPins(t *testing.T, pid int) {
	t.Helper()
	left, err := filepath.Glob("/sys/fs/bpf/xrudp/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range left {
		if strings.HasSuffix(path, fmt.Sprintf("run-%d-1", pid)) {
			t.Errorf("still pinned: %s", path)
		}
	}
}

func TestRun(t *testing.T) {
	tests := []struct {
		name  string
		game  string
		mode  string
		xdp   bool
		share float64 // acknowledged in the kernel
	}{
		{"sockets", heistGame, "udp", false, 0},
		{"xdp", heistGame, "native", true, 1},
		{"generic", heistGame, "generic", true, 1},
		{"plaza_sockets", plazaGame, "udp", false, 0},
		{"plaza_xdp", plazaGame, "native", true, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.xdp {
				labtest.New(t, lab.Options{}) // or skips
			}
			cmd, stdout, stderr := prepare(t, "run", "--game", tt.game, "--duration", "1s", "--bots", "8", "--mode", tt.mode, "--json")
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s%s", err, stdout, stderr)
			}
			var r runResult
			decoder := json.NewDecoder(stdout)
			if err := decoder.Decode(&r); err != nil {
				t.Fatal(err)
			}
			if decoder.More() {
				t.Error("more than one object on standard output")
			}
			if !r.Bots.Clean || r.Bots.Sent == 0 || r.Serving.Mode != tt.mode || r.KernelShare != tt.share {
				t.Errorf("result %+v", r)
			}
			if r.Server.ReliableAccepted == 0 {
				t.Error("no reliable packet accepted")
			}
			if f := r.Bots.Heist; (f != nil) != (tt.game == heistGame) || f != nil && (!f.Truth || f.Samples == 0 || f.Snapshots == 0) {
				t.Errorf("of the game %+v", f)
			}
			expectNoPins(t, cmd.Process.Pid)
		})
	}
}

// A path that loses, delays, reorders, doubles and damages packets changes
// nothing about the verdict.
func TestRunOnBadPath(t *testing.T) {
	tests := []struct {
		name, game, mode string
		xdp              bool
	}{
		{"sockets", heistGame, "udp", false},
		{"xdp", heistGame, "native", true},
		{"generic", heistGame, "generic", true},
		{"plaza_sockets", plazaGame, "udp", false},
		{"plaza_xdp", plazaGame, "native", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.xdp {
				labtest.New(t, lab.Options{}) // or skips
			}
			cmd, stdout, stderr := prepare(t, "run", "--game", tt.game, "--duration", "2s", "--bots", "8", "--rate", "10",
				"--mode", tt.mode, "--json", "--loss", "5%", "--delay", "10ms", "--jitter", "2ms",
				"--reorder", "0.05", "--duplicate", "2%", "--corrupt", "2%", "--bandwidth", "20mbit", "--mtu", "1280")
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v\n%s%s", err, stdout, stderr)
			}
			var r runResult
			if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if !r.Bots.Clean || r.Bots.Sent == 0 || r.Serving.Mode != tt.mode {
				t.Errorf("result %+v", r)
			}
			checkPath(t, r.Path)
			expectNoPins(t, cmd.Process.Pid)
		})
	}
}

func checkPath(t *testing.T, r *pathResult) {
	t.Helper()
	if r == nil {
		t.Fatal("nothing is said of the path")
	}
	for _, s := range []impair.Stats{r.ToServer, r.ToClients} {
		if s.Lost == 0 || s.Duplicated == 0 || s.Corrupted == 0 || s.Missed+s.TooLong+s.Unsent+s.Refused > 0 {
			t.Errorf("path: %+v", s)
		}
	}
}

// Bots that were given a server spoil the path to it themselves.
func TestBotsOnBadPath(t *testing.T) {
	for _, game := range []string{heistGame, plazaGame} {
		t.Run(game, func(t *testing.T) {
			server := startUDP(t, "--truth")
			cmd, stdout, stderr := prepare(t, "bots", "--game", game, "--server", server, "--duration", "1s", "--bots", "4",
				"--rate", "20", "--loss", "0.05", "--delay", "5ms", "--duplicate", "5%", "--corrupt", "5%", "--json", "--quiet")
			if err := cmd.Run(); err != nil {
				t.Errorf("%v\n%s%s", err, stdout, stderr)
			}
			var r botsResult
			if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			if !r.Clean || r.Sent == 0 || r.Server != server || r.RTTMicros < 10_000 {
				t.Errorf("result %+v", r.Result)
			}
			checkPath(t, r.Path)
		})
	}
}

// A server that keeps its secrets is checked as far as that goes, and the verdict
// says so.
func TestBotsWithoutTruth(t *testing.T) {
	cmd, stdout, stderr := prepare(t, "bots", "--server", startUDP(t), "--duration", "1s", "--bots", "4", "--quiet")
	if err := cmd.Run(); err != nil {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	if want := "CLEAN, as far as can be told without the truth"; !strings.Contains(stdout.String(), want) {
		t.Errorf("output lacks %q:\n%s", want, stdout)
	}
}

// What a run records replays; what somebody has changed since does not.
func TestReplay(t *testing.T) {
	dir := t.TempDir()
	cmd, stdout, stderr := prepare(t, "run", "--mode", "udp", "--duration", "2s", "--bots", "4", "--json", "--record", dir)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	recordings, err := filepath.Glob(filepath.Join(dir, "*.xpt"))
	if err != nil || len(recordings) != 1 {
		t.Fatalf("recordings %v, %v", recordings, err)
	}
	cmd, stdout, stderr = prepare(t, "replay", "--json", recordings[0])
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	var r replayResult
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Ticks < 60 || r.Events < 4 || r.Hash == "" {
		t.Errorf("result %+v", r)
	}
	b, err := os.ReadFile(recordings[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(recordings[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, _, stderr = prepare(t, "replay", recordings[0])
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "replay diverged from the recording") {
		t.Errorf("%v: %s", err, stderr)
	}
}

// Who may come to a room of the server is told of it, in a table or as JSON.
func TestRooms(t *testing.T) {
	server := startUDP(t)
	list := func(args ...string) string {
		t.Helper()
		cmd, stdout, stderr := prepare(t, append([]string{"rooms", "--server", server}, args...)...)
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s%s", err, stdout, stderr)
		}
		return stdout.String()
	}
	if got, want := list(), "no rooms of plaza for everybody on "+server+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := client.Dial(ctx, server, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello, err := message.Append(nil, &message.Connect{Game: plaza.Name, Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(client.ReliableOrdered, plaza.ChannelRoom, message.TypeConnect, hello); err != nil {
		t.Fatal(err)
	}
	if m, err := conn.Receive(ctx); err != nil || m.Type != message.TypeConnected {
		t.Fatalf("answer to Connect: %+v, %v", m, err)
	}
	// The server makes its list anew a quarter of a second after the last.
	want := fmt.Sprintf(`{"server":%q,"game":"plaza","rooms":[{"room":1,"players":1,"places":65536}]}`+"\n", server)
	got := list("--json")
	for ctx.Err() == nil && got != want {
		got = list("--json")
	}
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := list("--game", plaza.Name), "  room  players  places\n     1        1   65536\n"; got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	cmd, _, stderr := prepare(t, "rooms", "--server", server, "--game", "chess")
	if err := cmd.Run(); err == nil || stderr.String() != "xrudp rooms: list rooms: no such game\n" {
		t.Errorf("another game: %v, %q", err, stderr)
	}
}

// startUDP runs a server on the loopback interface until the test ends, and
// returns its address.
func startUDP(t *testing.T, flags ...string) string {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + port
	cmd := exec.Command(filepath.Join(filepath.Dir(xrudp), "xrudpd"),
		append(flags, "--mode", "udp", "--listen", address, "--state-dir", t.TempDir())...)
	serving := make(chan struct{})
	var once sync.Once
	cmd.Stderr = child.Lines(func(line string) {
		if strings.Contains(line, `"message":"serving"`) {
			once.Do(func() { close(serving) })
		}
	})
	p, err := child.Start(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(10 * time.Second); err != nil {
			t.Errorf("stop server: %v", err)
		}
	})
	select {
	case <-serving:
	case <-p.Done():
		t.Fatalf("the server ended: %v", p.Err())
	}
	return address
}

// Ctrl-C ends everything in order, with a verdict.
func TestRunInterrupted(t *testing.T) {
	cmd, stdout, stderr := prepare(t, "run", "--bots", "8")
	both := make(chan struct{})
	var once sync.Once
	cmd.Stdout = child.Lines(func(line string) {
		fmt.Fprintln(stdout, line)
		// Either reports once per second, by its own clock.
		if said := stdout.String(); strings.Contains(said, "8/8 playing") && strings.Contains(said, "server packets/s") {
			once.Do(func() { close(both) })
		}
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-both:
	case <-time.After(time.Minute):
		t.Error("the server or the bots say nothing")
	}
	// Whoever sends a copy to the group as well wants to see the report nevertheless.
	for range 10000 {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	for _, want := range []string{"network: ", "server packets/s", "8/8 playing", "verdict", "CLEAN", "acknowledged in the kernel"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, stdout)
		}
	}
	expectNoPins(t, cmd.Process.Pid)
}

// When the server is killed the run ends soon, with the reason, and cleans up
// behind it.
func TestRunServerKilled(t *testing.T) {
	cmd, stdout, stderr := prepare(t, "run", "--bots", "8")
	var once sync.Once
	cmd.Stdout = child.Lines(func(line string) {
		fmt.Fprintln(stdout, line)
		if strings.Contains(line, "8/8 playing") {
			once.Do(func() { killChild(t, cmd.Process.Pid, "xrudpd") })
		}
	})
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the run ended with %v, want exit code 1", err)
	}
	if want := "server ended: signal: killed"; !strings.Contains(stderr.String(), want) {
		t.Errorf("standard error is %q, want %q", stderr, want)
	}
	expectNoPins(t, cmd.Process.Pid)
}

// killChild kills the child of a process whose program has the given name.
func killChild(t *testing.T, parent int, name string) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	if err != nil {
		t.Error(err)
	}
	for _, list := range lists {
		pids, err := os.ReadFile(list)
		if err != nil {
			continue // the thread ended
		}
		for _, pid := range strings.Fields(string(pids)) {
			comm, err := os.ReadFile("/proc/" + pid + "/comm")
			if err != nil || strings.TrimSpace(string(comm)) != name {
				continue
			}
			var number int
			if _, err := fmt.Sscan(pid, &number); err != nil {
				t.Error(err)
			}
			if err := syscall.Kill(number, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			return
		}
	}
	t.Errorf("no child named %s", name)
}

func TestUsage(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"help", []string{"help"}, 0, "bots", ""},
		{"nothing", nil, 0, "usage", ""},
		{"version", []string{"version"}, 0, "xrudp ", ""},
		{"flags_of_a_command", []string{"bots", "-h"}, 0, "", "-duration"},
		{"unknown_command", []string{"fly"}, 2, "", `no command "fly"`},
		{"unknown_flag", []string{"bots", "--wings"}, 2, "", "wings"},
		{"unknown_measurement", []string{"bench", "wind"}, 2, "", "kernel-ack"},
		{"unknown_controller", []string{"bench", "sim", "--controllers", "wishful"}, 1, "", "wishful"},
		{"no_trace", []string{"bench", "sim", "--trace", "/nowhere"}, 1, "", "open trace"},
		{"argument_left_over", []string{"run", "now"}, 2, "", `unexpected "now"`},
		{"bad_value", []string{"bots", "--bots", "-3"}, 1, "", "-3 bots"},
		{"loss_above_all", []string{"run", "--loss", "150%"}, 1, "", "xrudp run: --loss 150%: not a share of the packets from 0% to 100%, such as 5% or 0.05\n"},
		{"loss_without_percent", []string{"bots", "--loss", "5"}, 1, "", "--loss 5: not a share"},
		{"mtu_too_small", []string{"run", "--mtu", "1227"}, 1, "", "--mtu 1227: not an MTU from 1228"},
		{"loss_is_no_number", []string{"bots", "--loss", "NaN"}, 1, "", "--loss NaN: not a share"},
		{"delay_without_unit", []string{"run", "--delay", "20"}, 1, "", "xrudp run: --delay 20: not a time from 0s to 10s, such as 20ms\n"},
		{"jitter_below_zero", []string{"bots", "--jitter", "-1ms"}, 1, "", "--jitter -1ms: not a time"},
		{"bandwidth_without_unit", []string{"run", "--bandwidth", "20"}, 1, "", "xrudp run: --bandwidth 20: not a bandwidth from 8bit to 100gbit a second, such as 20mbit\n"},
		{"rate_for_bandwidth", []string{"run", "--rate", "20mbit"}, 2, "", "--bandwidth 20mbit"},
		{"rooms_of_nothing", []string{"rooms", "--game", ""}, 1, "", "--game"},
		{"no_server_to_list", []string{"rooms", "--server", "256.0.0.1:1"}, 1, "", "dial"},
		{"unknown_game", []string{"bots", "--game", "chess"}, 1, "", "--game chess: not policethief or plaza"},
		{"no_recording", []string{"replay"}, 2, "", "name the recordings"},
		{"recording_not_there", []string{"replay", "/nowhere"}, 1, "", "replay /nowhere"},
		{"nobody_there", []string{"bots", "--server", "256.0.0.1:1", "--bots", "2"}, 1, "", "dial"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd, stdout, stderr := prepare(t, tt.args...)
			code := 0
			var exit *exec.ExitError
			if err := cmd.Run(); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("output %q and %q, want %q and %q in it", stdout, stderr, tt.stdout, tt.stderr)
			}
		})
	}
}
