//go:build !linux

package lab

import (
	"fmt"
	"os/exec"
)

// Namespace is a network namespace, which only Linux has.
type Namespace struct{}

// Do runs nothing and reports ErrUnavailable.
func (n *Namespace) Do(func() error) error { return ErrUnavailable }

// DoWithSysfs runs nothing and reports ErrUnavailable.
func (n *Namespace) DoWithSysfs(func() error) error { return ErrUnavailable }

// Start starts nothing and reports ErrUnavailable.
func (n *Namespace) Start(*exec.Cmd) error { return ErrUnavailable }

// Close has nothing to give up.
func (n *Namespace) Close() error { return nil }

// Lab is a running pair.
type Lab struct {
	Server End
	Client End
	Middle *Middle
	MTU    int
}

// New reports ErrUnavailable.
func New(Options) (*Lab, error) {
	return nil, fmt.Errorf("build lab: %w: needs Linux", ErrUnavailable)
}

// Close has nothing to take down.
func (l *Lab) Close() error { return nil }

// MountBPFFS reports ErrUnavailable.
func MountBPFFS() error {
	return fmt.Errorf("mount BPF file system: %w: needs Linux", ErrUnavailable)
}
