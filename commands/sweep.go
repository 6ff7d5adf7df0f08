package commands

import (
	"slices"
	"time"

	"sett/resp"
	"sett/storage"
	"sett/ttl"
	"sett/types"
)

// Sweep is the sweeper's way into the data set: it removes the keys and the fields of expiry rows, as one batch, if they are past their time, and
// returns how many of the rows are done with: a hash may have more such fields than a batch should remove. A row that no meta record knows of is
// removed, too; there is none unless something is broken. locked is for how long the lock was held, about. One caller at a time.
func (d *DataSet) Sweep(view *storage.View, rows []ttl.Due) (done int, locked time.Duration, err error) {
	c := &d.sweeps // its memory is used again
	c.Row, c.Args, c.W = sweepRow, nil, &resp.Writer{}
	d.begin(c)
	light := c.update.sweeping.light
	c.update.sweeping = sweeping{view: view, rows: rows, light: slices.Grow(light[:0], len(rows))[:len(rows)]}
	defer func() { c.update.sweeping.view, c.update.sweeping.rows = nil, nil }()
	if err := d.store.Admit(true); err != nil {
		return 0, 0, err
	}
	if err := d.store.Update(&c.txn, (*writeRound)(c)); err != nil {
		return 0, 0, err
	}
	return c.update.sweeping.done, time.Since(c.update.sweeping.from), d.end(c, nil)
}

// sweeping is a batch of expiry rows that are due.
type sweeping struct {
	view *storage.View // that has seen the rows; nil: they follow from meta records that were met
	rows []ttl.Due

	// Of the last round.
	from  time.Time // when it began
	done  int       // so many of the rows are done with
	light []bool    // which of the rows are as the view saw them, and say all that is to be known of their keys
}

// sweptFieldsMax is how many fields one batch removes, about: how long the lock is held.
const sweptFieldsMax = 256

// sweepRow is in no table: no client can call it.
var sweepRow = &Row{Name: "sweep", Write: sweep, Deletes: true}

// expiredMetMax is how many keys past their time one command has removed; the sweeper finds the rest.
const expiredMetMax = 256

// meetExpired notes that a key past its time is in the way: it is removed behind the reply, as Redis does when a command comes upon one.
func (q *Query) meetExpired(key []byte, m *types.Meta) {
	if len(q.expired) < expiredMetMax {
		q.expired = append(q.expired, types.AppendRowOfMeta(nil, key, ttl.KindKey, m.ExpireAtMs))
	}
}

// removeMet removes the keys that a call met past their time, unless nothing may be removed now.
func (d *DataSet) removeMet(c *Call) {
	rows := c.update.expired
	c.update.expired = nil
	if d.clock.Settled() && (d.opts.Hold == nil || !d.opts.Hold()) {
		d.behind(c, true, &metRound{c, rows})
	}
}

type metRound struct {
	call *Call
	rows [][]byte
}

func (r *metRound) Run() error {
	u := r.call.beginRound(&r.call.txn, &r.call.txn)
	u.begin(nil, nil, r.call.DB)
	u.sweeping = sweeping{light: make([]bool, len(r.rows))}
	for _, row := range r.rows {
		u.sweeping.rows = append(u.sweeping.rows, ttl.Due{Key: row})
	}
	if err := sweep(u); err != nil {
		return err
	}
	r.call.d.watches.touch(u)
	return nil
}

func sweep(u *Update) error {
	s := &u.sweeping
	s.from, s.done = time.Now(), 0
	heavy, err := u.sortOut(s)
	if err == nil {
		err = u.txn.Need(heavy...)
	}
	if err != nil {
		return err
	}
	fields := sweptFieldsMax
	for i := range s.rows {
		if fields <= 0 {
			return nil
		}
		removed, more, err := u.sweepRow(i, fields)
		if err != nil || more {
			return err
		}
		fields -= removed
		s.done++
	}
	return nil
}

// sortOut finds the rows that say all that is to be known of their keys, and returns the meta keys of all others. A row says it as long as nothing was
// written to it: whoever changes the key, its size or its time writes the row in the same batch, or deletes it. A keyspace that was flushed is its
// reclaimer's, who goes behind the log's back.
func (u *Update) sortOut(s *sweeping) (heavy [][]byte, err error) {
	var spaces []uint32
	if s.view != nil {
		if spaces, err = u.set.spaces(u.txn); err != nil {
			return nil, err
		}
	}
	for i, due := range s.rows {
		row, ok := ttl.DecodeRow(due.Key)
		if !ok {
			panic("commands: the sweeper found a record that is no expiry row")
		}
		size, _ := ttl.DecodeRowValue(due.Value)
		s.light[i] = s.view != nil && size != ttl.NotLight && row.ExpireAtMs < u.Now && slices.Contains(spaces, row.Keyspace) &&
			u.txn.Unchanged(s.view, due.Key)
		if !s.light[i] {
			heavy = append(heavy, types.AppendMetaOfRow(nil, row))
		}
	}
	return heavy, nil
}

// sweepRow does what a row is for: fields of a hash, up to a limit, may be removed; more tells that others are due.
func (u *Update) sweepRow(i, limit int) (fields int, more bool, err error) {
	row := u.sweeping.rows[i]
	due, _ := ttl.DecodeRow(row.Key)
	if u.sweeping.light[i] {
		size, _ := ttl.DecodeRowValue(row.Value)
		u.ledger.RemoveLight(due, row.Key, size)
		return 0, false, nil
	}
	u.key = types.AppendMetaOfRow(u.key[:0], due)
	r, err := u.ledger.Open(u.key, nil) // removes it, and its rows, if its time is past
	if err != nil {
		return 0, false, err
	}
	at := r.ExpireAtMs
	if due.Kind == ttl.KindFields {
		at = r.FieldsExpireAtMs()
	}
	switch {
	case !r.Exists || at != due.ExpireAtMs:
		return 0, false, u.dropStray(row.Key)
	case due.Kind == ttl.KindFields:
		spaces, err := u.set.spaces(u.txn)
		if err != nil {
			return 0, false, err
		}
		if !slices.Contains(spaces, due.Keyspace) {
			u.sweepFlushed(&r)
			return 0, false, nil
		}
		return u.sweepFields(&r, limit)
	}
	return 0, false, nil // our time is behind the sweeper's
}

// sweepFlushed removes a hash whose database was flushed since its row was read. The reclaimer may be on its way through what it held, so
// nothing of it may be written any more.
func (u *Update) sweepFlushed(r *types.Record) {
	changes := u.ledger.Changes
	u.ledger.Remove(r)
	u.ledger.Changes = changes
}

// sweepFields removes fields that are past their time.
func (u *Update) sweepFields(r *types.Record, limit int) (removed int, more bool, err error) {
	e, err := u.ledger.EditElements(r, types.Hash)
	if err == nil {
		removed, err = u.removeEnded(e, limit)
	}
	if err != nil {
		return 0, false, err
	}
	return removed, e.Len() > 0 && e.Ending(), nil
}

func (u *Update) dropStray(row []byte) error {
	stray, err := u.txn.Get(row)
	if err == nil && stray != nil {
		u.txn.Delete(row)
	}
	return err
}

// ExpiringKeyspaces lists the keyspaces that a sweeper has to look at.
func (d *DataSet) ExpiringKeyspaces() ([]uint32, error) {
	r := &expiringRound{d: d}
	err := d.store.Read(&r.reader, r)
	return r.found, err
}

type expiringRound struct {
	d      *DataSet
	reader storage.Reader
	found  []uint32
}

func (r *expiringRound) Run() error {
	spaces, err := r.d.spaces(&r.reader)
	r.found = slices.DeleteFunc(spaces, func(space uint32) bool {
		return r.reader.Tally(space).Expires == 0 && r.reader.Tally(space).Mortal == 0
	})
	return err
}
