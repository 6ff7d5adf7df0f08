package storage

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"runtime"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Open opens Badger in a data directory. The store serves nobody before Begin, the log's replay, and Lead.
func Open(d *Dir, o Options) (*Store, error) {
	s := &Store{opts: o.withDefaults(d), data: d, seed: maphash.MakeSeed()}
	s.setDir(d.BadgerDir())
	s.budget = s.opts.budget()
	s.fit.generation.Store(s.budget.Generation)
	s.fit.batchMax.Store(s.budget.BatchMax)
	s.cache = newCache(int(s.budget.Cache))
	s.disk = &disk{threshold: int(s.opts.ValueThreshold), valueLogFile: s.opts.ValueLogBytes, crowded: s.filter.crowded, logger: s.opts.Logger}
	s.ledger.lost = s.tablesLost
	s.guard.pretend.Store(-1)
	s.guard.reserve.Store(s.opts.DiskReserve)
	s.copyRate.Store(s.opts.CopyRate)
	s.filter.init(s.budget.Filter)
	s.disk.fresh.init(s.seed, s.budget.MemTable)
	s.writer.init()
	s.ahead.init()
	s.flush.init()
	if s.straight.least = s.opts.StraightBytes; s.straight.least == 0 {
		s.straight.least = s.budget.Generation / 4
	}
	s.barrier.init()
	if err := s.roomToStart(); err != nil {
		return nil, err
	}
	if err := s.openBadger(); err != nil {
		return nil, err
	}
	s.lookAtDisk()
	return s, nil
}

// EntryBytes is how much goes into an entry of the log: a batch that has more than twice as much is cut into several.
const EntryBytes = 256 << 10

func (o Options) withDefaults(d *Dir) Options {
	if o.FS == nil {
		o.FS = d.fs
	}
	if o.Took == nil {
		o.Took = func(string, time.Duration) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	set := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	set(&o.MemoryBudget, 1<<30)
	set(&o.CopyRate, 32<<20)
	set(&o.ValueThreshold, 32<<10)
	set(&o.ValueLogBytes, 64<<20)
	if o.GenerationRecords == 0 {
		o.GenerationRecords = 400_000
	}
	if o.EntryBytes == 0 {
		o.EntryBytes = EntryBytes
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = 4 * time.Second
	}
	if o.BarrierInterval == 0 {
		o.BarrierInterval = 10 * time.Second
	}
	if o.StallTimeout == 0 {
		o.StallTimeout = 10 * time.Second
	}
	return o
}

func (o Options) budget() Budget {
	b := BudgetFor(o.MemoryBudget)
	if o.GenerationBytes > 0 {
		b.Generation = o.GenerationBytes
	}
	if o.BatchMaxBytes > 0 {
		b.BatchMax = o.BatchMaxBytes
	}
	return b
}

// openBadger opens Badger and sets the store to what is durable in it.
func (s *Store) openBadger() error {
	if err := checkLost(s.opts.FS, s.dir()); err != nil {
		return err
	}
	noted, err := readDurable(s.opts.FS, s.dir())
	if err != nil {
		return err
	}
	durable, files := noted.point(), noted.Files
	s.barrier.copied = noted.Copied
	if err := checkBadgerFiles(s.dir(), files, durable.Index); err != nil {
		return err
	}
	if err := cutValueLogs(s.dir(), files); err != nil {
		return err
	}
	// Badger replaces these files when it opens, perhaps under the same names.
	if err := s.writeDurable(durable, nil); err != nil {
		return err
	}
	if err := removeEmpty(s.dir()); err != nil {
		return err
	}
	if err := enterForgotten(s.opts.FS, s.dir()); err != nil {
		return err
	}
	memTables := memTableLogs(s.dir())
	s.ledger.open()
	if s.disk.db, err = openDisk(s.dir(), s.budget, &s.opts, news{s.valuesWritten, s.collects, s.valuesMoved, &s.ledger}); err != nil {
		s.ledger.opened(nil, nil)
		return errors.Join(err, s.writeDurable(durable, files))
	}
	s.reachBadger()
	s.disk.fresh.begin(s.dir(), memTables, s.disk.reached != nil)
	s.straight.begin(s.dir())
	if err := s.loadBadger(durable); err != nil {
		s.disk.db.Close()
		s.ledger.closed()
		return err
	}
	if err := s.noteDurable(); err != nil {
		return err
	}
	s.startCompactors()
	return nil
}

// reachBadger finds what Badger does not export, and tells the ledger that Badger is open.
func (s *Store) reachBadger() {
	var hold func() func()
	var err error
	if s.disk.reached, err = reach(s.disk.db); err != nil {
		s.disk.unreached = err.Error()
		s.opts.Logger.Warn("space comes back more slowly: ranges cannot be compacted one by one", "why", err)
	} else {
		s.disk.unreached, hold = "", s.disk.reached.hold
	}
	s.ledger.opened(s.disk.db, hold)
}

func (s *Store) loadBadger(durable point) error {
	value, err := s.disk.getLocked([]byte(appliedKey), newest)
	if err != nil {
		return refused("the applied record in %s is damaged (%v): run `sett check`", s.dir(), err)
	}
	applied, ok := decodePoint(value)
	if !ok && value != nil {
		return refused("the applied record in %s is malformed: run `sett check`", s.dir())
	}
	if applied.Index < durable.Index {
		return lost("Badger in %s has lost data: it was durable up to entry %d and now ends at %d. Restore a copy, or run `sett check`", s.dir(), durable.Index, applied.Index)
	}
	s.inBadger = applied.Index
	if durable.Index > 0 {
		s.reclaim.discardTs.Store(durable.Index)
		s.tellDiscard()
	}
	if s.system, err = s.disk.system(durable.Index); err != nil {
		return refused("system records in %s are damaged (%v): run `sett check`", s.dir(), err)
	}
	s.applied, s.accepted, s.usedTerm, s.effect = durable, durable.Chain, durable.Chain, durable.Index
	s.flush.point, s.barrier.durable = durable, durable
	s.appliedIdx.Store(durable.Index)
	s.lastMs = durable.TimeMs
	fresh := newGeneration(s.pos)
	s.gens = []*generation{fresh}
	s.dirty.Store(int64(fresh.bytes()))
	s.tallies = make(map[uint32]counter)
	s.loadTallies()
	s.tellObserver()
	return nil
}

// system reads all system records at a version.
func (d *disk) system(version uint64) (records map[string][]byte, err error) {
	records = make(map[string][]byte)
	defer d.guard([]byte("!"), &err)
	txn := d.db.NewTransactionAt(version, false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = []byte("!")
	it := txn.NewIterator(o)
	defer it.Close()
	for it.Seek(o.Prefix); it.Valid(); it.Next() {
		key := it.Item().KeyCopy(nil)
		stored, err := it.Item().ValueCopy(nil)
		if err != nil {
			return nil, err
		}
		if records[string(key)], err = d.open(key, stored); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// Begin connects the store with its log, whose entries are first…last (last < first: none), and starts the flusher. It refuses a log and a
// Badger that do not belong together. The log then replays the entries from ReplayFrom on.
func (s *Store) Begin(log Log, first, last uint64) error {
	durable := s.applied.Index
	switch end := max(last, durable); {
	case s.inBadger > end:
		return lost("the log of %s has lost data: Badger has entries up to %d, the log ends at %d. Restore a copy, or run `sett check`", s.dir(), s.inBadger, end)
	case last >= first && first > max(durable, s.barrier.copied)+1:
		return lost("the log of %s has a gap: it begins at entry %d, Badger is durable up to %d. Restore a copy, or run `sett check`", s.dir(), first, durable)
	}
	s.log, s.replayTo = log, last
	s.filter.done.Add(1)
	go s.filterLoop()
	go s.flushLoop()
	go s.barrierLoop()
	go s.writeLoop()
	go s.aheadLoop()
	s.begun = true
	return nil
}

// ReplayFrom is the index of the first entry to replay.
func (s *Store) ReplayFrom() uint64 { return s.applied.Index + 1 }

// LastTime is the time of the last batch, in ms since 1970.
func (s *Store) LastTime() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lastMs
}

// Close ends the store. Evaluation stops; what was evaluated is handed to the log. flush: everything is written to Badger and made durable,
// so that the next start replays nothing. The log is closed by its owner, afterwards.
func (s *Store) Close(flush bool) error {
	var err error
	if flush && s.begun {
		s.PauseFlush(false)
		err = s.Flush()
		switch {
		case err == nil:
		case errors.Is(err, ErrNotEvaluating) && !s.noRoom():
			s.opts.Logger.Info("what has come since the last flush point stays in the log, and the next start replays it: the leader says where one is")
			err = nil
		case s.cannotFlush():
			s.opts.Logger.Warn("stopping without a flush: the log has everything, and the next start replays it", "err", err)
			err, flush = nil, false
		}
	}
	s.drive()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed, s.evaluating, s.serving = true, false, false
	s.mu.Unlock()
	s.waits.mu.Lock()
	s.waits.closed = true
	s.waits.mu.Unlock()
	s.fail(s.pos)
	s.views.closePictures()
	if s.begun {
		close(s.writer.stop)
		<-s.writer.done
		close(s.ahead.stop)
		<-s.ahead.done
		close(s.filter.stop)
		s.filter.done.Wait()
		close(s.flush.stop)
		<-s.flush.done
		if flush && err == nil {
			err = s.Barrier()
		}
		close(s.barrier.stop)
		<-s.barrier.done
	}
	err = errors.Join(err, s.closeBadger(flush))
	s.leftovers.Wait()
	s.cache.close()
	return err
}

// cannotFlush tells that a flush has to wait: for space on a disk, the log's or Badger's, or because it is not this node that evaluates.
func (s *Store) cannotFlush() bool { return !s.Evaluating() || s.guard.waiting.Load() }

// noRoom tells that the log's disk, or Badger's, is full.
func (s *Store) noRoom() bool { return s.guard.refusal.Load() != nil || s.guard.waiting.Load() }

// closeBadger closes Badger; at a clean stop what its own closing wrote is made durable too. One that has met damage is left as it is: a read
// of a damaged value log keeps its lock for ever, and closing would wait for it. The last barrier covers what there is to keep.
func (s *Store) closeBadger(clean bool) (err error) {
	s.stopCompactors()
	if s.Damage() != "" {
		s.opts.Logger.Error("damage was met since the start: run `sett check`", "first", s.Damage())
		return nil
	}
	defer s.disk.guard(nil, &err)
	err = s.disk.db.Close()
	s.ledger.closed()
	if err != nil {
		return fmt.Errorf("closing Badger: %w", err)
	}
	if !clean {
		return nil
	}
	return s.noteDurable()
}

// noteDurable writes durable anew, with Badger's files as they are now.
func (s *Store) noteDurable() error {
	files, err := noteBadgerFiles(s.dir(), nil)
	if err != nil {
		return err
	}
	if err := syncBadger(s.dir()); err != nil {
		return err
	}
	s.barrier.files = files
	return s.writeDurable(s.barrier.durable, files)
}

// Reload does what a restart does: everything is flushed and made durable, the recent writes and the cache are forgotten, Badger is closed
// and opened again, and the log's rest is replayed. Others wait; open views end with an error. For tests.
func (s *Store) Reload() error {
	if damage := s.Damage(); damage != "" {
		return fmt.Errorf("there is damage: %s", damage)
	}
	if err := s.Flush(); err != nil {
		return err
	}
	if err := s.Barrier(); err != nil {
		return err
	}
	s.disk.inUse.Lock()
	defer s.disk.inUse.Unlock()
	s.applying.Lock()
	defer s.applying.Unlock()
	if err := s.lockQuiet(); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return s.reopen()
}

// lockQuiet takes the lock at a moment when everything evaluated is committed. Store.applying is held, and let go of while it waits.
func (s *Store) lockQuiet() error {
	for {
		s.mu.Lock()
		s.tail.mu.Lock()
		quiet := len(s.tail.batches) == 0 && len(s.tail.proposed) == 0 && s.committed.Load() == s.pos
		s.tail.mu.Unlock()
		if s.closed {
			s.mu.Unlock()
			return ErrClosed
		}
		if quiet {
			return nil
		}
		s.mu.Unlock()
		s.applying.Unlock()
		s.drive()
		runtime.Gosched()
		s.applying.Lock()
	}
}

func (s *Store) reopen() error {
	if err := s.closeBadger(true); err != nil {
		return err
	}
	s.views.end()
	s.cache.reset()
	applied, accepted, used, pos, ms := s.applied, s.accepted, s.usedTerm, s.pos, s.lastMs
	if err := s.openBadger(); err != nil {
		s.opts.Fatal(err)
		return err
	}
	for index := s.behind(s.applied); index <= applied.Index; index++ {
		if err := s.reapply(index); err != nil {
			s.opts.Fatal(err)
			return err
		}
	}
	invariant(s.accepted == accepted, "reloaded up to chain %v, was %v", s.accepted, accepted)
	s.applied, s.usedTerm, s.lastMs = applied, used, max(s.lastMs, ms)
	s.appliedIdx.Store(applied.Index)
	s.retired.Add(1)
	s.commit(max(pos, s.pos))
	return nil
}

// DropCache empties the record cache.
func (s *Store) DropCache() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cache.reset()
	s.memo.forget()
}

// fillMessage is Badger's error when tables that it was told to compact are being compacted by others.
const fillMessage = "Unable to fill tables"

// Compact writes tables together until no level is over its target. For tests.
func (s *Store) Compact() error {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	for start := time.Now(); ; time.Sleep(compactEvery) {
		err := s.disk.db.Flatten(1) // the ledger tells compactors apart by their numbers, and all of Flatten's have the same
		if err == nil || err.Error() != fillMessage || time.Since(start) > rotateLimit {
			return err
		}
	}
}

// Status tells where the store stands.
func (s *Store) Status() Status {
	s.mu.RLock()
	st := Status{
		Durable: s.barrier.durable.public(), Flushed: s.flush.point.public(), Generations: len(s.gens),
		Position: s.pos, Evaluating: s.evaluating, Serving: s.readable() == nil,
	}
	s.mu.RUnlock()
	st.Applied = s.appliedIdx.Load()
	st.Committed = s.committed.Load()
	st.DirtyBytes, st.DirtyLimit = s.dirty.Load(), s.budget.Recent
	st.CacheBytes, st.CacheLimit = int64(s.cache.bytes()), s.budget.Cache
	st.CacheHits, st.CacheMisses = s.cache.hits.Load(), s.cache.misses.Load()
	st.DiskFree, st.DiskNeeded = s.guard.free.Load(), s.diskNeed()
	st.Views = s.views.count()
	st.Damage, st.Refusal = s.Damage(), s.Refusal()
	st.LogRefused = s.guard.refusal.Load() != nil
	return st
}

func (p point) public() Point { return Point{p.Index, p.TimeMs, p.Chain.Term} }

// Stats counts what happened since the start.
func (s *Store) Stats() *Stats { return &s.stats }

// Budget is how memory_budget is divided. What a generation and a batch may have depends on other nodes, too, and may change: see Fit.
func (s *Store) Budget() Budget {
	b := s.budget
	b.Generation, b.BatchMax = s.fit.generation.Load(), s.fit.batchMax.Load()
	return b
}

// Fit has generations and batches fit into the memory of others as well, of whom the smallest has a memory_budget of so many bytes: they take over
// whole what this node evaluates.
func (s *Store) Fit(memory int64) {
	b := BudgetFor(memory)
	s.fit.generation.Store(min(s.budget.Generation, b.Generation))
	s.fit.batchMax.Store(min(s.budget.BatchMax, b.BatchMax))
}

// Damage is the first damage that was met, "" if none was.
func (s *Store) Damage() string {
	if p := s.disk.unhealthy.Load(); p != nil {
		return *p
	}
	return ""
}
