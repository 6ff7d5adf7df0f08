package storage

import (
	"fmt"
	"testing"
)

// TestNeedCountsMisses: a record that is asked for in advance and has to be read from Badger was missed, and found once.
func TestNeedCountsMisses(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	waitFilter(t, s, nil)
	var keys [][]byte
	for i := range 3 {
		set(t, s, fmt.Sprintf("m%d", i), "v")
		keys = append(keys, fmt.Appendf(nil, "m%d", i))
	}
	flushAndSync(t, s)
	s.DropCache()
	before := s.Status()
	var r Reader
	err := s.Read(&r, step(func() error {
		if err := r.Need(keys...); err != nil {
			return err
		}
		for _, key := range keys {
			if value, err := r.Get(key); err != nil || string(value) != "v" {
				return fmt.Errorf("%s = %q, %v", key, value, err)
			}
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	after := s.Status()
	if hits, misses := after.CacheHits-before.CacheHits, after.CacheMisses-before.CacheMisses; hits != 3 || misses != 3 {
		t.Errorf("%d hits, %d misses, want 3 and 3", hits, misses)
	}
}
