package serve

import (
	"path/filepath"

	"github.com/xrudp/xrudp/loader"
)

// deferInterrupts has the device hold back its interrupts where AF_XDP sockets
// are busy-polled. The former settings are kept in a file, because a process
// that dies cannot restore them: the next one of the instance does, whatever its
// own mode is. It is called with the instance locked.
func (s *Server) deferInterrupts() {
	dir, err := s.stateDir()
	if err != nil {
		if s.polls() {
			s.report.warn("interrupts are not deferred: %v", err)
		}
		return
	}
	s.interrupts = filepath.Join(dir, s.cfg.Instance+".interrupts")
	if s.polls() {
		err = loader.DeferInterrupts(s.cfg.Interface, s.interrupts)
	} else {
		err = loader.RestoreInterrupts(s.interrupts)
	}
	if err != nil {
		s.report.warn("busy polling: %v", err)
	}
}

// polls reports whether AF_XDP sockets are busy-polled.
func (s *Server) polls() bool { return s.cfg.BusyPoll && s.report.AFXDP != "none" }

// restoreInterrupts undoes deferInterrupts.
func (s *Server) restoreInterrupts() error {
	if s.interrupts == "" {
		return nil
	}
	path := s.interrupts
	s.interrupts = ""
	return loader.RestoreInterrupts(path)
}
