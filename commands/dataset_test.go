package commands

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

func TestDigestIsRedis(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	digest := func() string {
		sum, err := h.set.Digest(&Call{W: &resp.Writer{}})
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(sum[:])
	}
	if got := digest(); got != strings.Repeat("0", 40) {
		t.Errorf("digest of nothing: %s", got)
	}
	for _, words := range [][]string{
		{"set", "a", "1"}, {"set", "b", strings.Repeat("x", 50000)}, {"set", "", "empty name"}, {"set", "t", "ttl", "ex", "1000"},
		{"select", "3"}, {"set", "a", ""}, {"set", "n", "12345"}, {"set", "dead", "1", "pxat", "1"},
	} {
		c.must("+OK\r\n", words...)
	}
	for i := range 300 { // while all of it moves to Badger
		if got, want := digest(), "71da11dea54cd198052eaf395b1a369517da360a"; got != want { // DEBUG DIGEST of 7.0.15
			t.Fatalf("digest %d is %s, want %s", i, got, want)
		}
	}
}

func TestNamesBeyondTheLimitAreRefused(t *testing.T) {
	h := newHouse(t, Options{MaxName: 40_000})
	c := h.client()
	long := strings.Repeat("n", 40_001)
	want := fmt.Sprintf("-ERR key of %d bytes is longer than max_name_bytes (40000)\r\n", len(long))
	for _, words := range [][]string{
		{"get", long}, {"set", long, "1"}, {"mset", "a", "1", long, "2"}, {"del", "a", long}, {"exists", long}, {"rename", "b", long}, {"watch", long},
	} {
		if words[0] == "rename" {
			c.must("+OK\r\n", "set", "b", "1")
		}
		c.must(want, words...)
	}
	c.must(":0\r\n", "exists", "a") // MSET left nothing
	c.must("+OK\r\n", "set", long[1:], "1")
	c.must(":1\r\n", "expire", long[1:], "100")
}

func TestBatchesBeyondTheLimitLeaveNothing(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	var mset, multi []string
	mset = append(mset, "mset")
	for i := range 1200 {
		name := fmt.Sprint("k", i)
		mset = append(mset, name, strings.Repeat("v", 10_000))
		multi = append(multi, name)
	}
	if got := c.do(mset...); !strings.HasPrefix(got, "-ERR the effects of this command exceed batch_max_bytes") {
		t.Fatalf("MSET of 12 MB: %.100q", got)
	}
	c.do("multi")
	for _, name := range multi {
		c.do("set", name, mset[2])
	}
	if got := c.do("exec"); !strings.HasPrefix(got, "-ERR the effects of this command exceed batch_max_bytes") {
		t.Fatalf("EXEC of 12 MB: %.100q", got)
	}
	c.must(":0\r\n", "dbsize")
	c.must("*0\r\n", "keys", "*")
	h.audit()
}

func TestStringsBeyondTheLimitAreRefused(t *testing.T) {
	h := newHouse(t, Options{MaxBulk: 1 << 20})
	c := h.client()
	c.must(":1048576\r\n", "setrange", "a", "1048575", "x")
	tooLong := "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
	c.must(tooLong, "append", "a", "x")
	c.must(tooLong, "setrange", "a", "1048576", "x")
	c.must(":0\r\n", "setbit", "a", "8388607", "1")
	c.must("-ERR bit offset is not an integer or out of range\r\n", "setbit", "a", "8388608", "1")
	h.set.SetMaxBulk(2 << 20)
	c.must(":1048577\r\n", "append", "a", "x")
	h.audit()
}

func TestLostChunkIsCorruptNotEmpty(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.must("+OK\r\n", "set", "a", strings.Repeat("x", 200_000))
	chunk := []byte("b\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02")
	var txn storage.Txn
	if err := h.store.Update(&txn, asked(func() error { txn.Delete(chunk); return nil })); err != nil {
		t.Fatal(err)
	}
	c.must("$3\r\nxxx\r\n", "getrange", "a", "0", "2")
	for _, words := range [][]string{{"get", "a"}, {"setrange", "a", "131500", "x"}, {"getrange", "a", "131000", "132000"}, {"mget", "b", "a"}} {
		if got := c.do(words...); !strings.HasPrefix(got, "-CORRUPT ") {
			t.Errorf("%q on a string that lost a chunk: %.100q", words, got)
		}
	}
}

// scripted is a row that runs others, as scripts will.
func scripted(commands [][]string, replies *resp.Writer, fail error) *Row {
	return &Row{Name: "scripted", Write: func(u *Update) error {
		replies.Reset()
		for _, words := range commands {
			args := make([][]byte, len(words))
			for i, word := range words {
				args[i] = []byte(word)
			}
			if err := u.Call(args, replies); err != nil {
				return err
			}
		}
		u.W.Status("DONE")
		return fail
	}}
}

func TestCallRunsARowInsideAnother(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.must("+OK\r\n", "set", "s", "text")
	h.reopen() // s has to be fetched from Badger or the log's generations: rounds are given up
	h.store.DropCache()
	var replies, w resp.Writer
	row := scripted([][]string{
		{"set", "a", "1"}, {"incr", "a"}, {"incr", "s"}, {"get", "a"}, {"nosuch"}, {"select", "1"}, {"mset", "x"}, {"keys", "a"}, {"dbsize"},
	}, &replies, nil)
	if err := h.set.Do(&Call{Row: row, W: &w}); err != nil {
		t.Fatal(err)
	}
	want := "+OK\r\n:2\r\n-ERR value is not an integer or out of range\r\n$1\r\n2\r\n-ERR unknown command 'nosuch', with args beginning with: \r\n" +
		"-ERR This Redis command is not allowed from script\r\n-ERR wrong number of arguments for 'mset' command\r\n*1\r\n$1\r\na\r\n:2\r\n"
	if got := string(replies.Bytes()); got != want || string(w.Bytes()) != "+DONE\r\n" {
		t.Errorf("replies %q\n   want %q\nand %q", got, want, w.Bytes())
	}
	w.Reset()
	row = scripted([][]string{{"set", "a", "3"}, {"del", "s"}}, &replies, Error("ERR the script failed"))
	if err := h.set.Do(&Call{Row: row, W: &w}); err != nil {
		t.Fatal(err)
	}
	if string(w.Bytes()) != "-ERR the script failed\r\n" {
		t.Errorf("reply %q", w.Bytes())
	}
	h.client().must("*2\r\n$1\r\n2\r\n$4\r\ntext\r\n", "mget", "a", "s")
	h.audit()
}

func TestSeenAndWrote(t *testing.T) {
	h := newFlushingHouse(t, Options{}, time.Hour) // nobody waits for what is in Badger
	c := h.client()
	check := func(wrote, seen bool, words ...string) {
		t.Helper()
		c.do(words...)
		if c.call.Wrote != wrote || c.call.Seen > 0 != seen {
			t.Errorf("%q: wrote %v, want %v; seen %d", words, c.call.Wrote, wrote, c.call.Seen)
		}
	}
	check(false, false, "get", "a")
	check(true, true, "set", "a", "x")
	before := c.call.Seen
	check(false, true, "get", "a")
	if c.call.Seen != before {
		t.Errorf("GET has seen %d, SET was %d", c.call.Seen, before)
	}
	check(false, true, "incr", "a") // an error, but decided on what it saw
	check(false, true, "set", "a", "y", "nx")
	check(true, true, "del", "a")
	check(false, true, "get", "a")  // an absence, seen
	check(false, true, "keys", "*") // what the view saw
	check(false, true, "dbsize")    // a counter
	check(false, true, "randomkey")
	c.do("multi")
	c.do("set", "b", "1")
	check(true, true, "exec")
	c.do("multi")
	c.do("get", "b")
	check(false, true, "exec")
	c.do("set", "b", "1", "pxat", "1")
	check(true, true, "del", "b") // removes what was past its time
}

// TestConcurrentClients has clients increment with INCR, in MULTI and under WATCH, while others read; nothing may be lost and no
// transaction be seen in part.
func TestConcurrentClients(t *testing.T) {
	h := newHouse(t, Options{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	work := func(seed uint64, f func(c *client, d dice) int) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, d := h.client(), dice{rand.New(rand.NewPCG(seed, 3))}
			n := 0
			for range 300 {
				n += f(c, d)
			}
			mu.Lock()
			total += n
			mu.Unlock()
		}()
	}
	for seed := range uint64(2) {
		work(seed, func(c *client, _ dice) int {
			c.do("multi")
			c.do("incr", "n")
			c.do("incr", "m")
			c.do("exec")
			return 1
		})
		work(seed+10, func(c *client, _ dice) int { // a WATCH that fails tries again
			for {
				c.do("watch", "n", "m")
				reply := c.do("get", "n")
				n := 0
				if reply != null {
					fmt.Sscanf(strings.SplitN(reply, "\r\n", 3)[1], "%d", &n)
				}
				c.do("multi")
				c.do("set", "n", fmt.Sprint(n+1))
				c.do("set", "m", fmt.Sprint(n+1))
				if c.do("exec") != "*-1\r\n" {
					return 1
				}
			}
		})
		work(seed+20, func(c *client, d dice) int {
			got := strings.Split(c.do("mget", "n", "m"), "\r\n")
			if len(got) > 5 && got[2] != got[4] {
				t.Errorf("MGET saw half a transaction: %q", got)
			}
			c.do("set", d.name(), d.value(), "px", "50")
			c.do("keys", "*")
			h.hands.pass(1)
			return 0
		})
	}
	wg.Wait()
	h.client().must(bulk(fmt.Sprint(total)), "get", "n")
	h.sweep()
	h.audit()
}

// A change of an element that leaves the meta record as it is touches who watches the key.
func TestElementsTouchWatches(t *testing.T) {
	h := newHouse(t, Options{Values: types.Options{PackedMaxEntries: 4}})
	c, other := h.client(), h.client()
	for i := range 20 {
		c.do("hset", "h", fmt.Sprint(i), "old")
		c.do("rpush", "l", "old")
	}
	for _, change := range [][]string{{"hset", "h", "7", "new"}, {"lset", "l", "7", "new"}} {
		c.must(ok, "watch", change[1])
		other.do(change...)
		c.must(ok, "multi")
		c.must("*-1\r\n", "exec")
	}
	c.must(bulk("new"), "hget", "h", "7")
	c.must(bulk("new"), "lindex", "l", "7")
	h.reopen()
	c.must(bulk("new"), "hget", "h", "7")
	h.audit()
}

func TestTouchAllWatched(t *testing.T) {
	h := newHouse(t, Options{})
	a, b := h.client(), h.client()
	a.do("watch", "x", "y")
	b.do("watch", "y")
	h.set.TouchAllWatched()
	for _, c := range []*client{a, b} {
		if !h.set.WatchDirty(&c.watch) {
			t.Error("a watch is still clean")
		}
		c.do("multi")
		c.must("*-1\r\n", "exec")
	}
	if n := h.set.watches.count.Load(); n != 0 || len(h.set.watches.byKey) != 0 {
		t.Errorf("%d keys are still watched", n)
	}
}
