//go:build !linux

package bench

import (
	"context"
	"errors"
	"time"
)

func relayLoad(context.Context, RelayServers, *RelayServer, int, RelayOptions) (*RelayRoom, error) {
	return nil, errors.New("the load generator needs Linux")
}

// Pin does nothing: CPUs are not told apart elsewhere.
func Pin(int, int) error { return nil }

// CPUTime is not known elsewhere.
func CPUTime(int) time.Duration { return 0 }

// ThreadCPUTime is not known elsewhere.
func ThreadCPUTime([]int) time.Duration { return 0 }
