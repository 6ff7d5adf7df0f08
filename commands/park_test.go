package commands

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// parked is a client that waits, or was served.
type parked struct {
	c      *client
	w      *Waiter
	served bool
}

// park runs a command that must wait.
func (h *house) park(words ...string) *parked {
	h.t.Helper()
	p := &parked{c: h.client()}
	p.c.call.Ready = func() { p.served = true }
	if got := p.c.do(words...); got != "" {
		h.t.Fatalf("%q: %q, and does not wait", words, got)
	}
	p.w = p.c.call.Parked
	return p
}

// must says what the client has got by now; "": nothing.
func (p *parked) must(want string) {
	p.c.h.t.Helper()
	got := ""
	if p.served {
		reply, _ := p.w.Reply()
		got = string(reply)
	}
	if got != want {
		p.c.h.t.Fatalf("the client that waits got %q, want %q", got, want)
	}
}

func pair(key, value string) string { return "*2\r\n" + bulk(key) + bulk(value) }

func TestWaitersAreServedInOrder(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	first, second, third := h.park("blpop", "other", "q", "0"), h.park("brpop", "q", "0"), h.park("blmpop", "0", "1", "q", "left", "count", "2")
	c.must(num(2), "rpush", "q", "1", "2")
	first.must(pair("q", "1"))
	second.must(pair("q", "2"))
	third.must("")
	c.must(num(0), "exists", "q")
	c.must(num(1), "lpush", "other", "x") // the first waits no more
	c.must(num(3), "rpush", "q", "a", "b", "c")
	third.must("*2\r\n" + bulk("q") + "*2\r\n" + bulk("a") + bulk("b"))
	c.must("*1\r\n"+bulk("c"), "lrange", "q", "0", "-1")
	h.audit()
}

func TestWaitersForMembers(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	lowest, highest := h.park("bzpopmin", "other", "z", "0"), h.park("bzpopmax", "z", "0")
	many, last := h.park("bzmpop", "0", "2", "y", "z", "min", "count", "2"), h.park("bzmpop", "0", "1", "z", "max")
	onList := h.park("blpop", "z", "0")
	c.must(num(5), "zadd", "z", "1", "a", "2", "b", "3", "c", "4", "d", "5.5", "e")
	lowest.must("*3\r\n" + bulk("z") + bulk("a") + bulk("1"))
	highest.must("*3\r\n" + bulk("z") + bulk("e") + bulk("5.5"))
	many.must("*2\r\n" + bulk("z") + "*2\r\n" + pair("b", "2") + pair("c", "3"))
	last.must("*2\r\n" + bulk("z") + "*1\r\n" + pair("d", "4"))
	c.must(num(0), "exists", "z")
	onList.must("")
	for _, come := range [][][]string{
		{{"zunionstore", "z", "1", "from"}},
		{{"zrangestore", "z", "from", "0", "-1"}},
		{{"rename", "from", "z"}},
		{{"copy", "from", "z"}},
		{{"geosearchstore", "z", "from", "fromlonlat", "0", "0", "byradius", "1000", "km"}},
		{{"multi"}, {"zadd", "z", "7", "gone"}, {"zincrby", "z", "1", "m"}, {"zrem", "z", "gone"}, {"exec"}},
	} {
		c.do("geoadd", "from", "0", "0", "m")
		p := h.park("bzpopmin", "z", "0")
		for _, words := range come {
			c.do(words...)
		}
		if reply, _ := p.w.Reply(); !p.served || !strings.Contains(string(reply), "*3\r\n"+bulk("z")+bulk("m")) {
			t.Errorf("%q: %q", come, reply)
		}
		c.must(num(0), "exists", "z")
		c.do("del", "from")
	}
	c.do("multi")
	c.do("bzpopmin", "z", "0")
	c.do("bzmpop", "0", "1", "z", "max")
	c.must("*2\r\n*-1\r\n*-1\r\n", "exec")
	onList.must("")
	c.must(num(1), "rpush", "z", "x")
	onList.must(pair("z", "x"))
	h.audit()
}

func TestWaitersForMembersOfOtherProtocol(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	p := &parked{c: h.client()}
	p.c.call.Ready, p.c.w.Proto = func() { p.served = true }, 3
	p.c.do("bzpopmin", "z", "0")
	p.w = p.c.call.Parked
	c.must(num(2), "zadd", "z", "0.5", "a", "inf", "b")
	p.must("*3\r\n" + bulk("z") + bulk("a") + ",0.5\r\n")
	c.w.Proto = 3
	c.must("*3\r\n"+bulk("z")+bulk("b")+",inf\r\n", "bzpopmax", "z", "0")
}

func TestWaitersSeeWholeTransactions(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	p := h.park("blpop", "q", "0")
	for _, words := range [][]string{{"multi"}, {"rpush", "q", "1"}, {"del", "q"}, {"exec"}} {
		c.do(words...)
	}
	p.must("")
	for _, words := range [][]string{{"multi"}, {"rpush", "q", "1", "2"}, {"lpop", "q"}, {"set", "other", "x"}, {"exec"}} {
		c.do(words...)
	}
	p.must(pair("q", "2"))
	c.must("$-1\r\n", "lpop", "q")
	c.do("multi")
	c.do("blpop", "q", "0")
	c.do("blmove", "q", "r", "left", "left", "0")
	c.must("*2\r\n*-1\r\n$-1\r\n", "exec") // nobody waits within one
}

func TestWaitersHandOn(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	last := h.park("blpop", "c", "0")
	second := h.park("blmove", "b", "c", "left", "right", "0")
	first := h.park("brpoplpush", "a", "b", "0")
	watch := h.client()
	watch.do("watch", "c")
	c.must(num(1), "rpush", "a", "x")
	first.must(bulk("x"))
	second.must(bulk("x"))
	last.must(pair("c", "x"))
	c.must(num(0), "exists", "a", "b", "c")
	watch.do("multi")
	watch.do("ping")
	watch.must("*-1\r\n", "exec")
	h.audit()
}

func TestWaitersOfAnotherType(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	p, q := h.park("blpop", "k", "0"), h.park("blmove", "from", "to", "left", "left", "0")
	c.must(ok, "set", "k", "string")
	c.must(ok, "set", "to", "string")
	p.must("")
	c.must(num(1), "del", "k")
	c.must(num(1), "rpush", "k", "x")
	p.must(pair("k", "x"))
	c.must(num(1), "rpush", "from", "x") // where it should go is no list: the client learns of it, and the element stays
	q.must("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n")
	c.must(num(1), "llen", "from")
	c.must("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n", "blpop", "to", "from", "0")
}

func TestWaitersOfKeysThatComeOtherwise(t *testing.T) {
	h := newHouse(t, Options{})
	c, other := h.client(), h.client()
	other.must(ok, "select", "1")
	for _, come := range []func(){
		func() { c.do("rpush", "from", "x"); c.do("rename", "from", "k") },
		func() { c.do("rpush", "from", "x"); c.do("copy", "from", "k"); c.do("del", "from") },
		func() { other.do("rpush", "k", "x"); other.do("move", "k", "0") },
		func() { other.do("rpush", "k", "x"); c.do("swapdb", "0", "1") },
	} {
		p := h.park("blpop", "k", "0")
		come()
		p.must(pair("k", "x"))
		c.must(num(0), "dbsize")
	}
	p := h.park("blpop", "k", "0")
	c.must(ok, "flushdb") // a new keyspace, and the client waits on
	c.must(num(1), "rpush", "k", "x")
	p.must(pair("k", "x"))
}

func TestWaiterLeaves(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	p := h.park("blpop", "k", "k", "1.5")
	if p.w.TimeoutMs != 1500 {
		t.Errorf("waits %d ms", p.w.TimeoutMs)
	}
	if !h.set.Leave(p.w) {
		t.Error("was served by nobody")
	}
	c.must(num(1), "rpush", "k", "x")
	p.must("")
	q := h.park("blpop", "q", "0")
	c.do("rpush", "q", "y")
	if h.set.Leave(q.w) {
		t.Error("has left with its element")
	}
	q.must(pair("q", "y"))
	if n := h.set.parking.count.Load(); n != 0 || len(h.set.parking.byKey) != 0 {
		t.Errorf("%d waiters are filed: %v", n, h.set.parking.byKey)
	}
}

func TestTimeouts(t *testing.T) {
	for arg, want := range map[string]any{
		"0": int64(0), "1": int64(1000), "0.0001": int64(1), "1.0005": int64(1001), "x": ErrTimeout, "-1": ErrTimeoutNegative,
		"1e20": ErrTimeoutNegative, "inf": ErrTimeoutNegative, "nan": ErrTimeout, "": ErrTimeout,
	} {
		ms, err := timeoutArg([]byte(arg))
		if want != any(ms) && want != any(err) {
			t.Errorf("%q: %d, %v", arg, ms, err)
		}
	}
}

// TestWaitersAgainstModel has clients wait, leave and be served at random.
func TestWaitersAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	h := newHouse(t, Options{})
	c := h.client()
	type waiting struct {
		*parked
		keys []string
		left bool
		want string
	}
	lists, queue := map[string][]string{}, []*waiting{}
	keys := []string{"a", "b", "c"}
	serve := func(key string) {
		for i := 0; i < len(queue) && len(lists[key]) > 0; {
			w := queue[i]
			if !slices.Contains(w.keys, key) {
				i++
				continue
			}
			l := lists[key]
			if w.left {
				w.want, lists[key] = pair(key, l[0]), l[1:]
			} else {
				w.want, lists[key] = pair(key, l[len(l)-1]), l[:len(l)-1]
			}
			w.must(w.want)
			queue = slices.Delete(queue, i, i+1)
		}
	}
	push := func(key string, n int) []string {
		words := []string{"rpush", key}
		for range n {
			value := fmt.Sprint(rng.IntN(1000))
			words = append(words, value)
			lists[key] = append(lists[key], value)
		}
		return words
	}
	for range 5000 {
		switch n := rng.IntN(10); {
		case n < 4 && len(queue) < 8:
			w := &waiting{left: rng.IntN(2) == 0}
			for _, i := range rng.Perm(len(keys))[:1+rng.IntN(len(keys))] {
				w.keys = append(w.keys, keys[i])
			}
			if slices.ContainsFunc(w.keys, func(k string) bool { return len(lists[k]) > 0 }) {
				continue
			}
			w.parked = h.park(slices.Concat([]string{map[bool]string{true: "blpop", false: "brpop"}[w.left]}, w.keys, []string{"0"})...)
			queue = append(queue, w)
		case n < 8:
			key := keys[rng.IntN(len(keys))]
			c.do(push(key, 1+rng.IntN(3))...)
			serve(key)
		case n < 9:
			c.do("multi")
			order := rng.Perm(len(keys))[:2]
			for _, i := range order {
				c.do(push(keys[i], 1)...)
			}
			c.do("exec")
			for _, i := range order {
				serve(keys[i])
			}
		case len(queue) > 0 && rng.IntN(2) == 0:
			i := rng.IntN(len(queue))
			if !h.set.Leave(queue[i].w) {
				t.Fatal("served, and nobody knows")
			}
			queue = slices.Delete(queue, i, i+1)
		default:
			key := keys[rng.IntN(len(keys))]
			c.do("del", key)
			lists[key] = nil
		}
		for _, w := range queue {
			w.must("")
		}
	}
	for _, key := range keys {
		c.must(num(len(lists[key])), "llen", key)
	}
	h.audit()
}
