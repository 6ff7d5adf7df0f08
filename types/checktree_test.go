package types

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"sett/storage"
)

// listRecords are all records of a store with one long list, some of whose elements lie apart, and its counters.
func listRecords(t *testing.T) (records []checkedRecord, keys *Keys, tallies map[uint32]storage.Tally) {
	d := newDesk(t, Options{})
	name, collection := []byte("list"), uint64(0)
	d.update(func(l *Ledger) error {
		r, err := l.Open(d.keys.AppendMeta(nil, 3, name), name)
		if err != nil {
			return err
		}
		var s ListValue
		if err := s.Edit(&r); err != nil {
			return err
		}
		var values [][]byte
		for i := range 6000 {
			values = append(values, fmt.Appendf(nil, "element %d of many, so that there are inner nodes, %0*d", i, 1+i%1000/900*i%1000*8, i))
		}
		err = s.Push(l, values, false)
		s.Save(l)
		collection = s.c.id
		return err
	})
	var r storage.Reader
	if err := d.store.Read(&r, asked(func() error {
		tallies = map[uint32]storage.Tally{3: r.Tally(3)}
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	v, err := d.store.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, in := range []storage.Range{{Lower: AppendMetaPlace(nil, 3, Place{}), Upper: AppendMetaEnd(nil, 3)}, idRange(elementPrefix, collection)} {
		it := v.Iterate(in.Lower, in.Upper)
		for ok := it.Seek(in.Lower); ok; ok = it.Next() {
			records = append(records, checkedRecord{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
		it.Close()
	}
	return records, &d.keys, tallies
}

// TestCheckerOfTrees: a sound list has no findings; without any one of its records, or with any one changed in its counts, there is one.
func TestCheckerOfTrees(t *testing.T) {
	records, keys, tallies := listRecords(t)
	check := func(records []checkedRecord) string {
		c := NewChecker(nil)
		c.keys = keys
		var wrong []string
		for _, r := range records {
			if w := c.Record(r.key, r.value); w != "" {
				wrong = append(wrong, w)
			}
		}
		return strings.Join(append(wrong, c.End(tallies, 1<<20)...), "\n")
	}
	if wrong := check(records); wrong != "" {
		t.Fatal(wrong)
	}
	kinds := map[byte]int{}
	for i, r := range records[1:] {
		kinds[r.key[9]]++
		if i%7 != 0 && kinds[r.key[9]] > 20 {
			continue
		}
		i++
		without := append(append([]checkedRecord(nil), records[:i]...), records[i+1:]...)
		if check(without) == "" {
			t.Errorf("record %x may be missing", r.key)
		}
		changed := append([]checkedRecord(nil), records...)
		changed[i].value = r.value[:len(r.value)-1]
		if check(changed) == "" {
			t.Errorf("record %x may be shorter", r.key)
		}
		if r.key[9] == elementNode {
			changed[i].value = bytes.Clone(r.value)
			changed[i].value[0]++
			if check(changed) == "" {
				t.Errorf("record %x may be of another level", r.key)
			}
		}
	}
	if kinds[elementNode] < 100 || kinds[elementPart] < 10 {
		t.Errorf("nodes and parts: %v", kinds)
	}
	stray := append(append([]checkedRecord(nil), records...), checkedRecord{appendPart(nil, 1<<60, 1, 0), []byte("x")})
	if check(stray) == "" {
		t.Error("a part may be nobody's")
	}
}
