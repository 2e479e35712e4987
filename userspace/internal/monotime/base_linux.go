package monotime

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

// rounds is how often the two clocks are compared. One undisturbed comparison
// is enough; the others cover a preemption or a page fault in between.
const rounds = 32

// measure finds CLOCK_MONOTONIC at start. Of several comparisons the one whose
// two outer readings lie closest together has the smallest error.
func measure() uint64 {
	var (
		best uint64
		gap  = time.Duration(math.MaxInt64)
	)
	for range rounds {
		before := time.Since(start)
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			panic("read CLOCK_MONOTONIC: " + err.Error())
		}
		after := time.Since(start)
		if after-before < gap {
			gap = after - before
			best = uint64(ts.Nano()) - uint64(before+gap/2)
		}
	}
	return best
}
