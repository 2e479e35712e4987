// Package transport moves batches of datagrams between a worker and a
// network. UDP, in this package, does so over ordinary sockets; package xsk
// does it over AF_XDP.
package transport

import (
	"errors"

	"github.com/xrudp/xrudp/userspace/wire"
)

// ErrNotSupported is wrapped by errors that report a kernel feature the
// caller required and did not get.
var ErrNotSupported = errors.New("not supported")

// A Batch sends and receives datagrams for one worker.
//
// One goroutine owns it and makes every call, Close included. No method
// blocks.
type Batch interface {
	// Receive fills ds and returns how many it filled, 0 when nothing has
	// arrived. What it filled aliases the transport's memory until Release.
	// Datagrams that did not fit stay for the next call: to wait for FDs makes
	// sense only after Receive filled less than it could.
	// An error is final: the transport will receive nothing more.
	Receive(ds []Datagram) (n int, err error)

	// Route fills r with what an answer to d needs. It keeps nothing of d.
	Route(d *Datagram, r *Route)

	// Release gives back every datagram received since the last call.
	Release()

	// Buffer returns the memory of the next datagram to send along r, of
	// capacity and length MaxDatagram, or nil when r does not belong to this
	// transport or every buffer is in flight. r must stay as it is until
	// Commit. A second call without Commit returns the same memory, for the
	// new route.
	Buffer(r *Route) []byte

	// Commit queues the first n bytes of the last Buffer.
	Commit(n int)

	// Flush hands everything queued to the kernel. Datagrams the kernel
	// refuses are dropped and counted; an error is final.
	Flush() error

	// FDs returns the descriptors whose readability, level-triggered, means
	// that Receive should be called.
	FDs() []int

	// Stats returns running totals. It may make system calls.
	Stats() Stats

	Close() error
}

// MaxDatagram is the largest UDP payload a Batch sends.
const MaxDatagram = wire.MaxDatagramLimit

// Datagram is one received UDP payload. Its fields alias the transport's
// memory and hold until Release.
type Datagram struct {
	Payload []byte
	Key     wire.Key

	// CE says that the IP header carried Congestion Experienced (RFC 3168).
	CE bool

	// Gated says that the XDP gate has accepted the datagram.
	Gated bool

	// Frame is the Ethernet frame around Payload, nil from UDP sockets.
	Frame []byte

	// Queue is the device queue the frame arrived on.
	Queue uint16

	// Interface is the index of the device it arrived on, where a UDP socket
	// knows it.
	Interface uint32
}

// Route says how to answer a client. It is a value: copies stay valid after
// the datagram it was learned from is released.
//
// A Route with nothing but Key set works on UDP.
type Route struct {
	Key wire.Key

	// Template is the framing of an answer; its Len is 0 on UDP.
	Template wire.FrameTemplate

	// Queue is the device queue to send on.
	Queue uint16

	// Interface scopes link-local addresses, 0 where unknown.
	Interface uint32
}

// Stats are running totals of a Batch since it was opened.
type Stats struct {
	RxPackets, RxBytes uint64
	RxBatches          uint64 // receives that brought something
	RxInvalid          uint64 // not a datagram that can be answered
	RxDropped          uint64 // lost for want of a buffer or ring space
	RxErrors           uint64 // errors of the socket, ICMP's included

	TxPackets, TxBytes uint64
	TxCalls            uint64 // system calls made to send
	TxDropped          uint64 // for want of room in a socket buffer
	TxErrors           uint64 // refused for another reason
	TxNoBuffer         uint64 // Buffer returned nil with every one in flight
	TxLost             uint64 // completions that never came

	RxSegmented uint64 // datagrams that arrived joined to others (UDP_GRO)
	TxSegmented uint64 // datagrams that left joined to others (UDP_SEGMENT)

	FillEmpty uint64 // AF_XDP: frames lost to an empty fill ring
	RingFull  uint64 // AF_XDP: frames lost to a full RX ring
	TxInvalid uint64 // AF_XDP: descriptors the kernel refused
	Wakeups   uint64 // AF_XDP: workers woken to take frames back
}

func (s *Stats) add(o *Stats) {
	s.RxPackets += o.RxPackets
	s.RxBytes += o.RxBytes
	s.RxBatches += o.RxBatches
	s.RxInvalid += o.RxInvalid
	s.RxDropped += o.RxDropped
	s.RxErrors += o.RxErrors
	s.TxPackets += o.TxPackets
	s.TxBytes += o.TxBytes
	s.TxCalls += o.TxCalls
	s.TxDropped += o.TxDropped
	s.TxErrors += o.TxErrors
	s.TxNoBuffer += o.TxNoBuffer
	s.TxLost += o.TxLost
	s.RxSegmented += o.RxSegmented
	s.TxSegmented += o.TxSegmented
	s.FillEmpty += o.FillEmpty
	s.RingFull += o.RingFull
	s.TxInvalid += o.TxInvalid
	s.Wakeups += o.Wakeups
}
