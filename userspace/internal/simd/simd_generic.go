package simd

import (
	"encoding/binary"
	"math"
)

// The conversions to float32 round each product and sum by itself: without them
// the compiler may fuse two on some machines.

func squaredDistance(x, y, z, fromX, fromY, fromZ float32) float32 {
	dx, dy, dz := x-fromX, y-fromY, z-fromZ
	return float32(float32(dx*dx)+float32(dy*dy)) + float32(dz*dz)
}

func withinGeneric(hits *Hits, points *Points, ids []uint32, spans []Span, area *Area) {
	near, far := hits.Near, hits.Far
	inner, outer := float32(area.Inner*area.Inner), float32(area.Outer*area.Outer)
	cx, cy, cz := area.X, area.Y, area.Z
	for _, s := range spans {
		id := ids[s.Start:s.End]
		x, y, z := points.X[s.Start:s.End], points.Y[s.Start:s.End], points.Z[s.Start:s.End]
		x, y, z = x[:len(id)], y[:len(id)], z[:len(id)]
		for i := range id {
			d := squaredDistance(x[i], y[i], z[i], cx, cy, cz)
			if d <= inner {
				near = append(near, id[i])
			} else if d <= outer {
				far = append(far, id[i])
			}
		}
	}
	hits.Near, hits.Far = near, far
}

// decodeGeneric begins at a point, as the other functions do that end what a
// vector kernel began.
func decodeGeneric(to *Points, records []byte, from int) {
	x, y, z := to.X[from:], to.Y[from:], to.Z[from:]
	y, z = y[:len(x)], z[:len(x)]
	records = records[from*RecordSize:]
	for i := range x {
		r := records[:RecordSize]
		x[i] = math.Float32frombits(binary.BigEndian.Uint32(r[8:]))
		y[i] = math.Float32frombits(binary.BigEndian.Uint32(r[12:]))
		z[i] = math.Float32frombits(binary.BigEndian.Uint32(r[16:]))
		records = records[RecordSize:]
	}
}

func validateGeneric(ok, inRange []uint64, claimed, before *Points, allowed []float32, limit float32, from int) {
	// No infinity is within it, whatever the caller says.
	limit = min(limit, math.MaxFloat32)

	for word := from / 64; word < len(ok); word++ {
		start, end := max(64*word, from), min(64*(word+1), len(allowed))
		allow := allowed[start:end]
		x, y, z := claimed.X[start:end], claimed.Y[start:end], claimed.Z[start:end]
		px, py, pz := before.X[start:end], before.Y[start:end], before.Z[start:end]
		x, y, z = x[:len(allow)], y[:len(allow)], z[:len(allow)]
		px, py, pz = px[:len(allow)], py[:len(allow)], pz[:len(allow)]

		var okBits, rangeBits uint64
		bit := uint64(1) << (start % 64)
		for i, a := range allow {
			if x[i] <= limit && x[i] >= -limit && y[i] <= limit && y[i] >= -limit && z[i] <= limit && z[i] >= -limit {
				rangeBits |= bit
				if squaredDistance(x[i], y[i], z[i], px[i], py[i], pz[i]) <= float32(a*a) {
					okBits |= bit
				}
			}
			bit <<= 1
		}
		// What stands below the start came from a vector kernel.
		below := uint64(1)<<(start%64) - 1
		ok[word] = ok[word]&below | okBits
		inRange[word] = inRange[word]&below | rangeBits
	}
}

func moveGeneric(to, from *Points, mask []uint64, start int) {
	x, y, z := to.X, to.Y, to.Z
	fx, fy, fz := from.X[:len(x)], from.Y[:len(x)], from.Z[:len(x)]
	y, z = y[:len(x)], z[:len(x)]
	for i := start; i < len(x); i++ {
		if mask[i/64]>>(i%64)&1 != 0 {
			x[i], y[i], z[i] = fx[i], fy[i], fz[i]
		}
	}
}

// fletcherGeneric goes on from the sums of what comes before b.
//
// Each step takes eight bytes as four even and four odd 16-bit lanes. total
// holds the sum of each byte position, prefix the sum of the totals before
// each step, so that a byte d steps before the last counts d times in prefix.
// A lane of prefix grows by at most 255+255k in step k after the lanes were
// cut to eight bits, and 16 steps stay below 65,536.
func fletcherGeneric(b []byte, before1, before2 uint32) (sum1, sum2 uint32) {
	const low = 0x00ff00ff00ff00ff

	whole := uint32(len(b) &^ 7)
	var totalEven, totalOdd, prefixEven, prefixOdd uint64
	for len(b) >= 8 {
		steps := min(len(b)/8, 16)
		for range steps {
			x := binary.LittleEndian.Uint64(b)
			prefixEven += totalEven
			prefixOdd += totalOdd
			totalEven += x & low
			totalOdd += x >> 8 & low
			b = b[8:]
		}
		totalEven &= low
		totalOdd &= low
		prefixEven &= low
		prefixOdd &= low
	}

	// The top lane of the product is the sum of the lanes, weighted by the
	// multiplier's lanes in reverse.
	const (
		ones = 0x0001000100010001
		even = 0x0008000600040002
		odd  = 0x0007000500030001
	)
	sum1 = before1 + uint32((totalEven+totalOdd)*ones>>48)
	sum2 = before2 + before1*whole + uint32((prefixEven+prefixOdd)*ones>>48)*8 +
		uint32(totalEven*even>>48) + uint32(totalOdd*odd>>48)

	for _, v := range b {
		sum1 += uint32(v)
		sum2 += sum1
	}
	return sum1, sum2
}
