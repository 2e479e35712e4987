package wire

import (
	"bytes"
	"testing"
)

func TestProfileNames(t *testing.T) {
	for _, p := range []Profile{Standard, Compact} {
		if got, err := ParseProfile(p.String()); err != nil || got != p {
			t.Errorf("%v reads back as %v, %v", p, got, err)
		}
	}
	if _, err := ParseProfile("tiny"); err == nil {
		t.Error("accepted another name")
	}
}

func TestCompactHeader(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		want Header
		body string
	}{
		{"unreliable", "0102 00 03 11223344 aabb", Header{Sequence: 0x0102, Priority: 3, Timestamp: 0x11223344}, "aabb"},
		{"reliable", "0102 40 80 11223344 aabb",
			Header{Sequence: 0x0102, Flags: FlagPSH | FlagCWR, Timestamp: 0x11223344}, "aabb"},
		{"everything", "0102 f1 82 11223344 00 0304 0506",
			Header{Sequence: 0x0102, Ack: 0x0304, Flags: FlagACK | FlagPSH | FlagURG | FlagECE | FlagCWR,
				Window: 0x0506, Timestamp: 0x11223344, Priority: 2, Fragment: true}, ""},
		{"block", "0000 01 00 00000000 05 0304 0506 99",
			Header{Ack: 0x0304, Flags: FlagACK, Window: 0x0506, says: 5}, "99"},
		{"syn", "ffff 02 00 00000001 aa", Header{Sequence: 0xffff, Flags: FlagSYN, Timestamp: 1}, "aa"},
		{"syn_ack", "1234 03 00 00000001 00 0000 0400 aa",
			Header{Sequence: 0x1234, Ack: 0x10000, Flags: FlagSYN | FlagACK, Window: 1024, Timestamp: 1}, "aa"},
		{"fin", "0001 44 00 00000001 07", Header{Sequence: 1, Flags: FlagPSH | FlagFIN, Timestamp: 1}, "07"},
		{"reset", "0001 09 00 00000001 00 0002 0000 03 01020304",
			Header{Sequence: 1, Ack: 2, Flags: FlagACK | FlagRST, Timestamp: 1}, "0301020304"},
		{"hello", "0000 41 00 00000001 00 0000 0400 f0",
			Header{Sequence: 0x10000, Ack: 0x10000, Flags: FlagACK | FlagPSH, Window: 1024, Timestamp: 1}, "f0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			packet := unhex(t, tt.hex)
			h, body, err := Compact.ParseHeader(packet)
			if err != nil || h != tt.want || !bytes.Equal(body, unhex(t, tt.body)) {
				t.Errorf("read %+v, body %x, %v; want %+v", h, body, err, tt.want)
			}
			front := packet[:len(packet)-len(body)]
			if again := appendCompactHeader(nil, &h, h.says); !bytes.Equal(again, front) {
				t.Errorf("encoded %x, want %x", again, front)
			}
			eachTruncation(front, func(b []byte) {
				if _, _, err := Compact.ParseHeader(b); err == nil {
					t.Errorf("%d bytes accepted", len(b))
				}
			})
		})
	}
}

func TestCompactFlags(t *testing.T) {
	tests := []struct {
		name             string
		flags, priority  byte
		atServer, atHome bool
	}{
		{"nothing", 0x00, 0, true, true},
		{"priority", 0x00, 3, true, true},
		{"reserved_priority_bit", 0x00, 4, false, false},
		{"highest_reserved_bit", 0x00, 0x40, false, false},
		{"reduced", 0x40, 0x80, true, true},
		{"ack", 0x01, 0, true, true},
		{"marked", 0x81, 0, true, true},
		{"mark_without_ack", 0x80, 0, false, false},
		{"fragment", 0x50, 0, true, true},
		{"urgent_fragment", 0x70, 0, true, true},
		{"fin", 0x44, 0, true, true},
		{"fin_with_ack", 0x45, 1, true, true},
		{"fin_unreliable", 0x04, 0, false, false},
		{"fin_urgent", 0x64, 0, false, false},
		{"fin_fragment", 0x54, 0, false, false},
		{"reset", 0x09, 0, true, true},
		{"reset_without_ack", 0x08, 0, false, false},
		{"reset_with_priority", 0x09, 1, false, false},
		{"reset_reliable", 0x49, 0, false, false},
		{"reset_reduced", 0x09, 0x80, false, false},
		{"syn", 0x02, 0, true, false},
		{"syn_fragment", 0x12, 0, false, false},
		{"syn_with_priority", 0x02, 1, false, false},
		{"syn_ack", 0x03, 0, false, true},
		{"syn_reset", 0x0a, 0, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _, err := Compact.ParseHeader([]byte{0, 1, tt.flags, tt.priority, 0, 0, 0, 0, 0, 0, 0, 0, 0})
			if err != nil {
				t.Fatal(err)
			}
			if got := Compact.LegalAtServer(&h); got != tt.atServer {
				t.Errorf("at a server: %v", got)
			}
			if got := Compact.LegalAtClient(&h); got != tt.atHome {
				t.Errorf("at a client: %v", got)
			}
		})
	}
}

func TestExpand(t *testing.T) {
	tests := []struct {
		low        uint16
		near, want uint32
	}{
		{5, 5, 5},
		{0, 0xffff, 0x10000},
		{0xffff, 0x10000, 0xffff},
		{0, 0xffffffff, 0},
		{0xffff, 0, 0xffffffff},
		{0x7fff, 0x12340000, 0x12347fff},
		{0x8000, 0x12340000, 0x12338000}, // as far ahead as behind: behind
		{0x8001, 0x12340000, 0x12338001},
		{0x1234, 0xabcd1000, 0xabcd1234},
	}
	for _, tt := range tests {
		if got := expand(tt.low, tt.near); got != tt.want {
			t.Errorf("%#x near %#x is %#x, want %#x", tt.low, tt.near, got, tt.want)
		}
	}

	ref := Reference{Reliable: 0x1fff0, Unreliable: 0x2fff0, Ack: 0x3fff0}
	for _, tt := range []struct {
		flags    Flags
		seq, ack uint32
	}{
		{0, 0x30001, 2},
		{FlagPSH, 0x20001, 2},
		{FlagACK, 0x30001, 0x40002},
		{FlagACK | FlagRST, 0x20001, 0x40002},
		{FlagACK | FlagPSH | FlagFIN, 0x20001, 0x40002},
	} {
		h := Header{Sequence: 1, Ack: 2, Flags: tt.flags}
		if Compact.Expand(&h, ref); h.Sequence != tt.seq || h.Ack != tt.ack {
			t.Errorf("flags %v: %#x, %#x; want %#x, %#x", tt.flags, h.Sequence, h.Ack, tt.seq, tt.ack)
		}
		if h = (Header{Sequence: 1, Ack: 2, Flags: tt.flags}); true {
			Standard.Expand(&h, ref)
		}
		if h.Sequence != 1 || h.Ack != 2 {
			t.Errorf("flags %v: standard numbers changed to %#x, %#x", tt.flags, h.Sequence, h.Ack)
		}
	}
}

func TestCompactPacket(t *testing.T) {
	message := AppendMessage(nil, Message{Type: 1, Payload: []byte("x")})
	fragment := AppendMessage(message, Message{Type: TypeFragment, Payload: []byte("y")})
	block := &AckBlock{Present: true, Echo: 0x1_11223344, Delay: 165, Words: 1, Bitmap: [4]uint64{5}}
	h := Header{Sequence: 0x50102, Ack: 0x60304, Window: 7, Timestamp: 0x9_00000008}
	tests := []struct {
		name  string
		flags Flags
		block *AckBlock
		body  []byte
		hex   string
	}{
		{"data", FlagPSH, nil, message, "0102 40 00 00000008"},
		{"fragment", 0, nil, fragment, "0102 10 00 00000008"},
		{"block_without_ack", 0, block, message, "0102 00 00 00000008"},
		{"no_sack", FlagACK, nil, message, "0102 01 00 00000008 00 0304 0007"},
		{"empty_block", FlagACK, &AckBlock{}, message, "0102 01 00 00000008 00 0304 0007"},
		{"block", FlagACK, block, nil, "0102 01 00 00000008 02 0304 0007 11223344 000a 0000000000000005"},
		{"longest_delay", FlagACK, &AckBlock{Present: true, Echo: 1, Delay: compactDelayMax + 15}, nil,
			"0102 01 00 00000008 01 0304 0007 00000000 0000"},
		{"fin", FlagPSH | FlagFIN, nil, []byte{TypeFragment}, "0102 44 00 00000008"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h.Flags = tt.flags
			want := append(unhex(t, tt.hex), tt.body...)
			got := Compact.AppendPacket([]byte{9}, h, tt.block, tt.body)
			if !bytes.Equal(got[1:], want) || got[0] != 9 {
				t.Errorf("appended %x, want %x", got, want)
			}
			if len(got)-1-len(tt.body) > Compact.Overhead() {
				t.Error("more than the overhead")
			}
		})
	}
	mustPanic(t, func() {
		Compact.AppendPacket(nil, Header{Flags: FlagACK}, &AckBlock{Present: true, Words: 1}, nil)
	})
	mustPanic(t, func() { Compact.AppendPacket(nil, Header{Priority: 4}, nil, message) })
}

func TestCompactBlock(t *testing.T) {
	const fixed = "11223344 000a"
	tests := []struct {
		name string
		says byte
		sack bool
		hex  string
		want AckBlock
		bad  bool
	}{
		{name: "nothing", sack: true},
		{name: "nothing_without_sack"},
		{name: "echo", says: 1, sack: true, hex: fixed, want: AckBlock{Present: true, Echo: 0x11223344, Delay: 160}},
		{name: "words", says: 3, sack: true, hex: fixed + "0000000000000001 0000000000000007",
			want: AckBlock{Present: true, Echo: 0x11223344, Delay: 160, Words: 2, Bitmap: [4]uint64{1, 7}}},
		{name: "offset", says: 14<<3 | 3, sack: true, hex: fixed + "0000000000000001 0000000000000007",
			want: AckBlock{Present: true, Echo: 0x11223344, Delay: 160, Offset: 14, Words: 2, Bitmap: [4]uint64{1, 7}}},
		{name: "beyond_the_window", says: 15<<3 | 3, sack: true, hex: fixed + "0000000000000001 0000000000000007", bad: true},
		{name: "offset_without_words", says: 1<<3 | 1, sack: true, hex: fixed, bad: true},
		{name: "without_sack", says: 1, hex: fixed, bad: true},
		{name: "six_words", says: 6, sack: true, hex: fixed + "11111111111111111111111111111111111111111111111111111111111111111111111111111111", bad: true},
		{name: "cut", says: 2, sack: true, hex: fixed + "00000000000000", bad: true},
		{name: "echo_cut", says: 1, sack: true, hex: "11223344 00", bad: true},
		{name: "zero_word", says: 2, sack: true, hex: fixed + "0000000000000000", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := AckBlock{Present: true, Words: 3}
			body := unhex(t, tt.hex)
			rest, err := Compact.ParseBlock(&Header{Flags: FlagACK, says: tt.says}, tt.sack, append(body, "rest"...), &a)
			if tt.name == "cut" || tt.name == "echo_cut" {
				_, err = Compact.ParseBlock(&Header{Flags: FlagACK, says: tt.says}, tt.sack, body, &a)
			}
			if (err != nil) != tt.bad || a != tt.want {
				t.Fatalf("read %+v, %v; want %+v", a, err, tt.want)
			}
			if err == nil && string(rest) != "rest" {
				t.Errorf("left %q", rest)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	tests := []struct {
		profile Profile
		now     uint64
		block   AckBlock
		want    uint64
	}{
		{Standard, 1000, AckBlock{Echo: 300, Delay: 200}, 500},
		{Standard, 1000, AckBlock{}, 0},
		{Standard, 1 << 33, AckBlock{Echo: 1<<33 - 9}, 9},
		{Compact, 7<<32 + 1000, AckBlock{Echo: 300, Delay: 208}, 492},
		{Compact, 7<<32 + 5, AckBlock{Echo: 1<<32 - 10}, 15},
		{Compact, 7<<32 + 5, AckBlock{Delay: 1}, 0},
	}
	for _, tt := range tests {
		if got := tt.profile.RoundTrip(tt.now, &tt.block); got != tt.want {
			t.Errorf("%v, now %d, %+v: %d, want %d", tt.profile, tt.now, tt.block, got, tt.want)
		}
	}
}

func TestCheckMessagesOfProfile(t *testing.T) {
	plain := AppendMessage(nil, Message{Type: 1})
	fragment := AppendMessage(plain, Message{Type: TypeFragment})
	tests := []struct {
		name string
		flag bool
		body []byte
		want [2]bool // by profile
	}{
		{"plain", false, plain, [2]bool{true, true}},
		{"plain_with_flag", true, plain, [2]bool{true, false}},
		{"fragment", true, fragment, [2]bool{true, true}},
		{"fragment_without_flag", false, fragment, [2]bool{true, false}},
		{"nothing", false, nil, [2]bool{}},
	}
	for _, tt := range tests {
		for p, want := range tt.want {
			if _, err := Profile(p).CheckMessages(&Header{Fragment: tt.flag}, tt.body); (err == nil) != want {
				t.Errorf("%s, %v: %v", tt.name, Profile(p), err)
			}
		}
	}
}

func TestResets(t *testing.T) {
	h := Header{Sequence: 0x10001, Ack: 0x20002, Timestamp: 3}
	for _, p := range []Profile{Standard, Compact} {
		b := p.AppendReset(nil, h, ReasonFull, 0x01020304)
		got, body, err := p.ParseHeader(b)
		if err != nil || !p.Verify(b) || !p.LegalAtClient(&got) || !p.LegalAtServer(&got) || got.Flags != FlagACK|FlagRST {
			t.Fatalf("%v: %x reads as %+v, %v", p, b, got, err)
		}
		if why, err := p.ParseReset(&got, body, 0x01020304); err != nil || why != ReasonFull {
			t.Errorf("%v: %v, %v", p, why, err)
		}
		_, err = p.ParseReset(&got, body, 0x01020305)
		if (err == nil) != (p == Standard) {
			t.Errorf("%v: with another token %v", p, err)
		}
		eachTruncation(body, func(b []byte) {
			if _, err := p.ParseReset(&got, b, 0x01020304); err == nil {
				t.Errorf("%v: %d bytes accepted", p, len(b))
			}
		})
		got.says = 1
		if _, err := p.ParseReset(&got, body, 0x01020304); (err == nil) != (p == Standard) {
			t.Errorf("%v: behind a block %v", p, err)
		}
	}
}

func TestCompactHandshake(t *testing.T) {
	const isn, cookie = 0xffff, 0xfedcba987654fffe
	opts := Options{SACK: true, MTU: 1200, Control: 9, HasControl: true}
	syn := Compact.AppendSYN([]byte{1}, isn, opts, 5)[1:]
	h, body, err := Compact.ParseHeader(syn)
	if err != nil || len(syn) != MinSYN || h.Sequence != isn || !Compact.LegalAtServer(&h) {
		t.Fatalf("%x reads as %+v, %v", syn, h, err)
	}
	if got, err := ParseSYNOptions(body); err != nil || got != opts {
		t.Errorf("options %+v, %v", got, err)
	}

	opts.Cookie, opts.HasCookie = cookie, true
	reply := Compact.AppendSYNACK([]byte{1}, isn, opts, 6)[1:]
	if len(reply) >= MinSYN {
		t.Errorf("%d bytes answer %d", len(reply), MinSYN)
	}
	h, got, err := Compact.ParseSYNACK(reply)
	want := Header{Sequence: 0x7fff, Ack: isn + 1, Flags: FlagSYN | FlagACK, Window: ReceiveWindow, Timestamp: 6}
	if err != nil || got != opts || h != want || h.Sequence != Compact.ServerSequence(cookie) {
		t.Errorf("read %+v, %+v, %v; want %+v", h, got, err, want)
	}
	eachTruncation(reply[:compactHeaderSize+compactAckSize+10], func(b []byte) {
		if _, _, err := Compact.ParseSYNACK(b); err == nil {
			t.Errorf("%d bytes accepted", len(b))
		}
	})
	for at, what := range map[int]string{2: "other flags", 8: "words"} {
		b := bytes.Clone(reply)
		b[at] ^= 0x40
		if _, _, err := Compact.ParseSYNACK(b); err == nil {
			t.Errorf("accepted with %s", what)
		}
	}

	hello := Compact.AppendHello([]byte{1}, isn, h.Sequence, opts, 7)[1:]
	h, body, err = Compact.ParseHeader(hello)
	if err != nil || !Compact.IsHello(&h, body) || h.Sequence != isn+1 || h.Ack != 0x8000 {
		t.Fatalf("%x reads as %+v, %v", hello, h, err)
	}
	if got, err := ParseHello(body); err != nil || got != opts {
		t.Errorf("options %+v, %v", got, err)
	}
	for name, change := range map[string]func(b []byte){
		"words": func(b []byte) { b[8] = 1 }, "fragment": func(b []byte) { b[2] |= compactFRAG },
		"reduced": func(b []byte) { b[3] |= compactCWR }, "other_type": func(b []byte) { b[13]++ },
	} {
		b := bytes.Clone(hello)
		change(b)
		if h, body, err := Compact.ParseHeader(b); err != nil || Compact.IsHello(&h, body) || h.Sequence != 0 {
			t.Errorf("%s: taken for a hello: %+v, %v", name, h, err)
		}
	}
	mustPanic(t, func() { Compact.AppendSYN(nil, 1, Options{HasCookie: true}, 0) })
	mustPanic(t, func() { Compact.AppendSYNACK(nil, 1, Options{}, 0) })
	mustPanic(t, func() { Compact.AppendHello(nil, 1, 1, Options{}, 0) })
}

// The methods of Standard write and read what the functions do.
func TestStandardProfile(t *testing.T) {
	opts := Options{SACK: true}
	if !bytes.Equal(Standard.AppendSYN(nil, 1<<20, opts, 5), AppendSYN(nil, 1<<20, opts, 5)) {
		t.Error("syn differs")
	}
	opts.Cookie, opts.HasCookie = 1<<40, true
	reply := AppendSYNACK(nil, 1<<20, opts, 5)
	if !bytes.Equal(Standard.AppendSYNACK(nil, 1<<20, opts, 5), reply) {
		t.Error("syn-ack differs")
	}
	if h, got, err := Standard.ParseSYNACK(reply); err != nil || got != opts || h.Ack != 1<<20+1 {
		t.Errorf("syn-ack reads as %+v, %+v, %v", h, got, err)
	}
	hello := AppendHello(nil, 1<<20, 1<<21, opts, 5)
	if !bytes.Equal(Standard.AppendHello(nil, 1<<20, 1<<21, opts, 5), hello) {
		t.Error("hello differs")
	}
	h, body, err := Standard.ParseHeader(hello)
	if err != nil || !Standard.IsHello(&h, body) || !Standard.Verify(hello) || !Standard.LegalAtServer(&h) {
		t.Errorf("hello reads as %+v, %v", h, err)
	}
	block := &AckBlock{Present: true, Echo: 7, Words: 1, Bitmap: [4]uint64{1}}
	message := AppendMessage(nil, Message{Type: 1, Payload: []byte("x")})
	b := Standard.AppendPacket(nil, Header{Flags: FlagACK}, block, message)
	h, body, err = Standard.ParseHeader(b)
	var got AckBlock
	rest, blockErr := Standard.ParseBlock(&h, true, body, &got)
	if err != nil || blockErr != nil || got != *block || !bytes.Equal(rest, message) || !Standard.Verify(b) {
		t.Errorf("%x reads as %+v, %x, %v, %v", b, got, rest, err, blockErr)
	}
	if rest, err := Standard.ParseBlock(&h, false, body, &got); err != nil || got != (AckBlock{}) || len(rest) != len(body) {
		t.Errorf("without SACK: %+v, %x, %v", got, rest, err)
	}
	for _, p := range []Profile{Standard, Compact} {
		if want := map[Profile]uint32{Standard: 0x12345678, Compact: 0x5678}[p]; p.ClientSequence(0x12345678) != want {
			t.Errorf("%v: sequence %#x", p, p.ClientSequence(0x12345678))
		}
		if want := map[Profile]uint32{Standard: 0, Compact: 0x11223344}[p]; p.ResetToken(0x11223344_55667788) != want {
			t.Errorf("%v: token %#x", p, p.ResetToken(0x11223344_55667788))
		}
	}
}

func TestFrameChecksumValid(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, payload := range [][]byte{nil, []byte("x"), []byte("odd"), random(1000, 7)} {
			frame := append(makeFrame(v6, 1, payload), 1, 2, 3) // and padding
			f, v := ParseFrame(frame)
			if v != FrameUDP || f.BadLength {
				t.Fatalf("verdict %v", v)
			}
			fillChecksum(frame, &f)
			if !f.ChecksumValid(frame) {
				t.Errorf("IPv6 %v, %d bytes: refused", v6, len(payload))
			}
			end := f.Payload + f.PayloadLen
			for at := f.L4; at < end; at += max(1, (end-f.L4)/40) {
				frame[at] ^= 0x10
				if f.ChecksumValid(frame) {
					t.Errorf("IPv6 %v, %d bytes: byte %d is not looked at", v6, len(payload), at-f.L4)
				}
				frame[at] ^= 0x10
			}
			frame[f.L4+6], frame[f.L4+7] = 0, 0
			if f.ChecksumValid(frame) {
				t.Errorf("IPv6 %v: accepted without a checksum", v6)
			}
		}
	}
}

// fillChecksum writes the UDP checksum, computed a byte at a time.
func fillChecksum(frame []byte, f *Frame) {
	udp := frame[f.L4 : f.Payload+f.PayloadLen]
	udp[6], udp[7] = 0, 0
	addresses := frame[f.L3+12 : f.L3+20]
	if f.IPv6 {
		addresses = frame[f.L3+8 : f.L3+40]
	}
	sum := uint32(protoUDP + len(udp))
	for _, b := range [][]byte{addresses, udp} {
		for i, c := range b {
			sum += uint32(c) << (8 * (1 - i%2))
		}
	}
	check := ^foldSum(sum)
	if check == 0 {
		check = 0xffff
	}
	udp[6], udp[7] = byte(check>>8), byte(check)
}

func FuzzCompact(f *testing.F) {
	message := AppendMessage(nil, Message{Type: TypeFragment, Payload: []byte("x")})
	f.Add(Compact.AppendPacket(nil, Header{Sequence: 5, Flags: FlagPSH}, nil, message))
	f.Add(Compact.AppendPacket(nil, Header{Sequence: 5, Flags: FlagACK}, &AckBlock{Present: true, Words: 1, Bitmap: [4]uint64{3}}, nil))
	f.Add(Compact.AppendReset(nil, Header{}, ReasonFull, 7))
	f.Add(Compact.AppendHello(nil, 0xffff, 3, Options{HasCookie: true}, 1))
	f.Add(Compact.AppendSYNACK(nil, 0xffff, Options{HasCookie: true, SACK: true}, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, body, err := Compact.ParseHeader(b)
		if err != nil || !Compact.LegalAtServer(&h) {
			return
		}
		switch {
		case h.Flags&(FlagSYN|FlagRST) != 0, Compact.IsHello(&h, body):
			if again := append(appendCompactHeader(nil, &h, h.says), body...); !bytes.Equal(again, b) {
				t.Fatalf("%x re-encodes as %x", b, again)
			}
			return
		}
		var a AckBlock
		rest, err := Compact.ParseBlock(&h, true, body, &a)
		if err != nil {
			return
		}
		if h.Flags&FlagFIN == 0 && len(rest) > 0 {
			if _, err := Compact.CheckMessages(&h, rest); err != nil {
				return
			}
		} else if h.Fragment {
			return
		}
		if again := Compact.AppendPacket(nil, h, &a, rest); !bytes.Equal(again, b) {
			t.Fatalf("%x re-encodes as %x", b, again)
		}
	})
}

func TestCompactAllocations(t *testing.T) {
	block := AckBlock{Present: true, Words: 2, Bitmap: [4]uint64{1, 2}}
	message := AppendMessage(nil, Message{Type: 1, Payload: make([]byte, 40)})
	buf := make([]byte, 0, MaxDatagram)
	noAllocs(t, func() {
		b := Compact.AppendPacket(buf, Header{Flags: FlagACK | FlagPSH}, &block, message)
		h, body, err := Compact.ParseHeader(b)
		if err != nil || !Compact.LegalAtServer(&h) {
			t.Fatal(err)
		}
		var a AckBlock
		if body, err = Compact.ParseBlock(&h, true, body, &a); err != nil {
			t.Fatal(err)
		}
		if _, err := Compact.CheckMessages(&h, body); err != nil {
			t.Fatal(err)
		}
		Compact.Expand(&h, Reference{Reliable: 9})
		if _, _, err := Compact.ParseHeader(b[:10]); err == nil {
			t.Fatal("short header accepted")
		}
	})
}
