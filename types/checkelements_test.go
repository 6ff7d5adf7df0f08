package types

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sett/storage"
)

// spreadHash are the records of a store with a hash of 40 fields in buckets, two of which lie apart, and a packed set.
func spreadHash(t *testing.T, seed [16]byte) (records []checkedRecord, tallies map[uint32]storage.Tally, id uint64) {
	d := newDesk(t, Options{PackedMaxEntries: 4, PackedMaxBytes: 64})
	d.keys = New(seed)
	d.options.Keys = &d.keys
	metas := [][]byte{d.keys.AppendMeta(nil, 3, []byte("h")), d.keys.AppendMeta(nil, 3, []byte("s"))}
	d.update(func(l *Ledger) error {
		h, err := l.Open(metas[0], []byte("h"))
		if err != nil {
			return err
		}
		e, err := l.EditElements(&h, Hash)
		for i := 0; i < 40 && err == nil; i++ {
			_, err = e.Put(fmt.Appendf(nil, "field%d", i), []byte("value"))
		}
		if err == nil {
			_, err = e.Put(bytes.Repeat([]byte("n"), 2000), bytes.Repeat([]byte("v"), 20_000))
		}
		if err != nil {
			return err
		}
		e.Save()
		id = e.id
		s, err := l.Open(metas[1], []byte("s"))
		if err != nil {
			return err
		}
		if e, err = l.EditElements(&s, Set); err == nil {
			_, err = e.Put([]byte("a"), nil)
			_, _ = e.Put([]byte("b"), nil)
			e.Save()
		}
		return err
	})
	v, err := d.store.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, key := range metas {
		value, err := v.Get(key)
		if err != nil || value == nil {
			t.Fatalf("%q: %v", key, err)
		}
		records = append(records, checkedRecord{key, value})
	}
	it := v.Iterate(appendElement(nil, id, 0), appendElement(nil, id, 255))
	defer it.Close()
	for it.Next() {
		records = append(records, checkedRecord{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	slices.SortFunc(records, func(a, b checkedRecord) int { return bytes.Compare(a.key, b.key) })
	bytes := int64(1 + 2000 + 20_000 + 40*5 + 10*6 + 30*7 + 1 + 4)
	return records, map[uint32]storage.Tally{3: {Keys: 2, Bytes: bytes}}, id
}

func TestCheckerOfElements(t *testing.T) {
	seed := [16]byte{4, 5, 6}
	keys := New(seed)
	sound, tallies, id := spreadHash(t, seed)
	kind := func(kind byte) func(checkedRecord) bool {
		return func(r checkedRecord) bool { return r.key[0] == elementPrefix && r.key[9] == kind }
	}
	first := func(records []checkedRecord, is func(checkedRecord) bool) *checkedRecord {
		return &records[slices.IndexFunc(records, is)]
	}
	meta := func(name string) func(checkedRecord) bool {
		key := keys.AppendMeta(nil, 3, []byte(name))
		return func(r checkedRecord) bool { return bytes.Equal(r.key, key) }
	}
	// reshape changes what the meta record of the hash says.
	reshape := func(records []checkedRecord, change func(c *collection, t *table)) []checkedRecord {
		r := first(records, meta("h"))
		m, err := DecodeMeta(r.key, r.value)
		if err != nil {
			t.Fatal(err)
		}
		c := m.collection()
		tb, _, _ := takeTable(c.shape)
		change(&c, &tb)
		c.shape = tb.appendShape(nil)
		m.Payload = c.appendPayload(nil)
		r.value = AppendMetaRecord(nil, &m)
		return records
	}
	for _, c := range []struct {
		name string
		harm func(records []checkedRecord) []checkedRecord
		want string // "": nothing is wrong
	}{
		{"sound", func(records []checkedRecord) []checkedRecord { return records }, ""},
		{"bucket missing", func(records []checkedRecord) []checkedRecord {
			i := slices.IndexFunc(records, kind(elementBucket))
			return slices.Delete(records, i, i+1)
		}, "elements are missing"},
		{"all buckets missing", func(records []checkedRecord) []checkedRecord {
			return slices.DeleteFunc(records, func(r checkedRecord) bool { return r.key[0] == elementPrefix })
		}, "has 0 elements"},
		{"bucket cut", func(records []checkedRecord) []checkedRecord {
			r := first(records, kind(elementBucket))
			r.value = r.value[:len(r.value)-1]
			return records
		}, "is malformed"},
		{"bucket of another table", func(records []checkedRecord) []checkedRecord {
			binary.BigEndian.PutUint32(first(records, kind(elementBucket)).key[10:], 1)
			return records
		}, "nobody reads it"},
		{"element in another bucket", func(records []checkedRecord) []checkedRecord {
			i := slices.IndexFunc(records, kind(elementBucket))
			records[i].value, records[i+1].value = records[i+1].value, records[i].value
			return records
		}, "belongs to another"},
		{"element twice", func(records []checkedRecord) []checkedRecord {
			r := first(records, kind(elementBucket))
			r.value = append(r.value, r.value...)
			return records
		}, "names of their own"},
		{"part missing", func(records []checkedRecord) []checkedRecord {
			i := slices.IndexFunc(records, kind(elementPart))
			return slices.Delete(records, i, i+1)
		}, "1 elements whose bytes are not all there"},
		{"part of nothing", func(records []checkedRecord) []checkedRecord {
			return append(records, checkedRecord{appendPart(nil, id, 1<<40, 0), []byte("x")})
		}, "in no bucket"},
		{"part too long", func(records []checkedRecord) []checkedRecord {
			r := first(records, kind(elementPart))
			r.value = append(r.value, 'x')
			return records
		}, "in no bucket, or is shorter"},
		{"another count", func(records []checkedRecord) []checkedRecord {
			return reshape(records, func(c *collection, _ *table) { c.count++ })
		}, "elements are missing, or too many"},
		{"another size", func(records []checkedRecord) []checkedRecord {
			return reshape(records, func(_ *collection, t *table) { t.size++ })
		}, "elements are missing, or too many"},
		{"narrower", func(records []checkedRecord) []checkedRecord {
			return reshape(records, func(_ *collection, t *table) { t.widest = 1 })
		}, "some are never drawn"},
		{"more buckets", func(records []checkedRecord) []checkedRecord {
			return reshape(records, func(_ *collection, t *table) { t.buckets *= 2 })
		}, "belongs to another"},
		{"packed count", func(records []checkedRecord) []checkedRecord {
			r := first(records, meta("s"))
			r.value[3]++
			return records
		}, "it says 3"},
		{"packed cut", func(records []checkedRecord) []checkedRecord {
			r := first(records, meta("s"))
			r.value = r.value[:len(r.value)-1]
			return records
		}, "its elements are malformed"},
		{"packed twice", func(records []checkedRecord) []checkedRecord {
			r := first(records, meta("s"))
			r.value[len(r.value)-1] = 'a'
			return records
		}, "1 of them with names of their own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var records []checkedRecord
			for _, r := range sound {
				records = append(records, checkedRecord{bytes.Clone(r.key), bytes.Clone(r.value)})
			}
			checker := NewChecker(&seed)
			var wrong []string
			for _, r := range c.harm(records) {
				if w := checker.Record(r.key, r.value); w != "" {
					wrong = append(wrong, checker.Name(r.key)+": "+w)
				}
			}
			wrong = append(wrong, checker.End(tallies, 1000)...)
			if found := strings.Join(wrong, "\n"); (found == "") != (c.want == "") || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

// FuzzCollection: what no Ledger has written is refused, and what is taken is written again as it was.
func FuzzCollection(f *testing.F) {
	f.Add(byte(formatPacked), []byte{0, 1, 2, 'a'})
	f.Add(byte(formatPacked), []byte{stateMortal, 1, 0, 0, 0, 0, 0, 0, 0, 9, 2, 'a'})
	shape := (&table{buckets: 3, widest: 9, size: 100}).appendShape(nil)
	f.Add(byte(formatSpread), (&collection{count: 12, id: 7, bytes: 90, shape: shape}).appendPayload(nil))
	f.Fuzz(func(t *testing.T, format byte, payload []byte) {
		c, ok := parseCollection(format, payload)
		if !ok {
			return
		}
		if again, ok := parseCollection(c.format(), c.appendPayload(nil)); !ok || c.format() != format || again.count != c.count || again.id != c.id ||
			again.bytes != c.bytes || again.soonest != c.soonest || !bytes.Equal(again.shape, c.shape) || !bytes.Equal(again.packed, c.packed) {
			t.Fatalf("%x: %+v became %+v", payload, c, again)
		}
		tb, rest, ok := takeTable(c.shape)
		if ok && len(rest) > len(c.shape) {
			t.Fatalf("%x leaves %x", c.shape, rest)
		}
		if ok {
			if start := tb.bucketOf(1<<32 - 1); start != tb.bucketAt(tb.buckets-1) {
				t.Fatalf("%d buckets: the last hash is in %d", tb.buckets, start)
			}
		}
	})
}

// FuzzDatum: what is taken is within the bytes, and a datum that lies apart says so.
func FuzzDatum(f *testing.F) {
	f.Add([]byte{2, 'a'}, true)
	f.Add(append([]byte{0x83, 0x40}, make([]byte, 48)...), true)
	f.Add(append([]byte{3}, 0, 0, 0, 0, 0, 0, 0, 1), false)
	f.Fuzz(func(t *testing.T, b []byte, name bool) {
		d, rest, ok := takeDatum(b, name)
		switch {
		case !ok:
		case len(rest) >= len(b), d.serial == 0 && len(d.bytes) != d.length, name && (d.length > inlineMaxBytes) != (d.serial != 0):
			t.Fatalf("%x: %+v leaves %x", b, d, rest)
		}
	})
}
