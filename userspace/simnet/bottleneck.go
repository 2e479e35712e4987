package simnet

import "time"

// UDPOverhead is what Ethernet, IPv4 and UDP headers add to a payload, in
// bytes.
const UDPOverhead = 14 + 20 + 8

// Rate describes a bottleneck. The zero value holds nothing up.
type Rate struct {
	// PerSecond is how many bytes pass, 0 for any number.
	PerSecond uint64
	// Overhead is added to the size of each packet, in bytes.
	Overhead int
	// Queue is how much the bottleneck holds, the packet that is leaving
	// included. What exceeds it is dropped (drop-tail).
	Queue Limit
	// Mark is how much it holds before further packets that are ECN-capable
	// are marked.
	Mark Limit
	// Stalled lets nothing pass; packets wait.
	Stalled bool
}

// Limit bounds a queue in packets, in bytes, or in both. 0 means no bound.
type Limit struct {
	Packets, Bytes int
}

func (l Limit) exceeded(packets, bytes int) bool {
	return l.Packets > 0 && packets > l.Packets || l.Bytes > 0 && bytes > l.Bytes
}

// Bottleneck is a queue in front of a link of limited rate. Pipes that share
// one compete for it; it serves packets in the order they came.
type Bottleneck struct {
	net   *Network
	rate  Rate
	ring  []*packet // a power of two of them
	head  int
	count int
	bytes int // overhead included

	done  *Timer // the packet at the head has left
	work  uint64 // of the packet at the head at since, in bytes * 1e9
	since uint64
}

// NewBottleneck returns a bottleneck for the pipes of n.
func (n *Network) NewBottleneck(rate Rate) *Bottleneck {
	b := &Bottleneck{net: n, rate: rate, ring: make([]*packet, 16)}
	b.done = n.NewTimer(b.depart)
	return b
}

// Rate returns what the bottleneck was last set to.
func (b *Bottleneck) Rate() Rate { return b.rate }

// SetRate changes the bottleneck. What of the packet that is leaving has left
// already stays so; packets that wait are not dropped by a shorter queue.
func (b *Bottleneck) SetRate(rate Rate) {
	if b.count > 0 {
		b.progress()
	}
	b.rate = rate
	b.plan()
}

// Queue returns how many packets the bottleneck holds, and how many bytes,
// overhead included.
func (b *Bottleneck) Queue() (packets, bytes int) { return b.count, b.bytes }

// Wait returns how long a packet that arrives now waits before it begins to
// leave, at the present rate and without stalling.
func (b *Bottleneck) Wait() time.Duration {
	if b.count == 0 || b.rate.PerSecond == 0 {
		return 0
	}
	b.progress()
	behind := uint64(b.bytes - b.ring[b.head].size)
	return time.Duration((b.work + behind*1e9) / b.rate.PerSecond)
}

// take takes a packet into the queue.
func (b *Bottleneck) take(k *packet) {
	k.size = len(k.data) + b.rate.Overhead
	packets, bytes := b.count+1, b.bytes+k.size
	if b.rate.Queue.exceeded(packets, bytes) {
		k.pipe.Dropped++
		k.pipe.end(Dropped, k)
		return
	}
	if k.pipe.ECN && b.rate.Mark.exceeded(packets, bytes) {
		k.pipe.Marked++
		k.marked = true
	}
	if b.count == len(b.ring) {
		b.grow()
	}
	b.ring[(b.head+b.count)&(len(b.ring)-1)] = k
	b.count, b.bytes = packets, bytes
	if b.count == 1 {
		b.work, b.since = uint64(k.size)*1e9, b.net.now
		b.plan()
	}
}

// progress takes off the work done since it was last looked at.
func (b *Bottleneck) progress() {
	if !b.rate.Stalled {
		b.work -= min(b.work, (b.net.now-b.since)*b.rate.PerSecond)
	}
	b.since = b.net.now
}

// plan sets the timer for the packet at the head.
func (b *Bottleneck) plan() {
	switch {
	case b.count == 0 || b.rate.Stalled:
		b.done.Stop()
	case b.rate.PerSecond == 0:
		b.done.Set(b.net.now)
	default:
		b.done.Set(b.since + b.work/b.rate.PerSecond)
	}
}

// depart sends the packet at the head on its way.
func (b *Bottleneck) depart() {
	k := b.ring[b.head]
	b.ring[b.head] = nil
	b.head = (b.head + 1) & (len(b.ring) - 1)
	b.count--
	b.bytes -= k.size
	if b.count > 0 {
		// The fraction of a nanosecond that the timer left out counts for the
		// next packet, so the rate is exact over a busy period.
		rest := uint64(0)
		if b.rate.PerSecond > 0 {
			rest = b.work % b.rate.PerSecond
		}
		b.work, b.since = uint64(b.ring[b.head].size)*1e9+rest, b.net.now
	}
	b.plan()
	k.pipe.travel(k)
}

func (b *Bottleneck) grow() {
	ring := make([]*packet, 2*len(b.ring))
	for i := range b.count {
		ring[i] = b.ring[(b.head+i)&(len(b.ring)-1)]
	}
	b.ring, b.head = ring, 0
}
