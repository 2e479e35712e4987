package impair

import (
	"math/rand/v2"
	"sync"

	"github.com/xrudp/xrudp/userspace/simnet"
)

// Link, Rate and Limit are those of the simulator.
type (
	Link  = simnet.Link
	Rate  = simnet.Rate
	Limit = simnet.Limit
)

// Conditions say what happens to the packets of one direction. The zero value
// is perfect. Rate.Overhead is set by whatever carries them, so that a rate is
// always one of Ethernet frames. MTU is that of IP packets.
type Conditions struct {
	Link
	Rate Rate
}

// Never is a time that does not come.
const Never = simnet.Never

// Direction is one of the two of a path.
type Direction int

const (
	ToServer Direction = iota
	ToClient
	directions
)

// ethernetHeader is what a frame has beyond its IP packet, in bytes.
const ethernetHeader = 14

// defaultLimit is 200 ms of 150,000 packets per second.
const defaultLimit = 32768

// Options describe a path. The zero value is a perfect one.
type Options struct {
	// ToServer and ToClient are the conditions at first.
	ToServer, ToClient Conditions
	// Seed of its chance. Default 0: another one each time.
	Seed uint64
	// Limit is how many packets of either direction may be on their way.
	// What exceeds it is refused. Default 32768.
	Limit int
}

func (o Options) withDefaults() Options {
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if o.Limit == 0 {
		o.Limit = defaultLimit
	}
	return o
}

// PathStats count the packets of one direction: Sent and Duplicated together
// are Dropped, Lost, Refused, Delivered and OnTheWay together.
type PathStats struct {
	Sent       uint64 `json:"sent"`
	Dropped    uint64 `json:"dropped"` // the queue was full
	Lost       uint64 `json:"lost"`
	Refused    uint64 `json:"refused"` // too many were on their way
	Duplicated uint64 `json:"duplicated"`
	Corrupted  uint64 `json:"corrupted"` // and delivered
	Marked     uint64 `json:"marked"`    // Congestion Experienced
	Delivered  uint64 `json:"delivered"`
	OnTheWay   uint64 `json:"on_the_way"`
}

// carrier is what knows the packets of a path. Its methods are called with the
// path's lock held, and must not call the path.
type carrier interface {
	// deliver has a packet that arrives until it returns.
	deliver(d Direction, packet []byte)
	// overhead is what an Ethernet frame has beyond a packet, in bytes.
	overhead() int
	// spared is how many bytes at its beginning corruption leaves alone.
	spared(packet []byte) int
	// capable reports whether a packet is ECN-capable, mark marks it.
	capable(packet []byte) bool
	mark(packet []byte)
}

// path is both directions of a way between clients and a server. Its carrier
// says what time it is, in nanoseconds on a clock that does not go back. All
// methods may be called concurrently.
type path struct {
	carrier carrier
	limit   int

	mu   sync.Mutex
	net  *simnet.Network
	ways [directions]way
}

type way struct {
	pipe      *simnet.Pipe
	corrupt   float64
	corrupted uint64
	refused   uint64
}

// newPath returns a path whose clock shows now.
func newPath(opts Options, now uint64, c carrier) *path {
	opts = opts.withDefaults()
	p := &path{carrier: c, limit: opts.Limit, net: simnet.New(opts.Seed, now)}
	for d := range p.ways {
		pipe := p.net.NewPipe(Link{}, func(k simnet.Packet) { p.arrive(Direction(d), k) })
		pipe.Bottleneck = p.net.NewBottleneck(Rate{})
		p.ways[d].pipe = pipe
	}
	p.set(ToServer, opts.ToServer)
	p.set(ToClient, opts.ToClient)
	return p
}

// set changes a direction for packets sent from now on.
func (p *path) set(d Direction, c Conditions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &p.ways[d]
	// The pipe does not know which bytes to spare.
	w.corrupt, c.Corrupt = c.Corrupt, 0
	c.Rate.Overhead = p.carrier.overhead()
	if c.MTU > 0 {
		c.MTU += ethernetHeader - p.carrier.overhead()
	}
	w.pipe.Link = c.Link
	w.pipe.Bottleneck.SetRate(c.Rate)
}

// send puts a copy of packet into the path, after delivering what is due.
func (p *path) send(now uint64, d Direction, packet []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.net.Run(now)
	w := &p.ways[d]
	if w.pipe.InFlight() >= p.limit {
		w.refused++
		return
	}
	w.pipe.ECN = p.carrier.capable(packet)
	w.pipe.Send(packet)
}

// run delivers what is due and returns when something is again, or Never.
func (p *path) run(now uint64) (next uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.net.Run(now)
	return p.net.Next()
}

// arrive is called with the lock held.
func (p *path) arrive(d Direction, k simnet.Packet) {
	w, rng := &p.ways[d], p.net.Rand()
	if k.Marked {
		p.carrier.mark(k.Data)
	}
	if w.corrupt > 0 && rng.Float64() < w.corrupt {
		if spared := p.carrier.spared(k.Data); spared < len(k.Data) {
			w.corrupted++
			k.Data[spared+rng.IntN(len(k.Data)-spared)] ^= byte(1 + rng.IntN(255))
		}
	}
	p.carrier.deliver(d, k.Data)
}

// stats returns what was counted so far.
func (p *path) stats(d Direction) PathStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &p.ways[d]
	return PathStats{
		Sent: w.pipe.Sent + w.refused, Dropped: w.pipe.Dropped, Lost: w.pipe.Lost, Refused: w.refused,
		Duplicated: w.pipe.Duplicated, Corrupted: w.corrupted, Marked: w.pipe.Marked,
		Delivered: w.pipe.Delivered, OnTheWay: uint64(w.pipe.InFlight()),
	}
}
