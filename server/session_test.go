package server

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"sett/commands"
	"sett/storage"
)

// TestPanicIsolation: a panic costs its own connection; the replies before it arrive, and everybody else goes on.
func TestPanicIsolation(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	other := ts.dial()
	other.want("+OK\r\n", "SET", "k", "v")

	c := ts.dial()
	c.send(encode("SET", "before", "1") + encode("GET", "before") + encode("DEBUG", "PANIC") + encode("SET", "after", "1"))
	for _, want := range []string{"+OK\r\n", "$1\r\n1\r\n"} {
		if got := c.reply(); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	c.wantClosed()

	// In the middle of a write, under the lock: it is rolled back and the lock is free.
	ts.rewrite("append", func(u *commands.Update) error {
		u.W.Status("half a re")
		panic("in a handler")
	})
	c = ts.dial()
	c.send(encode("APPEND", "k", "x"))
	c.wantClosed()
	c = ts.dial()
	c.send(encode("MULTI") + encode("SET", "k", "w") + encode("APPEND", "k", "x") + encode("EXEC"))
	for range 3 {
		c.reply()
	}
	c.wantClosed()

	other.want("$1\r\nv\r\n", "GET", "k")
	other.want("$-1\r\n", "GET", "after")
	other.want("+OK\r\n", "SET", "k", "v2")
	if got := other.infoValue("sett", "panics"); got != "3" {
		t.Fatalf("panics: %s", got)
	}
	if !strings.Contains(ts.lines.String(), "a command panicked") {
		t.Fatal("the log does not mention it")
	}
	select {
	case err := <-ts.fatal:
		t.Fatalf("the process would have ended: %v", err)
	default:
	}
}

// rewrite has a row do something else for the clients that come after. Whoever lets the next one in takes the lock as well.
func (ts *testServer) rewrite(name string, write func(*commands.Update) error) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.opts.Table.Lookup([]byte(name)).Write = write
}

// TestBrokenStorage: a panic that storage marks ends the process.
func TestBrokenStorage(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	ts.rewrite("append", func(*commands.Update) error { panic(storage.InvariantError{What: "a test"}) })
	c := ts.dial()
	c.send(encode("APPEND", "k", "x"))
	if err := <-ts.fatal; err.Error() != "storage: broken invariant: a test" {
		t.Fatal(err)
	}
}

// TestSessionRowsInMulti: what only looks is answered at its place in EXEC's reply, what needs the lock itself after the transaction, and
// both stand where they belong.
func TestSessionRowsInMulti(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	c.want("+OK\r\n", "MULTI")
	for _, command := range []string{
		"ECHO first", "INFO keyspace", "SET k v", "CONFIG GET maxclients", "CONFIG SET maxclients 9999", "CONFIG GET maxclients", "SELECT 5",
		"SET k w", "DEBUG SETT NOSUCH", "CONFIG RESETSTAT", "DEBUG SETT FLUSH", "UNWATCH", "INFO keyspace", "GET k",
	} {
		c.want("+QUEUED\r\n", strings.Fields(command)...)
	}
	keyspace := "# Keyspace\r\ndb0:keys=1,expires=0\r\ndb5:keys=1,expires=0\r\n"
	keyspace = fmt.Sprintf("$%d\r\n%s\r\n", len(keyspace), keyspace)
	c.want("*14\r\n$5\r\nfirst\r\n"+keyspace+"+OK\r\n*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n+OK\r\n*2\r\n$10\r\nmaxclients\r\n$4\r\n9999\r\n"+
		"+OK\r\n+OK\r\n-ERR unknown subcommand or wrong number of arguments for 'NOSUCH'. Try DEBUG HELP.\r\n+OK\r\n+OK\r\n+OK\r\n"+keyspace+"$1\r\nw\r\n", "EXEC")
	c.want("$1\r\nw\r\n", "GET", "k") // SELECT outlives the transaction
}

// TestMultiQueueLimit: a transaction that is too large is refused before it has any effect.
func TestMultiQueueLimit(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{limits: func(l *Limits) { l.MaxQueryBytes = 1 << 20 }})
	c := ts.dial()
	c.want("+OK\r\n", "MULTI")
	value := strings.Repeat("x", 100_000)
	refused := 0
	for i := range 15 {
		if got := c.do("SET", fmt.Sprint("k", i), value); got != "+QUEUED\r\n" {
			refused++
		}
	}
	if refused == 0 {
		t.Fatal("nothing was refused")
	}
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	c.want(":0\r\n", "DBSIZE")
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "SET", "k", value)
	c.want("*1\r\n+OK\r\n", "EXEC")
}

// TestLargeMulti queues more than fits the first blocks.
func TestLargeMulti(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	const n = 5000
	var b, want strings.Builder
	b.WriteString(encode("MULTI"))
	for i := range n {
		b.WriteString(encode("SET", fmt.Sprint("k", i), strings.Repeat(fmt.Sprint(i%10), i%300)))
	}
	b.WriteString(encode("EXEC"))
	fmt.Fprintf(&want, "*%d\r\n%s", n, strings.Repeat("+OK\r\n", n))
	go c.Write([]byte(b.String()))
	for i := range n + 1 {
		if got := c.reply(); got != "+OK\r\n" && got != "+QUEUED\r\n" {
			t.Fatalf("reply %d: %q", i, got)
		}
	}
	if got := c.reply(); got != want.String() {
		t.Fatalf("EXEC answered %d bytes that start with %.60q", len(got), got)
	}
	for i := range n {
		value := strings.Repeat(fmt.Sprint(i%10), i%300)
		c.want(fmt.Sprintf("$%d\r\n%s\r\n", len(value), value), "GET", fmt.Sprint("k", i))
	}
}

// TestWatchEndsWithConnection: a session that goes leaves no keys watched.
func TestWatchEndsWithConnection(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c, other := ts.dial(), ts.dial()
	c.want("+OK\r\n", "WATCH", "k")
	c.want("+OK\r\n", "QUIT")
	c.wantClosed()
	other.want("+OK\r\n", "SET", "k", "v")
}

// TestDebugAccess: DEBUG is for those who were let in.
func TestDebugAccess(t *testing.T) {
	t.Parallel()
	for access, want := range map[DebugAccess]string{DebugNobody: "-" + string(errNoDebug) + "\r\n", DebugLocal: "+OK\r\n", DebugAll: "+OK\r\n"} {
		ts := startServer(t, setup{debug: access})
		ts.dial().want(want, "DEBUG", "SLEEP", "0")
	}
	if (&session{server: &Server{opts: Options{Debug: DebugLocal}}, peer: &peer{}}).mayDebug() {
		t.Error("local lets everybody in")
	}
	c := startServer(t, setup{debug: DebugNobody}).dial()
	c.want("+OK\r\n", "MULTI")
	c.want("-"+string(errNoDebug)+"\r\n", "DEBUG", "SLEEP", "0")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
}

// TestDebugHooks runs each of sett's own on a real store.
func TestDebugHooks(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	c.want("+OK\r\n", "SET", "k", "v")
	digest := c.do("DEBUG", "DIGEST")
	for _, command := range []string{
		"PAUSE-FLUSH 1", "PAUSE-FLUSH 0", "FLUSH", "DROP-CACHE", "COMPACT", "CLOCK 5000", "CLOCK 0", "DISK-FREE -1",
	} {
		c.want("+OK\r\n", append([]string{"DEBUG", "SETT"}, strings.Fields(command)...)...)
	}
	if got := c.infoValue("sett", "flushes"); got == "0" {
		t.Error("FLUSH did not flush")
	}
	c.want("+OK\r\n", "DEBUG", "SETT", "DISK-FREE", "1000")
	if got := c.do("SET", "k", "w"); !strings.HasPrefix(got, "-MISCONF ") {
		t.Errorf("a write on a full disk: %q", got)
	}
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "SET", "k", "w")
	if got := c.do("EXEC"); !strings.HasPrefix(got, "-EXECABORT Transaction discarded because of: MISCONF ") || strings.Count(got, "\r\n") != 1 {
		t.Errorf("EXEC on a full disk: %q", got)
	}
	c.want("+OK\r\n", "DEBUG", "SETT", "DISK-FREE", "-1")
	c.want("+OK\r\n", "SET", "k", "v")
	c.want(digest, "DEBUG", "DIGEST")
	c.want("$1\r\nv\r\n", "GET", "k")
}

// TestTime follows DEBUG SETT CLOCK.
func TestTime(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	sec := func() int64 {
		parts := strings.Split(c.do("TIME"), "\r\n")
		us, err := strconv.Atoi(parts[4])
		if parts[0] != "*2" || err != nil || us < 0 || us >= 1e6 {
			t.Fatalf("TIME answers %q", parts)
		}
		n, _ := strconv.ParseInt(parts[2], 10, 64)
		return n
	}
	before := sec()
	c.want("+OK\r\n", "DEBUG", "SETT", "CLOCK", "1000000")
	if after := sec(); after < before+1000 {
		t.Errorf("TIME went from %d to %d", before, after)
	}
}
