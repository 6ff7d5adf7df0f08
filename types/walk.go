package types

import "slices"

// A walk over the elements that a view shows reads a number of buckets, and then, if it is asked for one, the values that lie apart of them: both
// with one iterator over records in the order of hashes. There is never more than one: it keeps Badger from being closed, for which somebody may wait
// behind whom the second would have to wait.
type ahead struct {
	entries []byte   // of the buckets
	read    bool     // the values of these are in values
	serials []uint64 // of the values that lie apart in one part, ascending
	values  [][]byte
}

// What is read ahead: the entries of buckets, and the values, that together have about so many bytes.
const (
	aheadEntryBytes = 32 << 10
	aheadValueBytes = 1 << 20
)

// walk calls f for all elements, in the order of their buckets.
func (e *Elements) walk(f func(el *Element) error) error {
	for lower := appendElement(nil, e.id, elementBucket); lower != nil; {
		var err error
		if lower, err = e.readAhead(lower); err == nil {
			err = e.each(e.ahead.entries, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readAhead reads buckets from a key on, and returns that of the first that it leaves for the next time; nil: there is none.
func (e *Elements) readAhead(lower []byte) (next []byte, err error) {
	a := &e.ahead
	a.entries, a.read, a.serials, a.values = a.entries[:0], false, a.serials[:0], nil
	it := e.view.Iterate(lower, appendElement(nil, e.id, elementBucket+1))
	defer it.Close()
	apart := 0
	for ok := it.Seek(lower); ok; ok = it.Next() {
		if len(a.entries) >= aheadEntryBytes || apart >= aheadValueBytes {
			return slices.Clone(it.Key()), nil
		}
		start := len(a.entries)
		a.entries = append(a.entries, it.Value()...)
		for rest := a.entries[start:]; len(rest) > 0; {
			var el Element
			if el, rest, ok = takeElement(e.of, rest); !ok {
				return nil, e.corrupt()
			}
			if el.value.serial != 0 && el.value.length <= partBytes {
				a.serials = append(a.serials, el.value.serial)
				apart += el.value.length
			}
		}
	}
	return nil, it.Err()
}

// value returns one of the values of the elements that were read ahead.
func (a *ahead) value(e *Elements, d *datum) ([]byte, error) {
	if !a.read {
		slices.Sort(a.serials)
		if err := a.readValues(e); err != nil {
			return nil, err
		}
	}
	i, found := slices.BinarySearch(a.serials, d.serial)
	if found && len(a.values[i]) == d.length {
		return a.values[i], nil
	}
	var err error
	e.scratch, err = d.appendTo(e.scratch[:0], e.from, e.id) // it was not read ahead, or is not whole
	return e.scratch, err
}

// readValues reads the values whose serials are known.
func (a *ahead) readValues(e *Elements) error {
	a.read, a.values = true, make([][]byte, len(a.serials))
	if len(a.serials) == 0 {
		return nil
	}
	lower := appendPart(nil, e.id, a.serials[0], 0)
	it := e.view.Iterate(lower, appendPart(nil, e.id, a.serials[len(a.serials)-1], 1))
	defer it.Close()
	i := 0
	for ok := it.Seek(lower); ok && i < len(a.serials); ok = it.Next() {
		serial, part := splitPart(it.Key())
		for i < len(a.serials) && a.serials[i] < serial {
			i++
		}
		if part == 0 && i < len(a.serials) && a.serials[i] == serial {
			a.values[i] = slices.Clone(it.Value())
		}
	}
	return it.Err()
}
