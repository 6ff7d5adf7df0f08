package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// Badger's levels, as those see them who give space back: its tables, and what can be done to some of them while everybody goes on. What cannot
// be done when Badger's own functions are out of reach (CompactsRanges) is done with the public ones, by Compact.

// Table is one of Badger's.
type Table struct {
	ID          uint64
	Level       int
	First, Last []byte // its first and its last key
	Records     int64  // with all versions and deletions
	Bytes       int64
	Version     uint64 // the newest one in it
}

// Overlaps tells whether a table has keys in a range, or around it.
func (t Table) Overlaps(r Range) bool {
	return bytes.Compare(t.First, r.Upper) < 0 && bytes.Compare(t.Last, r.Lower) >= 0
}

// Within tells whether a range holds all keys of a table.
func (t Table) Within(r Range) bool {
	return bytes.Compare(t.First, r.Lower) >= 0 && bytes.Compare(t.Last, r.Upper) < 0
}

// LastLevel is Badger's last one.
const LastLevel = 6

// Tables lists Badger's tables, level by level; in level 0 the oldest first, in the others in the order of keys.
func (s *Store) Tables() (tables []Table) {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	for _, t := range s.disk.db.Tables() {
		tables = append(tables, Table{
			ID: t.ID, Level: t.Level, First: userKey(t.Left), Last: userKey(t.Right), Records: int64(t.KeyCount), Bytes: tableBytes(t), Version: t.MaxVersion,
		})
	}
	slices.SortStableFunc(tables, func(a, b Table) int {
		if a.Level != b.Level || a.Level == 0 {
			return a.Level - b.Level
		}
		return bytes.Compare(a.First, b.First)
	})
	return tables
}

// tableBytes is the size of a table's file. What Badger calls its size on disk contains what lies in the value log, which no compaction touches.
func tableBytes(t badger.TableInfo) int64 { return int64(t.UncompressedSize) + int64(t.IndexSz) }

// Rewritten is what a compaction did.
type Rewritten struct {
	Tables        int   // that were read
	Before, After int64 // bytes of those, and of the new ones
	Dropped       int64 // records
}

// Plus adds up.
func (r Rewritten) Plus(o Rewritten) Rewritten {
	return Rewritten{r.Tables + o.Tables, r.Before + o.Before, r.After + o.After, r.Dropped + o.Dropped}
}

var (
	// ErrBusy: Badger is compacting some of these tables. Later it may go.
	ErrBusy = errors.New("storage: Badger is compacting there already")
	// ErrNoRoom is an ErrBusy that does not pass by itself: the disk has no room for what is to be written.
	ErrNoRoom = fmt.Errorf("storage: there is no room to compact (%w)", ErrBusy)
	// errGone: the tables are no longer there. Badger has compacted them itself.
	errGone = errors.New("storage: the tables are gone")
)

// ourCompactor is who compacts on behalf of others; compactors are numbered from 0.
const ourCompactor = 1000

// CompactsRanges tells whether the following three can do anything; why is empty if they can.
func (s *Store) CompactsRanges() (why string) { return s.disk.unreached }

// RewriteTables writes some tables of one level anew, where they are: consecutive ones, few at a time, or the compactors keep them
// busy for ever. What is dead in them goes; with drop, all that begins with one of its prefixes goes as well, whatever its version: it has to be dead
// at DiscardTs. One caller at a time works on Badger.
func (s *Store) RewriteTables(tables []Table, drop [][]byte) (Rewritten, error) {
	invariant(len(tables) > 0 && tables[0].Level > 0, "rewriting tables of level 0")
	ids := make([]uint64, len(tables))
	for i, t := range tables {
		ids[i] = t.ID
	}
	return s.compacting(tables, func() (made, error) {
		return s.disk.reached.rewrite(ourCompactor, tables[0].Level, ids, s.terms(drop))
	})
}

// PushDown merges a table of a level between 0 and the last one into the next level.
func (s *Store) PushDown(t Table, drop [][]byte) (Rewritten, error) {
	invariant(t.Level > 0 && t.Level < LastLevel, "pushing down a table of level %d", t.Level)
	inputs := []Table{t}
	for _, below := range s.Tables() {
		if below.Level == t.Level+1 && bytes.Compare(below.First, t.Last) <= 0 && bytes.Compare(below.Last, t.First) >= 0 {
			inputs = append(inputs, below)
		}
	}
	return s.compacting(inputs, func() (made, error) { return s.disk.reached.pushDown(ourCompactor, t.Level, t.ID, s.terms(drop)) })
}

// MergeLevel0 merges level 0 with the level below it that Badger fills at present.
func (s *Store) MergeLevel0(drop [][]byte) (Rewritten, error) {
	var inputs []Table
	base := 0
	for _, t := range s.Tables() {
		if base == 0 && t.Level > 0 {
			base = t.Level
		}
		if t.Level == 0 || t.Level == base {
			inputs = append(inputs, t)
		}
	}
	return s.compacting(inputs, func() (made, error) { return s.disk.reached.mergeLevel0(ourCompactor, s.terms(drop)) })
}

// compacting runs a compaction of ours over inputs.
func (s *Store) compacting(inputs []Table, run func() (made, error)) (done Rewritten, err error) {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	if s.disk.unreached != "" {
		return done, ErrBusy
	}
	for _, t := range inputs {
		done.Tables++
		done.Before += t.Bytes
		done.Dropped += t.Records
	}
	if !s.roomToCompact(done.Before) {
		return Rewritten{}, ErrNoRoom
	}
	defer s.disk.guard(nil, &err)
	made, err := run()
	var unknown manifestError
	switch {
	case errors.Is(err, errGone):
		return Rewritten{}, nil
	case errors.As(err, &unknown):
		s.opts.Fatal(err)
		fallthrough
	case err != nil:
		return Rewritten{}, err
	}
	done.After = made.bytes
	done.Dropped -= made.records
	s.filter.left.Add(done.Dropped) // not all of these were in it, and it is only asked whether to build it anew
	return done, nil
}

// BytesWithin estimates how much of a table lies in a range: by its blocks, without reading them.
func (s *Store) BytesWithin(t Table, r Range) (sum int64, err error) {
	switch {
	case !t.Overlaps(r):
		return 0, nil
	case t.Within(r):
		return t.Bytes, nil
	}
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	f, table, err := openTableFile(s.dir(), t.ID)
	if err != nil {
		return 0, s.damagedTable(t.ID, err)
	}
	defer f.Close()
	for i := range table.blocks() {
		first, _, length := table.firstKey(i)
		if key := userKey(first); bytes.Compare(key, r.Lower) >= 0 && bytes.Compare(key, r.Upper) < 0 {
			sum += int64(length)
		}
	}
	return sum, nil
}

// roomToCompact tells whether the disk has room for so many bytes twice. Like deletes it may use the reserve: it gives space back.
func (s *Store) roomToCompact(bytes int64) bool {
	s.lookAtDisk()
	return s.guard.free.Load() >= s.promised()+bytes
}
