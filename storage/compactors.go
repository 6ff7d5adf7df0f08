package storage

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sett/threads"
)

// compactors are the goroutines that merge levels which are over their targets into the next ones. Where Badger's levels are out of reach there
// are none, and Badger has its own.
type compactors struct {
	n        sync.WaitGroup
	stop     chan struct{}
	stopping atomic.Bool // also for compactions of others

	// collecting is what DiscardTs was when a value log file began to be collected; 0: none is. What is moved may be as old as that, so what deletes
	// it has to stay.
	collecting atomic.Uint64
}

const (
	// numCompactors: while one merges level 0, the other one goes on below.
	numCompactors = 2

	compactEvery = 50 * time.Millisecond
	// compactAgain is how long a compaction that failed is left alone.
	compactAgain = 10 * time.Second
)

// errStopped: the store is being closed.
var errStopped = errors.New("storage: a compaction was given up")

// manifestError: Badger's list of tables could not be written, and nobody knows what the next start will find there.
type manifestError struct{ error }

func (e manifestError) Unwrap() error { return e.error }

// terms are what a compaction goes by.
type terms struct {
	discard uint64                             // of the versions up to this one nobody reads any but the newest
	drop    [][]byte                           // prefixes of keys that are dead, whatever their version
	verify  func(id uint64, data []byte) error // compares a table's checksums
	guard   func(key []byte, err *error)       // is deferred where Badger may panic
	stop    func() bool                        // whether to give up
	note    func(tables []uint64)              // is told of new tables when they are in use
}

func (s *Store) terms(drop [][]byte) terms {
	t := terms{
		discard: s.DiscardTs(), drop: drop, verify: s.verifyMapped, guard: s.disk.guard, stop: s.compactors.stopping.Load, note: s.ledger.ours,
	}
	if oldest := s.compactors.collecting.Load(); oldest > 0 {
		t.discard = min(t.discard, oldest)
	}
	return t
}

// badgersCompactors is how many Badger has.
func badgersCompactors() int {
	if reachable() == nil {
		return 0
	}
	return 2
}

// startCompactors is called when Badger is open.
func (s *Store) startCompactors() {
	c := &s.compactors
	c.stop = make(chan struct{})
	c.stopping.Store(false)
	if s.disk.unreached != "" {
		return
	}
	for id := range numCompactors {
		c.n.Go(func() { s.compactorLoop(id) })
	}
}

// stopCompactors returns when no compactor has Badger any more. What they were at is given up.
func (s *Store) stopCompactors() {
	c := &s.compactors
	c.stopping.Store(true)
	if c.stop != nil {
		close(c.stop)
		c.n.Wait()
		c.stop = nil
	}
}

func (s *Store) compactorLoop(id int) {
	threads.GiveWay()
	for pause := compactEvery; ; {
		select {
		case <-s.compactors.stop:
			return
		case <-time.After(pause):
		}
		var over bool
		if pause, over = s.afterMerge(s.compactDue(id)); over {
			return
		}
	}
}

// afterMerge tells how a compactor goes on after a compaction that was due: after a pause, or not at all.
func (s *Store) afterMerge(err error) (pause time.Duration, over bool) {
	var unknown manifestError
	switch {
	case err == nil || errors.Is(err, errStopped):
		return compactEvery, false
	case errors.As(err, &unknown):
		s.opts.Fatal(err)
		return 0, true
	}
	s.stats.MergesFailed.Add(1)
	s.opts.Logger.Error("a compaction failed; nothing is lost, and it is tried again, but writes have to wait when too much has gathered",
		"err", err, "again_in", compactAgain)
	return compactAgain, false
}

// compactDue does one compaction, if one is due. The first compactor prefers level 0.
func (s *Store) compactDue(id int) (err error) {
	if !s.disk.inUse.TryRLock() {
		return nil // DEBUG RELOAD
	}
	defer s.disk.inUse.RUnlock()
	defer s.disk.guard(nil, &err)
	return s.disk.reached.compact(id, id == 0, s.terms(nil))
}

// verifyMapped compares the checksums of a table that is about to be merged: what Badger reads of a damaged block is that there is nothing, and the
// compaction would make that the truth.
func (s *Store) verifyMapped(id uint64, data []byte) error {
	if err := verifyTableData(data); err != nil {
		return s.disk.damagedFile(tableName(id), err.Error())
	}
	return nil
}

func verifyTableData(data []byte) error {
	t, err := openTable(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	for i := range t.blocks() {
		_, offset, length := t.firstKey(i)
		if offset < 0 || length < 0 || offset+int64(length) > int64(len(data)) {
			return fmt.Errorf("the block at offset %d ends behind the end", offset)
		}
		block, sum, ok := cutTableSum(data[offset : offset+int64(length)])
		if !ok || !bytes.Equal(sum, tableSum(block)) {
			return fmt.Errorf("the block at offset %d fails its checksum", offset)
		}
	}
	return nil
}
