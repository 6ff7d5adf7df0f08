package types

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"sett/storage"
)

// memLog is a log in memory that commits at once.
type memLog struct {
	mu      sync.Mutex
	store   *storage.Store
	entries [][]byte
}

func (l *memLog) Propose(entry []byte) error {
	l.mu.Lock()
	l.entries = append(l.entries, append([]byte(nil), entry...))
	index := uint64(len(l.entries))
	l.mu.Unlock()
	return l.store.Apply(index, 1, entry)
}

func (l *memLog) SyncTo(uint64) error { return nil }
func (l *memLog) Waits() bool         { return false }

func (l *memLog) Read(index uint64) (uint64, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index == 0 || index > uint64(len(l.entries)) {
		return 0, nil, fmt.Errorf("no entry %d", index)
	}
	return 1, l.entries[index-1], nil
}

func (l *memLog) Trim(uint64) {}

// desk is a store with a Ledger, for tests of what is written.
type desk struct {
	t       testing.TB
	store   *storage.Store
	txn     storage.Txn
	ledger  Ledger
	options Options
	keys    Keys
}

func newDesk(t testing.TB, options Options) *desk {
	home, err := storage.OpenDir(storage.OSFS{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := &memLog{}
	d := &desk{t: t, options: options, keys: New(home.Seed())}
	d.store, err = storage.Open(home, storage.Options{
		MemoryBudget: 256 << 20, GenerationRecords: 2000, FlushInterval: 20 * time.Millisecond, BarrierInterval: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	log.store = d.store
	if err := d.store.Begin(log, 1, 0); err != nil {
		t.Fatal(err)
	}
	d.store.Lead(1)
	t.Cleanup(func() {
		if err := d.store.Close(false); err != nil {
			t.Error(err)
		}
		home.Close()
	})
	return d
}

// asked is a Runner made of a func.
type asked func() error

func (f asked) Run() error { return f() }

// update runs a batch.
func (d *desk) update(run func(l *Ledger) error) {
	d.t.Helper()
	if err := d.try(run); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) try(run func(l *Ledger) error) error {
	return d.store.Update(&d.txn, asked(func() error {
		d.ledger.Begin(&d.txn, 1, d.options)
		return run(&d.ledger)
	}))
}
