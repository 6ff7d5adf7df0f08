package commands

import (
	"fmt"
	"strings"
	"testing"
)

// TestIdleTime: what counts as a use of a key is what does in Redis.
func TestIdleTime(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	idle := func(want int, name string) {
		t.Helper()
		c.must(num(want), "object", "idletime", name)
	}
	c.must(ok, "mset", "a", "xa", "b", "xb", "n", "1")
	h.hands.pass(10_000)
	idle(10, "a")
	for _, words := range [][]string{
		{"exists", "a"}, {"type", "a"}, {"ttl", "a"}, {"pttl", "a"}, {"expiretime", "a"}, {"object", "encoding", "a"}, {"object", "idletime", "a"},
		{"keys", "*"}, {"scan", "0"}, {"randomkey"}, {"dbsize"}, {"watch", "a"},
	} {
		c.do(words...)
		idle(10, "a")
	}
	c.must(num(1), "touch", "a")
	for _, words := range [][]string{
		{"get", "a"}, {"strlen", "a"}, {"getrange", "a", "0", "1"}, {"mget", "n", "a"}, {"touch", "a"}, {"getbit", "a", "1"}, {"bitcount", "a"},
		{"lcs", "a", "b"}, {"append", "a", "x"}, {"set", "a", "new"}, {"setnx", "a", "other"}, {"expire", "a", "1000"}, {"persist", "a"},
		{"bitop", "not", "d", "a"}, {"bitfield", "a", "get", "u8", "0"}, {"bitfield_ro", "a", "get", "u8", "0"}, {"copy", "a", "e"},
	} {
		h.hands.pass(5000)
		idle(5, "a")
		c.do(words...)
		idle(0, "a")
	}
	c.must(ok, "set", "a", "x")
	h.hands.pass(3000)
	c.call.NoTouch = true // CLIENT NO-TOUCH
	c.must(bulk("x"), "get", "a")
	c.must(num(2), "append", "a", "y")
	idle(3, "a")
	c.must(num(1), "touch", "a")
	idle(0, "a")
	c.call.NoTouch = false

	// A key keeps it under another name.
	h.hands.pass(8000)
	c.must(ok, "rename", "b", "b2") // which is a use
	idle(0, "b2")
	h.hands.pass(2000)
	c.must(num(1), "move", "b2", "3")
	c.must(ok, "select", "3")
	idle(0, "b2")
	c.must(null, "object", "idletime", "nokey")

	// After a restart all keys count as used at its beginning.
	h.hands.pass(100_000)
	h.reopen()
	c = h.client()
	h.hands.pass(4000)
	c.must(num(4), "object", "idletime", "n")
}

func TestFrequency(t *testing.T) {
	h := newHouse(t, Options{Seed: 1})
	c := h.client()
	c.must(ok, "set", "a", "x")
	c.must("-"+string(ErrNoFrequency)+"\r\n", "object", "freq", "a")
	h.set.SetPolicy("allkeys-lfu")
	c.must("-"+string(ErrNoIdleTime)+"\r\n", "object", "idletime", "a")
	c.must(null, "object", "freq", "nokey")
	c.must(num(5), "object", "freq", "a")
	use := func(n int) {
		for range n {
			c.do("get", "a")
		}
	}
	frequency := func() (n int) {
		fmt.Sscanf(c.do("object", "freq", "a"), ":%d", &n)
		return n
	}
	h.set.SetLFULogFactor(0) // each use counts
	use(10)
	c.must(num(15), "object", "freq", "a")
	c.must(ok, "set", "a", "y")
	c.must(num(16), "object", "freq", "a")
	use(300)
	c.must(num(255), "object", "freq", "a")
	c.must(num(1), "del", "a")
	c.must(ok, "set", "a", "y")
	c.must(num(5), "object", "freq", "a")
	h.set.SetLFULogFactor(10) // 100 uses raise it by about five, 10,000 by about forty
	use(10_000)
	few := frequency()
	if few < 20 || few > 90 {
		t.Errorf("after 10,000 uses the counter is %d", few)
	}
	h.hands.pass(3 * 60_000)
	c.must(num(few-3), "object", "freq", "a")
	h.set.SetLFUDecayTime(0)
	c.must(num(few), "object", "freq", "a")
	h.set.SetLFUDecayTime(1)
	h.hands.pass(1000 * 60_000)
	c.must(num(0), "object", "freq", "a")
}

// TestQuietEffects: Redis makes a string raw when it is about to change it in place, but nobody who watches it is told.
func TestQuietEffects(t *testing.T) {
	h := newHouse(t, Options{})
	c, other := h.client(), h.client()
	for _, quiet := range []string{"setbit a 2 1", "bitfield a set u8 0 49", "pfadd h", "pfcount h"} {
		c.must(ok, "set", "a", "12")
		c.must(ok, "set", "h", "HYLL\x01\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x7f\xff") // with a valid count
		c.must(ok, "watch", "a", "h")
		other.do(strings.Fields(quiet)...)
		name := strings.Fields(quiet)[1]
		other.must(bulk("raw"), "object", "encoding", name)
		h.store.DropCache()
		other.must(bulk("raw"), "object", "encoding", name)
		c.must(ok, "multi")
		c.must("*0\r\n", "exec")
	}
	// In a transaction, what else it does to the key counts; and a step that failed has left nothing that hides it.
	c.must(ok, "set", "a", "12")
	c.must(ok, "watch", "a")
	other.must(ok, "multi")
	other.do("setbit", "a", "2", "1")
	other.do("append", "a", "3")
	other.must("*2\r\n:1\r\n:3\r\n", "exec")
	c.must(ok, "multi")
	c.must("*-1\r\n", "exec")
	h.audit()
}

// TestEncodingsOutliveARestart: what the bytes do not tell is in the store.
func TestEncodingsOutliveARestart(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.must(ok, "mset", "int", "5", "raw", "1", "copied", "7")
	c.must(num(2), "append", "raw", "2")
	c.must(bulk("3"), "incrbyfloat", "embstr", "3")
	c.must(num(1), "copy", "copied", "private")
	for range 2 {
		for name, want := range map[string]string{"int": "int", "raw": "raw", "embstr": "embstr", "private": "int"} {
			c.must(bulk(want), "object", "encoding", name)
		}
		c.must(num(1), "object", "refcount", "private")
		c.must(num(sharedRefCount), "object", "refcount", "copied")
		if err := h.store.Flush(); err != nil {
			t.Fatal(err)
		}
		h.reopen()
		c = h.client()
	}
	c.must(num(1), "expire", "raw", "100")
	c.must(bulk("raw"), "object", "encoding", "raw")
	c.must(ok, "set", "raw", "12")
	c.must(bulk("int"), "object", "encoding", "raw")
}

// BenchmarkTouch is what the table adds to a GET.
func BenchmarkTouch(b *testing.B) {
	h := newHouse(b, Options{})
	q := &Query{set: h.set, Now: h.hands.now()}
	keys := make([][]byte, 1024)
	for i := range keys {
		keys[i] = h.set.keys.AppendMeta(nil, 1, fmt.Append(nil, "key:", i))
	}
	for _, counts := range []bool{false, true} {
		b.Run(map[bool]string{false: "lru", true: "lfu"}[counts], func(b *testing.B) {
			h.set.access.setCounts(counts)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				h.set.access.touch(keys[i%len(keys)], q)
			}
		})
	}
}
