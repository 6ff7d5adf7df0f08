package server

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"sett/commands"
	"sett/types"
)

// large is a value that is staged when it arrives.
func large(seed uint64, bytes int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, bytes)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

// dead counts the dead records of blobs: staged ones, and those to be reclaimed.
func (ts *testServer) dead() (staged, dead int) {
	ts.t.Helper()
	v, err := ts.store.View()
	if err != nil {
		ts.t.Fatal(err)
	}
	defer v.Close()
	it := v.Iterate(types.AppendDead(nil, types.DeadBlob, 0), types.AppendDead(nil, types.DeadBlob+1, 0))
	defer it.Close()
	for it.Next() {
		if it.Value()[0] == types.Staged {
			staged++
		} else {
			dead++
		}
	}
	if it.Err() != nil {
		ts.t.Fatal(it.Err())
	}
	return staged, dead
}

func (ts *testServer) wantDead(staged, dead int) {
	ts.t.Helper()
	if s, d := ts.dead(); s != staged || d != dead {
		ts.t.Errorf("%d staged and %d dead blobs, want %d and %d", s, d, staged, dead)
	}
}

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it never happens that " + what)
		}
	}
}

func TestLargeValuesArrive(t *testing.T) {
	ts := startServer(t, setup{})
	c := ts.dial()
	a, b := large(1, 3<<20+17), large(2, 1<<20+1)
	c.want("+OK\r\n", "set", "a", a)
	c.want(fmt.Sprintf("$%d\r\n%s\r\n", len(a), a), "get", "a")
	c.want("+OK\r\n", "mset", "b", b, "c", "short", "d", a)
	c.want(fmt.Sprintf(":%d\r\n", len(b)), "strlen", "b")
	c.want("$5\r\nshort\r\n", "get", "c")
	c.want(fmt.Sprintf("$%d\r\n%s\r\n", len(a), a), "get", "d")
	ts.wantDead(0, 0)
	c.want(":0\r\n", "setnx", "a", b) // nobody takes it
	ts.wantDead(0, 1)
	c.want("+OK\r\n", "set", "a", b, "px", "100000")
	ts.wantDead(0, 2)
	c.want(fmt.Sprintf(":%d\r\n", len(b)+len(b)), "append", "a", b) // read from where it was staged
	c.want(fmt.Sprintf("$%d\r\n%s\r\n", 2*len(b), b+b), "get", "a")
	ts.wantDead(0, 3)
}

// TestLargeValuesInPieces: wherever the bytes are cut, and whatever stands before and behind the command in the pipeline.
func TestLargeValuesInPieces(t *testing.T) {
	ts := startServer(t, setup{})
	v := large(3, 1<<20+3)
	pipeline := encode("set", "before", "1") + encode("set", "v", v, "ex", "1000") + encode("strlen", "v") + encode("get", "before") +
		encode("mset", "w", v, "x", "2", "y", v) + encode("strlen", "y") + encode("ping")
	want := fmt.Sprintf("+OK\r\n+OK\r\n:%d\r\n$1\r\n1\r\n+OK\r\n:%d\r\n+PONG\r\n", len(v), len(v))
	start := strings.Index(pipeline, v) // the interesting places lie around the value's header and end
	for _, cut := range []int{start - 12, start - 11, start - 3, start - 2, start - 1, start, start + 1, start + 70000, start + len(v) - 1, start + len(v), start + len(v) + 1,
		start + len(v) + 2, start + len(v) + 3} {
		c := ts.dial()
		c.send(pipeline[:cut])
		c.send(pipeline[cut:])
		got := ""
		for range 7 {
			got += c.reply()
		}
		if got != want {
			t.Fatalf("cut at %d: %q", cut-start, got)
		}
	}
	if staged, _ := ts.dead(); staged != 0 {
		t.Errorf("%d values are still staged", staged)
	}
}

func TestLargeValuesLeaveNothing(t *testing.T) {
	ts := startServer(t, setup{})
	v := large(4, 2<<20)
	whole := encode("set", "k", v)

	c := ts.dial()
	c.send(whole[:len(whole)-100]) // a client that goes in the middle
	c.Close()
	eventually(t, "the value is dropped", func() bool { staged, dead := ts.dead(); return staged == 0 && dead == 1 })

	c = ts.dial()
	c.do("multi")
	c.want("+QUEUED\r\n", "set", "k", v)
	c.want("+OK\r\n", "discard")
	ts.wantDead(0, 2)

	c.do("multi")
	c.want("+QUEUED\r\n", "set", "k", v)
	c.want("-ERR unknown command 'nonsense', with args beginning with: \r\n", "nonsense")
	c.want("-EXECABORT Transaction discarded because of previous errors.\r\n", "exec")
	ts.wantDead(0, 3)

	c.do("watch", "k")
	ts.dial().do("set", "k", "other")
	c.do("multi")
	c.want("+QUEUED\r\n", "set", "k", v)
	c.want("*-1\r\n", "exec")
	ts.wantDead(0, 4)

	c.do("multi")
	c.do("set", "k", v)
	c.do("strlen", "k")
	c.want(fmt.Sprintf("*2\r\n+OK\r\n:%d\r\n", len(v)), "exec")
	ts.wantDead(0, 4)

	c.want("-ERR wrong number of arguments for 'setnx' command\r\n", "setnx", "k", v, "more")
	c.want("-ERR syntax error\r\n", "set", "k", v, "nonsense")
	ts.wantDead(0, 6)
	c.want(fmt.Sprintf(":%d\r\n", len(v)), "strlen", "k")

	c = ts.dial()
	c.do("multi")
	c.do("set", "k", v)
	c.Close() // with a queue
	eventually(t, "the value is dropped", func() bool { staged, dead := ts.dead(); return staged == 0 && dead == 7 })
	eventually(t, "its bytes are counted no more", func() bool { return ts.data.StagedBytes() == 0 })
}

func TestLargeValuesMeetLimits(t *testing.T) {
	ts := startServer(t, setup{limits: func(l *Limits) { l.MaxArgBytes = 2 << 20 }, data: commands.Options{StagedMax: 4 << 20}})
	c := ts.dial()
	v := large(5, 3<<20)
	c.want("-ERR argument 1 of 3145728 bytes: only the values of strings may be longer than 2097152 bytes (memory_budget / 8)\r\n", "echo", v)
	c.want("-ERR unknown command 'nonsense', with args beginning with: '' \r\n", "nonsense", v)
	c.want("+OK\r\n", "set", "a", v)
	got := c.do("mset", "a", v, "b", v)
	if !strings.HasPrefix(got, "-ERR value of 3145728 bytes: with the 3145728 bytes of values that are arriving already it exceeds staged_max_bytes") {
		t.Errorf("MSET: %q", got)
	}
	if staged, dead := ts.dead(); staged != 0 || dead != 1 {
		t.Errorf("%d staged, %d dead", staged, dead)
	}
	c.want("+OK\r\n", "set", "b", v) // the limit counts only what is on its way
	c.want("$2097152\r\n"+v[:2<<20]+"\r\n", "echo", v[:2<<20])
}

// TestLargeValuesAndLostLeadership: what had arrived may be gone with the speculation.
func TestLargeValuesAndLostLeadership(t *testing.T) {
	ts := startServer(t, setup{})
	c := ts.dial()
	v := large(6, 2<<20)
	whole := encode("set", "k", v)
	c.send(whole[:1<<20])
	eventually(t, "the value arrives", func() bool { staged, _ := ts.dead(); return staged == 1 })
	ts.log.loseLeadership()
	c.send(whole[1<<20:])
	if got := c.reply(); !strings.HasPrefix(got, "-TRYAGAIN") {
		t.Errorf("reply %q", got)
	}
	if err := ts.data.DropLeftStaged(); err != nil {
		t.Fatal(err)
	}
	if staged, _ := ts.dead(); staged != 0 {
		t.Errorf("%d values are still staged", staged)
	}
	c.want("$-1\r\n", "get", "k")
	c.want("+OK\r\n", "set", "k", v)
}

// TestCopyOfLongStrings: what is copied is the source as it is when COPY answers, whoever writes it meanwhile.
func TestCopyOfLongStrings(t *testing.T) {
	ts := startServer(t, setup{})
	c := ts.dial()
	v := large(7, 6<<20)
	c.want("+OK\r\n", "set", "a", v, "pxat", "4102444800000")
	c.want(":1\r\n", "copy", "a", "b")
	c.want(":0\r\n", "copy", "a", "b")
	c.want(":4102444800000\r\n", "pexpiretime", "b")
	c.want(fmt.Sprintf("$%d\r\n%s\r\n", len(v), v), "get", "b")
	ts.wantDead(0, 0)

	// A writer that goes on and on: each copy is the source between two of its writes, or COPY says that it has given up.
	done := make(chan struct{})
	go func() {
		defer close(done)
		w := ts.dial()
		for i := range 1500 {
			w.do("setrange", "a", "0", fmt.Sprintf("%08d", i))
			w.do("setrange", "a", fmt.Sprint(len(v)-8), fmt.Sprintf("%08d", i))
		}
	}()
	copies, gaveUp := 0, 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		last := c.do("getrange", "a", "0", "7")
		switch got := c.do("copy", "a", "d", "replace"); {
		case got == ":1\r\n":
			copies++
			head, tail := c.do("getrange", "d", "0", "7"), c.do("getrange", "d", fmt.Sprint(len(v)-8), "-1")
			var h, e, l int
			fmt.Sscanf(head, "$8\r\n%d", &h)
			fmt.Sscanf(tail, "$8\r\n%d", &e)
			fmt.Sscanf(last, "$8\r\n%d", &l)
			if h != e && h != e+1 || h < l {
				t.Fatalf("the copy begins with %q and ends with %q; before it began the source began with %q", head, tail, last)
			}
		case strings.HasPrefix(got, "-TRYAGAIN the value was written again and again"):
			gaveUp++
		default:
			t.Fatalf("COPY: %q", got)
		}
	}
	t.Logf("%d copies, gave up %d times", copies, gaveUp)
	c.want(":1\r\n", "copy", "a", "d", "replace")
	if staged, _ := ts.dead(); staged != 0 {
		t.Errorf("%d copies are still staged", staged)
	}

	// Within a transaction it is part of the batch, and has to fit into it.
	small := large(8, 2<<20)
	c.do("set", "s", small)
	c.do("multi")
	c.do("copy", "s", "s2")
	c.do("strlen", "s2")
	c.want(fmt.Sprintf("*2\r\n:1\r\n:%d\r\n", len(small)), "exec")
	whole := large(9, 12<<20)
	c.do("set", "w", whole)
	c.do("multi")
	c.do("copy", "w", "w2")
	if got := c.do("exec"); !strings.HasPrefix(got, "*1\r\n-ERR the effects of this command exceed batch_max_bytes") {
		t.Errorf("EXEC: %.200q", got)
	}
	c.want(":0\r\n", "exists", "w2")
}
