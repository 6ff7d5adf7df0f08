package cutfs

import (
	"encoding/gob"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sett/storage"
)

const pageBytes = 4096

// FS is storage.OSFS that knows what is not synced.
type FS struct {
	storage.OSFS
	root    string       // all that it looks after is in here
	delayNs atomic.Int64 // of each write and sync

	mu    sync.Mutex // a change, or the cut; guards the rest
	files map[string]*shadow
}

// shadow is what a cut may leave of a file instead of what is there.
type shadow struct {
	Size    int64
	Pages   map[int64][]byte // by offset, as they were at the last sync
	syncing *shadow          // the same, for a sync that has begun and not ended; one at a time
	queue   sync.Mutex       // held by the one that syncs
}

// New looks after the files in root, which may be missing yet. The notes of an earlier life go.
func New(root string) (*FS, error) {
	f := &FS{root: root, files: map[string]*shadow{}}
	if err := os.RemoveAll(notes(root)); err != nil {
		return nil, err
	}
	dirs, err := filepath.Glob(filepath.Join(root, "badger-*"))
	for _, dir := range dirs {
		err = errors.Join(err, f.Copy(dir))
	}
	return f, err
}

// SetDelay says how long each write and each sync takes from now on, those included that are being delayed. An hour is a disk that hangs.
func (f *FS) SetDelay(d time.Duration) { f.delayNs.Store(int64(d)) }

// delay is what a write or a sync waits for.
func (f *FS) delay() {
	const slice = 5 * time.Millisecond
	for begun := time.Now(); ; time.Sleep(slice) {
		if delay := time.Duration(f.delayNs.Load()); delay == 0 || time.Since(begun) >= delay {
			return
		}
	}
}

// notes is the directory of what a cut needs.
func notes(root string) string { return root + ".cut" }

// Cut ends the process as a power cut does: nothing is written or synced any more. It does not return.
func (f *FS) Cut() {
	f.mu.Lock() // for ever
	for _, s := range f.files {
		s.merge()
	}
	err := os.MkdirAll(notes(f.root), 0o750)
	if err == nil {
		err = writeNote(filepath.Join(notes(f.root), noteName), f.files)
	}
	if err != nil {
		panic(err) // whoever waits for the cut sees that it is none
	}
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

const noteName = "note"

func writeNote(path string, files map[string]*shadow) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	return gob.NewEncoder(out).Encode(files)
}

// merge takes back a sync that has not ended: a cut knows nothing of it.
func (s *shadow) merge() {
	if s.syncing == nil {
		return
	}
	for offset, page := range s.syncing.Pages {
		s.Pages[offset] = page
	}
	s.Size, s.syncing = s.syncing.Size, nil
}

// Create makes a file. It is there at once, and empty.
func (f *FS) Create(path string) (storage.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := f.OSFS.Create(path)
	if err != nil {
		return nil, err
	}
	f.files[path] = &shadow{Pages: map[int64][]byte{}}
	return &openFile{file, f, f.files[path]}, nil
}

// Open opens a file; what is in one that nobody has opened before is synced.
func (f *FS) Open(path string) (storage.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := f.OSFS.Open(path)
	if err != nil {
		return nil, err
	}
	s := f.files[path]
	if s == nil {
		s = &shadow{Pages: map[int64][]byte{}}
		if s.Size, err = file.Size(); err != nil {
			file.Close()
			return nil, err
		}
		f.files[path] = s
	}
	return &openFile{file, f, s}, nil
}

// Rename moves a file, or a directory with all that is in it.
func (f *FS) Rename(old, new string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.OSFS.Rename(old, new); err != nil {
		return err
	}
	moved := map[string]*shadow{}
	for path, s := range f.files {
		if rest, in := within(path, old); in {
			delete(f.files, path)
			moved[new+rest] = s
		}
	}
	delete(f.files, new)
	for path, s := range moved {
		f.files[path] = s
	}
	return nil
}

func within(path, dir string) (rest string, in bool) {
	if path == dir {
		return "", true
	}
	if len(path) > len(dir) && path[:len(dir)] == dir && path[len(dir)] == filepath.Separator {
		return path[len(dir):], true
	}
	return "", false
}

// Remove deletes a file.
func (f *FS) Remove(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.OSFS.Remove(path)
	if err == nil {
		delete(f.files, path)
	}
	return err
}

// MkdirAll and SyncDir have nothing to remember, but nothing happens after a cut.
func (f *FS) MkdirAll(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.OSFS.MkdirAll(path)
}

// SyncDir returns once the directory is synced, unless the power is cut.
func (f *FS) SyncDir(path string) error {
	err := f.OSFS.SyncDir(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	return err
}

type openFile struct {
	storage.File
	fs *FS
	s  *shadow
}

// WriteAt keeps the pages that it changes as they were.
func (o *openFile) WriteAt(p []byte, at int64) (n int, err error) {
	o.fs.delay()
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	if err := o.keep(at, at+int64(len(p))); err != nil {
		return 0, err
	}
	return o.File.WriteAt(p, at)
}

// Truncate keeps the pages that it takes away.
func (o *openFile) Truncate(size int64) error {
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	if now, err := o.File.Size(); err != nil {
		return err
	} else if size < now {
		if err := o.keep(size, now); err != nil {
			return err
		}
	}
	return o.File.Truncate(size)
}

// keep is called with the lock held.
func (o *openFile) keep(from, to int64) error {
	for offset := from &^ (pageBytes - 1); offset < to && offset < o.s.Size; offset += pageBytes {
		if _, kept := o.s.Pages[offset]; kept {
			continue
		}
		page := make([]byte, min(pageBytes, o.s.Size-offset))
		if n, err := o.File.ReadAt(page, offset); err != nil && err != io.EOF {
			return err
		} else {
			clear(page[n:])
		}
		o.s.Pages[offset] = page
	}
	return nil
}

// Sync covers what was written before it began.
func (o *openFile) Sync() error {
	o.fs.delay()
	o.s.queue.Lock()
	defer o.s.queue.Unlock()
	o.fs.mu.Lock()
	size, err := o.File.Size()
	if err == nil {
		o.s.syncing = &shadow{Size: o.s.Size, Pages: o.s.Pages}
		o.s.Size, o.s.Pages = size, map[int64][]byte{}
	}
	o.fs.mu.Unlock()
	if err == nil {
		err = o.File.Sync()
	}
	o.fs.mu.Lock()
	defer o.fs.mu.Unlock()
	if err != nil {
		o.s.merge()
	}
	o.s.syncing = nil
	return err
}
