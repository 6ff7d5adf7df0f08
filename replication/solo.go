package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sett/replication/wal"
	"sett/storage"
)

// Fsync says when an entry counts as committed, and when it reaches the disk.
type Fsync int32

const (
	// Everysec: committed when written to the operating system, fsynced every second.
	Everysec Fsync = iota
	// Always: committed when fsynced.
	Always
	// No: committed when written to the operating system, which decides.
	No
)

var fsyncNames = [...]string{Everysec: "everysec", Always: "always", No: "no"}

func (f Fsync) String() string { return fsyncNames[f] }

// ParseFsync reads a level's name.
func ParseFsync(name string) (Fsync, error) {
	for f, n := range fsyncNames {
		if n == name {
			return Fsync(f), nil
		}
	}
	return 0, fmt.Errorf("fsync is always, everysec or no, not %q", name)
}

// soloTerm is the term of a log without elections.
const soloTerm = 1

// retryEvery is how long a log that refused an entry waits before it is tried again.
const retryEvery = 100 * time.Millisecond

// maxUnsynced is how old an entry that is not fsynced gets at level everysec before writers wait for the disk.
const maxUnsynced = 1400 * time.Millisecond

// SoloOptions say how a node that is alone keeps its log.
type SoloOptions struct {
	Fsync  Fsync
	Logger *slog.Logger
	Fatal  func(error) // called when an fsync failed: nobody knows then what is on disk, and the process must end
}

// Solo is the log of a node that is alone: the first copy of everything, written before anybody is answered.
type Solo struct {
	log   *wal.Log
	o     SoloOptions
	store *storage.Store

	fsync atomic.Int32
	since atomic.Int64 // unix ns; no entry that is not fsynced is older
	stop  chan struct{}
	loop  sync.WaitGroup
}

var _ Log = (*Solo)(nil)

// NewSolo returns a log over an open wal.
func NewSolo(log *wal.Log, o SoloOptions) *Solo {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Solo{log: log, o: o, stop: make(chan struct{})}
	s.setLevel(o.Fsync)
	return s
}

// Start connects the log with its store, replays what Badger does not durably have, and lets the store evaluate. It returns the number of
// entries replayed.
func (s *Solo) Start(store *storage.Store) (replayed int, err error) {
	s.store = store
	if err := store.Begin(s, s.log.First(), s.log.Last()); err != nil {
		return 0, err
	}
	err = s.log.Scan(max(store.ReplayFrom(), s.log.First()), func(e wal.Entry) error {
		replayed++
		return store.Apply(e.Index, soloTerm, e.Data)
	})
	if err != nil {
		return replayed, fmt.Errorf("replaying the log: %w", err)
	}
	store.Lead(soloTerm)
	s.loop.Add(1)
	go s.everySecond()
	return replayed, nil
}

// Propose writes an entry, fsyncs it at level always, and hands it to the store as committed.
func (s *Solo) Propose(entry []byte) error {
	if s.Level() == Everysec {
		if err := s.keepUp(); err != nil {
			return err
		}
	}
	index := s.log.Last() + 1
	if err := s.log.Append(wal.Entry{Index: index, Term: soloTerm, Data: entry}); err != nil {
		// The log is as it was, and everySecond tries again; or it is lost.
		if fatal := s.log.Err(); fatal != nil && !errors.Is(fatal, wal.ErrClosed) {
			s.o.Fatal(fmt.Errorf("the log is lost: %w", fatal))
		}
		s.store.RefuseWrites(fmt.Errorf("the log cannot grow, writes are refused until it can: %w", err))
		return err
	}
	if s.Level() == Always {
		if err := s.sync(); err != nil {
			return err
		}
	}
	if err := s.store.Apply(index, soloTerm, entry); err != nil {
		s.o.Fatal(err)
		return err
	}
	return nil
}

// Waits tells whether an entry would have to wait for the disk. A write is most likely to while an fsync runs.
func (s *Solo) Waits() bool {
	return s.Level() == Always || s.log.Syncing() || s.Level() == Everysec && s.overdue(time.Now().UnixNano())
}

// keepUp makes writers wait for an fsync that takes too long: what is acknowledged at level everysec is not older than maxUnsynced when
// the power goes.
func (s *Solo) keepUp() error {
	now := time.Now().UnixNano()
	if s.log.Synced() == s.log.Last() {
		s.since.Store(now)
	} else if s.overdue(now) {
		return s.sync()
	}
	return nil
}

func (s *Solo) overdue(nowNs int64) bool {
	return nowNs-s.since.Load() > int64(maxUnsynced) && s.log.Synced() < s.log.Last()
}

// sync fsyncs everything appended before it was called.
func (s *Solo) sync() error {
	start := time.Now().UnixNano()
	err := s.log.Sync()
	if err == nil {
		s.since.Store(start)
	}
	if err != nil && !errors.Is(err, wal.ErrClosed) {
		s.o.Fatal(fmt.Errorf("fsync of the log: %w", err))
	}
	return err
}

// SyncTo returns once all entries up to index are fsynced.
func (s *Solo) SyncTo(index uint64) error { return s.log.SyncTo(index) }

// Read returns an entry.
func (s *Solo) Read(index uint64) (term uint64, entry []byte, err error) {
	e, err := s.log.Read(index)
	return e.Term, e.Data, err
}

// Trim forgets entries up to index, as far as whole segments go.
func (s *Solo) Trim(index uint64) {
	if err := s.log.TrimPrefix(index); err != nil && !errors.Is(err, wal.ErrClosed) {
		s.o.Logger.Warn("cannot trim the log; it will be tried again", "up_to", index, "err", err)
	}
}

// Level is the present fsync level.
func (s *Solo) Level() Fsync { return Fsync(s.fsync.Load()) }

// SetFsync changes the level, beginning with an fsync: what was acknowledged under the old level is not worse off under the new one.
func (s *Solo) SetFsync(f Fsync) error {
	if f == Always {
		s.setLevel(f) // from here on nobody is answered unsynced
	}
	if err := s.sync(); err != nil {
		return err
	}
	s.setLevel(f)
	return nil
}

func (s *Solo) setLevel(f Fsync) {
	s.fsync.Store(int32(f))
	s.log.AllocateOnly(f != Always)
}

// Log gives access to the log's counters.
func (s *Solo) Log() *wal.Log { return s.log }

// everySecond is the goroutine that fsyncs at level everysec, and brings a log back that has refused an entry.
func (s *Solo) everySecond() {
	defer s.loop.Done()
	next := time.Now().Add(time.Second)
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if !s.store.Evaluating() && s.log.Reserve() == nil {
			s.o.Logger.Info("the log had refused an entry and has room again: writes are accepted")
			s.store.RefuseWrites(nil)
			s.store.Lead(soloTerm)
		}
		if now := time.Now(); now.After(next) {
			next = now.Add(time.Second - retryEvery/2)
			if s.Level() == Everysec && s.log.Synced() < s.log.Last() {
				if s.sync() != nil {
					return
				}
			}
		}
	}
}

// Close fsyncs and closes the log and returns its end. The store is closed before.
func (s *Solo) Close() (end uint64, err error) {
	close(s.stop)
	s.loop.Wait()
	end = s.log.Last()
	return end, s.log.Close()
}
