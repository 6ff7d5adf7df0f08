package storage

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// Cause is why a record in a table is of no use to anybody.
type Cause int

const (
	Live            Cause = iota // it is of use
	Tombstone                    // it says that a record was deleted
	Shadowed                     // a newer record has taken its place, or a deletion
	Expired                      // its time is past, and the sweeper has not come to it
	DeadCollection               // what it belongs to is dead: a collection or a blob
	FlushedKeyspace              // … a database that was flushed
	Causes
)

func (c Cause) String() string {
	return [Causes]string{"live", "tombstones", "shadowed", "expired", "dead_collections", "flushed_keyspaces"}[c]
}

// Fate tells what a record is that is the newest of its key. get reads others as of now.
type Fate func(key, value []byte, get func(key []byte) ([]byte, error)) Cause

// Sample reads some blocks of tables, drawn by chance from all bytes that tables take, and returns these bytes by what the records there are
// found to be: an estimate, off by 1/√blocks of them at worst. What is in memory, in memtables and in the value log is not in it. A block whose
// checksum is wrong is damage.
func (s *Store) Sample(blocks int, fate Fate) (bytes [Causes]int64, err error) {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	infos, total := s.disk.db.Tables(), int64(0)
	for _, t := range infos {
		total += tableBytes(t)
	}
	if total == 0 {
		return bytes, nil
	}
	w := s.weigh(fate)
	defer w.txn.Discard()
	for t, n := range draw(infos, total, blocks) {
		if err := w.table(infos[t].ID, n); err != nil {
			return bytes, err
		}
	}
	for cause, n := range w.found {
		bytes[cause] = int64(float64(n) / float64(max(1, w.all)) * float64(total))
	}
	return bytes, nil
}

// draw tells how many blocks of which tables are read.
func draw(infos []badger.TableInfo, total int64, blocks int) (of map[int]int) {
	of = make(map[int]int)
	for range blocks {
		at := rand.Int64N(total)
		for i, t := range infos {
			if at -= tableBytes(t); at < 0 {
				of[i]++
				break
			}
		}
	}
	return of
}

// weighing adds up the bytes of records by what they are.
type weighing struct {
	s     *Store
	fate  Fate
	txn   *badger.Txn
	found [Causes]int64
	all   int64
}

// weigh begins. disk.inUse is held, and txn has to be discarded.
func (s *Store) weigh(fate Fate) *weighing {
	return &weighing{s: s, fate: fate, txn: s.disk.db.NewTransactionAt(newest, false)}
}

// table reads some blocks of a table. A compaction may have removed it meanwhile.
func (w *weighing) table(id uint64, blocks int) error {
	f, t, err := openTableFile(w.s.dir(), id)
	if err != nil {
		return w.s.damagedTable(id, err)
	}
	defer f.Close()
	for range blocks {
		b, err := t.block(rand.IntN(t.blocks()))
		if err != nil {
			return w.s.damagedTable(id, err)
		}
		for i := range b.len() {
			r, err := b.entry(i)
			if err != nil {
				return w.s.damagedTable(id, err)
			}
			size := int64(len(r.key) + len(r.value))
			w.found[w.cause(r)] += size
			w.all += size
		}
	}
	return nil
}

func (w *weighing) cause(r storedRecord) (c Cause) {
	key := userKey(r.key)
	// Bytes that Badger does not read as we do are found by those who read them for their own sake.
	defer func() {
		if recover() != nil {
			c = Live
		}
	}()
	if r.meta&metaDeleted != 0 {
		return Tombstone
	}
	item, err := w.txn.Get(key)
	switch {
	case errors.Is(err, badger.ErrKeyNotFound) || err == nil && item.Version() > version(r.key):
		return Shadowed
	case err != nil || r.meta&metaPointer != 0:
		return w.fate(key, nil, w.get)
	}
	value, _ := unseal(key, r.value)
	return w.fate(key, value, w.get)
}

// get reads another record as Badger has it. What is in recent writes only is not known to be dead yet.
func (w *weighing) get(key []byte) ([]byte, error) {
	item, err := w.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stored, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	value, _ := unseal(key, stored)
	return bytes.Clone(value), nil
}

// Files is what Badger's files take of the disk.
type Files struct {
	Tables, Memtables, ValueLog int64 // bytes; the logs of memtables are those that Badger replays
	ValueLogFiles               int
}

// Files looks at Badger's directory.
func (s *Store) Files() (f Files) {
	entries, err := os.ReadDir(s.dir())
	if err != nil {
		return f
	}
	for _, e := range entries {
		size := &f.Tables
		switch filepath.Ext(e.Name()) {
		case ".sst":
		case ".mem":
			size = &f.Memtables
		case ".vlog":
			size = &f.ValueLog
			f.ValueLogFiles++
		default:
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join(s.dir(), e.Name()), &st) == nil { // or it went meanwhile
			*size += st.Blocks * 512
		}
	}
	return f
}
