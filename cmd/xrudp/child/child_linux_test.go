package child

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLines(t *testing.T) {
	tests := []struct {
		name   string
		writes []string
		want   []string
	}{
		{"whole", []string{"a\nb\n"}, []string{"a", "b"}},
		{"in_pieces", []string{"a", "b\nc", "\n"}, []string{"ab", "c"}},
		{"empty_line", []string{"\n\n"}, []string{"", ""}},
		{"unfinished", []string{"a\nb"}, []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			w := Lines(func(line string) { got = append(got, line) })
			for _, b := range tt.writes {
				if n, err := w.Write([]byte(b)); n != len(b) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("lines %q, want %q", got, tt.want)
			}
		})
	}
}

func shell(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

func TestProcess(t *testing.T) {
	tests := []struct {
		name, script string
		grace        time.Duration
		wantErr      string
	}{
		{"ends_in_order", `trap 'exit 0' INT; echo ready; while :; do sleep 0.01; done`, 10 * time.Second, ""},
		{"ends_badly", `trap 'exit 3' INT; echo ready; while :; do sleep 0.01; done`, 10 * time.Second, "exit status 3"},
		{"does_not_end", `trap '' INT; echo ready; while :; do sleep 0.01; done`, 50 * time.Millisecond, "was killed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := shell(tt.script)
			ready := make(chan struct{})
			cmd.Stdout = Lines(func(string) { close(ready) })
			p, err := Start(cmd, nil)
			if err != nil {
				t.Fatal(err)
			}
			<-ready
			err = p.Stop(tt.grace)
			if got := errText(err); (tt.wantErr == "") != (err == nil) || !strings.Contains(got, tt.wantErr) {
				t.Errorf("Stop = %q, want %q", got, tt.wantErr)
			}
			select {
			case <-p.Done():
			default:
				t.Error("the process is not done")
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestStartFails(t *testing.T) {
	if _, err := Start(exec.Command("/nowhere/at-all"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start = %v, want %v", err, os.ErrNotExist)
	}
}

// fakeServer puts a script in the place of xrudpd. It finds its summary file
// in $4.
func fakeServer(t *testing.T, script string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(self), "xrudpd")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
}

func TestServer(t *testing.T) {
	fakeServer(t, `trap 'echo "{\"mode\":\"native\",\"reliable_accepted\":7,\"kernel_acked\":6}" > $4; exit 0' INT
echo '{"level":"warn","message":"small pages","error":"none huge"}' >&2
echo '{"level":"info","message":"serving","mode":"native","af_xdp":"copy","reasons":["r1"]}' >&2
while :; do sleep 0.01; done`)
	var log bytes.Buffer
	s, err := StartServer(ServerOptions{Log: &log})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Ready(context.Background())
	if err != nil || got.Mode != "native" || got.AFXDP != "copy" || !slices.Equal(got.Reasons, []string{"r1"}) {
		t.Errorf("Ready = %+v, %v", got, err)
	}
	sum, err := s.Finish(10 * time.Second)
	if want := (Summary{Mode: "native", ReliableAccepted: 7, KernelAcked: 6}); err != nil || sum != want {
		t.Errorf("Finish = %+v, %v, want %+v", sum, err, want)
	}
	if want := "server: small pages: none huge\n"; log.String() != want {
		t.Errorf("log %q, want %q", &log, want)
	}
	if _, err := os.Stat(s.folder); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state folder is left: %v", err)
	}
}

func TestServerThatDies(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"says_why", `echo "xrudpd: no such interface" >&2; exit 1`, "no such interface"},
		{"logs_why", `echo '{"level":"error","message":"attach","error":"refused"}' >&2; exit 1`, "attach: refused"},
		{"says_nothing", `exit 7`, "exit status 7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fakeServer(t, tt.script)
			s, err := StartServer(ServerOptions{Log: &bytes.Buffer{}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Ready(context.Background()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Ready = %v, want %q", err, tt.want)
			}
			if _, err := s.Finish(time.Second); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Finish = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestBeside(t *testing.T) {
	if _, err := Beside("surely-not-there"); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("Beside = %v, want advice", err)
	}
}
