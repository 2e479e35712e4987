package child

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/xrudp/xrudp/loader/lab"
)

// ServerOptions describe an xrudpd to run.
type ServerOptions struct {
	// Namespace to run in, nil for this process's own.
	Namespace *lab.Namespace
	// Flags of xrudpd. Where it keeps its state is added.
	Flags []string
	// Status takes what the server prints each second, nil for nothing.
	Status io.Writer
	// Log takes what it logs, as lines for people.
	Log io.Writer
}

// Serving is what a server says once it serves.
type Serving struct {
	Mode    string   `json:"mode"`
	AFXDP   string   `json:"af_xdp"`
	Reasons []string `json:"reasons"`
}

// Server is a running xrudpd with a folder for its state.
type Server struct {
	*Process
	folder  string
	serving chan Serving
	last    lastLine
}

// lastLine keeps the newest error of a log, which says why a server ended.
type lastLine struct {
	mu   sync.Mutex
	text string
}

func (l *lastLine) set(text string) {
	l.mu.Lock()
	l.text = text
	l.mu.Unlock()
}

func (l *lastLine) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

// StartServer runs the xrudpd beside this program.
func StartServer(opts ServerOptions) (*Server, error) {
	path, err := Beside("xrudpd")
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "xrudp-")
	if err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	s := &Server{folder: folder, serving: make(chan Serving, 1)}
	flags := append([]string{"--state-dir", folder, "--summary-json", s.summaryPath()}, opts.Flags...)
	cmd := exec.Command(path, flags...)
	cmd.Stdout = opts.Status
	cmd.Stderr = Lines(func(line string) { s.log(opts.Log, line) })
	if s.Process, err = Start(cmd, opts.Namespace); err != nil {
		os.RemoveAll(folder)
		return nil, err
	}
	return s, nil
}

func (s *Server) summaryPath() string { return filepath.Join(s.folder, "summary.json") }

// log reads a line of the server's log: JSON, unless the server could not even
// start.
func (s *Server) log(out io.Writer, line string) {
	var entry struct {
		Serving
		Level   string `json:"level"`
		Message string `json:"message"`
		Error   string `json:"error"`
	}
	if json.Unmarshal([]byte(line), &entry) != nil {
		s.last.set(line)
		fmt.Fprintf(out, "server: %s\n", line)
		return
	}
	if entry.Message == "serving" {
		select {
		case s.serving <- entry.Serving:
		default:
		}
		return
	}
	text := entry.Message
	if entry.Error != "" {
		text += ": " + entry.Error
	}
	switch entry.Level {
	case "error", "fatal":
		s.last.set(text)
		fallthrough
	case "warn":
		fmt.Fprintf(out, "server: %s\n", text)
	}
}

// Ready returns when the server serves.
func (s *Server) Ready(ctx context.Context) (Serving, error) {
	select {
	case serving := <-s.serving:
		return serving, nil
	case <-s.Done():
		return Serving{}, s.Died()
	case <-ctx.Done():
		return Serving{}, fmt.Errorf("wait for server: %w", ctx.Err())
	}
}

// Died says why a server ended that was not asked to. It is called after Done.
func (s *Server) Died() error {
	why := s.last.get()
	switch {
	case s.Err() == nil:
		return errors.New("server ended by itself")
	case why == "":
		return fmt.Errorf("server ended: %w", s.Err())
	}
	return fmt.Errorf("server ended: %w: %s", s.Err(), why)
}

// Summary is what a server counted in its life.
type Summary struct {
	Mode string `json:"mode"`

	// ReliableAccepted counts reliable data packets accepted for the first
	// time, KernelAcked those of them that the kernel acknowledged.
	ReliableAccepted uint64 `json:"reliable_accepted"`
	KernelAcked      uint64 `json:"kernel_acked"`
}

// Finish stops the server and returns its summary. Its folder is removed.
func (s *Server) Finish(grace time.Duration) (Summary, error) {
	defer os.RemoveAll(s.folder)
	select {
	case <-s.Done():
		return Summary{}, s.Died()
	default:
	}
	if err := s.Stop(grace); err != nil {
		return Summary{}, fmt.Errorf("stop server: %w", err)
	}
	b, err := os.ReadFile(s.summaryPath())
	if err != nil {
		return Summary{}, fmt.Errorf("read summary: %w", err)
	}
	var sum Summary
	if err := json.Unmarshal(b, &sum); err != nil {
		return Summary{}, fmt.Errorf("read summary: %w", err)
	}
	return sum, nil
}

// Lines returns a writer that calls f for every whole line written to it.
func Lines(f func(line string)) io.Writer { return &lineWriter{line: f} }

type lineWriter struct {
	line func(string)
	rest []byte
}

// Write never fails.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte{'\n'})
		if !found {
			return len(b), nil
		}
		w.line(string(line))
		w.rest = rest
	}
}
