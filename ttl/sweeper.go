package ttl

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sett/storage"
	"sett/threads"
)

// SweeperOptions wire a sweeper. Zero durations and numbers get defaults.
type SweeperOptions struct {
	View      func() (*storage.View, error) // a view at this moment: storage.Store.View
	Clock     *Clock
	Keyspaces func() ([]uint32, error) // those to sweep

	// Remove deletes the keys, or the fields of hashes, of due expiry rows, as one batch, if the rows are as the view saw them, or else their meta
	// records say so. It returns how many rows it is done with – from the first one on that it is not, they are to come again – and how long it kept
	// others from the lock: it may have had to read records, which disturbs nobody.
	Remove func(view *storage.View, rows []Due) (done int, locked time.Duration, err error)

	// Hold, if set, tells that nothing may be removed now: CLIENT PAUSE, DEBUG PAUSE-CRON.
	Hold func() bool

	// Took, if set, is told how long each batch took: TookSweep.
	Took func(job string, took time.Duration)

	Interval  time.Duration // between looks at the rows: 100 ms
	BatchKeys int           // most keys in a batch: 256
	LookKeys  int           // rows that one look takes: 8 × BatchKeys
	Log       *slog.Logger
}

// TookSweep is what SweeperOptions.Took is told about: the name is that of a latency event.
const TookSweep = "expire-cycle"

// Sweeper removes keys, and fields of hashes, past their time. They are invisible without it: it gives space and exact counters back.
//
// It takes turns: a batch is as large as fits into batchTime, because others wait for the lock meanwhile, and after it the sweeper rests as long
// as rest says, so that any number of keys that die at once is removed evenly, beside everybody else.
type Sweeper struct {
	opts   SweeperOptions
	paused atomic.Bool
	fits   int // keys in a batch that takes batchTime; sweeper goroutine only

	rows []Due  // of the last look; sweeper goroutine only, as the next
	text []byte // what they point into

	mu        sync.Mutex
	positions map[uint32]position // per keyspace; guarded by mu

	stop chan struct{}
	done chan struct{}
}

const (
	// batchTime is how long a batch may keep the lock.
	batchTime = 250 * time.Microsecond
	// Rows that are late by lateFrom make the sweeper hurry, and the more so up to lateTo.
	lateFrom = 200 * time.Millisecond
	lateTo   = time.Second
)

// rest is how long the sweeper rests after a batch. While it keeps up it takes a quarter of the time at most. When it is behind, all the time that
// there is, but no more than half of the lock's.
func rest(late, took, locked time.Duration) time.Duration {
	calm, hurried := 3*took, max(0, 2*locked-took)
	hurry := float64(late-lateFrom) / float64(lateTo-lateFrom)
	return calm - time.Duration(float64(calm-hurried)*min(max(hurry, 0), 1))
}

// position is what the sweeper knows of a keyspace.
type position struct {
	at     int64 // rows before it are gone: a hint that saves walking over what earlier batches deleted
	pulled int64 // but for those from here on, written since at was read; 0: none

	// As of the last look.
	due     int64   // the time of the oldest row that is due; 0: none is
	rows    int     // that were read, and are due
	density float64 // of them in a ms; 0: they were all there are
}

// Backlog is what the sweeper has before it.
type Backlog struct {
	Lag  time.Duration // how long past its time the oldest row is; 0: none is
	Rows int64         // about so many are due
}

// firstBatchKeys is the size of a batch before it is known how many keys fit into batchTime.
const firstBatchKeys = 64

// NewSweeper returns a sweeper that does not run yet.
func NewSweeper(opts SweeperOptions) *Sweeper {
	if opts.Interval == 0 {
		opts.Interval = 100 * time.Millisecond
	}
	if opts.BatchKeys == 0 {
		opts.BatchKeys = 256
	}
	if opts.LookKeys == 0 {
		opts.LookKeys = 8 * opts.BatchKeys
	}
	if opts.Took == nil {
		opts.Took = func(string, time.Duration) {}
	}
	return &Sweeper{opts: opts, fits: min(opts.BatchKeys, firstBatchKeys), positions: make(map[uint32]position)}
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

// Backlog tells what the sweeper has before it. Any goroutine may call it.
func (s *Sweeper) Backlog() (b Backlog) {
	now := s.opts.Clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.positions {
		if p.due == 0 || p.due >= now {
			continue
		}
		late := now - p.due
		b.Lag = max(b.Lag, time.Duration(late)*time.Millisecond)
		b.Rows += max(int64(p.rows), int64(p.density*float64(late)))
	}
	return b
}

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

// found notes what a look has found.
func (s *Sweeper) found(keyspace uint32, rows []Due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.positions[keyspace]
	p.due, p.rows, p.density = 0, len(rows), 0
	if len(rows) > 0 {
		oldest, _ := DecodeRow(rows[0].Key)
		newest, _ := DecodeRow(rows[len(rows)-1].Key)
		p.due = oldest.ExpireAtMs
		if len(rows) == s.opts.LookKeys {
			p.density = float64(len(rows)) / float64(newest.ExpireAtMs-oldest.ExpireAtMs+1)
		}
	}
	s.positions[keyspace] = p
}

// advance moves the position to that of the last row removed, or of the first one that was not.
func (s *Sweeper) advance(keyspace uint32, expireAtMs int64, rows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.positions[keyspace]
	p.at, p.due, p.rows = expireAtMs, expireAtMs, rows
	s.positions[keyspace] = p
}

func (s *Sweeper) run() {
	threads.GiveWay()
	defer close(s.done)
	for {
		more, err := s.pass()
		if err != nil {
			// The node does not evaluate, is short of disk, or shuts down: start over later.
			s.reset()
			if s.opts.Log != nil && !errors.Is(err, storage.ErrNotEvaluating) && !errors.Is(err, storage.ErrClosed) {
				s.opts.Log.Warn("expired keys could not be removed", "error", err)
			}
			if s.sleep(time.Second) {
				return
			}
		}
		if !more && s.sleep(s.opts.Interval) {
			return
		}
		select {
		case <-s.stop:
			return
		default:
		}
	}
}

// pass looks once at every keyspace, so that none has to wait until all that is due in another is gone. more tells that there was too much for
// one look.
func (s *Sweeper) pass() (more bool, err error) {
	settled, back := s.opts.Clock.Check()
	if back {
		s.reset()
	}
	keyspaces, err := s.opts.Keyspaces()
	if err != nil {
		return false, err
	}
	s.forgetAllBut(keyspaces)
	for _, keyspace := range keyspaces {
		look := s.look
		if !settled || s.held() {
			look = s.watch
		}
		left, err := look(keyspace)
		if err != nil {
			return false, err
		}
		more = more || left
	}
	return more, nil
}

// Sweep removes all that is due in one keyspace.
func (s *Sweeper) Sweep(keyspace uint32) error {
	for !s.held() {
		if more, err := s.look(keyspace); !more || err != nil {
			return err
		}
	}
	return nil
}

// watch looks at a keyspace and removes nothing.
func (s *Sweeper) watch(keyspace uint32) (more bool, err error) {
	err = s.with(keyspace, func(*storage.View, []Due) error { return nil })
	return false, err
}

// look removes rows of a keyspace that are due, batch by batch, as many as it reads at once. more tells that others are.
func (s *Sweeper) look(keyspace uint32) (more bool, err error) {
	err = s.with(keyspace, func(view *storage.View, rows []Due) (err error) {
		more, err = s.remove(keyspace, view, rows)
		return err
	})
	return more && err == nil, err
}

// remove removes rows that a look has found. more tells that others are due.
func (s *Sweeper) remove(keyspace uint32, view *storage.View, rows []Due) (more bool, err error) {
	more = len(rows) == s.opts.LookKeys
	for len(rows) > 0 {
		if s.held() {
			return false, nil
		}
		left, stopped, err := s.batch(keyspace, view, rows)
		if err != nil || stopped {
			return false, err
		}
		if len(left) == len(rows) {
			return true, nil // a hash has more fields that are due than a batch removes: others have their turn before the next
		}
		rows = left
	}
	if !more {
		s.found(keyspace, nil)
	}
	return more, nil
}

// batch removes the first of some rows, and rests.
func (s *Sweeper) batch(keyspace uint32, view *storage.View, rows []Due) (left []Due, stopped bool, err error) {
	oldest, _ := DecodeRow(rows[0].Key)
	late := time.Duration(s.opts.Clock.Now()-oldest.ExpireAtMs) * time.Millisecond
	n := min(len(rows), s.fits)
	start := time.Now()
	done, locked, err := s.opts.Remove(view, rows[:n])
	if err != nil {
		return nil, false, err
	}
	took := time.Since(start)
	s.opts.Took(TookSweep, took)
	s.fit(done, locked)
	next, _ := DecodeRow(rows[min(done, len(rows)-1)].Key)
	s.advance(keyspace, next.ExpireAtMs, len(rows)-done)
	return rows[done:], s.sleep(rest(late, took, locked)), nil
}

// fit moves the size of batches towards what fits into batchTime; one that was slow by chance shall not make all others small.
func (s *Sweeper) fit(done int, locked time.Duration) {
	fits := float64(max(1, done)) * float64(batchTime) / float64(max(locked, time.Microsecond))
	s.fits = int(min(max(1, fits, float64(s.fits)/2), 2*float64(s.fits), float64(s.opts.BatchKeys)))
}

// with calls do with the rows of up to LookKeys keys whose time is past, oldest first, if there are any, and with the view that has seen them. They are
// valid until it returns.
func (s *Sweeper) with(keyspace uint32, do func(view *storage.View, rows []Due) error) error {
	from, nowMs := s.start(keyspace), s.opts.Clock.Now()
	if from >= nowMs {
		return nil
	}
	view, err := s.opts.View()
	if err != nil {
		return err
	}
	defer view.Close()
	if err := s.read(view, appendBound(nil, keyspace, from), appendBound(nil, keyspace, nowMs)); err != nil {
		return err
	}
	s.found(keyspace, s.rows)
	return do(view, s.rows)
}

// read sets rows to the first LookKeys of a range.
func (s *Sweeper) read(view *storage.View, lower, upper []byte) error {
	s.rows, s.text = s.rows[:0], s.text[:0]
	it := view.Iterate(lower, upper)
	defer it.Close()
	for ok := it.Seek(lower); ok && len(s.rows) < s.opts.LookKeys; ok = it.Next() {
		n := len(s.text)
		s.text = append(append(s.text, it.Key()...), it.Value()...)
		key := n + len(it.Key())
		s.rows = append(s.rows, Due{Key: s.text[n:key:key], Value: s.text[key:len(s.text):len(s.text)]})
	}
	return it.Err()
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
