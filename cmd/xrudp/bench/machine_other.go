//go:build !linux

package bench

import "runtime"

func kernelRelease() string { return runtime.GOOS }

func cpuModel() string { return "unknown CPU" }

// onCPU runs f: CPUs are not told apart elsewhere.
func onCPU(_ int, f func() error) error { return f() }
