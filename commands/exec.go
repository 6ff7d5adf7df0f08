package commands

import (
	"time"

	"sett/storage"
)

// Exec runs the steps that MULTI queued as one batch and replies with the array of their replies, or with a null array if the session's
// Watch is dirty. c.DB is where the transaction begins, and afterwards where its SELECTs have led. The Watch stays as it is.
//
// A step that answers an error leaves no effects, and the others go on. Nobody sees some steps without the others, and the log has all
// of them or none.
func (d *DataSet) Exec(c *Call, steps []Step, watch *Watch, session Session) error {
	d.begin(c)
	c.steps, c.watch, c.session, c.endDB = steps, watch, session, c.DB
	err := d.admit(c, onlyDeletes(steps), adds(steps))
	if err == nil || err != storage.ErrWouldWait && !writes(steps) {
		err = d.store.Update(&c.txn, (*execRound)(c))
		c.Seen = c.txn.Seen()
	}
	if err == nil {
		c.DB = c.endDB
	}
	err = d.end(c, err)
	if len(c.update.expired) > 0 {
		d.removeMet(c)
	}
	c.steps, c.watch, c.session = nil, nil, nil
	return err
}

func writes(steps []Step) bool {
	for _, s := range steps {
		if s.Row.IsWrite() {
			return true
		}
	}
	return false
}

// adds tells whether a step may add to the data.
func adds(steps []Step) bool {
	for i := range steps {
		if steps[i].Row.Flags.Has(FlagDenyOOM) {
			return true
		}
	}
	return false
}

func onlyDeletes(steps []Step) bool {
	for _, s := range steps {
		if s.Row.IsWrite() && !s.Row.Deletes {
			return false
		}
	}
	return true
}

type execRound Call

func (r *execRound) Run() error {
	c := (*Call)(r)
	u := c.beginRound(&c.txn, &c.txn)
	c.endDB = c.DB
	if c.d.watches.failed(c.watch, c.now) {
		c.W.NullArray()
		return nil
	}
	c.W.Array(len(c.steps))
	for i := range c.steps {
		step, start := &c.steps[i], time.Now()
		if err := c.runStep(u, step); err != nil {
			return c.afterMiss(u, i, err)
		}
		step.Took = time.Since(start)
	}
	return c.endRound()
}

// afterMiss has the keys of all further steps fetched as well, if a step met one that is not in memory: a transaction on many cold
// keys needs one more round, not one for each.
func (c *Call) afterMiss(u *Update, failed int, err error) error {
	if err != storage.ErrMiss {
		return err
	}
	db := c.endDB
	for _, step := range c.steps[failed:] {
		if step.Row.Name == "select" {
			if to, err := c.d.SelectDB(step.Args[1]); err == nil {
				db = to
			}
			continue
		}
		if err := u.lookUpKeys(step.Row, step.Args, db); err != nil && err != storage.ErrMiss {
			if _, refused := err.(Error); !refused { // the step itself will say so
				return err
			}
		}
	}
	return err
}

func (c *Call) runStep(u *Update, step *Step) error {
	if step.Row.Session {
		u.begin(step.Args, nil, c.endDB)
		c.session(&u.Query, step, c.W, &c.endDB)
		return nil
	}
	return u.run(step.Row, step.Args, step.Staged, c.endDB)
}
