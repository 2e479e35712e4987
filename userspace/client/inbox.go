package client

import (
	"sync"
	"sync/atomic"

	"github.com/xrudp/xrudp/userspace/wire"
)

// inbox keeps messages for Receive.
type inbox struct {
	more  chan struct{} // holds a token while there may be messages
	limit int
	size  atomic.Int64

	mu       sync.Mutex
	messages []Message
	head     int
}

func (b *inbox) init(limit int) {
	b.more = make(chan struct{}, 1)
	b.limit = limit
}

// full says that nothing more may be taken in.
func (b *inbox) full() bool { return b.size.Load() >= int64(b.limit) }

// window is how many packets there is room for, whatever they hold.
func (b *inbox) window() int { return (b.limit - int(b.size.Load())) / wire.MaxMessages }

// push copies messages and their payloads.
func (b *inbox) push(messages []Message) {
	if len(messages) == 0 {
		return
	}
	b.mu.Lock()
	if b.head > len(b.messages)/2 {
		n := copy(b.messages, b.messages[b.head:])
		clear(b.messages[n:])
		b.messages, b.head = b.messages[:n], 0
	}
	for _, m := range messages {
		m.Payload = append([]byte(nil), m.Payload...)
		b.messages = append(b.messages, m)
	}
	b.size.Store(int64(len(b.messages) - b.head))
	b.mu.Unlock()
	b.signal()
}

func (b *inbox) pop() (Message, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == len(b.messages) {
		return Message{}, false
	}
	m := b.messages[b.head]
	b.messages[b.head] = Message{}
	b.head++
	if b.head == len(b.messages) {
		b.messages, b.head = b.messages[:0], 0
	} else {
		b.signal() // for another receiver
	}
	b.size.Store(int64(len(b.messages) - b.head))
	return m, true
}

func (b *inbox) signal() {
	select {
	case b.more <- struct{}{}:
	default:
	}
}
