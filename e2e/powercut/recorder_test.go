package powercut

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sett/storage"
)

// recorder is the child's storage.FS: the real file system, and a journal of all that changes it. Only the journal decides what is left of our own
// files after a cut, so its syncs need not be real: they take a random time instead, in which others go on writing.
//
// Without a journal it is a file system that does not sync, for looking at what a cut has left.
type recorder struct {
	storage.OSFS
	root    string
	journal *journal
	fuse    *fuse

	mu    sync.Mutex // one change at a time, in the journal as on the disk; guards the rest
	files uint32
	syncs int64
}

// do changes something and records it. A kill between the two is one before the change: nobody has been told of it.
func (r *recorder) do(rec record, change func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := change(); err != nil {
		return err
	}
	return r.record(rec)
}

// record adds to the journal, and may end the process. r.mu is held.
func (r *recorder) record(rec record) error {
	if r.journal == nil {
		return nil
	}
	rec.path = r.relative(rec.path)
	if err := r.journal.add(rec); err != nil {
		return err
	}
	r.fuse.saw("operation")
	r.fuse.saw(moment(rec))
	return nil
}

func (r *recorder) relative(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, r.root), "/")
}

// note records something that is not a change of a file.
func (r *recorder) note(rec record) {
	if err := r.do(rec, func() error { return nil }); err != nil {
		fail(err)
	}
}

// moment names the moments that a kill may be aimed at.
func moment(r record) string {
	name := filepath.Base(r.path)
	switch {
	case r.kind == created && name == "prepare.tmp":
		return "rotation"
	case r.kind == renamed && name == "prepare.tmp":
		return "rotated"
	case (r.kind == renamed || r.kind == removed) && strings.HasSuffix(name, ".seg"):
		return "trim"
	case (r.kind == created || r.kind == renamed) && name == "durable.tmp":
		return "durable"
	case r.kind == syncing:
		return "sync"
	case r.kind == noted:
		return r.path
	}
	return ""
}

func (r *recorder) Create(path string) (storage.File, error) {
	return r.open(created, path, r.OSFS.Create)
}

func (r *recorder) Open(path string) (storage.File, error) { return r.open(opened, path, r.OSFS.Open) }

func (r *recorder) open(k kind, path string, open func(string) (storage.File, error)) (storage.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	r.files++
	return &recordedFile{f, r, r.files}, r.record(record{kind: k, file: r.files, path: path})
}

func (r *recorder) Rename(old, new string) error {
	return r.do(record{kind: renamed, path: old, data: []byte(r.relative(new))}, func() error { return os.Rename(old, new) })
}

func (r *recorder) Remove(path string) error {
	return r.do(record{kind: removed, path: path}, func() error { return os.Remove(path) })
}

func (r *recorder) MkdirAll(path string) error {
	return r.do(record{kind: made, path: path}, func() error { return r.OSFS.MkdirAll(path) })
}

func (r *recorder) SyncDir(path string) error {
	if len(path) < len(r.root) {
		return nil // above the disk
	}
	return r.sync(record{kind: syncingDir, path: path})
}

// sync takes its time between its beginning and its end.
func (r *recorder) sync(rec record) error {
	if r.journal == nil {
		return nil
	}
	r.mu.Lock()
	r.syncs++
	number := r.syncs
	rec.at = number
	err := r.record(rec)
	r.mu.Unlock()
	if err != nil {
		return err
	}
	time.Sleep(syncTime())
	return r.do(record{kind: synced, at: number}, func() error { return nil })
}

// syncTime is that of a good disk, mostly.
func syncTime() time.Duration {
	limit := 2 * time.Millisecond
	switch rand.IntN(50) {
	case 0:
		limit = 60 * time.Millisecond
	case 1, 2, 3, 4:
		limit = 10 * time.Millisecond
	}
	return rand.N(limit)
}

type recordedFile struct {
	storage.File
	r      *recorder
	number uint32
}

func (f *recordedFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.r.do(record{kind: wrote, file: f.number, at: at, data: p}, func() error {
		n, err = f.File.WriteAt(p, at)
		return err
	})
	return n, err
}

func (f *recordedFile) Truncate(size int64) error {
	return f.r.do(record{kind: truncated, file: f.number, at: size}, func() error { return f.File.Truncate(size) })
}

func (f *recordedFile) Sync() error { return f.r.sync(record{kind: syncing, file: f.number}) }
