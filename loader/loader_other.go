//go:build !linux

package loader

import (
	"context"
	"fmt"
	"runtime"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

func errPlatform(what string) error {
	return fmt.Errorf("%s: XDP needs Linux: %w", what, ErrNotSupported)
}

// PresentCPUs returns how many CPUs there are.
func PresentCPUs() int { return runtime.NumCPU() }

// Gate is a loaded gate, which this platform cannot have: Open never returns
// one, so that its methods are never called.
type Gate struct{}

// Open reports ModeNone.
func Open(opts Options) (*Gate, *Report, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, nil, fmt.Errorf("open gate: %w", err)
	}
	report := &Report{Mode: ModeNone, Interface: opts.Interface}
	if opts.Mode == ModeNone {
		return nil, report, nil
	}
	err := errPlatform("open gate")
	if opts.Require {
		return nil, report, err
	}
	report.step(opts.rungs()[0], err)
	return nil, report, nil
}

// Sessions is the gate's table of sessions.
type Sessions struct{}

func (s Sessions) Create(wire.Key, gate.SessionInit) error { return errPlatform("create session") }
func (s Sessions) Delete(wire.Key) error                   { return errPlatform("delete session") }
func (s Sessions) Session(wire.Key) (gate.SessionState, bool, error) {
	return gate.SessionState{}, false, errPlatform("read session")
}

// Doorbell wakes a worker that waits.
type Doorbell struct{}

func (d *Doorbell) FD() int { return -1 }
func (d *Doorbell) Drain()  {}

func (g *Gate) Regions() *commit.Regions                 { return nil }
func (g *Gate) Geometry() commit.Geometry                { return commit.Geometry{} }
func (g *Gate) Sessions() Sessions                       { return Sessions{} }
func (g *Gate) Doorbell(int) *Doorbell                   { return nil }
func (g *Gate) Register(queue, worker, fd int) error     { return errPlatform("register AF_XDP socket") }
func (g *Gate) Maintain(context.Context, zerolog.Logger) {}
func (g *Gate) Close() error                             { return nil }
func (g *Gate) Keep() error                              { return nil }
func (g *Gate) Detach() error                            { return nil }

// Stats returns no counters.
func (g *Gate) Stats() ([gate.OutcomeMax]uint64, error) {
	return [gate.OutcomeMax]uint64{}, errPlatform("read stats")
}

// Instances lists none.
func Instances(string) ([]Instance, error) { return nil, nil }

// Remove finds none to remove.
func Remove(root, instance string) error { return nil }

// DeferInterrupts reports ErrNotSupported.
func DeferInterrupts(iface, saved string) error { return errPlatform("defer interrupts") }

// Suspend finds none.
func Suspend(string, string) (bool, error) { return false, nil }

// RestoreInterrupts has nothing to restore.
func RestoreInterrupts(string) error { return nil }

// Check reports ErrNotSupported.
func Check(CheckOptions) (*Diagnosis, error) { return nil, errPlatform("check") }
