package server

import (
	"strings"
	"testing"
	"time"
)

func (c *client) waitBlocked(n string) {
	c.t.Helper()
	for deadline := time.Now().Add(limit); c.infoValue("clients", "blocked_clients") != n; {
		if time.Now().After(deadline) {
			c.t.Fatalf("there are never %s blocked clients", n)
		}
	}
}

// TestPauseWrite: writes wait, in MULTI as well, everything else goes on.
func TestPauseWrite(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c, a, b, d := ts.dial(), ts.dial(), ts.dial(), ts.dial()
	a.want("+OK\r\n", "CLIENT", "SETNAME", "a")
	b.want("+OK\r\n", "MULTI")
	b.want("+QUEUED\r\n", "INCR", "n")
	d.want("+OK\r\n", "MULTI")
	d.want("+QUEUED\r\n", "GET", "n")
	c.want("+OK\r\n", "CLIENT", "PAUSE", "1000000", "WRITE")
	a.send(encode("GET", "n") + encode("SET", "k", strings.Repeat("x", 100_000)) + encode("STRLEN", "k") + encode("INCR", "n"))
	if got := a.reply(); got != "$-1\r\n" {
		t.Fatalf("what was read before the write: %q", got)
	}
	c.waitBlocked("1")
	b.send(encode("EXEC"))
	c.waitBlocked("2")
	d.want("*1\r\n$-1\r\n", "EXEC")
	d.want("+OK\r\n", "MULTI")
	d.send(encode("SET", "k", "v")) // is not even queued
	c.waitBlocked("3")
	a.want2(ts)
	if f := c.list()["a"]; f["flags"] != "b" {
		t.Errorf("flags: %v", f)
	}
	c.want("+OK\r\n", "CLIENT", "PAUSE", "1", "WRITE") // makes it no shorter
	c.want("$-1\r\n", "GET", "k")
	c.want("-ERR wrong number of arguments for 'set' command\r\n", "SET", "k")
	if !ts.Pausing() {
		t.Fatal("the pause is over")
	}
	c.want("+OK\r\n", "CLIENT", "UNPAUSE")
	for _, want := range []string{"+OK\r\n", ":100000\r\n"} {
		if got := a.reply(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	if got := d.reply(); got != "+QUEUED\r\n" {
		t.Fatalf("got %q", got)
	}
	a.reply()
	b.reply()
	c.want("$1\r\n2\r\n", "GET", "n")
	c.waitBlocked("0")
}

// TestPauseAll holds everything up until it is over by itself.
func TestPauseAll(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	c.want("+OK\r\n", "CLIENT", "PAUSE", "50")
	c.want("+PONG\r\n", "PING")
	if ts.Pausing() {
		t.Error("a reply came during the pause")
	}
}

// TestPauseEndsForThoseWhoLeave: a client that leaves, is killed, or whose server stops, does not wait for the end.
func TestPauseEndsForThoseWhoLeave(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	var waiting [3]*client
	for i := range waiting {
		waiting[i] = ts.dial()
		waiting[i].want("+OK\r\n", "CLIENT", "SETNAME", "w")
	}
	c.want("+OK\r\n", "CLIENT", "PAUSE", "1000000", "WRITE")
	for _, w := range waiting {
		w.send(encode("SET", "k", "v"))
	}
	c.waitBlocked("3")
	waiting[0].Close()
	c.waitBlocked("2")
	c.want(":1\r\n", "CLIENT", "KILL", "ID", c.list()["w"]["id"])
	c.waitBlocked("1")
	ts.Shutdown(limit)
	if n := ts.clients.Load(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

// TestPauseInMulti begins at the end of the transaction.
func TestPauseInMulti(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c, other := ts.dial(), ts.dial()
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "SET", "a", "1")
	c.want("+QUEUED\r\n", "CLIENT", "PAUSE", "1000000", "WRITE")
	c.want("+QUEUED\r\n", "SET", "b", "2")
	c.want("*3\r\n+OK\r\n+OK\r\n+OK\r\n", "EXEC")
	other.send(encode("SET", "a", "3"))
	c.waitBlocked("1")
	c.want("*2\r\n$1\r\n1\r\n$1\r\n2\r\n", "MGET", "a", "b")
	c.want("+OK\r\n", "CLIENT", "UNPAUSE")
	if got := other.reply(); got != "+OK\r\n" {
		t.Errorf("got %q", got)
	}
}

// TestLeavesBehindMore: who waits, sends more and closes is gone, though what was sent has not been read: nothing is popped for him.
func TestLeavesBehindMore(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c, other := ts.dial(), ts.dial()
	c.send(encode("BLPOP", "q", "0"))
	other.waitBlocked("1")
	c.send(encode("PING"))
	c.Close()
	other.waitBlocked("0")
	other.want(":1\r\n", "RPUSH", "q", "element")
	other.want(":1\r\n", "LLEN", "q")
}
