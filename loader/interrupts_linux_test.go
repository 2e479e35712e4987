package loader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xrudp/xrudp/loader/lab"
	"github.com/xrudp/xrudp/loader/lab/labtest"
)

func TestDeferInterrupts(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	iface := l.Server.Interface
	saved := filepath.Join(t.TempDir(), "default.interrupts")
	want := func(irqs, timeout string) {
		t.Helper()
		for name, value := range map[string]string{deferHardIRQs: irqs, groFlushTimeout: timeout} {
			if got, err := readAttribute(iface, name); err != nil || got != value {
				t.Errorf("%s is %q (%v), want %q", name, got, err, value)
			}
		}
	}
	err := l.Server.DoWithSysfs(func() error {
		// An operator's own settings come back, not the kernel's defaults.
		own := interruptSettings{Interface: iface, DeferHardIRQs: "1", FlushTimeout: "7000"}
		if err := own.write(); err != nil {
			return err
		}
		// Twice, as after a crash in between.
		for range 2 {
			if err := DeferInterrupts(iface, saved); err != nil {
				return err
			}
			want(polledHardIRQs, polledFlushTimeout)
		}
		for range 2 {
			if err := RestoreInterrupts(saved); err != nil {
				return err
			}
			want("1", "7000")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(saved); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("saved settings are left behind (%v)", err)
	}
}

// A device of the same name in another namespace is left alone.
func TestDeferInterruptsNeedsTheRightSysfs(t *testing.T) {
	l := labtest.New(t, lab.Options{})
	saved := filepath.Join(t.TempDir(), "default.interrupts")
	err := l.Server.Do(func() error { return DeferInterrupts(l.Server.Interface, saved) })
	if err == nil || !strings.Contains(err.Error(), "defer interrupts of "+l.Server.Interface) {
		t.Errorf("got %v", err)
	}
	err = l.Client.DoWithSysfs(func() error { return DeferInterrupts("lo", saved) })
	if err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("lo: %v", err)
	}
	if _, err := os.Stat(saved); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("settings were saved (%v)", err)
	}
	if err := RestoreInterrupts(saved); err != nil {
		t.Errorf("nothing saved: %v", err)
	}
}
