package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Pin binds all threads of a process to a CPU, and those that they start later.
func Pin(pid, cpu int) error {
	var only unix.CPUSet
	only.Set(cpu)
	for _, tid := range threads(pid) {
		if err := unix.SchedSetaffinity(tid, &only); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin process %d to CPU %d: %w", pid, cpu, err)
		}
	}
	return nil
}

// CPUTime is the CPU time that the threads of a process have used.
func CPUTime(pid int) time.Duration { return ThreadCPUTime(threads(pid)) }

// ThreadCPUTime is the CPU time that threads have used. Those of the kernel count
// as others do.
func ThreadCPUTime(tids []int) (sum time.Duration) {
	for _, tid := range tids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", tid))
		if err != nil {
			continue // it ended
		}
		var ran time.Duration
		if _, err := fmt.Sscan(string(text), &ran); err == nil {
			sum += ran
		}
	}
	return sum
}

// threadTime is the CPU time that the calling thread has used.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

func threads(pid int) (tids []int) {
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*", pid))
	for _, path := range paths {
		if tid, err := strconv.Atoi(filepath.Base(path)); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids
}
