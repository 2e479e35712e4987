package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Group is all workers of a server. Its methods may be called from anywhere.
type Group struct {
	workers []*Worker
	ended   chan struct{} // closed when every worker returned
	err     error         // of the first worker that failed; read after ended
}

// NewGroup makes one worker for each of the options, which share the same
// regions and have the indices from 0 on, and introduces them to one another.
func NewGroup(options []Options) (*Group, error) {
	g := &Group{ended: make(chan struct{})}
	for i, o := range options {
		if o.Index != i || o.Regions == nil || o.Regions.Geometry().Workers != len(options) {
			g.close()
			return nil, fmt.Errorf("make workers: worker %d has index %d, or regions for another number", i, o.Index)
		}
		w, err := newWorker(o)
		if err != nil {
			g.close()
			return nil, err
		}
		w.group = g
		g.workers = append(g.workers, w)
	}
	for _, from := range g.workers {
		for _, to := range g.workers {
			if from != to {
				box := newMailbox()
				from.post[to.Index()] = box
				to.inbox[from.Index()] = box
			}
		}
	}
	return g, nil
}

// Start runs the workers, each on a thread of its own. When one fails the
// others are stopped: a server does not go on with a part of its sessions.
func (g *Group) Start() {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, w := range g.workers {
		wg.Go(func() {
			if err := w.guarded(); err != nil {
				mu.Lock()
				g.err = errors.Join(g.err, fmt.Errorf("worker %d: %w", w.Index(), err))
				mu.Unlock()
				g.leave(0)
			}
		})
	}
	go func() {
		wg.Wait()
		g.close()
		close(g.ended)
	}()
}

// guarded runs a worker and makes a panic an error, so that the process can put
// away what it has in the kernel.
func (w *Worker) guarded() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return w.run()
}

// Done is closed when every worker ended.
func (g *Group) Done() <-chan struct{} { return g.ended }

// Err is why the group ended: nil after Shutdown. It is called after Done.
func (g *Group) Err() error { return g.err }

// Shutdown turns new clients away, closes every session in order with the
// reason "server shutting down", and waits until all are over. At the deadline
// of ctx it aborts what is left. It returns Err.
func (g *Group) Shutdown(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	grace := time.Duration(1<<63 - 1)
	if ok {
		grace = max(0, time.Until(deadline))
	}
	g.leave(grace)
	select {
	case <-g.ended:
	case <-ctx.Done():
		g.leave(0)
		<-g.ended
	}
	return g.err
}

// leave has every worker end within grace.
func (g *Group) leave(grace time.Duration) {
	for _, w := range g.workers {
		w.Do(func() { w.leave(grace) })
	}
}

// Collect adds every worker's counters to s.
func (g *Group) Collect(s *metrics.Snapshot) {
	for _, w := range g.workers {
		s.Collect(w.Metrics())
	}
}

// CollectOutcomes adds the counters of the workers' own gates to sum. Where
// the gate is in the kernel there are none.
func (g *Group) CollectOutcomes(sum *[gate.OutcomeMax]uint64) {
	for _, w := range g.workers {
		for i := range sum {
			sum[i] += w.outcomes[i].Load()
		}
	}
}

// Each has f called on the thread of every worker, one after the other, and
// returns when all calls were made or ctx is done.
func (g *Group) Each(ctx context.Context, f func(*Worker)) error {
	for _, w := range g.workers {
		called := make(chan struct{})
		w.Do(func() { f(w); close(called) })
		select {
		case <-called:
		case <-g.ended:
			return errors.New("workers have ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (g *Group) close() {
	for _, w := range g.workers {
		w.end()
	}
}

// leave closes the worker's sessions, in order if there is time. Either way the
// handler gets what was acknowledged.
func (w *Worker) leave(grace time.Duration) {
	w.leaving = true
	if until := w.now + uint64(grace); until < w.leaveBy || w.leaveBy == 0 {
		w.leaveBy = max(until, 1)
	}
	for _, s := range w.bySlot {
		switch {
		case s == nil || s.engine.Over():
		case grace == 0:
			s.engine.Stop(wire.ReasonShuttingDown)
			w.activate(s)
		case !s.recovered:
			s.Close(wire.ReasonShuttingDown)
		}
	}
}

// finished reports whether a worker that leaves has nothing left to do. A
// session that lingers only waits, and is not waited for. Others that are left
// when time is up are a failure: what they hold is for the next process.
func (w *Worker) finished() bool {
	if !w.leaving {
		return false
	}
	for _, s := range w.bySlot {
		if s == nil {
			continue
		}
		if s.engine.State() != session.Lingering {
			if w.now <= w.leaveBy+uint64(time.Second) {
				return false
			}
			if w.failure == nil {
				w.failure = fmt.Errorf("session %d did not end in time", s.ID())
			}
			return true
		}
		if !s.told {
			w.tellEnd(s)
		}
		w.remove(s)
	}
	return true
}
