package worker

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller waits for descriptors, a time, or a call of wake.
type poller struct {
	epoll, event int
	coarse       bool // no epoll_pwait2: before Linux 5.11
	events       [8]unix.EpollEvent
	buf          [8]byte
}

func newPoller(fds []int) (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make epoll: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	p := &poller{epoll: epoll, event: event}
	for _, fd := range append([]int{event}, fds...) {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			p.close()
			return nil, fmt.Errorf("poll descriptor %d: %w", fd, err)
		}
	}
	return p, nil
}

// wait returns after timeout nanoseconds at the latest. It does not say why:
// the caller looks at everything it has.
func (p *poller) wait(timeout uint64) {
	n, err := p.epollWait(timeout)
	if err != nil {
		return
	}
	for _, ev := range p.events[:n] {
		if int(ev.Fd) == p.event {
			// Emptied, or it would end every wait from now on.
			_, _ = unix.Read(p.event, p.buf[:])
		}
	}
}

func (p *poller) epollWait(timeout uint64) (int, error) {
	if !p.coarse {
		ts := unix.NsecToTimespec(int64(timeout))
		n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.epoll),
			uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)),
			uintptr(unsafe.Pointer(&ts)), 0, 0)
		if errno == 0 {
			return int(n), nil
		}
		if errno == unix.EINTR {
			return 0, errno
		}
		p.coarse = true // an old kernel, or a filter that does not know the call
	}
	ms := (timeout + uint64(time.Millisecond) - 1) / uint64(time.Millisecond)
	return unix.EpollWait(p.epoll, p.events[:], int(ms))
}

// wake ends the present wait, or the next one. It may be called from anywhere
// until close.
func (p *poller) wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(p.event, one[:])
}

func (p *poller) close() {
	unix.Close(p.event)
	unix.Close(p.epoll)
}
