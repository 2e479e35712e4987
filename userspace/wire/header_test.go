package wire

import (
	"bytes"
	"testing"
)

// mustPanic fails unless f panics.
func mustPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("no panic on misuse")
		}
	}()
	f()
}

// noAllocs fails when f allocates.
func noAllocs(t *testing.T, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(100, f); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// eachTruncation calls f with every proper prefix of b, each in memory of its
// own length so that a read past the end is caught.
func eachTruncation(b []byte, f func(prefix []byte)) {
	for n := range b {
		f(bytes.Clone(b[:n])[:n:n])
	}
}

func TestFlagsLegal(t *testing.T) {
	const marks = FlagECE | FlagCWR
	server := map[Flags]bool{FlagSYN: true}
	client := map[Flags]bool{FlagSYN | FlagACK: true}
	for _, legal := range []map[Flags]bool{server, client} {
		legal[FlagACK|FlagRST] = true
		for _, mark := range []Flags{0, FlagECE, FlagCWR, marks} {
			legal[FlagACK|mark] = true
			legal[FlagACK|FlagURG|mark] = true
			legal[FlagACK|FlagPSH|mark] = true
			legal[FlagACK|FlagPSH|FlagURG|mark] = true
			legal[FlagACK|FlagPSH|FlagFIN|mark] = true
		}
	}
	for i := range 256 {
		f := Flags(i)
		if got := f.LegalAtServer(); got != server[f] {
			t.Errorf("%v at server: legal = %v, want %v", f, got, server[f])
		}
		if got := f.LegalAtClient(); got != client[f] {
			t.Errorf("%v at client: legal = %v, want %v", f, got, client[f])
		}
	}
}

func TestFlagsString(t *testing.T) {
	tests := []struct {
		flags Flags
		want  string
	}{
		{0, "0"},
		{FlagSYN, "SYN"},
		{FlagACK | FlagPSH | FlagFIN, "ACK|FIN|PSH"},
		{0xff, "SYN|ACK|FIN|RST|PSH|URG|ECE|CWR"},
	}
	for _, tt := range tests {
		if got := tt.flags.String(); got != tt.want {
			t.Errorf("Flags(%#x) = %q, want %q", uint8(tt.flags), got, tt.want)
		}
	}
}

func TestHeader(t *testing.T) {
	h := Header{
		Sequence:  0x01020304,
		Ack:       0x05060708,
		Flags:     FlagACK | FlagPSH,
		Window:    0x0a0b,
		Timestamp: 0x0d0e0f1011121314,
	}
	want := []byte{
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x12, 0x0a, 0x0b,
		0x00, 0x00, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14,
	}
	t.Run("append_keeps_prefix", func(t *testing.T) {
		got := h.AppendTo([]byte("ab"))
		if !bytes.Equal(got, append([]byte("ab"), want...)) {
			t.Errorf("appended %x, want %x", got, want)
		}
	})
	t.Run("put_clears_checksum", func(t *testing.T) {
		b := bytes.Repeat([]byte{0xee}, HeaderSize+1)
		h.Put(b)
		if !bytes.Equal(b[:HeaderSize], want) || b[HeaderSize] != 0xee {
			t.Errorf("put %x, want %x and one byte untouched", b, want)
		}
	})
	t.Run("put_short", func(t *testing.T) {
		mustPanic(t, func() { h.Put(make([]byte, HeaderSize-1)) })
	})
	t.Run("parse", func(t *testing.T) {
		got, body, err := ParseHeader(append(bytes.Clone(want), "body"...))
		if err != nil || got != h || string(body) != "body" {
			t.Errorf("parsed %+v, body %q, %v; want %+v", got, body, err, h)
		}
	})
	t.Run("truncated", func(t *testing.T) {
		eachTruncation(want, func(b []byte) {
			if _, _, err := ParseHeader(b); err == nil {
				t.Errorf("%d bytes accepted", len(b))
			}
		})
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(Header{Sequence: 1, Flags: FlagSYN}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, body, err := ParseHeader(b)
		if err != nil {
			return
		}
		want := bytes.Clone(b)
		clear(want[offChecksum : offChecksum+2])
		if again := append(h.AppendTo(nil), body...); !bytes.Equal(again, want) {
			t.Fatalf("%x re-encodes as %x", want, again)
		}
	})
}

func TestSequence(t *testing.T) {
	tests := []struct {
		name string
		a, b uint32
		diff int32
	}{
		{"equal", 7, 7, 0},
		{"ahead", 9, 7, 2},
		{"behind", 7, 9, -2},
		{"across_wrap", 1, 0xffffffff, 2},
		{"half_minus_one", 0x7fffffff, 0, 0x7fffffff},
		{"half", 0x80000000, 0, -0x80000000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := SeqDiff(tt.a, tt.b); got != tt.diff {
				t.Errorf("diff = %d, want %d", got, tt.diff)
			}
			if got, want := SeqLess(tt.a, tt.b), tt.diff < 0; got != want {
				t.Errorf("less = %v, want %v", got, want)
			}
		})
	}
}

func TestReason(t *testing.T) {
	for i := range 256 {
		r, err := ParseReason([]byte{byte(i)})
		if legal := i >= 1 && i < 0x80; legal != (err == nil) || legal && r != Reason(i) {
			t.Errorf("reason %d: %v, %v", i, r, err)
		}
	}
	for _, body := range [][]byte{nil, {1, 1}} {
		if _, err := ParseReason(body); err == nil {
			t.Errorf("body of %d bytes accepted", len(body))
		}
	}
	seen := map[string]Reason{}
	for r := ReasonClosed; r <= ReasonKicked; r++ {
		s := r.String()
		if other, ok := seen[s]; ok || s == "" {
			t.Errorf("reason %d is %q, like %d", uint8(r), s, uint8(other))
		}
		seen[s] = r
	}
	if got := Reason(99).String(); got != "reason 99" {
		t.Errorf("unknown reason is %q", got)
	}
	if got := ReasonHandshakeTimeout.String(); got != "handshake timeout" {
		t.Errorf("local reason is %q", got)
	}
}

func BenchmarkParseHeader(b *testing.B) {
	p := Header{Flags: FlagACK}.AppendTo(nil)
	for b.Loop() {
		if _, _, err := ParseHeader(p); err != nil {
			b.Fatal(err)
		}
	}
}
