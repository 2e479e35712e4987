//go:build !linux

package xsk

import (
	"errors"
	"fmt"

	"github.com/xrudp/xrudp/userspace/transport"
)

// ErrGone is returned once the network interface has been removed.
var ErrGone = errors.New("network interface is gone")

// Device exists on Linux only.
type Device struct{}

// Port is the transport.Batch of one worker.
type Port struct{ transport.Batch }

// New reports ErrNotSupported.
func New(opts Options) (*Device, error) {
	opts = opts.withDefaults()
	if opts.Queues == 0 {
		opts.Queues = 1
	}
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("open AF_XDP on %q: %w", opts.Interface, err)
	}
	return nil, fmt.Errorf("open AF_XDP on %q: %w (requires Linux)", opts.Interface, ErrNotSupported)
}

// Queues returns how many queues the device serves.
func (d *Device) Queues() int { return 0 }

// Report says what the device obtained.
func (d *Device) Report() Report { return Report{} }

// Bind reports ErrNotSupported.
func (d *Device) Bind(Registrar) ([]*Port, error) { return nil, ErrNotSupported }

// Close does nothing.
func (d *Device) Close() error { return nil }
