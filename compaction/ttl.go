package compaction

import (
	"fmt"
	"time"

	"sett/storage"
)

// Periodic TTL compaction: what was swept, deleted or written anew may stay in Badger's last level for ever, since Badger never looks at it again.
// So its tables are sampled now and then, whatever was counted, and those of which enough is dead are compacted.

// worthBytes is how much must be dead in all before tables are compacted for it.
const worthBytes = 1 << 20

// compactExpired is the keeper's own look at the last level.
func (k *Keeper) compactExpired() error {
	every := k.tuning().TTLInterval
	if every == 0 || time.Since(k.sampled) < every {
		return nil
	}
	k.sampled = time.Now()
	tables := k.opts.Store.Tables()
	var (
		ranges              []storage.Range
		dead, above, inBase int64
	)
	base := 0
	for _, t := range tables {
		switch {
		case t.Level == 0:
			above += t.Bytes
			continue
		case base == 0:
			base = t.Level
		}
		if t.Level == base {
			inBase += t.Bytes
		}
		if t.Level != storage.LastLevel {
			continue
		}
		share, err := k.deadShare(t)
		if err != nil {
			return err
		}
		if share >= k.tuning().TTLRatio {
			dead += int64(share * float64(t.Bytes))
			ranges = append(ranges, storage.Range{Lower: t.First, Upper: append(append([]byte(nil), t.Last...), 0)})
		}
	}
	k.jobs[jobTTL].waits(dead, time.Duration(float64(2*dead)/float64(k.tuning().Rate)*float64(time.Second)))
	if dead < worthBytes {
		return nil
	}
	// What killed them may still lie in level 0. To merge that costs as much as it and the base level are large.
	withLevel0 := k.deathAbove || float64(dead) >= k.tuning().TTLRatio*float64(above+inBase)
	done, err := k.compactRanges(ranges, withLevel0)
	if err != nil {
		return err
	}
	k.deathAbove = !withLevel0 && done.Before-done.After < dead/2 // or the same tables would be written anew each time, for nothing
	k.jobs[jobTTL].did(fmt.Sprintf("compacted %d tables of which enough was dead: %d records went", len(ranges), done.Dropped), done.Before, done.After, done.Before+done.After)
	k.jobs[jobTTL].waits(max(0, dead-(done.Before-done.After)), 0)
	k.opts.Log.Info("dead records compacted away", "tables", len(ranges), "estimated", dead, "before", done.Before, "after", done.After,
		"took", time.Since(k.sampled).Round(time.Millisecond))
	return nil
}

// deadShare samples a table.
func (k *Keeper) deadShare(t storage.Table) (float64, error) {
	share, err := k.opts.Store.DeadShare(t, shareSamples)
	if err == nil && k.pay(shareSamples*sampleBytes) {
		err = storage.ErrStopped
	}
	return share, err
}

// sampleBytes is a block of a table.
const sampleBytes = 4 << 10
