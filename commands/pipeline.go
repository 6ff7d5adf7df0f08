package commands

import "sett/storage"

// A pipeline says the same command again and again, more often than not: SET after SET, HSET after HSET. To take the lock and to submit a batch for each
// of them costs as much as what they do, so those that stand side by side are one batch. It is as if nobody else had come in between.

// Pipelined is one of several commands of a row that stand side by side in a pipeline.
type Pipelined struct {
	Args [][]byte

	// Results of DoAll.
	End   int  // where its reply ends in Call.W
	Wrote bool // it has effects
}

const (
	// MostPipelined is how many commands become one batch: all others wait as long.
	MostPipelined = 32
	// pipelinedReplies is when the replies so far are enough, in bytes.
	pipelinedReplies = 16 << 10
)

// Pipelines tells whether commands of the row may be run by DoAll, side by side. Those that may wait or take long are run one by one, and so are
// subcommands: a name does not tell that two commands are of the same one.
func (r *Row) Pipelines() bool {
	return r.Write != nil && !r.Derives && r.Blocking == nil && r.Lighter == nil && r.container == nil
}

// DoAll runs commands of c.Row as one batch, up to one that has to be run by itself, and returns how many it has run: their replies are in c.W, and
// the results of c are those of all. If that is none, nothing has happened, for whatever reason: then Do will tell it. c is hurried.
func (d *DataSet) DoAll(c *Call, all []Pipelined) (ran int) {
	d.begin(c)
	err := d.admit(c, c.Row.Deletes, c.Row.Flags.Has(FlagDenyOOM))
	if err == nil {
		c.pipelined = all
		err = d.store.Update(&c.txn, (*pipelinedRound)(c))
		c.Seen = c.txn.Seen()
		ran, c.pipelined = len(c.pipelined), nil
	}
	u := &c.update
	c.settleClaims(err == nil)
	u.streams = nil
	if err != nil {
		c.Seen, c.Wrote = 0, false
		c.W.Truncate(c.start)
		return 0
	}
	d.ran(c, ran)
	d.count(&u.ledger)
	if len(u.expired) > 0 {
		d.removeMet(c)
	}
	return ran
}

type pipelinedRound Call

func (r *pipelinedRound) Run() error {
	c := (*Call)(r)
	u := c.beginRound(&c.txn, &c.txn)
	for i := range c.pipelined {
		p, effects := &c.pipelined[i], c.txn.Len()
		if err := u.run(c.Row, p.Args, nil, c.DB); err != nil {
			if i == 0 || err != storage.ErrWouldWait {
				return err
			}
			c.pipelined = c.pipelined[:i]
			break
		}
		p.End, p.Wrote = c.W.Len(), c.txn.Len() > effects
		if c.W.Len()-c.start > pipelinedReplies || c.W.Streams() || c.d.SomebodyWaits() {
			c.pipelined = c.pipelined[:i+1]
			break
		}
	}
	return c.endRound()
}
