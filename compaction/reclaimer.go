package compaction

import (
	"bytes"
	"fmt"
	"time"

	"sett/storage"
)

// maxCleared bounds the dead records that wait for a barrier.
const maxCleared = 1 << 16

// reclaim looks at the dead records as they are at DiscardTs, oldest ids first. Pass 1 removes what lies under their ids. Pass 2 removes those
// records of which nothing is left at a durable version. After a restart both begin again, and find what the last run left.
func (k *Keeper) reclaim(now bool) error {
	var (
		b       = batch{k: k, now: now}
		from    = k.opts.Layout.Dead.Lower
		waiting = int64(0)
		seen    = make(map[string]bool)
	)
	for from != nil {
		dead, err := k.deadFrom(from)
		if err != nil {
			return err
		}
		from = nil
		if len(dead) == deadAtOnce {
			from = append(bytes.Clone(dead[len(dead)-1].key), 0)
		}
		for _, d := range dead {
			if d.ranges == nil {
				continue // staged, or not ours to remove
			}
			waiting++
			seen[string(d.key)] = true
			if _, cleared := k.cleared[string(d.key)]; cleared || len(k.cleared)+len(b.whole) >= maxCleared {
				continue
			}
			if err := b.clear(d); err != nil {
				return err
			}
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	k.stats.DeadWaiting.Store(waiting)
	for key := range k.cleared {
		if !seen[key] {
			delete(k.cleared, key)
		}
	}
	return k.forget(now)
}

// forget is pass 2.
func (k *Keeper) forget(now bool) error {
	durable := k.opts.Store.DurableIndex()
	var keys [][]byte
	for key, version := range k.cleared {
		if version == gone || version > durable {
			continue
		}
		if keys = append(keys, []byte(key)); len(keys) == storage.RemoveAtOnce {
			break
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if _, err := k.remove(keys, now); err != nil {
		return err
	}
	for _, key := range keys {
		k.cleared[string(key)] = gone
	}
	k.stats.ReclaimedIDs.Add(uint64(len(keys)))
	k.jobs[jobReclaim].did(fmt.Sprintf("removed %d dead collections, large values or keyspaces", len(keys)), 0, 0, 0)
	k.stats.DeadWaiting.Add(-int64(len(keys)))
	return nil
}

// gone says of a cleared dead record that it is removed. It is still seen until DiscardTs has passed its removal.
const gone = ^uint64(0)

// deadRecord is one with what lies under its id; ranges is nil if that has to stay.
type deadRecord struct {
	key    []byte
	ranges []storage.Range
}

const deadAtOnce = 4096

// deadFrom reads the next dead records.
func (k *Keeper) deadFrom(from []byte) (dead []deadRecord, err error) {
	scan := k.opts.Store.Scan(k.opts.Layout.Dead, k.opts.Store.DiscardTs())
	defer scan.Close()
	for ok := scan.Seek(from); ok && len(dead) < deadAtOnce; ok = scan.Next() {
		value, err := scan.Value()
		if err != nil {
			return nil, err
		}
		d := deadRecord{key: bytes.Clone(scan.Key())}
		if ranges, ok := k.opts.Layout.Doomed(d.key, value); ok {
			d.ranges = ranges
		}
		dead = append(dead, d)
	}
	return dead, scan.Err()
}

// batch gathers what one flush removes.
type batch struct {
	k       *Keeper
	now     bool
	keys    [][]byte
	size    int
	whole   []string // dead records of which nothing is left once keys are removed
	version uint64   // that scan reads
	scan    *storage.Scan
	began   time.Time
}

// clear removes what lies under a dead record's id.
func (b *batch) clear(d deadRecord) error {
	for _, r := range d.ranges {
		if err := b.clearRange(r); err != nil {
			return err
		}
	}
	b.whole = append(b.whole, string(d.key))
	return nil
}

// everything has room for all ranges that one scan is used for.
var everything = storage.Range{Lower: []byte{0}, Upper: []byte{0xff}}

func (b *batch) clearRange(r storage.Range) error {
	for from := r.Lower; ; {
		if b.scan == nil {
			b.version, b.began = b.k.opts.Store.FlushedIndex(), time.Now()
			b.scan = b.k.opts.Store.Scan(everything, b.version)
		}
		ok := b.scan.Seek(from)
		for ; ok && bytes.Compare(b.scan.Key(), r.Upper) < 0; ok = b.scan.Next() {
			key := bytes.Clone(b.scan.Key())
			b.keys, b.size = append(b.keys, key), b.size+len(key)
			if key[0] == b.k.opts.Layout.Chunks.Lower[0] {
				b.k.unsettled = true
			}
			if len(b.keys) == storage.RemoveAtOnce || b.size >= storage.RemoveBytesAtOnce {
				from, ok = append(key, 0), false
				break
			}
		}
		if err := b.scan.Err(); err != nil {
			return err
		}
		if ok || len(b.keys) < storage.RemoveAtOnce && b.size < storage.RemoveBytesAtOnce {
			return nil // the range is through
		}
		if err := b.flush(); err != nil {
			return err
		}
	}
}

// flush removes what was gathered, and rests for a while.
func (b *batch) flush() error {
	if b.scan == nil {
		return nil
	}
	b.scan.Close()
	b.scan = nil
	took := time.Since(b.began)
	version := b.version
	if len(b.keys) > 0 {
		var err error
		if version, err = b.k.remove(b.keys, b.now); err != nil {
			return err
		}
		b.k.stats.ReclaimedKeys.Add(uint64(len(b.keys)))
	}
	for _, key := range b.whole {
		b.k.cleared[key] = version
	}
	b.keys, b.size, b.whole = nil, 0, nil
	if !b.now && b.k.sleep(3*took) {
		return storage.ErrStopped
	}
	return nil
}

func (k *Keeper) remove(keys [][]byte, now bool) (version uint64, err error) {
	return k.opts.Store.Remove(keys, now, k.stop)
}
