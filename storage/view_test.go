package storage

import (
	"fmt"
	"testing"
	"time"
)

// TestWaitingViewLetsGo: a view that nobody reads, because its owner waits for a client, holds on to one generation and still sees its moment.
func TestWaitingViewLetsGo(t *testing.T) {
	t.Parallel()
	o := small()
	o.FlushInterval = time.Hour
	s := openStore(t, t.TempDir(), o, &memLog{})
	s.PauseFlush(true)
	for i := range 500 {
		set(t, s, fmt.Sprint("k", i%120), fmt.Sprint("old", i))
	}
	v, err := s.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if n := len(v.gens); n < 5 {
		t.Fatalf("the view begins with %d generations: too few for this test", n)
	}
	it := v.Iterate([]byte("k"), []byte("l"))
	defer it.Close()
	it.Next()
	for i := range 200 {
		set(t, s, fmt.Sprint("k", i%120), "new")
	}
	s.PauseFlush(false)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	v.mu.Lock()
	n := len(v.gens)
	v.mu.Unlock()
	if n != 1 {
		t.Errorf("the view holds %d generations", n)
	}
	if err := s.Barrier(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{string(it.Key()): string(it.Value())}
	for it.Next() {
		seen[string(it.Key())] = string(it.Value())
	}
	if it.Err() != nil || len(seen) != 120 {
		t.Fatalf("%d records, %v", len(seen), it.Err())
	}
	for i := range 120 {
		key, want := fmt.Sprint("k", i), fmt.Sprint("old", 360+i)
		if i < 20 {
			want = fmt.Sprint("old", 480+i)
		}
		value, err := v.Get([]byte(key))
		if err != nil || string(value) != want || seen[key] != want {
			t.Errorf("%s is %q, %v, and %q for the iterator; want %q", key, value, err, seen[key], want)
		}
	}
}

// TestUnchanged: who has seen a record in a view need not read it again, as long as all that was written since is known.
func TestUnchanged(t *testing.T) {
	t.Parallel()
	o := small()
	o.FlushInterval = time.Hour
	s := openStore(t, t.TempDir(), o, &memLog{})
	set(t, s, "old", "1")
	set(t, s, "gone", "1")
	must(t, s.Flush())
	set(t, s, "k", "1")
	set(t, s, "same", "1")
	v, err := s.View()
	must(t, err)
	defer v.Close()
	set(t, s, "k", "2")
	set(t, s, "new", "1")
	del(t, s, "gone")
	check := func(when string, want map[string]bool) {
		t.Helper()
		var txn Txn
		must(t, s.Update(&txn, step(func() error {
			txn.Put([]byte("own"), []byte("1"))
			for key, want := range want {
				if got := txn.Unchanged(v, []byte(key)); got != want {
					t.Errorf("%s: %s unchanged: %v", when, key, got)
				}
			}
			return nil
		})))
	}
	check("at once", map[string]bool{"old": true, "same": true, "never": true, "k": false, "new": false, "gone": false, "own": false})
	s.CloseGeneration()
	set(t, s, "same", "2")
	check("a generation later", map[string]bool{"old": true, "same": false, "k": false, "new": false, "gone": false, "own": false})
	must(t, s.Flush())
	check("when it is in Badger", map[string]bool{"old": false, "never": false, "k": false})
	w, err := s.View()
	must(t, err)
	defer w.Close()
	v = w
	check("seen anew", map[string]bool{"old": true, "k": true, "gone": true, "own": false})
	w.dead.Store(true)
	check("what it saw may be undone", map[string]bool{"old": false})
}
