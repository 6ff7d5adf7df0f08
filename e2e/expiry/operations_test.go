package expiry

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"sett/e2e/process"
)

// kind is what dies.
type kind int

const (
	aString kind = iota
	aZSet
	aField
	kinds
)

// Times to live are between these, in ms.
const shortest, longest = 50, 5000

// zsetMembers is more than a record holds.
const zsetMembers = 200

// choose draws a command for an item, as of now.
func (i *item) choose(r *rand.Rand, now int64) operation {
	ms := shortest + r.Int64N(longest-shortest)
	switch i.kind {
	case aField:
		return i.ofField(r, now, ms)
	case aZSet:
		if r.IntN(3) == 0 {
			return i.fillZSet()
		}
	default:
		if r.IntN(2) == 0 {
			return i.writeString(r, now, ms)
		}
	}
	return i.keyTTL(r, now, ms)
}

func (i *item) fillZSet() operation {
	args := []string{"ZADD", i.key}
	for m := range zsetMembers {
		args = append(args, fmt.Sprint(m), fmt.Sprintf("member-of-some-length:%04d", m))
	}
	return operation{args, func(l life, lives bool, reply any, _, _ int64) (life, bool) {
		if lives {
			return l, same(reply, 0)
		}
		return life{value: fmt.Sprint(zsetMembers)}, same(reply, zsetMembers)
	}}
}

// value is new each time; some lie in the value log.
func value(r *rand.Rand) string {
	v := fmt.Sprintf("%x", r.Uint64())
	if r.IntN(20) == 0 {
		return strings.Repeat(v, 1500+r.IntN(3000))
	}
	return v
}

// anew is a command after which an item has a value and an end, whatever was there.
func anew(after func(l life, sent, answered int64) life, want any) func(life, bool, any, int64, int64) (life, bool) {
	return func(l life, _ bool, reply any, sent, answered int64) (life, bool) {
		return after(l, sent, answered), same(reply, want)
	}
}

func (i *item) writeString(r *rand.Rand, now, ms int64) operation {
	v := value(r)
	end := func(ms int64) func(life, int64, int64) life {
		return func(_ life, sent, answered int64) life { return life{value: v}.ending(sent, answered, ms) }
	}
	switch r.IntN(7) {
	case 0:
		return operation{[]string{"SET", i.key, v, "PXAT", number(now + ms)}, anew(func(life, int64, int64) life { return life{value: v}.endingAt(now + ms) }, "OK")}
	case 1:
		s := 1 + ms/1000
		return operation{[]string{"SET", i.key, v, "EX", number(s)}, anew(end(s*1000), "OK")}
	case 2:
		return operation{[]string{"SET", i.key, v}, anew(func(life, int64, int64) life { return life{value: v} }, "OK")}
	case 3:
		return operation{[]string{"SET", i.key, v, "KEEPTTL"}, anew(func(l life, _, _ int64) life { l.value = v; return l }, "OK")}
	case 4:
		return operation{[]string{"APPEND", i.key, v}, func(l life, _ bool, reply any, _, _ int64) (life, bool) {
			l.value += v
			return l, same(reply, len(l.value))
		}}
	}
	return operation{[]string{"SET", i.key, v, "PX", number(ms)}, anew(end(ms), "OK")}
}

// keyTTL is a command for keys of all types, or one that reads.
func (i *item) keyTTL(r *rand.Rand, now, ms int64) operation {
	later := func(ms int64) func(l life, sent, answered int64) life {
		return func(l life, sent, answered int64) life { return l.ending(sent, answered, ms) }
	}
	persists := func(l life, reply any) bool {
		if l.hi == 0 {
			return same(reply, 0)
		}
		return same(reply, 1)
	}
	switch r.IntN(9) {
	case 0:
		return operation{[]string{"PEXPIRE", i.key, number(ms)}, changes(later(ms), always(1), 0)}
	case 1:
		s := 1 + ms/1000
		return operation{[]string{"EXPIRE", i.key, number(s)}, changes(later(s*1000), always(1), 0)}
	case 2:
		return operation{[]string{"PEXPIREAT", i.key, number(now + ms)}, changes(func(l life, _, _ int64) life { return l.endingAt(now + ms) }, always(1), 0)}
	case 3:
		return operation{[]string{"PERSIST", i.key}, changes(func(l life, _, _ int64) life { return l.lasting() }, persists, 0)}
	case 4:
		return operation{[]string{"PEXPIRETIME", i.key}, reads(itsEnd, -2)}
	case 5:
		return operation{[]string{"EXISTS", i.key}, reads(always(1), 0)}
	case 6:
		if r.IntN(4) == 0 {
			return operation{[]string{"DEL", i.key}, changes(func(life, int64, int64) life { return life{} }, always(1), 0)}
		}
	}
	if i.kind == aZSet {
		return i.read()
	}
	switch r.IntN(4) {
	case 0:
		return operation{[]string{"GETEX", i.key, "PX", number(ms)}, changes(later(ms), itsValue, nil)}
	case 1:
		return operation{[]string{"GETEX", i.key, "PERSIST"}, changes(func(l life, _, _ int64) life { return l.lasting() }, itsValue, nil)}
	}
	return i.read()
}

func (i *item) ofField(r *rand.Rand, now, ms int64) operation {
	v := value(r)
	later := func(l life, sent, answered int64) life { return l.ending(sent, answered, ms) }
	fixed := func(l life, _, _ int64) life { return l.endingAt(now + ms) }
	persists := func(l life, reply any) bool {
		if l.hi == 0 {
			return same(reply, -1)
		}
		return same(reply, 1)
	}
	fields := []string{"FIELDS", "1", i.field}
	do := func(args ...string) []string {
		return append(append(args[:1:1], i.key), append(args[1:], fields...)...)
	}
	switch r.IntN(10) {
	case 0, 1:
		return operation{append(do("HSETEX", "PX", number(ms)), v), anew(func(_ life, sent, answered int64) life { return later(life{value: v}, sent, answered) }, 1)}
	case 2:
		return operation{[]string{"HSET", i.key, i.field, v}, func(l life, lives bool, reply any, _, _ int64) (life, bool) {
			if lives {
				return life{value: v}, same(reply, 0)
			}
			return life{value: v}, same(reply, 1)
		}}
	case 3:
		return operation{do("HPEXPIRE", number(ms)), changes(later, always(1), -2)}
	case 4:
		sets := changes(fixed, always(1), -2)
		return operation{do("HPEXPIREAT", number(now+ms)), func(l life, lives bool, reply any, sent, answered int64) (life, bool) {
			if lives && same(reply, 2) && answered >= now+ms { // it took so long that the time was past
				return life{}, true
			}
			return sets(l, lives, reply, sent, answered)
		}}
	case 5:
		return operation{do("HPERSIST"), changes(func(l life, _, _ int64) life { return l.lasting() }, persists, -2)}
	case 6:
		return operation{do("HGETEX", "PX", number(ms)), changes(later, itsValue, nil)}
	case 7:
		return operation{do("HPEXPIRETIME"), reads(itsEnd, -2)}
	case 8:
		if r.IntN(4) == 0 {
			return operation{[]string{"HDEL", i.key, i.field}, changes(func(life, int64, int64) life { return life{} }, always(1), 0)}
		}
	}
	return i.read()
}

// read is the command that shows what an item holds.
func (i *item) read() operation {
	switch i.kind {
	case aField:
		return operation{[]string{"HGET", i.key, i.field}, reads(itsValue, nil)}
	case aZSet:
		return operation{[]string{"ZCARD", i.key}, reads(always(zsetMembers), 0)}
	}
	return operation{[]string{"GET", i.key}, reads(itsValue, nil)}
}

// show asks for value and end of an item at one moment; "" is none.
func (i *item) show(c *process.Client) (value string, endMs int64, err error) {
	c.Send("MULTI")
	c.Send(i.read().args...)
	if i.kind == aField {
		c.Send("HPEXPIRETIME", i.key, "FIELDS", "1", i.field)
	} else {
		c.Send("PEXPIRETIME", i.key)
	}
	c.Send("EXEC")
	if err := c.Flush(); err != nil {
		return "", 0, err
	}
	var reply any
	for range 4 {
		if reply, err = c.Receive(); err != nil {
			return "", 0, err
		}
	}
	both, ok := reply.([]any)
	if !ok || len(both) != 2 {
		return "", 0, fmt.Errorf("EXEC: %s", process.Short(reply))
	}
	end := both[1]
	if list, ok := end.([]any); ok && len(list) == 1 {
		end = list[0]
	}
	endMs, _ = end.(int64)
	switch v := both[0].(type) {
	case string:
		return v, endMs, nil
	case int64:
		if v > 0 {
			return fmt.Sprint(v), endMs, nil
		}
	}
	return "", endMs, nil
}
