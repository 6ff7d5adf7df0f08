package compaction

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sett/storage"
)

// many writes or deletes records from…to-1 of a collection, some at a time.
func (w *world) many(id uint64, from, to int, put bool) {
	w.t.Helper()
	for from < to {
		last := min(to, from+500)
		w.update(func(tx *storage.Txn) {
			for n := from; n < last; n++ {
				key := fmt.Appendf(key('s', id), "%08d", n)
				if put {
					tx.Put(key, bytes.Repeat([]byte{byte(n)}, 100))
				} else {
					tx.Delete(key)
				}
			}
		})
		from = last
	}
}

// What is deleted goes by itself, and nothing else.
func TestDeletedRecordsGo(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	w.keeper = New(Options{Store: w.Store, Layout: testLayout, LookEvery: time.Nanosecond})
	w.many(1, 0, 20_000, true)
	w.many(2, 0, 1_000, true)
	w.must(w.keeper.Compact())
	w.many(1, 1_000, 19_500, false)
	w.settled()
	w.must(w.keeper.exclusively(w.keeper.compactTombstones))
	if n := w.count('s'); n != 2_500 {
		t.Errorf("%d records are left", n)
	}
	records := int64(0)
	for _, table := range w.Tables() {
		records += table.Records
	}
	if after := w.TableBytes(); after > 2_600*150 && w.CompactsRanges() == "" || records > 2_600 { // or the fillers of a memtable
		t.Errorf("%d bytes, %d records in tables", after, records)
	}
	report := w.keeper.Jobs()[jobTombstones]
	if report.Runs != 1 || report.Backlog != 0 || !strings.Contains(report.Did, "18500 deletions") || report.Before <= report.After {
		t.Errorf("%+v", report)
	}
	w.must(w.keeper.exclusively(w.keeper.compactTombstones)) // nothing is left to do
	if again := w.keeper.Jobs()[jobTombstones]; again.Runs != 1 {
		t.Errorf("%+v", again)
	}
}

// After a run the keeper rests, but not when nobody is there whom it could disturb.
func TestNoRestWhileNobodyWrites(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	w.keeper = New(Options{Store: w.Store, Layout: testLayout, LookEvery: time.Nanosecond})
	runs := func() uint64 {
		w.keeper.nobody.look(w.Store)
		w.must(w.keeper.exclusively(w.keeper.compactTombstones))
		return w.keeper.Jobs()[jobTombstones].Runs
	}
	w.many(1, 0, 20_000, true)
	w.must(w.keeper.Compact())
	w.many(1, 0, 15_000, false)
	w.settled()
	w.keeper.deletions.rested = time.Now().Add(time.Hour)
	if n := runs(); n != 0 {
		t.Errorf("%d runs at rest, while others write", n)
	}
	if n := runs(); n != 1 {
		t.Errorf("%d runs, though nobody writes", n)
	}
}

// A few deletions in a large collection are not worth it, unless scans meet them again and again.
func TestScansAreAReason(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	w.keeper = New(Options{Store: w.Store, Layout: testLayout, LookEvery: time.Nanosecond})
	w.many(1, 0, 20_000, true)
	w.must(w.keeper.Compact())
	w.many(1, 0, 2_000, false) // a queue's head
	w.settled()
	w.must(w.keeper.exclusively(w.keeper.compactTombstones))
	if w.keeper.Jobs()[jobTombstones].Runs != 0 {
		t.Fatal("2000 deletions are no reason")
	}
	for range 10 {
		view, err := w.View()
		w.must(err)
		r := under('s', 1)
		it := view.Iterate(r.Lower, r.Upper)
		if !it.Seek(r.Lower) || string(it.Key()[9:]) != "00002000" {
			t.Errorf("the head is %q", it.Key())
		}
		it.Close()
		view.Close()
	}
	w.must(w.keeper.exclusively(w.keeper.compactTombstones))
	if w.keeper.Jobs()[jobTombstones].Runs != 1 {
		t.Error("scans that skip thousands of records are one")
	}
}

// What died without anybody counting it (before a restart, say) is found by samples.
func TestSamplesFindTheDead(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	w.many(1, 0, 30_000, true)
	w.must(w.keeper.Compact())
	w.many(1, 0, 20_000, false)
	w.settled()
	full := w.TableBytes()
	w.keeper = New(Options{Store: w.Store, Layout: testLayout, Tuning: Tuning{TTLInterval: time.Nanosecond}})
	w.must(w.keeper.exclusively(w.keeper.compactExpired))
	if after := w.TableBytes(); after > full/2 {
		t.Errorf("%d → %d bytes", full, after)
	}
	if n := w.count('s'); n != 10_000 {
		t.Errorf("%d records are left", n)
	}
	if report := w.keeper.Jobs()[jobTTL]; report.Runs != 1 {
		t.Errorf("%+v", report)
	}
}

// What killed a little of the last level lies in level 0, and is not worth a merge at first. An idle store does not write the same tables anew for ever.
func TestDeathInLevel0IsFound(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	if why := w.CompactsRanges(); why != "" {
		t.Skip(why)
	}
	w.many(1, 0, 140_000, true)
	w.must(w.keeper.Compact())
	w.many(1, 0, 25_000, false)
	w.settled()
	w.keeper = New(Options{Store: w.Store, Layout: testLayout, Tuning: Tuning{TTLInterval: time.Nanosecond}})
	for range 2 {
		w.must(w.keeper.exclusively(w.keeper.compactExpired))
	}
	if n := w.keeper.Stats().CompactedAway.Load(); n < 25_000 {
		t.Errorf("%d records went", n)
	}
	moved := w.keeper.Stats().CompactedBytes.Load()
	w.must(w.keeper.exclusively(w.keeper.compactExpired))
	if again := w.keeper.Stats().CompactedBytes.Load() - moved; again > 0 {
		t.Errorf("%d bytes were moved once more", again)
	}
}

// Where the disk has no room nobody waits for it, table after table, while other jobs could give space back.
func TestNobodyWaitsForRoom(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	if why := w.CompactsRanges(); why != "" {
		t.Skip(why)
	}
	w.many(1, 0, 1_000, true)
	w.must(w.keeper.Compact())
	w.SetDiskFree(1)
	tried := 0
	err := w.keeper.step(new(storage.Rewritten), func() (storage.Rewritten, error) {
		tried++
		return w.RewriteTables(w.Tables()[:1], nil)
	})
	if !errors.Is(err, storage.ErrBusy) || tried != 1 {
		t.Errorf("%v after %d tries", err, tried)
	}
}

// Deletions that have only come to a level between are not forgotten: a range is due again, or later, when enough have gathered.
func TestDeletionsBetweenStayCounted(t *testing.T) {
	counted := []storage.RangeDeletions{{Upper: []byte("g"), Deleted: 1000}, {Lower: []byte("g"), Upper: []byte("p"), Deleted: 10}, {Lower: []byte("p"), Deleted: 20}}
	tables := []storage.Table{
		{Level: 0, First: []byte("a"), Last: []byte("z"), Records: 500}, {Level: 5, First: []byte("b"), Last: []byte("i"), Records: 500},
		{Level: storage.LastLevel, First: []byte("a"), Last: []byte("f"), Records: 1000}, {Level: storage.LastLevel, First: []byte("g"), Last: []byte("o"), Records: 1000},
		{Level: storage.LastLevel, First: []byte("p"), Last: []byte("z"), Records: 1000},
	}
	due := dueRanges(counted, tables, 0.5, 100)
	if len(due) != 1 || due[0].Lower != nil {
		t.Fatalf("due: %v", due)
	}
	if s := settled(counted, due, tables); len(s) != 2 || s[0].Deleted != 1000 || s[1].Deleted != 20 {
		t.Errorf("settled: %v", s)
	}
	// A merge of all that is above is not worth a few, unless scans are slow.
	tables[1].Records = 20_000
	for c := byte('r'); c <= 'z'; c++ {
		counted[len(counted)-1].Upper = []byte{c}
		counted = append(counted, storage.RangeDeletions{Lower: []byte{c}})
	}
	if due := dueRanges(counted, tables, 0.3, 100); len(due) != 0 {
		t.Errorf("due though much has to be merged first: %v", due)
	}
	counted[0].Deleted *= 2
	if due := dueRanges(counted, tables, 0.3, 100); len(due) != 1 {
		t.Errorf("due though much has to be merged first: %v", due)
	}
	counted[0].Deleted = 0
	counted[0].Skipped = 1000
	if due := dueRanges(counted, tables, 0.3, 100); len(due) != 1 {
		t.Errorf("due because scans are slow: %v", due)
	}
}
