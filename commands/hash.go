package commands

import (
	"math"
	"math/big"
	"strconv"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// The commands of hashes.
func hashRows() []*Row {
	return []*Row{
		{
			Name: "hdel", Arity: -3, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyDelete),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Summary:    "Delete one or more hash fields",
			Complexity: "O(N) where N is the number of fields to be removed.",
			Write:      hDel,
		},
		{
			Name: "hexists", Arity: 3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Summary:    "Determine if a hash field exists",
			Complexity: "O(1)",
			Read:       hExists,
		},
		{
			Name: "hget", Arity: 3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Summary:    "Get the value of a hash field",
			Complexity: "O(1)",
			Read:       hGet,
		},
		{
			Name: "hgetall", Arity: 2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Tips:       []string{"nondeterministic_output_order"},
			Summary:    "Get all the fields and values in a hash",
			Complexity: "O(N) where N is the size of the hash.",
			Read:       hGetAll,
			Long:       hGetAllView,
		},
		{
			Name: "hincrby", Arity: 4, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Summary:    "Increment the integer value of a hash field by the given number",
			Complexity: "O(1)",
			Write:      hIncrBy,
		},
		{
			Name: "hincrbyfloat", Arity: 4, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "2.6.0",
			Summary:    "Increment the float value of a hash field by the given amount",
			Complexity: "O(1)",
			Write:      hIncrByFloat,
		},
		{
			Name: "hkeys", Arity: 2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Tips:       []string{"nondeterministic_output_order"},
			Summary:    "Get all the fields in a hash",
			Complexity: "O(N) where N is the size of the hash.",
			Read:       hKeys,
			Long:       hKeysView,
		},
		{
			Name: "hlen", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Summary:    "Get the number of fields in a hash",
			Complexity: "O(1)",
			Read:       hLen,
		},
		{
			Name: "hmget", Arity: -3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Summary:    "Get the values of all the given hash fields",
			Complexity: "O(N) where N is the number of fields being requested.",
			Read:       hMGet,
		},
		{
			Name: "hmset", Arity: -4, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Summary:    "Set multiple hash fields to multiple values",
			Complexity: "O(N) where N is the number of fields being set.",
			Deprecated: "4.0.0", ReplacedBy: "`HSET` with multiple field-value pairs",
			Write: hMSet,
		},
		{
			Name: "hrandfield", Arity: -2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "6.2.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Get one or multiple random fields from a hash",
			Complexity: "O(N) where N is the number of fields returned",
			Read:       hRandField,
			Long:       hRandFieldView,
		},
		{
			Name: "hscan", Arity: -3, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "2.8.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Incrementally iterate hash fields and associated values",
			Complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection..",
			Read:       hScan,
			Long:       hScanView,
		},
		{
			Name: "hset", Arity: -4, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Summary:    "Set the string value of a hash field",
			Complexity: "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the command is called with multiple field/value pairs.",
			Write:      hSet,
		},
		{
			Name: "hsetnx", Arity: 4, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyInsert),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Summary:    "Set the value of a hash field, only if the field does not exist",
			Complexity: "O(1)",
			Write:      hSetNX,
		},
		{
			Name: "hstrlen", Arity: 3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO),
			Categories: CatHash, Group: "hash", Since: "3.2.0",
			Summary:    "Get the length of the value of a hash field",
			Complexity: "O(1)",
			Read:       hStrLen,
		},
		{
			Name: "hvals", Arity: 2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "2.0.0",
			Tips:       []string{"nondeterministic_output_order"},
			Summary:    "Get all the values in a hash",
			Complexity: "O(N) where N is the size of the hash.",
			Read:       hVals,
			Long:       hValsView,
		},
	}
}

func hSet(u *Update) error {
	added, err := u.setFields("hset", u.Args[2:])
	if err == nil {
		u.W.Int(added)
	}
	return err
}

func hMSet(u *Update) error {
	_, err := u.setFields("hmset", u.Args[2:])
	if err == nil {
		u.W.Status("OK")
	}
	return err
}

// setFields sets fields to the values behind them, and returns how many of them are new.
func (u *Update) setFields(command string, pairs [][]byte) (added int64, err error) {
	if len(pairs)%2 != 0 {
		return 0, ErrArity(command)
	}
	e, err := u.edit(u.Args[1], types.Hash)
	if err == nil {
		err = e.Need(everySecond(pairs))
	}
	if err != nil {
		return 0, err
	}
	for ; len(pairs) > 0; pairs = pairs[2:] {
		is, err := u.setField(e, pairs[0], pairs[1], 0)
		if err != nil {
			return 0, err
		}
		if is {
			added++
		}
	}
	e.Save()
	return added, nil
}

func everySecond(pairs [][]byte) [][]byte {
	if len(pairs) == 2 {
		return pairs[:1]
	}
	fields := make([][]byte, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		fields = append(fields, pairs[i])
	}
	return fields
}

// setField sets a field that dies at expireAtMs; 0: never. Redis keeps a hash as a listpack, until a field or value comes that is too long, or too many of them.
func (u *Update) setField(e *types.Edit, field, value []byte, expireAtMs int64) (added bool, err error) {
	if added, err = e.PutMortal(field, value, expireAtMs); err != nil {
		return false, err
	}
	if limits := &u.set.encodings; !e.Converted() {
		if int64(max(len(field), len(value))) > limits.HashBytes.Load() || e.Len() > limits.HashEntries.Load() {
			e.Convert()
		}
	}
	return added, nil
}

func hSetNX(u *Update) error {
	e, err := u.edit(u.Args[1], types.Hash)
	if err != nil {
		return err
	}
	_, found, err := e.Find(u.Args[2])
	if err != nil || found {
		u.W.Int(0)
		return err
	}
	if _, err := u.setField(e, u.Args[2], u.Args[3], 0); err != nil {
		return err
	}
	e.Save()
	u.W.Int(1)
	return nil
}

func hGet(q *Query) error {
	e, err := q.elements(q.Args[1], types.Hash)
	if err != nil {
		return err
	}
	return q.replyField(e, q.Args[2])
}

func (q *Query) replyField(e *types.Elements, field []byte) error {
	el, found, err := e.Find(field)
	if err != nil {
		return err
	}
	if !found {
		q.W.Null()
		return nil
	}
	return q.bulkValue(e, &el)
}

func hMGet(q *Query) error {
	e, err := q.elements(q.Args[1], types.Hash)
	if err == nil {
		err = e.Need(q.Args[2:])
	}
	if err != nil {
		return err
	}
	q.W.Array(len(q.Args) - 2)
	var missed error
	for _, field := range q.Args[2:] {
		if err := q.replyField(e, field); err == storage.ErrMiss {
			missed = err // values that lie apart are asked for together
		} else if err != nil {
			return err
		}
	}
	return missed
}

func hDel(u *Update) error {
	e, err := u.edit(u.Args[1], types.Hash)
	if err != nil {
		return err
	}
	return u.removeElements(e)
}

func hExists(q *Query) error { return q.hasElement(types.Hash) }

func hLen(q *Query) error { return q.countElements(types.Hash) }

func hStrLen(q *Query) error {
	e, err := q.elements(q.Args[1], types.Hash)
	if err != nil {
		return err
	}
	el, _, err := e.Find(q.Args[2])
	if err == nil {
		q.W.Int(int64(el.ValueLen()))
	}
	return err
}

// hashPart is what HGETALL, HKEYS and HVALS show.
type hashPart byte

const (
	hashFields hashPart = 1 << iota
	hashValues
)

func hGetAll(q *Query) error { return q.hashAtOnce(hashFields | hashValues) }

func hKeys(q *Query) error { return q.hashAtOnce(hashFields) }

func hVals(q *Query) error { return q.hashAtOnce(hashValues) }

func (q *Query) hashAtOnce(part hashPart) error {
	e, err := q.elements(q.Args[1], types.Hash)
	if err != nil || !q.someAtOnce(e, e.Len()) {
		return err
	}
	q.replied = true
	return q.replyHash(e, part)
}

func hGetAllView(q *Query, v *storage.View) error { return q.hashAt(v, hashFields|hashValues) }

func hKeysView(q *Query, v *storage.View) error { return q.hashAt(v, hashFields) }

func hValsView(q *Query, v *storage.View) error { return q.hashAt(v, hashValues) }

func (q *Query) hashAt(v *storage.View, part hashPart) error {
	e, err := q.elementsAt(v, q.Args[1], types.Hash)
	if err != nil {
		return err
	}
	return q.replyHash(e, part)
}

func (q *Query) replyHash(e *types.Elements, part hashPart) error {
	n, err := e.Live()
	if err != nil {
		return err
	}
	if part == hashFields|hashValues {
		q.W.Map(int(n))
	} else {
		q.W.Array(int(n))
	}
	return e.Each(func(el *types.Element) error {
		if part&hashFields != 0 {
			if err := q.bulkName(e, el); err != nil {
				return err
			}
		}
		if part&hashValues != 0 {
			return q.bulkValue(e, el)
		}
		return nil
	})
}

func hIncrBy(u *Update) error {
	by, err := intArg(u.Args[3])
	if err != nil {
		return err
	}
	e, value, dies, err := u.fieldNumber()
	if err != nil {
		return err
	}
	n := int64(0)
	if value != nil {
		var ok bool
		if n, ok = resp.ParseInt(value); !ok {
			return ErrHashNotInt
		}
	}
	if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
		return ErrOverflow
	}
	u.value = strconv.AppendInt(u.value[:0], n+by, 10)
	if _, err := u.setField(e, u.Args[2], u.value, dies); err != nil {
		return err
	}
	e.Save()
	u.W.Int(n + by)
	return nil
}

// fieldNumber reads the field that is to be changed, which goes on to die when it does; value is nil if there is none.
func (u *Update) fieldNumber() (e *types.Edit, value []byte, dies int64, err error) {
	if e, err = u.edit(u.Args[1], types.Hash); err != nil {
		return nil, nil, 0, err
	}
	el, found, err := e.Find(u.Args[2])
	if err == nil && found {
		value, err = e.Value(&el)
	}
	return e, value, el.ExpireAtMs(), err
}

func hIncrByFloat(u *Update) error {
	by, ok := parseFloat(u.Args[3])
	switch {
	case !ok:
		return ErrNotFloat
	case by.IsInf():
		return ErrInfinite
	}
	e, value, dies, err := u.fieldNumber()
	if err != nil {
		return err
	}
	n := new(big.Float).SetPrec(longDoubleBits)
	if value != nil {
		if n, ok = parseFloat(value); !ok {
			return ErrHashNotFloat
		}
	}
	sum, ok := addFloat(n, by)
	if !ok {
		return ErrNaN
	}
	u.value = appendFloat(u.value[:0], sum)
	if _, err := u.setField(e, u.Args[2], u.value, dies); err != nil {
		return err
	}
	e.Save()
	u.W.Bulk(u.value)
	return nil
}

func hRandField(q *Query) error {
	s, err := q.parsePairSample("withvalues")
	if err != nil {
		return err
	}
	e, err := q.elements(q.Args[1], types.Hash)
	if err != nil {
		return err
	}
	return q.replyRandom(e, len(q.Args) == 2, s)
}

func hRandFieldView(q *Query, v *storage.View) error {
	s, _ := q.parsePairSample("withvalues")
	e, err := q.elementsAt(v, q.Args[1], types.Hash)
	if err != nil {
		return err
	}
	if len(q.Args) == 2 {
		return q.replyOne(e)
	}
	return q.replySample(e, s)
}

func (q *Query) parsePairSample(option string) (s sample, err error) {
	s.pairs = q.W.Proto >= 3
	if len(q.Args) > 2 {
		if s.count, err = sampleCount(q.Args[2]); err != nil {
			return s, err
		}
	}
	switch {
	case len(q.Args) > 4 || len(q.Args) == 4 && !is(q.Args[3], option):
		return s, ErrSyntax
	case len(q.Args) == 4:
		s.withValues = true
		if s.count < -math.MaxInt64/2 || s.count > math.MaxInt64/2 {
			return s, ErrOutOfRange
		}
	}
	return s, nil
}

func hScan(q *Query) error { return q.scanElements(types.Hash) }

func hScanView(q *Query, v *storage.View) error { return q.scanElementsAt(v, types.Hash) }
