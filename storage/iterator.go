package storage

import (
	"bytes"

	"github.com/dgraph-io/badger/v4"
)

// Iterator walks a view's records in key order: generations, newer over older, over Badger. A range lies within one keyspace's meta
// records or expiry rows, one collection, one blob, or one kind of the others.
type Iterator struct {
	v            *View
	lower, upper []byte
	gens         []*generation // the view's when txn was opened: the view moves on, but not txn
	sources      []*source     // of the present window, newest generation first
	txn          *badger.Txn
	it           *liveIterator
	window       group // the group that sources cover
	last         group // the range's last group
	key, value   []byte
	steps        int
	skipped      int
	err          error
}

// source is one generation's part of a group.
type source struct {
	g    *generation
	list sortedGroup
	at   int

	// What was read ahead of a generation that may still change, under one hold of the lock.
	ahead []aheadRecord
	next  int
}

type aheadRecord struct {
	key, value []byte // value nil: deleted
	visible    bool   // the view sees a version of it
}

const (
	readAhead   = 64  // records read of an active generation under one hold of the lock
	stepsAtOnce = 512 // records between looks at what the flusher has done meanwhile
)

// Iterate returns an iterator over [lower, upper); call Seek or Next first. It must be closed before its view.
func (v *View) Iterate(lower, upper []byte) *Iterator {
	it := &Iterator{v: v, lower: bytes.Clone(lower), upper: bytes.Clone(upper)}
	it.last = lastGroup(lower, upper)
	return it
}

// lastGroup returns the group of the last key of a range.
func lastGroup(lower, upper []byte) group {
	first := groupOf(lower)
	if lower[0] != 'm' {
		return first
	}
	// Windows of a keyspace: 256 of 64 slots each.
	end := first | 0xff
	if bytes.HasPrefix(upper, lower[:min(5, len(lower))]) {
		end = groupOf(upper)
	}
	return end
}

// Seek moves to the first record at or after key. It returns false at the end, or on an error.
func (i *Iterator) Seek(key []byte) bool {
	if bytes.Compare(key, i.lower) < 0 {
		key = i.lower
	}
	if i.open(key) != nil {
		return false
	}
	return i.find()
}

// Next moves to the next record.
func (i *Iterator) Next() bool {
	if i.it == nil {
		return i.Seek(i.lower)
	}
	if i.err != nil {
		return false
	}
	if i.steps++; i.steps%stepsAtOnce == 0 || i.v.s.gate.wanted.Load() {
		if i.err = i.v.usable(); i.err != nil {
			return false
		}
		if len(i.v.generations()) != len(i.gens) || i.v.s.gate.wanted.Load() {
			after := append(bytes.Clone(i.key), 0)
			if i.open(after) != nil {
				return false
			}
		}
	}
	return i.find()
}

// Key of the present record, valid until the next call of Seek or Next.
func (i *Iterator) Key() []byte { return i.key }

// Value of the present record, valid until the next call of Seek or Next.
func (i *Iterator) Value() []byte { return i.value }

// Err is what ended the iteration early.
func (i *Iterator) Err() error { return i.err }

// Skipped counts deleted records that were passed over.
func (i *Iterator) Skipped() int { return i.skipped }

// Close lets go of the iterator.
func (i *Iterator) Close() {
	if i.it != nil {
		i.it.Close()
		i.txn.Discard()
		i.it, i.txn = nil, nil
		i.v.s.gate.leave()
		i.unlock()
	}
}

func (i *Iterator) unlock() {
	if !i.v.locked {
		i.v.s.disk.inUse.RUnlock()
	}
}

// open positions all sources at key.
func (i *Iterator) open(key []byte) (err error) {
	defer func() {
		if err != nil {
			i.err = err
		}
	}()
	defer i.v.s.disk.guard(key, &err)
	if err := i.v.usable(); err != nil {
		return err
	}
	i.Close()
	if !i.v.locked {
		i.v.s.disk.inUse.RLock()
	}
	i.v.s.gate.enter(!i.v.locked)
	if i.v.dead.Load() { // since usable was asked, and Badger may have other data now
		i.v.s.gate.leave()
		i.unlock()
		return ErrInDoubt
	}
	i.gens = i.v.generations() // before base is read
	i.txn = i.v.s.disk.db.NewTransactionAt(i.v.base.Load(), false)
	i.it = newLiveIterator(i.txn, &i.v.s.deletions, commonPrefix(i.lower, i.upper))
	i.it.Seek(key)
	i.openWindow(max(groupOf(key), groupOf(i.lower)), key)
	return nil
}

func commonPrefix(a, b []byte) []byte {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// openWindow sets the sources to a group, at key (nil: at its beginning).
func (i *Iterator) openWindow(gr group, key []byte) {
	i.window, i.sources = gr, i.sources[:0]
	for n := len(i.gens) - 1; n >= 0; n-- {
		g := i.gens[n]
		i.v.lock()
		head, p := g.groups[gr], g.pieces()
		i.v.unlock()
		if head == 0 {
			continue
		}
		src := &source{g: g, list: g.list(gr, head, p)}
		src.seek(key)
		i.sources = append(i.sources, src)
	}
}

func (s *source) seek(key []byte) {
	lo, hi := 0, len(s.list.refs)
	for lo < hi {
		mid := (lo + hi) / 2
		if bytes.Compare(entryKey(s.list.mem.at(s.list.refs[mid])), key) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	s.at, s.ahead, s.next = lo, nil, 0
}

// peek returns the source's present record, if there is one.
func (s *source) peek(v *View) *aheadRecord {
	if s.next == len(s.ahead) && !s.read(v) {
		return nil
	}
	return &s.ahead[s.next]
}

// read copies the next records as the view sees them.
func (s *source) read(v *View) bool {
	s.ahead, s.next = s.ahead[:0], 0
	v.lock()
	defer v.unlock()
	p := s.g.pieces()
	for ; s.at < len(s.list.refs) && len(s.ahead) < readAhead; s.at++ {
		e := s.list.refs[s.at]
		r := aheadRecord{key: entryKey(p.at(e))}
		if ver := p.versionAt(e, v.pos); ver != nil {
			r.visible = true
			if !versionDeleted(ver) {
				r.value = bytes.Clone(versionValue(ver))
			}
		}
		s.ahead = append(s.ahead, r)
	}
	return len(s.ahead) > 0
}

// find moves to the next visible record at or after where the sources stand.
func (i *Iterator) find() (ok bool) {
	var err error
	defer func() {
		if err != nil {
			i.err, ok = err, false
		}
	}()
	defer i.v.s.disk.guard(i.key, &err)
	for {
		key, value, state := i.step()
		switch state {
		case stepDone:
			return false
		case stepSkip:
			i.skipped++
			continue
		case stepNothing:
			continue
		}
		if value == nil { // from Badger, at its iterator
			if value, err = i.v.s.disk.valueOf(i.it.Item(), key, i.v.base.Load()); err != nil {
				return false
			}
			i.it.Next()
		}
		i.key, i.value = key, value
		return true
	}
}

const (
	stepRecord = iota
	stepSkip
	stepNothing
	stepDone
)

// step takes the lowest key of all sources. A record of Badger is returned with a nil value, its iterator still on it.
func (i *Iterator) step() (key, value []byte, state int) {
	var best *aheadRecord
	for _, src := range i.sources {
		if r := src.peek(i.v); r != nil && (best == nil || bytes.Compare(r.key, best.key) < 0) {
			best = r
		}
	}
	var below []byte
	if i.it.Valid() {
		below = i.it.Item().Key()
	}
	if best == nil && i.window < i.last && (below == nil || groupOf(below) > i.window) {
		i.openWindow(i.window+1, nil)
		return nil, nil, stepNothing
	}
	if best == nil && below == nil {
		return nil, nil, stepDone
	}
	if best == nil || below != nil && bytes.Compare(below, best.key) < 0 {
		if bytes.Compare(below, i.upper) >= 0 {
			return nil, nil, stepDone
		}
		return bytes.Clone(below), nil, stepRecord
	}
	if bytes.Compare(best.key, i.upper) >= 0 {
		return nil, nil, stepDone
	}
	return i.take(best, below)
}

// take passes all sources beyond best, the lowest key, and returns what the newest of them that the view sees says of it.
func (i *Iterator) take(best *aheadRecord, below []byte) (key, value []byte, state int) {
	key = best.key
	seen := false
	deleted := false
	for _, src := range i.sources { // newest first
		r := src.peek(i.v)
		if r == nil || !bytes.Equal(r.key, key) {
			continue
		}
		if !seen && r.visible {
			seen, value, deleted = true, r.value, r.value == nil
		}
		src.next++
	}
	same := below != nil && bytes.Equal(below, key)
	switch {
	case !seen && same:
		return bytes.Clone(below), nil, stepRecord
	case !seen:
		return nil, nil, stepNothing
	}
	if same {
		i.it.Next()
	}
	if deleted {
		return nil, nil, stepSkip
	}
	return key, value, stepRecord
}
