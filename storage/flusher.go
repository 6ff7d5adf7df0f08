package storage

import (
	"encoding/binary"
	"fmt"
	"sort"
	"sync/atomic"
	"time"

	"sett/threads"
)

// flusher writes closed generations to Badger, oldest first: the only writer that Badger has.
type flusher struct {
	point   point // the last generation that is whole in Badger; guarded by Store.mu
	wakeup  chan struct{}
	stop    chan struct{}
	done    chan struct{}
	holding atomic.Bool   // PauseFlush
	flushed chan struct{} // closed and replaced when a generation is retired; guarded by Store.mu

	// These are the flusher goroutine's.
	aging  *generation // the active one, when it was looked at last,
	opened time.Time   // … and since when it has batches
}

const appliedKey = "!applied"

// The applied record: index(8) time ms(8) term(8) number(8) of the last entry of a flush, written last in it.
func (p point) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, p.Index)
	b = binary.BigEndian.AppendUint64(b, uint64(p.TimeMs))
	b = binary.BigEndian.AppendUint64(b, p.Chain.Term)
	return binary.BigEndian.AppendUint64(b, p.Chain.Number)
}

func decodePoint(b []byte) (p point, ok bool) {
	if len(b) != 32 {
		return p, false
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(b[i:]) }
	return point{n(0), int64(n(8)), chain{n(16), n(24)}}, true
}

func (f *flusher) wake() {
	select {
	case f.wakeup <- struct{}{}:
	default:
	}
}

func (f *flusher) init() {
	f.wakeup, f.stop, f.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	f.flushed = make(chan struct{})
}

// flushLoop is the flusher goroutine.
func (s *Store) flushLoop() {
	threads.GiveWay()
	f := &s.flush
	defer close(f.done)
	tick := time.NewTicker(max(s.opts.FlushInterval/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-f.wakeup:
		case <-tick.C:
			s.closeAged()
			s.lookForFresh()
		}
		for s.flushOldest() {
			select {
			case <-f.stop:
				return
			default:
			}
		}
	}
}

// lookForFresh notices memtables that have become tables while nothing is flushed.
func (s *Store) lookForFresh() {
	if !s.disk.inUse.TryRLock() {
		return
	}
	defer s.disk.inUse.RUnlock()
	if len(s.disk.fresh.closed) > 0 {
		s.disk.fresh.look()
	}
}

// closeAged closes the active generation when it is older than flush_interval.
func (s *Store) closeAged() {
	s.mu.RLock()
	g := s.active()
	empty := g.lastPos < g.firstPos
	s.mu.RUnlock()
	switch f := &s.flush; {
	case empty:
		f.aging, f.opened = g, time.Now()
	case g != f.aging: // the one before it was full
		f.aging, f.opened = g, time.Now()
		s.drive()
	case time.Since(f.opened) >= s.opts.FlushInterval:
		s.CloseGeneration()
	}
}

// CloseGeneration ends the active generation now and hands the cut to the log.
func (s *Store) CloseGeneration() {
	s.mu.Lock()
	if s.evaluating {
		s.closeActive()
	}
	s.mu.Unlock()
	s.drive()
}

// flushOldest writes the oldest closed generation to Badger if its last entry is applied. It returns whether there was one.
func (s *Store) flushOldest() bool {
	if s.flush.holding.Load() {
		return false
	}
	g := s.oldest()
	if g.version.Load() == 0 {
		return false
	}
	if !s.roomToFlush(g) {
		return false
	}
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	if s.oldest() != g {
		return true // DEBUG RELOAD replaced it meanwhile
	}
	if err := s.flushGeneration(g); err != nil {
		s.opts.Fatal(fmt.Errorf("writing entry %d's generation to Badger: %w", g.version.Load(), err))
		return false
	}
	return true
}

func (s *Store) oldest() *generation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.gens[0]
}

func (s *Store) flushGeneration(g *generation) error {
	version := g.version.Load()
	if !planted("flush-before-fsync") {
		// Badger must never know more than the log on disk.
		if err := s.log.SyncTo(version); err != nil {
			return fmt.Errorf("fsync of the log: %w", err)
		}
	}
	start := time.Now()
	refs, p := g.all(), g.pieces()
	beside := s.beside(g)
	straight := s.isLarge(g, hasValues(refs, p), beside) && s.mayGoStraight()
	var l recordLoader
	if straight {
		s.straight.taken.Add(1)
		applied := plainRecord{[]byte(appliedKey), g.closing.encode()}
		l = s.disk.reached.newLevel0Loader(version, int64(g.bytes()), append(beside.records(), applied), &s.straight.out, s.ledger.ours)
	} else {
		l = s.disk.newLoader(version)
	}
	var deleted [][]byte
	for _, r := range refs {
		e := p.at(r)
		key, value := entryKey(e), versionValue(p.at(getRef(e, entryNewest)))
		if version <= s.replayTo && key[0] == 'b' && value != nil && s.disk.holds(key, value, version) {
			continue // the last life flushed it; another copy would be dead space in the value log that nobody counts
		}
		if value == nil {
			deleted = append(deleted, key)
		}
		if err := l.set(key, value); err != nil {
			return err
		}
	}
	s.deletions.note(deleted)
	if err := s.endFlush(l, g, beside); err != nil {
		return err
	}
	s.retire(g, beside, straight)
	s.views.advance()
	s.stats.Flushes.Add(1)
	s.stats.FlushRecords.Add(uint64(len(refs)))
	took := time.Since(start)
	s.stats.FlushNs.Add(uint64(took))
	s.opts.Took(TookFlush, took)
	if beside == nil {
		s.pace.flushed(g.arena.filled(), took)
	} else {
		beside.finished(s, version) // how long that took says nothing about writers
	}
	s.noteFlushed()
	return nil
}

// endFlush writes what comes behind a generation, if it passes the memtable; the applied record is the last.
func (s *Store) endFlush(to recordLoader, g *generation, beside *removal) error {
	l, passes := to.(*loader)
	if !passes {
		return to.finish()
	}
	for _, r := range beside.records() {
		if err := l.set(r.key, r.value); err != nil {
			return err
		}
	}
	fill := beside != nil && beside.rotates || s.straight.large >= manyLarge
	if fill {
		if err := l.fill(s.budget.MemTable); err != nil {
			return err
		}
	}
	if err := l.set([]byte(appliedKey), g.closing.encode()); err != nil {
		return err
	}
	if err := l.finish(); err != nil {
		return err
	}
	s.straight.passed(s.dir(), fill)
	return nil
}

// hasValues tells whether a generation has records that may lie in the value log.
func hasValues(refs []ref, p pieces) bool {
	i := sort.Search(len(refs), func(i int) bool { return entryKey(p.at(refs[i]))[0] >= 'b' })
	return i < len(refs) && entryKey(p.at(refs[i]))[0] == 'b'
}

// retire makes readers find a flushed generation's records in the cache and in Badger, in an order that leaves no moment at which
// somebody finds, or keeps, an older one.
func (s *Store) retire(g *generation, beside *removal, straight bool) {
	s.retired.Add(1)
	p := g.pieces()
	// In the order of hashes, in which the cache's index lies, too.
	for _, slot := range g.table {
		if slot.entry == 0 {
			continue
		}
		e := p.at(slot.entry)
		key := entryKey(e)
		switch key[0] {
		case '!':
			continue
		case 'x': // found by walks, of which the cache knows nothing; hardly anybody asks for one
			s.cache.forget(s.hash(key), key)
			continue
		}
		hash, value := s.hash(key), versionValue(p.at(getRef(e, entryNewest)))
		if filtered(key) && !straight { // else it is in no memtable
			s.disk.fresh.enter(hash)
		}
		held := s.cache.refresh(hash, key, value)
		switch {
		case !filtered(key) || held && value != nil:
		case value == nil:
			s.filter.leave()
		case !planted("filter-forgets"):
			s.filter.enter(hash)
		}
	}
	if beside != nil {
		for _, key := range beside.keys {
			s.cache.forget(s.hash(key), key)
			if filtered(key) {
				if !straight {
					s.disk.fresh.enter(s.hash(key))
				}
				s.filter.leave()
			}
		}
	}
	s.disk.fresh.entered()
	s.filter.remind()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetSystem(beside)
	invariant(s.gens[0] == g, "retiring a generation that is not the oldest")
	s.gens = append([]*generation(nil), s.gens[1:]...)
	for r := g.groups[groupOf([]byte("!"))]; r != 0; r = getRef(p.at(r), entryNext) {
		e := p.at(r)
		if value := versionValue(p.at(getRef(e, entryNewest))); value != nil {
			s.system[string(entryKey(e))] = append([]byte(nil), value...)
		} else {
			delete(s.system, string(entryKey(e)))
		}
	}
	s.flush.point = g.closing
	g.flushed.Store(true)
	s.dirty.Add(-int64(g.bytes()))
	close(s.flush.flushed)
	s.flush.flushed = make(chan struct{})
}

// forgetSystem drops the system records that were removed: counters of keyspaces of which nothing is left. The lock is held.
func (s *Store) forgetSystem(beside *removal) {
	if beside == nil {
		return
	}
	for _, key := range beside.keys {
		if key[0] != '!' {
			continue
		}
		if keyspace, _, ok := decodeTally(key, s.system[string(key)]); ok {
			delete(s.tallies, keyspace)
		}
		delete(s.system, string(key))
	}
}

// Flush closes the active generation and returns when everything that was written before is in Badger.
func (s *Store) Flush() error {
	s.CloseGeneration()
	s.mu.RLock()
	upTo := s.pos
	s.mu.RUnlock()
	for {
		s.mu.RLock()
		oldest, flushed := s.gens[0], s.flush.flushed
		open := !oldest.closed
		closed, stuck := s.closed, !s.evaluating && oldest.version.Load() == 0
		s.mu.RUnlock()
		switch {
		case oldest.firstPos > upTo:
			return nil
		case closed:
			return ErrClosed
		case s.flush.holding.Load():
			return ErrFlushPaused
		case stuck:
			return ErrNotEvaluating // its closing entry never came
		case !open && s.guard.waiting.Load() && !s.roomToFlush(oldest):
			return &MisconfError{"recent writes cannot be flushed: the disk is full"}
		}
		if open { // a Yield put what was closed into an active one again
			s.CloseGeneration()
		}
		select {
		case <-flushed:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// PauseFlush holds the flusher back, or lets it go on: for tests.
func (s *Store) PauseFlush(pause bool) {
	s.flush.holding.Store(pause)
	s.flush.wake()
}
