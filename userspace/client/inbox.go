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
	size  atomic.Int64 // by weight
	told  atomic.Int64 // the window that the server knows of

	mu       sync.Mutex
	messages []Message
	head     int
}

func (b *inbox) init(limit int) {
	b.more = make(chan struct{}, 1)
	b.limit = limit
	b.told.Store(int64(b.room()))
}

// full says that nothing more may be taken in.
func (b *inbox) full() bool { return b.size.Load() >= int64(b.limit) }

// weight is as how many messages m counts: memory is bounded by large ones as it
// is by small ones.
func weight(m *Message) int64 {
	return int64(max(1, (len(m.Payload)+wire.MaxDatagram-1)/wire.MaxDatagram))
}

// room is how many packets are taken in, whatever they hold.
func (b *inbox) room() int { return packets(b.limit - int(b.size.Load())) }

func packets(messages int) int {
	return (max(0, messages) + wire.MaxMessages - 1) / wire.MaxMessages
}

// window is room, for the server to be told.
//
//	window                       Receive
//	note what is told            take a message out
//	full barrier                 full barrier
//	look at the room again       look at what was told
func (b *inbox) window() int {
	for n := b.room(); ; n = b.room() {
		b.told.Store(int64(n))
		if b.room() == n {
			return n
		}
	}
}

// reopened reports whether the server believes the window to be narrow, below a
// quarter, while it is wide. It does so once.
func (b *inbox) reopened() bool {
	widest := packets(b.limit)
	told := b.told.Load()
	return int(told) < (widest+3)/4 && b.room() >= (widest+1)/2 && b.told.CompareAndSwap(told, int64(widest))
}

// push copies messages, and the payloads of small ones.
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
	size := b.size.Load()
	for _, m := range messages {
		if !m.large() {
			m.Payload = append([]byte(nil), m.Payload...)
		}
		b.messages = append(b.messages, m)
		size += weight(&m)
	}
	b.size.Store(size)
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
	b.size.Add(-weight(&m))
	return m, true
}

func (b *inbox) signal() {
	select {
	case b.more <- struct{}{}:
	default:
	}
}
