package commands

import (
	"fmt"
	"testing"
	"time"
)

// TestPopsReadAhead: a list that lies in Badger is taken off at either end, and hardly a pop waits for it.
func TestPopsReadAhead(t *testing.T) {
	for _, q := range []struct {
		name            string
		elements, bytes int
	}{
		{"leaves", 3000, 200}, // of ten elements
		{"apart", 700, 3000},
	} {
		for _, end := range []string{"lpop", "rpop", "lmove"} {
			t.Run(q.name+"/"+end, func(t *testing.T) { popsReadAhead(t, end, q.elements, q.bytes) })
		}
	}
}

func popsReadAhead(t *testing.T, end string, elements, size int) {
	h := newHouse(t, Options{})
	c := h.client()
	value := func(i int) string { return fmt.Sprintf("%0*d", size, i) }
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
	for i := range 500 { // of 50 leaves, or of three
		for h.store.ReadingAhead() { // which may take longer here than a few pops
			time.Sleep(time.Millisecond)
		}
		pop(first + i)
	}
	if reruns := stats.Reruns.Load() - before; reruns > 50 { // what was being read when a generation was retired is not kept
		t.Errorf("%d rounds were given up", reruns)
	}
	c.must(fmt.Sprintf(":%d\r\n", elements-500-first), "llen", "q")
	h.audit()
}
