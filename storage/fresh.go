package storage

import (
	"errors"
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
)

// fresh tells which records may lie in one of Badger's memtables. All others are looked for in its tables, by ourselves (badgerget.go).
//
// What the flusher writes is entered in a brood, a Bloom filter, before its generation is unlinked, as in filter.go. When Badger has begun another
// memtable a brood is closed, and it goes when the logs of the memtables that were there by then have gone: Badger removes a log when the
// memtable is in a table. What the last life of the process has left in memtables is a brood of which nobody knows what is in it.
//
// Only records of the kinds that are filtered count: the flusher alone writes those, and never into the value log.
type fresh struct {
	seed   maphash.Seed
	words  int                      // of a filter
	broods atomic.Pointer[[]*bloom] // nil: every record may be in a memtable
	direct atomic.Uint64            // records that were looked for without Badger

	// These belong to the flusher, or to who opens Badger.
	dir    string
	now    *bloom   // nil: tables are out of reach
	logs   []string // those that there were when now was begun
	closed []brood
}

// brood are records, and the logs that have them.
type brood struct {
	*bloom // nil: nobody knows which they are
	logs   []string
}

// freshShare is the part of a memtable that a filter of its records has as its size: for the smallest records a byte each.
const freshShare = 64

func (f *fresh) init(seed maphash.Seed, memTable int64) {
	f.seed, f.words = seed, int(memTable/freshShare/32*8)
}

// mayBe tells whether a record may be in a memtable.
func (f *fresh) mayBe(hash uint64) bool {
	broods := f.broods.Load()
	if broods == nil {
		return true
	}
	for _, b := range *broods {
		if b.has(hash) {
			return true
		}
	}
	return false
}

// begin is called when Badger has been opened, before anything is written. logs are those that it found.
func (f *fresh) begin(dir string, logs []string, reached bool) {
	f.broods.Store(nil)
	f.dir, f.logs, f.now, f.closed = dir, nil, nil, nil
	if reached {
		f.now, f.logs, f.closed = newBloom(f.words), memTableLogs(dir), []brood{{nil, logs}}
		f.look()
	}
}

// enter adds a record that is in Badger now.
func (f *fresh) enter(hash uint64) {
	if f.now != nil && !planted("fresh-forgets") {
		f.now.add(hash)
	}
}

// entered is called behind all records of a flush.
func (f *fresh) entered() {
	if f.now == nil {
		return
	}
	logs := memTableLogs(f.dir)
	if slices.ContainsFunc(logs, func(log string) bool { return !slices.Contains(f.logs, log) }) {
		f.closed = append(f.closed, brood{f.now, logs})
		f.now, f.logs = newBloom(f.words), logs
	}
	f.look()
}

// look has the broods go of which everything is in tables.
func (f *fresh) look() {
	if f.now == nil {
		return
	}
	f.closed = slices.DeleteFunc(f.closed, func(b brood) bool { return !slices.ContainsFunc(b.logs, exists) })
	broods := []*bloom{f.now}
	for _, b := range f.closed {
		if b.bloom == nil {
			return
		}
		broods = append(broods, b.bloom)
	}
	f.broods.Store(&broods)
}

// exists tells whether a file may be there.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// memTableLogs lists the logs of Badger's memtables, oldest first: their names are numbers of five digits, or more.
func memTableLogs(dir string) (paths []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".mem") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	slices.SortStableFunc(paths, func(a, b string) int { return len(a) - len(b) })
	return paths
}
