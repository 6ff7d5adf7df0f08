package storage

import (
	"sync"
	"sync/atomic"
)

// tail is the end of the log that exists only in memory: batches that were evaluated and wait for their entry, and entries that were
// handed to the log and wait for their commit.
//
// Whoever waits for a commit hands over all that has gathered, for everybody (Store.drive). Those who must not wait for the disk leave that to the
// writer, if the log would wait now; so a group gathers while an fsync runs.
type tail struct {
	mu      sync.Mutex
	buf     []byte       // effects of the waiting batches
	batches []queued     // the waiting batches and cuts
	changed []tallyDelta // new counter values of the waiting batches

	alive    bool       // a speculation is alive
	begun    uint64     // speculations, this one included
	next     chain      // of the next entry
	first    bool       // the next entry is the speculation's first
	proposed []proposal // entries handed to the log whose commit has not come yet

	spareBuf     []byte
	spareBatches []queued
	spareChanged []tallyDelta
	entry        []byte // guarded by Store.proposing
}

// queued is a batch in the tail, or, with closes set, the place where a generation ends.
type queued struct {
	pos        uint64
	start, end int // effects in tail.buf
	changed    int // end of its counter values in tail.changed
	timeMs     int64
	closes     *generation
}

// proposal is an entry of ours in the log's hands.
type proposal struct {
	chain   chain
	timeMs  int64
	lastPos uint64 // committed once this entry is: 0 for all but the last part of a large batch
	closes  *generation
}

// push adds a batch; mu is held.
func (t *tail) push(q queued, changed []tallyDelta) {
	t.changed = append(t.changed, changed...)
	q.changed = len(t.changed)
	t.batches = append(t.batches, q)
}

func (t *tail) waiting() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.batches) > 0
}

// drive hands what waits in the tail to the log, unless somebody else is doing so: they will take ours too.
func (s *Store) drive() {
	for s.tail.waiting() && s.proposing.TryLock() {
		of, err := s.proposeAll()
		s.proposing.Unlock()
		if err != nil {
			s.opts.Logger.Error("the log refused an entry: evaluation stops", "err", err)
			s.yieldOf(of)
		}
	}
}

// proposeAll makes entries of all that has gathered, and returns the speculation that it belonged to. Store.proposing is held.
func (s *Store) proposeAll() (of uint64, err error) {
	t := &s.tail
	t.mu.Lock()
	of = t.begun
	buf, batches, changed := t.buf, t.batches, t.changed
	t.buf, t.batches, t.changed = t.spareBuf[:0], t.spareBatches[:0], t.spareChanged[:0]
	t.spareBuf, t.spareBatches, t.spareChanged = nil, nil, nil
	t.mu.Unlock()

	for from := 0; from < len(batches) && err == nil; {
		to := s.gather(batches, from)
		err = s.proposeBatches(of, buf, batches[from:to], changedIn(changed, batches, from, to))
		from = to
	}
	const keep = 4 << 20
	if cap(buf) <= keep && cap(batches) <= keep/64 {
		t.mu.Lock()
		t.spareBuf, t.spareBatches, t.spareChanged = buf, batches, changed
		t.mu.Unlock()
	}
	if cap(t.entry) > keep {
		t.entry = nil
	}
	return of, err
}

// gather returns the end of the batches that go into one entry with the one at from: up to a cut, or as many as fit.
func (s *Store) gather(batches []queued, from int) int {
	for to := from; to < len(batches); to++ {
		if to > from && batches[to].end-batches[from].start > s.opts.EntryBytes {
			return to
		}
		if batches[to].closes != nil {
			return to + 1
		}
	}
	return len(batches)
}

func changedIn(changed []tallyDelta, batches []queued, from, to int) []tallyDelta {
	start := 0
	if from > 0 {
		start = batches[from-1].changed
	}
	if planted("counters-from-next-entry") {
		return changed[start:]
	}
	return changed[start:batches[to-1].changed]
}

// proposeBatches hands over one entry with some batches, or a batch that is too large for one in parts.
func (s *Store) proposeBatches(of uint64, buf []byte, batches []queued, changed []tallyDelta) error {
	last := batches[len(batches)-1]
	effects := buf[batches[0].start:last.end]
	counters := encodeTallies(changed)
	h := entryHead{TimeMs: last.timeMs}
	if last.closes != nil {
		h.Flags |= flagClose
	}
	if len(effects) <= 2*s.opts.EntryBytes {
		return s.propose(of, h, effects, counters, last)
	}
	h.Flags |= flagPart
	for len(effects) > s.opts.EntryBytes {
		n := cutEffects(effects, s.opts.EntryBytes)
		part := h
		part.Flags &^= flagClose
		if err := s.propose(of, part, effects[:n], nil, queued{}); err != nil {
			return err
		}
		effects = effects[n:]
	}
	h.Flags |= flagCommit
	return s.propose(of, h, effects, counters, last)
}

// cutEffects returns the length of the whole effects that fill at least size bytes.
func cutEffects(b []byte, size int) int {
	rest := b
	for len(b)-len(rest) < size && len(rest) > 0 {
		kind := rest[0]
		_, rest, _ = field(rest[1:])
		switch kind {
		case effectPut:
			_, rest, _ = field(rest)
		case effectPatch:
			_, rest, _ = takePatch(rest)
		}
	}
	return len(b) - len(rest)
}

// encodeTallies makes puts of the last value of each keyspace.
func encodeTallies(changed []tallyDelta) (out []byte) {
	for i, d := range changed {
		if lastOf(changed[i+1:], d.keyspace) {
			var key, value [32]byte
			out = appendPut(out, appendTallyKey(key[:0], d.keyspace), appendTally(value[:0], d.Tally))
		}
	}
	return out
}

func lastOf(later []tallyDelta, keyspace uint32) bool {
	for i := range later {
		if later[i].keyspace == keyspace {
			return false
		}
	}
	return true
}

func (s *Store) propose(of uint64, h entryHead, effects, counters []byte, last queued) error {
	t := &s.tail
	t.mu.Lock()
	if !t.alive || t.begun != of && !planted("proposal-of-another-speculation") {
		t.mu.Unlock()
		return nil // the speculation ended under our hands; its waiters know
	}
	h.Chain = t.next
	if t.first {
		h.Flags |= flagFirst
		t.first = false
	}
	t.next.Number++
	t.proposed = append(t.proposed, proposal{h.Chain, h.TimeMs, last.pos, last.closes})
	t.mu.Unlock()

	t.entry = encodeEntry(t.entry[:0], h, effects, counters)
	s.stats.Entries.Add(1)
	s.stats.EntryBytes.Add(uint64(len(t.entry)))
	return s.log.Propose(t.entry)
}

// waits are those who wait for a commit.
type waits struct {
	mu      sync.Mutex
	waiting []*waiter
	failed  []span // positions that speculations took with them when they ended
	closed  bool
	pool    sync.Pool

	lastFailed atomic.Uint64 // end of the last of failed
}

type waiter struct {
	pos  uint64
	done chan error
	tell func() // instead of done, for those who do not wait
}

// decided tells the waiter what became of its position. waits.mu is held.
func (w *waiter) decided(err error) {
	if w.tell != nil {
		w.tell()
	} else {
		w.done <- err
	}
}

type span struct{ after, last uint64 }

// Wait returns nil once the batch at pos, and with it all before, is committed; ErrInDoubt if the speculation it belonged to has ended.
func (s *Store) Wait(pos uint64) error {
	if s.committed.Load() >= pos && (pos > s.waits.lastFailed.Load() || pos == 0) {
		return nil
	}
	s.drive()
	w, err := s.enqueue(pos)
	if w == nil {
		return err
	}
	err = <-w.done
	s.waits.pool.Put(w)
	return err
}

// Decided tells whether Wait for a position would return at once.
func (s *Store) Decided(pos uint64) bool {
	if s.committed.Load() >= pos {
		return true
	}
	decided, _ := s.decided(pos)
	return decided
}

// Notify sees to it that all that waits is handed to the log, and has tell called when Wait for a position would return at once. false: it would
// now, and tell is not called. Notify itself does not wait for the disk. tell is called by whoever commits, and must not wait either.
func (s *Store) Notify(pos uint64, tell func()) (later bool) {
	if s.log.Waits() {
		s.writer.wake()
	} else {
		s.drive()
	}
	q := &s.waits
	q.mu.Lock()
	defer q.mu.Unlock()
	if decided, _ := s.decidedLocked(pos); decided {
		return false
	}
	q.waiting = append(q.waiting, &waiter{pos: pos, tell: tell})
	return true
}

// logWriter is the goroutine that hands to the log what others have no time to.
type logWriter struct {
	wanted chan struct{}
	stop   chan struct{}
	done   chan struct{}
}

func (w *logWriter) init() {
	w.wanted, w.stop, w.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
}

func (w *logWriter) wake() {
	select {
	case w.wanted <- struct{}{}:
	default: // it will look once more anyway
	}
}

func (s *Store) writeLoop() {
	defer close(s.writer.done)
	for {
		select {
		case <-s.writer.stop:
			return
		case <-s.writer.wanted:
			s.drive()
		}
	}
}

func (s *Store) decided(pos uint64) (decided bool, err error) {
	s.waits.mu.Lock()
	defer s.waits.mu.Unlock()
	return s.decidedLocked(pos)
}

// decidedLocked tells what became of a position, if that is known. waits.mu is held.
func (s *Store) decidedLocked(pos uint64) (decided bool, err error) {
	for _, f := range s.waits.failed {
		if pos > f.after && pos <= f.last {
			return true, ErrInDoubt
		}
	}
	switch {
	case s.committed.Load() >= pos || planted("reply-before-commit"):
		return true, nil
	case s.waits.closed:
		return true, ErrInDoubt
	}
	return false, nil
}

// enqueue returns no waiter if there is nothing to wait for.
func (s *Store) enqueue(pos uint64) (*waiter, error) {
	q := &s.waits
	q.mu.Lock()
	defer q.mu.Unlock()
	if decided, err := s.decidedLocked(pos); decided {
		return nil, err
	}
	w, _ := q.pool.Get().(*waiter)
	if w == nil {
		w = &waiter{done: make(chan error, 1)}
	}
	w.pos = pos
	q.waiting = append(q.waiting, w)
	return w, nil
}

// commit moves the committed position and wakes those who waited for it.
func (s *Store) commit(pos uint64) {
	q := &s.waits
	q.mu.Lock()
	defer q.mu.Unlock()
	if pos <= s.committed.Load() {
		return
	}
	s.committed.Store(pos)
	kept := q.waiting[:0]
	for _, w := range q.waiting {
		if w.pos <= pos {
			w.decided(nil)
		} else {
			kept = append(kept, w)
		}
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
}

// fail tells all who wait for a position behind the committed one, now or later up to last, that nobody knows its outcome.
func (s *Store) fail(last uint64) {
	q := &s.waits
	q.mu.Lock()
	defer q.mu.Unlock()
	if committed := s.committed.Load(); last > committed {
		q.failed = append(q.failed, span{committed, last})
		q.lastFailed.Store(last)
	}
	for _, w := range q.waiting {
		w.decided(ErrInDoubt)
	}
	clear(q.waiting)
	q.waiting = q.waiting[:0]
}
