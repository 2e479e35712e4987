package lab

import (
	"fmt"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Namespace is an anonymous network namespace. Its methods may be called
// concurrently until Close.
type Namespace struct {
	fd    int
	close sync.Once
}

func currentNamespace() (int, error) {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open network namespace: %w", err)
	}
	return fd, nil
}

// newNamespace creates a namespace and leaves the calling thread where it was.
func newNamespace() (*Namespace, error) {
	runtime.LockOSThread()
	old, err := currentNamespace()
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer unix.Close(old)

	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("create network namespace: %w", err)
	}
	fd, err := currentNamespace()
	if back := unix.Setns(old, unix.CLONE_NEWNET); back != nil {
		// The thread stays locked, so it ends with its goroutine.
		return nil, fmt.Errorf("leave network namespace: %w", back)
	}
	runtime.UnlockOSThread()
	if err != nil {
		return nil, err
	}
	return &Namespace{fd: fd}, nil
}

// Do runs f on a thread inside the namespace. Sockets and BPF links that f
// opens stay there; goroutines that f starts run outside.
func (n *Namespace) Do(f func() error) error {
	runtime.LockOSThread()
	old, err := currentNamespace()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		// Unlocking a thread that could not return would leak the
		// namespace into unrelated goroutines: let it end instead.
		if unix.Setns(old, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		unix.Close(old)
	}()
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return f()
}

// Start starts cmd inside the namespace, in a session of its own so that the
// scheduler's autogroups do not starve one side. Unless cmd.SysProcAttr says
// otherwise the child gets SIGTERM when this process dies.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	}
	return n.Do(cmd.Start)
}

// Close gives the namespace up. It disappears with the last process and
// socket inside it.
func (n *Namespace) Close() error {
	var err error
	n.close.Do(func() { err = unix.Close(n.fd) })
	return err
}
