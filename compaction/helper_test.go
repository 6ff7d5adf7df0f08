package compaction

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	"sett/storage"
)

// memoryLog is a log that commits at once.
type memoryLog struct {
	store *storage.Store

	mu      sync.Mutex
	entries [][]byte // entries[0] has index 1
	trimmed uint64   // entries up to this one are forgotten
}

func (l *memoryLog) Propose(entry []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, bytes.Clone(entry))
	return l.store.Apply(uint64(len(l.entries)), 1, entry)
}

func (l *memoryLog) Waits() bool { return false }

func (l *memoryLog) SyncTo(uint64) error { return nil }

func (l *memoryLog) Trim(index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ; l.trimmed < index; l.trimmed++ {
		l.entries[l.trimmed] = nil
	}
}

func (l *memoryLog) Read(index uint64) (uint64, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index == 0 || index > uint64(len(l.entries)) {
		return 0, nil, fmt.Errorf("there is no entry %d", index)
	}
	return 1, l.entries[index-1], nil
}

// world is a store with a keeper that works only when it is told to.
type world struct {
	*storage.Store
	t      *testing.T
	dir    *storage.Dir
	log    *memoryLog
	keeper *Keeper
}

func open(t *testing.T, path string, log *memoryLog) *world {
	t.Helper()
	d, err := storage.OpenDir(storage.OSFS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := storage.Open(d, storage.Options{
		FS: storage.OSFS{}, MemoryBudget: storage.MinMemoryBudget, FlushInterval: 5 * time.Millisecond, BarrierInterval: time.Hour, ValueLogBytes: 1 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	log.store = s
	if err := s.Begin(log, 1, uint64(len(log.entries))); err != nil {
		t.Fatal(err)
	}
	for index := s.ReplayFrom(); index <= uint64(len(log.entries)); index++ {
		if err := s.Apply(index, 1, log.entries[index-1]); err != nil {
			t.Fatal(err)
		}
	}
	s.Lead(1)
	w := &world{Store: s, t: t, dir: d, log: log}
	w.keeper = New(Options{Store: s, Layout: testLayout})
	t.Cleanup(func() { w.close(false) })
	return w
}

func (w *world) close(flush bool) {
	if w.dir != nil {
		w.Close(flush)
		w.dir.Close()
		w.dir = nil
	}
}

// testLayout is that of package types, which this one does not know.
var testLayout = Layout{
	Dead: storage.Range{Lower: []byte("d"), Upper: []byte("e")},
	Doomed: func(key, value []byte) ([]storage.Range, bool) {
		switch id := binary.BigEndian.Uint64(key[2:]); {
		case value[0] != reclaimable:
			return nil, false
		case key[0] == '~':
			return []storage.Range{under('s', binary.BigEndian.Uint64(key[3:]))}, true
		case key[1] == deadKeyspace:
			return []storage.Range{under('m', id)}, true
		case key[1] == deadBlob:
			return []storage.Range{under('B', id), under('b', id)}, true
		default:
			return []storage.Range{under('s', id)}, true
		}
	},
	Estate: func(key []byte) (owners storage.Range, counter, noted []byte, ok bool) {
		if key[0] != 'd' || key[1] != deadKeyspace {
			return owners, nil, nil, false
		}
		id := binary.BigEndian.Uint64(key[2:])
		return under('m', id), storage.TallyKey(uint32(id)), fmt.Appendf(nil, "~e%d", id), true
	},
	Bequest: func(_, value []byte) ([][]byte, error) {
		if len(value) < 8 {
			return nil, nil
		}
		return [][]byte{append([]byte{'~'}, deadKey(deadCollection, binary.BigEndian.Uint64(value))...)}, nil
	},
	Noted:     storage.Range{Lower: []byte("~d"), Upper: []byte("~e")},
	NoteValue: []byte{reclaimable},
	Headers:   storage.Range{Lower: []byte("B"), Upper: []byte("C")},
	Chunks:    storage.Range{Lower: []byte("b"), Upper: []byte("c")},
	AppendHeaderOf: func(dst, chunk []byte) []byte {
		return append(append(dst, 'B'), chunk[1:9]...)
	},
}

const (
	deadCollection = 0
	deadBlob       = 1
	deadKeyspace   = 2

	reclaimable = 1
	staged      = 2
)

func under(prefix byte, id uint64) storage.Range {
	return storage.Range{Lower: key(prefix, id), Upper: key(prefix, id+1)}
}

func key(prefix byte, id uint64) []byte { return binary.BigEndian.AppendUint64([]byte{prefix}, id) }

func chunk(id uint64, n int) []byte { return binary.BigEndian.AppendUint32(key('b', id), uint32(n)) }

func deadKey(kind byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{'d', kind}, id)
}

func content(id uint64) []byte { return bytes.Repeat(binary.BigEndian.AppendUint64(nil, id), 5<<10) }

const chunksOfBlob = 4

// update runs f as one batch.
func (w *world) update(f func(tx *storage.Txn)) {
	w.t.Helper()
	var tx storage.Txn
	if err := w.Update(&tx, step(func() error { f(&tx); return nil })); err != nil {
		w.t.Fatal(err)
	}
}

type step func() error

func (f step) Run() error { return f() }

func (w *world) put(ids ...uint64) {
	w.t.Helper()
	for _, id := range ids {
		w.update(func(tx *storage.Txn) {
			tx.Put(key('B', id), []byte("header"))
			for n := range chunksOfBlob {
				tx.Put(chunk(id, n), content(id))
			}
		})
	}
}

func (w *world) kill(state byte, ids ...uint64) {
	w.t.Helper()
	for _, id := range ids {
		w.update(func(tx *storage.Txn) { tx.Put(deadKey(deadBlob, id), []byte{state}) })
	}
}

// settled flushes and makes durable.
func (w *world) settled() {
	w.t.Helper()
	if err := w.Flush(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.Barrier(); err != nil {
		w.t.Fatal(err)
	}
}

// count tells how many keys with a prefix are in Badger.
func (w *world) count(prefix byte) (n int) {
	w.t.Helper()
	r := storage.Range{Lower: []byte{prefix}, Upper: []byte{prefix + 1}}
	scan := w.Scan(r, w.FlushedIndex())
	defer scan.Close()
	for ok := scan.Seek(r.Lower); ok; ok = scan.Next() {
		n++
	}
	if err := scan.Err(); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) counts() string {
	return fmt.Sprintf("%d dead, %d headers, %d chunks, %d elements", w.count('d'), w.count('B'), w.count('b'), w.count('s'))
}

func (w *world) want(what, counts string) {
	w.t.Helper()
	if got := w.counts(); got != counts {
		w.t.Errorf("%s: %s; want %s", what, got, counts)
	}
}

// whole fails unless a blob is what it was.
func (w *world) whole(get func(key []byte) ([]byte, error), ids ...uint64) {
	w.t.Helper()
	for _, id := range ids {
		for n := range chunksOfBlob {
			if value, err := get(chunk(id, n)); err != nil || !bytes.Equal(value, content(id)) {
				w.t.Fatalf("blob %d, chunk %d: %d bytes that are not its own, %v", id, n, len(value), err)
			}
		}
	}
}

func (w *world) get(key []byte) (value []byte, err error) {
	var r storage.Reader
	err = w.Read(&r, step(func() error {
		v, err := r.Get(key)
		value = bytes.Clone(v)
		return err
	}))
	return value, err
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// ids is from, from+step … up to last.
func ids(from, last, by uint64) (list []uint64) {
	for id := from; id <= last; id += by {
		list = append(list, id)
	}
	return list
}
