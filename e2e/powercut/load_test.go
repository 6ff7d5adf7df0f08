package powercut

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"sett/storage"
)

// ledger is what a batch is written to: a storage.Txn in the child, a model in the parent.
type ledger interface {
	Get(key []byte) ([]byte, error)
	Need(keys ...[]byte) error
	Put(key, value []byte)
	Delete(key []byte)
	Count(keyspace uint32, d storage.Tally)
	NewID() uint64
}

const (
	keyspaces  = 2
	plainKeys  = 1200      // of each keyspace
	blobKeys   = 15        // of each keyspace, above the plain ones
	chunkBytes = 40 << 10  // larger than Badger's threshold: chunks lie in the value log
	maxChunks  = 3         // of a blob
	systemKey  = "!ticket" // the ticket once more
)

// The ticket is a record of its own keyspace, so that its counters stay as they are.
var ticketKey = metaKey(keyspaces, 0)

func metaKey(keyspace, number int) []byte {
	b := binary.BigEndian.AppendUint32([]byte("m"), uint32(keyspace))
	b = binary.BigEndian.AppendUint16(b, uint16(number*37%16384))
	b = binary.BigEndian.AppendUint32(b, uint32(number)*2654435761)
	return fmt.Appendf(append(b, 0), "key:%05d", number)
}

func chunkKey(blob uint64, chunk int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte("b"), blob), uint32(chunk))
}

// A blob has a header, and a record that says so when it is dead, as in package types.
func headerKey(blob uint64) []byte { return binary.BigEndian.AppendUint64([]byte("B"), blob) }

func deadKey(blob uint64) []byte { return binary.BigEndian.AppendUint64([]byte("d\x01"), blob) }

const reclaimable = 1

// ticketValue is found in the log by what it looks like.
func ticketValue(life uint32, ticket uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32([]byte("ticket "), life), ticket)
}

func ticketOf(value []byte) uint64 {
	if value == nil {
		return 0
	}
	return binary.BigEndian.Uint64(value[len(value)-8:])
}

// batch is one batch while it is written. All that it does follows from seed, life and ticket.
type batch struct {
	ledger
	r      *rand.Rand
	life   uint32
	ticket uint64
}

// change is what a batch does to a key.
type change struct {
	keyspace, number int
	size             int // of a plain value; 0: the key is deleted
	chunks           int // of a blob
}

// writeBatch writes the batch that follows the last one, and returns its ticket.
func writeBatch(l ledger, seed uint64, life uint32) (uint64, error) {
	last, err := l.Get(ticketKey)
	if err != nil {
		return 0, err
	}
	b := batch{ledger: l, life: life, ticket: ticketOf(last) + 1}
	b.r = rand.New(rand.NewPCG(seed^uint64(life)<<40, b.ticket))
	changes := b.draw()
	var keys [][]byte
	for _, c := range changes {
		keys = append(keys, metaKey(c.keyspace, c.number))
	}
	if err := l.Need(keys...); err != nil {
		return 0, err
	}
	for i, c := range changes {
		if err := b.apply(c, keys[i]); err != nil {
			return 0, err
		}
	}
	l.Put(ticketKey, ticketValue(life, b.ticket))
	l.Put([]byte(systemKey), ticketValue(life, b.ticket))
	return b.ticket, nil
}

// draw decides what the batch does: mostly a few small records, sometimes many, more than fit into one entry.
func (b *batch) draw() (changes []change) {
	n := 1 + b.r.IntN(4)
	large := b.r.IntN(40) == 0
	if large {
		n = 40 + b.r.IntN(200)
	}
	for range n {
		c := change{keyspace: b.r.IntN(keyspaces), number: b.r.IntN(plainKeys), size: 1 + b.r.IntN(600)}
		switch p := b.r.IntN(100); {
		case p < 20:
			c.number = b.r.IntN(20) // hot: written again in every generation
		case p < 40:
			c.size = 0
		case p < 46 && !large:
			c.number, c.size, c.chunks = plainKeys+b.r.IntN(blobKeys), 0, b.r.IntN(maxChunks+1)
		}
		changes = append(changes, c)
	}
	return changes
}

// apply makes one change.
//
// A value: life(4) ticket(8) expires(1) chunks(1) blob(8) filler. Nothing ever expires; it is for the counter.
func (b *batch) apply(c change, key []byte) error {
	old, err := b.Get(key)
	if err != nil {
		return err
	}
	d := tallyOf(key, old)
	d = storage.Tally{Keys: -d.Keys, Expires: -d.Expires, Bytes: -d.Bytes}
	if len(old) > 0 {
		if old[13] > 0 {
			b.Put(deadKey(binary.BigEndian.Uint64(old[14:])), []byte{reclaimable})
		}
	}
	if c.size == 0 && c.chunks == 0 {
		b.Delete(key)
		b.Count(uint32(c.keyspace), d)
		return nil
	}
	value := b.value(c)
	b.Put(key, value)
	now := tallyOf(key, value)
	b.Count(uint32(c.keyspace), storage.Tally{Keys: d.Keys + now.Keys, Expires: d.Expires + now.Expires, Bytes: d.Bytes + now.Bytes})
	return nil
}

// value makes a key's new value, and the blob that it owns.
func (b *batch) value(c change) []byte {
	v := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, b.life), b.ticket)
	v = append(v, byte(b.r.IntN(2)), byte(c.chunks))
	var blob uint64
	if c.chunks > 0 {
		blob = b.NewID()
		b.Put(headerKey(blob), v)
	}
	v = binary.BigEndian.AppendUint64(v, blob)
	for i := range c.chunks {
		b.Put(chunkKey(blob, i), b.filler(nil, chunkBytes-b.r.IntN(2000)))
	}
	return b.filler(v, c.size)
}

func (b *batch) filler(to []byte, n int) []byte {
	for range n / 8 {
		to = binary.BigEndian.AppendUint64(to, b.r.Uint64())
	}
	return to
}

func tallyOf(key, value []byte) storage.Tally {
	if value == nil {
		return storage.Tally{}
	}
	return storage.Tally{Keys: 1, Expires: int64(value[12]), Bytes: int64(len(key) + len(value))}
}

// model is what a store must hold.
type model struct {
	records map[string][]byte
	tallies [keyspaces]storage.Tally
	ids     uint64
}

func newModel() *model { return &model{records: map[string][]byte{}} }

func (m *model) clone() *model { return &model{maps.Clone(m.records), m.tallies, m.ids} }

func (m *model) Get(key []byte) ([]byte, error) { return m.records[string(key)], nil }
func (m *model) Need(...[]byte) error           { return nil }
func (m *model) Delete(key []byte)              { delete(m.records, string(key)) }
func (m *model) NewID() uint64                  { m.ids++; return m.ids }

func (m *model) Count(keyspace uint32, d storage.Tally) {
	t := &m.tallies[keyspace]
	t.Keys, t.Expires, t.Bytes = t.Keys+d.Keys, t.Expires+d.Expires, t.Bytes+d.Bytes
}

// Put forgets a blob that died: nobody says when its chunks are removed.
func (m *model) Put(key, value []byte) {
	m.records[string(key)] = bytes.Clone(value)
	if key[0] == 'd' {
		blob := binary.BigEndian.Uint64(key[2:])
		delete(m.records, string(headerKey(blob)))
		for i := range maxChunks {
			delete(m.records, string(chunkKey(blob, i)))
		}
	}
}

func (m *model) ticket() uint64 { return ticketOf(m.records[string(ticketKey)]) }

// advance writes batches up to a ticket.
func (m *model) advance(seed uint64, life uint32, ticket uint64) {
	for m.ticket() < ticket {
		writeBatch(m, seed, life) // a model has no errors
	}
}

// step is a Runner made of a func.
type step func() error

func (f step) Run() error { return f() }

// ticketIn returns the ticket that a store ended with.
func ticketIn(s *storage.Store) (ticket uint64, err error) {
	var r storage.Reader
	err = s.Read(&r, step(func() error {
		v, err := r.Get(ticketKey)
		ticket = ticketOf(v)
		return err
	}))
	return ticket, err
}

// compare tells where a store differs from the model.
func (m *model) compare(s *storage.Store) error {
	for keyspace := range keyspaces + 1 {
		if err := m.compareKeyspace(s, keyspace); err != nil {
			return err
		}
	}
	if err := m.compareRecord(s, []byte(systemKey)); err != nil {
		return err
	}
	for id := range m.ids + 10 {
		if m.records[string(deadKey(id))] != nil {
			continue
		}
		if err := m.compareRecord(s, headerKey(id)); err != nil {
			return err
		}
		for chunk := range maxChunks {
			if err := m.compareRecord(s, chunkKey(id, chunk)); err != nil {
				return err
			}
		}
	}
	var r storage.Reader
	return s.Read(&r, step(func() error {
		for keyspace, want := range m.tallies {
			if got := r.Tally(uint32(keyspace)); got != want {
				return fmt.Errorf("counters of keyspace %d are %+v, not %+v", keyspace, got, want)
			}
		}
		return nil
	}))
}

// compareKeyspace walks a keyspace: nothing may be missing, nothing may be there that was deleted.
func (m *model) compareKeyspace(s *storage.Store, keyspace int) error {
	prefix, end := metaKey(keyspace, 0)[:5], metaKey(keyspace+1, 0)[:5]
	var want []string
	for key := range m.records {
		if key[:len(prefix)] == string(prefix) {
			want = append(want, key)
		}
	}
	slices.Sort(want)
	v, err := s.View()
	if err != nil {
		return err
	}
	defer v.Close()
	it := v.Iterate(prefix, end)
	defer it.Close()
	for it.Next() {
		key := string(it.Key())
		if len(want) == 0 || key < want[0] {
			return fmt.Errorf("%q is there (written by %s); it must not be", key, writer(it.Value()))
		}
		if key > want[0] {
			break
		}
		if err := differ([]byte(key), it.Value(), m.records[key]); err != nil {
			return err
		}
		want = want[1:]
	}
	if err := it.Err(); err != nil {
		return err
	}
	if len(want) > 0 {
		return fmt.Errorf("%q, written by %s, is not there", want[0], writer(m.records[want[0]]))
	}
	return nil
}

func (m *model) compareRecord(s *storage.Store, key []byte) error {
	var r storage.Reader
	return s.Read(&r, step(func() error {
		got, err := r.Get(key)
		if err != nil {
			return err
		}
		return differ(key, got, m.records[string(key)])
	}))
}

func differ(key, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("%q is that of %s (%d bytes), not that of %s (%d bytes)", key, writer(got), len(got), writer(want), len(want))
}

func writer(value []byte) string {
	value = bytes.TrimPrefix(value, []byte("ticket "))
	if len(value) < 12 {
		return "nobody"
	}
	return fmt.Sprintf("life %d, batch %d", binary.BigEndian.Uint32(value), binary.BigEndian.Uint64(value[4:]))
}
