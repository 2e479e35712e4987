package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// threadNAPI gives every receive queue of the end a kernel thread on cpu, which goes
// before the programs there, as softirqs do: a veth's ring has room for 256 frames, and
// fills up while a program keeps the thread waiting.
func (e *End) threadNAPI(cpu int) error {
	before, err := napiThreads(e.Interface)
	if err != nil {
		return err
	}
	if err := e.writeSysfs("threaded", "1"); err != nil {
		return fmt.Errorf("enable threaded NAPI: %w", err)
	}
	var set unix.CPUSet
	set.Set(cpu)
	for deadline := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		after, err := napiThreads(e.Interface)
		if err != nil {
			return err
		}
		for pid := range after {
			if before[pid] {
				continue
			}
			if err := unix.SchedSetaffinity(pid, &set); err != nil {
				return fmt.Errorf("pin NAPI thread %d to CPU %d: %w", pid, cpu, err)
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, pid, -20); err != nil {
				return fmt.Errorf("raise priority of NAPI thread %d: %w", pid, err)
			}
			e.NAPIThreads = append(e.NAPIThreads, pid)
		}
		if len(e.NAPIThreads) > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("find NAPI threads of %s: none in /proc", e.Interface)
		}
	}
}

// writeSysfs sets an attribute of the end's device.
func (e *End) writeSysfs(attribute, text string) error {
	return e.DoWithSysfs(func() error {
		return os.WriteFile(filepath.Join("/sys/class/net", e.Interface, attribute), []byte(text), 0)
	})
}

// DoWithSysfs runs f as Do does, and /sys shows the namespace's devices to it.
// Sysfs shows the devices of the namespace it was mounted in, so a thread with
// mounts of its own does it and ends afterwards. The BPF file system is where
// it was.
func (n *Namespace) DoWithSysfs(f func() error) error {
	aside, err := os.MkdirTemp("", "bpffs-")
	if err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	defer os.Remove(aside)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		done <- func() error {
			if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace: %w", err)
			}
			if err := mountSysfs(aside); err != nil {
				return err
			}
			return f()
		}()
	}()
	return <-done
}

// mountSysfs mounts sysfs anew, for the calling thread alone.
func mountSysfs(aside string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("create mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("/sys/fs/bpf", aside, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("put BPF file system aside: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	if err := unix.Mount(aside, "/sys/fs/bpf", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("put BPF file system back: %w", err)
	}
	return nil
}

// napiThreads returns the ids of the kernel threads that poll a device called
// dev, in whichever namespace.
func napiThreads(dev string) (map[int]bool, error) {
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	threads := make(map[int]bool)
	for _, comm := range comms {
		name, err := os.ReadFile(comm)
		if err != nil || !strings.HasPrefix(string(name), "napi/"+dev+"-") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(comm))); err == nil {
			threads[pid] = true
		}
	}
	return threads, nil
}
