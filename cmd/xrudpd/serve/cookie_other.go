//go:build !linux

package serve

import "github.com/xrudp/xrudp/userspace/wire"

// cookieHolds is never asked where there is no XDP.
func (s *Server) cookieHolds(wire.Profile, uint64, *wire.Key, uint32) bool { return false }
