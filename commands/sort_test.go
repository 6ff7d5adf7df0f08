package commands

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// plainSort is SORT of numbers by their weights.
type plainSort struct {
	elements []string
	weight   map[string]int
}

func (p plainSort) sorted(descending bool, offset, limit int) []string {
	out := slices.Clone(p.elements)
	slices.SortFunc(out, func(a, b string) int {
		order := cmp.Or(cmp.Compare(p.weight[a], p.weight[b]), cmp.Compare(a, b))
		if descending {
			return -order
		}
		return order
	})
	return out[offset:min(len(out), offset+limit)]
}

// fillSort makes a list, a set and a sorted set of n numbers, and for each of them a string and a hash that BY and GET name: some hashes are spread,
// some values long.
func fillSort(t *testing.T, c *client, n int) plainSort {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	p := plainSort{weight: map[string]int{}}
	for i := range n {
		element := fmt.Sprint(i)
		p.elements = append(p.elements, element)
		c.must(num(i+1), "rpush", "l", element)
		c.must(num(1), "sadd", "s", element)
		c.must(num(1), "zadd", "z", fmt.Sprint(rng.IntN(50)), element)
		if rng.IntN(5) > 0 {
			p.weight[element] = rng.IntN(100) - 50
			c.must(ok, "set", "w"+element, fmt.Sprint(p.weight[element]))
			c.do("hset", "h"+element, "weight", fmt.Sprint(p.weight[element]), "name", "of "+element)
		}
		if i%50 == 0 {
			c.do("hset", "h"+element, "long", strings.Repeat("x", 3000))
		}
	}
	return p
}

// TestSortAgainstModel sorts what is sorted at once, and what is sorted from a view, with all in memory and with nothing there.
func TestSortAgainstModel(t *testing.T) {
	for _, n := range []int{0, 1, 40, 300, 2000} {
		h := newHouse(t, Options{})
		c := h.client()
		p := fillSort(t, c, n)
		rng := rand.New(rand.NewPCG(uint64(n), 2))
		for round := range 30 {
			if round%4 == 3 {
				if err := h.store.Flush(); err != nil {
					t.Fatal(err)
				}
				h.store.DropCache()
			}
			offset, limit := rng.IntN(n+1), rng.IntN(n+2)
			if rng.IntN(2) == 0 {
				offset, limit = 0, n
			}
			descending, of := rng.IntN(2) == 0, []string{"l", "s", "z"}[rng.IntN(3)]
			args := []string{"sort", of, "by", []string{"w*", "h*->weight"}[rng.IntN(2)], "limit", fmt.Sprint(offset), fmt.Sprint(limit), "get", "#"}
			if descending {
				args = append(args, "desc")
			}
			want := p.sorted(descending, offset, limit)
			if rng.IntN(3) == 0 {
				c.must(num(len(want)), append(args, "store", "d")...)
				c.must(bulks(want), "lrange", "d", "0", "-1")
				continue
			}
			if rng.IntN(2) == 0 {
				args[0] = "sort_ro"
			}
			c.must(bulks(want), args...)
		}
		h.audit()
	}
}

// TestSortWaitsForNoDisk counts how often SORT asks for records with everything cold: the key, its elements, the keys that they name, and what of
// those lies outside of their meta records. All four are read without the lock, a fifth would not be.
func TestSortWaitsForNoDisk(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	fillSort(t, c, 300)
	for _, args := range [][]string{
		{"sort", "l"},
		{"sort", "z", "by", "w*"},
		{"sort", "s", "by", "h*->weight"},
		{"sort", "l", "by", "w*", "get", "w*", "get", "h*->name"},
		{"sort", "s", "by", "nosort", "get", "h*->weight", "get", "h*->long"},
		{"sort", "z", "by", "nosort", "limit", "10", "20", "get", "w*"},
		{"sort", "l", "by", "w*", "get", "#", "get", "w*", "store", "d"},
	} {
		if err := h.store.Flush(); err != nil {
			t.Fatal(err)
		}
		h.store.DropCache()
		before := h.store.Stats().Reruns.Load()
		if reply := c.do(args...); reply[0] == '-' {
			t.Errorf("%q: %s", args, reply)
		}
		if n := h.store.Stats().Reruns.Load() - before; n > 4 {
			t.Errorf("%q asked %d times", args, n)
		}
	}
}

// TestSortWithoutStoreIsARead has a full disk refuse nobody who only reads, in whatever order the options come.
func TestSortWithoutStoreIsARead(t *testing.T) {
	row := NewTable().Lookup([]byte("sort"))
	for text, reads := range map[string]bool{
		"sort l":                             true,
		"sort l by store get store":          true,
		"sort l limit 0 store":               true, // an error
		"sort l store":                       true, // the same
		"sort l store d":                     false,
		"sort l store by":                    false,
		"sort l store by limit 0 1 desc":     false,
		"sort l limit 0 1 get # STORE store": false,
	} {
		var args [][]byte
		for _, word := range strings.Fields(text) {
			args = append(args, []byte(word))
		}
		if got := row.forArgs(args).Read != nil; got != reads {
			t.Errorf("%q reads: %v", text, got)
		}
	}
}

// TestSortSeesItsTransaction sorts, within MULTI, what the transaction itself has done, however much it is.
func TestSortSeesItsTransaction(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	c.do("multi")
	var want []string
	for i := range 1500 {
		want = append(want, fmt.Sprint(1499-i))
		c.do("rpush", "l", fmt.Sprint(i))
	}
	c.do("sort", "l", "desc")
	c.do("sort", "l", "desc", "store", "l")
	c.do("lrange", "l", "0", "-1")
	got := c.do("exec")
	if !strings.HasSuffix(got, bulks(want)+num(1500)+bulks(want)) {
		t.Errorf("EXEC ends with %.200q", got[max(0, len(got)-200):])
	}
	h.audit()
}

// TestSortTooLarge refuses to store what does not fit into a batch.
func TestSortTooLarge(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	limit := int(h.store.Budget().BatchMax)
	long := strings.Repeat("x", 1<<20)
	for range limit>>20 + 1 {
		c.do("rpush", "l", long)
	}
	c.must("-"+string(ErrSortTooLarge)+"\r\n", "sort", "l", "alpha", "store", "d")
	c.must(num(1), "sort", "l", "by", "nosort", "limit", "1", "1", "store", "d")
	c.must(num(1), "llen", "d")
	c.do("set", "big", long)
	many := []string{"sort", "d"}
	for range limit>>20 + 1 {
		many = append(many, "get", "*ig")
	}
	c.do("del", "d")
	c.do("rpush", "d", "b")
	many = append(many, "alpha")
	c.must("-ERR the effects of this command exceed batch_max_bytes; nothing was changed\r\n", append(many, "store", "d")...)
	c.must(bulks([]string{"b"}), "lrange", "d", "0", "-1")
}
