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
		{"hset h f v g w", "h"}, {"lmove a b left right", "a b"}, {"ping", ""}, {"nonsense a b c d", ""}, {"zunion 2 a b", ""}, {"mget a a a b", "a b"},
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
			if i%999 == 0 {
				c.do("flushdb")
			}
		}
	})
	var f Foresight
	for i := range 2000 {
		f.Clear()
		for j := 0; !f.Full(); j++ {
			f.Add(h.set.Table(), i%2, [][]byte{[]byte("get"), fmt.Append(nil, (i*13+j)%900)})
		}
		h.set.Foresee(&f)
	}
	close(stop)
	writers.Wait()
}
