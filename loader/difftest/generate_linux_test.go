package difftest

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"github.com/xrudp/xrudp/userspace/commit"
	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// Addresses that frames are misdirected to.
var otherAddrs = append([]netip.Addr{
	netip.MustParseAddr("192.0.2.2"),
	netip.MustParseAddr("239.1.2.3"),
	netip.MustParseAddr("223.255.255.255"),
	netip.MustParseAddr("2001:db8::2"),
	netip.MustParseAddr("ff05::1"),
	netip.MustParseAddr("::"),
}, localAddrs...)

// peer is a client that a sequence plays.
type peer struct {
	key     wire.Key
	link    link
	profile wire.Profile
	init    gate.SessionInit
	open    bool
	isn     uint32 // of the SYN it sent last

	unreliable uint32   // next sequence of that space
	sent       [][]byte // reliable packets to send again
}

// generator makes up the steps of a sequence. It looks at the twin's state,
// so that what it sends is valid, or just not.
type generator struct {
	d     *dice
	p     *pair
	peers []*peer
	ids   uint64
	keys  gate.CookieKeys
	free  []uint32 // session slots
	body  []byte

	// Of 100 steps, how many are a worker's. A hungry worker keeps its rings
	// empty.
	appetite int
}

// newSetup throws what a sequence starts from.
func newSetup(d *dice) setup {
	s := setup{cpu: d.n(2)}
	s.config = gate.Config{
		MaxDatagram:   pick(d, wire.MaxDatagramLimit, wire.MaxDatagramLimit, wire.MaxDatagram, 1000, wire.MinDatagram),
		Ports:         servedPorts,
		CompactPorts:  compactPorts,
		Local:         localAddrs,
		Sockets:       d.one(2),
		Features:      gate.FeatureSACK,
		ControlBytes:  pick(d, 0, 1<<20, d.u32()),
		SessionBudget: pick(d, 1, 8, 64, 1<<20),
	}
	if d.one(4) {
		s.config.Features = 0
	}
	s.keys = newKeys(d)
	return s
}

func newKeys(d *dice) gate.CookieKeys {
	return gate.CookieKeys{
		Keys:    [2]gate.CookieKey{{K0: d.u64(), K1: d.u64()}, {K0: d.u64(), K1: d.u64()}},
		Current: uint32(d.n(2)),
	}
}

func newGenerator(d *dice, p *pair) *generator {
	g := &generator{d: d, p: p, keys: p.setup.keys, body: make([]byte, 0, 2048)}
	g.appetite = pick(d, 5, 20, 40)
	for slot := range uint32(p.geometry.MaxSessions) {
		g.free = append(g.free, slot)
	}
	for i := range 1 + d.n(12) {
		g.peers = append(g.peers, g.newPeer(i))
	}
	return g
}

func (g *generator) newPeer(i int) *peer {
	d := g.d
	p := &peer{link: link{tags: pick(d, 0, 0, 0, 1, 2), v6: d.one(3)}}
	if !p.link.v6 && d.one(4) {
		p.link.options = 4 * (1 + d.n(10))
	}
	client, server := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), localAddrs[0]
	if p.link.v6 {
		client, server = netip.MustParseAddr("2001:db8:1::5"), localAddrs[1]
	}
	if d.one(12) {
		// Not ours any more: a session is served all the same.
		server = otherAddrs[0]
		if p.link.v6 {
			server = otherAddrs[3]
		}
	}
	p.key = wire.MakeKey(
		netip.AddrPortFrom(client, uint16(1000+i)),
		netip.AddrPortFrom(server, pick(d, servedPorts[0], servedPorts[1], compactPorts[0])),
	)
	p.profile = profileOf(&p.key)
	return p
}

// step throws the next one.
func (g *generator) step() step {
	d := g.d
	p := g.peers[d.n(len(g.peers))]
	switch roll := d.n(100); {
	case roll < g.appetite && d.one(2):
		return step{kind: stepTake, n: g.busiestRing()}
	case roll < g.appetite:
		return step{kind: stepRelease, n: g.fullestRing(), value: uint32(d.n(64))}
	case !p.open && d.one(2):
		return g.openSession(p)
	case p.open && d.one(12):
		return g.advance(p)
	case p.open && d.one(10):
		return g.released(p)
	case d.one(50):
		return step{kind: pick(d, stepDirty, stepSleep), n: d.n(g.p.geometry.Workers)}
	case p.open && d.one(800):
		p.open = false
		g.free = append(g.free, p.init.Slot)
		return step{kind: stepClose, key: p.key}
	case d.one(3000):
		keys := newKeys(d)
		keys.Keys[0] = pick(d, keys.Keys[0], g.keys.Keys[0])
		g.keys = keys
		return step{kind: stepCookies, keys: keys}
	}
	return g.frame(p, g.packet(p))
}

// busiestRing is the one with most to pick up.
func (g *generator) busiestRing() int {
	best, most := 0, 0
	for ring := range g.p.held {
		if n := g.p.regions.Reader(ring).Pending(); n > most {
			best, most = ring, n
		}
	}
	return best
}

// fullestRing is the one whose worker holds most.
func (g *generator) fullestRing() int {
	best := 0
	for ring, held := range g.p.held {
		if len(held) > len(g.p.held[best]) {
			best = ring
		}
	}
	return best
}

func (g *generator) openSession(p *peer) step {
	d := g.d
	i := d.n(len(g.free))
	slot := g.free[i]
	g.free[i] = g.free[len(g.free)-1]
	g.free = g.free[:len(g.free)-1]
	g.ids++
	// Sequences that wrap soon, and ones that do not.
	isn := pick(d, d.u32(), -uint32(d.n(64)), 0x7fffffe0+uint32(d.n(64)))
	p.init = gate.SessionInit{
		ID: g.ids, Slot: slot, Worker: slot / uint32(g.p.geometry.SessionsPerWorker()),
		ClientISN: isn, ServerISN: pick(d, d.u32(), -uint32(d.n(64)), 0x7fffffe0+uint32(d.n(64))),
	}
	if !d.one(4) {
		p.init.Features = gate.FeatureSACK
	}
	if p.profile == wire.Compact {
		isn = uint32(uint16(isn))
		p.init.ClientISN, p.init.ServerISN = isn, uint32(uint16(p.init.ServerISN))
		p.init.Token = d.u32()
	}
	p.open, p.isn, p.unreliable, p.sent = true, isn, isn+1, nil
	return step{kind: stepOpen, key: p.key, init: p.init}
}

// advance lets the server send.
func (g *generator) advance(p *peer) step {
	flow := g.p.regions.Flow(p.init.Slot)
	next := flow.SndNxt()
	if next-flow.Ack() < wire.ReceiveWindow || g.d.one(20) {
		next += uint32(pick(g.d, 1, 1, 2, 5, 70, 300))
	}
	return step{kind: stepSndNxt, n: int(p.init.Slot), value: next}
}

// released has the worker say what it gave back: at most as much as came.
func (g *generator) released(p *peer) step {
	state, _ := g.p.twin.Session(p.key)
	waiting := g.d.n(pick(g.d, 1, 2, 10, 70))
	if g.d.one(40) {
		waiting = -1 // it was quicker than this CPU
	}
	return step{kind: stepReleased, n: int(p.init.Slot), value: uint32(state.Committed) - uint32(waiting)}
}

// frame wraps a payload, mostly as it should be.
func (g *generator) frame(p *peer, payload []byte) step {
	b := make([]byte, 0, p.link.payload()+len(payload)+80)
	l := p.link
	if g.d.one(40) {
		l.tags = g.d.n(3)
	}
	if g.d.one(8) {
		l.ecn = byte(1 + g.d.n(3))
	}
	b = wrap(b, l, &p.key, payload)
	if p.profile == wire.Compact && !g.d.one(60) {
		checksum(b)
	}
	if g.d.one(9) {
		b = mutate(g.d, l, b)
		if p.profile == wire.Compact && g.d.one(2) {
			checksum(b)
		}
	}
	if len(b) > maxFrame {
		b = b[:maxFrame]
	}
	return step{kind: stepFrame, frame: b}
}

// maxFrame is what BPF_PROG_TEST_RUN takes of a frame on 4 KiB pages.
const maxFrame = 3500

// packet returns a UDP payload, valid until the next call.
func (g *generator) packet(p *peer) []byte {
	d := g.d
	roll := d.n(100)
	switch {
	case !p.open && roll < 50 || roll < 3:
		return g.syn(p)
	case !p.open && roll < 90 || roll < 7:
		return g.hello(p)
	case !p.open:
		p = &peer{profile: p.profile, isn: d.u32(), init: gate.SessionInit{ClientISN: d.u32(), Slot: uint32(d.n(g.p.geometry.MaxSessions))}}
	case roll < 12 && len(p.sent) > 0:
		return p.sent[d.n(len(p.sent))]
	}
	b := g.inSession(p, roll)
	if d.one(25) {
		b[d.n(len(b))] ^= 1 << d.n(8)
	}
	if d.one(50) {
		b = append(b, byte(d.n(256)))
	}
	if p.profile == wire.Standard && !d.one(60) {
		wire.Seal(b)
	}
	if p.open && isReliable(p.profile, b) && d.one(2) {
		p.remember(b)
	}
	return b
}

func isReliable(p wire.Profile, b []byte) bool {
	if p == wire.Compact {
		return b[2]&0x40 != 0
	}
	return b[8]&byte(wire.FlagPSH) != 0
}

func (p *peer) remember(b []byte) {
	if len(p.sent) < 32 {
		p.sent = append(p.sent, append([]byte(nil), b...))
		return
	}
	oldest := p.sent[0]
	copy(p.sent, p.sent[1:])
	p.sent[31] = append(oldest[:0], b...)
}

// inSession makes a packet up to its checksum.
func (g *generator) inSession(p *peer, roll int) []byte {
	d := g.d
	state, _ := g.p.twin.Session(p.key)
	flow := g.p.regions.Flow(p.init.Slot)
	h := wire.Header{
		Ack:       g.ack(flow),
		Window:    uint16(pick(d, 1024, 1024, 512, d.n(65536))),
		Timestamp: g.p.now / 1000,
	}
	if d.one(8) {
		h.Timestamp = d.u64()
	}
	var extra wire.Flags
	if d.one(10) {
		extra = pick(d, wire.FlagURG, wire.FlagECE, wire.FlagCWR, wire.FlagECE|wire.FlagCWR)
	}
	switch {
	case roll < 60: // reliable
		h.Flags = wire.FlagACK | wire.FlagPSH | extra
		h.Sequence = g.sequence(&state)
	case roll < 72: // pure acknowledgement
		h.Flags = wire.FlagACK | extra
		h.Sequence = state.Window.Next
	case roll < 86: // unreliable
		h.Flags = wire.FlagACK | extra
		h.Sequence = g.unreliable(p, &state)
	case roll < 90: // keepalive
		h.Flags = wire.FlagACK | wire.FlagPSH | extra
		h.Sequence = pick(d, state.Window.Next-1, state.Window.Next-1, g.sequence(&state))
	case roll < 93: // FIN
		h.Flags = wire.FlagACK | wire.FlagPSH | wire.FlagFIN | extra
		h.Sequence = g.sequence(&state)
	case roll < 96: // RST
		h.Flags = wire.FlagACK | wire.FlagRST
		h.Sequence = state.Window.Next + pick(d, 0, uint32(d.n(1024)), -uint32(d.n(1024)), 1024, 1025, 1<<32-1024, 1<<32-1025, d.u32())
	default: // anything
		h.Flags = wire.Flags(d.n(256))
		h.Sequence = pick(d, g.sequence(&state), d.u32())
		h.Ack = pick(d, h.Ack, d.u32())
	}
	if p.profile == wire.Compact && d.one(3) && roll < 93 {
		h.Flags &^= wire.FlagACK
		if !d.one(20) {
			h.Flags &^= wire.FlagECE
		}
	}
	start := g.start(p, &h)
	b := g.body[:start]
	words := byte(0)
	if reset := roll >= 93 && roll < 96; !reset && (p.profile == wire.Standard || h.Flags&wire.FlagACK != 0) {
		b, words = g.block(b, p, &h, flow)
	}
	switch {
	case roll >= 72 && roll < 86, roll < 60, roll >= 96:
		b = g.messages(b)
	case roll >= 90:
		b = g.reason(b)
	}
	if p.profile == wire.Standard {
		h.Put(b)
		return b
	}
	if roll >= 93 && roll < 96 {
		b = binary.BigEndian.AppendUint32(b, pick(d, state.Token, state.Token, state.Token, d.u32()))
		if d.one(20) {
			words = byte(d.n(3))
		}
	}
	_, _, err := wire.ParseMessage(b[start:])
	h.Fragment = (err == nil && bytes.IndexByte(firstTypes(b[start:]), wire.TypeFragment) >= 0) != d.one(30)
	g.putCompact(b, &h, words)
	return b
}

// start is where the body of a packet begins, or the acknowledgement block of
// the standard profile.
func (g *generator) start(p *peer, h *wire.Header) int {
	switch {
	case p.profile == wire.Standard:
		return wire.HeaderSize
	case h.Flags&wire.FlagACK == 0:
		return compactSize
	}
	return compactSize + compactAckSize
}

const (
	compactSize    = 8
	compactAckSize = 5
)

// putCompact writes a header of the compact profile, legal or not.
func (g *generator) putCompact(b []byte, h *wire.Header, words byte) {
	d := g.d
	binary.BigEndian.PutUint16(b, uint16(h.Sequence))
	b[2], b[3] = 0, byte(d.n(4))
	for _, f := range []struct {
		flag wire.Flags
		bit  byte
	}{
		{wire.FlagACK, 0x01}, {wire.FlagSYN, 0x02}, {wire.FlagFIN, 0x04}, {wire.FlagRST, 0x08},
		{wire.FlagURG, 0x20}, {wire.FlagPSH, 0x40}, {wire.FlagECE, 0x80},
	} {
		if h.Flags&f.flag != 0 {
			b[2] |= f.bit
		}
	}
	if h.Fragment {
		b[2] |= 0x10
	}
	if h.Flags&wire.FlagCWR != 0 {
		b[3] |= 0x80
	}
	if h.Flags&(wire.FlagSYN|wire.FlagRST) != 0 && !d.one(10) {
		b[3] = 0
	}
	if d.one(60) {
		b[3] |= 1 << d.n(8)
	}
	binary.BigEndian.PutUint32(b[4:], uint32(h.Timestamp))
	if h.Flags&wire.FlagACK != 0 {
		b[8] = words
		binary.BigEndian.PutUint16(b[9:], uint16(h.Ack))
		binary.BigEndian.PutUint16(b[11:], h.Window)
	}
}

// firstTypes lists the types of messages as far as they are well framed.
func firstTypes(body []byte) (types []byte) {
	for {
		m, rest, err := wire.ParseMessage(body)
		if err != nil {
			return types
		}
		types = append(types, m.Type)
		body = rest
	}
}

// ack chooses what to acknowledge: mostly what was sent.
func (g *generator) ack(flow *commit.Flow) uint32 {
	d := g.d
	una, next := flow.Ack(), flow.SndNxt()
	switch d.n(16) {
	case 0:
		return una
	case 1:
		return una - 1 - uint32(d.n(40))
	case 2:
		return una - pick(d, uint32(1023), 1024, 1025, 1026)
	case 3:
		return next + pick(d, uint32(1), 2, 1000, 1<<31)
	case 4:
		return pick(d, d.u32(), next)
	case 5, 6, 7, 8:
		return una + uint32(d.n(int(min(next-una, 4096))+1))
	}
	return next
}

// sequence chooses a reliable sequence: mostly the next.
func (g *generator) sequence(s *gate.SessionState) uint32 {
	d := g.d
	next := s.Window.Next
	switch d.n(20) {
	case 0, 1, 2:
		return next + uint32(d.n(8))
	case 3:
		return next + uint32(d.n(wire.ReceiveWindow))
	case 4:
		return next + pick(d, uint32(63), 64, 65, 255, 256, 257, 258, 320, 321, 960, 961, 1022, 1023, 1024, 1025)
	case 5:
		return next - 1 - uint32(d.n(20))
	case 6:
		return next - pick(d, uint32(1), 2, 1023, 1024, 1025)
	case 7:
		return s.Window.High + uint32(d.n(3))
	case 8:
		return pick(d, s.ClientISN, s.ClientISN+1, s.ClientISN+2)
	case 9:
		return pick(d, next, d.u32())
	}
	return next
}

func (g *generator) unreliable(p *peer, s *gate.SessionState) uint32 {
	d := g.d
	switch d.n(12) {
	case 0:
		return s.ReplayHigh - uint32(d.n(70))
	case 1:
		return s.ReplayHigh - pick(d, uint32(0), 62, 63, 64, 65)
	case 2:
		p.unreliable = s.ReplayHigh + uint32(d.n(130))
	case 3:
		return s.ReplayHigh + pick(d, uint32(63), 64, 65, 65535, 65536, 65537, 1<<31, 1<<31-1, 1<<31+1)
	case 4:
		return pick(d, d.u32(), p.unreliable)
	case 5:
		p.unreliable += uint32(d.n(5))
	}
	p.unreliable++
	return p.unreliable - 1
}

// block appends the acknowledgement block of a session that has them, and
// sometimes of one that has not.
func (g *generator) block(b []byte, p *peer, h *wire.Header, flow *commit.Flow) (out []byte, first byte) {
	d := g.d
	if (p.init.Features&gate.FeatureSACK == 0) != d.one(60) {
		return b, 0
	}
	sent := int(int32(flow.SndNxt() - h.Ack - 1)) // bits that may be set
	words, offset := pick(d, 0, 0, 1, 1, 2, 2, 3, 4, 5), 0
	most := min((max(sent, 0)+63)/64, wire.AckWindowWords)
	if words > 1+most && !d.one(30) {
		words = 1 + most
	}
	if words > 1 && d.one(2) {
		offset = d.n(max(most-words+2, 1))
	}
	first = byte(offset<<3 | words)
	switch d.n(60) {
	case 0:
		first = byte(d.n(256))
	case 1:
		first += 8 * byte(d.n(4))
	}
	words, offset = int(first&7), int(first>>3)
	if p.profile == wire.Standard {
		b = append(b, first)
	}
	if words == 0 {
		return b, first
	}
	nowMicros := g.p.now / 1000
	echo := pick(d, nowMicros, nowMicros-uint64(d.n(1_000_000)), 0, nowMicros-rttEdge+uint64(d.n(2_000_000)), nowMicros+uint64(d.n(2000)), d.u64())
	delay := pick(d, 0, uint32(d.n(1000)), d.u32())
	if p.profile == wire.Standard {
		b = binary.BigEndian.AppendUint64(b, echo)
		b = binary.BigEndian.AppendUint32(b, delay)
	} else {
		b = binary.BigEndian.AppendUint32(b, uint32(echo))
		b = binary.BigEndian.AppendUint16(b, uint16(delay))
	}
	for i := range words - 1 {
		legal := min(max(sent-64*(offset+i), 0), 64)
		word := d.u64() & (1<<legal - 1)
		switch d.n(60) {
		case 0:
			word = 0
		case 1:
			word |= 1 << legal
		case 2, 3, 4:
			word |= 1 << max(legal-1, 0)
		}
		if word == 0 && (i == 0 || i == words-2) && !d.one(20) {
			word = 1
		}
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b, first
}

// rttEdge is the round trip that is not believed any more, in microseconds.
const rttEdge = 60_000_000

func (g *generator) reason(b []byte) []byte {
	switch g.d.n(8) {
	case 0:
		return b
	case 1:
		return append(b, 0)
	case 2:
		return append(b, 1, 2)
	}
	return append(b, byte(g.d.n(256)))
}

// messages appends messages, mostly well framed.
func (g *generator) messages(b []byte) []byte {
	d := g.d
	limit := g.p.setup.config.MaxDatagram
	count := 1 + d.n(3)
	longest := pick(d, 20, 20, 100, wire.MaxDatagramLimit)
	switch d.n(24) {
	case 0:
		count, longest = pick(d, 0, 31, 32, 33), 20
	case 1:
		return g.exactly(b, pick(d, limit-1, limit, limit+1))
	}
	for range count {
		room := limit - len(b) - wire.MessageHeaderSize
		if room < 0 && !d.one(10) {
			break
		}
		n := d.n(min(longest, max(room, 0)) + 1)
		b = g.message(b, n)
	}
	return b
}

// exactly fills b up to a packet of size bytes.
func (g *generator) exactly(b []byte, size int) []byte {
	return g.message(b, max(size-len(b)-wire.MessageHeaderSize, 0))
}

func (g *generator) message(b []byte, n int) []byte {
	d := g.d
	kind := byte(1 + d.n(wire.TypePad))
	if kind == wire.TypeControl {
		kind++
	}
	says := n
	switch d.n(80) {
	case 0:
		kind = pick(d, byte(0), 0xf0, 0xf5, 0xff)
	case 1:
		says = pick(d, n+1, max(n-1, 0), 65535)
	}
	b = append(b, kind, byte(d.n(256)), byte(d.n(256)), byte(d.n(256)))
	b = binary.BigEndian.AppendUint16(b, uint16(says))
	at := len(b)
	b = append(b, make([]byte, n)...)
	d.fill(b[at:])
	return b
}

func (g *generator) syn(p *peer) []byte {
	d := g.d
	p.isn = d.u32()
	h := wire.Header{Sequence: p.isn, Flags: wire.FlagSYN, Window: 1024, Timestamp: d.u64()}
	b := h.AppendTo(g.body[:0])
	if p.profile == wire.Compact {
		b = b[:compactSize]
		g.putCompact(b, &h, 0)
	}
	kind := byte(0)
	for range d.n(4) {
		kind += byte(1 + d.n(3))
		if kind == wire.OptionCookie && !d.one(10) {
			kind++
		}
		n := d.n(6)
		switch {
		case kind == wire.OptionSACK && !d.one(10):
			n = 0
		case kind == wire.OptionMTU && !d.one(10):
			n = 2
		case kind == wire.OptionControl && !d.one(10):
			n = 4
		}
		b = append(append(b, kind, byte(n)), make([]byte, n)...)
		d.fill(b[len(b)-n:])
	}
	if d.one(20) { // many, or badly ordered
		for range pick(d, 4, 7, 8, 9) {
			kind += byte(d.n(12)) / 4
			b = append(b, kind, 0)
		}
	}
	for len(b) < pick(d, wire.MinSYN, wire.MinSYN, wire.MinSYN, wire.MinSYN-1, 80) {
		b = append(b, byte(d.n(256)/255))
	}
	if p.profile == wire.Standard {
		wire.Seal(b)
	}
	return b
}

// hello completes a handshake, or pretends to.
func (g *generator) hello(p *peer) []byte {
	d := g.d
	isn := p.isn
	if p.open {
		isn = pick(d, p.init.ClientISN, p.init.ClientISN+uint32(d.n(3)), d.u32(), d.u32())
	}
	keys := g.keys
	keys.Current = uint32(d.n(2))
	profile := p.profile
	if d.one(20) {
		profile = wire.Compact - profile // the other's cookie
	}
	isn = p.profile.ClientSequence(isn)
	opts := wire.Options{Cookie: keys.Make(profile, &p.key, isn), HasCookie: true, SACK: d.one(2)}
	server := p.profile.ServerSequence(opts.Cookie)
	switch d.n(12) {
	case 0:
		opts.Cookie ^= 1 << d.n(64)
	case 1:
		server += uint32(d.n(3)) - 1
	case 2:
		isn += uint32(d.n(3)) - 1
	}
	b := p.profile.AppendHello(g.body[:0], isn, server, opts, d.u64())
	start, flags := wire.HeaderSize, 8
	if p.profile == wire.Compact {
		start, flags = compactSize+compactAckSize, 2
	}
	switch d.n(10) {
	case 0:
		b[start+d.n(8)] ^= 1 << d.n(8)
	case 1:
		b = b[:start+d.n(len(b)-start+1)]
	case 2:
		b = append(b, byte(d.n(256)))
	case 3:
		b[flags] |= byte(pick(d, wire.FlagURG, wire.FlagECE, wire.FlagFIN, wire.FlagPSH))
	case 4:
		b[flags+1+d.n(start-flags-1)] ^= 1 << d.n(8) // in the header
	}
	if p.profile == wire.Standard {
		wire.Seal(b)
	}
	return b
}
