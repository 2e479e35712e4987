package worker

import (
	"encoding/binary"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/transport"
	"github.com/xrudp/xrudp/userspace/wire"
)

// judge brings a datagram past the worker's own gate, which answers it, keeps
// it in a commit ring, or lets it through.
func (w *Worker) judge(lane transport.Batch, d *transport.Datagram) {
	w.judged++
	// The kernel spreads clients over sockets, so all packets of one come to
	// this worker, whichever the gate would choose. Its rings stand for one
	// CPU.
	r := w.opts.Gate.Datagram(d.Key, d.Payload, d.CE, w.now, 0, w.reply[:])
	switch r.Outcome.Verdict() {
	case gate.TX:
		lane.Route(d, &w.route)
		if buf := w.buffer(lane, &w.route); buf != nil {
			lane.Commit(copy(buf, r.Reply))
			w.sent++
		}
	case gate.Pass, gate.Redirect:
		w.accept(lane, d)
	default:
		w.dropped++
	}
}

// screen looks at what reached the host's stack although an XDP program
// stands in front of it. Most of it the program checked and passed on. But a
// fragmented datagram, or one behind an IPv6 extension header, goes around the
// program and arrives here whole, so nothing is taken on trust; what only the
// program can decide is refused.
func (w *Worker) screen(d *transport.Datagram) bool {
	p := w.profile(&d.Key)
	h, body, err := p.ParseHeader(d.Payload)
	if err != nil || len(d.Payload) > wire.MaxDatagramLimit || !p.LegalAtServer(&h) || !p.Verify(d.Payload) {
		return false
	}
	if h.Flags == wire.FlagACK|wire.FlagPSH {
		return w.screenHello(d, p, h, body)
	}
	s := w.byKey[d.Key]
	if s == nil || h.Flags&(wire.FlagSYN|wire.FlagPSH) != 0 {
		return false
	}
	p.Expand(&h, s.reference())
	if h.Flags&wire.FlagACK != 0 && !s.acknowledges(h.Ack) {
		return false
	}
	if h.Flags&wire.FlagRST != 0 {
		return w.screenReset(d, h)
	}
	var block wire.AckBlock
	if body, err = p.ParseBlock(&h, s.engine.SACK(), body, &block); err != nil {
		return false
	}
	if _, err := p.CheckMessages(&h, body); err != nil {
		return false
	}
	return s.replay.Accept(h.Sequence)
}

func (w *Worker) screenHello(d *transport.Datagram, p wire.Profile, h wire.Header, body []byte) bool {
	if w.opts.CookieHolds == nil || !p.IsHello(&h, body) || !wire.IsHello(body) {
		return false
	}
	cookie := binary.BigEndian.Uint64(body[wire.MessageHeaderSize+2:])
	return h.Ack == p.ServerSequence(cookie)+1 && w.opts.CookieHolds(p, cookie, &d.Key, h.Sequence-1)
}

func (w *Worker) screenReset(d *transport.Datagram, h wire.Header) bool {
	state, ok, err := w.opts.Sessions.Session(d.Key)
	return err == nil && ok && h.Sequence-state.Window.Next+wire.ReceiveWindow <= 2*wire.ReceiveWindow
}

// acknowledges reports whether ack is one that the client can have sent: the
// check of the gate.
func (s *Session) acknowledges(ack uint32) bool {
	known := s.flow.Ack()
	if next := s.flow.SndNxt(); next-ack <= next-known {
		return true
	}
	behind := known - ack
	return behind != 0 && behind <= wire.ReceiveWindow
}
