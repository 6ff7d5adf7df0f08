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

// find returns what the tables have of a record, nil if it is not there or deleted. ok is false if only Badger can tell.
func (r *reached) find(key []byte, version uint64) (stored []byte, ok bool, err error) {
	s := search{key: key, version: version, hash: y.Hash(key)}
	if err := s.level0(r.lc.levels[0]); err != nil {
		return nil, false, err
	}
	for i, lv := range r.lc.levels[1:] {
		if err := s.level(lv, i+1 == LastLevel); err != nil {
			return nil, false, err
		}
	}
	return s.stored, !s.unclear, nil
}

// level0 searches the tables that may have the record, by their filters.
func (s *search) level0(lv *mirrorLevel) error {
	var room [8]*badgertable.Table
	some := room[:0]
	lv.RLock()
	for _, t := range lv.tables {
		if !t.DoesNotHave(s.hash) {
			t.IncrRef()
			some = append(some, t)
		}
	}
	lv.RUnlock()
	for i := len(some) - 1; i >= 0; i-- {
		if err := s.table(some[i]); err != nil {
			return err
		}
	}
	return nil
}

// level searches the one table of another level that may have the record. In the last one mostly all are that are asked for: absent ones have been ruled
// out before.
func (s *search) level(lv *mirrorLevel, last bool) error {
	lv.RLock()
	i := sort.Search(len(lv.tables), func(i int) bool { return compareKey(lv.tables[i].Biggest(), s.key, s.version) >= 0 })
	if i == len(lv.tables) || !s.wants(lv.tables[i]) {
		lv.RUnlock()
		return nil
	}
	t := lv.tables[i]
	t.IncrRef()
	lv.RUnlock()
	if !last && t.DoesNotHave(s.hash) {
		return t.DecrRef()
	}
	return s.table(t)
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
