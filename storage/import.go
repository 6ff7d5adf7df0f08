package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"
)

// Import is a fresh directory of Badger's that is filled from a copy, beside the one in use. CURRENT does not name it before Replace, so whatever
// becomes of it until then changes nothing: the next import, or the next start, removes what is left of it.
//
// Badger's StreamWriter makes tables of the last level, and nothing else. Each table is a stream of its own, which we end where we like: so we know
// how many are being written, and an error of one comes back to us. It would panic if it cut tables itself.
type Import struct {
	s     *Store
	name  string // of the directory
	dir   string
	at    point
	whole bool // it is on the disk, and may be used

	// While it loads.
	db     *badger.DB
	sw     *badger.StreamWriter
	ledger ledger
	buf    *z.Buffer
	filled int64  // bytes of the present table
	table  uint32 // its number, from 1 on
	last   []byte // key
	met    bool   // the applied record

	files []badgerFile // as durable has them
}

const (
	// tablesInFlight is how many tables may wait for the disk, in memory.
	tablesInFlight = 2
	// importTables is how much larger they are than BaseTable, as those of the last level usually are.
	importTables = 2
	// entryExtra is more than Badger adds to a record in a table: its head, its place, its share in the index and in the bloom filter.
	entryExtra = 48
)

// NewImport begins an import. One at a time; Discard ends it, also after Replace.
func (s *Store) NewImport() (*Import, error) {
	if !s.importing.CompareAndSwap(false, true) {
		return nil, errors.New("storage: another copy is being loaded")
	}
	name := nextBadgerDir(filepath.Base(s.dir()))
	i := &Import{s: s, name: name, dir: filepath.Join(s.data.path, name)}
	if err := i.open(); err != nil {
		i.Discard()
		return nil, fmt.Errorf("making %s for a copy of another node's data: %w", i.dir, err)
	}
	return i, nil
}

func (i *Import) open() (err error) {
	if err := removeAll(i.s.opts.FS, i.dir); err != nil {
		return err
	}
	if err := i.s.opts.FS.MkdirAll(i.dir); err != nil {
		return err
	}
	i.ledger.open()
	i.ledger.lost = func(*account) {} // nothing is compacted here
	budget := i.s.budget
	budget.MemTable = 4 << 20                      // nothing goes through it
	budget.BaseTable = i.tableBytes() * 9 / 8 / 32 // in the last level a table is 32 times as large; ours fit
	quiet := news{func() {}, func(uint32) {}, func(int) {}, &i.ledger}
	if i.db, err = openDiskWith(i.dir, budget, &i.s.opts, quiet, func(o badger.Options) badger.Options { return o.WithNumCompactors(0) }); err != nil {
		i.ledger.opened(nil, nil)
		return err
	}
	i.ledger.opened(i.db, nil)
	i.buf = z.NewBuffer(2*gulpBytes, "import")
	i.sw = i.db.NewStreamWriter()
	return i.sw.Prepare()
}

// tableBytes is how much goes into a table.
func (i *Import) tableBytes() int64 { return importTables * i.s.budget.BaseTable }

// Point is where the copy was taken; it is known once Load has returned.
func (i *Import) Point() Point { return i.at.public() }

// Load fills the directory from a copy. When it returns nil all of the copy has come, as it was sent, and is on the disk.
func (i *Import) Load(r io.Reader) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if _, ours := p.(InvariantError); ours {
				panic(p)
			}
			err = fmt.Errorf("storage: Badger panicked while it was loaded: %v", p)
		}
	}()
	m := &importer{r: r}
	if err := m.head(); err != nil {
		return err
	}
	i.at = m.at
	for {
		raw, records, err := m.next()
		if err != nil {
			return err
		}
		if raw == nil {
			return i.finish(m.sum.records)
		}
		if err := i.room(); err != nil {
			return err
		}
		if err := i.take(raw, records); err != nil {
			return err
		}
	}
}

// room refuses to fill the disk: Badger would not survive that.
func (i *Import) room() error {
	free, err := freeBytes(i.dir)
	if need := i.s.diskNeed() + 4*i.tableBytes() + 2*i.s.opts.ValueLogBytes; err == nil && free < need {
		return fmt.Errorf("storage: no room for a copy of another node's data: %d MiB free in %s, %d MiB needed to go on", free>>20, i.s.data.path, need>>20)
	}
	return nil
}

// take writes the records of a chunk.
func (i *Import) take(raw []byte, records int) error {
	n := 0
	for ; len(raw) > 0; n++ {
		key, stored, rest, ok := takeRecord(raw)
		if !ok {
			return badCopy("a chunk with a right checksum has a malformed record")
		}
		value, whole := unseal(key, stored)
		switch {
		case !whole:
			return badCopy("record %q fails its checksum", key)
		case bytes.Compare(i.last, key) >= 0:
			return badCopy("record %q does not follow %q", key, i.last)
		case len(stored) >= i.s.disk.threshold && key[0] != 'b':
			return badCopy("record %q has %d bytes", key, len(value))
		}
		if string(key) == appliedKey {
			if i.met = bytes.Equal(value, i.at.encode()); !i.met {
				return badCopy("its head and its records name different entries")
			}
		}
		if err := i.put(key, stored); err != nil {
			return err
		}
		raw = rest
	}
	if n != records {
		return badCopy("a chunk has %d records instead of %d", n, records)
	}
	return i.write()
}

func (i *Import) put(key, stored []byte) error {
	i.last = append(i.last[:0], key...)
	size := int64(len(key) + entryExtra)
	if len(stored) < i.s.disk.threshold {
		size += int64(len(stored))
	}
	if i.filled+size > i.tableBytes() || i.table == 0 {
		if err := i.endTable(); err != nil {
			return err
		}
	}
	i.filled += size
	badger.KVToBuffer(&pb.KV{Key: key, Value: stored, Version: i.at.Index, StreamId: i.table}, i.buf)
	return nil
}

// endTable begins a table, after the present one if there is one.
func (i *Import) endTable() error {
	if i.table > 0 {
		badger.KVToBuffer(&pb.KV{StreamId: i.table, StreamDone: true}, i.buf)
		if err := i.write(); err != nil {
			return err
		}
	}
	i.table++
	i.filled = 0
	return i.wait(int(i.table) - 1 - tablesInFlight)
}

// wait returns when so many tables are on the disk.
func (i *Import) wait(tables int) error {
	for start := time.Now(); i.db.Levels()[LastLevel].NumTables < tables; {
		if time.Since(start) > i.s.opts.StallTimeout+rotateLimit {
			return errors.New("storage: the disk does not take what is loaded")
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// write hands over what was gathered.
func (i *Import) write() error {
	defer i.buf.Reset()
	return i.sw.Write(i.buf)
}

// finish makes the directory one that a store can be opened in.
func (i *Import) finish(records uint64) error {
	if !i.met {
		return badCopy("it has no applied record")
	}
	if i.filled > 0 {
		if err := i.endTable(); err != nil {
			return err
		}
	}
	if err := i.sw.Flush(); err != nil {
		return fmt.Errorf("storage: loading a copy: %w", err)
	}
	sum := uint64(0)
	for _, t := range i.db.Tables() {
		sum += uint64(t.KeyCount)
	}
	if sum != records {
		return fmt.Errorf("storage: Badger has lost %d of %d records that were loaded", int64(records)-int64(sum), records)
	}
	if err := i.closeBadger(); err != nil {
		return err
	}
	files, err := noteBadgerFiles(i.dir, nil)
	if err != nil {
		return err
	}
	if err := syncAll(i.dir); err != nil {
		return err
	}
	if err := writeDurable(i.s.opts.FS, i.dir, i.at, i.at.Index, files); err != nil {
		return err
	}
	i.files = files
	i.whole = true
	return i.s.opts.FS.SyncDir(i.s.data.path)
}

func (i *Import) closeBadger() error {
	if i.db == nil {
		return nil
	}
	err := i.db.Close()
	i.db = nil
	i.ledger.closed()
	if i.buf != nil {
		err = errors.Join(err, i.buf.Release())
	}
	return err
}

// syncAll fsyncs every file in a directory, and the directory.
func syncAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := syncPath(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return syncPath(dir)
}

// SetMarker leaves a record of the log's beside the copy that has been loaded; see Store.SetMarker. The log goes on behind entry upTo: between the
// copy's point and that no entry had an effect.
func (i *Import) SetMarker(v any, upTo uint64) error {
	invariant(i.whole, "a marker for a copy that is not whole")
	if upTo > i.at.Index {
		if err := writeDurable(i.s.opts.FS, i.dir, i.at, upTo, i.files); err != nil {
			return err
		}
	}
	return writeChecked(i.s.opts.FS, filepath.Join(i.dir, markerFile), v)
}

// Marker reads what SetMarker wrote.
func (i *Import) Marker(v any) (ok bool, err error) {
	return readChecked(i.s.opts.FS, filepath.Join(i.dir, markerFile), v)
}

// Discard ends the import. What was loaded is removed, unless the store was switched to it.
func (i *Import) Discard() {
	if i.s == nil {
		return
	}
	s := i.s
	if i.db != nil {
		i.sw.Cancel()
		if err := i.closeBadger(); err != nil {
			s.opts.Logger.Warn("closing what was loaded", "dir", i.dir, "err", err)
		}
	}
	if s.dir() != i.dir {
		if err := removeAll(s.opts.FS, i.dir); err != nil {
			s.opts.Logger.Warn("what was loaded stays on the disk until the next start", "dir", i.dir, "err", err)
		}
	}
	i.s = nil
	s.importing.Store(false)
}

// removeAll removes a directory of Badger's, if it is there.
func removeAll(fsys FS, dir string) error {
	if exists, err := fsys.Exists(dir); err != nil || !exists {
		return err
	}
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := fsys.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return fsys.Remove(dir)
}
