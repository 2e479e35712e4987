//go:build !linux

package worker

import "time"

// pollInterval is how often a worker looks at its transports where the system
// has no epoll.
const pollInterval = time.Millisecond

// poller waits for a time or a call of wake, but not for descriptors.
type poller struct{ rung chan struct{} }

func newPoller([]int) (*poller, error) {
	return &poller{rung: make(chan struct{}, 1)}, nil
}

func (p *poller) wait(timeout uint64) {
	t := time.NewTimer(min(time.Duration(timeout), pollInterval))
	defer t.Stop()
	select {
	case <-p.rung:
	case <-t.C:
	}
}

func (p *poller) wake() {
	select {
	case p.rung <- struct{}{}:
	default:
	}
}

func (p *poller) close() {}
