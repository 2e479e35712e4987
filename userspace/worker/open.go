package worker

import (
	"errors"
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/session"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// firstID is where a process begins to number sessions: the time in
// nanoseconds, which no former process has got to.
func firstID(worker int) uint64 {
	return ownID(uint64(time.Now().UnixNano()), worker)
}

// ownID is the worker's own number next to n, of those that it counts in.
func ownID(n uint64, worker int) uint64 {
	return n/commit.MaxWorkers*commit.MaxWorkers + uint64(worker)
}

// newID numbers a session. Workers count in steps, each in numbers of its own.
func (w *Worker) newID() uint64 {
	w.nextID += commit.MaxWorkers
	return w.nextID
}

// hello opens a session for a client whose cookie was verified.
func (w *Worker) hello(lane transport.Batch, d *transport.Datagram, h wire.Header, body []byte) {
	opts, err := wire.ParseHello(body)
	if err != nil {
		w.malformed++
		return
	}
	p := w.profile(&d.Key)
	token := p.ResetToken(opts.Cookie)
	clientISN := h.Sequence - 1
	old := w.byKey[d.Key]
	if old != nil && old.clientISN == clientISN {
		// Came twice before the gate knew the session; the confirmation is on
		// its way.
		return
	}
	if w.spent.has(d.Key, clientISN, w.now) {
		w.spentHellos++
		return
	}
	if old != nil && !w.supersede(old) {
		return
	}
	lane.Route(d, &w.route)
	if w.leaving {
		w.turnAway(lane, p, h, wire.ReasonShuttingDown, token)
		return
	}
	slot, ok := w.slots.get(w.now)
	if !ok {
		w.turnAway(lane, p, h, wire.ReasonFull, token)
		return
	}
	if err := w.open(lane, slot, d.Key, h, &opts); err != nil {
		w.log.Error().Err(err).Stringer("client", d.Key.ClientAddrPort()).Msg("session not opened")
		w.turnAway(lane, p, h, wire.ReasonFull, token)
	}
}

// profile is how the client that key names writes its packets.
func (w *Worker) profile(key *wire.Key) wire.Profile {
	if slices.Contains(w.opts.CompactPorts, key.ServerPort) {
		return wire.Compact
	}
	return wire.Standard
}

// turnAway answers a HELLO with a RST. Its sender has proven its address.
func (w *Worker) turnAway(lane transport.Batch, p wire.Profile, h wire.Header, why wire.Reason, token uint32) {
	w.refused++
	if buf := w.buffer(lane, &w.route); buf != nil {
		lane.Commit(len(session.AppendReset(buf[:0], p, h.Ack, h.Sequence+1, why, token, w.now)))
		w.sent++
	}
}

// supersede ends the session of a client that started anew on the same port,
// and reports whether it is gone. It is not before the handler has what was
// acknowledged: the client repeats its HELLO, and the new session opens after
// the old one is closed.
func (w *Worker) supersede(old *Session) bool {
	if old.engine.Over() {
		if !old.told {
			w.tellEnd(old)
		}
		w.remove(old)
		return true
	}
	if old.engine.State() != session.Draining {
		w.superseded++
		why := wire.ReasonSuperseded
		if old.recovered {
			why = wire.ReasonRestarted
		}
		old.engine.Reset(why)
		w.activate(old)
	}
	return false
}

// open makes the session known to the gate and the handler. The flow is
// written before the gate can use it.
func (w *Worker) open(lane transport.Batch, slot uint32, key wire.Key, h wire.Header, opts *wire.Options) error {
	clientISN, serverISN := h.Sequence-1, h.Ack-1
	token := w.profile(&key).ResetToken(opts.Cookie)
	id := w.newID()
	flow := w.regions.Flow(slot)
	flow.Open(&commit.FlowInfo{
		ID: id, Key: key, ClientISN: clientISN, ServerISN: serverISN, Token: token,
		SndNxt: serverISN + 1, Delivered: clientISN + 2, Opened: w.now,
	}, h.Window)
	sack := opts.SACK && !w.config.NoSACK
	init := gate.SessionInit{
		ID: id, Slot: slot, Worker: uint32(w.opts.Index),
		ClientISN: clientISN, ServerISN: serverISN, Token: token,
	}
	if sack {
		init.Features = gate.FeatureSACK
	}
	if err := w.create(key, init); err != nil {
		flow.Free()
		w.slots.put(slot, w.now+slotRest)
		return err
	}
	s := &Session{
		worker: w, flow: flow, slot: slot, key: key, lane: lane, route: w.route,
		clientISN: clientISN, token: token, published: serverISN + 1,
	}
	s.engine = session.NewServer(w.configOf(s), session.Opening{
		ID: id, Key: key, ClientISN: clientISN, ServerISN: serverISN, Token: token,
		Window: h.Window, Timestamp: h.Timestamp, SACK: sack, MTU: opts.MTU,
		Control: opts.HasControl, MaxHeld: opts.Control,
	}, w.now)
	s.replay.Reset(clientISN)
	w.add(s)
	w.opened++
	w.spent.add(key, clientISN, w.now)
	w.handler.Open(s)
	return nil
}

// configOf is the configuration of a session's engine.
func (w *Worker) configOf(s *Session) session.Config {
	c := w.config
	c.Profile = w.profile(&s.key)
	c.ReceiveWindow = s.window
	return c
}

// create enters a session into the gate's table, in place of one that nobody
// owns any more.
func (w *Worker) create(key wire.Key, init gate.SessionInit) error {
	err := w.opts.Sessions.Create(key, init)
	if !errors.Is(err, gate.ErrExists) {
		return err
	}
	if err := w.opts.Sessions.Delete(key); err != nil {
		return err
	}
	return w.opts.Sessions.Create(key, init)
}

// add enters a session into the worker's own tables.
func (w *Worker) add(s *Session) {
	s.engine.Owner = s
	s.timer.Value = s
	w.bySlot[s.slot-w.first] = s
	w.byKey[s.key] = s
	w.sessions++
	w.activate(s)
}
