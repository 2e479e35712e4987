//go:build amd64 && !purego

package simd

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestDispatch finds out which implementation runs by where it falls over memory
// that nobody may read.
func TestDispatch(t *testing.T) {
	forbidden, err := unix.Mmap(-1, 0, page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Munmap(forbidden); err != nil {
			t.Error(err)
		}
	}()
	const n = 16
	numbers := unsafe.Slice((*float32)(unsafe.Pointer(&forbidden[0])), n)
	masks := unsafe.Slice((*uint64)(unsafe.Pointer(&forbidden[0])), 1)
	bad, good := Points{numbers, numbers, numbers}, NewPoints(n)
	ok, inRange := make([]uint64, 1), make([]uint64, 1)

	tests := []struct {
		name string
		call func()
	}{
		{"within", func() { Within(&Hits{}, &bad, make([]uint32, n), []Span{{0, n}}, &Area{}) }},
		{"decode", func() { Decode(&good, forbidden[:n*RecordSize]) }},
		{"validate", func() { Validate(ok, inRange, &bad, &bad, numbers, 1) }},
		{"move", func() { Move(&good, &good, masks) }},
		{"fletcher", func() { Fletcher(forbidden[:200]) }},
	}
	defer func(before bool) { useAVX2 = before }(useAVX2)
	for _, tt := range tests {
		for _, avx2 := range []bool{false, true} {
			name, want := tt.name+"_reference", tt.name+"Generic"
			if avx2 {
				name, want = tt.name+"_avx2", tt.name+"AVX2"
			}
			t.Run(name, func(t *testing.T) {
				if avx2 {
					requireAVX2(t)
				}
				useAVX2 = avx2
				debug.SetPanicOnFault(true) // of this goroutine, which ends here
				if got := faultsIn(tt.call); got != want {
					t.Errorf("runs %q", got)
				}
			})
		}
	}
}

// faultsIn names the function of this package in which call faults.
func faultsIn(call func()) (name string) {
	defer func() {
		if recover() == nil {
			return
		}
		pcs := make([]uintptr, 32)
		frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
		for more := true; more && !strings.HasSuffix(name, "AVX2") && !strings.HasSuffix(name, "Generic"); {
			var frame runtime.Frame
			frame, more = frames.Next()
			name = frame.Function[strings.LastIndex(frame.Function, ".")+1:]
		}
	}()
	call()
	return ""
}
