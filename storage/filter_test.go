package storage

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestBloom(t *testing.T) {
	const records, bitsEach = 20_000, 10
	b := newBloom(records * bitsEach / 32 &^ (blockWords - 1))
	rng := rand.New(rand.NewPCG(1, 2))
	var in []uint64
	for range records {
		in = append(in, rng.Uint64())
		b.add(in[len(in)-1])
	}
	for _, hash := range in {
		if !b.has(hash) {
			t.Fatalf("%x was added and is ruled out", hash)
		}
	}
	wrong := 0
	for range records {
		if b.has(rng.Uint64()) {
			wrong++
		}
	}
	load := float64(b.added.Load()) / float64(len(b.words)/blockWords) // records in a block
	want := math.Pow(1-math.Exp(-load/32), blockWords)
	if share := float64(wrong) / records; share > 0.02 || share < want/2 || share > 2*want {
		t.Errorf("%.4f of absent records are not ruled out, %.4f expected", share, want)
	}
	if added := b.added.Load(); added < records*95/100 || added > records {
		t.Errorf("%d of %d were counted", added, records)
	}

	var f filter
	for _, want := range []bool{true, false} {
		if f.crowded() != want {
			t.Errorf("crowded: %v", !want)
		}
		f.now.Store(b)
	}
	for range records {
		b.add(rng.Uint64())
	}
	if !f.crowded() {
		t.Error("5 bits for each record do not crowd it")
	}
}

// waitFilter waits until a filter is there that is not the one before.
func waitFilter(t *testing.T, s *Store, before *bloom) *bloom {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if b := s.filter.now.Load(); b != before {
			return b
		}
	}
	t.Fatal("no filter was built")
	return nil
}

// TestFilterRulesOut: absent records are not looked for in Badger, also after a restart, and those that are there are found.
func TestFilterRulesOut(t *testing.T) {
	dir, log := t.TempDir(), &memLog{}
	s := openStore(t, dir, small(), log)
	waitFilter(t, s, nil)
	const keys = 2*filterStep + 5 // more than one step of building
	for i := range keys {
		set(t, s, fmt.Sprintf("m%d", i), "v")
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		s.DropCache()
		before := s.stats.FetchedAbsent.Load()
		for i := range keys {
			if got := get(t, s, fmt.Sprintf("m%d", i)); got != "v" {
				t.Fatalf("m%d = %q", i, got)
			}
			if got := get(t, s, fmt.Sprintf("mno%d", i)); got != "" {
				t.Fatalf("mno%d = %q", i, got)
			}
		}
		if asked := s.stats.FetchedAbsent.Load() - before; asked > keys/20 {
			t.Errorf("Badger was asked for %d of %d absent records", asked, keys)
		}
	}
	look()
	s = reopen(t, s, dir, log)
	waitFilter(t, s, nil)
	look()
}

// TestFilterIsBuiltAnew when deleted records have filled it, while others write.
func TestFilterIsBuiltAnew(t *testing.T) {
	o := small()
	s := openStore(t, t.TempDir(), o, &memLog{})
	first := waitFilter(t, s, nil)
	s.filter.words = 8 * blockWords // 2,048 bits: full with 205 records
	s.filter.due <- struct{}{}
	before := waitFilter(t, s, first)
	for round := range 3 {
		for i := range 300 {
			set(t, s, fmt.Sprintf("m%d-%d", round, i), "v")
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		for i := range 300 {
			if got := get(t, s, fmt.Sprintf("m%d-%d", round, i)); got != "v" {
				t.Fatalf("m%d-%d = %q", round, i, got)
			}
			if i > 10 {
				del(t, s, fmt.Sprintf("m%d-%d", round, i))
			}
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		before = waitFilter(t, s, before)
		if entered := int64(300 * (round + 1)); before.added.Load() >= entered {
			t.Errorf("the new filter has all %d records that ever were", entered)
		}
		for i := range 300 {
			if got := get(t, s, fmt.Sprintf("m%d-%d", round, i)); (got == "v") != (i <= 10) {
				t.Fatalf("m%d-%d = %q", round, i, got)
			}
		}
	}
}

// TestFilterCountsRemovals: what the reclaimer removes makes the filter due like any other delete, and what is in no filter does not.
func TestFilterCountsRemovals(t *testing.T) {
	o := small()
	s := openStore(t, t.TempDir(), o, &memLog{})
	first := waitFilter(t, s, nil)
	s.filter.words = 8 * blockWords // 2,048 bits: full with 205 records
	s.filter.due <- struct{}{}
	before := waitFilter(t, s, first)
	putBlob(t, s, 1, 50)
	var elements []string
	for i := range 300 {
		elements = append(elements, fmt.Sprintf("s%d", i))
		set(t, s, elements[i], "v")
	}
	flushAndSync(t, s)
	chunks := []string{headerKey(1)}
	for i := range 50 {
		chunks = append(chunks, chunkKey(1, uint32(i)))
	}
	removeKeys(t, s, chunks...)
	if left := s.filter.left.Load(); left != 0 {
		t.Errorf("%d records of a blob have left a filter that never had them", left)
	}
	removeKeys(t, s, elements[10:]...)
	if b := waitFilter(t, s, before); b.added.Load() > 10 {
		t.Errorf("the new filter has %d of 10 records", b.added.Load())
	}
}
