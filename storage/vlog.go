package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// Badger collects a value log file by writing what lives in it anew, unsynced, and deleting the file at once. That is older than the durable
// index: no replay brings back what a power cut takes of it. So
//
//   - while files are collected, values are fsynced before Badger writes pointers to them (Store.valuesWritten): a pointer may reach the disk
//     at any time, and hides the old one at once;
//   - an iterator of ours stays open, which keeps Badger from deleting, until a barrier has made the pointers durable;
//   - then it is closed, and for a moment nobody else may have one (gate).

const (
	collectAtOnce = 4 // files: until they are deleted, what lives in them is on the disk twice
	clearLimit    = 500 * time.Millisecond
)

// CollectValues gives back the files of the value log in which at least ratio is known to be dead: to Badger, from its compactions. It returns
// how many were rewritten. No Scan of the caller may be open, and only one caller and no other job on Badger may run at a time.
func (s *Store) CollectValues(ratio float64, stop <-chan struct{}) (files int, err error) {
	for {
		n, err := s.collectSome(ratio, stop)
		files += n
		if n > 0 && err == nil && !s.gate.clear(clearLimit) {
			s.opts.Logger.Warn("collected value log files wait for a moment without a scan")
		}
		if err != nil || n < collectAtOnce {
			return files, err
		}
	}
}

// collectSome rewrites some files and makes durable what it moved. When it returns, nothing of ours keeps Badger from deleting them.
func (s *Store) collectSome(ratio float64, stop <-chan struct{}) (files int, err error) {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	release := s.keepValueLog()
	s.compactors.collecting.Store(max(1, s.DiscardTs()))
	defer func() {
		s.straight.moved.Store(true)
		s.compactors.collecting.Store(0)
	}()
	for files < collectAtOnce && err == nil && s.roomToCollect() {
		select {
		case <-stop:
			err = ErrStopped
			continue
		default:
		}
		if err = s.collectFile(ratio); err == nil {
			files++
		}
	}
	if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
		err = nil
	}
	if (files > 0 || err != nil) && !planted("collect-without-barrier") { // a file that failed in the middle is not deleted, but one before it may have been moved
		if failed := s.barrierInUse(true); failed != nil {
			s.opts.Fatal(failed) // and the iterator stays: the files must not go
			return files, failed
		}
	}
	release()
	return files, err
}

// damagedFile is the panic that keeps Badger from collecting a file.
type damagedFile struct{ error }

func (s *Store) collectFile(ratio float64) (err error) {
	defer s.disk.guard(nil, &err)
	defer func() {
		if p := recover(); p != nil {
			damaged, ours := p.(damagedFile)
			if !ours {
				panic(p)
			}
			err = damaged.error
		}
	}()
	checked := s.reclaim.checked.Load()
	err = s.disk.db.RunValueLogGC(ratio)
	invariant(err != nil || s.reclaim.checked.Load() != checked, "Badger collected a value log file unchecked")
	return err
}

// valuesWritten is called by Badger's writing goroutine between the two halves of each write.
func (s *Store) valuesWritten() {
	from := s.reclaim.syncFrom.Load()
	if from == 0 {
		return
	}
	if err := s.syncValueLog(from); err != nil {
		s.opts.Fatal(fmt.Errorf("fsync of the value log: %w", err))
		select {} // the pointers must not be written
	}
	if s.opts.OnValuesSynced != nil && !planted("collect-without-sync") {
		s.opts.OnValuesSynced(s.dir())
	}
	s.reclaim.synced.Add(1)
}

func (s *Store) syncValueLog(from uint32) error {
	if planted("collect-without-sync") {
		return nil
	}
	for _, f := range valueLogFiles(s.dir()) {
		if f.id < from {
			continue
		}
		if err := syncPath(filepath.Join(s.dir(), valueLogName(f.id))); err != nil {
			return err
		}
	}
	return syncPath(s.dir())
}

// valuesMoved is called before Badger deletes a file, or would.
func (s *Store) valuesMoved(records int) {
	invariant(records == 0 || s.reclaim.synced.Load() != s.reclaim.movedAt.Load(), "Badger moved %d values unsynced", records)
}

// collects checks a file that Badger is about to collect. Badger reads it up to the first bad record, takes that for its end, and deletes it
// with all that lives behind.
func (s *Store) collects(file uint32) {
	s.reclaim.checked.Add(1)
	s.reclaim.movedAt.Store(s.reclaim.synced.Load())
	name := valueLogName(file)
	if end, err := wholeValueLog(filepath.Join(s.dir(), name)); err != nil {
		panic(damagedFile{s.disk.damage([]byte(name), fmt.Sprintf("%v at offset %d: the file is not collected", err, end))})
	}
}

// cutValueLogs cuts what a power cut has torn, each file at its first bad record. Badger does that with the last file alone; but all that were
// begun or rotated since the last barrier may be torn. What lies behind is newer than the barrier, and is written again from the log. Left as it
// is, the file could never be collected: Badger would take the tear for its end, and delete what lives behind.
func cutValueLogs(dir string, files []badgerFile) error {
	noted := slices.IndexFunc(files, func(f badgerFile) bool { _, ok := valueLogID(f.Name); return ok })
	if noted < 0 {
		return nil // there was no barrier since the last start, which has cut them
	}
	oldest, _ := valueLogID(files[noted].Name)
	logs := valueLogFiles(dir)
	for _, f := range logs[:max(0, len(logs)-1)] {
		if f.id < oldest {
			continue
		}
		path := filepath.Join(dir, valueLogName(f.id))
		end, err := wholeValueLog(path)
		if errors.Is(err, errTorn) {
			err = cutFile(path, end)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func cutFile(path string, end int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(end), f.Sync(), f.Close())
}

var errTorn = errors.New("a record fails its checksum")

// wholeValueLog reads a value log file to its end.
func wholeValueLog(path string) (end int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	end, _ = walkRecords(f, recordFileHeader, true, nil)
	rest := make([]byte, 64<<10)
	for at := end; ; at += int64(len(rest)) {
		n, err := f.ReadAt(rest, at)
		if !allZero(rest[:n]) {
			return end, errTorn
		}
		if err == io.EOF {
			return end, nil
		}
		if err != nil {
			return end, err
		}
	}
}

// keepValueLog keeps Badger from deleting files of the value log until release is called, and has it write pointers to durable values only.
// disk.inUse is held.
func (s *Store) keepValueLog() (release func()) {
	all := valueLogFiles(s.dir())
	s.reclaim.syncFrom.Store(all[len(all)-1].id)
	s.gate.enter(false)
	txn := s.disk.db.NewTransactionAt(newest, false)
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	o.Prefix = []byte("!")
	it := txn.NewIterator(o)
	return func() {
		s.reclaim.syncFrom.Store(0)
		it.Close()
		txn.Discard()
		s.gate.leave()
	}
}

// roomToCollect tells whether the disk has room for what lives in one more file. Like deletes it may use the reserve: it gives space back.
func (s *Store) roomToCollect() bool {
	s.lookAtDisk()
	return s.guard.free.Load() >= s.promised()+2*s.opts.ValueLogBytes
}

// ValueLogFileBytes is the size at which Badger begins a new file of the value log.
func (s *Store) ValueLogFileBytes() int64 { return s.opts.ValueLogBytes }

// ValueLog is what the files of the value log take of the disk.
func (s *Store) ValueLog() (files int, bytes int64) {
	for _, f := range valueLogFiles(s.dir()) {
		files++
		bytes += f.bytes
	}
	return files, bytes
}

// TableBytes is what Badger's tables take.
func (s *Store) TableBytes() (bytes int64) {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	for _, l := range s.disk.db.Levels() {
		bytes += l.Size
	}
	return bytes
}

// OnlyFresh tells that all tables of Badger's are as its memtables left them. It compacts them when there are several.
func (s *Store) OnlyFresh() bool {
	s.disk.inUse.RLock()
	defer s.disk.inUse.RUnlock()
	for i, l := range s.disk.db.Levels() {
		if i > 0 && l.NumTables > 0 {
			return false
		}
	}
	return true
}

type valueLogFile struct {
	id    uint32
	size  int64 // its length
	bytes int64 // of the disk: the file that is being written is longer
}

// valueLogFiles lists the value log, oldest first.
func valueLogFiles(dir string) (files []valueLogFile) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		id, ok := valueLogID(e.Name())
		if !ok {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join(dir, e.Name()), &st) == nil {
			files = append(files, valueLogFile{id, st.Size, st.Blocks * 512})
		}
	}
	return files
}

func valueLogID(name string) (id uint32, ok bool) {
	number, ok := strings.CutSuffix(name, ".vlog")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 32)
	return uint32(n), err == nil
}
