package storage

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fullFS has no room for new files while it is full.
type fullFS struct {
	OSFS
	full atomic.Bool
}

func (f *fullFS) Create(path string) (File, error) {
	if f.full.Load() {
		return nil, syscall.ENOSPC
	}
	return f.OSFS.Create(path)
}

// A barrier that has no room for its note ends nothing: what it would have covered stays in the log until there is room.
func TestBarrierWithoutRoom(t *testing.T) {
	disk, o := &fullFS{}, small()
	o.FS, o.BarrierInterval = disk, time.Hour
	o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	s := openStore(t, t.TempDir(), o, &memLog{})
	set(t, s, "a", "1")
	must(t, s.Flush())
	disk.full.Store(true)
	before := s.DurableIndex()
	if err := s.Barrier(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("without room: %v", err)
	}
	if now := s.DurableIndex(); now != before {
		t.Errorf("entry %d counts as durable, was %d", now, before)
	}
	disk.full.Store(false)
	must(t, s.Barrier())
	if now := s.DurableIndex(); now < s.FlushedIndex() {
		t.Errorf("entry %d is durable, %d flushed", now, s.FlushedIndex())
	}
}

// A node that does not evaluate flushes what it may when it stops: all that the leader has closed. That is durable then.
func TestFollowerStops(t *testing.T) {
	dir, o, l := t.TempDir(), small(), &memLog{}
	o.BarrierInterval = time.Hour
	s := openStore(t, dir, o, l)
	s.PauseFlush(true)
	set(t, s, "a", "1")
	s.CloseGeneration()
	closed := s.Applied()
	must(t, s.Wait(set(t, s, "b", "1")))
	s.Yield()
	must(t, s.Close(true))
	must(t, s.data.Close())
	d, err := OpenDir(OSFS{}, dir)
	must(t, err)
	defer d.Close()
	if durable, err := d.Durable(); err != nil || durable != closed {
		t.Errorf("durable is %d, the last generation was closed at %d: %v", durable, closed, err)
	}
}

// Apply waits for the flusher while recent writes fill their memory, but not when the log is about to stop.
func TestApplyHurries(t *testing.T) {
	s := openStore(t, t.TempDir(), small(), &memLog{})
	s.PauseFlush(true)
	set(t, s, "a", "1")
	s.CloseGeneration()
	s.dirty.Add(s.budget.Recent)
	defer s.dirty.Add(-s.budget.Recent)
	done := make(chan struct{})
	go func() { s.waitForRoom(); close(done) }()
	select {
	case <-done:
		t.Error("there is no room, and nobody waited")
	case <-time.After(10 * time.Millisecond):
	}
	s.Hurry()
	<-done
}
