package compaction

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"sett/storage"
)

// Tombstone-ratio compaction: where so much was deleted that whoever comes by walks over the dead, or did so already, the range is compacted.

const (
	// worthDeletions is how many deletions there must be, or how many records scans must have skipped, before anything is done.
	worthDeletions = 10_000
	// skipsEach is how many records a scan skips for each that it returns before that alone is a reason.
	skipsEach = 8
	// restFactor is how much longer than a run the keeper leaves its ranges alone, but for not more than restMost, nor while nobody writes.
	restFactor = 3
	restMost   = 30 * time.Second
	// quietFactor is how much fewer deletions are enough while nobody writes.
	quietFactor = 3
	// worthMerging is how much fewer deletions than for the ranges themselves must be for each record above the last level, all of which have to be
	// merged first.
	worthMerging = 4
)

// compactTombstones is the keeper's own look at what was deleted.
func (k *Keeper) compactTombstones() error {
	if now := time.Now(); now.Before(k.deletions.next) || now.Before(k.deletions.rested) && !k.nobody.now {
		return nil
	}
	k.deletions.next = time.Now().Add(k.opts.LookEvery)
	tables := k.opts.Store.Tables()
	counted := k.opts.Store.Deletions(tables)
	ratio := k.tuning().TombstoneRatio
	if k.nobody.now {
		ratio /= quietFactor
	}
	due := dueRanges(counted, tables, ratio, k.worth)
	k.noteDeletions(counted, tables)
	if len(due) == 0 {
		return nil
	}
	began := time.Now()
	ranges := make([]storage.Range, len(due))
	for i, d := range due {
		ranges[i] = rangeOf(d)
	}
	done, err := k.compactRanges(ranges, true)
	k.deletions.next = time.Now().Add(k.opts.LookEvery)
	k.deletions.rested = time.Now().Add(min(restFactor*time.Since(began), restMost))
	if err != nil {
		return err
	}
	deleted := k.compacted(counted, due)
	k.jobs[jobTombstones].did(fmt.Sprintf("brought %d deletions down to what they delete: %d records went", deleted, done.Dropped), done.Before, done.After, done.Before+done.After)
	skipped := int64(0)
	for _, d := range due {
		skipped += d.Skipped
	}
	k.opts.Log.Info("deleted records compacted away", "ranges", len(due), "deletions", deleted, "skipped", skipped, "records", done.Dropped, "before", done.Before, "after", done.After,
		"took", time.Since(began).Round(time.Millisecond))
	return nil
}

// compacted takes back what was counted before the ranges that were due were compacted, and tells how many deletions that were.
func (k *Keeper) compacted(counted, due []storage.RangeDeletions) (deleted int64) {
	tables := k.opts.Store.Tables()
	for _, c := range settled(counted, due, tables) {
		k.opts.Store.Compacted(c)
		deleted += c.Deleted
	}
	k.noteDeletions(k.opts.Store.Deletions(tables), tables)
	return deleted
}

// settled are the ranges whose deletions have met what they delete: those that were due, and those in which nothing lies between level 0, which was
// merged, and the last one.
func settled(counted, due []storage.RangeDeletions, tables []storage.Table) (settled []storage.RangeDeletions) {
	for _, c := range counted {
		isDue := slices.ContainsFunc(due, func(d storage.RangeDeletions) bool { return bytes.Equal(d.Lower, c.Lower) })
		between := slices.ContainsFunc(tables, func(t storage.Table) bool {
			return t.Level > 0 && t.Level < storage.LastLevel && t.Overlaps(rangeOf(c))
		})
		if isDue || !between {
			settled = append(settled, c)
		}
	}
	return settled
}

// rangeOf is where deletions were counted.
func rangeOf(d storage.RangeDeletions) storage.Range {
	if d.Upper == nil {
		return storage.Range{Lower: d.Lower, Upper: end}
	}
	return storage.Range{Lower: d.Lower, Upper: d.Upper}
}

// dueRanges picks the ranges that are worth it. What lies above the last level is spread over all ranges.
func dueRanges(counted []storage.RangeDeletions, tables []storage.Table, ratio float64, worth int64) (due []storage.RangeDeletions) {
	records, above, deleted := make(map[string]int64), int64(0), int64(0)
	for _, t := range tables {
		if t.Level == storage.LastLevel {
			records[string(t.First)] = t.Records
		} else {
			above += t.Records
		}
	}
	all := above
	for i, c := range counted {
		deleted += c.Deleted
		if c.Lower == nil {
			for _, t := range tables { // the first one begins before its table
				if t.Level == storage.LastLevel {
					records[""] = t.Records
					break
				}
			}
		}
		all += records[string(counted[i].Lower)]
	}
	gained, inTheWay := int64(0), false
	whole := deleted >= worth && float64(deleted) >= ratio*float64(all)
	for _, c := range counted {
		have := records[string(c.Lower)] + above/int64(len(counted))
		switch {
		case whole && c.Deleted > 0,
			c.Deleted >= worth && float64(c.Deleted) >= ratio*float64(have):
			due = append(due, c)
			gained += c.Deleted
		case c.Skipped >= worth && c.Skipped >= skipsEach*c.Returned:
			due = append(due, c)
			inTheWay = true
		}
	}
	if float64(gained) < ratio/worthMerging*float64(above) && !inTheWay {
		return nil
	}
	return due
}

// noteDeletions reports how much waits: a record for each deletion, as large as records are.
func (k *Keeper) noteDeletions(counted []storage.RangeDeletions, tables []storage.Table) {
	deleted, records, bytes := int64(0), int64(0), int64(0)
	for _, c := range counted {
		deleted += c.Deleted
	}
	for _, t := range tables {
		records, bytes = records+t.Records, bytes+t.Bytes
	}
	backlog := min(bytes, deleted*bytes/max(1, records))
	drain := time.Duration(0)
	if backlog > 0 {
		drain = time.Duration(float64(2*bytes) / float64(k.tuning().Rate) * float64(time.Second))
	}
	k.jobs[jobTombstones].waits(backlog, drain)
}
