package compaction

import (
	"errors"
	"sync"
	"testing"
	"time"

	"sett/storage"
)

func TestReclaimRemovesWhatIsDead(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	w.put(1, 2, 3, 4)
	w.update(func(tx *storage.Txn) {
		for n := range 100 {
			tx.Put(append(key('s', 9), byte(n)), []byte("of 9"))
			tx.Put(append(key('s', 10), byte(n)), []byte("of 10"))
		}
	})
	w.kill(reclaimable, 1, 3)
	w.kill(staged, 4)
	w.update(func(tx *storage.Txn) { tx.Put(deadKey(deadCollection, 9), []byte{reclaimable}) })
	w.settled()
	w.want("before", "4 dead, 4 headers, 16 chunks, 200 elements")
	w.must(w.keeper.Reclaim())
	w.want("after", "1 dead, 2 headers, 8 chunks, 100 elements")
	w.DropCache()
	w.whole(w.get, 2, 4)
	if s := w.keeper.Stats(); s.ReclaimedIDs.Load() != 3 || s.DeadWaiting.Load() != 0 {
		t.Errorf("%d reclaimed, %d wait", s.ReclaimedIDs.Load(), s.DeadWaiting.Load())
	}
	if live := w.keeper.Stats().BlobBytes.Load(); live < 8*40<<10 || live > 8*41<<10 {
		t.Errorf("blobs of %d bytes", live)
	}
}

// One pass removes all that is dead, however many they are.
func TestReclaimRemovesMany(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	const many = storage.RemoveAtOnce
	for from := range many / 256 {
		w.update(func(tx *storage.Txn) {
			for n := range uint64(256) {
				id := 1000 + uint64(from)*256 + n
				tx.Put(append(key('s', id), 'x'), []byte("y"))
				tx.Put(deadKey(deadCollection, id), []byte{reclaimable})
			}
		})
	}
	w.settled()
	w.must(w.keeper.Reclaim())
	w.want("after", "0 dead, 0 headers, 0 chunks, 0 elements")
	if s := w.keeper.Stats(); s.ReclaimedIDs.Load() != many || s.DeadWaiting.Load() != 0 {
		t.Errorf("%d reclaimed, %d wait", s.ReclaimedIDs.Load(), s.DeadWaiting.Load())
	}
}

// What is not dead at a durable index stays, whatever the recent writes say.
func TestReclaimWaitsForDurability(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	w.put(1)
	w.settled()
	w.kill(reclaimable, 1)
	w.must(w.Flush()) // dead in Badger, but not durable
	w.must(w.keeper.exclusively(func() error { return w.keeper.reclaim(true) }))
	w.want("before the barrier", "1 dead, 1 headers, 4 chunks, 0 elements")
	w.must(w.Barrier())
	w.must(w.keeper.exclusively(func() error { return w.keeper.reclaim(true) }))
	w.want("after it", "1 dead, 0 headers, 0 chunks, 0 elements")
	w.must(w.keeper.exclusively(func() error { return w.keeper.reclaim(true) }))
	w.want("without another", "1 dead, 0 headers, 0 chunks, 0 elements")
	w.must(w.Barrier())
	w.must(w.keeper.exclusively(func() error { return w.keeper.reclaim(true) }))
	w.want("with another", "0 dead, 0 headers, 0 chunks, 0 elements")
}

func TestViewStillSeesWhatDiedLater(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	w.put(1)
	w.settled()
	view, err := w.View()
	w.must(err)
	w.kill(reclaimable, 1)
	w.settled()
	w.must(w.keeper.Reclaim())
	w.whole(view.Get, 1)
	view.Close()
	w.must(w.keeper.Reclaim())
	w.want("when the view is closed", "0 dead, 0 headers, 0 chunks, 0 elements")
}

// TestReloadInterrupts: who has the store opened anew does not wait for what the keeper does by itself.
func TestReloadInterrupts(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	began, ended := make(chan bool), make(chan bool)
	go func() {
		w.keeper.background("a long one", func() error {
			began <- true
			w.keeper.sleep(time.Hour)
			return storage.ErrStopped
		})
		close(ended)
	}()
	<-began
	w.must(w.keeper.Reload())
	<-ended
	ran := false
	w.keeper.background("another", func() error { ran = true; return nil })
	if !ran {
		t.Error("no job begins any more")
	}
	release := w.keeper.interrupt()
	w.keeper.background("a third", func() error { t.Error("a job began while somebody waited"); return nil })
	release()
}

func TestReclaimGoesOnAfterARestart(t *testing.T) {
	for _, name := range []string{"after pass 1", "in the middle of pass 1"} {
		t.Run(name, func(t *testing.T) {
			path, log := t.TempDir(), &memoryLog{}
			w := open(t, path, log)
			w.put(1, 2, 3)
			w.kill(reclaimable, 1, 2)
			w.settled()
			if name == "after pass 1" {
				w.must(w.keeper.exclusively(func() error { return w.keeper.reclaim(true) }))
				w.want("then", "2 dead, 1 headers, 4 chunks, 0 elements")
			} else {
				_, err := w.Remove([][]byte{key('B', 1), chunk(1, 2)}, true, nil)
				w.must(err)
			}
			w.close(false) // without a flush: replay begins at the last barrier
			w = open(t, path, log)
			w.settled()
			w.must(w.keeper.Reclaim())
			w.want("after a restart", "0 dead, 1 headers, 4 chunks, 0 elements")
			w.whole(w.get, 3)
		})
	}
}

// A large collection takes many flushes.
func TestReclaimIsBounded(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	const elements = 3*storage.RemoveAtOnce + 7
	for n := 0; n < elements; n += 1000 {
		w.update(func(tx *storage.Txn) {
			for i := n; i < min(n+1000, elements); i++ {
				tx.Put(append(key('s', 5), byte(i>>16), byte(i>>8), byte(i)), []byte("element"))
			}
		})
	}
	w.put(6)
	w.kill(reclaimable, 6)
	w.update(func(tx *storage.Txn) { tx.Put(deadKey(deadCollection, 5), []byte{reclaimable}) })
	w.settled()
	flushes := w.Store.Stats().Flushes.Load()
	w.must(w.keeper.Reclaim())
	w.want("after", "0 dead, 0 headers, 0 chunks, 0 elements")
	if n := w.Store.Stats().Flushes.Load() - flushes; n < 4 {
		t.Errorf("all in %d flushes", n)
	}
}

// Badger's collection brings deleted chunks back (badger.md F1); without their header they are garbage, and are removed again.
func TestOrphansAreRemoved(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	resurrect(w)
	orphans := w.count('b') - w.count('B')*chunksOfBlob
	if orphans == 0 {
		t.Fatal("no deleted chunk came back: is Badger repaired? Then the sweep can go")
	}
	w.must(w.keeper.exclusively(w.keeper.surveyNow))
	w.want("after the sweep", "0 dead, 10 headers, 40 chunks, 0 elements")
	if n := w.keeper.Stats().Orphans.Load(); n != uint64(orphans) {
		t.Errorf("%d orphans were there, %d removed", orphans, n)
	}
	w.whole(w.get, ids(3, 30, 3)...)
}

// resurrect leaves the last third of 30 blobs, and deleted chunks of the second third which have come back.
func resurrect(w *world) {
	w.t.Helper()
	w.put(ids(1, 30, 1)...)
	w.settled()
	w.kill(reclaimable, ids(1, 30, 3)...)
	w.settled()
	w.must(w.keeper.Reclaim())
	w.must(w.keeper.settle()) // the first third is counted
	w.kill(reclaimable, ids(2, 30, 3)...)
	w.settled()
	w.must(w.keeper.Reclaim())
	w.must(w.Rotate(nil)) // deletions in level 0, what they delete in the last
	w.settled()
	w.PauseFlush(true) // Badger's collection looks at its memtable without a lock: the race detector does not like that beside a flush
	_, err := w.CollectValues(0.2, nil)
	w.must(err) // the deleted ones are moved to the memtable
	w.PauseFlush(false)
	w.settled()
	w.must(w.Compact()) // deletions and old copies meet
}

func TestCollectShrinksTheValueLog(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	for round := uint64(0); round < 5; round++ { // 100 blobs written again and again
		w.put(ids(round*100+1, round*100+100, 1)...)
		if round > 0 {
			w.kill(reclaimable, ids(round*100-99, round*100, 1)...)
		}
	}
	w.settled()
	w.kill(reclaimable, ids(401, 480, 1)...)
	w.settled()
	_, before := w.ValueLog()
	w.must(w.keeper.Reclaim())
	for range 3 {
		w.settled() // see resurrect
		w.must(w.keeper.Collect())
	}
	live := w.keeper.Stats().BlobBytes.Load()
	files, after := w.ValueLog()
	t.Logf("value log: %d → %d bytes in %d files for %d bytes of blobs", before, after, files, live)
	if after > 2*live+2*w.ValueLogFileBytes() {
		t.Error("too large")
	}
	w.want("after", "0 dead, 20 headers, 80 chunks, 0 elements")
	w.DropCache()
	w.whole(w.get, ids(481, 500, 1)...)
}

// The value log is looked at when it is time, and before if nobody writes and there is more than there should be.
func TestValueLogIsCollectedWhileNobodyWrites(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	w.put(ids(1, 10, 1)...)
	w.settled()
	k := w.keeper
	looked := func() bool {
		k.next = time.Time{}
		w.must(k.exclusively(k.collectIfDue))
		return !k.next.IsZero()
	}
	if k.collects = time.Now(); !looked() || !k.collects.After(time.Now()) {
		t.Error("it was time")
	}
	if k.nobody.now = true; looked() {
		t.Error("there is nothing to collect")
	}
	k.survey.live = -w.ValueLogFileBytes() * 10 // as if much more were dead
	k.collects = time.Now().Add(k.opts.CollectEvery / 20)
	if k.nobody.now = false; looked() {
		t.Error("others write")
	}
	if k.nobody.now = true; !looked() {
		t.Error("nobody writes, and much is dead")
	}
}

// Everything at the same time: writers, readers through views, and a keeper that never rests.
func TestKeeperAmongOthers(t *testing.T) {
	w := open(t, t.TempDir(), &memoryLog{})
	collectEvery := 50 * time.Millisecond
	if racing { // see resurrect
		collectEvery = time.Hour
	}
	w.keeper = New(Options{Store: w.Store, Layout: testLayout, Interval: time.Millisecond, CollectEvery: collectEvery})
	w.keeper.Start()
	deadline := time.Now().Add(3 * time.Second)
	if testing.Short() {
		deadline = time.Now().Add(time.Second)
	}
	var mu sync.RWMutex // which blobs live changes only with it held
	live := map[uint64]uint64{}
	next := uint64(1)
	for slot := range uint64(20) {
		w.put(next)
		live[slot], next = next, next+1
	}
	var all sync.WaitGroup
	all.Go(func() { // the writer
		for time.Now().Before(deadline) {
			slot := next % 20
			mu.Lock()
			old := live[slot]
			w.update(func(tx *storage.Txn) {
				tx.Put(key('B', next), []byte("header"))
				for n := range chunksOfBlob {
					tx.Put(chunk(next, n), content(next))
				}
				tx.Put(deadKey(deadBlob, old), []byte{reclaimable})
			})
			live[slot], next = next, next+1
			mu.Unlock()
			time.Sleep(time.Millisecond)
		}
	})
	all.Go(func() { // a barrier now and then
		for time.Now().Before(deadline) {
			w.must(w.Barrier())
			time.Sleep(20 * time.Millisecond)
		}
	})
	for range 2 {
		all.Go(func() {
			for time.Now().Before(deadline) {
				mu.RLock()
				view, err := w.View()
				seen := make([]uint64, 0, 20)
				for _, id := range live {
					seen = append(seen, id)
				}
				mu.RUnlock()
				if err != nil {
					t.Error(err)
					return
				}
				if err := readThrough(view, seen); err != nil {
					t.Error(err)
				}
				view.Close()
			}
		})
	}
	all.Wait()
	w.keeper.Stop()
	w.keeper = New(Options{Store: w.Store, Layout: testLayout})
	w.settled()
	w.must(w.keeper.Reclaim())
	w.settled()
	w.must(w.keeper.Collect())
	w.want("at the end", "0 dead, 20 headers, 80 chunks, 0 elements")
	files, size := w.ValueLog()
	s := w.keeper.Stats()
	t.Logf("%d blobs written, %d reclaimed, %d orphans, %d files collected, %d files of %d bytes left", next-1, s.ReclaimedIDs.Load(), s.Orphans.Load(),
		s.CollectedFiles.Load(), files, size)
}

// readThrough reads some blobs through a view, by Get and by scanning.
func readThrough(view *storage.View, seen []uint64) error {
	for i, id := range seen {
		if i%2 == 0 {
			for n := range chunksOfBlob {
				if value, err := view.Get(chunk(id, n)); err != nil || string(value) != string(content(id)) {
					return errors.Join(errors.New("a view lost a blob"), err)
				}
			}
			continue
		}
		r := under('b', id)
		it := view.Iterate(r.Lower, r.Upper)
		n := 0
		for ok := it.Seek(r.Lower); ok; ok = it.Next() {
			if string(it.Value()) != string(content(id)) {
				it.Close()
				return errors.New("a scan read another value")
			}
			n++
		}
		err := it.Err()
		it.Close()
		if err != nil || n != chunksOfBlob {
			return errors.Join(errors.New("a scan lost a chunk"), err)
		}
	}
	return nil
}
