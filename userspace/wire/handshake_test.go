package wire

import (
	"bytes"
	"testing"
)

func TestSYN(t *testing.T) {
	tests := []struct {
		name string
		opts Options
	}{
		{"base_only", Options{}},
		{"sack", Options{SACK: true}},
		{"mtu", Options{MTU: 1200}},
		{"sack_and_mtu", Options{SACK: true, MTU: 900}},
		{"control", Options{Control: 1 << 20, HasControl: true}},
		{"control_of_nothing", Options{SACK: true, MTU: 900, HasControl: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := AppendSYN([]byte{1, 2}, 0xfffffffe, tt.opts, 77)[2:]
			if len(b) != MinSYN || !Verify(b) {
				t.Fatalf("%d bytes, verifies: %v", len(b), Verify(b))
			}
			h, opts, err := ParseSYN(b)
			want := Header{Sequence: 0xfffffffe, Flags: FlagSYN, Window: ReceiveWindow, Timestamp: 77}
			if err != nil || h != want || opts != tt.opts {
				t.Errorf("read %+v, %+v, %v; want %+v, %+v", h, opts, err, want, tt.opts)
			}
			eachTruncation(b, func(b []byte) {
				if _, _, err := ParseSYN(b); err == nil {
					t.Errorf("%d bytes accepted", len(b))
				}
			})
		})
	}
	t.Run("other_flags", func(t *testing.T) {
		b := AppendSYN(nil, 1, Options{}, 0)
		b[offFlags] = byte(FlagSYN | FlagACK)
		if _, _, err := ParseSYN(b); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("cookie_is_misuse", func(t *testing.T) {
		mustPanic(t, func() { AppendSYN(nil, 1, Options{HasCookie: true}, 0) })
	})
}

func TestSYNOptions(t *testing.T) {
	tests := []struct {
		name string
		hex  string
		want Options
		bad  bool
	}{
		{name: "empty"},
		{name: "pad_only", hex: "00"},
		{name: "known_then_end", hex: "0200 0302 04b0", want: Options{SACK: true, MTU: 1200}},
		{name: "known_then_pad", hex: "0200 0302 04b0 00 00", want: Options{SACK: true, MTU: 1200}},
		{name: "behind_pad_unread", hex: "0200 00 ffffff", want: Options{SACK: true}},
		{name: "unknown_skipped", hex: "0200 0503 aabbcc ff00", want: Options{SACK: true}},
		{name: "eight", hex: "0200 0500 0600 0700 0800 0900 0a00 0b00", want: Options{SACK: true}},
		{name: "eight_then_pad", hex: "0200 0500 0600 0700 0800 0900 0a00 0b00 00", want: Options{SACK: true}},
		{name: "nine", hex: "0200 0500 0600 0700 0800 0900 0a00 0b00 0c00", bad: true},
		{name: "cookie", hex: "0108 1122334455667788", bad: true},
		{name: "descending", hex: "0302 04b0 0200", bad: true},
		{name: "twice", hex: "0200 0200", bad: true},
		{name: "unknown_twice", hex: "0900 0900", bad: true},
		{name: "kind_alone", hex: "02", bad: true},
		{name: "value_cut", hex: "0302 04", bad: true},
		{name: "unknown_value_cut", hex: "0904 0102", bad: true},
		{name: "sack_with_value", hex: "0201 00", bad: true},
		{name: "mtu_short", hex: "0301 04", bad: true},
		{name: "control", hex: "0404 00100000", want: Options{Control: 1 << 20, HasControl: true}},
		{name: "control_short", hex: "0403 001000", bad: true},
		{name: "control_long", hex: "0405 0010000000", bad: true},
		{name: "control_before_mtu", hex: "0404 00100000 0302 04b0", bad: true},
		{name: "mtu_long", hex: "0303 0004b0", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseSYNOptions(unhex(t, tt.hex))
			if got != tt.want || (err != nil) != tt.bad {
				t.Errorf("read %+v, %v; want %+v, refused: %v", got, err, tt.want, tt.bad)
			}
		})
	}
}

func TestSYNACK(t *testing.T) {
	opts := Options{
		Cookie: 0xfedcba9876543211, HasCookie: true, SACK: true, MTU: 1200, Control: 1 << 20, HasControl: true,
	}
	b := AppendSYNACK(nil, 0xffffffff, opts, 5)
	h, got, err := ParseSYNACK(b)
	want := Header{Sequence: 0x3b2a1908, Ack: 0, Flags: FlagSYN | FlagACK, Window: ReceiveWindow, Timestamp: 5}
	if err != nil || !Verify(b) || h != want || got != opts {
		t.Errorf("read %+v, %+v, %v; want %+v, %+v", h, got, err, want, opts)
	}
	if len(b) >= MinSYN {
		t.Errorf("%d bytes amplify a SYN of %d", len(b), MinSYN)
	}
	eachTruncation(b, func(b []byte) {
		// Cut between two options the list is well-formed; the checksum
		// tells.
		if _, _, err := ParseSYNACK(b); err == nil && Verify(b) {
			t.Errorf("%d bytes accepted", len(b))
		}
	})

	bodies := []struct {
		name string
		hex  string
	}{
		{"no_options", ""},
		{"no_cookie", "0200 0302 04b0"},
		{"short_cookie", "0107 11223344556677"},
		{"long_cookie", "0109 112233445566778899"},
		{"pad", "0108 1122334455667788 00"},
		{"cookie_twice", "0108 1122334455667788 0108 1122334455667788"},
	}
	for _, tt := range bodies {
		t.Run(tt.name, func(t *testing.T) {
			b := append(Header{Flags: FlagSYN | FlagACK}.AppendTo(nil), unhex(t, tt.hex)...)
			if _, _, err := ParseSYNACK(b); err == nil {
				t.Error("accepted")
			}
		})
	}
	t.Run("other_flags", func(t *testing.T) {
		b := AppendSYNACK(nil, 1, opts, 0)
		b[offFlags] = byte(FlagACK)
		if _, _, err := ParseSYNACK(b); err == nil {
			t.Error("accepted")
		}
	})
	t.Run("no_cookie_is_misuse", func(t *testing.T) {
		mustPanic(t, func() { AppendSYNACK(nil, 1, Options{}, 0) })
	})
}

func TestCookieParts(t *testing.T) {
	tests := []struct {
		cookie uint64
		isn    uint32
		key    int
	}{
		{0, 0, 0},
		{1, 0, 1},
		{0xfedcba9876543211, 0x3b2a1908, 1},
		{0x00000001fffffffe, 0xffffffff, 0},
	}
	for _, tt := range tests {
		if got := CookieSequence(tt.cookie); got != tt.isn {
			t.Errorf("sequence of %#x = %#x, want %#x", tt.cookie, got, tt.isn)
		}
		if got := CookieKeyIndex(tt.cookie); got != tt.key {
			t.Errorf("key of %#x = %d, want %d", tt.cookie, got, tt.key)
		}
	}
}

func TestHello(t *testing.T) {
	opts := Options{Cookie: 0x1122334455667788, HasCookie: true, SACK: true, MTU: 1100}
	b := AppendHello([]byte{1}, 10, 20, opts, 5)[1:]
	h, body, err := ParseHeader(b)
	want := Header{Sequence: 11, Ack: 21, Flags: FlagACK | FlagPSH, Window: ReceiveWindow, Timestamp: 5}
	if err != nil || !Verify(b) || h != want {
		t.Fatalf("read %+v, %v; want %+v", h, err, want)
	}
	wantBody := unhex(t, "f0 00 0000 0010 0108 1122334455667788 0200 0302 044c")
	if !bytes.Equal(body, wantBody) {
		t.Fatalf("body %x, want %x", body, wantBody)
	}
	if got, err := ParseHello(body); err != nil || got != opts {
		t.Errorf("read %+v, %v; want %+v", got, err, opts)
	}
	eachTruncation(body, func(b []byte) {
		if _, err := ParseHello(b); err == nil {
			t.Errorf("%d bytes accepted", len(b))
		}
	})
	t.Run("no_cookie_is_misuse", func(t *testing.T) {
		mustPanic(t, func() { AppendHello(nil, 1, 2, Options{}, 0) })
	})

	const cookie = "0108 1122334455667788"
	tests := []struct {
		name    string
		hex     string
		outline bool
		legal   bool
	}{
		{"cookie_only", "f0 00 0000 000a" + cookie, true, true},
		{"unknown_option", "f0 00 0000 000d" + cookie + "0901aa", true, true},
		{"bad_option_behind_cookie", "f0 00 0000 000d" + cookie + "0201aa", true, false},
		{"pad_behind_cookie", "f0 00 0000 000b" + cookie + "00", true, false},
		{"other_type", "f1 00 0000 000a" + cookie, false, false},
		{"other_channel", "f0 80 0000 000a" + cookie, false, false},
		{"other_id", "f0 00 0001 000a" + cookie, false, false},
		{"length_short", "f0 00 0000 0009" + cookie, false, false},
		{"length_long", "f0 00 0000 000b" + cookie, false, false},
		{"second_message", "f0 00 0000 000a" + cookie + "01 00 0000 0000", false, false},
		{"no_cookie", "f0 00 0000 000a 0908 1122334455667788", false, false},
		{"cookie_length", "f0 00 0000 000a 0107 11223344556677 ff", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := unhex(t, tt.hex)
			if got := IsHello(body); got != tt.outline {
				t.Errorf("outline = %v, want %v", got, tt.outline)
			}
			if _, err := ParseHello(body); (err == nil) != tt.legal {
				t.Errorf("legal = %v (%v), want %v", err == nil, err, tt.legal)
			}
		})
	}
}

func TestOptionsMaxDatagram(t *testing.T) {
	tests := []struct {
		name string
		mtu  uint16
		want int
	}{
		{"absent", 0, 1200},
		{"smaller", 900, 900},
		{"larger", 9000, 1472},
		{"absurd", 1, MinDatagram},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := (Options{MTU: tt.mtu}).MaxDatagram(MaxDatagramLimit); got != tt.want {
				t.Errorf("limit = %d, want %d", got, tt.want)
			}
		})
	}
}

// canonical reports whether the list is one that appendTo writes for the same
// options: nothing unknown, no MTU of zero.
func canonical(list []byte) bool {
	for len(list) > 0 && list[0] != OptionPad {
		if list[0] > OptionControl || list[0] == OptionMTU && list[2] == 0 && list[3] == 0 {
			return false
		}
		list = list[optionHeaderSize+int(list[1]):]
	}
	return len(bytes.Trim(list, "\x00")) == 0
}

// equalUnsealed compares two packets but for their checksums.
func equalUnsealed(a, b []byte) bool {
	const end = offChecksum + 2
	return len(a) == len(b) && bytes.Equal(a[:offChecksum], b[:offChecksum]) && bytes.Equal(a[end:], b[end:])
}

func FuzzSYN(f *testing.F) {
	f.Add(AppendSYN(nil, 1, Options{SACK: true, MTU: 1200, Control: 9, HasControl: true}, 9))
	f.Add(append(Header{Flags: FlagSYN}.AppendTo(nil), bytes.Repeat([]byte{9, 0}, 30)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, opts, err := ParseSYN(b)
		if err != nil || !canonical(b[HeaderSize:]) {
			return
		}
		again := opts.appendTo(h.AppendTo(nil))
		again = append(again, make([]byte, max(0, len(b)-len(again)))...)
		if !equalUnsealed(again, b) {
			t.Fatalf("%x re-encodes as %x", b, again)
		}
	})
}

func FuzzSYNACK(f *testing.F) {
	f.Add(AppendSYNACK(nil, 1, Options{HasCookie: true, Cookie: 8, SACK: true, MTU: 1200}, 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, opts, err := ParseSYNACK(b)
		if err != nil || !canonical(b[HeaderSize:]) {
			return
		}
		if again := opts.appendTo(h.AppendTo(nil)); !equalUnsealed(again, b) {
			t.Fatalf("%x re-encodes as %x", b, again)
		}
	})
}

func FuzzHello(f *testing.F) {
	hello := AppendHello(nil, 1, 2, Options{HasCookie: true, Cookie: 8, SACK: true, MTU: 1200}, 9)
	f.Add(hello[HeaderSize:])
	f.Add([]byte{0xf0, 0, 0, 0, 0, 13, 1, 8, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 7})
	f.Fuzz(func(t *testing.T, body []byte) {
		opts, err := ParseHello(body)
		if err == nil && !IsHello(body) {
			t.Fatal("read without a hello's outline")
		}
		if err != nil || !canonical(body[MessageHeaderSize:]) {
			return
		}
		if again := AppendHello(nil, 1, 2, opts, 9)[HeaderSize:]; !bytes.Equal(again, body) {
			t.Fatalf("%x re-encodes as %x", body, again)
		}
	})
}

func TestHandshakeAllocations(t *testing.T) {
	buf := make([]byte, 0, MaxDatagram)
	opts := Options{HasCookie: true, Cookie: 1 << 40, SACK: true, MTU: 1200}
	noAllocs(t, func() {
		if _, _, err := ParseSYN(AppendSYN(buf, 1, Options{SACK: true}, 9)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ParseSYNACK(AppendSYNACK(buf, 1, opts, 9)); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseHello(AppendHello(buf, 1, 2, opts, 9)[HeaderSize:]); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseHello(buf); err == nil {
			t.Fatal("empty hello accepted")
		}
	})
}
