//go:build !race

package commands

import (
	"strconv"
	"testing"

	"sett/resp"
)

// TestAllocations holds the hot commands on resident keys to no allocation between the call and the reply.
func TestAllocations(t *testing.T) {
	h := newHouse(t, Options{})
	for i := range 1000 {
		n := strconv.Itoa(i)
		h.client().do("hset", "spread", n, n)
		h.client().do("sadd", "sset", "m"+n)
		h.client().do("zadd", "zspread", n, "m"+n)
	}
	for _, words := range [][]string{
		{"set", "key", "value"}, {"get", "key"}, {"get", "nokey"}, {"incr", "n"}, {"exists", "key"}, {"strlen", "key"},
		{"set", "key", "value", "px", "100000"}, {"pttl", "key"}, {"append", "piece", ""}, {"mget", "key", "n"}, {"mset", "a", "1", "b", "2"},
		{"del", "nokey"}, {"setbit", "bits", "3", "1"},
		{"hset", "hash", "field", "value"}, {"hget", "hash", "field"}, {"sadd", "set", "member"}, {"sismember", "set", "member"},
		{"hset", "spread", "field", "value"}, {"hget", "spread", "field"}, {"hincrby", "spread", "n", "1"}, {"sadd", "sset", "member"},
		{"sismember", "sset", "member"},
		{"zadd", "zset", "1", "member"}, {"zincrby", "zset", "1", "member"}, {"zscore", "zset", "member"}, {"zrank", "zset", "member"}, {"zcard", "zset"},
		{"zcount", "zset", "0", "5"}, {"zrange", "zset", "0", "10", "withscores"}, {"zrangebyscore", "zset", "0", "5"}, {"zrem", "zset", "nobody"},
		{"zadd", "zspread", "1", "m1"}, {"zrank", "zspread", "m700"}, {"zrange", "zspread", "-20", "-1", "rev"},
		{"zcount", "zspread", "10", "700"},
		{"lpush", "list", "element"}, {"llen", "list"}, {"lindex", "list", "100"}, {"lrange", "list", "100", "199"}, {"lmove", "list", "list", "left", "right"},
		{"rpop", "list"}, {"rpoplpush", "list", "list"},
	} {
		var w resp.Writer
		c := Call{W: &w}
		for _, word := range words {
			c.Args = append(c.Args, []byte(word))
		}
		run := func() {
			w.Reset()
			c.Row = h.set.Table().Lookup(c.Args[0])
			if err := h.set.Do(&c); err != nil {
				t.Fatal(err)
			}
		}
		for range 1000 {
			run()
		}
		n := testing.AllocsPerRun(2000, run)
		for range 4 { // the flusher's allocations count as well, when it runs just then
			n = min(n, testing.AllocsPerRun(500, run))
		}
		if n > 0.5 {
			t.Errorf("%q: %.2f allocations", words, n)
		}
	}
}

func benchmark(b *testing.B, words ...string) {
	h := newHouse(b, Options{})
	h.close()
	h.open()
	var w resp.Writer
	c := Call{W: &w}
	for _, word := range words {
		c.Args = append(c.Args, []byte(word))
	}
	b.ReportAllocs()
	for b.Loop() {
		w.Reset()
		c.Row = h.set.Table().Lookup(c.Args[0])
		if err := h.set.Do(&c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B)  { benchmark(b, "get", "key:000000012345") }
func BenchmarkSet(b *testing.B)  { benchmark(b, "set", "key:000000012345", "xxx") }
func BenchmarkIncr(b *testing.B) { benchmark(b, "incr", "counter:000000012345") }

// BenchmarkZSet is a new member in a large sorted set, one that comes again, and the lowest one off it.
func BenchmarkZSet(b *testing.B) {
	h := newHouse(b, Options{})
	c := h.client()
	n := 0
	member := func(args [][]byte) [][]byte {
		n++
		return append(args, []byte(strconv.Itoa(n*7919%1_000_003)), []byte("element:"+strconv.Itoa(n*104_729%10_000_019)))
	}
	for range 200 {
		args := [][]byte{[]byte("zadd"), []byte("zset")}
		for range 500 {
			args = member(args)
		}
		c.doArgs(args)
	}
	for name, args := range map[string]func() [][]byte{
		"zadd": func() [][]byte { return member([][]byte{[]byte("zadd"), []byte("zset")}) },
		"zincrby": func() [][]byte {
			return [][]byte{[]byte("zincrby"), []byte("zset"), []byte("1000"), []byte("element:" + strconv.Itoa(104_729*77))}
		},
		"zpopmin": func() [][]byte { return [][]byte{[]byte("zpopmin"), []byte("zset")} },
	} {
		b.Run(name, func(b *testing.B) {
			var w resp.Writer
			call := Call{W: &w, Row: h.set.Table().Lookup([]byte(name))}
			b.ReportAllocs()
			for b.Loop() {
				w.Reset()
				call.Args = args()
				if err := h.set.Do(&call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkQueue is one element onto a long list and one off its other end.
func BenchmarkQueue(b *testing.B) {
	h := newHouse(b, Options{})
	c := h.client()
	args := [][]byte{[]byte("lpush"), []byte("list")}
	for range 100 {
		args = append(args, []byte("xxx"))
	}
	for range 5000 {
		c.doArgs(args)
	}
	for _, name := range []string{"lpush", "rpop", "lrange"} {
		b.Run(name, func(b *testing.B) {
			var w resp.Writer
			call := Call{W: &w, Row: h.set.Table().Lookup([]byte(name))}
			call.Args = [][]byte{[]byte(name), []byte("list")}
			switch name {
			case "lpush":
				call.Args = append(call.Args, []byte("xxx"))
			case "lrange":
				call.Args = append(call.Args, []byte("0"), []byte("99"))
			}
			b.ReportAllocs()
			for b.Loop() {
				w.Reset()
				if err := h.set.Do(&call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
