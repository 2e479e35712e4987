package play

import (
	"sync"
	"time"

	"github.com/xrudp/xrudp/userspace/client"
)

// queue holds messages between the connection's goroutine and the player's.
type queue struct {
	limit int

	mu      sync.Mutex
	waiting []delivered
	spare   [][]byte
	dropped uint64
	full    bool // a reliable message had no place
}

type delivered struct {
	at      time.Duration
	message client.Message
}

// keptPayload is how large a payload may be whose memory is used again.
const keptPayload = 2048

func (q *queue) put(at time.Duration, m client.Message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.full {
		return
	}
	if len(q.waiting) >= q.limit {
		q.dropped++
		q.full = m.Mode.Reliable()
		return
	}
	var b []byte
	if n := len(q.spare); n > 0 {
		b, q.spare = q.spare[n-1], q.spare[:n-1]
	}
	m.Payload = append(b[:0], m.Payload...)
	q.waiting = append(q.waiting, delivered{at, m})
}

// take returns what waits, in the memory of what it returned last time.
func (q *queue) take(former []delivered) (waiting []delivered, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range former {
		if b := former[i].message.Payload; cap(b) <= keptPayload {
			q.spare = append(q.spare, b)
		}
		former[i] = delivered{}
	}
	waiting, q.waiting = q.waiting, former[:0]
	dropped, q.dropped = q.dropped, 0
	return waiting, dropped
}

func (q *queue) overran() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.full
}
