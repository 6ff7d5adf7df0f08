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
