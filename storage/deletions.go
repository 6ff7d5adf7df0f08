package storage

import (
	"bytes"
	"slices"
	"sort"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// A record that is deleted in Badger lies there until its deletion has met it in a compaction, and whoever walks over that range walks over it.
// So both are counted, by ranges of keys: deletions as they are flushed, and what scans had to skip. Whether it is worth a compaction is for
// others to say.

// RangeDeletions is what is known of a range of keys since it was last compacted.
type RangeDeletions struct {
	Lower, Upper []byte // Upper nil: no end
	Deleted      int64  // deletions written to Badger
	Skipped      int64  // records that scans met deleted or superseded
	Returned     int64  // records that they met alive
}

// deletions counts by ranges that are one table of the last level each, or all keys while there is none.
type deletions struct {
	mu     sync.Mutex
	ranges []RangeDeletions // in the order of keys, without gaps; never empty once used
}

// reset forgets what was counted.
func (d *deletions) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ranges = nil
}

// note counts deletions, whose keys come in order.
func (d *deletions) note(keys [][]byte) {
	if len(keys) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	i := 0
	for _, key := range keys {
		i = d.find(i, key)
		d.ranges[i].Deleted++
	}
}

// scanned counts what a scan met around a key.
func (d *deletions) scanned(key []byte, skipped, returned int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &d.ranges[d.find(0, key)]
	r.Skipped += skipped
	r.Returned += returned
}

// find returns the range of a key. Most keys lie in the range of the one before it, hint.
func (d *deletions) find(hint int, key []byte) int {
	if len(d.ranges) == 0 {
		d.ranges = []RangeDeletions{{}}
	}
	if r := &d.ranges[hint]; bytes.Compare(r.Lower, key) <= 0 && (r.Upper == nil || bytes.Compare(key, r.Upper) < 0) {
		return hint
	}
	return sort.Search(len(d.ranges), func(i int) bool { return bytes.Compare(d.ranges[i].Lower, key) > 0 }) - 1
}

// divide makes the ranges those of tables. What was counted stays with the range in which its old one began.
func (d *deletions) divide(tables []Table) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh := []RangeDeletions{{}}
	for _, t := range tables {
		if t.Level != LastLevel {
			continue
		}
		last := &fresh[len(fresh)-1] // reaches up to the next table
		last.Upper = t.First
		fresh = append(fresh, RangeDeletions{Lower: t.First})
	}
	if len(fresh) > 1 { // the first table's range begins at the beginning
		fresh = fresh[1:]
		fresh[0].Lower = nil
	}
	old := d.ranges
	d.ranges = fresh
	for _, o := range old {
		r := &d.ranges[d.find(0, o.Lower)]
		r.Deleted, r.Skipped, r.Returned = r.Deleted+o.Deleted, r.Skipped+o.Skipped, r.Returned+o.Returned
	}
}

// Deletions returns what is counted, by ranges as large as a table of the last level.
func (s *Store) Deletions(tables []Table) []RangeDeletions {
	s.deletions.divide(tables)
	s.deletions.mu.Lock()
	defer s.deletions.mu.Unlock()
	return slices.Clone(s.deletions.ranges)
}

// Compacted takes back what was counted in a range before it was compacted.
func (s *Store) Compacted(before RangeDeletions) {
	s.deletions.mu.Lock()
	defer s.deletions.mu.Unlock()
	key := before.Lower
	if len(key) == 0 {
		key = []byte{0}
	}
	at := s.deletions.find(0, key) // makes the first range
	r := &s.deletions.ranges[at]
	r.Deleted = max(0, r.Deleted-before.Deleted)
	r.Skipped = max(0, r.Skipped-before.Skipped)
	r.Returned = max(0, r.Returned-before.Returned)
}

// DeletionsWaiting counts the deletions in Badger that have not met what they delete, as far as it is known.
func (s *Store) DeletionsWaiting() (n int64) {
	s.deletions.mu.Lock()
	defer s.deletions.mu.Unlock()
	for i := range s.deletions.ranges {
		n += s.deletions.ranges[i].Deleted
	}
	return n
}

// liveIterator is an iterator of Badger's that counts what it passes over: deleted records, and superseded versions. Forward only.
type liveIterator struct {
	*badger.Iterator
	d                 *deletions
	key               []byte // the present one, or the last one met
	skipped, returned int64
}

// reportAt is how many records are skipped between two reports to deletions: where a run of them ends, if it is not too long for that.
const reportAt = 256

func newLiveIterator(txn *badger.Txn, d *deletions, prefix []byte) *liveIterator {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = prefix
	o.AllVersions = true
	return &liveIterator{Iterator: txn.NewIterator(o), d: d}
}

// Seek moves to the first live record at or after key.
func (l *liveIterator) Seek(key []byte) {
	l.key = l.key[:0]
	l.Iterator.Seek(key)
	l.settle()
}

// Next moves to the next live record.
func (l *liveIterator) Next() {
	l.Iterator.Next()
	l.settle()
}

// settle passes over whatever is not the newest version of a live record. The newest comes first.
func (l *liveIterator) settle() {
	for ; l.Iterator.Valid(); l.Iterator.Next() {
		item := l.Iterator.Item()
		if key := item.Key(); !bytes.Equal(key, l.key) {
			l.key = append(l.key[:0], key...)
			if !item.IsDeletedOrExpired() {
				if l.returned++; l.skipped >= reportAt {
					l.report()
				}
				return
			}
		}
		if l.skipped++; l.skipped >= 16*reportAt {
			l.report()
		}
	}
}

func (l *liveIterator) report() {
	if l.skipped > 0 && len(l.key) > 0 {
		l.d.scanned(l.key, l.skipped, l.returned)
	}
	l.skipped, l.returned = 0, 0
}

// Close ends the iterator.
func (l *liveIterator) Close() {
	l.report()
	l.Iterator.Close()
}

// DeadShare reads some records of a table and tells which part of them is dead: deleted or written anew since, and nobody at or above DiscardTs can
// see them. A table that is gone has nothing dead.
func (s *Store) DeadShare(t Table, samples int) (share float64, err error) {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	f, table, err := openTableFile(s.dir(), t.ID)
	if err != nil {
		return 0, s.damagedTable(t.ID, err)
	}
	defer f.Close()
	discard := s.DiscardTs()
	read, dead := 0, 0
	step := max(1, table.blocks()/samples)
	for i := step / 2; i < table.blocks(); i += step {
		b, err := table.block(i)
		if err != nil {
			return 0, s.damagedTable(t.ID, err)
		}
		r, err := b.entry(b.len() / 2)
		if err != nil {
			return 0, s.damagedTable(t.ID, err)
		}
		read++
		switch newest, deleted, err := s.disk.newestAt(userKey(r.key), discard); {
		case err != nil:
			return 0, err
		case deleted, version(r.key) < newest:
			dead++
		}
	}
	return float64(dead) / float64(max(1, read)), nil
}

// newestAt returns the newest version of a record at or below a version.
func (d *disk) newestAt(key []byte, at uint64) (newest uint64, deleted bool, err error) {
	defer d.guard(key, &err)
	txn := d.db.NewTransactionAt(at, false)
	defer txn.Discard()
	switch item, err := txn.Get(key); {
	case err == badger.ErrKeyNotFound:
		return 0, true, nil
	case err != nil:
		return 0, false, d.damage(key, err.Error())
	default:
		return item.Version(), false, nil
	}
}
