//go:build !linux

package impair

import (
	"context"

	"github.com/xrudp/xrudp/loader/lab"
)

// Stage carries frames between the ends of a lab, which only Linux has.
type Stage struct{}

// Start reports lab.ErrUnavailable.
func Start(context.Context, *lab.Lab, Options) (*Stage, error) {
	return nil, lab.ErrUnavailable
}

// Set changes nothing.
func (s *Stage) Set(Direction, Conditions) {}

// Stats has nothing to count.
func (s *Stage) Stats(Direction) Stats { return Stats{} }

// Close has nothing to end.
func (s *Stage) Close() error { return nil }
