// Package lab builds small networks for tests, demonstrations and benchmarks:
// two network namespaces joined by a veth pair whose ends behave like network
// cards as far as XDP is concerned, with or without a third namespace between
// them.
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

// Names of the interfaces in the middle, after the side that they face.
const (
	middleServerInterface = "server0"
	middleClientInterface = "client0"
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
	// ThreadedClient does the same for the client end, so that what the server
	// sends is not received at its own CPU's expense.
	ThreadedClient bool
	// ClientCPU is where those threads run when ThreadedClient is set.
	ClientCPU int
	// TXQueue gives the server end a queue of so many packets, as network cards
	// have. What has no room there its sender learns of (Linux 6.16); without a
	// queue a veth drops what comes in bursts of more than 256. Default none.
	TXQueue int
	// PlainClient leaves the client end without an XDP program. XDP_TX
	// towards it stalls then after a few hundred frames.
	PlainClient bool
	// Middle puts a namespace between the two, which forwards nothing by
	// itself: package impair does, frame by frame. Segmentation and checksums
	// are then not left to the devices, because a frame has to be whole
	// wherever it is looked at.
	Middle bool
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

// Middle is the namespace between server and clients. Its interfaces have no
// addresses.
type Middle struct {
	*Namespace
	Server Port // faces the server
	Client Port // faces the clients
}

// Port is one interface of a Middle.
type Port struct {
	Interface string
	Index     int
}

// End is one side of the pair.
type End struct {
	*Namespace
	Interface string
	Index     int
	MAC       net.HardwareAddr
	IPv4      netip.Addr
	IPv6      netip.Addr

	// NAPIThreads are the kernel threads of ThreadedNAPI or ThreadedClient.
	NAPIThreads []int
}
