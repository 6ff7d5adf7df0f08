package types

import (
	"encoding/binary"

	"sett/storage"
)

// A list, set, hash or sorted set is packed, all its elements in the meta record, or spread over records of its own; it spreads once and
// stays so:
//
//	format packed  payload: state(1) count(uvarint) · cap(uvarint), if it has one · soonest(8), if flagged · elements, one behind the other
//	format spread  payload: state(1) count(uvarint) · cap(uvarint), if it has one · soonest(8) or taken, if flagged · collection id(8) bytes(uvarint) · shape
//
// soonest is when the first field of a hash dies, in ms; see fieldtimes.go. taken is of a list: elements(uvarint) bytes(uvarint) of its left and of its
// right end, each.
// An element is made of datums (datum.go). The shape says where a spread collection's elements are found: table.go has that of names (hash,
// set), tree.go that of an order (list), and a sorted set has both.
const (
	formatPacked = 0
	formatSpread = 1

	stateConverted  = 1 << 0 // Redis would have given up the smaller encoding, which it never takes back
	stateMortal     = 1 << 1 // a hash some of whose fields die by themselves
	stateTaken      = 1 << 2 // a list whose leaves still hold elements that were popped
	stateNewestLast = 1 << 6 // of a list: elements were pushed behind the others, not before them, when some were pushed last
	stateCapped     = 1 << 7

	knownStates = stateConverted | stateMortal | stateTaken | stateNewestLast | stateCapped
)

// collection is the payload of a collection's meta record taken apart.
type collection struct {
	converted  bool
	newestLast bool
	count      int64  // elements, those past their time included
	cap        int64  // how many it keeps (caps.go), 0: all
	soonest    int64  // when the first field of a hash dies; 0: none does
	packed     []byte // the elements, if they are packed
	taken      [2]taken
	id         uint64 // of a spread one
	bytes      int64  // of a spread one's elements
	shape      []byte // of a spread one
}

// taken are elements at the left or the right end of a spread list that were popped. They stay in their leaf as long as others do: so a pop writes
// the meta record and nothing else.
type taken struct{ count, bytes int64 }

const (
	leftEnd  = 0
	rightEnd = 1
)

// treeBytes is bytes with those of taken elements.
func (c *collection) treeBytes() int64 {
	return c.bytes + c.taken[leftEnd].bytes + c.taken[rightEnd].bytes
}

// treeCount is count with the taken elements.
func (c *collection) treeCount() int64 {
	return c.count + c.taken[leftEnd].count + c.taken[rightEnd].count
}

func (m *Meta) validCollection() bool {
	c, ok := parseCollection(m.Format, m.Payload)
	m.held = c.holdings()
	return ok && m.Encoding == Natural && !m.OwnsBlobs && (m.Type == Hash || m.Payload[0]&stateMortal == 0) &&
		(m.Type == List && m.Format == formatSpread || m.Payload[0]&stateTaken == 0)
}

// collection takes the payload apart. DecodeMeta has seen that it can be.
func (m *Meta) collection() collection {
	c, _ := parseCollection(m.Format, m.Payload)
	return c
}

func parseCollection(format byte, payload []byte) (c collection, ok bool) {
	if len(payload) < 2 || payload[0]&^knownStates != 0 {
		return c, false
	}
	c.converted, c.newestLast = payload[0]&stateConverted != 0, payload[0]&stateNewestLast != 0
	count, n := binary.Uvarint(payload[1:])
	if n <= 0 || count == 0 || count > 1<<62 {
		return c, false
	}
	c.count = int64(count)
	rest := payload[1+n:]
	if payload[0]&stateCapped != 0 {
		limit, n := binary.Uvarint(rest)
		if n <= 0 || limit == 0 || limit > MaxCap {
			return c, false
		}
		c.cap, rest = int64(limit), rest[n:]
	}
	if payload[0]&stateMortal != 0 {
		if len(rest) < timeBytes {
			return c, false
		}
		if c.soonest = int64(binary.BigEndian.Uint64(rest)); c.soonest <= 0 {
			return c, false
		}
		rest = rest[timeBytes:]
	}
	if payload[0]&stateTaken != 0 {
		var ok bool
		if c.taken, rest, ok = splitTaken(rest); !ok {
			return c, false
		}
	}
	switch format {
	case formatPacked:
		c.packed = rest
		return c, true
	case formatSpread:
		if len(rest) < 9 {
			return c, false
		}
		c.id = binary.BigEndian.Uint64(rest)
		bytes, n := binary.Uvarint(rest[8:])
		if n <= 0 || bytes > 1<<62 || c.id == 0 {
			return c, false
		}
		c.bytes, c.shape = int64(bytes), rest[8+n:]
		return c, true
	}
	return c, false
}

func splitTaken(b []byte) (t [2]taken, rest []byte, ok bool) {
	for end := range t {
		for _, number := range [...]*int64{&t[end].count, &t[end].bytes} {
			v, n := binary.Uvarint(b)
			if n <= 0 || v > 1<<60 {
				return t, nil, false
			}
			*number, b = int64(v), b[n:]
		}
	}
	return t, b, t != [2]taken{}
}

// appendPayload appends the payload of a collection's meta record to dst.
func (c *collection) appendPayload(dst []byte) []byte {
	state := byte(0)
	if c.converted {
		state |= stateConverted
	}
	if c.newestLast {
		state |= stateNewestLast
	}
	if c.cap != 0 {
		state |= stateCapped
	}
	if c.soonest != 0 {
		state |= stateMortal
	}
	if c.taken != [2]taken{} {
		state |= stateTaken
	}
	dst = binary.AppendUvarint(append(dst, state), uint64(c.count))
	if c.cap != 0 {
		dst = binary.AppendUvarint(dst, uint64(c.cap))
	}
	if c.soonest != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(c.soonest))
	}
	if c.taken != [2]taken{} {
		for _, t := range c.taken {
			dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(t.count)), uint64(t.bytes))
		}
	}
	if c.id == 0 {
		return append(dst, c.packed...)
	}
	dst = binary.BigEndian.AppendUint64(dst, c.id)
	dst = binary.AppendUvarint(dst, uint64(c.bytes))
	return append(dst, c.shape...)
}

// format is that of the meta record.
func (c *collection) format() byte {
	if c.id == 0 {
		return formatPacked
	}
	return formatSpread
}

// valueBytes is what the elements add to the keyspace's counter of bytes.
func (c *collection) valueBytes() int64 {
	if c.id == 0 {
		return int64(len(c.packed))
	}
	return c.bytes
}

// Count is the number of a collection's elements; 0 if there is no such key.
func (m *Meta) Count() int64 {
	if !m.Exists {
		return 0
	}
	c := m.collection()
	return c.count
}

// FieldsExpireAtMs is when the first field of a hash dies; 0: none does.
func (m *Meta) FieldsExpireAtMs() int64 {
	if m.Type != Hash || len(m.Payload) == 0 || m.Payload[0]&stateMortal == 0 {
		return 0
	}
	c := m.collection()
	return c.soonest
}

// Converted tells whether Redis would have given up the smaller encoding of the collection.
func (m *Meta) Converted() bool {
	c := m.collection()
	return c.converted
}

// putCollection makes c the key's value, and leaves its time to live as it is. An empty collection is none: the key goes. The record's payload lies
// in the Ledger's scratch from here on: whoever writes the key again in this batch opens it anew.
func (l *Ledger) putCollection(r *Record, t Type, c *collection) {
	if r.draft != nil {
		l.putDraft(r, t, c)
		return
	}
	if c.count == 0 {
		if r.Exists {
			l.Remove(r)
		}
		return
	}
	l.payload = c.appendPayload(l.payload[:0])
	l.Put(r, Meta{Type: t, Format: c.format(), ExpireAtMs: r.ExpireAtMs, Payload: l.payload, held: c.holdings()})
}

func (c *collection) holdings() holdings {
	return holdings{bytes: c.valueBytes(), collection: c.id}
}

func corruptCollection(key []byte, reason string) error {
	return &storage.CorruptError{Key: append([]byte(nil), key...), Reason: reason}
}
