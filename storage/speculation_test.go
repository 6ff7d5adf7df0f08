package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// TestSpeculation runs histories of commits, refusals, lost leadership and other leaders' entries, at random moments, and compares the
// store with a model that knows nothing but the log's entries and the chain's rule. SETT_HISTORIES sets how many (default 60).
func TestSpeculation(t *testing.T) {
	n := 60
	if v, err := strconv.Atoi(os.Getenv("SETT_HISTORIES")); err == nil {
		n = v
	}
	first := uint64(1)
	if v, err := strconv.ParseUint(os.Getenv("SETT_SEED"), 10, 64); err == nil {
		first = v
	}
	for seed := first; seed < first+uint64(n); seed++ {
		if err := runHistory(t, seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// history is one random run.
type history struct {
	t     *testing.T
	rng   *rand.Rand
	s     *Store
	l     *memLog
	o     Options
	dir   string
	next  int // id of the next batch
	held  []heldReply
	alien chain  // of the other leader's last entry
	heard string // … of the observed record
}

const observedKey = "!observed"

func (h *history) observe() {
	h.s.Observe([]byte(observedKey), func(value []byte) { h.heard = string(value) })
}

// heldReply is a client that waits: its batch wrote the record "id<id>".
type heldReply struct {
	id     int
	pos    uint64
	yields uint64 // of the store when it was evaluated
	wrote  bool
	result chan error
}

func runHistory(t *testing.T, seed uint64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	o := small()
	o.GenerationRecords = 12
	o.EntryBytes = 300
	o.FlushInterval = time.Hour // generations close when the history says so
	h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 7)), l: &memLog{manual: true}, o: o, dir: t.TempDir()}
	h.s = openStore(t, h.dir, o, h.l)
	defer h.s.Close(false)
	h.observe()
	for range 40 + h.rng.IntN(120) {
		if err := h.event(); err != nil {
			return err
		}
		if is := get(h.t, h.s, observedKey); h.heard != is {
			return fmt.Errorf("%q was heard of a record that is %q", h.heard, is)
		}
	}
	h.l.refuse = false
	h.s.drive()
	if err := h.l.commit(1 << 20); err != nil {
		return err
	}
	return h.compare("at the end")
}

func (h *history) event() error {
	switch n := h.rng.IntN(100); {
	case n < 50:
		return h.write()
	case n < 58:
		return h.read()
	case n < 80:
		h.s.drive()
		return h.l.commit(1 + h.rng.IntN(3))
	case n < 86:
		h.s.CloseGeneration()
		return nil
	case n < 90:
		return h.loseLeadership()
	case n < 93:
		return h.refuse()
	case n < 96:
		h.l.drop(h.rng)
		return nil
	case n < 98:
		return h.compare("in between")
	default:
		return h.restart()
	}
}

// write evaluates a batch, small or in parts, and lets somebody wait for it.
func (h *history) write() error {
	h.next++
	id := h.next
	large := h.rng.IntN(25) == 0
	var tx Txn
	err := h.s.Update(&tx, step(func() error {
		tx.Put(fmt.Appendf(nil, "id%d", id), []byte("1"))
		for range 1 + h.rng.IntN(3) {
			key := fmt.Appendf(nil, "k%d", h.rng.IntN(20))
			switch h.rng.IntN(4) {
			case 0:
				tx.Delete(key)
			case 1: // a patch, if the generation has it
				value, err := tx.Get(key)
				if err != nil {
					return err
				}
				tx.Put(key, []byte(edited(h.rng, string(value))))
			default:
				tx.Put(key, fmt.Appendf(nil, "%d", id))
			}
		}
		if large {
			for i := range 30 {
				tx.Put(fmt.Appendf(nil, "large%d", i), make([]byte, 500))
			}
		}
		tx.Count(uint32(h.rng.IntN(2)), Tally{Keys: 1})
		if h.rng.IntN(4) == 0 {
			tx.Put([]byte(observedKey), fmt.Appendf(nil, "%d", id))
		}
		tx.Put(fmt.Appendf(nil, "id%d-end", id), []byte("1"))
		return nil
	}))
	if errors.Is(err, ErrNotEvaluating) {
		return nil
	}
	if err != nil {
		return err
	}
	h.wait(heldReply{id: id, pos: tx.Seen(), wrote: true})
	return nil
}

// read lets somebody wait for what a read has seen.
func (h *history) read() error {
	var r Reader
	err := h.s.Read(&r, step(func() error { _, err := r.Get(fmt.Appendf(nil, "k%d", h.rng.IntN(20))); return err }))
	if errors.Is(err, ErrNotEvaluating) {
		return nil
	}
	if err == nil {
		h.wait(heldReply{pos: r.Seen()})
	}
	return err
}

func (h *history) wait(r heldReply) {
	r.result = make(chan error, 1)
	s := h.s
	r.yields = s.stats.Yields.Load()
	w, err := s.enqueue(r.pos)
	if w == nil {
		r.result <- err
	} else {
		r.result = w.done
	}
	h.held = append(h.held, r)
}

// loseLeadership drops what is not committed from some entry on; perhaps another leader appends, and perhaps we come back.
func (h *history) loseLeadership() error {
	if h.rng.IntN(2) == 0 {
		h.s.Yield()
	}
	h.l.truncate(h.rng)
	h.l.term++
	for range h.rng.IntN(4) {
		h.alienEntry()
	}
	if h.rng.IntN(2) == 0 { // the rest of the old log comes before the new term's barrier
		h.s.Yield()
	}
	if err := h.l.commit(1 << 20); err != nil {
		return err
	}
	h.s.Lead(h.l.term)
	return nil
}

// alienEntry appends what another leader evaluated.
func (h *history) alienEntry() {
	e := entryHead{TimeMs: 1}
	if h.alien.Term != h.l.term {
		h.alien = chain{h.l.term, uint64(h.rng.IntN(3))}
		e.Flags |= flagFirst
	}
	h.alien.Number++
	e.Chain = h.alien
	if h.rng.IntN(3) == 0 {
		e.Flags |= flagClose
	}
	payload := appendPut(nil, fmt.Appendf(nil, "k%d", h.rng.IntN(20)), fmt.Appendf(nil, "alien%d", h.rng.IntN(1000)))
	if h.rng.IntN(3) == 0 {
		payload = appendPut(payload, []byte(observedKey), fmt.Appendf(nil, "alien%d", h.rng.IntN(1000)))
	}
	h.l.entries = append(h.l.entries, memEntry{h.l.term, encodeEntry(nil, e, payload, nil)})
	h.l.term++ // we never evaluate in its term
}

// refuse lets the log refuse an entry in the middle.
func (h *history) refuse() error {
	h.l.refuse = true
	h.s.drive()
	h.l.refuse = false
	if err := h.l.commit(1 << 20); err != nil { // what a barrier makes sure of
		return err
	}
	h.s.Lead(h.l.term)
	return nil
}

// restart replays the committed log.
func (h *history) restart() error {
	h.s.Close(false)
	h.l.truncate(h.rng)
	h.l.term++
	h.l.manual = true
	h.s = reopen(h.t, h.s, h.dir, h.l)
	h.observe()
	h.held = h.held[:0]
	return h.compare("after a restart")
}

// truncate forgets a random suffix of what is not committed.
func (l *memLog) truncate(rng *rand.Rand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = l.entries[:l.applied+rng.IntN(len(l.entries)-l.applied+1)]
}

// drop loses one entry that is not committed, without a word: those behind it must not take effect.
func (l *memLog) drop(rng *rand.Rand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.entries) - l.applied; n > 0 {
		i := l.applied + rng.IntN(n)
		l.entries = append(l.entries[:i:i], l.entries[i+1:]...)
	}
}

// compare checks the committed state against the model, and every reply that has left.
func (h *history) compare(when string) error {
	h.s.drive()
	if err := h.l.commit(1 << 20); err != nil {
		return err
	}
	h.s.tail.mu.Lock()
	lost := len(h.s.tail.proposed) > 0
	h.s.tail.mu.Unlock()
	if lost { // the last entry was dropped: in the end a log always tells
		h.s.Yield()
		h.s.Lead(h.l.term)
	}
	model, tallies := h.l.model()
	got := map[string]string{}
	for key := range keysOf(h.next) {
		if v := get(h.t, h.s, key); v != "" {
			got[key] = v
		}
	}
	if !maps.Equal(got, model) {
		for k := range keysOf(h.next) {
			if got[k] != model[k] {
				return fmt.Errorf("%s: %s = %.20q, the log says %.20q", when, k, got[k], model[k])
			}
		}
	}
	batches := int64(0)
	for id := 1; id <= h.next; id++ {
		if got[fmt.Sprint("id", id)] != "" {
			batches++
		}
		if got[fmt.Sprint("id", id)] != got[fmt.Sprint("id", id, "-end")] {
			return fmt.Errorf("%s: batch %d is there in part", when, id)
		}
	}
	for keyspace, want := range tallies {
		if n := tally(h.t, h.s, keyspace); n != want {
			return fmt.Errorf("%s: tally of %d is %v, the log says %v", when, keyspace, n, want)
		}
	}
	if n := tally(h.t, h.s, 0).Keys + tally(h.t, h.s, 1).Keys; n != batches {
		return fmt.Errorf("%s: %d batches are there, counted were %d", when, batches, n)
	}
	return h.replies(when, model)
}

func (h *history) replies(when string, model map[string]string) error {
	for _, r := range h.held {
		select {
		case err := <-r.result:
			if err == nil && r.wrote && model[fmt.Sprint("id", r.id)] == "" {
				return fmt.Errorf("%s: batch %d was acknowledged and has no effect", when, r.id)
			}
			if err != nil && (!errors.Is(err, ErrInDoubt) || r.yields == h.s.stats.Yields.Load()) {
				return fmt.Errorf("%s: batch %d: %v", when, r.id, err)
			}
		default:
			return fmt.Errorf("%s: the reply of batch %d at position %d was never released (committed %d)", when, r.id, r.pos, h.s.committed.Load())
		}
	}
	h.held = h.held[:0]
	return nil
}

func keysOf(batches int) map[string]bool {
	keys := map[string]bool{observedKey: true}
	for i := range 20 {
		keys[fmt.Sprint("k", i)] = true
	}
	for i := range batches {
		keys[fmt.Sprint("id", i+1)] = true
		keys[fmt.Sprint("id", i+1, "-end")] = true
	}
	for i := range 30 {
		keys[fmt.Sprint("large", i)] = true
	}
	return keys
}

// model is the state that the committed entries make, by the chain's rule alone.
func (l *memLog) model() (state map[string]string, tallies map[uint32]Tally) {
	state, tallies = map[string]string{}, map[uint32]Tally{}
	var term, number uint64
	var parts [][]byte
	for _, e := range l.entries[:l.applied] {
		h, payload, err := decodeEntry(e.data)
		if err != nil {
			panic(err)
		}
		first := h.Flags&flagFirst != 0
		follows := h.Chain.Term == term && h.Chain.Number == number+1
		later := h.Chain.Term > term || h.Chain.Term == term && h.Chain.Number > number
		if h.Chain.Term != e.term || !follows && !(first && later) || h.Chain.Term != term && !first {
			parts = nil
			continue
		}
		term, number = h.Chain.Term, h.Chain.Number
		if first {
			parts = nil
		}
		if h.Flags&flagPart != 0 {
			parts = append(parts, payload)
			if h.Flags&flagCommit == 0 {
				continue
			}
		} else {
			parts = [][]byte{payload}
		}
		for _, p := range parts {
			err := effects(p, func(e logged) (err error) {
				key, value := string(e.key), e.value
				if e.patch != nil {
					if value, err = e.patch.apply([]byte(state[key])); err != nil {
						return err
					}
				}
				if ks, t, ok := decodeTally(e.key, value); ok {
					tallies[ks] = t
				} else if value == nil {
					delete(state, key)
				} else {
					state[key] = string(value)
				}
				return nil
			})
			if err != nil {
				panic(err)
			}
		}
		parts = nil
	}
	return state, tallies
}

// turnover is a log that loses leadership and gets it back, in another term, while it takes the first of several entries.
type turnover struct {
	memLog
	turn bool
}

func (l *turnover) Propose(entry []byte) error {
	err := l.memLog.Propose(entry)
	if l.turn {
		l.turn = false
		l.store.Yield()
		l.commit(1)
		l.term++
		l.store.Lead(l.term)
	}
	return err
}

func (l *turnover) Waits() bool { return false }

// TestProposalsOfAnotherSpeculation: what was taken from the tail before a speculation ended must not be proposed by the next one, which does
// not have its effects.
func TestProposalsOfAnotherSpeculation(t *testing.T) {
	o := small()
	o.FlushInterval, o.GenerationRecords = time.Hour, 1 // each batch is an entry, with the close flag
	l := &turnover{}
	l.manual = true
	d, err := OpenDir(OSFS{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s, err := Open(d, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(false)
	l.store, l.term = s, 1
	if err := s.Begin(l, 1, 0); err != nil {
		t.Fatal(err)
	}
	s.Lead(1)
	l.turn = true
	set(t, s, "m first", "1")
	last := set(t, s, "m second", "2")
	if err := s.Wait(last); err != ErrInDoubt {
		t.Errorf("the second batch: %v", err)
	}
	l.manual = false
	if err := l.commit(1); err != nil { // there is none, or the second one
		t.Fatal(err)
	}
	if err := s.Wait(set(t, s, "m third", "3")); err != nil {
		t.Fatal(err)
	}
	other := openStore(t, t.TempDir(), small(), &memLog{entries: l.entries, term: l.term + 1})
	for _, node := range []*Store{s, other} { // as evaluated, and as the log has it
		for key, want := range map[string]string{"m first": "1", "m second": "", "m third": "3"} {
			if got := get(t, node, key); got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
	}
}
