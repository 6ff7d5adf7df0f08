package commands

import (
	"fmt"
	"testing"
	"time"
)

// TestPopsReadAhead: a list that lies in Badger is taken off at either end, and hardly a pop waits for it.
func TestPopsReadAhead(t *testing.T) {
	const elements = 3000 // of 200 bytes: 300 leaves
	for _, end := range []string{"lpop", "rpop", "lmove"} {
		t.Run(end, func(t *testing.T) {
			h := newHouse(t, Options{})
			c := h.client()
			value := func(i int) string { return fmt.Sprintf("%0200d", i) }
			for i := range elements {
				c.do("rpush", "q", value(i))
			}
			if err := h.store.Flush(); err != nil {
				t.Fatal(err)
			}
			h.store.DropCache()
			stats := h.store.Stats()
			pop := func(i int) {
				t.Helper()
				switch end {
				case "lpop":
					c.must(bulk(value(i)), "lpop", "q")
				case "rpop":
					c.must(bulk(value(elements-1-i)), "rpop", "q")
				case "lmove":
					c.must(bulk(value(i)), "lmove", "q", "other", "left", "right")
				}
			}
			first := 0
			for deadline := time.Now().Add(10 * time.Second); stats.Fetched.Load() < 64 || h.store.ReadingAhead(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("nothing was read ahead")
				}
				if first < 100 { // the nodes above the leaves come first
					pop(first)
					first++
				}
			}
			before := stats.Reruns.Load()
			for i := range 500 { // 50 leaves
				pop(first + i)
			}
			if reruns := stats.Reruns.Load() - before; reruns > 15 { // what was being read when a generation was retired is not kept
				t.Errorf("%d rounds were given up", reruns)
			}
			c.must(fmt.Sprintf(":%d\r\n", elements-500-first), "llen", "q")
			h.audit()
		})
	}
}
