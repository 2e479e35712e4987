package worker

import (
	"net/netip"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/internal/timerwheel"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Session is one client. It belongs to its worker: a Handler uses it from
// within its calls only, and not after Handler.Close returned.
type Session struct {
	worker *Worker
	engine *session.Session
	flow   *commit.Flow
	slot   uint32
	key    wire.Key

	// lane and route lead to the client.
	lane  transport.Batch
	route transport.Route

	clientISN uint32
	token     uint32 // of RST
	published uint32 // SndNxt as the gate knows it
	rttCount  uint32 // samples of the gate already recorded
	replay    reliability.ReplayWindow
	packets   packets
	timer     timerwheel.Timer[*Session]
	value     any
	recovered bool
	queued    bool // in Worker.active
	blocked   bool // acknowledgements are looked out for
	told      bool // Handler.Close was called
	gone      bool // removed from the worker

	detached bool  // the gate forgot it
	noRoom   uint8 // times its RST found no room

	// finish is when the next step to the session's end is due: the end of
	// the grace of a recovered session, or of the settling of a draining one.
	// 0: none.
	finish uint64
}

// reference is what the numbers of the client's packets lie near.
func (s *Session) reference() wire.Reference {
	return wire.Reference{Reliable: s.engine.RcvNxt(), Unreliable: s.replay.High, Ack: s.flow.Ack()}
}

// ID is the session's number. None is ever used again, also not by a later
// process.
func (s *Session) ID() uint64 { return s.engine.ID() }

// Remote is the client's address.
func (s *Session) Remote() netip.AddrPort { return s.key.ClientAddrPort() }

// Recovered reports whether the session was left by a former process. Such a
// session only delivers messages, and then ends.
func (s *Session) Recovered() bool { return s.recovered }

// Value is what SetValue was given last, nil at first.
func (s *Session) Value() any { return s.value }

// SetValue keeps something of the handler's with the session.
func (s *Session) SetValue(v any) { s.value = v }

// Stats counts what happened to the session.
func (s *Session) Stats() session.Stats { return s.engine.Stats() }

// Send queues a message of High priority, which leaves at the end of the pass
// as far as the network takes it. The payload is copied, and may be as large as
// MaxMessage. The errors are those of session.Send.
func (s *Session) Send(mode session.Mode, channel, typ uint8, payload []byte) error {
	if err := s.engine.Send(mode, channel, typ, payload); err != nil {
		return err
	}
	s.worker.activate(s)
	return nil
}

// SendMessage is Send with a priority and a lifetime. An AbandonHandler hears
// of messages that the client does without since their lifetime was over.
func (s *Session) SendMessage(o session.Outgoing) error {
	if err := s.engine.SendMessage(o); err != nil {
		return err
	}
	s.worker.activate(s)
	return nil
}

// Flush sends what is queued as far as the network takes it, without waiting for
// the end of the pass. It is not for Handler.Message and what is called by it.
func (s *Session) Flush() {
	if s.lane != nil && !s.gone {
		s.worker.fill(s)
	}
}

// MaxMessage is the size of the largest payload in bytes that the client takes
// and Send accepts.
func (s *Session) MaxMessage() int { return s.engine.MaxMessage() }

// Close ends the session in order: what is queued is delivered first. The
// handler hears of the end later, never from within.
func (s *Session) Close(why wire.Reason) {
	s.engine.Close(why)
	s.worker.activate(s)
}

// Abort ends the session at once. Messages that were not handed over yet are
// dropped, also where they were acknowledged. The handler hears of the end
// later, never from within.
func (s *Session) Abort(why wire.Reason) {
	s.engine.Abort(why)
	s.worker.activate(s)
}

// Info describes a session for whoever looks from outside.
type Info struct {
	ID     uint64
	Remote netip.AddrPort
	State  session.State
	Opened time.Duration // ago
	Stats  session.Stats
}

// Sessions lists the worker's sessions. It is called from the worker's thread,
// by way of Do.
func (w *Worker) Sessions() []Info {
	var all []Info
	for _, s := range w.bySlot {
		if s != nil {
			all = append(all, Info{
				ID: s.ID(), Remote: s.Remote(), State: s.engine.State(),
				Opened: time.Duration(w.now - s.flow.Info().Opened),
				Stats:  s.engine.Stats(),
			})
		}
	}
	return all
}

// activate has the session looked at before the pass ends: for packets to
// send, its next timeout, its end.
func (w *Worker) activate(s *Session) {
	if !s.queued && !s.gone {
		s.queued = true
		w.active = append(w.active, s)
	}
}

// deliver is the engine's Message callback.
func (w *Worker) deliver(engine *session.Session, m session.Message) {
	w.messages++
	w.handler.Message(engine.Owner.(*Session), m)
}

// abandon is the engine's Abandoned callback.
func (w *Worker) abandon(engine *session.Session, mode session.Mode, channel uint8, id uint16) {
	if w.abandoner != nil {
		w.abandoner.Abandoned(engine.Owner.(*Session), mode, channel, id)
	}
}

// release is the engine's Release callback. Where the gate dies with the
// process it notes how far the session got, for the next one.
func (w *Worker) release(engine *session.Session, ref session.Ref) {
	s := engine.Owner.(*Session)
	if w.opts.Gate != nil {
		s.flow.SetDelivered(engine.RcvNxt())
	}
	w.rings[ref>>32].Release(uint32(ref))
	w.returned(s)
}

func ringRef(ring int, slot uint32) session.Ref {
	return session.Ref(ring)<<32 | session.Ref(slot)
}

// expire is the timer's callback.
func (w *Worker) expire(t *timerwheel.Timer[*Session]) {
	s := t.Value
	if s.gone {
		w.repeatReset(s)
		return
	}
	w.readFlow(s)
	s.engine.Tick(w.now)
	w.advanceEnd(s)
	w.activate(s)
}

// flowChanged handles one dirty bit.
func (w *Worker) flowChanged(slot uint32) {
	w.flows++
	w.stirred = w.now
	s := w.bySlot[slot-w.first]
	if s == nil {
		return
	}
	w.readFlow(s)
	w.activate(s)
}

// readFlow tells the engine what the gate absorbed. Where the gate is inside a
// change all the time, the bit it sets afterwards brings the worker back.
func (w *Worker) readFlow(s *Session) {
	state, ok := s.flow.Load()
	if !ok {
		return
	}
	if state.RTTCount != s.rttCount {
		s.rttCount = state.RTTCount
		w.metrics.RTT.Record(uint64(state.RTTMicros))
	}
	s.engine.AckState(state, w.now)
}

// attend does for an active session what a pass owes it, and reports whether
// it is done with: false when a transport has no room.
func (w *Worker) attend(s *Session) bool {
	w.settle(s)
	w.reopen(s)
	// What has no room to leave does not keep the rest from going on.
	sent := s.lane == nil || w.fill(s)
	over := s.engine.Over()
	if over && !s.told {
		w.tellEnd(s)
	}
	if over && s.engine.State() == session.Closed {
		w.remove(s)
		if !sent {
			w.wheel.Set(&s.timer, w.now+noRoomPause)
		}
		return true
	}
	at := s.engine.NextTimeout()
	if s.finish != 0 {
		at = min(at, s.finish)
	}
	if s.packets.tellAt != 0 {
		at = min(at, s.packets.tellAt)
	}
	w.wheel.Set(&s.timer, at)
	w.setBlocked(s, s.engine.Waits())
	return sent
}

func (w *Worker) setBlocked(s *Session, blocked bool) {
	if s.blocked != blocked {
		s.blocked = blocked
		if blocked {
			w.blocked++
		} else {
			w.blocked--
		}
	}
}

// fill sends what the session has to send. What the gate checks
// acknowledgements against is published before a packet can leave.
func (w *Worker) fill(s *Session) bool {
	for {
		buf := w.buffer(s.lane, &s.route)
		if buf == nil {
			return false
		}
		n := s.engine.Fill(buf, w.now)
		if n == 0 {
			return true
		}
		if next := s.engine.SndNxt(); next != s.published {
			s.published = next
			s.flow.SetSndNxt(next)
		}
		s.lane.Commit(n)
		w.sent++
		w.stirred = w.now
	}
}

// buffer returns memory for a packet, making room by a flush where it has to.
// A transport that was flushed in vain is not asked again in this pass.
func (w *Worker) buffer(lane transport.Batch, route *transport.Route) []byte {
	if lane == w.full {
		return nil
	}
	buf := lane.Buffer(route)
	if buf == nil {
		w.flush(lane)
		if buf = lane.Buffer(route); buf == nil {
			w.full = lane
		}
	}
	return buf
}

// tellEnd tells the handler that a session is over.
func (w *Worker) tellEnd(s *Session) {
	s.told = true
	w.closed++
	w.handler.Close(s, s.engine.Reason())
	if s.recovered {
		w.noteRecovered(s)
	}
}

// remove forgets a session, and makes the gate forget it. Of one that was
// aborted the engine may have more to tell the client.
func (w *Worker) remove(s *Session) {
	if s.gone {
		return
	}
	s.gone = true
	w.detach(s)
	w.wheel.Set(&s.timer, s.engine.NextTimeout())
	w.setBlocked(s, false)
	w.bySlot[s.slot-w.first] = nil
	if w.byKey[s.key] == s {
		delete(w.byKey, s.key)
	}
	w.sessions--
	s.flow.Free()
	w.slots.put(s.slot, w.now+slotRest)
}
