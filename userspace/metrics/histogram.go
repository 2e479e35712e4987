package metrics

import (
	"math/bits"
	"sync/atomic"
)

// A value of n significant bits falls into one of 32 equal parts of its power
// of two, so a bucket is at most 1/32 wide relative to its values.
const (
	subBits = 5
	sub     = 1 << subBits

	// Values from 2^maxBits on share the last bucket.
	maxBits = 40
	buckets = (maxBits - subBits + 1) * sub
)

// bucketOf is exact below 2*sub, then logarithmic.
func bucketOf(v uint64) int {
	n := bits.Len64(v)
	if n > maxBits {
		return buckets - 1
	}
	if n <= subBits {
		return int(v)
	}
	shift := n - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - sub
}

// bucketTop is the largest value of a bucket.
func bucketTop(i int) uint64 {
	if i < 2*sub {
		return uint64(i)
	}
	shift := i>>subBits - 1
	low := uint64(i&(sub-1)+sub) << shift
	return low + 1<<shift - 1
}

// Histogram counts values in log-linear buckets with a relative error of at
// most 1/32 below 2^40. One goroutine records, others may read.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Uint64
	max    atomic.Uint64
}

// Record counts a value. It does not allocate.
func (h *Histogram) Record(v uint64) {
	c := &h.counts[bucketOf(v)]
	c.Store(c.Load() + 1)
	h.sum.Store(h.sum.Load() + v)
	if v > h.max.Load() {
		h.max.Store(v)
	}
}

// Distribution is a copy of one or more histograms. The zero value is empty.
type Distribution struct {
	counts [buckets]uint64
	count  uint64
	sum    uint64
	max    uint64
}

// Collect adds the present content of h.
func (d *Distribution) Collect(h *Histogram) {
	for i := range d.counts {
		n := h.counts[i].Load()
		d.counts[i] += n
		d.count += n
	}
	d.sum += h.sum.Load()
	d.max = max(d.max, h.max.Load())
}

// Subtract removes what an earlier copy of the same histograms held. The
// maximum then is only known to within its bucket.
func (d *Distribution) Subtract(before *Distribution) {
	d.count -= before.count
	d.sum -= before.sum
	highest := -1
	for i, n := range before.counts {
		d.counts[i] -= n
		if d.counts[i] != 0 {
			highest = i
		}
	}
	switch {
	case highest < 0:
		d.max = 0
	case before.count != 0:
		d.max = min(d.max, bucketTop(highest))
	}
}

// Count is how many values were recorded.
func (d *Distribution) Count() uint64 { return d.count }

// Max is the largest value.
func (d *Distribution) Max() uint64 { return d.max }

// Mean is the average, 0 without values.
func (d *Distribution) Mean() float64 {
	if d.count == 0 {
		return 0
	}
	return float64(d.sum) / float64(d.count)
}

// Quantile is a value that at least the fraction q of all values do not
// exceed, 0 without values. It is the top of a bucket, or the maximum.
func (d *Distribution) Quantile(q float64) uint64 {
	if d.count == 0 {
		return 0
	}
	rank := uint64(q * float64(d.count))
	if float64(rank) < q*float64(d.count) || rank == 0 {
		rank++
	}
	var seen uint64
	for i, n := range d.counts {
		seen += n
		if seen >= rank && n != 0 {
			if i == buckets-1 {
				return d.max
			}
			return min(bucketTop(i), d.max)
		}
	}
	return d.max
}
