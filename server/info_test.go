package server

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// TestInfoSections knows which sections there are, in Redis' order, and who gets them.
func TestInfoSections(t *testing.T) {
	t.Parallel()
	c := startServer(t, setup{}).dial()
	titles := func(args ...string) string {
		var found []string
		for line := range strings.Lines(c.do(append([]string{"INFO"}, args...)...)) {
			if title, ok := strings.CutPrefix(line, "# "); ok {
				found = append(found, strings.TrimSpace(title))
			}
		}
		return strings.Join(found, " ")
	}
	usual := "Server Clients Memory Persistence Stats Replication CPU Modules Errorstats Cluster Keyspace Sett"
	all := "Server Clients Memory Persistence Stats Replication CPU Modules Commandstats Errorstats Latencystats Cluster Keyspace Sett"
	for args, want := range map[string]string{
		"": usual, "default": usual, "all": all, "everything": all, "EVERYTHING nosuch": all, "nosuch": "", "cpu Server CPU": "Server CPU",
		"default commandstats latencystats": all, "module_list": "Modules",
	} {
		if got := titles(strings.Fields(args)...); got != want {
			t.Errorf("INFO %s: got %s, want %s", args, got, want)
		}
	}
	c.want("$0\r\n\r\n", "INFO", "nosuch")
	if got := c.do("INFO", "cluster", "replication"); got != "$102\r\n# Replication\r\nrole:master\r\nconnected_slaves:0\r\nmaster_repl_offset:0\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestInfoMoves: a figure that is shown moves when what it names does.
func TestInfoMoves(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	number := func(section, name string) int64 {
		t.Helper()
		n, err := strconv.ParseInt(c.infoValue(section, name), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	moves := func(section, name string, by int64, do func()) {
		t.Helper()
		before := number(section, name)
		do()
		if after := number(section, name); after-before < by {
			t.Errorf("%s went from %d to %d", name, before, after)
		}
	}
	get, set := func() { c.do("GET", "k") }, func() { c.do("SET", "k", "v") }
	moves("stats", "keyspace_misses", 1, get)
	set()
	moves("stats", "keyspace_hits", 1, get)
	moves("stats", "total_commands_processed", 2, get)
	moves("stats", "total_reads_processed", 2, get)
	moves("stats", "total_writes_processed", 2, get)
	moves("stats", "total_net_input_bytes", 20, get)
	moves("stats", "total_net_output_bytes", 20, get)
	moves("stats", "total_error_replies", 3, func() { c.do("NOSUCH"); c.do("GET"); c.do("INCR", "k") })
	moves("stats", "total_connections_received", 1, func() { ts.dial().want("+PONG\r\n", "PING") })
	moves("clients", "connected_clients", 1, func() { ts.dial().want("+PONG\r\n", "PING") })
	moves("sett", "position", 1, set)
	moves("sett", "committed_position", 1, set)
	moves("sett", "applied_index", 1, set)
	moves("sett", "batches", 1, set)
	moves("sett", "flushed_index", 1, func() { set(); c.do("DEBUG", "SETT", "FLUSH") })
	moves("sett", "durable_index", 1, func() { set(); c.do("DEBUG", "SETT", "FLUSH") })
	c.do("SET", "expiring", "x", "EX", "100")
	c.do("SELECT", "7")
	set()
	if got := c.do("INFO", "keyspace"); !strings.HasSuffix(got, "# Keyspace\r\ndb0:keys=2,expires=1\r\ndb7:keys=1,expires=0\r\n\r\n") {
		t.Errorf("got %q", got)
	}
}

// TestCommandStats counts each command where it belongs, those within MULTI and those that were refused included.
func TestCommandStats(t *testing.T) {
	t.Parallel()
	c := startServer(t, setup{}).dial()
	c.do("SET", "k", "v")
	c.do("GET", "k", "x") // refused
	c.do("INCR", "k")     // fails
	c.do("CONFIG", "GET", "maxclients")
	c.do("MULTI")
	c.do("SET", "k", "w")
	c.do("INCR", "k")
	c.do("CONFIG", "GET", "maxclients")
	c.do("GET", "k")
	c.do("EXEC")
	text := c.do("INFO", "commandstats")
	for name, want := range map[string]string{
		"set": "2 0 0", "get": "1 1 0", "incr": "2 0 2", "config|get": "2 0 0", "exec": "1 0 0", "multi": "1 0 0",
	} {
		got := "nothing"
		for line := range strings.Lines(text) {
			if rest, ok := strings.CutPrefix(line, "cmdstat_"+name+":"); ok {
				var calls, usec, rejected, failed int
				var perCall float64
				if _, err := fmt.Sscanf(rest, "calls=%d,usec=%d,usec_per_call=%f,rejected_calls=%d,failed_calls=%d", &calls, &usec, &perCall, &rejected, &failed); err != nil {
					t.Fatal(err)
				}
				got = fmt.Sprint(calls, rejected, failed)
			}
		}
		if got != want {
			t.Errorf("%s: got %s, want %s (calls, rejected, failed)", name, got, want)
		}
	}
	if got := c.do("INFO", "errorstats"); !strings.Contains(got, "errorstat_ERR:count=3\r\n") {
		t.Errorf("got %q", got)
	}
	c.want("+OK\r\n", "CONFIG", "RESETSTAT")
	if got := c.do("INFO", "errorstats"); got != "$14\r\n# Errorstats\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}
