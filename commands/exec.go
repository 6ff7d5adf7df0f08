package commands

// Exec runs the steps that MULTI queued as one batch and replies with the array of their replies, or with a null array if the session's
// Watch is dirty. c.DB is where the transaction begins, and afterwards where its SELECTs have led. The Watch stays as it is.
//
// A step that answers an error leaves no effects, and the others go on. Nobody sees some steps without the others, and the log has all
// of them or none.
func (d *DataSet) Exec(c *Call, steps []Step, watch *Watch, session Session) error {
	d.begin(c)
	c.steps, c.watch, c.session, c.endDB = steps, watch, session, c.DB
	err := d.store.Admit(onlyDeletes(steps))
	if err == nil || !writes(steps) {
		err = d.store.Update(&c.txn, (*execRound)(c))
		c.Seen = c.txn.Seen()
	}
	if err == nil {
		c.DB = c.endDB
	}
	err = d.end(c, err)
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
	for _, step := range c.steps {
		if err := c.runStep(u, step); err != nil {
			return err
		}
	}
	c.endRound()
	return nil
}

func (c *Call) runStep(u *Update, step Step) error {
	if step.Row.Session {
		u.begin(step.Args, c.endDB)
		c.session(&u.Query, step, c.W, &c.endDB)
		return nil
	}
	return u.run(step.Row, step.Args, c.endDB)
}
