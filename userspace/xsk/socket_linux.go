package xsk

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is one AF_XDP socket with its mapped rings.
type socket struct {
	fd       int
	rx       consumer[descriptor]
	tx       producer[descriptor]
	mappings [][]byte
}

func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("open AF_XDP socket: %w (requires Linux 4.18 with CONFIG_XDP_SOCKETS)", ErrNotSupported)
	}
	if err != nil {
		return nil, fmt.Errorf("open AF_XDP socket: %w", err)
	}
	return &socket{fd: fd}, nil
}

// close unmaps the rings first: a mapped ring keeps the queue taken after its
// socket is closed.
func (s *socket) close() error {
	var errs []error
	for _, m := range s.mappings {
		errs = append(errs, unix.Munmap(m))
	}
	s.mappings = nil
	errs = append(errs, unix.Close(s.fd))
	return errors.Join(errs...)
}

// registerUMEM makes mem the memory of the socket's frames.
func (s *socket) registerUMEM(mem []byte, frameSize int) error {
	reg := unix.XDPUmemReg{
		Addr: uint64(uintptr(unsafe.Pointer(&mem[0]))),
		Len:  uint64(len(mem)),
		Size: uint32(frameSize),
	}
	err := setsockopt(s.fd, unix.SOL_XDP, unix.XDP_UMEM_REG, unsafe.Pointer(&reg), unsafe.Sizeof(reg))
	if errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("register UMEM: %w (raise RLIMIT_MEMLOCK above %d MiB)", err, len(mem)>>20)
	}
	if err != nil {
		return fmt.Errorf("register UMEM: %w", err)
	}
	return nil
}

// makeRings creates and maps the socket's rings, those of the queue included
// when q is not nil.
func (s *socket) makeRings(o *Options, q *queue) error {
	rings := []struct {
		option, size int
		name         string
	}{
		{unix.XDP_RX_RING, o.RXFrames, "RX"},
		{unix.XDP_TX_RING, o.txRing(), "TX"},
		{unix.XDP_UMEM_FILL_RING, o.RXFrames, "fill"},
		{unix.XDP_UMEM_COMPLETION_RING, o.completionRing(), "completion"},
	}
	if q == nil {
		rings = rings[:2]
	}
	for _, r := range rings {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, r.option, r.size); err != nil {
			return fmt.Errorf("create %s ring of %d entries: %w", r.name, r.size, err)
		}
	}
	off, err := mmapOffsets(s.fd)
	if err != nil {
		return err
	}
	mem, err := s.mapRing(unix.XDP_PGOFF_RX_RING, off.rx, o.RXFrames, descriptorSize)
	if err != nil {
		return err
	}
	s.rx = makeConsumer[descriptor](mem, off.rx, o.RXFrames)
	if mem, err = s.mapRing(unix.XDP_PGOFF_TX_RING, off.tx, o.txRing(), descriptorSize); err != nil {
		return err
	}
	s.tx = makeProducer[descriptor](mem, off.tx, o.txRing())
	if q == nil {
		return nil
	}
	if mem, err = s.mapRing(unix.XDP_UMEM_PGOFF_FILL_RING, off.fill, o.RXFrames, addressSize); err != nil {
		return err
	}
	q.fill = makeProducer[uint64](mem, off.fill, o.RXFrames)
	if mem, err = s.mapRing(unix.XDP_UMEM_PGOFF_COMPLETION_RING, off.completion, o.completionRing(), addressSize); err != nil {
		return err
	}
	q.completion = makeConsumer[uint64](mem, off.completion, o.completionRing())
	return nil
}

const (
	descriptorSize = uint64(unsafe.Sizeof(descriptor{}))
	addressSize    = uint64(8)
)

// mmapLayout is struct xdp_mmap_offsets.
type mmapLayout struct {
	rx, tx, fill, completion ringOffsets
}

func mmapOffsets(fd int) (off mmapLayout, err error) {
	n, err := getsockopt(fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&off), unsafe.Sizeof(off))
	if err != nil {
		return off, fmt.Errorf("get ring offsets: %w", err)
	}
	if n != unsafe.Sizeof(off) {
		return off, fmt.Errorf("get ring offsets: %w (requires Linux 5.4)", ErrNotSupported)
	}
	return off, nil
}

func (s *socket) mapRing(pgoff int64, off ringOffsets, size int, entry uint64) ([]byte, error) {
	length := int(off.entries + uint64(size)*entry)
	mem, err := unix.Mmap(s.fd, pgoff, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map ring: %w", err)
	}
	s.mappings = append(s.mappings, mem)
	return mem, nil
}

// setTXBudget has one system call send up to n frames in copy mode, where
// Linux 6.18 and later allow more than 32.
func (s *socket) setTXBudget(n int) {
	_ = unix.SetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, n)
}

func (s *socket) setBusyPoll(b BusyPoll) error {
	for _, o := range []struct {
		option, value int
		name          string
	}{
		{unix.SO_PREFER_BUSY_POLL, 1, "SO_PREFER_BUSY_POLL"},
		{unix.SO_BUSY_POLL, int(b.Duration / time.Microsecond), "SO_BUSY_POLL"},
		{unix.SO_BUSY_POLL_BUDGET, b.Budget, "SO_BUSY_POLL_BUDGET"},
	} {
		err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.option, o.value)
		if errors.Is(err, unix.ENOPROTOOPT) {
			return fmt.Errorf("set %s: %w (requires Linux 5.11)", o.name, ErrNotSupported)
		}
		if err != nil {
			return fmt.Errorf("set %s to %d: %w", o.name, o.value, err)
		}
	}
	return nil
}

// bind binds the socket to a queue. The first socket of a device passes its
// mode in flags and shared -1; others take both from the socket shared.
func (s *socket) bind(ifindex, queue int, flags uint16, shared int) error {
	sa := unix.RawSockaddrXDP{
		Family:   unix.AF_XDP,
		Flags:    flags,
		Ifindex:  uint32(ifindex),
		Queue_id: uint32(queue),
	}
	if shared >= 0 {
		sa.Flags = unix.XDP_SHARED_UMEM
		sa.Shared_umem_fd = uint32(shared)
	}
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(s.fd), uintptr(unsafe.Pointer(&sa)), unsafe.Sizeof(sa))
	if errno != 0 {
		return errno
	}
	return nil
}

// zeroCopy reports the mode of a bound socket.
func (s *socket) zeroCopy() (bool, error) {
	options, err := unix.GetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_OPTIONS)
	if err != nil {
		return false, fmt.Errorf("get XDP_OPTIONS: %w", err)
	}
	return options&unix.XDP_OPTIONS_ZEROCOPY != 0, nil
}

// statistics reads the kernel's counters. Kernels before 5.9 fill the first
// three only.
func (s *socket) statistics() (st unix.XDPStatistics, err error) {
	_, err = getsockopt(s.fd, unix.XDP_STATISTICS, unsafe.Pointer(&st), unsafe.Sizeof(st))
	return st, err
}

// wakeTX has the kernel send what is in the TX ring.
func wakeTX(fd int) syscall.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// wakeRX has the driver look at the fill ring, or busy-polls.
func wakeRX(fd int) syscall.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

func setsockopt(fd, level, option int, value unsafe.Pointer, size uintptr) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(value), size, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func getsockopt(fd, option int, value unsafe.Pointer, size uintptr) (uintptr, error) {
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option),
		uintptr(value), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return 0, errno
	}
	return uintptr(length), nil
}

// queueCount is how many receive queues an interface has in use.
func queueCount(name string) (int, error) {
	// struct ethtool_channels
	channels := struct {
		command                                     uint32
		maxRX, maxTX, maxOther, maxCombined         uint32
		rxCount, txCount, otherCount, combinedCount uint32
	}{command: ethtoolGetChannels}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("interface %q: %w", name, err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)

	// struct ifreq: a name and a pointer.
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}{data: unsafe.Pointer(&channels)}
	copy(request.name[:], ifr.Name())
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno == unix.EOPNOTSUPP {
		return 1, nil // such as lo
	}
	if errno != 0 {
		return 0, fmt.Errorf("get channels of %s: %w", name, errno)
	}
	return max(int(channels.rxCount+channels.combinedCount), 1), nil
}

const ethtoolGetChannels = 0x3c // ETHTOOL_GCHANNELS
