// Package bench measures what the README promises, so that everybody can
// repeat it: acknowledgements in the kernel against the bare floor, and round
// trips over XDP against ordinary sockets.
package bench

import (
	"fmt"
	"runtime"
	"slices"
)

// Machine says where numbers come from.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Arch   string `json:"arch"`
}

// ThisMachine describes the machine the program runs on.
func ThisMachine() Machine {
	return Machine{Kernel: kernelRelease(), CPU: cpuModel(), CPUs: runtime.NumCPU(), Arch: runtime.GOARCH}
}

// String is one line.
func (m Machine) String() string {
	return fmt.Sprintf("%s, %d CPUs (%s, %s)", m.Kernel, m.CPUs, m.CPU, m.Arch)
}

// median returns the middle of values, the mean of the two middle ones where
// their number is even, and 0 where there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
