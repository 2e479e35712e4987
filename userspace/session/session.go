// Package session runs one end of a connection: handshake, reliable and
// unreliable messages in both directions, keepalive and closing.
//
// A Session holds no socket, goroutine or clock. Its owner feeds it what
// arrived and the time, and asks it with Fill for packets to send. Server,
// client and simulation use the same type; they differ in who receives:
//
//   - At a client the Session itself checks packets, acknowledges and removes
//     duplicates. Everything that arrives goes to Packet.
//   - At a server the gate does that. The Session gets what the gate let
//     through: Committed, AckState, Unreliable and Reset.
//
// Times are nanoseconds of CLOCK_MONOTONIC.
package session

import (
	"cmp"
	"errors"
	"time"

	"github.com/xrudp/xrudp/userspace/congestion"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Mode says what is promised about a message.
type Mode uint8

const (
	// Unreliable messages arrive at most once, in any order, or not at all.
	Unreliable Mode = iota
	// UnreliableSequenced messages are dropped where a newer one of the same
	// channel came first.
	UnreliableSequenced
	// ReliableOrdered messages arrive exactly once, in order within their
	// channel.
	ReliableOrdered
	// ReliableUnordered messages arrive exactly once, as soon as they can.
	ReliableUnordered
)

// Reliable reports whether the mode promises arrival.
func (m Mode) Reliable() bool { return m >= ReliableOrdered }

// String returns the mode's name.
func (m Mode) String() string {
	switch m {
	case Unreliable:
		return "unreliable"
	case UnreliableSequenced:
		return "unreliable-sequenced"
	case ReliableOrdered:
		return "reliable-ordered"
	case ReliableUnordered:
		return "reliable-unordered"
	}
	return "unknown"
}

// State is where a session is in its life. It only ever grows.
type State uint8

const (
	// SynSent: a client waits for the answer to its SYN.
	SynSent State = iota
	// HelloSent: a client waits for the confirmation that the server opened
	// the session.
	HelloSent
	// Open: messages may be sent.
	Open
	// Closing: Close was called; what is queued and then the FIN are on their
	// way. Messages still arrive.
	Closing
	// Draining: a server's session that can neither send nor be talked to any
	// more. The owner gives it what was acknowledged and not taken out of its
	// rings yet, then calls FlushHeld, which closes it.
	Draining
	// Lingering: over, closed by the peer. The owner keeps the session for
	// its last task, which is to acknowledge the peer's FIN again.
	Lingering
	// Closed: over. Fill may still have a reset to send, now and at
	// NextTimeout, to tell a peer that may have missed it.
	Closed
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case SynSent:
		return "syn-sent"
	case HelloSent:
		return "hello-sent"
	case Open:
		return "open"
	case Closing:
		return "closing"
	case Draining:
		return "draining"
	case Lingering:
		return "lingering"
	case Closed:
		return "closed"
	}
	return "unknown"
}

// ReasonHandshakeTimeout ends a session whose server never answered. It stays
// on this machine.
const ReasonHandshakeTimeout = wire.ReasonLocal

// LingerTime is how long a session stays in Lingering after the peer was heard
// last, and maxLinger how long at most: a peer that goes on asking did not hear
// the answer yet.
const (
	LingerTime = 3 * time.Second
	maxLinger  = time.Minute
)

// closingRTO is the longest retransmission timeout of a session that closes:
// the peer does not linger for long.
const closingRTO = 250 * time.Millisecond

// Errors of Send.
var (
	// ErrWouldBlock: the queue is full. Send again later, or let the message go.
	ErrWouldBlock = errors.New("send message: queue is full")
	// ErrTooLarge: the payload exceeds what the peer takes, MaxMessage.
	ErrTooLarge = errors.New("send message: payload too large")
	// ErrNotOpen: the session is not open, not open yet or not any more.
	ErrNotOpen = errors.New("send message: session is not open")

	errChannel  = errors.New("send message: channel above 127")
	errType     = errors.New("send message: type is not an application's")
	errPriority = errors.New("send message: no such priority")
)

// Message is one message that arrived.
type Message struct {
	Mode    Mode
	Channel uint8 // 0 to 127
	Type    uint8
	ID      uint16 // counts per channel and mode

	// Sequence is the number of the packet that carried the message, in the
	// reliable or in the unreliable space. Together with the session's id it
	// tells a handler whether it saw a reliable message before a crash.
	Sequence uint32

	// Payload aliases the packet and is valid until the callback returns.
	Payload []byte
}

// Ref names the memory of a committed packet to its owner, who chooses what it
// means.
type Ref uint64

// Config adjusts sessions. The zero value works.
type Config struct {
	// Profile is how packets are written.
	Profile wire.Profile

	// MaxDatagram is the largest UDP payload to send and accept, in bytes, up to
	// wire.MaxDatagramLimit, which 0 means. More than wire.MaxDatagram is sent
	// only of large messages, where probes found that the path carries it.
	MaxDatagram int

	// HandshakeTimeout bounds a client's handshake. 0 means 5 s.
	HandshakeTimeout time.Duration

	// IdleTimeout ends a session whose peer is silent for so long. It also
	// bounds how long closing takes without progress. 0 means 10 s.
	IdleTimeout time.Duration

	// KeepaliveInterval is the silence after which a peer is asked for a sign
	// of life. 0 means 1 s.
	KeepaliveInterval time.Duration

	// MinRTO and MaxRTO bound the retransmission timeout. 0 means 30 ms and
	// 2 s.
	//
	// RFC 6298 asks for a floor of 1 s, TCP uses 200 ms. Simulated game traffic
	// (20 small messages/s, 1 to 5% loss, LAN to mobile paths) arrives at the
	// 99th percentile 20 to 130 ms later with a floor of 100 or 200 ms, while
	// what is sent again needlessly hardly exceeds the lost acknowledgements
	// with any floor. Below 30 ms only a LAN gains, and a client that looks at
	// its socket once per frame would be sent everything twice.
	MinRTO, MaxRTO time.Duration

	// SendQueue bounds the bytes, message headers included, that wait to be
	// sent for the first time: once for reliable and once for unreliable
	// messages. 0 means 256 KiB.
	SendQueue int

	// LargeQueue bounds the bytes of messages larger than a packet that wait or
	// are on their way, and of what waits behind them. 0 means 8 MiB.
	LargeQueue int

	// Bandwidth bounds what the session sends, in bytes of UDP payload per
	// second. Critical messages, retransmissions and acknowledgements count but
	// do not wait. 0 means no bound.
	Bandwidth int

	// HoldNormal and HoldLow are how long messages of these priorities wait for
	// a packet to fill up. 0 means 5 ms and 20 ms.
	HoldNormal, HoldLow time.Duration

	// Reassembly is how many bytes of messages that are larger than a packet
	// and not complete yet are held, and so the largest such message that is
	// taken. 0 means 4 MiB. Negative makes a session without control messages:
	// nothing larger than a packet in either direction, and no lifetimes.
	Reassembly int

	// NoSACK makes a session that knows the base header only.
	NoSACK bool

	// Memory keeps messages larger than a packet while they arrive. At a server
	// it outlives the process. nil means the heap.
	Memory reliability.Memory

	// ReassemblyTimeout is how long such a message may be without a new chunk:
	// then an unreliable one is dropped, and one that is reliable ends the
	// session. 0 means IdleTimeout.
	ReassemblyTimeout time.Duration

	// Pool holds unused packets. Sessions of one owner may share one; nil
	// gives the session its own.
	Pool *reliability.Pool

	// Congestion makes the session's congestion controller. nil means
	// congestion.NewAdaptive with its defaults.
	Congestion func() congestion.Controller

	// ReceiveWindow returns how many packets there is room for, at a server
	// the free slots of its commit rings. nil means always enough.
	ReceiveWindow func() int

	// Message is called for each message that arrives, from within Packet,
	// Committed, Unreliable and the methods of recovery. It may call Send,
	// Close, Abort, Stop and Reset, and no other method that changes the session.
	Message func(s *Session, m Message)

	// Abandoned is called when a reliable message whose lifetime was over is
	// known not to be handed over at the peer. id is the message's: those of a
	// mode and channel count from 0 in the order in which Send took them. It may
	// be called from within Fill too, and call what Message may.
	Abandoned func(s *Session, mode Mode, channel uint8, id uint16)

	// Release is called exactly once for each packet given to Committed, from
	// within Committed or a later call that changes the session: its memory
	// is not needed any more.
	Release func(s *Session, ref Ref)
}

func (c *Config) fillDefaults() {
	c.MaxDatagram = cmp.Or(c.MaxDatagram, wire.MaxDatagramLimit)
	c.MaxDatagram = min(c.MaxDatagram, wire.MaxDatagramLimit)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 5*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 10*time.Second)
	c.KeepaliveInterval = cmp.Or(c.KeepaliveInterval, time.Second)
	c.MinRTO = cmp.Or(c.MinRTO, 30*time.Millisecond)
	c.MaxRTO = cmp.Or(c.MaxRTO, 2*time.Second)
	c.SendQueue = cmp.Or(c.SendQueue, 256<<10)
	c.Reassembly = cmp.Or(c.Reassembly, 4<<20)
	c.LargeQueue = cmp.Or(c.LargeQueue, 8<<20)
	c.ReassemblyTimeout = cmp.Or(c.ReassemblyTimeout, c.IdleTimeout)
	c.HoldNormal = cmp.Or(c.HoldNormal, 5*time.Millisecond)
	c.HoldLow = cmp.Or(c.HoldLow, 20*time.Millisecond)
	if c.Pool == nil {
		c.Pool = new(reliability.Pool)
	}
	if c.Memory == nil {
		c.Memory = new(reliability.Heap)
	}
	if c.Congestion == nil {
		c.Congestion = func() congestion.Controller { return congestion.NewAdaptive(congestion.Params{}) }
	}
	if c.Message == nil {
		c.Message = func(*Session, Message) {}
	}
	if c.Abandoned == nil {
		c.Abandoned = func(*Session, Mode, uint8, uint16) {}
	}
	if c.Release == nil {
		c.Release = func(*Session, Ref) {}
	}
}

// Stats counts what happened to a session.
type Stats struct {
	PacketsOut, BytesOut uint64 // UDP payloads
	MessagesOut          uint64 // accepted by Send
	MessagesIn           uint64 // handed over
	Retransmitted        uint64 // packets sent again
	Lost                 uint64 // packets taken for lost
	Spurious             uint64 // of these, known to have arrived
	Early                uint64 // small packets sent twice because the path loses; not in Retransmitted
	Probes               uint64 // packets sent again for want of an answer
	Timeouts             uint64 // probes left unanswered
	Marks                uint64 // acknowledgements of packets that came marked Congestion Experienced
	CongestionEvents     uint64 // times the controller gave way
	Acks                 uint64 // acknowledgements looked at
	Abandoned            uint64 // messages given up, their lifetime being over
	AbandonedConfirmed   uint64 // of these, those the peer does without
	Skipped              uint64 // messages that the peer gave up
	Duplicates           uint64 // reliable packets that came again; clients only
	Superseded           uint64 // sequenced messages that came too late
	PathMTU              int    // largest UDP payload that is sent, in bytes
	PathProbes           uint64 // packets sent to find out how large that may be
	BlackHoles           uint64 // times the path ceased to carry what it did before
	Dropped              [DropMax]uint64
	SRTT, RTTVar, RTO    time.Duration
	MinRTT               time.Duration               // of about the last ten seconds
	PacingRate           float64                     // packets per second, 0 for no limit
	InFlight             int                         // packets
	CongestionWindow     int                         // packets
	Queued               int                         // bytes waiting to be sent for the first time, of large messages until acknowledged
	HeldMessages         int                         // waiting for others to be handed over
	HeldPackets          int                         // they lie in
	HeldLarge            int                         // bytes of messages larger than a packet, incomplete or waiting
	Reassembly           reliability.ReassemblyStats // of these
}

// Session is one end of a connection. It is not safe for concurrent use.
type Session struct {
	// Owner is for the session's owner; the Session leaves it alone.
	Owner any

	cfg     Config
	id      uint64
	key     wire.Key
	server  bool
	sack    bool
	control bool   // control messages may travel
	token   uint32 // of RST

	state       State
	reason      wire.Reason
	closeWhy    wire.Reason // given to Close
	tellPeer    bool        // a RST is owed when draining ends
	resetDue    bool        // a RST is still to be sent
	resets      int         // sent
	recovering  bool        // made by NewRecovered
	collected   bool        // Recover was called
	now         uint64      // of the latest input
	began       uint64
	deadline    uint64 // of the handshake, the longest lingering, or the next RST's
	lastHeard   uint64
	lastProbe   uint64
	lastAdvance uint64 // the peer acknowledged something new
	probeDue    bool
	blocked     bool // by the peer's window, with nothing in flight
	probes      uint // since blocked

	hs handshake

	// Sending.
	snd            reliability.Sender
	out            outbox
	large          outLarge
	budget         budget
	mtu            pathMTU
	peerWindow     int
	peerReassembly int // bytes of unfinished large messages that the peer holds
	bodyMax        int // bytes of messages in packets of any path
	unreliableNext uint32
	sendIDs        [4][reliability.Channels]uint16
	rttCount       uint32 // of the gate's samples, the last one seen
	eceCount       uint32 // likewise, of acknowledgements with ECE

	// Receiving.
	rcv       reliability.ReceiveWindow
	replay    reliability.ReplayWindow
	order     reliability.Orderer
	newest    [reliability.Channels]uint16 // unreliable-sequenced: next id expected
	inbox     inbox
	in        inLarge
	far       []farPacket
	finSeen   bool
	finSeq    uint32
	finWhy    wire.Reason
	ackDue    bool
	owedLow   uint32 // of the packets that the peer is to hear of
	owedHigh  uint32
	windowDue bool // the peer is to learn the window
	echo      uint64
	echoedAt  uint64
	ece       bool          // packets came marked, and the peer did not say that it heeds that
	sampled   uint64        // the peer's echo that the newest round trip is from
	block     wire.AckBlock // of the packet being written

	stats Stats
}

// newSession returns what clients and servers have in common.
func newSession(cfg Config, now uint64) *Session {
	cfg.fillDefaults()
	s := &Session{cfg: cfg, now: now, began: now, lastHeard: now, lastProbe: now, lastAdvance: now, deadline: reliability.Never}
	s.snd.RTT.Init(uint64(cfg.MinRTO), uint64(cfg.MaxRTO))
	s.budget.rate = uint64(cfg.Bandwidth)
	s.setMaxDatagram(cfg.MaxDatagram)
	return s
}

func (s *Session) setMaxDatagram(n int) {
	s.mtu.init(n)
	s.bodyMax = s.mtu.base - s.cfg.Profile.Overhead()
}

// ID returns the session's id, 0 at a client.
func (s *Session) ID() uint64 { return s.id }

// Key returns the client and server address, zero at a client.
func (s *Session) Key() wire.Key { return s.key }

// State returns where the session is in its life.
func (s *Session) State() State { return s.state }

// Over reports whether the session is Lingering or Closed.
func (s *Session) Over() bool { return s.state >= Lingering }

// Reason returns why the session is draining or over, 0 before that.
func (s *Session) Reason() wire.Reason { return s.reason }

// SACK reports whether selective acknowledgements were agreed.
func (s *Session) SACK() bool { return s.sack }

// Recovered reports whether the session continues one of a former process.
func (s *Session) Recovered() bool { return s.recovering }

// SndNxt returns the next reliable sequence to be sent. At a server the gate
// must know it before a packet that Fill wrote leaves.
func (s *Session) SndNxt() uint32 { return s.snd.Next() }

// RcvNxt is the next reliable sequence expected: those before it were handed
// over whole whenever a packet is released.
func (s *Session) RcvNxt() uint32 { return s.rcv.Next }

// MaxPayload returns the size of the largest payload that fits one packet.
func (s *Session) MaxPayload() int { return s.bodyMax - wire.MessageHeaderSize }

// MaxMessage returns the size of the largest payload that Send takes.
func (s *Session) MaxMessage() int {
	if !s.control {
		return s.MaxPayload()
	}
	return max(s.MaxPayload(), min(s.peerReassembly, reliability.MaxChunks*s.chunkSize(), s.cfg.LargeQueue))
}

// Queued returns the bytes that wait to be sent for the first time, and those
// of messages larger than a packet until they are acknowledged.
func (s *Session) Queued() int { return s.out.bytes[0] + s.out.bytes[1] + s.large.queued }

// Waits reports whether acknowledgements can matter at any time: something is to
// be sent that they may let go, or what is Queued for them is not there yet.
func (s *Session) Waits() bool {
	return s.Queued() > 0 || s.out.fin != nil || s.snd.Waiting() > 0
}

// Stats returns a copy of the counters.
func (s *Session) Stats() Stats {
	st := s.stats
	c := s.snd.Count
	st.Lost, st.Spurious, st.Early, st.Probes = c.Lost, c.Spurious, c.Early, c.Probes
	st.Timeouts, st.Marks = c.Timeouts, c.Marks
	st.PathMTU, st.PathProbes, st.BlackHoles = s.mtu.current(), s.mtu.probes, s.mtu.holes
	st.SRTT = time.Duration(s.snd.RTT.Smoothed)
	st.RTTVar = time.Duration(s.snd.RTT.Variance)
	st.RTO = time.Duration(s.snd.RTT.RTO())
	st.MinRTT = time.Duration(s.snd.RTT.Min)
	if cc := s.snd.Controller(); cc != nil {
		st.CongestionWindow, st.PacingRate, st.CongestionEvents = cc.Window(), cc.PacingRate(), cc.Events()
	}
	st.InFlight = s.snd.InFlight()
	st.Queued = s.Queued()
	st.HeldMessages = s.order.Held()
	st.HeldPackets = s.inbox.held + len(s.far)
	st.HeldLarge, st.Reassembly = s.in.Bytes(), s.in.Stats
	return st
}

// Close ends the session in order: what is queued is delivered first, then the
// peer learns the reason. Before the session is open, and of one that is being
// recovered, it does what Abort and Stop do.
func (s *Session) Close(why wire.Reason) {
	switch {
	case s.state < Open:
		s.Abort(why)
	case s.recovering:
		s.Stop(why)
	case s.state == Open:
		s.state = Closing
		s.closeWhy = why
		s.lastAdvance = s.now
		s.snd.RTT.Cap(uint64(closingRTO))
		p := s.cfg.Pool.Get()
		p.Final = true
		_ = append(p.Room(), byte(why))
		p.Extend(wire.ReasonSize)
		s.out.fin = p
	}
}

// Abort ends the session at once and drops what it holds, in both directions:
// also what was acknowledged and waits for a gap. The peer is told by the next
// Fill, unless the reason is local.
func (s *Session) Abort(why wire.Reason) {
	if s.Over() {
		return
	}
	s.resetDue = s.state != SynSent && why < wire.ReasonLocal
	s.end(Closed, why)
}

// Stop ends the session at once, but keeps what was acknowledged: at a server
// it is Draining then, and the peer is told when FlushHeld was called. At a
// client Stop is Abort.
func (s *Session) Stop(why wire.Reason) {
	if !s.server {
		s.Abort(why)
		return
	}
	s.drain(why, true)
}

// Reset ends the session without a word to the peer: its RST arrived, or it
// opened a newer session. A server's session is Draining then, a client's is
// Closed at once.
func (s *Session) Reset(why wire.Reason) {
	switch {
	case s.server:
		s.drain(why, false)
	case s.state != Closed:
		s.end(Closed, why)
	}
}

// drain makes a server's session Draining. One that lingers holds nothing that
// could be drained.
func (s *Session) drain(why wire.Reason, tellPeer bool) {
	if s.state < Draining {
		s.tellPeer = tellPeer && why < wire.ReasonLocal
		s.end(Draining, why)
	}
}

// end stops sending and, unless the session is to be drained, gives back
// everything it holds. A reason once given stays.
func (s *Session) end(state State, why wire.Reason) {
	if s.state < Draining {
		s.reason = why
	}
	s.state = state
	s.deadline = reliability.Never
	s.ackDue, s.windowDue, s.probeDue, s.blocked = false, false, false, false
	s.snd.Close()
	s.out.drain(s.cfg.Pool)
	s.large.drain(s.cfg.Pool)
	if state != Draining {
		s.in.Close()
		s.releaseAll()
	}
}
