package wal

import (
	"fmt"
	"time"
)

// Sync returns once everything that was appended before the call is on disk. Callers at the same time share one fdatasync that begins after
// they have called.
func (l *Log) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.syncTo(l.nextNumber - 1)
}

// SyncTo is Sync for the entries up to index.
func (l *Log) SyncTo(index uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index >= l.next {
		return fmt.Errorf("log: cannot sync entry %d, the last one is %d: %w", index, l.next-1, ErrNoEntry)
	}
	if index <= l.syncedIndex {
		return l.err
	}
	// Entries that are not synced have consecutive numbers, because a trim syncs.
	return l.syncTo(l.nextNumber - (l.next - index))
}

// Synced is the index of the last entry known to be on disk.
func (l *Log) Synced() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.syncedIndex
}

// Syncing tells whether a sync runs: the system may hold up writes meanwhile.
func (l *Log) Syncing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.syncing
}

// syncTo waits for, or runs, a sync that covers record number. Log.mu is held.
func (l *Log) syncTo(number uint64) error {
	for l.err == nil && l.syncedNumber < number && l.syncing {
		l.synced.Wait()
	}
	if l.err != nil || l.syncedNumber >= number {
		return l.err
	}
	l.syncing = true
	end, index := l.nextNumber-1, l.next-1
	var dirty []*segment
	for _, s := range l.segs {
		if s.dirty {
			s.dirty = false
			dirty = append(dirty, s)
		}
	}
	l.mu.Unlock()
	took, err := syncAll(dirty)
	if len(dirty) > 0 {
		l.o.Took(TookFsync, took)
	}
	l.mu.Lock()
	l.syncing = false
	l.metrics.Fsyncs += uint64(len(dirty))
	l.metrics.FsyncSum += took
	l.metrics.FsyncMax = max(l.metrics.FsyncMax, took)
	if err != nil {
		return l.dieLocked(fmt.Errorf("log: fsync: %w", err))
	}
	l.syncedNumber, l.syncedIndex = end, min(index, l.next-1)
	l.synced.Broadcast()
	return l.err
}

func syncAll(segs []*segment) (took time.Duration, err error) {
	if planted("log-no-fsync") {
		return 0, nil
	}
	begin := time.Now()
	for _, s := range segs {
		s.pin.RLock()
		if !s.gone {
			err = s.file.Sync()
		}
		s.pin.RUnlock()
		if err != nil {
			break
		}
	}
	return time.Since(begin), err
}
