package powercut

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

const pageBytes = 4096

// pages is the contents of a file; pages of zeros are left out.
type pages struct {
	size int64
	at   map[int64][]byte // by offset
}

var zeros [pageBytes]byte

// readPages reads a file, again if it became shorter meanwhile: Badger empties a file before it removes it, and half of it was never on a disk.
func readPages(path string) (*pages, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for {
		before, err := f.Stat()
		if err != nil {
			return nil, err
		}
		p, err := readData(f, before.Size())
		if err != nil {
			return nil, err
		}
		if after, err := f.Stat(); err != nil || after.Size() == p.size {
			return p, err
		}
	}
}

// readData reads a file without its holes: Badger's are much larger than what is in them.
func readData(f *os.File, size int64) (*pages, error) {
	p := &pages{size, map[int64][]byte{}}
	for offset := int64(0); offset < p.size; {
		from, err := f.Seek(offset, unix.SEEK_DATA)
		hole := from
		if err == nil {
			hole, err = f.Seek(from, unix.SEEK_HOLE)
		}
		if errors.Is(err, unix.ENXIO) {
			break // nothing but a hole follows, or the file became shorter
		}
		if err != nil {
			return nil, err
		}
		for offset = from &^ (pageBytes - 1); offset < hole; offset += pageBytes {
			page := make([]byte, pageBytes)
			n, err := f.ReadAt(page, offset)
			if err != nil && err != io.EOF {
				return nil, err
			}
			if page = page[:n]; string(page) != string(zeros[:n]) {
				p.at[offset] = page
			}
		}
	}
	return p, nil
}

func (p *pages) write(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for offset, page := range p.at {
		if _, err := f.WriteAt(page, offset); err != nil {
			return err
		}
	}
	return f.Truncate(p.size)
}

// readMapped reads the files of a folder that Badger maps.
func readMapped(dir string) (map[string]*pages, error) {
	files := map[string]*pages{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return files, nil
	}
	for _, e := range entries {
		if !isMapped(e.Name()) || err != nil {
			continue
		}
		p, rerr := readPages(filepath.Join(dir, e.Name()))
		if errors.Is(rerr, fs.ErrNotExist) {
			continue // removed just now
		}
		files[e.Name()], err = p, rerr
	}
	return files, err
}

// coin says true with a probability. As a rand.Source it makes crashfs keep what is not synced with that probability.
type coin struct {
	r     *rand.Rand
	heads float64
}

func (c coin) toss() bool { return c.r.Float64() < c.heads }

func (c coin) Uint64() uint64 {
	if c.toss() {
		return 1<<64 - 1
	}
	return 0
}

// cut makes one of the states in which a power cut may leave a file that was durable as old (nil: not there) and is as new.
func (c coin) cut(old, new *pages) *pages {
	if old == nil {
		old = &pages{at: map[int64][]byte{}}
		switch c.r.IntN(8) {
		case 0, 1:
			return nil
		case 2:
			return old
		}
		old.size = new.size
	}
	after := &pages{old.size, map[int64][]byte{}}
	if c.toss() {
		after.size = new.size
	}
	offsets := slices.Concat(slices.Collect(maps.Keys(old.at)), slices.Collect(maps.Keys(new.at)))
	slices.Sort(offsets) // so that the seed alone decides
	for _, offset := range slices.Compact(offsets) {
		page, other := old.at[offset], new.at[offset]
		// Behind a new end nothing was overwritten: either the length is on the disk, or the pages are as they were.
		if string(page) != string(other) && offset < new.size && c.toss() {
			page = other
		}
		if page != nil && offset < after.size {
			after.at[offset] = page[:min(int64(len(page)), after.size-offset)]
		}
	}
	return after
}
