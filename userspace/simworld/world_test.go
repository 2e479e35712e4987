package simworld_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/simnet"
	"github.com/xrudp/xrudp/userspace/simworld"
	"github.com/xrudp/xrudp/userspace/wire"
)

// worldConfig says what a world is made of.
type worldConfig struct {
	seed      uint64
	up, down  simnet.Link
	profile   wire.Profile
	client    session.Config
	server    session.Config
	clientISN uint32

	// forceISN opens the session with serverISN instead of the cookie's, to
	// have the sequence numbers of the server wrap.
	forceISN  bool
	serverISN uint32

	slots       int           // per commit ring
	cpus        int           // the gate uses them at random
	workerDelay time.Duration // from an arrival to the worker's pass, at most
}

// world is a client and a server, with streams of messages between them that
// are checked.
type world struct {
	*simworld.World
	*simworld.Peer
	t   testing.TB
	cfg worldConfig

	toServer, toClient stream

	// onCommit sees every packet the gate acknowledged for the first time.
	onCommit func(seq uint32, body []byte)
}

func newWorld(t testing.TB, cfg worldConfig) *world {
	t.Helper()
	cfg.slots = max(cfg.slots, 64)
	w := &world{t: t, cfg: cfg}
	w.World = simworld.New(simworld.Config{Seed: cfg.seed, Slots: cfg.slots, CPUs: cfg.cpus, WorkerDelay: cfg.workerDelay, Profile: cfg.profile})
	w.Peer = w.Add(cfg.up, cfg.down)
	w.Up = w.Net.NewPipe(cfg.up, w.arriveAtServer)
	w.ClientConfig, w.ServerConfig = cfg.client, cfg.server
	w.toServer.init(w, "to server")
	w.toClient.init(w, "to client")
	w.OnServer = w.toServer.receive
	w.OnClient = w.toClient.receive
	w.Dial(cfg.clientISN)
	return w
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d, %v: %s", w.cfg.seed, time.Duration(w.Net.Now()-simworld.Start), fmt.Sprintf(format, args...))
}

func (w *world) arriveAtServer(k simnet.Packet) {
	if w.cfg.forceISN && w.forcedHandshake(k.Data) {
		return
	}
	committed := w.Gate.Stats()[gate.TXAck]
	w.AtServer(k)
	if w.onCommit != nil && w.Gate.Stats()[gate.TXAck] != committed {
		w.onCommit(w.packetParts(k.Data))
	}
}

// packetParts reads a packet that the gate has just committed.
func (w *world) packetParts(packet []byte) (uint32, []byte) {
	h, body, _ := w.cfg.profile.ParseHeader(packet)
	state, _ := w.Gate.Session(w.Key)
	w.cfg.profile.Expand(&h, wire.Reference{Reliable: state.Window.Next})
	var block wire.AckBlock
	body, _ = w.cfg.profile.ParseBlock(&h, w.Server.SACK(), body, &block)
	return h.Sequence, body
}

// forcedHandshake answers SYN and first HELLO with the chosen sequence.
func (w *world) forcedHandshake(packet []byte) bool {
	if !wire.Verify(packet) {
		return false
	}
	if h, opts, err := wire.ParseSYN(packet); err == nil {
		reply := wire.Options{Cookie: uint64(w.cfg.serverISN) << 1, HasCookie: true, SACK: opts.SACK, MTU: wire.MaxDatagram}
		w.Down.Send(wire.AppendSYNACK(nil, h.Sequence, reply, w.Net.Now()/1000))
		return true
	}
	_, body, _ := wire.ParseHeader(packet)
	if w.Server == nil && wire.IsHello(body) {
		w.Hello(packet)
		return true
	}
	return false
}

// until runs the world until cond holds and fails after limit.
func (w *world) until(limit time.Duration, what string, cond func() bool) {
	w.t.Helper()
	end := w.Net.Now() + uint64(limit)
	for !cond() {
		if !w.Net.Step(end) {
			server := "none"
			if w.Server != nil {
				server = fmt.Sprintf("%v (%v) %+v", w.Server.State(), w.Server.Reason(), w.Server.Stats())
			}
			w.fatalf("%s did not happen in %v\nclient %v (%v) %+v\nserver %s", what, limit,
				w.Client.State(), w.Client.Reason(), w.Client.Stats(), server)
		}
	}
}

// open runs the world until both ends are open.
func (w *world) open() {
	w.t.Helper()
	w.until(time.Minute, "opening", func() bool {
		return w.Server != nil && w.Client.State() == session.Open
	})
}

// stream is what one end sends to the other, and the check that it arrives as
// its modes promise. Payloads say what they are.
type stream struct {
	w        *world
	name     string
	sent     [4][reliability.Channels]uint32
	got      [4][reliability.Channels]map[uint32]uint32 // number to sequence of the packet
	last     [4][reliability.Channels]int64
	received int
	missing  int // reliable messages sent and not yet received
}

func (s *stream) init(w *world, name string) {
	*s = stream{w: w, name: name}
	for mode := range s.last {
		for channel := range s.last[mode] {
			s.last[mode][channel] = -1
		}
	}
}

// send queues one message and reports whether there was room.
func (s *stream) send(from *session.Session, mode session.Mode, channel uint8, size int) bool {
	payload := make([]byte, max(size, 8))
	number := &s.sent[mode][channel]
	binary.BigEndian.PutUint32(payload, *number)
	payload[4], payload[5] = byte(mode), channel
	binary.BigEndian.PutUint16(payload[6:], uint16(len(payload)))
	for i := 8; i < len(payload); i++ {
		payload[i] = byte(*number + uint32(i))
	}
	if err := from.Send(mode, channel, 1+channel, payload); errors.Is(err, session.ErrWouldBlock) {
		return false
	} else if err != nil {
		s.w.fatalf("%s: %v in state %v (%v)", s.name, err, from.State(), from.Reason())
	}
	*number++
	if mode.Reliable() {
		s.missing++
	}
	return true
}

func (s *stream) receive(m session.Message) {
	p := m.Payload
	if len(p) < 8 || session.Mode(p[4]) != m.Mode || p[5] != m.Channel || m.Type != 1+m.Channel ||
		int(binary.BigEndian.Uint16(p[6:])) != len(p) {
		s.w.fatalf("%s: message is not what was sent: %+v", s.name, m)
	}
	number := binary.BigEndian.Uint32(p)
	for i := 8; i < len(p); i++ {
		if p[i] != byte(number+uint32(i)) {
			s.w.fatalf("%s: payload differs at %d", s.name, i)
		}
	}
	got := &s.got[m.Mode][m.Channel]
	if *got == nil {
		*got = map[uint32]uint32{}
	}
	if _, again := (*got)[number]; again {
		s.w.fatalf("%s: %v message %d of channel %d came twice", s.name, m.Mode, number, m.Channel)
	}
	(*got)[number] = m.Sequence
	s.received++
	last := &s.last[m.Mode][m.Channel]
	switch m.Mode {
	case session.ReliableOrdered:
		if int64(number) != *last+1 {
			s.w.fatalf("%s: ordered message %d of channel %d after %d", s.name, number, m.Channel, *last)
		}
	case session.UnreliableSequenced:
		if int64(number) <= *last {
			s.w.fatalf("%s: sequenced message %d of channel %d after %d", s.name, number, m.Channel, *last)
		}
	default:
	}
	*last = max(*last, int64(number))
	if m.Mode.Reliable() {
		s.missing--
	}
	if uint32(number) >= s.sent[m.Mode][m.Channel] {
		s.w.fatalf("%s: %v message %d of channel %d was never sent", s.name, m.Mode, number, m.Channel)
	}
}
