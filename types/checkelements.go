package types

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// checkedTable is what the buckets of a hash or a set said, and what its meta record says of them. It is nil for a collection that has none.
type checkedTable struct {
	keys *Keys // nil: the seed is not known
	of   Type
	collection
	table

	found struct{ count, size, bytes int64 } // of the buckets so far
	parts map[uint64]checkedParts            // of elements that lie apart
	rows  uint64                             // the sum of the hashes of all rows that a tree must have, too: a sorted set's, or those of fields that die
	first int64                              // when the first of those does
}

// checkedParts are the bytes of an element that lies apart.
type checkedParts struct{ length, found int32 }

// newCheckedTable takes in the meta record of a spread hash or set. What is wrong with it is said at once.
func newCheckedTable(keys *Keys, m *Meta) (t *checkedTable, wrong string) {
	if m.Type != Set && m.Type != Hash && m.Type != ZSet || m.Format != formatSpread {
		return nil, ""
	}
	t = &checkedTable{keys: keys, of: m.Type, collection: m.collection(), parts: make(map[uint64]checkedParts)}
	var rest []byte
	var ok bool
	if t.table, rest, ok = takeTable(t.shape); !ok || len(rest) > 0 && m.Type != ZSet && t.soonest == 0 {
		return nil, "the shape of its table is malformed; reading it answers -CORRUPT"
	}
	t.shape = nil
	return t, ""
}

// checkPacked returns what is wrong with a hash or a set that its meta record holds.
func checkPacked(m *Meta) string {
	if m.Type != Set && m.Type != Hash && m.Type != ZSet || m.Format != formatPacked {
		return ""
	}
	c := m.collection()
	n, names, soonest := int64(0), make(map[string]bool), int64(0)
	for rest := c.packed; len(rest) > 0; n++ {
		e, after, ok := takeElement(m.Type, rest)
		if !ok || e.name.serial != 0 || e.value.serial != 0 {
			return "its elements are malformed; reading them answers -CORRUPT"
		}
		names[string(e.name.bytes)] = true
		soonest = sooner(soonest, e.expireAtMs)
		rest = after
	}
	if soonest != c.soonest {
		return fmt.Sprintf("its first field dies at %d, it says %d", soonest, c.soonest)
	}
	if m.Type == ZSet && !inOrder(c.packed) {
		return "its members are not in the order of their scores"
	}
	if n != c.count || int64(len(names)) != n {
		return fmt.Sprintf("it has %d elements, %d of them with names of their own; it says %d", n, len(names), c.count)
	}
	return ""
}

// sooner is the earlier of two times; 0 is never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (t *checkedTable) addBucket(start uint32, entries []byte) string {
	if t.bucketOf(start) != start {
		return fmt.Sprintf("bucket %08x is none of its table's %d; nobody reads it", start, t.buckets)
	}
	n, names, times := uint32(0), make(map[string]bool), make(map[string]bool)
	for rest := entries; len(rest) > 0; n++ {
		e, after, ok := takeElement(t.of, rest)
		if !ok {
			return fmt.Sprintf("bucket %08x is malformed; reading it answers -CORRUPT", start)
		}
		if t.keys != nil && t.bucketOf(t.keys.hashOf(&e)) != start {
			return fmt.Sprintf("bucket %08x has an element that belongs to another: it is not found", start)
		}
		names[string(e.name.bytes)+string(e.name.sum)] = true
		for _, d := range []*datum{&e.name, &e.value} {
			if d.serial != 0 {
				t.parts[d.serial] = checkedParts{length: int32(d.length)}
			}
		}
		t.found.bytes += e.bytes()
		switch {
		case t.of == ZSet:
			t.rows += xxhash.Sum64(e.raw)
		case e.expireAtMs != 0 && t.keys != nil:
			times[string(appendFieldRow(nil, e.expireAtMs, t.keys.hashOf(&e)))] = true
		}
		t.first = sooner(t.first, e.expireAtMs)
		rest = after
	}
	for row := range times {
		t.rows += xxhash.Sum64String(row)
	}
	t.found.count += int64(n)
	t.found.size += int64(len(entries))
	switch {
	case n == 0 || int(n) != len(names):
		return fmt.Sprintf("bucket %08x has %d elements, %d of them with names of their own", start, n, len(names))
	case n > t.widest:
		return fmt.Sprintf("bucket %08x has %d elements, its meta record says that none has more than %d: some are never drawn", start, n, t.widest)
	}
	return ""
}

// addPart takes in a part of an element; buckets came before it.
func (t *checkedTable) addPart(serial uint64, n int, value []byte) string {
	p := t.parts[serial] // its length is 0 if it is in no bucket
	if length := int(p.length); n*partBytes >= length || len(value) != min(partBytes, length-n*partBytes) {
		return "a part of an element that is in no bucket, or is shorter"
	}
	p.found += int32(len(value))
	t.parts[serial] = p
	return ""
}

// leave returns what is wrong with the table as a whole, "" if nothing is.
func (t *checkedTable) leave() string {
	lost := 0
	for _, p := range t.parts {
		if p.found != p.length {
			lost++
		}
	}
	switch {
	case t.found.count != t.count || t.found.size != t.size || t.found.bytes != t.bytes && t.of != ZSet:
		return fmt.Sprintf("has %d elements of %d bytes in buckets of %d; its meta record says %d of %d in %d: elements are missing, or too many",
			t.found.count, t.found.bytes, t.found.size, t.count, t.bytes, t.size)
	case t.first != t.soonest:
		return fmt.Sprintf("has a field that dies at %d before all others, its meta record says %d", t.first, t.soonest)
	case lost > 0:
		return fmt.Sprintf("has %d elements whose bytes are not all there; reading them answers -CORRUPT", lost)
	}
	return ""
}

// tableRecord takes in a bucket, or a part of an element, of a collection.
func (k *checkedCollection) tableRecord(key, value []byte) string {
	switch {
	case k.dead || !k.owned:
		return "" // that will be said of all of it
	case k.table == nil:
		return "a bucket of a collection that is no hash and no set"
	case key[9] == elementBucket:
		return k.table.addBucket(binary.BigEndian.Uint32(key[10:]), value)
	}
	return k.table.addPart(binary.BigEndian.Uint64(key[10:]), int(binary.BigEndian.Uint32(key[18:])), value)
}
