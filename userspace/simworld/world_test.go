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

	upRate, downRate simnet.Rate
	ecn              bool
	outages          int   // within the first seconds
	mtus             []int // that either direction changes to within them

	transfers   int           // bytes for large messages, 0: no end to them
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
	w.World = simworld.New(simworld.Config{Seed: cfg.seed, Slots: cfg.slots, CPUs: cfg.cpus, WorkerDelay: cfg.workerDelay, Profile: cfg.profile, TransferBytes: cfg.transfers})
	w.Peer = w.Add(cfg.up, cfg.down)
	w.Up = w.Net.NewPipe(cfg.up, w.arriveAtServer)
	w.Up.Bottleneck, w.Down.Bottleneck = w.Net.NewBottleneck(cfg.upRate), w.Net.NewBottleneck(cfg.downRate)
	w.Up.ECN, w.Down.ECN = cfg.ecn, cfg.ecn
	w.planOutages()
	w.planMTUs()
	w.ClientConfig, w.ServerConfig = cfg.client, cfg.server
	w.ClientConfig.Abandoned, w.ServerConfig.Abandoned = w.toServer.abandoned, w.toClient.abandoned
	w.toServer.init(w, "to server")
	w.toClient.init(w, "to client")
	w.OnServer = w.toServer.receive
	w.OnClient = w.toClient.receive
	w.Dial(cfg.clientISN)
	return w
}

// planOutages has the path carry nothing for a while, in one direction or both.
func (w *world) planOutages() {
	rng := w.Net.Rand()
	for range w.cfg.outages {
		begin := w.Net.Now() + rng.Uint64N(10e9)
		end := begin + rng.Uint64N(3e9)
		for _, p := range []*simnet.Pipe{w.Up, w.Down} {
			if rng.IntN(3) > 0 {
				loss := p.Link.Loss
				w.Net.At(begin, func() { p.Link.Loss = 1 })
				w.Net.At(end, func() { p.Link.Loss = loss })
			}
		}
	}
}

// planMTUs has the path become wider and narrower.
func (w *world) planMTUs() {
	rng := w.Net.Rand()
	for _, mtu := range w.cfg.mtus {
		p := []*simnet.Pipe{w.Up, w.Down}[rng.IntN(2)]
		w.Net.At(w.Net.Now()+rng.Uint64N(10e9), func() { p.Link.MTU = mtu })
	}
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
		reply := wire.Options{Cookie: uint64(w.cfg.serverISN) << 1, HasCookie: true, SACK: opts.SACK, MTU: wire.MaxDatagramLimit}
		if opts.HasControl {
			reply.HasControl, reply.Control = true, 4<<20
			if w.cfg.transfers > 0 {
				reply.Control = uint32(w.Regions.Geometry().LargestTransfer() / 2)
			}
		}
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
	w.until(10*time.Minute, "opening", func() bool {
		return w.Server != nil && w.Client.State() == session.Open
	})
}

// stream is what one end sends to the other, and the check that it arrives as
// its modes promise. Payloads say what they are.
type stream struct {
	w        *world
	name     string
	from     *session.Session // that sends; nil before it did
	sent     [4][reliability.Channels]uint32
	got      [4][reliability.Channels]map[uint32]uint32 // number to sequence of the packet
	mortal   [4][reliability.Channels]map[uint32]bool   // with a lifetime; true: known to be given up
	last     [4][reliability.Channels]int64
	received int
	missing  int // reliable messages sent, not yet received and not known to be given up
}

func (s *stream) init(w *world, name string) {
	*s = stream{w: w, name: name}
	for mode := range s.last {
		for channel := range s.last[mode] {
			s.last[mode][channel] = -1
			s.got[mode][channel] = map[uint32]uint32{}
			s.mortal[mode][channel] = map[uint32]bool{}
		}
	}
}

// send queues one message and reports whether there was room.
func (s *stream) send(from *session.Session, mode session.Mode, channel uint8, size int) bool {
	return s.say(from, session.Outgoing{Mode: mode, Channel: channel, Priority: session.High}, size)
}

// say does so with more of a choice.
func (s *stream) say(from *session.Session, o session.Outgoing, size int) bool {
	payload := make([]byte, max(size, 8))
	s.from = from
	number := &s.sent[o.Mode][o.Channel]
	binary.BigEndian.PutUint32(payload[4:], uint32(len(payload)))
	binary.BigEndian.PutUint32(payload, *number)
	payload[4] = byte(o.Mode)
	for i := 8; i < len(payload); i++ {
		payload[i] = byte(*number + uint32(i) + uint32(o.Channel))
	}
	o.Type, o.Payload = 1+o.Channel, payload
	if err := from.SendMessage(o); errors.Is(err, session.ErrWouldBlock) {
		return false
	} else if err != nil {
		s.w.fatalf("%s: %v in state %v (%v)", s.name, err, from.State(), from.Reason())
	}
	if o.Mode.Reliable() {
		s.missing++
		if o.Lifetime > 0 {
			s.mortal[o.Mode][o.Channel][*number] = false
		}
	}
	*number++
	return true
}

func (s *stream) receive(m session.Message) {
	p := m.Payload
	if len(p) < 8 || session.Mode(p[4]) != m.Mode || m.Type != 1+m.Channel ||
		binary.BigEndian.Uint32(p[4:])&0xffffff != uint32(len(p)) {
		s.w.fatalf("%s: message is not what was sent: %v %d %d, %d bytes", s.name, m.Mode, m.Channel, m.ID, len(p))
	}
	number := binary.BigEndian.Uint32(p)
	if m.ID != uint16(number) {
		s.w.fatalf("%s: %v message %d of channel %d has id %d", s.name, m.Mode, number, m.Channel, m.ID)
	}
	for i := 8; i < len(p); i++ {
		if p[i] != byte(number+uint32(i)+uint32(m.Channel)) {
			s.w.fatalf("%s: payload differs at %d", s.name, i)
		}
	}
	got := s.got[m.Mode][m.Channel]
	if _, again := got[number]; again {
		s.w.fatalf("%s: %v message %d of channel %d came twice", s.name, m.Mode, number, m.Channel)
	}
	got[number] = m.Sequence
	s.received++
	last := &s.last[m.Mode][m.Channel]
	switch m.Mode {
	case session.ReliableOrdered, session.UnreliableSequenced:
		if int64(number) <= *last {
			s.w.fatalf("%s: %v message %d of channel %d after %d", s.name, m.Mode, number, m.Channel, *last)
		}
		for n := *last + 1; m.Mode == session.ReliableOrdered && n < int64(number); n++ {
			if _, mortal := s.mortal[m.Mode][m.Channel][uint32(n)]; !mortal {
				s.w.fatalf("%s: message %d of channel %d after %d, and none was to be given up", s.name, number, m.Channel, *last)
			}
		}
	default:
	}
	*last = max(*last, int64(number))
	if m.Mode.Reliable() {
		s.missing--
		if s.mortal[m.Mode][m.Channel][number] {
			s.w.fatalf("%s: %v message %d of channel %d came after it was given up", s.name, m.Mode, number, m.Channel)
		}
	}
	if number >= s.sent[m.Mode][m.Channel] {
		s.w.fatalf("%s: %v message %d of channel %d was never sent", s.name, m.Mode, number, m.Channel)
	}
}

// abandoned takes the sender's word that a message was given up.
func (s *stream) abandoned(from *session.Session, mode session.Mode, channel uint8, id uint16) {
	if from != s.from {
		return // a former session
	}
	number := uint32(id)
	for s.sent[mode][channel] > number+1<<16 {
		number += 1 << 16
	}
	known, mortal := s.mortal[mode][channel][number]
	if known || !mortal {
		s.w.fatalf("%s: %v message %d of channel %d given up; had a lifetime: %v, given up before: %v", s.name, mode, number, channel, mortal, known)
	}
	if _, came := s.got[mode][channel][number]; came {
		s.w.fatalf("%s: %v message %d of channel %d given up though it came", s.name, mode, number, channel)
	}
	s.mortal[mode][channel][number] = true
	s.missing--
}
