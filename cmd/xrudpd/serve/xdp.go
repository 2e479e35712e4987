package serve

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudpd/config"
	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/worker"
	"github.com/xrudp/xrudp/userspace/xsk"
)

func (s *Server) requires(what string) bool { return slices.Contains(s.cfg.Require, what) }

// openXDP attaches the gate and opens the sockets behind it. It returns
// nothing, without an error, where XDP is not to be had and may be missing.
//
// The order is that of the drivers: frames, program, sockets.
func (s *Server) openXDP() ([]worker.Options, error) {
	listen := transport.UDPOptions{Ports: s.ports(), Device: s.cfg.Interface}
	// ListenUDP asks too, but only when something is attached.
	if err := transport.ProbeUDP(listen); err != nil {
		return nil, err
	}
	report, err := s.attach(s.cfg.Geometry(s.workers, loader.PresentCPUs()))
	if err != nil {
		return nil, err
	}
	for _, step := range report.Steps {
		s.report.reason("not %s: %s", step.Mode, step.Reason)
	}
	if s.xdp == nil {
		return nil, nil
	}
	s.report.Mode, s.report.Reused = string(report.Mode), report.Reused
	s.report.KeptIn = report.Folder
	workers := s.xdp.Geometry().Workers

	// First the sockets of the host's stack: what the gate passes up from now
	// on finds them.
	listen.Workers = workers
	sockets, err := transport.ListenUDP(listen)
	if err != nil {
		return nil, err
	}
	for _, socket := range sockets {
		s.batches = append(s.batches, socket)
	}
	ports, err := s.openXSK(report, workers)
	if err != nil {
		return nil, err
	}
	options := make([]worker.Options, workers)
	for i := range options {
		options[i] = worker.Options{
			Regions: s.xdp.Regions(), Sessions: s.xdp.Sessions(), Doorbell: s.xdp.Doorbell(i),
			Fallback: sockets[i], CookieHolds: s.cookieHolds,
		}
		if ports != nil {
			options[i].Transport = ports[i]
		}
	}
	return options, nil
}

// ports are all that are served, in either profile.
func (s *Server) ports() []uint16 {
	return append([]uint16{s.addr.Port()}, s.cfg.CompactPorts()...)
}

// attach opens the gate. Where a former process left maps of another geometry
// they are used as they are, since packets lie in them.
func (s *Server) attach(g commit.Geometry) (*loader.Report, error) {
	o := loader.Options{
		Interface: s.cfg.Interface, Instance: s.cfg.Instance,
		Geometry: g, Ports: []uint16{s.addr.Port()}, CompactPorts: s.cfg.CompactPorts(),
		SessionBudget: s.cfg.SessionBudget, ControlBytes: worker.Reassembly(g),
		Mode: loader.ModeAuto, Require: s.cfg.Mode != config.ModeAuto,
	}
	switch {
	case s.cfg.Mode == config.ModeGeneric:
		o.Mode = loader.ModeGeneric
	case s.cfg.Mode == config.ModeNative || s.requires(config.RequireNative):
		o.Mode, o.Require = loader.ModeNative, true
	case len(s.cfg.Require) > 0:
		o.Require = true
	}
	xdp, report, err := loader.Open(o)
	var other *commit.MismatchError
	if errors.As(err, &other) && other.Schema == commit.SchemaVersion {
		s.report.warn("continuing with the %s of the former process; the configured ones apply after a clean exit", sizes(other.Geometry))
		o.Geometry, o.ControlBytes = other.Geometry, worker.Reassembly(other.Geometry)
		xdp, report, err = loader.Open(o)
	}
	if err != nil {
		return nil, err
	}
	s.xdp = xdp
	return report, nil
}

// busyPoll is how long one poll of a queue looks for packets at most.
const busyPoll = 20 * time.Microsecond

// openXSK opens AF_XDP sockets on every queue, and returns nil where they are
// not to be had and may be missing.
func (s *Server) openXSK(report *loader.Report, workers int) ([]*xsk.Port, error) {
	s.report.AFXDP = "none"
	o := xsk.Options{
		Interface: s.cfg.Interface, Workers: workers, Copy: report.Mode == loader.ModeGeneric,
		RequireZeroCopy:  s.requires(config.RequireZeroCopy),
		RequireHugePages: s.requires(config.RequireHugePages),
	}
	if s.cfg.BusyPoll {
		o.BusyPoll.Duration = busyPoll
	}
	if report.Queues > loader.MaxQueues {
		if s.requires(config.RequireXSK) {
			return nil, fmt.Errorf("require %q: %s has %d receive queues, at most %d can have AF_XDP sockets; see: ethtool -L %s combined %d",
				config.RequireXSK, s.cfg.Interface, report.Queues, loader.MaxQueues, s.cfg.Interface, loader.MaxQueues)
		}
		s.report.warn("AF_XDP on the first %d of %d receive queues only; the others pass through the host's stack", loader.MaxQueues, report.Queues)
		o.Queues = loader.MaxQueues
	}
	device, ports, err := s.bindXSK(o, report.Driver)
	if err != nil {
		if s.requires(config.RequireXSK) || s.requires(config.RequireZeroCopy) || s.requires(config.RequireHugePages) {
			return nil, err
		}
		s.report.reason("no AF_XDP, a UDP socket in its place: %v", err)
		return nil, nil
	}
	for _, port := range ports {
		s.batches = append(s.batches, port)
	}
	got := device.Report()
	s.report.AFXDP = "copy"
	if got.ZeroCopy {
		s.report.AFXDP = "zero-copy"
	}
	for _, r := range got.Refused {
		s.report.reason("%v", r)
	}
	s.report.Warnings = append(s.report.Warnings, got.Warnings...)
	return ports, nil
}

func (s *Server) bindXSK(o xsk.Options, driver string) (*xsk.Device, []*xsk.Port, error) {
	if why := loader.NoXSK(driver); why != "" {
		return nil, nil, errors.New(why)
	}
	device, err := xsk.New(o)
	if err != nil {
		return nil, nil, err
	}
	ports, err := device.Bind(s.xdp)
	return device, ports, err
}

// releaseXDP detaches the program. After a failure the maps stay, and what was
// acknowledged with them; with keep, the program of a server that served stays
// too.
func (s *Server) releaseXDP(clean bool) error {
	switch {
	case clean && s.cfg.Keep && s.stop != nil:
		return s.xdp.Keep()
	case clean:
		return s.xdp.Close()
	}
	return s.xdp.Detach()
}
