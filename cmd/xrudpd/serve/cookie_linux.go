package serve

import (
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// cookieHolds verifies a cookie with the secrets of the XDP program, for what
// went around it. It makes system calls, once per handshake at most.
func (s *Server) cookieHolds(p wire.Profile, cookie uint64, key *wire.Key, clientISN uint32) bool {
	var keys gate.CookieKeys
	for i := range keys.Keys {
		if err := s.xdp.Map("cookie_keys").Lookup(uint32(i), &keys.Keys[i]); err != nil {
			return false
		}
	}
	return keys.Check(p, cookie, key, clientISN)
}
