package worker

import (
	"fmt"
	"slices"

	"github.com/xrudp/xrudp/userspace/internal/numa"
)

// maxByDefault bounds the workers of a server that was not told how many.
const maxByDefault = 4

// ChooseCPUs picks a CPU for each of n workers, near the network interface and
// away from its interrupts where the machine allows. With n = 0 it also
// chooses how many: one CPU is left to the kernel if there are several.
func ChooseCPUs(iface string, n int) ([]int, error) {
	t, err := numa.Read(iface)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		n = max(1, min(maxByDefault, len(t.Allowed)-1))
	}
	return numa.Choose(t, n), nil
}

// CheckCPUs reports whether this process may run on each of the given CPUs.
func CheckCPUs(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	allowed, err := numa.Allowed()
	if err != nil {
		return err
	}
	for _, cpu := range cpus {
		if !slices.Contains(allowed, cpu) {
			return fmt.Errorf("cpus names CPU %d, but this process may run on %v only", cpu, allowed)
		}
	}
	return nil
}
