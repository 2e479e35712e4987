package serve

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/xrudp/xrudp/cmd/xrudpd/config"
	"github.com/xrudp/xrudp/loader"
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/worker"
)

// cookiePeriod is how often the cookie secret changes, as in the XDP program.
const cookiePeriod = 32 * time.Second

// openUDP serves over ordinary sockets, with a gate in each worker and the
// shared memory in a file.
func (s *Server) openUDP() ([]worker.Options, error) {
	if len(s.cfg.Require) > 0 {
		return nil, fmt.Errorf("require %q: %s", s.cfg.Require, lastOf(s.report.Reasons))
	}
	s.report.Mode, s.report.AFXDP = "udp", "none"
	if err := s.suspendXDP(); err != nil {
		return nil, err
	}
	regions, err := s.openState()
	if err != nil {
		return nil, err
	}
	workers := regions.Geometry().Workers
	sockets, err := transport.ListenUDP(transport.UDPOptions{
		Address: s.addr.Addr(), Ports: s.ports(), Workers: workers, Device: s.cfg.Interface,
	})
	if err != nil {
		return nil, err
	}
	s.cookies = gate.CookieKeys{Keys: [2]gate.CookieKey{newSecret(), newSecret()}}
	options := make([]worker.Options, workers)
	for i := range options {
		s.batches = append(s.batches, sockets[i])
		g, err := gate.New(gate.Config{
			Features: gate.FeatureSACK, CompactPorts: s.cfg.CompactPorts(), SessionBudget: s.cfg.SessionBudget,
			ControlBytes: worker.Reassembly(regions.Geometry()),
		}, regions, s.cookies)
		if err != nil {
			return nil, err
		}
		options[i] = worker.Options{Regions: regions, Transport: sockets[i], Gate: g}
	}
	return options, nil
}

// suspendXDP detaches a program that a former server of the instance left at
// work: it would answer handshakes with secrets of its own.
func (s *Server) suspendXDP() error {
	detached, err := loader.Suspend(loader.DefaultPinRoot, s.cfg.Instance)
	switch {
	case errors.Is(err, loader.ErrInUse):
		return s.runsAlready(err)
	case errors.Is(err, fs.ErrPermission):
		return nil // an instance of another user's
	case err != nil:
		return err
	}
	if detached {
		s.report.warn("the XDP program of a former server is detached; what it acknowledged waits in %s for the next start with XDP",
			filepath.Join(loader.DefaultPinRoot, s.cfg.Instance))
	}
	return nil
}

func (s *Server) runsAlready(err error) error {
	return fmt.Errorf("instance %q runs already: %w", s.cfg.Instance, err)
}

func lastOf(reasons []string) string {
	if len(reasons) == 0 {
		return "not available"
	}
	return reasons[len(reasons)-1]
}

// openState opens the file that outlives the process. Without one the server
// serves all the same, and says what that costs.
func (s *Server) openState() (*commit.Regions, error) {
	g := s.cfg.Geometry(s.workers, 1)
	dir, err := s.stateDir()
	if err == nil {
		var r *commit.Regions
		if r, err = s.openStateFile(filepath.Join(dir, s.cfg.Instance+".state"), g); err == nil {
			return r, nil
		}
	}
	var other *commit.MismatchError
	switch {
	case errors.Is(err, commit.ErrLocked):
		return nil, s.runsAlready(err)
	case errors.As(err, &other):
		return nil, fmt.Errorf("%w; stop the version that made it cleanly, or remove the file to give up what is in it", err)
	}
	s.report.warn("acknowledged messages will not survive a crash: %v", err)
	return commit.NewMemory(g)
}

func (s *Server) openStateFile(path string, g commit.Geometry) (*commit.Regions, error) {
	r, fresh, closeFile, err := commit.OpenFile(path, g)
	var other *commit.MismatchError
	if errors.As(err, &other) {
		if other.Schema != commit.SchemaVersion {
			return nil, err
		}
		s.report.warn("continuing with the %s that %s was made with; the configured ones apply after a clean exit",
			sizes(other.Geometry), path)
		r, fresh, closeFile, err = commit.OpenFile(path, other.Geometry)
	}
	if err != nil {
		return nil, err
	}
	s.report.Reused, s.report.KeptIn = !fresh, path
	s.releaseState = func(clean bool) error {
		var err error
		if clean {
			// Nothing is left to be recovered, and the next server may have
			// another shape. Removed while locked, so that nobody else has it.
			err = os.Remove(path)
		}
		return errors.Join(err, closeFile())
	}
	return r, nil
}

// stateDir makes the folder of the state file: the configured one or, for a
// user who may not write to the default, one of theirs.
func (s *Server) stateDir() (string, error) {
	dir := s.cfg.StateDir
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = writable(dir)
	}
	if err != nil && dir == config.Default().StateDir && errors.Is(err, fs.ErrPermission) {
		if dir, err = userStateDir(); err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
	}
	if err != nil {
		return "", fmt.Errorf("make state folder: %w", err)
	}
	return dir, nil
}

func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func userStateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "xrudp"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(home, ".local", "state", "xrudp"), nil
}

// rotate replaces the older cookie secret of every worker's gate, until ctx is
// done.
func (s *Server) rotate(ctx context.Context) {
	tick := time.NewTicker(cookiePeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next := 1 - s.cookies.Current
		s.cookies.Keys[next] = newSecret()
		s.cookies.Current = next
		keys := s.cookies
		if err := s.group.Each(ctx, func(w *worker.Worker) { w.SetCookieKeys(keys) }); err != nil && ctx.Err() == nil {
			s.log.Error().Err(err).Msg("cookie secrets not rotated")
		}
	}
}

func newSecret() gate.CookieKey {
	var b [16]byte
	rand.Read(b[:])
	return gate.CookieKey{K0: binary.NativeEndian.Uint64(b[:8]), K1: binary.NativeEndian.Uint64(b[8:])}
}

// sizes describes a geometry in words of the configuration.
func sizes(g commit.Geometry) string {
	return fmt.Sprintf("workers = %d, commit_slots = %d, max_sessions = %d and %d KiB per worker for large messages",
		g.Workers, g.Slots, g.MaxSessions, g.TransferBytes>>10)
}
