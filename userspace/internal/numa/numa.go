// Package numa finds out which CPUs a process may use, which of them are near
// a NIC, and pins threads to them.
//
// On platforms without the necessary interfaces every question is answered
// with "unknown", and pinning reports ErrNotSupported.
package numa

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrNotSupported is wrapped by errors of platforms without CPU affinity.
var ErrNotSupported = errors.New("CPU affinity needs Linux")

// NoNode is the node of a device that has none, such as a virtual one, or of
// any device on a machine with a single node.
const NoNode = -1

// Topology is what Choose needs to know.
type Topology struct {
	Allowed   []int // CPUs this process may run on, ascending
	Near      []int // CPUs on the NIC's node; empty when unknown
	Interrupt []int // CPUs that take the NIC's interrupts; empty when unknown
}

// Choose picks n CPUs for workers, best first: near the NIC and free of its
// interrupts, then near, then free of interrupts, then any. With more workers
// than CPUs, CPUs repeat. It returns nil when no CPU is allowed.
//
// The CPU that takes the NIC's interrupts does the receive work of XDP, and a
// worker there competes with it for time.
func Choose(t Topology, n int) []int {
	if len(t.Allowed) == 0 {
		return nil
	}
	distance := func(cpu int) int {
		d := 0
		if len(t.Near) > 0 && !slices.Contains(t.Near, cpu) {
			d += 2
		}
		if slices.Contains(t.Interrupt, cpu) {
			d++
		}
		return d
	}
	order := slices.Clone(t.Allowed)
	slices.SortStableFunc(order, func(a, b int) int { return distance(a) - distance(b) })

	cpus := make([]int, n)
	for i := range cpus {
		cpus[i] = order[i%len(order)]
	}
	return cpus
}

// parseList reads the kernel's list format, such as "0-3,8,10-11".
func parseList(s string) ([]int, error) {
	var cpus []int
	s = strings.TrimSpace(s)
	if s == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		low, high, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(low, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("parse CPU list %q: %w", s, err)
		}
		last := first
		if isRange {
			if last, err = strconv.ParseUint(high, 10, 16); err != nil {
				return nil, fmt.Errorf("parse CPU list %q: %w", s, err)
			}
		}
		if last < first {
			return nil, fmt.Errorf("parse CPU list %q: range %s is reversed", s, part)
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, int(cpu))
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}
