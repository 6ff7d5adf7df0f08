package wal

import (
	"cmp"
	"slices"
)

// pointBytes is how far apart the known places of a segment are: a Read looks through so much of it.
const pointBytes = 16 << 10

// run is a stretch of entries with consecutive indexes that lie one behind the other in one segment. A segment has one run, or more after trims.
type run struct {
	seg         *segment
	first, last uint64
	points      []point // at least the first entry
	closed      bool    // a trim follows: the next entry begins another run
}

// point is the place of an entry.
type point struct {
	index  uint64
	offset int64
}

// note adds an entry that lies behind all others.
func note(runs []run, s *segment, offset int64, index uint64) []run {
	if n := len(runs); n > 0 && runs[n-1].seg == s && runs[n-1].last+1 == index && !runs[n-1].closed {
		r := &runs[n-1]
		r.last = index
		if offset-r.points[len(r.points)-1].offset >= pointBytes {
			r.points = append(r.points, point{index, offset})
		}
		return runs
	}
	return append(runs, run{seg: s, first: index, last: index, points: []point{{index, offset}}})
}

// cut takes away all entries from index on.
func cut(runs []run, index uint64) []run {
	for n := len(runs); n > 0 && runs[n-1].last >= index; n-- {
		r := &runs[n-1]
		if r.first >= index {
			runs = runs[:n-1]
			continue
		}
		r.last = index - 1
		for r.points[len(r.points)-1].index >= index {
			r.points = r.points[:len(r.points)-1]
		}
	}
	if n := len(runs); n > 0 {
		runs[n-1].closed = true
	}
	return runs
}

// find returns the run that has index, and the last point in it at or before index.
func find(runs []run, index uint64) (run, point, bool) {
	i, ok := slices.BinarySearchFunc(runs, index, func(r run, index uint64) int {
		switch {
		case r.last < index:
			return -1
		case r.first > index:
			return 1
		}
		return 0
	})
	if !ok {
		return run{}, point{}, false
	}
	r := runs[i]
	p, exact := slices.BinarySearchFunc(r.points, index, func(p point, index uint64) int { return cmp.Compare(p.index, index) })
	if !exact {
		p--
	}
	return r, r.points[p], true
}
