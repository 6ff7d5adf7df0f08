package replication

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"sett/replication/wal"
	"sett/storage"
)

// openEntries opens a log's files in a directory.
func openFiles(t *testing.T, kind, dir string, durable uint64) entries {
	t.Helper()
	if kind == "boltdb" {
		store, err := openBolt(filepath.Join(dir, entriesFile))
		if err != nil {
			t.Fatal(err)
		}
		return &boltEntries{store: store}
	}
	log, err := wal.Open(wal.Options{FS: storage.OSFS{}, Dir: filepath.Join(dir, "log"), SegmentBytes: 16 << 10}, wal.Known{Durable: durable})
	if err != nil {
		t.Fatal(err)
	}
	return walEntries{log}
}

// newLogStore is one of which everything may be taken away.
func newLogStore(t *testing.T, files entries) *logStore {
	l := &logStore{
		entries: files, room: func() {}, fatal: func(err error) { t.Errorf("fatal: %v", err) },
		inBadger: func() uint64 { return 0 }, applied: func() uint64 { return 0 }, needed: func() uint64 { return math.MaxUint64 },
		diverged: func(string) error { return nil }, keep: new(atomic.Int64),
	}
	l.durable.Store(math.MaxUint64)
	return l
}

// TestLogStoreModel does the same to a log and to raft's own store in memory.
func TestLogStoreModel(t *testing.T) {
	for kind, steps := range map[string]int{"wal": 2500, "boltdb": 300} {
		t.Run(kind, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 2))
			dir, model := t.TempDir(), raft.NewInmemStore()
			l := newLogStore(t, openFiles(t, kind, dir, 0))
			l.setLevel(Fsync(rng.IntN(3)))
			term, next := uint64(1), uint64(1)
			for range steps {
				first, _ := model.FirstIndex()
				last, _ := model.LastIndex()
				empty := last == 0
				switch n := rng.IntN(100); {
				case n < 50:
					var logs []*raft.Log
					for range 1 + rng.IntN(5) {
						data := make([]byte, rng.IntN(300))
						if rng.IntN(50) == 0 {
							data = make([]byte, rng.IntN(40<<10))
						}
						for i := range data {
							data[i] = byte(rng.Uint32())
						}
						logs = append(logs, &raft.Log{Index: next, Term: term, Type: raft.LogType(rng.IntN(6)), Data: data})
						next++
					}
					must(t, l.StoreLogs(logs))
					must(t, model.StoreLogs(logs))
				case n < 85 && !empty:
					compareLog(t, l, model, first+rng.Uint64N(last-first+3))
				case n < 90 && last > first: // a leader's entries contradict ours
					from := first + 1 + rng.Uint64N(last-first)
					must(t, l.DeleteRange(from, last))
					must(t, model.DeleteRange(from, last))
					next, term = from, term+1
				case n < 96 && last > first: // a snapshot was made
					upTo := first + rng.Uint64N(last-first)
					l.keep.Store(int64(rng.IntN(40 << 10)))
					must(t, l.DeleteRange(first, upTo))
					must(t, model.DeleteRange(first, upTo))
				case n < 97 && !empty: // one was installed
					next += rng.Uint64N(20)
					l.installed.Store(next)
					ours, _ := l.FirstIndex()
					must(t, l.DeleteRange(ours, last))
					must(t, model.DeleteRange(first, last))
					next++
				case n < 98:
					ours, _ := l.entries.bounds()
					must(t, l.entries.close())
					l = newLogStore(t, openFiles(t, kind, dir, ours-1))
					l.setLevel(Fsync(rng.IntN(3)))
				}
				compareBounds(t, l, model)
			}
			first, _ := model.FirstIndex()
			last, _ := model.LastIndex()
			for i := first; i <= last; i++ {
				compareLog(t, l, model, i)
			}
			must(t, l.entries.close())
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func compareBounds(t *testing.T, l *logStore, model *raft.InmemStore) {
	t.Helper()
	first, _ := model.FirstIndex()
	last, _ := model.LastIndex()
	ourFirst, _ := l.FirstIndex()
	ourLast, _ := l.LastIndex()
	// The log may keep more of its beginning than it was asked to.
	if ourLast != last || ourFirst > first || (ourFirst == 0) != (last == 0) {
		t.Fatalf("the log has %d..%d, the model %d..%d", ourFirst, ourLast, first, last)
	}
}

func compareLog(t *testing.T, l *logStore, model *raft.InmemStore, index uint64) {
	t.Helper()
	var got, want raft.Log
	wantErr := model.GetLog(index, &want)
	err := l.GetLog(index, &got)
	if wantErr != nil {
		if last, _ := l.LastIndex(); index > last && !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatalf("entry %d: %v", index, err)
		}
		return
	}
	if err != nil || got.Index != want.Index || got.Term != want.Term || got.Type != want.Type || !bytes.Equal(got.Data, want.Data) {
		t.Fatalf("entry %d is %d %d %v of %d bytes (%v), wanted %d %d %v of %d", index, got.Index, got.Term, got.Type, len(got.Data), err,
			want.Index, want.Term, want.Type, len(want.Data))
	}
}

// What Badger does not durably have stays, and so does what peers that are behind may need.
func TestLogStoreKeeps(t *testing.T) {
	for _, kind := range []string{"wal", "boltdb"} {
		t.Run(kind, func(t *testing.T) {
			l := newLogStore(t, openFiles(t, kind, t.TempDir(), 0))
			l.setLevel(Always)
			for i := range uint64(200) {
				must(t, l.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: make([]byte, 1000)}))
			}
			l.durable.Store(20)
			must(t, l.DeleteRange(1, 150))
			if first, _ := l.FirstIndex(); first > 21 {
				t.Errorf("entries up to %d went, 20 were durable", first-1)
			}
			l.durable.Store(150)
			l.keep.Store(100 << 10)
			must(t, l.trim())
			if first, _ := l.FirstIndex(); first < 21-16 || first > 135 { // a quarter of such small segments is their header
				t.Errorf("the log begins with %d; 100 KiB were to stay", first)
			}
			l.keep.Store(0)
			must(t, l.trim())
			if first, _ := l.FirstIndex(); first < 130 || first > 151 {
				t.Errorf("the log begins with %d; 150 were to go", first)
			}
			must(t, l.entries.close())
		})
	}
}

// A suffix that the store has applied does not go: the node ends, and if Badger has it, needs a copy of the cluster's data.
func TestLogStoreDiverges(t *testing.T) {
	for _, c := range []struct {
		from, applied, inBadger uint64
		ends, diverges          bool
	}{{9, 8, 5, false, false}, {8, 8, 5, true, false}, {6, 8, 5, true, false}, {5, 8, 5, true, true}, {5, 3, 5, true, true}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			l := newLogStore(t, openFiles(t, "wal", t.TempDir(), 0))
			for i := range uint64(10) {
				must(t, l.StoreLog(&raft.Log{Index: i + 1, Term: 1}))
			}
			var fatal error
			var why string
			l.fatal = func(err error) { fatal = err }
			l.diverged = func(s string) error { why = s; return nil }
			l.applied, l.inBadger = func() uint64 { return c.applied }, func() uint64 { return c.inBadger }
			err := l.DeleteRange(c.from, 10)
			if (err != nil) != c.ends || (fatal != nil) != c.ends || strings.Contains(why, "diverged") != c.diverges {
				t.Errorf("%v, fatal %v, diverged %q", err, fatal, why)
			}
			if last, _ := l.LastIndex(); c.ends != (last == 10) {
				t.Errorf("the log ends at %d", last)
			}
			must(t, l.entries.close())
		})
	}
}

// The log that a snapshot has replaced goes before an entry follows the snapshot, also if it could not be taken away at first.
func TestLogOfOldDataGoes(t *testing.T) {
	l := newLogStore(t, openFiles(t, "wal", t.TempDir(), 0))
	for i := range uint64(10) {
		must(t, l.StoreLog(&raft.Log{Index: i + 1, Term: 1}))
	}
	l.installed.Store(20)
	must(t, l.StoreLog(&raft.Log{Index: 21, Term: 2}))
	if first, last := l.entries.bounds(); first != 21 || last != 21 {
		t.Errorf("the log has entries %d to %d", first, last)
	}
	must(t, l.entries.close())
}

// A disk that hangs ends the node.
func TestDiskStall(t *testing.T) {
	fatal := make(chan error, 1)
	c := &Cluster{o: ClusterOptions{DiskStall: 20 * time.Millisecond, Fatal: func(err error) { fatal <- err }}, logs: &logStore{}, stop: make(chan struct{})}
	go c.watch()
	c.logs.working()()
	select {
	case err := <-fatal:
		t.Fatalf("with an idle disk: %v", err)
	case <-time.After(60 * time.Millisecond):
	}
	c.logs.working()
	if err := <-fatal; !strings.Contains(err.Error(), "raft.disk_stall") {
		t.Error(err)
	}
}
