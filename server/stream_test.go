package server

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"sett/commands"
	"sett/resp"
)

// noise is n bytes that are the same for the same seed.
func noise(n int, seed uint64) string {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := 0; i < len(b); i += 8 {
		v := r.Uint64()
		for k := i; k < min(i+8, n); k++ {
			b[k] = byte(v >> (8 * (k - i)))
		}
	}
	return string(b)
}

// put stores a value of any size.
func (ts *testServer) put(key, value string) {
	ts.t.Helper()
	row := ts.data.Table().Lookup([]byte("set"))
	c := &commands.Call{Row: row, Args: [][]byte{[]byte("set"), []byte(key), []byte(value)}, W: &resp.Writer{}}
	if len(value) > commands.StagedAbove {
		staging, err := ts.data.Stage(len(value))
		if err != nil {
			ts.t.Fatal(err)
		}
		if err := staging.Write([]byte(value)); err != nil {
			ts.t.Fatal(err)
		}
		blob, err := staging.Finish()
		if err != nil {
			ts.t.Fatal(err)
		}
		c.Args[2], c.Staged = nil, []commands.StagedArg{{Arg: 2, Blob: blob}}
	}
	if err := ts.data.Do(c); err != nil || string(c.W.Bytes()) != "+OK\r\n" {
		ts.t.Fatalf("SET %s: %v, %q", key, err, c.W.Bytes())
	}
	if err := ts.store.Wait(c.Seen); err != nil {
		ts.t.Fatal(err)
	}
}

// cold has everything in Badger and nothing in memory.
func (ts *testServer) cold() {
	ts.t.Helper()
	if err := ts.store.Flush(); err != nil {
		ts.t.Fatal(err)
	}
	ts.store.DropCache()
}

// wantViews waits until so many views are open.
func (ts *testServer) wantViews(n int) {
	ts.t.Helper()
	for end := time.Now().Add(limit); ts.store.Status().Views != n; runtime.Gosched() {
		if time.Now().After(end) {
			ts.t.Fatalf("%d views are open, want %d", ts.store.Status().Views, n)
		}
	}
}

func bulk(value string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(value), value) }

// wantReplies reads replies and compares them, without showing megabytes.
func (c *client) wantReplies(want ...string) {
	c.t.Helper()
	for i, want := range want {
		if got := c.reply(); got != want {
			c.t.Fatalf("reply %d: %d bytes %.60q, want %d bytes %.60q", i, len(got), got, len(want), want)
		}
	}
}

// TestStreamedReplies has long strings between short replies, hot and cold.
func TestStreamedReplies(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	three, forty, short := noise(3<<20, 1), noise(40<<20, 2), noise(50_000, 3)
	ts.put("three", three)
	ts.put("forty", forty)
	ts.put("short", short)
	c := ts.dial()
	for _, cold := range []bool{false, true} {
		if cold {
			ts.cold()
		}
		c.send(encode("PING") + encode("GET", "three") + encode("GET", "short") + encode("GET", "forty") + encode("PING") +
			encode("MGET", "short", "three", "none", "forty", "three") + encode("GETRANGE", "forty", "70001", "2170001") +
			encode("SUBSTR", "three", "1", "-2") + encode("SET", "short", short, "GET") + encode("STRLEN", "forty") + encode("GETEX", "three", "EX", "1000") +
			encode("GETRANGE", "three", "0", "1048575") + encode("GETRANGE", "three", "0", "1048576"))
		c.wantReplies("+PONG\r\n", bulk(three), bulk(short), bulk(forty), "+PONG\r\n",
			"*5\r\n"+bulk(short)+bulk(three)+"$-1\r\n"+bulk(forty)+bulk(three), bulk(forty[70001:2170002]),
			bulk(three[1:len(three)-1]), bulk(short), fmt.Sprintf(":%d\r\n", len(forty)), bulk(three), bulk(three[:1<<20]), bulk(three[:1<<20+1]))
	}
	c.send(encode("SET", "three", "x", "GET") + encode("GETSET", "three", "y") + encode("GETDEL", "forty") + encode("GET", "forty"))
	c.wantReplies(bulk(three), bulk("x"), bulk(forty), "$-1\r\n")
	ts.wantViews(0)
	if n := c.infoValue("sett", "replies_cut_short"); n != "0" {
		t.Fatalf("replies_cut_short: %s", n)
	}
}

// TestStreamsInMulti reads a string before and after each change of the same transaction.
func TestStreamsInMulti(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	value := noise(2<<20, 1)
	for _, cold := range []bool{false, true} {
		ts.put("k", value)
		if cold {
			ts.cold()
		}
		c := ts.dial()
		steps := [][]string{
			{"GET", "k"}, {"APPEND", "k", "tail"}, {"GET", "k"}, {"CONFIG", "GET", "maxclients"}, {"SETRANGE", "k", "1000000", "middle"},
			{"GET", "k"}, {"MGET", "k", "k"}, {"LPUSHX"}, {"INCR", "k"}, {"RENAME", "k", "l"}, {"GET", "k"}, {"GET", "l"}, {"GETSET", "l", "short"}, {"GET", "l"},
			{"CONFIG", "GET", "maxclients"}, {"SETRANGE", "m", "2000000", "x"}, {"GET", "m"}, {"DEL", "m"}, {"GET", "m"},
		}
		appended := value + "tail"
		changed := appended[:1000000] + "middle" + appended[1000006:]
		config := "*2\r\n$10\r\nmaxclients\r\n$5\r\n10000\r\n"
		length := fmt.Sprintf(":%d\r\n", len(appended))
		want := []string{
			bulk(value), length, bulk(appended), config, length,
			bulk(changed), "*2\r\n" + bulk(changed) + bulk(changed), "", "-ERR value is not an integer or out of range\r\n", "+OK\r\n", "$-1\r\n", bulk(changed), bulk(changed), bulk("short"),
			config, ":2000001\r\n", bulk(strings.Repeat("\x00", 2000000) + "x"), ":1\r\n", "$-1\r\n",
		}
		c.want("+OK\r\n", "MULTI")
		array := ""
		for i, step := range steps {
			if want[i] == "" {
				continue
			}
			c.want("+QUEUED\r\n", step...)
			array += want[i]
		}
		c.send(encode("EXEC") + encode("GET", "k") + encode("GET", "l"))
		c.wantReplies("*18\r\n"+array, "$-1\r\n", bulk("short"))
	}
	ts.wantViews(0)
	c := ts.dial()
	if got := c.infoValue("commandstats", "cmdstat_incr"); !strings.HasSuffix(got, "failed_calls=2") {
		t.Errorf("cmdstat_incr: %s", got)
	}
	if got := c.infoValue("commandstats", "cmdstat_append"); !strings.HasSuffix(got, "failed_calls=0") {
		t.Errorf("cmdstat_append: %s", got)
	}
}

// TestStreamKeepsItsValue overwrites and deletes the string, flushes and compacts, while a slow client reads it: it gets the old bytes, and
// nobody waits for it.
func TestStreamKeepsItsValue(t *testing.T) {
	t.Parallel()
	for name, cold := range map[string]bool{"hot": false, "cold": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ts := startServer(t, setup{})
			old := noise(40<<20, 1)
			ts.put("k", old)
			ts.put("l", "x")
			if cold {
				ts.cold()
			}
			slow, other := ts.dial(), ts.dial()
			slow.send(encode("GET", "k"))
			got := make([]byte, 5000)
			if _, err := io.ReadFull(slow.r, got); err != nil {
				t.Fatal(err)
			}
			ts.wantViews(1)
			other.want("+OK\r\n", "SET", "k", "new")
			other.want("+OK\r\n", "RENAME", "l", "k")
			other.want(":1\r\n", "DEL", "k")
			ts.put("k", noise(3<<20, 2))
			other.want("+OK\r\n", "FLUSHALL")
			for range 2 {
				ts.cold()
				if err := ts.store.Barrier(); err != nil {
					t.Fatal(err)
				}
				if err := ts.store.Compact(); err != nil {
					t.Fatal(err)
				}
			}
			rest := make([]byte, len(bulk(old))-len(got))
			if _, err := io.ReadFull(slow.r, rest); err != nil {
				t.Fatal(err)
			}
			if string(got)+string(rest) != bulk(old) {
				t.Fatal("the slow client got other bytes")
			}
			slow.want("$-1\r\n", "GET", "k")
			ts.wantViews(0)
		})
	}
}

// TestStreamDisconnect has clients that leave in the middle of a reply, or before its first byte.
func TestStreamDisconnect(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	ts.put("k", noise(40<<20, 1))
	for i, linger := range []int{0, -1, 0, -1} {
		c := ts.dial()
		c.Conn.(*net.TCPConn).SetLinger(linger)
		c.send(encode("MGET", "k", "k", "k") + encode("GET", "k"))
		if i > 1 {
			c.r.Peek(1000)
			ts.wantViews(1)
		}
		c.Close()
		ts.wantViews(0)
	}
	// A transaction whose reply never leaves.
	c := ts.dial()
	ts.log.hold()
	c.send(encode("MULTI") + encode("GET", "k") + encode("SET", "k", "new") + encode("EXEC"))
	<-ts.log.arrived
	ts.wantViews(1)
	c.Close()
	ts.log.release(t)
	ts.wantViews(0)
}

// TestStreamCutShort ends the view of a reply that has begun to leave: the client must not take the rest for something else.
func TestStreamCutShort(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	ts.put("k", noise(40<<20, 1))
	c, other := ts.dial(), ts.dial()
	c.send(encode("GET", "k") + encode("PING"))
	if _, err := c.r.Peek(1000); err != nil {
		t.Fatal(err)
	}
	if err := ts.store.Reload(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(c.r)
	if err != nil && !ended(err) {
		t.Fatal(err)
	}
	if len(rest) >= 40<<20 || strings.HasSuffix(string(rest), "+PONG\r\n") {
		t.Fatalf("%d bytes have arrived", len(rest))
	}
	ts.wantViews(0)
	if n := other.infoValue("sett", "replies_cut_short"); n != "1" {
		t.Errorf("replies_cut_short: %s", n)
	}
	if !strings.Contains(ts.lines.String(), "a reply could not be sent to its end") {
		t.Error("the log has nothing of it")
	}
	other.want(fmt.Sprintf(":%d\r\n", 40<<20), "STRLEN", "k")
}

// TestStreamInDoubt: replies that became doubtful close what they would have streamed, those that did not still stream.
func TestStreamInDoubt(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	value := noise(2<<20, 1)
	ts.put("k", value)
	ts.put("l", value)
	c, d := ts.dial(), ts.dial()
	ts.log.hold()
	c.send(encode("SET", "x", "1"))
	<-ts.log.arrived
	d.send(encode("PING") + encode("INCR", "n") + encode("GETSET", "k", "new"))
	ts.wantViews(1)
	ts.log.loseLeadership()
	if got := c.reply(); !strings.HasPrefix(got, "-INDOUBT") {
		t.Errorf("got %q", got)
	}
	for _, want := range []string{"+PONG", "-INDOUBT", "-INDOUBT"} {
		if got := d.reply(); !strings.HasPrefix(got, want) {
			t.Errorf("got %.60q, want %q", got, want)
		}
	}
	ts.wantViews(0)
	for _, c := range []*client{c, d} {
		c.send(encode("GET", "k") + encode("GET", "l"))
		c.wantReplies(bulk(value), bulk(value))
	}
	ts.wantViews(0)
}

// TestStreamMemory: a client that does not read its reply costs about a piece, whatever the length of the string.
func TestStreamMemory(t *testing.T) {
	ts := startServer(t, setup{})
	ts.log.forget = true
	ts.put("k", noise(40<<20, 1))
	ts.cold()
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc) - int(ts.store.Status().CacheBytes)
	}
	before := heap()
	const n = 20
	for range n {
		c := ts.dial()
		c.send(strings.Repeat(encode("GET", "k"), 50))
		if _, err := c.r.Peek(1); err != nil {
			t.Fatal(err)
		}
	}
	ts.wantViews(n)
	other := ts.dial()
	for i := range 2000 { // generations come and go
		other.want("+OK\r\n", "SET", fmt.Sprint("other:", i%10), noise(10_000, uint64(i)))
		if i%400 == 0 {
			if err := ts.store.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := ts.store.Flush(); err != nil {
		t.Fatal(err)
	}
	if each := (heap() - before) / n; each > 256<<10 {
		t.Fatalf("each client holds %d KiB", each>>10)
	}
}
