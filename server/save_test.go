package server

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"sett/resp"
)

// slowSave is a Persistence whose saves end when the test says so, and fail if it says that.
type slowSave struct {
	began chan struct{}
	end   chan error
	syncs atomic.Int32
}

func (p *slowSave) Save() error {
	p.began <- struct{}{}
	return <-p.end
}

func (p *slowSave) Sync() error {
	p.syncs.Add(1)
	return nil
}

func slowSaver(t *testing.T) (*testServer, *slowSave) {
	ts := startServer(t, setup{loading: true})
	slow := &slowSave{began: make(chan struct{}), end: make(chan error)}
	engine := ts.newEngine(ts.data)
	engine.Persist = slow
	ts.Begin(engine)
	return ts, slow
}

// TestBackgroundSave meets BGSAVE and BGREWRITEAOF while another one runs.
func TestBackgroundSave(t *testing.T) {
	t.Parallel()
	ts, slow := slowSaver(t)
	c := ts.dial()
	ts.saver.mu.Lock()
	ts.saver.last.sec = 1000
	ts.saver.mu.Unlock()
	inProgress := func(save, rewrite string) {
		t.Helper()
		eventually(t, "saving "+save+", rewriting "+rewrite, func() bool {
			return c.infoValue("persistence", "rdb_bgsave_in_progress") == save && c.infoValue("persistence", "aof_rewrite_in_progress") == rewrite
		})
	}
	c.want("+Background saving started\r\n", "BGSAVE")
	<-slow.began
	inProgress("1", "0")
	c.want("-ERR Background save already in progress\r\n", "BGSAVE", "schedule")
	c.want("-ERR Background save already in progress\r\n", "SAVE")
	c.want("+Background append only file rewriting scheduled\r\n", "BGREWRITEAOF")
	c.want(":1000\r\n", "LASTSAVE")
	slow.end <- nil
	<-slow.began // the scheduled one
	inProgress("0", "1")
	if got := c.do("LASTSAVE"); got == ":1000\r\n" {
		t.Error("LASTSAVE did not move")
	}
	c.want("-ERR Background append only file rewriting already in progress\r\n", "BGREWRITEAOF")
	c.want("-"+string(errRewriteRuns)+"\r\n", "BGSAVE")
	c.want("+Background saving scheduled\r\n", "BGSAVE", "SCHEDULE")
	slow.end <- nil
	<-slow.began
	inProgress("1", "0")
	ts.saver.mu.Lock()
	ts.saver.last.sec = 1000
	ts.saver.mu.Unlock()
	slow.end <- errors.New("the disk is on fire")
	inProgress("0", "0")
	c.want(":1000\r\n", "LASTSAVE")
	if !strings.Contains(ts.lines.String(), "the disk is on fire") {
		t.Error("nobody said why it failed")
	}
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "BGSAVE")
	c.want("*1\r\n+Background saving scheduled\r\n", "EXEC")
	<-slow.began
	slow.end <- nil
	inProgress("0", "0")
	go func() { <-slow.began; slow.end <- errors.New("no") }()
	c.want("-ERR no\r\n", "SAVE")
}

// TestSaveIsDurable: after SAVE nothing is left in memory alone.
func TestSaveIsDurable(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	c.want("+OK\r\n", "SET", "k", "v")
	c.want("+OK\r\n", "SAVE")
	if now := ts.store.Status(); now.Durable.Index != now.Applied || now.Applied == 0 {
		t.Errorf("durable up to %d of %d", now.Durable.Index, now.Applied)
	}
}

func TestWaitAOF(t *testing.T) {
	t.Parallel()
	ts, slow := slowSaver(t)
	c := ts.dial()
	for _, test := range []struct{ args, want string }{
		{"1 0 0", "*2\r\n:1\r\n:0\r\n"},
		{"0 0 0", "*2\r\n:1\r\n:0\r\n"},
		{"1 1 5", "*2\r\n:1\r\n:0\r\n"},
		{"2 0 0", "-ERR value is out of range, value must between 0 and 1\r\n"},
		{"x 0 0", "-ERR value is not an integer or out of range\r\n"},
		{"0 -1 0", "-ERR value is out of range, must be positive\r\n"},
		{"0 0 -1", "-ERR timeout is negative\r\n"},
		{"0 0 x", "-ERR timeout is not an integer or out of range\r\n"},
	} {
		c.want(test.want, append([]string{"WAITAOF"}, strings.Fields(test.args)...)...)
	}
	if n := slow.syncs.Load(); n != 3 {
		t.Errorf("%d fsyncs, want 3", n)
	}
}

// TestEndOfWait: WAIT without a timeout ends with CLIENT UNBLOCK, and with the server.
func TestEndOfWait(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c, other := ts.dial(), ts.dial()
	id := strings.Trim(c.do("CLIENT", "ID"), ":\r\n")
	other.want(":0\r\n", "CLIENT", "UNBLOCK", id)
	waits := func() {
		t.Helper()
		c.send("WAIT 1 0\r\nPING\r\n")
		eventually(t, "WAIT waits", func() bool { return other.infoValue("clients", "blocked_clients") == "1" })
	}
	for _, how := range []struct{ name, want string }{{"timeout", ":0\r\n"}, {"error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"}} {
		waits()
		other.want(":1\r\n", "CLIENT", "UNBLOCK", id, how.name)
		c.wantReplies(how.want, "+PONG\r\n")
	}
	waits()
	other.want("+OK\r\n", "CLIENT", "PAUSE", "1", "WRITE") // wakes those who wait for its end, and nobody else
	other.want("+OK\r\n", "CLIENT", "UNPAUSE")
	other.want(":1\r\n", "CLIENT", "UNBLOCK", id)
	c.wantReplies(":0\r\n", "+PONG\r\n")
	c.send("WAIT 1 20\r\n")
	c.wantReplies(":0\r\n")
	waits()
	c.Close() // which is noticed
	eventually(t, "nobody waits", func() bool { return other.infoValue("clients", "blocked_clients") == "0" })
	c = ts.dial()
	waits()
	ts.Shutdown(limit)
	c.wantClosed()
}

// TestMinReplicas: there are none, so a minimum refuses every write.
func TestMinReplicas(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	c.want("+OK\r\n", "MULTI")
	c.want("+QUEUED\r\n", "SET", "k", "v")
	ts.SetLimits(func(l *Limits) { l.MinReplicas, l.MinReplicasLagSec = 1, 10 })
	c.want("-EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.\r\n", "EXEC")
	c.want("-NOREPLICAS Not enough good replicas to write.\r\n", "SET", "k", "v")
	c.want("$-1\r\n", "GET", "k")
	c.want("+OK\r\n", "MULTI")
	c.want("-NOREPLICAS Not enough good replicas to write.\r\n", "SET", "k", "v")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "EXEC")
	ts.SetLimits(func(l *Limits) { l.MinReplicasLagSec = 0 })
	c.want("+OK\r\n", "SET", "k", "v")
}

// TestRefusals: what needs what is not there says so.
func TestRefusals(t *testing.T) {
	t.Parallel()
	c := startServer(t, setup{}).dial()
	for _, command := range []string{"REPLICAOF 127.0.0.1 6379", "SYNC", "PSYNC ? -1", "REPLCONF capa eof", "MODULE LOAD x", "MODULE LOADEX x", "MODULE UNLOAD x",
		"CLUSTER MEET 127.0.0.1 6379", "CLUSTER ADDSLOTS 1", "CLUSTER RESET", "CLUSTER MYSHARDID"} {
		if got := c.do(strings.Fields(command)...); !strings.HasPrefix(got, "-ERR ") || strings.Contains(got, "unknown") {
			t.Errorf("%s: %q", command, got)
		}
	}
}

func TestDebugObject(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	c.want("-ERR no such key\r\n", "DEBUG", "OBJECT", "k")
	object := func(want string) (at string) {
		t.Helper()
		at, rest, _ := strings.Cut(c.do("DEBUG", "OBJECT", "k"), " refcount:")
		if !strings.HasPrefix(at, "+Value at:0x") || !strings.HasPrefix(rest, want) || !strings.Contains(rest, " lru_seconds_idle:0\r\n") {
			t.Errorf("%s refcount:%s", at, rest)
		}
		return at
	}
	c.want("+OK\r\n", "SET", "k", "12345678")
	at := object("1 encoding:int lru:")
	c.want(":8\r\n", "STRLEN", "k")
	c.want(":12345679\r\n", "INCR", "k")
	if object("1 encoding:int lru:") != at {
		t.Error("a key that changes moves")
	}
	c.want(":9\r\n", "APPEND", "k", "x")
	object("1 encoding:raw lru:")
}

// TestPauseCron: the ticker rests, and says nothing about the time.
func TestPauseCron(t *testing.T) {
	t.Parallel()
	ts := startServer(t, setup{})
	c := ts.dial()
	c.want("+OK\r\n", "DEBUG", "PAUSE-CRON", "1")
	eventually(t, "the ticker rests", func() bool {
		ts.stats.unixSec.Store(1)
		c.want("+OK\r\n", "DEBUG", "SLEEP", "0.3") // the time of three samples
		return ts.stats.now() == 1
	})
	c.want("+OK\r\n", "DEBUG", "PAUSE-CRON", "0")
	eventually(t, "the ticker works", func() bool { return ts.stats.now() > 1 })
}

func TestLolwut(t *testing.T) {
	t.Parallel()
	c := startServer(t, setup{}).dial()
	for _, test := range []struct {
		args        []string
		rows, width int
	}{
		{[]string{"LOLWUT"}, 16, 66}, {[]string{"LOLWUT", "VERSION", "5", "10", "3"}, 3, 10}, {[]string{"LOLWUT", "0", "99999"}, 1000, 1},
	} {
		_, text, _ := strings.Cut(c.do(test.args...), "\r\n")
		lines := strings.Split(strings.TrimSuffix(text, "\r\n"), "\n")
		if n := len(lines); n != test.rows+3 || lines[n-2] != "Redis ver. 7.2.4" || lines[n-1] != "" {
			t.Fatalf("%q: %q", test.args, lines)
		}
		for _, line := range lines[:test.rows] {
			if n := len([]rune(line)); n != test.width {
				t.Errorf("%q: a line of %d", test.args, n)
			}
		}
	}
	if a, b := c.do("LOLWUT"), c.do("LOLWUT"); a == b {
		t.Error("the same den twice")
	}
}

// TestSpecimens compares RESP3 replies with those of redis-server 7.0.15.
func TestSpecimens(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"double":   ",3.141\r\n",
		"bignum":   "(1234567999999999999999999999999999999\r\n",
		"null":     "_\r\n",
		"set":      "~3\r\n:0\r\n:1\r\n:2\r\n",
		"map":      "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n",
		"attrib":   "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n$39\r\nSome real reply following the attribute\r\n",
		"push":     ">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n$40\r\nSome real reply following the push reply\r\n",
		"verbatim": "=29\r\ntxt:This is a verbatim\nstring\r\n",
		"true":     "#t\r\n",
		"false":    "#f\r\n",
	} {
		b := &buffers{out: resp.Writer{Proto: 3}}
		if err := specimen(nil, b, [][]byte{[]byte(name)}); err != nil || string(b.out.Bytes()) != want {
			t.Errorf("%s: %q, %v", name, b.out.Bytes(), err)
		}
	}
}
