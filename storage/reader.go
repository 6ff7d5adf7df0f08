package storage

import (
	"bytes"
	"runtime"
)

// Runner is one round of a command. Run is called with the data set's lock held: shared for Store.Read, exclusive for Store.Update. A round
// that meets a record which is not in memory is given up and runs again, so Run starts from the beginning each time and has no effects
// but those on its Txn and on what it resets itself.
type Runner interface{ Run() error }

// Reader is what one command has read: it lives for one call of Store.Read or Store.Update and may be used for the next. Not for use by
// several goroutines.
type Reader struct {
	s       *Store
	seen    uint64 // highest position met
	retired uint64 // Store.retired as noted before this round looked into the table
	buf     []byte // values copied from the cache in this round

	missed    [][]byte // keys to read before the next round
	pins      map[string]pin
	withDisk  bool // this round reads Badger with the lock held
	missedAny bool // reset each round

	hurried  bool
	patience int // what a hurried round may still do
}

// Hurry tells whether the commands that follow end with ErrWouldWait where they would wait for Badger, or run long. Others who share the lock, and
// the goroutine, then have their turn.
func (r *Reader) Hurry(hurried bool) { r.hurried = hurried }

// Hurried tells whether the command has no time.
func (r *Reader) Hurried() bool { return r.hurried }

// hurriedRecords is how many records a hurried command may meet; hurriedBytes of a value count as another one.
const (
	hurriedRecords = 2048
	hurriedBytes   = 1 << 10
)

// spend tells whether the command may go on.
func (r *Reader) spend(valueBytes int) bool {
	r.patience -= 1 + valueBytes/hurriedBytes
	return r.patience >= 0 || !r.hurried
}

// pin is a record that was read from Badger for this command: it obeys the cache's rule, but cannot be evicted.
type pin struct {
	value   []byte
	retired uint64
}

func (r *Reader) start(s *Store) {
	r.s, r.seen, r.missed, r.withDisk = s, 0, r.missed[:0], false
	clear(r.pins)
}

func (r *Reader) startRound() {
	r.retired = r.s.retired.Load()
	r.seen, r.missedAny, r.patience = 0, false, hurriedRecords
	if cap(r.buf) > 64<<10 {
		r.buf = nil
	}
	r.buf = r.buf[:0]
}

// Seen is the highest position that the command met, also in absences and tombstones: its reply may leave when Store.Wait(Seen) returns.
func (r *Reader) Seen() uint64 { return r.seen }

func (r *Reader) saw(pos uint64) { r.seen = max(r.seen, pos) }

// Get returns a record's value, nil if there is none. The value is valid until Run returns. An error, ErrMiss above all, must be
// returned by Run unchanged.
func (r *Reader) Get(key []byte) ([]byte, error) {
	value, ok := r.lookup(r.s.hash(key), key)
	if ok && r.spend(len(value)) {
		return value, nil
	}
	return r.miss(key)
}

// Append is Get for those who copy the value anyway: it appends it to dst, nothing if there is none.
func (r *Reader) Append(dst, key []byte) ([]byte, error) {
	value, out, ok := r.search(r.s.hash(key), key, dst)
	if !ok || !r.spend(max(len(out)-len(dst), len(value))) {
		value, err := r.miss(key)
		return append(dst, value...), err
	}
	if out != nil {
		return out, nil
	}
	return append(dst, value...), nil
}

// Need makes sure that records are in memory: one round fetches all that are not.
func (r *Reader) Need(keys ...[]byte) error {
	for _, key := range keys {
		if !r.has(r.s.hash(key), key) || !r.spend(0) {
			if _, err := r.miss(key); err != nil && err != ErrMiss {
				return err
			}
		}
	}
	if r.missedAny {
		return ErrMiss
	}
	return nil
}

// lookup searches memory: generations from new to old, system records, cache, filter, pins. ok is false if only Badger can tell.
func (r *Reader) lookup(hash uint64, key []byte) (value []byte, ok bool) {
	if value, ok := r.recent(hash, key); ok {
		return value, true
	}
	return r.older(hash, key)
}

// older is lookup behind the generations.
func (r *Reader) older(hash uint64, key []byte) (value []byte, ok bool) {
	n := len(r.buf)
	out, known, absent := r.s.cache.get(hash, key, r.buf)
	switch {
	case !known:
		return r.ruledOutOrPinned(hash, key)
	case absent:
		return nil, true
	}
	r.buf = out
	return out[n:len(out):len(out)], true
}

// search is lookup; what the cache has it appends to buf, and returns that as out.
func (r *Reader) search(hash uint64, key, buf []byte) (value, out []byte, ok bool) {
	if value, ok := r.recent(hash, key); ok {
		return value, nil, true
	}
	if buf, known, absent := r.s.cache.get(hash, key, buf); known {
		if absent {
			return nil, nil, true
		}
		return nil, buf, true
	}
	value, ok = r.ruledOutOrPinned(hash, key)
	return value, nil, ok
}

// has tells whether search would find, without the copy.
func (r *Reader) has(hash uint64, key []byte) bool {
	if _, ok := r.recent(hash, key); ok {
		return true
	}
	if r.s.cache.has(hash, key) {
		return true
	}
	_, ok := r.ruledOutOrPinned(hash, key)
	return ok
}

// recent searches the generations and the system records.
func (r *Reader) recent(hash uint64, key []byte) (value []byte, ok bool) {
	gens := r.s.gens
	for i := len(gens) - 1; i >= 0; i-- {
		if v := gens[i].get(uint32(hash), key); v != nil {
			r.saw(versionPosition(v))
			return versionValue(v), true
		}
	}
	if key[0] == '!' {
		return r.s.system[string(key)], true
	}
	return nil, false
}

func (r *Reader) ruledOutOrPinned(hash uint64, key []byte) (value []byte, ok bool) {
	if r.s.filter.rulesOut(hash, key) {
		r.s.stats.RuledOut.Add(1)
		return nil, true
	}
	if p, ok := r.pins[string(key)]; ok && p.retired == r.retired {
		return p.value, true
	}
	return nil, false
}

// miss is what becomes of a record that is not in memory; a hurried command that has run out of patience comes here as well.
func (r *Reader) miss(key []byte) ([]byte, error) {
	if r.hurried {
		return nil, ErrWouldWait
	}
	if r.withDisk {
		return r.s.disk.getLocked(key, newest)
	}
	r.missedAny = true
	r.missed = append(r.missed, bytes.Clone(key))
	return nil, ErrMiss
}

// fetch reads what the last round missed, without the lock, and pins it for this command.
func (r *Reader) fetch() error {
	if r.pins == nil {
		r.pins = make(map[string]pin)
	}
	for keys, n := r.missed, 0; len(keys) > 0; keys = keys[n:] {
		if n = neighbours(keys); n > 1 {
			if err := r.fetchNeighbours(keys[:n]); err != nil {
				return err
			}
			r.s.stats.Fetched.Add(uint64(n))
			continue
		}
		if p, ok := r.pins[string(keys[0])]; ok && p.retired == r.retired {
			continue // asked for twice
		}
		value, err := r.s.disk.get(keys[0], newest)
		if err != nil {
			return err
		}
		r.fetched(keys[0], value)
		r.s.stats.Fetched.Add(1)
	}
	r.missed = r.missed[:0]
	return nil
}

func (r *Reader) fetchNeighbours(keys [][]byte) error {
	r.s.gate.enter(true)
	defer r.s.gate.leave()
	return r.s.disk.getNeighbours(keys, r.fetched)
}

// fetched takes in what Badger gave, nil if it has no such record.
func (r *Reader) fetched(key, value []byte) {
	if value == nil {
		r.s.stats.FetchedAbsent.Add(1)
	}
	r.s.cache.fill(r.s.hash(key), key, value, r.retired, &r.s.retired)
	r.pins[string(key)] = pin{value, r.retired}
}

// Tally returns a keyspace's counters.
func (r *Reader) Tally(keyspace uint32) Tally {
	t := r.s.tallies[keyspace]
	r.saw(t.pos)
	return t.Tally
}

// maxRounds is how often a command may be given up; then it reads with the lock held.
const maxRounds = 4

// Read runs a command that only reads.
func (s *Store) Read(r *Reader, run Runner) error {
	r.start(s)
	for round := 0; ; round++ {
		if err := s.readRound(r, run, round); !r.missedAny || r.withDisk {
			return err
		}
		if err := s.refetch(r, round); err != nil {
			return err
		}
	}
}

func (s *Store) readRound(r *Reader, run Runner, round int) error {
	s.mu.RLock()
	defer s.mu.RUnlock() // also when a command panics
	r.startRound()
	r.withDisk = round >= maxRounds
	if err := s.readable(); err != nil {
		return err
	}
	return run.Run()
}

// Update runs a command that may write. If Run returns nil, what it put and deleted is in the recent writes and in the log's tail; if it
// returns an error, nothing happened.
func (s *Store) Update(t *Txn, run Runner) error {
	t.start(s)
	defer t.finish()
	for round := 0; ; round++ {
		err := s.updateRound(t, run, round)
		if !t.hurried {
			s.letOthers()
		}
		if !t.missedAny || t.withDisk {
			return err
		}
		if err := s.refetch(&t.Reader, round); err != nil {
			return err
		}
	}
}

func (s *Store) updateRound(t *Txn, run Runner, round int) error {
	s.lockInTurn()
	defer s.mu.Unlock() // also when a command panics
	t.startRound()
	t.withDisk = round >= maxRounds
	if !s.evaluating {
		return s.notEvaluating()
	}
	err := run.Run()
	if t.tooMuch {
		t.missedAny = false // what was left out cannot be read again: whatever else the round has met, it means nothing
		return ErrTooLarge
	}
	if err != nil || t.missedAny && !t.withDisk {
		return err
	}
	return s.submit(t)
}

// lockInTurn locks the data set, of which letOthers knows.
func (s *Store) lockInTurn() {
	if s.mu.TryLock() {
		return
	}
	s.waiting.Add(1)
	s.mu.Lock()
	s.waiting.Add(-1)
}

// letOthers lets somebody run who waits for the lock. Otherwise who comes back for it at once, as a pipeline does, has it again before the other one
// has woken up, for up to a millisecond (sync.Mutex).
func (s *Store) letOthers() {
	if s.waiting.Load() > 0 {
		runtime.Gosched()
	}
}

func (s *Store) refetch(r *Reader, round int) error {
	s.stats.Reruns.Add(1)
	if round+1 >= maxRounds {
		s.stats.LockedReads.Add(1)
	}
	return r.fetch()
}
