package storage

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// guard watches the disk: full means SIGBUS inside Badger, so writes are refused while there still is room.
type guard struct {
	free    atomic.Int64 // bytes, as of checked
	checked atomic.Int64 // unix ms
	reserve atomic.Int64 // bytes, disk_reserve
	pretend atomic.Int64 // SetDiskFree; -1: ask the disk
	full    atomic.Bool
	blind   atomic.Bool // statfs fails
}

const guardEvery = 100 * time.Millisecond

// Admit lets a write pass, makes it wait while memory is short, or refuses it with a *MisconfError. It is called without the lock, before
// the command runs. Deletes are let through when the disk is full: they give space back.
func (s *Store) Admit(deletesOnly bool) error {
	if err := s.checkDisk(deletesOnly); err != nil {
		s.stats.Refused.Add(1)
		return err
	}
	if dirty := s.dirty.Load(); dirty > s.budget.Recent/2 {
		return s.wait(dirty)
	}
	return nil
}

// checkDisk refuses writes while less is free than the reserve and what is promised already: the recent writes twice (table and memtable
// log), the memtables, one largest compaction, two log segments.
func (s *Store) checkDisk(deletesOnly bool) error {
	g := &s.guard
	now := time.Now().UnixMilli()
	if last := g.checked.Load(); now-last >= guardEvery.Milliseconds() && g.checked.CompareAndSwap(last, now) {
		s.lookAtDisk()
	}
	need := s.diskNeed()
	free := g.free.Load()
	if free >= need {
		if g.full.CompareAndSwap(true, false) {
			s.opts.Logger.Info("disk space is back: writes are accepted again", "dir", s.dir, "free", free, "needed", need)
		}
		return nil
	}
	if g.full.CompareAndSwap(false, true) {
		s.opts.Logger.Error("disk is full: writes are refused, deletes pass; free some space or lower disk_reserve", "dir", s.dir, "free", free, "needed", need)
	}
	if deletesOnly && free >= need/2 {
		return nil
	}
	return &MisconfError{fmt.Sprintf("disk of %s is full: %d MiB free, %d MiB needed (disk_reserve and what is promised already)", s.dir, free>>20, need>>20)}
}

func (s *Store) diskNeed() int64 {
	return s.guard.reserve.Load() + 2*s.dirty.Load() + 4*s.budget.MemTable + 2*s.opts.LogSegmentBytes
}

func (s *Store) lookAtDisk() {
	if p := s.guard.pretend.Load(); p >= 0 {
		s.guard.free.Store(p)
		return
	}
	var st unix.Statfs_t
	err := unix.Statfs(s.dir, &st)
	if failed := err != nil; s.guard.blind.Swap(failed) != failed && failed {
		s.opts.Logger.Warn("cannot tell how much disk space is free; the last answer stands", "dir", s.dir, "err", err)
	}
	if err != nil {
		return
	}
	s.guard.free.Store(int64(st.Bavail) * st.Bsize)
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
	defer func() { s.stats.StallNs.Add(uint64(time.Since(start))) }()
	if d := s.pace.delay(dirty, s.budget.Recent); d > 0 {
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

// waitForRoom makes replay and followers wait for the flusher; the log waits with them.
func (s *Store) waitForRoom() {
	for s.dirty.Load() >= s.budget.Recent {
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

// pacer spreads writers over time when the recent writes fill up: from half of the budget on they may come at a rate that falls from twice
// what the flusher does to half of it, instead of running into a wall.
type pacer struct {
	mu   sync.Mutex
	rate float64 // bytes per second that the flusher has managed lately
	last int64   // dirty bytes when the last writer came
	next time.Time
}

// flushed notes what a flush managed.
func (p *pacer) flushed(bytes int, took time.Duration) {
	rate := float64(bytes) / max(took.Seconds(), 1e-6)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate == 0 {
		p.rate = rate
		return
	}
	p.rate += (rate - p.rate) / 8
}

// delay returns how long a writer waits. Each writer pays for the bytes that came since the one before it.
func (p *pacer) delay(dirty, limit int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	grown := dirty - p.last
	p.last = dirty
	if p.rate == 0 || grown <= 0 {
		return 0
	}
	full := float64(dirty) / float64(limit)  // 0.5 … 1
	allowed := p.rate * max(3.5-3*full, 0.5) // 2 … 0.5 times
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(float64(grown) / allowed * float64(time.Second)))
	d := p.next.Sub(now)
	if d < time.Millisecond {
		return 0 // too short to sleep: it adds up
	}
	return min(d, 100*time.Millisecond)
}
