//go:build !amd64 || purego

package simd

const slack = 0

func within(hits *Hits, points *Points, ids []uint32, spans []Span, area *Area) {
	withinGeneric(hits, points, ids, spans, area)
}

func decode(to *Points, records []byte) { decodeGeneric(to, records, 0) }

func validate(ok, inRange []uint64, claimed, before *Points, allowed []float32, limit float32) {
	validateGeneric(ok, inRange, claimed, before, allowed, limit, 0)
}

func move(to, from *Points, mask []uint64) { moveGeneric(to, from, mask, 0) }

func fletcher(b []byte) (sum1, sum2 uint32) { return fletcherGeneric(b, 0, 0) }
