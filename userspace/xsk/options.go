// Package xsk receives and sends frames through AF_XDP sockets.
//
// A Device is all of a network interface: one UMEM, and a socket for each pair
// of queue and worker, so that the XDP program can steer a session to its
// worker whichever queue it arrives on. A Port is the part of one worker and
// implements transport.Batch.
//
// # Frames
//
// Receive frames belong to a queue, transmit frames to a worker, by address:
//
//	| queue 0 | queue 1 | ... | worker 0 | worker 1 | ...
//
// The fill and completion rings of a queue are shared by its sockets and have
// one owner, worker queue % workers. The others hand frames over in SPSC
// queues:
//
//	          fill ring              RX ring of (queue, w)
//	owner ----------------> kernel -----------------------> worker w
//	  ^                                                        |
//	  +------------------- SPSC, unless w is the owner --------+
//
//	          TX ring of (queue, w)        completion ring
//	worker w ----------------------> kernel ---------------> owner
//	  ^                                                        |
//	  +------------------- SPSC, unless w is the owner --------+
//
// Every ring and queue has room for each frame that may get there, so none
// overflows and a frame has always somewhere to go.
package xsk

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/xrudp/xrudp/userspace/transport"
)

const (
	defaultRXFrames  = 4096
	defaultTXFrames  = 2048
	defaultFrameSize = 2048
	defaultTimeout   = time.Second

	maxFrames  = 1 << 20 // per queue or worker
	maxQueues  = 1 << 10
	maxWorkers = 1 << 10
)

// ErrNotSupported is wrapped by errors that report a kernel or driver feature
// that Options require.
var ErrNotSupported = transport.ErrNotSupported

// Options configure a Device.
type Options struct {
	// Interface is the name of the network interface.
	Interface string

	// Queues is how many receive queues to serve, from 0 on; by default every
	// one the interface has.
	Queues int

	// Workers is how many Ports share the device, by default 1.
	Workers int

	// RXFrames is the number of receive frames of each queue, and the size
	// of its fill and RX rings: a power of two, by default 4096.
	RXFrames int

	// TXFrames is the number of transmit frames of each worker: a power of
	// two, by default 2048.
	TXFrames int

	// FrameSize is 2048, the default, or 4096 bytes.
	FrameSize int

	// Copy leaves zero-copy mode untried. Generic XDP needs it.
	Copy bool

	// RequireZeroCopy makes Bind fail where only copy mode is to be had.
	RequireZeroCopy bool

	// RequireHugePages makes New fail without huge pages for the UMEM.
	RequireHugePages bool

	// BusyPoll, when Duration is not 0, has Receive process the device's
	// queue in place of interrupts (SO_PREFER_BUSY_POLL).
	BusyPoll BusyPoll

	// CompletionTimeout is how long the kernel may keep a transmitted frame
	// before it counts as lost, by default 1 s.
	CompletionTimeout time.Duration
}

// BusyPoll configures busy polling. It needs CAP_NET_ADMIN, and has effect
// only while the interface defers its interrupts.
type BusyPoll struct {
	Duration time.Duration // of one poll, whole microseconds; 20 to 64 are usual
	Budget   int           // packets per poll, by default 64
}

func (o Options) withDefaults() Options {
	if o.Workers == 0 {
		o.Workers = 1
	}
	if o.RXFrames == 0 {
		o.RXFrames = defaultRXFrames
	}
	if o.TXFrames == 0 {
		o.TXFrames = defaultTXFrames
	}
	if o.FrameSize == 0 {
		o.FrameSize = defaultFrameSize
	}
	if o.CompletionTimeout == 0 {
		o.CompletionTimeout = defaultTimeout
	}
	if o.BusyPoll.Duration != 0 && o.BusyPoll.Budget == 0 {
		o.BusyPoll.Budget = 64
	}
	return o
}

// validate checks options that have their defaults.
func (o *Options) validate() error {
	switch {
	case o.Interface == "":
		return errors.New("no interface")
	case o.Queues < 1 || o.Queues > maxQueues:
		return fmt.Errorf("%d queues are not within 1 to %d", o.Queues, maxQueues)
	case o.Workers < 1 || o.Workers > maxWorkers:
		return fmt.Errorf("%d workers are not within 1 to %d", o.Workers, maxWorkers)
	case !ringSize(o.RXFrames):
		return fmt.Errorf("RXFrames %d is not a power of two within 2 to %d", o.RXFrames, maxFrames)
	case !ringSize(o.TXFrames):
		return fmt.Errorf("TXFrames %d is not a power of two within 2 to %d", o.TXFrames, maxFrames)
	case o.FrameSize != 2048 && o.FrameSize != 4096:
		return fmt.Errorf("FrameSize %d is neither 2048 nor 4096", o.FrameSize)
	case o.Copy && o.RequireZeroCopy:
		return errors.New("both Copy and RequireZeroCopy are set")
	case o.BusyPoll.Duration < 0 || o.BusyPoll.Duration%time.Microsecond != 0:
		return fmt.Errorf("busy poll of %s is not a number of microseconds", o.BusyPoll.Duration)
	case o.BusyPoll.Budget < 0 || o.BusyPoll.Budget > 1<<16-1:
		return fmt.Errorf("busy poll budget %d is not within 1 to 65535", o.BusyPoll.Budget)
	case o.CompletionTimeout < 0:
		return fmt.Errorf("negative CompletionTimeout %s", o.CompletionTimeout)
	}
	return nil
}

func ringSize(n int) bool { return n >= 2 && n <= maxFrames && n&(n-1) == 0 }

// txRing is the size of each TX ring. With several queues, one whose device
// does not send cannot take every frame of a worker.
func (o *Options) txRing() int {
	if o.Queues == 1 {
		return o.TXFrames
	}
	return o.TXFrames / 2
}

// completionRing has room for every transmit frame there is.
func (o *Options) completionRing() int {
	return 1 << bits.Len(uint(o.Workers*o.TXFrames-1))
}

func (o *Options) frames() int {
	return o.Queues*o.RXFrames + o.Workers*o.TXFrames
}

// Registrar makes a socket the target of redirects to a queue and worker.
// Package loader's map of sockets is one.
type Registrar interface {
	Register(queue, worker, fd int) error
}

// Report is what a Device obtained.
type Report struct {
	ZeroCopy  bool
	HugePages bool
	Node      int // NUMA node of the UMEM, -1 where the device has none

	// Refused lists the better modes that were tried, and why each was not
	// to be had.
	Refused []Refusal

	// Warnings are shortcomings that cost performance only.
	Warnings []string
}

// Refusal is a mode the kernel did not give.
type Refusal struct {
	Mode string
	Err  error
}

func (r Refusal) String() string { return r.Mode + ": " + r.Err.Error() }
