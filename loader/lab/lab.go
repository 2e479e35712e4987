// Package lab builds small networks for tests, demonstrations and benchmarks:
// two network namespaces joined by a veth pair whose ends behave like network
// cards as far as XDP is concerned.
//
// The namespaces have no names. They live as long as the process that made
// them and the children started inside them, so nothing remains after a crash.
package lab

import (
	"errors"
	"net"
	"net/netip"
)

// ErrUnavailable is returned where this system cannot host a lab.
var ErrUnavailable = errors.New("lab unavailable")

// Names of the two interfaces, each alone in its namespace beside lo.
const (
	ServerInterface = "xrudp0"
	ClientInterface = "xrudp1"
)

// Options describe a lab. The zero value is a pair with one queue.
type Options struct {
	// Queues is the number of receive and transmit queues of either end.
	// Default 1.
	Queues int
	// MTU of both ends. Default 1500.
	MTU int
	// ThreadedNAPI moves the server end's receive work into kernel threads
	// of their own, so that it is charged to the server's CPU.
	ThreadedNAPI bool
	// NAPICPU is where those threads run when ThreadedNAPI is set.
	NAPICPU int
	// PlainClient leaves the client end without an XDP program. XDP_TX
	// towards it stalls then after a few hundred frames.
	PlainClient bool
}

func (o Options) withDefaults() Options {
	if o.Queues == 0 {
		o.Queues = 1
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	return o
}

// End is one side of the pair.
type End struct {
	*Namespace
	Interface string
	Index     int
	MAC       net.HardwareAddr
	IPv4      netip.Addr
	IPv6      netip.Addr
}
