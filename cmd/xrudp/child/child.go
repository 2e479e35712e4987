// Package child runs the other programs of a demonstration or measurement, and
// sees to it that none of them stays behind.
package child

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/xrudp/xrudp/loader/lab"
)

// Beside returns the path of a program that lies where this one does.
func Beside(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find %s beside xrudp (make build puts both there): %w", name, err)
	}
	return path, nil
}

// Process is a running program. Its methods may be called from anywhere.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start starts a program, in a network namespace unless in is nil. It gets
// SIGTERM if this process dies, and no signal from the terminal: whoever
// started it passes on what it should get.
func Start(cmd *exec.Cmd, in *lab.Namespace) (*Process, error) {
	detach(cmd)
	var err error
	if in != nil {
		err = in.Start(cmd)
	} else {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(cmd.Path), err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program ended and everything it wrote was read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the program ended. It is called after Done.
func (p *Process) Err() error { return p.err }

// Interrupt asks the program to end in order.
func (p *Process) Interrupt() { _ = p.cmd.Process.Signal(os.Interrupt) }

// Stop asks the program to end in order, kills it if it takes longer than
// grace, and returns how it ended.
func (p *Process) Stop(grace time.Duration) error {
	p.Interrupt()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %v and was killed", filepath.Base(p.cmd.Path), grace)
	}
}
