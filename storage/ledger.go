package storage

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// The ledger of compactions. When Badger cannot write one of the tables that a compaction makes – no file descriptor, no memory to map it, an
// error of the disk – it drops the error, and then the tables that were merged: their keys are gone, and nobody is told. So we count. Badger
// says how many records it has put into each table that it is about to write; a table with as many must have appeared by the time the
// compaction is done. If one has not, the node stops, and what was merged stays on the disk: the next start refuses, until somebody
// has looked.
//
// Tables may be compacted further as soon as they have appeared. But before it replaces them that compaction says that it has read
// its part, and each time anybody says anything the ledger looks at the list of tables: so it sees each of them at least once.
type ledger struct {
	lost func(*account) // is told of a compaction that has lost tables; what it holds stays held

	mu      sync.Mutex
	db      *badger.DB    // nil: not open yet, or no longer
	hold    func() func() // keeps the files of present tables; nil: out of reach
	opening chan struct{} // closed when db is set, or will not be
	seen    map[uint64]made
	fresh   map[uint64]made // seen, and made by nobody yet
	running map[int]*account
	spare   []*os.File // descriptors for the note of a loss, which the want of them may have caused
}

const spareFiles = 4

// made is what is in a table, or several.
type made struct {
	records, bytes int64
}

// account is what one compactor is doing.
type account struct {
	compactor int
	expected  []int64 // records of the tables that it writes
	missing   []int64 // … that have not appeared
	release   func()  // lets go of what it merges; nil: nothing is held
}

func (l *ledger) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opening = make(chan struct{})
	l.seen, l.fresh, l.running = make(map[uint64]made), make(map[uint64]made), make(map[int]*account)
}

// opened is called when Badger is open, or could not be (nil). Compactions that began meanwhile have waited for it.
func (l *ledger) opened(db *badger.DB, hold func() func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.db, l.hold = db, hold
	if db != nil {
		l.keepSpare()
		for _, t := range db.Tables() {
			l.seen[t.ID] = made{int64(t.KeyCount), tableBytes(t)}
		}
	}
	close(l.opening)
}

func (l *ledger) lock() {
	l.mu.Lock()
	for l.db == nil {
		opening := l.opening
		l.mu.Unlock()
		<-opening
		l.mu.Lock()
		if l.db == nil {
			return
		}
	}
}

// writes: a compactor is about to write a table with so many records, and has dropped so many.
func (l *ledger) writes(compactor int, records int64) {
	l.lock()
	defer l.mu.Unlock()
	if l.db == nil || records == 0 {
		return
	}
	l.look()
	a := l.running[compactor]
	if a == nil {
		a = &account{compactor: compactor}
		if l.hold != nil {
			a.release = l.hold()
		}
		l.running[compactor] = a
	}
	a.expected = append(a.expected, records)
}

// read: some compactor has read its part, and has not replaced anything yet.
func (l *ledger) read() {
	l.lock()
	defer l.mu.Unlock()
	if l.db != nil {
		l.look()
	}
}

// look notes which tables there are.
func (l *ledger) look() {
	tables := l.db.Tables()
	present := make(map[uint64]made, len(tables))
	for _, t := range tables {
		m := made{int64(t.KeyCount), tableBytes(t)}
		present[t.ID] = m
		if _, old := l.seen[t.ID]; !old {
			l.fresh[t.ID] = m
		}
	}
	l.seen = present
	for id := range l.fresh {
		if _, there := present[id]; !there && len(l.running) == 0 {
			delete(l.fresh, id) // a memtable's, compacted since
		}
	}
}

// finished: a compaction is done. All its tables must be there.
func (l *ledger) finished(compactor int) (sum made) {
	l.lock()
	defer l.mu.Unlock()
	a := l.running[compactor]
	if l.db == nil || a == nil {
		return sum
	}
	l.look()
	delete(l.running, compactor)
	for _, records := range a.expected {
		if m, ok := l.claim(records); ok {
			sum.records, sum.bytes = sum.records+m.records, sum.bytes+m.bytes
		} else {
			a.missing = append(a.missing, records)
		}
	}
	if len(a.missing) > 0 && !planted("ledger-off") {
		l.useSpare()
		l.lost(a)
		return sum
	}
	if a.release != nil {
		a.release()
	}
	return sum
}

func (l *ledger) claim(records int64) (m made, ok bool) {
	for id, m := range l.fresh {
		if m.records == records {
			delete(l.fresh, id)
			return m, true
		}
	}
	return m, false
}

// ours: these tables are none of Badger's.
func (l *ledger) ours(tables []uint64) {
	l.lock()
	defer l.mu.Unlock()
	if l.db == nil {
		return
	}
	l.look()
	for _, id := range tables {
		delete(l.fresh, id)
	}
}

// failed: a compaction has changed nothing.
func (l *ledger) failed(compactor int) {
	l.lock()
	defer l.mu.Unlock()
	if a := l.running[compactor]; a != nil {
		delete(l.running, compactor)
		if a.release != nil {
			a.release()
		}
	}
}

// closed: Badger is closed, or about to be opened anew.
func (l *ledger) closed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.db = nil
	l.useSpare()
}

func (l *ledger) keepSpare() {
	for range spareFiles {
		if f, err := os.Open(os.DevNull); err == nil {
			l.spare = append(l.spare, f)
		}
	}
}

func (l *ledger) useSpare() {
	for _, f := range l.spare {
		f.Close()
	}
	l.spare = nil
}

// lostFile is there from the moment at which a compaction lost tables.
const (
	lostFile   = "lost"
	lostFormat = 1
)

type lostRecord struct {
	Format  int
	Records []int64 // of each table that was not written
}

// tablesLost ends the node.
func (s *Store) tablesLost(a *account) {
	sum := int64(0)
	for _, n := range a.missing {
		sum += n
	}
	err := fmt.Errorf("a compaction of Badger's has lost %d records: it could not write %d of %d tables, and does not say why (no file descriptor? no memory to "+
		"map it? the disk?). What was merged is still in %s; the next start refuses: restore a copy", sum, len(a.missing), len(a.expected), s.dir())
	if failed := writeChecked(s.opts.FS, filepath.Join(s.dir(), lostFile), lostRecord{lostFormat, a.missing}); failed != nil {
		s.opts.Logger.Error("… and that cannot be noted", "err", failed)
	}
	s.opts.Fatal(err)
}

// checkLost refuses a Badger that has lost tables: it would delete what was merged as soon as it opens.
func checkLost(fsys FS, dir string) error {
	var r lostRecord
	path := filepath.Join(dir, lostFile)
	ok, err := readChecked(fsys, path, &r)
	if err != nil || !ok {
		return err
	}
	return refused("a compaction could not write tables of %v records (%s says so), and they are lost. Restore a copy; without that file the next start goes on without them",
		r.Records, path)
}
