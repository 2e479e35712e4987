//go:build !linux

package child

import "os/exec"

// detach does nothing: elsewhere there is no signal for the parent's death.
func detach(*exec.Cmd) {}
