package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("decode hex: %v", err)
	}
	return b
}

func TestAckBlock(t *testing.T) {
	const fixed = "1122334455667788 000000fa"
	tests := []struct {
		name  string
		hex   string
		block AckBlock
	}{
		{"nothing", "00", AckBlock{}},
		{"no_bitmap", "01" + fixed, AckBlock{Present: true, Echo: 0x1122334455667788, Delay: 250}},
		{"one_word", "02" + fixed + "0000000000000005",
			AckBlock{Present: true, Echo: 0x1122334455667788, Delay: 250, Words: 1, Bitmap: [4]uint64{5}}},
		{"hole_inside", "04" + fixed + "0000000000000001 0000000000000000 8000000000000000",
			AckBlock{Present: true, Echo: 0x1122334455667788, Delay: 250, Words: 3, Bitmap: [4]uint64{1, 0, 1 << 63}}},
		{"offset", "0b" + fixed + "0000000000000001 8000000000000000",
			AckBlock{Present: true, Echo: 0x1122334455667788, Delay: 250, Offset: 1, Words: 2, Bitmap: [4]uint64{1, 1 << 63}}},
		{"last_word", "7a" + fixed + "0000000000000001",
			AckBlock{Present: true, Echo: 0x1122334455667788, Delay: 250, Offset: 15, Words: 1, Bitmap: [4]uint64{1}}},
		{"all_words", "05" + fixed + strings.Repeat("ffffffffffffffff", 4),
			AckBlock{Present: true, Echo: 0x1122334455667788, Delay: 250, Words: 4,
				Bitmap: [4]uint64{1<<64 - 1, 1<<64 - 1, 1<<64 - 1, 1<<64 - 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := unhex(t, tt.hex)
			if got := tt.block.AppendTo([]byte{9}); !bytes.Equal(got[1:], want) || got[0] != 9 {
				t.Errorf("appended %x, want %x", got, want)
			}
			if tt.block.Size() != len(want) {
				t.Errorf("size = %d, want %d", tt.block.Size(), len(want))
			}
			got := AckBlock{Present: true, Echo: 1, Words: 4, Bitmap: [4]uint64{1, 2, 3, 4}}
			rest, err := ParseAckBlock(append(bytes.Clone(want), "rest"...), &got)
			if err != nil || got != tt.block || string(rest) != "rest" {
				t.Errorf("parsed %+v, rest %q, %v; want %+v", got, rest, err, tt.block)
			}
			eachTruncation(want, func(b []byte) {
				if _, err := ParseAckBlock(b, &got); err == nil {
					t.Errorf("%d bytes accepted", len(b))
				}
			})
		})
	}
}

func TestAckBlockMalformed(t *testing.T) {
	tests := []struct {
		name string
		hex  string
	}{
		{"empty", ""},
		{"six_words", "06" + strings.Repeat("11", 12+8*5)},
		{"most_words", "ff" + strings.Repeat("11", 400)},
		{"no_count", "08" + strings.Repeat("11", 12)},
		{"eight_words", "07" + strings.Repeat("11", 12+8*8)},
		{"offset_without_words", "09" + strings.Repeat("11", 12)},
		{"beyond_the_window", "7b" + strings.Repeat("11", 12+8*2)},
		{"farther_beyond_the_window", "82" + strings.Repeat("11", 12+8)},
		{"zero_word", "02" + strings.Repeat("11", 12) + strings.Repeat("00", 8)},
		{"zero_first_word", "03" + strings.Repeat("11", 12) + strings.Repeat("00", 8) + strings.Repeat("11", 8)},
		{"zero_last_word", "03" + strings.Repeat("11", 20) + strings.Repeat("00", 8)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var a AckBlock
			if _, err := ParseAckBlock(unhex(t, tt.hex), &a); err == nil {
				t.Errorf("accepted as %+v", a)
			}
			if a != (AckBlock{}) {
				t.Errorf("left %+v behind an error", a)
			}
		})
	}
}

func TestAckBlockMisuse(t *testing.T) {
	tests := []struct {
		name  string
		block AckBlock
	}{
		{"zero_word", AckBlock{Present: true, Words: 1}},
		{"zero_first_word", AckBlock{Present: true, Words: 2, Bitmap: [4]uint64{0, 1}}},
		{"zero_last_word", AckBlock{Present: true, Words: 2, Bitmap: [4]uint64{1}}},
		{"too_many_words", AckBlock{Present: true, Words: 5}},
		{"negative_words", AckBlock{Present: true, Words: -1}},
		{"offset_without_words", AckBlock{Present: true, Offset: 1}},
		{"beyond_the_window", AckBlock{Present: true, Offset: 15, Words: 2, Bitmap: [4]uint64{1, 1}}},
		{"negative_offset", AckBlock{Present: true, Offset: -1, Words: 1, Bitmap: [4]uint64{1}}},
		{"offset_that_wraps", AckBlock{Present: true, Offset: 32, Words: 1, Bitmap: [4]uint64{1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mustPanic(t, func() { tt.block.AppendTo(nil) })
		})
	}
}

func FuzzAckBlock(f *testing.F) {
	f.Add([]byte{0})
	full := AckBlock{Present: true, Echo: 7, Offset: 12, Words: 4, Bitmap: [4]uint64{1, 0, 0, 9}}
	f.Add(full.AppendTo(nil))
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var a AckBlock
		rest, err := ParseAckBlock(b, &a)
		if err != nil {
			return
		}
		if again := append(a.AppendTo(nil), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x re-encodes as %x", b, again)
		}
	})
}

func TestMessage(t *testing.T) {
	m := Message{Type: 0x11, Channel: 0x83, ID: 0x0405, Payload: []byte("abc")}
	want := unhex(t, "11 83 0405 0003 616263")
	if got := AppendMessage([]byte{1}, m); !bytes.Equal(got[1:], want) {
		t.Errorf("appended %x, want %x", got, want)
	}
	got, rest, err := ParseMessage(append(bytes.Clone(want), 0xaa))
	if err != nil || got.Type != m.Type || got.Channel != m.Channel || got.ID != m.ID ||
		!bytes.Equal(got.Payload, m.Payload) || !bytes.Equal(rest, []byte{0xaa}) {
		t.Errorf("parsed %+v, rest %x, %v", got, rest, err)
	}
	if cap(got.Payload) != len(got.Payload) {
		t.Error("appending to a payload would overwrite the next message")
	}
	eachTruncation(want, func(b []byte) {
		if _, _, err := ParseMessage(b); err == nil {
			t.Errorf("%d bytes accepted", len(b))
		}
	})
	t.Run("type_zero", func(t *testing.T) {
		if _, _, err := ParseMessage(make([]byte, MessageHeaderSize)); err == nil {
			t.Error("accepted")
		}
		mustPanic(t, func() { AppendMessage(nil, Message{}) })
	})
	t.Run("payload_limit", func(t *testing.T) {
		b := AppendMessage(nil, Message{Type: 1, Payload: make([]byte, 0xffff)})
		if m, rest, err := ParseMessage(b); err != nil || len(m.Payload) != 0xffff || len(rest) != 0 {
			t.Errorf("longest payload: %d bytes, %v", len(m.Payload), err)
		}
		mustPanic(t, func() { AppendMessage(nil, Message{Type: 1, Payload: make([]byte, 0x10000)}) })
	})
}

func TestCheckMessages(t *testing.T) {
	message := func(kind uint8, n int) []byte {
		return AppendMessage(nil, Message{Type: kind, Payload: make([]byte, n)})
	}
	tests := []struct {
		name string
		body []byte
		want int // 0: refused
	}{
		{"empty_body", nil, 0},
		{"one", message(1, 5), 1},
		{"empty_payload", message(1, 0), 1},
		{"two", append(message(1, 5), message(0xef, 0)...), 2},
		{"as_many_as_allowed", bytes.Repeat(message(1, 1), MaxMessages), MaxMessages},
		{"one_too_many", bytes.Repeat(message(1, 1), MaxMessages+1), 0},
		{"trailing_byte", append(message(1, 5), 1), 0},
		{"trailing_header", append(message(1, 5), 1, 0, 0, 0, 0, 1), 0},
		{"short_payload", message(1, 5)[:10], 0},
		{"type_zero", make([]byte, MessageHeaderSize), 0},
		{"type_zero_second", append(message(1, 5), make([]byte, MessageHeaderSize)...), 0},
		{"hello", message(TypeHello, 5), 0},
		{"control_types", append(append(message(TypeFragment, 12), message(TypeSkip, 0)...),
			append(message(TypeSkipped, 0), message(TypePad, 9)...)...), 4},
		{"beyond_the_control_types", message(TypePad+1, 5), 0},
		{"control_second", append(message(1, 5), message(0xff, 0)...), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := CheckMessages(tt.body)
			if n != tt.want || (err == nil) != (tt.want > 0) {
				t.Errorf("%d messages, %v; want %d", n, err, tt.want)
			}
		})
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(AppendMessage(AppendMessage(nil, Message{Type: 1, Payload: []byte("a")}), Message{Type: 2, Channel: 0x80}))
	f.Add(bytes.Repeat([]byte{1, 0, 0, 0, 0, 0}, MaxMessages+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := CheckMessages(b)
		var again []byte
		rest, read := b, 0
		for len(rest) > 0 {
			m, next, parseErr := ParseMessage(rest)
			if parseErr != nil {
				if err == nil {
					t.Fatalf("checked %d messages, then: %v", n, parseErr)
				}
				return
			}
			again = AppendMessage(again, m)
			rest = next
			read++
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x re-encodes as %x", b, again)
		}
		if err == nil && n != read {
			t.Fatalf("checked %d messages, read %d", n, read)
		}
	})
}

func TestBodyAllocations(t *testing.T) {
	block := AckBlock{Present: true, Words: 2, Bitmap: [4]uint64{1, 2}}
	payload := make([]byte, 40)
	buf := make([]byte, 0, MaxDatagram)
	noAllocs(t, func() {
		b := Header{Flags: FlagACK | FlagPSH}.AppendTo(buf)
		b = block.AppendTo(b)
		for range 4 {
			b = AppendMessage(b, Message{Type: 1, Payload: payload})
		}
		Seal(b)

		h, body, err := ParseHeader(b)
		if err != nil || !Verify(b) || !h.Flags.LegalAtServer() {
			t.Fatal("header does not read back")
		}
		var a AckBlock
		if body, err = ParseAckBlock(body, &a); err != nil {
			t.Fatal(err)
		}
		if n, err := CheckMessages(body); n != 4 || err != nil {
			t.Fatal(n, err)
		}
		if _, _, err := ParseHeader(body[:3]); err == nil {
			t.Fatal("short header accepted")
		}
		if _, err := CheckMessages(body[:3]); err == nil {
			t.Fatal("short message accepted")
		}
	})
}

func BenchmarkBody(b *testing.B) {
	block := AckBlock{Present: true, Words: 1, Bitmap: [4]uint64{1}}
	body := block.AppendTo(nil)
	for range 8 {
		body = AppendMessage(body, Message{Type: 1, Payload: make([]byte, 20)})
	}
	b.Run("parse", func(b *testing.B) {
		var a AckBlock
		for b.Loop() {
			rest, err := ParseAckBlock(body, &a)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := CheckMessages(rest); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		payload := make([]byte, 20)
		buf := make([]byte, 0, MaxDatagram)
		for b.Loop() {
			out := block.AppendTo(buf)
			for range 8 {
				out = AppendMessage(out, Message{Type: 1, Payload: payload})
			}
		}
	})
}
