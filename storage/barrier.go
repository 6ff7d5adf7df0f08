package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// A barrier makes everything that is in Badger durable: db.Sync does not, it leaves out rotated files. It fsyncs every value log file,
// then every memtable log, then the directory; then it notes the flush point that it covered, in the file durable. Replay starts there, and
// the log may forget what lies below.
type barrier struct {
	durable point         // guarded by Store.mu
	copied  uint64        // of durableRecord; changes with Store.dir
	bytes   atomic.Uint64 // log bytes written when the last barrier began
	running sync.Mutex    // one barrier at a time
	files   []badgerFile  // as the last barrier found them; guarded by running, but for Open and Close
	due     chan struct{}
	now     chan chan error
	stop    chan struct{}
	done    chan struct{}
}

// noRoomError is a barrier that has no room for its note. The next one tries again.
type noRoomError struct{ error }

func (e noRoomError) Unwrap() error { return e.error }

const (
	durableFile   = "durable"
	durableFormat = 1
)

// durableRecord is the file badger-<n>/durable: one line of JSON, one line with its crc32c.
type durableRecord struct {
	Format int
	Index  uint64
	TimeMs int64
	Term   uint64
	Number uint64
	Copied uint64       `json:",omitempty"` // everything up to this entry came with a copy: this node's log may never have had it
	Files  []badgerFile // what Badger's own start would cut off silently
}

func (b *barrier) init() {
	b.due, b.now = make(chan struct{}, 1), make(chan chan error)
	b.stop, b.done = make(chan struct{}), make(chan struct{})
}

// barrierLoop is the barrier goroutine.
func (s *Store) barrierLoop() {
	b := &s.barrier
	defer close(b.done)
	tick := time.NewTicker(s.opts.BarrierInterval)
	defer tick.Stop()
	for {
		var reply chan error
		select {
		case <-b.stop:
			return
		case reply = <-b.now:
		case <-tick.C:
		case <-b.due:
		}
		err := s.runBarrier(false)
		if reply != nil {
			reply <- err
		}
		switch full := errors.As(err, new(noRoomError)); {
		case full:
			s.opts.Logger.Error("the disk is full: what is in Badger is not noted as durable, and the log stays", "dir", s.dir(), "err", err)
		case err != nil:
			s.opts.Fatal(fmt.Errorf("making Badger durable: %w", err))
			return
		}
	}
}

// noteFlushed asks for a barrier when the log has grown enough since the last one.
func (s *Store) noteFlushed() {
	if n := s.stats.EntryBytes.Load() - s.barrier.bytes.Load(); s.opts.BarrierLogBytes > 0 && n >= uint64(s.opts.BarrierLogBytes) {
		select {
		case s.barrier.due <- struct{}{}:
		default:
		}
	}
}

// Barrier makes what is in Badger durable now.
func (s *Store) Barrier() error {
	reply := make(chan error, 1)
	select {
	case s.barrier.now <- reply:
		return <-reply
	case <-s.barrier.done:
		return ErrClosed
	}
}

// runBarrier makes Badger's files durable if something was flushed since the last time. always: in any case.
func (s *Store) runBarrier(always bool) error {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	return s.barrierInUse(always)
}

// barrierInUse is runBarrier for those who hold disk.inUse.
func (s *Store) barrierInUse(always bool) error {
	s.barrier.running.Lock()
	defer s.barrier.running.Unlock()
	start := time.Now()
	s.barrier.bytes.Store(s.stats.EntryBytes.Load())
	s.mu.RLock()
	p, durable := s.flush.point, s.barrier.durable
	s.mu.RUnlock()
	if p.Index == durable.Index && !always {
		s.moveDiscard(p.Index) // a view may have ended
		return nil
	}
	if planted("durable-before-barrier") {
		if err := s.writeDurable(p, nil); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	files, err := noteBadgerFiles(s.dir(), s.barrier.files)
	if err != nil {
		return err
	}
	if err := syncBadger(s.dir()); err != nil {
		return err
	}
	if s.opts.OnBarrier != nil {
		s.opts.OnBarrier(s.dir())
	}
	if err := s.writeDurable(p, files); errors.Is(err, syscall.ENOSPC) {
		return noRoomError{err} // and the old note stays: replay begins there
	} else if err != nil {
		return err
	}
	s.mu.Lock()
	s.barrier.durable, s.barrier.files = p, files
	s.mu.Unlock()
	s.moveDiscard(p.Index)
	s.log.Trim(p.Index)
	s.stats.Barriers.Add(1)
	took := time.Since(start)
	s.stats.BarrierNs.Add(uint64(took))
	s.opts.Took(TookBarrier, took)
	return nil
}

// moveDiscard lets Badger's compactions drop what no reader at or above can see. It never goes back: PictureAt relies on that.
func (s *Store) moveDiscard(durable uint64) {
	s.views.mu.Lock()
	s.reclaim.discardTs.Store(max(s.DiscardTs(), s.views.oldestBase(durable)))
	s.views.mu.Unlock()
	s.tellDiscard()
}

// tellDiscard tells Badger, but not before there is a table below level 0. Badger merges new tables of level 0 with each other while older ones are on
// their way down, and drops a deletion if no lower level has keys around it: as long as those are empty, what it deletes may be on that way, and
// would be seen again. disk.inUse is held, or nobody else has db.
func (s *Store) tellDiscard() {
	if below := slices.ContainsFunc(s.disk.db.Levels()[1:], func(l badger.LevelInfo) bool { return l.NumTables > 0 }); below {
		s.disk.db.SetDiscardTs(s.DiscardTs())
	}
}

// syncBadger fsyncs Badger's files: value logs before the memtable logs that point into them.
func syncBadger(dir string) error {
	for _, suffix := range []string{".vlog", ".mem"} {
		names, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
		if err != nil {
			return err
		}
		for _, name := range names {
			err := syncPath(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // its table is synced already
			}
			if err != nil {
				return err
			}
		}
	}
	return syncPath(dir)
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (s *Store) writeDurable(p point, files []badgerFile) error {
	return writeDurable(s.opts.FS, s.dir(), p, s.barrier.copied, files)
}

func writeDurable(fsys FS, dir string, p point, copied uint64, files []badgerFile) error {
	return writeChecked(fsys, filepath.Join(dir, durableFile), durableRecord{
		Format: durableFormat, Index: p.Index, TimeMs: p.TimeMs, Term: p.Chain.Term, Number: p.Chain.Number, Copied: copied, Files: files,
	})
}

// readDurable returns what is durable; a missing file is the point before the first entry.
func readDurable(fsys FS, dir string) (r durableRecord, err error) {
	ok, err := readChecked(fsys, filepath.Join(dir, durableFile), &r)
	if err != nil || !ok {
		return durableRecord{}, err
	}
	if r.Format > durableFormat {
		return durableRecord{}, refused("%s has format %d, this build knows %d: start a newer sett", filepath.Join(dir, durableFile), r.Format, durableFormat)
	}
	return r, nil
}

func (r *durableRecord) point() point { return point{r.Index, r.TimeMs, chain{r.Term, r.Number}} }

// writeChecked writes a small file of ours: one line of JSON and one with the JSON's crc32c.
func writeChecked(fsys FS, path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return WriteFileAtomic(fsys, path, fmt.Appendf(b, "\n%08x\n", crc32.Checksum(b, castagnoli)))
}

// readChecked reads a file that writeChecked wrote; ok is false if there is none.
func readChecked(fsys FS, path string, v any) (ok bool, err error) {
	b, err := fsys.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	text, rest, _ := strings.Cut(string(b), "\n")
	if rest != fmt.Sprintf("%08x\n", crc32.Checksum([]byte(text), castagnoli)) {
		return false, refused("%s is damaged: its checksum does not match. Run `sett check`", path)
	}
	return true, json.Unmarshal([]byte(text), v)
}
