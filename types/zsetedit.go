package types

import (
	"encoding/binary"
)

// ZSetEdit changes the elements of a sorted set. Of a spread one the buckets are written by Save, the nodes of the tree by each change, or, if
// they are held back, by Save too.
type ZSetEdit struct{ *Edit }

// EditZSet begins to change the elements of a record that is a sorted set, or does not exist. changes is how many are expected: of many, each
// node that they touch is written once.
func (l *Ledger) EditZSet(r *Record, changes int) (ZSetEdit, error) {
	e, err := l.EditElements(r, ZSet)
	if err == nil {
		err = e.openRows()
	}
	if err == nil && !r.Exists && r.draft == nil {
		e.cap, err = l.capOfNew(r.Name)
	}
	e.rows.hold(changes > 1)
	return ZSetEdit{e}, err
}

// Save writes what has changed: all but the members that exceed the cap.
func (e ZSetEdit) Save() error {
	if err := e.trim(); err != nil {
		return err
	}
	e.Edit.Save()
	return nil
}

// Score returns the score of a member.
func (e ZSetEdit) Score(member []byte) (score float64, found bool, err error) {
	if e.id != 0 {
		n := e.keys.elementName(member)
		p, found, err := e.look(&n)
		return p.Score(), found, err
	}
	el, found, err := e.Find(member)
	return el.Score(), found, err
}

// Foresee asks for what Put or Remove of a member will need. It is for those who have met an ErrMiss and have more to do.
func (e ZSetEdit) Foresee(member []byte, score float64) {
	if e.id == 0 {
		return
	}
	if el, found, err := e.Find(member); err == nil && found {
		e.aim(el.score, member)
		e.place()
	}
	e.aim(orderScore(score), member)
	e.place()
}

// Put gives a member a score. added tells whether there was no such member.
func (e ZSetEdit) Put(member []byte, score float64) (added bool, err error) {
	n := e.keys.elementName(member)
	e.changed = true
	if e.id == 0 && len(member) <= inlineMaxBytes {
		if added, err = e.putPacked(&n, orderScore(score)); err != nil {
			return false, err
		}
		if e.count > int64(e.l.options.PackedMaxEntries) || len(e.packed) > e.l.options.PackedMaxBytes {
			err = e.spread()
		}
		return added, err
	}
	if e.id == 0 {
		if err := e.spread(); err != nil {
			return false, err
		}
	}
	return e.putSpread(&n, orderScore(score))
}

func (e ZSetEdit) putPacked(n *elementName, score orderedScore) (added bool, err error) {
	old, at, found, ok := find(ZSet, e.packed, n)
	if !ok {
		return false, e.corrupt()
	}
	e.entry = appendInline(binary.BigEndian.AppendUint64(e.entry[:0], uint64(score)), n.bytes)
	e.packed = splice(e.packed, at, len(old.raw), nil)
	e.aim(score, n.bytes)
	rank, _, _, err := e.place()
	if err != nil {
		return false, err
	}
	place, _ := zsetRows.skip(e.packed, rank) // place has seen that they are well-formed
	e.packed = splice(e.packed, place, 0, e.entry)
	if !found {
		e.count++
	}
	return !found, nil
}

// spread gives packed rows a table and a tree.
func (e ZSetEdit) spread() error {
	if err := e.Edit.spread(); err != nil {
		return err
	}
	e.rows.begin(&zsetRows, e.id)
	if e.count == 0 {
		return nil
	}
	return e.rows.splice(e.l, 0, 0, 0, e.packed, e.count, false)
}

func (e ZSetEdit) putSpread(n *elementName, score orderedScore) (added bool, err error) {
	old, found, err := e.look(n)
	if err != nil {
		return false, err
	}
	total := e.count
	if found {
		if err := e.removeRow(&old.Element, n); err != nil {
			return false, err
		}
		total--
	}
	e.aim(score, n.bytes)
	rank, again, behind, err := e.place()
	if err != nil {
		return false, err
	}
	if again {
		return false, e.corrupt() // the table does not know it
	}
	e.entry = binary.BigEndian.AppendUint64(e.entry[:0], uint64(score))
	e.entry = e.l.appendDatum(e.entry, e.id, n.bytes, inlineMaxBytes, true)
	if err := e.rows.splice(e.l, total, rank, rank, e.entry, 1, behind); err != nil {
		return false, err
	}
	if len(n.bytes) > inlineMaxBytes {
		e.rows.apart += int64(len(n.bytes))
	}
	return !found, e.write(&old, e.entry)
}

// removeRow takes the row of an element out of the tree.
func (e ZSetEdit) removeRow(el *Element, n *elementName) error {
	e.aim(el.score, n.bytes)
	rank, found, _, err := e.place()
	if err != nil {
		return err
	}
	if !found {
		return e.corrupt()
	}
	return e.rows.splice(e.l, e.count, rank, rank+1, nil, 0, false)
}

// Remove removes a member, if there is one.
func (e ZSetEdit) Remove(member []byte) (removed bool, err error) {
	if e.id == 0 {
		return e.Edit.Remove(member)
	}
	n := e.keys.elementName(member)
	old, found, err := e.look(&n)
	if err != nil || !found {
		return false, err
	}
	if err := e.removeRow(&old.Element, &n); err != nil {
		return false, err
	}
	return true, e.erase(&old)
}

// RemoveRange removes the elements of the ranks [i, j).
func (e ZSetEdit) RemoveRange(i, j int64) error {
	if i >= j {
		return nil
	}
	e.changed = true
	if i == 0 && j == e.count {
		e.count = 0 // the key goes, and all that is its with it
		return nil
	}
	if e.id == 0 {
		from, ok := zsetRows.skip(e.packed, i)
		size, good := zsetRows.skip(e.packed[from:], j-i)
		if !ok || !good {
			return e.corrupt()
		}
		e.packed = splice(e.packed, from, size, nil)
		e.count -= j - i
		return nil
	}
	total := e.count
	if err := e.removeEntries(i, j); err != nil {
		return err
	}
	return e.rows.splice(e.l, total, i, j, nil, 0, false)
}

// removeEntries takes the elements of the ranks [i, j) out of their buckets.
func (e ZSetEdit) removeEntries(i, j int64) error {
	if j-i > 1 {
		if err := e.needBuckets(i, j); err != nil {
			return err
		}
	}
	return e.Range(i, j, false, func(el *Element) error {
		member, err := e.Name(el)
		if err != nil {
			return err
		}
		n := e.keys.elementName(member)
		old, found, err := e.look(&n)
		if err == nil && !found {
			err = e.corrupt()
		}
		if err != nil {
			return err
		}
		return e.erase(&old)
	})
}

func (e ZSetEdit) needBuckets(i, j int64) error {
	keys := make([][]byte, 0, j-i)
	err := e.Range(i, j, false, func(el *Element) error {
		keys = append(keys, appendBucket(nil, e.id, e.bucketOf(e.keys.hashOf(el))))
		return nil
	})
	if err != nil {
		return err
	}
	return e.round.Need(keys...)
}

// saveRows writes what was held back of the tree, and appends its shape.
func (e *Edit) saveRows(shape []byte) []byte {
	e.rows.release(e.l, e.count > 0)
	e.bytes = e.rows.bytes + e.rows.apart
	return e.rows.appendShape(shape)
}

// copyRows copies the tree to another collection. What lies apart of its elements was copied with their buckets.
func (z *Ranking) copyRows(l *Ledger, collection uint64, rows int64) error {
	if err := z.rows.need(l.txn, 0, rows, true); err != nil {
		return err
	}
	apart := z.rows.apart
	z.rows.apart = 0
	err := z.rows.copyTo(l, collection)
	z.rows.apart = apart
	return err
}
