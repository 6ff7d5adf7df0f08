package server

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts how long something took, to about one percent: from 1 ns to a second in buckets that are even within an octave and
// twice as wide in the next. An octave gets its memory when something falls into it, 1 KiB, and a command falls into few. It may be
// written and read at any time, without a lock.
//
// Buckets, percentiles and limits are those of the histograms in Redis, so that the figures that are made from them look alike.
type histogram struct {
	octaves [octaves]atomic.Pointer[octave]
	sumNs   atomic.Uint64
}

const (
	octaveBuckets = 128
	octaves       = 24 // up to 2³⁰ ns
	longestNs     = int64(time.Second)
)

type octave [octaveBuckets]atomic.Uint64

// bucketOf is where a duration is counted: the octave and the bucket in it. The first two octaves have buckets of 1 ns.
func bucketOf(ns int64) (o, bucket int) {
	if ns < octaveBuckets {
		return 0, int(ns)
	}
	shift := bits.Len64(uint64(ns)) - 8
	return shift + 1, int(ns>>shift) - octaveBuckets
}

// bucketNs returns the shortest and the longest duration that a bucket counts.
func bucketNs(o, bucket int) (from, to int64) {
	if o == 0 {
		return int64(bucket), int64(bucket)
	}
	from = int64(octaveBuckets+bucket) << (o - 1)
	return from, from + 1<<(o-1) - 1
}

// note counts n durations.
func (h *histogram) note(took time.Duration, n uint64) {
	ns := min(max(int64(took), 1), longestNs)
	o, bucket := bucketOf(ns)
	counts := h.octaves[o].Load()
	if counts == nil {
		h.octaves[o].CompareAndSwap(nil, new(octave))
		counts = h.octaves[o].Load()
	}
	counts[bucket].Add(n)
	h.sumNs.Add(n * uint64(max(took, 0)))
}

// times is a histogram at a moment, or several of them added up.
type times struct {
	octaves [octaves]*[octaveBuckets]uint64
	count   uint64
	sumNs   uint64
}

func (h *histogram) addTo(t *times) {
	t.sumNs += h.sumNs.Load()
	for o := range h.octaves {
		counts := h.octaves[o].Load()
		if counts == nil {
			continue
		}
		if t.octaves[o] == nil {
			t.octaves[o] = new([octaveBuckets]uint64)
		}
		for i := range counts {
			n := counts[i].Load()
			t.octaves[o][i] += n
			t.count += n
		}
	}
}

// times is the histogram at this moment.
func (h *histogram) times() times {
	var t times
	h.addTo(&t)
	return t
}

// each calls f with the buckets that have counted something, shortest first, until it returns false.
func (t *times) each(f func(from, to int64, count uint64) bool) {
	for o, counts := range t.octaves {
		if counts == nil {
			continue
		}
		for i, n := range counts {
			if n > 0 {
				if from, to := bucketNs(o, i); !f(from, to, n) {
					return
				}
			}
		}
	}
}

// percentile is the duration that so many percent of all did not exceed.
func (t *times) percentile(percent float64) (ns int64) {
	wanted := max(uint64(percent/100*float64(t.count)+0.5), 1)
	var sum uint64
	t.each(func(from, to int64, count uint64) bool {
		sum += count
		ns = to
		if percent == 0 {
			ns = from
		}
		return sum < wanted
	})
	return ns
}

// step is how many took up to so long.
type step struct {
	toNs  int64
	count uint64
}

// doublings are the cumulative counts at 1.024 µs, twice that, and so on up to a second.
func (t *times) doublings() []step {
	var steps []step
	for ns := int64(1024); ns < 1<<30; ns *= 2 {
		_, to := bucketNs(bucketOf(ns))
		steps = append(steps, step{toNs: to})
	}
	steps = append(steps, step{toNs: 1<<30 - 1})
	i := 0
	var sum uint64
	t.each(func(_, to int64, count uint64) bool {
		for ; to > steps[i].toNs; i++ {
			steps[i].count = sum
		}
		sum += count
		return true
	})
	for ; i < len(steps); i++ {
		steps[i].count = sum
	}
	return steps
}

// below are the cumulative counts of what took less than each of bounds, which are powers of two.
func (t *times) below(bounds []int64) []uint64 {
	counts := make([]uint64, len(bounds))
	t.each(func(_, to int64, count uint64) bool {
		for i, bound := range bounds {
			if to < bound {
				counts[i] += count
			}
		}
		return true
	})
	return counts
}
