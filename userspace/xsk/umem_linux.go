package xsk

import (
	"fmt"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/xrudp/xrudp/userspace/internal/numa"
)

const (
	hugePage     = 2 << 20
	hugePageBits = 21

	madvPopulateWrite = 23 // since Linux 5.14
	mpolPreferred     = 1
)

// allocate maps memory for frames, in huge pages if there are enough. node is
// where it is wanted, or numa.NoNode.
func allocate(size, node int, requireHuge bool) (mem []byte, huge bool, warnings []string, err error) {
	rounded := (size + hugePage - 1) &^ (hugePage - 1)
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	mem, bindErr, err := mapOn(rounded, flags|unix.MAP_HUGETLB|hugePageBits<<unix.MAP_HUGE_SHIFT, node)
	switch {
	case err == nil:
		huge = true
	case requireHuge:
		return nil, false, nil, fmt.Errorf("map %d huge pages of 2 MiB: %w (see vm.nr_hugepages)", rounded/hugePage, err)
	default:
		warnings = append(warnings, fmt.Sprintf(
			"UMEM of %d MiB is in small pages: map huge pages: %v (see vm.nr_hugepages)", rounded>>20, err))
		if mem, bindErr, err = mapOn(rounded, flags, node); err != nil {
			return nil, false, nil, fmt.Errorf("map %d MiB: %w", rounded>>20, err)
		}
	}
	if bindErr != nil {
		warnings = append(warnings, fmt.Sprintf("UMEM may be away from NUMA node %d: mbind: %v", node, bindErr))
	}
	return mem, huge, warnings, nil
}

// mapOn maps memory on a node and touches all of it. The node is a preference
// only: a strict policy turns a shortage into a signal.
func mapOn(size, flags, node int) (mem []byte, bindErr, err error) {
	mem, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, nil, err
	}
	if node != numa.NoNode {
		bindErr = mbind(mem, node)
	}
	if err := unix.Madvise(mem, madvPopulateWrite); err != nil && err != unix.EINVAL {
		_ = unix.Munmap(mem)
		return nil, nil, fmt.Errorf("populate: %w", err)
	}
	return mem, bindErr, nil
}

func mbind(mem []byte, node int) error {
	mask := make([]uint, node/bits.UintSize+1)
	mask[node/bits.UintSize] = 1 << (node % bits.UintSize)
	// The kernel reads one bit less than it is told.
	_, _, errno := unix.Syscall6(unix.SYS_MBIND, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)),
		mpolPreferred, uintptr(unsafe.Pointer(&mask[0])), uintptr(len(mask)*bits.UintSize+1), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
