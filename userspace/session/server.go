package session

import (
	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

// maxRTT bounds what is believed as a round trip.
const maxRTT = uint64(60e9)

// Opening is what a server knows of a client whose HELLO the gate let through.
type Opening struct {
	ID        uint64 // of the session, never used before
	Key       wire.Key
	ClientISN uint32 // sequence of the SYN: one less than the HELLO's
	ServerISN uint32 // one less than the HELLO's acknowledgement
	Window    uint16 // of the HELLO's header
	Timestamp uint64 // of the HELLO's header
	SACK      bool   // the HELLO asks for it, and the server offered it
	MTU       uint16 // of the HELLO, 0 when it has none
}

// NewServer returns the server's end of a session that is open. Its first
// Fill confirms the HELLO.
func NewServer(cfg Config, o Opening, now uint64) *Session {
	s := newSession(cfg, now)
	s.server = true
	s.state = Open
	s.id, s.key = o.ID, o.Key
	s.sack = o.SACK && !s.cfg.NoSACK
	s.setMaxDatagram(wire.Options{MTU: o.MTU}.MaxDatagram(s.cfg.MaxDatagram))
	s.rcv.Reset(o.ClientISN + 2)
	s.openSending(o.ServerISN, o.ServerISN+1, o.Window)
	s.oweAck(o.Timestamp)
	return s
}

// openSending starts the sending half: unreliable packets count from isn+1,
// reliable ones from next.
func (s *Session) openSending(isn, next uint32, window uint16) {
	s.unreliableNext = isn + 1
	s.peerWindow = int(window)
	s.snd.Init(next, s.cfg.Congestion(), s.cfg.Pool)
	s.snd.Cumulative = !s.sack
}

// Committed takes a reliable packet that the gate acknowledged. body stays in
// use until Release was called with ref. The body is behind the
// acknowledgement block.
//
// A session that is over releases the packet at once.
func (s *Session) Committed(ref Ref, seq uint32, flags wire.Flags, body []byte, now uint64) {
	s.heard(now)
	if s.Over() {
		s.cfg.Release(s, ref)
		return
	}
	p := farPacket{seq: seq, ref: ref, flags: flags, body: body}
	if s.recovering {
		s.recover(p)
		return
	}
	s.commit(p)
	for len(s.far) > 0 && s.takeFar() {
	}
}

// commit receives p if the window reaches so far.
func (s *Session) commit(p farPacket) {
	switch s.rcv.Classify(p.seq) {
	case reliability.Fresh:
		s.receive(p.seq, p.flags, p.body, p.ref)
	case reliability.Duplicate:
		// The gate commits no packet twice; one that was handed over before
		// cannot be again.
		s.cfg.Release(s, p.ref)
	case reliability.Outside:
		// The gate's window is ahead of this one by what waits in the commit
		// rings of other CPUs.
		s.far = append(s.far, p)
	}
}

// takeFar receives one packet that the window has come to reach. It reports
// whether there was one.
func (s *Session) takeFar() bool {
	for i, p := range s.far {
		if s.rcv.Classify(p.seq) == reliability.Outside {
			continue
		}
		last := len(s.far) - 1
		s.far[i] = s.far[last]
		s.far[last] = farPacket{}
		s.far = s.far[:last]
		s.commit(p)
		return true
	}
	return false
}

// AckState takes what the gate absorbed into the session's flow. The owner
// calls it for a flow marked dirty, and before Tick.
func (s *Session) AckState(f commit.FlowState, now uint64) {
	s.now = max(s.now, now)
	s.lastHeard = max(s.lastHeard, min(f.LastSeen, now))
	if s.state != Open && s.state != Closing || s.recovering {
		return
	}
	if f.RTTCount != s.rttCount {
		s.rttCount = f.RTTCount
		s.sampleRTT(uint64(f.RTTMicros) * 1000)
	}
	ack := reliability.Ack{Next: f.Ack, Words: min(f.SackWords, reliability.SackWords), Sack: f.Sack}
	if !s.snd.Valid(&ack) {
		return
	}
	s.acknowledged(&ack, f.Window, min(max(f.LastSeen, s.lastAdvance), now), now)
}

// Unreliable takes an unreliable packet that the gate let through, body being
// behind the acknowledgement block. The body is not used after the call.
func (s *Session) Unreliable(h wire.Header, body []byte, now uint64) {
	s.heard(now)
	if s.state == Open || s.state == Closing {
		s.receiveUnreliable(h.Sequence, body)
	}
}

// acknowledged takes a valid acknowledgement that arrived at the given time.
func (s *Session) acknowledged(ack *reliability.Ack, window uint16, arrived, now uint64) {
	s.peerWindow = int(window)
	out := s.snd.OnAck(ack, now)
	if out.Packets > 0 {
		s.lastAdvance = now
		if !s.sack && out.HasRTT {
			s.sampleRTT(out.RTT - min(out.RTT, now-arrived))
		}
	}
	if s.snd.Outstanding() < s.peerWindow {
		s.blocked, s.probes = false, 0
	}
	if s.state == Closing && s.reliable.packets.Len() == 0 && s.snd.Outstanding() == 0 {
		s.Reset(s.closeWhy)
	}
}

func (s *Session) sampleRTT(rtt uint64) {
	if rtt > 0 && rtt < maxRTT {
		s.snd.RTT.Sample(rtt)
	}
}

// heard notes a sign of life.
func (s *Session) heard(now uint64) {
	s.now = max(s.now, now)
	s.lastHeard = s.now
}

// oweAck makes the next packet acknowledge the one stamped with timestamp.
func (s *Session) oweAck(timestamp uint64) {
	s.ackDue = true
	s.echo, s.echoedAt = timestamp, s.now
}
