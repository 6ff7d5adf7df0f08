package storage

import (
	"slices"
	"sync/atomic"
	"time"
)

// straight is the way of large generations: each becomes a table of level 0 by itself. Small ones pass Badger's memtable, where they gather, and its log.
//
// What is in a table may be merged down, and a deletion is forgotten in the last level: so nothing older may be left in a memtable. When several large
// generations have come, one of them fills the memtable up, and those behind it go straight as soon as it is a table.
type straight struct {
	moved atomic.Bool   // Badger has put something into a memtable by itself
	taken atomic.Uint64 // generations that went straight

	// These belong to the flusher, or to who opens Badger.
	least  int64    // bytes of a large generation
	large  int      // … that have come one behind the other
	dirty  []string // logs of the memtables that have more than filler
	filled bool     // they will be tables soon
	out    tableWriter
}

const (
	// manyLarge generations are worth a memtable of filler.
	manyLarge = 3
	// straightWait is how long the flusher waits for Badger to make a table of a memtable that is full.
	straightWait = 2 * time.Second
)

// plainRecord is a record that is no part of a generation; value nil: a deletion.
type plainRecord struct{ key, value []byte }

// recordLoader takes a generation into Badger.
type recordLoader interface {
	set(key, value []byte) error
	finish() error
}

// begin is called when Badger was opened.
func (f *straight) begin(dir string) { f.large, f.dirty, f.filled = 0, memTableLogs(dir), false }

// isLarge tells whether a generation may go straight, if others before it were large, too. Behind many of them it need not be as large: what passes the
// memtable has to be filled up again.
func (s *Store) isLarge(g *generation, values bool, beside *removal) bool {
	f := &s.straight
	least := f.least
	if f.large > manyLarge {
		least /= 4
	}
	if s.disk.reached == nil || values || int64(g.arena.filled()) < least || beside != nil && beside.rotates || s.compactors.collecting.Load() != 0 {
		f.large = 0
		return false
	}
	f.large++
	return true
}

// mayGoStraight tells whether all that is older than a large generation is in tables.
func (s *Store) mayGoStraight() bool {
	f := &s.straight
	if f.moved.Swap(false) {
		f.dirty, f.filled = memTableLogs(s.dir()), false
	}
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		f.dirty = slices.DeleteFunc(f.dirty, func(log string) bool { return !exists(log) })
		if len(f.dirty) == 0 || !f.filled || time.Since(start) > straightWait {
			break
		}
	}
	f.filled = false
	return len(f.dirty) == 0 || planted("straight-over-memtable")
}

// passed notes that a generation was put into the memtable; filled: and then as much as makes Badger begin another one.
func (f *straight) passed(dir string, filled bool) {
	f.dirty, f.filled = memTableLogs(dir), filled
	if filled && len(f.dirty) > 0 {
		f.dirty = f.dirty[:len(f.dirty)-1]
	}
}
