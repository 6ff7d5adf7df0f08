package commands

import (
	"bytes"

	"sett/types"
)

// The commands that take any key, whatever its type.
func genericRows() []*Row {
	return []*Row{
		{
			Name: "copy", Arity: -3, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyRO | KeyAccess, First: 1, Last: 0, Step: 1}, {Flags: KeyOW | KeyUpdate, First: 2, Last: 0, Step: 1}},
			Categories: CatKeyspace, Group: "generic", Since: "6.2.0",
			Summary:    "Copy a key",
			Complexity: "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
			Write:      copyKey, Derives: true,
		},
		{
			Name: "del", Arity: -2, Flags: FlagWrite,
			Keys:       allKeys(KeyRM | KeyDelete),
			Categories: CatKeyspace, Group: "generic", Since: "1.0.0",
			Tips:       []string{"request_policy:multi_shard", "response_policy:agg_sum"},
			Summary:    "Delete a key",
			Complexity: "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).",
			Write:      del,
			Deletes:    true,
		},
		{
			Name: "exists", Arity: -2, Flags: FlagReadonly | FlagFast,
			Keys:       allKeys(KeyRO),
			Categories: CatKeyspace, Group: "generic", Since: "1.0.0",
			Tips:       []string{"request_policy:multi_shard", "response_policy:agg_sum"},
			Summary:    "Determine if a key exists",
			Complexity: "O(N) where N is the number of keys to check.",
			Read:       exists,
		},
		{
			Name: "move", Arity: 3, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatKeyspace, Group: "generic", Since: "1.0.0",
			Summary:    "Move a key to another database",
			Complexity: "O(1)",
			Write:      move,
		},
		objectRow(),
		{
			Name: "rename", Arity: 3, Flags: FlagWrite,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: 0, Step: 1}, {Flags: KeyOW | KeyUpdate, First: 2, Last: 0, Step: 1}},
			Categories: CatKeyspace, Group: "generic", Since: "1.0.0",
			Summary:    "Rename a key",
			Complexity: "O(1)",
			Write:      rename,
		},
		{
			Name: "renamenx", Arity: 3, Flags: FlagWrite | FlagFast,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyDelete, First: 1, Last: 0, Step: 1}, {Flags: KeyOW | KeyInsert, First: 2, Last: 0, Step: 1}},
			Categories: CatKeyspace, Group: "generic", Since: "1.0.0",
			Summary:    "Rename a key, only if the new key does not exist",
			Complexity: "O(1)",
			Write:      renameNX,
		},
		{
			Name: "touch", Arity: -2, Flags: FlagReadonly | FlagFast,
			Keys:       allKeys(KeyRO),
			Categories: CatKeyspace, Group: "generic", Since: "3.2.1",
			Tips:       []string{"request_policy:multi_shard", "response_policy:agg_sum"},
			Summary:    "Alters the last access time of a key(s). Returns the number of existing keys specified.",
			Complexity: "O(N) where N is the number of keys that will be touched.",
			Read:       touch,
		},
		{
			Name: "type", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO),
			Categories: CatKeyspace, Group: "generic", Since: "1.0.0",
			Summary:    "Determine the type stored at key",
			Complexity: "O(1)",
			Read:       typeOf,
		},
		{
			Name: "unlink", Arity: -2, Flags: FlagWrite | FlagFast,
			Keys:       allKeys(KeyRM | KeyDelete),
			Categories: CatKeyspace, Group: "generic", Since: "4.0.0",
			Tips:       []string{"request_policy:multi_shard", "response_policy:agg_sum"},
			Summary:    "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking.",
			Complexity: "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of.",
			Write:      del,
			Deletes:    true,
		},
	}
}

func exists(q *Query) error { return q.count((*Query).peek) }

// touch uses the keys even for a client that has asked for NO-TOUCH.
func touch(q *Query) error {
	asked := q.noTouch
	q.noTouch = false
	defer func() { q.noTouch = asked }()
	return q.count((*Query).lookup)
}

// count replies with how many of the names are keys.
func (q *Query) count(lookup func(*Query, []byte) (types.Meta, error)) error {
	n := 0
	for _, name := range q.Args[1:] {
		m, err := lookup(q, name)
		if err != nil {
			return err
		}
		if m.Exists {
			n++
		}
	}
	q.W.Int(int64(n))
	return nil
}

func typeOf(q *Query) error {
	m, err := q.peek(q.Args[1])
	if err != nil {
		return err
	}
	if !m.Exists {
		q.W.Status("none")
		return nil
	}
	q.W.Status(m.Type.String())
	return nil
}

func del(u *Update) error {
	n := 0
	for _, name := range u.Args[1:] {
		r, err := u.open(name)
		if err != nil {
			return err
		}
		if r.Exists {
			u.ledger.Remove(&r)
			n++
		}
	}
	u.W.Int(int64(n))
	return nil
}

func rename(u *Update) error {
	moved, err := u.moveKey(true)
	if err == nil && moved {
		u.W.Status("OK")
	}
	return err
}

func renameNX(u *Update) error {
	moved, err := u.moveKey(false)
	if err != nil {
		return err
	}
	if moved {
		u.W.Int(1)
	} else {
		u.W.Int(0)
	}
	return nil
}

// moveKey gives the key Args[1] the name Args[2]. A key of that name is lost if replace is set, else it stays and nothing moves.
func (u *Update) moveKey(replace bool) (moved bool, err error) {
	from, err := u.open(u.Args[1])
	if err != nil {
		return false, err
	}
	if !from.Exists {
		return false, ErrNoSuchKey
	}
	if bytes.Equal(u.Args[1], u.Args[2]) {
		return replace, nil
	}
	to, err := u.openBeside(u.Args[2])
	if err != nil || to.Exists && !replace {
		return false, err
	}
	if to.Exists {
		u.ledger.Remove(&to)
	}
	u.set.access.moved(from.Key, to.Key, u.Now)
	u.ledger.Move(&from, &to)
	u.counts(1)
	return true, nil
}

// openIn opens a key of another database.
func (u *Update) openIn(db int, name []byte) (types.Record, error) {
	home := u.DB
	u.DB, u.spaceKnown = db, false
	defer func() { u.DB, u.spaceKnown = home, false }()
	return u.openBeside(name)
}

func move(u *Update) error {
	db, err := u.dbArg(u.Args[2])
	if err != nil {
		return err
	}
	if db == u.DB {
		return ErrSameObject
	}
	from, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	if !from.Exists {
		u.W.Int(0)
		return nil
	}
	to, err := u.openIn(db, u.Args[1])
	if err != nil {
		return err
	}
	if to.Exists {
		u.W.Int(0)
		return nil
	}
	u.set.access.moved(from.Key, to.Key, u.Now)
	u.ledger.Move(&from, &to)
	u.W.Int(1)
	return nil
}

// dbArg reads the index of a database.
func (q *Query) dbArg(arg []byte) (int, error) { return q.set.SelectDB(arg) }
