package commands

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sett/storage"
	"sett/types"
)

// contents is all that clients can see of a key.
func (c *client) contents(name string) string {
	kind := strings.TrimSpace(c.do("type", name))[1:]
	var items []string
	switch kind {
	case "list":
		items = list(c.h.t, c.do("lrange", name, "0", "-1"))
	case "set":
		items = list(c.h.t, c.do("smembers", name))
		slices.Sort(items)
	case "zset":
		items = list(c.h.t, c.do("zrange", name, "0", "-1", "withscores"))
	case "hash":
		fields := list(c.h.t, c.do("hgetall", name))
		for i := 0; i < len(fields); i += 2 {
			items = append(items, fields[i]+"="+fields[i+1])
		}
		slices.Sort(items)
	}
	return kind + c.do("object", "encoding", name) + c.do("pttl", name) + strings.Join(items, "\n")
}

// fill makes large collections of all types, with elements that lie apart.
func (d dice) fill(c *client, n int) {
	for _, name := range []string{"1", "2", "3"} {
		for i := 0; i < n; i += 100 {
			set, zset, hash, items := []string{"sadd", "s" + name}, []string{"zadd", "z" + name}, []string{"hset", "h" + name}, []string{"rpush", "l" + name}
			for range 100 {
				member := "m" + strconv.Itoa(d.IntN(3*n))
				if d.IntN(200) == 0 {
					member = strings.Repeat(member, 400)
				}
				score := []string{"-0", "0", "1.5", "inf", "-inf", strconv.Itoa(d.IntN(100)), printed(d.NormFloat64())}[d.IntN(7)]
				set, zset, items = append(set, member), append(zset, score, member), append(items, member)
				hash = append(hash, member, strings.Repeat(score, 1+d.IntN(3)*d.IntN(300)))
			}
			for _, args := range [][]string{set, zset, hash, items} {
				c.do(args...)
			}
		}
	}
	c.must(num(5), "sadd", "few", "m1", "m2", "m3", "m4", "other")
	c.do("expire", "h1", "1000")
	for i := range 40 {
		args := []string{"geoadd", "g"}
		for range 50 {
			args = append(args, fmt.Sprint(d.Float64()*20), fmt.Sprint(d.Float64()*20), fmt.Sprint("place", i, ".", d.IntN(1000)))
		}
		c.do(args...)
	}
}

var storingLines = []string{
	"sunionstore D s1 s2 s3", "sinterstore D s1 s2", "sdiffstore D s1 s2 few", "sinterstore D s1 s2 s3 few", "sunionstore D s1 nokey", "sdiffstore D s1 s1",
	"zunionstore D 3 z1 z2 z3", "zunionstore D 3 z1 s2 z3 weights 2 0.1 -1 aggregate max", "zunionstore D 4 z1 z1 z2 z2 weights 0.1 0.2 0.3 0.7",
	"zinterstore D 2 z1 z2 aggregate min", "zinterstore D 3 z1 s2 z3", "zdiffstore D 3 z1 z2 few", "zdiffstore D 2 z1 z1", "zinterstore D 2 z1 few",
	"zrangestore D z1 0 -1", "zrangestore D z1 100 1800 rev", "zrangestore D z1 -inf 50 byscore", "zrangestore D z1 +inf (-inf byscore rev limit 5 2000",
	"geosearchstore D g fromlonlat 10 10 byradius 900 km", "geosearchstore D g fromlonlat 10 10 bybox 3000 3000 km count 1500 desc storedist",
	"copy s1 D replace", "copy z1 D replace", "copy h1 D replace", "copy l1 D replace", "copy g D replace",
}

// TestStoredFromViews: what is drawn from a view into a draft is what one batch would have made, within MULTI.
func TestStoredFromViews(t *testing.T) {
	for n, values := range []types.Options{{}, {PackedMaxEntries: 4, PackedMaxBytes: 64}} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			d := seeded(t, 95+uint64(n))
			h := newHouse(t, Options{Values: values})
			c := h.client()
			h.set.runBytes = 100_000 * (1 + n)
			d.fill(c, 2000)
			for i, line := range storingLines {
				switch i % 3 {
				case 0:
					h.store.DropCache()
				case 1:
					c.do("rpush", "at once", "something")
				case 2:
					c.do("zunionstore", "drawn", "1", "z2")
				}
				args := strings.Fields(strings.Replace(line, " D", " drawn", 1))
				got := c.do(args...)
				c.must(ok, "multi")
				c.must("+QUEUED\r\n", strings.Fields(strings.Replace(line, " D", " once", 1))...)
				if want := c.do("exec"); "*1\r\n"+got != want {
					t.Errorf("%s: %q drawn, %q at once", line, got, want)
				}
				if got, want := c.contents("drawn"), c.contents("once"); got != want {
					t.Errorf("%s: drawn %.1000q\nat once %.1000q", line, got, want)
				}
			}
			h.wantNothingStaged()
			h.reopen()
			h.client().must(num(2), "del", "drawn", "once")
			h.audit()
			h.check()
		})
	}
}

// TestLargeRemovals: a large range that is removed from a copy leaves what would be left if it were removed at once, within MULTI.
func TestLargeRemovals(t *testing.T) {
	d := seeded(t, 98)
	h := newHouse(t, Options{})
	c := h.client()
	for i := 0; i < 2*removeInline; i += 128 {
		args := []string{"zadd", "z1"}
		for j := range 128 {
			args = append(args, strconv.Itoa(d.IntN(100)), fmt.Sprintf("m%07d", i+j))
		}
		c.do(args...)
	}
	c.do("expire", "z1", "1000")
	c.must(ok, "sett", "cap", "z1", "9000")
	for i, line := range []string{ // the last two at once
		"zremrangebyrank D 10 -11", "zremrangebyrank D 0 5000", "zremrangebyscore D -inf 60", "zremrangebyscore D (0 +inf", "zremrangebylex D [m0000500 +",
		"zremrangebyrank D 0 -1", "zremrangebyrank D 3 2000",
	} {
		for _, name := range []string{"copied", "once"} {
			c.must(num(1), "copy", "z1", name, "replace")
		}
		if i%2 == 0 {
			h.store.DropCache()
		}
		before := h.store.Status().Position
		got := c.do(strings.Fields(strings.Replace(line, " D", " copied", 1))...)
		if batches := h.store.Status().Position - before; (batches > 1) != (i < 5) {
			t.Errorf("%s took %d batches", line, batches)
		}
		c.must(ok, "multi")
		c.must("+QUEUED\r\n", strings.Fields(strings.Replace(line, " D", " once", 1))...)
		if want := c.do("exec"); "*1\r\n"+got != want {
			t.Errorf("%s: %q from a copy, %q at once", line, got, want)
		}
		if got, want := c.contents("copied"), c.contents("once"); got != want {
			t.Errorf("%s: from a copy %.1000q\nat once %.1000q", line, got, want)
		}
		if info := c.do("sett", "info", "copied"); line != "zremrangebyrank D 0 -1" && !strings.Contains(info, ":9000\r\n") {
			t.Errorf("%s: the cap is gone: %q", line, info)
		}
		h.audit()
	}
	h.wantNothingStaged()
	h.reopen()
	h.audit()
	h.check()
}

// TestRemovalsWithoutCopies: what is a small part of a large sorted set, or of one that is too large to be staged, is removed at once.
func TestRemovalsWithoutCopies(t *testing.T) {
	for _, x := range []struct {
		n, members int64
		pays       bool
	}{
		{removeInline, 2 * removeInline, false}, {removeInline + 1, 2 * removeInline, true}, {2 * removeInline, 2 * removeInline, false},
		{5000, 79_000, true}, {5000, 100_000_000, false}, {removeInlineMax, 1 << 40, false}, {removeInlineMax + 1, 1 << 40, true},
	} {
		if copyPays(x.n, x.members) != x.pays {
			t.Errorf("%d of %d: %v", x.n, x.members, !x.pays)
		}
	}
	h := newHouse(t, Options{StagedMax: 10_000})
	c := h.client()
	for i := range 2 * removeInline / 128 {
		args := []string{"zadd", "z"}
		for j := range 128 {
			args = append(args, "0", strconv.Itoa(128*i+j))
		}
		c.do(args...)
	}
	c.must(num(5000), "zremrangebyrank", "z", "0", "4999")
	c.must(num(2*removeInline-5000), "zcard", "z")
	h.audit()
}

// TestStoredKeepsToCaps: a draft keeps to the cap that its key has when it gets it.
func TestStoredKeepsToCaps(t *testing.T) {
	d := seeded(t, 97)
	h := newHouse(t, Options{})
	c := h.client()
	d.fill(c, 2000)
	c.must(ok, "sett", "cap", "match", "capped*", "700")
	c.must(num(700), "zunionstore", "capped", "2", "z1", "z2")
	c.must(num(700), "zrangestore", "capped", "z1", "0", "-1")
	c.must(ok, "sett", "cap", "capped", "800")
	c.must(num(800), "zunionstore", "capped", "1", "z1")
	c.must(num(5), "zadd", "few capped", "1", "a", "2", "b", "3", "c", "4", "d", "5", "e")
	c.must(ok, "sett", "cap", "few capped", "3")
	c.must(num(3), "zunionstore", "few capped", "1", "z1")
	c.must(bulks(list(t, c.do("zrange", "z1", "-3", "-1"))), "zrange", "few capped", "0", "-1")
	h.wantNothingStaged()
	h.audit()
	h.check()
}

// TestStoreUnderWriters: members move between two sets, so that their union is always the same. There is room for one draft at a time.
func TestStoreUnderWriters(t *testing.T) {
	h := newHouse(t, Options{StagedMax: 16 << 10})
	c := h.client()
	const members = 3000
	for i := range members {
		c.do("sadd", "a", strconv.Itoa(i))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := h.client()
		for i := range 4000 {
			w.do("smove", []string{"a", "b"}[i/members%2], []string{"b", "a"}[i/members%2], strconv.Itoa(i%members))
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		c.must(num(members), "sunionstore", "d", "a", "b")
		c.must(num(members), "zunionstore", "e", "2", "a", "b")
	}
	h.wantNothingStaged()
	h.audit()
	h.check()
}

// TestLeftDrafts: what was drafted when the process ended is dead, and so is what nobody wants.
func TestLeftDrafts(t *testing.T) {
	d := seeded(t, 98)
	h := newHouse(t, Options{StagedMax: 1 << 20})
	c := h.client()
	d.fill(c, 2000)
	begin := func() *Drafting {
		draft, err := h.set.Draft(1000)
		if err != nil {
			t.Fatal(err)
		}
		r := result{of: types.Set, draft: draft, runBytes: 1000}
		for i := range 2 * draftMembers {
			if err := r.add([]byte(strconv.Itoa(i)), 0); err != nil {
				t.Fatal(err)
			}
		}
		return draft
	}
	begin().End(false)
	h.wantNothingStaged()
	begin()
	h.reopen()
	draft := begin()
	if err := h.set.DropLeftStaged(); err != nil {
		t.Fatal(err)
	}
	if err := draft.Do(func(u *Update) error { return storage.ErrTooLarge }); err != storage.ErrTooLarge {
		t.Errorf("a step that fails: %v", err)
	}
	draft.End(false)
	h.wantNothingStaged()
	if _, err := h.set.Draft(2 << 20); err == nil {
		t.Error("more than staged_max_bytes was drafted")
	}
	h.audit()
	h.check()
}

// TestDraftsKeepFieldTimes: the fields of a large hash die in its copy when they die in it.
func TestDraftsKeepFieldTimes(t *testing.T) {
	h := newHouse(t, Options{})
	c := h.client()
	for i := range 3000 {
		c.do("hset", "h", strconv.Itoa(i), "v")
	}
	c.must("*2\r\n:1\r\n:1\r\n", "hpexpire", "h", "5000", "fields", "2", "1", "2999")
	c.must(num(1), "copy", "h", "d")
	c.must("*2\r\n:5000\r\n:5000\r\n", "hpttl", "d", "fields", "2", "1", "2999")
	h.hands.pass(5001)
	c.must("*2\r\n$-1\r\n$-1\r\n", "hmget", "d", "1", "2999")
	h.wantNothingStaged()
	h.audit()
	h.check()
}
