package loader

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
)

// nobody is a user without capabilities.
const nobody = 65534

// TestMain lets the test binary act as an unprivileged server.
func TestMain(m *testing.M) {
	if root := os.Getenv("XRUDP_TEST_UNPRIVILEGED"); root != "" {
		opts := Options{Interface: lab.ServerInterface, PinRoot: root, Ports: []uint16{7777}, Require: true}
		_, _, err := Open(opts)
		fmt.Println(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestPermissionErrors(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	tests := []struct {
		name  string
		chown bool // the pin root belongs to the user
	}{
		{"no_access_to_pins", false},
		{"no_capabilities", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opts := testOptions(t, l.Server.Interface)
			if err := os.Mkdir(opts.PinRoot, 0o700); err != nil {
				t.Fatal(err)
			}
			if tt.chown {
				openTo(t, filepath.Dir(opts.PinRoot))
				if err := os.Chown(opts.PinRoot, nobody, nobody); err != nil {
					t.Fatal(err)
				}
			}
			said := openAsNobody(t, l, opts.PinRoot)
			if strings.Count(said, "\n") != 1 || !strings.Contains(said, "XDP needs root, or CAP_BPF and CAP_NET_ADMIN") {
				t.Errorf("error reads %q", said)
			}
			entries, err := os.ReadDir(opts.PinRoot)
			if err != nil || len(entries) != 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
			if d := deviceOf(t, l); d.xdpID != 0 {
				t.Errorf("program %d is attached", d.xdpID)
			}
		})
	}
}

// openTo lets everybody pass through a folder during the test.
func openTo(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, info.Mode().Perm()|0o011); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, info.Mode().Perm()) })
}

// openAsNobody returns what Open says to a user without capabilities.
func openAsNobody(t *testing.T, l *lab.Lab, root string) string {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	// By descriptor: the folder of the test binary may be closed to others.
	cmd := exec.CommandContext(t.Context(), "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = append(os.Environ(), "XRUDP_TEST_UNPRIVILEGED="+root)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := l.Server.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	return said.String()
}
