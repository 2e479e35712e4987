// Package monotime reads the clock that the engine's timestamps are made of.
//
// On Linux the time base is CLOCK_MONOTONIC, the one behind bpf_ktime_get_ns,
// so that times written by XDP and times read here compare. Elsewhere the base
// is arbitrary and only differences mean something.
package monotime

import "time"

var (
	start = time.Now()
	base  = measure()
)

// Now is the time in nanoseconds, never zero. It may be called from anywhere
// and makes no system call where the platform has a vDSO.
//
// The Go runtime reads the same clock as the kernel does but only reveals
// differences, hence the base found once at start.
func Now() uint64 {
	return base + uint64(time.Since(start))
}
