package storage

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// guarded is a store that nobody writes to behind the test's back.
func guarded(t *testing.T) *Store {
	o := small()
	o.FlushInterval, o.DiskReserve = time.Hour, 1<<30
	return openStore(t, t.TempDir(), o, &memLog{})
}

func TestDiskGuard(t *testing.T) {
	s := guarded(t)
	promised, need := s.promised(), s.diskNeed()
	if promised != need-1<<30 {
		t.Fatalf("%d bytes are promised, %d needed", promised, need)
	}
	for _, now := range []struct {
		free            int64
		writes, deletes bool
	}{
		{need, true, true},
		{need - 1, false, true},
		{need, false, true}, // not yet: there must be a little more
		{need + 1<<27 - 1, false, true},
		{need + 1<<27, true, true},
		{need, true, true},
		{promised, false, true},
		{promised - 1, false, false},
		{0, false, false},
		{need + 1<<27, true, true},
	} {
		s.SetDiskFree(now.free)
		for _, deletes := range []bool{true, false} {
			err := s.Admit(deletes)
			if want := now.writes || deletes && now.deletes; want != (err == nil) || err != nil && !errors.As(err, new(*MisconfError)) {
				t.Errorf("%d bytes above the need, %d above what is promised, deletes %v: %v", now.free-need, now.free-promised, deletes, err)
			}
		}
	}
	s.SetDiskReserve(1) // deletes get some room all the same
	s.SetDiskFree(promised + 1)
	if s.Admit(true) != nil || s.Admit(false) == nil {
		t.Error("without a reserve deletes have no room")
	}
	s.RefuseWrites(errors.New("the log is full"))
	s.SetDiskFree(1 << 40)
	if err := s.Admit(true); !errors.As(err, new(*MisconfError)) {
		t.Errorf("a log that refuses: %v", err)
	}
	s.RefuseWrites(nil)
	if err := s.Admit(false); err != nil {
		t.Error(err)
	}
}

// TestFlusherWaitsForRoom: without room nothing goes to Badger, which would end the process; reads go on, and so does the flusher, later.
func TestFlusherWaitsForRoom(t *testing.T) {
	dir, log := t.TempDir(), &memLog{}
	s := openStore(t, dir, small(), log)
	s.SetDiskFree(1000)
	for i := range 200 {
		set(t, s, metaKey(0, i, "k"), fmt.Sprint(i))
	}
	if err := s.Flush(); !errors.As(err, new(*MisconfError)) {
		t.Errorf("flush: %v", err)
	}
	if st := s.Status(); st.Flushed.Index != 0 || st.Generations < 4 {
		t.Errorf("flushed up to %d, %d generations", st.Flushed.Index, st.Generations)
	}
	if got := get(t, s, metaKey(0, 7, "k")); got != "7" {
		t.Errorf("read %q", got)
	}
	s.SetDiskFree(-1)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, metaKey(0, 7, "k")); got != "7" {
		t.Errorf("read %q", got)
	}
	set(t, s, "m", "last")
	s.SetDiskFree(0)
	if err := s.Close(true); err != nil { // the log has everything
		t.Error(err)
	}
	if s.Status().Generations < 2 {
		t.Error("something was flushed")
	}
}

func TestCompactionRoom(t *testing.T) {
	level := func(size, file int64, base bool) badger.LevelInfo {
		return badger.LevelInfo{Size: size << 20, TargetFileSize: file << 20, IsBaseLevel: base}
	}
	for _, c := range []struct {
		levels []badger.LevelInfo
		want   int64
	}{
		{[]badger.LevelInfo{level(0, 4, false), level(0, 1, false), level(0, 1, true)}, 0},
		{[]badger.LevelInfo{level(20, 4, false), level(0, 1, false), level(30, 1, true)}, 50},
		{[]badger.LevelInfo{level(20, 4, false), level(30, 1, true), level(300, 2, false)}, 50 + 16},
		{[]badger.LevelInfo{level(5, 4, false), level(0, 1, true), level(300, 2, false)}, 5 + 16},
		{[]badger.LevelInfo{level(5, 4, false), level(0, 1, true), level(6, 2, false)}, 5 + 11},
		{[]badger.LevelInfo{level(0, 4, false), level(5, 1, true), level(6, 2, false)}, 5 + 11},
		{[]badger.LevelInfo{level(0, 4, false), level(30, 1, true), level(300, 2, false), level(3000, 4, false)}, 30 + 32},
	} {
		if got := compactionRoom(c.levels); got != c.want<<20 {
			t.Errorf("%v: %d MiB, want %d", c.levels, got>>20, c.want)
		}
	}
}
