package powercut

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sett/storage"
	"sett/storage/crashfs"
)

// mirror does every operation on our own files twice: for real, and in a crashfs, which knows what a power cut may take of it. Before each change it shows
// what there is.
type mirror struct {
	storage.OSFS
	root  string
	crash *crashfs.FS

	mu   sync.Mutex
	look func() // nil: nobody looks
}

// newMirror begins with what is in a directory, as if all of it were durable.
func newMirror(t *testing.T, root string) *mirror {
	t.Helper()
	s := &scene{own: crashfs.New()}
	if err := s.load(root, "."); err != nil {
		t.Fatal(err)
	}
	return &mirror{root: root, crash: s.own}
}

// do runs an operation here and there. Of Badger's files the crashfs knows nothing.
func (m *mirror) do(path string, real func() error, crash func(path string) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.look != nil {
		m.look()
	}
	if err := real(); err != nil {
		return err
	}
	rel, err := filepath.Rel(m.root, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return err
	}
	if err := crash(rel); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (m *mirror) Create(path string) (file storage.File, err error) {
	both := &mirrored{m: m, path: path}
	err = m.do(path, func() (err error) { both.File, err = m.OSFS.Create(path); return err },
		func(path string) (err error) { both.crash, err = m.crash.Create(path); return err })
	return both, err
}

func (m *mirror) Rename(old, new string) error {
	rel, err := filepath.Rel(m.root, new)
	if err != nil {
		return err
	}
	return m.do(old, func() error { return m.OSFS.Rename(old, new) }, func(path string) error { return m.crash.Rename(path, rel) })
}

func (m *mirror) Remove(path string) error {
	return m.do(path, func() error { return m.OSFS.Remove(path) }, m.crash.Remove)
}

func (m *mirror) MkdirAll(path string) error {
	return m.do(path, func() error { return m.OSFS.MkdirAll(path) }, m.crash.MkdirAll)
}

func (m *mirror) SyncDir(path string) error {
	return m.do(path, func() error { return m.OSFS.SyncDir(path) }, m.crash.SyncDir)
}

// mirrored is a file that is written.
type mirrored struct {
	storage.File
	crash storage.File
	m     *mirror
	path  string
}

func (f *mirrored) WriteAt(p []byte, offset int64) (n int, err error) {
	err = f.m.do(f.path, func() (err error) { n, err = f.File.WriteAt(p, offset); return err },
		func(string) error { _, err := f.crash.WriteAt(p, offset); return err })
	return n, err
}

func (f *mirrored) Sync() error {
	return f.m.do(f.path, f.File.Sync, func(string) error { return f.crash.Sync() })
}

func (f *mirrored) Close() error { return errors.Join(f.File.Close(), f.crash.Close()) }

// glimpse is what there was before a change: our own files with all that a cut may take, and a copy of everything.
type glimpse struct {
	own  *crashfs.FS
	real string
}

// moments records while f runs, and once more behind it.
func (m *mirror) moments(t *testing.T, f func()) (all []glimpse) {
	t.Helper()
	base := t.TempDir()
	look := func() {
		dir := filepath.Join(base, fmt.Sprint(len(all)))
		if err := os.CopyFS(dir, os.DirFS(m.root)); err != nil {
			t.Error(err)
		}
		all = append(all, glimpse{m.crash.Copy(), dir})
	}
	m.mu.Lock()
	m.look = look
	m.mu.Unlock()
	f()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.look = nil
	look()
	return all
}

// cut makes a directory as a power cut at this moment may leave it. Of Badger's files it leaves all that is in a directory that CURRENT names, and nothing of
// what is in others.
func (o glimpse) cut(t *testing.T, r *rand.Rand) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := o.own.Cut(r).Export(dir); err != nil {
		t.Fatal(err)
	}
	current, err := os.ReadFile(filepath.Join(dir, "CURRENT"))
	if err != nil {
		t.Fatal(err)
	}
	folders, _ := filepath.Glob(filepath.Join(o.real, "badger-*"))
	for _, from := range folders {
		name := filepath.Base(from)
		if !bytes.Contains(current, []byte(`"`+name+`"`)) {
			continue
		}
		files, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if isOurs(name, f.Name()) {
				continue
			}
			b, err := os.ReadFile(filepath.Join(from, f.Name()))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, name, f.Name()), b, 0o640)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// soleLog is a log that commits at once, and is as durable as the test wants it to be.
type soleLog struct {
	store   *storage.Store
	mu      sync.Mutex
	entries [][]byte // entries[0] has index 1
}

func (l *soleLog) Propose(entry []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, bytes.Clone(entry))
	return l.store.Apply(uint64(len(l.entries)), 1, entry)
}

func (l *soleLog) Waits() bool         { return false }
func (l *soleLog) SyncTo(uint64) error { return nil }
func (l *soleLog) Trim(uint64)         {}

func (l *soleLog) Read(index uint64) (uint64, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 1, l.entries[index-1], nil
}

// aStore is one with some records, all of them durable.
func aStore(t *testing.T, fsys storage.FS, path, what string) (*storage.Store, *storage.Dir) {
	t.Helper()
	dir, err := storage.OpenDir(fsys, path)
	must(t, err)
	s, err := storage.Open(dir, storage.Options{FS: fsys, MemoryBudget: storage.MinMemoryBudget, BarrierInterval: time.Hour, FlushInterval: time.Hour, ValueLogBytes: 1 << 20})
	must(t, err)
	must(t, s.Begin(&soleLog{store: s}, 1, 0))
	s.Lead(1)
	for i := range 200 {
		var tx storage.Txn
		must(t, s.Update(&tx, once(func() { tx.Put(fmt.Appendf(nil, "m%04d", i), []byte(what)) })))
	}
	must(t, s.Flush())
	must(t, s.Barrier())
	return s, dir
}

type once func()

func (f once) Run() error { f(); return nil }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// has is everything that a data directory shows to its next start.
func has(t *testing.T, path string) (records map[string]string) {
	t.Helper()
	dir, err := storage.OpenDir(storage.OSFS{}, path)
	must(t, err)
	defer dir.Close()
	must(t, dir.BeginUse())
	s, err := storage.Open(dir, storage.Options{MemoryBudget: storage.MinMemoryBudget, ValueLogBytes: 1 << 20})
	must(t, err)
	defer s.Close(false)
	p := s.Picture()
	defer p.Close()
	records = map[string]string{}
	must(t, p.Walk(storage.Range{Lower: []byte("m"), Upper: []byte("n")}, func(key, value []byte) error {
		records[string(key)] = string(value)
		return nil
	}))
	var marker string
	marked, err := dir.Marker(&marker)
	must(t, err)
	if new := records["m0000"] == "new"; marked != new || new && marker != "of the copy" {
		t.Errorf("with the data %q goes the marker %q", records["m0000"], marker)
	}
	return records
}

// The power is cut at each moment of a copy that is loaded and switched to, in some ways each: there are the old data or the new, with their marker, and
// nothing of the other.
func TestSwitchingToACopy(t *testing.T) {
	leader, leaderDir := aStore(t, storage.OSFS{}, filepath.Join(t.TempDir(), "leader"), "new")
	defer func() { leader.Close(false); leaderDir.Close() }()
	var copied bytes.Buffer
	picture := leader.Picture()
	must(t, picture.Export(context.Background(), &copied))
	picture.Close()

	path := filepath.Join(t.TempDir(), "data")
	made, dir := aStore(t, storage.OSFS{}, path, "old")
	must(t, made.Close(true))
	must(t, dir.Close())
	m := newMirror(t, path)
	dir, err := storage.OpenDir(m, path)
	must(t, err)
	defer dir.Close()
	s, err := storage.Open(dir, storage.Options{FS: m, MemoryBudget: storage.MinMemoryBudget, BarrierInterval: time.Hour, ValueLogBytes: 1 << 20})
	must(t, err)
	defer s.Close(false)
	all := m.moments(t, func() {
		i, err := s.NewImport()
		must(t, err)
		must(t, i.Load(&copied))
		must(t, i.SetMarker("of the copy", 0))
		must(t, s.Replace(i))
		i.Discard()
		for len(badgerFolders(t, path)) > 1 { // the old data go on the side
			time.Sleep(time.Millisecond)
		}
	})
	found := map[string]int{}
	for n, at := range all {
		for seed := range uint64(1 + n%2) {
			left := at.cut(t, rand.New(rand.NewPCG(uint64(n), seed)))
			records := has(t, left)
			values := map[string]bool{}
			for _, value := range records {
				values[value] = true
			}
			if len(records) != 200 || len(values) != 1 || len(badgerFolders(t, left)) != 1 {
				t.Errorf("moment %d, seed %d: %d records of %v in %q", n, seed, len(records), values, badgerFolders(t, left))
			}
			found[slices.Collect(maps.Keys(values))[0]]++
		}
	}
	if t.Logf("%d moments: %v", len(all), found); found["old"] == 0 || found["new"] == 0 {
		t.Error("not both the old data and the new were met")
	}
}

func badgerFolders(t *testing.T, path string) []string {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(path, "badger-*"))
	must(t, err)
	return folders
}

// The power is cut at each moment of a node's starting over, and of its rejoining. The old log never goes with the new data, nor a part of it with the old
// ones, unless DIVERGED says so; and starting over comes to its end.
func TestStartingOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	dir, err := storage.OpenDir(storage.OSFS{}, path)
	must(t, err)
	for _, name := range []string{"0000000000000001.seg", "0000000000000002.seg", "0000000000000003.seg"} {
		must(t, os.WriteFile(filepath.Join(path, "log", name), []byte("entries"), 0o640))
	}
	must(t, dir.MarkClean(7))
	must(t, dir.Close())
	m := newMirror(t, path)
	all := m.moments(t, func() {
		dir, err := storage.OpenDir(m, path)
		must(t, err)
		must(t, dir.MarkDiverged("for a test"))
		_, err = dir.StartOver()
		must(t, err)
		must(t, dir.Close())
	})
	states := map[string]int{}
	for n, at := range all {
		for seed := range uint64(6) {
			left := at.cut(t, rand.New(rand.NewPCG(uint64(n), seed)))
			dir, err := storage.OpenDir(storage.OSFS{}, left)
			must(t, err)
			why, divergedErr := dir.Diverged()
			logs, err := os.ReadDir(filepath.Join(left, "log"))
			must(t, err)
			current := filepath.Base(dir.BadgerDir())
			switch state := fmt.Sprintf("%s, %d segments, marked: %v, in the middle: %v", current, len(logs), why != "", divergedErr != nil); {
			case current == "badger-1" && why == "" && len(logs) != 3, current == "badger-1" && why != "" && divergedErr == nil,
				current == "badger-2" && (len(logs) > 0 || why == "" || divergedErr != nil || dir.CleanEnd() != 0):
				t.Errorf("moment %d, seed %d: %s, clean %d", n, seed, state, dir.CleanEnd())
			default:
				states[state]++
			}
			if why != "" {
				if _, err := dir.StartOver(); err != nil {
					t.Errorf("moment %d, seed %d: starting over again: %v", n, seed, err)
				}
				must(t, dir.BeginUse())
				logs, _ := os.ReadDir(filepath.Join(left, "log"))
				if _, err := dir.Diverged(); err != nil || len(logs) > 0 || len(badgerFolders(t, left)) != 2 {
					t.Errorf("moment %d, seed %d: after starting over again: %v, %d segments, %q", n, seed, err, len(logs), badgerFolders(t, left))
				}
			}
			must(t, dir.Close())
		}
	}
	t.Logf("%d moments: %v", len(all), states)
	if len(states) < 5 {
		t.Error("hardly anything was met")
	}
}
