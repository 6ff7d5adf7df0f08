package storage

import (
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Options says how a store works. Sizes are bytes.
type Options struct {
	FS     FS           // for our own files; OSFS{} unless a test takes the power away
	Logger *slog.Logger // never nil
	// Fatal is called once, from any goroutine, when the node can not go on without risking data; it should end the process.
	Fatal func(error)

	MemoryBudget      int64         // what the process may use; see Budget
	GenerationRecords int           // the active generation closes when it holds as many records,
	GenerationBytes   int64         // … or as many bytes (0: from MemoryBudget),
	FlushInterval     time.Duration // … or is this old
	BatchMaxBytes     int64         // largest batch (0: from MemoryBudget)
	ValueThreshold    int64         // Badger's: only blob chunks may be as large
	ValueLogBytes     int64         // a file of Badger's value log (0: 64 MiB)
	BarrierInterval   time.Duration // how often Badger is made durable
	BarrierLogBytes   int64         // … or after as many bytes of log
	StallTimeout      time.Duration // how long a write waits for memory before it is refused
	ViewMaxAge        time.Duration // older views end with an error
	LogSegmentBytes   int64         // what the log takes at a time
	CopyRate          int64         // bytes that a copy for another node reads in a second, while others write; 0 = 32 MiB
	DiskReserve       int64         // free space below which writes are refused, on top of what is promised already
	EntryBytes        int           // largest log entry (0: 256 KiB)
	StraightBytes     int64         // a generation of so many bytes becomes a table by itself (0: a quarter of the largest)

	// Took, if set, is told how long each TookFlush, TookBarrier and TookStall took.
	Took func(job string, took time.Duration)

	// OnBarrier is called when Badger's files have been fsynced, before that is recorded. For tests.
	OnBarrier func(badgerDir string)
	// OnValuesSynced is called when the value log alone has been fsynced, while it is collected. For tests.
	OnValuesSynced func(badgerDir string)
}

// What Options.Took is told about: the names are those of latency events.
const (
	TookFlush   = "badger-flush" // a generation's way into Badger
	TookBarrier = "barrier"
	TookStall   = "stall" // a writer's wait for memory
)

// Store is one data set: the lock, recent writes, their way into the log and from there into Badger.
//
// Locks are taken in this order: proposing, applying, mu, tail.mu, waits.mu; views.mu last of all.
type Store struct {
	opts   Options
	data   *Dir
	place  atomic.Pointer[string] // Badger's directory; Replace changes it
	budget Budget
	fit    fit
	log    Log
	seed   maphash.Seed
	disk   *disk // Badger
	cache  *cache
	stats  Stats

	// mu is the data set's lock: evaluation and Apply hold it, reads share it. Nobody waits for the disk with it held.
	mu         sync.RWMutex
	waiting    atomic.Int32       // who waits in lockInTurn
	gens       []*generation      // old to new; the last is active; replaced, never changed in place, when one goes
	system     map[string][]byte  // system records as they are in Badger
	tallies    map[uint32]counter // present counters
	pos        uint64             // position of the last batch
	evaluating bool               // a speculation is alive
	serving    bool               // replay has passed the newest version in Badger
	closed     bool
	lastMs     int64 // time of the last batch
	memo       memo

	// applying serialises Apply, Lead, Yield and Replace; it guards the next five.
	applying sync.Mutex
	applied  point  // last entry handed to Apply, whether it took effect or not
	accepted chain  // last entry that took effect
	effect   uint64 // its index
	usedTerm chain  // highest number met in the newest term
	held     []part // parts of a large batch whose last part has not come yet

	committed  atomic.Uint64 // position up to which all batches are committed
	appliedIdx atomic.Uint64 // applied.Index, for those without the lock
	retired    atomic.Uint64 // generations retired, counted before the cache is refreshed
	dirty      atomic.Int64  // bytes of all generations
	written    atomic.Int64  // bytes that batches took of them, since the start

	proposing sync.Mutex // held by whoever hands entries to the log
	tail      tail
	writer    logWriter
	waits     waits
	views     views

	flush    flusher
	barrier  barrier
	inBadger uint64 // newest version found in Badger when it was opened
	replayTo uint64 // the log's last entry when it was
	begun    bool
	guard    guard
	pace     pacer
	reclaim  reclaiming
	ledger   ledger

	compactors compactors
	straight   straight

	deletions deletions
	gate      gate
	filter    filter
	ahead     ahead

	observed observed

	copyRate  atomic.Int64   // Options.CopyRate, as it is now
	importing atomic.Bool    // there is an Import
	leftovers sync.WaitGroup // directories are being removed

	// OnLead is called under the lock when this node has begun to evaluate, with the time of the last batch in ms since 1970. Set before Lead.
	OnLead func(lastMs int64)
	// OnYield is called under the lock when a speculation has ended. Set before Lead.
	OnYield func()
}

type counter struct {
	Tally
	pos uint64 // of the last batch that changed it
}

// Stats counts what happened since the start.
type Stats struct {
	Batches        atomic.Uint64 // submitted
	Entries        atomic.Uint64 // proposed
	EntryBytes     atomic.Uint64
	Fetched        atomic.Uint64 // records read from Badger for commands
	FetchedAbsent  atomic.Uint64 // … that were not there
	RuledOut       atomic.Uint64 // lookups of absent records that need not ask Badger
	Reruns         atomic.Uint64 // rounds given up for a miss
	LockedReads    atomic.Uint64 // commands that read Badger with the lock held
	Flushes        atomic.Uint64
	FlushRecords   atomic.Uint64
	FlushNs        atomic.Uint64
	MergesFailed   atomic.Uint64 // compactions that were due and failed
	Barriers       atomic.Uint64
	BarrierNs      atomic.Uint64
	Yields         atomic.Uint64
	IgnoredEntries atomic.Uint64
	StallNs        atomic.Uint64 // time that writers waited for memory
	Refused        atomic.Uint64 // writes refused by back-pressure or the disk guard
}

// Point is a place in the log.
type Point struct {
	Index  uint64
	TimeMs int64
	Term   uint64 // the log's, for this entry; 0 at the very beginning
}

// Status is the store's state for INFO, metrics and logs.
type Status struct {
	Applied                uint64 // index of the last entry handed over by the log
	Durable, Flushed       Point
	Generations            int
	DirtyBytes, DirtyLimit int64
	CacheBytes, CacheLimit int64
	CacheHits, CacheMisses uint64
	DiskFree, DiskNeeded   int64
	Views                  int
	Position, Committed    uint64
	Evaluating             bool
	Serving                bool   // the data may be read: replay has passed what this node had
	Damage                 string // the first damage that a read met, "" if none
	Refusal                string // why writes are refused, "" if they are not
	LogRefused             bool   // the log does not take them
}

// dir is Badger's directory.
func (s *Store) dir() string { return *s.place.Load() }

func (s *Store) setDir(dir string) { s.place.Store(&dir) }

func (s *Store) hash(key []byte) uint64 { return maphash.Bytes(s.seed, key) }

func (s *Store) active() *generation { return s.gens[len(s.gens)-1] }

// readable returns why nobody may be served, or nil. The lock is held.
func (s *Store) readable() error {
	switch {
	case s.closed:
		return ErrClosed
	case !s.serving:
		return ErrNotEvaluating
	}
	return nil
}

func (s *Store) notEvaluating() error {
	if s.closed {
		return ErrClosed
	}
	return ErrNotEvaluating
}

// submit puts a Txn's effects into the recent writes and the log's tail as one batch. The lock is held.
func (s *Store) submit(t *Txn) error {
	if !t.Wrote() {
		return nil
	}
	s.pos++
	pos, keep := s.pos, s.views.newest.Load()
	t.saw(pos)
	g := s.active()
	before, filled := g.bytes(), g.arena.filled()
	s.lastMs = max(s.lastMs, t.timeMs)

	observed := false
	s.tail.mu.Lock()
	start := len(s.tail.buf)
	for i := range t.effects {
		e := &t.effects[i]
		key := t.key(i)
		if e.same || len(t.effects) > 1 && t.find(e.hash, key) != i {
			continue // there is nothing to write, or a later effect of this batch replaces it
		}
		if i == 1 && pos%8 == 0 && planted("close-inside-batch") {
			s.tail.push(queued{pos: pos, start: start, end: len(s.tail.buf), timeMs: s.lastMs}, nil)
			s.tail.push(queued{pos: pos, start: len(s.tail.buf), end: len(s.tail.buf), timeMs: s.lastMs, closes: g}, nil)
			g.lastPos = pos
			s.seal(g)
			g, start = s.active(), len(s.tail.buf)
		}
		found := g.find(uint32(e.hash), key)
		old := g.value(found)
		if e.base != 0 {
			change := t.splice(e)
			if old != nil && len(old) != len(change.old) { // not an argument of invariant: that would allocate key
				invariant(false, "a splice of another value than the last one of key %q", key)
			}
			s.tail.buf = appendSplice(s.tail.buf, key, change, old != nil)
			g.splice(found, uint32(e.hash), key, change, pos, keep)
		} else {
			value := t.value(i)
			if value == nil {
				s.tail.buf = appendDelete(s.tail.buf, key)
			} else {
				s.tail.buf = appendChange(s.tail.buf, key, old, value)
			}
			g.put(found, uint32(e.hash), key, value, pos, keep)
		}
		observed = observed || s.observed.is(key)
	}
	s.tail.push(queued{pos: pos, start: start, end: len(s.tail.buf), timeMs: s.lastMs}, s.count(g, t, pos))
	s.tail.mu.Unlock()

	g.lastPos = pos
	if observed {
		s.tellObserver()
	}
	s.dirty.Add(int64(g.bytes() - before))
	s.written.Add(int64(g.arena.filled() - filled))
	s.stats.Batches.Add(1)
	if g.count >= s.opts.GenerationRecords || int64(g.bytes()) >= s.fit.generation.Load() {
		s.closeActive()
	}
	return nil
}

// count applies a batch's counter changes and returns the new values, for the log.
func (s *Store) count(g *generation, t *Txn, pos uint64) []tallyDelta {
	for i := range t.tallies {
		d := &t.tallies[i]
		now := counter{s.tallies[d.keyspace].plus(d.Tally), pos}
		s.tallies[d.keyspace] = now
		if g.tallies == nil {
			g.tallies = make(map[uint32]Tally)
		}
		g.tallies[d.keyspace] = now.Tally
		d.Tally = now.Tally
	}
	return t.tallies
}

// closeActive ends the active generation between two batches: the log writer will end an entry here and give it the close flag.
func (s *Store) closeActive() {
	if g := s.active(); g.lastPos >= g.firstPos {
		s.cutActive()
	}
}

// cutActive ends the active generation even if nothing is in it.
func (s *Store) cutActive() {
	g := s.active()
	s.seal(g)
	s.tail.mu.Lock()
	n := len(s.tail.buf)
	s.tail.push(queued{pos: g.lastPos, start: n, end: n, timeMs: s.lastMs, closes: g}, nil)
	s.tail.mu.Unlock()
}

// seal makes a generation unchangeable and begins the next. Its counters become records in it.
func (s *Store) seal(g *generation) {
	before := g.bytes()
	keep := s.views.newest.Load()
	for keyspace, t := range g.tallies {
		key := appendTallyKey(nil, keyspace)
		hash := uint32(s.hash(key))
		g.put(g.find(hash, key), hash, key, appendTally(nil, t), g.lastPos, keep)
	}
	g.closed = true
	next := newGeneration(g.lastPos)
	s.gens = append(s.gens[:len(s.gens):len(s.gens)], next)
	s.dirty.Add(int64(g.bytes() - before + next.bytes()))
}
