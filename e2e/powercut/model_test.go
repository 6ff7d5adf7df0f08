package powercut

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"sett/storage"
	"sett/types"
)

// model is what a store must hold: plain bytes. They are never changed, as several models may have them.
type model struct {
	strings map[name]text
	slots   [slots]text
	life    uint32
	ticket  uint64
}

// text is a string, or a staged value as far as it was written.
type text struct {
	bytes      []byte
	expireAtMs int64
	length     int // of a staged value when it is whole
	by         string

	fields map[string][]byte // of a hash, or, without values, of a set; never changed
	isSet  bool
	spread bool     // it has buckets
	list   [][]byte // never changed
	scores map[string]float64
}

// size is what a value adds to the counter of bytes.
func (t *text) size() (n int) {
	n = len(t.bytes)
	for field, value := range t.fields {
		if n += len(field) + len(value); !t.spread { // the heads of datums count
			if n += datumHead(len(field)); !t.isSet {
				n += datumHead(len(value))
			}
		}
	}
	const apart, serial, sum, score = 1 << 10, 8, 32, 8
	for _, value := range t.list {
		if n += datumHead(len(value)) + len(value); len(value) > apart {
			n += serial
		}
	}
	for member := range t.scores {
		if n += score + datumHead(len(member)) + len(member); len(member) > apart {
			n += serial + sum
		}
	}
	return n
}

func datumHead(length int) int { return len(binary.AppendUvarint(nil, uint64(length)<<1)) }

func newModel() *model { return &model{strings: map[name]text{}} }

func (m *model) clone() *model {
	clone := *m
	clone.strings = maps.Clone(m.strings)
	return &clone
}

func (m *model) last() (uint64, error) { return m.ticket, nil }

func (m *model) begin(life uint32, ticket uint64) error {
	m.life, m.ticket = life, ticket
	return m.put(ticketName, ticketValue(life, ticket), 0)
}

func (m *model) need(...name) error         { return nil }
func (m *model) length(n name) (int, error) { return len(m.strings[n].bytes), nil }

func (m *model) set(n name, t text) error {
	t.by = fmt.Sprintf("life %d, batch %d", m.life, m.ticket)
	m.strings[n] = t
	return nil
}

func (m *model) put(n name, value []byte, expireAtMs int64) error {
	return m.set(n, text{bytes: value, expireAtMs: expireAtMs})
}

func (m *model) splice(n name, offset int, piece []byte) error {
	t := m.strings[n]
	b := make([]byte, max(len(t.bytes), offset+len(piece)))
	copy(b, t.bytes)
	copy(b[offset:], piece)
	return m.put(n, b, t.expireAtMs)
}

func (m *model) setField(n name, field string, value []byte) error {
	t := m.strings[n]
	t.fields = maps.Clone(t.fields)
	if t.fields == nil {
		t.fields = map[string][]byte{}
	}
	t.fields[field], t.isSet = value, n.isSet()
	t.spread = t.spread || len(t.fields) > 1 || len(value) > 1<<10
	return m.set(n, t)
}

func (m *model) dropField(n name, field string) error {
	t := m.strings[n]
	if _, found := t.fields[field]; !found {
		return nil
	}
	if len(t.fields) == 1 {
		return m.remove(n)
	}
	t.fields = maps.Clone(t.fields)
	delete(t.fields, field)
	return m.set(n, t)
}

func (m *model) members(n name) (int, error) { return len(m.strings[n].list), nil }

func (m *model) push(n name, values [][]byte, left bool) error {
	if left {
		values = slices.Clone(values)
		slices.Reverse(values)
		return m.setList(n, slices.Concat(values, m.strings[n].list))
	}
	return m.setList(n, slices.Concat(m.strings[n].list, values))
}

func (m *model) pop(n name, count int, left bool) error {
	list := m.strings[n].list
	if count = min(count, len(list)); left {
		return m.setList(n, list[count:])
	}
	return m.setList(n, list[:len(list)-count])
}

func (m *model) setMember(n name, at int, value []byte) error {
	list := slices.Clone(m.strings[n].list)
	list[at] = value
	return m.setList(n, list)
}

func (m *model) setList(n name, list [][]byte) error {
	if len(list) == 0 {
		return m.remove(n)
	}
	t := m.strings[n]
	t.list = slices.Clip(list)
	return m.set(n, t)
}

func (m *model) setScore(n name, member string, score float64) error {
	t := m.strings[n]
	t.scores = maps.Clone(t.scores)
	if t.scores == nil {
		t.scores = map[string]float64{}
	}
	t.scores[member] = score
	return m.set(n, t)
}

func (m *model) dropMember(n name, member string) error {
	t := m.strings[n]
	if _, found := t.scores[member]; !found {
		return nil
	}
	if len(t.scores) == 1 {
		return m.remove(n)
	}
	t.scores = maps.Clone(t.scores)
	delete(t.scores, member)
	return m.set(n, t)
}

func (m *model) dropLowest(n name, count int) error {
	t := m.strings[n]
	for _, member := range t.ranking()[:min(count, len(t.scores))] {
		if err := m.dropMember(n, member); err != nil {
			return err
		}
	}
	return nil
}

// ranking is a sorted set's members in their order.
func (t *text) ranking() []string {
	return slices.SortedFunc(maps.Keys(t.scores), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.scores[a], t.scores[b]), cmp.Compare(a, b))
	})
}

func (m *model) flip(n name, at int) error {
	old := byte(0)
	if b := m.strings[n].bytes; at < len(b) {
		old = b[at]
	}
	return m.splice(n, at, []byte{flipped(old)})
}

func (m *model) expire(n name, atMs int64) error {
	t, ok := m.strings[n]
	if !ok {
		return nil
	}
	t.expireAtMs = atMs
	return m.set(n, t)
}

func (m *model) move(from, to name) error {
	t, ok := m.strings[from]
	if !ok || from == to {
		return nil
	}
	delete(m.strings, from)
	return m.set(to, t)
}

func (m *model) remove(n name) error {
	delete(m.strings, n)
	return nil
}

func (m *model) staged(slot int) (length, written int, err error) {
	return m.slots[slot].length, len(m.slots[slot].bytes), nil
}

func (m *model) stage(slot, length int) error {
	m.slots[slot] = text{length: length}
	return nil
}

func (m *model) fill(slot int, next []byte) error {
	m.slots[slot].bytes = slices.Concat(m.slots[slot].bytes, next)
	return nil
}

func (m *model) adopt(slot int, n name, expireAtMs int64) error {
	value := m.slots[slot].bytes
	m.slots[slot] = text{}
	return m.put(n, value, expireAtMs)
}

func (m *model) drop(slot int) error {
	m.slots[slot] = text{}
	return nil
}

// advance writes batches up to a ticket.
func (m *model) advance(seed uint64, life uint32, ticket uint64) {
	for m.ticket < ticket {
		writeBatch(m, seed, life) // a model has no errors
	}
}

// tally is what the counters of a keyspace must say.
func (m *model) tally(keyspace int) (sum storage.Tally) {
	for n, t := range m.strings {
		if n.keyspace == keyspace {
			sum.Keys++
			sum.Bytes += int64(len(n.user()) + t.size())
			if t.expireAtMs != 0 {
				sum.Expires++
			}
		}
	}
	return sum
}

// step is a Runner made of a func.
type step func() error

func (f step) Run() error { return f() }

// ticketIn returns the ticket that a store ended with.
func ticketIn(s *storage.Store) (ticket uint64, err error) {
	var r storage.Reader
	err = s.Read(&r, step(func() error {
		v, err := r.Get([]byte(systemKey))
		ticket = ticketOf(v)
		return err
	}))
	return ticket, err
}

// compare tells where a store differs from the model, and counts in met what it has read. What nobody reads is judged by a types.Checker; see
// check.
func (m *model) compare(s *storage.Store, met map[string]int) error {
	for keyspace := range keyspaces + 1 {
		if err := m.compareKeyspace(s, keyspace, met); err != nil {
			return err
		}
	}
	for n := range slots {
		if m.slots[n].length > 0 {
			met["staged values"]++
		}
		if err := m.compareSlot(s, n); err != nil {
			return err
		}
	}
	var r storage.Reader
	return s.Read(&r, step(func() error {
		for keyspace := range keyspaces + 1 {
			if got, want := r.Tally(uint32(keyspace)), m.tally(keyspace); got != want {
				return fmt.Errorf("counters of keyspace %d are %+v, not %+v", keyspace, got, want)
			}
		}
		return nil
	}))
}

// compareKeyspace walks a keyspace: nothing may be missing, nothing may be there that was deleted.
func (m *model) compareKeyspace(s *storage.Store, keyspace int, counts map[string]int) error {
	v, err := s.View()
	if err != nil {
		return err
	}
	defer v.Close()
	it := v.Iterate(types.AppendMetaPlace(nil, uint32(keyspace), types.Place{}), types.AppendMetaEnd(nil, uint32(keyspace)))
	defer it.Close()
	met := map[name]bool{}
	for it.Next() {
		record, err := types.DecodeMeta(it.Key(), it.Value())
		if err != nil {
			return err
		}
		user, err := record.ReadName(v, it.Key())
		if err != nil {
			return err
		}
		n := nameOf(keyspace, user)
		if !bytes.Equal(user, n.user()) || met[n] {
			return fmt.Errorf("%.20q is there twice, or nobody's", user)
		}
		met[n] = true
		counts[kindOf(&record)]++
		if err := m.compareValue(s, n, it.Key(), record); err != nil {
			return fmt.Errorf("key %d of keyspace %d, format %d: %w", n.number, keyspace, record.Format, err)
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	for n, t := range m.strings {
		if n.keyspace == keyspace && !met[n] {
			return fmt.Errorf("key %d of keyspace %d, changed by %s, is not there", n.number, keyspace, t.by)
		}
	}
	return nil
}

func kindOf(record *types.Meta) string {
	switch {
	case record.Type == types.Hash && record.Format == 0:
		return "packed hashes"
	case record.Type == types.Hash:
		return "hashes in buckets"
	case record.Type == types.Set:
		return "sets"
	case record.Type == types.List:
		return "lists"
	case record.Type == types.ZSet:
		return "sorted sets"
	case record.Format == 0:
		return "inline strings"
	case record.Format == 1:
		return "blobs"
	case record.OwnsBlobs:
		return "paged strings with a blob beneath"
	}
	return "paged strings"
}

func (m *model) compareValue(s *storage.Store, n name, key []byte, record types.Meta) error {
	want, ok := m.strings[n]
	if !ok {
		return fmt.Errorf("it is there (of %s); it must not be", writer(record.Payload))
	}
	if record.ExpireAtMs != want.expireAtMs {
		return fmt.Errorf("it expires at %d, not at %d as %s had it", record.ExpireAtMs, want.expireAtMs, want.by)
	}
	switch record.Type {
	case types.Hash, types.Set:
		return compareFields(s, key, &record, want)
	case types.List:
		return compareList(s, &record, want)
	case types.ZSet:
		return compareScores(s, key, &record, want)
	}
	return compareBytes(s, &record, record.StringLen(), want)
}

func compareFields(s *storage.Store, key []byte, record *types.Meta, want text) error {
	got := map[string][]byte{}
	keys := types.Keys{} // not asked for: all elements are read
	var r storage.Reader
	err := s.Read(&r, step(func() error {
		clear(got)
		var e types.Elements
		if err := e.Open(&r, &keys, key, record, record.Type, 0); err != nil {
			return err
		}
		return e.Each(func(el *types.Element) error {
			value, err := e.Value(el)
			if err != nil {
				return err
			}
			value = bytes.Clone(value)
			field, err := e.Name(el)
			got[string(field)] = value
			return err
		})
	}))
	if err != nil {
		return fmt.Errorf("hash of %s: %w", want.by, err)
	}
	if !maps.EqualFunc(got, want.fields, bytes.Equal) {
		return fmt.Errorf("hash of %s has %d fields of %d, or other values", want.by, len(got), len(want.fields))
	}
	return nil
}

func compareList(s *storage.Store, record *types.Meta, want text) error {
	var got [][]byte
	var r storage.Reader
	err := s.Read(&r, step(func() error {
		var list types.ListValue
		err := list.Open(record)
		got = got[:0]
		for range list.Len() {
			var value []byte
			if _, err = list.Next(&r); err == nil {
				value, err = list.Value(&r)
			}
			if err != nil {
				return list.Fetch(&r, err, 0, list.Len())
			}
			got = append(got, bytes.Clone(value))
		}
		return err
	}))
	if err != nil {
		return fmt.Errorf("list of %s: %w", want.by, err)
	}
	if !slices.EqualFunc(got, want.list, bytes.Equal) {
		return fmt.Errorf("list of %s has %d elements of %d, or others", want.by, len(got), len(want.list))
	}
	return nil
}

// compareScores reads a sorted set in order, and each member's score by its name.
func compareScores(s *storage.Store, key []byte, record *types.Meta, want text) error {
	var got []string
	keys := types.Keys{} // not asked for: all elements are read
	var r storage.Reader
	err := s.Read(&r, step(func() error {
		got = got[:0]
		var z types.Ranking
		if err := z.Open(&r, &keys, key, record); err != nil {
			return err
		}
		err := z.Range(0, z.Len(), false, func(el *types.Element) error {
			member, err := z.Name(el)
			if err == nil && el.Score() == want.scores[string(member)] {
				got = append(got, string(member))
			}
			return err
		})
		if err != nil {
			return err
		}
		return z.Each(func(el *types.Element) error { // what lies by name is the same
			member, err := z.Name(el)
			if score, ok := want.scores[string(member)]; err == nil && (!ok || score != el.Score()) {
				err = fmt.Errorf("%.20q has score %v by its name, not %v", member, el.Score(), score)
			}
			return err
		})
	}))
	if err != nil {
		return fmt.Errorf("sorted set of %s: %w", want.by, err)
	}
	if !slices.Equal(got, want.ranking()) {
		return fmt.Errorf("sorted set of %s has %d members of %d with the right scores, or another order", want.by, len(got), len(want.scores))
	}
	return nil
}

// compareSlot compares a value that is on its way, as far as it was written.
func (m *model) compareSlot(s *storage.Store, n int) error {
	var r storage.Reader
	var got slot
	err := s.Read(&r, step(func() error {
		value, err := r.Get(slotKey(n))
		got = decodeSlot(value)
		return err
	}))
	if err != nil {
		return err
	}
	want := m.slots[n]
	if int(got.blob.Length) != want.length {
		return fmt.Errorf("slot %d has a staged value of %d bytes, not %d", n, got.blob.Length, want.length)
	}
	record := got.blob.Meta()
	if err := compareBytes(s, &record, got.written, want); err != nil {
		return fmt.Errorf("staged value %d: %w", n, err)
	}
	return nil
}

// compareBytes reads a string up to length.
func compareBytes(s *storage.Store, record *types.Meta, length int, want text) error {
	got, ok := record.Inline()
	if !ok {
		var r storage.Reader
		if err := s.Read(&r, step(func() (err error) {
			got, err = types.AppendString(&r, record, nil, 0, length)
			return err
		})); err != nil {
			return fmt.Errorf("string of %s: %w", want.by, err)
		}
	}
	if bytes.Equal(got, want.bytes) {
		return nil
	}
	at := 0
	for at < min(len(got), len(want.bytes)) && got[at] == want.bytes[at] {
		at++
	}
	return fmt.Errorf("string of %s has %d bytes, and %s has %d; byte %d is the first that is not the same",
		writer(got), len(got), want.by, len(want.bytes), at)
}

// writer tells who wrote the beginning of a string.
func writer(value []byte) string {
	value = bytes.TrimPrefix(value, []byte("ticket "))
	if len(value) < 12 {
		return "nobody knows whom"
	}
	return fmt.Sprintf("life %d, batch %d", binary.BigEndian.Uint32(value), binary.BigEndian.Uint64(value[4:]))
}
