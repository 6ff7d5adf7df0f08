//go:build !sett_nolink

package storage

import (
	"fmt"
	"testing"
)

// Large generations become tables by themselves, as soon as nothing older is in a memtable; small ones do not, and keep others from it.
func TestStraight(t *testing.T) {
	o := small()
	o.GenerationRecords, o.StraightBytes, o.FlushInterval = 1<<20, 300<<10, 1<<40
	s := openStore(t, t.TempDir(), o, &memLog{})
	alone(s)
	n := 0
	flush := func(records int) (straight bool) {
		t.Helper()
		before := s.straight.taken.Load()
		for range records {
			set(t, s, fmt.Sprintf("s%06d", n), fmt.Sprintf("%0500d", n))
			n++
		}
		must(t, s.Flush())
		return s.straight.taken.Load() > before
	}
	const many, fewer, few = 1000, 200, 3
	if flush(fewer) {
		t.Fatal("a generation that is not large went straight")
	}
	for range manyLarge {
		flush(many) // the last one fills the memtable up
	}
	for i := range 3 {
		if !flush(many) {
			t.Fatalf("large generation %d did not go straight", i)
		}
	}
	if !flush(fewer) {
		t.Fatal("behind large ones it did not")
	}
	if flush(few) {
		t.Fatal("a small generation went straight")
	}
	if flush(many) {
		t.Fatal("a large generation went straight while a small one was in the memtable")
	}
	for !flush(many) {
		if n > 30*many {
			t.Fatal("large generations do not go straight any more")
		}
	}

	// What is deleted in a table does not come back from a memtable.
	flush(few)
	lone := fmt.Sprintf("s%06d", n-1)
	del(t, s, lone)
	for range 2 * manyLarge {
		flush(many)
		must(t, s.Barrier())
		_, err := s.MergeLevel0(nil)
		must(t, err)
	}
	must(t, s.Rotate(nil))
	s.DropCache()
	if get(t, s, lone) != "" {
		t.Error("it came back")
	}
	must(t, s.Reload())
	for i := range n {
		if key := fmt.Sprintf("s%06d", i); key != lone && get(t, s, key) != fmt.Sprintf("%0500d", i) {
			t.Fatalf("%s is %.20q…", key, get(t, s, key))
		}
	}
}
