package compaction

import (
	"errors"
	"time"

	"sett/storage"
)

// Deletions lie above what they delete, and both go where they meet. So a range is compacted from the top down: the memtable becomes a table, level 0
// is merged, each table between is pushed down, and what is still dead in the last level is rewritten where it is.

const (
	// groupTables is how many tables of the last level are rewritten at once. With large groups the compactors are always in the way.
	groupTables = 8
	// busyTries is how often a compaction is tried that finds Badger at work on the same tables, and busyWait how long it waits between.
	busyTries = 50
	busyWait  = 100 * time.Millisecond
	// shareSamples is how many records of a table are looked at to know which part of it is dead.
	shareSamples = 32
)

// end is above all keys.
var end = []byte{0xff}

// compactRanges compacts some ranges from the top down. withLevel0: what is in memory and in level 0 too, which is always all keys.
func (k *Keeper) compactRanges(ranges []storage.Range, withLevel0 bool) (sum storage.Rewritten, err error) {
	s := k.opts.Store
	if why := s.CompactsRanges(); why != "" {
		return k.compactPublicly()
	}
	if withLevel0 {
		if err := s.Rotate(k.until); err != nil {
			return sum, err
		}
	}
	if err := s.Barrier(); err != nil { // DiscardTs reaches what was deleted just now
		return sum, err
	}
	if withLevel0 {
		if err := k.step(&sum, func() (storage.Rewritten, error) { return s.MergeLevel0(nil) }); err != nil {
			return sum, err
		}
	}
	for level := 1; level < storage.LastLevel; level++ {
		for _, t := range k.tablesIn(level, ranges) {
			if err := k.stepOrPass(&sum, func() (storage.Rewritten, error) { return s.PushDown(t, nil) }); err != nil {
				return sum, err
			}
		}
	}
	return sum, k.rewriteDead(&sum, ranges)
}

// compactPublicly is what Badger offers to everybody: each level is merged into the next one, whole, and nothing happens as long as there is only
// level 0, which it merges when it is full.
func (k *Keeper) compactPublicly() (sum storage.Rewritten, err error) {
	s := k.opts.Store
	for range s.Budget().Level0 + 1 {
		if err := s.Rotate(k.until); err != nil {
			return sum, err
		}
		if !s.OnlyFresh() {
			break
		}
	}
	for range 100 { // compacted by Badger itself
		if !s.OnlyFresh() || k.sleep(50*time.Millisecond) {
			break
		}
	}
	if err := s.Barrier(); err != nil {
		return sum, err
	}
	sum.Tables, sum.Before = len(s.Tables()), s.TableBytes()
	err = s.Compact()
	sum.After = s.TableBytes()
	k.pay(sum.Before + sum.After)
	return sum, err
}

// rewriteDead rewrites those tables of the last level of which enough is dead.
func (k *Keeper) rewriteDead(sum *storage.Rewritten, ranges []storage.Range) error {
	return k.rewriteThose(sum, k.tablesIn(storage.LastLevel, ranges), nil, func(t storage.Table) (bool, error) {
		share, err := k.deadShare(t)
		return share >= k.tuning().TTLRatio, err
	})
}

// rewriteThose rewrites some tables of a level, in groups of a few that stand side by side.
func (k *Keeper) rewriteThose(sum *storage.Rewritten, of []storage.Table, drop [][]byte, wanted func(storage.Table) (bool, error)) error {
	var group []storage.Table
	flush := func() error {
		if len(group) == 0 {
			return nil
		}
		tables := group
		group = nil
		return k.stepOrPass(sum, func() (storage.Rewritten, error) { return k.opts.Store.RewriteTables(tables, drop) })
	}
	for _, t := range of {
		hit, err := wanted(t)
		if err != nil {
			return err
		}
		if hit {
			group = append(group, t)
		}
		if !hit || len(group) == groupTables {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// tablesIn lists the tables of a level that overlap any of some ranges.
func (k *Keeper) tablesIn(level int, ranges []storage.Range) (tables []storage.Table) {
	for _, t := range k.opts.Store.Tables() {
		if t.Level == level && overlapsAny(t, ranges) {
			tables = append(tables, t)
		}
	}
	return tables
}

func overlapsAny(t storage.Table, ranges []storage.Range) bool {
	for _, r := range ranges {
		if t.Overlaps(r) {
			return true
		}
	}
	return false
}

// step does one compaction, waits for Badger if it is busy there, and pays for it. One that is busy for too long, or that
// the disk has no room for, is left out, and storage.ErrBusy says so.
func (k *Keeper) step(sum *storage.Rewritten, compact func() (storage.Rewritten, error)) error {
	for range busyTries {
		done, err := compact()
		if err == nil {
			*sum = sum.Plus(done)
			k.stats.Compactions.Add(1)
			k.stats.CompactedBytes.Add(uint64(done.Before + done.After))
			k.stats.CompactedAway.Add(uint64(max(0, done.Dropped)))
			if k.pay(done.Before + done.After) {
				return storage.ErrStopped
			}
			return nil
		}
		if errors.Is(err, storage.ErrNoRoom) {
			break // to wait for it at each table would keep all other jobs from giving space back
		}
		if !errors.Is(err, storage.ErrBusy) {
			return err
		}
		if k.sleep(busyWait) {
			return storage.ErrStopped
		}
	}
	k.stats.CompactionsBusy.Add(1)
	return storage.ErrBusy
}

// stepOrPass is a step that the next run makes good if it is left out.
func (k *Keeper) stepOrPass(sum *storage.Rewritten, compact func() (storage.Rewritten, error)) error {
	if err := k.step(sum, compact); !errors.Is(err, storage.ErrBusy) {
		return err
	}
	return nil
}

// pay waits as long as reading or writing so many bytes may take.
func (k *Keeper) pay(bytes int64) (stopped bool) {
	return k.sleep(time.Duration(float64(bytes) / k.rate() * float64(time.Second)))
}

// rate is compaction.rate, as it fits the moment: more while nobody writes, less while writers wait for the flusher, who needs the same disk.
func (k *Keeper) rate() float64 {
	rate := float64(k.tuning().Rate)
	st := k.opts.Store.Status()
	k.paid.look(k.opts.Store)
	switch {
	case st.DirtyBytes > st.DirtyLimit/2:
		return rate / pacedFactor
	case k.paid.now:
		return rate * idleFactor
	}
	return rate
}

const (
	idleFactor  = 4
	pacedFactor = 4
)
