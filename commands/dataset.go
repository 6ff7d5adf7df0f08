package commands

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"sett/resp"
	"sett/storage"
	"sett/ttl"
	"sett/types"
)

// Options of a data set. Zero fields get the defaults of Redis or of config.toml.
type Options struct {
	Table     *Table     // NewTable()
	Clock     *ttl.Clock // one that follows the system's
	Databases int        // databases, 16
	MaxBulk   int        // longest string, bytes: proto_max_bulk_len, 512 MiB
	MaxName   int        // longest key, bytes: max_name_bytes, 1 MiB
	StagedMax int64      // bytes of all values that are arriving: staged_max_bytes, 2 GiB
	Values    types.Options
	Seed      uint64 // of RANDOMKEY and its like; 0: drawn from the system

	// Hold, if set, tells that no key may be removed now because a command that reads met it past its time: CLIENT PAUSE.
	Hold func() bool

	// PullBack is told when expiry rows are written with a time in the past: ttl.Sweeper.PullBack.
	PullBack func(expireAtMs int64)
}

// DataSet runs commands on one store.
type DataSet struct {
	store        *storage.Store
	keys         types.Keys
	opts         Options
	table        *Table
	clock        *ttl.Clock
	maxBulk      atomic.Int64
	seed         atomic.Uint64
	stats        Stats
	access       accesses
	limits       limits
	evictor      atomic.Pointer[Evictor] // nil: none was started
	parking      parking
	watches      watches
	staged       staged
	runBytes     int          // of a result that gather before they go into its draft: batch_max_bytes
	lcs          atomic.Int64 // bytes of the tables that LCS works on
	hllSparseMax atomic.Int64 // hll_sparse_max_bytes
	encodings    Encodings
	sweeps       Call // Sweep's
}

// Rekey sets the encoder of keys, where it is not known before the node has found its cluster. Nobody uses the data set yet.
func (d *DataSet) Rekey(keys types.Keys) { d.keys = keys }

// Stats are counted since the data set was made.
type Stats struct {
	Hits, Misses  atomic.Uint64 // keys looked up by commands that read: found, not found
	Expired       atomic.Uint64 // expired keys removed, by the sweeper or by a writer that met them
	ExpiredFields atomic.Uint64 // expired fields of hashes removed, those of keys that went with all they had left out
	Evicted       atomic.Uint64 // keys removed because there was too much data
	OverLimitMs   atomic.Uint64 // for how long there was too much data
	Evaluated     atomic.Uint64 // rows run, steps of MULTI included
	Changes       atomic.Uint64 // what Redis calls dirty: keys written or removed, elements where there are such
}

// Call is one command of one connection: made once per connection, used again for each of its commands. It belongs to the goroutine
// that calls Do or Exec.
type Call struct {
	Row  *Row
	Args [][]byte
	DB   int
	W    *resp.Writer

	NoTouch bool // looking keys up is no use of them: CLIENT NO-TOUCH

	Staged []StagedArg // arguments that are in the store already; the call settles what becomes of them

	// Ready is called when a command that waited was served, by whoever did, with no lock held. A Call without it does not wait.
	Ready func()

	// Hurried has Do, Exec and Watch return storage.ErrWouldWait, and leave no trace, where they would wait for the disk or for memory, or run long.
	Hurried bool

	// Results of Do and Exec.
	Parked *Waiter // the command waits, and has no reply yet
	Seen   uint64  // the reply may leave once this position is committed
	Wrote  bool    // the call is part of the log

	Refused bool // nothing happened, because this node does not evaluate; the reply says so

	d      *DataSet
	now    int64
	seed   uint64
	start  int // length of W when the call began
	proto  int // … and its protocol, which HELLO within EXEC may change
	reader storage.Reader
	txn    storage.Txn
	update Update
	view   *storage.View
	claims []*Waiter // served in the present round

	pipelined []Pipelined // of DoAll only: those that it runs, cut down to those that it has run

	// Of Exec and Watch only.
	steps   []Step
	session Session
	watch   *Watch
	endDB   int // the database selected when the steps have run
}

// Step is one command queued by MULTI.
type Step struct {
	Row    *Row
	Args   [][]byte
	Staged []StagedArg

	Took time.Duration // result of Exec: how long the step ran in the last round
}

// Session answers a Session row that was queued by MULTI. It is called with the lock held and may be called again for the same step, if
// the round is given up. So it looks at data through q only, writes its reply to w, and changes *db for SELECT; anything else that it
// does must bear to be done twice.
type Session func(q *Query, step *Step, w *resp.Writer, db *int)

// NewDataSet returns the data set that a store holds.
func NewDataSet(store *storage.Store, keys types.Keys, opts Options) *DataSet {
	if opts.Table == nil {
		opts.Table = NewTable()
	}
	if opts.Clock == nil {
		opts.Clock = ttl.NewClock(0, ttl.ClockOptions{})
	}
	if opts.Databases == 0 {
		opts.Databases = 16
	}
	if opts.MaxName == 0 {
		opts.MaxName = types.DefaultMaxName
	}
	if opts.MaxBulk == 0 {
		opts.MaxBulk = 512 << 20
	}
	if opts.StagedMax == 0 {
		opts.StagedMax = 2 << 30
	}
	opts.Values = opts.Values.Filled()
	if opts.Seed == 0 {
		var b [8]byte
		rand.Read(b[:]) // never fails
		opts.Seed = binary.LittleEndian.Uint64(b[:])
	}
	d := &DataSet{store: store, keys: keys, opts: opts, table: opts.Table, clock: opts.Clock}
	d.maxBulk.Store(int64(opts.MaxBulk))
	d.seed.Store(opts.Seed)
	d.hllSparseMax.Store(3000)
	d.encodings.reset()
	d.runBytes = int(store.Budget().BatchMax)
	d.opts.Values.Keys = &d.keys
	d.opts.Values.Matches = func(pattern, name []byte) bool { return resp.Glob(pattern, name, false) }
	d.access.init(store.Budget().Access, d.clock.Now())
	d.limits.init()
	d.parking.init()
	d.watches.byKey = make(map[string][]*watchedKey)
	return d
}

// Table is the command table.
func (d *DataSet) Table() *Table { return d.table }

// Clock is the time that commands are run with.
func (d *DataSet) Clock() *ttl.Clock { return d.clock }

// Stats may be read at any time.
func (d *DataSet) Stats() *Stats { return &d.stats }

// ResetStats is what CONFIG RESETSTAT does to the figures of INFO stats.
func (d *DataSet) ResetStats() {
	d.stats.Hits.Store(0)
	d.stats.Misses.Store(0)
	d.stats.Expired.Store(0)
	d.stats.ExpiredFields.Store(0)
	d.stats.Evicted.Store(0)
	d.stats.OverLimitMs.Store(0)
}

// Databases is the number of databases.
func (d *DataSet) Databases() int { return d.opts.Databases }

// Cursor is the place of a key in the order of SCAN.
func (d *DataSet) Cursor(name []byte) uint64 {
	return types.MetaPlace(d.keys.AppendMeta(nil, 0, name)).Cursor()
}

// SetMaxBulk changes the longest string.
func (d *DataSet) SetMaxBulk(bytes int) { d.maxBulk.Store(int64(bytes)) }

// Do runs a Read or Write row whose arity fits and appends its reply, or its error, to c.W. An error that Do returns is no reply: the
// store is broken or closed, and c.W is as it was.
func (d *DataSet) Do(c *Call) error {
	d.begin(c)
	c.Row = c.Row.forArgs(c.Args)
	var err error
	memo := false
	if c.Row.Write != nil {
		if err = d.admit(c, c.Row.Deletes, c.Row.Flags.Has(FlagDenyOOM)); err == nil {
			err = d.update(c)
			c.Seen = c.txn.Seen()
		}
	} else {
		err = d.store.Read(&c.reader, (*readRound)(c))
		c.Seen = c.reader.Seen()
		if c.view != nil {
			err = c.runLong(err)
		}
		memo = err == nil && c.update.memo
	}
	if err = d.end(c, err); err == storage.ErrWouldWait {
		return err
	}
	if len(c.update.expired) > 0 {
		d.removeMet(c)
	}
	if memo {
		d.behind(c, false, (*memoRound)(c))
	}
	return err
}

// admit is where writes wait for memory, and those that add to the data for the evictor, or are refused.
func (d *DataSet) admit(c *Call, deletesOnly, adds bool) error {
	if adds {
		if err := d.limits.await(c.Hurried); err != nil {
			return err
		}
	}
	if c.Hurried {
		return d.store.AdmitNow(deletesOnly, c.now)
	}
	return d.store.Admit(deletesOnly)
}

func (d *DataSet) update(c *Call) error {
	if c.Row.Derives {
		return d.updateDerived(c)
	}
	return d.store.Update(&c.txn, (*writeRound)(c))
}

// behind runs a batch of its own behind a reply, which does not depend on it: if it cannot be had at once, it is left out.
func (d *DataSet) behind(c *Call, deletesOnly bool, round storage.Runner) {
	c.start, c.proto = c.W.Len(), c.W.Proto
	if d.store.AdmitNow(deletesOnly, c.now) == nil && d.store.Update(&c.txn, round) == nil {
		d.count(&c.update.ledger)
	}
	c.W.Truncate(c.start)
}

// memoRound is a row's Memo.
type memoRound Call

func (r *memoRound) Run() error {
	c := (*Call)(r)
	u := c.beginRound(&c.txn, &c.txn)
	u.begin(c.Args, nil, c.DB)
	if err := c.Row.Memo(u); err != nil {
		return err
	}
	c.d.watches.touch(u)
	return nil
}

// begin fixes what all rounds of a call share.
func (d *DataSet) begin(c *Call) {
	c.d = d
	c.now = d.clock.Now()
	c.seed = mix(d.seed.Add(0x9e3779b97f4a7c15))
	c.start, c.proto = c.W.Len(), c.W.Proto
	c.Seen, c.Wrote, c.Parked, c.Refused = 0, false, nil, false
	c.reader.Hurry(c.Hurried)
	c.txn.Hurry(c.Hurried)
	c.update.hits, c.update.misses = 0, 0
	c.update.ledger.Changes, c.update.ledger.Expired, c.update.ledger.ExpiredFields, c.update.ledger.Due = 0, 0, 0, 0
}

// end counts what the last round did, or turns its error into a reply.
func (d *DataSet) end(c *Call, err error) error {
	u := &c.update
	c.settleClaims(err == nil)
	if err == storage.ErrWouldWait {
		c.Wrote, u.streams = false, nil
		c.W.Truncate(c.start)
		c.W.Proto = c.proto
		return err
	}
	d.ran(c, 1+len(c.steps))
	u.streams = nil // the reply has them
	c.settle(err)
	if err == nil {
		d.count(&u.ledger)
		return nil
	}
	c.Wrote, c.Refused = false, errors.Is(err, storage.ErrNotEvaluating)
	c.W.Truncate(c.start)
	c.W.Proto = c.proto
	if ReplyError(c.W, err) {
		return nil
	}
	return err
}

// ran counts the rows of a call, and what they have looked up.
func (d *DataSet) ran(c *Call, rows int) {
	if u := &c.update; u.hits > 0 {
		d.stats.Hits.Add(uint64(u.hits))
	}
	if u := &c.update; u.misses > 0 {
		d.stats.Misses.Add(uint64(u.misses))
	}
	d.stats.Evaluated.Add(uint64(rows))
}

// count notes what a batch did.
func (d *DataSet) count(l *types.Ledger) {
	if l.Changes > 0 {
		d.stats.Changes.Add(uint64(l.Changes))
	}
	if l.Expired > 0 {
		d.stats.Expired.Add(uint64(l.Expired))
	}
	if l.ExpiredFields > 0 {
		d.stats.ExpiredFields.Add(uint64(l.ExpiredFields))
	}
	if l.Due != 0 && d.opts.PullBack != nil {
		d.opts.PullBack(l.Due)
	}
}

// beginRound puts the call's Update back to where every round starts.
func (c *Call) beginRound(data types.Reader, txn *storage.Txn) *Update {
	c.W.Truncate(c.start)
	c.W.Proto = c.proto
	c.settleClaims(false)
	u := &c.update
	u.waiter = nil
	// Whoever evaluated before us may have looked at the clock after us: time goes with the order of the lock.
	c.now = max(c.now, c.d.clock.Last())
	u.Now, u.W, u.set, u.data, u.txn = c.now, c.W, c.d, data, txn
	u.seed, u.hits, u.misses, u.expired, u.noTouch = c.seed, 0, 0, u.expired[:0], c.NoTouch
	if txn != nil {
		txn.SetTime(c.now)
		u.ledger.Begin(txn, c.now, c.d.opts.Values)
		u.remap.reset()
	}
	return u
}

// begin points the query at one row's arguments.
func (q *Query) begin(args [][]byte, staged []StagedArg, db int) {
	q.Args, q.staged, q.DB, q.spaceKnown = args, staged, db, false
	q.replied, q.memo = false, false
}

// readRound and writeRound are a Call as Read and Update of the store run it.
type (
	readRound  Call
	writeRound Call
)

func (r *readRound) Run() error {
	c := (*Call)(r)
	c.closeView()
	q := &c.beginRound(&c.reader, nil).Query
	q.begin(c.Args, c.Staged, c.DB)
	if err := c.Row.Read(q); err != nil {
		return q.afterMiss(c.Row, err)
	}
	if c.Row.Long == nil || q.replied {
		return nil
	}
	if c.Hurried {
		return storage.ErrWouldWait
	}
	c.view = c.reader.View()
	return nil
}

// afterMiss has the other keys of a row fetched as well, if its error is that one is not in memory.
func (q *Query) afterMiss(row *Row, err error) error {
	if err == storage.ErrMiss {
		return cmp.Or(q.lookUpKeys(row, q.Args, q.DB), err)
	}
	return err
}

// runLong is the second half of a Read row, without the lock.
func (c *Call) runLong(err error) error {
	defer c.closeView()
	if err == nil {
		err = c.Row.Long(&c.update.Query, c.view)
		c.Seen = max(c.Seen, c.view.Seen())
	}
	return err
}

func (c *Call) closeView() {
	if c.view != nil {
		c.view.Close()
		c.view = nil
	}
}

func (r *writeRound) Run() error {
	c := (*Call)(r)
	u := c.beginRound(&c.txn, &c.txn)
	u.begin(c.Args, c.Staged, c.DB)
	u.mayPark = c.Ready != nil
	if u.derive != nil {
		u.derive.taken = false
	}
	if err := c.Row.Write(u); err != nil {
		return u.afterMiss(c.Row, err)
	}
	w := u.waiter
	if err := c.endRound(); err != nil || w == nil {
		return err
	}
	w.Row, w.ready = c.Row, c.Ready
	c.d.parking.file(w)
	c.Parked = w
	return nil
}

// endRound is the last thing under the lock, when all effects of the batch are known but those of the clients that it serves.
func (c *Call) endRound() error {
	if err := c.serve(&c.update); err != nil {
		return err
	}
	if c.Wrote = c.txn.Wrote(); c.Wrote {
		c.d.watches.touch(&c.update)
		c.d.limits.note(&c.txn)
	}
	return nil
}

// run runs one row within a batch. An error that can be a reply is written as one and leaves nothing else behind; any other, a missing
// record above all, ends the round.
func (u *Update) run(row *Row, args [][]byte, staged []StagedArg, db int) error {
	u.mayPark = false
	effects, mark := u.txn.Savepoint(), u.W.Len()
	changes := u.ledger.Changes
	fields := u.ledger.ExpiredFields
	expired, due, adopted, quiet := u.ledger.Expired, u.ledger.Due, len(u.ledger.Adopted), len(u.ledger.Quiet)
	u.begin(args, staged, db)
	var err error
	if row = row.forArgs(args); row.Write != nil {
		err = row.Write(u)
	} else {
		err = u.read(row)
	}
	if err == nil {
		return nil
	}
	u.txn.Rollback(effects)
	u.ledger.Changes, u.ledger.ExpiredFields = changes, fields
	u.ledger.Expired, u.ledger.Due, u.ledger.Adopted, u.ledger.Quiet = expired, due, u.ledger.Adopted[:adopted], u.ledger.Quiet[:quiet]
	u.W.Truncate(mark)
	if err == storage.ErrMiss || !ReplyError(u.W, err) {
		return err
	}
	return nil
}

// read runs a Read row within a batch: the second half, if it has one, under the lock.
func (u *Update) read(row *Row) error {
	if err := row.Read(&u.Query); err != nil {
		return err
	}
	if row.Long != nil && !u.replied {
		if u.txn.Hurried() {
			return storage.ErrWouldWait
		}
		view := u.txn.View()
		defer view.Close()
		if err := row.Long(&u.Query, view); err != nil {
			return err
		}
	}
	if u.memo {
		return row.Memo(u)
	}
	return nil
}

// Call runs a row inside another, for scripts: its reply goes to scratch, its effects into the batch or, after an error reply, nowhere.
// An error that Call returns must be returned by the row that called, unchanged.
func (u *Update) Call(args [][]byte, scratch *resp.Writer) error {
	row, err := u.set.table.Resolve(args)
	if err == nil && row.Session {
		err = ErrNotFromScript
	}
	if err != nil {
		ReplyError(scratch, err)
		return nil
	}
	outer := u.Query
	u.W = scratch
	err = u.run(row, args, nil, outer.DB)
	u.W, u.Args, u.staged, u.DB, u.space, u.spaceKnown = outer.W, outer.Args, outer.staged, outer.DB, outer.space, false
	return err
}
