//go:build !linux

package bench

import (
	"context"
	"errors"
)

// TCP needs Linux.
func TCP(context.Context, TCPOptions) (*TCPResult, error) {
	return nil, errors.New("compare with TCP: network namespaces and XDP need Linux")
}
