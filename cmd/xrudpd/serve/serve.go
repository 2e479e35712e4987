// Package serve joins the parts of a server: the XDP program and AF_XDP where
// they are to be had, ordinary sockets where not, and the workers.
package serve

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"github.com/xrudp/xrudp/cmd/xrudpd/config"
	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/congestion"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/worker"
)

// Report says what a server obtained, and why not better.
type Report struct {
	Mode     string          // "native", "generic" or "udp"
	AFXDP    string          // "zero-copy", "copy" or "none"
	Reasons  []string        // why not better
	Warnings []string        // what costs performance or safety only
	CPUs     []int           // of the workers
	Geometry commit.Geometry // of the shared memory
	KeptIn   string          // where that is; empty: in the process
	Reused   bool            // it was left by a former process
}

func (r *Report) reason(format string, args ...any) {
	r.Reasons = append(r.Reasons, fmt.Sprintf(format, args...))
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// Server is a running server. Its methods are for one goroutine.
type Server struct {
	cfg     config.Config
	log     zerolog.Logger
	addr    netip.AddrPort
	workers int
	cpus    []int

	report       Report
	group        *worker.Group
	batches      []transport.Batch      // to be closed
	xdp          *loader.Gate           // nil in mode udp
	releaseState func(clean bool) error // of mode udp, nil without a file
	interrupts   string                 // file of the device's former settings
	cookies      gate.CookieKeys        // of mode udp
	stop         context.CancelFunc
	idle         chan struct{} // closed when the upkeep ended
}

// Open attaches and opens everything. After an error nothing is left behind but
// what a former server had left.
func Open(cfg config.Config, handler func(*worker.Worker) worker.Handler, log zerolog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	addr, err := cfg.Address()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: log, addr: addr}
	defer func() {
		if p := recover(); p != nil {
			_ = s.release(!s.report.Reused)
			panic(p)
		}
	}()
	if err := s.place(); err != nil {
		return nil, err
	}
	options, err := s.engine()
	if err == nil {
		s.deferInterrupts()
		err = s.makeWorkers(options, handler)
	}
	if err != nil {
		return nil, errors.Join(err, s.release(!s.report.Reused))
	}
	return s, nil
}

// place decides how many workers there are and where.
func (s *Server) place() error {
	s.workers = s.cfg.Workers
	if s.workers == 0 {
		s.workers = len(s.cfg.CPUs)
	}
	cpus, err := worker.ChooseCPUs(s.cfg.Interface, s.workers)
	if err != nil {
		return err
	}
	if err := worker.CheckCPUs(s.cfg.CPUs); err != nil {
		return err
	}
	s.workers = len(cpus)
	s.cpus = s.cfg.CPUs
	if len(s.cpus) == 0 {
		s.cpus = cpus
	}
	return nil
}

// engine opens what the mode asks for: XDP or, if that may be done without,
// sockets.
func (s *Server) engine() ([]worker.Options, error) {
	switch {
	case s.cfg.Mode == config.ModeUDP:
		s.report.reason("mode is udp")
		return s.openUDP()
	case s.cfg.Interface == "":
		s.report.reason("no interface named for XDP")
		return s.openUDP()
	case config.OneAddress(s.addr):
		s.report.reason("listen names an address, and XDP serves every address of the interface")
		return s.openUDP()
	}
	options, err := s.openXDP()
	if options != nil || err != nil {
		return options, err
	}
	return s.openUDP()
}

func (s *Server) makeWorkers(options []worker.Options, handler func(*worker.Worker) worker.Handler) error {
	for i := range options {
		o := &options[i]
		o.Index = i
		o.Handler = handler
		o.CPU = s.cpus[i%len(s.cpus)]
		o.BusyPoll = s.cfg.BusyPoll
		o.TickRate = s.cfg.TickRate
		o.SessionBudget = s.cfg.SessionBudget
		o.CompactPorts = s.cfg.CompactPorts()
		o.Session = s.sessionConfig()
		o.Logger = s.log
	}
	group, err := worker.NewGroup(options)
	if err != nil {
		return err
	}
	s.group = group
	s.report.CPUs = s.cpus
	s.report.Geometry = options[0].Regions.Geometry()
	return nil
}

// sessionConfig is what the configuration says of sessions.
func (s *Server) sessionConfig() session.Config {
	seed := rand.Uint64()
	return session.Config{
		MaxDatagram: transport.MaxWhole,
		IdleTimeout: time.Duration(s.cfg.IdleTimeout),
		MinRTO:      time.Duration(s.cfg.MinRTO),
		MaxRTO:      time.Duration(s.cfg.MaxRTO),
		Bandwidth:   s.cfg.Bandwidth,
		Congestion: func() congestion.Controller {
			// Sessions do not probe in step. Validate has seen the name.
			seed++
			c, _ := congestion.New(s.cfg.Congestion, congestion.Params{Seed: seed})
			return c
		},
	}
}

// Report says what was obtained.
func (s *Server) Report() Report { return s.report }

// Start runs the workers.
func (s *Server) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.idle = make(chan struct{})
	s.group.Start()
	go s.upkeep(ctx)
}

// upkeep rotates cookie secrets and follows the host's addresses.
func (s *Server) upkeep(ctx context.Context) {
	defer close(s.idle)
	defer func() {
		if p := recover(); p != nil {
			s.log.Error().Interface("panic", p).Msg("upkeep ended: cookie secrets are not rotated any more")
		}
	}()
	if s.xdp != nil {
		s.xdp.Maintain(ctx, s.log)
		return
	}
	s.rotate(ctx)
}

// Done is closed when the workers ended, by Shutdown or by themselves.
func (s *Server) Done() <-chan struct{} { return s.group.Done() }

// Err is why the workers ended by themselves. It is called after Done.
func (s *Server) Err() error { return s.group.Err() }

// Shutdown takes leave of the clients; see worker.Group.
func (s *Server) Shutdown(ctx context.Context) error { return s.group.Shutdown(ctx) }

// Close takes everything back that Open attached, unless the configuration
// says to keep it. It is called after Done, or instead of Start.
//
// A server that failed, that still runs and is ended, or that did not start to
// take over what a former one left, leaves its memory behind without the
// program, for the next one to deliver what was acknowledged.
func (s *Server) Close() error {
	if s.stop == nil {
		return s.release(!s.report.Reused)
	}
	clean := s.end()
	s.stop()
	<-s.idle
	return s.release(clean)
}

// end makes sure that no worker runs, and reports whether they ended in order.
func (s *Server) end() bool {
	select {
	case <-s.group.Done():
		return s.group.Err() == nil
	default:
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.group.Shutdown(ctx)
	return false
}

// release closes transports first, so that the kernel steers nothing to them,
// then what is pinned and mapped.
func (s *Server) release(clean bool) error {
	var errs []error
	for _, b := range s.batches {
		errs = append(errs, b.Close())
	}
	s.batches = nil
	errs = append(errs, s.restoreInterrupts())
	if s.xdp != nil {
		errs = append(errs, s.releaseXDP(clean))
		s.xdp = nil
	}
	if s.releaseState != nil {
		errs = append(errs, s.releaseState(clean))
		s.releaseState = nil
	}
	return errors.Join(errs...)
}
