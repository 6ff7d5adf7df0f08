package commands

import (
	"slices"
	"time"

	"sett/resp"
	"sett/storage"
	"sett/ttl"
	"sett/types"
)

// Sweep is the sweeper's way into the data set: it removes the keys and the fields whose expiry rows are given, as one batch, if they are past
// their time, and returns how many of the rows are done with: a hash may have more such fields than a batch should remove. A row that no
// meta record knows of is removed, too; there is none unless something is broken. locked is for how long the lock was held, about.
func (d *DataSet) Sweep(rows [][]byte) (done int, locked time.Duration, err error) {
	c := &Call{Row: sweepRow, Args: rows, W: &resp.Writer{}}
	d.begin(c)
	if err := d.store.Admit(true); err != nil {
		return 0, 0, err
	}
	if err := d.store.Update(&c.txn, (*writeRound)(c)); err != nil {
		return 0, 0, err
	}
	return c.update.swept, time.Since(c.update.sweptFrom), d.end(c, nil)
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
	u.begin(r.rows, nil, r.call.DB)
	if err := sweep(u); err != nil {
		return err
	}
	r.call.d.watches.touch(u)
	return nil
}

func sweep(u *Update) error {
	u.swept, u.sweptFrom = 0, time.Now()
	keys := make([][]byte, len(u.Args))
	for i, arg := range u.Args {
		row, ok := ttl.DecodeRow(arg)
		if !ok {
			panic("commands: the sweeper found a record that is no expiry row")
		}
		keys[i] = types.AppendMetaOfRow(nil, row)
	}
	if err := u.txn.Need(keys...); err != nil {
		return err
	}
	fields := sweptFieldsMax
	for i, key := range keys {
		if fields <= 0 {
			return nil
		}
		removed, more, err := u.sweepRow(key, u.Args[i], fields)
		if err != nil || more {
			return err
		}
		fields -= removed
		u.swept++
	}
	return nil
}

// sweepRow does what a row is for: fields of a hash, up to a limit, may be removed; more tells that others are due.
func (u *Update) sweepRow(key, row []byte, limit int) (fields int, more bool, err error) {
	r, err := u.ledger.Open(key, nil) // removes it, and its rows, if its time is past
	if err != nil {
		return 0, false, err
	}
	due, _ := ttl.DecodeRow(row)
	at := r.ExpireAtMs
	if due.Kind == ttl.KindFields {
		at = r.FieldsExpireAtMs()
	}
	switch {
	case !r.Exists || at != due.ExpireAtMs:
		return 0, false, u.dropStray(row)
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
