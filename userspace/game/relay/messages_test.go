package relay

import (
	"bytes"
	"errors"
	"testing"

	"github.com/xrudp/xrudp/userspace/message"
)

func TestParsePublish(t *testing.T) {
	tests := []struct {
		name    string
		payload []byte
		want    error
	}{
		{"one_byte", []byte{TypePublish, 7}, nil},
		{"largest", append([]byte{TypePublish}, make([]byte, MaxData)...), nil},
		{"nothing", nil, message.ErrMalformed},
		{"no_data", []byte{TypePublish}, message.ErrMalformed},
		{"other_type", []byte{TypeBlock, 7}, message.ErrMalformed},
		{"too_large", append([]byte{TypePublish}, make([]byte, MaxData+1)...), message.ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := ParsePublish(tt.payload)
			if !errors.Is(err, tt.want) {
				t.Fatalf("ParsePublish = %v, want %v", err, tt.want)
			}
			if err == nil && !bytes.Equal(AppendPublish(nil, data), tt.payload) {
				t.Error("what was parsed encodes to something else")
			}
		})
	}
}

func TestParseBlock(t *testing.T) {
	whole := appendEntry(appendEntry(nil, Entry{1, []byte("ab")}), Entry{0xfffffffe, []byte("c")})
	full := appendEntry(nil, Entry{1, make([]byte, MaxData)})
	full = appendEntry(full, Entry{2, make([]byte, MaxBlock-len(full)-entryHead)})
	tests := []struct {
		name    string
		payload []byte
		entries int
	}{
		{"two_entries", whole, 2},
		{"full", full, 2},
		{"nothing", nil, 0},
		{"no_entries", whole[:blockHead], 0},
		{"other_type", append([]byte{TypePublish}, whole[1:]...), 0},
		{"cut_in_head", whole[:blockHead+entryHead-1], 0},
		{"cut_in_data", whole[:blockHead+entryHead+1], 0},
		{"cut_in_second_entry", whole[:len(whole)-1], 0},
		{"byte_too_many", append(bytes.Clone(whole), 0), 0},
		{"entry_without_data", append(bytes.Clone(whole), 0, 0, 0, 1, 0, 0), 0},
		{"too_large", appendEntry(full[:MaxBlock:MaxBlock], Entry{3, []byte{1}}), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := ParseBlock(tt.payload)
			if (err == nil) != (tt.entries > 0) || err != nil && !errors.Is(err, message.ErrMalformed) {
				t.Fatalf("ParseBlock = %v, want %d entries", err, tt.entries)
			}
			n := 0
			for _, ok := b.Next(); ok; _, ok = b.Next() {
				n++
			}
			if n != tt.entries {
				t.Errorf("%d entries, want %d", n, tt.entries)
			}
		})
	}
	b, _ := ParseBlock(whole)
	first, _ := b.Next()
	second, _ := b.Next()
	if first.Player != 1 || string(first.Data) != "ab" || second.Player != 0xfffffffe || string(second.Data) != "c" {
		t.Errorf("entries %+v and %+v", first, second)
	}
}

// FuzzParseBlock checks that what is accepted encodes to the same bytes.
func FuzzParseBlock(f *testing.F) {
	f.Add(appendEntry(appendEntry(nil, Entry{1, []byte("ab")}), Entry{2, []byte("c")}))
	f.Add([]byte{TypeBlock, 0, 0, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		b, err := ParseBlock(payload)
		if err != nil {
			if len(b.rest) > 0 {
				t.Error("a refused block has entries")
			}
			return
		}
		var again []byte
		for e, ok := b.Next(); ok; e, ok = b.Next() {
			again = appendEntry(again, e)
		}
		if !bytes.Equal(again, payload) {
			t.Errorf("%x encodes to %x", payload, again)
		}
	})
}
