package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File is an open file of our own. Reads and writes carry their offset, so a File has no position and may be used by several goroutines.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // fdatasync: the data, and the size if it changed
	Truncate(size int64) error
	Size() (int64, error)
}

// FS is every operation that sett performs on its own files. It exists so that a test can take the power away: whatever is not covered by
// File.Sync (contents, size) or SyncDir (names) may be lost. Badger's files do not go through it.
type FS interface {
	Create(path string) (File, error) // a new file, read-write, 0o640; an error if the name is taken
	Open(path string) (File, error)   // an existing file, read-write
	ReadFile(path string) ([]byte, error)
	Rename(old, new string) error // replaces new if it exists
	Remove(path string) error     // a file or an empty directory
	MkdirAll(path string) error
	ReadDir(path string) ([]string, error) // sorted names
	SyncDir(path string) error             // makes creations, renames and removals in the directory durable
	Exists(path string) (bool, error)
}

// OSFS is the real file system.
type OSFS struct{}

var _ FS = OSFS{}

// Create makes a new file and fails if the name is taken.
func (OSFS) Create(path string) (File, error) {
	return openOSFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open opens an existing file for reading and writing.
func (OSFS) Open(path string) (File, error) { return openOSFile(path, os.O_RDWR) }

// ReadFile returns the whole contents of a file.
func (OSFS) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

// Rename gives a file another name, replacing what had it.
func (OSFS) Rename(old, new string) error { return os.Rename(old, new) }

// Remove deletes a file or an empty directory.
func (OSFS) Remove(path string) error { return os.Remove(path) }

// MkdirAll makes a directory and its parents. Their names are durable after SyncDir of the directories that they were made in.
func (OSFS) MkdirAll(path string) error { return os.MkdirAll(path, 0o750) }

// ReadDir returns the names in a directory, sorted.
func (OSFS) ReadDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// SyncDir makes the names in a directory durable.
func (OSFS) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		d.Close()
		return err
	}
	return d.Close()
}

// Exists tells whether a name is taken.
func (OSFS) Exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

type osFile struct{ *os.File }

func openOSFile(path string, flag int) (File, error) {
	f, err := os.OpenFile(path, flag, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Sync() error { return fdatasync(f.File) }

// Allocate takes the space for size bytes from the file system, so that a full disk is met before anything was written. It is not part of File:
// who wants it asks for it, and a file without it finds out by writing.
func (f osFile) Allocate(size int64) error { return allocate(f.File, size) }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// WriteFileAtomic replaces a file so that after a power cut it has either its old or its new contents, and the new ones once this has returned
// nil. Only one caller at a time may write a given path.
func WriteFileAtomic(fsys FS, path string, data []byte) error {
	temp := path + ".tmp"
	if err := writeTemp(fsys, temp, data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fsys.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeTemp leaves data, synced, under a name that an earlier crash may have left behind.
func writeTemp(fsys FS, temp string, data []byte) (err error) {
	if err := fsys.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(temp)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	return f.Sync()
}
