//go:build !linux

package numa

import "runtime"

// Allowed lists one CPU for each that the Go runtime may use.
func Allowed() ([]int, error) {
	cpus := make([]int, runtime.NumCPU())
	for i := range cpus {
		cpus[i] = i
	}
	return cpus, nil
}

// Pin reports ErrNotSupported.
func Pin(int) error { return ErrNotSupported }

// Node is always NoNode.
func Node(string) int { return NoNode }

// Read knows the allowed CPUs only.
func Read(string) (Topology, error) {
	allowed, err := Allowed()
	return Topology{Allowed: allowed}, err
}
