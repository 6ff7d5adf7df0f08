package commands

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"sett/types"
)

// scanAll follows the cursors to the end and counts how often it saw each key. between runs after each reply.
func scanAll(t *testing.T, c *client, between func(), options ...string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for cursor, replies := "0", 0; ; replies++ {
		var names []string
		cursor, names = scanReply(t, c.do(append([]string{"scan", cursor}, options...)...))
		for _, name := range names {
			seen[name]++
		}
		if cursor == "0" {
			return seen
		}
		if replies > 100_000 {
			t.Fatal("SCAN does not end")
		}
		between()
	}
}

// Every key that is there from beginning to end is shown exactly once, whatever happens to others, across flushes and restarts.
func TestScanUnderChurn(t *testing.T) {
	h := newHouse(t, Options{})
	c, other := h.client(), h.client()
	const n = 3000
	for i := range n {
		c.must("+OK\r\n", "set", fmt.Sprintf("{one slot}stable%d", i), "1")
		c.must("+OK\r\n", "set", fmt.Sprintf("{one slot}churn%d", i), "1")
	}
	d := dice{rand.New(rand.NewPCG(1, 2))}
	replies := 0
	seen := scanAll(t, c, func() {
		for range 10 {
			other.do("del", fmt.Sprintf("{one slot}churn%d", d.IntN(n)))
			other.do("set", fmt.Sprintf("{one slot}churn%d", n+d.IntN(n)), "1")
		}
		if replies++; replies%100 == 0 {
			h.reopen()
		}
	}, "count", "10")
	for i := range n {
		if got := seen[fmt.Sprintf("{one slot}stable%d", i)]; got != 1 {
			t.Fatalf("stable key %d was shown %d times", i, got)
		}
	}
	for name, times := range seen {
		if times != 1 {
			t.Fatalf("%q was shown %d times", name, times)
		}
	}
	if most := 2 * n / 9; replies > most {
		t.Errorf("%d replies for %d keys at COUNT 10", replies, len(seen))
	}
}

// Keys whose places are equal, which a cursor cannot tell apart, leave in one reply.
func TestScanShowsKeysOfOnePlaceTogether(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	keys := types.New(h.home.Seed())
	var same []string
	places := map[types.Place]string{}
	for i := 0; len(same) == 0; i++ {
		name := fmt.Sprintf("{tag}%d", i)
		place := types.MetaPlace(keys.AppendMeta(nil, 0, []byte(name)))
		if twin, ok := places[place]; ok {
			same = []string{twin, name}
		}
		places[place] = name
	}
	for _, name := range append(slices.Clone(same), "{tag}a", "{tag}b", "other") {
		c.must("+OK\r\n", "set", name, "1")
	}
	for cursor := "0"; ; {
		var names []string
		cursor, names = scanReply(t, c.do("scan", cursor, "count", "1"))
		if slices.Contains(names, same[0]) != slices.Contains(names, same[1]) {
			t.Fatalf("a reply has %q: one of %q without the other", names, same)
		}
		if cursor == "0" {
			break
		}
	}
}

func TestScanFilters(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	for i := range 100 {
		c.do("set", fmt.Sprintf("a%d", i), "1")
		c.do("set", fmt.Sprintf("b%d", i), "1", "px", "10")
	}
	h.hands.pass(11)
	for _, test := range []struct {
		want    int
		options []string
	}{
		{100, nil}, {100, []string{"match", "a*"}}, {0, []string{"match", "b*"}}, {10, []string{"match", "a?"}}, {100, []string{"type", "string"}},
		{0, []string{"type", "hash"}}, {10, []string{"match", "a?", "count", "1"}}, {100, []string{"count", "1"}},
	} {
		if seen := scanAll(t, c, func() {}, test.options...); len(seen) != test.want {
			t.Errorf("SCAN %q showed %d keys, want %d", test.options, len(seen), test.want)
		}
	}
}

func TestScanCursorsFromNowhere(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	for i := range 50 {
		c.do("set", strconv.Itoa(i), "1")
	}
	for _, cursor := range []string{"70368744177663", "70368744177664", "18446744073709551615", "-1"} {
		if next, names := scanReply(t, c.do("scan", cursor)); next != "0" || len(names) > 0 {
			t.Errorf("SCAN %s: cursor %s and %q", cursor, next, names)
		}
	}
	if next, names := scanReply(t, c.do("scan", "35184372088832", "count", "1000")); next != "0" || len(names) == 0 || len(names) == 50 {
		t.Errorf("SCAN from the middle: cursor %s and %d keys", next, len(names))
	}
}

// RANDOMKEY finds every key of a small database, and more than a few of a large one in a single slot.
func TestRandomKeySpreads(t *testing.T) {
	h := newHouse(t, Options{Seed: 1})
	c := h.client()
	draw := func(times int) int {
		found := map[string]bool{}
		for range times {
			found[c.do("randomkey")] = true
		}
		return len(slices.Collect(maps.Keys(found)))
	}
	for i := range 10 {
		c.do("set", strconv.Itoa(i), "1")
	}
	if n := draw(300); n != 10 {
		t.Errorf("300 draws found %d of 10 keys", n)
	}
	c.do("flushall")
	for i := range 1000 {
		c.do("set", fmt.Sprintf("{tag}%d", i), "1")
	}
	if n := draw(1000); n < 500 {
		t.Errorf("1000 draws found %d of 1000 keys", n)
	}
	c.do("flushall")
	for i := range 100 {
		c.do("set", fmt.Sprintf("dead%d", i), "1", "pxat", "1")
	}
	c.must(null, "randomkey")
	c.do("set", "alive", "1")
	if n := draw(20); n != 1 {
		t.Errorf("RANDOMKEY showed keys past their time: %d", n)
	}
}
