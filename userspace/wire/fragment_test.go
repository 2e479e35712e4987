package wire

import (
	"bytes"
	"testing"
)

func TestFragment(t *testing.T) {
	tests := []struct {
		name string
		f    Fragment
		hex  string
	}{
		{"first", Fragment{Transfer: 0x01020304, Total: 2, Chunk: 3, Type: 5, Data: []byte("abc")},
			"01020304 0000 0002 0003 05 616263"},
		{"last", Fragment{Transfer: 0xffffffff, Index: 1, Total: 2, Chunk: 3, Type: 5, Data: []byte("d")},
			"ffffffff 0001 0002 0003 05 64"},
		{"last_full", Fragment{Index: 0xfffe, Total: 0xffff, Chunk: 2, Type: TypeControl - 1, Data: []byte("de")},
			"00000000 fffe ffff 0002 ef 6465"},
		{"smallest_chunk", Fragment{Index: 1, Total: 3, Chunk: 1, Type: 1, Data: []byte("x")},
			"00000000 0001 0003 0001 01 78"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := unhex(t, tt.hex)
			if got := AppendFragment([]byte{9}, tt.f); !bytes.Equal(got[1:], want) || got[0] != 9 {
				t.Errorf("appended %x, want %x", got, want)
			}
			got, err := ParseFragment(want)
			if err != nil || !equalFragments(&got, &tt.f) {
				t.Errorf("parsed %+v, %v; want %+v", got, err, tt.f)
			}
			if cap(got.Data) != len(got.Data) {
				t.Error("appending to data would overwrite the next message")
			}
			eachTruncation(want[:FragmentHeaderSize], func(b []byte) {
				if _, err := ParseFragment(b); err == nil {
					t.Errorf("%d bytes accepted", len(b))
				}
			})
		})
	}
}

func TestFragmentMalformed(t *testing.T) {
	tests := []struct {
		name string
		hex  string
	}{
		{"no_data", "00000000 0000 0002 0003 05"},
		{"one_chunk", "00000000 0000 0001 0003 05 616263"},
		{"no_chunk", "00000000 0000 0000 0003 05 616263"},
		{"index_is_total", "00000000 0002 0002 0003 05 616263"},
		{"index_beyond_total", "00000000 ffff 0002 0003 05 616263"},
		{"chunk_zero", "00000000 0000 0002 0000 05 61"},
		{"short_inside", "00000000 0000 0002 0003 05 6162"},
		{"long_inside", "00000000 0000 0002 0003 05 61626364"},
		{"long_last", "00000000 0001 0002 0003 05 61626364"},
		{"type_zero", "00000000 0000 0002 0003 00 616263"},
		{"type_control", "00000000 0000 0002 0003 f0 616263"},
		{"type_fragment", "00000000 0000 0002 0003 f1 616263"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if f, err := ParseFragment(unhex(t, tt.hex)); err == nil {
				t.Errorf("accepted as %+v", f)
			}
		})
	}
}

func TestFragmentMisuse(t *testing.T) {
	tests := []struct {
		name string
		f    Fragment
	}{
		{"zero", Fragment{}},
		{"no_data", Fragment{Total: 2, Chunk: 1, Type: 1}},
		{"one_chunk", Fragment{Total: 1, Chunk: 1, Type: 1, Data: []byte{1}}},
		{"short_inside", Fragment{Total: 2, Chunk: 2, Type: 1, Data: []byte{1}}},
		{"control_type", Fragment{Total: 2, Chunk: 1, Type: TypeControl, Data: []byte{1}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mustPanic(t, func() { AppendFragment(nil, tt.f) })
		})
	}
}

func equalFragments(a, b *Fragment) bool {
	return a.Transfer == b.Transfer && a.Index == b.Index && a.Total == b.Total &&
		a.Chunk == b.Chunk && a.Type == b.Type && bytes.Equal(a.Data, b.Data)
}

func FuzzFragment(f *testing.F) {
	f.Add(AppendFragment(nil, Fragment{Transfer: 7, Index: 1, Total: 3, Chunk: 4, Type: 9, Data: []byte("data")}))
	f.Add(AppendFragment(nil, Fragment{Transfer: 7, Index: 2, Total: 3, Chunk: 4, Type: 9, Data: []byte("d")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		fragment, err := ParseFragment(b)
		if err != nil {
			return
		}
		if again := AppendFragment(nil, fragment); !bytes.Equal(again, b) {
			t.Fatalf("%x re-encodes as %x", b, again)
		}
	})
}

func TestFragmentAllocations(t *testing.T) {
	buf := make([]byte, 0, MaxDatagram)
	data := make([]byte, 100)
	noAllocs(t, func() {
		b := AppendFragment(buf, Fragment{Total: 2, Chunk: 100, Type: 1, Data: data})
		if _, err := ParseFragment(b); err != nil {
			t.Fatal(err)
		}
		if _, err := ParseFragment(b[:20]); err == nil {
			t.Fatal("short chunk accepted")
		}
	})
}
