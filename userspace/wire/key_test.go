package wire

import (
	"net/netip"
	"testing"
)

// The clients of one address, and single ones of many addresses, spread evenly.
func TestKeyHashSpreads(t *testing.T) {
	server := netip.MustParseAddrPort("192.0.2.1:7777")
	keys := map[string]func(i int) Key{
		"ports": func(i int) Key {
			return MakeKey(netip.AddrPortFrom(netip.MustParseAddr("198.51.100.7"), uint16(20000+i)), server)
		},
		"addresses": func(i int) Key {
			return MakeKey(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 40000), server)
		},
	}
	for name, key := range keys {
		for _, workers := range []uint32{2, 3, 4, 64} {
			const n = 8192
			counts := make([]int, workers)
			for i := range n {
				k := key(i)
				counts[k.Hash()%workers]++
			}
			for w, got := range counts {
				if want := n / int(workers); got < want*3/4 || got > want*5/4 {
					t.Errorf("%s: worker %d of %d has %d clients of %d", name, w, workers, got, n)
				}
			}
		}
	}
}
