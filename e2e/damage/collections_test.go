package damage

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// The part of the workload that are collections: a few of each type, most of which have many elements, some of them long. Each element says which
// operation wrote it.

const (
	collectionNames = 4 // of each type
	fieldNames      = 300
	fewFieldNames   = 12 // of the first of each type, which stays packed for long
)

var collectionTypes = []string{"hash", "set", "list", "zset"}

func collectionName(of string, n int) string { return fmt.Sprintf("%s:%d", of, n) }

// typeOf is that of a collection's key, "" for a string's.
func typeOf(key string) string {
	of, _, _ := strings.Cut(key, ":")
	if slices.Contains(collectionTypes, of) {
		return of
	}
	return ""
}

// collectionAt is operation i if it is one on a collection.
func collectionAt(r *rand.Rand, i int) operation {
	n, of := r.IntN(collectionNames), collectionTypes[r.IntN(len(collectionTypes))]
	key := collectionName(of, n)
	op := operation{db: n % databases}
	grow := 75
	if i%operationsPerLife > operationsPerLife/2 {
		grow = 45
	}
	switch k := r.IntN(100); {
	case k < 1 && n > 0:
		op.args = []string{"DEL", key}
	case k < 4:
		op.args = []string{"PEXPIREAT", key, strconv.FormatInt(expireAt(i), 10)}
	case k < grow:
		op.args = adding(r, i, of, key, n)
	default:
		op.args = removing(r, of, key, n)
	}
	return op
}

func adding(r *rand.Rand, i int, of, key string, n int) []string {
	args := map[string][]string{"hash": {"HSET", key}, "set": {"SADD", key}, "list": {"RPUSH", key}, "zset": {"ZADD", key}}[of]
	if of == "list" && r.IntN(3) == 0 {
		args[0] = "LPUSH"
	}
	for j := range 1 + r.IntN(12) {
		switch of {
		case "hash":
			args = append(args, memberName(r, n), elementAt(r, i, j))
		case "zset":
			args = append(args, strconv.Itoa(r.IntN(40)), memberName(r, n))
		case "set":
			args = append(args, memberName(r, n))
		case "list":
			args = append(args, elementAt(r, i, j))
		}
	}
	return args
}

func removing(r *rand.Rand, of, key string, n int) []string {
	count := 1 + r.IntN(12)
	switch {
	case of == "list":
		return []string{[]string{"LPOP", "RPOP"}[r.IntN(2)], key, strconv.Itoa(count)}
	case of == "zset" && r.IntN(3) == 0:
		return []string{"ZREMRANGEBYRANK", key, "0", strconv.Itoa(count - 1)}
	}
	args := []string{map[string]string{"hash": "HDEL", "set": "SREM", "zset": "ZREM"}[of], key}
	for range count {
		args = append(args, memberName(r, n))
	}
	return args
}

// memberName is that of a field or a member; some are long, and lie apart.
func memberName(r *rand.Rand, n int) string {
	number := r.IntN(fieldNames)
	if n == 0 {
		number = r.IntN(fewFieldNames)
	}
	name := fmt.Sprintf("member %03d", number)
	if n > 0 && number%20 == 0 {
		name += strings.Repeat("+", 1500)
	}
	return name
}

// elementAt is the element that operation i puts into a list or a field as its j-th.
func elementAt(r *rand.Rand, i, j int) string {
	element := fmt.Sprintf("%08d.%02d;", i, j) + strings.Repeat("-", r.IntN(60))
	if r.IntN(40) == 0 {
		element += strings.Repeat("-", 1100+r.IntN(9000))
	}
	return element
}

// elements are a collection's as an answer has them: fields and members in their alphabetical order, lists and sorted sets in their own.
func (v *stored) elements() (elements []string) {
	switch {
	case len(v.list) > 0:
		return v.list
	case len(v.scores) > 0:
		members := slices.SortedFunc(maps.Keys(v.scores), func(a, b string) int {
			return cmp.Or(cmp.Compare(v.scores[a], v.scores[b]), cmp.Compare(a, b))
		})
		for _, member := range members {
			elements = append(elements, member+" "+strconv.Itoa(v.scores[member]))
		}
	default:
		for _, field := range slices.Sorted(maps.Keys(v.fields)) {
			elements = append(elements, field+v.fields[field])
		}
	}
	return elements
}

// change does an operation to a collection. false: nothing is left of it.
func (v *stored) change(args []string) bool {
	if v.fields == nil {
		v.fields, v.scores = map[string]string{}, map[string]int{}
	}
	switch rest := args[2:]; args[0] {
	case "HSET":
		for ; len(rest) > 0; rest = rest[2:] {
			v.fields[rest[0]] = " " + rest[1]
		}
	case "SADD":
		for _, member := range rest {
			v.fields[member] = ""
		}
	case "HDEL", "SREM":
		for _, field := range rest {
			delete(v.fields, field)
		}
	case "RPUSH":
		v.list = slices.Concat(v.list, rest)
	case "LPUSH":
		for _, element := range rest {
			v.list = slices.Concat([]string{element}, v.list)
		}
	case "LPOP", "RPOP":
		count, _ := strconv.Atoi(rest[0])
		if count = min(count, len(v.list)); args[0] == "LPOP" {
			v.list = v.list[count:]
		} else {
			v.list = v.list[:len(v.list)-count]
		}
	case "ZADD":
		for ; len(rest) > 0; rest = rest[2:] {
			v.scores[rest[1]], _ = strconv.Atoi(rest[0])
		}
	case "ZREM":
		for _, member := range rest {
			delete(v.scores, member)
		}
	case "ZREMRANGEBYRANK":
		last, _ := strconv.Atoi(rest[1])
		for _, element := range v.elements()[:min(last+1, len(v.scores))] {
			delete(v.scores, element[:strings.LastIndexByte(element, ' ')])
		}
	}
	return len(v.fields)+len(v.list)+len(v.scores) > 0
}

// elementsIn takes an answer apart.
func elementsIn(of, reply string) (elements []string) {
	lines := strings.Split(reply, "\r\n")
	for i := 2; i < len(lines); i += 2 {
		elements = append(elements, lines[i])
	}
	switch of {
	case "set":
		slices.Sort(elements)
	case "hash", "zset":
		pairs := elements[:0]
		for i := 0; i+1 < len(elements); i += 2 {
			pairs = append(pairs, elements[i]+" "+elements[i+1])
		}
		if elements = pairs; of == "hash" {
			slices.Sort(elements)
		}
	}
	return elements
}

// wroteElements tells whether each element of an answer once was one of the key's.
func wroteElements(seed uint64, key string, answer []string) bool {
	wrote := map[string]bool{}
	for _, op := range historyOf(seed, key) {
		if len(op.args) < 3 || op.args[1] != key {
			continue
		}
		v := &stored{}
		v.change(op.args)
		for _, element := range v.elements() {
			wrote[element] = true
		}
	}
	return !slices.ContainsFunc(answer, func(element string) bool { return !wrote[element] })
}

// askCollection compares a collection's elements, and their number.
func (n *node) askCollection(seed uint64, db int, key string, want stored, a *answers) error {
	of := typeOf(key)
	commands := map[string][2][]string{
		"hash": {{"HGETALL", key}, {"HLEN", key}}, "set": {{"SMEMBERS", key}, {"SCARD", key}},
		"list": {{"LRANGE", key, "0", "-1"}, {"LLEN", key}}, "zset": {{"ZRANGE", key, "0", "-1", "WITHSCORES"}, {"ZCARD", key}},
	}[of]
	reply, err := n.do(db, commands[0]...)
	if err != nil {
		return err
	}
	count, err := n.do(db, commands[1]...)
	if err != nil {
		return err
	}
	right, got := want.elements(), elementsIn(of, reply)
	switch {
	case strings.HasPrefix(reply, "-CORRUPT"):
		a.add(&a.Corrupt, "%s", short(reply))
	case strings.HasPrefix(count, "-CORRUPT"):
		a.add(&a.Corrupt, "%s", short(count))
	case reply[0] != '*':
		a.add(&a.Wrong, "%s in db %d: %s", key, db, short(reply))
	case slices.Equal(got, right) && count == fmt.Sprintf(":%d\r\n", len(right)):
	case slices.Equal(got, right):
		a.add(&a.Wrong, "%s in db %d has %s elements, and shows %d", key, db, short(count), len(right))
	case wroteElements(seed, key, got):
		a.add(&a.Hidden, "%s in db %d has %d elements, not %d, or older ones", key, db, len(got), len(right))
	default:
		a.add(&a.Wrong, "%s in db %d has %d elements, not %d, and some that it never had", key, db, len(got), len(right))
	}
	return nil
}
