//go:build !linux

package client

import (
	"net"

	"github.com/xrudp/xrudp/userspace/wire"
)

// maxDatagram is what needs no search: the host could answer with fragments.
const maxDatagram = wire.MaxDatagram

const controlSize = 0

// prepare does nothing: congestion marks are not looked at.
func prepare(net.Conn) {}

func unmark(net.Conn) {}

// readMarked reads a datagram.
func readMarked(socket net.Conn, buf, _ []byte) (n int, marked bool, err error) {
	n, err = socket.Read(buf)
	return n, false, err
}
