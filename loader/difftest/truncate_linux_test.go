package difftest

import (
	"net/netip"
	"testing"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// quietSetup is a sequence's start without chance, with an IPv4 client behind
// two tags and with IP options, a plain IPv6 client, and one of the compact
// profile.
func quietSetup() (setup, [3]*peer) {
	s := setup{
		config: gate.Config{
			MaxDatagram: wire.MaxDatagramLimit, Ports: servedPorts, CompactPorts: compactPorts, Local: localAddrs, Features: gate.FeatureSACK,
			ControlBytes: 1 << 20, SessionBudget: 6,
		},
		keys: gate.CookieKeys{Keys: [2]gate.CookieKey{{K0: 1, K1: 2}, {K0: 3, K1: 4}}},
	}
	four := &peer{open: true, link: link{tags: 2, options: 8}, key: wire.MakeKey(
		netip.MustParseAddrPort("198.51.100.1:1000"), netip.AddrPortFrom(localAddrs[0], servedPorts[0]))}
	four.init = gate.SessionInit{ID: 1, Slot: 3, Features: gate.FeatureSACK, ClientISN: 100, ServerISN: 200}
	six := &peer{open: true, link: link{v6: true}, key: wire.MakeKey(
		netip.MustParseAddrPort("[2001:db8:1::1]:1000"), netip.AddrPortFrom(localAddrs[1], servedPorts[0]))}
	six.init = gate.SessionInit{ID: 2, Slot: 70, Worker: 1, ClientISN: 0xffffffff, ServerISN: 0xffffffff}
	compact := &peer{open: true, link: link{tags: 1}, profile: wire.Compact, key: wire.MakeKey(
		netip.MustParseAddrPort("198.51.100.2:1000"), netip.AddrPortFrom(localAddrs[0], compactPorts[0]))}
	compact.init = gate.SessionInit{
		ID: 4, Slot: 5, Features: gate.FeatureSACK, ClientISN: 0xfffd, ServerISN: 0xfffa, Token: 0x01020304,
	}
	return s, [3]*peer{four, six, compact}
}

// TestTruncationAtEveryOffset cuts packets of every kind anywhere: with the
// lengths as they were, with fitting ones, and with the checksum made to fit
// as well; and pads each with what was cut off.
func TestTruncationAtEveryOffset(t *testing.T) {
	p := newPair(t, 16)
	s, peers := quietSetup()
	if err := p.reset(s); err != nil {
		t.Fatal(err)
	}
	g := &generator{d: seeded(7), p: p, keys: s.keys, body: make([]byte, 0, 2048)}
	run := func(st step) {
		t.Helper()
		if err := p.apply(&st); err != nil {
			t.Fatalf("%v: %v", &st, err)
		}
	}
	for _, peer := range peers {
		run(step{kind: stepOpen, key: peer.key, init: peer.init})
		run(step{kind: stepSndNxt, n: int(peer.init.Slot), value: peer.init.ServerISN + 100})
	}
	base := p.frames
	for range 12 {
		for _, peer := range peers {
			for roll := 2; roll < 100; roll += 3 {
				payload := g.packet(peer)
				if roll > 6 {
					payload = g.inSession(peer, roll)
					peer.seal(payload)
				}
				payload = append([]byte(nil), payload[:min(len(payload), 150)]...)
				cutEverywhere(peer, payload, run)
			}
		}
		for ring := range p.geometry.Rings() {
			for range 16 {
				run(step{kind: stepTake, n: ring})
				run(step{kind: stepRelease, n: ring})
			}
		}
	}
	if err := p.compareAll(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packets agree", p.frames-base)
}

// seal puts the checksum of a standard packet right.
func (p *peer) seal(payload []byte) {
	if p.profile == wire.Standard {
		wire.Seal(payload)
	}
}

// wrapped is a frame with the payload and a right UDP checksum.
func (p *peer) wrapped(payload []byte) []byte {
	frame := wrap(nil, p.link, &p.key, payload)
	checksum(frame)
	return frame
}

func cutEverywhere(peer *peer, payload []byte, run func(step)) {
	whole := peer.wrapped(payload)
	for n := etherSize; n <= len(whole); n++ {
		run(step{kind: stepFrame, frame: whole[:n]})
	}
	for n := range len(payload) + 1 {
		cut := append([]byte(nil), payload[:n]...)
		run(step{kind: stepFrame, frame: wrap(nil, peer.link, &peer.key, cut)})
		if n < wire.HeaderSize && peer.profile == wire.Standard {
			continue
		}
		peer.seal(cut)
		frame := peer.wrapped(cut)
		run(step{kind: stepFrame, frame: frame})
		run(step{kind: stepFrame, frame: append(frame, payload[n:]...)})
	}
}
