package commands

import (
	"math"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// The commands of fields that die by themselves: those of Redis 7.4, and HGETEX, HSETEX and HGETDEL of 8.0.
func hashExpireRows() []*Row {
	return []*Row{
		{
			Name: "hexpire", Arity: -6, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "7.4.0",
			Summary:    "Set expiry for hash field using relative time to expire (seconds)",
			Complexity: "O(N) where N is the number of specified fields",
			Write:      hExpire,
		},
		{
			Name: "hexpireat", Arity: -6, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "7.4.0",
			Summary:    "Set expiry for hash field using an absolute Unix timestamp (seconds)",
			Complexity: "O(N) where N is the number of specified fields",
			Write:      hExpireAt,
		},
		{
			Name: "hexpiretime", Arity: -5, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "7.4.0",
			Summary:    "Returns the expiration time of a hash field as a Unix timestamp, in seconds.",
			Complexity: "O(N) where N is the number of specified fields",
			Read:       hExpireTime,
		},
		{
			Name: "hgetdel", Arity: -5, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyAccess | KeyDelete),
			Categories: CatHash, Group: "hash", Since: "8.0.0",
			Summary:    "Returns the value of a field and deletes it from the hash.",
			Complexity: "O(N) where N is the number of specified fields",
			Write:      hGetDel,
		},
		{
			Name: "hgetex", Arity: -5, Flags: FlagWrite | FlagFast,
			Keys:       []KeySpec{{Flags: KeyRW | KeyAccess | KeyUpdate, First: 1, Last: 0, Step: 1, Notes: "RW and UPDATE because it changes the TTL"}},
			Categories: CatHash, Group: "hash", Since: "8.0.0",
			Summary:    "Get the value of one or more fields of a given hash key, and optionally set their expiration.",
			Complexity: "O(N) where N is the number of specified fields",
			Write:      hGetEx,
		},
		{
			Name: "hpersist", Arity: -5, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "7.4.0",
			Summary:    "Removes the expiration time for each specified field",
			Complexity: "O(N) where N is the number of specified fields",
			Write:      hPersist,
		},
		{
			Name: "hpexpire", Arity: -6, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "7.4.0",
			Summary:    "Set expiry for hash field using relative time to expire (milliseconds)",
			Complexity: "O(N) where N is the number of specified fields",
			Write:      hPExpire,
		},
		{
			Name: "hpexpireat", Arity: -6, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "7.4.0",
			Summary:    "Set expiry for hash field using an absolute Unix timestamp (milliseconds)",
			Complexity: "O(N) where N is the number of specified fields",
			Write:      hPExpireAt,
		},
		{
			Name: "hpexpiretime", Arity: -5, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "7.4.0",
			Summary:    "Returns the expiration time of a hash field as a Unix timestamp, in msec.",
			Complexity: "O(N) where N is the number of specified fields",
			Read:       hPExpireTime,
		},
		{
			Name: "hpttl", Arity: -5, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "7.4.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Returns the TTL in milliseconds of a hash field.",
			Complexity: "O(N) where N is the number of specified fields",
			Read:       hPTTL,
		},
		{
			Name: "hsetex", Arity: -6, Flags: FlagWrite | FlagDenyOOM | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatHash, Group: "hash", Since: "8.0.0",
			Summary:    "Set the value of one or more fields of a given hash key, and optionally set their expiration.",
			Complexity: "O(N) where N is the number of fields being set.",
			Write:      hSetEx,
		},
		{
			Name: "httl", Arity: -5, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatHash, Group: "hash", Since: "7.4.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Returns the TTL in seconds of a hash field.",
			Complexity: "O(N) where N is the number of specified fields",
			Read:       hTTL,
		},
	}
}

// What the commands answer for each field.
const (
	fieldMissing = -2
	fieldForGood = -1 // it has no time to live
	fieldKept    = 0  // the condition is not met
	fieldChanged = 1
	fieldDeleted = 2 // its time is past
)

// fieldTimeMax is the latest time at which a field can die, in ms.
const fieldTimeMax = 1<<46 - 1

// fieldTime is a time of HEXPIRE and its like, HGETEX or HSETEX.
func fieldTime(arg []byte, seconds bool, baseMs int64, command string) (int64, error) {
	at, err := intArg(arg)
	switch {
	case err != nil:
		return 0, err
	case at < 0:
		return 0, ErrFieldTimeNegative
	case seconds && at > fieldTimeMax/1000:
		return 0, ErrExpireTime(command)
	case seconds:
		at *= 1000
	}
	if at > fieldTimeMax-baseMs {
		return 0, ErrExpireTime(command)
	}
	return at + baseMs, nil
}

// fieldTimeOption is EX, PX, EXAT or PXAT, a letter of timeWord, with its argument.
func (q *Query) fieldTimeOption(word byte, arg []byte, command string) (int64, error) {
	base := int64(0)
	if word == 'e' || word == 'p' {
		base = q.Now
	}
	return fieldTime(arg, word == 'e' || word == 'E', base, command)
}

// fieldArgs are the fields in FIELDS n field …; count is the error for an n that is no number of any.
func fieldArgs(args [][]byte, count Error) ([][]byte, error) {
	if len(args) == 0 || !is(args[0], "fields") {
		return nil, ErrFieldsWord
	}
	if len(args) == 1 {
		return nil, count
	}
	n, ok := resp.ParseInt(args[1])
	switch {
	case !ok || n < 1:
		return nil, count
	case n != int64(len(args)-2):
		return nil, ErrFieldsCount
	}
	return args[2:], nil
}

// fields opens the hash that a command names and reads its fields, which begin with an argument. Redis looks at the key first.
func (u *Update) fields(at int) (e *types.Edit, fields [][]byte, err error) {
	if e, err = u.edit(u.Args[1], types.Hash); err != nil {
		return nil, nil, err
	}
	if fields, err = fieldArgs(u.Args[at:], ErrFieldsNumber); err == nil {
		err = e.Need(fields)
	}
	return e, fields, err
}

func hExpire(u *Update) error { return u.expireFields("hexpire", true, u.Now) }

func hPExpire(u *Update) error { return u.expireFields("hpexpire", false, u.Now) }

func hExpireAt(u *Update) error { return u.expireFields("hexpireat", true, 0) }

func hPExpireAt(u *Update) error { return u.expireFields("hpexpireat", false, 0) }

// expireFields sets when fields die, as a time after base.
func (u *Update) expireFields(command string, seconds bool, baseMs int64) error {
	e, err := u.edit(u.Args[1], types.Hash)
	if err != nil {
		return err
	}
	at, err := fieldTime(u.Args[2], seconds, baseMs, command)
	if err != nil {
		return err
	}
	rest := u.Args[3:]
	o, err := parseExpireOptions(rest[:1])
	if err == nil {
		rest = rest[1:]
	}
	fields, err := fieldArgs(rest, ErrFieldsPositive)
	if err == nil {
		err = e.Need(fields)
	}
	if err == nil {
		err = e.Foresee(fields, at)
	}
	if err != nil {
		return err
	}
	return u.changeFields(e, fields, func(field []byte) (int64, error) { return u.expireField(e, field, at, o) })
}

// changeFields replies with what change returns for each field.
func (u *Update) changeFields(e *types.Edit, fields [][]byte, change func(field []byte) (reply int64, err error)) error {
	u.W.Array(len(fields))
	changes := 0
	for _, field := range fields {
		n, err := change(field)
		if err != nil {
			return err
		}
		if n > fieldKept {
			changes++
		}
		u.W.Int(n)
	}
	u.saveFields(e, changes)
	return nil
}

// saveFields saves what a command has changed of some fields.
func (u *Update) saveFields(e *types.Edit, changes int) {
	e.Save()
	u.counts(changes)
}

// expireField sets when a field dies, at 0 never, and returns what to reply.
func (u *Update) expireField(e *types.Edit, field []byte, at int64, o expireOptions) (reply int64, err error) {
	el, found, err := e.Find(field)
	switch {
	case err != nil:
		return 0, err
	case !found:
		return fieldMissing, nil
	case !o.allow(el.ExpireAtMs(), at):
		return fieldKept, nil
	case at <= u.Now:
		_, err := e.Remove(field)
		u.ledger.ExpiredFields++
		return fieldDeleted, err
	}
	return fieldChanged, e.Expire(field, at)
}

func hPersist(u *Update) error {
	e, fields, err := u.fields(2)
	if err == nil {
		err = e.Foresee(fields, 0)
	}
	if err != nil {
		return err
	}
	return u.changeFields(e, fields, func(field []byte) (int64, error) { return persistField(e, field) })
}

func persistField(e *types.Edit, field []byte) (reply int64, err error) {
	el, found, err := e.Find(field)
	switch {
	case err != nil:
		return 0, err
	case !found:
		return fieldMissing, nil
	case el.ExpireAtMs() == 0:
		return fieldForGood, nil
	}
	return fieldChanged, e.Expire(field, 0)
}

func hTTL(q *Query) error {
	return q.replyFieldTimes(func(at int64) int64 { return (at + 999 - q.Now) / 1000 })
}

func hPTTL(q *Query) error {
	return q.replyFieldTimes(func(at int64) int64 { return at - q.Now })
}

func hExpireTime(q *Query) error {
	return q.replyFieldTimes(func(at int64) int64 { return (at + 999) / 1000 })
}

func hPExpireTime(q *Query) error {
	return q.replyFieldTimes(func(at int64) int64 { return at })
}

// replyFieldTimes replies for each field with what show makes of the time at which it dies.
func (q *Query) replyFieldTimes(show func(at int64) int64) error {
	e, err := q.elements(q.Args[1], types.Hash)
	if err != nil {
		return err
	}
	fields, err := fieldArgs(q.Args[2:], ErrFieldsNumber)
	if err == nil {
		err = e.Need(fields)
	}
	if err != nil {
		return err
	}
	q.W.Array(len(fields))
	for _, field := range fields {
		el, found, err := e.Find(field)
		switch {
		case err != nil:
			return err
		case !found:
			q.W.Int(fieldMissing)
		case el.ExpireAtMs() == 0:
			q.W.Int(fieldForGood)
		default:
			q.W.Int(show(el.ExpireAtMs()))
		}
	}
	return nil
}

func hGetDel(u *Update) error {
	e, fields, err := u.fields(2)
	if err == nil {
		err = e.Foresee(fields, 0)
	}
	if err != nil {
		return err
	}
	return u.takeFields(e, fields, func(field []byte, _ *types.Element) (bool, error) { return e.Remove(field) })
}

// takeFields replies with the values of fields, and does something to each that there is: change tells whether it did.
func (u *Update) takeFields(e *types.Edit, fields [][]byte, change func(field []byte, el *types.Element) (bool, error)) error {
	u.W.Array(len(fields))
	changes := 0
	var missed error
	for _, field := range fields {
		el, found, err := e.Find(field)
		if err != nil {
			return err
		}
		if !found {
			u.W.Null()
			continue
		}
		if err := u.bulkValue(&e.Elements, &el); err == storage.ErrMiss {
			missed = err // values that lie apart are asked for together
		} else if err != nil {
			return err
		}
		changed, err := change(field, &el)
		if err != nil {
			return err
		}
		if changed {
			changes++
		}
	}
	if missed != nil {
		return missed
	}
	u.saveFields(e, changes)
	return nil
}

func hGetEx(u *Update) error {
	if _, err := u.openOf(u.Args[1], types.Hash); err != nil {
		return err
	}
	at, rest, set := int64(0), u.Args[2:], true
	switch word := timeWord(rest[0]); {
	case word != 0:
		var err error
		if at, err = u.fieldTimeOption(word, rest[1], "hgetex"); err != nil {
			return err
		}
		rest = rest[2:]
	case is(rest[0], "persist"):
		rest = rest[1:]
	default:
		set = false
	}
	e, fields, err := u.fields(len(u.Args) - len(rest))
	if err == nil && set {
		err = e.Foresee(fields, at)
	}
	if err != nil {
		return err
	}
	return u.takeFields(e, fields, func(field []byte, el *types.Element) (bool, error) {
		switch {
		case !set:
			return false, nil
		case at == 0 && timeWord(u.Args[2]) == 0:
			if el.ExpireAtMs() == 0 {
				return false, nil
			}
			return true, e.Expire(field, 0)
		}
		_, err := u.expireField(e, field, at, expireOptions{})
		return true, err
	})
}

// hSetExOptions is what stands before the fields of HSETEX.
type hSetExOptions struct {
	fnx, fxx, keep, timed bool
	at                    int64 // if it is timed
	pairs                 [][]byte
}

func hSetEx(u *Update) error {
	o, err := u.parseHSetEx()
	if err != nil {
		return err
	}
	e, err := u.edit(u.Args[1], types.Hash)
	if err != nil {
		return err
	}
	fields := everySecond(o.pairs)
	if err := e.Need(fields); err != nil {
		return err
	}
	if allowed, err := o.allow(e, fields); err != nil || !allowed {
		u.W.Int(0)
		return err
	}
	if err := e.Foresee(fields, o.at); err != nil {
		return err
	}
	for pairs := o.pairs; len(pairs) > 0; pairs = pairs[2:] {
		if err := u.setFieldEx(e, pairs[0], pairs[1], &o); err != nil {
			return err
		}
	}
	u.saveFields(e, len(fields))
	u.W.Int(1)
	return nil
}

// allow tells whether FNX and FXX let the fields be set.
func (o *hSetExOptions) allow(e *types.Edit, fields [][]byte) (bool, error) {
	if !o.fnx && !o.fxx {
		return true, nil
	}
	for _, field := range fields {
		if _, found, err := e.Find(field); err != nil || found == o.fnx {
			return false, err
		}
	}
	return true, nil
}

func (u *Update) setFieldEx(e *types.Edit, field, value []byte, o *hSetExOptions) error {
	at := o.at
	if o.keep {
		el, found, err := e.Find(field)
		if err != nil {
			return err
		}
		if found {
			at = el.ExpireAtMs()
		}
	}
	if o.timed && at <= u.Now {
		_, err := e.Remove(field)
		u.ledger.ExpiredFields++
		return err
	}
	_, err := u.setField(e, field, value, at)
	return err
}

func (u *Update) parseHSetEx() (o hSetExOptions, err error) {
	for args := u.Args[2:]; len(args) > 0; args = args[1:] {
		word := timeWord(args[0])
		switch {
		case is(args[0], "fields"):
			err = o.parsePairs(args)
			return o, err
		case word != 0 || is(args[0], "keepttl"):
			switch {
			case o.timed || o.keep:
				return o, ErrHSetExTimes
			case word == 0:
				o.keep = true
				continue
			case len(args) == 1:
				return o, ErrHSetExNoTime
			}
			o.timed = true
			if o.at, err = u.fieldTimeOption(word, args[1], "hsetex"); err != nil {
				return o, err
			}
			args = args[1:]
		case is(args[0], "fxx") || is(args[0], "fnx"):
			if o.fxx || o.fnx {
				return o, ErrHSetExConditions
			}
			o.fxx = is(args[0], "fxx")
			o.fnx = !o.fxx
		default:
			return o, ErrUnknownArgument(args[0])
		}
	}
	return o, ErrArity("hsetex")
}

// parsePairs reads FIELDS n field value …
func (o *hSetExOptions) parsePairs(args [][]byte) error {
	if len(args) < 4 {
		return ErrArity("hsetex")
	}
	n, ok := resp.ParseInt(args[1])
	if !ok || n < 1 || n > math.MaxInt32 {
		return ErrHSetExNumber
	}
	o.pairs = args[2:]
	if int64(len(o.pairs)) != 2*n {
		return ErrArity("hsetex")
	}
	return nil
}
