package server

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// onLoop tells whether the loop serves the newest connection.
func (ts *testServer) onLoop() bool {
	all := ts.peers()
	s := &all[len(all)-1].socket
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handle == nil
}

func needsLoop(t *testing.T, ts *testServer) {
	if ts.loop == nil {
		t.Skip("no loop on " + runtime.GOOS)
	}
}

// TestWhoLeavesTheLoop is the rule of session.isQuick, by example.
func TestWhoLeavesTheLoop(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	needsLoop(t, ts)
	many := func(words ...string) []string {
		for i := range 6000 {
			words = append(words, fmt.Sprint("k", i/2*2))
		}
		return words
	}
	ts.dial().want("+OK\r\n", "SET", "k", "1")
	for _, test := range []struct {
		stays    bool
		commands [][]string
	}{
		{true, [][]string{{"SET", "k", "1"}, {"GET", "k"}, {"INCR", "k"}, {"MGET", "k", "l"}, {"DEL", "l"}, {"EXPIRE", "k", "100"}, {"COPY", "k", "l"}}},
		{true, [][]string{{"PING"}, {"SELECT", "1"}, {"HELLO", "3"}, {"CLIENT", "SETNAME", "x"}, {"NOSUCH"}, {"GET"}, {"TIME"}, {"RESET"}}},
		{true, [][]string{{"WATCH", "k"}, {"MULTI"}, {"SET", "k", "2"}, {"PING"}, {"EXEC"}, {"MULTI"}, {"GET", "k"}, {"DISCARD"}}},
		{true, [][]string{{"SET", "m", strings.Repeat("v", 100_000)}, {"GET", "m"}}},
		{false, [][]string{{"KEYS", "*"}}},
		{false, [][]string{{"SCAN", "0"}}},
		{false, [][]string{{"LCS", "k", "l"}}},
		{false, [][]string{{"INFO"}}},
		{false, [][]string{{"DEBUG", "SLEEP", "0"}}},
		{false, [][]string{{"WAIT", "1", "1"}}},
		{false, [][]string{{"MULTI"}, {"KEYS", "*"}, {"EXEC"}}},
		{false, [][]string{{"MULTI"}, {"INFO"}, {"EXEC"}}},
		{false, [][]string{many("MSET")}},
		{false, [][]string{many("MGET")}},
		{false, [][]string{append([]string{"WATCH"}, many()...)}},
		{false, [][]string{{"SET", "s", strings.Repeat("v", 2<<20)}}},
		{false, [][]string{{"GET", "s"}}},
		{false, [][]string{{"COPY", "s", "t"}}},
	} {
		c := ts.dial()
		for _, words := range test.commands {
			c.do(words...)
		}
		if ts.onLoop() != test.stays {
			t.Errorf("%.10q …: on the loop: %v", test.commands[0][0], !test.stays)
		}
		c.Close()
		for len(ts.peers()) > 1 {
			runtime.Gosched()
		}
	}
}

// TestComesBack: a connection that left is the loop's again after a while, later each time that it has to leave again soon.
func TestComesBack(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	needsLoop(t, ts)
	c := ts.dial()
	var away []int
	for range 4 {
		c.do("KEYS", "*")
		turns := 0
		for ; !ts.onLoop(); turns++ {
			c.want("+PONG\r\n", "PING")
		}
		away = append(away, turns)
	}
	// The last reply of each stay leaves before the loop gets the connection.
	for i, want := range []int{minAway, 2 * minAway, 4 * minAway, 8 * minAway} {
		if away[i] < want-1 || away[i] > want+1 {
			t.Fatalf("away for %v turns", away)
		}
	}
	for range 17 * minAway {
		c.want("+PONG\r\n", "PING")
	}
	c.do("KEYS", "*")
	for range minAway + 1 {
		c.want("+PONG\r\n", "PING")
	}
	if !ts.onLoop() {
		t.Error("it has stayed for long, and is away for long all the same")
	}
	c.send("KEYS \"\\x2a\"\r\nPING\r\n") // parsing takes the quotes away where they lie
	c.wantReplies("*0\r\n", "+PONG\r\n")
	for !ts.onLoop() {
		c.want("+PONG\r\n", "PING")
	}
	// What it knew has come with it.
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "KEYS", "*")
	c.want("*1\r\n*0\r\n", "EXEC")
}

// TestLoopDoesNotWaitForTheDisk: while the log waits for an fsync the loop serves on, and what is written meanwhile becomes one entry.
func TestLoopDoesNotWaitForTheDisk(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	needsLoop(t, ts)
	reader := ts.dial()
	reader.want("+OK\r\n", "SET", "old", "1")
	disk := make(chan struct{})
	ts.log.disk.Store(&disk)
	var writers []*client
	for i := range 10 {
		w := ts.dial()
		w.send(encode("SET", fmt.Sprint("k", i), "v") + encode("PING"))
		writers = append(writers, w)
		reader.want("$1\r\n1\r\n", "GET", "old")
	}
	for ts.store.Status().Position < 11 {
		reader.want("$1\r\n1\r\n", "GET", "old")
	}
	writers[3].SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if got, err := writers[3].r.Peek(1); err == nil {
		t.Fatalf("a reply left before the commit: %q", got)
	}
	writers[3].SetReadDeadline(time.Now().Add(limit))
	close(disk)
	for _, w := range writers {
		w.wantReplies("+OK\r\n", "+PONG\r\n")
	}
	if n := ts.store.Stats().Entries.Load(); n > 8 { // one before, one in the log's hands, one of all others, and perhaps ends of generations
		t.Errorf("%d entries for 11 writes", n)
	}
}

// TestSlowReaderLeavesTheLoop: a client that does not take its replies holds up nobody, and gets them all in the end.
func TestSlowReaderLeavesTheLoop(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	needsLoop(t, ts)
	value := strings.Repeat("v", 500_000)
	other := ts.dial()
	other.want("+OK\r\n", "SET", "k", value)
	c := ts.dial()
	const n = 100
	c.send(strings.Repeat(encode("GET", "k"), n))
	for ts.onLoop() {
		other.want("+PONG\r\n", "PING")
	}
	other.want("+PONG\r\n", "PING")
	want := bulk(value)
	for range n {
		if got := c.reply(); got != want {
			t.Fatalf("got %.60q", got)
		}
	}
}

// TestPanicOnTheLoop costs the connection of the command, and no other.
func TestPanicOnTheLoop(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	needsLoop(t, ts)
	ts.mu.Lock() // which whoever lets the next connection in takes as well
	ts.handlers[ts.opts.Table.Lookup([]byte("time"))] = &handler{quick: true, run: func(*session, *buffers, [][]byte) { panic("planted") }}
	ts.mu.Unlock()
	other, c := ts.dial(), ts.dial()
	c.send(encode("PING") + encode("TIME") + encode("PING"))
	if got := c.reply(); got != "+PONG\r\n" {
		t.Errorf("got %q", got)
	}
	if _, err := c.r.ReadByte(); err == nil {
		t.Error("the connection goes on")
	}
	other.want("+PONG\r\n", "PING")
}
