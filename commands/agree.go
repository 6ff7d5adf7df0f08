package commands

import (
	"sett/storage"
	"sett/types"
)

// Agree puts settings into the data, from where all nodes of a cluster have them: names and values in turn, as config has checked them. They hold for
// every batch behind this one. c.Seen is what the reply waits for. storage.ErrNotEvaluating: nothing happened, another node leads.
func (d *DataSet) Agree(c *Call, pairs []string) error {
	d.begin(c)
	if err := d.admit(c, true, false); err != nil { // as for deletions: settings are what helps when there is too much
		return err
	}
	r := &agreeRound{call: c, pairs: pairs}
	err := d.store.Update(&c.txn, r)
	c.Seen, c.Wrote = c.txn.Seen(), err == nil && c.txn.Wrote()
	return err
}

type agreeRound struct {
	call  *Call
	pairs []string
}

func (r *agreeRound) Run() error {
	u := r.call.beginRound(&r.call.txn, &r.call.txn)
	return types.PutSettings(u.txn, r.pairs)
}

// SeeAgreed has the call's reply wait until what it shows of such settings is committed. A node that serves nobody has nothing that is not.
func (d *DataSet) SeeAgreed(c *Call) {
	c.reader.Hurry(false)
	if d.store.Read(&c.reader, (*agreedRound)(c)) == nil {
		c.Seen = max(c.Seen, c.reader.Seen())
	}
}

type agreedRound Call

func (r *agreedRound) Run() error {
	_, err := r.reader.Get(types.SettingsKey())
	return err
}

// Observe has adopt called with all that the nodes have agreed on: now, and whenever that changes (storage.Store.Observe).
func Observe(store *storage.Store, adopt func(pairs []string, err error)) {
	store.Observe(types.SettingsKey(), func(record []byte) { adopt(types.DecodeSettings(record)) })
}
