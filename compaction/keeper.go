package compaction

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sett/storage"
	"sett/threads"
)

// Layout is what a keeper has to know of keys; package types has the answers.
type Layout struct {
	// Dead is where the dead records lie. Doomed returns what lies under the id of one, in the order in which it is removed; ok is false if
	// it has to stay.
	Dead   storage.Range
	Doomed func(key, value []byte) (ranges []storage.Range, ok bool)

	// A dead keyspace takes with it what its records own. Estate returns where they lie, the counter that goes with the keyspace, and the key of a
	// note that says that all of them were noted; Bequest the keys of notes of what one of them owns, which lie in Noted and are to Doomed what
	// dead records are. All notes have NoteValue.
	Estate    func(key []byte) (owners storage.Range, counter, noted []byte, ok bool)
	Bequest   func(key, value []byte) (notes [][]byte, err error)
	Noted     storage.Range
	NoteValue []byte

	// Headers and Chunks of blobs, both in the order of ids; a chunk without its header is garbage.
	Headers, Chunks storage.Range
	AppendHeaderOf  func(dst, chunk []byte) []byte

	// Fate tells what records are, for estimates of what is dead; without it there are none.
	Fate storage.Fate
}

// Options wire a keeper. Zero durations get defaults.
type Options struct {
	Store  *storage.Store
	Layout Layout
	Log    *slog.Logger

	Interval     time.Duration // between looks at the dead records: 1 s
	CollectEvery time.Duration // between looks at the value log: 1 min
	LookEvery    time.Duration // between looks at what was deleted: 5 s

	Tuning Tuning // see SetTuning
}

// Tuning is what may change while the keeper works.
type Tuning struct {
	Rate                  int64         // bytes per second that all jobs read and write: 64 MiB
	TTLInterval           time.Duration // between samples of the last level; 0: never
	TTLRatio              float64       // the part of a table that must be dead: 0.25
	TombstoneRatio        float64       // deletions for each record of a range; 0.3
	ValueLogAmplification float64       // the value log over what lives in it: 1.5
}

func (t Tuning) withDefaults() *Tuning {
	if t.Rate == 0 {
		t.Rate = 64 << 20
	}
	for _, d := range []struct {
		p *float64
		v float64
	}{{&t.TTLRatio, 0.25}, {&t.TombstoneRatio, 0.3}, {&t.ValueLogAmplification, 1.5}} {
		if *d.p == 0 {
			*d.p = d.v
		}
	}
	return &t
}

// Keeper removes what is dead and collects the value log.
type Keeper struct {
	opts Options

	// job is held by whoever works on Badger: garbage collection, compactions, reclaiming. It guards what follows.
	job        sync.Mutex
	until      <-chan struct{}   // what the job waits for it waits for until this is closed
	cleared    map[string]uint64 // dead records of which nothing is left, and the version that has to be durable before they go
	bequeathed map[string]uint64 // dead keyspaces of which all is noted, and the version of that
	unsettled  bool              // chunks were removed, and Badger has not been told by compactions
	survey     survey            // the last one
	next       time.Time         // not before then the next one
	collects   time.Time         // then the value log is looked at again
	searched   time.Time         // when forgotten files were looked for
	sampled    time.Time         // when the last level was
	deathAbove bool              // and what its dead died of was not found below level 0
	paid       idleness          // whether anybody has written since rate was asked for the last time
	nobody     idleness          // whether anybody has written since the keeper's last turn
	deletions  looks
	worth      int64 // worthDeletions; less in tests

	tuned atomic.Pointer[Tuning]

	sample sampling
	scrubs scrubbing

	turn struct {
		sync.Mutex
		end    chan struct{} // closed when the last job in the background has to end; nil: it was
		urgent int           // of those who let none begin
	}

	halted  atomic.Bool // Halt
	jobs    [jobCount]job
	started bool
	stop    chan struct{}
	done    chan struct{}
	stats   Stats
}

// Stats are a keeper's figures. All but the counters are as of the last look.
type Stats struct {
	DeadWaiting    atomic.Int64 // dead records whose records, or they themselves, are still there
	ReclaimedIDs   atomic.Uint64
	ReclaimedKeys  atomic.Uint64
	Orphans        atomic.Uint64 // chunks without a header that were removed
	BlobBytes      atomic.Int64  // chunks of live blobs as they lie in the value log; -1: not known yet
	ForgottenBytes atomic.Int64  // dead in value log files, and Badger does not know
	Collections    atomic.Uint64 // runs of Collect that rewrote something
	CollectedFiles atomic.Uint64
	LastCollectMs  atomic.Int64 // when the last one ended, unix ms; 0: none
	ScrubbedBytes  atomic.Uint64
	LastScrubMs    atomic.Int64 // when the last scrub found nothing, unix ms; 0: none

	Compactions     atomic.Uint64 // of ranges and tables, that the keeper asked for
	CompactionsBusy atomic.Uint64 // … that were left out, because Badger was at work there all the time
	CompactedBytes  atomic.Uint64 // read and written by them
	CompactedAway   atomic.Uint64 // records that they dropped
}

// New returns a keeper that does nothing by itself yet.
func New(o Options) *Keeper {
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.CollectEvery == 0 {
		o.CollectEvery = time.Minute
	}
	if o.LookEvery == 0 {
		o.LookEvery = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{opts: o, cleared: make(map[string]uint64), bequeathed: make(map[string]uint64), unsettled: true, stop: make(chan struct{}), done: make(chan struct{})}
	k.stats.BlobBytes.Store(-1)
	k.sampled, k.worth = time.Now(), worthDeletions
	k.collects = k.sampled.Add(o.CollectEvery / 10) // who is restarted again and again gets there, too
	k.SetTuning(o.Tuning)
	return k
}

// Stats returns the keeper's figures.
func (k *Keeper) Stats() *Stats { return &k.stats }

// SetTuning changes how the keeper works, from its next step on. Zeros get defaults, but for the interval.
func (k *Keeper) SetTuning(t Tuning) { k.tuned.Store(t.withDefaults()) }

func (k *Keeper) tuning() *Tuning { return k.tuned.Load() }

// Start makes the keeper's goroutine. Its owner calls Stop before the store closes.
func (k *Keeper) Start() {
	k.started = true
	go k.run()
}

// Stop ends whatever the keeper is doing, and its goroutine if there is one. It is called once.
func (k *Keeper) Stop() {
	close(k.stop)
	k.interrupt()
	if k.started {
		<-k.done
	}
	k.job.Lock() // somebody else's, which ends as well
	defer k.job.Unlock()
}

// Halt is DEBUG PAUSE-CRON: until it is called with false the keeper does nothing by itself.
func (k *Keeper) Halt(halt bool) { k.halted.Store(halt) }

func (k *Keeper) run() {
	threads.GiveWay()
	defer close(k.done)
	for !waits(k.opts.Interval, k.stop) {
		if k.halted.Load() {
			continue
		}
		k.nobody.look(k.opts.Store)
		k.background("reclaim", func() error { return k.reclaim(false) })
		k.background("sample", k.sampleIfDue)
		k.background("scrub", k.scrubIfDue)
		k.background("tombstones", k.compactTombstones)
		k.background("ttl", k.compactExpired)
		k.background("collect", k.collectIfDue)
	}
}

// looks are when the keeper looks at what was deleted again: not before next and, while others write, not before rested.
type looks struct{ next, rested time.Time }

// idleness is whether nobody has written between two looks.
type idleness struct {
	batches uint64
	now     bool
}

func (i *idleness) look(s *storage.Store) {
	batches := s.Stats().Batches.Load()
	i.now, i.batches = batches == i.batches, batches
}

// background does a job by itself: one that ends when somebody else has one, or Stop comes, and begins anew the next time.
func (k *Keeper) background(name string, job func() error) {
	k.job.Lock()
	defer k.job.Unlock()
	if until, ok := k.begin(); ok {
		k.complain(name, k.jobUntil(until, job))
	}
}

// begin returns what is closed when a job in the background has to end; ok is false if it must not begin.
func (k *Keeper) begin() (until chan struct{}, ok bool) {
	k.turn.Lock()
	defer k.turn.Unlock()
	if k.turn.urgent > 0 {
		return nil, false
	}
	k.turn.end = make(chan struct{})
	return k.turn.end, true
}

// interrupt ends the job in the background, if there is one, and lets none begin until release is called.
func (k *Keeper) interrupt() (release func()) {
	k.turn.Lock()
	defer k.turn.Unlock()
	if k.turn.urgent++; k.turn.end != nil {
		close(k.turn.end)
		k.turn.end = nil
	}
	return func() {
		k.turn.Lock()
		defer k.turn.Unlock()
		k.turn.urgent--
	}
}

// exclusively does somebody else's job: one that ends when Stop comes. A job in the background ends for it.
func (k *Keeper) exclusively(job func() error) error {
	defer k.interrupt()()
	k.job.Lock()
	defer k.job.Unlock()
	return k.jobUntil(k.stop, job)
}

// jobUntil does a job; k.job is held. What it waits for ends with until.
func (k *Keeper) jobUntil(until <-chan struct{}, job func() error) error {
	k.until = until
	select {
	case <-k.stop:
		return storage.ErrStopped
	default:
	}
	if damage := k.opts.Store.Damage(); damage != "" {
		return errDamage // what cannot be read may look dead, and what is written anew hides where it was
	}
	return job()
}

func (k *Keeper) sleep(d time.Duration) (stopped bool) { return waits(d, k.until) }

func waits(d time.Duration, until <-chan struct{}) (stopped bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-until:
		return true
	case <-timer.C:
		return false
	}
}

var errDamage = errors.New("nothing is given back while there is damage: run `sett check`")

func (k *Keeper) complain(job string, err error) {
	switch {
	case err == nil, errors.Is(err, errDamage), errors.Is(err, storage.ErrStopped), errors.Is(err, storage.ErrClosed), errors.Is(err, storage.ErrFlushPaused), errors.Is(err, storage.ErrBusy):
	default:
		k.opts.Log.Warn("space could not be given back", "job", job, "err", err)
	}
}

// Reclaim removes all that is dead now, with its dead records and orphaned chunks, without regard for others. For tests and operators.
func (k *Keeper) Reclaim() error {
	return k.exclusively(func() error {
		if err := k.opts.Store.Barrier(); err != nil { // what died before is dead at a durable index
			return err
		}
		if err := k.reclaim(true); err != nil {
			return err
		}
		if err := k.opts.Store.Barrier(); err != nil {
			return err
		}
		if err := k.reclaim(true); err != nil {
			return err
		}
		if err := k.surveyNow(); err != nil {
			return err
		}
		return k.takeSample()
	})
}

// Collect gives back whatever the value log holds of dead blobs, without regard for others. For tests and operators.
func (k *Keeper) Collect() error {
	return k.exclusively(func() error {
		if err := k.settle(); err != nil {
			return err
		}
		if err := k.collect(); err != nil {
			return err
		}
		return k.findForgotten()
	})
}

// Compact brings all deletions down to what they delete, whatever that costs. For tests and operators.
func (k *Keeper) Compact() error {
	return k.exclusively(func() error {
		k.deletions = looks{}
		counted := k.opts.Store.Deletions(k.opts.Store.Tables())
		if _, err := k.compactRanges([]storage.Range{{Upper: end}}, true); err != nil {
			return err
		}
		k.compacted(counted, counted)
		return nil
	})
}

// Reload does what a restart of the store does, with no job on Badger under way: one may hold it open twice. A job in the background ends for it.
func (k *Keeper) Reload() error {
	defer k.interrupt()()
	k.job.Lock()
	defer k.job.Unlock()
	return k.opts.Store.Reload()
}

// Replace switches the store to a copy of another node's data, with no job on Badger under way, and forgets what it knew of the old ones: what was dead
// in them may live in the new.
func (k *Keeper) Replace(copied *storage.Import) error {
	defer k.interrupt()()
	k.job.Lock()
	defer k.job.Unlock()
	if err := k.opts.Store.Replace(copied); err != nil {
		return err
	}
	k.cleared, k.bequeathed = make(map[string]uint64), make(map[string]uint64)
	k.unsettled, k.survey, k.next = true, survey{}, time.Time{}
	k.stats.BlobBytes.Store(-1)
	k.stats.DeadWaiting.Store(0)
	return nil
}
