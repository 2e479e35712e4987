//go:build !linux

package bench

import "runtime"

func kernelRelease() string { return runtime.GOOS }

func cpuModel() string { return "unknown CPU" }
