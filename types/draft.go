package types

import (
	"bytes"
	"encoding/binary"

	"sett/storage"
)

// Draft is a collection that is made by several batches before a key gets it. No meta record names it: the batch that begins its records writes a dead
// record, in which it is staged, and whoever makes it keeps what its meta record will be. The zero Draft is of an empty collection.
type Draft struct {
	Meta
	ID uint64 // of its records; 0: it has had none so far
}

// draftRecord is where an Edit of a draft ends instead of in a meta record.
type draftRecord struct{ id uint64 }

// OpenDraft points a Record at a draft: what is changed of it, by an Edit, CopyRecords or BeginCopy, EndDraft returns.
func (l *Ledger) OpenDraft(d *Draft) Record {
	return Record{Meta: d.Meta, draft: &draftRecord{d.ID}}
}

// EndDraft is the draft as this batch leaves it.
func (l *Ledger) EndDraft(r *Record) Draft { return Draft{r.Meta, r.draft.id} }

// putDraft is putCollection for a draft.
func (l *Ledger) putDraft(r *Record, t Type, c *collection) {
	if r.Meta = (Meta{}); c.count > 0 {
		r.Meta = Meta{Exists: true, Type: t, Format: c.format(), Payload: c.appendPayload(nil)}
	}
	if c.id != 0 && c.id != r.draft.id {
		if r.draft.id != 0 {
			l.putDead(DeadCollection, r.draft.id, Reclaim)
		}
		r.draft.id = c.id
		l.putDead(DeadCollection, c.id, Staged)
	}
}

// PutDraft makes a draft the value of a key; an empty one is no key. It may be written once.
func (l *Ledger) PutDraft(r *Record, d *Draft, expireAtMs int64) {
	if d.ID != 0 {
		l.putDead(DeadCollection, d.ID, Reclaim)
	}
	switch {
	case d.Exists:
		if d.ID != 0 {
			l.txn.Delete(l.key)
		}
		m := d.Meta
		m.ExpireAtMs = expireAtMs
		l.Put(r, m)
	case r.Exists:
		l.Remove(r)
	}
}

// DropDraft makes a draft dead, unless it is staged no more.
func (l *Ledger) DropDraft(id uint64) error { return l.dropStaged(DeadCollection, id) }

// dropStaged makes something dead, unless it is staged no more.
func (l *Ledger) dropStaged(kind byte, id uint64) error {
	l.key = AppendDead(l.key[:0], kind, id)
	state, err := l.txn.Get(l.key)
	if err == nil && len(state) == 1 && state[0] == Staged {
		l.txn.Put(l.key, []byte{Reclaim})
	}
	return err
}

// BeginCopy makes the draft a copy of a spread collection, whose records are still to be copied.
func (l *Ledger) BeginCopy(r *Record, from *Meta) {
	c := from.collection()
	c.id = l.txn.NewID()
	l.putDraft(r, from.Type, &c)
}

// CopiedRecords are records of a collection on their way into a draft.
type CopiedRecords struct {
	bytes []byte // kind and suffix of a key, value
	ends  []int  // of each
}

// Bytes is how many bytes they have.
func (c *CopiedRecords) Bytes() int { return len(c.bytes) }

// Reset forgets them.
func (c *CopiedRecords) Reset() { c.bytes, c.ends = c.bytes[:0], c.ends[:0] }

// CopyFrom calls full whenever records of at least so many bytes have gathered, and at the end, until all records of the collection have passed. It
// takes them as they are, whatever they are.
func (c *CopiedRecords) CopyFrom(v *storage.View, from *Meta, batchBytes int, full func() error) error {
	_, id := from.owned()
	r := idRange(elementPrefix, id)
	it := v.Iterate(r.Lower, r.Upper)
	defer it.Close()
	for ok := it.Seek(r.Lower); ok; ok = it.Next() {
		c.bytes = append(c.bytes, it.Key()[collectionKeyBytes:]...)
		c.ends = append(c.ends, len(c.bytes))
		c.bytes = append(c.bytes, it.Value()...)
		c.ends = append(c.ends, len(c.bytes))
		if len(c.bytes) >= batchBytes {
			if err := full(); err != nil {
				return err
			}
		}
	}
	if it.Err() != nil || len(c.ends) == 0 {
		return it.Err()
	}
	return full()
}

// collectionKeyBytes is where the key of an element goes on behind its collection.
const collectionKeyBytes = 9

// CopyRecords writes records that have gathered.
func (l *Ledger) CopyRecords(r *Record, c *CopiedRecords) {
	at := 0
	for i := 0; i < len(c.ends); i += 2 {
		l.key = append(binary.BigEndian.AppendUint64(append(l.key[:0], elementPrefix), r.draft.id), c.bytes[at:c.ends[i]]...)
		l.txn.Put(l.key, c.bytes[c.ends[i]:c.ends[i+1]])
		at = c.ends[i+1]
	}
}

// Clone is a meta record that stays as it is when the one it was read from changes.
func (m *Meta) Clone() Meta {
	c := *m
	c.Payload = bytes.Clone(m.Payload)
	return c
}

// CapOver is the cap that a collection of type of gets which takes the place of a record: that of the record if it is of the type and has one, or else
// that of its name.
func (l *Ledger) CapOver(r *Record, of Type) (int64, error) {
	if of != List && of != ZSet {
		return 0, nil
	}
	if r.Exists && r.Type == of && r.Cap() > 0 {
		return r.Cap(), nil
	}
	return l.capOfNew(r.Name)
}
