package compaction

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"sett/storage"
)

// restOf is how much longer than it reads the reclaimer rests.
const restOf = 3

// maxCleared bounds the dead records that wait for a barrier.
const maxCleared = 1 << 16

// reclaim looks at the dead records as they are at DiscardTs, oldest ids first, and then at the notes of what dead keyspaces owned. Pass 1 removes
// what lies under their ids. Pass 2 removes those records of which nothing is left at a durable version. After a restart both begin again, and find
// what the last run left.
func (k *Keeper) reclaim(now bool) error {
	var (
		b       = batch{k: k, now: now}
		waiting = int64(0)
		seen    = make(map[string]bool)
	)
	err := k.eachDead(func(d deadRecord) error {
		waiting++
		seen[string(d.key)] = true
		if _, cleared := k.cleared[string(d.key)]; cleared || len(k.cleared)+len(b.whole) >= maxCleared {
			return nil
		}
		if ready, err := k.inherit(&b, d); err != nil || !ready {
			return err
		}
		return b.clear(d)
	})
	if err == nil {
		err = b.flush()
	}
	if err == nil && len(b.large) > 0 {
		err = b.clearLarge()
	}
	if err != nil {
		return err
	}
	k.stats.DeadWaiting.Store(waiting)
	for key := range k.cleared {
		if !seen[key] {
			delete(k.cleared, key)
			delete(k.bequeathed, key)
		}
	}
	return k.forget(now)
}

// eachDead visits everything that is dead and may be removed.
func (k *Keeper) eachDead(visit func(deadRecord) error) error {
	for _, within := range []storage.Range{k.opts.Layout.Dead, k.opts.Layout.Noted} {
		for from := within.Lower; from != nil; {
			dead, err := k.deadFrom(within, from)
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
				if err := visit(d); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// inherit notes what the records under a dead keyspace own, before they go. It is ready when a barrier has covered the notes.
func (k *Keeper) inherit(b *batch, d deadRecord) (ready bool, err error) {
	owners, _, noted, ok := k.opts.Layout.Estate(d.key)
	if !ok {
		return true, nil
	}
	if version, walked := k.bequeathed[string(d.key)]; walked {
		return version <= k.opts.Store.DurableIndex(), nil
	}
	if err := b.flush(); err != nil { // notes wait for a flush, with no scan open
		return false, err
	}
	if before, err := k.isNoted(noted); err != nil || before {
		return before, err
	}
	version, err := k.bequeath(owners, noted, b.now)
	if err == nil {
		k.bequeathed[string(d.key)] = version
	}
	return false, err
}

// isNoted tells whether all that a dead keyspace owned was noted before the last start: DiscardTs does not lie above what is durable. Then its records
// may be half gone, deletions first, and those that are seen again because of that own nothing: what they name may have moved to another keyspace.
func (k *Keeper) isNoted(noted []byte) (bool, error) {
	scan := k.opts.Store.Scan(storage.Range{Lower: noted, Upper: append(bytes.Clone(noted), 0)}, k.opts.Store.DiscardTs())
	defer scan.Close()
	return scan.Seek(noted), scan.Err()
}

// bequeath walks over all owners and writes the notes, and at last that this is done.
func (k *Keeper) bequeath(owners storage.Range, noted []byte, now bool) (version uint64, err error) {
	for from := owners.Lower; from != nil; {
		began := time.Now()
		var notes [][]byte
		notes, from, err = k.bequests(owners, from)
		if err != nil {
			return 0, err
		}
		took := time.Since(began)
		if from == nil {
			notes = append(notes, noted)
		}
		if len(notes) > 0 {
			if version, err = k.opts.Store.Note(notes, k.opts.Layout.NoteValue, now, k.until); err != nil {
				return 0, err
			}
		}
		if !now && k.sleep(restOf*took) {
			return 0, storage.ErrStopped
		}
	}
	return version, nil
}

// ownersAtOnce is how many records of a dead keyspace are looked at before a rest.
const ownersAtOnce = 50_000

// bequests reads some owners. next is nil at the end.
func (k *Keeper) bequests(owners storage.Range, from []byte) (notes [][]byte, next []byte, err error) {
	scan := k.opts.Store.Scan(owners, k.opts.Store.DiscardTs())
	defer scan.Close()
	n := 0
	for ok := scan.Seek(from); ok; ok = scan.Next() {
		if n++; n > ownersAtOnce || len(notes)+ownedAtMost > storage.RemoveAtOnce {
			return notes, bytes.Clone(scan.Key()), nil
		}
		value, err := scan.Value()
		if err != nil {
			return nil, nil, err
		}
		owned, err := k.opts.Layout.Bequest(scan.Key(), value)
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, owned...)
	}
	return notes, nil, scan.Err()
}

// ownedAtMost is how much a record may own: a blob, a collection, and a name in a blob.
const ownedAtMost = 3

// forget is pass 2.
func (k *Keeper) forget(now bool) error {
	durable := k.opts.Store.DurableIndex()
	var keys [][]byte
	for key, version := range k.cleared {
		if version != gone && version <= durable {
			keys = append(keys, []byte(key))
		}
	}
	for some := range slices.Chunk(keys, storage.RemoveAtOnce/3) {
		if _, err := k.remove(k.withEstates(some), now); err != nil { // it waits for a flush: that is rest enough
			return err
		}
		for _, key := range some {
			k.cleared[string(key)] = gone
		}
		k.stats.ReclaimedIDs.Add(uint64(len(some)))
		k.stats.DeadWaiting.Add(-int64(len(some)))
	}
	if len(keys) > 0 {
		k.jobs[jobReclaim].did(fmt.Sprintf("removed %d dead collections, large values or keyspaces", len(keys)), 0, 0, 0)
	}
	return nil
}

// withEstates adds the counters that go with dead records, and the notes that say of them that all was noted.
func (k *Keeper) withEstates(keys [][]byte) [][]byte {
	all := slices.Clone(keys)
	for _, key := range keys {
		if _, counter, noted, ok := k.opts.Layout.Estate(key); ok {
			all = append(all, counter, noted)
		}
	}
	return all
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
func (k *Keeper) deadFrom(within storage.Range, from []byte) (dead []deadRecord, err error) {
	scan := k.opts.Store.Scan(within, k.opts.Store.DiscardTs())
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

	large   []deadRecord // to be dropped
	dropped bool         // they were: what is left of them is deleted
}

// clear removes what lies under a dead record's id.
func (b *batch) clear(d deadRecord) error {
	for _, r := range d.ranges {
		err := b.clearRange(r)
		if errors.Is(err, errLarge) {
			b.large = append(b.large, d)
			return nil
		}
		if err != nil {
			return err
		}
	}
	b.whole = append(b.whole, string(d.key))
	return nil
}

// clearLarge drops what is large, and then deletes what is left of it.
func (b *batch) clearLarge() error {
	if err := b.k.dropDead(b.large); err != nil {
		return err
	}
	large := b.large
	b.large, b.dropped = nil, true
	for _, d := range large {
		if err := b.clear(d); err != nil {
			return err
		}
	}
	return b.flush()
}

// everything has room for all ranges that one scan is used for.
var everything = storage.Range{Lower: []byte{0}, Upper: []byte{0xff}}

func (b *batch) clearRange(r storage.Range) error {
	n, gathered, size := 0, len(b.keys), b.size
	for from := r.Lower; ; {
		if b.scan == nil {
			b.version, b.began = b.k.opts.Store.FlushedIndex(), time.Now()
			b.scan = b.k.opts.Store.Scan(everything, b.version)
		}
		ok := b.scan.Seek(from)
		for ; ok && bytes.Compare(b.scan.Key(), r.Upper) < 0; ok = b.scan.Next() {
			if n++; n > dropAfter && !b.dropped && b.k.droppable(r) {
				b.keys, b.size = b.keys[:gathered], size
				return errLarge
			}
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
		gathered, size = 0, 0 // what is flushed is deleted, and is dropped all the same
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
	if !b.now && b.k.sleep(restOf*took) {
		return storage.ErrStopped
	}
	return nil
}

func (k *Keeper) remove(keys [][]byte, now bool) (version uint64, err error) {
	return k.opts.Store.Remove(keys, now, k.until)
}
