package commands

import (
	"bytes"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// InSlot runs CLUSTER COUNTKEYSINSLOT or GETKEYSINSLOT, whose rows are metadata only, on the keys of c.DB. They read a view, as SCAN does: the keys of a
// slot lie side by side.
func (d *DataSet) InSlot(c *Call) error {
	c.Row = &Row{Name: c.Row.Name, ID: c.Row.ID, Read: slotStart, Long: slotView}
	return d.Do(c)
}

// slotStart leaves the slot in the scan's cursor, and in its count how many names are wanted; -1: how many there are.
func slotStart(q *Query) error {
	slot, ok := resp.ParseInt(q.Args[2])
	if !ok {
		return ErrNotInteger
	}
	count, inRange := int64(-1), ErrInvalidSlot
	if len(q.Args) > 3 {
		if count, ok = resp.ParseInt(q.Args[3]); !ok {
			return ErrNotInteger
		}
		if inRange = ErrSlotOrCount; count < 0 {
			return inRange
		}
	}
	if slot < 0 || slot >= types.Slots {
		return inRange
	}
	q.state = scanState{cursor: types.Place{Slot: uint16(slot)}.Cursor(), count: count}
	_, err := q.keyspace()
	return err
}

func slotView(q *Query, v *storage.View) error {
	from, _ := types.PlaceAt(q.state.cursor)
	names, wanted := [][]byte{}, q.state.count
	found := int64(0)
	w := q.walk(v)
	defer w.close()
	for ok := w.seek(from); ok && types.MetaPlace(w.key).Slot == from.Slot && found != wanted; ok = w.next() {
		m, live, err := w.meta()
		if err != nil {
			return err
		}
		if !live {
			continue
		}
		found++
		if wanted < 0 {
			continue
		}
		name, err := w.name(&m)
		if err != nil {
			return err
		}
		names = append(names, bytes.Clone(name))
	}
	if err := w.err(); err != nil {
		return err
	}
	if wanted < 0 {
		q.W.Int(found)
		return nil
	}
	q.W.Array(len(names))
	for _, name := range names {
		q.W.Bulk(name)
	}
	return nil
}
