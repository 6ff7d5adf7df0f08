package storage

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// guard watches the disk: full means SIGBUS inside Badger, which maps the files that it writes. So writes are refused while there is still
// room for all that is going to be written anyway, and the flusher waits for that room.
type guard struct {
	free       atomic.Int64 // bytes, as of checked
	compaction atomic.Int64 // bytes that compactions may still write, as of checked
	checked    atomic.Int64 // unix ms
	reserve    atomic.Int64 // bytes, disk_reserve
	pretend    atomic.Int64 // SetDiskFree; -1: ask the disk
	full       atomic.Bool
	waiting    atomic.Bool            // the flusher waits for room
	blind      atomic.Bool            // statfs fails
	hurry      atomic.Bool            // Hurry
	refusal    atomic.Pointer[string] // RefuseWrites
}

const guardEvery = 100 * time.Millisecond

// Admit lets a write pass, makes it wait while memory is short, or refuses it with a *MisconfError. It is called without the lock, before
// the command runs. Deletes are let through when the disk is full: they give space back.
func (s *Store) Admit(deletesOnly bool) error {
	err := s.mayWrite(deletesOnly, time.Now().UnixMilli())
	if dirty := s.dirty.Load(); err == nil && s.paced(dirty) {
		err = s.wait(dirty)
	}
	return err
}

// AdmitNow is Admit for those who have no time: ErrWouldWait tells them to come back to Admit. They know
// what time it is, too.
func (s *Store) AdmitNow(deletesOnly bool, nowMs int64) error {
	err := s.mayWrite(deletesOnly, nowMs)
	if dirty := s.dirty.Load(); err == nil && s.paced(dirty) && (dirty >= s.budget.Recent || !s.pace.onTime(s.written.Load(), s.recentShare(dirty))) {
		err = ErrWouldWait
	}
	return err
}

// recentShare is how much of the memory for recent writes is in use, 0 … 1.
func (s *Store) recentShare(dirty int64) float64 { return float64(dirty) / float64(s.budget.Recent) }

// paced tells whether writers may have to wait.
func (s *Store) paced(dirty int64) bool {
	if dirty > s.budget.Recent/2 || s.pace.level0.due.Load() {
		return true
	}
	if !s.pace.idle.Load() { // seldom written: all writers read it
		s.pace.idle.Store(true)
	}
	return false
}

// mayWrite refuses writes that the disk, or the log, has no room for.
func (s *Store) mayWrite(deletesOnly bool, nowMs int64) error {
	if reason := s.guard.refusal.Load(); reason != nil {
		s.stats.Refused.Add(1)
		return &MisconfError{*reason}
	}
	err := s.checkDisk(deletesOnly, nowMs)
	if err != nil {
		s.stats.Refused.Add(1)
	}
	return err
}

// checkDisk refuses writes while less is free than the reserve and what is promised already. Deletes may use the reserve, and half of what is
// set aside for compactions: that is for two of them at their largest at the same time, and the flusher waits until there is room for both.
func (s *Store) checkDisk(deletesOnly bool, nowMs int64) error {
	g := &s.guard
	// Not all who ask have the same clock.
	if last := g.checked.Load(); (nowMs-last >= guardEvery.Milliseconds() || nowMs < last-guardEvery.Milliseconds()) && g.checked.CompareAndSwap(last, nowMs) {
		s.lookAtDisk()
	}
	free, promised, reserve := g.free.Load(), s.promised(), s.diskReserve()
	enough := promised + reserve
	if g.full.Load() {
		enough += reserve / 8 // or it would be full and not full by turns, as recent writes come and go
	}
	if free >= enough {
		if g.full.CompareAndSwap(true, false) {
			s.opts.Logger.Info("disk space is back: writes are accepted again", "dir", s.dir(), "free", free, "needed", enough)
		}
		return nil
	}
	if g.full.CompareAndSwap(false, true) {
		s.opts.Logger.Error("disk is full: writes are refused, deletes pass; free some space or lower disk_reserve", "dir", s.dir(), "free", free, "needed", enough)
	}
	if deletesOnly && free >= promised-g.compaction.Load()/2 {
		return nil
	}
	return &MisconfError{fmt.Sprintf("disk of %s is full: %d MiB free, %d MiB needed (disk_reserve and what is promised already)", s.dir(), free>>20, enough>>20)}
}

// Full tells whether writes are refused for want of disk space.
func (s *Store) Full() bool { return s.guard.full.Load() }

// promised is what may be written without anybody being asked again: each recent write to a table, and once more when that is compacted; what is
// in the memtables; compactions; two log segments.
func (s *Store) promised() int64 {
	return 2*s.dirty.Load() + 4*s.budget.MemTable + s.guard.compaction.Load() + 2*s.opts.LogSegmentBytes
}

// diskReserve leaves deletes some room even if the setting does not: when the memtables have become tables, compactions need more than before.
func (s *Store) diskReserve() int64 { return max(s.guard.reserve.Load(), 4*s.budget.MemTable) }

func (s *Store) diskNeed() int64 { return s.diskReserve() + s.promised() }

// roomToFlush tells whether a generation can be written to Badger. If the disk is shorter of space than the guard ever lets it become, because
// somebody else took it, the flusher waits; the log has everything.
func (s *Store) roomToFlush(g *generation) bool {
	s.lookAtDisk()
	free, need := s.guard.free.Load(), 2*int64(g.bytes())+2*s.budget.MemTable+s.guard.compaction.Load()
	switch short := free < need; {
	case short && s.guard.waiting.CompareAndSwap(false, true):
		s.opts.Logger.Error("disk is full: recent writes stay in memory and in the log; free some space", "dir", s.dir(), "free", free, "needed", need)
	case !short && s.guard.waiting.CompareAndSwap(true, false):
		s.opts.Logger.Info("disk space is back: recent writes are flushed again", "dir", s.dir(), "free", free, "needed", need)
	}
	return free >= need
}

// roomToStart refuses a start that would end in a crash: Badger writes what its memtable logs hold into tables.
func (s *Store) roomToStart() error {
	free, err := freeBytes(s.dir())
	if need := 4 * s.budget.MemTable; err == nil && free < need {
		return fmt.Errorf("disk of %s is full: %d MiB free, a start needs %d MiB: free some space", s.dir(), free>>20, need>>20)
	}
	return nil
}

func (s *Store) lookAtDisk() {
	g := &s.guard
	free, err := g.pretend.Load(), error(nil)
	if free < 0 {
		free, err = freeBytes(s.dir())
	}
	if failed := err != nil; g.blind.Swap(failed) != failed && failed {
		s.opts.Logger.Warn("cannot tell how much disk space is free; the last answer stands", "dir", s.dir(), "err", err)
	}
	if err != nil {
		return
	}
	g.free.Store(free)
	if !s.disk.inUse.TryRLock() {
		return // DEBUG RELOAD
	}
	defer s.disk.inUse.RUnlock()
	levels := s.disk.db.Levels()
	s.pace.look(levels[0], s.budget, time.Now())
	room := compactionRoom(levels)
	if g.full.Load() || free < room+s.diskNeed()-g.compaction.Load() {
		room = max(0, room-tablesInMotion(s.dir(), levels)) // worth a look into the directory
	}
	g.compaction.Store(room)
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	return int64(st.Bavail) * int64(st.Bsize), err
}

// compactionRoom is what two compactions at the same time write before they remove what they have read: all of level 0 into the base level,
// and a table of another level into its next, which is ten times as large and has tables twice as large. What lies in level 0 counts as being
// in the base level already: its way down is nothing that a later write could be refused for.
func compactionRoom(levels []badger.LevelInfo) int64 {
	var first, other int64
	for i, l := range levels {
		size := l.Size
		if l.IsBaseLevel {
			size += levels[0].Size
			first = size
		}
		if i > 0 && i+1 < len(levels) && size > 0 {
			other = max(other, min(size+levels[i+1].Size, 16*l.TargetFileSize))
		}
	}
	return first + other
}

// tablesInMotion is how much of the disk tables hold that are not in use yet, or no longer: what running compactions have written already, or
// are about to give back.
func tablesInMotion(dir string, levels []badger.LevelInfo) (bytes int64) {
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return 0
	}
	for _, name := range names {
		var st unix.Stat_t
		if unix.Stat(name, &st) == nil {
			bytes += st.Blocks * 512
		}
	}
	for _, l := range levels {
		bytes -= l.Size
	}
	return max(0, bytes)
}

// RefuseWrites has all writes refused, deletes too, because the log cannot take them; nil ends that.
func (s *Store) RefuseWrites(why error) {
	if why == nil {
		s.guard.refusal.Store(nil)
		return
	}
	reason := why.Error()
	s.guard.refusal.Store(&reason)
}

// SetDiskReserve changes how much of the disk stays free.
func (s *Store) SetDiskReserve(bytes int64) { s.guard.reserve.Store(bytes) }

// SetDiskFree makes the guard believe in so many free bytes; -1: ask the disk again. For tests.
func (s *Store) SetDiskFree(bytes int64) {
	s.guard.pretend.Store(bytes)
	s.lookAtDisk()
}

// wait makes a writer wait its turn while the flusher is behind.
func (s *Store) wait(dirty int64) error {
	start := time.Now()
	defer func() {
		took := time.Since(start)
		s.stats.StallNs.Add(uint64(took))
		if took >= time.Millisecond { // else nobody slept
			s.opts.Took(TookStall, took)
		}
	}()
	if d := s.pace.delay(s.written.Load(), s.recentShare(dirty)); d > 0 {
		time.Sleep(d)
	}
	for s.dirty.Load() >= s.budget.Recent {
		s.mu.RLock()
		flushed, closed := s.flush.flushed, s.closed
		s.mu.RUnlock()
		if closed {
			return ErrClosed
		}
		left := s.opts.StallTimeout - time.Since(start)
		if left <= 0 {
			s.stats.Refused.Add(1)
			return &MisconfError{fmt.Sprintf("storage is behind: %d MiB of recent writes wait for the disk", s.dirty.Load()>>20)}
		}
		s.drive()
		select {
		case <-flushed:
		case <-time.After(min(left, 50*time.Millisecond)):
		}
	}
	return nil
}

// Hurry has Apply wait for nothing any more: the log is about to stop, and would wait for Apply.
func (s *Store) Hurry() { s.guard.hurry.Store(true) }

// waitForRoom makes replay and followers wait for the flusher; the log waits with them.
func (s *Store) waitForRoom() {
	for s.dirty.Load() >= s.budget.Recent && !s.guard.hurry.Load() {
		s.mu.RLock()
		flushed, closed := s.flush.flushed, s.closed
		s.mu.RUnlock()
		// The active generation does not move before its close flag: if it is all there is, there is nothing to wait for.
		if closed || s.gensClosed() == 0 {
			return
		}
		select {
		case <-flushed:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *Store) gensClosed() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.gens) - 1
}
