package server

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestHistogram compares percentiles with those of the sorted durations themselves.
func TestHistogram(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	var h histogram
	var all []int64
	for range 10_000 {
		ns := int64(1) << r.IntN(30)
		ns += r.Int64N(ns)
		h.note(time.Duration(ns), 1)
		all = append(all, min(ns, longestNs))
	}
	slices.Sort(all)
	got := h.times()
	for _, p := range []float64{0, 1, 25, 50, 90, 99, 99.9, 100} {
		want := all[max(int(p/100*float64(len(all))+0.5), 1)-1]
		if ns := got.percentile(p); float64(ns) < 0.99*float64(want) || float64(ns) > 1.01*float64(want) {
			t.Errorf("seed %d: p%g is %d, want about %d", seed, p, ns, want)
		}
	}
	if got.count != 10_000 {
		t.Errorf("count %d", got.count)
	}
	for _, s := range got.doublings() {
		want, _ := slices.BinarySearch(all, s.toNs+1)
		if s.count != uint64(want) {
			t.Errorf("seed %d: %d up to %d, want %d", seed, s.count, s.toNs, want)
		}
	}
}

// TestHistogramBuckets: each bucket begins where the one before it ends, and counts what is between.
func TestHistogramBuckets(t *testing.T) {
	t.Parallel()
	next := int64(0)
	for o := range octaves {
		for i := range octaveBuckets {
			from, to := bucketNs(o, i)
			if from != next || to < from {
				t.Fatalf("octave %d bucket %d is %d to %d, want it from %d", o, i, from, to, next)
			}
			for _, ns := range []int64{from, to} {
				if gotO, gotI := bucketOf(ns); gotO != o || gotI != i {
					t.Fatalf("%d is in %d/%d, want %d/%d", ns, gotO, gotI, o, i)
				}
			}
			next = to + 1
		}
	}
	if next != 1<<30 {
		t.Errorf("the last bucket ends before %d", next)
	}
}

func TestHistogramAtOnce(t *testing.T) {
	t.Parallel()
	var h histogram
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 10_000 {
				h.note(time.Duration(i), 1)
			}
		})
	}
	all.Wait()
	if got := h.times(); got.count != 80_000 || got.sumNs != 8*10_000*9_999/2 {
		t.Errorf("%d, together %d ns", got.count, got.sumNs)
	}
}
