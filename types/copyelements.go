package types

import "sett/storage"

// CopyElements makes to, which owns nothing, a copy of the hash, set or sorted set from, with its time to live. The copy is part of the batch,
// whatever its size: one that a batch of limit bytes does not hold is refused before anything is read.
func (l *Ledger) CopyElements(from, to *Record, limit int64) error {
	m := from.Meta
	if m.Format == formatPacked {
		l.Put(to, m)
		return nil
	}
	var z Ranking
	e := &z.Elements
	err := e.Open(l.txn, l.options.Keys, from.Key, &m, m.Type, 0)
	if err == nil && m.Type == ZSet {
		err = z.openRows()
	}
	if err != nil {
		return err
	}
	if max(e.bytes, e.size) > limit {
		return storage.ErrTooLarge
	}
	if err := e.NeedAll(); err != nil {
		return err
	}
	source := e.id
	e.id = l.txn.NewID()
	for i := range e.buckets {
		if err := l.copyBucket(e, source, e.bucketAt(i)); err != nil {
			return err
		}
	}
	l.shape = e.appendShape(l.shape[:0])
	if m.Type == ZSet {
		if err := z.copyRows(l, e.id, z.count); err != nil {
			return err
		}
		l.shape = z.rows.appendShape(l.shape)
	}
	if e.soonest != 0 {
		source := e.collection
		source.id = m.collection().id
		rows, ok := openFieldTimes(&z.rows, &source)
		if !ok {
			return e.corrupt()
		}
		if err := z.copyRows(l, e.id, rows); err != nil {
			return err
		}
		l.shape = z.rows.appendShape(l.shape)
	}
	e.shape = l.shape
	l.payload = e.appendPayload(l.payload[:0])
	m.Payload, m.held = l.payload, e.holdings()
	l.Put(to, m)
	return nil
}

// copyBucket copies a bucket of the collection source, and what lies apart of its elements, to e's. Serials are unique within each.
func (l *Ledger) copyBucket(e *Elements, source uint64, start uint32) error {
	l.key = appendBucket(l.key[:0], source, start)
	entries, err := l.txn.Get(l.key)
	if err != nil || entries == nil {
		return err
	}
	l.key = appendBucket(l.key[:0], e.id, start)
	l.txn.Put(l.key, entries)
	return e.each(entries, func(el *Element) error {
		if err := l.copyParts(&el.name, source, e.id); err != nil {
			return err
		}
		return l.copyParts(&el.value, source, e.id)
	})
}
