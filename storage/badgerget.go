//go:build !sett_nolink

package storage

import (
	"bytes"
	"sort"

	badgertable "github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
)

// A record that is in no memtable is found in Badger's tables as they lie in memory, mapped: without a transaction, iterators, and copies of all keys
// that are met on the way. Like Badger we take the newest version of all that are found, from level 0 down: what a compaction moves meanwhile
// is below before it goes above. A table that has nothing newer than what was found is left out, mostly all that are left.

// search is one search for a record.
type search struct {
	key     []byte
	version uint64 // not newer than this one
	hash    uint32 // for Badger's Bloom filters

	found   bool
	at      uint64 // its version
	stored  []byte // nil: it is deleted
	unclear bool   // it is nothing that is known here
}

// find returns what the tables have of a record, nil if it is not there or deleted. doubtful: it may well be absent. ok is false if only Badger can tell.
func (r *reached) find(key []byte, version uint64, doubtful bool) (stored []byte, ok bool, err error) {
	s := search{key: key, version: version, hash: y.Hash(key)}
	if err := s.level0(r.lc.levels[0]); err != nil {
		return nil, false, err
	}
	for i, lv := range r.lc.levels[1:] {
		if err := s.level(lv, doubtful || i+1 < LastLevel); err != nil {
			return nil, false, err
		}
	}
	return s.stored, !s.unclear, nil
}

// level0 searches the tables that may have the record, by their filters.
func (s *search) level0(lv *mirrorLevel) error {
	var room [8]*badgertable.Table
	some := s.some(lv, room[:0])
	for i := len(some) - 1; i >= 0; i-- {
		if err := s.table(some[i]); err != nil {
			return err
		}
	}
	return nil
}

// some appends the tables of level 0 that may have the record, with a reference to each. Their filters are asked with the level's lock held: references
// to all of them would take longer.
func (s *search) some(lv *mirrorLevel, to []*badgertable.Table) []*badgertable.Table {
	lv.RLock()
	defer lv.RUnlock()
	for _, t := range lv.tables {
		if !t.DoesNotHave(s.hash) {
			t.IncrRef()
			to = append(to, t)
		}
	}
	return to
}

// level searches the one table of another level that may have the record. In the last one mostly all are that are asked for, if absent ones have been
// ruled out before: there its filter is asked only in doubt.
func (s *search) level(lv *mirrorLevel, ask bool) error {
	t := s.one(lv)
	switch {
	case t == nil:
		return nil
	case ask && t.DoesNotHave(s.hash):
		return t.DecrRef()
	}
	return s.table(t)
}

// one returns that table with a reference to it, nil if it has nothing newer.
func (s *search) one(lv *mirrorLevel) *badgertable.Table {
	lv.RLock()
	defer lv.RUnlock()
	i := sort.Search(len(lv.tables), func(i int) bool { return compareKey(lv.tables[i].Biggest(), s.key, s.version) >= 0 })
	if i == len(lv.tables) || !s.wants(lv.tables[i]) {
		return nil
	}
	lv.tables[i].IncrRef()
	return lv.tables[i]
}

// wants tells whether a table may have something newer than what was found.
func (s *search) wants(t *badgertable.Table) bool { return !s.found || t.MaxVersion() > s.at }

// table searches a table and lets go of it.
func (s *search) table(t *badgertable.Table) error {
	if s.wants(t) {
		s.within(t.Data[:t.Size()])
	}
	return t.DecrRef()
}

// within panics, as Badger does, where a table is malformed.
func (s *search) within(data []byte) {
	r, at, found := findStored(data, s.key, s.version)
	if !found || s.found && at <= s.at {
		return
	}
	s.found, s.at, s.stored, s.unclear = true, at, nil, false
	switch {
	case r.meta&metaDeleted != 0:
	case r.meta&metaPointer != 0 || r.expiresAt != 0:
		s.unclear = true
	default:
		s.stored = bytes.Clone(r.value)
	}
}
