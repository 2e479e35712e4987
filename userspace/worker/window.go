package worker

import (
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/wire"
)

// packets counts the reliable packets of a session, and what its client was
// told of the room for more.
type packets struct {
	taken    uint32 // out of commit rings
	released uint32 // given back
	told     uint32 // of released, as the gate knows it

	// Of window updates: those in a row that brought nothing, what was taken
	// before the first, and when the next is due, 0 for none.
	updates uint8
	seen    uint32
	tellAt  uint64
}

// windowUpdates is how often a client is told of a window in vain. Then it has
// nothing to send, or finds out by its own probes.
const windowUpdates = 5

// window is how many more packets of the session there is room for: in the
// fullest of the commit rings, and in its own budget.
func (s *Session) window() int {
	return min(s.worker.room, s.worker.opts.SessionBudget-int(s.packets.taken-s.packets.released))
}

// narrow is the window below which a client may be at a stand: a quarter of
// the widest.
func (w *Worker) narrow() uint32 {
	return uint32(min(wire.ReceiveWindow, w.opts.SessionBudget)) / 4
}

// narrowed reports whether the gate told the client of a narrow window last.
//
//	gate                         worker
//	note the window              pick the packet up
//	full barrier                 full barrier
//	publish the packet           look at the window
//
// So of the packet that made the window narrow, or of a later one, the worker
// sees it.
func (w *Worker) narrowed(s *Session) bool { return s.flow.Advertised() < w.narrow() }

// returned counts a packet that was given back. The gate reads what it is told
// here for every packet, from a cache line that this takes away from it; so it
// is told now and then, and at once where the client may wait for it.
func (w *Worker) returned(s *Session) {
	p := &s.packets
	p.released++
	narrowed := w.narrowed(s)
	if narrowed || p.released-p.told > uint32(w.opts.SessionBudget/8) {
		p.told = p.released
		s.flow.SetReleased(p.released)
	}
	if narrowed {
		w.activate(s)
	}
}

// reopen tells the client that there is room again, where the gate told it of
// little last: it may have nothing under way that the gate could answer. This
// is repeated for as long as no data comes.
func (w *Worker) reopen(s *Session) {
	p := &s.packets
	if s.recovered || s.engine.State() > session.Closing || !w.narrowed(s) ||
		s.window() < int(s.flow.Advertised()+w.narrow()) {
		p.tellAt = 0
		return
	}
	if p.seen != p.taken {
		p.seen = p.taken
		p.updates, p.tellAt = 0, 0
	}
	switch {
	case w.now < p.tellAt:
	case p.updates == windowUpdates:
		p.tellAt = 0
	default:
		s.engine.TellWindow()
		p.tellAt = w.now + uint64(s.engine.Stats().RTO)<<p.updates
		p.updates++
	}
}
