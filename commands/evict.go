package commands

import (
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// EvictorOptions wire an evictor.
type EvictorOptions struct {
	// Hold, if set, tells that nothing may be removed now: CLIENT PAUSE.
	Hold func() bool

	// Took, if set, is told how long each batch took: TookEvict.
	Took func(job string, took time.Duration)

	Log *slog.Logger
}

// TookEvict is what EvictorOptions.Took is told about: the name is that of a latency event.
const TookEvict = "eviction-cycle"

// Evictor removes keys when there is more data than the limits allow, as maxmemory_policy says which. Its goroutine looks for candidates without
// the lock and removes them as ordinary batches, so that replicas agree, counters are exact, and a key of any size costs the same.
type Evictor struct {
	opts   EvictorOptions
	data   *DataSet
	search search
	disk   diskLimit
	call   Call // of its batches
	over   bool // there was too much data at the last look, more than writers may be ahead, …
	since  time.Time
	failed bool // the last batch could not be written

	overSinceMs atomic.Int64 // unix ms; 0: there is not too much

	stop chan struct{}
	done chan struct{}
}

const (
	// evictInterval is how often the evictor looks by itself: there may be a little too much data for so long.
	evictInterval = 100 * time.Millisecond

	// A batch is of so many keys at most: how long the lock is held. If more writers wait, it is of more keys, so that the evictor gains on them.
	evictBatch    = 128
	evictBatchMax = 1024
)

// NewEvictor returns an evictor that does not run yet.
func NewEvictor(d *DataSet, opts EvictorOptions) *Evictor {
	if opts.Took == nil {
		opts.Took = func(string, time.Duration) {}
	}
	return &Evictor{opts: opts, data: d, search: search{data: d}, call: Call{Row: evictRow, W: &resp.Writer{}}}
}

// Start makes the evictor's goroutine. Its owner calls Stop before the store closes.
func (e *Evictor) Start() {
	e.stop, e.done = make(chan struct{}), make(chan struct{})
	_, _ = e.data.recount() // if it fails, the first batch does
	e.data.limits.evicting.Store(true)
	e.data.evictor.Store(e)
	go e.run()
}

// Stop ends the goroutine and waits for it. An evictor that was never started stops at once.
func (e *Evictor) Stop() {
	if e.stop == nil {
		return
	}
	close(e.stop)
	<-e.done
	e.stop = nil
}

func (e *Evictor) run() {
	l := &e.data.limits
	defer close(e.done)
	defer l.release()
	defer l.evicting.Store(false)
	tick := time.NewTicker(evictInterval)
	defer tick.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-l.work:
		case <-tick.C:
		}
		e.disk.look(e.data, time.Now())
		err := e.pass()
		l.release()
		e.report(err)
	}
}

// report logs the first of several errors. While there is one nobody waits for the evictor: writers are refused if there is too much data.
func (e *Evictor) report(err error) {
	failed := err != nil
	e.data.limits.evicting.Store(!failed)
	if failed && !e.failed && e.opts.Log != nil && !errors.Is(err, storage.ErrNotEvaluating) && !errors.Is(err, storage.ErrClosed) {
		e.opts.Log.Warn("keys could not be evicted", "error", err)
	}
	e.failed = failed
}

// pass removes keys until there are few enough.
func (e *Evictor) pass() error {
	l := &e.data.limits
	for fruitless := 0; !e.stopped(); {
		bound := l.bound()
		if bound == 0 {
			e.note(false)
			return nil
		}
		tallies, err := e.data.recount()
		if err != nil {
			return err
		}
		excess, p := l.used.Load()-bound, l.policy.Load()
		stuck := !p.evicts || p.volatile && l.mortal.Load() == 0 || e.opts.Hold != nil && e.opts.Hold()
		e.note(excess > ahead(bound) || excess > 0 && stuck)
		if excess <= 0 || stuck {
			return nil
		}
		gone, err := e.batch(p, tallies, excess)
		if err != nil {
			return err
		}
		l.release()
		if gone > 0 {
			fruitless = 0
		} else if fruitless++; fruitless > len(tallies) {
			return nil // others were quicker: what the counters tell of is no longer there
		}
	}
	return nil
}

// note keeps the time that there was too much data.
func (e *Evictor) note(over bool) {
	switch now := time.Now(); {
	case over && !e.over:
		e.since = now
		e.overSinceMs.Store(now.UnixMilli())
	case !over && e.over:
		e.data.stats.OverLimitMs.Add(uint64(now.Sub(e.since).Milliseconds()))
		e.overSinceMs.Store(0)
	}
	e.over = over
}

func (e *Evictor) stopped() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// batch removes about as many keys as have so many bytes.
func (e *Evictor) batch(p *policy, tallies []dbTally, excess int64) (gone int, err error) {
	start := time.Now()
	l := &e.data.limits
	keys, bytes := int64(0), int64(0)
	for _, t := range tallies {
		keys, bytes = keys+t.Keys, bytes+t.Bytes
	}
	most := max(evictBatch, min(2*l.waiting.Load(), evictBatchMax))
	n := min(excess/max(bytes/max(keys, 1), 1)+1, most)
	victims, err := e.search.victims(p, tallies, int(n), e.data.clock.Now())
	if err != nil || len(victims) == 0 {
		return 0, err
	}
	gone, err = e.data.evict(&e.call, eviction{volatile: p.volatile, excess: excess}, victims)
	e.opts.Took(TookEvict, time.Since(start))
	return gone, err
}

// eviction is what one batch of the evictor is to do.
type eviction struct {
	volatile bool  // only keys with a time to live
	excess   int64 // bytes to remove
	keys     int   // result: how many were
}

// evictRow is in no table: no client can call it.
var evictRow = &Row{Name: "evict", Write: evict, Deletes: true}

// evict removes the keys that have the given meta keys, one after the other, until enough is removed.
// It returns how many there were, those past their time included.
func (d *DataSet) evict(c *Call, what eviction, metaKeys [][]byte) (gone int, err error) {
	c.Args = metaKeys
	d.begin(c)
	c.update.evict = what
	if err := d.store.Admit(true); err != nil {
		return 0, err
	}
	if err := d.store.Update(&c.txn, (*writeRound)(c)); err != nil {
		return 0, err
	}
	d.stats.Evicted.Add(uint64(c.update.evict.keys))
	return c.update.evict.keys + c.update.ledger.Expired, d.end(c, nil)
}

// evict looks at the keys again: since they were chosen they may have gone, or been given a time to live, or their database been flushed.
func evict(u *Update) error {
	e := &u.evict
	e.keys = 0
	if err := u.txn.Need(u.Args...); err != nil {
		return err
	}
	spaces, err := u.set.spaces(u.txn)
	if err != nil {
		return err
	}
	changes := u.ledger.Changes
	for _, key := range u.Args {
		if -u.txn.Counted().Bytes >= e.excess {
			break
		}
		if !slices.Contains(spaces, types.MetaKeyspace(key)) {
			continue
		}
		r, err := u.ledger.Open(key, nil)
		if damaged(err) {
			continue
		}
		if err != nil {
			return err
		}
		if r.Exists && (!e.volatile || r.ExpireAtMs != 0) {
			u.ledger.Remove(&r)
			e.keys++
		}
	}
	u.ledger.Changes = changes // nobody has changed anything: as in Redis it is no reason to save
	return nil
}

// damaged tells whether a record cannot be read. Who watches over the server has been told; it stays, and others go.
func damaged(err error) bool {
	var corrupt *storage.CorruptError
	return errors.As(err, &corrupt)
}

// Limits shows what there is, and how much of it there may be.
func (d *DataSet) Limits() Limits {
	l := &d.limits
	_, _ = d.recount() // if it fails nobody is served, and what was there last is shown
	shown := Limits{UsedBytes: l.used.Load(), BoundBytes: l.bound()}
	if e := d.evictor.Load(); e != nil {
		shown.DiskBytes = e.disk.bytes.Load()
		if since := e.overSinceMs.Load(); since != 0 {
			shown.OverLimitMs = max(0, time.Now().UnixMilli()-since)
		}
	}
	return shown
}
