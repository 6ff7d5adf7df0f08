package commands

import (
	"sett/resp"
	"sett/storage"
	"sett/types"
)

// The commands that look at many keys, or at whole databases.
func keyspaceRows() []*Row {
	return []*Row{
		{
			Name: "dbsize", Arity: 1, Flags: FlagReadonly | FlagFast,
			Categories: CatKeyspace, Group: "server", Since: "1.0.0",
			Tips:       []string{"request_policy:all_shards", "response_policy:agg_sum"},
			Summary:    "Return the number of keys in the selected database",
			Complexity: "O(1)",
			Read:       dbSize,
		},
		{
			Name: "flushall", Arity: -1, Flags: FlagWrite,
			Categories: CatKeyspace | CatDangerous, Group: "server", Since: "1.0.0",
			Tips:       []string{"request_policy:all_shards", "response_policy:all_succeeded"},
			Summary:    "Remove all keys from all databases",
			Complexity: "O(N) where N is the total number of keys in all databases",
			Write:      flushAll,
			Deletes:    true,
		},
		{
			Name: "flushdb", Arity: -1, Flags: FlagWrite,
			Categories: CatKeyspace | CatDangerous, Group: "server", Since: "1.0.0",
			Tips:       []string{"request_policy:all_shards", "response_policy:all_succeeded"},
			Summary:    "Remove all keys from the current database",
			Complexity: "O(N) where N is the number of keys in the selected database",
			Write:      flushDB,
			Deletes:    true,
		},
		{
			Name: "keys", Arity: 2, Flags: FlagReadonly,
			Categories: CatKeyspace | CatDangerous, Group: "generic", Since: "1.0.0",
			Tips:       []string{"request_policy:all_shards", "nondeterministic_output_order"},
			Summary:    "Find all keys matching the given pattern",
			Complexity: "O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern have limited length.",
			Read:       keysStart, Long: keysView,
		},
		{
			Name: "randomkey", Arity: 1, Flags: FlagReadonly,
			Categories: CatKeyspace, Group: "generic", Since: "1.0.0",
			Tips:       []string{"request_policy:all_shards", "nondeterministic_output"},
			Summary:    "Return a random key from the keyspace",
			Complexity: "O(1)",
			Read:       randomKeyStart, Long: randomKeyView,
		},
		{
			Name: "scan", Arity: -2, Flags: FlagReadonly,
			Categories: CatKeyspace, Group: "generic", Since: "2.8.0",
			Tips:       []string{"nondeterministic_output", "request_policy:special"},
			Summary:    "Incrementally iterate the keys space",
			Complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.",
			Read:       scanStart, Long: scanView,
		},
		{
			Name: "swapdb", Arity: 3, Flags: FlagWrite | FlagFast,
			Categories: CatKeyspace | CatDangerous, Group: "server", Since: "4.0.0",
			Summary:    "Swaps two Redis databases",
			Complexity: "O(N) where N is the count of clients watching or blocking on keys from both databases.",
			Write:      swapDB,
		},
	}
}

func dbSize(q *Query) error {
	space, err := q.keyspace()
	if err != nil {
		return err
	}
	q.W.Int(q.data.Tally(space).Keys)
	return nil
}

// checkFlushArgs accepts nothing, SYNC, or ASYNC. All are the same here: flushing takes no time.
func checkFlushArgs(args [][]byte) error {
	if len(args) > 2 || len(args) == 2 && !is(args[1], "sync") && !is(args[1], "async") {
		return ErrSyntax
	}
	return nil
}

func flushDB(u *Update) error {
	if err := checkFlushArgs(u.Args); err != nil {
		return err
	}
	if err := u.flush(u.DB); err != nil {
		return err
	}
	u.W.Status("OK")
	return nil
}

func flushAll(u *Update) error {
	if err := checkFlushArgs(u.Args); err != nil {
		return err
	}
	for db := range u.set.opts.Databases {
		if err := u.flush(db); err != nil {
			return err
		}
	}
	u.W.Status("OK")
	return nil
}

// flush gives a database an empty keyspace. One that is empty already keeps its own.
func (u *Update) flush(db int) error {
	before, err := types.LookupKeyspace(u.txn, db)
	if err != nil {
		return err
	}
	keys := u.txn.Tally(before).Keys
	if keys == 0 {
		return nil
	}
	u.ledger.Changes += int(keys)
	after, err := types.RenewKeyspace(u.txn, db)
	if err != nil {
		return err
	}
	return u.touchDatabase(db, before, after, true)
}

func swapDB(u *Update) error {
	a, ok := parseDB(u.Args[1])
	if !ok {
		return ErrFirstDB
	}
	b, ok := parseDB(u.Args[2])
	if !ok {
		return ErrSecondDB
	}
	if !u.set.hasDB(a) || !u.set.hasDB(b) {
		return ErrDBRange
	}
	if a != b {
		if err := u.swap(int(a), int(b)); err != nil {
			return err
		}
	}
	u.counts(1)
	u.W.Status("OK")
	return nil
}

func (u *Update) swap(a, b int) error {
	spaceA, err := types.LookupKeyspace(u.txn, a)
	if err != nil {
		return err
	}
	spaceB, err := types.LookupKeyspace(u.txn, b)
	if err != nil {
		return err
	}
	if err := types.SwapKeyspaces(u.txn, a, b); err != nil {
		return err
	}
	if err := u.touchDatabase(a, spaceA, spaceB, false); err != nil {
		return err
	}
	return u.touchDatabase(b, spaceB, spaceA, false)
}

// parseDB reads a C int.
func parseDB(arg []byte) (int64, bool) {
	n, ok := resp.ParseInt(arg)
	return n, ok && n == int64(int32(n))
}

func (d *DataSet) hasDB(n int64) bool { return n >= 0 && n < int64(d.opts.Databases) }

// SelectDB reads the index of a database: SELECT's argument, and that of MOVE and COPY.
func (d *DataSet) SelectDB(arg []byte) (int, error) {
	n, err := intArg(arg)
	switch {
	case err != nil:
		return 0, err
	case n != int64(int32(n)):
		return 0, ErrIntRange
	case !d.hasDB(n):
		return 0, ErrDBRange
	}
	return int(n), nil
}

// DatabaseTally is what a database holds.
type DatabaseTally struct {
	DB int
	storage.Tally
}

// Tallies counts the databases that are not empty. For Session rows within EXEC.
func (q *Query) Tallies() (found []DatabaseTally, err error) {
	spaces, err := q.set.spaces(q.data)
	for db, space := range spaces {
		if t := q.data.Tally(space); t.Keys > 0 {
			found = append(found, DatabaseTally{db, t})
		}
	}
	return found, err
}

// spaces are the keyspaces that the databases stand for, in their order.
func (d *DataSet) spaces(r types.Reader) ([]uint32, error) {
	spaces := make([]uint32, d.opts.Databases)
	for db := range spaces {
		var err error
		if spaces[db], err = types.LookupKeyspace(r, db); err != nil {
			return nil, err
		}
	}
	return spaces, nil
}

// Tallies counts the databases that are not empty. It sets c.Seen.
func (d *DataSet) Tallies(c *Call) ([]DatabaseTally, error) {
	r := &tallyRound{call: c}
	c.d = d
	err := d.store.Read(&c.reader, r)
	c.Seen = c.reader.Seen()
	return r.found, err
}

type tallyRound struct {
	call  *Call
	found []DatabaseTally
}

func (r *tallyRound) Run() (err error) {
	q := &r.call.update.Query
	q.set, q.data, q.txn = r.call.d, &r.call.reader, nil
	r.found, err = q.Tallies()
	return err
}
