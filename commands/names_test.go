package commands

import (
	"fmt"
	"strings"
	"testing"

	"sett/storage"
	"sett/types"
)

// TestLongNames has keys whose names are too long for their meta keys, which must be like any other.
func TestLongNames(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	long := func(n int) string { return strings.Repeat("n", types.MaxNameBytes) + strings.Repeat("m", n) }
	a, b := long(1), long(200_000)
	again := func(f func()) { // from recent writes, from the cache, from Badger alone
		t.Helper()
		f()
		h.reopen()
		f()
		if err := h.store.Flush(); err != nil {
			t.Fatal(err)
		}
		h.store.DropCache()
		f()
		h.audit()
	}
	c.must(ok, "set", a, "1")
	c.must(ok, "set", long(0), "in its key")
	again(func() {
		c.must(bulk("1"), "get", a)
		c.must(null, "get", b)
		c.must("*2\r\n"+bulk("0")+"*1\r\n"+bulk(a), "scan", "0", "count", "100", "match", "*m")
		c.must("*1\r\n"+bulk(a), "keys", "*m")
		if got := len(list(t, c.do("keys", "*"))); got != 2 {
			t.Errorf("KEYS *: %d names", got)
		}
		c.must(":2\r\n", "dbsize")
	})
	c.must(":1\r\n", "del", long(0))
	c.must(bulk(a), "randomkey")

	c.must(ok, "rename", a, b)
	again(func() { c.must(null, "get", a); c.must(bulk("1"), "get", b); c.must("*1\r\n"+bulk(b), "keys", "*") })
	c.must(ok, "rename", b, "short")
	again(func() { c.must("*1\r\n"+bulk("short"), "keys", "*") })
	c.must(":1\r\n", "renamenx", "short", b)
	c.must(":1\r\n", "copy", b, a)
	c.must(":0\r\n", "copy", b, a)
	c.must(":1\r\n", "copy", b, a, "replace")
	c.must(":1\r\n", "move", a, "3")
	c.must(":2\r\n", "incr", b)
	c.must(ok, "set", b, strings.Repeat("v", 100_000)) // a name in a blob, and a value
	c.must(":0\r\n", "setbit", b, "4000", "1")
	again(func() { c.must(":500001\r\n", "bitcount", b) })
	c.must(ok, "select", "3")
	c.must(bulk("1"), "getdel", a)
	c.must(ok, "select", "0")

	c.must(ok, "multi") // SCAN, KEYS and RANDOMKEY of what the batch itself has written
	for _, words := range [][]string{{"del", b}, {"set", a, "x"}, {"keys", "*"}, {"scan", "0"}, {"randomkey"}} {
		c.must("+QUEUED\r\n", words...)
	}
	c.must("*5\r\n:1\r\n+OK\r\n*1\r\n"+bulk(a)+"*2\r\n"+bulk("0")+"*1\r\n"+bulk(a)+bulk(a), "exec")

	c.must(ok, "watch", a)
	h.client().must(ok, "set", a, "y")
	c.must(ok, "multi")
	c.must("+QUEUED\r\n", "get", a)
	c.must("*-1\r\n", "exec")

	c.must(":1\r\n", "pexpire", a, "100")
	again(func() { c.must(bulk("y"), "get", a) })
	h.hands.pass(101)
	c.must("*0\r\n", "keys", "*")
	c.must(":1\r\n", "dbsize")
	h.sweep()
	c.must(":0\r\n", "dbsize")
	c.must(null, "get", a)
	c.must(ok, "set", a, "1", "px", "5")
	h.hands.pass(6)
	c.must(":1\r\n", "dbsize")
	c.must(null, "get", a) // which removes it
	c.must(":0\r\n", "dbsize")
	c.must(ok, "set", a, "1", "px", "5")
	h.hands.pass(6)
	c.must(ok, "set", a, "2") // over one that is past its time
	c.must(bulk("2"), "get", a)
	h.audit()
	h.check()

	tooLong := strings.Repeat("n", types.DefaultMaxName+1)
	c.must(fmt.Sprintf("-ERR key of %d bytes is longer than max_name_bytes (1048576)\r\n", len(tooLong)), "get", tooLong)
	c.must(null, "get", tooLong[1:])
	c.must(ok, "set", tooLong[1:], "v")
	c.must(bulk("v"), "get", tooLong[1:])
}

func TestLostNameIsCorrupt(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	name := strings.Repeat("n", 100_000)
	c.must(ok, "set", name, "v")
	chunk := []byte("b\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01")
	var txn storage.Txn
	if err := h.store.Update(&txn, asked(func() error { txn.Delete(chunk); return nil })); err != nil {
		t.Fatal(err)
	}
	c.must(bulk("v"), "get", name) // needs no more than the name's hash
	for _, words := range [][]string{{"keys", "*"}, {"scan", "0"}, {"randomkey"}} {
		if got := c.do(words...); !strings.HasPrefix(got, "-CORRUPT ") {
			t.Errorf("%q: %.100q", words, got)
		}
	}
	c.must(":1\r\n", "del", name)
	c.must("*0\r\n", "keys", "*")
}
