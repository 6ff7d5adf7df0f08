package compaction

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"sett/storage"
)

// TestSoak lets every job do its most aggressive for SOAKTIME (a Go duration; without it a second), while records are written, deleted and read
// through views, collections and blobs die, and the store is closed without a flush now and then: everything is compared with a plain map.
// `make soak` runs it for an hour under the race detector.
func TestSoak(t *testing.T) {
	long := time.Second
	if text := os.Getenv("SOAKTIME"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	s := &soak{w: open(t, t.TempDir(), &memoryLog{}), rnd: rand.New(rand.NewPCG(seed, 1)), model: make(map[string]string), next: 100}
	s.dir = s.w.dir.Path()
	for end := time.Now().Add(long); time.Now().Before(end) && !t.Failed(); s.lives++ {
		s.live(min(time.Until(end), time.Duration(5+s.rnd.IntN(15))*time.Second))
	}
	j := s.w.keeper.Jobs()
	t.Logf("%d lives, %d steps, %d records live; runs: reclaim %d, ttl %d, tombstones %d, vlog %d", s.lives, s.steps, len(s.model), s.runs[0]+j[0].Runs,
		s.runs[1]+j[1].Runs, s.runs[2]+j[2].Runs, s.runs[3]+j[3].Runs)
}

type soak struct {
	w     *world
	dir   string
	rnd   *rand.Rand
	mu    sync.RWMutex // held for writing by the writer while model and store differ
	model map[string]string
	ids   []uint64 // live collections
	blobs []uint64
	next  uint64
	lives int
	steps int
	runs  [jobCount]uint64
}

// live is one life of the store, from its start to its death.
func (s *soak) live(d time.Duration) {
	w := s.w
	collectEvery := time.Second
	if racing { // Badger asks for the newest version of its memtable without a lock when it begins to collect: then nobody may write
		collectEvery = 24 * time.Hour
	}
	w.keeper = New(Options{Store: w.Store, Layout: testLayout, Interval: 20 * time.Millisecond, CollectEvery: collectEvery, LookEvery: 50 * time.Millisecond,
		Tuning: Tuning{Rate: 4 << 30, TTLInterval: 300 * time.Millisecond, TTLRatio: 0.01, TombstoneRatio: 0.0001, ValueLogAmplification: 1.1}})
	w.keeper.worth = 100
	w.keeper.Start()
	stop := make(chan struct{})
	var all sync.WaitGroup
	run := func(f func()) {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		})
	}
	run(func() { s.step(); time.Sleep(100 * time.Microsecond) })
	run(func() { w.must(w.Barrier()); time.Sleep(50 * time.Millisecond) })
	run(func() { s.look(); time.Sleep(100 * time.Millisecond) })
	time.Sleep(d)
	close(stop)
	all.Wait()
	if racing {
		w.must(w.Flush())
		w.must(w.keeper.Collect())
	}
	for i, j := range w.keeper.Jobs() {
		s.runs[i] += j.Runs
	}
	w.keeper.Stop()
	s.look()
	w.close(s.rnd.IntN(3) == 0)
	s.w = open(w.t, s.dir, w.log)
	s.w.keeper = New(Options{Store: s.w.Store, Layout: testLayout})
	s.look()
}

// step writes, deletes, or has something die.
func (s *soak) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps++
	switch n := s.rnd.IntN(1000); {
	case n < 5 || len(s.ids) < 3:
		s.next++
		s.ids = append(s.ids, s.next)
	case n < 8 && len(s.ids) > 3: // a collection dies
		i := s.rnd.IntN(len(s.ids))
		id := s.ids[i]
		s.ids = append(s.ids[:i], s.ids[i+1:]...)
		for key := range s.model {
			if key[0] == 's' && binary.BigEndian.Uint64([]byte(key[1:])) == id {
				delete(s.model, key)
			}
		}
		s.w.update(func(tx *storage.Txn) { tx.Put(deadKey(deadCollection, id), []byte{reclaimable}) })
	case n < 30:
		s.next++
		s.w.put(s.next)
		s.blobs = append(s.blobs, s.next)
	case n < 50 && len(s.blobs) > 10:
		i := s.rnd.IntN(len(s.blobs))
		s.w.kill(reclaimable, s.blobs[i])
		s.blobs = append(s.blobs[:i], s.blobs[i+1:]...)
	default:
		s.write()
	}
}

// write changes some records of a collection.
func (s *soak) write() {
	id, first, deletes := s.ids[s.rnd.IntN(len(s.ids))], s.rnd.IntN(9000), s.rnd.IntN(2) == 0
	s.w.update(func(tx *storage.Txn) {
		for i := range 1 + s.rnd.IntN(100) {
			k := fmt.Appendf(key('s', id), "%06d", first+i)
			if deletes {
				tx.Delete(k)
				delete(s.model, string(k))
			} else {
				value := bytes.Repeat([]byte{byte(s.steps)}, 1+s.rnd.IntN(300))
				tx.Put(k, value)
				s.model[string(k)] = string(value)
			}
		}
	})
}

// look compares a collection, some records and a blob with the model, through a view and without.
func (s *soak) look() {
	t := s.w.t
	s.mu.RLock()
	if len(s.ids) == 0 {
		s.mu.RUnlock()
		return
	}
	view, err := s.w.View()
	id := s.ids[rand.IntN(len(s.ids))]
	want := make(map[string]string)
	for k, v := range s.model {
		if binary.BigEndian.Uint64([]byte(k[1:])) == id {
			want[k] = v
		}
	}
	blob := uint64(0)
	if len(s.blobs) > 0 {
		blob = s.blobs[rand.IntN(len(s.blobs))]
	}
	if rand.IntN(20) == 0 {
		s.w.DropCache()
	}
	for k, v := range want {
		if got, err := s.w.get([]byte(k)); err != nil || string(got) != v {
			t.Errorf("%q is %d bytes, want %d, %v", k, len(got), len(v), err)
		}
		if rand.IntN(20) == 0 {
			break
		}
	}
	s.mu.RUnlock()
	if err != nil {
		t.Error(err)
		return
	}
	defer view.Close()
	r := under('s', id)
	it := view.Iterate(r.Lower, r.Upper)
	defer it.Close()
	n := 0
	for ok := it.Seek(r.Lower); ok; ok = it.Next() {
		if v, there := want[string(it.Key())]; !there || v != string(it.Value()) {
			t.Errorf("a view has %q, %d bytes; want %d, %v", it.Key(), len(it.Value()), len(v), there)
		}
		n++
	}
	if it.Err() != nil || n != len(want) {
		t.Errorf("a view has %d records of %d, want %d, %v", n, id, len(want), it.Err())
	}
	if blob != 0 {
		if err := readThrough(view, []uint64{blob, blob}); err != nil {
			t.Error(err)
		}
	}
}
