package session

import (
	"slices"
	"time"

	"github.com/xrudp/xrudp/userspace/reliability"
	"github.com/xrudp/xrudp/userspace/wire"
)

const (
	// maxProbes is how many probes of one size are lost before the path counts
	// as one that does not carry it (RFC 8899 section 5.1.2).
	maxProbes = 3

	// raiseAfter is after how long a path is searched again for more
	// (PMTU_RAISE_TIMER), and holeRest after how long one that ceased to carry
	// large packets is.
	raiseAfter = uint64(600 * time.Second)
	holeRest   = uint64(10 * time.Second)

	// suspicious is how many large packets in a row are lost before their size
	// is in doubt.
	suspicious = 3
)

// pathSizes are the datagrams that paths carry up to, in bytes of UDP payload:
// MTUs of Ethernet, PPPoE, VXLAN, WireGuard and other tunnels, and the least of
// IPv6, less the headers of IPv4 or IPv6.
var pathSizes = [...]int{1232, 1252, 1272, 1312, 1352, 1372, 1392, 1402, 1422, 1432, 1444, 1452, 1464}

// pathMTU searches for the largest datagram that the path carries, by probes
// (RFC 8899). One at a time is under way. The largest that both ends take comes
// first, since most paths carry it, then pathSizes by halves.
//
// Where large packets are lost in a row, and nothing shows that later ones arrive,
// the size found is in doubt: nothing above the base leaves but probes of it, until
// one arrives or maxProbes are lost (section 4.3). A path that loses at random
// thus costs a round trip, and one that became narrow is noticed in three.
type pathMTU struct {
	base, limit int    // bytes: what is sent without proof, and what both ends take
	size        int    // proven
	tooLarge    int    // the smallest that did not pass
	probing     int    // size of the probe under way, 0 for none
	lost        int    // probes of the size in line
	doubted     bool   // size is
	restUntil   uint64 // there is no probe before
	probes      uint64 // sent
	holes       uint64 // how often the path ceased to carry size
}

// init begins anew for datagrams of up to limit bytes.
func (m *pathMTU) init(limit int) {
	base := min(limit, wire.MaxDatagram)
	*m = pathMTU{base: base, limit: limit, size: base, tooLarge: limit + 1}
}

// current returns the size that datagrams may have now.
func (m *pathMTU) current() int {
	if m.doubted {
		return m.base
	}
	return m.size
}

// next returns the size of the probe that is worth sending now, 0 for none.
func (m *pathMTU) next(now uint64) int {
	if m.probing != 0 || now < m.restUntil {
		return 0
	}
	if m.restUntil != 0 && !m.doubted && m.candidate() == 0 {
		m.restUntil, m.tooLarge = 0, m.limit+1
	}
	if m.doubted {
		return m.size
	}
	return m.candidate()
}

// candidate returns the size that the search goes on with, 0 at its end.
func (m *pathMTU) candidate() int {
	switch {
	case m.size == m.limit:
		return 0
	case m.tooLarge > m.limit:
		return m.limit
	}
	low, known := slices.BinarySearch(pathSizes[:], m.size)
	if known {
		low++
	}
	high, _ := slices.BinarySearch(pathSizes[:], m.tooLarge)
	if low >= high {
		return 0
	}
	return pathSizes[(low+high)/2]
}

// sent notes that a probe of size bytes left.
func (m *pathMTU) sent(size int) {
	m.probing = size
	m.probes++
}

// arrived notes that the probe did.
func (m *pathMTU) arrived(now uint64) {
	m.size, m.doubted, m.lost = max(m.size, m.probing), false, 0
	m.probing = 0
	m.restAtEnd(now)
}

// missed notes that the probe was lost.
func (m *pathMTU) missed(now uint64) {
	size := m.probing
	m.probing = 0
	if m.doubted && size != m.size {
		return // it was sent before the doubt
	}
	if m.lost++; m.lost < maxProbes {
		return
	}
	m.lost, m.tooLarge = 0, size
	if m.doubted {
		m.doubted, m.size = false, m.base
		m.holes++
		m.restUntil = now + holeRest
		return
	}
	m.restAtEnd(now)
}

// restAtEnd has the search rest where it is complete.
func (m *pathMTU) restAtEnd(now uint64) {
	if m.candidate() == 0 {
		m.restUntil = now + raiseAfter
	}
}

// doubt notes that large packets are lost in a row.
func (m *pathMTU) doubt() {
	if m.size > m.base && !m.doubted {
		m.doubted, m.lost, m.restUntil = true, 0, 0
	}
}

// padding is what fills a probe.
var padding [wire.MaxDatagramLimit]byte

// watchPath looks for what says that the path does not carry large packets any
// more.
func (s *Session) watchPath() {
	if s.snd.LargeLost() >= suspicious {
		s.snd.ForgetLarge()
		s.mtu.doubt()
	}
}

// fillProbe writes a probe of the path, if one is due and there are large messages
// to make use of what it finds. Without selective acknowledgements everything would
// wait for a lost one.
func (s *Session) fillProbe(b []byte) int {
	if s.state != Open || !s.sack || !slices.ContainsFunc(s.large.transfers, func(t *transfer) bool { return t.message.Mode.Reliable() }) {
		return 0
	}
	size := s.mtu.next(s.now)
	if size == 0 || s.budget.next(s.now) > s.now || !s.snd.MaySendMessages(1, s.peerWindow, reliability.Paced, s.now) {
		return 0
	}
	p := s.cfg.Pool.Get()
	p.Append(wire.Message{Type: wire.TypePad})
	p.Priority, p.Probe = uint8(Low), true
	s.snd.Send(p, s.now)
	s.mtu.sent(size)
	return s.fillPacket(b, p.Sequence(), wire.FlagACK|wire.FlagPSH, p.Priority, p.Body(), size)
}
