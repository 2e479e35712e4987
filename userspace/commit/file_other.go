//go:build !linux

package commit

import (
	"errors"
	"fmt"
)

// OpenFile needs Linux; elsewhere only NewMemory is there.
func OpenFile(path string, g Geometry) (r *Regions, fresh bool, close func() error, err error) {
	return nil, false, nil, fmt.Errorf("open commit file: %w", errors.ErrUnsupported)
}
