package commands

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestForesight(t *testing.T) {
	t.Parallel()
	table := NewTable()
	for _, c := range []struct{ command, names string }{
		{"get a", "a"}, {"set a 1", "a"}, {"set a 1 ex 10", "a"}, {"mset a 1 b 2 c 3", "a b c"}, {"mget a b c d", "a b c d"}, {"hset h f v", "h"},
		{"hset h f v g w", "h"}, {"lmove a b left right", "a b"}, {"ping", ""}, {"nonsense a b c d", ""}, {"zunion 2 a b", "a b"}, {"zunion 3 a b", ""}, {"mget a a a b", "a b"},
		{"sort a by b", "a"}, {"object encoding a", "encoding"},
	} {
		var f Foresight
		var args [][]byte
		for _, word := range strings.Fields(c.command) {
			args = append(args, []byte(word))
		}
		f.Add(table, 0, args)
		var names []string
		for _, n := range f.names {
			names = append(names, string(n.name))
		}
		if got := strings.Join(names, " "); got != c.names {
			t.Errorf("%s: foresees %q, not %q", c.command, got, c.names)
		}
	}
}

// Of commands in a row on the same key, their elements are foreseen.
func TestForesightOfElements(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	for i := range 1000 {
		n := fmt.Sprint(i)
		h.client().do("hset", "hash", "f"+n, n)
		h.client().do("sadd", "set", "m"+n)
		h.client().do("zadd", "zset", n, "m"+n)
	}
	h.client().do("sadd", "small", "m1")
	h.client().do("set", "string", "v")
	for _, c := range []struct {
		commands string
		hashes   int // the key's, and one for each element of the commands behind the first
	}{
		{"hget hash f1, hget hash f2, hset hash f3 v", 3}, {"sadd set m1, sadd set m2, sismember set m3", 3},
		{"zadd zset 1 m1, zadd zset 2 m2, zscore zset m3", 3}, {"sadd small m1, sadd small m2", 1}, {"set string a, set string b", 1},
		{"hget nobody f1, hget nobody f2", 1}, {"hget hash f1, sadd set m1, sadd set m2", 3}, {"incr n, incr n, incr n", 1},
	} {
		var f Foresight
		for command := range strings.SplitSeq(c.commands, ", ") {
			var args [][]byte
			for _, word := range strings.Fields(command) {
				args = append(args, []byte(word))
			}
			f.Add(h.set.Table(), 0, args)
		}
		for len(f.names) < foreseeLeast {
			f.names = append(f.names, foreseen{name: fmt.Append(nil, len(f.names))})
			c.hashes++
		}
		if h.set.Foresee(&f); len(f.hashes) != c.hashes {
			t.Errorf("%s: %d records are foreseen, not %d", c.commands, len(f.hashes), c.hashes)
		}
	}
}

// TestForeseeBeside foresees what others write, flush and delete meanwhile. It is for the race detector.
func TestForeseeBeside(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Options{})
	var writers sync.WaitGroup
	stop := make(chan struct{})
	writers.Go(func() {
		c := h.client()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			c.do("set", fmt.Sprint(i%700), strings.Repeat("v", i%300))
			if i%3 == 0 {
				c.do("del", fmt.Sprint(i%500))
			}
			c.do("hset", "hash", fmt.Sprint(i%3000), "v")
			if i%999 == 0 {
				c.do("flushdb")
			}
		}
	})
	var f Foresight
	for i := range 2000 {
		f.Clear()
		for j := 0; !f.Full(); j++ {
			if j%16 < 8 {
				f.Add(h.set.Table(), 0, [][]byte{[]byte("hget"), []byte("hash"), fmt.Append(nil, i+j)})
				continue
			}
			f.Add(h.set.Table(), i%2, [][]byte{[]byte("get"), fmt.Append(nil, (i*13+j)%900)})
		}
		h.set.Foresee(&f)
	}
	close(stop)
	writers.Wait()
}
