package difftest

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/xrudp/xrudp/userspace/gate"
	"github.com/xrudp/xrudp/userspace/wire"
)

// caseNow is the time of a case's first frame, in ns. Each takes 1 ms.
const caseNow = 10_000_000_000

// builder writes the corpus's cases. Client four has acknowledgement blocks,
// client six has not, and its sequences are about to wrap. Client other has the
// worker of four.
type builder struct {
	four, six *peer
	other     *peer
	compact   *peer
	keys      gate.CookieKeys
	cases     []corpusCase
}

const (
	sent    = 10 // reliable packets each session's worker sent
	pshAck  = wire.FlagACK | wire.FlagPSH
	noBlock = -1
)

func newCorpus() *corpus {
	s, peers := quietSetup()
	other := *peers[0]
	other.key.ClientPort++
	other.init.ID, other.init.Slot = 3, 4
	b := &builder{four: peers[0], six: peers[1], other: &other, compact: peers[2], keys: s.keys}
	b.foreign()
	b.headers()
	b.handshake()
	b.acknowledgements()
	b.reliable()
	b.rings()
	b.marks()
	b.unreliable()
	b.endings()
	b.compactProfile()

	c := &corpus{Cases: b.cases, Setup: corpusSetup{
		Ports: s.config.Ports, Compact: s.config.CompactPorts, Local: s.config.Local, MaxDatagram: s.config.MaxDatagram, SACK: true,
		Control: s.config.ControlBytes, Budget: s.config.SessionBudget,
		Workers: 2, Slots: 8, MaxSessions: 128,
	}}
	for i, k := range s.keys.Keys {
		c.Setup.Secrets[i] = [2]hex64{hex64(k.K0), hex64(k.K1)}
	}
	for _, p := range []*peer{b.four, b.six, b.other, b.compact} {
		c.Sessions = append(c.Sessions, corpusSession{
			Client: p.key.ClientAddrPort(), Server: p.key.ServerAddrPort(),
			ID: p.init.ID, Slot: p.init.Slot, Worker: p.init.Worker, SACK: p.init.Features != 0,
			ClientISN: p.init.ClientISN, ServerISN: p.init.ServerISN, Token: p.init.Token, SndNxt: p.init.ServerISN + 1 + sent,
		})
	}
	return c
}

// add appends a case. Frames and outcomes take turns.
func (b *builder) add(name string, turns ...any) {
	c := corpusCase{Name: name}
	for i := 0; i < len(turns); i += 2 {
		c.Frames = append(c.Frames, corpusFrame{
			Now:     caseNow + uint64(i/2)*1_000_000,
			Frame:   turns[i].([]byte),
			Outcome: turns[i+1].(gate.Outcome).String(),
		})
	}
	b.cases = append(b.cases, c)
}

// of wraps a payload as the peer's packets are.
func of(p *peer, payload []byte) []byte { return wrap(nil, p.link, &p.key, payload) }

// packet seals header, block and body. says is the acknowledgement block's
// first byte, or noBlock; the block echoes the microsecond 1 ms ago.
func packet(flags wire.Flags, seq, ack uint32, says int, bitmap []uint64, body string) []byte {
	b := wire.Header{Sequence: seq, Ack: ack, Flags: flags, Window: 64, Timestamp: 0x1122334455667788}.AppendTo(nil)
	if says != noBlock {
		b = append(b, byte(says))
	}
	if says > 0 {
		b = binary.BigEndian.AppendUint64(b, caseNow/1000-1000)
		b = binary.BigEndian.AppendUint32(b, 100)
		for _, w := range bitmap {
			b = binary.BigEndian.AppendUint64(b, w)
		}
	}
	b = append(b, body...)
	wire.Seal(b)
	return b
}

func message(payload string) string {
	return string(wire.AppendMessage(nil, wire.Message{Type: 1, Channel: 2, ID: 3, Payload: []byte(payload)}))
}

// fourData is client four's nth reliable packet, counted from 0.
func (b *builder) fourData(n uint32) []byte {
	return of(b.four, packet(pshAck, b.four.init.ClientISN+2+n, b.four.init.ServerISN+1, 0, nil, message("move")))
}

func (b *builder) sixData(n uint32) []byte {
	return of(b.six, packet(pshAck, b.six.init.ClientISN+2+n, b.six.init.ServerISN+1, noBlock, nil, message("move")))
}

// marked returns frame with Congestion Experienced in its IP header.
func marked(p *peer, frame []byte) []byte {
	return changed(frame, func(f []byte) {
		if p.link.v6 {
			f[p.link.l3()+1] |= 0x30
		} else {
			f[p.link.l3()+1] |= 3
		}
	})
}

// changed returns a copy of frame after change.
func changed(frame []byte, change func(f []byte)) []byte {
	frame = append([]byte(nil), frame...)
	change(frame)
	return frame
}

func (b *builder) foreign() {
	four, six := b.fourData(0), b.sixData(0)
	l3 := b.four.link.l3()
	b.add("arp", changed(four, func(f []byte) { f[l3-2], f[l3-1] = 0x08, 0x06 }), gate.PassNotIP)
	b.add("ethernet_header_only", six[:14], gate.PassNotIP)
	b.add("tag_cut_off", four[:16], gate.PassNotIP)
	b.add("ip4_cut_off", four[:l3+19], gate.PassNotIP)
	b.add("ip4_options_cut_off", four[:l3+24], gate.PassNotIP)
	b.add("ip6_cut_off", six[:14+39], gate.PassNotIP)
	b.add("three_tags", append(append([]byte(nil), four[:12]...), append([]byte{0x81, 0, 0, 1}, four[12:]...)...), gate.PassVLANDepth)
	b.add("first_fragment", changed(four, func(f []byte) { f[l3+6] = 0x20 }), gate.PassFragment)
	b.add("last_fragment", changed(four, func(f []byte) { f[l3+7] = 1 }), gate.PassFragment)
	b.add("ip6_fragment", changed(six, func(f []byte) { f[14+6] = 44 }), gate.PassFragment)
	b.add("ip6_hop_by_hop", changed(six, func(f []byte) { f[14+6] = 0 }), gate.PassIP6Extension)
	b.add("tcp", changed(four, func(f []byte) { f[l3+9] = 6 }), gate.PassNotUDP)
	b.add("ip4_version_5", changed(four, func(f []byte) { f[l3] += 0x10 }), gate.PassNotUDP)
	b.add("ip4_longer_than_frame", four[:len(four)-1], gate.PassNotUDP)
	b.add("ip6_longer_than_frame", six[:len(six)-1], gate.PassNotUDP)
	b.add("other_port", changed(four, func(f []byte) { f[b.four.link.udp()+3]++ }), gate.PassOtherPort)
	b.add("port_0", changed(six, func(f []byte) { f[b.six.link.udp()+2], f[b.six.link.udp()+3] = 0, 0 }), gate.PassOtherPort)
	b.add("other_host", changed(four, func(f []byte) { f[l3+19] = 99 }), gate.PassOtherHost)
	b.add("ethernet_broadcast", changed(four, func(f []byte) { copy(f, "\xff\xff\xff\xff\xff\xff") }), gate.PassOtherHost)
	for _, group := range localAddrs[2:5] {
		to := group.As4()
		b.add("to_"+strings.ReplaceAll(group.String(), ".", "_"), changed(four, func(f []byte) { copy(f[l3+16:], to[:]) }), gate.PassOtherHost)
	}
	to := localAddrs[5].As16()
	b.add("ip6_multicast", changed(six, func(f []byte) { copy(f[14+24:], to[:]) }), gate.PassOtherHost)
	gone := *b.six
	gone.key = wire.MakeKey(gone.key.ClientAddrPort(), netip.MustParseAddrPort("[2001:db8::99]:9000"))
	b.add("no_session_to_other_host", of(&gone, packet(wire.FlagACK, 1, 1, noBlock, nil, "")), gate.PassOtherHost)
}

func (b *builder) headers() {
	four, six := b.fourData(0), b.sixData(0)
	udp := b.four.link.udp()
	b.add("udp_shorter_than_ip", changed(four, func(f []byte) { f[udp+5]-- }), gate.DropUDPLength)
	b.add("udp_shorter_than_its_header", changed(six, func(f []byte) { f[b.six.link.udp()+5] = 7 }), gate.DropUDPLength)
	b.add("empty_datagram", of(b.six, nil), gate.DropTruncated)
	b.add("twenty_bytes", of(b.four, make([]byte, 20)), gate.DropTruncated)
	b.add("longest_datagram", of(b.six, longest(b.six, 0)), gate.TXAck)
	b.add("too_long_by_one", of(b.six, longest(b.six, 1)), gate.DropOversize)
	for _, illegal := range []struct {
		name  string
		flags wire.Flags
	}{
		{"no_flags", 0},
		{"syn_ack", wire.FlagSYN | wire.FlagACK},
		{"syn_with_ece", wire.FlagSYN | wire.FlagECE},
		{"psh_without_ack", wire.FlagPSH},
		{"fin_without_psh", wire.FlagACK | wire.FlagFIN},
		{"urgent_fin", pshAck | wire.FlagFIN | wire.FlagURG},
		{"urgent_reset", wire.FlagACK | wire.FlagRST | wire.FlagURG},
	} {
		b.add(illegal.name, of(b.four, packet(illegal.flags, 102, 201, 0, nil, message("x"))), gate.DropFlags)
	}
	b.add("wrong_checksum", changed(four, func(f []byte) { f[len(f)-1]++ }), gate.DropChecksum)
	b.add("ethernet_padding", append(append([]byte(nil), six...), 1, 2, 3, 4, 5), gate.TXAck)
	b.add("urgent_and_ecn", of(b.four, packet(pshAck|wire.FlagURG|wire.FlagECE|wire.FlagCWR, 102, 201, 0, nil, message("x"))), gate.TXAck)
}

// longest is a packet of the largest size and some.
func longest(p *peer, more int) []byte {
	n := wire.MaxDatagramLimit - wire.HeaderSize - wire.MessageHeaderSize + more
	return packet(pshAck, p.init.ClientISN+2, p.init.ServerISN+1, noBlock, nil, message(strings.Repeat("y", n)))
}

func (b *builder) handshake() {
	new4 := *b.four
	new4.key.ClientPort = 2000
	new6 := *b.six
	new6.key.ClientPort = 2000
	syn := func(options string, size int) []byte {
		p := wire.Header{Sequence: 500, Flags: wire.FlagSYN, Window: 1024, Timestamp: 1}.AppendTo(nil)
		p = append(p, options...)
		for len(p) < size {
			p = append(p, 0)
		}
		wire.Seal(p)
		return p
	}
	b.add("syn", of(&new4, syn("", 64)), gate.TXSYNAck)
	b.add("syn_with_sack_and_mtu", of(&new6, syn("\x02\x00\x03\x02\x05\x00", 64)), gate.TXSYNAck)
	b.add("syn_with_control", of(&new4, syn("\x04\x04\x00\x00\x10\x00", 64)), gate.TXSYNAck)
	b.add("syn_with_everything", of(&new6, syn("\x02\x00\x03\x02\x05\xc0\x04\x04\x00\x00\x10\x00", 64)), gate.TXSYNAck)
	b.add("syn_control_of_three_bytes", of(&new4, syn("\x04\x03\x00\x00\x10", 64)), gate.DropSYNOption)
	b.add("syn_inside_a_session", of(b.four, syn("\x02\x00", 64)), gate.TXSYNAck, b.fourData(0), gate.TXAck)
	b.add("syn_with_unknown_option", of(&new4, syn("\x02\x00\x09\x03abc", 64)), gate.TXSYNAck)
	b.add("syn_options_to_the_end", of(&new4, syn("\x02\x00\x09\x27"+strings.Repeat("z", 39), 64)), gate.TXSYNAck)
	b.add("syn_with_something_behind_the_pad", of(&new4, syn("\x00\x01\x02\x03", 64)), gate.TXSYNAck)
	b.add("short_syn", of(&new4, syn("", 63)), gate.DropSYNLength)
	b.add("syn_with_cookie", of(&new4, syn("\x01\x0812345678", 64)), gate.DropSYNOption)
	b.add("syn_options_descend", of(&new4, syn("\x03\x02\x05\x00\x02\x00", 64)), gate.DropSYNOption)
	b.add("syn_option_twice", of(&new4, syn("\x02\x00\x02\x00", 64)), gate.DropSYNOption)
	b.add("syn_sack_with_a_value", of(&new4, syn("\x02\x01\x00", 64)), gate.DropSYNOption)
	b.add("syn_mtu_of_one_byte", of(&new4, syn("\x03\x01\x05", 64)), gate.DropSYNOption)
	b.add("syn_option_over_the_end", of(&new4, syn("\x09\xff", 64)), gate.DropSYNOption)
	b.add("syn_nine_options", of(&new4, syn("\x05\x00\x06\x00\x07\x00\x08\x00\x09\x00\x0a\x00\x0b\x00\x0c\x00\x0d\x00", 64)), gate.DropSYNOption)

	hello := func(p *peer, isn uint32, current uint32, change func(o *wire.Options, server *uint32)) []byte {
		keys := b.keys
		keys.Current = current
		o := wire.Options{Cookie: keys.Make(wire.Standard, &p.key, isn), HasCookie: true, SACK: true}
		server := wire.CookieSequence(o.Cookie)
		if change != nil {
			change(&o, &server)
		}
		return of(p, wire.AppendHello(nil, isn, server, o, 1))
	}
	b.add("hello", hello(&new4, 500, 0, nil), gate.PassHello)
	b.add("hello_with_the_other_secret", hello(&new6, 500, 1, nil), gate.PassHello)
	b.add("hello_forged", hello(&new4, 500, 0, func(o *wire.Options, _ *uint32) { o.Cookie ^= 1 << 50 }), gate.DropCookie)
	b.add("hello_of_another_client", changed(hello(&new4, 500, 0, nil), func(f []byte) { f[new4.link.udp()+1]++ }), gate.DropCookie)
	b.add("hello_wrong_ack", hello(&new4, 500, 0, func(_ *wire.Options, server *uint32) { *server++ }), gate.DropCookie)
	b.add("hello_without_cookie", of(&new4, packet(pshAck, 501, 1, noBlock, nil, "\xf0\x00\x00\x00\x00\x0a\x02\x00\x03\x02\x05\x00\x00\x00\x00\x00")), gate.DropHello)
	b.add("hello_cut_off", of(&new4, packet(pshAck, 501, 1, noBlock, nil, "\xf0\x00\x00\x00\x00\x00")), gate.DropHello)
	b.add("stranger_with_data", of(&new4, packet(pshAck, 501, 1, noBlock, nil, message("x"))), gate.DropNoSession)
	b.add("stranger_with_ack", of(&new6, packet(wire.FlagACK, 501, 1, noBlock, nil, "")), gate.DropNoSession)
	b.add("hello_again", hello(b.four, b.four.init.ClientISN, 0, nil), gate.TXAckDuplicate)
	b.add("hello_of_a_client_that_restarted", hello(b.four, 9999, 0, nil), gate.PassHello)
	b.add("hello_forged_in_a_session", hello(b.six, 9999, 0, func(o *wire.Options, _ *uint32) { o.Cookie++ }), gate.DropCookie)
}

func (b *builder) acknowledgements() {
	una := b.four.init.ServerISN + 1
	next := una + sent
	ack := func(n uint32, words int, bitmap ...uint64) []byte {
		return of(b.four, packet(wire.FlagACK, 102, n, words, bitmap, ""))
	}
	b.add("ack_of_nothing_new", ack(una, 0), gate.AbsorbAck)
	b.add("ack_of_everything", ack(next, 0), gate.AbsorbAck, ack(una, 0), gate.AbsorbAckStale)
	b.add("ack_of_the_unsent", ack(next+1, 0), gate.DropAck)
	b.add("ack_1024_behind", ack(una-1024, 0), gate.AbsorbAckStale)
	b.add("ack_1025_behind", ack(una-1025, 0), gate.DropAck)
	b.add("ack_with_round_trip", ack(una+1, 1), gate.AbsorbAck)
	b.add("sack", ack(una, 2, 0b101), gate.AbsorbAck, ack(una, 2, 0b10), gate.AbsorbAck, ack(una+2, 0), gate.AbsorbAck)
	b.add("sack_of_the_newest", ack(una, 2, 1<<(sent-2)), gate.AbsorbAck)
	b.add("sack_of_the_unsent", ack(una, 2, 1<<(sent-1)), gate.DropAckBlock)
	b.add("sack_ends_in_zero", ack(una, 3, 1, 0), gate.DropAckBlock)
	b.add("sack_begins_with_zero", ack(una, 3, 0, 1), gate.DropAckBlock)
	b.add("sack_with_offset_of_the_unsent", ack(una, 1<<3|2, 1), gate.DropAckBlock)
	b.add("sack_with_offset_without_words", ack(una, 1<<3|1), gate.DropAckBlock)
	b.add("sack_beyond_the_window", ack(una, 15<<3|3, 1, 1), gate.DropAckBlock)
	b.add("sack_without_count", ack(una, 1<<3), gate.DropAckBlock)
	b.add("sack_behind", ack(una-500, 7<<3|2, 1), gate.AbsorbAckStale)
	b.add("sack_of_five_words", ack(una, 6, 1, 1, 1, 1, 1), gate.DropAckBlock)
	b.add("sack_cut_off", ack(una, 3, 1), gate.DropAckBlock)
	b.add("no_block_at_all", ack(una, noBlock), gate.DropAckBlock)
	b.add("no_block_without_sack", of(b.six, packet(wire.FlagACK, 1, b.six.init.ServerISN+1, noBlock, nil, "")), gate.AbsorbAck)
	b.add("block_without_sack", of(b.six, packet(wire.FlagACK, 1, b.six.init.ServerISN+1, 0, nil, "")), gate.DropMessage)
	b.add("forged_ack_on_data", of(b.four, packet(pshAck, 102, next+1, 0, nil, message("x"))), gate.DropAck)
}

func (b *builder) reliable() {
	first := b.four.init.ClientISN + 2
	una := b.four.init.ServerISN + 1
	data := func(seq uint32, body string) []byte {
		return of(b.four, packet(pshAck, seq, una, 0, nil, body))
	}
	b.add("in_order", b.fourData(0), gate.TXAck, b.fourData(1), gate.TXAck)
	b.add("in_order_over_the_wrap", b.sixData(0), gate.TXAck, b.sixData(1), gate.TXAck, b.sixData(2), gate.TXAck)
	b.add("reordered", b.fourData(2), gate.TXAck, b.fourData(0), gate.TXAck, b.fourData(1), gate.TXAck, b.fourData(2), gate.TXAckDuplicate)
	b.add("far_ahead", data(first+257, message("x")), gate.TXAck, data(first+256, message("x")), gate.TXAck, b.fourData(0), gate.TXAck)
	b.add("farther_ahead", data(first+3, message("x")), gate.TXAck, data(first+700, message("x")), gate.TXAck,
		data(first+300, message("x")), gate.TXAck, data(first+700, message("x")), gate.TXAckDuplicate, b.fourData(0), gate.TXAck)
	b.add("duplicate", b.fourData(0), gate.TXAck, b.fourData(0), gate.TXAckDuplicate)
	b.add("duplicate_with_garbage", b.fourData(0), gate.TXAck, data(first, "\x00garbage"), gate.TXAckDuplicate)
	b.add("end_of_the_window", data(first+1023, message("x")), gate.TXAck)
	b.add("beyond_the_window", data(first+1024, message("x")), gate.DropSequence)
	b.add("oldest_duplicate", data(first-1024, message("x")), gate.TXAckDuplicate)
	b.add("older_than_a_duplicate", data(first-1025, message("x")), gate.DropSequence)
	b.add("keepalive", data(first-1, ""), gate.TXKeepalive)
	b.add("keepalive_ahead", data(first+1023, ""), gate.TXKeepalive)
	b.add("keepalive_too_far_ahead", data(first+1024, ""), gate.DropSequence)
	b.add("thirty_two_messages", data(first, strings.Repeat(message(""), 32)), gate.TXAck)
	b.add("thirty_three_messages", data(first, strings.Repeat(message(""), 33)), gate.DropMessage)
	b.add("message_over_the_end", data(first, message("abc")[:8]), gate.DropMessage)
	b.add("bytes_behind_the_messages", data(first, message("abc")+"\x01"), gate.DropMessage)
	b.add("message_of_type_0", data(first, "\x00"+message("abc")[1:]), gate.DropMessage)
	for kind := wire.TypeFragment; kind <= wire.TypePad; kind++ {
		b.add("message_of_type_"+strconv.Itoa(kind), data(first, string([]byte{byte(kind)})+message("abc")[1:]), gate.TXAck)
	}
	b.add("message_of_the_handshake", data(first, message("x")+"\xf0"+message("abc")[1:]), gate.DropMessage)
	b.add("message_of_the_transport", data(first, "\xf5"+message("abc")[1:]), gate.DropMessage)
}

func (b *builder) rings() {
	var turns []any
	for n := range uint32(6) {
		turns = append(turns, b.fourData(n), gate.TXAck)
	}
	otherData := func(n uint32) []byte {
		return of(b.other, packet(pshAck, b.other.init.ClientISN+2+n, b.other.init.ServerISN+1, 0, nil, message("move")))
	}
	spent := append([]any(nil), turns...)
	spent = append(spent, b.fourData(6), gate.DropSessionBudget, b.fourData(5), gate.TXAckDuplicate, otherData(0), gate.TXAck)
	b.add("budget_spent", spent...)
	b.add("budget_scarce", b.fourData(1), gate.TXAck, b.fourData(2), gate.TXAck, b.fourData(3), gate.TXAck,
		b.fourData(4), gate.TXAck, b.fourData(5), gate.DropSessionBudget, b.fourData(0), gate.TXAck)
	full := append([]any(nil), turns[:10]...)
	full = append(full, otherData(0), gate.TXAck, otherData(1), gate.TXAck, otherData(2), gate.TXAck,
		b.fourData(5), gate.DropRingFull, b.fourData(4), gate.TXAckDuplicate, b.fourData(5), gate.DropRingFull)
	b.add("ring_full", full...)
	scarce := append([]any(nil), turns[:10]...)
	scarce = append(scarce, otherData(1), gate.DropRingPressure, otherData(0), gate.TXAck, otherData(1), gate.TXAck)
	b.add("ring_scarce", scarce...)
}

// marks are Congestion Experienced, which answers tell until CWR comes.
func (b *builder) marks() {
	isn, una := b.four.init.ClientISN, b.four.init.ServerISN+1
	reduced := of(b.four, packet(pshAck|wire.FlagCWR, isn+4, una, 0, nil, message("x")))
	b.add("marked", marked(b.four, b.fourData(0)), gate.TXAck, b.fourData(1), gate.TXAck, reduced, gate.TXAck)
	b.add("marked_again", marked(b.four, b.fourData(0)), gate.TXAck, b.fourData(1), gate.TXAck, marked(b.four, reduced), gate.TXAck)
	b.add("marked_ip6", marked(b.six, b.sixData(0)), gate.TXAck, b.sixData(0), gate.TXAckDuplicate)
	b.add("marked_ack", marked(b.four, of(b.four, packet(wire.FlagACK, isn+2, una, 0, nil, ""))), gate.AbsorbAck, b.fourData(0), gate.TXAck)
	b.add("marked_and_dropped", marked(b.four, of(b.four, packet(wire.FlagACK, isn+2, una+sent+1, 0, nil, ""))), gate.DropAck,
		b.fourData(0), gate.TXAck)
	b.add("ect", changed(b.fourData(0), func(f []byte) { f[b.four.link.l3()+1] |= 2 }), gate.TXAck)
	b.add("ece", of(b.four, packet(wire.FlagACK|wire.FlagECE, isn+2, una+1, 0, nil, "")), gate.AbsorbAck)
	b.add("ece_stale", of(b.four, packet(wire.FlagACK, isn+2, una+1, 0, nil, "")), gate.AbsorbAck,
		of(b.four, packet(wire.FlagACK|wire.FlagECE, isn+2, una, 0, nil, "")), gate.AbsorbAckStale)
}

func (b *builder) unreliable() {
	isn := b.four.init.ClientISN
	una := b.four.init.ServerISN + 1
	data := func(seq uint32) []byte {
		return of(b.four, packet(wire.FlagACK, seq, una, 0, nil, message("aim")))
	}
	b.add("unreliable", data(isn+1), gate.PassData, data(isn+2), gate.PassData)
	b.add("unreliable_replayed", data(isn+1), gate.PassData, data(isn+1), gate.DropReplay)
	b.add("unreliable_with_the_syns_sequence", data(isn), gate.DropReplay)
	b.add("unreliable_reordered", data(isn+3), gate.PassData, data(isn+1), gate.PassData, data(isn+2), gate.PassData, data(isn+1), gate.DropReplay)
	b.add("unreliable_63_behind", data(isn+64), gate.PassData, data(isn+1), gate.PassData)
	b.add("unreliable_64_behind", data(isn+65), gate.PassData, data(isn+1), gate.DropReplay)
	b.add("unreliable_furthest_ahead", data(isn+65536), gate.PassData)
	b.add("unreliable_too_far_ahead", data(isn+65537), gate.DropReplay)
	b.add("unreliable_malformed", of(b.four, packet(wire.FlagACK, isn+1, una, 0, nil, "\x01")), gate.DropMessage)
}

// compactProfile has what the compact profile does differently. The numbers of
// the client are about to wrap at 16 bits.
func (b *builder) compactProfile() {
	p := b.compact
	first, una := p.init.ClientISN+2, p.init.ServerISN+1
	stranger := *p
	stranger.key.ClientPort = 2000
	send := func(flags wire.Flags, seq uint32, block *wire.AckBlock, body string) []byte {
		h := wire.Header{Sequence: seq, Ack: una, Flags: flags, Window: 64, Timestamp: 0x55667788}
		return p.wrapped(wire.Compact.AppendPacket(nil, h, block, []byte(body)))
	}
	data := func(n uint32) []byte { return send(wire.FlagPSH, first+n, nil, message("move")) }
	b.add("compact_over_the_wrap", data(0), gate.TXAck, data(1), gate.TXAck, data(3), gate.TXAck, data(2), gate.TXAck, data(1), gate.TXAckDuplicate)
	b.add("compact_with_ack", send(pshAck, first, &wire.AckBlock{Present: true, Echo: caseNow/1000 - 1000, Delay: 160}, message("x")), gate.TXAck)
	b.add("compact_no_checksum", wrap(nil, p.link, &p.key, data(0)[p.link.payload():]), gate.DropChecksum)
	b.add("compact_wrong_checksum", changed(data(0), func(f []byte) { f[len(f)-1]++ }), gate.DropChecksum)
	b.add("compact_seven_bytes", p.wrapped(make([]byte, 7)), gate.DropTruncated)
	b.add("compact_ack_cut_off", p.wrapped([]byte{0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}), gate.DropTruncated)
	b.add("compact_reserved_bit", p.wrapped(append([]byte{0xff, 0xff, 0x40, 4, 0, 0, 0, 0}, message("x")...)), gate.DropFlags)
	b.add("compact_nothing", send(0, first, nil, ""), gate.DropMessage)
	b.add("compact_short_keepalive", send(wire.FlagPSH, first-1, nil, ""), gate.TXKeepalive)
	b.add("compact_ack", send(wire.FlagACK, first, &wire.AckBlock{Present: true, Words: 1, Bitmap: [4]uint64{3}}, ""), gate.AbsorbAck)
	b.add("compact_sack_of_the_unsent", send(wire.FlagACK, first, &wire.AckBlock{Present: true, Words: 1, Bitmap: [4]uint64{1 << 63}}, ""), gate.DropAckBlock)
	b.add("compact_unreliable", send(0, p.init.ClientISN+1, nil, message("aim")), gate.PassData,
		send(0, p.init.ClientISN+1, nil, message("aim")), gate.DropReplay, send(0, p.init.ClientISN+3, nil, message("aim")), gate.PassData)
	chunk := "\xf1" + message("abc")[1:]
	b.add("compact_fragment", send(wire.FlagPSH, first, nil, chunk), gate.TXAck)
	b.add("compact_fragment_without_flag", p.wrapped(append([]byte{0xff, 0xff, 0x40, 0, 0, 0, 0, 0}, chunk...)), gate.DropMessage)
	flagged := func(seq uint16, flags byte, rest ...byte) []byte {
		return p.wrapped(append([]byte{byte(seq >> 8), byte(seq), flags | 0x10, 0, 0, 0, 0, 0}, rest...))
	}
	b.add("compact_flags_of_messages_without_any",
		flagged(0xffff, 0x01, 0, byte(una>>8), byte(una), 1, 0), gate.DropMessage,
		flagged(uint16(first-1), 0x40), gate.DropMessage,
		flagged(uint16(first+wire.ReceiveWindow), 0x40), gate.DropSequence)
	reset := func(token uint32) []byte {
		return p.wrapped(wire.Compact.AppendReset(nil, wire.Header{Sequence: first, Ack: una}, 1, token))
	}
	b.add("compact_reset", reset(p.init.Token), gate.PassReset)
	b.add("compact_reset_wrong_token", reset(p.init.Token+1), gate.DropReset)
	b.add("compact_fin", data(0), gate.TXAck, send(wire.FlagPSH|wire.FlagFIN, first+1, nil, "\x01"), gate.TXAck)
	b.add("compact_syn", stranger.wrapped(wire.Compact.AppendSYN(nil, 0xffff, wire.Options{SACK: true, HasControl: true}, 7)), gate.TXSYNAck,
		stranger.wrapped(wire.Compact.AppendSYN(nil, 1, wire.Options{}, 7)), gate.TXSYNAck)
	hello := func(profile wire.Profile) []byte {
		o := wire.Options{Cookie: b.keys.Make(profile, &stranger.key, 0xffff), HasCookie: true, SACK: true}
		return stranger.wrapped(wire.Compact.AppendHello(nil, 0xffff, wire.Compact.ServerSequence(o.Cookie), o, 1))
	}
	b.add("compact_hello", hello(wire.Compact), gate.PassHello)
	b.add("compact_hello_with_a_standard_cookie", hello(wire.Standard), gate.DropCookie)
	b.add("standard_packet_to_a_compact_port", stranger.wrapped(wire.AppendSYN(nil, 0x02020202, wire.Options{}, 7)), gate.DropFlags)
}

func (b *builder) endings() {
	first := b.four.init.ClientISN + 2
	una := b.four.init.ServerISN + 1
	fin := func(seq uint32, body string) []byte {
		return of(b.four, packet(pshAck|wire.FlagFIN, seq, una, 0, nil, body))
	}
	rst := func(seq uint32, body string) []byte {
		return of(b.four, packet(wire.FlagACK|wire.FlagRST, seq, una, noBlock, nil, body))
	}
	b.add("fin", b.fourData(0), gate.TXAck, fin(first+1, "\x01"), gate.TXAck, fin(first+1, "\x01"), gate.TXAckDuplicate)
	b.add("fin_without_reason", fin(first, ""), gate.DropMessage)
	b.add("fin_with_reason_0", fin(first, "\x00"), gate.DropMessage)
	b.add("fin_with_messages", fin(first, message("x")), gate.DropMessage)
	b.add("reset", rst(first, "\x01"), gate.PassReset)
	b.add("reset_at_either_end", rst(first-1024, "\x01"), gate.PassReset, rst(first+1024, "\x01"), gate.PassReset)
	b.add("reset_behind", rst(first-1025, "\x01"), gate.DropReset)
	b.add("reset_ahead", rst(first+1025, "\x01"), gate.DropReset)
	b.add("reset_without_reason", rst(first, ""), gate.DropReset)
	b.add("reset_with_reason_0", rst(first, "\x00"), gate.DropReset)
	b.add("reset_with_reason_127", rst(first, "\x7f"), gate.PassReset)
	b.add("reset_with_local_reason", rst(first, "\x80"), gate.DropReset, rst(first, "\xff"), gate.DropReset)
	b.add("reset_with_two_bytes", rst(first, "\x01\x01"), gate.DropReset)
}
