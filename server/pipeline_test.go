package server

import (
	"fmt"
	"strings"
	"testing"
)

// TestPipeline: commands that are alike are one batch, and everybody sees what would be if they were not.
func TestPipeline(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	needsLoop(t, ts)
	ts.SetObservation(func(o *Observation) { o.SlowerThanUs, o.SlowlogMaxLen = 0, 1000 })
	c := ts.dial()
	c.want("+OK\r\n", "SET", "s", "x")
	var all strings.Builder
	for i := range 20 {
		all.WriteString(encode("INCR", fmt.Sprint("n", i%3)))
	}
	all.WriteString(encode("INCR", "s") + encode("incr", "n0") + encode("INCR") + encode("INCR", "n0") + encode("GET", "n0"))
	c.send(all.String())
	for i := range 20 {
		if got, want := c.reply(), fmt.Sprintf(":%d\r\n", i/3+1); got != want {
			t.Fatalf("reply %d: %q, want %q", i, got, want)
		}
	}
	c.wantReplies("-ERR value is not an integer or out of range\r\n", ":8\r\n", "-ERR wrong number of arguments for 'incr' command\r\n", ":9\r\n", "$1\r\n9\r\n")
	if got := c.infoValue("commandstats", "cmdstat_incr"); !strings.HasPrefix(got, "calls=23,") || !strings.Contains(got, "rejected_calls=1,failed_calls=1") {
		t.Errorf("commandstats: %s", got)
	}
	log := c.do("SLOWLOG", "GET", "1000")
	for name, want := range map[string]int{"n0": 9, "n1": 7, "n2": 6, "s": 1} {
		if got := strings.Count(log, "$4\r\nINCR\r\n"+encode(name)[4:]) + strings.Count(log, "$4\r\nincr\r\n"+encode(name)[4:]); got != want {
			t.Errorf("INCR of %s is %d times in the slow log, not %d", name, got, want)
		}
	}

	// Nobody wants these replies.
	c.send(encode("CLIENT", "REPLY", "OFF") + strings.Repeat(encode("INCR", "n0"), 10) + encode("CLIENT", "REPLY", "ON") + strings.Repeat(encode("INCR", "n0"), 2))
	c.wantReplies("+OK\r\n", ":20\r\n", ":21\r\n")

	// Subcommands are not alike because their first word is.
	c.want(":1\r\n", "RPUSH", "q", "a")
	c = ts.dial() // on the loop
	c.send(encode("SETT", "CAP", "q", "5") + encode("SETT", "NOSUCH", "q", "6") + encode("SETT", "CAP", "q", "7"))
	for i, want := range []string{"+OK", "-ERR unknown subcommand", "+OK"} {
		if got := c.reply(); !strings.HasPrefix(got, want) {
			t.Errorf("reply %d is %q", i, got)
		}
	}

	// What is queued is not run.
	c.send(encode("MULTI") + strings.Repeat(encode("INCR", "n0"), 3) + encode("EXEC"))
	c.wantReplies("+OK\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "+QUEUED\r\n", "*3\r\n:22\r\n:23\r\n:24\r\n")
}

// TestPipelineIsOneBatch. A pipeline may come in pieces, and a connection may be off the loop for a while.
func TestPipelineIsOneBatch(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	needsLoop(t, ts)
	batches := &ts.engine.Load().Store.Stats().Batches
	least := uint64(20)
	for range 20 {
		c := ts.dial()
		before := batches.Load()
		c.send(strings.Repeat(encode("INCR", "n"), 20))
		for range 20 {
			c.reply()
		}
		least = min(least, batches.Load()-before)
	}
	if least > 4 {
		t.Errorf("%d batches", least)
	}
}

// TestPipelineMissed: a command whose key is not in memory ends its batch; it is run by itself, and those behind it are not lost.
func TestPipelineMissed(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	needsLoop(t, ts)
	c := ts.dial()
	c.want("+OK\r\n", "MSET", "cold", "5", "warm", "5")
	ts.cold()
	c.want(":6\r\n", "INCR", "warm")
	c.send(encode("INCR", "warm") + encode("INCR", "warm") + encode("INCR", "cold") + encode("INCR", "warm") + encode("INCR", "cold"))
	c.wantReplies(":7\r\n", ":8\r\n", ":6\r\n", ":9\r\n", ":7\r\n")
}
