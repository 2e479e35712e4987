package monotime

import (
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel's reading must fall between two of ours, give or take the error
// of the base; a different clock would be off by far more.
func TestNowIsClockMonotonic(t *testing.T) {
	const tolerance = 100_000

	var ts unix.Timespec
	before := Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	after := Now()

	kernel := uint64(ts.Nano())
	if kernel+tolerance < before || kernel > after+tolerance {
		t.Errorf("CLOCK_MONOTONIC %d is outside [%d, %d]", kernel, before, after)
	}
}
