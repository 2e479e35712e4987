package numa

import (
	"runtime"
	"slices"
	"testing"
)

func TestPin(t *testing.T) {
	runtime.LockOSThread() // for good: the thread ends with the test

	before, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	last := before[len(before)-1]
	if err := Pin(last); err != nil {
		t.Fatal(err)
	}
	now, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(now, []int{last}) {
		t.Errorf("allowed CPUs after pinning to %d: %v", last, now)
	}
	if err := Pin(maxCPU); err == nil {
		t.Error("pinning to a CPU that cannot exist succeeded")
	}
}

func TestReadLoopback(t *testing.T) {
	topology, err := Read("lo")
	if err != nil {
		t.Fatal(err)
	}
	if len(topology.Allowed) == 0 || len(topology.Near) != 0 || len(topology.Interrupt) != 0 {
		t.Errorf("got %+v, want allowed CPUs only", topology)
	}
}
