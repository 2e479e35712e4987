package transport

import (
	"errors"
	"fmt"
	"net/netip"
)

const (
	defaultUDPBatch  = 64
	maxUDPBatch      = 1024 // UIO_MAXIOV, the kernel's limit
	defaultUDPBuffer = 8 << 20
)

// UDPOptions configure ListenUDP.
type UDPOptions struct {
	// Address to serve. The zero value serves every address of the host,
	// IPv6 and IPv4.
	Address netip.Addr

	// Ports to serve; a 0 stands for one that the kernel chooses.
	Ports []uint16

	// Workers is how many UDPs share the ports, by default 1. The kernel
	// spreads clients over them and keeps each with one.
	Workers int

	// Device, when not empty, is the only one to receive from and send to.
	Device string

	// Batch is how many messages one system call moves, by default 64.
	Batch int

	// ReceiveBuffer and SendBuffer are the wanted sizes of the socket
	// buffers in bytes, by default 8 MiB. The host may allow less.
	ReceiveBuffer, SendBuffer int

	// NoOffload leaves UDP_GRO and UDP_SEGMENT unused.
	NoOffload bool
}

func (o UDPOptions) withDefaults() UDPOptions {
	if o.Workers == 0 {
		o.Workers = 1
	}
	if o.Batch == 0 {
		o.Batch = defaultUDPBatch
	}
	if o.ReceiveBuffer == 0 {
		o.ReceiveBuffer = defaultUDPBuffer
	}
	if o.SendBuffer == 0 {
		o.SendBuffer = defaultUDPBuffer
	}
	return o
}

func (o UDPOptions) validate() error {
	switch {
	case len(o.Ports) == 0:
		return errors.New("no port to listen on")
	case o.Workers < 0:
		return fmt.Errorf("%d workers", o.Workers)
	case o.Batch < 0 || o.Batch > maxUDPBatch:
		return fmt.Errorf("batch of %d is not within 1 to %d", o.Batch, maxUDPBatch)
	case o.ReceiveBuffer < 0 || o.SendBuffer < 0:
		return errors.New("negative size of a socket buffer")
	case o.Address.Zone() != "":
		return fmt.Errorf("address %s has a zone; name the device instead", o.Address)
	case o.Address.IsMulticast():
		return fmt.Errorf("address %s is a multicast group", o.Address)
	}
	return nil
}

// UDPInfo is what ListenUDP obtained.
type UDPInfo struct {
	GRO           bool // datagrams may arrive joined
	GSO           bool // datagrams may leave joined
	IPv4, IPv6    bool
	ReceiveBuffer int // bytes, as the kernel counts them
	SendBuffer    int
}
