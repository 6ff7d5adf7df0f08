package commands

import (
	"slices"

	"sett/resp"
	"sett/storage"
	"sett/ttl"
	"sett/types"
)

// Sweep is the sweeper's way into the data set: it removes the keys whose expiry rows are given, as one batch, if they are past their
// time. A row that no meta record knows of is removed, too; there is none unless something is broken.
func (d *DataSet) Sweep(rows [][]byte) error {
	c := &Call{Row: sweepRow, Args: rows, W: &resp.Writer{}}
	d.begin(c)
	if err := d.store.Admit(true); err != nil {
		return err
	}
	if err := d.store.Update(&c.txn, (*writeRound)(c)); err != nil {
		return err
	}
	return d.end(c, nil)
}

// sweepRow is in no table: no client can call it.
var sweepRow = &Row{Name: "sweep", Write: sweep, Deletes: true}

// expiredMetMax is how many keys past their time one command has removed; the sweeper finds the rest.
const expiredMetMax = 256

// meetExpired notes that a key past its time is in the way: it is removed behind the reply, as Redis does when a command comes upon one.
func (q *Query) meetExpired(key []byte, m *types.Meta) {
	if len(q.expired) < expiredMetMax {
		q.expired = append(q.expired, types.AppendRowOfMeta(nil, key, m.ExpireAtMs))
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
	for i, key := range keys {
		if err := u.sweepKey(key, u.Args[i]); err != nil {
			return err
		}
	}
	return nil
}

func (u *Update) sweepKey(key, row []byte) error {
	r, err := u.ledger.Open(key, nil) // removes it, and the row, if its time is past
	if err != nil {
		return err
	}
	if due, _ := ttl.DecodeRow(row); r.Exists && r.ExpireAtMs == due.ExpireAtMs {
		return nil // our time is behind the sweeper's
	}
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
	r.found = slices.DeleteFunc(spaces, func(space uint32) bool { return r.reader.Tally(space).Expires == 0 })
	return err
}
