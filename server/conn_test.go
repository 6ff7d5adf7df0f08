package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestPipelineSplitAnywhere sends the same pipeline cut in two at every byte, and byte by byte: the replies must not depend on it.
func TestPipelineSplitAnywhere(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	pipeline := encode("SET", "key", "a value") + "GET key\r\n" + encode("MULTI") + encode("APPEND", "key", "\r\n*1\r\n") + "STRLEN  'key'\n" +
		encode("EXEC") + "\r\n" + encode("NOSUCH", "x") + encode("GET") + "*0\r\n" + encode("GET", "key")
	want := "+OK\r\n$7\r\na value\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:13\r\n:13\r\n-ERR unknown command 'NOSUCH', with args beginning with: 'x' \r\n" +
		"-ERR wrong number of arguments for 'get' command\r\n$13\r\na value\r\n*1\r\n\r\n"
	check := func(c *client, what string) {
		t.Helper()
		got := make([]byte, len(want))
		if n, err := io.ReadFull(c.r, got); err != nil || string(got) != want {
			t.Fatalf("%s: %v\n got %q\nwant %q", what, err, got[:n], want)
		}
	}
	c := ts.dial()
	c.Conn.(*net.TCPConn).SetNoDelay(true)
	for cut := 1; cut < len(pipeline); cut++ {
		c.send(pipeline[:cut])
		c.want2(ts) // another connection's round trip: the first part has had its chance to arrive alone
		c.send(pipeline[cut:])
		check(c, fmt.Sprintf("cut at %d", cut))
	}
	for i := range pipeline {
		c.send(pipeline[i : i+1])
	}
	check(c, "byte by byte")
}

// want2 makes a round trip on a connection of its own.
func (c *client) want2(ts *testServer) {
	c.t.Helper()
	other := ts.dial()
	defer other.Close()
	other.want("+PONG\r\n", "PING")
}

// TestHugePipeline sends a pipeline much larger than any buffer and reads the replies beside it.
func TestHugePipeline(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	const n = 20_000
	value := strings.Repeat("v", 100)
	go func() {
		var b strings.Builder
		for i := range n {
			b.WriteString(encode("SET", fmt.Sprint("key:", i), value) + encode("GET", fmt.Sprint("key:", i)) + encode("INCR", "n"))
		}
		io.WriteString(c, b.String())
	}()
	for i := range n {
		for _, want := range []string{"+OK\r\n", "$100\r\n" + value + "\r\n", fmt.Sprintf(":%d\r\n", i+1)} {
			if got := c.reply(); got != want {
				t.Fatalf("command group %d: got %q, want %q", i, got, want)
			}
		}
	}
	c.want(fmt.Sprintf(":%d\r\n", n+1), "DBSIZE")
}

// TestLargeArguments grows the read buffer and gives it back.
func TestLargeArguments(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{limits: func(l *Limits) { l.MaxBulkBytes = 1 << 20 }})
	c := ts.dial()
	for _, size := range []int{1, readBytes - 40, readBytes, 3*readBytes + 1, 1 << 20, 10} {
		value := strings.Repeat("x", size)
		c.want("+OK\r\n", "SET", "k", value)
		c.want(fmt.Sprintf("$%d\r\n%s\r\n", size, value), "GET", "k")
	}
	c.send(fmt.Sprintf("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", 1<<20+1))
	if got := c.reply(); got != "-ERR Protocol error: invalid bulk length\r\n" {
		t.Fatalf("got %q", got)
	}
}

// TestDisconnects leaves in the middle of everything; others go on, and the connections are forgotten.
func TestDisconnects(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	for _, raw := range []string{"", "*", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nabc", encode("MULTI") + encode("SET", "k", "v"), encode("WATCH", "k"), "GET k"} {
		c := ts.dial()
		c.send(raw)
		c.Close()
	}
	// One that dies with its replies unread.
	c := ts.dial()
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.send(strings.Repeat(encode("INFO"), 100))
	c.reply()
	c.Close()

	other := ts.dial()
	for other.infoValue("clients", "connected_clients") != "1" {
	}
	other.want("$-1\r\n", "GET", "k")
}

// TestMaxClients turns the ones beyond away, with Redis' words.
func TestMaxClients(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{limits: func(l *Limits) { l.MaxClients = 2 }})
	a, b := ts.dial(), ts.dial()
	a.want("+PONG\r\n", "PING")
	b.want("+PONG\r\n", "PING")
	c := ts.dial()
	if got := c.reply(); got != "-ERR max number of clients reached\r\n" {
		t.Fatalf("got %q", got)
	}
	c.wantClosed()
	if got := a.infoValue("stats", "rejected_connections"); got != "1" {
		t.Fatalf("rejected_connections: %s", got)
	}
	ts.SetLimits(func(l *Limits) { l.MaxClients = 3 })
	ts.dial().want("+PONG\r\n", "PING")
}

// TestTimeout closes a connection that is idle, and none that is busy or younger.
func TestTimeout(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{limits: func(l *Limits) { l.TimeoutSec = 1 }})
	idle := ts.dial()
	idle.want("+PONG\r\n", "PING")
	idle.wantClosed()
}

// TestSlowReader has a client that reads nothing: it blocks only itself.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	slow, other := ts.dial(), ts.dial()
	value := strings.Repeat("x", 1<<20)
	other.want("+OK\r\n", "SET", "big", value)
	const n = 64 // more than the sockets' buffers take
	slow.send(strings.Repeat(encode("GET", "big"), n))
	for range 100 {
		other.want("+OK\r\n", "SET", "k", "v")
	}
	for range n {
		if got := slow.reply(); len(got) != len(value)+len("$1048576\r\n\r\n") {
			t.Fatalf("a reply of %d bytes", len(got))
		}
	}
}

// TestShutdown finishes what runs: every reply that was begun arrives whole, then the connection ends; no errors.
func TestShutdown(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	type end struct {
		replies int
		err     error
	}
	ends := make(chan end)
	begun := make(chan struct{}, 4)
	for range cap(begun) {
		c := ts.dial()
		go func() {
			n := 0
			for {
				if _, err := io.WriteString(c, encode("INCR", "n")); err != nil {
					ends <- end{n, nil}
					return
				}
				reply, err := readReply(c.r)
				if err != nil && reply == "" {
					ends <- end{n, nil}
					return
				}
				if err != nil || reply[0] != ':' {
					ends <- end{n, fmt.Errorf("reply %q, %v", reply, err)}
					return
				}
				if n++; n == 10 {
					begun <- struct{}{}
				}
			}
		}()
	}
	for range cap(begun) {
		<-begun
	}
	ts.Shutdown(limit)
	for range cap(begun) {
		if e := <-ends; e.err != nil {
			t.Error(e.err)
		}
	}
	if _, err := net.DialTimeout("tcp", ts.addr, time.Second); err == nil {
		t.Error("the server still listens")
	}
}

// TestLastTurn: a client that is between two commands when the server stops has its next one answered, and the end of the connection behind the reply;
// within a transaction it may go on to its end.
func TestLastTurn(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	ts.lastTurn = limit
	c, multi, large := ts.dial(), ts.dial(), ts.dial()
	for _, client := range []*client{c, multi, large} {
		client.want("+PONG\r\n", "PING")
	}
	multi.want("+OK\r\n", "MULTI")
	done := make(chan struct{})
	go func() { ts.Shutdown(limit); close(done) }()
	eventually(t, "the server leaves", ts.leaving.Load)
	c.want("+PONG\r\n", "PING")
	c.wantClosed()
	multi.want("+QUEUED\r\n", "INCR", "n")
	multi.want("*1\r\n:1\r\n", "EXEC")
	multi.wantClosed()
	large.send(strings.Repeat(encode("INCR", "m"), 1000)) // a pipeline, to its end
	for i := range 1000 {
		if got := large.reply(); got != fmt.Sprintf(":%d\r\n", i+1) {
			t.Fatalf("reply %d is %q", i, got)
		}
	}
	large.wantClosed()
	<-done
}

// TestShutdownCommand answers nothing and leaves the connection open until the process ends.
func TestShutdownCommand(t *testing.T) {
	t.Parallel()
	for command, save := range map[string]bool{"SHUTDOWN": true, "SHUTDOWN NOSAVE": false, "SHUTDOWN SAVE NOW FORCE": true} {
		ts := startServer(t, setup{})
		c, other := ts.dial(), ts.dial()
		other.want("+PONG\r\n", "PING")
		c.send(encode("SET", "k", "v") + encode(strings.Fields(command)...) + encode("SET", "k", "late"))
		if got := c.reply(); got != "+OK\r\n" {
			t.Fatalf("got %q", got)
		}
		if got := <-ts.stops; got != save {
			t.Fatalf("%s: save is %v", command, got)
		}
		ts.Shutdown(limit)
		other.wantClosed()
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := c.r.ReadByte(); err == nil || !err.(net.Error).Timeout() {
			t.Fatalf("%s: the connection ended before the process: %v", command, err)
		}
		c.SetReadDeadline(time.Now().Add(limit))
		ts.Close()
		c.wantClosed()
	}
}

// TestLoading answers -LOADING until the log is replayed, and serves what needs no data.
func TestLoading(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{loading: true})
	c := ts.dial()
	const loading = "-LOADING Redis is loading the dataset in memory\r\n"
	for _, command := range []string{"PING", "GET a", "SET a b", "MULTI", "WATCH a", "SELECT 1", "DEBUG SLEEP 0", "LOLWUT", "SAVE"} {
		c.want(loading, strings.Fields(command)...)
	}
	c.want("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", "ROLE")
	for _, command := range []string{"TIME", "LASTSAVE"} {
		if got := c.do(command); strings.HasPrefix(got, "-") {
			t.Errorf("%s: %q", command, got)
		}
	}
	c.want("*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n", "CONFIG", "GET", "maxclients")
	if got := c.infoValue("persistence", "loading"); got != "1" {
		t.Fatalf("loading: %s", got)
	}
	c.want("-ERR wrong number of arguments for 'get' command\r\n", "GET")
	ts.Begin(ts.newEngine(ts.data))
	c.want("$-1\r\n", "GET", "a")
	if got := c.infoValue("persistence", "loading"); got != "0" {
		t.Fatalf("loading: %s", got)
	}
}

// TestLooksForItsCluster: whoever does not know a leader is none.
func TestLooksForItsCluster(t *testing.T) {
	t.Parallel()
	c := startServer(t, setup{loading: true, looks: true}).dial()
	c.want("*5\r\n$5\r\nslave\r\n$0\r\n\r\n:0\r\n$7\r\nconnect\r\n:0\r\n", "ROLE")
	if got := c.infoValue("replication", "role"); got != "slave" {
		t.Errorf("INFO: %s", got)
	}
}

// TestListen knows Redis' notation of addresses.
func TestListen(t *testing.T) {
	t.Parallel()
	listeners, err := Listen([]string{"127.0.0.1", "-192.0.2.1", "-::1"}, 0, 511)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(listeners)
	port := listeners[0].Addr().(*net.TCPAddr).Port
	if _, err := Listen([]string{"127.0.0.1"}, port, 511); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a port in use: %v", err)
	}
	if _, err := Listen([]string{"192.0.2.1"}, 0, 511); err == nil {
		t.Error("an address of another machine is accepted")
	}
	if _, err := Listen([]string{"-192.0.2.1"}, 0, 511); err == nil {
		t.Error("no listener is left, and no error")
	}
}
