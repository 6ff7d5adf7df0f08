package types

import (
	"sett/storage"
)

// Elements reads a hash or a set by name. The zero Elements of a type has none.
type Elements struct {
	keys  *Keys
	from  Getter
	round Reader        // what they are read from within a round; nil: from view
	view  *storage.View // … and outside of one
	key   []byte        // the meta key, for errors
	of    Type
	collection
	table
	scratch []byte
}

// OpenElements returns the elements of the live key that m is the meta record of, to be read within the present round.
func OpenElements(r Reader, keys *Keys, key []byte, m *Meta, of Type) (Elements, error) {
	return openElements(Elements{keys: keys, from: r, round: r, key: key, of: of}, m)
}

// ViewElements is OpenElements for what a view shows.
func ViewElements(v *storage.View, keys *Keys, key []byte, m *Meta, of Type) (Elements, error) {
	return openElements(Elements{keys: keys, from: v, view: v, key: key, of: of}, m)
}

func openElements(e Elements, m *Meta) (_ Elements, err error) {
	if !m.Exists {
		return e, nil
	}
	e.collection = m.collection()
	if e.id == 0 {
		return e, nil
	}
	var ok bool
	if e.table, _, ok = takeTable(e.shape); !ok {
		err = e.corrupt()
	}
	return e, err
}

func (e *Elements) corrupt() error { return corruptCollection(e.key, "elements of an unknown form") }

// Len is their number.
func (e *Elements) Len() int64 { return e.count }

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
	var scratch [elementBytes]byte
	return e.from.Get(appendBucket(scratch[:0], e.id, start))
}

// Name is an element's name. It is valid until the next call of Name or Value if it lies apart, else as long as the element.
func (e *Elements) Name(el *Element) ([]byte, error) { return e.bytesOf(&el.name) }

// Value is a field's value, with the life of Name.
func (e *Elements) Value(el *Element) ([]byte, error) { return e.bytesOf(&el.value) }

// ValueLen is the length of a field's value.
func (el *Element) ValueLen() int { return el.value.length }

func (e *Elements) bytesOf(d *datum) (_ []byte, err error) {
	if d.serial == 0 {
		return d.bytes, nil
	}
	e.scratch, err = d.appendTo(e.scratch[:0], e.from, e.id)
	return e.scratch, err
}

// each calls f for the elements of some entries.
func (e *Elements) each(entries []byte, f func(el *Element) error) error {
	for len(entries) > 0 {
		el, rest, ok := takeElement(e.of, entries)
		if !ok {
			return e.corrupt()
		}
		if err := f(&el); err != nil {
			return err
		}
		entries = rest
	}
	return nil
}

// Each calls f for all elements, in the order of their hashes if they are spread. Within a round all that they lie in is asked for at once.
func (e *Elements) Each(f func(el *Element) error) error {
	switch {
	case e.id == 0:
		return e.each(e.packed, f)
	case e.round == nil:
		return e.walk(f)
	}
	keys := make([][]byte, e.buckets)
	for i := range keys {
		keys[i] = appendBucket(nil, e.id, e.bucketAt(uint32(i)))
	}
	if err := e.round.Need(keys...); err != nil {
		return err
	}
	apart, err := e.apart(keys)
	if err != nil {
		return err
	}
	if err := e.round.Need(apart...); err != nil {
		return err
	}
	for _, key := range keys {
		entries, err := e.from.Get(key)
		if err == nil {
			err = e.each(entries, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// apart returns the keys of all that lies apart of the elements of some buckets.
func (e *Elements) apart(buckets [][]byte) (keys [][]byte, err error) {
	for _, key := range buckets {
		entries, err := e.from.Get(key)
		if err != nil {
			return nil, err
		}
		err = e.each(entries, func(el *Element) error {
			keys = el.value.needs(el.name.needs(keys, e.id), e.id)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (e *Elements) walk(f func(el *Element) error) error {
	lower := appendElement(nil, e.id, elementBucket)
	it := e.view.Iterate(lower, appendElement(nil, e.id, elementBucket+1))
	defer it.Close()
	for ok := it.Seek(lower); ok; ok = it.Next() {
		if err := e.each(it.Value(), f); err != nil {
			return err
		}
	}
	return it.Err()
}

// Scan calls f for elements from a place in the order of hashes on, whole buckets of them, until count were shown, and returns where to go on;
// 0: there are no more. Those of a packed collection are shown at once.
func (e *Elements) Scan(from uint64, count int, f func(el *Element) error) (next uint64, err error) {
	if e.id == 0 {
		return 0, e.each(e.packed, f)
	}
	if from > 1<<32-1 {
		return 0, nil
	}
	first := e.indexOf(e.bucketOf(uint32(from)))
	last := uint32(min(uint64(first)+uint64(count)/bucketEntries+1, uint64(e.buckets)))
	keys := make([][]byte, 0, last-first)
	for i := first; i < last; i++ {
		keys = append(keys, appendBucket(nil, e.id, e.bucketAt(i)))
	}
	if err := e.round.Need(keys...); err != nil {
		return 0, err
	}
	shown := 0
	for i, key := range keys {
		if shown >= count {
			return uint64(e.bucketAt(first + uint32(i))), nil
		}
		entries, err := e.from.Get(key)
		if err != nil {
			return 0, err
		}
		err = e.each(entries, func(el *Element) error {
			if e.keys.hashOf(el) < uint32(from) {
				return nil // shown already, when the buckets were others
			}
			shown++
			return f(el)
		})
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
