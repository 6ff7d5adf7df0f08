package compaction

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"sett/storage"
)

// A large dead collection is dropped from the tables, not deleted record by record; its neighbours stay as they are.
func TestLargeCollectionsAreDropped(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	if why := w.CompactsRanges(); why != "" {
		t.Skip(why)
	}
	w.many(1, 0, 3_000, true)
	w.many(2, 0, 30_000, true)
	w.many(3, 0, 3_000, true)
	w.settled()
	w.must(w.keeper.Compact())
	w.many(2, 30_000, 30_500, true) // in memory
	w.update(func(tx *storage.Txn) { tx.Put(deadKey(deadCollection, 2), []byte{reclaimable}) })
	w.settled()
	full := w.TableBytes()
	w.must(w.keeper.Reclaim())
	w.want("after", "0 dead, 0 headers, 0 chunks, 6000 elements")
	if after := w.TableBytes(); after > full/2 {
		t.Errorf("%d → %d bytes of tables", full, after)
	}
	if n := w.DeletionsWaiting(); n > 1000 {
		t.Errorf("%d deletions were written for it", n)
	}
	for _, id := range []uint64{1, 3} {
		if value, err := w.get(fmt.Appendf(key('s', id), "%08d", 2_999)); err != nil || len(value) != 100 {
			t.Errorf("of %d: %d bytes, %v", id, len(value), err)
		}
	}
	if r := w.keeper.Jobs()[jobReclaim]; r.Runs == 0 {
		t.Errorf("%+v", r)
	}
	w.must(w.Reload())
	w.want("after a restart", "0 dead, 0 headers, 0 chunks, 6000 elements")
}

// A flushed keyspace goes with all that its records own, whatever happens in the middle.
func TestKeyspacesGo(t *testing.T) {
	for _, n := range []int{100, 12_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			log, dir := &memoryLog{}, t.TempDir()
			w := open(t, dir, log)
			owned := uint64(1000)
			for from := 0; from < n; from += 100 {
				w.update(func(tx *storage.Txn) {
					for i := from; i < from+100; i++ {
						for _, keyspace := range []uint64{7, 8} {
							value := []byte("v")
							if i%50 == 0 { // a collection of one record
								owned++
								value = binary.BigEndian.AppendUint64(nil, owned)
								tx.Put(append(key('s', owned), 1), []byte("e"))
							}
							tx.Put(fmt.Appendf(key('m', keyspace), "%06d", i), value)
							tx.Count(uint32(keyspace), storage.Tally{Keys: 1})
						}
					}
				})
			}
			w.settled()
			w.update(func(tx *storage.Txn) { tx.Put(deadKey(deadKeyspace, 7), []byte{reclaimable}) })
			w.settled()
			w.must(w.keeper.exclusively(func() error { return w.keeper.reclaim(true) })) // notes
			if m := w.count('m'); m != 2*n {
				t.Errorf("%d of %d records are left, before their estate is durable", m, 2*n)
			}
			w.close(false) // they may be written again, and by another keeper
			w = open(t, dir, log)
			for range 4 {
				w.must(w.keeper.Reclaim())
			}
			if m := w.count('m'); m != n {
				t.Errorf("%d records are left, want %d", m, n)
			}
			w.want("after", fmt.Sprintf("0 dead, 0 headers, 0 chunks, %d elements", n/50))
			if notes := w.count('~'); notes > 1 { // a filler
				t.Errorf("%d notes are left", notes)
			}
			if value, err := w.get(fmt.Appendf(key('m', 8), "%06d", 1)); err != nil || !bytes.Equal(value, []byte("v")) {
				t.Errorf("another keyspace's: %q, %v", value, err)
			}
			if _, err := w.get(storage.TallyKey(7)); err != nil {
				t.Error(err)
			} else if value, _ := w.get(storage.TallyKey(7)); value != nil {
				t.Error("its counter is left")
			}
			if value, _ := w.get(storage.TallyKey(8)); value == nil {
				t.Error("the other one's counter is gone")
			}
		})
	}
}

// While a keyspace is dropped its deletions may go before what they delete. A keeper that begins again in the middle does not take what is seen again
// because of that for an owner: its key was moved to another database, with all that it owns.
func TestEstatesAreNotedOnce(t *testing.T) {
	log, dir := &memoryLog{}, t.TempDir()
	w := open(t, dir, log)
	owner := binary.BigEndian.AppendUint64(nil, 1000)
	w.update(func(tx *storage.Txn) {
		tx.Put(append(key('s', 1000), 1), []byte("e"))
		tx.Put(append(key('m', 8), 1), owner) // by MOVE
		tx.Put(append(key('m', 7), 2), []byte("v"))
		tx.Put(deadKey(deadKeyspace, 7), []byte{reclaimable})
	})
	w.settled()
	w.must(w.keeper.exclusively(func() error { return w.keeper.reclaim(true) })) // notes
	w.update(func(tx *storage.Txn) { tx.Put(append(key('m', 7), 1), owner) })    // its deletion is dropped
	w.settled()
	w.close(false)
	w = open(t, dir, log)
	for range 4 {
		w.must(w.keeper.Reclaim())
	}
	w.want("after", "0 dead, 0 headers, 0 chunks, 1 elements")
	if m, notes := w.count('m'), w.count('~'); m != 1 || notes != 0 {
		t.Errorf("%d records and %d notes are left", m, notes)
	}
}
