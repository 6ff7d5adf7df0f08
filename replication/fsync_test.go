package replication

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sett/replication/wal"
	"sett/storage"
)

// spyFS is the real file system; it counts fdatasyncs, and lets operations fail.
type spyFS struct {
	storage.OSFS
	syncs     atomic.Int64
	failSync  atomic.Bool
	failSpace atomic.Bool // for new segments
}

var (
	errSync  = errors.New("the disk does not answer")
	errSpace = errors.New("no space left on device")
)

type spyFile struct {
	storage.File
	fs *spyFS
}

func (s *spyFS) Create(path string) (storage.File, error) {
	if s.failSpace.Load() {
		return nil, errSpace
	}
	f, err := s.OSFS.Create(path)
	return &spyFile{f, s}, err
}

func (s *spyFS) Open(path string) (storage.File, error) {
	f, err := s.OSFS.Open(path)
	return &spyFile{f, s}, err
}

func (f *spyFile) Sync() error {
	if f.fs.failSync.Load() {
		return errSync
	}
	f.fs.syncs.Add(1)
	return f.File.Sync()
}

// openSpied opens a node whose log is on fs. Nothing but the log's level syncs: there is no flush.
func openSpied(t *testing.T, path string, fs *spyFS, fsync Fsync, fatal func(error)) *node {
	t.Helper()
	d, err := storage.OpenDir(storage.OSFS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	durable, err := d.Durable()
	if err != nil {
		t.Fatal(err)
	}
	o := wal.Options{FS: fs, Dir: d.LogDir(), SegmentBytes: 64 << 10, Seed: d.Seed()}
	log, err := wal.Open(o, wal.Known{Durable: durable, CleanEnd: d.CleanEnd()})
	if err != nil {
		t.Fatal(err)
	}
	store, err := storage.Open(d, storage.Options{MemoryBudget: storage.MinMemoryBudget, FlushInterval: time.Hour, BarrierInterval: time.Hour, Fatal: fatal})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.BeginUse(); err != nil {
		t.Fatal(err)
	}
	n := &node{d, store, NewSolo(log, SoloOptions{Fsync: fsync, Fatal: fatal})}
	if _, err := n.solo.Start(store); err != nil {
		t.Fatal(err)
	}
	return n
}

func noFatal(t *testing.T) func(error) {
	return func(err error) { t.Errorf("fatal: %v", err) }
}

func TestAlwaysSyncsBeforeItAnswers(t *testing.T) {
	fs := &spyFS{}
	n := openSpied(t, t.TempDir(), fs, Always, noFatal(t))
	for i := range 50 {
		before := fs.syncs.Load()
		n.set(t, fmt.Sprint("k", i), "v")
		if fs.syncs.Load() == before || n.solo.Log().Synced() != n.solo.Log().Last() {
			t.Fatalf("write %d was answered without an fsync", i)
		}
	}
	n.close(t, true)
}

func TestEverysecSyncsByItself(t *testing.T) {
	fs := &spyFS{}
	n := openSpied(t, t.TempDir(), fs, Everysec, noFatal(t))
	log := n.solo.Log()
	for range 2 {
		n.set(t, "k", "v")
		for log.Synced() != log.Last() {
			time.Sleep(10 * time.Millisecond)
		}
	}
	n.close(t, true)
}

// At level no nobody syncs, but those who ask: a flush, a change of the level.
func TestNoSyncsWhenAsked(t *testing.T) {
	n := openSpied(t, t.TempDir(), &spyFS{}, No, noFatal(t))
	log := n.solo.Log()
	n.set(t, "a", "1")
	n.set(t, "b", "1")
	if log.Synced() != 0 {
		t.Fatalf("synced up to %d", log.Synced())
	}
	if err := n.solo.SyncTo(1); err != nil || log.Synced() < 1 {
		t.Fatalf("synced up to %d: %v", log.Synced(), err)
	}
	for _, level := range []Fsync{Always, No, Everysec, No} {
		n.set(t, "c", level.String())
		if err := n.solo.SetFsync(level); err != nil {
			t.Fatal(err)
		}
		if log.Synced() != log.Last() || n.solo.Level() != level {
			t.Fatalf("level %v: synced %d of %d", n.solo.Level(), log.Synced(), log.Last())
		}
	}
	n.close(t, true)
}

func TestFsyncErrorIsFatal(t *testing.T) {
	for _, level := range []Fsync{Always, Everysec} {
		t.Run(level.String(), func(t *testing.T) {
			fs, fatal := &spyFS{}, make(chan error, 100)
			n := openSpied(t, t.TempDir(), fs, level, func(err error) { fatal <- err })
			n.set(t, "k", "v")
			fs.failSync.Store(true)
			var tx storage.Txn
			err := n.store.Update(&tx, step(func() error { tx.Put([]byte("k"), []byte("w")); return nil }))
			if err == nil {
				err = n.store.Wait(tx.Seen())
			}
			if level == Always && err == nil {
				t.Error("a write was acknowledged whose fsync had failed")
			}
			if err := <-fatal; !errors.Is(err, errSync) {
				t.Fatalf("fatal: %v", err)
			}
			fs.failSync.Store(false)
			if err := n.solo.SyncTo(1); !errors.Is(err, errSync) {
				t.Errorf("the error is forgotten: %v", err)
			}
			n.store.Close(false)
			if _, err := n.solo.Close(); !errors.Is(err, errSync) {
				t.Errorf("close: %v", err)
			}
			n.dir.Close()
		})
	}
}

// A full disk refuses writes, keeps none of those it refused, and is over when there is space.
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	path, fs := t.TempDir(), &spyFS{}
	n := openSpied(t, path, fs, Everysec, noFatal(t))
	fs.failSpace.Store(true)
	big := strings.Repeat("x", 10_000)
	acked := map[string]bool{}
	set := func(key string) error {
		var tx storage.Txn
		err := n.store.Update(&tx, step(func() error { tx.Put([]byte(key), []byte(big)); return nil }))
		if err == nil {
			err = n.store.Wait(tx.Seen())
		}
		acked[key] = err == nil
		return err
	}
	i := 0
	for ; set(fmt.Sprint("k", i)) == nil; i++ {
	}
	for range 3 {
		i++
		set(fmt.Sprint("k", i))
		time.Sleep(retryEvery)
	}
	if err := n.store.Admit(true); !errors.As(err, new(*storage.MisconfError)) || !strings.Contains(err.Error(), "the log cannot grow") {
		t.Errorf("while the disk is full: %v", err)
	}
	if yields := n.store.Stats().Yields.Load(); yields != 1 {
		t.Errorf("%d speculations ended: without room there is no use in another", yields)
	}
	fs.failSpace.Store(false)
	for i++; set(fmt.Sprint("k", i)) != nil; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	if err := n.store.Admit(false); err != nil {
		t.Errorf("when there is space again: %v", err)
	}
	n.close(t, false)
	n = openSpied(t, path, fs, Everysec, noFatal(t))
	for key, want := range acked {
		if got := n.get(t, key) != ""; got != want {
			t.Errorf("%s: acknowledged %v, there %v", key, want, got)
		}
	}
	n.close(t, true)
}

func TestParseFsync(t *testing.T) {
	for _, level := range []Fsync{Always, Everysec, No} {
		if got, err := ParseFsync(level.String()); got != level || err != nil {
			t.Errorf("%v: %v, %v", level, got, err)
		}
	}
	if _, err := ParseFsync("sometimes"); err == nil {
		t.Error("an unknown level was taken")
	}
}
