package types

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sett/storage"
	"sett/ttl"
)

// mortalHash has a desk write a hash "h" of n fields that die at 1000, 1001 and so on, but for every fourth, and returns its meta key.
func mortalHash(d *desk, n int) []byte {
	key := d.keys.AppendMeta(nil, 3, []byte("h"))
	d.edit(key, 1, func(e *Edit) error {
		for i := range n {
			at := int64(1000 + i)
			if i%4 == 3 {
				at = 0
			}
			if _, err := e.PutMortal(fmt.Appendf(nil, "field%d", i), []byte("value"), at); err != nil {
				return err
			}
		}
		return nil
	})
	return key
}

// edit changes a hash, as of nowMs.
func (d *desk) edit(key []byte, nowMs int64, change func(e *Edit) error) {
	d.t.Helper()
	err := d.store.Update(&d.txn, asked(func() error {
		d.ledger.Begin(&d.txn, nowMs, d.options)
		r, err := d.ledger.Open(key, KeyName(key))
		if err != nil {
			return err
		}
		e, err := d.ledger.EditElements(&r, Hash)
		if err == nil {
			err = change(e)
		}
		if err == nil {
			e.Save()
		}
		return err
	}))
	if err != nil {
		d.t.Fatal(err)
	}
}

// records are all of the store's that a Checker wants to see of one key.
func (d *desk) records(key []byte) (all []checkedRecord) {
	v, err := d.store.View()
	if err != nil {
		d.t.Fatal(err)
	}
	defer v.Close()
	value, err := v.Get(key)
	if err != nil || value == nil {
		d.t.Fatalf("%q: %v", key, err)
	}
	all = append(all, checkedRecord{key, value})
	m, err := DecodeMeta(key, value)
	if err != nil {
		d.t.Fatal(err)
	}
	if c := m.collection(); c.id != 0 {
		all = d.walk(v, all, appendElement(nil, c.id, 0), appendElement(nil, c.id, 255))
	}
	lower := ttl.AppendRow(nil, 3, 0, ttl.KindKey, nil)[:5]
	return d.walk(v, all, lower, ttl.AppendRow(nil, 4, 0, ttl.KindKey, nil)[:5])
}

func (d *desk) walk(v *storage.View, all []checkedRecord, lower, upper []byte) []checkedRecord {
	it := v.Iterate(lower, upper)
	defer it.Close()
	for it.Next() {
		all = append(all, checkedRecord{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if it.Err() != nil {
		d.t.Fatal(it.Err())
	}
	return all
}

// tally is what the counters say.
func (d *desk) tally() (t storage.Tally) {
	var r storage.Reader
	if err := d.store.Read(&r, asked(func() error { t = r.Tally(3); return nil })); err != nil {
		d.t.Fatal(err)
	}
	return t
}

// wrongWith is what a Checker says of some records.
func wrongWith(seed [16]byte, records []checkedRecord, tally storage.Tally) string {
	checker := NewChecker(&seed)
	var wrong []string
	for _, r := range records {
		if w := checker.Record(r.key, r.value); w != "" {
			wrong = append(wrong, checker.Name(r.key)+": "+w)
		}
	}
	return strings.Join(append(wrong, checker.End(map[uint32]storage.Tally{3: tally}, 1000)...), "\n")
}

func TestCheckerOfFieldTimes(t *testing.T) {
	seed := [16]byte{7, 8, 9}
	kind := func(prefix byte, kind byte) func(checkedRecord) bool {
		return func(r checkedRecord) bool { return r.key[0] == prefix && (prefix != elementPrefix || r.key[9] == kind) }
	}
	// later has the first field that dies in some entries do so a millisecond later.
	later := func(r *checkedRecord) {
		mark := append([]byte{mortalMark}, binary.BigEndian.AppendUint64(nil, 1000)[:6]...)
		r.value[bytes.Index(r.value, mark)+mortalMarkBytes-1] ^= 0x80
	}
	for _, c := range []struct {
		name string
		n    int
		harm func(records []checkedRecord, find func(func(checkedRecord) bool) int) []checkedRecord
		want string
	}{
		{"packed", 4, nil, ""},
		{"spread", 300, nil, ""},
		{"another time, packed", 4, func(records []checkedRecord, _ func(func(checkedRecord) bool) int) []checkedRecord {
			later(&records[0])
			return records
		}, "its first field dies at"},
		{"another time, spread", 300, func(records []checkedRecord, find func(func(checkedRecord) bool) int) []checkedRecord {
			later(&records[find(kind(elementPrefix, elementBucket))])
			return records
		}, "than the tree of those says"},
		{"row missing", 300, func(records []checkedRecord, find func(func(checkedRecord) bool) int) []checkedRecord {
			i := find(kind('x', 0))
			return slices.Delete(records, i, i+1)
		}, "the expiry index does not agree"},
		{"row of another kind", 300, func(records []checkedRecord, find func(func(checkedRecord) bool) int) []checkedRecord {
			records[find(kind('x', 0))].key[13] = ttl.KindKey
			return records
		}, "the expiry index does not agree"},
		{"node missing", 300, func(records []checkedRecord, find func(func(checkedRecord) bool) int) []checkedRecord {
			i := find(kind(elementPrefix, elementNode))
			return slices.Delete(records, i, i+1)
		}, "has lost 1 nodes"},
		{"rows of a node in another order", 300, func(records []checkedRecord, find func(func(checkedRecord) bool) int) []checkedRecord {
			v := records[find(kind(elementPrefix, elementNode))].value
			first := bytes.Clone(v[1 : 1+fieldRowBytes])
			copy(v[1:], v[1+fieldRowBytes+1:1+2*fieldRowBytes+1])
			copy(v[1+fieldRowBytes+1:], first)
			return records
		}, "malformed node of a tree"},
		{"tree cut off", 300, func(records []checkedRecord, _ func(func(checkedRecord) bool) int) []checkedRecord {
			records[0].value = records[0].value[:len(records[0].value)-3]
			return records
		}, "tree of its fields' times is malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDesk(t, Options{})
			d.keys = New(seed)
			d.options.Keys = &d.keys
			records := d.records(mortalHash(d, c.n))
			if c.harm != nil {
				records = c.harm(records, func(is func(checkedRecord) bool) int { return slices.IndexFunc(records, is) })
			}
			if found := wrongWith(seed, records, d.tally()); (found == "") != (c.want == "") || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

// TestFieldTimes has fields get times, lose them and end, by the hundreds, and compares with a plain Go map. Few times and hashes of 1,000 fields
// make rows that several fields share.
func TestFieldTimes(t *testing.T) {
	seed := [16]byte{1}
	d := newDesk(t, Options{})
	d.keys = New(seed)
	d.options.Keys = &d.keys
	dice := rand.New(rand.NewPCG(1, 2))
	key := d.keys.AppendMeta(nil, 3, []byte("h"))
	now, plain := int64(1), map[string]int64{"stays": 0}
	d.edit(key, now, func(e *Edit) error { _, err := e.Put([]byte("stays"), nil); return err })
	for i := range 300 {
		now += int64(dice.IntN(20))
		changes := map[string]int64{}
		for range dice.IntN(30) {
			changes[fmt.Sprint("field", dice.IntN(1000))] = now + int64(dice.IntN(5))*100 // now itself is not past
		}
		d.edit(key, now, func(e *Edit) error {
			for field, at := range changes {
				el, found, err := e.Find([]byte(field))
				if was, has := plain[field]; err == nil && found != (has && (was == 0 || was >= now)) || found && el.ExpireAtMs() != was {
					err = fmt.Errorf("%s dies at %d, found %v; want %d", field, el.ExpireAtMs(), found, was)
				}
				switch {
				case err != nil:
				case at == now && found:
					err = e.Expire([]byte(field), 0)
				case at%3 == 0:
					_, err = e.Remove([]byte(field))
				default:
					_, err = e.PutMortal([]byte(field), []byte("v"), at)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		for field, at := range changes {
			was, has := plain[field]
			switch found := has && (was == 0 || was >= now); {
			case at == now && found:
				plain[field] = 0
			case at%3 == 0:
				delete(plain, field)
			default:
				plain[field] = at
			}
		}
		if i%7 == 0 {
			d.bury(key, now, plain)
		}
		if i%20 == 0 {
			if found := wrongWith(seed, d.records(key), d.tally()); found != "" {
				t.Fatalf("step %d: %s", i, found)
			}
		}
	}
}

// bury removes what has ended, in portions.
func (d *desk) bury(key []byte, nowMs int64, plain map[string]int64) {
	want, removed := 0, 0
	for field, at := range plain {
		if at != 0 && at < nowMs {
			delete(plain, field)
			want++
		}
	}
	for more := true; more; {
		n := 0
		d.edit(key, nowMs, func(e *Edit) (err error) {
			n, err = e.RemoveEnded(10)
			more = e.Ending()
			return err
		})
		removed += n
	}
	if removed != want {
		d.t.Fatalf("%d fields have ended instead of %d", removed, want)
	}
}

// Two fields whose hashes are the same and that die at the same time share a row; each may go first.
func TestFieldsOfOneRow(t *testing.T) {
	seed := [16]byte{2}
	keys := New(seed)
	a, b := alike(&keys)
	for _, first := range [][2][]byte{{a, b}, {b, a}} {
		d := newDesk(t, Options{PackedMaxEntries: 1})
		d.keys = keys
		d.options.Keys = &d.keys
		key := mortalHash(d, 8)
		check := func() {
			t.Helper()
			if found := wrongWith(seed, d.records(key), d.tally()); found != "" {
				t.Fatal(found)
			}
		}
		d.edit(key, 1, func(e *Edit) error {
			_, err := e.PutMortal(a, nil, 77)
			if err == nil {
				_, err = e.PutMortal(b, nil, 77)
			}
			return err
		})
		check()
		d.edit(key, 1, func(e *Edit) error { return e.Expire(first[0], 78) })
		check()
		d.edit(key, 1, func(e *Edit) error { return e.Expire(first[0], 77) })
		d.edit(key, 1, func(e *Edit) error { _, err := e.Remove(first[0]); return err })
		check()
		d.edit(key, 1, func(e *Edit) error { _, err := e.PutMortal(first[0], nil, 77); return err })
		d.edit(key, 78, func(e *Edit) error {
			if n, err := e.RemoveEnded(1); n != 2 {
				return fmt.Errorf("%d fields have ended, %w", n, err)
			}
			return nil
		})
		check()
	}
}

// countedReads is a Reader that counts.
type countedReads struct {
	Reader
	gets int
}

func (r *countedReads) Get(key []byte) ([]byte, error) {
	r.gets++
	return r.Reader.Get(key)
}

// Where nearly all fields are past their time, many draws of the others look for these once.
func TestDrawsAmongFewThatLive(t *testing.T) {
	const live, draws = 3, 300
	d := newDesk(t, Options{})
	d.options.Keys = &d.keys
	key := d.keys.AppendMeta(nil, 3, []byte("h"))
	d.edit(key, 1, func(e *Edit) error {
		for i := range 2000 {
			at := int64(1000)
			if i < live {
				at = 0
			}
			if _, err := e.PutMortal(fmt.Appendf(nil, "field%d", i), []byte("value"), at); err != nil {
				return err
			}
		}
		return nil
	})
	random := rand.New(rand.NewPCG(1, 1))
	err := d.store.Update(&d.txn, asked(func() error {
		m, err := ReadMeta(&d.txn, key)
		if err != nil {
			return err
		}
		r, drawn := &countedReads{Reader: &d.txn}, map[string]int{}
		var e Elements
		if err := e.Open(r, &d.keys, key, &m, Hash, 2000); err != nil {
			return err
		}
		for range draws {
			el, found, err := e.RandomLive(random.Uint64, 1)
			if err != nil || !found {
				return cmp.Or(err, errors.New("none was found"))
			}
			drawn[string(el.name.bytes)]++
		}
		for field, n := range drawn {
			if len(drawn) != live || n < draws/live/2 {
				t.Errorf("%s was drawn %d times", field, n)
			}
		}
		if r.gets > draws*drawsOfEnded/4 {
			t.Errorf("that took %d reads", r.gets)
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
}

// alike finds two names of one hash.
func alike(keys *Keys) (a, b []byte) {
	seen := map[uint32]int{}
	for i := 0; ; i++ {
		name := fmt.Appendf(nil, "name%d", i)
		if j, again := seen[keys.hash(name)]; again {
			return fmt.Appendf(nil, "name%d", j), name
		}
		seen[keys.hash(name)] = i
	}
}

// FuzzFieldTimes edits hashes of arbitrary bytes: every answer but a panic will do.
func FuzzFieldTimes(f *testing.F) {
	entry := appendInline(appendInline(appendMortal(nil, 9), []byte("a")), []byte("b"))
	packed := (&collection{count: 1, soonest: 9, packed: entry}).appendPayload(nil)
	f.Add(packed, entry, false)
	row := appendFieldRow(nil, 9, 0)
	root := fieldTimes.appendChild(nil, &child{node: 1, count: 1, bytes: int64(len(row))})
	shape := (&table{buckets: 1, widest: 1, size: int64(len(entry))}).appendShape(nil)
	shape = append(append(shape, 1, 2, 0), root...)
	f.Add((&collection{count: 1, soonest: 9, id: 5, bytes: 2, shape: shape}).appendPayload(nil), row, true)
	d := newDesk(f, Options{})
	d.options.Keys = &d.keys
	f.Fuzz(func(t *testing.T, payload, record []byte, spread bool) {
		m := Meta{Exists: true, Type: Hash, Payload: payload}
		if spread {
			m.Format = formatSpread
		}
		if !m.validCollection() || len(record) == 0 {
			return
		}
		d.store.Update(&d.txn, asked(func() error {
			d.ledger.Begin(&d.txn, 50, d.options)
			if c := m.collection(); spread {
				d.txn.Put(appendNode(nil, c.id, 1), append([]byte{0}, record...))
				d.txn.Put(appendBucket(nil, c.id, 0), record)
			}
			r := Record{Meta: m, Key: d.keys.AppendMeta(nil, 3, []byte("h")), Name: []byte("h")}
			if e, err := d.ledger.EditElements(&r, Hash); err == nil {
				e.Find([]byte("a"))
				e.RemoveEnded(3)
				e.PutMortal([]byte("a"), []byte("c"), 60)
				e.Expire([]byte("a"), 0)
			}
			return errLeave
		}))
	})
}

var errLeave = errors.New("nothing is written")
