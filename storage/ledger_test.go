package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// strays puts files in the way of the next tables that Badger makes, and returns how to take them away.
func strays(t *testing.T, s *Store) (remove func()) {
	t.Helper()
	highest := uint64(0)
	for _, table := range s.Tables() {
		highest = max(highest, table.ID)
	}
	var names []string
	for id := highest + 1; id < highest+30; id++ {
		name := filepath.Join(s.dir(), tableName(id))
		must(t, os.Mkdir(name, 0o700))
		names = append(names, name)
	}
	return func() {
		for _, name := range names {
			os.Remove(name)
		}
	}
}

// filled is a store with keys in the last level and in level 0, and a Fatal that is noted.
func filled(t *testing.T, dir string) (s *Store, fatal *atomic.Pointer[error]) {
	t.Helper()
	fatal = new(atomic.Pointer[error])
	o := small()
	o.Fatal = func(err error) { fatal.CompareAndSwap(nil, &err) }
	s = openStore(t, dir, o, &memLog{})
	for round := range 2 {
		for i := range 2000 {
			set(t, s, fmt.Sprintf("sa%d%06d", round, i), strings.Repeat("v", 100))
		}
		flushAndSync(t, s)
		must(t, s.Rotate(nil))
		must(t, s.Barrier())
		if round == 0 && s.CompactsRanges() == "" { // or else Badger's own way has nothing to do yet
			patiently(t, func() error { _, err := s.MergeLevel0(nil); return err })
		}
	}
	return s, fatal
}

// TestLedger has Badger fail to write what a compaction of its own makes. Badger says nothing, and the keys are gone; so the store must stop, keep what
// was merged, and refuse to open again.
func TestLedger(t *testing.T) {
	dir := t.TempDir()
	s, fatal := filled(t, dir)
	if why := s.CompactsRanges(); why != "" {
		t.Skip(why)
	}
	merged := s.Tables()
	remove := strays(t, s)
	defer remove()
	err := s.Compact()
	s.DropCache()
	lost := get(t, s, "sa0000000") == ""
	if fatal.Load() == nil {
		t.Fatalf("the store goes on. Keys are lost: %v; the compaction said %v", lost, err)
	}
	if !lost {
		t.Error("nothing was lost, so this test shows nothing")
	}
	if !strings.Contains((*fatal.Load()).Error(), "lost") {
		t.Error(*fatal.Load())
	}
	for _, table := range merged {
		if _, err := os.Stat(filepath.Join(s.dir(), tableName(table.ID))); err != nil {
			t.Error("what was merged is gone: ", err)
		}
	}
	remove()
	s.Close(false)
	d, err := OpenDir(OSFS{}, dir)
	if err == nil {
		d.Close()
	}
	again := &Store{opts: small().withDefaults(&Dir{fs: OSFS{}})}
	again.setDir(s.dir())
	var refused *RefusedError
	if err := again.openBadger(); !errors.As(err, &refused) || !strings.Contains(err.Error(), lostFile) {
		t.Errorf("the next start says %v", err)
	}
}

// A loss that Badger reports itself is none: it has kept what was there.
func TestLedgerBalances(t *testing.T) {
	s, fatal := filled(t, t.TempDir())
	must(t, s.Compact())
	s.ledger.mu.Lock()
	running, fresh := len(s.ledger.running), len(s.ledger.fresh)
	s.ledger.mu.Unlock()
	if running != 0 || fresh > 2 || fatal.Load() != nil { // two that a memtable left
		t.Errorf("%d compactions are open, %d tables are nobody's, fatal: %v", running, fresh, fatal.Load())
	}
}
