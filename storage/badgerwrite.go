//go:build !sett_nolink

package storage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	_ "unsafe" // for go:linkname

	"github.com/dgraph-io/badger/v4"
	badgertable "github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2/z"
)

//go:linkname badgerAddLevel0 github.com/dgraph-io/badger/v4.(*levelsController).addLevel0Table
func badgerAddLevel0(s *mirrorController, t *badgertable.Table) error

//go:linkname badgerTableOptions github.com/dgraph-io/badger/v4.buildTableOptions
func badgerTableOptions(db *badger.DB) badgertable.Options

// tableWriter writes tables as files are written. Badger maps an empty file and copies into it: two faults for each page, and all processors are
// interrupted for each when it is synced.
type tableWriter struct{ buf []byte }

// write makes a table of what was added to b. It is on the disk, but in no directory that was synced.
func (w *tableWriter) write(r *reached, b *badgertable.Builder, o badgertable.Options) (*badgertable.Table, error) {
	data := b.Done()
	if cap(w.buf) < data.Size {
		w.buf = make([]byte, data.Size)
	}
	w.buf = w.buf[:data.Size]
	data.Copy(w.buf)
	path := badgertable.NewFilename(atomic.AddUint64(&r.lc.nextFileID, 1)-1, r.db.Opts().Dir)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	t, err := w.open(f, o)
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	return t, nil
}

// writtenAtOnce is how much of a table is given to the kernel in one call: it does not let others have the processor meanwhile.
const writtenAtOnce = 128 << 10

// open writes a table's file, and maps it for its readers.
func (w *tableWriter) open(f *os.File, o badgertable.Options) (*badgertable.Table, error) {
	for rest := w.buf; len(rest) > 0; {
		n, err := f.Write(rest[:min(len(rest), writtenAtOnce)])
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	if err := fdatasync(f); err != nil {
		return nil, err
	}
	mapped, err := z.OpenMmapFileUsing(f, 0, false)
	if err != nil {
		return nil, err
	}
	return badgertable.OpenTable(mapped, o)
}

// level0Loader is a loader that makes a table of level 0 of what it is given, in ascending order but for some extra records.
type level0Loader struct {
	*reached
	out     *tableWriter
	options badgertable.Options
	b       *badgertable.Builder
	version uint64
	extra   []plainRecord         // in order; behind those that were written
	note    func(tables []uint64) // is told of the table when it is in use
	key     []byte
	value   []byte
}

// level0FalsePositive is lower than in other levels: a search asks the filters of all tables of level 0. Badger takes too few bits for what it is told
// (y.BloomBitsPerKey returns how many bits a key sets): this is 14 for each key, wrong for one absent key of 800; its default 7, for one of 30.
const level0FalsePositive = 0.0001

func (r *reached) newLevel0Loader(version uint64, size int64, extra []plainRecord, out *tableWriter, note func([]uint64)) recordLoader {
	slices.SortFunc(extra, func(a, b plainRecord) int { return bytes.Compare(a.key, b.key) })
	l := &level0Loader{reached: r, out: out, options: badgerTableOptions(r.db), version: version, extra: extra, note: note}
	l.options.TableSize, l.options.BloomFalsePositive = uint64(size), level0FalsePositive
	l.b = badgertable.NewTableBuilder(l.options)
	return l
}

func (l *level0Loader) set(key, value []byte) error {
	for len(l.extra) > 0 && bytes.Compare(l.extra[0].key, key) <= 0 {
		if e := l.extra[0]; bytes.Compare(e.key, key) < 0 { // else the generation knows better
			l.add(e.key, e.value)
		}
		l.extra = l.extra[1:]
	}
	l.add(key, value)
	return nil
}

func (l *level0Loader) add(key, value []byte) {
	invariant(len(key) > 0 && len(key) <= MaxKeyBytes, "flushing a key of %d bytes", len(key))
	l.key = append(append(l.key[:0], key...), 0, 0, 0, 0, 0, 0, 0, 0)
	setVersion(l.key, l.version)
	v := y.ValueStruct{Meta: metaDeleted}
	if value != nil {
		l.value = appendRecordCRC(append(l.value[:0], value...), key, value)
		v = y.ValueStruct{Value: l.value}
	}
	l.b.Add(l.key, v, 0)
}

func (l *level0Loader) finish() error {
	defer l.b.Close()
	for _, e := range l.extra {
		l.add(e.key, e.value)
	}
	t, err := l.out.write(l.reached, l.b, l.options)
	if err != nil {
		return err
	}
	if err := syncPath(l.db.Opts().Dir); err != nil {
		return err
	}
	if err := badgerAddLevel0(l.lc, t); err != nil {
		return err // MANIFEST may name it: the file stays
	}
	l.note([]uint64{t.ID()})
	return t.DecrRef() // the level has its own
}
