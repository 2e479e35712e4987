// Package worker runs sessions: one pinned thread per worker takes what the
// gate let through, runs the protocol and the application, and sends one batch
// of answers per pass.
//
// A worker owns its sessions, timers, transports and commit rings, so nothing
// on the path of a packet takes a lock, allocates, logs or reads a clock.
// Workers talk to one another by letters.
package worker

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/internal/monotime"
	"github.com/xrudp/xrudp/userspace/internal/timerwheel"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Handler is the application of one worker. Every call comes from the worker's
// thread and must not block; payloads are valid until the call returns. Each
// session is opened first and closed last, once each.
//
// However a session ends, the messages of every packet that was acknowledged
// come before Close. Messages of other packets may be missing in between where
// the client was cut off. Two ends may drop what was acknowledged: one that the
// handler itself asked for with Session.Abort, and one for a breach of the
// protocol.
type Handler interface {
	Open(s *Session)
	Message(s *Session, m session.Message)
	Close(s *Session, why wire.Reason)

	// Tick is called at Options.TickRate while the worker has sessions, or
	// when a PacedHandler says so.
	Tick(now uint64)
}

// MailHandler is a Handler that takes letters from other workers. A letter is
// valid until the call returns.
type MailHandler interface {
	Mail(from int, letter []byte)
}

// AbandonHandler is a Handler that hears of reliable messages that were given up,
// their lifetime being over.
type AbandonHandler interface {
	// Abandoned says that the message is known not to be handed over at the
	// client. id is its number: those of a session, mode and channel count from 0
	// in the order in which Send took them, and wrap. Messages without a call may
	// have arrived, or the session ended first. What Message may do, Abandoned
	// may.
	Abandoned(s *Session, mode session.Mode, channel uint8, id uint16)
}

// PacedHandler is a Handler that knows when it has something to do, with
// sessions or without, so that an idle worker sleeps.
type PacedHandler interface {
	// NextTick is when the next Tick is wanted, the greatest uint64 for never.
	// It is asked in every pass. Ticks come at Options.TickRate at most.
	NextTick() uint64
}

// Sessions is the gate's table of sessions. Several workers use it at a time.
type Sessions interface {
	// Create makes a session known to the gate. The error wraps
	// gate.ErrExists when there is one with that key.
	Create(key wire.Key, init gate.SessionInit) error
	// Delete makes the gate forget a session, if it knows one.
	Delete(key wire.Key) error
	// Session returns a copy of what the gate knows.
	Session(key wire.Key) (gate.SessionState, bool, error)
}

// Doorbell wakes a worker when the gate committed a packet for it.
type Doorbell interface {
	// FD is readable from a ring until Drain.
	FD() int
	Drain()
}

// Options describe one worker.
type Options struct {
	// Index of the worker, below the number of workers of Regions.
	Index int

	// Regions is the memory shared with the gate and, one worker each, with
	// the others.
	Regions *commit.Regions

	// Transport is how the worker receives and sends. Fallback takes what the
	// gate passed to the host's stack for want of a socket, and reaches
	// clients of whom no frame was seen. Either may be nil.
	Transport, Fallback transport.Batch

	// Gate judges what arrives, where no XDP program does; it is the worker's
	// own. Sessions is then not needed.
	Gate *gate.Gate

	// Sessions is the table of the XDP program.
	Sessions Sessions

	// CompactPorts are the ports that speak the compact profile.
	CompactPorts []uint16

	// CookieHolds verifies the cookie of a HELLO that reached the host's stack
	// without passing the XDP program. nil refuses all of these.
	CookieHolds func(p wire.Profile, cookie uint64, key *wire.Key, clientISN uint32) bool

	// Doorbell is nil where the gate runs in the worker.
	Doorbell Doorbell

	// Handler makes the application.
	Handler func(w *Worker) Handler

	// SessionBudget is the gate's: how many reliable packets of one session
	// may wait for the worker. 0 means what the geometry of Regions says.
	SessionBudget int

	// NoPin leaves the thread where the scheduler puts it; otherwise it stays
	// on CPU.
	NoPin bool
	CPU   int

	// BusyPoll never sleeps.
	BusyPoll bool

	// TickRate is how often Handler.Tick is called per second, by default 60.
	TickRate int

	// Session adjusts sessions. Its callbacks, Pool and ReceiveWindow are the
	// worker's.
	Session session.Config

	// Clock is the time in nanoseconds, by default monotime.Now.
	Clock func() uint64

	// Logger takes changes of state.
	Logger zerolog.Logger
}

func (o Options) withDefaults() Options {
	if o.TickRate == 0 {
		o.TickRate = 60
	}
	if o.Clock == nil {
		o.Clock = monotime.Now
	}
	if o.Gate != nil {
		o.Sessions = ownGate{o.Gate}
	}
	if o.SessionBudget == 0 && o.Regions != nil {
		o.SessionBudget = o.Regions.Geometry().SessionBudget()
	}
	return o
}

func (o *Options) validate() error {
	switch {
	case o.Regions == nil:
		return errors.New("no regions")
	case o.Index < 0 || o.Index >= o.Regions.Geometry().Workers:
		return fmt.Errorf("index %d of %d workers", o.Index, o.Regions.Geometry().Workers)
	case o.Transport == nil && o.Fallback == nil:
		return errors.New("no transport")
	case o.Sessions == nil:
		return errors.New("neither a gate nor its table of sessions")
	case o.Handler == nil:
		return errors.New("no handler")
	case o.SessionBudget < 0:
		return fmt.Errorf("session budget %d", o.SessionBudget)
	case o.TickRate < 0:
		return fmt.Errorf("tick rate %d", o.TickRate)
	}
	return nil
}

// ownGate is the table of a gate inside the worker.
type ownGate struct{ *gate.Gate }

func (g ownGate) Delete(key wire.Key) error {
	g.Gate.Delete(key)
	return nil
}

func (g ownGate) Session(key wire.Key) (gate.SessionState, bool, error) {
	s, ok := g.Gate.Session(key)
	return s, ok, nil
}

// wheelTick is the resolution of session timers.
const wheelTick = uint64(time.Millisecond)

// receiveBatch is how many datagrams one call takes, and receiveCalls how many
// calls one pass makes per transport.
const (
	receiveBatch = 64
	receiveCalls = 4
)

// Worker is one worker. Its methods are called from its own thread, by the
// handler, unless they say otherwise.
type Worker struct {
	opts      Options
	log       zerolog.Logger
	now       uint64
	regions   *commit.Regions
	handler   Handler
	mailer    MailHandler    // nil when the handler takes no letters
	pacer     PacedHandler   // nil when it ticks while there are sessions
	abandoner AbandonHandler // nil when the handler does not ask

	tally

	lanes     []transport.Batch
	full      transport.Batch // has no room for the rest of the pass
	datagrams []transport.Datagram
	route     transport.Route // of the datagram at hand
	reply     [gate.MaxReply]byte
	rings     []*commit.Reader // one per CPU
	room      int              // free slots in the fullest of them
	pressed   bool             // rings wait until letters found room

	first      uint32     // session slot
	bySlot     []*Session // from first on
	byKey      map[wire.Key]*Session
	slots      slotPool
	spent      spentHellos
	sessions   int    // in bySlot
	blocked    int    // of these, waiting for acknowledgements
	stirred    uint64 // when something of a session was sent or acknowledged last
	active     []*Session
	recovering int    // in bySlot, left by a former process
	salvaged   uint64 // messages of recovered sessions
	nextID     uint64
	config     session.Config
	transfers  *commit.Transfers
	wheel      *timerwheel.Wheel[*Session]
	fire       func(*timerwheel.Timer[*Session]) // of Wheel.Advance; made once
	dirty      func(slot uint32)                 // of TakeDirty; made once

	tickEvery uint64
	lastTick  uint64
	nextChore uint64

	group  *Group
	post   []*mailbox // to other workers, by index
	inbox  []*mailbox // from other workers, by index
	poller *poller
	spin   spinner

	mu     sync.Mutex
	calls  []func()
	ended  bool
	called atomic.Bool

	leaving bool   // shutting down
	leaveBy uint64 // when what is left is aborted
	failure error

	metrics  metrics.Set
	outcomes [gate.OutcomeMax]atomic.Uint64 // of the worker's own gate
}

// maxReassembly bounds what one session may hold of the memory for large
// messages, in bytes.
const maxReassembly = 4 << 20

// newWorker returns a worker for Run.
func newWorker(opts Options) (*Worker, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("make worker: %w", err)
	}
	g := opts.Regions.Geometry()
	per := g.SessionsPerWorker()
	w := &Worker{
		opts:      opts,
		log:       opts.Logger.With().Int("worker", opts.Index).Logger(),
		now:       opts.Clock(),
		regions:   opts.Regions,
		datagrams: make([]transport.Datagram, receiveBatch),
		first:     uint32(opts.Index * per),
		bySlot:    make([]*Session, per),
		byKey:     make(map[wire.Key]*Session),
		active:    make([]*Session, 0, 64),
		tickEvery: uint64(time.Second) / uint64(opts.TickRate),
		post:      make([]*mailbox, g.Workers),
		inbox:     make([]*mailbox, g.Workers),
	}
	for _, lane := range []transport.Batch{opts.Transport, opts.Fallback} {
		if lane != nil {
			w.lanes = append(w.lanes, lane)
		}
	}
	w.config = opts.Session
	w.config.Pool = new(reliability.Pool)
	w.transfers = w.regions.Transfers(opts.Index)
	w.config.Memory = w.transfers
	if w.config.Reassembly = int(Reassembly(g)); w.config.Reassembly == 0 {
		w.config.Reassembly = -1
	}
	w.config.Message = w.deliver
	w.config.Abandoned = w.abandon
	w.config.Release = w.release
	w.dirty = w.flowChanged
	w.wheel = timerwheel.New[*Session](w.now, wheelTick)
	w.fire = w.expire
	w.nextChore = w.now
	w.nextID = firstID(opts.Index)

	var err error
	if w.poller, err = newPoller(w.fds()); err != nil {
		return nil, fmt.Errorf("make worker: %w", err)
	}
	w.handler = opts.Handler(w)
	w.mailer, _ = w.handler.(MailHandler)
	w.pacer, _ = w.handler.(PacedHandler)
	w.abandoner, _ = w.handler.(AbandonHandler)
	return w, nil
}

// Reassembly is how many bytes of unfinished large messages a worker over memory
// of this shape holds for a session: what its gate grants. 0 where it has no
// such memory. It is no more than half of what there is: pages are rounded up, and
// have to lie side by side.
func Reassembly(g commit.Geometry) uint32 {
	return uint32(min(g.LargestTransfer()/2, maxReassembly))
}

// fds are the descriptors that say there is something to do.
func (w *Worker) fds() (fds []int) {
	for _, lane := range w.lanes {
		fds = append(fds, lane.FDs()...)
	}
	if w.opts.Doorbell != nil {
		fds = append(fds, w.opts.Doorbell.FD())
	}
	return fds
}

// Index is the worker's number.
func (w *Worker) Index() int { return w.opts.Index }

// Workers is how many workers there are.
func (w *Worker) Workers() int { return w.regions.Geometry().Workers }

// Now is the time of the present pass in nanoseconds.
func (w *Worker) Now() uint64 { return w.now }

// Clock is the time in nanoseconds, for measuring.
func (w *Worker) Clock() uint64 { return w.opts.Clock() }

// Metrics is the worker's counters. It may be called from anywhere; only the
// worker's thread may count.
func (w *Worker) Metrics() *metrics.Set { return &w.metrics }

// SetCookieKeys replaces the cookie secrets of the worker's own gate. It is
// called from the worker's thread, by way of Do.
func (w *Worker) SetCookieKeys(keys gate.CookieKeys) { w.opts.Gate.SetCookieKeys(keys) }

// Do has the worker's thread call f, soon, or never if the worker has ended.
// It may be called from anywhere.
func (w *Worker) Do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return
	}
	w.calls = append(w.calls, f)
	w.called.Store(true)
	w.wake()
}

// end gives back what the worker holds of the system.
func (w *Worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.poller.close()
}

// wake ends the worker's sleep. It may be called from anywhere.
//
//	caller                     worker
//	publish                    asleep = 1
//	full barrier               full barrier
//	swap asleep with 0         look again
func (w *Worker) wake() {
	if w.regions.Wake(w.opts.Index) {
		w.poller.wake()
	}
}

// call makes the calls asked for by Do.
func (w *Worker) call() {
	if !w.called.Load() {
		return
	}
	w.called.Store(false)
	w.mu.Lock()
	calls := w.calls
	w.calls = nil
	w.mu.Unlock()
	for _, f := range calls {
		f()
	}
}
