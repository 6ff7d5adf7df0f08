package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// memLog is a log in memory. With manual set it commits nothing by itself and may be told to lose leadership, refuse, and take entries of
// other leaders: every order of events that raft allows.
type memLog struct {
	mu     sync.Mutex
	store  *Store
	term   uint64
	manual bool

	forgetful bool // entries are not kept: for benchmarks
	refuse    bool
	entries   []memEntry // entries[0] has index 1
	applied   int        // handed to Apply
	synced    uint64
}

type memEntry struct {
	term uint64
	data []byte
}

var errRefused = errors.New("refused by the test")

func (l *memLog) Propose(entry []byte) error {
	l.mu.Lock()
	if l.refuse {
		l.mu.Unlock()
		return errRefused
	}
	if l.forgetful {
		l.applied++
		l.mu.Unlock()
		return l.store.Apply(uint64(l.applied), l.term, entry)
	}
	l.entries = append(l.entries, memEntry{l.term, append([]byte(nil), entry...)})
	l.mu.Unlock()
	if l.manual {
		return nil
	}
	return l.commit(1)
}

func (l *memLog) Waits() bool { return false }

// commit hands the next n entries to the store.
func (l *memLog) commit(n int) error {
	for ; n > 0; n-- {
		l.mu.Lock()
		if l.applied >= len(l.entries) {
			l.mu.Unlock()
			return nil
		}
		e := l.entries[l.applied]
		l.applied++
		index := uint64(l.applied)
		l.mu.Unlock()
		if err := l.store.Apply(index, e.term, e.data); err != nil {
			return err
		}
	}
	return nil
}

func (l *memLog) SyncTo(index uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced = max(l.synced, index)
	return nil
}

func (l *memLog) Read(index uint64) (uint64, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index == 0 || int(index) > l.applied {
		return 0, nil, fmt.Errorf("entry %d is not committed", index)
	}
	e := l.entries[index-1]
	return e.term, e.data, nil
}

func (l *memLog) Trim(uint64) {}

// small are options that make everything happen within a short test.
func small() Options {
	return Options{
		FS: OSFS{}, MemoryBudget: MinMemoryBudget, GenerationRecords: 50, FlushInterval: 5 * time.Millisecond,
		BarrierInterval: 20 * time.Millisecond, EntryBytes: 4 << 10, Logger: slog.New(slog.DiscardHandler),
	}
}

// openStore opens a store with a log that commits at once, unless manual.
func openStore(t testing.TB, dir string, o Options, l *memLog) *Store {
	t.Helper()
	d, err := OpenDir(OSFS{}, dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(d, o)
	if err != nil {
		t.Fatal(err)
	}
	l.store = s
	if l.term == 0 {
		l.term = 1
	}
	if err := s.Begin(l, 1, uint64(len(l.entries))); err != nil {
		t.Fatal(err)
	}
	l.applied = int(s.ReplayFrom()) - 1
	if err := l.commit(len(l.entries)); err != nil {
		t.Fatal(err)
	}
	s.Lead(l.term)
	t.Cleanup(func() {
		s.Close(false)
		d.Close()
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// alone has nobody else compact.
func alone(s *Store) {
	s.stopCompactors()
	s.compactors.stopping.Store(false)
}

// patiently tries again while Badger's tables are being compacted by somebody else.
func patiently(t testing.TB, try func() error) {
	t.Helper()
	err := try()
	for start := time.Now(); errors.Is(err, ErrBusy) && time.Since(start) < testPatience; err = try() {
		time.Sleep(time.Millisecond)
	}
	must(t, err)
}

const testPatience = time.Minute

// step is a Runner made of a func.
type step func() error

func (f step) Run() error { return f() }

func set(t testing.TB, s *Store, key, value string) uint64 {
	t.Helper()
	var tx Txn
	if err := s.Update(&tx, step(func() error { tx.Put([]byte(key), []byte(value)); return nil })); err != nil {
		t.Fatal(err)
	}
	return tx.Seen()
}

func del(t testing.TB, s *Store, key string) uint64 {
	t.Helper()
	var tx Txn
	if err := s.Update(&tx, step(func() error { tx.Delete([]byte(key)); return nil })); err != nil {
		t.Fatal(err)
	}
	return tx.Seen()
}

func get(t testing.TB, s *Store, key string) string {
	t.Helper()
	var r Reader
	var value string
	err := s.Read(&r, step(func() error {
		v, err := r.Get([]byte(key))
		value = string(v)
		return err
	}))
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	return value
}

func tally(t testing.TB, s *Store, keyspace uint32) (sum Tally) {
	t.Helper()
	var r Reader
	if err := s.Read(&r, step(func() error { sum = r.Tally(keyspace); return nil })); err != nil {
		t.Fatal(err)
	}
	return sum
}

// metaKey is a key as types makes them: m keyspace slot hash form name.
func metaKey(keyspace, slot int, name string) string {
	return fmt.Sprintf("m\x00\x00\x00%c%c%c\x00\x00\x00\x00\x00%s", keyspace, slot>>8, slot&255, name)
}
