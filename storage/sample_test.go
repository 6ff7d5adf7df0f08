package storage

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestSample: an estimate from some blocks is near what was written. Without a barrier no compaction gives anything back.
func TestSample(t *testing.T) {
	o := small()
	o.BarrierInterval = time.Hour
	s := openStore(t, t.TempDir(), o, &memLog{})
	const keys = 6000
	value := strings.Repeat("v", 400)
	key := func(i int) string { return metaKey(0, i%16384, fmt.Sprint(i)) }
	rotate := func() {
		t.Helper()
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.Rotate(nil); err != nil {
			t.Fatal(err)
		}
	}
	order := rand.Perm(keys)
	for i := range keys {
		set(t, s, key(i), value)
	}
	rotate()
	for n, i := range order {
		switch {
		case n < keys/4:
			set(t, s, key(i), value)
		case n < keys/2:
			del(t, s, key(i))
		}
	}
	rotate()
	ended := map[string]bool{}
	for _, i := range order[keys/2 : keys*3/4] {
		ended[key(i)] = true
	}
	bytes, err := s.Sample(300, func(key, stored []byte, _ func([]byte) ([]byte, error)) Cause {
		switch {
		case string(stored) != value:
			return Live // sett's own records
		case ended[string(key)]:
			return Expired
		}
		return Live
	})
	if err != nil {
		t.Fatal(err)
	}
	total := int64(0)
	for _, n := range bytes {
		total += n
	}
	if tables := s.TableBytes(); total < tables*9/10 || total > tables*11/10 {
		t.Errorf("%d bytes of causes in tables of %d", total, tables)
	}
	t.Log(bytes)
	for cause, share := range map[Cause]float64{Live: 0.4, Shadowed: 0.4, Expired: 0.2} { // of five quarters; tombstones have no values
		if got := float64(bytes[cause]) / float64(total); got < share-0.1 || got > share+0.1 {
			t.Errorf("%v: %.2f of the bytes, want %.2f", cause, got, share)
		}
	}
	if bytes[Tombstone] == 0 {
		t.Error("no tombstones")
	}
}

func TestSampleOfNothing(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	bytes, err := s.Sample(10, nil)
	if err != nil || bytes != [Causes]int64{} {
		t.Errorf("%v %v", bytes, err)
	}
}
