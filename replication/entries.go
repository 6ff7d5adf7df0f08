package replication

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"sett/replication/wal"
	"sett/storage"
)

// entries is where raft's log lies: in our own wal, or in raft-boltdb. Entries have consecutive indexes; last < first: there are none.
type entries interface {
	bounds() (first, last uint64)
	// read returns an entry, and perhaps some of those behind it; raft.ErrLogNotFound.
	read(index uint64) ([]*raft.Log, error)
	// append adds entries, of which the first may have any index if there are none yet.
	append(logs []*raft.Log) error
	sync() error
	synced() uint64
	// cut takes away all entries from index on, durably, or nothing.
	cut(from uint64) error
	// trim lets go of entries up to index, or of fewer.
	trim(upTo uint64) error
	// behind is the highest index with at least so many bytes behind it.
	behind(bytes int64) uint64
	// bytesBehind is about how many bytes lie behind an entry.
	bytesBehind(index uint64) int64
	// dead tells why nothing works any more, or nil.
	dead() error
	close() error
}

// openEntries finds the log of a directory; an open wal, or nil for raft-boltdb. It is one or the other for ever: what only the one has would be lost
// without a word if the other took its place.
func openEntries(dir string, log *wal.Log) (entries, error) {
	path := filepath.Join(dir, entriesFile)
	if log != nil {
		if _, err := os.Stat(path); err == nil {
			return nil, &storage.RefusedError{Reason: path + " has this node's log: start it with raft.log = \"boltdb\""}
		}
		return walEntries{log}, nil
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*.seg")); len(files) > 0 {
		return nil, &storage.RefusedError{Reason: dir + " has this node's log in sett's own format: start it with raft.log = \"wal\""}
	}
	store, err := openBolt(path)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return &boltEntries{store: store}, nil
}

// readAheadBytes is how much of the wal is read at once: raft asks for one entry after the other, of which most are small.
const readAheadBytes = 128 << 10

type walEntries struct{ log *wal.Log }

func (w walEntries) bounds() (first, last uint64)   { return w.log.First(), w.log.Last() }
func (w walEntries) sync() error                    { return w.log.Sync() }
func (w walEntries) synced() uint64                 { return w.log.Synced() }
func (w walEntries) trim(upTo uint64) error         { return w.log.TrimPrefix(upTo) }
func (w walEntries) behind(bytes int64) uint64      { return w.log.Behind(bytes) }
func (w walEntries) bytesBehind(index uint64) int64 { return w.log.BytesBehind(index) }
func (w walEntries) dead() error                    { return w.log.Err() }
func (w walEntries) close() error                   { return w.log.Close() }

func (w walEntries) read(index uint64) ([]*raft.Log, error) {
	found, err := w.log.ReadSome(index, readAheadBytes)
	if errors.Is(err, wal.ErrNoEntry) {
		return nil, raft.ErrLogNotFound
	}
	logs := make([]*raft.Log, len(found))
	for i, e := range found {
		logs[i] = &raft.Log{Index: e.Index, Term: e.Term, Type: raft.LogType(e.Kind), Data: e.Data}
	}
	return logs, err
}

func (w walEntries) append(logs []*raft.Log) error {
	if first, last := w.bounds(); last < first && logs[0].Index != first {
		if err := w.log.Reset(logs[0].Index); err != nil {
			return err
		}
	}
	entries := make([]wal.Entry, len(logs))
	for i, l := range logs {
		entries[i] = wal.Entry{Index: l.Index, Term: l.Term, Kind: uint8(l.Type), Data: l.Data}
	}
	return w.log.Append(entries...)
}

func (w walEntries) cut(from uint64) error {
	// The entries that follow must find room: raft does not know how to go on when it has lost some and cannot store those that replace them.
	if err := w.log.Reserve(); err != nil {
		return err
	}
	return w.log.TrimSuffix(from)
}

// boltEntries is raft-boltdb. Each append is fsynced whatever the level: bbolt's file is of no use after a power cut without that.
type boltEntries struct {
	store *raftboltdb.BoltStore
	// Appended entries and their sizes, to guess how many make so many bytes.
	mu           sync.Mutex
	count, bytes uint64 // guarded by mu
}

func openBolt(path string) (*raftboltdb.BoltStore, error) {
	return raftboltdb.New(raftboltdb.Options{
		Path:        path,
		BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, Timeout: lockTimeout},
	})
}

func (b *boltEntries) bounds() (first, last uint64) {
	first, err := b.store.FirstIndex()
	if err == nil {
		last, err = b.store.LastIndex()
	}
	if err != nil || last == 0 {
		return 1, 0
	}
	return first, last
}

func (b *boltEntries) sync() error { return nil }
func (b *boltEntries) dead() error { return nil }

func (b *boltEntries) synced() uint64 {
	_, last := b.bounds()
	return last
}

func (b *boltEntries) read(index uint64) ([]*raft.Log, error) {
	l := new(raft.Log)
	if err := b.store.GetLog(index, l); err != nil {
		return nil, err
	}
	return []*raft.Log{l}, nil
}

func (b *boltEntries) append(logs []*raft.Log) error {
	b.mu.Lock()
	for _, l := range logs {
		b.count++
		b.bytes += uint64(len(l.Data)) + 64
	}
	b.mu.Unlock()
	return b.store.StoreLogs(logs)
}

func (b *boltEntries) cut(from uint64) error {
	_, last := b.bounds()
	return b.store.DeleteRange(from, last)
}

func (b *boltEntries) trim(upTo uint64) error {
	first, last := b.bounds()
	if upTo = min(upTo, last); upTo < first {
		return nil
	}
	return b.store.DeleteRange(first, upTo)
}

func (b *boltEntries) behind(bytes int64) uint64 {
	_, last := b.bounds()
	each := b.mean()
	if each == 0 {
		return 0 // no hurry
	}
	return last - min(last, uint64(bytes)/each)
}

func (b *boltEntries) bytesBehind(index uint64) int64 {
	_, last := b.bounds()
	return int64((last - min(last, index)) * b.mean())
}

// mean is how many bytes an entry has; 0: nothing was added since the start.
func (b *boltEntries) mean() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes / max(b.count, 1)
}

func (b *boltEntries) close() error { return b.store.Close() }
