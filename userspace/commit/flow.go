package commit

import (
	"sync/atomic"
	"unsafe"

	"github.com/xrudp/xrudp/userspace/wire"
)

// SackWords is how many words say what arrived of a whole window.
const SackWords = wire.AckWindowWords

// Flow states.
const (
	FlowFree = 0
	FlowOpen = 1
)

// Flow is struct flow: what gate and worker tell one another about the
// server-to-client direction of a session. The gate's half changes under a
// version that is odd while it does; the worker's half is written by the
// owning worker only.
type Flow struct {
	version  uint32
	ack      uint32
	window   uint32
	rttUS    uint32
	rttCount uint32
	echo     uint32
	lastSeen uint64
	sackHigh uint32
	_        [7]uint32

	ece        uint32
	advertised uint32
	_          [7]uint64

	sack [SackWords]uint64

	id        uint64
	sndNxt    uint32
	state     uint32
	clientISN uint32
	serverISN uint32
	key       sessionKey
	released  uint32
	opened    uint64
	delivered uint32
	token     uint32
	_         [6]uint64
}

// sessionKey is struct session_key, ports in network byte order.
type sessionKey struct {
	client, server         [4]uint32
	clientPort, serverPort [2]byte
}

var _ = [1]byte{}[unsafe.Sizeof(sessionKey{})-36]

// FlowState is a consistent copy of the gate's half of a Flow.
type FlowState struct {
	Ack       uint32 // next sequence the client expects
	Window    uint16 // what it advertised, packets beyond Ack
	RTTMicros uint32 // newest sample, 0 before the first
	RTTCount  uint32 // samples taken
	LastSeen  uint64 // ns, CLOCK_MONOTONIC

	// Sack has bit sequence % wire.ReceiveWindow for what arrived of the window
	// beyond Ack, and SackHigh is one past the highest of them: Ack where there
	// are none.
	SackHigh uint32
	Sack     [SackWords]uint64

	// Echo is that of the acknowledgement which told of new arrivals last, the
	// low 32 bits of microseconds: it tells which transmission was answered. 0
	// where that had none.
	Echo uint32

	// ECE counts the fresh acknowledgements that carried ECE.
	ECE uint32

	// Advertised is the window of the gate's last answer, packets.
	Advertised uint32
}

// FlowInfo is what a worker writes when it opens a session, and what a later
// process finds.
type FlowInfo struct {
	ID                   uint64
	Key                  wire.Key
	ClientISN, ServerISN uint32
	Token                uint32 // of RST in the compact profile
	SndNxt               uint32 // next reliable sequence the worker will send
	Delivered            uint32 // next reliable sequence to hand over, as SetDelivered has it
	Opened               uint64 // ns, CLOCK_MONOTONIC
}

// loadTries bounds how often Load reads again. The gate holds a version odd
// for some tens of nanoseconds, unless its CPU is taken away from it.
const loadTries = 1 << 12

// Load returns a consistent copy of the gate's half. It is false when the
// gate was inside a change all the time; the caller looks again later.
//
//	gate                         reader
//	version odd                  v = version, even
//	fields                       fields
//	version even                 version still v
//
// version and what it guards are loaded in program order, and atomics do not
// pass one another.
func (f *Flow) Load() (s FlowState, ok bool) {
	for range loadTries {
		v := atomic.LoadUint32(&f.version)
		if v&1 != 0 {
			continue
		}
		f.Peek(&s)
		if atomic.LoadUint32(&f.version) == v {
			return s, true
		}
	}
	return s, false
}

// Peek copies the gate's half as it stands. Only the gate calls it, whose own
// the half is; everybody else calls Load.
func (f *Flow) Peek(s *FlowState) {
	s.Ack = atomic.LoadUint32(&f.ack)
	s.Window = uint16(atomic.LoadUint32(&f.window))
	s.RTTMicros = atomic.LoadUint32(&f.rttUS)
	s.RTTCount = atomic.LoadUint32(&f.rttCount)
	s.LastSeen = atomic.LoadUint64(&f.lastSeen)
	s.Echo = atomic.LoadUint32(&f.echo)
	s.ECE = atomic.LoadUint32(&f.ece)
	s.Advertised = atomic.LoadUint32(&f.advertised)
	s.SackHigh = atomic.LoadUint32(&f.sackHigh)
	s.Sack = [SackWords]uint64{}
	if s.SackHigh == s.Ack {
		return
	}
	for i := range s.Sack {
		s.Sack[i] = atomic.LoadUint64(&f.sack[i])
	}
}

// Store replaces the gate's half. Only the gate calls it, for a flow whose
// session it holds.
func (f *Flow) Store(s *FlowState) {
	v := atomic.LoadUint32(&f.version) | 1
	atomic.StoreUint32(&f.version, v)
	f.store(s)
	atomic.StoreUint32(&f.version, v+1)
}

func (f *Flow) store(s *FlowState) {
	held := f.sackHigh != f.ack || s.SackHigh != s.Ack
	atomic.StoreUint32(&f.ack, s.Ack)
	atomic.StoreUint32(&f.window, uint32(s.Window))
	atomic.StoreUint32(&f.rttUS, s.RTTMicros)
	atomic.StoreUint32(&f.rttCount, s.RTTCount)
	atomic.StoreUint64(&f.lastSeen, s.LastSeen)
	atomic.StoreUint32(&f.echo, s.Echo)
	atomic.StoreUint32(&f.ece, s.ECE)
	atomic.StoreUint32(&f.advertised, s.Advertised)
	atomic.StoreUint32(&f.sackHigh, s.SackHigh)
	if !held {
		return
	}
	for i := range s.Sack {
		atomic.StoreUint64(&f.sack[i], s.Sack[i])
	}
}

// Open gives the flow to a session, before the session is made known to the
// gate: until then the gate writes to nothing here. The gate's half starts
// with Ack and SndNxt equal to info.SndNxt, the given window, and
// info.Opened as the time the client was last seen. Nothing is released yet. Only the owning worker
// calls it, for a free flow whose last session the gate forgot at least a
// second ago, so that no CPU is still inside it.
func (f *Flow) Open(info *FlowInfo, window uint16) {
	clear(f.sack[:]) // nobody looks at it yet
	f.Store(&FlowState{
		Ack: info.SndNxt, SackHigh: info.SndNxt, Window: window, LastSeen: info.Opened, Advertised: wire.ReceiveWindow,
	})
	atomic.StoreUint32(&f.released, 0)
	f.id = info.ID
	f.clientISN = info.ClientISN
	f.serverISN = info.ServerISN
	f.token = info.Token
	f.key = packKey(info.Key)
	f.opened = info.Opened
	atomic.StoreUint32(&f.delivered, info.Delivered)
	atomic.StoreUint32(&f.sndNxt, info.SndNxt)
	atomic.StoreUint32(&f.state, FlowOpen)
}

// Free gives the flow back. Only the owning worker calls it.
func (f *Flow) Free() { atomic.StoreUint32(&f.state, FlowFree) }

// IsOpen reports whether a session owns the flow.
func (f *Flow) IsOpen() bool { return atomic.LoadUint32(&f.state) == FlowOpen }

// SetSndNxt tells the gate what the client may acknowledge. The owning worker
// calls it before the packet leaves.
func (f *Flow) SetSndNxt(seq uint32) { atomic.StoreUint32(&f.sndNxt, seq) }

// SetDelivered notes that every reliable packet before seq was handed over
// whole, for a later process where the gate dies with this one. The owning
// worker calls it before it gives a slot back.
func (f *Flow) SetDelivered(seq uint32) { atomic.StoreUint32(&f.delivered, seq) }

// SetReleased tells the gate how many packets of the session were given back
// so far, counted as it counts those it committed. The gate reads the cache line
// for every packet, so the owning worker, who alone calls it, does so now and
// then.
func (f *Flow) SetReleased(n uint32) { atomic.StoreUint32(&f.released, n) }

// Released returns what SetReleased was given last.
func (f *Flow) Released() uint32 { return atomic.LoadUint32(&f.released) }

// Advertised returns the window of the gate's last answer, and the full one
// before the first.
func (f *Flow) Advertised() uint32 { return atomic.LoadUint32(&f.advertised) }

// Advertise notes the window of an answer. Only the gate calls it.
func (f *Flow) Advertise(window uint32) { atomic.StoreUint32(&f.advertised, window) }

// Ack returns the next sequence the client expects.
func (f *Flow) Ack() uint32 { return atomic.LoadUint32(&f.ack) }

// SndNxt returns the next reliable sequence the worker will send.
func (f *Flow) SndNxt() uint32 { return atomic.LoadUint32(&f.sndNxt) }

// ID returns the id of the session that opened the flow last.
func (f *Flow) ID() uint64 { return f.id }

// Info returns what Open was given, with SndNxt and Delivered as they are now.
// Only the owning worker calls it.
func (f *Flow) Info() FlowInfo {
	return FlowInfo{
		ID:        f.id,
		Key:       f.key.unpack(),
		ClientISN: f.clientISN,
		ServerISN: f.serverISN,
		Token:     f.token,
		SndNxt:    f.SndNxt(),
		Delivered: atomic.LoadUint32(&f.delivered),
		Opened:    f.opened,
	}
}

// calm ends a change that a dead gate began.
func (f *Flow) calm() {
	if v := atomic.LoadUint32(&f.version); v&1 != 0 {
		atomic.StoreUint32(&f.version, v+1)
	}
}

func packKey(k wire.Key) (p sessionKey) {
	*(*[16]byte)(unsafe.Pointer(&p.client)) = k.Client
	*(*[16]byte)(unsafe.Pointer(&p.server)) = k.Server
	p.clientPort = [2]byte{byte(k.ClientPort >> 8), byte(k.ClientPort)}
	p.serverPort = [2]byte{byte(k.ServerPort >> 8), byte(k.ServerPort)}
	return p
}

func (p *sessionKey) unpack() wire.Key {
	return wire.Key{
		Client:     *(*[16]byte)(unsafe.Pointer(&p.client)),
		Server:     *(*[16]byte)(unsafe.Pointer(&p.server)),
		ClientPort: uint16(p.clientPort[0])<<8 | uint16(p.clientPort[1]),
		ServerPort: uint16(p.serverPort[0])<<8 | uint16(p.serverPort[1]),
	}
}
