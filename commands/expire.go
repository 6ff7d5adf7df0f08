package commands

import "math"

// The commands of time.
func expireRows() []*Row {
	return []*Row{
		{
			Name: "expire", Arity: -3, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatKeyspace, Group: "generic", Since: "1.0.0",
			Summary:    "Set a key's time to live in seconds",
			Complexity: "O(1)",
			Write:      expire,
		},
		{
			Name: "expireat", Arity: -3, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatKeyspace, Group: "generic", Since: "1.2.0",
			Summary:    "Set the expiration for a key as a UNIX timestamp",
			Complexity: "O(1)",
			Write:      expireAt,
		},
		{
			Name: "expiretime", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatKeyspace, Group: "generic", Since: "7.0.0",
			Summary:    "Get the expiration Unix timestamp for a key",
			Complexity: "O(1)",
			Read:       expireTime,
		},
		{
			Name: "persist", Arity: 2, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatKeyspace, Group: "generic", Since: "2.2.0",
			Summary:    "Remove the expiration from a key",
			Complexity: "O(1)",
			Write:      persist,
		},
		{
			Name: "pexpire", Arity: -3, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatKeyspace, Group: "generic", Since: "2.6.0",
			Summary:    "Set a key's time to live in milliseconds",
			Complexity: "O(1)",
			Write:      pExpire,
		},
		{
			Name: "pexpireat", Arity: -3, Flags: FlagWrite | FlagFast,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatKeyspace, Group: "generic", Since: "2.6.0",
			Summary:    "Set the expiration for a key as a UNIX timestamp specified in milliseconds",
			Complexity: "O(1)",
			Write:      pExpireAt,
		},
		{
			Name: "pexpiretime", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatKeyspace, Group: "generic", Since: "7.0.0",
			Summary:    "Get the expiration Unix timestamp for a key in milliseconds",
			Complexity: "O(1)",
			Read:       pExpireTime,
		},
		{
			Name: "pttl", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatKeyspace, Group: "generic", Since: "2.6.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Get the time to live for a key in milliseconds",
			Complexity: "O(1)",
			Read:       pTTL,
		},
		{
			Name: "ttl", Arity: 2, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatKeyspace, Group: "generic", Since: "1.0.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Get the time to live for a key in seconds",
			Complexity: "O(1)",
			Read:       ttlOf,
		},
	}
}

func expire(u *Update) error { return u.expireKey("expire", true, u.Now) }

func pExpire(u *Update) error { return u.expireKey("pexpire", false, u.Now) }

func expireAt(u *Update) error { return u.expireKey("expireat", true, 0) }

func pExpireAt(u *Update) error { return u.expireKey("pexpireat", false, 0) }

// expireOptions are NX, XX, GT and LT.
type expireOptions struct{ nx, xx, gt, lt bool }

func parseExpireOptions(args [][]byte) (o expireOptions, err error) {
	for _, arg := range args {
		switch {
		case is(arg, "nx"):
			o.nx = true
		case is(arg, "xx"):
			o.xx = true
		case is(arg, "gt"):
			o.gt = true
		case is(arg, "lt"):
			o.lt = true
		default:
			return o, ErrUnsupportedOption(arg)
		}
	}
	switch {
	case o.nx && (o.xx || o.gt || o.lt):
		return o, ErrExpireNX
	case o.gt && o.lt:
		return o, ErrExpireGT
	}
	return o, nil
}

// allow tells whether the options let a key that dies at oldMs (0: never) die at newMs. GT takes never for later than any time.
func (o expireOptions) allow(oldMs, newMs int64) bool {
	switch {
	case o.nx && oldMs != 0,
		o.xx && oldMs == 0,
		o.gt && (oldMs == 0 || newMs <= oldMs),
		o.lt && oldMs != 0 && newMs >= oldMs:
		return false
	}
	return true
}

// expireKey sets when a key dies, as a time after base. A time that is past already deletes it.
func (u *Update) expireKey(command string, seconds bool, baseMs int64) error {
	o, err := parseExpireOptions(u.Args[3:])
	if err != nil {
		return err
	}
	at, err := intArg(u.Args[2])
	if err != nil {
		return err
	}
	if seconds {
		if at > math.MaxInt64/1000 || at < math.MinInt64/1000 {
			return ErrExpireTime(command)
		}
		at *= 1000
	}
	if at > math.MaxInt64-baseMs {
		return ErrExpireTime(command)
	}
	at += baseMs
	r, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	if !r.Exists || !o.allow(r.ExpireAtMs, at) {
		u.W.Int(0)
		return nil
	}
	if at <= u.Now {
		u.ledger.Remove(&r)
	} else {
		u.ledger.SetExpire(&r, at)
	}
	u.W.Int(1)
	return nil
}

func persist(u *Update) error {
	r, err := u.open(u.Args[1])
	if err != nil {
		return err
	}
	if !r.Exists || r.ExpireAtMs == 0 {
		u.W.Int(0)
		return nil
	}
	u.ledger.SetExpire(&r, 0)
	u.W.Int(1)
	return nil
}

func ttlOf(q *Query) error {
	return q.replyTime(func(at int64) int64 { return (max(0, at-q.Now) + 500) / 1000 })
}

func pTTL(q *Query) error {
	return q.replyTime(func(at int64) int64 { return max(0, at-q.Now) })
}

func expireTime(q *Query) error {
	return q.replyTime(func(at int64) int64 { return int64((uint64(at) + 500) / 1000) }) // the last millisecond there is has a second as well
}

func pExpireTime(q *Query) error {
	return q.replyTime(func(at int64) int64 { return at })
}

// replyTime replies with what show makes of the time at which the key dies, with -1 if it never does, with -2 if there is no key.
func (q *Query) replyTime(show func(at int64) int64) error {
	m, err := q.peek(q.Args[1])
	switch {
	case err != nil:
		return err
	case !m.Exists:
		q.W.Int(-2)
	case m.ExpireAtMs == 0:
		q.W.Int(-1)
	default:
		q.W.Int(show(m.ExpireAtMs))
	}
	return nil
}
