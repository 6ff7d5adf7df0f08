package storage

import (
	"bytes"
	"errors"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Space is given back behind the log's back: what is removed here is in no entry, and every node does it for itself. So it may only be what no
// reader can see at or above DiscardTs, which never lies above the durable index: whatever the log is replayed from, it stays dead.
//
// Badger keeps its one writer: removals go with the next flush, at its version, which is above all versions that they delete.

// Range is the keys from Lower to Upper, which is not in it.
type Range struct{ Lower, Upper []byte }

// Limits of what one flush removes besides what it writes.
const (
	RemoveAtOnce      = 8192    // keys
	RemoveBytesAtOnce = 1 << 20 // their bytes
)

// ErrStopped: the caller's stop ended the wait.
var ErrStopped = errors.New("storage: stopped")

// removal is what the next flush does on the side.
type removal struct {
	keys    [][]byte
	notes   [][]byte    // local records to write, all with the same value
	note    []byte      // that value
	rotates bool        // the memtable is to become a table
	done    chan uint64 // gets the flush's version
}

// reclaiming is the door through which space is given back.
type reclaiming struct {
	waiting   atomic.Pointer[removal]
	discardTs atomic.Uint64
	removed   atomic.Uint64 // keys
	checked   atomic.Uint64 // value log files, before they were collected
	syncFrom  atomic.Uint32 // value log files from this one on are fsynced before pointers to them are written; 0: none
	synced    atomic.Uint64 // times that was done
	movedAt   atomic.Uint64 // synced when the present file's collection began
}

// DiscardTs is the version below which nobody reads any more. It never goes back, and never beyond the durable index.
func (s *Store) DiscardTs() uint64 { return s.reclaim.discardTs.Load() }

// FlushedIndex is the newest version that is whole in Badger.
func (s *Store) FlushedIndex() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.flush.point.Index
}

// DurableIndex is the newest version that a barrier has covered.
func (s *Store) DurableIndex() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.barrier.durable.Index
}

// Remove deletes keys in Badger with the next flush and returns its version. They must be dead at DiscardTs. With now set, or when nothing has
// been flushed for a while, the node asks for a flush point if it is the one that evaluates. One caller at a time, with no Scan open.
func (s *Store) Remove(keys [][]byte, now bool, stop <-chan struct{}) (version uint64, err error) {
	size := 0
	for _, key := range keys {
		size += len(key)
	}
	invariant(len(keys) <= RemoveAtOnce && size <= RemoveBytesAtOnce+MaxKeyBytes, "removing %d keys of %d bytes at once", len(keys), size)
	return s.besideFlush(&removal{keys: keys, done: make(chan uint64, 1)}, now, stop)
}

// Note writes local records: their keys begin with "~", and they are in no entry, no digest and no snapshot. All have the same value. Callers and
// limits as of Remove.
func (s *Store) Note(keys [][]byte, value []byte, now bool, stop <-chan struct{}) (version uint64, err error) {
	for _, key := range keys {
		invariant(key[0] == '~', "%q is no local record", key)
	}
	return s.besideFlush(&removal{notes: keys, note: value, done: make(chan uint64, 1)}, now, stop)
}

// Rotate makes a table of Badger's memtable. Only compactions tell Badger what is dead in the value log, and blobs leave so little in the
// memtable that it would take gigabytes of them before it is full by itself. Callers as of Remove.
func (s *Store) Rotate(stop <-chan struct{}) error {
	version, err := s.besideFlush(&removal{rotates: true, done: make(chan uint64, 1)}, true, stop)
	if err != nil {
		return err
	}
	for start := time.Now(); !s.inTables(version); {
		if time.Since(start) > rotateLimit {
			return errors.New("storage: Badger has not written its memtable to a table")
		}
		select {
		case <-stop:
			return ErrStopped
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

const rotateLimit = 30 * time.Second

// inTables tells whether what Badger got up to a version is in tables.
func (s *Store) inTables(version uint64) bool {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	for _, t := range s.disk.db.Tables() {
		if t.MaxVersion >= version {
			return true
		}
	}
	return false
}

func (s *Store) besideFlush(r *removal, now bool, stop <-chan struct{}) (uint64, error) {
	invariant(s.reclaim.waiting.CompareAndSwap(nil, r), "two removals at once")
	pause := s.opts.FlushInterval + s.opts.FlushInterval/4
	if now {
		pause = 0
	}
	wait := time.NewTimer(pause)
	defer wait.Stop()
	for {
		select {
		case version := <-r.done:
			return version, nil
		case <-stop:
			return s.withdraw(r, ErrStopped)
		case <-s.flush.done:
			return s.withdraw(r, ErrClosed)
		case <-wait.C:
			if err := s.noFlushComes(); err != nil {
				return s.withdraw(r, err)
			}
			s.askForFlush()
			wait.Reset(max(10*time.Millisecond, pause))
		}
	}
}

// noFlushComes tells why it makes no sense to wait for a flush.
func (s *Store) noFlushComes() error {
	switch {
	case s.flush.holding.Load():
		return ErrFlushPaused
	case s.guard.waiting.Load():
		return &MisconfError{"nothing can be removed: the disk is too full to flush"}
	case !s.Evaluating() && s.gensClosed() == 0:
		return ErrNotEvaluating
	}
	return nil
}

// withdraw takes a removal back, unless it is happening.
func (s *Store) withdraw(r *removal, why error) (uint64, error) {
	if s.reclaim.waiting.CompareAndSwap(r, nil) {
		return 0, why
	}
	select {
	case version := <-r.done:
		return version, nil
	case <-s.flush.done:
		return 0, ErrClosed
	}
}

// askForFlush makes a flush point if none is on its way: an entry with the close flag, and nothing else if nothing was written.
func (s *Store) askForFlush() {
	s.mu.Lock()
	if s.evaluating && len(s.gens) == 1 {
		s.cutActive()
	}
	s.mu.Unlock()
	s.drive()
}

// beside takes what waits to be done beside a flush, nil if nothing does. What the generation writes itself is not removed.
func (s *Store) beside(g *generation) *removal {
	r := s.reclaim.waiting.Swap(nil)
	if r == nil {
		return nil
	}
	kept := r.keys[:0:0]
	for _, key := range r.keys {
		if g.find(uint32(s.hash(key)), key) == 0 {
			kept = append(kept, key)
		}
	}
	r.keys = kept
	return r
}

// records are what a removal adds to a flush.
func (r *removal) records() (all []plainRecord) {
	if r == nil {
		return nil
	}
	for _, key := range r.keys {
		all = append(all, plainRecord{key, nil})
	}
	for _, key := range r.notes {
		all = append(all, plainRecord{key, r.note})
	}
	return all
}

// fillerKey is a record without meaning, of which Badger's memtable gets so many that it is full.
const fillerKey = "~filler"

func (l *loader) fill(memTable int64) error {
	value := make([]byte, min(30<<10, l.d.threshold/2))
	for written := int64(0); written < memTable+memTable/8; written += int64(len(value)) {
		if err := l.set([]byte(fillerKey), value); err != nil {
			return err
		}
	}
	return nil
}

// finished is called when a removal is whole in Badger and the cache has forgotten it.
func (r *removal) finished(s *Store, version uint64) {
	s.reclaim.removed.Add(uint64(len(r.keys)))
	s.deletions.note(r.keys)
	r.done <- version
}

// Scan walks over what Badger alone holds at a version, without reading values. It is for those who give space back: the version must be a
// flush point at or above DiscardTs. Not for use by several goroutines.
type Scan struct {
	s       *Store
	version uint64
	within  Range
	txn     *badger.Txn
	it      *badger.Iterator
	key     []byte
	passed  []byte // the key of which all older versions are left out
	steps   int
	err     error
}

// Scan returns a scan that stands nowhere: Seek first. It must be closed, and not be kept open while its owner waits for anything.
func (s *Store) Scan(within Range, version uint64) *Scan {
	return &Scan{s: s, within: within, version: version}
}

// Seek moves to the first key at or after key within the range.
func (c *Scan) Seek(key []byte) (ok bool) {
	defer c.s.disk.guard(key, &c.err)
	if c.it == nil || c.s.gate.wanted.Load() {
		c.open()
	}
	if bytes.Compare(key, c.within.Lower) < 0 {
		key = c.within.Lower
	}
	c.passed = c.passed[:0]
	c.it.Seek(key)
	return c.found()
}

// Next moves to the next key.
func (c *Scan) Next() (ok bool) {
	if c.steps++; c.steps%stepsAtOnce == 0 || c.s.gate.wanted.Load() {
		c.Close()
		return c.Seek(append(c.key, 0))
	}
	defer c.s.disk.guard(c.key, &c.err)
	c.it.Next()
	return c.found()
}

// found moves on to the next record that is seen at the version. Badger itself would look for it behind the end of the range, too, past all that is newer.
func (c *Scan) found() bool {
	for ; c.err == nil && c.it.Valid(); c.it.Next() {
		item := c.it.Item()
		key := item.Key()
		switch {
		case bytes.Compare(key, c.within.Upper) >= 0:
			return false
		case item.Version() > c.version || len(c.passed) > 0 && bytes.Equal(key, c.passed):
			continue
		}
		c.passed = append(c.passed[:0], key...)
		if !item.IsDeletedOrExpired() {
			c.key = append(c.key[:0], key...)
			return true
		}
	}
	return false
}

// Key of the present record, valid until the next call of Seek or Next.
func (c *Scan) Key() []byte { return c.key }

// Size is what the present record takes, its value included.
func (c *Scan) Size() int64 { return c.it.Item().EstimatedSize() }

// Value reads the present record's value.
func (c *Scan) Value() (value []byte, err error) {
	defer c.s.disk.guard(c.key, &err)
	stored, err := c.it.Item().ValueCopy(nil)
	if err != nil {
		return nil, c.s.disk.damage(c.key, err.Error())
	}
	return c.s.disk.open(c.key, stored)
}

// Err is what ended the scan early.
func (c *Scan) Err() error { return c.err }

func (c *Scan) open() {
	c.Close()
	c.s.disk.inUse.RLock()
	c.s.gate.enter(true)
	c.txn = c.s.disk.db.NewTransactionAt(newest, false)
	o := badger.DefaultIteratorOptions
	o.AllVersions = true
	o.PrefetchValues = false
	o.Prefix = commonPrefix(c.within.Lower, c.within.Upper)
	c.it = c.txn.NewIterator(o)
}

// Close lets go of the scan.
func (c *Scan) Close() {
	if c.it != nil {
		c.it.Close()
		c.txn.Discard()
		c.it, c.txn = nil, nil
		c.s.gate.leave()
		c.s.disk.inUse.RUnlock()
	}
}
