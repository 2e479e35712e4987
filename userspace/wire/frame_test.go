package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"testing"
)

var (
	testLink = []byte{
		0x02, 0, 0, 0, 0, 0x01, // destination
		0x02, 0, 0, 0, 0, 0x02, // source
	}
	testTags = []byte{0x88, 0xa8, 0x20, 0x64, 0x81, 0x00, 0x00, 0x07}

	client4 = netip.MustParseAddrPort("192.0.2.10:40000")
	server4 = netip.MustParseAddrPort("198.51.100.1:7777")
	client6 = netip.MustParseAddrPort("[2001:db8::10]:40000")
	server6 = netip.MustParseAddrPort("[2001:db8:1::1]:7777")
)

// makeFrame returns a frame from client to server with tags VLAN tags.
func makeFrame(v6 bool, tags int, payload []byte) []byte {
	link := append(bytes.Clone(testLink), testTags[:4*tags]...)
	src, dst := client4, server4
	if v6 {
		src, dst = client6, server6
	}
	t := MakeFrameTemplate(link, src, dst)
	frame := make([]byte, t.Len+len(payload))
	copy(frame[t.Len:], payload)
	return frame[:t.Build(frame, len(payload))]
}

// withOptions inserts IPv4 options into an untagged IPv4 frame.
func withOptions(frame []byte, options ...byte) []byte {
	const l3, end = ethernetSize, ethernetSize + ipv4Size
	out := append(bytes.Clone(frame[:end]), options...)
	out = append(out, frame[end:]...)
	out[l3] += byte(len(options) / 4)
	total := binary.BigEndian.Uint16(out[l3+2:])
	binary.BigEndian.PutUint16(out[l3+2:], total+uint16(len(options)))
	return out
}

// edit returns a copy of b with the bytes at offset replaced.
func edit(b []byte, offset int, with ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[offset:], with)
	return b
}

func TestParseFrameLocates(t *testing.T) {
	payload := []byte("some payload")
	tests := []struct {
		name          string
		frame         []byte
		vlans, l3, l4 int
		ipv6          bool
		bad, group    bool
		payload       string
		source, dest  netip.AddrPort
	}{
		{name: "ipv4", frame: makeFrame(false, 0, payload),
			l3: 14, l4: 34, payload: "some payload", source: client4, dest: server4},
		{name: "ipv6", frame: makeFrame(true, 0, payload),
			l3: 14, l4: 54, ipv6: true, payload: "some payload", source: client6, dest: server6},
		{name: "ipv4_one_tag", frame: makeFrame(false, 1, payload),
			vlans: 1, l3: 18, l4: 38, payload: "some payload", source: client4, dest: server4},
		{name: "ipv6_two_tags", frame: makeFrame(true, 2, payload),
			vlans: 2, l3: 22, l4: 62, ipv6: true, payload: "some payload", source: client6, dest: server6},
		{name: "empty_payload", frame: makeFrame(false, 0, nil),
			l3: 14, l4: 34, source: client4, dest: server4},
		{name: "ethernet_padding", frame: append(makeFrame(false, 0, payload), make([]byte, 20)...),
			l3: 14, l4: 34, payload: "some payload", source: client4, dest: server4},
		{name: "ipv4_options", frame: withOptions(makeFrame(false, 0, payload), 1, 1, 1, 0),
			l3: 14, l4: 38, payload: "some payload", source: client4, dest: server4},
		{name: "do_not_fragment", frame: edit(makeFrame(false, 0, payload), 20, 0x40, 0),
			l3: 14, l4: 34, payload: "some payload", source: client4, dest: server4},
		{name: "ethernet_multicast", frame: edit(makeFrame(false, 0, payload), 0, 0x03),
			l3: 14, l4: 34, group: true, payload: "some payload", source: client4, dest: server4},
		{name: "ipv4_multicast", frame: edit(makeFrame(false, 0, payload), 30, 224),
			l3: 14, l4: 34, group: true, payload: "some payload", source: client4,
			dest: netip.MustParseAddrPort("224.51.100.1:7777")},
		{name: "ipv4_broadcast", frame: edit(makeFrame(false, 0, payload), 30, 255, 255, 255, 255),
			l3: 14, l4: 34, group: true, payload: "some payload", source: client4,
			dest: netip.MustParseAddrPort("255.255.255.255:7777")},
		{name: "below_ipv4_multicast", frame: edit(makeFrame(false, 0, payload), 30, 223),
			l3: 14, l4: 34, payload: "some payload", source: client4,
			dest: netip.MustParseAddrPort("223.51.100.1:7777")},
		{name: "ipv6_multicast", frame: edit(makeFrame(true, 0, payload), 38, 0xff, 0x02),
			l3: 14, l4: 54, ipv6: true, group: true, payload: "some payload", source: client6,
			dest: netip.MustParseAddrPort("[ff02:db8:1::1]:7777")},
		{name: "udp_length_below_header", frame: edit(makeFrame(false, 0, payload), 38, 0, 7),
			l3: 14, l4: 34, bad: true, source: client4, dest: server4},
		{name: "udp_length_below_ip", frame: edit(makeFrame(false, 0, payload), 38, 0, 19),
			l3: 14, l4: 34, bad: true, source: client4, dest: server4},
		{name: "udp_length_above_ip", frame: edit(makeFrame(false, 0, payload), 38, 0, 21),
			l3: 14, l4: 34, bad: true, source: client4, dest: server4},
		{name: "udp_length_above_ip_within_frame",
			frame: append(edit(makeFrame(false, 0, payload), 38, 0, 21), 0),
			l3:    14, l4: 34, bad: true, source: client4, dest: server4},
		{name: "udp_header_in_padding", frame: edit(makeFrame(false, 0, payload), 16, 0, 20),
			l3: 14, l4: 34, bad: true, source: client4, dest: server4},
		{name: "ipv6_udp_length", frame: edit(makeFrame(true, 0, payload), 58, 0, 19),
			l3: 14, l4: 54, ipv6: true, bad: true, source: client6, dest: server6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, v := ParseFrame(tt.frame)
			if v != FrameUDP {
				t.Fatalf("verdict %v", v)
			}
			want := Frame{
				Key:   MakeKey(tt.source, tt.dest),
				VLANs: tt.vlans, L3: tt.l3, L4: tt.l4, Payload: tt.l4 + 8,
				PayloadLen: len(tt.payload), IPv6: tt.ipv6, Group: tt.group, BadLength: tt.bad,
			}
			if f != want {
				t.Errorf("located %+v, want %+v", f, want)
			}
			if got := string(tt.frame[f.Payload : f.Payload+f.PayloadLen]); got != tt.payload {
				t.Errorf("payload %q, want %q", got, tt.payload)
			}
			if f.Src() != tt.source || f.Dst() != tt.dest {
				t.Errorf("from %v to %v, want %v to %v", f.Src(), f.Dst(), tt.source, tt.dest)
			}
		})
	}
}

func TestParseFrameMarks(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for ecn := range byte(4) {
			frame := makeFrame(v6, 1, []byte("request"))
			shift := 0
			if v6 {
				shift = 4
			}
			frame[ethernetSize+vlanSize+1] = (0x0c | ecn) << shift
			f, v := ParseFrame(frame)
			if v != FrameUDP || f.CE != (ecn == 3) {
				t.Errorf("IPv6 %v, ECN field %d: %v, CE %v", v6, ecn, v, f.CE)
			}
		}
	}
}

func TestParseFrameVerdicts(t *testing.T) {
	v4, v6 := makeFrame(false, 0, []byte("payload")), makeFrame(true, 0, []byte("payload"))
	arp := edit(v4, 12, 0x08, 0x06)
	threeTags := append(append(bytes.Clone(testLink), 0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3), v4[12:]...)
	tests := []struct {
		name  string
		frame []byte
		want  FrameVerdict
	}{
		{"empty", nil, FrameNotIP},
		{"ethernet_cut", v4[:13], FrameNotIP},
		{"ethernet_only", v4[:14], FrameNotIP},
		{"other_ether_type", arp, FrameNotIP},
		{"tag_cut", append(bytes.Clone(testLink), 0x81, 0, 0, 1, 0x08), FrameNotIP},
		{"three_tags", threeTags, FrameVLANDepth},
		{"third_tag_cut", threeTags[:22], FrameVLANDepth},

		{"ipv4_header_cut", v4[:33], FrameNotIP},
		{"ipv4_header_cut_bad_version", edit(v4, 14, 0x65)[:33], FrameNotIP},
		{"ipv4_version", edit(v4, 14, 0x65), FrameNotUDP},
		{"ipv4_header_length", edit(v4, 14, 0x44), FrameNotUDP},
		{"ipv4_options_beyond_frame", edit(v4, 14, 0x4f), FrameNotIP},
		{"ipv4_total_below_header", edit(v4, 16, 0, 19), FrameNotUDP},
		{"ipv4_total_beyond_frame", v4[:len(v4)-1], FrameNotUDP},
		{"ipv4_more_fragments", edit(v4, 20, 0x20, 0), FrameFragment},
		{"ipv4_fragment_offset", edit(v4, 20, 0, 1), FrameFragment},
		{"ipv4_fragment_of_tcp", edit(edit(v4, 20, 0, 1), 23, 6), FrameFragment},
		{"ipv4_tcp", edit(v4, 23, 6), FrameNotUDP},
		{"ipv4_udp_header_cut", edit(v4, 16, 0, 27)[:41], FrameNotUDP},

		{"ipv6_header_cut", v6[:53], FrameNotIP},
		{"ipv6_version", edit(v6, 14, 0x45), FrameNotUDP},
		{"ipv6_payload_beyond_frame", v6[:len(v6)-1], FrameNotUDP},
		{"ipv6_hop_by_hop", edit(v6, 20, 0), FrameIP6Extension},
		{"ipv6_routing", edit(v6, 20, 43), FrameIP6Extension},
		{"ipv6_fragment", edit(v6, 20, 44), FrameFragment},
		{"ipv6_authentication", edit(v6, 20, 51), FrameIP6Extension},
		{"ipv6_destination", edit(v6, 20, 60), FrameIP6Extension},
		{"ipv6_mobility", edit(v6, 20, 135), FrameIP6Extension},
		{"ipv6_host_identity", edit(v6, 20, 139), FrameIP6Extension},
		{"ipv6_shim", edit(v6, 20, 140), FrameIP6Extension},
		{"ipv6_tcp", edit(v6, 20, 6), FrameNotUDP},
		{"ipv6_udp_header_cut", edit(v6, 18, 0, 7)[:61], FrameNotUDP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, v := ParseFrame(tt.frame); v != tt.want {
				t.Errorf("verdict %v, want %v", v, tt.want)
			}
		})
	}
}

func TestParseFrameTruncated(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for tags := range 3 {
			frame := makeFrame(v6, tags, []byte("payload"))
			eachTruncation(frame, func(b []byte) {
				if _, v := ParseFrame(b); v != FrameNotIP && v != FrameNotUDP {
					t.Errorf("ipv6 %v, %d tags, %d bytes: %v", v6, tags, len(b), v)
				}
			})
		}
	}
}

// wordSum is the RFC 1071 sum, a word at a time.
func wordSum(parts ...[]byte) uint16 {
	var sum uint64
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			word := uint64(b[i]) << 8
			if i+1 < len(b) {
				word |= uint64(b[i+1])
			}
			sum += word
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func TestOnesSum(t *testing.T) {
	for n := range 200 {
		for _, b := range [][]byte{random(n, uint64(n)), bytes.Repeat([]byte{0xff}, n), make([]byte, n)} {
			if got, want := onesSum(b), wordSum(b); got != want {
				t.Errorf("sum of %x = %#04x, want %#04x", b, got, want)
			}
		}
	}
}

// checkChecksums fails unless the IP and UDP checksums of frame are right.
func checkChecksums(t *testing.T, frame []byte, f Frame) {
	t.Helper()
	ip := frame[f.L3:f.L4]
	udp := frame[f.L4 : f.Payload+f.PayloadLen]
	pseudo := []byte{0, protoUDP, byte(len(udp) >> 8), byte(len(udp))}
	var addresses []byte
	if f.IPv6 {
		addresses = ip[8:40]
	} else {
		addresses = ip[12:20]
		if sum := wordSum(ip); sum != 0xffff {
			t.Errorf("IPv4 header sums to %#04x", sum)
		}
	}
	if sum := wordSum(addresses, pseudo, udp); sum != 0xffff {
		t.Errorf("UDP sums to %#04x", sum)
	}
	if udp[6] == 0 && udp[7] == 0 {
		t.Error("UDP checksum is 0")
	}
}

func TestFrameTemplateAnswer(t *testing.T) {
	tests := []struct {
		name  string
		frame []byte
	}{
		{"ipv4", makeFrame(false, 0, []byte("request"))},
		{"ipv6", makeFrame(true, 0, []byte("request"))},
		{"ipv4_two_tags", makeFrame(false, 2, []byte("request"))},
		{"ipv6_two_tags", makeFrame(true, 2, []byte("request"))},
		{"ipv4_options", withOptions(makeFrame(false, 0, []byte("request")), 1, 1, 1, 1, 1, 1, 1, 0)},
		{"ethernet_padding", append(makeFrame(false, 1, []byte("request")), 0, 0, 0)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in, v := ParseFrame(tt.frame)
			if v != FrameUDP {
				t.Fatalf("verdict %v", v)
			}
			var template FrameTemplate
			template.Answer(tt.frame, &in)
			for _, n := range []int{0, 1, 2, 21, 64, 333, MaxDatagram} {
				payload := random(n, uint64(n))
				buf := bytes.Repeat([]byte{0xee}, template.Len+n+1)
				copy(buf[template.Len:], payload)
				end := template.Build(buf, n)
				if end != template.Len+n || buf[end] != 0xee {
					t.Fatalf("%d bytes of payload: frame of %d bytes", n, end)
				}
				frame := buf[:end]
				out, v := ParseFrame(frame)
				want := Frame{
					Key: Key{Client: in.Key.Server, Server: in.Key.Client,
						ClientPort: in.Key.ServerPort, ServerPort: in.Key.ClientPort},
					VLANs: in.VLANs, L3: in.L3, L4: template.Len - 8, Payload: template.Len,
					PayloadLen: n, IPv6: in.IPv6,
				}
				if v != FrameUDP || out != want {
					t.Fatalf("answer is %v at %+v, want %+v", v, out, want)
				}
				if !bytes.Equal(frame[:6], tt.frame[6:12]) || !bytes.Equal(frame[6:12], tt.frame[:6]) ||
					!bytes.Equal(frame[12:in.L3], tt.frame[12:in.L3]) {
					t.Errorf("link header %x answers %x", frame[:in.L3], tt.frame[:in.L3])
				}
				if !bytes.Equal(frame[template.Len:], payload) {
					t.Error("payload changed")
				}
				checkChecksums(t, frame, out)
			}
			// ECN-capable, and nothing else is different.
			plain, capable := make([]byte, template.Len), make([]byte, template.Len)
			template.Build(plain, 0)
			template.SetECT()
			template.Build(capable, 0)
			out, _ := ParseFrame(capable)
			checkChecksums(t, capable, out)
			if got, want := capable[in.L3+1]^plain[in.L3+1], map[bool]byte{false: 0x02, true: 0x20}[in.IPv6]; got != want {
				t.Errorf("ECT(0) changes %#x of the traffic class, want %#x", got, want)
			}
		})
	}
}

func TestFrameTemplateChecksumNeverZero(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		frame := makeFrame(v6, 0, []byte{0, 0})
		f, _ := ParseFrame(frame)
		// The payload that complements the rest of the sum makes the
		// computed checksum 0.
		frame = makeFrame(v6, 0, frame[f.L4+6:f.L4+8])
		if got := binary.BigEndian.Uint16(frame[f.L4+6:]); got != 0xffff {
			t.Errorf("ipv6 %v: checksum = %#04x, want 0xffff", v6, got)
		}
		checkChecksums(t, frame, f)
	}
}

func TestFrameTemplateMisuse(t *testing.T) {
	tests := []struct {
		name     string
		link     []byte
		src, dst netip.AddrPort
	}{
		{"no_link", nil, client4, server4},
		{"link_with_type", make([]byte, 14), client4, server4},
		{"three_tags", make([]byte, 24), client4, server4},
		{"mixed_families", testLink, client4, server6},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mustPanic(t, func() { MakeFrameTemplate(tt.link, tt.src, tt.dst) })
		})
	}
	t.Run("short_buffer", func(t *testing.T) {
		template := MakeFrameTemplate(testLink, client4, server4)
		mustPanic(t, func() { template.Build(make([]byte, template.Len+3), 4) })
	})
}

func TestKey(t *testing.T) {
	tests := []struct {
		name           string
		client, server netip.AddrPort
		hex            string
	}{
		{"ipv4", client4, server4, "00000000000000000000ffffc000020a" +
			"00000000000000000000ffffc6336401" + "9c40" + "1e61"},
		{"ipv6", client6, server6, "20010db8000000000000000000000010" +
			"20010db8000100000000000000000001" + "9c40" + "1e61"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := MakeKey(tt.client, tt.server)
			if k.ClientAddrPort() != tt.client || k.ServerAddrPort() != tt.server {
				t.Errorf("key of %v and %v reads as %v and %v",
					tt.client, tt.server, k.ClientAddrPort(), k.ServerAddrPort())
			}
			var b [KeySize]byte
			k.Put(&b)
			if !bytes.Equal(b[:], unhex(t, tt.hex)) {
				t.Errorf("put %x, want %s", b, tt.hex)
			}
			if ParseKey(&b) != k {
				t.Errorf("read %+v, want %+v", ParseKey(&b), k)
			}
			mapped := netip.AddrPortFrom(netip.AddrFrom16(tt.client.Addr().As16()), tt.client.Port())
			if MakeKey(mapped, tt.server) != k {
				t.Error("a mapped address makes another key")
			}
		})
	}
}

func FuzzFrame(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		for tags := range 3 {
			f.Add(makeFrame(v6, tags, []byte("payload")))
		}
	}
	f.Add(withOptions(makeFrame(false, 0, nil), 1, 1, 1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, v := ParseFrame(b)
		if v != FrameUDP {
			return
		}
		if in.L3 < 14 || in.L4 < in.L3+20 || in.Payload != in.L4+8 || in.Payload+in.PayloadLen > len(b) {
			t.Fatalf("located %+v in %d bytes", in, len(b))
		}
		if in.BadLength {
			return
		}
		// Answered twice, the frame's own headers come back.
		frame := b
		for range 2 {
			located, v := ParseFrame(frame)
			if v != FrameUDP || located.BadLength {
				t.Fatalf("answer is %v at %+v", v, located)
			}
			var template FrameTemplate
			template.Answer(frame, &located)
			out := make([]byte, template.Len+located.PayloadLen)
			copy(out[template.Len:], frame[located.Payload:])
			frame = out[:template.Build(out, located.PayloadLen)]
		}
		out, _ := ParseFrame(frame)
		if out.Key != in.Key || out.VLANs != in.VLANs || out.IPv6 != in.IPv6 ||
			!bytes.Equal(frame[:in.L3], b[:in.L3]) ||
			!bytes.Equal(frame[out.Payload:], b[in.Payload:in.Payload+in.PayloadLen]) {
			t.Fatalf("%x answered twice is %x", b, frame)
		}
		checkChecksums(t, frame, out)
	})
}

func TestFrameAllocations(t *testing.T) {
	frame := makeFrame(true, 2, make([]byte, 100))
	out := make([]byte, 2048)
	var template FrameTemplate
	noAllocs(t, func() {
		f, v := ParseFrame(frame)
		if v != FrameUDP {
			t.Fatal(v)
		}
		if f.Src() == f.Dst() {
			t.Fatal("addresses equal")
		}
		template.Answer(frame, &f)
		template.Build(out, 100)
	})
}

func BenchmarkParseFrame(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		b.Run("ipv6_"+strconv.FormatBool(v6), func(b *testing.B) {
			frame := makeFrame(v6, 0, make([]byte, 100))
			for b.Loop() {
				if _, v := ParseFrame(frame); v != FrameUDP {
					b.Fatal(v)
				}
			}
		})
	}
}

func BenchmarkFrameTemplate(b *testing.B) {
	for _, n := range []int{64, 256, 1200} {
		b.Run("build_"+strconv.Itoa(n), func(b *testing.B) {
			t := MakeFrameTemplate(testLink, client4, server4)
			out := make([]byte, t.Len+n)
			b.SetBytes(int64(len(out)))
			for b.Loop() {
				t.Build(out, n)
			}
		})
	}
	b.Run("answer", func(b *testing.B) {
		frame := makeFrame(false, 0, make([]byte, 100))
		f, _ := ParseFrame(frame)
		var t FrameTemplate
		for b.Loop() {
			t.Answer(frame, &f)
		}
	})
}
