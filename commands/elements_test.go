package commands

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"sett/storage"
	"sett/types"
)

// small makes collections of more than four elements spread.
var small = types.Options{PackedMaxEntries: 4, PackedMaxBytes: 64, ManyFields: 8}

// addMembers adds members in commands of a thousand.
func (c *client) addMembers(key string, members []string) {
	c.h.t.Helper()
	for len(members) > 0 {
		n := min(1000, len(members))
		c.do(append([]string{"sadd", key}, members[:n]...)...)
		members = members[n:]
	}
}

func numbered(prefix string, from, to int) (names []string) {
	for i := from; i < to; i++ {
		names = append(names, prefix+strconv.Itoa(i))
	}
	return names
}

// What is in a set from the beginning of a scan to its end is shown, and shown once, while the set grows and shrinks so that its buckets are
// divided and joined between the calls.
func TestElementScanShowsWhatStays(t *testing.T) {
	h := newHouse(t, Options{Values: small, Seed: 1})
	c := h.client()
	stay := numbered("stays", 0, 300)
	for round := range 12 {
		c.do("del", "s")
		c.addMembers("s", stay)
		if round%2 == 1 { // it begins large
			c.addMembers("s", numbered("goes", 0, 5000))
		}
		shown := map[string]int{}
		for cursor, calls := "0", 0; ; calls++ {
			var members []string
			cursor, members = scanReply(t, c.do("sscan", "s", cursor, "count", strconv.Itoa(1+calls%40)))
			for _, member := range members {
				shown[member]++
			}
			if cursor == "0" {
				break
			}
			if calls < 10 {
				goes := numbered("goes", calls*500, calls*500+500)
				if round%2 == 0 {
					c.addMembers("s", goes)
				} else {
					c.do(append([]string{"srem", "s"}, goes...)...)
				}
			}
			if calls%7 == 0 {
				h.store.DropCache()
			}
		}
		for _, member := range stay {
			if shown[member] != 1 {
				t.Errorf("round %d: %s was shown %d times", round, member, shown[member])
			}
		}
	}
}

// unlikely is the χ² of n classes that chance exceeds once in a million times, about.
func unlikely(n int) float64 { return float64(n) + 7*sqrt(2*float64(n)) }

func sqrt(x float64) float64 {
	root := x
	for range 50 {
		root = (root + x/root) / 2
	}
	return root
}

// Every element is drawn as often as any other: of a packed collection, of one in few buckets that are as good as empty, of one that has
// shrunk, and of one whose names' hashes are neighbours.
func TestDrawsAreUniform(t *testing.T) {
	if testing.Short() {
		t.Skip("many draws of one goroutine: nothing for the race detector")
	}
	h := newHouse(t, Options{Values: small, Seed: 1})
	c := h.client()
	near := numbered("far", 0, 3)
	for i := 0; len(near) < 64; i++ {
		if name := "n" + strconv.Itoa(i); h.set.Cursor([]byte(name))<<32>>62 == 1 { // a quarter of all hashes
			near = append(near, name)
		}
	}
	for _, of := range []struct {
		add, remove, draw string
		all               []string
		element           func(name string) []string
	}{
		{"sadd", "srem", "srandmember", []string{"smembers"}, func(name string) []string { return []string{name} }},
		{"hset", "hdel", "hrandfield", []string{"hkeys"}, func(name string) []string { return []string{name, "value of " + name} }},
		{"zadd", "zrem", "zrandmember", []string{"zrange", "0", "-1"}, func(name string) []string { return []string{"7", name} }},
	} {
		key := func(name string) string { return of.add + "-" + name }
		add := func(name string, names []string) {
			for _, one := range names {
				c.do(append([]string{of.add, key(name)}, of.element(one)...)...)
			}
		}
		add("packed", numbered("p", 0, 4))
		add("spread", numbered("s", 0, 100))
		add("near", near)
		add("shrunk", numbered("g", 0, 3000))
		for _, gone := range numbered("g", 40, 3000) {
			c.do(of.remove, key("shrunk"), gone)
		}
		for _, name := range []string{"packed", "spread", "shrunk", "near"} {
			names := list(t, c.do(append([]string{of.all[0], key(name)}, of.all[1:]...)...))
			drawsAreUniform(t, c, of.draw, key(name), names)
		}
	}
}

func drawsAreUniform(t *testing.T, c *client, draw, key string, names []string) {
	for _, counts := range []struct{ drawn, rounds int }{{1, 8000}, {-100, 100}, {3, 3000}, {30, 500}} {
		drawn := map[string]float64{}
		total := 0.0
		for range counts.rounds {
			for _, name := range list(t, c.do(draw, key, strconv.Itoa(counts.drawn))) {
				drawn[name]++
				total++
			}
		}
		expected, chi := total/float64(len(names)), 0.0
		for _, name := range names {
			chi += (drawn[name] - expected) * (drawn[name] - expected) / expected
		}
		if chi > unlikely(len(names)) {
			t.Errorf("%s %s %d: χ² is %.0f for %d names", draw, key, counts.drawn, chi, len(names))
		}
	}
}

// Each member is the one that stays when all others are popped as often as any other.
func TestPopsAreUniform(t *testing.T) {
	for _, values := range []types.Options{{}, small} {
		h := newHouse(t, Options{Values: values, Seed: 1})
		c := h.client()
		left := map[string]float64{}
		const members, rounds = 20, 4000
		for range rounds {
			c.addMembers("s", numbered("m", 0, members))
			c.do("spop", "s", "7")
			for range 6 {
				c.do("spop", "s")
			}
			c.do("spop", "s", "6")
			left[list(t, c.do("smembers", "s"))[0]]++
		}
		expected, chi := float64(rounds)/members, 0.0
		for _, member := range numbered("m", 0, members) {
			chi += (left[member] - expected) * (left[member] - expected) / expected
		}
		if chi > unlikely(members) {
			t.Errorf("χ² is %.0f for %d members", chi, members)
		}
	}
}

// A field more, or a value changed, adds to the log what is new and what finds it, and not the record that it lies in.
func TestElementsLogLittle(t *testing.T) {
	for name, want := range map[string]struct{ elements, bytes int }{"packed": {60, 130}, "spread": {20_000, 300}} {
		h := newHouse(t, Options{})
		c := h.client()
		for i := range want.elements / 20 {
			args := []string{"hset", "h"}
			for _, field := range numbered("field", i*20, i*20+20) {
				args = append(args, field, "0123456789")
			}
			c.do(args...)
		}
		if err := h.store.Flush(); err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 1))
		field := func() string { return "field" + strconv.Itoa(r.IntN(want.elements)) }
		sum := 0
		const changes = 200
		for range changes {
			sum += c.logged("hset", "h", field(), "9876543210")
		}
		t.Logf("%s: %d bytes per HSET", name, sum/changes)
		if sum/changes > want.bytes {
			t.Errorf("%s: %d bytes of log per HSET", name, sum/changes)
		}
	}
}

// To set a field of a large hash writes its value and the meta record, and reads no value that was there: the buckets, which say what is there, are
// few and small, and stay in memory.
func TestFieldsOfALargeHashAreSetUnread(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	names := numbered("field", 0, 4000)
	for at := 0; at < len(names); at += 20 {
		args := []string{"hset", "h"}
		for _, field := range names[at : at+20] {
			args = append(args, field, strings.Repeat("v", 250))
		}
		c.do(args...)
	}
	if err := h.store.Flush(); err != nil {
		t.Fatal(err)
	}
	h.store.DropCache()
	for _, field := range names {
		c.must(":1\r\n", "hexists", "h", field) // all buckets are in memory now
	}
	stats, sum := h.store.Stats(), 0
	fetched, flushed := stats.Fetched.Load(), stats.FlushRecords.Load()
	for _, field := range names[2000:2200] {
		sum += c.logged("hset", "h", field, strings.Repeat("w", 250))
	}
	if n := stats.Fetched.Load() - fetched; n > 0 {
		t.Errorf("%d records were read for 200 HSETs", n)
	}
	if sum/200 > 400 {
		t.Errorf("%d bytes of log per HSET", sum/200)
	}
	if err := h.store.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := stats.FlushRecords.Load() - flushed; n > 250 {
		t.Errorf("%d records were written for 200 HSETs", n)
	}
	c.must("$250\r\n"+strings.Repeat("w", 250)+"\r\n", "hget", "h", "field2100")
	h.audit()
	h.check()
}

// Who walks over a large hash sees what lies apart of it, whatever its length, in memory or not.
func TestWalksShowWhatLiesApart(t *testing.T) {
	h := newHouse(t, Options{Values: small})
	c := h.client()
	r := rand.New(rand.NewPCG(3, 3))
	want := map[string]string{}
	names := append(numbered("f", 0, 1200), strings.Repeat("n", 1500), strings.Repeat("m", 9000))
	for round := range 4 {
		for i, field := range names {
			if round == 0 || r.IntN(5) == 0 {
				length := []int{0, 5, 127, 128, 250, 1025, 8192, 8193, 20_000}[r.IntN(9)]
				want[field] = strings.Repeat(string(rune('a'+i%26)), length)
				c.do("hset", "h", field, want[field])
			}
		}
		if round%2 == 1 {
			if err := h.store.Flush(); err != nil {
				t.Fatal(err)
			}
			h.store.DropCache()
		}
		all := list(t, c.do("hgetall", "h"))
		for i := 0; i < len(all); i += 2 {
			if all[i+1] != want[all[i]] {
				t.Errorf("%.20q has a value of %d bytes, want %d", all[i], len(all[i+1]), len(want[all[i]]))
			}
		}
		if len(all) != 2*len(want) {
			t.Errorf("%d fields, want %d", len(all)/2, len(want))
		}
		if keys := list(t, c.do("hkeys", "h")); len(keys) != len(want) {
			t.Errorf("%d fields, want %d", len(keys), len(want))
		}
	}
	h.audit()
	h.check()
}

// Commands on many elements of a set that is not in memory ask for all that they need in a few rounds, and read nothing with the lock held.
func TestColdElementsTakeFewRounds(t *testing.T) {
	h := newHouse(t, Options{Values: small, Seed: 1})
	c := h.client()
	c.addMembers("s", numbered("m", 0, 4000))
	c.addMembers("t", numbered("m", 2000, 2300))
	for i := range 40 {
		c.do("hset", "h", "f"+strconv.Itoa(i), strings.Repeat("v", 30_000), strings.Repeat("g", 9000+i), "v")
	}
	for _, args := range [][]string{
		append([]string{"sadd", "s"}, numbered("new", 0, 700)...),
		append([]string{"srem", "s"}, numbered("m", 0, 700)...),
		append([]string{"smismember", "s"}, numbered("m", 0, 700)...),
		append([]string{"hmget", "h"}, numbered("f", 0, 40)...),
		{"spop", "s", "300"},
		{"spop", "t", "290"},
		{"srandmember", "s", "300"},
		{"srandmember", "s", "-300"},
		{"sinter", "t", "s"},
		{"sunion", "t", "s", "t", "s", "t", "s", "t"},
		{"sinterstore", "d", "s", "s", "s", "s", "s", "t"},
		{"sunionstore", "d", "t", "s"},
		{"copy", "s", "d", "replace"},
		{"copy", "h", "d", "replace"},
		{"hgetall", "h"},
		{"sscan", "s", "0", "count", "900"},
		{"hincrby", "h", "new", "1"},
		{"hrandfield", "h", "-40", "withvalues"},
	} {
		if err := h.store.Flush(); err != nil {
			t.Fatal(err)
		}
		h.store.DropCache()
		before := h.store.Stats().LockedReads.Load()
		if reply := c.do(args...); reply[0] == '-' {
			t.Errorf("%.40q: %s", args, reply)
		}
		if n := h.store.Stats().LockedReads.Load() - before; n != 0 {
			t.Errorf("%.60q read the disk with the lock held", args)
		}
	}
}

// An error in the middle of a command leaves no trace, also where it comes when much was changed already.
func TestElementsAllOrNothing(t *testing.T) {
	h := newHouse(t, Options{Values: small})
	c := h.client()
	c.addMembers("s", numbered("m", 0, 1000))
	c.do("set", "str", "v")
	before := c.do("smembers", "s")
	for _, args := range [][]string{
		{"sunionstore", "s", "s", "str"}, {"smove", "s", "str", "m1"}, {"hset", "s", "a", "b"}, {"sadd", "s", strings.Repeat("x", 10<<20)},
	} {
		if reply := c.do(args...); reply[0] != '-' {
			t.Errorf("%.40q: %.100q", args, reply)
		}
	}
	c.must(ok, "multi")
	c.do("sadd", "s", "new")
	c.do("sunionstore", "s", "s", "str")
	c.do("srem", "s", "new")
	c.do("exec")
	if after := c.do("smembers", "s"); after != before {
		t.Errorf("the set has changed")
	}
	h.audit()
	h.check()
}

// What is missing or malformed is -CORRUPT, and never a wrong answer.
func TestCorruptElements(t *testing.T) {
	for _, harm := range []struct {
		name     string
		of       byte // kind of element
		value    []byte
		commands [][]string
	}{
		{"bucket", 3, []byte{0xff}, [][]string{
			{"hgetall", "h"}, {"hlen", "none"}, {"hscan", "h", "0", "count", "1000"}, {"hrandfield", "h", "1000"}, {"copy", "h", "d"}, {"hkeys", "h"}}},
		{"part", 5, nil, [][]string{{"hget", "h", "long"}, {"hgetall", "h"}, {"hvals", "h"}, {"hmget", "h", "long"}, {"copy", "h", "d"}}},
		{"short part", 5, []byte("x"), [][]string{{"hget", "h", "long"}, {"hgetall", "h"}, {"copy", "h", "d"}}},
	} {
		t.Run(harm.name, func(t *testing.T) {
			h := newHouse(t, Options{Values: small})
			c := h.client()
			for i := range 100 {
				c.do("hset", "h", "f"+strconv.Itoa(i), "v")
			}
			c.do("hset", "h", "long", strings.Repeat("v", 20_000))
			h.harm(harm.of, harm.value)
			for _, args := range harm.commands {
				if reply := c.do(args...); !strings.HasPrefix(reply, "-CORRUPT ") && args[1] == "h" {
					t.Errorf("%q: %.100q", args, reply)
				}
			}
		})
	}
}

// harm replaces all elements of a kind, or removes them.
func (h *house) harm(kind byte, value []byte) {
	v, err := h.store.View()
	if err != nil {
		h.t.Fatal(err)
	}
	var keys [][]byte
	for id := range uint64(100) { // an iterator is within one collection
		lower := binary.BigEndian.AppendUint64([]byte{'s'}, id)
		it := v.Iterate(append(lower, kind), append(lower[:9:9], kind+1))
		for it.Next() {
			keys = append(keys, bytes.Clone(it.Key()))
		}
		it.Close()
	}
	v.Close()
	var txn storage.Txn
	err = h.store.Update(&txn, asked(func() error {
		for _, key := range keys {
			if value == nil {
				txn.Delete(key)
			} else {
				txn.Put(key, value)
			}
		}
		return nil
	}))
	if err != nil || len(keys) == 0 {
		h.t.Fatalf("%d elements: %v", len(keys), err)
	}
}
