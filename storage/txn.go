package storage

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// MaxKeyBytes is the longest key of any record. Badger's KVLoader does not check: longer ones are lost or panic at every restart.
const MaxKeyBytes = 32 << 10

// Txn is a Reader that also writes: it collects the effects of one batch and sees them itself. Nothing of it is visible to others before
// Run returns nil.
type Txn struct {
	Reader
	effects []effect
	buf     []byte  // keys and values of the effects
	buckets []int32 // newest effect + 1 of each bucket; used beyond scanEffects effects
	bases   []base  // what the splices of this round change
	wholes  []byte  // what was made of some of them
	unread  int     // bytes of the values that are not in buf
	tallies []tallyDelta
	marked  int // deltas below it belong to a savepoint
	timeMs  int64
	kept    int  // bytes of buf that are not given up
	tooMuch bool // effects beyond the largest batch were left out: the batch will be refused
}

type effect struct {
	hash     uint64
	key      int // offset in buf; behind it the value, or what a splice inserts
	keyLen   int32
	valueLen int32 // -1: deleted
	older    int32 // next older effect of the bucket, + 1
	base     int32 // of a splice: its place in bases, + 1; 0: it is none, or its value is in buf
	same     bool  // the value is the one before
	splice   spliced
}

// base is a value that is spliced. The generation, which most often has it, makes the new one in its place; somebody who reads that before has whole made.
type base struct{ old, whole []byte }

// spliced is where a value differs from the one before: some bytes have given way to others.
type spliced struct{ at, removed, inserted int32 }

type tallyDelta struct {
	keyspace uint32
	Tally
}

// Up to scanEffects effects are searched one by one; most commands never have more.
const scanEffects = 8

func (t *Txn) start(s *Store) {
	t.Reader.start(s)
	t.timeMs = 0
}

func (t *Txn) startRound() {
	t.Reader.startRound()
	t.s.memo.round++
	t.Rollback(Savepoint{})
	t.timeMs, t.tooMuch = 0, false
	t.forgetBases()
}

func (t *Txn) forgetBases() {
	clear(t.bases)
	t.bases, t.wholes = t.bases[:0], t.wholes[:0]
}

// finish gives up memory that only an unusually large batch needs.
func (t *Txn) finish() {
	t.forgetBases()
	if int64(cap(t.buf)) > max(t.s.budget.Buffer, int64(t.kept)) {
		t.buf = nil
	}
	if int64(cap(t.wholes)) > t.s.budget.Buffer {
		t.wholes = nil
	}
	if cap(t.bases) > 4096 {
		t.bases = nil
	}
	if cap(t.effects) > 4096 {
		t.effects, t.buckets = nil, nil
	}
	if len(t.pins) > 4096 {
		t.pins, t.missed = nil, nil
	}
}

// Keep says that batches of so many bytes will follow each other: memory for one is reserved, and not given up in between.
func (t *Txn) Keep(bytes int) {
	t.buf = slices.Grow(t.buf[:0], bytes)
	t.kept = cap(t.buf)
}

// SetTime says when the batch happens, in ms since 1970.
func (t *Txn) SetTime(ms int64) { t.timeMs = ms }

// Wrote tells whether the Txn has effects.
func (t *Txn) Wrote() bool { return len(t.effects) > 0 || t.tooMuch }

// Get returns a record's value as this Txn sees it, nil if there is none.
func (t *Txn) Get(key []byte) ([]byte, error) {
	hash := t.s.hash(key)
	if i := t.find(hash, key); i >= 0 {
		return t.value(i), nil
	}
	if value, ok := t.lookup(hash, key); ok && t.spend(len(value)) {
		return value, nil
	}
	return t.miss(key)
}

// Append appends a record's value as this Txn sees it to dst, nothing if there is none.
func (t *Txn) Append(dst, key []byte) ([]byte, error) {
	if i := t.find(t.s.hash(key), key); i >= 0 {
		return append(dst, t.value(i)...), nil
	}
	return t.Reader.Append(dst, key)
}

// Unchanged tells whether nothing was written to a record since a view was taken, this Txn's own effects included: it is then what the view has seen,
// and nobody need read it. false may also mean that this is not known any more: what was written since has begun to go to Badger.
func (t *Txn) Unchanged(v *View, key []byte) bool {
	hash := t.s.hash(key)
	if v.dead.Load() || t.find(hash, key) >= 0 {
		return false
	}
	gens := t.s.gens
	for i := len(gens) - 1; i >= 0; i-- {
		if ver := gens[i].get(uint32(hash), key); ver != nil {
			return versionPosition(ver) <= v.pos
		}
		if gens[i].firstPos <= v.pos+1 {
			return true // all that is older the view has seen
		}
	}
	return false
}

// Need makes sure that records are in memory: one round fetches all that are not.
func (t *Txn) Need(keys ...[]byte) error {
	for _, key := range keys {
		if t.find(t.s.hash(key), key) >= 0 {
			continue
		}
		if err := t.Reader.Need(key); err != nil && err != ErrMiss {
			return err
		}
	}
	if t.missedAny {
		return ErrMiss
	}
	return nil
}

// Put sets a record. Key and value are copied. A key is at most MaxKeyBytes long, a value at least one byte.
func (t *Txn) Put(key, value []byte) {
	if len(value) == 0 {
		invariant(false, "empty value for key %q", key) // boxing key would cost an allocation each time
	}
	t.add(key, value, int32(len(value)))
}

// Touch is Put of the value that a record has: those who look at the effects of the batch see it as any other, but there is nothing to write.
func (t *Txn) Touch(key, value []byte) {
	first := t.find(t.s.hash(key), key) < 0 // else it replaces an effect, which is not written either
	if t.Put(key, value); !t.tooMuch {
		t.effects[len(t.effects)-1].same = first
	}
}

// Delete removes a record, whether it exists or not.
func (t *Txn) Delete(key []byte) { t.add(key, nil, -1) }

// Splice is Put of what a value becomes when removed bytes at an offset give way to others. old is what Get returned for the key last, in this
// round. So nobody has to look for the difference when the log wants to have no more than that.
func (t *Txn) Splice(key, old []byte, at, removed int, inserted []byte) {
	size := len(old) - removed + len(inserted)
	if size == 0 {
		invariant(false, "empty value for key %q", key)
	}
	if !t.fits(key, size) {
		return
	}
	e := effect{hash: t.s.hash(key), key: len(t.buf), keyLen: int32(len(key)), valueLen: int32(size)}
	t.buf = append(t.buf, key...)
	if t.find(e.hash, key) < 0 {
		t.bases = append(t.bases, base{old: old})
		e.base, e.splice = int32(len(t.bases)), spliced{int32(at), int32(removed), int32(len(inserted))}
		t.buf = append(t.buf, inserted...)
		t.unread += size - len(inserted)
	} else { // the log will not have heard of what this batch has put before
		t.buf = append(append(append(t.buf, old[:at]...), inserted...), old[at+removed:]...)
	}
	t.note(e)
}

func (t *Txn) add(key, value []byte, valueLen int32) {
	if !t.fits(key, len(value)) {
		return
	}
	e := effect{hash: t.s.hash(key), key: len(t.buf), keyLen: int32(len(key)), valueLen: valueLen}
	t.buf = append(append(t.buf, key...), value...)
	t.note(e)
}

// fits tells whether the batch has room for an effect.
func (t *Txn) fits(key []byte, valueBytes int) bool {
	invariant(len(key) > 0 && len(key) <= MaxKeyBytes, "key of %d bytes", len(key))
	t.tooMuch = t.tooMuch || int64(len(t.buf)+t.unread+len(key)+valueBytes) > t.s.fit.batchMax.Load()
	return !t.tooMuch
}

func (t *Txn) note(e effect) {
	t.effects = append(t.effects, e)
	switch n := len(t.effects); {
	case n <= scanEffects:
	case n > len(t.buckets):
		t.rehash(4 * n)
	default:
		t.link(n - 1)
	}
}

func (t *Txn) rehash(n int) {
	size := 64
	for size < n {
		size *= 2
	}
	if cap(t.buckets) < size {
		t.buckets = make([]int32, size)
	}
	t.buckets = t.buckets[:size]
	clear(t.buckets)
	for i := range t.effects {
		t.link(i)
	}
}

func (t *Txn) link(i int) {
	b := &t.buckets[t.effects[i].hash>>32&uint64(len(t.buckets)-1)]
	t.effects[i].older = *b
	*b = int32(i + 1)
}

// find returns the newest effect on a key, or -1.
func (t *Txn) find(hash uint64, key []byte) int {
	if len(t.effects) <= scanEffects {
		for i := len(t.effects) - 1; i >= 0; i-- {
			if t.effects[i].hash == hash && bytes.Equal(t.key(i), key) {
				return i
			}
		}
		return -1
	}
	for i := t.buckets[hash>>32&uint64(len(t.buckets)-1)]; i != 0; i = t.effects[i-1].older {
		if e := &t.effects[i-1]; e.hash == hash && bytes.Equal(t.key(int(i-1)), key) {
			return int(i - 1)
		}
	}
	return -1
}

func (t *Txn) key(i int) []byte {
	e := &t.effects[i]
	end := e.key + int(e.keyLen)
	return t.buf[e.key:end:end]
}

func (t *Txn) value(i int) []byte {
	e := &t.effects[i]
	if e.valueLen < 0 {
		return nil
	}
	if e.base != 0 {
		b := &t.bases[e.base-1]
		if b.whole == nil {
			start := len(t.wholes)
			t.wholes = t.splice(e).appendTo(t.wholes)
			b.whole = t.wholes[start:len(t.wholes):len(t.wholes)]
		}
		return b.whole
	}
	start := e.key + int(e.keyLen)
	end := start + int(e.valueLen)
	return t.buf[start:end:end]
}

// splice is what an effect that has a base does.
func (t *Txn) splice(e *effect) splice {
	start := e.key + int(e.keyLen)
	end := start + int(e.splice.inserted)
	return splice{t.bases[e.base-1].old, int(e.splice.at), int(e.splice.removed), t.buf[start:end:end]}
}

// Count adds to a keyspace's counters.
func (t *Txn) Count(keyspace uint32, d Tally) {
	if n := len(t.tallies); n > t.marked && t.tallies[n-1].keyspace == keyspace {
		t.tallies[n-1].Tally = t.tallies[n-1].plus(d)
		return
	}
	t.tallies = append(t.tallies, tallyDelta{keyspace, d})
}

// Tally returns a keyspace's counters as this Txn sees them.
func (t *Txn) Tally(keyspace uint32) Tally {
	sum := t.Reader.Tally(keyspace)
	for _, d := range t.tallies {
		if d.keyspace == keyspace {
			sum = sum.plus(d.Tally)
		}
	}
	return sum
}

// Len is the number of effects so far.
func (t *Txn) Len() int { return len(t.effects) }

// Effects calls f for the key of every effect, in order.
func (t *Txn) Effects(f func(key []byte)) {
	for i := range t.effects {
		f(t.key(i))
	}
}

// Savepoint is a place in a Txn that it can be rolled back to. The zero Savepoint is the beginning.
type Savepoint struct{ effects, buf, unread, tallies int }

// Savepoint marks the present place.
func (t *Txn) Savepoint() Savepoint {
	t.marked = len(t.tallies)
	return Savepoint{len(t.effects), len(t.buf), t.unread, len(t.tallies)}
}

// Rollback forgets all effects since the savepoint. Savepoints taken after it are void.
func (t *Txn) Rollback(sp Savepoint) {
	for i := len(t.effects) - 1; i >= sp.effects && len(t.buckets) > 0 && len(t.effects) > scanEffects; i-- {
		t.buckets[t.effects[i].hash>>32&uint64(len(t.buckets)-1)] = t.effects[i].older
	}
	t.effects, t.buf, t.tallies = t.effects[:sp.effects], t.buf[:sp.buf], t.tallies[:sp.tallies]
	t.unread = sp.unread
	if len(t.effects) <= scanEffects {
		t.buckets = t.buckets[:0]
	}
	t.marked = sp.tallies
}

const nextIDKey = "!id"

// NewID returns an id for a collection or a blob. It is never used again. The counter is part of the batch.
func (t *Txn) NewID() uint64 {
	value, err := t.Get([]byte(nextIDKey))
	invariant(err == nil, "system records are always in memory")
	id := uint64(1)
	if value != nil {
		id = binary.BigEndian.Uint64(value)
	}
	t.Put([]byte(nextIDKey), binary.BigEndian.AppendUint64(nil, id+1))
	return id
}
