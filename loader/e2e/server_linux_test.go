package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
	"github.com/xrudp/xrudp/userspace/worker"
	"github.com/xrudp/xrudp/userspace/xsk"
)

// modeUDP is the mode of a server without XDP, beside those of the loader.
const modeUDP = "udp"

const instance = "e2e"

// setup describes a server.
type setup struct {
	Mode      string
	Interface string
	Address   netip.AddrPort
	Geometry  commit.Geometry
	RXFrames  int // of AF_XDP; 0 is the default
	TickRate  int
	PinRoot   string
	State     string // file of mode udp
	Record    string // file the handler writes to
	Epoch     uint32 // counts processes
}

// server is a running server in this process.
type server struct {
	gate    *loader.Gate // nil in mode udp
	device  *xsk.Device
	ports   []*xsk.Port
	batches []transport.Batch
	release func() error // the state file
	group   *worker.Group
	reused  bool
	closed  bool
	log     *recorder
}

// openServer opens everything and starts the workers.
func openServer(cfg setup) (s *server, err error) {
	s = &server{}
	if s.log, err = openRecorder(cfg.Record, cfg.Epoch); err != nil {
		return nil, err
	}
	var options []worker.Options
	if cfg.Mode == modeUDP {
		options, err = s.openUDP(cfg)
	} else {
		options, err = s.openXDP(cfg)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	for i := range options {
		o := &options[i]
		o.Index, o.NoPin, o.TickRate, o.Logger = i, true, cfg.TickRate, zerolog.Nop()
		o.Handler = func(*worker.Worker) worker.Handler { return &handler{log: s.log} }
	}
	if s.group, err = worker.NewGroup(options); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.group.Start()
	return s, nil
}

func (s *server) openXDP(cfg setup) ([]worker.Options, error) {
	g, report, err := loader.Open(loader.Options{
		Interface: cfg.Interface, Instance: instance, PinRoot: cfg.PinRoot,
		Mode: loader.Mode(cfg.Mode), Require: true,
		Geometry: cfg.Geometry, Ports: []uint16{cfg.Address.Port()},
		ControlBytes: worker.Reassembly(cfg.Geometry),
	})
	if err != nil {
		return nil, err
	}
	s.gate, s.reused = g, report.Reused
	workers := cfg.Geometry.Workers
	sockets, err := transport.ListenUDP(transport.UDPOptions{
		Ports: []uint16{cfg.Address.Port()}, Workers: workers, Device: cfg.Interface,
	})
	if err != nil {
		return nil, err
	}
	for _, socket := range sockets {
		s.batches = append(s.batches, socket)
	}
	s.device, err = xsk.New(xsk.Options{
		Interface: cfg.Interface, Workers: workers, Copy: cfg.Mode == string(loader.ModeGeneric),
		RXFrames: cfg.RXFrames,
	})
	if err != nil {
		return nil, err
	}
	if s.ports, err = s.device.Bind(g); err != nil {
		return nil, err
	}
	var options []worker.Options
	for i, port := range s.ports {
		s.batches = append(s.batches, port)
		options = append(options, worker.Options{
			Regions: g.Regions(), Sessions: g.Sessions(), Doorbell: g.Doorbell(i),
			Transport: port, Fallback: sockets[i],
		})
	}
	return options, nil
}

func (s *server) openUDP(cfg setup) ([]worker.Options, error) {
	regions, fresh, release, err := commit.OpenFile(cfg.State, cfg.Geometry)
	if err != nil {
		return nil, err
	}
	s.release, s.reused = release, !fresh
	sockets, err := transport.ListenUDP(transport.UDPOptions{
		Address: cfg.Address.Addr(), Ports: []uint16{cfg.Address.Port()}, Workers: cfg.Geometry.Workers,
	})
	if err != nil {
		return nil, err
	}
	keys := gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: rand.Uint64()}, {K0: rand.Uint64()}}}
	var options []worker.Options
	for _, socket := range sockets {
		s.batches = append(s.batches, socket)
		own, err := gate.New(gate.Config{Features: gate.FeatureSACK, ControlBytes: worker.Reassembly(cfg.Geometry)}, regions, keys)
		if err != nil {
			return nil, err
		}
		options = append(options, worker.Options{Regions: regions, Transport: socket, Gate: own})
	}
	return options, nil
}

// stop takes leave of the clients for so long and ends the workers.
func (s *server) stop(grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	return s.group.Shutdown(ctx)
}

// close takes everything back. The workers have ended.
func (s *server) close() error {
	s.closed = true
	var errs []error
	for _, b := range s.batches {
		errs = append(errs, b.Close())
	}
	if s.gate != nil {
		errs = append(errs, s.gate.Close())
	}
	if s.release != nil {
		errs = append(errs, s.release())
	}
	return errors.Join(append(errs, unix.Close(s.log.fd))...)
}

// outcomes are the counters of the gate, wherever it is.
func (s *server) outcomes() (sum [gate.OutcomeMax]uint64, err error) {
	if s.gate != nil {
		return s.gate.Stats()
	}
	s.group.CollectOutcomes(&sum)
	return sum, nil
}

// entry is one message in the record.
type entry struct {
	session   uint64
	seq       uint32
	epoch     uint32
	client    uint32
	index     uint32 // counts the client's messages
	ordinal   uint32 // counts them per channel and mode
	mode      session.Mode
	channel   uint8
	kind      uint8
	recovered bool
}

// entrySize is that of an entry in the file.
const entrySize = 32

func (e *entry) put(b *[entrySize]byte) {
	binary.NativeEndian.PutUint64(b[0:], e.session)
	binary.NativeEndian.PutUint32(b[8:], e.seq)
	binary.NativeEndian.PutUint32(b[12:], e.epoch)
	binary.NativeEndian.PutUint32(b[16:], e.client)
	binary.NativeEndian.PutUint32(b[20:], e.index)
	binary.NativeEndian.PutUint32(b[24:], e.ordinal)
	b[28], b[29], b[30], b[31] = byte(e.mode), e.channel, e.kind, 0
	if e.recovered {
		b[31] = 1
	}
}

func parseEntry(b []byte) entry {
	return entry{
		session: binary.NativeEndian.Uint64(b[0:]),
		seq:     binary.NativeEndian.Uint32(b[8:]),
		epoch:   binary.NativeEndian.Uint32(b[12:]),
		client:  binary.NativeEndian.Uint32(b[16:]),
		index:   binary.NativeEndian.Uint32(b[20:]),
		ordinal: binary.NativeEndian.Uint32(b[24:]),
		mode:    session.Mode(b[28]), channel: b[29], kind: b[30], recovered: b[31] != 0,
	}
}

// recorder is what the handlers of one process share.
type recorder struct {
	fd      int
	epoch   uint32
	stall   atomic.Int64  // how long the handler of the next message sleeps, ns
	large   atomic.Bool   // of the next one that is larger than a packet
	stalled atomic.Uint64 // how often one did
}

func openRecorder(path string, epoch uint32) (*recorder, error) {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	return &recorder{fd: fd, epoch: epoch}, nil
}

func (r *recorder) pause(size int) {
	if r.large.Load() && size <= wire.MaxDatagram {
		return
	}
	if length := r.stall.Swap(0); length != 0 {
		r.stalled.Add(1)
		time.Sleep(time.Duration(length))
	}
}

// handler writes every reliable message down, and returns those of kindEcho.
type handler struct {
	log  *recorder
	open map[*worker.Session]*[]echo // what waits for room to be returned
}

type echo struct {
	mode    session.Mode
	channel uint8
	payload []byte
}

func (h *handler) Open(s *worker.Session) {
	if h.open == nil {
		h.open = make(map[*worker.Session]*[]echo)
	}
	h.open[s] = new([]echo)
}

func (h *handler) Close(s *worker.Session, _ wire.Reason) { delete(h.open, s) }

func (h *handler) Tick(uint64) {
	for s, waiting := range h.open {
		for len(*waiting) > 0 {
			e := (*waiting)[0]
			if s.Send(e.mode, e.channel, kindEcho, e.payload) != nil {
				break
			}
			*waiting = (*waiting)[1:]
		}
	}
}

func (h *handler) Message(s *worker.Session, m session.Message) {
	if !m.Mode.Reliable() {
		return
	}
	if len(m.Payload) < labelSize {
		panic(fmt.Sprintf("payload of %d bytes", len(m.Payload)))
	}
	client, index, ordinal := parseLabel(m.Payload)
	if !isWhole(m.Payload) {
		panic(fmt.Sprintf("message %d of client %d is damaged", index, client))
	}
	e := entry{
		session: s.ID(), seq: m.Sequence, epoch: h.log.epoch, recovered: s.Recovered(),
		client: client, index: index, ordinal: ordinal,
		mode: m.Mode, channel: m.Channel, kind: m.Type,
	}
	var b [entrySize]byte
	e.put(&b)
	// Stalled before the write a message is missing when the process dies,
	// stalled after it the message comes again.
	early := h.log.epoch/2%2 == 1
	if early {
		h.log.pause(len(m.Payload))
	}
	if n, err := unix.Write(h.log.fd, b[:]); n != len(b) {
		panic(fmt.Sprintf("write record: %d bytes: %v", n, err))
	}
	if !early {
		h.log.pause(len(m.Payload))
	}
	if m.Type == kindEcho && !s.Recovered() {
		waiting := h.open[s]
		*waiting = append(*waiting, echo{m.Mode, m.Channel, append([]byte(nil), m.Payload...)})
	}
}

// readRecord reads the file that the handlers wrote.
func readRecord(path string) ([]entry, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(b)%entrySize != 0 {
		return nil, fmt.Errorf("record of %d bytes is cut", len(b))
	}
	entries := make([]entry, 0, len(b)/entrySize)
	for ; len(b) > 0; b = b[entrySize:] {
		entries = append(entries, parseEntry(b))
	}
	return entries, nil
}
