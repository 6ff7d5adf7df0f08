package compaction

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sett/storage"
)

// What is large and dead goes by range: its tables are written anew without it, and those that hold nothing else are dropped unread. A deletion for
// each of its records would cost as much as they did, and would lie there beside them until both are compacted.

const (
	// dropAfter is how many records a range has before it is worth being dropped, where that is possible.
	dropAfter = 4096
	// dropsAtOnce bounds the prefixes that are dropped in one go: each record of a table is compared with all of them.
	dropsAtOnce = 32
	// level0Share is the part of level 0 and of the level below that must be dead before they are merged for it, and level0Bytes how much.
	level0Share = 0.25
	level0Bytes = 16 << 20
)

// errLarge: a range is to be dropped.
var errLarge = errors.New("compaction: large enough to be dropped")

// droppable tells whether a range is one that may go so. Chunks may not: their tables would be dropped without telling the value log.
func (k *Keeper) droppable(r storage.Range) bool {
	return r.Lower[0] != k.opts.Layout.Chunks.Lower[0] && k.opts.Store.CompactsRanges() == ""
}

// dropDead drops what lies under some dead records from all tables. What was in memory, or came into level 0 meanwhile, is left for deletions.
func (k *Keeper) dropDead(dead []deadRecord) error {
	for len(dead) > 0 {
		n := min(dropsAtOnce, len(dead))
		if err := k.dropSome(dead[:n]); err != nil {
			return err
		}
		dead = dead[n:]
	}
	return nil
}

func (k *Keeper) dropSome(dead []deadRecord) error {
	var (
		began    = time.Now()
		prefixes [][]byte
		ranges   []storage.Range
		sum      storage.Rewritten
	)
	for _, d := range dead {
		for _, r := range d.ranges {
			if k.droppable(r) {
				prefixes, ranges = append(prefixes, r.Lower), append(ranges, r)
			}
		}
	}
	merge, err := k.worthLevel0(ranges)
	if err != nil {
		return err
	}
	if merge {
		if err := k.stepOrPass(&sum, func() (storage.Rewritten, error) { return k.opts.Store.MergeLevel0(prefixes) }); err != nil {
			return err
		}
	}
	for level := storage.LastLevel; level > 0; level-- { // what is older first: it must not be seen again
		if err := k.dropFromLevel(&sum, level, ranges, prefixes); err != nil {
			return err
		}
	}
	k.stats.ReclaimedKeys.Add(uint64(max(0, sum.Dropped)))
	k.jobs[jobReclaim].did(fmt.Sprintf("dropped %d dead collections or keyspaces from %d tables", len(dead), sum.Tables), sum.Before, sum.After, sum.Before+sum.After)
	k.opts.Log.Info("dead collections dropped", "dead", len(dead), "records", sum.Dropped, "before", sum.Before, "after", sum.After,
		"took", time.Since(began).Round(time.Millisecond))
	return nil
}

// worthLevel0 tells whether so much of level 0 lies in some ranges that merging it is cheaper than deleting.
func (k *Keeper) worthLevel0(ranges []storage.Range) (bool, error) {
	dead, cost, base := int64(0), int64(0), 0
	for _, t := range k.opts.Store.Tables() {
		if base == 0 && t.Level > 0 {
			base = t.Level
		}
		if t.Level != base && t.Level != 0 {
			break
		}
		cost += t.Bytes
		if t.Level > 0 {
			continue
		}
		for _, r := range ranges {
			n, err := k.opts.Store.BytesWithin(t, r)
			if err != nil {
				return false, err
			}
			dead += n
		}
	}
	return dead >= level0Bytes || dead > 1<<20 && float64(dead) >= level0Share*float64(cost), nil
}

// dropFromLevel rewrites the tables of a level that hold any of some ranges.
func (k *Keeper) dropFromLevel(sum *storage.Rewritten, level int, ranges []storage.Range, prefixes [][]byte) error {
	of := slices.DeleteFunc(k.opts.Store.Tables(), func(t storage.Table) bool { return t.Level != level })
	return k.rewriteThose(sum, of, prefixes, func(t storage.Table) (bool, error) { return overlapsAny(t, ranges), nil })
}
