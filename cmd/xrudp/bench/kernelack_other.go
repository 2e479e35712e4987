//go:build !linux

package bench

import (
	"context"
	"errors"
)

// KernelAck needs Linux.
func KernelAck(context.Context, KernelAckOptions) (*KernelAckResult, error) {
	return nil, errors.New("measure acknowledgements: XDP needs Linux")
}
