package storage

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Picture is Badger at a flush point: exactly the state at that index, the same on every node. It reads no recent writes and needs no lock; as long
// as it is open nothing of it is compacted away, and so it costs space on the disk. Snapshots, copies and digests are made from one.
//
// Between two gulps nothing is held: whoever reads may be as slow as a network.
type Picture struct {
	s     *Store
	at    point
	ended atomic.Bool // the data were replaced, or the store was closed
}

// gulpBytes is about what is read at a time. For each one an iterator is opened.
const gulpBytes = 512 << 10

// Picture registers one of the newest flush point. It must be closed.
func (s *Store) Picture() *Picture {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := &Picture{s: s, at: s.flush.point}
	s.views.mu.Lock()
	defer s.views.mu.Unlock()
	s.views.register(p)
	return p
}

// PictureAt registers one of the last flush point at or before index, which has been reached. It fails if what was overwritten since then is gone
// already.
func (s *Store) PictureAt(index uint64) (*Picture, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if reached := s.flush.point.Index; index > reached {
		return nil, fmt.Errorf("storage: entry %d is not in Badger yet, which has what came up to %d", index, reached)
	}
	s.views.mu.Lock()
	defer s.views.mu.Unlock()
	if oldest := s.DiscardTs(); index < oldest {
		return nil, fmt.Errorf("storage: what was there at entry %d is gone: Badger keeps what there was since %d", index, oldest)
	}
	p := &Picture{s: s, at: point{Index: index}}
	s.views.register(p)
	return p, nil
}

// SetCopyRate changes Options.CopyRate.
func (s *Store) SetCopyRate(bytes int64) { s.copyRate.Store(bytes) }

// register adds a picture; mu is held.
func (vs *views) register(p *Picture) {
	if vs.pictures == nil {
		vs.pictures = make(map[*Picture]struct{})
	}
	vs.pictures[p] = struct{}{}
}

// endPictures ends all open pictures.
func (vs *views) endPictures() {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	for p := range vs.pictures {
		p.ended.Store(true)
	}
}

// closePictures ends all open pictures, when none of them is being read.
func (vs *views) closePictures() {
	vs.reading.Lock()
	defer vs.reading.Unlock()
	vs.endPictures()
}

// NextFlushPoint makes one, also if nothing has been written, and returns its index when it is in Badger. Only the node that evaluates can.
func (s *Store) NextFlushPoint(ctx context.Context) (index uint64, err error) {
	s.mu.Lock()
	if !s.evaluating {
		defer s.mu.Unlock()
		return 0, s.notEvaluating()
	}
	g := s.active()
	s.cutActive()
	s.mu.Unlock()
	s.drive()
	for {
		s.mu.RLock()
		flushed, closed, there := s.flush.flushed, s.closed, slices.Contains(s.gens, g)
		s.mu.RUnlock()
		switch {
		case g.flushed.Load():
			return g.version.Load(), nil
		case closed:
			return 0, ErrClosed
		case !there:
			return 0, ErrInDoubt // leadership was lost over it
		}
		select {
		case <-flushed:
		case <-ctx.Done():
			return 0, fmt.Errorf("storage: no flush point was reached: %w", ctx.Err())
		case <-time.After(10 * time.Millisecond): // nobody tells that it was dropped
		}
	}
}

// WaitFlushed returns when everything up to index is in Badger, or what ends the context.
func (s *Store) WaitFlushed(ctx context.Context, index uint64) error {
	for {
		s.mu.RLock()
		reached, flushed, closed := s.flush.point.Index, s.flush.flushed, s.closed
		s.mu.RUnlock()
		switch {
		case reached >= index:
			return nil
		case closed:
			return ErrClosed
		}
		select {
		case <-flushed:
		case <-ctx.Done():
			return fmt.Errorf("storage: entry %d is not in Badger yet, which has what came up to %d", index, reached)
		}
	}
}

// Point is where the picture was taken; of one that was asked for at an index, only that is known.
func (p *Picture) Point() Point { return p.at.public() }

// Close lets go of the picture.
func (p *Picture) Close() {
	vs := &p.s.views
	vs.mu.Lock()
	defer vs.mu.Unlock()
	delete(vs.pictures, p)
}

// Get returns a record's value, nil if there is none.
func (p *Picture) Get(key []byte) ([]byte, error) {
	p.s.views.reading.RLock()
	defer p.s.views.reading.RUnlock()
	if p.ended.Load() {
		return nil, ErrReplaced
	}
	value, err := p.s.disk.get(key, p.at.Index)
	if p.ended.Load() { // perhaps before Badger was asked
		return nil, ErrReplaced
	}
	return value, err
}

// Walk calls each for the records of a range in the order of keys, until it returns an error. Key and value are valid until each returns; each may
// read from the picture, and take its time.
func (p *Picture) Walk(r Range, each func(key, value []byte) error) error {
	var g gulp
	for from := r.Lower; from != nil; {
		var err error
		if from, err = p.read(&g, from, r.Upper); err != nil {
			return err
		}
		for i := range g.records {
			stored := g.stored(i)
			if err := each(g.key(i), stored[:len(stored)-recordCRCBytes]); err != nil {
				return err
			}
		}
	}
	return nil
}

// First returns the first key of a range, nil if there is none.
func (p *Picture) First(r Range) (key []byte, err error) {
	g := gulp{limit: 1}
	if _, err := p.read(&g, r.Lower, r.Upper); err != nil || len(g.records) == 0 {
		return nil, err
	}
	return g.key(0), nil
}

// gulp is some records, one behind the other: key and value with its checksum.
type gulp struct {
	limit   int // records at most; 0: as many as fit
	bytes   []byte
	records []gulped
}

type gulped struct{ key, stored, end int } // where they begin, and end

func (g *gulp) key(i int) []byte    { r := g.records[i]; return g.bytes[r.key:r.stored:r.stored] }
func (g *gulp) stored(i int) []byte { r := g.records[i]; return g.bytes[r.stored:r.end:r.end] }

func (g *gulp) reset() { g.bytes, g.records = g.bytes[:0], g.records[:0] }

func (g *gulp) full() bool {
	return len(g.bytes) >= gulpBytes || g.limit > 0 && len(g.records) == g.limit
}

func (g *gulp) add(key, value []byte) {
	start := len(g.bytes)
	g.bytes = append(append(g.bytes, key...), value...)
	end := len(g.bytes)
	g.bytes = appendRecordCRC(g.bytes, key, value)
	g.records = append(g.records, gulped{start, start + len(key), end + recordCRCBytes})
}

// read fills g with the records from a key on. next is where to go on, nil at the end.
func (p *Picture) read(g *gulp, from, upper []byte) (next []byte, err error) {
	return p.gulp(g, from, upper, p.at.Index, func(item *badger.Item) bool { return !item.IsDeletedOrExpired() })
}

// readNotes is read for local records. It takes in all that were there at some time since the picture was taken, up to version: what is dead goes
// while the picture is being read, and what is noted of it meanwhile is younger than the picture, but of things that were dead in it as well.
func (p *Picture) readNotes(g *gulp, from, upper []byte, version uint64) (next []byte, err error) {
	var decided []byte                                                    // a key of which nothing older matters
	return p.gulp(g, from, upper, version, func(item *badger.Item) bool { // the newest version of a key comes first
		if bytes.Equal(item.Key(), decided) {
			return false
		}
		there := !item.IsDeletedOrExpired()
		if there || item.Version() <= p.at.Index {
			decided = append(decided[:0], item.Key()...)
		}
		return there
	})
}

func (p *Picture) gulp(g *gulp, from, upper []byte, version uint64, wanted func(*badger.Item) bool) (next []byte, err error) {
	g.reset()
	d := p.s.disk
	p.s.views.reading.RLock()
	defer p.s.views.reading.RUnlock()
	d.inUse.RLock()
	defer d.inUse.RUnlock()
	if p.ended.Load() {
		return nil, ErrReplaced
	}
	defer d.guard(from, &err)
	p.s.gate.enter(true)
	defer p.s.gate.leave()
	txn := d.db.NewTransactionAt(version, false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.PrefetchValues, o.Prefix = false, commonPrefix(from, upper)
	o.AllVersions = version != p.at.Index
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		key := item.Key()
		if bytes.Compare(key, upper) >= 0 {
			return nil, nil
		}
		if !wanted(item) {
			continue
		}
		if g.full() {
			return bytes.Clone(key), nil
		}
		value, err := d.valueOf(item, key, version)
		if err != nil {
			return nil, err
		}
		g.add(key, value)
	}
	return nil, nil
}
