package storage

import (
	"context"
	"fmt"
)

// part is a piece of a large batch that waits for its last piece: its bytes, or, beyond heldBytes of them, its index in the log.
type part struct {
	index   uint64
	payload []byte
}

const heldBytes = 16 << 20

// Apply takes over a committed entry: the log calls it for every entry, in order. term is the log's term for the entry. An entry takes
// effect only if the chain says so; every node decides alike. An error means that this node cannot go on.
func (s *Store) Apply(index, term uint64, entry []byte) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	h, err := decodeHead(entry)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	invariant(index > s.applied.Index, "entry %d applied after entry %d", index, s.applied.Index)
	own, mine := s.isProposed(h, term)
	var payload []byte
	if !mine {
		if h, payload, err = decodeEntry(entry); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		// Before another's entry takes effect, or one of ours out of order, our own guesses end.
		s.yield("an entry that is not the next of ours was committed")
		s.waitForRoom()
	}
	takes := h.Chain.Term == term && h.Chain.follows(s.accepted, h.is(flagFirst) && !planted("first-ignored"))
	takes = takes || planted("chain-check-off")
	if h.Chain.Term > s.usedTerm.Term || h.Chain.Term == s.usedTerm.Term && h.Chain.Number > s.usedTerm.Number {
		s.usedTerm = h.Chain
	}
	s.applied.Index = index
	if !takes {
		invariant(!mine, "our own entry %d does not follow the chain", index)
		s.held = s.held[:0]
		s.stats.IgnoredEntries.Add(1)
		s.appliedIdx.Store(index)
		return nil
	}
	s.accept(index, h)
	if mine {
		s.confirm(own)
		return nil
	}
	return s.applyForeign(index, h, payload)
}

// accept notes an entry that takes effect. A batch whose last part is missing when a speculation begins never gets it.
func (s *Store) accept(index uint64, h entryHead) {
	s.accepted, s.effect = h.Chain, index
	s.applied = point{index, max(h.TimeMs, s.applied.TimeMs), h.Chain}
	if h.is(flagFirst) {
		s.held = s.held[:0]
	}
}

// LastEffect is the index of the last entry that took effect: a barrier that covers it covers everything up to now.
func (s *Store) LastEffect() uint64 {
	s.applying.Lock()
	defer s.applying.Unlock()
	return s.effect
}

// isProposed takes the oldest of our proposals off the list if the entry is it, and the speculation it belongs to is alive.
func (s *Store) isProposed(h entryHead, term uint64) (proposal, bool) {
	t := &s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.alive || len(t.proposed) == 0 || t.proposed[0].chain != h.Chain || h.Chain.Term != term {
		return proposal{}, false
	}
	p := t.proposed[0]
	t.proposed = t.proposed[:copy(t.proposed, t.proposed[1:])]
	return p, true
}

// confirm: an entry of ours is committed; its effects are in the table already.
func (s *Store) confirm(p proposal) {
	s.appliedIdx.Store(s.applied.Index)
	if p.closes != nil {
		p.closes.closing = s.applied
		p.closes.version.Store(s.applied.Index)
		s.flush.wake()
	}
	s.commit(p.lastPos)
}

// applyForeign puts the effects of an entry that we did not evaluate into the recent writes.
func (s *Store) applyForeign(index uint64, h entryHead, payload []byte) error {
	if h.is(flagPart) && !h.is(flagCommit) {
		s.hold(index, payload)
		s.appliedIdx.Store(index)
		return nil
	}
	s.mu.Lock()
	pos, err := s.putEntry(index, h, payload)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.appliedIdx.Store(index)
	s.commit(pos)
	return nil
}

// hold keeps a part of a large batch until its last part comes.
func (s *Store) hold(index uint64, payload []byte) {
	sum := 0
	for _, p := range s.held {
		sum += len(p.payload)
	}
	p := part{index: index}
	if sum+len(payload) <= heldBytes {
		p.payload = append([]byte(nil), payload...)
	}
	s.held = append(s.held, p)
}

// putEntry puts an entry, with the parts that wait for it, into the active generation and closes that if the entry says so. The lock is
// held.
func (s *Store) putEntry(index uint64, h entryHead, payload []byte) (pos uint64, err error) {
	s.pos++
	pos = s.pos
	s.lastMs = max(s.lastMs, h.TimeMs)
	g := s.active()
	before := g.bytes()
	put := func(payload []byte) {
		if err == nil {
			err = effects(payload, func(e logged) error { return s.putEffect(g, e, pos) })
		}
	}
	if h.is(flagPart) {
		for _, p := range s.held {
			body := p.payload
			if body == nil {
				if body, err = s.payloadAt(p.index); err != nil {
					return pos, err
				}
			}
			put(body)
		}
		s.held = s.held[:0]
	}
	put(payload)
	if err != nil {
		return pos, fmt.Errorf("entry %d: %w", index, err)
	}
	g.lastPos = pos
	s.dirty.Add(int64(g.bytes() - before))
	if h.is(flagClose) {
		s.seal(g)
		g.closing = s.applied
		g.version.Store(index)
		s.flush.wake()
	}
	return pos, nil
}

func (s *Store) putEffect(g *generation, e logged, pos uint64) (err error) {
	hash, value := uint32(s.hash(e.key)), e.value
	found := g.find(hash, e.key)
	if e.patch != nil {
		if value, err = e.patch.apply(g.value(found)); err != nil {
			return fmt.Errorf("record %q: %w", e.key, err)
		}
	}
	g.put(found, hash, e.key, value, pos, s.views.newest.Load())
	if s.observed.is(e.key) {
		s.observed.tell(value)
	}
	if keyspace, t, ok := decodeTally(e.key, value); ok {
		s.tallies[keyspace] = counter{t, pos}
	}
	return nil
}

func (s *Store) payloadAt(index uint64) ([]byte, error) {
	_, entry, err := s.log.Read(index)
	if err != nil {
		return nil, err
	}
	_, payload, err := decodeEntry(entry)
	return payload, err
}

// Lead begins a speculation: this node evaluates in term from now on. A barrier of the term has been applied.
func (s *Store) Lead(term uint64) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.yield("a new term began")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	next := chain{term, 1}
	if s.usedTerm.Term == term {
		next.Number = s.usedTerm.Number + 1
	}
	s.held = s.held[:0]
	t := &s.tail
	t.mu.Lock()
	t.alive, t.first, t.next = true, true, next
	t.begun++
	t.mu.Unlock()
	s.evaluating, s.serving = true, true
	if s.OnLead != nil {
		s.OnLead(s.lastMs)
	}
}

// Serve lets readers in on a node that does not lead: what it has applied is at least what Badger holds. Lead does so by itself.
func (s *Store) Serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving = !s.closed
}

// Rest ends evaluation without dropping anything: it returns when all that was evaluated is committed and the speculation has ended. If the log
// does not manage that in time, evaluation goes on.
func (s *Store) Rest(ctx context.Context) error {
	s.mu.Lock()
	pos, evaluated := s.pos, s.evaluating
	s.evaluating = false
	s.mu.Unlock()
	if !evaluated {
		return ErrNotEvaluating
	}
	done := make(chan error, 1)
	go func() { done <- s.Wait(pos) }() // ends with the speculation at the latest
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		s.Yield()
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	s.evaluating = s.tail.alive && !s.closed
	return err
}

// Applied is the index of the last entry handed over by the log.
func (s *Store) Applied() uint64 { return s.appliedIdx.Load() }

// Newest is the newest version in Badger: what this node has made sure of, whatever becomes of its log.
func (s *Store) Newest() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return max(s.inBadger, s.flush.point.Index)
}

// Evaluating tells whether this node evaluates commands, or is closed and will not any more.
func (s *Store) Evaluating() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.evaluating || s.closed
}

// Yield ends the speculation, if one is alive: evaluation stops, what lies behind the last applied entry is dropped, and the clients of
// unfinished batches learn that their outcome is unknown.
func (s *Store) Yield() {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.yield("leadership was lost")
}

// yieldOf ends a speculation, unless it has ended already.
func (s *Store) yieldOf(begun uint64) {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.tail.mu.Lock()
	current := s.tail.begun == begun
	s.tail.mu.Unlock()
	if current {
		s.yield("the log refused an entry")
	}
}

// yield is Yield with Store.applying held.
func (s *Store) yield(reason string) {
	t := &s.tail
	t.mu.Lock()
	alive := t.alive
	t.mu.Unlock()
	if !alive {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evaluating = false
	t.mu.Lock()
	s.usedTerm = chain{t.next.Term, t.next.Number} // numbers handed out are never used again in this term
	t.alive = false
	dropped := len(t.proposed) + len(t.batches)
	t.buf, t.batches, t.changed, t.proposed = t.buf[:0], t.batches[:0], t.changed[:0], t.proposed[:0]
	t.mu.Unlock()
	if dropped > 0 {
		s.opts.Logger.Warn("writes that were not committed yet are dropped: their clients are told that they are in doubt", "why", reason, "dropped", dropped,
			"applied", s.applied.Index)
	} else {
		s.opts.Logger.Debug("evaluation ends", "why", reason, "applied", s.applied.Index)
	}
	s.stats.Yields.Add(1)

	failedTo := s.pos
	s.fail(failedTo)
	s.views.endUncommitted(s.committed.Load())
	if err := s.rebuild(); err != nil {
		s.opts.Fatal(fmt.Errorf("undoing a speculation: %w", err))
		return
	}
	s.commit(s.pos)
	if s.OnYield != nil {
		s.OnYield()
	}
}

// rebuild makes the table again as the applied entries left it: generations whose closing entry is applied stay, all others are read
// from the log anew. The lock is held; nobody is served meanwhile.
func (s *Store) rebuild() error {
	kept := s.gens[:0:0]
	from := s.flush.point
	for _, g := range s.gens {
		if g.version.Load() == 0 {
			s.dirty.Add(-int64(g.bytes()))
			continue
		}
		kept, from = append(kept, g), g.closing
	}
	fresh := newGeneration(s.pos)
	s.dirty.Add(int64(fresh.bytes()))
	s.gens = append(kept, fresh)
	s.loadTallies()
	s.held = s.held[:0]
	target, accepted := s.applied, s.accepted
	s.accepted, s.effect = from.Chain, from.Index
	s.lastMs = max(s.lastMs, from.TimeMs)
	for index := s.behind(from); index <= target.Index; index++ {
		if err := s.reapply(index); err != nil {
			return err
		}
	}
	invariant(s.accepted == accepted, "rebuilt up to chain %v, was %v", s.accepted, accepted)
	s.applied = target
	s.tellObserver()
	return nil
}

// behind is the first entry behind a point that may have an effect. What came with a copy the log need not have.
func (s *Store) behind(p point) uint64 { return max(p.Index, s.barrier.copied) + 1 }

func (s *Store) reapply(index uint64) error {
	term, entry, err := s.log.Read(index)
	if err != nil {
		return err
	}
	if len(entry) == 0 {
		return nil // the log's own: no-op, barrier, configuration
	}
	h, payload, err := decodeEntry(entry)
	if err != nil {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	if h.Chain.Term != term || !h.Chain.follows(s.accepted, h.is(flagFirst)) {
		s.held = s.held[:0]
		return nil
	}
	s.accept(index, h)
	if h.is(flagPart) && !h.is(flagCommit) {
		s.hold(index, payload)
		return nil
	}
	_, err = s.putEntry(index, h, payload)
	return err
}

// loadTallies sets the present counters to what records say: those of the kept generations, else Badger's.
func (s *Store) loadTallies() {
	clear(s.tallies)
	load := func(key, value []byte) {
		if keyspace, t, ok := decodeTally(key, value); ok {
			s.tallies[keyspace] = counter{t, s.pos}
		}
	}
	for key, value := range s.system {
		load([]byte(key), value)
	}
	for _, g := range s.gens {
		if head := g.groups[groupOf([]byte("!"))]; head != 0 {
			p := g.pieces()
			for r := head; r != 0; r = getRef(p.at(r), entryNext) {
				load(entryKey(p.at(r)), versionValue(p.at(getRef(p.at(r), entryNewest))))
			}
		}
	}
}
