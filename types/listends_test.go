package types

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sett/storage"
)

// longList is a list of some 30 leaves, with what it must hold.
type longList struct {
	*desk
	name  string
	plain []string
}

func newLongList(t *testing.T) *longList {
	d := &longList{desk: newDesk(t, Options{}), name: "list"}
	d.change(func(l *Ledger, s *ListValue) error { return s.Push(l, d.values(300), false) })
	return d
}

// values are n more elements, at the end of what it must hold.
func (d *longList) values(n int) (values [][]byte) {
	for range n {
		value := fmt.Sprintf("%0*d", 150+len(d.plain)%100, len(d.plain))
		d.plain, values = append(d.plain, value), append(values, []byte(value))
	}
	return values
}

// change runs a batch that changes the list, and returns how many records it has written.
func (d *longList) change(f func(l *Ledger, s *ListValue) error) (records int) {
	d.t.Helper()
	before := slices.Clone(d.plain)
	d.update(func(l *Ledger) error {
		d.plain = slices.Clone(before) // a round that is given up has done nothing
		r, err := l.Open(d.keys.AppendMeta(nil, 3, []byte(d.name)), []byte(d.name))
		var s ListValue
		if err == nil {
			err = s.Edit(&r)
		}
		if err == nil {
			err = f(l, &s)
		}
		if err == nil {
			s.Save(l)
			records = d.txn.Len()
		}
		return err
	})
	return records
}

// pop takes an element off an end, as LPOP and RPOP do.
func (d *longList) pop(left bool) (records int) {
	d.t.Helper()
	return d.change(func(l *Ledger, s *ListValue) error {
		i := int64(0)
		if !left {
			i = s.Len() - 1
		}
		value, err := s.At(l.txn, i)
		if err != nil {
			return err
		}
		if string(value) != d.plain[i] {
			d.t.Errorf("element %d is %.20q, not %.20q", i, value, d.plain[i])
		}
		d.plain = slices.Delete(d.plain, int(i), int(i)+1)
		return s.Pop(l, i, i+1)
	})
}

// hold compares the list with what it must be, in both directions, and has it checked.
func (d *longList) hold() {
	d.t.Helper()
	v, err := d.store.View()
	if err != nil {
		d.t.Fatal(err)
	}
	defer v.Close()
	c := NewChecker(nil)
	c.keys = &d.keys
	var wrong []string
	ranges := []storage.Range{{Lower: AppendMetaPlace(nil, 3, Place{}), Upper: AppendMetaEnd(nil, 3)}}
	for id := range uint64(100) { // those that were made
		ranges = append(ranges, idRange(elementPrefix, id))
	}
	for _, in := range ranges {
		if err := v.Walk(in.Lower, in.Upper, func(key, value []byte) {
			if w := c.Record(bytes.Clone(key), bytes.Clone(value)); w != "" {
				wrong = append(wrong, w)
			}
		}); err != nil {
			d.t.Fatal(err)
		}
	}
	var r storage.Reader
	var tallies map[uint32]storage.Tally
	if err := d.store.Read(&r, asked(func() error {
		tallies = map[uint32]storage.Tally{3: r.Tally(3)}
		return nil
	})); err != nil {
		d.t.Fatal(err)
	}
	if wrong = append(wrong, c.End(tallies, 1<<20)...); len(wrong) > 0 {
		d.t.Error(wrong)
	}
	d.change(func(l *Ledger, s *ListValue) error {
		var all []string
		bytes := int64(0)
		for s.MoveTo(0); ; {
			ok, err := s.Next(l.txn)
			if err != nil {
				return err // the round is given up, perhaps
			}
			if !ok {
				break
			}
			value, err := s.Value(l.txn)
			if err != nil {
				return err
			}
			all = append(all, string(value))
			bytes += int64(datumBytes(len(value)))
			if len(value) > inlineMaxBytes {
				bytes += serialBytes
			}
		}
		if !slices.Equal(all, d.plain) {
			d.t.Errorf("%d elements, not the %d that it must have", len(all), len(d.plain))
		}
		if s.Bytes() != bytes {
			d.t.Errorf("it has %d bytes and says %d", bytes, s.Bytes())
		}
		for s.MoveTo(s.Len()); len(all) > 0; all = all[:len(all)-1] {
			ok, err := s.Prev(l.txn)
			if err != nil {
				return err
			}
			if !ok {
				d.t.Fatal("the list ends too early")
			}
			value, err := s.Value(l.txn)
			if err != nil {
				return err
			}
			if string(value) != all[len(all)-1] {
				d.t.Fatalf("going back, element %d is %.20q", len(all)-1, value)
			}
		}
		return nil
	})
}

// TestPopsLeaveTheLeaf: while others of its leaf stay, who pops an element writes nothing but the meta record.
func TestPopsLeaveTheLeaf(t *testing.T) {
	for _, left := range []bool{true, false} {
		d := newLongList(t)
		alone := 0
		for range 100 {
			if d.pop(left) == 1 {
				alone++
			}
		}
		if alone < 80 {
			t.Errorf("left=%v: of 100 pops %d wrote one record", left, alone)
		}
		d.hold()
		for len(d.plain) > 0 {
			d.pop(left)
		}
	}
}

// TestTakenElements: whatever changes a list, nobody sees the elements that were taken and lie in its leaves still.
func TestTakenElements(t *testing.T) {
	large := strings.Repeat("large", 1000)
	for name, change := range map[string]func(d *longList, l *Ledger, s *ListValue) error{
		"push left": func(d *longList, l *Ledger, s *ListValue) error {
			d.plain = append([]string{"b", "a"}, d.plain...)
			return s.Push(l, [][]byte{[]byte("a"), []byte("b")}, true)
		},
		"push right": func(d *longList, l *Ledger, s *ListValue) error { return s.Push(l, d.values(20), false) },
		"push a large one": func(d *longList, l *Ledger, s *ListValue) error {
			d.plain = append(d.plain, large)
			return s.Push(l, [][]byte{[]byte(large)}, false)
		},
		"set the first": func(d *longList, l *Ledger, s *ListValue) error {
			d.plain[0] = "first"
			return s.Splice(l, 0, 1, []byte("first"))
		},
		"set the last": func(d *longList, l *Ledger, s *ListValue) error {
			d.plain[len(d.plain)-1] = large
			return s.Splice(l, s.Len()-1, s.Len(), []byte(large))
		},
		"insert behind the first": func(d *longList, l *Ledger, s *ListValue) error {
			d.plain = slices.Insert(d.plain, 1, "second")
			return s.Splice(l, 1, 1, []byte("second"))
		},
		"split the first leaf": func(d *longList, l *Ledger, s *ListValue) error {
			for range 20 {
				if err := s.Splice(l, 1, 1, []byte(strings.Repeat("x", 200))); err != nil {
					return err
				}
				d.plain = slices.Insert(d.plain, 1, strings.Repeat("x", 200))
			}
			return nil
		},
		"remove some": func(d *longList, l *Ledger, s *ListValue) error {
			last := s.Len() - 1
			d.plain = slices.Concat(d.plain[1:2], d.plain[3:100], d.plain[101:last])
			return s.RemoveAt(l, []int64{0, 2, 100, last})
		},
		"keep the middle": func(d *longList, l *Ledger, s *ListValue) error {
			d.plain = slices.Clone(d.plain[5 : len(d.plain)-5])
			return s.Keep(l, 5, s.Len()-5)
		},
		"keep few": func(d *longList, l *Ledger, s *ListValue) error {
			d.plain = slices.Clone(d.plain[:3])
			return s.Keep(l, 0, 3)
		},
		"pop many": func(d *longList, l *Ledger, s *ListValue) error {
			d.plain = slices.Clone(d.plain[50:])
			return s.Pop(l, 0, 50)
		},
		"copy": func(d *longList, l *Ledger, s *ListValue) error {
			name := []byte("copy")
			to, err := l.Open(d.keys.AppendMeta(nil, 3, name), name)
			if err != nil {
				return err
			}
			var of ListValue
			return l.CopyList(&of, s.record, &to)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newLongList(t)
			for range 3 {
				d.pop(true)
				d.pop(false)
			}
			d.hold()
			d.change(func(l *Ledger, s *ListValue) error { return change(d, l, s) })
			d.hold()
			if name == "copy" {
				d.name = "copy"
				d.hold()
			}
			for len(d.plain) > 0 {
				d.pop(len(d.plain)%3 == 0)
			}
		})
	}
}
