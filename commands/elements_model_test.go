package commands

import (
	"crypto/sha1"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/resp"
	"sett/types"
)

// plain is a set or a hash as a plain Go map, with what Redis knows besides.
type plain struct {
	hash      bool
	elements  map[string]string
	converted bool // its encoding is hashtable
	expireAt  int64
}

// plainElements are all keys: the truth for TestElements.
type plainElements struct {
	now int64
	db  int
	dbs [2]map[string]*plain
}

func (p *plainElements) in(db int, name string) *plain {
	k := p.dbs[db][name]
	if k != nil && k.expireAt != 0 && p.now > k.expireAt {
		delete(p.dbs[db], name)
		return nil
	}
	return k
}

func (p *plainElements) get(name string) *plain { return p.in(p.db, name) }

// made is get for those who write; an empty one is dropped again by done.
func (p *plainElements) made(name string, hash bool) *plain {
	k := p.get(name)
	if k == nil {
		k = &plain{hash: hash, elements: map[string]string{}}
		p.dbs[p.db][name] = k
	}
	return k
}

func (p *plainElements) done(name string) {
	if k := p.get(name); k != nil && len(k.elements) == 0 {
		delete(p.dbs[p.db], name)
	}
}

func isInt(s string) bool {
	_, ok := resp.ParseInt([]byte(s))
	return ok
}

func (k *plain) add(name, value string) (added int) {
	if _, found := k.elements[name]; !found {
		added = 1
	}
	k.elements[name] = value
	if k.hash {
		k.converted = k.converted || len(k.elements) > 512 || max(len(name), len(value)) > 64
	} else if added == 1 {
		k.converted = k.converted || len(k.elements) > 512 || !isInt(name)
	}
	return added
}

const wrongType = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"

// wantsHash tells which type a command is for; ok is false for those of all types.
func wantsHash(command string) (hash, ok bool) {
	if command == "spop" || command == "srandmember" || command == "smembers" || strings.HasPrefix(command, "s") && command != "scan" {
		return false, true
	}
	return true, command[0] == 'h'
}

// run answers the commands whose reply has one order.
func (p *plainElements) run(args []string) string {
	name := args[1]
	k := p.get(name)
	combined := strings.HasSuffix(args[0], "store")
	if hash, typed := wantsHash(args[0]); typed && k != nil && k.hash != hash && !combined {
		return wrongType
	}
	elements := map[string]string{}
	if k != nil {
		elements = k.elements
	}
	n := 0
	switch args[0] {
	case "sadd":
		k = p.made(name, false)
		for _, member := range args[2:] {
			n += k.add(member, "")
		}
		return num(n)
	case "hset":
		k = p.made(name, true)
		for i := 2; i < len(args); i += 2 {
			n += k.add(args[i], args[i+1])
		}
		return num(n)
	case "hsetnx":
		if _, found := elements[args[2]]; found {
			return num(0)
		}
		return num(p.made(name, true).add(args[2], args[3]))
	case "srem", "hdel":
		for _, element := range args[2:] {
			if _, found := elements[element]; found {
				n++
			}
			delete(elements, element)
		}
		p.done(name)
		return num(n)
	case "scard", "hlen":
		return num(len(elements))
	case "sismember", "hexists":
		_, found := elements[args[2]]
		return truth(found)
	case "smismember":
		reply := fmt.Sprintf("*%d\r\n", len(args)-2)
		for _, member := range args[2:] {
			_, found := elements[member]
			reply += truth(found)
		}
		return reply
	case "hget":
		if value, found := elements[args[2]]; found {
			return bulk(value)
		}
		return null
	case "hmget":
		reply := fmt.Sprintf("*%d\r\n", len(args)-2)
		for _, field := range args[2:] {
			if value, found := elements[field]; found {
				reply += bulk(value)
			} else {
				reply += null
			}
		}
		return reply
	case "hstrlen":
		return num(len(elements[args[2]]))
	case "hincrby":
		value, found := elements[args[2]]
		old, ok := resp.ParseInt([]byte(value))
		if found && !ok {
			return "-ERR hash value is not an integer\r\n"
		}
		by, _ := strconv.Atoi(args[3])
		p.made(name, true).add(args[2], strconv.Itoa(int(old)+by))
		return num(int(old) + by)
	case "smove":
		return p.move(args)
	case "sunionstore", "sinterstore", "sdiffstore":
		return p.store(args)
	}
	return p.runKeys(args, k)
}

func (p *plainElements) move(args []string) string {
	from, to := p.get(args[1]), p.get(args[2])
	switch {
	case from == nil:
		return num(0)
	case to != nil && to.hash:
		return wrongType
	}
	if _, found := from.elements[args[3]]; !found {
		return num(0)
	}
	if from != to {
		delete(from.elements, args[3])
		p.made(args[2], false).add(args[3], "")
		p.done(args[1])
	}
	return num(1)
}

// combine is SINTER, SUNION or SDIFF; wrong if one of them is no set.
func (p *plainElements) combine(how string, names []string) (result map[string]string, wrong bool) {
	result = map[string]string{}
	for i, name := range names {
		k := p.get(name)
		if k == nil {
			k = &plain{}
		}
		if k.hash {
			return nil, true
		}
		switch {
		case i == 0 || strings.HasPrefix(how, "sunion"):
			maps.Copy(result, k.elements)
		default:
			inter := strings.HasPrefix(how, "sinter")
			maps.DeleteFunc(result, func(member, _ string) bool {
				_, found := k.elements[member]
				return found != inter
			})
		}
	}
	return result, false
}

func (p *plainElements) store(args []string) string {
	result, wrong := p.combine(args[0], args[2:])
	if wrong {
		return wrongType
	}
	k := &plain{elements: map[string]string{}}
	for member := range result {
		k.add(member, "")
	}
	if args[0] == "sdiffstore" && p.subtracts(args[2:]) {
		for first := p.get(args[2]); !k.converted; {
			k.converted = len(first.elements) > 512 || !allInts(first.elements)
			break
		}
	}
	p.dbs[p.db][args[1]] = k
	p.done(args[1])
	return num(len(result))
}

// subtracts tells whether Redis copies the first set and takes the others out of it.
func (p *plainElements) subtracts(names []string) bool {
	one, two := 0, 0
	for i, name := range names {
		k := p.get(name)
		if k == nil || i > 0 && name == names[0] {
			if i == 0 || k != nil {
				return false
			}
			continue
		}
		one += len(p.get(names[0]).elements)
		two += len(k.elements)
	}
	return one/2 > two
}

func allInts(elements map[string]string) bool {
	for name := range elements {
		if !isInt(name) {
			return false
		}
	}
	return true
}

// runKeys are the commands of all types.
func (p *plainElements) runKeys(args []string, k *plain) string {
	switch args[0] {
	case "object":
		switch k = p.get(args[2]); {
		case k == nil:
			return null
		case k.converted:
			return bulk("hashtable")
		case k.hash:
			return bulk("listpack")
		}
		return bulk("intset")
	case "type":
		switch {
		case k == nil:
			return "+none\r\n"
		case k.hash:
			return "+hash\r\n"
		}
		return "+set\r\n"
	case "del":
		delete(p.dbs[p.db], args[1])
		return truth(k != nil)
	case "rename":
		if k == nil {
			return "-ERR no such key\r\n"
		}
		delete(p.dbs[p.db], args[1])
		p.dbs[p.db][args[2]] = k
		return ok
	case "copy":
		switch {
		case args[1] == args[2]:
			return "-ERR source and destination objects are the same\r\n"
		case k == nil:
			return num(0)
		}
		copied := *k
		copied.elements = maps.Clone(k.elements)
		p.dbs[p.db][args[2]] = &copied
		return num(1)
	case "move":
		db, _ := strconv.Atoi(args[2])
		switch {
		case db == p.db:
			return "-ERR source and destination objects are the same\r\n"
		case k == nil || p.in(db, args[1]) != nil:
			return num(0)
		}
		delete(p.dbs[p.db], args[1])
		p.dbs[db][args[1]] = k
		return num(1)
	case "pexpire":
		if k == nil {
			return num(0)
		}
		ms, _ := strconv.ParseInt(args[2], 10, 64)
		k.expireAt = p.now + ms
		if ms == 0 {
			delete(p.dbs[p.db], args[1])
		}
		return num(1)
	case "persist":
		if k == nil || k.expireAt == 0 {
			return num(0)
		}
		k.expireAt = 0
		return num(1)
	}
	panic("the model does not know " + args[0])
}

// elementDice make the commands of TestElements.
type elementDice struct{ dice }

func (d elementDice) key() string { return d.pick("a", "b", "c", "d", "e", "f") }

// keyFor is mostly one of the type that a command is for.
func (d elementDice) keyFor(hash bool) string {
	if d.IntN(30) == 0 {
		return d.key()
	}
	if hash {
		return d.pick("d", "e", "f")
	}
	return d.pick("a", "b", "c")
}

// element is one of few names, often a number, sometimes long: beyond 1 KiB it lies apart.
func (d elementDice) element() string {
	switch n := d.IntN(12); {
	case n < 5:
		return d.int(40)
	case n < 9:
		return "m" + d.int(40)
	case n == 9:
		return strings.Repeat("x", d.IntN(3))
	case n == 10:
		return strings.Repeat(d.pick("u", "v"), []int{60, 64, 65, 1023, 1024, 1025, 2049, 3000}[d.IntN(8)])
	}
	return d.int(1_000_000)
}

func (d elementDice) value() string {
	switch d.IntN(8) {
	case 0:
		return strings.Repeat(d.pick("y", "z"), []int{0, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 3000, 9000, 17000}[d.IntN(13)])
	case 1:
		return strings.Repeat("w", d.IntN(1500))
	}
	return d.int(1000)
}

func (d elementDice) some(most int, f func() string) (words []string) {
	for range 1 + d.IntN(most) {
		words = append(words, f())
	}
	return words
}

// exact is a command whose reply has one order.
func (d elementDice) exact() []string {
	of := func(words ...string) string { return d.pick(words...) }
	switch n := d.IntN(100); {
	case n < 16:
		return append([]string{"sadd", d.keyFor(false)}, d.some(6, d.element)...)
	case n < 24:
		return append([]string{"srem", d.keyFor(false)}, d.some(6, d.element)...)
	case n < 40:
		args := []string{"hset", d.keyFor(true)}
		for range 1 + d.IntN(4) {
			args = append(args, d.element(), d.value())
		}
		return args
	case n < 48:
		return append([]string{"hdel", d.keyFor(true)}, d.some(6, d.element)...)
	case n < 52:
		return []string{"hsetnx", d.keyFor(true), d.element(), d.value()}
	case n < 56:
		return []string{of("sismember", "hget", "hexists", "hstrlen"), d.key(), d.element()}
	case n < 60:
		return []string{"hget", d.keyFor(true), d.element()}
	case n < 64:
		return append([]string{of("smismember", "hmget"), d.key()}, d.some(6, d.element)...)
	case n < 68:
		return []string{"hincrby", d.keyFor(true), d.int(40), strconv.Itoa(d.IntN(2000) - 1000)}
	case n < 72:
		return []string{"smove", d.keyFor(false), d.keyFor(false), d.element()}
	case n < 77:
		return append([]string{of("sunionstore", "sinterstore", "sdiffstore"), d.keyFor(false)}, d.some(3, func() string { return d.keyFor(false) })...)
	case n < 81:
		return []string{of("scard", "hlen", "type"), d.key()}
	case n < 86:
		return []string{"object", "encoding", d.key()}
	case n < 88:
		return []string{"copy", d.key(), d.key(), "replace"}
	case n < 90:
		return []string{"rename", d.key(), d.key()}
	case n < 92:
		return []string{"move", d.key(), d.int(2)}
	case n < 94:
		return []string{"pexpire", d.key(), d.int(2000)}
	case n < 96:
		return []string{"persist", d.key()}
	case n < 97:
		return []string{"del", d.key()}
	}
	return []string{"hget", d.keyFor(true), d.element()}
}

// TestElements runs random commands of sets and hashes, alone and in MULTI, with flushes, lost caches, restarts and time passing, and compares
// all with plain Go maps. One set and one hash grow to 20,000 elements and become none again.
func TestElements(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d -steps=%d", *seed, modelSteps())
	for name, values := range map[string]types.Options{"small": small, "usual": {}} {
		t.Run(name, func(t *testing.T) { testElements(t, values) })
	}
}

func testElements(t *testing.T, values types.Options) {
	d := elementDice{dice{rand.New(rand.NewPCG(*seed, 7))}}
	h := newHouse(t, Options{Values: values, Databases: 2})
	p := &plainElements{now: h.hands.now(), dbs: [2]map[string]*plain{{}, {}}}
	c := h.client()
	tide := 1
	for i := 0; i < modelSteps()/2 && !t.Failed(); i++ {
		if d.IntN(3) == 0 {
			h.hands.pass(d.IntN(30))
			p.now = h.hands.now()
		}
		switch n := d.IntN(300); {
		case n == 0:
			h.reopen()
		case n < 3:
			h.store.DropCache()
		case n == 3:
			if err := h.store.Flush(); err != nil {
				t.Fatal(err)
			}
		case n == 4:
			h.audit()
			p.compareDigest(t, h)
		case n < 12:
			p.compareMulti(t, i, c, d)
		case n < 30:
			tide = p.grow(t, c, d, tide)
		case n < 110:
			p.compareRandom(t, c, d)
		case n == 110:
			p.db = d.IntN(2)
			c.must(ok, "select", strconv.Itoa(p.db))
		default:
			args := d.exact()
			compare(t, i, args, c.do(args...), p.run(args))
		}
	}
	p.compareDigest(t, h)
	h.sweep()
	h.audit()
	h.check()
}

func (p *plainElements) compareMulti(t *testing.T, i int, c *client, d elementDice) {
	var all []string
	want := ""
	n := d.IntN(8)
	c.must(ok, "multi")
	for range n {
		args := d.exact()
		all = append(append(all, args...), ";")
		c.must("+QUEUED\r\n", args...)
		want += p.run(args)
	}
	compare(t, i, all, c.do("exec"), fmt.Sprintf("*%d\r\n%s", n, want))
}

// grow adds some hundred elements to a set or a hash, or removes them, until there are 20,000 or none.
func (p *plainElements) grow(t *testing.T, c *client, d elementDice, tide int) int {
	const most = 20_000
	args := []string{"sadd", "large"}
	if d.IntN(2) == 0 {
		args = []string{"hset", "largeh"}
	}
	k := p.get(args[1])
	if tide > 0 {
		for range 1 + d.IntN(1200) {
			if args = append(args, d.int(1<<30)); args[0] == "hset" {
				args = append(args, d.int(1<<30))
			}
		}
	} else if k != nil {
		args[0] = map[string]string{"sadd": "srem", "hset": "hdel"}[args[0]]
		gone := slices.Collect(maps.Keys(k.elements))
		slices.Sort(gone)
		d.Shuffle(len(gone), func(i, j int) { gone[i], gone[j] = gone[j], gone[i] })
		args = append(args, gone[:min(len(gone), 1+d.IntN(1200))]...)
	}
	if len(args) > 2 {
		compare(t, 0, args, c.do(args...), p.run(args))
	}
	switch k = p.get(args[1]); {
	case k == nil:
		return 1
	case len(k.elements) >= most:
		return -1
	}
	return tide
}

// compareRandom runs a command whose reply has no order, or is a matter of chance.
func (p *plainElements) compareRandom(t *testing.T, c *client, d elementDice) {
	t.Helper()
	hash := d.IntN(2) == 0
	name := d.keyFor(hash)
	if d.IntN(30) == 0 {
		name = map[bool]string{false: "large", true: "largeh"}[hash]
	}
	k := p.get(name)
	if k == nil || k.hash != hash {
		return
	}
	var args, want []string
	switch names := slices.Sorted(maps.Keys(k.elements)); {
	case !hash && d.IntN(3) == 0:
		args = []string{d.pick("sinter", "sunion", "sdiff"), name, d.keyFor(false), d.keyFor(false)}
		result, wrong := p.combine(args[0], args[1:])
		if wrong {
			compare(t, 0, args, c.do(args...), wrongType)
			return
		}
		want = slices.Sorted(maps.Keys(result))
	case d.IntN(3) == 0:
		p.compareChosen(t, c, d, name, k)
		return
	case d.IntN(2) == 0:
		p.compareScan(t, c, d, name, k)
		return
	case hash && d.IntN(2) == 0:
		args, want = []string{"hvals", name}, slices.Sorted(maps.Values(k.elements))
	default:
		args, want = []string{map[bool]string{false: "smembers", true: "hkeys"}[hash], name}, names
	}
	got := list(t, c.do(args...))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%q: %d elements instead of %d, or others", args, len(got), len(want))
	}
}

// compareChosen draws elements, or pops them.
func (p *plainElements) compareChosen(t *testing.T, c *client, d elementDice, name string, k *plain) {
	n := d.IntN(len(k.elements)+len(k.elements)/4+2) + 1
	if len(k.elements) > 3000 {
		n = d.IntN(1500) + 1
	}
	command, distinct := d.pick("spop", "srandmember"), true
	if k.hash {
		command = "hrandfield"
	}
	count := strconv.Itoa(n)
	if command != "spop" && d.IntN(2) == 0 {
		count, distinct = "-"+count, false
	} else {
		n = min(n, len(k.elements))
	}
	got := list(t, c.do(command, name, count))
	if distinct {
		if slices.Sort(got); len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("%s %s %s shows an element twice", command, name, count)
		}
	}
	if len(got) != n {
		t.Errorf("%s %s %s: %d elements", command, name, count, len(got))
	}
	for _, element := range got {
		if _, found := k.elements[element]; !found {
			t.Errorf("%s %s %s: %.100q is no element", command, name, count, element)
		}
	}
	if command != "spop" {
		return
	}
	for _, member := range got {
		delete(k.elements, member)
	}
	if left := len(k.elements); left > 0 && left <= n/keepShare {
		k.converted = left > 512 || !allInts(k.elements)
	}
	p.done(name)
}

// compareScan shows each element once: nothing changes meanwhile.
func (p *plainElements) compareScan(t *testing.T, c *client, d elementDice, name string, k *plain) {
	command := map[bool]string{false: "sscan", true: "hscan"}[k.hash]
	found := map[string]string{}
	for cursor := "0"; ; {
		var shown []string
		cursor, shown = scanReply(t, c.do(command, name, cursor, "count", strconv.Itoa(1+d.IntN(len(k.elements)+2))))
		for len(shown) > 0 {
			if _, again := found[shown[0]]; again {
				t.Errorf("%s %s shows %.100q twice", command, name, shown[0])
			}
			if !k.hash {
				found[shown[0]], shown = "", shown[1:]
			} else {
				found[shown[0]], shown = shown[1], shown[2:]
			}
		}
		if cursor == "0" {
			break
		}
	}
	if !maps.Equal(found, k.elements) {
		t.Errorf("%s %s: %d elements instead of %d, or others", command, name, len(found), len(k.elements))
	}
}

// compareDigest compares DEBUG DIGEST with Redis' rule.
func (p *plainElements) compareDigest(t *testing.T, h *house) {
	t.Helper()
	var want [sha1.Size]byte
	xor := func(digest *[sha1.Size]byte, b string) {
		for i, c := range sha1.Sum([]byte(b)) {
			digest[i] ^= c
		}
	}
	mix := func(digest *[sha1.Size]byte, b string) {
		xor(digest, b)
		*digest = sha1.Sum(digest[:])
	}
	for db := range p.dbs {
		first := true
		for name := range p.dbs[db] {
			k := p.in(db, name)
			if k == nil {
				continue
			}
			if first {
				mix(&want, string([]byte{0, 0, 0, byte(db)}))
				first = false
			}
			var digest [sha1.Size]byte
			mix(&digest, name)
			mix(&digest, string([]byte{0, 0, 0, byte(2 + 2*oneIf(k.hash))}))
			for element, value := range k.elements {
				if !k.hash {
					xor(&digest, element)
					continue
				}
				var field [sha1.Size]byte
				mix(&field, element)
				mix(&field, value)
				xor(&digest, string(field[:]))
			}
			if k.expireAt != 0 {
				xor(&digest, "!!expire!!")
			}
			xor(&want, string(digest[:]))
		}
	}
	var w resp.Writer
	if got, err := h.set.Digest(&Call{W: &w}); err != nil || got != want {
		t.Errorf("digest %x, want %x: %v", got, want, err)
	}
}
