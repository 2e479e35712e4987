package simd

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

var page = unix.Getpagesize()

// regionSize holds the largest of the arrays.
const regionSize = 1 << 16

// guarded is memory that ends, or begins, where no access is allowed.
type guarded struct {
	t       *testing.T
	atStart bool
	free    [][]byte
	used    [][]byte
}

// region returns memory with a forbidden page on either side. Regions come back
// with reset.
func (g *guarded) region() []byte {
	g.t.Helper()
	if n := len(g.free); n > 0 {
		region := g.free[n-1]
		g.free = g.free[:n-1]
		g.used = append(g.used, region)
		return region
	}
	all, err := unix.Mmap(-1, 0, regionSize+2*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if err := unix.Munmap(all); err != nil {
			g.t.Error(err)
		}
	})
	region := all[page : page+regionSize]
	if err := unix.Mprotect(region, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		g.t.Fatal(err)
	}
	g.used = append(g.used, region)
	return region
}

func (g *guarded) reset() {
	g.free, g.used = append(g.free, g.used...), nil
}

func take[T any](g *guarded, n int) []T {
	g.t.Helper()
	region := g.region()
	size := n * int(unsafe.Sizeof(*new(T)))
	if n == 0 {
		return nil
	}
	at := len(region) - size
	if g.atStart {
		at = 0
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&region[at])), n)
}

func (g *guarded) floats(n int) []float32 { return take[float32](g, n) }
func (g *guarded) words(n int) []uint64   { return take[uint64](g, n) }
func (g *guarded) numbers(n int) []uint32 { return take[uint32](g, n) }
func (g *guarded) bytes(n int) []byte     { return take[byte](g, n) }
func (g *guarded) spans(n int) []Span     { return take[Span](g, n) }

func TestStaysWithinMemory(t *testing.T) {
	for _, atStart := range []bool{true, false} {
		name := "from_the_end"
		if atStart {
			name = "from_the_start"
		}
		t.Run(name, func(t *testing.T) {
			forEachImplementation(t, func(t *testing.T) {
				s, g := newSource(6), &guarded{t: t, atStart: atStart}
				for n := range 71 {
					for range 10 {
						checkAll(t, s, g, n)
						g.reset()
					}
				}
			})
		})
	}
}
