//go:build !linux

package bench

import (
	"runtime"
	"time"
)

func kernelRelease() string { return runtime.GOOS }

func cpuModel() string { return "unknown CPU" }

// onCPU runs f: CPUs are not told apart elsewhere.
func onCPU(_ int, f func() error) error { return f() }

// threadTime is not known elsewhere.
func threadTime() time.Duration { return 0 }
