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
	Token     uint32 // of RST: Profile.ResetToken of the HELLO's cookie
	SACK      bool   // the HELLO asks for it, and the server offered it
	Control   bool   // likewise: control messages may travel
	MaxHeld   uint32 // of the HELLO: bytes of unfinished large messages that the client holds
	MTU       uint16 // of the HELLO, 0 when it has none
}

// NewServer returns the server's end of a session that is open. Its first
// Fill confirms the HELLO.
func NewServer(cfg Config, o Opening, now uint64) *Session {
	s := newSession(cfg, now)
	s.server = true
	s.state = Open
	s.id, s.key, s.token = o.ID, o.Key, o.Token
	s.sack = o.SACK && !s.cfg.NoSACK
	s.control = o.Control && s.cfg.Reassembly > 0
	s.openReassembly()
	s.peerReassembly = int(o.MaxHeld)
	s.setMaxDatagram(wire.Options{MTU: o.MTU}.MaxDatagram(s.cfg.MaxDatagram))
	s.rcv.Reset(o.ClientISN + 2)
	s.openSending(o.ServerISN, o.ServerISN+1, o.Window)
	s.oweAck(o.ClientISN+1, o.Timestamp)
	return s
}

func (s *Session) openReassembly() {
	s.in.Init(s.id, s.cfg.Memory, &s.order, s.cfg.Reassembly, uint64(s.cfg.ReassemblyTimeout))
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
	s.noteMark(flags, false)
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
	s.takeFar()
}

// commit receives p if the window reaches so far.
func (s *Session) commit(p farPacket) {
	switch s.classify(p.seq) {
	case reliability.Fresh:
		s.receive(p.seq, p.flags, p.body, p.ref)
	case reliability.Duplicate:
		// The gate commits no packet twice; one that was handed over before
		// cannot be again.
		s.cfg.Release(s, p.ref)
	case reliability.Outside:
		// The gate's window is ahead of this one by what waits in the commit
		// rings of other CPUs, and the inbox has its bounds.
		s.far = append(s.far, p)
	}
}

// classify is the window's opinion of a reliable packet, within the bounds of the
// inbox.
func (s *Session) classify(seq uint32) reliability.Class {
	if int32(seq-s.inboxFirst()) >= reliability.WindowSize {
		return reliability.Outside
	}
	return s.rcv.Classify(seq)
}

// takeFar receives packets that the window has come to reach.
func (s *Session) takeFar() {
	for i := 0; i < len(s.far); i++ {
		p := s.far[i]
		if s.classify(p.seq) == reliability.Outside {
			continue
		}
		last := len(s.far) - 1
		s.far[i] = s.far[last]
		s.far[last] = farPacket{}
		s.far = s.far[:last]
		s.commit(p)
		i = -1 // the window may have moved
	}
}

// AckState takes what the gate absorbed into the session's flow. The owner
// calls it for a flow marked dirty, and before Tick.
func (s *Session) AckState(f commit.FlowState, now uint64) {
	s.now = max(s.now, now)
	s.lastHeard = max(s.lastHeard, min(f.LastSeen, now))
	if s.state != Open && s.state != Closing || s.recovering {
		return
	}
	ack := reliability.Ack{
		Next: f.Ack,
		At:   min(max(f.LastSeen, s.lastAdvance), now), Echo: f.Echo, Echoed: f.Echo != 0,
	}
	seen := reliability.ReceiveWindow{Next: f.Ack, High: f.SackHigh, Bits: f.Sack}
	ack.Words = seen.Sack(&ack.Sack)
	if f.ECE != s.eceCount {
		s.eceCount = f.ECE
		s.snd.Marked(now)
	}
	if f.RTTCount != s.rttCount {
		s.rttCount = f.RTTCount
		ack.RTT = s.sampleRTT(uint64(f.RTTMicros) * 1000)
	}
	if s.snd.Valid(&ack) {
		s.acknowledged(&ack, f.Window)
	}
}

// Unreliable takes an unreliable packet that the gate let through, body being
// behind the acknowledgement block. The body is not used after the call.
func (s *Session) Unreliable(h wire.Header, body []byte, now uint64) {
	s.MarkedUnreliable(h, body, false, now)
}

// MarkedUnreliable is Unreliable for owners who see the IP header, as MarkedPacket
// is Packet. The gate says in its acknowledgements what it saw, and has none for a
// client that sends nothing reliable.
func (s *Session) MarkedUnreliable(h wire.Header, body []byte, marked bool, now uint64) {
	s.heard(now)
	s.noteMark(h.Flags, marked)
	if s.state == Open || s.state == Closing {
		s.receiveUnreliable(h.Sequence, body)
	}
}

// noteMark takes what a packet tells of congestion on its way here. It may end
// one episode and begin the next.
func (s *Session) noteMark(flags wire.Flags, marked bool) {
	if flags&wire.FlagCWR != 0 {
		s.ece = false
	}
	s.ece = s.ece || marked
}

// acknowledged takes a valid acknowledgement.
func (s *Session) acknowledged(ack *reliability.Ack, window uint16) {
	s.stats.Acks++
	s.peerWindow = int(window)
	out := s.snd.OnAck(ack, s.now)
	if out.Probe {
		s.mtu.arrived(s.now)
	}
	if out.Packets > 0 {
		s.lastAdvance = s.now
		if len(s.large.transfers) > 0 {
			s.sweepTransfers()
		}
		if !s.sack && out.HasRTT {
			s.sampleRTT(out.RTT)
		}
	}
	if s.snd.Outstanding() < s.peerWindow {
		s.blocked, s.probes = false, 0
	}
	if s.state == Closing && s.out.fin == nil && s.snd.Outstanding() == 0 {
		s.Reset(s.closeWhy)
	}
}

// sampleRTT takes a round trip in nanoseconds and returns it, 0 where it is
// not to be believed.
func (s *Session) sampleRTT(rtt uint64) uint64 {
	if rtt == 0 || rtt >= maxRTT {
		return 0
	}
	s.snd.RTT.Sample(rtt, s.now)
	return rtt
}

// heard notes a sign of life.
func (s *Session) heard(now uint64) {
	s.now = max(s.now, now)
	s.lastHeard = s.now
}

// oweAck makes the next packet acknowledge packet seq, stamped with timestamp.
func (s *Session) oweAck(seq uint32, timestamp uint64) {
	if !s.ackDue {
		s.owedLow, s.owedHigh = seq, seq
	} else if int32(seq-s.owedLow) < 0 {
		s.owedLow = seq
	} else if int32(seq-s.owedHigh) > 0 {
		s.owedHigh = seq
	}
	s.ackDue = true
	s.echo, s.echoedAt = timestamp, s.now
}
