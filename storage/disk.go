package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
)

// disk is Badger as sett uses it: managed mode, one writer (the flusher), versions are flush points, every value followed by a crc32c over
// key and value.
//
// DEBUG RELOAD closes and opens it again. Whoever uses db holds the data set's lock, or inUse; who takes both takes inUse first.
type disk struct {
	inUse        sync.RWMutex
	db           *badger.DB
	threshold    int
	valueLogFile int64 // bytes at which Badger begins another one
	reads        atomic.Uint64
	slow         func()                 // a slow disk, in tests; nil
	reached      *reached               // Badger's levels; changes with db
	unreached    string                 // why they are out of reach; "": they are not
	unhealthy    atomic.Pointer[string] // the first damage met
	fresh        fresh
	crowded      func() bool // many records are asked for that are not there
	logger       *slog.Logger
}

// newest reads the newest version there is.
const newest = math.MaxUint64

const recordCRCBytes = 4

func openDisk(dir string, b Budget, settings *Options, n news) (db *badger.DB, err error) {
	return openDiskWith(dir, b, settings, n, func(o badger.Options) badger.Options { return o })
}

// openDiskWith is openDisk with some options changed.
func openDiskWith(dir string, b Budget, settings *Options, n news, change func(badger.Options) badger.Options) (db *badger.DB, err error) {
	defer func() {
		// A damaged table can make Badger panic while it opens.
		if p := recover(); p != nil {
			err = refused("Badger's files in %s are damaged (%v): run `sett check`", dir, p)
		}
	}()
	// Badger leaves a value log file locked for ever when it reads a record there whose lengths are wrong, and then cannot close or delete it.
	// It does not if it verifies checksums (value.go, Read), which are wrong then too: a power cut tears records, and leaves pointers into a file
	// that never reached the disk, the number of which is used again.
	o := badger.DefaultOptions(dir).
		WithVerifyValueChecksum(true).
		WithLogger(&badgerLogger{settings.Logger, n}).
		WithCompression(options.None).
		WithChecksumVerificationMode(options.NoVerification).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithSyncWrites(false).
		WithMetricsEnabled(false). // nobody reads them, and each look at a table would be counted
		WithNumGoroutines(2).
		WithMemTableSize(b.MemTable).
		WithNumMemtables(2).
		WithBaseTableSize(b.BaseTable).
		WithBaseLevelSize(b.BaseLevel).
		WithNumLevelZeroTables(b.Level0).
		WithNumLevelZeroTablesStall(level0Stall(b)).
		WithNumCompactors(badgersCompactors()).
		WithValueThreshold(settings.ValueThreshold).
		WithValueLogFileSize(settings.ValueLogBytes).
		WithVLogPercentile(0)
	if db, err = badger.OpenManaged(change(o)); err != nil {
		return nil, refused("Badger cannot open %s: %v: run `sett check`", dir, err)
	}
	return db, nil
}

// get returns a record's value at a version, nil if there is none. The data set's lock is not held.
func (d *disk) get(key []byte, version uint64) ([]byte, error) {
	d.inUse.RLock()
	defer d.inUse.RUnlock()
	if d.slow != nil {
		defer d.slow()
	}
	return d.getLocked(key, version)
}

// getLocked is get for those who hold the data set's lock.
func (d *disk) getLocked(key []byte, version uint64) (value []byte, err error) {
	defer d.guard(key, &err)
	d.reads.Add(1)
	if filtered(key) && !d.db.IsClosed() && !d.fresh.mayBe(maphash.Bytes(d.fresh.seed, key)) {
		stored, ok, err := d.reached.find(key, version, d.crowded())
		switch {
		case err != nil:
			return nil, d.damage(key, err.Error())
		case ok:
			d.fresh.direct.Add(1)
			if stored == nil {
				return nil, nil
			}
			return d.open(key, stored)
		}
	}
	return d.ask(key, version)
}

// ask is getLocked by Badger's own Get.
func (d *disk) ask(key []byte, version uint64) ([]byte, error) {
	txn := d.db.NewTransactionAt(version, false)
	defer txn.Discard()
	// The value log may be collected between Get and Value, which Badger answers with an empty value (never one of ours): look again.
	for range 3 {
		item, err := txn.Get(key)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, d.damage(key, err.Error())
		}
		stored, err := item.ValueCopy(nil)
		if err != nil {
			return nil, d.damage(key, err.Error())
		}
		if len(stored) > 0 {
			return d.open(key, stored)
		}
	}
	return nil, d.damage(key, "its value is missing")
}

// valueOf returns the value of a record that an iterator of a version stands on.
func (d *disk) valueOf(item *badger.Item, key []byte, version uint64) ([]byte, error) {
	stored, err := item.ValueCopy(nil)
	if err != nil {
		return nil, d.damage(key, err.Error())
	}
	if len(stored) == 0 { // its value log file went between two iterators
		return d.getLocked(key, version)
	}
	return d.open(key, stored)
}

// holds tells whether a record is stored already, and whole: what a power cut has left of it is no damage.
func (d *disk) holds(key, value []byte, version uint64) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	txn := d.db.NewTransactionAt(version, false)
	defer txn.Discard()
	item, err := txn.Get(key)
	if err != nil {
		return false
	}
	item.Value(func(stored []byte) error {
		have, whole := unseal(key, stored)
		ok = whole && bytes.Equal(have, value)
		return nil
	})
	return ok
}

// open checks a stored value and strips its checksum.
func (d *disk) open(key, stored []byte) ([]byte, error) {
	value, ok := unseal(key, stored)
	if !ok {
		return nil, d.damage(key, "its checksum does not match")
	}
	return value, nil
}

// unseal takes the checksum off a stored value. ok is false if it does not match key and value.
func unseal(key, stored []byte) (value []byte, ok bool) {
	n := len(stored) - recordCRCBytes
	if n < 1 || binary.LittleEndian.Uint32(stored[n:]) != recordCRC(key, stored[:n]) {
		return nil, false
	}
	return stored[:n:n], true
}

// guard turns a panic inside Badger, as damaged blocks cause, into an error.
func (d *disk) guard(key []byte, err *error) {
	if p := recover(); p != nil {
		if _, ours := p.(InvariantError); ours {
			panic(p)
		}
		*err = d.damage(key, fmt.Sprint("Badger panicked: ", p))
	}
}

func (d *disk) damage(key []byte, reason string) error {
	what := fmt.Sprintf("record %q: %s", key, reason)
	if d.unhealthy.CompareAndSwap(nil, &what) {
		d.logger.Error("a read met damage: stop the server, run `sett check`, restore a copy", "first", what)
	}
	return &CorruptError{key, reason}
}

func recordCRC(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func appendRecordCRC(dst, key, value []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, recordCRC(key, value))
}

// loader writes a generation in the order it is given.
type loader struct {
	d       *disk
	kv      *badger.KVLoader
	version uint64
	rec     pb.KV // used again for each record: Badger copies it
	slab    []byte
	values  int64 // bytes for the value log that kv has got
}

// valuesAtOnce is the part of a value log file that one request may have for it. A file is mapped at twice its size, and a new one is begun
// between two requests. Badger moves the mapping of a file that grows beyond that, under the hands of those who read it: a SIGSEGV. What the
// garbage collection moves, half of a file at most, has to fit as well.
const valuesAtOnce = 4

// pendingWrites bounds the requests that a loader has in flight.
const pendingWrites = 4

var deleteMeta = []byte{1} // Badger's mark of a deletion

func (d *disk) newLoader(version uint64) *loader {
	return &loader{d: d, kv: d.db.NewKVLoader(pendingWrites), version: version}
}

// set writes a record (value nil: deletes it). The key's bytes must stay as they are until finish returns.
func (l *loader) set(key, value []byte) error {
	invariant(len(key) > 0 && len(key) <= MaxKeyBytes, "flushing a key of %d bytes", len(key))
	kv := &l.rec
	kv.Key, kv.Version, kv.Value, kv.Meta = key, l.version, nil, nil
	if value == nil {
		kv.Meta = deleteMeta
	} else {
		kv.Value = l.sealed(key, value)
		invariant(len(kv.Value) < l.d.threshold || key[0] == 'b', "record %q of %d bytes may not lie in the value log", key, len(value))
		if len(kv.Value) >= l.d.threshold {
			if err := l.roomForValue(int64(len(kv.Value))); err != nil {
				return err
			}
		}
	}
	return l.kv.Set(kv)
}

// roomForValue begins a new request when the present one has enough for the value log.
func (l *loader) roomForValue(bytes int64) error {
	if l.values += bytes; l.values <= l.d.valueLogFile/valuesAtOnce {
		return nil
	}
	l.values = bytes
	err := l.kv.Finish()
	l.kv = l.d.db.NewKVLoader(pendingWrites)
	return err
}

// sealed returns value with its checksum, in memory that lives until Badger has written it.
func (l *loader) sealed(key, value []byte) []byte {
	n := len(value) + recordCRCBytes
	if cap(l.slab)-len(l.slab) < n {
		l.slab = make([]byte, 0, max(64<<10, n))
	}
	start := len(l.slab)
	l.slab = append(l.slab, value...)
	l.slab = appendRecordCRC(l.slab, key, value)
	return l.slab[start:len(l.slab):len(l.slab)]
}

func (l *loader) finish() error { return l.kv.Finish() }

// badgerLogger passes on what Badger says.
type badgerLogger struct {
	l    *slog.Logger
	news news
}

// news are messages of Badger's that tell what it is about to do: it goes on when the func returns. A test holds that it still sends them.
type news struct {
	written  func()            // values are in the value log, pointers to them nowhere yet
	collects func(file uint32) // a value log file is about to be collected; a panic ends that
	moved    func(records int) // … was collected: so many live there no longer
	compacts *ledger
}

const (
	writtenMessage  = "Writing to memtable"
	collectsMessage = "Rewriting fid: %d"
	movedMessage    = "Total entries: %d. Moved: %d"
	addedMessage    = "[%d] LOG Compact. Added %d keys. Skipped %d keys. Iteration took: %v"
	readMessage     = "Discard stats: %v" // a compaction has read its part
	doneMessage     = "[Compactor: %d] Compaction for level: %d DONE"
	failedMessage   = "[Compactor: %d] LOG Compact FAILED with error: %+v: %+v"
)

func (b *badgerLogger) Errorf(f string, a ...any) { b.l.Error("badger: " + line(f, a)) }
func (b *badgerLogger) Warningf(f string, a ...any) {
	if f == failedMessage {
		b.l.Warn("badger: a compaction failed", "err", a[1]) // the rest is addresses
		b.news.compacts.failed(a[0].(int))
		return
	}
	b.l.Warn("badger: " + line(f, a))
}
func (b *badgerLogger) Infof(f string, a ...any) {
	b.l.Debug("badger: " + line(f, a))
	switch f {
	case collectsMessage:
		b.news.collects(a[0].(uint32))
	case movedMessage:
		b.news.moved(a[1].(int))
	}
}
func (b *badgerLogger) Debugf(f string, a ...any) {
	switch f {
	case writtenMessage:
		b.news.written()
	case addedMessage:
		b.news.compacts.writes(a[0].(int), int64(a[1].(uint64)))
	case readMessage:
		b.news.compacts.read()
	case doneMessage:
		b.news.compacts.finished(a[0].(int))
	}
}

func line(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
