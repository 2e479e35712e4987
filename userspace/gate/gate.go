// Package gate is the Go twin of bpf/gate.c: the same decisions over the same
// shared memory. It serves transports that have no XDP in front of them, and
// is the oracle the XDP program is compared with, packet by packet.
//
// Where the two read differently, one of them is wrong: a rule changed here
// changes there, and loader/difftest tells when it did not.
package gate

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// FeatureSACK is FEATURE_SACK of headers/maps.h: the session carries
// acknowledgement blocks.
const FeatureSACK = 0x01

// MaxReply is the size of the largest UDP payload the gate answers with.
const MaxReply = wire.HeaderSize + wire.AckBlockMax

// Config is what the gate has to know besides the geometry of its regions.
type Config struct {
	// MaxDatagram is the largest UDP payload accepted. 0 means
	// wire.MaxDatagramLimit.
	MaxDatagram int

	// ControlBytes is what SYN|ACK grants in option CONTROL to those who ask.
	// 0 does not offer it.
	ControlBytes uint32

	// SessionBudget is how many reliable packets of one session may wait for
	// its worker. 0 means what the geometry says.
	SessionBudget int

	// Features are offered in SYN|ACK: FeatureSACK or 0.
	Features uint32

	// Ports are the UDP ports served in the standard profile, for Frame.
	Ports []uint16

	// CompactPorts are the UDP ports that speak the compact profile. All
	// others speak the standard one.
	CompactPorts []uint16

	// Local are the addresses that are ours, for Frame.
	Local []netip.Addr

	// Sockets tells that every worker has an AF_XDP socket on every queue.
	// Without, what would be redirected passes to the host stack.
	Sockets bool
}

func (c Config) withDefaults(g commit.Geometry) Config {
	if c.MaxDatagram == 0 {
		c.MaxDatagram = wire.MaxDatagramLimit
	}
	if c.SessionBudget == 0 {
		c.SessionBudget = g.SessionBudget()
	}
	return c
}

func (c Config) validate() error {
	if c.MaxDatagram < wire.MinDatagram || c.MaxDatagram > commit.MaxBody {
		return fmt.Errorf("largest datagram %d, want %d to %d", c.MaxDatagram, wire.MinDatagram, commit.MaxBody)
	}
	if c.SessionBudget < 1 {
		return fmt.Errorf("session budget %d, want 1 at least", c.SessionBudget)
	}
	return nil
}

var errPort = errors.New("port 0 cannot be served, nor one in two profiles")

// Errors of Create.
var (
	ErrExists = errors.New("session exists")
	ErrSlot   = errors.New("session slot out of range, or another worker's")
)

// SessionInit is what the owning worker knows of a session when it opens.
type SessionInit struct {
	ID                   uint64
	Slot                 uint32 // of the flow, which is open already
	Worker               uint32
	Features             uint32 // agreed
	ClientISN, ServerISN uint32
	Token                uint32 // of RST in the compact profile
}

// SessionState is struct session.
type SessionState struct {
	Slot       uint32
	ID         uint64
	Worker     uint32
	Features   uint32
	ClientISN  uint32
	Token      uint32                    // of RST in the compact profile
	Window     reliability.ReceiveWindow // rcv_nxt, rcv_high, rcv_bits
	ReplayHigh uint32                    // highest unreliable sequence seen
	ReplayBits uint64                    // bit i: ReplayHigh - i was seen
	Packets    uint64                    // accepted from the client
	Bytes      uint64                    // their UDP payload
	Committed  uint64                    // reliable packets
	Duplicates uint64
	Rejected   uint64 // belonging to the session, but dropped
	Marked     bool   // Congestion Experienced arrived, and no CWR since
}

// NewSessionState returns the state of a session that just opened.
func NewSessionState(init SessionInit) SessionState {
	s := SessionState{
		Slot:       init.Slot,
		ID:         init.ID,
		Worker:     init.Worker,
		Features:   init.Features,
		ClientISN:  init.ClientISN,
		Token:      init.Token,
		ReplayHigh: init.ClientISN,
		ReplayBits: 1,
	}
	// The HELLO used up the sequence behind the SYN's.
	s.Window.Reset(init.ClientISN + 2)
	return s
}

// Gate decides about packets. It is not safe for concurrent use: one worker,
// or one test, owns it, and with it the producing end of the rings it writes.
type Gate struct {
	cfg      Config
	keys     CookieKeys
	regions  *commit.Regions
	geometry commit.Geometry
	writers  []*commit.Writer
	sessions map[wire.Key]*SessionState
	ports    map[uint16]wire.Profile
	local    map[[16]byte]struct{}
	stats    [OutcomeMax]uint64
	reply    [MaxReply]byte
}

// New returns a gate without sessions over the given regions.
func New(cfg Config, r *commit.Regions, keys CookieKeys) (*Gate, error) {
	cfg = cfg.withDefaults(r.Geometry())
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	g := &Gate{
		cfg:      cfg,
		keys:     keys,
		regions:  r,
		geometry: r.Geometry(),
		sessions: make(map[wire.Key]*SessionState),
		ports:    make(map[uint16]wire.Profile),
		local:    make(map[[16]byte]struct{}),
	}
	for n := range g.geometry.Rings() {
		g.writers = append(g.writers, r.Writer(n))
	}
	for p, ports := range [...][]uint16{wire.Standard: cfg.Ports, wire.Compact: cfg.CompactPorts} {
		for _, port := range ports {
			if _, twice := g.ports[port]; twice || port == 0 {
				return nil, errPort
			}
			g.ports[port] = wire.Profile(p)
		}
	}
	for _, addr := range cfg.Local {
		g.local[addr.As16()] = struct{}{}
	}
	return g, nil
}

// SetCookieKeys replaces the cookie secrets.
func (g *Gate) SetCookieKeys(keys CookieKeys) { g.keys = keys }

// Create makes a session known to the gate. Its flow was opened before.
func (g *Gate) Create(key wire.Key, init SessionInit) error {
	owner, ok := g.regions.Owner(init.Slot)
	if !ok || owner != int(init.Worker) {
		return fmt.Errorf("create session %d in slot %d: %w", init.ID, init.Slot, ErrSlot)
	}
	if _, ok := g.sessions[key]; ok {
		return fmt.Errorf("create session %d: %w", init.ID, ErrExists)
	}
	s := NewSessionState(init)
	g.sessions[key] = &s
	return nil
}

// Delete makes the gate forget a session. Nothing happens when there is none.
func (g *Gate) Delete(key wire.Key) { delete(g.sessions, key) }

// Session returns a copy of a session's state.
func (g *Gate) Session(key wire.Key) (SessionState, bool) {
	s, ok := g.sessions[key]
	if !ok {
		return SessionState{}, false
	}
	return *s, true
}

// Stats returns the counters, by Outcome. They go on counting.
func (g *Gate) Stats() *[OutcomeMax]uint64 { return &g.stats }

// Result says what Datagram decided.
type Result struct {
	Outcome Outcome

	// Worker is the one whom a redirected or passed packet, or a committed
	// one, is for. A HELLO's is the worker that shall open the session.
	Worker int

	// Reply is the UDP payload to send back when the verdict is TX. It
	// aliases the buffer given to Datagram.
	Reply []byte

	// Wake tells that the worker waits for its doorbell.
	Wake bool
}

// Datagram decides about a UDP payload that the host received for one of our
// ports and addresses. ce says that its IP header carried Congestion
// Experienced; its UDP checksum is right. now is in nanoseconds, cpu chooses the commit ring. reply must
// hold MaxReply bytes.
func (g *Gate) Datagram(key wire.Key, payload []byte, ce bool, now uint64, cpu int, reply []byte) Result {
	p := packet{
		key: key, profile: g.ports[key.ServerPort], payload: payload, intact: true, ce: ce,
		now: now, cpu: cpu, reply: reply[:MaxReply],
	}
	p.session = g.sessions[key]
	out := g.decide(&p)
	g.stats[out]++
	return Result{Outcome: out, Worker: p.worker, Reply: p.reply[:p.replied], Wake: p.wake}
}
