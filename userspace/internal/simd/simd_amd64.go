//go:build !purego

package simd

import (
	"math"

	"github.com/klauspost/cpuid/v2"
)

// useAVX2 is set once, at start.
var useAVX2 = supported(&cpuid.CPU)

// supported asks for the registers too, which the operating system has to save.
func supported(cpu *cpuid.CPUInfo) bool {
	return cpu.Supports(cpuid.AVX2, cpuid.POPCNT)
}

// lanes is how many float32 a register holds.
const lanes = 8

// slack is how far beyond the last hit withinAVX2 may write.
const slack = lanes - 1

func within(hits *Hits, points *Points, ids []uint32, spans []Span, area *Area) {
	if !useAVX2 {
		withinGeneric(hits, points, ids, spans, area)
		return
	}
	near, far := len(hits.Near), len(hits.Far)
	n, m := withinAVX2(&hits.Near[:near+1][near], &hits.Far[:far+1][far],
		&points.X[0], &points.Y[0], &points.Z[0], &ids[0], &spans[0].Start, len(spans),
		area.X, area.Y, area.Z, float32(area.Inner*area.Inner), float32(area.Outer*area.Outer))
	hits.Near, hits.Far = hits.Near[:near+n], hits.Far[:far+m]
}

// whole is how many of n points a vector kernel takes. The rest is for the reference.
func whole(n int) int {
	if !useAVX2 {
		return 0
	}
	return n &^ (lanes - 1)
}

func decode(to *Points, records []byte) {
	n := len(to.X)
	done := whole(n)
	if done > 0 {
		decodeAVX2(&to.X[0], &to.Y[0], &to.Z[0], &records[0], done)
	}
	if done < n {
		decodeGeneric(to, records, done)
	}
}

func validate(ok, inRange []uint64, claimed, before *Points, allowed []float32, limit float32) {
	n := len(allowed)
	done := whole(n)
	if done > 0 {
		// Below the last word every byte of the masks is written.
		ok[len(ok)-1], inRange[len(ok)-1] = 0, 0
		validateAVX2(&ok[0], &inRange[0],
			&claimed.X[0], &claimed.Y[0], &claimed.Z[0],
			&before.X[0], &before.Y[0], &before.Z[0],
			&allowed[0], done, min(limit, math.MaxFloat32))
	}
	if done < n {
		validateGeneric(ok, inRange, claimed, before, allowed, limit, done)
	}
}

func move(to, from *Points, mask []uint64) {
	n := len(to.X)
	done := whole(n)
	if done > 0 {
		moveAVX2(&to.X[0], &to.Y[0], &to.Z[0], &from.X[0], &from.Y[0], &from.Z[0], &mask[0], done)
	}
	if done < n {
		moveGeneric(to, from, mask, done)
	}
}

// fletcherBlock is how many bytes fletcherAVX2 takes at a time.
const fletcherBlock = 32

func fletcher(b []byte) (sum1, sum2 uint32) {
	if done := len(b) &^ (fletcherBlock - 1); useAVX2 && done > 0 {
		sum1, sum2 = fletcherAVX2(&b[0], done)
		b = b[done:]
	}
	return fletcherGeneric(b, sum1, sum2)
}
