package replication

import (
	"fmt"
	"testing"
	"time"

	"sett/replication/wal"
	"sett/storage"
)

type step func() error

func (f step) Run() error { return f() }

// node is a store with its log, as main puts them together.
type node struct {
	dir   *storage.Dir
	store *storage.Store
	solo  *Solo
}

func open(t *testing.T, path string, fsync Fsync) *node {
	t.Helper()
	d, err := storage.OpenDir(storage.OSFS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	durable, err := d.Durable()
	if err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(wal.Options{FS: storage.OSFS{}, Dir: d.LogDir(), SegmentBytes: 1 << 20, Seed: d.Seed()}, wal.Known{Durable: durable, CleanEnd: d.CleanEnd()})
	if err != nil {
		t.Fatal(err)
	}
	store, err := storage.Open(d, storage.Options{MemoryBudget: storage.MinMemoryBudget, FlushInterval: 20 * time.Millisecond, BarrierInterval: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BeginUse(); err != nil {
		t.Fatal(err)
	}
	n := &node{d, store, NewSolo(log, SoloOptions{Fsync: fsync, Fatal: func(err error) { panic(err) }})}
	if _, err := n.solo.Start(store); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) close(t *testing.T, clean bool) {
	t.Helper()
	if err := n.store.Close(clean); err != nil {
		t.Fatal(err)
	}
	end, err := n.solo.Close()
	if err != nil {
		t.Fatal(err)
	}
	if clean {
		if err := n.dir.MarkClean(end); err != nil {
			t.Fatal(err)
		}
	}
	n.dir.Close()
}

func (n *node) set(t *testing.T, key, value string) {
	t.Helper()
	var tx storage.Txn
	if err := n.store.Update(&tx, step(func() error { tx.Put([]byte(key), []byte(value)); return nil })); err != nil {
		t.Fatal(err)
	}
	if err := n.store.Wait(tx.Seen()); err != nil {
		t.Fatal(err)
	}
}

func (n *node) get(t *testing.T, key string) (value string) {
	t.Helper()
	var r storage.Reader
	err := n.store.Read(&r, step(func() error {
		v, err := r.Get([]byte(key))
		value = string(v)
		return err
	}))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestSoloKeepsWhatItAcknowledged(t *testing.T) {
	for _, fsync := range []Fsync{Always, Everysec, No} {
		t.Run(fsync.String(), func(t *testing.T) {
			path := t.TempDir()
			for round := range 4 {
				n := open(t, path, fsync)
				for i := range 300 {
					if got, want := n.get(t, fmt.Sprint("k", i)), fmt.Sprint(round-1); round > 0 && got != want {
						t.Fatalf("round %d: k%d = %q, want %q", round, i, got, want)
					}
					n.set(t, fmt.Sprint("k", i), fmt.Sprint(round))
				}
				if err := n.solo.SetFsync(fsync); err != nil {
					t.Fatal(err)
				}
				n.close(t, round%2 == 0)
			}
		})
	}
}
