package server

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func (tm *team) change(f func()) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	f()
}

// TestReadLease: without its lease a leader asks the others before a read's reply leaves, and says nothing that may be outdated.
func TestReadLease(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{}, "a", "b")
	near, far := tm.dial("a"), tm.dial("b")
	near.want("+OK\r\n", "SET", "k", "v")
	asked := 0
	tm.change(func() { tm.confirm = func() error { asked++; return nil } })
	for _, c := range []*client{near, far} {
		c.want("$1\r\nv\r\n", "GET", "k")
	}
	if asked > 0 {
		t.Fatal("somebody was asked in spite of the lease")
	}
	tm.change(func() { tm.lease = false })
	for i, c := range []*client{near, far} {
		c.want("$1\r\nv\r\n", "GET", "k")
		tm.change(func() {
			if asked != i+1 {
				t.Errorf("asked %d times for %d reads", asked, i+1)
			}
		})
	}
}

// TestReadOutdated: a leader that cannot make sure gives no reply to what reads, and all others.
func TestReadOutdated(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"lease", "linearizable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			tm := startTeam(t, setup{}, "a", "b")
			for _, c := range []*client{tm.dial("a"), tm.dial("b")} {
				c.want("+OK\r\n", "SETT", "READ", level)
				c.want("+OK\r\n", "SET", "k", "v")
				tm.change(func() { tm.lease, tm.confirm = false, func() error { return errNobody } })
				c.send(encode("SET", "k", "w") + encode("GET", "k") + encode("PING") + encode("SETNX", "k", "x") + encode("MULTI") + encode("GET", "k") +
					encode("EXEC") + encode("INCR", "n") + encode("INCRBY", "k", "1"))
				for i, want := range []string{"+OK\r\n", "-TRYAGAIN ", "+PONG\r\n", "-TRYAGAIN ", "+OK\r\n", "+QUEUED\r\n", "-TRYAGAIN ", ":", "-TRYAGAIN "} {
					if got := c.reply(); !strings.HasPrefix(got, want) {
						t.Fatalf("reply %d is %q", i, got)
					}
				}
				tm.change(func() { tm.confirm = nil })
				c.want("$1\r\nw\r\n", "GET", "k")
				tm.change(func() { tm.lease = true })
			}
		})
	}
}

// TestReadMovesOn: reads that a leader has run, and cannot vouch for because it leads no more, are run where the next one is. Nobody notices.
func TestReadMovesOn(t *testing.T) {
	t.Parallel()
	for _, node := range []string{"a", "c"} {
		t.Run(node, func(t *testing.T) {
			t.Parallel()
			tm := startTeam(t, setup{}, "a", "b", "c")
			for id, value := range map[string]string{"a": "old", "b": "new"} {
				tm.elect(id)
				tm.dial(id).want("+OK\r\n", "SET", "k", value)
			}
			tm.elect("a")
			c := tm.dial(node)
			c.want("$3\r\nold\r\n", "GET", "k")
			tm.change(func() {
				tm.lease = false
				tm.confirm = func() error {
					tm.confirm, tm.lease = nil, true
					tm.mu.Unlock()
					tm.elect("b")
					tm.mu.Lock()
					return errNobody
				}
			})
			c.send(encode("SET", "x", "1") + encode("GET", "k") + encode("STRLEN", "k") + encode("GET", "k"))
			for i, want := range []string{"+OK\r\n", "$3\r\nnew\r\n", ":3\r\n", "$3\r\nnew\r\n"} {
				if got := c.reply(); got != want {
					t.Fatalf("reply %d is %q, want %q", i, got, want)
				}
			}
			c.want("$3\r\nnew\r\n", "GET", "k")
		})
	}
}

// TestReadLinearizable: the others are asked about each read, once for all who wait.
func TestReadLinearizable(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{limits: func(l *Limits) { l.Linearizable = true }}, "a", "b")
	tm.dial("a").want("+OK\r\n", "SET", "k", "v")
	asked, gate := 0, make(chan struct{})
	tm.change(func() {
		tm.confirm = func() error {
			asked++
			tm.mu.Unlock()
			<-gate
			tm.mu.Lock()
			return nil
		}
	})
	var clients []*client
	for i := range 20 {
		clients = append(clients, tm.dial([]string{"a", "b"}[i%2]))
		clients[i].send(encode("GET", "k") + encode("GET", "k"))
	}
	for i := range 20 {
		select {
		case gate <- struct{}{}:
		case <-time.After(limit):
			t.Fatal("nobody asks")
		}
		if i == 0 { // those who came meanwhile share the next rounds
			close(gate)
			break
		}
	}
	for _, c := range clients {
		for range 2 {
			if got := c.reply(); got != "$1\r\nv\r\n" {
				t.Fatal(got)
			}
		}
	}
	tm.mu.Lock()
	defer tm.mu.Unlock()
	if asked == 0 || asked > 40 {
		t.Fatalf("%d rounds", asked)
	}
	t.Log(asked, "rounds for 20 clients")
}

// TestReadStale: a node that does not lead answers from what it has, if that is new enough, and if the client has written nothing newer.
func TestReadStale(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{}, "b", "a")
	tm.dial("b").want("+OK\r\n", "SET", "k", "old")
	tm.elect("a")
	tm.dial("a").want("+OK\r\n", "SET", "k", "new")
	c := tm.dial("b")
	c.want("$3\r\nnew\r\n", "GET", "k")
	c.want("+OK\r\n", "SETT", "READ", "stale", "1000")
	readsOld := func() bool { return c.do("GET", "k") == "$3\r\nold\r\n" } // until all that has travelled is answered, reads do as well
	eventually(t, "it reads what this node has", readsOld)
	tm.change(func() { tm.lag = 2 * time.Second })
	c.want("$3\r\nnew\r\n", "GET", "k")
	tm.change(func() { tm.lag = -1 })
	c.want("$3\r\nnew\r\n", "GET", "k")
	tm.change(func() { tm.lag = 0 })
	eventually(t, "it reads what this node has again", readsOld)
	for range 5 { // now the leader is further than this node
		c.want("+OK\r\n", "SET", "k", "newest")
	}
	c.want("$6\r\nnewest\r\n", "GET", "k")
	c.want("+OK\r\n", "SETT", "READ", "lease")
	c.want("$6\r\nnewest\r\n", "GET", "k")
	for _, wrong := range []string{"SETT READ", "SETT READ stale", "SETT READ stale -1", "SETT READ lease 5", "SETT READ never"} {
		if got := c.do(strings.Fields(wrong)...); got[0] != '-' {
			t.Fatalf("%s: %q", wrong, got)
		}
	}
}

// TestReadOwnWrites: a client that reads at level stale sees what it has written itself, in a transaction too, before it chose that level, and when the
// stream has ended meanwhile on which it was written.
func TestReadOwnWrites(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(tm *team, c *client){
		"plain": func(_ *team, c *client) {
			c.want("+OK\r\n", "SETT", "READ", "stale", "1000")
			c.want("+OK\r\n", "SET", "k", "new")
		},
		"transaction": func(_ *team, c *client) {
			c.want("+OK\r\n", "SETT", "READ", "stale", "1000")
			c.want("+OK\r\n", "MULTI")
			c.want("+QUEUED\r\n", "SET", "k", "new")
			c.want("*1\r\n+OK\r\n", "EXEC")
		},
		"before": func(_ *team, c *client) {
			c.want("+OK\r\n", "SET", "k", "new")
			c.want("+OK\r\n", "SETT", "READ", "stale", "1000")
		},
		"stream ended": func(tm *team, c *client) {
			c.want("+OK\r\n", "SETT", "READ", "stale", "1000")
			c.want("+OK\r\n", "SET", "k", "new")
			eventually(t, "the stream is given up", func() bool {
				tm.nodes["b"].eachLink(func(_ *conn, l *link) { l.stream.Close() })
				return tm.nodes["b"].stats.links.Load() == 0
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tm := startTeam(t, setup{}, "b", "a")
			tm.dial("b").want("+OK\r\n", "SET", "k", "old")
			tm.elect("a")
			for range 5 { // so the leader is further than this node
				tm.dial("a").want("+OK\r\n", "SET", "k", "before")
			}
			c := tm.dial("b")
			write(tm, c)
			c.want("$3\r\nnew\r\n", "GET", "k")
			c.want("$3\r\nnew\r\n", "GET", "k")
		})
	}
}

// TestReadIndex: an index that one node gives can be waited for at another.
func TestReadIndex(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{}, "a", "b")
	c := tm.dial("b")
	c.want("+OK\r\n", "SET", "k", "v")
	var index int
	if _, err := fmt.Sscanf(c.do("SETT", "INDEX"), ":%d\r\n", &index); err != nil || uint64(index) != tm.nodes["a"].store.Status().Applied {
		t.Fatal(index, err)
	}
	tm.dial("a").want("+OK\r\n", "SETT", "WAITINDEX", fmt.Sprint(index), "0")
	if got := c.do("SETT", "WAITINDEX", fmt.Sprint(index+1), "1"); !strings.HasPrefix(got, "-TRYAGAIN ") {
		t.Fatal(got)
	}
	for _, wrong := range []string{"SETT WAITINDEX x 1", "SETT WAITINDEX 1 x", "SETT WAITINDEX 1 -1", "SETT WAITINDEX -1 1"} {
		if got := c.do(strings.Fields(wrong)...); !strings.HasPrefix(got, "-ERR") {
			t.Fatalf("%s: %q", wrong, got)
		}
	}
	alone := startServer(t, setup{}).dial()
	alone.want("+OK\r\n", "SET", "k", "v")
	alone.want("+OK\r\n", "SETT", "WAITINDEX", "1", "0")
	alone.want("+OK\r\n", "SETT", "READ", "linearizable")
	alone.want("$1\r\nv\r\n", "GET", "k")
}

// TestMoved: a client that wants to know is told where the leader is.
func TestMoved(t *testing.T) {
	t.Parallel()
	tm := startTeam(t, setup{limits: func(l *Limits) { l.Moved = true }}, "a", "b")
	c := tm.dial("b")
	moved := "-MOVED 12182 " + tm.nodes["a"].addr + "\r\n"
	c.want(moved, "SET", "foo", "v")
	c.want(moved, "GET", "foo")
	c.want(moved, "WATCH", "foo")
	c.want(moved, "BLPOP", "foo", "0")
	c.want(moved, "SET", "foo", strings.Repeat("x", 2<<20))
	c.want("+PONG\r\n", "PING")
	c.want(":0\r\n", "DBSIZE")
	c.want("+OK\r\n", "MULTI")
	c.want(moved, "SET", "foo", "v")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	c.want("+OK\r\n", "READONLY")
	c.want("$-1\r\n", "GET", "foo")
	c.want(moved, "SET", "foo", "v")
	tm.change(func() { tm.lag = -1 })
	c.want(moved, "GET", "foo")
	leader := tm.dial("a")
	leader.want("+OK\r\n", "SET", "foo", "v")
	leader.want("$1\r\nv\r\n", "GET", "foo")
}
