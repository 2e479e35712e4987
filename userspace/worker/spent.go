package worker

import (
	"time"

	"github.com/xrudp/xrudp/userspace/wire"
)

// helloLife is how long a cookie verifies at most: two periods of its secret.
const helloLife = uint64(64 * time.Second)

// spentHellos remembers the HELLOs that opened a session for as long as their
// cookies verify. A copy that comes late, when the session has ended or the
// client has started anew, would otherwise open a session with nobody at the
// other end, and end one with somebody.
//
// It holds a bounded number; the oldest make room.
type spentHellos struct {
	until map[spentHello]uint64
	queue []spentHello // a ring, oldest first
	head  int
	size  int
}

type spentHello struct {
	key       wire.Key
	clientISN uint32
}

// init makes room for n.
func (s *spentHellos) init(n int) {
	s.until = make(map[spentHello]uint64)
	s.queue = make([]spentHello, n)
}

// add notes that a HELLO opened a session at time now. Times never go back.
func (s *spentHellos) add(key wire.Key, clientISN uint32, now uint64) {
	for s.size > 0 && (s.size == len(s.queue) || s.until[s.queue[s.head]] <= now) {
		delete(s.until, s.queue[s.head])
		s.head = (s.head + 1) % len(s.queue)
		s.size--
	}
	hello := spentHello{key, clientISN}
	s.until[hello] = now + helloLife
	s.queue[(s.head+s.size)%len(s.queue)] = hello
	s.size++
}

// has reports whether a HELLO opened a session before.
func (s *spentHellos) has(key wire.Key, clientISN uint32, now uint64) bool {
	return s.until[spentHello{key, clientISN}] > now
}
