package metrics

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for c := range counters {
		name := c.String()
		if name == "" || seen[name] {
			t.Errorf("counter %d: label %q is empty or taken", c, name)
		}
		seen[name] = true
	}
}

func TestBuckets(t *testing.T) {
	last := -1
	for i := range buckets - 1 {
		top := bucketTop(i)
		if got := bucketOf(top); got != i {
			t.Fatalf("top %d of bucket %d is in bucket %d", top, i, got)
		}
		if got := bucketOf(top + 1); got != i+1 {
			t.Fatalf("value %d after bucket %d is in bucket %d", top+1, i, got)
		}
		last = i
	}
	if got := bucketOf(1<<63 + 5); got != last+1 {
		t.Errorf("huge value: got bucket %d, want the last, %d", got, last+1)
	}
}

func TestQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	shapes := []struct {
		name string
		draw func() uint64
	}{
		{"constant", func() uint64 { return 777 }},
		{"uniform", func() uint64 { return rng.Uint64N(100_000) }},
		{"exponential", func() uint64 { return uint64(rng.ExpFloat64() * 5000) }},
		{"wide", func() uint64 { return rng.Uint64() >> (24 + rng.UintN(39)) }},
	}
	for _, tt := range shapes {
		t.Run(tt.name, func(t *testing.T) {
			var (
				h    Histogram
				d    Distribution
				all  []uint64
				want float64
			)
			for range 20_000 {
				v := tt.draw()
				h.Record(v)
				all = append(all, v)
				want += float64(v)
			}
			slices.Sort(all)
			d.Collect(&h)
			if d.Count() != uint64(len(all)) || d.Max() != all[len(all)-1] {
				t.Errorf("count %d max %d, want %d and %d", d.Count(), d.Max(), len(all), all[len(all)-1])
			}
			if got := d.Mean(); got < want/float64(len(all))*0.999 || got > want/float64(len(all))*1.001 {
				t.Errorf("mean: got %v, want %v", got, want/float64(len(all)))
			}
			for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
				exact := all[max(0, int(q*float64(len(all))+0.5)-1)]
				got := d.Quantile(q)
				if got < exact || float64(got) > float64(exact)*(1+2.0/sub)+1 {
					t.Errorf("quantile %v: got %d, want %d to %d", q, got, exact, exact+exact/sub*2)
				}
			}
		})
	}
}

func TestEmptyDistribution(t *testing.T) {
	var d Distribution
	if d.Quantile(0.5) != 0 || d.Mean() != 0 || d.Max() != 0 {
		t.Errorf("got %d, %v, %d, want zeros", d.Quantile(0.5), d.Mean(), d.Max())
	}
}

func TestCollectEqualsRecordingTogether(t *testing.T) {
	var a, b, both Histogram
	for i := range uint64(5000) {
		v := i * i % 70_001
		both.Record(v)
		if i%3 == 0 {
			a.Record(v)
		} else {
			b.Record(v)
		}
	}
	var got, want Distribution
	got.Collect(&a)
	got.Collect(&b)
	want.Collect(&both)
	if got != want {
		t.Error("collected distribution differs from one recorded together")
	}
}

func TestSince(t *testing.T) {
	var set Set
	set.Add(Commits, 5)
	set.RTT.Record(9000)
	var before, after Snapshot
	before.Collect(&set)
	set.Add(Commits, 7)
	set.RTT.Record(100)
	set.RTT.Record(200)
	after.Collect(&set)

	d := after.Since(&before)
	if got := d.Get(Commits); got != 7 {
		t.Errorf("commits: got %d, want 7", got)
	}
	if d.RTT.Count() != 2 || d.RTT.Max() < 200 || d.RTT.Max() > 207 {
		t.Errorf("rtt: got %d values, at most %d, want 2 values, about 200", d.RTT.Count(), d.RTT.Max())
	}
	if again := after.Since(&after); again.RTT.Quantile(1) != 0 || again.RTT.Max() != 0 {
		t.Errorf("nothing happened, yet the maximum is %d", again.RTT.Max())
	}
}

// Readers run while the writer writes: the race detector watches, and no
// count is lost.
func TestConcurrentRead(t *testing.T) {
	var (
		set  Set
		wg   sync.WaitGroup
		done = make(chan struct{})
	)
	wg.Go(func() {
		var last uint64
		for {
			var s Snapshot
			s.Collect(&set)
			if s.Get(Messages) < last {
				t.Errorf("counter went from %d to %d", last, s.Get(Messages))
			}
			last = s.Get(Messages)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for range 10_000 {
		set.Add(Messages, 1)
		set.RTT.Record(3)
	}
	close(done)
	wg.Wait()
	if got := set.Get(Messages); got != 10_000 {
		t.Errorf("got %d, want 10000", got)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	set := new(Set)
	if n := testing.AllocsPerRun(1000, func() {
		set.Add(Commits, 1)
		set.RTT.Record(12345)
	}); n != 0 {
		t.Errorf("allocations: got %v, want 0", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	set := new(Set)
	var v uint64
	for b.Loop() {
		v += 7919
		set.RTT.Record(v & 0xfffff)
	}
}
