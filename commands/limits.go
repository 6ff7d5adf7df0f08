package commands

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sett/storage"
	"sett/types"
)

// limits say how much data there may be, and what goes if there is more: maxmemory, max_disk, maxmemory_policy and its like. Data are the names
// and values of all databases, as the keyspaces' counters have them, wherever they lie.
//
// Above the limit the evictor (evict.go) removes keys behind everybody's back. Whoever adds data is ahead of it by up to a 256th of the limit,
// and waits for one of its batches, or more, when it is further behind. So its batches are of many keys, and what fits is never evicted.
type limits struct {
	maxBytes  atomic.Int64 // maxmemory; 0: there is none
	maxDisk   atomic.Int64 // max_disk; 0: there is none
	diskBound atomic.Int64 // how many bytes of data fit into max_disk, as far as the evictor has found out; 0: not known, or as many as one likes
	diskFull  atomic.Bool  // the data directory is larger than max_disk
	policy    atomic.Pointer[policy]
	samples   atomic.Int64 // maxmemory_samples
	patience  atomic.Int64 // maxmemory_eviction_tenacity: for how long a writer waits, ns

	// What there is: exact when it was counted last, and near to it since. Noted under the data set's lock, counted again by the evictor.
	used      atomic.Int64 // bytes
	mortal    atomic.Int64 // keys with a time to live
	uncounted atomic.Bool  // they were not counted since there is a limit

	evicting atomic.Bool   // there is an evictor, and nothing holds it up
	waiting  atomic.Int64  // writers that do
	work     chan struct{} // the evictor is to look

	mu    sync.Mutex
	batch chan struct{} // closed when the next batch has ended; nil: nobody asked; guarded by mu
}

// policy is maxmemory_policy.
type policy struct {
	evicts   bool
	volatile bool // only keys with a time to live
	by       order
}

// order is by what keys are chosen.
type order byte

const (
	byUse       order = iota // the one that was used longest ago
	byFrequency              // the one that is used least often
	byTime                   // the one that dies first
	byChance
)

// parsePolicy reads a policy's name, which config has checked.
func parsePolicy(name string) *policy {
	which, by, _ := strings.Cut(name, "-")
	p := &policy{evicts: by != "", volatile: which == "volatile"}
	switch by {
	case "lfu":
		p.by = byFrequency
	case "ttl":
		p.by = byTime
	case "random":
		p.by = byChance
	}
	return p
}

func (l *limits) init() {
	l.work = make(chan struct{}, 1)
	l.policy.Store(parsePolicy("noeviction"))
	l.samples.Store(5)
	l.patience.Store(int64(patience(10)))
}

// patience is what a tenacity means in Redis: up to half a millisecond, then 15 % more for each further step, and no end at 100.
func patience(tenacity int) time.Duration {
	switch {
	case tenacity <= 10:
		return time.Duration(tenacity) * 50 * time.Microsecond
	case tenacity < 100:
		return time.Duration(500 * math.Pow(1.15, float64(tenacity-10)) * float64(time.Microsecond))
	}
	return math.MaxInt64
}

// bound is how many bytes of data there may be; 0: there is no limit.
func (l *limits) bound() int64 {
	bytes, disk := l.maxBytes.Load(), l.diskBound.Load()
	if bytes == 0 || disk != 0 && disk < bytes {
		return disk
	}
	return bytes
}

// ahead is by how much writers may be ahead of the evictor.
func ahead(bound int64) int64 { return bound / 256 }

// note counts what a batch is about to change. The data set's lock is held.
func (l *limits) note(t *storage.Txn) {
	bound := l.bound()
	if bound == 0 {
		return
	}
	d := t.Counted()
	if d.Expires != 0 {
		l.mortal.Add(d.Expires)
	}
	if d.Bytes != 0 && l.used.Add(d.Bytes) > bound+ahead(bound)/2 && d.Bytes > 0 {
		l.ring()
	}
}

// ring has the evictor look. It looks by itself from time to time.
func (l *limits) ring() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// wantsUses tells whether keys are evicted by their use. Redis then has an object for each, small numbers included.
func (l *limits) wantsUses() bool {
	p := l.policy.Load()
	return l.maxBytes.Load() != 0 && p.evicts && (p.by == byUse || p.by == byFrequency)
}

// evictable tells whether there is any key that the policy lets go.
func (l *limits) evictable(p *policy) bool {
	return p.evicts && l.evicting.Load() && (!p.volatile || l.mortal.Load() > 0)
}

// await makes whoever adds data wait while the evictor is behind. There may be more data than the limit when it returns, as in Redis: room says
// whether that matters.
func (l *limits) await(hurried bool) error {
	if !l.behind() {
		return nil
	}
	if hurried {
		return storage.ErrWouldWait
	}
	l.waiting.Add(1)
	defer l.waiting.Add(-1)
	for start := time.Now(); ; {
		done := l.nextBatch()
		l.ring()
		<-done
		if !l.behind() || time.Since(start) >= time.Duration(l.patience.Load()) {
			return nil
		}
	}
}

// behind tells whether writers have to wait for the evictor.
func (l *limits) behind() bool {
	bound := l.bound()
	return bound != 0 && l.used.Load() > bound+ahead(bound) && l.evictable(l.policy.Load())
}

// nextBatch is closed when the evictor has ended a batch. It is asked for before the evictor is rung for, so that one will end.
func (l *limits) nextBatch() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.batch == nil {
		l.batch = make(chan struct{})
		if !l.evicting.Load() {
			close(l.batch) // it has ended, and will not come by again
		}
	}
	return l.batch
}

// release lets those go on who wait.
func (l *limits) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.batch != nil {
		select {
		case <-l.batch:
		default:
			close(l.batch)
		}
		l.batch = nil
	}
}

// Room returns what a command is refused with that may add data, or nil: there is too much of it, and nothing that the policy lets go. The evictor's
// being behind is no reason, nor is a pause of all clients, which stops it.
func (d *DataSet) Room() error {
	l := &d.limits
	bound := l.bound()
	if bound != 0 && l.uncounted.Load() {
		_, _ = d.recount() // if it fails there is nobody to serve
	}
	if (bound == 0 || l.used.Load() <= bound) && !l.diskFull.Load() {
		return nil
	}
	if l.evictable(l.policy.Load()) || d.opts.Hold != nil && d.opts.Hold() {
		return nil
	}
	if _, err := d.recount(); err != nil {
		return nil // the command itself will say so
	}
	bound = l.bound()
	switch {
	case l.evictable(l.policy.Load()):
		return nil
	case bound != 0 && bound == l.maxBytes.Load() && l.used.Load() > bound:
		return ErrOOM
	case l.diskFull.Load():
		return ErrMaxDisk
	}
	return nil
}

// dbTally is what there is in a database.
type dbTally struct {
	space uint32
	storage.Tally
}

// recount counts what there is.
func (d *DataSet) recount() ([]dbTally, error) {
	r := &recountRound{d: d}
	err := d.store.Read(&r.reader, r)
	return r.found, err
}

type recountRound struct {
	d      *DataSet
	reader storage.Reader
	found  []dbTally
}

func (r *recountRound) Run() error {
	var sum storage.Tally
	r.found = r.found[:0]
	for db := range r.d.opts.Databases {
		space, err := types.LookupKeyspace(&r.reader, db)
		if err != nil {
			return err
		}
		if t := r.reader.Tally(space); t.Keys > 0 {
			r.found = append(r.found, dbTally{space, t})
			sum.Bytes, sum.Expires = sum.Bytes+t.Bytes, sum.Expires+t.Expires
		}
	}
	// No batch is under way: the lock is held, shared.
	r.d.limits.used.Store(sum.Bytes)
	r.d.limits.mortal.Store(sum.Expires)
	r.d.limits.uncounted.Store(false)
	return nil
}

// Limits is what INFO and the metrics say about limits.
type Limits struct {
	UsedBytes   int64 // names and values of all databases
	BoundBytes  int64 // how many there may be, of maxmemory and of what fits into max_disk the less; 0: no limit
	DiskBytes   int64 // of the data directory without the log, as of the last look; 0: nobody has looked, as there is no max_disk
	OverLimitMs int64 // for how long there have been too many at present
}

// SetMaxMemory changes how many bytes of data there may be: maxmemory; 0: as many as one likes.
func (d *DataSet) SetMaxMemory(bytes int64) {
	d.limits.maxBytes.Store(bytes)
	d.limits.uncounted.Store(true) // Room counts: here the lock may be held
	d.limits.ring()
}

// SetMaxDisk changes how large the data directory may become: max_disk; 0: as large as one likes.
func (d *DataSet) SetMaxDisk(bytes int64) {
	d.limits.maxDisk.Store(bytes)
	d.limits.ring()
}

// SetPolicy changes which keys go if there are too many: maxmemory_policy.
func (d *DataSet) SetPolicy(name string) {
	p := parsePolicy(name)
	d.access.setCounts(p.evicts && p.by == byFrequency)
	d.limits.policy.Store(p)
	d.limits.ring()
}

// SetSamples changes among how many keys one is chosen: maxmemory_samples.
func (d *DataSet) SetSamples(n int) { d.limits.samples.Store(int64(n)) }

// SetTenacity changes for how long a command may wait for the evictor: maxmemory_eviction_tenacity.
func (d *DataSet) SetTenacity(n int) { d.limits.patience.Store(int64(patience(n))) }
