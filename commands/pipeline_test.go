package commands

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// doAll runs commands of one row as batches, as many at once as DoAll takes, and those that it leaves one by one. It returns their replies, and how many
// commands there were for each batch.
func (c *client) doAll(commands [][][]byte) (replies []string, batches int) {
	c.h.t.Helper()
	for len(commands) > 0 {
		all := make([]Pipelined, min(len(commands), MostPipelined))
		for i := range all {
			all[i].Args = commands[i]
		}
		c.w.Reset()
		c.w.Status("before")
		start := c.w.Len()
		c.call.W, c.call.Args, c.call.DB, c.call.Row, c.call.Hurried = &c.w, commands[0], c.db, c.h.set.Table().Lookup(commands[0][0]), true
		ran := c.h.set.DoAll(&c.call, all)
		c.call.Hurried = false
		batches++
		if ran == 0 {
			if c.w.Len() != start || c.call.Wrote || c.call.Seen != 0 {
				c.h.t.Fatalf("nothing was run, but there is %q", c.w.Bytes())
			}
			replies = append(replies, c.doArgs(commands[0]))
			commands = commands[1:]
			continue
		}
		wrote := false
		for _, p := range all[:ran] {
			replies = append(replies, string(c.w.Bytes()[start:p.End]))
			start, wrote = p.End, wrote || p.Wrote
		}
		if wrote != c.call.Wrote || start != c.w.Len() {
			c.h.t.Fatalf("the batch wrote: %v, its commands: %v; replies of %d bytes, of %d", c.call.Wrote, wrote, c.w.Len(), start)
		}
		commands = commands[ran:]
	}
	return replies, batches
}

// TestDoAll: commands that are run as one batch do and answer what they do and answer one by one, errors and records that are not in memory included.
func TestDoAll(t *testing.T) {
	together, alone := newHouse(t, Options{}), newHouse(t, Options{})
	alone.hands = together.hands
	alone.reopen()
	rng := rand.New(rand.NewPCG(1, 2))
	templates := [][]string{
		{"SET", "k", "v"}, {"SETNX", "k", "n"}, {"SET", "k", "v", "PX", "30"}, {"INCR", "k"}, {"INCRBY", "k", "n"}, {"APPEND", "k", "v"}, {"GETDEL", "k"}, {"DEL", "k", "k"},
		{"HSET", "k", "f", "v"}, {"HINCRBY", "k", "f", "n"}, {"HDEL", "k", "f", "f"}, {"LPUSH", "k", "v"}, {"RPUSH", "k", "v", "v"}, {"RPOP", "k"}, {"LPOP", "k", "2"},
		{"SADD", "k", "f", "v"}, {"SREM", "k", "f"}, {"ZADD", "k", "n", "f"}, {"ZINCRBY", "k", "n", "f"}, {"ZREM", "k", "f"}, {"ZPOPMIN", "k"}, {"PEXPIRE", "k", "40"},
		{"HPEXPIRE", "k", "30", "FIELDS", "1", "f"}, {"RENAME", "k", "k"}, {"MSET", "k", "v", "k", "v"},
	}
	a, b := together.client(), alone.client()
	commands, batches := 0, 0
	for round := range modelSteps() / 20 {
		template := templates[rng.IntN(len(templates))]
		series := make([][][]byte, 1+rng.IntN(2*MostPipelined))
		for i := range series {
			for _, word := range template {
				switch word {
				case "k":
					word = fmt.Sprint(word, rng.IntN(12))
				case "f", "v":
					word = fmt.Sprint(word, rng.IntN(200))
				case "n":
					word = fmt.Sprint(rng.IntN(9))
				}
				series[i] = append(series[i], []byte(word))
			}
		}
		if rng.IntN(4) == 0 {
			together.store.DropCache()
		}
		got, n := a.doAll(series)
		for i, args := range series {
			if want := b.doArgs(args); got[i] != want {
				t.Fatalf("round %d, command %d of %d, %q: %q, one by one %q", round, i, len(series), args, got[i], want)
			}
		}
		commands, batches = commands+len(series), batches+n
		together.hands.pass(rng.IntN(10))
		if round%100 == 99 {
			together.reopen()
			alone.reopen()
		}
	}
	if batches > commands/4 {
		t.Errorf("%d batches of %d commands", batches, commands)
	}
	together.audit()
	for k := range 12 {
		for _, words := range [][]string{{"TYPE", "k"}, {"PTTL", "k"}, {"STRLEN", "k"}, {"LRANGE", "k", "0", "-1"}, {"HLEN", "k"}, {"SCARD", "k"}, {"ZRANGE", "k", "0", "-1", "WITHSCORES"}} {
			words[1] = fmt.Sprint("k", k)
			if got, want := a.do(words...), b.do(words...); got != want {
				t.Errorf("%q: %q, one by one %q", words, got, want)
			}
		}
	}
}

// TestDoAllServesWhoWaits: a client that waits gets the element of the first of several commands, before the second is run.
func TestDoAllServesWhoWaits(t *testing.T) {
	h := newHouse(t, Options{})
	first, second := h.park("blpop", "q", "0"), h.park("brpop", "q", "0")
	push := [][]byte{[]byte("RPUSH"), []byte("q"), []byte("1"), []byte("2")}
	c := h.client()
	if replies, batches := c.doAll([][][]byte{push, push, push}); fmt.Sprint(replies) != fmt.Sprint([]string{num(2), num(2), num(4)}) || batches != 2 {
		t.Errorf("%q in %d batches", replies, batches)
	}
	first.must(pair("q", "1"))
	second.must(pair("q", "2"))
}

// TestWhatPipelines: what may wait or take long, and what the name alone does not tell, is run by itself.
func TestWhatPipelines(t *testing.T) {
	table := NewTable()
	for name, want := range map[string]bool{
		"set": true, "incr": true, "hset": true, "rpop": true, "zadd": true, "del": true,
		"get": false, "blpop": false, "brpoplpush": false, "sort": false, "sunionstore": false, "copy": false, "config": false, "multi": false,
	} {
		if got := table.Lookup([]byte(name)).Pipelines(); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, row := range table.Rows() {
		for _, sub := range row.Subcommands {
			if sub.Pipelines() {
				t.Errorf("%s: another subcommand would be taken for it", sub.Name)
			}
		}
	}
}
