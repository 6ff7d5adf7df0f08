package commands

import (
	"bytes"
	"cmp"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// Row is one line of the command table. Dispatch, arity errors, COMMAND, and later ACL and cluster routing read it.
type Row struct {
	ID         int    // place in Table.Rows, for counters per command; subcommands come behind all rows
	Name       string // lower case
	Arity      int    // number of arguments with the name; negative: at least that many
	Flags      Flags
	Keys       []KeySpec
	Categories Categories // as written by hand; NewTable adds those that follow from the flags
	Tips       []string

	Group      string
	Since      string
	Complexity string
	Summary    string

	// Deprecated, if set, is the version that deprecated the command, and ReplacedBy the advice that goes with it.
	Deprecated string
	ReplacedBy string

	// Syscmd marks commands that programs of Redis send each other, and people need not know.
	Syscmd bool

	// Newer, if set, tells whether arguments fit that Arity, which is that of Redis 7.0, does not allow: those of an option that came later.
	Newer func(args [][]byte) bool

	// Exactly one of Read, Write and Session is set, and that is the kind of the command.
	Read    func(*Query) error
	Write   func(*Update) error
	Session bool // served by the session, which also answers for it inside MULTI

	// Long is the optional second half of a Read row. Read checks the arguments under the lock, Long then replies from a view
	// taken at that moment, without the lock. It may run long, and it runs once; not at all if Read set replied.
	Long func(*Query, *storage.View) error

	// Memo is what a Read row may keep of what it has computed, so that the next one need not: if Read or Long has asked for it
	// (Query.memo), it runs as a batch behind the reply. Whether it succeeds is nobody's business, so a full disk refuses no read.
	Memo func(*Update) error

	// Lighter, if set, is the Read row that does what a Write row is asked for with such arguments; nil: there is none, they do change something.
	Lighter func(args [][]byte) *Row

	// Stages tells whether argument i of n may be staged. Its handler reads it with put or argument only. Nil: none may.
	Stages func(n, i int) bool

	// Blocking is what a row has whose clients may wait.
	Blocking *Blocking

	// Derives says that the row makes a value from others, and may stage it.
	Derives bool

	// Deletes says that the row only gives space back, so that it passes the guard of a full disk.
	Deletes bool

	// Subcommands makes the row a container (CONFIG, COMMAND). Their names are full: "config|get".
	Subcommands []*Row

	// First, Last and Step are the key positions as COMMAND shows them; NewTable derives them from Keys.
	First, Last, Step int

	container *Row
	syntax    *syntax // what COMMAND DOCS says about arguments; NewTable finds it
}

// CheckArity tells whether a command of n arguments, its name included, fits the row.
func (r *Row) CheckArity(n int) bool {
	if r.Arity >= 0 {
		return n == r.Arity
	}
	return n >= -r.Arity
}

// Fits tells whether a command with such arguments is one of the row.
func (r *Row) Fits(args [][]byte) bool {
	return r.CheckArity(len(args)) || r.Newer != nil && r.Newer(args)
}

// forArgs is the row that runs for such arguments.
func (r *Row) forArgs(args [][]byte) *Row {
	if r.Lighter != nil {
		return cmp.Or(r.Lighter(args), r)
	}
	return r
}

// IsWrite tells whether running the row may change the data set.
func (r *Row) IsWrite() bool { return r.Write != nil }

// Query is one run of a Read row. It can read and nothing else.
type Query struct {
	Now  int64    // unix time in ms: one for the whole call, and never before that of a batch evaluated earlier
	Args [][]byte // Args[0] is the name; an argument that staged names is empty here
	DB   int      // the selected database
	W    *resp.Writer

	staged []StagedArg

	set  *DataSet
	data types.Reader // a Reader, or the Txn of the batch around this query
	txn  *storage.Txn // that Txn, or nil

	space      uint32 // the keyspace of DB, once spaceKnown; forgotten at the start of each row
	spaceKnown bool
	state      scanState // what Read leaves to Long
	bits       bitScan   // the same, of BITCOUNT and BITPOS
	lcs        lcsState  // of LCS
	listState  listState // of LRANGE and LPOS
	found      types.Elements
	ranks      types.Ranking // the same, of a sorted set
	replied    bool          // Read has replied itself: Long does not run
	memo       bool          // Row.Memo is to run
	noTouch    bool          // looking keys up is no use of them

	seed         uint64   // state of Random
	hits, misses int      // of the present round
	expired      [][]byte // the expiry rows of keys past their time that the present round met

	elementsOf *types.ListValue // scratch for the list at hand; nil: none yet

	streams *streams // strings that this round's replies stream; nil: none yet

	key   []byte // scratch for a meta key
	value []byte // scratch for a string
}

// Update is one run of a Write row: a Query that also has the batch to write to.
type Update struct {
	Query
	ledger  types.Ledger
	record  types.Record // the one that an Edit changes
	scores  []float64    // scratch of ZADD
	members [][]byte     // the same

	mayPark      bool     // it is a command of its own, whose client can wait
	waiter       *Waiter  // what it waits as
	serving      bool     // it runs for a client that waits
	foundNothing bool     // … and goes on waiting
	derive       *derived // of a row that derives, if it is a batch of its own
	before       int      // the ledger's Changes when the row began
	sweeping     sweeping // what the sweeper asks for
	evict        eviction // what the evictor asks for, and what came of it
	remap        remap    // what the batch did to the databases themselves
}

// Random is the next number of this call's sequence, which is the same in every round.
func (q *Query) Random() uint64 {
	q.seed += 0x9e3779b97f4a7c15
	return mix(q.seed)
}

// mix is the output function of splitmix64.
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// keyspace is what the selected database stands for at this moment.
func (q *Query) keyspace() (uint32, error) {
	if !q.spaceKnown {
		space, err := types.LookupKeyspace(q.data, q.DB)
		if err != nil {
			return 0, err
		}
		q.space, q.spaceKnown = space, true
	}
	return q.space, nil
}

// metaKey encodes the meta key of a name, in memory that the next call uses again.
func (q *Query) metaKey(name []byte) ([]byte, error) {
	key, err := q.appendMetaKey(q.key[:0], name)
	if err == nil {
		q.key = key
	}
	return key, err
}

func (q *Query) appendMetaKey(dst, name []byte) ([]byte, error) {
	space, err := q.keyspace()
	if err != nil {
		return nil, err
	}
	if limit := q.set.opts.MaxName; len(name) > limit {
		return nil, ErrNameTooLong(len(name), limit)
	}
	return q.set.keys.AppendMeta(dst, space, name), nil
}

// lookup reads the meta record of a name; that of an absent key is the zero Meta. It counts for keyspace_hits and keyspace_misses, and as
// a use of the key.
func (q *Query) lookup(name []byte) (types.Meta, error) {
	m, err := q.peek(name)
	if m.Exists && !q.noTouch {
		q.set.access.touch(q.key, q)
	}
	return m, err
}

// peek is lookup for those who look at the key and do not use it.
func (q *Query) peek(name []byte) (types.Meta, error) {
	key, err := q.metaKey(name)
	if err != nil {
		return types.Meta{}, err
	}
	m, err := types.ReadMeta(q.data, key)
	if err != nil {
		return m, err
	}
	if m.ExpiredAt(q.Now) {
		q.meetExpired(key, &m)
		m = types.Meta{}
	}
	if m.Exists {
		q.hits++
	} else {
		q.misses++
	}
	return m, nil
}

// lookupOf is lookup for those who want a key of one type or none.
func (q *Query) lookupOf(name []byte, of types.Type) (types.Meta, error) {
	m, err := q.lookup(name)
	if err == nil && m.Exists && m.Type != of {
		err = ErrWrongType
	}
	return m, err
}

// lookUpKeys looks for the records of all keys that a row declares, but for the one that was encoded last. It is called when that one
// turned out not to be in memory, so that one more round is enough for the rest.
func (q *Query) lookUpKeys(row *Row, args [][]byte, db int) error {
	last := bytes.Clone(q.key)
	q.begin(args, nil, db)
	var keys [][]byte
	var failed error
	row.KeyPositions(args, func(i int, _ KeyFlags) {
		key, err := q.appendMetaKey(nil, args[i])
		if err != nil {
			failed = err
		} else if !bytes.Equal(key, last) {
			keys = append(keys, key)
		}
	})
	if failed != nil {
		return failed
	}
	return q.data.Need(keys...)
}

// stringBytes returns the bytes [from, to) of a string, in memory that is valid until the next call.
func (q *Query) stringBytes(m *types.Meta, from, to int) ([]byte, error) {
	if value, ok := m.Inline(); ok {
		return value[from:to], nil
	}
	value, err := types.AppendString(q.data, m, q.value[:0], from, to)
	q.value = value
	return value, err
}

// begin points the update at one row's arguments.
func (u *Update) begin(args [][]byte, staged []StagedArg, db int) {
	u.Query.begin(args, staged, db)
	u.before = u.ledger.Changes
}

// counts says how many changes the row is, for rdb_changes_since_last_save, if not as many as it writes and removes keys.
func (u *Update) counts(changes int) { u.ledger.Changes = u.before + changes }

// open looks a key up in order to write it. That is a use of the key, or its beginning.
func (u *Update) open(name []byte) (types.Record, error) {
	key, err := u.metaKey(name)
	if err != nil {
		return types.Record{}, err
	}
	r, err := u.ledger.Open(key, name)
	switch {
	case err != nil:
	case !r.Exists:
		u.set.access.made(key, u.Now)
	case !u.noTouch:
		u.set.access.touch(key, &u.Query)
	}
	return r, err
}

// openBeside is open while another record of the same row is in use: its key gets memory of its own. The other one's use is what counts.
func (u *Update) openBeside(name []byte) (types.Record, error) {
	key, err := u.appendMetaKey(nil, name)
	if err != nil {
		return types.Record{}, err
	}
	return u.ledger.Open(key, name)
}

// openOf is open for those who want a key of one type or none.
func (u *Update) openOf(name []byte, of types.Type) (types.Record, error) {
	r, err := u.open(name)
	if err == nil && r.Exists && r.Type != of {
		err = ErrWrongType
	}
	return r, err
}
