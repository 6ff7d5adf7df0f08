package commands

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/types"
)

var (
	seed  = flag.Uint64("seed", 0, "seed of the model test; 0: a new one")
	steps = flag.Int("steps", 0, "commands of the model tests; 0: 6,000, or with -short 1,500")
)

func modelSteps() int {
	switch {
	case *steps > 0:
		return *steps
	case testing.Short():
		return 1500
	}
	return 6000
}

// model is Redis as plain Go maps: the truth for TestModel.
type model struct {
	now int64
	dbs [16]map[string]entry
	db  int
}

type entry struct {
	value    string
	expireAt int64 // 0: never
}

func (m *model) get(name string) (entry, bool) { return m.getIn(m.db, name) }

func (m *model) getIn(db int, name string) (entry, bool) {
	e, ok := m.dbs[db][name]
	if ok && e.expireAt != 0 && m.now > e.expireAt {
		delete(m.dbs[db], name)
		return entry{}, false
	}
	return e, ok
}

func (m *model) put(name string, e entry) { m.dbs[m.db][name] = e }

func (m *model) live(db int) (names []string) {
	for name := range m.dbs[db] {
		if _, ok := m.getIn(db, name); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

const (
	ok   = "+OK\r\n"
	null = "$-1\r\n"
)

func num(n int) string { return fmt.Sprintf(":%d\r\n", n) }

func truth(b bool) string {
	if b {
		return ":1\r\n"
	}
	return ":0\r\n"
}

// run is what Redis answers to the commands that TestModel makes.
func (m *model) run(args []string) string {
	name := ""
	if len(args) > 1 {
		name = args[1]
	}
	e, found := m.get(name)
	switch args[0] {
	case "get":
		if !found {
			return null
		}
		return bulk(e.value)
	case "strlen":
		return num(len(e.value))
	case "exists":
		n := 0
		for _, name := range args[1:] {
			if _, found := m.get(name); found {
				n++
			}
		}
		return num(n)
	case "type":
		if found {
			return "+string\r\n"
		}
		return "+none\r\n"
	case "del":
		n := 0
		for _, name := range args[1:] {
			if _, found := m.get(name); found {
				delete(m.dbs[m.db], name)
				n++
			}
		}
		return num(n)
	case "mget":
		reply := fmt.Sprintf("*%d\r\n", len(args)-1)
		for _, name := range args[1:] {
			if e, found := m.get(name); found {
				reply += bulk(e.value)
			} else {
				reply += null
			}
		}
		return reply
	case "mset":
		for i := 1; i < len(args); i += 2 {
			m.put(args[i], entry{value: args[i+1]})
		}
		return ok
	case "set":
		return m.set(args, e, found)
	case "getset":
		m.put(name, entry{value: args[2]})
		if !found {
			return null
		}
		return bulk(e.value)
	case "getdel":
		delete(m.dbs[m.db], name)
		if !found {
			return null
		}
		return bulk(e.value)
	case "incrby":
		n, err := strconv.ParseInt(e.value, 10, 64)
		if found && (err != nil || strconv.FormatInt(n, 10) != e.value) {
			return "-ERR value is not an integer or out of range\r\n"
		}
		by, _ := strconv.ParseInt(args[2], 10, 64)
		m.put(name, entry{strconv.FormatInt(n+by, 10), e.expireAt})
		return num(int(n + by))
	case "append":
		m.put(name, entry{e.value + args[2], e.expireAt})
		return num(len(e.value) + len(args[2]))
	case "setrange":
		return m.setRange(name, args[2], args[3], e, found)
	case "getrange":
		from, _ := strconv.Atoi(args[2])
		to, _ := strconv.Atoi(args[3])
		return bulk(slice(e.value, from, to))
	case "setbit":
		return m.setBit(name, args[2], args[3], e)
	case "getbit":
		bit, _ := strconv.Atoi(args[2])
		if bit/8 >= len(e.value) {
			return num(0)
		}
		return num(int(e.value[bit/8]) >> (7 - bit%8) & 1)
	case "dbsize":
		return num(len(m.live(m.db)))
	case "select":
		m.db, _ = strconv.Atoi(args[1])
		return ok
	case "flushdb":
		m.dbs[m.db] = map[string]entry{}
		return ok
	case "flushall":
		for db := range m.dbs {
			m.dbs[db] = map[string]entry{}
		}
		return ok
	case "swapdb":
		a, _ := strconv.Atoi(args[1])
		b, _ := strconv.Atoi(args[2])
		m.dbs[a], m.dbs[b] = m.dbs[b], m.dbs[a]
		return ok
	}
	return m.runKeys(args, name, e, found)
}

// runKeys are the commands of time and of names.
func (m *model) runKeys(args []string, name string, e entry, found bool) string {
	switch args[0] {
	case "pexpire", "pexpireat":
		at, _ := strconv.ParseInt(args[2], 10, 64)
		if args[0] == "pexpire" {
			at += m.now
		}
		refused := false
		for _, option := range args[3:] {
			refused = refused || option == "nx" && e.expireAt != 0 || option == "xx" && e.expireAt == 0 ||
				option == "gt" && (e.expireAt == 0 || at <= e.expireAt) || option == "lt" && e.expireAt != 0 && at >= e.expireAt
		}
		if !found || refused {
			return num(0)
		}
		if m.put(name, entry{e.value, at}); at <= m.now {
			delete(m.dbs[m.db], name)
		}
		return num(1)
	case "persist":
		if found && e.expireAt != 0 {
			m.put(name, entry{value: e.value})
		}
		return truth(found && e.expireAt != 0)
	case "pttl", "ttl", "pexpiretime":
		switch {
		case !found:
			return num(-2)
		case e.expireAt == 0:
			return num(-1)
		case args[0] == "pexpiretime":
			return num(int(e.expireAt))
		case args[0] == "ttl":
			return num(int(e.expireAt-m.now+500) / 1000)
		}
		return num(int(e.expireAt - m.now))
	case "rename", "renamenx":
		_, taken := m.get(args[2])
		switch {
		case !found:
			return "-ERR no such key\r\n"
		case args[0] == "renamenx" && taken:
			return num(0)
		}
		delete(m.dbs[m.db], name)
		m.put(args[2], e)
		if args[0] == "rename" {
			return ok
		}
		return num(1)
	case "copy", "move":
		to := name
		var db int
		replace := args[0] == "copy" && slices.Contains(args, "replace")
		if args[0] == "copy" {
			to = args[2]
			db, _ = strconv.Atoi(args[4])
		} else {
			db, _ = strconv.Atoi(args[2])
		}
		if db == m.db && to == name {
			return "-ERR source and destination objects are the same\r\n"
		}
		if _, taken := m.getIn(db, to); !found || taken && !replace {
			return num(0)
		}
		if args[0] == "move" {
			delete(m.dbs[m.db], name)
		}
		m.dbs[db][to] = e
		return num(1)
	}
	panic("the model does not know " + args[0])
}

func (m *model) set(args []string, e entry, found bool) string {
	next := entry{value: args[2]}
	get, refused := false, false
	for i := 3; i < len(args); i++ {
		switch args[i] {
		case "get":
			get = true
		case "nx":
			refused = found
		case "xx":
			refused = !found
		case "keepttl":
			next.expireAt = e.expireAt
		case "px":
			i++
			ms, _ := strconv.ParseInt(args[i], 10, 64)
			next.expireAt = m.now + ms
		case "pxat":
			i++
			next.expireAt, _ = strconv.ParseInt(args[i], 10, 64)
		}
	}
	if !refused {
		m.put(args[1], next)
	}
	switch {
	case get && found:
		return bulk(e.value)
	case get || refused:
		return null
	}
	return ok
}

func (m *model) setRange(name, offset, piece string, e entry, found bool) string {
	at, _ := strconv.Atoi(offset)
	if piece == "" {
		return num(len(e.value))
	}
	if short := at + len(piece) - len(e.value); short > 0 {
		e.value += zeros(short)
	}
	e.value = e.value[:at] + piece + e.value[at+len(piece):]
	m.put(name, e)
	return num(len(e.value))
}

func (m *model) setBit(name, offset, bit string, e entry) string {
	at, _ := strconv.Atoi(offset)
	if short := at/8 + 1 - len(e.value); short > 0 {
		e.value += zeros(short)
	}
	b := []byte(e.value)
	old := int(b[at/8]) >> (7 - at%8) & 1
	b[at/8] &^= 1 << (7 - at%8)
	if bit == "1" {
		b[at/8] |= 1 << (7 - at%8)
	}
	m.put(name, entry{string(b), e.expireAt})
	return num(old)
}

func slice(s string, from, to int) string {
	if from < 0 && to < 0 && from > to {
		return ""
	}
	if from < 0 {
		from += len(s)
	}
	if to < 0 {
		to += len(s)
	}
	from, to = max(from, 0), min(max(to, 0), len(s)-1)
	if from > to {
		return ""
	}
	return s[from : to+1]
}

// dice make the commands.
type dice struct{ *rand.Rand }

func (d dice) name() string {
	switch n := d.IntN(30); n {
	case 0:
		return ""
	case 1:
		return strings.Repeat("long name ", 400)
	case 2:
		if d.IntN(8) == 0 {
			return strings.Repeat("very long name ", 2200) // not in its key
		}
		fallthrough
	default:
		return fmt.Sprintf("k%d", n)
	}
}

// value is a number, something short, or something that becomes a blob of one or several chunks.
func (d dice) value() string {
	switch d.IntN(5) {
	case 0:
		return strconv.Itoa(d.IntN(1000))
	case 1:
		return ""
	case 2:
		return strings.Repeat(string(rune('a'+d.IntN(26))), 60+d.IntN(8))
	case 3:
		return strings.Repeat(string(rune('A'+d.IntN(26))), d.IntN(400))
	}
	return string(rune('a' + d.IntN(26)))
}

func (d dice) int(below int) string { return strconv.Itoa(d.IntN(below)) }

func (d dice) pick(words ...string) string { return words[d.IntN(len(words))] }

func (d dice) maybe(words ...string) []string {
	if w := d.pick(append(words, "")...); w != "" {
		return []string{w}
	}
	return nil
}

func (d dice) command(now int64) []string {
	kinds := []func() []string{
		func() []string {
			return []string{d.pick("get", "get", "strlen", "type", "getdel", "ttl", "pttl", "pexpiretime", "persist"), d.name()}
		},
		func() []string { return []string{d.pick("exists", "del", "mget"), d.name(), d.name(), d.name()} },
		func() []string { return []string{"mset", d.name(), d.value(), d.name(), d.value()} },
		func() []string { return []string{d.pick("append", "getset"), d.name(), d.value()} },
		func() []string { return []string{"incrby", d.name(), strconv.Itoa(d.IntN(20) - 10)} },
		func() []string { return []string{"setrange", d.name(), d.int(200), d.value()} },
		func() []string {
			return []string{"getrange", d.name(), strconv.Itoa(d.IntN(300) - 150), strconv.Itoa(d.IntN(300) - 150)}
		},
		func() []string { return []string{"setbit", d.name(), d.int(2000), d.int(2)} },
		func() []string { return []string{"getbit", d.name(), d.int(2000)} },
		func() []string {
			return append([]string{"set", d.name(), d.value()}, d.maybe("nx", "xx", "get", "keepttl")...)
		},
		func() []string {
			return append([]string{"set", d.name(), d.value(), "px", strconv.Itoa(1 + d.IntN(300))}, d.maybe("nx", "xx", "get")...)
		},
		func() []string {
			return []string{"set", d.name(), d.value(), "pxat", strconv.FormatInt(now+int64(d.IntN(200)-100), 10)}
		},
		func() []string {
			return append([]string{"pexpire", d.name(), strconv.Itoa(d.IntN(300) - 20)}, d.maybe("nx", "xx", "gt", "lt")...)
		},
		func() []string {
			return []string{"pexpireat", d.name(), strconv.FormatInt(now+int64(d.IntN(300)-20), 10)}
		},
		func() []string { return []string{d.pick("rename", "renamenx"), d.name(), d.name()} },
		func() []string {
			return append([]string{"copy", d.name(), d.name(), "db", d.int(3)}, d.maybe("replace")...)
		},
		func() []string { return []string{"move", d.name(), d.int(3)} },
		func() []string { return []string{"select", d.int(3)} },
	}
	if d.IntN(60) == 0 {
		return []string{d.pick("flushdb", "flushdb", "flushall")}
	}
	if d.IntN(60) == 0 {
		return []string{"swapdb", d.int(3), d.int(3)}
	}
	return kinds[d.IntN(len(kinds))]()
}

// TestModel runs random commands, alone and in MULTI, against the store and against the model, with time passing, flushes to Badger all
// the while, restarts, and audits of all records.
func TestModel(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d -steps=%d", *seed, modelSteps())
	d := dice{rand.New(rand.NewPCG(*seed, 1))}
	h := newHouse(t, Options{Values: types.Options{ThresholdBytes: 64, ChunkBytes: 48}})
	m := &model{now: h.hands.now()}
	for db := range m.dbs {
		m.dbs[db] = map[string]entry{}
	}
	c := h.client()
	for i := 0; i < modelSteps() && !t.Failed(); i++ {
		if d.IntN(4) == 0 {
			h.hands.pass(d.IntN(40))
			m.now = h.hands.now()
		}
		switch d.IntN(400) {
		case 0:
			h.reopen()
		case 1:
			h.audit()
		case 2:
			h.store.DropCache()
		case 3:
			h.sweep()
			compare(t, i, []string{"dbsize"}, c.do("dbsize"), m.run([]string{"dbsize"}))
		case 4, 5:
			m.compareKeys(t, c, d)
		case 6, 7, 8, 9, 10, 11:
			m.compareMulti(t, i, c, d)
		default:
			args := d.command(m.now)
			got := c.do(args...)
			compare(t, i, args, got, m.run(args))
		}
	}
	h.sweep()
	h.audit()
	h.check()
}

func compare(t *testing.T, i int, args []string, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("command %d, %.200q:\n got  %.400q\n want %.400q", i, args, got, want)
	}
}

func (m *model) compareMulti(t *testing.T, i int, c *client, d dice) {
	want := ""
	n := d.IntN(8)
	all := []string{}
	c.must(ok, "multi")
	for range n {
		args := d.command(m.now)
		all = append(all, args...)
		c.must("+QUEUED\r\n", args...)
		want += m.run(args)
	}
	compare(t, i, all, c.do("exec"), fmt.Sprintf("*%d\r\n%s", n, want))
}

// compareKeys compares KEYS, a whole SCAN and RANDOMKEY with the model, within MULTI and outside.
func (m *model) compareKeys(t *testing.T, c *client, d dice) {
	want := m.live(m.db)
	got := list(t, c.do("keys", "*"))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("KEYS: got %.500q\nwant %.500q", got, want)
	}
	found := map[string]bool{}
	for cursor := "0"; ; {
		var names []string
		cursor, names = scanReply(t, c.do("scan", cursor, "count", strconv.Itoa(1+d.IntN(5))))
		for _, name := range names {
			if found[name] {
				t.Errorf("SCAN shows %.100q twice", name)
			}
			found[name] = true
		}
		if cursor == "0" {
			break
		}
	}
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
		t.Errorf("SCAN: got %.500q\nwant %.500q", got, want)
	}
	switch reply := c.do("randomkey"); {
	case reply == null:
		if len(want) > 0 {
			t.Errorf("RANDOMKEY found none of %.500q", want)
		}
	case !slices.Contains(want, strings.SplitN(reply, "\r\n", 3)[1]):
		t.Errorf("RANDOMKEY: %.500q is not one of %.500q", reply, want)
	}
}

// scanReply takes SCAN's reply apart.
func scanReply(t testing.TB, reply string) (cursor string, names []string) {
	t.Helper()
	head, rest, _ := strings.Cut(strings.TrimPrefix(reply, "*2\r\n"), "\r\n")
	if !strings.HasPrefix(reply, "*2\r\n") || head[0] != '$' {
		t.Fatalf("SCAN replied %q", reply)
	}
	cursor, rest, _ = strings.Cut(rest, "\r\n")
	return cursor, list(t, rest)
}
