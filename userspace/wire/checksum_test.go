package wire

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"testing"
)

// referenceChecksum is PROTOCOL.md's definition, a byte at a time.
func referenceChecksum(b []byte) uint16 {
	var sum1, sum2 uint16
	for i, v := range b {
		if i == offChecksum || i == offChecksum+1 {
			v = 0
		}
		sum1 += uint16(v)
		sum2 += sum1
	}
	return (sum2<<8 | sum1&0xff) ^ 0xffff
}

func random(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestChecksumMatchesReference(t *testing.T) {
	fills := []struct {
		name string
		make func(n int) []byte
	}{
		{"random", func(n int) []byte { return random(n, uint64(n)) }},
		{"all_ones", func(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }},
		{"zero", func(n int) []byte { return make([]byte, n) }},
	}
	for _, tt := range fills {
		t.Run(tt.name, func(t *testing.T) {
			for n := HeaderSize; n <= 2100; n++ {
				b := tt.make(n)
				if got, want := Checksum(b), referenceChecksum(b); got != want {
					t.Fatalf("length %d: checksum = %#04x, want %#04x", n, got, want)
				}
			}
		})
	}
	t.Run("longest_datagram", func(t *testing.T) {
		for _, b := range [][]byte{random(65507, 7), bytes.Repeat([]byte{0xff}, 65507)} {
			if got, want := Checksum(b), referenceChecksum(b); got != want {
				t.Errorf("checksum = %#04x, want %#04x", got, want)
			}
		}
	})
	t.Run("offsets", func(t *testing.T) {
		b := random(300, 3)
		for i := range 64 {
			if got, want := Checksum(b[i:]), referenceChecksum(b[i:]); got != want {
				t.Errorf("offset %d: checksum = %#04x, want %#04x", i, got, want)
			}
		}
	})
}

func TestVerify(t *testing.T) {
	sealed := random(200, 5)
	Seal(sealed)
	if !Verify(sealed) {
		t.Fatal("sealed packet does not verify")
	}
	// A changed byte moves sum1 by less than 256 and is always found.
	for i := range sealed {
		sealed[i] ^= 0x5a
		if Verify(sealed) {
			t.Errorf("packet verifies with byte %d changed", i)
		}
		sealed[i] ^= 0x5a
	}
	for n := range HeaderSize {
		if Verify(make([]byte, n)) {
			t.Errorf("packet of %d bytes verifies", n)
		}
	}
}

func FuzzChecksum(f *testing.F) {
	f.Add(make([]byte, HeaderSize))
	f.Add(random(129, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderSize {
			if Verify(b) {
				t.Fatal("short packet verifies")
			}
			return
		}
		want := referenceChecksum(b)
		if got := Checksum(b); got != want {
			t.Fatalf("checksum = %#04x, want %#04x", got, want)
		}
		b = bytes.Clone(b)
		Seal(b)
		if got := binary.BigEndian.Uint16(b[offChecksum:]); got != want || !Verify(b) {
			t.Fatalf("sealed with %#04x, want %#04x", got, want)
		}
	})
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{64, 256, 1200} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			p := random(n, 9)
			b.SetBytes(int64(n))
			for b.Loop() {
				Seal(p)
			}
		})
	}
}
