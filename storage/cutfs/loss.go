package cutfs

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

// Loss counts what Lose has taken.
type Loss struct{ Files, Pages, Of int }

// Lose takes away some of what was not synced when the power of the process that used root was cut. That process has ended.
func Lose(root string, r *rand.Rand) (loss Loss, err error) {
	in, err := os.Open(filepath.Join(notes(root), noteName))
	if err != nil {
		return loss, fmt.Errorf("there was no power cut: %w", err)
	}
	defer in.Close()
	files := map[string]*shadow{}
	if err := gob.NewDecoder(in).Decode(&files); err != nil {
		return loss, err
	}
	c := coin{r, chances[r.IntN(len(chances))]}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := c.loseOwn(path, files[path], &loss); err != nil {
			return loss, err
		}
	}
	c.keeps = chances[r.IntN(len(chances))]
	dirs, err := filepath.Glob(filepath.Join(root, "badger-*"))
	for _, dir := range dirs {
		err = errors.Join(err, c.loseMapped(dir, filepath.Join(notes(root), filepath.Base(dir)), &loss))
	}
	return loss, errors.Join(err, os.RemoveAll(notes(root)))
}

// chances are those of a page to be kept; one of them is drawn for each cut.
var chances = []float64{0, 0.03, 0.5, 0.5, 0.97, 1}

type coin struct {
	r     *rand.Rand
	keeps float64
}

func (c coin) keep() bool { return c.r.Float64() < c.keeps }

// loseOwn puts pages and the size of a file back to what was synced.
func (c coin) loseOwn(path string, s *shadow, loss *Loss) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now, before := info.Size(), loss.Pages
	size := now
	if now != s.Size && !c.keep() {
		size = s.Size
	}
	for _, offset := range slices.Sorted(maps.Keys(s.Pages)) {
		if loss.Of++; offset < now && c.keep() {
			continue // what a truncation took away and whose new size is lost comes back, or is zeros
		}
		loss.Pages++
		if _, err := f.WriteAt(s.Pages[offset], offset); err != nil {
			return err
		}
	}
	// Pages behind the synced size have no earlier contents: they are there, or are zeros.
	for offset := (s.Size + pageBytes - 1) &^ (pageBytes - 1); offset < min(now, size); offset += pageBytes {
		if loss.Of++; c.keep() {
			continue
		}
		loss.Pages++
		if _, err := f.WriteAt(make([]byte, min(pageBytes, now-offset)), offset); err != nil {
			return err
		}
	}
	if loss.Pages > before {
		loss.Files++
	}
	return f.Truncate(size)
}

// loseMapped puts pages of Badger's mapped files back to those of the last copy. A file that is younger than it may be empty or absent.
func (c coin) loseMapped(dir, copied string, loss *Loss) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(copied); errors.Is(err, fs.ErrNotExist) {
		return nil // made by whoever syncs it before it is used
	}
	for _, e := range entries {
		if !isMapped(e.Name()) {
			continue
		}
		if err := c.loseMappedFile(filepath.Join(dir, e.Name()), filepath.Join(copied, e.Name()), loss); err != nil {
			return err
		}
	}
	return nil
}

func (c coin) loseMappedFile(path, copied string, loss *Loss) error {
	old, err := os.Open(copied)
	if errors.Is(err, fs.ErrNotExist) {
		if c.keep() {
			return nil
		}
		loss.Files++
		return os.Remove(path)
	}
	if err != nil {
		return err
	}
	defer old.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	before := loss.Pages
	err = eachData(f, info.Size(), func(begin, end int64) error {
		for offset := begin &^ (pageBytes - 1); offset < end; offset += pageBytes {
			if err := c.losePage(f, old, offset, min(pageBytes, info.Size()-offset), loss); err != nil {
				return err
			}
		}
		return nil
	})
	if loss.Pages > before {
		loss.Files++
	}
	return err
}

func (c coin) losePage(f, old *os.File, offset, bytesWanted int64, loss *Loss) error {
	now, was := make([]byte, bytesWanted), make([]byte, bytesWanted)
	for from, b := range map[*os.File][]byte{f: now, old: was} {
		if _, err := from.ReadAt(b, offset); err != nil && err != io.EOF {
			return err
		}
	}
	if bytes.Equal(now, was) {
		return nil
	}
	if loss.Of++; c.keep() {
		return nil
	}
	loss.Pages++
	_, err := f.WriteAt(was, offset)
	return err
}
