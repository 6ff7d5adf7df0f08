package storage

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DiskBytes is what Badger's files take on disk at this moment: the data directory without the log.
func (s *Store) DiskBytes() (bytes int64, err error) {
	names, err := os.ReadDir(s.dir())
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		var st unix.Stat_t
		switch err := unix.Stat(filepath.Join(s.dir(), name.Name()), &st); {
		case err == nil:
			bytes += st.Blocks * 512
		case !errors.Is(err, fs.ErrNotExist): // a table may be gone by now
			return 0, err
		}
	}
	return bytes, nil
}
