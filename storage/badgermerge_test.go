//go:build !sett_nolink

package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tableFiles are the names of the tables in a store's directory.
func tableFiles(t *testing.T, s *Store) (names []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir(), "*.sst"))
	must(t, err)
	return names
}

// A compaction that cannot write its tables has changed nothing, and leaves nothing behind.
func TestMergeFails(t *testing.T) {
	s, fatal := filled(t, t.TempDir())
	alone(s)
	merged := fmt.Sprint(s.Tables())
	remove := strays(t, s)
	defer remove()
	if _, err := s.MergeLevel0(nil); !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	if now := fmt.Sprint(s.Tables()); now != merged || fatal.Load() != nil {
		t.Fatalf("%s were merged, now there are %s; fatal: %v", merged, now, fatal.Load())
	}
	remove()
	if n := len(tableFiles(t, s)); n != len(s.Tables()) {
		t.Errorf("%d files for %d tables", n, len(s.Tables()))
	}
	s.compactors.stopping.Store(true)
	if _, err := s.MergeLevel0(nil); !errors.Is(err, errStopped) {
		t.Error(err)
	}
	s.compactors.stopping.Store(false)
	_, err := s.MergeLevel0(nil)
	must(t, err)
	s.DropCache()
	for round := range 2 {
		for i := range 2000 {
			if get(t, s, fmt.Sprintf("sa%d%06d", round, i)) == "" {
				t.Fatalf("sa%d%06d is gone", round, i)
			}
		}
	}
}

// A damaged table is not merged: what a reader would take for absent would be gone for good.
func TestDamageIsNotMerged(t *testing.T) {
	s, _ := filled(t, t.TempDir())
	alone(s)
	merged := s.Tables()
	f, err := os.OpenFile(filepath.Join(s.dir(), tableName(merged[len(merged)-1].ID)), os.O_RDWR, 0)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, 5000)
	must(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b, 5000)
	must(t, err)
	must(t, f.Close())
	_, err = s.MergeLevel0(nil)
	if !errors.As(err, new(*CorruptError)) || s.Damage() == "" {
		t.Fatalf("%v, damage: %q", err, s.Damage())
	}
	if pause, over := s.afterMerge(err); pause != compactAgain || over || s.Stats().MergesFailed.Load() != 1 {
		t.Errorf("a compactor that has failed goes on after %v, over: %v, with %d failed", pause, over, s.Stats().MergesFailed.Load())
	}
	if pause, over := s.afterMerge(errStopped); pause != compactEvery || over || s.Stats().MergesFailed.Load() != 1 {
		t.Errorf("a compactor that was stopped goes on after %v, over: %v, with %d failed", pause, over, s.Stats().MergesFailed.Load())
	}
	if now := s.Tables(); fmt.Sprint(now) != fmt.Sprint(merged) {
		t.Fatalf("%v were merged, now there are %v", merged, now)
	}
}

// Random writes and deletions, merged by several goroutines at a time, level by level, against a map.
func TestMergeAgainstModel(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	alone(s)
	s.disk.reached.mergers = 3
	model := map[string]string{}
	rounds := 12
	if testing.Short() {
		rounds = 6
	}
	split := false
	for round := range rounds {
		for range 3000 {
			key := fmt.Sprintf("sa%05d", rand.IntN(20000))
			if rand.IntN(3) == 0 {
				del(t, s, key)
				delete(model, key)
			} else {
				model[key] = strings.Repeat("v", 1300) + fmt.Sprint(round)
				set(t, s, key, model[key])
			}
		}
		flushAndSync(t, s)
		must(t, s.Rotate(nil))
		if rand.IntN(2) == 0 {
			must(t, s.Barrier()) // what was deleted may go
		}
		most := len(ofLevel(s, LastLevel))
		_, err := s.MergeLevel0(nil)
		must(t, err)
		for level := 1; level < LastLevel; level++ {
			for _, table := range ofLevel(s, level) {
				if rand.IntN(2) == 0 {
					_, err := s.PushDown(table, nil)
					must(t, err)
				}
			}
		}
		split = split || most >= 2*leastShare
		s.DropCache()
		for i := range 20000 {
			key := fmt.Sprintf("sa%05d", i)
			if got := get(t, s, key); got != model[key] {
				t.Fatalf("round %d: %s is %.10q…, not %.10q…", round, key, got, model[key])
			}
		}
	}
	if !split {
		t.Error("no merge was large enough for several goroutines")
	}
}
