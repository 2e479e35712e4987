package worker

import (
	"fmt"
	"time"

	"github.com/xrudp/xrudp/userspace/internal/timerwheel"
	"github.com/xrudp/xrudp/userspace/metrics"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// ringBatch is how many packets a pass takes from one commit ring.
const ringBatch = 512

// choreEvery is the interval of housekeeping under load. A worker also does it
// before it sleeps, so it never wakes up for it.
const choreEvery = uint64(100 * time.Millisecond)

// pass does everything there is to do at time now, once, and reports whether
// there was anything.
func (w *Worker) pass(now uint64) (busy bool) {
	w.now = now
	waiting := len(w.active) // since the last pass, for room in a transport
	w.call()
	n := w.receive()
	n += w.readMail()
	n += w.drain()
	w.regions.TakeDirty(w.opts.Index, w.dirty)
	w.wheel.Advance(now, w.fire)
	w.tick()
	n += len(w.active) - waiting
	w.transmit()
	w.sendMail()
	w.passes++
	if now >= w.nextChore {
		w.nextChore = now + choreEvery
		w.publish()
	}
	return n > 0
}

// tally is what the worker counted since it last published. Passes count here,
// in memory of their own, since the metrics' cache lines are shared with
// whoever reads them.
type tally struct {
	passes, sleeps, ticks                      uint64
	commits, received, judged, dropped         uint64
	ungated, strays, malformed, spentHellos    uint64
	flows, sent, batchesIn, batchesOut, unsent uint64
	opened, refused, closed, superseded        uint64
	recovered, messages                        uint64
	mailSent, mailReceived                     uint64
	mailWaited, mailDropped                    uint64

	flushed uint64 // of sent
}

// publish moves the tally into the metrics.
func (w *Worker) publish() {
	t := &w.tally
	for _, c := range [...]struct {
		counter metrics.Counter
		n       uint64
	}{
		{metrics.Passes, t.passes},
		{metrics.Sleeps, t.sleeps},
		{metrics.Ticks, t.ticks},
		{metrics.Commits, t.commits},
		{metrics.Datagrams, t.received},
		{metrics.Gated, t.judged},
		{metrics.GateDrops, t.dropped},
		{metrics.Ungated, t.ungated},
		{metrics.Strays, t.strays},
		{metrics.HellosMalformed, t.malformed},
		{metrics.HellosSpent, t.spentHellos},
		{metrics.FlowUpdates, t.flows},
		{metrics.Transmitted, t.sent},
		{metrics.BatchesIn, t.batchesIn},
		{metrics.BatchesOut, t.batchesOut},
		{metrics.Unsent, t.unsent},
		{metrics.SessionsOpened, t.opened},
		{metrics.SessionsRefused, t.refused},
		{metrics.SessionsClosed, t.closed},
		{metrics.SessionsSuperseded, t.superseded},
		{metrics.SessionsRecovered, t.recovered},
		{metrics.Messages, t.messages},
		{metrics.MailSent, t.mailSent},
		{metrics.MailReceived, t.mailReceived},
		{metrics.MailWaited, t.mailWaited},
		{metrics.MailDropped, t.mailDropped},
	} {
		if c.n != 0 {
			w.metrics.Add(c.counter, c.n)
		}
	}
	*t = tally{}
	if w.opts.Gate != nil {
		w.publishOutcomes()
	}
}

// publishOutcomes copies the counters of the worker's own gate.
func (w *Worker) publishOutcomes() {
	for i, n := range w.opts.Gate.Stats() {
		w.outcomes[i].Store(n)
	}
}

// receive takes datagrams from every transport.
func (w *Worker) receive() (total int) {
	for _, lane := range w.lanes {
		for range receiveCalls {
			n, err := lane.Receive(w.datagrams)
			if err != nil {
				w.fail(fmt.Errorf("receive: %w", err))
				return total
			}
			for i := range w.datagrams[:n] {
				w.datagram(lane, &w.datagrams[i])
			}
			lane.Release()
			total += n
			if n > 0 {
				w.batchesIn++
			}
			if n < len(w.datagrams) {
				break
			}
		}
	}
	w.received += uint64(total)
	return total
}

// datagram brings one datagram past a gate: the one in the kernel, the
// worker's own, or the look at what came around the one in the kernel.
func (w *Worker) datagram(lane transport.Batch, d *transport.Datagram) {
	switch {
	case d.Gated:
		w.accept(lane, d)
	case w.opts.Gate == nil:
		if w.screen(d) {
			w.accept(lane, d)
			return
		}
		w.ungated++
	default:
		w.judge(lane, d)
	}
}

// accept handles a datagram that a gate let through.
func (w *Worker) accept(lane transport.Batch, d *transport.Datagram) {
	p := w.profile(&d.Key)
	h, body, err := p.ParseHeader(d.Payload)
	if err != nil {
		w.strays++
		return
	}
	if h.Flags&wire.FlagPSH != 0 {
		w.hello(lane, d, h, body)
		return
	}
	s := w.byKey[d.Key]
	if s == nil || s.recovered {
		w.strays++
		return
	}
	p.Expand(&h, s.reference())
	if h.Flags&wire.FlagRST != 0 {
		if why, err := p.ParseReset(&h, body, s.token); err == nil {
			s.engine.Reset(why)
			w.activate(s)
		}
		return
	}
	var block wire.AckBlock
	if body, err = p.ParseBlock(&h, s.engine.SACK(), body, &block); err != nil {
		w.strays++
		return
	}
	if d.Gated {
		// Judged by the gate, and remembered for what comes around it.
		s.replay.Accept(h.Sequence)
	}
	s.engine.MarkedUnreliable(h, body, d.CE, w.now)
	if s.engine.Over() {
		w.activate(s)
	}
}

// drain takes committed packets from the rings, one per CPU. While letters
// wait for room in another worker's mailbox nothing is taken: the rings fill,
// the windows that clients see close, and memory stays bounded.
func (w *Worker) drain() int {
	if w.pressed {
		return 0
	}
	return w.take()
}

// take takes up to ringBatch packets from each ring.
func (w *Worker) take() (total int) {
	room := wire.ReceiveWindow
	for i, ring := range w.rings {
		n := 0
		for ; n < ringBatch; n++ {
			slot, index, ok := ring.Next()
			if !ok {
				break
			}
			ref := ringRef(i, index)
			s := w.ownerOf(slot.SessionSlot, slot.SessionID)
			if s == nil {
				ring.Release(index)
				continue
			}
			s.packets.taken++
			s.engine.Committed(ref, slot.Sequence, wire.Flags(slot.Flags), slot.Body(), w.now)
			if s.engine.Over() || w.narrowed(s) {
				w.activate(s)
			}
		}
		total += n
		room = min(room, ring.Free())
	}
	w.room = room
	w.commits += uint64(total)
	return total
}

// drainAll takes everything that lies in the rings now.
func (w *Worker) drainAll() {
	for range w.regions.Geometry().Slots/ringBatch + 1 {
		if w.take() == 0 {
			return
		}
	}
}

// ownerOf finds the session that a committed packet is for. A packet of one
// that ended meanwhile has none.
func (w *Worker) ownerOf(slot uint32, id uint64) *Session {
	i := slot - w.first
	if i >= uint32(len(w.bySlot)) {
		return nil
	}
	if s := w.bySlot[i]; s != nil && s.ID() == id {
		return s
	}
	return nil
}

// tick calls the handler's tick when it is due. Late ticks are not made up for,
// but those that follow keep the beat.
func (w *Worker) tick() {
	due := w.tickDue()
	if w.now < due {
		return
	}
	w.lastTick = due
	if due+w.tickEvery <= w.now {
		w.lastTick = w.now
	}
	w.ticks++
	w.handler.Tick(w.now)
}

// tickDue is when the handler is to tick. Without a PacedHandler nobody ticks
// alone.
func (w *Worker) tickDue() uint64 {
	at := w.lastTick + w.tickEvery
	switch {
	case w.pacer != nil:
		return max(at, w.pacer.NextTick())
	case w.sessions == 0:
		return timerwheel.Never
	}
	return at
}

// transmit attends to the sessions that something happened to, and flushes.
// Those that a transport has no room for stay for the next pass.
func (w *Worker) transmit() {
	kept := 0
	// Attending to one may activate others, at the end of the list.
	for i := 0; i < len(w.active); i++ {
		s := w.active[i]
		if w.attend(s) {
			s.queued = false
			continue
		}
		w.unsent++
		w.active[kept] = s
		kept++
	}
	clear(w.active[kept:])
	w.active = w.active[:kept]
	if w.sent > w.flushed {
		w.batchesOut++
	}
	for _, lane := range w.lanes {
		w.flush(lane)
	}
	w.flushed = w.sent
	w.full = nil
}

func (w *Worker) flush(lane transport.Batch) {
	if err := lane.Flush(); err != nil {
		w.fail(fmt.Errorf("send: %w", err))
	}
}

// fail ends the worker: it cannot go on without one of its transports.
func (w *Worker) fail(err error) {
	w.metrics.Add(metrics.TransportErrors, 1)
	if w.failure == nil {
		w.failure = err
	}
}

// nextDeadline is when the next pass is due although nothing arrives.
func (w *Worker) nextDeadline() uint64 {
	at := min(w.wheel.Next(), w.tickDue())
	if w.pressed {
		at = min(at, w.now+uint64(time.Millisecond))
	}
	if len(w.active) > 0 {
		at = min(at, w.now+fullPause)
	}
	// What a gate in the kernel absorbs wakes nobody.
	if w.blocked > 0 && w.opts.Gate == nil {
		at = min(at, w.now+lookEvery(w.now-w.stirred))
	}
	return at
}

// fullPause is how long a worker sleeps between attempts at a transport without
// room: a network card makes room for hundreds of packets in that time.
const fullPause = uint64(100 * time.Microsecond)

// lookEvery is how long a worker whose sessions wait for acknowledgements sleeps
// between looks after so much silence: a little of what the wait took already, so
// that it costs little time where the path is long, and little work where the peer
// is gone or has no room.
func lookEvery(silence uint64) uint64 {
	return min(max(silence/32, uint64(time.Millisecond)), uint64(16*time.Millisecond))
}
