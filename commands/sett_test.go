package commands

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sett/types"
)

// capped is a list and what it keeps.
type capped struct {
	items      []string
	cap        int
	newestLast bool
}

// cappedLists are plain slices with caps: the truth for TestCappedLists.
type cappedLists map[string]*capped

func (p cappedLists) at(name string) *capped {
	if p[name] == nil {
		p[name] = &capped{}
		if strings.HasPrefix(name, "new") {
			p[name].cap = 7
		}
	}
	return p[name]
}

// insert puts items at a place, and drops what exceeds the cap.
func (p cappedLists) insert(name string, at int, items ...string) int {
	l := p.at(name)
	if end := len(l.items); at == end {
		l.newestLast = true
	} else if at == 0 {
		l.newestLast = false
	}
	l.items = slices.Insert(slices.Clone(l.items), at, items...)
	l.trim()
	return len(l.items)
}

func (l *capped) trim() {
	over := len(l.items) - l.cap
	switch {
	case l.cap == 0 || over <= 0:
	case l.newestLast:
		l.items = l.items[over:]
	default:
		l.items = l.items[:l.cap]
	}
}

func (p cappedLists) pushLeft(name string, items ...string) int {
	for _, item := range items {
		p.insert(name, 0, item)
		p[name].newestLast = false
	}
	return len(p[name].items)
}

func (p cappedLists) settle() {
	for name, l := range p {
		if len(l.items) == 0 {
			delete(p, name)
		}
	}
}

// run changes a list and returns what the server answers.
func (p cappedLists) run(d dice, step int) (args []string, want string) {
	name, other := d.capKey(), d.capKey()
	l := p[name]
	items := make([]string, 1+d.IntN(4)*d.IntN(4))
	for i := range items {
		items[i] = fmt.Sprint("v", step, ".", i, strings.Repeat("x", d.IntN(3)*d.IntN(500)))
	}
	switch d.IntN(8) {
	case 0, 1:
		return append([]string{"lpush", name}, items...), num(p.pushLeft(name, items...))
	case 2, 3:
		return append([]string{"rpush", name}, items...), num(p.insert(name, len(p.at(name).items), items...))
	case 4:
		n := d.IntN(12)
		args = []string{"sett", "cap", name, strconv.Itoa(n)}
		if l == nil {
			return args, "-ERR no such key\r\n"
		}
		l.cap = n
		l.trim()
		return args, ok
	}
	if l == nil {
		return []string{"sett", "info", name}, "-ERR no such key\r\n"
	}
	switch d.IntN(5) {
	case 0:
		p[other] = &capped{slices.Clone(l.items), l.cap, l.newestLast}
		if name == other {
			return []string{"ping"}, "+PONG\r\n"
		}
		return []string{"copy", name, other, "replace"}, num(1)
	case 1:
		delete(p, name)
		p[other] = l
		return []string{"rename", name, other}, ok
	case 2:
		i := d.IntN(len(l.items))
		args = []string{"linsert", name, "after", l.items[i], items[0]}
		i = slices.Index(l.items, l.items[i])
		return args, num(p.insert(name, i+1, items[0]))
	case 3:
		value := l.items[0]
		l.items = l.items[1:]
		if name != other {
			p.settle()
		}
		p.insert(other, len(p.at(other).items), value)
		return []string{"lmove", name, other, "left", "right"}, bulk(value)
	}
	i := d.IntN(len(l.items))
	l.items = slices.Clone(l.items[i:])
	return []string{"ltrim", name, strconv.Itoa(i), "-1"}, ok
}

func (d dice) capKey() string { return []string{"a", "b", "c", "new1", "new2"}[d.IntN(5)] }

// TestCappedLists runs random commands on lists with caps and on plain slices.
func TestCappedLists(t *testing.T) {
	d := seeded(t, 91)
	h := newHouse(t, Options{Values: types.Options{PackedMaxEntries: 4, PackedMaxBytes: 100}})
	c := h.client()
	c.must(ok, "sett", "cap", "match", "new*", "7")
	c.must(ok, "sett", "cap", "match", "n*", "3")
	p := cappedLists{}
	for step := range 3000 {
		args, want := p.run(d, step)
		p.settle()
		if got := c.do(args...); got != want && args[0] != "ping" {
			t.Fatalf("step %d: %.200q\n got %.400q\nwant %.400q", step, args, got, want)
		}
		switch name := d.capKey(); d.IntN(100) {
		case 0:
			h.reopen()
			c = h.client()
		case 1, 2:
			h.store.DropCache()
		default:
			var items []string
			if p[name] != nil {
				items = p[name].items
			}
			if got := list(t, c.do("lrange", name, "0", "-1")); !slices.Equal(got, items) {
				t.Fatalf("step %d: %.200q: %s has %q, want %q", step, args, name, got, items)
			}
		}
	}
	h.audit()
	h.check()
}

// TestCappedSortedSets adds members to sorted sets with caps and to plain maps.
func TestCappedSortedSets(t *testing.T) {
	d := sortedDice{elementDice{seeded(t, 92)}, plainScores{}}
	h := newHouse(t, Options{Values: types.Options{PackedMaxEntries: 4, PackedMaxBytes: 100}})
	c := h.client()
	const limit = 20
	c.must(ok, "sett", "cap", "match", "*", strconv.Itoa(limit))
	drop := func(key string) {
		if rows := d.rows(key); len(rows) > limit {
			d.drop(key, rows[:len(rows)-limit])
		}
	}
	for step := range 800 {
		key := []string{"a", "b"}[d.IntN(2)]
		args := []string{"zadd", key}
		for range 1 + d.IntN(12)*d.IntN(12) {
			member, score := "m"+strconv.Itoa(d.IntN(400)), d.score()
			d.put(key, member, score)
			args = append(args, printed(score), member)
		}
		drop(key)
		c.do(args...)
		switch d.IntN(40) {
		case 0:
			h.reopen()
			c = h.client()
		case 1:
			h.store.DropCache()
		case 2:
			c.do("zunionstore", "both", "2", "a", "b", "aggregate", "max")
			d.plainScores["both"] = map[string]float64{}
			for _, from := range []string{"a", "b"} {
				for member, score := range d.plainScores[from] {
					if old, exists := d.plainScores["both"][member]; !exists || score > old {
						d.put("both", member, score)
					}
				}
			}
			drop("both")
			key = "both"
		}
		c.must(replyRows(d.rows(key), false), "zrange", key, "0", "-1")
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
	}
	h.audit()
	h.check()
}

func TestSettCap(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.must("-ERR no such key\r\n", "sett", "cap", "a", "3")
	c.must("-"+string(ErrCap)+"\r\n", "sett", "cap", "a", "-1")
	c.must("-"+string(ErrCap)+"\r\n", "sett", "cap", "match", "a*", "many")
	c.must("-ERR syntax error\r\n", "sett", "cap", "a")
	c.must("*0\r\n", "sett", "cap", "match")
	c.must(num(1), "sadd", "s", "m")
	c.must("-"+string(ErrWrongType)+"\r\n", "sett", "cap", "s", "3")

	c.must(num(5), "rpush", "match", "1", "2", "3", "4", "5")
	c.must(ok, "sett", "cap", "match", "3")
	c.must(bulks([]string{"3", "4", "5"}), "lrange", "match", "0", "-1")
	c.must(num(3), "lpush", "match", "2")
	c.must(bulks([]string{"2", "3", "4"}), "lrange", "match", "0", "-1")
	c.must(ok, "sett", "cap", "match", "0")
	c.must(num(4), "lpush", "match", "1")

	for _, p := range [][2]string{{"h*", "2"}, {"hi*", "9"}, {"z*", "2"}, {"gone*", "2"}} {
		c.must(ok, "sett", "cap", "match", p[0], p[1])
	}
	c.must(ok, "sett", "cap", "match", "h*", "3")
	c.must(ok, "sett", "cap", "match", "gone*", "0")
	c.must("*6\r\n"+bulk("h*")+num(3)+bulk("hi*")+num(9)+bulk("z*")+num(2), "sett", "cap", "match")
	h.reopen()
	c = h.client()
	c.must(num(3), "rpush", "hit", "1", "2", "3", "4")
	c.must(num(3), "zadd", "z", "1", "a", "2", "b", "3", "c")
	c.must(bulks([]string{"b", "c"}), "zrange", "z", "0", "-1")
	c.must(num(1), "zadd", "z", "0", "low") // it was added, and dropped
	c.must(num(2), "zcard", "z")
	c.must(num(2), "zunionstore", "zz", "1", "z")
	c.must(ok, "sett", "cap", "zz", "1")
	c.must(num(1), "zunionstore", "zz", "1", "z") // the cap is the key's
	c.must(num(2), "rpush", "sorted", "1", "2")
	c.must(ok, "sett", "cap", "sorted", "2")
	c.must(num(2), "sort", "hit", "desc", "store", "sorted")
	c.must(bulks([]string{"3", "2"}), "lrange", "sorted", "0", "-1")
	c.must(ok, "flushall")
	c.must("*6\r\n"+bulk("h*")+num(3)+bulk("hi*")+num(9)+bulk("z*")+num(2), "sett", "cap", "match")
	if got := c.do("sett", "cap", "match", strings.Repeat("x", 17<<10), "1"); got != "-"+string(ErrCapPatterns(16<<10))+"\r\n" {
		t.Errorf("too long a pattern: %q", got)
	}
}

// TestCapOfTooMuch: a push that no batch holds is refused as such, though what the cap would drop is not there to be read.
func TestCapOfTooMuch(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	push := []string{"rpush", "l"}
	for n := int64(0); n < h.store.Budget().BatchMax; n += 64 << 10 {
		push = append(push, strings.Repeat("v", 64<<10))
	}
	c.must(num(20), push[:22]...)
	c.must(ok, "sett", "cap", "l", "10")
	if got := c.do(push...); !strings.HasPrefix(got, "-ERR the effects of this command exceed batch_max_bytes") {
		t.Errorf("the push: %q", got)
	}
	c.must(num(10), "llen", "l")
}

func TestSettInfo(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	info := func(name string) string {
		var shown []string
		for _, line := range strings.Fields(c.do("sett", "info", name)) {
			if line[0] != '$' && line[0] != '*' {
				shown = append(shown, strings.TrimPrefix(line, ":"))
			}
		}
		return strings.Join(shown, " ")
	}
	c.must(ok, "set", "s", "value", "px", "5000")
	if got, want := info("s"), "type string representation inline bytes 5 memory "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " ttl 5000") {
		t.Errorf("a string: %q", got)
	}
	c.must(num(3), "rpush", "l", "a", "b", "c")
	c.must(ok, "sett", "cap", "l", "10")
	if got, want := info("l"), "type list representation packed elements 3 bytes 6 memory "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " cap 10 ttl -1") {
		t.Errorf("a list: %q", got)
	}
	args := []string{"zadd", "z"}
	for n := range 5000 {
		args = append(args, strconv.Itoa(n), fmt.Sprint("member", n))
	}
	c.must(num(5000), args...)
	got := info("z")
	if want := "type zset representation spread elements 5000 bytes "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " depth 3 cap 0 ttl -1") {
		t.Errorf("a sorted set: %q", got)
	}
	if memory := c.do("memory", "usage", "z"); !strings.Contains(got, "memory "+strings.Trim(memory, ":\r\n")+" buckets ") {
		t.Errorf("a sorted set of %q: %q", memory, got)
	}
}
