package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"sett/replication/wal"
)

// aheadWindows is how many places are read ahead from: there is a replicator for each peer that is behind, and replay.
const aheadWindows = 4

// logStore is raft's log. StoreLogs and DeleteRange are called by raft's main goroutine, everything else by any.
//
// What must hold: what the store has durably in Badger, and nothing else, may leave at the beginning; nothing that is in Badger may leave at the
// end. Where raft wants that all the same, this node knows what the cluster does not: it has diverged.
type logStore struct {
	entries entries
	logger  *slog.Logger
	keep    *atomic.Int64 // bytes that stay for peers that are behind
	fatal   func(error)
	// inBadger is the newest entry that Badger knows of.
	inBadger func() uint64
	// applied is the last entry that the store was given, or will be.
	applied func() uint64
	// room waits until the store has taken most of what was committed.
	room func()
	// needed is the first entry that has to stay for those who were sent a copy of all data.
	needed func() uint64
	// diverged notes durably that this node needs a copy of the cluster's data.
	diverged func(why string) error

	fsync atomic.Int32
	since atomic.Int64  // unix ns; no entry that is not fsynced is older
	busy  atomic.Uint64 // the last job that the disk was given, 0: it works for nobody
	jobs  atomic.Uint64 // that it was ever given

	durable   atomic.Uint64 // what the store has durably in Badger
	wanted    atomic.Uint64 // what raft has no use for any more
	installed atomic.Uint64 // the store was just filled up to this entry by a snapshot: what the log has may go
	wasCut    bool          // entries were taken away and none has been stored since; main goroutine only

	mu    sync.Mutex // guards the rest
	cache tailCache
	ahead [aheadWindows][]*raft.Log
	next  int    // of ahead, to be replaced
	cuts  uint64 // how often entries were taken away
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

// IsMonotonic says that there are no gaps between entries.
func (l *logStore) IsMonotonic() bool { return true }

// FirstIndex is the index of the first entry, 0 if there is none.
func (l *logStore) FirstIndex() (uint64, error) {
	if first, last := l.entries.bounds(); last >= first {
		return first, nil
	}
	return 0, nil
}

// LastIndex is the index of the last entry, 0 if there is none.
func (l *logStore) LastIndex() (uint64, error) {
	if first, last := l.entries.bounds(); last >= first {
		return last, nil
	}
	return 0, nil
}

// GetLog returns an entry. Its data is shared and must not be changed.
func (l *logStore) GetLog(index uint64, log *raft.Log) error {
	l.mu.Lock()
	found, cuts := l.find(index), l.cuts
	l.mu.Unlock()
	if found == nil {
		some, err := l.entries.read(index)
		if err != nil {
			return err
		}
		found = some[0]
		if len(some) > 1 {
			l.mu.Lock()
			if l.cuts == cuts {
				l.ahead[l.next] = some
				l.next = (l.next + 1) % aheadWindows
			}
			l.mu.Unlock()
		}
	}
	*log = *found
	return nil
}

// find looks in memory. l.mu is held.
func (l *logStore) find(index uint64) *raft.Log {
	if found := l.cache.get(index); found != nil {
		return found
	}
	for _, w := range l.ahead {
		if len(w) > 0 && index >= w[0].Index && index-w[0].Index < uint64(len(w)) {
			return w[index-w[0].Index]
		}
	}
	return nil
}

// cached is the first entry of the log's end in memory, 0 if there is none.
func (l *logStore) cached() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.cache.logs) == 0 {
		return 0
	}
	return l.cache.logs[0].Index
}

// StoreLog is StoreLogs of one.
func (l *logStore) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs adds entries: raft counts them as stored by this node when it returns.
func (l *logStore) StoreLogs(logs []*raft.Log) error {
	if first, last := l.entries.bounds(); last >= first && l.installed.Load() > 0 {
		if err := l.DeleteRange(first, last); err != nil { // raft goes on when it has failed, as on a full disk
			return err
		}
	}
	if first, last := l.entries.bounds(); last >= first && logs[0].Index != last+1 {
		return fmt.Errorf("log: entry %d cannot be added, entry %d comes next", logs[0].Index, last+1)
	}
	l.room()
	defer l.working()()
	if l.level() == Everysec {
		if err := l.keepUp(); err != nil {
			return err
		}
	}
	if err := l.entries.append(logs); err != nil {
		dead := l.entries.dead()
		if lost := dead != nil && !errors.Is(dead, wal.ErrClosed); lost || l.wasCut {
			l.fatal(fmt.Errorf("the log is lost: %w", errors.Join(err, dead)))
		}
		return err
	}
	l.wasCut = false
	l.installed.Store(0)
	if l.level() == Always {
		if err := l.sync(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, log := range logs {
		l.cache.add(&raft.Log{Index: log.Index, Term: log.Term, Type: log.Type, Data: log.Data})
	}
	return nil
}

// working notes that the disk is working for us, for the watchdog.
func (l *logStore) working() (done func()) {
	job := l.jobs.Add(1)
	l.busy.Store(job)
	return func() { l.busy.CompareAndSwap(job, 0) }
}

// DeleteRange takes entries away: raft has no use for those at the beginning, or those at the end contradict its leader's.
func (l *logStore) DeleteRange(minIndex, maxIndex uint64) error {
	first, last := l.entries.bounds()
	if last < first {
		return nil
	}
	if maxIndex < last {
		l.wanted.Store(max(l.wanted.Load(), maxIndex))
		return l.trim()
	}
	// A store that was filled from a snapshot owes nothing to its old log.
	if l.installed.Load() == 0 {
		if err := l.mayCut(minIndex); err != nil {
			return err
		}
	}
	defer l.working()()
	l.mu.Lock()
	l.cuts++
	l.cache.cut(minIndex)
	l.ahead = [aheadWindows][]*raft.Log{}
	l.mu.Unlock()
	if err := l.entries.cut(max(minIndex, first)); err != nil {
		return err
	}
	l.mu.Lock()
	l.cuts++ // who was reading meanwhile may have read what is gone
	l.mu.Unlock()
	l.wasCut = true
	l.installed.Store(0)
	return nil
}

// mayCut tells whether entries from index on may go. What was applied was committed: a majority has forgotten it, as after a power cut of
// several machines at a level below always. What is only in recent writes is forgotten by a restart; what is in Badger stays there.
func (l *logStore) mayCut(index uint64) error {
	inBadger, applied := l.inBadger(), l.applied()
	if index > max(inBadger, applied) {
		return nil
	}
	err := fmt.Errorf("the cluster has lost entries from %d on, which had been committed (a majority lost power at an fsync level below always): this node restarts without them", index)
	if index <= inBadger {
		err = fmt.Errorf("the cluster has lost entries from %d on, which had been committed (a majority lost power at an fsync level below always), and this node's tables have "+
			"entries up to %d: it has diverged, and takes a copy of the cluster's data at its next start", index, inBadger)
		if noteErr := l.diverged(err.Error()); noteErr != nil {
			err = errors.Join(err, noteErr)
		}
	}
	l.fatal(err)
	return err
}

// trim lets go of what raft and the store have no use for, but for what peers may still need.
func (l *logStore) trim() error {
	upTo := min(l.wanted.Load(), l.durable.Load(), l.entries.behind(l.keep.Load()), l.needed()-1)
	if first, _ := l.entries.bounds(); upTo < first {
		return nil
	}
	return l.entries.trim(upTo)
}

// fit takes everything away if it does not go with the marker that raft begins with: the store was filled by a snapshot, and the node stopped
// before the log had followed.
func (l *logStore) fit(index, term uint64) error {
	first, last := l.entries.bounds()
	if last < first || index < first {
		return nil
	}
	if index <= last {
		var there raft.Log
		if err := l.GetLog(index, &there); err != nil || there.Term == term {
			return err
		}
	}
	l.logger.Info("the log is not that of the snapshot which this node has taken: it begins anew", "first", first, "last", last, "snapshot", index)
	return l.entries.cut(first)
}

// sync fsyncs everything stored before it was called.
func (l *logStore) sync() error {
	start := time.Now().UnixNano()
	err := l.entries.sync()
	if err == nil {
		l.since.Store(start)
	}
	if err != nil && !errors.Is(err, wal.ErrClosed) {
		l.fatal(fmt.Errorf("fsync of the log: %w", err))
	}
	return err
}

// syncTo returns once all entries up to index are fsynced.
func (l *logStore) syncTo(index uint64) error {
	if _, last := l.entries.bounds(); index > last && index > l.durable.Load() {
		return fmt.Errorf("log: cannot sync entry %d, the last one is %d", index, last)
	}
	if l.entries.synced() >= index {
		return l.entries.dead()
	}
	return l.sync()
}

// keepUp makes writers wait for an fsync that takes too long, as Solo's does.
func (l *logStore) keepUp() error {
	now := time.Now().UnixNano()
	if !l.unsynced() {
		l.since.Store(now)
	} else if now-l.since.Load() > int64(maxUnsynced) {
		return l.sync()
	}
	return nil
}

func (l *logStore) unsynced() bool {
	_, last := l.entries.bounds()
	return l.entries.synced() < last
}

func (l *logStore) level() Fsync { return Fsync(l.fsync.Load()) }

func (l *logStore) setLevel(f Fsync) {
	l.fsync.Store(int32(f))
	if w, ok := l.entries.(walEntries); ok {
		w.log.AllocateOnly(f != Always)
	}
}

// tailCache holds the last entries, in order: followers and replicators read what was just stored.
type tailCache struct {
	logs  []*raft.Log
	bytes int
	limit int // of bytes; one entry is held whatever its size
}

func (c *tailCache) add(log *raft.Log) {
	if n := len(c.logs); n > 0 && c.logs[n-1].Index+1 != log.Index {
		c.logs, c.bytes = nil, 0
	}
	c.logs = append(c.logs, log)
	c.bytes += cost(log)
	out := 0
	for c.bytes > c.limit && out < len(c.logs)-1 {
		c.bytes -= cost(c.logs[out])
		c.logs[out] = nil
		out++
	}
	c.logs = c.logs[out:] // append moves what is left when it has no more room
}

func cost(log *raft.Log) int { return len(log.Data) + 100 }

func (c *tailCache) get(index uint64) *raft.Log {
	if len(c.logs) == 0 || index < c.logs[0].Index || index-c.logs[0].Index >= uint64(len(c.logs)) {
		return nil
	}
	return c.logs[index-c.logs[0].Index]
}

// cut forgets entries from index on.
func (c *tailCache) cut(from uint64) {
	for n := len(c.logs); n > 0 && c.logs[n-1].Index >= from; n-- {
		c.bytes -= cost(c.logs[n-1])
		c.logs[n-1] = nil
		c.logs = c.logs[:n-1]
	}
}
