package ttl

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sett/storage"
)

// SweeperOptions wire a sweeper. Zero durations and numbers get defaults.
type SweeperOptions struct {
	View      func() (*storage.View, error) // a view at this moment: storage.Store.View
	Clock     *Clock
	Keyspaces func() ([]uint32, error) // those to sweep

	// Remove deletes the keys, or the fields of hashes, of due expiry rows, as one batch, after looking at their meta records again. It returns
	// how many rows it is done with: from the first one on that it is not, they are to come again.
	Remove func(rows [][]byte) (done int, err error)

	// Hold, if set, tells that nothing may be removed now: CLIENT PAUSE, DEBUG PAUSE-CRON.
	Hold func() bool

	// Took, if set, is told how long each batch took: TookSweep.
	Took func(job string, took time.Duration)

	Interval  time.Duration // between looks at the rows: 100 ms
	BatchKeys int           // keys in a batch, 256: how long the lock is held
	Log       *slog.Logger
}

// TookSweep is what SweeperOptions.Took is told about: the name is that of a latency event.
const TookSweep = "expire-cycle"

// Sweeper removes keys, and fields of hashes, past their time. They are invisible without it: it gives space and exact counters back.
//
// Its goroutine sleeps at least three times as long as its batches take, so that it never needs more than a quarter of the writer.
type Sweeper struct {
	opts   SweeperOptions
	paused atomic.Bool

	mu        sync.Mutex
	positions map[uint32]position // per keyspace; guarded by mu

	stop chan struct{}
	done chan struct{}
}

// position is a hint where the due rows of a keyspace begin. It saves walking over what earlier batches deleted.
type position struct {
	at     int64 // rows before it are gone
	pulled int64 // but for those from here on, written since at was read; 0: none
}

// NewSweeper returns a sweeper that does not run yet.
func NewSweeper(opts SweeperOptions) *Sweeper {
	if opts.Interval == 0 {
		opts.Interval = 100 * time.Millisecond
	}
	if opts.BatchKeys == 0 {
		opts.BatchKeys = 256
	}
	if opts.Took == nil {
		opts.Took = func(string, time.Duration) {}
	}
	return &Sweeper{opts: opts, positions: make(map[uint32]position)}
}

// Start makes the sweeper's goroutine. Its owner calls Stop before the store closes.
func (s *Sweeper) Start() {
	s.stop, s.done = make(chan struct{}), make(chan struct{})
	go s.run()
}

// Stop ends the goroutine and waits for it. A sweeper that was never started stops at once.
func (s *Sweeper) Stop() {
	if s.stop == nil {
		return
	}
	close(s.stop)
	<-s.done
	s.stop = nil
}

// SetActive is DEBUG SET-ACTIVE-EXPIRE: an inactive sweeper removes nothing.
func (s *Sweeper) SetActive(active bool) { s.paused.Store(!active) }

func (s *Sweeper) held() bool { return s.paused.Load() || s.opts.Hold != nil && s.opts.Hold() }

// PullBack says that a row was written with a time that is already past: the sweeper may have walked by.
func (s *Sweeper) PullBack(expireAtMs int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for keyspace, p := range s.positions {
		if p.pulled == 0 || expireAtMs < p.pulled {
			p.pulled = expireAtMs
			s.positions[keyspace] = p
		}
	}
}

// start returns where to look for due rows.
func (s *Sweeper) start(keyspace uint32) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.positions[keyspace]
	if p.pulled != 0 {
		p.at = min(p.at, p.pulled)
	}
	p.pulled = 0
	s.positions[keyspace] = p
	return p.at
}

// advance moves the position to that of the last row removed, or of the first one that was not.
func (s *Sweeper) advance(keyspace uint32, expireAtMs int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.positions[keyspace]
	p.at = expireAtMs
	s.positions[keyspace] = p
}

func (s *Sweeper) run() {
	defer close(s.done)
	for {
		if err := s.pass(); err != nil {
			// The node does not evaluate, is short of disk, or shuts down: start over later.
			s.reset()
			if s.opts.Log != nil && !errors.Is(err, storage.ErrNotEvaluating) && !errors.Is(err, storage.ErrClosed) {
				s.opts.Log.Warn("expired keys could not be removed", "error", err)
			}
			if s.sleep(time.Second) {
				return
			}
		}
		if s.sleep(s.opts.Interval) {
			return
		}
	}
}

// pass looks once at every keyspace.
func (s *Sweeper) pass() error {
	settled, back := s.opts.Clock.Check()
	if back {
		s.reset()
	}
	if !settled || s.held() {
		return nil
	}
	keyspaces, err := s.opts.Keyspaces()
	if err != nil {
		return err
	}
	for _, keyspace := range keyspaces {
		if err := s.Sweep(keyspace); err != nil {
			return err
		}
	}
	s.forgetAllBut(keyspaces)
	return nil
}

// Sweep removes what is due in one keyspace, batch by batch.
func (s *Sweeper) Sweep(keyspace uint32) error {
	for !s.held() {
		start := time.Now()
		rows, err := s.due(keyspace, s.opts.Clock.Now())
		if err != nil || len(rows) == 0 {
			return err
		}
		done, err := s.opts.Remove(rows)
		if err != nil {
			return err
		}
		s.opts.Took(TookSweep, time.Since(start))
		next, _ := DecodeRow(rows[min(done, len(rows)-1)])
		s.advance(keyspace, next.ExpireAtMs)
		if done == len(rows) && len(rows) < s.opts.BatchKeys || s.sleep(3*time.Since(start)) {
			return nil
		}
	}
	return nil
}

// due returns the keys of up to BatchKeys rows whose time is past, oldest first.
func (s *Sweeper) due(keyspace uint32, nowMs int64) (rows [][]byte, err error) {
	from := s.start(keyspace)
	if from >= nowMs {
		return nil, nil
	}
	lower, upper := appendBound(nil, keyspace, from), appendBound(nil, keyspace, nowMs)
	view, err := s.opts.View()
	if err != nil {
		return nil, err
	}
	defer view.Close()
	it := view.Iterate(lower, upper)
	defer it.Close()
	for ok := it.Seek(lower); ok && len(rows) < s.opts.BatchKeys; ok = it.Next() {
		rows = append(rows, append([]byte(nil), it.Key()...))
	}
	return rows, it.Err()
}

// reset makes the next pass start at the beginning of every keyspace.
func (s *Sweeper) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.positions)
}

func (s *Sweeper) forgetAllBut(keyspaces []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.positions) <= len(keyspaces) {
		return
	}
	live := make(map[uint32]bool, len(keyspaces))
	for _, k := range keyspaces {
		live[k] = true
	}
	for k := range s.positions {
		if !live[k] {
			delete(s.positions, k)
		}
	}
}

// sleep waits; stopped is true if the sweeper is to end.
func (s *Sweeper) sleep(d time.Duration) (stopped bool) {
	if s.stop == nil { // Sweep was called without Start
		time.Sleep(d)
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.stop:
		return true
	case <-timer.C:
		return false
	}
}
