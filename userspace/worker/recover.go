package worker

import (
	"fmt"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// recoverGrace is how long a recovered session waits for its client to fill
// gaps before what was acknowledged beyond them.
const recoverGrace = uint64(time.Second)

// takeOver continues from what a former process left in the worker's part of
// the shared memory: it opens its sessions as recovered ones and gives them the
// packets that were acknowledged but perhaps not handed over.
//
// The order matters, since the gate goes on committing:
//
//	find sessions       so that packets find their owner
//	held slots          picked up by the former process, not released
//	ask the gate        which sequence it expects of each session; of one
//	                    that died, the flow says what was handed over
//	ready queues        everything before that sequence is now collected
//	deliver             up to the first gap
func (w *Worker) takeOver() error {
	g := w.regions.Geometry()
	held := make([][]uint32, g.CPUs)
	for cpu := range g.CPUs {
		ring := g.Ring(cpu, w.opts.Index)
		var err error
		if held[cpu], err = commit.Recover(w.regions, ring); err != nil {
			return fmt.Errorf("take over commit ring of CPU %d: %w", cpu, err)
		}
		w.rings = append(w.rings, w.regions.Reader(ring))
	}
	w.room = wire.ReceiveWindow
	w.slots.init(len(w.bySlot))
	w.spent.init(4 * len(w.bySlot))
	var found []*Session
	for i := range w.bySlot {
		slot := w.first + uint32(i)
		// Also where the clock was set back, no number is used again.
		w.nextID = max(w.nextID, ownID(w.regions.Flow(slot).ID(), w.opts.Index))
		if w.regions.Flow(slot).IsOpen() {
			found = append(found, w.adopt(slot))
		} else {
			w.slots.put(slot, 0)
		}
	}
	w.adoptTransfers()
	for cpu, slots := range held {
		for _, index := range slots {
			w.adoptPacket(cpu, index)
		}
	}
	w.resume(found)
	if len(found) > 0 {
		w.log.Info().Int("sessions", len(found)).Msg("recovering sessions of a former process")
	}
	return nil
}

// adopt opens the session of a former process that owns a flow.
func (w *Worker) adopt(slot uint32) *Session {
	flow := w.regions.Flow(slot)
	info := flow.Info()
	s := &Session{
		worker: w, flow: flow, slot: slot, key: info.Key, recovered: true,
		clientISN: info.ClientISN, token: info.Token, published: info.SndNxt,
		lane: w.plainLane(), route: transport.Route{Key: info.Key},
		finish: w.now + recoverGrace,
	}
	// What the former process gave back and did not say stays taken.
	s.packets.taken = flow.Released()
	s.packets.released, s.packets.told = s.packets.taken, s.packets.taken
	s.engine = session.NewRecovered(w.configOf(s), session.Recovery{
		ID: info.ID, Key: info.Key, ClientISN: info.ClientISN,
		ServerISN: info.ServerISN, Token: info.Token, SndNxt: info.SndNxt,
	}, w.now)
	if s.lane != nil && s.lane.Buffer(&s.route) == nil {
		s.lane = nil // nothing is under way: its port or family is not served any more
	}
	w.add(s)
	w.recovering++
	w.tally.recovered++
	w.handler.Open(s)
	return s
}

// plainLane is a transport that reaches a client by its address alone, nil
// when there is none.
func (w *Worker) plainLane() transport.Batch {
	if w.opts.Fallback != nil {
		return w.opts.Fallback
	}
	if w.opts.Gate != nil {
		return w.opts.Transport
	}
	return nil
}

// adoptTransfers gives the large messages that a former process began to put
// together to their sessions.
func (w *Worker) adoptTransfers() {
	byID := make(map[uint64]*Session)
	for _, s := range w.bySlot {
		if s != nil {
			byID[s.ID()] = s
		}
	}
	for t := range w.transfers.Recover() {
		if s := byID[t.Session]; s == nil || !s.engine.Adopt(t) {
			w.transfers.Free(t.Handle)
		}
	}
}

func (w *Worker) adoptPacket(cpu int, index uint32) {
	slot := w.rings[cpu].Slot(index)
	s := w.ownerOf(slot.SessionSlot, slot.SessionID)
	if s == nil {
		w.rings[cpu].Release(index)
		return
	}
	s.packets.taken++
	s.engine.Committed(ringRef(cpu, index), slot.Sequence, wire.Flags(slot.Flags), slot.Body(), w.now)
}

// resume delivers what is complete of every recovered session.
func (w *Worker) resume(found []*Session) {
	next := make(map[*Session]uint32)
	for _, s := range found {
		if w.opts.Gate != nil {
			next[s] = s.flow.Info().Delivered
			continue
		}
		state, ok, err := w.opts.Sessions.Session(s.key)
		switch {
		case err != nil:
			w.log.Error().Err(err).Uint64("session", s.ID()).Msg("gate's state of a recovered session unknown")
		case ok && state.ID == s.ID():
			next[s] = state.Window.Next
		}
	}
	w.drainAll()
	for _, s := range found {
		expected, ok := next[s]
		if ok {
			s.engine.Recover(expected)
		}
		// Without a gap, or without a gate that lets its packets in, there is
		// nothing to wait for.
		if !ok || w.opts.Gate != nil || s.engine.Stats().HeldPackets == 0 {
			s.finish = w.now
		}
	}
}

// noteRecovered keeps the account of recovered sessions when one is over.
func (w *Worker) noteRecovered(s *Session) {
	delivered := s.engine.Stats().MessagesIn
	w.log.Debug().Uint64("session", s.ID()).Stringer("client", s.Remote()).
		Uint64("messages", delivered).Msg("session of the former process recovered")
	w.salvaged += delivered
	if w.recovering--; w.recovering == 0 {
		w.log.Info().Uint64("messages", w.salvaged).Msg("sessions of the former process are recovered and closed")
	}
}
