//go:build !purego

package simd

import (
	"testing"

	"github.com/klauspost/cpuid/v2"
)

// forEachImplementation calls run as a subtest, or a benchmark, for each of them.
func forEachImplementation[T testing.TB](tb interface {
	Run(name string, f func(T)) bool
}, run func(T)) {
	each := func(name string, avx2 bool) {
		tb.Run(name, func(tb T) {
			if avx2 {
				requireAVX2(tb)
			}
			before := useAVX2
			defer func() { useAVX2 = before }()
			useAVX2 = avx2
			run(tb)
		})
	}
	each("reference", false)
	each("avx2", true)
}

func requireAVX2(tb testing.TB) {
	tb.Helper()
	if !supported(&cpuid.CPU) {
		tb.Skip("the processor has no AVX2")
	}
}

func TestSupported(t *testing.T) {
	tests := []struct {
		name     string
		features []cpuid.FeatureID
		want     bool
	}{
		{"nothing", nil, false},
		{"avx", []cpuid.FeatureID{cpuid.AVX, cpuid.POPCNT}, false},
		{"avx2", []cpuid.FeatureID{cpuid.AVX, cpuid.AVX2, cpuid.POPCNT}, true},
		{"no_popcnt", []cpuid.FeatureID{cpuid.AVX, cpuid.AVX2}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var cpu cpuid.CPUInfo
			cpu.Enable(tt.features...)
			if got := supported(&cpu); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if useAVX2 != supported(&cpuid.CPU) {
		t.Errorf("useAVX2 is %v at start", useAVX2)
	}
}
