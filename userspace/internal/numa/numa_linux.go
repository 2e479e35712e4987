package numa

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxCPU is one past the highest CPU a unix.CPUSet can name.
const maxCPU = 1024

// Allowed lists the CPUs that the calling thread may run on, ascending.
func Allowed() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("get CPU affinity: %w", err)
	}
	var cpus []int
	for cpu := range maxCPU {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// Pin binds the calling thread to one CPU. The caller has locked its goroutine
// to the thread.
func Pin(cpu int) error {
	if cpu < 0 || cpu >= maxCPU {
		return fmt.Errorf("pin thread to CPU %d: %w", cpu, unix.EINVAL)
	}
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin thread to CPU %d: %w", cpu, err)
	}
	return nil
}

// Node is the NUMA node of a network interface, or NoNode.
func Node(iface string) int {
	text, err := os.ReadFile(filepath.Join("/sys/class/net", filepath.Base(iface), "device/numa_node"))
	if err != nil {
		return NoNode
	}
	node, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || node < 0 {
		return NoNode
	}
	return node
}

// Read finds out the topology around an interface. Only the allowed CPUs are
// certain: what the kernel does not tell stays empty.
func Read(iface string) (Topology, error) {
	allowed, err := Allowed()
	if err != nil {
		return Topology{}, err
	}
	t := Topology{Allowed: allowed}
	if node := Node(iface); node != NoNode {
		path := fmt.Sprintf("/sys/devices/system/node/node%d/cpulist", node)
		if near, err := readList(path); err == nil {
			t.Near = near
		}
	}
	t.Interrupt = interruptCPUs(iface)
	return t, nil
}

// interruptCPUs lists where the kernel delivers the interrupts of a NIC.
// Virtual devices have none.
func interruptCPUs(iface string) []int {
	irqs, err := os.ReadDir(filepath.Join("/sys/class/net", filepath.Base(iface), "device/msi_irqs"))
	if err != nil {
		return nil
	}
	var cpus []int
	for _, irq := range irqs {
		list, err := readList(filepath.Join("/proc/irq", irq.Name(), "effective_affinity_list"))
		if err != nil {
			continue
		}
		cpus = append(cpus, list...)
	}
	slices.Sort(cpus)
	return slices.Compact(cpus)
}

func readList(path string) ([]int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read CPU list: %w", err)
	}
	return parseList(string(text))
}
