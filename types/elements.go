package types

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"

	"sett/storage"
)

// Elements reads a hash or a set by name. The zero Elements of a type has none. A field past its time is not there, but for Len.
type Elements struct {
	keys  *Keys
	from  Getter
	round Reader        // what they are read from within a round; nil: from view
	view  *storage.View // … and outside of one
	key   []byte        // the meta key, for errors
	nowMs int64         // 0: what is past its time is seen, too
	of    Type
	collection
	table
	scratch   []byte
	bucketKey []byte   // scratch
	live      [][]byte // the entries that are not past their time, once RandomLive has looked for them
	ahead     ahead    // what a walk over a view has read ahead
}

// Open begins to read the live key that m is the meta record of, as of nowMs, within the present round.
func (e *Elements) Open(r Reader, keys *Keys, key []byte, m *Meta, of Type, nowMs int64) error {
	e.keys, e.from, e.round, e.view, e.of, e.nowMs = keys, r, r, nil, of, nowMs
	return e.takeMeta(key, m)
}

// OpenView is Open for what a view shows.
func (e *Elements) OpenView(v *storage.View, keys *Keys, key []byte, m *Meta, of Type, nowMs int64) error {
	e.keys, e.from, e.round, e.view, e.of, e.nowMs = keys, v, nil, v, of, nowMs
	return e.takeMeta(key, m)
}

func (e *Elements) takeMeta(key []byte, m *Meta) error {
	e.key = append(e.key[:0], key...)
	e.collection, e.table, e.live, e.ahead = collection{}, table{}, nil, ahead{}
	if !m.Exists {
		return nil
	}
	e.collection = m.collection()
	if e.id == 0 {
		return nil
	}
	var ok bool
	if e.table, _, ok = takeTable(e.shape); !ok {
		return e.corrupt()
	}
	return nil
}

func (e *Elements) corrupt() error { return corruptCollection(e.key, "elements of an unknown form") }

// Len is their number. As in Redis, fields past their time count until they are removed.
func (e *Elements) Len() int64 { return e.count }

// Bytes is the length of all their names and values, about: those of a packed collection count with their heads.
func (e *Elements) Bytes() int64 { return e.valueBytes() }

// Converted tells whether Redis would have given up the smaller encoding.
func (e *Elements) Converted() bool { return e.converted }

// Need makes sure that what tells of all these names is in memory: one round fetches all that is not.
func (e *Elements) Need(names [][]byte) error {
	if e.id == 0 || len(names) < 2 || e.round == nil {
		return nil
	}
	keys := make([][]byte, len(names))
	for i, name := range names {
		n := e.keys.elementName(name)
		keys[i] = appendBucket(nil, e.id, e.bucketOf(n.hash))
	}
	return e.round.Need(keys...)
}

// Find returns the element of a name.
func (e *Elements) Find(name []byte) (el Element, found bool, err error) {
	n := e.keys.elementName(name)
	entries, err := e.entriesOf(n.hash)
	if err != nil {
		return el, false, err
	}
	el, _, found, ok := find(e.of, entries, &n)
	if !ok {
		return el, false, e.corrupt()
	}
	if e.ends(&el) {
		return Element{}, false, nil
	}
	return el, found, nil
}

// entriesOf returns the entries among which those of a hash are.
func (e *Elements) entriesOf(hash uint32) ([]byte, error) {
	if e.id == 0 {
		return e.packed, nil
	}
	return e.bucket(e.bucketOf(hash))
}

func (e *Elements) bucket(start uint32) ([]byte, error) {
	e.bucketKey = appendBucket(e.bucketKey[:0], e.id, start)
	return e.from.Get(e.bucketKey)
}

// Name is an element's name. It is valid until the next call of Name or Value if it lies apart, else as long as the element.
func (e *Elements) Name(el *Element) ([]byte, error) { return e.bytesOf(&el.name) }

// Value is a field's value, with the life of Name.
func (e *Elements) Value(el *Element) ([]byte, error) { return e.bytesOf(&el.value) }

// Entry is how the element lies in its record: no two of a collection are the same.
func (el *Element) Entry() []byte { return el.raw }

// ValueLen is the length of a field's value.
func (el *Element) ValueLen() int { return el.value.length }

func (e *Elements) bytesOf(d *datum) (_ []byte, err error) {
	if d.serial == 0 {
		return d.bytes, nil
	}
	switch {
	case e.round == nil && d.length <= partBytes && len(d.sum) == 0:
		return e.ahead.value(e, d)
	case e.round != nil && d.length > partBytes:
		if err := e.round.Need(d.needs(nil, e.id)...); err != nil {
			return nil, err
		}
	}
	e.scratch, err = d.appendTo(e.scratch[:0], e.from, e.id)
	return e.scratch, err
}

// each calls f for the elements of some entries that are not past their time.
func (e *Elements) each(entries []byte, f func(el *Element) error) error {
	var el Element // f has its address: one for all
	for len(entries) > 0 {
		var ok bool
		if el, entries, ok = takeElement(e.of, entries); !ok {
			return e.corrupt()
		}
		if e.ends(&el) {
			continue
		}
		if err := f(&el); err != nil {
			return err
		}
	}
	return nil
}

// Asks tells whether reading them may end a round, because they are not in memory.
func (e *Elements) Asks() bool { return e.id != 0 && e.round != nil }

// NeedAll makes sure that all of them are in memory: the buckets in one round, and what lies apart in another.
func (e *Elements) NeedAll() error { return e.needBuckets(0, e.buckets) }

// needBuckets makes sure that the elements of some buckets are in memory.
func (e *Elements) needBuckets(from, to uint32) error {
	if !e.Asks() {
		return nil
	}
	keys := make([][]byte, 0, to-from)
	for i := from; i < to; i++ {
		keys = append(keys, appendBucket(nil, e.id, e.bucketAt(i)))
	}
	if err := e.round.Need(keys...); err != nil {
		return err
	}
	var apart [][]byte
	for i := from; i < to; i++ {
		entries, err := e.bucket(e.bucketAt(i))
		if err == nil {
			err = e.each(entries, func(el *Element) error {
				apart = el.value.needs(el.name.needs(apart, e.id), e.id)
				return nil
			})
		}
		if err != nil {
			return err
		}
	}
	return e.round.Need(apart...)
}

// Each calls f for all elements: those of a set that Redis would keep as an intset in the order of their numbers, as there, packed ones in
// the order in which they came, and all others in that of their hashes.
func (e *Elements) Each(f func(el *Element) error) error {
	if e.of == Set && !e.converted {
		return e.eachNumber(f)
	}
	return e.eachStored(f)
}

func (e *Elements) eachNumber(f func(el *Element) error) error {
	type member struct {
		number int64
		Element
	}
	members := make([]member, 0, min(e.count, 1<<10))
	err := e.eachStored(func(el *Element) error {
		n, err := strconv.ParseInt(string(el.name.bytes), 10, 64)
		if err != nil {
			return e.corrupt()
		}
		if e.view != nil {
			el.name.bytes = bytes.Clone(el.name.bytes) // the iterator goes on
		}
		members = append(members, member{n, *el})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.number, b.number) })
	for i := range members {
		if err := f(&members[i].Element); err != nil {
			return err
		}
	}
	return nil
}

func (e *Elements) eachStored(f func(el *Element) error) error {
	switch {
	case e.id == 0:
		return e.each(e.packed, f)
	case e.view != nil:
		return e.walk(f)
	}
	for i := range e.buckets {
		entries, err := e.bucket(e.bucketAt(i))
		if err == nil {
			err = e.each(entries, f)
		}
		if err == storage.ErrMiss {
			return cmp.Or(e.NeedAll(), err) // most often all is in memory; now that it is not, all that is missing is asked for at once
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Scan calls f for elements from a place in the order of hashes on, whole buckets of them, until count were shown, and returns where to go on;
// 0: there are no more. What is packed, or what Redis would keep in its smaller encoding, is shown at once.
func (e *Elements) Scan(from uint64, count int64, f func(el *Element) error) (next uint64, err error) {
	if e.id == 0 || !e.converted {
		return 0, e.Each(f)
	}
	if from > 1<<32-1 {
		return 0, nil
	}
	first := e.indexOf(e.bucketOf(uint32(from)))
	last := first + uint32(min(count/bucketEntries+1, int64(e.buckets-first)))
	if err := e.needBuckets(first, last); err != nil {
		return 0, err
	}
	shown := int64(0)
	for i := first; i < last; i++ {
		if shown >= count {
			return uint64(e.bucketAt(i)), nil
		}
		entries, err := e.bucket(e.bucketAt(i))
		if err == nil {
			err = e.each(entries, func(el *Element) error {
				if e.keys.hashOf(el) < uint32(from) {
					return nil // shown already, when the buckets were others
				}
				shown++
				return f(el)
			})
		}
		if err != nil {
			return 0, err
		}
	}
	if last == e.buckets {
		return 0, nil
	}
	return uint64(e.bucketAt(last)), nil
}

// Of the places that are drawn, most are empty: when one is not in memory, as many are asked for at once as it will take to find some elements.
const (
	drawsAnElement = 8
	drawsAtOnce    = 4096
)

// Random returns one of the elements, each with the same chance. There must be one. picks is how many will be asked for, this one included.
func (e *Elements) Random(next func() uint64, picks int) (el Element, err error) {
	if e.id == 0 {
		return e.nth(e.packed, int(next()%uint64(e.count)))
	}
	for tries := 0; ; tries++ {
		start, place := e.draw(next)
		entries, err := e.bucket(start)
		if err == storage.ErrMiss {
			return el, e.needDrawn(start, min(picks, drawsAtOnce/drawsAnElement)*drawsAnElement, next)
		}
		if err != nil {
			return el, err
		}
		if n, ok := countEntries(e.of, entries); !ok || tries > 1<<20 {
			return el, e.corrupt()
		} else if place < n {
			return e.nth(entries, place)
		}
	}
}

func (e *Elements) draw(next func() uint64) (start uint32, place int) {
	return e.bucketAt(uint32(next() % uint64(e.buckets))), int(next() % uint64(e.widest))
}

// needDrawn asks for a bucket and for those that will be drawn next.
func (e *Elements) needDrawn(start uint32, draws int, next func() uint64) error {
	keys := make([][]byte, 0, draws+1)
	for keys = append(keys, appendBucket(nil, e.id, start)); len(keys) <= draws; {
		start, _ := e.draw(next)
		keys = append(keys, appendBucket(nil, e.id, start))
	}
	return e.round.Need(keys...)
}

func (e *Elements) nth(entries []byte, n int) (el Element, err error) {
	for ; ; n-- {
		var ok bool
		if el, entries, ok = takeElement(e.of, entries); !ok {
			return el, e.corrupt()
		}
		if n == 0 {
			return el, nil
		}
	}
}
