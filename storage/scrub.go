package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// scrubPiece is how much a scrub reads at a time: more than any record of the value log.
const scrubPiece = 4 * maxPointedBytes

// Scrub is one reading of all tables, and of all value log files but the one that is being written, which compares their checksums. What Badger
// writes meanwhile is left to the next one. Not for use by several goroutines.
type Scrub struct {
	s     *Store
	files []scrubFile
	bytes int64
	at    int64 // how far the first of files has been read: a block of a table, an offset in a value log file; 0: not yet
}

type scrubFile struct {
	id     uint64
	values bool // it is of the value log
	bytes  int64
}

// NewScrub begins anywhere, so that all files have their turn even if no scrub ever comes to its end.
func (s *Store) NewScrub() *Scrub {
	c := &Scrub{s: s}
	s.disk.inUse.RLock()
	tables := s.disk.db.Tables()
	s.disk.inUse.RUnlock()
	for _, t := range tables {
		c.files = append(c.files, scrubFile{id: t.ID, bytes: tableBytes(t)})
	}
	logs := valueLogFiles(s.dir())
	for _, f := range logs[:max(0, len(logs)-1)] {
		c.files = append(c.files, scrubFile{id: uint64(f.id), values: true, bytes: f.size})
	}
	if n := len(c.files); n > 0 {
		first := rand.IntN(n)
		c.files = append(c.files[first:n:n], c.files[:first]...)
	}
	for _, f := range c.files {
		c.bytes += f.bytes
	}
	return c
}

// Bytes is how much there was to read when the scrub began.
func (c *Scrub) Bytes() int64 { return c.bytes }

// Next reads some more and tells how much, 0 once everything has been read. A checksum that is wrong is damage.
func (c *Scrub) Next() (bytes int64, err error) {
	for len(c.files) > 0 {
		f, read := &c.files[0], c.table
		if f.values {
			read = c.valueLog
		}
		n, through, err := read(f)
		if through || err != nil {
			c.files, c.at = c.files[1:], 0
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// table reads some blocks of a table.
func (c *Scrub) table(scrubbed *scrubFile) (bytes int64, through bool, err error) {
	c.s.disk.inUse.RLock()
	defer c.s.disk.inUse.RUnlock()
	f, t, err := openTableFile(c.s.dir(), scrubbed.id)
	if err != nil {
		return 0, true, c.s.damagedTable(scrubbed.id, err)
	}
	defer f.Close()
	for ; bytes < scrubPiece && c.at < int64(t.blocks()); c.at++ {
		if _, err := t.block(int(c.at)); err != nil {
			return bytes, true, c.s.damagedTable(scrubbed.id, err)
		}
		_, _, length := t.firstKey(int(c.at))
		bytes += int64(length)
	}
	return bytes, c.at == int64(t.blocks()), nil
}

// damagedTable is damage that somebody met who reads a table without Badger; nil if compactions have replaced it: Badger cuts a table's file before it removes
// it. disk.inUse is held.
func (s *Store) damagedTable(id uint64, why error) error {
	used := func(t badger.TableInfo) bool { return t.ID == id }
	if errors.Is(why, fs.ErrNotExist) || !slices.ContainsFunc(s.disk.db.Tables(), used) {
		return nil
	}
	return s.disk.damagedFile(tableName(id), why.Error())
}

// valueLog reads some records of a value log file.
func (c *Scrub) valueLog(scrubbed *scrubFile) (bytes int64, through bool, err error) {
	name := valueLogName(uint32(scrubbed.id))
	f, err := os.Open(filepath.Join(c.s.dir(), name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, true, nil
	}
	if err != nil {
		return 0, true, c.s.disk.damagedFile(name, err.Error())
	}
	defer f.Close()
	from := max(c.at, recordFileHeader)
	end, _ := walkRecords(io.NewSectionReader(f, 0, from+scrubPiece), from, true, nil)
	if end > from {
		c.at = end
		return end - from, false, nil
	}
	rest := make([]byte, recordHeadBytes)
	n, _ := f.ReadAt(rest, end)
	if allZero(rest[:n]) { // the end, also of a file that was collected meanwhile: Badger cuts it before it removes it
		return 0, true, nil
	}
	return 0, true, c.s.disk.damagedFile(name, fmt.Sprintf("the record at offset %d fails its checksum", end))
}

// damagedFile is damage that is not in the way of any one record.
func (d *disk) damagedFile(name, reason string) error {
	what := name + ": " + reason
	if d.unhealthy.CompareAndSwap(nil, &what) {
		d.logger.Error("damage was found: stop the server, run `sett check`, restore a copy", "first", what)
	}
	return &CorruptError{[]byte(name), what}
}
