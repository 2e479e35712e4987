package child

import (
	"os/exec"
	"syscall"
)

// detach puts the program into a session of its own, so that neither Ctrl-C
// nor the scheduler's autogroups treat it as one with its parent.
//
// The kernel sends Pdeathsig when the thread ends that started the program.
// The Go runtime ends no thread that returned from its work, so that is when
// the process ends.
func detach(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
}
