// Package labtest gives tests a lab, or skips them where the system cannot
// host one.
package labtest

import (
	"errors"
	"os"
	"testing"

	"github.com/xrudp/xrudp/loader/lab"
)

// New returns a lab that is taken down with the test. The BPF file system is
// mounted. Where that is impossible the test is skipped with the reason, or
// fails if XRUDP_REQUIRE_XDP=1 is set.
func New(tb testing.TB, opts lab.Options) *lab.Lab {
	tb.Helper()
	Root(tb)
	l, err := lab.New(opts)
	if err != nil {
		if errors.Is(err, lab.ErrUnavailable) {
			Unavailable(tb, err.Error())
		}
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Errorf("close lab: %v", err)
		}
	})
	return l
}

// Root makes sure that the test runs as root with the BPF file system mounted.
func Root(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		Unavailable(tb, "needs root")
	}
	if err := lab.MountBPFFS(); err != nil {
		Unavailable(tb, err.Error())
	}
}

// Unavailable skips the test for reason, or fails it if XRUDP_REQUIRE_XDP=1 is
// set.
func Unavailable(tb testing.TB, reason string) {
	tb.Helper()
	if os.Getenv("XRUDP_REQUIRE_XDP") == "1" {
		tb.Fatalf("XRUDP_REQUIRE_XDP=1, but: %s", reason)
	}
	tb.Skipf("no XDP here: %s", reason)
}
