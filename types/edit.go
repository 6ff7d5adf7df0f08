package types

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"sett/storage"
)

// Edit changes the elements of a hash or a set, or, as ZSetEdit, of a sorted set. What it changes it keeps to itself until Save, which writes
// every touched bucket once, and the meta record. A Ledger has one at a time.
type Edit struct {
	Ranking
	l       *Ledger
	r       *Record
	open    []openBucket // buckets read so far; what they hold is as it will be
	byStart map[uint32]int
	entry   []byte // scratch for an entry
	changed bool

	announced int   // names that will be put or removed, as far as Need was told
	timeRows  int64 // of a spread hash: how many rows the tree of its fields' times has

	expected, expectedBytes int64 // elements, and bytes of them, as far as Expect was told
}

// openBucket is a bucket in an Edit's hands.
type openBucket struct {
	start   uint32
	entries []byte
	count   int
	stored  bool // it has a record
	dirty   bool
}

// A bucket beyond fullBucketBytes takes values by reference only: no record of the LSM may reach 32 KiB.
const fullBucketBytes = 8 << 10

// fewBuckets are searched one by one.
const fewBuckets = 8

// EditElements begins to change the elements of a record that is one of type of, or does not exist.
func (l *Ledger) EditElements(r *Record, of Type) (*Edit, error) {
	e := &l.edit
	for i := range e.open {
		e.open[i].entries = e.open[i].entries[:0]
	}
	if len(e.open) > fewBuckets {
		e.open, e.byStart = nil, nil
	}
	e.l, e.r, e.open, e.changed, e.announced = l, r, e.open[:0], false, 0
	clear(e.byStart)
	e.expected, e.expectedBytes = 0, 0
	packed := e.packed[:0]
	err := e.Elements.Open(l.txn, l.options.Keys, r.Key, &r.Meta, of, l.nowMs)
	e.from, e.packed = e, append(packed, e.packed...)
	if err == nil && of == Hash {
		err = e.openTimes()
	}
	return e, err
}

// Need is Elements.Need for names that will be put or removed.
func (e *Edit) Need(names [][]byte) error {
	e.announced = len(names)
	return e.Elements.Need(names)
}

// Expect says how many elements, of how many bytes, a collection will have at most that is packed as yet. It then spreads over as many buckets as
// that takes: who comes with the elements in the order of their hashes would otherwise fill few buckets beyond measure.
func (e *Edit) Expect(count, bytes int64) { e.expected, e.expectedBytes = count, bytes }

// Fit joins up to n of the buckets that are too many, and tells whether there are more.
func (e *Edit) Fit(n int) (more bool, err error) {
	for range n {
		before := e.buckets
		if err := e.shrink(); err != nil || e.buckets == before {
			return false, err
		}
		e.changed = true
	}
	return true, nil
}

// Get is how its Elements read: the buckets in its hands before all others.
func (e *Edit) Get(key []byte) ([]byte, error) {
	if len(key) == elementBytes && key[9] == elementBucket {
		if b := e.find(binary.BigEndian.Uint32(key[10:])); b != nil {
			return b.entries, nil
		}
	}
	return e.l.txn.Get(key)
}

func (e *Edit) find(start uint32) *openBucket {
	if len(e.open) > fewBuckets {
		if i, ok := e.byStart[start]; ok {
			return &e.open[i]
		}
		return nil
	}
	for i := range e.open {
		if e.open[i].start == start {
			return &e.open[i]
		}
	}
	return nil
}

// load takes a bucket into its hands.
func (e *Edit) load(start uint32) (*openBucket, error) {
	if b := e.find(start); b != nil {
		return b, nil
	}
	e.l.key = appendBucket(e.l.key[:0], e.id, start)
	entries, err := e.l.txn.Get(e.l.key)
	if err != nil {
		return nil, err
	}
	n, ok := countEntries(e.of, entries)
	if !ok {
		return nil, e.corrupt()
	}
	b := e.add(start)
	b.entries, b.count, b.stored = append(b.entries, entries...), n, entries != nil
	return b, nil
}

// add puts an empty bucket into its hands.
func (e *Edit) add(start uint32) *openBucket {
	if n := len(e.open); n < cap(e.open) {
		e.open = e.open[:n+1]
		e.open[n] = openBucket{start: start, entries: e.open[n].entries[:0]}
	} else {
		e.open = append(e.open, openBucket{start: start})
	}
	n := len(e.open) - 1
	switch {
	case n == fewBuckets:
		if e.byStart == nil {
			e.byStart = make(map[uint32]int)
		}
		for i := range e.open {
			e.byStart[e.open[i].start] = i
		}
	case n > fewBuckets:
		e.byStart[start] = n
	}
	return &e.open[n]
}

// Put sets the element of a name; of a set, the value is nil. added tells whether there was none. A member that a set has already is no change.
func (e *Edit) Put(name, value []byte) (added bool, err error) { return e.PutMortal(name, value, 0) }

// PutMortal is Put for a field that dies at expireAtMs; 0: never.
func (e *Edit) PutMortal(name, value []byte, expireAtMs int64) (added bool, err error) {
	n := e.keys.elementName(name)
	if e.id == 0 {
		old, at, found, ok := find(e.of, e.packed, &n)
		switch {
		case !ok:
			return false, e.corrupt()
		case found && e.of == Set:
			return false, nil
		}
		if len(name) <= inlineMaxBytes && len(value) <= inlineMaxBytes {
			e.entry = e.appendInlineEntry(appendMortal(e.entry[:0], expireAtMs), name, value)
			if !found {
				e.count++
			}
			return !found || e.ends(&old), e.exchange(at, len(old.raw), expireAtMs)
		}
		if err := e.spread(); err != nil {
			return false, err
		}
	}
	return e.putSpread(&n, value, expireAtMs)
}

func (e *Edit) appendInlineEntry(dst, name, value []byte) []byte {
	dst = appendInline(dst, name)
	if e.of == Hash {
		dst = appendInline(dst, value)
	}
	return dst
}

// splice exchanges n bytes of b for others.
func splice(b []byte, at, n int, by []byte) []byte {
	if d := len(by) - n; d > 0 {
		b = append(b, by[:d]...) // the bytes do not matter
		copy(b[at+len(by):], b[at+n:len(b)-d])
	} else if d < 0 {
		copy(b[at+len(by):], b[at+n:])
		b = b[:len(b)+d]
	}
	copy(b[at:], by)
	return b
}

func (e *Edit) putSpread(n *elementName, value []byte, expireAtMs int64) (added bool, err error) {
	old, found, err := e.look(n)
	if err != nil || found && e.of == Set {
		return false, err
	}
	if err := e.retime(&old, n.hash, expireAtMs); err != nil {
		return false, err
	}
	added = !found || e.ends(&old.Element)
	e.entry = appendMortal(e.entry[:0], expireAtMs)
	taken := uint64(0)
	switch {
	case found && old.name.serial != 0: // it stays where it is
		named := old.unmarked()
		e.entry = append(e.entry, named[:len(named)-e.valuePartOf(&old.Element)]...)
	case len(n.bytes) > inlineMaxBytes:
		taken = old.bucket.freeSerial(e.of, n.hash, 0)
		e.entry = e.l.appendApart(e.entry, e.id, taken, n.bytes, true)
	default:
		e.entry = appendInline(e.entry, n.bytes)
	}
	if e.of == Hash {
		e.entry = e.appendValue(e.entry, &old, n.hash, taken, value)
	}
	e.bytes += int64(len(n.bytes)+len(value)) - old.bytes()
	return added, e.write(&old, e.entry)
}

// appendValue appends a field's value to its entry. If it lies apart, as the one before it did, it takes that one's place; else a serial that is not
// taken.
func (e *Edit) appendValue(dst []byte, p *place, hash uint32, taken uint64, value []byte) []byte {
	limit := inlineMaxBytes
	switch {
	case len(p.bucket.entries)+len(dst)+len(value) > fullBucketBytes:
		limit = 0 // many large ones met by chance
	case e.count >= int64(e.l.options.ManyFields):
		limit = fieldInlineMaxBytes
	}
	if len(value) <= limit || len(value) == 0 {
		e.l.dropDatum(e.id, &p.value)
		return appendInline(dst, value)
	}
	serial := p.value.serial
	if serial == 0 {
		serial = p.bucket.freeSerial(e.of, hash, taken)
	}
	e.l.dropBehind(e.id, &p.value, len(value))
	return e.l.appendApart(dst, e.id, serial, value, false)
}

// freeSerial is a serial that nothing in the collection has, nor taken: it begins with the hash, and all elements of one hash are in one bucket. So what
// lies apart of them lies in the order of hashes, in which all of them are read (walk).
func (b *openBucket) freeSerial(of Type, hash uint32, taken uint64) uint64 {
	serial := max(uint64(hash)<<32, taken) + 1
	var begin [4]byte
	if binary.BigEndian.PutUint32(begin[:], hash); !bytes.Contains(b.entries, begin[:]) {
		return serial // most often
	}
	for rest := b.entries; len(rest) > 0; {
		var el Element
		el, rest, _ = takeElement(of, rest) // load has seen that they are well-formed
		for _, s := range [...]uint64{el.name.serial, el.value.serial} {
			if s>>32 == uint64(hash) {
				serial = max(serial, s+1)
			}
		}
	}
	return serial
}

// place is where the entry of a name is in its bucket, or, if there is none, where it goes.
type place struct {
	Element
	bucket *openBucket
	at     int
}

// look finds a name in its bucket, which is loaded.
func (e *Edit) look(n *elementName) (p place, found bool, err error) {
	if p.bucket, err = e.load(e.bucketOf(n.hash)); err != nil {
		return p, false, err
	}
	var ok bool
	if p.Element, p.at, found, ok = find(e.of, p.bucket.entries, n); !ok {
		return p, false, e.corrupt()
	}
	return p, found, nil
}

// write puts an entry at its place, instead of the one that is there.
func (e *Edit) write(p *place, entry []byte) error {
	e.changed = true
	if bytes.Equal(entry, p.raw) {
		return nil // all that is new lies apart
	}
	b := p.bucket
	b.entries = splice(b.entries, p.at, len(p.raw), entry)
	b.dirty = true
	e.size += int64(len(entry) - len(p.raw))
	if len(p.raw) == 0 {
		b.count++
		e.count++
		e.widest = max(e.widest, uint32(b.count))
	}
	return e.grow()
}

// erase takes an entry out of its place.
func (e *Edit) erase(p *place) error {
	b := p.bucket
	b.entries = splice(b.entries, p.at, len(p.raw), nil)
	b.dirty, e.changed = true, true
	b.count--
	e.count--
	e.size -= int64(len(p.raw))
	return e.shrink()
}

// valuePartOf is how many bytes of an entry its value takes.
func (e *Edit) valuePartOf(el *Element) int {
	_, rest, _ := takeDatum(el.unmarked(), true)
	return len(rest)
}

// Remove removes the element of a name, if there is one.
func (e *Edit) Remove(name []byte) (removed bool, err error) {
	n := e.keys.elementName(name)
	if e.id == 0 {
		old, at, found, ok := find(e.of, e.packed, &n)
		if !ok {
			return false, e.corrupt()
		}
		if found {
			e.packed = splice(e.packed, at, len(old.raw), nil)
			e.count--
			e.changed = true
		}
		return found && !e.ends(&old), nil
	}
	old, found, err := e.look(&n)
	if err != nil || !found {
		return false, err
	}
	if err := e.retime(&old, n.hash, 0); err != nil {
		return false, err
	}
	removed = !e.ends(&old.Element)
	e.l.dropDatum(e.id, &old.name)
	e.l.dropDatum(e.id, &old.value)
	e.bytes -= old.bytes()
	return removed, e.erase(&old)
}

// spread gives packed elements buckets.
func (e *Edit) spread() error {
	packed := e.packed
	e.id = e.l.txn.NewID()
	e.bytes = 0
	e.table = table{size: max(int64(len(packed)), e.expectedBytes)}
	e.buckets = e.wanted(max(e.count, e.expected, 1))
	e.size = int64(len(packed))
	e.changed = true
	for len(packed) > 0 {
		el, rest, ok := takeElement(e.of, packed)
		if !ok {
			return e.corrupt()
		}
		start := e.bucketOf(e.keys.hashOf(&el))
		b := e.find(start)
		if b == nil {
			b = e.add(start)
		}
		b.entries, b.dirty = append(b.entries, el.raw...), true
		b.count++
		e.widest = max(e.widest, uint32(b.count))
		e.bytes += el.bytes()
		packed = rest
	}
	e.widest = max(e.widest, 1)
	if e.of == Hash {
		return e.spreadTimes()
	}
	return nil
}

// perChange is how many buckets one change of an element divides or joins at most, so that none takes long. It keeps up well enough: one more
// element asks for one more bucket at most, and a longer value for four.
const perChange = 2

func (e *Edit) grow() error {
	for range perChange {
		if e.buckets >= e.wanted(e.count) {
			return nil
		}
		lower, upper := halves(e.level())
		if _, err := e.load(lower); err != nil {
			return e.needAhead(err, 1)
		}
		if e.find(upper) == nil { // unless it was joined to the lower one just now
			e.add(upper) // may move from
		}
		from, to := e.find(lower), e.find(upper)
		kept, had := from.entries[:0], to.count
		for rest := from.entries; len(rest) > 0; {
			el, after, ok := takeElement(e.of, rest)
			if !ok {
				return e.corrupt()
			}
			if e.keys.hashOf(&el) >= upper {
				to.entries = append(to.entries, el.raw...)
				to.count++
			} else {
				kept = append(kept, el.raw...)
			}
			rest = after
		}
		if moved := to.count - had; moved > 0 { // else both stay as they were
			from.entries, from.count = kept, from.count-moved
			from.dirty, to.dirty = true, true
		}
		e.buckets++
	}
	return nil
}

func (e *Edit) shrink() error {
	for range perChange {
		if e.buckets <= 2*e.wanted(max(e.count, 1))+bucketEntries {
			return nil
		}
		e.buckets--
		lower, upper := halves(e.level())
		_, err := e.load(upper)
		if err == nil {
			_, err = e.load(lower)
		}
		if err != nil {
			return e.needAhead(err, -1)
		}
		from, to := e.find(upper), e.find(lower)
		if len(from.entries)+len(to.entries) > fullBucketBytes {
			e.buckets++
			return nil
		}
		to.entries, to.count = append(to.entries, from.entries...), to.count+from.count
		from.entries, from.count = from.entries[:0], 0
		from.dirty, to.dirty = true, true
		e.widest = max(e.widest, uint32(to.count))
	}
	return nil
}

// needAhead asks, if a bucket that is to be divided (step 1) or joined (-1) is not in memory, for those whose turn comes next in this round.
func (e *Edit) needAhead(err error, step int) error {
	if err != storage.ErrMiss {
		return err
	}
	var keys [][]byte
	for n := range e.announced/bucketEntries + perChange {
		t := table{buckets: e.buckets + uint32(n*step)}
		if t.buckets-1 >= maxBuckets-1 {
			break
		}
		lower, upper := halves(t.level())
		keys = append(keys, appendBucket(nil, e.id, lower))
		if step < 0 {
			keys = append(keys, appendBucket(nil, e.id, upper))
		}
	}
	return cmp.Or(e.l.txn.Need(keys...), err)
}

// Convert notes that Redis would give up the smaller encoding.
func (e *Edit) Convert() {
	if !e.converted {
		e.converted, e.changed = true, true
	}
}

// Clear begins anew with no element, which no encoding is too small for; the time to live stays. It comes before all other changes.
func (e *Edit) Clear() {
	e.collection, e.table = collection{packed: e.packed[:0]}, table{}
	e.open, e.changed, e.timeRows = e.open[:0], true, 0
	clear(e.byStart)
}

// Save writes what has changed. The record is as it was if nothing has; it is gone if no element is left.
func (e *Edit) Save() {
	if !e.changed {
		return
	}
	for i := range e.open {
		b := &e.open[i]
		if !b.dirty || e.count == 0 {
			continue
		}
		e.l.key = appendBucket(e.l.key[:0], e.id, b.start)
		switch {
		case len(b.entries) > 0:
			e.l.txn.Put(e.l.key, b.entries)
		case b.stored:
			e.l.txn.Delete(e.l.key)
		}
	}
	e.settleTimes()
	if e.id != 0 {
		e.l.shape = e.appendShape(e.l.shape[:0])
		switch e.of {
		case ZSet:
			e.l.shape = e.saveRows(e.l.shape)
		case Hash:
			e.l.shape = e.saveTimes(e.l.shape)
		}
		e.shape = e.l.shape
	}
	e.l.putCollection(e.r, e.of, &e.collection)
}
