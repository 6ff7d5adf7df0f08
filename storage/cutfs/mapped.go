package cutfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// isMapped tells whether Badger writes a file only through memory.
func isMapped(name string) bool {
	return strings.HasSuffix(name, ".mem") || strings.HasSuffix(name, ".vlog") || name == "DISCARD"
}

// Copy keeps the files of a Badger directory that are mapped: a barrier has just synced them.
func (f *FS) Copy(dir string) error { return f.copy(dir, isMapped) }

// CopyValues keeps the value log, which alone was synced; all else stays as it was at the last copy.
func (f *FS) CopyValues(dir string) error {
	return f.copy(dir, func(name string) bool { return strings.HasSuffix(name, ".vlog") })
}

// copy makes a new copy and puts it in the place of the last one.
func (f *FS) copy(dir string, fresh func(name string) bool) error {
	last := filepath.Join(notes(f.root), filepath.Base(dir))
	next := last + ".next"
	if err := errors.Join(os.RemoveAll(next), os.MkdirAll(next, 0o750)); err != nil {
		return err
	}
	for _, from := range []string{last, dir} {
		entries, err := os.ReadDir(from)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if !isMapped(e.Name()) || (from == dir) != fresh(e.Name()) {
				continue
			}
			err := copySparse(filepath.Join(from, e.Name()), filepath.Join(next, e.Name()))
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // removed just now
				return err
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(os.RemoveAll(last), os.Rename(next, last))
}

// copySparse copies a file without its holes: Badger's are much larger than what is in them.
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	return eachData(in, info.Size(), func(begin, end int64) error {
		_, err := io.Copy(io.NewOffsetWriter(out, begin), io.NewSectionReader(in, begin, end-begin))
		return err
	})
}

// eachData goes over the parts of a file that are no holes.
func eachData(f *os.File, size int64, visit func(begin, end int64) error) error {
	for offset := int64(0); offset < size; {
		begin, err := f.Seek(offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole follows
		}
		if err != nil {
			return err
		}
		end, err := f.Seek(begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		end = min(end, size)
		if err := visit(begin, end); err != nil || end <= begin {
			return err
		}
		offset = end
	}
	return nil
}
