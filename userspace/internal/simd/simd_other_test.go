//go:build !amd64 || purego

package simd

import "testing"

// forEachImplementation calls run as a subtest, or a benchmark, for each of them.
func forEachImplementation[T testing.TB](tb interface {
	Run(name string, f func(T)) bool
}, run func(T)) {
	tb.Run("reference", run)
}
