package commands

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sett/types"
)

// plainLists are plain slices: the truth for TestLists.
type plainLists map[string][]string

func (p plainLists) put(name string, l []string) {
	if p[name] = l; len(l) == 0 {
		delete(p, name)
	}
}

func bulks(items []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(items))
	for _, item := range items {
		b.WriteString(bulk(item))
	}
	return b.String()
}

// bounds is the range of places that two indices mean.
func bounds(length int, start, end string) (from, to int) {
	from, _ = strconv.Atoi(start)
	to, _ = strconv.Atoi(end)
	if from < 0 {
		from = max(0, from+length)
	}
	if to < 0 {
		to += length
	}
	to = max(0, min(to+1, length))
	return min(from, to), to
}

// pop takes elements off an end, in the order in which they come.
func (p plainLists) pop(name string, left bool, n int) (taken []string) {
	l := p[name]
	for range min(n, len(l)) {
		if left {
			taken, l = append(taken, l[0]), l[1:]
		} else {
			taken, l = append(taken, l[len(l)-1]), l[:len(l)-1]
		}
	}
	p.put(name, slices.Clone(l))
	return taken
}

func (p plainLists) push(name string, left bool, values ...string) {
	l := slices.Clone(p[name])
	for _, value := range values {
		if left {
			l = slices.Insert(l, 0, value)
		} else {
			l = append(l, value)
		}
	}
	p.put(name, l)
}

func (p plainLists) run(args []string) string {
	name := args[1]
	l := p[name]
	switch args[0] {
	case "lpush", "rpush", "lpushx", "rpushx":
		if len(args[0]) == 6 && len(l) == 0 {
			return num(0)
		}
		p.push(name, args[0][0] == 'l', args[2:]...)
		return num(len(p[name]))
	case "lpop", "rpop":
		n, _ := strconv.Atoi(args[2])
		if len(l) == 0 {
			return "*-1\r\n"
		}
		return bulks(p.pop(name, args[0] == "lpop", n))
	case "llen":
		return num(len(l))
	case "lindex", "lset":
		i, _ := strconv.Atoi(args[2])
		if i < 0 {
			i += len(l)
		}
		there := i >= 0 && i < len(l)
		switch {
		case args[0] == "lindex" && !there:
			return null
		case args[0] == "lindex":
			return bulk(l[i])
		case len(l) == 0:
			return "-ERR no such key\r\n"
		case !there:
			return "-ERR index out of range\r\n"
		}
		l[i] = args[3]
		return ok
	case "lrange", "ltrim":
		from, to := bounds(len(l), args[2], args[3])
		if args[0] == "lrange" {
			return bulks(l[from:to])
		}
		p.put(name, slices.Clone(l[from:to]))
		return ok
	case "linsert":
		i := slices.Index(l, args[3])
		switch {
		case len(l) == 0:
			return num(0)
		case i < 0:
			return num(-1)
		case args[2] == "after":
			i++
		}
		p.put(name, slices.Insert(slices.Clone(l), i, args[4]))
		return num(len(l) + 1)
	case "lrem":
		return num(p.remove(name, args[2], args[3]))
	case "lpos":
		return p.positions(l, args)
	case "lmove":
		moved := p.pop(name, args[3] == "left", 1)
		if len(moved) == 0 {
			return null
		}
		p.push(args[2], args[4] == "left", moved...)
		return bulk(moved[0])
	case "copy":
		if _, taken := p[args[2]]; taken || len(l) == 0 || name == args[2] {
			if name == args[2] {
				return "-ERR source and destination objects are the same\r\n"
			}
			return num(0)
		}
		p.put(args[2], slices.Clone(l))
		return num(1)
	case "del":
		delete(p, name)
		return truth(len(l) > 0)
	}
	panic(args[0])
}

func (p plainLists) remove(name, count, value string) (removed int) {
	n, _ := strconv.Atoi(count)
	l := slices.Clone(p[name])
	if n < 0 {
		slices.Reverse(l)
	}
	l = slices.DeleteFunc(l, func(item string) bool {
		if item != value || n != 0 && removed == max(n, -n) {
			return false
		}
		removed++
		return true
	})
	if n < 0 {
		slices.Reverse(l)
	}
	p.put(name, l)
	return removed
}

func (p plainLists) positions(l []string, args []string) string {
	rank, _ := strconv.Atoi(args[4])
	count, _ := strconv.Atoi(args[6])
	limit, _ := strconv.Atoi(args[8])
	var found []string
	for i := range l {
		at := i
		if rank < 0 {
			at = len(l) - 1 - i
		}
		if limit > 0 && i >= limit {
			break
		}
		if l[at] == args[2] {
			found = append(found, num(at))
		}
	}
	found = found[min(len(found), max(rank, -rank)-1):]
	if count > 0 {
		found = found[:min(len(found), count)]
	}
	return fmt.Sprintf("*%d\r\n%s", len(found), strings.Join(found, ""))
}

// listDice make commands for few lists; large says how long they and their elements become.
type listDice struct {
	dice
	large bool
}

func (d listDice) key() string { return fmt.Sprintf("l%d", d.IntN(3)) }

func (d listDice) element() string {
	switch d.IntN(12) {
	case 0:
		return ""
	case 1:
		return strings.Repeat(d.pick("x", "y"), d.IntN(60))
	case 2:
		if d.large && d.IntN(4) == 0 {
			return strings.Repeat(d.pick("p", "q"), 1020+d.IntN(8)+d.IntN(2)*d.IntN(20_000))
		}
	}
	return d.pick("a", "b", "c", "d", "e")
}

func (d listDice) elements(below int) (all []string) {
	for range 1 + d.IntN(below) {
		all = append(all, d.element())
	}
	return all
}

func (d listDice) index(length int) string {
	return strconv.Itoa(d.IntN(2*length+4) - length - 2)
}

func (d listDice) command(p plainLists) []string {
	name := d.key()
	length := len(p[name])
	switch d.IntN(16) {
	case 0, 1, 2:
		n := 5
		if d.large {
			n = 1 << d.IntN(9)
		}
		return append([]string{d.pick("lpush", "rpush", "lpush", "rpush", "lpushx", "rpushx"), name}, d.elements(n)...)
	case 3, 4:
		n := 1 + d.IntN(5)
		if d.IntN(10) == 0 {
			n = d.IntN(length + 3)
		}
		return []string{d.pick("lpop", "rpop"), name, strconv.Itoa(n)}
	case 5:
		return []string{"llen", name}
	case 6:
		return []string{"lindex", name, d.index(length)}
	case 7:
		return []string{"lset", name, d.index(length), d.element()}
	case 8, 9:
		return []string{"lrange", name, d.index(length), d.index(length)}
	case 10:
		if d.IntN(4) == 0 {
			return []string{"ltrim", name, d.index(length), d.index(length)}
		}
		return []string{"ltrim", name, d.int(3), strconv.Itoa(-d.IntN(5))}
	case 11:
		return []string{"linsert", name, d.pick("before", "after"), d.element(), d.element()}
	case 12:
		return []string{"lrem", name, strconv.Itoa(d.IntN(9) - 4), d.element()}
	case 13:
		return []string{"lpos", name, d.element(), "rank", d.pick("1", "2", "-1", "-2", "7"), "count", d.int(4), "maxlen", d.int(length + 2)}
	case 14:
		return []string{"lmove", name, d.key(), d.pick("left", "right"), d.pick("left", "right")}
	}
	if d.IntN(8) == 0 {
		return []string{"del", name}
	}
	return []string{"copy", name, d.key()}
}

// TestLists runs random commands against the store and against plain slices, with flushes all the while, restarts and cold caches. Lists
// spread early, so that both forms are met, and the way from one to the other.
func TestLists(t *testing.T) {
	for _, large := range []bool{false, true} {
		t.Run(fmt.Sprintf("large=%v", large), func(t *testing.T) {
			if *seed == 0 {
				*seed = uint64(time.Now().UnixNano())
			}
			t.Logf("-seed=%d", *seed)
			d := listDice{dice{rand.New(rand.NewPCG(*seed, 31))}, large}
			h := newHouse(t, Options{Values: types.Options{PackedMaxEntries: 20, PackedMaxBytes: 200}})
			p := plainLists{}
			c := h.client()
			for i := 0; i < modelSteps() && !t.Failed(); i++ {
				switch d.IntN(300) {
				case 0:
					h.reopen()
				case 1:
					h.audit()
				case 2, 3, 4, 5:
					h.store.DropCache()
				}
				args := d.command(p)
				got := c.do(args...)
				compare(t, i, args, got, p.run(args))
				if i%100 == 0 {
					args := []string{"lrange", d.key(), "0", "-1"}
					compare(t, i, args, c.do(args...), p.run(args))
				}
			}
			h.audit()
			h.check()
		})
	}
}

// A search through a long list that is not in memory, and the change where it ends, read nothing with the lock held, wherever that is.
func TestColdListsAreSearchedWithoutTheLock(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	const length, run = 120_000, 1000
	var want []string
	for i := 0; i < length; i += run {
		args := []string{"rpush", "l"}
		for n := range run {
			value := "element " + strconv.Itoa(i+n)
			if (i+n)%5000 == 4999 {
				value = "again"
			}
			if (i+n)%20_000 == 300 {
				value = strings.Repeat("a", 3000)
			}
			if (i+n)/110%100 == 50 { // most of a leaf
				value = "bunch"
			}
			args = append(args, value)
		}
		want = append(want, args[2:]...)
		c.do(args...)
	}
	p := plainLists{"l": want}
	at := func(i int) string { return "element " + strconv.Itoa(i) }
	lines := [][]string{
		{"linsert", "l", "before", at(60_000), "new"},
		{"linsert", "l", "after", "again", "new"},
		{"linsert", "l", "after", at(119_998), "new"},
		{"linsert", "l", "before", at(0), "new"},
		{"linsert", "l", "after", "none", "new"},
		{"linsert", "l", "before", at(99_000), strings.Repeat("b", 5000)},
		{"lrem", "l", "1", at(70_000)},
		{"lrem", "l", "-1", at(70_001)},
		{"lrem", "l", "-1", at(2)},
		{"lrem", "l", "0", "none"},
		{"lrem", "l", "-3", "again"},
		{"lrem", "l", "2", strings.Repeat("a", 3000)},
		{"lrem", "l", "0", "again"},
		{"lrem", "l", "0", "bunch"},
	}
	for i, args := range lines {
		if err := h.store.Flush(); err != nil {
			t.Fatal(err)
		}
		h.store.DropCache()
		before := h.store.Stats().LockedReads.Load()
		compare(t, i, args, c.do(args...), p.run(args))
		if n := h.store.Stats().LockedReads.Load() - before; n != 0 {
			t.Errorf("%.60q read the disk with the lock held", args)
		}
	}
	c.must(ok, "multi") // which sees what it has done itself
	want = nil
	for _, args := range [][]string{{"linsert", "l", "after", at(80_000), "in multi"}, {"lrem", "l", "-1", "in multi"}, {"lrem", "l", "1", at(80_001)}} {
		c.must("+QUEUED\r\n", args...)
		want = append(want, p.run(args))
	}
	c.must("*3\r\n"+strings.Join(want, ""), "exec")
	compare(t, 0, []string{"the whole list"}, c.do("lrange", "l", "0", "-1"), bulks(p["l"]))
	h.wantNothingStaged()
	h.audit()
	h.check()
}

// TestListsAreSearchedUnderWriters: elements come and go at both ends of a list while it is searched, so that places move.
func TestListsAreSearchedUnderWriters(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	p := plainLists{}
	for i := 0; i < 4000; i += 100 {
		args := []string{"rpush", "l"}
		for n := range 100 {
			args = append(args, "element "+strconv.Itoa(i+n))
		}
		p.run(args)
		c.do(args...)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		w := h.client()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			w.do([]string{"lpush", "rpush"}[i%2], "l", "moves")
			if i%20 == 19 {
				w.do("lrem", "l", "0", "moves")
			}
		}
	}()
	for i := range 200 {
		if i%50 == 0 {
			h.store.DropCache()
		}
		at := "element " + strconv.Itoa(1500+10*i)
		for _, args := range [][]string{{"linsert", "l", "before", at, "new"}, {"lrem", "l", "-1", at}} {
			p.run(args)
			if got := c.do(args...); got[0] != ':' || got == num(-1) || got == num(0) {
				t.Errorf("%q: %s", args, got)
			}
		}
	}
	close(stop)
	<-done
	c.do("lrem", "l", "0", "moves")
	compare(t, 0, []string{"the whole list"}, c.do("lrange", "l", "0", "-1"), bulks(p["l"]))
	h.wantNothingStaged()
	h.audit()
	h.check()
}

// TestListSearchesAreLimited: what a search finds counts for staged_max_bytes.
func TestListSearchesAreLimited(t *testing.T) {
	h := newHouse(t, Options{StagedMax: 8 << 10})
	c := h.client()
	for range 20 {
		c.do(append([]string{"rpush", "l"}, slices.Repeat([]string{"many", "few"}, 50)...)...)
	}
	c.must(num(1000), "lrem", "l", "0", "many")
	for range 20 {
		c.do(append([]string{"rpush", "l"}, slices.Repeat([]string{"many"}, 100)...)...)
	}
	if got := c.do("lrem", "l", "0", "many"); !strings.Contains(got, "staged_max_bytes") {
		t.Errorf("16,000 bytes of places: %q", got)
	}
	c.must(num(900), "lrem", "l", "-900", "many")
	c.must(num(2100), "llen", "l")
	h.wantNothingStaged()
	h.check()
}
