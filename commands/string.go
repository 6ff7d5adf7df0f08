package commands

import (
	"math"

	"sett/types"
)

// The commands of strings.
func stringRows() []*Row {
	return []*Row{
		{
			Name: "append", Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyInsert),
			Categories: CatString, Group: "string", Since: "2.0.0",
			Summary:    "Append a value to a key",
			Complexity: "O(1). The amortized time complexity is O(1) assuming the appended value is small and the already present value is of any size, since the dynamic string library used by Redis will double the free space available on every reallocation.",
			Write:      appendTo,
			Stages:     stagesArg(2),
		},
		{
			Name: "decr", Arity: 2, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatString, Group: "string", Since: "1.0.0",
			Summary:    "Decrement the integer value of a key by one",
			Complexity: "O(1)",
			Write:      decr,
		},
		{
			Name: "decrby", Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatString, Group: "string", Since: "1.0.0",
			Summary:    "Decrement the integer value of a key by the given number",
			Complexity: "O(1)",
			Write:      decrBy,
		},
		{
			Name: "get", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatString, Group: "string", Since: "1.0.0",
			Summary:    "Get the value of a key",
			Complexity: "O(1)",
			Read:       get,
		},
		{
			Name: "getdel", Arity: 2, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyDelete),
			Categories: CatString, Group: "string", Since: "6.2.0",
			Summary:    "Get the value of a key and delete the key",
			Complexity: "O(1)",
			Write:      getDel,
		},
		{
			Name: "getex", Arity: -2, Flags: FlagWrite | FlagFast,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyUpdate, First: 1, Last: 0, Step: 1, Notes: "RW and UPDATE because it changes the TTL"}},
			Categories: CatString, Group: "string", Since: "6.2.0",
			Summary:    "Get the value of a key and optionally set its expiration",
			Complexity: "O(1)",
			Write:      getEX,
		},
		{
			Name: "getrange", Arity: 4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatString, Group: "string", Since: "2.4.0",
			Summary:    "Get a substring of the string stored at a key",
			Complexity: "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.",
			Read:       getRange,
		},
		{
			Name: "getset", Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatString, Group: "string", Since: "1.0.0",
			Summary:    "Set the string value of a key and return its old value",
			Complexity: "O(1)",
			Deprecated: "6.2.0", ReplacedBy: "`SET` with the `!GET` argument",
			Write:  getSet,
			Stages: stagesArg(2),
		},
		{
			Name: "incr", Arity: 2, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatString, Group: "string", Since: "1.0.0",
			Summary:    "Increment the integer value of a key by one",
			Complexity: "O(1)",
			Write:      incr,
		},
		{
			Name: "incrby", Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatString, Group: "string", Since: "1.0.0",
			Summary:    "Increment the integer value of a key by the given amount",
			Complexity: "O(1)",
			Write:      incrBy,
		},
		{
			Name: "incrbyfloat", Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatString, Group: "string", Since: "2.6.0",
			Summary:    "Increment the float value of a key by the given amount",
			Complexity: "O(1)",
			Write:      incrByFloat,
		},
		{
			Name: "lcs", Arity: -3, Flags: FlagReadonly,
			Keys:       []KeySpec{{Flags: KeyRO | KeyAccess, First: 1, Last: 1, Step: 1}},
			Categories: CatString, Group: "string", Since: "7.0.0",
			Summary:    "Find longest common substring",
			Complexity: "O(N*M) where N and M are the lengths of s1 and s2, respectively",
			Read:       lcsStart, Long: lcsView,
		},
		{
			Name: "mget", Arity: -2, Flags: FlagReadonly | FlagFast,
			Keys:       allKeys(KeyRO | KeyAccess),
			Categories: CatString, Group: "string", Since: "1.0.0",
			Tips:       []string{"request_policy:multi_shard"},
			Summary:    "Get the values of all the given keys",
			Complexity: "O(N) where N is the number of keys to retrieve.",
			Read:       mGet,
		},
		{
			Name: "mset", Arity: -3, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyUpdate, First: 1, Last: -1, Step: 2}},
			Categories: CatString, Group: "string", Since: "1.0.1",
			Tips:       []string{"request_policy:multi_shard", "response_policy:all_succeeded"},
			Summary:    "Set multiple keys to multiple values",
			Complexity: "O(N) where N is the number of keys to set.",
			Write:      mSet,
			Stages:     stagesValues,
		},
		{
			Name: "msetnx", Arity: -3, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyInsert, First: 1, Last: -1, Step: 2}},
			Categories: CatString, Group: "string", Since: "1.0.1",
			Tips:       []string{"request_policy:multi_shard", "response_policy:agg_min"},
			Summary:    "Set multiple keys to multiple values, only if none of the keys exist",
			Complexity: "O(N) where N is the number of keys to set.",
			Write:      mSetNX,
			Stages:     stagesValues,
		},
		{
			Name: "psetex", Arity: 4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       oneKey(KeyOW | KeyUpdate),
			Categories: CatString, Group: "string", Since: "2.6.0",
			Summary:    "Set the value and expiration in milliseconds of a key",
			Complexity: "O(1)",
			Write:      pSetEX,
			Stages:     stagesArg(3),
		},
		{
			Name: "set", Arity: -3, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyUpdate | KeyVariable, First: 1, Last: 0, Step: 1, Notes: "RW and ACCESS due to the optional `GET` argument"}},
			Categories: CatString, Group: "string", Since: "1.0.0",
			Summary:    "Set the string value of a key",
			Complexity: "O(1)",
			Write:      set,
			Stages:     stagesArg(2),
		},
		{
			Name: "setex", Arity: 4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       oneKey(KeyOW | KeyUpdate),
			Categories: CatString, Group: "string", Since: "2.0.0",
			Summary:    "Set the value and expiration of a key",
			Complexity: "O(1)",
			Write:      setEX,
			Stages:     stagesArg(3),
		},
		{
			Name: "setnx", Arity: 3, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyOW | KeyInsert),
			Categories: CatString, Group: "string", Since: "1.0.0",
			Summary:    "Set the value of a key, only if the key does not exist",
			Complexity: "O(1)",
			Write:      setNX,
			Stages:     stagesArg(2),
		},
		{
			Name: "setrange", Arity: 4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatString, Group: "string", Since: "2.2.0",
			Summary:    "Overwrite part of a string at key starting at the specified offset",
			Complexity: "O(1), not counting the time taken to copy the new string in place. Usually, this string is very small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of the value argument.",
			Write:      setRange,
			Stages:     stagesArg(3),
		},
		{
			Name: "strlen", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO),
			Categories: CatString, Group: "string", Since: "2.2.0",
			Summary:    "Get the length of the value stored in a key",
			Complexity: "O(1)",
			Read:       strlen,
		},
		{
			Name: "substr", Arity: 4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatString, Group: "string", Since: "1.0.0",
			Summary:    "Get a substring of the string stored at a key",
			Complexity: "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.",
			Deprecated: "2.0.0", ReplacedBy: "`GETRANGE`",
			Read: getRange,
		},
	}
}

func get(q *Query) error {
	m, err := q.lookupOf(q.Args[1], types.String)
	if err != nil {
		return err
	}
	return q.replyString(&m)
}

// replyString writes a whole string, or null for an absent key.
func (q *Query) replyString(m *types.Meta) error {
	if !m.Exists {
		q.W.Null()
		return nil
	}
	return q.replyRange(m, 0, m.StringLen())
}

func mGet(q *Query) error {
	q.W.Array(len(q.Args) - 1)
	for _, name := range q.Args[1:] {
		m, err := q.lookup(name)
		if err == nil && m.Type != types.String {
			m = types.Meta{} // no error here: it has no such string
		}
		if err == nil {
			err = q.replyString(&m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func strlen(q *Query) error {
	m, err := q.lookupOf(q.Args[1], types.String)
	if err != nil {
		return err
	}
	if !m.Exists {
		q.W.Int(0)
		return nil
	}
	q.W.Int(int64(m.StringLen()))
	return nil
}

func getRange(q *Query) error {
	start, err := intArg(q.Args[2])
	if err != nil {
		return err
	}
	end, err := intArg(q.Args[3])
	if err != nil {
		return err
	}
	m, err := q.lookupOf(q.Args[1], types.String)
	if err != nil {
		return err
	}
	length := int64(0)
	if m.Exists {
		length = int64(m.StringLen())
	}
	if start < 0 && end < 0 && start > end {
		length = 0
	}
	if start < 0 {
		start = max(0, length+start)
	}
	if end < 0 {
		end = max(0, length+end)
	}
	end = min(end, length-1)
	if start > end || length == 0 {
		q.W.Bulk(nil)
		return nil
	}
	return q.replyRange(&m, int(start), int(end)+1)
}

// setOptions are the options of SET and GETEX.
type setOptions struct {
	nx, xx, get, keepTTL, persist bool

	time     []byte // the argument of EX, PX, EXAT or PXAT
	seconds  bool
	absolute bool
}

// parseSetOptions reads what follows the value of SET or the key of GETEX.
func parseSetOptions(args [][]byte, getex bool) (o setOptions, err error) {
	unit := byte(0) // of the time given: one letter for each of the four words
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case is(arg, "nx") && !o.xx && !getex:
			o.nx = true
		case is(arg, "xx") && !o.nx && !getex:
			o.xx = true
		case is(arg, "get") && !getex:
			o.get = true
		case is(arg, "keepttl") && unit == 0 && !getex:
			o.keepTTL = true
		case is(arg, "persist") && unit == 0 && getex:
			o.persist = true
		default:
			word := timeWord(arg)
			if word == 0 || unit != 0 && unit != word || o.keepTTL || o.persist || i+1 == len(args) {
				return o, ErrSyntax
			}
			i++
			unit, o.time = word, args[i]
		}
	}
	o.seconds = unit == 'e' || unit == 'E'
	o.absolute = unit == 'E' || unit == 'P'
	return o, nil
}

func timeWord(arg []byte) byte {
	switch {
	case is(arg, "ex"):
		return 'e'
	case is(arg, "px"):
		return 'p'
	case is(arg, "exat"):
		return 'E'
	case is(arg, "pxat"):
		return 'P'
	}
	return 0
}

// expireAt is the time that the options ask for, or 0 if they ask for none.
func (o *setOptions) expireAt(nowMs int64, command string) (int64, error) {
	if o.time == nil {
		return 0, nil
	}
	at, err := intArg(o.time)
	if err != nil {
		return 0, err
	}
	if at <= 0 || o.seconds && at > math.MaxInt64/1000 {
		return 0, ErrExpireTime(command)
	}
	if o.seconds {
		at *= 1000
	}
	if !o.absolute {
		if at > math.MaxInt64-nowMs {
			return 0, ErrExpireTime(command)
		}
		at += nowMs
	}
	return at, nil
}

// setKeyFlags are what SET does with its key: it reads it only for GET.
func setKeyFlags(args [][]byte) KeyFlags {
	for _, arg := range args[3:] {
		if is(arg, "get") {
			return KeyRW | KeyAccess | KeyUpdate | KeyVariable
		}
	}
	return KeyOW | KeyUpdate | KeyVariable
}

func set(u *Update) error {
	if len(u.Args) == 3 {
		r, err := u.open(u.Args[1])
		if err != nil {
			return err
		}
		u.put(&r, 2, 0)
		u.W.Status("OK")
		return nil
	}
	o, err := parseSetOptions(u.Args[3:], false)
	if err != nil {
		return err
	}
	at, err := o.expireAt(u.Now, "set")
	if err != nil {
		return err
	}
	r, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	if o.get {
		if err := u.replyOld(&r); err != nil {
			return err
		}
	}
	if o.nx && r.Exists || o.xx && !r.Exists {
		if !o.get {
			u.W.Null()
		}
		return nil
	}
	if o.keepTTL {
		at = r.ExpireAtMs
	}
	u.put(&r, 2, at)
	if !o.get {
		u.W.Status("OK")
	}
	return nil
}

// replyOld writes the string that a key holds before the row changes it.
func (u *Update) replyOld(r *types.Record) error {
	if r.Exists && r.Type != types.String {
		return ErrWrongType
	}
	u.countLookup(r)
	return u.replyString(&r.Meta)
}

// countLookup counts a key that was opened for reading, too.
func (u *Update) countLookup(r *types.Record) {
	if r.Exists {
		u.hits++
	} else {
		u.misses++
	}
}

func setNX(u *Update) error {
	r, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	if r.Exists {
		u.W.Int(0)
		return nil
	}
	u.put(&r, 2, 0)
	u.W.Int(1)
	return nil
}

func setEX(u *Update) error {
	return u.setFor(setOptions{time: u.Args[2], seconds: true}, "setex")
}

func pSetEX(u *Update) error {
	return u.setFor(setOptions{time: u.Args[2]}, "psetex")
}

func (u *Update) setFor(o setOptions, command string) error {
	at, err := o.expireAt(u.Now, command)
	if err != nil {
		return err
	}
	r, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	u.put(&r, 3, at)
	u.W.Status("OK")
	return nil
}

func getSet(u *Update) error {
	r, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	if err := u.replyOld(&r); err != nil {
		return err
	}
	u.put(&r, 2, 0)
	return nil
}

func getDel(u *Update) error {
	r, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	if err := u.replyOld(&r); err != nil {
		return err
	}
	if r.Exists {
		u.ledger.Remove(&r)
	}
	return nil
}

func getEX(u *Update) error {
	o, err := parseSetOptions(u.Args[2:], true)
	if err != nil {
		return err
	}
	r, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	if err := u.replyOld(&r); err != nil || !r.Exists {
		return err
	}
	at, err := o.expireAt(u.Now, "getex")
	switch {
	case err != nil:
		return err
	case o.absolute && at <= u.Now:
		u.ledger.Remove(&r)
	case at != 0 || o.persist && r.ExpireAtMs != 0:
		u.ledger.SetExpire(&r, at)
	}
	return nil
}

func mSet(u *Update) error {
	if len(u.Args)%2 == 0 {
		return ErrArity("mset")
	}
	if err := u.putAll(); err != nil {
		return err
	}
	u.W.Status("OK")
	return nil
}

func (u *Update) putAll() error {
	for i := 1; i < len(u.Args); i += 2 {
		r, err := u.open(u.Args[i])
		if err != nil {
			return err
		}
		u.put(&r, i+1, 0)
	}
	return nil
}

func mSetNX(u *Update) error {
	if len(u.Args)%2 == 0 {
		return ErrArity("msetnx")
	}
	for i := 1; i < len(u.Args); i += 2 {
		r, err := u.open(u.Args[i])
		if err != nil {
			return err
		}
		if r.Exists {
			u.W.Int(0)
			return nil
		}
	}
	if err := u.putAll(); err != nil {
		return err
	}
	u.W.Int(1)
	return nil
}

func appendTo(u *Update) error {
	r, err := u.openOf(u.Args[1], types.String)
	if err != nil {
		return err
	}
	if !r.Exists {
		u.put(&r, 2, 0)
		u.W.Int(int64(u.argumentLen(2)))
		return nil
	}
	return u.splice(&r, int64(r.StringLen()), 2)
}

func setRange(u *Update) error {
	offset, err := intArg(u.Args[2])
	if err != nil {
		return err
	}
	if offset < 0 {
		return ErrOffsetRange
	}
	r, err := u.openOf(u.Args[1], types.String)
	if err != nil {
		return err
	}
	if u.argumentLen(3) == 0 {
		length := 0
		if r.Exists {
			length = r.StringLen()
		}
		u.W.Int(int64(length))
		return nil
	}
	return u.splice(&r, offset, 3)
}

// splice overwrites a string from offset on with argument i, with zeros in any gap before it, and replies with the new length.
func (u *Update) splice(r *types.Record, offset int64, i int) error {
	if _, staged := u.stagedArg(i); staged && !r.Exists && offset == 0 {
		u.put(r, i, 0)
		u.W.Int(int64(u.argumentLen(i)))
		return nil
	}
	if limit := u.set.maxBulk.Load(); offset > limit-int64(u.argumentLen(i)) {
		return ErrStringTooLong
	}
	piece, err := u.argument(i)
	if err != nil {
		return err
	}
	if err := u.ledger.Splice(r, int(offset), piece); err != nil {
		return err
	}
	u.W.Int(int64(r.StringLen()))
	return nil
}
